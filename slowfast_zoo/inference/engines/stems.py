"""Stems as processors compute them fastest: frames, rows and columns as channels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slowfast_zoo.network.pathway import Stem
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.network.structure import is_plain
from slowfast_zoo.runtime.machine import processor_features
from slowfast_zoo.runtime.precision import EnginePrecision, onednn_is_fast

_HALF_VECTOR = 8
"""Channels that fill half of a vector of 512 bits."""


class StemLayout(NamedTuple):
    """What a stem reads and gives as the channels of one place."""

    outputs: int
    """Frames that it gives."""
    frames: int
    """Frames that it reads: 1, or as many as it gives."""
    rows: int
    """1 or 2."""
    columns: int
    """1 or 2."""
    padded: bool = False
    """Whether frames of zeros beside the clip are padding, through which NNCF quantizes, or joined to it,
    which Inductor's code does in less time."""


class StemLayouts(NamedTuple):
    """Those of both pathways; None for the stem's own."""

    slow: StemLayout | None
    fast: StemLayout


PAIRED = StemLayouts(None, StemLayout(outputs=2, frames=1, rows=1, columns=1))
"""For vectors of 16 numbers: the fast stem has 8 channels."""
PAIRS_IN = StemLayouts(None, StemLayout(outputs=2, frames=2, rows=1, columns=1))
"""For kernels that multiply inputs in pairs, and would fill up three channels with a zero."""
TILES_IN = StemLayouts(StemLayout(1, 1, 2, 2), StemLayout(outputs=4, frames=4, rows=2, columns=1))
"""For tiles of 64 bytes of inputs, 32 of bfloat16 or 64 of int8: 12 and 24 channels fill more of them than 3,
which outweighs the zeros in their kernels."""
QUANTIZED_IN = TILES_IN._replace(fast=TILES_IN.fast._replace(padded=True))


def stem_layouts(precision: EnginePrecision, device: torch.device) -> StemLayouts | None:
    """The layouts that the device computes stems fastest in, in that precision; None for their own."""
    if not onednn_is_fast(device):
        return None
    amx = {"bfloat16": "amx_bf16", "int8": "amx_int8"}.get(precision)
    if amx in processor_features():
        return QUANTIZED_IN if precision == "int8" else TILES_IN
    return PAIRS_IN if precision in ("bfloat16", "float16") else PAIRED


def change_stems(network: SlowFast, layouts: StemLayouts) -> None:
    """Gives the folded stems of a network that are faster in them, and whose clips fit, layouts, in place."""
    slow, fast = layouts
    if network.spec.alpha % fast.outputs == 0 and _is_folded(network.fast.stem, most=_HALF_VECTOR):
        network.fast.register_module("stem", GatheredStem(network.fast.stem, fast))
    if slow is not None and _is_folded(network.slow.stem):
        network.slow.register_module("stem", GatheredStem(network.slow.stem, slow))


def _is_folded(stem: nn.Module, most: int | None = None) -> bool:
    """Whether it is a stem of ours without a batch norm, and with so many channels at most; somebody may have
    put another convolution there."""
    if not (is_plain(stem, Stem) and is_plain(stem.conv, nn.Conv3d) and is_plain(stem.norm, nn.Identity)):
        return False
    conv = stem.conv
    if conv.bias is None or (most is not None and conv.out_channels > most):
        return False
    seen = conv.kernel_size[0]
    usual = ((seen, 7, 7), (1, 2, 2), (seen // 2, 3, 3), (1, 1, 1), 1, "zeros")
    found = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode)
    return seen % 2 == 1 and found == usual


class GatheredStem(nn.Module):
    """A folded stem in a layout.

    For each frame that it gives, its kernel has zeros around it: for two frames and a kernel of five these
    are a fifth more products, in half as many vectors.

    Args:
        stem: folded, that is with a bias.
        layout: clips have a multiple of the frames that it gives at a time.
    """

    def __init__(self, stem: Stem, layout: StemLayout) -> None:
        super().__init__()
        kernel, bias, seen = stem.conv.weight, stem.conv.bias, stem.conv.kernel_size[0]
        assert bias is not None
        self.layout = layout
        outputs, frames, rows, columns, _ = layout
        taps = -(-(seen + outputs - 1) // frames) * frames
        weights = [
            F.pad(kernel, (columns - 1, 0, rows - 1, 0, index, taps - index - seen))
            for index in range(outputs)
        ]
        self.weight = nn.Parameter(_as_channels(torch.cat(weights), layout), requires_grad=False)
        self.bias = nn.Parameter(bias.repeat(outputs), requires_grad=False)
        self.relu, self.pool = stem.relu, stem.pool
        self.stride = (outputs // frames, 2 // rows, 2 // columns)
        before, behind = seen // 2, taps - outputs - seen // 2
        whole = before == behind and before % frames == 0  # the convolution's own zeros cost nothing
        self.missing = (0, 0) if whole else (before, behind)
        self.padding = (before // frames if whole else 0, 3 if rows == 1 else 0, 3 if columns == 1 else 0)

    def forward(self, clip: Tensor) -> Tensor:
        """As the stem's."""
        gathered = gather(clip, self.layout, self.missing)
        out: Tensor = F.conv3d(gathered, self.weight, self.bias, self.stride, self.padding)
        out = self.pool(self.relu(out))
        if self.layout.outputs == 1:
            return out
        return torch.unflatten(out, 1, (self.layout.outputs, -1)).permute(0, 2, 3, 1, 4, 5).flatten(2, 3)


def gather(clip: Tensor, layout: StemLayout, missing: tuple[int, int]) -> Tensor:
    """What a stem's kernel sees of clips ``(B, C, T, H, W)``: pairs of rows or columns with zeros around, and
    as many frames of zeros before and behind as are missing there."""
    odd = (clip.shape[3] % layout.rows, clip.shape[4] % layout.columns)
    padding = missing if layout.padded else (0, 0)
    if any((*odd, *padding)):
        clip = F.pad(clip, (0, odd[1], 0, odd[0], *padding))
    if any(missing) and not layout.padded:
        zeros = [clip.new_zeros((*clip.shape[:2], count, *clip.shape[3:])) for count in missing]
        clip = torch.cat([zeros[0], clip, zeros[1]], 2)
    gathered = _as_channels(clip, layout)
    rows, columns = ((2, 1) if count == 2 else (0, 0) for count in layout[2:4])
    return F.pad(gathered, (*columns, *rows)) if any((*columns, *rows)) else gathered


torch.fx.wrap("gather")


def _as_channels(x: Tensor, layout: StemLayout) -> Tensor:
    """``(B, C, T, H, W)`` with the frames, rows and columns of a layout as the channels of one place."""
    outer: list[int] = []
    inner: list[int] = []
    dimension = 2
    for count in layout[1:4]:
        outer.append(dimension)
        if count > 1:
            x = torch.unflatten(x, dimension, (-1, count))
            inner.append(dimension + 1)
        dimension += 1 + (count > 1)
    return x.permute(0, *reversed(inner), 1, *outer).flatten(1, 1 + len(inner)) if inner else x
