"""Frames of a container file, through PyAV: counted, found, timed, converted and turned upright."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from slowfast_zoo.errors import FrameCountError, InputError, VideoError
from slowfast_zoo.video.decoding.decoders import (
    Decoder,
    IndexMismatch,
    PacketDecoder,
    SequentialDecoder,
)
from slowfast_zoo.video.decoding.packets import (
    FASTEST,
    PacketIndex,
    measured_rate,
    moving_rates,
    plain_rate,
)
from slowfast_zoo.video.decoding.rgb import RgbConverter
from slowfast_zoo.video.decoding.video import Frame, Video, ahead
from slowfast_zoo.video.rules import Stamps
from slowfast_zoo.video.sources.contents import MAX_PIXELS
from slowfast_zoo.video.sources.media import Media

if TYPE_CHECKING:
    from av import VideoFrame

_WIDEST_PIXEL = 8  # times its height; what says more is damaged

_LATE_SECONDS, _LATE_SHARE = 1.0, 0.1
"""How much later than the end in the header the last frame may start, also as a share of the video.

That end is the stream's length less its start, as PyTorchVideo reads it: right where streams start near 0.
"""


class FileVideo(Video):
    """A video file, decoded by FFmpeg's libraries.

    Choices: of several video streams the best one, as FFmpeg and decord choose. Frames of another size than
    the first are scaled to it. Pixels stay as coded where they aren't square, and interlaced frames stay
    interlaced, because the publishers' pipelines have them so. Alpha is dropped. Conversion to RGB is
    libswscale's, by the stream's own matrix and range.

    A ``PacketDecoder`` reads it, until that is mistaken: a ``SequentialDecoder`` takes its place then, which
    costs time, not correctness.
    """

    def __init__(self, media: Media, fps: float | Fraction | None, *, count_first: bool = True) -> None:
        super().__init__(media.name, fps)
        self._media = media
        self._count: int | None = None
        self._index: PacketIndex | None = None
        self._times: npt.NDArray[np.float64] | None = None
        self._ticks: Stamps | None = None
        self._moving: tuple[Fraction, ...] | None = None
        try:
            self._decoder: Decoder = PacketDecoder(media)
        except BaseException:
            media.close()
            raise
        self.codec = self._decoder.codec
        try:
            if count_first:
                self._learn_count()
            self._rgb = RgbConverter(self.name, self._first_frame())
        except BaseException:
            self.close()
            raise
        self.width, self.height = self._rgb.width, self._rgb.height

    @property
    def num_frames(self) -> int:
        if self._count is None:
            self._turn += 1
            self._learn_count()
        return self._count or 0

    @property
    def damaged_frames(self) -> int:
        known = self._decoder.damaged
        if self._index is None:
            return known
        lost = 0 if self._count is None else self._index.count - self._count
        # Where fields have packets of their own, or packets lead nowhere, nothing is damaged.
        return self._index.missing + (max(known, lost) if known or not self._index.sound else 0)

    @property
    def marked_frames(self) -> int:
        return self._decoder.marked

    def scale(self, short_side: int) -> None:
        self._rgb.scale(short_side)
        self.width, self.height = self._rgb.width, self._rgb.height

    @property
    def pixel_aspect(self) -> Fraction:
        told = self._decoder.track.sample_aspect_ratio
        aspect = Fraction(told) if told else Fraction(1)
        if not 1 / _WIDEST_PIXEL <= aspect <= _WIDEST_PIXEL:
            return Fraction(1)
        return 1 / aspect if self._rgb.turned else aspect

    def close(self) -> None:
        super().close()
        self._decoder.close()
        self._media.close()

    # Facts -----------------------------------------------------------------------------------------

    def _learn_count(self) -> None:
        while self._count is None:
            try:
                self._count = self._decoder.count()
            except IndexMismatch:
                self._fall_back()
        if isinstance(self._decoder, PacketDecoder):
            self._index = self._decoder.index

    def _fall_back(self) -> None:
        """A decoder that believes less, in place of one that was mistaken."""
        mistaken = self._decoder
        mistaken.close()
        if isinstance(mistaken, PacketDecoder):
            self._index = mistaken.index
        self._count = self._times = self._ticks = self._moving = None
        self._decoder = SequentialDecoder(self._media, one_thread=isinstance(mistaken, SequentialDecoder))

    def _first_frame(self) -> VideoFrame:
        """Frame 0, which is still the next one afterwards."""
        while True:
            try:
                frame = self._decoder.first()
            except IndexMismatch:
                frame = None
            if frame is not None:
                return frame
            last = self._decoder
            if isinstance(last, SequentialDecoder) and last.one_thread:
                refused = f"the decoder refused {last.damaged} packets"
                reason = refused if last.damaged else "its video stream is empty"
                if not last.track.codec_context.width:
                    reason = f"its frames are damaged, or have more than {MAX_PIXELS} pixels"
                raise VideoError(f"'{self.name}' has no frame that decodes: {reason} ({self.codec}).")
            self._fall_back()

    def _measured_fps(self) -> Fraction | None:
        """Frames per second by the time stamps; None without any, or where they say nothing sensible."""
        track, base = self._decoder.track, Fraction(self._decoder.track.time_base)
        if stamps := self._decoder.stamps:
            # The last frame's stamp may be damaged, and a header be made of it.
            far = stamps[-1] - stamps[-2] > (stamps[-1] - stamps[0]) / 2 if len(stamps) > 2 else False
            told = None if far else self._decoder.told_seconds
            return measured_rate(stamps[-1] - stamps[0], len(stamps), base, told)
        # Some repeat: better than a guess, but not than what the header says.
        ticks = None if track.average_rate else self._decoder.ticks
        return None if ticks is None else measured_rate(ticks, self._count or 0, base)

    def _own_fps(self) -> Fraction | None:
        """What the header says, unless time stamps contradict it, even without their longest step.

        Headers are wrong by more than rounding in real files: 1000 in FLV, none in transport streams. FFmpeg
        makes that of an MP4 from its length. So pauses don't count where frames tell their rate without them.
        """
        claimed, measured = self._decoder.rate, self._measured_fps()
        if measured is None:
            return claimed
        if self._moving is None:
            self._moving = moving_rates(self._decoder.stamps or (), Fraction(self._decoder.track.time_base))
        if claimed is not None and any(_agree(claimed, rate) for rate in self._moving):
            return claimed
        return plain_rate(next(iter(self._moving), measured))

    def _seconds(self) -> npt.NDArray[np.float64] | None:
        stamps = self._decoder.stamps
        if self._times is None and stamps and len(stamps) == self.num_frames:
            if len(stamps) > 1 and self._measured_fps() is None:
                return None
            if self._decoder.family == "avi" and stamps[-1] - stamps[0] < len(stamps):
                return None  # a tick is a frame, and none was dropped
            base = Fraction(self._decoder.track.time_base)
            ticks = np.asarray(stamps) - stamps[0]
            self._times = self._decoder.start_seconds(stamps[0]) + ticks * base.numerator / base.denominator
        return self._times

    def _stamps(self) -> Stamps | None:
        stamps, track = self._decoder.stamps, self._decoder.track
        if not stamps or self._decoder.family == "avi" or self._seconds() is None:
            return None
        if self._ticks is None:  # asked for each of many windows
            ticks, tick = np.asarray(stamps, dtype=np.int64) - stamps[0], Fraction(track.time_base)
            last = int(ticks[-1])
            end = last if track.duration is None else track.duration - (track.start_time or 0)
            if last - end > min(_LATE_SECONDS / tick, _LATE_SHARE * last):
                end = last
            if self.damaged_frames:  # those after the last one may be lost
                end = min(end, last + int(1 / (self._own_fps() or FASTEST) / tick))
            self._ticks = Stamps(ticks, tick, end)
        return self._ticks

    # Frames -----------------------------------------------------------------------------------------

    def _read(self, wanted: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        return ahead(lambda item: (item[0], self._rgb(item[1])), self._found(wanted), self._pixels)

    @property
    def _pixels(self) -> int:
        return self.width * self.height

    def _found(self, wanted: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        """The wanted frames, unconverted; a mistaken index costs time, not correctness."""
        done = 0
        while done < len(wanted):
            try:
                for item in self._one_pass(wanted[done:]):
                    yield item
                    done += 1
            except IndexMismatch:
                self._count_again()

    def _one_pass(self, wanted: Iterable[int]) -> Iterator[tuple[int, VideoFrame]]:
        for index in wanted:
            if index < self._decoder.position:
                self._decoder.rewind()
            self._decoder.skip_towards(index)
            while True:
                item = self._decoder.step()
                if item is None:
                    raise VideoError(f"'{self.name}' ended before frame {index}: the file has changed.")
                if item[0] == index:
                    yield item
                    break

    def _count_again(self) -> None:
        told = self._count
        self._fall_back()
        self._learn_count()
        if self._count != told:
            raise FrameCountError(
                f"'{self.name}' has {self._count} frames that decode where its packets promised {told}: "
                "choose the frames again, num_frames is exact now."
            )

    def _stream(self) -> Iterator[tuple[int, float, Frame]]:
        return ahead(lambda item: (item[0], item[1], self._rgb(item[2])), self._timed(), self._pixels)

    def _timed(self) -> Iterator[tuple[int, float, VideoFrame]]:
        """(index, seconds, frame) of all frames; seconds by time stamps where those increase."""
        ordered = self._given_fps is None and self._count and not self._decoder.stamps_follow_frames
        times = self._seconds() if ordered else None
        fps = self._given_fps or self._decoder.rate
        base = Fraction(self._decoder.track.time_base)
        first: int | None = None
        begin, seconds = 0.0, None
        for index, frame in self._all():
            by_stamps = self._given_fps is None and self._decoder.stamps_follow_frames
            stamp = frame.pts if by_stamps else None
            if first is None and stamp is not None:
                first, begin = stamp, self._decoder.start_seconds(stamp)
            earlier = seconds
            if times is not None and index < len(times):
                yield index, float(times[index]), frame
                continue
            if stamp is not None and first is not None:
                seconds = begin + float((stamp - first) * base)
            if stamp is None or (earlier is not None and (seconds or 0.0) <= earlier):
                if fps is None:
                    raise InputError(f"'{self.name}' has no usable time stamps or frame rate: pass fps=.")
                seconds = float(index / fps) if earlier is None or not by_stamps else float(earlier + 1 / fps)
            yield index, seconds or 0.0, frame

    def _all(self) -> Iterator[tuple[int, VideoFrame]]:
        done = 0
        if self._decoder.position:
            self._decoder.rewind()
        while True:
            try:
                while (item := self._decoder.step()) is not None:
                    if item[0] == done:
                        yield item
                        done += 1
                return
            except IndexMismatch:
                self._fall_back()


def _agree(claimed: Fraction, measured: Fraction) -> bool:
    """Whether a frame rate is the measured one, but for rounding and a few dropped frames."""
    return abs(claimed - measured) <= measured / 10
