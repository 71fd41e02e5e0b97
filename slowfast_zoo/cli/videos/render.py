"""``slowfast-zoo render``: the answer drawn on the video, and what the model saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from slowfast_zoo.cli import options as opt
from slowfast_zoo.cli.models import model_option
from slowfast_zoo.cli.options import NEW_FILE, command, echo, prepared
from slowfast_zoo.cli.videos.detect import persons, score
from slowfast_zoo.cli.videos.sources import one_video
from slowfast_zoo.errors import InputError
from slowfast_zoo.naming import ModelRef

_OF_SHEETS = ("source", "out", "model", "like", "views", "fps", "device")
"""What may be given where a .png is written."""

_OF_PERSONS = ("unit", "video", "begins_at", "every_seconds", "box_score", "score")
"""What may be given only where persons are drawn."""


@command(
    "render",
    "render video.mp4 labeled.mp4 --model slowfast_tiny",
    "render video.mp4 pathways.png --model slowfast_r50_4x16x1",
    "render video.mp4 persons.mp4 --model slowfast_r50_8x8x1_roi --detector person",
)
@click.argument("source", metavar="VIDEO")
@click.argument("out", type=NEW_FILE)
@model_option()
@opt.topk
@persons
@score(0.3)
@opt.views()
@opt.fps
@click.option(
    "--seconds",
    type=(float, float),
    metavar="START END",
    help="Draw only this part; the answer stays that of all of VIDEO.",
)
@opt.how_in_floats
def render_command(
    source: str,
    out: Path,
    model: ModelRef,
    topk: int,
    persons: dict[str, Any],
    score: float,
    seconds: Any,
    how: dict[str, Any],
    views: Any,
    fps: float | None,
) -> None:
    """Draws the answer for VIDEO into OUT.

    VIDEO is a file, a URL, or - for standard input. OUT ends in .mp4 or .gif: the video with its best labels,
    or with --boxes or --detector each person's box with its actions from --score on. In .png: the frames that
    the slow and the fast pathway see, which needs no weights. A file that is there is replaced.

    The labels are one answer for all of VIDEO: that of a clip in its middle, unless --views takes more. The
    line at the bottom shows where. What happens when is told by 'slowfast-zoo timeline'.
    """
    from slowfast_zoo.inference.detect.detect import detect
    from slowfast_zoo.inference.predict import predict
    from slowfast_zoo.inference.render.render import check_drawable, contact_sheet, render

    opt.check_apart(out)
    source = one_video(source)
    if out.suffix.lower() == ".png":
        if typed := opt.typed(but=_OF_SHEETS):
            raise InputError(f"Only .mp4 and .gif take {typed}; a sheet shows what the model sees.")
        contact_sheet(model.entry or model.load(), source, out, views=views, fps=fps)
        echo(f"Wrote {out}")
        return
    check_drawable(source, out, seconds=seconds, fps=fps)
    options = prepared(how)
    network = model.load()
    answer: Any
    if persons["boxes"] or persons["detector"] or network.spec.roi is not None:
        if opt.typed(["views"]):
            raise InputError("Leave out --views: persons are looked at once in each key frame.")
        answer = detect(network, source, score=score, topk=topk, fps=fps, **options, **persons)
    elif typed := opt.typed(_OF_PERSONS):
        raise InputError(f"Only with --boxes or --detector does render take {typed}: they are of persons.")
    else:
        answer = predict(network, source, views=views, topk=topk, fps=fps, **options)
    render(answer, source, out, topk=topk, seconds=seconds, fps=fps)
    echo(f"Wrote {out}: {answer!r}")
