"""One GPU: latency, throughput and training, by batch, engine and precision, against MMAction2's module.

    python benchmarks/gpu.py --out gpu.json
    python benchmarks/gpu.py --dry-run            # the same on a processor, with tiny sizes

Everything runs in this process, in turn: each round runs every candidate of a batch once. Latency is one
call and the wait for its answer; throughput is many calls and one wait. MMAction2's module in eager float32,
TF32 off, is 1.0 where this Python can import it (``tests/reference/make.py`` says what that needs), else this
library's plain module; the table says which. Weights are seeded so that signals stay of order one; the error
is the largest logit difference over the largest logit of the plain module in float32. The rate counts two
operations for each multiply-add of convolutions and classifier, and stands beside that of a matrix product in
the same precision. Compiling takes half a minute for each precision and batch: what ``--seconds`` has no room
for is left out, and said. A training step is that of ``slowfast_zoo.train``, without reading.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from engines import allow_tf32
from machine import description, finish, matrix_rate, spread, use_checkout
from peers import PEERS, noise, seeded
from torch import Tensor
from training_step import CANDIDATES as LAYOUTS
from training_step import ours as training_step

PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
COMPILED = ("bfloat16", "float16", "tf32", "float32")
"""The order of compiling, for when time runs out."""
TRAINED = [*LAYOUTS, "tf32", "float16", "float16 channels-last"]
BUSY_SECONDS = 0.1
"""How long the calls of one measurement of throughput take together, about."""


class Deadline:
    """How much of the time is left."""

    def __init__(self, seconds: float) -> None:
        self._end = time.perf_counter() + seconds

    def allows(self, seconds: float, what: str) -> bool:
        """Whether there is room for so many seconds; says what is left out otherwise."""
        if time.perf_counter() + seconds <= self._end:
            return True
        print(f"{what} is left out: no time for it.", file=sys.stderr)
        return False


def mmaction2(model: str, device: torch.device) -> Callable[[Tensor], Tensor] | None:
    """MMAction2's network, called like ours; None where it can't be imported."""
    sys.modules.setdefault("transformers", None)  # type: ignore[arg-type]  # a recent one breaks its models
    try:
        from reference import make

        name = f"mmaction2/{PEERS[model]['mmaction2']}"
        peer = next(peer for peer in make.mmaction2_peers() if peer.name == name)
        net = seeded(peer.build(None)).to(device)
    except (ImportError, AttributeError, AssertionError, KeyError, OSError, TypeError, ValueError) as error:
        print(f"MMAction2 is left out: {type(error).__name__}: {error}", file=sys.stderr)
        return None
    finally:
        if sys.modules["transformers"] is None:
            del sys.modules["transformers"]
    return lambda clips: peer.run(net, clips)


class Candidates:
    """What is measured, by name, and in which precision; made once for all batches."""

    def __init__(self, options: argparse.Namespace, deadline: Deadline) -> None:
        from slowfast_zoo import ModelSpec, SlowFast, create_model

        self.options, self.deadline = options, deadline
        self.device = torch.device(options.device)
        if options.dry_run:
            model = SlowFast(ModelSpec(depth=14, base_width=8, num_classes=400))
            options.model = "slowfast_tiny"
        else:
            model = create_model(options.model)
        self.plain = seeded(model).to(self.device)
        self.runs: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {}
        peer = None if options.dry_run else mmaction2(options.model, self.device)
        precisions = PRECISIONS if self.device.type == "cuda" else ("float32",)
        for name, module in (("mmaction2", peer), ("plain module", self.plain)):
            for precision in precisions if module is not None else ():
                self.runs[f"{name} {precision}"] = (self.autocast(module, precision), precision)
        for precision in precisions:
            self.runs[f"eager {precision}"] = (self.engine("eager", precision), precision)
        self.compiled = dict(self.compile()) if self.device.type == "cuda" else {}

    def autocast(self, module: Any, precision: str) -> Callable[[Tensor], Tensor]:
        """The module as its users run it in half precision."""
        half = precision in ("bfloat16", "float16")
        dtype = getattr(torch, precision) if half else torch.bfloat16

        def run(clips: Tensor) -> Tensor:
            with torch.autocast(self.device.type, dtype, enabled=half):
                logits: Tensor = module(clips)
            return logits.float()

        return run

    def engine(self, name: str, precision: str) -> Callable[[Tensor], Tensor]:
        from slowfast_zoo.inference.engines.optimize import optimize

        return optimize(self.plain, name, precision, device=self.device)  # type: ignore[arg-type]

    def compile(self) -> Iterator[tuple[tuple[int, str], Callable[[Tensor], Tensor]]]:
        """What there is time to compile, by batch and precision."""
        from slowfast_zoo.errors import SlowFastZooError

        reserved = self.options.compile_seconds + self.options.batch_seconds * len(self.options.batches)
        for precision in COMPILED:
            run = self.engine("compile", precision)
            for batch in self.options.batches:
                name = f"compile {precision}, batch {batch},"
                if not self.deadline.allows(reserved, name):
                    return
                before = time.perf_counter()
                try:
                    run(noise(self.plain.spec.num_frames, self.options.size, batch).to(self.device))
                except (SlowFastZooError, RuntimeError) as error:
                    print(f"{name} is left out: {error}", file=sys.stderr)
                    continue
                print(f"{name} started in {time.perf_counter() - before:.0f} s", file=sys.stderr)
                yield (batch, precision), run

    def of_batch(self, batch: int) -> Iterator[tuple[str, Callable[[Tensor], Tensor], str]]:
        """All that can be measured with so many clips."""
        for name, (run, precision) in self.runs.items():
            yield name, run, precision
        for (size, precision), run in self.compiled.items():
            if size == batch:
                yield f"compile {precision}", run, precision


def measured(candidates: Candidates, batch: int) -> dict[str, dict[str, Any]]:
    """A row for each candidate with a batch of so many clips."""
    from slowfast_zoo.description import multiply_adds

    options, device = candidates.options, candidates.options.device
    clips = noise(candidates.plain.spec.num_frames, options.size, batch).to(device)
    operations = 2 * multiply_adds(candidates.plain.spec, options.size)
    names, answers, peaks, latencies, rates = {}, {}, {}, {}, {}
    with torch.inference_mode():
        allow_tf32(False)
        expected = candidates.plain(clips)
        for name, run, precision in candidates.of_batch(batch):
            try:
                with peak_memory(device) as peak:
                    allow_tf32(precision == "tf32")
                    answers[name] = float((run(clips) - expected).abs().max() / expected.abs().max())
            except torch.OutOfMemoryError as error:
                print(f"{name}, batch {batch}, is left out: {error}", file=sys.stderr)
                continue
            names[name], peaks[name] = (run, precision), peak[0]
            latencies[name], rates[name] = [], []
        for number in range(options.rounds + 1):
            for name, (run, precision) in names.items():
                allow_tf32(precision == "tf32")
                latency = seconds_of(run, clips, 1, device)
                calls = max(1, min(100, round(BUSY_SECONDS / latency)))
                each = seconds_of(run, clips, calls, device) / calls
                if number:
                    latencies[name].append(latency)
                    rates[name].append(batch / each)
    base = statistics.median(next(iter(latencies.values())))
    return {
        name: {
            "precision": precision,
            "seconds": spread(latencies[name]),
            "ratio": base / statistics.median(latencies[name]),
            "clips_per_second": statistics.median(rates[name]),
            "gflops": operations * statistics.median(rates[name]) / 1e9,
            "relative_error": None if name.startswith("mmaction2") else answers[name],
            "peak_mib": peaks[name],
        }
        for name, (_, precision) in names.items()
    }


def seconds_of(run: Callable[[Tensor], Tensor], clips: Tensor, calls: int, device: str) -> float:
    """Of so many calls and one wait."""
    finish(device)
    before = time.perf_counter()
    for _ in range(calls):
        run(clips)
    finish(device)
    return time.perf_counter() - before


@contextlib.contextmanager
def peak_memory(device: str) -> Iterator[list[float | None]]:
    """A list with the MiB of a GPU that were allocated at most inside; None without one."""
    peak: list[float | None] = [None]
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    yield peak
    if device.startswith("cuda"):
        peak[0] = torch.cuda.max_memory_allocated(device) / 2**20


def training(options: argparse.Namespace, deadline: Deadline) -> dict[str, dict[str, Any]]:
    """Training steps in each precision and layout."""
    from slowfast_zoo import ModelSpec, SlowFast

    names = ["float32"] if not options.device.startswith("cuda") else TRAINED
    rows = {}
    for name in names:
        if not deadline.allows(options.training_seconds, f"training in {name}"):
            continue
        small = SlowFast(ModelSpec(depth=14, base_width=8, num_classes=400)) if options.dry_run else None
        how = argparse.Namespace(
            worker=name, batch=options.training_batch, size=options.size, device=options.device
        )
        try:
            with peak_memory(options.device) as peak:
                step = training_step(how, small)["step"]
                times = [step()["seconds"] for _ in range(options.rounds + 2)][2:]
        except torch.OutOfMemoryError as error:
            print(f"training in {name} is left out: {error}", file=sys.stderr)
            continue
        rows[name] = {
            "seconds": spread(times),
            "steps_per_second": 1 / statistics.median(times),
            "peak_mib": peak[0] or 0.0,
        }
    return rows


def matrix_rates(options: argparse.Namespace) -> dict[str, float]:
    """GFLOP/s of matrix products, by precision."""
    rates = {}
    for precision in PRECISIONS if options.device.startswith("cuda") else ("float32",):
        allow_tf32(precision == "tf32")
        dtype = torch.float32 if precision == "tf32" else getattr(torch, precision)
        rates[precision] = matrix_rate(dtype, options.device, side=options.matrix_side)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="slowfast_r50_4x16x1", choices=list(PEERS))
    parser.add_argument("--size", type=int, default=224, help="side of the clips in pixels")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--training-batch", type=int, default=8)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=230, help="begin nothing that would end later")
    parser.add_argument("--dry-run", action="store_true", help="on a processor, with tiny sizes")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="write everything here, as JSON")
    options = parser.parse_args()
    options.compile_seconds, options.batch_seconds, options.training_seconds = 40, 30, 6
    options.matrix_side = 8192
    if not options.dry_run and not torch.cuda.is_available():
        raise SystemExit("torch finds no GPU here; --dry-run shows on a processor that this script runs.")
    if options.dry_run:
        options.device, options.size, options.batches, options.rounds = "cpu", 32, [1, 2], 2
        options.training_batch, options.matrix_side = 2, 256
    torch.set_num_threads(options.threads)
    use_checkout()
    from report.tables import gpu_tables, markdown

    deadline = Deadline(options.seconds)
    result: dict[str, Any] = {
        "benchmark": "gpu",
        "machine": description(options.threads, options.device),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "dry_run": options.dry_run,
        "size": options.size,
        "rounds": options.rounds,
        "training_batch": options.training_batch,
        "matrix_product_gflops": matrix_rates(options),
        "batches": {},
        "training": {},
    }
    with tempfile.TemporaryDirectory() as cache:
        os.environ["SLOWFAST_ZOO_CACHE"] = cache  # compiling is measured without what earlier runs left
        result["training"] = training(options, deadline)
        candidates = Candidates(options, deadline)
        result["model"] = options.model
        for batch in options.batches:
            result["batches"][str(batch)] = measured(candidates, batch)
            if options.out:
                options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print("\n\n".join(markdown(table) for table in gpu_tables(result)))
    rates = result["matrix_product_gflops"].items()
    print("\nmatrix product, GFLOP/s: " + ", ".join(f"{name} {rate:.0f}" for name, rate in rates))


if __name__ == "__main__":
    main()
