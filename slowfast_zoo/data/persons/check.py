"""``check_persons``: what is wrong with annotations of persons, before a training finds out."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from slowfast_zoo.data.annotations import Sample
from slowfast_zoo.data.check import MOST_LINES, looked_at, section
from slowfast_zoo.data.persons.actions import Values, overlaps, to_milliseconds
from slowfast_zoo.data.persons.annotations import PersonAnnotations
from slowfast_zoo.data.persons.boxes import NOBODY, SHARES_BELOW, shown
from slowfast_zoo.errors import InputError, VideoError, counted, did_you_mean, quoted

_FILM = 900.0
"""Where AVA's 15 minutes of a film begin, in seconds."""
_OVERHANG = 0.05
"""Part of the picture that boxes may reach outside of it: annotators and detectors do."""
_FEW_FOUND = 0.5
"""Part of the annotated persons that a detector has to show at least."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PersonReport:
    """What ``check_persons`` found; ``str()`` of it is for people, ``problems`` for programs."""

    parts: dict[str, dict[str, int]]
    """Key frames, persons and videos of each part."""
    classes: dict[str, dict[str, int]]
    """Persons of each class, by part."""
    found: dict[str, list[str]]
    """What makes training or scores wrong: sentences by title."""
    told: dict[str, list[str]]
    """What is worth a look only."""

    @property
    def problems(self) -> int:
        """How many sentences ``found`` has."""
        return sum(map(len, self.found.values()))

    def to_dict(self) -> dict[str, Any]:
        """Every finding as plain JSON values."""
        return {**dataclasses.asdict(self), "problems": self.problems}

    def __str__(self) -> str:
        lines = [
            f"{part}: {counted(counts['key_frames'], 'key frame')} with"
            f" {counted(counts['persons'], 'person')} in {counted(counts['videos'], 'video')}"
            for part, counts in self.parts.items()
        ]
        width = max(map(len, self.classes), default=0)
        for name, counts in self.classes.items():
            lines.append(f"  {name:<{width}}  " + "  ".join(f"{part} {n}" for part, n in counts.items()))
        for title, sentences in {**self.found, **self.told}.items():
            lines += section(title, sentences)
        count = f"{counted(self.problems, 'problem')} found"
        if not self.problems:
            count = "Nothing wrong, but worth a look" if self.told else "No problems found"
        return "\n".join([*lines, f"{count}."])


def check_persons(parts: Mapping[str, PersonAnnotations], *, progress: bool = True) -> PersonReport:
    """What is wrong with annotations of persons: every video is opened, times and boxes are held against it.

    Args:
        parts: annotations by the part's name, such as "train" and "val".
        progress: show a bar on a terminal and in notebooks, else a line every 30 seconds.
    """
    names = list(dict.fromkeys(name for part in parts.values() for name in part.labels or ()))
    found, told = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    sizes, classes = {}, {name: dict.fromkeys(parts, 0) for name in names}
    for part, given in parts.items():
        looks = looked_at(partial(_look, annotations=given), given.videos.values(), "video", progress)
        beside = _Part(given, dict(zip(given.videos, looks, strict=True)))
        for kept, findings in ((found, beside.problems()), (told, _remarks(given))):
            for title, sentence in findings:
                kept[title].append(sentence)
        labels = given.labels or [f"action {n}" for n in given.columns]
        for name, count in zip(labels, given.counts(), strict=True):
            classes.setdefault(name, dict.fromkeys(parts, 0))[part] = count
        frames = given.key_frames
        persons = sum(len(frame.persons) for frame in frames)
        sizes[part] = {"key_frames": len(frames), "persons": persons, "videos": len(given.videos)}
    for name, counts in classes.items():
        if missing := [part for part, count in counts.items() if not count]:
            # AVA annotates 80 actions, of which its own lists have persons for some only.
            told["Classes without persons"].append(f"'{name}': none in {' and '.join(missing)}.")
    for sentence in _lost_classes(parts):
        found["Classes that train lacks"].append(sentence)
    seen: dict[str, dict[str, str]] = defaultdict(dict)
    for part, given in parts.items():
        for video, sample in given.videos.items():
            seen[os.path.normpath(sample.path.absolute())].setdefault(part, video)
    for several in seen.values():
        if len(several) > 1:
            video = next(iter(several.values()))
            found["Videos in more than one part"].append(
                f"'{video}' is in {' and '.join(several)}: scores would be too good; keep each video in one."
            )
    return PersonReport(parts=sizes, classes=classes, found=dict(found), told=dict(told))


def _lost_classes(parts: Mapping[str, PersonAnnotations]) -> Iterator[str]:
    """What training would refuse to validate on."""
    train = parts["train"].labels if "train" in parts else None
    for part, given in parts.items():
        for name in given.labels or ():
            if train is not None and name not in train and given.form != "ava":
                near = did_you_mean(name, train)
                yield f"'{name}' is in {part} and not in train: a training can't validate on it.{near}"


class _Look(NamedTuple):
    """What one video turned out to be."""

    end: float = 0.0
    latest: float = 0.0
    """See ``PersonAnnotations.ends``."""
    height: int = 0
    width: int = 0
    error: str | None = None


def _look(sample: Sample, annotations: PersonAnnotations) -> _Look:
    try:
        with sample.open() as video:
            video.seconds_of(video.num_frames)  # refuses frames whose rate nothing says: a clip needs it
            return _Look(*annotations.ends(video), video.height, video.width)
    except (VideoError, InputError) as error:
        return _Look(error=str(error))


@dataclasses.dataclass
class _Part:
    """The annotations of one part beside its videos."""

    annotations: PersonAnnotations
    looks: Mapping[str, _Look]

    def problems(self) -> Iterator[tuple[str, str]]:
        """(title, sentence) of each."""
        for title, sentences in (
            ("Videos that can't be read", self._unreadable()),
            ("Times that the video doesn't have", self._times()),
            ("Boxes", self._boxes()),
            ("Action numbers", self._numbers()),
            ("The same twice", self._twice()),
            ("Excluded frames", self._excluded()),
            ("Boxes of the detector", self._detected()),
        ):
            for sentence in sentences:
                yield title, sentence

    def _unreadable(self) -> Iterator[str]:
        for video, look in self.looks.items():
            if look.error is not None:
                yield f"'{video}': {look.error}"

    def _times(self) -> Iterator[str]:
        given, begin = self.annotations, self.annotations.begins_at
        times: dict[str, list[float]] = defaultdict(list)
        for video, time in given.actions.frames:
            if self.looks[video].error is None and to_milliseconds((video, time)) not in given.excluded:
                times[video].append(time)
        fits_film = begin == 0 and all(
            _FILM <= time <= _FILM + self.looks[video].latest
            for video, all_times in times.items()
            for time in all_times
        )
        way_out = (
            "all times fit if videos begin at second 900, as AVA's: --begins-at 900 (begins_at=900)."
            if fits_film
            else "is it another cut, or another time base? --begins-at says where videos begin."
        )
        unit = "frames" if given.counts_frames else "seconds"
        for video, all_times in times.items():
            look = self.looks[video]
            wrong = [time for time in all_times if not 0 <= time - begin <= look.latest]
            if wrong:
                end = begin + look.end
                yield (
                    f"'{video}' goes from {begin:g} to {end:g} {unit}, and {len(wrong)} of"
                    f" {len(all_times)} key frames lie outside, such as {wrong[0]:g}; {way_out}"
                )

    def _boxes(self) -> Iterator[str]:
        rows = self.annotations.actions
        boxes = rows.boxes
        for row in _some((boxes[:, 2:] <= boxes[:, :2]).any(axis=1)):
            yield (
                f"{self._at(row)}: {shown(boxes[row])} has no area; accepted: x1, y1, x2, y2, the upper left"
                " and the lower right corner (not x, y, width, height)."
            )
        small = np.abs(boxes).max(axis=1, initial=0) <= SHARES_BELOW
        if rows.unit == "pixels" and small.any():
            yield (
                f"{int(small.sum())} of {len(boxes)} boxes are shares of the picture among boxes in pixels,"
                f" such as {shown(boxes[small][0])} of {self._at(_some(small)[0])}; write all alike."
            )
        looks = [self.looks[video] for video, _ in rows.frames]
        scale = np.array([[1.0, 1.0]] * len(looks))
        if rows.unit == "pixels":
            scale = np.array([[max(look.width, 1), max(look.height, 1)] for look in looks], np.float64)
        there = np.array([look.error is None for look in looks], bool)[rows.frame]
        sides = np.tile(scale[rows.frame], 2)
        shares = boxes / sides
        beyond = ((shares > 1 + _OVERHANG) | (shares < -_OVERHANG)).any(axis=1)
        beyond |= (shares[:, :2] >= 1).any(axis=1) | (shares[:, 2:] <= 0).any(axis=1)
        for row in _some(there & beyond & ~(small & (rows.unit == "pixels"))):
            look = looks[int(rows.frame[row])]
            yield (
                f"{self._at(row)}: {shown(boxes[row])} reaches outside of the picture of"
                f" {look.width}x{look.height} pixels; was it made for another size?"
            )

    def _numbers(self) -> Iterator[str]:
        given = self.annotations
        numbers = Counter(number for number in given.actions.labels.tolist() if number >= 0)
        if 0 in numbers and 0 not in given.columns:
            lowest, highest = min(given.columns), max(given.columns)
            off = highest not in numbers and max(numbers) == highest - 1
            yield (
                f"{numbers[0]} rows have the action 0, and classes begin at {lowest}; "
                + (
                    f"numbers go up to {max(numbers)}, classes to {highest}: all are one off; add 1 to them."
                    if off
                    else "AVA's numbers begin at 1: add 1 to all, if yours begin at 0."
                )
            )
        over = [number for number in numbers if number > max(given.columns)]
        if over:
            yield (
                f"{sum(numbers[number] for number in over)} rows have actions up to {max(over)}, and the last"
                f" of {given.num_classes} classes is {max(given.columns)}; is the label map of other data?"
            )

    def _twice(self) -> Iterator[str]:
        rows = self.annotations.actions
        boxes = map(tuple, rows.boxes.tolist())
        columns = (rows.frame.tolist(), boxes, rows.labels.tolist(), rows.persons.tolist())
        seen: set[Any] = set()
        box_of: dict[tuple[int, int], tuple[float, ...]] = {}
        repeated, doubled = [], []
        for row, key in enumerate(zip(*columns, strict=True)):
            repeated += [row] if key in seen else []
            seen.add(key)
            frame, box, _, person = key
            if person >= 0 and box_of.setdefault((frame, person), box) != box:
                doubled.append(row)
        if repeated:
            yield f"{len(repeated)} rows are there twice, such as {self._at(repeated[0])}; leave one out."
        if doubled:
            yield (
                f"{len(doubled)} times a person has another box in the same frame, such as"
                f" {self._at(doubled[0])}: is a track's number used for two people?"
            )

    def _excluded(self) -> Iterator[str]:
        given = self.annotations
        if given.excluded and given.excluded.isdisjoint(map(to_milliseconds, given.actions.frames)):
            one = min(given.excluded)
            yield (
                f"None of the {len(given.excluded)} excluded frames, such as {one[0]} at {one[1]:g}, is"
                " annotated; videos are called otherwise there, or times count from elsewhere."
            )

    def _detected(self) -> Iterator[str]:
        given, persons, seen, without = self.annotations, 0, 0, 0
        if given.proposals is None:
            return
        for frame in given.key_frames:
            look, of_video = self.looks[frame.video], given.proposals.get(frame.video, NOBODY)
            if look.error is not None:
                continue
            boxes: Values = np.array([person.box for person in frame.persons])
            persons += len(boxes)
            try:
                found = of_video.at(frame.time - given.begins_at, look.height, look.width)
            except InputError as error:
                yield f"{frame}: {error}"
                return
            if not len(found):
                without += 1
                continue
            overlap = overlaps(found.normalized, given.shares(boxes, look.height, look.width))
            seen += int((overlap.max(axis=0) >= 0.5).sum())
        if persons and seen < _FEW_FOUND * persons:
            yield (
                f"They show {seen} of {persons} annotated persons, and {without} of {len(given.key_frames)}"
                " key frames have none: are they of the same videos and times?"
            )

    def _at(self, row: int) -> str:
        video, time = self.annotations.actions.frames[int(self.annotations.actions.frame[row])]
        return f"'{video}' at {time:g}"


def _remarks(given: PersonAnnotations) -> Iterator[tuple[str, str]]:
    """What is worth a look only."""
    idle = sum(not person.columns for frame in given.key_frames for person in frame.persons)
    if idle:
        yield (
            "Persons without an action",
            f"{idle}; training takes them for people who do none of the classes.",
        )
    if given.form == "ava" and given.actions.unit == "pixels":
        yield (
            "Boxes in pixels",
            "AVA's CSV has shares of width and height; these are taken as pixels here, but MMAction2 and"
            " PySlowFast would read them as shares.",
        )
    unknown = Counter(n for n in given.actions.labels.tolist() if n > 0 and n not in given.columns)
    if unknown and max(unknown) <= max(given.columns):
        numbers = quoted(map(str, sorted(unknown)[:5]))
        yield (
            "Actions that aren't scored",
            f"{sum(unknown.values())} rows of {numbers}: no class has that number.",
        )


def _some(wrong: Any) -> list[int]:
    rows: list[int] = np.flatnonzero(wrong)[:MOST_LINES].tolist()
    return rows
