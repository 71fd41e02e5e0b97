"""``slowfast-zoo export``: a model as one file for other programs, proven to be the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from slowfast_zoo.cli.models import ModelRef, model_option
from slowfast_zoo.cli.options import (
    NEW_FILE,
    choice,
    command,
    echo,
    overwrite_option,
    precision_option,
)
from slowfast_zoo.errors import InputError
from slowfast_zoo.inference.export import Format


@command(
    "export",
    "export model.onnx --model slowfast_r50_4x16x1",
    "export model.xml --model work_dirs/finetune-data/model --precision bfloat16",
)
@click.argument("out", type=NEW_FILE)
@model_option()
@click.option(
    "--format",
    "form",
    type=choice(Format),
    help="What to write.  [default: as OUT's ending says: .onnx, .pt2, .xml]",
)
@precision_option
@click.option("--size", type=click.IntRange(1), help="Side of a view in pixels.  [default: as published]")
@click.option(
    "--repeats", type=click.IntRange(1), default=20, show_default=True, help="Timed runs for the proof."
)
@overwrite_option
def export_command(
    out: Path, model: ModelRef, form: Any, precision: Any, size: int | None, repeats: int, overwrite: bool
) -> None:
    """Writes a model to the file OUT, with a JSON contract, reference frames and the proof beside it.

    The exit status is 1 if the file gives other answers than the model; then nothing is kept. One that
    is slower than the model is kept, with a warning.
    """
    if out.exists() and not overwrite:
        raise InputError(f"'{out}' exists; give --overwrite to write over it, or another name.")
    network = model.load()
    from slowfast_zoo.inference.export.export import export

    written = export(network, out, form, precision, size=size, repeats=repeats, overwrite=overwrite)
    for path in written.files:
        echo(f"{path}  {path.stat().st_size:,} bytes")
    echo(written.proof)
