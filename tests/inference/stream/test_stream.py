"""Streams: the answers of a timeline, never old, whatever the network's speed."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import gc
import math
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from support.movies import moving_pattern, write_stamped
from support.small_nets import SMALL, make_model
from torch import Tensor

from slowfast_zoo import ClipSpec, SlowFast, open_video
from slowfast_zoo.errors import InputError
from slowfast_zoo.inference.predict import Predictor
from slowfast_zoo.inference.stream.arrived import Arrived, Walk
from slowfast_zoo.inference.stream.stream import Stream, StreamResult
from slowfast_zoo.video.windows import Grid, Window, WindowReader

FRAMES = moving_pattern(60, 40, 56)
NTSC = Fraction(30000, 1001)
CLIP = ClipSpec(num_frames=8, frame_stride=2, size=32, crop=32, test_crop=32)
SPECS = {
    "frames": CLIP,
    "scaled": CLIP.replace(time_base="fps-scaled", fps=30, short_video="stretch"),
    "seconds": CLIP.replace(time_base="seconds", fps=30, sampling="pytorchvideo", resize="float-bilinear"),
    "seconds-0.1": CLIP.replace(time_base="seconds", fps=30, sampling="pytorchvideo-0.1"),
}
VARIABLE = np.cumsum([0] + [20, 60, 33] * 19 + [400, 20]).tolist()


class Recording(SlowFast):
    """Keeps what it was asked, and can be held up."""

    asked: list[Tensor]
    hold: Callable[[], object] | None = None

    def forward(self, clip: Tensor) -> Tensor:
        self.asked.append(clip.clone())
        if self.hold is not None:
            self.hold()
        return super().forward(clip)


def recording(spec: ClipSpec) -> Recording:
    model = make_model(SMALL)
    model.__class__ = Recording
    assert isinstance(model, Recording)
    model.asked, model.clip_spec = [], spec
    return model


def streamed(path: Path, model: SlowFast, hop_seconds: float, fps: Fraction | None) -> list[StreamResult]:
    """Every window answered: each push waits for the network."""
    results = []
    with open_video(path) as video, Stream(model, hop_seconds=hop_seconds, topk=None, fps=fps) as stream:
        for _, seconds, frame in video.stream():
            results.append(stream.push(frame, seconds))
            results.append(stream.wait())
        results += stream.finish()
    return [result for result in results if result is not None]


def without_end(window: Window) -> Window:
    """A stream doesn't wait for the frame that tells when the one before ends."""
    return dataclasses.replace(window, end_seconds=0.0)


def check_equal(path: Path, spec: ClipSpec, hop_seconds: float, *, with_rate: bool) -> list[StreamResult]:
    """The stream's windows are those of a timeline, its inputs the same bits, its scores those of predict."""
    model = recording(spec)
    with open_video(path) as video:
        fps = video.fps if with_rate else None
        expected = list(WindowReader(video, spec, Grid(hop_seconds=hop_seconds)))
    results = streamed(path, model, hop_seconds, fps)
    assert [without_end(result.window) for result in results] == [
        without_end(window) for window, _ in expected
    ]
    if (
        spec.time_base == "seconds"
    ):  # where its last frame ends, a Matroska file doesn't say, and this rule asks
        expected.pop()
        results.pop()
    asked, model.asked = model.asked[: len(expected)], []
    predictor = Predictor(model, topk=None)
    for result, clip, (window, clips) in zip(results, asked, expected, strict=True):
        assert torch.equal(clip[0], clips[0])
        with open_video(path) as video:
            part = video.frames(window.frames)
        answer = predictor(part) if spec.time_base == "frames" else None
        scores = torch.softmax(model(clips.tensor()), 1)[0].tolist()
        assert sorted(result.scores) == pytest.approx(sorted(scores), abs=1e-6)
        assert answer is None or (answer.labels == result.labels)
        assert answer is None or answer.scores == pytest.approx(result.scores, abs=1e-6)
    return results


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("fps", [24, 25, NTSC, 60], ids=str)
def test_a_stream_is_the_timeline(name: str, fps: Fraction | int, tmp_path: Path) -> None:
    stamps = [round(1000 * index / fps) for index in range(60)]
    path = write_stamped(tmp_path / "film.mkv", stamps, frames=FRAMES)
    assert len(check_equal(path, SPECS[name], 0.4, with_rate=True)) >= 2


@pytest.mark.parametrize("name", SPECS)
def test_a_variable_frame_rate_too(name: str, tmp_path: Path) -> None:
    path = write_stamped(tmp_path / "film.mkv", VARIABLE, frames=FRAMES)
    assert len(check_equal(path, SPECS[name], 0.4, with_rate=True)) >= 3


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17])
@pytest.mark.parametrize("name", SPECS)
def test_a_frame_more_or_less_than_a_window_and_one_in_all(name: str, count: int, tmp_path: Path) -> None:
    path = write_stamped(tmp_path / "film.mkv", [40 * index for index in range(count)], frames=FRAMES)
    assert len(check_equal(path, SPECS[name], 0.04, with_rate=True)) <= 4


def test_a_hop_shorter_than_a_frame_and_one_longer_than_a_window(tmp_path: Path) -> None:
    path = write_stamped(tmp_path / "film.mkv", [40 * index for index in range(30)], frames=FRAMES)
    assert len(check_equal(path, CLIP, 0.01, with_rate=True)) == 16
    assert len(check_equal(path, CLIP, 0.7, with_rate=True)) == 2


def test_the_frame_rate_is_measured_where_nobody_says_it(tmp_path: Path) -> None:
    path = write_stamped(tmp_path / "film.mkv", [40 * index for index in range(60)], frames=FRAMES)
    check_equal(path, SPECS["scaled"], 0.25, with_rate=False)


def test_a_camera_that_changes_its_rate_is_measured_anew() -> None:
    arrived = Arrived("camera", (32, 32), None)
    walk, windows, seconds = Walk(Grid(hop_seconds=0.5), SPECS["scaled"], arrived), list[Window](), 0.0
    for fps, count in ((30, 1800), (15, 320), (30, 640)):
        for _ in range(count):
            walk.add(seconds, seconds)
            seconds += 1 / fps
            while (window := walk.next(len(windows))) is not None:
                windows.append(window)
            arrived.drop_before(walk.needed())
            for window in copy.deepcopy(walk).rest(0) if count == 640 else ():  # should it end here
                assert arrived.first <= window.first_frame < window.frames.stop <= arrived.num_frames
        assert arrived.fps_so_far == fps
        assert windows[-1].end_seconds - windows[-1].start_seconds == pytest.approx(16 / 30, abs=1e-3)


def test_a_pause_tells_nothing_about_the_rate_and_a_slow_camera_does() -> None:
    arrived, seconds = Arrived("camera", (32, 32), None), 0.0
    for pause, hold, count, fps in ((0, 1 / 30, 300, 30), (6, 1 / 30, 60, 30), (0, 2.0, 20, 0.5)):
        seconds += pause
        for _ in range(count):
            arrived.add(seconds, seconds)
            seconds += hold
        assert float(arrived.fps_so_far or 0) == pytest.approx(fps, rel=0.05)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Simulation:
    """A network whose time is the clock's: it takes so many seconds for a window, neither more nor less."""

    def __init__(self, model: Recording, clock: Clock, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds
        self.due: float | None = None
        self._changed = threading.Condition()
        model.hold = self._hold

    def _hold(self) -> None:
        """In the network's thread: until the time has come."""
        with self._changed:
            self.due = self.clock.now + self.seconds
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.due is None)

    def wait_for_begin(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.due is not None, timeout=60)

    def end(self) -> None:
        with self._changed:
            assert self.due is not None
            self.clock.now, self.due = max(self.clock.now, self.due), None
            self._changed.notify_all()


def simulated(
    stream: Stream, simulation: Simulation, fps: int, count: int, each: Callable[[int], object]
) -> list[StreamResult]:
    """A camera and a network in one clock's time; a window of 15 frames begins with every fourth frame."""
    results: list[StreamResult | None] = []
    waiting = False
    for number in range(count):
        moment = number / fps
        while simulation.due is not None and simulation.due <= moment:
            simulation.end()
            if waiting:
                simulation.wait_for_begin()
                waiting = False
            else:
                results.append(stream.wait())
        simulation.clock.now = max(simulation.clock.now, moment)
        busy = simulation.due is not None
        results.append(stream.push(FRAMES[number % 4], moment))
        if number >= 14 and (number - 14) % 4 == 0:
            if busy:
                waiting = True
            else:
                simulation.wait_for_begin()
        each(number)
    if simulation.due is not None:
        simulation.end()
        if waiting:
            simulation.wait_for_begin()
            simulation.end()
    results += [stream.wait(), stream.wait()]
    return [result for result in results if result is not None]


def test_a_network_three_times_slower_than_the_hop_skips_hops_and_is_never_late() -> None:
    """1,000 hops: no answer older than one hop and one inference, every hop accounted for, memory flat."""
    fps, hop, hops = 10, 0.4, 1000
    clock, model = Clock(), recording(CLIP)
    simulation = Simulation(model, clock, 3.0371 * hop)
    memory: list[int] = []

    def look(number: int) -> None:
        model.asked[:] = []
        if number % 1000 == 400:
            memory.append(sum(type(thing) is Tensor for thing in gc.get_objects()))

    with Stream(model, hop_seconds=hop, clock=clock) as stream:
        results = simulated(stream, simulation, fps, hops * 4 + 11, look)
    taken, begun = [0], 1.4
    while taken[-1] < hops - 1:
        done = begun + simulation.seconds
        newest = min(math.floor((done - 1.4) / hop + 1e-9), hops - 1)
        begun = max(done, 1.4 + newest * hop)
        taken.append(newest)
    assert [result.window.number for result in results] == taken
    assert len(taken) > 300
    assert sum(result.skipped_hops for result in results) == hops - len(taken)
    assert max(result.lag_seconds for result in results) <= hop + simulation.seconds + 1e-9
    assert max(memory) - min(memory) < 30, memory  # tensors: two windows of frames at most


def test_an_answer_that_would_be_too_old_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    clock, model = Clock(), recording(CLIP)
    simulation = Simulation(model, clock, 1.3)
    with Stream(model, hop_seconds=0.4, max_lag_seconds=1.5, clock=clock) as stream:
        results = simulated(stream, simulation, 10, 100, lambda number: None)
        late = [result for result in results if result.lag_seconds > 1.5]
        # Taken when a window is ready, an answer is 1.3 s old; taken 0.3 s later it would be 1.6 s old.
        assert results and not late
        assert sum(result.skipped_hops + 1 for result in results) == results[-1].window.number + 1
    assert "max_lag_seconds" in caplog.text


def test_a_gap_begins_windows_anew_and_is_marked() -> None:
    with Stream(make_model(SMALL), hop_seconds=0.4, topk=1) as stream:
        results = []
        for number in range(60):
            moment = number / 10 if number < 25 else 3600 + number / 10
            results += [stream.push(FRAMES[number], moment, gap=number == 40), stream.wait()]
        answers = [result for result in results if result is not None]
    starts = [result.window.first_frame for result in answers]
    # The clock jumps by an hour behind frame 24, and frames are said to be missing in front of frame 40.
    assert starts == [0, 4, 8, 25, 40, 44]
    assert [result.gap for result in answers] == [False, False, False, True, True, False]
    assert [result.window.number for result in answers] == list(range(6))
    assert not any(result.skipped_hops for result in answers)


def test_a_frame_of_another_size_begins_windows_anew() -> None:
    frames = [*FRAMES[:20], *moving_pattern(20, 56, 40)]
    with Stream(make_model(SMALL), hop_seconds=0.1) as stream:
        found = [(stream.push(frame, number / 10), stream.wait()) for number, frame in enumerate(frames)]
    windows = [result.window.first_frame for pair in found for result in pair if result is not None]
    assert windows == [0, 1, 2, 3, 4, 5, 20, 21, 22, 23, 24, 25]


def test_results_are_told_as_they_come() -> None:
    told: list[StreamResult] = []
    with Stream(make_model(SMALL), hop_seconds=0.5, on_result=told.append) as stream:
        given = [stream.push(FRAMES[0], 0.0)]
        for number, frame in enumerate(FRAMES[1:30], 1):
            given += [stream.push(frame, number / 10), stream.wait()]
        given += stream.finish()
    assert told and [result for result in given if result is not None] == told
    first = told[0].to_dict()
    assert (first["start_seconds"], first["end_seconds"]) == (0.0, pytest.approx(1.5))
    assert "0.00-1.50 s" in repr(told[0])


def test_what_goes_wrong_in_the_network_is_raised_where_frames_are_pushed() -> None:
    model = recording(CLIP)

    def fail() -> None:
        raise RuntimeError("the network broke")

    model.hold = fail
    with Stream(model, hop_seconds=0.5) as stream, pytest.raises(RuntimeError, match="the network broke"):
        for number, frame in enumerate(FRAMES):
            stream.push(frame, number / 10)
            stream.wait()


def test_bad_input_is_refused_in_one_sentence() -> None:
    model = make_model(SMALL)
    for hop in (0, -1, float("nan"), "1", True):
        with pytest.raises(InputError, match="hop_seconds is"):
            Stream(model, hop_seconds=hop)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="max_lag_seconds is 0"):
        Stream(model, max_lag_seconds=0)
    with pytest.raises(InputError, match="views are 2 clips: give views='quick', or 1 clip and 3 crops"):
        Stream(model, views=(2, 3))
    Stream(model, views=(1, 3)).close()
    with Stream(model) as stream:
        stream.push(FRAMES[0], 7.0)
        with pytest.raises(InputError, match=r"is 5 s, that before 7 s; accepted: later ones, .* gap=True"):
            stream.push(FRAMES[1], 5.0)
        with pytest.raises(InputError, match="is 7 s, that before"):
            stream.push(FRAMES[1], 7.0)
        with pytest.raises(InputError, match="time is nan"):
            stream.push(FRAMES[1], float("nan"))
        with pytest.raises(InputError, match="float32; accepted: uint8 RGB"):
            stream.push(FRAMES[1].astype(np.float32), 8.0)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="is bfloat16; accepted: uint8 RGB"):
            stream.push(torch.zeros(40, 56, 3, dtype=torch.bfloat16), 8.0)
        with pytest.raises(InputError, match=r"shape \(60, 40, 56, 3\)"):
            stream.push(FRAMES, 8.0)
        stream.push(torch.from_numpy(FRAMES[1]), 8.0)
    with pytest.raises(InputError, match="closed"):
        stream.push(FRAMES[2], 9.0)


def test_frames_may_come_hours_apart() -> None:
    with Stream(make_model(SMALL)) as stream:
        for number, seconds in enumerate((0, 9, 40, 150, 590, 2300, 9000)):
            stream.push(FRAMES[number], seconds)
        assert stream.finish()


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(InputError, match="takes a SlowFast model, got"):
        Stream("slowfast_tiny")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SPECS)
def test_one_frame_needs_no_frame_rate(name: str) -> None:
    model = make_model(SMALL)
    model.clip_spec = SPECS[name]
    with Stream(model) as stream:
        assert stream.push(FRAMES[0], 3.0) is None
        (answer,) = stream.finish()
    assert answer.window.frames == range(1) and answer.window.start_seconds == 3.0


def test_whoever_is_told_may_close_the_stream() -> None:
    told: list[StreamResult] = []
    stream = Stream(make_model(SMALL), on_result=lambda result: (told.append(result), stream.close()))
    with pytest.raises(InputError, match="closed"):
        for number in range(60):
            stream.push(FRAMES[number], number / 10)
            stream.wait()
    assert len(told) == 1


def test_no_thread_outlives_a_stream() -> None:
    """An interpreter that ends while another thread is inside torch aborts."""
    for end in (Stream.close, Stream.finish):
        stream = Stream(make_model(SMALL), hop_seconds=0.5)
        for number in range(30):
            stream.push(FRAMES[number], number / 10)
        thread = stream._thread
        assert thread is not None and thread.is_alive()
        end(stream)
        assert not thread.is_alive()


def test_a_stream_that_its_own_answers_close_is_given_up() -> None:
    def closed() -> weakref.ref[Stream]:
        stream = Stream(make_model(SMALL), on_result=lambda _: stream.close())
        for number in range(40):
            with contextlib.suppress(InputError):
                stream.push(FRAMES[number], number / 10)
        assert stream._thread is not None
        stream._thread.join()
        return weakref.ref(stream)

    gone = closed()
    gc.collect()
    assert gone() is None


def test_a_process_may_end_without_closing_its_stream() -> None:
    code = """
import numpy, slowfast_zoo
stream = slowfast_zoo.Stream(slowfast_zoo.slowfast_tiny(), hop_seconds=0.1, fps=10)
for number in range(30):
    stream.push(numpy.zeros((120, 160, 3), numpy.uint8), number / 10)
stream.wait()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_what_hears_answers_may_be_stuck_when_the_process_ends() -> None:
    code = """
import threading, numpy, slowfast_zoo
from slowfast_zoo.inference.stream import stream
stream._EXIT_SECONDS = 0.1
heard = threading.Event()
stuck = lambda result: heard.set() or threading.Event().wait()
frames = slowfast_zoo.Stream(slowfast_zoo.slowfast_tiny(), hop_seconds=0.1, fps=10, on_result=stuck)
for number in range(30):
    frames.push(numpy.zeros((120, 160, 3), numpy.uint8), number / 10)
heard.wait()
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_stream_without_frames_ends_without_answers() -> None:
    with Stream(make_model(SMALL)) as stream:
        assert stream.finish() == []
