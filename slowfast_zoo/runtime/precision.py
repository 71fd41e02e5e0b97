"""The number formats that a network can be computed in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

import torch

from slowfast_zoo.errors import UnknownNameError, did_you_mean, quoted

Precision = Literal["float32", "bfloat16", "float16"]

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def check_precision(precision: str) -> None:
    """Refuses what is no precision.

    Raises:
        UnknownNameError: names the ones that there are.
    """
    if precision not in DTYPES:
        hint = did_you_mean(str(precision), DTYPES) or f" The precisions are: {quoted(DTYPES)}."
        raise UnknownNameError(f"There is no precision {precision!r}.{hint}")


@contextlib.contextmanager
def autocast(device: torch.device, precision: Precision) -> Iterator[None]:
    """The network's arithmetic in that precision, where torch holds it safe."""
    dtype = torch.float16 if precision == "float16" else torch.bfloat16
    with torch.autocast(device.type, dtype, enabled=precision != "float32"):
        yield
