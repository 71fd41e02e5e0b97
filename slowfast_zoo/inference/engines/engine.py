"""What an engine is: a folded network and the shape of a clip in, a fast function out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from slowfast_zoo.errors import InputError, quoted
from slowfast_zoo.inference.engines.folding import FoldedNetwork
from slowfast_zoo.runtime.packages import require
from slowfast_zoo.runtime.precision import Precision, check_kernels

Run = Callable[[Tensor], Tensor]
"""Clips float32 ``(B, C, T, H, W)`` on the engine's device to logits float32, B at least 1."""

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

    def refuse(self, device: torch.device, precision: Precision) -> None:
        """Refuses what it can't do here.

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
            require(package, *self.packages)
        self.check(device)


def onednn_is_fast(device: torch.device) -> bool:
    """Whether the device is a processor that oneDNN has kernels of its own for."""
    there = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return there and device.type == "cpu" and torch.backends.cpu.get_cpu_capability().startswith("AVX")


def in_pieces(call: Run, size: int) -> Run:
    """``call`` with at most ``size`` clips at a time."""
    return lambda clips: torch.cat([call(piece) for piece in torch.split(clips, size)])


def keeping_nan(call: Run) -> Run:
    """NaN for a clip that isn't finite: compiled engines' ReLU and max pool would hide it, unlike torch's."""
    return lambda clip: call(clip) if clip.sum().isfinite() else call(clip).fill_(torch.nan)
