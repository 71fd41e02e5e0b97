"""The clip builder: one tensor by every route, each frame decoded once, little memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from slowfast_zoo.errors import FrameCountError, InputError, VideoError
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.clips import Clips, read_clips, view_counts
from slowfast_zoo.video.decoding.part import VideoPart
from slowfast_zoo.video.decoding.reader import open_video
from slowfast_zoo.video.decoding.video import Frame, Video, with_true_count
from slowfast_zoo.video.sampling import clip_indices
from slowfast_zoo.video.transforms.transforms import eval_transform

SMALL = ClipSpec(num_frames=4, size=24, crop=16, test_crop=24, clips=3)
FLOATS = SMALL.replace(
    sampling="pyslowfast",
    time_base="fps-scaled",
    fps=30,
    short_video="repeat_last",
    resize="float-bilinear",
    crop_rule="uniform",
    view_order="clip-major",
    mean=(0.45, 0.45, 0.45),
    std=(0.225, 0.225, 0.225),
    pixel_range="0-1",
)


def film(frames: int = 30, height: int = 36, width: int = 49) -> npt.NDArray[np.uint8]:
    """Smooth moving pictures, whose frames all differ."""
    t, y, x = np.meshgrid(np.arange(frames), np.arange(height), np.arange(width), indexing="ij")
    channels = [(5 * x + 3 * t) % 256, (7 * y + 2 * t) % 256, (3 * x + 5 * y + 8 * t) % 256]
    return np.stack(channels, axis=-1).astype(np.uint8)


@pytest.fixture
def lossless(tmp_path: Path) -> Path:
    path = tmp_path / "clip ü.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=25, options={"crf": "0"})
        stream.width, stream.height, stream.pix_fmt = 48, 36, "rgb24"
        for frame in film(width=48):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("spec", [SMALL, FLOATS], ids=["bytes", "floats"])
def test_views_are_the_transform_of_their_frames(spec: ClipSpec) -> None:
    frames = film()
    clips = read_clips(frames, spec, views=(3, 1), fps=25)
    indices = clip_indices(spec, 30, 25, 3)
    assert np.array_equal(clips.indices, indices)
    for number, row in enumerate(indices):
        assert torch.equal(clips[number], eval_transform(spec)(frames[row]))


@pytest.mark.parametrize(
    "spec", [SMALL, SMALL.replace(pixel_range="0-1"), FLOATS], ids=["bytes", "shares", "floats"]
)
def test_a_view_made_in_one_thread_is_the_same_to_the_bit(spec: ClipSpec) -> None:
    clips = read_clips(film(), spec, views=(3, 1), fps=25)
    for view in range(len(clips)):
        out = torch.full(clips.view_shape, torch.nan)
        with torch.profiler.profile() as profile:
            clips.put(view, out, alone=True)
        assert torch.equal(out, clips[view])
        computed = {event.key for event in profile.key_averages()}
        assert computed.isdisjoint({"aten::sub", "aten::sub_", "aten::div_", "aten::copy_"})


@pytest.mark.parametrize("spec", [SMALL, FLOATS], ids=["bytes", "floats"])
def test_crops_and_their_order(spec: ClipSpec) -> None:
    clips = read_clips(film(), spec, views="published", fps=30)
    assert len(clips) == 9 and clips.tensor().shape == (9, 3, 4, 24, 24)
    if spec.view_order == "crop-major":
        assert clips.views == tuple((clip, crop) for crop in range(3) for clip in range(3))
    else:
        assert clips.views == tuple((clip, crop) for clip in range(3) for crop in range(3))
    # Left and middle overlap: the resized frame is 33 (32) pixels wide, the middle begins at 4.
    left, middle = ((1, 0), (1, 2)) if spec is SMALL else ((1, 0), (1, 1))
    first, second = clips[clips.views.index(left)], clips[clips.views.index(middle)]
    assert torch.equal(first[..., 4:], second[..., :-4])


def test_batches_are_the_views_in_order() -> None:
    clips = read_clips(film(), SMALL, views="published")
    whole = clips.tensor()
    for size in (1, 2, 4, 9, np.int64(100)):
        batches = list(clips.batches(size))
        assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
        assert torch.equal(torch.cat(batches), whole)
    assert whole.dtype == torch.float32 and whole.is_contiguous()
    for part in (slice(2), slice(1, 2), slice(None, None, -2), slice(9, None)):
        assert torch.equal(clips[part], whole[range(len(clips))[part]])
    for size in (0, -1, 2.0, True):
        with pytest.raises(InputError, match="A batch has"):
            clips.batches(size)  # type: ignore[arg-type]


def test_a_view_is_written_only_where_it_fits() -> None:
    clips = read_clips(film(), SMALL)
    with pytest.raises(InputError, match=r"out has the shape \(3, 4, 1, 1\); accepted: \(3, 4, 24, 24\)"):
        clips.put(0, torch.empty(3, 4, 1, 1))


def test_same_video_by_every_route(lossless: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(film(width=48)):
        Image.fromarray(frame).save(folder / f"{number}.png")
    expected = read_clips(film(width=48), FLOATS, views="published", fps=25).tensor()
    with lossless.open("rb") as file, open_video(lossless) as video:
        for source, fps in (
            (lossless, None),
            (str(lossless), None),
            (lossless.read_bytes(), None),
            (file, None),
            (video, None),
            (video, None),
            (folder, 25),
            (torch.from_numpy(film(width=48)), 25.0),
            (film(width=48), Fraction(25)),
        ):
            assert torch.equal(read_clips(source, FLOATS, views="published", fps=fps).tensor(), expected)


def test_quick_is_one_centerd_clip_and_crop() -> None:
    clips = read_clips(film(101), SMALL)
    assert clips.indices.tolist() == [[47, 49, 51, 53]]
    assert clips.views == ((0, 0),)
    assert read_clips(film(101), FLOATS, fps=30).indices.tolist() == [[46, 48, 50, 53]]
    # By the publisher's own rule, PySlowFast's single clip begins at the start.
    assert read_clips(film(101), FLOATS, views=(1, 1), fps=30).indices[0, 0] == 0


def test_seconds_and_padding(lossless: Path) -> None:
    clips = read_clips(lossless, SMALL, views="published")
    assert clips.seconds is not None
    assert clips.seconds[0] == (0.0, 7 / 25) and clips.seconds[-1] == (23 / 25, 30 / 25)
    assert not clips.padded
    assert read_clips(film(), SMALL).seconds is None
    assert not read_clips(film(7), SMALL).padded
    short = read_clips(film(6), SMALL, fps=10)
    assert short.padded and short.indices.tolist() == [[0, 2, 4, 0]]
    assert short.seconds == ((0.0, 0.5),)
    assert read_clips(film(1), SMALL, views="published").tensor().shape == (9, 3, 4, 24, 24)


class Watched(Video):
    """A video that writes down which frames are decoded, and can miscount them once."""

    codec = "test"

    def __init__(self, frames: npt.NDArray[np.uint8], claimed: int | None = None) -> None:
        super().__init__("<watched>", None)
        self.height, self.width = frames.shape[1:3]
        self.read: list[int] = []
        self._frames = frames
        self._claimed = claimed or len(frames)

    @property
    def num_frames(self) -> int:
        return self._claimed

    def _own_fps(self) -> Fraction | None:
        return Fraction(30)

    def _read(self, wanted: Iterable[int]) -> Iterator[tuple[int, Frame]]:
        for index in wanted:
            if index >= len(self._frames):
                self._claimed = len(self._frames)
                raise FrameCountError("fewer frames")
            self.read.append(index)
            yield index, self._frames[index]

    def _stream(self) -> Iterator[tuple[int, float, Frame]]:
        raise NotImplementedError


def test_each_frame_is_decoded_once() -> None:
    video = Watched(film(12))
    clips = read_clips(video, SMALL.replace(clips=10), views="published")
    assert video.read == sorted(set(clips.indices.ravel().tolist()))
    clips.tensor()
    list(clips.batches(4))
    assert len(video.read) == len(set(video.read)) == 12


def write_stamped(path: Path, stamps: list[int], tick: Fraction) -> None:
    """A lossless Matroska file whose frames are shown at these ticks."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=60)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "bgr0"
        stream.time_base = stream.codec_context.time_base = tick
        for index, stamp in enumerate(stamps):
            picture = np.full((16, 16, 3), index % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base = stamp, tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_seconds_are_taken_from_time_stamps(tmp_path: Path) -> None:
    """PyTorchVideo's rule on millisecond stamps: what is shown between the clip's ends, by their ticks."""
    spec = SMALL.replace(
        sampling="pytorchvideo-0.1",
        time_base="seconds",
        fps=30,
        num_frames=8,
        clips=10,
        short_video="stretch",
    )
    regular = [round(frame * 1000 / 60) for frame in range(100)]
    varying = [*range(0, 1000, 100), *(1000 + 20 * frame for frame in range(60))]
    for stamps in (regular, varying):
        write_stamped(tmp_path / "a.mkv", stamps, Fraction(1, 1000))
        rows = []
        for clip in range(10):
            start = max(stamps[-1] / 1000 - 16 / 30, 0) / 10 * clip
            low, high = int(start * 1000), int((start + 16 / 30) * 1000)
            shown = [frame for frame, at in enumerate(stamps) if low <= at <= high]
            rows.append([shown[int(place)] for place in torch.linspace(0, len(shown) - 1, 8)])
        assert read_clips(tmp_path / "a.mkv", spec, views="published").indices.tolist() == rows
        with open_video(tmp_path / "a.mkv") as video:
            part = VideoPart(video, "part", first_frame=20, num_frames=30).stamps()
        assert part is not None
        assert part.ticks.tolist() == [stamp - stamps[20] for stamp in stamps[20:50]]
        assert part.duration == stamps[50] - stamps[20]
    told = read_clips(tmp_path / "a.mkv", spec, views="published", fps=30)
    assert told.indices.tolist() == clip_indices(spec, len(varying), 30).tolist(), "what the user says counts"


def test_a_count_that_is_wrong_every_time_is_told() -> None:
    tries = []

    def work() -> None:
        tries.append(0)
        raise FrameCountError("fewer again")

    with pytest.raises(FrameCountError, match="fewer again"):
        with_true_count(work)
    assert len(tries) == 3


def test_clips_are_chosen_anew_when_the_count_was_wrong() -> None:
    clips = read_clips(Watched(film(30), claimed=40), SMALL, views="published")
    assert np.array_equal(clips.indices, clip_indices(SMALL, 30))


def test_full_size_frames_are_never_all_in_memory() -> None:
    class Endless(Watched):
        def _read(self, wanted: Iterable[int]) -> Iterator[tuple[int, Frame]]:
            return ((index, np.full((720, 1280, 3), index, np.uint8)) for index in wanted)

    video = Endless(np.zeros((1, 720, 1280, 3), np.uint8), claimed=200)
    spec = SMALL.replace(num_frames=32, clips=3)
    tracemalloc.start()
    try:
        clips = read_clips(video, spec, views="published")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # NumPy counts here, torch doesn't: 96 frames of 2.8 MB would be 265 MB.
    assert len(np.unique(clips.indices)) > 90
    assert peak < 60e6


def test_an_open_video_stays_open(lossless: Path) -> None:
    with open_video(lossless) as video:
        read_clips(video, SMALL)
        assert video.frames([0]).shape == (1, 36, 48, 3)
        with pytest.raises(InputError, match="give fps= to open_video"):
            read_clips(video, SMALL, fps=25)


def test_repr_shows_shapes(lossless: Path) -> None:
    text = repr(read_clips(lossless, SMALL, views="published"))
    assert "clip ü.mkv" in text and text.endswith("3 clips x 3 crops of 3x4x24x24)")
    assert repr(read_clips(film(2), SMALL)).endswith("padded)")


def test_view_counts() -> None:
    assert view_counts(SMALL, "quick") == (1, 1)
    assert view_counts(SMALL, "published") == (3, 3)
    assert view_counts(SMALL, (7, 3)) == (7, 3)


@pytest.mark.parametrize("views", ["publshed", (0, 1), (1, 2), (1,), 3, None, (1.0, 1), (True, 1)])
def test_wrong_views(views: Any) -> None:
    with pytest.raises(InputError, match="accepted: 'quick', 'published' or") as caught:
        read_clips(film(), SMALL, views=views)
    assert ("Did you mean 'published'" in str(caught.value)) == (views == "publshed")


def test_views_and_specs_of_other_kinds() -> None:
    with pytest.raises(InputError, match=r"views is array.*accepted: 'quick', 'published' or"):
        read_clips(film(), SMALL, views=np.ones(2))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"is of type Linear; accepted: a ClipSpec, as model\.clip_spec is"):
        read_clips(film(), torch.nn.Linear(1, 1))  # type: ignore[arg-type]


def test_wrong_sources(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fps="):
        read_clips(film(), FLOATS)
    with pytest.raises(VideoError, match=r"missing\.mp4"):
        read_clips(tmp_path / "missing.mp4", SMALL)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"")
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        read_clips(broken, SMALL)
    with pytest.raises(InputError):
        read_clips(film().astype(np.float32), SMALL)


def test_clips_need_as_many_means_as_channels() -> None:
    with pytest.raises(InputError, match="normalizes 1 of them"):
        read_clips(film(), SMALL.replace(mean=(0.0,), std=(1.0,)))


def test_clips_hold_bytes_where_the_publisher_resizes_bytes() -> None:
    def stored(clips: Clips) -> torch.dtype:
        return clips._frames.dtype

    assert stored(read_clips(film(), SMALL)) == torch.uint8
    assert stored(read_clips(film(), FLOATS, fps=30)) == torch.float32
