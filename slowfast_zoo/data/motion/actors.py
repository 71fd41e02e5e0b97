"""What moves, or stands near, in front of a scene: objects, walkers, near layers and screen overlays."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from slowfast_zoo.data.motion.camera import CameraPath, Floats, affine_grid, log_uniform
from slowfast_zoo.data.motion.scenes import Field, Pixels, draw_sprite

LARGEST_SHARE = 0.4
"""Part of the picture that all objects together may cover, about."""
FASTEST = 0.9
"""View widths that an object may cross per clip."""


@dataclasses.dataclass(frozen=True)
class Actor:
    """One sprite and where it is at each of T moments."""

    sprite: Field
    """float32 (4, S, S): RGB 0-255 and alpha 0-1."""
    center: Floats
    """(T, 2) in view widths from the middle of the camera's path, or of the screen."""
    half: Floats
    """(T, 2) half width and half height in view widths."""
    angle: Floats
    """(T,) radians clockwise."""
    nearness: float = 1.0
    """How much faster than the scene it passes a moving camera; 0: it stays on the screen."""


def draw_cast(
    path: CameraPath, aspect: float, surfaces: Pixels, seconds: Floats, rng: np.random.Generator
) -> list[Actor]:
    """Random actors for a clip, farthest first; often none.

    Args:
        path: the camera's path of T moments.
        aspect: width of the view per height.
        surfaces: uint8 (3, H, W), whose patches clothe the actors.
        seconds: (T,) the moments.
        rng: source of all chance.
    """
    cast: list[Actor] = []
    done = (seconds - seconds.min()) / max(np.ptp(seconds), 1e-9) - 0.5
    if rng.random() < 0.25:
        cast.append(_near_layer(aspect, surfaces, len(done), rng))
    budget = LARGEST_SHARE
    for _ in range(rng.choice([0, 1, 2, 3, 4], p=[0.3, 0.3, 0.2, 0.1, 0.1])):
        share = log_uniform(rng, 0.002, budget)
        budget -= min(share, budget - 0.01)
        if rng.random() < 0.4:
            cast += _walker(share, aspect, surfaces, done, np.ptp(seconds), rng)
        else:
            cast.append(_object(share, aspect, surfaces, done, np.ptp(seconds), path, rng))
    if rng.random() < 0.12:
        cast.append(_overlay(aspect, surfaces, len(done), rng))
    return cast


def paste(frames: torch.Tensor, actor: Actor, path: CameraPath, aspect: float) -> None:
    """Puts the actor into the frames, in place, touching only the box that it ever covers.

    Args:
        frames: float32 (T, 3, H, W), 0 to 255.
        actor: what to put there.
        path: the camera's path of the same T moments.
        aspect: width of the view per height.
    """
    to_view = np.array([0.5, 0.5 / aspect])
    if actor.nearness:
        turn, camera = path.rotation() * to_view, path.center() * actor.nearness
    else:
        turn, camera = np.broadcast_to(np.diag(to_view), (len(frames), 2, 2)), np.zeros_like(actor.center)
    cos, sin = np.cos(actor.angle), np.sin(actor.angle)
    back = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2) / actor.half[..., None]
    maps = back @ np.concatenate([turn, (camera - actor.center)[..., None]], -1)
    inverse = np.linalg.inv(maps[..., :2])
    middle = -(inverse @ maps[..., 2:])[..., 0]
    reach = np.abs(inverse).sum(-1)
    size = np.array(frames.shape[:1:-1])
    low = np.clip(np.floor(((middle - reach).min(0) + 1) * size / 2), 0, size).astype(int)
    high = np.clip(np.ceil(((middle + reach).max(0) + 1) * size / 2), 0, size).astype(int)
    if (high <= low).any():
        return
    xs, ys = (
        (torch.arange(int(a), int(b), dtype=torch.float32, device="cpu") + 0.5) * (2 / int(n)) - 1
        for a, b, n in zip(low, high, size, strict=True)
    )
    sprites = torch.from_numpy(actor.sprite).expand(len(frames), -1, -1, -1)
    layer = torch.nn.functional.grid_sample(sprites, affine_grid(maps, xs, ys), align_corners=False)
    window = frames[:, :, low[1] : high[1], low[0] : high[0]]
    window.lerp_(layer[:, :3], layer[:, 3:])


def _object(
    share: float,
    aspect: float,
    surfaces: Pixels,
    done: Floats,
    span: float,
    path: CameraPath,
    rng: np.random.Generator,
) -> Actor:
    """One thing that stands, crosses, swings, comes nearer, turns or keeps up with the camera."""
    shape = str(rng.choice(["ellipse", "box", "blob", "glyphs"], p=[0.3, 0.25, 0.35, 0.1]))
    stretch = log_uniform(rng, 0.5, 2)
    half = 0.5 * np.sqrt(share / aspect) * np.array([stretch, 1 / stretch]) * np.ones((len(done), 1))
    center = rng.uniform(-0.5, 0.5, 2) * [1, 1 / aspect] * np.ones((len(done), 1))
    angle = np.full(len(done), rng.uniform(-np.pi, np.pi))
    if rng.random() < 0.75:
        center = center + done[:, None] * rng.uniform(-FASTEST, FASTEST, 2) * [1, rng.uniform(0, 1)]
    if rng.random() < 0.35:
        swing = np.sin(2 * np.pi * (rng.uniform(0.5, 3) * span * done + rng.random()))
        center = center + swing[:, None] * rng.uniform(-0.12, 0.12, 2)
    if rng.random() < 0.25:
        half = half * np.exp(rng.uniform(-0.8, 0.8) * done)[:, None]
    if rng.random() < 0.25:
        angle = angle + rng.uniform(-3, 3) * done
    if rng.random() < 0.15:
        center = center + path.center()
    return Actor(draw_sprite(rng, surfaces, shape), center, half, angle)


def _walker(
    share: float, aspect: float, surfaces: Pixels, done: Floats, span: float, rng: np.random.Generator
) -> list[Actor]:
    """A figure of six parts that walks, runs, jumps or waves: limbs swing about hip and shoulder."""
    height = min(np.sqrt(share * 3.5 / aspect), 0.9 / aspect)
    speed = rng.uniform(-FASTEST, FASTEST) if rng.random() < 0.7 else 0.0
    stride = 2 * np.pi * (rng.uniform(0.6, 2.5) * span * done + rng.random())
    place = rng.uniform([-0.4, -0.2], [0.4, 0.2]) + done[:, None] * [speed, rng.uniform(-0.05, 0.05)]
    hop = rng.uniform(0, 0.15) if rng.random() < 0.4 else rng.uniform(0, 0.02)
    place[:, 1] -= hop * height * np.abs(np.sin(stride))
    still = np.zeros(len(done))
    swings = rng.uniform(0.2, 0.9, 2)
    # Each part: pivot below the figure's middle, half width, half length (all in heights), swing.
    parts = [
        (0.0, 0.055, 0.27, swings[0] * np.sin(stride)),
        (0.0, 0.055, 0.27, -swings[0] * np.sin(stride)),
        (-0.14, 0.11, 0.17, still),
        (-0.42, 0.07, 0.08, still),
        (-0.28, 0.04, 0.19, rng.choice([-1, 1, 2.5]) * swings[1] * np.sin(stride)),
        (-0.28, 0.04, 0.19, -swings[1] * np.sin(stride)),
    ]
    clothes = draw_sprite(rng, surfaces, "ellipse"), draw_sprite(rng, surfaces, "ellipse")
    figure = []
    for number, (pivot, wide, long, angle) in enumerate(parts):
        hangs = 0.0 if number in (2, 3) else 0.85 * long
        offset = np.stack([-np.sin(angle) * hangs, pivot + np.cos(angle) * hangs], -1) * height
        half = np.broadcast_to(np.array([wide, long]) * height, (len(done), 2))
        figure.append(Actor(clothes[number % 2], place + offset, half, angle))
    return figure


def _near_layer(aspect: float, surfaces: Pixels, count: int, rng: np.random.Generator) -> Actor:
    """Something large and still at an edge of the view; being near, it passes a moving camera faster."""
    side = rng.choice([-1, 1])
    across, depth = rng.uniform(0.3, 1.2), rng.uniform(0.08, 0.25)
    if rng.random() < 0.5:
        center, half = (rng.uniform(-0.3, 0.3), side * 0.5 / aspect), (across, depth)
    else:
        center, half = (side * 0.5, rng.uniform(-0.3, 0.3)), (depth, across)
    sprite = draw_sprite(rng, surfaces, str(rng.choice(["blob", "box"])))
    ones = np.ones((count, 1))
    return Actor(sprite, ones * center, ones * half, np.zeros(count), rng.uniform(1, 1.8))


def _overlay(aspect: float, surfaces: Pixels, count: int, rng: np.random.Generator) -> Actor:
    """A caption or a logo that the camera can't move."""
    ones = np.ones((count, 1))
    half = rng.uniform([0.04, 0.02], [0.3, 0.07]) * ones
    center = rng.choice([-1, 1], 2) * rng.uniform(0.25, 0.45, 2) * [1, 1 / aspect] * ones
    shape = "glyphs" if rng.random() < 0.7 else "ellipse"
    return Actor(draw_sprite(rng, surfaces, shape), center, half, np.zeros(count), 0.0)
