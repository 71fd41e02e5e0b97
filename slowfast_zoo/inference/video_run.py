"""The answer about a whole video in the making, window by window: timelines and detections."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Generator, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from slowfast_zoo.inference.runner import BatchRunner, Job, answered, read_ahead
from slowfast_zoo.runtime.progress import Progress
from slowfast_zoo.video.decoding.reader import open_video
from slowfast_zoo.video.sources.names import display_name
from slowfast_zoo.video.windows import Window, WindowReader

if TYPE_CHECKING:
    from slowfast_zoo.video.decoding.reader import Source

WINDOWS_AHEAD = 4
"""Windows that are read before the network asks for them, beside those of a batch."""

Answer = TypeVar("Answer")


@dataclasses.dataclass
class WindowJob(Job):
    """A window's clips on their way through the network."""

    window: Window = dataclasses.field(kw_only=True)


AnyWindowJob = TypeVar("AnyWindowJob", bound=WindowJob)


def window_jobs(name: str, reader: WindowReader) -> Generator[WindowJob, None, None]:
    """The windows of the video of that name, as they are read."""
    for window, clips in reader:
        yield WindowJob(name, clips, window=window)


class VideoRun(abc.ABC, Generic[AnyWindowJob, Answer]):
    """An answer in the making: iterate over it in a ``with`` statement, then ask for the ``answer`` so far.

    Args:
        source: one video.
        fps: as for ``predict``.

    Attributes:
        name: of the video.

    Raises:
        InputError, VideoError: a source that can't be read.
    """

    unit = "window"
    """What is answered one by one."""
    _reader: WindowReader | None = None
    _runner: BatchRunner
    _ahead = WINDOWS_AHEAD
    """0: each is read when the network asks for it, and in the caller's thread."""

    def __init__(self, source: Source, fps: float | Fraction | None) -> None:
        self.name = display_name(source)
        self._video = open_video(source, fps=fps)
        self._answers: dict[int, Any] = {}
        self._answering = self._answer()
        try:
            self._promised = self._video.seconds_of(self._video.num_frames)
            self._plan_windows()
        except BaseException:
            self._video.close()
            raise

    @property
    def total(self) -> int:
        """Windows in all; decoding may correct it."""
        return len(self._reader.windows) if self._reader else 0

    @property
    def _duration(self) -> float:
        """When the last frame ends, in a player's seconds; decoding may correct it."""
        return self._reader.end_seconds if self._reader else self._promised

    @property
    def answered(self) -> int:
        """Windows that have an answer."""
        return len(self._answers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._answering.close()  # the thread that reads lets go of the video first
        self._video.close()

    def __iter__(self) -> Iterator[Window]:
        """The windows, as they are answered; for one loop.

        Raises:
            VideoError: the video can't be decoded.
            InputError: boxes that are none, or answers that are no numbers.
        """
        return self._answering

    def finish(self, title: str, *, show: bool = True) -> Answer:
        """The whole answer; windows are counted under the title where progress is shown.

        Raises:
            VideoError, InputError: as iterating.
        """
        with Progress(title, self.total, unit=self.unit, show=show) as bar:
            for _ in self:
                bar.step()
        return self.answer()

    @abc.abstractmethod
    def answer(self) -> Answer:
        """What has been answered so far."""

    @abc.abstractmethod
    def _plan_windows(self) -> None:
        """Sets the reader, where there are windows at all, and the runner."""

    @abc.abstractmethod
    def _jobs(self, reader: WindowReader) -> Generator[AnyWindowJob, None, None]:
        """What the network gets."""

    @abc.abstractmethod
    def _of(self, job: AnyWindowJob) -> Any:
        """What is kept of a window that has its logits."""

    def _answer(self) -> Generator[Window, None, None]:
        if self._reader is None:
            return
        jobs = self._jobs(self._reader)
        with contextlib.closing(read_ahead(jobs, self._ahead) if self._ahead else jobs) as coming:
            for job in answered(self._runner, coming, keep_errors=False):
                self._answers[job.window.number] = self._of(job)
                yield job.window
