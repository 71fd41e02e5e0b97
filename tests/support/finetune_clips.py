"""What the tests of fine-tuning train: a tiny network on colored noise, one color a class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.training.finetune import search
from slowfast_zoo.training.finetune.recipes import FinetuneRecipe

SPEC = ModelSpec(
    depth=14, base_width=8, beta_inv=4, alpha=2, fusion_kernel=3, num_frames=4, num_classes=5, dropout=0
)
CLIP_SPEC = ClipSpec(num_frames=4, frame_stride=2, size=36, crop=32, test_crop=32, clips=2, crops=1)
COLORS = {"dark": 30, "light": 220, "red": (220, 20, 20), "green": (20, 200, 20)}


def make_model(seed: int = 0) -> SlowFast:
    """A network whose blocks do something, as a pretrained one's do."""
    torch.manual_seed(seed)
    model = SlowFast(SPEC)
    model.clip_spec = CLIP_SPEC
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm3d):
                module.weight.fill_(1)  # zero by design in fresh blocks, which a pretrained model hasn't
    return model


def make_clips(folder: Path, counts: dict[str, int], frames: int = 8) -> Path:
    """Colored noise, one color per class, as stored frames."""
    rng = np.random.default_rng(1)
    for label, count in counts.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for place in range(count):
            color = np.asarray(COLORS.get(label, 128)) + rng.integers(-30, 31, (frames, 36, 48, 3))
            np.save(folder / label / f"{place}.npy", np.clip(color, 0, 255).astype(np.uint8))
    return folder


def without_probe(patch: pytest.MonkeyPatch) -> None:
    """The linear probe gets nothing right where recipes are compared: colors are what it knows best."""
    tried = search._Bench._tried

    def without(bench: search._Bench, recipe: FinetuneRecipe, number: int) -> dict[str, Any]:
        if recipe.config is not None:
            return tried(bench, recipe, number)
        return {"scores": [0.0] * len(bench.folds[number][1].samples), "right": 0}

    patch.setattr(search._Bench, "_tried", without)
