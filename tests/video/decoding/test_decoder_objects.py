"""Decoders of another library as sources: an object with torchcodec's interface stands for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.movies import moving_pattern

from slowfast_zoo.errors import InputError, VideoError
from slowfast_zoo.inference.inputs import check_single, expand_sources
from slowfast_zoo.video.decoding.decoder_objects import is_decoder
from slowfast_zoo.video.decoding.reader import open_video

FRAMES = moving_pattern(20, 32, 48)
TIMES = np.cumsum([0.5, *[0.04] * 9, *[0.1] * 10])  # the rate drops in the middle


class Decoder:
    """Frames in memory, with the time at which each begins."""

    def __init__(
        self, data: Any = None, times: Any = TIMES, channels_first: bool = True, **facts: Any
    ) -> None:
        self.data = FRAMES if data is None else data
        self.times, self.channels_first = times, channels_first
        self.metadata = SimpleNamespace(**{"num_frames": len(self.data), "average_fps": 12.5, **facts})
        self.asked: list[list[int]] = []

    def get_frames_at(self, indices: list[int]) -> Any:
        self.asked.append(indices)
        frames = torch.from_numpy(np.stack([self.data[index] for index in indices]))
        durations = np.diff(np.append(self.times, self.times[-1] + 0.1))
        return SimpleNamespace(
            data=frames.permute(0, 3, 1, 2) if self.channels_first else frames,
            pts_seconds=torch.from_numpy(self.times[indices]),
            duration_seconds=torch.from_numpy(durations[indices]),
        )

    def get_frames_played_at(self, seconds: list[float]) -> Any:
        return self.get_frames_at(
            [int(np.searchsorted(self.times, moment, "right")) - 1 for moment in seconds]
        )

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Any:
        return iter(self.data)


@pytest.mark.parametrize("channels_first", [True, False])
def test_frames_are_the_decoders(channels_first: bool) -> None:
    decoder = Decoder(channels_first=channels_first, codec="h264")
    with open_video(decoder) as video:  # type: ignore[arg-type]
        assert (video.num_frames, video.height, video.width, video.codec) == (20, 32, 48, "h264")
        assert np.array_equal(video.frames([7, 3, 7]), FRAMES[[7, 3, 7]])
        assert np.array_equal([frame for _, frame in video.iter_frames(range(20))], FRAMES)
        assert max(map(len, decoder.asked)) <= 16, "memory holds few frames"


def test_times_are_the_decoders() -> None:
    decoder = Decoder()
    with open_video(decoder) as video:  # type: ignore[arg-type]
        assert video.seconds_of(12) == TIMES[12]
        assert video.seconds_of(20) == TIMES[-1] + 0.1
        assert sorted({index for asked in decoder.asked for index in asked}) == [0, 12, 19]
        assert [video.index_at(moment) for moment in (0.0, 0.53, 1.05, 99.0)] == [0, 0, 10, 19]
        assert video.seconds_of(20) == TIMES[-1] + 0.1, "also when all times are known"
        assert [seconds for _, seconds, _ in video.stream()] == TIMES.tolist()
        stamps = video.stamps()
        assert stamps is not None
        assert stamps.first_from(0.04) == 1
    with open_video(decoder, fps=10) as video:  # type: ignore[arg-type]
        assert video.seconds_of(12) == 1.2


def test_pictures_three_pixels_high_are_told_from_channels() -> None:
    narrow = np.ascontiguousarray(FRAMES[:, :3, :3])
    for channels_first in (True, False):
        decoder = Decoder(narrow, channels_first=channels_first)
        with open_video(decoder) as video:  # type: ignore[arg-type]
            assert video.frames([1]).shape == (1, 3, 3, 3)


class Failing(Decoder):
    """Gives up in the middle."""

    def get_frames_at(self, indices: list[int]) -> Any:
        if max(indices) > 4:
            raise RuntimeError("Could not push packet\nto decoder")
        return super().get_frames_at(indices)


def test_what_goes_wrong_is_said() -> None:
    with open_video(Failing()) as video:  # type: ignore[arg-type]
        assert len(video.frames([1, 2])) == 2
        with pytest.raises(VideoError, match="'<Failing>' can't be decoded: Could not push packet to"):
            video.frames([3, 5])
    with pytest.raises(VideoError, match="holds no frames"):
        open_video(Decoder(num_frames=None))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="uint8 RGB frames"):
        open_video(Decoder(FRAMES.astype(np.float32)))  # type: ignore[arg-type]
    odd = [*FRAMES[:5], *FRAMES[5:, :16]]
    with open_video(Decoder(odd)) as video, pytest.raises(VideoError, match="after"):  # type: ignore[arg-type]
        video.frames([6])
    for rate in (None, float("nan"), float("inf"), 0, -25.0, "25"):
        with open_video(Decoder(average_fps=rate)) as video:  # type: ignore[arg-type]
            assert video.index_near(99.0) == 20 and video.seconds_of(20) == TIMES[-1] + 0.1
            with pytest.raises(InputError, match="pass fps="):
                _ = video.fps


def test_a_decoder_is_one_video() -> None:
    decoder = Decoder()
    assert is_decoder(decoder)
    assert not is_decoder(Decoder)
    check_single(decoder)
    assert expand_sources(decoder) == [decoder]  # type: ignore[arg-type]
