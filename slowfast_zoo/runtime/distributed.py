"""The processes of one training: started by ``torchrun``, or just this one."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import datetime
import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from slowfast_zoo.errors import InputError, SlowFastZooError, TrainingError, quoted
from slowfast_zoo.runtime.devices import to_device

_Value = TypeVar("_Value")
_PATIENCE = datetime.timedelta(days=1)
"""While the first process reads all clips, the others wait; torchrun ends all of them when one fails."""


@dataclasses.dataclass(frozen=True)
class Processes:
    """This process among those that train or evaluate together."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and shows progress."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum of all processes' tensors, on every one of them."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        """Every process's object, on every one of them, in the order of ranks."""
        if self.world == 1:
            return [value]
        values = [None] * self.world
        distributed.all_gather_object(values, value)
        return values

    def from_first(self, make: Callable[[], _Value]) -> _Value:
        """What the first process makes, on every one of them; the others wait.

        Args:
            make: something that can be pickled.

        Raises:
            TrainingError: in the others, with the words of the library's error in the first.
        """
        if self.world == 1:
            return make()
        outcome: list[Any] = [None, None]
        if self.first:
            try:
                outcome[0] = make()
            except SlowFastZooError as error:
                distributed.broadcast_object_list([None, str(error)], 0)
                raise
        distributed.broadcast_object_list(outcome, 0)
        value, failure = outcome
        if failure is not None:
            raise TrainingError(failure)
        return value  # type: ignore[no-any-return]

    def average_batch_norms(self, model: nn.Module) -> None:
        """Replaces running statistics of batch norms by their mean over the processes."""
        for name, buffer in model.named_buffers():
            if self.world > 1 and name.endswith(("running_mean", "running_var")):
                buffer.copy_(self.sum(buffer.clone()) / self.world)

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Gives every process the first one's values."""
        for tensor in tensors if self.world > 1 else ():
            whole = tensor.contiguous()
            distributed.broadcast(whole, 0)
            tensor.copy_(whole)


def join(device: str | torch.device | None = None) -> Processes:
    """The group that ``torchrun``'s environment describes, or that the caller has made; else this process.

    A group that is made here lasts until the process ends: one that is left and made again may meet the
    store of the one before, and wait for ever. NCCL where tensors are on GPUs, gloo elsewhere.

    Args:
        device: None takes the GPU of this process's local rank, as "cuda" does, or the CPU where there is
            none.

    Raises:
        TrainingError: there is no such device, more processes than GPUs, or half of what torchrun sets.
    """
    chosen = _device(device)
    alone = not distributed.is_initialized() and not _is_launched()
    if chosen.type == "cuda" and not alone:  # NCCL takes the current GPU; who is alone keeps theirs
        torch.cuda.set_device(chosen)
    if not (alone or distributed.is_initialized()):
        distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=_PATIENCE)
        atexit.register(_leave)
    if distributed.is_initialized():
        return Processes(distributed.get_rank(), distributed.get_world_size(), chosen)
    return Processes(0, 1, chosen)


def _is_launched() -> bool:
    """Whether the environment describes several processes.

    Raises:
        TrainingError: it lacks what each of them has to know.
    """
    world = os.environ.get("WORLD_SIZE", "1")
    with contextlib.suppress(ValueError):
        if int(world) <= 1:
            return False
    numbers = ("WORLD_SIZE", "RANK", "MASTER_PORT")
    wrong = [name for name in numbers if not os.environ.get(name, "").strip().isdecimal()]
    if wrong := [*wrong, *(["MASTER_ADDR"] if not os.environ.get("MASTER_ADDR") else [])]:
        raise TrainingError(
            f"WORLD_SIZE is '{world}' in the environment, and {quoted(wrong)} isn't set, or no number: start"
            " with torchrun, which sets them all, or unset WORLD_SIZE."
        )
    return True


def _leave() -> None:
    if distributed.is_initialized():  # the caller may have ended the group, as torch advises
        distributed.destroy_process_group()


def _device(device: str | torch.device | None) -> torch.device:
    if device is None and torch.cuda.is_available():
        device = "cuda"
    if str(device) == "cuda" and "LOCAL_RANK" in os.environ:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        chosen = to_device(device)
        torch.empty(0, device=chosen)
    except (InputError, RuntimeError, AssertionError) as error:
        raise TrainingError(f"The device {device} can't be used: {str(error).splitlines()[0]}") from error
    return chosen
