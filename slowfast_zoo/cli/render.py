"""``slowfast-zoo render``: a video with the answer drawn on it, or the frames that a model sees."""

from __future__ import annotations

from pathlib import Path

import click

from slowfast_zoo.cli.predict import DEFAULT_MODEL, load_model, parse_views
from slowfast_zoo.errors import InputError


@click.command("render")
@click.argument("video")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--model", help=f"A model of 'slowfast-zoo list'.  [default: {DEFAULT_MODEL}]")
@click.option("--weights", help="One of its weights.  [default: the starred ones]")
@click.option(
    "--checkpoint", type=click.Path(path_type=Path, exists=True), help="A weights file, or a saved folder."
)
@click.option("--topk", default=5, show_default=True, help="Labels to draw.")
@click.option("--views", default="quick", show_default=True, help="quick, published, or clips x crops: 10x3.")
@click.option("--fps", type=float, help="Frame rate, instead of what the file says.")
@click.option("--seconds", type=(float, float), metavar="START END", help="Only this part of the video.")
@click.option("--device", help="cpu, cuda, cuda:1, mps.  [default: a GPU if there is one]")
def render_command(
    video: str,
    out: Path,
    model: str | None,
    weights: str | None,
    checkpoint: Path | None,
    topk: int,
    views: str,
    fps: float | None,
    seconds: tuple[float, float] | None,
    device: str | None,
) -> None:
    """Draws the answer for VIDEO into OUT.

    OUT ends in .mp4 or .gif: the video with its best labels. In .png: the frames that the slow and the
    fast pathway see, which needs no weights.
    """
    from slowfast_zoo.inference.render.render import contact_sheet, render
    from slowfast_zoo.weights.catalog import get_weights

    counts = parse_views(views)
    if out.suffix.lower() == ".png":
        if seconds is not None:
            raise InputError("--seconds belongs to .mp4 and .gif; a sheet shows what the model sees.")
        if checkpoint is None:
            row = get_weights(model or DEFAULT_MODEL, weights or "default")
            contact_sheet(row, video, out, views=counts, fps=fps)  # type: ignore[arg-type]  # is checked there
        else:
            network = load_model(model, weights, checkpoint)
            contact_sheet(network, video, out, views=counts, fps=fps)  # type: ignore[arg-type]  # as above
        click.echo(f"Wrote {out}")
        return
    import torch

    network = load_model(model, weights, checkpoint).eval()
    network.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    answer = render(network, video, out, views=counts, topk=topk, fps=fps, seconds=seconds)  # type: ignore[arg-type]  # as above
    click.echo(f"Wrote {out}: {answer!r}")
