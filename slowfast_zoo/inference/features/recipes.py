"""How published sets of SlowFast features were made, to the frame; arithmetic only.

=============  ==========================  =======  ==============  =======  ================  =========
recipe         weights                     rate     window          hop      last window       written
=============  ==========================  =======  ==============  =======  ================  =========
clip           any                         as is    the clip spec's = window filled as spec's  float32
qvhighlights   R50 8x8 of PySlowFast       30       2 s             2 s      padded            float16
ego4d          R101 8x8 of PyTorchVideo    as is    32/30 s         16/30 s  moved back        float32
=============  ==========================  =======  ==============  =======  ================  =========

Source: HERO_Video_Feature_Extractor (https://github.com/linjieli222/HERO_Video_Feature_Extractor,
``slowfast/extract_feature``), whose features QVHighlights and Moment-DETR use; ``ego4d/features`` of
https://github.com/facebookresearch/Ego4d.
"""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from slowfast_zoo.errors import InputError, UnknownNameError, did_you_mean, quoted
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.sampling import Indices, linspace

RecipeName = Literal["clip", "qvhighlights", "ego4d"]
FloatType = Literal["float32", "float16"]

_GRAY = (0.45, 0.45, 0.45)
_SAME_TICK = 1e-6
"""Of a frame's time: seconds are rounded on their way, and half a tick goes up."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureRecipe:
    """What decides about a set of features, beside the weights."""

    name: RecipeName
    """What it is called here."""
    model: str | None
    """NAME:TAG of the weights that the published features were made with; None: any."""
    clip_spec: ClipSpec | None
    """How a window becomes a clip; None: as the weights' own."""
    hop: Fraction | None
    """Seconds between two windows; None: a window's length."""
    dtype: FloatType
    """Of what is written."""
    format: Literal["npz", "pt"]
    """Of the file that the readers of these features take."""


RECIPES: dict[RecipeName, FeatureRecipe] = {
    recipe.name: recipe
    for recipe in (
        FeatureRecipe(name="clip", model=None, clip_spec=None, hop=None, dtype="float32", format="npz"),
        FeatureRecipe(
            name="qvhighlights",
            model="slowfast_r50_8x8x1:pyslowfast/k400",
            # The frames come resized, and chosen by ``qvhighlights_frames``.
            clip_spec=ClipSpec(
                sampling="pyslowfast",
                short_video="repeat_last",
                size=224,
                test_crop=224,
                mean=_GRAY,
                std=(0.225 + 1e-8,) * 3,
                pixel_range="0-1",
            ),
            hop=Fraction(2),
            dtype="float16",
            format="npz",
        ),
        FeatureRecipe(
            name="ego4d",
            model="slowfast_r101_8x8x1:pytorchvideo/k400",
            clip_spec=ClipSpec(
                frame_stride=1,
                time_base="seconds",
                fps=30,
                sampling="pytorchvideo",
                short_video="stretch",
                resize="float-bilinear",
                crop_rule="uniform",
                mean=_GRAY,
                std=(0.225,) * 3,
                pixel_range="0-1",
            ),
            hop=Fraction(16, 30),
            dtype="float32",
            format="pt",
        ),
    )
}

QVHIGHLIGHTS_FPS = 30
_QVHIGHLIGHTS_CLIP = 2 * QVHIGHLIGHTS_FPS
_QVHIGHLIGHTS_SPAN = 64
"""Source frames of a clip of 32 frames, every second one."""


def find_recipe(name: str) -> FeatureRecipe:
    """The recipe of that name.

    Raises:
        UnknownNameError: there is none.
    """
    names = get_args(RecipeName)
    if name not in names:
        raise UnknownNameError(
            f"There is no recipe '{name}'.{did_you_mean(str(name), names)} Accepted: {quoted(names)}."
        )
    return next(recipe for recipe in RECIPES.values() if recipe.name == name)


def at_rate(begins: npt.ArrayLike, end: float, fps: int) -> Indices:
    """Which frame ffmpeg's ``fps`` filter shows at each tick of a constant rate, int64 of shape (ticks,).

    At each tick the last frame whose begin, rounded to ticks, isn't behind it; the first one before that::

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
    No clip begins behind the duration, rounded up to whole clips.

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
    window, hop = Fraction(32, 30), Fraction(16, 30)
    if duration <= window:
        return [Fraction(0)]
    whole = int((duration - window) // hop) + 1
    starts = [index * hop for index in range(whole)]
    rest = duration - window - starts[-1]
    return [*starts, duration - window] if rest > _SAME_TICK else starts


def center_seconds(row: int, *, window_frames: int, hop_frames: int, fps: float | Fraction) -> float:
    """The middle of a window in seconds, as ActionFormer reads feature files.

    Source: ``actionformer_release`` (https://github.com/happyharrycn/actionformer_release).
    """
    return float((row * hop_frames + Fraction(window_frames, 2)) / Fraction(fps))
