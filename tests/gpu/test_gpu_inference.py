"""What reads a model, on a GPU: frames to the bit, the processor's answers, memory that runs out."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.movies import moving_pattern
from support.small_nets import make_model, roi_model

import slowfast_zoo as zoo
from slowfast_zoo import ClipSpec, SlowFast
from slowfast_zoo.inference.runner import BatchRunner
from slowfast_zoo.runtime.precision import float32_products
from slowfast_zoo.video.clips import read_clips
from slowfast_zoo.video.transforms import functional
from slowfast_zoo.video.transforms.functional import FramePipeline
from slowfast_zoo.video.transforms.on_device import resize_on_device, uploaded
from slowfast_zoo.video.transforms.resize import resize_bytes

pytestmark = pytest.mark.gpu
CLIP = ClipSpec(num_frames=8, frame_stride=2, size=64, crop=48, test_crop=48, clips=3, crops=3)


def scores(answer: zoo.Prediction) -> dict[str, float]:
    assert answer.error is None, answer.error
    return by_label(answer)


def by_label(answer: Any) -> dict[str, float]:
    return dict(zip(answer.labels, answer.scores, strict=True))


def assert_same_scores(one: zoo.Prediction, other: zoo.Prediction, bound: float) -> None:
    assert scores(one) == pytest.approx(scores(other), abs=bound)


def test_a_stream_of_the_callers_own_waits_for_its_frames(cuda: torch.device, videos: list[Path]) -> None:
    """However busy the default stream is, on which other threads would work."""
    model = make_model()
    model.clip_spec = CLIP
    model = model.to(cuda)
    expected = [zoo.predict(model, video, views="published") for video in videos]
    for _ in range(3):
        with torch.cuda.stream(torch.cuda.Stream(cuda)):
            torch.cuda.synchronize(cuda)
            with torch.cuda.stream(torch.cuda.default_stream(cuda)):
                torch.cuda._sleep(10**9)
            found = [zoo.predict(model, videos[0], views="published")]
            found += zoo.predict_many(model, videos[1:], views="published")
        for one, other in zip(found, expected, strict=True):
            assert_same_scores(one, other, 1e-5)


@pytest.mark.parametrize("size", [(720, 1280), (1080, 1920), (240, 320), (97, 53)], ids=str)
def test_frames_are_resized_to_the_same_bytes(gpu: torch.device, size: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for height, width in ((256, 455), (300, 171), size):
        found = resize_on_device(uploaded(frame, gpu), height, width).cpu().numpy()
        np.testing.assert_array_equal(found, resize_bytes(frame, height, width).transpose(1, 0, 2))


@pytest.mark.parametrize("resize", ["uint8-bilinear", "float-bilinear"])
@pytest.mark.parametrize("pixel_range", ["0-255", "0-1"])
def test_views_are_the_processors(
    gpu: torch.device, videos: list[Path], resize: str, pixel_range: str
) -> None:
    scale = 255 if pixel_range == "0-1" else 1
    spec = CLIP.replace(
        resize=resize, pixel_range=pixel_range, mean=(114.75 / scale,) * 3, std=(57.375 / scale,) * 3
    )
    for video in videos:
        expected = read_clips(video, spec, views="published").tensor()
        found = read_clips(video, spec, views="published", device=gpu)
        assert found.device == gpu
        bound = 0.0 if resize == "uint8-bilinear" else 1e-5
        torch.testing.assert_close(found.tensor().cpu(), expected, atol=bound, rtol=0)


def test_a_gpu_without_a_number_resizes_too(
    gpu: torch.device, videos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functional, "resize_bytes", lambda *_: pytest.fail("the processor resized"))
    found = torch.empty(0, device=gpu.type).device
    assert read_clips(videos[0], CLIP, device=torch.device(gpu.type)).device == found


def test_frames_may_change_behind_their_upload(gpu: torch.device) -> None:
    frame, sent = np.zeros((720, 1280, 3), np.uint8), []
    for number in range(100):
        frame[:] = number
        sent.append(uploaded(frame, gpu))
    assert [int(each.min()) for each in sent] == [int(each.max()) for each in sent] == list(range(100))


def test_preparing_never_waits_for_the_gpu(cuda: torch.device) -> None:
    frames = moving_pattern(8, 96, 128)
    pipeline = FramePipeline(CLIP, 96, 128, crop=48, crops=3, device=cuda)
    rows = torch.arange(8, device=cuda)
    pipeline.view(torch.stack([pipeline.prepare(frame) for frame in frames]), 0, rows)  # fills the caches
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        pipeline.view(torch.stack([pipeline.prepare(frame) for frame in frames]), 0, rows)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_float32_is_float32(cuda: torch.device, model: SlowFast) -> None:
    clips = torch.randn(4, 3, 8, 48, 48)
    with torch.inference_mode():
        exact = copy.deepcopy(model).double()(clips.double()).float()

    def error(precision: str) -> float:
        runner = BatchRunner(model, "eager", precision, cuda)  # type: ignore[arg-type]
        return float((runner(clips) - exact).abs().max() / exact.abs().max())

    module = BatchRunner(model, device=cuda)
    assert float((module(clips) - exact).abs().max() / exact.abs().max()) < 1e-5
    assert error("float32") < 1e-5
    assert error("tf32") < 1e-2
    assert error("bfloat16") < 3e-2
    assert error("float16") < 1e-2
    if torch.cuda.get_device_capability(cuda) >= (8, 0):
        assert error("tf32") > error("float32"), "TF32 rounds, so it was on"
    with float32_products("float32", cuda):
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32


def test_predict(gpu: torch.device, model: SlowFast, videos: list[Path]) -> None:
    for views in ("quick", "published"):
        for video in videos:
            there = zoo.predict(model, video, views=views, topk=None, device=gpu)  # type: ignore[arg-type]
            here = zoo.predict(model, video, views=views, topk=None)  # type: ignore[arg-type]
            assert_same_scores(there, here, 1e-5)
    assert next(model.parameters()).device.type == "cpu", "the model stays where it is"


@pytest.mark.parametrize(("precision", "bound"), [("tf32", 1e-2), ("bfloat16", 5e-2), ("float16", 2e-2)])
def test_predict_rounded(
    cuda: torch.device, model: SlowFast, videos: list[Path], precision: str, bound: float
) -> None:
    there = zoo.predict(model, videos[0], topk=None, device=cuda, precision=precision)  # type: ignore[arg-type]
    assert_same_scores(there, zoo.predict(model, videos[0], topk=None), bound)


def test_predict_many_keeps_order_and_company_changes_nothing(
    gpu: torch.device, model: SlowFast, videos: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    sources = [*videos * 5, broken, *videos]
    found = list(zoo.predict_many(model, sources, views=(2, 3), topk=None, device=gpu))
    assert [answer.source for answer in found] == [str(source) for source in sources]
    assert [index for index, answer in enumerate(found) if answer.error] == [20]
    alone = {video: zoo.predict(model, video, views=(2, 3), topk=None) for video in videos}
    for source, answer in zip(sources, found, strict=True):
        if answer.error is None:
            assert_same_scores(answer, alone[source], 1e-5)


def test_memory_that_runs_out_halves_the_batch(cuda: torch.device, videos: list[Path]) -> None:
    model = make_model(make_model().spec.replace(base_width=64))
    model.clip_spec = model.clip_spec.replace(size=256, crop=224, test_crop=224)
    expected = zoo.predict(model, videos[0], views=(2, 3), topk=None)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(cuda).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, 0.8e9 / total), cuda)
    found = list(
        zoo.predict_many(model, [videos[0]] * 12, views=(2, 3), topk=None, device=cuda, batch_size=64)
    )
    for answer in found:
        assert_same_scores(answer, expected, 1e-5)
    runner = BatchRunner(model, device=cuda, batch_size=64)
    assert runner(torch.randn(64, 3, 8, 224, 224)).shape == (64, 6)
    assert runner.batch_size < 64


def test_batches_from_the_processor_are_not_mixed_up(gpu: torch.device, model: SlowFast) -> None:
    """Page-locked memory that is filled again while it is still being copied would show here."""
    from slowfast_zoo.inference.runner import Job, answered

    videos = [moving_pattern(8, 64, 80, seed) for seed in range(40)]
    jobs = [Job(str(seed), read_clips(video, model.clip_spec, fps=25)) for seed, video in enumerate(videos)]
    runner = BatchRunner(model, device=gpu, batch_size=4)
    with torch.inference_mode():
        for job in answered(runner, jobs, keep_errors=False):
            assert job.clips is not None
            torch.testing.assert_close(job.logits[0], model(job.clips.tensor())[0], atol=1e-4, rtol=1e-4)


def test_timeline_and_features(gpu: torch.device, model: SlowFast, videos: list[Path]) -> None:
    how = {"hop_seconds": 0.2, "progress": False}
    there = zoo.timeline(model, videos[1], device=gpu, **how)  # type: ignore[arg-type]
    here = zoo.timeline(model, videos[1], **how)  # type: ignore[arg-type]
    np.testing.assert_allclose(there.windows.probabilities, here.windows.probabilities, atol=1e-5)
    vectors = [
        zoo.extract_features(model, videos[1], hop_seconds=0.2, device=device, progress=False).values
        for device in (gpu, None)
    ]
    np.testing.assert_allclose(*vectors, atol=1e-4)


def test_stream(gpu: torch.device, model: SlowFast) -> None:
    def streamed(device: torch.device | None) -> list[Any]:
        results = []
        with zoo.Stream(model, hop_seconds=0.2, topk=None, fps=30, device=device) as stream:
            for number, frame in enumerate(moving_pattern(60, 96, 128)):
                results += [stream.push(frame, number / 30), stream.wait()]
            results += stream.finish()
        return [result for result in results if result is not None]

    for there, here in zip(streamed(gpu), streamed(None), strict=True):
        assert there.window == here.window
        assert by_label(there) == pytest.approx(by_label(here), abs=1e-5)


def test_persons_of_a_film(gpu: torch.device) -> None:
    found = []

    def persons(frame: np.ndarray) -> list[list[float]]:
        found.append(frame)
        return [[4, 6, 30, 40], [20, 0, 64, 48]]

    film = moving_pattern(70)
    there, here = (
        zoo.detect(roi_model(), film, boxes=persons, fps=30, topk=None, device=device, progress=False)
        for device in (gpu, None)
    )
    assert there.key_seconds == here.key_seconds == (0, 1, 2) and len(found) == 6
    for one, other in zip(there.persons, here.persons, strict=True):
        assert (one.seconds, one.box) == (other.seconds, other.box)
        assert by_label(one) == pytest.approx(by_label(other), abs=1e-5)


def test_benchmark(gpu: torch.device, model: SlowFast, videos: list[Path]) -> None:
    measured = zoo.benchmark(model, videos[0], views=(2, 1), repeats=2, device=gpu)
    assert measured.machine.device.startswith(str(gpu)) and measured.predict is not None
    assert len(measured.network.seconds) == len(measured.predict.seconds) == 2
    assert (measured.peak_memory_bytes or 0) > 0
    persons = zoo.benchmark(roi_model(), views=(1, 1), repeats=1, boxes=3, device=gpu)
    assert persons.machine.device == measured.machine.device


def test_export_of_a_model_that_is_there(gpu: torch.device, model: SlowFast, tmp_path: Path) -> None:
    moved = copy.deepcopy(model).to(gpu)
    written = zoo.export(moved, tmp_path / "net.pt2", repeats=1)
    assert written.proof.ok and next(moved.parameters()).device == gpu
    clips = torch.randn(3, 3, 8, 48, 48)
    with torch.inference_mode():
        found = torch.export.load(written.path).module()(clips)
        torch.testing.assert_close(found, model(clips), atol=1e-4, rtol=1e-4)


def test_boxes(gpu: torch.device) -> None:
    model = roi_model()
    clips = torch.randn(2, 3, 8, 48, 48)
    boxes = torch.tensor([[0, 2.0, 3.0, 30.0, 40.0], [1, 0.0, 0.0, 20.0, 47.0]])
    with torch.inference_mode():
        expected = model(clips, boxes)
        with float32_products("float32", gpu):
            found = copy.deepcopy(model).to(gpu)(clips.to(gpu), boxes).cpu()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_memory_stays_flat(cuda: torch.device, model: SlowFast, videos: list[Path]) -> None:
    held = []
    for _ in range(20):
        zoo.predict(model, videos[0], device=cuda)
        held.append(torch.cuda.memory_allocated(cuda))
    assert max(held[5:]) - held[5] < 2**20


def test_verify(gpu: torch.device) -> None:
    report = zoo.verify(device=gpu, stages=["network"])
    assert report.ok, str(report)
