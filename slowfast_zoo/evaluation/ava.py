"""Who does what when, against annotations: AVA's frame mAP, by the official rule and by the publishers' own.

A detection is a box, an action and a score. Per frame and action each detection is compared with the
annotated box that it overlaps most: right if the overlap (IoU) reaches the threshold and no better detection
has taken that box, else false, even where another box would do. Per action the detections of all frames go by
falling score; the area under the interpolated precision-recall curve is the action's AP. The publishers'
sorts leave the order of equal scores open: here the earlier row of a frame is compared first and kept among
the best, and the later row comes first along the curve.

Published scores come from four programs that agree so far and differ in the fields of ``Rule``:

                  matched   rows     frames without  excluded     actions without  boxes without
                  by        a frame  annotations     annotations  a detection      an area
    official      score     best 50  don't count     don't count  AP 0             don't count
    mmaction2-0.x score     all      count           don't count  AP 0             don't count
    mmaction2-1.x score     all      don't count     are missed   don't count      count
    pyslowfast    row       all      count           don't count  AP 0             don't count

The four differ by a point or more on the same files. PySlowFast matches in the order of the file's rows. The
official program of today takes no list of excluded frames: "official" has them taken out of both files.
MMAction2 also rounds boxes and scores when it writes its own file of detections.

Sources:
    ``Evaluation/get_ava_performance.py``, https://github.com/activitynet/ActivityNet (82304fa9)
    ``mmaction/core/evaluation``, https://github.com/open-mmlab/mmaction2 (71a938ab, branch 0.x)
    ``mmaction/evaluation``, same repository (4d6c9347, release 1.2.0)
    ``slowfast/utils/ava_eval_helper.py``, https://github.com/facebookresearch/SlowFast (287ec007)
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slowfast_zoo.data.labels import read_label_ids
from slowfast_zoo.data.persons.actions import (
    Moment,
    Numbers,
    PersonActions,
    Values,
    overlaps,
    read_ava,
    read_excluded,
    same_unit,
    to_milliseconds,
)
from slowfast_zoo.errors import InputError, UnknownNameError, counted, did_you_mean, quoted
from slowfast_zoo.evaluation import DetectionRule
from slowfast_zoo.video.sampling import is_number


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """How a publisher's program counts."""

    by_score: bool = True
    """Whether detections of a frame are matched by falling score, else in the order of their rows."""
    best: int | None = None
    """Rows of a frame that count, of all actions together; None: all."""
    empty_frames: bool = True
    """Whether detections count in frames without annotations."""
    empty_of_any: bool = False
    """Whether an annotation of an action that isn't scored makes a frame one with annotations."""
    excluded_missed: bool = False
    """Whether annotations of excluded frames count as missed."""
    undetected: bool = True
    """Whether an action without any detection counts, with AP 0."""
    without_area: bool = False
    """Whether boxes without an area count."""


RULES: dict[DetectionRule, Rule] = {
    "official": Rule(best=50, empty_frames=False, empty_of_any=True),
    "mmaction2-0.x": Rule(),
    "mmaction2-1.x": Rule(empty_frames=False, excluded_missed=True, undetected=False, without_area=True),
    "pyslowfast": Rule(by_score=False),
    "multisports": Rule(without_area=True),
}
"""By name; "multisports" is the frame mAP of that benchmark, as MMAction2 1.2.0 computes it."""


@dataclasses.dataclass(frozen=True, eq=False)
class DetectionScores:
    """How well detections fit the annotations."""

    labels: tuple[str, ...]
    """The actions that count, in the order of their numbers."""
    average_precisions: Values
    """float64 (actions,)."""
    rule: str
    num_annotations: int
    """Rows of the scored actions, in frames that count."""
    num_predictions: int
    iou: float = 0.5

    @property
    def mean_average_precision(self) -> float:
        """The mean over actions; NaN without one."""
        return float(self.average_precisions.mean()) if self.labels else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values; the mean is None without an action."""
        return {
            "map": self.mean_average_precision if self.labels else None,
            "rule": self.rule,
            "iou": self.iou,
            "classes": dict(zip(self.labels, self.average_precisions.tolist(), strict=True)),
            "annotations": self.num_annotations,
            "predictions": self.num_predictions,
        }

    def __repr__(self) -> str:
        actions = counted(len(self.labels), "action")
        return f"DetectionScores({self.rule} mAP {self.mean_average_precision:.4f} of {actions})"


def evaluate_detections(
    predictions: PersonActions | str | Path,
    annotations: PersonActions | str | Path,
    *,
    rule: DetectionRule | Rule = "official",
    classes: Mapping[int, str] | str | Path | None = None,
    excluded: Iterable[Moment] | str | Path | None = None,
    iou: float = 0.5,
) -> DetectionScores:
    """Frame mAP of detections, by one of the published rules.

    Args:
        predictions: rows with scores; or a CSV file in AVA's form.
        annotations: rows; or AVA's CSV file.
        rule: a name of ``RULES``, or one's own.
        classes: the actions that are scored: names by number, or a file of them such as AVA's pbtxt, whose 60
            of 80 actions the published scores mean. None: all that the annotations have.
        excluded: frames that don't count; or AVA's file of them. Times are compared to the millisecond.
        iou: overlap that makes a detection right.

    Raises:
        InputError: nothing to compare with, a threshold that isn't one, boxes in pixels against shares, or
            no frame that both have.
        UnknownNameError: there is no such rule.
        DataError: a file that can't be read.
    """
    check_iou(iou)
    chosen = rule_of(rule)
    truth = read_ava(annotations, scored=False) if isinstance(annotations, (str, Path)) else annotations
    told = read_ava(predictions, scored=True) if isinstance(predictions, (str, Path)) else predictions
    listed = read_excluded(excluded) if isinstance(excluded, (str, Path)) else excluded or ()
    out = frozenset(map(to_milliseconds, listed))
    if isinstance(classes, (str, Path)):
        classes = read_label_ids(Path(classes))
    if classes is None:
        classes = {number: f"action {number}" for number in np.unique(truth.labels).tolist() if number >= 0}
    same_unit(told, truth)
    told, truth = told.in_milliseconds(), truth.in_milliseconds()
    _check_frames(told, truth)
    counts = _counts(truth, classes, frozenset() if chosen.excluded_missed else out)
    if not counts:
        raise InputError("There is no annotation of a scored action to compare with.")
    found = _judged(told, truth, chosen, classes, out, iou)
    precisions = {
        number: average_precision(*found.get(number, (np.empty(0), np.empty(0, bool))), counts[number])
        for number in sorted(counts)
        if number in found or chosen.undetected
    }
    return DetectionScores(
        tuple(classes[number] for number in precisions),
        np.array([*precisions.values()]),
        rule if isinstance(rule, str) else "own rule",
        sum(counts.values()),
        sum(len(found[number][0]) for number in precisions if number in found),
        float(iou),
    )


def average_precision(scores: Values, right: npt.NDArray[np.bool_], annotated: int) -> float:
    """The area under the interpolated precision-recall curve.

    Args:
        scores: float64 (N,).
        right: bool (N,): which detections found an annotation.
        annotated: how many annotations there are.
    """
    hits = right[np.argsort(scores, kind="stable")[::-1]].cumsum()
    precision, recall = hits / np.arange(1, len(hits) + 1), hits / annotated
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * best))


def check_iou(iou: object) -> None:
    """Refuses what is no overlap.

    Raises:
        InputError: no number above 0, at most 1.
    """
    if not is_number(iou) or not 0 < iou <= 1:
        raise InputError(f"iou is {iou!r}; accepted: a number above 0, at most 1.")


def rule_of(rule: DetectionRule | Rule) -> Rule:
    """The rule of that name, or one's own.

    Raises:
        UnknownNameError: there is no such rule.
    """
    if isinstance(rule, Rule):
        return rule
    if not isinstance(rule, str) or rule not in RULES:
        near = did_you_mean(str(rule), RULES)
        raise UnknownNameError(f"There is no rule '{rule}'.{near} Accepted: {quoted(RULES)}.")
    return RULES[rule]


def _check_frames(told: PersonActions, truth: PersonActions) -> None:
    """Refuses detections of other videos or times: frames that nobody annotated are left out silently."""
    if told.frames and truth.frames and set(told.frames).isdisjoint(truth.frames):
        (video, second), (other, annotated) = told.frames[0], truth.frames[0]
        raise InputError(
            f"No frame of the predictions is annotated: they begin with '{video}' at {second:.10g}, the"
            f" annotations with '{other}' at {annotated:.10g}; videos are called otherwise, or times count"
            " from elsewhere (--begins-at of detect)."
        )


def _counts(truth: PersonActions, classes: Mapping[int, str], excluded: frozenset[Moment]) -> Counter[int]:
    """Annotations of each scored action."""
    counted = np.array([frame not in excluded for frame in truth.frames], bool)[truth.frame]
    labels: Numbers = truth.labels[counted]
    return Counter(number for number in labels.tolist() if number in classes)


def _judged(
    told: PersonActions,
    truth: PersonActions,
    rule: Rule,
    classes: Mapping[int, str],
    excluded: frozenset[Moment],
    iou: float,
) -> dict[int, tuple[Values, npt.NDArray[np.bool_]]]:
    """Of each scored action the scores of its detections, and which are right."""
    scored = np.array([*classes])
    annotated: dict[Moment, Numbers] = {
        truth.frames[frame]: rows for frame, rows in _by_value(truth.frame, np.arange(len(truth)))
    }
    known = (
        set(truth.frames)
        if rule.empty_of_any
        else {frame for frame, rows in annotated.items() if np.isin(truth.labels[rows], scored).any()}
    )
    parts: dict[int, list[tuple[Values, npt.NDArray[np.bool_]]]] = defaultdict(list)
    for number, rows in _by_value(told.frame, np.flatnonzero(np.isin(told.labels, scored))):
        frame = told.frames[number]
        if frame in excluded or (frame not in known and not rule.empty_frames):
            continue
        best = np.argsort(-told.scores[rows], kind="stable")[: rule.best]
        rows = rows[best if rule.by_score else np.sort(best)]
        there = annotated.get(frame, np.empty(0, np.int64))
        for action, mine in _by_value(told.labels, rows):
            if not rule.without_area:
                mine = mine[(told.boxes[mine, 2:] > told.boxes[mine, :2]).all(axis=1)]
            theirs = there[truth.labels[there] == action]
            right = matched(told.boxes[mine], truth.boxes[theirs], iou)
            parts[action].append((told.scores[mine], right))
    return {
        action: (
            np.concatenate([scores for scores, _ in found]),
            np.concatenate([right for _, right in found]),
        )
        for action, found in parts.items()
    }


def matched(boxes: Values, annotated: Values, iou: float) -> npt.NDArray[np.bool_]:
    """Which boxes, best first, are the first whose best annotated box is that one: bool (n,)."""
    right = np.zeros(len(boxes), bool)
    if len(annotated):
        overlap = overlaps(boxes, annotated)
        taken = set()
        for row, best in enumerate(overlap.argmax(axis=1).tolist()):
            if overlap[row, best] >= iou and best not in taken:
                taken.add(best)
                right[row] = True
    return right


def _by_value(values: Numbers, rows: Numbers) -> Iterator[tuple[int, Numbers]]:
    """Of so many rows those with each value, in their order."""
    order = rows[np.argsort(values[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(values[order])) + 1
    for part in np.split(order, starts) if len(order) else ():
        yield int(values[part[0]]), part
