"""Published feature recipes: their windows and frames, by the numbers of their own code."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from slowfast_zoo.errors import InputError, UnknownNameError
from slowfast_zoo.inference.features.recipes import (
    RECIPES,
    at_rate,
    ego4d_starts,
    find_recipe,
    qvhighlights_clips,
    qvhighlights_frames,
)
from slowfast_zoo.weights.catalog import get_weights

pytestmark = pytest.mark.quick


def test_qvhighlights_keeps_the_slip_of_the_frame_rate() -> None:
    at_30 = qvhighlights_frames(30)
    assert at_30[:3].tolist() == [0, 2, 4]
    assert at_30[-3:].tolist() == [58, 59, 59]  # 58.9, 60.97 and 63 of a clip of 60 frames
    at_25 = qvhighlights_frames(25)
    assert (at_25[0], at_25[1], at_25[-1]) == (0, 1, 52)  # 64 * 25 / 30 - 1 = 52.3
    at_60 = qvhighlights_frames(60)
    assert (at_60 == 59).sum() > 16
    # 29.97 is rounded down to 29: 64 * 29 / 30 - 1 = 60.87.
    assert qvhighlights_frames(Fraction(30000, 1001)).tolist() == qvhighlights_frames(29).tolist()
    assert qvhighlights_frames(29)[-1] == 59


@pytest.mark.parametrize("fps", [1, 15, 24, 25, 29, 30, 50, 60])
def test_qvhighlights_frames_are_the_linspace_of_torch(fps: int) -> None:
    import torch

    end = 32 * 2 * fps / 30 - 1
    expected = torch.clamp(torch.linspace(0, end, 32), 0, 59).long()
    assert qvhighlights_frames(fps).tolist() == expected.tolist()


@pytest.mark.parametrize(("seconds", "rows"), [(150, 75), (151, 76), (2, 1), (0.5, 1), (3.9, 2), (4.1, 3)])
def test_qvhighlights_has_a_row_for_every_two_seconds(seconds: float, rows: int) -> None:
    assert rows == math.ceil(seconds / 2)
    assert qvhighlights_clips(round(seconds * 30), 30, seconds).shape == (rows, 32)


def test_qvhighlights_fills_the_last_clip_with_the_last_frame_and_the_last_second() -> None:
    clips = qvhighlights_clips(75, 15, 2.5)  # 64 * 15 / 30 - 1 = 31: frames 0, 1, 2 ... 31 of a clip
    assert clips[1].tolist() == [60 + place if place < 15 else 74 for place in range(30)] + [60, 61]
    assert qvhighlights_clips(45, 30, 1.5)[0, -1] == 44  # within its second: the last frame


def test_qvhighlights_stops_where_the_duration_does() -> None:
    assert len(qvhighlights_clips(300, 30, 7.9)) == 4
    assert len(qvhighlights_clips(300, 30, None)) == 5
    with pytest.raises(InputError, match="0 frames"):
        qvhighlights_clips(0, 30, None)


def test_qvhighlights_normalizes_as_in_float32() -> None:
    import torch

    spec = RECIPES["qvhighlights"].clip_spec
    assert spec is not None
    theirs = torch.tensor([0.225]) + 1e-8
    assert torch.tensor(spec.std[:1]).item() == theirs.item() != torch.tensor([0.225]).item()


@pytest.mark.parametrize(
    ("frames", "rows"), [(1, 1), (31, 1), (32, 1), (33, 2), (47, 2), (48, 2), (49, 3), (64, 3), (1800, 112)]
)
def test_ego4d_counts_windows_as_published(frames: int, rows: int) -> None:
    starts = ego4d_starts(Fraction(frames, 30))
    assert len(starts) == rows
    if frames > 32:
        assert rows == (frames - 32) // 16 + 1 + ((frames - 32) % 16 > 0)
        assert starts[-1] * 30 == frames - 32  # the last one ends with the video
    assert [start * 30 for start in starts[:-1]] == [16 * row for row in range(rows - 1)]


@pytest.mark.parametrize("fps", [Fraction(24), 25, Fraction(30000, 1001), 30, 60, 12, 50])
def test_frames_at_a_rate_are_those_of_the_fps_filter(fps: Fraction | int, tmp_path: Path) -> None:
    begins = [float(index / Fraction(fps)) for index in range(40)]
    assert at_rate(begins, float(40 / Fraction(fps)), 30).tolist() == _filtered(begins, 40 / Fraction(fps))


def test_frames_at_a_rate_follow_uneven_stamps_as_the_filter_does() -> None:
    steps = np.random.default_rng(0).integers(1, 4000, 60)
    ticks = np.concatenate([[0], np.cumsum(steps)])
    begins = (ticks[:-1] / 30000).tolist()
    end = Fraction(int(ticks[-1]), 30000)
    assert at_rate(begins, float(end), 30).tolist() == _filtered(begins, end)


def _filtered(begins: list[float], end: Fraction) -> list[int]:
    """Which frames FFmpeg's own filter gives, by a gray level that each frame has for itself."""
    import av
    import av.filter

    base = Fraction(1, 30000 * 1001)
    graph = av.filter.Graph()
    source = graph.add_buffer(width=16, height=16, format="gray", time_base=base)
    rate, sink = graph.add("fps", "30"), graph.add("buffersink")
    source.link_to(rate)
    rate.link_to(sink)
    graph.configure()
    shown: list[int] = []

    def pull() -> None:
        while True:
            try:
                shown.append(int(sink.pull().to_ndarray()[0, 0]))
            except (av.error.BlockingIOError, av.error.EOFError):
                return

    times = [*begins, float(end)]
    for number, begin in enumerate(begins):
        frame = av.VideoFrame.from_ndarray(np.full((16, 16), number, np.uint8), format="gray")
        frame.pts, frame.time_base = round(begin / base), base
        frame.duration = round(times[number + 1] / base) - frame.pts
        source.push(frame)
        pull()
    source.push(None)
    pull()
    return shown


def test_every_recipe_names_weights_that_exist() -> None:
    for recipe in RECIPES.values():
        if recipe.model is not None:
            name, _, tag = recipe.model.partition(":")
            entry = get_weights(name, tag)
            assert entry.model_spec.slow_sampling == "linspace" and entry.model_spec.num_features == 2304
            assert recipe.clip_spec is not None and recipe.clip_spec.num_frames == entry.model_spec.num_frames


def test_an_unknown_recipe_names_the_nearest() -> None:
    assert find_recipe("ego4d") is RECIPES["ego4d"]
    with pytest.raises(UnknownNameError, match="Did you mean 'qvhighlights'"):
        find_recipe("qvhighlight")
