"""Annotated clips: what one is and how it is read, and a dataset of them with its classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slowfast_zoo.errors import InputError, VideoError
from slowfast_zoo.video.decoding.part import VideoPart
from slowfast_zoo.video.decoding.reader import open_video
from slowfast_zoo.video.decoding.sources import VIDEO_SUFFIXES
from slowfast_zoo.video.decoding.video import Frame, Video

CLIP_SUFFIXES = VIDEO_SUFFIXES | {".npy"}
"""Endings of what is one clip: videos, and frames stored by ``cache``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One clip: a video, a folder of frames, or a part of one."""

    path: Path
    """Video, folder of frames, or .npy file of frames."""
    labels: tuple[int, ...] = ()
    """Its classes; exactly one unless the dataset is multi-label."""
    written: tuple[str, ...] = ()
    """Names or numbers as a list has them, until they have become ``labels``."""
    where: str = dataclasses.field(default="", compare=False)
    """"file:line", for messages."""
    start_seconds: float | None = None
    """Where the part begins; None: with the video."""
    end_seconds: float | None = None
    """Where it ends; None: with the video."""
    first_frame: int = 0
    """Frames to leave out at the beginning."""
    num_frames: int | None = None
    """Frames from there that belong to it; None: all."""
    fps: float | None = None
    """Frames per second, where the list says so."""
    frame_pattern: str | None = None
    """Which pictures of a folder are its frames, such as "img_{:05}.jpg"; None: all."""
    columns: tuple[tuple[str, str], ...] = ()
    """What else a table says of it: (column, text)."""

    @property
    def name(self) -> str:
        """Path, and the part if it isn't the whole."""
        if self.start_seconds is not None or self.end_seconds is not None:
            end = "end" if self.end_seconds is None else f"{self.end_seconds:g}"
            return f"{self.path} [{self.start_seconds or 0:g}-{end} s]"
        if self.first_frame:
            return f"{self.path} [from frame {self.first_frame}]"
        return str(self.path)

    @property
    def part(self) -> tuple[int, int | None, float | None, float | None]:
        """First frame, frames, start and end in seconds."""
        return self.first_frame, self.num_frames, self.start_seconds, self.end_seconds

    def open(self) -> Video:
        """Its frames, to be used in a ``with`` statement.

        Raises:
            VideoError: it can't be opened, or has no frames in its part.
            InputError: a part in seconds of frames whose rate nothing says.
        """
        stored = self.path.suffix.lower() == ".npy"
        if stored:
            video = open_video(_stored_frames(self.path), fps=self.fps)
            video.name = str(self.path)
        else:
            pattern = self.frame_pattern if self.path.is_dir() else None
            video = open_video(self.path / pattern if pattern else self.path, fps=self.fps)
        if self.part == (0, None, None, None):
            return video
        first, count, start, end = self.part
        try:
            return VideoPart(
                video, self.name, first_frame=first, num_frames=count, start_seconds=start, end_seconds=end
            )
        except (VideoError, InputError):
            video.close()
            raise


def _stored_frames(path: Path) -> Frame:
    try:
        frames = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise VideoError(f"'{path}' can't be read as stored frames: {error}.") from error
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise VideoError(f"'{path}' holds {frames.dtype} {frames.shape}; accepted: uint8 (T, H, W, 3).")
    return frames  # type: ignore[no-any-return]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Annotations:
    """The clips of a dataset and what their classes are called."""

    samples: tuple[Sample, ...]
    """In the list's order."""
    labels: tuple[str, ...] | None
    """Class names; None where the list has numbers and nobody named them."""
    multi_label: bool
    """Whether a clip may have several classes."""
    num_classes: int
    """How many classes: as named, or up to the highest number met."""

    def subset(self, indices: Sequence[int]) -> Annotations:
        """Some of the clips, with the same classes."""
        return dataclasses.replace(self, samples=tuple(self.samples[index] for index in indices))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The labels, or the numbers as text."""
        return self.labels or tuple(str(index) for index in range(self.num_classes))

    def counts(self) -> list[int]:
        """Clips per class."""
        counts = [0] * self.num_classes
        for sample in self.samples:
            for label in sample.labels:
                counts[label] += 1
        return counts

    def class_weights(self) -> list[float]:
        """Each clip's chance in a balanced draw, where each has one class: all classes equally often."""
        counts = self.counts()
        return [1 / counts[sample.labels[0]] for sample in self.samples]
