"""``slowfast-zoo finetune``: clips of your classes and a trained model become a model of your classes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slowfast_zoo.cli.models import ModelRef, model_option
from slowfast_zoo.cli.options import (
    GROUP_HELP,
    choice,
    command,
    data_options,
    device_option,
    echo,
    views_option,
)
from slowfast_zoo.errors import InputError
from slowfast_zoo.runtime.precision import Precision

if TYPE_CHECKING:
    from slowfast_zoo.data.annotations import Annotations
    from slowfast_zoo.data.lists import ReadOptions


@command(
    "finetune",
    "finetune data/ --model slowfast_r50_4x16x1",
    "finetune clips.csv --model slowfast_r50_8x8x1:pyslowfast/k400 --root videos/ --epochs 20",
)
@click.argument("data", type=click.Path(path_type=Path))
@model_option(default=None, required=True)
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
    "--optimizer", type=click.Choice(("sgd", "adamw")), help="Each has its own default rate.  [default: sgd]"
)
@click.option("--lr", type=float, help="Rate for 64 clips per step.  [default: 0.02, adamw 0.016]")
@click.option("--precision", type=choice(Precision), help="Of the network.  [default: float32]")
@click.option("--workers", type=int, help="Processes that read clips.  [default: 2]")
@click.option("--seed", type=click.IntRange(0), help="Of the split, classifier, order and augmentation.")
@views_option(help_text="Of the scores")
@device_option
@click.option("--resume", is_flag=True, help="Go on where the work directory stopped.")
@data_options
def finetune_command(
    data: Path,
    model: ModelRef,
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
    views: Any,
    device: str | None,
    resume: bool,
    reading: ReadOptions,
) -> None:
    """Trains a model for the classes of DATA: a folder with one folder of clips per class, or a list.

    A DATA folder divided into train and val (and test) is used as it is; else a part is held out whose
    sources aren't trained on. Everything goes to the work directory: report, confusion matrix, curves, and
    the folder "model" for predict --model.
    """
    if linear_probe and from_scratch:
        raise InputError("A linear probe needs trained features: leave out --from-scratch or --linear-probe.")
    import torch

    from slowfast_zoo.data.lists import read_annotations, read_like, read_splits
    from slowfast_zoo.training.finetune.finetune import FINETUNE, FINETUNE_ADAMW, finetune

    given = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "precision": precision}
    given |= {"workers": workers, "seed": seed}
    config = FINETUNE_ADAMW if optimizer == "adamw" else FINETUNE
    config = config.replace(**{name: value for name, value in given.items() if value is not None})
    source: Path | dict[str, Annotations] = data
    held_out: Path | Annotations | None = validation
    if any(option is not None for option in reading.values()):
        source = read_splits(data, **reading) or {"train": read_annotations(data, **reading)}
        held_out = None if validation is None else read_like(validation, source["train"], **reading)
    torch.manual_seed(config.seed)
    network = model.untrained() if from_scratch else model.load()
    if from_scratch and model.entry is None:
        network.reset_parameters()
        network.provenance = {}
    logging.getLogger("slowfast_zoo.training.finetune.finetune").setLevel(logging.INFO)
    result = finetune(
        source,
        network,
        work_dir=work_dir or Path("work_dirs") / f"finetune-{data.resolve().stem}",
        validation=held_out,
        config=config,
        probe="only" if linear_probe else "no" if from_scratch else "first",
        val=val,
        group_by=group_by,
        freeze_up_to=freeze_up_to,
        freeze_norms=not (learn_norms or from_scratch),
        balance=not no_balance,
        flip=flip,
        smallest_area=smallest_area,
        views=views,
        resume=resume,
        device=device,
    )
    echo(result.scores())  # the rest of the report was said when it was decided


@command("report", "report work_dirs/finetune-clips")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
def report_command(folder: Path) -> None:
    """Draws the curves and the confusion matrix of the training in FOLDER, finished or not.

    FOLDER is the work directory of train or finetune. The report of a fine-tuning is printed as well.
    """
    from slowfast_zoo.runtime.packages import require
    from slowfast_zoo.training.finetune.finetune import REPORT
    from slowfast_zoo.training.finetune.report import draw_report

    require("matplotlib")
    if (folder / REPORT).exists():
        echo((folder / REPORT).read_text(encoding="utf-8", errors="replace"))
    for path in draw_report(folder):
        echo(path)
