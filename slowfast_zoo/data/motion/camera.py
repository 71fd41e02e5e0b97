"""The virtual camera: which motions there are, how far each goes, and the warp that films a picture.

Coordinates: the unit is the width of the view at zoom 1; x points right, y points down, angles are
clockwise. Directions are the camera's, so the content of the picture goes the other way.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import torch

from slowfast_zoo.errors import InputError, UnknownNameError, did_you_mean, quoted

Floats = npt.NDArray[np.float64]

CAMERA_MOTIONS: tuple[str, ...] = (
    "static",
    "pan left",
    "pan right",
    "tilt up",
    "tilt down",
    "zoom in",
    "zoom out",
    "roll clockwise",
    "roll counter-clockwise",
    "shake",
)
"""The classes, in the order of their labels."""

_AXIS_AND_SIGN: dict[str, tuple[int, int]] = {
    "pan left": (0, -1),
    "pan right": (0, 1),
    "tilt up": (1, -1),
    "tilt down": (1, 1),
    "zoom in": (2, 1),
    "zoom out": (2, -1),
    "roll clockwise": (3, 1),
    "roll counter-clockwise": (3, -1),
}

SMALLEST = np.array([0.04, 0.04, math.log(1.05), math.radians(3.0)])
"""The least that counts as a motion, from first to last frame: view widths right, view widths down,
log of the zoom factor, radians clockwise. One *step* below is this much."""
LARGEST = np.array([0.40, 0.40, math.log(1.6), math.radians(30.0)])
"""The most that is drawn, in the same units."""
SHAKE = (0.01, 0.05)
"""Peak distance in view widths of a shaking camera from its middle."""

STRAY_STEPS = 0.125
"""How many steps of anything a static or shaking camera may drift."""
STRAY_SHARE = 0.15
"""How many steps of another motion may come with one step of the clip's own."""
TREMBLE = (0.0003, 0.0025)
"""Peak of the tremble that any camera may have: at most a quarter of the smallest shake."""
SHAKE_HERTZ = (1.5, 7.0)
"""Range of frequencies of shake and tremble."""
SHAKE_TURN = 0.6
"""Radians that a shaking camera turns, at most, per view width that it moves."""


@dataclasses.dataclass(frozen=True)
class CameraPath:
    """Where the camera is at each of T moments; every field is float64 (T,)."""

    x: Floats
    """View widths to the right of the middle of the path."""
    y: Floats
    """View widths below it."""
    zoom: Floats
    """Magnification, about 1."""
    angle: Floats
    """Radians clockwise."""

    def rotation(self) -> Floats:
        """(T, 2, 2) matrices that turn picture directions into scene directions, shrunk by the zoom."""
        cos, sin = np.cos(self.angle) / self.zoom, np.sin(self.angle) / self.zoom
        return np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)

    def center(self) -> Floats:
        """(T, 2) positions of the middle of the view."""
        return np.stack([self.x, self.y], -1)


def check_motion(motion: str) -> str:
    """The motion, if there is one of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if motion not in CAMERA_MOTIONS:
        near = did_you_mean(str(motion), CAMERA_MOTIONS)
        raise UnknownNameError(f"No camera motion '{motion}'; there are {quoted(CAMERA_MOTIONS)}.{near}")
    return motion


def draw_path(motion: str, seconds: Floats, rng: np.random.Generator, *, least: float = 1.0) -> CameraPath:
    """A random path of that class; how far it goes is log-uniform over the class's range.

    Args:
        motion: one of ``CAMERA_MOTIONS``.
        seconds: (..., T) moments; the motion is complete between the first and the last of them.
        rng: source of all chance.
        least: steps that the motion goes at least, 1 to 5; a shake goes as many times its least.
    """
    check_motion(motion)
    amounts = rng.uniform(-1, 1, 4)
    if motion in _AXIS_AND_SIGN:
        axis, sign = _AXIS_AND_SIGN[motion]
        steps = log_uniform(rng, least, LARGEST[axis] / SMALLEST[axis])
        amounts *= STRAY_SHARE * steps
        amounts[axis] = sign * steps
    else:
        amounts *= STRAY_STEPS
    pose = (_progress(seconds, rng) - 0.5)[..., None] * (amounts * SMALLEST)
    if motion == "shake":
        pose = pose + _oscillation(seconds, log_uniform(rng, least * SHAKE[0], SHAKE[1]), rng)
    elif rng.random() < 0.5:
        pose = pose + _oscillation(seconds, log_uniform(rng, *TREMBLE), rng)
    return CameraPath(pose[..., 0], pose[..., 1], np.exp(pose[..., 2]), pose[..., 3])


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number between low and high whose logarithm is uniform."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _progress(seconds: Floats, rng: np.random.Generator) -> Floats:
    """How much of the motion is done at each moment, 0 to 1: eased, perhaps starting or stopping inside."""
    start = rng.uniform(0, 0.3) if rng.random() < 0.4 else 0.0
    stop = rng.uniform(0.7, 1) if rng.random() < 0.4 else 1.0
    first, last = seconds.min(), seconds.max()
    done = (seconds - first) / max(last - first, 1e-9)
    done = np.clip((done - start) / (stop - start), 0, 1)
    power = rng.uniform(1, 1.8)
    easings: tuple[Floats, ...] = (done, done * done * (3 - 2 * done), done**power, 1 - (1 - done) ** power)
    return easings[rng.integers(len(easings))]


def _oscillation(seconds: Floats, peak: float, rng: np.random.Generator) -> Floats:
    """(..., 4) poses that swing about the middle and are ``peak`` view widths away from it at most."""
    moments = seconds[..., None, None]
    hertz = rng.uniform(*SHAKE_HERTZ, (4, 3))
    waves = np.sin(2 * np.pi * (hertz * moments + rng.random((4, 3)))) * rng.uniform(0.3, 1, (4, 3))
    swing = waves.sum(-1)
    swing -= swing.reshape(-1, 4).mean(0)
    swing[..., :2] *= rng.uniform(0.25, 1, 2)
    swing[..., 2] *= 0.15 * rng.random()
    swing[..., 3] *= SHAKE_TURN * rng.random()
    scaled: Floats = swing * (peak / max(np.hypot(swing[..., 0], swing[..., 1]).max(), 1e-9))
    return scaled


def fit_view(
    path: CameraPath, aspect: float, picture: tuple[int, int], coverage: float, rng: np.random.Generator
) -> Floats:
    """Affine maps (T, 2, 3) from the view to the picture, so placed that no frame looks outside it.

    Both sides are in the coordinates of ``torch.nn.functional.grid_sample``: -1 to 1, edge to edge.

    Args:
        path: the camera's path of T moments.
        aspect: width of the view per height.
        picture: (width, height) in pixels of what is filmed.
        coverage: part of the largest possible view to use, above 0 to 1.
        rng: chooses where in the picture.
    """
    maps: Floats = np.concatenate([path.rotation() * [0.5, 0.5 / aspect], path.center()[..., None]], -1)
    corners = np.abs(maps[..., :2]).sum(-1)
    low, high = (maps[..., 2] - corners).min(0), (maps[..., 2] + corners).max(0)
    size = np.array(picture, dtype=np.float64)
    pixels_per_unit = coverage * (size / (high - low)).min()
    slack = size - pixels_per_unit * (high - low)
    origin = rng.random(2) * slack - pixels_per_unit * low
    maps = maps * pixels_per_unit
    maps[..., 2] += origin
    maps *= (2 / size)[:, None]
    maps[..., 2] -= 1
    return maps


def warp(picture: torch.Tensor, maps: Floats, size: tuple[int, int]) -> torch.Tensor:
    """The picture seen through each map, bilinear: float32 (T, C, height, width).

    Args:
        picture: float32 (C, H, W), or (T, C, H, W) for one picture per moment.
        maps: (T, 2, 3) affine maps from view to picture, as ``fit_view`` gives them.
        size: (width, height) of the frames in pixels.
    """
    if picture.ndim == 4 and len(picture) != len(maps):
        raise InputError(f"{len(picture)} pictures were given for {len(maps)} moments; accepted: one each.")
    source = picture if picture.ndim == 4 else picture.expand(len(maps), *picture.shape)
    return torch.nn.functional.grid_sample(
        source,
        affine_grid(maps, _centers(size[0]), _centers(size[1])),
        padding_mode="border",
        align_corners=False,
    )


def affine_grid(maps: Floats, xs: torch.Tensor, ys: torch.Tensor) -> torch.Tensor:
    """Where each pixel of the view looks: float32 (T, len(ys), len(xs), 2).

    As ``torch.nn.functional.affine_grid``, for any part of the view, and 4 times as fast.
    """
    weights = torch.from_numpy(maps.astype(np.float32))[:, None, None]
    return (xs[:, None] * weights[..., 0] + weights[..., 2]) + (ys[:, None] * weights[..., 1])[:, 0, :, None]


def _centers(count: int) -> torch.Tensor:
    """Centers of that many pixels between -1 and 1."""
    return (torch.arange(count, dtype=torch.float32, device="cpu") + 0.5) * (2 / count) - 1
