"""What happens now: frames go in as they arrive, answers come out that are never old.

    with Stream(model, hop_seconds=1.0) as stream:
        for frame, seconds in camera:                  # uint8 RGB (H, W, 3)
            if (answer := stream.push(frame, seconds)) is not None:
                print(answer.labels[0], answer.lag_seconds)

The network works in a thread of its own. Whenever it is free it takes the newest complete window, and hops
that it had no time for are left out and counted: so an answer is never older than one hop and the network's
own time, and memory holds a window or two, however slow the network is. Frames inside a window are never
left out: they would change the stride that the weights know.
"""

from __future__ import annotations

import atexit
import dataclasses
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from slowfast_zoo.errors import InputError, counted
from slowfast_zoo.inference.aggregate import best_classes, check_topk, scores_text
from slowfast_zoo.inference.engines import EngineName
from slowfast_zoo.inference.engines.optimize import OptimizedModel
from slowfast_zoo.inference.runner import BatchRunner, Job, answered, check_predictable, frames_on
from slowfast_zoo.inference.stream.arrived import Arrived, Walk
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.runtime.machine import gpu_streams
from slowfast_zoo.runtime.precision import Precision
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.clips import ClipPlan, Views, pipeline_for, plan_clips, view_counts
from slowfast_zoo.video.decoding.video import Frame, checked_fps
from slowfast_zoo.video.sampling import checked_seconds, is_number
from slowfast_zoo.video.windows import FrameStore, Grid, Window

_LOGGER = logging.getLogger(__name__)

_EXIT_SECONDS = 10.0
"""That a process which ends waits for a network's thread: it aborts where that is inside torch meanwhile, and
``on_result`` may never come back."""
_LONGEST_HOLD_SECONDS = 10.0
"""That a frame may be shown, beyond the length of a window; longer ones are gaps."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamResult:
    """What happens in one window of a stream."""

    window: Window
    """Its frames, and when they begin and end in seconds of the stream; the end is told by the frame rate,
    because the next frame isn't waited for."""
    labels: tuple[str, ...]
    """The best classes, best first; "class 7" where the model has no names."""
    scores: tuple[float, ...]
    """Their probabilities (0 to 1), averaged over views as the clip spec says."""
    lag_seconds: float
    """How old the answer was when it was ready: the time since the window's last frame arrived."""
    skipped_hops: int
    """Windows between this answer and the one before, for which there was no time."""
    gap: bool
    """Whether frames were missing between this answer's window and the one before."""

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain JSON values; the window as its two times."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del values["window"]
        return {
            "start_seconds": self.window.start_seconds,
            "end_seconds": self.window.end_seconds,
            **values,
        }

    def __repr__(self) -> str:
        best = scores_text(self.labels, self.scores)
        notes = f", {counted(self.skipped_hops, 'hop')} left out" if self.skipped_hops else ""
        notes += ", after a gap" * self.gap
        window = f"{self.window.start_seconds:.2f}-{self.window.end_seconds:.2f} s"
        return f"StreamResult({window}: {best}; {self.lag_seconds:.2f} s old{notes})"


class _Ready(NamedTuple):
    """A window all of whose frames are there."""

    window: Window
    """Its number counts the windows of the stream."""
    plan: ClipPlan
    store: FrameStore
    arrival: float
    """Of its last frame, by the clock."""
    gaps: int
    """In front of it, so far."""


class Stream:
    """Frames in, answers out, for as long as frames come. Use it in a ``with`` statement, from one thread.

    Args:
        model: as for ``predict``.
        hop_seconds: between the begins of two windows, from the first frame on. A window is as long as one
            clip of the clip spec.
        max_lag_seconds: an answer that would be older is left out; None: whatever the hop and the network's
            time make of it.
        on_result: called with every answer as soon as it is there, by the network's thread.
        views: of each window, as for ``predict``, with one clip.
        topk: as for ``predict``.
        fps: frames per second, which some clip specs need; None: as the seconds of the frames tell.
        device: as for ``predict``.
        engine: as for ``predict``.
        precision: as for ``predict``.
        clock: seconds that pass; for tests.

    Raises:
        InputError: an argument that is not accepted.
    """

    def __init__(
        self,
        model: SlowFast | OptimizedModel,
        *,
        hop_seconds: float = 1.0,
        max_lag_seconds: float | None = None,
        on_result: Callable[[StreamResult], object] | None = None,
        views: Views = "quick",
        topk: int | None = 5,
        fps: float | Fraction | None = None,
        device: str | torch.device | None = None,
        engine: EngineName = "auto",
        precision: Precision = "float32",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_predictable(model)
        self._grid = Grid(hop_seconds=hop_seconds)
        if max_lag_seconds is not None:
            max_lag_seconds = checked_seconds("max_lag_seconds", max_lag_seconds, positive=True)
        self._topk, self._fps, self._views = check_topk(topk), checked_fps(fps), views
        self._runner = BatchRunner(model, engine, precision, device, any_classes=model.labels is None)
        self._frames_on = frames_on(self._runner.model)
        _check_views(model.clip_spec, views)
        self._spec, self._clip_spec, self._labels = model.spec, model.clip_spec, model.labels
        self._most, self._tell, self._clock = max_lag_seconds, on_result, clock

        self._walk: Walk | None = None
        self._frames = self._windows = self._gaps = 0
        self._latest = 0.0
        self._shape: tuple[int, ...] = ()

        # What both threads touch, under this condition; a store's frames too.
        self._changed = threading.Condition()
        self._newest: _Ready | None = None
        self._results: deque[StreamResult] = deque()
        self._busy = self._closed = False
        self._error: BaseException | None = None
        self._answered, self._gaps_answered = -1, 0
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def push(self, frame: Frame | torch.Tensor, seconds: float, *, gap: bool = False) -> StreamResult | None:
        """Takes the next frame; gives an answer that has become ready, the oldest one first, or None.

        Args:
            frame: uint8 RGB of shape (H, W, 3); it is prepared before this returns, and not kept.
            seconds: when it begins to be shown, by any clock; later than the frame before.
            gap: whether frames are missing in front of it. Windows begin anew with it then, and its seconds
                may be anything; so they do where the frame has another size than the one before, or comes
                more than ten seconds and a window later.

        Raises:
            InputError: a frame or time that is not accepted, or the stream is closed.
            Exception: whatever went wrong in the network's thread.
        """
        frame, seconds, arrival = _checked_frame(frame), _checked_moment(seconds), self._clock()
        with self._changed:
            self._check_going()
        if self._walk is None or gap or self._breaks_off(frame, seconds):
            self._gaps += self._walk is not None
            arrived = Arrived("<stream>", frame.shape[:2], self._fps, self._frames)
            self._pipeline = pipeline_for(arrived, self._clip_spec, self._views, self._frames_on)
            self._walk = Walk(self._grid, self._clip_spec, arrived)
            self._store = FrameStore(self._pipeline)
        prepared = self._pipeline.prepare(frame)
        self._latest, self._shape = seconds, frame.shape
        self._walk.add(seconds, arrival)
        with self._changed:
            self._store.add(self._frames, prepared)
        self._frames += 1
        while (window := self._walk.next(self._windows)) is not None:
            self._ready(window)
        self._forget()
        with self._changed:
            return self._given()

    def wait(self) -> StreamResult | None:
        """Waits until the network is free; gives an answer that has become ready, the oldest one first.

        Raises:
            InputError: the stream is closed.
            Exception: whatever went wrong in the network's thread.
        """
        with self._changed:
            self._changed.wait_for(self._idle)
            self._check_going()
            return self._given()

    def finish(self) -> list[StreamResult]:
        """The last answers of a stream that has ended, none left out; it can't be pushed to any more.

        Beside those that nobody took yet it is that of the window which ends with the last frame, as a
        timeline has it; a stream that is shorter than a window is filled as the clip spec says.

        Raises:
            InputError: the stream is closed.
            Exception: whatever went wrong in the network's thread.
        """
        results: list[StreamResult] = []
        left = deque([] if self._walk is None or not self._frames else self._walk.rest(self._windows))
        while (result := self.wait()) is not None or left:
            if result is not None:
                results.append(result)
            elif left:
                self._ready(left.popleft())
        self.close()
        return results

    def close(self) -> None:
        """Ends the network's thread, as soon as it is through with what it has begun; answers are dropped."""
        self._end()

    def _end(self, patience_seconds: float | None = None) -> None:
        with self._changed:
            self._closed, self._newest = True, None
            self._changed.notify_all()
        if self._thread not in (None, threading.current_thread()):  # which it is in ``on_result``
            self._thread.join(patience_seconds)

    def _breaks_off(self, frame: Frame, seconds: float) -> bool:
        """Whether a frame can't belong to the same windows as the one before.

        Raises:
            InputError: it isn't later.
        """
        if seconds <= self._latest:
            raise InputError(
                f"A frame's time is {seconds:g} s, that before {self._latest:g} s; accepted: later ones, or"
                " any time with gap=True, where windows begin anew."
            )
        assert self._walk is not None
        late = seconds - self._latest > _LONGEST_HOLD_SECONDS
        if late and (longest := self._walk.window_seconds) is not None:
            late = seconds - self._latest > longest + _LONGEST_HOLD_SECONDS
        return late or frame.shape != self._shape

    def _ready(self, window: Window) -> None:
        """The newest window, in place of the one that the network had no time for."""
        assert self._walk is not None
        arrived = self._walk.arrived
        plan = plan_clips(arrived.part(window), self._clip_spec, self._views)
        arrival = arrived.arrival_of(window.frames.stop - 1)
        self._windows += 1
        if self._thread is None:
            self._thread = _thread_of(self._work)
            self._thread.start()
            atexit.register(self._end, _EXIT_SECONDS)
        with self._changed:
            self._newest = _Ready(window, plan, self._store, arrival, self._gaps)
            self._changed.notify_all()

    def _forget(self) -> None:
        """The frames that no window needs."""
        assert self._walk is not None
        needed = self._walk.needed()
        with self._changed:
            if self._newest is not None and self._newest.store is self._store:
                needed = min(needed, self._newest.window.first_frame)
            self._store.drop_before(needed)
            self._walk.arrived.drop_before(needed)

    def _check_going(self) -> None:
        if self._error is not None:
            raise self._error
        if self._closed:
            raise InputError("This stream is closed; make a new Stream.")

    def _idle(self) -> bool:
        return self._closed or self._error is not None or (self._newest is None and not self._busy)

    def _given(self) -> StreamResult | None:
        return self._results.popleft() if self._results else None

    # The network's thread -------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while (taken := self._taken()) is not None:
                ready, job = taken
                result = self._result(ready, next(answered(self._runner, [job], keep_errors=False)))
                if result is not None and self._tell is not None:
                    self._tell(result)
                with self._changed:
                    self._busy = False
                    if result is not None:
                        self._results.append(result)
                        self._answered, self._gaps_answered = ready.window.number, ready.gaps
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001  # raised where the caller is
            with self._changed:
                self._busy, self._error = False, error
                self._changed.notify_all()
        finally:
            atexit.unregister(self._end)

    def _taken(self) -> tuple[_Ready, Job] | None:
        """The newest window with its frames, when there is one; None at the end."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._closed or self._newest is not None)
                ready, self._newest = self._newest, None
                if ready is None:
                    return None
                if self._most is None or self._clock() - ready.arrival <= self._most:
                    self._busy = True
                    return ready, Job("<stream>", ready.store.clips(ready.window, ready.plan, "<stream>"))
                self._changed.notify_all()

    def _result(self, ready: _Ready, job: Job) -> StreamResult | None:
        scores = job.probabilities(self._spec.activation, self._clip_spec.aggregate)
        labels, best = best_classes(scores, self._labels, self._topk)
        lag = self._clock() - ready.arrival
        if self._most is not None and lag > self._most:
            _LOGGER.warning("An answer took %.2f s, longer than max_lag_seconds: it is left out.", lag)
            return None
        return StreamResult(
            window=ready.window,
            labels=labels,
            scores=best,
            lag_seconds=lag,
            skipped_hops=ready.window.number - self._answered - 1,
            gap=ready.gaps > self._gaps_answered,
        )


def _check_views(clip_spec: ClipSpec, views: Views) -> None:
    """Refuses what is no views, and several clips, which would be the same ones again and again."""
    clips, crops = view_counts(clip_spec, views)
    if clips > 1:
        raise InputError(
            f"A window of a stream is as long as one clip, and views are {clips} clips: give views='quick',"
            f" or 1 clip and {counted(crops, 'crop')}."
        )


def _checked_frame(frame: Frame | torch.Tensor) -> Frame:
    array: object = frame
    if isinstance(frame, torch.Tensor) and frame.dtype == torch.uint8:  # NumPy doesn't know every other
        array = frame.cpu().numpy()
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
        given = str(getattr(array, "dtype", type(array).__name__)).removeprefix("torch.")
        raise InputError(f"A frame is {given}; accepted: uint8 RGB of shape (height, width, 3).")
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise InputError(
            f"A frame has shape {array.shape}; accepted: RGB (height, width, 3), one frame at a time."
        )
    return array


def _checked_moment(seconds: float) -> float:
    if not is_number(seconds):
        raise InputError(f"A frame's time is {seconds!r}; accepted: seconds, a finite number.")
    return float(seconds)


def _thread_of(work: Callable[[], None]) -> threading.Thread:
    """A thread for it, on the CUDA streams of this one."""
    take_streams = gpu_streams()

    def run() -> None:
        take_streams()
        work()

    return threading.Thread(target=run, name="slowfast-stream", daemon=True)
