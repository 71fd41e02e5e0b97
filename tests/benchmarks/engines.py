"""Seconds for one clip: every engine and precision of ``optimize`` against MMAction2's own module.

Anyone can rerun it::

    python tests/benchmarks/engines.py
    python tests/benchmarks/engines.py --mmaction2-python /path/to/venv/bin/python --json out.json

MMAction2 wants an environment of its own (``tests/reference/make.py`` says which packages); its
module then runs in a process of that Python. Everything on one machine, in turn, batch 1: each
round runs every candidate once, so that a busy machine is busy for all. The median and the fastest
of all rounds are printed, and the ratio of medians. MMAction2's eager float32 module is 1.0; without
MMAction2 that is this library's plain module, and the table says so. Start-up (converting, compiling,
first inference) is timed apart, with an empty cache. Weights are seeded so that signals stay of
order one; the error is the largest logit difference over the largest logit of the plain module.

On a machine that others use, ``--threads 1 --clock cpu`` counts the processor's seconds instead of the
wall's; with several threads that would count the waiting for each other too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]
MODELS = {
    "slowfast_r50_4x16x1": "slowfast_r50_8xb8-4x16x1-256e_kinetics400-rgb.py",
    "slowfast_r50_8x8x1": "slowfast_r50_8xb8-8x8x1-256e_kinetics400-rgb.py",
    "slowfast_r101_8x8x1": "slowfast_r101_8xb8-8x8x1-256e_kinetics400-rgb.py",
}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
CANDIDATES = (
    ("eager", "float32"),
    ("compile", "float32"),
    ("openvino", "float32"),
    ("onnxruntime", "float32"),
    ("eager", "bfloat16"),
    ("compile", "bfloat16"),
    ("openvino", "bfloat16"),
)


def seeded(model: Any) -> Any:
    """The model with reproducible weights whose logits are of order one, in eval mode."""
    sys.path.insert(0, str(ROOT / "tests"))
    from reference.seeded import seeded_state_dict

    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict(seeded_state_dict(shapes))
    return model.eval()


def worker(model: str, size: int, threads: int, clock: Callable[[], float]) -> None:
    """MMAction2's module in a process of its own: a line in, the seconds of one clip out."""
    sys.path.insert(0, str(ROOT / "tests" / "reference"))
    import types

    missing = "mmaction.models.localizers.drn"  # the wheel lacks this folder
    sys.modules[missing] = types.ModuleType(missing)
    stand_in = types.ModuleType(f"{missing}.drn")
    stand_in.DRN = type("DRN", (), {})  # type: ignore[attr-defined]
    sys.modules[f"{missing}.drn"] = stand_in
    import mmaction.models
    from mmaction.registry import MODELS as REGISTRY
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    init_default_scope("mmaction")
    folder = Path(mmaction.__file__).parent / ".mim" / "configs" / "recognition" / "slowfast"
    torch.set_num_threads(threads)
    net = seeded(REGISTRY.build(Config.fromfile(folder / MODELS[model]).model))
    clip = clips(size)
    for _ in sys.stdin:
        with torch.inference_mode():
            before = clock()
            net.cls_head(net.backbone(clip))
            print(clock() - before, flush=True)


def clips(size: int) -> Tensor:
    """One seeded clip of 32 frames."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 3, 32, size, size, generator=generator)


class MMAction2:
    """The worker process, as something to time."""

    def __init__(self, python: str, model: str, size: int, threads: int, clock: str) -> None:
        arguments = [python, __file__, "--worker", model, "--size", str(size), "--clock", clock]
        arguments += ["--threads", str(threads)]
        self._process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def seconds(self) -> float:
        """Of one clip, measured inside the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        while line := self._process.stdout.readline():
            try:
                return float(line)
            except ValueError:
                continue  # what its imports print
        raise SystemExit("The MMAction2 process ended: try it by hand with --worker.")

    def close(self) -> None:
        self._process.communicate()


def timed(
    function: Callable[[Tensor], Tensor], clip: Tensor, clock: Callable[[], float]
) -> Callable[[], float]:
    """A function that runs one clip and gives the seconds."""

    def run() -> float:
        with torch.inference_mode():
            before = clock()
            function(clip)
            return clock() - before

    return run


def measure(
    name: str, size: int, rounds: int, peer_python: str | None, wanted: set[str], clock: str
) -> dict[str, Any]:
    """Every candidate on one network."""
    from slowfast_zoo import create_model
    from slowfast_zoo.description import multiply_adds
    from slowfast_zoo.inference.engine import optimize

    plain = seeded(create_model(name))
    clip = clips(size)
    with torch.inference_mode():
        expected = plain(clip)
    runs = {"plain module": timed(plain, clip, CLOCKS[clock])}
    facts: dict[str, dict[str, float]] = {"plain module": {}}
    peer = MMAction2(peer_python, name, size, torch.get_num_threads(), clock) if peer_python else None
    if peer is not None:
        runs = {"mmaction2 eager": peer.seconds, **runs}
        facts["mmaction2 eager"] = {}
    for engine, precision in CANDIDATES:
        if engine not in wanted:
            continue
        fast = optimize(plain, engine, precision)  # type: ignore[arg-type]
        error = float((fast(clip) - expected).abs().max() / expected.abs().max())
        runs[f"{engine} {precision}"] = timed(fast, clip, CLOCKS[clock])
        facts[f"{engine} {precision}"] = {"startup_seconds": fast.startup_seconds, "relative_error": error}
        print(f"{name} {engine} {precision}: started in {fast.startup_seconds:.1f} s", file=sys.stderr)
    seconds: dict[str, list[float]] = {candidate: [] for candidate in runs}
    for number in range(rounds + 2):
        for candidate, run in runs.items():
            taken = run()
            if number >= 2:
                seconds[candidate].append(taken)
    if peer is not None:
        peer.close()
    base = statistics.median(seconds[next(iter(runs))])
    operations = 2 * multiply_adds(plain.spec, size)
    return {
        candidate: {
            "median_seconds": statistics.median(times),
            "fastest_seconds": min(times),
            "ratio": base / statistics.median(times),
            "ratio_of_fastest": min(seconds[next(iter(runs))]) / min(times),
            "gflops": operations / statistics.median(times) / 1e9,
            **facts[candidate],
        }
        for candidate, times in seconds.items()
    }


def matrix_rate(dtype: torch.dtype, clock: Callable[[], float]) -> float:
    """GFLOP/s of a 2048 x 2048 matrix product, the best of ten."""
    left, right = torch.randn(2, 2048, 2048).to(dtype)
    best = min(timed(lambda _: left @ right, left, clock)() for _ in range(10))
    return 2 * 2048**3 / best / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--engines", nargs="+", default=["eager", "compile", "openvino", "onnxruntime"])
    parser.add_argument("--size", type=int, default=224, help="side of the clip in pixels")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--mmaction2-python", help="a Python that can import mmaction")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker, arguments.size, arguments.threads, CLOCKS[arguments.clock])
        return
    sys.path.insert(0, str(ROOT))
    torch.set_num_threads(arguments.threads)
    rates = {
        str(dtype): matrix_rate(dtype, CLOCKS[arguments.clock]) for dtype in (torch.float32, torch.bfloat16)
    }
    result: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "threads": arguments.threads,
        "torch": torch.__version__,
        "size": arguments.size,
        "clock": arguments.clock,
        "matrix_product_gflops": rates,
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "models": {},
    }
    with tempfile.TemporaryDirectory() as cache:
        os.environ["SLOWFAST_ZOO_CACHE"] = cache  # start-up is measured without what earlier runs left
        for model in arguments.models:
            rows = measure(
                model,
                arguments.size,
                arguments.rounds,
                arguments.mmaction2_python,
                set(arguments.engines),
                arguments.clock,
            )
            result["models"][model] = rows
            first = next(iter(rows))
            print(f"\n{model}, {arguments.size} pixels, {arguments.threads} threads; 1.0 is {first}")
            columns = (
                f"{'median s':>9}{'fastest':>9}{'ratio':>7}{'GFLOP/s':>9}{'start s':>9}{'rel. error':>12}"
            )
            print(f"{'':22}{columns}")
            for candidate, row in rows.items():
                print(
                    f"{candidate:22}{row['median_seconds']:9.3f}{row['fastest_seconds']:9.3f}"
                    f"{row['ratio']:7.2f}{row['gflops']:9.0f}{row.get('startup_seconds', 0):9.1f}"
                    f"{row.get('relative_error', 0):12.1e}",
                    flush=True,
                )
            if arguments.json:
                arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    print("matrix product, GFLOP/s: " + ", ".join(f"{dtype} {rate:.0f}" for dtype, rate in rates.items()))


if __name__ == "__main__":
    main()
