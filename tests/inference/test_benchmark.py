"""``benchmark``: what is counted, what follows from it, and what is refused; never how fast anything is."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from support.movies import moving_pattern, write_video
from support.small_nets import NETWORKS, ROI_NETWORKS, make_model
from torch import Tensor, nn

from slowfast_zoo import SlowFast, create_model, get_weights, optimize
from slowfast_zoo.cli import main
from slowfast_zoo.errors import InputError, UnknownNameError, VideoError
from slowfast_zoo.inference import predict as predict_module
from slowfast_zoo.inference.benchmark import Benchmark, Machine, Timing, benchmark

EXAMPLE = Path(__file__).parents[2] / "examples" / "pan_right.mp4"


class Clock:
    """Time that passes only when something is called that takes some."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    return clock


@pytest.fixture
def model() -> SlowFast:
    return make_model()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("videos") / "ä clip.mkv", moving_pattern(40))


def slow_network(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, seconds: list[float]
) -> list[tuple[int, ...]]:
    """Makes a view take the next of ``seconds`` (the last for ever); gives the shapes that come by."""
    shapes: list[tuple[int, ...]] = []
    forward = SlowFast.forward

    def counted(self: SlowFast, clip: Tensor) -> Tensor:
        shapes.append(tuple(clip.shape))
        clock.seconds += len(clip) * seconds[min(len(shapes), len(seconds)) - 1]
        return forward(self, clip)

    monkeypatch.setattr(SlowFast, "forward", counted)
    return shapes


def slow_reading(monkeypatch: pytest.MonkeyPatch, clock: Clock, seconds: float) -> list[Any]:
    """Makes every video take so long to open; gives the sources that were asked for."""
    asked: list[Any] = []
    read = predict_module.read_clips

    def counted(source: Any, *arguments: Any, **named: Any) -> Any:
        asked.append(source)
        clock.seconds += seconds
        return read(source, *arguments, **named)

    monkeypatch.setattr(predict_module, "read_clips", counted)
    return asked


def test_the_published_protocol_counts_all_views_of_one_video_after_a_warm_up(
    model: SlowFast, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = 15  # of two views, thirty views a video
    shapes = slow_network(monkeypatch, clock, [100.0] * 2 * batches + [0.5] * batches + [1.5])
    measured = benchmark(model, repeats=3, warmup=2, batch_size=2)
    assert shapes == [(2, 3, 8, 48, 48)] * batches * 5
    assert measured.views == (10, 3) and measured.protocol == "(8+2)x10x3 frames"
    assert measured.view_shape == (3, 8, 48, 48) and measured.views_per_batch == 2
    assert measured.network.seconds == (15, 45, 45), "the warm-up's 100 s views are not among them"
    assert measured.network.per_second == pytest.approx(3 / 105)
    assert measured.per_view.seconds == (0.5,) * 30 + (1.5,) * 60
    assert sum(measured.per_view.seconds) == pytest.approx(sum(measured.network.seconds))
    assert (measured.reading, measured.predict, measured.bottleneck) == (None, None, None)
    assert (measured.source, measured.frames_read, measured.frames_per_second) == (None, None, None)


@pytest.mark.parametrize(
    ("name", "frames"),
    [("slowfast_r50_4x16x1", "(32+4)x10x3 frames"), ("slowfast_r50_8x8x1", "(32+8)x10x3 frames")],
)
def test_the_frames_of_the_published_times(
    name: str, frames: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Source: the column inference_time of MMAction2's SlowFast page (v0.21.0)."""
    shapes = []

    def seen(self: SlowFast, clip: Tensor) -> Tensor:
        shapes.append(tuple(clip.shape))
        clock.seconds += 1
        return torch.zeros(len(clip), 400)

    monkeypatch.setattr(SlowFast, "forward", seen)
    measured = benchmark(create_model(name), engine="eager", repeats=1)
    assert {shape[1:] for shape in shapes} == {(3, 32, 256, 256)}, "the crop of the test, not of training"
    trial = 2  # one clip of its own through the engine and through the network that it is held to
    assert sum(shape[0] for shape in shapes) == trial + 60, "thirty views to warm up, and thirty that count"
    assert measured.protocol == frames


def test_an_odd_number_of_views_ends_with_a_smaller_batch(
    model: SlowFast, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = slow_network(monkeypatch, clock, [2.0])
    measured = benchmark(model, views=(5, 1), repeats=1, batch_size=2)
    assert [shape[0] for shape in shapes] == [2, 2, 1] * 2
    assert measured.per_view.seconds == (2.0,) * 5
    assert measured.network.seconds == (10.0,)


@pytest.mark.parametrize(
    ("reading", "network", "slower"), [(7.0, 0.5, "reading"), (1.0, 0.5, "network"), (3.0, 0.5, "network")]
)
def test_a_video_is_read_alone_then_seen_then_predicted(
    model: SlowFast,
    video: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    reading: float,
    network: float,
    slower: str,
) -> None:
    shapes = slow_network(monkeypatch, clock, [network])
    asked = slow_reading(monkeypatch, clock, reading)
    measured = benchmark(model, video, views=(2, 3), repeats=4, warmup=2)
    assert measured.reading == Timing((reading,) * 4)
    assert measured.network == Timing((6 * network,) * 4)
    assert measured.predict is not None
    assert measured.predict.seconds == (reading + 6 * network,) * 4, "one video at a time: nothing overlaps"
    assert measured.bottleneck == slower
    assert asked == [video] * (1 + 6 + 6)
    assert sum(shape[0] for shape in shapes) == 6 * (6 + 6)
    assert measured.frames_read == 15 + 1, "two clips of eight frames that share none"
    assert measured.frames_per_second == pytest.approx(16 / reading)
    assert measured.source == str(video)


def test_memory_that_runs_out_makes_smaller_batches(
    model: SlowFast, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = slow_network(monkeypatch, clock, [1.0])
    forward = SlowFast.forward

    def limited(self: SlowFast, clip: Tensor) -> Tensor:
        if len(clip) > 4:
            raise torch.OutOfMemoryError("no more")
        return forward(self, clip)

    monkeypatch.setattr(SlowFast, "forward", limited)
    measured = benchmark(model, views=(9, 1), repeats=2, batch_size=8)
    assert [shape[0] for shape in shapes] == [4, 4, 1] * 3
    assert measured.views_per_batch == 4
    assert measured.network.seconds == (9, 9)
    assert len(measured.per_view.seconds) == 18


def test_percentiles_and_rate_of_a_timing() -> None:
    timing = Timing((4.0, 1.0, 2.0, 1.0))
    assert timing.per_second == 0.5
    assert timing.percentile(50) == 1.5
    assert timing.percentile(0) == 1 and timing.percentile(100) == 4
    assert timing.percentile(5) <= timing.percentile(50) <= timing.percentile(95)
    assert timing.to_dict()["seconds"] == [4.0, 1.0, 2.0, 1.0]


MACHINE = Machine(device="cuda:0 (Fast GPU)", processor="Some CPU", threads=1, torch_version="2.9")
MEASURED = Benchmark(
    model="slowfast_r50_4x16x1",
    weights="mmaction2/k400-256e-320p",
    engine="eager",
    precision="float16",
    machine=MACHINE,
    views=(10, 3),
    view_shape=(3, 32, 256, 256),
    slow_frames=4,
    views_per_batch=30,
    network=Timing((0.5, 0.75)),
    per_view=Timing((0.01,) * 60),
    source="ä.mp4",
    reading=Timing((1.0, 3.0)),
    frames_read=300,
    predict=Timing((1.5, 4.0)),
    peak_memory_bytes=3 * 2**20,
)


def test_the_table() -> None:
    lines = str(MEASURED).splitlines()
    assert lines[0] == "slowfast_r50_4x16x1, weights mmaction2/k400-256e-320p"
    shape = "32 fast + 4 slow frames, 10 clips x 3 crops; views of 3x32x256x256, 30 at a time"
    assert lines[1].startswith(f"{shape}; engine eager, float16")
    assert lines[2] == "cuda:0 (Fast GPU); Some CPU, 1 thread; torch 2.9"
    assert [line.split() for line in lines[4:7]] == [
        ["network", "1.600", "0.6250", "(0.5125", "-", "0.7375)"],
        ["reading", "0.500", "2.0000", "(1.1000", "-", "2.9000)"],
        ["predict", "0.364", "2.7500", "(1.6250", "-", "3.8750)"],
    ]
    assert lines[7:] == [
        "one view through the network: median 10.00 ms (p5 10.00, p95 10.00)",
        "reading: 300 frames of ä.mp4, 150 frames/s",
        "bottleneck: reading",
        "peak memory: 3 MiB allocated on the GPU",
    ]


def test_without_a_video_the_table_has_one_row() -> None:
    alone = dataclasses.replace(
        MEASURED,
        weights=None,
        source=None,
        reading=None,
        frames_read=None,
        predict=None,
        peak_memory_bytes=None,
    )
    text = str(alone)
    assert "random or own weights (as fast as any)" in text
    assert "video/s" in text and "network" in text
    for word in ("reading", "predict ", "bottleneck", "memory", "None"):
        assert word not in text


def test_json_and_back() -> None:
    values = MEASURED.to_dict()
    assert json.loads(json.dumps(values)) == values
    assert values["network"]["per_second"] == 1.6
    assert values["per_view"]["p50_seconds"] == 0.01
    assert (values["protocol"], values["bottleneck"]) == ("(32+4)x10x3 frames", "reading")
    assert values["frames_per_second"] == 150
    assert values["machine"] == dataclasses.asdict(MACHINE)
    rebuilt = {
        name: Timing(tuple(values[name]["seconds"])) for name in ("network", "per_view", "reading", "predict")
    }
    fields = {field.name: values[field.name] for field in dataclasses.fields(Benchmark)} | rebuilt
    fields |= {"machine": Machine(**values["machine"])}
    fields |= {name: tuple(values[name]) for name in ("views", "view_shape")}
    assert Benchmark(**fields) == MEASURED


def test_it_names_what_computed(model: SlowFast) -> None:
    plain = benchmark(model, views="quick", repeats=1)
    assert (plain.engine, plain.precision, plain.machine.device) == ("module", "float32", "cpu")
    assert plain.machine.threads == torch.get_num_threads()
    assert plain.machine.torch_version == torch.__version__
    assert plain.machine.processor
    assert plain.peak_memory_bytes is None or plain.peak_memory_bytes > 10 * 2**20
    rounded = benchmark(model, views="quick", engine="openvino", precision="bfloat16", repeats=1)
    assert (rounded.engine, rounded.precision) == ("openvino", "bfloat16")
    fast = benchmark(optimize(model, "eager"), views="quick", repeats=1, device=None)
    assert (fast.engine, fast.precision) == ("eager", "float32")


def test_the_model_and_the_random_state_stay_as_they_were(model: SlowFast, video: Path) -> None:
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    measured = benchmark(model, video, views="quick", repeats=1)
    assert model.training
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert measured.views == (1, 1)
    assert measured.model == "SlowFast" and measured.weights is None


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"repeats": 0}, InputError, "repeats is 0; accepted: an integer of at least 1"),
        ({"repeats": 1.5}, InputError, r"repeats is 1\.5"),
        ({"repeats": True}, InputError, "repeats is True"),
        ({"warmup": 0}, InputError, "warmup is 0; accepted: an integer of at least 1"),
        ({"engine": "openvin"}, UnknownNameError, "no engine 'openvin'.*Did you mean 'openvino'"),
        ({"precision": "half"}, UnknownNameError, "no precision 'half'"),
        ({"views": "publish"}, InputError, "Did you mean 'published'"),
        ({"views": (0, 1)}, InputError, "views is"),
        ({"device": "gpu"}, InputError, "device is 'gpu'; accepted: 'cpu'"),
        ({"source": "missing.mp4"}, VideoError, r"missing\.mp4"),
        ({"source": ["a.mp4", "b.mp4"]}, InputError, "reads one video.*got list"),
        ({"source": np.zeros((9, 48, 48, 3), np.uint8)}, InputError, "reads one video.*got ndarray"),
        ({"source": b""}, VideoError, "empty"),
    ],
)
def test_what_is_refused(
    model: SlowFast, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        benchmark(model, **arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(model: SlowFast) -> None:
    with pytest.raises(InputError, match="finds no such GPU"):
        benchmark(model, device="cuda")


def test_other_models_are_refused() -> None:
    with pytest.raises(InputError, match="got Linear"):
        benchmark(nn.Linear(1, 1))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no classifier"):
        benchmark(make_model(NETWORKS["features"]))
    with pytest.raises(InputError, match="optimized already"):
        benchmark(optimize(make_model(), "eager"), engine="openvino")


def test_what_cannot_be_read_is_said_before_the_network_runs(
    model: SlowFast, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: SlowFast, clip: Tensor) -> Tensor:
        raise AssertionError("the network ran")

    monkeypatch.setattr(SlowFast, "forward", never)
    audio = tone(tmp_path / "tone.wav")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing that decodes" * 20)
    (tmp_path / "two").mkdir()
    for name in ("a.mkv", "b.mkv"):
        shutil.copy(video, tmp_path / "two" / name)
    for source in (audio, broken, tmp_path / "nothing.mp4"):
        with pytest.raises(VideoError, match=source.name):
            benchmark(model, source)
    with pytest.raises(InputError, match="is a folder of videos; time one of them"):
        benchmark(model, tmp_path / "two")


def tone(path: Path) -> Path:
    """A file that has sound and no pictures."""
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    return path


@pytest.fixture
def threads() -> Iterator[int]:
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["benchmark", *map(str, arguments)])


def test_command(tmp_path: Path, threads: int) -> None:
    out = tmp_path / "result.json"
    done = run(
        EXAMPLE, "--model", "slowfast_tiny", "--device", "cpu", "--threads", 1, "--repeats", 2, "--out", out
    )
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "slowfast_tiny, weights camera-motion"
    shape = "8 fast + 2 slow frames, 1 clip x 1 crop; views of 3x8x80x80, 1 at a time"
    assert lines[1].startswith(f"{shape}; engine module, float32")
    assert "1 thread; torch" in lines[2]
    assert [line.split()[0] for line in lines[4:7]] == ["network", "reading", "predict"]
    assert f"reading: 8 frames of {EXAMPLE}" in done.stdout
    assert lines[-2] in ("bottleneck: reading", "bottleneck: network")
    values = json.loads(out.read_text(encoding="utf-8"))
    assert values["machine"]["threads"] == 1
    for name in ("network", "reading", "predict", "per_view"):
        assert len(values[name]["seconds"]) == 2
    assert values["predict"]["per_second"] > 0


def test_command_with_a_video_on_standard_input(threads: int) -> None:
    given = ["benchmark", "-", "--model", "slowfast_tiny", "--views", "1x1", "--device", "cpu", "--repeats"]
    done = CliRunner().invoke(main, [*given, "1"], input=(content := EXAMPLE.read_bytes()))
    assert done.exit_code == 0, done.output
    assert f"reading: 8 frames of {len(content)} bytes" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="a device of POSIX systems")
def test_where_the_command_writes_is_looked_at_before_it_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slowfast_zoo.inference.benchmark.benchmark", None)
    done = run("--model", "slowfast_tiny", "--out", "/dev/null")
    assert done.exit_code == 1 and "'/dev/null' can't be written: " in done.output


def test_command_without_a_video(threads: int) -> None:
    done = run("--model", "slowfast_tiny", "--views", "3x1", "--device", "cpu", "--repeats", 1)
    assert done.exit_code == 0, done.output
    assert "8 fast + 2 slow frames, 3 clips x 1 crop" in done.stdout
    assert "reading" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--model", "slowfast_tinny"], 1, "Did you mean 'slowfast_tiny'"),
        (["nothing.mp4", "--model", "slowfast_tiny"], 1, "nothing.mp4"),
        (["--engine", "fast"], 2, "'fast' is not one of 'auto', 'eager'"),
        (["--views", "many"], 2, "'many' is neither quick nor published nor CLIPSxCROPS"),
        (["--repeats", "0"], 2, "0 is not in the range"),
        (["--out", "no/such/folder/result.json"], 2, "there is no folder"),
    ],
)
def test_command_errors_are_one_sentence(arguments: list[str], status: int, message: str) -> None:
    done = run(*arguments)
    assert done.exit_code == status
    assert message in done.output
    assert "Traceback" not in done.output


def test_a_network_that_scores_persons_is_measured_with_boxes() -> None:
    model = make_model(ROI_NETWORKS["mean"])
    model.clip_spec = get_weights("slowfast_r50_4x16x1_roi").clip_spec.replace(
        num_frames=8, size=64, crop=48, test_crop=48
    )
    for engine in ("auto", "eager"):
        measured = benchmark(model, engine=engine, repeats=1, boxes=3)  # type: ignore[arg-type]
        assert (measured.boxes, measured.views, measured.view_shape) == (3, (1, 1), (3, 8, 48, 48))
        assert "views of 3x8x48x48 with 3 boxes" in str(measured)
        assert measured.to_dict()["boxes"] == 3
    with pytest.raises(InputError, match="alone of a model that scores persons: leave the video out"):
        benchmark(model, "examples/pan_right.mp4")
    with pytest.raises(InputError, match="boxes is 0; accepted: an integer of at least 1"):
        benchmark(model, boxes=0)
