"""The one clip builder: a video and a ``ClipSpec`` become the views that the network sees.

    clips = read_clips("clip.mp4", model.clip_spec, views="published")
    for batch in clips.batches(8):      # float32 (n, C, T, H, W)
        logits = model(batch)

Each frame is decoded and resized once, however many views need it.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import torch

from slowfast_zoo.errors import InputError, counted, did_you_mean
from slowfast_zoo.runtime.devices import to_device
from slowfast_zoo.spec import LARGEST, ClipSpec, NamedViews
from slowfast_zoo.video.decoding.video import Video, with_true_count
from slowfast_zoo.video.rules import Indices
from slowfast_zoo.video.sampling import center_indices, check_clip_spec, clip_indices, clip_span, is_count
from slowfast_zoo.video.transforms.functional import FramePipeline

if TYPE_CHECKING:
    from slowfast_zoo.video.decoding.reader import Source

Views: TypeAlias = NamedViews | tuple[int, int]


def read_clips(
    source: Source | Video,
    clip_spec: ClipSpec,
    *,
    views: Views = "quick",
    fps: float | Fraction | None = None,
    device: torch.device | None = None,
) -> Clips:
    """The views of one video, ready for the network.

    Every frame that some view needs is decoded and resized once, as it comes out of the decoder:
    full-size frames are never all in memory, however long the video. Nothing runs on torch's threads,
    so that worker processes may be forked afterwards (not after weights were loaded or a network has run).

    Args:
        source: whatever ``open_video`` takes, or a video that is open already and stays open.
        clip_spec: the clip contract of the weights.
        views: "quick", one clip from the middle of the video and one crop; "published", the
            clips and crops that the weights were scored with; or (clips, crops), placed by the
            publisher's rule for so many.
        fps: frames per second, instead of what the source says.
        device: where frames are resized and views are made; decoding is the processor's always. None: the
            processor. The views are the same bits anywhere, where the spec resizes bytes, else within 1e-5.

    Raises:
        InputError: views that are not accepted, a source of another kind, a device that isn't here, or a
            frame rate that the spec needs and nobody knows.
        VideoError: the video can't be decoded; the message names it and the reason.
    """
    from slowfast_zoo.video.decoding.reader import open_video

    view_counts(clip_spec, views)
    device = None if device is None else torch.empty(0, device=to_device(device)).device
    if isinstance(source, Video):
        if fps is not None:
            raise InputError("This video is open already; give fps= to open_video instead.")
        return _read(source, clip_spec, views, device)
    with open_video(source, fps=fps) as video:
        return _read(video, clip_spec, views, device)


def view_counts(clip_spec: ClipSpec, views: Views) -> tuple[int, int]:
    """How many clips and how many crops ``views`` means.

    Raises:
        InputError: no clip contract, or not "quick", "published" or (clips, crops) with 1 or 3 crops.
    """
    check_clip_spec(clip_spec)
    if isinstance(views, str) and views == "quick":
        return 1, 1
    if isinstance(views, str) and views == "published":
        return clip_spec.clips, clip_spec.crops
    if isinstance(views, (tuple, list)) and len(views) == 2:
        clips, crops = views
        if is_count(clips) and clips <= LARGEST["clips"] and is_count(crops) and crops in (1, 3):
            return int(clips), int(crops)
    near = did_you_mean(views, ("quick", "published")) if isinstance(views, str) else ""
    raise InputError(
        f"views is {views!r:.60}; accepted: 'quick', 'published' or (clips, crops) with up to"
        f" {LARGEST['clips']} clips and 1 or 3 crops.{near}"
    )


class Clips:
    """The views of one video: float32 when asked for, stored as bytes where the publisher's are.

    Attributes:
        spec: the clip contract.
        source: name of the video.
        indices: int64 of shape (clips, spec.num_frames): the source frames of each clip.
        seconds: per clip, the start of its first and the end of its last frame, in seconds as a
            player counts (``Video.seconds_of``); None where no frame rate is known.
        views: (clip, crop) of each view, in the publisher's order.
        padded: whether the video is shorter than a clip, so that frames repeat or are squeezed.
        damaged_frames: frames of the video known to be lost or damaged.
    """

    def __init__(
        self,
        spec: ClipSpec,
        source: str,
        indices: Indices,
        seconds: tuple[tuple[float, float], ...] | None,
        padded: bool,
        pipeline: FramePipeline,
        frames: torch.Tensor,
        damaged_frames: int = 0,
    ) -> None:
        """Hold prepared frames; ``read_clips`` is the way to make one.

        Args:
            pipeline: what prepared the frames and cuts views out of them.
            frames: the different frames of ``indices``, in increasing order, prepared: (n, C, h, w). All
                others are as the attributes.
        """
        self.spec = spec
        self.source = source
        self.indices = indices
        self.seconds = seconds
        self.padded = padded
        self.damaged_frames = damaged_frames
        self.views = _view_order(spec, len(indices), len(pipeline.boxes))
        self._pipeline = pipeline
        self._frames = frames
        rows = np.unique(indices, return_inverse=True)[1].reshape(indices.shape)
        self._rows = torch.from_numpy(rows).to(frames.device)

    def __len__(self) -> int:
        """How many views there are."""
        return len(self.views)

    def __getitem__(self, view: int | slice) -> torch.Tensor:
        """One view, float32 of shape (C, T, H, W); those of a slice (n, C, T, H, W)."""
        if isinstance(view, slice):
            return self._stack(range(len(self))[view])
        return self.put(view, torch.empty(self.view_shape, dtype=torch.float32, device=self.device))

    @property
    def device(self) -> torch.device:
        """Where the views are made."""
        return self._frames.device

    @property
    def view_shape(self) -> tuple[int, int, int, int]:
        """(C, T, H, W) of every view."""
        box = self._pipeline.boxes[0]
        return self._frames.shape[1], self.indices.shape[1], box.height, box.width

    def put(self, view: int, out: torch.Tensor, *, alone: bool = False) -> torch.Tensor:
        """Writes one view into ``out``, float32 of ``view_shape``, which comes back.

        Args:
            view: its number.
            out: where the views are made, or elsewhere.
            alone: in this thread alone, without torch's others; the numbers are the same.

        Raises:
            InputError: ``out`` has another shape.
        """
        if out.shape != self.view_shape:
            raise InputError(
                f"out has the shape {tuple(out.shape)}; accepted: {self.view_shape}, that of a view."
            )
        if out.device != self.device:
            return out.copy_(self[view])
        clip, crop = self.views[view]
        return self._pipeline.view(self._frames, crop, self._rows[clip], out, alone=alone)

    def batches(self, size: int) -> Iterator[torch.Tensor]:
        """The views in order, float32 of shape (n, C, T, H, W), n at most ``size``, made one by one.

        Raises:
            InputError: a size below 1.
        """
        if not is_count(size):
            raise InputError(f"A batch has {size!r} views; accepted: an integer of at least 1.")
        views = range(len(self))
        return (self._stack(views[first : first + size]) for first in range(0, len(self), size))

    def tensor(self) -> torch.Tensor:
        """All views at once, float32 of shape (views, C, T, H, W)."""
        return self._stack(range(len(self)))

    def pixels(self) -> torch.Tensor | None:
        """All views before they are normalized, uint8 of shape (views, T, H, W, C), a quarter of the bytes.

        None where the publisher resizes floats, so that there are no such bytes.
        """
        if self._frames.dtype != torch.uint8:
            return None
        cuts = [self._pipeline.cut(self._frames, crop, self._rows[clip]) for clip, crop in self.views]
        return torch.stack(cuts).permute(0, 2, 3, 4, 1).contiguous()

    def _stack(self, views: range) -> torch.Tensor:
        batch = torch.empty((len(views), *self.view_shape), dtype=torch.float32, device=self.device)
        for index, view in enumerate(views):
            self.put(view, batch[index])
        return batch

    def __repr__(self) -> str:
        clips, crops = len(self.indices), len(self._pipeline.boxes)
        shape = "x".join(map(str, self.view_shape))
        padded = ", padded" if self.padded else ""
        return (
            f"Clips('{self.source}', {counted(clips, 'clip')} x {counted(crops, 'crop')} of {shape}{padded})"
        )


def _read(video: Video, spec: ClipSpec, views: Views, device: torch.device | None) -> Clips:
    return with_true_count(lambda: _decode(video, spec, views, device))


def _decode(video: Video, spec: ClipSpec, views: Views, device: torch.device | None) -> Clips:
    plan, pipeline = plan_clips(video, spec, views), pipeline_for(video, spec, views, device)
    wanted = np.unique(plan.indices).tolist()
    frames = pipeline.prepare_all((frame for _, frame in video.iter_frames(wanted)), len(wanted))
    return Clips(spec, video.name, *plan, pipeline, frames, video.damaged_frames)


class ClipPlan(NamedTuple):
    """Which frames of a video its clips take; the fields are those of ``Clips``."""

    indices: Indices
    seconds: tuple[tuple[float, float], ...] | None
    padded: bool


def plan_clips(video: Video, spec: ClipSpec, views: Views) -> ClipPlan:
    """Where the clips of a video lie, before anything is decoded for them.

    Raises:
        InputError: as ``read_clips``.
    """
    clips, _ = view_counts(spec, views)
    count = video.num_frames
    fps = None if spec.time_base == "frames" else video.fps
    stamps = video.stamps() if spec.time_base == "seconds" else None
    if views == "quick":
        indices = center_indices(spec, count, fps, stamps=stamps)
    else:
        indices = clip_indices(spec, count, fps, clips, stamps=stamps)
    seconds = None
    if video.info.fps is not None:
        seconds = tuple((video.seconds_of(row.min()), video.seconds_of(row.max() + 1)) for row in indices)
    return ClipPlan(indices, seconds, count < clip_span(spec, fps))


def pipeline_for(
    video: Video, spec: ClipSpec, views: Views, device: torch.device | None = None
) -> FramePipeline:
    """What prepares the frames of a video, and cuts its views out of them; ``device`` as for ``read_clips``.

    Raises:
        InputError: a spec of other channels than red, green and blue.
    """
    if len(spec.mean) != 3:
        raise InputError(f"Videos have 3 channels (RGB); this spec normalizes {len(spec.mean)} of them.")
    _, crops = view_counts(spec, views)
    return FramePipeline(spec, video.height, video.width, crop=spec.test_crop, crops=crops, device=device)


def _view_order(spec: ClipSpec, clips: int, crops: int) -> tuple[tuple[int, int], ...]:
    """(clip, crop) of each view.

    Source: ``FormatShape`` of MMAction2 (all clips of the first crop come first); the test
    loaders of PySlowFast (all crops of the first clip).
    """
    if spec.view_order == "crop-major":
        return tuple((clip, crop) for crop in range(crops) for clip in range(clips))
    return tuple((clip, crop) for clip in range(clips) for crop in range(crops))
