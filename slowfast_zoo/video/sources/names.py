"""What callers name: addresses, paths, and the name by which messages call a source."""

from __future__ import annotations

import re
import sys
import unicodedata
import urllib.parse
import urllib.request
from pathlib import Path

from slowfast_zoo.errors import SCHEMES, InputError, VideoError, one_line, without_secrets
from slowfast_zoo.files import expanded

_ENDINGS = """
    3g2 3gp asf avi divx dv f4v flv gif h264 h265 ivf m2ts m2v m4v mjpeg mkv mov mp4 mpeg mpg mts mxf ogg ogv
    rm rmvb ts vob webm wmv y4m
"""
VIDEO_SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS.split())
"""Endings that are taken for videos when a folder is searched; a file that is named may have any."""

PICTURE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))
"""Endings that make a folder without videos one video, its frames."""

STREAM_PROTOCOLS = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "rtp", "srt", "tcp")
"""Of addresses that can be watched, beside http and https."""

_ADDRESS_AS_PATH = re.compile(rf"(?:^|(?<=[/\\]))(?:{SCHEMES}):[/\\].*", re.IGNORECASE | re.DOTALL)
"""An address that was made a path, which leaves it one slash; perhaps below a folder."""

LIST_ADVICE = "; a list of videos is for predict_many, or --from"
"""The end of what is said of a text: for whoever writes code or commands."""


def is_url(source: object) -> bool:
    """Whether ``source`` is text that names something on a network; ``file://`` and ``C://`` name paths."""
    return isinstance(source, str) and "://" in source and not re.match(r"(?i)(file|[a-z])://", source)


def display_name(source: object) -> str:
    """What messages and results call a source: no credentials, no query, nothing that moves a cursor."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "<bytes>"
    if hasattr(source, "__array__") and not isinstance(source, str):  # NumPy's text has that too
        return "<array>"
    if not isinstance(source, (str, Path)):
        name = getattr(source, "name", None)  # of a file object, or of an opened video
        other = "file object" if hasattr(source, "read") else type(source).__name__
        return display_name(name) if isinstance(name, str) else f"<{other}>"
    text = str(source)
    elsewhere = re.match(r"(?i)file://(?!/|localhost/|[a-z]:[/\\])", text)
    text = without_secrets(text) if is_url(source) or elsewhere else path_text(text)
    return "".join(c if _is_harmless(c) else c.encode("unicode_escape").decode() for c in text)


def path_text(path: str | Path) -> str:
    """A path as text; what is an address, made a path by mistake, loses credentials and query."""
    return _ADDRESS_AS_PATH.sub(lambda found: without_secrets(found[0].replace("\\", "/")), str(path))


def _is_harmless(letter: str) -> bool:
    """Whether a name can be shown with it: also the spaces and joiners of all languages."""
    return letter.isprintable() or letter in "\u200c\u200d" or unicodedata.category(letter) == "Zs"


def local_path(source: str | Path) -> Path:
    """The path that a text names: ``~`` is the user's folder, ``file://`` is taken off.

    Raises:
        InputError: no text, or a NUL byte in it.
        VideoError: a ``file://`` address on another machine, or of no path.
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
            host = host.rpartition("@")[2]
            raise VideoError(f"'{name}' lies on another machine, '{host}'; pass a path or an http URL.")
        path = slash + rest
        if sys.platform != "win32":
            return Path(urllib.parse.unquote(path))
        try:  # Python 3.14 takes these two for the end of the path
            return Path(urllib.request.url2pathname(path.replace("?", "%3F").replace("#", "%23")))
        except OSError as error:
            raise VideoError(f"'{name}' is no address of a file: {one_line(error)}.") from error
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
    if _ADDRESS_AS_PATH.match(name):
        hint = ": an address is given as text, not as a Path, with two slashes"
    return f"'{name}' doesn't exist{hint}."
