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

_BATCH_SIZES = {"cpu": 1, "cuda": 32}
"""Views that go through the network at once: a CPU gains nothing from more, and so gives a view the same bits
in every company; a GPU gains little from more."""


def check_predictable(model: object) -> None:
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


class BatchRunner:
    """The network on any number of clips: the model's twin in eval mode, or an optimized copy where one is
    asked for or pays, a batch at a time.

    Any number of threads may call it.

    Attributes:
        model: what computes.
        device: where it computes.
        batch_size: clips that go through it at once; halved where memory runs out.

    Args:
        model, engine, precision, device: as for ``predict``.
        clips: how many will come; None: not known.
        batch_size: None: what the device gains from.

    Raises:
        InputError: an argument that is not accepted.
    """

    def __init__(
        self,
        model: SlowFast | OptimizedModel,
        engine: EngineName = "auto",
        precision: Precision = "float32",
        device: str | torch.device | None = None,
        *,
        clips: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        check_predictable(model)
        if batch_size is not None and (type(batch_size) is not int or batch_size < 1):
            raise InputError(f"batch_size is {batch_size!r}; accepted: an integer of at least 1, or None.")
        self.model: SlowFast | OptimizedModel = model
        if not isinstance(model, OptimizedModel):
            index = next(model.parameters()).device if device is None else to_device(device)
            if engine == "auto" and precision == "float32" and not choose(model, index, precision, clips):
                self.model = eval_twin(model, index)
            else:
                self.model = optimize(model, engine, precision, device=index, clips=clips)
        elif engine not in ("auto", model.engine) or device is not None:
            raise InputError("This model is optimized already; give engine= and device= to optimize.")
        if isinstance(self.model, SlowFast):
            weight = next(self.model.parameters())
            self.device, self._dtype = weight.device, weight.dtype
        else:
            self.device, self._dtype = self.model.device, torch.float32
        self.batch_size = batch_size or _BATCH_SIZES.get(self.device.type, 4)

    def __call__(self, clips: Tensor) -> Tensor:
        """Logits float32 on the CPU of clips (n, C, T, H, W).

        Raises:
            OutOfMemoryError: one clip is too much.
        """
        compute = Halving(self._logits, self.batch_size)
        logits = compute(clips)
        self.batch_size = compute.size
        return logits

    @torch.inference_mode()
    def _logits(self, clips: Tensor) -> Tensor:
        return self.model(clips.to(self.device, self._dtype)).float().cpu()
