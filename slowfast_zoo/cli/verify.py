"""``slowfast-zoo verify``: does this machine compute what was published?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from slowfast_zoo.errors import InputError


@click.command("verify")
@click.option("--model", help="Also check the network of this model; needs no weights.")
@click.option("--weights", help="Load these weights of it ('default': the starred ones) and check them too.")
@click.option("--stage", "stages", multiple=True, help="Only this stage; may be given several times.")
@click.option(
    "--demo-clip",
    type=click.Path(path_type=Path),
    help="MMAction2's demo/demo.mp4: also check published outputs of PyTorchVideo's R50 8x8 on it.",
)
@click.option("--device", help="Where networks run: cpu, cuda, cuda:1, mps.  [default: cpu]")
@click.option("--json", "as_json", is_flag=True, help="Everything that was found, as JSON.")
def verify_command(
    model: str | None,
    weights: str | None,
    stages: tuple[str, ...],
    demo_clip: Path | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Replays every stage from a video to logits and compares it with stored references.

    Names the first stage that differs; the exit status is 1 if one does.
    """
    if weights is not None and model is None:
        raise InputError("--weights belongs to a model: give --model too.")
    from slowfast_zoo.inference.verify.verify import verify
    from slowfast_zoo.zoo import create_model

    network = None if model is None else create_model(model, weights=weights)
    report = verify(network, stages=stages or None, demo_clip=demo_clip, device=device)
    click.echo(json.dumps(report.to_dict(), indent=1) if as_json else str(report))
    if not report.ok:
        raise SystemExit(1)
