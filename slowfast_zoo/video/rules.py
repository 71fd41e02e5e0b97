"""Every publisher's rule for which frames of a video make a clip: a class each, and a line in ``RULES``.

Arithmetic only: nothing here reads a video or imports torch. What the rules do is drawn in ``sampling``.
Where a publisher computes in floating point, the same precision is used on purpose: its rounding decides
which frame is taken.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

import numpy as np
import numpy.typing as npt

from slowfast_zoo.spec import ClipSpec, Sampling

Indices = npt.NDArray[np.int64]
Row = npt.NDArray[np.integer | np.floating]
Rate = float | Fraction | None
Start = int | float | Fraction


class Random(Protocol):
    """The two calls of ``numpy.random.Generator`` that sampling needs."""

    def integers(self, low: int, high: int, size: int) -> npt.NDArray[np.int64]:
        """``size`` integers from ``low`` to below ``high``."""

    def uniform(self, low: float, high: float, size: int) -> npt.NDArray[np.float64]:
        """``size`` numbers from ``low`` to ``high``."""


@dataclasses.dataclass(frozen=True)
class Stamps:
    """When the frames of a video are shown, in the container's own ticks."""

    ticks: Indices
    """Of each frame, from the first one's 0, increasing."""
    tick: Fraction
    """Seconds."""
    duration: int
    """Ticks from the first frame to the end that the container tells; to the last frame where it tells none
    that can be right."""

    def first_from(self, seconds: Start) -> int:
        """The first frame at or after that time, which is cut to whole ticks; ``len(ticks)`` if none."""
        return int(np.searchsorted(self.ticks, int(float(seconds) / float(self.tick)), side="left"))

    def behind(self, seconds: Start) -> int:
        """The first frame after that time, cut to whole ticks."""
        return int(np.searchsorted(self.ticks, int(float(seconds) / float(self.tick)), side="right"))


@dataclasses.dataclass(frozen=True)
class Timing:
    """What a rule knows of one video, for one spec."""

    count: int
    """Frames that decode."""
    span: Fraction
    """Source frames that a clip covers, as the rule counts them."""
    rate: Fraction | None
    """Frames per second, where the spec chooses by time."""
    stamps: Stamps | None = None
    """When frames are shown, for rules that look."""

    @property
    def room(self) -> Fraction:
        """Source frames that a clip can be moved by."""
        return max(self.count - self.span, Fraction(0))


class Rule:
    """One publisher's way to choose frames; this is the plain one, which counts frames."""

    looks_at_time = False
    """Whether a clip can be so many seconds long, whatever the video's frame rate."""
    counts_last_stride = False
    """Whether the frames skipped after a clip's last one belong to its span."""

    def needed(self, spec: ClipSpec, video: Timing) -> Fraction:
        """Source frames from the first to the last frame of a clip."""
        return video.span

    def test_starts(self, spec: ClipSpec, video: Timing, clips: int) -> Sequence[Start]:
        """First frames of the test clips, in source frames; fractions where the rule has them."""
        raise NotImplementedError

    def center_start(self, spec: ClipSpec, video: Timing) -> Start:
        """First frame of a clip in the middle."""
        return max(video.count - math.ceil(video.span), 0) // 2

    def train_clip(self, spec: ClipSpec, video: Timing, rng: Random) -> Row:
        """The frames of a clip that chance places."""
        start = Fraction(rng.uniform(0.0, float(video.room), 1)[0])
        return self.frames(spec, video, start)

    def frames(self, spec: ClipSpec, video: Timing, start: Start) -> Row:
        """The clip that begins at ``start``; it may reach beyond the video."""
        return int(start) + np.arange(spec.num_frames) * spec.frame_stride

    def fill(self, spec: ClipSpec, video: Timing, indices: Indices) -> Indices:
        """Frame numbers (clips, num_frames) that exist, by the spec's rule for short videos."""
        beyond = indices >= video.count
        if not beyond.any():
            return indices
        if spec.short_video == "loop":
            return indices % video.count
        if spec.short_video == "stretch":
            for row in np.flatnonzero(beyond.any(axis=1)):
                first = min(int(indices[row, 0]), video.count - 1)
                spread = linspace(0, video.count - 1 - first, spec.num_frames)
                indices[row] = first + spread.astype(np.int64)
            return indices
        return self.repeat_last(video, indices)

    def repeat_last(self, video: Timing, indices: Indices) -> Indices:
        """The video's last frame in place of those after it."""
        return np.minimum(indices, video.count - 1)


class _RepeatOwnLast(Rule):
    def repeat_last(self, video: Timing, indices: Indices) -> Indices:
        """The clip's last frame that exists in place of those after the video."""
        beyond = indices >= video.count
        return np.where(beyond, np.where(beyond, 0, indices).max(axis=1, keepdims=True), indices)


class _OpenMMLab1(_RepeatOwnLast):
    """From the first to the last possible start.

    Source: ``SampleFrames`` of MMAction2 1.2.0 (https://github.com/open-mmlab/mmaction2).
    """

    looks_at_time = True

    def test_starts(self, spec: ClipSpec, video: Timing, clips: int) -> Sequence[Start]:
        if spec.num_frames == 1:
            part = video.count / clips
            return [int(clip * part + part / 2) for clip in range(clips)]
        if clips == 1:
            return [math.floor(video.room / 2)]
        if video.rate is not None:
            return [clip * math.floor(video.room / (clips - 1)) for clip in range(clips)]
        return [round(clip * (int(video.room) / (clips - 1))) for clip in range(clips)]

    def center_start(self, spec: ClipSpec, video: Timing) -> Start:
        return self.test_starts(spec, video, 1)[0]

    def train_clip(self, spec: ClipSpec, video: Timing, rng: Random) -> Row:
        span = Fraction(spec.span_frames) if video.rate is None else video.span
        starts = math.floor(video.count - span + 1)
        start = int(rng.integers(0, starts, 1)[0]) if starts > 0 else 0
        return self.frames(spec, video, start)

    def frames(self, spec: ClipSpec, video: Timing, start: Start) -> Row:
        if video.rate is None:
            return super().frames(spec, video, start)
        return int(start) + np.linspace(0, float(video.span) - 1, spec.num_frames).astype(np.int64)


class _OpenMMLab0(_OpenMMLab1):
    """The middles of equal parts.

    Source: ``SampleFrames`` of MMAction2 0.24.1 (https://github.com/open-mmlab/mmaction2).
    """

    looks_at_time = False
    counts_last_stride = True

    def needed(self, spec: ClipSpec, video: Timing) -> Fraction:
        return video.span - (spec.frame_stride - 1)

    def test_starts(self, spec: ClipSpec, video: Timing, clips: int) -> Sequence[Start]:
        part = (video.count - int(video.span) + 1) / clips
        return [int(clip * part + part / 2) if video.count >= video.span else 0 for clip in range(clips)]


class _PySlowFast(Rule):
    """Starts i / clips of the room, rounded down, and frames evenly to the clip's end.

    This is what PySlowFast does with a video that it has decoded whole.
    Source: ``slowfast/datasets/decoder.py`` (https://github.com/facebookresearch/SlowFast).
    """

    looks_at_time = True
    counts_last_stride = True

    def test_starts(self, spec: ClipSpec, video: Timing, clips: int) -> Sequence[Start]:
        return [float(video.room) * clip / clips for clip in range(clips)]

    def frames(self, spec: ClipSpec, video: Timing, start: Start) -> Row:
        return linspace(float(start), float(start) + float(video.span) - 1, spec.num_frames)


class _PySlowFastStamps(_PySlowFast):
    """The same starts, but the part from start to end is cut out by time stamps first.

    This is PySlowFast's default, decoding by torchvision: the first frame is the next one after a
    fractional start, and what would lie after the part is its last frame.
    Source: ``torchvision_decode`` in the same file.
    """

    def frames(self, spec: ClipSpec, video: Timing, start: Start) -> Row:
        first = min(math.ceil(start), video.count - 1)
        last = min(math.floor(start + float(video.span) - 1), video.count - 1)
        inside = linspace(0, float(video.span) - 1, spec.num_frames)
        if spec.short_video == "repeat_last":
            inside = np.minimum(inside, np.float32(max(last - first, 0)))
        return first + inside.astype(np.int64)


class _Charades(Rule):
    """Whole frames from the first to the last possible start.

    Source: ``slowfast/datasets/charades.py`` (https://github.com/facebookresearch/SlowFast).
    """

    def test_starts(self, spec: ClipSpec, video: Timing, clips: int) -> Sequence[Start]:
        return [round(float(video.room) / max(clips - 1, 1) * clip) for clip in range(clips)]

    def train_clip(self, spec: ClipSpec, video: Timing, rng: Random) -> Row:
        # A clip longer than the video may start before it; those frames become the first one.
        last = video.count - int(video.span)
        return self.frames(spec, video, int(rng.integers(min(last, 0), max(last, 0) + 1, 1)[0]))


class _Segments(Rule):
    """One frame in each of ``num_frames`` equal parts of the video.

    Source: ``slowfast/datasets/ssv2.py`` (https://github.com/facebookresearch/SlowFast).
    """

    def needed(self, spec: ClipSpec, video: Timing) -> Fraction:
        return Fraction(spec.num_frames)

    def test_starts(self, spec: ClipSpec, video: Timing, clips: int) -> Sequence[Start]:
        return [0] * clips

    def frames(self, spec: ClipSpec, video: Timing, start: Start) -> Row:
        low, high = self._borders(spec, video)
        return (low + high) // 2

    def train_clip(self, spec: ClipSpec, video: Timing, rng: Random) -> Row:
        borders = zip(*(border.tolist() for border in self._borders(spec, video)), strict=True)
        return np.array([rng.integers(first, last + 1, 1)[0] for first, last in borders])

    def _borders(self, spec: ClipSpec, video: Timing) -> tuple[Indices, Indices]:
        parts = np.arange(spec.num_frames + 1)
        borders = np.round((video.count - 1) / spec.num_frames * parts).astype(np.int64)
        return borders[:-1], borders[1:]


class _PyTorchVideo(Rule):
    """Every frame shown from the start to before the end of the clip, thinned out evenly.

    Starts are seconds where stamps are known, else source frames.
    Source: ``clip_sampling``, ``EncodedVideo`` and ``uniform_temporal_subsample`` since April 2022
    (https://github.com/facebookresearch/pytorchvideo/commit/9368f30).
    """

    looks_at_time = True
    counts_last_stride = True

    def test_starts(self, spec: ClipSpec, video: Timing, clips: int) -> Sequence[Start]:
        return [self._room(spec, video) * clip / max(clips - 1, 1) for clip in range(clips)]

    def center_start(self, spec: ClipSpec, video: Timing) -> Start:
        if self._counts_frames(video):
            return super().center_start(spec, video)
        return self._room(spec, video) / 2

    def train_clip(self, spec: ClipSpec, video: Timing, rng: Random) -> Row:
        return self.frames(spec, video, rng.uniform(0.0, float(self._room(spec, video)), 1)[0])

    def frames(self, spec: ClipSpec, video: Timing, start: Start) -> Row:
        first, end = self._shown(spec, video, start)
        first = min(first, video.count - 1)
        if spec.short_video == "stretch" or video.stamps is not None:
            end = min(end, video.count)
        return first + linspace(0, max(end - first, 1) - 1, spec.num_frames).astype(np.int64)

    def _shown(self, spec: ClipSpec, video: Timing, start: Start) -> tuple[int, int]:
        """The first frame of a clip, and the first one after it."""
        if video.stamps is None:
            return math.ceil(start), math.ceil(Fraction(start) + video.span)
        return video.stamps.first_from(start), video.stamps.first_from(start + _seconds(spec))

    def _room(self, spec: ClipSpec, video: Timing) -> Fraction:
        """How far a start can be from the video's."""
        if video.stamps is None:
            return video.room
        return max(video.stamps.duration * video.stamps.tick - _seconds(spec), Fraction(0))

    def _counts_frames(self, video: Timing) -> bool:
        """Whether starts are source frames of a constant rate; else they are seconds."""
        return video.stamps is None


_FOLDER_FPS = 30.0
"""What PyTorchVideo takes folders of frames for."""


class _PyTorchVideo01(_PyTorchVideo):
    """Starts i / clips of the room; a frame shown exactly at the end belongs to the clip.

    The rule that the published scores of 2021 were measured with, in its floating point. A spec that
    counts frames gets the rule for folders of frames: of 1/30 second, starts and ends rounded, the end left
    out.
    Source: pytorchvideo 0.1.0 to 0.1.3 (the release; its repository has changed since).
    """

    def test_starts(self, spec: ClipSpec, video: Timing, clips: int) -> Sequence[Start]:
        room = self._room(spec, video)
        part: Start = room / clips if self._counts_frames(video) else float(room) / clips
        return [part * clip for clip in range(clips)]

    def _shown(self, spec: ClipSpec, video: Timing, start: Start) -> tuple[int, int]:
        if self._counts_frames(video):
            last = Fraction(start) + video.span
            return math.ceil(start), min(math.floor(last) + 1, max(math.ceil(last), video.count))
        end = float(start) + spec.span_frames / (spec.fps or _FOLDER_FPS)
        if video.stamps is None:
            return round(_FOLDER_FPS * float(start)), round(_FOLDER_FPS * end)
        return video.stamps.first_from(start), video.stamps.behind(end)

    def _room(self, spec: ClipSpec, video: Timing) -> Fraction:
        if self._counts_frames(video):
            return video.room
        seconds = video.count / _FOLDER_FPS
        if video.stamps is not None:
            seconds = video.stamps.duration * float(video.stamps.tick)
        return Fraction(max(seconds - spec.span_frames / (spec.fps or _FOLDER_FPS), 0.0))

    def _counts_frames(self, video: Timing) -> bool:
        return video.stamps is None and video.rate is not None


class _GluonCV(_RepeatOwnLast):
    """Whole frames of a video of which every ``frame_stride``-th is kept.

    Source: ``VideoClsDataset`` (https://github.com/dmlc/gluon-cv).
    """

    def test_starts(self, spec: ClipSpec, video: Timing, clips: int) -> Sequence[Start]:
        kept = -(-video.count // spec.frame_stride)
        step = max(kept - spec.num_frames, 0) / max(clips - 1, 1)
        return [int(clip * step) * spec.frame_stride for clip in range(clips)]

    def train_clip(self, spec: ClipSpec, video: Timing, rng: Random) -> Row:
        """A span drawn anywhere, or the whole short video followed by its last frame."""
        count = video.count
        if count <= spec.span_frames:
            spread = np.linspace(0, count, count // spec.frame_stride)
            still = np.full(spec.num_frames - len(spread), float(count))
            places: Row = np.concatenate([spread, still])
            return np.minimum(places, count - 1)
        end = int(rng.integers(spec.span_frames, count, 1)[0])
        places = np.linspace(end - spec.span_frames, end, spec.num_frames)
        return np.minimum(places, end - 1)


class KeyRule(Rule):
    """Frames around a key frame, where persons have boxes; half of the clip lies before it.

    A video of another rate than the spec's is taken at the spec's: as it is where the spec counts frames. A
    start is the key frame's number at that rate. Beyond the first and the last frame these repeat.

    Source: ``AVADataset`` with ``use_frames=False`` in MMAction2 1.2.0, for MultiSports
    (https://github.com/open-mmlab/mmaction2).
    """

    looks_at_time = True
    counts_last_stride = True

    def test_starts(self, spec: ClipSpec, video: Timing, clips: int) -> Sequence[Start]:
        """Key frames in the middles of equal parts."""
        count = resampled_count(spec, video)
        return [(2 * clip + 1) * count // (2 * clips) for clip in range(clips)]

    def center_start(self, spec: ClipSpec, video: Timing) -> Start:
        return self.test_starts(spec, video, 1)[0]

    def train_clip(self, spec: ClipSpec, video: Timing, rng: Random) -> Row:
        return self.around(spec, video, int(rng.integers(0, resampled_count(spec, video), 1)[0]), rng)

    def frames(self, spec: ClipSpec, video: Timing, start: Start) -> Row:
        return self.around(spec, video, int(start))

    def around(self, spec: ClipSpec, video: Timing, key: int, rng: Random | None = None) -> Row:
        """The source frames of the clip around a key frame; shaken by chance where training does so."""
        steps = np.arange(spec.num_frames) * spec.frame_stride
        if rng is not None:
            steps = steps + self.shake(spec, rng)
        first, last = self.limits(resampled_count(spec, video))
        wanted = np.clip(key + self.before(spec) + steps, first, last)
        return np.array([source_frame(spec, video, max(number, 0)) for number in wanted.tolist()])

    def before(self, spec: ClipSpec) -> int:
        """Where the clip begins, counted from the key frame."""
        return -(spec.num_frames // 2) * spec.frame_stride

    def limits(self, count: int) -> tuple[int, int]:
        """The first and last frame that may be asked for."""
        return 0, count - 1

    def shake(self, spec: ClipSpec, rng: Random) -> Indices:
        """By how much each frame of a training clip is another one: each on its own, in MMAction2."""
        stride = spec.frame_stride
        return rng.integers(-((stride + 1) // 2), (stride + 1) // 2, spec.num_frames)


class _KeyOpenMMLab0(KeyRule):
    """AVA's frames, whose files are numbered from 1, with limits that count from 0.

    So the last frame is never taken, and file 0 is asked for, which isn't there: the first frame, here.
    Source: ``SampleAVAFrames`` of MMAction2 0.24.1 (https://github.com/open-mmlab/mmaction2).
    """

    def limits(self, count: int) -> tuple[int, int]:
        return -1, max(count - 2, 0)


class _KeyOpenMMLab1(KeyRule):
    """The same, one frame later: the number of the first file is added a second time.

    Source: ``SampleAVAFrames`` and ``RawFrameDecode`` of MMAction2 1.2.0.
    """

    def before(self, spec: ClipSpec) -> int:
        return super().before(spec) + 1


class _KeyPySlowFast(KeyRule):
    """Half of the clip's span before the key frame; training doesn't shake frames.

    Source: ``slowfast/datasets/ava_dataset.py`` (https://github.com/facebookresearch/SlowFast).
    """

    def before(self, spec: ClipSpec) -> int:
        return -(spec.span_frames // 2)

    def shake(self, spec: ClipSpec, rng: Random) -> Indices:
        return np.zeros(spec.num_frames, np.int64)


def resampled_count(spec: ClipSpec, video: Timing) -> int:
    """How many frames the video has at the spec's rate; as many as it has where the spec counts frames."""
    if video.rate is None or spec.fps is None:
        return video.count
    fps = Fraction(spec.fps)
    return max(math.floor(end_seconds(video, video.rate) * fps + Fraction(1, 2)), 1)


def end_seconds(video: Timing, rate: Fraction) -> Fraction:
    """When the last frame ends, counted from the first one's begin, in a video of so many frames a second."""
    if video.stamps is None:
        return video.count / rate
    last = int(video.stamps.ticks[-1]) * video.stamps.tick + 1 / rate
    return max(last, video.stamps.duration * video.stamps.tick)


def source_frame(spec: ClipSpec, video: Timing, number: int) -> int:
    """The frame of the video that is frame ``number`` at the spec's rate.

    Each source frame goes to the nearest place at the new rate, the last one that comes to a place is taken,
    and a place where none comes repeats the one before: what ffmpeg's ``fps`` filter does by default.

    Source: https://ffmpeg.org/ffmpeg-filters.html#fps.
    """
    if video.rate is None or spec.fps is None:
        return number
    behind = (2 * number + 1) / (2 * Fraction(spec.fps))  # seconds; what comes from there on goes to the next
    if video.stamps is None:
        index = math.ceil(behind * video.rate) - 1
    else:
        index = int(np.searchsorted(video.stamps.ticks, math.ceil(behind / video.stamps.tick))) - 1
    return min(max(index, 0), video.count - 1)


RULES: dict[Sampling, Rule] = {
    "openmmlab-0.x": _OpenMMLab0(),
    "openmmlab-1.x": _OpenMMLab1(),
    "pyslowfast": _PySlowFast(),
    "pyslowfast-stamps": _PySlowFastStamps(),
    "pyslowfast-segments": _Segments(),
    "pyslowfast-charades": _Charades(),
    "pytorchvideo-0.1": _PyTorchVideo01(),
    "pytorchvideo": _PyTorchVideo(),
    "gluoncv": _GluonCV(),
    "openmmlab-0.x-key": _KeyOpenMMLab0(),
    "openmmlab-1.x-key": _KeyOpenMMLab1(),
    "openmmlab-video-key": KeyRule(),
    "pyslowfast-key": _KeyPySlowFast(),
}


def _seconds(spec: ClipSpec) -> Fraction:
    """Of a clip, by the spec's own frame rate."""
    return spec.span_frames / Fraction(spec.fps or 1)


def linspace(first: float, last: float, count: int) -> npt.NDArray[np.float32]:
    """``torch.linspace`` without torch: float32, counted from both ends, one rounding per number.

    Source: ``linspace`` of PyTorch's CPU backend (https://github.com/pytorch/pytorch).
    """
    low, high = np.float32(first), np.float32(last)
    if count == 1:
        return np.array([low])
    step = float((high - low) / np.float32(count - 1))
    number = np.arange(count, dtype=np.float64)
    from_ends = np.where(number < count // 2, low + step * number, high - step * (count - 1 - number))
    return from_ends.astype(np.float32)
