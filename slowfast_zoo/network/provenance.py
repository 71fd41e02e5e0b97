"""What a model says of where its weights come from, and what becomes of that when some are replaced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MOST_ORIGINS = 16
"""That a provenance names, one in another, which JSON can't nest without end."""
_DEEPEST = 1000
"""Origins to look at: what JSON nests is less deep, and what contains itself has no end."""


def as_start(provenance: Mapping[str, Any], model: str | None = None) -> dict[str, Any]:
    """The provenance of weights that began as others: all that was said of those is ``initialized_from``.

    Args:
        provenance: of the others.
        model: which model they are in now; None: the same one.
    """
    same = model in (None, provenance.get("model"))
    names = ("model", "license") if same else ("license",)
    kept = {key: provenance[key] for key in names if provenance.get(key) is not None}
    start = {key: value for key, value in provenance.items() if key not in kept and value is not None}
    kept |= {} if same else {"model": model}
    if not start.keys() <= {"initialized_from"}:  # else they already began as others before
        start = {"initialized_from": start}
    return kept | _bounded(start)


def _bounded(start: Mapping[str, Any]) -> dict[str, Any]:
    """The start with its latest origins and the first one, where trainings upon trainings have too many."""
    origins: list[dict[str, Any]] = []
    origin: Any = start.get("initialized_from")
    while isinstance(origin, Mapping) and len(origins) < _DEEPEST:
        origins.append({key: value for key, value in origin.items() if key != "initialized_from"})
        origin = origin.get("initialized_from")
    if len(origins) <= _MOST_ORIGINS:
        return dict(start)
    gap = {"left_out": "the trainings between this one and the first weights"}
    nested: dict[str, Any] = {}
    for facts in reversed([*origins[: _MOST_ORIGINS - 2], gap, origins[-1]]):
        nested = {"initialized_from": facts | nested}
    return nested


def with_fresh_classifier(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance of a model that got a fresh classifier: what was published or measured isn't this one.

    Args:
        provenance: of the model before. Its ``training`` becomes ``pretraining``.
    """
    earlier = dict(provenance)
    known = [earlier.pop(name) for name in ("pretraining", "training") if name in earlier]
    return ({"pretraining": known[-1]} if known else {}) | as_start(earlier)


def of_pathways(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is said of the weights in the pathways: of the start's, where the classifier is fresh or the
    stems were adapted."""
    start = provenance.get("initialized_from")
    trained = provenance.keys() & {"training", "pretraining"}
    return start if isinstance(start, Mapping) and not trained else provenance
