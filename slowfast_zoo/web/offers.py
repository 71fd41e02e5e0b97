"""The models that the page offers; those that were asked for last stay in memory, for everybody."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable

import torch

from slowfast_zoo.errors import UnknownNameError, quoted
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.weights.catalog import list_weights
from slowfast_zoo.weights.catalog.entry import WeightEntry
from slowfast_zoo.zoo import create_model

_KEPT = 2
"""Models that stay in memory, as many as engines do."""


@dataclasses.dataclass(frozen=True)
class Offer:
    """A model with its weights, loaded when somebody asks for it."""

    model: str
    weights: str
    load: Callable[[], SlowFast]
    code: str
    """The call that makes it."""
    argument: str
    """MODEL on the command line."""
    persons: bool = False
    """Whether it scores persons, for which a webcam has no boxes."""


def published_offer(entry: WeightEntry) -> Offer:
    """Published weights."""
    return Offer(
        entry.model,
        entry.tag,
        lambda: create_model(entry.model, weights=entry, progress=False),
        f'zoo.create_model("{entry.model}", weights="{entry.tag}")',
        f"{entry.model}:{entry.tag}",
        entry.model_spec.roi is not None,
    )


def published_offers() -> list[Offer]:
    """Everything that is published, the smallest network first."""
    offers = [published_offer(entry) for entry in list_weights()]
    return sorted(offers, key=lambda offer: offer.model != "slowfast_tiny")  # the one without a download


class Models:
    """Offers, and the models that were made of them; any number of threads may ask.

    Args:
        offers: at least one.
        device: where their models compute.
    """

    def __init__(self, offers: Iterable[Offer], device: torch.device) -> None:
        self._offers = {(offer.model, offer.weights): offer for offer in offers}
        self._device = device
        self._loaded: dict[tuple[str, str], SlowFast] = {}
        self._lock = threading.Lock()
        self._loading = {key: threading.Lock() for key in self._offers}

    def names(self) -> list[str]:
        """The models, each once."""
        return list(dict.fromkeys(model for model, _ in self._offers))

    def weights_of(self, model: str) -> list[str]:
        """The weights that a model is offered with."""
        return [weights for name, weights in self._offers if name == model]

    def of_webcams(self) -> dict[str, Offer]:
        """What can watch a webcam, by its ``argument``."""
        return {offer.argument: offer for offer in self._offers.values() if not offer.persons}

    def offer(self, model: str, weights: str) -> Offer:
        """What is offered under these names.

        Raises:
            UnknownNameError: nothing is.
        """
        if (offer := self._offers.get((model, weights))) is None:
            raise UnknownNameError(
                f"This page doesn't offer '{model}' with '{weights}'. It offers {quoted(self.names())}."
            )
        return offer

    def get(self, model: str, weights: str) -> SlowFast:
        """The model, the same object for everybody; the one that was asked for longest ago is given up.

        Raises:
            SlowFastZooError: there is no such offer, or as ``create_model``.
        """
        offer, key = self.offer(model, weights), (model, weights)
        with self._loading[key]:
            with self._lock:
                found = self._loaded.pop(key, None)
            if found is None:
                found = offer.load().eval().to(self._device)
            with self._lock:
                self._loaded[key] = found
                while len(self._loaded) > _KEPT:
                    del self._loaded[next(iter(self._loaded))]
        return found
