"""The network as it is best computed: batch norms folded away, and in a chosen precision."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slowfast_zoo.errors import InputError
from slowfast_zoo.inference.engines.stems import StemLayouts, change_stems
from slowfast_zoo.network.heads import Acrn, RoiHead, head_of
from slowfast_zoo.network.pathway import Bottleneck, Lateral, NonLocal, Stem
from slowfast_zoo.network.slowfast import SlowFast, check_boxes, type_of
from slowfast_zoo.network.structure import is_plain, tensors_used
from slowfast_zoo.network.twin import eval_twin
from slowfast_zoo.runtime.precision import Precision, is_half, to_dtype


def prepare(model: SlowFast, precision: Precision, *, stems: StemLayouts | None = None) -> SlowFast | Lowered:
    """A folded copy for inference: float32 clips ``(B, C, T, H, W)``, and boxes, to float32 logits.

    Args:
        model: stays as it is.
        precision: of the two pathways; the head is float32 always.
        stems: the layout that they are computed in; None for their own.

    Raises:
        InputError: it is no SlowFast, or has no numbers.
    """
    return lower(fold_batch_norms(model), precision, stems=stems)


def lower(folded: SlowFast, precision: Precision, *, stems: StemLayouts | None = None) -> SlowFast | Lowered:
    """``prepare`` of a folded network, which stays as it is; in float32 both share their weights."""
    network = copy.deepcopy(folded) if is_half(precision) else eval_twin(folded)
    if stems is not None:
        change_stems(network, stems)
    return Lowered(network, to_dtype(precision)) if is_half(precision) else network


def check_model(model: object) -> None:
    """Refuses what can't be optimized or exported.

    Raises:
        InputError: it is no SlowFast, or has no numbers.
    """
    if not isinstance(model, SlowFast):
        raise InputError(f"This takes a SlowFast model, got {type_of(model)}; unwrap it first.")
    if any(parameter.is_meta for parameter in model.parameters()):
        raise InputError("The model is on the meta device: load weights first.")


def as_given(model: SlowFast) -> SlowFast:
    """A copy in eval mode and float32, without backward hooks: what an engine's answers are held to.

    Raises:
        InputError: it is no SlowFast, or has no numbers.
    """
    check_model(model)
    given = copy.deepcopy(model).eval().float().requires_grad_(False)
    for module in given.modules():
        module._backward_hooks.clear()
        module._backward_pre_hooks.clear()
    return given


def fold_batch_norms(model: SlowFast) -> SlowFast:
    """A copy in eval mode and float32, each batch norm part of the convolution in front of it.

    What somebody replaced, wrapped, hooked or shares between two places stays as it is. The products are made
    in float64, so that folding costs one rounding of each weight; on the CPU, because not every device has
    that.

    Raises:
        InputError: it is no SlowFast, or has no numbers.
    """
    folded = as_given(model)
    uses = tensors_used(folded)
    for block in [module for module in folded.modules() if is_plain(module, *_BLOCKS)]:
        for names in block.conv_norm_pairs():
            conv, norm = (getattr(block, name) for name in names)
            if _is_foldable(conv, norm) and uses[id(conv.weight)] == 1:
                setattr(block, names[0], _folded(conv, norm))
                setattr(block, names[1], nn.Identity())
    return folded


_BLOCKS = (Stem, Bottleneck, NonLocal, Lateral, Acrn)


def _is_foldable(conv: nn.Module, norm: nn.Module) -> bool:
    """Whether they are a convolution and a batch norm, whose numbers all are there, and no more."""
    if not (is_plain(conv, nn.Conv3d) and is_plain(norm, nn.BatchNorm3d, nn.SyncBatchNorm)):
        return False
    return all(each is not None for each in (norm.running_mean, norm.running_var, norm.weight, norm.bias))


class OneDnnConv3d(nn.Conv3d):
    """A float32 convolution that oneDNN computes, whatever its size.

    Of one clip torch gives oneDNN the large maps only (``use_mkldnn`` in ATen's Convolution.cpp); the others
    are unfolded and multiplied, which takes two to five times as long.
    """

    def forward(self, x: Tensor) -> Tensor:
        assert not isinstance(self.padding, str)
        return torch.mkldnn_convolution(
            x, self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups
        )


def use_onednn(module: nn.Module) -> None:
    """Makes every convolution that is padded with zeros a ``OneDnnConv3d``, in place."""
    for child in module.modules():
        if is_plain(child, nn.Conv3d) and _pads_with_zeros(child):
            child.__class__ = OneDnnConv3d


def _pads_with_zeros(conv: nn.Conv3d) -> bool:
    return conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


class GatheredConv3d(nn.Module):
    """A convolution ``(k, 1, 1)`` that strides through time, as one product: k frames as channels.

    oneDNN's bfloat16 kernels for AMX (torch 2.14.1) damage the process's memory, or give NaN, for stride 8
    and kernels of 3 or 5, as in the third lateral connection of every alpha-8 network. A product is like the
    other convolutions of kernel 1, with which no processor was seen to have trouble.

    Args:
        conv: of any precision; its padding is in time only.
    """

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        weight = conv.weight.transpose(1, 2).flatten(1, 2)  # (outputs, k, channels, 1, 1)
        self.weight = nn.Parameter(weight.unsqueeze(2).contiguous(), requires_grad=False)
        self.bias = conv.bias
        self.kernel, self.stride, self.padding = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` as the convolution takes it, and what it gives."""
        gathered = gather_frames(x, self.kernel, self.stride, self.padding)
        return F.conv3d(gathered, self.weight, self.bias)


def gather_frames(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """``(B, C, T, H, W)`` to ``(B, kernel * C, T', H, W)``: the frames that each output of T' reads."""
    outputs = (x.shape[2] + 2 * padding - kernel) // stride + 1
    taps = []
    for first in range(-padding, kernel - padding):  # of the clip's frames, the one that output 0 reads
        before = max(-(first // stride), 0)  # outputs that read zeros in front of the clip
        frames = x[:, :, first + before * stride :: stride][:, :, : max(outputs - before, 0)]
        taps.append(F.pad(frames, (0, 0, 0, 0, before, outputs - before - frames.shape[2])))
    return torch.cat(taps, dim=1)


# Symbolic tracing sees them as single calls; it looks for their names in the module that calls them.
torch.fx.wrap("gather_frames")
torch.fx.wrap("check_boxes")


def use_products(module: nn.Module) -> None:
    """Makes every convolution that strides through time, and there alone, a ``GatheredConv3d``, in place."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if not (is_plain(child, nn.Conv3d) and _pads_with_zeros(child)) or child.groups > 1:
                continue
            in_time = child.kernel_size[1:] == child.stride[1:] == (1, 1) and child.padding[1:] == (0, 0)
            if child.stride[0] > 1 and in_time and child.dilation == (1, 1, 1):
                setattr(parent, name, GatheredConv3d(child))


class Lowered(nn.Module):
    """A network whose pathways compute in half precision; float32 in, float32 head and logits out.

    Args:
        model: folded; becomes part of this module.
        dtype: of the pathways.
    """

    def __init__(self, model: SlowFast, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model.to(dtype)
        for name in ("classifier", "acrn"):
            if hasattr(self.model, name):
                self.model.get_submodule(name).float()
        self.dtype = dtype
        self.spec = model.spec

    def forward(self, clip: Tensor, boxes: Tensor | None = None) -> Tensor:
        """Logits of a float32 clip ``(B, C, T, H, W)`` and of boxes, as the network's own."""
        check_boxes(boxes, self.spec)
        return self.model.forward_head(self.forward_features(clip), self.spec.num_classes == 0, boxes=boxes)

    def forward_features(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """The last maps of a float32 clip, float32."""
        slow, fast = self.model.forward_features(clip.to(self.dtype))
        return slow.float(), fast.float()


class Maps(nn.Module):
    """What a network that scores persons sees of a clip before it looks at boxes.

    That is nearly all of its work, it doesn't change with the boxes, and its size is fixed: what engines
    compute. The head after it is torch's own for all of them.

    Args:
        network: with an ROI head; becomes part of this module.
    """

    def __init__(self, network: SlowFast | Lowered) -> None:
        super().__init__()
        self.network, self.spec = network, network.spec

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, C, h, w)`` of a float32 clip: both pathways, pooled over time."""
        head = head_of(self.spec)
        assert isinstance(head, RoiHead)
        return head.frame(self.network.forward_features(clip))


FoldedNetwork = SlowFast | Lowered | Maps
"""A folded network in whichever precision, or all of it but the head that takes boxes."""


def _folded(conv: nn.Conv3d, norm: nn.BatchNorm3d) -> nn.Conv3d:
    """``norm(conv(x))`` in eval mode, as one convolution with a bias."""
    device = conv.weight.device
    weight, factor, shift = (tensor.cpu().double() for tensor in (conv.weight, norm.weight, norm.bias))
    mean, variance = (norm.get_buffer(f"running_{name}").cpu().double() for name in ("mean", "var"))
    before = 0 if conv.bias is None else conv.bias.cpu().double()
    scale = factor / torch.sqrt(variance + norm.eps)
    folded = weight * scale.view(-1, 1, 1, 1, 1), shift + (before - mean) * scale
    conv.weight, conv.bias = (
        nn.Parameter(tensor.float().to(device), requires_grad=False) for tensor in folded
    )
    return conv
