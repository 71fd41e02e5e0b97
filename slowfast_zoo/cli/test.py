"""``slowfast-zoo test``: a checkpoint's metrics on a dataset, and its result file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from slowfast_zoo.cli.train import open_data
from slowfast_zoo.errors import CheckpointError

if TYPE_CHECKING:
    from slowfast_zoo.network.slowfast import SlowFast

_METRICS = ("top_k_accuracy", "mean_class_accuracy", "mean_average_precision")
_AVERAGES = ("prob", "score", "none", "mean-prob", "mean-logit", "max-prob", "sum-prob")


class _SpacedEval(click.Command):
    """Also takes ``--eval a b`` for ``--eval a --eval b``, as MMAction2's ``tools/test.py`` does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        inside = False
        for arg in args:
            more = inside and arg in _METRICS and spread[-1] != "--eval"
            spread += ["--eval", arg] if more else [arg]
            inside = arg == "--eval" or (inside and arg in _METRICS)
        return super().parse_args(ctx, spread)


@click.command("test", cls=_SpacedEval)
@click.argument("model")
@click.argument("checkpoint")
@click.argument("data")
@click.option(
    "--eval", "metrics", type=click.Choice(_METRICS), multiple=True, help="By default what fits the data."
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Result file (JSON).")
@click.option(
    "--out-form",
    type=click.Choice(("named", "mmaction2")),
    default="named",
    show_default=True,
    help="Names, targets, scores and protocol; or MMAction2's bare list of scores per video.",
)
@click.option(
    "--average-clips", type=click.Choice(_AVERAGES), help="Of a video's views; by default as published."
)
@click.option("--confusion", type=click.Path(path_type=Path, dir_okay=False), help="Confusion matrix (CSV).")
@click.option("--per-class", is_flag=True, help="Also each class's accuracy.")
@click.option(
    "--batch-size", type=click.IntRange(1), default=1, show_default=True, help="Videos read together."
)
@click.option(
    "--max-views", type=click.IntRange(1), default=8, show_default=True, help="Clips per forward pass."
)
@click.option(
    "--workers", type=click.IntRange(0), default=2, show_default=True, help="Processes that read videos."
)
@click.option("--precision", type=click.Choice(("float32", "bfloat16", "float16")), default="float32")
@click.option("--device", help="Such as cpu or cuda:1; by default this process's GPU if there is one.")
def test_command(
    model: str,
    checkpoint: str,
    data: str,
    metrics: tuple[str, ...],
    out: Path | None,
    out_form: str,
    average_clips: str | None,
    confusion: Path | None,
    per_class: bool,
    batch_size: int,
    max_views: int,
    workers: int,
    precision: str,
    device: str | None,
) -> None:
    """Scores CHECKPOINT (a file, or a tag such as default) of MODEL on DATA.

    A file that a training of this library wrote brings its own network, classes and preprocessing. Under
    torchrun every video is scored by one process.
    """
    from slowfast_zoo.evaluation.evaluate import evaluate
    from slowfast_zoo.runtime.distributed import join

    network = _load(model, checkpoint)
    dataset = open_data(data, network.clip_spec, "test", labels=network.labels)
    group = join(device)
    result = evaluate(
        network,
        dataset,
        metrics=metrics,
        average=average_clips,
        batch_size=batch_size,
        max_views=max_views,
        workers=workers,
        device=group.device,
        precision=precision,  # type: ignore[arg-type]  # click has checked it
    )
    if not group.first:
        return
    click.echo(f"{len(result.names)} of {len(dataset)} decoded")
    for name, value in result.metrics.items():
        click.echo(f"{name}: {value:.4f}")
    if per_class:
        for row in result.per_class():
            click.echo(f"  {row['label']}: {row['accuracy']:.4f} of {row['videos']}")
    for name, error in result.failed:
        click.echo(f"not decoded: {name}: {error}", err=True)
    if confusion is not None:
        result.save_confusion(confusion)
    if out is not None:
        result.save(out, out_form)  # type: ignore[arg-type]  # click has checked it


def _load(model: str, checkpoint: str) -> SlowFast:
    from slowfast_zoo.training.state import load_trained
    from slowfast_zoo.zoo import create_model

    path = Path(checkpoint)
    if path.is_file():
        trained = load_trained(path)
        return trained if trained is not None else create_model(model, weights=path)
    if path.suffix or path.is_absolute():
        raise CheckpointError(f"There is no checkpoint {path}.")
    return create_model(model, weights=checkpoint)
