"""How the clips of an epoch become optimiser steps: arithmetic only, no torch."""

from __future__ import annotations

import dataclasses

from slowfast_zoo.errors import DataError
from slowfast_zoo.training.recipe import TrainConfig


@dataclasses.dataclass(frozen=True)
class Plan:
    """Counts of a training on one dataset with one number of processes."""

    micro_batch: int
    """Clips per forward pass in each process."""
    step_clips: int
    """Clips per optimiser step over all processes."""
    steps_per_epoch: int
    """Optimiser steps per epoch."""
    steps: int
    """Optimiser steps of the whole training."""
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
