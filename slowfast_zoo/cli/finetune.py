"""``slowfast-zoo finetune``: clips of your classes and a trained model become a model of your classes."""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slowfast_zoo.cli import options as opt
from slowfast_zoo.cli.data import refuse_for_folders
from slowfast_zoo.cli.models import check_random, model_option
from slowfast_zoo.cli.options import PATH, command, echo
from slowfast_zoo.errors import InputError, TrainingError
from slowfast_zoo.naming import ModelRef
from slowfast_zoo.weights.catalog import FINETUNE_TAGS, get_weights

if TYPE_CHECKING:
    from slowfast_zoo.data.annotations import Annotations
    from slowfast_zoo.data.lists import ReadOptions


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases
    """Seconds, or a number with s, m or h after it."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds."""
        if isinstance(value, (int, float)):
            return float(value)
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smh]?)", str(value).strip().lower())
        if found is None or not float(found[1]):
            self.fail(f"'{value}' is no time; accepted: such as 90s, 10m or 2h.", param, ctx)
        return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


@command(
    "finetune",
    "finetune data/ --model slowfast_r50_4x16x1 --group-by auto",
    "finetune data/ --model slowfast_tiny --budget 20m --folds 5",
    "finetune clips.csv --model slowfast_r50_8x8x1:pyslowfast/k400 --root videos/ --recipe gentle",
)
@click.argument("data", type=PATH)
@model_option(default=None, required=True)
@click.option("--from-scratch", is_flag=True, help="Start from random weights.")
@opt.work_dir
@click.option("--recipe", help="Take this one without trials: learn, plain, gentle, measured or probe.")
@click.option(
    "--budget",
    "budget_seconds",
    type=Duration(),
    help="Time for everything, such as 10m or 2h.  [default: what the clips deserve]",
)
@click.option("--validation", type=PATH, help="Other data, to score with.")
@click.option("--val", default=0.2, show_default=True, help="Else this part of DATA.")
@click.option("--folds", type=int, default=0, help="Score all clips, by this many trainings on the others.")
@opt.group_by
@click.option("--linear-probe", is_flag=True, help="Only fit a classifier to the features: --recipe probe.")
@click.option(
    "--everything/--no-everything", default=True, show_default=True, help="Train on all clips at the end."
)
@opt.freeze
@click.option("--thaw-at", type=float, help="From this part of the steps on it learns, too, such as 0.3.")
@click.option("--norms", type=click.Choice(("kept", "measured", "learned")), help="What batch norms do.")
@click.option("--no-balance", is_flag=True, help="Draw clips as they come, whatever their classes.")
@click.option("--flip/--no-flip", default=None, help="By default not for classes called left or right.")
@click.option("--smallest-area", type=float, help="Part of the picture that random crops keep at least.")
@click.option("--keep-clip", is_flag=True, help="Keep frames and rate of the model's own clip.")
@click.option("--optimizer", type=click.Choice(("sgd", "adamw")), help="Another one needs its own --lr.")
@opt.config(
    seed="Of the split, classifier, order and augmentation.",
    epochs="Passes over the data.  [default: by the number of clips]",
    batch_size="Clips per step; scales the rate.  [default: 8]",
    lr="Instead of the recipe's, for as many clips per step as there.",
    precision="What the network computes in.  [default: float32]",
    workers="Processes that read clips.  [default: 2]",
)
@click.option(
    "--views", type=opt.ViewsType(), help="Views that scores look at.  [default: by the clips' lengths]"
)
@opt.max_unreadable
@click.option("--preview", is_flag=True, help="Write a sheet of training clips before the first step.")
@opt.tensorboard
@opt.device
@opt.resume
@opt.reading
def finetune_command(
    data: Path,
    model: ModelRef,
    from_scratch: bool,
    work_dir: Path | None,
    validation: Path | None,
    recipe: str | None,
    linear_probe: bool,
    no_balance: bool,
    optimizer: str | None,
    thaw_at: float | None,
    config: dict[str, Any],
    reading: ReadOptions,
    tensorboard: bool,
    **options: Any,
) -> None:
    """Trains a model for the classes of DATA: a folder with a folder per class, or a list.

    Span and rate of the clips, the number of steps and the recipe follow from the data; some recipes are
    compared on folds inside the training part. A DATA folder divided into train and val, test or both is used
    as it is; else a part is held out, to be scored, whose sources aren't trained on. Everything goes to the
    work directory: report, confusion matrix, curves, and the folder "model" for predict --model. On several
    GPUs: torchrun --nproc-per-node 2 --no-python slowfast-zoo finetune ...
    """
    if linear_probe and recipe not in (None, "probe"):
        raise InputError(f"--linear-probe is --recipe probe; leave out it, or --recipe {recipe}.")
    if from_scratch and (linear_probe or recipe == "probe"):
        probe = "--linear-probe" if linear_probe else "--recipe probe"
        raise InputError(f"A linear probe needs trained features: leave out --from-scratch or {probe}.")
    import torch

    from slowfast_zoo.data.folders import check_outside
    from slowfast_zoo.data.lists import read_beside, read_parts
    from slowfast_zoo.evaluation.evaluate import format_table
    from slowfast_zoo.runtime.distributed import join
    from slowfast_zoo.training.finetune.finetune import finetune
    from slowfast_zoo.training.log import listening
    from slowfast_zoo.training.recipe import TrainConfig

    config = opt.changes(config, optimizer=optimizer, thaw_at=thaw_at)
    if from_scratch and not options["resume"]:
        check_random(options["freeze_up_to"], config.get("thaw_at", 1.0))
    beside = validation is not None or options["folds"]
    if beside and (given := opt.typed(["val"])) and not options["resume"]:
        raise InputError(f"{given}: for a part held out of DATA; leave it out, or --validation and --folds.")
    folder = work_dir or Path("work_dirs") / f"finetune-{data.resolve().stem}"
    if not options["resume"]:
        check_outside(folder, data, *filter(None, [validation]))
    source: Path | dict[str, Annotations] = data
    held_out: Path | Annotations | None = validation
    notes: list[str] = []
    if any(option is not None for option in reading.values()):
        refuse_for_folders(data, *filter(None, [validation]))
        source, notes = read_parts(data, anew=bool(options["folds"]), **reading)
        if validation is not None:
            held_out, more = read_beside(validation, source["train"], **reading)
            notes += more
    torch.manual_seed(TrainConfig().replace(**config).seed)
    network = model.untrained() if from_scratch else _start(model).load()
    if from_scratch:
        recipe = recipe or "learn"
        if model.entry is None:
            network.reset_parameters()
            network.provenance = {}
    first = join(options["device"]).first
    if first:
        logging.getLogger("slowfast_zoo.training.finetune.finetune").setLevel(logging.INFO)
        for note in notes:
            echo(note, err=True)
    with listening(folder, tensorboard and first) as listener:
        result = finetune(
            source,
            network,
            work_dir=folder,
            validation=held_out,
            recipe="probe" if linear_probe else recipe,
            config=config,
            balance=not no_balance,
            listener=listener,
            **options,
        )
    if not first:
        return
    if result.tried:
        echo(format_table(result.tried) + "\n")
    echo(result.scores())  # the rest of the report was said when it was decided


def _start(model: ModelRef) -> ModelRef:
    """The same model, with the weights that fine-tuning is better started from where it has such."""
    tag = FINETUNE_TAGS.get(model.text)
    return model if tag is None else dataclasses.replace(model, entry=get_weights(model.text, tag))


@command("report", "report work_dirs/finetune-clips")
@click.argument("folder", type=opt.PathType(path_type=Path, file_okay=False, exists=True))
def report_command(folder: Path) -> None:
    """Draws the curves and the confusion matrix of the training in FOLDER, finished or not.

    FOLDER is the work directory of train or finetune. The report of a fine-tuning is printed as well.
    """
    from slowfast_zoo.runtime.packages import require
    from slowfast_zoo.training.finetune.folder import CONFUSION, REPORT
    from slowfast_zoo.training.finetune.report import draw_report
    from slowfast_zoo.training.state import LOG

    require("matplotlib")
    if (folder / REPORT).exists():
        echo((folder / REPORT).read_text(encoding="utf-8", errors="replace"))
    drawn = draw_report(folder)
    for path in drawn:
        echo(path)
    if not drawn:
        raise TrainingError(f"{folder} holds neither {LOG} with training steps nor {CONFUSION} to draw.")
