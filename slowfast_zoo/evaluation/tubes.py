"""Video mAP: whole actions, as boxes that follow a person through time, against annotated ones.

Detections of single frames are linked first: a tube goes on with the best-scored box of the next frame that
overlaps its last one by half, and ends where there is none; its score is the mean of its boxes'. Then tubes
are judged as boxes are: each against the annotated tube that it overlaps most, in space and time.

MMAction2 1.2.0, from whose program MultiSports' published video mAP comes, gives every box the score of the
last row of all detections while it links, so that tubes stand in the order of videos and time; so does
``as_published``.

Source: ``mmaction/evaluation/functional/multisports_utils.py`` (https://github.com/open-mmlab/mmaction2,
release 1.2.0), which follows https://github.com/MCG-NJU/MultiSports.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from slowfast_zoo.data.persons.actions import Numbers, PersonActions, Values, overlaps
from slowfast_zoo.errors import InputError
from slowfast_zoo.evaluation.ava import DetectionScores, average_precision, check_iou

NOT_SCORED = frozenset(
    {
        "aerobic kick jump",
        "aerobic off axis jump",
        "aerobic butterfly jump",
        "aerobic balance turn",
        "basketball save",
        "basketball jump ball",
    }
)
"""Actions of MultiSports that its program leaves out."""

_KEPT, _SAME = 10, 0.6
_LINKED = 0.5
_LEAST_SCORE, _LEAST_FRAMES = 0.005, 15


class Tube(NamedTuple):
    """One action of one person."""

    frames: Numbers
    """int64 (n,): consecutive frame numbers."""
    boxes: Values
    """float64 (n, 4): x1, y1, x2, y2 in each of them."""
    score: float = 1.0


Tubes = Mapping[str, Mapping[int, Sequence[Tube]]]
"""By video and action."""


def link_tubes(detections: PersonActions, *, as_published: bool = False) -> dict[str, dict[int, list[Tube]]]:
    """Tubes of the detections of single frames, by video and action.

    Args:
        detections: the ``seconds`` of its frames are frame numbers; boxes in pixels.
        as_published: with the scores of MMAction2's program (above).

    Raises:
        InputError: frames that have no whole number.
    """
    if any(number % 1 for _, number in detections.frames):
        raise InputError("Tubes are linked from frame to frame; give frame numbers, not seconds.")
    scores = detections.scores
    if as_published and len(scores):
        scores = np.full_like(scores, scores[-1])
    rows: dict[tuple[str, int], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, (frame, label) in enumerate(
        zip(detections.frame.tolist(), detections.labels.tolist(), strict=True)
    ):
        video, number = detections.frames[frame]
        rows[video, label][int(number)].append(row)
    tubes: dict[str, dict[int, list[Tube]]] = defaultdict(dict)
    for (video, label), by_frame in rows.items():
        found = (
            (frame, *_suppressed(detections.boxes[by_frame[frame]], scores[by_frame[frame]]))
            for frame in sorted(by_frame)
        )
        if linked := [*_linked(found)]:
            tubes[video][label] = linked
    return dict(tubes)


def _suppressed(boxes: Values, scores: Values) -> tuple[Values, Values]:
    """The best boxes of a frame, of which none is nearly another: both in falling score.

    As in the source, pixels count with their last one, and what is suppressed stays with a lower score.
    """
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    areas = sides[:, 0] * sides[:, 1]
    order = np.argsort(scores, kind="stable")[::-1]
    weight = np.ones_like(scores)
    while len(order):
        best, rest = order[0], order[1:]
        corner = np.maximum(boxes[best, :2], boxes[rest, :2])
        shared_sides = np.clip(np.minimum(boxes[best, 2:], boxes[rest, 2:]) - corner + 1, 0, None)
        shared = shared_sides[:, 0] * shared_sides[:, 1]
        overlap = shared / (areas[rest] + areas[best] - shared)
        near = overlap > _SAME
        weight[rest[near]] = 1 - overlap[near]
        order = rest[~near]
    lowered = scores * weight
    order = np.argsort(lowered, kind="stable")[::-1][:_KEPT]
    return boxes[order], lowered[order]


def _linked(found: Iterator[tuple[int, Values, Values]]) -> Iterator[Tube]:
    """Tubes of one action, out of the boxes and scores of frames in order."""
    open_tubes: list[list[tuple[int, Values, float]]] = []
    for frame, boxes, scores in found:
        ended = [tube for tube in open_tubes if tube[-1][0] < frame - 1]
        open_tubes = [tube for tube in open_tubes if tube[-1][0] == frame - 1]
        yield from _finished(ended)
        # the best one so far chooses first
        open_tubes.sort(key=lambda tube: -np.mean([score for _, _, score in tube]))
        free = np.ones(len(boxes), bool)
        going: list[list[tuple[int, Values, float]]] = []
        ended = []
        for tube in open_tubes:
            overlap = overlaps(boxes, tube[-1][1][None])[:, 0]
            fits = np.flatnonzero(free & (overlap >= _LINKED))
            if len(fits):
                chosen = fits[scores[fits].argmax()]
                free[chosen] = False
                tube.append((frame, boxes[chosen], float(scores[chosen])))
            (going if len(fits) else ended).append(tube)
        yield from _finished(ended)
        new = np.flatnonzero(free).tolist()
        open_tubes = going + [[(frame, boxes[row], float(scores[row]))] for row in new]
    yield from _finished(open_tubes)


def _finished(tubes: Sequence[Sequence[tuple[int, Values, float]]]) -> Iterator[Tube]:
    for tube in tubes:
        frames, boxes, scores = zip(*tube, strict=True)
        score = float(np.mean(scores))
        if score >= _LEAST_SCORE and len(tube) >= _LEAST_FRAMES:
            yield Tube(np.array(frames, np.int64), np.array(boxes, np.float32).astype(np.float64), score)


def tube_iou(one: Tube, other: Tube) -> float:
    """Overlap of two tubes: in time, times the mean overlap of their boxes in the frames that both have.

    As in the source, times are differences of frame numbers: a common frame alone is no common time.
    """
    first, last = max(one.frames[0], other.frames[0]), min(one.frames[-1], other.frames[-1])
    whole = max(one.frames[-1], other.frames[-1]) - min(one.frames[0], other.frames[0])
    if last < first or not whole:
        return 0.0
    _, *rows = np.intersect1d(one.frames, other.frames, return_indices=True)
    if not len(rows[0]):
        return 0.0
    boxes, others = one.boxes[rows[0]], other.boxes[rows[1]]
    corner = np.maximum(boxes[:, :2], others[:, :2])
    sides = np.clip(np.minimum(boxes[:, 2:], others[:, 2:]) - corner, 0, None)
    shared = sides.prod(axis=1)
    areas = [(tube[:, 2:] - tube[:, :2]).prod(axis=1) for tube in (boxes, others)]
    union = areas[0] + areas[1] - shared
    overlap = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return float(np.mean(overlap) * (last - first) / whole)


def evaluate_tubes(
    predictions: Tubes, annotations: Tubes, classes: Mapping[int, str], *, iou: float = 0.5
) -> DetectionScores:
    """Video mAP of tubes, by MultiSports' rule.

    Args:
        predictions: as ``link_tubes`` gives them.
        annotations: of every video.
        classes: names by number; those of ``NOT_SCORED`` and those without annotations don't count.
        iou: overlap in space and time that makes a tube right; published are 0.2, 0.5, and the mean of 0.1
            to 0.9.

    Raises:
        InputError: nothing to compare with, or a threshold that isn't one.
    """
    check_iou(iou)
    labels, precisions, annotated, predicted = [], [], 0, 0
    for number in sorted(classes):
        total = sum(len(video.get(number, ())) for video in annotations.values())
        if classes[number] in NOT_SCORED or not total:
            continue
        videos = dict.fromkeys([*annotations, *predictions])  # tubes of equal score go in this order
        told = [(video, tube) for video in videos for tube in predictions.get(video, {}).get(number, ())]
        scores = np.array([tube.score for _, tube in told])
        right = np.zeros(len(told), bool)
        taken: set[tuple[str, int]] = set()
        for row in np.argsort(-scores, kind="stable").tolist():
            video, tube = told[row]
            there = annotations.get(video, {}).get(number, ())
            overlap = [tube_iou(one, tube) for one in there]
            best = int(np.argmax(overlap)) if overlap else -1
            if overlap and overlap[best] >= iou and (video, best) not in taken:
                taken.add((video, best))
                right[row] = True
        # of equal scores the earlier one comes first in the source
        precisions.append(average_precision(scores[::-1], right[::-1], total))
        labels.append(classes[number])
        annotated, predicted = annotated + total, predicted + len(told)
    if not labels:
        raise InputError("There is no annotated tube of a scored action to compare with.")
    return DetectionScores(tuple(labels), np.array(precisions), "video", annotated, predicted, float(iou))


def tubes_of(annotations: PersonActions) -> dict[str, dict[int, list[Tube]]]:
    """Annotated tubes: the rows of an action that have one person's number, by video and action.

    Args:
        annotations: as ``read_multisports`` gives them: "seconds" are frame numbers.

    Raises:
        InputError: rows that don't say which person they are about.
    """
    if (annotations.persons < 0).any():
        raise InputError("Tubes need to know which person each box shows, and some have no person.")
    groups: dict[tuple[str, int, int], list[int]] = defaultdict(list)
    columns = (annotations.frame, annotations.labels, annotations.persons)
    for row, (frame, label, person) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        groups[annotations.frames[frame][0], label, person].append(row)
    tubes: dict[str, dict[int, list[Tube]]] = {video: {} for video, _ in annotations.frames}
    numbers = np.array([number for _, number in annotations.frames], np.int64)
    for (video, label, _), rows in groups.items():
        order = np.array(rows)[np.argsort(numbers[annotations.frame[rows]], kind="stable")]
        tube = Tube(numbers[annotations.frame[order]], annotations.boxes[order])
        tubes[video].setdefault(label, []).append(tube)
    return tubes
