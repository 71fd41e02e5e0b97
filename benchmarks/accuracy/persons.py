"""A task where only the box decides: two to four figures in a clip, each with another motion.

    python benchmarks/accuracy/persons.py --out figures.json

Trains a small network with an ROI head on drawn clips, and tells how many boxes of held-out clips it names
rightly, and how many with the whole frame as everybody's box: who knows the motions of a clip but not whose
they are is right for one in so many as there are figures. With ``--whole-too`` another network is trained on
whole frames, which is the harder proof and takes as long again.
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from slowfast_zoo.data.dataset import Persons
from slowfast_zoo.data.motion.actors import Actor, paste
from slowfast_zoo.data.motion.camera import draw_path
from slowfast_zoo.data.motion.footage import to_bytes
from slowfast_zoo.data.motion.scenes import draw_scene, draw_sprite
from slowfast_zoo.evaluation.persons import evaluate_persons
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ClipSpec, ModelSpec, RoiSpec
from slowfast_zoo.training.recipe import TrainConfig
from slowfast_zoo.training.train import train

MOTIONS = ("sways", "jumps", "turns", "grows", "stands")
SIDE, FRAMES, SCENES = 64, 8, 48
HELD_OUT_SEED = 1_000_003
SPEC = ModelSpec(
    depth=14,
    base_width=16,
    beta_inv=4,
    alpha=4,
    num_frames=FRAMES,
    num_classes=len(MOTIONS),
    dropout=0.0,
    stage4_stride=(1, 1),
    roi=RoiSpec(),
)
CLIPS = ClipSpec(
    num_frames=FRAMES,
    frame_stride=1,
    sampling="openmmlab-video-key",
    size=SIDE,
    crop=SIDE,
    test_crop=SIDE,
    clips=1,
    crops=1,
    crop_rule="whole",
    box_rule="openmmlab",
    jitter=(SIDE, SIDE),
)
RECIPE = TrainConfig(
    clips_per_epoch=1600,
    batch_size=16,
    optimizer="adamw",
    lr=3e-3,
    lr_batch=None,
    weight_decay=0.02,
    norm_weight_decay=0.0,
    grad_clip=5.0,
    schedule_rule="pyslowfast",
    warmup_epochs=0.5,
    warmup_ratio=0.05,
    workers=1,
    validate_every=1000,
)


class FigureClips(torch.utils.data.Dataset[Any]):
    """Clip ``i`` of a seed is always the same: uint8 (8, 64, 64, 3), its figures' boxes and motions.

    Args:
        length: how many clips there are.
        seed: chooses scenes and clips.
        whole: give the whole frame as the box of each figure.
    """

    labels = MOTIONS

    def __init__(self, length: int, *, seed: int, whole: bool = False) -> None:
        self.length, self.seed, self.whole = length, seed, whole

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], Persons]:
        rng = np.random.default_rng([self.seed, 0, index])
        scene, other = (_scene(self.seed, int(rng.integers(SCENES))) for _ in range(2))
        top, left = rng.integers(0, scene.shape[1] - 2 * SIDE, 2)
        still = scene[:, top : top + 2 * SIDE : 2, left : left + 2 * SIDE : 2]
        frames = torch.from_numpy(still.copy()).float().expand(FRAMES, -1, -1, -1).clone()
        path = draw_path("static", np.linspace(0, 1, FRAMES), rng)
        motions = rng.permutation(len(MOTIONS))[: rng.integers(2, 5)]
        boxes = []
        for motion, cell in zip(motions, rng.permutation(4), strict=False):
            figure = _figure(MOTIONS[motion], int(cell), other, rng)
            paste(frames, figure, path, 1.0)
            middle = figure.center[FRAMES // 2]
            reach = np.abs(figure.half[FRAMES // 2]).max()
            boxes.append([*(middle - reach), *(middle + reach)])
        pixels = np.clip((np.array(boxes) + 0.5) * SIDE, 0, SIDE)
        if self.whole:
            pixels[:] = 0, 0, SIDE, SIDE
        return to_bytes(frames), Persons(torch.from_numpy(pixels).float(), torch.from_numpy(motions))


@functools.cache
def _scene(seed: int, number: int) -> npt.NDArray[np.uint8]:
    return draw_scene(np.random.default_rng([seed, 1, number]))


def _figure(motion: str, cell: int, surfaces: npt.NDArray[np.uint8], rng: np.random.Generator) -> Actor:
    """Something in a quarter of the picture, twice as long as wide; lengths are in widths of the picture."""
    turn = 2 * np.pi * (np.linspace(0, rng.uniform(1.0, 1.6), FRAMES) + rng.random())
    place = np.array([cell % 2, cell // 2]) / 2 - 0.25 + rng.uniform(-0.04, 0.04, 2)
    center, swing = np.tile(place, (FRAMES, 1)), rng.uniform(0.06, 0.09) * np.sin(turn)
    half = np.tile(rng.uniform(0.07, 0.1) * np.array([1.0, 1.6]), (FRAMES, 1))
    angle = np.full(FRAMES, rng.uniform(-0.3, 0.3))
    if motion == "sways":
        center[:, 0] += swing
    elif motion == "jumps":
        center[:, 1] += swing
    elif motion == "turns":
        angle += np.linspace(0, rng.choice([-1, 1]) * rng.uniform(2.0, 4.0), FRAMES)
    elif motion == "grows":
        half *= np.exp(rng.uniform(0.3, 0.45) * np.sin(turn))[:, None]
    return Actor(draw_sprite(rng, surfaces, str(rng.choice(["ellipse", "box"]))), center, half, angle, 0.0)


def accuracy(model: SlowFast, clips: int, *, whole: bool) -> float:
    """Share of boxes of held-out clips whose likeliest motion is theirs."""
    found = evaluate_persons(model, FigureClips(clips, seed=HELD_OUT_SEED, whole=whole), progress=False)
    return float((found.probabilities.argmax(axis=1) == found.targets).mean())


def trained(steps: int, seed: int, *, whole: bool) -> SlowFast:
    """A network of that many steps on clips of that seed."""
    torch.manual_seed(seed)
    model = SlowFast(SPEC)
    model.clip_spec, model.labels = CLIPS, MOTIONS
    epochs = max(steps * RECIPE.batch_size // (RECIPE.clips_per_epoch or 1), 1)
    with tempfile.TemporaryDirectory() as folder:
        data = FigureClips(1_000_000, seed=seed, whole=whole)
        train(model, data, RECIPE.replace(epochs=epochs, seed=seed), work_dir=folder)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=400, help="of 16 clips; a multiple of 100")
    parser.add_argument("--clips", type=int, default=400, help="held-out ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--whole-too", action="store_true", help="also train on whole frames")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    held_out = FigureClips(options.clips, seed=HELD_OUT_SEED)
    figures = [len(held_out[index][1].boxes) for index in range(options.clips)]
    started = time.perf_counter()
    model = trained(options.steps, options.seed, whole=False)
    seconds = time.perf_counter() - started
    report = {
        "steps": options.steps,
        "seed": options.seed,
        "held_out_clips": options.clips,
        "held_out_boxes": sum(figures),
        "training_seconds": round(seconds),
        "boxes": round(accuracy(model, options.clips, whole=False), 4),
        "whole_frame": round(accuracy(model, options.clips, whole=True), 4),
        "chance": round(1 / len(MOTIONS), 4),
        "chance_if_motions_are_known": round(options.clips / sum(figures), 4),
    }
    if options.whole_too:
        blind = trained(options.steps, options.seed, whole=True)
        report["trained_on_whole_frames"] = round(accuracy(blind, options.clips, whole=True), 4)
    print(json.dumps(report, indent=1))
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
