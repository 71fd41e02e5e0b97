"""``slowfast-zoo list``, ``describe``, ``download``, ``convert``, ``export``, ``push``, ``publish``: models
and their weights, what exists and how they come in and go out."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slowfast_zoo.cli import options as opt
from slowfast_zoo.cli.models import ModelType, model_argument, model_option
from slowfast_zoo.cli.options import FILE, FOLDER, NEW_FILE, NEW_FOLDER, check_absent, choice, command, echo
from slowfast_zoo.errors import InputError, SlowFastZooError, UnknownNameError, counted
from slowfast_zoo.files import kind_of
from slowfast_zoo.inference.export import Format
from slowfast_zoo.naming import ModelRef, parse
from slowfast_zoo.weights.catalog import get_weights, list_models, list_weights
from slowfast_zoo.weights.catalog.entry import WeightEntry

if TYPE_CHECKING:
    from slowfast_zoo.network.slowfast import SlowFast

_COLUMNS = ("model", "weights", "data", "top-1", "top-5", "mAP", "views")


@command("list", "list", "list '*r50*' --publisher pyslowfast")
@click.argument("pattern", default="*")
@click.option("--publisher", help="Only weights whose tag begins so, such as mmaction2 or pyslowfast.")
@click.option("--data", help="Only weights trained on this data, such as Kinetics or Charades.")
@click.option(
    "--all",
    "superseded",
    is_flag=True,
    help="Also files that their publisher has replaced; --json always lists them.",
)
@opt.as_json
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
    """Says what MODEL reads and costs; of a name or NAME:TAG also what the publisher's page says."""
    from slowfast_zoo.description import describe

    echo(describe(model.entry.model, model.entry.tag) if model.entry else describe(model.load()))


@command("download", "download slowfast_r50_8x8x1:pyslowfast/k400", "download --all --to mirror/")
@click.argument("model", required=False, type=ModelType())
@click.option("--all", "everything", is_flag=True, help="Every weight of MODEL, or of every model.")
@click.option("--to", "folder", type=NEW_FOLDER, help="Folder to fill instead of the cache.")
def download_command(model: str | None, everything: bool, folder: Path | None) -> None:
    """Fetches and verifies the publisher's file of MODEL, a NAME or NAME:TAG.

    A folder that was filled with --to serves machines without a network: copy it there and set
    SLOWFAST_ZOO_MIRROR to its path. Files that can't be had are reported at the end; exit status 1.
    """
    from slowfast_zoo.weights.download.download import fetch_weights

    if model is None and not everything:
        raise click.UsageError("Give a MODEL, --all, or both for every weight of the MODEL.")
    row = None if model is None else parse(model).entry
    if model is not None and row is None:
        raise InputError(f"'{model}' is there already; 'slowfast-zoo list' shows what can be downloaded.")
    entries = [row] if row and not everything else list_weights(row.model if row else None)

    def fetch(entry: WeightEntry) -> str:
        fetched = fetch_weights(entry, folder=folder)
        trust = "verified" if fetched.verified else "its publisher gives no hash"
        return f"{fetched.path} ({fetched.path.stat().st_size / 1e6:.1f} MB, {trust})"

    published = [entry for entry in entries if entry.urls]
    if not published:
        echo(f"{model}: inside this package, nothing to download.")
    _for_each(published, fetch)
    if folder is not None and published:
        echo(f"On a machine without a network: SLOWFAST_ZOO_MIRROR={folder.resolve()}")


@command(
    "convert",
    "convert checkpoint.pyth my_model/ --like slowfast_r50_8x8x1:pyslowfast/k400",
    "convert slowfast_r50_4x16x1 my_model/",
)
@model_argument
@click.argument("folder", type=NEW_FOLDER)
@click.option(
    "--labels", type=FILE, help="Class names: one a line, '1 name', id,name, JSON or pbtxt; one per class."
)
@opt.overwrite
def convert_command(model: ModelRef, folder: Path, labels: Path | None, overwrite: bool) -> None:
    """Turns a publisher's file or another MODEL into a FOLDER that every command takes."""
    from slowfast_zoo.data.labels import read_labels
    from slowfast_zoo.weights.saved.folder import CARD, CONFIG, WEIGHTS, save_pretrained

    check_absent(*(folder / name for name in (WEIGHTS, CONFIG, CARD)), overwrite=overwrite)
    names = None if labels is None else read_labels(labels).names
    converted = model.load()
    if names is not None:
        converted.labels = names
    save_pretrained(converted, folder, metrics=_measured(model, converted))
    classes = counted(converted.spec.num_classes, "class") + ("" if converted.labels else " without names")
    echo(f"{folder}: {converted.provenance.get('model') or 'a network of no catalog'}, {classes}")


@command(
    "export",
    "export model.onnx --model slowfast_r50_4x16x1",
    "export model.xml --model work_dirs/finetune-data/model --precision bfloat16",
    "export model.xml --precision int8 --calibration clips/ --model slowfast_r50_8x8x1",
)
@click.argument("out", type=NEW_FILE)
@model_option()
@click.option(
    "--format",
    "form",
    type=choice(Format),
    help="What to write.  [default: as OUT's ending says: .onnx, .pt2, .xml]",
)
@opt.engine_precision
@opt.calibration
@opt.min_agreement
@click.option(
    "--size",
    type=opt.SizeType(),
    help="Pixels of a view. For models that score persons: those of your films, as 256x455 for 16:9."
    "  [default: a square with the side that was published]",
)
@opt.count("--repeats", 20, "Timed runs for the proof.")
@opt.overwrite
def export_command(out: Path, model: ModelRef, form: Any, overwrite: bool, **options: Any) -> None:
    """Writes a model to OUT, with a JSON contract, reference frames and the proof beside it.

    The exit status is 1 if the file gives other answers than the model; then nothing is kept. One that
    is slower than the model is kept, with a warning. int8 is calibrated with videos, and its proof is how
    it agrees with float32 on others of them.
    """
    from slowfast_zoo.inference.engines.openvino.calibration import check_calibration
    from slowfast_zoo.inference.export.export import export, files_of

    if options["precision"] != "int8" and (given := opt.typed(["min_agreement"])):
        raise InputError(f"{given}: for --precision int8, which is '{options['precision']}'.")
    check_calibration(*(options[name] for name in ("precision", "calibration", "min_agreement")))
    check_absent(*files_of(out, form), overwrite=overwrite)
    logging.getLogger("slowfast_zoo.inference.export").setLevel(logging.INFO)
    network = model.load()
    written = export(network, out, form, overwrite=overwrite, **options)
    for path in written.files:
        echo(f"{path}  {path.stat().st_size:,} bytes")
    echo(written.proof)


@command("push", "push my_model/ owner/my-model --private")
@click.argument("folder", type=FOLDER)
@click.argument("repo_id")
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option("--replace-card", is_flag=True, help="Write over the model card that the repository has.")
@click.option("--message", help="Title of the commit.")
def push_command(folder: Path, repo_id: str, private: bool, replace_card: bool, message: str | None) -> None:
    """Publishes a saved model's FOLDER as the Hub repository REPO_ID ("owner/name").

    The token is the one of 'hf auth login' or HF_TOKEN. The commit's hash is printed: pin it as revision.
    """
    from slowfast_zoo.weights.saved.hub import push_folder

    options: Any = {"private": private or None, "replace_card": replace_card, "commit_message": message}
    echo(push_folder(folder, repo_id, **options))


@command("publish", "publish my-organization '*r50_4x16x1:pyslowfast*' --dry-run")
@click.argument("organization")
@click.argument("pattern", default="*")
@click.option("--dry-run", is_flag=True, help="Fetch and convert, but write nothing to the Hub.")
def publish_command(organization: str, pattern: str, dry_run: bool) -> None:
    """For maintainers: converts every published weight and publishes it under ORGANIZATION.

    PATTERN is a shell pattern for "model:tag", such as '*r50_4x16x1:pyslowfast*'. What can't be reached is
    skipped and reported at the end; exit status 1. The printed revisions go into the catalog.
    """
    from slowfast_zoo.weights.saved.hub import check_repo_id, push_to_hub
    from slowfast_zoo.zoo import create_model

    check_repo_id(f"{organization}/name")
    entries = [
        entry for entry in list_weights() if fnmatch.fnmatchcase(f"{entry.model}:{entry.tag}", pattern)
    ]
    if not entries:
        raise InputError(f"No weight's 'model:tag' fits '{pattern}'; see 'slowfast-zoo list --all'.")

    def publish(entry: WeightEntry) -> str:
        # The publisher's file again, even where a copy is on the Hub already.
        model = create_model(
            entry.model, weights=dataclasses.replace(entry, hub_repo=None, hub_revision=None)
        )
        repo_id = f"{organization}/{re.sub('[/@]', '.', f'{entry.model}.{entry.tag}')}"
        if dry_run:
            return f"would become {repo_id}"
        revision = push_to_hub(model, repo_id, metrics=_metrics(entry))
        return f'hub_repo="{repo_id}", hub_revision="{revision}"'

    _for_each(entries, publish)


def _cells(entry: WeightEntry) -> tuple[str, ...]:
    metrics = entry.metrics
    scores = [
        "" if value is None else f"{value:.2f}" for value in (metrics.top1, metrics.top5, metrics.mean_ap)
    ]
    star = " *" if get_weights(entry.model) is entry else ""
    views = f"{metrics.views[0]}x{metrics.views[1]}"
    return (entry.model, entry.tag + star, entry.training_data, *scores, views)


def _for_each(entries: list[WeightEntry], action: Callable[[WeightEntry], str]) -> None:
    """Runs an action for each row, failing rows included, and tells how each one ended.

    Raises:
        click.exceptions.Exit: with status 1, when a row failed.
    """
    failed = []
    for entry in entries:
        try:
            outcome = action(entry)
        except SlowFastZooError as error:
            failed.append(f"{entry.model}:{entry.tag}: {error}")
            outcome = "failed"
        echo(f"{entry.model}:{entry.tag}: {outcome}")
    for line in failed:
        echo(line, err=True)
    if failed:
        echo(f"{len(failed)} of {len(entries)} failed.", err=True)
        raise click.exceptions.Exit(1)


def _measured(model: ModelRef, loaded: SlowFast) -> dict[str, Any] | None:
    """What a saved MODEL, or its publisher, says was measured with exactly these weights."""
    from slowfast_zoo.weights.checkpoint.reading import read_checkpoint
    from slowfast_zoo.weights.saved.config import config_in, read_config
    from slowfast_zoo.weights.saved.folder import CONFIG

    if model.path is not None:
        folder = kind_of(model.path) == "folder"
        saved = read_config(model.path / CONFIG) if folder else config_in(read_checkpoint(model.path))
        if saved is not None:
            return saved.metrics
    name, tag = loaded.provenance.get("model"), loaded.provenance.get("tag")
    entry = model.entry or (get_weights(name, tag) if name and tag else None)
    return None if entry is None else _metrics(entry)


def _metrics(entry: WeightEntry) -> dict[str, float | str]:
    metrics = entry.metrics
    scores = {"top1": metrics.top1, "top5": metrics.top5, "mean_ap": metrics.mean_ap}
    return {name: score for name, score in scores.items() if score is not None} | {
        "data": f"{entry.training_data}, validation",
        "protocol": metrics.protocol,
        "measured_by": entry.publisher,
    }
