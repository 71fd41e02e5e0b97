"""``describe``: what a model reads and what it costs, in words and numbers."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor, nn

from slowfast_zoo.errors import InputError, counted
from slowfast_zoo.network.slowfast import SlowFast, type_of
from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.weights.catalog import find_config, get_weights, list_weights
from slowfast_zoo.weights.catalog.entry import WeightEntry


@dataclasses.dataclass(frozen=True)
class Description:
    """What ``describe`` found; ``str()`` of it is the text."""

    name: str
    """The model."""
    spec: ModelSpec
    """The network."""
    clip_spec: ClipSpec
    """Its input."""
    labels: tuple[str, ...] | None
    """Class names, where they are known."""
    weights: WeightEntry | None
    """The published row that it was described for; None for a model of one's own."""
    provenance: dict[str, object]
    """Where the weights of a model of one's own come from."""
    parameters: int
    """Learnable numbers."""
    multiply_adds: dict[int, int]
    """Side of the square crop in pixels -> multiply-adds of convolutions and classifier for one clip."""
    slow_frames: tuple[int, ...]
    """Frames of the clip that the slow pathway sees."""
    span_seconds: float
    """From the begin of the first to the end of the last frame of a clip, at ``fps`` frames per second."""
    fps: float
    """The clip spec's frame rate, or 30 where it counts source frames."""
    tags: tuple[str, ...]
    """Every weight tag of the model, the default first; none for a model of one's own."""

    def __str__(self) -> str:
        spec = self.spec
        depths = f"R{spec.depth}" + (f" and R{spec.fast_depth}" if spec.fast_depth != spec.depth else "")
        costs = ", ".join(f"{ops / 1e9:.2f} G at {side}" for side, ops in self.multiply_adds.items())
        classes = counted(spec.num_classes, "class")
        if self.weights is not None:
            classes += f" ({self.weights.label_set})"
        elif self.labels:
            classes += f" ({', '.join(self.labels[:4])}{', ...' if len(self.labels) > 4 else ''})"
        lines = {
            "network": f"{depths}, alpha {spec.alpha}, {classes}, {spec.activation}",
            "reads": f"{_reading(self.clip_spec, self.fps)} = {self.span_seconds:.2f} s",
            "fast pathway": f"all {spec.num_frames} frames",
            "slow pathway": f"{spec.slow_frames} of them: {list(self.slow_frames)} ({spec.slow_sampling})",
            "parameters": f"{self.parameters:,}",
            "multiply-adds": f"{costs} pixels, one clip",
            **(_published(self.weights) if self.weights else _own(self.provenance)),
        }
        if (roi := spec.roi) is not None:
            parts = ", the frame's context" * roi.context + ", ACRN" * roi.acrn
            lines["boxes"] = (
                f"RoIAlign {roi.output_size}x{roi.output_size} of the {roi.temporal_pool} over time{parts}"
            )
        if self.tags:
            lines["weights"] = ", ".join(self.tags)
        title = self.name if self.weights is None else f"{self.name} ({self.weights.tag})"
        return "\n".join([title, *(f"  {name:<14} {text}" for name, text in lines.items())])


def describe(model: str | SlowFast, tag: str = "default") -> Description:
    """What a model reads, costs and scored; print it.

    Args:
        model: a name of ``list_models()``, a publisher's own config name, or a model that is there.
        tag: which weights, for a name.

    Raises:
        InputError: neither a name nor a SlowFast.
        UnknownNameError: no such model or tag.
    """
    tags: tuple[str, ...] = ()
    if isinstance(model, SlowFast):
        entry, provenance = None, dict(model.provenance)
        name = str(provenance.get("model") or "SlowFast")
        spec, clip, labels = model.spec, model.clip_spec, model.labels
    elif not isinstance(model, str):
        raise InputError(f"describe takes a name or a SlowFast model, got {type_of(model)}.")
    else:
        config, provenance = find_config(model), {}
        name = config.model if config else model
        entry = config if config and tag == "default" else get_weights(name, tag)
        tags = tuple(row.tag for row in list_weights(name))
        spec, clip, labels = entry.model_spec, entry.clip_spec, entry.labels
    with torch.device("meta"):
        network = SlowFast(spec)
    fps = clip.fps or 30.0
    return Description(
        name=name,
        spec=spec,
        clip_spec=clip,
        labels=labels,
        weights=entry,
        provenance=provenance,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        multiply_adds={side: multiply_adds(spec, side) for side in sorted({clip.crop, clip.test_crop})},
        slow_frames=spec.slow_indices(),
        span_seconds=clip.span_frames / fps,
        fps=fps,
        tags=tags,
    )


def _published(row: WeightEntry) -> dict[str, str]:
    """Every column of the publisher's page, as far as it is filled in."""
    metrics = row.metrics
    scores = [("top-1", metrics.top1), ("top-5", metrics.top5), ("mAP", metrics.mean_ap)]
    published = ", ".join(f"{name} {value:g} %" for name, value in scores if value is not None)
    trained = [row.training_data, row.stored_resolution and f"videos {row.stored_resolution}"]
    trained += [row.gpus and f"{row.gpus} GPUs", f"{row.gpu_mem_mb} MB each" if row.gpu_mem_mb else None]
    speed = row.videos_per_second
    lines = {
        "published": f"{published or 'no score'} ({metrics.protocol})",
        "trained on": ", ".join(str(part) for part in trained if part),
        "started from": row.initialized_from or "",
        "inference": f"{speed:g} video/s on one GPU, all views, as published" if speed else "",
        "config": row.config_name,
        "file": ", ".join(row.urls),
        "log": ", ".join(url for url in (row.log_url, row.json_url) if url),
        "page": row.source,
        "license": row.license,
        "note": row.note + (" Superseded by its publisher." if row.superseded else ""),
    }
    return {name: text.strip() for name, text in lines.items() if text.strip()}


def _own(provenance: dict[str, object]) -> dict[str, str]:
    facts = {name: f"{value}" for name, value in provenance.items() if isinstance(value, str | int | float)}
    start = provenance.get("initialized_from")
    if isinstance(start, dict) and (origin := start.get("tag") or start.get("file")):
        facts["initialized from"] = f"{origin}"
    return facts


def multiply_adds(spec: ModelSpec, side: int) -> int:
    """Multiply-adds of the convolutions and the classifier for one clip of ``side`` x ``side`` pixels,
    and one box where the network takes boxes."""
    total = 0

    def count(module: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, Tensor)
        total += out.numel() * weight[0].numel()

    with torch.device("meta"):
        model = SlowFast(spec.replace(head_pool="global", head_window=None)).eval()
        clip = torch.empty(1, spec.in_channels, spec.num_frames, side, side)
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv3d, nn.Linear)) and name != "acrn.conv1":
            module.register_forward_hook(count)
    boxes = None if spec.roi is None else torch.empty(1, 5, device="meta")
    model(clip, boxes)
    if spec.roi is not None and spec.roi.acrn:  # its first convolution is computed in two parts, by no module
        total += (math.ceil(side / spec.pixels_per_cell) ** 2 + 1) * spec.map_features**2
    return total


def _reading(clip: ClipSpec, fps: float) -> str:
    every = "each frame" if clip.frame_stride == 1 else f"one frame in {clip.frame_stride}"
    if clip.time_base == "frames":
        return f"{clip.num_frames} frames, {every} of the file as it is; at {fps:g} fps"
    return f"{clip.num_frames} frames, {every} at {fps:g} fps ({clip.time_base})"
