"""Which clips a dataset has, and their classes: folders, tables and the publishers' lists.

The forms, and what ``read_annotations`` takes each for without being told:

    "folders"           one folder per class, of videos or of folders of frames       a folder
    "table"             CSV, TSV or JSON with a path and a label or labels; optional  a header, or JSON, in
                        start, end (seconds), fps, first_frame, num_frames            the first line
    "videos"            path label [label ...]                                        path of a video
    "rawframes"         folder frames label [label ...], or a video for the folder    path of a folder
    "rawframes-offset"  folder first_frame frames label [label ...]                   never: has to be named
    "ids"               video_id, num_frames, label_index; files or folders of        two numbers after what
                        frames are searched below root                                is no path

A table that has ``youtube_id, time_start, time_end`` for a path is Kinetics' own: its files, called
``id_000010_000020.mp4`` or ``id.mp4``, are searched below ``root``. More of each form: docs/data.md.

Who reads what. All but the first and the last also return sentences about what was left out or divided:

    read_annotations  all clips of one folder or list                              check, Python
    read_filled       the same, without classes whose folders are empty            split, cache
    read_undivided    the same; what a column says of parts is only told           test, finetune --folds
    read_train        of a table that a column divides "train", else all           train
    read_beside       likewise "val" or "test", with labels as in training         train, finetune: other data
    read_parts        all parts by name; what isn't divided is "train"             finetune
    read_splits       the same, but nothing of what isn't divided                  Python

Source: ``RawframeDataset`` and ``VideoDataset`` of MMAction2 (https://github.com/open-mmlab/mmaction2), whose
model zoo page describes the lists with video ids; ``slowfast/datasets/kinetics.py`` of PySlowFast
(https://github.com/facebookresearch/SlowFast): "videos" with one label; ``TSNDataSet`` of TSN
(https://github.com/yjxiong/tsn-pytorch): "rawframes"; https://github.com/cvdfoundation/kinetics-dataset.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, Unpack, get_args

from slowfast_zoo.data import Form
from slowfast_zoo.data.annotations import (
    CLIP_SUFFIXES,
    Annotations,
    Listing,
    Sample,
    number_classes,
    with_classes_of,
    with_known_classes,
)
from slowfast_zoo.data.folders import (
    SPLITS,
    empty_classes,
    find_ids,
    find_splits,
    is_frame_folder,
    loose_clips,
    read_folder,
)
from slowfast_zoo.data.labels import lines_of, read_labels, text_of
from slowfast_zoo.data.persons.annotations import refuse_persons
from slowfast_zoo.data.splits import column_parts
from slowfast_zoo.data.tables import COLUMNS, EXAMPLE, is_table, read_table
from slowfast_zoo.errors import (
    DataError,
    InputError,
    UnknownNameError,
    VideoError,
    counted,
    did_you_mean,
    quoted,
    text_without_secrets,
)
from slowfast_zoo.files import expanded, is_same, kind_of
from slowfast_zoo.video.sampling import is_number
from slowfast_zoo.video.sources.names import VIDEO_SUFFIXES, path_text

_ACCEPTED = (
    f"accepted: a header with {COLUMNS}, such as {EXAMPLE}; or lines such as 'clips/a.mp4 0' (path label),"
    " 'frames/a 300 0' (folder frames label) or 'video_id, frames, label'"
)
_SHAPES: dict[str, tuple[str, int]] = {
    "videos": ("path label", 0),
    "rawframes": ("folder frames label", 1),
    "rawframes-offset": ("folder first_frame frames label", 2),
    "ids": ("video_id, frames, label", 1),
}
"""What a line of each form looks like, and how many numbers are in front of its labels."""
_TOKEN = re.compile(r"[^\s,;]+")
_TRIED = 50
"""Lines that are looked at to find out the form of a list."""
_WITNESSES, _MOST_OPENED = 3, 50
"""Files that have to say whether they are cut, and how many are opened for that at most."""


class ReadOptions(TypedDict, total=False):
    """How a dataset is written down: arguments of ``read_annotations``."""

    form: Form | None
    root: str | Path | None
    labels: Sequence[str] | Mapping[Any, Any] | str | Path | None
    separator: str | None
    multi_label: bool | None
    frame_pattern: str | None
    fps: float | Fraction | None


class _Line(NamedTuple):
    """A line of a list as its text and the numbers after it; paths may hold spaces, numbers can't."""

    where: str
    text: str
    numbers: list[str]
    ends: list[int]
    """Where the text ends that has so many of the numbers in it."""

    @property
    def shown(self) -> str:
        """The text for messages."""
        return text_without_secrets(self.text)[:80]

    def path(self, numbers: int = 0) -> str:
        """The text with so many of the numbers after it."""
        path = self.text[: self.ends[numbers]].strip(" \t,;")
        return path[1:-1] if len(path) > 1 and path[0] == path[-1] == '"' else path


def read_annotations(
    source: str | Path,
    *,
    form: Form | None = None,
    root: str | Path | None = None,
    labels: Sequence[str] | Mapping[Any, Any] | str | Path | None = None,
    separator: str | None = None,
    multi_label: bool | None = None,
    frame_pattern: str | None = None,
    fps: float | Fraction | None = None,
    skip_empty: bool = False,
) -> Annotations:
    """The clips and classes of a folder or a list; videos aren't opened.

    Args:
        source: a folder, or a list in one of the forms above.
        form: of the list; None: what it looks like.
        root: where a list's relative paths begin; None: the list's own folder.
        labels: class names in the order of their numbers, a dict of names and numbers, or a label map (see
            ``slowfast_zoo.data.labels``). None: the sorted names of folders or labels; numbers stay numbers
            without names.
        separator: between the fields of a line; None: white space, commas or semicolons, or what a
            table's header shows.
        multi_label: whether a clip may have several classes; None: whether some clip has.
        frame_pattern: which pictures of a folder are its frames, such as "img_{:05}.jpg"; None: all.
        fps: frames per second of folders of frames, where the list doesn't say.
        skip_empty: leave out classes whose folders hold no clip.

    Raises:
        DataError: nothing there, nothing in it, a line that can't be read or could mean two things, a label
            that isn't one of those accepted, or none of the files exists.
        UnknownNameError: no such form.
        InputError: a separator or a frame rate that is none.
    """
    path = expanded(source)
    if form is not None and form not in get_args(Form):
        near = did_you_mean(form, get_args(Form))
        raise UnknownNameError(
            f"There is no form '{form}' of lists.{near} Accepted: {quoted(get_args(Form))}."
        )
    separator = None if separator is None else {"\\t": "\t"}.get(str(separator), str(separator))
    if separator is not None and (not separator or set(separator) & set('\r\n"0123456789')):
        raise InputError(
            f"The separator {separator!r} can't stand between fields; accepted: such as ',' or '|'."
        )
    if fps is not None and not (is_number(fps) and 0 < fps < 1e6):
        raise InputError(f"fps is {fps!r}; accepted: frames per second, a number above 0.")
    base = expanded(root) if root is not None else path if kind_of(path) == "folder" else path.parent
    if not kind_of(path):
        place = path_text(path)
        raise DataError(f"There is no dataset at '{place}'; give a folder of class folders, or a list.")
    if kind_of(base) != "folder":
        raise DataError(f"The root '{path_text(base)}' of the dataset '{path}' isn't a folder.")
    if form == "folders" or (form is None and kind_of(path) == "folder"):
        if not is_same(base, path):
            where = f"'{path_text(base)}', where a list's relative paths begin"
            raise DataError(f"'{path}' holds class folders and takes no root ({where}): leave it out.")
        listing = read_folder(path, skip_empty=skip_empty, told=form is not None)
    else:
        listing = _read(path, form, base, separator, multi_label, labels is not None)
    if not listing.samples:
        raise DataError(f"The dataset '{path}' is empty: it names no clip; {_ACCEPTED}.")
    annotations = number_classes(listing, None if labels is None else read_labels(labels), str(path))
    most = max(len(sample.labels) for sample in annotations.samples)
    other = next((sample for sample in annotations.samples if len(sample.labels) != 1), None)
    if multi_label is False and other is not None:
        raise DataError(
            f"{other.where}: a clip with {counted(len(other.labels), 'label')}; exactly one was asked for"
            " (multi_label, --single-label), or is what the model (softmax) gives."
        )
    return dataclasses.replace(
        annotations,
        samples=tuple(
            _as_read(sample, frame_pattern, None if fps is None else float(fps))
            for sample in annotations.samples
        ),
        multi_label=listing.multi_label or most > 1 if multi_label is None else multi_label,
    )


def read_filled(source: str | Path, **options: Unpack[ReadOptions]) -> tuple[Annotations, list[str]]:
    """``read_annotations`` without classes whose folders hold no clip, and what there is to say about them.

    Raises:
        DataError: as ``read_annotations``.
    """
    empty = empty_classes(source)
    found = read_annotations(source, skip_empty=bool(empty), **options)
    lost = [name for name in empty if name.strip() not in found.class_names]  # others are in a label map
    notes = [f"Left out classes whose folders hold no clips: {quoted(lost)}."] if lost else []
    return found, [*notes, *loose_clips(source)]


def read_splits(source: str | Path, **options: Unpack[ReadOptions]) -> dict[str, Annotations]:
    """The parts of a dataset that comes divided, with the classes of "train"; nothing where it isn't.

    Args:
        source: a folder that holds folders or lists called train and val or test, or a table with a column
            that says so, unless it is called like a part itself.
        options: as in ``read_annotations``.

    Raises:
        DataError: as ``read_annotations``, or a part has other classes than "train".
    """
    if kind_of(expanded(source)) == "folder" and not find_splits(expanded(source)):
        return {}
    train, others, _ = _read_each(source, options)
    parts = {name: with_classes_of(train, part) for name, part in others.items()}
    return {"train": train} | parts if parts else {}


def read_parts(
    source: str | Path, *, anew: bool = False, **options: Unpack[ReadOptions]
) -> tuple[dict[str, Annotations], list[str]]:
    """``read_splits``, of what isn't divided all as "train", and what there is to say about the classes.

    Clips of classes that "train" lacks are left out of the other parts.

    Args:
        source: as in ``read_splits``.
        anew: whether all clips will be divided anew: then no column divides a table.
        options: as in ``read_annotations``.

    Raises:
        DataError: as ``read_annotations`` and ``with_known_classes``, or persons are annotated.
    """
    for path in find_splits(expanded(source)).values() or [source]:
        refuse_persons(path)
    if anew and not find_splits(expanded(source)):
        whole, notes = read_undivided(source, "All are divided anew.", **options)
        return {"train": whole}, notes
    train, others, notes = _read_each(source, options)
    parts = {"train": train}
    for name, part in others.items():
        parts[name], more = with_known_classes(train, part, name)
        notes += more
    return parts, notes


def read_train(source: str | Path, **options: Unpack[ReadOptions]) -> tuple[Annotations, list[str]]:
    """``read_filled``, of a table that a column divides the part "train", and what there is to say.

    A list that is called like a part ("train.csv") is read whole.

    Raises:
        DataError: as ``read_annotations`` and ``column_parts``, or the column names no training data.
    """
    train, _, notes = _divided(source, options)
    return train, notes


def read_undivided(
    source: str | Path, told: str, **options: Unpack[ReadOptions]
) -> tuple[Annotations, list[str]]:
    """``read_filled``, with what a column says of parts, and that it decides nothing here.

    Args:
        source: as in ``read_annotations``.
        told: one sentence: what happens to all clips instead.
        options: as in ``read_annotations``.

    Raises:
        DataError: as ``read_annotations``.
    """
    whole, notes = read_filled(source, **options)
    with contextlib.suppress(DataError):  # which parts there are decides nothing
        notes += [f"{note} {told}" for note in column_parts(whole)[1]]
    return whole, notes


def read_beside(
    source: str | Path, train: Annotations, **options: Unpack[ReadOptions]
) -> tuple[Annotations, list[str]]:
    """Clips to score with, beside those to train with, and what there is to say about them.

    They have their own classes, whose folders may be empty. Of a table that a column divides, the part "val"
    is read, else "test"; a list that is called like a part is read whole.

    Args:
        source: as in ``read_annotations``.
        train: numbers and several labels are read as there.
        options: as in ``read_annotations``.

    Raises:
        DataError: as ``read_annotations`` and ``column_parts``, or persons are annotated.
    """
    refuse_persons(source)
    found = _read_other(source, train, options)
    parts, notes = parts_in(source, found)
    name = "val" if "val" in parts else "test"
    if not parts:
        return found, notes
    return parts[name], [f"{notes[0]} Those in {name} are used.", *notes[1:]]


def parts_in(source: str | Path, found: Annotations) -> tuple[dict[str, Annotations], list[str]]:
    """``column_parts`` of what was read from there; nothing where it is called like a part: "train.csv".

    Raises:
        DataError: as ``column_parts``.
    """
    return ({}, []) if expanded(source).stem.lower() in SPLITS else column_parts(found)


def _read_other(source: str | Path, train: Annotations, options: ReadOptions) -> Annotations:
    if train.first_number is not None:
        options = options | {"labels": None}
    options = options | {"multi_label": train.multi_label}
    return read_annotations(source, skip_empty=True, **options)


def _read_each(
    source: str | Path, options: ReadOptions
) -> tuple[Annotations, dict[str, Annotations], list[str]]:
    """What to train with, other parts with their own classes, and what there is to say."""
    paths = find_splits(expanded(source))
    if not paths:
        return _divided(source, options)
    train, notes = read_filled(paths.pop("train"), **options)
    return train, {name: _read_other(path, train, options) for name, path in paths.items()}, notes


def _divided(
    source: str | Path, options: ReadOptions
) -> tuple[Annotations, dict[str, Annotations], list[str]]:
    """As ``_read_each``, of one folder of classes or of a list, which a column may divide."""
    whole, notes = read_filled(source, **options)
    parts, more = parts_in(source, whole)
    if not parts:
        return whole, {}, notes + more
    if "train" not in parts:
        raise DataError(f"'{source}' has no training data: {more[0]}")
    train = parts.pop("train")
    if options.get("labels") is None and train.labels is not None:
        names = [name for name, count in zip(train.labels, train.counts(), strict=True) if count]
        train = train.with_classes(names, len(names), of="the data", first_number=train.first_number)
    return train, parts, notes + more


def _as_read(sample: Sample, frame_pattern: str | None, fps: float | None) -> Sample:
    """The sample with how its frames are read; videos know that themselves, folders called like one don't."""
    is_video = sample.path.suffix.lower() in VIDEO_SUFFIXES
    if (frame_pattern is None and fps is None) or (is_video and kind_of(sample.path) != "folder"):
        return sample
    return dataclasses.replace(
        sample, frame_pattern=sample.frame_pattern or frame_pattern, fps=sample.fps or fps
    )


def _read(
    path: Path, form: Form | None, base: Path, separator: str | None, multi_label: bool | None, mapped: bool
) -> Listing:
    text = text_of(path, "list")
    lines = list(lines_of(text))
    if not lines:
        return Listing([])
    ids = re.findall("[a-z_]+", lines[0][1].lower()) == ["video_id", "num_frames", "label_index"]
    if form == "table" or (form is None and not ids and is_table(lines[0][1], separator)):
        listing, ids = read_table(path, text, separator, mapped=mapped)
    else:
        if ids:
            form, lines = form or "ids", lines[1:]
        parsed = [_parsed(f"{path}:{number}", line, separator) for number, line in lines]
        form = form or _guessed(parsed, base, multi_label)
        listing = Listing([_sample(line, form, bool(multi_label)) for line in parsed])
        ids = form == "ids"
    samples = [_placed(sample, base) for sample in listing.samples]
    if ids:
        samples = _uncut(find_ids(samples, base))
    if samples and not any(kind_of(sample.path) for sample in samples):
        raise DataError(_none_there(path, samples, ids, base))
    return listing._replace(samples=samples)


def _placed(sample: Sample, base: Path) -> Sample:
    """The sample with its path below the base; with backslashes read as Windows does where that exists."""
    path = base / sample.path
    written = str(sample.path)
    if "\\" in written and os.sep == "/" and not kind_of(path):
        other = base / written.replace("\\", "/")
        path = other if kind_of(other) else path
    return dataclasses.replace(sample, path=path)


def _none_there(path: Path, samples: Sequence[Sample], ids: bool, base: Path) -> str:
    first = samples[0].path
    shown = path_text(first)
    short = shown if len(shown) < 300 else f"{shown[:100]}...{shown[-100:]}"
    message = f"None of the {len(samples)} clips of '{path}' exists, such as '{short}'"
    if ids:
        name = Path(shown).name
        return f"{message}: '{name:.100}.mp4' and the like are searched below '{base}'; give root."
    if re.search(r"(?<![A-Za-z])[A-Za-z]:[\\/]|\\", str(first)) and os.sep == "/":
        return f"{message}: these are paths of Windows; write them relative to a folder (root), with '/'."
    if re.search(r"https?:/", str(first)):
        return f"{message}: addresses aren't fetched; download the videos first."
    return f"{message}; relative paths begin at the list's folder, or at the root that is given."


def _uncut(samples: list[Sample]) -> list[Sample]:
    """The samples without the bounds that their files have been cut to already.

    What Kinetics calls ``id.mp4`` may be the whole video or the part that the table means. A file that is
    longer than its part is the whole, one that ends before its part does is that part; a part that begins
    with the video says nothing. Files are opened until three have said which.

    Raises:
        DataError: there are both.
    """
    seconds: dict[Path, float] = {}
    cut: dict[Path, bool] = {}
    bounded = [s for s in samples if s.start_seconds is not None and s.end_seconds is not None]
    for sample in bounded:
        if len(cut) == _WITNESSES or len(seconds) == _MOST_OPENED:
            break
        path, start, end = sample.path, sample.start_seconds or 0, sample.end_seconds or 0
        if path not in seconds and kind_of(path):
            seconds[path] = _seconds_of_file(sample)
        length = seconds.get(path, math.nan)
        if length > end - start + 1:
            cut.setdefault(path, False)
        elif end > length + 1 and start > 1:
            cut.setdefault(path, True)
    if len(set(cut.values())) > 1:
        raise DataError(
            f"{bounded[0].where}: some files called by their id are whole videos, others the part that the"
            " table means; keep them apart, or give cut ones their times as well, id_000010_000020.mp4."
        )
    if not cut or not all(cut.values()):
        return samples
    return [dataclasses.replace(sample, start_seconds=None, end_seconds=None) for sample in samples]


def _seconds_of_file(sample: Sample) -> float:
    """How long all of a sample's file is; NaN where that can't be known."""
    try:
        with dataclasses.replace(sample, start_seconds=None, end_seconds=None).open() as video:
            return float(video.duration_seconds)
    except (VideoError, InputError):
        return math.nan


def _parsed(where: str, line: str, separator: str | None) -> _Line:
    """The line as a text and the numbers after it.

    Raises:
        DataError: there is no number.
    """
    if separator is None:
        spans = [match.span() for match in _TOKEN.finditer(line)]
    else:
        spans, end = [], 0
        for field in line.split(separator):
            start = end + len(field) - len(field.lstrip())
            spans.append((start, start + len(field.strip())))
            end += len(field) + len(separator)
    count = 0
    while count < len(spans) - 1 and re.fullmatch("[0-9]+", line[slice(*spans[-1 - count])]):
        count += 1
    if not count:
        last = line[slice(*spans[-1])] if spans else ""
        fault = (
            f"label {last:.20} is below 0"
            if re.fullmatch("-[0-9]+", last)
            else "no label number at the end, nor a known header,"
        )
        raise DataError(f"{where}: {fault} in '{text_without_secrets(line):.80}'; {_ACCEPTED}.")
    numbers = [line[slice(*span)] for span in spans[len(spans) - count :]]
    return _Line(where, line, numbers, [end for _, end in spans[len(spans) - count - 1 :]])


def _guessed(lines: list[_Line], base: Path, multi_label: bool | None) -> Form:
    """The form of a list.

    Raises:
        DataError: it looks like none, or like two.
    """
    found: Form | None = None
    lost = False
    for line in lines[:_TRIED]:
        known = _candidate(line, base)
        lost |= known is None and "/" not in line.path()
        if known is not None and found is None:
            inside, kind = known
            found = _by_numbers(lines, line, len(line.numbers) - inside, kind == "folder", multi_label)
    line = lines[0]
    if found is not None:
        # Some folders are called by an id alone, other clips of the list by more.
        return "ids" if found == "rawframes" and lost and len(line.numbers) == 2 else found
    if Path(line.path()).suffix.lower() in CLIP_SUFFIXES:
        return _by_numbers(lines, line, len(line.numbers), False, multi_label)
    if len(line.numbers) == 2:
        return "ids" if "/" not in line.path() else "rawframes"
    raise DataError(f"{line.where}: '{line.shown}' is no line of a known list; {_ACCEPTED}.")


def _candidate(line: _Line, base: Path) -> tuple[int, str] | None:
    """How many numbers belong to the path, and what is there; None: neither a folder of frames nor a file.

    A path may end in a number itself: what exists decides, then what a video is called.
    """
    for inside in range(min(len(line.numbers), 4)):
        path = base / line.path(inside)
        if is_frame_folder(path) or kind_of(path) == "file":
            return inside, kind_of(path)
    return None


def _by_numbers(lines: list[_Line], line: _Line, count: int, frames: bool, multi_label: bool | None) -> Form:
    """The form of a list that has so many numbers after the path of a folder of frames, or of a video."""
    alike = {len(other.numbers) for other in lines} == {len(line.numbers)}
    if count == 1 or (not frames and (multi_label or not alike)):
        return "videos"
    if multi_label is False and count == 3:
        return "rawframes-offset"
    if multi_label is not None or not alike or (frames and count == 2):
        return "rawframes"
    meanings = "frames and labels" if frames else "labels"
    form, shape = (
        ("rawframes", "frames label") if count == 2 else ("rawframes-offset", "first_frame frames label")
    )
    raise DataError(
        f"{line.where}: {count} numbers after each path, as in '{line.shown}', could be '{shape}' (form"
        f" '{form}') or {count} {meanings} (multi_label, --multi-label); say which."
    )


def _sample(line: _Line, form: Form, multi_label: bool) -> Sample:
    """A line's clip, with its labels as they are written."""
    shape, head = _SHAPES[form]
    numbers = line.numbers
    if form == "videos":
        # "my clip 7.mp4 3": numbers in front of the ending belong to the path.
        many = multi_label or Path(line.path()).suffix.lower() in CLIP_SUFFIXES
        counts, labels = [], numbers if many else numbers[-1:]
    else:
        counts = numbers[:head] if multi_label else numbers[-1 - head : -1]
        labels = numbers[head:] if multi_label else numbers[-1:]
    path = line.path(len(numbers) - len(labels) - len(counts))
    if not labels or len(counts) < head:
        raise DataError(f"{line.where}: '{line.shown}' isn't '{shape}'.")
    twice = form == "videos" and not multi_label and len({*labels}) < len(labels)
    if twice or _holds_seconds(path):
        several = ", or say that these are several labels (multi_label, --multi-label)" if twice else ""
        raise DataError(
            f"{line.where}: '{line.shown}' could be start, end and label; write a table with the header"
            f" path,start,end,label{several}."
        )
    if any(len(count) > 9 for count in counts) or (form.startswith("rawframes") and not int(counts[-1])):
        raise DataError(f"{line.where}: '{line.shown}' has 0 frames, or a number with over 9 digits.")
    return Sample(
        where=line.where,
        path=Path(path),
        written=tuple(labels),
        first_frame=int(counts[0]) if form == "rawframes-offset" else 0,
        num_frames=int(counts[-1]) if form.startswith("rawframes") else None,
    )


def _holds_seconds(path: str) -> bool:
    """Whether numbers are after the name of a video, one of them with a point."""
    words = re.split(r"[\s,;]+", path)
    last = next((place for place in range(len(words), 0, -1) if not _is_decimal(words[place - 1])), 0)
    is_video = last > 0 and Path(words[last - 1]).suffix.lower() in CLIP_SUFFIXES
    return is_video and any("." in word for word in words[last:])


def _is_decimal(word: str) -> bool:
    return re.fullmatch(r"[0-9]+(\.[0-9]*)?", word) is not None
