"""Whatever is named as a video: one sentence of the library's own, no secret in it, no memory taken."""

from __future__ import annotations

import io
import os
import re
import socket
import sys
import threading
import time
import traceback
import urllib.error
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.movies import moving_pattern, write_video
from support.servers import Fault, FileServer

from slowfast_zoo.errors import InputError, VideoError
from slowfast_zoo.video.decoding.reader import open_video, probe
from slowfast_zoo.video.sources import fetch
from slowfast_zoo.video.sources.names import display_name, is_url


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mkv", moving_pattern(frames=8))


@pytest.fixture
def server(clip: Path) -> Iterator[FileServer]:
    with FileServer({"/clip.mkv": clip}) as running:
        yield running


def refusal(source: Any) -> str:
    """The sentence with which a source is refused, by an error of the library's own."""
    with pytest.raises((VideoError, InputError)) as caught:
        open_video(source)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message and "SECRET" not in message
    assert len(message) < 700
    return message


@pytest.mark.skipif(os.name == "nt", reason="names that Windows doesn't allow")
@pytest.mark.parametrize("name", ["clip #1.mp4", "what?.mp4", "a%20b.mp4", "tab\t.mp4"])
def test_addresses_of_files_keep_all_of_a_name(
    name: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_python_3_14(url: str) -> str:
        parts = urllib.parse.urlsplit(url)
        if parts.netloc:
            raise urllib.error.URLError("file:// scheme is supported only on localhost")
        return urllib.parse.unquote(parts.path)

    monkeypatch.setattr("urllib.request.url2pathname", of_python_3_14)
    (tmp_path / name).symlink_to(clip)
    address = f"{tmp_path / name}".replace("%", "%25")
    for slashes in ("file://", "file:///"):
        assert probe(slashes + address).num_frames == 8


def test_an_address_that_windows_can_not_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def bad(url: str) -> str:
        raise OSError(f"Bad URL: {url}")

    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr("urllib.request.url2pathname", bad)
    assert "'file:///C:/a:b#1.mp4' is no address of a file: Bad URL: /C:/a:b%231.mp4" in refusal(
        "file:///C:/a:b#1.mp4"
    )


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", "names nothing"),
        ("  ", "names nothing"),
        ("a\0b.mp4", "NUL byte"),
        ("x" * 300 + ".mp4", "can't be read: "),
        ("x" * 300 + "/img_%05d.png", "can't be read: "),
        ("-", "pass sys.stdin.buffer"),
        (os.devnull, "no regular file"),
        ("~nobody-of-this-name/clip.mp4", "doesn't exist"),
        ("new\nline\x1b[31m.mp4", r"new\nline\x1b[31m.mp4' doesn't exist"),
        ("file://elsewhere/clip.mp4", "another machine"),
        ("file://me:SECRET@elsewhere/clip.mp4", "'file://elsewhere/clip.mp4' lies on another machine"),
        ("http:/me:SECRET@host/x.mp4?sig=SECRET", "'http:/host/x.mp4' doesn't exist: an address is given"),
        (Path("https://me:SECRET@host/x.mp4?sig=SECRET"), "given as text, not as a Path, with two slashes"),
        ("ftp://127.0.0.1/a.mp4", "no http or https URL"),
        ("rtsp://me:SECRET@127.0.0.1/live", "it is a stream without an end, not a file: watch takes it"),
        ("udp://127.0.0.1:5000", "watch takes it"),
        ("http://:80/x.mp4?sig=SECRET", ""),
        ("http://", ""),
        ("http:///x.mp4", ""),
        ("http://127.0.0.1: /x.mp4?sig=SECRET", ""),
        ("http://127.0.0.1:99999/x.mp4", ""),
        ("http://127.0.0.1:port/x.mp4?sig=SECRET", ""),
        ("http://[::1/x.mp4?sig=SECRET", ""),
        (
            "http://user:SECRET@127.0.0.1:1/x y.mp4?sig=SECRET",
            "127.0.0.1:1/x y.mp4' can't be fetched",
        ),
        ("http://127.0.0.1:1/ü\n.mp4?sig=SECRET", ""),
        (f"http://{'a' * 300}.invalid/x.mp4", ""),
        ("http://\u2100.invalid/x.mp4", ""),
    ],
)
def test_names_that_lead_nowhere(source: str | Path, reason: str) -> None:
    assert reason in refusal(source)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_links_in_a_ring_and_pipes(tmp_path: Path) -> None:
    (tmp_path / "ring.mp4").symlink_to(tmp_path / "ring.mp4")
    assert "can't be read" in refusal(tmp_path / "ring.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "is a pipe, which can be read only once" in refusal(tmp_path / "pipe.mp4")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nothing.mp4")
    assert "doesn't exist" in refusal(tmp_path / "gone.mp4")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read everything")
def test_folders_without_permission(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    assert "can't be read" in refusal(closed / "clip.mp4")
    assert "can't be read" in refusal(closed)


def test_the_drive_of_a_path_is_no_protocol() -> None:
    assert not is_url("C://Users//me//v.mp4") and "doesn't exist" in refusal("C://Users//me//v.mp4")
    assert is_url("s3://bucket/v.mp4")


def test_names_of_the_home_folder_and_addresses_of_files(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(clip.parent))
    assert probe("~/clip.mkv").num_frames == 8
    assert probe(Path("~/clip.mkv")).num_frames == 8
    assert probe(clip.as_uri()).name == str(clip)
    assert probe(f"file://localhost{clip}").num_frames == 8


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("https://me:SECRET@host:81/a/b.mp4?sig=SECRET#SECRET", "https://host:81/a/b.mp4"),
        ("http://me:SEC?RET@host/b.mp4", "http://me"),
        ("http://me:SEC/RET@host/b.mp4", "http://me"),
        ("http://host:81/@me/b.mp4", "http://host:81/@me/b.mp4"),
        ("http://[::1]:80/b.mp4", "http://[::1]:80/b.mp4"),
        ("http://[::1/b.mp4", "http://[::1/b.mp4"),
        ("http:///me:SECRET@host/b.mp4", "http:///host/b.mp4"),
        (" http://me:SECRET@host/b.mp4", " http://host/b.mp4"),
        ("me:SECRET@host/b.mp4?from=http://a", "host/b.mp4"),
        (Path("https://me:SECRET@host:81/b.mp4?SECRET"), "https:/host:81/b.mp4"),
        ("d/HTTPS:/me:SECRET@host/b.mp4?SECRET", "d/HTTPS:/host/b.mp4"),
        (r"d\https:\me:SECRET@host\b.mp4?SECRET", r"d\https:/host/b.mp4"),
        ("file:///home/me@home/a?b#c.mp4", "file:///home/me@home/a?b#c.mp4"),
        ("file://C:/a.mp4", "file://C:/a.mp4"),
        ("file://u:SECRET@elsewhere/a.mp4", "file://elsewhere/a.mp4"),
        ("d:/e/me@home/a#c.mp4", "d:/e/me@home/a#c.mp4"),
        ("clip é.mp4", "clip é.mp4"),
        ("動画\u3000at\u202f3\xa0PM\u200c\u200d.mp4", "動画\u3000at\u202f3\xa0PM\u200c\u200d.mp4"),
        ("a\u2028b\u2029c\u200b\u202e.mp4", r"a\u2028b\u2029c\u200b\u202e.mp4"),
        (np.str_("clip.mp4"), "clip.mp4"),
        (Path("a\x1b]0;x\x07.mp4"), r"a\x1b]0;x\x07.mp4"),
        ("bad\udcff.mp4", r"bad\udcff.mp4"),
        (b"abc", "<bytes>"),
        (np.zeros((1, 1, 1, 3), np.uint8), "<array>"),
        (io.BytesIO(), "<file object>"),
    ],
)
def test_what_a_source_is_called(source: Any, name: str) -> None:
    assert display_name(source) == name


def test_an_opened_video_keeps_its_name(clip: Path) -> None:
    with open_video(clip) as video:
        assert display_name(video) == str(clip)


def test_passwords_reach_the_server_and_nobody_else(server: FileServer) -> None:
    address = server.url.replace("http://", "http://me:SECRET@") + "/clip.mkv?sig=SECRET"
    info = probe(address)
    assert (info.num_frames, info.name) == (8, server.url + "/clip.mkv")


@pytest.mark.parametrize("proxy", ["http:/me:SECRET@127.0.0.1", "me:SECRET", "http://me:p@127.0.0.1:SECRET"])
def test_passwords_of_a_malformed_proxy_are_told_nobody(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, proxy)
    with pytest.raises(
        VideoError, match=r"'https://127\.0\.0\.1/a\.mp4' is no address .* or the proxy's isn't"
    ) as caught:
        probe("https://127.0.0.1/a.mp4")
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(chunked=True, cut_after=1000), "came incomplete"),
        (Fault(cut_after=1000), "came incomplete"),
        (Fault(headers={"Content-Length": "9" * 5000}), "(5000 digits) bytes; at most"),
        (Fault(headers={"Content-Length": "9" * 15}), "at most 17179869184 are fetched"),
        (Fault(headers={"Content-Length": "-5"}, cut_after=1000), ""),
        (Fault(headers={"Content-Type": "multipart/x-mixed-replace; boundary=x"}), "a stream without an end"),
        (
            Fault(headers={"Content-Type": "audio/mpeg"}, chunked=True, drop_headers=("Content-Length",)),
            "stream",
        ),
        (Fault(headers={"icy-name": "radio"}), "a stream without an end"),
        (Fault(headers={"Content-Type": "text/html; charset=utf-8"}), "is a web page, not a video"),
        (Fault(body=b"\xef\xbb\xbf\n<!DOCTYPE HTML><p>Please log in"), "is a web page, not a video"),
        (Fault(body=b""), "came incomplete: 0 of 0 bytes"),
        (Fault(body=b'{"error": "SECRET"}'), "the server answered with text, not with a video"),
        (
            Fault(body=b"<?xml version='1.0'?><Error>SECRET</Error>", chunked=True),
            "the server answered with text",
        ),
        (Fault(status=404), "can't be fetched: 404 Not Found"),
        (Fault(status=401, reason="U"), "can't be fetched: 401 U."),
        (Fault(status=401, reason=" "), "can't be fetched: 401."),
        (Fault(status=302, headers={"Location": "file:///etc/passwd?SECRET"}), "can't be fetched"),
        (Fault(status=302, headers={"Location": "ftp://me:SECRET@host/x"}), "can't be fetched"),
        (Fault(status=302, headers={"Location": "http://[::1/SECRET"}), ""),
    ],
)
def test_answers_that_are_no_video(server: FileServer, fault: Fault, reason: str) -> None:
    server.faults["/clip.mkv"] = fault
    assert reason in refusal(server.url + "/clip.mkv?sig=SECRET")


def test_streams_end_by_a_limit_where_the_type_says_nothing(
    server: FileServer, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.faults["/clip.mkv"] = Fault(chunked=True)
    assert probe(server.url + "/clip.mkv").num_frames == 8
    monkeypatch.setattr(fetch, "MAX_UNSIZED_BYTES", 5000)
    assert "has no end after " in refusal(server.url + "/clip.mkv")
    monkeypatch.setattr(fetch, "MAX_UNSIZED_BYTES", 10**9)
    monkeypatch.setattr(fetch, "MAX_UNSIZED_SECONDS", 0.2)
    with Endless(b"HTTP/1.0 200 OK\r\nContent-Type: video/mp4\r\n\r\n", b"\0" * 999) as address:
        assert "has no end after 0 s: it is a stream without an end" in refusal(address)


def test_what_comes_as_fast_as_it_is_shown_is_refused_within_seconds(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 160, 192, 3), dtype=np.uint8)
    film = write_video(tmp_path / "film.ts", noise, fps=25, codec="mpeg2video", pixels="yuv420p")
    server.files["/live"] = film
    assert film.stat().st_size > 12 * 2**14
    server.faults["/live"] = Fault(chunked=True)
    assert probe(server.url + "/live").num_frames == 60
    monkeypatch.setattr(fetch, "PACED_AFTER_SECONDS", 0.2)
    server.faults["/live"] = Fault(chunked=True, chunk_pause_seconds=0.1)
    assert "comes only as fast as it is shown" in (said := refusal(server.url + "/live"))
    assert "give it to watch" in said


class Pipe:
    """A film's bytes, so many seconds of it in a second of a clock of its own."""

    def __init__(self, film: bytes, seconds: float, speed: float) -> None:
        self._film, self._seconds, self._speed = io.BytesIO(film), seconds, speed
        self.monotonic_seconds = 0.0

    def monotonic(self) -> float:
        return self.monotonic_seconds

    def read(self, size: int = -1) -> bytes:
        piece = self._film.read(min(size, 1000)) if size else b""
        self.monotonic_seconds += len(piece) / len(self._film.getbuffer()) * self._seconds / self._speed
        return piece


@pytest.mark.parametrize("speed", [0.5, 1.0, 1.5])
def test_a_pipe_is_live_where_it_comes_at_a_players_speed(
    speed: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (375, 32, 32, 3), dtype=np.uint8)
    film = write_video(tmp_path / "film.ts", noise, fps=25, codec="mpeg2video", pixels="yuv420p")
    pipe = Pipe(film.read_bytes(), 15, speed)
    monkeypatch.setattr(fetch, "time", pipe)
    if speed == 1.0:
        assert "comes only as fast as it is shown" in (said := refusal(pipe))
        assert "give it to watch or, if it has an end, write it to a file first" in said
        assert pipe.monotonic_seconds < 10
    else:
        assert probe(pipe).num_frames == 375


@pytest.mark.parametrize("luma", [60, 200])
def test_a_pipe_of_raw_frames_is_no_text(luma: int) -> None:
    frame = b"FRAME\n" + bytes([luma]) * 4096 + b"@" * 2048
    film = b"YUV4MPEG2 W64 H64 F25:1 Ip A1:1 C420jpeg\n" + frame * 5
    assert probe(Pipe(film, 0.2, 100)).num_frames == 5


def test_a_pipe_of_text_is_refused_at_its_first_piece() -> None:
    class Yes:
        pieces = 0

        def read(self, size: int = -1) -> bytes:
            self.pieces += size > 0
            return b"y\n" * (size // 2)

    pipe = Yes()
    assert "it is text" in refusal(pipe)
    assert pipe.pieces == 1


@pytest.mark.parametrize(
    ("begin", "piece", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"\0", "it came too slowly"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1", "it came too slowly"),
        (b"HTTP/1.1 200 OK\r\n", b"x", "it came too slowly"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 9999, "head of the answer has no end|interim responses"),
        (b"HTTP/1.1 302 Found\r\nLocation: /live\r\n\r\n", b"\0" * 9999, "infinite loop"),
        (b"ICY 200 OK\r\n\r\n", b"\0", "it is a stream without an end"),
        (b"\r\n", b"\r\n", "can't be fetched: BadStatusLine"),
    ],
)
def test_answers_without_an_end(
    begin: bytes, piece: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MAX_UNSIZED_SECONDS", 0.2)
    with Endless(begin, piece) as address:
        assert re.search(reason, refusal(address))


class Endless:
    """A server whose answers begin like this, and then repeat a piece for ever."""

    def __init__(self, begin: bytes, piece: bytes) -> None:
        self._begin, self._piece = begin, piece

    def __enter__(self) -> str:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/live"

    def _answer(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(self._begin)
                    while True:
                        connection.sendall(self._piece)
                        time.sleep(0.02)
            except ConnectionError:  # the client has gone
                continue
            except OSError:  # the test has ended
                return

    def __exit__(self, *error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


class Strange(io.BytesIO):
    """A file object that does what file objects don't."""

    def __init__(self, content: bytes, manner: str) -> None:
        super().__init__(content)
        self.manner = manner

    def read(self, size: int | None = -1) -> Any:
        data = super().read(size)
        if not size or self.tell() < 600:
            return data
        return {"more": data + b"x" * 100_000, "text": "text", "nothing yet": None}[self.manner]


@pytest.mark.parametrize(
    ("manner", "reason"),
    [("more", "bytes where"), ("text", "binary mode"), ("nothing yet", "no bytes yet")],
)
def test_file_objects_that_answer_wrongly(clip: Path, manner: str, reason: str) -> None:
    assert reason in refusal(Strange(clip.read_bytes(), manner))


def test_file_objects_whose_errors_are_their_own(clip: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 600:
                raise RuntimeError("the line is dead: http://me:SECRET@host/x?SECRET")
            return super().read(size)

    class Seatless(io.BytesIO):
        def seekable(self) -> bool:
            raise KeyError("no seat")

    assert "the line is dead: http://host/x" in refusal(Broken(clip.read_bytes()))
    assert "'<file object>' can't be read: 'no seat'." in refusal(Seatless(clip.read_bytes()))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html><body>no</body></html>", "a web page"),
        (b"<HTML>", "a web page"),
        (b"#EXTM3U\n#EXTINF:5,\na.ts\n", "a playlist"),
        (b"PK\x03\x04" + b"\0" * 100, "an archive: unpack it"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miafavis", "a single picture"),  # the last is behind the box
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + b"\0" * 99, "a single picture"),
        (b"\0\0\0\x1cftypavis\0\0\0\0avifavismsf1", "its index is missing"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifavismsf1", "its index is missing"),
        (b"a.mp4 1\nb.mp4 2\n" * 50, "a list of videos is for predict_many"),
        ("\ufeffé.mp4 1\n".encode("utf-16"), "a list of videos is for predict_many"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    assert reason in refusal(path)
    assert reason in refusal(content)


def test_arrays_pictures_and_sound_are_called_what_they_are(tmp_path: Path) -> None:
    import av

    np.save(tmp_path / "frames.npy", np.zeros((2, 8, 8, 3), np.uint8))
    assert "pass the array itself, numpy.load(path)" in refusal(tmp_path / "frames.npy")
    pictures = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    pictures[0].save(tmp_path / "moving.webp", save_all=True, append_images=pictures[1:])
    assert "an animated WebP" in refusal(tmp_path / "moving.webp")
    pictures[0].save(tmp_path / "still.webp")
    assert "a single picture" in refusal(tmp_path / "still.webp")
    with av.open(str(tmp_path / "song.mp3"), "w") as output:
        sound = output.add_stream("mp3", rate=44100)
        cover = output.add_stream("mjpeg")
        cover.width = cover.height = 16
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), format="fltp", layout="mono")
        samples.rate = 44100
        for packet in sound.encode(samples):
            output.mux(packet)
        output.mux(cover.encode(av.VideoFrame(16, 16, "yuvj420p")))
        output.mux(sound.encode(None))
    assert "holds sound with a cover picture, and no video" in refusal(tmp_path / "song.mp3")


def test_frames_too_large_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    lines = b"\x2c" + b"\0" * 4 + (9000).to_bytes(2, "little") * 2 + b"\0\x02\x02\x4c\x01\0"
    gif = (
        b"GIF89a"
        + (9000).to_bytes(2, "little") * 2
        + b"\x80\0\0"
        + b"\0" * 3
        + b"\xff" * 3
        + lines * 2
        + b";"
    )
    assert "has frames of 9000x9000 pixels; accepted: up to 35389440" in refusal(gif)
    assert "has frames of 9000x9000 pixels" in refusal(
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (9000).to_bytes(4, "big") * 2 + b"\x01\0\0\0\0" + b"\0" * 99
    )
    deep = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (4097).to_bytes(4, "big") + (2160).to_bytes(4, "big")
    assert "4097x2160 pixels; accepted: up to 8847360 pixels, which is 4096x2160, where" in refusal(
        deep + b"\x10\6\0\0\0" + b"\0" * 99
    )
    assert "has frames of" not in refusal(deep + b"\x08\6\0\0\0" + b"\0" * 99)
    folder = tmp_path / "frames"
    folder.mkdir()
    Image.new("1", (9000, 9000)).save(folder / "0.png")
    assert "frames of 9000x9000 pixels" in refusal(folder)
    Image.new("1", (20000, 10000)).save(folder / "0.png")
    assert "0.png' " in refusal(folder)
