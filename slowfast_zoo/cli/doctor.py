"""``slowfast-zoo doctor``: what this machine has and what works, to be pasted into an issue."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from slowfast_zoo import __version__
from slowfast_zoo.cli.options import command, echo, json_option
from slowfast_zoo.errors import DownloadError
from slowfast_zoo.weights.catalog import list_weights
from slowfast_zoo.weights.download.download import cache_dir, is_offline

_REQUIRED = (
    "torch",
    "torchvision",
    "numpy",
    "safetensors",
    "huggingface-hub",
    "av",
    "filelock",
    "tqdm",
    "click",
)
_OPTIONAL = ("openvino", "onnx", "onnxruntime", "onnxruntime-gpu", "matplotlib", "torchmetrics", "hf-xet")

_SETTINGS = (
    "SLOWFAST_ZOO_CACHE",
    "SLOWFAST_ZOO_OFFLINE",
    "SLOWFAST_ZOO_MIRROR",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "TORCH_HOME",
    "XDG_CACHE_HOME",
    "HTTPS_PROXY",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
)

# Instructions that decide which kernels oneDNN takes, by the kernel's names for x86 and ARM.
_CPU_FEATURES = (
    *("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni"),
    *("amx_tile", "amx_int8", "amx_bf16", "asimd", "bf16", "i8mm", "sve", "sve2"),
)

_NETWORK_SECONDS = 3.0
_SELF_TEST_SECONDS = 1.0

# Largest error relative to the largest float64 output: rounding gives about 1e-7 and, with 8 bits of
# mantissa, 4e-3; a broken kernel gives 1 or more.
_TOLERANCES = {"float32": 1e-5, "bfloat16": 2e-2}


@command("doctor", "doctor --json")
@json_option
def doctor_command(as_json: bool) -> None:
    """Says what this machine has and what works. Exit status 1 when something needed doesn't."""
    report: dict[str, Any] = {"versions": _versions(), "cpu": _cpu()}
    report["devices"] = _devices()
    report["exact resize"] = _exact_resize()
    report["cache"] = _cache()
    report["settings"] = {name: _shown(name) for name in _SETTINGS if name in os.environ}
    report["network"] = {"offline mode": "on"} if is_offline() else _network()
    report["self-test"] = _self_test()
    problems = _problems(report)
    report["problems"] = problems
    if as_json:
        echo(json.dumps(report, indent=1))
    else:
        for title, facts in report.items():
            echo(f"{title}:")
            for line in (
                [f"{key}: {value}" for key, value in facts.items()] if isinstance(facts, dict) else facts
            ):
                echo(f"  {line}")
            if not facts:
                echo("  none")
    if problems:
        raise click.exceptions.Exit(1)


def _versions() -> dict[str, str]:
    versions = {
        "slowfast_zoo": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    for package in (*_REQUIRED, *_OPTIONAL):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            if package in _REQUIRED:
                versions[package] = "missing"
    try:
        import av

        libraries = {name: ".".join(map(str, number)) for name, number in av.library_versions.items()}
        versions["FFmpeg"] = f"{av.ffmpeg_version_info} ({_joined(libraries)})"
    except (ImportError, OSError) as error:
        versions["FFmpeg"] = f"missing ({error})"
    return versions


def _cpu() -> dict[str, Any]:
    facts: dict[str, Any] = {"machine": platform.machine(), "count": os.cpu_count()}
    if hasattr(os, "sched_getaffinity"):
        facts["usable"] = len(os.sched_getaffinity(0))
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return facts
    if name := re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE):
        facts["name"] = name[1]
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    given = flags[1].split() if flags else []
    facts["features"] = " ".join(flag for flag in _CPU_FEATURES if flag in given)
    return facts


def _exact_resize() -> list[str]:
    from slowfast_zoo.video.transforms.compiled import library

    without = "by NumPy: the same bytes, slower; an installation that finds a C compiler builds the other"
    return ["compiled" if library() is not None else without]


def _devices() -> dict[str, str]:
    try:
        import torch
    except (ImportError, OSError) as error:
        return {"torch": f"missing ({error})"}
    devices = {"cpu": f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"}
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            devices[f"cuda:{index}"] = f"{device.name}, {device.total_memory / 2**30:.1f} GiB"
        devices["cuda"] = f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"  # type: ignore[no-untyped-call]
    else:
        devices["cuda"] = "not available" + ("" if torch.version.cuda else " (torch is built without it)")
    if torch.backends.mps.is_available():
        devices["mps"] = "available"
    return devices


def _cache() -> dict[str, Any]:
    try:
        folder = cache_dir()
    except DownloadError as error:
        return {"folder": f"unusable ({error})", "writable": False}
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            writable = True
    except OSError:
        writable = False
    return {
        "folder": _homeless(str(folder)),
        "exists": folder.is_dir(),
        "writable": writable,
        "files": len(files),
        "size": f"{sum(path.stat().st_size for path in files) / 1e6:.1f} MB",
        "free": f"{shutil.disk_usage(existing).free / 1e9:.1f} GB",
    }


def _network() -> dict[str, str]:
    """Whether the publishers' hosts and the Hub answer, asked at the same time."""
    urls = [url for entry in list_weights() for url in entry.urls]
    urls.append(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    roots = dict.fromkeys(f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, urls))
    with ThreadPoolExecutor(len(roots)) as pool:
        return {
            _without_user(root): answer for root, answer in zip(roots, pool.map(_ask, roots), strict=True)
        }


def _ask(root: str) -> str:
    import httpx2

    start = time.monotonic()
    try:
        httpx2.head(root, timeout=_NETWORK_SECONDS)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        return f"not reached ({type(error).__name__}: {error})"
    return f"reached in {time.monotonic() - start:.1f} s"


def _self_test() -> dict[str, str]:
    """A convolution like those of the slow pathway, on each device and in each precision."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return {"conv3d": f"failed: {error}"}
    devices = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    seconds = _SELF_TEST_SECONDS / len(devices) / len(_TOLERANCES)
    return {
        f"conv3d {precision} on {device}": _convolve(device, precision, tolerance, seconds)
        for device in devices
        for precision, tolerance in _TOLERANCES.items()
    }


def _convolve(device: str, precision: str, tolerance: float, seconds: float) -> str:
    import torch
    from torch.nn import functional as F

    generator = torch.Generator().manual_seed(0)
    clip = torch.randn(1, 32, 4, 28, 28, generator=generator, dtype=torch.float64)
    kernel = torch.randn(32, 32, 3, 3, 3, generator=generator, dtype=torch.float64)
    exact = F.conv3d(clip, kernel, padding=1)
    clip, kernel = (tensor.to(device, getattr(torch, precision)) for tensor in (clip, kernel))
    start, count = time.monotonic(), 0
    try:
        while count == 0 or time.monotonic() - start < seconds:
            output, count = F.conv3d(clip, kernel, padding=1).cpu().double(), count + 1
    except RuntimeError as error:
        return f"failed: {str(error).splitlines()[0]}"
    milliseconds = 1000 * (time.monotonic() - start) / count
    difference = ((output - exact).abs().max() / exact.abs().max()).item()
    verdict = "right" if difference <= tolerance else "failed"
    return (
        f"{verdict}, off by {difference:.1e} of the float64 result (allowed {tolerance:.0e}),"
        f" {milliseconds:.1f} ms"
    )


def _problems(report: dict[str, Any]) -> list[str]:
    problems = [f"{name} is {v}" for name, v in report["versions"].items() if v.startswith("missing")]
    if not report["cache"]["writable"]:
        problems.append("the cache folder can't be written: set SLOWFAST_ZOO_CACHE")
    problems += [f"{name} {v}" for name, v in report["self-test"].items() if v.startswith("failed")]
    return problems


def _shown(name: str) -> str:
    """A setting without what a public issue must not show."""
    value = os.environ[name]
    return ("set" if value else "empty") if "TOKEN" in name else _homeless(_without_user(value))


def _without_user(text: str) -> str:
    return re.sub(r"//[^/@\s,]+@", "//***@", text)


def _homeless(text: str) -> str:
    try:
        return text.replace(str(Path.home()), "~")
    except RuntimeError:  # a user without a home
        return text


def _joined(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
