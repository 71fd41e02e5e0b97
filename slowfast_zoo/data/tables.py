"""Tables with a header (CSV, TSV, JSON lines): reading and writing."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from slowfast_zoo.data.annotations import Annotations, Sample
from slowfast_zoo.errors import DataError, did_you_mean, quoted

_FIELDS = {
    "start": "start_seconds",
    "end": "end_seconds",
    "fps": "fps",
    "first_frame": "first_frame",
    "num_frames": "num_frames",
    "frame_pattern": "frame_pattern",
}
_KNOWN = ("path", "label", "labels", *_FIELDS)


def is_table(path: Path, first_line: str, separator: str | None) -> bool:
    """Whether a list begins with a header, or is JSON lines."""
    if first_line.lstrip().startswith("{"):
        return True
    names = _header(first_line, separator)
    return "path" in names and bool({"label", "labels"} & set(names))


def read_table(path: Path, separator: str | None) -> tuple[list[Sample], bool]:
    """The clips of a table, with their labels as they are written, and whether it has a column "labels".

    Raises:
        DataError: a column is missing, or a line can't be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            json_lines = first.lstrip().startswith("{")
            records = _json_records(path, file) if json_lines else _csv_records(path, file, first, separator)
            multi_label, samples = False, []
            for where, record in records:
                multi_label = multi_label or "labels" in record
                samples.append(_parse(where, record))
            return samples, multi_label
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"The table '{path}' can't be read: {error}.") from error


def write_table(path: Path, annotations: Annotations) -> None:
    """Writes a CSV table that ``read_annotations`` reads back, with paths relative to its folder.

    Raises:
        DataError: it can't be written.
    """
    others = sorted({name for sample in annotations.samples for name, _ in sample.columns})
    used = [
        column
        for column, field in _FIELDS.items()
        if any(getattr(sample, field) not in (None, 0) for sample in annotations.samples)
    ]
    names = annotations.class_names
    label = "labels" if annotations.multi_label else "label"
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", label, *used, *others])
            for sample in annotations.samples:
                columns = dict(sample.columns)
                values = [getattr(sample, _FIELDS[column]) for column in used]
                writer.writerow(
                    [
                        _relative(sample.path, path.parent),
                        ";".join(names[index] for index in sample.labels),
                        *("" if value is None else str(value) for value in values),
                        *(columns.get(name, "") for name in others),
                    ]
                )
    except OSError as error:
        raise DataError(f"The table '{path}' can't be written: {error}.") from error


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return path.absolute().as_posix()


def _header(line: str, separator: str | None) -> list[str]:
    return [
        name.strip().lower() for name in next(csv.reader([line], delimiter=separator or _delimiter(line)))
    ]


def _delimiter(header: str) -> str:
    counts = {mark: header.count(mark) for mark in (",", "\t", ";", " ")}
    return max(counts, key=lambda mark: (counts[mark], mark == ","))


def _csv_records(
    path: Path, file: Any, first: str, separator: str | None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    names = _header(first, separator)
    if "path" not in names or not {"label", "labels"} & set(names):
        missing = "path" if "path" not in names else "label"
        near = did_you_mean(missing, names)
        raise DataError(f"The table '{path}' has no column '{missing}'; it has {quoted(names)}.{near}")
    reader = csv.reader(file, delimiter=separator or _delimiter(first))
    next(reader)
    for values in reader:
        where = f"{path}:{reader.line_num}"
        if not any(value.strip() for value in values):
            continue
        if len(values) != len(names):
            raise DataError(f"{where}: {len(values)} fields under a header of {len(names)}; quote commas.")
        yield where, {name: value.strip() for name, value in zip(names, values, strict=True)}


def _json_records(path: Path, file: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}: no JSON: {error}.") from error
        if not isinstance(record, dict) or "path" not in record or not {"label", "labels"} & set(record):
            raise DataError(f"{path}:{number}: accepted is an object with path and label (or labels).")
        yield f"{path}:{number}", record


def _parse(where: str, record: Mapping[str, Any]) -> Sample:
    multi_label = "labels" in record
    labels = _labels(record["labels"]) if multi_label else (str(record["label"]).strip(),)
    start, end, fps = (_number(where, name, record.get(name)) for name in ("start", "end", "fps"))
    if not str(record["path"]) or "" in labels or (not multi_label and labels == ("None",)):
        raise DataError(f"{where}: a clip without a path or a label.")
    if end is not None and end <= (start or 0):
        raise DataError(
            f"{where}: the part ends at {end:g} s, which isn't behind its start {start or 0:g} s."
        )
    negative = next((label for label in labels if re.fullmatch(r"-\d+", label)), None)
    if negative is not None:
        raise DataError(f"{where}: label {negative} is below 0.")
    first, frames = (_number(where, name, record.get(name)) for name in ("first_frame", "num_frames"))
    others = tuple((name, str(value)) for name, value in record.items() if name not in _KNOWN)
    return Sample(
        where=where,
        path=Path(str(record["path"])),
        written=labels,
        start_seconds=start,
        end_seconds=end,
        fps=fps,
        first_frame=int(first or 0),
        num_frames=None if frames is None else int(frames),
        frame_pattern=str(record.get("frame_pattern") or "") or None,
        columns=others,
    )


def _labels(value: Any) -> tuple[str, ...]:
    """Several labels: a JSON list, or text with semicolons or bars; numbers also with spaces or commas."""
    if isinstance(value, list):
        return tuple(str(label) for label in value)
    text = str(value).strip()
    mark = r"[;|,\s]+" if re.fullmatch(r"[\d;|,\s]*", text) else r"\s*[;|]\s*"
    return tuple(re.split(mark, text)) if text else ()


def _number(where: str, name: str, value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number < 0 or (name == "fps" and number == 0):
        least = "above 0" if name == "fps" else "of at least 0"
        raise DataError(f"{where}: {name} is {value!r}; accepted: a number {least}.")
    return number


def write_split(folder: Path, parts: Mapping[str, Annotations]) -> None:
    """Writes each part as FOLDER/part.csv, and the classes as FOLDER/labels.txt.

    Raises:
        DataError: the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = next(iter(parts.values())).class_names
        (folder / "labels.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    except OSError as error:
        raise DataError(f"The folder '{folder}' can't be written: {error}.") from error
    for part, clips in parts.items():
        write_table(folder / f"{part}.csv", clips)
