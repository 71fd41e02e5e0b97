"""A small real HTTP(S) server on the loopback interface that misbehaves when told to."""

from __future__ import annotations

import dataclasses
import email.utils
import hashlib
import re
import socket
import ssl
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit


@dataclasses.dataclass(kw_only=True)
class Fault:
    """What is wrong with the answers to a path. The defaults change nothing."""

    times: int | None = None
    """Answers with the fault, after which the file is served well; None: all of them."""
    status: int | None = None
    """Status to answer with, and a short text instead of the file."""
    reason: str | None = None
    """Words for that status; None: the standard's."""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    """Headers to add or, by the same name, to replace."""
    drop_headers: tuple[str, ...] = ()
    """Headers to leave out."""
    body: bytes | None = None
    """Other content than the file's."""
    cut_after: int | None = None
    """Body bytes after which the connection is closed."""
    chunk_pause_seconds: float = 0.0
    """Pause after each 16 KiB of body."""
    hang: bool = False
    """Answer nothing until the server is closed."""
    ignore_range: bool = False
    """Answer 200 with everything to a Range request."""
    ignore_if_range: bool = False
    """Answer 206 even when If-Range names another version."""
    shift_range: int = 0
    """Bytes by which the given range begins later than the one asked for."""
    longest_range: int | None = None
    """Bytes that a range has at most, whatever was asked for."""
    chunked: bool = False
    """Send the body in chunks, without a length."""


@dataclasses.dataclass(frozen=True)
class Request:
    """One request that arrived."""

    method: str
    path: str
    range: str | None


class LocalServer:
    """Answers HTTP on 127.0.0.1 until the ``with`` block ends; its handlers find it as ``server.owner``.

    Attributes:
        port: where it listens.
        closing: set when the block ends.
    """

    def __init__(self, handler: type[BaseHTTPRequestHandler], port: int = 0) -> None:
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", port), handler)
        self._server.owner = self
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    owner: Any

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away in the middle are what these tests are about."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class QuietHandler(BaseHTTPRequestHandler):
    """Says nothing: the tests look at what the server has noted."""

    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""


class FileServer(LocalServer):
    """Serves ``files`` (path -> content or file) on 127.0.0.1 until the ``with`` block ends.

    Attributes:
        url: beginning of every URL, without a slash at its end.
        files: what is served; may be changed while running.
        faults: path -> what is wrong with it; may be changed while running.
        requests: everything that arrived, in order.
    """

    def __init__(self, files: dict[str, bytes | Path] | None = None, *, tls: bool = False) -> None:
        self.files = dict(files or {})
        self.faults: dict[str, Fault] = {}
        self.requests: list[Request] = []
        self.lock = threading.Lock()
        super().__init__(_Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            with tempfile.TemporaryDirectory() as folder:
                pair = Path(folder, "pair.pem")
                pair.write_text(LOOPBACK_KEY + LOOPBACK_CERTIFICATE)
                context.load_cert_chain(pair)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def count(self, path: str) -> int:
        """How many requests for a path arrived."""
        return sum(request.path == path for request in self.requests)


class _Handler(QuietHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        owner, path = self.server.owner, unquote(urlsplit(self.path).path)
        with owner.lock:
            owner.requests.append(Request(self.command, path, self.headers.get("Range")))
            fault = self._fault(path)
        if fault.hang:
            owner.closing.wait()
            self.close_connection = True
            return
        content = owner.files.get(path)
        if content is None and fault.status is None and fault.body is None:
            fault = Fault(status=404)
        if fault.status is not None:
            body = fault.body or f"status {fault.status}".encode()
            self._send(fault.status, {"Content-Type": "text/plain"}, body, fault, with_body)
            return
        whole = content.read_bytes() if isinstance(content, Path) else content or b""
        whole = whole if fault.body is None else fault.body
        status, headers, body = self._select(whole, fault)
        self._send(status, headers, body, fault, with_body)

    def _fault(self, path: str) -> Fault:
        fault = self.server.owner.faults.get(path)
        if fault is None or fault.times == 0:
            return Fault()
        if fault.times is not None:
            fault.times -= 1
        return dataclasses.replace(fault)

    def _select(self, whole: bytes, fault: Fault) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body bytes for what the Range and If-Range headers ask."""
        digits = hashlib.sha256(whole).hexdigest()
        tag = fault.headers.get("ETag", f'"{digits[:16]}"')
        date = email.utils.formatdate(1_600_000_000 + int(digits[:6], 16), usegmt=True)
        headers = {"ETag": tag, "Last-Modified": date, "Accept-Ranges": "bytes"}
        headers |= {"Content-Type": "application/octet-stream"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if_range = self.headers.get("If-Range")
        fresh = if_range in (None, tag, date) or fault.ignore_if_range
        if not asked or fault.ignore_range or not fresh:
            return 200, headers, whole
        start = int(asked[1]) + fault.shift_range
        if start >= len(whole):
            return 416, headers | {"Content-Range": f"bytes */{len(whole)}"}, b""
        stop = int(asked[2]) + 1 if asked[2] else len(whole)
        if fault.longest_range is not None:
            stop = min(stop, start + fault.longest_range)
        body = whole[start:stop]
        return 206, headers | {"Content-Range": f"bytes {start}-{start + len(body) - 1}/{len(whole)}"}, body

    def _send(self, status: int, headers: dict[str, str], body: bytes, fault: Fault, with_body: bool) -> None:
        framing = {"Transfer-Encoding": "chunked"} if fault.chunked else {"Content-Length": str(len(body))}
        self.send_response(status, fault.reason)
        for name, value in (headers | framing | fault.headers).items():
            if name not in fault.drop_headers:
                self.send_header(name, value)
        self.end_headers()
        if "Content-Length" in fault.drop_headers or "Content-Length" in fault.headers:
            self.close_connection = True
        if not with_body:
            return
        for start in range(0, len(body), 1 << 14):
            piece = body[start : start + (1 << 14)]
            if fault.cut_after is not None and start + len(piece) >= fault.cut_after:
                self._write(piece[: fault.cut_after - start], fault.chunked)
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self._write(piece, fault.chunked)
            if fault.chunk_pause_seconds:
                time.sleep(fault.chunk_pause_seconds)
        if fault.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _write(self, piece: bytes, chunked: bool) -> None:
        if chunked and piece:
            piece = f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
        self.wfile.write(piece)


# A self-signed pair for 127.0.0.1, made for this file alone: it protects nothing.
LOOPBACK_KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgSVhpkYhLd0sMA9+S
Dvs9RWp9BqD9s4JjPg7odAILpyShRANCAAQ8UBKnU6rwfa6Aj354hxKfqT/PWpyR
Tu94GCcQaKA42m4cebEmmPwB4lDVFGhfMSvzqSrtYEuF/YtBxbsnjh+7
-----END PRIVATE KEY-----
"""
LOOPBACK_CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBmjCCAUGgAwIBAgIUVunREO5BS3NsDo1tAw8vkArNBIAwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjE3NDQ1NVoYDzIxMjYxMDI5
MTc0NDU1WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQ8UBKnU6rwfa6Aj354hxKfqT/PWpyRTu94GCcQaKA42m4cebEmmPwB
4lDVFGhfMSvzqSrtYEuF/YtBxbsnjh+7o28wbTAdBgNVHQ4EFgQU2NsVsjHvonu2
F/5Lpsb3gwP6b3AwHwYDVR0jBBgwFoAU2NsVsjHvonu2F/5Lpsb3gwP6b3AwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDRwAwRAIgIsoZsqA5uAMWXalePvINqBiC5ZHeP99eFzcxhlhkKMwCIAmO
Uu7oXn6Azdm6gectGJXqaRb/0d6k9gK+ov6+giKe
-----END CERTIFICATE-----
"""
