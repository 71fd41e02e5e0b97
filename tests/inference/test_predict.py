"""``predict``: one answer per video whatever the route, many videos, and what can go wrong."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.movies import moving_pattern, write_video
from torch import nn

from slowfast_zoo import ClipSpec, ModelSpec, SlowFast, SlowFastZooError, optimize, predict, read_clips
from slowfast_zoo.errors import ExportError, InputError, OutOfMemoryError, VideoError
from slowfast_zoo.inference import predict as predict_module
from slowfast_zoo.inference import runner as forward_module
from slowfast_zoo.inference.engines import openvino
from slowfast_zoo.inference.engines import optimize as optimize_module
from slowfast_zoo.inference.predict import Prediction, probabilities

CLIP = ClipSpec(num_frames=8, frame_stride=2, size=40, crop=32, test_crop=40, clips=3, crops=3)
LABELS = ("walk", "run", "jump", "wave")


@pytest.fixture(scope="module")
def model() -> SlowFast:
    torch.manual_seed(1)
    net = SlowFast(ModelSpec(depth=14, base_width=8, alpha=4, num_frames=8, num_classes=4)).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    assert isinstance(net.classifier, nn.Linear)
    nn.init.normal_(net.classifier.weight, std=0.5)
    net.clip_spec, net.labels = CLIP, LABELS
    return net


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos without loss, of several sizes and lengths; and files that are none."""
    folder = tmp_path_factory.mktemp("clips")
    for seed, (frames, height, width) in enumerate([(24, 48, 64), (40, 64, 48), (9, 48, 48), (30, 41, 77)]):
        write_video(folder / f"clip {seed}.mkv", moving_pattern(frames, height, width, seed))
    (folder / "notes.txt").write_text("no video")
    return folder


def scores(prediction: Prediction) -> dict[str, float]:
    assert prediction.error is None
    return dict(zip(prediction.labels, prediction.scores, strict=True))


def test_one_video(model: SlowFast, folder: Path) -> None:
    answer = predict(model, folder / "clip 0.mkv", topk=None)
    logits = model(read_clips(folder / "clip 0.mkv", CLIP).tensor())
    expected = logits.detach().softmax(1)[0]
    assert scores(answer) == pytest.approx(dict(zip(LABELS, expected.tolist(), strict=True)), abs=1e-6)
    assert list(answer.scores) == sorted(answer.scores, reverse=True)
    assert answer.views == (1, 1)
    assert answer.seconds == pytest.approx((4 / 30, 19 / 30))  # frames 4, 6 ... 18 of 24
    assert not answer.padded
    assert repr(answer).endswith("; 1x1 views)")


def test_topk(model: SlowFast, folder: Path) -> None:
    assert len(predict(model, folder / "clip 0.mkv", topk=2).labels) == 2
    assert len(predict(model, folder / "clip 0.mkv").labels) == 4  # five were asked for, four exist


def test_published_views_are_averaged_as_the_spec_says(model: SlowFast, folder: Path) -> None:
    path = folder / "clip 1.mkv"
    logits = model(read_clips(path, CLIP, views="published").tensor()).detach()
    answer = predict(model, path, views="published", topk=None)
    assert answer.views == (3, 3)
    assert [scores(answer)[label] for label in LABELS] == pytest.approx(
        logits.softmax(1).mean(0).tolist(), abs=1e-6
    )
    assert predict(model, path, views=(2, 1)).views == (2, 1)


def test_probabilities() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 3.0, 0.5]])
    soft, sigmoid = logits.softmax(1), logits.sigmoid()
    assert torch.equal(probabilities(logits, "softmax", "mean-prob"), soft.mean(0))
    assert torch.equal(probabilities(logits, "softmax", "sum-prob"), soft.mean(0))
    assert torch.equal(probabilities(logits, "softmax", "mean-logit"), logits.mean(0).softmax(0))
    assert torch.equal(probabilities(logits, "sigmoid", "max-prob"), sigmoid.amax(0))
    assert probabilities(logits.bfloat16(), "softmax", "mean-prob").dtype == torch.float32


@pytest.mark.parametrize("views", ["quick", "published"])
def test_every_route_gives_the_same_scores(
    model: SlowFast, folder: Path, tmp_path: Path, views: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    path = folder / "clip 0.mkv"
    frames = moving_pattern(24, 48, 64, 0)
    pictures = tmp_path / "frames"
    pictures.mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(pictures / f"img_{index + 1:05}.png")
    reference = scores(predict(model, path, views=views, topk=None))
    routes: dict[str, Any] = {
        "str": str(path),
        "bytes": path.read_bytes(),
        "file object": io.BytesIO(path.read_bytes()),
        "folder of frames": pictures,
        "pattern of frames": str(pictures / "img_{:05}.png"),
        "array": frames,
        "tensor": torch.from_numpy(frames),
    }
    for name, source in routes.items():
        answer = predict(model, source, views=views, topk=None, fps=30)
        assert scores(answer) == pytest.approx(reference, abs=1e-5), name
    for batch in (1, 2, 3, 7, 50):
        monkeypatch.setitem(forward_module._VIEWS_PER_BATCH, "cpu", batch)
        answers = list(predict(model, folder, views=views, topk=None))
        assert [Path(answer.source).name for answer in answers] == [f"clip {i}.mkv" for i in range(4)]
        assert scores(answers[0]) == pytest.approx(reference, abs=1e-5), batch


def test_many_videos(model: SlowFast, folder: Path) -> None:
    paths = sorted(folder.glob("*.mkv"))
    by_folder = [scores(answer) for answer in predict(model, folder)]
    assert len(by_folder) == 4
    for route in (str(folder / "*.mkv"), paths, (path for path in paths)):
        assert by_folder == [pytest.approx(scores(answer), abs=1e-6) for answer in predict(model, route)]
    assert list(predict(model, [])) == []


def test_a_bad_video_among_many_does_not_end_the_run(model: SlowFast, folder: Path, tmp_path: Path) -> None:
    empty, cut = tmp_path / "empty.mp4", tmp_path / "cut.mkv"
    empty.touch()
    cut.write_bytes((folder / "clip 0.mkv").read_bytes()[:300])
    good = folder / "clip 1.mkv"
    answers = list(predict(model, [empty, good, tmp_path / "missing.mp4", cut, good]))
    assert [answer.error is None for answer in answers] == [False, True, False, False, True]
    assert "empty.mp4' is empty" in (answers[0].error or "")
    assert "missing.mp4' doesn't exist" in (answers[2].error or "")
    assert "cut.mkv" in (answers[3].error or "")
    assert scores(answers[1]) == scores(answers[4])
    for bad in (empty, cut, tmp_path / "missing.mp4"):
        with pytest.raises(VideoError, match=bad.name):
            predict(model, bad)


def test_short_videos_say_so(model: SlowFast, folder: Path) -> None:
    assert predict(model, folder / "clip 2.mkv").padded


def test_the_mode_is_restored(model: SlowFast, folder: Path) -> None:
    model.train()
    try:
        before = {name: value.clone() for name, value in model.state_dict().items()}
        answers = predict(model, folder)
        next(answers)
        answers.close()
        assert model.training
        with pytest.raises(VideoError):
            predict(model, folder / "missing.mp4")
        assert model.training
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name])
    finally:
        model.eval()


def test_the_iterator_is_lazy_and_reads_ahead_only_a_little(model: SlowFast, folder: Path) -> None:
    asked = []

    def sources() -> Iterator[Path]:
        for index in range(1000):
            asked.append(index)
            yield folder / "clip 0.mkv"

    answers = predict(model, sources())
    for _ in range(3):
        next(answers)
    assert len(asked) < 15
    answers.close()


def test_out_of_memory_halves_the_batch(
    model: SlowFast, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(forward_module._VIEWS_PER_BATCH, "cpu", 8)
    sizes = []
    forward = SlowFast.forward

    def limited(self: SlowFast, clip: torch.Tensor) -> torch.Tensor:
        sizes.append(len(clip))
        if len(clip) > 2:
            raise torch.OutOfMemoryError("no more")
        return forward(self, clip)

    reference = scores(predict(model, folder / "clip 0.mkv", views="published"))
    monkeypatch.setattr(SlowFast, "forward", limited)
    sizes.clear()
    answer = predict(model, folder / "clip 0.mkv", views="published")
    assert sizes == [8, 4, 2, 2, 2, 2, 1]
    assert scores(answer) == pytest.approx(reference, abs=1e-6)


def test_out_of_memory_with_one_view_is_an_error(
    model: SlowFast, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: SlowFast, clip: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("no more")

    monkeypatch.setattr(SlowFast, "forward", full)
    with pytest.raises(OutOfMemoryError, match=r"suffice for one clip .*no more.*choose a smaller model"):
        predict(model, folder / "clip 0.mkv")


def test_nan_is_never_an_answer(model: SlowFast, folder: Path) -> None:
    broken = SlowFast(model.spec)
    broken.clip_spec = CLIP
    broken.slow.stem.conv.weight.data.fill_(float("nan"))
    with pytest.raises(SlowFastZooError, match=r"returned NaN for .*clip 0\.mkv"):
        predict(broken, folder / "clip 0.mkv")


def test_without_labels_classes_are_numbered(model: SlowFast, folder: Path) -> None:
    plain = SlowFast(model.spec)
    plain.clip_spec = CLIP
    assert set(predict(plain, folder / "clip 0.mkv").labels) == {f"class {i}" for i in range(4)}


def test_lower_precision_models_are_fed_their_own(model: SlowFast, folder: Path) -> None:
    twin = SlowFast(model.spec)
    twin.load_state_dict(model.state_dict())
    twin.clip_spec = CLIP
    twin.to(torch.bfloat16)
    answer = predict(twin, folder / "clip 0.mkv", topk=None)
    assert sum(answer.scores) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"topk": 0}, "topk is 0"),
        ({"topk": 2.5}, "topk is 2.5"),
        ({"views": "publised"}, "Did you mean 'published'"),
        ({"views": (2, 2)}, r"\(clips, crops\) with 1 or 3 crops"),
        ({"fps": -1}, "fps"),
    ],
)
def test_wrong_arguments(model: SlowFast, folder: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        predict(model, folder / "clip 0.mkv", **change)


def test_wrong_models_and_sources(model: SlowFast, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes a SlowFast model, got str"):
        predict("slowfast_r50_4x16x1", folder)  # type: ignore[call-overload]
    with pytest.raises(InputError, match="no classifier"):
        predict(SlowFast(model.spec.replace(num_classes=0)), folder)
    with pytest.raises(InputError, match="takes 1 channels"):
        predict(SlowFast(model.spec.replace(in_channels=1)), folder)
    with pytest.raises(InputError, match="got int"):
        predict(model, 3)
    with pytest.raises(InputError, match="uint8 RGB of shape"):
        predict(model, np.zeros((8, 32, 32, 3), np.float32))
    with pytest.raises(VideoError, match="holds neither videos nor frames"):
        predict(model, tmp_path)
    with pytest.raises(VideoError, match="No video matches"):
        predict(model, str(tmp_path / "*.mp4"))


def test_decoding_overlaps_with_the_network(
    model: SlowFast, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the network holds the first batch, later videos get decoded."""
    decoded: list[float] = []
    original = predict_module.read_clips

    def noted(*args: Any, **kwargs: Any) -> Any:
        clips = original(*args, **kwargs)
        decoded.append(time.monotonic())
        return clips

    monkeypatch.setattr(predict_module, "read_clips", noted)
    monkeypatch.setitem(forward_module._VIEWS_PER_BATCH, "cpu", 1)
    forward, started = SlowFast.forward, []

    def slow(self: SlowFast, clip: torch.Tensor) -> torch.Tensor:
        started.append(time.monotonic())
        deadline = time.monotonic() + 20
        while len(started) == 1 and len(decoded) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        return forward(self, clip)

    monkeypatch.setattr(SlowFast, "forward", slow)
    assert len(list(predict(model, [folder / "clip 0.mkv"] * 5))) == 5
    assert decoded[2] < started[1], "videos 2 and 3 were not read while the first was in the network"


def test_engines_give_the_same_answer(model: SlowFast, folder: Path) -> None:
    reference = scores(predict(model, folder / "clip 0.mkv", views="published", topk=None))
    for engine in ("eager", "onnxruntime", "openvino"):
        answer = predict(model, folder / "clip 0.mkv", views="published", topk=None, engine=engine)
        assert scores(answer) == pytest.approx(reference, abs=1e-5), engine
    fast = optimize(model, "openvino")
    assert scores(predict(fast, folder / "clip 0.mkv", views="published", topk=None)) == pytest.approx(
        reference, abs=1e-5
    )
    rounded = predict(model, folder / "clip 0.mkv", views="published", topk=None, precision="bfloat16")
    assert scores(rounded) == pytest.approx(reference, abs=0.05)
    with pytest.raises(InputError, match="optimized already"):
        predict(fast, folder / "clip 0.mkv", engine="eager")


def test_auto_is_told_how_many_views_will_come(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int | None] = []

    def seen(*arguments: Any) -> str | None:
        asked.append(arguments[-1])
        return None

    monkeypatch.setattr(forward_module, "choose", seen)
    videos = [np.zeros((70, 32, 32, 3), np.uint8)] * 3
    with torch.device("meta"):
        big = SlowFast(ModelSpec())
    assert predict_module._count(videos, big.clip_spec, "quick") == 3
    assert predict_module._count(videos[0], big.clip_spec, "published") == 30
    assert predict_module._count(iter(videos), big.clip_spec, "quick") is None
    for clips in (90, None):
        assert isinstance(forward_module.runner_for(big, "auto", "float32", None, clips), SlowFast)
    assert asked == [90, None]


def test_a_chosen_engine_that_fails_is_replaced(
    monkeypatch: pytest.MonkeyPatch, model: SlowFast, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, batch: int) -> None:
        raise ExportError("no such operator")

    expected = scores(predict(model, folder / "clip 0.mkv", views="published", topk=None))
    monkeypatch.setattr(forward_module, "choose", lambda *_: "openvino")
    monkeypatch.setattr(optimize_module, "choose", lambda *_: "openvino")
    monkeypatch.setattr(openvino, "to_openvino", fail)
    answer = predict(model, folder / "clip 0.mkv", views="published", topk=None)
    assert scores(answer) == pytest.approx(expected, abs=1e-5)
    assert "eager takes its place: no such operator" in caplog.text
