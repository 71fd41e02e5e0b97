"""Checks without stored output: class lists by checksum, view averaging and engines by definition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import numpy as np
import torch

from slowfast_zoo.errors import ExportError, InputError, MissingDependencyError
from slowfast_zoo.inference.aggregate import average_views
from slowfast_zoo.inference.engines.optimize import ENGINES, optimize
from slowfast_zoo.inference.engines.trial import check_published_half_precision, tolerance_of
from slowfast_zoo.inference.verify.report import Check
from slowfast_zoo.inference.verify.stages import SMALL_NETS, seeded_clip, seeded_model
from slowfast_zoo.runtime.precision import Precision, float32_products
from slowfast_zoo.spec import Activation, Aggregate
from slowfast_zoo.weights.catalog import list_weights

_LOGITS = np.array([[0.0, 1.0, -2.0], [3.0, -1.0, 0.5], [0.25, 4.0, -4.0], [1.0, 1.0, 1.0]])
"""Of four views, three classes."""


def labels() -> Iterator[Check]:
    """Every class list of the catalog: the names that were packed, in their order."""
    for data in dict.fromkeys(entry.data for entry in list_weights()):
        whole = data.labels_are_whole()
        detail = "" if whole else f"other names, or another order, in {data.label_set}.txt"
        yield Check(stage="labels", what=f"{data.classes} classes of {data.name}", ok=whole, detail=detail)


def views() -> Iterator[Check]:
    """Every rule that makes one answer of several views, against its definition in float64."""
    activated = {
        "softmax": np.exp(_LOGITS) / np.exp(_LOGITS).sum(1, keepdims=True),
        "sigmoid": 1 / (1 + np.exp(-_LOGITS)),
    }
    for activation in get_args(Activation):
        probabilities = activated[activation]
        expected = {
            "mean-logit": _LOGITS.mean(0),
            "mean-prob": probabilities.mean(0),
            "max-prob": probabilities.max(0),
            "sum-prob": probabilities.sum(0),
        }
        for rule in get_args(Aggregate):
            scores = average_views(torch.from_numpy(_LOGITS), activation, rule).numpy()
            error = float(np.abs(scores - expected[rule]).max())
            what = f"{rule} of {activation} over four views"
            yield Check(stage="views", what=what, ok=error <= 1e-6, error=error, tolerance=1e-6, unit="")


def engines(device: torch.device, *, compiled: bool) -> Iterator[Check]:
    """Every engine and precision of this machine on a small net; half precision on published layers too.

    Args:
        device: where.
        compiled: also "compile", which takes minutes.
    """
    model = seeded_model(next(iter(SMALL_NETS.values()))).to(device)
    clip = seeded_clip(16, 64, 96).to(device)
    with torch.inference_mode(), float32_products("float32", clip.device):
        expected = model(clip)
    for name in ENGINES:
        if name == "compile" and not compiled:
            detail = 'takes minutes: with stages=["engines"] (--stage engines), or when it first answers'
            yield Check(stage="engines", what=name, ok=None, detail=detail)
            continue
        for precision in get_args(Precision):
            yield from _engine(name, precision, model, clip, expected)


def _engine(
    name: str, precision: Precision, model: torch.nn.Module, clip: torch.Tensor, expected: torch.Tensor
) -> Iterator[Check]:
    what, tolerance = f"{name}, {precision}", tolerance_of(precision, clip.device)
    try:
        fast = optimize(model, name, precision)  # type: ignore[arg-type]
    except MissingDependencyError as error:
        yield Check(stage="engines", what=what, ok=None, detail=str(error))
        return
    except InputError:  # not for this device, or not in this precision
        return
    try:
        if ENGINES[name].torch_kernels:
            check_published_half_precision(precision, clip.device)
        difference = float((fast(clip) - expected).abs().max() / expected.abs().max())
    except ExportError as error:
        yield Check(stage="engines", what=what, ok=False, detail=str(error))
        return
    ok = difference <= tolerance
    yield Check(stage="engines", what=what, ok=ok, error=difference, tolerance=tolerance, unit="relative")
