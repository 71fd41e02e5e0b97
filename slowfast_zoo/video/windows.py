"""The windows of a long video: each with the clips that ``read_clips`` makes of that part of it.

    with open_video("film.mp4") as video:
        for window, clips in WindowReader(video, model.clip_spec, Grid(hop_seconds=1.0)):
            logits = model(clips.tensor())

Frames that windows share are decoded and prepared once, and kept until no window needs them: memory
holds one window, however long the video.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, get_args

import numpy as np
import torch

from slowfast_zoo.errors import FrameCountError, InputError
from slowfast_zoo.spec import ClipSpec, LastWindow
from slowfast_zoo.video.clips import ClipPlan, Clips, Views, pipeline_for, plan_clips
from slowfast_zoo.video.decoding.part import VideoPart
from slowfast_zoo.video.decoding.video import Frame, Video, ahead
from slowfast_zoo.video.sampling import checked_seconds, window_frames
from slowfast_zoo.video.transforms.functional import FramePipeline


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """Consecutive frames of a video, which stand for a video of their own."""

    number: int
    """From 0."""
    first_frame: int
    num_frames: int
    start_seconds: float
    """When a player shows the first frame (``Video.seconds_of``)."""
    end_seconds: float
    """When the last frame ends."""
    key_frame: int | None = None
    """The frame that is looked at as a whole as well, beside the window's clips."""

    @property
    def center_seconds(self) -> float:
        """The middle between start and end."""
        return (self.start_seconds + self.end_seconds) / 2

    @property
    def frames(self) -> range:
        """The frame numbers."""
        return range(self.first_frame, self.first_frame + self.num_frames)


class Plan(Protocol):
    """Whatever says where the windows of a video lie."""

    def windows(self, video: Video, spec: ClipSpec) -> Sequence[Window]:
        """The windows, numbered from 0, each beginning no earlier than the one before."""

    def clips(self, video: Video, window: Window, spec: ClipSpec, views: Views) -> ClipPlan:
        """The frames of a window's clips, counted from its first frame."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """A window every ``hop_seconds``, from the begin of the part that is looked at.

    A window begins with the frame whose begin is nearest to its time on the grid; times that would begin with
    the same frame give one window. A window that ends where the part does is the last one, and so is the
    first that begins inside the part and reaches beyond its end; ``last`` says what becomes of that:

        part         |--------------------|
        windows      |-------|
                          |-------|
                               |-------|
        move_back                 |-------|    ends where the part ends
        pad                         |-----|    is shorter; filled as the clip spec fills short videos
        drop                                   isn't there

    A part that is shorter than a window is one window, filled as the clip spec says. Where a hop is longer
    than a window, what lies between windows is in none, nor is what comes after the last one.

    Raises:
        InputError: a value that is not accepted.
    """

    hop_seconds: float = 1.0
    window_seconds: float | None = None
    """None: as long as one clip of the clip spec."""
    start_seconds: float | None = None
    """Begin of the part that is looked at, in a player's time; None: of the video."""
    end_seconds: float | None = None
    """End of the part; None: of the video."""
    last: LastWindow = "move_back"

    def __post_init__(self) -> None:
        for name in ("hop_seconds", "window_seconds", "start_seconds", "end_seconds"):
            if (value := getattr(self, name)) is not None or name == "hop_seconds":
                positive = name in ("hop_seconds", "window_seconds")
                object.__setattr__(self, name, checked_seconds(name, value, positive=positive))
        start, end = self.start_seconds or 0.0, self.end_seconds
        if end is not None and end <= start:
            raise InputError(f"end_seconds is {end:g} and start_seconds {start:g}; accepted: a later end.")
        if self.last not in get_args(LastWindow):
            raise InputError(f"last is {self.last!r}; accepted: 'move_back', 'pad' or 'drop'.")

    def windows(self, video: Video, spec: ClipSpec) -> list[Window]:
        """The windows of a video.

        Raises:
            InputError: the video's frame rate isn't known, or "drop" leaves nothing.
            VideoError: the video has no frames in the part.
        """
        part = self._part(video)
        begin, number = video.seconds_of(part.start), 0
        windows: list[Window] = []
        while (moment := begin + number * self.hop_seconds) < video.seconds_of(part.stop):
            first = min(max(video.index_near(moment), part.start), part.stop - 1)
            if windows and windows[-1].frames.stop == part.stop:
                break
            if windows and first <= windows[-1].first_frame:
                number = self.number_behind(video, begin, number, first)
                continue
            stop = self.stop_of(video, spec, first)
            last = stop > part.stop
            if last and self.last == "drop":
                break
            if last and self.last == "move_back":
                first = max(self.first_of(video, spec, part.stop), part.start)
                if windows and first <= windows[-1].first_frame:
                    break
            windows.append(window_of(video, len(windows), first, min(stop, part.stop)))
            if last:
                break
            number += 1
        if not windows:
            seconds = video.seconds_of(part.stop) - begin
            raise InputError(
                f"'{video.name}' has {seconds:.3g} s to look at, which is shorter than a window, and last="
                "'drop' leaves nothing; take 'pad' or 'move_back'."
            )
        return windows

    def clips(self, video: Video, window: Window, spec: ClipSpec, views: Views) -> ClipPlan:
        """Where ``read_clips`` finds the clips of that part of the video."""
        part = VideoPart(video, video.name, first_frame=window.first_frame, num_frames=window.num_frames)
        return plan_clips(part, spec, views)

    def number_behind(self, video: Video, begin: float, number: int, first: int) -> int:
        """The grid's next time, after ``number``, that may be nearer to the frame after ``first``."""
        change = (video.seconds_of(first) + video.seconds_of(first + 1)) / 2
        return max(number + 1, math.floor((change - begin) / self.hop_seconds))

    def _part(self, video: Video) -> range:
        if self.start_seconds is None and self.end_seconds is None:
            return range(video.num_frames)
        part = VideoPart(video, video.name, start_seconds=self.start_seconds, end_seconds=self.end_seconds)
        return part.frames_of_whole

    def stop_of(self, video: Video, spec: ClipSpec, first: int) -> int:
        """The frame after a window; beyond ``num_frames`` where the video ends too soon."""
        if (seconds := self._seconds(spec)) is None:
            return first + _frames(video, spec)
        end = video.seconds_of(first) + seconds
        stop = max(video.index_near(end), first + 1)
        over = end - video.seconds_of(video.num_frames)
        # Behind the end there are no frames to count; half a frame's time is rounding.
        return stop + 1 if stop == video.num_frames and over >= 0.5 / float(video.fps) else stop

    def first_of(self, video: Video, spec: ClipSpec, stop: int) -> int:
        """The frame that a window begins with which ends in front of frame ``stop``."""
        if (seconds := self._seconds(spec)) is None:
            return stop - _frames(video, spec)
        return min(video.index_near(video.seconds_of(stop) - seconds), stop - 1)

    def length_of(self, video: Video, spec: ClipSpec) -> float:
        """Seconds of a window that isn't cut short.

        Raises:
            InputError: the video's frame rate isn't known.
        """
        seconds = self._seconds(spec)
        return float(_frames(video, spec) / video.fps) if seconds is None else seconds

    def _seconds(self, spec: ClipSpec) -> float | None:
        """How long a window is; None where it is a number of frames."""
        if self.window_seconds is None and spec.time_base == "seconds":
            return spec.span_frames / float(spec.fps or 1)
        return self.window_seconds


class WindowReader:
    """The windows of an opened video with their clips, in order, in one pass.

    Attributes:
        windows: what will come. Decoding may show that a file's packets lied about its frames: then this
            changes, and windows that were given already come again, with the same number, where they differ.
        end_seconds: when the last frame of the video ends; changes with them.

    Args:
        video: stays open.
        spec: the clip contract.
        plan: where the windows lie.
        views, device: of each window, as for ``read_clips``.
        look: gets each window's key frame, its number and uint8 RGB (H, W, 3), as it comes out of the
            decoder, before that window; in the thread that iterates.

    Raises:
        InputError, VideoError: as ``read_clips`` and the plan.
    """

    def __init__(
        self,
        video: Video,
        spec: ClipSpec,
        plan: Plan,
        *,
        views: Views = "quick",
        look: Callable[[int, Frame], None] | None = None,
        device: torch.device | None = None,
    ) -> None:
        self._video, self._spec, self._plan, self._views, self._look = video, spec, plan, views, look
        self._pipeline = pipeline_for(video, spec, views, device)
        self._plan_windows()

    def _plan_windows(self) -> None:
        self.windows = self._plan.windows(self._video, self._spec)
        self.end_seconds = self._video.seconds_of(self._video.num_frames)

    def __iter__(self) -> Iterator[tuple[Window, Clips]]:
        done = 0
        while True:
            try:
                for item in self._one_pass(self.windows[done:]):
                    done += 1
                    yield item
                return
            except FrameCountError:
                told = self.windows
                self._plan_windows()
                pairs = zip(told[:done], self.windows, strict=False)
                done = next((index for index, (one, other) in enumerate(pairs) if one != other), done)
                done = min(done, len(self.windows))

    def _one_pass(self, windows: Sequence[Window]) -> Iterator[tuple[Window, Clips]]:
        video, keys = self._video, set[int]()
        needed = np.zeros(video.num_frames, bool)
        for window in windows:
            needed[window.first_frame + self._clips_of(window).indices] = True
        if self._look is not None:
            keys = {window.key_frame for window in windows if window.key_frame is not None}
            needed[[*keys]] = True
        store = FrameStore(self._pipeline)
        frames = video.iter_frames(np.flatnonzero(needed).tolist())
        coming = ((window, self._clips_of(window)) for window in windows)
        following = next(coming, None)

        def prepare(item: tuple[int, Frame]) -> tuple[int, torch.Tensor, Frame | None]:
            index, frame = item
            return index, self._pipeline.prepare(frame), frame if index in keys else None

        for index, prepared, whole in ahead(prepare, frames, video.height * video.width):
            store.add(index, prepared)
            if whole is not None and self._look is not None:
                self._look(index, whole)
            while following is not None:
                window, plan = following
                last = window.first_frame + int(plan.indices.max())
                if max(last, (window.key_frame or 0) if keys else 0) > index:
                    break
                yield window, store.clips(window, plan, video.name, video.damaged_frames)
                if (following := next(coming, None)) is not None:
                    store.drop_before(following[0].first_frame)

    def _clips_of(self, window: Window) -> ClipPlan:
        return self._plan.clips(self._video, window, self._spec, self._views)


class FrameStore:
    """Prepared frames by number, as long as some window needs them.

    Args:
        pipeline: what prepared them.
    """

    def __init__(self, pipeline: FramePipeline) -> None:
        self._pipeline = pipeline
        self._frames: dict[int, torch.Tensor] = {}

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, index: int, frame: torch.Tensor) -> None:
        """Takes a frame, as ``FramePipeline.prepare`` returned it; numbers increase."""
        self._frames[index] = frame

    def drop_before(self, index: int) -> None:
        """Forgets the frames in front of that one."""
        while self._frames and (first := next(iter(self._frames))) < index:
            del self._frames[first]

    def clips(self, window: Window, plan: ClipPlan, name: str, damaged_frames: int = 0) -> Clips:
        """What ``read_clips`` makes of that part of the video; all its frames are here.

        Args:
            window: the part.
            plan: of its clips, counted from its first frame.
            name: of the video.
            damaged_frames: of the video, known so far.
        """
        wanted = window.first_frame + np.unique(plan.indices)
        kept = [self._frames[index] for index in wanted.tolist()]
        if self._pipeline.device is None:
            # Not by torch, whose threads would wait for each other while others decode and resize.
            frames = torch.from_numpy(np.stack([frame.numpy() for frame in kept]))
        else:  # where memory ran out, some are elsewhere
            frames = torch.stack([frame.to(self._pipeline.device) for frame in kept])
        return Clips(self._pipeline.spec, name, *plan, self._pipeline, frames, damaged_frames)


def window_of(video: Video, number: int, first: int, stop: int) -> Window:
    """The window of the frames from ``first`` to before ``stop``."""
    return Window(number, first, stop - first, video.seconds_of(first), video.seconds_of(stop))


def _frames(video: Video, spec: ClipSpec) -> int:
    return window_frames(spec, None if spec.time_base == "frames" else video.fps)
