"""Predictions as text: tables to read, and result files that survive an interruption."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from slowfast_zoo.errors import InputError

if TYPE_CHECKING:
    from slowfast_zoo.inference.predict import Prediction

FORMATS = ("table", "json", "csv", "jsonl")
_CSV_COLUMNS = (
    "source",
    "label",
    "score",
    "labels",
    "scores",
    "clips",
    "crops",
    "start",
    "end",
    "padded",
    "error",
)
_BAR_CELLS = 24
_ODD_NAMES = "surrogateescape"  # file names need not be UTF-8; they come back as they were


def table_block(prediction: Prediction) -> str:
    """Several lines for one video: what was looked at, and a bar for each class."""
    if prediction.error is not None:
        return f"{prediction.source}: {prediction.error}"
    clips, crops = prediction.views
    looked = f"{clips} clip{'s' * (clips > 1)} x {crops} crop{'s' * (crops > 1)}"
    if prediction.seconds is not None:
        looked += f", {prediction.seconds[0]:.1f}-{prediction.seconds[1]:.1f} s"
    if prediction.padded:
        looked += ", shorter than a clip: frames repeat"
    cell = "█" if (sys.stdout.encoding or "").lower().startswith("utf") else "#"
    width = max(map(len, prediction.labels))
    lines = [f"{prediction.source}  ({looked})"]
    for label, score in zip(prediction.labels, prediction.scores, strict=True):
        lines.append(f"  {score:6.1%}  {label.ljust(width)}  {cell * round(score * _BAR_CELLS)}".rstrip())
    return "\n".join(lines)


def table_row(prediction: Prediction) -> str:
    """One line for one of many videos."""
    if prediction.error is not None:
        return f"failed  {prediction.error}"
    return f"{prediction.scores[0]:6.1%}  {prediction.labels[0]}  {prediction.source}"


class ResultFile:
    """Where predictions go: rows of a file, flushed one by one, or standard output.

    Args:
        path: the file; None for standard output.
        form: one of ``FORMATS``; None: told by the file's ending, a table without a file.
        resume: whether to go on with an existing file.

    Attributes:
        known: sources that the file already has a whole row of.

    Raises:
        InputError: a format or file that doesn't fit.
    """

    def __init__(self, path: Path | None, form: str | None, *, resume: bool) -> None:
        self.form = form or ("table" if path is None else path.suffix.lower().lstrip("."))
        if self.form not in FORMATS or (path is not None and self.form == "table"):
            raise InputError(
                f"'{path}' doesn't say which format: end it in .jsonl, .csv or .json, or give --format."
            )
        if resume and (path is None or self.form == "json"):
            raise InputError("--resume needs --out with rows: a .jsonl or .csv file.")
        if path is not None and path.exists() and not resume:
            raise InputError(f"'{path}' exists; give --resume to go on with it, or another name.")
        if path is not None and not path.parent.is_dir():
            raise InputError(f"The folder '{path.parent}' doesn't exist.")
        self._path = path
        self._rows: list[dict[str, Any]] = []
        self._file: io.TextIOBase | None = None
        self.known: set[str] = self._whole_rows() if path is not None and path.exists() else set()

    @property
    def is_table(self) -> bool:
        """Whether predictions are printed for people."""
        return self.form == "table"

    @property
    def streams(self) -> bool:
        """Whether ``write`` takes predictions."""
        return not self.is_table

    def __enter__(self) -> ResultFile:
        if self._path is not None and self.form != "json":
            fresh = not self._path.exists() or not self._path.stat().st_size
            self._file = self._path.open("a", encoding="utf-8", errors=_ODD_NAMES, newline="")
            if self.form == "csv" and fresh:
                self._append(_csv_line(_CSV_COLUMNS))
        elif self.form == "csv":
            click.echo(_csv_line(_CSV_COLUMNS), nl=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self.form == "json":  # also after Ctrl-C: what was answered is kept
            text = json.dumps(self._rows, indent=1, ensure_ascii=False) + "\n"
            if self._path is None:
                click.echo(text, nl=False)
            else:
                temporary = self._path.with_name(f".{self._path.name}.tmp")
                temporary.write_text(text, encoding="utf-8", errors=_ODD_NAMES)
                temporary.replace(self._path)

    def write(self, prediction: Prediction) -> None:
        """One row more; on the disk when this returns."""
        row = prediction.to_dict()
        if self.form == "json":
            self._rows.append(row)
        elif self.form == "jsonl":
            self._append(json.dumps(row, ensure_ascii=False) + "\n")
        else:
            self._append(_csv_line(_csv_cells(prediction)))

    def _append(self, line: str) -> None:
        if self._file is None:
            click.echo(line, nl=False)
        else:
            self._file.write(line)
            self._file.flush()

    def _whole_rows(self) -> set[str]:
        """The sources of the file's rows; a row that was cut off while being written is removed."""
        assert self._path is not None
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        try:
            text = whole.decode("utf-8", errors=_ODD_NAMES)
            if self.form == "jsonl":
                known = {json.loads(line)["source"] for line in text.split("\n") if line}
            else:
                known = {row["source"] for row in csv.DictReader(io.StringIO(text, newline=""))}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"'{self._path}' holds no predictions to go on with: {error}.") from error
        if len(whole) < len(content):
            with self._path.open("r+b") as file:
                file.truncate(len(whole))
        return known


def _csv_cells(prediction: Prediction) -> tuple[object, ...]:
    label, score = (prediction.labels[0], prediction.scores[0]) if prediction.labels else ("", "")
    start, end = prediction.seconds or ("", "")
    labels, scores = "|".join(prediction.labels), "|".join(f"{value:.6g}" for value in prediction.scores)
    looked = (*prediction.views, start, end, prediction.padded)
    return (prediction.source, label, score, labels, scores, *looked, prediction.error or "")


def _csv_line(cells: tuple[object, ...]) -> str:
    line = io.StringIO()
    # A line break inside a cell would make a row that is half there look whole.
    csv.writer(line, lineterminator="\n").writerow([str(cell).replace("\n", " ") for cell in cells])
    return line.getvalue()
