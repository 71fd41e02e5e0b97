"""Pictures to film, and objects to move in front of them, all made from random numbers.

Natural pictures have 1/f spectra, occluding edges at every scale, flat areas and shading. The scenes
have them too: fields of noise under "dead leaves" (shapes of power-law size that cover each other;
Source: Lee, Mumford and Huang 2001, https://doi.org/10.1023/A:1011109015675), with light falling over all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from slowfast_zoo.data.motion.camera import log_uniform

Field = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

SCENE_SIDE = 384
"""Pixels of a scene's sides: filmed at 112 pixels, views reach from sharp to aliased like resized video."""
SPRITE_SIDE = 96
"""Pixels of a sprite's sides."""


def draw_scene(rng: np.random.Generator) -> Pixels:
    """A random picture, uint8 (3, SCENE_SIDE, SCENE_SIDE)."""
    side = SCENE_SIDE
    picture = _paint(_field(rng, side), rng)
    if rng.random() < 0.5:
        horizon = _smoothstep((_ramp(side, rng.uniform(-0.3, 0.3)) - rng.uniform(0.25, 0.75)) * side / 2)
        picture += horizon * (_paint(_field(rng, side), rng) - picture)
    stock = [_paint(_field(rng, side), rng) for _ in range(3)]
    for radius in _leaf_radii(rng, side):
        _drop_leaf(picture, stock[rng.integers(3)], radius, rng)
    for _ in range(rng.integers(0, 4)):
        _write(picture, rng)
    clouds, slope = _fractal(rng, side, 3.0) - 0.5, _ramp(side, rng.uniform(-3, 3)) - 0.5
    light = 1 + rng.uniform(0, 0.5) * clouds + rng.uniform(-0.4, 0.4) * slope
    return np.clip(picture * light, 0, 255).astype(np.uint8)


def draw_sprite(rng: np.random.Generator, scene: Pixels, shape: str) -> Field:
    """A patch of a scene cut out in some shape, float32 (4, SPRITE_SIDE, SPRITE_SIDE): RGB 0-255, alpha 0-1.

    Args:
        rng: source of all chance.
        scene: uint8 (3, H, W) whose patch, recolored, is the object's surface.
        shape: "ellipse", "box", "blob" or "glyphs".
    """
    _, height, width = scene.shape
    step = int(rng.integers(1, 4))
    top, left = (
        rng.integers(0, height - step * SPRITE_SIDE + 1),
        rng.integers(0, width - step * SPRITE_SIDE + 1),
    )
    patch = scene[:, top : top + step * SPRITE_SIDE : step, left : left + step * SPRITE_SIDE : step]
    tint = rng.uniform(0, 255, (3, 1, 1))
    surface = patch * rng.uniform(0.2, 1) + tint * rng.uniform(0, 0.6)
    y, x = _grid(SPRITE_SIDE)
    edge, border = rng.uniform(4, 24), 1 - np.maximum(np.abs(x), np.abs(y))
    if shape == "ellipse":
        alpha = (1 - np.hypot(x, y)) * edge
    elif shape == "box":
        alpha = border * edge
    elif shape == "blob":
        ragged = np.hypot(x, y) * (1 + 1.2 * (_fractal(rng, SPRITE_SIDE, 2.5) - 0.3))
        alpha = np.minimum(1 - ragged, border) * edge
    else:
        surface = np.broadcast_to(tint, surface.shape)
        alpha = _glyphs(rng, SPRITE_SIDE) * border * 30
    return np.concatenate([np.clip(surface, 0, 255), np.clip(alpha, 0, 1)[None]]).astype(np.float32)


def _grid(side: int) -> tuple[Any, Any]:
    """Open grids of -1 to 1 down and right."""
    line = np.linspace(-1, 1, side, dtype=np.float32)
    return line[:, None], line[None, :]


def _ramp(side: int, angle: float) -> Field:
    """A gradient from about 0 to 1, down the picture, turned by that many radians."""
    y, x = _grid(side)
    ramp: Field = (0.5 + 0.5 * (np.cos(angle) * y + np.sin(angle) * x)).astype(np.float32)
    return ramp


def _smoothstep(values: npt.NDArray[Any]) -> Field:
    """0 below -0.5, 1 above 0.5, smooth between."""
    clipped = np.clip(values + 0.5, 0, 1)
    result: Field = (clipped * clipped * (3 - 2 * clipped)).astype(np.float32)
    return result


def _fractal(rng: np.random.Generator, side: int, slope: float) -> Field:
    """Noise whose amplitude falls with frequency to the power of slope / 2 + 0.5, between 0 and 1."""
    rows = np.fft.fftfreq(side)[:, None]
    columns = np.fft.rfftfreq(side)[None, :]
    frequency = np.hypot(rows, columns).astype(np.float32)
    frequency[0, 0] = np.inf
    phases = rng.random(frequency.shape, dtype=np.float32) * np.float32(2 * np.pi)
    amplitudes = (frequency ** -(slope / 2 + 0.5)).astype(np.float32)
    spectrum = amplitudes * np.exp(np.complex64(1j) * phases)
    return _stretch(np.fft.irfft2(spectrum, s=(side, side)).astype(np.float32))


def _octaves(rng: np.random.Generator, side: int) -> Field:
    """Value noise: random lattices, each finer and weaker than the last, between 0 and 1."""
    total = np.zeros((side, side), dtype=np.float32)
    cells = int(rng.integers(2, 7))
    gain = rng.uniform(0.45, 0.85)
    weight = 1.0
    while cells < side:
        lattice = torch.from_numpy(rng.random((1, 1, cells, cells), dtype=np.float32))
        smooth = torch.nn.functional.interpolate(
            lattice, size=(side, side), mode="bilinear", align_corners=False
        )
        total += np.float32(weight) * smooth[0, 0].numpy()
        cells, weight = cells * 2, weight * gain
    return _stretch(total)


def _pattern(rng: np.random.Generator, side: int) -> Field:
    """Stripes, checks or bricks, turned, bent a little and never without noise, between 0 and 1."""
    y, x = _grid(side)
    angle, bend = rng.uniform(0, np.pi), _fractal(rng, side, 2.5)
    across = np.cos(angle) * x + np.sin(angle) * y + rng.uniform(0, 0.2) * bend
    along = np.cos(angle) * y - np.sin(angle) * x
    waves = log_uniform(rng, 2, 20) * np.pi
    kind = rng.integers(4)
    if kind == 0:
        regular = np.sin(waves * across)
    elif kind == 1:
        regular = np.sign(np.sin(waves * across)) * np.sign(np.sin(waves * along))
    elif kind == 2:
        shift = np.pi * (np.floor(waves * along / np.pi) % 2)
        upright = np.abs(np.sin(waves * across / 2 + shift / 2)) < 0.15
        regular = np.maximum(upright, np.abs(np.sin(waves * along)) < 0.2)
    else:
        regular = np.sign(np.sin(waves * across) + rng.uniform(-0.8, 0.8))
    # A picture of stripes alone looks the same after a pan along them, so there is always noise.
    noise = rng.uniform(1.2, 3) * _octaves(rng, side)
    return _stretch((regular * rng.uniform(0.1, 1) + noise).astype(np.float32))


def _field(rng: np.random.Generator, side: int) -> Field:
    """A gray texture between 0 and 1."""
    kind = rng.random()
    if kind < 0.45:
        return _fractal(rng, side, rng.uniform(0.6, 2.6))
    if kind < 0.7:
        return _octaves(rng, side)
    if kind < 0.85:
        return _pattern(rng, side)
    return _stretch(
        _ramp(side, rng.uniform(-3, 3)) + np.float32(rng.uniform(0.05, 0.4)) * _fractal(rng, side, 1.2)
    )


def _stretch(values: Field) -> Field:
    """The values mapped linearly so that the lowest is 0 and the highest 1."""
    low, high = values.min(), values.max()
    stretched: Field = (values - low) / max(high - low, np.float32(1e-6))
    return stretched


def _paint(field: Field, rng: np.random.Generator) -> Field:
    """A gray texture in colors, float32 (3, H, W), 0 to 255: dark and light blend through the field."""
    colorful = rng.uniform(0, 1) ** 2
    base = rng.uniform(20, 235) + colorful * rng.uniform(-127, 127, (3, 1, 1))
    spread = rng.choice([-1, 1]) * log_uniform(rng, 20, 220) + colorful * rng.normal(0, 60, (3, 1, 1))
    painted: Field = (base + spread * (field - field.mean())).astype(np.float32)
    return painted


def _leaf_radii(rng: np.random.Generator, side: int) -> Field:
    """Radii in pixels, largest first; their density falls with the third power of the radius."""
    count = int(log_uniform(rng, 12, 160))
    smallest, largest = 0.012 * side, rng.uniform(0.15, 0.4) * side
    u = rng.random(count)
    radii = ((1 - u) * smallest**-2 + u * largest**-2) ** -0.5
    result: Field = np.sort(radii)[::-1].astype(np.float32)
    return result


def _drop_leaf(picture: Field, texture: Field, radius: float, rng: np.random.Generator) -> None:
    """Covers a random place of the picture, in place, with a shape of that texture, recolored."""
    side = picture.shape[-1]
    center_x, center_y = rng.uniform(0, side, 2)
    half_x, half_y = radius * rng.uniform(0.4, 1.6, 2)
    reach = int(1.45 * max(half_x, half_y)) + 2
    left, right = max(int(center_x) - reach, 0), min(int(center_x) + reach, side)
    top, bottom = max(int(center_y) - reach, 0), min(int(center_y) + reach, side)
    if right <= left or bottom <= top:
        return
    x = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(center_x)
    y = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(center_y)
    angle = rng.uniform(0, np.pi) if rng.random() < 0.5 else 0.0
    u = np.abs(np.cos(angle) * x + np.sin(angle) * y) / half_x
    v = np.abs(np.cos(angle) * y - np.sin(angle) * x) / half_y
    kind = rng.integers(3)
    distance = np.maximum(u, v) if kind == 0 else u + v if kind == 1 else np.hypot(u, v)
    alpha = np.clip((1 - distance) * max(radius, 2) * rng.uniform(0.3, 1) + 0.5, 0, 1)
    shift = (rng.normal(0, 60) + rng.normal(0, 15, (3, 1, 1))).astype(np.float32)
    patch = texture[:, top:bottom, left:right] + shift
    window = picture[:, top:bottom, left:right]
    window += alpha.astype(np.float32) * (patch - window)


def _glyphs(rng: np.random.Generator, side: int) -> Field:
    """Rows of letter-like marks: 0 is ground and 1 is ink."""
    cell = int(rng.integers(2, 5))
    cells = side // cell + 1
    ink = rng.random((cells, cells)) < 0.55
    ink[:: int(rng.integers(4, 8))] = False
    ink[:, :: int(rng.integers(3, 6))] = False
    return np.kron(ink, np.ones((cell, cell)))[:side, :side].astype(np.float32)


def _write(picture: Field, rng: np.random.Generator) -> None:
    """Puts a block of letter-like marks somewhere on the picture, in place."""
    side = picture.shape[-1]
    ink = _glyphs(rng, side)
    width, height = rng.integers(side // 12, side // 2), rng.integers(side // 24, side // 5)
    left, top = rng.integers(0, side - width), rng.integers(0, side - height)
    window = picture[:, top : top + height, left : left + width]
    color = rng.uniform(0, 255, (3, 1, 1)).astype(np.float32)
    window += ink[:height, :width] * (color - window)
