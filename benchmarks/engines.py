"""Seconds for one batch of clips: each engine and precision of ``optimize`` against publishers' modules.

Anyone can rerun it::

    python benchmarks/engines.py
    python benchmarks/engines.py --peers-python /path/to/venv/bin/python --out engines.json

The publishers' packages want an environment of their own (``tests/reference/make.py`` says which);
each of their modules then runs in a process of that Python, and those that don't start are left out.
Everything on one machine, in turn: each round runs every candidate once, so that a busy machine is busy for
all. The median and the fastest of all rounds are printed, and the ratio of medians. MMAction2's eager
float32 module is 1.0; without MMAction2 that is this library's plain module, and the table says so.
Start-up (converting, compiling, first inference) is timed apart, with an empty cache. int8 is calibrated
with clips made here, seeded noise as the timed one is, which belongs to its start-up: 4 of them set it up,
12 others judge it, and it is timed however it agrees. Weights are seeded so that signals stay of order one;
the error is the largest logit difference over the largest logit of the plain module. The rate counts two
operations for each multiply-add of convolutions and classifier, and stands beside that of a matrix product
in the same precision.

On a machine that others use, ``--threads 1 --clock cpu`` counts the processor's seconds instead of the
wall's; with several threads that would count the waiting for each other too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import CLOCKS, description, finish, has_kernels, matrix_rate, spread, use_checkout
from peers import PEERS, noise, seeded
from torch import Tensor
from workers import Worker, WorkerError

CANDIDATES = {
    "cpu": (
        ("eager", "float32"),
        ("compile", "float32"),
        ("openvino", "float32"),
        ("onnxruntime", "float32"),
        ("eager", "bfloat16"),
        ("compile", "bfloat16"),
        ("openvino", "bfloat16"),
        ("openvino", "int8"),
    ),
    "cuda": tuple(
        (engine, precision)
        for precision in ("float32", "tf32", "bfloat16", "float16")
        for engine in ("eager", "compile")
    ),
}
PRECISIONS = ("float32", "tf32", "bfloat16", "float16", "int8")
CALIBRATION = 16
"""Clips for int8, of which every fourth calibrates; the least that ``optimize`` takes."""
WARM_UP_ROUNDS = 2
PUBLISHERS = ("mmaction2", "pytorchvideo", "gluoncv")
Run = Callable[[], float]


class Bench:
    """The candidates for one network and size: made, timed in turn, and put into rows."""

    def __init__(self, model: str, size: int, options: argparse.Namespace) -> None:
        from slowfast_zoo import create_model
        from slowfast_zoo.description import multiply_adds

        self.options = options
        self.name = f"{model} at {size}"
        self.plain = seeded(create_model(model)).to(options.device)
        self.clip = noise(self.plain.spec.num_frames, size, options.batch).to(options.device)
        self.operations = 2 * multiply_adds(self.plain.spec, size) * options.batch
        self.runs: dict[str, Run] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        self.workers: list[Worker] = []
        for publisher in PUBLISHERS if options.peers_python else ():
            if publisher in options.peers and publisher in PEERS.get(model, ()):
                self._add_peer(publisher, model, size)
        self._add("plain module", self.plain, "float32", {})
        with torch.inference_mode():
            self.expected = self.plain(self.clip)
        for engine, precision in CANDIDATES["cuda" if options.device.startswith("cuda") else "cpu"]:
            if engine in options.engines and precision in options.precisions:
                self._add_engine(engine, precision)

    def _add_peer(self, publisher: str, model: str, size: int) -> None:
        options = self.options
        script = Path(__file__).with_name("peers.py")
        arguments = ["--size", size, "--batch", options.batch, "--threads", options.threads]
        arguments += ["--clock", options.clock, "--device", options.device]
        try:
            worker = Worker(script, publisher, model, *arguments, python=options.peers_python)
        except WorkerError as error:
            print(f"{publisher} is left out. {error}", file=sys.stderr)
            return
        self.workers.append(worker)
        self.runs[f"{publisher} eager"] = lambda: worker.ask("clip")["seconds"]
        self.facts[f"{publisher} eager"] = {"precision": "float32"}

    def _add(
        self, name: str, function: Callable[[Tensor], Tensor], precision: str, facts: dict[str, Any]
    ) -> None:
        clock, device = CLOCKS[self.options.clock], self.options.device

        def run() -> float:
            with torch.inference_mode():
                allow_tf32(precision == "tf32")
                finish(device)
                before = clock()
                function(self.clip)
                finish(device)
                return clock() - before

        self.runs[name] = run
        self.facts[name] = {"precision": precision, **facts}

    def _add_engine(self, engine: str, precision: str) -> None:
        from slowfast_zoo.errors import SlowFastZooError
        from slowfast_zoo.inference.engines.optimize import optimize

        frames, size = self.clip.shape[2:4]
        clips = noise(frames, size, CALIBRATION, seed=1) if precision == "int8" else None
        before = time.perf_counter()
        try:
            fast = optimize(self.plain, engine, precision, calibration=clips, min_agreement=0)  # type: ignore[arg-type]
            difference = (fast(self.clip) - self.expected).abs().max()
        except SlowFastZooError as error:
            print(f"{engine} {precision} is left out: {error}", file=sys.stderr)
            return
        facts: dict[str, Any] = {
            "startup_seconds": time.perf_counter() - before,
            "relative_error": float(difference / self.expected.abs().max()),
        }
        if fast.agreement is not None:
            facts["agreement"] = fast.agreement.to_dict()
        self._add(f"{engine} {precision}", fast, precision, facts)
        started = f"started in {facts['startup_seconds']:.1f} s"
        print(f"{self.name}, {engine} {precision}: {started}", file=sys.stderr)

    def rows(self) -> dict[str, dict[str, Any]]:
        """Every candidate's times, ratios to the first one and rate."""
        seconds: dict[str, list[float]] = {candidate: [] for candidate in self.runs}
        for number in range(self.options.rounds + WARM_UP_ROUNDS):
            for candidate, run in self.runs.items():
                taken = run()
                if number >= WARM_UP_ROUNDS:
                    seconds[candidate].append(taken)
        for worker in self.workers:
            worker.close()
        base = seconds[next(iter(self.runs))]
        return {
            candidate: {
                "seconds": spread(times),
                "ratio": statistics.median(base) / statistics.median(times),
                "ratio_of_fastest": min(base) / min(times),
                # The other two publishers' networks differ from ours in some kernels.
                "gflops": None
                if candidate.startswith(PUBLISHERS[1:])
                else self.operations / statistics.median(times) / 1e9,
                **self.facts[candidate],
            }
            for candidate, times in seconds.items()
        }


def allow_tf32(allowed: bool) -> None:
    """Whether a GPU may round float32 factors to TF32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def matrix_rates(options: argparse.Namespace) -> dict[str, float]:
    """GFLOP/s of matrix products, by precision; without those that torch would take minutes for here."""
    rates = {}
    for precision in dict.fromkeys(precision for _, precision in CANDIDATES[options.device.split(":")[0]]):
        if precision not in options.precisions or not has_kernels(precision, options.device):
            continue
        allow_tf32(precision == "tf32")
        dtype = torch.float32 if precision == "tf32" else getattr(torch, precision)
        rates[precision] = matrix_rate(dtype, options.device, CLOCKS[options.clock])
    return rates


def show(title: str, rows: dict[str, dict[str, Any]], rates: dict[str, float]) -> None:
    """The table of one network and size."""
    print(f"\n{title}; 1.0 is {next(iter(rows))}")
    print(f"{'':24}{'median s':>9}{'fastest':>9}{'slowest':>9}{'ratio':>7}", end="")
    print(f"{'GFLOP/s':>9}{'of matrix':>10}{'start s':>9}{'rel. error':>12}")
    for candidate, row in rows.items():
        seconds, rate, matrix = row["seconds"], row["gflops"], rates.get(row["precision"])
        print(f"{candidate:24}{seconds['median']:9.3f}{seconds['fastest']:9.3f}", end="")
        print(f"{seconds['slowest']:9.3f}{row['ratio']:7.2f}", end="")
        share = f"{rate:9.0f}" if rate else f"{'-':>9}"
        share += f"{rate / matrix:10.0%}" if rate and matrix else f"{'-':>10}"
        print(f"{share}{row.get('startup_seconds', 0):9.1f}{row.get('relative_error', 0):12.1e}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(PEERS), choices=[*PEERS, "slowfast_tiny"])
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=[224, 256], help="sides of the clip in pixels"
    )
    parser.add_argument("--batch", type=int, default=1, help="clips at once")
    parser.add_argument("--engines", nargs="+", default=["eager", "compile", "openvino", "onnxruntime"])
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--peers-python", help="a Python that can import mmaction, pytorchvideo or gluoncv")
    parser.add_argument("--peers", nargs="+", default=list(PUBLISHERS), choices=PUBLISHERS)
    parser.add_argument("--out", type=Path, help="write everything here, as JSON")
    options = parser.parse_args()
    use_checkout()
    torch.set_num_threads(options.threads)
    rates = matrix_rates(options)
    result: dict[str, Any] = {
        "benchmark": "engines",
        "machine": description(options.threads, options.device),
        "clock": options.clock,
        "batch": options.batch,
        "matrix_product_gflops": rates,
        "models": {},
    }
    with tempfile.TemporaryDirectory() as cache:
        os.environ["SLOWFAST_ZOO_CACHE"] = cache  # start-up is measured without what earlier runs left
        for model in options.models:
            for size in options.sizes:
                rows = Bench(model, size, options).rows()
                result["models"].setdefault(model, {})[str(size)] = rows
                show(f"{model}, {size} pixels, {options.threads} threads", rows, rates)
                if options.out:
                    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print("matrix product, GFLOP/s: " + ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items()))


if __name__ == "__main__":
    main()
