"""Clips with persons for the tests of training: squares that are brighter or darker than the noise around."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from slowfast_zoo.data.dataset import Persons, item_rng
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ClipSpec, RoiSpec
from support.training_clips import SPEC

PERSON_SPEC = SPEC.replace(num_classes=2, stage4_stride=(1, 1), roi=RoiSpec(output_size=3), dropout=0.0)
PERSON_CLIPS = ClipSpec(
    num_frames=4,
    frame_stride=1,
    sampling="openmmlab-video-key",
    size=32,
    crop=32,
    test_crop=32,
    clips=1,
    crops=1,
    crop_rule="whole",
    box_rule="openmmlab",
    augmentation="short-side-jitter",
    jitter=(32, 40),
)
PLACES = [[0.0, 0.0, 14.0, 14.0], [18.0, 18.0, 32.0, 32.0], [18.0, 0.0, 32.0, 14.0]]


class PersonClips(torch.utils.data.Dataset[Any]):
    """``index % 3 + 1`` persons a clip, or none in clip ``empty``; half of them bright, class 1."""

    def __init__(self, length: int, *, multi_label: bool = False, empty: int = -1) -> None:
        self.length, self.multi_label, self.empty = length, multi_label, empty

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Persons]:
        generator = torch.Generator().manual_seed(index)
        clip = 0.3 * torch.randn(3, 4, 32, 32, generator=generator) + 0.1 * float(item_rng().random())
        count = 0 if index == self.empty else index % 3 + 1
        boxes = torch.tensor(PLACES[:count]).reshape(-1, 4)
        targets = torch.tensor([(index + place) % 2 for place in range(count)], dtype=torch.int64)
        for (left, top, right, bottom), target in zip(boxes.int().tolist(), targets.tolist(), strict=True):
            clip[:, :, top:bottom, left:right] += 2.0 * target - 1.0
        if self.multi_label:
            return clip, Persons(boxes, torch.nn.functional.one_hot(targets, 2).float())
        return clip, Persons(boxes, targets)

    def name_of(self, index: int) -> str:
        return f"clips/{index}.mp4 at 1 s"


def make_person_model(**changes: Any) -> SlowFast:
    torch.manual_seed(0)
    model = SlowFast(PERSON_SPEC.replace(**changes))
    model.clip_spec = PERSON_CLIPS
    return model
