"""Seconds are those of a player, counts those of a decoder, and damage is told."""

from __future__ import annotations

import io
import re
from pathlib import Path

import av
import numpy as np
import pytest
from support.movies import Frames, moving_pattern, write_stamped, write_video

from slowfast_zoo.errors import InputError
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.clips import plan_clips, read_clips
from slowfast_zoo.video.decoding.part import VideoPart
from slowfast_zoo.video.decoding.reader import open_video, stream

FRAMES = moving_pattern(frames=24)


VARIABLE = [0, 20, 40, 60, 500, 520, 540, 1500, 1520, 1540, 1560, 1600]


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "ffv1"), ("mp4", "mpeg4"), ("webm", "libvpx")])
def test_a_variable_frame_rate_is_as_a_player_has_it(tmp_path: Path, suffix: str, codec: str) -> None:
    path = write_stamped(tmp_path / f"variable.{suffix}", VARIABLE, codec, frames=FRAMES)
    with open_video(path) as video:
        seconds = [video.seconds_of(index) for index in range(len(VARIABLE))]
        assert np.allclose(seconds, np.array(VARIABLE) / 1000, atol=1e-3)
        assert seconds[-1] < video.seconds_of(len(VARIABLE)) < 1.9
        assert [video.index_at(second) for second in seconds] == list(range(len(VARIABLE)))
        assert [video.index_at(moment) for moment in (-1, 0.03, 0.499, 1.2, 99)] == [0, 1, 3, 6, 11]
        assert np.array_equal(video.frames_at([0.3, 1.55]), video.frames([3, 9]))
        for wrong in (-1, len(VARIABLE) + 1):
            with pytest.raises(InputError, match="was asked for"):
                video.seconds_of(wrong)
        with pytest.raises(InputError, match="A time is nan"):
            video.index_at(float("nan"))
    assert [second for _, second, _ in stream(path)] == seconds
    clips = read_clips(path, ClipSpec(num_frames=2, frame_stride=3, size=16, crop=16, test_crop=16))
    first, last = clips.indices[0][[0, -1]]
    assert clips.seconds is not None and clips.seconds[0][0] == seconds[first]
    assert clips.seconds[0][1] == seconds[last + 1]


def test_a_frame_rate_that_is_given_counts(tmp_path: Path) -> None:
    path = write_stamped(tmp_path / "variable.mkv", VARIABLE, frames=FRAMES)
    with open_video(path, fps=10) as video:
        assert video.seconds_of(7) == 0.7 and video.index_at(0.7) == 7
        assert [video.index_at(moment) for moment in (-1e308, -1, 1e308)] == [0, 0, len(VARIABLE) - 1]


def test_a_picture_that_comes_behind_the_sound_is_late(tmp_path: Path) -> None:
    path = write_stamped(tmp_path / "late.mkv", range(700, 1180, 40), sound_seconds=1.2, frames=FRAMES)
    with open_video(path) as video:
        assert video.seconds_of(0) == pytest.approx(0.7, abs=2e-3)
        assert video.index_at(0.1) == 0 and video.index_at(0.75) == 1
    assert next(stream(path))[1] == pytest.approx(0.7, abs=2e-3)
    alone = write_stamped(tmp_path / "alone.mkv", range(10_000, 10_480, 40), frames=FRAMES)
    with open_video(alone) as video:
        assert video.seconds_of(0) == 0.0 and video.seconds_of(3) == pytest.approx(0.12)


def test_stamps_that_say_nothing_leave_the_frame_rate(tmp_path: Path) -> None:
    far = write_stamped(tmp_path / "far.mkv", range(0, 12 * 10**9, 10**9), frames=FRAMES)
    with open_video(far) as video:
        assert (video.fps, video.num_frames, video.seconds_of(6)) == (25, 12, 0.24)
        assert np.array_equal(video.frames(range(12)), FRAMES[:12])
    interleaved = write_video(tmp_path / "b.avi", FRAMES, fps=25, codec="mpeg4", pixels="yuv420p")
    with open_video(interleaved) as video:
        assert [video.seconds_of(index) for index in (0, 6, 24)] == [0.0, 0.24, 0.96]


def test_frames_that_an_avi_dropped_take_their_time(tmp_path: Path) -> None:
    shown = [*range(8), *range(12, 28)]
    times = [40 * number for number in shown]
    path = write_stamped(tmp_path / "dropped.avi", times, "mjpeg", frames=FRAMES, ticks=25)
    with open_video(path) as video:
        assert (video.fps, video.num_frames, video.damaged_frames) == (25, 24, 0)
        assert [video.seconds_of(index) for index in range(24)] == pytest.approx([n / 25 for n in shown])
        assert video.seconds_of(24) == pytest.approx(28 / 25)
        assert video.index_at(0.45) == 7 and video.index_at(0.49) == 8
        assert video.stamps() is None
    assert [second for _, second, _ in stream(path)] == pytest.approx([n / 25 for n in shown])


def test_frames_that_an_avi_with_b_frames_dropped(tmp_path: Path) -> None:
    shown = [*range(8), *range(12, 28)]
    times = [40 * number for number in shown]
    path = write_stamped(tmp_path / "dropped.avi", times, "libx264", frames=FRAMES, ticks=25)
    with open_video(path) as video:
        assert video.num_frames == 24
        told = [video.seconds_of(index) for index in range(24)]
        assert [second for _, second, _ in video.stream()] == told
        assert told[-1] == pytest.approx(27 / 25)


@pytest.mark.parametrize("later", [0.5, 60.0, 600.0])
@pytest.mark.parametrize(("name", "codec"), [("pause.mkv", "ffv1"), ("pause.mp4", "mpeg4")])
def test_one_pause_leaves_the_frame_rate(tmp_path: Path, name: str, codec: str, later: float) -> None:
    shown = [*range(0, 480, 40), *range(480 + round(1000 * later), 960 + round(1000 * later), 40)]
    with open_video(write_stamped(tmp_path / name, shown, codec, frames=FRAMES)) as video:
        assert video.fps == 25
        assert video.seconds_of(23) == pytest.approx(0.92 + later) and video.seconds_of(11) == 0.44


@pytest.mark.parametrize("later", [0.0, 0.29, 0.6])
def test_streams_that_were_joined_have_the_rate_of_each(tmp_path: Path, later: float) -> None:
    content = b""
    for number, begin in enumerate((0, round(1000 * later))):
        shown = range(begin, begin + 960, 40)
        content += write_stamped(tmp_path / f"{number}.ts", shown, "libx264", frames=FRAMES).read_bytes()
    with open_video(content) as video:
        assert (video.num_frames, video.fps, video.seconds_of(48)) == (48, 25, 1.92)


@pytest.mark.parametrize("begin", [1000, 60_000, 3_600_000])
def test_a_stream_may_start_late(tmp_path: Path, begin: int) -> None:
    shown = range(begin, begin + 960, 40)
    path = write_stamped(tmp_path / "late.ts", shown, "libx264", frames=FRAMES)
    spec = ClipSpec(num_frames=4, frame_stride=2, sampling="pytorchvideo", time_base="seconds", fps=25)
    with open_video(path) as video:
        stamps = video.stamps()
        assert stamps is not None and float(stamps.duration * stamps.tick) == pytest.approx(0.92)
        starts = plan_clips(video, spec, (4, 1)).indices[:, 0].tolist()
        assert starts == [0, 5, 10, 15]  # of a room of 0.92 - 0.32 seconds


@pytest.mark.parametrize("repeated", [False, True])
def test_a_repeated_stamp_leaves_the_rate_that_the_others_say(tmp_path: Path, repeated: bool) -> None:
    uneven = [33 * number + 5 * number % 12 for number in range(23)] + [759]  # as browsers record a camera
    if repeated:
        uneven[9] = uneven[8]
    content = write_stamped(tmp_path / "camera.mkv", uneven, frames=FRAMES).read_bytes()
    # Matroska's duration of a frame becomes a gap, so that FFmpeg knows no rate, and guesses 1000.
    content, found = re.subn(rb"\x23\xe3\x83\x84....", b"\xec\x86" + bytes(6), content, flags=re.DOTALL)
    assert found == 1
    with open_video(content) as whole, open_video(content[: len(content) * 6 // 10]) as part:
        assert whole.fps == pytest.approx(23 / 0.759, rel=1e-4) and whole.damaged_frames == 0
        assert whole.duration_seconds == pytest.approx(0.792, abs=1e-3)
        assert part.num_frames < 20 and part.damaged_frames == pytest.approx(24 - part.num_frames, abs=1)


def test_parts_by_seconds_are_cut_where_a_player_shows_them(tmp_path: Path) -> None:
    path = write_stamped(tmp_path / "variable.mkv", VARIABLE, frames=FRAMES)
    with VideoPart(open_video(path), "part", start_seconds=0.5, end_seconds=1.5) as part:
        assert part.num_frames == 3
        assert np.array_equal(part.frames(range(3)), FRAMES[4:7])
        assert [part.seconds_of(index) for index in range(3)] == pytest.approx([0, 0.02, 0.04])
        assert [second for _, second, _ in part.stream()] == pytest.approx([0, 0.02, 0.04])
    with VideoPart(open_video(path), "part", start_seconds=1.4, end_seconds=9.0) as part:
        assert part.num_frames == 5


def test_a_part_goes_by_the_frame_rate_that_is_given(tmp_path: Path) -> None:
    path = write_stamped(tmp_path / "variable.mkv", VARIABLE, frames=FRAMES)
    with VideoPart(open_video(path, fps=10), "part", first_frame=3) as part:
        assert (part.fps, part.seconds_of(5), part.index_at(0.5)) == (10, 0.5, 5)


def by_decoding(path: Path) -> list[Frames]:
    frames: list[Frames] = []
    with av.open(str(path)) as container:
        track = container.streams.video[0]
        track.thread_type, track.codec_context.thread_count = "NONE", 1
        for packet in container.demux(track):
            try:
                decoded = track.codec_context.decode(packet if packet.size else None)
            except av.FFmpegError:
                continue
            frames += [frame.to_ndarray(format="rgb24", interpolation="BICUBIC") for frame in decoded]
    return frames


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_a_transport_stream_that_was_cut_counts_as_it_decodes(tmp_path: Path, codec: str) -> None:
    frames = moving_pattern(frames=60)
    whole = tmp_path / "whole.ts"
    with av.open(str(whole), "w") as output:
        track = output.add_stream(codec, rate=25, options={"g": "24"})
        track.height, track.width, track.pix_fmt = 48, 64, "yuv420p"
        for pixels in frames:
            output.mux(track.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(track.encode(None))
    content = whole.read_bytes()
    (tmp_path / "cut.ts").write_bytes(content[: 188 * 2] + content[188 * 20 :])
    expected = by_decoding(tmp_path / "cut.ts")
    assert 10 < len(expected) < 60
    with open_video(tmp_path / "cut.ts") as video:
        assert video.num_frames == len(expected)
        middle = len(expected) // 2
        assert np.array_equal(video.frames([0, middle]), np.stack([expected[0], expected[middle]]))
        assert video.damaged_frames == 0


def test_what_a_file_has_lost_is_told(tmp_path: Path) -> None:
    whole, moved = tmp_path / "whole.mp4", tmp_path / "moved.mp4"
    write_video(whole, FRAMES, codec="mjpeg", pixels="yuvj420p")
    with (
        av.open(str(whole)) as source,
        av.open(str(moved), "w", options={"movflags": "+faststart"}) as output,
    ):
        track = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = track
                output.mux(packet)
    content = moved.read_bytes()
    half = tmp_path / "half.mp4"
    half.write_bytes(content[: len(content) * 6 // 10])
    spec = ClipSpec(num_frames=2, frame_stride=1, size=16, crop=16, test_crop=16)
    with open_video(moved) as video, open_video(half) as rest:
        assert video.damaged_frames == read_clips(moved, spec).damaged_frames == 0
        assert 2 < rest.num_frames < 20
        assert len(FRAMES) - rest.num_frames <= rest.damaged_frames <= len(FRAMES) - rest.num_frames + 1
        assert read_clips(half, spec).damaged_frames == rest.info.damaged_frames == rest.damaged_frames
        stamps = rest.stamps()
        assert stamps is not None
        assert float(stamps.duration * stamps.tick) == pytest.approx(rest.num_frames / 30, abs=1e-3)


@pytest.mark.parametrize(
    ("suffix", "codec", "pixels"),
    [("mkv", "ffv1", "bgr0"), ("webm", "libvpx-vp9", "yuv420p"), ("avi", "mjpeg", "yuvj420p")],
)
def test_what_was_cut_off_other_containers_is_told(
    tmp_path: Path, suffix: str, codec: str, pixels: str
) -> None:
    content = write_video(tmp_path / f"a.{suffix}", FRAMES, codec=codec, pixels=pixels).read_bytes()
    (tmp_path / f"half.{suffix}").write_bytes(content[: len(content) * 6 // 10])
    with open_video(content) as whole, open_video(tmp_path / f"half.{suffix}") as half:
        assert (whole.num_frames, whole.damaged_frames) == (len(FRAMES), 0)
        assert 2 < half.num_frames < 20
        assert half.damaged_frames == len(FRAMES) - half.num_frames


def test_a_recording_without_a_size_has_lost_nothing() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    pipe = Pipe()
    with av.open(pipe, "w", format="matroska", options={"live": "1"}) as output:
        track = output.add_stream("ffv1", rate=25)
        track.height, track.width, track.pix_fmt = *FRAMES.shape[1:3], "bgr0"
        for pixels in FRAMES:
            output.mux(track.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(track.encode(None))
    content = pipe.getvalue()
    assert b"\x18\x53\x80\x67\x01" + b"\xff" * 7 in content
    for cut in (content, content[: len(content) * 6 // 10]):
        with open_video(cut) as video:
            assert video.num_frames > 2 and video.damaged_frames == 0


@pytest.mark.parametrize(("name", "codec"), [("pauses.mkv", "ffv1"), ("pauses.mp4", "mpeg4")])
def test_pauses_leave_the_frame_rate(tmp_path: Path, name: str, codec: str) -> None:
    shown = [40 * number + (number > 7) * 4000 + (number > 15) * 600_000 for number in range(24)]
    with open_video(write_stamped(tmp_path / name, shown, codec, frames=FRAMES)) as video:
        assert video.fps == 25
        assert video.seconds_of(23) == pytest.approx(604.92) and video.seconds_of(24) == pytest.approx(604.96)


BURST = [40 * number for number in range(20)]


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
@pytest.mark.parametrize(
    "milliseconds",
    [
        [120_000 * number for number in range(12)],
        [*BURST, *(760 + 90_000 * number for number in range(1, 11))],
        [*BURST, *(4_000_000 + moment for moment in BURST)],
        [7_200_000 * number for number in range(4)],
    ],
    ids=["lapse", "slides", "pause", "two hours"],
)
def test_frames_that_are_minutes_apart_have_their_times(
    tmp_path: Path, milliseconds: list[int], name: str
) -> None:
    """Where the header has the same length: else stamps that far apart are damaged."""
    frames = moving_pattern(len(milliseconds), 32, 48)
    path = write_stamped(tmp_path / name, milliseconds, "mpeg4", frames=frames)
    with open_video(path) as video:
        times = [video.seconds_of(index) for index in range(len(milliseconds))]
        assert times == pytest.approx([moment / 1000 for moment in milliseconds], abs=0.01)
        assert [seconds for _, seconds, _ in stream(path)] == pytest.approx(times, abs=1e-6)
        assert video.index_at(milliseconds[-2] / 1000) == len(milliseconds) - 2
        assert 0 < video.fps < 60 and video.seconds_of(len(milliseconds)) > times[-1]
