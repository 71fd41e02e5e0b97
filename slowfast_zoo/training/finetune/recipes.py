"""Ways to fine-tune that are compared, and how long they take on so many clips."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from slowfast_zoo.errors import UnknownNameError, did_you_mean, quoted
from slowfast_zoo.spec import ModelSpec
from slowfast_zoo.training.finetune.footage import is_small
from slowfast_zoo.training.recipe import TrainConfig
from slowfast_zoo.training.schedule import Plan

Norms = Literal["kept", "measured", "learned"]

_ADAMW = TrainConfig(
    epochs=1,
    batch_size=8,
    optimizer="adamw",
    lr=2e-3,
    lr_batch=8,
    weight_decay=0.05,
    ema=0.99,
    warmup_epochs=1,
    schedule_rule="pyslowfast",
)
_SGD = TrainConfig(
    epochs=1, batch_size=8, lr=0.02, lr_batch=64, ema=0.99, warmup_epochs=1, schedule_rule="pyslowfast"
)
WEIGHT_DECAY = {config.optimizer: config.weight_decay for config in (_ADAMW, _SGD)}
"""The one that suits each optimizer; AdamW's is far too much for SGD."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneRecipe:
    """One way to fine-tune; how many epochs it trains depends on the clips."""

    name: str
    """For ``--recipe``."""
    why: str
    """When it is good, for people."""
    config: TrainConfig | None
    """Optimizer, rate, batch; None: only the classifier is fitted."""
    norms: Norms = "kept"
    """Batch norms keep their statistics, have those of the new clips measured before, or learn."""
    from_probe: bool = True
    """Whether the classifier starts in the probe's direction; else random."""
    smallest_area: float = 0.5
    """Part of the picture that random crops keep at least."""

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


PROBE = FinetuneRecipe(name="probe", why="a classifier on the features as they are", config=None)

RECIPES: Mapping[str, FinetuneRecipe] = {
    recipe.name: recipe
    for recipe in (
        FinetuneRecipe(
            name="learn",
            why="AdamW at a high rate, batch norms learn, pictures and colors change, stills are mixed in:"
            " for motions that the weights don't know, in places that tell nothing",
            config=_ADAMW.replace(rand_augment=9, still_mix=0.5, color_jitter=0.5),
            norms="learned",
            from_probe=False,
            smallest_area=0.7,
        ),
        FinetuneRecipe(
            name="plain",
            why="as learn, without stills and color jitter: for classes that colors, things and places tell",
            config=_ADAMW.replace(rand_augment=9),
            norms="learned",
            from_probe=False,
            smallest_area=0.7,
        ),
        FinetuneRecipe(
            name="gentle",
            why="SGD at a fifth of the rate that published networks were trained with, from the linear probe,"
            " batch norms kept: for features that fit already",
            config=_SGD,
        ),
        FinetuneRecipe(
            name="measured",
            why="AdamW at a middle rate from the linear probe, batch norms measured on the new clips",
            config=_ADAMW.replace(lr=5e-4),
            norms="measured",
        ),
        PROBE,
    )
}
"""For small networks the first was found by trying (benchmarks/accuracy/weizmann.py measures it). For
published ones, which nobody tried here, the order is the literature's: start from the linear probe (Kumar et
al. 2022, https://arxiv.org/abs/2202.10054), statistics of batch norms kept where batches are small (Wu and
Johnson 2021, https://arxiv.org/abs/2105.07576)."""

_SMALL_ORDER = ("learn", "plain", "measured", "gentle")
_LARGE_ORDER = ("gentle", "measured", "learn", "plain")
FEWEST_STEPS, _FEWEST_EPOCHS = 600, 8
"""Optimizer steps for a few dozen clips, and what the largest sets are passed over."""
_USUAL_CLIPS = 60
LOOK = 0.5
"""What a view costs that is only looked at, for features and scores; a clip that is trained on costs 1."""
_MOST_LOOKS, _FEWEST_LOOKS, _SHARE_OF_LOOKS = 10, 2, 0.1
"""At the held-out clips while it trains, and their share of what the training costs."""


def recipe_named(name: str) -> FinetuneRecipe:
    """The recipe of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if not isinstance(name, str) or name not in RECIPES:
        near = did_you_mean(name, RECIPES)
        raise UnknownNameError(f"There is no recipe '{name}'.{near} Accepted: {quoted(RECIPES)}.")
    return RECIPES[name]


def candidates(spec: ModelSpec) -> list[FinetuneRecipe]:
    """What is worth a trial for such a network, the likeliest first; the probe isn't among them."""
    return [RECIPES[name] for name in (_SMALL_ORDER if is_small(spec) else _LARGE_ORDER)]


def wanted_steps(clips: int) -> int:
    """Optimizer steps of 8 that so many clips deserve: 600 up to 60, then with their square root.

    60 clips gained 12 points from 240 to 600 steps; 6,000 clips get 6,000 steps, eight passes.
    """
    return round(FEWEST_STEPS * math.sqrt(max(clips / _USUAL_CLIPS, 1)))


def scheduled(
    config: TrainConfig, clips: int, steps: int, changes: Mapping[str, Any], world: int = 1, watched: int = 0
) -> TrainConfig:
    """The training of about so many steps on so many clips.

    Steps are of about equal size and use all clips: 15 clips in steps of 8 make two of 7, not one of 8. Where
    processes can't share them evenly, a step has the nearest number of clips that they can.

    Args:
        config: the recipe's.
        clips: to train with.
        steps: optimizer steps; those of ``changes`` that say ``epochs`` decide instead.
        changes: fields that the user has given.
        world: processes that share the clips of a step.
        watched: views that each validation looks at; many of them are looked at less often.
    """
    config = config.replace(**changes)
    step = config.batch_size * config.accumulate
    pieces = -(-clips // step)
    alone = clips // pieces // config.accumulate  # what one process would have in a forward pass
    config = config.replace(batch_size=max(round(alone / world), 1))
    if "epochs" not in changes:
        per_epoch = Plan.of(config, clips, world).steps_per_epoch
        epochs = max(round(steps / per_epoch), 1)
        config = config.replace(epochs=epochs)
        if epochs * per_epoch > 1.05 * steps:  # few passes, too long for the steps: not all clips in each
            shorter = max(steps // epochs, 1) * config.batch_size * config.accumulate * world
            config = config.replace(clips_per_epoch=shorter)
    plan = Plan.of(config, clips, world)
    per_epoch = plan.steps_per_epoch
    looks = int(_SHARE_OF_LOOKS * plan.steps * plan.step_clips / (LOOK * max(watched, 1)))
    looks = min(max(looks, _FEWEST_LOOKS), _MOST_LOOKS)
    usual = {
        "warmup_epochs": min(config.warmup_epochs, config.epochs / 5),
        "validate_every": -(-config.epochs // looks),
        "checkpoint_every": max(30 // per_epoch, 1),
        "checkpoint_steps": 200 if per_epoch > 400 else 0,
    }
    return config.replace(**{name: value for name, value in usual.items() if name not in changes})
