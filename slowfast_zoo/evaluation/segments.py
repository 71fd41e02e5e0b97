"""Segments against annotations: ActivityNet's mean average precision over temporal IoU thresholds.

Per class, predictions of all videos go by falling score. Each goes down its video's annotations by falling
IoU and takes the first that is free and reaches the threshold; none left makes it a false positive. THUMOS'
and AVA's evaluations look at the best annotation only: what is taken there is a false positive at once, so
that their numbers are lower where annotations of a class overlap. THUMOS also ignores "Ambiguous" parts.

Source: ``Evaluation/eval_detection.py`` and ``utils.py`` (https://github.com/activitynet/ActivityNet).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slowfast_zoo.errors import DataError, InputError, counted, did_you_mean
from slowfast_zoo.evaluation.ava import average_precision
from slowfast_zoo.files import expanded, kind_of, read_text
from slowfast_zoo.inference.inputs import is_partial
from slowfast_zoo.inference.segments import Segment
from slowfast_zoo.video.sampling import is_number

Values = npt.NDArray[np.float64]
Segments = Mapping[str, Sequence[Segment]]

THRESHOLDS: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""ActivityNet's, in its own floating point."""


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentScores:
    """How well segments fit the annotations."""

    labels: tuple[str, ...]
    """The classes of the annotations, in their order."""
    thresholds: tuple[float, ...]
    """IoU that a prediction needs to be right."""
    average_precisions: Values
    """float64 (thresholds, classes); 0 for a class without predictions."""
    num_annotations: int
    num_predictions: int
    """Of the annotated classes."""
    unknown_labels: tuple[str, ...] = ()
    """Predicted classes that no annotation has; they count nowhere."""
    unknown_videos: tuple[str, ...] = ()
    """Videos with predictions that the annotations don't have; these are false positives."""

    @property
    def mean_average_precisions(self) -> tuple[float, ...]:
        """For each threshold, the mean over classes."""
        return tuple(self.average_precisions.mean(axis=1).tolist())

    @property
    def average_map(self) -> float:
        """The mean over thresholds: ActivityNet's number."""
        return float(self.average_precisions.mean())

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        classes = self.average_precisions.mean(axis=0).tolist()
        return {
            "average_map": self.average_map,
            "map": {
                f"{threshold:.2f}": value
                for threshold, value in zip(self.thresholds, self.mean_average_precisions, strict=True)
            },
            "classes": dict(zip(self.labels, classes, strict=True)),
            "annotations": self.num_annotations,
            "predictions": self.num_predictions,
            "unknown_labels": list(self.unknown_labels),
            "unknown_videos": list(self.unknown_videos),
        }

    def __repr__(self) -> str:
        return f"SegmentScores(average mAP {self.average_map:.4f} over {counted(len(self.labels), 'class')})"


def evaluate_segments(
    predictions: Segments | str | Path,
    annotations: Segments | str | Path,
    *,
    thresholds: Iterable[float] = THRESHOLDS,
    subset: str | None = None,
) -> SegmentScores:
    """ActivityNet's scores of segments.

    Args:
        predictions: segments by video name; or a result file in ActivityNet's JSON, as ``Timeline.save``
            writes it with format "activitynet", or a folder of such files.
        annotations: segments by video name, whose scores don't count; or an annotation file in ActivityNet's
            JSON ("database").
        thresholds: IoU that a prediction needs to be right; THUMOS reports 0.3 to 0.7.
        subset: of an annotation file, such as "validation"; None: all. Predictions in videos without
            annotations are false positives, as in the official code.

    Raises:
        InputError: a threshold that isn't one, or nothing to compare with.
        DataError: a file that isn't in that format.
    """
    bounds = list(thresholds) if isinstance(thresholds, Iterable) else []
    if not bounds or not all(is_number(one) and 0 < one <= 1 for one in bounds):
        raise InputError(
            f"thresholds are {thresholds!r:.80}; accepted: a list of numbers above 0, at most 1."
        )
    truth = read_annotated(annotations, subset) if isinstance(annotations, (str, Path)) else annotations
    told = read_predicted(predictions) if isinstance(predictions, (str, Path)) else predictions
    labels = list(dict.fromkeys(segment.label for video in truth.values() for segment in video))
    if not labels:
        raise InputError("There is no annotated segment to compare with.")
    if told and truth.keys().isdisjoint(told):
        raise InputError(
            f"No video of the predictions is annotated: they begin with '{next(iter(told))}', the annotations"
            f" with '{next(iter(truth))}'; videos have to be called alike."
        )
    by_label: dict[str, list[tuple[str, Segment]]] = defaultdict(list)
    for video, segments in told.items():
        for segment in segments:
            by_label[segment.label].append((video, segment))
    precisions = np.zeros((len(bounds), len(labels)))
    for column, label in enumerate(labels):
        if by_label[label]:
            spans = {
                video: _spans(segment for segment in segments if segment.label == label)
                for video, segments in truth.items()
            }
            precisions[:, column] = _average_precisions(by_label[label], spans, bounds)
    return SegmentScores(
        tuple(labels),
        tuple(map(float, bounds)),
        precisions,
        sum(map(len, truth.values())),
        sum(len(by_label[label]) for label in labels),
        tuple(sorted(label for label, found in by_label.items() if found and label not in labels)),
        tuple(sorted(video for video, segments in told.items() if segments and video not in truth)),
    )


def temporal_iou(span: Values, others: Values) -> Values:
    """Intersection over union of one (start, end) with each of ``(n, 2)``: float64 (n,)."""
    overlap = np.clip(np.minimum(span[1], others[:, 1]) - np.maximum(span[0], others[:, 0]), 0, None)
    union = (others[:, 1] - others[:, 0]) + (span[1] - span[0]) - overlap
    ratio: Values = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return ratio


def _average_precisions(
    predictions: Sequence[tuple[str, Segment]], truth: Mapping[str, Values], thresholds: Sequence[float]
) -> Values:
    """Of one class, for each threshold."""
    free = {video: np.ones((len(thresholds), len(spans)), bool) for video, spans in truth.items()}
    right = np.zeros((len(thresholds), len(predictions)), bool)
    # Of equal scores the later one comes first, as the official code has it.
    scores = np.array([segment.score for _, segment in predictions])
    for number in np.argsort(scores, kind="stable")[::-1].tolist():
        video, segment = predictions[number]
        if video not in truth or not len(truth[video]):
            continue
        overlap = temporal_iou(np.array([segment.start_seconds, segment.end_seconds]), truth[video])
        for row, threshold in enumerate(thresholds):
            for index in np.argsort(overlap, kind="stable")[::-1].tolist():
                if overlap[index] < threshold:
                    break
                if free[video][row, index]:
                    free[video][row, index] = False
                    right[row, number] = True
                    break
    total = sum(map(len, truth.values()))
    return np.array([average_precision(scores, row, total) for row in right])


def _spans(segments: Iterable[Segment]) -> Values:
    rows = [(segment.start_seconds, segment.end_seconds) for segment in segments]
    return np.array(rows, np.float64).reshape(-1, 2)


def read_annotated(path: str | Path, subset: str | None = None) -> dict[str, list[Segment]]:
    """The segments of an annotation file in ActivityNet's JSON, by video; scores are 1.

    Raises:
        InputError: no video is there, or in that subset.
        DataError: the file isn't in that format.
    """
    videos = _document(expanded(path), "database")
    if not videos:
        raise InputError(f"'{path}' has no videos.")
    found = {
        name: video
        for name, video in videos.items()
        if subset is None or _field(path, video, "subset") == subset
    }
    if not found:
        names = sorted({str(video.get("subset")) for video in videos.values()})
        near = did_you_mean(str(subset), names) or f" It has {', '.join(names)}."
        raise InputError(f"'{path}' has no video in the subset '{subset}'.{near}")
    return {
        name: _segments(path, name, _field(path, video, "annotations"), scored=False)
        for name, video in found.items()
    }


def read_predicted(path: str | Path) -> dict[str, list[Segment]]:
    """The segments of a result file in ActivityNet's JSON, or of a folder of such files, by video.

    Files of a folder that hold a part of a timeline, named ``.partial-`` and a hash, are left out.

    Raises:
        DataError: a file isn't in that format.
    """
    path = expanded(path)
    files = [path]
    if kind_of(path) == "folder":
        files = sorted(file for file in path.glob("*.json") if not is_partial(file.stem))
    if not files:
        raise DataError(f"The folder '{path}' holds no .json files.")
    found: dict[str, list[Segment]] = {}
    for file in files:
        for name, rows in _document(file, "results").items():
            if name in found:
                raise DataError(f"'{file}' has segments of '{name}', which another file has too.")
            found[name] = _segments(file, name, rows, scored=True)
    return found


def _document(path: Path, field: str) -> dict[str, Any]:
    try:
        document = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"'{path}' can't be read: {error}.") from error
    content = document.get(field) if isinstance(document, dict) else None
    if not isinstance(content, dict):
        raise DataError(f"'{path}' isn't ActivityNet's JSON: it has no '{field}' that maps videos.")
    return content


def _field(path: str | Path, row: Any, field: str) -> Any:
    if not isinstance(row, dict) or field not in row:
        raise DataError(f"'{path}' isn't ActivityNet's JSON: {row!r:.80} has no '{field}'.")
    return row[field]


def _segments(path: str | Path, video: str, rows: Any, *, scored: bool) -> list[Segment]:
    if not isinstance(rows, list):
        raise DataError(f"'{path}' isn't ActivityNet's JSON: '{video}' has no list of segments.")
    return [_segment(path, row, scored=scored) for row in rows]


def _segment(path: str | Path, row: Any, *, scored: bool) -> Segment:
    try:
        span, label = _field(path, row, "segment"), _field(path, row, "label")
        if not isinstance(span, list) or not isinstance(label, (str, int)):
            raise TypeError
        start, end = map(float, span)
        score = float(_field(path, row, "score")) if scored else 1.0
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"'{path}' has a segment that isn't one: {row!r:.120}.") from error
    if not all(map(math.isfinite, (start, end, score))) or end < start:
        raise DataError(f"'{path}' has a segment that isn't one: {row!r:.120}.")
    return Segment(start, end, str(label), score)
