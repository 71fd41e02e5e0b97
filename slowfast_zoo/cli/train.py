"""``slowfast-zoo train``: a published recipe, or a model's own, on files or on the procedural dataset."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from slowfast_zoo.errors import DataError, SpecError, UnknownNameError, did_you_mean

if TYPE_CHECKING:
    from slowfast_zoo.data.dataset import ClipDataset
    from slowfast_zoo.network.slowfast import SlowFast
    from slowfast_zoo.spec import ClipSpec
    from slowfast_zoo.training.plan import Plan
    from slowfast_zoo.training.recipe import Recipe, TrainConfig

Purpose = Literal["train", "validate", "test"]
CAMERA_MOTION = "camera-motion"
"""What names the procedural dataset where data is asked for."""
_TRAINING_CLIPS, _HELD_OUT_CLIPS = 1_000_000, 1000
_PLAIN_SHARE = 0.4
"""Plain clips among those for training; held-out ones cover the whole range."""
_HELD_OUT_SEED = 1_000_003


@click.command("train")
@click.argument("model_or_recipe")
@click.argument("data", nargs=-1)
@click.option("--work-dir", type=click.Path(path_type=Path), help="Folder of log and checkpoints.")
@click.option("--validate", is_flag=True, help="Score the validation data every few epochs; keep the best.")
@click.option("--resume", is_flag=True, help="Go on where the training in the work directory stopped.")
@click.option("--init", "start", metavar="TAG|FILE", help="Weights to start from instead of the recipe's.")
@click.option("--from-scratch", is_flag=True, help="Start from random weights, whatever the recipe says.")
@click.option("--seed", type=click.IntRange(0), help="Of weights, order, augmentation and dropout.")
@click.option("--deterministic", is_flag=True, help="Deterministic algorithms only.")
@click.option("--epochs", type=int, help="Passes over the data.")
@click.option("--batch-size", type=int, help="Clips per forward pass in each process; scales the rate.")
@click.option("--lr", type=float, help="Learning rate for the batch that the recipe names.")
@click.option("--precision", help="float32, bfloat16 or float16.")
@click.option("--workers", type=int, help="Processes that read clips, for each training process.")
@click.option("--device", help="Such as cpu or cuda:1; by default this process's GPU if there is one.")
@click.option(
    "--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Any other field of TrainConfig."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
def train_command(
    model_or_recipe: str,
    data: tuple[str, ...],
    work_dir: Path | None,
    validate: bool,
    resume: bool,
    start: str | None,
    from_scratch: bool,
    seed: int | None,
    deterministic: bool,
    epochs: int | None,
    batch_size: int | None,
    lr: float | None,
    precision: str | None,
    workers: int | None,
    device: str | None,
    settings: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Trains MODEL_OR_RECIPE on DATA: training data, then validation data.

    A model's name means the recipe of its default weights. The recipe camera-motion makes its own data. On
    several GPUs or machines: torchrun --nproc-per-node 8 --no-python slowfast-zoo train ...
    """
    import torch

    from slowfast_zoo.runtime.distributed import join
    from slowfast_zoo.training.plan import Plan
    from slowfast_zoo.training.state import load_trained
    from slowfast_zoo.training.train import train
    from slowfast_zoo.weights.saved.hub import save_pretrained

    recipe = _recipe(model_or_recipe)
    named = {"seed": seed, "epochs": epochs, "batch_size": batch_size, "lr": lr, "precision": precision}
    given = {name: value for name, value in (named | {"workers": workers}).items() if value is not None}
    config = _configured(recipe.config, given, settings, deterministic)
    if validate and len(data) < 2 and recipe.name != CAMERA_MOTION:
        raise click.UsageError("--validate needs validation data behind the training data.")
    if not data and recipe.name != CAMERA_MOTION:
        raise click.UsageError(f"The recipe {recipe.name} needs DATA to train on.")
    training = open_data(data[0] if data else CAMERA_MOTION, recipe.clip_spec, "train", recipe=recipe)
    labels = getattr(training, "labels", None) or recipe.labels
    validation = None
    if validate:
        held_out = data[1] if len(data) > 1 else CAMERA_MOTION
        validation = open_data(held_out, recipe.clip_spec, "validate", labels=labels)
    folder = work_dir or Path("work_dirs") / recipe.name.replace("/", "-")
    group = join(device)
    if group.first:
        plan = Plan.of(config, len(training), group.world)
        click.echo(_summary(recipe, config, plan, data[0] if data else recipe.dataset, folder))
    if dry_run:
        return
    torch.manual_seed(config.seed)
    fresh = from_scratch or resume
    model = _model(recipe, labels, None if fresh else start, use_recipe=not fresh)
    result = train(
        model,
        training,
        config,
        work_dir=folder,
        validation=validation,
        resume=resume,
        device=group.device,
    )
    if group.first:
        best = {name: round(value, 4) for name, value in result.best_metrics.items()}
        click.echo(f"Trained {result.steps} steps: {result.best or result.last} {best or ''}".rstrip())
        save_pretrained(load_trained(result.best or result.last) or model, folder / "model")
        click.echo(f"The model as a folder, for from_pretrained and predict: {folder / 'model'}")


def open_data(
    source: str,
    clip_spec: ClipSpec,
    purpose: Purpose,
    *,
    labels: Sequence[str] | None = None,
    recipe: Recipe | None = None,
) -> ClipDataset:
    """The dataset of that name or path.

    Args:
        source: "camera-motion", a folder or a list.
        clip_spec: how its videos become clips.
        purpose: "train": random clips; "validate": one center clip; "test": the views of the spec.
        labels: class names that its own have to fit; None: as it has them.
        recipe: says more about training clips.

    Raises:
        DataError: there is no such data, or it doesn't hold together.
    """
    if source == CAMERA_MOTION:
        from slowfast_zoo.data.motion.clips import MotionClips

        training = purpose == "train"
        return MotionClips(
            _TRAINING_CLIPS if training else _HELD_OUT_CLIPS,
            size=clip_spec.test_crop,
            num_frames=clip_spec.num_frames,
            fps=clip_spec.fps or 10.0,
            seed=0 if training else _HELD_OUT_SEED,
            plain=_PLAIN_SHARE if training else 0.0,
        )
    if not Path(source).exists():
        raise DataError(f"There is no dataset at {source}; give a folder or a list, or '{CAMERA_MOTION}'.")
    from slowfast_zoo.data.dataset import open_dataset
    from slowfast_zoo.data.lists import read_annotations

    if purpose == "train":
        known = None if recipe is None or labels is not None else recipe.model_spec.num_classes
        annotations = read_annotations(source, labels=labels, num_classes=known)
        pairs = () if recipe is None else recipe.flip_pairs
        return open_dataset(annotations, clip_spec, train=True, flip_pairs=pairs)
    if purpose == "validate":
        clip_spec = clip_spec.replace(test_crop=clip_spec.crop)
    annotations = read_annotations(source, labels=labels)
    return open_dataset(annotations, clip_spec, views="quick" if purpose == "validate" else "published")


def _recipe(name: str) -> Recipe:
    from slowfast_zoo.training.published import get_recipe, list_recipes
    from slowfast_zoo.weights.catalog import DEFAULT_TAGS

    if name in DEFAULT_TAGS:
        tag = DEFAULT_TAGS[name]
        return get_recipe(tag if tag == CAMERA_MOTION else f"{name}/{tag}")
    try:
        return get_recipe(name)
    except UnknownNameError as error:
        near = did_you_mean(name, DEFAULT_TAGS)
        if not near or did_you_mean(name, list_recipes()):
            raise
        raise UnknownNameError(f"There is no model or recipe '{name}'.{near}") from error


def _configured(
    config: TrainConfig, given: dict[str, Any], settings: tuple[str, ...], deterministic: bool
) -> TrainConfig:
    changes = {**given, "deterministic": True} if deterministic else dict(given)
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise SpecError(f"--set {setting} isn't FIELD=VALUE, such as clips_per_epoch=1000.")
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = value
        changes[name] = tuple(parsed) if isinstance(parsed, list) else parsed
    return config.replace(**changes)


def _model(recipe: Recipe, labels: Sequence[str], start: str | None, *, use_recipe: bool) -> SlowFast:
    """The recipe's network with those classes, and the weights to start from."""
    from slowfast_zoo.network.slowfast import SlowFast
    from slowfast_zoo.zoo import create_model

    spec = recipe.model_spec.replace(num_classes=len(labels))
    model = SlowFast(spec)
    model.clip_spec, model.labels = recipe.clip_spec, tuple(labels)
    model.provenance = {"model": recipe.model, "recipe": recipe.name}
    source = (recipe.model, start) if start else recipe.initialize_from if use_recipe else None
    if source is not None:
        name, tag = source
        weights = Path(tag) if Path(tag).is_file() else tag
        # Weights of another length of clip fit too: no tensor depends on it.
        loaded = create_model(name, weights=weights, num_classes=spec.num_classes)
        model.load_state_dict(loaded.state_dict())
    return model


def _summary(recipe: Recipe, config: TrainConfig, plan: Plan, data: str, folder: Path) -> str:
    lines = [
        f"Recipe {recipe.name}: {recipe.model} on {data}; into {folder}",
        plan.describe(config),
    ]
    if recipe.initialize_from:
        lines.append(f"The recipe starts from {' '.join(recipe.initialize_from)}.")
    if recipe.departs:
        lines.append(f"Not as published: {recipe.departs}")
    return "\n".join(lines)
