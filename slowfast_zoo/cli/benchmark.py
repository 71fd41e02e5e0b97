"""``slowfast-zoo benchmark``: videos per second of the network, of reading, and from file to answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from slowfast_zoo.cli.models import ModelRef, model_option
from slowfast_zoo.cli.options import (
    command,
    device_option,
    echo,
    engine_option,
    json_option,
    out_option,
    precision_option,
    set_threads,
    threads_option,
    views_option,
)
from slowfast_zoo.errors import InputError


@command(
    "benchmark",
    "benchmark --model slowfast_r50_4x16x1",
    "benchmark clip.mp4 --model slowfast_r50_4x16x1 --views 10x3 --engine openvino",
)
@click.argument("video", required=False)
@model_option()
@views_option("published")
@device_option
@engine_option
@precision_option
@threads_option
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Videos to time.")
@json_option
@out_option("Also write it to this JSON file.")
def benchmark_command(
    video: str | None,
    model: ModelRef,
    views: str | tuple[int, int],
    device: str | None,
    engine: str,
    precision: str,
    threads: int | None,
    repeats: int,
    as_json: bool,
    out: Path | None,
) -> None:
    """Times a model on this machine: the publishers' videos per second, and with a VIDEO the reading too.

    Nothing is downloaded: a published model gets random weights, with which a network is as fast as with
    any others.
    """
    from slowfast_zoo.inference.benchmark import benchmark
    from slowfast_zoo.runtime.devices import to_device

    set_threads(threads)
    options: Any = {"views": views, "engine": engine, "precision": precision}
    measured = benchmark(model.untrained(), video, device=to_device(device), repeats=repeats, **options)
    text = json.dumps(measured.to_dict(), indent=1)
    echo(text if as_json else measured)
    if out is not None:
        try:
            out.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"'{out}' can't be written: {error.strerror or error}.") from error
