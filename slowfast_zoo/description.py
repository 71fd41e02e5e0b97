"""``describe``: what a model reads and what it costs, in words and numbers."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.weights.catalog import get_weights, list_weights
from slowfast_zoo.weights.catalog.entry import WeightEntry


@dataclasses.dataclass(frozen=True)
class Description:
    """What ``describe`` found; ``str()`` of it is the text."""

    name: str
    """The model."""
    weights: WeightEntry
    """The row that it was described for."""
    parameters: int
    """Learnable numbers."""
    multiply_adds: dict[int, int]
    """Side of the square crop in pixels -> multiply-adds of convolutions and classifier for one clip."""
    slow_frames: tuple[int, ...]
    """Frames of the clip that the slow pathway sees."""
    span_seconds: float
    """From the first to behind the last frame of a clip, at ``fps`` frames per second."""
    fps: float
    """The clip spec's frame rate, or 30 where it counts source frames."""
    tags: tuple[str, ...]
    """Every weight tag of the model, the default first."""

    def __str__(self) -> str:
        spec, clip, metrics = self.weights.model_spec, self.weights.clip_spec, self.weights.metrics
        depths = f"R{spec.depth}" + (f" and R{spec.fast_depth}" if spec.fast_depth != spec.depth else "")
        costs = ", ".join(f"{ops / 1e9:.2f} G at {side}" for side, ops in self.multiply_adds.items())
        scores = [("top-1", metrics.top1), ("top-5", metrics.top5), ("mAP", metrics.mean_ap)]
        published = ", ".join(f"{name} {value:g} %" for name, value in scores if value is not None)
        lines = [
            f"{self.name} ({self.weights.tag})",
            f"  network        {depths}, alpha {spec.alpha}, {spec.num_classes} classes"
            f" ({self.weights.label_set}), {spec.activation}",
            f"  reads          {_reading(clip, self.fps)} = {self.span_seconds:.2f} s",
            f"  fast pathway   all {spec.num_frames} frames",
            f"  slow pathway   {spec.slow_frames} of them: {list(self.slow_frames)} ({spec.slow_sampling})",
            f"  parameters     {self.parameters:,}",
            f"  multiply-adds  {costs} pixels, one clip",
            f"  published      {published or 'no score'} ({metrics.protocol})",
            f"  trained on     {self.weights.training_data}",
            f"  weights        {', '.join(self.tags)}",
        ]
        return "\n".join(lines)


def describe(name: str, tag: str = "default") -> Description:
    """What a model reads, costs and scored, for one of its weights; print it.

    Args:
        name: a model of ``list_models()``.
        tag: one of its weights.

    Raises:
        UnknownNameError: no such model or tag.
    """
    entry = get_weights(name, tag)
    spec, clip = entry.model_spec, entry.clip_spec
    with torch.device("meta"):
        model = SlowFast(spec)
    fps = clip.fps or 30.0
    return Description(
        name=name,
        weights=entry,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        multiply_adds={side: multiply_adds(spec, side) for side in sorted({clip.crop, clip.test_crop})},
        slow_frames=spec.slow_indices(),
        span_seconds=clip.span_frames / fps,
        fps=fps,
        tags=tuple(row.tag for row in list_weights(name)),
    )


def multiply_adds(spec: ModelSpec, side: int) -> int:
    """Multiply-adds of the convolutions and the classifier for one clip of ``side`` x ``side`` pixels."""
    total = 0

    def count(module: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, Tensor)
        total += out.numel() * weight[0].numel()

    with torch.device("meta"):
        model = SlowFast(spec.replace(head_pool="global", head_window=None)).eval()
        clip = torch.empty(1, spec.in_channels, spec.num_frames, side, side)
    for module in model.modules():
        if isinstance(module, (nn.Conv3d, nn.Linear)):
            module.register_forward_hook(count)
    model(clip)
    return total


def _reading(clip: ClipSpec, fps: float) -> str:
    every = "each frame" if clip.frame_stride == 1 else f"one frame in {clip.frame_stride}"
    if clip.time_base == "frames":
        return f"{clip.num_frames} frames, {every} of the file as it is; at {fps:g} fps"
    return f"{clip.num_frames} frames, {every} at {fps:g} fps ({clip.time_base})"
