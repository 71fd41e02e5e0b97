"""Clips around key frames: the publishers' frames and boxes, time at the weights' rate, whole pictures."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from reference.detections import references
from support.movies import moving_pattern, write_stamped, write_video

from slowfast_zoo.errors import InputError, SpecError
from slowfast_zoo.spec import ClipSpec, Sampling
from slowfast_zoo.video.clips import read_clips
from slowfast_zoo.video.decoding.reader import open_video
from slowfast_zoo.video.key_frames import KeyFrames, every
from slowfast_zoo.video.rules import Stamps
from slowfast_zoo.video.sampling import center_indices, clip_indices, key_indices
from slowfast_zoo.video.transforms.boxes import cut_boxes, flip_boxes, scale_boxes
from slowfast_zoo.video.transforms.functional import FramePipeline, normalize, resized_size
from slowfast_zoo.video.transforms.resize import Box, resize_bytes
from slowfast_zoo.video.windows import WindowReader

OPENMMLAB = ClipSpec(
    sampling="openmmlab-1.x-key",
    time_base="seconds",
    fps=30.0,
    crop_rule="whole",
    crops=1,
    clips=1,
    box_rule="openmmlab",
)
OPENMMLAB_0 = OPENMMLAB.replace(sampling="openmmlab-0.x-key")
MULTISPORTS = OPENMMLAB.replace(sampling="openmmlab-video-key", time_base="frames", fps=None)
PYSLOWFAST = OPENMMLAB.replace(
    sampling="pyslowfast-key", box_rule="pyslowfast", resize="uint8-bilinear-floor"
)


class Legacy:
    """numpy's global generator of old, which the publishers draw from."""

    def __init__(self, seed: int) -> None:
        self.state = np.random.RandomState(seed)

    def integers(self, low: int, high: int, size: int) -> npt.NDArray[np.int64]:
        return self.state.randint(low, high, size=size).astype(np.int64)

    def uniform(self, low: float, high: float, size: int) -> npt.NDArray[np.float64]:
        return self.state.uniform(low, high, size)


@pytest.mark.parametrize(
    ("publisher", "spec", "frames"),
    [
        ("mmaction2_0x", OPENMMLAB_0, 27000),
        ("mmaction2_1x", OPENMMLAB, 27000),
        ("pyslowfast", PYSLOWFAST, 27030),
    ],
)
def test_the_publishers_frames(publisher: str, spec: ClipSpec, frames: int) -> None:
    """Equal; but file 0, which MMAction2 0.x asks for and which isn't there, is the first one here."""
    for case in references()["frames"]["ava"]:
        spec = spec.replace(num_frames=case["clip_len"], frame_stride=case["interval"])
        found = key_indices(spec, frames, 30, [case["second"] - 900])[0]
        files = np.array(case[f"{publisher}_file_numbers"])
        assert np.array_equal(found, np.maximum(files - 1, 0)), case


def test_multisports_counts_frames_of_whole_videos() -> None:
    for case in references()["frames"]["multisports"]:
        second = Fraction(case["frame_1based"] - 1, 25)
        found = key_indices(MULTISPORTS, case["total_frames"], 25, [float(second)])[0]
        assert found.tolist() == case["decoder_indices_0based"]


@pytest.mark.parametrize(("publisher", "spec"), [("mmaction2_0x", OPENMMLAB_0), ("mmaction2_1x", OPENMMLAB)])
def test_training_moves_each_frame(publisher: str, spec: ClipSpec) -> None:
    for case in references()["frames"]["train"]:
        rng = Legacy(case["np_random_seed"])
        found = key_indices(spec, 27000, 30, [case["second"] - 900], rng=rng)[0]
        assert (found + 1).tolist() == case[publisher]
    still = key_indices(PYSLOWFAST, 27000, 30, [100], rng=Legacy(0))
    assert np.array_equal(still, key_indices(PYSLOWFAST, 27000, 30, [100]))


def test_the_publishers_boxes() -> None:
    """To the bit."""
    for case in references()["boxes"]:
        height, width, boxes = case["height"], case["width"], np.array(case["relative"])
        assert [*resized_size(OPENMMLAB, height, width)] == case["mma_resized_shape"]
        assert [*resized_size(PYSLOWFAST, height, width)] == case["pyslowfast_shape"]
        scaled = scale_boxes(boxes, OPENMMLAB, height, width)
        left, top, right, bottom = case["mma_crop_bbox"]
        assert scaled.tolist() == case["mma_resized"]
        assert cut_boxes(scaled, Box(left, top, right - left, bottom - top)).tolist() == case["mma_cropped"]
        assert flip_boxes(scaled, OPENMMLAB, case["mma_resized_shape"][1]).tolist() == case["mma_flipped"]
        assert scale_boxes(boxes, PYSLOWFAST, height, width).tolist() == case["pyslowfast_boxes"]


def test_boxes_by_hand() -> None:
    whole = np.array([[0.0, 0.0, 1.0, 1.0]])
    assert scale_boxes(whole, OPENMMLAB, 480, 640).tolist()[0][2:] == pytest.approx([341, 256], abs=1e-4)
    assert scale_boxes(whole, PYSLOWFAST, 480, 640).tolist() == [[0, 0, 340, 255]]
    box = np.array([[10.0, 20.0, 30.0, 40.0]])
    assert flip_boxes(box, OPENMMLAB, 100).tolist() == [[70, 20, 90, 40]]
    assert flip_boxes(box, PYSLOWFAST, 100).tolist() == [[69, 20, 89, 40]]
    with pytest.raises(InputError, match="box_rule is 'none'"):
        scale_boxes(whole, ClipSpec(), 480, 640)


def filtered(frames: int, rate: Fraction) -> list[int]:
    """Which frames ffmpeg's ``fps`` filter takes for 30 a second."""
    import av.filter

    graph = av.filter.Graph()
    source = graph.add_buffer(width=16, height=16, format="gray", time_base=1 / rate)
    chain = [source, graph.add("fps", "30"), graph.add("buffersink")]
    for one, other in itertools.pairwise(chain):
        one.link_to(other)
    graph.configure()
    found = []

    def pull() -> None:
        while True:
            try:
                found.append(int(chain[-1].pull().to_ndarray()[0, 0]))
            except (BlockingIOError, EOFError):
                return

    for number in range(frames):
        frame = av.VideoFrame.from_ndarray(np.full((16, 16), number, np.uint8), format="gray")
        frame.pts, frame.time_base = number, 1 / rate
        source.push(frame)
        pull()
    source.push(None)
    pull()
    return found


RATES = (
    Fraction(24),
    Fraction(25),
    Fraction(30),
    Fraction(30000, 1001),
    Fraction(60),
    Fraction(120),
    Fraction(10),
)


@pytest.mark.parametrize("rate", RATES, ids=str)
@pytest.mark.parametrize("by_stamps", [False, True])
def test_time_goes_at_30_frames_a_second(rate: Fraction, by_stamps: bool) -> None:
    """The publishers took their frames out of files that ffmpeg had brought to 30; so do clips here."""
    count = 250
    expected = filtered(count, rate)
    # one frame a clip, each key frame once
    spec = OPENMMLAB.replace(sampling="openmmlab-video-key", num_frames=1, frame_stride=1)
    stamps = Stamps(np.arange(count) * 1001, 1 / rate / 1001, count * 1001) if by_stamps else None
    moments = [number / 30 for number in range(len(expected))]
    assert key_indices(spec, count, rate, moments, stamps=stamps)[:, 0].tolist() == expected


def test_a_clip_is_as_long_at_any_rate() -> None:
    """The demos of both publishers count source frames: at 60 a second their clip lasts half as long."""
    for rate in (15, 30, 60, 120):
        row = key_indices(PYSLOWFAST, 20 * rate, rate, [10.0])[0]
        seconds = row / rate
        assert seconds[0] == pytest.approx(10 - 32 / 30, abs=1 / 30)
        assert seconds[-1] == pytest.approx(10 + 30 / 30, abs=1 / 30)
        assert seconds[16] == pytest.approx(10, abs=1 / 30)


def test_a_varying_rate_goes_by_stamps() -> None:
    # a second of 10 frames, then one of 50
    ticks = np.concatenate([np.arange(0, 1000, 100), np.arange(1000, 2000, 20)])
    stamps = Stamps(ticks, Fraction(1, 1000), 2000)
    spec = OPENMMLAB.replace(sampling="openmmlab-video-key", num_frames=4, frame_stride=6)
    assert key_indices(spec, 60, 30, [1.0], stamps=stamps).tolist() == [[6, 8, 10, 20]]  # 0.6 0.8 1 1.2 s


@pytest.mark.parametrize("spec", [OPENMMLAB, OPENMMLAB_0, PYSLOWFAST, MULTISPORTS], ids=lambda s: s.sampling)
@pytest.mark.parametrize(("count", "fps"), [(1, 30), (2, 60), (5, 7), (40, 25), (200, 29.97)])
def test_every_frame_exists(spec: ClipSpec, count: int, fps: float) -> None:
    moments = np.linspace(0, count / fps, 7).tolist()
    for rng in (None, np.random.default_rng(1)):
        found = key_indices(spec, count, fps, moments[:-1], rng=rng)
        assert found.shape == (6, 32) and found.min() >= 0 and found.max() < count
        assert rng is not None or (np.diff(found, axis=1) >= 0).all()
    rate: Any = None if spec.time_base == "frames" else fps
    assert clip_indices(spec, count, rate, 3).max() < count
    assert center_indices(spec, count, rate).shape == (1, 32)


def test_what_isnt_accepted() -> None:
    with pytest.raises(
        InputError, match=r"'openmmlab-1\.x' has no key frames; those that have: openmmlab-0\.x-key"
    ):
        key_indices(ClipSpec(), 100, 30, [1])
    for moment in (-1.0, 11.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match=r"A key frame is at .* accepted: 0 to 10.000"):
            key_indices(OPENMMLAB, 300, 30, [moment])
    assert np.array_equal(*(key_indices(OPENMMLAB, 243, 240, [moment]) for moment in (242 / 240, 243 / 240)))
    with pytest.raises(InputError, match=r"accepted: 0 to 1.012"):
        key_indices(OPENMMLAB, 243, 240, [244 / 240])
    for given, says in (([], "no key frame"), ([None], "is None; accepted: seconds"), ([-1], "is -1")):
        with pytest.raises(InputError, match=says):
            KeyFrames(given)  # type: ignore[arg-type]
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"box_rule": "none"}, "another one than 'none' where sampling is 'openmmlab-1.x-key'"),
        ({"sampling": "openmmlab-1.x"}, "'none' where sampling is 'openmmlab-1.x'"),
        ({"crops": 3}, "1 where crop_rule is 'whole'"),
        ({"box_rule": "mmaction2"}, "'openmmlab', 'pyslowfast'"),
    )
    for changes, says in wrong:
        with pytest.raises(SpecError, match=says):
            OPENMMLAB.replace(**changes)
    assert ClipSpec.from_dict(PYSLOWFAST.to_dict()) == PYSLOWFAST and PYSLOWFAST.has_key_frames


@pytest.mark.parametrize(("height", "width"), [(48, 64), (70, 30), (33, 97)])
def test_the_whole_picture_is_seen(height: int, width: int) -> None:
    spec = PYSLOWFAST.replace(size=32, crop=32, test_crop=32, num_frames=4)
    frames = moving_pattern(4, height, width)
    pipeline = FramePipeline(spec, height, width, crop=32, crops=1)
    view = pipeline.view(pipeline.prepare_all(frames, 4), 0)
    new_height, new_width = resized_size(spec, height, width)
    assert view.shape == (3, 4, new_height, new_width) and min(new_height, new_width) == 32
    whole = resize_bytes(frames[2], new_height, new_width, Box(0, 0, new_width, new_height))
    expected = normalize(torch.from_numpy(whole.transpose(1, 0, 2).copy()), spec)
    assert torch.equal(view[:, 2], expected)
    with pytest.raises(InputError, match="too large for a clip of 4 whole frames"):
        FramePipeline(spec, 2, 4_000_000, crop=32, crops=1)


@pytest.mark.parametrize("spec", [OPENMMLAB, PYSLOWFAST, MULTISPORTS], ids=lambda spec: spec.sampling)
def test_clips_around_key_frames(spec: ClipSpec, tmp_path: Path) -> None:
    spec = spec.replace(num_frames=4, frame_stride=3, size=32, crop=32, test_crop=32)
    path = write_video(tmp_path / "a.mkv", moving_pattern(120), fps=60)
    with open_video(path) as video:
        assert every(video, 0.75) == [0, 0.75, 1.5]
        plan = KeyFrames([1.5, 0, 0.75, 0.75])
        assert plan.seconds == (0, 0.75, 1.5)
        found = {window.number: clips for window, clips in WindowReader(video, spec, plan)}
    assert [*found] == [0, 1, 2]
    with open_video(path) as video:
        stamps = video.stamps()
        rows = key_indices(spec, 120, 60, plan.seconds, stamps=stamps)
        frames = video.frames(np.arange(120))
    pipeline = FramePipeline(spec, 48, 64, crop=32, crops=1)
    for number, row in enumerate(rows):
        expected = pipeline.view(pipeline.prepare_all(frames[row], 4), 0)
        assert torch.equal(found[number].tensor()[0], expected)
        assert found[number].padded == (number == 0)


@pytest.mark.parametrize("spec", [OPENMMLAB, MULTISPORTS], ids=lambda spec: spec.sampling)
def test_key_frames_behind_the_end_are_refused(spec: ClipSpec, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", moving_pattern(12), fps=24)
    with open_video(path) as video:
        assert KeyFrames([0.5 + 1 / 50]).windows(video, spec)[0].key_frame == 11  # rounded
        with pytest.raises(InputError, match=r"at 0.55 s; accepted: 0 to 0.500, the video's end"):
            KeyFrames([0.1, 0.55]).windows(video, spec)


def test_a_picture_that_begins_late(tmp_path: Path) -> None:
    """A player's seconds count from the file's begin: here the first frame is shown after half a second."""
    path = write_stamped(
        tmp_path / "a.mkv",
        [500 + 40 * number for number in range(50)],
        frames=moving_pattern(50),
        sound_seconds=2,
    )
    spec = OPENMMLAB.replace(sampling="openmmlab-video-key", num_frames=2, frame_stride=6)
    with open_video(path) as video:
        begin = video.seconds_of(0)
        assert (every(video, 1.0), every(video, 0.75)) == ([0, 1, 2], [0.75, 1.5, 2.25])
        assert every(video, 9.0) == [0] and KeyFrames([0.0]).windows(video, spec)[0].key_frame == 0
        plan = KeyFrames([begin + 1.0])
        window = plan.windows(video, spec)[0]
        assert window.start_seconds == pytest.approx(begin + 0.8) and window.num_frames == 6
        with pytest.raises(InputError, match="A key frame is at"):
            KeyFrames([begin + 3.0]).windows(video, spec)


def test_a_detection_contract_gives_views_too() -> None:
    """What knows no key frames, such as a check of the clip builder, gets the clip in the middle."""
    spec = PYSLOWFAST.replace(num_frames=4, frame_stride=1, size=32, crop=32, test_crop=32)
    frames = moving_pattern(21)
    clips = read_clips(frames, spec, fps=30)
    assert clips.indices.tolist() == [[8, 9, 10, 11]] and clips.view_shape == (3, 4, 32, 42)


def test_names_end_alike() -> None:
    from typing import get_args

    from slowfast_zoo.video.rules import RULES

    assert {*get_args(Sampling)} == {*RULES}
