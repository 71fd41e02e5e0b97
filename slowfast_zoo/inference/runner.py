"""What ``predict`` calls on its views: the model, or the engine that pays, in batches that fit the memory."""

from __future__ import annotations

import torch
from torch import Tensor

from slowfast_zoo.errors import InputError
from slowfast_zoo.inference.engines import EngineName
from slowfast_zoo.inference.engines.optimize import OptimizedModel, choose, optimize
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.network.twin import eval_twin
from slowfast_zoo.runtime.devices import Halving, to_device
from slowfast_zoo.runtime.precision import Precision

_VIEWS_PER_BATCH = {"cpu": 2, "cuda": 32}
"""Views that go through the network at once: a CPU gains nothing from more, a GPU little."""


def check_model(model: object) -> None:
    """Refuses what ``predict`` can't use.

    Raises:
        InputError: says why.
    """
    if not isinstance(model, (SlowFast, OptimizedModel)):
        raise InputError(
            f"predict takes a SlowFast model, got {type(model).__name__}; create_model(name, True) makes one."
        )
    if model.spec.num_classes == 0:
        raise InputError("This model has no classifier (num_classes=0); call it on clips for features.")
    if model.spec.in_channels != 3:
        raise InputError(f"predict reads RGB video, this model takes {model.spec.in_channels} channels.")


def runner_for(
    model: SlowFast | OptimizedModel,
    engine: EngineName,
    precision: Precision,
    device: str | torch.device | None,
    clips: int | None,
) -> SlowFast | OptimizedModel:
    """What to call: the model's twin in eval mode, or an optimized copy where one is asked for or pays.

    Arguments and errors: ``predict``; ``clips`` is how many views will come, None where nobody knows.
    """
    if isinstance(model, OptimizedModel):
        if engine not in ("auto", model.engine) or device is not None:
            raise InputError("This model is optimized already; give engine= and device= to optimize.")
        return model
    index = next(model.parameters()).device if device is None else to_device(device)
    if engine == "auto" and choose(model, index, precision, clips) is None:
        return eval_twin(model, index)
    return optimize(model, engine, precision, device=index, clips=clips)


class Forward:
    """What ``runner_for`` gave, called on any number of clips.

    Attributes:
        device: where it computes.
        size: views that go through it at once.
    """

    def __init__(self, model: SlowFast | OptimizedModel) -> None:
        self._model = model
        if isinstance(model, SlowFast):
            weight = next(model.parameters())
            self.device, self._dtype = weight.device, weight.dtype
        else:
            self.device, self._dtype = model.device, torch.float32
        self.size = _VIEWS_PER_BATCH.get(self.device.type, 4)

    def run(self, clips: Tensor) -> Tensor:
        """Logits float32 on the CPU of clips (n, C, T, H, W); ``size`` is halved where memory runs out."""
        compute = Halving(self._logits, self.size)
        logits = compute(clips)
        self.size = compute.size
        return logits

    @torch.inference_mode()
    def _logits(self, clips: Tensor) -> Tensor:
        return self._model(clips.to(self.device, self._dtype)).float().cpu()
