"""Frames of a container file, through PyAV: counted, found, decoded, converted and turned upright.

Decoding goes in two manners. The quick one believes the packets, seeks where that is safe, uses several
threads, and compares everything that comes out with what the packets promised. At the first surprise the
careful one takes over: one thread, from the first packet, every refused packet counted. It is needed
because a threaded decoder loses good frames next to a bad one.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, Any

from slowfast_zoo.errors import FrameCountError, InputError, VideoError
from slowfast_zoo.video.decoding import packets
from slowfast_zoo.video.decoding.rgb import RgbConverter
from slowfast_zoo.video.decoding.sources import MAX_PIXELS, Media, too_large
from slowfast_zoo.video.decoding.video import Frame, Video, ahead

if TYPE_CHECKING:
    from av import Packet, VideoFrame

_WORTH_A_SEEK = 24  # frames; skipping fewer costs less than refilling the decoder

_SLOWEST = Fraction(1, 60)  # frames per second; stamps that say less are damaged, or say no seconds

_MOST_THREADS = 8  # each thread of a decoder holds frames of its own


class _SurpriseError(Exception):
    """What was decoded isn't what the packets promised; never leaves this module."""


class DecodedVideo(Video):
    """A video file, decoded by FFmpeg's libraries.

    Choices: of several video streams the best one, as FFmpeg and decord choose. Frames of another size than
    the first are scaled to it. Pixels stay as coded where they aren't square, and interlaced frames stay
    interlaced, because the publishers' pipelines have them so. Alpha is dropped. Conversion to RGB is
    libswscale's, by the stream's own matrix and range.
    """

    def __init__(self, media: Media, fps: float | Fraction | None, *, count_first: bool = True) -> None:
        super().__init__(media.name, fps)
        self._media = media
        self._careful = False
        self._index: packets.PacketIndex | None = None
        self._count: int | None = None
        self._damaged: set[int] = set()
        self._refused: set[int] = set()
        self._container: Any = None
        self._frames: Iterator[VideoFrame] = iter(())
        self._open()
        if count_first:
            self._scan()
        self._measure()

    @property
    def num_frames(self) -> int:
        if self._count is None:
            if self._index is None:
                self._scan()
            if self._careful or self._index is None:
                self._count = self._decoded_count()
            else:
                self._count = self._index.count
        return self._count

    @property
    def corrupt_frames(self) -> int:
        return len(self._damaged) + len(self._refused)

    def close(self) -> None:
        super().close()
        self._close_container()
        self._media.close()

    # Facts -----------------------------------------------------------------------------------------

    def _measure(self) -> None:
        """Size and orientation from the first frame, which is then read again as frame 0."""
        frame = self._first_frame()
        if frame is None and not self._careful:
            self._careful = True
            self._open()
            frame = self._first_frame()
        if frame is None:
            count = len(self._refused)
            reason = f"the decoder refused {count} packets" if count else "its video stream is empty"
            self.close()
            raise VideoError(f"'{self.name}' has no frame that decodes: {reason} ({self.codec}).")
        self._frames = chain([frame], self._frames)
        self._rgb = RgbConverter(self.name, frame)
        self.width, self.height = self._rgb.width, self._rgb.height

    def _first_frame(self) -> VideoFrame | None:
        try:
            return next(self._frames, None)
        except _SurpriseError:
            return None

    def _own_fps(self) -> Fraction | None:
        """What the header says, unless the frames' time stamps say something else.

        Headers are wrong by more than rounding in real files: 1000 in FLV, none in transport streams.
        """
        claimed = self._claimed_fps()
        index = self._index
        if index is None or not index.stamps or not index.span:
            return claimed
        measured = (len(index.stamps) - 1) / (index.span * Fraction(self._track.time_base))
        if claimed is not None and (abs(claimed - measured) <= measured / 10 or measured < _SLOWEST):
            return claimed
        return measured.limit_denominator(1001) or measured

    def _claimed_fps(self) -> Fraction | None:
        rate = self._track.average_rate or self._track.guessed_rate
        return Fraction(rate) if rate else None

    def _decoded_count(self) -> int:
        """Frames that come out when everything is decoded, nothing converted."""
        self._turn += 1
        self._open()
        while self._step() is not None:
            pass
        if not self._position:
            self._measure()
        return self._position

    # Places in the file -----------------------------------------------------------------------------

    def _open(self) -> None:
        """A new container at its first packet."""
        self._close_container()
        try:
            self._container = self._media.open_container()
            self._track = _best_track(self._container, self.name)
            context = self._track.codec_context
            context.thread_type = "NONE" if self._careful else "AUTO"
            context.thread_count = 1 if self._careful else min(os.cpu_count() or 1, _MOST_THREADS)
            self.codec = str(context.name)
            if context.width * context.height > MAX_PIXELS:
                raise VideoError(too_large(self.name, context.width, context.height))
            context.options = {"max_pixels": str(MAX_PIXELS)}  # of later frames as well
        except BaseException:
            self.close()
            raise
        self._exact_stamps = packets.family(self._container) in packets.EXACT_STAMPS
        self._primed = False
        self._begin(self._container.demux(self._track), 0)

    def _close_container(self) -> None:
        # The generator holds this object and with it the decoder's threads, until a garbage collection.
        self._frames = iter(())
        if self._container is not None:
            self._container.close()
            self._container = None

    def _scan(self) -> None:
        self._turn += 1
        if self._position:
            self._open()
        self._index = packets.scan(self._container, self._track)
        self._media.check()
        self._careful = self._careful or not self._index.sound
        self._rewind()

    def _begin(self, source: Iterator[Packet], position: int) -> None:
        self._frames = self._decoded(source)
        self._position = position

    def _rewind(self) -> None:
        """Frame 0 is the next; the container is opened again where a seek can't be proven right."""
        first = self._index.first_pts if self._index is not None and not self._careful else None
        if first is None or not self._exact_stamps or not self._seek(first, 0):
            self._open()

    def _seek(self, stamp: int, position: int) -> bool:
        """Whether the packet with that time stamp, which leads to that frame, is the next one now."""
        import av

        try:
            self._container.seek(stamp, stream=self._track)
            source = self._container.demux(self._track)
            first = next(source, None)
        except (av.FFmpegError, OSError):
            return False
        if first is None or first.pts != stamp:
            return False
        self._begin(chain([first], source), position)
        return True

    def _skip_towards(self, index: int) -> None:
        """Jump to the last safe entry in front of frame ``index``, if that saves enough decoding."""
        if self._careful or self._index is None:
            return
        entries = self._index.entries
        place = bisect_right(entries, index, key=lambda entry: entry[0]) - 1
        if place < 0 or entries[place][0] - self._position < _WORTH_A_SEEK:
            return
        # Old x264 files in 4:4:4 decode to green garbage in a decoder that hasn't seen their first packet.
        if not self._primed:
            self._step()
        position, stamp = entries[place]
        if not self._seek(stamp, position):
            raise _SurpriseError

    # Decoding ---------------------------------------------------------------------------------------

    def _decoded(self, source: Iterator[Packet]) -> Iterator[VideoFrame]:
        """The frames of these packets; in the quick manner, as many as are meant to be shown."""
        import av

        context = self._track.codec_context
        countable = not self._careful and self.codec in packets.ONE_FRAME_PER_PACKET
        due = 0
        for number, packet in enumerate(self._until_end(source)):
            if packet is not None and countable:
                due += packets.is_shown(packet, self.codec)
            try:
                batch = context.decode(packet)
            except (av.FFmpegError, OSError):
                if not self._careful:
                    raise _SurpriseError from None
                self._refused.add(number)
                continue
            due -= len(batch)
            yield from batch
        if countable and due:
            raise _SurpriseError

    def _until_end(self, source: Iterator[Packet]) -> Iterator[Packet | None]:
        """The packets that hold something, then None, which empties the decoder."""
        import av

        try:
            for packet in source:
                if packet.size:
                    yield packet
        except (av.FFmpegError, OSError):
            if not self._careful:
                raise _SurpriseError from None
            self._refused.add(-1)
        yield None

    def _step(self) -> tuple[int, VideoFrame] | None:
        """The next frame with its index; None behind the last."""
        frame = next(self._frames, None)
        if frame is None:
            return None
        self._primed = True
        position = self._position
        self._position += 1
        if frame.is_corrupt:
            self._damaged.add(position)
        if not self._careful and self._index is not None and self._index.stamps is not None:
            stamps = self._index.stamps
            if self._exact_stamps and (position >= len(stamps) or frame.pts != stamps[position]):
                raise _SurpriseError
        return position, frame

    def _read(self, wanted: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        return ahead(lambda item: (item[0], self._rgb(item[1])), self._found(wanted))

    def _found(self, wanted: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        """The wanted frames, unconverted; a surprise on the way costs time, not correctness."""
        done = 0
        while done < len(wanted):
            try:
                for item in self._one_pass(wanted[done:]):
                    yield item
                    done += 1
            except _SurpriseError:
                self._become_careful()

    def _one_pass(self, wanted: Iterable[int]) -> Iterator[tuple[int, VideoFrame]]:
        for index in wanted:
            if index < self._position:
                self._rewind()
            self._skip_towards(index)
            while True:
                item = self._step()
                if item is None:
                    if not self._careful:
                        raise _SurpriseError
                    raise VideoError(f"'{self.name}' ended before frame {index}: the file has changed.")
                if item[0] == index:
                    yield item
                    break

    def _become_careful(self) -> None:
        told = self._count
        turn = self._turn
        self._careful, self._count = True, None
        if self.num_frames != told:
            raise FrameCountError(
                f"'{self.name}' has {self.num_frames} frames that decode where its packets promised {told}: "
                "choose the frames again, num_frames is exact now."
            )
        self._turn = turn

    def _stream(self) -> Iterator[tuple[int, float, Frame]]:
        return ahead(lambda item: (item[0], item[1], self._rgb(item[2])), self._timed())

    def _timed(self) -> Iterator[tuple[int, float, VideoFrame]]:
        """(index, seconds, frame) of all frames; seconds by time stamps where those increase."""
        fps = self._given_fps or self._claimed_fps()
        by_stamps = self._given_fps is None and packets.family(self._container) != "avi"
        origin: int | None = None
        seconds: float | None = None
        for index, frame in self._all():
            stamp = frame.pts if by_stamps else None
            origin = stamp if origin is None else origin
            earlier = seconds
            if stamp is not None and origin is not None:
                seconds = float((stamp - origin) * self._track.time_base)
            if stamp is None or (earlier is not None and (seconds or 0.0) <= earlier):
                if fps is None:
                    raise InputError(f"'{self.name}' has no usable time stamps or frame rate: pass fps=.")
                seconds = float(index / fps) if earlier is None or not by_stamps else float(earlier + 1 / fps)
            yield index, seconds or 0.0, frame

    def _all(self) -> Iterator[tuple[int, VideoFrame]]:
        done = 0
        if self._position:
            self._rewind()
        while True:
            try:
                while (item := self._step()) is not None:
                    if item[0] == done:
                        yield item
                        done += 1
                return
            except _SurpriseError:
                self._careful = True
                self._open()


def _best_track(container: Any, name: str) -> Any:
    """The video stream that FFmpeg's own rule prefers, but never a cover picture."""
    from av.stream import Disposition

    pictures = Disposition.attached_pic | Disposition.timed_thumbnails
    tracks = [track for track in container.streams.video if not track.disposition & pictures]
    if not tracks:
        others = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        if container.streams.video:
            raise VideoError(f"'{name}' holds sound with a cover picture, and no video.")
        raise VideoError(f"'{name}' has no video stream; it holds: {others}.")
    best = container.streams.best("video")
    track = next((track for track in tracks if best is not None and track.index == best.index), tracks[0])
    if track.codec_context is None:
        raise VideoError(f"'{name}' has a video stream that no decoder here understands.")
    return track
