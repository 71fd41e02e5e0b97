"""The learning rate at every iteration, as each publisher computes it: arithmetic only, no torch.

Sources: MMCV 1.x ``mmcv/runner/hooks/lr_updater.py`` (``CosineAnnealingLrUpdaterHook``,
``StepLrUpdaterHook``, ``LrUpdaterHook.get_warmup_lr``; https://github.com/open-mmlab/mmcv), MMEngine
``mmengine/optim/scheduler/param_scheduler.py`` (https://github.com/open-mmlab/mmengine), and PySlowFast
``slowfast/utils/lr_policy.py`` (https://github.com/facebookresearch/SlowFast).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slowfast_zoo.training.recipe import TrainConfig


def learning_rate(config: TrainConfig, iteration: int, iterations_per_epoch: int, base: float) -> float:
    """The learning rate of one optimizer step.

    "openmmlab-0.x" and "openmmlab-1.x": the curve of whole epochs times the warm-up of iterations; the
    curve covers all epochs, the warm-up's too. "pyslowfast": the curve of fractional epochs, and a straight
    line from ``warmup_ratio * base`` to the curve's value at the end of the warm-up.

    Args:
        config: the schedule's fields are read.
        iteration: optimizer steps done before, over all epochs.
        iterations_per_epoch: optimizer steps per epoch.
        base: the rate that the schedule starts from, after linear scaling.
    """
    warmup = warmup_iterations(config, iterations_per_epoch)
    if config.schedule_rule == "pyslowfast":
        epoch = iteration / iterations_per_epoch
        if iteration >= warmup:
            return base * curve(config, epoch)
        start, end = config.warmup_ratio, curve(config, warmup / iterations_per_epoch)
        return base * (start + (end - start) * iteration / warmup)
    rate = base * curve(config, iteration // iterations_per_epoch)
    if iteration >= warmup:
        return rate
    # 1.x reaches the full rate one iteration earlier than 0.x.
    steps = warmup if config.schedule_rule == "openmmlab-0.x" else max(warmup - 1, 1)
    return rate * min(1.0, config.warmup_ratio + (1 - config.warmup_ratio) * iteration / steps)


def warmup_iterations(config: TrainConfig, iterations_per_epoch: int) -> int:
    """Optimizer steps of the warm-up, whichever way the recipe counts them."""
    return config.warmup_iterations or round(config.warmup_epochs * iterations_per_epoch)


def curve(config: TrainConfig, epoch: float) -> float:
    """The factor that the schedule without its warm-up gives at that (fractional) epoch."""
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * epoch / config.epochs))
    if config.schedule == "step":
        return config.step_factor ** sum(epoch >= milestone for milestone in config.milestones)
    return 1.0
