"""Which frames of a video make a clip: every publisher's rule, as arithmetic on frame numbers.

Nothing here reads a video or imports torch. A video is a count of frames and, where the rule
looks at time, a frame rate or the times of its frames; a clip is a row of frame numbers, 0 being the
first frame that decodes. ``s`` marks the frames of one clip below, ``.`` those that it skips:

    frame    0  1  2  3  4  5  6  7  8  9 10 11
    clip 0   s  .  s  .  s                            num_frames=3, frame_stride=2, clips=2,
    clip 1                        s  .  s  .  s       sampling="openmmlab-1.x"

A rule is a class in ``rules``. Which frames of a clip the slow pathway sees belongs to the network: see
``ModelSpec.slow_indices``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from numbers import Real
from typing import TypeGuard

import numpy as np

from slowfast_zoo.errors import InputError
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.rules import (
    RULES,
    Indices,
    KeyRule,
    Random,
    Rate,
    Rule,
    Stamps,
    Start,
    Timing,
    end_seconds,
    resampled_count,
    source_frame,
)


def clip_indices(
    spec: ClipSpec,
    num_frames: int,
    fps: Rate = None,
    clips: int | None = None,
    *,
    stamps: Stamps | None = None,
) -> Indices:
    """The frames of the test clips, int64 of shape (clips, spec.num_frames), each in 0..num_frames-1.

    Starts of 10 clips of 32 frames, stride 2, in a video of 300 frames at 30 frames per second:

        openmmlab-0.x     11  35  59  82 106 130 154 177 201 225   middles of ten equal parts
        openmmlab-1.x      0  26  53  79 105 132 158 184 211 237   first to last possible start
        pyslowfast         0  23  47  70  94 118 141 165 188 212   never reaches the end
        pyslowfast-stamps  0  24  48  71  95 118 142 166 189 213   the next frame after such a start
        pytorchvideo-0.1   0  24  48  71  95 118 142 166 189 213   the same, in seconds
        pytorchvideo       0  27  53  79 105 132 158 184 210 236   in seconds, first to last
        gluoncv            0  26  52  78 104 130 156 182 208 236   on every second frame

    and inside a clip that starts at 0:

        openmmlab, gluoncv          0 2 4 ... 58 60 62
        pyslowfast, pytorchvideo    0 2 4 ... 58 60 63     evenly from the first to the last frame
        pytorchvideo-0.1            0 2 4 ... 59 61 64     also the frame that is shown when the clip ends

    "pyslowfast-segments" cuts the video into ``num_frames`` parts and takes the middle of each, so
    all its clips are equal; "pyslowfast-charades" spreads starts like openmmlab-1.x.

    A clip that is longer than its video, here 5 frames at stride 2 of a video of 6 frames:

        loop          0 2 4 0 2      counts on from the first frame
        repeat_last   0 2 4 4 4      openmmlab and gluoncv: the clip's last frame that exists
                      0 2 4 5 5      pyslowfast and pytorchvideo: the video's last frame
        stretch       0 1 2 3 5      evenly over what there is

    Args:
        spec: the clip contract.
        num_frames: frames of the video that decode, at least 1.
        fps: frames per second of the video; needed unless ``spec.time_base`` is "frames".
        clips: how many clips; None means ``spec.clips``.
        stamps: when each frame is shown, for a spec whose ``time_base`` is "seconds"; None takes the
            frame rate as constant.

    Raises:
        InputError: a count below 1, a missing or impossible frame rate, or a rule that has no
            notion of time in a spec that asks for one.
    """
    rule, video = RULES[spec.sampling], _timing(spec, num_frames, fps, stamps)
    clips = checked_count("clips", spec.clips if clips is None else clips)
    return _frames_of(rule, spec, video, rule.test_starts(spec, video, clips))


def center_indices(
    spec: ClipSpec, num_frames: int, fps: Rate = None, *, stamps: Stamps | None = None
) -> Indices:
    """The frames of one clip in the middle of the video, int64 of shape (1, spec.num_frames).

    OpenMMLab's rules place a single clip there themselves, the others at the start:

        frame   0  1  2  3  4  5  6  7  8  9
        clip          s  .  s  .  s             num_frames=3, frame_stride=2

    Args:
        spec, num_frames, fps, stamps: as in ``clip_indices``.

    Raises:
        InputError: as ``clip_indices``.
    """
    rule, video = RULES[spec.sampling], _timing(spec, num_frames, fps, stamps)
    return _frames_of(rule, spec, video, [rule.center_start(spec, video)])


def train_indices(
    spec: ClipSpec, num_frames: int, fps: Rate = None, *, rng: Random, stamps: Stamps | None = None
) -> Indices:
    """The frames of one randomly placed clip, int64 of shape (1, spec.num_frames).

    "pyslowfast-segments" draws one frame in each of ``num_frames`` parts of the video.

    Args:
        spec, num_frames, fps, stamps: as in ``clip_indices``.
        rng: where chance comes from: a ``numpy.random.Generator``.

    Raises:
        InputError: as ``clip_indices``.
    """
    rule, video = RULES[spec.sampling], _timing(spec, num_frames, fps, stamps)
    row = rule.train_clip(spec, video, rng)
    return rule.fill(spec, video, np.maximum(row.astype(np.int64), 0)[None])


def key_indices(
    spec: ClipSpec,
    num_frames: int,
    fps: float | Fraction,
    seconds: Sequence[float],
    *,
    stamps: Stamps | None = None,
    rng: Random | None = None,
) -> Indices:
    """The frames of the clips around key frames, int64 of shape (len(seconds), spec.num_frames).

    The key frame is the one at that time, at ``spec.fps`` where that is given: the frames taken lie as far
    apart in time as those that the weights were trained with, whatever the video's rate. 4 frames at stride
    16 around second 2 of a video of 30 frames per second:

        openmmlab-0.x-key, openmmlab-video-key, pyslowfast-key    28 44 60 76
        openmmlab-1.x-key                                         29 45 61 77    one frame later

    Beyond the first and the last frame these repeat.

    Args:
        spec: a clip contract with key frames.
        num_frames: frames of the video that decode, at least 1.
        fps: frames per second of the video.
        seconds: when the key frames are, from the video's begin to its end.
        stamps: as in ``clip_indices``.
        rng: None: the clips of tests; else chance moves each frame as the publisher's training does.

    Raises:
        InputError: a spec without key frames, a time outside the video, or as ``clip_indices``.
    """
    rule, video = _key_rule(spec), _timing(spec, num_frames, fps, stamps)
    numbers = _key_numbers(spec, video, fps, seconds)
    rows = [rule.around(spec, video, number, rng) for number in numbers]
    return np.array(rows, np.int64).reshape(-1, spec.num_frames)


def key_frames(
    spec: ClipSpec,
    num_frames: int,
    fps: float | Fraction,
    seconds: Sequence[float],
    *,
    stamps: Stamps | None = None,
) -> list[int]:
    """The key frames themselves, where persons have their boxes; arguments and errors: ``key_indices``."""
    _key_rule(spec)
    video = _timing(spec, num_frames, fps, stamps)
    last = resampled_count(spec, video) - 1
    return [
        source_frame(spec, video, min(number, last)) for number in _key_numbers(spec, video, fps, seconds)
    ]


def _key_rule(spec: ClipSpec) -> KeyRule:
    rule = RULES[spec.sampling]
    if not isinstance(rule, KeyRule):
        keyed = ", ".join(name for name, other in RULES.items() if isinstance(other, KeyRule))
        raise InputError(f"The sampling '{spec.sampling}' has no key frames; those that have: {keyed}.")
    return rule


def _key_numbers(
    spec: ClipSpec, video: Timing, fps: float | Fraction, seconds: Sequence[float]
) -> Iterator[int]:
    """The key frames' numbers at the spec's rate."""
    rate = Fraction(fps if video.rate is None or spec.fps is None else spec.fps)
    end = end_seconds(video, Fraction(fps))
    for moment in seconds:
        check_moment(moment, end, fps)
        yield round(Fraction(moment) * rate)


def check_moment(moment: float, end: float | Fraction, fps: float | Fraction) -> None:
    """Refuses the time of a key frame that a video doesn't have; half a frame after its end is rounding.

    Raises:
        InputError: says what is accepted.
    """
    if not math.isfinite(moment) or not 0 <= moment <= end + 1 / (2 * fps):
        raise InputError(f"A key frame is at {moment!r} s; accepted: 0 to {float(end):.3f}, the video's end.")


def clip_span(spec: ClipSpec, fps: Rate = None) -> int:
    """Source frames from the first to the last frame of a clip, both counted.

    A video with fewer frames can't fill the clip without repeating or squeezing frames.

    Args:
        spec: the clip contract.
        fps: frames per second of the video; needed unless ``spec.time_base`` is "frames".

    Raises:
        InputError: as ``clip_indices``.
    """
    return max(1, math.floor(RULES[spec.sampling].needed(spec, _timing(spec, 1, fps, None))))


def window_frames(spec: ClipSpec, fps: Rate = None) -> int:
    """Source frames of the shortest part of a video whose only clip looks at all that the rule looks at.

    Args:
        spec, fps: as in ``clip_span``, which is shorter where frames after a clip's last one belong to it.

    Raises:
        InputError: as ``clip_indices``.
    """
    return math.ceil(_timing(spec, 1, fps, None).span)


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite real number, Python's or NumPy's; truth values are none."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer may have any number of digits
        return False


def is_count(value: object) -> TypeGuard[int]:
    """Whether it is an integer of at least 1, Python's or NumPy's; truth values are none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value >= 1)


def checked_seconds(name: str, value: object, *, positive: bool = False) -> float:
    """A length of time, or a time from the begin on, in seconds.

    Raises:
        InputError: no finite number from 0, or from a microsecond on where it has to be positive: times that
            are nearer to each other are one.
    """
    if not is_number(value) or value < (1e-6 if positive else 0):
        least = "above 0, at least a microsecond" if positive else "from 0"
        raise InputError(f"{name} is {value!r:.60}; accepted: seconds, a finite number {least}.")
    return float(value)


def checked_share(name: str, value: object) -> float:
    """A probability, or a share of something.

    Raises:
        InputError: no number from 0 to 1.
    """
    if not is_number(value) or not 0 <= value <= 1:
        raise InputError(f"{name} is {value!r:.60}; accepted: a number from 0 to 1.")
    return float(value)


def checked_count(name: str, value: object, *, beside: str = "") -> int:
    """How many of something there are to be, as Python's integer.

    Args:
        name: of the argument.
        value: what was given.
        beside: what else the caller accepts, for the message: ", or None".

    Raises:
        InputError: no integer, Python's or NumPy's, of at least 1.
    """
    if not is_count(value):
        raise InputError(f"{name} is {value!r:.60}; accepted: an integer of at least 1{beside}.")
    return int(value)


def check_clip_spec(spec: object) -> None:
    """Refuses what is no clip contract.

    Raises:
        InputError: says where to find one.
    """
    if not isinstance(spec, ClipSpec):
        kind = type(spec).__name__
        raise InputError(f"clip_spec is of type {kind}; accepted: a ClipSpec, as model.clip_spec is.")


def _timing(spec: ClipSpec, num_frames: int, fps: Rate, stamps: Stamps | None) -> Timing:
    """What the spec's rule has to know, after checking the arguments."""
    rule, count = RULES[spec.sampling], checked_count("num_frames", num_frames)
    if spec.time_base == "frames" or spec.fps is None:
        to_last = (spec.num_frames - 1) * spec.frame_stride + 1
        return Timing(count, Fraction(spec.span_frames if rule.counts_last_stride else to_last), None)
    if not rule.looks_at_time:
        timed = ", ".join(name for name, other in RULES.items() if other.looks_at_time)
        raise InputError(
            f"The sampling '{spec.sampling}' counts frames, but time_base is '{spec.time_base}'; "
            f"give time_base 'frames', or one of the samplings {timed}."
        )
    if fps is None:
        raise InputError(
            f"These weights choose frames by time ({spec.fps:g} frames per second), and the video's own "
            "rate is unknown: give fps=."
        )
    number = isinstance(fps, (int, float, Fraction)) and not isinstance(fps, bool)
    if not number or not math.isfinite(fps) or fps <= 0:
        raise InputError(f"fps is {fps!r}; accepted: frames per second as a finite number above 0.")
    if stamps is not None and (spec.time_base != "seconds" or len(stamps.ticks) != count):
        stamps = None
    span = max(Fraction(1), spec.span_frames * Fraction(fps) / Fraction(spec.fps))
    return Timing(count, span, Fraction(fps), stamps)


def _frames_of(rule: Rule, spec: ClipSpec, video: Timing, starts: Sequence[Start]) -> Indices:
    """The clips that begin at ``starts``, filled where they reach beyond the video."""
    rows = np.stack([rule.frames(spec, video, start) for start in starts])
    return rule.fill(spec, video, np.maximum(rows.astype(np.int64), 0))
