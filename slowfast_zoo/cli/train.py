"""``slowfast-zoo train`` and ``test``: a published recipe, and scores of what came of it, on files or on the
procedural dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import click

from slowfast_zoo.cli import options as opt
from slowfast_zoo.cli.data import refuse_for_folders
from slowfast_zoo.cli.models import check_random, model_option
from slowfast_zoo.cli.options import NEW_FILE, Command, choice, command, echo
from slowfast_zoo.cli.persons import numbered_classes, open_persons, refuse, scoring, test_persons
from slowfast_zoo.cli.results import show_scores
from slowfast_zoo.errors import DataError, InputError, SpecError, UnknownNameError, counted, did_you_mean
from slowfast_zoo.evaluation import Average, Metric
from slowfast_zoo.files import expanded, kind_of
from slowfast_zoo.naming import ModelRef

if TYPE_CHECKING:
    from slowfast_zoo.data.dataset import ClipDataset, VideoDataset
    from slowfast_zoo.data.lists import ReadOptions
    from slowfast_zoo.data.motion.clips import MotionClips
    from slowfast_zoo.data.persons.dataset import PersonDataset
    from slowfast_zoo.evaluation.evaluate import Evaluation
    from slowfast_zoo.network.slowfast import SlowFast
    from slowfast_zoo.spec import ClipSpec, ModelSpec
    from slowfast_zoo.training.recipe import Recipe, TrainConfig
    from slowfast_zoo.training.schedule import Plan
    from slowfast_zoo.training.train import TrainResult

Purpose = Literal["train", "validate", "test"]
CAMERA_MOTION = "camera-motion"
"""What names the procedural dataset where data is asked for."""
_TRAINING_CLIPS, _HELD_OUT_CLIPS = 1_000_000, 1000
_PLAIN_SHARE = 0.4
"""Plain clips among those for training; held-out ones cover the whole range."""
_HELD_OUT_SEED = 1_000_003
_METRICS = get_args(Metric)


@command(
    "train",
    "train slowfast_r50_4x16x1_256e_kinetics400_rgb train_list.txt val_list.txt --validate",
    "train camera-motion --work-dir work_dirs/tiny --seed 0",
    "train slowfast_r50_4x16x1_roi persons.csv held_out.csv --root videos/ --validate --epochs 10",
)
@click.argument("recipe")
@click.argument("data", nargs=-1)
@opt.work_dir
@click.option("--validate", is_flag=True, help="Score the validation data every few epochs; keep the best.")
@opt.resume
@model_option(default=None, help_text="Weights to start from instead of the recipe's: a MODEL")
@click.option("--from-scratch", is_flag=True, help="Start from random weights, whatever the recipe says.")
@click.option("--recipe-labels", is_flag=True, help="DATA's numbers are classes of the recipe's dataset.")
@click.option("--num-classes", type=click.IntRange(1), help="How many, if nothing names DATA's numbers.")
@opt.config(
    seed="Of weights, order, augmentation and dropout.",
    epochs="Passes over the data; the recipe's warm-up and milestones move with it.",
    batch_size="Clips per forward pass in each process; scales the rate.",
    lr="Learning rate for the batch that the recipe names.",
    precision="What the network computes in.",
    workers="Processes that read clips, for each training process.",
)
@opt.freeze
@click.option("--deterministic", is_flag=True, help="Deterministic algorithms only.")
@opt.device
@opt.max_unreadable
@opt.tensorboard
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
@opt.persons
@opt.reading
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
    config: dict[str, Any],
    freeze_up_to: str | None,
    deterministic: bool,
    device: str | None,
    max_unreadable: float,
    tensorboard: bool,
    dry_run: bool,
    persons: dict[str, Any],
    reading: ReadOptions,
) -> None:
    """Trains by a RECIPE on DATA: training data, then validation data.

    RECIPE is a publisher's config name, or a model's name for the recipe of its default weights. The
    recipe camera-motion makes its own data. The network gets the classes of the data: their names are those
    of its folders or labels; a list of numbers is named by --labels or --recipe-labels, or --num-classes says
    that it has no names. Of a table whose column "split" names parts, the part train is trained on. Recipes
    of models named *_roi take annotations of persons (a table, AVA's CSV, CVAT's XML, MultiSports' pickle),
    and --root, where their videos are. On several GPUs or machines:
    torchrun --nproc-per-node 8 --no-python slowfast-zoo train ...
    """
    import torch

    from slowfast_zoo.data.folders import check_outside
    from slowfast_zoo.runtime.distributed import join
    from slowfast_zoo.training.finetune.folder import check_own
    from slowfast_zoo.training.log import listening
    from slowfast_zoo.training.memory import smaller_steps_told
    from slowfast_zoo.training.schedule import Plan, frozen_told
    from slowfast_zoo.training.train import check_thawing, train

    chosen = _recipe(recipe)
    configured = _configured(chosen.config, opt.changes(config, deterministic=deterministic or None))
    check_thawing(configured.thaw_at, freeze_up_to)
    if len(data) > 2:
        raise click.UsageError(
            f"DATA is training data, then validation data, and {len(data)} were given; make one list of each."
        )
    if from_scratch and model is not None:
        raise click.UsageError("--from-scratch starts from random weights, --model from its own: give one.")
    if not resume and (from_scratch or (model is None and chosen.initialize_from is None)):
        check_random(freeze_up_to, configured.thaw_at)
    if validate and len(data) < 2 and (data or chosen.name != CAMERA_MOTION):
        raise click.UsageError("--validate needs validation data after the training data.")
    if not data and chosen.name != CAMERA_MOTION:
        raise click.UsageError(f"The recipe {chosen.name} needs DATA to train on.")
    if recipe_labels:
        if reading["labels"] is not None:
            raise click.UsageError("--labels and --recipe-labels both name the classes; give one of them.")
        reading["labels"] = chosen.labels
    folder = work_dir or Path("work_dirs") / chosen.name.replace("/", "-")
    if not resume:
        check_outside(folder, *data)
    training, validation = _open_both(chosen, data, validate, reading, persons, num_classes, max_unreadable)
    spec = _spec(chosen, training)
    group = join(device)
    plan = Plan.of(configured, len(training), group.world)
    if group.first:
        start = "" if resume else "random weights" if from_scratch else model.text if model else ""
        echo(_summary(chosen, configured, plan, data[0] if data else chosen.dataset, folder, start))
        echo(_named(chosen, training.labels, spec.num_classes))
        if freeze_up_to is not None:
            echo(frozen_told(freeze_up_to, configured))
        if reading.get("multi_label") is None and (several := _several(training)):
            echo(several)
        if len(data) == 2 and not validate:
            echo(f"'{data[1]}' isn't looked at: --validate scores it.", err=True)
    if dry_run:
        return
    if not resume:
        check_own(folder)
    torch.manual_seed(configured.seed)
    fresh = from_scratch or resume
    network = _model(chosen, spec, training.labels, None if fresh else model, use_recipe=not fresh)
    network.freeze(freeze_up_to)
    where: Any = {"work_dir": folder, "device": group.device, "resume": resume}
    with (
        smaller_steps_told(configured.replace(batch_size=plan.micro_batch), folder),
        listening(folder, tensorboard and group.first) as listener,
    ):
        result = train(network, training, configured, validation=validation, listener=listener, **where)
    if group.first:
        _finish(result, folder)


def _finish(result: TrainResult, folder: Path) -> None:
    """Says what came of a training, and saves its model as a folder."""
    from slowfast_zoo.training.log import unread, waited
    from slowfast_zoo.training.state import LOG
    from slowfast_zoo.weights.saved.file import read_file
    from slowfast_zoo.weights.saved.folder import save_pretrained

    trained = f"Trained {counted(result.steps, 'step')}: {result.best or result.last}"
    echo("\n".join(filter(None, (trained, waited(folder / LOG), unread(folder / LOG)))))
    best = {name: value for name, value in result.best_metrics.items() if name != "epoch"}
    if best != result.metrics:  # the last ones were said when they were measured
        said = ", ".join(f"{name} {value:.4f}" for name, value in best.items())
        echo(f"Best validation, after epoch {result.best_metrics['epoch']:.0f}: {said}")
    save_pretrained(read_file(result.best or result.last), folder / "model")
    echo(f"The model as a folder, for predict --model and from_pretrained(Path(...)): {folder / 'model'}")


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
@click.option(
    "--eval",
    "metrics",
    type=choice(Metric),
    multiple=True,
    help="What is measured; may be repeated, or take several.  [default: what fits the data]",
)
@opt.out("Result file (JSON); what is there is replaced.")
@click.option(
    "--format",
    "file_form",
    type=click.Choice(("named", "mmaction2")),
    default="named",
    show_default=True,
    help="Of --out: names, targets, scores and protocol; or MMAction2's bare list of scores per video.",
)
@click.option("--average-clips", type=choice(Average), help="How to average views; else as published.")
@click.option("--confusion", type=NEW_FILE, help="Confusion matrix (CSV); what is there is replaced.")
@click.option("--per-class", is_flag=True, help="Also each class's accuracy.")
@opt.count("--batch-size", 1, "Videos read together.")
@opt.count("--max-views", 8, "Clips per forward pass.")
@opt.count("--workers", 2, "Processes that read videos.", least=0)
@opt.precision
@opt.device
@opt.persons
@scoring
@opt.reading
def test_command(
    data: str,
    model: ModelRef,
    metrics: tuple[str, ...],
    out: Path | None,
    file_form: Any,
    average_clips: str | None,
    confusion: Path | None,
    per_class: bool,
    device: str | None,
    persons: dict[str, Any],
    scoring: dict[str, Any],
    reading: ReadOptions,
    **options: Any,
) -> None:
    """Scores a model on DATA, a folder or a list.

    A saved folder or a training's file brings its own network, classes and preprocessing. Under torchrun
    every video is scored by one process. Classes are matched by name, numbers are the model's; weights that
    don't say what their classes are called take the names from --labels, in their own order. Models named
    *_roi take annotations of persons, as train does, and are scored by frame mAP.
    """
    from slowfast_zoo.data.labels import read_labels
    from slowfast_zoo.evaluation.evaluate import evaluate
    from slowfast_zoo.runtime.distributed import join

    for path in (out, confusion):
        if path is not None:
            opt.check_writable(path)
    opt.check_ending(confusion, "csv", {"csv": ".csv", "json": ".json"})
    if out is not None and out.suffix.lower() != ".json":
        raise InputError(
            f"--out is JSON, and '{out.name}' isn't called so: end it in .json (--format mmaction2 writes"
            " the list that tools/test.py keeps in a .pkl)."
        )
    if file_form != "named" and out is None:
        raise InputError("--format says how --out is written, and there is no --out: add --out FILE.")
    if average_clips == "none" and (confusion is not None or per_class):
        raise InputError("Scores of single views have no classes to count; average them.")
    network = model.load()
    if not network.num_classes:
        raise InputError("This model has no classifier (num_classes=0), so there is nothing to score.")
    if network.spec.roi is not None:
        if metrics or average_clips or confusion is not None or file_form != "named":
            raise InputError("Persons have no such scores: --eval, --average-clips, --confusion, --format.")
        if opt.typed(("batch_size", "max_views", "multi_label")):
            raise InputError(
                "Key frames of persons are scored one by one, and the model says whether a person has several"
                " classes: leave out --batch-size, --max-views, --multi-label and --single-label."
            )
        how = {name: options[name] for name in ("workers", "precision")} | {"device": device} | scoring
        test_persons(network, data, reading, persons, out=out, per_class=per_class, **how)
        return
    if confusion is not None and network.spec.activation == "sigmoid":
        raise InputError("A confusion matrix needs one label per video; this model gives several.")
    labels = reading.get("labels")
    if data == CAMERA_MOTION:
        _refuse_reading(reading, used=["labels"] if network.labels is None else [])
    refuse_for_folders(data)
    if network.labels is None and labels is not None:
        network.labels = read_labels(labels).names
    if reading.get("multi_label") is None:
        reading["multi_label"] = network.spec.activation == "sigmoid"
    dataset = open_data(data, network.clip_spec, "test", reading=reading, like=network)
    refuse(persons | {name: opt.typed([name]) for name in scoring}, "the model is")
    group = join(device)
    options |= {"metrics": metrics, "average": average_clips, "device": group.device}
    result = evaluate(network, dataset, **options)
    if not group.first:
        return
    show_scores(result, len(dataset), per_class=per_class)
    try:
        if out is not None:
            _save(result, out, file_form)
    finally:
        if confusion is not None and not result.error:
            result.save_confusion(confusion)
    if result.error:
        raise InputError(result.error)


def open_data(
    source: str,
    clip_spec: ClipSpec,
    purpose: Purpose,
    *,
    reading: ReadOptions | None = None,
    like: ClipDataset | SlowFast | None = None,
    recipe: Recipe | None = None,
    max_unreadable: float = 0.1,
) -> VideoDataset | MotionClips:
    """The dataset of that name or path.

    Args:
        source: "camera-motion", a folder or a list.
        clip_spec: how its videos become clips.
        purpose: "train": random clips; "validate": one center clip; "test": the views of the spec.
        reading: how it is written down.
        like: training data or a model, whose classes it has to have; None: its own.
        recipe: says more about training clips.
        max_unreadable: of training clips, as in ``open_dataset``.

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
    from slowfast_zoo.data.persons.annotations import refuse_persons

    refuse_persons(source)
    if not kind_of(expanded(source)):
        raise DataError(f"There is no dataset at {source}; give a folder or a list, or '{CAMERA_MOTION}'.")
    from slowfast_zoo.data.annotations import with_classes_of
    from slowfast_zoo.data.dataset import VideoDataset, open_dataset
    from slowfast_zoo.data.lists import read_beside, read_train, read_undivided
    from slowfast_zoo.network.slowfast import SlowFast

    options: ReadOptions = {} if reading is None else reading
    if isinstance(like, VideoDataset):
        annotations, notes = read_beside(source, like.annotations, **options)
    elif purpose == "train":
        annotations, notes = read_train(source, **options)
    else:
        annotations, notes = read_undivided(source, "All are scored.", **options)
    for note in notes:
        echo(note, err=True)
    labels = getattr(like, "labels", None)
    if isinstance(like, VideoDataset):
        annotations = with_classes_of(like.annotations, annotations)
    elif isinstance(like, SlowFast):
        annotations = annotations.with_classes(labels, like.spec.num_classes, of="the model")
    elif labels is not None:
        annotations = annotations.with_classes(labels, len(labels), of="the training data")
    if purpose != "train":
        return open_dataset(annotations, clip_spec, views="quick" if purpose == "validate" else "published")
    pairs = () if recipe is None else recipe.flip_pairs
    if recipe is not None and _unflipped(recipe, annotations.labels):
        pairs, clip_spec = (), clip_spec.replace(flip=0.0)
    return open_dataset(annotations, clip_spec, train=True, flip_pairs=pairs, max_unreadable=max_unreadable)


def _open_both(
    recipe: Recipe,
    data: tuple[str, ...],
    validate: bool,
    reading: ReadOptions,
    persons: dict[str, Any],
    num_classes: int | None,
    max_unreadable: float,
) -> tuple[VideoDataset | MotionClips | PersonDataset, ClipDataset | None]:
    """What to train on, and what to validate with, as the recipe takes them, of the same classes."""
    names = [data[place] if len(data) > place else CAMERA_MOTION for place in range(2)]
    if recipe.model_spec.roi is not None:
        if reading.get("labels") == recipe.labels:
            reading["labels"] = numbered_classes(recipe.labels)
        people = open_persons(names[0], recipe, reading, persons, max_unreadable=max_unreadable)
        _check_numbers(recipe, people, num_classes)
        return people, open_persons(names[1], recipe, reading, persons, like=people) if validate else None
    if names[0] == CAMERA_MOTION:  # a list to validate with is read, and nothing of it replaced
        _refuse_reading(reading if names[validate] == CAMERA_MOTION else {})
    refuse_for_folders(*names[: 1 + validate])
    if recipe.model_spec.activation == "sigmoid" and reading.get("multi_label") is None:
        reading["multi_label"] = True
    training = open_data(
        names[0], recipe.clip_spec, "train", reading=reading, recipe=recipe, max_unreadable=max_unreadable
    )
    refuse(persons, f"the recipe {recipe.name} is")
    _check_numbers(recipe, training, num_classes)
    if not validate:
        return training, None
    return training, open_data(names[1], recipe.validation_spec, "validate", reading=reading, like=training)


def _refuse_reading(reading: ReadOptions, used: Sequence[str] = ()) -> None:
    """Refuses options that say how a dataset is written down or read, where the data are procedural.

    Args:
        reading: has their names.
        used: those that count all the same.

    Raises:
        InputError: names the options.
    """
    if given := opt.typed([*reading, "max_unreadable"], but=used):
        raise InputError(f"{given}: for a folder or a list, and {CAMERA_MOTION} makes its clips.")


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


def _configured(config: TrainConfig, changes: dict[str, Any]) -> TrainConfig:
    from slowfast_zoo.training.schedule import in_epochs

    if changes.get("optimizer", config.optimizer) != config.optimizer and "lr" not in changes:
        raise SpecError(f"The recipe's rate {config.lr:g} is that of {config.optimizer}; give --lr with it.")
    if "epochs" in changes:
        config = in_epochs(config, changes["epochs"])
    return config.replace(**changes)


def _check_numbers(
    recipe: Recipe, dataset: VideoDataset | MotionClips | PersonDataset, num_classes: int | None
) -> None:
    """Numbers without names are other classes than the recipe's, or so many as the user says.

    Raises:
        DataError: nobody knows which classes they are, or another number of them was said.
    """
    from slowfast_zoo.data.motion.clips import MotionClips

    found = len(dataset.labels or ())
    if not isinstance(dataset, MotionClips) and dataset.labels is None:
        found = dataset.annotations.num_classes
        if num_classes is not None and num_classes > found:
            dataset.annotations = dataclasses.replace(dataset.annotations, num_classes=num_classes)
            return
        if num_classes is None and found != recipe.model_spec.num_classes:
            raise DataError(
                f"The data number {counted(found, 'class')} without names, the recipe has"
                f" {recipe.model_spec.num_classes}: --labels FILE names them, --recipe-labels says that they"
                f" are classes of {recipe.dataset}, --num-classes {found} that they are others without names."
            )
    if num_classes not in (None, found):
        raise DataError(f"The data have {counted(found, 'class')}, --num-classes says {num_classes}.")


def _spec(recipe: Recipe, dataset: VideoDataset | MotionClips | PersonDataset) -> ModelSpec:
    """The recipe's network for the classes of the data."""
    annotations = getattr(dataset, "annotations", None)
    if annotations is None:
        return recipe.model_spec.replace(num_classes=len(dataset.labels or ()))
    multi_label = getattr(dataset, "multi_label", None)  # of persons, for whom the recipe says it
    activation = "sigmoid" if (annotations.multi_label if multi_label is None else multi_label) else "softmax"
    return recipe.model_spec.replace(num_classes=annotations.num_classes, activation=activation)


def _named(recipe: Recipe, labels: Sequence[str] | None, classes: int) -> str:
    """What the classes are called, and what follows from that."""
    if labels is None:
        text = (
            f"{counted(classes, 'class')} without names; --labels FILE names them, --recipe-labels as in"
            f" {recipe.dataset}."
        )
    else:
        text = f"{counted(classes, 'class')}: {', '.join(labels[:3])}{' ...' if classes > 3 else '.'}"
    return f"{text} {_unflipped(recipe, labels)}".rstrip()


def _several(dataset: VideoDataset | MotionClips | PersonDataset) -> str:
    """``several_classes`` of clips; "" of persons, of whom the recipe says it."""
    from slowfast_zoo.data.annotations import several_classes
    from slowfast_zoo.data.dataset import VideoDataset

    return several_classes(dataset.annotations) if isinstance(dataset, VideoDataset) else ""


def _unflipped(recipe: Recipe, labels: Sequence[str] | None) -> str:
    """Why clips of these classes aren't flipped, where the recipe flips its own; "" where they are, too."""
    from slowfast_zoo.data.labels import why_unflipped

    if labels == recipe.labels:
        return ""
    if recipe.flip_pairs:
        return "No flips: only of the recipe's own classes it is known which ones a flip exchanges."
    return why_unflipped(labels or ()) if recipe.clip_spec.flip else ""


def _model(
    recipe: Recipe,
    spec: ModelSpec,
    labels: Sequence[str] | None,
    start: ModelRef | None,
    *,
    use_recipe: bool,
) -> SlowFast:
    """The network for those classes, and the weights to start from."""
    from slowfast_zoo.network.provenance import as_start
    from slowfast_zoo.network.slowfast import SlowFast
    from slowfast_zoo.weights.checkpoint.loading import take_weights
    from slowfast_zoo.zoo import create_model

    model = SlowFast(spec)
    model.clip_spec, model.labels = recipe.clip_spec, None if labels is None else tuple(labels)
    model.provenance = {"model": recipe.model, "recipe": recipe.name}
    loaded = None
    if start is not None:
        loaded = start.load()
        if (loaded.spec.roi is None) != (spec.roi is None):
            pass  # only the body of another kind of network is taken
        elif loaded.num_classes != spec.num_classes or loaded.labels not in (None, model.labels):
            loaded.reset_classifier(spec.num_classes)
    elif use_recipe and recipe.initialize_from:
        name, tag = recipe.initialize_from
        loaded = create_model(name, weights=tag, num_classes=spec.num_classes)
    if loaded is not None:
        take_weights(model, loaded)
        model.provenance |= as_start(loaded.provenance, recipe.model)
    return model


def _summary(
    recipe: Recipe, config: TrainConfig, plan: Plan, data: str, folder: Path, start: str = ""
) -> str:
    """What will be done; ``start``: the weights that were asked for in place of the recipe's."""
    lines = [
        f"Recipe {recipe.name}: {recipe.model} on {data}; into {folder}",
        plan.describe(config),
    ]
    if config.epochs != recipe.config.epochs:
        lines.append(_moved(recipe.config.epochs, config))
    own = " ".join(recipe.initialize_from or ())
    if start:
        lines.append(f"Starts from {start}" + (f" instead of {own}." if own else "."))
    elif own:
        lines.append(f"The recipe starts from {own}.")
    if recipe.deviations:
        lines.append(f"Not as published: {recipe.deviations}")
    return "\n".join(lines)


def _moved(epochs: int, config: TrainConfig) -> str:
    """One sentence: where warm-up and milestones are in another number of epochs than the recipe's."""
    where = "no warm-up"
    if config.warmup_iterations:
        where = f"{counted(config.warmup_iterations, 'step')} of warm-up"
    elif config.warmup_epochs:
        where = f"{config.warmup_epochs:.3g} {'epoch' if config.warmup_epochs == 1 else 'epochs'} of warm-up"
    if config.schedule == "step":
        where += f", milestones {', '.join(map(str, config.milestones)) or 'none'}"
    return f"The recipe has {counted(epochs, 'epoch')}; in {config.epochs} there are {where}."


def _save(result: Evaluation, path: Path, form: Any) -> None:
    try:
        result.save(path, form)
    except InputError as error:
        if form != "mmaction2" or not result.failed:  # that form can't say that videos are missing
            raise
        named = path.with_name(f"{path.stem}.named{path.suffix}")
        result.save(named)
        raise InputError(f"{error} The scores are in {named}.") from error
