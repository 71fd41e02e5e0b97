"""Real servers of live video on the loopback interface, which can be killed and started again.

``MjpegServer`` is a thread of this process; ``RtspServer`` is GStreamer's, in a process of its own, where its
packages are installed.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from tests.support.movies import Frames, moving_pattern
from tests.support.servers import LocalServer, QuietHandler

_PYTHONS = ("/usr/bin/python3", sys.executable)
_RTSP = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
if len(sys.argv) < 2:
    names = ("videotestsrc", "jpegenc", "rtpjpegpay")
    missing = [name for name in names if not Gst.ElementFactory.find(name)]
    sys.exit(f"no {missing}" if missing else 0)
server = GstRtspServer.RTSPServer.new()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory.new()
factory.set_launch(
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=96,height=64,framerate=25/1"
    " ! jpegenc ! rtpjpegpay name=pay0 pt=26 )"
)
factory.set_shared(True)
server.get_mount_points().add_factory("/camera", factory)
if not server.attach(None):
    sys.exit("the port is taken")
print("ready", flush=True)
GLib.MainLoop().run()
"""


def rtsp_python() -> str | None:
    """A Python that has GStreamer's RTSP server; None where no such package is installed."""
    for python in _PYTHONS:
        if (
            shutil.which(python)
            and not subprocess.run(
                [python, "-c", _RTSP], capture_output=True, timeout=60, check=False
            ).returncode
        ):
            return python
    return None


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RtspServer:
    """A camera with a moving ball, 25 frames per second of 96x64 pixels, as RTP of JPEG.

    Attributes:
        url: its address, with a password that nobody asks for.
    """

    def __init__(self, python: str, port: int | None = None) -> None:
        self._python, self.port = python, port or free_port()
        self.url = f"rtsp://user:secret@127.0.0.1:{self.port}/camera?token=hidden"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Listens when this returns."""
        self._process = subprocess.Popen(
            [self._python, "-c", _RTSP, str(self.port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == b"ready"

    def kill(self) -> None:
        """Gone, without a word to anybody."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


class MjpegServer(LocalServer):
    """A camera that sends JPEGs, one after the other; frame ``n`` of all is the ``n``-th of a moving pattern.

    Args:
        fps: how fast.
        count: frames after which a connection ends; None: never.
        stall: frames after which the first connection gives nothing more; None: never.
        port: 0 is any.
    """

    def __init__(
        self, fps: float = 50.0, count: int | None = None, stall: int | None = None, port: int = 0
    ) -> None:
        self.pause = 1 / fps
        self.count, self.stall = count, stall
        self.pictures = [jpeg(frame) for frame in moving_pattern(16, 64, 96)]
        self.connections = 0
        super().__init__(_MjpegHandler, port)
        self.url = f"http://user:secret@127.0.0.1:{self.port}/camera?token=hidden"


class _MjpegHandler(QuietHandler):
    def do_GET(self) -> None:
        owner = self.server.owner
        owner.connections += 1
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        sent = 0
        while not owner.closing.is_set() and sent != owner.count:
            picture = owner.pictures[sent % len(owner.pictures)]
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            self.wfile.write(head.encode() + picture + b"\r\n")
            self.wfile.flush()
            sent += 1
            owner.closing.wait(None if sent == owner.stall and owner.connections == 1 else owner.pause)


def jpeg(frame: Frames) -> bytes:
    """A picture (H, W, 3) as a JPEG file."""
    import av

    context = av.CodecContext.create("mjpeg", "w")
    context.height, context.width = frame.shape[:2]
    context.pix_fmt, context.time_base = "yuvj420p", Fraction(1, 25)
    coded = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    coded = coded.reformat(format="yuvj420p")
    coded.pts = 0
    return b"".join(bytes(packet) for packet in (*context.encode(coded), *context.encode(None)))


class PacedPipe:
    """A pipe through which a video file comes in small pieces, each when a test asks for it.

    Attributes:
        reader: the end that is read.
    """

    def __init__(self, file: Path, piece: int = 4096) -> None:
        read, write = os.pipe()
        self.reader = os.fdopen(read, "rb")
        self._writer = os.fdopen(write, "wb", buffering=0)
        self._pieces = self._split(file.read_bytes(), piece)

    @staticmethod
    def _split(content: bytes, piece: int) -> Iterator[bytes]:
        stream = io.BytesIO(content)
        while data := stream.read(piece):
            yield data

    def run(self, pause: threading.Event | None = None, seconds: float = 0.002) -> threading.Thread:
        """Writes everything from a thread of its own, and closes the pipe."""

        def write() -> None:
            with self._writer:
                for data in self._pieces:
                    self._writer.write(data)
                    (pause or threading.Event()).wait(seconds)

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        return thread
