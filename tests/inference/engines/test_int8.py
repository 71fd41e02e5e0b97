"""int8: the same answers on clips that calibration didn't see, or a refusal that says what is lacking."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.small_nets import ROI_NETWORKS, SMALL, block, make_model
from torch import Tensor

from slowfast_zoo import SlowFast, export, optimize, predict
from slowfast_zoo.errors import ExportError, InputError, MissingDependencyError, VideoError
from slowfast_zoo.inference.engines import artifacts
from slowfast_zoo.inference.engines import optimize as optimize_module
from slowfast_zoo.inference.engines.folding import fold_batch_norms, lower
from slowfast_zoo.inference.engines.graph import capture, openvino_core, to_openvino
from slowfast_zoo.inference.engines.openvino import calibration as calibration_module
from slowfast_zoo.inference.engines.openvino import int8
from slowfast_zoo.inference.engines.openvino.calibration import Calibration, calibration_of
from slowfast_zoo.inference.engines.openvino.int8 import Agreement, check_agreement, compare, to_int8
from slowfast_zoo.inference.engines.optimize import OptimizedModel
from slowfast_zoo.inference.engines.stems import stem_layouts
from slowfast_zoo.inference.export.proof import reference_frames
from slowfast_zoo.runtime import machine

SHAPE = (3, 8, 48, 48)


def pictures(count: int) -> Tensor:
    """Clips of things that move, normalized: ranges of white noise aren't those of videos."""
    frames = reference_frames(count, *SHAPE[1:], channels=3)
    return (torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float() - 114.75) / 57.375


def videos(count: int, frames: int = 24) -> list[np.ndarray]:
    return list(np.random.default_rng(count).integers(0, 256, (count, frames, 64, 64, 3), np.uint8))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[SlowFast, OptimizedModel, Path]:
    """A model, the same in int8, and the folder where that is kept."""
    cache = tmp_path_factory.mktemp("int8")
    model = make_model()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLOWFAST_ZOO_CACHE", str(cache))
        patch.setattr(int8, "_WANTED_ERROR", 1.0)  # small nets round more, and measuring parts takes its time
        fast = optimize(model, precision="int8", calibration=pictures(64), min_agreement=0.9)
        fast(pictures(1))
    return model, fast, cache


def test_int8_answers_as_float32(made: tuple[SlowFast, OptimizedModel, Path]) -> None:
    model, fast, _ = made
    agreement = fast.agreement
    assert agreement is not None
    assert (fast.engine, fast.precision) == ("openvino", "int8")
    assert (agreement.calibration_clips, agreement.clips) == (16, 48)
    clips = pictures(80)[64:]  # several, which are computed one at a time
    with torch.no_grad():
        expected = model(clips)
    difference = (fast(clips) - expected).abs().max() / expected.abs().max()
    assert 1e-4 < difference < 0.15, "near, and not computed in float32"
    assert agreement.relative_difference < 0.15 and agreement.mean_difference < 0.1
    assert agreement.top1_agreement >= 0.9 and agreement.top5_agreement > 0.9
    assert "of 48 clips (fewer than 100) that calibration did not see" in str(agreement)


def test_every_convolution_is_quantized(made: tuple[SlowFast, OptimizedModel, Path]) -> None:
    _, fast, _ = made
    graph = fast._int8.graph  # type: ignore[union-attr]
    nodes = openvino_core().compile_model(graph, "CPU", int8.int8_settings()).get_runtime_model().get_ops()
    kinds = [
        node.get_rt_info()["primitiveType"].astype(str)
        for node in nodes
        if node.get_rt_info()["layerType"].astype(str) == "Convolution"
    ]
    assert len(kinds) == 38 and all(kind.lower().endswith("i8") for kind in kinds), kinds


def test_it_is_kept_with_its_proof(
    made: tuple[SlowFast, OptimizedModel, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, fast, cache = made
    monkeypatch.setenv("SLOWFAST_ZOO_CACHE", str(cache))
    monkeypatch.setattr(int8, "_quantized", None)
    again = optimize(model, precision="int8", calibration=pictures(64), min_agreement=0.9)
    assert again.agreement == fast.agreement
    assert torch.equal(again(pictures(1)), fast(pictures(1)))
    with pytest.raises(InputError, match=r"calibrated for clips \(3, 8, 48, 48\), got \(3, 8, 32, 32\)"):
        again(torch.zeros(1, 3, 8, 32, 32))
    assert predict(again, videos(1)[0], fps=25, topk=1).error is None


def test_it_is_exported_with_its_proof(
    made: tuple[SlowFast, OptimizedModel, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model, fast, cache = made
    monkeypatch.setenv("SLOWFAST_ZOO_CACHE", str(cache))
    monkeypatch.setattr(int8, "_quantized", None)
    target = tmp_path / "model.xml"
    written = export(model, target, precision="int8", calibration=pictures(64), min_agreement=0.9)
    assert written.proof == fast.agreement
    contract = json.loads((tmp_path / "model.xml.json").read_text(encoding="utf-8"))
    assert contract["precision"] == "int8" and contract["proof"]["clips"] == 48
    assert contract["reference"]["logits_of"] == "file"
    assert (tmp_path / "model.bin").stat().st_size < 0.5 * 4 * sum(p.numel() for p in model.parameters())
    settings = contract["properties"]
    served = openvino_core().compile_model(str(target), "CPU", settings)
    clip = pictures(1)
    logits = torch.from_numpy(served({"clip": clip.numpy()})["logits"].copy())
    assert (logits - fast(clip)).abs().max() <= 1e-3 * logits.abs().max()
    assert contract["input"]["shape"] == [1, *SHAPE]


def test_what_harms_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph whose fast stem was ruined: that part alone is measured to be the harm."""
    layout = stem_layouts("int8", torch.device("cpu"))
    network = lower(fold_batch_norms(make_model()), "float32", stems=layout)
    plain = to_openvino(capture(network, SHAPE), SHAPE, batch=1)
    ruined = plain.clone()
    convolutions = [node for node in ruined.get_ordered_ops() if node.get_type_name() == "Convolution"]
    part = int8._parts(plain, ruined, network)["fast.stem"][0].node
    assert part in convolutions
    from openvino import opset13

    weights = np.array(part.input_value(1).get_node().data) * 1.5
    part.input(1).replace_source_output(opset13.constant(weights).output(0))
    clips = list(pictures(3).split(1))  # type: ignore[no-untyped-call]
    reference = int8.compiled(int8.int8_settings(), None, lambda: plain)
    assert int8._put_back(plain, ruined, network, clips, reference) == ["fast.stem"]
    assert int8._put_back(plain, ruined, network, clips, reference) == [], "it is right now"


def answers(*rows: list[float]) -> Callable[[Tensor], Tensor]:
    given = iter(rows)
    return lambda clip: torch.tensor([next(given)])


def test_agreement_counts_best_classes() -> None:
    float32 = answers([9, 1, 2, 3, 4, 5, 6], [1, 9, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0, 8])
    eight = answers([8, 1, 2, 3, 4, 5, 6], [9, 8, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0, 8])
    found = compare(float32, eight, [torch.zeros(1)] * 3)
    assert found.clips == 3
    assert found.top1_agreement == pytest.approx(2 / 3)
    assert found.relative_difference == pytest.approx(8 / 9)
    assert found.mean_difference == pytest.approx((1 / 9 + 8 / 9 + 0) / 3)
    assert found.top5_agreement < 1


def agreement(**changes: Any) -> Agreement:
    values: dict[str, Any] = dict.fromkeys(Agreement.__dataclass_fields__, 1.0)
    return Agreement(**values | {"clips": 200, "float32_parts": (), "weight_bits": 8} | changes)


def test_agreement_names_what_isnt_quantized_without_saying_in_what_it_is_computed() -> None:
    assert "(mean 100.0%); not in int8: slow.stem, laterals.0\n" in str(
        agreement(float32_parts=("slow.stem", "laterals.0"))
    )
    assert "not in int8" not in str(agreement())


def test_agreement_that_is_just_enough_is_accepted() -> None:
    right, wrong = [9.0, 1], [1.0, 9]
    for same, asked in ((90, 0.9), (99, 0.99), (7, 0.07)):
        found = compare(
            answers(*[right] * 100), answers(*[right] * same, *[wrong] * (100 - same)), [torch.zeros(1)] * 100
        )
        check_agreement(found, asked)
        with pytest.raises(ExportError):
            check_agreement(found, asked + 1e-9)


def test_without_numbers_nothing_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExportError, match="NaN or infinite numbers"):
        compare(answers([torch.nan, 1]), answers([2, 1]), [torch.zeros(1)])
    model = make_model()
    model.slow.stem.conv.weight.data[0] = torch.nan
    with pytest.raises(ExportError, match="NaN or infinite numbers for a calibration clip: train it first"):
        optimize(model, precision="int8", calibration=pictures(16))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("Can't open file")])
def test_what_can_not_be_kept_is_made_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    from openvino import Model, opset13

    folded, clip = fold_batch_norms(make_model()), opset13.parameter([1, *SHAPE], np.float32, name="clip")
    monkeypatch.setattr(int8, "_made", lambda *_: (Model([opset13.relu(clip)], [clip]), agreement()))
    monkeypatch.setattr("openvino.save_model", full)
    assert to_int8(folded, pictures(16)).agreement == agreement()
    assert "isn't kept for the next time" in caplog.text and not artifacts.names(".int8")


def test_too_little_agreement_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    check_agreement(agreement(top1_agreement=0.995), 0.99)
    assert not caplog.text
    with pytest.raises(ExportError, match=r"best class for 98\.5% of 200 clips, asked are 99\.0%"):
        check_agreement(agreement(top1_agreement=0.985), 0.99)
    check_agreement(agreement(clips=60), 0.99)
    assert "judged on 60 clips only, 100 are what" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calibration": None}, "int8 needs calibration=: videos of the kind that will come"),
        ({"precision": "float32"}, "calibration is for precision='int8', which got 'float32'"),
        ({"engine": "eager"}, "int8 is computed by engine='openvino', got 'eager'"),
        ({"min_agreement": 99}, "min_agreement is 99; accepted: a share from 0 to 1"),
        ({"calibration": pictures(8)}, "2 and 6 different ones were found, at least 4 and 6"),
        (
            {"calibration": torch.zeros(64, 8, 48, 48)},
            r"accepted: videos, or normalized clips, float \(N, C,",
        ),
        (
            {"calibration": torch.full((16, 3, 8, 48, 48), math.nan)},
            "calibration has NaN or infinite numbers",
        ),
        ({"calibration": videos(1, 9)}, "1 and 0 different ones were found"),
    ],
)
def test_what_int8_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        optimize(make_model(), **{"precision": "int8", "calibration": pictures(16)} | options)


def test_other_refusals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="int8 needs clips to be set up with: optimize"):
        predict(make_model(), videos(1)[0], fps=25, engine="openvino", precision="int8")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="onnx files are made in"):
        export(make_model(), tmp_path / "model.onnx", precision="int8", calibration=pictures(16))
    with pytest.raises(InputError, match="boxes"):
        optimize(make_model(ROI_NETWORKS["mean"]), precision="int8", calibration=pictures(16))
    with pytest.raises(InputError, match=r"no classes \(num_classes=0\)"):
        optimize(make_model(SMALL.replace(num_classes=0)), precision="int8", calibration=pictures(16))
    monkeypatch.setattr(int8, "_made", None)
    for calibration in (pictures(16), videos(9)):
        with pytest.raises(
            InputError, match=r"are \(3, 8, 48, 48\), the file is for \(3, 8, 64, 64\): leave"
        ):
            export(make_model(), tmp_path / "a.xml", precision="int8", calibration=calibration, size=64)
    for calibration, message in (
        (torch.zeros(16, 3, 8, 64, 64), r"are \(3, 8, 64, 64\), the file is for .*: give size=64\.$"),
        (torch.zeros(16, 3, 8, 64, 48), r"the file is for .*: give size=\(64, 48\)\.$"),
        (torch.zeros(16, 3, 4, 48, 48), r"are \(3, 4, 48, 48\), .*: calibrate with such clips\.$"),
        (torch.zeros(16, 8, 48, 48), r"accepted: videos, or normalized clips, float \(N, C, T, H, W\)"),
    ):
        with pytest.raises(InputError, match=message):
            export(make_model(), tmp_path / "a.xml", precision="int8", calibration=calibration)
    block(monkeypatch, "nncf")
    with pytest.raises(MissingDependencyError, match=r"'nncf'.*pip install nncf openvino$"):
        optimize(make_model(), precision="int8", calibration=pictures(16))


def test_it_is_made_where_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    places = list[object]()

    def moved(self: SlowFast, place: object) -> SlowFast:
        places.append(place)
        return self

    def made(*_: object, **__: object) -> None:
        raise InterruptedError

    monkeypatch.setattr(SlowFast, "to", moved)
    monkeypatch.setattr(optimize_module, "to_int8", made)
    with pytest.raises(InterruptedError):
        optimize(make_model(), precision="int8", calibration=pictures(16), device="cpu")
    assert places and set(places) == {torch.device("cpu")}


def test_no_frame_calibrates_and_judges() -> None:
    spec = make_model().clip_spec
    for count, frames, seen, judging in ((1, 200, 10, 27), (3, 40, None, None), (9, 24, None, None)):
        calibration = calibration_of(videos(count, frames), spec)
        own = [make().numpy().tobytes() for make in calibration.seen]
        others = [clip.numpy().tobytes() for clip in calibration.unseen()]
        assert len(set(own)) == len(own) and len(set(others)) == len(others)
        assert not set(own) & set(others)
        assert len(own) <= 32 and len(others) <= 100 and calibration.shape == SHAPE
        if seen is not None:
            assert (len(own), len(others)) == (seen, judging)


def test_what_is_given_several_times_judges_once_at_most() -> None:
    spec = make_model().clip_spec
    for copies in (8, 20):
        with pytest.raises(InputError, match="and 0 different ones were found"):
            list(calibration_of(videos(1, 60) * copies, spec).unseen())
    with pytest.raises(InputError, match="16 and 0 different ones were found"):
        list(calibration_of(pictures(1).expand(64, -1, -1, -1, -1), spec).unseen())
    others = list(calibration_of(torch.cat([pictures(40)] * 2), spec).unseen())
    assert len({clip.numpy().tobytes() for clip in others}) == len(others) == 30
    assert len(list(calibration_of(videos(2, 200) * 2, spec).unseen())) > 10


def test_windows_that_overlap_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """By three quarters at most, which is known before anything is quantized."""
    frames = torch.randn(3, 300, 8, 8)
    half, most = (frames.unfold(1, 8, hop).permute(1, 0, 4, 2, 3) for hop in (4, 1))
    assert len(half) == 74 and len(list(calibration_of(half, make_model().clip_spec).unseen())) == 55
    monkeypatch.setattr(int8, "_quantized", None)
    with pytest.raises(InputError, match=r"share frames with those that calibrate: 15 and 2 different"):
        to_int8(fold_batch_norms(make_model()), most[:60])


def test_a_video_that_can_not_be_read_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    calibration = calibration_of([tmp_path / "broken.mp4", *videos(2, 60)], make_model().clip_spec)
    assert len(calibration.seen) >= 4 and "isn't used for int8" in caplog.text
    with pytest.raises(VideoError, match=r"'.*typo\.mp4' doesn't exist"):
        calibration_of([tmp_path / "typo.mp4", *videos(2, 60)], make_model().clip_spec)
    assert calibration.identity is not None
    assert calibration.identity != calibration_of(videos(2, 60), make_model().clip_spec).identity


@pytest.mark.parametrize(
    ("features", "bits"),
    [(("avx2", "fma"), 7), (("avx512f",), 7), ((), 7), (("avx2", "avx_vnni"), 8), (("asimd", "bf16"), 8)],
)
def test_weights_leave_room_where_products_overflow(
    monkeypatch: pytest.MonkeyPatch, features: tuple[str, ...], bits: int
) -> None:
    monkeypatch.setattr(int8, "processor_features", lambda: features)
    assert int8._weight_bits() == bits
    assert isinstance(machine.processor_features(), tuple)


def test_what_has_no_name_is_never_taken_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams and file objects can't be told apart: what was made of them serves this call alone."""
    from openvino import Model, opset13

    def summed(factor: float) -> Any:
        clip = opset13.parameter([1, *SHAPE], np.float32, name="clip")
        places = opset13.constant(np.array([2, 3, 4], np.int64))
        return Model([opset13.reduce_sum(opset13.multiply(clip, np.float32(factor)), places, False)], [clip])

    nameless = Calibration([lambda: torch.zeros(1, *SHAPE)], lambda: iter(()), None)
    monkeypatch.setattr(int8, "calibration_of", lambda *_: nameless)
    graphs = iter([summed(1), summed(5)])
    monkeypatch.setattr(int8, "_made", lambda *_: (next(graphs), agreement()))
    folded, clip = fold_batch_norms(make_model()), torch.ones(1, *SHAPE)
    first, second = (to_int8(folded, pictures(1)).run(SHAPE)(clip) for _ in range(2))
    assert first.tolist() == [[8 * 48 * 48] * 3] and torch.equal(second, 5 * first)
    assert not artifacts.names(".blob") and not artifacts.names(".int8")


def test_a_video_in_the_users_folder_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    (tmp_path / "film.mp4").write_bytes(b"a film")
    spec = make_model().clip_spec
    known = calibration_module._identity([tmp_path / "film.mp4"], spec)
    assert known is not None and calibration_module._identity(["~/film.mp4"], spec) == known
