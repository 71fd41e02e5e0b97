"""A video in, names and probabilities out; many videos in, one prediction each.

While the network works on one batch, the next videos are decoded. Views of several videos share
a batch, and each video's answer is the same in every company.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from typing import Any, overload

import torch
from torch import Tensor

from slowfast_zoo.errors import InputError, SlowFastZooError, VideoError
from slowfast_zoo.inference.engine import Engine, OptimizedModel, choose_engine, optimize
from slowfast_zoo.inference.folding import Precision
from slowfast_zoo.inference.inputs import many
from slowfast_zoo.network import SlowFast
from slowfast_zoo.spec import Activation, Aggregate, ClipSpec
from slowfast_zoo.video.clips import Clips, Views, read_clips, view_counts

_LOGGER = logging.getLogger(__name__)

_VIEWS_PER_BATCH = {"cpu": 2, "cuda": 32}
"""Views that go through the network at once: a CPU gains nothing from more, a GPU little."""

_SMALL = 0.1
"""Size of a model, as ``_size`` counts it, below which "auto" takes it as it is."""

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
    engine: Engine = "auto",
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
    engine: Engine = "auto",
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
    engine: Engine = "auto",
    precision: Precision = "float32",
) -> Prediction | Iterator[Prediction]:
    """What the model sees in a video; for many videos an iterator, one prediction each, in order.

    Args:
        model: a model with a classifier, whose mode is restored at the end; or what ``optimize`` made of one.
        source: one video: a path, URL, bytes, binary file object, folder of frames, or uint8 RGB array
            (T, H, W, 3). Or many: a folder of videos, a glob pattern, a list or any iterable.
        views: "quick" looks once, at the middle of the video and of the picture; "published" as the
            weights were scored; (clips, crops) anything between.
        topk: how many classes to give, best first; None for all.
        fps: frames per second, instead of what a file says; arrays and folders of frames need it when the
            clip spec counts in time.
        device: where to compute; the model is moved there. None: where it is.
        engine: what computes, see ``optimize``. "auto" takes the model itself where starting another engine
            would not pay for the number of clips.
        precision: "float32", or for speed "bfloat16" or "float16", with their rounding.

    Raises:
        InputError: an argument or source that is not accepted.
        VideoError: a single video that can't be read. Among many it gives a Prediction with ``error``.
    """
    _check(model, topk)
    sources = many(source)
    clips = _count(source if sources is None else sources, model.clip_spec, views)
    runner = _runner(model, engine, precision, device, clips)
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


def _check(model: object, topk: int | None) -> None:
    if not isinstance(model, (SlowFast, OptimizedModel)):
        raise InputError(
            f"predict takes a SlowFast model, got {type(model).__name__}; create_model(name, True) makes one."
        )
    if model.spec.num_classes == 0:
        raise InputError("This model has no classifier (num_classes=0); call it on clips for features.")
    if model.spec.in_channels != 3:
        raise InputError(f"predict reads RGB video, this model takes {model.spec.in_channels} channels.")
    if topk is not None and (not isinstance(topk, int) or isinstance(topk, bool) or topk < 1):
        raise InputError(f"topk is {topk!r}; accepted: an integer of at least 1, or None for all classes.")


def _count(source: object, clip_spec: ClipSpec, views: Views) -> int | None:
    """How many views will go through the network; None where the number of videos isn't known."""
    clips, crops = view_counts(clip_spec, views)
    if isinstance(source, Iterator):
        return None
    return clips * crops * (len(source) if isinstance(source, (list, tuple)) else 1)


def _runner(
    model: SlowFast | OptimizedModel,
    engine: Engine,
    precision: Precision,
    device: str | torch.device | None,
    clips: int | None,
) -> SlowFast | OptimizedModel:
    """What to call: the model itself, or an optimised copy where one is asked for or pays."""
    if isinstance(model, OptimizedModel):
        if engine not in ("auto", model.engine) or device is not None:
            raise InputError("This model is optimised already; give engine= and device= to optimize.")
        return model
    if device is not None:
        model.to(device)
    place = next(model.parameters()).device
    if engine == "auto" and precision == "float32":
        size = _size(model)
        if clips is not None:
            clips = round(clips * size)
        # A model that takes milliseconds never earns back the seconds that an engine needs to start.
        engine = "eager" if size < _SMALL else choose_engine(place, clips)
        if engine == "eager":
            return model
    return optimize(model, engine, precision, device=place, clips=clips)


def _size(model: SlowFast) -> float:
    """Roughly how long a clip takes, in clips of R50 4x16 at 224 pixels: what engines are weighed with."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    pixels = model.spec.num_frames * model.clip_spec.test_crop**2
    return parameters / 34.5e6 * pixels / (32 * 224**2)


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
    with _Forward(runner) as forward, contextlib.closing(_read_ahead(model, sources, views, fps)) as jobs:
        for job in jobs:
            if job.error is not None and strict:
                raise VideoError(job.error)
            waiting.append(job)
            forward.add(job)
            while waiting and waiting[0].done:
                yield _answer(model, waiting.popleft(), topk)
        forward.flush()
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


class _Forward:
    """The network over views of any number of videos, a batch at a time, in eval mode."""

    def __init__(self, model: SlowFast | OptimizedModel) -> None:
        self._model = model
        self._views: list[tuple[_Job, Tensor]] = []
        if isinstance(model, SlowFast):
            weight = next(model.parameters())
            self._device, self._dtype = weight.device, weight.dtype
        else:
            self._device, self._dtype = model.device, torch.float32
        self._size = _VIEWS_PER_BATCH.get(self._device.type, 4)
        self._was_training = model.training

    def __enter__(self) -> _Forward:
        self._model.eval()
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self._model, SlowFast):
            self._model.train(self._was_training)

    def add(self, job: _Job) -> None:
        """Takes a video's views, and runs the batches that they fill."""
        for view in range(len(job.clips) if job.clips is not None else 0):
            assert job.clips is not None
            self._views.append((job, job.clips[view]))
            if len(self._views) >= self._size:
                self.flush()

    def flush(self) -> None:
        """Runs what is left."""
        while self._views:
            batch = self._views[: self._size]
            try:
                logits = self._run(torch.stack([view for _, view in batch]))
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if len(batch) == 1 or not _is_out_of_memory(error):
                    raise
                self._size = len(batch) // 2
                _LOGGER.warning("Out of memory: going on with %d views at a time.", self._size)
                continue
            for (job, _), row in zip(batch, logits, strict=True):
                job.logits.append(row)
            del self._views[: len(batch)]

    def _run(self, clips: Tensor) -> Tensor:
        with torch.inference_mode():
            return self._model(clips.to(self._device, self._dtype)).float().cpu()


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _answer(model: SlowFast | OptimizedModel, job: _Job, topk: int | None) -> Prediction:
    if job.clips is None:
        return Prediction(source=job.source, error=job.error)
    scores = probabilities(torch.stack(job.logits), model.spec.activation, model.clip_spec.aggregate)
    if not torch.isfinite(scores).all():
        raise SlowFastZooError(
            f"The model returned NaN for '{job.source}': its weights are damaged, or its precision overflows."
        )
    best = scores.topk(min(topk or len(scores), len(scores)))
    names = model.labels or [f"class {index}" for index in range(len(scores))]
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
