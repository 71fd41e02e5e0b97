"""``slowfast-zoo doctor``, ``verify`` and ``benchmark``: what this machine has, computes, and how fast."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from slowfast_zoo.cli import options as opt
from slowfast_zoo.cli.models import model_option
from slowfast_zoo.cli.options import FILE, command, echo, echo_report, made_fast
from slowfast_zoo.cli.videos.sources import one_video
from slowfast_zoo.errors import DownloadError, InputError, counted, without_secrets
from slowfast_zoo.files import kind_of
from slowfast_zoo.naming import ModelRef

REQUIRED = (
    "torch",
    "torchvision",
    "numpy",
    "safetensors",
    "huggingface-hub",
    "httpx2",
    "av",
    "filelock",
    "tqdm",
    "click",
)
OPTIONAL = (
    "openvino",
    "nncf",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "onnxruntime-gpu",
    "matplotlib",
    "torchmetrics",
    "tensorboard",
    "hf-xet",
    "gradio",
    "ray",
    "pyspark",
    "pandas",
    "pyarrow",
)

_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
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
    *_PROXIES,
    *map(str.lower, _PROXIES),  # as they are mostly written
    "SSL_CERT_FILE",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
)

_NETWORK_SECONDS = 3.0


@command("verify", "verify", "verify --model slowfast_r50_4x16x1 --no-weights")
@model_option(default=None, help_text="Also check this model, with its weights")
@click.option("--no-weights", is_flag=True, help="Check the network of a published model without a download.")
@click.option("--stage", "stages", multiple=True, help="Only this stage; may be repeated.")
@click.option(
    "--demo-clip",
    type=FILE,
    help="MMAction2's demo/demo.mp4: also check published outputs of PyTorchVideo's R50 8x8 on it.",
)
@opt.device
@opt.as_json
def verify_command(
    model: ModelRef | None, no_weights: bool, stages: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Replays every stage from a video to logits and compares it with stored references.

    Names the first stage that differs; the exit status is 1 if one does.
    """
    from slowfast_zoo.inference.verify.verify import verify

    if no_weights and model is None:
        raise click.UsageError("--no-weights says how --model is checked: give --model as well.")
    if options["demo_clip"] is not None and stages and "demo clip" not in stages:
        raise click.UsageError(
            "--demo-clip is for the stage 'demo clip': name it, too, or leave out --stage."
        )
    network = None if model is None else model.untrained() if no_weights else model.load()
    report = verify(network, stages=stages or None, **options)
    echo_report(report, as_json)
    if not report.ok:
        raise click.exceptions.Exit(1)


@command(
    "benchmark",
    "benchmark --model slowfast_r50_4x16x1",
    "benchmark clip.mp4 --model slowfast_r50_4x16x1 --views 10x3 --engine openvino",
)
@click.argument("video", required=False)
@model_option()
@opt.views("published")
@opt.how
@opt.count("--repeats", 5, "Videos to time.")
@opt.as_json
@opt.out("Also write it to this JSON file; what is there is replaced.")
def benchmark_command(
    video: str | None,
    model: ModelRef,
    views: Any,
    how: dict[str, Any],
    repeats: int,
    as_json: bool,
    out: Path | None,
) -> None:
    """Times a model on this machine in videos per second; with a VIDEO, the reading too.

    Nothing is downloaded: a published model gets random weights, with which a network is as fast as with
    any others, except in int8: what isn't quantized there depends on the weights. Those of slowfast_tiny
    are in the package.
    """
    from slowfast_zoo.inference.benchmark import benchmark

    if out is not None:
        opt.check_writable(out)
    embedded = model.entry is not None and not model.entry.urls
    fast, prepared = made_fast(model.load if embedded else model.untrained, how)
    measured = benchmark(fast, one_video(video), views=views, repeats=repeats, **prepared)
    echo_report(measured, as_json, out)


@command("doctor", "doctor --json")
@opt.as_json
def doctor_command(as_json: bool) -> None:
    """Says what this machine has and what works.

    The exit status is 1 when something that is needed doesn't.
    """
    from slowfast_zoo.weights.download.download import is_offline

    report: dict[str, Any] = {}
    looks: dict[str, Callable[[], Any]] = {
        "versions": _versions,
        "cpu": _cpu,
        "devices": _devices,
        "exact resize": _exact_resize,
        "cache": _cache,
        "engines measured": _measured,
        "settings": lambda: {name: _setting(name) for name in _SETTINGS if name in os.environ},
        "network": lambda: {"offline mode": "on"} if is_offline() else _network(),
        "self-test": _self_test,
        "problems": lambda: _problems(report),
    }
    for title, look in looks.items():
        facts = report[title] = _homeless(look())
        if not as_json:
            lines = [f"{key}: {value}" for key, value in facts.items()] if isinstance(facts, dict) else facts
            echo("\n  ".join([f"{title}:", *(lines or ["none"])]))
    if as_json:
        echo(json.dumps(report, indent=1))
    if report["problems"]:
        raise click.exceptions.Exit(1)


def _versions() -> dict[str, str]:
    import platform

    from slowfast_zoo import __version__
    from slowfast_zoo.runtime import machine

    own = {
        "slowfast_zoo": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    own |= dict.fromkeys(REQUIRED, "missing") | machine.versions(*REQUIRED, *OPTIONAL)
    try:
        import av

        libraries = [f"{name} {'.'.join(map(str, version))}" for name, version in av.library_versions.items()]
        own["FFmpeg"] = f"{av.ffmpeg_version_info} ({', '.join(libraries)})"
    except (ImportError, OSError) as error:
        own["FFmpeg"] = f"missing ({error})"
    return own


def _cpu() -> dict[str, Any]:
    import platform

    from slowfast_zoo.runtime import machine

    return {
        "machine": platform.machine(),
        "count": os.cpu_count(),
        "usable": machine.usable_cpus(),
        "name": machine.processor(),
        "features": " ".join(machine.processor_features()),
    }


def _exact_resize() -> list[str]:
    from slowfast_zoo.video.transforms.compiled import library

    without = "by NumPy: the same bytes, slower; an installation that finds a C compiler builds the other"
    return ["compiled" if library() is not None else without]


def _devices() -> dict[str, str]:
    try:
        import torch
    except (ImportError, OSError) as error:
        return {"torch": f"missing ({error})"}
    threads = counted(torch.get_num_threads(), "thread")
    devices = {"cpu": f"{threads}, {torch.backends.cpu.get_cpu_capability()}"}
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            devices[f"cuda:{index}"] = f"{device.name}, {device.total_memory / 2**30:.1f} GiB"
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        # https://github.com/pytorch/pytorch/issues/166643
        slow = torch.__version__.startswith("2.9.") and (cudnn or 0) < 91500
        note = "; torch 2.9 computes 3-D convolutions without this cuDNN, slowly: take torch 2.10" * slow
        devices["cuda"] = f"{torch.version.cuda}, cuDNN {cudnn}{note}"
    else:
        devices["cuda"] = "not available" + ("" if torch.version.cuda else " (torch is built without it)")
    if torch.backends.mps.is_available():
        devices["mps"] = "available"
    return devices


def _cache() -> dict[str, Any]:
    import shutil
    import tempfile

    from slowfast_zoo.weights.download.download import cache_dir

    try:
        folder = cache_dir()
    except DownloadError as error:
        return {"folder": f"unusable ({error})", "writable": False}
    facts: dict[str, Any] = {
        "folder": str(folder),
        "exists": kind_of(folder) == "folder",
        "writable": False,
    }
    with suppress(OSError):
        existing = next(path for path in (folder, *folder.parents) if kind_of(path))
        facts["free"] = f"{shutil.disk_usage(existing).free / 1e9:.1f} GB"
        with tempfile.TemporaryFile(dir=existing):
            facts["writable"] = True
    with suppress(OSError):  # another user's
        files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        facts["files"] = len(files)
        facts["size"] = f"{sum(path.stat().st_size for path in files) / 1e6:.1f} MB"
    return facts


def _measured() -> dict[str, str]:
    """What engine "auto" has measured here, and goes by."""
    try:
        from slowfast_zoo.inference.engines.auto.records import records_in_words
    except (ImportError, OSError) as error:  # of torch
        return {"torch": f"missing ({error})"}
    return records_in_words()


def _network() -> dict[str, str]:
    """Whether the publishers' hosts and the Hub answer, asked at the same time."""
    from concurrent.futures import ThreadPoolExecutor

    from slowfast_zoo.weights.catalog import list_weights

    urls = [url for entry in list_weights() for url in entry.urls]
    urls.append(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    roots = dict.fromkeys("/".join(url.split("/")[:3]) for url in urls)
    with ThreadPoolExecutor(len(roots)) as pool:
        return dict(zip(map(without_secrets, roots), pool.map(_ask, roots), strict=True))


def _ask(root: str) -> str:
    import time

    import httpx2

    from slowfast_zoo.weights.download.transfer import reason, unusable_settings

    start = time.monotonic()
    try:
        httpx2.head(root, timeout=_NETWORK_SECONDS)
    except httpx2.HTTPError as error:
        return f"not reached ({reason(error)})"
    except (ImportError, ValueError, OSError, httpx2.InvalidURL) as error:
        return f"not reached ({unusable_settings(error, 'HF_ENDPOINT')})"
    return f"reached in {time.monotonic() - start:.1f} s"


def _self_test() -> dict[str, str]:
    """The published networks' convolutions in each precision, as modules and as engines compute them."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return {"convolutions": f"failed: {error}"}
    from slowfast_zoo.inference.engines.trial import published_convolutions
    from slowfast_zoo.runtime.convolutions import try_convolutions
    from slowfast_zoo.runtime.precision import Precision, check_kernels

    as_modules, as_engines = published_convolutions()
    report: dict[str, str] = {}
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    for precision in precisions:
        try:
            check_kernels(precision, torch.device("cpu"))
        except InputError as error:
            report[precision] = str(error)
            continue
        answers = try_convolutions(dict.fromkeys((*as_modules, *as_engines)), precision)
        for who, convolutions in (("module", as_modules), ("engines", as_engines)):
            # Modules compute in bfloat16 in training alone, which refuses what is wrong here.
            verdict = "failed" if who == "engines" or precision == "float32" else "refused in training"
            found = {str(each): answers[each] for each in convolutions}
            report[f"{precision} as {who} compute{'s' * (who == 'module')}"] = _judged(found, verdict)
    return report


def _judged(answers: Mapping[str, str], verdict: str) -> str:
    """What was found of convolutions, in words: ``verdict`` where one is wrong."""
    from slowfast_zoo.runtime.convolutions import ACCIDENTS, NOT_TRIED

    unknown = [answer for answer in answers.values() if answer in (*ACCIDENTS, NOT_TRIED)]
    wrong = [f"{name}: {answer}" for name, answer in answers.items() if answer and answer not in unknown]
    if wrong:
        return f"{verdict}: {len(wrong)} of {len(answers)} convolutions are wrong; {'; '.join(wrong)}"
    if unknown:
        why = "; ".join(dict.fromkeys(unknown))
        return f"not known: {len(unknown)} of {len(answers)} convolutions gave no answer ({why})"
    return f"right: {len(answers)} convolutions"


def _problems(report: dict[str, Any]) -> list[str]:
    problems = [f"{name} is {v}" for name, v in report["versions"].items() if v.startswith("missing")]
    if not report["cache"]["writable"]:
        problems.append("the cache folder can't be written: set SLOWFAST_ZOO_CACHE")
    problems += [f"{name} {v}" for name, v in report["self-test"].items() if v.startswith("failed")]
    return problems


def _setting(name: str) -> str:
    value = os.environ[name]
    if "TOKEN" in name:
        return "set" if value else "empty"
    if name.endswith(("CACHE", "HOME", "FILE")) and "://" not in value:
        return value  # a path, whatever its name
    if name != "SLOWFAST_ZOO_MIRROR":
        return _address(value)
    pairs = (re.split("=(?=https?://)", entry, maxsplit=1) for entry in value.split(","))
    return ",".join("=".join(map(_address, pair)) for pair in pairs)


def _address(text: str) -> str:
    """An address without its secrets; a folder as it is."""
    return without_secrets(text) if "@" in text or "://" in text else text


def _homeless(report: Any) -> Any:
    """A report that doesn't say where the home folder is."""
    try:
        home = Path.home()
    except RuntimeError:  # a user without one
        return report
    if isinstance(report, dict):
        return {_homeless(name): _homeless(value) for name, value in report.items()}
    if isinstance(report, list):
        return [_homeless(value) for value in report]
    if isinstance(report, str):
        for folder in {str(home), os.path.realpath(home)} - {home.anchor}:
            report = re.sub(rf"{re.escape(folder)}(?![\w.-])", "~", report)
    return report
