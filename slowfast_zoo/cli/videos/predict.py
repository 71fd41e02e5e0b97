"""``slowfast-zoo predict``: videos in, names and probabilities out."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from slowfast_zoo.cli import options as opt
from slowfast_zoo.cli.models import model_option
from slowfast_zoo.cli.options import command, echo, made_fast
from slowfast_zoo.cli.results import (
    FORMATS,
    ResultFile,
    prediction_columns,
    table_block,
    table_row,
)
from slowfast_zoo.cli.videos import shard as shards
from slowfast_zoo.cli.videos.shard import Shard
from slowfast_zoo.errors import InputError, VideoError
from slowfast_zoo.naming import ModelRef

if TYPE_CHECKING:
    from slowfast_zoo.inference.predict import Prediction

_REPORT_SECONDS = 30.0
"""Between two lines of progress where there is no terminal for a bar."""


@command(
    "predict",
    "predict video.mp4 --model slowfast_tiny",
    "predict clips/ --model slowfast_r101_8x8x1 --out results.csv",
    "predict clips/ -r --out results.csv --resume",
    'predict clips/ -r --out results.csv --resume --shard "$SLURM_ARRAY_TASK_ID/16"',
    "predict clips/ --precision int8 --calibration 'clips/**/*.mp4' --model slowfast_r50_8x8x1",
    "predict --from names.txt --model work_dirs/finetune-data/model --views 10x3",
)
@click.argument("paths", nargs=-1)
@click.option(
    "--from",
    "names",
    type=click.Path(dir_okay=False, exists=True, allow_dash=True),
    help="A file with the name of a video on each line; - reads them from standard input.",
)
@model_option()
@opt.topk
@opt.views()
@opt.fps
@opt.how
@click.option("--recursive", "-r", is_flag=True, help="Also search the folders inside folders.")
@opt.out("Write to this .jsonl, .csv or .json file; the columns are the same.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="What to print or write.")
@click.option(
    "--resume", is_flag=True, help="Go on with --out: only videos that it has no answer for are looked at."
)
@shards.option
def predict_command(
    paths: tuple[str, ...],
    names: str | None,
    model: ModelRef,
    topk: int,
    views: Any,
    fps: float | None,
    how: dict[str, Any],
    recursive: bool,
    out: Path | None,
    form: str | None,
    resume: bool,
    shard: Shard | None,
) -> None:
    """Names what happens in videos: files, URLs, folders, patterns, - for standard input.

    A result file has a row per video with its best classes as label_1, score_1, label_2 and so on. Every
    row is on the disk at once. The exit status is 1 if a video failed; the others are answered all the
    same, and --resume tries the failed ones again.
    """
    if not paths and names is None:
        raise click.UsageError("Name a video, a folder or a pattern, or give a list of names with --from.")
    shown = views if isinstance(views, str) else f"{views[0]}x{views[1]}"
    settings = {**model.origin(), "views": shown, "topk": topk, "fps": fps, "precision": how["precision"]}
    columns = prediction_columns(topk)
    if shard and out:
        out = shard.file(out)
    results = ResultFile(out, form, resume=resume, columns=columns, settings=settings)
    found = find_videos([*paths, *listed(names)], recursive, results.known).part(shard)
    total = len(found.sources) + len(found.failures)
    if not total:
        echo(f"Nothing to do: '{out}' has an answer for each{' of this part' if shard else ''}.", err=True)
        return
    chosen = click.get_current_context().get_parameter_source("topk")
    best = topk if chosen is click.core.ParameterSource.COMMANDLINE else 1

    def tell(prediction: Prediction) -> None:
        results.write(prediction.to_row())
        if results.is_table or (out is not None and prediction.error):
            text = table_block(prediction) if total == 1 else table_row(prediction, best)
            with progress.paused():
                echo(text, err=prediction.error is not None)

    predictions: Iterator[Prediction] = iter(())
    if found.sources:
        network = model.load()
        from slowfast_zoo.inference.predict import predict_many

        fast, prepared = made_fast(network, how)
        options = {"views": views, "topk": topk, "fps": fps, **prepared}
        predictions = predict_many(fast, found.sources, **options)
    progress = Progress(total, found)
    with results, progress:
        for prediction in chain(found.failures, predictions):
            progress.count(prediction.error)
            tell(prediction)
    if progress.failed:
        raise click.exceptions.Exit(1)


@dataclasses.dataclass
class Found:
    """What the arguments name."""

    sources: list[Any] = dataclasses.field(default_factory=list)
    """Videos, each once, in order; what doesn't exist is kept to be reported."""
    failures: list[Prediction] = dataclasses.field(default_factory=list)
    """Folders and patterns without videos."""
    skipped: Counter[str] = dataclasses.field(default_factory=Counter)
    """How many of what were left out."""

    def part(self, shard: Shard | None) -> Found:
        """Those that belong to a shard; None: all."""
        if shard is None:
            return self
        sources = [source for source in self.sources if shard.has(source)]
        failures = [failure for failure in self.failures if shard.has(failure.source)]
        others = len(self.sources) + len(self.failures) - len(sources) - len(failures)
        return Found(sources, failures, self.skipped + Counter({"of other shards": others}))


class Progress:
    """How far the run is: a bar on a terminal, else a line every so often; in the end what became of it all.

    Args:
        total: videos.
        found: where they come from.
        clock: gives seconds.
    """

    def __init__(self, total: int, found: Found, clock: Callable[[], float] = time.monotonic) -> None:
        from tqdm import tqdm

        self.answered = self.failed = 0
        self._total, self._skipped, self._clock = total, found.skipped, clock
        self._begin = self._reported = clock()
        self._bar = tqdm(total=total, unit="video", disable=None if total > 1 else True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if self._total > 1 or self._skipped:
            echo(self.summary(), err=True)

    def count(self, error: str | None) -> None:
        """One video more."""
        self.failed += error is not None
        self.answered += error is None
        self._bar.update()
        if self._bar.disable and self._clock() - self._reported > _REPORT_SECONDS:
            self._reported = self._clock()
            echo(f"{self.answered + self.failed} of {self._total} videos, {self._rates()}", err=True)

    def paused(self) -> Any:
        """While something is printed."""
        return self._bar.external_write_mode(sys.stdout)

    def summary(self) -> str:
        """What became of all the videos, in one line."""
        missing = self._total - self.answered - self.failed
        unseen = f", {missing} not looked at" if missing else ""
        skipped = ""
        if self._skipped:
            parts = [f"{what}: {count}" for what, count in sorted(self._skipped.items())]
            skipped = f"; left out: {', '.join(parts)}"
        return f"{self.answered} answered, {self._rates()}{unseen}{skipped}"

    def _rates(self) -> str:
        seconds = max(self._clock() - self._begin, 1e-9)
        rate = (self.answered + self.failed) / seconds
        return f"{self.failed} failed, in {seconds:.1f} s ({rate:.3g} videos/s)"


def listed(names: str | None) -> list[str]:
    """The lines of a file of names."""
    if names is None:
        return []
    try:
        with click.open_file(names, "rb") as file:
            lines = file.read().decode("utf-8-sig", "surrogateescape").splitlines()
    except OSError as error:
        raise InputError(f"'{names}' can't be read: {error.strerror or error}.") from error
    return [line for line in lines if line.strip()]


def find_videos(arguments: Sequence[str], recursive: bool, known: Counter[str]) -> Found:
    """Every video that the arguments name, once, but those that are known."""
    from slowfast_zoo.inference.predict import Prediction
    from slowfast_zoo.video.decoding.sources import display_name

    found, seen, known = Found(), set[Any](), known.copy()
    for text in arguments:
        try:
            videos = _expanded(text, recursive, found.skipped)
        except (VideoError, InputError) as error:
            found.failures.append(Prediction(source=display_name(text), error=str(error)))
            continue
        for source in videos:
            if source in seen:
                continue
            seen.add(source)
            # URLs that only differ in their query have one name, so answers are counted.
            if known[name := display_name(source)]:
                known[name] -= 1
                found.skipped["answered before"] += 1
            else:
                found.sources.append(source)
    return found


def _expanded(text: str, recursive: bool, skipped: Counter[str]) -> list[Any]:
    """The videos that one argument names."""
    from slowfast_zoo.inference.inputs import expand_sources, is_folder, list_videos
    from slowfast_zoo.video.decoding.sources import is_url, local_path

    if text == "-":
        return [sys.stdin.buffer]
    if is_url(text) or not is_folder(folder := local_path(text)):
        return [str(source) for source in expand_sources(text)]
    listing = list_videos(folder, recursive=recursive)
    found = [str(video) for video in listing.videos]
    if not found and not recursive:
        found = [str(source) for source in expand_sources(text)]  # a folder of frames
    elif not found:
        raise VideoError(f"The folder '{folder}' and those inside it hold no videos.")
    for what, count in listing.skipped.items():
        skipped["folders inside (-r searches them)" if what == "folders inside" else what] += count
    return found
