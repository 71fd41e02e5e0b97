"""Names to networks and weights: what exists, and what ``pretrained=True`` means.

Plain data: nothing here imports torch, and the tables are built at the first question.
"""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Iterable

from slowfast_zoo.errors import UnknownNameError, did_you_mean, quoted
from slowfast_zoo.spec import ModelSpec
from slowfast_zoo.weights.catalog.entry import Dialect, FileKind, Metrics, WeightEntry

__all__ = [
    "DEFAULT_TAGS",
    "Dialect",
    "FileKind",
    "Metrics",
    "WeightEntry",
    "find_config",
    "get_weights",
    "list_models",
    "list_weights",
    "model_spec",
]

DEFAULT_TAGS: dict[str, str] = {
    "slowfast_r50_4x16x1": "mmaction2/k400-256e-320p-prebn",
    "slowfast_r50_8x8x1": "mmaction2/k400-256e-320p",
    "slowfast_r50_16x8x1": "mmaction2/sthv1-22e",
    "slowfast_r101_r50_4x16x1": "mmaction2/k400-256e-256p",
    "slowfast_r101_8x8x1": "mmaction2/k400-256e-256p",
    "slowfast_r152_r50_4x16x1": "mmaction2/k400-256e-256p",
    "slowfast_r101_50_50_16x8x1": "pytorchvideo/k400",
    "slowfast_tiny": "camera-motion",
}
"""The weights that ``pretrained=True`` loads, and whose network a bare model name builds: the row with
the highest top-1 on OpenMMLab's SlowFast page (v0.21.0), and a chosen row for a model that isn't there."""


def list_models(pattern: str | None = None) -> list[str]:
    """Model names, smallest network first; ``pattern`` is a shell pattern such as "*r50*"."""
    names = list(DEFAULT_TAGS)
    return names if pattern is None else [name for name in names if fnmatch.fnmatchcase(name, pattern)]


def list_weights(model: str | None = None) -> list[WeightEntry]:
    """Every published checkpoint, or those of one model, the default one first.

    Raises:
        UnknownNameError: there is no such model.
    """
    models = list_models() if model is None else [_known(model)]
    return [entry for name in models for entry in _rows()[name].values()]


def get_weights(model: str, tag: str = "default") -> WeightEntry:
    """The checkpoint of that model and tag.

    Raises:
        UnknownNameError: there is no such model, or the model has no such tag.
    """
    entries = _rows()[_known(model)]
    if tag == "default":
        return entries[DEFAULT_TAGS[model]]
    if tag in entries:
        return entries[tag]
    elsewhere = [name for name in list_models() if tag in _rows()[name]]
    hint = f" It belongs to {quoted(elsewhere)}." if elsewhere else did_you_mean(str(tag), entries)
    raise UnknownNameError(f"'{model}' has no weights '{tag}'.{hint} It has: 'default', {quoted(entries)}.")


def model_spec(model: str) -> ModelSpec:
    """The network that a bare model name means: the one of its default weights.

    Raises:
        UnknownNameError: there is no such model.
    """
    return get_weights(model).model_spec


def find_config(name: str) -> WeightEntry | None:
    """The newest checkpoint of a publisher's own config name; None if no publisher has such a config."""
    entries = [entry for entry in list_weights() if entry.config_name == name]
    return max(entries, key=lambda entry: (not entry.superseded, entry.released or ""), default=None)


def _known(model: str) -> str:
    if model not in DEFAULT_TAGS:
        hint = did_you_mean(str(model), DEFAULT_TAGS)
        raise UnknownNameError(f"There is no model '{model}'.{hint} The models are: {quoted(DEFAULT_TAGS)}.")
    return model


@functools.cache
def _rows() -> dict[str, dict[str, WeightEntry]]:
    # Imported at the first question: building some forty rows takes longer than importing this module.
    from slowfast_zoo.weights.catalog import gluoncv as rows_gluoncv
    from slowfast_zoo.weights.catalog import openmmlab as rows_openmmlab
    from slowfast_zoo.weights.catalog import openmmlab_1x as rows_openmmlab_1x
    from slowfast_zoo.weights.catalog import own as rows_own
    from slowfast_zoo.weights.catalog import pyslowfast as rows_pyslowfast

    modules = (rows_openmmlab, rows_openmmlab_1x, rows_pyslowfast, rows_gluoncv, rows_own)
    return _index(entry for module in modules for entry in module.ROWS)


def _index(entries: Iterable[WeightEntry]) -> dict[str, dict[str, WeightEntry]]:
    """Rows by model and tag, the default tag first.

    Raises:
        ValueError: two rows have the same model and tag, or a row's model has no default.
    """
    index: dict[str, dict[str, WeightEntry]] = {model: {} for model in DEFAULT_TAGS}
    for entry in entries:
        if entry.model not in index:
            raise ValueError(f"{entry.model} has no tag in DEFAULT_TAGS")
        if entry.tag in index[entry.model]:
            raise ValueError(f"{entry.model} has two rows with the tag {entry.tag}")
        index[entry.model][entry.tag] = entry
    for model, tag in DEFAULT_TAGS.items():
        index[model] = {tag: index[model].pop(tag), **index[model]}
    return index
