"""Fetching a video over http, and keeping what can be read only once; neither goes on without an end."""

from __future__ import annotations

import base64
import http.client
import io
import math
import re
import string
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from slowfast_zoo.errors import InputError, VideoError, one_line
from slowfast_zoo.video.sources.contents import (
    NOT_FILES,
    NOT_VIDEOS,
    STREAM,
    is_text,
    seconds_in,
    why_no_video,
)
from slowfast_zoo.video.sources.names import STREAM_PROTOCOLS, display_name

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

_SLOWEST_BYTES_PER_SECOND = 1024
"""A server that is slower for a minute is given up."""

_IN_MEMORY_BYTES = 64 * 2**20
"""A download up to this size stays in memory, a larger one goes to a temporary file."""

_TIMEOUT_SECONDS = 30.0
_MAX_HEAD_BYTES = 2**20
_PIECE_BYTES = 2**16


def fetched(url: str) -> BinaryIO:
    """The file at an http or https address, whole, in memory or in a file without a name.

    Raises:
        VideoError: another protocol, no answer, a web page or a stream, or it came incomplete.
    """
    name = display_name(url)
    scheme = url.partition("://")[0].lower()
    if scheme in STREAM_PROTOCOLS:
        raise VideoError(f"'{name}' can't be opened as a video: {STREAM}.")
    if scheme not in ("http", "https"):
        raise VideoError(f"'{name}' is no http or https URL; other protocols aren't fetched.")
    try:
        with _opener().open(_request(url), timeout=_TIMEOUT_SECONDS) as response:
            length = _checked_length(name, response)
            limit = MAX_UNSIZED_BYTES if length is None else MAX_BYTES
            text = "the server answered with text, not with a video"
            if length is None:
                seconds = MAX_UNSIZED_SECONDS
                file = _spooled(name, response.read1, limit, text=text, seconds=seconds, live=_LIVE)
            else:
                file = _spooled(name, response.read1, limit, text=text)
    except (VideoError, InputError):
        raise
    except (http.client.InvalidURL, ValueError):
        # Their text holds the query, or a proxy's password.
        raise VideoError(f"'{name}' is no address that can be fetched, or the proxy's isn't.") from None
    except http.client.IncompleteRead as error:
        raise VideoError(f"'{name}' came incomplete: the connection ended early.") from error
    except (OSError, http.client.HTTPException) as error:
        said = getattr(error, "reason", None) or error
        said = f"{error.code} {error.reason}" if isinstance(error, urllib.error.HTTPError) else said
        reason = one_line(said) or type(error).__name__
        reason = STREAM if reason.startswith("ICY ") else reason
        raise VideoError(f"'{name}' can't be fetched: {reason}.") from error
    received = file.seek(0, io.SEEK_END)
    if not received or (length is not None and length != received):
        file.close()
        told = "unknown" if length is None else length
        raise VideoError(f"'{name}' came incomplete: {received} of {told} bytes.")
    return file


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
    reason = next((why for beginning, why in NOT_FILES.items() if kind.startswith(beginning)), None)
    if radio or (unsized and kind.startswith("audio/")):
        reason = STREAM
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


def read_through(name: str, read: Callable[[int], bytes]) -> BinaryIO:
    """All that a pipe gives, which can be read once only.

    Raises:
        VideoError: it has no end, is no video, or comes as a live stream does.
    """
    return _spooled(name, read, MAX_BYTES, live=_LIVE_PIPE, looks=2)


def _spooled(
    name: str,
    read: Callable[[int], bytes],
    limit: int,
    *,
    text: str = NOT_VIDEOS["tty"],
    seconds: float = math.inf,
    live: tuple[float, float] | None = None,
    looks: int = 1,
) -> BinaryIO:
    """All bytes that ``read`` gives within the limits, in memory or in a file without a name.

    ``text``: why text is refused. ``live``: refused where so many looks, one after the other, find it coming
    at such a player's speed.
    """
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115
    received, begun, look, found = 0, time.monotonic(), PACED_AFTER_SECONDS, 0
    try:
        while piece := read(_PIECE_BYTES):
            if not received:
                head = piece[:512]
                if reason := why_no_video(head) or (text if is_text(head) else None):
                    raise VideoError(f"'{name}' can't be opened as a video: {reason}.")
            received += len(piece)
            if received > limit:
                raise VideoError(f"'{name}' has no end after {received} bytes: {STREAM}.")
            passed = time.monotonic() - begun
            if passed > seconds:
                raise VideoError(f"'{name}' has no end after {passed:.0f} s: {STREAM}.")
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
    except BaseException as error:
        file.close()
        if isinstance(error, OSError) and not isinstance(error, VideoError):
            raise VideoError(f"'{name}' can't be fetched: {one_line(error)}.") from error
        raise
    return cast(BinaryIO, file)
