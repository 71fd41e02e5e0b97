"""Precision, determinism and the optimizer of a training."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from slowfast_zoo.errors import TrainingError
from slowfast_zoo.runtime.precision import Precision
from slowfast_zoo.spec import ModelSpec
from slowfast_zoo.training.recipe import TrainConfig


def check_gradients_are_right(
    spec: ModelSpec, num_frames: int, device: torch.device, precision: Precision
) -> None:
    """Refuses clips so short that torch computes wrong gradients.

    In torch 2.15 the CPU's bfloat16 convolution reads beyond clips that are longer than one frame and
    shorter than the kernel when it computes the weights' gradient: the result is NaN, or just wrong.

    Raises:
        TrainingError: the clips are too short for this precision on this device.
    """
    if device.type != "cpu" or precision != "bfloat16":
        return
    slow_frames = num_frames // spec.alpha
    if slow_frames == 2 or 1 < num_frames < 5:  # kernels of 3 in both pathways, of 5 in the fast stem
        raise TrainingError(
            f"torch computes wrong gradients in bfloat16 on the CPU for clips of {num_frames} frames, "
            f"{slow_frames} in the slow pathway; train in float32, or with {3 * spec.alpha} frames or more."
        )


@contextlib.contextmanager
def determinism(wanted: bool) -> Iterator[None]:
    """Deterministic algorithms inside, the caller's settings afterwards.

    On a GPU the backward pass of max pooling has no deterministic form; torch warns of it.
    """
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    if wanted:
        # cuBLAS reads it when it starts; https://docs.nvidia.com/cuda/cublas/#results-reproducibility
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = wanted, not wanted
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The configured optimizer over the parameters that learn, batch norms in a group of their own."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    of_norms = {id(parameter) for norm in norms for parameter in norm.parameters()}
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    norm_decay = config.weight_decay if config.norm_weight_decay is None else config.norm_weight_decay
    groups: list[dict[str, Any]] = [
        {"params": [parameter for parameter in learning if id(parameter) not in of_norms]},
        {
            "params": [parameter for parameter in learning if id(parameter) in of_norms],
            "weight_decay": norm_decay,
        },
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(
        groups,
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.nesterov,
    )
