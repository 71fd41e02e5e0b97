"""An answer about each of many videos: written as soon as it is finished, and kept whatever ends the run."""

from __future__ import annotations

import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import click

from slowfast_zoo.cli import options as opt
from slowfast_zoo.cli.options import echo
from slowfast_zoo.cli.results import address_of
from slowfast_zoo.errors import NO_VIDEOS_FAULT, InputError, SlowFastZooError
from slowfast_zoo.files import check_writable

if TYPE_CHECKING:
    from slowfast_zoo.cli.results import ResultFile
    from slowfast_zoo.cli.videos.sources import Found
    from slowfast_zoo.inference.video_run import VideoRun

Begin: TypeAlias = Callable[[Any, bool], "VideoRun[Any, Any]"]
"""Begins the answer about a video, told whether it is the only one."""


_LONGEST_STEM = 200
"""Bytes: file systems take names of 255, and endings and a hash are added."""


class Target:
    """Where answers go; to be used in a ``with`` statement.

    Args:
        path: the file or folder; None: standard output.
        form: of what is written.
        rows: what gets a row for every video.

    Attributes:
        known: how many answers are there for each source, by its name and address.
        answered: videos that were.
        failures: videos that weren't.
    """

    def __init__(self, path: Path | None, form: str | None, rows: ResultFile | None = None) -> None:
        self.answered = self.failures = 0
        self.known: Counter[tuple[str, str]] = rows.known if rows else Counter()
        self.path, self.form, self.rows = path, form, rows

    def __enter__(self) -> Self:
        if self.rows:
            self.rows.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.rows:
            self.rows.__exit__(*error)

    def path_of(self, source: Any) -> Path | None:
        """The file that a video's answer goes into."""
        return self.path

    def put(self, source: Any, answer: Any, path: Path | None) -> None:
        """Writes a finished answer to where it belongs, which ``path_of`` said."""
        raise NotImplementedError

    def save(self, answer: Any, path: Path) -> None:
        """Writes an answer into a file of its own."""
        answer.save(path, self.form)

    def write(self, source: Any, answer: Any) -> None:
        """A finished answer; what was kept of it before is no longer needed."""
        from slowfast_zoo.inference.inputs import partial_path

        path = self.path_of(source)
        self.put(source, answer, path)
        self.answered += 1
        if path:
            partial_path(path, source).unlink(missing_ok=True)

    def failed(self, source: Any, error: str) -> None:
        """A video without an answer, or the name of one."""
        from slowfast_zoo.video.sources.names import display_name

        name = display_name(source)
        error = opt.in_options(error, click.get_current_context().command)
        echo(error if name in error else f"{name}: {error}", err=True)
        self.failures += 1
        if self.rows:
            row = {"source": name, "address": address_of(source), "error": " ".join(error.split())}
            self.rows.write(row)

    def interrupted(self, source: Any, run: VideoRun[Any, Any]) -> None:
        """Keeps what was answered of a video before Ctrl-C."""
        from slowfast_zoo.inference.inputs import partial_path

        path = self.path_of(source)
        if path and run.answered:
            part = partial_path(path, source)
            self.save(run.answer(), part)
            echo(f"\n{run.answered} of {run.total} {run.unit}s are in '{part}'.", err=True)

    def summary(self) -> str:
        """What became of all the videos, in one line."""
        return f"{self.answered} answered, {self.failures} failed"

    def end(self, found: Found, *, told: bool = True) -> None:
        """Says what became of all the videos, if that is wanted or some were left out.

        Raises:
            Exit: with status 1 where one failed.
        """
        if told or found.skipped:
            echo(", ".join(filter(None, (self.summary(), found.left_out()))), err=True)
        elif self.path and self.answered:
            echo(f"Wrote {self.path}", err=True)
        if self.failures:
            raise click.exceptions.Exit(1)


def answer_each(found: Found, target: Target, maker: Callable[[], Begin], *, told: bool) -> None:
    """Answers about all videos, one after another.

    Args:
        found: the videos.
        target: where answers go.
        maker: loads the model, once it is needed; gives what begins a video's answer.
        told: whether to say what became of all.

    Raises:
        Exit: with status 1 where a video failed.
    """
    if found.is_done(target.path):
        return
    begin = maker() if found.sources else None  # what it refuses leaves no file
    with target:
        for failure in found.failures:
            target.failed(failure.source, failure.error or "")
        if begin:
            _answer(found.sources, target, begin)
    target.end(found, told=told)


def _answer(sources: list[Any], target: Target, begin: Begin) -> None:
    from slowfast_zoo.video.sources.names import display_name

    alone = len(sources) == 1
    for number, source in enumerate(sources, 1):
        name = display_name(source)
        title = name if alone else f"{number} of {len(sources)}: {Path(name).name}"
        try:
            with begin(source, alone) as run:
                try:
                    answer = run.finish(title)
                except KeyboardInterrupt:
                    target.interrupted(source, run)
                    raise
        except NO_VIDEOS_FAULT:
            raise
        except SlowFastZooError as error:
            target.failed(source, str(error))
        else:
            target.write(source, answer)


def opened_folder(path: Path, name: str) -> Path:
    """A folder for a file of that name and others, there and seen to be writable.

    Raises:
        InputError: it isn't.
    """
    try:
        path.mkdir(exist_ok=True)
        check_writable(path / name)
    except OSError as error:
        raise InputError(f"'{path}' can't be written: {error.strerror or error}.") from error
    return path


def stem_of(source: Any, *, hashed: bool = False) -> str:
    """What a video's file is called, without ending.

    Args:
        source: the video.
        hashed: with the hash of what was given, where others have that name; so are names that are too long,
            that Windows doesn't take, or that stand for a part of an answer.
    """
    from slowfast_zoo.inference.inputs import is_partial, source_hash
    from slowfast_zoo.video.sources.names import display_name

    stem = Path(display_name(source)).stem or "video"
    short = stem.encode()[:_LONGEST_STEM].decode(errors="ignore")
    if sys.platform == "win32":
        short = "".join("_" if mark in '<>:"/\\|?*' else mark for mark in short)
    hashed |= short != stem or is_partial(stem)
    return f"{short}-{source_hash(source)[:8]}" if hashed else stem


def common_stems(sources: Iterable[Any]) -> frozenset[str]:
    """The names that several videos have, as systems that ignore case and how accents are written see it."""
    stems = [stem_of(source) for source in sources]
    alike = [unicodedata.normalize("NFC", stem.casefold()) for stem in stems]
    counts = Counter(alike)
    return frozenset(stem for stem, name in zip(stems, alike, strict=True) if counts[name] > 1)
