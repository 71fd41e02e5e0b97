"""From what a caller names (path, URL, bytes, file object) to what FFmpeg can open, again and again."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import math
import re
import stat
import string
import struct
import tempfile
import time
import unicodedata
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast, runtime_checkable

from slowfast_zoo.errors import InputError, VideoError, one_line, without_secrets
from slowfast_zoo.files import expanded
from slowfast_zoo.video.decoding.packets import is_still, lacks_index, seconds_in

_ENDINGS = """
    3g2 3gp asf avi divx dv f4v flv gif h264 h265 ivf m2ts m2v m4v mjpeg mkv mov mp4 mpeg mpg mts mxf ogg ogv
    rm rmvb ts vob webm wmv y4m
"""
VIDEO_SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS.split())
"""Endings that are taken for videos when a folder is searched; a file that is named may have any."""

PICTURE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))
"""Endings that make a folder without videos one video, its frames."""

MAX_PIXELS = 8192 * 4320
"""Pixels that a frame may have: the largest 8K video. Larger ones are refused before memory is taken."""

_MAX_DEEP_PIXELS = 4096 * 2160
"""The same of animated PNG with 16 bits a channel: their decoder keeps three frames of 8 bytes a pixel."""

MAX_BYTES = 16 * 2**30
"""What is fetched or read from a pipe at most."""

MAX_UNSIZED_BYTES = 2**30
MAX_UNSIZED_SECONDS = 60.0
"""What is fetched at most where the server doesn't say how long the file is."""

PACED_AFTER_SECONDS = 4.0
"""When such an answer is first looked at: what comes hardly faster than a player shows it is live."""

_LIVE = (0, 2.0)
"""Seconds of video that a live stream sends in a second, with what it had stored at first."""

_LIVE_PIPE = (0.9, 1.1)
"""The same of a pipe, which a slow program may feed as well: within these, twice, it is taken for live."""

STREAM_PROTOCOLS = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "rtp", "srt", "tcp")
"""Of addresses that can be watched, beside http and https."""

_SLOWEST_BYTES_PER_SECOND = 1024
"""A server that is slower for a minute is given up."""

_IN_MEMORY_BYTES = 64 * 2**20
"""A download up to this size stays in memory, a larger one goes to a temporary file."""

_TIMEOUT_SECONDS = 30.0
_MAX_HEAD_BYTES = 2**20
_PIECE_BYTES = 2**16

LIST_ADVICE = "; a list of videos is for predict_many, or --from"
"""Behind what is said of a text: for whoever writes code or commands."""

_NOT_VIDEOS = {
    "tty": f"it is text{LIST_ADVICE}",
    "hls": "it is a playlist: pass the video itself, or the address to watch",
    "dash": "it is a playlist: pass the video itself",
    "concat": "it is a playlist: pass the video itself",
    "image2": "it is a single picture, pass a video or a folder of frames",
}
"""Formats that FFmpeg would open, each with the reason why they aren't accepted."""

_STREAM = "it is a stream without an end, not a file: watch takes it, or record a part of it"
_NOT_FILES = {
    "multipart/": _STREAM,
    "text/html": "it is a web page, not a video: pass the address of the file itself",
    "application/xhtml": "it is a web page, not a video: pass the address of the file itself",
    "application/vnd.apple.mpegurl": _NOT_VIDEOS["hls"],
    "application/x-mpegurl": _NOT_VIDEOS["hls"],
    "application/dash+xml": _NOT_VIDEOS["dash"],
}
"""Beginnings of what a server calls its answer, each with the reason why it isn't fetched."""


@runtime_checkable
class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Guarded:
    """A caller's file object that answers as FFmpeg needs it, or with an error of this library.

    More bytes than were asked for would be written after the end of FFmpeg's buffer.
    """

    def __init__(self, name: str, file: Any) -> None:
        self._name, self._file = name, file
        self.error: VideoError | None = None

    def read(self, size: int = -1) -> bytes:
        data = self._asked("read", size)
        if data is None:
            raise self._refused("it has no bytes yet; pass a file that blocks")
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise self._refused(f"it gives {type(data).__name__}, no bytes; open it in binary mode")
        if 0 <= size < len(data):
            raise self._refused(f"it gives {len(data)} bytes where {size} are asked for")
        return bytes(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        place = self._asked("seek", offset, whence)
        return place if isinstance(place, int) else self.tell()

    def tell(self) -> int:
        return int(self._asked("tell"))

    def seekable(self) -> bool:
        return bool(self._asked("seekable"))

    def _asked(self, verb: str, *arguments: int) -> Any:
        try:
            return getattr(self._file, verb)(*arguments)
        except Exception as error:  # whatever a stranger's object raises
            raise self._refused(one_line(error)) from error

    def _refused(self, reason: str) -> VideoError:
        self.error = VideoError(f"'{self._name}' can't be read: {reason}.")
        return self.error


class Media:
    """One video's bytes, from wherever they come; owns what has to be cleaned up.

    Attributes:
        name: for messages.
        head: the first 512 bytes, once a container was opened.
    """

    def __init__(self, name: str, place: Path | BinaryIO | _Guarded, *, owned: bool) -> None:
        self.name = name
        self.head = b""
        self._place = place
        self._owned = owned

    @property
    def unchanged(self) -> tuple[str, int, int] | None:
        """Path, bytes and time of change of a file, equal as long as its content is; None of all else."""
        if not isinstance(self._place, Path):
            return None
        try:
            facts = self._place.stat()
        except OSError:
            return None
        return str(self._place.absolute()), facts.st_size, facts.st_mtime_ns

    def open_container(self) -> Any:
        """A new PyAV container at its beginning; the one before must be closed.

        Raises:
            VideoError: FFmpeg can't open it, or it is no video.
        """
        import av

        place = self._place
        target: str | BinaryIO | _Guarded
        try:
            if isinstance(place, Path):
                with place.open("rb") as file:
                    head = self.head = file.read(512)
                # Absolute, or FFmpeg takes "a:b.mp4" for a protocol. No nested file may be fetched.
                target, protocols = str(place.absolute()), "file"
            else:
                place.seek(0)
                head = self.head = place.read(512)
                place.seek(0)
                target, protocols = place, "none"
            if reason := _unmistakable(head):
                raise VideoError(f"'{self.name}' can't be opened as a video: {reason}.")
            width, height, most = _picture_size(head)
            if width * height > most:
                raise too_large(self.name, f"{width}x{height}", most)
            # Finding out what is in it decodes a frame, which must not be a huge one.
            options = {"protocol_whitelist": protocols, "max_pixels": str(MAX_PIXELS)}
            container = av.open(target, "r", options=options, **lenient())
            self.check()
        except VideoError:
            raise
        except (av.FFmpegError, OSError, ValueError) as error:
            self.check()
            said = getattr(error, "strerror", None) or str(error)
            reason = _NOT_VIDEOS["tty"] if _is_text(self.head) else said
            if self.head[4:8] == b"ftyp" and self._lacks_index():
                reason = "its index is missing: it was not copied or recorded to its end"
            raise VideoError(f"'{self.name}' can't be opened as a video: {reason}.") from error
        kind = str(container.format.name)
        if reason := _NOT_VIDEOS.get("image2" if kind.endswith("_pipe") else kind):
            container.close()
            raise VideoError(f"'{self.name}' can't be opened as a video: {reason}.")
        return container

    def _lacks_index(self) -> bool:
        place = self._place
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            return lacks_index(stack.enter_context(place.open("rb")) if isinstance(place, Path) else place)
        return False

    def check(self) -> None:
        """Raises what a caller's file object has done wrong, which FFmpeg takes for the end of the file."""
        if isinstance(self._place, _Guarded) and self._place.error is not None:
            raise self._place.error

    def close(self) -> None:
        """Let go of what this object brought; a caller's file object stays open."""
        if self._owned and not isinstance(self._place, Path):
            cast(BinaryIO, self._place).close()


def lenient() -> dict[str, str]:
    """Arguments of ``av.open``: PyAV 18 gives up over metadata that isn't UTF-8 unless told not to."""
    import av

    # Later ones can't be told.
    return {"metadata_errors": "ignore"} if av.__version__.startswith("18.") else {}


def too_large(name: str, pixels: str, most: int = MAX_PIXELS) -> VideoError:
    """The error for a frame of more than ``most``; ``pixels`` are words for how many it has."""
    like = "8192x4320" if most == MAX_PIXELS else "4096x2160, where a channel has 16 bits"
    return VideoError(
        f"'{name}' has frames of {pixels} pixels; accepted: up to {most} pixels, which is {like}: "
        "scale it down first."
    )


def is_url(source: object) -> bool:
    """Whether ``source`` is text that names something on a network; ``file://`` and ``C://`` name paths."""
    return isinstance(source, str) and "://" in source and not re.match(r"(?i)(file|[a-z])://", source)


def display_name(source: object) -> str:
    """What messages and results call a source: no credentials, no query, nothing that moves a cursor."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "<bytes>"
    if hasattr(source, "__array__") and not isinstance(source, str):  # NumPy's text has that too
        return "<array>"
    if hasattr(source, "read"):
        name = getattr(source, "name", None)
        return display_name(name) if isinstance(name, str) else "<file object>"
    text = str(source) if isinstance(source, (str, Path)) else f"<{type(source).__name__}>"
    text = without_secrets(text) if is_url(source) else text
    return "".join(c if _is_harmless(c) else c.encode("unicode_escape").decode() for c in text)


def _is_harmless(letter: str) -> bool:
    """Whether a name can be shown with it: also the spaces and joiners of all languages."""
    return letter.isprintable() or letter in "\u200c\u200d" or unicodedata.category(letter) == "Zs"


def local_path(source: str | Path) -> Path:
    """The path that a text names: ``~`` is the user's folder, ``file://`` is taken off.

    Raises:
        InputError: no text, or a NUL byte in it.
        VideoError: a ``file://`` address on another machine.
    """
    text = str(source)
    name = display_name(source)
    if not text.strip():
        raise InputError("A source is '', which names nothing; pass the path of a video.")
    if "\0" in text:
        raise InputError(f"'{name}' has a NUL byte, which no file's name can have.")
    if isinstance(source, str) and text.lower().startswith("file://"):
        host, slash, rest = text[7:].partition("/")
        if host not in ("", "localhost"):
            raise VideoError(f"'{name}' lies on another machine, '{host}'; pass a path or an http URL.")
        return Path(urllib.request.url2pathname(slash + rest))
    return expanded(text)


def mode_of(path: Path) -> int | None:
    """What kind of file lies there (``stat.st_mode``), links followed; None where nothing is.

    Raises:
        VideoError: it can't be looked at: no permission, a name too long, links in a ring.
    """
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(f"'{display_name(path)}' can't be read: {reason}.") from error


def not_there(path: Path) -> str:
    """The sentence about a path where nothing is."""
    name = display_name(path)
    hint = ": to read standard input, pass sys.stdin.buffer" if name == "-" else ""
    return f"'{name}' doesn't exist{hint}."


def media_of(source: object) -> Media:
    """What a path, URL, bytes or file object names.

    Raises:
        InputError: another type, or a file object that gives text.
        VideoError: nothing there, nothing in it, or it can't be fetched.
    """
    if isinstance(source, str) and is_url(source):
        return _fetched(source)
    if isinstance(source, (str, Path)):
        return _file(local_path(source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        content = bytes(source)
        if not content:
            raise VideoError("'<bytes>' is empty: no video in it.")
        return Media("<bytes>", io.BytesIO(content), owned=True)
    if isinstance(source, _Readable):
        return _file_object(source)
    raise InputError(
        f"A video is given as a path, URL, bytes, binary file object, folder of frames or uint8 array "
        f"(T, H, W, 3); got {type(source).__name__}."
    )


def _file(path: Path) -> Media:
    name, mode = display_name(path), mode_of(path)
    if mode is None:
        raise VideoError(not_there(path))
    if stat.S_ISFIFO(mode):
        raise VideoError(
            f"'{name}' is a pipe, which can be read only once: open it and pass the file object."
        )
    if not stat.S_ISREG(mode):
        hint = ": watch takes cameras" if name.startswith("/dev/") else ""
        raise VideoError(f"'{name}' is no regular file{hint}.")
    if not path.stat().st_size:
        raise VideoError(f"'{name}' is empty: a file of 0 bytes.")
    return Media(name, path, owned=False)


def _file_object(file: _Readable) -> Media:
    name = display_name(file)
    if isinstance(file, io.TextIOBase):
        raise InputError(f"'{name}' is a text file object; open it in binary mode.")
    if hasattr(file, "isOpened"):  # OpenCV's VideoCapture, whose read gives a frame
        raise InputError(f"A {type(file).__name__} gives no bytes; pass the path that it was opened with.")
    guarded = _Guarded(name, file)
    guarded.read(0)
    if hasattr(file, "seekable") and guarded.seekable():
        return Media(name, guarded, owned=False)
    # Counting the frames takes a first pass, so what can't be read twice is kept.
    return Media(name, _spooled(name, guarded.read, MAX_BYTES, live=_LIVE_PIPE, looks=2), owned=True)


def _unmistakable(head: bytes) -> str | None:
    """Why a file that begins like this is no video, where its first bytes say so."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return _NOT_FILES["text/html"]
    if text.startswith(b"#extm3u"):
        return _NOT_VIDEOS["hls"]
    if head.startswith(b"\x93NUMPY"):
        return "it is a NumPy file: pass the array itself, numpy.load(path), uint8 (T, H, W, 3)"
    if head.startswith(b"RIFF") and head[8:16] == b"WEBPVP8X" and head[20:21] and head[20] & 2:
        return "it is an animated WebP, which FFmpeg doesn't decode: convert it to GIF, PNG frames or MP4"
    if is_still(head):
        return _NOT_VIDEOS["image2"]
    if head.startswith((b"PK\x03\x04", b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf", b"BZh", b"\xfd7zXZ")):
        return "it is an archive: unpack it first"
    return None


def _no_video(head: bytes) -> str | None:
    """The same of what is still to come, where text can be told as well."""
    return _unmistakable(head) or (_NOT_VIDEOS["tty"] if _is_text(head) else None)


def _picture_size(head: bytes) -> tuple[int, int, int]:
    """Width and height of what begins like a GIF or PNG, else 0, 0; and how many pixels it may have."""
    if head.startswith(b"GIF8") and len(head) >= 10:
        return *struct.unpack("<HH", head[6:10]), MAX_PIXELS
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 25:
        return *struct.unpack(">II", head[16:24]), _MAX_DEEP_PIXELS if head[24] == 16 else MAX_PIXELS
    return 0, 0, MAX_PIXELS


def _is_text(head: bytes) -> bool:
    if head.startswith(b"YUV4MPEG2 "):  # its pixels may be letters
        return False
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    try:
        text = head[:-3].decode() if len(head) == 512 else head.decode()
    except UnicodeDecodeError:
        return False
    return bool(text) and all(c.isprintable() or c in "\t\r\n\ufeff" for c in text)


# Fetching ---------------------------------------------------------------------------------------------


def _fetched(url: str) -> Media:
    name = display_name(url)
    scheme = url.partition("://")[0].lower()
    if scheme in STREAM_PROTOCOLS:
        raise VideoError(f"'{name}' can't be opened as a video: {_STREAM}.")
    if scheme not in ("http", "https"):
        raise VideoError(f"'{name}' is no http or https URL; other protocols aren't fetched.")
    try:
        with _opener().open(_request(url), timeout=_TIMEOUT_SECONDS) as response:
            length = _checked_length(name, response)
            limit = MAX_UNSIZED_BYTES if length is None else MAX_BYTES
            if length is None:
                file = _spooled(name, response.read1, limit, seconds=MAX_UNSIZED_SECONDS, live=_LIVE)
            else:
                file = _spooled(name, response.read1, limit)
    except (VideoError, InputError):
        raise
    except (http.client.InvalidURL, ValueError):
        # Their text holds the query, or a proxy's password.
        raise VideoError(f"'{name}' is no address that can be fetched, or the proxy's isn't.") from None
    except http.client.IncompleteRead as error:
        raise VideoError(f"'{name}' came incomplete: the connection ended early.") from error
    except (OSError, http.client.HTTPException) as error:
        reason = one_line(getattr(error, "reason", None) or error)
        reason = _STREAM if reason.startswith("ICY ") else reason
        raise VideoError(f"'{name}' can't be fetched: {reason}.") from error
    received = file.seek(0, io.SEEK_END)
    if not received or (length is not None and length != received):
        file.close()
        told = "unknown" if length is None else length
        raise VideoError(f"'{name}' came incomplete: {received} of {told} bytes.")
    return Media(name, file, owned=True)


def _opener() -> urllib.request.OpenerDirector:
    """Fetches http and https alone, wherever an answer redirects to."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        _HTTPHandler,
        _HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _request(url: str) -> urllib.request.Request:
    """The request for a URL as people write it: letters of any language, ``user:password@``."""
    parts = urllib.parse.urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    path, query = (urllib.parse.quote(part, safe=string.punctuation) for part in (parts.path, parts.query))
    host = host if host.isascii() else host.encode("idna").decode()
    plain = urllib.parse.urlunsplit((parts.scheme, host, path, query, ""))
    request = urllib.request.Request(plain, headers={"User-Agent": "slowfast-zoo"})
    if user:
        secret = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {secret}")
    return request


def _checked_length(name: str, response: Any) -> int | None:
    """The bytes that an answer announces; refuses what is too long or says that it is no file."""
    kind = str(response.headers.get("Content-Type") or "").strip().lower()
    text = str(response.headers.get("Content-Length") or "").strip()
    unsized = response.chunked or not re.fullmatch("[0-9]+", text)
    radio = any(header.lower().startswith(("icy-", "ice-")) for header in response.headers)
    reason = next((why for beginning, why in _NOT_FILES.items() if kind.startswith(beginning)), None)
    if radio or (unsized and kind.startswith("audio/")):
        reason = _STREAM
    if reason:
        raise VideoError(f"'{name}' can't be opened as a video: {reason}.")
    if unsized:
        return None
    if len(text) > 18 or int(text) > MAX_BYTES:
        size = text if len(text) <= 18 else f"{text[:6]}... ({len(text)} digits)"
        raise VideoError(f"'{name}' is {size} bytes; at most {MAX_BYTES} are fetched: download it yourself.")
    return int(text)


class _Paced(io.RawIOBase):
    """What a server sends; given up where it only drips, or where the head of its answer has no end."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw, self._begun, self._received = raw, time.monotonic(), 0
        self.in_head = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count = self._raw.readinto(buffer)
        self._received += count or 0
        seconds = time.monotonic() - self._begun
        if self.in_head and self._received > _MAX_HEAD_BYTES:
            raise OSError("the head of the answer has no end")
        if seconds > MAX_UNSIZED_SECONDS and self._received < seconds * _SLOWEST_BYTES_PER_SECOND:
            raise OSError(f"it came too slowly, {self._received} bytes in {seconds:.0f} s")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(
        self, sock: Any, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        self._paced = _Paced(self.fp.detach())
        self.fp = io.BufferedReader(self._paced)

    def begin(self) -> None:
        super().begin()
        self._paced.in_head = False

    def read(self, amt: int | None = None) -> bytes:
        """At most a piece: urllib reads the whole body of an answer that leads elsewhere."""
        return super().read(_PIECE_BYTES if amt is None else amt)


class _HTTPConnection(http.client.HTTPConnection):
    response_class = _Response


class _HTTPSConnection(http.client.HTTPSConnection):
    response_class = _Response


class _HTTPHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_HTTPConnection, req)


class _HTTPSHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_HTTPSConnection, req)


def _spooled(
    name: str,
    read: Callable[[int], bytes],
    limit: int,
    *,
    seconds: float = math.inf,
    live: tuple[float, float] | None = None,
    looks: int = 1,
) -> BinaryIO:
    """All bytes that ``read`` gives within the limits, in memory or in a file without a name.

    ``live``: refused where so many looks, one after the other, find it coming at such a player's speed.
    """
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115
    received, begun, look, found = 0, time.monotonic(), PACED_AFTER_SECONDS, 0
    try:
        while piece := read(_PIECE_BYTES):
            if not received and (reason := _no_video(piece[:512])):
                raise VideoError(f"'{name}' can't be opened as a video: {reason}.")
            received += len(piece)
            if received > limit:
                raise VideoError(f"'{name}' has no end after {received} bytes: {_STREAM}.")
            passed = time.monotonic() - begun
            if passed > seconds:
                raise VideoError(f"'{name}' has no end after {passed:.0f} s: {_STREAM}.")
            file.write(piece)
            if live and passed > look:
                look = 2 * passed
                speed = seconds_in(cast(BinaryIO, file)) / passed
                found = found + 1 if live[0] < speed < live[1] else 0
                if found == looks:
                    raise VideoError(
                        f"'{name}' comes only as fast as it is shown, as a stream without an end does: give"
                        " it to watch or, if it has an end, write it to a file first."
                    )
    except OSError as error:
        file.close()
        if isinstance(error, VideoError):
            raise
        raise VideoError(f"'{name}' can't be fetched: {one_line(error)}.") from error
    except BaseException:
        file.close()
        raise
    return cast(BinaryIO, file)
