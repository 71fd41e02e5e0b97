"""The number formats that a network can be computed in."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, get_args

from slowfast_zoo.errors import InputError, unknown_name
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
        raise unknown_name(f"There is no precision '{precision}'.", precision, accepted)


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
    """Inside, float32 is multiplied as float32, whatever the caller's autocast and torch's switches say; in
    "tf32" a GPU rounds the factors to ten bits.

    torch's own default rounds them in convolutions, and not in matrix products. The caller's settings come
    back, those of the whole process when the last one who is inside leaves.
    """
    import torch

    kind = device.type
    with contextlib.ExitStack() as stack:
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            stack.enter_context(torch.autocast(kind, enabled=False))
        if kind in _ROUNDING:
            stack.enter_context(_ROUNDING[kind].allowed(precision == "tf32"))
        yield


_LOCK = threading.Lock()
"""Of torch's switches, some of which belong to both kinds of devices."""


class _Rounding:
    """torch's switches for products that round their factors, for the whole process, among threads that want
    them differently.

    Args:
        settings: what puts the caller's settings back.
        allow: lets products round, or not.
    """

    def __init__(
        self, settings: Callable[[], list[Callable[[], None]]], allow: Callable[[bool], None]
    ) -> None:
        self._settings, self._allow = settings, allow
        self._inside = {True: 0, False: 0}
        self._before: list[Callable[[], None]] = []

    @contextlib.contextmanager
    def allowed(self, wanted: bool) -> Iterator[None]:
        """Rounded or not inside; where threads want both, none gets less exact products than it asked for."""
        with _LOCK:
            if not any(self._inside.values()):
                self._before = self._settings()
            self._inside[wanted] += 1
            self._set()
        try:
            yield
        finally:
            with _LOCK:
                self._inside[wanted] -= 1
                if not any(self._inside.values()):
                    for put_back in self._before:
                        put_back()
                for each in _ROUNDING.values():  # a GPU's settings reach the CPU's
                    each._set()

    def _set(self) -> None:
        if any(self._inside.values()):
            self._allow(not self._inside[False])


def _allow_tf32(allowed: bool) -> None:
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
    if not allowed:
        _make_exact(torch.backends.cudnn, "conv", "rnn")


def _tf32_settings() -> list[Callable[[], None]]:
    """The older switches, then the newer ones; where these contradict, the older can't be read, and are what
    torch has by default."""
    import torch

    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    found: list[Callable[[], None]] = []
    for owner, older in ((cudnn, True), (matmul, False)):
        with contextlib.suppress(RuntimeError):
            older = owner.allow_tf32
        found.append(functools.partial(setattr, owner, "allow_tf32", older))
    with contextlib.suppress(RuntimeError):
        if torch.get_float32_matmul_precision() == "medium":  # which mkldnn's switches belong to
            found.append(functools.partial(torch.set_float32_matmul_precision, "medium"))
    return [*found, *_newer_settings(cudnn, "conv", "rnn"), *_newer_settings(torch.backends.cuda, "matmul")]


def _allow_mkldnn(allowed: bool) -> None:
    import torch

    if not allowed:
        _make_exact(torch.backends.mkldnn, "matmul", "conv")


def _mkldnn_settings() -> list[Callable[[], None]]:
    import torch

    return _newer_settings(torch.backends.mkldnn, "matmul", "conv")


def _newer_settings(owner: Any, *names: str) -> list[Callable[[], None]]:
    """Of ``fp32_precision``, which torch has from 2.9 on."""
    return [functools.partial(_put_back, part, part.fp32_precision) for part in _parts(owner, *names)]


def _put_back(part: Any, value: str) -> None:
    """A switch that a wider one decided is left to that again."""
    part.fp32_precision = "none"
    if part.fp32_precision != value:
        part.fp32_precision = value


def _make_exact(owner: Any, *names: str) -> None:
    """Nothing rounds that would, because a wider switch says so."""
    for part in _parts(owner, *names):
        if part.fp32_precision not in ("none", "ieee"):
            part.fp32_precision = "ieee"


def _parts(owner: Any, *names: str) -> list[Any]:
    parts = (getattr(owner, name, None) for name in names)
    return [part for part in parts if hasattr(part, "fp32_precision")]


_ROUNDING = {
    "cuda": _Rounding(_tf32_settings, _allow_tf32),
    "cpu": _Rounding(_mkldnn_settings, _allow_mkldnn),
}


def onednn_is_fast(device: torch.device) -> bool:
    """Whether the device is a processor that oneDNN has kernels of its own for."""
    import torch

    there = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return there and device.type == "cpu" and torch.backends.cpu.get_cpu_capability().startswith("AVX")
