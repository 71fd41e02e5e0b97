"""This machine in words and numbers: processor, what of it this process may use, versions."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast_zoo.errors import counted

if TYPE_CHECKING:
    import torch

_FEATURES = (
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "sve",
    "bf16",
)


def processor() -> str:
    """The processor's name, as the system gives it."""
    match = re.search(r"^model name\s*:\s*(.+)$", _cpuinfo(), re.MULTILINE)
    return match[1].strip() if match else platform.processor() or platform.machine()


def processor_features() -> tuple[str, ...]:
    """Which of the instruction sets that matter here the processor has; () where the system doesn't tell."""
    match = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", _cpuinfo(), re.MULTILINE)
    flags = set(match[1].split()) if match else set[str]()
    return tuple(feature for feature in _FEATURES if feature in flags)


def usable_cpus() -> int:
    """How many processors this process may keep busy: affinity, and a container's limit (cgroups)."""
    count = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    quota = _cgroup_quota(Path("/sys/fs/cgroup"))
    return max(1, count if quota is None else min(count, int(quota + 0.5)))


def resident_bytes() -> int | None:
    """Memory that this process holds now; None where the system doesn't tell (all but Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def given_threads() -> int | None:
    """How many threads of the processor this process was given by whoever started it; None: nobody said.

    ``OMP_NUM_THREADS`` (which Ray and Spark set for their workers), else Slurm's processors per task; a
    process of a pool that was told nothing has one, as its siblings compute at the same time.
    """
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        count = os.environ.get(name, "").partition(",")[0].strip()
        if count.isdecimal() and int(count):
            return int(count)
    pools = (sys.modules.get(name) for name in ("multiprocessing.process", "multiprocess.process"))
    return 1 if any(pool and pool.parent_process() for pool in pools) else None


def gpu_streams() -> Callable[[], None]:
    """Gives the thread that calls it the CUDA streams that are current here, so that what both do on a GPU
    happens in order: torch's current stream belongs to a thread."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return lambda: None
    gpus = range(torch.cuda.device_count())
    ours = [torch.cuda.current_stream(gpu) for gpu in gpus]
    ours = [
        stream for gpu, stream in zip(gpus, ours, strict=True) if stream != torch.cuda.default_stream(gpu)
    ]

    def take() -> None:
        current = torch.cuda.current_device() if ours else 0
        for stream in ours:
            torch.cuda.set_stream(stream)  # which changes the current device, too
        if ours:
            torch.cuda.set_device(current)

    return take


@contextlib.contextmanager
def threads(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """So many threads, which compute where the caller does; at the end those that are at work are awaited.

    A generator that nobody closes ends wherever Python finds it, also in one of its own threads, which can't
    await itself.
    """
    own, take_streams = set[int](), gpu_streams()

    def begin() -> None:
        own.add(threading.get_ident())
        take_streams()

    pool = ThreadPoolExecutor(count, name, begin)
    try:
        yield pool
    finally:
        pool.shutdown(wait=threading.get_ident() not in own)


@contextlib.contextmanager
def exiting_on_signals() -> Iterator[None]:
    """Inside, SIGTERM, and a terminal that closes, are an exit, so that nothing half written stays behind."""
    changed = []
    if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
                signal.signal(number, lambda number, _: sys.exit(128 + number))
                changed.append(number)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


_CHANGING = threading.RLock()
_changed: dict[str, tuple[int, str | None]] = {}
"""How many are inside ``environment`` with a variable, and what it was before the first."""


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """Variables of the environment have these values inside, and what they had before afterwards.

    Several threads may be inside at once, with the same values: the last one to leave restores them.
    """
    with _CHANGING:
        for name in values:
            inside, before = _changed.get(name, (0, os.environ.get(name)))
            _changed[name] = inside + 1, before
        os.environ.update(values)
    try:
        yield
    finally:
        with _CHANGING:
            for name in values:
                inside, before = _changed.pop(name)
                if inside > 1:
                    _changed[name] = inside - 1, before
                elif before is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = before


def versions(*packages: str) -> dict[str, str]:
    """Installed version of each distribution; those that aren't there are left out."""
    found = {}
    for package in packages:
        with contextlib.suppress(ModuleNotFoundError):
            found[package] = _version(package)
    return found


@functools.cache
def _version(package: str) -> str:
    """Of what is imported it doesn't change, and looking takes 2 ms; what isn't there is looked for again."""
    import importlib.metadata  # here, as it is slow to import and the command line's list needs none of it

    return importlib.metadata.version(package)


def description(device: torch.device) -> str:
    """Versions, device and processor in a line; torch's threads where the processor computes."""
    import torch

    found = versions("slowfast-zoo", "torch", "av", "numpy")
    parts = [f"Python {platform.python_version()}", *(f"{name} {version}" for name, version in found.items())]
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    threads = counted(torch.get_num_threads(), "thread")
    return f"{', '.join(parts)}; {device}{name}; {processor()}, {threads}"


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cgroup_quota(root: Path) -> float | None:
    """Processors that the container may use, of version 2 or 1; None: no limit."""
    try:
        quota, period = (root / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii")
            period = (root / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii")
        except OSError:
            return None
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return None
    return share if share > 0 else None
