"""What every kind of video offers: counted frames, each by its index, and a stream of them.

Frames are uint8 RGB of shape (H, W, 3), upright, in order of decoding. That order is the truth:
time stamps of real files repeat, jump and run backwards.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import math
import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from fractions import Fraction
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt

from slowfast_zoo.errors import FrameCountError, InputError
from slowfast_zoo.runtime.machine import threads
from slowfast_zoo.video.rules import Stamps
from slowfast_zoo.video.sampling import is_number

Frame = npt.NDArray[np.uint8]
Item = TypeVar("Item")
Result = TypeVar("Result")

_FINEST_RATE = 100_000
"""Rates are fractions with a denominator up to this."""

_WORKERS = 2
"""Threads that convert frames while the next ones are decoded; two keep up with any decoder met."""

_AHEAD = 6
_AHEAD_PIXELS = 2**26
"""Frames, and pixels, that may be decoded before the first of them is taken: the bound on memory."""

_COUNTS = 3
"""How often frames are chosen, where decoding shows each time that there is another number of them."""

EVEN_SECONDS = 2e-3
"""Times that are nearer to those of a constant rate are of one: stamps may be whole milliseconds."""

SAME_SECONDS = 1e-6
"""Times that are nearer to each other are one: seconds are rounded on their way."""


@dataclasses.dataclass(frozen=True, slots=True)
class VideoInfo:
    """The facts of one video, found without trusting its container."""

    name: str
    """The file's path, the URL without its query, or a word for what has no name."""
    num_frames: int
    """Frames that decode."""
    fps: Fraction | None
    """Frames per second; None where nothing says so (arrays, folders of frames)."""
    width: int
    """Pixels of the upright frame."""
    height: int
    """Pixels of the upright frame."""
    codec: str
    """The decoder's name, or "images" or "array"."""
    damaged_frames: int
    """Frames known to be damaged or lost when this was asked."""

    @property
    def duration_seconds(self) -> float | None:
        """Frames divided by frame rate; None without a frame rate."""
        return None if self.fps is None else float(self.num_frames / self.fps)


class Video(abc.ABC):
    """A video whose frames are read by index. Use it in a ``with`` statement, from one thread.

    Attributes:
        name: what messages call it.
        width: pixels of the upright frame.
        height: pixels of the upright frame.
        codec: the decoder's name, or "images" or "array".
    """

    name: str
    width: int
    height: int
    codec: str

    def __init__(self, name: str, fps: float | Fraction | None) -> None:
        self.name = name
        self._given_fps = checked_fps(fps)
        self._turn = 0

    @property
    @abc.abstractmethod
    def num_frames(self) -> int:
        """Frames that decode."""

    @property
    def damaged_frames(self) -> int:
        """Frames known so far to be lost (promised and not there) or damaged (refused, or marked so)."""
        return 0

    @property
    def marked_frames(self) -> int:
        """Those of them that are there all the same, marked as damaged by the decoder."""
        return 0

    @property
    def pixel_aspect(self) -> Fraction:
        """How much wider than high a player shows a pixel of the upright frame; frames come as coded."""
        return Fraction(1)

    @property
    def fps(self) -> Fraction:
        """Frames per second: as given, else as the file has it.

        Raises:
            InputError: nothing says how many frames make a second.
        """
        fps = self._given_fps or self._own_fps()
        if fps is None:
            raise InputError(f"The frame rate of '{self.name}' isn't known: pass fps= (frames per second).")
        return fps

    @property
    def duration_seconds(self) -> float:
        """Frames divided by frame rate.

        Raises:
            InputError: nothing says how many frames make a second.
        """
        return float(self.num_frames / self.fps)

    @property
    def info(self) -> VideoInfo:
        """The facts of this video."""
        return VideoInfo(
            name=self.name,
            num_frames=self.num_frames,
            fps=self._given_fps or self._own_fps(),
            width=self.width,
            height=self.height,
            codec=self.codec,
            damaged_frames=self.damaged_frames,
        )

    def scale(self, short_side: int) -> None:
        """Frames come with that shorter side, in pixels, from now on, as ``ffmpeg -vf scale`` makes them.

        Raises:
            InputError: it is no file that FFmpeg decodes.
        """
        raise InputError(f"'{self.name}' isn't decoded by FFmpeg, which would scale it; pass a video file.")

    def iter_frames(self, indices: Iterable[int]) -> Iterator[tuple[int, Frame]]:
        """(index, frame) of each different index, in increasing order; every frame is decoded once.

        Only a handful of frames is in memory at a time. A new call ends the iteration of the one before.

        Args:
            indices: numbers from 0 to below ``num_frames``, in any order, repeated at will.

        Raises:
            InputError: an index is no integer or out of range.
            FrameCountError: decoding shows that ``num_frames`` was wrong; it is right from now on,
                so choose the frames anew.
            VideoError: the frames can't be decoded.
        """
        wanted = sorted({_checked_index(index, self.num_frames, self.name) for index in indices})
        self._turn += 1
        return self._current(self._read(wanted), self._turn)

    def frames(self, indices: Sequence[int] | npt.NDArray[np.integer]) -> Frame:
        """The frames of ``indices``, uint8 RGB of shape (n, H, W, 3), in the order asked for.

        Raises:
            InputError, FrameCountError, VideoError: as ``iter_frames``.
        """
        order = np.asarray(indices).ravel()
        result = np.empty((order.size, self.height, self.width, 3), np.uint8)
        for index, frame in self.iter_frames(order.tolist()):
            for place in np.flatnonzero(order == index):
                result[place] = frame
        return result

    def seconds_of(self, index: int) -> float:
        """When a frame begins to be shown, in seconds, as players count: from the begin of the file.

        By time stamps where those are sound, so that a variable frame rate, or a picture that comes later
        than the sound, is as a player has it; else by the frame rate. Always increasing.

        Args:
            index: of a frame, or ``num_frames`` for the end of the last one.

        Raises:
            InputError: no such frame, or neither stamps nor a frame rate are known.
        """
        count = self.num_frames
        number = _checked_index(index, count + 1, self.name)
        times = self._seconds() if self._given_fps is None else None
        if times is None:
            return float(number / self.fps)
        return float(times[number]) if number < count else float(times[-1]) + float(1 / self.fps)

    def index_at(self, seconds: float) -> int:
        """The frame that a player shows at ``seconds``; the first before the begin, the last after the end.

        Raises:
            InputError: no number, or neither stamps nor a frame rate are known.
        """
        if not is_number(seconds):
            raise InputError(f"A time is {seconds!r}; accepted: seconds, a finite number.")
        times = self._seconds() if self._given_fps is None else None
        moment = float(seconds) + SAME_SECONDS
        if times is None:
            number = math.floor(min(max(moment * self.fps, 0), self.num_frames))
        else:
            number = int(np.searchsorted(times, moment, side="right")) - 1
        return min(max(number, 0), self.num_frames - 1)

    def index_near(self, seconds: float) -> int:
        """The frame whose begin is nearest to ``seconds``; ``num_frames`` after the middle of the last one.

        Raises:
            InputError: as ``index_at``.
        """
        index = self.index_at(seconds)
        return index + (seconds - self.seconds_of(index) >= self.seconds_of(index + 1) - seconds)

    def frames_at(self, seconds: Iterable[float]) -> Frame:
        """What a player shows at these times, uint8 RGB of shape (n, H, W, 3).

        Raises:
            InputError, FrameCountError, VideoError: as ``index_at`` and ``iter_frames``.
        """
        return self.frames([self.index_at(moment) for moment in seconds])

    def stream(self) -> Iterator[tuple[int, float, Frame]]:
        """(index, seconds as in ``seconds_of``, frame) of every frame, in constant memory.

        Works without counting the frames first, so that it begins at once however long the video is. A
        stamp that doesn't increase makes ``seconds_of`` go by the frame rate throughout; here, where that
        can't be foreseen, only that frame does. An AVI with B-frames goes by the rate that its header tells,
        unless its frames were counted before.

        Raises:
            InputError: seconds need a frame rate and nothing gives one.
            VideoError: the frames can't be decoded.
        """
        self._turn += 1
        return self._current(self._stream(), self._turn)

    def close(self) -> None:
        """Let go of the file; frames can't be read any more."""
        self._turn += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}('{self.name}', {self.width}x{self.height}, {self.codec})"

    def _current(self, items: Iterator[Item], turn: int) -> Iterator[Item]:
        """The items, as long as nobody has begun another iteration of the same decoder or closed it."""
        for item in items:
            yield item
            if turn != self._turn:
                raise InputError(
                    f"'{self.name}' was closed, or is being read by a later iteration: "
                    "open the video once for each loop over its frames."
                )

    def _seconds(self) -> npt.NDArray[np.float64] | None:
        """When each frame begins to be shown, float64 (num_frames,); None: only the rate tells."""
        return None

    def stamps(self) -> Stamps | None:
        """When frames are shown in the container's own ticks; None where only a frame rate tells."""
        return self._stamps() if self._given_fps is None else None

    def _stamps(self) -> Stamps | None:
        return None

    def _own_fps(self) -> Fraction | None:
        """The frame rate that the source itself tells; None where it tells none."""
        return None

    @abc.abstractmethod
    def _read(self, wanted: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        """(index, frame) for each of the sorted, different, valid indices."""

    def _stream(self) -> Iterator[tuple[int, float, Frame]]:
        """(index, seconds, frame) of every frame."""
        for index, frame in self._read(range(self.num_frames)):
            yield index, self.seconds_of(index), frame


def with_true_count(work: Callable[[], Result]) -> Result:
    """What ``work`` returns; where decoding shows that ``num_frames`` was wrong, it is done once more.

    Raises:
        FrameCountError: it was wrong every time.
    """
    for _ in range(_COUNTS - 1):
        with contextlib.suppress(FrameCountError):
            return work()
    return work()


def come_evenly(seconds: npt.ArrayLike, rate: Fraction) -> bool:
    """Whether frames that are shown at these times come at a constant rate, counted from the first."""
    since = np.asarray(seconds, np.float64)
    return bool((np.abs(since - since[:1] - np.arange(len(since)) / float(rate)) < EVEN_SECONDS).all())


def ahead(work: Callable[[Item], Result], items: Iterable[Item], pixels: int = 0) -> Iterator[Result]:
    """``work`` of each item, in order, done by threads while the next items are being made.

    Args:
        work: what to do with an item.
        items: made in this thread.
        pixels: of each item; fewer of large ones are in memory at a time.
    """
    most = max(2, min(_AHEAD, _AHEAD_PIXELS // max(pixels, 1)))
    pending: deque[Future[Result]] = deque()
    with threads(_WORKERS, "frames") as pool:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) == most:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _checked_index(index: int, count: int, name: str) -> int:
    if isinstance(index, (bool, np.bool_)):
        raise InputError(
            f"Frames of '{name}' are asked for by integers, got {index!r}; numpy.flatnonzero(mask) makes them"
            " of truth values."
        )
    try:
        number = operator.index(index)
    except TypeError:
        raise InputError(f"Frames of '{name}' are asked for by integers, got {index!r}.") from None
    if not 0 <= number < count:
        raise InputError(f"Frame {number} was asked for, '{name}' has frames 0 to {count - 1}.")
    return number


def checked_fps(fps: float | Fraction | None) -> Fraction | None:
    """A frame rate as a fraction; None stays None.

    Raises:
        InputError: no number from 0.00001 to below 1000000.
    """
    if fps is None:
        return None
    exact = Fraction(0)
    if is_number(fps) and 0 < fps < 1e6:
        exact = Fraction(fps if isinstance(fps, Fraction) else float(fps)).limit_denominator(_FINEST_RATE)
    if not exact:
        raise InputError(
            f"fps is {fps!r:.60}; accepted: frames per second, a number from {1 / _FINEST_RATE:g} to below"
            " 1000000."
        )
    return exact
