"""The frames of a container file, in one order, from two decoders of different faith.

``PacketDecoder`` believes the packets, seeks where that is safe, uses several threads, and compares
everything that comes out with what the packets promised: at the first difference it raises
``IndexMismatch``. ``SequentialDecoder`` believes nothing and decodes from the first packet. With one
thread it goes on after damage and counts it; that is needed because threads lose good frames next to
a bad one.
"""

from __future__ import annotations

import abc
import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

from slowfast_zoo.errors import VideoError
from slowfast_zoo.video.decoding import packets
from slowfast_zoo.video.sources.contents import MAX_PIXELS, too_large
from slowfast_zoo.video.sources.media import Media

if TYPE_CHECKING:
    from av import Packet, VideoFrame

_WORTH_A_SEEK = 24  # frames; skipping fewer costs less than refilling the decoder

_MOST_THREADS = 8  # each thread of a decoder holds frames of its own
_THREAD_PIXELS = 2**26  # pixels that the threads of a decoder hold together: two frames of 8K

_PATCHED_FROM_OTHER_THREADS = frozenset(("ffv1",))
"""Decoders that fill damaged slices, without a word, from a frame that another thread is still writing."""

_LATEST_START_SECONDS = 3600.0  # after the first sound; more is a damaged stamp

_LONG, _MOST_KEPT = 5000, 8
"""Packets of a file that take long enough to read that what they tell is kept, and files it is kept of."""
_kept: dict[tuple[str, int, int], packets.PacketIndex] = {}
"""For whoever opens a part of the same file next, by ``Media.unchanged``."""


class IndexMismatch(Exception):
    """What was decoded isn't what the packets promised, or is damaged; never leaves this room."""


class Decoder(abc.ABC):
    """The frames of one video stream, one after the other, from a given place on.

    Attributes:
        codec: the decoder's name.
        position: index of the frame that ``step`` returns next.
        stamps: time stamps of all frames in order, once they are known to increase; else None.
        ticks: from the first frame's stamp to the last one's, even where some repeat, once all are
            known; else None.
        damaged: frames marked as damaged, and packets refused, so far.
    """

    def __init__(self, media: Media, threads: int) -> None:
        self._media = media
        self._threads = threads
        self._container, self.track = self._opened()
        self.codec = str(self.track.codec_context.name)
        self.family = packets.family(self._container)
        self.position = 0
        self.stamps: array[int] | None = None
        self.ticks: int | None = None
        self._damaged_frames: set[int] = set()
        self._refused_packets: set[int] = set()
        self._frames = self._decoded(self._container.demux(self.track))

    @property
    def damaged(self) -> int:
        return self.marked + len(self._refused_packets)

    @property
    def marked(self) -> int:
        """Frames marked as damaged so far, which were given."""
        return len(self._damaged_frames)

    @abc.abstractmethod
    def count(self) -> int:
        """How many frames there are; ``position`` is 0 afterwards.

        Raises:
            IndexMismatch: this decoder can't know.
        """

    def step(self) -> tuple[int, VideoFrame] | None:
        """The next frame with its index; None after the last.

        Raises:
            IndexMismatch: it isn't what was promised.
        """
        frame = next(self._frames, None)
        if frame is None:
            return None
        position = self.position
        self.position += 1
        if frame.is_corrupt:
            if self._threads > 1:
                raise IndexMismatch
            self._damaged_frames.add(position)
        return position, frame

    def rewind(self) -> None:
        """Frame 0 is the next, from a container that is opened again."""
        self.close()
        self._container, self.track = self._opened()
        self._begin(self._container.demux(self.track), 0)

    def skip_towards(self, index: int) -> None:  # noqa: B027
        """Leaves out what needn't be decoded for frame ``index``."""

    def first(self) -> VideoFrame | None:
        """The next frame, which stays the next; None where there is none."""
        frame = next(self._frames, None)
        if frame is not None:
            self._frames = chain([frame], self._frames)
        return frame

    @property
    def told_seconds(self) -> Fraction | None:
        """How long the video is, as its header says; None where it has none, or not for that."""
        if self.family not in packets.EXACT_STAMPS:  # others' length is guessed by their stamps
            return None
        if self.track.duration:
            return Fraction(self.track.duration) * Fraction(self.track.time_base)
        duration = self._container.duration if self._container is not None else None
        return Fraction(duration, 10**6) if duration and duration > 0 else None

    @property
    def rate(self) -> Fraction | None:
        """Frames per second as the container has it; None where it has nothing."""
        return rate_of(self.track)

    @property
    def stamps_follow_frames(self) -> bool:
        """Whether time stamps are decoded with the frames that they belong to."""
        return stamps_follow_frames(self.family, self.track)

    def start_seconds(self, stamp: int) -> float:
        """How much later than the file (its first sound, mostly) a player shows the frame of that stamp."""
        start = self._container.start_time
        late = 0.0
        if start is not None and self.family != "avi":  # its first stamp tells the order of decoding
            late = float(stamp * Fraction(self.track.time_base) - Fraction(start, 10**6))
        return late if 1e-3 < late < _LATEST_START_SECONDS else 0.0

    def close(self) -> None:
        """Let go of the container."""
        # The generator holds this object and with it the decoder's threads, until a garbage collection.
        self._frames = iter(())
        if self._container is not None:
            self._container.close()
            self._container = None

    def _opened(self) -> tuple[Any, Any]:
        container = self._media.open_container()
        try:
            track = best_track(container, self._media.name)
            context = track.codec_context
            pixels = context.width * context.height
            if pixels > MAX_PIXELS:
                raise too_large(self._media.name, f"{context.width}x{context.height}")
            options = {"max_pixels": str(MAX_PIXELS)}  # of later frames as well
            if self._threads > 1:
                options["err_detect"] = "explode"  # how threads patch up damage differs from run to run
            context.options = options
            threads = min(self._threads, max(1, _THREAD_PIXELS // max(pixels, 1)))
            many = "SLICE" if context.name in _PATCHED_FROM_OTHER_THREADS else "AUTO"
            context.thread_type, context.thread_count = "NONE" if threads == 1 else many, threads
        except BaseException:
            container.close()
            raise
        return container, track

    def _begin(self, source: Iterator[Packet], position: int) -> None:
        self._frames = self._decoded(source)
        self.position = position

    def _decoded(self, source: Iterator[Packet]) -> Iterator[VideoFrame]:
        """The frames of these packets; what the decoder refuses is a surprise, or counted by one thread."""
        import av

        context = self.track.codec_context
        for number, packet in enumerate(self._until_end(source)):
            try:
                batch = context.decode(packet)
            except (av.FFmpegError, OSError):
                if self._threads > 1:
                    raise IndexMismatch from None
                self._refused_packets.add(number)
                continue
            except ValueError as error:
                name = self._media.name
                raise VideoError(f"'{name}' has a video stream that no decoder here understands.") from error
            yield from batch

    def _until_end(self, source: Iterator[Packet]) -> Iterator[Packet | None]:
        """The packets that hold something, then None, which empties the decoder."""
        import av

        try:
            for packet in source:
                if packet.size:
                    yield packet
        except (av.FFmpegError, OSError):
            if self._threads > 1:
                raise IndexMismatch from None
            self._refused_packets.add(-1)
        self._media.check()
        yield None


class SequentialDecoder(Decoder):
    """Decodes everything from the first packet on; knows what it has counted."""

    def __init__(self, media: Media, *, one_thread: bool) -> None:
        super().__init__(media, 1 if one_thread else _most_threads())
        self.one_thread = one_thread

    def count(self) -> int:
        if self.position:
            self.rewind()
        stamps: array[int] = array("q")
        while (item := self.step()) is not None:
            if item[1].pts is not None:
                stamps.append(item[1].pts)
        count = self.position
        if stamps and len(stamps) == count:
            self.ticks = packets.rising_ticks(stamps)
            self.stamps = stamps if all(early < late for early, late in pairwise(stamps)) else None
        self.rewind()
        return count


class PacketDecoder(Decoder):
    """Believes the packets, as long as everything that comes out agrees with them.

    Attributes:
        index: what the packets tell; None before ``count``.
    """

    def __init__(self, media: Media) -> None:
        self.index: packets.PacketIndex | None = None
        self._primed = False
        super().__init__(media, max(2, _most_threads()))
        self._exact_stamps = self.family in packets.EXACT_STAMPS

    def count(self) -> int:
        if self.index is None:
            if self.position:
                self.rewind()
            self.index = self._read_index()
            self.stamps = self.index.stamps
            self.rewind()
            if not self.index.sound or not self._begins_as_promised(self.index):
                raise IndexMismatch
        return self.index.count

    def _opened(self) -> tuple[Any, Any]:
        self._file = self._media.unchanged
        return super()._opened()

    def _read_index(self) -> packets.PacketIndex:
        file = self._file
        known = _kept.get(file) if file else None
        if known is not None:
            return known
        index = packets.scan(self._container, self.track, self._media.head)
        self._media.check()
        long = index.sound and index.count >= _LONG  # what isn't sound may be an error that passes
        if file and long and file == self._media.unchanged:
            _kept[file] = index
            for oldest in list(_kept)[:-_MOST_KEPT]:
                _kept.pop(oldest, None)
        return index

    def _begins_as_promised(self, index: packets.PacketIndex) -> bool:
        """Whether the first frame is that of the first packet, and a frame has a packet of its own.

        A transport stream that was cut begins with packets that nothing can be decoded from; where the two
        fields of a picture are coded apart, each has its packet.
        """
        frame = self.first()
        if frame is None or (frame.interlaced_frame and self.codec in packets.CODED_BY_FIELDS):
            return False
        if self.family == "avi":
            return True
        return index.stamps is not None and frame.pts == index.stamps[0]

    def step(self) -> tuple[int, VideoFrame] | None:
        item = super().step()
        if item is None:
            if self.index is not None and self.position != self.index.count:
                raise IndexMismatch
            return None
        self._primed = True
        position, frame = item
        if self.index is not None and self.index.stamps is not None and self._exact_stamps:
            stamps = self.index.stamps
            if position >= len(stamps) or frame.pts != stamps[position]:
                raise IndexMismatch
        return item

    def rewind(self) -> None:
        """Frame 0 is the next; the container is opened again where a seek can't be proven right."""
        first = self.index.first_pts if self.index is not None else None
        if first is None or not self._exact_stamps or not self._seek(first, 0):
            self._primed = False
            super().rewind()

    def skip_towards(self, index: int) -> None:
        """Jump to the last safe entry in front of frame ``index``, if that saves enough decoding."""
        if self.index is None:
            return
        entries = self.index.entries
        number = bisect_right(entries, index, key=lambda entry: entry[0]) - 1
        if number < 0 or entries[number][0] - self.position < _WORTH_A_SEEK:
            return
        # Old x264 files in 4:4:4 decode to green garbage in a decoder that hasn't seen their first packet.
        if not self._primed:
            self.step()
        position, stamp = entries[number]
        if not self._seek(stamp, position):
            raise IndexMismatch

    def _seek(self, stamp: int, position: int) -> bool:
        """Whether the packet with that time stamp, which leads to that frame, is the next one now."""
        import av

        try:
            self._container.seek(stamp, stream=self.track)
            source = self._container.demux(self.track)
            first = next(source, None)
        except (av.FFmpegError, OSError):
            return False
        if first is None or first.pts != stamp:
            return False
        self._begin(chain([first], source), position)
        return True

    def _decoded(self, source: Iterator[Packet]) -> Iterator[VideoFrame]:
        """The frames of these packets, as many as are meant to be shown."""
        due = 0
        countable = self.codec in packets.ONE_FRAME_PER_PACKET

        def counted() -> Iterator[Packet]:
            nonlocal due
            for packet in source:
                due += bool(packet.size) and packets.is_shown(packet, self.codec)
                yield packet

        for frame in super()._decoded(counted() if countable else source):
            due -= 1
            yield frame
        if countable and due:
            raise IndexMismatch


def rate_of(track: Any) -> Fraction | None:
    """Frames per second of a video stream as the container has it; None where it has nothing."""
    rate = track.average_rate or track.guessed_rate
    return Fraction(rate) if rate and rate <= packets.FASTEST else None


def stamps_follow_frames(family: str, track: Any) -> bool:
    """Whether time stamps are decoded with the frames that they belong to; AVI's have their order."""
    return family != "avi" or not track.codec_context.has_b_frames


def _most_threads() -> int:
    return min(os.cpu_count() or 1, _MOST_THREADS)


def best_track(container: Any, name: str) -> Any:
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
