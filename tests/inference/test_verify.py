"""``verify`` finds what is wrong: every stage is broken on purpose, and must be the one that is named."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from reference import seeded
from torch import nn

from slowfast_zoo.cli import main
from slowfast_zoo.errors import InputError, UnknownNameError, VideoError
from slowfast_zoo.inference.engines.optimize import ENGINES
from slowfast_zoo.inference.verify import demo_clip as demo
from slowfast_zoo.inference.verify import parts
from slowfast_zoo.inference.verify import stages as replay
from slowfast_zoo.inference.verify import verify as verify_module
from slowfast_zoo.inference.verify.report import Report
from slowfast_zoo.inference.verify.verify import (
    REFERENCES,
    STAGES,
    compare,
    publisher_reference,
    references,
    seeded_twin,
    summary,
    verify,
)
from slowfast_zoo.network import slowfast as network
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.video import sampling
from slowfast_zoo.video.clips import Clips
from slowfast_zoo.video.decoding import rgb
from slowfast_zoo.video.transforms import boxes, functional
from slowfast_zoo.weights.catalog import get_weights, list_weights
from slowfast_zoo.weights.catalog.datasets import Dataset
from slowfast_zoo.zoo import create_model

QUICK = ("decode", "sample", "resize", "normalize", "slow frames", "network")
"""All stages that need neither a model nor several seconds."""

WITHOUT_PUBLISHER = {
    ("slowfast_r50_8x8x1", "mmaction2/k400-256e-320p@ecd36535"),
    ("slowfast_r50_8x8x1", "pyslowfast/k400-stepwise-multigrid"),
    ("slowfast_r50_16x8x1", "pyslowfast/ssv2-multigrid"),
    ("slowfast_r50_16x8x1", "pyslowfast/charades-multigrid"),
    ("slowfast_r101_50_50_16x8x1_roi", "pyslowfast/ava22"),
}
"""Rows whose architecture no released package builds, so that nobody else's output exists; PySlowFast's
network for persons with 64 frames wasn't run."""


@pytest.fixture(scope="module")
def clean() -> Report:
    return verify()


# --- nothing is wrong -----------------------------------------------------------------------------


def test_everything_agrees_here(clean: Report) -> None:
    assert clean.ok, str(clean)
    assert clean.first_difference is None
    assert str(clean).endswith("comparisons agree with the stored references.")
    left_out = {check.what for check in clean.checks if not check.ok}
    assert left_out == {"compile"}  # which takes minutes, unless it is asked for


def test_every_stage_was_checked_in_order(clean: Report) -> None:
    found = list(dict.fromkeys(check.stage for check in clean.checks))
    embedded = any(not entry.urls for entry in list_weights())
    skipped = {"model", "demo clip"} | (set() if embedded else {"logits"})
    assert found == [stage for stage in STAGES if stage not in skipped]


def test_every_kind_of_clip_spec_of_the_catalog_was_replayed(clean: Report) -> None:
    """Fields that decide the input, grouped as the stages group them."""
    kinds = {
        "sample": ("num_frames", "frame_stride", "time_base", "fps", "sampling", "short_video", "clips"),
        "resize": ("size", "resize", "test_crop", "crops", "crop_rule"),
        "normalize": ("mean", "std", "pixel_range"),
    }
    specs = [entry.clip_spec for entry in list_weights()]
    for stage, fields in kinds.items():
        distinct = {tuple(getattr(spec, field) for field in fields) for spec in specs}
        rules = {spec.box_rule for spec in specs} - {"none"} if stage == "resize" else set()
        assert sum(check.stage == stage for check in clean.checks) == len(distinct) + len(rules)
    everything = {field for fields in kinds.values() for field in fields} | {"view_order"}
    distinct = {tuple(getattr(spec, field) for field in sorted(everything)) for spec in specs}
    assert sum(check.stage == "clip" for check in clean.checks) == len(distinct)
    training = {"crop", "augmentation", "smallest_area", "jitter", "flip"}
    others = {"aggregate", "approximate", "box_rule"}  # what happens to logits, a remark, boxes (see above)
    assert everything | training | others == {field.name for field in dataclasses.fields(ClipSpec)}


def test_no_reference_is_left_over(clean: Report) -> None:
    own = ("labels", "views", "engines")  # compared with something else
    checked = {(check.stage, check.what) for check in clean.checks if check.stage not in own}
    stored = {(stage, what) for stage, entries in references()["stages"].items() for what in entries}
    assert stored == checked


def test_a_reversed_class_list_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Dataset.labels.fget
    assert real is not None
    monkeypatch.setattr(Dataset, "labels", property(lambda self: real(self)[::-1]))
    report = verify(stages=["labels"])
    assert report.first_difference is not None and report.first_difference.stage == "labels"
    assert all(check.ok is False for check in report.checks)


def test_views_averaged_otherwise_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "average_views", lambda logits, activation, rule: logits[0].float())
    report = verify(stages=["views"])
    assert [check.ok for check in report.checks] == [False] * 8


def test_an_engine_that_is_wrong_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> object:
        return lambda clip: torch.zeros(len(clip), 40)

    engines = ENGINES | {"openvino": dataclasses.replace(ENGINES["openvino"], build=broken)}
    for name in ("compile", "onnxruntime"):
        del engines[name]  # which take long
    monkeypatch.setattr(parts, "ENGINES", engines)
    monkeypatch.setitem(ENGINES, "openvino", engines["openvino"])
    checks = {check.what: check for check in verify(stages=["engines"]).checks}
    assert checks["eager, float32"].ok
    assert "eager, bfloat16" not in checks or checks["eager, bfloat16"].ok
    assert checks["openvino, float32"].ok is False
    assert "is refused" in checks["openvino, bfloat16"].detail


def test_the_references_stay_small() -> None:
    assert REFERENCES.stat().st_size < 100_000
    assert replay.MOVIE.stat().st_size < 10_000


def test_seeded_numbers_are_those_of_the_publishers_references() -> None:
    shapes = {"a.conv.weight": (4, 3, 1, 2, 2), "a.bn.weight": (4,), "a.bn.bias": (4,)}
    shapes |= {"a.bn.running_var": (4,), "a.bn.running_mean": (4,), "a.bn.num_batches_tracked": ()}
    ours, theirs = replay.seeded_weights(shapes), seeded.seeded_state_dict(shapes)
    assert all(torch.equal(ours[name], theirs[name]) for name in shapes)
    assert torch.equal(replay.seeded_clip(4, 5, 7), seeded.seeded_input(4, (5, 7)))


# --- each stage is broken -------------------------------------------------------------------------


def bgr(patch: pytest.MonkeyPatch) -> None:
    convert = rgb.RgbConverter.__call__
    patch.setattr(rgb.RgbConverter, "__call__", lambda self, frame: convert(self, frame)[..., ::-1])


def next_frame(patch: pytest.MonkeyPatch) -> None:
    choose = sampling.clip_indices

    def shifted(spec: ClipSpec, frames: int, fps: object = None, clips: int | None = None) -> np.ndarray:
        return np.minimum(choose(spec, frames, fps, clips) + 1, frames - 1)

    patch.setattr(sampling, "clip_indices", shifted)


def one_wrong_frame(patch: pytest.MonkeyPatch) -> None:
    """One number in thousands, where nothing but the checksum sees it."""
    choose = sampling.clip_indices

    def changed(spec: ClipSpec, frames: int, fps: object = None, clips: int | None = None) -> np.ndarray:
        indices = choose(spec, frames, fps, clips).copy()
        if frames == 300:
            indices[0, 16:18] = indices[0, 17:15:-1]
        return indices

    patch.setattr(sampling, "clip_indices", changed)


def next_key_frame(patch: pytest.MonkeyPatch) -> None:
    choose = sampling.key_indices
    patch.setattr(sampling, "key_indices", lambda *given: choose(*given) + 1)


def unscaled_boxes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(boxes, "scale_boxes", lambda given, spec, *size: given * np.array([*size[::-1]] * 2))


def float_resize(patch: pytest.MonkeyPatch) -> None:
    """Bilinear in floating point, then rounded: off by one level in every eighth value."""

    def resized(picture: np.ndarray, height: int, width: int, box: functional.Box, **_: object) -> np.ndarray:
        values = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)
        values = functional.interpolate(values, height, width).round().clamp(0, 255)
        return values.numpy().astype(np.uint8)[:, *functional.slices(box)].transpose(1, 0, 2)

    patch.setattr(functional, "resize_bytes", resized)


def antialiasing(patch: pytest.MonkeyPatch) -> None:
    def smooth(picture: torch.Tensor, height: int, width: int) -> torch.Tensor:
        return nn.functional.interpolate(
            picture[None], size=(height, width), mode="bilinear", align_corners=False, antialias=True
        )[0]

    patch.setattr(functional, "interpolate", smooth)


def wrong_crop(patch: pytest.MonkeyPatch) -> None:
    boxes = functional.crop_boxes
    patch.setattr(
        functional, "crop_boxes", lambda spec, *rest: boxes(spec.replace(crop_rule="uniform"), *rest)
    )


def wrong_std(patch: pytest.MonkeyPatch) -> None:
    right = functional.normalize
    patch.setattr(functional, "normalize", lambda clip, spec: right(clip, spec.replace(std=spec.std[::-1])))


def other_slow_frames(patch: pytest.MonkeyPatch) -> None:
    right = network.slow_frames
    other = {"strided": "linspace", "linspace": "strided"}
    patch.setattr(network, "slow_frames", lambda clip, alpha, rule: right(clip, alpha, other[rule]))


def large_eps(patch: pytest.MonkeyPatch) -> None:
    """TensorFlow's default, which ports bring along."""

    def built(spec: ModelSpec) -> SlowFast:
        model = SlowFast(spec)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.eps = 1e-3
        return model

    patch.setattr(network, "SlowFast", built)


@pytest.mark.parametrize(
    ("broken", "stage", "also"),
    [
        (bgr, "decode", set()),
        (next_frame, "sample", set()),
        (one_wrong_frame, "sample", set()),
        (next_key_frame, "sample", set()),
        (unscaled_boxes, "resize", set()),
        (float_resize, "resize", set()),
        (antialiasing, "resize", set()),
        (wrong_crop, "resize", set()),
        (wrong_std, "normalize", set()),
        (other_slow_frames, "slow frames", {"network"}),
        (large_eps, "network", set()),
    ],
)
def test_a_broken_stage_is_named(
    broken: Callable[[pytest.MonkeyPatch], None], stage: str, also: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    stages = QUICK if stage in ("slow frames", "network") else QUICK[:-1]
    report = verify(stages=stages)
    assert not report.ok
    first = report.first_difference
    assert first is not None
    assert first.stage == stage
    assert {check.stage for check in report.checks if not check.ok} == {stage} | also
    assert "DIFFERS" in str(report)
    assert f"The first stage that differs: {stage}" in str(report)


def test_a_clip_builder_that_mixes_up_views_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every single step is right, and the joined result isn't."""
    view = Clips.__getitem__
    monkeypatch.setattr(Clips, "__getitem__", lambda self, number: view(self, len(self) - 1 - number))
    rows = [get_weights("slowfast_r50_4x16x1", "mmaction2-1x/k400-256e")]
    monkeypatch.setattr(replay, "list_weights", lambda: rows)
    report = verify(stages=["sample", "resize", "normalize", "clip"])
    assert [check.stage for check in report.checks if not check.ok] == ["clip"]


def test_a_stage_that_crashes_is_a_difference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(replay, "MOVIE", tmp_path / "gone.mp4")
    report = verify(stages=["decode", "normalize"])
    first = report.first_difference
    assert first is not None
    assert (first.stage, first.what) == ("decode", "can't be computed")
    assert "VideoError" in first.detail
    assert all(check.ok for check in report.checks if check.stage == "normalize")


def test_another_shape_nan_and_a_missing_reference_are_differences() -> None:
    ones = replay.Measurement("network", "x", np.ones((2, 3), np.float32), 1e-4, "relative")
    stored = summary(ones.values)
    assert compare(ones, stored).ok
    turned = dataclasses.replace(ones, values=ones.values.T)
    assert "shape (3, 2), expected (2, 3)" in str(compare(turned, stored))
    spoilt = ones.values.copy()
    spoilt[0, 0] = np.nan
    check = compare(dataclasses.replace(ones, values=spoilt), stored)
    assert check.ok is False
    report = Report(checks=(check,), environment="")
    json.dumps(report.to_dict(), allow_nan=False)
    assert compare(ones, None).ok is False


# --- a model --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> SlowFast:
    """Says that it is a published row, with the row's specs but a small network behind them."""
    row = get_weights("slowfast_r50_4x16x1", "mmaction2-1x/k400-256e")
    model = SlowFast(ModelSpec(depth=14, base_width=16, num_classes=400))
    model.spec, model.clip_spec, model.labels = row.model_spec, row.clip_spec, row.labels
    model.provenance = {"model": row.model, "tag": row.tag}
    return model


@pytest.fixture
def row_model(small: SlowFast) -> Iterator[SlowFast]:
    before = dict(vars(small))
    yield small
    small.__dict__.update(before)


def test_a_faithful_model_agrees(row_model: SlowFast) -> None:
    report = verify(row_model, stages=["model"])
    assert report.ok
    assert len(report.checks) == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"clip_spec": ClipSpec(sampling="openmmlab-0.x")}, "sampling is 'openmmlab-0.x'"),
        ({"spec": ModelSpec(slow_sampling="linspace")}, "slow_sampling is 'linspace', not 'strided'"),
        ({"labels": None}, "the model has none"),
        ({"labels": tuple(f"class {i}" for i in range(400))}, "class 0 is 'class 0', not 'abseiling'"),
        ({"provenance": {"model": "slowfast_r50_4x16x1", "tag": "gone"}}, "no weights 'gone'"),
    ],
)
def test_an_altered_contract_is_named(row_model: SlowFast, change: dict[str, object], words: str) -> None:
    for name, value in change.items():
        setattr(row_model, name, value)
    report = verify(row_model, stages=["model"])
    first = report.first_difference
    assert first is not None
    assert words in first.detail
    assert first.stage == "model"


def test_damaged_weights_are_named() -> None:
    model = SlowFast(ModelSpec(depth=14, base_width=16, num_classes=5))
    with torch.no_grad():
        model.fast.stem.norm.running_var[1] = math.inf
    report = verify(model, stages=["model"])
    assert [check.ok for check in report.checks] == [False, None]
    assert "'fast.stem.norm.running_var'" in str(report)


def test_own_classes_are_no_difference(row_model: SlowFast) -> None:
    row_model.spec, row_model.labels = row_model.spec.replace(num_classes=7), None
    report = verify(row_model, stages=["model"])
    assert report.ok
    assert report.checks[-1].ok is None


def test_every_row_has_a_publishers_output_or_is_known_not_to() -> None:
    rows = [row for row in list_weights() if row.urls]
    without = {(row.model, row.tag) for row in rows if not publisher_reference(row.model_spec)}
    assert without == WITHOUT_PUBLISHER


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("slowfast_r50_4x16x1", "mmaction2/r50_4x16x1 (mmaction2 1.2"),
        ("slowfast_r50_4x16x1_roi", "mmaction2/ava_r50_4x16x1_context (mmaction2 1.2"),
        ("slowfast_r101_50_50_8x8x1_roi", "pyslowfast/AVA_SLOWFAST_32x2_R101_50_50 ("),
    ],
)
def test_a_models_network_against_the_publishers(
    name: str, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The full network; also with other classes, in train mode, and with something wrong inside."""
    monkeypatch.setattr(replay, "SMALL_NETS", {})
    model = create_model(name, num_classes=9).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    check = verify(model, stages=["network"]).checks[-1]
    assert check.ok, check
    assert check.what.startswith(f"as {reference}")
    assert model.training
    assert model.spec.num_classes == 9
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eps = 1e-3
    check = verify(model, stages=["network"]).checks[-1]
    assert check.ok is False
    assert check.error is not None
    assert check.error > 10 * check.tolerance


def test_an_unknown_architecture_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "SMALL_NETS", {})
    model = SlowFast(ModelSpec(depth=14, base_width=16, num_classes=5))
    report = verify(model, stages=["network"])
    assert report.checks[-1].ok is None
    assert report.ok
    assert "not compared" in str(report)


def test_window_heads_take_the_references_window() -> None:
    found = publisher_reference(get_weights("slowfast_r50_4x16x1", "pytorchvideo/k400").model_spec)
    assert found is not None
    spec = ModelSpec.from_dict(found[1]["spec"])
    twin = seeded_twin(SlowFast(spec), found[1])
    assert twin.spec.head_window == found[1]["window"] == 2


def test_embedded_weights_are_checked_by_their_true_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a row that says that its file is inside the package, as the library's own rows do."""
    spec = ModelSpec(depth=14, base_width=16, num_classes=6)
    clip_spec = ClipSpec(size=64, crop=56, test_crop=64, clips=1, crops=1)
    row = dataclasses.replace(
        get_weights("slowfast_r50_4x16x1"), tag="inside", urls=(), model_spec=spec, clip_spec=clip_spec
    )
    model = SlowFast(spec)
    monkeypatch.setattr(replay, "list_weights", lambda: [row])
    monkeypatch.setattr("slowfast_zoo.zoo.create_model", lambda name, weights: model)
    (missing,) = verify(stages=["logits"]).checks
    assert (missing.ok, missing.detail) == (False, "no reference is stored")
    (measured,) = replay.embedded_logits(torch.device("cpu"))
    stored = {"stages": {"logits": {measured.what: summary(measured.values)}}, "networks": {}}
    monkeypatch.setattr(verify_module, "references", lambda: stored)
    assert verify(stages=["logits"]).ok
    with torch.no_grad():
        model.classifier.bias[3] += 0.01  # type: ignore[union-attr, index, operator]
    assert not verify(stages=["logits"]).ok


# --- the demo clip --------------------------------------------------------------------------------


class Actor(SlowFast):
    """Stands in for PyTorchVideo's R50: plays the published outputs, and notes what it is shown."""

    def __init__(self, label: str = demo.LABEL, slip: float = 0.0) -> None:
        super().__init__(ModelSpec(depth=14, base_width=16, num_classes=400))
        self.provenance = {"model": demo.MODEL, "tag": demo.TAG}
        self.label, self.slip = label, slip
        self.shown: list[torch.Tensor] = []

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        assert not self.training
        probability = min(demo.WINDOWS[len(self.shown)][1] - self.slip, 1 - 1e-9)
        self.shown.append(clip)
        logits = torch.full((1, 400), math.log((1 - probability) / 399))
        logits[0, get_weights(demo.MODEL, demo.TAG).labels.index(self.label)] = math.log(probability)
        return logits


def write_gray_movie(path: Path, frames: int = 280) -> Path:
    """340 x 256, each frame one gray: half its number, plus 50."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=28)
        stream.width, stream.height, stream.pix_fmt = 340, 256, "yuv420p"
        for index in range(frames):
            picture = np.full((256, 340, 3), 50 + index // 2, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def demo_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gray_movie(tmp_path_factory.mktemp("demo") / "demo.mp4")


def test_the_demo_clip_is_cut_and_judged_as_published(demo_clip: Path) -> None:
    actor = Actor().train()
    report = verify(actor, stages=["demo clip"], demo_clip=demo_clip)
    assert report.ok
    assert actor.training
    assert len(report.checks) == 10
    for clip, (first, _) in zip(actor.shown, demo.WINDOWS, strict=True):
        assert clip.shape == (1, 3, 32, 256, 256)
        grays = (clip.mean(dim=(0, 1, 3, 4)) * 0.225 + 0.45) * 255
        expected = torch.tensor([50 + (first + i) // 2 for i in range(32)])
        assert (grays - expected).abs().max() < 3


@pytest.mark.parametrize(
    ("label", "slip", "words"),
    [("capoeira", 0.0, "best class is 'capoeira'"), (demo.LABEL, 0.01, "error 0.01")],
)
def test_other_outputs_on_the_demo_clip_are_named(
    label: str, slip: float, words: str, demo_clip: Path
) -> None:
    actor = Actor(label, slip)
    report = verify(actor, stages=["demo clip"], demo_clip=demo_clip)
    first = report.first_difference
    assert first is not None
    assert first.stage == "demo clip"
    assert words in str(first)


def test_a_stage_in_one_word_is_that_one(demo_clip: Path) -> None:
    report = verify(Actor(), stages="demo clip", demo_clip=demo_clip)  # type: ignore[arg-type]
    assert {check.stage for check in report.checks} == {"demo clip"}


def test_another_video_or_model_is_refused(demo_clip: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it has 12 frames of 340 x 256 pixels, the demo clip has 280"):
        verify(Actor(), stages=["demo clip"], demo_clip=write_gray_movie(tmp_path / "a b.mp4", 12))
    with pytest.raises(InputError, match=r"belong to create_model\('slowfast_r50_8x8x1'"):
        verify(SlowFast(ModelSpec(depth=14, base_width=16)), stages=["demo clip"], demo_clip=demo_clip)
    with pytest.raises(VideoError, match="nowhere"):
        verify(Actor(), stages=["demo clip"], demo_clip=tmp_path / "nowhere.mp4")


# --- arguments and the command line ---------------------------------------------------------------


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="takes a SlowFast model or None, got str"):
        verify("slowfast_r50_4x16x1")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="Did you mean 'resize'"):
        verify(stages=["resise"])
    with pytest.raises(InputError, match="No stages are named"):
        verify(stages=[])
    with pytest.raises(InputError, match="'model' needs a model"):
        verify(stages=["model"])
    with pytest.raises(InputError, match="needs demo_clip="):
        verify(stages=["demo clip"])


def test_command_line_says_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    run = CliRunner().invoke(main, ["verify", "--stage", "normalize", "--stage", "slow frames"])
    assert run.exit_code == 0
    assert "agree with the stored references" in run.output
    assert "cpu" in run.output.splitlines()[0]
    wrong_std(monkeypatch)
    run = CliRunner().invoke(main, ["verify", "--stage", "normalize", "--json"])
    assert run.exit_code == 1
    found = json.loads(run.output)
    assert (found["ok"], found["first_difference"]) == (False, "normalize")


def test_command_line_refuses_in_one_sentence() -> None:
    run = CliRunner().invoke(main, ["verify", "--stage", "color"])
    assert run.exit_code == 1
    assert run.output.startswith("Error: There is no stage 'color'.")
    run = CliRunner().invoke(main, ["verify", "--no-weights"])
    assert run.exit_code == 2 and "--no-weights says how --model is checked" in run.output
    run = CliRunner().invoke(main, ["verify", "--like", "slowfast_tiny"])
    assert "give --model too" in run.output


def test_published_names_are_compared_where_stems_were_adapted() -> None:
    model = create_model("slowfast_tiny", True, in_channels=4)
    assert verify(model, stages=["model"]).checks[-1].ok
    model.reset_classifier(model.num_classes, [f"own {index}" for index in range(model.num_classes)])
    assert verify(model, stages=["model"]).checks[-1].ok is None


def test_a_model_that_scores_persons_is_compared_with_its_row() -> None:
    row = get_weights("slowfast_r50_4x16x1_roi")
    model = SlowFast(row.model_spec.replace(depth=14, base_width=8))
    model.clip_spec, model.labels = row.clip_spec, row.labels
    model.provenance = {"model": row.model, "tag": row.tag}
    report = verify(model, stages=["model"])
    assert [check.detail for check in report.checks if check.ok is False] == [
        "depth is 14, not 50; fast_depth is 14, not 50; base_width is 8, not 64"
    ]
    assert len(report.checks) == 4
    model.reset_classifier(model.num_classes, row.labels[::-1])
    again = verify(model, stages=["model"])
    assert [check.ok for check in again.checks] == [check.ok for check in report.checks[:3]] + [None]
    assert again.checks[-1].detail == f"the model has {model.num_classes} classes of its own"
