"""Answers as other tools have them; their own packages read the same in ``-m cluster``."""

from __future__ import annotations

import dataclasses
import json
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from slowfast_zoo.errors import InputError, MissingDependencyError
from slowfast_zoo.inference.adapters import to_fiftyone, to_label_studio, to_supervision
from slowfast_zoo.inference.detect.detections import Detections, Person
from slowfast_zoo.inference.predict import Prediction
from slowfast_zoo.inference.segments import Segment, Windows
from slowfast_zoo.inference.timeline import Timeline

PREDICTION = Prediction(source="a.mp4", labels=("run", "walk"), scores=(0.7, 0.2))
TIMELINE = Timeline(
    source="a.mp4",
    labels=("run", "walk"),
    windows=Windows(np.zeros(1), np.ones(1), np.ones((1, 2), np.float32)),
    segments=(Segment(0.0, 1.0, "run", 0.8), Segment(1.02, 1.03, "walk", 0.4)),
    multi_label=False,
    duration_seconds=2.0,
)


def person(seconds: float, track: str | None, *labels: str) -> Person:
    scores = (0.9, 0.3)[: len(labels)]
    shares = (-0.1, 0.25, 0.5, 1.0)
    return Person(seconds, (-10.0, 20.0, 50.0, 80.0), shares, 0.6, track, labels, scores)


PERSONS = Detections(
    source="a.mp4",
    labels=("run", "walk"),
    persons=(person(0.5, "7", "walk", "run"), person(0.5, "9"), person(1.5, "7", "walk")),
    key_seconds=(0.5, 1.0, 1.5),
    width=100,
    height=80,
    multi_label=True,
    duration_seconds=2.0,
)


class Label(SimpleNamespace):
    """What keeps its arguments."""


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins that keep what they are given."""
    names = ("Classification", "TemporalDetection", "TemporalDetections", "Detection", "Detections")
    monkeypatch.setitem(sys.modules, "fiftyone", SimpleNamespace(**dict.fromkeys(names, Label)))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=Label))  # type: ignore[arg-type]


@pytest.mark.usefixtures("packages")
def test_fiftyone_counts_frames_from_one() -> None:
    best = to_fiftyone(PREDICTION)
    assert (best.label, best.confidence) == ("run", 0.7)
    first, second = to_fiftyone(TIMELINE, fps=30).detections
    assert (first.label, first.support, first.confidence) == ("run", [1, 30], 0.8)
    assert second.support == [32, 32], "a part is at least a frame"
    frames = to_fiftyone(PERSONS, fps=30)
    assert list(frames) == [16, 31, 46]
    assert frames[31].detections == []
    walker, silent = frames[16].detections
    assert walker.bounding_box == [0.0, 0.25, 0.5, 0.75]
    assert (walker.label, walker.index, walker.actions) == ("walk", 7, ["walk", "run"])
    assert (silent.label, silent.confidence) == ("person", 0.6)


@pytest.mark.usefixtures("packages")
def test_supervision_has_the_persons_of_a_key_frame() -> None:
    found: Any = to_supervision(PERSONS, 0.4)
    assert found.xyxy.tolist() == [[-10.0, 20.0, 50.0, 80.0]] * 2
    assert found.class_id.tolist() == [1, -1]
    assert found.tracker_id.tolist() == [7, 9]
    assert found.data["class_name"].tolist() == ["walk", "person"]
    assert found.data["actions"].tolist() == [["walk", "run"], []]
    nobody: Any = to_supervision(PERSONS, 1.0)
    assert nobody.xyxy.shape == (0, 4)
    assert nobody.tracker_id is None


@pytest.mark.usefixtures("packages")
def test_tracks_keep_their_numbers_where_all_are_some() -> None:
    def numbers(*tracks: str | None) -> list[int]:
        first, *_ = PERSONS.persons
        persons = [dataclasses.replace(first, track=track) for track in tracks]
        found: Any = to_supervision(dataclasses.replace(PERSONS, persons=tuple(persons)), first.seconds)
        return [] if found.tracker_id is None else found.tracker_id.tolist()

    assert numbers("7", "9") == [7, 9] and numbers("007", "7") == [0, 1] and numbers("7", "9" * 20) == [0, 1]
    later = dataclasses.replace(PERSONS.persons[0], seconds=1.5, track=None)
    some = dataclasses.replace(PERSONS, persons=(*PERSONS.persons, later))
    found: Any = to_supervision(some, PERSONS.persons[0].seconds)
    assert found.tracker_id.tolist() == [7, 9]


@pytest.mark.usefixtures("packages")
def test_key_frames_in_one_frame_share_it() -> None:
    near = [dataclasses.replace(person, seconds=person.seconds + 0.001) for person in PERSONS.persons[:1]]
    times = (*PERSONS.key_seconds, near[0].seconds)
    both = dataclasses.replace(PERSONS, persons=(*PERSONS.persons, *near), key_seconds=times)
    frames = to_fiftyone(both, fps=30)
    assert sum(len(each.detections) for each in frames.values()) == len(both.persons)


def test_label_studio_gets_a_task_to_correct() -> None:
    choice, timeline, boxes = (to_label_studio(each, video="/data/a.mp4", fps=30) for each in ANSWERS)
    assert choice["data"] == {"video": "/data/a.mp4"}
    assert choice["predictions"][0]["result"][0]["value"] == {"choices": ["run"]}
    values = [region["value"] for region in timeline["predictions"][0]["result"]]
    assert values[0] == {"ranges": [{"start": 1, "end": 30}], "timelinelabels": ["run"]}
    walker, silent = (region["value"] for region in boxes["predictions"][0]["result"])
    assert [(part["frame"], part["enabled"]) for part in walker["sequence"]] == [(16, False), (46, False)]
    assert walker["sequence"][0]["width"] == 50.0
    assert (walker["framesCount"], walker["duration"]) == (60, 2.0)
    assert silent["labels"] == ["person"]
    json.dumps([choice, timeline, boxes])
    assert to_label_studio(TIMELINE, fps=30, threshold=0.5)["predictions"][0]["score"] == 0.8


ANSWERS = (PREDICTION, TIMELINE, PERSONS)


def test_what_is_no_answer_is_refused() -> None:
    with pytest.raises(InputError, match="There is no answer to convert: 'b"):
        to_label_studio(Prediction(source="b.mp4", error="'b.mp4' is empty."))
    with pytest.raises(InputError, match="not of a dict"):
        to_label_studio({})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="threshold is 'a'; accepted: a number from 0 to 1"):
        to_label_studio(TIMELINE, fps=25, threshold="a")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="fps is None"):
        to_label_studio(TIMELINE)
    with pytest.raises(InputError, match="what detect returns"):
        to_supervision(TIMELINE, 0.0)  # type: ignore[arg-type]


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(MissingDependencyError, match="pip install fiftyone"):
        to_fiftyone(PREDICTION)
