"""``slowfast-zoo test``: a checkpoint's metrics on a dataset, and its result file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from slowfast_zoo.cli.models import ModelRef, model_option
from slowfast_zoo.cli.options import (
    Command,
    choice,
    command,
    data_options,
    device_option,
    echo,
    open_data,
    out_option,
    precision_option,
)
from slowfast_zoo.errors import InputError
from slowfast_zoo.evaluation import Average, Metric
from slowfast_zoo.files import check_writable

if TYPE_CHECKING:
    from slowfast_zoo.data.lists import ReadOptions
    from slowfast_zoo.evaluation.evaluate import Evaluation

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
    "file_form",
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
@data_options
def test_command(
    data: str,
    model: ModelRef,
    metrics: tuple[str, ...],
    out: Path | None,
    file_form: Any,
    average_clips: str | None,
    confusion: Path | None,
    per_class: bool,
    batch_size: int,
    max_views: int,
    workers: int,
    precision: Any,
    device: str | None,
    reading: ReadOptions,
) -> None:
    """Scores a model on DATA, a folder or a list.

    A saved folder or a training's file brings its own network, classes and preprocessing. Under torchrun
    every video is scored by one process. Classes are matched by name, numbers are the model's; weights that
    don't say what their classes are called take the names from --labels, in their own order.
    """
    from slowfast_zoo.data.labels import read_labels
    from slowfast_zoo.evaluation.evaluate import evaluate, format_table
    from slowfast_zoo.runtime.distributed import join

    for path in (out, confusion):
        if path is not None:
            _check_writable(path)
    if average_clips == "none" and (confusion is not None or per_class):
        raise InputError("Scores of single views have no classes to count; average them.")
    network = model.load()
    if confusion is not None and network.spec.activation == "sigmoid":
        raise InputError("A confusion matrix needs one label per video; this model gives several.")
    labels = reading.get("labels")
    if network.labels is None and labels is not None:
        network.labels = read_labels(labels).names
    if reading.get("multi_label") is None:
        reading["multi_label"] = network.spec.activation == "sigmoid"
    dataset = open_data(data, network.clip_spec, "test", reading=reading, like=network)
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
    if out is not None:
        _save(result, out, file_form)
    if confusion is not None and not result.error:
        result.save_confusion(confusion)
    echo(f"{len(result.names)} of {len(dataset)} decoded")
    for name, value in result.metrics.items():
        echo(f"{name}: {value:.4f}")
    if per_class and not result.error:
        echo(format_table(result.class_table()))
    for name, error in result.failed:
        echo(f"not decoded: {name}: {error}", err=True)
    if result.error:
        raise InputError(result.error)


def _check_writable(path: Path) -> None:
    try:
        check_writable(path)
    except OSError as error:
        raise InputError(f"The result file {path} can't be written: {error}.") from error


def _save(result: Evaluation, path: Path, form: Any) -> None:
    try:
        result.save(path, form)
    except InputError as error:  # MMAction2's form can't say that videos are missing
        named = path.with_name(f"{path.stem}.named{path.suffix}")
        result.save(named)
        raise InputError(f"{error} The scores are in {named}.") from error
