"""Whether a model is the network that its spec describes: the same tensors, and the same code around them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence

import torch

from slowfast_zoo.errors import InputError
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.network.structure import other_modules, rewritten
from slowfast_zoo.spec import ModelSpec
from slowfast_zoo.weights.checkpoint.dialects import CLASSIFIER

Shape = tuple[int, ...]


@functools.lru_cache(maxsize=64)
def state_shapes(spec: ModelSpec) -> Mapping[str, Shape]:
    """Name and shape of every tensor in the state dict of ``SlowFast(spec)``."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in SlowFast(spec).state_dict().items()}


def check_layers(model: SlowFast, names: Iterable[str] | None = None) -> None:
    """Refuses a model whose tensors aren't those that its spec describes.

    Args:
        model: whose layers somebody may have replaced or wrapped.
        names: of the tensors that matter; None: all.

    Raises:
        InputError: says which ones differ.
    """
    if other := _other_tensors(model, names):
        raise InputError(
            f"The model isn't the network of model.spec ({few(other)}): a layer was replaced or wrapped. For"
            " an nn.Linear of your own, call model.reset_classifier(num_classes, labels), and then"
            " model.classifier = LAYER; unwrap or merge what wraps others."
        )


def check_code(model: SlowFast, *, with_head: bool = True) -> None:
    """Refuses a model whose modules compute something else than the network of its spec.

    Args:
        model: whose tensors are those of its spec.
        with_head: whether its classifier counts.

    Raises:
        InputError: says which ones do.
    """
    if other := [name for name in _other_code(model) if with_head or name != "classifier"]:
        raise InputError(
            f"The model computes something else than the network of model.spec ({few(other)}), which is what"
            " from_pretrained gives: put the layers and settings of SlowFast(model.spec) back, or keep"
            " model.state_dict() with code of your own."
        )


def check_trained_classifier(model: SlowFast) -> None:
    """Refuses a linear classifier that isn't the one that the spec describes; others may wrap it.

    Raises:
        InputError: says which tensors differ.
    """
    check_layers(model, [name for name in CLASSIFIER if name in model.state_dict()])


def own_forward(model: SlowFast) -> str | None:
    """The first module with a ``forward`` that isn't this library's; "" is the model itself. None: none."""
    return rewritten(model, _plain(model.spec))


def unread_layers(model: SlowFast) -> str:
    """One sentence: why no reader gives the model back of which a training writes files; "" where all do."""
    if other := _other_tensors(model):
        return (
            f"The model isn't the network of model.spec ({few(other)}), so from_pretrained can't read the"
            " files that this training writes: load_state_dict puts their tensors into a model with the same"
            " layers, and save_pretrained takes this one once they are unwrapped or merged."
        )
    if other := _other_code(model):
        return (
            f"The model computes something else than the network of model.spec ({few(other)}), which is what"
            " from_pretrained makes of the files that this training writes: load_state_dict puts their"
            " tensors into a model with the same layers."
        )
    return ""


def _other_tensors(model: SlowFast, names: Iterable[str] | None = None) -> list[str]:
    """Those of these names, or of all, whose tensors aren't as the spec describes them."""
    own = {name: tuple(getattr(tensor, "shape", ())) for name, tensor in model.state_dict().items()}
    wanted = state_shapes(model.spec)
    among = {**wanted, **own} if names is None else names
    return [name for name in among if own.get(name) != wanted.get(name)]


def _other_code(model: SlowFast) -> list[str]:
    """The modules that compute something else than the spec describes."""
    return other_modules(model, _plain(model.spec))


def _plain(spec: ModelSpec) -> SlowFast:
    """The network that a spec describes, without numbers."""
    with torch.device("meta"):
        return SlowFast(spec)


def few(names: Sequence[str]) -> str:
    """The first three of some names, for a message."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
