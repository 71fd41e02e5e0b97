"""Accuracies as MMAction2 defines them, on plain arrays; degenerate cases included.

Source: ``mmaction/evaluation/functional/accuracy.py`` of MMAction2 1.2.0 (``mmaction/core/evaluation`` in
0.x), https://github.com/open-mmlab/mmaction2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from slowfast_zoo.errors import InputError, UnknownNameError, did_you_mean, quoted
from slowfast_zoo.evaluation import Metric

Scores = npt.NDArray[np.floating[Any]]
Targets = npt.NDArray[Any]

METRICS: tuple[Metric, ...] = get_args(Metric)


def compute_metrics(
    scores: Scores, targets: Targets, names: tuple[str, ...] | None = None
) -> dict[str, float]:
    """The metrics by the publisher's result names (top1_acc, top5_acc, mean_class_accuracy, ...).

    Args:
        scores: (N, classes), higher is more likely.
        targets: classes int64 (N,), or zeros and ones (N, classes) for several labels.
        names: of ``METRICS``; None: those that fit the targets.

    Raises:
        InputError: nothing to score, or a metric that doesn't fit the targets.
        UnknownNameError: there is no such metric.
    """
    multi_label = targets.ndim == 2
    if not names:
        names = ("mean_average_precision",) if multi_label else ("top_k_accuracy", "mean_class_accuracy")
    check_metrics(names, multi_label=multi_label)
    results: dict[str, float] = {}
    for name in names:
        if name == "top_k_accuracy":
            results |= {f"top{k}_acc": value for k, value in top_k_accuracy(scores, targets, (1, 5)).items()}
        elif name == "mean_class_accuracy":
            results[name] = mean_class_accuracy(confusion_matrix(scores, targets))
        else:
            results[name] = mean_average_precision(scores, targets)
    return results


def check_metrics(names: Sequence[str], *, multi_label: bool) -> None:
    """Refuses metrics that don't exist or don't fit the kind of labels.

    Raises:
        InputError: a metric that doesn't fit.
        UnknownNameError: there is no such metric.
    """
    for name in names:
        if name not in METRICS:
            raise UnknownNameError(
                f"There is no metric '{name}'.{did_you_mean(name, METRICS)} Accepted: {quoted(METRICS)}."
            )
        if multi_label != (name == "mean_average_precision"):
            kind = "several labels per video" if multi_label else "one label per video"
            raise InputError(f"The metric {name} doesn't fit a dataset with {kind}.")


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """Between which shares the true one lies in 95 of 100 such samples; NaN without a sample.

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953.
    """
    if total == 0:
        return math.nan, math.nan
    z = 1.959964
    share, spread = right / total, z**2 / total
    center = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(center - half, 0.0), min(center + half, 1.0)


def top_k_accuracy(scores: Scores, targets: Targets, ks: tuple[int, ...] = (1, 5)) -> dict[int, float]:
    """For each k the share of rows whose target is among the k best scores (all of them when k > classes).

    Of equal scores the later class is the better one; the publisher's sort leaves their order open.

    Args:
        scores: (N, classes).
        targets: int64 (N,).
        ks: how many of the best count.

    Raises:
        InputError: shapes that don't fit, nothing to score, or scores that are not numbers.
    """
    _check(scores, targets, 1)
    order = np.argsort(scores, axis=1, kind="stable")
    return {k: float((order[:, -k:] == targets[:, None]).any(axis=1).mean()) for k in ks}


def confusion_matrix(scores: Scores, targets: Targets) -> npt.NDArray[np.int64]:
    """Counts (classes, classes): rows are the true classes, columns the best-scored ones.

    Args:
        scores: (N, classes); of equal scores the first class is taken, as in the publisher's argmax.
        targets: int64 (N,).

    Raises:
        InputError: as ``top_k_accuracy``, or a target that is no class.
    """
    _check(scores, targets, 1)
    classes = scores.shape[1]
    if targets.min() < 0 or targets.max() >= classes:
        raise InputError(f"Targets go from {targets.min()} to {targets.max()}; there are {classes} classes.")
    cells = targets.astype(np.int64) * classes + scores.argmax(axis=1)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def mean_class_accuracy(confusion: npt.NDArray[np.int64]) -> float:
    """The mean of the classes' accuracies.

    A class without a video counts as 0 if it was predicted for any, and isn't counted otherwise.

    Args:
        confusion: (classes, classes) as ``confusion_matrix`` gives it.
    """
    seen = (confusion.sum(axis=1) + confusion.sum(axis=0)) > 0
    accuracies = np.diag(confusion) / np.maximum(confusion.sum(axis=1), 1)
    return float(accuracies[seen].mean())


def mean_average_precision(scores: Scores, targets: Targets) -> float:
    """The mean over classes of ``average_precisions``; without classes that have no positive.

    Args:
        scores: (N, classes).
        targets: zeros and ones (N, classes).

    Raises:
        InputError: as ``top_k_accuracy``.
    """
    values = average_precisions(scores, targets)
    return float("nan") if np.isnan(values).all() else float(np.nanmean(values))


def average_precisions(scores: Scores, targets: Targets) -> npt.NDArray[np.float64]:
    """Each class's area under the precision-recall steps, float64 (classes,); NaN without a positive.

    Rows of equal score enter together, so that their order doesn't matter.
    """
    _check(scores, targets, 2)
    return np.array([_average_precision(scores[:, i], targets[:, i] > 0) for i in range(scores.shape[1])])


def _average_precision(scores: Scores, positive: npt.NDArray[np.bool_]) -> float:
    if not positive.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    scores, positive = scores[order], positive[order]
    last_of_ties = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    hits = np.cumsum(positive)[last_of_ties]
    precision, recall = hits / (last_of_ties + 1), hits / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def _check(scores: Scores, targets: Targets, rank: int) -> None:
    shape = scores.shape if rank == 2 else scores.shape[:1]
    if scores.ndim != 2 or targets.shape != shape:
        raise InputError(
            f"scores {scores.shape} and targets {targets.shape} don't fit; accepted: (N, classes) and "
            f"{'(N, classes)' if rank == 2 else '(N,)'}."
        )
    if not scores.size:
        raise InputError("There is nothing to score: no video was read, or there are no classes.")
    check_numbers(scores)


def check_numbers(scores: Scores) -> None:
    """Refuses scores that are none.

    Raises:
        InputError: there is a NaN.
    """
    if np.isnan(scores).any():
        raise InputError("Scores hold NaN; the model or its input is broken.")
