"""Networks that are small but use every part, and packages that seem not to be installed."""

from __future__ import annotations

import builtins
import functools
import importlib
import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slowfast_zoo import ClipSpec, ModelSpec, SlowFast
from slowfast_zoo.runtime.precision import has_bfloat16_kernels
from slowfast_zoo.spec import RoiSpec

needs_bfloat16 = pytest.mark.skipif(not has_bfloat16_kernels(), reason="this processor has no such kernels")

SMALL = ModelSpec(depth=14, base_width=8, alpha=4, num_frames=8, num_classes=6)
NETWORKS = {
    "global-strided": SMALL,
    "global-linspace": SMALL.replace(slow_sampling="linspace", lateral_norm=True),
    "window-logits": SMALL.replace(head_pool="window_logits", head_window=1, slow_sampling="linspace"),
    "window-probs": SMALL.replace(head_pool="window_probs", head_window=1, lateral_norm=True),
    "window-sigmoid": SMALL.replace(head_pool="window_probs", head_window=1, activation="sigmoid"),
    "features": SMALL.replace(num_classes=0),
}

_ROI = SMALL.replace(stage4_stride=(1, 1), num_frames=8, activation="sigmoid", roi=RoiSpec())
ROI_NETWORKS = {
    "mean": _ROI,
    "max": _ROI.replace(roi=RoiSpec(temporal_pool="max")),
    "context": _ROI.replace(roi=RoiSpec(context=True)),
    "acrn": _ROI.replace(roi=RoiSpec(acrn=True)),
    "dilated": _ROI.replace(
        stage4_dilation=(2, 2), lateral_norm=True, roi=RoiSpec(output_size=7, aligned=False)
    ),
    "non-local": _ROI.replace(depth=50, non_local=(1, 4), stage4_dilation=(2, 1)),
    "features": _ROI.replace(num_classes=0),
}
"""Networks that score boxes."""


def make_model(spec: ModelSpec = SMALL) -> SlowFast:
    """A model of random weights whose logits use every part of it, with statistics that aren't 0 and 1."""
    torch.manual_seed(3)
    model = SlowFast(spec)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.get_buffer("running_mean"), std=0.1)
            nn.init.uniform_(module.get_buffer("running_var"), 0.5, 1.5)
    if isinstance(model.classifier, nn.Linear):
        nn.init.normal_(model.classifier.weight, std=0.5)
    model.clip_spec = ClipSpec(num_frames=8, size=64, crop=48, test_crop=48)
    return model.eval()


def roi_clip_spec(**changes: Any) -> ClipSpec:
    """Clips of eight frames around key frames, shorter side 48."""
    spec = ClipSpec(
        num_frames=8,
        sampling="openmmlab-1.x-key",
        time_base="seconds",
        fps=30.0,
        size=48,
        crop=32,
        test_crop=32,
        crop_rule="whole",
        crops=1,
        clips=1,
        box_rule="openmmlab",
    )
    return spec.replace(**changes)


@functools.cache
def roi_model(kind: str = "mean", rule: str = "openmmlab") -> SlowFast:
    """One of ``ROI_NETWORKS``, of one publisher's rule for frames and boxes; shared, so not to be changed."""
    made = make_model(ROI_NETWORKS[kind])
    torch.nn.init.normal_(made.get_classifier().weight, std=0.02)  # type: ignore[arg-type]
    made.clip_spec = roi_clip_spec()
    if rule == "pyslowfast":
        made.clip_spec = roi_clip_spec(
            sampling="pyslowfast-key", box_rule="pyslowfast", resize="uint8-bilinear-floor"
        )
    return made


def heavy(model: SlowFast) -> SlowFast:
    """The model, said to read clips so large that engines pay."""
    model.clip_spec = model.clip_spec.replace(size=2880, crop=2880, test_crop=2880)
    return model


def clips(number: int, height: int = 48, width: int = 64) -> Tensor:
    """float32 (number, 3, 8, height, width): the same for the same number."""
    return torch.randn(number, 3, 8, height, width, generator=torch.Generator().manual_seed(number))


def relative(logits: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest number that was expected."""
    assert logits.shape == expected.shape and logits.dtype == torch.float32
    return float((logits - expected).abs().max() / expected.abs().max())


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of its state, which stays when the model changes."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def block(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Makes these packages impossible to import, as if they weren't installed."""
    real_import, real_module = builtins.__import__, importlib.import_module

    def refuse(name: str) -> None:
        if name.partition(".")[0] in packages:
            raise ModuleNotFoundError(f"No module named '{name}'")

    def import_(name: str, *arguments: Any, **named: Any) -> Any:
        refuse(name)
        return real_import(name, *arguments, **named)

    def import_module(name: str, package: str | None = None) -> Any:
        refuse(name)
        return real_module(name, package)

    monkeypatch.setattr(builtins, "__import__", import_)
    monkeypatch.setattr(importlib, "import_module", import_module)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name in packages else find(name, *rest)
    )
