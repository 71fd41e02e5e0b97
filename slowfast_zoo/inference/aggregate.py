"""The views of a video as one answer: the one place where they are averaged, and ranked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

from slowfast_zoo.errors import printable_line, unknown_name
from slowfast_zoo.spec import Activation, Aggregate, class_names
from slowfast_zoo.video.sampling import checked_count

if TYPE_CHECKING:
    from torch import Tensor


def average_views(logits: Tensor, activation: Activation, rule: Aggregate) -> Tensor:
    """One item's scores ``(classes,)``, float32, as the publisher of ``rule`` makes them.

    Args:
        logits: of its views, ``(views, classes)``.
        activation: what makes probabilities of them.
        rule: "mean-logit" averages before the activation and leaves it out; "mean-prob" and "max-prob"
            take the mean and the largest probability; "sum-prob" (PySlowFast) adds probabilities, so
            that scores go up to the number of views.

    Raises:
        UnknownNameError: no such rule.
    """
    logits = logits.float()
    if rule == "mean-logit":
        return logits.mean(dim=0)
    if rule == "mean-prob":
        return activated(logits, activation).mean(dim=0)
    if rule == "max-prob":
        return activated(logits, activation).amax(dim=0)
    if rule == "sum-prob":
        return activated(logits, activation).sum(dim=0)
    raise unknown_name(f"Views can't be averaged by {rule!r}.", rule, get_args(Aggregate))


def probabilities(logits: Tensor, activation: Activation, rule: Aggregate) -> Tensor:
    """``average_views`` as one probability per class ``(classes,)``, ranked as the publisher's scores.

    Raises:
        UnknownNameError: no such rule.
    """
    scores = average_views(logits, activation, rule)
    if rule == "mean-logit":
        return activated(scores[None], activation)[0]
    return scores / len(logits) if rule == "sum-prob" else scores


def best_classes(
    scores: Tensor, labels: Sequence[str] | None, topk: int | None
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Names and probabilities of the best classes, best first.

    Args:
        scores: one per class ``(classes,)``.
        labels: the names; None: "class 7".
        topk: how many to give; None: all.
    """
    best = scores.topk(min(topk or len(scores), len(scores)))
    names = class_names(labels, len(scores))
    return tuple(names[index] for index in best.indices.tolist()), tuple(best.values.tolist())


def scores_text(labels: Sequence[str], scores: Sequence[float]) -> str:
    """Names and probabilities as people read them, on one line: "running 93.1%, walking 4.0%"."""
    pairs = zip(labels, scores, strict=True)
    return ", ".join(f"{printable_line(label)} {score:.1%}" for label, score in pairs)


def check_topk(topk: int | None) -> int | None:
    """What was given.

    Raises:
        InputError: no count of classes.
    """
    return None if topk is None else checked_count("topk", topk, beside=", or None for all classes")


def activated(logits: Tensor, activation: Activation) -> Tensor:
    """Probabilities of logits ``(n, classes)``, row by row."""
    return logits.softmax(dim=1) if activation == "softmax" else logits.sigmoid()
