"""``slowfast-zoo list`` and ``describe``: what exists."""

from __future__ import annotations

import json

import click

from slowfast_zoo.weights.catalog import DEFAULT_TAGS, list_models, list_weights
from slowfast_zoo.weights.catalog.entry import WeightEntry

_COLUMNS = ("model", "weights", "data", "top-1", "top-5", "mAP", "views")


@click.command("list")
@click.argument("pattern", default="*")
@click.option("--publisher", help="Only weights whose tag begins so, such as mmaction2 or pyslowfast.")
@click.option("--data", help="Only weights trained on this data, such as Kinetics or Charades.")
@click.option("--all", "superseded", is_flag=True, help="Also files that their publisher has replaced.")
@click.option("--json", "as_json", is_flag=True, help="Everything that is known of them, as JSON.")
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
        click.echo(json.dumps([entry.to_dict() for entry in rows], indent=1))
        return
    if not rows:
        raise click.ClickException("Nothing fits; 'slowfast-zoo list' shows everything.")
    table = [_COLUMNS, *(_cells(entry) for entry in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(_COLUMNS))]
    for cells in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


@click.command("describe")
@click.argument("model")
@click.argument("tag", default="default")
def describe_command(model: str, tag: str) -> None:
    """Says what MODEL reads, costs and scored, for its weights TAG."""
    from slowfast_zoo.description import describe

    click.echo(str(describe(model, tag)))


def _cells(entry: WeightEntry) -> tuple[str, ...]:
    metrics = entry.metrics
    scores = [
        "" if value is None else f"{value:.2f}" for value in (metrics.top1, metrics.top5, metrics.mean_ap)
    ]
    star = " *" if DEFAULT_TAGS[entry.model] == entry.tag else ""
    views = f"{metrics.views[0]}x{metrics.views[1]}"
    return (entry.model, entry.tag + star, entry.training_data, *scores, views)
