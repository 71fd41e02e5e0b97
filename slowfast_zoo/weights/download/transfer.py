"""One URL into one local file over HTTP: resumed, retried, and never from https down to http.

The bytes arrive in a part file. A small JSON file beside it holds which remote file they are the
beginning of, so that a later process continues exactly that file or starts again. What becomes of
the complete part (hash, cache, lock) is the business of ``slowfast_zoo.weights.download.download``.
"""

from __future__ import annotations

import dataclasses
import datetime
import email.utils
import json
import logging
import os
import random
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slowfast_zoo.errors import DownloadError

if TYPE_CHECKING:
    import httpx2

_LOGGER = logging.getLogger(__name__)

_ATTEMPTS = 4
"""Failed requests in a row, none of which brought a new byte, after which a URL is given up."""
_BACKOFF_SECONDS = 1.0
"""Pause before the second attempt; it doubles with each further one."""
_LONGEST_WAIT_SECONDS = 60.0
"""A server that asks for a longer pause than this is given up."""
_TIMEOUT_SECONDS = 30.0
"""Silence on the connection that counts as a failed attempt."""
_MAX_REDIRECTS = 5
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that may be gone at the next attempt. Source: https://www.rfc-editor.org/rfc/rfc9110#section-15."""
_WEB_PAGE = re.compile(rb"\s*<(!doctype html|html|\?xml)", re.IGNORECASE)


class _Interrupted(Exception):
    """An attempt failed in a way that the next one may not.

    Attributes:
        wait_seconds: the pause that the server asked for, if it did.
    """

    def __init__(self, reason: str, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


@dataclasses.dataclass(frozen=True)
class _Remote:
    """Which remote file a part is the beginning of."""

    url: str
    validator: str
    total: int | None

    def write(self, part: Path) -> None:
        _state_path(part).write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")

    @staticmethod
    def read(part: Path) -> _Remote | None:
        try:
            values = json.loads(_state_path(part).read_text(encoding="utf-8"))
            url, validator, total = values["url"], values["validator"], values["total"]
        except (OSError, ValueError, TypeError, KeyError):
            return None
        if not isinstance(url, str) or not isinstance(validator, str) or not isinstance(total, int | None):
            return None
        return _Remote(url, validator, total)


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
        progress: whether to show a bar; it stays off when stderr is no terminal.

    Raises:
        DownloadError: the URL is no use: refused, missing, a web page, or still failing after all attempts.
        OSError: the part can't be written.
    """
    from tqdm import tqdm

    earlier = _continuable_bytes(url, part)
    longest, failures = earlier, 0
    with (
        _client(plain_http) as client,
        tqdm(desc=name, unit="B", unit_scale=True, disable=None if progress else True) as bar,
    ):
        while True:
            try:
                _attempt(client, url, part, bar, length_required)
                break
            except _Interrupted as error:
                arrived = part.stat().st_size if part.exists() else 0
                failures = 1 if arrived > longest else failures + 1
                longest = max(longest, arrived)
                _pause(url, error, failures)
    with part.open("rb") as file:
        if _WEB_PAGE.match(file.read(512)):
            discard(part)
            raise DownloadError(_web_page_message(url))
    return earlier > 0


def _client(plain_http: bool) -> httpx2.Client:
    import httpx2

    def refuse_plain_http(request: httpx2.Request) -> None:
        if request.url.scheme != "https" and not plain_http:
            raise DownloadError(f"{request.url} is refused: only https is fetched, but for a mirror you set")

    return httpx2.Client(
        follow_redirects=True,
        max_redirects=_MAX_REDIRECTS,
        timeout=_TIMEOUT_SECONDS,
        # A compressed body would make lengths and ranges count other bytes than the file's.
        headers={"User-Agent": "slowfast-zoo", "Accept-Encoding": "identity"},
        event_hooks={"request": [refuse_plain_http]},
    )


def _pause(url: str, error: _Interrupted, failures: int) -> None:
    if failures >= _ATTEMPTS:
        raise DownloadError(f"{url} failed {failures} times without a new byte, last: {error}") from error
    wait_seconds = error.wait_seconds
    if wait_seconds is None:
        # Jitter, so that many machines that were cut off together don't come back together.
        wait_seconds = _BACKOFF_SECONDS * 2 ** (failures - 1) * random.uniform(0.5, 1.0)
    if wait_seconds > _LONGEST_WAIT_SECONDS:
        raise DownloadError(f"{url} asks to be left alone for {wait_seconds:.0f} s ({error})") from error
    _LOGGER.info("%s: %s; next attempt in %.1f s", url, error, wait_seconds)
    time.sleep(wait_seconds)


def _attempt(client: httpx2.Client, url: str, part: Path, bar: Any, length_required: bool) -> None:
    import httpx2

    have = _continuable_bytes(url, part)
    known = _Remote.read(part) if have else None
    if known and have == known.total:
        return
    headers = {"Range": f"bytes={have}-", "If-Range": known.validator} if known else {}
    try:
        with client.stream("GET", url, headers=headers) as response:
            _check_status(response, url, part)
            if response.status_code == 206:
                start, total = have, _check_range(response, part, have, known)
            else:
                length = response.headers.get("Content-Length", "")
                start, total = 0, int(length) if length.isdecimal() else None
            chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
            if total is None and length_required and not chunked:
                raise DownloadError(f"{url} gives neither the file's length nor is its hash known")
            if total is not None:
                _check_space(part, total - start)
            _receive(response, part, start, _Remote(url, _validator(response), total), bar)
    except (httpx2.TooManyRedirects, httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
        raise DownloadError(f"{url} can't be followed: {error}") from error
    except httpx2.RequestError as error:
        raise _Interrupted(f"{type(error).__name__}: {error}".rstrip(": ")) from error
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
        for chunk in response.iter_raw():
            file.write(chunk)
            bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())


def _continuable_bytes(url: str, part: Path) -> int:
    known = _Remote.read(part)
    if known is None or known.url != url or not known.validator:
        return 0
    with suppress(FileNotFoundError):
        return part.stat().st_size
    return 0


def _check_status(response: httpx2.Response, url: str, part: Path) -> None:
    status = f"{response.status_code} {response.reason_phrase}".rstrip()
    if response.status_code == 416:
        discard(part)
        raise _Interrupted(f"the server answered {status}; starting again")
    if response.status_code in _TRANSIENT:
        raise _Interrupted(f"the server answered {status}", _retry_after_seconds(response))
    if response.status_code not in (200, 206):
        raise DownloadError(f"{url} answered {status}")
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise DownloadError(_web_page_message(url))
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise DownloadError(f"{url} sent a compressed body that was not asked for")


def _check_range(response: httpx2.Response, part: Path, have: int, known: _Remote | None) -> int | None:
    """The whole file's size in bytes, if given, once it is sure that the range continues our bytes."""
    given = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    # Some servers honor Range and ignore If-Range, so the validator is compared here as well.
    same_file = known is None or _validator(response) in ("", known.validator)
    if given and same_file and known and known.total is not None and given[2] != "*":
        same_file = int(given[2]) == known.total
    if not given or not same_file or int(given[1]) != have:
        discard(part)
        raise _Interrupted("the server sent another range, or the file changed; starting again")
    return None if given[2] == "*" else int(given[2])


def _validator(response: httpx2.Response) -> str:
    """What If-Range accepts: a strong ETag, else the date. Source: RFC 9110, section 13.1.5."""
    tag: str = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _retry_after_seconds(response: httpx2.Response) -> float | None:
    given = response.headers.get("Retry-After", "").strip()
    if given.isdecimal():
        return float(given)
    try:
        moment = email.utils.parsedate_to_datetime(given)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return max(0.0, (moment - datetime.datetime.now(datetime.UTC)).total_seconds())


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise OSError(f"{needed / 1e6:.1f} MB are needed and {free / 1e6:.1f} MB are free in {part.parent}")


def _web_page_message(url: str) -> str:
    return f"{url} answered with a web page instead of a file (a login page or a proxy?)"


def _state_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")
