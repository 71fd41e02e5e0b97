"""Many calls of ``predict``, a short video each, against one ``predict_many``: is an engine built once?

    python benchmarks/video/calls.py
    python benchmarks/video/calls.py --engines openvino --precision bfloat16 --out calls.json

Every engine in a process of its own; a round does both, in turn which first, after one that isn't counted.
The videos are two seconds of ``footage.py``, h264 at 340x256, one view each. The network has seeded weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the benchmarks' own modules

from footage import write_footage
from machine import description, spread, use_checkout
from peers import PEERS, seeded
from workers import Tasks, Worker, WorkerError, serve

TINY = "slowfast_tiny"


def worker(options: argparse.Namespace) -> Tasks:
    """Both ways of predicting, timed."""
    use_checkout()
    torch.set_num_threads(options.threads)
    import slowfast_zoo as zoo

    model = (
        zoo.slowfast_tiny(pretrained=True)
        if options.model == TINY
        else seeded(zoo.create_model(options.model))
    )
    how: dict[str, Any] = {"engine": options.worker, "precision": options.precision}

    def timed(call: Callable[[], list[Any]]) -> dict[str, Any]:
        before = time.perf_counter()
        answers = call()
        seconds = time.perf_counter() - before
        return {"seconds": seconds, "scores": [answer.scores[0] for answer in answers]}

    return {
        "calls": lambda paths: timed(lambda: [zoo.predict(model, path, **how) for path in paths]),
        "many": lambda paths: timed(lambda: list(zoo.predict_many(model, paths, **how))),
    }


def measure(engine: str, paths: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """The rounds of one engine."""
    arguments: list[object] = ["--worker", engine, "--model", options.model, "--precision", options.precision]
    process = Worker(__file__, *arguments, "--threads", options.threads)
    seconds: dict[str, list[float]] = {"calls": [], "many": []}
    for number in range(options.rounds + 1):
        order = ["calls", "many"] if number % 2 else ["many", "calls"]
        answers = {task: process.ask(task, paths=paths) for task in order}
        if answers["calls"]["scores"] != answers["many"]["scores"]:
            raise SystemExit(f"{engine}: both ways give other scores")
        if number:
            for task, answer in answers.items():
                seconds[task].append(answer["seconds"])
    process.close()
    ratios = [one / other for one, other in zip(seconds["calls"], seconds["many"], strict=True)]
    return {task: spread(values) for task, values in seconds.items()} | {"ratio": statistics.median(ratios)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="slowfast_r50_4x16x1", choices=[*PEERS, TINY])
    parser.add_argument("--engines", nargs="+", default=["openvino", "compile", "eager"])
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="write everything here, as JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(lambda: worker(options))
        return
    result: dict[str, Any] = {
        "benchmark": "calls",
        "machine": description(options.threads),
        "model": options.model,
        "precision": options.precision,
        "calls": options.calls,
        "engines": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        videos = [
            write_footage(Path(folder) / f"{kind}.mp4", 340, 256, seconds=2 + kind / 10) for kind in range(4)
        ]
        paths = [str(videos[index % len(videos)]) for index in range(options.calls)]
        try:
            for engine in options.engines:
                row = result["engines"][engine] = measure(engine, paths, options)
                medians = ", ".join(f"{task} {row[task]['median']:.2f} s" for task in ("calls", "many"))
                print(f"{engine}: {medians}; calls take {row['ratio']:.3f} of many", flush=True)
        except WorkerError as error:
            raise SystemExit(str(error)) from error
        finally:
            if options.out:
                options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
