"""A video in, names and probabilities out; many videos in, one prediction each.

While the network works on one batch, the next videos are decoded. Views of several videos share
a batch, and each video's answer is the same in every company.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from slowfast_zoo.errors import SlowFastZooError, counted
from slowfast_zoo.inference.aggregate import best_classes, check_topk, scores_text
from slowfast_zoo.inference.engines import EngineName
from slowfast_zoo.inference.engines.optimize import OptimizedModel
from slowfast_zoo.inference.inputs import check_single, expand_sources
from slowfast_zoo.inference.runner import (
    BatchRunner,
    Job,
    answered,
    check_predictable,
    frames_on,
    until_failure,
)
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.runtime.machine import threads
from slowfast_zoo.runtime.precision import Precision
from slowfast_zoo.video.clips import Clips, Views, read_clips, view_counts
from slowfast_zoo.video.sources.names import display_name

if TYPE_CHECKING:
    from slowfast_zoo.inference.inputs import Sources
    from slowfast_zoo.video.decoding.reader import Source

_LOGGER = logging.getLogger(__name__)

_VIDEOS_AHEAD = 3
"""Videos that are decoded before the network asks for them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """The answer for one video, or the reason why there is none."""

    source: str
    """Path or name of the video; of a URL without credentials and query."""
    labels: tuple[str, ...] = ()
    """The best classes, best first; "class 7" where the model has no names."""
    scores: tuple[float, ...] = ()
    """Their probabilities (0 to 1), averaged over views as the clip spec says."""
    views: tuple[int, int] = (0, 0)
    """Clips in time and crops in space that were looked at."""
    seconds: tuple[float, float] | None = None
    """Part of the video that was looked at, start and end, in a player's time; None where unknown."""
    padded: bool = False
    """Whether the video is shorter than a clip, so that frames were repeated."""
    damaged_frames: int = 0
    """Frames known to be damaged or lost when this was answered; what decoded was used all the same."""
    error: str | None = None
    """Why there is no answer; None when all went well."""

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain JSON values."""
        return dataclasses.asdict(self)

    def to_row(self) -> dict[str, Any]:
        """Plain values by column, as in result files: label_1, score_1, label_2 and so on."""
        error = self.error and " ".join(self.error.split())
        row: dict[str, Any] = {"source": self.source, "error": error}
        for rank, (label, score) in enumerate(zip(self.labels, self.scores, strict=True), 1):
            row |= {f"label_{rank}": label, f"score_{rank}": score}
        if not error:
            start, end = self.seconds or (None, None)
            row |= {"clips": self.views[0], "crops": self.views[1], "start": start, "end": end}
            row |= {"padded": self.padded, "damaged_frames": self.damaged_frames}
        return row

    def __repr__(self) -> str:
        if self.error is not None:
            return f"Prediction({self.source!r}: {self.error})"
        best = scores_text(self.labels, self.scores)
        notes = ", padded" * self.padded
        notes += f", {counted(self.damaged_frames, 'damaged frame')}" if self.damaged_frames else ""
        return f"Prediction({self.source!r}: {best}; {self.views[0]}x{self.views[1]} views{notes})"


def predict(
    model: SlowFast | OptimizedModel,
    source: Source,
    *,
    views: Views = "quick",
    topk: int | None = 5,
    fps: float | Fraction | None = None,
    device: str | torch.device | None = None,
    engine: EngineName = "auto",
    precision: Precision = "float32",
) -> Prediction:
    """What the model sees in a video.

    Args:
        model: a model with a classifier, in whatever mode: it is only read; or what ``optimize`` made of one.
        source: one video: a path, URL, bytes, binary file object, folder of frames, or uint8 RGB array
            (T, H, W, 3).
        views: "quick" looks once, at the middle of the video and of the picture; "published" as the
            weights were scored; (clips, crops) anything between.
        topk: how many classes to give, best first; None for all.
        fps: frames per second, instead of what a file says; arrays and folders of frames need it when the
            clip spec counts in time.
        device: where to compute; the model itself stays where it is, and is copied there by each call.
            None: where it is.
        engine: what computes, see ``optimize``. "auto" takes the model itself where an optimized copy would
            not pay for the number of clips.
        precision: "float32", or for speed "bfloat16" or, on a GPU, "tf32" or "float16", with their rounding.

    Raises:
        InputError: an argument or source that is not accepted, such as a folder of videos, which
            ``predict_many`` takes.
        VideoError: the video can't be read.
    """
    check_single(source)
    clips = _views_of(model, views)
    return Predictor(
        model, views=views, topk=topk, fps=fps, device=device, engine=engine, precision=precision, clips=clips
    )(source)


def predict_many(
    model: SlowFast | OptimizedModel,
    sources: Sources,
    *,
    views: Views = "quick",
    topk: int | None = 5,
    fps: float | Fraction | None = None,
    device: str | torch.device | None = None,
    engine: EngineName = "auto",
    precision: Precision = "float32",
    batch_size: int | None = None,
) -> Iterator[Prediction]:
    """What the model sees in each of many videos, in order, as they are answered.

    A video that can't be answered gives a ``Prediction`` with ``error`` and ends nothing.

    Args:
        model, views, topk, fps, device, engine, precision: as for ``predict``, for every video.
        sources: a folder of videos, a pattern ("clips/**/*.mp4"), a list, or any iterable of what ``predict``
            takes. A few videos are read ahead of the network. A generator's arrays, file objects and opened
            videos are read before it is asked for the next one, so it may close them then, or fill them anew;
            files that it names, by paths or URLs, have to stay.
        batch_size: views that go through the network at once; None: as many as the device gains from. It is
            halved where memory runs out.

    Raises:
        InputError: an argument that is not accepted.
        VideoError: a folder without videos, or a pattern with * or ? that nothing matches.
    """
    found = expand_sources(sources)
    clips = None if isinstance(found, Iterator) else len(found) * _views_of(model, views)
    return Predictor(
        model,
        views=views,
        topk=topk,
        fps=fps,
        device=device,
        engine=engine,
        precision=precision,
        batch_size=batch_size,
        clips=clips,
    ).many(found)


class Predictor:
    """A model with everything that was decided about predicting with it; for any number of videos.

    Attributes:
        runner: the network in batches, for callers that make their own clips.

    Args:
        clips: how many views will come, which decides what engine "auto" is; None: not known. All others are
            as for ``predict_many``.

    Raises:
        InputError: an argument that is not accepted.
    """

    def __init__(
        self,
        model: SlowFast | OptimizedModel,
        *,
        views: Views = "quick",
        topk: int | None = 5,
        fps: float | Fraction | None = None,
        device: str | torch.device | None = None,
        engine: EngineName = "auto",
        precision: Precision = "float32",
        batch_size: int | None = None,
        clips: int | None = None,
    ) -> None:
        _views_of(model, views)
        # What the model's owner does to it later reaches no answer of this object.
        self._spec, self._clip_spec, self._labels = model.spec, model.clip_spec, model.labels
        unnamed = model.labels is None
        self.runner = BatchRunner(
            model, engine, precision, device, clips=clips, batch_size=batch_size, any_classes=unnamed
        )
        self._views, self._topk, self._fps = views, check_topk(topk), fps
        self._frames_on = frames_on(self.runner.model)

    def __call__(self, source: Source) -> Prediction:
        """The answer for one video.

        Raises:
            InputError, VideoError: as ``predict``.
        """
        job = Job(display_name(source), self.read(source))
        return self._answer(next(answered(self.runner, [job], keep_errors=False)))

    def many(self, sources: Iterable[Source]) -> Iterator[Prediction]:
        """The answers for many videos, in order; one that fails ends nothing."""
        with contextlib.closing(self._read_ahead(sources)) as jobs:
            for job in answered(self.runner, jobs, keep_errors=True):
                yield self._told(job)

    def read(self, source: Source) -> Clips:
        """The views of a video, as ``read_clips``."""
        return read_clips(source, self._clip_spec, views=self._views, fps=self._fps, device=self._frames_on)

    def _read_ahead(self, sources: Iterable[Source]) -> Generator[Job, None, None]:
        """The videos in order, read by a thread of their own, never more than a few ahead; what the sources
        raise comes behind those that they gave before."""
        lasting = isinstance(sources, Sequence)
        pending: deque[tuple[str, Future[Clips]]] = deque()
        failures: list[Exception] = []
        with threads(1, "slowfast-read") as reader:
            try:
                for source in until_failure(sources, failures):
                    future = reader.submit(self.read, source)
                    pending.append((display_name(source), future))
                    if not lasting and not isinstance(source, (str, Path, bytes)):
                        while len(pending) > 1:  # the network computes while this one is read
                            yield _job(*pending.popleft())
                        wait([future])  # a generator may close it, or fill it anew, when it continues
                    if len(pending) > _VIDEOS_AHEAD:
                        yield _job(*pending.popleft())
                while pending:
                    yield _job(*pending.popleft())
                for failure in failures:
                    raise failure
            finally:
                for _, future in pending:
                    future.cancel()

    def _told(self, job: Job) -> Prediction:
        """The answer, or in its place why there is none."""
        error = job.error
        if error is None:
            try:
                return self._answer(job)
            except SlowFastZooError as failure:
                error = failure
        if not isinstance(error, SlowFastZooError):  # the row says what, the log says where
            _LOGGER.debug("'%s' failed.", job.source, exc_info=error)
        return Prediction(source=job.source, error=reason_of(error))

    def _answer(self, job: Job) -> Prediction:
        assert job.clips is not None
        scores = job.probabilities(self._spec.activation, self._clip_spec.aggregate)
        labels, best = best_classes(scores, self._labels, self._topk)
        spans = job.clips.seconds
        clips = len(job.clips.indices)
        return Prediction(
            source=job.source,
            labels=labels,
            scores=best,
            views=(clips, len(job.clips) // clips),
            seconds=(min(start for start, _ in spans), max(end for _, end in spans)) if spans else None,
            padded=job.clips.padded,
            damaged_frames=job.clips.damaged_frames,
        )


def reason_of(error: BaseException) -> str:
    """Why there is no answer, in words; a fault of ours rather than of the video says its type."""
    if isinstance(error, SlowFastZooError):
        return str(error)
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _job(source: str, future: Future[Clips]) -> Job:
    """What became of reading a video."""
    error = future.exception()
    if error is not None and not isinstance(error, Exception):
        raise error  # an interrupt
    return Job(source, None, error) if error else Job(source, future.result())


def _views_of(model: SlowFast | OptimizedModel, views: Views) -> int:
    """How many views a video has."""
    check_predictable(model)
    clips, crops = view_counts(model.clip_spec, views)
    return clips * crops
