"""Engines that were built are found again by the next call with the same model and weights."""

from __future__ import annotations

import dataclasses
import threading
import weakref
import zlib

import torch
from torch import Tensor

from slowfast_zoo.inference.engines import EngineName
from slowfast_zoo.inference.engines.optimize import UNANNOUNCED, OptimizedModel, choose, optimize
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.network.structure import structure
from slowfast_zoo.runtime.precision import Precision, check_precision
from slowfast_zoo.spec import ModelSpec

_LIMIT = 2
"""Engines that are kept in a process: each holds a copy of its network's weights."""

_Asked = tuple[type[SlowFast], ModelSpec, EngineName, Precision, torch.device, int]
"""The network's class, which may give something else with the same weights, its spec, and how to compute:
with how many threads, too, which some engines are built for."""


@dataclasses.dataclass(eq=False)
class _Use:
    """What a model was asked for, in one precision on one device."""

    owner: weakref.ref[SlowFast]
    asked: _Asked
    """For what, beside the model."""
    weights: object = None
    clips: int = 0
    """How many have been announced since the weights are these."""
    fast: OptimizedModel | None = None
    chosen: str | None = None
    """The engine that "auto" was when ``fast`` was built."""
    built_for: int = 0
    """Clips that were announced then."""

    def outgrown(self, chosen: str | None, announced: int | None) -> bool:
        """Whether "auto" is another engine than ``fast`` for more clips than that was built for.

        What takes its place because it failed, or measured better, is no reason to build it anew.
        """
        return _number(announced) > self.built_for and chosen not in (
            None,
            self.chosen,
            self.fast and self.fast.engine,
        )


def _number(announced: int | None) -> int:
    """Of clips, where nobody may know how many."""
    return UNANNOUNCED if announced is None else announced


_uses: list[_Use] = []
"""The latest last."""
_lock = threading.RLock()


def optimized(
    model: SlowFast,
    engine: EngineName,
    precision: Precision,
    device: torch.device,
    clips: int | None,
    owner: SlowFast | None = None,
) -> OptimizedModel | None:
    """What ``optimize`` makes of a model, or made of it in an earlier call; None where the model itself does.

    The clips of all calls count for what "auto" is, as if they had come in one. An engine is built anew when
    a weight, a module or torch's number of threads has changed or "auto" is another one for so many clips,
    and given up when the model is, or when two others have been asked for since.

    Args:
        model, engine, precision, device, clips: as for ``optimize``; of ``clips`` None stands for many.
        owner: whose weights the model computes with, where it was made for this call alone; the engine is
            found again, and given up, with that.

    Raises:
        InputError, MissingDependencyError, UnknownNameError: as ``optimize``.
    """
    check_precision(precision)
    weights = _state(model)
    with _lock:
        asked = (type(model), model.spec, engine, precision, device, torch.get_num_threads())
        use = _use(owner or model, asked)
        if use.weights != weights:
            use.weights, use.clips, use.fast = weights, 0, None
        announced = None if clips is None else use.clips + clips
        use.clips += clips or 0
        chosen = choose(model, device, precision, announced) if engine == "auto" else None
        if use.fast is not None and not use.outgrown(chosen, announced):
            use.fast.expect(clips)
        else:
            if (engine, precision, chosen) == ("auto", "float32", None):
                return None
            use.fast = optimize(model, engine, precision, device=device, clips=announced)
            use.chosen, use.built_for = chosen, _number(announced)
            if _state(model) != weights:
                use.weights = None  # somebody trained it meanwhile: this engine is for this call alone
            given_up = [each for each in _uses if each.fast is not None][:-_LIMIT]
            _uses[:] = [each for each in _uses if each not in given_up]
        return use.fast


def _use(owner: SlowFast, asked: _Asked) -> _Use:
    """The record of such calls, made where there is none; it is the latest then."""
    same = (use for use in list(_uses) if use.owner() is owner and use.asked == asked)
    use = next(same, None) or _Use(weakref.ref(owner, _forget), asked)
    # As a whole: the garbage collector may call _forget at any moment.
    _uses[:] = [*(each for each in _uses if each is not use), use]
    return use


def _forget(owner: weakref.ref[SlowFast]) -> None:
    with _lock:
        _uses[:] = [use for use in _uses if use.owner is not owner]


def _state(model: SlowFast) -> object:
    """What changes with any weight, its place, and what is done with it: versions, which torch counts, and
    checksums of all bits, because ``.data`` and other processes change numbers uncounted."""
    tensors = [*model.parameters(), *model.buffers()]
    facts = [
        (tensor.data_ptr(), tensor.dtype, 0 if tensor.is_inference() else tensor._version)
        for tensor in tensors
    ]
    small: list[int] = []
    elsewhere: list[Tensor] = []
    sums: list[Tensor] = []
    for tensor in tensors:
        values = tensor.detach().contiguous()
        if tensor.numel() >= _SMALL:
            sums.append(_by_place(values.flatten()))
        elif tensor.device.type == "cpu":  # NumPy's calls cost a tenth of torch's
            small.append(zlib.crc32(values.view(_INTEGERS[tensor.element_size()]).numpy().data))
        else:
            elsewhere.append(values.flatten().view(torch.uint8))
    if elsewhere:
        sums.append(_by_place(torch.cat([each.to(elsewhere[0].device) for each in elsewhere])))
    # All at once, as a GPU is waited for each time.
    large = torch.stack([each.to(sums[0].device) for each in sums]).tolist() if sums else []
    return model.spec, structure(model), facts, small, large


def _by_place(flat: Tensor) -> Tensor:
    """The sum of a vector as 64-bit integers, which wrap around, each weighed by its place.

    It takes little longer than a plain sum: numbers that are a long, odd distance apart are added up, which
    no exchange of channels or places is, and only these sums are weighed.
    """
    of_eight = 8 // flat.element_size()
    whole = len(flat) % of_eight == flat.storage_offset() % of_eight == 0
    numbers = flat.view(torch.int64 if whole else _INTEGERS[flat.element_size()])
    left: list[Tensor] = []
    while len(numbers) > _WEIGHED:
        distance = (len(numbers) // 8 - 1) | 1  # odd
        left.append(numbers[8 * distance :])
        numbers = numbers[: 8 * distance].view(8, distance).sum(0)
    numbers = torch.cat([numbers, *left]).to(torch.int64)
    # A difference in the upper bits alone would leave the lower ones, and so a product, as they were.
    numbers = numbers + (numbers >> 32)
    return (numbers * torch.arange(1, 2 * len(numbers), 2, device=flat.device)).sum()


_SMALL = 2**16
_WEIGHED = 2**13
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
