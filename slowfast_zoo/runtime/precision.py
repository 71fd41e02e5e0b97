"""The number formats that a network can be computed in."""

from __future__ import annotations

import contextlib
import os
import platform
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, get_args

from slowfast_zoo.errors import InputError, UnknownNameError, did_you_mean, quoted
from slowfast_zoo.runtime.machine import processor

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "tf32", "bfloat16", "float16"]
"""On GPUs "float32" is float32, whatever torch's own setting; "tf32" lets products round their factors."""

EnginePrecision = Literal["float32", "tf32", "bfloat16", "float16", "int8"]
"""What ``optimize`` and ``export`` compute in: int8 needs clips to be set up with."""

TOLERANCES: dict[str, float] = {"float32": 1e-5, "tf32": 1e-2, "bfloat16": 3e-2, "float16": 1e-2}
"""Largest accepted difference of logits, as a share of the largest absolute logit. On the published
networks half precision measures 0.3-0.8 % (bfloat16), which grows with depth."""


def check_precision(precision: str, accepted: tuple[str, ...] = get_args(Precision)) -> None:
    """Refuses what is no precision, or can't be had without more.

    Args:
        precision: its name.
        accepted: the names that there are.

    Raises:
        InputError: int8, where it is not accepted.
        UnknownNameError: names the ones that there are.
    """
    if precision == "int8" and precision not in accepted:
        raise InputError(
            "int8 needs clips to be set up with: optimize(model, precision='int8', calibration=videos) makes"
            " a model that is used in this one's place."
        )
    if precision not in accepted:
        hint = did_you_mean(str(precision), accepted)
        raise UnknownNameError(f"There is no precision '{precision}'.{hint} Accepted: {quoted(accepted)}.")


def to_dtype(precision: Precision) -> torch.dtype:
    """torch's name of it."""
    import torch

    return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision, torch.float32)


def is_half(precision: Precision) -> bool:
    """Whether numbers have 16 bits."""
    return precision in ("bfloat16", "float16")


def check_kernels(precision: Precision, device: torch.device) -> None:
    """Refuses half precision on a processor that torch has no kernels of it for.

    On x86 bfloat16 convolutions need AVX-512. Without it they are right, but take nine to sixty times as
    long as in float32 (seen on Zen 3 with torch 2.14 and 2.15). About other processors torch says nothing.

    Raises:
        InputError: names the ways out.
    """
    if precision == "float32" or device.type != "cpu":
        return
    if precision in ("tf32", "float16"):
        others = " or 'bfloat16'" if has_bfloat16_kernels() else ""
        raise InputError(f"{precision} needs a GPU; on this CPU take precision='float32'{others}.")
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
    with float32_products(precision, device), torch.autocast(device.type, dtype, enabled=is_half(precision)):
        yield


@contextlib.contextmanager
def float32_products(precision: EnginePrecision, device: torch.device) -> Iterator[None]:
    """Inside, float32 is multiplied as float32, whatever the caller's autocast says; in "tf32" a GPU rounds
    the factors to ten bits.

    torch's own default rounds them in convolutions, and not in matrix products. The caller's settings come
    back, that of the GPU when the last one who is inside leaves.
    """
    import torch

    kind = device.type
    with contextlib.ExitStack() as stack:
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            stack.enter_context(torch.autocast(kind, enabled=False))
        if kind == "cuda":
            stack.enter_context(_tf32.allowed(precision == "tf32"))
        yield


class _Tf32:
    """torch's switch for TF32, one for the whole process, among threads that want it differently."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = {True: 0, False: 0}
        self._before: list[tuple[Any, str, Any]] = []

    @contextlib.contextmanager
    def allowed(self, wanted: bool) -> Iterator[None]:
        """TF32 or not inside; where threads want both, none gets less exact products than it asked for."""
        with self._lock:
            if not any(self._inside.values()):
                self._before = _tf32_settings()
            self._inside[wanted] += 1
            self._set()
        try:
            yield
        finally:
            with self._lock:
                self._inside[wanted] -= 1
                self._set()

    def _set(self) -> None:
        if any(self._inside.values()):
            for owner in _tf32_owners():
                owner.allow_tf32 = not self._inside[False]
        else:
            for owner, name, value in self._before:
                setattr(owner, name, value)


_tf32 = _Tf32()


def _tf32_owners() -> tuple[Any, Any]:
    import torch

    return torch.backends.cudnn, torch.backends.cuda.matmul


def _tf32_settings() -> list[tuple[Any, str, Any]]:
    """Whose attribute has which value: ``allow_tf32``, unless only torch's newer form of it can be read."""
    found: list[tuple[Any, str, Any]] = []
    for owner in _tf32_owners():
        try:
            found.append((owner, "allow_tf32", owner.allow_tf32))
        except RuntimeError:
            newer = getattr(owner, "conv", owner)
            found.append((newer, "fp32_precision", newer.fp32_precision))
    return found
