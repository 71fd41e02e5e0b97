"""How the clips of an epoch become optimizer steps, and whether there is anything to train."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from slowfast_zoo.data.dataset import ClipDataset
from slowfast_zoo.errors import DataError, InputError
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.training.recipe import TrainConfig


@dataclasses.dataclass(frozen=True)
class Plan:
    """Counts of a training on one dataset with one number of processes."""

    micro_batch: int
    """Clips per forward pass in each process."""
    step_clips: int
    """Clips per optimizer step over all processes."""
    steps_per_epoch: int
    """Optimizer steps per epoch."""
    steps: int
    """Optimizer steps of the whole training."""
    lr: float
    """Highest learning rate, after linear scaling."""

    @classmethod
    def of(cls, config: TrainConfig, clips: int, world: int) -> Plan:
        """The plan for a dataset of that many clips and that many processes.

        What doesn't fill a last step waits for an epoch with another order. A dataset that doesn't fill
        one step makes a smaller one.

        Raises:
            DataError: fewer clips than forward passes in a step.
        """
        passes = world * config.accumulate
        epoch_clips = min(clips, config.clips_per_epoch or clips)
        micro_batch = min(config.batch_size, epoch_clips // passes)
        if micro_batch == 0:
            raise DataError(
                f"The dataset gives {epoch_clips} clips per epoch; a step of {world} processes with"
                f" {config.accumulate} forward passes each needs at least {passes}."
            )
        step_clips = micro_batch * passes
        steps_per_epoch = epoch_clips // step_clips
        return cls(
            micro_batch,
            step_clips,
            steps_per_epoch,
            steps_per_epoch * config.epochs,
            config.scaled_lr(step_clips),
        )

    def describe(self, config: TrainConfig) -> str:
        """One sentence: the batch, and the learning rate that linear scaling makes of the recipe's."""
        scaled = ""
        if config.lr_batch not in (None, self.step_clips):
            scaled = f" (scaled from {config.lr:g} for {config.lr_batch} clips)"
        return (
            f"{config.epochs} epochs of {self.steps_per_epoch} steps of {self.step_clips} clips, "
            f"learning rate {self.lr:g}{scaled}"
        )


def check_trainable(
    model: SlowFast,
    dataset: ClipDataset,
    validation: ClipDataset | None,
    sample_weights: Sequence[float] | None,
) -> None:
    """Refuses what no training can start with; the arguments are those of ``train``.

    Raises:
        InputError: a model without classifier or without anything to train, or a wrong number of weights.
        DataError: an empty dataset.
    """
    if model.spec.num_classes == 0:
        raise InputError("The model has no classifier; reset_classifier(num_classes) gives it one.")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError("Every parameter of the model is frozen; there is nothing to train.")
    for name, data in (("training", dataset), ("validation", validation)):
        if data is not None and len(data) == 0:
            raise DataError(f"The {name} dataset is empty.")
    if sample_weights is not None:
        usable = len(sample_weights) == len(dataset) and min(sample_weights) >= 0 and sum(sample_weights) > 0
        if not usable or not math.isfinite(sum(sample_weights)):
            raise InputError(
                f"sample_weights are {len(sample_weights)} numbers for {len(dataset)} clips; accepted: one"
                " number of at least 0 per clip, not all of them 0."
            )
