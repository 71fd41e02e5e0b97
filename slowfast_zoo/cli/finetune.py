"""``slowfast-zoo finetune``: clips of your classes and a trained model become a model of your classes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slowfast_zoo.cli.data import GROUP_HELP, list_options
from slowfast_zoo.cli.predict import parse_views
from slowfast_zoo.errors import InputError

if TYPE_CHECKING:
    from slowfast_zoo.data.annotations import Annotations
    from slowfast_zoo.data.lists import ReadOptions
    from slowfast_zoo.network.slowfast import SlowFast


@click.command("finetune")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--model", required=True, help="A model of 'slowfast-zoo list', or a saved folder.")
@click.option("--weights", help="A tag, or a checkpoint file, of that model.  [default: the starred ones]")
@click.option("--from-scratch", is_flag=True, help="Start from random weights, without a linear probe.")
@click.option("--work-dir", type=click.Path(path_type=Path), help="Folder for everything that is written.")
@click.option("--validation", type=click.Path(path_type=Path), help="Its own data to choose the epoch by.")
@click.option("--val", type=float, default=0.2, show_default=True, help="Else so much of DATA.")
@click.option("--group-by", help=GROUP_HELP)
@click.option("--linear-probe", is_flag=True, help="Only fit a classifier to the features: seconds.")
@click.option("--freeze", "freeze_up_to", metavar="PART", help="What doesn't learn: up to stem, stage1-4.")
@click.option("--learn-norms", is_flag=True, help="Let batch norms follow the new clips.")
@click.option("--no-balance", is_flag=True, help="Draw clips as they come, whatever their classes.")
@click.option("--flip/--no-flip", default=None, help="By default not for classes called left or right.")
@click.option("--smallest-area", default=0.5, show_default=True, help="Random crops keep so much at least.")
@click.option("--epochs", type=int, help="Passes over the data.  [default: 30]")
@click.option("--batch-size", type=int, help="Clips per step; scales the rate.  [default: 8]")
@click.option(
    "--optimizer", type=click.Choice(("sgd", "adamw")), help="adamw wants --lr 0.016.  [default: sgd]"
)
@click.option("--lr", type=float, help="Learning rate for 64 clips per step.  [default: 0.02]")
@click.option("--precision", type=click.Choice(("float32", "bfloat16", "float16")), help="Of the network.")
@click.option("--workers", type=int, help="Processes that read clips.  [default: 2]")
@click.option("--seed", type=click.IntRange(0), help="Of the split, classifier, order and augmentation.")
@click.option("--views", default="quick", show_default=True, help="Of the scores: quick, published or 3x1.")
@click.option("--device", help="Such as cpu or cuda:1; by default a GPU if there is one.")
@click.option("--resume", is_flag=True, help="Go on where the work directory stopped.")
@list_options
def finetune_command(
    data: Path,
    model: str,
    weights: str | None,
    from_scratch: bool,
    work_dir: Path | None,
    validation: Path | None,
    val: float,
    group_by: str | None,
    linear_probe: bool,
    freeze_up_to: str | None,
    learn_norms: bool,
    no_balance: bool,
    flip: bool | None,
    smallest_area: float,
    epochs: int | None,
    batch_size: int | None,
    optimizer: str | None,
    lr: float | None,
    precision: str | None,
    workers: int | None,
    seed: int | None,
    views: str,
    device: str | None,
    resume: bool,
    form: Any,
    root: Path | None,
    labels: Path | None,
    separator: str | None,
    frame_pattern: str | None,
    fps: float | None,
) -> None:
    """Trains a model for the classes of DATA: a folder with one folder of clips per class, or a list.

    A DATA folder divided into train and val (and test) is used as it is; else a part is held out whose
    sources aren't trained on. Everything goes to the work directory: report, confusion matrix, curves, and
    the folder "model" for predict --checkpoint.
    """
    if linear_probe and from_scratch:
        raise InputError("A linear probe needs trained features: leave out --from-scratch or --linear-probe.")
    from slowfast_zoo.data.lists import read_annotations, read_splits
    from slowfast_zoo.training.finetune.finetune import FINETUNE, finetune

    given = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "precision": precision}
    given |= {"optimizer": optimizer, "workers": workers, "seed": seed}
    config = FINETUNE.replace(**{name: value for name, value in given.items() if value is not None})
    options: ReadOptions = {"form": form, "root": root, "labels": labels, "separator": separator}
    options |= {"frame_pattern": frame_pattern, "fps": fps}
    source: Path | Annotations | dict[str, Annotations] = data
    if any(option is not None for option in options.values()):
        source = read_splits(data, **options) or read_annotations(data, **options)
    network = _start(model, weights, from_scratch, config.seed)
    logging.getLogger("slowfast_zoo.training.finetune.finetune").setLevel(logging.INFO)
    result = finetune(
        source,
        network,
        work_dir=work_dir or Path("work_dirs") / f"finetune-{data.resolve().stem}",
        validation=validation,
        config=config,
        probe="only" if linear_probe else "no" if from_scratch else "first",
        val=val,
        group_by=group_by,
        freeze_up_to=freeze_up_to,
        freeze_norms=not (learn_norms or from_scratch),
        balance=not no_balance,
        flip=flip,
        smallest_area=smallest_area,
        views=parse_views(views),  # type: ignore[arg-type]  # finetune checks it
        resume=resume,
        device=device,
    )
    click.echo(str(result))


def _start(model: str, weights: str | None, from_scratch: bool, seed: int) -> SlowFast:
    """The model to start from: its folder, or its name with weights, or with random ones."""
    import torch

    from slowfast_zoo.weights.saved.hub import from_pretrained
    from slowfast_zoo.zoo import create_model

    if weights is not None and (from_scratch or Path(model).is_dir()):
        raise InputError("--weights goes with the name of a model, and without --from-scratch.")
    torch.manual_seed(seed)
    if Path(model).is_dir():
        network = from_pretrained(Path(model))
        if from_scratch:
            network.reset_parameters()
            network.provenance = {}
        return network
    if from_scratch:
        return create_model(model)
    return create_model(model, weights=_weights(weights))


def _weights(text: str | None) -> str | Path:
    if text is None:
        return "default"
    path = Path(text)
    return path if path.is_file() else text
