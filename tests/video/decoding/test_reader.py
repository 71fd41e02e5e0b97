"""Every way into a video gives the same frames, and what is broken says so."""

from __future__ import annotations

import dataclasses
import io
import itertools
import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from support.movies import write_video
from support.servers import Fault, FileServer

from slowfast_zoo.errors import FrameCountError, InputError, VideoError
from slowfast_zoo.video.decoding import decoders, packets
from slowfast_zoo.video.decoding.reader import open_video, probe, stream
from slowfast_zoo.video.sources.media import media_of

N, HEIGHT, WIDTH = 60, 48, 64


def make_frames(count: int = N, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Smooth moving frames that all differ: uint8 RGB (count, height, width, 3)."""
    t, y, x = np.ogrid[:count, :height, :width]
    channels = [np.broadcast_to(a, (count, height, width)) for a in (5 * y + t, 3 * x + 4 * t, x + y + 2 * t)]
    return (np.stack(channels, -1) % 256).astype(np.uint8)


def write(path: Path | str, frames: np.ndarray, codec: str = "libx264rgb", **options: str) -> Path:
    """An encoded file; the default is lossless RGB with a key frame each 12 (and B-frames from crf 1 on)."""
    settings = {
        "crf": "0",
        "bf": "2",
        "g": "12",
        "sc_threshold": "0",
        "pix_fmt": "",
        "matrix": "",
        "container": "",
    } | options
    pix_fmt = settings.pop("pix_fmt") or {"libx264rgb": "rgb24"}.get(codec, "yuv420p")
    matrix, container = settings.pop("matrix"), settings.pop("container") or None
    if not codec.startswith("libx264"):
        settings = {
            name: value
            for name, value in settings.items()
            if name not in ("crf", "sc_threshold", "b_strategy")
        }
    with av.open(str(path), "w", format=container) as output:
        track = output.add_stream(codec, rate=25, options=settings)
        track.height, track.width = frames.shape[1:3]
        track.pix_fmt = pix_fmt
        if matrix:
            track.set_display_matrix([int(value) for value in matrix.split()])
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            output.mux(track.encode(frame))
        output.mux(track.encode())
    return Path(path)


def in_order(path: Path) -> np.ndarray:
    """All frames by one thread of plain PyAV, refused packets left out: what the reader must equal."""
    kept = []
    with av.open(str(path)) as container:
        track = container.streams.video[0]
        track.thread_type, track.codec_context.thread_count = "NONE", 1
        for packet in container.demux(track):
            try:
                kept += track.codec_context.decode(packet if packet.size else None)
            except av.FFmpegError:
                continue
        return np.stack([frame.to_ndarray(format="rgb24", interpolation="BICUBIC") for frame in kept])


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return make_frames()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, frames: np.ndarray) -> Path:
    return write(tmp_path_factory.mktemp("a b") / "clip é.mp4", frames)


@pytest.fixture(scope="module")
def plain_clip(tmp_path_factory: pytest.TempPathFactory, frames: np.ndarray) -> Path:
    """An ordinary 4:2:0 file without B-frames, the packets of which may be tampered with."""
    return write(tmp_path_factory.mktemp("plain") / "plain.mp4", frames, "libx264", bf="0", crf="20", g="60")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one entry for each frame that the reader decodes."""
    decoded: list[int] = []
    original = decoders.PacketDecoder.step

    def counted(decoder: decoders.PacketDecoder) -> Any:
        item = original(decoder)
        decoded.append(-1 if item is None else item[0])
        return item

    monkeypatch.setattr(decoders.PacketDecoder, "step", counted)
    return decoded


@pytest.fixture
def server(clip: Path) -> Iterator[FileServer]:
    with FileServer({"/clip.mp4": clip}) as running:
        yield running


def test_facts(clip: Path) -> None:
    info = probe(clip)
    assert (info.num_frames, info.fps, info.width, info.height) == (N, 25, WIDTH, HEIGHT)
    assert info.name == str(clip)
    assert info.codec == "h264"
    assert info.duration_seconds == N / 25
    assert info.damaged_frames == 0


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "avi", "ts", "flv"])
def test_frames_by_index_with_b_frames(tmp_path: Path, frames: np.ndarray, suffix: str) -> None:
    path = write(tmp_path / f"clip.{suffix}", frames, crf="1")
    expected = in_order(path)
    assert expected.shape == frames.shape
    with open_video(path) as video:
        assert video.num_frames == N
        for wanted in ([*range(N)], [59], [3, 40, 3, 0], [13, 46]):
            assert np.array_equal(video.frames(wanted), expected[wanted]), wanted


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "avi", "ts", "flv"])
def test_frames_by_index_equal_what_was_encoded(tmp_path: Path, frames: np.ndarray, suffix: str) -> None:
    path = write(tmp_path / f"clip.{suffix}", frames)
    with open_video(path) as video:
        assert video.num_frames == N
        assert abs(video.fps - 25) < 0.5
        for wanted in ([*range(N)], [59], [3, 40, 3, 0], [12], [11, 47, 48], []):
            assert np.array_equal(video.frames(wanted), frames[wanted]), wanted


def test_order_of_decoding_where_stamps_run_backwards(tmp_path: Path, frames: np.ndarray) -> None:
    """Some writers stamp packets in order of decoding, so that the stamps of frames jump at B-frames."""
    good = write(tmp_path / "good.mp4", frames, crf="1")
    expected = in_order(good)
    path = tmp_path / "stamps.mkv"
    with av.open(str(good)) as source, av.open(str(path), "w") as output:
        track = output.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
            packet.pts = packet.dts = number * 512
            packet.stream = track
            output.mux(packet)
    with av.open(str(path)) as container:
        stamps = [frame.pts for frame in container.decode(video=0)]
    assert stamps != sorted(stamps), "the stamps are in order: this test shows nothing"
    with open_video(path) as video:
        assert np.array_equal(video.frames(range(N)), expected)
        assert np.array_equal(video.frames([57]), expected[[57]])
    streamed = list(stream(path))
    assert np.array_equal(np.stack([frame for _, _, frame in streamed]), expected)
    assert (np.diff([seconds for _, seconds, _ in streamed]) > 0).all()


def test_mpeg4_with_two_frames_in_a_packet(tmp_path: Path) -> None:
    brighter = np.arange(8, 248, 4, dtype=np.uint8).reshape(N, 1, 1, 1) * np.ones((1, 48, 64, 3), np.uint8)
    path = write(tmp_path / "xvid.avi", brighter, "mpeg4", bf="2", qmin="1", qmax="1")
    with open_video(path) as video:
        got = video.frames(range(video.num_frames))
    assert np.array_equal(got, in_order(path))
    assert (np.diff(got.mean((1, 2, 3))) > 2).all()


def test_each_wanted_frame_is_decoded_once_in_increasing_order(clip: Path, steps: list[int]) -> None:
    with open_video(clip) as video:
        steps.clear()
        assert [index for index, _ in video.iter_frames([9, 2, 9, 5])] == [2, 5, 9]
    assert steps == list(range(10))


def test_a_safe_seek_leaves_frames_out_and_changes_none(
    clip: Path, frames: np.ndarray, steps: list[int]
) -> None:
    with open_video(clip) as video:
        assert np.array_equal(video.frames([58]), frames[[58]])
    assert steps == [0, *range(48, 59)]


def test_no_seek_where_later_packets_refer_to_earlier_frames(tmp_path: Path) -> None:
    """HEVC's usual key frames (CRA) are followed by frames that refer to what was before them."""
    params = {
        "x265-params": "keyint=12:min-keyint=12:scenecut=0:open-gop=1:bframes=3:b-adapt=0:log-level=none"
    }
    path = write(tmp_path / "open.mp4", make_frames(40, 64, 96), "libx265", bf="3", **params)
    with av.open(str(path)) as container:
        keys = sum(packet.is_keyframe for packet in container.demux(video=0) if packet.size)
    with av.open(str(path)) as container:
        index = packets.scan(container, container.streams.video[0])
    assert keys > 1
    assert [place for place, _ in index.entries] == [0]
    expected = in_order(path)
    with open_video(path) as video:
        assert np.array_equal(video.frames([39, 24, 25]), expected[[39, 24, 25]])


def test_going_back_reads_again(clip: Path, frames: np.ndarray) -> None:
    with open_video(clip) as video:
        for index in (50, 3, 59, 0, 30):
            assert np.array_equal(video.frames([index])[0], frames[index])


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_packets_of_a_long_file_are_read_once_while_it_stays_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, frames: np.ndarray, suffix: str
) -> None:
    scan, scanned = packets.scan, list[str]()

    def counted(container: Any, *rest: Any) -> packets.PacketIndex:
        scanned.append(container.name)
        return scan(container, *rest)

    monkeypatch.setattr(packets, "scan", counted)
    monkeypatch.setattr(decoders, "_LONG", N // 2)
    monkeypatch.setattr(decoders, "_kept", {})
    path = write(tmp_path / f"long.{suffix}", frames, "libx264", crf="10")
    expected = in_order(path)
    for _ in range(3):
        with open_video(path) as video:
            assert video.num_frames == N and video.fps == 25 and not video.damaged_frames
            assert np.array_equal(video.frames([50, 3, 59]), expected[[50, 3, 59]])
    assert scanned == [str(path)]
    for count in (N - 20, N // 2 - 1):
        write(path, frames[:count], "libx264", crf="10")
        for _ in range(2):
            with open_video(path) as video:
                assert video.num_frames == count
    assert scanned == [str(path)] * 4, "a short file is read again"
    write(path, frames, "libx264", crf="10")
    for number in range(10):
        (tmp_path / f"{number}.{suffix}").write_bytes(path.read_bytes())
        open_video(tmp_path / f"{number}.{suffix}").close()
    open_video(path.read_bytes()).close()
    assert [Path(name).stem for name, *_ in decoders._kept] == [*"23456789"]


def test_an_error_that_passes_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, frames: np.ndarray
) -> None:
    """Nor what was told of a file that another took the place of, behind an open container."""
    scan = packets.scan
    monkeypatch.setattr(decoders, "_LONG", N // 4)
    monkeypatch.setattr(decoders, "_kept", {})
    path, other = (write(tmp_path / name, frames, "libx264", crf="10") for name in ("a.mp4", "b.mp4"))

    class Failing:
        """A container whose disk fails in the middle."""

        def __init__(self, container: Any) -> None:
            self.container = container

        def demux(self, stream: Any) -> Iterator[Any]:
            yield from itertools.islice(self.container.demux(stream), N // 2)
            raise OSError(5, "Input/output error")

        def __getattr__(self, name: str) -> Any:
            return getattr(self.container, name)

    with monkeypatch.context() as patched:
        patched.setattr(packets, "scan", lambda container, *rest: scan(Failing(container), *rest))
        with open_video(path) as video:
            assert video.num_frames == N
    assert not decoders._kept
    with open_video(path) as video:
        assert video.num_frames == N
    assert len(decoders._kept) == 1
    decoders._kept.clear()
    decoder = decoders.PacketDecoder(media_of(path))
    write(other, frames[: N // 2], "libx264", crf="10").replace(path)
    assert decoder.count() == N and not decoders._kept
    decoder.close()


@pytest.mark.parametrize(
    ("codec", "content", "shown"),
    [
        ("vp8", b"\x10\x02\x00", True),
        ("vp8", b"\x01\x02\x00", False),
        ("vp9", b"\x82\x49\x83", True),  # profile 0, key frame, shown
        ("vp9", b"\x84\x00\x10", False),  # profile 0, alternate reference
        ("vp9", b"\x86\x00\x10", True),  # profile 0, inter frame, shown
        ("vp9", b"\x88", True),  # an earlier frame is shown
        ("vp9", b"\xb2\x00\x10", False),  # profile 3 has one bit more
        ("vp9", b"\x84\x00\xc0", True),  # a superframe hides one frame and shows another
        ("h264", b"\x00\x00", True),
    ],
)
def test_packets_that_show_nothing(codec: str, content: bytes, shown: bool) -> None:
    assert packets.is_shown(av.Packet(content), codec) is shown


def tampered(source: Path, target: Path, number: int) -> Path:
    """A copy in which one packet's lengths are overwritten."""
    with av.open(str(source)) as container:
        spoilt = [packet for packet in container.demux(video=0) if packet.size][number]
        place = spoilt.pos
    content = bytearray(source.read_bytes())
    content[place : place + 16] = b"\xff" * 16
    target.write_bytes(content)
    return target


def test_refused_packets_are_counted_and_cost_no_other_frame(tmp_path: Path, plain_clip: Path) -> None:
    path = tampered(plain_clip, tmp_path / "broken.mp4", 30)
    expected = in_order(path)
    assert len(expected) < N
    with open_video(path) as video:
        assert video.num_frames == len(expected)
        assert np.array_equal(video.frames(range(video.num_frames)), expected)
        assert video.damaged_frames >= 1
    assert [index for index, _, _ in stream(path)] == list(range(len(expected)))


def test_a_count_that_decoding_refutes_is_corrected(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plain_clip: Path
) -> None:
    path = tampered(plain_clip, tmp_path / "broken.mp4", 30)
    scan = packets.scan  # which sees the damage, and is made to say nothing of it
    monkeypatch.setattr(packets, "scan", lambda *source: dataclasses.replace(scan(*source), sound=True))
    expected = in_order(path)
    with open_video(path) as video:
        assert video.num_frames == N
        with pytest.raises(FrameCountError, match=f"{len(expected)} frames that decode.*promised {N}"):
            video.frames([0, N - 1])
        assert video.num_frames == len(expected)
        assert np.array_equal(video.frames([0, 29, 30, 58]), expected[[0, 29, 30, 58]])


def test_a_cut_file_gives_what_is_left(tmp_path: Path, clip: Path, frames: np.ndarray) -> None:
    whole = write(tmp_path / "whole.mkv", frames).read_bytes()
    (tmp_path / "half.mkv").write_bytes(whole[: len(whole) // 2])
    with open_video(tmp_path / "half.mkv") as video:
        assert 5 < video.num_frames < N
        assert np.array_equal(video.frames(range(20)), frames[:20])
    (tmp_path / "half.mp4").write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(VideoError, match=r"half\.mp4' can't be opened as a video: "):
        open_video(tmp_path / "half.mp4")


MATRICES = {
    "as coded": ("1 0 0 1", lambda a: a),
    "quarter clockwise": ("0 1 -1 0", lambda a: np.rot90(a, -1)),
    "half": ("-1 0 0 -1", lambda a: np.rot90(a, 2)),
    "quarter counterclockwise": ("0 -1 1 0", lambda a: np.rot90(a, 1)),
    "mirrored": ("-1 0 0 1", lambda a: a[:, ::-1]),
    "upside down": ("1 0 0 -1", lambda a: a[::-1]),
    "transposed": ("0 1 1 0", lambda a: a.swapaxes(0, 1)),
    "transversed": ("0 -1 -1 0", lambda a: np.rot90(a, 2).swapaxes(0, 1)),
}


@pytest.mark.parametrize("orientation", MATRICES)
def test_all_eight_orientations_come_upright(tmp_path: Path, frames: np.ndarray, orientation: str) -> None:
    numbers, turn = MATRICES[orientation]
    a, b, c, d = (int(number) << 16 for number in numbers.split())
    path = write(tmp_path / "turned.mp4", frames[:3], matrix=f"{a} {b} 0 {c} {d} 0 0 0 {1 << 30}")
    expected = np.stack([turn(frame) for frame in frames[:3]])
    with open_video(path) as video:
        assert (video.height, video.width) == expected.shape[1:3]
        assert np.array_equal(video.frames([0, 1, 2]), expected)


def test_rotation_sign_is_that_of_phones(tmp_path: Path, frames: np.ndarray) -> None:
    """A phone held upright writes "rotate 90 clockwise": matrix (0, 1, -1, 0), PyAV's rotation -90."""
    path = write(
        tmp_path / "phone.mp4", frames[:1], matrix=f"0 65536 0 -65536 0 0 {HEIGHT << 16} 0 {1 << 30}"
    )
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).rotation == -90
    with open_video(path) as video:
        assert np.array_equal(video.frames([0])[0], np.rot90(frames[0], -1))


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix", "tolerance"),
    [
        ("ffv1", "gray", "mkv", None),
        ("ffv1", "yuv420p10le", "mkv", 10),
        ("ffv1", "yuva444p", "mkv", 6),
        ("ffv1", "bgra", "mkv", 0),
        ("qtrle", "argb", "mov", 0),
        ("mjpeg", "yuvj422p", "avi", 40),
        ("gif", "rgb8", "gif", 90),
        ("libx264", "yuv444p", "mp4", 12),
    ],
)
def test_pixel_formats(tmp_path: Path, codec: str, pix_fmt: str, suffix: str, tolerance: int | None) -> None:
    y, x = np.mgrid[:41, :61]
    smooth = np.stack([np.stack([40 + 2 * x, 40 + 3 * y, 90 + x + y + t], -1) for t in range(3)]).astype(
        np.uint8
    )
    if codec == "mjpeg":
        smooth = smooth[:, :40, :60]
    path = write(tmp_path / f"odd.{suffix}", smooth, codec, pix_fmt=pix_fmt, bf="0")
    with open_video(path) as video:
        got = video.frames(range(video.num_frames))
    assert got.shape == smooth.shape
    assert got.dtype == np.uint8
    if tolerance is None:
        assert (got[..., 0] == got[..., 2]).all()
        assert got.std() > 10
    else:
        assert np.abs(got.astype(int) - smooth).max() <= tolerance


def test_interlaced_frames_are_converted_as_whole_frames(tmp_path: Path, frames: np.ndarray) -> None:
    path = write(tmp_path / "fields.mp4", frames[:8], "libx264", crf="5", **{"x264-params": "tff=1"})
    with av.open(str(path)) as container:
        first = next(container.decode(video=0))
    assert first.interlaced_frame
    whole = av.VideoFrame.from_ndarray(first.to_ndarray(), format="yuv420p").to_ndarray(format="rgb24")
    assert not np.array_equal(whole, first.to_ndarray(format="rgb24"))
    with open_video(path) as video:
        assert np.array_equal(video.frames([0])[0], whole)


def test_frames_of_another_size_are_scaled_to_the_first(tmp_path: Path, frames: np.ndarray) -> None:
    small = write(tmp_path / "a.ts", frames[:10], "libx264", crf="5").read_bytes()
    large = write(tmp_path / "b.ts", make_frames(10, 96, 128), "libx264", crf="5").read_bytes()
    (tmp_path / "both.ts").write_bytes(small + large)
    with open_video(tmp_path / "both.ts") as video:
        got = video.frames(range(video.num_frames))
    assert got.shape == (20, HEIGHT, WIDTH, 3)
    assert (got[10:].std((1, 2, 3)) > 20).all()


def test_the_best_of_several_video_streams_is_read(tmp_path: Path, frames: np.ndarray) -> None:
    """FFmpeg's choice and decord's: here that of more bits, which is larger, though it comes second."""
    path = tmp_path / "two.avi"
    with av.open(str(path), "w") as output:
        tracks = []
        for height, width in ((24, 32), (HEIGHT, WIDTH)):
            track = output.add_stream("rawvideo", rate=25)
            track.height, track.width, track.pix_fmt = height, width, "bgr24"
            tracks.append(track)
        for index, pixels in enumerate(frames[:12]):
            for track in tracks:
                frame = av.VideoFrame.from_ndarray(pixels).reformat(track.width, track.height, "bgr24")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                output.mux(track.encode(frame))
        for track in tracks:
            output.mux(track.encode())
    with av.open(str(path)) as container:
        best = container.streams.best("video")
        assert (best.index, best.width, best.height) == (1, WIDTH, HEIGHT)
    with open_video(path) as video:
        assert (video.width, video.height) == (WIDTH, HEIGHT)


def test_metadata_that_is_not_utf8(tmp_path: Path, frames: np.ndarray) -> None:
    path = tmp_path / "latin.mp4"
    with av.open(str(path), "w") as output:
        output.metadata["title"] = "TITLETITLE"
        track = output.add_stream("libx264rgb", rate=25, options={"crf": "0"})
        track.height, track.width, track.pix_fmt = HEIGHT, WIDTH, "rgb24"
        output.mux(track.encode(av.VideoFrame.from_ndarray(frames[0])))
        output.mux(track.encode())
    path.write_bytes(path.read_bytes().replace(b"TITLETITLE", b"TITLE\xe9\xe8\xff\xfe\xe9"))
    if av.__version__.startswith("18."):
        with pytest.raises(UnicodeDecodeError), av.open(str(path)):
            pass
    with open_video(path) as video:
        assert np.array_equal(video.frames([0]), frames[:1])


class Pipe(io.RawIOBase):
    """A binary source that can be read once and not sought in."""

    def __init__(self, content: bytes) -> None:
        self._inner = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._inner.readinto(buffer)


def test_every_kind_of_source_gives_the_same_frames(
    tmp_path: Path, clip: Path, frames: np.ndarray, server: FileServer
) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, pixels in enumerate(frames):
        Image.fromarray(pixels).save(folder / f"img_{index + 1}.png")
        Image.fromarray(255 - pixels).save(tmp_path / f"flow_{index:05}.png")
        Image.fromarray(pixels).save(tmp_path / f"img_{index:05}.png")
    with clip.open("rb") as file:
        sources = {
            "str": str(clip),
            "bytes": clip.read_bytes(),
            "every other byte": memoryview(np.repeat(np.frombuffer(clip.read_bytes(), np.uint8), 2))[::2],
            "file": file,
            "pipe": Pipe(clip.read_bytes()),
            "url": server.url + "/clip.mp4?token=secret",
            "folder in natural order": folder,
            "pattern": f"{tmp_path}/img_{{:05}}.png",
            "percent pattern": tmp_path / "img_%05d.png",
            "array": frames,
            "tensor": torch.from_numpy(frames),
        }
        for kind, source in sources.items():
            with open_video(source, fps=25) as video:
                assert (video.num_frames, video.width, video.height) == (N, WIDTH, HEIGHT), kind
                assert video.duration_seconds == N / 25, kind
                assert np.array_equal(video.frames([59, 7, 7, 30]), frames[[59, 7, 7, 30]]), kind
                assert "secret" not in video.name
            streamed = stream(Pipe(clip.read_bytes()) if kind == "pipe" else source, fps=25)
            index, seconds, frame = next(streamed)
            assert (index, seconds) == (0, 0.0), kind
            assert np.array_equal(frame, frames[0]), kind
        streamed.close()
        assert not file.closed


def test_stream_gives_all_frames_and_stays_a_few_ahead(
    clip: Path, frames: np.ndarray, steps: list[int]
) -> None:
    items = stream(clip)
    assert [next(items)[0] for _ in range(3)] == [0, 1, 2]
    assert len(steps) < 12
    items.close()
    everything = list(stream(clip))
    assert [index for index, _, _ in everything] == list(range(N))
    assert np.allclose([seconds for _, seconds, _ in everything], np.arange(N) / 25)
    assert np.array_equal(np.stack([frame for _, _, frame in everything]), frames)


def test_frame_rate_given_or_asked_for(clip: Path, frames: np.ndarray) -> None:
    assert probe(clip, fps=30000 / 1001).fps == Fraction(30000, 1001)
    with open_video(frames) as video:
        assert video.num_frames == N
        assert video.info.fps is None
        with pytest.raises(InputError, match="frame rate of '<array>' isn't known: pass fps="):
            _ = video.fps
    for wrong in (0, -1, 1e-9, float("nan"), float("inf"), "25", True):
        with pytest.raises(InputError, match=r"fps is .*accepted: frames per second"):
            open_video(clip, fps=wrong)  # type: ignore[arg-type]


def test_wrong_indices(clip: Path) -> None:
    with open_video(clip) as video:
        for wrong in (N, -1):
            with pytest.raises(InputError, match=f"Frame {wrong} was asked for, .* has frames 0 to 59"):
                video.iter_frames([wrong])
        with pytest.raises(InputError, match=r"asked for by integers, got 1\.5"):
            video.iter_frames([1.5])  # type: ignore[list-item]
        for mask in (np.arange(N) % 30 == 7, [False] * N):
            with pytest.raises(InputError, match=r"asked for by integers, got False; numpy\.flatnonzero"):
                video.frames(mask)


def test_an_older_iteration_ends_with_a_reason(clip: Path) -> None:
    with open_video(clip) as video:
        older = video.iter_frames([1, 2, 3])
        next(older)
        next(video.iter_frames([5]))
        with pytest.raises(InputError, match="read by a later iteration"):
            next(older)


def audio_only(path: Path) -> None:
    with av.open(str(path), "w") as output:
        track = output.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        output.mux(track.encode(frame))
        output.mux(track.encode())


def test_what_is_no_video_says_so_and_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.txt").write_text("no video\n" * 100)
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    (tmp_path / "folder").mkdir()
    (tmp_path / "classes" / "jump").mkdir(parents=True)
    audio_only(tmp_path / "sound.mp4")
    reasons = {
        "missing.mp4": "doesn't exist",
        "empty.mp4": "is empty: a file of 0 bytes",
        "text.txt": "can't be opened as a video: it is text",
        "text.mp4": "can't be opened as a video: it is text; a list of videos is for predict_many",
        "list.m3u8": "can't be opened as a video: ",
        "one.png": "it is a single picture",
        "folder": "holds no pictures; accepted: .bmp",
        "classes": r"It holds folders: name a video, or give predict_many '\*\*/\*' below it",
        "sound.mp4": "has no video stream; it holds: audio",
        "img_{:05}.jpg": "No file in .* is called like",
    }
    for name, reason in reasons.items():
        with pytest.raises(VideoError, match=reason) as caught:
            open_video(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(OSError, match="empty"):
        open_video(b"")
    with pytest.raises(VideoError, match="no regular file"):
        open_video(os.devnull)


def test_a_file_that_was_not_copied_to_its_end_says_so(frames: np.ndarray, tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", frames, codec="mpeg4", pixels="yuv420p").read_bytes()
    index = whole.rfind(b"moov") - 4
    assert open_video(whole).num_frames == len(frames)
    for cut in (whole[: index // 2], whole[:index], whole[: index // 2] + bytes(5000), whole[: index + 6]):
        (tmp_path / "cut.mp4").write_bytes(cut)
        for source in (tmp_path / "cut.mp4", cut):
            with pytest.raises(VideoError, match="its index is missing: it was not copied or recorded"):
                open_video(source)
    broken = bytearray(whole)
    broken[index + 8 : index + 40] = b"\xff" * 32
    with pytest.raises(VideoError, match=r"^(?!.*its index is missing)"):
        open_video(bytes(broken))


def test_wrong_types(frames: np.ndarray, tmp_path: Path) -> None:
    for wrong in (None, 5, ["a.mp4"], object()):
        with pytest.raises(InputError):
            open_video(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"shape \(60, 3, 48, 64\); move the channels last"):
        open_video(frames.transpose(0, 3, 1, 2))
    with pytest.raises(InputError, match=r"shape \(48, 64, 3\); numpy\.stack\(frames\) makes one from"):
        open_video(frames[0])
    with pytest.raises(InputError, match=r"shape \(60, 48, 64\); numpy\.stack\(\[gray\] \* 3, axis=-1\)"):
        open_video(frames[..., 0])
    with pytest.raises(InputError, match="got float32"):
        open_video(frames.astype(np.float32))
    with pytest.raises(InputError, match="at least one frame"):
        open_video(frames[:0])
    for tensor, kind in (
        (torch.zeros(2, 8, 8, 3, dtype=torch.bfloat16), "bfloat16"),
        (torch.zeros(2, 8, 8, 3, dtype=torch.complex64).conj(), "complex64"),
        (torch.zeros(2, 8, 8, 3, dtype=torch.uint8).to_sparse(), "uint8: .*[Ss]parse"),
        (torch.zeros(2, 8, 8, 3, dtype=torch.uint8, device="meta"), "uint8: .*meta"),
    ):
        with pytest.raises(InputError, match=rf"\(T, H, W, 3\), got torch\.{kind}"):
            open_video(tensor)
    (tmp_path / "a.txt").write_text("text")
    with (tmp_path / "a.txt").open() as file, pytest.raises(InputError, match="binary mode"):
        open_video(file)  # type: ignore[arg-type]

    class VideoCapture:  # as OpenCV has it
        def isOpened(self) -> bool:
            return True

        def read(self, image: Any = None) -> Any:
            return True, frames[0]

    with pytest.raises(InputError, match="A VideoCapture gives no bytes; pass the path"):
        open_video(VideoCapture())  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["tif", "webp", "png"])
def test_a_picture_of_a_folder_is_one_frame(tmp_path: Path, suffix: str) -> None:
    pictures = [Image.new("RGB", (8, 8), (80 * number, 0, 0)) for number in range(3)]
    (tmp_path / "stacks").mkdir()
    pictures[0].save(tmp_path / "stacks" / f"a.{suffix}", save_all=True, append_images=pictures[1:])
    with pytest.raises(VideoError, match=rf"a\.{suffix}' holds 3 pictures; accepted: one a file"):
        open_video(tmp_path / "stacks")
    (tmp_path / "photographs").mkdir()
    pictures[0].save(tmp_path / "photographs" / "a.jpg", "MPO", save_all=True, append_images=pictures[1:])
    assert probe(tmp_path / "photographs").num_frames == 1


def test_the_preview_in_a_tiff_is_no_frame(tmp_path: Path) -> None:
    picture = Image.new("RGB", (64, 48), (80, 120, 160))
    small = picture.resize((16, 12))
    picture.save(tmp_path / "a.tif", save_all=True, append_images=[small])
    with open_video(tmp_path) as video:
        assert np.array_equal(video.frames([0])[0], np.asarray(picture))
    for first, *others in ((picture, small, picture), (small, picture)):
        first.save(tmp_path / "a.tif", save_all=True, append_images=others)
        with pytest.raises(VideoError, match="holds 2 pictures"):
            open_video(tmp_path)


def test_folders_that_are_no_video(tmp_path: Path) -> None:
    for name in ("img_1.png", "img_2.png", "flow_1.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    with pytest.raises(VideoError, match=r"several series .'flow_\*', 'img_\*'.: name one"):
        open_video(tmp_path)
    (tmp_path / "flow_1.png").unlink()
    Image.new("RGB", (9, 8)).save(tmp_path / "img_3.png")
    (tmp_path / "img_2.png").write_bytes(b"no picture")
    with open_video(tmp_path) as video:
        assert video.num_frames == 3
        with pytest.raises(VideoError, match=r"img_2\.png' can't be read as a picture"):
            video.frames([1])
        with pytest.raises(VideoError, match=r"img_3\.png' is 9x8 pixels, the first frame 8x8"):
            video.frames([2])


@pytest.mark.parametrize(
    ("names", "series"),
    [
        (["00000.jpg", "00001.jpg", "00000.png", "00001.png"], "'*.jpg', '*.png'"),
        (
            ["f_0_left.png", "f_1_left.png", "f_0_right.png", "f_1_right.png"],
            "'f_*_left.png', 'f_*_right.png'",
        ),
        (["cam0_1.png", "cam0_2.png", "cam1_1.png", "cam1_2.png"], "'cam0_*', 'cam1_*'"),
        (
            [f"20240101_120000_{eye}_{number}.png" for eye in ("left", "right") for number in (1, 2)],
            "'20240101_120000_left_*', '20240101_120000_right_*'",
        ),
        (["2024-01-01_12-00-00_1.png", "2024-01-01_12-00-00_2.png"], None),
        (["cam0_1.png", "cam0_3.png", "cam1_2.png", "cam1_4.png"], "'cam0_*', 'cam1_*'"),
        (["a.jpg", "b.jpg", "a.png", "b.png"], "'*.jpg', '*.png'"),
        (["take1_1-of-2.png", "take1_2-of-2.png", "take2_1-of-2.png"], "'take1_*', 'take2_*'"),
        (["1.png", "2.png", "cover.png"], "'*', 'cover*'"),
        (["20240101_120000.png", "20240102_115959.png", "20240102_120001.png"], None),
        (["2024-01-01 23-59-59.png", "2024-01-02 00-00-00.png", "2024-01-02 23-59-59.png"], None),
        (["1341845688.5.png", "1341845688.56.png", "1341845688.6.png", "1341845689.56.png"], None),
        (["frame-1-of-3.png", "frame-2-of-3.png", "frame-3-of-3.png"], None),
        (["part1_8.png", "part1_9.png", "part2_10.png"], None),
        (["1_intro.png", "2_main.png", "2_more.png", "10_end.png"], None),
        (["img_9.png", "img_10.png", "img_11.PNG"], None),
    ],
)
def test_a_folder_is_one_series_in_order_or_refused(
    tmp_path: Path, names: list[str], series: str | None
) -> None:
    for number, name in enumerate(names):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / name, format="png")
    if series is not None:
        with pytest.raises(VideoError, match=re.escape(f"holds several series ({series}): ")):
            open_video(tmp_path)
        return
    with open_video(tmp_path) as video:
        assert video.frames(range(video.num_frames))[:, 0, 0, 0].tolist() == list(range(len(names)))


def test_urls_that_fail(server: FileServer) -> None:
    server.faults["/clip.mp4"] = Fault(cut_after=1000)
    with pytest.raises(VideoError, match=r"clip\.mp4' c(ame incomplete|an't be fetched)") as caught:
        open_video(server.url + "/clip.mp4?key=secret")
    assert "secret" not in str(caught.value)
    with pytest.raises(VideoError, match=r"none\.mp4' can't be fetched"):
        open_video(server.url + "/none.mp4")
    with pytest.raises(VideoError, match="no http or https URL"):
        open_video("ftp://127.0.0.1/clip.mp4")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_files_are_closed(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(struct.pack(">I4s", 8, b"mdat"))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with open_video(clip) as video:
            next(video.iter_frames([40]))
        next(stream(clip))
        with pytest.raises(VideoError):
            open_video(tmp_path / "bad.mp4")
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_workers_can_be_forked_after_reading(clip: Path) -> None:
    """Reading runs nothing on torch's threads, which a forked process would wait for, for ever."""
    code = f"""
import os, torch
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.clips import read_clips
torch.set_num_threads(2)
for resize in ("uint8-bilinear", "float-bilinear"):
    read_clips({str(clip)!r}, ClipSpec(num_frames=8, resize=resize), views="published")
child = os.fork()
if not child:
    torch.nn.functional.conv3d(torch.ones(1, 3, 8, 96, 96), torch.ones(8, 3, 3, 3, 3))
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=90).returncode == 0
