"""What happens when in a video: a probability per window and class, and segments with begin and end.

    answer = timeline(model, "film.mp4", hop_seconds=0.5)
    answer.segments     # (Segment(start_seconds=0.0, end_seconds=3.2, label="pan left", score=0.97), ...)
    answer.save("film.srt")

The video is read once, in constant memory; while the network works, the next windows are read.
"""

from __future__ import annotations

import functools
from collections.abc import Generator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import torch

from slowfast_zoo.errors import InputError
from slowfast_zoo.inference.engines import EngineName
from slowfast_zoo.inference.engines.optimize import OptimizedModel
from slowfast_zoo.inference.inputs import check_clips, check_single
from slowfast_zoo.inference.runner import BatchRunner, check_predictable, frames_on
from slowfast_zoo.inference.segment_files import Timeline
from slowfast_zoo.inference.segments import SegmentRules, Windows, find_segments
from slowfast_zoo.inference.video_run import VideoRun, WindowJob, window_jobs
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.runtime.precision import Precision
from slowfast_zoo.spec import LastWindow, class_names
from slowfast_zoo.video.clips import Views, view_counts
from slowfast_zoo.video.windows import Grid, Window, WindowReader

if TYPE_CHECKING:
    from slowfast_zoo.video.decoding.reader import Source


def timeline(
    model: SlowFast | OptimizedModel,
    source: Source,
    *,
    hop_seconds: float = 1.0,
    window_seconds: float | None = None,
    views: Views = "quick",
    smoothing_seconds: float = 0.0,
    enter: float = 0.5,
    leave: float | None = None,
    min_seconds: float = 0.0,
    max_gap_seconds: float = 0.0,
    labels: Sequence[str] | None = None,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    last: LastWindow = "move_back",
    fps: float | Fraction | None = None,
    device: str | torch.device | None = None,
    engine: EngineName = "auto",
    precision: Precision = "float32",
    batch_size: int | None = None,
    progress: bool = True,
) -> Timeline:
    """What happens when in a video of any length, read once in constant memory.

    The answer for a window is what ``predict`` says of that part of the video. Seconds are a player's: by
    time stamps where those are sound, else by the frame rate.

    Args:
        model: as for ``predict``.
        source: one video, as for ``predict``.
        hop_seconds: from one window's begin to the next one's.
        window_seconds: how long a window is; None: as long as one clip of the model's clip spec.
        views: of each window, as for ``predict``; more than one clip needs ``window_seconds``.
        smoothing_seconds: probabilities are averaged over windows within this time before segments are found.
        enter: probability at which a segment begins.
        leave: probability below which it ends; None: seven tenths of ``enter``.
        min_seconds: shorter segments are left out.
        max_gap_seconds: segments of a class that are no farther apart become one.
        labels: classes whose segments are wanted; None: all.
        start_seconds: begin of the part that is looked at; None: of the video.
        end_seconds: end of the part; None: of the video.
        last: what becomes of the window that reaches beyond the end: "move_back" ends it there, "pad" fills
            it as the clip spec fills short videos, "drop" leaves it out.
        fps: as for ``predict``.
        device: as for ``predict``.
        engine: as for ``predict``.
        precision: as for ``predict``.
        batch_size: as for ``predict_many``; views of several windows share a batch.
        progress: show a bar on a terminal and in notebooks, else a line every 30 seconds.

    Raises:
        InputError: an argument or source that is not accepted.
        UnknownNameError: the model has no class of a name in ``labels``.
        VideoError: the video can't be read.
    """
    check_single(source, "call timeline for each of many.")
    rules = SegmentRules(
        smoothing_seconds=smoothing_seconds,
        enter=enter,
        leave=leave,
        min_seconds=min_seconds,
        max_gap_seconds=max_gap_seconds,
        labels=labels,
    )
    grid = Grid(
        hop_seconds=hop_seconds,
        window_seconds=window_seconds,
        start_seconds=start_seconds,
        end_seconds=end_seconds,
        last=last,
    )
    maker = TimelineMaker(
        model,
        grid,
        rules,
        views=views,
        fps=fps,
        device=device,
        engine=engine,
        precision=precision,
        batch_size=batch_size,
    )
    with maker.begin(source) as run:
        return run.finish("timeline", show=progress)


class TimelineMaker:
    """A model with everything that was decided about timelines; for any number of videos.

    Args:
        model: as for ``timeline``, as all others but these:
        grid: where windows lie.
        rules: when segments begin and end.

    Raises:
        InputError, UnknownNameError: an argument that is not accepted.
    """

    def __init__(
        self,
        model: SlowFast | OptimizedModel,
        grid: Grid,
        rules: SegmentRules,
        *,
        views: Views = "quick",
        fps: float | Fraction | None = None,
        device: str | torch.device | None = None,
        engine: EngineName = "auto",
        precision: Precision = "float32",
        batch_size: int | None = None,
    ) -> None:
        check_predictable(model)
        clips, _ = view_counts(model.clip_spec, views)
        check_clips(clips, grid.window_seconds)
        self.grid, self.rules, self.views, self.batch_size = grid, rules, views, batch_size
        # What the model's owner does to it later reaches no answer of this object.
        self.spec, self.clip_spec = model.spec, model.clip_spec
        self.labels = class_names(model.labels, model.spec.num_classes)
        rules.indices(self.labels)
        self._fps = fps
        self.frames_on = frames_on(model, device)
        self._new_runner = functools.partial(
            BatchRunner, model, engine, precision, device, batch_size=batch_size
        )
        self._runner: BatchRunner | None = None

    def begin(self, source: Source, *, alone: bool = True) -> TimelineRun:
        """A timeline in the making, to be used in a ``with`` statement.

        Args:
            source: one video.
            alone: whether no other will follow, which decides what engine "auto" is.

        Raises:
            InputError, VideoError: as ``timeline``.
        """
        return TimelineRun(self, source, self._fps, alone)

    def runner(self, views: int | None) -> BatchRunner:
        """The network; how many views will come decides about the engine, when the first ones come."""
        if self._runner is None:
            self._runner = self._new_runner(clips=views)
        return self._runner


class TimelineRun(VideoRun[WindowJob, Timeline]):
    """A timeline in the making."""

    _reader: WindowReader

    def __init__(
        self, maker: TimelineMaker, source: Source, fps: float | Fraction | None, alone: bool
    ) -> None:
        self._maker, self._alone = maker, alone
        super().__init__(source, fps)

    def answer(self) -> Timeline:
        """What has been answered so far.

        Raises:
            InputError: nothing has.
        """
        planned = self._reader.windows
        answers = [self._answers[window.number] for window in planned if window.number in self._answers]
        if not answers:
            raise InputError(f"No window of '{self.name}' was answered.")
        windows = Windows(
            np.array([window.start_seconds for window, _ in answers]),
            np.array([window.end_seconds for window, _ in answers]),
            torch.stack([scores for _, scores in answers]).numpy(),
        )
        maker = self._maker
        multi_label = maker.spec.activation == "sigmoid"
        return Timeline(
            source=self.name,
            labels=maker.labels,
            windows=windows,
            segments=find_segments(windows, maker.labels, maker.rules, multi_label=multi_label),
            multi_label=multi_label,
            duration_seconds=self._duration,
            damaged_frames=self._video.damaged_frames,
            complete=len(answers) == len(planned),
        )

    def _plan_windows(self) -> None:
        maker = self._maker
        self._reader = WindowReader(
            self._video, maker.clip_spec, maker.grid, views=maker.views, device=maker.frames_on
        )
        clips, crops = view_counts(maker.clip_spec, maker.views)
        self._runner = maker.runner(self.total * clips * crops if self._alone else None)

    def _jobs(self, reader: WindowReader) -> Generator[WindowJob, None, None]:
        return window_jobs(self.name, reader)

    def _of(self, job: WindowJob) -> tuple[Window, torch.Tensor]:
        return job.window, job.probabilities(self._maker.spec.activation, self._maker.clip_spec.aggregate)
