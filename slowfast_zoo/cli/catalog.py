"""``slowfast-zoo list`` and ``describe``: what exists."""

from __future__ import annotations

import json

import click

from slowfast_zoo.cli.models import ModelRef, model_argument
from slowfast_zoo.cli.options import command, echo, json_option
from slowfast_zoo.errors import UnknownNameError
from slowfast_zoo.weights.catalog import get_weights, list_models, list_weights
from slowfast_zoo.weights.catalog.entry import WeightEntry

_COLUMNS = ("model", "weights", "data", "top-1", "top-5", "mAP", "views")


@command("list", "list", "list '*r50*' --publisher pyslowfast")
@click.argument("pattern", default="*")
@click.option("--publisher", help="Only weights whose tag begins so, such as mmaction2 or pyslowfast.")
@click.option("--data", help="Only weights trained on this data, such as Kinetics or Charades.")
@click.option("--all", "superseded", is_flag=True, help="Also files that their publisher has replaced.")
@json_option
def list_command(
    pattern: str, publisher: str | None, data: str | None, superseded: bool, as_json: bool
) -> None:
    """Lists the models and their weights, those of pretrained=True with a star.

    PATTERN is a shell pattern for the model's name, such as '*r50*'.
    """
    rows = [
        entry
        for model in list_models(pattern)
        for entry in list_weights(model)
        if (superseded or as_json or not entry.superseded)
        and (publisher is None or entry.publisher.startswith(publisher.lower()))
        and (data is None or data.lower() in entry.training_data.lower())
    ]
    if as_json:
        echo(json.dumps([entry.to_dict() for entry in rows], indent=1))
        return
    if not rows:
        raise UnknownNameError("Nothing fits; 'slowfast-zoo list' shows everything.")
    table = [_COLUMNS, *(_cells(entry) for entry in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(_COLUMNS))]
    for cells in table:
        echo("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


@command("describe", "describe slowfast_r50_4x16x1", "describe work_dirs/finetune-data/model")
@model_argument
def describe_command(model: ModelRef) -> None:
    """Says what MODEL reads, costs and scored."""
    from slowfast_zoo.description import describe

    echo(describe(model.entry.model, model.entry.tag) if model.entry else describe(model.load()))


def _cells(entry: WeightEntry) -> tuple[str, ...]:
    metrics = entry.metrics
    scores = [
        "" if value is None else f"{value:.2f}" for value in (metrics.top1, metrics.top5, metrics.mean_ap)
    ]
    star = " *" if get_weights(entry.model) is entry else ""
    views = f"{metrics.views[0]}x{metrics.views[1]}"
    return (entry.model, entry.tag + star, entry.training_data, *scores, views)
