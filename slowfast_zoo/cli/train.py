"""``slowfast-zoo train``: a published recipe, or a model's own, on files or on the procedural dataset."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slowfast_zoo.cli.models import ModelRef, model_option
from slowfast_zoo.cli.options import (
    CAMERA_MOTION,
    choice,
    command,
    data_options,
    device_option,
    echo,
    open_data,
)
from slowfast_zoo.errors import DataError, SpecError, UnknownNameError, did_you_mean
from slowfast_zoo.runtime.precision import Precision

if TYPE_CHECKING:
    from slowfast_zoo.data.dataset import VideoDataset
    from slowfast_zoo.data.lists import ReadOptions
    from slowfast_zoo.data.motion.clips import MotionClips
    from slowfast_zoo.network.slowfast import SlowFast
    from slowfast_zoo.spec import ModelSpec
    from slowfast_zoo.training.recipe import Recipe, TrainConfig
    from slowfast_zoo.training.schedule import Plan


@command(
    "train",
    "train slowfast_r50_4x16x1_256e_kinetics400_rgb train_list.txt val_list.txt --validate",
    "train camera-motion --work-dir work_dirs/tiny --seed 0",
)
@click.argument("recipe")
@click.argument("data", nargs=-1)
@click.option("--work-dir", type=click.Path(path_type=Path), help="Folder of log and checkpoints.")
@click.option("--validate", is_flag=True, help="Score the validation data every few epochs; keep the best.")
@click.option("--resume", is_flag=True, help="Go on where the training in the work directory stopped.")
@model_option(default=None, help_text="Weights to start from instead of the recipe's: a MODEL")
@click.option("--from-scratch", is_flag=True, help="Start from random weights, whatever the recipe says.")
@click.option("--recipe-labels", is_flag=True, help="DATA's numbers are classes of the recipe's dataset.")
@click.option("--num-classes", type=click.IntRange(1), help="Of DATA with numbers that nothing names.")
@click.option("--seed", type=click.IntRange(0), help="Of weights, order, augmentation and dropout.")
@click.option("--deterministic", is_flag=True, help="Deterministic algorithms only.")
@click.option("--epochs", type=int, help="Passes over the data.")
@click.option("--batch-size", type=int, help="Clips per forward pass in each process; scales the rate.")
@click.option("--lr", type=float, help="Learning rate for the batch that the recipe names.")
@click.option("--precision", type=choice(Precision), help="Of the network's arithmetic.")
@click.option("--workers", type=int, help="Processes that read clips, for each training process.")
@device_option
@click.option(
    "--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Any other field of TrainConfig."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
@data_options
def train_command(
    recipe: str,
    data: tuple[str, ...],
    work_dir: Path | None,
    validate: bool,
    resume: bool,
    model: ModelRef | None,
    from_scratch: bool,
    recipe_labels: bool,
    num_classes: int | None,
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
    reading: ReadOptions,
) -> None:
    """Trains by a RECIPE on DATA: training data, then validation data.

    RECIPE is a publisher's config name, or a model's name for the recipe of its default weights. The
    recipe camera-motion makes its own data. The network gets the classes of the data: their names are those
    of its folders or labels; a list of numbers is named by --labels or --recipe-labels, or --num-classes says
    that it has no names. On several GPUs or machines: torchrun --nproc-per-node 8 --no-python slowfast-zoo
    train ...
    """
    import torch

    from slowfast_zoo.runtime.distributed import join
    from slowfast_zoo.training.schedule import Plan
    from slowfast_zoo.training.train import train
    from slowfast_zoo.weights.saved.file import read_file
    from slowfast_zoo.weights.saved.hub import save_pretrained

    chosen = _recipe(recipe)
    named = {"seed": seed, "epochs": epochs, "batch_size": batch_size, "lr": lr, "precision": precision}
    given = {name: value for name, value in (named | {"workers": workers}).items() if value is not None}
    config = _configured(chosen.config, given, settings, deterministic)
    if validate and len(data) < 2 and chosen.name != CAMERA_MOTION:
        raise click.UsageError("--validate needs validation data behind the training data.")
    if not data and chosen.name != CAMERA_MOTION:
        raise click.UsageError(f"The recipe {chosen.name} needs DATA to train on.")
    if recipe_labels:
        if reading["labels"] is not None:
            raise click.UsageError("--labels and --recipe-labels both name the classes; give one of them.")
        reading["labels"] = chosen.labels
    if chosen.model_spec.activation == "sigmoid":
        reading["multi_label"] = True
    source = data[0] if data else CAMERA_MOTION
    training = open_data(source, chosen.clip_spec, "train", reading=reading, recipe=chosen)
    _check_numbers(chosen, training, num_classes)
    validation = None
    if validate:
        held_out = data[1] if len(data) > 1 else CAMERA_MOTION
        validation = open_data(held_out, chosen.validation_spec, "validate", reading=reading, like=training)
    spec = _spec(chosen, training)
    folder = work_dir or Path("work_dirs") / chosen.name.replace("/", "-")
    group = join(device)
    if group.first:
        plan = Plan.of(config, len(training), group.world)
        echo(_summary(chosen, config, plan, data[0] if data else chosen.dataset, folder))
        echo(_named(chosen, training.labels, spec.num_classes))
    if dry_run:
        return
    torch.manual_seed(config.seed)
    fresh = from_scratch or resume
    network = _model(chosen, spec, training.labels, None if fresh else model, use_recipe=not fresh)
    result = train(
        network,
        training,
        config,
        work_dir=folder,
        validation=validation,
        resume=resume,
        device=group.device,
    )
    if group.first:
        echo(f"Trained {result.steps} steps: {result.best or result.last}")
        if result.best_metrics:
            echo(", ".join(f"{name} {value:.4g}" for name, value in result.best_metrics.items()))
        save_pretrained(read_file(result.best or result.last), folder / "model")
        echo(f"The model as a folder, for predict --model and from_pretrained(Path(...)): {folder / 'model'}")


def _recipe(name: str) -> Recipe:
    from slowfast_zoo.training.published import get_recipe, list_recipes
    from slowfast_zoo.weights.catalog import get_weights, list_models

    if name in list_models():
        tag = get_weights(name).tag
        return get_recipe(tag if tag == CAMERA_MOTION else f"{name}/{tag}")
    try:
        return get_recipe(name)
    except UnknownNameError as error:
        near = did_you_mean(name, list_models())
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
    if changes.get("optimizer", config.optimizer) != config.optimizer and "lr" not in changes:
        raise SpecError(f"The recipe's rate {config.lr:g} is that of {config.optimizer}; give --lr with it.")
    return config.replace(**changes)


def _check_numbers(recipe: Recipe, dataset: VideoDataset | MotionClips, num_classes: int | None) -> None:
    """Numbers without names are other classes than the recipe's, or so many as the user says.

    Raises:
        DataError: nobody knows which classes they are, or another number of them was said.
    """
    from slowfast_zoo.data.dataset import VideoDataset

    found = len(dataset.labels or ())
    if isinstance(dataset, VideoDataset) and dataset.labels is None:
        found = dataset.annotations.num_classes
        if num_classes is not None and num_classes > found:
            dataset.annotations = dataclasses.replace(dataset.annotations, num_classes=num_classes)
            return
        if num_classes is None and found != recipe.model_spec.num_classes:
            raise DataError(
                f"The data number {found} classes without names, the recipe has"
                f" {recipe.model_spec.num_classes}: --labels FILE names them, --recipe-labels says that they"
                f" are classes of {recipe.dataset}, --num-classes {found} that they are others without names."
            )
    if num_classes not in (None, found):
        raise DataError(f"The data have {found} classes, --num-classes says {num_classes}.")


def _spec(recipe: Recipe, dataset: VideoDataset | MotionClips) -> ModelSpec:
    """The recipe's network for the classes of the data."""
    annotations = getattr(dataset, "annotations", None)
    if annotations is None:
        return recipe.model_spec.replace(num_classes=len(dataset.labels or ()))
    activation = "sigmoid" if annotations.multi_label else "softmax"
    return recipe.model_spec.replace(num_classes=annotations.num_classes, activation=activation)


def _named(recipe: Recipe, labels: Sequence[str] | None, classes: int) -> str:
    """What the classes are called, and what follows from that."""
    if labels is None:
        text = (
            f"{classes} classes without names; --labels FILE names them, --recipe-labels as in"
            f" {recipe.dataset}."
        )
    else:
        text = f"{classes} classes: {', '.join(labels[:3])}{' ...' if classes > 3 else '.'}"
    if recipe.flip_pairs and labels != recipe.labels:
        text += " No flips: only of the recipe's own classes it is known which ones a flip exchanges."
    return text


def _model(
    recipe: Recipe,
    spec: ModelSpec,
    labels: Sequence[str] | None,
    start: ModelRef | None,
    *,
    use_recipe: bool,
) -> SlowFast:
    """The network for those classes, and the weights to start from."""
    from slowfast_zoo.network.slowfast import SlowFast
    from slowfast_zoo.zoo import create_model

    model = SlowFast(spec)
    model.clip_spec, model.labels = recipe.clip_spec, None if labels is None else tuple(labels)
    model.provenance = {"model": recipe.model, "recipe": recipe.name}
    loaded = None
    if start is not None:
        loaded = start.load()
        if loaded.num_classes != spec.num_classes or loaded.labels not in (None, model.labels):
            loaded.reset_classifier(spec.num_classes)
    elif use_recipe and recipe.initialize_from:
        name, tag = recipe.initialize_from
        loaded = create_model(name, weights=tag, num_classes=spec.num_classes, labels=labels)
    if loaded is not None:
        # Weights of another length of clip fit too: no tensor depends on it.
        model.load_state_dict(loaded.state_dict())
    return model


def _summary(recipe: Recipe, config: TrainConfig, plan: Plan, data: str, folder: Path) -> str:
    lines = [
        f"Recipe {recipe.name}: {recipe.model} on {data}; into {folder}",
        plan.describe(config),
    ]
    if recipe.initialize_from:
        lines.append(f"The recipe starts from {' '.join(recipe.initialize_from)}.")
    if recipe.deviations:
        lines.append(f"Not as published: {recipe.deviations}")
    return "\n".join(lines)
