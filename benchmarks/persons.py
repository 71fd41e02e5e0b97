"""Seconds for the persons around one key frame: each engine of ``optimize`` against MMAction2's module.

    python benchmarks/persons.py --peers-python /path/to/venv/bin/python --out persons.json

One clip whose shorter side has 256 pixels and 1, 5 and 20 boxes, everything on one machine and in turn: each
round runs every candidate with every number of boxes once. Medians and quartiles of the rounds are printed,
and the ratio of medians to MMAction2's module in float32 with as many boxes; without MMAction2 that is this
library's plain module. Both have torchvision's RoIAlign, in MMAction2's case in place of an operator of
mmcv's that has to be compiled. Weights are seeded so that signals stay of order one; the error is the
largest logit difference over the largest logit of the plain module. Ends within ten minutes on two cores.
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
from machine import description, matrix_rate, use_checkout
from peers import seeded
from torch import Tensor
from workers import Tasks, Worker, WorkerError, serve

NETWORKS = {
    "r50_4x16x1": ("slowfast_r50_4x16x1_roi", "mmaction2/ava21-20e", "ava_r50_4x16x1"),
    "r50_8x8x1": ("slowfast_r50_8x8x1_roi", "mmaction2/ava21-20e", "ava_r50_8x8x1"),
    "r50_8x8x1_acrn": ("slowfast_r50_8x8x1_roi", "mmaction2-1x/ava22-10e-acrn", "ava_acrn_r50_8x8x1"),
}
"""Our model and row, and the name of MMAction2's network in ``tests/reference/make.py``."""

CANDIDATES = (
    ("eager", "float32"),
    ("openvino", "float32"),
    ("compile", "float32"),
    ("eager", "bfloat16"),
    ("openvino", "bfloat16"),
    ("compile", "bfloat16"),
)
WARM_UP_ROUNDS = 1
Run = Callable[[int], float]


def inputs(size: tuple[int, int], count: int) -> tuple[Tensor, Tensor]:
    """A seeded clip (1, 3, 32, height, width), and boxes (count, 5) of people in it, from near to far."""
    generator = torch.Generator().manual_seed(0)
    height, width = size
    clip = torch.randn(1, 3, 32, height, width, generator=generator)
    tall = torch.linspace(0.9, 0.25, count) * height
    centers = torch.rand(count, generator=generator) * width
    middles = height - tall / 2
    corners = [centers - tall / 5, middles - tall / 2, centers + tall / 5, middles + tall / 2]
    return clip, torch.stack([torch.zeros(count), *corners], dim=1)


def timed(call: Callable[[], object]) -> float:
    with torch.inference_mode():
        before = time.perf_counter()
        call()
        return time.perf_counter() - before


def peer_tasks(options: argparse.Namespace) -> Tasks:
    """In a Python with MMAction2: the seconds of its body and head."""
    use_checkout()
    from reference import make

    torch.set_num_threads(options.threads)
    make.stand_in_for_mmdet()
    next(make.mmaction2_peers())  # with the stand-in for what the wheel lacks
    name = f"mmaction2/{options.worker}"
    net = seeded(next(p for p in make.mmaction2_detection_peers() if p.name == name).build(None))

    def run(count: int) -> dict[str, Any]:
        clip, boxes = inputs(options.size, count)
        return {"seconds": timed(lambda: net.roi_head._bbox_forward(net.backbone(clip), boxes, None))}

    return {"persons": run}


class Bench:
    """The candidates for one network: made, timed in turn, and put into rows."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        from slowfast_zoo import SlowFast, get_weights

        self.options = options
        model, tag, peer = NETWORKS[name]
        self.plain = seeded(SlowFast(get_weights(model, tag).model_spec))
        self.runs: dict[str, Run] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        self.worker: Worker | None = None
        if options.peers_python:
            arguments = ["--worker", peer, "--size", *options.size, "--threads", options.threads]
            try:
                worker = self.worker = Worker(__file__, *arguments, python=options.peers_python)
                self.runs["mmaction2 eager"] = lambda count: worker.ask("persons", count=count)["seconds"]
            except WorkerError as error:
                print(f"MMAction2 is left out. {error}", file=sys.stderr)
        if not self.runs:
            self._add("plain module", self.plain)
        for engine, precision in CANDIDATES:
            if engine in options.engines and precision in options.precisions:
                self._add_engine(engine, precision)

    def _add(self, name: str, model: Callable[..., Tensor]) -> None:
        def run(count: int) -> float:
            given = inputs(self.options.size, count)
            return timed(lambda: model(*given))

        self.runs[name] = run

    def _add_engine(self, engine: str, precision: str) -> None:
        from slowfast_zoo.errors import SlowFastZooError
        from slowfast_zoo.inference.engines.optimize import optimize
        from slowfast_zoo.runtime.precision import has_bfloat16_kernels

        name, given = f"{engine} {precision}", inputs(self.options.size, max(self.options.boxes))
        if precision == "bfloat16" and not has_bfloat16_kernels():
            print(f"{name} is left out: this processor has no kernels for it", file=sys.stderr)
            return
        try:
            fast = optimize(self.plain, engine, precision)  # type: ignore[arg-type]
            with torch.inference_mode():
                expected = self.plain(*given)
                difference = (fast(*given) - expected).abs().max()
        except SlowFastZooError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            return
        self.facts[name] = {
            "startup_seconds": fast.startup_seconds,
            "relative_error": float(difference / expected.abs().max()),
        }
        self._add(name, fast)
        print(f"{name} started in {fast.startup_seconds:.1f} s", file=sys.stderr)

    def rows(self) -> dict[str, dict[str, Any]]:
        """Every candidate's seconds and ratio to the first one, by the number of boxes."""
        seconds = {(name, count): [] for name in self.runs for count in self.options.boxes}  # type: ignore[var-annotated]
        for number in range(WARM_UP_ROUNDS + self.options.rounds):
            for (name, count), kept in seconds.items():
                taken = self.runs[name](count)
                if number >= WARM_UP_ROUNDS:
                    kept.append(taken)
        if self.worker is not None:
            self.worker.close()
        base = next(iter(self.runs))
        rows: dict[str, dict[str, Any]] = {}
        for (name, count), times in seconds.items():
            row = rows.setdefault(name, {**self.facts.get(name, {}), "boxes": {}})
            quartiles = statistics.quantiles(times, n=4) if len(times) > 1 else times * 3
            row["boxes"][str(count)] = {
                "seconds": {"median": statistics.median(times), "quartiles": quartiles[::2], "rounds": times},
                "share": statistics.median(times) / statistics.median(seconds[base, count]),
            }
        return rows


def show(title: str, rows: dict[str, dict[str, Any]]) -> None:
    """The table of one network."""
    print(f"\n{title}; 1.00 is {next(iter(rows))}\n{'':20}{'boxes':>6}{'median s (quartiles)':>26}", end="")
    print(f"{'share':>8}{'start s':>9}{'rel. error':>12}")
    for name, row in rows.items():
        for count, found in row["boxes"].items():
            low, high = found["seconds"]["quartiles"]
            times = f"{found['seconds']['median']:.3f} ({low:.3f} - {high:.3f})"
            print(f"{name:20}{count:>6}{times:>26}{found['share']:8.2f}", end="")
            print(f"{row.get('startup_seconds', 0):9.1f}{row.get('relative_error', 0):12.1e}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--networks", nargs="+", default=["r50_4x16x1", "r50_8x8x1"], choices=list(NETWORKS))
    parser.add_argument("--size", nargs=2, type=int, default=[256, 340], help="height and width in pixels")
    parser.add_argument("--boxes", nargs="+", type=int, default=[1, 5, 20])
    parser.add_argument("--engines", nargs="+", default=["eager", "compile", "openvino"])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--peers-python", help="a Python that can import mmaction")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="write everything here, as JSON")
    options = parser.parse_args()
    if options.worker:
        serve(lambda: peer_tasks(options))
        return
    use_checkout()
    torch.set_num_threads(options.threads)
    result: dict[str, Any] = {
        "benchmark": "persons",
        "machine": description(options.threads),
        "size": options.size,
        "matrix_product_gflops": {"float32": matrix_rate(torch.float32)},
        "networks": {},
    }
    with tempfile.TemporaryDirectory() as cache:
        os.environ["SLOWFAST_ZOO_CACHE"] = cache  # start-up is measured without what earlier runs left
        for name in options.networks:
            rows = result["networks"][name] = Bench(name, options).rows()
            show(f"{name}, {options.size[0]} x {options.size[1]} pixels, {options.threads} threads", rows)
            if options.out:
                options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
