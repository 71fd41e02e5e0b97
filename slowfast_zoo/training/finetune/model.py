"""The model of a fine-tuning: its classifier for the new classes, and how its clips are cut."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

from slowfast_zoo.data.annotations import Annotations
from slowfast_zoo.errors import InputError, quoted
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ClipSpec

_SIDES = re.compile(r"left|right|(counter|anti)?clockwise", re.IGNORECASE)
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def prepare_model(
    model: SlowFast, train: Annotations, *, seed: int, flip: bool | None, smallest_area: float
) -> list[str]:
    """Gives the model a random classifier for the classes, and its training clips; what to tell about it.

    Args:
        model: changed in place; the network's own weights stay.
        train: clips to train with.
        seed: of the classifier.
        flip, smallest_area: as in ``finetune``.

    Raises:
        InputError: no SlowFast, or none for RGB.
        SpecError: an area that is no part of the picture.
    """
    if not isinstance(model, SlowFast):
        raise InputError(f"finetune takes a SlowFast model, got {type(model).__name__}.")
    if model.spec.in_channels != 3:
        raise InputError(f"finetune reads RGB video, this model takes {model.spec.in_channels} channels.")
    clip_spec, notes = _training_clips(model, train.class_names, flip, smallest_area)
    torch.manual_seed(seed)
    model.spec = model.spec.replace(activation="sigmoid" if train.multi_label else "softmax")
    model.reset_classifier(train.num_classes, train.class_names)
    model.clip_spec = clip_spec
    if "training" in model.provenance:
        # What was trained and measured before isn't this classifier's.
        earlier = dict(model.provenance)
        model.provenance = {**earlier, "pretraining": earlier.pop("training")}
        del model.provenance["training"]
    return notes


def mirrored_classes(names: Sequence[str]) -> list[str]:
    """The classes whose names say that a horizontal flip makes another class of them."""
    return [name for name in names if any(_SIDES.fullmatch(word) for word in _WORDS.findall(name))]


def _training_clips(
    model: SlowFast, names: Sequence[str], flip: bool | None, smallest_area: float
) -> tuple[ClipSpec, list[str]]:
    """The clip spec that flips only where it may and whose random crops keep that much, and notes."""
    spec = model.clip_spec.replace(smallest_area=smallest_area)
    sided = mirrored_classes(names)
    if flip is None and sided and spec.flip:
        note = f"No flips: they would make another class of {quoted(sided[:4])}."
        return spec.replace(flip=0.0), [note]
    if flip is not None and bool(spec.flip) != flip:
        spec = spec.replace(flip=0.5 if flip else 0.0)
    return spec, []
