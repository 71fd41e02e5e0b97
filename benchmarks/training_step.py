"""Seconds of one training step: this library's loop against MMAction2's recognizer.

    python benchmarks/training_step.py --peers-python /path/to/venv/bin/python --out training_step.json

R50 4x16 from random weights, clips of 32 frames of 224 pixels as bytes, SGD with momentum 0.9, weight decay
1e-4, gradients clipped to 40. Ours is the step that ``slowfast_zoo.train`` takes, theirs ``train_step`` with
the optimizer of their config; both normalize the bytes in the step, and reading data counts for neither.
Each candidate is a process of its own; a round asks each once, in turn, after a round that isn't counted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from end_to_end import CONFIG, MODEL, THEIRS
from machine import description, finish, spread, use_checkout
from peers import prepare_mmaction2
from workers import Tasks, Worker, WorkerError, serve

CANDIDATES = ("float32", "float32 channels-last", "bfloat16", "bfloat16 channels-last")
FRAMES, CLASSES = 32, 400


def ours(options: argparse.Namespace, model: Any = None) -> Tasks:
    """A step of ``slowfast_zoo.train``, without files and data loading; of R50 4x16 or another model."""
    import slowfast_zoo as zoo
    from slowfast_zoo.data.loader import Batch
    from slowfast_zoo.runtime.devices import deterministic
    from slowfast_zoo.runtime.distributed import join
    from slowfast_zoo.runtime.precision import float32_products
    from slowfast_zoo.training.train import _Trainer

    precision, _, layout = options.worker.partition(" ")
    pixels, targets = clips(options)
    config = zoo.TrainConfig(
        batch_size=options.batch, precision=precision, channels_last=layout == "channels-last", workers=0
    )
    items = [(clip.numpy(), int(target)) for clip, target in zip(pixels, targets, strict=True)]
    group = join(options.device)
    trainer = _Trainer(model or zoo.create_model(MODEL), items, config, Path(), None, group, None)
    batch = Batch(pixels, targets, list(range(options.batch)), [1] * options.batch, [])
    batches = itertools.repeat(batch)

    def step() -> None:
        with deterministic(False), float32_products(config.precision, group.device):
            trainer._step(trainer.model, batches, trainer.plan.lr / 10)

    return {"step": timed(step, options.device)}


def theirs(options: argparse.Namespace) -> Tasks:
    """A step of MMAction2's recognizer with the optimizer of its config."""
    folder = prepare_mmaction2()
    from mmaction.apis import init_recognizer
    from mmaction.structures import ActionDataSample
    from mmengine.runner import Runner

    recognizer = init_recognizer(str(folder / CONFIG), device=options.device)
    recognizer.train()
    settings = recognizer.cfg.optim_wrapper
    settings.type = "OptimWrapper"
    settings.optimizer.lr *= options.batch / 64 / 10
    wrapper = Runner.build_optim_wrapper(argparse.Namespace(model=recognizer, logger=None), settings)
    pixels, targets = clips(options)
    data = {
        "inputs": list(pixels.permute(0, 4, 1, 2, 3).contiguous()[:, None]),
        "data_samples": [ActionDataSample().set_gt_label(int(target)) for target in targets],
    }
    return {"step": timed(lambda: recognizer.train_step(dict(data), wrapper), options.device)}


def clips(options: argparse.Namespace) -> tuple[torch.Tensor, torch.Tensor]:
    """Seeded bytes (batch, T, H, W, C) and classes."""
    generator = torch.Generator().manual_seed(0)
    shape = (options.batch, FRAMES, options.size, options.size, 3)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return pixels, torch.randint(0, CLASSES, (options.batch,), generator=generator)


def timed(step: Any, device: str) -> Any:
    """A task that takes one step."""

    def run() -> dict[str, Any]:
        finish(device)
        before = time.perf_counter()
        step()
        finish(device)
        gpu = torch.cuda.max_memory_allocated(device) / 2**20 if device.startswith("cuda") else None
        return {"seconds": time.perf_counter() - before, "peak_gpu_mib": gpu}

    return run


def worker(options: argparse.Namespace) -> Tasks:
    use_checkout()
    torch.set_num_threads(options.threads)
    return theirs(options) if options.worker == THEIRS else ours(options)


def measure(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Every candidate's seconds, ratio to the first one and memory."""
    workers = {}
    for candidate in [THEIRS] * bool(options.peers_python) + options.candidates:
        python = options.peers_python if candidate == THEIRS else sys.executable
        arguments = ["--worker", candidate, "--batch", options.batch, "--size", options.size]
        arguments += ["--threads", options.threads, "--device", options.device]
        workers[candidate] = Worker(__file__, *arguments, python=python)
    seconds: dict[str, list[float]] = {candidate: [] for candidate in workers}
    answers: dict[str, dict[str, Any]] = {}
    for number in range(options.rounds + 1):
        for candidate, process in list(workers.items()):
            try:
                answers[candidate] = process.ask("step")
            except WorkerError as error:  # a precision that this machine has no kernels for
                print(f"{candidate} is left out: {error}", file=sys.stderr)
                workers.pop(candidate).close()
                del seconds[candidate]
                continue
            if number:
                seconds[candidate].append(answers[candidate]["seconds"])
    for process in workers.values():
        process.close()
    base = statistics.median(seconds[next(iter(workers))])
    return {
        candidate: {
            "seconds": spread(times),
            "ratio": base / statistics.median(times),
            "peak_mib": answers[candidate]["peak_mib"],
            "peak_gpu_mib": answers[candidate]["peak_gpu_mib"],
        }
        for candidate, times in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--candidates", nargs="*", default=list(CANDIDATES), choices=CANDIDATES)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, default=224, help="side of the clips in pixels")
    parser.add_argument("--peers-python", help="a Python that can import mmaction")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="write everything here, as JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(lambda: worker(options))
        return
    try:
        rows = measure(options)
    except WorkerError as error:
        raise SystemExit(str(error)) from error
    print(f"{MODEL}, {options.batch} clips of {options.size} pixels on {options.device}, ", end="")
    print(f"{options.threads} threads; 1.0 is {next(iter(rows))}")
    print(f"{'':24}{'median s':>9}{'fastest':>9}{'slowest':>9}{'ratio':>7}{'peak MiB':>10}")
    for candidate, row in rows.items():
        seconds, peak = row["seconds"], row["peak_gpu_mib"] or row["peak_mib"]
        print(f"{candidate:24}{seconds['median']:9.2f}{seconds['fastest']:9.2f}", end="")
        print(f"{seconds['slowest']:9.2f}{row['ratio']:7.2f}{peak:10.0f}")
    if options.out:
        result = {
            "benchmark": "training_step",
            "machine": description(options.threads, options.device),
            "batch": options.batch,
            "size": options.size,
            "candidates": rows,
        }
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
