"""``slowfast-zoo predict``: videos in, names and probabilities out."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from slowfast_zoo.cli import options as opt
from slowfast_zoo.cli.models import model_option
from slowfast_zoo.cli.options import command, echo, made_fast
from slowfast_zoo.cli.results import (
    FORMATS,
    ResultFile,
    address_of,
    prediction_columns,
    table_block,
    table_row,
)
from slowfast_zoo.cli.videos import sources
from slowfast_zoo.cli.videos.sources import Found, Videos
from slowfast_zoo.naming import ModelRef
from slowfast_zoo.spec import views_name

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
@sources.videos()
@model_option()
@opt.topk
@opt.views()
@opt.fps
@opt.how
@opt.out("Write to this .jsonl, .csv or .json file; the columns are the same.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="What to print or write.")
@sources.resume
def predict_command(
    videos: Videos,
    model: ModelRef,
    topk: int,
    views: Any,
    fps: float | None,
    how: dict[str, Any],
    out: Path | None,
    form: str | None,
    resume: bool,
) -> None:
    """Names what happens in videos: files, URLs, folders, patterns, - for standard input.

    A result file has a row per video with its best classes as label_1, score_1, label_2 and so on. Every
    row is on the disk at once. The exit status is 1 if a video failed; the others are answered all the
    same, and --resume tries the failed ones again.
    """
    settings = {**model.origin(), "views": views_name(views), "topk": topk, "fps": fps}
    calibrated = opt.calibrated(how)
    settings |= {"precision": how["precision"], **calibrated}
    columns = (*prediction_columns(topk), *calibrated, *videos.columns)
    opt.check_ending(out, form, {name: f".{name}" for name in FORMATS if name != "table"})
    out = videos.file(out)
    earlier = {"calibration": ""}
    results = ResultFile(out, form, resume=resume, columns=columns, settings=settings, earlier=earlier)
    found = videos.left(results.known)
    if found.is_done(out):
        return
    total, best = found.total, topk if opt.typed(["topk"]) else 1
    asked = click.get_current_context().command

    def tell(source: Any, prediction: Prediction) -> None:
        if prediction.error:
            prediction = dataclasses.replace(prediction, error=opt.in_options(prediction.error, asked))
        results.write({**prediction.to_row(), "address": address_of(source)})
        if results.is_table or (out is not None and prediction.error):
            text = table_block(prediction) if total == 1 else table_row(prediction, best)
            with tally.paused():
                echo(text, err=prediction.error is not None)

    predictions: Iterator[Prediction] = iter(())
    if found.sources:
        from slowfast_zoo.inference.predict import predict_many

        fast, prepared = made_fast(model.load, how)
        options = {"views": views, "topk": topk, "fps": fps, **prepared}
        predictions = predict_many(fast, found.sources, **options)
    tally = Tally(total, found)
    with results, tally:
        unseen = ((failure.source, failure) for failure in found.failures)
        for source, prediction in chain(unseen, zip(found.sources, predictions, strict=True)):
            tally.count(prediction.error)
            tell(source, prediction)
    if out and total == 1 and tally.answered:
        echo(f"Wrote {out}", err=True)
    if tally.failed:
        raise click.exceptions.Exit(1)


class Tally:
    """How far the run is: a bar on a terminal, else a line every so often; in the end what became of it all.

    Args:
        total: videos.
        found: where they come from.
        clock: gives seconds.
    """

    def __init__(self, total: int, found: Found, clock: Callable[[], float] = time.monotonic) -> None:
        from tqdm import tqdm

        self.answered = self.failed = 0
        self._total, self._left_out, self._clock = total, found.left_out(), clock
        self._begin = self._reported = clock()
        self._bar = tqdm(total=total, unit="video", disable=None if total > 1 else True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self._total > 1 or self._left_out:
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
        left_out = f"; left out: {self._left_out}" if self._left_out else ""
        return f"{self.answered} answered, {self._rates()}{unseen}{left_out}"

    def _rates(self) -> str:
        seconds = max(self._clock() - self._begin, 1e-9)
        rate = (self.answered + self.failed) / seconds
        return f"{self.failed} failed, in {seconds:.1f} s ({rate:.3g} videos/s)"
