"""The frames of a stream that have arrived, as far as windows may still need them."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from slowfast_zoo.errors import InputError
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.decoding.packets import plain_rate
from slowfast_zoo.video.decoding.video import SAME_SECONDS, Frame, Video
from slowfast_zoo.video.rules import Stamps
from slowfast_zoo.video.windows import Grid, Window, window_of

_RATES = tuple(Fraction(rate, 1001) for rate in (24000, 30000, 48000, 60000))
_RATES += tuple(Fraction(rate) for rate in (24, 25, 30, 48, 50, 60))
_SAME_RATE = 4e-4
"""Of a rate: 29.97 and 30 are farther apart, and two seconds of stamps in milliseconds tell no more."""

_MEASURED_SECONDS = 10.0
"""At least, where so many have passed: a camera may change its rate, as in low light."""

_PAUSE_SECONDS = 1.0
"""Without a frame that say nothing about the rate of the others."""

_TICKS = (Fraction(1, 1000), Fraction(1, 90000), Fraction(1, 10**9))
"""What containers and cameras count time in; the last one is for the others."""


class Arrived(Video):
    """Consecutive frames of a stream, without their pixels, numbered like those of the whole stream.

    Args:
        name: of the stream.
        size: height and width in pixels.
        fps: frames per second; None: as the times of the frames tell.
        first: number of the first frame.
        seconds: when the frames begin.
        end: when the last one ends; None: by the frame rate.

    Attributes:
        first: number of the first frame that is still known.
        rate: frames per second; None: measured.
    """

    def __init__(
        self,
        name: str,
        size: tuple[int, int],
        fps: Fraction | None,
        first: int = 0,
        seconds: Sequence[float] = (),
        end: float | None = None,
    ) -> None:
        super().__init__(name, None)
        self.height, self.width = size
        self.codec = "stream"
        self.first = first
        self._times, self._end, self.rate = list(seconds), end, fps
        self._arrivals: list[float] = []
        self._begin = self._later = (self._times[0], first) if self._times else (0.0, first)

    @property
    def num_frames(self) -> int:
        return self.first + len(self._times)

    def add(self, seconds: float, arrival: float) -> None:
        """The next frame begins at ``seconds``; it arrived at another time, by another clock."""
        if not self._times:
            self._begin = self._later = (seconds, self.first)
        self._leave_out_pause(seconds)
        if seconds - self._later[0] >= _MEASURED_SECONDS:
            self._begin, self._later = self._later, (seconds, self.num_frames)
        self._times.append(seconds)
        self._arrivals.append(arrival)

    def _leave_out_pause(self, seconds: float) -> None:
        """Counts as long as the frame before, in the measured rate, one that held on while nothing came."""
        if len(self._times) < 2:
            return
        usual, held = self._times[-1] - self._times[-2], seconds - self._times[-1]
        if held > max(_PAUSE_SECONDS, 4 * usual):
            self._begin, self._later = (
                (at + held - usual, number) for at, number in (self._begin, self._later)
            )

    def arrival_of(self, index: int) -> float:
        """When a frame arrived."""
        return self._arrivals[index - self.first]

    def drop_before(self, index: int) -> None:
        """Forgets frames; the last one stays."""
        gone = min(index - self.first, len(self._times) - 1)
        if gone > 0:
            del self._times[:gone], self._arrivals[:gone]
            self.first += gone

    def part(self, window: Window) -> Arrived:
        """The frames of a window as a video of its own, numbered and timed from its begin."""
        start = self.seconds_of(window.first_frame)
        inside = self._times[window.first_frame - self.first : window.frames.stop - self.first]
        end = self.seconds_of(window.frames.stop) - start
        return Arrived(
            self.name, (self.height, self.width), self.fps_so_far, 0, [time - start for time in inside], end
        )

    def seconds_of(self, index: int) -> float:
        if index < self.num_frames:
            return self._times[index - self.first]
        if self._end is not None:
            return self._end
        fps = self.fps_so_far
        return self._times[-1] + (0.0 if fps is None else float(1 / fps))

    def index_at(self, seconds: float) -> int:
        number = bisect.bisect_right(self._times, seconds + SAME_SECONDS) - 1
        return self.first + max(number, 0)

    @property
    def fps_so_far(self) -> Fraction | None:
        """As given, else as the last 10 to 20 seconds have it, and one of the usual rates where near."""
        if self.rate is not None:
            return self.rate
        begin, first = self._begin
        passed, frames = self._times[-1] - begin, self.num_frames - 1 - first
        if not frames or passed <= 0:
            return None
        measured = frames / passed
        usual = min(_RATES, key=lambda rate: abs(rate - measured))
        if abs(usual - measured) < _SAME_RATE * measured:
            return usual
        return plain_rate(Fraction(measured))

    def _own_fps(self) -> Fraction | None:
        return self.fps_so_far

    def _seconds(self) -> npt.NDArray[np.float64]:
        return np.array(self._times)

    def _stamps(self) -> Stamps | None:
        times = np.array([*self._times, self.seconds_of(self.num_frames)]) - self._times[0]
        for tick in _TICKS:
            exact = times / float(tick)
            ticks = np.round(exact)
            if tick == _TICKS[-1] or np.abs(exact - ticks).max() < 1e-3:
                whole = ticks.astype(np.int64)
                return Stamps(whole[:-1], tick, int(whole[-1]))
        return None

    def _read(self, wanted: Sequence[int]) -> NoReturn:
        raise InputError(f"The frames of '{self.name}' are gone.")

    def _stream(self) -> Iterator[tuple[int, float, Frame]]:
        raise InputError(f"The frames of '{self.name}' are gone.")


class Walk:
    """The windows of a grid, one after the other, as the frames for them arrive.

    Args:
        grid: where windows begin, counted from the first frame; how long they are.
        spec: the clip contract.
        arrived: the frames, none so far.
    """

    def __init__(self, grid: Grid, spec: ClipSpec, arrived: Arrived) -> None:
        self.arrived = arrived
        self._grid, self._spec = grid, spec
        self._start = arrived.first
        self._begin: float | None = None
        self._number = 0
        self._last: Window | None = None

    @property
    def window_seconds(self) -> float | None:
        """How long a window is; None where that isn't known yet."""
        fps = self.arrived.fps_so_far if self._spec.fps is None else self._spec.fps
        return None if fps is None else self._spec.span_frames / float(fps)

    def add(self, seconds: float, arrival: float) -> None:
        """The next frame; see ``Arrived.add``."""
        if self._begin is None:
            self._begin = seconds
        self.arrived.add(seconds, arrival)

    def next(self, number: int) -> Window | None:
        """The next window all of whose frames are there; None: not yet.

        Args:
            number: that it gets.
        """
        arrived, grid = self.arrived, self._grid
        latest = arrived.seconds_of(arrived.num_frames - 1)
        while (moment := self._moment) + SAME_SECONDS < latest:
            first = max(arrived.index_near(moment), self._start)
            if self._last is not None and first <= self._last.first_frame:
                self._number = grid.number_behind(arrived, self._begin or 0.0, self._number, first)
                continue
            if (stop := self._stop(first)) is None:
                return None
            self._number += 1
            self._last = window_of(arrived, number, first, stop)
            return self._last
        return None

    def rest(self, number: int) -> list[Window]:
        """The windows that are left when nothing more arrives; the last one ends with the last frame."""
        arrived, grid, count = self.arrived, self._grid, self.arrived.num_frames
        if arrived.fps_so_far is None:
            arrived.rate = Fraction(self._spec.fps or 25)  # of a single frame: any will do
        windows: list[Window] = []
        while (moment := self._moment) < arrived.seconds_of(count):
            first = min(max(arrived.index_near(moment), self._start), count - 1)
            if self._last is not None and self._last.frames.stop == count:
                break
            if self._last is not None and first <= self._last.first_frame:
                self._number = grid.number_behind(arrived, self._begin or 0.0, self._number, first)
                continue
            if (stop := self._certain_stop(first)) > count:
                # Of a rate that has just risen, the first frames may be gone.
                first, stop = max(self._back(), arrived.first), count
                if self._last is not None and first <= self._last.first_frame:
                    break
            self._last = window_of(arrived, number + len(windows), first, stop)
            windows.append(self._last)
            self._number += 1
        return windows

    def needed(self) -> int:
        """The first frame that a window to come may have."""
        following = self.arrived.index_at(self._moment)
        return max(min(self._back(), following), self.arrived.first)

    @property
    def _moment(self) -> float:
        """The grid's next time."""
        return (self._begin or 0.0) + self._number * self._grid.hop_seconds

    def _stop(self, first: int) -> int | None:
        """The frame after a window that begins with that one; None where that isn't sure yet."""
        stop, count = self._certain_stop(first), self.arrived.num_frames
        # A window of so many seconds ends with the frame that is nearest to its end.
        return stop if stop <= count and (self._spec.time_base != "seconds" or stop < count - 1) else None

    def _certain_stop(self, first: int) -> int:
        if self._without_rate():
            return self.arrived.num_frames + 1
        return self._grid.stop_of(self.arrived, self._spec, first)

    def _back(self) -> int:
        """The first frame of a window that ends with the last one."""
        if self._without_rate():
            return self.arrived.first
        return self._grid.first_of(self.arrived, self._spec, self.arrived.num_frames)

    def _without_rate(self) -> bool:
        return self._spec.time_base != "frames" and self.arrived.fps_so_far is None
