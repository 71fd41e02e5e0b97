"""One's own annotations of who does what when: a CSV file with a header, or JSON lines.

    video,second,x1,y1,x2,y2,action,person
    a.mp4,3.0,20,10,60,90,walk,ann

    {"video": "a.mp4", "frame": 75, "fps": 25, "box": [20, 10, 60, 90], "actions": ["walk"], "person": "ann"}

A row has a time, as ``second`` of the video or as ``frame`` (from 0) and ``fps``; nothing is assumed, neither
30 frames a second nor 900 seconds in front. Boxes are in pixels or in shares of width and height, all alike.
A row without an action is a person who does nothing of the list; one without a box a frame without persons.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from slowfast_zoo.data.annotations import check_names
from slowfast_zoo.data.labels import lines_of, parse_json, text_of
from slowfast_zoo.data.persons.actions import PersonActions, RowList, csv_lines
from slowfast_zoo.errors import DataError, did_you_mean, quoted

_NAMES = {
    "video": "video", "path": "video", "video_id": "video",
    "second": "second", "seconds": "second", "timestamp": "second", "time": "second",
    "frame": "frame", "fps": "fps", "box": "box", "x1": "x1", "y1": "y1", "x2": "x2", "y2": "y2",
    "action": "action", "actions": "actions", "label": "action", "labels": "actions",
    "person": "person", "person_id": "person", "track": "person", "score": "score",
}  # fmt: skip
_CORNERS = ("x1", "y1", "x2", "y2")
_COLUMNS = "video, second (or frame and fps), x1, y1, x2, y2, action, and perhaps person and score"


def read_person_table(
    path: str | Path, classes: Mapping[int, str] | None = None
) -> tuple[PersonActions, dict[int, str]]:
    """The rows of a table, and the actions' names by number.

    Args:
        path: ends in .csv or .tsv, or in .jsonl or .json for an object a line.
        classes: names by number. None: the names of the table, in their order, from 1, as AVA's numbers.

    Raises:
        DataError: the file can't be read, a column is missing or unknown, a row isn't one, or two names seem
            to be one action.
    """
    path = Path(path)
    known = {name: number for number, name in (classes or {}).items()}
    first_at: dict[str, str] = {}
    persons: dict[tuple[str, str], int] = {}
    found = RowList()
    for where, row in _json_rows(path) if path.suffix.lower().startswith(".json") else _csv_rows(path):
        video = row.get("video")
        if not isinstance(video, str) or not video:
            raise DataError(f"{where}: a row without a video; accepted: {_COLUMNS}.")
        frame = (video, _second(where, row))
        found.look(frame)
        box = _box(where, row)
        if box is None:
            continue
        person = -1
        if (who := row.get("person")) not in (None, ""):
            person = persons.setdefault((video, str(who)), len(persons))
        score = 1.0 if row.get("score") in (None, "") else _number(where, "score", row["score"])
        actions = _actions(where, row, classes)
        for name in actions:
            if name not in known:
                if classes is not None:
                    near = did_you_mean(name, known)
                    raise DataError(f"{where}: there is no action '{name:.80}'.{near}")
                known[name], first_at[name] = len(known) + 1, where
            found.add(frame, box, known[name], score, person)
        if not actions:
            found.add(frame, box, -1, score, person)
    check_names(first_at)
    return found.finished(), dict(classes) if classes is not None else {n: name for name, n in known.items()}


def looks_like_row(line: str) -> bool:
    """Whether a line of JSON is a row without a box: no list of clips has a time and no label."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return False
    names = {_NAMES.get(_plain(name)) for name in record} if isinstance(record, dict) else set()
    return (
        "video" in names
        and bool(names & {"second", "frame"})
        and names.isdisjoint({"action", "actions", None})
    )


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    names: list[str] | None = None
    for where, fields in csv_lines(path):
        if names is None:
            names = _columns(where, fields)
        elif len(fields) != len(names):
            raise DataError(
                f"{where}: {len(fields)} fields under a header of {len(names)}; quote fields that hold the"
                " mark between them."
            )
        else:
            yield where, dict(zip(names, fields, strict=True))


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in lines_of(text_of(path, "table")):
        where = f"{path}:{number}"
        record = parse_json(where, line)
        if not isinstance(record, dict):
            raise DataError(f"{where}: this is no object; accepted: {_COLUMNS}.")
        yield where, dict(zip(_columns(where, list(record)), record.values(), strict=True))


def _columns(where: str, names: list[str]) -> list[str]:
    """Their names here."""
    columns = []
    for name in names:
        plain = _plain(name)
        if plain not in _NAMES:
            near = did_you_mean(plain, _NAMES)
            raise DataError(f"{where}: the column '{name:.40}' isn't known.{near} Accepted: {_COLUMNS}.")
        columns.append(_NAMES[plain])
    alike = [name.replace("actions", "action") for name in columns]
    twice = [name for name in dict.fromkeys(alike) if alike.count(name) > 1]
    if twice:
        raise DataError(f"{where}: more than one column is {quoted(twice)}; accepted: {_COLUMNS}.")
    return columns


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def _second(where: str, row: Mapping[str, Any]) -> float:
    if row.get("second") not in (None, ""):
        return _number(where, "second", row["second"], least=0.0)
    if row.get("frame") in (None, "") or row.get("fps") in (None, ""):
        raise DataError(f"{where}: a row without a time; accepted: second, or frame (from 0) and fps.")
    fps = _number(where, "fps", row["fps"], least=1e-3)
    return _number(where, "frame", row["frame"], least=0.0) / fps


def _box(where: str, row: Mapping[str, Any]) -> list[float] | None:
    """None: the row has no box."""
    box = row.get("box")
    if box is None:
        box = [value for name in _CORNERS if (value := row.get(name)) not in (None, "")]
    if box == []:
        return None
    if not isinstance(box, list) or len(box) != 4:
        raise DataError(f"{where}: the box is {box!r:.80}; accepted: x1, y1, x2, y2, or nothing at all.")
    return [_number(where, name, value) for name, value in zip(_CORNERS, box, strict=True)]


def _actions(where: str, row: Mapping[str, Any], classes: Mapping[int, str] | None) -> list[str]:
    """What is done: one of the classes, a JSON list, or names between semicolons and, in "actions", bars."""
    value = row.get("action", row.get("actions"))
    if value in (None, ""):
        return []
    if isinstance(value, str) and value.strip() in (classes or {}).values():
        return [value.strip()]
    if isinstance(value, str) and re.match(r'\[\s*["\]]', value):
        value = parse_json(where, value)
    given = value if isinstance(value, list) else re.split("[;|]" if "actions" in row else ";", str(value))
    names = [name.strip() for name in given if isinstance(name, str) and name.strip()]
    if len(names) != len(given):
        raise DataError(f"{where}: the actions are {value!r:.80}; accepted: names.")
    return names


def _number(where: str, name: str, value: Any, *, least: float = -math.inf) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) < 1e9 or number < least:
        kind = "a number" if least < 0 else "a number from 0" if least == 0 else "a number above 0"
        raise DataError(f"{where}: {name} is {value!r:.40}; accepted: {kind}.")
    return number
