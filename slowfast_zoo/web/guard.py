"""What stands between the network and the page: sizes, names of hosts, files that aren't the page's own.

Gradio serves the page. It would also fetch addresses for visitors, and let the browser ask other hosts for
scripts; here none of that happens.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import stat
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

FORGOTTEN_SECONDS = 3600
"""After which an upload is deleted."""
MOST_JSON_BYTES = 8 * 2**20
"""Of a request that isn't an upload: pictures of a webcam are the largest."""
_FORM_BYTES = 2**20
"""That a form adds to its files."""

_CONTENT_POLICY = (
    # The page's own scripts are inline and compile templates; nothing comes from, or goes to, another host.
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:;"
    " style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:;"
    " connect-src 'self' data: blob:; font-src 'self' data:; object-src 'none'; base-uri 'self';"
    " form-action 'self'"
)
_ONCE = (b"host", b"origin", b"content-type", b"content-length")
"""Headers that decide: where one is there twice, the page may read the other one."""
_FETCHED = re.compile(r"/(?:proxy=|file[=/]\s*[a-z][a-z0-9+.-]+:)", re.IGNORECASE)
"""Routes by which the server would fetch an address for a visitor."""


class Guard:
    """An ASGI application in front of another one.

    Args:
        app: what answers.
        folder: where uploads and results of the page lie; no request may name a file elsewhere.
        most_bytes: of an upload.
        most_stored: bytes that may lie in the folder; while there are more, or more are on their way, uploads
            are refused.
        local: whether only this machine's own names are answered to, so that no other page can reach this one
            by a name that it points here.
    """

    def __init__(self, app: App, *, folder: Path, most_bytes: int, most_stored: int, local: bool) -> None:
        self._app, self._folder, self._local = app, folder.resolve(), local
        self._most_bytes, self._most_stored, self._coming = most_bytes, most_stored, 0
        policy = _CONTENT_POLICY + ("; frame-ancestors 'self'" if local else "")
        self._headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or has it answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._headers]
            await send(message)

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = _refusal_of_names([name for name, _ in scope["headers"]])
        refusal = refusal or self._refusal(scope["path"], scope["method"], headers)
        if refusal is None and scope["method"] == "POST" and not _is_form(headers):
            body, receive = await _read(receive, MOST_JSON_BYTES)
            refusal = self._refusal_of_body(body)
        if refusal is None:
            length = int(headers["content-length"]) if _is_form(headers) and scope["method"] == "POST" else 0
            self._coming += length
            try:
                await self._app(scope, receive, send_guarded)
            finally:
                self._coming -= length
            return
        status, sentence = refusal
        content = json.dumps({"detail": sentence, "error": sentence}).encode()
        start = {"type": "http.response.start", "status": status}
        await send_guarded({**start, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": content})

    def _refusal(self, path: str, method: str, headers: dict[str, str]) -> tuple[int, str] | None:
        """The status and the sentence for what isn't answered."""
        if self._local and not is_loopback(_host(headers.get("host", ""))):
            return (
                421,
                "This page is for its own machine: open it as http://localhost, or start it with --host.",
            )
        origin = headers.get("origin", "")
        if self._local and origin and not is_loopback(_host(origin.partition("://")[2])):
            return 403, "Another page may not use this one."
        if _FETCHED.search(path):
            return 403, "This page fetches nothing for others."
        if method == "POST" and _is_form(headers):
            if not path.endswith("/gradio_api/upload"):  # others take files to where nobody deletes them
                return 403, "This page takes files at /gradio_api/upload, and nowhere else."
            length = headers.get("content-length")
            if length is None or "transfer-encoding" in headers:  # in pieces, of which nobody knows the sum
                return 411, "An upload has to say how large it is, by Content-Length."
            if not length.isdecimal() or len(length) > 18 or int(length) > self._most_bytes + _FORM_BYTES:
                return 413, f"The file is too large: this page takes up to {in_words(self._most_bytes)}."
            _forget_broken_off(self._folder)
            if _stored(self._folder) + self._coming + int(length) > self._most_stored:
                return 507, "There is no room for further uploads at the moment; try again in some minutes."
        return None

    def _refusal_of_body(self, body: bytes | None) -> tuple[int, str] | None:
        if body is None:
            return 413, "The request is too large."
        try:
            document = json.loads(body) if body else None
        except (ValueError, RecursionError):
            return 400, "The request is no JSON."
        for path in _paths(document):
            if not self._is_own(path):
                return 403, "A file that was uploaded to this page is expected; after an hour it is deleted."
        return None

    def _is_own(self, path: object) -> bool:
        """Whether it is a file of the page; a folder isn't: Gradio's cleaning would end with it."""
        try:
            found = Path(path).resolve() if isinstance(path, str) else None
            return found is not None and found.is_relative_to(self._folder) and found.is_file()
        except (OSError, ValueError, RuntimeError):  # a NUL byte, a ring of links
            return False


def _refusal_of_names(names: list[bytes]) -> tuple[int, str] | None:
    twice = [name.decode() for name in _ONCE if names.count(name) > 1]
    return (400, f"The request has the header {twice[0]} twice; send it once.") if twice else None


def is_loopback(host: str) -> bool:
    """Whether it is this machine's own name, or a number that only this machine reaches."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def in_words(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 2**20:.0f} MB" if count < 2**30 else f"{count / 2**30:.1f} GB"


def _host(address: str) -> str:
    """The name in "name:port"; of IPv6 addresses without the brackets."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition("/")[0].partition(":")[0].lower()


def _is_form(headers: dict[str, str]) -> bool:
    return headers.get("content-type", "").lower().startswith("multipart/")


def _paths(document: Any) -> Iterator[object]:
    """What stands under "path" anywhere in it, nothing aside."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if value.get("path") is not None:
                yield value["path"]
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _forget_broken_off(folder: Path) -> None:
    """Deletes what uploads have left that ended in the middle, which Gradio never does.

    Whole ones are in folders of their own.
    """
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):
            facts = path.lstat()
            if stat.S_ISREG(facts.st_mode) and time.time() - facts.st_mtime > FORGOTTEN_SECONDS:
                path.unlink()


def _stored(folder: Path) -> int:
    """Bytes in a folder; what disappears meanwhile doesn't count."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:
            continue
    return total


async def _read(receive: Receive, most: int) -> tuple[bytes | None, Receive]:
    """The body of a request, None where it is larger; and what gives it once more."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            break
        parts.append(message.get("body", b""))
        size, more = size + len(parts[-1]), message.get("more_body", False)
        if size > most:
            return None, receive
    body, told = b"".join(parts), False

    async def again() -> MutableMapping[str, Any]:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return body, again
