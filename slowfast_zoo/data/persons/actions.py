"""Who does what when, as rows: a box at a second of a video, and one action; ground truth or detections.

AVA's CSV, which MMAction2 and PySlowFast write too, has no header:

    video,second,x1,y1,x2,y2,action[,person or score]     boxes as shares of width and height
    video,second                                          a frame that was looked at: nobody is in it

A file of boxes alone may leave out the action and what follows it.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slowfast_zoo.data.labels import mark_of, rows_of, text_of
from slowfast_zoo.data.persons import Unit
from slowfast_zoo.errors import DataError, InputError

Moment = tuple[str, float]
"""A video's name and a second of it."""
Values = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

LARGEST_SHARE = 2.0
"""Coordinates above are pixels: a share is a little above 1 where a box reaches outside the picture."""


def to_milliseconds(frame: Moment) -> Moment:
    """By which frames of different files are compared: some write three decimals, others all, and a Mac may
    write an accented letter as two."""
    video, second = frame
    return unicodedata.normalize("NFC", video), round(second, 3)


@dataclasses.dataclass(frozen=True, eq=False)
class PersonActions:
    """Rows of boxes with an action each, and the frames that were looked at."""

    frames: tuple[Moment, ...]
    """Every frame of the file, in its order; some may have no row."""
    frame: Numbers
    """int64 (N,): each row's place in ``frames``."""
    boxes: Values
    """float64 (N, 4): x1, y1, x2, y2."""
    labels: Numbers
    """int64 (N,): the action's number in the file; -1 for a box without one."""
    scores: Values
    """float64 (N,); 1 in ground truth."""
    persons: Numbers
    """int64 (N,): which person of the video; -1 where nothing says so."""

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.labels)

    @functools.cached_property
    def unit(self) -> Unit:
        """Whether boxes are in pixels or shares of width and height, by how large they are."""
        largest = float(np.abs(self.boxes).max(initial=0))
        return "pixels" if largest > LARGEST_SHARE else "normalized"

    def select(self, rows: npt.NDArray[np.bool_] | Numbers) -> PersonActions:
        """Some rows, and still every frame."""
        fields = ("frame", "boxes", "labels", "scores", "persons")
        return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in fields})

    def in_milliseconds(self) -> PersonActions:
        """The same rows, with frames as ``to_milliseconds`` has them."""
        frames = [*map(to_milliseconds, self.frames)]
        places = {frame: place for place, frame in enumerate(dict.fromkeys(frames))}
        moved = np.array([places[frame] for frame in frames], np.int64)
        return dataclasses.replace(self, frames=tuple(places), frame=moved[self.frame])

    def __repr__(self) -> str:
        return f"PersonActions({len(self)} rows in {len(self.frames)} frames)"


@dataclasses.dataclass(slots=True)
class RowList:
    """Rows that are being collected."""

    frames: dict[Moment, int] = dataclasses.field(default_factory=dict)
    rows: list[tuple[int, Sequence[float], int, float, int]] = dataclasses.field(default_factory=list)

    def look(self, frame: Moment) -> int:
        """The frame's number; a new one counts as looked at from now on."""
        return self.frames.setdefault(frame, len(self.frames))

    def add(
        self, frame: Moment, box: Sequence[float], label: int = -1, score: float = 1.0, person: int = -1
    ) -> None:
        """One more row."""
        self.rows.append((self.look(frame), box, label, score, person))

    def finished(self) -> PersonActions:
        """The rows as arrays."""
        frame, boxes, labels, scores, persons = zip(*self.rows, strict=True) if self.rows else [()] * 5
        return PersonActions(
            tuple(self.frames),
            np.array(frame, np.int64),
            np.array(boxes, np.float64).reshape(-1, 4),
            np.array(labels, np.int64),
            np.array(scores, np.float64),
            np.array(persons, np.int64),
        )


def read_ava(path: str | Path, *, scored: bool | None) -> PersonActions:
    """The rows of a CSV file in AVA's form.

    Args:
        path: of the file.
        scored: whether the eighth column is a score (detections) or a person's number (ground truth); None:
            boxes are wanted, which need no action; persons where it has whole numbers only, and every row an
            action.

    Raises:
        DataError: the file can't be read, or a line isn't one of AVA's.
    """
    found = RowList()
    for where, row in csv_lines(Path(path)):
        if len(row) > 1 and row[1] in ("second", "seconds", "timestamp"):
            raise DataError(
                f"{where}: this is a header, and AVA's CSV has none: leave it out. 'slowfast-zoo test' scores"
                " a model on a table with a header."
            )
        if len(row) not in ((2, 7, 8) if scored is not None else (2, 6, 7, 8)):
            short = ", the same without action and score" * (scored is None)
            raise DataError(
                f"{where}: {len(row)} fields; accepted: video,second,x1,y1,x2,y2,action,"
                f"{'person' if scored is False else 'score'}{short}, or video,second alone. AVA's CSV has no"
                " header."
            )
        number = functools.partial(_number, where)
        frame = (row[0], number("second", row[1]))
        found.look(frame)
        if len(row) == 2:
            continue
        box = [number(name, value) for name, value in zip(("x1", "y1", "x2", "y2"), row[2:6], strict=True)]
        label = int(number("action", row[6], whole=True)) if any(row[6:7]) else -1
        last = row[7] if len(row) == 8 else ""
        name = "person" if scored is False else "score"
        found.add(frame, box, label, number(name, last, whole=scored is False) if last else math.nan)
    rows = found.finished()
    given = ~np.isnan(rows.scores)
    if scored is None:
        scored = bool((rows.scores[given] % 1).any() or (rows.labels < 0).any())
    if scored:
        return dataclasses.replace(rows, scores=np.where(given, rows.scores, 1.0))
    persons = np.where(given, rows.scores, -1).astype(np.int64)
    return dataclasses.replace(rows, scores=np.ones(len(rows)), persons=persons)


def read_excluded(path: str | Path) -> frozenset[Moment]:
    """AVA's list of frames that don't count, ``video,second`` a line; as ``to_milliseconds`` has them.

    Raises:
        DataError: the file can't be read, or a line isn't one of these.
    """
    frames = set()
    for where, row in csv_lines(Path(path)):
        if len(row) != 2:
            raise DataError(f"{where}: {len(row)} fields; accepted: video,second.")
        frames.add(to_milliseconds((row[0], _number(where, "second", row[1]))))
    return frozenset(frames)


def csv_lines(path: Path) -> Iterable[tuple[str, list[str]]]:
    """``rows_of`` a file whose first line shows the mark."""
    text = text_of(path, "list")
    return rows_of(path, text, mark_of(text.lstrip().partition("\n")[0]))


def _number(where: str, name: str, text: str, *, whole: bool = False) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < 1e9 or (whole and value % 1):
        kind = "a whole number" if whole else "a number"
        raise DataError(f"{where}: {name} is '{text:.40}'; accepted: {kind}.")
    return value


def overlaps(boxes: Values, others: Values) -> Values:
    """Intersection over union of each of (n, 4) boxes with each of (m, 4): float64 (n, m); 0 without area."""
    corner = np.maximum(boxes[:, None, :2], others[None, :, :2])
    sides = np.clip(np.minimum(boxes[:, None, 2:], others[None, :, 2:]) - corner, 0, None)
    shared = sides.prod(axis=-1)
    areas, other_areas = ((each[:, 2:] - each[:, :2]).prod(axis=1) for each in (boxes, others))
    union = areas[:, None] + other_areas - shared
    ratio: Values = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def same_unit(predictions: PersonActions, annotations: PersonActions) -> None:
    """Refuses to compare pixels with shares.

    Raises:
        InputError: one has pixels, the other shares of width and height.
    """
    if len(predictions) and len(annotations) and predictions.unit != annotations.unit:
        words = {"pixels": "in pixels", "normalized": "shares of width and height"}
        raise InputError(
            f"The boxes of the predictions are {words[predictions.unit]}, those of the annotations"
            f" {words[annotations.unit]}; give both alike."
        )
