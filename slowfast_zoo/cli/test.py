"""``slowfast-zoo test``: a checkpoint's metrics on a dataset, and its result file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from slowfast_zoo.cli.models import ModelRef, model_option
from slowfast_zoo.cli.options import (
    Command,
    choice,
    command,
    device_option,
    echo,
    open_data,
    out_option,
    precision_option,
)
from slowfast_zoo.evaluation import Average, Metric

_METRICS = get_args(Metric)


class _SpacedEval(Command):
    """Also takes ``--eval a b`` for ``--eval a --eval b``, as MMAction2's ``tools/test.py`` does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        inside = False
        for arg in args:
            more = inside and arg in _METRICS and spread[-1] != "--eval"
            spread += ["--eval", arg] if more else [arg]
            inside = arg == "--eval" or (inside and arg in _METRICS)
        return super().parse_args(ctx, spread)


@command(
    "test",
    "test val_list.txt --model work_dirs/r50/best.safetensors --eval top_k_accuracy",
    "test val/ --model slowfast_r50_4x16x1 --out scores.json",
    cls=_SpacedEval,
)
@click.argument("data")
@model_option(default=None, required=True)
@click.option("--eval", "metrics", type=choice(Metric), multiple=True, help="By default what fits the data.")
@out_option("Result file (JSON).")
@click.option(
    "--format",
    "form",
    type=click.Choice(("named", "mmaction2")),
    default="named",
    show_default=True,
    help="Of --out: names, targets, scores and protocol; or MMAction2's bare list of scores per video.",
)
@click.option("--average-clips", type=choice(Average), help="Of a video's views; by default as published.")
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
@precision_option
@device_option
def test_command(
    data: str,
    model: ModelRef,
    metrics: tuple[str, ...],
    out: Path | None,
    form: Any,
    average_clips: str | None,
    confusion: Path | None,
    per_class: bool,
    batch_size: int,
    max_views: int,
    workers: int,
    precision: Any,
    device: str | None,
) -> None:
    """Scores a model on DATA, a folder or a list.

    A saved folder or a training's file brings its own network, classes and preprocessing. Under torchrun
    every video is scored by one process.
    """
    from slowfast_zoo.evaluation.evaluate import evaluate
    from slowfast_zoo.runtime.distributed import join

    network = model.load()
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
        precision=precision,
    )
    if not group.first:
        return
    echo(f"{len(result.names)} of {len(dataset)} decoded")
    for name, value in result.metrics.items():
        echo(f"{name}: {value:.4f}")
    if per_class:
        for row in result.per_class():
            echo(f"  {row['label']}: {row['accuracy']:.4f} of {row['videos']}")
    for name, error in result.failed:
        echo(f"not decoded: {name}: {error}", err=True)
    if confusion is not None:
        result.save_confusion(confusion)
    if out is not None:
        result.save(out, form)
