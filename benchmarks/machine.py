"""What a benchmark ran on, how fast that multiplies matrices, and how times are put together."""

from __future__ import annotations

import datetime
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def use_checkout() -> None:
    """Makes this checkout's package and the tests' modules importable, installed or not."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def description(threads: int, device: str = "cpu") -> dict[str, Any]:
    """The machine in words and numbers, as JSON has it."""
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.+)", cpuinfo)
    flags = re.search(r"flags\s*: (.+)", cpuinfo)
    wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "processor": model[1] if model else platform.processor() or platform.machine(),
        "extensions": [flag for flag in wanted if flags and flag in flags[1].split()],
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30),
        "gpu": torch.cuda.get_device_name(device) if device.startswith("cuda") else None,
        "threads": threads,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, extremes and all of the rounds."""
    return {
        "median": statistics.median(values),
        "fastest": min(values),
        "slowest": max(values),
        "rounds": list(values),
    }


def finish(device: str) -> None:
    """Waits for a GPU, whose work goes on behind the caller's back."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def has_kernels(precision: str, device: str = "cpu") -> bool:
    """Whether torch multiplies in that precision there by kernels of its own; else that takes minutes."""
    from slowfast_zoo.runtime.precision import has_bfloat16_kernels

    if precision == "int8":
        return False
    return precision == "float32" or device != "cpu" or has_bfloat16_kernels()


def matrix_rate(
    dtype: torch.dtype,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
    *,
    side: int = 2048,
    repeats: int = 24,
) -> float:
    """GFLOP/s of the product of two square matrices, the best of ``repeats``.

    On a CPU by oneDNN, too, as a convolution: on some processors torch's own product, MKL's, uses half of
    what there is (Zen 5).
    """
    left, right = torch.randn(2, side, side, device=device).to(dtype)
    out = torch.empty_like(left)
    ways = [lambda: torch.mm(left, right, out=out)]
    if device == "cpu" and torch.backends.mkldnn.is_available():
        image = left.view(1, side, 1, side).contiguous(memory_format=torch.channels_last)
        kernel = right.view(side, side, 1, 1)
        ways.append(lambda: torch.mkldnn_convolution(image, kernel, None, (0, 0), (1, 1), (1, 1), 1))
    best = float("inf")
    for _ in range(repeats):
        for multiply in ways:
            finish(device)
            before = clock()
            multiply()
            finish(device)
            best = min(best, clock() - before)
    return 2 * side**3 / best / 1e9
