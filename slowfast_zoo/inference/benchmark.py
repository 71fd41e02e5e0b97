"""``benchmark``: how fast a model answers here, by the publishers' protocol and from a file to the answer.

The published ``inference_time`` is that of the network alone: all views of one video at a time, after a
warm-up, without reading and preparing the video; videos are divided by the sum of their seconds. Moving
the views to the device and fetching the answer belong to it. A user waits for the reading too, so it is
timed beside the network, and ``predict`` as a whole.

Source: note 2 of MMAction2's SlowFast page and its ``tools/analysis/benchmark.py``
(https://github.com/open-mmlab/mmaction2/blob/v0.21.0/tools/analysis/benchmark.py), which times 195 videos
after 5. What differs here: a GPU takes at most 32 views at once and a CPU one, as in ``predict``, so that
memory stays bounded; and the views are random numbers, which cost the network the same as pictures.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from slowfast_zoo.errors import InputError, counted
from slowfast_zoo.files import kind_of
from slowfast_zoo.inference.engines import EngineName
from slowfast_zoo.inference.engines.engine import example_boxes
from slowfast_zoo.inference.engines.optimize import OptimizedModel
from slowfast_zoo.inference.inputs import check_single
from slowfast_zoo.inference.predict import Predictor
from slowfast_zoo.inference.runner import BatchRunner, check_predictable
from slowfast_zoo.network.provenance import of_pathways
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.runtime.machine import processor
from slowfast_zoo.runtime.precision import Precision
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.clips import Views, view_counts
from slowfast_zoo.video.decoding.images import is_pattern
from slowfast_zoo.video.sampling import checked_count
from slowfast_zoo.video.sources.names import display_name, is_url, local_path

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Timing:
    """The timed runs of one thing."""

    seconds: tuple[float, ...]
    """Of each run, in order, at least one."""

    @property
    def per_second(self) -> float:
        """Runs divided by the sum of their seconds, as the publishers count."""
        return len(self.seconds) / sum(self.seconds)

    def percentile(self, share: float) -> float:
        """Seconds that ``share`` (0 to 100) of the runs stay below, interpolated; 50 is the median."""
        return float(np.percentile(self.seconds, share))

    def to_dict(self) -> dict[str, Any]:
        """The runs and what follows from them, as plain JSON values."""
        quantiles = {f"p{share}_seconds": self.percentile(share) for share in (5, 50, 95)}
        return {"per_second": self.per_second, **quantiles, "seconds": list(self.seconds)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """Where something was measured."""

    device: str
    """Where the network ran, with a GPU's name."""
    processor: str
    """Where everything else ran."""
    threads: int
    """torch's; the decoder has threads of its own."""
    torch_version: str
    """As torch says it."""

    @classmethod
    def of(cls, device: torch.device) -> Machine:
        """This machine, with the network on ``device``."""
        name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
        return cls(
            device=f"{device}{name}",
            processor=processor(),
            threads=torch.get_num_threads(),
            torch_version=str(torch.__version__),
        )

    def __str__(self) -> str:
        threads = counted(self.threads, "thread")
        return f"{self.device}; {self.processor}, {threads}; torch {self.torch_version}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What was measured, and on what."""

    model: str
    """Its name."""
    weights: str | None
    """Tag of its published weights; None for others and for random ones, which but in int8 are as fast."""
    engine: str
    """What computed; "module" is the model as it is."""
    precision: str
    """Of the computation."""
    machine: Machine
    """Where it ran."""
    views: tuple[int, int]
    """Clips in time and crops in space of a video."""
    view_shape: tuple[int, int, int, int]
    """(C, T, H, W) of a view."""
    slow_frames: int
    """Of the T frames, how many the slow pathway sees."""
    views_per_batch: int
    """Views that were given to the network at once; on a CPU the engines take large ones one by one."""
    network: Timing
    """One video's views through the network; the published protocol when ``views`` is "published"."""
    per_view: Timing
    """One view through the network: its share of its batch's seconds."""
    boxes: int | None = None
    """Persons in a view, where the model scores them."""
    source: str | None = None
    """The video; None where only the network was measured."""
    reading: Timing | None = None
    """Decoding the video and making its views, alone."""
    frames_read: int | None = None
    """Different frames of the video that its views show."""
    predict: Timing | None = None
    """``predict``: from the file to the answer, one video at a time."""
    peak_memory_bytes: int | None = None
    """On a GPU what torch had allocated at most in this call; else the largest resident set of the process
    so far. None where the system doesn't tell."""

    @property
    def protocol(self) -> str:
        """Frames per video as the publishers write them: "(32+4)x10x3 frames"."""
        clips, crops = self.views
        return f"({self.view_shape[1]}+{self.slow_frames})x{clips}x{crops} frames"

    @property
    def bottleneck(self) -> Literal["reading", "network"] | None:
        """Which of the two takes longer, and so limits a list of videos; None without a video."""
        if self.reading is None:
            return None
        return "reading" if self.reading.percentile(50) > self.network.percentile(50) else "network"

    @property
    def frames_per_second(self) -> float | None:
        """``frames_read`` by the second of reading; None without a video."""
        if self.reading is None or self.frames_read is None:
            return None
        return self.frames_read * self.reading.per_second

    def to_dict(self) -> dict[str, Any]:
        """Every field and what follows from them, as plain JSON values."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name, value in values.items():
            if isinstance(value, Timing):
                values[name] = value.to_dict()
            elif isinstance(value, Machine):
                values[name] = dataclasses.asdict(value)
            elif isinstance(value, tuple):
                values[name] = list(value)
        derived = ("protocol", "bottleneck", "frames_per_second")
        return values | {name: getattr(self, name) for name in derived}

    def __str__(self) -> str:
        shape = "x".join(map(str, self.view_shape))
        boxes = "" if self.boxes is None else f" with {counted(self.boxes, 'box')}"
        same = "" if self.precision == "int8" else " (as fast as any)"
        weights = f"weights {self.weights}" if self.weights else f"random or own weights{same}"
        clips, crops = self.views
        lines = [
            f"{self.model}, {weights}",
            f"{self.view_shape[1]} fast + {self.slow_frames} slow frames, {counted(clips, 'clip')} x"
            f" {counted(crops, 'crop')}; views of {shape}{boxes}, {self.views_per_batch} at a time;"
            f" engine {self.engine}, {self.precision}",
            str(self.machine),
            f"{'':9}{'video/s':>9}{'seconds per video: median (p5 - p95)':>40}",
        ]
        for name, timing in (("network", self.network), ("reading", self.reading), ("predict", self.predict)):
            if timing is not None:
                p5, p50, p95 = (timing.percentile(share) for share in (5, 50, 95))
                seconds = f"{p50:.4f} ({p5:.4f} - {p95:.4f})"
                lines.append(f"{name:9}{timing.per_second:9.3f}{seconds:>40}")
        p5, p50, p95 = (1000 * self.per_view.percentile(share) for share in (5, 50, 95))
        lines.append(f"one view through the network: median {p50:.2f} ms (p5 {p5:.2f}, p95 {p95:.2f})")
        if self.reading is not None:
            rate = f"{self.frames_per_second:.0f} frames/s"
            lines.append(f"reading: {counted(self.frames_read or 0, 'frame')} of {self.source}, {rate}")
            lines.append(f"bottleneck: {self.bottleneck}")
        if self.peak_memory_bytes is not None:
            kind = "allocated on the GPU" if self.machine.device.startswith("cuda") else "resident"
            lines.append(f"peak memory: {self.peak_memory_bytes / 2**20:.0f} MiB {kind}")
        return "\n".join(lines)


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
    batch_size: int | None = None,
    boxes: int = 5,
) -> Benchmark:
    """How many videos a second the network, the reading and ``predict`` manage, and what limits them.

    Args:
        model, views, engine, precision, device: as in ``predict``, for one video; weights don't matter.
        source: one video: a path, URL or bytes. None: only the network is measured.
        repeats: videos that are timed; the publishers take 195.
        warmup: videos before those, at least one: engines start there; the publishers take 5.
        batch_size: as in ``predict_many``.
        boxes: persons in a clip, for a model that scores them; of such a model only the network is measured.

    Raises:
        InputError: an argument or source that is not accepted.
        UnknownNameError: no such engine or precision.
        MissingDependencyError: what the engine needs isn't installed.
        VideoError: the video can't be read.
    """
    persons = isinstance(model, (SlowFast, OptimizedModel)) and model.spec.roi is not None
    check_predictable(model, boxes=persons)
    repeats, warmup = checked_count("repeats", repeats), checked_count("warmup", warmup)
    boxes = checked_count("boxes", boxes)
    _check(source, model.clip_spec)
    clips, crops = view_counts(model.clip_spec, views)
    if persons:
        if source is not None:
            raise InputError(
                "benchmark measures the network alone of a model that scores persons: leave the video out."
            )
        runner = BatchRunner(
            model, engine, precision, device, clips=clips * crops, batch_size=batch_size, boxes=True
        )
        _reset_peak_memory(runner.device)
        return _network_alone(model, runner, (clips, crops), _Runs(warmup, repeats), boxes)
    predictor = Predictor(
        model,
        views=views,
        device=device,
        engine=engine,
        precision=precision,
        batch_size=batch_size,
        clips=clips * crops,
    )
    runner, runs = predictor.runner, _Runs(warmup, repeats)
    _reset_peak_memory(runner.device)
    if source is None:
        return _network_alone(model, runner, (clips, crops), runs)
    # Reading comes first, so that a video that can't be read is said at once.
    frames = _read(predictor, source)
    reading = runs.timed("reading", lambda: _read(predictor, source))
    return dataclasses.replace(
        _network_alone(model, runner, (clips, crops), runs),
        source=_name(source),
        reading=reading,
        frames_read=frames,
        predict=runs.timed("predict", lambda: predictor(source)),
        peak_memory_bytes=_peak_memory_bytes(runner.device),
    )


def _check(source: object, spec: ClipSpec) -> None:
    if source is None:
        return
    if not isinstance(source, (str, Path, bytes)):
        raise InputError(f"benchmark reads one video: a path, URL or bytes; got {_name(source)}.")
    check_single(source, "time one of them.")
    if spec.time_base == "frames" or isinstance(source, bytes) or is_url(source):
        return
    if is_pattern(path := local_path(source)) or kind_of(path) == "folder":
        raise InputError(
            f"'{_name(source)}' is frames without a rate, in which this model's clips are counted; benchmark"
            " takes a video file."
        )


@dataclasses.dataclass(frozen=True)
class _Runs:
    """How often things run, untimed and timed."""

    warmup: int
    repeats: int

    def timed(self, name: str, run: Callable[[], object]) -> Timing:
        """The seconds of the runs after the warm-up."""
        seconds = []
        for number in range(self.warmup + self.repeats):
            before = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - before)
            _LOGGER.info("%s %d of %d: %.3f s", name, number + 1, self.warmup + self.repeats, seconds[-1])
        return Timing(tuple(seconds[self.warmup :]))


def _read(predictor: Predictor, source: str | Path | bytes) -> int:
    """Makes every view, a batch at a time, and drops it; says how many different frames they show."""
    clips = predictor.read(source)
    for _ in clips.batches(predictor.runner.batch_size):
        pass
    return len(np.unique(clips.indices))


def _network_alone(
    model: SlowFast | OptimizedModel,
    runner: BatchRunner,
    views: tuple[int, int],
    runs: _Runs,
    boxes: int | None = None,
) -> Benchmark:
    spec, computes = model.clip_spec, runner.model
    shape = (model.spec.in_channels, spec.num_frames, spec.test_crop, spec.test_crop)
    persons = [] if boxes is None else [each[:, 1:] for each in example_boxes(model.spec, shape, boxes)]
    network, per_view = _network(runner, shape, views[0] * views[1], runs, persons)
    return Benchmark(
        model=str(model.provenance.get("model") or "SlowFast"),
        weights=of_pathways(model.provenance).get("tag"),
        engine=computes.engine if isinstance(computes, OptimizedModel) else "module",
        precision=runner.precision,
        machine=Machine.of(runner.device),
        views=views,
        view_shape=shape,
        slow_frames=spec.num_frames // model.spec.alpha,
        views_per_batch=min(runner.batch_size, views[0] * views[1]),
        boxes=boxes,
        network=network,
        per_view=per_view,
        peak_memory_bytes=_peak_memory_bytes(runner.device),
    )


def _network(
    runner: BatchRunner, shape: tuple[int, int, int, int], views: int, runs: _Runs, persons: list[Tensor]
) -> tuple[Timing, Timing]:
    """The network over all views of a video: by video, and by view.

    One batch stands for all of them: what is in it costs nothing, and thirty views would be 750 MB.
    """
    generator = torch.Generator().manual_seed(0)
    size = (min(runner.batch_size, views), *shape)
    batch = torch.randn(size, generator=generator, dtype=torch.float32, device="cpu")
    shares: list[float] = []

    def video() -> None:
        left = views
        while left:
            count = min(runner.batch_size, left)  # which falls when memory runs out
            before = time.perf_counter()
            runner(batch[:count], persons * count)
            shares.extend([(time.perf_counter() - before) / count] * count)
            left -= count

    by_video = runs.timed("network", video)
    return by_video, Timing(tuple(shares[runs.warmup * views :]))


def _name(source: object) -> str:
    if isinstance(source, (str, Path)):
        return display_name(source)
    return f"{len(source)} bytes" if isinstance(source, bytes) else type(source).__name__


def _reset_peak_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak_memory_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
