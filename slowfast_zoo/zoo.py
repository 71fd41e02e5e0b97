"""The models by name: build one, empty or with a publisher's weights.

Every factory is ``create_model`` with its name filled in, written out so that editors complete it,
type checkers know it and a misspelled argument fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast_zoo.errors import InputError, UnknownNameError, did_you_mean, quoted
from slowfast_zoo.network.slowfast import SlowFast, check_labels
from slowfast_zoo.spec import ModelSpec
from slowfast_zoo.weights.catalog import find_config, get_weights, list_models, list_weights
from slowfast_zoo.weights.catalog.entry import WeightEntry

if TYPE_CHECKING:
    from slowfast_zoo.weights.checkpoint.reading import Checkpoint

Weights = str | Path | WeightEntry | None


def create_model(
    name: str,
    pretrained: bool = False,
    *,
    weights: Weights = None,
    num_classes: int | None = None,
    labels: Sequence[str] | None = None,
    in_channels: int = 3,
    dropout: float | None = None,
    progress: bool = True,
) -> SlowFast:
    """A SlowFast model with its spec, clip spec, labels and provenance.

    With weights it is in eval mode, without in train mode. Without weights the network is that of the
    model's default weights, with fresh parameters.

    Args:
        name: a model of ``list_models()``, or a publisher's own config name: then its newest weights
            take the place of the default ones.
        pretrained: whether to load the default weights: the same as ``weights="default"``.
        weights: a tag of ``list_weights(name)`` (str), a row of it, or a checkpoint file (Path) of any
            publisher.
        num_classes: rows of the classifier; another number than the weights have gives a fresh
            classifier, 0 a model that returns pooled features; None keeps the weights' classes.
        labels: class names; alone they also set ``num_classes``.
        in_channels: channels of the clips; the stems of RGB weights are adapted.
        dropout: probability of dropping a pooled feature while training; None: as published.
        progress: whether to show a bar on a terminal while downloading.

    Raises:
        UnknownNameError: no such model or tag; the message has the nearest names.
        InputError: arguments that contradict each other.
        SpecError: a number that is not accepted.
        DownloadError: the weights could not be fetched.
        CheckpointError: the file is unsafe or doesn't fit.
    """
    if pretrained and weights is not None:
        raise InputError("Give either pretrained=True (the default weights) or weights=, not both.")
    checkpoint = _read(weights) if isinstance(weights, Path) else None
    entry, spec = _row(name, checkpoint or weights)
    spec = _adjusted(spec, num_classes, labels, in_channels, dropout)
    provenance: dict[str, object] = {"model": entry.model, "tag": None}
    if checkpoint is not None:
        from slowfast_zoo.weights.checkpoint.loading import build

        model = build(spec, checkpoint)
        provenance |= {"file": checkpoint.path.name}
    elif pretrained or weights is not None:
        model, provenance = _load(entry, spec, progress)
    else:
        model = SlowFast(spec)
    model.clip_spec = entry.clip_spec
    model.provenance = provenance
    if labels is not None:
        model.labels = check_labels(labels, spec.num_classes)
    elif spec.num_classes == entry.model_spec.num_classes:  # else the classes are the user's own
        model.labels = entry.labels
    return model


def _adjusted(
    spec: ModelSpec,
    num_classes: int | None,
    labels: Sequence[str] | None,
    in_channels: int,
    dropout: float | None,
) -> ModelSpec:
    if num_classes is None:
        num_classes = spec.num_classes if labels is None else len(labels)
    spec = spec.replace(num_classes=num_classes, in_channels=in_channels)
    check_labels(labels, num_classes)  # before anything is downloaded
    return spec if dropout is None else spec.replace(dropout=dropout)


def _read(path: Path) -> Checkpoint:
    from slowfast_zoo.weights.checkpoint.reading import read_checkpoint

    if path.is_dir():
        raise InputError(f"'{path}' is a folder; from_pretrained reads folders.")
    return read_checkpoint(path)


def _row(name: str, weights: Weights | Checkpoint) -> tuple[WeightEntry, ModelSpec]:
    """The catalog row whose clip spec and labels a call means, and the network that it builds."""
    if not isinstance(name, str):
        raise InputError(f"A model is asked for by its name (str), got {type(name).__name__}.")
    if isinstance(weights, WeightEntry):
        if name not in (weights.model, weights.config_name):
            raise InputError(f"These weights belong to '{weights.model}', not to '{name}'.")
        return weights, weights.model_spec
    config = None if name in list_models() else find_config(name)
    if config is None and name not in list_models():
        names = [*list_models(), *(entry.config_name for entry in list_weights())]
        hint = did_you_mean(name, names) or f" The models are: {quoted(list_models())}."
        raise UnknownNameError(f"There is no model '{name}'.{hint}")
    model = config.model if config else name
    if not isinstance(weights, str | None):
        from slowfast_zoo.weights.checkpoint.loading import identify
        from slowfast_zoo.weights.checkpoint.reading import Checkpoint

        if isinstance(weights, Checkpoint):
            return identify(model, weights)
        raise InputError(
            f"weights is a tag (str), a file (Path) or a WeightEntry, got {type(weights).__name__}."
        )
    if weights is None or (weights == "default" and config):
        entry = config or get_weights(model)
        return entry, entry.model_spec
    entry = _tagged(model, weights)
    return entry, entry.model_spec


def _tagged(model: str, tag: str) -> WeightEntry:
    try:
        return get_weights(model, tag)
    except UnknownNameError as error:
        if Path(tag).suffix or Path(tag).exists():
            raise UnknownNameError(
                f"{error} A str is always a tag: for a file give Path({tag!r}), for a saved folder or a Hub"
                " repository call from_pretrained."
            ) from None
        raise


def _load(entry: WeightEntry, spec: ModelSpec, progress: bool) -> tuple[SlowFast, dict[str, object]]:
    from slowfast_zoo.weights.checkpoint.loading import build
    from slowfast_zoo.weights.checkpoint.reading import read_checkpoint
    from slowfast_zoo.weights.store import prepare_weights

    prepared = prepare_weights(entry, progress=progress)
    return build(spec, read_checkpoint(prepared.path, dialect=prepared.dialect)), prepared.provenance


def slowfast_r50_4x16x1(
    pretrained: bool = False,
    *,
    weights: Weights = None,
    num_classes: int | None = None,
    labels: Sequence[str] | None = None,
    in_channels: int = 3,
    dropout: float | None = None,
    progress: bool = True,
) -> SlowFast:
    """R50 in both pathways; 4 slow and 32 fast frames of 64.

    Weights for Kinetics-400 (400 classes). Arguments and errors: ``create_model``.
    """
    return create_model(
        "slowfast_r50_4x16x1",
        pretrained,
        weights=weights,
        num_classes=num_classes,
        labels=labels,
        in_channels=in_channels,
        dropout=dropout,
        progress=progress,
    )


def slowfast_r50_8x8x1(
    pretrained: bool = False,
    *,
    weights: Weights = None,
    num_classes: int | None = None,
    labels: Sequence[str] | None = None,
    in_channels: int = 3,
    dropout: float | None = None,
    progress: bool = True,
) -> SlowFast:
    """R50 in both pathways; 8 slow and 32 fast frames of 64.

    Weights for Kinetics-400, Something-Something V2, Charades. Arguments and errors: ``create_model``.
    """
    return create_model(
        "slowfast_r50_8x8x1",
        pretrained,
        weights=weights,
        num_classes=num_classes,
        labels=labels,
        in_channels=in_channels,
        dropout=dropout,
        progress=progress,
    )


def slowfast_r50_16x8x1(
    pretrained: bool = False,
    *,
    weights: Weights = None,
    num_classes: int | None = None,
    labels: Sequence[str] | None = None,
    in_channels: int = 3,
    dropout: float | None = None,
    progress: bool = True,
) -> SlowFast:
    """R50 in both pathways; 16 slow and 64 fast frames of 128.

    Weights for Something-Something V1 (174 classes) and V2, Charades. Arguments and errors: ``create_model``.
    """
    return create_model(
        "slowfast_r50_16x8x1",
        pretrained,
        weights=weights,
        num_classes=num_classes,
        labels=labels,
        in_channels=in_channels,
        dropout=dropout,
        progress=progress,
    )


def slowfast_r101_r50_4x16x1(
    pretrained: bool = False,
    *,
    weights: Weights = None,
    num_classes: int | None = None,
    labels: Sequence[str] | None = None,
    in_channels: int = 3,
    dropout: float | None = None,
    progress: bool = True,
) -> SlowFast:
    """R101 in the slow, R50 in the fast pathway; 4 slow and 32 fast frames of 64.

    Weights for Kinetics-400. Arguments and errors: ``create_model``.
    """
    return create_model(
        "slowfast_r101_r50_4x16x1",
        pretrained,
        weights=weights,
        num_classes=num_classes,
        labels=labels,
        in_channels=in_channels,
        dropout=dropout,
        progress=progress,
    )


def slowfast_r101_8x8x1(
    pretrained: bool = False,
    *,
    weights: Weights = None,
    num_classes: int | None = None,
    labels: Sequence[str] | None = None,
    in_channels: int = 3,
    dropout: float | None = None,
    progress: bool = True,
) -> SlowFast:
    """R101 in both pathways; 8 slow and 32 fast frames of 64.

    Weights for Kinetics-400. Arguments and errors: ``create_model``.
    """
    return create_model(
        "slowfast_r101_8x8x1",
        pretrained,
        weights=weights,
        num_classes=num_classes,
        labels=labels,
        in_channels=in_channels,
        dropout=dropout,
        progress=progress,
    )


def slowfast_r152_r50_4x16x1(
    pretrained: bool = False,
    *,
    weights: Weights = None,
    num_classes: int | None = None,
    labels: Sequence[str] | None = None,
    in_channels: int = 3,
    dropout: float | None = None,
    progress: bool = True,
) -> SlowFast:
    """R152 in the slow, R50 in the fast pathway; 4 slow and 32 fast frames of 64.

    Weights for Kinetics-400. Arguments and errors: ``create_model``.
    """
    return create_model(
        "slowfast_r152_r50_4x16x1",
        pretrained,
        weights=weights,
        num_classes=num_classes,
        labels=labels,
        in_channels=in_channels,
        dropout=dropout,
        progress=progress,
    )


def slowfast_r101_50_50_16x8x1(
    pretrained: bool = False,
    *,
    weights: Weights = None,
    num_classes: int | None = None,
    labels: Sequence[str] | None = None,
    in_channels: int = 3,
    dropout: float | None = None,
    progress: bool = True,
) -> SlowFast:
    """R101 in both pathways with six temporal blocks in stage 3; 16 slow and 64 fast frames of 128.

    Weights for Kinetics-400. Arguments and errors: ``create_model``.
    """
    return create_model(
        "slowfast_r101_50_50_16x8x1",
        pretrained,
        weights=weights,
        num_classes=num_classes,
        labels=labels,
        in_channels=in_channels,
        dropout=dropout,
        progress=progress,
    )


def slowfast_tiny(
    pretrained: bool = False,
    *,
    weights: Weights = None,
    num_classes: int | None = None,
    labels: Sequence[str] | None = None,
    in_channels: int = 3,
    dropout: float | None = None,
    progress: bool = True,
) -> SlowFast:
    """A small SlowFast: 2 slow and 8 fast frames of 80 x 80 pixels, 1.3 M parameters.

    Its weights ship in the package: they name the motion of the camera (10 classes). Arguments and errors:
    ``create_model``.
    """
    return create_model(
        "slowfast_tiny",
        pretrained,
        weights=weights,
        num_classes=num_classes,
        labels=labels,
        in_channels=in_channels,
        dropout=dropout,
        progress=progress,
    )
