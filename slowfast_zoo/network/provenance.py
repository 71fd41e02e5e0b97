"""What a model says of where its weights come from, and what becomes of that when some are replaced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
    # What only began as others already did so before.
    return kept | (start if start.keys() <= {"initialized_from"} else {"initialized_from": start})


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
