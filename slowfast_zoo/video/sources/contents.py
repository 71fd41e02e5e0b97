"""What bytes say before FFmpeg opens them: text, a page, one picture, too large, cut off."""

from __future__ import annotations

import contextlib
import io
import struct
from typing import Any, BinaryIO

from slowfast_zoo.errors import VideoError
from slowfast_zoo.video.sources.names import LIST_ADVICE

MAX_PIXELS = 8192 * 4320
"""Pixels that a frame may have: the largest 8K video. Larger ones are refused before memory is taken."""

_MAX_DEEP_PIXELS = 4096 * 2160
"""The same of animated PNG with 16 bits a channel: their decoder keeps three frames of 8 bytes a pixel."""

NOT_VIDEOS = {
    "tty": f"it is text{LIST_ADVICE}",
    "hls": "it is a playlist: pass the video itself, or the address to watch",
    "dash": "it is a playlist: pass the video itself",
    "concat": "it is a playlist: pass the video itself",
    "image2": "it is a single picture, pass a video or a folder of frames",
}
"""Formats that FFmpeg would open, each with the reason why they aren't accepted."""

STREAM = "it is a stream without an end, not a file: watch takes it, or record a part of it"
NOT_FILES = {
    "multipart/": STREAM,
    "text/html": "it is a web page, not a video: pass the address of the file itself",
    "application/xhtml": "it is a web page, not a video: pass the address of the file itself",
    "application/vnd.apple.mpegurl": NOT_VIDEOS["hls"],
    "application/x-mpegurl": NOT_VIDEOS["hls"],
    "application/dash+xml": NOT_VIDEOS["dash"],
}
"""Beginnings of what a server calls its answer, each with the reason why it isn't fetched."""

_STILLS = frozenset((b"avif", b"heic", b"heix", b"mif1"))
_SEQUENCES = frozenset((b"avis", b"hevc", b"hevx", b"msf1"))
_MAX_BOXES = 1000


def too_large(name: str, pixels: str, most: int = MAX_PIXELS) -> VideoError:
    """The error for a frame of more than ``most``; ``pixels`` are words for how many it has."""
    like = "8192x4320" if most == MAX_PIXELS else "4096x2160, where a channel has 16 bits"
    return VideoError(
        f"'{name}' has frames of {pixels} pixels; accepted: up to {most} pixels, which is {like}: "
        "scale it down first."
    )


def why_no_video(head: bytes) -> str | None:
    """Why a file that begins like this is no video, where its first bytes say so."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return NOT_FILES["text/html"]
    if text.startswith(b"#extm3u"):
        return NOT_VIDEOS["hls"]
    if head.startswith(b"\x93NUMPY"):
        return "it is a NumPy file: pass the array itself, numpy.load(path), uint8 (T, H, W, 3)"
    if head.startswith(b"RIFF") and head[8:16] == b"WEBPVP8X" and head[20:21] and head[20] & 2:
        return "it is an animated WebP, which FFmpeg doesn't decode: convert it to GIF, PNG frames or MP4"
    if _is_still(head):
        return NOT_VIDEOS["image2"]
    if head.startswith((b"PK\x03\x04", b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf", b"BZh", b"\xfd7zXZ")):
        return "it is an archive: unpack it first"
    return None


def picture_size(head: bytes) -> tuple[int, int, int]:
    """Width and height of what begins like a GIF or PNG, else 0, 0; and how many pixels it may have."""
    if head.startswith(b"GIF8") and len(head) >= 10:
        return *struct.unpack("<HH", head[6:10]), MAX_PIXELS
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 25:
        return *struct.unpack(">II", head[16:24]), _MAX_DEEP_PIXELS if head[24] == 16 else MAX_PIXELS
    return 0, 0, MAX_PIXELS


def is_text(head: bytes) -> bool:
    """Whether a file that begins like this is text, not a video of uncompressed frames."""
    if head.startswith(b"YUV4MPEG2 "):  # its pixels may be letters
        return False
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    try:
        text = head[:-3].decode() if len(head) == 512 else head.decode()
    except UnicodeDecodeError:
        return False
    return bool(text) and all(c.isprintable() or c in "\t\r\n\ufeff" for c in text)


def _is_still(head: bytes) -> bool:
    """Whether what begins like this is one picture in an MP4's boxes (AVIF, HEIC), not a sequence of them.

    Source: ISO/IEC 23008-12, section 7 and annex B; https://aomediacodec.github.io/av1-avif/.
    """
    box = head[: int.from_bytes(head[:4], "big")]
    brands = {box[place : place + 4] for place in range(8, len(box), 4)}
    return head[4:8] == b"ftyp" and head[8:12] in _STILLS and not brands & _SEQUENCES


def lacks_index(file: Any) -> bool:
    """Whether no box of an MP4 is its index (``moov``), or the file ends inside of it.

    Args:
        file: binary and seekable.

    Raises:
        OSError: it can't be read.
    """
    end, at = file.seek(0, io.SEEK_END), 0
    for _ in range(_MAX_BOXES):
        head = file.read(16) if at < end and file.seek(at) == at else b""
        if len(head) < 16:
            return True
        size, kind, longer = struct.unpack(">I4sQ", head)
        if kind in (b"moov", b"meta"):  # the second is that of pictures
            return bool(at + size > end)
        size = longer if size == 1 else size
        if size < 8:  # 0 is a box up to the end, or bytes that haven't come yet
            return bool(size == 0)
        at += size
    return False


def seconds_in(file: BinaryIO) -> float:
    """Seconds of video, by its time stamps, in the beginning of a file; 0 where that can't be told."""
    import av

    file.seek(0)
    first = last = 0.0
    # It is cut in the middle, as everything is at this time.
    with (
        contextlib.suppress(av.FFmpegError, OSError, ValueError, IndexError),
        av.open(file, "r", options={"protocol_whitelist": "none"}) as container,
    ):
        track = container.streams.video[0]
        stamps = (packet.pts for packet in container.demux(track) if packet.pts is not None)
        first = last = float(next(stamps, 0) * track.time_base)
        for stamp in stamps:
            last = max(last, float(stamp * track.time_base))
    file.seek(0, io.SEEK_END)
    return last - first
