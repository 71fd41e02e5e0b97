"""``slowfast-zoo download``, ``convert``, ``push`` and ``publish``: weights in and out."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Callable
from pathlib import Path

import click

from slowfast_zoo.cli.models import ModelRef, ModelType, model_argument, parse
from slowfast_zoo.cli.options import FILE, FOLDER, command, echo
from slowfast_zoo.errors import InputError, SlowFastZooError
from slowfast_zoo.weights.catalog import list_weights
from slowfast_zoo.weights.catalog.entry import WeightEntry


@command("download", "download slowfast_r50_8x8x1:pyslowfast/k400", "download --all --to mirror/")
@click.argument("model", required=False, type=ModelType())
@click.option("--all", "everything", is_flag=True, help="Every weight of MODEL, or of every model.")
@click.option("--to", "folder", type=FOLDER, help="Folder to fill instead of the cache.")
def download_command(model: str | None, everything: bool, folder: Path | None) -> None:
    """Fetches and verifies the publisher's file of MODEL, a NAME or NAME:TAG.

    A folder that was filled with --to serves machines without a network: copy it there and set
    SLOWFAST_ZOO_MIRROR to its path. Files that can't be had are reported at the end; exit status 1.
    """
    from slowfast_zoo.weights.store import fetch_weights

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

    _for_each([entry for entry in entries if entry.urls], fetch)
    if folder is not None:
        echo(f"On a machine without a network: SLOWFAST_ZOO_MIRROR={folder.resolve()}")


@command(
    "convert",
    "convert checkpoint.pyth my_model/ --like slowfast_r50_8x8x1:pyslowfast/k400",
    "convert slowfast_r50_4x16x1 my_model/",
)
@model_argument
@click.argument("folder", type=FOLDER)
@click.option("--labels", type=FILE, help="File with one class name a line.")
def convert_command(model: ModelRef, folder: Path, labels: Path | None) -> None:
    """Turns any publisher's file, or another MODEL, into a FOLDER that every command and push take."""
    from slowfast_zoo.weights.saved.hub import save_pretrained

    converted = model.load()
    if labels is not None:
        converted.labels = labels.read_text(encoding="utf-8").splitlines()
    save_pretrained(converted, folder)
    classes = f"{converted.spec.num_classes} classes" + ("" if converted.labels else " without names")
    echo(f"{folder}: {converted.provenance.get('model', 'a network of no catalog')}, {classes}")


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

    echo(
        push_folder(
            folder, repo_id, private=private or None, replace_card=replace_card, commit_message=message
        )
    )


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


def _metrics(entry: WeightEntry) -> dict[str, float | str]:
    metrics = entry.metrics
    scores = {"top1": metrics.top1, "top5": metrics.top5, "mean_ap": metrics.mean_ap}
    return {name: score for name, score in scores.items() if score is not None} | {
        "data": f"{entry.training_data}, validation",
        "protocol": metrics.protocol,
        "measured_by": entry.publisher,
    }
