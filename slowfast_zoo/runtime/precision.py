"""The number formats that a network can be computed in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, get_args

from slowfast_zoo.errors import UnknownNameError, did_you_mean, quoted

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16", "float16"]

TOLERANCES: dict[str, float] = {"float32": 1e-5, "bfloat16": 3e-2, "float16": 1e-2}
"""Largest accepted difference of logits, as a share of the largest absolute logit. On the published
networks half precision measures 0.3-0.8 % (bfloat16), which grows with depth."""


def check_precision(precision: str) -> None:
    """Refuses what is no precision.

    Raises:
        UnknownNameError: names the ones that there are.
    """
    if precision not in get_args(Precision):
        hint = did_you_mean(str(precision), get_args(Precision))
        accepted = quoted(get_args(Precision))
        raise UnknownNameError(f"There is no precision '{precision}'.{hint} Accepted: {accepted}.")


def to_dtype(precision: Precision) -> torch.dtype:
    """torch's name of it."""
    import torch

    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]


@contextlib.contextmanager
def autocast(device: torch.device, precision: Precision) -> Iterator[None]:
    """The network's arithmetic in that precision, where torch holds it safe."""
    import torch

    dtype = torch.float16 if precision == "float16" else torch.bfloat16
    with torch.autocast(device.type, dtype, enabled=precision != "float32"):
        yield
