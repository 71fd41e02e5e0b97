"""Convolutions of three taps with fewer products: Winograd's F(4, 3), through time or across the frame.

Four neighboring outputs of three taps read six inputs and take twelve products. Here the six inputs and
the three weights are mapped to six factors each (B and G), multiplied, and the six products mapped to the
four outputs (A): half the products, and for 3x3 taps on tiles of 4x4 a quarter, 36 instead of 144. With all
channels together each of the 6 or 36 is a matrix product, and they are one grouped 1x1 convolution. The
mappings of inputs and products are in winograd.cpp, which torch's compiler builds for this processor.

The outputs differ from the direct ones by roundings. The matrices are Toom and Cook's for the points 0, 1,
-1, 1/2, -2 and infinity, which lose least in float32.

Sources: Lavin & Gray 2015, https://arxiv.org/abs/1509.09308 (the algorithm); Barabasz et al. 2018,
https://arxiv.org/abs/1803.10986 (the points).
"""

from __future__ import annotations

import ctypes
import functools
import logging
from pathlib import Path

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from slowfast_zoo.network.structure import is_plain

_LOGGER = logging.getLogger(__name__)

G = (
    (1, 0, 0),
    (1 / 3, 1 / 3, 1 / 3),
    (-1 / 3, 1 / 3, -1 / 3),
    (-16 / 15, -8 / 15, -4 / 15),
    (1 / 15, -2 / 15, 4 / 15),
    (0, 0, 1),
)
"""Three weights to six factors."""

TILE, REACH = 4, 6
"""Outputs that are computed together, and the inputs that they read, in each direction."""

_WIDE = 64
"""Channels from which on the matrix products are large enough to be worth the mappings."""

_LANES = 16
"""Channels that winograd.cpp takes at a time."""


class Winograd(nn.Module):
    """A convolution ``(3, 1, 1)`` or ``(1, 3, 3)`` with stride 1 and padding 1, and the ReLU after it.

    It has 2 or 4 times the weights of the convolution.

    Args:
        conv: float32, with a bias.
    """

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        assert conv.bias is not None
        self.over_time = conv.kernel_size == (3, 1, 1)
        taps = torch.tensor(G, dtype=torch.float64, device=conv.weight.device)
        weight = conv.weight.double().squeeze((2, 3, 4))
        factors = "oci,ai->aoc" if self.over_time else "ocij,ai,bj->aboc"
        weight = torch.einsum(factors, weight, *[taps] * (weight.ndim - 2))
        self.weight = nn.Parameter(weight.reshape(-1, conv.in_channels).float(), requires_grad=False)
        self.bias = conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` to ``(B, K, T, H, W)``, both channels last."""
        x = x.contiguous(memory_format=torch.channels_last_3d)  # here, so that the compiler sees it
        factors = winograd_factors(x, self.over_time)
        groups = REACH if self.over_time else REACH * REACH
        products = F.conv2d(factors, self.weight[:, :, None, None], groups=groups)
        outputs: Tensor = winograd_outputs(products, self.bias, _places(x), self.over_time)
        return outputs


def use_winograd(network: fx.GraphModule, frames: int) -> None:
    """Puts a ``Winograd`` in the place of every convolution and ReLU of a graph that gains by it.

    Nothing changes where winograd.cpp can't be built, for want of vector types (Visual C++) or a compiler.

    Args:
        network: float32; the modules that it was traced from stay as they are.
        frames: of the slow pathway, whose convolutions are wide.
    """
    try:
        mappings()
    except (RuntimeError, OSError, ImportError) as error:
        _LOGGER.info("Every product is computed, because winograd.cpp can't be built: %s", error)
        return
    for node in list(network.graph.nodes):
        conv, relu = _called(network, node), _behind(network, node)
        if not (is_plain(conv, nn.Conv3d) and _suits(conv, frames)):
            continue
        if isinstance(_called(network, relu), nn.ReLU):
            network.add_submodule(str(node.target), Winograd(conv))
            relu.replace_all_uses_with(relu.all_input_nodes[0])
            network.graph.erase_node(relu)
    network.recompile()


@functools.cache
def mappings() -> ctypes.CDLL:
    """The functions of winograd.cpp.

    Raises:
        RuntimeError: the compiler doesn't take it.
        OSError: there is no compiler, or no room for the result.
        ImportError: this torch builds its C++ another way.
    """
    from torch._inductor.codecache import CppCodeCache  # takes a second or two

    source = Path(__file__).with_suffix(".cpp").read_text(encoding="utf-8")
    library: ctypes.CDLL = CppCodeCache.load(source)
    return library


@torch.library.custom_op("slowfast_zoo::winograd_factors", mutates_args=())
def winograd_factors(x: Tensor, over_time: bool) -> Tensor:
    """The factors of inputs, ready for a grouped convolution: ``(1, products * C, tiles, 1)``.

    Args:
        x: float32 ``(B, C, T, H, W)``; C is a multiple of 16.
        over_time: tiles of four frames; otherwise of 4x4 pixels.
    """
    x = x.contiguous(memory_format=torch.channels_last_3d)
    factors = _factors_like(x, over_time)
    function = mappings().factors_over_time if over_time else mappings().factors_over_space
    function(_pointer(x), _pointer(factors), *_sizes(_places(x), over_time), _size(x.shape[1]))
    return factors


# torch 2.6 can't read list[int] from the signature.
@torch.library.custom_op(
    "slowfast_zoo::winograd_outputs",
    mutates_args=(),
    schema="(Tensor products, Tensor bias, int[] shape, bool over_time) -> Tensor",
)
def winograd_outputs(products: Tensor, bias: Tensor, shape: list[int], over_time: bool) -> Tensor:
    """``relu(outputs + bias)``, ``(B, K, T, H, W)``, of the products.

    Args:
        products: float32 ``(1, products * K, tiles, 1)``; K is a multiple of 16.
        bias: float32 ``(K,)``.
        shape: (B, T, H, W).
        over_time: as for the factors.
    """
    products = products.contiguous(memory_format=torch.channels_last)
    outputs: Tensor = _outputs_like(products, bias, shape)
    function = mappings().outputs_over_time if over_time else mappings().outputs_over_space
    pointers = [_pointer(tensor) for tensor in (products, bias, outputs)]
    function(*pointers, *_sizes(shape, over_time), _size(len(bias)))
    return outputs


def _factors_like(x: Tensor, over_time: bool) -> Tensor:
    batch, channels, frames, height, width = x.shape
    if over_time:
        products, tiles = REACH, batch * -(-frames // TILE) * height * width
    else:
        products, tiles = REACH * REACH, batch * frames * -(-height // TILE) * -(-width // TILE)
    return x.new_empty((1, tiles, 1, products * channels)).permute(0, 3, 1, 2)


def _outputs_like(products: Tensor, bias: Tensor, shape: list[int], over_time: bool = False) -> Tensor:
    return products.new_empty((*shape, len(bias))).permute(0, 4, 1, 2, 3)


winograd_factors.register_fake(_factors_like)
winograd_outputs.register_fake(_outputs_like)


def _called(network: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that a node calls."""
    return network.get_submodule(str(node.target)) if node.op == "call_module" else None


def _behind(network: fx.GraphModule, node: fx.Node) -> fx.Node:
    """The only user of a node's result, after what was folded away; the node itself where there are more."""
    users = list(node.users)
    if len(users) != 1:
        return node
    return _behind(network, users[0]) if isinstance(_called(network, users[0]), nn.Identity) else users[0]


def _suits(conv: nn.Conv3d, frames: int) -> bool:
    """Whether a convolution has a bias, three neighboring taps, stride 1, and enough channels and frames."""
    taps = conv.kernel_size == (1, 3, 3) or (conv.kernel_size == (3, 1, 1) and frames >= TILE)
    channels = (conv.in_channels, conv.out_channels)
    wide = min(channels) >= _WIDE and not any(number % _LANES for number in channels)
    ordinary = conv.bias is not None and conv.padding_mode == "zeros" and conv.groups == 1
    return ordinary and taps and wide and conv.stride == conv.dilation == (1, 1, 1)


def _places(x: Tensor) -> list[int]:
    """(B, T, H, W)"""
    return [x.shape[0], *x.shape[2:]]


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


_size = ctypes.c_int64


def _sizes(shape: list[int], over_time: bool) -> tuple[ctypes.c_int64, ...]:
    """(B, T, H * W) for the functions of time, (B * T, H, W) for those of space."""
    batch, frames, height, width = shape
    three = (batch, frames, height * width) if over_time else (batch * frames, height, width)
    return tuple(_size(number) for number in three)
