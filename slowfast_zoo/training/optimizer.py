"""What a training does to weights: the optimizer's steps, and their moving average, which scores better."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slowfast_zoo.errors import InputError
from slowfast_zoo.training.recipe import TrainConfig

_STAGES = 4
_STAGE = re.compile(r"\.(?:stage)?(\d)\b")


def check_weights(model: nn.Module) -> None:
    """Refuses to train weights that aren't float32, in which steps would be lost, or data doesn't come.

    Raises:
        InputError: says what they are.
    """
    dtype = next(model.parameters()).dtype
    if dtype != torch.float32:
        name = str(dtype).removeprefix("torch.")
        raise InputError(
            f"The weights are {name}, and training keeps them in float32: model.float() makes them so;"
            " precision='bfloat16' is for the arithmetic."
        )


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


class WeightAverage:
    """An exponential moving average of a model's state; with a decay of 0 the state itself.

    Source: the growing decay is that of TensorFlow's ExponentialMovingAverage,
    https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """
        Args:
            model: whose state is averaged; its tensors stay the model's own.
            decay: part of the average that a step keeps, once there have been many.
        """
        self.model, self.decay = model, decay
        self.state: dict[str, Tensor] = {}
        if decay:
            self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Takes in the model as it is after so many steps."""
        if not self.decay:
            return
        keep = min(self.decay, (1 + steps) / (10 + steps))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - keep)
            else:
                self.state[name].copy_(value)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Goes on with an average that was saved."""
        for name, value in self.state.items():
            value.copy_(state[name])

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The model is the average meanwhile; what is measured into its batch norms stays the average's."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def keep(self) -> None:
        """The model is the average from now on."""
        self._exchange()
        self.state, self.decay = {}, 0.0

    @torch.no_grad()
    def _exchange(self) -> None:
        own = self.model.state_dict()
        for name, value in self.state.items():
            theirs = own[name].clone()
            own[name].copy_(value)
            value.copy_(theirs)


def _layers_above(name: str) -> int:
    """Steps below the classifier: 1 for stage 4, 5 for the stems; laterals go with what they read."""
    if not name.startswith(("slow.", "fast.", "lateral")):
        return 0
    stage = _STAGE.search(name)
    return _STAGES + 1 - (int(stage[1]) if stage else 0)
