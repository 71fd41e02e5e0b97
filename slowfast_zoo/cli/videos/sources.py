"""Which videos a command is asked for: the options that say so, and what they find."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slowfast_zoo.cli import options as opt
from slowfast_zoo.cli.options import echo
from slowfast_zoo.cli.results import address_of
from slowfast_zoo.cli.videos import shard as shards
from slowfast_zoo.cli.videos.shard import Shard
from slowfast_zoo.errors import InputError, VideoError
from slowfast_zoo.files import claimed, decoded, kind_of

if TYPE_CHECKING:
    from slowfast_zoo.inference.predict import Prediction


@dataclasses.dataclass
class Found:
    """What the arguments name."""

    sources: list[Any] = dataclasses.field(default_factory=list)
    """Videos, each once, in order."""
    failures: list[Prediction] = dataclasses.field(default_factory=list)
    """What doesn't exist, folders and patterns without videos: known before a model is fetched."""
    skipped: Counter[str] = dataclasses.field(default_factory=Counter)
    """How many of what were left out."""
    listed: bool = False
    """Whether a list, a folder of videos or a pattern names them, however many it has today."""

    @property
    def total(self) -> int:
        """Videos, and what was meant as one."""
        return len(self.sources) + len(self.failures)

    def part(self, shard: Shard | None) -> Found:
        """Those that belong to a shard; None: all."""
        if shard is None:
            return self
        sources = [source for source in self.sources if shard.has(source)]
        failures = [failure for failure in self.failures if shard.has(failure.source)]
        others = self.total - len(sources) - len(failures)
        return Found(sources, failures, self.skipped + Counter({"of other shards": others}), self.listed)

    def is_done(self, path: Path | None) -> bool:
        """Whether nothing is left to do, which is said."""
        if not self.total:
            others = self.skipped["of other shards"] and not self.skipped["answered before"]
            done = f"'{path}' has an answer for each of the videos"
            echo(f"Nothing to do: {'all videos are of other shards' if others else done}.", err=True)
        return not self.total

    def left_out(self) -> str:
        """What was, and how many of each, in words."""
        return ", ".join(f"{what}: {count}" for what, count in sorted(self.skipped.items()))


@dataclasses.dataclass(frozen=True)
class Videos:
    """What a command was given."""

    arguments: tuple[str, ...]
    """Files, URLs, folders, patterns, - for standard input."""
    names: str | None
    """A file with more of them, a line each."""
    recursive: bool
    """Whether folders inside folders are searched."""
    shard: Shard | None
    """Which part of them is meant."""

    @property
    def given(self) -> bool:
        """Whether there was anything."""
        return bool(self.arguments) or self.names is not None

    @functools.cached_property
    def _all(self) -> tuple[str, ...]:
        if self.names is None:
            return self.arguments
        try:
            with click.open_file(self.names, "rb") as file:
                text = decoded(file.read(), "surrogateescape")
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"'{self.names}' can't be read: {reason}.") from error
        lines = text.replace("\r\n", "\n").split("\n")  # names may hold what else ends a line
        named = (*self.arguments, *(line for line in lines if line.strip()))
        if not named:
            raise InputError(f"'{self.names}' names no video: give the name of one on each line.")
        if self.names == "-" and "-" in named:
            raise InputError(
                "Standard input holds the names (--from -), so it is no video (-); give one of both."
            )
        return named

    @property
    def columns(self) -> tuple[str, ...]:
        """Of results, beside the command's own: "address" where addresses are among the videos."""
        from slowfast_zoo.video.sources.names import is_url

        return ("address",) if any(map(is_url, self._all)) else ()

    def find(self, known: Counter[tuple[str, str]] | None = None) -> Found:
        """Every video of every part, once, but those that are known.

        Args:
            known: how many answers there are for each name and address.
        """
        from slowfast_zoo.inference.predict import Prediction
        from slowfast_zoo.video.sources.names import display_name

        found, seen, known = Found(), set[Any](), Counter(known)
        found.listed = self.names is not None
        for text in self._all:
            try:
                videos = _expanded(text, self.recursive, found.skipped)
            except (VideoError, InputError) as error:
                found.failures.append(Prediction(source=display_name(text), error=str(error)))
                continue
            found.listed |= len(videos) > 1 or not _is_named(videos[0], text)
            for source in videos:
                if source in seen:
                    continue
                seen.add(source)
                name, address = display_name(source), address_of(source)
                # Rows of earlier files have no addresses, and names with every odd letter escaped.
                escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
                rows = [row for row in ((name, address), (name, ""), (escaped, "")) if known[row]]
                if rows:
                    known[rows[0]] -= 1
                    found.skipped["answered before"] += 1
                elif len(videos) == 1 and (missing := _missing(source)):  # else they were listed
                    found.failures.append(Prediction(source=name, error=missing))
                else:
                    found.sources.append(source)
        return found

    def left(self, known: Counter[tuple[str, str]]) -> Found:
        """What is to be answered yet: those of this part that aren't known."""
        return self.find(known).part(self.shard)

    def file(self, path: Path | None) -> Path | None:
        """Where results go, the file of this part; nobody else writes there until the command ends.

        Raises:
            InputError: somebody does, or it can't be written.
        """
        if path is None:
            return None
        own = self.shard.file(path) if self.shard else path
        opt.check_writable(own)
        claim = claimed(own, shared=self.shard is not None)
        if not click.get_current_context().with_resource(claim):
            reason = ", which has the same --shard" if self.shard else "; --shard parts videos among several"
            lock = own.with_name(f".{own.name}.lock")
            raise InputError(
                f"'{own}' is being written by another process{reason}. If there is none, delete '{lock}'."
            )
        return own


def _missing(source: Any) -> str | None:
    """The sentence about a path where nothing is; None of everything else."""
    from slowfast_zoo.video.decoding.images import is_pattern
    from slowfast_zoo.video.sources.names import is_url, local_path, mode_of, not_there

    if not isinstance(source, (str, Path)) or is_url(source):
        return None
    path = local_path(source)
    try:
        return not_there(path) if mode_of(path) is None and not is_pattern(path) else None
    except VideoError as error:
        return str(error)


def _is_named(video: Any, text: str) -> bool:
    """Whether an argument is the name of that video, not of a folder or pattern."""
    from slowfast_zoo.video.sources.names import is_url, local_path

    return text == "-" or is_url(text) or local_path(text) == Path(video)


def _expanded(text: str, recursive: bool, skipped: Counter[str]) -> list[Any]:
    """The videos that one argument names."""
    from slowfast_zoo.inference.inputs import expand_sources, list_videos
    from slowfast_zoo.video.sources.names import is_url, local_path

    if text == "-":
        return [sys.stdin.buffer]
    if is_url(text) or kind_of(folder := local_path(text)) != "folder":
        return [str(source) for source in expand_sources(text)]
    listing = list_videos(folder, recursive=recursive)
    found = [str(video) for video in listing.videos]
    if not found and not recursive:
        return [str(source) for source in expand_sources(text)]  # a folder of frames, all of them looked at
    if not found:
        raise VideoError(f"The folder '{folder}' and those inside it hold no videos.")
    for what, count in listing.skipped.items():
        skipped["folders inside (-r searches them)" if what == "folders inside" else what] += count
    return found


def one_video(text: str | None) -> Any:
    """A video that is read several times: its name, or, for -, the bytes on standard input."""
    return sys.stdin.buffer.read() if text == "-" else text


def videos(*, required: bool = True) -> Callable[[opt.F], opt.F]:
    """The arguments and options that name videos; the command gets ``videos: Videos``."""

    def decorate(command: opt.F) -> opt.F:
        @functools.wraps(command)
        def with_videos(
            paths: tuple[str, ...], names: str | None, recursive: bool, shard: Shard | None, **options: Any
        ) -> Any:
            asked = Videos(paths, names, recursive, shard)
            if required and not asked.given:
                raise click.UsageError(
                    "Name a video, a folder or a pattern, or give a list of names with --from."
                )
            if options.get("resume") and "-" in asked._all:
                raise InputError("--resume tells videos by their names, and standard input has none.")
            return command(videos=asked, **options)

        for option in (shards.option, _recursive, _from, click.argument("paths", nargs=-1)):
            with_videos = option(with_videos)
        return with_videos  # type: ignore[return-value]  # click calls it by names

    return decorate


_from = click.option(
    "--from",
    "names",
    type=opt.PathType(dir_okay=False, exists=True, allow_dash=True),
    help="A file with the name of a video on each line; - reads them from standard input.",
)
_recursive = click.option("--recursive", "-r", is_flag=True, help="Also search the folders inside folders.")
resume = click.option(
    "--resume", is_flag=True, help="Continue --out: answer the videos that have no answer there."
)
