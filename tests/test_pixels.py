"""Converted frames belong to who reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from movies import moving_pattern, write_video

from slowfast_zoo.video.reader import open_video


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [("film.nut", "rawvideo", "rgb24"), ("film.mov", "qtrle", "rgb24"), ("film.mkv", "ffv1", "bgr0")],
)
@pytest.mark.parametrize("width", [64, 50])
def test_changing_a_frame_changes_no_other(
    tmp_path: Path, name: str, codec: str, pixels: str, width: int
) -> None:
    drawn = moving_pattern(frames=12, width=width)
    drawn[:, :24] = drawn[0, :24]  # what stays the same, some codecs take from the frame before
    path = write_video(tmp_path / name, drawn, codec=codec, pixels=pixels)
    with open_video(path) as video:
        for index, frame in video.iter_frames(range(12)):
            assert np.array_equal(frame, drawn[index])
            assert frame.flags.writeable and frame.flags.c_contiguous
            frame[:] = 77


def test_frames_outlive_their_video(tmp_path: Path) -> None:
    drawn = moving_pattern(frames=12, height=64, width=128)
    path = write_video(tmp_path / "film.mkv", drawn)
    with open_video(path) as video:
        kept = [frame for _, frame in video.iter_frames(range(12))]
    with open_video(write_video(tmp_path / "other.mkv", 255 - drawn)) as video:
        video.frames(range(12))
    assert np.array_equal(np.stack(kept), drawn)


def test_frames_repeat_where_asked(tmp_path: Path) -> None:
    drawn = moving_pattern(frames=8)
    with open_video(write_video(tmp_path / "film.mkv", drawn)) as video:
        assert np.array_equal(video.frames([5, 2, 5, 0, 5]), drawn[[5, 2, 5, 0, 5]])
        assert video.frames([]).shape == (0, 48, 64, 3)
