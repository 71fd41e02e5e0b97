"""Annotated clips: what one is and how it is read, and a dataset of them with its classes."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple

import numpy as np

from slowfast_zoo.data.labels import MOST_CLASSES, LabelMap, fault_of_name, spelling
from slowfast_zoo.errors import DataError, InputError, VideoError, counted, did_you_mean, one_line, quoted
from slowfast_zoo.files import damage_as_value_error, kind_of
from slowfast_zoo.spec import class_names
from slowfast_zoo.video.decoding.part import VideoPart
from slowfast_zoo.video.decoding.reader import open_video
from slowfast_zoo.video.decoding.video import Frame, Video
from slowfast_zoo.video.sources.names import VIDEO_SUFFIXES, path_text

CACHE_INDEX = "index.csv"
"""What ``cache`` calls the list of its copies."""
CACHED_FROM, CACHED_PART = "cached_from", "cached_part"
"""Column of the file that a clip was copied from by ``cache``."""
CACHED_SHA256 = "cached_sha256"
"""Column of the hash that the copy had when it was written."""
SHARE_THERE = 0.9
"""Part of the frames which a file or a list promises that has to be there."""
CLIP_SUFFIXES = VIDEO_SUFFIXES | {".npy"}
"""Endings of what is one clip: videos, and frames stored by ``cache``."""

_HEADERS = threading.Lock()
"""For one at a time: where threads parse literals, Python 3.11 now and then refuses one that is right."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One clip: a video, a folder of frames, or a part of one."""

    path: Path
    """Video, folder of frames, or .npy file of frames."""
    labels: tuple[int, ...] = ()
    """Its classes; exactly one unless the dataset is multi-label."""
    written: tuple[str, ...] = ()
    """Names or numbers as a list has them, until they have become ``labels``."""
    where: str = dataclasses.field(default="", compare=False)
    """"file:line", for messages."""
    start_seconds: float | None = None
    """Where the part begins; None: with the video."""
    end_seconds: float | None = None
    """Where it ends; None: with the video."""
    first_frame: int = 0
    """Frames to leave out at the beginning."""
    num_frames: int | None = None
    """Frames from there that belong to it; None: all."""
    fps: float | None = None
    """Frames per second of a folder of frames or stored ones, where the list says so; a video has its own."""
    frame_pattern: str | None = None
    """Which pictures of a folder are its frames, such as "img_{:05}.jpg"; None: all."""
    columns: tuple[tuple[str, str], ...] = ()
    """What else a table says of it: (column, text)."""

    @property
    def name(self) -> str:
        """Path, with the pattern of its pictures, and the part if it isn't the whole."""
        is_file = self.path.suffix.lower() in CLIP_SUFFIXES
        path = self.path if is_file or not self.frame_pattern else self.path / self.frame_pattern
        part = []
        if self.first_frame:
            count = "" if self.num_frames is None else f"{self.num_frames} frames "
            part.append(f"{count}from frame {self.first_frame}")
        if self.start_seconds is not None or self.end_seconds is not None:
            end = "end" if self.end_seconds is None else f"{self.end_seconds:.12g}"
            part.append(f"{self.start_seconds or 0:.12g}-{end} s")
        return f"{path_text(path)} [{', '.join(part)}]" if part else path_text(path)

    @property
    def original(self) -> Path:
        """Its path; of a cached copy that of what it was made from."""
        return Path(dict(self.columns).get(CACHED_FROM) or self.path)

    @property
    def part(self) -> tuple[int, int | None, float | None, float | None]:
        """First frame, frames, start and end in seconds."""
        return self.first_frame, self.num_frames, self.start_seconds, self.end_seconds

    def open(self) -> Video:
        """Its frames, to be used in a ``with`` statement.

        Raises:
            VideoError: it can't be opened, or has no frames in its part.
            InputError: a part in seconds of frames whose rate nothing says.
        """
        stored = self.path.suffix.lower() == ".npy"
        if stored:
            video = open_video(_stored_frames(self.path), fps=self.fps)
            video.name = str(self.path)
        elif kind_of(self.path) == "folder":
            pattern = self.frame_pattern
            video = open_video(self.path / pattern if pattern else self.path, fps=self.fps)
        else:
            video = open_video(self.path)
        if self.part == (0, None, None, None):
            return video
        try:
            self._check_length(video.num_frames)
            first, count, start, end = self.part
            return VideoPart(
                video, self.name, first_frame=first, num_frames=count, start_seconds=start, end_seconds=end
            )
        except (VideoError, InputError):
            video.close()
            raise

    def _check_length(self, there: int) -> None:
        """Decoders differ by a frame or two; a list that promises many more is of something else."""
        promised = self.first_frame + (self.num_frames or 0)
        if there < SHARE_THERE * promised:
            where = f" ({self.where})" if self.where else ""
            raise VideoError(
                f"'{self.path}' has {there} frames, its list says {promised}{where}; extract them again, or"
                " correct the list."
            )


def _stored_frames(path: Path) -> Frame:
    try:
        with damage_as_value_error(), _HEADERS:
            frames = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise VideoError(f"'{path}' can't be read as stored frames: {one_line(error)}.") from error
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise VideoError(f"'{path}' holds {frames.dtype} {frames.shape}; accepted: uint8 (T, H, W, 3).")
    return frames


class Listing(NamedTuple):
    """The clips of a folder or a list, with their labels as they are written."""

    samples: list[Sample]
    multi_label: bool = False
    """Whether its form says that a clip may have several classes."""
    named: bool = False
    """Whether labels are names even where they consist of digits."""
    joined: frozenset[str] = frozenset()
    """Labels of a table with a mark in them, between which may be several."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Annotations:
    """The clips of a dataset and what their classes are called."""

    samples: tuple[Sample, ...]
    """In the list's order."""
    labels: tuple[str, ...] | None
    """Class names; None where the list has numbers and nobody named them."""
    multi_label: bool
    """Whether a clip may have several classes."""
    num_classes: int
    """How many classes: as named, or up to the highest number met."""
    first_number: int | None = 0
    """The number that its list gives to the first class; None: the list has names."""

    def __repr__(self) -> str:
        clips, classes = counted(len(self.samples), "clip"), counted(self.num_classes, "class")
        return f"Annotations({clips}, {classes})"

    def subset(self, indices: Sequence[int]) -> Annotations:
        """Some of the clips, with the same classes."""
        return dataclasses.replace(self, samples=tuple(self.samples[index] for index in indices))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The labels, or "class 0" and so on."""
        return class_names(self.labels, self.num_classes)

    def counts(self) -> list[int]:
        """Clips per class."""
        counts = [0] * self.num_classes
        for sample in self.samples:
            for label in sample.labels:
                counts[label] += 1
        return counts

    def class_weights(self) -> list[float]:
        """Each clip's chance in a balanced draw, where each has one class: all classes equally often."""
        counts = self.counts()
        return [1 / counts[sample.labels[0]] for sample in self.samples]

    def with_classes(
        self, labels: Sequence[str] | None, num_classes: int, *, of: str, first_number: int | None = 0
    ) -> Annotations:
        """The same clips with the classes of something else: by name where both have names, else by number.

        Args:
            labels: its class names; None: it has none.
            num_classes: how many it has.
            of: what that is, for messages: "the model".
            first_number: what lists call its first class; None: by its name only.

        Raises:
            DataError: a class that it lacks, or names on one side only, so that nobody knows which is which.
        """
        names = None if labels is None else tuple(labels)
        if self.labels is not None:
            if names is None:
                raise DataError(
                    f"The data have named classes ({quoted(self.labels, 3)}), {of} has {num_classes}"
                    " without names: a label map (labels, --labels) has to say which is which."
                )
            known = {name: index for index, name in enumerate(names)}
            used = {label for sample in self.samples for label in sample.labels}
            lost = [name for index, name in enumerate(self.labels) if name not in known and index in used]
            if lost:
                near = next(filter(None, (did_you_mean(name, names) for name in lost)), "")
                raise DataError(
                    f"The data have {'classes' if len(lost) > 1 else 'a class'} that {of} lacks: "
                    f"{quoted(lost[:5])}.{near} Its {num_classes} classes are"
                    f" {quoted(names, 5)}; a label map (labels, --labels) says how they are called."
                )
            places = [known.get(name, -1) for name in self.labels]
        elif names is not None and first_number is None:
            raise DataError(
                f"The data number their classes (0 to {self.num_classes - 1}), {of} names them"
                f" ({quoted(names, 3)}): a label map (labels, --labels) has to say which is which."
            )
        else:
            places = [number - (first_number or 0) for number in range(self.num_classes)]
        return self._renumbered(places, names, num_classes, of)

    def _renumbered(
        self, places: Sequence[int], labels: tuple[str, ...] | None, num_classes: int, of: str
    ) -> Annotations:
        samples = []
        for sample in self.samples:
            moved = tuple(places[label] for label in sample.labels)
            if any(not 0 <= place < num_classes for place in moved):
                raise DataError(
                    f"{sample.where or sample.name}: label {max(sample.labels)} is out of range; {of} has"
                    f" {counted(num_classes, 'class')}, numbered from 0. Other classes need names: a label"
                    " map (labels, --labels)."
                )
            samples.append(dataclasses.replace(sample, labels=moved))
        return dataclasses.replace(self, samples=tuple(samples), labels=labels, num_classes=num_classes)


def with_classes_of(train: Annotations, part: Annotations) -> Annotations:
    """The part with the classes of "train"; numbers mean those that have them there.

    Raises:
        DataError: as ``Annotations.with_classes``.
    """
    return part.with_classes(
        train.labels, train.num_classes, of="the training data", first_number=train.first_number
    )


def with_known_classes(train: Annotations, part: Annotations, name: str) -> tuple[Annotations, list[str]]:
    """The part with the classes of "train", without clips of others, and what there is to say about those.

    Args:
        train: whose classes.
        part: clips to validate or to test with.
        name: of the part, for the sentence.

    Raises:
        DataError: as ``Annotations.with_classes``: no clip is left, or a class seems to be one of "train" in
            another spelling.
    """
    known = {*((part.labels or ()) if train.labels is None else train.labels)}
    used = {label for label, count in zip(part.labels or (), part.counts(), strict=False) if count}
    names = [label for label in part.labels or () if label in used - known]
    lost = {index for index, label in enumerate(part.labels or ()) if label in names}
    kept = [index for index, sample in enumerate(part.samples) if not lost & {*sample.labels}]
    left_out = len(part.samples) - len(kept)
    notes = []
    if kept and left_out and not any(_resembles(name, known, used) for name in names):
        part = part.subset(kept)
        notes = [
            f"Left out {counted(left_out, 'clip')} of {name}, of classes without a clip to train with:"
            f" {quoted(names)}."
        ]
    return with_classes_of(train, part), notes


def _resembles(name: str, known: Set[str], used: Set[str]) -> bool:
    """Whether a class may be one of the known ones, spelled otherwise; not one that is used as well."""
    same = {spelling(label).replace(" ", "") for label in known}
    return spelling(name).replace(" ", "") in same or bool(did_you_mean(name, known - used))


def unite_classes(parts: Mapping[str, Annotations]) -> dict[str, Annotations]:
    """The parts with the classes of all of them: by name, or by number where no part has names.

    Args:
        parts: annotations by the part's name.

    Raises:
        DataError: some parts have names, others numbers.
        InputError: there are no parts.
    """
    if not parts:
        raise InputError("parts is empty; accepted: annotations by the part's name, such as {'train': ...}.")
    named = [name for name, part in parts.items() if part.labels is not None]
    if not named:
        count = max(part.num_classes for part in parts.values())
        return {name: dataclasses.replace(part, num_classes=count) for name, part in parts.items()}
    if len(named) < len(parts):
        other = next(name for name in parts if name not in named)
        raise DataError(
            f"The classes of {named[0]} have names, those of {other} numbers: a label map (labels, --labels)"
            " has to say which is which."
        )
    names = tuple(dict.fromkeys(name for part in parts.values() for name in part.labels or ()))
    return {name: part.with_classes(names, len(names), of="the data") for name, part in parts.items()}


def number_classes(listing: Listing, labels: LabelMap | None, source: str) -> Annotations:
    """Clips whose labels as written have become class numbers.

    Args:
        listing: at least one clip.
        labels: the classes; None: the sorted names, or numbers up to the highest.
        source: the list, for messages.

    Raises:
        DataError: a label that isn't among the classes, or that could be a name as well as a number.
    """
    first_at: dict[str, str] = {}
    for sample in listing.samples:
        for text in sample.written:
            first_at.setdefault(text, sample.where)
    numeric = not listing.named and all(text.isascii() and text.isdigit() for text in first_at)
    if not numeric:
        check_names(first_at, spellings=labels is None)
        if labels is None:
            _refuse_several(listing.joined, first_at)
    first: int | None = None
    if labels is None and not numeric:
        # Folders called 1, 2 and 5 are three classes, in that order.
        names = sorted(first_at, key=lambda name: (int(name) if _is_number(name) else -1, name))
        labels = LabelMap(tuple(names), None)
    if labels is None or (numeric and not set(first_at) & set(labels.names)):
        numbers = {text: _class_number(text, where) for text, where in first_at.items()}
        first = 0 if labels is None else _first_number(labels, numbers, source)
        known = {text: number - first for text, number in numbers.items()}
        count = len(labels.names) if labels else max(numbers.values(), default=0) + 1
        for text, number in known.items():
            if number >= count:
                raise DataError(
                    f"{first_at[text]}: label {text} is out of range; accepted: {first} to"
                    f" {first + count - 1}, as {count} classes have names."
                )
    else:
        # Whoever reads a list takes spaces around a name away.
        known = {text: i for i, name in enumerate(labels.names) for text in (name, name.strip())}
        count = len(labels.names)
        for text, where in first_at.items():
            if text not in known:
                also = " Labels are numbers, or names; not both." if numeric else ""
                raise DataError(
                    f"{where}: '{text:.80}' is none of the {count} classes.{did_you_mean(text, known)}{also}"
                    " A label map (labels, --labels, train's --recipe-labels) says which there are; without"
                    " one, names in a list name themselves."
                )
    samples = tuple(
        dataclasses.replace(
            sample, labels=tuple(dict.fromkeys(known[text] for text in sample.written)), written=()
        )
        for sample in listing.samples
    )
    return Annotations(
        samples=samples,
        labels=None if labels is None else labels.names,
        multi_label=listing.multi_label,
        num_classes=count,
        first_number=first,
    )


def several_classes(annotations: Annotations) -> str:
    """One sentence: how many clips have several classes, and what follows; "" where none has."""
    several = [sample for sample in annotations.samples if len(sample.labels) > 1]
    if not several:
        return ""
    return (
        f"{len(several)} of {counted(len(annotations.samples), 'clip')} have several classes, the first is"
        f" {several[0].where}: each class is learned by itself (sigmoid). --single-label (multi_label=False)"
        " refuses such clips."
    )


def check_names(first_at: Mapping[str, str], *, spellings: bool = True) -> None:
    """Refuses what can't be a class name, or one label in two spellings, such as "Long jump" and "long_jump".

    Args:
        first_at: where each name is met first, in that order.
        spellings: whether to look for those.

    Raises:
        DataError: says where, and what is accepted.
    """
    seen: dict[str, str] = {}
    for name, where in first_at.items():
        if (fault := fault_of_name(name)) is not None:
            raise DataError(f"{where}: the class name {name!r:.80} {fault}.")
        key = f"{int(name)}" if _is_number(name) else spelling(name)
        if (other := seen.setdefault(key, name)) != name and spellings:
            raise DataError(
                f"{where}: '{name:.80}' and '{other:.80}' ({first_at[other]}) look like one class in two"
                " spellings; write them alike, or name both in a label map (labels, --labels)."
            )


def _refuse_several(joined: Set[str], first_at: Mapping[str, str]) -> None:
    """Refuses a label with marks in it that has another label between them."""
    for name in sorted(joined):
        for part in re.split("[,;|]", name):
            if (other := part.strip()) in first_at:
                raise DataError(
                    f"{first_at[name]}: '{name:.80}' could be one class or several, as '{other:.80}'"
                    f" ({first_at[other]}) is one; write several as 'jump;run' in a column 'labels', or name"
                    " all classes in a label map (labels, --labels)."
                )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _class_number(text: str, where: str) -> int:
    if not _is_number(text) or int(text) >= MOST_CLASSES:
        raise DataError(f"{where}: label {text:.20} is no class number; accepted: 0 to {MOST_CLASSES - 1}.")
    return int(text)


def _first_number(labels: LabelMap, numbers: Mapping[str, int], source: str) -> int:
    """Whether the numbers of a list are those of a label map that begins at 1, or begin at 0.

    Both are met with UCF101's classInd.txt: its own lists begin at 1, MMAction2's at 0.
    """
    if not labels.first or 0 in numbers.values():
        return 0
    if len(labels.names) in numbers.values():
        return 1
    raise DataError(
        f"The label map numbers its {len(labels.names)} classes from 1, and '{source}' has neither 0 nor"
        f" {len(labels.names)}: whether its numbers begin at 0 or 1 can't be known. Give names without"
        " numbers, one a line, for a list that begins at 0."
    )
