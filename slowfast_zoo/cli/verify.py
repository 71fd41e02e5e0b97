"""``slowfast-zoo verify``: does this machine compute what was published?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from slowfast_zoo.cli.models import ModelRef, model_option
from slowfast_zoo.cli.options import FILE, command, device_option, echo, json_option


@command("verify", "verify", "verify --model slowfast_r50_4x16x1 --no-weights")
@model_option(default=None, help_text="Also check this model, with its weights")
@click.option("--no-weights", is_flag=True, help="Check the network of a published model without a download.")
@click.option("--stage", "stages", multiple=True, help="Only this stage; may be given several times.")
@click.option(
    "--demo-clip",
    type=FILE,
    help="MMAction2's demo/demo.mp4: also check published outputs of PyTorchVideo's R50 8x8 on it.",
)
@device_option
@json_option
def verify_command(
    model: ModelRef | None,
    no_weights: bool,
    stages: tuple[str, ...],
    demo_clip: Path | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Replays every stage from a video to logits and compares it with stored references.

    Names the first stage that differs; the exit status is 1 if one does.
    """
    from slowfast_zoo.inference.verify.verify import verify

    network = None if model is None else model.untrained() if no_weights else model.load()
    report = verify(network, stages=stages or None, demo_clip=demo_clip, device=device)
    echo(json.dumps(report.to_dict(), indent=1) if as_json else report)
    if not report.ok:
        raise click.exceptions.Exit(1)
