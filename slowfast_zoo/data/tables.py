"""Tables with a header (CSV, TSV, JSON): reading and writing."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from slowfast_zoo.data.annotations import CACHED_FROM, CLIP_SUFFIXES, Annotations, Listing, Sample
from slowfast_zoo.data.folders import SPLITS
from slowfast_zoo.data.labels import format_labels, lines_of, mark_of, parse_json, rows_of, spelling
from slowfast_zoo.data.splits import ABSENT, PART_COLUMNS
from slowfast_zoo.errors import DataError, InputError, quoted
from slowfast_zoo.files import csv_line, write_bytes
from slowfast_zoo.video.sources.names import PICTURE_SUFFIXES

# What a column is called here, and what else. The first name decides; of the others a table may have one.
_PATHS: tuple[str, ...] = ("path", "video", "video_path", "filename", "file", "file_name", "filepath")
_PATHS += ("file_path", "clip", "clip_path", "frame_dir", "video_file")
_IDS = ("youtube_id", "video_id", "ytid")
_LABELS: tuple[str, ...] = ("label", "labels", "label_name", "label_names", "class", "classes", "class_name")
_LABELS += ("classname", "category", "action", "activity")
_NUMBERS = ("class_id", "label_id", "label_index", "class_index", "label_idx", "class_idx", "target")
_MULTI_LABEL = {"labels", "label_names", "classes"}
_NAMED = {"label_name", "label_names", "class_name", "classname"}
_WRITTEN = (["label"], ["labels"], ["label_name"], ["label_names"])
"""What ``write_table`` calls the column of labels."""
_STARTS: tuple[str, ...] = ("start", "start_seconds", "start_secs", "start_sec", "start_s", "time_start")
_STARTS += ("t_start", "start_time", "begin")
_ENDS: tuple[str, ...] = ("end", "end_seconds", "end_secs", "end_sec", "end_s", "time_end", "t_end")
_ENDS += ("end_time", "stop", "stop_seconds", "stop_secs", "stop_sec", "stop_s")
_FIELDS = {
    "start_seconds": _STARTS,
    "end_seconds": _ENDS,
    "fps": ("fps", "frame_rate"),
    "first_frame": ("first_frame",),
    "num_frames": ("num_frames", "total_frames"),
    "frame_pattern": ("frame_pattern",),
}
_READ = {*_PATHS, *_IDS, *_LABELS, *_NUMBERS, *(name for choices in _FIELDS.values() for name in choices)}
_BOUND = re.compile(
    r"((t|ts|time|frame|clip|segment|seg|action|event)_?){0,3}"
    r"(?P<word>start|begin|end|stop|from|to|in|out|first|last|duration|length|len|offset)"
    r"(_?(frames?|f|times?|timestamp|secs?|seconds?|s|ms|msec|us|idx|index|pos|num|number|no|nr)){0,3}"
)
"""What a column of one of a part's bounds is called, in whatever unit; "from_camera" is none."""
_PAIRED = {"in": "out", "out": "in", "first": "last", "last": "first"}
"""Words that mean a bound only beside a column of the other."""
_OPPOSITES = {"start": {"end", "stop", "finish"}, "beginning": {"ending"}, "initial": {"final"}}
_OPPOSITES |= {"min": {"max"}, "tmin": {"tmax"}, "t0": {"t1"}, "t1": {"t2"}, "s": {"e"}}
_OPPOSITES |= {"onset": {"offset", "duration", "dur"}, "begin": {"end", "stop", "finish"}}
_OPPOSITES |= {
    "debut": {"fin"},
    "inicio": {"fin"},
    "inizio": {"fine"},
    "anfang": {"ende"},
    "beginn": {"ende"},
}
"""Words that mean bounds in two columns whose names are alike otherwise, where their values are moments."""
_UNITS = {"t", "ts", "time", "times", "frame", "frames", "sec", "secs", "second", "seconds", "s", "ms"}
_UNITS |= {"mins", "minute", "minutes", "hms", "hhmmss", "timecode", "timestamp", "offset"}
_TIMED = _UNITS | {
    "min",
    "trim",
    "cut",
    "temporal",
    "narration",
    "utterance",
    "scene",
    "shot",
    "video",
    "clip",
    "segment",
    "seg",
    "action",
    "annotation",
    "label",
    "gt",
    "rep",
    "event",
}
"""What else their names may say; "start_score" and "end_score" are no bounds in time."""
_LATER = re.compile(r"(dur|finish|until|till|fin|fine|ende)(_?(times?|frames?|secs?|seconds?|s|ms))?")
"""What the end or the length of a part is called beside its start, where its values are moments."""
_SPAN = re.compile(
    r"((time|frame|clip|action|event|video|annotation|label|gt|temporal)_)?"
    r"(segment|timestamp|interval|range|period|bound|time)s?(_?(frames?|secs?|seconds?|s|ms))?"
)
"""What a column that holds both bounds is called, where its values are of several numbers."""
_TIME = r"[0-9]+(?::[0-9]{1,2}){0,2}(?:\.[0-9]*)?"
_SEVERAL = re.compile(
    rf"(?![0-9:]+[, ][0-9]+$)[\[( ]*{_TIME}s?"
    rf"(?:(?:[\])\[(,; ]+{_TIME}s?)+|(?: ?(?:-+>?|[\u2013\u2014]) ?| ?\.\. ?| to ){_TIME}s?)[\]) ]*"
)
"""Numbers or times as bounds are written: "1.0-2.0", "[1, 2]", "0:01-0:05"; "1,5" and "1 234" may be one."""
_MOMENT = re.compile(rf"(?!0*[1-9][0-9]{{6}}){_TIME}s?")
"""One of them; larger ones are dates."""
_NUMBER = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_OTHER_NUMBER = r"-[0-9]+(\.0*)?|[0-9]+\.[0-9]*"
"""What can't be the number of a class."""
_LIST = re.compile(r"\[\s*(['\"].*|[0-9]+(\s*,.*)?)\]", re.DOTALL)
"""A list of labels of a program, where one label is expected; "[none]" is a name."""
_PLAIN = Sample(path=Path())
EXAMPLE = "'path,label' and below it 'clips/a.mp4,jump'"
_OBJECT = '{"path": "clips/a.mp4", "label": "jump"}'
COLUMNS = f"path (or {', '.join(_PATHS[1:4])}), label (or labels, class, class_id)"
"""The columns that a table needs, for messages."""


class _Columns(NamedTuple):
    """Which columns of a table are which."""

    path: str
    label: str
    fields: dict[str, str]
    """Field of ``Sample``: column."""
    is_id: bool
    """Whether paths are ids of videos."""
    multi_label: bool
    named: bool
    """Whether labels are names even where they consist of digits."""
    bound: str | None
    """A column that seems to bound the clips, which nothing here reads; None: none does."""
    spans: tuple[str, ...]
    """Columns that do so where their values tell."""


def is_table(line: str, separator: str | None) -> bool:
    """Whether a list's first line is a header, of names one of which at least is known, or begins JSON."""
    if line.lstrip()[:1] in ("{", "["):
        return True
    names = [name.strip().lower() for name in _split(line, separator)]
    if names[:1] == ["path"] and names[1:2] in _WRITTEN:  # as ``write_table`` begins
        return True
    if len(names) < 2 or not {*_PATHS, *_IDS, *_LABELS, *_NUMBERS} & {*map(_normal, names)}:
        return False
    clips = (Path(word).suffix in CLIP_SUFFIXES for name in names for word in name.split())
    return not any(name.isdigit() for name in names) and not any(clips)


def read_table(path: Path, text: str, separator: str | None, *, mapped: bool) -> tuple[Listing, bool]:
    """The clips of a table, and whether their paths are ids of videos.

    Args:
        path: of the table, for messages.
        text: what it holds.
        separator: between fields; None: what the header shows.
        mapped: whether a label map says what numbers are called.

    Raises:
        DataError: a header that isn't understood, or a line that can't be read.
    """
    start = text.lstrip()[:1]
    if start == "{":
        records = _json_lines(path, text)
    elif start == "[":
        records = _json_list(path, text)
    else:
        records = _csv_records(path, text, separator)
    samples, multi_label, named, ids = [], False, False, False
    joined: set[str] = set()
    for where, record in records:
        columns = _columns(tuple(record))
        if isinstance(columns, str):
            raise DataError(f"{where}: {columns}")
        spans = (name for name in columns.spans if _tells(name, record[name]))
        if (bound := columns.bound or next(spans, None)) is not None:
            raise DataError(
                f"{where}: the column '{bound:.40}' isn't known, and clips may be longer than meant"
                " without it; accepted: start and end in seconds, first_frame and num_frames in frames."
                " Give it another name if it means something else."
            )
        multi_label |= columns.multi_label or isinstance(record[columns.label], list)
        named |= columns.named
        ids |= columns.is_id
        samples.append(_parse(where, record, columns))
        one = _normal(columns.label) == "label_name" or CACHED_FROM in record
        if isinstance(text := record[columns.label], str) and not text.startswith("[") and not one:
            marks = "," if columns.multi_label else "[;|]"
            joined.update(name for name in samples[-1].written if re.search(marks, name))
    if not mapped and not named:
        _refuse_other_names(samples)
    return Listing(samples, multi_label, named, frozenset(joined)), ids


def _refuse_other_names(samples: Sequence[Sample]) -> None:
    """Refuses class numbers beside a column of names that has several for one of them.

    In HACS' own table "label" says whether "classname" is seen.
    """
    columns = {name for sample in samples for name, _ in sample.columns if _normal(name) in _NAMED}
    if not columns or not all(text.isdigit() for sample in samples for text in sample.written):
        return
    first: dict[tuple[str, tuple[str, ...]], str] = {}
    for sample in samples:
        for name, text in sample.columns:
            if name in columns and text and sample.written:
                other = first.setdefault((name, sample.written), text)
                if spelling(other) != spelling(text):
                    raise DataError(
                        f"{sample.where}: label {sample.written[0]:.20} is {text!r:.40} in the column"
                        f" {name!r:.40}, and {other!r:.40} above; leave out the column that isn't the class."
                    )


def write_table(path: Path, annotations: Annotations) -> None:
    """Writes a CSV table that ``read_annotations`` reads back, with paths relative to its folder.

    Columns that reading would take for more than text are left out, such as bounds in frames of what was cut.

    Raises:
        DataError: it can't be written.
    """
    samples, names = annotations.samples, annotations.labels
    used = [
        field
        for field in _FIELDS
        if any(getattr(sample, field) != getattr(_PLAIN, field) for sample in samples)
    ]
    # Of any class: what one part of a divided set has is read by itself.
    unclear = any(_is_unclear(name, annotations.multi_label) for name in names or ())
    label = ("label_name" if unclear else "label") + "s" * annotations.multi_label
    others = _harmless(samples, used, label)
    header = ["path", label, *(_FIELDS[field][0] for field in used), *others]
    first_line = csv_line(header).partition("\n")[0]
    lines = [csv_line(header, quote_all=_delimiter(first_line) != ",")]
    for sample in samples:
        labels = [str(index) if names is None else names[index] for index in sample.labels]
        columns = dict(sample.columns)
        values = [getattr(sample, field) for field in used]
        cells = [
            _relative(sample.path, path.parent),
            _joined(labels) if annotations.multi_label else labels[0],
            *("" if value is None else str(value) for value in values),
            *(columns.get(name, "") for name in others),
        ]
        lines.append(csv_line(cells))
    write_text(path, "".join(lines))


def _is_unclear(name: str, multi_label: bool) -> bool:
    """Whether a class name means something else than a name in a column of labels."""
    other = name in ABSENT or name.isdigit() or re.fullmatch(_OTHER_NUMBER, name) or _LIST.fullmatch(name)
    return bool(other or (not multi_label and re.search("[;|]", name)))


def _harmless(samples: Sequence[Sample], used: Sequence[str], label: str) -> list[str]:
    """The other columns that mean nothing to ``read_table`` beside these fields and that label."""
    names = sorted({name for sample in samples for name, _ in sample.columns})
    read = {name for field, choices in _FIELDS.items() if field not in used for name in choices}
    read |= {"path", "label", "labels", label}
    others = {name.strip().lower(): name for name in names if _normal(name) not in read}.values()
    bounds, spans = _unread_bounds(others, used)
    told = {
        name for sample in samples for name, text in sample.columns if name in spans and _tells(name, text)
    }
    return [name for name in others if name not in bounds and name not in told]


def write_split(folder: Path, parts: Mapping[str, Annotations], *, group_by: str | None = None) -> None:
    """Writes each part as FOLDER/part.csv, and the classes as FOLDER/labels.txt.

    Columns that name other parts are left out, unless "part" and the like have other words, and none "train".

    Args:
        folder: is made where it isn't there.
        parts: the clips by the name of their part, with the same classes.
        group_by: as in ``splits.source_of``; a column that it names stays.

    Raises:
        DataError: the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"The folder '{folder}' can't be written: {error.strerror or error}.") from error
    write_text(folder / "labels.txt", format_labels(next(iter(parts.values())).class_names))
    columns = [column for clips in parts.values() for sample in clips.samples for column in sample.columns]
    words = {(name.casefold(), SPLITS.get(text.strip().lower())) for name, text in columns}
    others = {name for name, part in words if part is None and (name, "train") not in words}
    others.add((group_by or "").removeprefix("column:").casefold())
    for part, clips in parts.items():
        write_table(folder / f"{part}.csv", _without_parts(clips, {*PART_COLUMNS} - others))


def _without_parts(annotations: Annotations, columns: Collection[str]) -> Annotations:
    """The clips without what these columns say of the part to which they belong."""
    samples = tuple(
        dataclasses.replace(
            sample,
            columns=tuple(
                (name, text)
                for name, text in sample.columns
                if name.casefold() not in columns or text.strip().lower() not in SPLITS
            ),
        )
        for sample in annotations.samples
    )
    return dataclasses.replace(annotations, samples=samples)


def write_text(path: Path, text: str) -> None:
    """Writes a file of UTF-8 whole or not at all.

    Raises:
        DataError: it can't be written.
    """
    try:
        write_bytes(path, text.encode())
    except UnicodeEncodeError as error:
        line = text[: error.start].rpartition("\n")[2] + text[error.start :].partition("\n")[0]
        shown = line.encode("utf-8", "backslashreplace").decode()
        raise DataError(
            f"'{path}' can't be written: a name isn't UTF-8 in '{shown:.200}'; rename it."
        ) from error
    except InputError as error:
        raise DataError(str(error)) from error


def _joined(labels: Sequence[str]) -> str:
    plain = ";".join(labels)
    if plain.startswith("[") or "," in plain or tuple(labels) != _separate(plain):
        return json.dumps(labels, ensure_ascii=False)
    return plain


def _relative(path: Path, folder: Path) -> str:
    try:
        # ".." leads out of what a link points to.
        path = path.parent.resolve() / path.name if ".." in path.parts else path.absolute()
        # Links above both lead to one place, those inside of the path stay.
        above = Path(os.path.commonpath([path, folder.absolute()]))
        path = above.resolve() / path.relative_to(above)
        text = Path(os.path.relpath(path, folder.resolve())).as_posix()
    except ValueError:  # another drive
        text = path.absolute().as_posix()
    # Whoever reads a cell takes spaces around it away, which may be those of a name.
    return f"{'./' * text[0].isspace()}{text}{'/' * text[-1].isspace()}"


def _normal(name: str) -> str:
    """``Start (s)`` as ``start_s``."""
    return re.sub(r"[\s\-.:()\[\]]+", "_", name.strip(" \t\r\n-.:()[]").lower())


def _split(line: str, separator: str | None) -> list[str]:
    """The fields of a header."""
    mark = separator or _delimiter(line)
    try:
        return next(csv.reader([line], delimiter=mark, skipinitialspace=not mark.isspace()), [])
    except (csv.Error, TypeError, ValueError):
        return []


def _delimiter(header: str) -> str:
    bare = re.sub('"[^"]*("|$)', "", header)  # names may hold any of them
    mark = mark_of(bare)
    return mark if mark in bare else " "


@functools.lru_cache(maxsize=64)
def _columns(names: tuple[str, ...]) -> _Columns | str:
    """What the columns are; text: why that isn't clear."""
    plain = [_normal(name) for name in names]
    known = dict(zip(plain, names, strict=True))
    shown = quoted(" ".join(name.split())[:40] for name in names[:12]) + (" ..." if len(names) > 12 else "")
    if len({name.strip().lower() for name in names}) < len(names) or any(
        plain.count(name) > 1 for name in _READ & {*known}
    ):
        return f"the header {shown} has a name twice."
    found: dict[str, str | None] = {}
    named_so = plain[:1] == ["path"] and plain[1:2] in _WRITTEN and not {"label", "labels"} & {*plain[2:]}
    own = plain[1] if named_so else None
    for what, choices in (("path", (_PATHS, _IDS)), ("label", (("labels",), _LABELS, _NUMBERS))):
        found[what] = own if what == "label" else None
        for group in choices if found[what] is None else ():
            there = [name for name in group if name in known]
            if len(there) > 1 and there[0] != group[0]:
                return f"{quoted(known[name] for name in there)} could each be the {what}; call one '{what}'."
            if there:
                found[what] = there[0]
                break
    path, label = found["path"], found["label"]
    if path is None or label is None:
        lost = "path" if path is None else "label"
        return f"the header {shown} has no column '{lost}'; accepted: {COLUMNS}, such as {EXAMPLE}."
    fields = {
        field: next(known[name] for name in choices if name in known)
        for field, choices in _FIELDS.items()
        if known.keys() & set(choices)
    }
    read = {known[path], known[label], *fields.values()}
    bounds, spans = _unread_bounds([name for name in names if name not in read], fields)
    is_id, multi_label, named = path in _IDS, label in _MULTI_LABEL, label in _NAMED
    bound = next(iter(bounds), None)
    return _Columns(known[path], known[label], fields, is_id, multi_label, named, bound, tuple(spans))


def _unread_bounds(others: Iterable[str], fields: Collection[str]) -> tuple[list[str], list[str]]:
    """Other columns that seem to bound the clips, as the fields don't; and those whose values tell."""
    plain = {name: _normal(name) for name in others}
    whole = ({"start_seconds", "end_seconds"}, {"first_frame", "num_frames"})
    if CACHED_FROM in plain.values() or any({*fields} >= bounds for bounds in whole):
        return [], []
    known = {*plain.values(), *fields}
    # Without a start, a duration is that of the file.
    lengths = {"duration"} if "start_seconds" not in fields else set()
    bounds = [name for name in plain if plain[name] not in lengths and _is_bound(plain[name], known)]
    pairs = {name for first in known for name in _pair(first, known)}
    if "start_seconds" in fields:
        pairs |= {name for name in known if _LATER.fullmatch(name)}
    return bounds, [name for name in plain if plain[name] in pairs or _SPAN.fullmatch(plain[name])]


def _is_bound(name: str, known: Collection[str]) -> bool:
    """Whether a column with this plain name bounds the clips, beside those."""
    if (found := _BOUND.fullmatch(name)) is None:
        return False
    if found["word"] in ("length", "len"):
        return "start_seconds" in known
    other = _PAIRED.get(found["word"])
    return other is None or name[: found.start("word")] + other + name[found.end("word") :] in known


def _pair(name: str, known: Collection[str]) -> list[str]:
    """This name and its opposite, where that is known and they say of nothing else what they bound."""
    words = name.split("_")
    for place, word in enumerate(words):
        others = {*words[:place], *words[place + 1 :]}
        if not others <= _TIMED or (word == "min" and others.isdisjoint(_UNITS)):
            continue
        series = {"t0": ("t2",), "t1": ("t0", "t3")}.get(word, ())  # of columns
        if any(name.replace(word, one) in known for one in series):
            continue
        for other in _OPPOSITES.get(word, ()):
            if (end := "_".join([*words[:place], other, *words[place + 1 :]])) in known:
                return [name, end]
    return []


def _tells(name: str, value: object) -> bool:
    """Whether a value reads as bounds, in a column of ``_SPAN``; or as one of them."""
    if _SPAN.fullmatch(_normal(name)):
        return _is_span(value)
    return _MOMENT.fullmatch(str(value).strip()) is not None


def _is_span(value: object) -> bool:
    """Whether a value reads as bounds: several numbers or times; without brackets, the smaller ones first."""
    given = [*value.values()] if isinstance(value, Mapping) else value
    text = " ".join(re.sub("['\"]", "", str(given)).split())
    if not _SEVERAL.fullmatch(text):
        return False
    parts = [[float(part) for part in time.split(":")] for time in re.findall(_TIME, text)]
    seconds = [functools.reduce(lambda total, part: 60 * total + part, time) for time in parts]
    return text[0] in "[(" or seconds == sorted(seconds)


def _csv_records(path: Path, text: str, separator: str | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if separator is not None and len(separator) > 1:
        raise DataError(f"The separator {separator!r:.40} of the table '{path}' isn't one character.")
    mark = separator or _delimiter(text.lstrip().partition("\n")[0])
    names: list[str] = []
    for where, values in rows_of(path, text, mark, blanks=not mark.isspace()):
        if not names:
            names = [value.lower() for value in values]
            if isinstance(fault := _columns(tuple(names)), str):
                raise DataError(f"{where}: {fault}")
        elif len(values) != len(names):
            raise DataError(f"{where}: {len(values)} fields under a header of {len(names)}; quote commas.")
        else:
            yield where, dict(zip(names, values, strict=True))


def _json_lines(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in lines_of(text):
        where = f"{path}:{number}"
        try:
            yield _record(where, parse_json(where, line))
        except DataError as error:
            raise DataError(f"{error} Each line is an object, or the file a list of objects.") from error


def _json_list(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    value = parse_json(str(path), text)
    for number, record in enumerate(value, 1):
        yield _record(f"{path}, entry {number}", record)


def _record(where: str, record: Any) -> tuple[str, Mapping[str, Any]]:
    fault = _columns(tuple(record)) if isinstance(record, dict) else ""
    if isinstance(fault, str):
        told = f": {fault}" if fault else "."
        raise DataError(
            f"{where}: this is no object with path and label (or labels), such as {_OBJECT}{told}"
        )
    return where, record


def _parse(where: str, record: Mapping[str, Any], columns: _Columns) -> Sample:
    path = record[columns.path]
    if not isinstance(path, str) or not path:
        raise DataError(f"{where}: a clip without a path.")
    if "frame_id" in record and Path(path).suffix.lower() in PICTURE_SUFFIXES:
        raise DataError(
            f"{where}: a row per frame, as in PySlowFast's lists of Charades; accepted: a row per clip, whose"
            " path is a video or a folder of frames."
        )
    labels = _labels(where, record[columns.label], columns)
    values = {field: record.get(column) for field, column in columns.fields.items()}
    numbers = ("start_seconds", "end_seconds", "fps", "first_frame", "num_frames")
    start, end, fps, first, frames = (_number(where, field, values.get(field)) for field in numbers)
    if end is not None and end <= (start or 0):
        raise DataError(f"{where}: the part ends at {end:g} s, which isn't after its start {start or 0:g} s.")
    known = {columns.path, columns.label, *columns.fields.values(), ""}
    bounds = not columns.is_id or "first_frame" in columns.fields  # else the publisher's count of the file
    return Sample(
        where=where,
        path=Path(path),
        written=labels,
        start_seconds=start,
        end_seconds=end,
        fps=fps,
        first_frame=int(first or 0),
        num_frames=int(frames) if frames is not None and bounds else None,
        frame_pattern=str(values.get("frame_pattern") or "") or None,
        columns=tuple(
            (name, "" if value is None else str(value)) for name, value in record.items() if name not in known
        ),
    )


def _labels(where: str, value: Any, columns: _Columns) -> tuple[str, ...]:
    """Labels as they are written: one, or where there may be more a list, or text with marks between them."""
    any_name = _normal(columns.label).startswith("label_name")  # as ``write_table`` writes them
    if isinstance(value, str) and (columns.multi_label or (not any_name and _LIST.fullmatch(value))):
        value = _several(where, value, columns.multi_label)
    elif not isinstance(value, list):
        value = [value]
    labels = []
    for label in value:
        text = str(label).strip() if type(label) in (str, int) else ""
        if not text or (not any_name and text in ABSENT):
            raise DataError(
                f"{where}: a clip without a label."
                if label in ("", None)
                else f"{where}: {label!r:.40} is no label."
            )
        if not columns.named and re.fullmatch(_OTHER_NUMBER, text):
            fault = "below 0" if text.startswith("-") else "no whole number"
            raise DataError(f"{where}: label {text:.20} is {fault}.")
        if text in labels:
            raise DataError(f"{where}: the class {text!r:.80} twice for one clip; write it once.")
        labels.append(text)
    return tuple(labels)


def _several(where: str, text: str, multi_label: bool) -> Sequence[Any]:
    """Labels as JSON or between marks."""
    if not text.startswith("["):
        return _separate(text)
    accepted = """accepted: a column 'labels' with JSON, such as ["jump", "run"], or with 'jump;run'."""
    if not multi_label:
        raise DataError(f"{where}: label {text!r:.40} is a list; {accepted}")
    try:
        return parse_json(where, text)  # type: ignore[no-any-return]
    except DataError as error:
        raise DataError(f"{where}: labels {text!r:.40} are no JSON; {accepted}") from error


def _separate(text: str) -> tuple[str, ...]:
    """Labels between semicolons or bars; numbers also between spaces or commas."""
    if re.fullmatch(r"[0-9;|,\s]*", text):
        return tuple(re.findall(r"[0-9]+", text))
    return tuple(label.strip() for label in re.split(r"[;|]", text))


def _number(where: str, field: str, value: Any) -> float | None:
    if value is None or value == "":
        return None
    name, whole = _FIELDS[field][0], field in ("first_frame", "num_frames")
    most = 1e6 if field == "fps" else 1e9
    written = str(value) if type(value) in (float, str) or (type(value) is int and abs(value) < most) else ""
    number = float(written) if len(written) < 40 and _NUMBER.fullmatch(written) else math.nan
    if not 0 <= number < most or (field in ("fps", "num_frames") and not number) or (whole and number % 1):
        kind = "a whole number" if whole else "a number"
        bound = "above 0" if field in ("fps", "num_frames") else "of at least 0"
        raise DataError(f"{where}: {name} is {value!r:.40}; accepted: {kind} {bound}, below {most:g}.")
    return number
