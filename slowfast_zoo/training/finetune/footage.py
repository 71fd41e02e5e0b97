"""What the clips of a fine-tuning have in common, and the clip of the network that fits them."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from slowfast_zoo.data.annotations import Annotations, Sample
from slowfast_zoo.errors import InputError, VideoError, counted
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.video.clips import Views, view_counts

_LOGGER = logging.getLogger(__name__)

_MOST_CLIPS, _MOST_PICTURES, _LOOK_SECONDS = 40, 48, 2.5
_GRID = 32
"""Cells along each axis that a picture is reduced to: noise of the camera averages out."""
_DEPTH_OF_LARGE = 50
"""Networks of this depth were published for Kinetics; smaller ones are one's own."""
SMALL_FRAMES = 16
"""Frames of a small network's clips: more of them see faster motion for the same time."""
_NEAR = 1.25
"""Times that a small network's clip may be shorter or longer than the one its weights were trained with."""
_FITS, _MOST_CLIPS_IN_TIME = 1.25, 10
"""Spans of a clip that one clip covers well enough, and as many as published tests look at."""
_SPREAD = "pyslowfast-segments"
"""The rule whose clips cover the whole video, so that all of them are equal."""
_USUAL_FPS = 30.0
"""Of the videos that published networks were trained on; their strides count frames."""


@dataclasses.dataclass(frozen=True)
class Footage:
    """What was seen of the clips; frames are those of the files, or of files of the median rate."""

    frames: int
    """Length that three of four clips have."""
    longest: int
    """Length that one of ten clips has."""
    fps: float | None
    """Median rate; None where nothing says it."""
    pace: float
    """Frames in which half of what changes at all has changed."""

    @classmethod
    def of(cls, annotations: Annotations, *, in_time: bool = True) -> Footage | None:
        """Looks at some clips, evenly over the list; None if none of them can be read.

        Args:
            annotations: the clips.
            in_time: whether the network's clip counts time: then files of other rates than the median one
                count as if they had that.
        """
        samples = annotations.samples
        chosen = np.unique(np.linspace(0, len(samples) - 1, _MOST_CLIPS).round().astype(int))
        looks = [look for index in chosen if (look := _look(samples[index])) is not None]
        if not looks:
            return None
        rates = [rate for _, rate, _ in looks]
        fps = None if None in rates else float(np.median(np.array(rates, np.float64)))
        scale = [fps / rate if fps and rate and in_time else 1.0 for rate in rates]
        frames = [count * factor for (count, _, _), factor in zip(looks, scale, strict=True)]
        paces = [pace * factor for (_, _, pace), factor in zip(looks, scale, strict=True)]
        return cls(
            int(np.percentile(frames, 25, method="lower")),
            int(np.percentile(frames, 90, method="higher")),
            fps,
            float(np.median(paces)),
        )


def _look(sample: Sample) -> tuple[int, float | None, float] | None:
    """Frames, rate and pace of one clip."""
    try:
        with sample.open() as video:
            count, rate = video.num_frames, None if video.info.fps is None else float(video.info.fps)
            step = max(round((rate or _USUAL_FPS) / _USUAL_FPS), 1)
            wanted = min(round(_LOOK_SECONDS * (rate or _USUAL_FPS)), count) // step
            wanted = max(min(wanted, _MOST_PICTURES), 1)
            first = (count - (wanted - 1) * step) // 2
            places = [max(first, 0) + step * place for place in range(wanted)]
            return count, rate, pace_of(picture for _, picture in video.iter_frames(places)) * step
    except (VideoError, InputError) as error:
        _LOGGER.debug("Not looked at: %s", error)
        return None


def pace_of(pictures: Iterable[npt.NDArray[np.uint8]]) -> float:
    """Pictures in which half of what changes in the clip has changed.

    Args:
        pictures: T times (H, W, 3).
    """
    cells = np.stack([_reduced(picture) for picture in pictures])
    lags = range(1, max(len(cells) // 2, 1) + 1)
    changes = [float(np.abs(cells[lag:] - cells[:-lag]).mean()) if lag < len(cells) else 0.0 for lag in lags]
    half = max(changes) / 2
    for lag, change in zip(lags, changes, strict=True):
        if change >= half:
            before = changes[lag - 2] if lag > 1 else 0.0
            return lag - (change - half) / max(change - before, 1e-9)
    return 1.0


def _reduced(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    gray = picture.mean(axis=2)
    for axis in (0, 1):
        cells = min(_GRID, gray.shape[axis])
        edges = np.linspace(0, gray.shape[axis], cells, endpoint=False).astype(int)
        counts = np.diff([*edges, gray.shape[axis]])
        gray = np.add.reduceat(gray, edges, axis=axis) / np.expand_dims(counts, 1 - axis)
    return np.asarray(gray)


def is_small(spec: ModelSpec) -> bool:
    """Whether the network is a small one, which saw no Kinetics."""
    return min(spec.depth, spec.fast_depth or spec.depth) < _DEPTH_OF_LARGE


def fit_clip(
    model: SlowFast, footage: Footage | None, *, keep_clip: bool, views: Views | None
) -> tuple[Views, list[str]]:
    """Gives the model the clip that fits the footage; the views of scores, and what to tell about it."""
    if footage is None:
        return views or "quick", []
    notes: list[str] = [_pictures(model.clip_spec)]
    if not keep_clip:
        model.clip_spec, told = fitting_clip(model.clip_spec, model.spec, footage)
        notes = [*told, *notes]
        model.spec = model.spec.replace(num_frames=model.clip_spec.num_frames)
    # "quick" is scored as the model keeps it, 1 x 1, which by some rules is another clip.
    clips, crops = views = view_counts(model.clip_spec, views or fitting_views(model.clip_spec, footage))
    if clips * crops > 1:
        notes.append(
            f"Scores look at {clips}x{crops} views of each video, as predict does with the views 'published'."
        )
    model.clip_spec = model.clip_spec.replace(clips=clips, crops=crops)
    return views, notes


def _pictures(spec: ClipSpec) -> str:
    trained = f"{spec.crop}x{spec.crop}"
    scored = "whole ones" if spec.crop_rule == "whole" else f"{spec.test_crop}x{spec.test_crop}"
    both = trained if scored == trained else f"{trained} to train with and {scored} to score"
    return f"Pictures of {both}, as the network's own clip has them."


def fitting_clip(spec: ClipSpec, model: ModelSpec, footage: Footage) -> tuple[ClipSpec, list[str]]:
    """The clip for such footage, and what there is to say about it.

    Small networks: 16 frames, about as long as the clips that the weights were trained with; within a quarter
    of that, as many a second as what moves needs: in between half of what changes at all has changed. A hand
    that trembles makes everything fast, so that alone doesn't decide (gestures of
    benchmarks/accuracy/made_sets.py). Published ones keep their clip, which their kernels were trained for,
    at their rate in seconds, as PySlowFast's configurations for AVA keep that of Kinetics. Neither is longer
    than three of four clips, as far as there are frames for it. Without a rate both count frames; those of a
    small network's clip then last as long as said above if there are 30 a second.

    Source: https://github.com/facebookresearch/SlowFast/tree/main/configs/AVA.
    """
    notes = []
    seconds = spec.span_frames / spec.fps if spec.fps else None
    if spec.time_base != "frames" and footage.fps is None:
        spec = spec.replace(time_base="frames", fps=None)
        notes.append("Nothing says the frame rate of the clips (--fps), so the network's clip counts frames.")
    if spec.sampling == _SPREAD:
        note = f"Clips of {spec.num_frames} frames, spread over the whole video: as published."
    elif is_small(model):
        spec, note = _for_small(spec, model, footage, seconds)
    else:
        spec, note = _for_published(spec, footage)
    notes.append(note)
    if footage.frames < spec.num_frames:
        notes.append(
            f"Three of four clips have {counted(footage.frames, 'frame')} or more, which is less than the"
            f" {spec.num_frames} of the network's clip: what is missing is filled in ({spec.short_video})."
        )
    return spec, notes


def fitting_views(spec: ClipSpec, footage: Footage) -> Views:
    """As many clips in time as cover most videos, side by side: 1 where they fit into one, else 3 to 10."""
    if spec.sampling == _SPREAD:
        return 1, 1
    spans = footage.longest / (spec.span_frames * _at_rate(spec, footage))
    clips = 1 if spans <= _FITS else min(max(math.ceil(spans), 3), _MOST_CLIPS_IN_TIME)
    return clips, 1


def _at_rate(spec: ClipSpec, footage: Footage) -> float:
    """How many frames of a file pass for each frame of a clip with stride 1."""
    return 1.0 if spec.fps is None or footage.fps is None else footage.fps / spec.fps


def _for_small(
    spec: ClipSpec, model: ModelSpec, footage: Footage, seconds: float | None
) -> tuple[ClipSpec, str]:
    """Its clip, and why; ``seconds``: of the clips that the weights were trained with, where it is known."""
    alpha = model.alpha
    frames = max(min(SMALL_FRAMES, footage.frames) // alpha * alpha, 2 * alpha)
    if spec.time_base == "frames" or footage.fps is None:
        near, why = footage.pace, f"half of what changes at all has changed within {footage.pace:.1f} of them"
        if seconds is not None:
            usual = seconds * _USUAL_FPS / frames
            near = min(max(near, usual / _NEAR), usual * _NEAR)
        if near != footage.pace:
            why += (
                f", and the weights were trained with clips of {seconds:.1f} s, taken as 30 frames a second"
            )
        stride = max(round(near), 1)
        if stride > (longest := max(footage.frames // frames, 1)):
            stride, why = longest, f"three of four clips have {counted(footage.frames, 'frame')} or more"
        spec = spec.replace(num_frames=frames, frame_stride=stride)
        return spec, f"Clips of {frames} frames, {_every(stride)}: {why}."
    wanted = footage.fps / max(footage.pace, 0.1)
    usual = frames * (spec.fps or footage.fps) / spec.span_frames
    fitting = frames * footage.fps / max(footage.frames, 1)
    near = min(max(wanted, usual / _NEAR), usual * _NEAR)
    rate = _rounded(min(max(near, fitting), footage.fps))
    why = f"half of what changes at all has changed within {footage.pace / footage.fps:.2f} s"
    if near != wanted:
        why += f", and the weights were trained with clips of {frames / usual:.1f} s"
    if fitting > near:
        why = f"three of four clips last {footage.frames / footage.fps:.1f} s or longer"
    return (
        spec.replace(num_frames=frames, frame_stride=1, fps=rate),
        f"Clips of {frames} frames, {rate:g} a second: {why}.",
    )


def _for_published(spec: ClipSpec, footage: Footage) -> tuple[ClipSpec, str]:
    stride, why = spec.frame_stride, "as published"
    if spec.time_base == "frames" and footage.fps is not None:
        stride = max(round(spec.frame_stride * footage.fps / _USUAL_FPS), 1)
        if stride != spec.frame_stride:
            why += f" for {_USUAL_FPS:g} frames a second, and these have {footage.fps:g}"
    at_rate = _at_rate(spec, footage)
    longest = max(int(footage.frames / at_rate) // spec.num_frames, 1)
    if stride > longest:
        stride, why = longest, f"three of four clips have {footage.frames} frames or more"
    if spec.fps and footage.fps and at_rate > 1 and at_rate * spec.num_frames > footage.frames:
        # A stride of 1 is too long as well.
        rate = _rounded(min(spec.num_frames * footage.fps / max(footage.frames, 1), footage.fps))
        why = f"three of four clips last {footage.frames / footage.fps:.1f} s or longer"
        told = f"Clips of {spec.num_frames} frames, {rate:g} a second: {why}."
        return spec.replace(frame_stride=1, fps=rate), told
    return spec.replace(frame_stride=stride), f"Clips of {spec.num_frames} frames, {_every(stride)}: {why}."


def _rounded(rate: float) -> float:
    """Frames a second in a few digits, within what a clip spec takes."""
    return min(max(round(rate, 2) if rate >= 1 else float(f"{rate:.2g}"), 0.001), 1000.0)


def _every(stride: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(stride % 10 if stride // 10 % 10 != 1 else 0, "th")
    return "each of the files'" if stride == 1 else f"every {stride}{ending} of the files'"
