"""One URL into one local file over HTTP: resumed, retried, and never from https down to http.

The bytes arrive in a part file, one for each URL. A small JSON file beside it holds which version of the
remote file they are the beginning of, so that a later process continues exactly that or starts again. What
becomes of the complete part (hash, cache, lock) is the business of ``download.py``.
"""

from __future__ import annotations

import codecs
import dataclasses
import datetime
import email.utils
import hashlib
import http
import json
import logging
import os
import random
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slowfast_zoo.errors import DownloadError, counted, without_secrets

if TYPE_CHECKING:
    import httpx2

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a transfer bears with a server."""

    attempts: int = 4
    """Failed requests in a row, none of which brought a new byte, after which a URL is given up."""
    backoff_seconds: float = 1.0
    """Pause before the second attempt; it doubles with each further one."""
    longest_wait_seconds: float = 60.0
    """A server that asks for a longer pause than this is given up."""
    timeout_seconds: float = 30.0
    """Silence on the connection that counts as a failed attempt."""
    connect_seconds: float = 5.0
    """The same before there is a connection."""
    unanswered_seconds: float = 10.0
    """After this, a URL that has never answered is given up at its next failed attempt."""
    slowest_bytes_per_second: int = 1000
    """A server that sends less than this is given up, when it did so for"""
    window_seconds: float = 60.0


_patience = Patience()


@contextmanager
def using(patience: Patience) -> Iterator[None]:
    """Another patience, in this process, inside a ``with`` block: for tests."""
    global _patience
    before, _patience = _patience, patience
    try:
        yield
    finally:
        _patience = before


_MAX_REDIRECTS = 5
_DIGITS = re.compile(r"[0-9]{1,18}")
"""A number of bytes that a server may give."""
_MAX_STATE = 1 << 16  # bytes of the JSON beside a part
_PROXIES, _CERTIFICATES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"), ("SSL_CERT_FILE", "SSLKEYLOGFILE")
"""What of the environment may keep the HTTP client from being made."""
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that may be gone at the next attempt. Source: https://www.rfc-editor.org/rfc/rfc9110#section-15."""
_WEB_PAGE = re.compile(rb"\s*<(!doctype html|html|head|body|\?xml|!--)", re.IGNORECASE)
_BYTE_ORDER_MARKS = re.compile(rb"^(\xef\xbb\xbf|\xff\xfe|\xfe\xff)")


class _Interrupted(Exception):
    """An attempt failed in a way that the next one may not.

    Attributes:
        wait_seconds: the pause that the server asked for, if it did.
        answered: whether the server answered at all.
    """

    def __init__(self, reason: str, wait_seconds: float | None = None, *, answered: bool = True) -> None:
        super().__init__(reason)
        self.wait_seconds, self.answered = wait_seconds, answered


@dataclasses.dataclass(frozen=True)
class _Remote:
    """Which version of the remote file a part is the beginning of."""

    validator: str
    total: int | None

    def write(self, part: Path) -> None:
        _state_path(part).write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")

    @staticmethod
    def read(part: Path) -> _Remote | None:
        try:
            with _state_path(part).open("rb") as file:
                values = json.loads(file.read(_MAX_STATE))
            validator, total = values["validator"], values["total"]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        if not isinstance(validator, str) or not isinstance(total, int | None):
            return None
        return _Remote(validator, total) if validator.isascii() and (total or 0) >= 0 else None


def part_of(target: Path, source: str) -> Path:
    """Where the bytes of a URL (or file) arrive that are to become ``target``: no two URLs share it.

    Its hash is in the name, as it may hold a password.
    """
    return target.with_name(f"{target.name}.{hashlib.sha256(source.encode()).hexdigest()[:16]}.part")


def parts_of(target: Path) -> list[Path]:
    """Every part that is there of what is to become ``target``."""
    return list(target.parent.glob(f"{target.name}.{'[0-9a-f]' * 16}.part"))


def companions(part: Path) -> tuple[Path, ...]:
    """Every path that a transfer into ``part`` writes."""
    return part, _state_path(part)


def discard(part: Path) -> None:
    """Removes a part and what is known about it; nothing happens when there is none."""
    for path in companions(part):
        path.unlink(missing_ok=True)


def announced_bytes(part: Path) -> int | None:
    """Size in bytes of the whole remote file that ``part`` is the beginning of, if a server gave it."""
    remote = _Remote.read(part)
    return remote.total if remote else None


def transfer(
    url: str, part: Path, *, name: str, plain_http: bool, length_required: bool, progress: bool
) -> bool:
    """Brings the whole of ``url`` into ``part``; True when bytes of an earlier process were continued.

    Args:
        url: where the file is.
        part: file to write; what is there is continued if it is the beginning of the same remote file.
        name: what the progress bar calls the file.
        plain_http: whether the user chose a server without TLS; otherwise http is refused in redirects too.
        length_required: whether to refuse a body whose end can't be told from a cut connection.
        progress: whether to show a bar on a terminal and in notebooks.

    Raises:
        DownloadError: the URL is no use: refused, missing, a web page or other text, or still failing after
            all attempts.
        OSError: the part can't be written.
    """
    from tqdm.auto import tqdm

    if any(path.exists() and not os.access(path, os.W_OK) for path in companions(part)):
        discard(part)  # another user's, who was interrupted
    earlier = _continuable_bytes(part)
    longest, failures, answered, level = earlier, 0, False, logging.WARNING
    with (
        _quiet_client(),
        _client(plain_http) as client,
        tqdm(desc=name, unit="B", unit_scale=True, disable=None if progress else True) as bar,
    ):
        begun = time.monotonic()
        while True:
            try:
                _attempt(client, url, part, bar, length_required)
                break
            except _Interrupted as error:
                arrived = part.stat().st_size if part.exists() else 0
                failures = 1 if arrived > longest else failures + 1
                longest, answered = max(longest, arrived), answered or error.answered
                late = time.monotonic() - begun > _patience.unanswered_seconds
                bar.clear()
                _pause(url, error, failures, last=late and not answered, level=level)
                level = logging.INFO  # one line is enough for those who wait
    with part.open("rb") as file:
        head = file.read(512)
    if message := _no_weights(head, url):
        discard(part)
        raise DownloadError(message)
    return earlier > 0


@contextmanager
def _quiet_client() -> Iterator[None]:
    """The HTTP client's own log names whole URLs: while this thread downloads, it says nothing of it."""
    thread = threading.get_ident()
    logger = logging.getLogger("httpx2")

    def silent(record: logging.LogRecord) -> bool:
        return record.thread != thread or record.levelno >= logging.WARNING

    logger.addFilter(silent)
    try:
        yield
    finally:
        logger.removeFilter(silent)


def _client(plain_http: bool) -> httpx2.Client:
    import httpx2

    def refuse_plain_http(request: httpx2.Request) -> None:
        if request.url.scheme != "https" and not plain_http:
            raise DownloadError(
                f"{without_secrets(str(request.url))} is refused: only https is fetched,"
                " but for a mirror you set"
            )

    try:
        return httpx2.Client(
            follow_redirects=True,
            max_redirects=_MAX_REDIRECTS,
            timeout=httpx2.Timeout(_patience.timeout_seconds, connect=_patience.connect_seconds),
            # A compressed body would make lengths and ranges count other bytes than the file's.
            headers={"User-Agent": "slowfast-zoo", "Accept-Encoding": "identity"},
            event_hooks={"request": [refuse_plain_http]},
        )
    except (ImportError, ValueError, OSError, httpx2.InvalidURL) as error:
        raise DownloadError(unusable_settings(error)) from None  # its text may hold a part of a password


def unusable_settings(error: Exception, *addresses: str) -> str:
    """Why no HTTP client could be made, without what the settings hold: it may be a password.

    Args:
        error: what was raised instead.
        addresses: further settings that hold one.
    """
    names = _CERTIFICATES if isinstance(error, OSError) else (*_PROXIES, *addresses)
    given = [name for name in names if os.environ.get(name) or os.environ.get(name.lower())]
    why = "no such address can be used; a proxy's is http://host:port"
    if isinstance(error, ImportError):
        why = "a SOCKS proxy needs the package 'socksio'"
    elif isinstance(error, OSError):
        why = error.strerror or type(error).__name__
    says = f"the environment says ({', '.join(given)})" if given else "this system is set up"
    return f"the network can't be used as {says}: {why}"


def _pause(url: str, error: _Interrupted, failures: int, *, last: bool, level: int) -> None:
    if last or failures >= _patience.attempts:
        raise DownloadError(
            f"{without_secrets(url)} failed {counted(failures, 'time')} without a new byte, last: {error}"
        ) from error
    wait_seconds = error.wait_seconds
    if wait_seconds is None:
        # Jitter, so that many machines that were cut off together don't come back together.
        wait_seconds = _patience.backoff_seconds * 2 ** (failures - 1) * random.uniform(0.5, 1.0)
    if wait_seconds > _patience.longest_wait_seconds:
        raise DownloadError(
            f"{without_secrets(url)} asks to be left alone for {wait_seconds:.0f} s ({error})"
        ) from error
    _LOGGER.log(level, "%s: %s; next attempt in %.1f s", without_secrets(url), error, wait_seconds)
    time.sleep(wait_seconds)


def _attempt(client: httpx2.Client, url: str, part: Path, bar: Any, length_required: bool) -> None:
    import httpx2

    have = _continuable_bytes(part)
    known = _Remote.read(part) if have else None
    if known and have == known.total:
        return
    headers = {"Range": f"bytes={have}-", "If-Range": known.validator} if known else {}
    answered = False
    try:
        with client.stream("GET", url, headers=headers) as response:
            answered = True
            _check_status(response, url, part)
            if response.status_code == 206:
                start, total = have, _check_range(response, part, have, known, length_required)
            else:
                length = response.headers.get("Content-Length", "")
                start, total = 0, int(length) if _DIGITS.fullmatch(length) else None
            chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
            if total is None and length_required and not chunked:
                raise DownloadError(
                    f"{without_secrets(url)} gives neither the file's length nor is its hash known"
                )
            if total is not None:
                _check_space(part, total - start)
            _receive(response, part, start, _Remote(_validator(response), total), bar)
    except (httpx2.TooManyRedirects, httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
        raise DownloadError(f"{without_secrets(url)} can't be followed: {reason(error)}") from None
    except httpx2.RequestError as error:  # an address in its text may hold a secret
        raise _Interrupted(reason(error), answered=answered) from None
    except (ValueError, LookupError, TypeError) as error:  # headers that no client expects
        raise DownloadError(
            f"{without_secrets(url)} answers in a way that isn't understood: {reason(error)}"
        ) from None
    arrived = part.stat().st_size
    if total is not None and arrived != total:
        raise _Interrupted(f"{arrived} of {total} bytes arrived")


def _receive(response: httpx2.Response, part: Path, start: int, remote: _Remote, bar: Any) -> None:
    # The part is emptied before the new state is written: a process killed in between leaves no
    # bytes of one remote file with the name of another.
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        remote.write(part)
        bar.reset(total=remote.total)
        bar.update(start)
        began, since = time.monotonic(), 0
        for chunk in response.iter_raw():
            file.write(chunk)
            bar.update(len(chunk))
            since += len(chunk)
            if (seconds := time.monotonic() - began) > _patience.window_seconds:
                if since < (least := _patience.slowest_bytes_per_second) * seconds:
                    raise DownloadError(
                        f"{without_secrets(str(response.url))} sent {since} bytes in {seconds:.0f} s,"
                        f" less than {least} a second: given up; the next call continues it"
                    )
                began, since = time.monotonic(), 0
        file.flush()
        os.fsync(file.fileno())


def _continuable_bytes(part: Path) -> int:
    known = _Remote.read(part)
    return part.stat().st_size if known and known.validator and part.exists() else 0


def _check_status(response: httpx2.Response, url: str, part: Path) -> None:
    status = _status(response.status_code)
    if response.status_code == 416:
        discard(part)
        raise _Interrupted(f"the server answered {status}; starting again")
    if response.status_code in _TRANSIENT:
        raise _Interrupted(f"the server answered {status}", _retry_after_seconds(response))
    if response.status_code not in (200, 206):
        raise DownloadError(f"{without_secrets(url)} answered {status}")
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise DownloadError(_web_page_message(url))
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise DownloadError(f"{without_secrets(url)} sent a compressed body that was not asked for")


def _check_range(
    response: httpx2.Response, part: Path, have: int, known: _Remote | None, strict: bool
) -> int | None:
    """The whole file's size in bytes, if given, once it is sure that the range continues our bytes.

    ``strict``: no hash will tell later, so that an answer that doesn't name its version is refused.
    """
    n = _DIGITS.pattern
    given = re.fullmatch(rf"bytes ({n})-{n}/({n}|\*)", response.headers.get("Content-Range", ""))
    # Some servers honor Range and ignore If-Range, so the validator is compared here as well.
    same_file = known is None or _validator(response) in (known.validator, *([] if strict else [""]))
    if given and same_file and known and known.total is not None and given[2] != "*":
        same_file = int(given[2]) == known.total
    if not given or not same_file or int(given[1]) != have:
        discard(part)
        raise _Interrupted("the server sent another range, or the file changed; starting again")
    return None if given[2] == "*" else int(given[2])


def _validator(response: httpx2.Response) -> str:
    """What If-Range accepts: a strong ETag, else the date. Source: RFC 9110, section 13.1.5."""
    tag: str = response.headers.get("ETag", "")
    given: str = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
    return given if given.isascii() and given.isprintable() and len(given) < 1000 else ""


def _retry_after_seconds(response: httpx2.Response) -> float | None:
    given = response.headers.get("Retry-After", "").strip()
    if given.isdecimal():
        return float(given)
    try:
        moment = email.utils.parsedate_to_datetime(given)
    except (ValueError, OverflowError, TypeError, LookupError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return max(0.0, (moment - datetime.datetime.now(datetime.UTC)).total_seconds())


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise OSError(f"{needed / 1e6:.1f} MB are needed and {free / 1e6:.1f} MB are free in {part.parent}")


def _no_weights(head: bytes, url: str) -> str | None:
    """Why a file that begins like this can be no weights, in whichever container, if it can't."""
    if not head:
        return f"{without_secrets(url)} answered with an empty file"
    if _WEB_PAGE.match(_BYTE_ORDER_MARKS.sub(b"", head).replace(b"\0", b"")):
        return _web_page_message(url)
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)  # the last letter may be cut
    except UnicodeDecodeError:
        return None
    if text.startswith("(") or not "".join(text.split()).isprintable():  # a pickle's protocol 0 is letters
        return None
    return f"{without_secrets(url)} answered with text instead of a file (an error, or a Git LFS pointer?)"


def _web_page_message(url: str) -> str:
    return f"{without_secrets(url)} answered with a web page instead of a file (a login page or a proxy?)"


def _state_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _status(code: int) -> str:
    """The code with the standard's words for it: a server's own may say anything."""
    with suppress(ValueError):
        return f"{code} {http.HTTPStatus(code).phrase}"
    return str(code)


def reason(error: Exception) -> str:
    """The kind of failure, with the system's words where it is the network's; a server's are never quoted."""
    import httpx2

    own = isinstance(error, httpx2.NetworkError | httpx2.TimeoutException)
    return f"{type(error).__name__}: {str(error)[:200] if own else ''}".rstrip(": ")
