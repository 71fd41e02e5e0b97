"""What an engine is: a folded network and the shape of a clip in, a fast function out."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from slowfast_zoo.errors import InputError, quoted
from slowfast_zoo.inference.engines.folding import FoldedNetwork
from slowfast_zoo.network.heads import RoiHead, head_of
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.runtime.packages import installed, require
from slowfast_zoo.runtime.precision import Precision, check_kernels
from slowfast_zoo.spec import ModelSpec

TRACING = threading.RLock()
"""For one thread at a time that traces or compiles: torch changes the methods of all modules, and settings of
the process, meanwhile. Two at once would leave them changed."""

Run = Callable[[Tensor], Tensor]
"""Clips float32 ``(B, C, T, H, W)`` on the engine's device to logits float32, B at least 1; of a network that
scores persons to what its head reads, ``Maps``."""

Answer = Callable[..., Tensor]
"""Clips, and boxes where the network scores persons, to logits."""

Shape = tuple[int, int, int, int]
"""(C, T, H, W) of a clip."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Engine:
    """One way to compute a network; ``ENGINES`` in optimize.py lists them.

    On a CPU the compiled ones take one clip at a time: larger batches are no faster there, one graph serves
    every batch size, and a clip's logits don't depend on its company.
    """

    name: str
    """What ``engine=`` calls it."""
    devices: tuple[str, ...]
    """Types of devices that it computes on; () for any."""
    precisions: tuple[Precision, ...]
    """What it computes in."""
    packages: tuple[str, ...] = ()
    """Packages that it needs beside torch."""
    pays_from: Callable[[torch.device, Precision], float]
    """How many clips, in clips of R50 4x16 at 224 pixels, it takes to earn its start where nothing was
    measured; infinity: never."""
    starts_in: float
    """Seconds that its start takes at most, roughly: whether a job is long enough to try it. What it takes
    is measured then."""
    torch_kernels: bool = False
    """Whether its convolutions are torch's, whose half precision not every processor gets right."""
    starts_late: bool = True
    """Whether its first inference does what others needn't do again."""
    check: Callable[[torch.device], None] = lambda device: None
    """Refuses a machine that it doesn't work on, with MissingDependencyError."""
    build: Callable[[FoldedNetwork, Precision, torch.device, Shape], Run]
    """Starts it; the network is its own from then on. ExportError: it can't take this network."""

    def refuse(self, device: torch.device, precision: Precision, *, imported: bool = True) -> None:
        """Refuses what it can't do here.

        Args:
            device: where to compute.
            precision: what to compute in.
            imported: whether its packages are imported, which can take seconds; else they only have to be
                installed.

        Raises:
            InputError: a device that it doesn't compute on, or a precision that it has no kernels for.
            MissingDependencyError: something isn't installed.
        """
        if self.devices and device.type not in self.devices:
            raise InputError(
                f"engine='{self.name}' computes on {quoted(self.devices)}, the device is '{device}': give"
                f" device='{self.devices[0]}', or take engine='eager'."
            )
        if precision not in self.precisions:
            raise InputError(
                f"engine='{self.name}' has no kernels for {precision}: take precision="
                f"{quoted(self.precisions)}, or another engine."
            )
        if self.torch_kernels or precision in ("tf32", "float16"):
            check_kernels(precision, device)
        for package in self.packages:
            if imported or not installed(package):
                require(package, *self.packages)
        self.check(device)


def with_head(run: Run, network: SlowFast) -> Answer:
    """An engine's answers: its own, or those of the network's head where that takes boxes.

    Args:
        run: the engine.
        network: folded, float32, on the engine's device.
    """
    head = head_of(network.spec)
    if not isinstance(head, RoiHead):
        return run
    pre_logits = network.spec.num_classes == 0
    return lambda clips, boxes: head.scores(run(clips), network, boxes, pre_logits=pre_logits)


def example_boxes(spec: ModelSpec, shape: Shape, count: int = 3) -> tuple[Tensor, ...]:
    """Boxes of one clip, ``(count, 5)``, for a network that takes them: the whole frame, then seeded ones.

    Args:
        spec: the network's.
        shape: (C, T, H, W) of the clip.
        count: how many.

    Returns:
        what to call the network with after the clip: the boxes, or nothing.
    """
    if spec.roi is None:
        return ()
    generator = torch.Generator().manual_seed(count)
    drawn = torch.rand(count, 2, 2, generator=generator, dtype=torch.float32, device="cpu")
    corners = drawn.sort(dim=1).values * 1.2 - 0.1  # some reach out
    corners[:1] = torch.tensor([[0.0, 0.0], [1.0, 1.0]], device="cpu")
    corners[1:, 1] += 0.1  # none is empty
    pixels = torch.tensor([shape[3], shape[2]], device="cpu") * corners
    return (F.pad(pixels.flatten(1), (1, 0)),)


def in_pieces(call: Run, size: int) -> Run:
    """``call`` with at most ``size`` clips at a time."""
    return lambda clips: torch.cat([call(piece) for piece in torch.split(clips, size)])


def keeping_nan(call: Run, *, torch_kernels: bool) -> Run:
    """NaN for a clip that isn't finite: compiled engines' ReLU and max pool would hide it, unlike torch's.

    Args:
        call: the engine.
        torch_kernels: the engine's own. Without them NumPy adds up, in this thread alone: torch's others
            would wait for more to do for milliseconds, on the cores that the engine needs.
    """

    def checked(clip: Tensor) -> Tensor:
        if torch_kernels:
            finite = bool(clip.sum().isfinite())
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                finite = bool(np.isfinite(clip.numpy().sum()))
        return call(clip) if finite else call(clip).fill_(torch.nan)

    return checked
