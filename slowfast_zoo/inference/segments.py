"""From a probability per window to segments: when each class begins and ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from slowfast_zoo.errors import InputError, UnknownNameError, counted, did_you_mean
from slowfast_zoo.video.sampling import checked_seconds, is_number

Seconds = npt.NDArray[np.float64]
Scores = npt.NDArray[np.float32]
Run = tuple[int, int]  # windows from, to before


@dataclasses.dataclass(frozen=True)
class Segment:
    """A part of a video that shows one class."""

    start_seconds: float
    """In a player's time."""
    end_seconds: float
    label: str
    score: float
    """Mean probability of the class, over the windows whose centers lie in the segment."""


@dataclasses.dataclass(frozen=True, eq=False)
class Windows:
    """What the model saw in each window of a video, in order.

    Attributes:
        start_seconds: float64 (n,), in a player's time.
        end_seconds: float64 (n,).
        probabilities: float32 (n, classes), averaged over the views of a window.
    """

    start_seconds: Seconds
    end_seconds: Seconds
    probabilities: Scores

    @property
    def center_seconds(self) -> Seconds:
        """float64 (n,)."""
        return (self.start_seconds + self.end_seconds) / 2

    def __len__(self) -> int:
        return len(self.start_seconds)

    def borders(self) -> Seconds:
        """Where the time that each window stands for begins, and the last one's ends: float64 (n + 1,).

        A window stands for the time that is nearer to its center than to another's.
        """
        center = self.center_seconds
        inner = (center[:-1] + center[1:]) / 2
        return np.concatenate([self.start_seconds[:1], inner, self.end_seconds[-1:]])

    def smoothed(self, seconds: float) -> Scores:
        """Each probability averaged over the windows whose centers lie within half of that time."""
        center, half = self.center_seconds, seconds / 2 + 1e-9
        first = np.searchsorted(center, center - half, side="left")
        stop = np.searchsorted(center, center + half, side="right")
        if np.all(stop - first == 1):
            return self.probabilities
        total = np.cumsum(self.probabilities, axis=0, dtype=np.float64)
        total = np.concatenate([np.zeros((1, total.shape[1])), total])
        return ((total[stop] - total[first]) / (stop - first)[:, None]).astype(np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentRules:
    """When a segment begins and ends, and which ones are kept.

    A class begins where its probability reaches ``enter`` and goes on while it is at least ``leave``, so that
    a probability about one threshold doesn't flicker. Of a model whose classes exclude each other, segments
    don't overlap: a class ends also where another one reaches ``enter`` and is more probable. Then gaps are
    closed, what is too short is left out, and the gaps that this leaves are closed.

    Raises:
        InputError: a value that is not accepted.
    """

    smoothing_seconds: float = 0.0
    """Probabilities are averaged over windows within this time before anything else."""
    enter: float = 0.5
    leave: float | None = None
    """None: seven tenths of ``enter``."""
    min_seconds: float = 0.0
    """Shorter segments are left out."""
    max_gap_seconds: float = 0.0
    """Gaps up to this are closed. Segments of one class become one; of classes that exclude each other,
    neighbors meet where their probabilities cross, as around a cut, whose windows show parts of both."""
    labels: Sequence[str] | None = None
    """The classes that are wanted; None: all."""

    def __post_init__(self) -> None:
        for name in ("smoothing_seconds", "min_seconds", "max_gap_seconds"):
            object.__setattr__(self, name, checked_seconds(name, getattr(self, name)))
        for name in ("enter", "leave"):
            value = getattr(self, name)
            if value is None and name == "leave":
                continue
            if not is_number(value) or not 0 < value <= 1:
                raise InputError(f"{name} is {value!r}; accepted: a probability above 0, at most 1.")
            object.__setattr__(self, name, float(value))
        if self.leave is not None and self.leave > self.enter:
            raise InputError(
                f"leave is {self.leave:g} and enter {self.enter:g}; a class leaves at a probability that is"
                " at most the one it enters at."
            )
        if self.labels is not None:
            listed = isinstance(self.labels, Iterable) and not isinstance(self.labels, str)
            labels = tuple(self.labels) if listed else (None,)
            if not labels or not all(isinstance(label, str) for label in labels):
                raise InputError(f"labels is {self.labels!r:.80}; accepted: a list of class names, or None.")
            object.__setattr__(self, "labels", labels)

    def indices(self, labels: Sequence[str]) -> list[int]:
        """Which of a model's classes are wanted.

        Raises:
            UnknownNameError: the model has no class of such a name.
        """
        if self.labels is None:
            return list(range(len(labels)))
        for label in self.labels:
            if label not in labels:
                near = (
                    did_you_mean(label, labels)
                    or f" It has {counted(len(labels), 'class')}, such as '{labels[0]}'."
                )
                raise UnknownNameError(f"The model has no class '{label}'.{near}")
        return [labels.index(label) for label in self.labels]


def find_segments(
    windows: Windows, labels: Sequence[str], rules: SegmentRules, *, multi_label: bool
) -> tuple[Segment, ...]:
    """The segments of a video, by begin.

    Args:
        windows: what the model saw.
        labels: of all classes.
        rules: when segments begin and end.
        multi_label: whether classes may come together, so that their segments overlap.

    Raises:
        UnknownNameError: the rules name a class that isn't there.
    """
    wanted = rules.indices(labels)
    scores = windows.smoothed(rules.smoothing_seconds)
    leave = 0.7 * rules.enter if rules.leave is None else rules.leave
    enter, leave = (float(np.float32(value)) for value in (rules.enter, leave))  # as probabilities are
    runs: list[tuple[int, int, int]] = []  # first window, window after the last, class
    if multi_label:
        for index in np.flatnonzero(scores.max(axis=0, initial=0) >= enter).tolist():
            runs += [(*run, index) for run in _independent(scores[:, index], enter, leave)]
    else:
        runs = _exclusive(scores, enter, leave)
    runs.sort()
    borders = windows.borders()
    runs = _closed(runs, scores, borders, rules.max_gap_seconds, multi_label)
    runs = [run for run in runs if borders[run[1]] - borders[run[0]] >= rules.min_seconds - 1e-9]
    runs = _closed(runs, scores, borders, rules.max_gap_seconds, multi_label)
    return tuple(
        Segment(
            float(borders[first]),
            float(borders[stop]),
            labels[index],
            float(windows.probabilities[first:stop, index].mean(dtype=np.float64)),
        )
        for first, stop, index in runs
        if index in wanted
    )


def _independent(scores: Scores, enter: float, leave: float) -> list[Run]:
    """Where one class goes on, whatever the others do."""
    runs: list[Run] = []
    begin = None
    for number, score in enumerate(scores.tolist()):
        if begin is None and score >= enter:
            begin = number
        elif begin is not None and score < leave:
            runs.append((begin, number))
            begin = None
    return runs if begin is None else [*runs, (begin, len(scores))]


def _exclusive(scores: Scores, enter: float, leave: float) -> list[tuple[int, int, int]]:
    """Where each class goes on, one at a time."""
    runs: list[tuple[int, int, int]] = []
    current, begin = -1, 0
    for number, best in enumerate(scores.argmax(axis=1).tolist()):
        enters = scores[number, best] >= enter
        stays = current >= 0 and scores[number, current] >= leave
        if enters and stays and scores[number, current] == scores[number, best]:
            best = current  # another class has to be more probable
        following = best if enters else current if stays else -1
        if following != current:
            if current >= 0:
                runs.append((begin, number, current))
            current, begin = following, number
    return [*runs, (begin, len(scores), current)] if current >= 0 else runs


def _closed(
    runs: list[tuple[int, int, int]], scores: Scores, borders: Seconds, most: float, multi_label: bool
) -> list[tuple[int, int, int]]:
    """The runs without gaps of at most so many seconds; sorted by begin, as they came."""
    kept: list[tuple[int, int, int]] = []
    last: dict[int, int] = {}  # of each class, where its latest run lies in ``kept``
    for first, stop, index in runs:
        place = last.get(index) if multi_label else len(kept) - 1
        begin = first
        if place is not None and place >= 0:
            before, end, label = kept[place]
            if borders[first] - borders[end] <= most + 1e-9:
                if label == index:
                    kept[place] = (before, stop, index)
                    continue
                # One class goes on up to where the sum of the probabilities that are told is largest.
                gains = np.cumsum(scores[end:first, label] - scores[end:first, index], dtype=np.float64)
                begin = end + int(np.argmax(np.append(0.0, gains)))
                kept[place] = (before, begin, label)
        last[index] = len(kept)
        kept.append((begin, stop, index))
    return kept
