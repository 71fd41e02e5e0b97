"""Datasets of video files: what ``train``, ``evaluate`` and ``finetune`` read clips from.

data = open_dataset("clips", model.clip_spec, train=True)   # one folder per class; or a list
clip, target = data[0]      # float32 (C, T, H, W) and the class

How lists look stands in ``slowfast_zoo.data.lists``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slowfast_zoo.data import Form
from slowfast_zoo.data.lists import Annotations, Sample, read_annotations
from slowfast_zoo.data.loader import item_rng
from slowfast_zoo.errors import DataError, FrameCountError, InputError, VideoError
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.training.recipe import Recipe
from slowfast_zoo.video.clips import Views, read_clips
from slowfast_zoo.video.decoding.reader import open_video
from slowfast_zoo.video.decoding.video import Frame, Video
from slowfast_zoo.video.sampling import train_indices
from slowfast_zoo.video.transforms.transforms import train_transform

_LOGGER = logging.getLogger(__name__)

_FEWEST_TRIED = 20
"""Clips that count as tried at least, so that one bad file among the first few stops nothing."""


def open_dataset(
    source: str | Path,
    clip_spec: ClipSpec,
    *,
    train: bool = False,
    recipe: Recipe | None = None,
    views: Views = "published",
    form: Form | None = None,
    root: str | Path | None = None,
    labels: Sequence[str] | str | Path | None = None,
    separator: str | None = None,
    several: bool | None = None,
    num_classes: int | None = None,
    frame_pattern: str | None = None,
    fps: float | None = None,
    max_unreadable: float = 0.1,
) -> VideoDataset:
    """The clips of a folder or a list as a map-style dataset; videos are opened when asked for.

    Args:
        source: one folder of clips per class, or a list (see ``slowfast_zoo.data.lists``).
        clip_spec: the clip contract of the model.
        train: whether items are random, augmented clips; else they are the views of evaluation.
        recipe: train as it was published: its flipped classes and its order of resize and crop.
        views: of evaluation, as in ``read_clips``.
        form, root, labels, separator, several, num_classes: as in ``read_annotations``. Give ``labels``
            of the model, so that folders and names mean its classes.
        frame_pattern: which pictures of a folder are its frames, such as "img_{:05}.jpg"; None: all.
        fps: frames per second of folders of frames, which don't say.
        max_unreadable: part of the clips that training may find unreadable and replace.

    Raises:
        DataError: as ``read_annotations``.
    """
    if num_classes is None and recipe is not None and labels is None:
        num_classes = recipe.model_spec.num_classes
    annotations = read_annotations(
        source,
        form=form,
        root=root,
        labels=labels,
        separator=separator,
        several=several,
        num_classes=num_classes,
    )
    if recipe is not None and not recipe.resize_first:
        clip_spec = clip_spec.replace(augmentation="random-resized-crop-of-source")
    return VideoDataset(
        annotations,
        clip_spec,
        train=train or recipe is not None,
        views=views,
        flip_pairs=() if recipe is None else recipe.flip_pairs,
        frame_pattern=frame_pattern,
        fps=fps,
        max_unreadable=max_unreadable,
    )


class VideoDataset(torch.utils.data.Dataset[Any]):
    """Clips of annotated videos, as ``slowfast_zoo.data.loader`` describes datasets; can be pickled.

    For training an item is float32 (C, T, crop, crop), placed and augmented by chance as the publisher
    does. A video that can't be read is replaced by one drawn with the item's own chance, so that every run
    replaces alike. For evaluation an item has an axis of views in front, uint8 (views, T, H, W, C) where
    the publisher resizes bytes, and an unreadable video raises.

    Attributes:
        annotations: the clips and their classes.
        labels: class names, or None.
        unreadable: what training had to replace in this process: index and reason.
    """

    def __init__(
        self,
        annotations: Annotations,
        clip_spec: ClipSpec,
        *,
        train: bool,
        views: Views = "published",
        flip_pairs: Sequence[tuple[int, int]] = (),
        frame_pattern: str | None = None,
        fps: float | None = None,
        max_unreadable: float = 0.1,
    ) -> None:
        """
        Args:
            annotations: what ``read_annotations`` returned.
            flip_pairs: classes that a horizontal flip exchanges.
            clip_spec, train, views, frame_pattern, fps, max_unreadable: as in ``open_dataset``.

        Raises:
            InputError: a ``max_unreadable`` that is no part, or flipped classes with several labels.
        """
        if not 0 <= max_unreadable <= 1:
            raise InputError(f"max_unreadable is {max_unreadable!r}; accepted: a part of the clips, 0 to 1.")
        if flip_pairs and annotations.several:
            raise InputError("Classes that a flip exchanges need one label per clip.")
        self.annotations, self.labels = annotations, annotations.labels
        self.clip_spec, self.train, self.views = clip_spec, train, views
        self.frame_pattern, self.fps, self.max_unreadable = frame_pattern, fps, max_unreadable
        pairs = dict(flip_pairs) | {right: left for left, right in flip_pairs}
        self._transform = train_transform(clip_spec, flip_labels=pairs) if train else None
        self._tried: set[int] = set()
        self.unreadable: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.annotations.samples)

    def name_of(self, index: int) -> str:
        """Path of the clip, and the part if it isn't the whole."""
        return self.annotations.samples[index].name

    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor]:
        """The clip and its class, or its classes as zeros and ones.

        Raises:
            VideoError: evaluation can't read it.
            DataError: training found more than ``max_unreadable`` of the clips that it tried unreadable.
        """
        return self._training_item(index) if self.train else self._evaluation_item(index)

    def _evaluation_item(self, index: int) -> tuple[Tensor, int | Tensor]:
        sample = self.annotations.samples[index]
        with self.open(index) as video:
            clips = read_clips(video, self.clip_spec, views=self.views)
            pixels = clips.pixels()
            return clips.tensor() if pixels is None else pixels, self._target(sample)

    def _training_item(self, index: int) -> tuple[Tensor, int | Tensor]:
        rng = item_rng()
        while True:
            if index not in self.unreadable:
                self._tried.add(index)
                try:
                    return self._augmented(index, rng)
                except VideoError as error:
                    self.unreadable[index] = str(error)
                    bad, tried = len(self.unreadable), len(self._tried)
                    _LOGGER.warning("Replaced by another clip (%d of %d so far): %s", bad, tried, error)
            self._check_unreadable()
            index = int(rng.integers(len(self)))

    def _check_unreadable(self) -> None:
        bad, tried = len(self.unreadable), len(self._tried)
        if bad > self.max_unreadable * max(tried, _FEWEST_TRIED) or bad == len(self):
            raise DataError(
                f"{bad} of {tried} clips can't be read, more than max_unreadable={self.max_unreadable:g}; the"
                f" last: {list(self.unreadable.values())[-1]} 'slowfast-zoo check' names all of them."
            )

    def _augmented(self, index: int, rng: np.random.Generator) -> tuple[Tensor, int | Tensor]:
        sample = self.annotations.samples[index]
        transform = self._transform
        if transform is None:
            raise InputError("This dataset was opened for evaluation.")
        with self.open(index) as video:
            try:
                frames = self._drawn(video, rng)
            except FrameCountError:
                # Decoding has just shown how many frames there are.
                frames = self._drawn(video, rng)
        if transform.flip_labels:
            return transform.with_label(frames, sample.labels[0])
        return transform(frames), self._target(sample)

    def _drawn(self, video: Video, rng: np.random.Generator) -> Frame:
        fps = None if self.clip_spec.time_base == "frames" else video.fps
        return video.frames(train_indices(self.clip_spec, video.num_frames, fps, rng=rng)[0])

    def _target(self, sample: Sample) -> int | Tensor:
        if not self.annotations.several:
            return sample.labels[0]
        target = torch.zeros(self.annotations.num_classes)
        target[list(sample.labels)] = 1
        return target

    def open(self, index: int) -> Video:
        """The clip's frames, to be used in a ``with`` statement.

        Raises:
            VideoError: it can't be opened, or has no frames in its part.
        """
        return open_sample(self.annotations.samples[index], self.frame_pattern, self.fps)


def open_sample(sample: Sample, frame_pattern: str | None = None, fps: float | None = None) -> Video:
    """The frames of one sample, to be used in a ``with`` statement.

    Args:
        sample: what to open.
        frame_pattern: which pictures of a folder are its frames; None: all.
        fps: frames per second where neither list nor file says it.

    Raises:
        VideoError: it can't be opened, or has no frames in its part.
    """
    path, known = sample.path, sample.fps
    if path.suffix.lower() == ".npy":
        video = open_video(_stored(path), fps=known or fps)
        video.name = str(path)
    elif path.is_dir():
        video = open_video(path / frame_pattern if frame_pattern else path, fps=known or fps)
    else:
        video = open_video(path, fps=known)
    if sample == Sample(path=path, labels=sample.labels, fps=known, columns=sample.columns):
        return video
    try:
        return _Part(video, sample)
    except (VideoError, InputError):
        video.close()
        raise


def _stored(path: Path) -> Frame:
    try:
        frames = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise VideoError(f"'{path}' can't be read as stored frames: {error}.") from error
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise VideoError(f"'{path}' holds {frames.dtype} {frames.shape}; accepted: uint8 (T, H, W, 3).")
    return frames  # type: ignore[no-any-return]


class _Part(Video):
    """Consecutive frames of a video, numbered from 0."""

    def __init__(self, whole: Video, sample: Sample) -> None:
        super().__init__(sample.name, None)
        self._whole, self._sample = whole, sample
        self.width, self.height, self.codec = whole.width, whole.height, whole.codec
        if not self._span():
            seconds = whole.info.duration_seconds
            long = f"{whole.num_frames} frames" + ("" if seconds is None else f" ({seconds:.3g} s)")
            raise VideoError(f"'{sample.name}' has no frames: the video has {long}.")

    def _span(self) -> range:
        """Numbers of the frames in the whole video; asked anew, as decoding may correct their count."""
        sample, count = self._sample, self._whole.num_frames
        first, end = sample.first_frame, count
        if sample.num_frames is not None:
            end = first + sample.num_frames
        if sample.start_seconds is not None:
            first += round(Fraction(sample.start_seconds) * self._whole.fps)
        if sample.end_seconds is not None:
            last = sample.first_frame + round(Fraction(sample.end_seconds) * self._whole.fps)
            end = min(end, max(last, first + 1))
        return range(first, min(end, count))

    @property
    def num_frames(self) -> int:
        return len(self._span())

    @property
    def corrupt_frames(self) -> int:
        return self._whole.corrupt_frames

    def _own_fps(self) -> Fraction | None:
        return self._whole.info.fps

    def _read(self, wanted: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        first = self._span().start
        for index, frame in self._whole.iter_frames([first + index for index in wanted]):
            yield index - first, frame

    def _stream(self) -> Iterator[tuple[int, float, Frame]]:
        fps = self.fps
        for index, frame in self._read(range(self.num_frames)):
            yield index, float(index / fps), frame

    def close(self) -> None:
        super().close()
        self._whole.close()


def class_weights(annotations: Annotations) -> list[float]:
    """Each clip's chance in a balanced draw: every class as often as any other.

    Args:
        annotations: clips of one class each.
    """
    counts: Mapping[int, int] = dict(enumerate(annotations.counts()))
    return [1 / counts[sample.labels[0]] for sample in annotations.samples]
