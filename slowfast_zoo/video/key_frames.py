"""Key frames of a video, where persons have boxes, each with the clip around it.

    with open_video("film.mp4") as video:
        plan = KeyFrames([1.0, 2.5])
        for window, clips in WindowReader(video, model.clip_spec, plan):
            plan.seconds[window.number], clips.tensor()     # when it is, float32 (1, C, T, H, W)

All clips come out of one pass through the video.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from slowfast_zoo.errors import InputError
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.clips import ClipPlan, Views
from slowfast_zoo.video.decoding.video import Video
from slowfast_zoo.video.rules import Indices, Random, Stamps
from slowfast_zoo.video.sampling import check_moment, checked_seconds, key_frames, key_indices
from slowfast_zoo.video.windows import Window, window_of

_SHORTEST_SECONDS = 1e-3
"""From one key frame to the next, where there are some all over a video: far below a frame's length."""


class KeyFrames:
    """A window around each key frame: the plan that a ``WindowReader`` follows.

    Attributes:
        seconds: when the key frames are, in a player's time, increasing.

    Args:
        seconds: in any order; times that are equal are one.

    Raises:
        InputError: no time, or one that isn't a finite number from 0.
    """

    def __init__(self, seconds: Sequence[float]) -> None:
        moments = {checked_seconds("The time of a key frame", moment) for moment in seconds}
        self.seconds = tuple(sorted(moments))
        if not self.seconds:
            raise InputError("There is no key frame to look at.")
        self._rows: Indices | None = None

    def windows(self, video: Video, spec: ClipSpec) -> list[Window]:
        """From the first to the last frame of each clip; numbered as ``seconds``.

        Raises:
            InputError: a key frame after the video's end, a spec without key frames, or no known frame rate.
        """
        moments, stamps = self._moments(video, spec)
        self._rows = self._clips(video, spec)
        keys = key_frames(spec, video.num_frames, video.fps, moments, stamps=stamps)
        parts = zip(self._rows.min(axis=1).tolist(), self._rows.max(axis=1).tolist(), keys, strict=True)
        return [
            dataclasses.replace(window_of(video, number, first, last + 1), key_frame=key)
            for number, (first, last, key) in enumerate(parts)
        ]

    def clips(self, video: Video, window: Window, spec: ClipSpec, views: Views) -> ClipPlan:
        """The one clip of a window."""
        rows = self._clips(video, spec) if self._rows is None else self._rows
        row = rows[window.number : window.number + 1] - window.first_frame
        return ClipPlan(row, ((window.start_seconds, window.end_seconds),), len(np.unique(row)) < row.size)

    def train_clips(self, video: Video, spec: ClipSpec, rng: Random) -> Indices:
        """The frames of each clip, a row each, moved by chance as the publisher's training does."""
        return self._clips(video, spec, rng)

    def _clips(self, video: Video, spec: ClipSpec, rng: Random | None = None) -> Indices:
        moments, stamps = self._moments(video, spec)
        return key_indices(spec, video.num_frames, video.fps, moments, stamps=stamps, rng=rng)

    def _moments(self, video: Video, spec: ClipSpec) -> tuple[list[float], Stamps | None]:
        """The times as the rule counts them: from the first frame on."""
        if spec.time_base == "frames":
            # Frame numbers are what counts, whatever the rate: the frame that is there at that time.
            for second in self.seconds:
                check_moment(second, video.seconds_of(video.num_frames), video.fps)
            numbers = [video.index_near(second) for second in self.seconds]
            return [float(number / video.fps) for number in numbers], None
        begin = video.seconds_of(0)
        return [max(second - begin, 0.0) for second in self.seconds], video.stamps()


class EveryKeyFrame(KeyFrames):
    """Key frames so many seconds apart, over the whole of whatever video is read.

    Attributes:
        seconds: of the video that was asked about last.

    Raises:
        InputError: no length of time, or less than a millisecond.
    """

    def __init__(self, every_seconds: float) -> None:
        self._every = _checked_every(every_seconds)
        super().__init__([0.0])

    def windows(self, video: Video, spec: ClipSpec) -> list[Window]:
        self.seconds = tuple(every(video, self._every))
        return super().windows(video, spec)


def every(video: Video, seconds: float) -> list[float]:
    """The multiples of so many seconds from the begin of a video to its last frame, in a player's time.

    The first is the nearest to the begin, and may lie before the first frame, which then stands for it: a
    picture that comes 0.04 s after the sound has key frames at whole seconds all the same, as annotations do.

    Raises:
        InputError: no length of time, or the frame rate isn't known.
    """
    seconds = _checked_every(seconds)
    begin, end = video.seconds_of(0), video.seconds_of(video.num_frames)
    end -= float(1 / video.fps / 2)  # time stamps are rounded: no key frame where the last frame ends
    first = max(round(begin / seconds), 0)
    return [number * seconds for number in range(first, math.ceil(end / seconds))] or [begin]


def _checked_every(seconds: float) -> float:
    seconds = checked_seconds("every_seconds", seconds, positive=True)
    if seconds < _SHORTEST_SECONDS:
        raise InputError(f"every_seconds is {seconds:g}; accepted: at least {_SHORTEST_SECONDS:g}.")
    return seconds
