"""Where tensors are computed, and whether memory ran out there."""

from __future__ import annotations

import torch

from slowfast_zoo.errors import InputError


def to_device(device: str | torch.device | None) -> torch.device:
    """The device of that name; None: a GPU where torch finds one, else the CPU.

    Raises:
        InputError: torch knows no such name, or finds no such device here.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"device is {device!r}; accepted: 'cpu', 'cuda', 'cuda:1', 'mps'.") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device is '{device}', and torch finds no such GPU here that it can use; give 'cpu'."
        )
    return found


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU or in the machine's own memory."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(
        part in text
        for part in ("can't allocate memory", "not enough memory", "out of memory", "Out of memory")
    )
