"""``slowfast-zoo predict``: videos in, names and probabilities out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from slowfast_zoo.cli.models import ModelRef, model_option
from slowfast_zoo.cli.options import (
    command,
    device_option,
    echo,
    engine_option,
    fps_option,
    out_option,
    precision_option,
    topk_option,
    views_option,
)
from slowfast_zoo.cli.results import FORMATS, ResultFile, table_block, table_row
from slowfast_zoo.errors import VideoError


@command(
    "predict",
    "predict video.mp4 --model slowfast_tiny",
    "predict clips/ --model slowfast_r101_8x8x1 --out results.csv",
    "predict clips/*.mp4 --model work_dirs/finetune-data/model --views 10x3",
)
@click.argument("paths", nargs=-1, required=True)
@model_option()
@topk_option()
@views_option()
@fps_option
@device_option
@engine_option
@precision_option
@click.option("--recursive", "-r", is_flag=True, help="Also search the folders inside folders.")
@out_option("Write to this .jsonl, .csv or .json file.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="What to print or write.")
@click.option("--resume", is_flag=True, help="Go on with --out: leave out the videos that it already has.")
def predict_command(
    paths: tuple[str, ...],
    model: ModelRef,
    topk: int,
    views: str | tuple[int, int],
    fps: float | None,
    device: str | None,
    engine: str,
    precision: str,
    recursive: bool,
    out: Path | None,
    form: str | None,
    resume: bool,
) -> None:
    """Names what happens in videos: files, URLs, folders, patterns.

    The exit status is 1 if a video could not be read; the others are answered all the same.
    """
    results = ResultFile(out, form, resume=resume)
    sources = [source for source in _sources(paths, recursive) if source not in results.known]
    if not sources:
        echo("Nothing to do: the output file has all of them.", err=True)
        return

    network = model.load()
    from tqdm import tqdm

    from slowfast_zoo.inference.predict import predict_many
    from slowfast_zoo.runtime.devices import to_device

    options: Any = {"views": views, "engine": engine, "precision": precision}
    predictions = predict_many(network, sources, topk=topk, fps=fps, device=to_device(device), **options)
    failed = 0
    block = len(sources) == 1
    with results, tqdm(total=len(sources), unit="video", disable=None if len(sources) > 1 else True) as bar:
        for prediction in predictions:
            failed += prediction.error is not None
            if results.streams:
                results.write(prediction)
            if results.is_table or (out is not None and prediction.error):
                text = table_block(prediction) if block else table_row(prediction)
                with bar.external_write_mode(sys.stdout):
                    echo(text, err=prediction.error is not None)
            bar.update()
    if failed:
        raise click.exceptions.Exit(1)


def _sources(paths: tuple[str, ...], recursive: bool) -> Iterator[str]:
    """Every video that the arguments name, once, in order; what doesn't exist is kept to be reported."""
    from slowfast_zoo.inference.inputs import expand_sources, videos_in

    seen = set()
    for text in paths:
        folder = Path(text)
        if recursive and folder.is_dir():
            found: list[object] = list(videos_in(folder, recursive=True))
            if not found:
                raise VideoError(f"The folder '{folder}' holds no videos.")
        else:
            found = list(expand_sources(text))
        for source in map(str, found):
            if source not in seen:
                seen.add(source)
                yield source
