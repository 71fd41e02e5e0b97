"""The moving average of a training's weights, which scores better than the last step's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """An exponential moving average of a model's state; with a decay of 0 the state itself.

    Source: the growing decay is that of TensorFlow's ExponentialMovingAverage,
    https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """
        Args:
            model: whose state is averaged; its tensors stay the model's own.
            decay: part of the average that a step keeps, once there have been many.
        """
        self.model, self.decay = model, decay
        self.state: dict[str, Tensor] = {}
        if decay:
            self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Takes in the model as it is after so many steps."""
        if not self.decay:
            return
        keep = min(self.decay, (1 + steps) / (10 + steps))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - keep)
            else:
                self.state[name].copy_(value)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Goes on with an average that was saved."""
        for name, value in self.state.items():
            value.copy_(state[name])

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The model is the average meanwhile; what is measured into its batch norms stays the average's."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def keep(self) -> None:
        """The model is the average from now on."""
        self._exchange()
        self.state, self.decay = {}, 0.0

    @torch.no_grad()
    def _exchange(self) -> None:
        own = self.model.state_dict()
        for name, value in self.state.items():
            theirs = own[name].clone()
            own[name].copy_(value)
            value.copy_(theirs)
