"""The engines on a GPU: the module's logits in every precision and batch, graphs for any thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from support.small_nets import roi_model
from torch import Tensor

from slowfast_zoo import SlowFast, optimize
from slowfast_zoo.inference.engines.optimize import OptimizedModel
from slowfast_zoo.inference.engines.torch_compile.cuda_graphs import FewSizes, Recorder
from slowfast_zoo.runtime.precision import TOLERANCES
from slowfast_zoo.video.transforms.on_device import uploaded

pytestmark = pytest.mark.gpu
SHAPE = (3, 8, 48, 48)


def expected(model: SlowFast, clips: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(clips)


def error(found: Tensor, right: Tensor) -> float:
    return float((found.cpu() - right).abs().max() / right.abs().max())


@pytest.fixture(scope="module")
def compiled(cuda: torch.device, model: SlowFast) -> Iterator[OptimizedModel]:
    yield optimize(model, "compile", "float32", device=cuda)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16", "float16"])
def test_eager(gpu: torch.device, model: SlowFast, precision: str) -> None:
    if gpu.type == "cpu" and precision != "float32":
        pytest.skip("a rehearsal without a GPU")
    fast = optimize(model, "eager", precision, device=gpu)  # type: ignore[arg-type]
    for batch in (1, 3, 8):
        clips = torch.randn(batch, *SHAPE)
        assert error(fast(clips), expected(model, clips)) < max(TOLERANCES[precision], 1e-4)


def test_eager_with_boxes(gpu: torch.device) -> None:
    model = roi_model()
    fast = optimize(model, "eager", device=gpu)
    boxes = torch.tensor([[1, 0.0, 0.0, 20.0, 47.0], [0, 2.0, 3.0, 30.0, 40.0], [1, 9.0, 9.0, 40.0, 30.0]])
    for clips, asked in ((torch.randn(2, *SHAPE), boxes), (torch.randn(1, *SHAPE), boxes[1:2])):
        with torch.inference_mode():
            right = model(clips, asked)
        found = fast(clips, asked)
        assert found.device == gpu and error(found, right) < 1e-4


@pytest.mark.parametrize("precision", ["tf32", "bfloat16", "float16"])
def test_compiled_rounded(cuda: torch.device, model: SlowFast, precision: str) -> None:
    fast = optimize(model, "compile", precision, device=cuda)  # type: ignore[arg-type]
    clips = torch.randn(1, *SHAPE)
    assert error(fast(clips), expected(model, clips)) < TOLERANCES[precision]


def test_compiled_batches(compiled: OptimizedModel, model: SlowFast) -> None:
    for batch in (1, 8, 5, 1, 7):
        clips = torch.randn(batch, *SHAPE)
        assert error(compiled(clips), expected(model, clips)) < 1e-4


def test_an_answer_outlives_the_next_replay(compiled: OptimizedModel, model: SlowFast) -> None:
    clips = torch.randn(2, 1, *SHAPE)
    first, _ = compiled(clips[0]), compiled(clips[1])
    assert error(first, expected(model, clips[0])) < 1e-4


def test_replays_give_the_same_bits(compiled: OptimizedModel) -> None:
    clips = torch.randn(8, *SHAPE)
    assert torch.equal(compiled(clips), compiled(clips))


def test_threads_and_streams(compiled: OptimizedModel, model: SlowFast, cuda: torch.device) -> None:
    """From other threads than the one that compiled, on streams of their own, all at once."""
    clips = torch.randn(6, 1, *SHAPE)
    right = [expected(model, each) for each in clips]
    wrong: list[float] = []

    def work(index: int) -> None:
        with torch.cuda.stream(torch.cuda.Stream(cuda)):
            wrong.extend(error(compiled(clips[index]), right[index]) for _ in range(20))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(clips))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 120
    assert max(wrong) < 1e-4


def test_frames_may_arrive_while_a_graph_is_recorded(cuda: torch.device) -> None:
    stop, failures = threading.Event(), list[BaseException]()

    def upload() -> None:
        try:
            while not stop.is_set():
                uploaded(np.zeros((480, 640, 3), np.uint8), cuda).float().mean().item()
        except RuntimeError as problem:
            failures.append(problem)

    reader = threading.Thread(target=upload)
    reader.start()
    try:
        weight = torch.randn(64, 3 * 8 * 16, device=cuda)
        call = FewSizes(Recorder(lambda clips: clips.flatten(1) @ weight.T, cuda, (3, 8, 4, 4)))
        with torch.inference_mode():
            for batch in (1, 8, 64):
                clips = torch.randn(batch, 3, 8, 4, 4, device=cuda)
                torch.testing.assert_close(call(clips), clips.flatten(1) @ weight.T, atol=1e-2, rtol=1e-2)
    finally:
        stop.set()
        reader.join()
    assert not failures
