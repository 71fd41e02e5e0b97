"""The optimizer of a training."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from slowfast_zoo.training.recipe import TrainConfig

_STAGES = 4
_STAGE = re.compile(r"\.(?:stage)?(\d)\b")


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The configured optimizer over the parameters that learn, batch norms in groups of their own.

    Each group has its part of the learning rate as "scale": 1, or less the deeper its parameters lie where
    ``config.layer_decay`` is below 1.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    of_norms = {id(parameter) for norm in norms for parameter in norm.parameters()}
    norm_decay = config.weight_decay if config.norm_weight_decay is None else config.norm_weight_decay
    members: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = config.layer_decay ** _layers_above(name)
            members.setdefault((id(parameter) in of_norms, scale), []).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": params, "scale": scale, "weight_decay": norm_decay if norm else config.weight_decay}
        for (norm, scale), params in sorted(members.items(), key=lambda item: (item[0][0], -item[0][1]))
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)
    return torch.optim.SGD(
        groups,
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.nesterov,
    )


def _layers_above(name: str) -> int:
    """Steps below the classifier: 1 for stage 4, 5 for the stems; laterals go with what they read."""
    if not name.startswith(("slow.", "fast.", "lateral")):
        return 0
    stage = _STAGE.search(name)
    return _STAGES + 1 - (int(stage[1]) if stage else 0)
