"""The number formats that a network can be computed in."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, get_args

from slowfast_zoo.errors import InputError, UnknownNameError, did_you_mean, quoted
from slowfast_zoo.runtime.machine import processor

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


def check_kernels(precision: Precision, device: torch.device) -> None:
    """Refuses half precision on a processor that torch has no kernels of it for.

    On x86 bfloat16 convolutions need AVX-512. Without it they are right, but take nine to sixty times as
    long as in float32 (seen on Zen 3 with torch 2.14 and 2.15). About other processors torch says nothing.

    Raises:
        InputError: names the ways out.
    """
    if precision == "float32" or device.type != "cpu":
        return
    if precision == "float16":
        raise InputError("float16 needs a GPU; on a CPU take precision='bfloat16' or 'float32'.")
    if not has_bfloat16_kernels():
        raise InputError(
            f"{precision} is refused: torch has no kernels for it on this processor ({processor()}, without"
            " AVX-512) and would take many times as long as in float32; take precision='float32', or in"
            " inference engine='openvino'."
        )


def has_bfloat16_kernels() -> bool:
    """Whether torch computes bfloat16 convolutions on this processor by kernels of their own."""
    import torch

    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    if limit.upper() in ("SSE41", "AVX", "AVX2", "AVX2_VNNI"):
        return False
    there = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return there and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@contextlib.contextmanager
def autocast(device: torch.device, precision: Precision) -> Iterator[None]:
    """The network's arithmetic in that precision, where torch holds it safe."""
    import torch

    dtype = torch.float16 if precision == "float16" else torch.bfloat16
    with torch.autocast(device.type, dtype, enabled=precision != "float32"):
        yield
