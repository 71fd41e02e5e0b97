"""A part of a video as a video of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from slowfast_zoo.errors import VideoError
from slowfast_zoo.video.decoding.video import Frame, Video
from slowfast_zoo.video.rules import Stamps


class VideoPart(Video):
    """Consecutive frames of a video, numbered from 0; closing it closes the whole."""

    def __init__(
        self,
        whole: Video,
        name: str,
        *,
        first_frame: int = 0,
        num_frames: int | None = None,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
    ) -> None:
        """
        Args:
            whole: the opened video.
            name: what messages call the part.
            first_frame: frames to leave out at the beginning.
            num_frames: frames from there; None: all.
            start_seconds: counted from ``first_frame``; None: there.
            end_seconds: counted from ``first_frame``; None: the end. A part has one frame at least.

        Raises:
            VideoError: the video has no frame there.
            InputError: seconds of a video whose frame rate nothing says.
        """
        super().__init__(name, None)
        self._whole, self._first, self._count = whole, first_frame, num_frames
        self._start, self._end = start_seconds, end_seconds
        self.width, self.height, self.codec = whole.width, whole.height, whole.codec
        if not self.frames_of_whole:
            seconds = whole.info.duration_seconds
            long = f"{whole.num_frames} frames" + ("" if seconds is None else f" ({seconds:.3g} s)")
            raise VideoError(f"'{name}' has no frames in the part that was asked for: the video has {long}.")

    @property
    def frames_of_whole(self) -> range:
        """Numbers of the frames in the whole video; asked anew, as decoding may correct their count."""
        first, end = self._first, self._whole.num_frames
        if self._start is not None:
            first = max(first, self._index_at(self._start))
        if self._count is not None:
            end = min(end, self._first + self._count)
        if self._end is not None:
            end = min(end, max(self._index_at(self._end), first + 1))
        return range(first, end)

    def _index_at(self, seconds: float) -> int:
        """The frame of the whole whose begin is nearest to that time of the part."""
        whole = self._whole
        return whole.index_near(seconds + (whole.seconds_of(self._first) if self._first else 0.0))

    @property
    def num_frames(self) -> int:
        return len(self.frames_of_whole)

    @property
    def lost_seconds(self) -> float:
        """How far the part's end lies after that of the video."""
        if self._end is None:
            return 0.0
        whole = self._whole
        end, stamps = whole.seconds_of(whole.num_frames), whole.stamps()
        if stamps is not None:  # the last frame may last
            end = max(end, whole.seconds_of(0) + float(stamps.duration * stamps.tick))
        begin = whole.seconds_of(self._first) if self._first else 0.0
        return max(0.0, begin + self._end - end)

    @property
    def damaged_frames(self) -> int:
        return self._whole.damaged_frames

    @property
    def marked_frames(self) -> int:
        return self._whole.marked_frames

    def _own_fps(self) -> Fraction | None:
        return self._whole.info.fps

    def _seconds(self) -> npt.NDArray[np.float64] | None:
        whole, span = self._whole, self.frames_of_whole
        times = whole._seconds() if whole._given_fps is None else None
        return None if times is None else times[span.start : span.stop] - times[span.start]

    def _stamps(self) -> Stamps | None:
        whole, span = self._whole.stamps(), self.frames_of_whole
        if whole is None:
            return None
        begin = int(whole.ticks[span.start])
        end = whole.duration if span.stop == len(whole.ticks) else int(whole.ticks[span.stop])
        return Stamps(whole.ticks[span.start : span.stop] - begin, whole.tick, end - begin)

    def _read(self, wanted: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        first = self.frames_of_whole.start
        for index, frame in self._whole.iter_frames([first + index for index in wanted]):
            yield index - first, frame

    def close(self) -> None:
        super().close()
        self._whole.close()
