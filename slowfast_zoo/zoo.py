"""The models by name: build one, empty or with a publisher's weights.

Every factory is ``create_model`` with its name filled in, typed, so that editors complete it, type checkers
know it and a misspelled argument fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from slowfast_zoo.errors import InputError, UnknownNameError
from slowfast_zoo.files import kind_of
from slowfast_zoo.network.slowfast import SlowFast, as_labels, check_labels
from slowfast_zoo.weights.catalog import find_config, get_weights, list_models, list_weights, nearest_models
from slowfast_zoo.weights.catalog.entry import WeightEntry
from slowfast_zoo.weights.store import local_weights, open_file

__all__ = [
    "create_model",
    "slowfast_r50_4x16x1",
    "slowfast_r50_4x16x1_roi",
    "slowfast_r50_8x8x1",
    "slowfast_r50_8x8x1_roi",
    "slowfast_r50_16x8x1",
    "slowfast_r101_8x8x1",
    "slowfast_r101_50_50_8x8x1_roi",
    "slowfast_r101_50_50_16x8x1",
    "slowfast_r101_50_50_16x8x1_roi",
    "slowfast_r101_r50_4x16x1",
    "slowfast_r152_r50_4x16x1",
    "slowfast_tiny",
]

Weights = str | Path | WeightEntry | None


def create_model(
    name: str,
    pretrained: bool = False,
    *,
    weights: Weights = None,
    like: str | WeightEntry | None = None,
    num_classes: int | None = None,
    labels: Sequence[str] | None = None,
    in_channels: int | None = None,
    dropout: float | None = None,
    progress: bool = True,
) -> SlowFast:
    """A SlowFast model with its spec, clip spec, labels and provenance.

    With weights it is in eval mode, without in train mode. Without weights the network is that of the
    model's default weights, with fresh parameters and no class names.

    Class names come from the weights' own row, from a saved file, or from ``labels``; they are never
    guessed. A file that doesn't carry them, such as a state dict of your own, has none until you give them.

    Args:
        name: a model of ``list_models()``, or a publisher's own config name: then its newest weights
            take the place of the default ones, and a file that may be of several is taken for one of them.
        pretrained: whether to load the default weights: the same as ``weights="default"``.
        weights: a tag of ``list_weights(name)`` (str), a row of it, or a checkpoint file (Path) of any
            publisher, of a training, or of your own.
        like: the tag (or row) whose network and input a checkpoint file has, where it doesn't say itself and
            several would fit; its classes and class names may be others.
        num_classes: your number of classes; None: the weights' classes. On published weights it means a
            fresh classifier, even where it is the publisher's number; on a file of your own, where it isn't
            the file's number. 0: a model that returns pooled features.
        labels: your class names; alone they also set ``num_classes``. Names that differ from those of the
            weights mean a fresh classifier, but for the same ones in another order or spelling, which are
            refused; a file without names takes them as its own, one per class. ``model.labels = names`` keeps
            a classifier under other names.
        in_channels: channels of the clips; the stems of RGB weights are adapted. None: those of the weights,
            else 3. ``clip_spec`` stays the weights': give it the mean and std of your channels.
        dropout: probability of dropping a pooled feature while training; None: as published.
        progress: whether to show a bar on a terminal and in notebooks while downloading.

    Raises:
        UnknownNameError: no such model or tag; the message has the nearest names.
        InputError: arguments that contradict each other, or labels that aren't one per class.
        SpecError: a number that is not accepted.
        DownloadError: the weights could not be fetched.
        CheckpointError: the file is unsafe, of a newer format, doesn't fit, or holds another model.
    """
    if not isinstance(pretrained, bool):
        raise InputError(
            f"pretrained is True or False, got {pretrained!r:.80}; a tag or a file is given as weights=."
        )
    if pretrained and weights is not None:
        raise InputError("Give either pretrained=True (the default weights) or weights=, not both.")
    if like is not None and not isinstance(weights, Path):
        raise InputError(
            "like= says whose network a checkpoint file has: give the file as weights=Path(...)."
        )
    if not isinstance(like, str | WeightEntry | None):
        raise InputError(f"like is a tag (str) or a WeightEntry, got {type(like).__name__}.")
    weights = "default" if pretrained else weights
    row = _row(name, weights if like is None else like)
    classes, labels = num_classes, as_labels(labels)
    if classes is None:
        classes = row.model_spec.num_classes if labels is None else len(labels)
    channels = row.model_spec.in_channels if in_channels is None else in_channels
    spec = row.model_spec.replace(num_classes=classes, in_channels=channels)  # before anything is downloaded
    spec = spec if dropout is None else spec.replace(dropout=dropout)
    names = check_labels(labels, classes)
    if weights is not None:
        local = (
            open_file(
                weights,
                row.model,
                like=None if like is None else row,
                meant=None if name == row.model else row,
                headless=num_classes is not None,
            )
            if isinstance(weights, Path)
            else local_weights(row, progress=progress)
        )
        return local.build(num_classes=num_classes, labels=labels, in_channels=in_channels, dropout=dropout)
    model = SlowFast(spec)
    model.clip_spec, model.labels = row.clip_spec, names
    model.provenance = {"model": row.model, "tag": None}
    return model


def _row(name: str, weights: Weights) -> WeightEntry:
    """The catalog row that a call means; the default one for a file, which says itself what it holds."""
    if not isinstance(name, str):
        raise InputError(f"A model is asked for by its name (str), got {type(name).__name__}.")
    if isinstance(weights, WeightEntry):
        if name not in (weights.model, weights.config_name):
            raise InputError(f"These weights belong to '{weights.model}', not to '{name}'.")
        return weights
    config = None if name in list_models() else find_config(name)
    if config is None and name not in list_models():
        hint = nearest_models(name, (entry.config_name for entry in list_weights()))
        raise UnknownNameError(f"There is no model '{name}'.{hint}")
    model = config.model if config else name
    if not isinstance(weights, str | Path | None):
        raise InputError(
            f"weights is a tag (str), a file (Path) or a WeightEntry, got {type(weights).__name__}."
        )
    if isinstance(weights, str) and not (weights == "default" and config):
        return _tagged(model, weights)
    return config or get_weights(model)


def _tagged(model: str, tag: str) -> WeightEntry:
    try:
        return get_weights(model, tag)
    except UnknownNameError as error:
        if "Did you mean" in str(error) and not kind_of(Path(tag)):
            raise
        raise UnknownNameError(
            f"{error} A str is always a tag: for a file give Path({tag!r}), for a saved folder or a Hub"
            " repository call from_pretrained."
        ) from None


class Options(TypedDict, total=False):
    """The keyword arguments of every factory; what they mean is said at ``create_model``."""

    weights: Weights
    like: str | WeightEntry | None
    num_classes: int | None
    labels: Sequence[str] | None
    in_channels: int | None
    dropout: float | None
    progress: bool


def slowfast_r50_4x16x1(pretrained: bool = False, **options: Unpack[Options]) -> SlowFast:
    """R50 in both pathways; 4 slow and 32 fast frames of 64. Arguments and errors: ``create_model``."""
    return create_model("slowfast_r50_4x16x1", pretrained, **options)


def slowfast_r50_8x8x1(pretrained: bool = False, **options: Unpack[Options]) -> SlowFast:
    """R50 in both pathways; 8 slow and 32 fast frames of 64. Arguments and errors: ``create_model``."""
    return create_model("slowfast_r50_8x8x1", pretrained, **options)


def slowfast_r50_16x8x1(pretrained: bool = False, **options: Unpack[Options]) -> SlowFast:
    """R50 in both pathways; 16 slow and 64 fast frames of 128. Arguments and errors: ``create_model``."""
    return create_model("slowfast_r50_16x8x1", pretrained, **options)


def slowfast_r101_r50_4x16x1(pretrained: bool = False, **options: Unpack[Options]) -> SlowFast:
    """R101 slow, R50 fast; 4 slow and 32 fast frames of 64. Arguments and errors: ``create_model``."""
    return create_model("slowfast_r101_r50_4x16x1", pretrained, **options)


def slowfast_r101_8x8x1(pretrained: bool = False, **options: Unpack[Options]) -> SlowFast:
    """R101 in both pathways; 8 slow and 32 fast frames of 64. Arguments and errors: ``create_model``."""
    return create_model("slowfast_r101_8x8x1", pretrained, **options)


def slowfast_r152_r50_4x16x1(pretrained: bool = False, **options: Unpack[Options]) -> SlowFast:
    """R152 slow, R50 fast; 4 slow and 32 fast frames of 64. Arguments and errors: ``create_model``."""
    return create_model("slowfast_r152_r50_4x16x1", pretrained, **options)


def slowfast_r101_50_50_16x8x1(pretrained: bool = False, **options: Unpack[Options]) -> SlowFast:
    """R101 in both, six temporal blocks in stage 3; 16 slow, 64 fast frames of 128. See ``create_model``."""
    return create_model("slowfast_r101_50_50_16x8x1", pretrained, **options)


def slowfast_r50_4x16x1_roi(pretrained: bool = False, **options: Unpack[Options]) -> SlowFast:
    """``slowfast_r50_4x16x1`` that scores persons: ``model(clip, boxes)``. See ``create_model``."""
    return create_model("slowfast_r50_4x16x1_roi", pretrained, **options)


def slowfast_r50_8x8x1_roi(pretrained: bool = False, **options: Unpack[Options]) -> SlowFast:
    """``slowfast_r50_8x8x1`` that scores persons: ``model(clip, boxes)``. See ``create_model``."""
    return create_model("slowfast_r50_8x8x1_roi", pretrained, **options)


def slowfast_r101_50_50_8x8x1_roi(pretrained: bool = False, **options: Unpack[Options]) -> SlowFast:
    """R101 with non-local blocks that scores persons; 8 slow, 32 fast frames. See ``create_model``."""
    return create_model("slowfast_r101_50_50_8x8x1_roi", pretrained, **options)


def slowfast_r101_50_50_16x8x1_roi(pretrained: bool = False, **options: Unpack[Options]) -> SlowFast:
    """R101 with non-local blocks that scores persons; 16 slow, 64 fast frames. See ``create_model``."""
    return create_model("slowfast_r101_50_50_16x8x1_roi", pretrained, **options)


def slowfast_tiny(pretrained: bool = False, **options: Unpack[Options]) -> SlowFast:
    """A small one, its weights in the package: 2 slow, 8 fast frames of 80 pixels. See ``create_model``."""
    return create_model("slowfast_tiny", pretrained, **options)
