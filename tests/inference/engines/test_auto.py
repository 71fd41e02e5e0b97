"""What "auto" measures: what it may cost, what is chosen from it, and what is kept of it."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from support.small_nets import heavy, make_model
from torch import Tensor

from slowfast_zoo import SlowFast, optimize
from slowfast_zoo.errors import ExportError
from slowfast_zoo.inference.engines import artifacts
from slowfast_zoo.inference.engines import optimize as optimize_module
from slowfast_zoo.inference.engines.auto import records
from slowfast_zoo.inference.engines.auto.measuring import Candidate, Measured, best, measure
from slowfast_zoo.inference.engines.engine import Run
from slowfast_zoo.inference.engines.optimize import ENGINES, OptimizedModel, choose

CPU = torch.device("cpu")
MIB = 2**20
BATCH = torch.zeros(1, 3, 8, 48, 48)


def taking(seconds: float, start: float = 0, memory: int | None = None) -> Measured:
    return Measured(seconds_per_clip=seconds, start_seconds=start, memory_bytes=memory)


@pytest.mark.parametrize(
    ("measured", "clips", "chosen"),
    [
        ({}, 10, None),
        ({"a": taking(math.inf)}, 10, None),
        ({"a": taking(2), "b": taking(1, 100)}, 99, "a"),
        ({"a": taking(2), "b": taking(1, 100)}, 101, "b"),
        ({"a": taking(2), "b": taking(math.inf)}, 10**6, "a"),
        # a gain of 9 % for 1.6 times the memory, of 11 %, and for as much memory
        ({"a": taking(1, memory=100), "b": taking(0.91, memory=160)}, 1000, "a"),
        ({"a": taking(1, memory=100), "b": taking(0.89, memory=160)}, 1000, "b"),
        ({"a": taking(1, memory=100), "b": taking(0.91, memory=149)}, 1000, "b"),
        ({"a": taking(1, memory=None), "b": taking(0.91, memory=160)}, 1000, "b"),
        # the next one is greedy, too
        ({"a": taking(1, memory=100), "b": taking(0.95, memory=160), "c": taking(0.9, memory=300)}, 9, "a"),
    ],
)
def test_the_best_engine(measured: dict[str, Measured], clips: int, chosen: str | None) -> None:
    assert best(measured, clips) == chosen
    assert best(dict(reversed(measured.items())), clips) == chosen, "whatever the order"


class Machine:
    """A clock and a memory that only the engines of a test move."""

    def __init__(self) -> None:
        self.seconds, self.bytes = 0.0, 100 * MIB
        self.started: list[str] = []

    def clock(self) -> float:
        return self.seconds

    def memory(self) -> int:
        return self.bytes

    def run(self, seconds: float) -> Run:
        def run(clips: Tensor) -> Tensor:
            self.seconds += seconds * len(clips)
            return clips.new_zeros(len(clips), 2)

        return run

    def candidate(
        self, name: str, start: float, seconds: float, memory: int = 0, expected: float | None = None
    ) -> Candidate:
        def begin() -> Run:
            self.started.append(name)
            self.seconds += start
            self.bytes += memory
            if math.isinf(seconds):
                raise ExportError("it doesn't work")
            return self.run(seconds)

        return Candidate(name=name, starts_in=start if expected is None else expected, start=begin)

    def measure(
        self, candidates: list[Candidate], clips: int, **named: Any
    ) -> tuple[dict[str, Measured], dict[str, Run]]:
        return measure(
            "eager",
            self.run(1.0),
            candidates,
            BATCH,
            clips,
            named.pop("known", {}),
            started=taking(math.inf, 2, 100 * MIB),
            clock=self.clock,
            memory=self.memory,
            **named,
        )


def test_a_job_starts_what_it_can_pay() -> None:
    machine = Machine()
    candidates = [machine.candidate("slow start", 40, 0.25), machine.candidate("fast", 10, 0.5)]
    found, runs = machine.measure(candidates, 1000)
    assert machine.started == ["fast"], "3 % of 1000 s are 30 s"
    assert found["fast"] == taking(0.5, 10)
    assert found["eager"] == taking(1, 2, 100 * MIB)
    assert list(runs) == ["fast"]
    machine = Machine()
    candidates = [machine.candidate("slow start", 40, 0.25), machine.candidate("fast", 10, 0.5)]
    found, runs = machine.measure(candidates, 2000)
    assert machine.started == ["fast", "slow start"]
    assert list(runs) == ["slow start"]
    assert Machine().measure([Machine().candidate("fast", 10, 0.5)], 300)[1] == {}


def test_measuring_stays_within_its_share() -> None:
    for clips in (100, 500, 1000, 5000, 20_000):
        machine = Machine()
        every = [machine.candidate(f"{start}", start, 1 / (start + 1)) for start in range(1, 40, 3)]
        before = machine.clock()
        machine.measure(every, clips)
        first = 3.0  # of the engine that runs anyway
        assert machine.clock() - before - first <= 0.03 * clips + 1


def test_what_is_known_is_not_measured_again() -> None:
    machine = Machine()
    known = {"eager": taking(1, 2), "fast": taking(0.5, 10)}
    found, runs = machine.measure([machine.candidate("fast", 10, 0.5)], 10**6, known=known)
    assert (found, runs, machine.started, machine.seconds) == (known, {}, [], 0)


def onnxruntime_error(text: str) -> Exception:
    """One of its own, which derive from nothing but ``Exception``."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    assert not issubclass(state.RuntimeException, RuntimeError)
    return state.RuntimeException(text)


def test_what_fails_is_known_too() -> None:
    machine = Machine()
    found, runs = machine.measure([machine.candidate("broken", 3, math.inf)], 1000)
    assert found["broken"] == taking(math.inf, 3) and runs == {}


def told_otherwise(error: Exception) -> ExportError:
    """As torch.compile and this library tell it."""
    from torch._dynamo.exc import BackendCompilerFailed

    told = ExportError("torch.compile can't build this model")
    told.__cause__ = BackendCompilerFailed(lambda: None, error, None)  # type: ignore[arg-type]
    return told


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (RuntimeError("Exception from src/inference"), True),
        (torch.OutOfMemoryError("CUDA out of memory"), False),
        (MemoryError(), False),
        (OSError(28, "No space left on device"), False),
        (told_otherwise(OSError(28, "No space left on device")), False),
        (told_otherwise(ImportError("main.so: file too short")), False),
        (told_otherwise(ValueError("no such kernel")), True),
        (onnxruntime_error("Node() Status Message: no such kernel"), True),
        (onnxruntime_error("Failed to allocate memory for requested buffer of size 9"), False),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_whatever_a_candidate_raises_the_job_continues(error: Exception, kept: bool, late: bool) -> None:
    machine = Machine()

    def fail(*_: object) -> Any:
        raise error

    broken = Candidate(name="broken", starts_in=0, start=(lambda: fail) if late else fail)
    found, runs = machine.measure([broken, machine.candidate("fast", 10, 0.5)], 1000)
    assert ("broken" in found) == kept and list(runs) == ["fast"]
    assert not kept or math.isinf(found["broken"].seconds_per_clip)


def test_memory_is_counted_without_the_engine_that_runs() -> None:
    machine = Machine()
    candidates = [machine.candidate("fast", 10, 0.5, 30 * MIB), machine.candidate("other", 11, 0.4, 10 * MIB)]
    found, _ = machine.measure(candidates, 10_000, idle_bytes=60 * MIB)
    assert found["fast"].memory_bytes == 90 * MIB and found["other"].memory_bytes == 70 * MIB


def test_a_hopeless_candidate_is_timed_once() -> None:
    machine = Machine()
    machine.measure([machine.candidate("slow", 0, 50)], 10_000)
    assert machine.seconds == 3 + 50 + 50, "behind a run that may have had to compile"


def test_what_only_the_first_batch_takes_belongs_to_the_start() -> None:
    """A size that is compiled for, or kernels that are loaded, when the first batch of that size comes."""
    machine = Machine()
    first = [30.0]

    def start() -> Run:
        run = machine.run(0.5)

        def late(clips: Tensor) -> Tensor:
            machine.seconds += first.pop() if first else 0
            return run(clips)

        return late

    found, runs = machine.measure([Candidate(name="late", starts_in=10, start=start)], 10_000)
    assert found["late"] == taking(0.5, 30) and list(runs) == ["late"]


def test_a_candidate_whose_first_batch_fails_is_refused() -> None:
    machine = Machine()

    def fail(clips: Tensor) -> Tensor:
        raise ExportError("it can't be compiled for so many")

    found, runs = machine.measure([Candidate(name="late", starts_in=10, start=lambda: fail)], 10_000)
    assert found["late"] == taking(math.inf) and runs == {}


@pytest.fixture
def rigged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine on which eager takes a second a clip, OpenVINO half of that, and the module two."""
    machine = Machine()
    speeds = {"eager": (1.0, 1.0), "openvino": (0.5, 10.0)}
    build = ENGINES["eager"].build

    def rig(name: str) -> None:
        seconds, start = speeds[name]

        def slow(*arguments: Any) -> Run:
            run = build(*arguments)
            machine.started.append(name)
            machine.seconds += start

            def call(clips: Tensor) -> Tensor:
                begin = machine.seconds
                logits = run(clips)
                machine.seconds = begin + seconds * len(clips)
                return logits

            return call

        monkeypatch.setitem(ENGINES, name, dataclasses.replace(ENGINES[name], build=slow, starts_in=start))

    for name in speeds:
        rig(name)
    monkeypatch.delitem(ENGINES, "compile")
    monkeypatch.delitem(ENGINES, "onnxruntime")
    monkeypatch.setattr(
        optimize_module, "measure", lambda *given, **named: measure(*given, **named, clock=machine.clock)
    )
    forward = SlowFast.forward

    def module(self: SlowFast, clip: Tensor) -> Tensor:
        machine.seconds += 2 * len(clip)
        return forward(self, clip)

    monkeypatch.setattr(SlowFast, "forward", module)
    yield machine


def clip() -> Tensor:
    return torch.randn(1, 3, 8, 48, 48, generator=torch.Generator().manual_seed(1))


def test_a_long_job_measures_and_a_short_one_finds_the_answer(rigged: Machine) -> None:
    model = make_model()
    assert choose(model, CPU, clips=50) is None
    fast = optimize(model, clips=5000)
    assert fast.engine == "eager"
    logits = fast(clip())
    assert fast.engine == "openvino"
    assert rigged.started == ["eager", "openvino"]
    assert (logits - model(clip())).abs().max() <= 1e-5 * logits.abs().max()
    fast(clip())
    assert len(rigged.started) == 2
    for clips, chosen in ((10, "eager"), (50, "openvino"), (None, "openvino")):
        assert choose(model, CPU, clips=clips) == chosen
    assert optimize(make_model(), clips=5000).engine == "openvino", "other weights, the same network"
    other = heavy(make_model())
    assert choose(other, CPU, clips=1000) == "openvino" and choose(other, CPU, clips=1) is None, "by the rule"


def test_who_names_an_engine_gets_it(rigged: Machine) -> None:
    fast = optimize(make_model(), "eager", clips=10**6)
    fast(clip())
    assert fast.engine == "eager" and rigged.started == ["eager"]
    assert records.records_in_words() == {}


def test_an_engine_that_is_there_measures_when_a_long_job_comes(rigged: Machine) -> None:
    fast = optimize(make_model(), clips=10)
    fast(clip())
    assert rigged.started == ["eager"]
    fast.expect(3000)
    fast(clip())
    assert fast.engine == "openvino" and rigged.started == ["eager", "openvino"]


FINE = {"seconds_per_clip": 1, "start_seconds": 1, "memory_bytes": None}


def damaged(path: Any) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def emptied(path: Any) -> None:
    path.write_bytes(b"")


def rewritten(values: object) -> Callable[[Any], None]:
    def write(path: Any) -> None:
        artifacts.store(path.name, json.dumps(values).encode())

    return write


@pytest.mark.parametrize(
    "harm",
    [
        damaged,
        emptied,
        rewritten([]),
        rewritten({"measured": {"eager": 3}}),
        rewritten({"measured": {"eager": FINE | {"seconds_per_clip": -1}}}),
        rewritten({"measured": {"eager": FINE | {"start_seconds": "1"}}}),
        rewritten({"measured": {"eager": FINE | {"start_seconds": 10**400}}}),
        rewritten({"measured": {"eager": FINE | {"memory_bytes": []}}}),
    ],
)
def test_a_broken_record_is_ignored(
    rigged: Machine, caplog: pytest.LogCaptureFixture, harm: Callable[[Any], None]
) -> None:
    model = make_model()
    optimize(model, clips=5000)(clip())
    folder = artifacts.engine_folder()
    assert folder is not None
    (path,) = folder.glob("*.timed")
    harm(path)
    caplog.clear()
    assert choose(model, CPU, clips=500) is None
    assert any(path.name in message for message in caplog.messages)
    records.records_in_words()
    optimize(model, clips=5000)(clip())
    assert choose(model, CPU, clips=500) == "openvino", "it was written anew"


def test_what_was_measured_is_told(rigged: Machine) -> None:
    optimize(make_model(), clips=5000)(clip())
    ((what, engines),) = records.records_in_words().items()
    assert what.startswith("SlowFast R14, alpha 4, width 8, 6 classes, clips 3x8x48x48, float32 (")
    assert engines.startswith("openvino 500 ms a clip (starts in 1") and "module 2e+03 ms a clip" in engines


def test_records_are_told_apart_and_the_latest_counts() -> None:
    spec = make_model().spec
    others = [spec.replace(num_classes=number) for number in (400, 0)]
    for each in (spec, spec.replace(dropout=0.9), *others):
        records.Case(each, (3, 8, 48, 48), "float32", CPU, ()).keep({"eager": taking(each.dropout)})
        time.sleep(0.02)  # their order is that of the files' times
    for _ in range(2):  # looking doesn't make an old one new
        lines = records.records_in_words()
        assert len(lines) == 3
        (small,) = (told for what, told in lines.items() if "6 classes" in what)
        assert small.startswith("eager 900 ms a clip")


def test_what_was_kept_meanwhile_stays() -> None:
    case = records.Case(make_model().spec, (3, 8, 48, 48), "float32", CPU, ())
    case.keep({"eager": taking(1, 2)})
    case.keep({"openvino": taking(0.5, 3, 5)})
    assert case.known() == {"eager": taking(1, 2), "openvino": taking(0.5, 3, 5)}
    other = dataclasses.replace(case, shape=(3, 8, 64, 64))
    assert other.known() == {}
    assert isinstance(optimize(make_model(), "eager"), OptimizedModel)
