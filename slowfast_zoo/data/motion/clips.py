"""The camera-motion dataset: endless random clips of ten camera motions, and a camera for real pictures.

Clip ``i`` of a seed is always the same clip. What a class means, and how far apart the classes are, is
written beside the ranges in ``camera``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from slowfast_zoo.data.motion.actors import draw_cast, paste
from slowfast_zoo.data.motion.camera import CAMERA_MOTIONS, Floats, draw_path, fit_view, log_uniform, warp
from slowfast_zoo.data.motion.footage import Frames, record, to_bytes
from slowfast_zoo.data.motion.scenes import Pixels, draw_scene
from slowfast_zoo.errors import InputError

__all__ = ["CAMERA_MOTIONS", "MotionClips", "film"]

ASPECTS = (16 / 9, 16 / 9, 4 / 3, 4 / 3, 5 / 4, 1.0, 3 / 4, 9 / 16)
"""Width per height of the videos that are imitated; common ones twice."""
RECORDING_FPS = (15.0, 60.0)
"""Frame rates of the videos that are imitated, log-uniform."""
PLAIN_STEPS = 3.0
"""Least motion of a plain clip, in the steps of ``camera``: a pan over 12 % of the width, say."""


class MotionClips(torch.utils.data.Dataset[tuple[Frames, int]]):
    """Random clips with the label of their camera motion; clip ``i`` has label ``i % 10``.

    A clip is what a model would be given of a longer recording: frames about ``1 / fps`` apart, each the
    nearest that a recording of some other rate has. The motion is complete from the first to the last.

    Attributes:
        labels: ``CAMERA_MOTIONS``, which the labels count.
    """

    labels = CAMERA_MOTIONS

    def __init__(
        self,
        length: int,
        *,
        size: int | tuple[int, int] = 112,
        num_frames: int = 16,
        fps: float = 10.0,
        seed: int = 0,
        scenes: int = 256,
        plain: float = 0.0,
    ) -> None:
        """
        Args:
            length: how many clips there are.
            size: (width, height) of the frames in pixels; one number gives squares into which pictures of
                many aspects are squeezed, as a ``ClipSpec`` whose size is (number, number) does.
            num_frames: frames per clip, at least 2.
            fps: frames per second of the clip.
            seed: chooses the scenes and the clips.
            scenes: how many pictures are filmed, again and again from other places; each is made when
                first needed and kept (432 KiB each).
            plain: share of clips (0 to 1) with nobody in the picture, a perfect recording and a motion of
                at least ``PLAIN_STEPS`` steps. From these a network that starts from nothing learns sooner
                what to look for: the recipe ends at 96.9 % with 0.4 of them, at 93.9 % without.

        Raises:
            InputError: a number out of range.
        """
        for name, value, least in (
            ("length", length, 0),
            ("num_frames", num_frames, 2),
            ("seed", seed, 0),
            ("scenes", scenes, 1),
        ):
            if value < least:
                raise InputError(f"{name} is {value}; accepted: an integer of at least {least}.")
        if not 0 < fps <= 1000:
            raise InputError(f"fps is {fps}; accepted: a number above 0 to 1000.")
        if not 0 <= plain <= 1:
            raise InputError(f"plain is {plain}; accepted: a share from 0 to 1.")
        self.length, self.num_frames, self.fps, self.seed, self.scenes = length, num_frames, fps, seed, scenes
        self.plain = plain
        self.size, self.squeezed = _frame_size(size), isinstance(size, int)
        self._scene = self._scene_cache()

    def _scene_cache(self) -> Callable[[int], Pixels]:
        # The second number keeps the streams of scenes and of clips apart.
        return functools.cache(lambda number: draw_scene(np.random.default_rng([self.seed, 1, number])))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_scene"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._scene = self._scene_cache()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Frames, int]:
        """The clip, uint8 RGB (num_frames, height, width, 3), and its label."""
        if not 0 <= index < self.length:
            raise IndexError(f"Clip {index} doesn't exist; there are {self.length}, from 0.")
        label = index % len(CAMERA_MOTIONS)
        rng = np.random.default_rng([self.seed, 0, index])
        aspect = float(rng.choice(ASPECTS)) if self.squeezed else self.size[0] / self.size[1]
        size = self.size
        if self.plain and rng.random() < self.plain:
            seconds = moments(self.num_frames, self.fps, 1, rng)[:, 0]
            return to_bytes(self._shoot(CAMERA_MOTIONS[label], seconds, aspect, size, rng, plain=True)), label
        if rng.random() < 0.3:
            shrink = rng.uniform(0.35, 0.9)
            size = (max(int(size[0] * shrink), 8), max(int(size[1] * shrink), 8))
        exposures = 3 if rng.random() < 0.15 else 1
        seconds = moments(self.num_frames, self.fps, exposures, rng)
        frames = self._shoot(CAMERA_MOTIONS[label], seconds.reshape(-1), aspect, size, rng)
        if exposures > 1:
            frames = frames.view(*seconds.shape, *frames.shape[1:]).mean(1)
        return record(frames, self.size, rng), label

    def _shoot(
        self,
        motion: str,
        seconds: Floats,
        aspect: float,
        size: tuple[int, int],
        rng: np.random.Generator,
        *,
        plain: bool = False,
    ) -> torch.Tensor:
        """Scene and cast at those moments, float32 (T, 3, height, width)."""
        scene = rearranged(self._scene(int(rng.integers(self.scenes))), rng)
        path = draw_path(motion, seconds, rng, least=PLAIN_STEPS if plain else 1.0)
        maps = fit_view(path, aspect, scene.shape[:0:-1], log_uniform(rng, 0.45, 1), rng)
        frames = warp(torch.from_numpy(scene).float(), maps, size)
        if plain:
            return frames
        surfaces = self._scene(int(rng.integers(self.scenes)))
        for actor in draw_cast(path, aspect, surfaces, seconds, rng):
            paste(frames, actor, path, aspect)
        return frames


def film(
    picture: npt.NDArray[np.uint8],
    motion: str,
    rng: np.random.Generator,
    *,
    num_frames: int = 16,
    fps: float = 10.0,
    size: int | tuple[int, int] = 112,
) -> Frames:
    """What a virtual camera sees that moves over a picture or a video: uint8 (T, height, width, 3).

    Args:
        picture: uint8 RGB (H, W, 3), or (T, H, W, 3) to film one frame after the other.
        motion: one of ``CAMERA_MOTIONS``; it is complete between the first and the last frame.
        rng: chooses where in the picture, how far and how evenly.
        num_frames: frames to film, at least 2; with a video, its T or fewer.
        fps: their rate, which says how fast a shaking camera shakes.
        size: (width, height) in pixels; one number gives squares into which a view of the picture's
            own aspect is squeezed.

    Raises:
        InputError: a picture of another shape or type, or too few frames.
        UnknownNameError: there is no such motion.
    """
    colored = picture.ndim in (3, 4) and picture.shape[-1] == 3
    if picture.dtype != np.uint8 or not colored or 0 in picture.shape:
        raise InputError(
            f"A {picture.dtype} picture {picture.shape} was given; accepted: uint8 (H, W, 3) or (T, H, W, 3)."
        )
    available = len(picture) if picture.ndim == 4 else num_frames
    if not 2 <= num_frames <= available:
        raise InputError(f"num_frames is {num_frames}; accepted: 2 to {available}.")
    height, width = picture.shape[-3:-1]
    frame_size = _frame_size(size)
    aspect = width / height if isinstance(size, int) else frame_size[0] / frame_size[1]
    path = draw_path(motion, np.arange(num_frames) / fps, rng)
    maps = fit_view(path, aspect, (width, height), rng.uniform(0.6, 1), rng)
    source = torch.from_numpy(np.ascontiguousarray(picture)).movedim(-1, -3).float()
    # Bilinear sampling skips pixels when it shrinks; averaging first keeps thin lines from flickering.
    skipped = int(min(maps[0, 0, 0] * width / frame_size[0], maps[0, 1, 1] * height / frame_size[1]))
    if skipped > 1:
        source = torch.nn.functional.avg_pool2d(source, min(skipped, width, height))
    frames = warp(source[:num_frames] if source.ndim == 4 else source, maps, frame_size)
    return to_bytes(frames)


def _frame_size(size: int | tuple[int, int]) -> tuple[int, int]:
    width, height = (size, size) if isinstance(size, int) else size
    if min(width, height) < 8:
        raise InputError(f"size is {size}; accepted: 8 pixels or more, or (width, height) of 8 or more.")
    return width, height


def moments(count: int, fps: float, exposures: int, rng: np.random.Generator) -> Floats:
    """When each frame was exposed, float64 (count, exposures), in seconds: a recording of some other rate
    has frames only at its own ticks, so that some of a clip's are late, and repeated if it is slower."""
    rate = log_uniform(rng, *RECORDING_FPS)
    ticks = np.floor((np.arange(count) / fps + rng.random() / fps) * rate)
    if rng.random() < 0.05:
        dropped = rng.integers(1, count)
        ticks[dropped] = ticks[dropped - 1]
    shutter = rng.uniform(0.3, 1) * np.arange(exposures) / max(exposures, 1)
    seconds: Floats = (ticks[:, None] + shutter) / rate
    return seconds


def rearranged(scene: Pixels, rng: np.random.Generator) -> Pixels:
    """The scene turned by quarters, mirrored, with its colors exchanged and perhaps inverted: a scene that
    is filmed often shouldn't be known by heart."""
    scene = np.rot90(scene[rng.permutation(3)], int(rng.integers(4)), (1, 2))
    if rng.random() < 0.5:
        scene = scene[:, :, ::-1]
    return np.ascontiguousarray(255 - scene if rng.random() < 0.5 else scene)
