"""``slowfast-zoo render``: a video with the answer drawn on it, or the frames that a model sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from slowfast_zoo.cli.models import ModelRef, model_option
from slowfast_zoo.cli.options import (
    NEW_FILE,
    command,
    device_option,
    echo,
    fps_option,
    topk_option,
    views_option,
)
from slowfast_zoo.errors import InputError


@command(
    "render",
    "render video.mp4 labeled.mp4 --model slowfast_tiny",
    "render video.mp4 pathways.png --model slowfast_r50_4x16x1",
)
@click.argument("video")
@click.argument("out", type=NEW_FILE)
@model_option()
@topk_option()
@views_option()
@fps_option
@click.option("--seconds", type=(float, float), metavar="START END", help="Only this part of the video.")
@device_option
def render_command(
    video: str,
    out: Path,
    model: ModelRef,
    topk: int,
    views: Any,
    fps: float | None,
    seconds: tuple[float, float] | None,
    device: str | None,
) -> None:
    """Draws the answer for VIDEO into OUT.

    OUT ends in .mp4 or .gif: the video with its best labels. In .png: the frames that the slow and the
    fast pathway see, which needs no weights.
    """
    from slowfast_zoo.inference.render.render import contact_sheet, render
    from slowfast_zoo.runtime.devices import to_device

    if out.suffix.lower() == ".png":
        if seconds is not None:
            raise InputError("--seconds belongs to .mp4 and .gif; a sheet shows what the model sees.")
        contact_sheet(model.entry or model.load(), video, out, views=views, fps=fps)
        echo(f"Wrote {out}")
        return
    network = model.load().to(to_device(device))
    answer = render(network, video, out, views=views, topk=topk, fps=fps, seconds=seconds)
    echo(f"Wrote {out}: {answer!r}")
