"""``slowfast-zoo export``: a model as one file for other programs, proven to be the same."""

from __future__ import annotations

from pathlib import Path

import click

from slowfast_zoo.cli.predict import load_model


@click.command("export")
@click.argument("model")
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--format",
    "form",
    type=click.Choice(("onnx", "torch", "openvino")),
    help="What to write.  [default: as OUT's ending says: .onnx, .pt2, .xml]",
)
@click.option("--weights", help="One of the model's weights.  [default: the starred ones]")
@click.option(
    "--checkpoint", type=click.Path(path_type=Path, exists=True), help="A weights file, or a saved folder."
)
@click.option(
    "--precision",
    type=click.Choice(("float32", "bfloat16", "float16")),
    default="float32",
    show_default=True,
    help="Of the computation; lower ones give about the same logits.",
)
@click.option("--size", type=click.IntRange(1), help="Side of a view in pixels.  [default: as published]")
@click.option(
    "--repeats", type=click.IntRange(1), default=20, show_default=True, help="Timed runs for the proof."
)
def export_command(
    model: str,
    out: Path,
    form: str | None,
    weights: str | None,
    checkpoint: Path | None,
    precision: str,
    size: int | None,
    repeats: int,
) -> None:
    """Writes MODEL to OUT, with a JSON contract, reference frames and the proof beside it.

    The exit status is 1 if the file gives other answers than the model; then nothing is kept. One that
    is slower than the model is kept, with a warning.
    """
    network = load_model(model, weights, checkpoint)
    from slowfast_zoo.inference.export.export import export

    written = export(
        network,
        out,
        form,  # type: ignore[arg-type]  # click has checked both
        precision,  # type: ignore[arg-type]
        size=size,
        repeats=repeats,
    )
    for path in written.files:
        click.echo(f"{path}  {path.stat().st_size:,} bytes")
    click.echo(str(written.proof))
