"""``slowfast-zoo finetune``: clips of your classes and a trained model become a model of your classes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slowfast_zoo.cli import options as opt
from slowfast_zoo.cli.models import model_option
from slowfast_zoo.cli.options import PATH, command, echo
from slowfast_zoo.errors import InputError
from slowfast_zoo.naming import ModelRef

if TYPE_CHECKING:
    from slowfast_zoo.data.annotations import Annotations
    from slowfast_zoo.data.lists import ReadOptions


@command(
    "finetune",
    "finetune data/ --model slowfast_r50_4x16x1",
    "finetune clips.csv --model slowfast_r50_8x8x1:pyslowfast/k400 --root videos/ --epochs 20",
)
@click.argument("data", type=PATH)
@model_option(default=None, required=True)
@click.option("--from-scratch", is_flag=True, help="Start from random weights, without a linear probe.")
@opt.work_dir
@click.option("--validation", type=PATH, help="Its own data to choose the epoch by.")
@click.option("--val", default=0.2, show_default=True, help="Else so much of DATA.")
@opt.group_by
@click.option("--linear-probe", is_flag=True, help="Only fit a classifier to the features: seconds.")
@click.option("--freeze", "freeze_up_to", metavar="PART", help="What doesn't learn: up to stem, stage1-4.")
@click.option("--learn-norms", is_flag=True, help="Let batch norms follow the new clips.")
@click.option("--no-balance", is_flag=True, help="Draw clips as they come, whatever their classes.")
@click.option("--flip/--no-flip", default=None, help="By default not for classes called left or right.")
@click.option("--smallest-area", default=0.5, show_default=True, help="Random crops keep so much at least.")
@click.option(
    "--optimizer", type=click.Choice(("sgd", "adamw")), help="Each has its own default rate.  [default: sgd]"
)
@opt.config(
    seed="Of the split, classifier, order and augmentation.",
    epochs="Passes over the data.  [default: 30]",
    batch_size="Clips per step; scales the rate.  [default: 8]",
    lr="Rate for 64 clips per step.  [default: 0.02, adamw 0.016]",
    precision="Of the network.  [default: float32]",
    workers="Processes that read clips.  [default: 2]",
)
@opt.views(help_text="Of the scores")
@opt.device
@opt.resume
@opt.reading
def finetune_command(
    data: Path,
    model: ModelRef,
    from_scratch: bool,
    work_dir: Path | None,
    validation: Path | None,
    linear_probe: bool,
    learn_norms: bool,
    no_balance: bool,
    optimizer: str | None,
    config: dict[str, Any],
    reading: ReadOptions,
    **options: Any,
) -> None:
    """Trains a model for the classes of DATA: a folder with a folder per class, or a list.

    A DATA folder divided into train and val (and test) is used as it is; else a part is held out whose
    sources aren't trained on. Everything goes to the work directory: report, confusion matrix, curves, and
    the folder "model" for predict --model.
    """
    if linear_probe and from_scratch:
        raise InputError("A linear probe needs trained features: leave out --from-scratch or --linear-probe.")
    import torch

    from slowfast_zoo.data.lists import read_annotations, read_like, read_splits
    from slowfast_zoo.training.finetune.finetune import FINETUNE, FINETUNE_ADAMW, finetune

    settings = (FINETUNE_ADAMW if optimizer == "adamw" else FINETUNE).replace(**config)
    source: Path | dict[str, Annotations] = data
    held_out: Path | Annotations | None = validation
    if any(option is not None for option in reading.values()):
        source = read_splits(data, **reading) or {"train": read_annotations(data, **reading)}
        held_out = None if validation is None else read_like(validation, source["train"], **reading)
    torch.manual_seed(settings.seed)
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
        config=settings,
        probe="only" if linear_probe else "no" if from_scratch else "first",
        freeze_norms=not (learn_norms or from_scratch),
        balance=not no_balance,
        **options,
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
