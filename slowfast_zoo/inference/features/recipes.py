"""How published sets of SlowFast features were made, to the frame; arithmetic only.

    recipe         weights                     rate     window          hop      last window       written
    clip           any                         as is    a clip's        window   moved back        float32
    qvhighlights   R50 8x8 of PySlowFast       30       2 s             2 s      padded            float16
    ego4d          R101 8x8 of PyTorchVideo    as is    32/30 s         16/30 s  moved back        float32

Source: HERO_Video_Feature_Extractor (https://github.com/linjieli222/HERO_Video_Feature_Extractor,
``slowfast/extract_feature``), whose features QVHighlights and Moment-DETR use; ``ego4d/features`` of
https://github.com/facebookresearch/Ego4d.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from slowfast_zoo.errors import InputError, unknown_name
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.rules import Indices, linspace

RecipeName = Literal["clip", "qvhighlights", "ego4d"]
FloatType = Literal["float32", "float16"]
Layer = Literal["pooled", "slow", "fast", "maps"]
FeatureFormat = Literal["npz", "npy", "pt", "safetensors"]

_SAME_TICK = 1e-6
"""Of a frame's time: seconds are rounded on their way, and half a tick goes up."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureRecipe:
    """What decides about a published set of features, beside the weights."""

    model: str
    """NAME:TAG of the weights that it was made with."""
    frames: str
    """Which frames a window takes, in words."""
    last: str
    """What becomes of the last window, in words."""
    picture: str
    """How a frame becomes an input, in words."""
    clip_spec: ClipSpec
    """How chosen frames become a clip."""
    window: Fraction
    """Seconds."""
    hop: Fraction
    """Seconds between the begins of two windows."""
    fps: int | None
    """Frames per second that the video is brought to; None: it stays as it is."""
    dtype: FloatType
    """Of what is written."""
    format: Literal["npz", "pt"]
    """Of the files that the readers of these features take."""


_CHOSEN = ClipSpec(
    frame_stride=1,
    sampling="pytorchvideo",
    crop_rule="uniform",
    mean=(0.45, 0.45, 0.45),
    std=(0.225,) * 3,
    pixel_range="0-1",
)

EGO4D_WINDOW, EGO4D_HOP = Fraction(32, 30), Fraction(16, 30)
"""Seconds."""
QVHIGHLIGHTS_FPS, QVHIGHLIGHTS_SIDE = 30, 224

RECIPES: dict[str, FeatureRecipe] = {
    "qvhighlights": FeatureRecipe(
        model="slowfast_r50_8x8x1:pyslowfast/k400",
        frames="32 by linspace over 64 frames of the source's rate, rounded down (the published slip), in 60"
        " frames at 30 per second",
        last="pad: the last frame fills up its second, the last second its window",
        picture="libswscale's bicubic, shorter side 224, sides truncated, center crop 224",
        # Frames come resized; 1e-8 as in (x / 255 - 0.45) / (0.225 + 1e-8).
        clip_spec=_CHOSEN.replace(
            size=QVHIGHLIGHTS_SIDE,
            test_crop=QVHIGHLIGHTS_SIDE,
            std=(0.225 + 1e-8,) * 3,
            crop_rule="three-crop",
        ),
        window=Fraction(2),
        hop=Fraction(2),
        fps=QVHIGHLIGHTS_FPS,
        dtype="float16",
        format="npz",
    ),
    "ego4d": FeatureRecipe(
        model="slowfast_r101_8x8x1:pytorchvideo/k400",
        frames="32 evenly of those that begin in the window",
        last="move_back",
        picture="normalized, then bilinear, shorter side 256, center crop 256",
        clip_spec=_CHOSEN.replace(resize="float-bilinear"),
        window=EGO4D_WINDOW,
        hop=EGO4D_HOP,
        fps=None,
        dtype="float32",
        format="pt",
    ),
}

_SAME_TIME = Fraction(1, 1000)
"""Seconds that time stamps of a container are off by rounding."""

_QVHIGHLIGHTS_CLIP = 2 * QVHIGHLIGHTS_FPS
_QVHIGHLIGHTS_SPAN = 64
"""Source frames of a clip of 32 frames, every second one."""


def find_recipe(name: str) -> FeatureRecipe | None:
    """The recipe of that name; None for "clip", which is the weights' own clip spec.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in get_args(RecipeName):
        raise unknown_name(f"There is no recipe '{name}'.", name, get_args(RecipeName))
    return RECIPES.get(name)


def check_recipe(name: str, frames: int | None, wishes: Mapping[str, Any]) -> None:
    """Refuses what a published recipe decides itself, and clips that the model doesn't take.

    Args:
        name: the recipe's.
        frames: that the model takes; None: nobody knows yet.
        wishes: arguments that a recipe decides about, by name; None, and "quick" for views, is no wish.

    Raises:
        InputError: says which.
        UnknownNameError: there is no such recipe.
    """
    recipe = find_recipe(name)
    if recipe is None:
        return
    for wish, value in wishes.items():
        if value is not None and not (wish == "views" and value == "quick"):
            raise InputError(
                f"The recipe '{name}' decides about {wish}= itself: leave it out, or take the recipe 'clip'."
            )
    taken = recipe.clip_spec.num_frames
    if frames is not None and frames != taken:
        raise InputError(
            f"The recipe '{name}' makes clips of {taken} frames, and this model takes {frames}; it was made"
            f" with {recipe.model}."
        )


def at_rate(begins: npt.ArrayLike, end: float, fps: int) -> Indices:
    """Which frame ffmpeg's ``fps`` filter shows at each tick of a constant rate, int64 of shape (ticks,).

    At each tick the last frame whose begin, rounded to ticks, isn't after it; the first one before that:

        begins 0, 1/25, 2/25 ... at 30 per second    0 1 2 2 3 4 5 6 7 7 8 ...
        begins 0, 1/60, 2/60 ... at 30 per second    0 2 4 6 ...   (halves go up: frame 1 is shown at tick 1)

    Args:
        begins: when each frame begins to be shown, in seconds from the begin of the file, increasing.
        end: when the last one ends.
        fps: ticks per second.

    Source: ``vf_fps.c`` of FFmpeg, with its defaults.
    """
    ticks = np.floor(np.asarray(begins, dtype=np.float64) * fps + (0.5 + _SAME_TICK)).astype(np.int64)
    count = max(math.floor(end * fps + (0.5 + _SAME_TICK)), 1)
    shown: Indices = np.maximum(np.searchsorted(ticks, np.arange(count), side="right") - 1, 0)
    return shown


def qvhighlights_frames(source_fps: float | Fraction) -> Indices:
    """The 32 frames of a clip of two seconds at 30 frames per second, each in 0..59, int64.

    The clip spans 64 frames *of the source's rate*, rounded down, although the frames were brought to 30 per
    second before: a slip that all published features have. A source of 25 spans 52.3 of the 60 frames; one of
    30 asks for 64 and repeats the last; one of 60 takes more than half of its frames from there.
    """
    end = _QVHIGHLIGHTS_SPAN * math.floor(source_fps) / QVHIGHLIGHTS_FPS - 1
    # A source below one frame per second would count backwards.
    places = linspace(0.0, max(end, -1.0), 32)
    return np.clip(places, 0, _QVHIGHLIGHTS_CLIP - 1).astype(np.int64)


def qvhighlights_clips(count: int, source_fps: float | Fraction, duration: float | None) -> Indices:
    """The frames of every clip, int64 of shape (clips, 32), as numbers of ``count`` frames at 30 per second.

    The last second is filled up with the last frame, and a clip that lacks a second gets that second again.
    No clip begins after the duration, rounded up to whole clips.

    Args:
        count: frames at 30 per second, at least 1.
        source_fps: frames per second of the file.
        duration: seconds that the file says its picture takes; None where it says nothing.

    Raises:
        InputError: no frames.
    """
    if count < 1:
        raise InputError(f"A video of {count} frames has no clips; accepted: at least 1.")
    seconds = -(-count // QVHIGHLIGHTS_FPS)
    clips = -(-seconds // 2)
    if duration is not None and duration > 0:
        clips = min(clips, math.ceil(duration / 2))
    places = np.arange(clips)[:, None] * _QVHIGHLIGHTS_CLIP + qvhighlights_frames(source_fps)
    places = np.where(places >= seconds * QVHIGHLIGHTS_FPS, places - QVHIGHLIGHTS_FPS, places)
    clamped: Indices = np.minimum(places, count - 1)
    return clamped


def ego4d_starts(duration: Fraction) -> list[Fraction]:
    """When each window of 32/30 s begins, in seconds; the last one is moved back to end with the video.

    A video of N frames at 30 per second has (N - 32) // 16 + 1 windows, one more where a rest is left, and
    one where it is shorter than a window.

    Source: ``UniformClipSampler(backpad_last=True)`` of PyTorchVideo.
    """
    if duration <= EGO4D_WINDOW:
        return [Fraction(0)]
    room = duration - EGO4D_WINDOW
    starts = [index * EGO4D_HOP for index in range(int((room + _SAME_TIME) // EGO4D_HOP) + 1)]
    return [*starts, room] if room - starts[-1] > _SAME_TIME else starts


def ego4d_clips(begins: npt.ArrayLike, starts: Sequence[Fraction]) -> Indices:
    """The frames of every window, int64 of shape (windows, 32): evenly from those that begin inside it.

    At 30 frames per second these are 32 consecutive frames; one is repeated where a window has fewer.

    Args:
        begins: when each frame begins to be shown, in seconds from the first one, increasing.
        starts: what ``ego4d_starts`` gives.

    Source: ``EncodedVideo.get_clip`` and ``UniformTemporalSubsample`` of PyTorchVideo.
    """
    times = np.asarray(begins, dtype=np.float64) + float(_SAME_TIME)
    rows = []
    for start in starts:
        first, stop = np.searchsorted(times, [float(start), float(start + EGO4D_WINDOW)])
        first = min(first, len(times) - 1)
        rows.append(first + linspace(0, max(stop - first, 1) - 1, 32).astype(np.int64))
    return np.stack(rows)
