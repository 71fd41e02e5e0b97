"""What the tests of training train: a tiny network on tiny noise."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slowfast_zoo.data.dataset import item_rng
from slowfast_zoo.errors import VideoError
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ModelSpec
from slowfast_zoo.training.recipe import TrainConfig

SPEC = ModelSpec(
    depth=14, base_width=8, beta_inv=4, alpha=2, fusion_kernel=3, num_frames=4, num_classes=3, dropout=0.5
)
CONFIG = TrainConfig(
    epochs=2,
    batch_size=2,
    lr=0.02,
    lr_batch=None,
    warmup_epochs=1,
    workers=0,
    deterministic=True,
    log_every=1,
)


class Clips(torch.utils.data.Dataset[Any]):
    """Noise around one of three levels, augmented from every global generator; item ``poison`` is special."""

    def __init__(
        self, length: int = 8, *, poison: int = -1, act: str = "", targets: Sequence[Any] = ()
    ) -> None:
        self.length, self.poison, self.act, self.targets = length, poison, act, targets
        self.seen: list[int] = []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        self.seen.append(index)
        clip = torch.randn(3, 4, 32, 32, generator=torch.Generator().manual_seed(index)) + index % 3
        clip += 0.1 * (torch.randn(()) + random.random() + float(item_rng().random()) + np.random.rand())  # noqa: NPY002
        if index == self.poison and self.act == "nan":
            clip[0] = float("nan")
        if index == self.poison and self.act == "unreadable":
            raise VideoError(f"clip {index} is truncated")
        if self.act.startswith("SIG") and len(self.seen) == self.poison:
            os.kill(os.getpid(), signal.Signals[self.act])
        return clip, self.targets[index] if len(self.targets) else index % 3

    def name_of(self, index: int) -> str:
        return f"clips/{index}.mp4"


class Long(Clips):
    """Eight frames, each of the four shown twice."""

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        clip, target = super().__getitem__(index)
        return clip.repeat_interleave(2, 1), target


class Fixed(Clips):
    """The same without augmentation."""

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return torch.randn(3, 4, 32, 32, generator=torch.Generator().manual_seed(index)), index % 3


def make_model(spec: ModelSpec = SPEC) -> SlowFast:
    torch.manual_seed(0)
    return SlowFast(spec)


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
