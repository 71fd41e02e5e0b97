"""``slowfast-zoo download``, ``convert``, ``push`` and ``publish``: weights in and out."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from slowfast_zoo.errors import CheckpointError, SlowFastZooError, quoted
from slowfast_zoo.weights.catalog import get_weights, list_weights
from slowfast_zoo.weights.catalog.entry import Dialect, WeightEntry

if TYPE_CHECKING:
    from slowfast_zoo.network.slowfast import SlowFast
    from slowfast_zoo.weights.checkpoint.reading import Checkpoint

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("download")
@click.argument("model", required=False)
@click.argument("tag", required=False)
@click.option("--all", "everything", is_flag=True, help="Every weight of MODEL, or of every model.")
@click.option("--to", "folder", type=_FOLDER, help="Folder to fill instead of the cache.")
def download_command(model: str | None, tag: str | None, everything: bool, folder: Path | None) -> None:
    """Fetches and verifies the publishers' files of MODEL, its weights TAG.

    A folder that was filled with --to serves machines without a network: copy it there and set
    SLOWFAST_ZOO_MIRROR to its path. Files that can't be had are reported at the end; exit status 1.
    """
    from slowfast_zoo.weights.store import fetch_weights

    if (model is None and not everything) or (tag is not None and everything):
        raise click.UsageError("Give a MODEL with or without a TAG, or --all with or without a MODEL.")
    entries = list_weights(model) if everything else [get_weights(str(model), tag or "default")]

    def fetch(entry: WeightEntry) -> str:
        fetched = fetch_weights(entry, folder=folder)
        trust = "verified" if fetched.verified else "its publisher gives no hash"
        return f"{fetched.path} ({fetched.path.stat().st_size / 1e6:.1f} MB, {trust})"

    _for_each([entry for entry in entries if entry.urls], fetch)
    if folder is not None:
        click.echo(f"On a machine without a network: SLOWFAST_ZOO_MIRROR={folder.resolve()}")


@click.command("convert")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("folder", type=_FOLDER)
@click.option("--model", help="The network in FILE; by default told from its content.")
@click.option("--tag", help="Whose network, input and classes: a weight tag of the model.")
@click.option("--dialect", type=click.Choice(get_args(Dialect)), help="Whose parameter names FILE has.")
@click.option(
    "--labels", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Class names, one a line."
)
def convert_command(
    file: Path, folder: Path, model: str | None, tag: str | None, dialect: str | None, labels: Path | None
) -> None:
    """Turns any publisher's FILE into a FOLDER that from_pretrained reads and push publishes."""
    from slowfast_zoo.weights.saved.hub import save_pretrained

    if tag is not None and model is None:
        raise click.UsageError("--tag belongs to a --model.")
    converted = _convert(file, model, tag, dialect)
    if labels is not None:
        from slowfast_zoo.network.slowfast import check_labels

        names = labels.read_text(encoding="utf-8").splitlines()
        converted.labels = check_labels(names, converted.spec.num_classes)
    save_pretrained(converted, folder)
    classes = f"{converted.spec.num_classes} classes" + ("" if converted.labels else " without names")
    click.echo(f"{folder}: {converted.provenance['model']}, {classes}")


@click.command("push")
@click.argument("folder", type=_FOLDER)
@click.argument("repo_id")
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option("--replace-card", is_flag=True, help="Write over the model card that the repository has.")
@click.option("--message", help="Title of the commit.")
def push_command(folder: Path, repo_id: str, private: bool, replace_card: bool, message: str | None) -> None:
    """Publishes a saved model's FOLDER as the Hub repository REPO_ID ("owner/name").

    The token is the one of 'hf auth login' or HF_TOKEN. The commit's hash is printed: pin it as revision.
    """
    from slowfast_zoo.weights.saved.hub import push_folder

    click.echo(
        push_folder(
            folder, repo_id, private=private or None, replace_card=replace_card, commit_message=message
        )
    )


@click.command("publish")
@click.argument("organization")
@click.argument("pattern", default="*")
@click.option("--dry-run", is_flag=True, help="Fetch and convert, but write nothing to the Hub.")
def publish_command(organization: str, pattern: str, dry_run: bool) -> None:
    """For maintainers: converts every published weight and publishes it under ORGANIZATION.

    PATTERN is a shell pattern for "model/tag", such as '*r50_4x16x1/pyslowfast*'. What can't be reached is
    skipped and reported at the end; exit status 1. The printed revisions go into the catalog.
    """
    from slowfast_zoo.weights.saved.hub import check_repo_id, push_to_hub
    from slowfast_zoo.zoo import create_model

    check_repo_id(f"{organization}/name")
    entries = [
        entry for entry in list_weights() if fnmatch.fnmatchcase(f"{entry.model}/{entry.tag}", pattern)
    ]
    if not entries:
        raise click.ClickException(
            f"No weight's 'model/tag' fits '{pattern}'; see 'slowfast-zoo list --all'."
        )

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
            failed.append(f"{entry.model}  {entry.tag}: {error}")
            outcome = "failed"
        click.echo(f"{entry.model}  {entry.tag}: {outcome}")
    for line in failed:
        click.echo(line, err=True)
    if failed:
        click.echo(f"{len(failed)} of {len(entries)} failed.", err=True)
        raise click.exceptions.Exit(1)


def _convert(file: Path, model: str | None, tag: str | None, dialect: str | None) -> SlowFast:
    from slowfast_zoo.weights.checkpoint.loading import build, identify, spec_in_file
    from slowfast_zoo.weights.checkpoint.reading import read_checkpoint

    checkpoint = read_checkpoint(file, dialect=dialect)
    model = model or _model_of(checkpoint)
    if tag is None and dialect is None:
        entry, spec = identify(model, checkpoint)
    else:
        entry = get_weights(model, tag or "default")
        spec = spec_in_file(checkpoint, entry.model_spec)
    converted = build(spec, checkpoint)
    converted.clip_spec = entry.clip_spec
    if spec.num_classes == entry.model_spec.num_classes:
        converted.labels = entry.labels
    converted.provenance = {
        "model": entry.model,
        "file": file.name,
        "sha256": checkpoint.sha256,
        "source": entry.source,
        "license": entry.license,
    }
    return converted


def _model_of(checkpoint: Checkpoint) -> str:
    """The only model of the catalog that a file can be: by its hash, else by names and shapes."""
    from slowfast_zoo.weights.checkpoint.loading import match_rows, published_rows

    fitting = match_rows(checkpoint, list_weights())
    models = list(dict.fromkeys(row.model for row in published_rows(checkpoint, fitting) or fitting))
    if len(models) != 1:
        what = f"may be {quoted(models)}" if models else "is no network of the catalog"
        raise CheckpointError(f"'{checkpoint.path}' {what}; say with --model which one is meant.")
    return models[0]


def _metrics(entry: WeightEntry) -> dict[str, float | str]:
    metrics = entry.metrics
    scores = {"top1": metrics.top1, "top5": metrics.top5, "mean_ap": metrics.mean_ap}
    return {name: score for name, score in scores.items() if score is not None} | {
        "data": f"{entry.training_data}, validation",
        "protocol": metrics.protocol,
        "measured_by": entry.publisher,
    }
