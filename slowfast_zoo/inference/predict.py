"""A video in, names and probabilities out; many videos in, one prediction each.

While the network works on one batch, the next videos are decoded. Views of several videos share
a batch, and each video's answer is the same in every company.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from typing import Any, overload

import torch
from torch import Tensor

from slowfast_zoo.errors import InputError, SlowFastZooError, VideoError
from slowfast_zoo.inference.engines import EngineName
from slowfast_zoo.inference.engines.optimize import OptimizedModel
from slowfast_zoo.inference.inputs import many
from slowfast_zoo.inference.runner import Forward, check_model, runner_for
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.runtime.precision import Precision
from slowfast_zoo.spec import Activation, Aggregate, ClipSpec, class_names
from slowfast_zoo.video.clips import Clips, Views, read_clips, view_counts

_VIDEOS_AHEAD = 3
"""Videos that are decoded before the network asks for them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """The answer for one video, or the reason why there is none."""

    source: str
    """Path or name of the video."""
    labels: tuple[str, ...] = ()
    """The best classes, best first; "class 7" where the model has no names."""
    scores: tuple[float, ...] = ()
    """Their probabilities (0 to 1), averaged over views as the clip spec says."""
    views: tuple[int, int] = (0, 0)
    """Clips in time and crops in space that were looked at."""
    seconds: tuple[float, float] | None = None
    """Part of the video that was looked at: start and end; None where no frame rate is known."""
    padded: bool = False
    """Whether the video is shorter than a clip, so that frames were repeated."""
    error: str | None = None
    """Why the video could not be read; None when all went well."""

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain JSON values."""
        return dataclasses.asdict(self)

    def __repr__(self) -> str:
        if self.error is not None:
            return f"Prediction({self.source!r}: {self.error})"
        best = ", ".join(
            f"{label} {score:.1%}" for label, score in zip(self.labels, self.scores, strict=True)
        )
        padded = ", padded" if self.padded else ""
        return f"Prediction({self.source!r}: {best}; {self.views[0]}x{self.views[1]} views{padded})"


@dataclasses.dataclass
class _Job:
    """One video on its way through the network."""

    source: str
    clips: Clips | None
    error: str | None = None
    logits: list[Tensor] = dataclasses.field(default_factory=list)

    @property
    def done(self) -> bool:
        return self.clips is None or len(self.logits) == len(self.clips)


@overload
def predict(
    model: SlowFast | OptimizedModel,
    source: list[Any] | tuple[Any, ...] | Iterator[Any],
    *,
    views: Views = "quick",
    topk: int | None = 5,
    fps: float | Fraction | None = None,
    device: str | torch.device | None = None,
    engine: EngineName = "auto",
    precision: Precision = "float32",
) -> Iterator[Prediction]: ...


@overload
def predict(
    model: SlowFast | OptimizedModel,
    source: Any,
    *,
    views: Views = "quick",
    topk: int | None = 5,
    fps: float | Fraction | None = None,
    device: str | torch.device | None = None,
    engine: EngineName = "auto",
    precision: Precision = "float32",
) -> Any: ...


def predict(
    model: SlowFast | OptimizedModel,
    source: Any,
    *,
    views: Views = "quick",
    topk: int | None = 5,
    fps: float | Fraction | None = None,
    device: str | torch.device | None = None,
    engine: EngineName = "auto",
    precision: Precision = "float32",
) -> Prediction | Iterator[Prediction]:
    """What the model sees in a video; for many videos an iterator, one prediction each, in order.

    Args:
        model: a model with a classifier, in whatever mode: it is only read; or what ``optimize`` made of one.
        source: one video: a path, URL, bytes, binary file object, folder of frames, or uint8 RGB array
            (T, H, W, 3). Or many: a folder of videos, a glob pattern, a list or any iterable.
        views: "quick" looks once, at the middle of the video and of the picture; "published" as the
            weights were scored; (clips, crops) anything between.
        topk: how many classes to give, best first; None for all.
        fps: frames per second, instead of what a file says; arrays and folders of frames need it when the
            clip spec counts in time.
        device: where to compute; the model itself stays where it is. None: there.
        engine: what computes, see ``optimize``. "auto" takes the model itself where an optimized copy would
            not pay for the number of clips.
        precision: "float32", or for speed "bfloat16" or "float16", with their rounding.

    Raises:
        InputError: an argument or source that is not accepted.
        VideoError: a single video that can't be read. Among many it gives a Prediction with ``error``.
    """
    check_model(model)
    if topk is not None and (not isinstance(topk, int) or isinstance(topk, bool) or topk < 1):
        raise InputError(f"topk is {topk!r}; accepted: an integer of at least 1, or None for all classes.")
    sources = many(source)
    clips = _count(source if sources is None else sources, model.clip_spec, views)
    runner = runner_for(model, engine, precision, device, clips)
    if sources is None:
        (prediction,) = _predictions(model, runner, iter([source]), views, topk, fps, strict=True)
        return prediction
    return _predictions(model, runner, iter(sources), views, topk, fps, strict=False)


def probabilities(logits: Tensor, activation: Activation, aggregate: Aggregate) -> Tensor:
    """Views' logits ``(views, classes)`` as one probability per class ``(classes,)``, float32.

    "sum-prob" (PySlowFast) ranks as "mean-prob" does; both give the mean, which is a probability.
    """
    logits = logits.float()
    if aggregate == "mean-logit":
        logits = logits.mean(dim=0, keepdim=True)
    scores = logits.softmax(dim=1) if activation == "softmax" else logits.sigmoid()
    return scores.amax(dim=0) if aggregate == "max-prob" else scores.mean(dim=0)


def _count(source: object, clip_spec: ClipSpec, views: Views) -> int | None:
    """How many views will go through the network; None where the number of videos isn't known."""
    clips, crops = view_counts(clip_spec, views)
    if isinstance(source, Iterator):
        return None
    return clips * crops * (len(source) if isinstance(source, (list, tuple)) else 1)


def _predictions(
    model: SlowFast | OptimizedModel,
    runner: SlowFast | OptimizedModel,
    sources: Iterator[Any],
    views: Views,
    topk: int | None,
    fps: float | Fraction | None,
    *,
    strict: bool,
) -> Iterator[Prediction]:
    waiting: deque[_Job] = deque()
    with contextlib.closing(_read_ahead(model, sources, views, fps)) as jobs:
        queue = _Queue(Forward(runner))
        for job in jobs:
            if job.error is not None and strict:
                raise VideoError(job.error)
            waiting.append(job)
            queue.add(job)
            while waiting and waiting[0].done:
                yield _answer(model, waiting.popleft(), topk)
        queue.flush()
        while waiting:
            yield _answer(model, waiting.popleft(), topk)


def _read_ahead(
    model: SlowFast | OptimizedModel, sources: Iterator[Any], views: Views, fps: float | Fraction | None
) -> Generator[_Job, None, None]:
    """The videos in order, read by a thread of their own, never more than a few ahead."""

    def read(source: Any) -> _Job:
        name = str(source) if isinstance(source, str) or hasattr(source, "__fspath__") else "<video>"
        try:
            clips = read_clips(source, model.clip_spec, views=views, fps=fps)
        except VideoError as error:
            return _Job(name, None, str(error))
        return _Job(name if name != "<video>" else clips.source, clips)

    pending: deque[Future[_Job]] = deque()
    with ThreadPoolExecutor(1, "slowfast-read") as reader:
        try:
            for source in sources:
                pending.append(reader.submit(read, source))
                if len(pending) > _VIDEOS_AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


class _Queue:
    """Views of any number of videos on their way through the network, a batch at a time."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._jobs: list[_Job] = []
        self._batch = torch.empty(0)

    def add(self, job: _Job) -> None:
        """Takes a video's views, and runs the batches that they fill."""
        if job.clips is None:
            return
        for view in range(len(job.clips)):
            if not len(self._batch):
                # Every view is written here, batch after batch: fresh memory costs as much as the writing.
                shape = (self._forward.size, *job.clips.view_shape)
                self._batch = torch.empty(shape, dtype=torch.float32)
            job.clips.put(view, self._batch[len(self._jobs)])
            self._jobs.append(job)
            if len(self._jobs) >= self._forward.size:
                self.flush()

    def flush(self) -> None:
        """Runs what is left."""
        if self._jobs:
            logits = self._forward.run(self._batch[: len(self._jobs)])
            for job, row in zip(self._jobs, logits, strict=True):
                job.logits.append(row)
            self._jobs.clear()


def _answer(model: SlowFast | OptimizedModel, job: _Job, topk: int | None) -> Prediction:
    if job.clips is None:
        return Prediction(source=job.source, error=job.error)
    scores = probabilities(torch.stack(job.logits), model.spec.activation, model.clip_spec.aggregate)
    if not torch.isfinite(scores).all():
        raise SlowFastZooError(
            f"The model returned NaN for '{job.source}': its weights are damaged, or its precision overflows."
        )
    best = scores.topk(min(topk or len(scores), len(scores)))
    names = class_names(model.labels, len(scores))
    spans = job.clips.seconds
    seconds = (min(start for start, _ in spans), max(end for _, end in spans)) if spans else None
    clips, crops = len(job.clips.indices), len(job.clips) // len(job.clips.indices)
    return Prediction(
        source=job.source,
        labels=tuple(names[index] for index in best.indices.tolist()),
        scores=tuple(best.values.tolist()),
        views=(clips, crops),
        seconds=seconds,
        padded=job.clips.padded,
    )
