"""Stems as processors compute them fastest: frames, and blocks of pixels, as channels."""

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
    """What comes in as the channels of one place. The fast stem gives two frames as channels in any case."""

    frames: int
    """1 or 2; the slow stem sees one frame at a time always."""
    side: int
    """1 for pixels, 2 for blocks of 2x2 of them."""


PAIRED = StemLayout(frames=1, side=1)
PAIRS_IN = StemLayout(frames=2, side=1)
BLOCKS_IN = StemLayout(frames=2, side=2)


def stem_layout(precision: EnginePrecision, device: torch.device) -> StemLayout | None:
    """The layout that the device computes stems fastest in, in that precision; None for the stem's own.

    Vectors hold 16 outputs, and the fast stem has 8 channels. Kernels for half precision multiply inputs in
    pairs, and would fill up three channels with a zero. AMX multiplies tiles of 64 bytes of inputs, 32 of
    bfloat16 or 64 of int8: 24 channels fill more of them than 3 or 6, and 64 products instead of 49 cost less
    than that.
    """
    if not onednn_is_fast(device):
        return None
    tiles = {"bfloat16": "amx_bf16", "int8": "amx_int8"}.get(precision)
    if tiles in processor_features():
        return BLOCKS_IN
    return PAIRS_IN if precision in ("bfloat16", "float16") else PAIRED


def change_stems(network: SlowFast, layout: StemLayout) -> None:
    """Replaces, in place, the folded stems of a network that compute faster in a layout."""
    if network.spec.alpha % 2 == 0 and _is_folded(network.fast.stem, most=_HALF_VECTOR):
        network.fast.register_module("stem", GatheredStem(network.fast.stem, 2, layout))
    if layout.side > 1 and _is_folded(network.slow.stem):
        network.slow.register_module("stem", GatheredStem(network.slow.stem, 1, layout._replace(frames=1)))


def _is_folded(stem: nn.Module, most: int | None = None) -> bool:
    """Whether it is a stem of ours without a batch norm, and with so many channels at most."""
    if not (is_plain(stem, Stem) and is_plain(stem.conv, nn.Conv3d) and is_plain(stem.norm, nn.Identity)):
        return False
    return stem.conv.bias is not None and (most is None or stem.conv.out_channels <= most)


class GatheredStem(nn.Module):
    """A folded stem that gives one frame at a time, or two as channels, and reads what a layout says.

    For each frame that it gives, its kernel has zeros around it: for two frames and a kernel of five these
    are a fifth more products, in half as many vectors.

    Args:
        stem: folded, that is with a bias.
        outputs: frames that it gives at a time, of which clips have a multiple.
        layout: its frames are 1 or ``outputs``.
    """

    def __init__(self, stem: Stem, outputs: int, layout: StemLayout) -> None:
        super().__init__()
        kernel, bias = stem.conv.weight, stem.conv.bias
        assert bias is not None
        (frames, side), (seen, *_) = layout, stem.conv.kernel_size
        before = -(-(seen // 2) // frames)  # groups of frames in front of the one that is given
        first, taps = (
            before * frames - seen // 2,
            (2 * before + 1) * frames if frames > 1 else seen + outputs - 1,
        )
        weights = [
            F.pad(kernel, (side - 1, 0, side - 1, 0, first + index, taps - first - index - seen))
            for index in range(outputs)
        ]
        self.weight = nn.Parameter(_as_channels(torch.cat(weights), layout), requires_grad=False)
        self.bias = nn.Parameter(bias.repeat(outputs), requires_grad=False)
        self.relu, self.pool, self.outputs, self.layout = stem.relu, stem.pool, outputs, layout
        self.stride = (outputs // frames, 2 // side, 2 // side)
        self.padding = (before, 3, 3) if side == 1 else (before, 0, 0)

    def forward(self, clip: Tensor) -> Tensor:
        """As the stem's."""
        gathered = gather(clip, self.layout)
        out: Tensor = F.conv3d(gathered, self.weight, self.bias, self.stride, self.padding)
        out = self.pool(self.relu(out))
        if self.outputs == 1:
            return out
        return torch.unflatten(out, 1, (self.outputs, -1)).permute(0, 2, 3, 1, 4, 5).flatten(2, 3)


def gather(clip: Tensor, layout: StemLayout) -> Tensor:
    """What a stem's kernel sees of clips ``(B, C, T, H, W)``; blocks with the zeros around them."""
    if layout.side == 1:
        return _as_channels(clip, layout)
    height, width = clip.shape[3:]
    if height % 2 or width % 2:
        clip = F.pad(clip, (0, width % 2, 0, height % 2))
    return F.pad(_as_channels(clip, layout), (2, 1, 2, 1))


torch.fx.wrap("gather")


def _as_channels(x: Tensor, layout: StemLayout) -> Tensor:
    """``(B, C, T, H, W)`` with its groups of frames, and its blocks, as the channels of one place."""
    frames, side = layout
    if side > 1:
        for dimension, size in ((4, side), (3, side), (2, frames)):
            x = torch.unflatten(x, dimension, (-1, size))
        return x.permute(0, 5, 7, 3, 1, 2, 4, 6).flatten(1, 4)
    return torch.unflatten(x, 2, (-1, frames)).permute(0, 3, 1, 2, 4, 5).flatten(1, 2) if frames > 1 else x
