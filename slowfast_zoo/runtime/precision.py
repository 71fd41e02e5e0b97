"""The number formats that a network can be computed in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, get_args

from slowfast_zoo.errors import UnknownNameError, did_you_mean, quoted

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16", "float16"]


def check_precision(precision: str) -> None:
    """Refuses what is no precision.

    Raises:
        UnknownNameError: names the ones that there are.
    """
    names = get_args(Precision)
    if precision not in names:
        hint = did_you_mean(str(precision), names) or f" The precisions are: {quoted(names)}."
        raise UnknownNameError(f"There is no precision {precision!r}.{hint}")


def to_dtype(precision: Precision) -> torch.dtype:
    """torch's name for it."""
    import torch

    dtype: torch.dtype = getattr(torch, precision)
    return dtype


@contextlib.contextmanager
def autocast(device: torch.device, precision: Precision) -> Iterator[None]:
    """The network's arithmetic in that precision, where torch holds it safe."""
    import torch

    dtype = torch.float16 if precision == "float16" else torch.bfloat16
    with torch.autocast(device.type, dtype, enabled=precision != "float32"):
        yield
