"""Videos that another library decodes: objects with the interface of torchcodec's ``VideoDecoder``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
import numpy.typing as npt

from slowfast_zoo.errors import InputError, VideoError, one_line
from slowfast_zoo.video.decoding.video import Frame, Video
from slowfast_zoo.video.rules import Stamps
from slowfast_zoo.video.sampling import is_number
from slowfast_zoo.video.sources.contents import MAX_PIXELS, too_large
from slowfast_zoo.video.sources.names import display_name

_FRAMES_AT_ONCE = 16
"""That a decoder is asked for: few enough for any memory, many enough that it needn't seek for each."""

_TICK = Fraction(1, 1_000_000)
"""Seconds: what times are rounded to where a rule counts in ticks."""

_DAMAGE = (RuntimeError, ValueError, IndexError, OSError)
"""What such decoders raise over damaged files."""


@runtime_checkable
class ForeignDecoder(Protocol):
    """What is needed of a decoder; it stays its owner's, who closes it.

    Source: https://meta-pytorch.org/torchcodec/stable/generated/torchcodec.decoders.VideoDecoder.html
    """

    @property
    def metadata(self) -> Any:
        """Has ``num_frames``, and ``average_fps`` where the file says it."""

    def get_frames_at(self, indices: list[int]) -> Any:
        """Has ``data`` uint8 (n, 3, H, W) or (n, H, W, 3), ``pts_seconds`` and ``duration_seconds`` (n,)."""

    def get_frames_played_at(self, seconds: list[float]) -> Any:
        """The same of the frames that are shown at these times."""


def is_decoder(source: object) -> TypeGuard[ForeignDecoder]:
    """Whether it decodes a video for others."""
    return not isinstance(source, type) and isinstance(source, ForeignDecoder)


class DecoderVideo(Video):
    """The frames of a decoder of another library, as it gives them; times are its own.

    Where only times tell which frames are meant, every frame is decoded once for its time stamp.
    """

    def __init__(self, source: ForeignDecoder, fps: float | Fraction | None) -> None:
        super().__init__(display_name(source), fps)
        self._decoder = source
        self._count = int(source.metadata.num_frames or 0)
        if not self._count:
            raise VideoError(f"'{self.name}' holds no frames, or doesn't say how many.")
        self.codec = str(getattr(source.metadata, "codec", None) or "decoder")
        self._spans: dict[int, tuple[float, float]] = {}  # of frames that were decoded: begin, duration
        self._times: npt.NDArray[np.float64] | None = None
        self.height, self.width = self._decoded([0])[0].shape[:2]
        if self.height * self.width > MAX_PIXELS:
            raise too_large(self.name, f"{self.width}x{self.height}")

    @property
    def num_frames(self) -> int:
        return self._count

    @property
    def pixel_aspect(self) -> Fraction:
        return Fraction(getattr(self._decoder.metadata, "pixel_aspect_ratio", None) or 1)

    def seconds_of(self, index: int) -> float:
        if self._given_fps is not None or not 0 <= index <= self._count:
            return super().seconds_of(index)
        number = min(index, self._count - 1)
        if number not in self._spans:
            self._decoded([number])
        begin, duration = self._spans[number]
        return begin if number == index else begin + duration

    def _own_fps(self) -> Fraction | None:
        fps = getattr(self._decoder.metadata, "average_fps", None)
        if not is_number(fps) or fps <= 0:
            return None
        return Fraction(float(fps)).limit_denominator(100_000) or None

    def _seconds(self) -> npt.NDArray[np.float64]:
        if self._times is None:
            missing = [index for index in range(self._count) if index not in self._spans]
            for start in range(0, len(missing), _FRAMES_AT_ONCE):
                self._decoded(missing[start : start + _FRAMES_AT_ONCE])
            self._times = np.array([self._spans[index][0] for index in range(self._count)])
        return self._times

    def _stamps(self) -> Stamps:
        times = self._seconds()
        ticks = np.rint((times - times[0]) / float(_TICK)).astype(np.int64)
        last = self._spans[self._count - 1][1]
        return Stamps(ticks, _TICK, int(ticks[-1]) + round(last / float(_TICK)))

    def _read(self, wanted: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        for start in range(0, len(wanted), _FRAMES_AT_ONCE):
            indices = wanted[start : start + _FRAMES_AT_ONCE]
            yield from zip(indices, self._decoded(indices), strict=True)

    def _decoded(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """Frames uint8 RGB (n, H, W, 3); their times are kept."""
        try:
            batch = self._decoder.get_frames_at(list(indices))
        except _DAMAGE as error:
            raise VideoError(f"'{self.name}' can't be decoded: {one_line(error)}.") from error
        begins, durations = (_array(part).tolist() for part in (batch.pts_seconds, batch.duration_seconds))
        self._spans |= dict(zip(indices, zip(begins, durations, strict=True), strict=True))
        frames = _array(batch.data)
        if frames.dtype != np.uint8 or frames.ndim != 4 or 3 not in (frames.shape[1], frames.shape[3]):
            raise InputError(
                f"A decoder gives uint8 RGB frames of shape (n, 3, H, W) or (n, H, W, 3); '{self.name}' gives"
                f" {frames.dtype} of shape {frames.shape}."
            )
        known = getattr(self, "height", None), getattr(self, "width", None)
        channels_last = frames.shape[3] == 3 and (frames.shape[1] != 3 or frames.shape[1:3] == known)
        frames = frames if channels_last else frames.transpose(0, 2, 3, 1)
        if known != (None, None) and frames.shape[1:3] != known:
            raise VideoError(f"'{self.name}' gives frames of {frames.shape[1:3]} pixels after {known}.")
        return np.ascontiguousarray(frames)


def _array(values: Any) -> npt.NDArray[Any]:
    """An array of a tensor, wherever it lies."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
