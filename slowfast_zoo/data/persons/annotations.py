"""A dataset of persons: who does what when, in which videos, with which classes.

    form           file                                         times           boxes
    one's own      .csv or .tsv with a header, .jsonl (tables)  seconds         pixels or shares
    AVA's          .csv without a header (actions)              seconds         shares
    MultiSports'   .pkl (multisports)                           frames, from 1  pixels
    CVAT's         .xml, for video or for images 1.1 (cvat)     frames, from 0  pixels

Shares are of the picture's width and height.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Literal, NamedTuple

import numpy as np

from slowfast_zoo.data.annotations import Sample
from slowfast_zoo.data.folders import find_ids
from slowfast_zoo.data.labels import mark_of, read_label_ids, read_labels
from slowfast_zoo.data.persons import Unit
from slowfast_zoo.data.persons.actions import (
    Moment,
    PersonActions,
    Values,
    read_ava,
    read_excluded,
    to_milliseconds,
)
from slowfast_zoo.data.persons.boxes import NOBODY, PersonBoxes, boxes_by_video
from slowfast_zoo.data.persons.cvat import Pictures, looks_like_cvat, read_cvat
from slowfast_zoo.data.persons.multisports import Part, read_multisports
from slowfast_zoo.data.persons.tables import looks_like_row, read_person_table
from slowfast_zoo.errors import DataError, InputError, VideoError, did_you_mean, quoted
from slowfast_zoo.files import decoded, expanded, kind_of
from slowfast_zoo.spec import class_names
from slowfast_zoo.video.decoding.images import frame_paths
from slowfast_zoo.video.decoding.video import Video
from slowfast_zoo.video.sampling import is_number
from slowfast_zoo.video.sources.names import VIDEO_SUFFIXES

PersonForm = Literal["table", "ava", "multisports", "cvat"]
Labels = Mapping[int, str] | Mapping[str, int] | Sequence[str] | str | Path
_FIRST_TIME: dict[PersonForm, float] = {"table": 0.0, "ava": 0.0, "multisports": 1.0, "cvat": 0.0}
_PICKLES = (".pkl", ".pickle")
_HEAD = 4096
"""Bytes of a file that tell its form."""


class Person(NamedTuple):
    """One person of a key frame."""

    box: tuple[float, ...]
    """x1, y1, x2, y2 as annotated, in pixels or shares."""
    columns: tuple[int, ...]
    """The classes of what is done; none: nothing of them."""


class KeyFrame(NamedTuple):
    """A time of a video, and who is there."""

    video: str
    time: float
    """As the file has it: seconds or a frame's number."""
    persons: tuple[Person, ...]

    def __str__(self) -> str:
        return f"{self.video} at {self.time:g}"


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class PersonAnnotations:
    """Rows of actions, their videos and classes, and boxes of a detector where there are some."""

    path: Path
    """The file that was read."""
    form: PersonForm
    actions: PersonActions
    labels: tuple[str, ...] | None
    """Class names; None where the file has numbers and nobody named them."""
    columns: Mapping[int, int]
    """The place of each number of the file among the classes; others aren't scored."""
    num_classes: int
    videos: Mapping[str, Sample]
    """By the name in the file; some may not be there."""
    begins_at: float = 0.0
    """The time in the file at which videos begin: 900 where AVA's films were cut to their 15 minutes."""
    excluded: frozenset[Moment] = frozenset()
    """Frames that don't count, as ``to_milliseconds`` has them."""
    proposals: Mapping[str, PersonBoxes] | None = None
    """A detector's boxes by video, in the times of the videos."""

    @property
    def counts_frames(self) -> bool:
        """Whether times are numbers of frames instead of seconds."""
        return self.form in ("multisports", "cvat")

    @functools.cached_property
    def key_frames(self) -> tuple[KeyFrame, ...]:
        """The frames that count and have somebody in them, in order; rows of equal boxes are one person."""
        rows = self.actions
        by_frame: dict[int, dict[tuple[tuple[float, ...], int], list[int]]] = {}
        values = zip(
            rows.frame.tolist(), rows.boxes.tolist(), rows.labels.tolist(), rows.persons.tolist(), strict=True
        )
        for frame, box, label, person in values:
            columns = by_frame.setdefault(frame, {}).setdefault((tuple(box), person), [])
            if label in self.columns:
                columns.append(self.columns[label])
        found = []
        for number, persons in sorted(by_frame.items()):
            video, time = rows.frames[number]
            if to_milliseconds((video, time)) not in self.excluded:
                people = tuple(Person(box, tuple(sorted(set(done)))) for (box, _), done in persons.items())
                found.append(KeyFrame(video, time, people))
        return tuple(found)

    @functools.cached_property
    def empty_frames(self) -> tuple[KeyFrame, ...]:
        """The frames that count and have nobody in them, where a detector looked: whom it found is wrong."""
        busy, found = set(self.actions.frame.tolist()), []
        for number, (video, time) in enumerate(self.actions.frames):
            of_video = (self.proposals or {}).get(video, NOBODY)
            counts = number not in busy and to_milliseconds((video, time)) not in self.excluded
            if counts and of_video.has(time - self.begins_at):
                found.append(KeyFrame(video, time, ()))
        return tuple(found)

    def second(self, video: Video, time: float) -> float:
        """When a player shows the key frame of that time.

        Raises:
            DataError: the video has no such time; says what is accepted.
        """
        counts, moment = self.counts_frames, time - self.begins_at
        end, latest = self.ends(video)
        if not 0 <= moment <= latest:
            unit = "frame" if counts else "second"
            raise DataError(
                f"{self.path}: {unit} {time:g} isn't in '{video.name}', which goes from {self.begins_at:g} to"
                f" {self.begins_at + end:g}; {self._way_out(time)} 'slowfast-zoo check' names all such times."
            )
        return video.seconds_of(int(moment)) if counts else min(moment, end)

    def ends(self, video: Video) -> tuple[float, float]:
        """The last time of a video, from its beginning on, and up to where ``second`` takes times."""
        if self.counts_frames:
            return video.num_frames - 1, video.num_frames - 1
        end = video.seconds_of(video.num_frames)
        return end, end + 0.5 / float(video.fps)

    def _way_out(self, time: float) -> str:
        if self.counts_frames:
            return "is it another cut of the video?"
        if self.begins_at == 0 and time >= 900:
            return "if videos begin at second 900 of the film, as AVA's, say begins_at=900 (--begins-at 900)."
        return "begins_at (--begins-at) says which time of the file the videos begin at."

    def shares(self, boxes: Values, height: int, width: int) -> Values:
        """Boxes as shares of a frame of that many pixels."""
        pixels = self.actions.unit == "pixels"
        return boxes / np.array([width, height] * 2, np.float64) if pixels else boxes

    def with_classes(self, labels: Sequence[str] | None, num_classes: int, *, of: str) -> PersonAnnotations:
        """The same rows with the classes of something else: by name where both have names, else by number.

        Args:
            labels: its class names; None: it has none.
            num_classes: how many it has.
            of: what that is, for messages: "the model".

        Raises:
            DataError: a class that it lacks, or names on the data's side only, without AVA's numbers.
        """
        if self.labels is None:
            over = [number for number, column in self.columns.items() if column >= num_classes]
            if over:
                raise DataError(
                    f"{self.path}: action {min(over)} is none of the {num_classes} of {of}; a label map"
                    " (labels, --labels) says which numbers count, and what they are called."
                )
            names = None if labels is None else tuple(labels)
            return dataclasses.replace(self, labels=names, num_classes=num_classes)
        if labels is None:
            return self._by_number(num_classes, of)
        places = {name: place for place, name in enumerate(labels)}
        lost = [name for name in self.labels if name not in places]
        if lost:
            raise DataError(
                f"{self.path}: {of} lacks {quoted(lost[:5])} of the data.{did_you_mean(lost[0], labels)} Its"
                f" {num_classes} classes are {quoted(labels, 5)}; a label map (labels, --labels) names"
                " those that count."
            )
        moved = {number: places[self.labels[column]] for number, column in self.columns.items()}
        return dataclasses.replace(self, labels=tuple(labels), columns=moved, num_classes=num_classes)

    def _by_number(self, num_classes: int, of: str) -> PersonAnnotations:
        """The classes of a label map in the places of AVA's numbers, from 1."""
        assert self.labels is not None
        if self.form != "ava":
            raise DataError(
                f"The data have named classes ({quoted(self.labels, 3)}), {of} has {num_classes} without"
                " names: give it their names (model.labels, kept by save_pretrained)."
            )
        moved = {number: number - 1 for number in self.columns}
        if lost := [number for number, column in moved.items() if not 0 <= column < num_classes]:
            raise DataError(
                f"{self.path}: the label map has class {lost[0]}, and {of} has {num_classes} without names,"
                " which count from 1."
            )
        names = [*class_names(None, num_classes)]
        for number, place in self.columns.items():
            names[moved[number]] = self.labels[place]
        return dataclasses.replace(self, labels=tuple(names), columns=moved, num_classes=num_classes)

    def counts(self) -> list[int]:
        """Persons of each class in the frames that count."""
        counts = [0] * self.num_classes
        for frame in self.key_frames:
            for person in frame.persons:
                for column in person.columns:
                    counts[column] += 1
        return counts

    def __repr__(self) -> str:
        frames, videos = len(self.key_frames), len(self.videos)
        return f"PersonAnnotations({frames} key frames of {videos} videos, {self.num_classes} classes)"


def is_person_data(source: str | Path) -> bool:
    """Whether a file annotates persons, in one of the forms above: no list of clips looks like them."""
    path = expanded(source)
    return kind_of(path) == "file" and _form(path) is not None


def refuse_persons(source: str | Path, why: str = "this network classifies whole clips") -> None:
    """Refuses a file that annotates persons, where only lists of clips are taken.

    Raises:
        DataError: says so, and why.
    """
    if is_person_data(source):
        raise DataError(
            f"'{source}' annotates persons in boxes, and {why}; models and recipes named *_roi take them."
        )


def read_persons(
    source: str | Path,
    *,
    root: str | Path | None = None,
    labels: Labels | None = None,
    excluded: Iterable[str | Path] | str | Path = (),
    proposals: Iterable[str | Path] | str | Path = (),
    unit: Unit | None = None,
    begins_at: float | None = None,
    fps: float | None = None,
    frame_pattern: str | None = None,
    part: Part = "train",
) -> PersonAnnotations:
    """A dataset of persons; videos aren't opened.

    Args:
        source: a file in one of the forms above.
        root: where videos, or folders of frames, are; None: the file's own folder.
        labels: the classes that are scored: names by number or numbers by name, names whose numbers count
            from 1, or a file of any such as AVA's pbtxt. Actions that it lacks aren't scored in AVA's and
            MultiSports' files, and are an error in a table or CVAT's. None: what the file has.
        excluded: file or files of frames that don't count, ``video,second`` a line.
        proposals: file or files of a detector's boxes: AVA's CSV, or MMAction2's pickle; each with other key
            frames.
        unit: of ``proposals``: "pixels", or "normalized", which is what None means.
        begins_at: the time in the files at which videos begin; None: 0, in MultiSports' 1.
        fps: frames per second of folders of frames.
        frame_pattern: which pictures of a folder are its frames, such as "img_{:05}.jpg"; None: all.
        part: of MultiSports' videos.

    Raises:
        DataError: nothing there, a line that can't be read, or none of the videos exists.
        InputError: a time or a rate that is none.
    """
    path = expanded(source)
    form = _form(path) if kind_of(path) == "file" else None
    if form is None:
        raise DataError(
            f"'{path}' doesn't annotate persons; accepted: a .csv, .tsv or .jsonl with video, second, x1, y1,"
            " x2, y2, action, AVA's CSV, CVAT's XML, or MultiSports' pickle."
        )
    for name, value in (("begins_at", begins_at), ("fps", fps)):
        if value is not None and (not is_number(value) or value < 0 or (name == "fps" and value == 0)):
            raise InputError(
                f"{name} is {value!r:.40}; accepted: a number {'above' if name == 'fps' else 'from'} 0."
            )
    if fps is not None:
        fps = float(fps)
    classes = None if labels is None else _classes(labels)
    begin = _FIRST_TIME[form] if begins_at is None else float(begins_at)
    base = path.parent if root is None else expanded(root)

    def pictures(folders: Sequence[str]) -> dict[str, list[str]]:
        videos = _videos(folders, base, fps, frame_pattern)
        return {folder: _pictures(video) for folder, video in videos.items()}

    actions, names = _read(path, form, classes, part, pictures)
    if not len(actions):
        raise DataError(f"'{path}' annotates nobody.")
    if names is None:
        count = max(int(actions.labels.max()), 1)
        columns = {number: number - 1 for number in range(1, count + 1)}  # AVA's begin at 1
    else:
        columns, count = {number: place for place, number in enumerate(names)}, len(names)
    names_here = list(dict.fromkeys(video for video, _ in actions.frames))
    left_out = [frame for file in _files(excluded) for frame in read_excluded(file)]
    called = _called_here({video for video, _ in left_out}, names_here)
    out = frozenset(to_milliseconds((called.get(video, video), time)) for video, time in left_out)
    found = boxes_by_video(*_files(proposals), unit=unit, begins_at=begin)
    boxes = _boxes_here(found, names_here)
    videos = _videos(names_here, base, fps, frame_pattern)
    if not any(kind_of(sample.path) for sample in videos.values()):
        some = quoted([str(sample.path) for sample in videos.values()][:2])
        raise DataError(
            f"None of the {len(videos)} videos of '{path}' is there, such as {some}; root (--root) says"
            " where."
        )
    return PersonAnnotations(
        path=path,
        form=form,
        actions=actions,
        labels=None if names is None else tuple(names.values()),
        columns=columns,
        num_classes=count,
        videos=videos,
        begins_at=begin,
        excluded=out,
        proposals=boxes or None,
    )


def _read(
    path: Path,
    form: PersonForm,
    classes: Mapping[int, str] | None,
    part: Part,
    pictures: Pictures,
) -> tuple[PersonActions, Mapping[int, str] | None]:
    """Rows, and names by number; None: numbers from 1 without names."""
    if form == "multisports":
        actions, names = read_multisports(path, part)
        if classes is None:
            return actions, names
        numbers = {name: number for number, name in names.items()}
        lost = [name for name in classes.values() if name not in numbers]
        misspelled = [name for name in lost if did_you_mean(name, numbers)]
        if misspelled or len(lost) == len(classes):  # a map may have more than the file
            name = (misspelled or lost)[0]
            raise DataError(f"'{path}' has no action '{name:.80}'.{did_you_mean(name, numbers)}")
        return actions, {numbers[name]: name for name in classes.values() if name in numbers}
    if form == "ava":
        return read_ava(path, scored=False), classes
    if form == "cvat":
        return read_cvat(path, classes, pictures)
    return read_person_table(path, classes)


def _pictures(video: Sample) -> list[str]:
    """The names of a folder's frames, in order; nothing where it is no such folder."""
    if kind_of(video.path) != "folder":
        return []
    try:
        return [path.name for path in frame_paths(video.path / (video.frame_pattern or ""))]
    except VideoError:  # reading it says why
        return []


def _form(path: Path) -> PersonForm | None:
    """What the file looks like; None: nothing of persons."""
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        return "multisports"
    try:
        with path.open("rb") as file:
            head = decoded(file.read(_HEAD), errors="replace")
    except OSError:
        return None
    if suffix == ".xml" or looks_like_cvat(head):
        return "cvat" if looks_like_cvat(head) else None
    lines = [line.strip("\ufeff ") for line in head.splitlines() if line.strip("\ufeff ")]
    if not lines:
        return None
    if suffix.startswith(".json"):
        known = looks_like_row(lines[0]) or any('"box"' in line or '"x1"' in line for line in lines)
        return "table" if known else None
    if suffix not in (".csv", ".tsv"):
        return None
    try:
        reader = csv.reader(lines, delimiter=mark_of(lines[0]), skipinitialspace=True)
        rows = [[field.strip() for field in row] for row in reader]
    except csv.Error:
        return None
    if {"x1", "y1", "x2", "y2"} <= {field.lower() for field in rows[0]}:
        return "table"
    boxes = [row[2:6] for row in rows if len(row) in (7, 8) and all(map(_is_decimal, row[1:6]))]
    # Whole numbers alone may be the classes of a clip.
    return "ava" if any("." in side for box in boxes for side in box) else None


def _is_decimal(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _classes(labels: Labels) -> dict[int, str]:
    if isinstance(labels, (str, Path)):
        try:
            return dict(sorted(read_label_ids(Path(labels)).items()))
        except DataError:
            labels = read_labels(labels).names  # without numbers; what is wrong with it is told by this
    if isinstance(labels, Mapping):
        return read_label_ids(labels)
    return dict(enumerate(read_labels(labels).names, 1))


def _files(given: Iterable[str | Path] | str | Path) -> Iterable[str | Path]:
    return (given,) if isinstance(given, (str, Path)) else given


def _called_here(others: Iterable[str], names: Sequence[str]) -> dict[str, str]:
    """What videos are called in the annotations that other files call otherwise: "a" for "clips/a.mp4".

    A name may lack the ending, or have it where the annotations don't, and the folder; nothing where that
    could be two videos in other folders, or with other endings.
    """
    whole: dict[str, set[str]] = {}
    last: dict[str, set[str]] = {}
    for name in names:
        plain = _without_ending(name)
        whole.setdefault(plain, set()).add(name)
        last.setdefault(plain.rpartition("/")[2], set()).add(name)
    found = {}
    for other in set(others) - {*names}:
        plain = _without_ending(other)
        if len(meant := whole.get(plain) or last.get(plain, set())) == 1:
            found[other] = next(iter(meant))
    return found


def _without_ending(name: str) -> str:
    """The name with "/" after folders, as only Windows writes others, and accented letters in one, as a Mac
    may not."""
    name = unicodedata.normalize("NFC", name)
    suffix = PurePath(name).suffix
    return (name[: -len(suffix)] if suffix.lower() in VIDEO_SUFFIXES else name).replace("\\", "/")


def _boxes_here(boxes: Mapping[str, PersonBoxes], names: Sequence[str]) -> dict[str, PersonBoxes]:
    """A detector's boxes by what the annotations call videos.

    Raises:
        DataError: two of them are one video.
    """
    called = {other: other for other in boxes} | _called_here(boxes, names)
    found = {called[other]: given for other, given in boxes.items()}
    if len(found) < len(boxes):
        several = ([other for other in boxes if called[other] == name] for name in found)
        alike = next(others for others in several if len(others) > 1)
        raise DataError(f"The detector's boxes (proposals) name one video {quoted(alike)}; write it alike.")
    return found


def _videos(names: Sequence[str], root: Path, fps: float | None, pattern: str | None) -> dict[str, Sample]:
    """Where each video is; ``root/name`` where it isn't."""
    found: dict[str, Sample] = {}
    for name in names:
        spellings = dict.fromkeys((name, name.replace("\\", "/")))  # as Windows writes folders
        beside = [root / f"{path}{suffix}" for path in spellings for suffix in ("", *sorted(VIDEO_SUFFIXES))]
        path = next((path for path in beside if kind_of(path)), root / name)
        found[name] = Sample(path=path, fps=fps, frame_pattern=pattern)
    lost = [name for name, sample in found.items() if not kind_of(sample.path)]
    if lost and kind_of(root) == "folder":
        found |= zip(lost, find_ids([found[name] for name in lost], root), strict=True)
    return found
