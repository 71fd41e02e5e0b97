"""Frames of what has no end, as they arrive: cameras, network streams, pipes.

A stream that breaks off is opened again, after pauses that grow; its clock goes on, and the first frame
after the hole is marked. Nothing is kept but the frame that was just decoded.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import random
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeAlias

from slowfast_zoo.errors import InputError, VideoError, one_line
from slowfast_zoo.video.decoding import packets
from slowfast_zoo.video.decoding.decoders import best_track, rate_of, stamps_follow_frames
from slowfast_zoo.video.decoding.rgb import RgbConverter
from slowfast_zoo.video.decoding.video import Frame
from slowfast_zoo.video.sampling import checked_seconds
from slowfast_zoo.video.sources.contents import MAX_PIXELS
from slowfast_zoo.video.sources.media import lenient
from slowfast_zoo.video.sources.names import display_name, is_url, local_path, mode_of

if TYPE_CHECKING:
    from av import VideoFrame

_LOGGER = logging.getLogger(__name__)

LiveSource: TypeAlias = str | int | Path | BinaryIO

_PROTOCOLS = {
    "rtsp": "rtsp,rtp,udp,tcp,http,https,tls,srtp",
    "rtsps": "rtsps,rtsp,rtp,udp,tcp,tls,srtp",
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,tls,tcp",
    "http": "http,https,tcp,tls,crypto,httpproxy",
    "https": "http,https,tcp,tls,crypto,httpproxy",
    "udp": "udp,rtp",
    "rtp": "rtp,udp",
    "srt": "srt,udp",
    "tcp": "tcp",
}
"""What is accepted, and what may be opened on its behalf: never a file, whatever a playlist says."""

_RTSP_OPTIONS = {"rtsp_transport": "tcp", "max_delay": "500000"}
"""UDP loses packets without a word, and frames become gray."""

_PROBE = {"analyzeduration": "2000000"}
"""Microseconds of a stream that are looked at before its first frame is given."""

_DEVICES = {
    "linux": ("v4l2", "/dev/video{}"),
    "darwin": ("avfoundation", "{}"),
}
"""Per system FFmpeg's name for cameras, and what it calls one by its number; on Windows it knows names."""

_PLAYLISTS = ("hls", "dash")
"""Formats whose files only name what is played."""

_WITHOUT_CLOCK = frozenset(("mpjpeg",))
"""Formats whose time stamps FFmpeg makes up, from a frame rate that nobody told."""

_POLL_SECONDS = 0.005
"""Between two looks at a device that doesn't wait for its next frame."""
_SMALLEST_STEP_SECONDS = 1e-3
_LARGEST_STEP_SECONDS = 10.0
"""Between the stamps of two frames, beyond the time between their arrivals; more is a jump."""
_LONGEST_PAUSE_SECONDS = 3600.0
"""The same in a local file, which waits to be read: how long it may show one frame."""

_MOST_BEHIND_SECONDS = 10.0
"""How much later than at first frames may come before something is done about it."""

_IDLE_SHARE = 0.1
"""Of its time, a reader that keeps up waits for frames at least so much."""

_ON_TIME_SECONDS = 1.0
_BACKLOG_SECONDS, _DRIFT_SECONDS = 5.0, 60.0
"""How long frames have been late when that is taken for a backlog, or for stamps that run slow."""

_REFUSED_PACKETS = 1000
"""In a row; more is no video."""

_END = object()
"""Comes after the last packet."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LiveFrame:
    """One frame, as it arrived."""

    pixels: Frame
    """uint8 RGB of shape (H, W, 3), upright."""
    seconds: float
    """From the first frame on: by time stamps where they are sound, else by arrival; always increasing."""
    gap: bool
    """Whether frames in front of it are missing, or nobody knows how much time passed."""


class LiveClock:
    """When frames were taken, in seconds from the first one, whatever their stamps say.

    Attributes:
        seconds: of the last frame.
        behind_seconds: how much later than the earliest ones, by its stamp, the last frame came.
        trusts_stamps: whether stamps count; else times of arrival do.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.behind_seconds = 0.0
        self.trusts_stamps = True
        self._first = True
        self._stamp: float | None = None
        self._arrival = self._lead = 0.0

    def restart(self) -> None:
        """The next frame's stamp has nothing to do with those before."""
        self._stamp, self.trusts_stamps = None, True

    def step(
        self, stamp: float | None, arrival: float, *, paused: bool = False, every: float | None = None
    ) -> bool:
        """Takes the next frame; whether its stamp jumped, by more than time can have passed.

        Args:
            stamp: seconds by the stream; None where it says nothing.
            arrival: seconds by any clock that doesn't jump.
            paused: whether stamps tell of pauses that nobody has waited for yet.
            every: seconds from one frame without a stamp to the next; None: their arrival tells.
        """
        passed = arrival - self._arrival
        most = _LONGEST_PAUSE_SECONDS if paused else passed + _LARGEST_STEP_SECONDS
        told = None if stamp is None or self._stamp is None or not self.trusts_stamps else stamp - self._stamp
        by_stamp = told is not None and 0 < told <= most
        jumped = told is not None and not by_stamp and abs(told) > _LARGEST_STEP_SECONDS
        if not self._first:
            unknown = passed if every is None or stamp is not None else every
            self.seconds += told if told is not None and by_stamp else max(unknown, _SMALLEST_STEP_SECONDS)
        lead = self.seconds - arrival
        # Where the time of arrival counts, the frame is as new as it can be.
        self._lead = max(self._lead, lead) if by_stamp else lead
        self.behind_seconds = self._lead - lead
        self._first, self._stamp, self._arrival = False, stamp, arrival
        return jumped


class _LostError(Exception):
    """A connection broke off; never leaves this module."""


class LiveVideo:
    """The frames of a camera, a stream, a pipe or a file, for as long as they come; to be iterated once.

    A connection that breaks off is opened again, after pauses that grow; the clock goes on meanwhile. Whoever
    reads slower than frames come gets the newest ones, after a gap, rather than ever later ones. A file,
    also one at an address, is played at its own speed, as a camera would give it.

    Args:
        source: an address (rtsp, rtmp, http for MJPEG and HLS, udp, rtp, srt, tcp); a device
            (``/dev/video0``, or its number; on Windows ``video=NAME``); a pipe or binary file object; a file.
        options: FFmpeg's, which go before those chosen here: ``{"rtsp_transport": "udp"}``,
            ``{"video_size": "1280x720", "framerate": "30"}``.
        timeout_seconds: without anything new, after which a connection counts as lost.
        retry_seconds: the first and the longest pause before a lost connection is opened again.
        clock: seconds that pass; for tests.

    Attributes:
        name: without credentials and query.

    Raises:
        InputError: no such kind of source, or an argument that is not accepted.
        VideoError: no such file or device.
    """

    def __init__(
        self,
        source: LiveSource,
        *,
        options: Mapping[str, str] | None = None,
        timeout_seconds: float = 10.0,
        retry_seconds: tuple[float, float] = (0.5, 30.0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        timeout_seconds = checked_seconds("timeout_seconds", timeout_seconds, positive=True)
        if not isinstance(retry_seconds, (tuple, list)) or len(retry_seconds) != 2:
            raise InputError(
                f"retry_seconds is {retry_seconds!r:.60}; accepted: the first and the longest pause, two"
                " numbers."
            )
        first, longest = (checked_seconds("retry_seconds", pause, positive=True) for pause in retry_seconds)
        if not isinstance(options, (Mapping, NoneType)):
            raise InputError(f"options is {options!r:.60}; accepted: a dictionary of FFmpeg's options.")
        self.name = f"camera {source}" if isinstance(source, int) else display_name(source)
        self._opening = _opening_of(source, timeout_seconds)
        own = {str(name): str(value) for name, value in (options or {}).items()}
        self._options = _PROBE | self._opening.options | own
        self._timeout, self._retry, self._now = timeout_seconds, (first, max(first, longest)), clock
        self._stop = threading.Event()
        self._clock = LiveClock()
        self._begun = 0.0
        self._on_time = (0.0, 0.0)
        self._seen = self._finite = self._ends = self._paced = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the iteration with its next frame; may be called from any thread."""
        self._stop.set()

    def __iter__(self) -> Iterator[LiveFrame]:
        """The frames.

        Raises:
            VideoError: it can't be opened, or ends before its first frame; or a file or pipe breaks off.
        """
        first, longest = self._retry
        pause = first
        while not self._stop.is_set():
            reason = "it ended"
            try:
                for frame in self._connection():
                    pause = first
                    yield frame
                    if self._stop.is_set():
                        return
                if self._seen and self._ends:
                    return
                if not self._seen and self._read_straight_on():
                    continue
            except _LostError as error:
                reason = str(error)
            if not self._seen or self._finite:
                when = "" if self._seen else ", before its first frame" if reason == "it ended" else ""
                reachable = "; check its host, port, user and password" if "://" in self.name else ""
                check = "" if self._seen else reachable
                opening = self._opening
                head = getattr(opening.target, "head", None)  # None: FFmpeg itself reads a named pipe
                piped = not (self._seen or opening.lasting or opening.paced)
                if piped and (head is None or head[4:8] == b"ftyp"):
                    check = "; an MP4 whose index is at its end can't be piped: use MPEG-TS"
                raise VideoError(f"'{self.name}' can't be watched: {reason}{when}{check}.")
            _LOGGER.warning("'%s' is lost: %s. Trying again in %.1f s.", self.name, reason, pause)
            self._stop.wait(pause * random.uniform(0.75, 1.0))  # so that many don't come back at once
            pause = min(2 * pause, longest)

    def _connection(self) -> Iterator[LiveFrame]:
        """The frames until it ends.

        Raises:
            _LostError: it broke off.
        """
        import av
        from av.format import Flags

        gap, convert = self._seen, None
        try:
            with self._opened() as container:
                track = best_track(container, self.name)
                context = track.codec_context
                context.options = {"max_pixels": str(MAX_PIXELS)}
                context.thread_type = "SLICE"  # threads that share out frames hold some back
                seeks = container.duration or ("seekable" in self._options and container.size > 0)
                self._finite = not self._opening.lasting or bool(seeks)
                # A server may tell the length of what it gives once only: if that breaks off, it is lost.
                told = container.size > 0 and container.format.name not in _PLAYLISTS
                self._ends = self._finite or (told and str(self._opening.target).startswith("http"))
                self._paced = self._opening.paced or (self._opening.lasting and self._ends)
                # A file of such a format may be joined from parts whose stamps have nothing in common.
                paused = self._opening.paced and not container.format.flags & Flags.ts_discont.value
                self._clock.restart()
                self._clock.trusts_stamps = container.format.name not in _WITHOUT_CLOCK
                follow, rate = stamps_follow_frames(packets.family(container), track), rate_of(track)
                # What can be read faster than it is played has no time of arrival.
                every = float(1 / rate) if rate and (self._paced or not follow) else None
                for frame, idle in self._decoded(container, track):
                    if convert is None and frame.is_corrupt:  # it refers to frames from before
                        continue
                    if convert is None or convert.coded_size != (frame.width, frame.height):
                        gap, convert = gap or convert is not None, RgbConverter(self.name, frame)
                    known = follow and frame.pts is not None
                    stamp = float(frame.pts * track.time_base) if known else None
                    gap |= self._clock.step(stamp, self._now(), paused=paused, every=every)
                    if not self._seen:
                        self._begun, self._seen = self._now(), True
                    self._keep_pace(idle)
                    yield LiveFrame(convert(frame), self._clock.seconds, gap)
                    gap = False
        except (av.FFmpegError, OSError, ValueError) as error:  # VideoErrors too: cameras come up in steps
            raise _LostError(one_line(error)) from None

    def _read_straight_on(self) -> bool:
        """Whether to try again without seeking: of a short file FFmpeg may find nothing when it goes back."""
        target = self._opening.target
        again = isinstance(target, str) and target.startswith("http") and "seekable" not in self._options
        self._options |= {"seekable": "0"} if again else {}
        return again

    def _opened(self) -> Any:
        import av

        return av.open(
            self._opening.target,
            "r",
            format=self._opening.format,
            options=self._options,
            timeout=(self._timeout, self._timeout),
            **lenient(),
        )

    def _decoded(self, container: Any, track: Any) -> Iterator[tuple[VideoFrame, float]]:
        """Every frame, and how many seconds were spent waiting for packets so far."""
        import av

        coming, idle, waited, refused = container.demux(track), 0.0, 0.0, 0
        broken: Exception | None = None
        while broken is None:
            asked = self._now()
            try:
                packet = next(coming, _END)
            except BlockingIOError:  # a Mac's camera has nothing new yet, and doesn't wait for it
                time.sleep(_POLL_SECONDS)
                waited += self._now() - asked
                idle += self._now() - asked
                if waited > self._timeout:
                    raise _LostError("nothing new came") from None
                coming = container.demux(track)
                continue
            except (av.FFmpegError, OSError) as error:  # also of streams that end, by FFmpeg 8.1
                broken, packet = error, None  # empties the decoder
            if packet is _END:
                return
            idle, waited = idle + self._now() - asked, 0.0
            try:
                frames = track.codec_context.decode(packet)
            except (av.error.InvalidDataError, av.error.EOFError) as error:
                refused += 1
                if refused > _REFUSED_PACKETS:
                    raise _LostError(f"its decoder refused {refused} packets in a row") from error
                continue
            for frame in frames:
                refused = 0
                yield frame, idle
        raise broken

    def _keep_pace(self, idle: float) -> None:
        """Waits where a file is faster than its own time; sees to it that frames don't come later and later.

        Args:
            idle: seconds that this connection spent waiting for packets.

        Raises:
            _LostError: there is a backlog, which a new connection doesn't have.
        """
        now, behind = self._now(), self._clock.behind_seconds
        if self._paced:
            pause = max(self._begun + self._clock.seconds - now, 0.0)
            if pause > _LARGEST_STEP_SECONDS:
                _LOGGER.warning("'%s' pauses for %.0f s, as its time stamps say.", self.name, pause)
            self._stop.wait(pause)
        if behind < _ON_TIME_SECONDS:
            self._on_time = (now, idle)
        if self._paced or not self._opening.lasting or behind < _MOST_BEHIND_SECONDS:
            return
        late = now - self._on_time[0]
        if late > _BACKLOG_SECONDS and idle - self._on_time[1] < _IDLE_SHARE * late:
            raise _LostError("its frames come faster than they are read")
        if late > _DRIFT_SECONDS:
            _LOGGER.warning("The time stamps of '%s' run slow: times of arrival count instead.", self.name)
            self._clock.trusts_stamps = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Opening:
    """How FFmpeg is told about a source."""

    target: str | _Arriving
    options: dict[str, str]
    format: str | None = None
    lasting: bool = False
    """Whether it can be opened again: neither a pipe, which goes on where it was, nor a file, which ends."""
    paced: bool = False
    """Whether it can be read faster than it is shown, so that somebody has to wait."""


class _Arriving:
    """A file object that is read as far as it has come; FFmpeg sees that it can't seek.

    Attributes:
        head: the first bytes that came, 8 at most.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.head = b""
        self._read = getattr(file, "read1", file.read)  # ``read`` waits for all of the bytes

    def read(self, size: int = -1) -> bytes:
        data = self._read(size)
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise OSError(f"it gives {type(data).__name__}, no bytes")
        self.head = (self.head + bytes(data[:8]))[:8]
        return bytes(data)


def _opening_of(source: LiveSource, timeout_seconds: float) -> _Opening:
    """What a source is.

    Raises:
        InputError: nothing that can be watched.
        VideoError: no such file or device.
    """
    if isinstance(source, int) and not isinstance(source, bool):
        if sys.platform == "win32":
            raise InputError(
                f"Windows knows cameras by name, and {source} is a number: give 'video=NAME', with the name"
                " that its Device Manager shows."
            )
        kind, name = _DEVICES.get(sys.platform, _DEVICES["linux"])
        return _device(kind, name.format(source))
    if isinstance(source, str) and is_url(source):
        return _address(source, timeout_seconds)
    if sys.platform == "win32" and isinstance(source, str) and source.startswith("video="):
        return _device("dshow", source)
    if isinstance(source, (str, Path)):
        path = local_path(source)
        mode = mode_of(path)
        if str(path).startswith("/dev/video"):
            return _device("v4l2", str(path))
        if mode is None or stat.S_ISDIR(mode):
            what = "doesn't exist" if mode is None else "is a folder"
            raise VideoError(
                f"'{display_name(path)}' {what}; watch takes an address, a device, a pipe or a file."
            )
        options = {"protocol_whitelist": "file"}
        return _Opening(target=str(path.absolute()), options=options, paced=not stat.S_ISFIFO(mode))
    if not isinstance(source, int) and hasattr(source, "read") and not isinstance(source, io.TextIOBase):
        return _Opening(target=_Arriving(source), options={"protocol_whitelist": "none"})
    raise InputError(
        "What is watched is an address (rtsp://, http://), a device (/dev/video0, or its number), a pipe, a"
        f" binary file object or a file; got {type(source).__name__}."
    )


def _device(kind: str, name: str) -> _Opening:
    if kind == "v4l2" and mode_of(Path(name)) is None:
        raise VideoError(f"There is no camera '{name}'.")
    # FFmpeg's own 29.97 is a rate that a Mac's cameras refuse.
    options = {"framerate": "30"} if kind == "avfoundation" else {}
    return _Opening(target=name, format=kind, options=options, lasting=True)


def _address(url: str, timeout_seconds: float) -> _Opening:
    scheme = url.partition("://")[0].lower()
    if scheme not in _PROTOCOLS:
        raise InputError(
            f"'{display_name(url)}' can't be watched; accepted: {', '.join(_PROTOCOLS)}, devices and files."
        )
    options = {"protocol_whitelist": _PROTOCOLS[scheme]}
    if scheme.startswith("rtsp"):
        options |= _RTSP_OPTIONS | {"timeout": str(round(timeout_seconds * 1e6))}
    return _Opening(target=url, options=options, lasting=True)
