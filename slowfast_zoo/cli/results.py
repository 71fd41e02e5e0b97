"""Answers as text: tables to read, and result files that survive whatever ends the run."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slowfast_zoo.cli.options import echo
from slowfast_zoo.errors import InputError, counted, printable, printable_line
from slowfast_zoo.files import csv_line, written_whole

if TYPE_CHECKING:
    from slowfast_zoo.evaluation.evaluate import Evaluation
    from slowfast_zoo.inference.predict import Prediction

FORMATS = ("table", "json", "csv", "jsonl")
_BAR_CELLS = 24
_JSON_END = "\n]\n"
_LONGEST_CELL = 2**31 - 1  # the csv module stops at 128 kB otherwise


def table_block(prediction: Prediction) -> str:
    """Several lines for one video: what was looked at, and a bar for each class."""
    if prediction.error is not None:
        return _failure(prediction)
    clips, crops = prediction.views
    looked = f"{counted(clips, 'clip')} x {counted(crops, 'crop')}"
    if prediction.seconds is not None:
        looked += f", {prediction.seconds[0]:.1f}-{prediction.seconds[1]:.1f} s"
    if prediction.padded:
        looked += ", shorter than a clip: frames repeat"
    looked += _damage(prediction)
    cell = "█" if (getattr(sys.stdout, "encoding", None) or "").lower().startswith("utf") else "#"
    width = max(map(len, prediction.labels))
    lines = [f"{prediction.source}  ({looked})"]
    for label, score in zip(prediction.labels, prediction.scores, strict=True):
        lines.append(f"  {score:6.1%}  {label.ljust(width)}  {cell * round(score * _BAR_CELLS)}".rstrip())
    return "\n".join(lines)


def table_row(prediction: Prediction, topk: int) -> str:
    """One line for one of many videos: its best classes."""
    if prediction.error is not None:
        return f"failed  {_failure(prediction)}"
    best = list(zip(prediction.scores, prediction.labels, strict=True))[:topk]
    answers = "".join(f"{score:6.1%}  {label}  " for score, label in best)
    return f"{answers}{prediction.source}{_damage(prediction)}"


def prediction_columns(topk: int) -> tuple[str, ...]:
    """The columns of a result file, in every format: a row per video, a pair of columns per rank."""
    ranks = [f"{name}_{rank}" for rank in range(1, topk + 1) for name in ("label", "score")]
    looked = ("clips", "crops", "start", "end", "padded", "damaged_frames")
    return ("source", "error", *ranks, *looked, "model", "weights", "views", "topk", "fps", "precision")


def address_of(source: object) -> str:
    """What tells an address from others of its name, which is without the query; "" of all else."""
    from slowfast_zoo.inference.inputs import source_hash
    from slowfast_zoo.video.sources.names import is_url

    return source_hash(source)[:16] if is_url(source) else ""


class ResultFile:
    """Where answers go: rows of a file, each on the disk at once, or standard output.

    Whatever ends the run, what was answered is there, and JSON is whole after every row.

    Args:
        path: the file; None for standard output.
        form: one of ``FORMATS``; None: told by the file's ending, a table without a file.
        resume: whether to go on with an existing file; rows of videos that failed are taken out of it, and
            rows with a "file" that isn't beside it. Columns that somebody added stay.
        columns: of every row; "source" and "error" are among them, and "address" where addresses are.
        settings: the columns that say how every row was made, such as the model.
        earlier: what rows that were written earlier may have in place of a setting; "" where they lack the
            column.

    Attributes:
        known: how many answers the file has for each source, by its name and address.

    Raises:
        InputError: a format or file that doesn't fit, or rows that were made with other settings.
    """

    def __init__(
        self,
        path: Path | None,
        form: str | None,
        *,
        resume: bool,
        columns: Sequence[str],
        settings: Mapping[str, object],
        earlier: Mapping[str, str] | None = None,
    ) -> None:
        self._earlier = earlier or {}
        self.form = form or ("table" if path is None else path.suffix.lower().lstrip("."))
        if self.form not in FORMATS or (path is not None and self.form == "table"):
            if form == "table":
                raise InputError(
                    f"'{path}' holds no table, which is only printed: give --format jsonl, csv or json, or"
                    " leave out --out."
                )
            raise InputError(
                f"'{path}' doesn't say which format: end it in .jsonl, .csv or .json, or give --format."
            )
        if resume and path is None:
            raise InputError("--resume needs --out, the file to go on with.")
        self._path, self._settings = path, settings
        self._columns = tuple(columns)
        self._file: io.RawIOBase | None = None
        self._size = self._rows = 0
        self.known: Counter[tuple[str, str]] = Counter()
        try:
            if path is not None and path.exists():
                if not resume:
                    raise InputError(f"'{path}' exists; give --resume to go on with it, or another name.")
                self._take_over(path)
        except OSError as error:
            raise InputError(f"'{path}' can't be read: {error.strerror or error}.") from error

    @property
    def is_table(self) -> bool:
        """Whether predictions are printed for people."""
        return self.form == "table"

    def __enter__(self) -> ResultFile:
        if self._path is not None:
            with self._said():
                self._file = self._path.open("r+b" if self._path.exists() else "x+b", buffering=0)
                self._size = self._file.seek(0, io.SEEK_END)
        if not self._size:
            self._append(self._head())
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        elif self.form == "json":
            click.echo(_JSON_END, nl=False)

    def write(self, row: Mapping[str, object]) -> None:
        """One row more, the settings added; on the disk when this returns.

        Raises:
            InputError: the disk is full, or gone; the rows before this one are there.
        """
        if not self.is_table:
            row = {**row, **self._settings}
            whole = {column: row.get(column) for column in self._columns}
            self._append(self._line(whole, first=not self._rows and not self.known))
        self._rows += 1

    def _head(self) -> str:
        return {"json": "[", "csv": _csv_line(self._columns)}.get(self.form, "")

    def _line(self, row: Mapping[str, Any], *, first: bool) -> str:
        """A row as its format has it; JSON's begins with what parts it from the one before."""
        if self.form == "csv":
            return _csv_line(row[column] for column in self._columns)
        text = printable(json.dumps(row, ensure_ascii=False))  # escapes as JSON's own are
        return f"{text}\n" if self.form == "jsonl" else f"\n{text}" if first else f",\n{text}"

    def _append(self, text: str) -> None:
        data = text.encode()
        if self._file is None:
            if not self.is_table:
                click.echo(data, nl=False)
            return
        end = _JSON_END.encode() if self.form == "json" else b""
        before = self._size - (len(end) if self._size else 0)
        with self._said():
            try:
                self._overwrite(before, data + end)
            except OSError:
                with contextlib.suppress(OSError):
                    self._file.truncate(before)
                    self._overwrite(before, end)
                raise

    def _overwrite(self, start: int, data: bytes) -> None:
        assert self._file is not None
        self._file.seek(start)
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        self._size = start + len(data)

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        """A disk's error in one sentence that says what is kept."""
        try:
            yield
        except OSError as error:
            total = self._rows + self.known.total()
            rows = f"{counted(total, 'row')} {'is' if total == 1 else 'are'}"
            kept = f" Its {rows} kept; the same command with --resume goes on." if total else ""
            raise InputError(f"'{self._path}' can't be written: {error.strerror or error}.{kept}") from error

    def _take_over(self, path: Path) -> None:
        """Learns what the file has, and takes out rows that don't count and one that was cut off."""
        content = path.read_bytes()
        try:
            rows = self._parsed(content)
            self._check_settings(rows)
            kept = [row for row in rows if not row["error"] and _has_file(path.parent, row)]
            self.known = Counter((row["source"], row.get("address") or "") for row in kept)
            lines = [self._line(row, first=not index) for index, row in enumerate(kept)]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error) as error:
            if isinstance(error, InputError):
                raise
            reason = f"it has no column {error}" if isinstance(error, KeyError) else str(error)
            raise InputError(f"'{path}' holds no answers to go on with: {reason}.") from error
        end = _JSON_END if self.form == "json" else ""
        whole = ("".join([self._head(), *lines, end]) if content else "").encode()
        if whole != content:
            with written_whole(path) as part:
                part.write_bytes(whole)

    def _parsed(self, content: bytes) -> list[dict[str, Any]]:
        if self.form == "json":
            whole = json.loads(content) if content else []
            return _objects(whole if isinstance(whole, list) else [whole])
        lines = content[: content.rfind(b"\n") + 1].decode("utf-8-sig")  # a row that was cut off has no end
        start = (self._head() or f'{{"{self._columns[0]}"').encode()[:8]
        if not lines and (not start.startswith(content[:8]) or b"\r" in content):
            raise ValueError("it has no line that ends, and isn't the start of a row")
        if self.form == "jsonl":
            return _objects([json.loads(line) for line in lines.split("\n") if line])
        limit = csv.field_size_limit(_LONGEST_CELL)
        try:
            table = [*csv.reader(io.StringIO(lines, newline=""))] or [[]]
        finally:
            csv.field_size_limit(limit)
        # Excel leaves empty columns at the end.
        width = max((place for row in table for place, cell in enumerate(row, 1) if cell), default=0)
        there = tuple(table[0][:width])
        if len(set(there)) < len(there) or any(len(row[:width]) > len(there) for row in table):
            raise ValueError("it has cells below no column's name, or below the same")
        rows = [dict(itertools.zip_longest(there, row[:width], fillvalue="")) for row in table[1:] if row]
        added = [name for name in there if name not in self._columns and (rows or name == "address")]
        self._columns += tuple(added)
        newer = {"address": "", **dict.fromkeys(self._earlier, "")}
        if lines and not rows and there != tuple(c for c in self._columns if c in there or c not in newer):
            raise InputError(f"'{self._path}' has other columns; give the same --topk, or another --out.")
        return [{**newer, **row} for row in rows]

    def _check_settings(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            for name, value in self._settings.items():
                there = row.get(name) if name in self._earlier else row[name]
                made, asked = ("" if each is None else str(each) for each in (there, value))
                if made not in (asked, self._earlier.get(name, asked)):
                    raise InputError(
                        f"'{self._path}' was made with {name} {made or None}, and this is {name}"
                        f" {value}: go on with the same settings, or write another file."
                    )


def clock(seconds: float) -> str:
    """A time as players show it, to a hundredth."""
    minutes, rest = divmod(math.floor(seconds * 100 + 0.5), 6000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest / 100:05.2f}"


def _objects(rows: list[Any]) -> list[dict[str, Any]]:
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("it has rows that are no objects")
    return rows


def _has_file(folder: Path, row: Mapping[str, Any]) -> bool:
    """Whether the file is there that a row names, where it names one."""
    return not row.get("file") or (folder / row["file"]).exists()


def show_scores(result: Evaluation, videos: int, *, per_class: bool) -> None:
    """Prints what a model's scores are, and which of so many videos have none."""
    from slowfast_zoo.evaluation.evaluate import format_table

    echo(f"{len(result.names)} of {videos} decoded")
    for name, value in result.metrics.items():
        echo(f"{name}: {value:.4f}")
    if per_class and not result.error:
        echo(format_table(result.class_table()))
    for name, error in result.failed:
        echo(f"not decoded: {name}: {error}", err=True)


def _failure(prediction: Prediction) -> str:
    error = prediction.error or ""
    return error if prediction.source in error else f"{prediction.source}: {error}"


def _damage(prediction: Prediction) -> str:
    count = prediction.damaged_frames
    return f", {counted(count, 'damaged frame')}" if count else ""


def _csv_line(cells: Any) -> str:
    # A line break inside a cell would make a row that is half there look whole.
    return csv_line("" if cell is None else printable_line(str(cell)) for cell in cells)
