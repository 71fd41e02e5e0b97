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
from typing import TypedDict, Unpack, get_args

from slowfast_zoo.data import Form
from slowfast_zoo.data.annotations import CLIP_SUFFIXES, Annotations, Sample
from slowfast_zoo.data.folders import find_ids, find_splits, is_frame_folder, read_folder
from slowfast_zoo.data.tables import is_table, read_table
from slowfast_zoo.errors import DataError, UnknownNameError, did_you_mean, quoted
from slowfast_zoo.video.decoding.sources import VIDEO_SUFFIXES

_NUMBERS = re.compile(r"(?:[\s,;]+\d+)+\s*$")


class ReadOptions(TypedDict, total=False):
    """How a dataset is written down: arguments of ``read_annotations``."""

    form: Form | None
    root: str | Path | None
    labels: Sequence[str] | str | Path | None
    separator: str | None
    multi_label: bool | None
    frame_pattern: str | None
    fps: float | None


def read_annotations(
    source: str | Path,
    *,
    form: Form | None = None,
    root: str | Path | None = None,
    labels: Sequence[str] | str | Path | None = None,
    separator: str | None = None,
    multi_label: bool | None = None,
    num_classes: int | None = None,
    frame_pattern: str | None = None,
    fps: float | None = None,
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
        multi_label: whether a clip may have several classes; None: whether some clip has.
        num_classes: numbers from 0 to below it are classes; None: as many as there are labels.
        frame_pattern: which pictures of a folder are its frames, such as "img_{:05}.jpg"; None: all.
        fps: frames per second of folders of frames, where the list doesn't say.

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
    rows, several = _rows(path, form, base, separator, bool(multi_label))
    if not rows:
        raise DataError(f"The dataset '{path}' is empty: it names no clip.")
    names = read_labels(labels)
    if names is None and path.is_dir():
        # Folders called 1, 2 and 5 are three classes, in that order.
        folders = {row.written[0] for row in rows}
        names = tuple(sorted(folders, key=lambda name: (int(name) if name.isdecimal() else -1, name)))
    annotations = _annotated(rows, names, num_classes)
    most = max(len(sample.labels) for sample in annotations.samples)
    if multi_label is False and most > 1:
        raise DataError(
            f"'{path}' has clips with {most} labels; a dataset with one label each was asked for."
        )
    samples = tuple(_as_read(sample, frame_pattern, fps) for sample in annotations.samples)
    several = several or most > 1 if multi_label is None else multi_label
    return dataclasses.replace(annotations, samples=samples, multi_label=several)


def read_splits(folder: str | Path, **options: Unpack[ReadOptions]) -> dict[str, Annotations]:
    """The parts of a dataset that comes divided, with the classes of "train"; nothing where it isn't.

    Args:
        folder: holds folders or lists called train and val or test.
        options: as in ``read_annotations``.

    Raises:
        DataError: as ``read_annotations``, or a part has other classes than "train".
    """
    paths = find_splits(Path(folder).expanduser())
    if not paths:
        return {}
    parts = {"train": read_annotations(paths.pop("train"), **options)}
    for name, path in paths.items():
        parts[name] = read_like(path, parts["train"], **options)
    return parts


def read_like(source: str | Path, train: Annotations, **options: Unpack[ReadOptions]) -> Annotations:
    """The clips of a folder or a list with the classes of those that are there already.

    Raises:
        DataError: as ``read_annotations``, or other classes.
    """
    options |= {"labels": train.labels, "multi_label": train.multi_label}
    return read_annotations(source, num_classes=train.num_classes, **options)


def _as_read(sample: Sample, frame_pattern: str | None, fps: float | None) -> Sample:
    """The sample with how its frames are read; videos know that themselves."""
    if sample.path.suffix.lower() in VIDEO_SUFFIXES:
        return sample
    return dataclasses.replace(
        sample, frame_pattern=sample.frame_pattern or frame_pattern, fps=sample.fps or fps
    )


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
    path: Path, form: Form | None, base: Path, separator: str | None, multi_label: bool
) -> tuple[list[Sample], bool]:
    """Clips with labels as they are written, and whether the form says that a clip may have more than one."""
    if form == "folders" or (form is None and path.is_dir()):
        return read_folder(path), False
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The list '{path}' can't be read: {error}.") from error
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        return [], False
    several = multi_label
    if form == "table" or (form is None and is_table(path, numbered[0][1], separator)):
        rows, several = read_table(path, separator)
    else:
        rows = _list_rows(path, numbered, form, base, separator, multi_label)
    rows = [dataclasses.replace(row, path=base / row.path) for row in rows]
    if rows and not any(row.path.exists() for row in rows):
        raise DataError(
            f"None of the {len(rows)} clips of '{path}' exists, such as '{rows[0].path}'; relative paths"
            " begin at the list's folder, or at the root that is given."
        )
    return rows, several


def _list_rows(
    path: Path,
    numbered: list[tuple[int, str]],
    form: Form | None,
    base: Path,
    separator: str | None,
    multi_label: bool,
) -> list[Sample]:
    if "label_index" in numbered[0][1].lower():
        form, numbered = form or "ids", numbered[1:]
    form = form or _guessed(path, numbered[0], base, separator)
    rows = [_parse(f"{path}:{number}", line, form, separator, multi_label) for number, line in numbered]
    return find_ids(rows, base) if form == "ids" else rows


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


def _parse(where: str, line: str, form: Form, separator: str | None, multi_label: bool) -> Sample:
    text, numbers = _fields(where, line, separator)
    head = {"videos": 0, "rawframes": 1, "rawframes-offset": 2, "ids": 1}[form]
    if form == "videos":
        # "my clip 7.mp4 3": numbers in front of the ending belong to the path.
        labels = numbers if multi_label or Path(text).suffix.lower() in CLIP_SUFFIXES else numbers[-1:]
        counts: list[str] = []
    else:
        labels = numbers[head:] if multi_label else numbers[-1:]
        counts = numbers[:head] if multi_label else numbers[-1 - head : -1]
    if not labels or len(counts) < head:
        shape = {"videos": "path label", "rawframes": "folder frames label", "ids": "video_id, frames, label"}
        raise DataError(
            f"{where}: '{line.strip():.80}' isn't '{shape.get(form, 'folder first_frame frames label')}'."
        )
    path = _joined(text, numbers[: len(numbers) - len(labels) - len(counts)])
    frames = [int(count) for count in counts]
    return Sample(
        where=where,
        path=Path(path),
        written=tuple(labels),
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


def _annotated(rows: list[Sample], labels: tuple[str, ...] | None, num_classes: int | None) -> Annotations:
    """Samples whose labels as written have become class numbers."""
    texts = {label for row in rows for label in row.written}
    numeric = all(text.isdecimal() for text in texts)
    if labels is None and not numeric:
        labels = tuple(sorted(texts))
    if labels is not None:
        num_classes = len(labels)
    index_of = _indexer(labels, num_classes, numeric)
    samples = tuple(
        dataclasses.replace(
            row, labels=tuple(index_of(label, row.where) for label in row.written), written=()
        )
        for row in rows
    )
    highest = max((label for sample in samples for label in sample.labels), default=0)
    return Annotations(
        samples=samples, labels=labels, multi_label=False, num_classes=num_classes or highest + 1
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
