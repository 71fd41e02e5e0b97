"""Which clips a dataset has, and their classes: folders, tables and the publishers' lists.

The forms, and what ``read_annotations`` takes each for without being told:

=================  =============================================================  =======================
"folders"          one folder per class, of videos or of folders of frames        a folder
"table"            CSV, TSV or JSON lines with a header: path, label or labels;   path and label in the
                   optional start, end (seconds), fps, first_frame, num_frames    first line
"videos"           ``path label [label ...]``                                     path of a video
"rawframes"        ``folder frames label [label ...]``                            path of a folder
"rawframes-offset" ``folder first_frame frames label [label ...]``                never: has to be named
"ids"              ``video_id, num_frames, label_index``; files or folders of     two numbers behind what
                   frames are searched below ``root``                             is no path
=================  =============================================================  =======================

Source: ``RawframeDataset`` and ``VideoDataset`` of MMAction2 (https://github.com/open-mmlab/mmaction2), whose
model zoo page describes the lists with video ids; ``slowfast/datasets/kinetics.py`` of PySlowFast
(https://github.com/facebookresearch/SlowFast): "videos" with one label.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from slowfast_zoo.data import Form
from slowfast_zoo.data.folders import find_ids, folder_rows, is_frame_folder
from slowfast_zoo.data.rows import Row
from slowfast_zoo.data.tables import is_table, table_rows
from slowfast_zoo.errors import DataError, UnknownNameError, did_you_mean, quoted
from slowfast_zoo.video.decoding.sources import VIDEO_SUFFIXES

CLIP_SUFFIXES = VIDEO_SUFFIXES | {".npy"}
"""Endings of what is one clip: videos, and frames stored by ``cache``."""

_NUMBERS = re.compile(r"(?:[\s,;]+\d+)+\s*$")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One clip: a video, a folder of frames, or a part of one."""

    path: Path
    """Video, folder of frames, or .npy file of frames."""
    labels: tuple[int, ...]
    """Its classes; exactly one unless the dataset has several."""
    start_seconds: float | None = None
    """Where the part begins; None: with the video."""
    end_seconds: float | None = None
    """Where it ends; None: with the video."""
    first_frame: int = 0
    """Frames to leave out at the beginning."""
    num_frames: int | None = None
    """Frames from there that belong to it; None: all."""
    fps: float | None = None
    """Frames per second, where the list says so."""
    columns: tuple[tuple[str, str], ...] = ()
    """What else a table says of it: (column, text)."""

    @property
    def name(self) -> str:
        """Path, and the part if it isn't the whole."""
        if self.start_seconds is not None or self.end_seconds is not None:
            end = "end" if self.end_seconds is None else f"{self.end_seconds:g}"
            return f"{self.path} [{self.start_seconds or 0:g}-{end} s]"
        if self.first_frame:
            return f"{self.path} [from frame {self.first_frame}]"
        return str(self.path)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Annotations:
    """The clips of a dataset and what their classes are called."""

    samples: tuple[Sample, ...]
    """In the list's order."""
    labels: tuple[str, ...] | None
    """Class names; None where the list has numbers and nobody named them."""
    several: bool
    """Whether a clip may have several classes."""
    num_classes: int
    """How many classes: as named, or up to the highest number met."""

    def subset(self, indices: Sequence[int]) -> Annotations:
        """Some of the clips, with the same classes."""
        return dataclasses.replace(self, samples=tuple(self.samples[index] for index in indices))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The labels, or the numbers as text."""
        return self.labels or tuple(str(index) for index in range(self.num_classes))

    def counts(self) -> list[int]:
        """Clips per class."""
        counts = [0] * self.num_classes
        for sample in self.samples:
            for label in sample.labels:
                counts[label] += 1
        return counts


def read_annotations(
    source: str | Path,
    *,
    form: Form | None = None,
    root: str | Path | None = None,
    labels: Sequence[str] | str | Path | None = None,
    separator: str | None = None,
    several: bool | None = None,
    num_classes: int | None = None,
) -> Annotations:
    """The clips and classes of a folder or a list; videos aren't opened.

    Args:
        source: a folder, or a list in one of the forms above.
        form: of the list; None: what it looks like.
        root: where relative paths begin; None: the list's own folder.
        labels: class names in the order of their numbers, or a file with one a line. None: the sorted
            names of folders or labels; numbers stay numbers.
        separator: between the fields of a line; None: white space, commas or semicolons, or what a
            table's header shows.
        several: whether a clip may have several classes; None: whether some clip has.
        num_classes: numbers from 0 to below it are classes; None: as many as there are labels.

    Raises:
        DataError: nothing there, nothing in it, no such form, a line that can't be read, a label that
            isn't one of those accepted, or none of the files exists.
    """
    path = Path(source).expanduser()
    if form is not None and form not in get_args(Form):
        near = did_you_mean(form, get_args(Form))
        raise UnknownNameError(
            f"There is no form '{form}' of lists.{near} Accepted: {quoted(get_args(Form))}."
        )
    base = Path(root).expanduser() if root is not None else path if path.is_dir() else path.parent
    if not path.exists():
        raise DataError(f"There is no dataset at '{path}'; give a folder of class folders, or a list.")
    if not base.is_dir():
        raise DataError(f"The root '{base}' of the dataset '{path}' isn't a folder.")
    rows = _rows(path, form, base, separator, several)
    if not rows:
        raise DataError(f"The dataset '{path}' is empty: it names no clip.")
    names = read_labels(labels)
    if names is None and path.is_dir():
        # Folders called 1, 2 and 5 are three classes, in that order.
        folders = {row.labels[0] for row in rows}
        names = tuple(sorted(folders, key=lambda name: (int(name) if name.isdecimal() else -1, name)))
    return _annotated(rows, str(path), names, several, num_classes)


def read_labels(labels: Sequence[str] | str | Path | None) -> tuple[str, ...] | None:
    """Class names: as given, or the lines of a file.

    Raises:
        DataError: the file can't be read or is empty, or a name occurs twice.
    """
    if labels is None:
        return None
    if isinstance(labels, (str, Path)):
        try:
            lines = Path(labels).expanduser().read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"The label map '{labels}' can't be read: {error}.") from error
        labels = [line.strip() for line in lines]
        while labels and not labels[-1]:
            labels.pop()
    names = tuple(labels)
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if not names or "" in names or twice:
        what = f"names '{twice[0]}' twice" if twice else "has an empty line" if names else "is empty"
        raise DataError(f"The label map {what}; accepted: one class name a line, each once.")
    return names


def _rows(
    path: Path, form: Form | None, base: Path, separator: str | None, several: bool | None
) -> list[Row]:
    if form == "folders" or (form is None and path.is_dir()):
        return folder_rows(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The list '{path}' can't be read: {error}.") from error
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        return []
    if form == "table" or (form is None and is_table(path, numbered[0][1], separator)):
        rows = table_rows(path, separator)
    else:
        rows = _list_rows(path, numbered, form, base, separator, several)
    rows = [dataclasses.replace(row, path=base / row.path) for row in rows]
    if rows and not any(row.path.exists() for row in rows):
        raise DataError(
            f"None of the {len(rows)} clips of '{path}' exists, such as '{rows[0].path}'; relative paths"
            " begin at the list's folder, or at the root that is given."
        )
    return rows


def _list_rows(
    path: Path,
    numbered: list[tuple[int, str]],
    form: Form | None,
    base: Path,
    separator: str | None,
    several: bool | None,
) -> list[Row]:
    if "label_index" in numbered[0][1].lower():
        form, numbered = form or "ids", numbered[1:]
    form = form or _guessed(path, numbered[0], base, separator)
    rows = [_row(f"{path}:{number}", line, form, separator, bool(several)) for number, line in numbered]
    return find_ids(rows, base, CLIP_SUFFIXES) if form == "ids" else rows


def _guessed(path: Path, first: tuple[int, str], base: Path, separator: str | None) -> Form:
    where = f"{path}:{first[0]}"
    text, numbers = _fields(where, first[1], separator)
    for count in range(len(numbers) + 1):
        # A path may end in a number itself: what exists decides, then what a video is called.
        candidate = base / _joined(text, numbers[:count])
        if is_frame_folder(candidate):
            return "rawframes"
        if candidate.is_file():
            return "videos"
    if Path(text).suffix.lower() in CLIP_SUFFIXES:
        return "videos"
    if len(numbers) == 2:
        return "ids" if "/" not in text else "rawframes"
    raise DataError(
        f"{where}: '{first[1].strip():.80}' is no line of a known list; accepted: a header with path and"
        " label, 'path label', 'folder frames label' or 'video_id, num_frames, label_index'."
    )


def _row(where: str, line: str, form: Form, separator: str | None, several: bool) -> Row:
    text, numbers = _fields(where, line, separator)
    head = {"videos": 0, "rawframes": 1, "rawframes-offset": 2, "ids": 1}[form]
    if form == "videos":
        # "my clip 7.mp4 3": numbers in front of the ending belong to the path.
        labels = numbers if several or Path(text).suffix.lower() in CLIP_SUFFIXES else numbers[-1:]
        counts: list[str] = []
    else:
        labels = numbers[head:] if several else numbers[-1:]
        counts = numbers[:head] if several else numbers[-1 - head : -1]
    if not labels or len(counts) < head:
        shape = {"videos": "path label", "rawframes": "folder frames label", "ids": "video_id, frames, label"}
        raise DataError(
            f"{where}: '{line.strip():.80}' isn't '{shape.get(form, 'folder first_frame frames label')}'."
        )
    path = _joined(text, numbers[: len(numbers) - len(labels) - len(counts)])
    frames = [int(count) for count in counts]
    return Row(
        where=where,
        path=Path(path),
        labels=tuple(labels),
        first_frame=frames[0] if form == "rawframes-offset" else 0,
        num_frames=frames[-1] if form.startswith("rawframes") else None,
    )


def _fields(where: str, line: str, separator: str | None) -> tuple[str, list[str]]:
    """A line as its path and the numbers behind it; paths may hold spaces, numbers can't."""
    if separator is not None:
        first, *rest = [field.strip() for field in line.strip().split(separator)]
        while rest and not all(field.isdecimal() for field in rest):
            first = f"{first}{separator}{rest.pop(0)}"
        return first, rest
    found = _NUMBERS.search(line)
    if found is None:
        negative = re.search(r"[\s,;](-\d+)\s*$", line)
        what = f"label {negative[1]} is below 0" if negative else "no label number at the end"
        raise DataError(f"{where}: {what} in '{line.strip():.80}'.")
    return line[: found.start()].strip(), re.findall(r"\d+", found[0])


def _joined(text: str, numbers: Sequence[str]) -> str:
    return " ".join([text, *numbers])


def _annotated(
    rows: list[Row],
    name: str,
    labels: tuple[str, ...] | None,
    several: bool | None,
    num_classes: int | None,
) -> Annotations:
    """Rows with their labels as class numbers."""
    texts = {label for row in rows for label in row.labels}
    numeric = all(text.isdecimal() for text in texts)
    if labels is None and not numeric:
        labels = tuple(sorted(texts))
    if labels is not None:
        num_classes = len(labels)
    index_of = _indexer(labels, num_classes, numeric)
    samples = [
        Sample(
            path=row.path,
            labels=tuple(index_of(label, row.where) for label in row.labels),
            start_seconds=row.start_seconds,
            end_seconds=row.end_seconds,
            first_frame=row.first_frame,
            num_frames=row.num_frames,
            fps=row.fps,
            columns=row.columns,
        )
        for row in rows
    ]
    most = max(len(sample.labels) for sample in samples)
    if several is False and most > 1:
        raise DataError(
            f"'{name}' has clips with {most} labels; a dataset with one label each was asked for."
        )
    highest = max((label for sample in samples for label in sample.labels), default=0)
    return Annotations(
        samples=tuple(samples),
        labels=labels,
        several=any(row.several for row in rows) or most > 1 if several is None else several,
        num_classes=num_classes or highest + 1,
    )


def _indexer(
    labels: tuple[str, ...] | None, num_classes: int | None, numeric: bool
) -> Callable[[str, str], int]:
    places = {label: index for index, label in enumerate(labels or ())}

    def index_of(label: str, where: str) -> int:
        if label in places:
            return places[label]
        if not numeric:
            near = did_you_mean(label, places)
            raise DataError(f"{where}: '{label}' is none of the {len(places)} classes.{near}")
        if num_classes is not None and int(label) >= num_classes:
            raise DataError(f"{where}: label {label} is out of range; accepted: 0 to {num_classes - 1}.")
        return int(label)

    return index_of
