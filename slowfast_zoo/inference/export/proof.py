"""Proof that an exported model is the same function: seeded clips through both, differences and times."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from slowfast_zoo.errors import ExportError, counted
from slowfast_zoo.runtime.precision import TOLERANCES, Precision

_LOGGER = logging.getLogger(__name__)

_WARM_UP = 2
_SEED = 20191027


@dataclasses.dataclass(frozen=True, kw_only=True)
class Proof:
    """What the comparison of the model and its exported twin gave."""

    clips: int
    """Reference clips that both have seen, one at a time and as one batch."""
    boxes: int | None = None
    """Boxes in them, where the network scores persons."""
    max_difference: float
    """Largest absolute difference of any logit."""
    relative_difference: float
    """The same, as a share of the largest absolute logit."""
    tolerance: float
    """Largest ``relative_difference`` that is accepted."""
    top1_agreement: float
    """Share (0 to 1) of clips, or of boxes, with the same best class."""
    eager_p50_seconds: float
    """Median time of the model for one clip."""
    eager_p95_seconds: float
    """Its 95th percentile."""
    exported_p50_seconds: float
    """Median time of the exported twin for one clip."""
    exported_p95_seconds: float
    """Its 95th percentile."""

    @property
    def ok(self) -> bool:
        """Whether both compute the same."""
        return self.relative_difference <= self.tolerance

    @property
    def slower(self) -> bool:
        """Whether the exported twin takes longer than the model, by their medians."""
        return self.exported_p50_seconds > self.eager_p50_seconds

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain JSON values."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        rows = counted(self.clips, "clip")
        rows = rows if self.boxes is None else f"{counted(self.boxes, 'box')} in {rows}"
        return (
            f"{'same' if self.ok else 'DIFFERENT'} logits: largest difference {self.max_difference:.2e}"
            f" ({self.relative_difference:.1e} of the largest logit, accepted {self.tolerance:.0e}),"
            f" top-1 agreement {self.top1_agreement:.0%} of {rows}\n"
            f"one clip: eager p50 {1000 * self.eager_p50_seconds:.1f} ms,"
            f" p95 {1000 * self.eager_p95_seconds:.1f} ms;"
            f" exported p50 {1000 * self.exported_p50_seconds:.1f} ms,"
            f" p95 {1000 * self.exported_p95_seconds:.1f} ms"
        )


def prove(
    model: Callable[..., Tensor],
    exported: Callable[..., Tensor],
    clips: Tensor,
    precision: Precision,
    repeats: int,
    boxes: Tensor | None = None,
) -> tuple[Proof, Tensor]:
    """The comparison, and the model's logits of the clips, or of the boxes.

    Args:
        model: in eval mode.
        exported: the same interface.
        clips: float32 ``(N, C, T, H, W)``, at least two.
        precision: of the exported model; decides the tolerance.
        repeats: timed runs of each, in turn.
        boxes: float32 ``(M, 5)`` in the order of the clips, where the network takes them.

    Raises:
        ExportError: the model returns NaN or infinite numbers, or the twin another shape.
    """
    _LOGGER.info("It is compared with the model, %s of each.", counted(repeats, "timed run"))
    each: list[tuple[Tensor, ...]] = [(clip,) for clip in clips.split(1)]  # type: ignore[no-untyped-call]
    together: tuple[Tensor, ...] = (clips,)
    if boxes is not None:
        alone = [F.pad(boxes[boxes[:, 0] == index, 1:], (1, 0)) for index in range(len(clips))]
        each = [(*clip, rows) for clip, rows in zip(each, alone, strict=True)]
        together = (clips, boxes)
    with torch.inference_mode():
        expected = torch.cat([model(*inputs) for inputs in each]).float()
        singles = torch.cat([exported(*inputs) for inputs in each])
        batch = exported(*together)
        nobody = expected[:0] if boxes is None else exported(clips, boxes[:0])
        if not torch.isfinite(expected).all():
            raise ExportError("The model returns NaN or infinite numbers for ordinary clips: train it first.")
        if not (singles.shape == batch.shape == expected.shape and nobody.shape == expected[:0].shape):
            raise ExportError(
                f"The exported model gives shape {tuple(batch.shape)} for a batch of {len(clips)} and"
                f" {tuple(singles.shape)} one by one; the model gives {tuple(expected.shape)}."
            )
        eager, other = _times(model, exported, each[0], repeats)
    differences = [float((logits.float() - expected).abs().max()) for logits in (singles, batch)]
    # NaN compares false with everything: it must count as the largest difference there is.
    difference = float("inf") if any(np.isnan(differences)) else max(differences)
    return Proof(
        clips=len(clips),
        boxes=None if boxes is None else len(boxes),
        max_difference=difference,
        relative_difference=difference / max(float(expected.abs().max()), 1e-30),
        tolerance=TOLERANCES[precision],
        top1_agreement=float((singles.argmax(1) == expected.argmax(1)).double().mean()),
        eager_p50_seconds=float(np.percentile(eager, 50)),
        eager_p95_seconds=float(np.percentile(eager, 95)),
        exported_p50_seconds=float(np.percentile(other, 50)),
        exported_p95_seconds=float(np.percentile(other, 95)),
    ), expected


def reference_frames(
    count: int, frames: int, height: int, width: int, channels: int
) -> npt.NDArray[np.uint8]:
    """Seeded pictures of colored rectangles that move over a shaded ground.

    Args:
        count: clips.
        frames: frames of a clip.
        height: in pixels.
        width: in pixels.
        channels: of a frame.

    Returns:
        uint8 of shape (count, frames, height, width, channels).
    """
    generator = np.random.default_rng(_SEED)
    clips = np.empty((count, frames, height, width, channels), dtype=np.uint8)
    for clip in clips:
        ground = np.linspace(generator.uniform(0, 255, channels), generator.uniform(0, 255, channels), height)
        clip[:] = ground[None, :, None, :].astype(np.uint8)
        for _ in range(6):
            sides = generator.uniform(0.1, 0.5, 2) * (height, width)
            start, step = generator.uniform(-0.2, 0.9, 2) * (height, width), generator.normal(0, 3, 2)
            color = generator.integers(0, 256, channels)
            for number, frame in enumerate(clip):
                top, left = np.maximum(start + number * step, 0).astype(int)
                bottom, right = np.maximum(start + number * step + sides, 0).astype(int)
                frame[top:bottom, left:right] = color
    return clips


def _times(
    model: Callable[..., Tensor], exported: Callable[..., Tensor], inputs: tuple[Tensor, ...], repeats: int
) -> tuple[list[float], list[float]]:
    """Seconds of each run of both, taken in turn so that a busy machine is busy for both."""
    times: tuple[list[float], list[float]] = ([], [])
    for run in range(_WARM_UP + repeats):
        for function, kept in zip((model, exported), times, strict=True):
            before = time.perf_counter()
            function(*inputs)
            if run >= _WARM_UP:
                kept.append(time.perf_counter() - before)
    return times
