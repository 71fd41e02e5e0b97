"""Trainings killed at random moments and resumed: python tests/training/kills.py FOLDER COUNT [SEED]

Prints how many of them ended with other weights than the training that nobody killed. A process of its own,
because it forks.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import torch
from support.training_clips import CONFIG, Clips, make_model

from slowfast_zoo.training.state import BEST, LAST, RESUME
from slowfast_zoo.training.train import train


def run(folder: Path) -> None:
    """Trains from the start or from where an earlier training was killed."""
    train(
        make_model(),
        Clips(4),
        CONFIG.replace(epochs=2, checkpoint_steps=1, validate_every=1, precise_bn_batches=1),
        work_dir=folder,
        validation=Clips(2),
        resume=(folder / RESUME).exists(),
        device="cpu",
        progress=False,
    )


def content(path: Path) -> tuple[object, dict[str, bytes]]:
    """What a file of weights says; the order of its header is safetensors' own choice."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata(), {name: file.get_tensor(name).numpy().tobytes() for name in file.keys()}  # noqa: SIM118


def main(folder: Path, count: int, seed: int) -> int:
    """How many of so many killed trainings were lost or ended differently."""
    torch.set_num_threads(1)
    rng = random.Random(seed)
    run(folder / "unbroken")
    began = time.monotonic()
    run(folder / "again")  # without what torch imports on its way
    duration = time.monotonic() - began
    wrong = killed = 0
    while killed < count:
        work = folder / "killed"
        shutil.rmtree(work, ignore_errors=True)
        child = os.fork()
        if child == 0:
            run(work)
            os._exit(0)
        time.sleep(rng.uniform(0, duration))
        os.kill(child, signal.SIGKILL)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGKILL:
            continue  # it was faster
        killed += 1
        run(work)
        leftovers = [path.name for path in work.iterdir() if path.name.endswith(".slowfast-tmp")]
        same = all(content(work / name) == content(folder / "unbroken" / name) for name in (LAST, BEST))
        if leftovers or not same:
            wrong += 1
            print(f"kill {killed}: {leftovers or 'other weights'}", flush=True)
    print(f"{wrong} of {killed} killed trainings differ", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0))
