"""Engines timed on a job's own clips, and which of them is best for so many clips.

What is measured costs at most 3 % of the time that the job takes anyway; nothing here knows a processor.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

from slowfast_zoo.inference.engines.engine import Run
from slowfast_zoo.runtime.devices import is_out_of_memory

_LOGGER = logging.getLogger(__name__)

SHARE = 0.03
"""Of a job's time, what measuring may cost."""

_RUNS = 3
"""Timed runs of each candidate; the quickest counts, as others were disturbed."""

_HOPELESS = 1.2
"""A candidate whose first timed run takes so many times the best one's is not run again."""

_MORE_MEMORY, _LITTLE_GAIN = 1.5, 0.1
"""So many times the next candidate's memory are not taken for less than this share of the time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What an engine takes for one network and size of clips on one machine."""

    seconds_per_clip: float
    """Infinity: it was refused, or failed."""
    start_seconds: float
    """The quickest start that was seen, with what the first batch takes longer than others."""
    memory_bytes: int | None = None
    """Of the process while it ran; None where the system doesn't tell."""

    def seconds(self, clips: float) -> float:
        """For a job of so many clips, the start included."""
        return self.start_seconds + clips * self.seconds_per_clip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """An engine that could be measured."""

    name: str
    starts_in: float
    """Seconds that its start takes at most, roughly."""
    start: Callable[[], Run]
    """Builds and checks it. What it raises says that it can't be had."""


def best(measured: Mapping[str, Measured], clips: float) -> str | None:
    """The quickest engine for so many clips, unless it takes much memory for a small gain; None of none.

    Args:
        measured: by the engine's name.
        clips: how many will come.
    """
    usable = {name: each for name, each in measured.items() if math.isfinite(each.seconds_per_clip)}
    order = sorted(usable, key=lambda name: usable[name].seconds(clips))
    while len(order) > 1 and _is_greedy(usable[order[0]], usable[order[1]], clips):
        del order[0]
    return order[0] if order else None


def _is_greedy(first: Measured, second: Measured, clips: float) -> bool:
    if first.memory_bytes is None or second.memory_bytes is None:
        return False
    gain = 1 - first.seconds(clips) / max(second.seconds(clips), 1e-12)
    return first.memory_bytes > _MORE_MEMORY * second.memory_bytes and gain < _LITTLE_GAIN


def measure(
    current: str,
    run: Run,
    candidates: Iterable[Candidate],
    batch: Tensor,
    clips: int,
    known: Mapping[str, Measured],
    *,
    started: Measured,
    idle_bytes: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
    memory: Callable[[], int | None] = lambda: None,
) -> tuple[dict[str, Measured], dict[str, Run]]:
    """Times engines on the clips of a job, as many of them as its length allows.

    Args:
        current: the engine that runs already.
        run: that engine.
        candidates: others, which are started; of those that are known nothing is measured.
        batch: clips of the job, as the engine gets them.
        clips: how many the job has.
        known: what was measured before.
        started: what the start of the current engine took; its ``seconds_per_clip`` is measured here.
        idle_bytes: of this process before the current engine was started; None: not known.
        clock: seconds.
        memory: bytes of this process.

    Returns:
        everything that is known now, by name; and the best engine for this job, where it was started here.
    """
    found = dict(known)
    if current not in found:
        found[current] = dataclasses.replace(started, seconds_per_clip=_timed(run, batch, clock, math.inf))
    budget = SHARE * clips * found[current].seconds_per_clip
    runs: dict[str, Run] = {}
    begin = clock()
    for candidate in sorted(candidates, key=lambda each: each.starts_in):
        runs_seconds = 3 * found[current].seconds_per_clip * len(batch)
        if candidate.name in found or clock() - begin + candidate.starts_in + runs_seconds > budget:
            continue
        result, other = _tried(candidate, batch, found, idle_bytes, clock, memory)
        if result is not None:
            found[candidate.name] = result
        if other is not None:
            runs[candidate.name] = other
        winner = best(found, clips)
        runs = {name: each for name, each in runs.items() if name == winner}  # the others' memory is free
    return found, runs


def _tried(
    candidate: Candidate,
    batch: Tensor,
    found: Mapping[str, Measured],
    idle_bytes: int | None,
    clock: Callable[[], float],
    memory: Callable[[], int | None],
) -> tuple[Measured | None, Run | None]:
    """What it takes, and the engine; neither where memory ran out, or a disk, which may not happen again."""
    before, begin = memory(), clock()
    try:
        run = candidate.start()
        float(run(batch).sum())  # the first batch of a size compiles for it, or loads kernels
        started = clock() - begin
        seconds = _timed(run, batch, clock, min(each.seconds_per_clip for each in found.values()))
    except Exception as error:  # noqa: BLE001  # onnxruntime's are no RuntimeError
        _LOGGER.info("%s isn't taken: %s", candidate.name, error)
        refused = Measured(seconds_per_clip=math.inf, start_seconds=clock() - begin)
        return (None if is_out_of_memory(error) or _is_of_disk(error) else refused), None
    start_seconds = max(started - seconds * len(batch), 0.0)
    after = memory()
    unknown = before is None or after is None or idle_bytes is None
    own = None if unknown else idle_bytes + max(after - before, 0)  # type: ignore[operator]
    return Measured(seconds_per_clip=seconds, start_seconds=start_seconds, memory_bytes=own), run


def _is_of_disk(error: BaseException | None) -> bool:
    """Whether a file or folder is behind it, also where torch or this library tells it in other words."""
    while error is not None and not isinstance(error, (OSError, ImportError)):
        error = getattr(error, "inner_exception", None) or error.__cause__
    return error is not None


def _timed(run: Run, batch: Tensor, clock: Callable[[], float], rival: float) -> float:
    """Seconds a clip, of the quickest run."""
    seconds: list[float] = []
    for _ in range(_RUNS):
        before = clock()
        float(run(batch).sum())  # which waits for a GPU
        seconds.append((clock() - before) / len(batch))
        if seconds[0] > _HOPELESS * rival:
            break
    return min(seconds)
