"""Windows of a long video: every one is what ``read_clips`` gives for that part, read in one pass."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from support.movies import moving_pattern, write_stamped, write_video

from slowfast_zoo import Clips, ClipSpec, open_video, read_clips
from slowfast_zoo.errors import InputError, VideoError
from slowfast_zoo.video.clips import Views
from slowfast_zoo.video.decoding.part import VideoPart
from slowfast_zoo.video.decoding.video import Video
from slowfast_zoo.video.windows import Grid, Window, WindowReader

SMALL = ClipSpec(num_frames=4, frame_stride=2, size=32, crop=32, test_crop=32)
SPECS = {
    "openmmlab": SMALL,
    "scaled": SMALL.replace(time_base="fps-scaled", fps=30, short_video="stretch"),
    "pyslowfast": SMALL.replace(
        time_base="fps-scaled",
        fps=30,
        sampling="pyslowfast",
        short_video="repeat_last",
        resize="float-bilinear",
    ),
    "pytorchvideo": SMALL.replace(time_base="seconds", fps=30, sampling="pytorchvideo"),
    "gluoncv": SMALL.replace(sampling="gluoncv"),
}
FRAMES = moving_pattern(90, 40, 56)
NTSC = Fraction(30000, 1001)


def ticks(fps: Fraction | int, count: int = 90) -> list[int]:
    """Time stamps in milliseconds, as a camera of that rate rounds them."""
    return [round(1000 * index / fps) for index in range(count)]


VARIABLE = np.cumsum([0] + [20, 60, 33] * 29 + [400, 20]).tolist()


def assert_equal(got: Clips, want: Clips) -> None:
    assert np.array_equal(got.indices, want.indices)
    assert torch.equal(got.tensor(), want.tensor())
    assert (got.seconds, got.views, got.padded) == (want.seconds, want.views, want.padded)


def check(path: Path, spec: ClipSpec, grid: Grid, views: Views = "quick") -> list[Window]:
    with open_video(path) as video, open_video(path) as other:
        found = list(WindowReader(video, spec, grid, views=views))
        for window, clips in found:
            part = VideoPart(other, other.name, first_frame=window.first_frame, num_frames=window.num_frames)
            assert_equal(clips, read_clips(part, spec, views=views))
        return [window for window, _ in found]


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("fps", [24, 25, NTSC, 60], ids=str)
def test_each_window_is_what_read_clips_gives_for_its_part(
    name: str, fps: Fraction | int, tmp_path: Path
) -> None:
    path = write_stamped(tmp_path / "film.mkv", ticks(fps), frames=FRAMES)
    windows = check(path, SPECS[name], Grid(hop_seconds=0.25))
    seconds = 90 / fps
    assert len(windows) >= int((seconds - 8 / 24) / 0.25) + 1
    for window in windows[:-1]:
        assert window.start_seconds == pytest.approx(window.number * 0.25, abs=0.51 / fps)
    if windows[0].end_seconds > 0.25:  # else there are gaps between windows
        assert windows[-1].frames.stop == 90
        assert windows[-1].end_seconds == pytest.approx(float(seconds), abs=2e-3)


@pytest.mark.parametrize("name", SPECS)
def test_a_variable_frame_rate_goes_by_time_stamps(name: str, tmp_path: Path) -> None:
    path = write_stamped(tmp_path / "variable.mkv", VARIABLE, frames=FRAMES)
    windows = check(path, SPECS[name], Grid(hop_seconds=0.3))
    for window in windows[:-1]:
        assert window.start_seconds == VARIABLE[window.first_frame] / 1000
    starts = [window.first_frame for window in windows]
    assert starts == sorted(set(starts))
    check(path, SPECS[name], Grid(hop_seconds=0.5, window_seconds=0.8), (3, 3))


def test_by_seconds_a_window_has_the_frames_of_those_seconds(tmp_path: Path) -> None:
    path = write_stamped(tmp_path / "variable.mkv", VARIABLE, frames=FRAMES)
    windows = check(path, SMALL, Grid(hop_seconds=1, window_seconds=1, start_seconds=0.5, end_seconds=3))
    assert [round(window.start_seconds, 1) for window in windows] == [0.5, 1.5, 2.0]
    assert all(window.end_seconds - window.start_seconds == pytest.approx(1, abs=0.06) for window in windows)


def test_the_last_window_is_moved_padded_or_dropped(tmp_path: Path) -> None:
    path = write_stamped(tmp_path / "film.mkv", ticks(25, 24), frames=FRAMES)  # windows of 7 frames
    spans = {
        last: [(w.first_frame, w.num_frames) for w in check(path, SMALL, Grid(hop_seconds=0.4, last=last))]
        for last in ("move_back", "pad", "drop")
    }
    assert spans["drop"] == [(0, 7), (10, 7)]
    assert spans["move_back"] == [(0, 7), (10, 7), (17, 7)]
    assert spans["pad"] == [(0, 7), (10, 7), (20, 4)]


@pytest.mark.parametrize("count", [1, 6, 7, 8])
@pytest.mark.parametrize("last", ["move_back", "pad", "drop"])
def test_a_video_about_as_long_as_a_window(count: int, last: str, tmp_path: Path) -> None:
    path = write_stamped(tmp_path / "film.mkv", ticks(25, count), frames=FRAMES)
    grid = Grid(hop_seconds=0.04, last=last)  # type: ignore[arg-type]
    if count < 7 and last == "drop":
        with pytest.raises(InputError, match="shorter than a window, and last='drop' leaves nothing"):
            check(path, SMALL, grid)
        return
    windows = check(path, SMALL, grid)
    assert [(w.first_frame, w.num_frames) for w in windows] == (
        [(0, 7), (1, 7)] if count == 8 else [(0, count)]
    )


def test_a_hop_longer_than_the_video_gives_one_window(tmp_path: Path) -> None:
    path = write_stamped(tmp_path / "film.mkv", ticks(25), frames=FRAMES)
    assert [window.first_frame for window in check(path, SMALL, Grid(hop_seconds=1e9))] == [0]


@pytest.mark.parametrize("last", ["move_back", "pad", "drop"])
def test_with_a_hop_longer_than_a_window_the_end_may_be_in_none(last: str, tmp_path: Path) -> None:
    path = write_stamped(tmp_path / "film.mkv", ticks(25, 30), frames=FRAMES)
    grid = Grid(hop_seconds=0.6, last=last)  # type: ignore[arg-type]
    assert [(w.first_frame, w.num_frames) for w in check(path, SMALL, grid)] == [(0, 7), (15, 7)]


def test_times_that_begin_with_one_frame_give_one_window(tmp_path: Path) -> None:
    far = [*ticks(25, 20), 10**7]  # the last frame comes hours later
    path = write_stamped(tmp_path / "film.mkv", far, frames=FRAMES)
    windows = check(path, SMALL, Grid(hop_seconds=0.001))
    assert [window.first_frame for window in windows] == list(range(15))


def test_frames_are_decoded_once_and_forgotten() -> None:
    asked: list[list[int]] = []

    class Counted(VideoPart):
        def iter_frames(self, indices):  # type: ignore[no-untyped-def]
            asked.append(list(indices))
            return super().iter_frames(asked[-1])

    film = Counted(open_video(FRAMES, fps=30), "film")
    reader = WindowReader(film, SMALL, Grid(hop_seconds=0.1))
    assert len([None for _ in reader]) == len(reader.windows) == 29
    assert len(asked) == 1 and asked[0] == sorted(set(asked[0]))


def test_parts_and_hops_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    for wrong in (0, -1, float("nan"), "1", True, None, 1e-300, 10**400, np.complex64(1)):
        with pytest.raises(InputError, match=r"hop_seconds is .*; accepted: seconds, a finite"):
            Grid(hop_seconds=wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"end_seconds is 1 and start_seconds 2; accepted: a later end"):
        Grid(start_seconds=2, end_seconds=1)
    with pytest.raises(InputError, match="last is 'keep'; accepted"):
        Grid(last="keep")  # type: ignore[arg-type]
    told = "has no frames in the part that was asked for: the video has"
    with open_video(FRAMES, fps=30) as video, pytest.raises(VideoError, match=told):
        Grid(start_seconds=3).windows(video, SMALL)
    with open_video(FRAMES) as video, pytest.raises(InputError, match=r"frame rate of .* isn't known"):
        Grid().windows(video, SMALL)


def test_a_file_that_lied_about_its_frames_gives_the_windows_it_has(tmp_path: Path) -> None:
    class Lying(VideoPart):
        """Says that there are more frames, until they are decoded."""

        told = 90

        @property
        def num_frames(self) -> int:
            return self.told

        def _read(self, wanted):  # type: ignore[no-untyped-def]
            from slowfast_zoo.errors import FrameCountError

            yield from super()._read([index for index in wanted if index < 60])
            if self.told != 60:
                self.told = 60
                raise FrameCountError("60 frames decode")

    video: Video = Lying(open_video(FRAMES, fps=30), "film")
    reader = WindowReader(video, SMALL, Grid(hop_seconds=0.5))
    got = {window.number: (window, clips) for window, clips in reader}
    with open_video(FRAMES[:60], fps=30) as truth:
        want = list(WindowReader(truth, SMALL, Grid(hop_seconds=0.5)))
    assert [window for window, _ in got.values()] == reader.windows == [window for window, _ in want]
    assert reader.end_seconds == 60 / 30
    for (_, one), (_, other) in zip(got.values(), want, strict=True):
        assert_equal(one, other)


def test_without_sound_time_stamps_the_frame_rate_tells(tmp_path: Path) -> None:
    bare = write_video(tmp_path / "bare.h264", FRAMES, fps=25, codec="libx264", pixels="yuv420p")
    once = write_video(tmp_path / "once.ts", FRAMES[:45], fps=25, codec="mpeg2video", pixels="yuv420p")
    twice = tmp_path / "twice.ts"  # time stamps begin again in the middle
    twice.write_bytes(once.read_bytes() * 2)
    avi = write_video(tmp_path / "film.avi", FRAMES, fps=25, codec="mpeg4", pixels="yuv420p")
    for path in (bare, twice, avi):
        windows = check(path, SPECS["scaled"], Grid(hop_seconds=0.5))
        starts = [window.start_seconds for window in windows]
        assert starts == sorted(set(starts)) and starts[0] == pytest.approx(0.0, abs=0.1), path
        assert windows[-1].frames.stop == 90 and 3.4 < windows[-1].end_seconds < 3.8, path
