"""How the clips of an epoch become optimizer steps, and the learning rate of each, as publishers compute it.

Arithmetic only, no torch.

Sources: MMCV 1.x ``mmcv/runner/hooks/lr_updater.py`` (``CosineAnnealingLrUpdaterHook``,
``StepLrUpdaterHook``, ``LrUpdaterHook.get_warmup_lr``; https://github.com/open-mmlab/mmcv), MMEngine
``mmengine/optim/scheduler/param_scheduler.py`` (https://github.com/open-mmlab/mmengine), and PySlowFast
``slowfast/utils/lr_policy.py`` (https://github.com/facebookresearch/SlowFast).
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from slowfast_zoo.errors import DataError, counted

if TYPE_CHECKING:
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
                f"The dataset gives {counted(epoch_clips, 'clip')} per epoch; a step of"
                f" {counted(world, 'process')} with {counted(config.accumulate, 'forward pass')} each needs"
                f" at least {passes}."
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
        if config.lr_batch is not None and config.lr_batch != self.step_clips:
            scaled = f" (scaled from {config.lr:g} for {counted(config.lr_batch, 'clip')})"
        return (
            f"{counted(config.epochs, 'epoch')} of {counted(self.steps_per_epoch, 'step')} of"
            f" {counted(self.step_clips, 'clip')}, learning rate {self.lr:g}{scaled}"
        )


def frozen_told(up_to: str, config: TrainConfig) -> str:
    """One sentence: up to which part nothing learns, and until when."""
    until = f" until {config.thaw_at:.0%} of the steps are done" if config.thaw_at < 1 else ""
    return f"Frozen: both pathways up to {up_to}{until}."


def in_epochs(config: TrainConfig, epochs: int) -> TrainConfig:
    """The same training in another number of epochs, with warm-up and milestones at the same parts of it.

    Raises:
        SpecError: that is no number of epochs.
    """
    shorter, part = config.replace(epochs=epochs), epochs / config.epochs
    steps = config.warmup_iterations
    return shorter.replace(
        warmup_epochs=config.warmup_epochs * part,
        warmup_iterations=max(round(steps * part), 1) if steps else 0,
        milestones=tuple(sorted({max(round(epoch * part), 1) for epoch in config.milestones})),
    )


def learning_rate(config: TrainConfig, iteration: int, iterations_per_epoch: int, base: float) -> float:
    """The learning rate of one optimizer step.

    "openmmlab-0.x" and "openmmlab-1.x": the curve of whole epochs times the warm-up of iterations; the
    curve covers all epochs, the warm-up's too. Their trainings on AVA differ: "openmmlab-0.x-iterations" has
    the curve of fractional epochs, "openmmlab-1.x-iterations" this curve over the epochs after the warm-up,
    "openmmlab-1.x-epochs" a warm-up that changes from epoch to epoch. "pyslowfast": the curve of fractional
    epochs, and a straight line from ``warmup_ratio * base`` to the curve's value at the end of the warm-up.

    Args:
        config: the schedule's fields are read.
        iteration: optimizer steps done before, over all epochs.
        iterations_per_epoch: optimizer steps per epoch.
        base: the rate that the schedule starts from, after linear scaling.
    """
    rule, warmup = config.schedule_rule, warmup_iterations(config, iterations_per_epoch)
    epoch = iteration / iterations_per_epoch
    if rule == "pyslowfast":
        if iteration >= warmup:
            return base * curve(config, epoch)
        start, end = config.warmup_ratio, curve(config, warmup / iterations_per_epoch)
        return base * (start + (end - start) * iteration / warmup)
    if rule == "openmmlab-1.x-iterations":
        before = warmup / iterations_per_epoch
        rate = base * curve(config, max(epoch - before, 0.0), config.epochs - before)
    else:
        whole = iteration // iterations_per_epoch
        rate = base * curve(config, epoch if rule == "openmmlab-0.x-iterations" else whole)
    if iteration >= warmup:
        return rate
    if rule == "openmmlab-1.x-epochs":
        iteration, warmup = iteration // iterations_per_epoch, math.ceil(warmup / iterations_per_epoch)
    # 1.x reaches the full rate one iteration earlier than 0.x.
    steps = warmup if rule.startswith("openmmlab-0.x") else max(warmup - 1, 1)
    return rate * min(1.0, config.warmup_ratio + (1 - config.warmup_ratio) * iteration / steps)


def warmup_iterations(config: TrainConfig, iterations_per_epoch: int) -> int:
    """Optimizer steps of the warm-up, whichever way the recipe counts them."""
    return config.warmup_iterations or round(config.warmup_epochs * iterations_per_epoch)


def curve(config: TrainConfig, epoch: float, epochs: float | None = None) -> float:
    """The factor that the schedule without its warm-up gives at that (fractional) epoch.

    Args:
        config: names the schedule.
        epoch: from 0.
        epochs: that a cosine covers; None: all.
    """
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * epoch / (epochs or config.epochs)))
    if config.schedule == "step":
        return config.step_factor ** sum(epoch >= milestone for milestone in config.milestones)
    return 1.0
