"""``slowfast-zoo benchmark``: videos per second of the network, of reading, and from file to answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from slowfast_zoo.cli.predict import parse_views
from slowfast_zoo.errors import InputError


@click.command("benchmark")
@click.argument("model")
@click.argument("video", required=False)
@click.option(
    "--views", default="published", show_default=True, help="published, quick, or clips x crops: 10x3."
)
@click.option("--device", help="cpu, cuda, cuda:1, mps.  [default: a GPU if there is one]")
@click.option("--engine", default="auto", show_default=True, help="eager, compile, openvino, onnxruntime.")
@click.option(
    "--precision", default="float32", show_default=True, help="Or bfloat16, float16: faster, rounded."
)
@click.option("--threads", type=click.IntRange(1), help="torch's threads.  [default: torch's choice]")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Videos to time.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Also write it to this JSON file."
)
def benchmark_command(
    model: str,
    video: str | None,
    views: str,
    device: str | None,
    engine: str,
    precision: str,
    threads: int | None,
    repeats: int,
    out: Path | None,
) -> None:
    """How fast MODEL answers on this machine: the publishers' video/s, and with a VIDEO the reading too.

    Nothing is downloaded: the weights are random, with which a network is as fast as with any others.
    """
    if out is not None and not out.absolute().parent.is_dir():
        raise InputError(f"'{out}' can't be written: there is no folder '{out.absolute().parent}'.")
    import torch

    from slowfast_zoo.inference.benchmark import benchmark
    from slowfast_zoo.zoo import create_model

    if threads is not None:
        torch.set_num_threads(threads)
    options: Any = {"views": parse_views(views), "engine": engine, "precision": precision}
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    measured = benchmark(create_model(model), video, device=device, repeats=repeats, **options)
    click.echo(str(measured))
    if out is not None:
        try:
            out.write_text(json.dumps(measured.to_dict(), indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"'{out}' can't be written: {error.strerror or error}.") from error
