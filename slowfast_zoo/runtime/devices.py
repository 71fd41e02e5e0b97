"""Where tensors are computed, and whether memory ran out there."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from slowfast_zoo.errors import InputError, OutOfMemoryError, counted

_LOGGER = logging.getLogger(__name__)


def to_device(device: str | torch.device | None) -> torch.device:
    """The device of that name; None: a GPU where torch finds one, else the CPU.

    Raises:
        InputError: torch knows no such name, or finds no such device here.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError, ValueError) as error:  # a number may be too large
        raise InputError(f"device is {device!r:.60}; accepted: 'cpu', 'cuda', 'cuda:1', 'mps'.") from error
    if not _is_there(found):
        raise InputError(
            f"device is '{device}', and torch finds no such GPU here that it can use; give 'cpu'."
        )
    if found.type == "cuda" and found.index is None:  # which names no device to set_device, and equals none
        return torch.device("cuda", torch.cuda.current_device())
    return found


def _is_there(device: torch.device) -> bool:
    if device.type == "cuda":
        return (device.index or 0) < torch.cuda.device_count()
    if device.type in ("cpu", "meta"):
        return device.type == "cpu"
    if device.type == "mps" and not torch.backends.mps.is_available():
        return False
    try:
        probe = torch.empty(1, 1, 1, 3, 3, device=device)
        if device.type == "mps":  # the oldest releases have no such kernel, and every network needs it
            torch.nn.functional.max_pool3d(probe, (1, 3, 3))
    except (RuntimeError, AssertionError, ImportError):
        return False
    return True


def sent(values: Tensor, device: torch.device) -> Tensor:
    """The values on the device; on a GPU of CUDA perhaps later, in the order of its work.

    Only CUDA's memory keeps what an unfinished copy reads; elsewhere the copy has ended.
    """
    return values.to(device, non_blocking=device.type == "cuda")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU or in the machine's own memory."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    foreign = isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime")
    return foreign and any(
        part in text
        for part in (
            "Failed to allocate memory",
            "can't allocate memory",
            "not enough memory",
            "out of memory",
            "Out of memory",
            "STATUS_ALLOC_FAILED",  # cuBLAS and cuDNN, which want memory of their own
        )
    )


class Halving:
    """Computes on the rows of a batch, as many at a time as the memory turns out to hold.

    Attributes:
        size: rows at a time; halved for good whenever memory runs out.
    """

    def __init__(self, compute: Callable[..., Tensor], size: int) -> None:
        """
        Args:
            compute: rows (n, ...), and what belongs to each where something does, to results.
            size: at most so many rows at a time.
        """
        self.compute, self.size = compute, max(size, 1)

    def __call__(self, rows: Tensor, *beside: Sequence[object]) -> Tensor:
        """The results of all rows, one after the other.

        Args:
            rows: (n, ...).
            beside: lists with something for each row.

        Raises:
            OutOfMemoryError: one row is too much.
        """
        results: list[Tensor] = []
        while len(rows):
            part = rows[: self.size]
            try:
                results.append(self.compute(part, *(each[: len(part)] for each in beside)))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(part) == 1:
                    reason = str(error).partition("\n")[0] or type(error).__name__
                    raise OutOfMemoryError(
                        f"Memory doesn't suffice for one clip {tuple(part.shape[1:])} ({reason}); choose a"
                        " smaller model or another device."
                    ) from error
            else:
                rows, beside = rows[len(part) :], tuple(each[len(part) :] for each in beside)
                continue
            # Behind the except block: the traceback kept what filled the memory.
            self.size = len(part) // 2
            _LOGGER.warning("Out of memory: going on with %s at a time.", counted(self.size, "clip"))
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return torch.cat(results)


def own_generators(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Inside, torch's generators are seeded at will; afterwards the caller's numbers go on as if nothing had
    been."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


@contextlib.contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Deterministic algorithms inside, the caller's settings afterwards.

    On a GPU the backward pass of max pooling has no deterministic form; torch warns of it. Where they are
    not wanted, cuDNN tries its algorithms for each new shape, unless the caller has asked torch for
    deterministic ones.
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
    fixed = wanted or before[0] or cudnn[0]
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = fixed, not fixed
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
