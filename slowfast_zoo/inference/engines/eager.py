"""The engine "eager": torch's own kernels; on x86 every convolution by oneDNN."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from slowfast_zoo.inference.engines.engine import Engine, Run, Shape, in_pieces
from slowfast_zoo.inference.engines.folding import FoldedNetwork, use_onednn
from slowfast_zoo.runtime.precision import Precision, onednn_is_fast

_CACHED = 5_000_000
"""Numbers in the clips that a CPU takes at a time, one clip of the published sizes: the maps of more of them
leave the caches and take 5 to 30 % longer per clip, while those of small clips are faster together."""


def _build(module: FoldedNetwork, precision: Precision, device: torch.device, shape: Shape) -> Run:
    """The module in the memory format that its device and precision are fastest with."""
    if precision == "float32" and onednn_is_fast(device):
        use_onednn(module)
    elif precision == "float32" and device.type != "cuda":
        return module
    module.to(memory_format=torch.channels_last_3d)

    def call(clips: Tensor) -> Tensor:
        logits: Tensor = module(clips.contiguous(memory_format=torch.channels_last_3d))
        return logits

    return in_pieces(call, max(_CACHED // math.prod(shape), 1)) if device.type == "cpu" else call


def _pays_from(device: torch.device, precision: Precision) -> float:
    """The copy that it needs is earned back by three clips where its kernels are faster, else never."""
    if precision != "float32":
        return 0
    return 3 if onednn_is_fast(device) else math.inf


EAGER = Engine(
    name="eager",
    devices=(),
    precisions=("float32", "tf32", "bfloat16", "float16"),
    pays_from=_pays_from,
    starts_in=2,
    torch_kernels=True,
    starts_late=False,
    build=_build,
)
