"""The answer of ``detect``: persons in key frames, with their actions; as columns and as files."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path, PurePath
from typing import Any, Literal, get_args

import numpy as np

from slowfast_zoo.data.persons.boxes import checked_begin
from slowfast_zoo.errors import InputError, counted, unknown_name
from slowfast_zoo.files import csv_line, write_bytes
from slowfast_zoo.inference.aggregate import scores_text
from slowfast_zoo.video.sampling import is_number
from slowfast_zoo.weights.catalog.datasets import label_set_names

DetectionFormat = Literal["csv", "jsonl"]
"""AVA's rows, a line an action; or a JSON object a video, with everything."""

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2: the upper left and the lower right corner."""


_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}|\.3gp?[p2]?")
"""Of a file's name; other parts after a point belong to the name of a folder of frames."""


@dataclasses.dataclass(frozen=True, slots=True)
class Person:
    """One person in one key frame."""

    seconds: float
    """When the key frame is, in a player's time."""
    box: Box
    """In pixels of the upright frame; may reach outside."""
    normalized: Box
    """As shares of the frame's width and height."""
    box_score: float
    """How sure the detector is that it is a person; 1 where nothing said so."""
    track: str | None
    """Who it is, as it was given with the boxes; None: nothing said so."""
    labels: tuple[str, ...]
    """What the person does, the most probable first."""
    scores: tuple[float, ...]
    """The actions' probabilities."""

    def __repr__(self) -> str:
        who = "" if self.track is None else f" {self.track}"
        does = scores_text(self.labels, self.scores)
        corners = ", ".join(f"{value:.0f}" for value in self.box)
        return f"Person{who}({self.seconds:g} s, box {corners}: {does or 'no action'})"


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Detections:
    """Who does what in a video."""

    source: str
    """Path or name of the video; of a URL without credentials and query."""
    labels: tuple[str, ...]
    """Of all actions; "class 7" where the model has no names."""
    persons: tuple[Person, ...]
    """By time, and in a key frame in the order of the boxes."""
    key_seconds: tuple[float, ...]
    """The key frames that were looked at, those without persons too."""
    width: int
    """Pixels of the upright frame."""
    height: int
    """Pixels of the upright frame."""
    multi_label: bool
    """Whether a person may do several things at a time."""
    detector: str | None = None
    """What found the persons; None: their boxes were given."""
    duration_seconds: float = 0.0
    """When the last frame of the video ends, in a player's time."""
    damaged_frames: int = 0
    """Frames known to be damaged or lost when this was answered; what decoded was used all the same."""
    complete: bool = True
    """False where reading was interrupted, so that later key frames are missing."""

    def at(self, seconds: float) -> tuple[Person, ...]:
        """The persons in the key frame that is nearest to a time.

        Raises:
            InputError: ``seconds`` is no number.
        """
        if not is_number(seconds):
            raise InputError(f"seconds is {seconds!r:.60}; accepted: a finite number.")
        if not self.key_seconds:
            return ()
        nearest = self.key_seconds[int(np.abs(np.array(self.key_seconds) - seconds).argmin())]
        return tuple(person for person in self.persons if person.seconds == nearest)

    def to_columns(self) -> dict[str, list[Any]]:
        """Plain lists by column name, as ``pandas.DataFrame`` takes them: a row an action.

        The columns are seconds, person (counted in the key frame), track, x1, y1, x2, y2 in pixels, left,
        top, right, bottom as shares, box_score, label and score. A person without an action has one row, with
        None for both.
        """
        names = ("seconds", "person", "track", "x1", "y1", "x2", "y2", "left", "top", "right", "bottom")
        columns: dict[str, list[Any]] = {name: [] for name in (*names, "box_score", "label", "score")}
        number, before = 0, None
        for person in self.persons:
            number, before = (number + 1 if person.seconds == before else 0), person.seconds
            facts = (person.seconds, number, person.track, *person.box, *person.normalized, person.box_score)
            actions: list[tuple[Any, ...]] = [*zip(person.labels, person.scores, strict=True)]
            for action in actions or [(None, None)]:
                for column, value in zip(columns.values(), (*facts, *action), strict=True):
                    column.append(value)
        return columns

    def to_dict(self) -> dict[str, Any]:
        """Everything but the list of all actions, as plain JSON values."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "labels"}
        persons = [dataclasses.asdict(person) for person in self.persons]
        return fields | {"key_seconds": list(self.key_seconds), "persons": persons}

    def ava_rows(self, video: str | None = None, begins_at: float = 0.0) -> str:
        """The lines of AVA's CSV, which ``test-detections`` reads: video,second,x1,y1,x2,y2,action,score.

        Actions are numbered as AVA does where they are AVA's, else from 1 in the model's order. A key frame
        without persons is a line of its video and second, as one is for which no action was wanted.

        Args:
            video: its name there; None: the source's, without folder and ending.
            begins_at: the second at which the video begins there: 900 for AVA's 15 minutes.
        """
        begins_at = checked_begin(begins_at)
        name, numbers = video or video_name(self.source), _numbers(self.labels)
        by_second: dict[float, list[tuple[Any, ...]]] = {moment: [] for moment in self.key_seconds}
        for person in self.persons:
            corners = [f"{value:.6g}" for value in person.normalized]
            by_second[person.seconds] += [
                (*corners, numbers[label], f"{score:.6g}")
                for label, score in zip(person.labels, person.scores, strict=True)
            ]
        lines = list[str]()
        for moment, rows in by_second.items():
            second = f"{moment + begins_at:08.3f}".removesuffix(".000")
            lines += (csv_line((name, second, *row)) for row in rows or [()])
        return "".join(lines)

    def save(
        self,
        path: str | Path,
        format: DetectionFormat | None = None,  # noqa: A002
        *,
        video: str | None = None,
        begins_at: float = 0.0,
    ) -> None:
        """Writes everything (.jsonl) or AVA's rows (.csv), whole or not at all.

        Args:
            path: its ending says the format.
            format: instead of the ending.
            video: its name in AVA's CSV, as for ``ava_rows``.
            begins_at: as for ``ava_rows``.

        Raises:
            UnknownNameError: no such format.
            InputError: the file can't be written.
        """
        if format_of(path, format) == "csv":
            text = self.ava_rows(video, begins_at)
        else:
            text = json.dumps(self.to_dict(), ensure_ascii=False) + "\n"
        write_bytes(path, text.encode())

    def __repr__(self) -> str:
        parts = "" if self.complete else ", interrupted"
        return (
            f"Detections({self.source!r}: {counted(len(self.persons), 'person')} in"
            f" {counted(len(self.key_seconds), 'key frame')}"
            f" of {self.duration_seconds:.1f} s{parts})"
        )


def format_of(path: str | PurePath, form: str | None = None) -> DetectionFormat:
    """What a file of that name holds.

    Raises:
        UnknownNameError: no such format.
    """
    accepted = get_args(DetectionFormat)
    given = form or PurePath(path).suffix.lower().lstrip(".")
    if given not in accepted:
        raise unknown_name(f"Detections can't be written as '{given}'.", given, accepted)
    return given  # type: ignore[return-value]  # one of them


def video_name(source: str) -> str:
    """What files of many videos call one: its name without folder and ending; "take.1" has none."""
    path = PurePath(source)
    return (path.stem if _ENDING.fullmatch(path.suffix) else path.name) or source


def _numbers(labels: tuple[str, ...]) -> dict[str, int]:
    ava = {label: number for number, label in enumerate(label_set_names("ava"), 1)}
    if all(label in ava for label in labels):
        return ava
    return {label: number for number, label in enumerate(labels, 1)}
