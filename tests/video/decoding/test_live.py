"""Cameras, streams and pipes: real servers on the loopback interface, killed and started again."""

from __future__ import annotations

import errno
import io
import itertools
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from support.cameras import MjpegServer, PacedPipe, RtspServer, rtsp_python
from support.movies import moving_pattern, write_stamped, write_video
from support.servers import Fault, FileServer

from slowfast_zoo.errors import InputError, VideoError
from slowfast_zoo.video.decoding import live
from slowfast_zoo.video.decoding.live import LiveClock, LiveFrame, LiveVideo
from slowfast_zoo.video.decoding.reader import open_video

FAST = {"timeout_seconds": 5.0, "retry_seconds": (0.05, 0.2)}


def some(frames: Iterator[LiveFrame], count: int) -> list[LiveFrame]:
    found = list(itertools.islice(frames, count))
    assert len(found) == count
    return found


def check_clock(frames: list[LiveFrame], gaps: list[int]) -> None:
    """Seconds increase, whatever happened between the frames; only these frames follow a gap."""
    seconds = [frame.seconds for frame in frames]
    assert seconds[0] == 0.0 and all(np.diff(seconds) > 0)
    assert [number for number, frame in enumerate(frames) if frame.gap] == gaps


def test_mjpeg_goes_on_when_the_server_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    with MjpegServer() as server:
        video = LiveVideo(server.url, **FAST)
        frames = iter(video)
        before = some(frames, 8)
    with MjpegServer(port=server.port), video:
        after = some(frames, 8)
    check_clock(before + after, [8])
    assert before[0].pixels.shape == (64, 96, 3) and before[0].pixels.dtype == np.uint8
    assert np.abs(before[3].pixels.astype(int) - moving_pattern(16, 64, 96)[3]).mean() < 25
    assert video.name in caplog.text and "Trying again" in caplog.text
    assert "secret" not in caplog.text and "hidden" not in caplog.text


def test_a_server_that_hangs_up_is_asked_again() -> None:
    with MjpegServer(count=5) as server, LiveVideo(server.url, **FAST) as video:
        frames = some(iter(video), 12)
        assert server.connections == 3
    check_clock(frames, [5, 10])


@pytest.mark.skipif(rtsp_python() is None, reason="no GStreamer RTSP server: gir1.2-gst-rtsp-server-1.0")
def test_rtsp_goes_on_when_the_server_comes_back() -> None:
    python = rtsp_python()
    assert python is not None
    with RtspServer(python) as server:
        video = LiveVideo(server.url, **FAST)
        frames = iter(video)
        before = some(frames, 10)
        server.kill()
        server.start()
        after = [next(frames)]
        while not after[-1].gap:  # what was on its way
            after.append(next(frames))
        after += some(frames, 5)
        video.close()
    check_clock(before + after, [len(before + after) - 6])
    # 25 frames per second by its own time stamps, however unevenly they arrive.
    assert np.diff([frame.seconds for frame in before]) == pytest.approx(0.04, abs=2e-3)


def test_a_server_that_falls_silent_is_asked_again() -> None:
    with MjpegServer(stall=5) as server, LiveVideo(server.url, **(FAST | {"timeout_seconds": 0.5})) as video:
        frames = some(iter(video), 7)
    check_clock(frames, [5])


class Ticking:
    """Time that passes with each look at it, and when a test says so."""

    def __init__(self, seconds: float) -> None:
        self.now, self._seconds = 0.0, seconds

    def __call__(self) -> float:
        self.now += self._seconds
        return self.now


def served(tmp_path: Path, count: int, fps: int, *, endless: bool = False) -> FileServer:
    """A film that an address leads to; or a stream, which ends and begins anew unannounced."""
    frames = moving_pattern(20, 32, 48)[np.arange(count) % 20]
    film = write_video(tmp_path / "film.ts", frames, fps=fps, codec="mpeg2video", pixels="yuv420p")
    server = FileServer({"/film.ts": film})
    if endless:
        server.faults["/film.ts"] = Fault(chunked=True, ignore_range=True, drop_headers=("Accept-Ranges",))
    return server


def test_a_reader_that_is_too_slow_is_connected_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """25 frames per second come and 5 are read: behind ten seconds of backlog the newest ones count."""
    clock, found = Ticking(0.0), list[LiveFrame]()
    with served(tmp_path, 100, 25, endless=True) as server:
        for frame in LiveVideo(f"{server.url}/film.ts", clock=clock, **FAST):
            clock.now += 0.2
            found.append(frame)
            if frame.gap:
                break
    check_clock(found, [len(found) - 1])
    assert len(found) == pytest.approx(10 / 0.16, abs=3) and server.count("/film.ts") >= 2
    assert "come faster than they are read" in caplog.text
    assert (found[-1].pixels == found[0].pixels).all(), "the newest frame, which is the stream's first"


def test_a_film_at_an_address_ends_also_where_only_the_server_tells_its_length(tmp_path: Path) -> None:
    with served(tmp_path, 30, 25) as server:
        server.faults["/film.ts"] = Fault(ignore_range=True, drop_headers=("Accept-Ranges",))
        found = list(LiveVideo(f"{server.url}/film.ts", **FAST))
    assert len(found) == 30 and not any(frame.gap for frame in found)


def test_stamps_that_run_slow_are_not_believed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Frames of 25 per second that come at half that: none is lost, and time goes by their arrival."""
    with served(tmp_path, 1100, 25, endless=True) as server:
        found = some(iter(LiveVideo(f"{server.url}/film.ts", clock=Ticking(0.02), **FAST)), 1100)
    check_clock(found, [])
    assert "run slow" in caplog.text
    steps = np.diff([frame.seconds for frame in found])
    assert steps[:500] == pytest.approx(0.04) and steps[-100:] == pytest.approx(0.08)


def test_the_last_frames_before_a_stream_breaks_off_are_given(tmp_path: Path) -> None:
    """A decoder holds back frames that later ones might come in front of."""
    with served(tmp_path, 100, 25, endless=True) as server:
        film = (tmp_path / "film.ts").read_bytes()
        there = film[: len(film) // 2]
        fault = server.faults["/film.ts"]
        fault.chunked, fault.cut_after = False, len(there)  # with a length: that isn't the end, FFmpeg sees
        found = []
        for frame in LiveVideo(f"{server.url}/film.ts", clock=Ticking(0.02), **FAST):
            if frame.gap:
                break
            found.append(frame.pixels)
    with av.open(io.BytesIO(there)) as container:
        count = sum(not frame.is_corrupt for frame in container.decode(video=0))
    assert 30 < count < 70 and len(found) >= count
    with open_video(film) as whole:
        assert (np.stack(found[: count - 1]) == whole.frames(range(count - 1))).all()


def test_a_pipe_gives_its_frames_and_ends(tmp_path: Path) -> None:
    frames = moving_pattern(30, 48, 64)
    film = write_video(tmp_path / "film.ts", frames, fps=25, codec="mpeg2video", pixels="yuv420p")
    pipe = PacedPipe(film)
    thread = pipe.run()
    with pipe.reader, LiveVideo(pipe.reader) as video:
        found = list(video)
    thread.join()
    check_clock(found, [])
    assert len(found) == 30
    assert found[-1].seconds == pytest.approx(29 / 25, abs=1e-3)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_too(tmp_path: Path) -> None:
    film = write_video(
        tmp_path / "film.ts", moving_pattern(30, 48, 64), fps=25, codec="mpeg2video", pixels="yuv420p"
    )
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(film.read_bytes()))
    writer.start()
    assert len(list(LiveVideo(fifo))) == 30
    writer.join()


def test_a_file_is_played_at_its_own_speed(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mkv", moving_pattern(20, 48, 64), fps=50)
    ticks = itertools.count()
    found = list(
        LiveVideo(film, clock=lambda: float(next(ticks)))
    )  # so late that nothing has to be waited for
    assert [frame.seconds for frame in found] == pytest.approx([index / 50 for index in range(20)])
    assert not any(frame.gap for frame in found)


@pytest.mark.parametrize(
    ("name", "how"),
    [("film.avi", "path"), ("film.avi", "pipe"), ("film.avi", "address"), ("film.h264", "path")],
)
def test_where_stamps_are_not_the_frames_own_the_rate_counts(tmp_path: Path, name: str, how: str) -> None:
    """AVI's have the order of decoding, raw streams have none; both are read faster than they are played."""
    film = write_video(tmp_path / name, moving_pattern(40), fps=25, codec="libx264", pixels="yuv420p")
    with FileServer({f"/{name}": film}) as server, film.open("rb") as file:
        source = {"path": film, "pipe": file, "address": f"{server.url}/{name}"}[how]
        # So late that nothing has to be waited for, and nothing is late enough to count as a backlog.
        found = list(LiveVideo(source, clock=Ticking(0.05), **FAST))
    check_clock(found, [])
    assert [frame.seconds for frame in found] == pytest.approx([index / 25 for index in range(40)])


@pytest.mark.parametrize(
    ("name", "codec", "shown", "gaps"),
    [
        ("film.mkv", "ffv1", [0.0, 0.1, 0.2, 20.0, 20.1], []),
        # So far apart are two recordings that were joined.
        ("film.ts", "mpeg4", [0.0, 0.1, 0.2, 0.3, 0.4], [3]),
    ],
)
def test_the_pauses_of_a_file_are_waited_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    codec: str,
    shown: list[float],
    gaps: list[int],
) -> None:
    frames, clock = moving_pattern(5), Ticking(0.0)
    film = write_stamped(tmp_path / name, [0, 100, 200, 20_000, 20_100], codec, frames=frames)
    video = LiveVideo(film, clock=clock)
    monkeypatch.setattr(video._stop, "wait", lambda seconds: setattr(clock, "now", clock.now + seconds))
    found = list(video)
    check_clock(found, gaps)
    assert [frame.seconds for frame in found] == pytest.approx(shown, abs=2e-3)
    assert clock.now == pytest.approx(shown[-1], abs=2e-3)
    assert (f"{name}' pauses for 20 s" in caplog.text) == (not gaps)


def test_the_pauses_of_a_file_at_an_address_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server wouldn't wait, and one that sends by the clock has waited."""
    frames, clock = moving_pattern(5), Ticking(0.0)
    film = write_stamped(tmp_path / "film.mkv", [0, 100, 200, 20_000, 20_100], "ffv1", frames=frames)
    with FileServer({"/film.mkv": film}) as server:
        video = LiveVideo(f"{server.url}/film.mkv", clock=clock, **FAST)
        monkeypatch.setattr(video._stop, "wait", lambda seconds: setattr(clock, "now", clock.now + seconds))
        found = list(video)
    assert video._paced
    check_clock(found, [3])
    assert [frame.seconds for frame in found] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4], abs=2e-3)


def test_a_file_at_an_address_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Ticking(0.0)
    with served(tmp_path, 100, 25) as server:
        video = LiveVideo(f"{server.url}/film.ts", clock=clock, **FAST)
        monkeypatch.setattr(video._stop, "wait", lambda seconds: setattr(clock, "now", clock.now + seconds))
        found = list(video)
    check_clock(found, [])
    assert len(found) == 100 and clock.now == pytest.approx(99 / 25)


def test_a_reader_that_pauses_gets_the_rest_of_such_a_file(tmp_path: Path) -> None:
    clock, found = Ticking(0.001), list[LiveFrame]()
    with served(tmp_path, 100, 25) as server:
        for frame in LiveVideo(f"{server.url}/film.ts", clock=clock, **FAST):
            found.append(frame)
            clock.now += 12 if len(found) == 10 else 0
    check_clock(found, [])
    assert len(found) == 100


def test_windows_knows_cameras_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live.sys, "platform", "win32")
    with pytest.raises(InputError, match="and 0 is a number: give 'video=NAME'"):
        LiveVideo(0)
    opening = LiveVideo("video=USB Camera")._opening
    assert (opening.format, opening.target, opening.lasting) == ("dshow", "video=USB Camera", True)


class Impatient:
    """What PyAV opens, as a Mac's camera is: with nothing new at every third look, after a while at all."""

    duration = None

    def __init__(self, container: Any, last: int) -> None:
        self._container, self._last, self._looks = container, last, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def __enter__(self) -> Impatient:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def demux(self, track: Any) -> Iterator[Any]:
        packets = self._container.demux(track)
        while True:
            self._looks += 1
            if self._looks % 3 == 0 or self._looks > self._last:
                raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
            yield next(packets)


def test_a_mac_s_camera_is_asked_until_there_is_a_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    film, opened, asked = write_video(tmp_path / "film.mkv", moving_pattern(20)), av.open, []

    def camera(target: str, *_: object, options: dict[str, str], **how: Any) -> Impatient:
        asked.append((target, how["format"], options["framerate"]))
        return Impatient(opened(film), 12)

    monkeypatch.setattr(live.sys, "platform", "darwin")
    monkeypatch.setattr(av, "open", camera)
    with LiveVideo(0, timeout_seconds=0.3, retry_seconds=(0.05, 0.2)) as video:
        frames = iter(video)
        check_clock(some(frames, 8), [])
        assert len(asked) == 1 and not caplog.text
        assert next(frames).gap
    assert asked == [("0", "avfoundation", "30")] * 2
    assert "'camera 0' is lost: nothing new came" in caplog.text
    with LiveVideo(0, options={"framerate": "25"}) as video:
        next(iter(video))
    assert asked[-1][-1] == "25"


def test_stamps_count_where_they_are_sound() -> None:
    clock = LiveClock()
    arrivals = [100.0, 100.7, 100.8, 100.9]  # in a burst
    assert not any(clock.step(index / 25, arrival) for index, arrival in enumerate(arrivals))
    assert clock.seconds == pytest.approx(3 / 25)
    assert clock.step(None, 101.0) is False and clock.seconds == pytest.approx(3 / 25 + 0.1)  # no stamp
    assert clock.step(0.2, 101.1) is False and clock.seconds == pytest.approx(3 / 25 + 0.2)
    assert clock.step(0.2, 101.2) is False and clock.seconds == pytest.approx(3 / 25 + 0.3)  # twice the same
    assert clock.step(0.24, 101.3) is False and clock.seconds == pytest.approx(3 / 25 + 0.34)


@pytest.mark.parametrize("jump", [7200.0, -7200.0, -95443.7])
def test_a_stamp_that_jumps_is_a_gap_and_not_believed(jump: float) -> None:
    clock = LiveClock()
    for index in range(10):
        clock.step(index / 25, 50 + index / 25)
    assert clock.step(10 / 25 + jump, 50 + 10 / 25) is True
    assert clock.seconds == pytest.approx(10 / 25)
    assert clock.step(11 / 25 + jump, 50 + 11 / 25) is False
    assert clock.seconds == pytest.approx(11 / 25)


def test_a_pause_that_really_was_is_no_jump() -> None:
    clock = LiveClock()
    clock.step(0.0, 0.0)
    assert clock.step(60.0, 60.1) is False
    assert clock.seconds == 60.0


def test_a_backlog_is_noticed() -> None:
    clock = LiveClock()
    for index in range(100):  # of a stream at 25 per second, of which 20 per second are read
        clock.step(index / 25, index / 20)
    assert clock.behind_seconds == pytest.approx(99 / 20 - 99 / 25)
    clock.restart()
    clock.step(7.0, 6.0)
    assert clock.behind_seconds == 0


# Windows has no such paths.
NO_CAMERA = "doesn't exist" if sys.platform == "win32" else "no camera '/dev/video99'"


def test_what_cannot_be_watched_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    film = write_video(tmp_path / "film.mp4", moving_pattern(60, 240, 320), codec="mpeg4", pixels="yuv420p")
    cases: list[tuple[object, str]] = [
        (
            "rtsp://me:SECRET@127.0.0.1:1/x?key=SECRET",
            "'rtsp://127.0.0.1:1/x' can't be watched: Connection refused",
        ),
        ("http://127.0.0.1:1/", "can't be watched: Connection refused"),
        ("ftp://127.0.0.1/x", "accepted: rtsp, rtsps"),
        ("/dev/video99", NO_CAMERA),
        (tmp_path / "missing.mp4", "doesn't exist"),
        (tmp_path, "is a folder"),
        (tmp_path / "text.mp4", "can't be watched: Invalid data"),
        (tmp_path / "empty.mp4", "can't be watched"),
        (io.BytesIO(b""), r"can't be watched: [^;]*\.$"),
        (io.BytesIO(b"neither" * 99), r"can't be watched: [^;]*\.$"),
        (io.BytesIO(film.read_bytes()), "Invalid data .*; an MP4 whose index is at its end can't be piped"),
        (io.StringIO("text"), "got StringIO"),
        (None, "got NoneType"),
    ]
    for source, reason in cases:
        with pytest.raises((VideoError, InputError), match=reason) as caught:
            next(iter(LiveVideo(source, **FAST)))  # type: ignore[arg-type]
        assert "SECRET" not in str(caught.value) and "\n" not in str(caught.value)
    for option in ({"timeout_seconds": 0}, {"retry_seconds": (0, 1)}):
        with pytest.raises(InputError, match="accepted: seconds"):
            LiveVideo("http://127.0.0.1:1/", **option)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="accepted: the first and the longest pause"):
        LiveVideo("http://127.0.0.1:1/", retry_seconds=5.0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="accepted: a dictionary"):
        LiveVideo("http://127.0.0.1:1/", options="rtsp_transport=udp")  # type: ignore[arg-type]


def test_a_stream_that_ends_at_once_is_an_error_and_no_endless_loop() -> None:
    with MjpegServer(count=0) as server, pytest.raises(VideoError, match="can't be watched"):
        next(iter(LiveVideo(server.url, **FAST)))


def test_a_playlist_reads_no_local_file(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.ts", moving_pattern(10), fps=25, codec="mpeg2video", pixels="yuv420p")
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:5,\nfile://{film}\n#EXT-X-ENDLIST\n"
    with FileServer({"/list.m3u8": playlist.encode()}) as server, pytest.raises(VideoError):
        next(iter(LiveVideo(f"{server.url}/list.m3u8", **FAST)))


def test_a_playlist_with_an_end_is_watched_to_its_end(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.ts", moving_pattern(50), fps=25, codec="mpeg2video", pixels="yuv420p")
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfilm.ts\n#EXT-X-ENDLIST\n"
    with FileServer({"/list.m3u8": playlist.encode(), "/film.ts": film}) as server:
        found = list(LiveVideo(f"{server.url}/list.m3u8", **FAST))
    check_clock(found, [])
    assert len(found) == 50
