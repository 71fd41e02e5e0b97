"""The published recipes, by OpenMMLab's and PySlowFast's own config names, and ours for camera motion.

A published number is kept once: network, clip spec, labels and GPUs of a recipe are those of its row in the
catalog.

Sources: ``configs/recognition/slowfast`` and ``configs/detection`` of
https://github.com/open-mmlab/mmaction2 at v0.21.0, v0.24.1 and v1.2.0, and ``configs`` of
https://github.com/facebookresearch/SlowFast, in the files of those names.
"""

from __future__ import annotations

import dataclasses
import functools
import math

from slowfast_zoo.errors import UnknownNameError, did_you_mean, quoted
from slowfast_zoo.training.recipe import Recipe, TrainConfig
from slowfast_zoo.weights.catalog import find_config, get_weights

_KINETICS = TrainConfig()
_KINETICS_1X = _KINETICS.replace(schedule_rule="openmmlab-1.x")
_STEPS = {"schedule": "step", "milestones": (94, 154, 196)}
_STHV1 = TrainConfig(
    epochs=22,
    batch_size=4,
    lr=0.06,
    lr_batch=32,
    weight_decay=1e-6,
    schedule="step",
    milestones=(14, 18),
    warmup_epochs=0,
    warmup_iterations=510,
)
# The warm-up starts from 0.01; batch norms have no weight decay; gradients aren't clipped; what it fine-tunes
# shares statistics of batch norms (NUM_SYNC_DEVICES 4 in configs/SSv2/SLOWFAST_16x8_R50.yaml, Charades too).
_PYSLOWFAST = TrainConfig(
    epochs=196,
    nesterov=True,
    norm_weight_decay=0.0,
    grad_clip=None,
    schedule_rule="pyslowfast",
    precise_bn_batches=200,
    validate_every=10,
)
_PYSLOWFAST_STEPS = _PYSLOWFAST.replace(epochs=239, **_STEPS)
_SSV2 = _PYSLOWFAST.replace(
    epochs=22,
    batch_size=2,
    lr=0.03,
    lr_batch=16,
    weight_decay=1e-6,
    schedule="step",
    milestones=(14, 18),
    warmup_epochs=0.19,
    warmup_ratio=0.0001 / 0.03,
    sync_batch_norms=4,
    validate_every=2,
)
_CHARADES = _SSV2.replace(
    epochs=57,
    lr=0.0375,
    weight_decay=1e-4,
    milestones=(41, 49),
    warmup_epochs=4,
    warmup_ratio=0.0001 / 0.0375,
    validate_every=6,
)
# OpenMMLab's on AVA: 0.x counts a cosine's iterations, 1.x begins it after the warm-up; where 1.x has steps
# it warms up from epoch to epoch.
_AVA = TrainConfig(
    epochs=20,
    batch_size=9,
    lr=0.1125,
    lr_batch=72,
    weight_decay=1e-5,
    schedule="step",
    milestones=(10, 15),
    warmup_epochs=5,
    validate_every=1,
)
_AVA_8X8 = _AVA.replace(batch_size=5, lr=0.075, lr_batch=40)
_AVA_COSINE = _AVA.replace(
    epochs=10,
    batch_size=6,
    lr=0.075,
    lr_batch=48,
    schedule="cosine",
    schedule_rule="openmmlab-0.x-iterations",
    milestones=(),
    warmup_epochs=2,
)
_AVA_1X = _AVA.replace(batch_size=16, lr=0.2, lr_batch=128, schedule_rule="openmmlab-1.x-epochs")
_AVA_1X_COSINE = _AVA_COSINE.replace(schedule_rule="openmmlab-1.x-iterations")
_AVA_1X_ACRN = _AVA_1X_COSINE.replace(batch_size=8, lr=0.1, lr_batch=64)
_FOCAL = {"focal_alpha": 3.0, "focal_gamma": 1.0}
_PERSONS = (
    "The publisher also trained on boxes of persons who lie outside of the random crop, squeezed to its edge;"
    " here they are left out, and of each frame all persons are learned, not 32 drawn by chance."
)
_IDLE = " Persons who do none of the 16 actions, whom the publisher left out, are learned as such."

_CAMERA_MOTION = TrainConfig(
    epochs=18,
    clips_per_epoch=6000,
    batch_size=32,
    optimizer="adamw",
    lr=3e-3,
    lr_batch=None,
    weight_decay=0.02,
    norm_weight_decay=0.0,
    grad_clip=5.0,
    label_smoothing=0.05,
    warmup_epochs=1,
    schedule_rule="pyslowfast",
    warmup_ratio=0.05,
    channels_last=True,
    validate_every=6,
)

_CONFIGS: dict[tuple[str, str], TrainConfig] = {
    ("slowfast_r50_4x16x1", "mmaction2/k400-256e-256p"): _KINETICS,
    ("slowfast_r50_4x16x1", "mmaction2/k400-256e-256p-video"): _KINETICS,
    ("slowfast_r50_4x16x1", "mmaction2/k400-256e-320p"): _KINETICS,
    ("slowfast_r50_4x16x1", "mmaction2/k400-256e-320p-prebn"): _KINETICS.replace(precise_bn_batches=200),
    ("slowfast_r50_8x8x1", "mmaction2/k400-256e-320p"): _KINETICS,
    ("slowfast_r101_r50_4x16x1", "mmaction2/k400-256e-256p"): _KINETICS,
    ("slowfast_r101_8x8x1", "mmaction2/k400-256e-256p"): _KINETICS,
    ("slowfast_r152_r50_4x16x1", "mmaction2/k400-256e-256p"): _KINETICS,
    ("slowfast_r50_16x8x1", "mmaction2/sthv1-22e"): _STHV1,
    ("slowfast_r50_8x8x1", "mmaction2/k400-256e-320p-steplr"): _KINETICS.replace(**_STEPS),
    ("slowfast_r50_8x8x1", "mmaction2/k400-256e-320p-steplr-prebn"): _KINETICS.replace(
        precise_bn_batches=200, precise_bn_every=5, **_STEPS
    ),
    ("slowfast_r50_4x16x1", "mmaction2-1x/k400-256e"): _KINETICS_1X,
    ("slowfast_r50_8x8x1", "mmaction2-1x/k400-256e"): _KINETICS_1X,
    ("slowfast_r50_8x8x1", "mmaction2-1x/k400-256e-steplr"): _KINETICS_1X.replace(**_STEPS),
    ("slowfast_r101_r50_4x16x1", "mmaction2-1x/k400-256e"): _KINETICS_1X,
    ("slowfast_r101_8x8x1", "mmaction2-1x/k400-256e"): _KINETICS_1X,
    ("slowfast_r50_4x16x1", "pyslowfast/k400"): _PYSLOWFAST,
    ("slowfast_r50_8x8x1", "pyslowfast/k400"): _PYSLOWFAST,
    ("slowfast_r50_8x8x1", "pyslowfast/k400-stepwise"): _PYSLOWFAST_STEPS,
    ("slowfast_r50_16x8x1", "pyslowfast/ssv2"): _SSV2,
    ("slowfast_r50_16x8x1", "pyslowfast/charades"): _CHARADES,
    ("slowfast_r50_4x16x1_roi", "mmaction2/ava21-20e"): _AVA,
    ("slowfast_r50_4x16x1_roi", "mmaction2/ava21-20e-context"): _AVA,
    ("slowfast_r50_8x8x1_roi", "mmaction2/ava21-20e"): _AVA_8X8,
    ("slowfast_r50_8x8x1_roi", "mmaction2/ava22-10e"): _AVA_COSINE,
    ("slowfast_r50_8x8x1_roi", "mmaction2/ava22-10e-temporal-max"): _AVA_COSINE,
    ("slowfast_r50_8x8x1_roi", "mmaction2/ava22-10e-temporal-max-focal"): _AVA_COSINE.replace(**_FOCAL),
    ("slowfast_r50_4x16x1_roi", "mmaction2/ava21-20e-16"): _AVA.replace(warmup_ratio=0.05),
    ("slowfast_r50_8x8x1_roi", "mmaction2/ava21-10e-acrn"): _AVA_COSINE,
    ("slowfast_r50_8x8x1_roi", "mmaction2/ava22-10e-acrn"): _AVA_COSINE,
    ("slowfast_r50_4x16x1_roi", "mmaction2-1x/ava21-20e"): _AVA_1X,
    ("slowfast_r50_4x16x1_roi", "mmaction2-1x/ava21-20e-context"): _AVA_1X,
    ("slowfast_r50_8x8x1_roi", "mmaction2-1x/ava21-20e"): _AVA_1X.replace(batch_size=8, lr=0.1, lr_batch=64),
    ("slowfast_r50_8x8x1_roi", "mmaction2-1x/ava22-10e"): _AVA_1X_COSINE,
    ("slowfast_r50_8x8x1_roi", "mmaction2-1x/ava22-10e-temporal-max"): _AVA_1X_COSINE,
    ("slowfast_r50_8x8x1_roi", "mmaction2-1x/ava22-10e-temporal-max-focal"): _AVA_1X_COSINE.replace(**_FOCAL),
    ("slowfast_r50_4x16x1_roi", "mmaction2-1x/multisports-8e"): _AVA_1X.replace(
        epochs=8, milestones=(6, 7), lr=0.01125, grad_clip=5.0
    ),
    ("slowfast_r50_8x8x1_roi", "mmaction2-1x/ava21-10e-acrn"): _AVA_1X_ACRN,
    ("slowfast_r50_8x8x1_roi", "mmaction2-1x/ava22-10e-acrn"): _AVA_1X_ACRN,
    ("slowfast_tiny", "camera-motion"): _CAMERA_MOTION,
}
"""By model and tag. Multigrid trainings change the clip's size while they run and are left out, and so are
PySlowFast's on AVA, of which only tests are published."""

_STARTS = {
    "mmaction2": ("slowfast_r50_8x8x1", "mmaction2/k400-256e-320p"),
    "pyslowfast": ("slowfast_r50_8x8x1", "pyslowfast/k400"),
}
"""What each publisher fine-tuned from."""
_PERSON_STARTS = {
    8: ("slowfast_r50_4x16x1", "mmaction2/k400-256e-320p@bcde7ed7"),
    4: ("slowfast_r50_8x8x1", "mmaction2/k400-256e-320p"),
}
"""What OpenMMLab's networks for persons began as, but for their heads, by alpha."""
_GPUS = {"pyslowfast": 8, "camera-motion": 1}
"""Where the rows don't say it."""
_FLIP_PAIRS = {"something_something_v1": ((2, 4), (30, 41), (52, 66))}
_VALIDATION_CROPS = {"something_something_v1": 256}


def list_recipes() -> list[str]:
    """Names of all recipes, the nine rows of OpenMMLab's page first."""
    return list(_recipes())


def get_recipe(name: str) -> Recipe:
    """The recipe of that name, publisher's config name (the newest row's), or "model/tag".

    Raises:
        UnknownNameError: there is no such recipe.
    """
    recipes = _recipes()
    if name in recipes:
        return recipes[name]
    entry = find_config(name)
    wanted = name if entry is None else f"{entry.model}/{entry.tag}"
    for recipe in recipes.values():
        if f"{recipe.model}/{recipe.tag}" == wanted:
            return recipe
    known = f"The recipes are: {quoted(recipes)}."
    if entry is not None:
        raise UnknownNameError(
            f"The training of '{name}' isn't kept as a recipe, only its weights '{wanted}'. {known}"
        )
    raise UnknownNameError(f"There is no recipe '{name}'.{did_you_mean(name, recipes)} {known}")


@functools.cache
def _recipes() -> dict[str, Recipe]:
    published = [_published(model, tag, config) for (model, tag), config in _CONFIGS.items()]
    recipes: dict[str, Recipe] = {}
    for recipe in published:
        entry = find_config(recipe.name)
        # A config of two rows is the newer one's.
        newest = entry is None or entry.tag == recipe.tag
        name = recipe.name if newest else f"{recipe.model}/{recipe.tag}"
        recipes[name] = dataclasses.replace(recipe, name=name)
    return recipes


def _published(model: str, tag: str, config: TrainConfig) -> Recipe:
    entry = get_weights(model, tag)
    gpus = _GPUS.get(entry.publisher)
    persons, start, deviations = entry.model_spec.roi is not None, None, ""
    if persons:
        deviations = _PERSONS + (_IDLE if entry.model_spec.num_classes == 16 else "")
    if entry.initialized_from is not None:
        start = _PERSON_STARTS[entry.model_spec.alpha] if persons else _STARTS[entry.publisher]
    return Recipe(
        name=entry.config_name,
        model=model,
        tag=tag,
        model_spec=entry.model_spec,
        clip_spec=entry.clip_spec,
        labels=entry.labels,
        config=config,
        dataset=entry.training_data,
        gpus=gpus or math.prod(int(part) for part in (entry.gpus or "8").split("x")),
        initialize_from=start,
        flip_pairs=_FLIP_PAIRS.get(entry.label_set, ()),
        validation_crop=_VALIDATION_CROPS.get(entry.label_set),
        deviations=deviations,
    )
