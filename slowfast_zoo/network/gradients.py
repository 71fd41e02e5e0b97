"""Two convolutions whose gradients torch computes slowly on a CPU, computed another way in training.

The same products, summed in another order: gradients agree within rounding, outputs of the stem to the bit.
A convolution that somebody wrapped or hooked, or put in the place of one of ours with other settings, is
called as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slowfast_zoo.network.structure import is_plain, is_product


def stem_convolution(x: Tensor, conv: nn.Conv3d) -> Tensor:
    """``conv(x)`` of a stem that sees several frames, with the gradient of its weights frame by frame.

    Args:
        x: (B, C, T, H, W), clips; where they want a gradient of their own torch computes both.
        conv: ours is over an odd number of frames, padded by half of them, with a stride of 1 in time and no
            bias.
    """
    ours = _slow(x) and not x.requires_grad and is_plain(conv, nn.Conv3d) and _is_stems(conv)
    if not ours or not conv.weight.requires_grad or x.shape[2] < conv.kernel_size[0]:
        return conv(x)  # type: ignore[no-any-return]
    return _ByFrames.apply(x, conv.weight, conv.stride, conv.padding)  # type: ignore[no-any-return]


def strided_projection(x: Tensor, conv: nn.Conv3d) -> Tensor:
    """``conv(x)`` of a 1x1x1 convolution that skips places, as a product of those that it sees.

    Args:
        x: (B, C, T, H, W).
        conv: ours has a kernel of 1.
    """
    if not (_slow(x) and is_plain(conv, nn.Conv3d) and is_product(conv)) or max(conv.stride) == 1:
        return conv(x)  # type: ignore[no-any-return]
    frames, rows, columns = conv.stride
    seen = x.permute(0, 2, 3, 4, 1)[:, ::frames, ::rows, ::columns]
    return F.linear(seen, conv.weight.flatten(1), conv.bias).permute(0, 4, 1, 2, 3)


def _is_stems(conv: nn.Conv3d) -> bool:
    """Whether ``_ByFrames`` computes what this convolution does."""
    if conv.bias is not None or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return False
    half = conv.padding[0]
    whole = conv.groups == conv.stride[0] == 1 and conv.dilation == (1, 1, 1)
    return whole and conv.kernel_size[0] == 2 * half + 1


def _slow(x: Tensor) -> bool:
    """Whether gradients of this input would be slow: on a CPU, channels last, in float32; not in a trace."""
    return (
        isinstance(x, Tensor)  # torchvision's feature extraction, for one, traces with proxies
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and x.is_contiguous(memory_format=torch.channels_last_3d)
    )


class _ByFrames(torch.autograd.Function):
    """A convolution whose weights' gradient is computed for one frame of the kernel at a time."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]) -> Tensor:
        return F.conv3d(x, weight, None, stride, padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, ctx.stride, ctx.padding = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        found = []
        for later in range(-ctx.padding[0], ctx.padding[0] + 1):  # frames that the input is behind the output
            first, last = max(-later, 0), x.shape[2] - max(later, 0)
            _, one, _ = torch.ops.aten.convolution_backward(
                grad[:, :, first:last],
                x[:, :, first + later : last + later],
                weight[:, :, :1],
                None,
                ctx.stride,
                (0, *ctx.padding[1:]),
                (1, 1, 1),
                False,
                (0, 0, 0),
                1,
                (False, True, False),
            )
            found.append(one)
        return None, torch.cat(found, dim=2), None, None
