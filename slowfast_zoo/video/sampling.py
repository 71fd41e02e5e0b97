"""Which frames of a video make a clip: every publisher's rule, as arithmetic on frame numbers.

Nothing here reads a video or imports torch. A video is a count of frames and, where the rule
looks at time, a frame rate; a clip is a row of frame numbers, 0 being the first frame that
decodes. ``s`` marks the frames of one clip below, ``.`` those that it skips::

    frame    0  1  2  3  4  5  6  7  8  9 10 11
    clip 0   s  .  s  .  s                            num_frames=3, frame_stride=2, clips=2,
    clip 1                        s  .  s  .  s       sampling="openmmlab-1.x"

Where a publisher computes in floating point, the same precision is used on purpose: its rounding
decides which frame is taken. Which frames of a clip the slow pathway sees belongs to the network:
see ``ModelSpec.slow_indices``.

Sources of the rules:
    OpenMMLab: ``SampleFrames`` of MMAction2 0.24.1 and 1.2.0 (https://github.com/open-mmlab/mmaction2).
    PySlowFast: ``slowfast/datasets`` (https://github.com/facebookresearch/SlowFast).
    PyTorchVideo: ``clip_sampling`` and ``uniform_temporal_subsample``
    (https://github.com/facebookresearch/pytorchvideo).
    GluonCV: ``VideoClsDataset`` (https://github.com/dmlc/gluon-cv).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

import numpy as np
import numpy.typing as npt

from slowfast_zoo.errors import InputError
from slowfast_zoo.spec import ClipSpec

Indices = npt.NDArray[np.int64]
Rate = float | Fraction | None
Start = int | float | Fraction

_RULES_OF_TIME = ("openmmlab-1.x", "pyslowfast", "pytorchvideo")


class Random(Protocol):
    """The two calls of ``numpy.random.Generator`` that sampling needs."""

    def integers(self, low: int, high: int, size: int) -> npt.NDArray[np.int64]:
        """``size`` integers from ``low`` to below ``high``."""

    def uniform(self, low: float, high: float, size: int) -> npt.NDArray[np.float64]:
        """``size`` numbers from ``low`` to ``high``."""


def clip_indices(spec: ClipSpec, num_frames: int, fps: Rate = None, clips: int | None = None) -> Indices:
    """The frames of the test clips, int64 of shape (clips, spec.num_frames), each in 0..num_frames-1.

    Starts of 10 clips of 32 frames, stride 2, in a video of 300 frames at 30 frames per second::

        openmmlab-0.x   11  35  59  82 106 130 154 177 201 225   middles of ten equal parts
        openmmlab-1.x    0  26  53  79 105 132 158 184 211 237   first to last possible start
        pyslowfast       0  23  47  70  94 118 141 165 188 212   never reaches the end
        pytorchvideo     0  27  53  79 105 132 158 184 210 236   in seconds, first to last
        gluoncv          0  26  52  78 104 130 156 182 208 236   on every second frame

    and inside a clip that starts at 0::

        openmmlab, gluoncv          0 2 4 ... 58 60 62
        pyslowfast, pytorchvideo    0 2 4 ... 58 60 63     evenly from the first to the last frame

    "pyslowfast-segments" cuts the video into ``num_frames`` parts and takes the middle of each, so
    all its clips are equal; "pyslowfast-charades" spreads starts like openmmlab-1.x.

    A clip that is longer than its video, here 5 frames at stride 2 of a video of 6 frames::

        loop          0 2 4 0 2      counts on from the first frame
        repeat_last   0 2 4 4 4      openmmlab and gluoncv: the clip's last frame that exists
                      0 2 4 5 5      pyslowfast and pytorchvideo: the video's last frame
        stretch       0 1 2 3 5      evenly over what there is

    Args:
        spec: the clip contract.
        num_frames: frames of the video that decode, at least 1.
        fps: frames per second of the video; needed unless ``spec.time_base`` is "frames".
        clips: how many clips; None means ``spec.clips``.

    Raises:
        InputError: a count below 1, a missing or impossible frame rate, or a rule that has no
            notion of time in a spec that asks for one.
    """
    span = _source_span(spec, num_frames, fps)
    clips = _check_count("clips", spec.clips if clips is None else clips)
    return _frames_of(spec, num_frames, span, _test_starts(spec, num_frames, span, clips))


def center_indices(spec: ClipSpec, num_frames: int, fps: Rate = None) -> Indices:
    """The frames of one clip in the middle of the video, int64 of shape (1, spec.num_frames).

    OpenMMLab's rules place a single clip there themselves, the others at the start::

        frame   0  1  2  3  4  5  6  7  8  9
        clip          s  .  s  .  s             num_frames=3, frame_stride=2

    Args:
        spec: the clip contract.
        num_frames: frames of the video that decode, at least 1.
        fps: frames per second of the video; needed unless ``spec.time_base`` is "frames".

    Raises:
        InputError: as ``clip_indices``.
    """
    if spec.sampling.startswith("openmmlab"):
        return clip_indices(spec, num_frames, fps, clips=1)
    span = _source_span(spec, num_frames, fps)
    return _frames_of(spec, num_frames, span, [max(num_frames - math.ceil(span), 0) // 2])


def train_indices(
    spec: ClipSpec,
    num_frames: int,
    fps: Rate = None,
    *,
    rng: Random,
    clips: int = 1,
    keep_tail: bool = False,
) -> Indices:
    """The frames of randomly placed clips, int64 of shape (clips, spec.num_frames).

    OpenMMLab cuts the possible starts into ``clips`` equal parts and draws one start in each; the
    others draw every clip anywhere::

        possible starts   |-----------|-----------|
        drawn             |  ^        |        ^  |      clips=2

    "pyslowfast-segments" draws one frame in each of ``num_frames`` parts of the video.

    Args:
        spec: the clip contract.
        num_frames: frames of the video that decode, at least 1.
        fps: frames per second of the video; needed unless ``spec.time_base`` is "frames".
        rng: where chance comes from: a ``numpy.random.Generator``.
        clips: how many clips.
        keep_tail: OpenMMLab's ``keep_tail_frames``: parts of fractional length, so that the last
            few starts can be drawn too.

    Raises:
        InputError: as ``clip_indices``.
    """
    span = _source_span(spec, num_frames, fps)
    _check_count("clips", clips)
    if spec.sampling == "pyslowfast-segments":
        low, high = _segment_borders(spec, num_frames)
        return np.stack([_draw_between(rng, low, high) for _ in range(clips)])
    if spec.sampling == "gluoncv":
        return np.stack([_gluoncv_train_clip(spec, num_frames, rng) for _ in range(clips)])
    return _frames_of(spec, num_frames, span, _train_starts(spec, num_frames, span, clips, rng, keep_tail))


def clip_span(spec: ClipSpec, fps: Rate = None) -> int:
    """Source frames from the first to the last frame of a clip, both counted.

    A video with fewer frames can't fill the clip without repeating or squeezing frames.

    Args:
        spec: the clip contract.
        fps: frames per second of the video; needed unless ``spec.time_base`` is "frames".

    Raises:
        InputError: as ``clip_indices``.
    """
    if spec.sampling == "pyslowfast-segments":
        return spec.num_frames
    span = _source_span(spec, 1, fps)
    if spec.sampling == "openmmlab-0.x":
        span -= spec.frame_stride - 1
    return max(1, math.floor(span))


def _check_count(name: str, value: int) -> int:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise InputError(f"{name} is {value!r}; accepted: an integer of at least 1.")
    return int(value)


def _source_span(spec: ClipSpec, num_frames: int, fps: Rate) -> Fraction:
    """Source frames that a test clip covers, as its rule counts them, after checking the arguments."""
    _check_count("num_frames", num_frames)
    to_last = (spec.num_frames - 1) * spec.frame_stride + 1
    if spec.time_base == "frames" or spec.fps is None:
        whole = spec.sampling in ("openmmlab-0.x", "pyslowfast", "pytorchvideo")
        return Fraction(spec.span_frames if whole else to_last)
    if spec.sampling not in _RULES_OF_TIME:
        raise InputError(
            f"The sampling '{spec.sampling}' counts frames, but time_base is '{spec.time_base}'; "
            f"give time_base 'frames', or one of the samplings {', '.join(_RULES_OF_TIME)}."
        )
    if fps is None:
        raise InputError(
            f"These weights choose frames by time ({spec.fps:g} frames per second), and the video's own "
            "rate is unknown: give fps=."
        )
    number = isinstance(fps, (int, float, Fraction)) and not isinstance(fps, bool)
    if not number or not math.isfinite(fps) or fps <= 0:
        raise InputError(f"fps is {fps!r}; accepted: frames per second as a finite number above 0.")
    return max(Fraction(1), spec.span_frames * Fraction(fps) / Fraction(spec.fps))


def _test_starts(spec: ClipSpec, num_frames: int, span: Fraction, clips: int) -> Sequence[Start]:
    """First frames of the test clips, in source frames; fractions where the rule has them."""
    room = max(num_frames - span, Fraction(0))
    if spec.sampling == "pyslowfast":
        return [float(room) * clip / clips for clip in range(clips)]
    if spec.sampling == "pytorchvideo":
        return [room * clip / max(clips - 1, 1) for clip in range(clips)]
    if spec.sampling == "pyslowfast-charades":
        return [round(float(room) / max(clips - 1, 1) * clip) for clip in range(clips)]
    if spec.sampling == "gluoncv":
        kept = -(-num_frames // spec.frame_stride)
        step = max(kept - spec.num_frames, 0) / max(clips - 1, 1)
        return [int(clip * step) * spec.frame_stride for clip in range(clips)]
    if spec.sampling == "openmmlab-0.x":
        part = (num_frames - int(span) + 1) / clips
        return [int(clip * part + part / 2) if num_frames >= span else 0 for clip in range(clips)]
    if spec.num_frames == 1:
        return [int(clip * (num_frames / clips) + num_frames / clips / 2) for clip in range(clips)]
    if clips == 1:
        return [math.floor(room / 2)]
    if spec.time_base != "frames":
        return [clip * math.floor(room / (clips - 1)) for clip in range(clips)]
    return [round(clip * (int(room) / (clips - 1))) for clip in range(clips)]


def _train_starts(
    spec: ClipSpec, num_frames: int, span: Fraction, clips: int, rng: Random, keep_tail: bool
) -> Sequence[Start]:
    if spec.sampling == "pyslowfast-charades":
        # A clip longer than the video may start before it; those frames become the first one.
        last = num_frames - int(span)
        return [int(start) for start in rng.integers(min(last, 0), max(last, 0) + 1, clips)]
    if not spec.sampling.startswith("openmmlab"):
        room = max(num_frames - span, Fraction(0))
        return [Fraction(start) for start in rng.uniform(0.0, float(room), clips)]
    if spec.time_base == "frames":
        span = Fraction(spec.span_frames)
    starts = num_frames - span + 1
    if keep_tail and starts > 0:
        part = float(starts) / clips
        return [int(clip * part + shift) for clip, shift in enumerate(rng.uniform(0.0, part, clips))]
    if keep_tail:
        return [0] * clips
    whole = math.floor(starts / clips)
    if whole > 0:
        return [clip * whole + int(shift) for clip, shift in enumerate(rng.integers(0, whole, clips))]
    if num_frames > clips and num_frames > span:
        return sorted(int(start) for start in rng.integers(0, math.floor(starts), clips))
    if whole == 0:
        return [round(clip * float(starts) / clips) for clip in range(clips)]
    return [0] * clips


def _frames_of(spec: ClipSpec, num_frames: int, span: Fraction, starts: Sequence[Start]) -> Indices:
    """The clips that begin at ``starts``, filled where they reach beyond the video."""
    if spec.sampling == "pyslowfast-segments":
        low, high = _segment_borders(spec, num_frames)
        return np.repeat(((low + high) // 2)[None], len(starts), axis=0)
    rows: list[npt.NDArray[np.integer | np.floating]]
    if spec.sampling == "pyslowfast":
        firsts = [float(start) for start in starts]
        rows = [_linspace(first, first + float(span) - 1, spec.num_frames) for first in firsts]
    elif spec.sampling == "pytorchvideo":
        rows = [_pytorchvideo_clip(spec, num_frames, span, Fraction(start)) for start in starts]
    elif spec.sampling == "openmmlab-1.x" and spec.time_base != "frames":
        inside = np.linspace(0, float(span) - 1, spec.num_frames).astype(np.int64)
        rows = [int(start) + inside for start in starts]
    else:
        rows = [int(start) + np.arange(spec.num_frames) * spec.frame_stride for start in starts]
    return _fill(spec, num_frames, np.maximum(np.stack(rows).astype(np.int64), 0))


def _fill(spec: ClipSpec, num_frames: int, indices: Indices) -> Indices:
    """Frame numbers that exist, by the spec's rule for short videos."""
    beyond = indices >= num_frames
    if not beyond.any():
        return indices
    if spec.short_video == "loop":
        return indices % num_frames
    if spec.short_video == "stretch":
        for row in np.flatnonzero(beyond.any(axis=1)):
            first = min(int(indices[row, 0]), num_frames - 1)
            indices[row] = first + _linspace(0, num_frames - 1 - first, spec.num_frames).astype(np.int64)
        return indices
    if spec.sampling.startswith("openmmlab") or spec.sampling == "gluoncv":
        return np.where(beyond, np.where(beyond, 0, indices).max(axis=1, keepdims=True), indices)
    return np.minimum(indices, num_frames - 1)


def _linspace(first: float, last: float, count: int) -> npt.NDArray[np.float32]:
    """``torch.linspace`` without torch: float32, counted from both ends, one rounding per number.

    Source: ``linspace`` of PyTorch's CPU backend (https://github.com/pytorch/pytorch).
    """
    low, high = np.float32(first), np.float32(last)
    if count == 1:
        return np.array([low])
    step = float((high - low) / np.float32(count - 1))
    number = np.arange(count, dtype=np.float64)
    from_ends = np.where(number < count // 2, low + step * number, high - step * (count - 1 - number))
    return from_ends.astype(np.float32)


def _pytorchvideo_clip(spec: ClipSpec, num_frames: int, span: Fraction, start: Fraction) -> Indices:
    """Every frame shown from the start to before the end of the clip, thinned out evenly."""
    first = min(math.ceil(start), num_frames - 1)
    end = math.ceil(start + span)
    if spec.short_video == "stretch":
        end = min(end, num_frames)
    return first + _linspace(0, max(end - first, 1) - 1, spec.num_frames).astype(np.int64)


def _segment_borders(spec: ClipSpec, num_frames: int) -> tuple[Indices, Indices]:
    """First and last frame of each of ``spec.num_frames`` equal parts of the video."""
    borders = np.round((num_frames - 1) / spec.num_frames * np.arange(spec.num_frames + 1)).astype(np.int64)
    return borders[:-1], borders[1:]


def _draw_between(rng: Random, low: Indices, high: Indices) -> Indices:
    borders = zip(low.tolist(), high.tolist(), strict=True)
    return np.array([int(rng.integers(first, last + 1, 1)[0]) for first, last in borders], dtype=np.int64)


def _gluoncv_train_clip(spec: ClipSpec, num_frames: int, rng: Random) -> Indices:
    """A span drawn anywhere, or the whole short video followed by its last frame."""
    if num_frames <= spec.span_frames:
        spread = np.linspace(0, num_frames, num_frames // spec.frame_stride)
        still = np.full(spec.num_frames - len(spread), float(num_frames))
        places: npt.NDArray[np.float64] = np.concatenate([spread, still])
        return np.minimum(places, num_frames - 1).astype(np.int64)
    end = int(rng.integers(spec.span_frames, num_frames, 1)[0])
    start = end - spec.span_frames
    return np.clip(np.linspace(start, end, spec.num_frames), start, end - 1).astype(np.int64)
