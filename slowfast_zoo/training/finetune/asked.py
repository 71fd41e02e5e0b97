"""What a fine-tuning is asked for: what can't be had is refused before anything is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args

from slowfast_zoo.errors import InputError, SpecError, UnknownNameError, did_you_mean, quoted
from slowfast_zoo.network.slowfast import SlowFast, check_slowfast
from slowfast_zoo.training.finetune.recipes import (
    WEIGHT_DECAY,
    FinetuneRecipe,
    Norms,
    candidates,
    recipe_named,
)
from slowfast_zoo.training.optimizer import check_weights
from slowfast_zoo.training.recipe import TrainConfig
from slowfast_zoo.training.train import check_thawing
from slowfast_zoo.video.clips import Views, view_counts
from slowfast_zoo.video.sampling import is_count, is_number
from slowfast_zoo.weights.checkpoint.layers import check_code, check_layers, state_shapes


def check_model(model: SlowFast, views: Views | None, smallest_area: float | None) -> None:
    """Refuses a network that isn't fine-tuned here, and views and crops that there aren't.

    Raises:
        InputError: says what is accepted.
        SpecError: crops of no part of a picture.
    """
    check_slowfast(model, "finetune")
    check_weights(model)
    if model.spec.roi is not None:
        raise InputError(
            "finetune learns from labels of clips, and this model scores persons: train (slowfast-zoo train"
            " RECIPE persons.csv --model MODEL) learns from annotations of theirs, also of few classes."
        )
    if model.spec.in_channels != 3:
        raise InputError(f"finetune reads RGB video, this model takes {model.spec.in_channels} channels.")
    names = {**state_shapes(model.spec), **model.state_dict()}  # the classifier will be a fresh one
    check_layers(model, [name for name in names if not name.startswith("classifier.")])
    check_code(model, with_head=False)
    if views is not None:
        view_counts(model.clip_spec, views)
    if smallest_area is not None:
        model.clip_spec.replace(smallest_area=smallest_area)


def changes_of(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields to change, as a dictionary of its own.

    Raises:
        InputError: no mapping of names, such as a whole ``TrainConfig``.
    """
    if config is not None and not (isinstance(config, Mapping) and all(isinstance(k, str) for k in config)):
        raise InputError(
            f"config is a {type(config).__name__}; accepted: the fields to change, such as {{'epochs': 20}}."
        )
    return dict(config or {})


def check_extent(
    folds: int,
    everything: bool,
    budget_seconds: float | None,
    val: float,
    changes: Mapping[str, Any],
    freeze_up_to: str | None,
    validated: bool,
) -> None:
    """Refuses numbers of trainings and seconds that are none, or contradict each other, and parts to freeze.

    Raises:
        InputError: says what is accepted.
        UnknownNameError: no such part of the network.
    """
    check_thawing(changes.get("thaw_at", 1.0), freeze_up_to)
    if not folds and not (is_number(val) and 0 < val < 1):
        raise InputError(f"val is {val!r}; accepted: a part of the clips, above 0 and below 1.")
    if folds and not (is_count(folds) and folds > 1 and everything):
        raise InputError(f"folds is {folds!r}; accepted: 0, or from 2, with a training on everything.")
    if folds and validated:
        raise InputError("Folds divide the clips anew, and clips of validation are given; give one of both.")
    if budget_seconds is not None and not (is_number(budget_seconds) and budget_seconds > 0):
        raise InputError(f"budget_seconds is {budget_seconds!r}; accepted: a number above 0.")
    if budget_seconds is not None and "epochs" in changes:
        raise InputError("A budget decides how many steps there are, and so do epochs: give one of both.")


def check_choices(group_by: str | None, flip: bool | None) -> None:
    """Refuses choices of another kind.

    Raises:
        InputError: says what is accepted.
    """
    if not isinstance(group_by, str | None):
        raise InputError(f"group_by is {group_by!r:.60}; accepted: a text, or None.")
    if flip not in (None, True, False):
        raise InputError(f"flip is {flip!r:.60}; accepted: True, False or None.")


def forced_recipe(
    recipe: str | None, changes: Mapping[str, Any], norms: Norms | None, model: SlowFast
) -> FinetuneRecipe | None:
    """The recipe that the user has decided on; None: it is to be found.

    Raises:
        UnknownNameError: no such recipe, or nothing that batch norms do.
        SpecError: fields and values that are none, or that a recipe doesn't go with.
        InputError: another optimizer without a rate, or what doesn't go with a probe.
    """
    TrainConfig().replace(**changes)  # refuses fields and values that are none
    if norms is not None and norms not in get_args(Norms):
        near = did_you_mean(str(norms), get_args(Norms))
        raise UnknownNameError(f"norms is {norms!r}.{near} Accepted: {quoted(get_args(Norms))}.")
    own = {"optimizer", "lr"} & set(changes)
    if recipe is None and not own and norms is None:
        for one in candidates(model.spec):
            _check_changes(one, changes)
        return None
    base = recipe_named(recipe) if recipe is not None else candidates(model.spec)[0]
    if base.config is None:
        if norms not in (None, "kept"):
            raise InputError(
                "A linear probe leaves the network as it is: norms that learn or are measured need a training"
                " after it."
            )
        return base
    usual, optimizer = base.config.optimizer, changes.get("optimizer", base.config.optimizer)
    if optimizer != usual:
        if "lr" not in changes:
            raise InputError(
                f"The recipe '{base.name}' has the optimizer {usual} and its rate; another one needs its own"
                " rate (lr, --lr)."
            )
        base = dataclasses.replace(base, config=base.config.replace(weight_decay=WEIGHT_DECAY[optimizer]))
    _check_changes(base, changes)
    return base if norms is None else dataclasses.replace(base, norms=norms)


def _check_changes(recipe: FinetuneRecipe, changes: Mapping[str, Any]) -> None:
    assert recipe.config is not None
    try:
        recipe.config.replace(**changes)
    except SpecError as error:
        told = f"With the recipe '{recipe.name}', {error} Take another one (recipe, --recipe)."
        raise SpecError(told) from error
