"""What a video's packets tell before anything is decoded: how many frames, and where a seek is safe.

Containers claim frame counts and key frames that aren't so. The packets are nearer to the truth:
nearly every codec gives one frame for each packet that is meant to be shown. What is read here is
a hypothesis which ``decoders`` checks against every frame that it decodes.
"""

from __future__ import annotations

import dataclasses
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

EXACT_STAMPS = frozenset({"mov", "matroska"})
"""Container formats whose time stamps are those of the frames. AVI has only an order of decoding."""

ONE_FRAME_PER_PACKET = frozenset(
    (
        *("av1", "libdav1d", "h264", "hevc", "vvc", "vp8", "vp9", "vc1"),
        *("h263", "mpeg1video", "mpeg2video", "mpeg4", "flv1", "msmpeg4", "wmv1", "wmv2", "wmv3"),
        *("msmpeg4v2", "dvvideo", "ffv1", "gif", "huffyuv", "mjpeg", "png", "prores", "qtrle", "rawvideo"),
    )
)
"""Decoders that return one frame for each packet that is meant to be shown."""

CODED_BY_FIELDS = frozenset(("h264", "hevc", "mpeg2video", "vc1"))
"""Decoders that may take two packets for a frame whose fields are coded apart."""

FASTEST = 10**5  # frames per second; more is a damaged header or stamp
_SLOWEST, _SLOWEST_TOLD = Fraction(1, 60), Fraction(1, 7 * 24 * 3600)
"""Frames per second. Stamps that say less are damaged, or count no seconds; the second, where the header has
the same length."""

_PAUSE_SECONDS, _PAUSE_STEPS = 0.5, 4
"""Between frames that are further apart than both, the second in times of the usual step, is a pause."""

_SMALLEST_MPEG4_FRAME = 16
"""Bytes. A shorter MPEG-4 packet is a "not coded" place holder."""

_MPEG4_FRAME_START = b"\0\0\1\xb6"
"""Start code of a video object plane. Source: ISO/IEC 14496-2, 6.3.1."""

_MATROSKA_SEGMENT = b"\x18\x53\x80\x67"


@dataclasses.dataclass(frozen=True, slots=True)
class PacketIndex:
    """The packets of one video stream, read once from beginning to end."""

    count: int
    """Packets that are meant to be shown."""
    sound: bool
    """Whether ``count`` is what decodes, as far as packets can tell."""
    stamps: array[int] | None
    """Time stamps of the frames in order, in the stream's time base; None when they are ambiguous."""
    first_pts: int | None
    """Time stamp of the first packet; None when that doesn't mark the beginning."""
    missing: int
    """Frames that the header promises after the end of the file: it was cut, or not copied whole."""
    entries: tuple[tuple[int, int], ...]
    """(index of a frame, time stamp) where decoding can start: nothing after it refers to before it."""


def scan(container: InputContainer, stream: VideoStream, head: bytes = b"") -> PacketIndex:
    """The index of all packets of ``stream``; reads ``container``, which begins with ``head``, to its end."""
    import av

    codec = stream.codec_context.name
    unit_length = _unit_length(stream)
    order: array[int] = array("q")
    keys: list[int] = []
    count, demuxed, first_pts = 0, 0, None
    sound, stamped, plain = codec in ONE_FRAME_PER_PACKET, True, True
    place_holders = packed = False
    try:
        for packet in container.demux(stream):
            demuxed += packet.dts is not None
            if not packet.size:
                continue
            if not order:
                first_pts = packet.pts
            data = memoryview(packet)
            if packet.is_corrupt or (unit_length and _units(data, unit_length) is None):
                sound = False
            if codec == "mpeg4":
                place_holders = place_holders or len(data) < _SMALLEST_MPEG4_FRAME
                packed = packed or bytes(data).count(_MPEG4_FRAME_START) > 1
            if not is_shown(packet, codec):
                plain = False
                continue
            if packet.is_keyframe and _is_entry(codec, data, unit_length):
                keys.append(count)
            count += 1
            if packet.pts is None:
                stamped = False
            order.append(packet.pts or 0)
    except (av.FFmpegError, OSError):
        sound = False
    # Where two frames share a packet, place holders make up for it; elsewhere they stand for dropped frames.
    sound = sound and (packed or not place_holders)
    stamps = array("q", sorted(order)) if stamped else None
    if stamps is not None and any(early == late for early, late in pairwise(stamps)):
        stamps = None
    seekable = sound and plain and stamps is not None and family(container) in EXACT_STAMPS
    entries = _closed_entries(order, stamps, keys) if seekable and stamps else ()
    first_pts = first_pts if plain and stamps else None
    missing = _missing(container, stream, head, demuxed, order if stamped else array("q"))
    return PacketIndex(count, sound, stamps, first_pts, missing, entries)


def _missing(
    container: InputContainer, stream: VideoStream, head: bytes, packets: int, stamps: array[int]
) -> int:
    """Frames after the end of the file, after so many packets with these time stamps, in any order."""
    entries, size, kind = stream.index_entries, container.size, family(container)
    if not size or size < 0:
        return 0
    if kind == "mov":
        cut = 0
        while cut < len(entries) and entries[len(entries) - 1 - cut].pos >= size:
            cut += 1
        return cut
    if kind == "avi" and head[:4] == b"RIFF" and int.from_bytes(head[4:8], "little") + 8 > size:
        return max(0, stream.frames - packets)
    if kind == "matroska" and _matroska_size(head) > size:
        base, seconds = Fraction(stream.time_base or 0), (container.duration or 0) / 1e6
        rate = stream.average_rate or measured_rate(rising_ticks(sorted(stamps)), len(stamps), base)
        behind = seconds - float(max(stamps, default=0) * base)
        return max(1, round(behind * float(rate or stream.guessed_rate or 0)) - bool(stamps))
    return 0


def _matroska_size(head: bytes) -> int:
    """Bytes that a Matroska file says it has; 0 where it doesn't, as when it was recorded live.

    Source: RFC 8794, sections 4 to 6 (https://www.rfc-editor.org/rfc/rfc8794); the Segment of RFC 9559.
    """
    place = 0
    while place < len(head):
        is_segment = head.startswith(_MATROSKA_SEGMENT, place)
        place += 9 - head[place].bit_length()
        length = 9 - head[place].bit_length() if place < len(head) else 0
        bits = 7 * length
        size = int.from_bytes(head[place : place + length], "big") & (1 << bits) - 1
        if place + length > len(head) or not 1 <= length <= 8 or size == (1 << bits) - 1:
            return 0
        place += length + size
        if is_segment:
            return place
    return 0


def rising_ticks(stamps: Iterable[int]) -> int:
    """Ticks from the first to the last of these time stamps, without steps back."""
    return sum(max(late - early, 0) for early, late in pairwise(stamps))


def measured_rate(
    ticks: int, frames: int, base: Fraction, told_seconds: Fraction | None = None
) -> Fraction | None:
    """Frames per second of so many that begin within so many ticks; None where that is nothing sensible.

    Args:
        ticks: from the begin of the first frame to that of the last.
        frames: how many.
        base: seconds of a tick.
        told_seconds: the video's length by its header.
    """
    seconds = ticks * base
    if not seconds or frames < 2:
        return None
    rate = (frames - 1) / seconds
    pause = seconds / (frames - 1)  # the last frame may be shown as long
    told = told_seconds is not None and -seconds / 10 <= told_seconds - seconds <= seconds / 10 + pause
    return rate if (_SLOWEST_TOLD if told else _SLOWEST) <= rate <= FASTEST else None


def moving_rates(stamps: Sequence[int], base: Fraction) -> tuple[Fraction, ...]:
    """Frames per second without pauses, and without the longest step left too; as far as that is sensible.

    Args:
        stamps: of frames in order, in ticks.
        base: seconds of a tick.
    """
    steps = np.diff(stamps)
    if not len(steps):
        return ()
    steps = steps[steps <= max(_PAUSE_SECONDS / float(base), _PAUSE_STEPS * float(np.median(steps)))]
    parts = (steps, np.delete(steps, steps.argmax()))
    rates = (measured_rate(int(part.sum()), len(part) + 1, base) for part in parts)
    return tuple(rate for rate in rates if rate is not None)


def plain_rate(measured: Fraction) -> Fraction:
    """A rate above 0 as a ratio of small numbers, as 30000/1001; far below 1, too."""
    if measured < 1:
        return 1 / (1 / measured).limit_denominator(1001)
    return measured.limit_denominator(1001)


def is_shown(packet: av.Packet, codec: str) -> bool:
    """Whether a frame should come out for this packet: not cut off by an edit list, not hidden.

    Source: RFC 6386 section 9.1 for VP8 (https://www.rfc-editor.org/rfc/rfc6386); the VP9 bitstream
    specification, section 6.2 and annex B (https://www.webmproject.org/vp9/).
    """
    if packet.is_discard:
        return False
    data = memoryview(packet)
    if codec in ("vp8", "libvpx"):
        return bool(data[0] & 0x10)
    if codec in ("vp9", "libvpx-vp9"):
        is_superframe = data[-1] & 0xE0 == 0xC0
        return is_superframe or bool(_vp9_bits(data) & 0b101)
    return True


def family(container: InputContainer) -> str:
    """The container format's first name, such as "mov" for all of mov, mp4, m4a, 3gp."""
    return str(container.format.name).split(",")[0]


def _vp9_bits(data: memoryview) -> int:
    """show_existing_frame, frame_type (0: key) and show_frame, from high to low bit."""
    profile_3 = data[0] & 0b110000 == 0b110000
    bits = data[0] << 8 | (data[1] if len(data) > 1 else 0)
    return bits >> (8 if profile_3 else 9) & 0b111


def _unit_length(stream: VideoStream) -> int:
    """Bytes of the length in front of each NAL unit, or 0 where units aren't length-prefixed.

    Source: ISO/IEC 14496-15, the avcC and hvcC records.
    """
    extradata = stream.codec_context.extradata or b""
    if not extradata.startswith(b"\x01"):
        return 0
    place = {"h264": 4, "hevc": 21}.get(stream.codec_context.name, len(extradata))
    return (extradata[place] & 3) + 1 if place < len(extradata) else 0


def _units(data: memoryview, unit_length: int) -> list[int] | None:
    """The first byte of each NAL unit; None when the lengths don't add up."""
    headers, place = [], 0
    while place < len(data):
        begin = place + unit_length
        place = begin + int.from_bytes(data[place:begin], "big")
        if place <= begin or place > len(data):
            return None
        headers.append(data[begin])
    return headers


def _is_entry(codec: str, data: memoryview, unit_length: int) -> bool:
    """Whether the bitstream itself says that nothing before this packet is referred to.

    Flags of the container aren't enough: files without a table of key frames call every frame one.
    """
    if codec == "vp9":
        return _vp9_bits(data) & 0b110 == 0 and data[0] & 0xC0 == 0x80
    units = (_units(data, unit_length) or []) if unit_length else []
    if codec == "h264":
        return any(unit & 0x1F == 5 for unit in units)  # IDR slices
    if codec == "hevc":
        return any(unit >> 1 & 0x3F in (19, 20) for unit in units)  # IDR slices
    return False


def _closed_entries(order: array[int], stamps: array[int], keys: list[int]) -> tuple[tuple[int, int], ...]:
    """Those keys that split the packets, in order of decoding, into all that is earlier and all later."""
    earliest_behind = array("q", order)
    for place in range(len(order) - 2, -1, -1):
        earliest_behind[place] = min(order[place], earliest_behind[place + 1])
    latest_before = accumulate(order[:-1], max, initial=order[0] - 1)
    wanted = set(keys)
    return tuple(
        (bisect_left(stamps, order[place]), order[place])
        for place, latest in enumerate(latest_before)
        if place in wanted and latest < order[place] == earliest_behind[place]
    )
