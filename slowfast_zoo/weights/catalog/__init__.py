"""Names to networks and weights: what exists, and what ``pretrained=True`` means.

Plain data: nothing here imports torch, and the tables are built at the first question.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast_zoo.errors import InputError, UnknownNameError, did_you_mean, quoted

if TYPE_CHECKING:
    from slowfast_zoo.weights.catalog.entry import WeightEntry

DEFAULT_TAGS: dict[str, str] = {
    "slowfast_r50_4x16x1": "mmaction2/k400-256e-320p-prebn",
    "slowfast_r50_8x8x1": "mmaction2/k400-256e-320p",
    "slowfast_r50_16x8x1": "mmaction2/sthv1-22e",
    "slowfast_r101_r50_4x16x1": "mmaction2/k400-256e-256p",
    "slowfast_r101_8x8x1": "mmaction2/k400-256e-256p",
    "slowfast_r152_r50_4x16x1": "mmaction2/k400-256e-256p",
    "slowfast_r101_50_50_16x8x1": "pytorchvideo/k400",
    "slowfast_r50_4x16x1_roi": "mmaction2/ava21-20e-context",
    "slowfast_r50_8x8x1_roi": "mmaction2/ava22-10e-temporal-max-focal",
    "slowfast_r101_50_50_8x8x1_roi": "pyslowfast/ava22",
    "slowfast_r101_50_50_16x8x1_roi": "pyslowfast/ava22",
    "slowfast_tiny": "camera-motion",
}
"""The weights that ``pretrained=True`` loads, and whose network a bare model name builds: the row with
the highest top-1 on OpenMMLab's SlowFast page (v0.21.0), and a chosen row for a model that isn't there.
Of networks that score persons: the highest mAP on AVA without a map of the frame for each box (ACRN)."""

FINETUNE_TAGS: dict[str, str] = {"slowfast_tiny": "actions"}
"""What the command finetune starts from where only a model's name is given, if not the default weights."""

REPO_ID = re.compile(r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)
"""A Hub repository: owner/name."""


def list_models(pattern: str | None = None) -> list[str]:
    """Model names, smallest network first; ``pattern`` is a shell pattern such as "*r50*".

    Raises:
        InputError: the pattern is no text.
    """
    import fnmatch

    if not isinstance(pattern, str | None):
        raise InputError(f"pattern is {pattern!r:.60}; accepted: a text such as '*r50*', or None.")
    names = list(DEFAULT_TAGS if _replaced is None else _replaced)  # without building any row
    return names if pattern is None else [name for name in names if fnmatch.fnmatchcase(name, pattern)]


def list_weights(model: str | None = None) -> list[WeightEntry]:
    """Every published checkpoint, or those of one model, the default one first.

    Raises:
        UnknownNameError: there is no such model.
    """
    rows = _catalog()
    models = list(rows) if model is None else [_known(model)]
    return [entry for name in models for entry in rows[name].values()]


def get_weights(model: str, tag: str = "default") -> WeightEntry:
    """The checkpoint of that model and tag.

    Raises:
        UnknownNameError: there is no such model, or the model has no such tag.
    """
    rows = _catalog()
    entries = rows[_known(model)]
    if tag == "default":
        return next(iter(entries.values()))
    if isinstance(tag, str) and tag in entries:
        return entries[tag]
    elsewhere = [name for name in rows if str(tag) in rows[name]]
    hint = f" It belongs to {quoted(elsewhere)}." if elsewhere else did_you_mean(str(tag), entries)
    raise UnknownNameError(f"'{model}' has no weights '{tag}'.{hint} It has: 'default', {quoted(entries)}.")


def nearest_models(name: str, beside: Iterable[str] = ()) -> str:
    """The nearest of the models and of the names ``beside`` them, else all models; and the way to the Hub."""
    models = list_models()
    near = did_you_mean(name, [*models, *beside]) or f" The models are: {quoted(models)}."
    if any(row.tag == name for row in list_weights()):
        near += f" '{name}' is a tag: MODEL:{name}, or in Python create_model(MODEL, weights='{name}')."
    elif REPO_ID.fullmatch(name) and not Path(name).suffix[1:].isalpha():  # a file's ending
        near += (
            f" If it is a Hub repository, from_pretrained('{name}') loads it; on the command line, fetch it"
            f" with 'hf download {name} --local-dir FOLDER' and give that folder."
        )
    return near


def find_config(name: str) -> WeightEntry | None:
    """The newest checkpoint of a publisher's own config name; None if no publisher has such a config."""
    entries = [entry for entry in list_weights() if entry.config_name == name]
    return max(entries, key=lambda entry: (not entry.superseded, entry.released or ""), default=None)


@contextlib.contextmanager
def using(rows: Iterable[WeightEntry]) -> Iterator[None]:
    """These rows in place of the catalog, in this process, inside a ``with`` block: for tests.

    A model's default is the row that ``DEFAULT_TAGS`` names if it is among them, else its first.

    Raises:
        ValueError: two rows have the same model and tag.
    """
    global _replaced
    before, _replaced = _replaced, _index(rows)
    try:
        yield
    finally:
        _replaced = before


_replaced: Mapping[str, Mapping[str, WeightEntry]] | None = None


def _catalog() -> Mapping[str, Mapping[str, WeightEntry]]:
    """Rows by model and tag, smallest network first, each model's default first."""
    return _published() if _replaced is None else _replaced


def _known(model: str) -> str:
    if not isinstance(model, str) or model not in _catalog():
        raise UnknownNameError(f"There is no model '{model}'.{nearest_models(str(model))}")
    return model


@functools.cache
def _published() -> dict[str, dict[str, WeightEntry]]:
    # Imported at the first question: building all rows takes longer than importing this module.
    from slowfast_zoo.weights.catalog.entry import TABLES

    return _index(row for table in TABLES for row in import_module(f"{__name__}.{table}").ROWS)


def _index(entries: Iterable[WeightEntry]) -> dict[str, dict[str, WeightEntry]]:
    index: dict[str, dict[str, WeightEntry]] = {}
    for entry in entries:
        rows = index.setdefault(entry.model, {})
        if entry.tag in rows:
            raise ValueError(f"{entry.model} has two rows with the tag {entry.tag}")
        rows[entry.tag] = entry
    order = [*(name for name in DEFAULT_TAGS if name in index), *(n for n in index if n not in DEFAULT_TAGS)]
    for model in order:
        rows = index.pop(model)
        tag = DEFAULT_TAGS.get(model)
        index[model] = {tag: rows.pop(tag), **rows} if tag in rows else rows
    return index
