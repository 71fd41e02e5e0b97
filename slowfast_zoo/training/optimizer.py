"""The optimizer of a training."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from slowfast_zoo.training.recipe import TrainConfig


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
