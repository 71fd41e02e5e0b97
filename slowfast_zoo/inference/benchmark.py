"""``benchmark``: how fast a model answers here, by the publishers' protocol and from a file to the answer.

The published ``inference_time`` is that of the network alone: all views of one video at a time, after a
warm-up, without reading and preparing the video; videos are divided by the sum of their seconds. Moving
the views to the device and fetching the answer belong to it. A user waits for the reading too, so it is
timed beside the network, and ``predict`` as a whole.

Source: note 2 of MMAction2's SlowFast page and its ``tools/analysis/benchmark.py``
(https://github.com/open-mmlab/mmaction2/blob/v0.21.0/tools/analysis/benchmark.py), which times 195 videos
after 5. What differs here: a GPU takes at most 32 views at once and a CPU 2, as in ``predict``, so that
memory stays bounded; and the views are random numbers, which cost the network the same as pictures.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from slowfast_zoo.errors import InputError
from slowfast_zoo.inference.engines import EngineName
from slowfast_zoo.inference.engines.optimize import OptimizedModel
from slowfast_zoo.inference.inputs import many
from slowfast_zoo.inference.measurement import Benchmark, Machine, Timing
from slowfast_zoo.inference.predict import predict
from slowfast_zoo.inference.runner import Forward, check_model, runner_for
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.runtime.precision import Precision
from slowfast_zoo.video.clips import Views, read_clips, view_counts

_LOGGER = logging.getLogger(__name__)

_now = time.perf_counter


def benchmark(
    model: SlowFast | OptimizedModel,
    source: str | Path | bytes | None = None,
    *,
    views: Views = "published",
    engine: EngineName = "auto",
    precision: Precision = "float32",
    device: str | torch.device | None = None,
    repeats: int = 5,
    warmup: int = 1,
) -> Benchmark:
    """How many videos a second the network, the reading and ``predict`` manage, and what limits them.

    Args:
        model: as in ``predict``; its weights don't matter.
        source: one video: a path, URL or bytes. None: only the network is measured.
        views: per video, as in ``predict``.
        engine: as in ``predict``: "auto" is what it takes for one video with these views.
        precision: as in ``predict``.
        device: as in ``predict``.
        repeats: videos that are timed; the publishers take 195.
        warmup: videos before those, at least one: engines start there; the publishers take 5.

    Raises:
        InputError: an argument or source that is not accepted.
        UnknownNameError: no such engine or precision.
        MissingDependencyError: what the engine needs isn't installed.
        VideoError: the video can't be read.
    """
    check_model(model)
    _check(source, repeats, warmup)
    clips, crops = view_counts(model.clip_spec, views)
    runner = runner_for(model, engine, precision, device, clips * crops)
    runs = _Runs(warmup, repeats)
    forward = Forward(runner)
    if forward.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(forward.device)
    if source is None:
        return _network_alone(model, runner, forward, (clips, crops), runs)
    # Reading comes first, so that a video that can't be read is said at once.
    frames = _read(source, model, views, forward.size)
    reading = runs.timed("reading", lambda: _read(source, model, views, forward.size))
    alone = _network_alone(model, runner, forward, (clips, crops), runs)
    return dataclasses.replace(
        alone,
        source=_name(source),
        reading=reading,
        frames_read=frames,
        predict=runs.timed("predict", lambda: predict(runner, source, views=views)),
        peak_memory_bytes=_peak_memory_bytes(forward.device),
    )


def _check(source: object, repeats: int, warmup: int) -> None:
    for name, count in (("repeats", repeats), ("warmup", warmup)):
        if type(count) is not int or count < 1:
            raise InputError(f"{name} is {count!r}; accepted: an integer of at least 1.")
    if source is not None and (not isinstance(source, (str, Path, bytes)) or many(source) is not None):
        raise InputError(f"benchmark reads one video: a path, URL or bytes; got {_name(source)}.")


@dataclasses.dataclass(frozen=True)
class _Runs:
    """How often things run, untimed and timed."""

    warmup: int
    repeats: int

    def timed(self, name: str, run: Callable[[], object]) -> Timing:
        """The seconds of the runs behind the warm-up."""
        seconds = []
        for number in range(self.warmup + self.repeats):
            before = _now()
            run()
            seconds.append(_now() - before)
            _LOGGER.info("%s %d of %d: %.3f s", name, number + 1, self.warmup + self.repeats, seconds[-1])
        return Timing(tuple(seconds[self.warmup :]))


def _read(source: str | Path | bytes, model: SlowFast | OptimizedModel, views: Views, size: int) -> int:
    """Makes every view, a batch at a time, and drops it; says how many different frames they show."""
    clips = read_clips(source, model.clip_spec, views=views)
    for _ in clips.batches(size):
        pass
    return len(np.unique(clips.indices))


def _network_alone(
    model: SlowFast | OptimizedModel,
    runner: SlowFast | OptimizedModel,
    forward: Forward,
    views: tuple[int, int],
    runs: _Runs,
) -> Benchmark:
    spec = model.clip_spec
    shape = (model.spec.in_channels, spec.num_frames, spec.test_crop, spec.test_crop)
    network, per_view = _network(forward, shape, views[0] * views[1], runs)
    return Benchmark(
        model=str(model.provenance.get("model", "SlowFast")),
        weights=model.provenance.get("tag"),
        engine=runner.engine if isinstance(runner, OptimizedModel) else "module",
        precision=_precision(runner),
        machine=Machine.of(forward.device),
        views=views,
        view_shape=shape,
        slow_frames=spec.num_frames // model.spec.alpha,
        views_per_batch=min(forward.size, views[0] * views[1]),
        network=network,
        per_view=per_view,
        peak_memory_bytes=_peak_memory_bytes(forward.device),
    )


def _network(
    forward: Forward, shape: tuple[int, int, int, int], views: int, runs: _Runs
) -> tuple[Timing, Timing]:
    """The network over all views of a video: by video, and by view.

    One batch stands for all of them: what is in it costs nothing, and thirty views would be 750 MB.
    """
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn((min(forward.size, views), *shape), generator=generator)
    shares: list[float] = []

    def video() -> None:
        left = views
        while left:
            count = min(forward.size, left)  # which falls when memory runs out
            before = _now()
            forward.run(batch[:count])
            shares.extend([(_now() - before) / count] * count)
            left -= count

    by_video = runs.timed("network", video)
    return by_video, Timing(tuple(shares[runs.warmup * views :]))


def _name(source: object) -> str:
    if isinstance(source, (str, Path)):
        return str(source)
    return f"{len(source)} bytes" if isinstance(source, bytes) else type(source).__name__


def _precision(runner: SlowFast | OptimizedModel) -> str:
    if isinstance(runner, OptimizedModel):
        return runner.precision
    return str(next(runner.parameters()).dtype).removeprefix("torch.")


def _peak_memory_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
