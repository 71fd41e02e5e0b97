"""What ``benchmark`` found: timings, and the machine that they belong to."""

from __future__ import annotations

import dataclasses
import platform
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch


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
            processor=_processor_name(),
            threads=torch.get_num_threads(),
            torch_version=str(torch.__version__),
        )

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"{self.device}; {self.processor}, {threads}; torch {self.torch_version}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What was measured, and on what."""

    model: str
    """Its name."""
    weights: str | None
    """Tag of its published weights; None for others and for random ones, which are as fast."""
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
        weights = f"weights {self.weights}" if self.weights else "no published weights (as fast as with them)"
        lines = [
            f"{self.model}, {weights}",
            f"{self.protocol}, views of {shape}, {self.views_per_batch} at a time;"
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
            lines.append(f"reading: {self.frames_read} frames of {self.source}, {rate}")
            lines.append(f"bottleneck: {self.bottleneck}")
        if self.peak_memory_bytes is not None:
            kind = "allocated on the GPU" if self.machine.device.startswith("cuda") else "resident"
            lines.append(f"peak memory: {self.peak_memory_bytes / 2**20:.0f} MiB {kind}")
        return "\n".join(lines)


def _processor_name() -> str:
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        facts = ""
    found = re.search(r"^model name\s*:\s*(.+)$", facts, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()
