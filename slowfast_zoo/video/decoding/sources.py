"""From what a caller names (path, URL, bytes, file object) to what FFmpeg can open, again and again."""

from __future__ import annotations

import io
import shutil
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast, runtime_checkable

from slowfast_zoo.errors import InputError, VideoError

_ENDINGS = """
    3g2 3gp asf avi divx dv f4v flv gif h264 h265 ivf m2ts m2v m4v mjpeg mkv mov mp4 mpeg mpg mts mxf ogg ogv
    rm rmvb ts vob webm wmv y4m
"""
VIDEO_SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS.split())
"""Endings that are taken for videos when a folder is searched; a file that is named may have any."""

PICTURE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))
"""Endings that make a folder without videos one video, its frames."""


_IN_MEMORY_BYTES = 64 * 2**20
"""A download up to this size stays in memory, a larger one goes to a temporary file."""

_TIMEOUT_SECONDS = 30.0

_NOT_VIDEOS = {
    "tty": "it is a text file",
    "hls": "it is a playlist, pass the video itself",
    "dash": "it is a playlist, pass the video itself",
    "concat": "it is a playlist, pass the video itself",
    "image2": "it is a single picture, pass a video or a folder of frames",
}
"""Formats that FFmpeg would open, each with the reason why they aren't accepted."""


@runtime_checkable
class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class Media:
    """One video's bytes, from wherever they come; owns what has to be cleaned up."""

    def __init__(self, name: str, place: Path | BinaryIO, *, owned: bool) -> None:
        self.name = name
        self._place = place
        self._owned = owned

    def open_container(self) -> Any:
        """A new PyAV container at its beginning; the one before must be closed.

        Raises:
            VideoError: FFmpeg can't open it, or it is no video.
        """
        import av

        place = self._place
        target: str | BinaryIO
        try:
            if isinstance(place, Path):
                # Absolute, or FFmpeg takes "a:b.mp4" for a protocol. No nested file may be fetched.
                target, protocols = str(place.absolute()), "file"
            else:
                place.seek(0)
                target, protocols = place, "none"
            # PyAV 18 gives up over metadata that isn't UTF-8 unless told not to; later ones can't be told.
            lenient = {"metadata_errors": "ignore"} if av.__version__.startswith("18.") else {}
            container = av.open(target, "r", options={"protocol_whitelist": protocols}, **lenient)
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise VideoError(f"'{self.name}' can't be opened as a video: {reason}.") from error
        kind = str(container.format.name)
        reason = _NOT_VIDEOS.get("image2" if kind.endswith("_pipe") else kind)
        if reason:
            container.close()
            raise VideoError(f"'{self.name}' can't be opened as a video: {reason}.")
        return container

    def close(self) -> None:
        """Let go of what this object brought; a caller's file object stays open."""
        if self._owned and not isinstance(self._place, Path):
            self._place.close()


def is_url(source: object) -> bool:
    """Whether ``source`` is text that begins like a URL."""
    return isinstance(source, str) and "://" in source


def media_of(source: object) -> Media:
    """What a path, URL, bytes or file object names.

    Raises:
        InputError: another type, or a file object that gives text.
        VideoError: nothing there, nothing in it, or it can't be fetched.
    """
    if isinstance(source, str) and is_url(source):
        return _fetched(source)
    if isinstance(source, (str, Path)):
        return _file(Path(source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        if not len(source):
            raise VideoError("'<bytes>' is empty: no video in it.")
        return Media("<bytes>", io.BytesIO(source), owned=True)
    if isinstance(source, _Readable):
        return _file_object(source)
    raise InputError(
        f"A video is given as a path, URL, bytes, binary file object, folder of frames or uint8 array "
        f"(T, H, W, 3); got {type(source).__name__}."
    )


def _file(path: Path) -> Media:
    try:
        if not path.exists():
            raise VideoError(f"'{path}' doesn't exist.")
        if not path.is_file():
            raise VideoError(f"'{path}' is no regular file.")
        if not path.stat().st_size:
            raise VideoError(f"'{path}' is empty: a file of 0 bytes.")
    except (OSError, ValueError) as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(f"'{path}' can't be read: {getattr(error, 'strerror', None) or error}.") from error
    return Media(str(path), path, owned=False)


def _file_object(file: _Readable) -> Media:
    name = getattr(file, "name", None)
    name = name if isinstance(name, str) else "<file object>"
    if isinstance(file, io.TextIOBase) or not isinstance(file.read(0), bytes):
        raise InputError(f"'{name}' is a text file object; open it in binary mode.")
    seekable = getattr(file, "seekable", None)
    if seekable is not None and seekable():
        return Media(name, cast(BinaryIO, file), owned=False)
    # Counting the frames takes a first pass, so what can't be read twice is kept.
    return Media(name, _spooled(file), owned=True)


def _fetched(url: str) -> Media:
    parts = urllib.parse.urlsplit(url)
    # Neither passwords nor signed queries belong into messages and result files.
    name = urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    if parts.scheme not in ("http", "https"):
        raise VideoError(f"'{name}' is no http or https URL; other protocols aren't fetched.")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
            file = _spooled(response)
            expected = response.headers.get("Content-Length")
    except (OSError, ValueError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", None) or error
        raise VideoError(f"'{name}' can't be fetched: {reason}.") from error
    received = file.seek(0, io.SEEK_END)
    if not received or (expected is not None and expected.isdigit() and int(expected) != received):
        file.close()
        raise VideoError(f"'{name}' came incomplete: {received} of {expected or 'unknown'} bytes.")
    return Media(name, file, owned=True)


def _spooled(source: _Readable) -> BinaryIO:
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115
    try:
        shutil.copyfileobj(cast(BinaryIO, source), file)
    except BaseException:
        file.close()
        raise
    return cast(BinaryIO, file)
