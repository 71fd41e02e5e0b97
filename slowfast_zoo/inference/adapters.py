"""Answers as the tools have them in which people look at videos: FiftyOne, supervision, Label Studio.

Each takes what ``predict``, ``timeline`` or ``detect`` returned. FiftyOne and supervision are imported where
they are asked for; Label Studio's tasks are plain JSON values.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from slowfast_zoo.errors import InputError
from slowfast_zoo.inference.detect.detections import Detections, Person
from slowfast_zoo.inference.predict import Prediction
from slowfast_zoo.inference.segment_files import Timeline
from slowfast_zoo.runtime.packages import require
from slowfast_zoo.video.sampling import checked_share, is_number

if TYPE_CHECKING:
    import fiftyone
    import supervision

Answer = Prediction | Timeline | Detections

_PERSON = "person"
"""What one is called of whom no action is told."""


def to_fiftyone(answer: Answer, *, fps: float | None = None) -> Any:
    """FiftyOne's label for a sample, or for frames of it.

        sample["motion"] = to_fiftyone(predict(model, sample.filepath))
        sample["events"] = to_fiftyone(timeline(model, sample.filepath), fps=sample.metadata.frame_rate)
        for number, found in to_fiftyone(detect(model, sample.filepath, ...), fps=30).items():
            sample.frames[number]["persons"] = found

    Args:
        answer: what to convert.
        fps: frames per second of the video, by which FiftyOne counts frames; not needed for a ``Prediction``.

    Returns:
        of a ``Prediction`` a ``fiftyone.Classification`` with the best class, of a ``Timeline``
        ``fiftyone.TemporalDetections``, of ``Detections`` a dict of ``fiftyone.Detections`` by frame number
        (from 1), whose boxes end with the picture; all actions are in ``actions`` and ``scores``.

    Raises:
        InputError: an answer that failed, or of another kind, or a frame rate that is missing.
        MissingDependencyError: FiftyOne isn't installed.
    """
    _check(answer)
    fo = require("fiftyone")
    if isinstance(answer, Prediction):
        return fo.Classification(label=answer.labels[0], confidence=answer.scores[0])
    rate = _rate(fps)
    if isinstance(answer, Timeline):
        found = [
            fo.TemporalDetection(
                label=segment.label,
                support=list(_frames(segment.start_seconds, segment.end_seconds, rate)),
                confidence=segment.score,
            )
            for segment in answer.segments
        ]
        return fo.TemporalDetections(detections=found)
    frames: dict[int, list[Any]] = {_frame(moment, rate): [] for moment in answer.key_seconds}
    for person in answer.persons:
        frames[_frame(person.seconds, rate)].append(_fiftyone_person(fo, person))
    return {frame: fo.Detections(detections=persons) for frame, persons in frames.items()}


def to_supervision(answer: Detections, seconds: float) -> supervision.Detections:
    """The persons of the key frame nearest to a time, as supervision draws, tracks and counts them.

    ``class_id`` is the place of the most probable action among ``answer.labels`` (-1: no action is told),
    ``confidence`` its probability, ``data`` has its name as "class_name", and "actions", a list per person.

    Raises:
        InputError: no ``Detections``, or no time.
        MissingDependencyError: supervision isn't installed.
    """
    if not isinstance(answer, Detections):
        raise InputError(f"supervision draws what detect returns, not a {type(answer).__name__}.")
    persons = answer.at(seconds)
    sv = require("supervision")
    places = {label: place for place, label in enumerate(answer.labels)}
    tracks = [person.track for person in persons]
    known = dict.fromkeys(person.track for person in answer.persons if person.track is not None)
    numbers = {track: number for number, track in enumerate(known)}
    actions = np.empty(len(persons), object)
    actions[:] = [list(person.labels) for person in persons]
    return sv.Detections(
        xyxy=np.array([person.box for person in persons], np.float32).reshape(-1, 4),
        confidence=np.array([_best(person)[1] for person in persons], np.float32),
        class_id=np.array([places.get(_best(person)[0], -1) for person in persons], np.int64),
        tracker_id=None if None in tracks or not tracks else np.array([_track(t, numbers) for t in tracks]),
        data={"class_name": np.array([_best(person)[0] for person in persons], str), "actions": actions},
    )


def to_label_studio(
    answer: Answer,
    *,
    video: str | None = None,
    fps: float | None = None,
    version: str = "slowfast_zoo",
    threshold: float = 0.0,
) -> dict[str, Any]:
    """A task of Label Studio, its answer as a prediction to correct: a list of them is what it imports.

    The names are those of this interface, of whose three tags one is needed:

        <View>
          <Video name="video" value="$video" frameRate="30"/>
          <Choices name="choice" toName="video">...</Choices>
          <TimelineLabels name="timeline" toName="video">...</TimelineLabels>
          <Labels name="label" toName="video">...</Labels><VideoRectangle name="box" toName="video"/>
        </View>

    Args:
        answer: a ``Prediction`` becomes a choice, a ``Timeline`` timeline labels, ``Detections`` rectangles:
            one over time for each track and action, else one for each person in a key frame.
        video: where Label Studio finds the video, such as a URL; None: the answer's source.
        fps: frames per second of the video, by which Label Studio counts frames (``frameRate``); not needed
            for a ``Prediction``.
        version: what Label Studio shows beside the prediction.
        threshold: leave out what is less probable.

    Raises:
        InputError: an answer that failed, or of another kind, or a frame rate that is missing.
    """
    _check(answer)
    threshold = checked_share("threshold", threshold)
    if isinstance(answer, Prediction):
        best = [*zip(answer.labels, answer.scores, strict=True)][:1]
        found = [
            _region("choice", "choices", {"choices": [label]}, score)
            for label, score in best
            if score >= threshold
        ]
    elif isinstance(answer, Timeline):
        rate = _rate(fps)
        found = []
        for segment in answer.segments:
            first, last = _frames(segment.start_seconds, segment.end_seconds, rate)
            value = {"ranges": [{"start": first, "end": last}], "timelinelabels": [segment.label]}
            if segment.score >= threshold:
                found.append(_region("timeline", "timelinelabels", value, segment.score))
    else:
        found = _rectangles(answer, _rate(fps), threshold)
    for number, region in enumerate(found):
        region["id"] = f"slowfast{number}"
    scores = [region["score"] for region in found]
    prediction = {
        "model_version": version,
        "score": float(np.mean(scores)) if scores else 0.0,
        "result": found,
    }
    return {"data": {"video": video or answer.source}, "predictions": [prediction]}


def _check(answer: object) -> None:
    if not isinstance(answer, (Prediction, Timeline, Detections)):
        raise InputError(
            f"Labels are made of what predict, timeline or detect returns, not of a {type(answer).__name__}."
        )
    if isinstance(answer, Prediction) and answer.error is not None:
        raise InputError(f"There is no answer to convert: {answer.error}")


def _rate(fps: float | None) -> float:
    if fps is None or not is_number(fps) or not 0 < fps < 1e6:
        raise InputError(
            f"fps is {fps!r}; accepted: the video's frames per second, by which frames are counted."
        )
    return float(fps)


def _frame(seconds: float, fps: float) -> int:
    """The frame that begins at a time, from 1."""
    return max(math.floor(seconds * fps + 0.5), 0) + 1


def _frames(start_seconds: float, end_seconds: float, fps: float) -> tuple[int, int]:
    """The first and the last frame of a part, from 1."""
    first = _frame(start_seconds, fps)
    return first, max(_frame(end_seconds, fps) - 1, first)


def _best(person: Person) -> tuple[str, float]:
    return (person.labels[0], person.scores[0]) if person.labels else (_PERSON, person.box_score)


def _track(track: str | None, numbers: dict[str, int]) -> int:
    """A track's own number where all have one, else its place among all."""
    assert track is not None
    return int(track) if all(map(_is_whole, numbers)) else numbers[track]


def _is_whole(track: str) -> bool:
    """Whether a track is called as numbers are written."""
    return track.isascii() and track.isdecimal() and len(track) < 19 and str(int(track)) == track


def _corners(person: Person) -> tuple[float, float, float, float]:
    """Left, top, width and height as shares, of what lies in the picture."""
    left, top, right, bottom = (min(max(value, 0.0), 1.0) for value in person.normalized)
    return left, top, right - left, bottom - top


def _fiftyone_person(fo: Any, person: Person) -> fiftyone.Detection:
    label, score = _best(person)
    facts = {"actions": list(person.labels), "scores": list(person.scores)}
    if person.track is not None:
        facts |= {"index": int(person.track)} if _is_whole(person.track) else {"track": person.track}
    return fo.Detection(label=label, confidence=score, bounding_box=list(_corners(person)), **facts)


def _region(tag: str, kind: str, value: dict[str, Any], score: float) -> dict[str, Any]:
    return {"from_name": tag, "to_name": "video", "type": kind, "value": value, "score": float(score)}


def _rectangles(answer: Detections, fps: float, threshold: float) -> list[dict[str, Any]]:
    """A rectangle over time for each track and action that goes on, else for each person in a key frame."""
    parts: list[list[Person]] = []
    going: dict[tuple[str, str], list[Person]] = {}
    for person in answer.persons:
        label, score = _best(person)
        if score < threshold:
            continue
        if person.track is None:
            parts.append([person])
        elif (person.track, label) in going:
            going[person.track, label].append(person)
        else:
            parts.append(going.setdefault((person.track, label), [person]))
    frames = max(_frame(answer.duration_seconds, fps) - 1, 1)
    moments = [*answer.key_seconds]
    found = []
    for part in parts:
        sequence = []
        for place, person in enumerate(part):
            left, top, width, height = (100 * value for value in _corners(person))
            later = moments[moments.index(person.seconds) + 1 :]
            follows = place + 1 < len(part) and bool(later) and part[place + 1].seconds == later[0]
            where = {"x": left, "y": top, "width": width, "height": height, "rotation": 0}
            when = {"frame": _frame(person.seconds, fps), "time": person.seconds, "enabled": follows}
            sequence.append(where | when)
        value = {"framesCount": frames, "duration": answer.duration_seconds, "sequence": sequence}
        scores = [_best(person)[1] for person in part]
        value |= {"labels": [_best(part[0])[0]]}
        found.append(_region("box", "videorectangle", value, float(np.mean(scores))))
    return found
