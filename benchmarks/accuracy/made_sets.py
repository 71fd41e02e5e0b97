"""Two small labelled sets of motions that no weights here were trained on, drawn: to try fine-tuning on.

    python benchmarks/accuracy/made_sets.py FOLDER [--train 10] [--test 40] [--seed 0]

FOLDER/things: eight motions of objects. FOLDER/gestures: six figures that an arm draws into the air, filmed
by a hand that trembles. Both as folders train and test, a folder of clips per class, which finetune and
grid.py take; the scenes of test are others than those of train. Clips last 2 seconds, 240 x 180 pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import torch

from slowfast_zoo.data.motion.actors import Actor, paste
from slowfast_zoo.data.motion.camera import draw_path, fit_view, warp
from slowfast_zoo.data.motion.footage import record
from slowfast_zoo.data.motion.scenes import draw_scene, draw_sprite

SIZE, FPS, SECONDS = (240, 180), 25, 2.0
ASPECT = SIZE[0] / SIZE[1]
SCENES = 12
"""Of each part of a set."""

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
Generator = np.random.Generator
Cast = Callable[[Floats, Pixels, Generator], list[Actor]]


def thing(
    center: Floats, size: Floats | float, angle: Floats | float, surfaces: Pixels, rng: Generator
) -> Actor:
    """An object on its way: (T, 2) places, half sizes and radians."""
    count = len(center)
    half = np.broadcast_to(np.asarray(size)[..., None], (count, 2)) * np.array([1.0, rng.uniform(0.6, 1)])
    sprite = draw_sprite(rng, surfaces, str(rng.choice(["box", "blob"])))
    return Actor(sprite, center, half, np.broadcast_to(np.asarray(angle, float), (count,)))


def bounce(t: Floats, surfaces: Pixels, rng: Generator) -> list[Actor]:
    height = np.abs(np.sin(np.pi * (rng.uniform(1, 2) * t + rng.random())))
    place = np.stack([rng.uniform(-0.3, 0.3) + rng.uniform(-0.1, 0.1) * t, 0.2 - 0.4 * height], -1)
    return [thing(place, rng.uniform(0.04, 0.1), 0.0, surfaces, rng)]


def swing(t: Floats, surfaces: Pixels, rng: Generator) -> list[Actor]:
    angle = rng.uniform(0.4, 0.9) * np.sin(2 * np.pi * (rng.uniform(0.5, 1.2) * t + rng.random()))
    long, pivot = rng.uniform(0.3, 0.5), np.array([rng.uniform(-0.2, 0.2), -0.35])
    place = pivot + long * np.stack([np.sin(angle), np.cos(angle)], -1)
    return [thing(place, rng.uniform(0.05, 0.1), -angle, surfaces, rng)]


def roll(t: Floats, surfaces: Pixels, rng: Generator) -> list[Actor]:
    size, way = rng.uniform(0.06, 0.12), rng.choice([-1, 1]) * rng.uniform(0.25, 0.45) * (t - 1)
    place = np.stack([way, np.full_like(t, rng.uniform(-0.1, 0.2))], -1)
    return [thing(place, size, way / size, surfaces, rng)]


def spin(t: Floats, surfaces: Pixels, rng: Generator) -> list[Actor]:
    place = np.tile(rng.uniform(-0.2, 0.2, 2), (len(t), 1))
    return [thing(place, rng.uniform(0.1, 0.2), rng.choice([-1, 1]) * rng.uniform(2, 6) * t, surfaces, rng)]


def circle(t: Floats, surfaces: Pixels, rng: Generator) -> list[Actor]:
    angle = rng.choice([-1, 1]) * 2 * np.pi * (rng.uniform(0.5, 1.2) * t + rng.random())
    place = rng.uniform(0.12, 0.25) * np.stack([np.cos(angle), np.sin(angle)], -1) + rng.uniform(-0.1, 0.1, 2)
    return [thing(place, rng.uniform(0.04, 0.09), 0.0, surfaces, rng)]


def pulse(t: Floats, surfaces: Pixels, rng: Generator) -> list[Actor]:
    size = 0.12 * np.exp(0.5 * np.sin(2 * np.pi * (rng.uniform(0.6, 1.5) * t + rng.random())))
    return [thing(np.tile(rng.uniform(-0.2, 0.2, 2), (len(t), 1)), size, 0.0, surfaces, rng)]


def collide(t: Floats, surfaces: Pixels, rng: Generator) -> list[Actor]:
    gap, height = 0.08 + rng.uniform(0.2, 0.35) * np.abs(t - rng.uniform(0.7, 1.3)), rng.uniform(-0.15, 0.15)
    sides = [np.stack([side * gap, np.full_like(t, height)], -1) for side in (-1, 1)]
    return [thing(place, 0.07, 0.0, surfaces, rng) for place in sides]


def scatter(t: Floats, surfaces: Pixels, rng: Generator) -> list[Actor]:
    reach = 0.02 + rng.uniform(0.2, 0.35) * np.clip(t - rng.uniform(0.1, 0.6), 0, None)
    angles = 2 * np.pi * (np.arange(5) / 5 + rng.random())
    return [thing(reach[:, None] * [np.cos(a), np.sin(a)], 0.05, 0.0, surfaces, rng) for a in angles]


THINGS: dict[str, Cast] = {
    made.__name__: made for made in (bounce, swing, roll, spin, circle, pulse, collide, scatter)
}

_FIGURES: dict[str, list[tuple[float, float]]] = {
    "line": [(-1, 0), (1, 0), (-1, 0)],
    "cross": [(-1, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)],
    "square": [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)],
    "zigzag": [(-1, 0.7), (-0.5, -0.7), (0, 0.7), (0.5, -0.7), (1, 0.7), (-1, 0.7)],
    "tap": [(0, -1), (0, 1), (0, -1)],
    "eight": [(float(np.sin(angle)), float(np.sin(2 * angle))) for angle in np.linspace(0, 2 * np.pi, 25)],
}


def gesture(figure: str) -> Cast:
    """An arm of two parts whose hand draws that figure, again and again."""

    def cast(t: Floats, surfaces: Pixels, rng: Generator) -> list[Actor]:
        corners = np.array(_FIGURES[figure] if rng.random() < 0.5 else _FIGURES[figure][::-1])
        part = (rng.uniform(0.5, 1.0) * t + rng.random()) % 1 * (len(corners) - 1)
        drawn = np.stack([np.interp(part, range(len(corners)), corners[:, axis]) for axis in (0, 1)], -1)
        side, scale = rng.choice([-1, 1]), rng.uniform(0.8, 1.2)
        shoulder = np.array([side * -0.18, 0.22]) * scale + rng.uniform(-0.08, 0.08, 2)
        hand = shoulder + scale * (np.array([side * 0.2, -0.22]) + drawn * [0.13, 0.13])
        long = 0.24 * scale
        reach = hand - shoulder
        far = np.clip(np.hypot(*reach.T), 1e-3, 2 * long - 1e-3)
        turn = np.arctan2(reach[:, 1], reach[:, 0]) + side * np.arccos(far / (2 * long))
        elbow = shoulder + long * np.stack([np.cos(turn), np.sin(turn)], -1)
        sprites = [draw_sprite(rng, surfaces, "ellipse") for _ in range(3)]

        def bone(start: Floats, end: Floats, sprite: npt.NDArray[np.float32]) -> Actor:
            along = end - start
            half = np.stack([np.hypot(*along.T) * 0.6, np.full(len(t), 0.035 * scale)], -1)
            return Actor(sprite, (start + end) / 2, half, np.arctan2(along[:, 1], along[:, 0]))

        whole = np.broadcast_to(shoulder, hand.shape)
        below = whole + np.array([0, 0.3])
        body = Actor(sprites[2], below, np.full((len(t), 2), 0.25 * scale), np.zeros(len(t)))
        return [body, bone(whole, elbow, sprites[0]), bone(elbow, hand, sprites[1])]

    return cast


SETS = {"things": (THINGS, "static"), "gestures": ({name: gesture(name) for name in _FIGURES}, "shake")}


def filmed(cast: Cast, camera: str, scenes: list[Pixels], rng: Generator) -> npt.NDArray[np.uint8]:
    """One clip: uint8 (T, H, W, 3)."""
    seconds = np.arange(int(SECONDS * FPS)) / FPS
    scene, surfaces = (scenes[int(rng.integers(len(scenes)))] for _ in range(2))
    path = draw_path(camera, seconds, rng)
    frames = warp(torch.from_numpy(scene).float(), fit_view(path, ASPECT, scene.shape[:0:-1], 0.7, rng), SIZE)
    for actor in cast(seconds, surfaces, rng):
        paste(frames, actor, path, ASPECT)
    return record(frames, SIZE, rng)


def save(path: Path, frames: npt.NDArray[np.uint8]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS), options={"crf": "20"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=10, help="clips per class to train with")
    parser.add_argument("--test", type=int, default=40, help="clips per class to score")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for which, (name, (casts, camera)) in enumerate(SETS.items()):
        for part, count in (("train", arguments.train), ("test", arguments.test)):
            rng = np.random.default_rng([arguments.seed, which, part == "test"])
            scenes = [draw_scene(rng) for _ in range(SCENES)]
            for label, cast in casts.items():
                place = arguments.folder / name / part / label
                place.mkdir(parents=True, exist_ok=True)
                for number in range(count):
                    save(place / f"{number:03}.mp4", filmed(cast, camera, scenes, rng))
        print(f"{arguments.folder / name}: {len(casts)} classes", flush=True)


if __name__ == "__main__":
    main()
