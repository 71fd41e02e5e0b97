"""What ``predict`` calls on its views: the model, or the engine that pays, in batches that fit the memory."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, TypeVar, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from slowfast_zoo.errors import InputError, OutOfMemoryError, SlowFastZooError
from slowfast_zoo.inference.aggregate import activated, probabilities
from slowfast_zoo.inference.engines import EngineName
from slowfast_zoo.inference.engines.folding import check_model
from slowfast_zoo.inference.engines.kept import optimized
from slowfast_zoo.inference.engines.optimize import ENGINES, OptimizedModel
from slowfast_zoo.network.slowfast import SlowFast, check_answers, check_clip_head, type_of
from slowfast_zoo.network.twin import eval_twin
from slowfast_zoo.runtime.devices import Halving, is_out_of_memory, sent, to_device
from slowfast_zoo.runtime.machine import threads
from slowfast_zoo.runtime.precision import EnginePrecision, Precision, check_precision, float32_products
from slowfast_zoo.spec import Activation, Aggregate
from slowfast_zoo.video.clips import Clips
from slowfast_zoo.video.sampling import checked_count

Item = TypeVar("Item")

_BATCH_SIZES = {"cpu": 1, "cuda": 32}
"""Views that go through the network at once: a CPU gains nothing from more, and so gives a view the same bits
in every company; a GPU gains little from more."""

_MOST_VIEWS = 2**16


def check_predictable(model: object, *, features: bool = False, boxes: bool = False) -> None:
    """Refuses what ``predict`` can't use.

    Args:
        model: the model.
        features: whether a model that gives features is accepted.
        boxes: whether it has to be one that scores persons, which else is refused.

    Raises:
        InputError: says why.
    """
    verb = "detect" if boxes else "predict"
    if not isinstance(model, (SlowFast, OptimizedModel)):
        raise InputError(
            f"{verb} takes a SlowFast model, got {type_of(model)}; create_model(name, True) makes a new one."
        )
    if isinstance(model, SlowFast):
        check_model(model)
    if not boxes:
        check_clip_head(model.spec, "This call")
    elif model.spec.roi is None:
        raise InputError(
            "detect takes models that score persons, named *_roi; this one classifies whole clips: predict"
            " takes it."
        )
    if model.spec.num_classes == 0 and not features:
        other = "it names no actions." if boxes else "extract_features takes it."
        raise InputError(f"This model has no classifier (num_classes=0); {other}")
    if boxes and not model.clip_spec.has_key_frames:
        raise InputError(
            f"This model scores persons, and its clip_spec is one for whole videos (sampling"
            f" '{model.clip_spec.sampling}'): give it that of its weights' row."
        )
    if model.spec.in_channels != 3:
        raise InputError(f"{verb} reads RGB video, this model takes {model.spec.in_channels} channels.")


def frames_on(
    model: SlowFast | OptimizedModel, device: str | torch.device | None = None
) -> torch.device | None:
    """Where ``read_clips`` best makes the views of a model: on the GPU that it computes on, to which bytes go
    in a quarter of the time; None: without torch.

    Args:
        model, device: as for ``predict``.
    """
    found = device_of(model, device)
    return found if found.type == "cuda" else None


def device_of(model: SlowFast | OptimizedModel, device: str | torch.device | None = None) -> torch.device:
    """Where a model computes; arguments as for ``predict``."""
    if device is not None:
        return to_device(device)
    return model.device if isinstance(model, OptimizedModel) else next(model.parameters()).device


def _check_optimized(
    model: OptimizedModel, engine: EngineName, precision: str, device: str | torch.device | None
) -> None:
    """Refuses to have an optimized model computed otherwise.

    Raises:
        InputError, UnknownNameError: says how it computes.
    """
    check_precision(precision, get_args(EnginePrecision))
    if engine not in ("auto", model.engine) or device is not None:
        raise InputError("This model is optimized already; give engine= and device= to optimize.")
    if precision not in ("float32", model.precision):
        raise InputError(
            f"This model is optimized already and computes in {model.precision}; give precision='{precision}'"
            " to optimize."
        )


class BatchRunner:
    """The network on any number of clips: the model's twin in eval mode, or an optimized copy where one is
    asked for or pays, a batch at a time.

    Any number of threads may call it.

    Attributes:
        model: what computes.
        device: where it computes.
        batch_size: clips that go through it at once; halved where memory runs out.

    Args:
        model, engine, precision, device: as for ``predict``.
        clips: how many will come; None: not known.
        batch_size: None: what the device gains from.
        features: whether the model may be one without a classifier, whose features take the place of logits.
        boxes: whether it is one that scores persons.
        owner: whose weights the model computes with, where it was made for this object alone.
        any_classes: whether it may answer for classes of another number than its spec's.

    Raises:
        InputError: an argument that is not accepted.
    """

    def __init__(
        self,
        model: SlowFast | OptimizedModel,
        engine: EngineName = "auto",
        precision: Precision = "float32",
        device: str | torch.device | None = None,
        *,
        clips: int | None = None,
        batch_size: int | None = None,
        features: bool = False,
        boxes: bool = False,
        owner: SlowFast | None = None,
        any_classes: bool = False,
    ) -> None:
        check_predictable(model, features=features, boxes=boxes)
        self._any_classes = any_classes
        if batch_size is not None:
            batch_size = checked_count("batch_size", batch_size, beside=", or None")
            if batch_size > _MOST_VIEWS:
                raise InputError(f"batch_size is too large; accepted: at most {_MOST_VIEWS}.")
        self.model: SlowFast | OptimizedModel = model
        if not isinstance(model, OptimizedModel):
            target = device_of(model, device)
            fast = optimized(model, engine, precision, target, clips, owner)
            self.model = fast or eval_twin(model, target)
        else:
            _check_optimized(model, engine, precision, device)
        if isinstance(self.model, SlowFast):
            weight = next(self.model.parameters())
            self.device, self._dtype = weight.device, weight.dtype
        else:
            self.device, self._dtype = self.model.device, torch.float32
        self.batch_size = batch_size or _BATCH_SIZES.get(self.device.type, 4)

    @property
    def precision(self) -> str:
        """What the model computes in: an engine's precision, or the name of the module's own dtype."""
        if isinstance(self.model, OptimizedModel):
            return self.model.precision
        return str(self._dtype).removeprefix("torch.")

    @property
    def own_threads(self) -> bool:
        """Whether an engine computes that has other threads than torch's."""
        engine = ENGINES.get(self.model.engine) if isinstance(self.model, OptimizedModel) else None
        return engine is not None and not engine.torch_kernels

    def __call__(self, clips: Tensor, boxes: Sequence[Tensor] = ()) -> Tensor:
        """Logits float32 on the CPU of clips (n, C, T, H, W): a row a clip, or a row a box.

        Args:
            clips: on any device.
            boxes: float (m, 4) for each clip, x1, y1, x2, y2 in its pixels, where the model scores persons.

        Raises:
            OutOfMemoryError: one clip is too much.
            InputError: logits of other classes than the model's spec has.
        """
        compute = Halving(self._logits, self.batch_size)
        logits = compute(clips, boxes) if boxes else compute(clips)
        self.batch_size = min(self.batch_size, compute.size)  # another thread may have halved it meanwhile
        return logits

    @torch.inference_mode()
    def _logits(self, clips: Tensor, boxes: Sequence[Tensor] = ()) -> Tensor:
        # Whoever fills these clips anew comes back when the logits are here, so that the copy has ended.
        clips = sent(clips, self.device).to(self._dtype)
        of_clips = [F.pad(rows, (1, 0), value=index) for index, rows in enumerate(boxes)]
        beside = [torch.cat(of_clips).to(self.device)] if boxes else []
        with float32_products("tf32" if self.precision == "tf32" else "float32", self.device):
            logits = self.model(clips, *beside)
        return check_answers(logits, self.model.spec, any_classes=self._any_classes).float().cpu()


@dataclasses.dataclass
class Job:
    """The views of one video, or of a part of it, on their way through the network."""

    source: str
    clips: Clips | None
    """None where reading failed."""
    error: BaseException | None = None
    """Why there is no answer."""
    logits: list[Tensor] = dataclasses.field(default_factory=list)
    """Of the views that are through, in order, each ``(classes,)``; with boxes a row for each of them."""
    boxes: Tensor | None = None
    """float32 (n, 4), n at least 1, in pixels of the only view, where the model scores persons."""

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return self.error is not None or self.clips is None or len(self.logits) == len(self.clips)

    def probabilities(self, activation: Activation, rule: Aggregate) -> Tensor:
        """The answer, one probability per class ``(classes,)``, averaged by the clip spec's rule.

        Raises:
            InputError: some are no numbers.
        """
        return self.finite(probabilities(torch.stack(self.logits), activation, rule))

    def of_boxes(self, activation: Activation) -> Tensor:
        """The answers for all boxes, ``(n, classes)``.

        Raises:
            InputError: some are no numbers.
        """
        return self.finite(activated(self.logits[0], activation))

    def finite(self, scores: Tensor) -> Tensor:
        """What was made of the logits.

        Raises:
            InputError: some are no numbers.
        """
        if not torch.isfinite(scores).all():
            raise InputError(
                f"The model returned NaN for '{self.source}': its weights are damaged, or its precision"
                " overflows."
            )
        return scores


AnyJob = TypeVar("AnyJob", bound=Job)


def answered(runner: BatchRunner, jobs: Iterable[AnyJob], *, keep_errors: bool) -> Iterator[AnyJob]:
    """The jobs in order, each when all its views are through the network; views of several share batches.

    Args:
        runner: the network.
        jobs: taken as the network needs them; what they raise comes behind those that they gave before.
        keep_errors: whether a job that fails says so in ``error`` and ends nothing.
    """
    waiting: deque[AnyJob] = deque()
    queue = _Queue(runner, keep_errors=keep_errors)
    failures: list[Exception] = []
    for job in until_failure(jobs, failures):
        waiting.append(job)
        queue.add(job)
        while waiting and waiting[0].done:
            yield waiting.popleft()
    queue.flush()
    yield from waiting
    for failure in failures:
        raise failure


def until_failure(items: Iterable[Item], failures: list[Exception]) -> Iterator[Item]:
    """The items up to the one that can't be had; why not is in ``failures`` then."""
    coming = iter(items)
    while True:
        try:
            item = next(coming)
        except StopIteration:
            return
        except Exception as error:  # noqa: BLE001  # whatever a caller's own code raises
            failures.append(error)
            return
        yield item


def read_ahead(items: Generator[Item, Any, Any], count: int) -> Generator[Item, None, None]:
    """The items, made by a thread of their own, never more than ``count`` ahead; closes their generator."""
    end = object()
    pending: deque[Any] = deque()
    # Where Ctrl-C comes while the thread starts, the pool doesn't know it and doesn't wait for it.
    running = threading.RLock()

    def following() -> Any:
        with running:
            return next(items, end)

    try:
        with threads(1, "slowfast-read") as reader:
            try:
                pending.extend(reader.submit(following) for _ in range(count))
                while (item := pending.popleft().result()) is not end:
                    pending.append(reader.submit(following))
                    yield item
            finally:
                for future in pending:
                    future.cancel()
    finally:
        with running:
            # It runs where the reading thread itself finds this generator dropped.
            if inspect.getgeneratorstate(items) != inspect.GEN_RUNNING:
                items.close()


class _Queue:
    """Views of any number of videos on their way through the network, a batch at a time."""

    def __init__(self, runner: BatchRunner, *, keep_errors: bool) -> None:
        self._runner = runner
        self._keep_errors = keep_errors
        self._jobs: list[Job] = []
        self._batch = self._following = torch.empty(0, device="cpu")

    def add(self, job: Job) -> None:
        """Takes a video's views, and runs the batches that they fill."""
        clips = job.clips
        if clips is None:
            return
        if self._batch.shape[1:] != clips.view_shape:  # whole frames have the aspect of their video
            self.flush()
            self._make_room(clips)
        written = self._written(clips)
        # An engine with threads of its own leaves torch's asleep: one thread makes each view meanwhile.
        ahead = self._following is not self._batch and len(clips) > 1
        views = read_ahead(written, 1) if ahead else written
        with contextlib.closing(views):
            for _ in views:
                self._jobs.append(job)
                if len(self._jobs) == len(self._batch):
                    self.flush()
                if job.error is not None:
                    return

    def _written(self, clips: Clips) -> Generator[None, None, None]:
        """Writes view after view where the next one belongs."""
        batches = (self._batch, self._following)
        size, before = len(self._batch), len(self._jobs)
        alone = self._runner.own_threads
        for view in range(len(clips)):
            batch, place = divmod(before + view, size)
            clips.put(view, batches[batch % 2][place], alone=alone)
            yield

    def _make_room(self, clips: Clips) -> None:
        """Every view is written there, batch after batch: fresh memory costs as much as the writing."""
        while True:
            shape = (self._runner.batch_size, *clips.view_shape)
            try:
                self._batch = self._empty(shape, clips.device)
                self._following = (
                    self._empty(shape, clips.device) if self._runner.own_threads else self._batch
                )
                return
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if shape[0] == 1:
                    raise OutOfMemoryError(f"Memory doesn't suffice for one clip {shape[1:]}.") from error
            self._runner.batch_size = shape[0] // 2

    def _empty(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """Room for a batch where its views are made; where there is no room, in the processor's memory."""
        if device.type != "cpu":
            try:
                return torch.empty(shape, dtype=torch.float32, device=device)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
        pinned = self._runner.device.type == "cuda"
        return torch.empty(shape, dtype=torch.float32, pin_memory=pinned, device="cpu")

    def flush(self) -> None:
        """Runs what is left."""
        jobs, self._jobs = self._jobs, []
        if jobs:
            views = self._batch[: len(jobs)]
            self._batch, self._following = self._following, self._batch
            self._run(jobs, views)

    def _run(self, jobs: Sequence[Job], views: Tensor) -> None:
        boxes = [job.boxes for job in jobs if job.boxes is not None]
        try:
            logits = self._runner(views, boxes)
        except (RuntimeError, ValueError, MemoryError) as error:
            # What else the library itself refuses lies with the model or the engine, not with a video.
            ours = isinstance(error, SlowFastZooError) and not isinstance(error, OutOfMemoryError)
            if ours or not self._keep_errors:
                raise
            if len(jobs) == 1:
                jobs[0].error = error
            else:
                for index, job in enumerate(jobs):  # so that none fails for its company
                    self._run([job], views[index : index + 1])
        else:
            rows = torch.split(logits, [len(each) for each in boxes]) if boxes else logits
            for job, row in zip(jobs, rows, strict=True):
                job.logits.append(row)
