"""A better start for actions: slowfast_tiny trained on procedural actors and camera motions at once.

    python scripts/tiny/train_actions.py WORK [--clips 64000] [--seed 0] [--workers 1] [--resume]

Begins with the embedded weights of camera motion, so that what they know is kept; the clips, made while it
trains, have three sets of labels (slowfast_zoo/data/motion/actions.py). 64,000 clips took 97 minutes on two
cores that had other work too. WORK/last.safetensors is what finetune takes: --model WORK/last.safetensors.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from slowfast_zoo.data.motion.actions import ActionClips
from slowfast_zoo.training.recipe import TrainConfig
from slowfast_zoo.training.train import train
from slowfast_zoo.zoo import slowfast_tiny

FRAMES, FPS, SIDE, BATCH = 16, 8.0, 80, 16
CLIPS = 64_000
EPOCH_CLIPS, HELD_OUT = 4000, 520
"""Clips between two validations, and of each of those."""


def recipe(clips: int = CLIPS, *, workers: int = 1, seed: int = 0) -> TrainConfig:
    """How it is trained on so many clips."""
    per_epoch = min(EPOCH_CLIPS, clips)
    return TrainConfig(
        epochs=max(clips // per_epoch, 1),
        clips_per_epoch=per_epoch,
        batch_size=BATCH,
        optimizer="adamw",
        lr=2e-3,
        lr_batch=BATCH,
        weight_decay=0.05,
        ema=0.998,
        warmup_epochs=0.5,
        schedule_rule="pyslowfast",
        validate_every=1,
        checkpoint_steps=100,
        channels_last=True,
        log_every=10,
        workers=workers,
        seed=seed,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--clips", type=int, default=CLIPS, help="that are made and trained on")
    parser.add_argument(
        "--held-out", type=int, default=HELD_OUT, help="clips of another seed, to validate with"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    how = {"size": SIDE, "num_frames": FRAMES, "fps": FPS}
    clips = ActionClips(arguments.clips, seed=arguments.seed, **how)
    held_out = ActionClips(arguments.held_out, seed=arguments.seed + 1_000_000, **how)
    torch.manual_seed(arguments.seed)
    model = slowfast_tiny(pretrained=True)
    model.spec = model.spec.replace(num_frames=FRAMES, activation="sigmoid")
    model.clip_spec = model.clip_spec.replace(num_frames=FRAMES, fps=FPS)
    model.reset_classifier(len(clips.labels), clips.labels)
    config = recipe(arguments.clips, workers=arguments.workers, seed=arguments.seed)
    result = train(
        model, clips, config, work_dir=arguments.work, validation=held_out, resume=arguments.resume
    )
    print(f"{result.steps} steps, {result.metrics}: {result.last}")


if __name__ == "__main__":
    main()
