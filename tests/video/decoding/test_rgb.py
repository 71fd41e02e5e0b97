"""Converted frames belong to who reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.movies import moving_pattern, write_video

from slowfast_zoo.video.decoding.reader import open_video
from slowfast_zoo.video.decoding.rgb import RgbConverter


@pytest.mark.parametrize("pixels", ["rgb24", "yuv444p", "bgr24"])
@pytest.mark.parametrize("width", [64, 50])
def test_changing_a_frame_leaves_the_decoders_alone(pixels: str, width: int) -> None:
    import av

    decoded = av.VideoFrame.from_ndarray(moving_pattern(1, width=width)[0], format="rgb24").reformat(
        format=pixels
    )
    convert = RgbConverter("film", decoded)
    first = convert(decoded)
    expected = first.copy()
    assert first.flags.writeable and first.flags.c_contiguous
    first[:] = 77
    assert np.array_equal(convert(decoded), expected)


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
