"""``slowfast-zoo predict``: videos in, names and probabilities out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slowfast_zoo.cli.results import FORMATS, ResultFile, table_block, table_row
from slowfast_zoo.errors import DownloadError, InputError, VideoError

if TYPE_CHECKING:
    from slowfast_zoo.network.slowfast import SlowFast

DEFAULT_MODEL = "slowfast_r50_4x16x1"


def parse_views(text: str) -> str | tuple[int, int]:
    """ "quick", "published", or clips x crops such as "10x3" as a pair."""
    clips, times, crops = text.partition("x")
    if times and clips.isdecimal() and crops.isdecimal():
        return int(clips), int(crops)
    return text


def load_model(model: str | None, weights: str | None, checkpoint: Path | None) -> SlowFast:
    """The model that --model, --weights and --checkpoint name together.

    Raises:
        SlowFastZooError: as ``create_model`` and ``from_pretrained``.
    """
    from slowfast_zoo.weights.saved.hub import from_pretrained
    from slowfast_zoo.zoo import create_model

    if checkpoint is not None:
        if weights is not None:
            raise InputError("Give --weights (a published tag) or --checkpoint (your own file), not both.")
        if checkpoint.is_dir():
            return from_pretrained(checkpoint)
        return create_model(model or DEFAULT_MODEL, weights=checkpoint)
    try:
        return create_model(model or DEFAULT_MODEL, weights=weights or "default")
    except DownloadError as error:
        if model is not None:
            raise
        raise DownloadError(
            f"{error}\nWithout any download, '--model slowfast_tiny' names the motion of the camera."
        ) from error


@click.command("predict")
@click.argument("paths", nargs=-1, required=True)
@click.option("--model", help=f"A model of 'slowfast-zoo list'.  [default: {DEFAULT_MODEL}]")
@click.option("--weights", help="One of its weights.  [default: the starred ones]")
@click.option(
    "--checkpoint", type=click.Path(path_type=Path, exists=True), help="A weights file, or a saved folder."
)
@click.option("--topk", default=5, show_default=True, help="Classes to give for each video.")
@click.option("--views", default="quick", show_default=True, help="quick, published, or clips x crops: 10x3.")
@click.option("--fps", type=float, help="Frame rate, instead of what the files say.")
@click.option("--device", help="cpu, cuda, cuda:1, mps.  [default: a GPU if there is one]")
@click.option("--engine", default="auto", show_default=True, help="eager, compile, openvino, onnxruntime.")
@click.option(
    "--precision", default="float32", show_default=True, help="Or bfloat16, float16: faster, rounded."
)
@click.option("--recursive", "-r", is_flag=True, help="Also search the folders inside folders.")
@click.option("--out", type=click.Path(path_type=Path), help="Write to this .jsonl, .csv or .json file.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="What to print or write.")
@click.option("--resume", is_flag=True, help="Go on with --out: leave out the videos that it already has.")
def predict_command(
    paths: tuple[str, ...],
    model: str | None,
    weights: str | None,
    checkpoint: Path | None,
    topk: int,
    views: str,
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
        click.echo("Nothing to do: the output file has all of them.", err=True)
        return

    network = load_model(model, weights, checkpoint).eval()
    import torch
    from tqdm import tqdm

    from slowfast_zoo.inference.predict import predict

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    options: Any = {"views": parse_views(views), "engine": engine, "precision": precision}
    predictions = predict(network, sources, topk=topk, fps=fps, device=device, **options)
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
                    click.echo(text, err=prediction.error is not None)
            bar.update()
    if failed:
        raise SystemExit(1)


def _sources(paths: tuple[str, ...], recursive: bool) -> Iterator[str]:
    """Every video that the arguments name, once, in order; what doesn't exist is kept to be reported."""
    from slowfast_zoo.inference.inputs import many, videos_in

    seen = set()
    for text in paths:
        folder = Path(text)
        if recursive and folder.is_dir():
            found: list[object] = list(videos_in(folder, recursive=True))
            if not found:
                raise VideoError(f"The folder '{folder}' holds no videos.")
        else:
            videos = many(text)
            found = [text] if videos is None else list(videos)
        for source in map(str, found):
            if source not in seen:
                seen.add(source)
                yield source
