"""Frame numbers of every publisher's rule, against their own outputs and formulas."""

from __future__ import annotations

import subprocess
import sys
import zlib
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from slowfast_zoo.errors import InputError
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.rules import Stamps
from slowfast_zoo.video.sampling import center_indices, clip_indices, clip_span, train_indices

PYSLOWFAST = ClipSpec(sampling="pyslowfast", time_base="fps-scaled", fps=30, short_video="repeat_last")
PYTORCHVIDEO = ClipSpec(sampling="pytorchvideo", time_base="seconds", fps=30, short_video="stretch")
GLUONCV = ClipSpec(sampling="gluoncv", short_video="repeat_last")
CHARADES = ClipSpec(sampling="pyslowfast-charades", num_frames=64, short_video="repeat_last")
STAMPS = PYSLOWFAST.replace(sampling="pyslowfast-stamps")
PTV_2021 = PYTORCHVIDEO.replace(sampling="pytorchvideo-0.1")
PTV_FOLDER = ClipSpec(sampling="pytorchvideo-0.1", short_video="stretch")
SEGMENTS = ClipSpec(sampling="pyslowfast-segments", num_frames=64, short_video="stretch", clips=1, crops=1)
EVERY_RULE = [
    ClipSpec(sampling="openmmlab-0.x"),
    ClipSpec(),
    PYSLOWFAST,
    STAMPS,
    PYTORCHVIDEO,
    PTV_2021,
    PTV_FOLDER,
    GLUONCV,
    CHARADES,
    SEGMENTS,
]

# Video lengths of the checksums below, which are those of MMAction2's own SampleFrames (int64,
# little-endian, one video after the other). They were made by running 0.24.1 and 1.2.0.
LENGTHS = (1, 5, 31, 32, 63, 64, 65, 100, 250, 300, 301, 1000)
TEST_CRCS = {
    ("openmmlab-1.x", 32, 10, "loop"): 3691498564,
    ("openmmlab-1.x", 32, 10, "repeat_last"): 314068193,
    ("openmmlab-1.x", 32, 1, "loop"): 3827549982,
    ("openmmlab-1.x", 32, 1, "repeat_last"): 3194651476,
    ("openmmlab-1.x", 64, 10, "loop"): 148553263,
    ("openmmlab-1.x", 64, 10, "repeat_last"): 3767253476,
    ("openmmlab-1.x", 64, 1, "loop"): 762202983,
    ("openmmlab-1.x", 64, 1, "repeat_last"): 310155987,
    ("openmmlab-0.x", 32, 10, "loop"): 3107137372,
    ("openmmlab-0.x", 32, 10, "repeat_last"): 2005706745,
    ("openmmlab-0.x", 32, 1, "loop"): 3827549982,
    ("openmmlab-0.x", 32, 1, "repeat_last"): 3194651476,
    ("openmmlab-0.x", 64, 10, "loop"): 116858434,
    ("openmmlab-0.x", 64, 10, "repeat_last"): 4003862921,
    ("openmmlab-0.x", 64, 1, "loop"): 762202983,
    ("openmmlab-0.x", 64, 1, "repeat_last"): 310155987,
}
TRAIN_CRCS = {
    (32, "loop"): 3868763624,
    (32, "repeat_last"): 47770820,
    (64, "loop"): 2256137586,
    (64, "repeat_last"): 1453877761,
}
STARTS = {
    ("openmmlab-0.x", 300): [11, 35, 59, 82, 106, 130, 154, 177, 201, 225],
    ("openmmlab-1.x", 300): [0, 26, 53, 79, 105, 132, 158, 184, 211, 237],
    ("openmmlab-0.x", 250): [9, 28, 46, 65, 84, 102, 121, 140, 158, 177],
    ("openmmlab-1.x", 250): [0, 21, 42, 62, 83, 104, 125, 145, 166, 187],
    ("openmmlab-0.x", 65): [0, 0, 0, 0, 0, 1, 1, 1, 1, 1],
    ("openmmlab-1.x", 65): [0, 0, 0, 1, 1, 1, 1, 2, 2, 2],
    ("openmmlab-0.x", 64): [0] * 10,
    ("openmmlab-1.x", 64): [0] * 5 + [1] * 5,
    ("openmmlab-0.x", 62): [0] * 10,
    ("openmmlab-1.x", 62): [0] * 10,
}


class LegacyRandom:
    """NumPy's global generator of 2020, which the publisher's code draws from."""

    def __init__(self, seed: int) -> None:
        self._state = np.random.RandomState(seed)

    def integers(self, low: int, high: int, size: int) -> npt.NDArray[np.int64]:
        return self._state.randint(low, high, size=size)

    def uniform(self, low: float, high: float, size: int) -> npt.NDArray[np.float64]:
        return self._state.uniform(low, high, size)


def crc(rows: list[npt.NDArray[np.int64]]) -> int:
    return zlib.crc32(b"".join(row.astype("<i8").tobytes() for row in rows))


@pytest.mark.parametrize(("case", "expected"), TEST_CRCS.items(), ids=str)
def test_openmmlab_test_clips(case: tuple[Any, ...], expected: int) -> None:
    sampling, num_frames, clips, short_video = case
    spec = ClipSpec(sampling=sampling, num_frames=num_frames, clips=clips, short_video=short_video)
    assert crc([clip_indices(spec, length) for length in LENGTHS]) == expected


@pytest.mark.parametrize(("case", "expected"), TRAIN_CRCS.items(), ids=str)
@pytest.mark.parametrize("sampling", ["openmmlab-0.x", "openmmlab-1.x"])
def test_openmmlab_train_clips(case: tuple[Any, ...], expected: int, sampling: Any) -> None:
    num_frames, short_video = case
    spec = ClipSpec(sampling=sampling, num_frames=num_frames, short_video=short_video)
    rows = []
    for length in LENGTHS:
        rng = LegacyRandom(0)
        rows += [train_indices(spec, length, rng=rng) for _ in range(3)]
    assert crc(rows) == expected


@pytest.mark.parametrize(("clips", "expected"), [(10, 932587943), (1, 401889977)])
def test_openmmlab_at_a_target_rate(clips: int, expected: int) -> None:
    spec = ClipSpec(time_base="fps-scaled", fps=30, clips=clips)
    rates = (25.0, 29.97, 30.0, 60.0)
    assert crc([clip_indices(spec, length, fps) for fps in rates for length in LENGTHS]) == expected


@pytest.mark.parametrize(("case", "expected"), STARTS.items(), ids=str)
def test_openmmlab_starts(case: tuple[Any, int], expected: list[int]) -> None:
    assert clip_indices(ClipSpec(sampling=case[0]), case[1])[:, 0].tolist() == expected


def test_openmmlab_single_frame_clips() -> None:
    spec = ClipSpec(num_frames=1, frame_stride=1, clips=8)
    assert clip_indices(spec, 6).ravel().tolist() == [0, 1, 1, 2, 3, 4, 4, 5]


def test_openmmlab_single_clip_differs_between_generations_at_stride_4() -> None:
    old = ClipSpec(sampling="openmmlab-0.x", num_frames=8, frame_stride=4, clips=1)
    assert clip_indices(old, 100)[0, 0] == 34
    assert clip_indices(old.replace(sampling="openmmlab-1.x"), 100)[0, 0] == 35


@pytest.mark.parametrize("fps", [15.0, 24.0, 25.0, 29.97, 30.0, 60.0, Fraction(30000, 1001)])
def test_pyslowfast_equals_its_formula_in_torch(fps: float | Fraction) -> None:
    for length in (1, 7, 40, 64, 65, 100, 250, 299, 300, 301, 1000):
        size = 64 / 30 * float(fps)
        rows = []
        for clip in range(10):
            start = max(length - size, 0) * clip / 10
            places = torch.linspace(start, start + size - 1, 32)
            rows.append(torch.clamp(places, 0, length - 1).long().numpy())
        np.testing.assert_array_equal(clip_indices(PYSLOWFAST, length, fps), np.stack(rows))


def test_pyslowfast_clip_ends_on_its_last_frame() -> None:
    rows = clip_indices(PYSLOWFAST, 300, 30)
    assert rows[0, :4].tolist() == [0, 2, 4, 6]
    assert rows[0, -3:].tolist() == [58, 60, 63]
    assert rows[:, 0].tolist() == [0, 23, 47, 70, 94, 118, 141, 165, 188, 212]


@pytest.mark.parametrize("fps", [24, 25.0, 30, 59.94, Fraction(30000, 1001)])
def test_pytorchvideo_equals_its_rule_in_seconds(fps: float | Fraction) -> None:
    rate, clip_seconds = Fraction(fps), Fraction(64, 30)
    for length in (3, 64, 130, 300, 301):
        rows = []
        for clip in range(10):
            start = max(Fraction(length) / rate - clip_seconds, Fraction(0)) * clip / 9
            shown = [frame for frame in range(length) if start <= frame / rate < start + clip_seconds]
            places = torch.linspace(0, len(shown) - 1, 32).clamp(0, len(shown) - 1).long()
            rows.append([shown[place] for place in places])
        assert clip_indices(PYTORCHVIDEO, length, fps).tolist() == rows


def test_pytorchvideo_subsampling_keeps_first_and_last() -> None:
    spec = PYTORCHVIDEO.replace(num_frames=10, frame_stride=2, clips=1)
    assert clip_indices(spec, 20, 30)[0].tolist() == [0, 2, 4, 6, 8, 10, 12, 14, 16, 19]
    assert clip_indices(spec.replace(num_frames=1, frame_stride=20), 20, 30).tolist() == [[0]]


@pytest.mark.parametrize("fps", [15.0, 24.0, 25.0, 60.0])
def test_pyslowfasts_default_equals_its_two_cuts(fps: float) -> None:
    """``torchvision_decode`` keeps the frames between two stamps, then ``temporal_sampling`` thins them."""
    ticks = 12288 if fps == 24.0 else 12800 if fps == 25.0 else 15360
    for length in (1, 40, 128, 250, 301):
        size, per_frame, rows = 2 * 32 / 30 * fps, ticks / fps, []
        for clip in range(10):
            start = max(length - size, 0) * clip / 10
            low, high = int(start * per_frame), int((start + size - 1) * per_frame)
            kept = [frame for frame in range(length) if low <= frame * per_frame <= high]
            places = torch.linspace(0, size - 1, 32).clamp(0, len(kept) - 1).long()
            rows.append([kept[place] for place in places])
        assert clip_indices(STAMPS, length, fps).tolist() == rows


def ptv_clips(
    ticks: list[int], tick: Fraction, duration: int, *, at_end: bool, parts: int
) -> list[list[int]]:
    """Frames of ten clips as PyTorchVideo's ``EncodedVideo`` and clip sampler choose them, in floats."""
    rows, clip_seconds = [], 32 * 2 / 30
    for clip in range(10):
        start = max(duration * float(tick) - clip_seconds, 0) / parts * clip
        low, high = (int(seconds / float(tick)) for seconds in (start, start + clip_seconds))
        shown = [frame for frame, at in enumerate(ticks) if low <= at < high + at_end]
        places = torch.linspace(0, len(shown) - 1, 32).clamp(0, len(shown) - 1).long()
        rows.append([shown[place] for place in places])
    return rows


@pytest.mark.parametrize(
    ("fps", "tick"),
    [
        (Fraction(30), Fraction(1, 15360)),
        (Fraction(25), Fraction(1, 12800)),
        (Fraction(30000, 1001), Fraction(1, 30000)),
        (Fraction(60), Fraction(1, 1000)),  # WebM's milliseconds: frames at 0, 17, 33, 50
        (Fraction(24), Fraction(1, 1000)),
    ],
    ids=str,
)
def test_pytorchvideo_by_time_stamps(fps: Fraction, tick: Fraction) -> None:
    for length in (3, 64, 65, 130, 184, 300, 301):
        ticks = [round(frame / fps / tick) for frame in range(length)]
        duration = ticks[-1] if tick == Fraction(1, 1000) else round(length / fps / tick)
        stamps = Stamps(np.array(ticks), tick, duration)
        for spec, at_end, parts in ((PTV_2021, True, 10), (PYTORCHVIDEO, False, 9)):
            expected = ptv_clips(ticks, tick, duration, at_end=at_end, parts=parts)
            assert clip_indices(spec, length, fps, stamps=stamps).tolist() == expected


def test_stamps_of_a_varying_rate_choose_by_time() -> None:
    """Ten frames in the first second, then sixty in each: two seconds in the middle are mostly the latter."""
    ticks = [*range(0, 1000, 100), *(1000 + round(frame * 1000 / 60) for frame in range(180))]
    stamps = Stamps(np.array(ticks), Fraction(1, 1000), 4000)
    spec = PYTORCHVIDEO.replace(num_frames=4, frame_stride=15, clips=2)
    assert clip_indices(spec, 190, 47.5, stamps=stamps).tolist() == [[0, 23, 46, 69], [70, 109, 149, 189]]
    assert center_indices(spec, 190, 47.5, stamps=stamps).tolist() == [[10, 49, 89, 129]]
    row = train_indices(spec, 190, 47.5, rng=np.random.default_rng(0), stamps=stamps)[0]
    assert 1.9 < (ticks[row[-1]] - ticks[row[0]]) / 1000 < 2
    counted = clip_indices(ClipSpec(num_frames=4), 190, stamps=stamps)
    assert counted.tolist() == clip_indices(ClipSpec(num_frames=4), 190).tolist()


def test_pytorchvideo_folders_of_frames_round() -> None:
    for length in (3, 64, 69, 101, 300):
        rows, clip_seconds = [], 32 * 2 / 30
        for clip in range(10):
            start = max(length / 30 - clip_seconds, 0) / 10 * clip
            end = min(start + clip_seconds, length / 30)
            kept = list(range(round(30.0 * start), round(30.0 * end)))
            rows.append([kept[place] for place in torch.linspace(0, len(kept) - 1, 32).long()])
        assert clip_indices(PTV_FOLDER, length).tolist() == rows


def test_gluoncv_counts_every_second_frame() -> None:
    rows = clip_indices(GLUONCV, 300)
    assert rows[:, 0].tolist() == [2 * int(clip * (150 - 32) / 9) for clip in range(10)]
    assert rows[-1, -1] == 298
    short = GLUONCV.replace(num_frames=5, clips=1)
    assert clip_indices(short, 6).tolist() == [[0, 2, 4, 4, 4]]


def test_gluoncv_training_clips() -> None:
    rng = np.random.default_rng(0)
    spec = GLUONCV.replace(num_frames=4)
    assert train_indices(spec, 6, rng=rng).tolist() == [[0, 3, 5, 5]]
    drawn = np.concatenate([train_indices(spec, 30, rng=rng) for _ in range(200)])
    assert (drawn[:, -1] - drawn[:, 0] == 7).all()
    assert drawn[:, 0].min() == 0 and drawn[:, -1].max() == 28


def test_segments_take_the_middle_of_each_part() -> None:
    spec = SEGMENTS.replace(num_frames=4)
    # Borders round(9 / 4 * i) = 0 2 4 7 9, halves to even.
    assert clip_indices(spec, 10, clips=2).tolist() == [[1, 3, 5, 8]] * 2
    assert clip_indices(spec, 1).tolist() == [[0] * 4]
    drawn = np.concatenate([train_indices(spec, 10, rng=np.random.default_rng(seed)) for seed in range(100)])
    assert drawn.min(axis=0).tolist() == [0, 2, 4, 7]
    assert drawn.max(axis=0).tolist() == [2, 4, 7, 9]


def test_charades_clips() -> None:
    rows = clip_indices(CHARADES, 400)
    assert rows[:, 0].tolist() == [round(clip * (400 - 127) / 9) for clip in range(10)]
    assert rows[-1, -1] == 399
    rng = np.random.default_rng(3)
    drawn = np.concatenate([train_indices(CHARADES, 30, rng=rng) for _ in range(50)])
    assert (drawn >= 0).all() and (drawn <= 29).all()
    # A clip may start before a short video; its first frame repeats then.
    assert (drawn[:, 1] == 0).any()


@pytest.mark.parametrize(
    ("spec", "rows"),
    [
        (ClipSpec(), {"loop": [0, 2, 4, 0, 2], "repeat_last": [0, 2, 4, 4, 4], "stretch": [0, 1, 2, 3, 5]}),
        (GLUONCV, {"loop": [0, 2, 4, 0, 2], "repeat_last": [0, 2, 4, 4, 4], "stretch": [0, 1, 2, 3, 5]}),
        (PYSLOWFAST, {"loop": [0, 2, 4, 0, 3], "repeat_last": [0, 2, 4, 5, 5], "stretch": [0, 1, 2, 3, 5]}),
        (PYTORCHVIDEO, {"loop": [0, 2, 4, 0, 3], "repeat_last": [0, 2, 4, 5, 5], "stretch": [0, 1, 2, 3, 5]}),
        (CHARADES, {"loop": [0, 2, 4, 0, 2], "repeat_last": [0, 2, 4, 5, 5], "stretch": [0, 1, 2, 3, 5]}),
    ],
    ids=lambda value: value.sampling if isinstance(value, ClipSpec) else "",
)
def test_short_videos(spec: ClipSpec, rows: dict[Any, list[int]]) -> None:
    for short_video, row in rows.items():
        five = spec.replace(num_frames=5, frame_stride=2, clips=1, short_video=short_video)
        assert clip_indices(five, 6, 30).tolist() == [row]


def test_openmmlab_loops_over_a_short_video() -> None:
    six = ClipSpec(num_frames=6, frame_stride=1, clips=1)
    assert clip_indices(six, 5).tolist() == [[0, 1, 2, 3, 4, 0]]


@pytest.mark.parametrize("spec", EVERY_RULE, ids=lambda spec: spec.sampling)
@pytest.mark.parametrize("short_video", ["loop", "repeat_last", "stretch"])
def test_every_rule_stays_inside_the_video(spec: ClipSpec, short_video: Any) -> None:
    spec = spec.replace(short_video=short_video)
    rng = np.random.default_rng(1)
    for length in (1, 2, 31, 63, 64, 65, 127, 500, 3000):
        for fps in (Fraction(1, 7), 7.5, 30, 240.0):
            for rows, clips in (
                (clip_indices(spec, length, fps, 3), 3),
                (center_indices(spec, length, fps), 1),
                (train_indices(spec, length, fps, rng=rng), 1),
            ):
                assert rows.shape == (clips, spec.num_frames)
                assert rows.dtype == np.int64
                assert rows.min() >= 0 and rows.max() < length


@pytest.mark.parametrize("spec", EVERY_RULE, ids=lambda spec: spec.sampling)
def test_center_clip_is_in_the_middle(spec: ClipSpec) -> None:
    row = center_indices(spec, 1001, 30)[0]
    assert abs((row[0] + row[-1]) / 2 - 500) <= (8 if spec is SEGMENTS else 1)


@pytest.mark.parametrize("spec", EVERY_RULE, ids=lambda spec: spec.sampling)
def test_span_is_the_shortest_video_that_fills_a_clip(spec: ClipSpec) -> None:
    span = clip_span(spec, 30)
    row = clip_indices(spec.replace(short_video="loop"), span, 30, clips=1)[0]
    assert (np.diff(row) >= 0).all()
    assert row[-1] == (span - 1 if spec is not SEGMENTS else span - 2)
    if spec is not SEGMENTS:
        shorter = clip_indices(spec.replace(short_video="loop"), span - 1, 30, clips=1)[0]
        assert (np.diff(shorter) < 0).any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((ClipSpec(), 0), "num_frames is 0"),
        ((ClipSpec(), 2.5), "num_frames is 2.5"),
        ((ClipSpec(), True), "num_frames is True"),
        ((ClipSpec(), 10, None, 0), "clips is 0"),
        ((PYSLOWFAST, 10), "give fps="),
        ((PYSLOWFAST, 10, 0), "fps is 0"),
        ((PYSLOWFAST, 10, float("nan")), "fps is nan"),
        ((PYSLOWFAST, 10, "30"), "fps is '30'"),
        ((PYSLOWFAST.replace(sampling="gluoncv"), 10, 30), "counts frames"),
    ],
    ids=str,
)
def test_wrong_arguments(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        clip_indices(*arguments)


def test_sampling_needs_no_torch() -> None:
    code = "import sys, slowfast_zoo.video.sampling; sys.exit('torch' in sys.modules or 'av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
