"""What SlowFast is made of: a pathway of bottlenecks, and the lateral connections between two of them.

Source: Feichtenhofer et al. 2019, https://arxiv.org/abs/1812.03982, table 1 and section 3.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from slowfast_zoo.errors import InputError
from slowfast_zoo.network.gradients import stem_convolution, strided_projection
from slowfast_zoo.network.structure import is_plain
from slowfast_zoo.spec import BLOCKS_PER_STAGE, ModelSpec

STAGES = ("stage1", "stage2", "stage3", "stage4")
"""The attributes of a pathway that hold its residual stages (res2 ... res5 in the paper)."""


class Block(nn.Module):
    """Convolutions, each followed by a batch norm or by none."""

    def conv_norm_pairs(self) -> list[tuple[str, str]]:
        """Attributes of each convolution and of the batch norm after it, where there is one."""
        raise NotImplementedError


class Pathway(nn.Module):
    """One ResNet of bottlenecks over time and space: ``stem``, ``stage1`` ... ``stage4``.

    Args:
        spec: the network's.
        depth: layers.
        width: channels of the stem.
        fused: channels that a lateral connection adds in front of each stage.
        stem_kernel: frames that the stem's convolution sees.
        temporal_stages: stages whose blocks see three frames.
        index: 0 for the slow pathway, 1 for the fast one.
    """

    def __init__(
        self,
        spec: ModelSpec,
        depth: int,
        width: int,
        fused: Sequence[int],
        *,
        stem_kernel: int,
        temporal_stages: tuple[int, ...],
        index: int,
    ) -> None:
        super().__init__()
        self.stem = Stem(spec.in_channels, width, stem_kernel)
        channels = width
        for number, blocks in enumerate(BLOCKS_PER_STAGE[depth], start=1):
            inner = width * 2 ** (number - 1)
            temporal = spec.temporal_blocks[number - 1] if spec.temporal_blocks else blocks
            stage = nn.Sequential()
            channels += fused[number - 1]
            for i in range(blocks):
                kernel = 3 if number in temporal_stages and i < temporal else 1
                first_stride = spec.stage4_stride[index] if number == 4 else min(number, 2)
                stage.append(
                    Bottleneck(
                        channels,
                        inner,
                        kernel,
                        first_stride if i == 0 else 1,
                        shortcut=i == 0,
                        dilation=spec.stage4_dilation[index] if number == 4 else 1,
                        non_local=index == 0 and number == 3 and i in spec.non_local,
                    )
                )
                channels = 4 * inner
            setattr(self, f"stage{number}", stage)

    def stages(self) -> list[nn.Sequential]:
        """The four stages in order."""
        return [getattr(self, name) for name in STAGES]


class Stem(Block):
    """``(B, C, T, H, W)`` to ``(B, width, T, H/4, W/4)``: convolution, norm, ReLU, max pool."""

    def __init__(self, in_channels: int, width: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(
            in_channels, width, (kernel, 7, 7), stride=(1, 2, 2), padding=(kernel // 2, 3, 3), bias=False
        )
        self.norm = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))

    def conv_norm_pairs(self) -> list[tuple[str, str]]:
        return [("conv", "norm")]

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Tensor):  # no proxy of torch.fx: the check stays out of the graph
            _check_dtype(x, self.conv)
        out = stem_convolution(x, self.conv) if self.training else self.conv(x)
        return self.pool(self.relu(self.norm(out)))  # type: ignore[no-any-return]


def _check_dtype(x: Tensor, conv: nn.Module) -> None:
    """Refuses what the convolution can't be multiplied with; one that was replaced, wrapped or hooked sees to
    that itself.

    Raises:
        InputError: says what is accepted.
    """
    weight = conv._parameters.get("weight")
    if weight is None or x.dtype == weight.dtype or not is_plain(conv, nn.Conv3d):
        return
    kind = x.device.type
    casts = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    if not casts or torch.float64 in (x.dtype, weight.dtype):  # which autocast leaves as they are
        raise InputError(
            f"This model computes in {weight.dtype}, got a clip of {x.dtype}: clip.to({weight.dtype}) fits."
        )


class Bottleneck(Block):
    """A residual block: 1x1 (over time), 3x3 (over space, with the stride), 1x1 to 4 x ``inner``.

    Args:
        in_channels, inner: channels of the input and of the first two convolutions.
        kernel: frames that the first convolution sees.
        stride, dilation: in space, of the second.
        shortcut: whether the residual has a convolution of its own.
        non_local: whether a non-local block follows.
    """

    def __init__(
        self,
        in_channels: int,
        inner: int,
        kernel: int,
        stride: int,
        *,
        shortcut: bool,
        dilation: int = 1,
        non_local: bool = False,
    ) -> None:
        super().__init__()
        out_channels, strides = 4 * inner, (1, stride, stride)
        self.conv1 = nn.Conv3d(in_channels, inner, (kernel, 1, 1), padding=(kernel // 2, 0, 0), bias=False)
        self.norm1 = nn.BatchNorm3d(inner)
        self.conv2 = nn.Conv3d(
            inner,
            inner,
            (1, 3, 3),
            stride=strides,
            padding=(0, dilation, dilation),
            dilation=(1, dilation, dilation),
            bias=False,
        )
        self.norm2 = nn.BatchNorm3d(inner)
        self.conv3 = nn.Conv3d(inner, out_channels, 1, bias=False)
        self.norm3 = nn.BatchNorm3d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.has_shortcut = shortcut
        if shortcut:
            self.shortcut_conv = nn.Conv3d(in_channels, out_channels, 1, stride=strides, bias=False)
            self.shortcut_norm = nn.BatchNorm3d(out_channels)
        self.non_local = NonLocal(out_channels) if non_local else None

    def conv_norm_pairs(self) -> list[tuple[str, str]]:
        pairs = [(f"conv{i}", f"norm{i}") for i in (1, 2, 3)]
        return [*pairs, ("shortcut_conv", "shortcut_norm")] if self.has_shortcut else pairs

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.norm1(self.conv1(x)))
        out = self.relu(self.norm2(self.conv2(out)))
        out = self.norm3(self.conv3(out))
        if self.has_shortcut:
            projected = strided_projection(x, self.shortcut_conv) if self.training else self.shortcut_conv(x)
            x = self.shortcut_norm(projected)
        out = self.relu(out + x)
        return out if self.non_local is None else self.non_local(out)  # type: ignore[no-any-return]


class NonLocal(Block):
    """Every place of a map sees all places of it: products of embeddings, divided by the number of places.

    Source: Wang et al. 2018, https://arxiv.org/abs/1711.07971 (dot product), with PySlowFast's convolutions,
    which have biases, and its pooling of the places that are seen (``nonlocal_helper.py``).

    Args:
        channels: of the map; half as many inside.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.conv_theta = nn.Conv3d(channels, inner, 1)
        self.conv_phi = nn.Conv3d(channels, inner, 1)
        self.conv_g = nn.Conv3d(channels, inner, 1)
        self.conv_out = nn.Conv3d(inner, channels, 1)
        self.norm = nn.BatchNorm3d(channels)
        self.pool = nn.MaxPool3d(2)

    def conv_norm_pairs(self) -> list[tuple[str, str]]:
        return [("conv_out", "norm")]

    def forward(self, x: Tensor) -> Tensor:
        seen = self.pool(x)
        theta = self.conv_theta(x).flatten(2).transpose(1, 2)  # (B, places, inner)
        phi, g = self.conv_phi(seen).flatten(2), self.conv_g(seen).flatten(2)  # (B, inner, fewer places)
        mixed = torch.matmul(torch.matmul(theta, phi) / phi.shape[2], g.transpose(1, 2))
        mixed = torch.unflatten(mixed.transpose(1, 2), 2, x.shape[2:])
        return x + self.norm(self.conv_out(mixed))  # type: ignore[no-any-return]


class Lateral(Block):
    """Fast features at the slow pathway's rate: a convolution over time with stride alpha."""

    def __init__(self, spec: ModelSpec, channels: int) -> None:
        super().__init__()
        kernel, fused = spec.fusion_kernel, channels * spec.fusion_ratio
        strides, padding = (spec.alpha, 1, 1), (kernel // 2, 0, 0)
        self.conv = nn.Conv3d(channels, fused, (kernel, 1, 1), stride=strides, padding=padding, bias=False)
        self.norm = nn.BatchNorm3d(fused) if spec.lateral_norm else None
        self.relu = nn.ReLU(inplace=True)

    def conv_norm_pairs(self) -> list[tuple[str, str]]:
        return [] if self.norm is None else [("conv", "norm")]

    def forward(self, fast: Tensor) -> Tensor:
        fused = self.conv(fast)
        return fused if self.norm is None else self.relu(self.norm(fused))  # type: ignore[no-any-return]


def checkpoint_block(block: nn.Module, x: Tensor) -> Tensor:
    """``block(x)`` that keeps no activations for the backward pass and computes them again instead.

    Gradients and batch-norm statistics equal those of a plain call.
    """

    def contexts() -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
        return contextlib.nullcontext(), _statistics_held(block)

    return checkpoint(block, x, use_reentrant=False, context_fn=contexts)  # type: ignore[no-any-return]


@contextlib.contextmanager
def _statistics_held(block: nn.Module) -> Iterator[None]:
    """Batch norms use, but don't record, the statistics of the batch: recomputing must not count twice."""
    norms = [
        module
        for module in block.modules()
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
    ]
    held = [(norm.momentum, norm.get_buffer("num_batches_tracked").clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, held, strict=True):
            norm.momentum = momentum
            norm.get_buffer("num_batches_tracked").copy_(batches)
