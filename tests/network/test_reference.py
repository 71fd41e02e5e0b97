"""Our one network against what the publishers' networks computed with the same numbers.

``reference/make.py`` ran the released peers; here the same seeded weights go through the dialects
into ``SlowFast``. "Traps" are the differences between the publishers that no shape check sees:
each builds the wrong variant and shows that these references would catch it.
"""

from __future__ import annotations

import functools
import re
import zlib

import numpy as np
import pytest
import torch
from reference import Case, Reference, references
from reference.seeded import seeded_input, seeded_state_dict
from torch import Tensor, nn

from slowfast_zoo.errors import CheckpointError
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ModelSpec, RoiSpec
from slowfast_zoo.weights.checkpoint.dialects import find_network, get_table, names_between
from slowfast_zoo.weights.checkpoint.loading import canonical_state_dict

TOLERANCE = 1e-5
"""Largest difference over largest reference value, float32; 1e-6 is what rounding costs."""

VISIBLE = 1e-3
"""What a wrong variant must exceed to count as caught: a hundred tolerances."""

_PTV = ModelSpec(lateral_norm=True, slow_sampling="linspace", head_pool="window_logits")
_PSF = _PTV.replace(head_pool="window_probs")
_GLUON = ModelSpec(lateral_norm=True)
_PERSONS = ModelSpec(stage4_stride=(1, 1), num_classes=80, activation="sigmoid", roi=RoiSpec())
_PERSONS_8X8 = _PERSONS.replace(alpha=4, fusion_kernel=7)
_PTV_PERSONS = _PERSONS_8X8.replace(
    lateral_norm=True,
    slow_sampling="linspace",
    stage4_dilation=(2, 2),
    roi=RoiSpec(output_size=7, aligned=False),
)

SPECS = {
    "mmaction2/r50_4x16x1": ModelSpec(),
    "mmaction2/r50_8x8x1": ModelSpec(alpha=4, fusion_kernel=7),
    "mmaction2/r50_8x8x1_steplr": ModelSpec(alpha=4, fusion_kernel=7, lateral_norm=True),
    "mmaction2/r50_16x8x1_sthv1": ModelSpec(alpha=4, fusion_kernel=7, num_frames=64, num_classes=174),
    "mmaction2/r101_r50_4x16x1": ModelSpec(depth=101, fast_depth=50),
    "mmaction2/r101_8x8x1": ModelSpec(depth=101, alpha=4, fusion_kernel=7),
    "mmaction2/r152_r50_4x16x1": ModelSpec(depth=152, fast_depth=50),
    "pytorchvideo/slowfast_4x16_r50": _PTV,
    "pytorchvideo/slowfast_r50": _PTV.replace(alpha=4, fusion_kernel=7),
    "pytorchvideo/slowfast_r101": _PTV.replace(depth=101, fast_depth=101, alpha=4),
    "pytorchvideo/slowfast_16x8_r101_50_50": _PTV.replace(
        depth=101, fast_depth=101, alpha=4, num_frames=64, temporal_blocks=(3, 4, 6, 3)
    ),
    "pyslowfast/SLOWFAST_4x16_R50": _PSF,
    "pyslowfast/SLOWFAST_8x8_R50": _PSF.replace(alpha=4, fusion_kernel=7),
    "pyslowfast/SLOWFAST_8x8_R101_101_101": _PSF.replace(depth=101, fast_depth=101, alpha=4),
    "pyslowfast/SLOWFAST_16x8_R101_50_50": _PSF.replace(
        depth=101, fast_depth=101, alpha=4, num_frames=64, temporal_blocks=(3, 4, 6, 3)
    ),
    "pyslowfast/SSv2_SLOWFAST_16x8_R50": _PSF.replace(
        alpha=4, fusion_kernel=7, num_frames=64, num_classes=174
    ),
    "pyslowfast/Charades_SLOWFAST_16x8_R50": _PSF.replace(
        alpha=4, fusion_kernel=7, num_frames=64, num_classes=157, activation="sigmoid"
    ),
    "gluoncv/slowfast_4x16_resnet50_kinetics400": _GLUON,
    "gluoncv/slowfast_8x8_resnet50_kinetics400": _GLUON.replace(alpha=4, fusion_kernel=7),
    "gluoncv/slowfast_8x8_resnet101_kinetics400": _GLUON.replace(depth=101, fast_depth=101, alpha=4),
    "gluoncv/slowfast_16x8_resnet101_50_50_kinetics400": _GLUON.replace(
        depth=101, fast_depth=101, alpha=4, num_frames=64, temporal_blocks=(3, 4, 6, 3)
    ),
    "gluoncv/slowfast_16x8_resnet50_sthsthv2": _GLUON.replace(
        alpha=4, fusion_kernel=7, num_frames=64, num_classes=174
    ),
    "mmaction2/ava_r50_4x16x1": _PERSONS,
    "mmaction2/ava_r50_4x16x1_context": _PERSONS.replace(roi=RoiSpec(context=True)),
    "mmaction2/ava_r50_8x8x1": _PERSONS_8X8,
    "mmaction2/ava_r50_8x8x1_temporal_max": _PERSONS_8X8.replace(roi=RoiSpec(temporal_pool="max")),
    "mmaction2/multisports_r50_4x16x1": _PERSONS.replace(num_classes=66, activation="softmax"),
    "mmaction2/ava_acrn_r50_8x8x1": _PERSONS_8X8.replace(roi=RoiSpec(acrn=True)),
    "mmaction2/ava_acrn_r50_8x8x1_temporal_max": _PERSONS_8X8.replace(
        roi=RoiSpec(temporal_pool="max", acrn=True)
    ),
    "pytorchvideo/slowfast_r50_detection": _PTV_PERSONS,
    "pyslowfast/AVA_SLOWFAST_32x2_R50_SHORT": _PTV_PERSONS.replace(roi=RoiSpec(output_size=7)),
    "pyslowfast/AVA_SLOWFAST_32x2_R101_50_50": _PTV_PERSONS.replace(
        depth=101, fusion_kernel=5, temporal_blocks=(3, 4, 6, 3), non_local=(6, 13, 20)
    ),
}

PARAMETERS = {
    "mmaction2/r50_4x16x1": 34_479_288,
    "mmaction2/r50_8x8x1": 34_565_560,
    "mmaction2/r50_8x8x1_steplr": 34_566_488,
    "mmaction2/r50_16x8x1_sthv1": 34_044_630,
    "mmaction2/r101_r50_4x16x1": 62_384_312,
    "mmaction2/r101_8x8x1": 62_912_312,
    "mmaction2/r152_r50_4x16x1": 84_843_704,
    "pytorchvideo/slowfast_4x16_r50": 34_480_216,
    "pytorchvideo/slowfast_r50": 34_566_488,
    "pytorchvideo/slowfast_r101": 62_826_968,
    "pytorchvideo/slowfast_16x8_r101_50_50": 53_774_808,
    "pyslowfast/SSv2_SLOWFAST_16x8_R50": 34_045_558,
    "pyslowfast/Charades_SLOWFAST_16x8_R50": 34_006_373,
}
"""Learnable values as published or, for those whose page gives none, as their code builds them."""


@functools.lru_cache(maxsize=4)
def canonical_weights(name: str) -> dict[str, Tensor]:
    """Seeded by the publisher's keys, under our names."""
    reference = references()[name]
    weights = seeded_state_dict(reference.shapes, reference.gain)
    return canonical_state_dict(weights, SPECS[name], dialect_of(name))


def columns_before(name: str) -> int:
    """The publisher's columns in front of the classes': a background, which isn't read."""
    return get_table(dialect_of(name)).rows_before(SPECS[name])


def expected_output(name: str, case: Case) -> np.ndarray:
    """The publisher's output for the classes."""
    return references()[name].output(case)[:, columns_before(name) :]


def dialect_of(name: str) -> str:
    return name.split("/")[0].replace("mmaction2", "openmmlab")


def empty_weights(name: str) -> dict[str, Tensor]:
    """The publisher's keys and shapes without values: enough to ask what fits."""
    return {key: torch.empty(shape, device="meta") for key, shape in references()[name].shapes.items()}


def build(spec: ModelSpec, weights: dict[str, Tensor]) -> SlowFast:
    """The network in eval mode; on meta first, so that no random weights are drawn."""
    with torch.device("meta"):
        model = SlowFast(spec)
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval()


@torch.inference_mode()
def run(model: nn.Module, case: Case) -> np.ndarray:
    clip = seeded_input(case.frames, (case.height, case.width), case.batch)
    return (model(clip, torch.tensor(case.boxes)) if case.boxes else model(clip)).numpy()


def difference(output: np.ndarray, reference: np.ndarray) -> float:
    """max |difference| / max |reference|."""
    assert output.shape == reference.shape
    return float(np.abs(output.astype(np.float64) - reference).max() / np.abs(reference).max())


def find_case(name: str, case_name: str) -> tuple[Reference, Case]:
    reference = references()[name]
    return reference, next(case for case in reference.cases if case.name == case_name)


def wrong(name: str, case_name: str, spec: ModelSpec, weights: dict[str, Tensor]) -> float:
    """How far a variant is from the publisher's output on one case."""
    reference, case = find_case(name, case_name)
    return difference(run(build(spec, weights), case), reference.output(case))


# --- what is compared ---------------------------------------------------------------------------


def test_every_stored_network_is_compared() -> None:
    assert set(references()) == set(SPECS)
    assert set(PARAMETERS) <= set(SPECS)


def test_the_seeded_numbers_are_those_of_the_references() -> None:
    """Tells a change of NumPy's generator from a change of the network."""
    state = seeded_state_dict({"a.weight": (4, 3), "a.running_var": (5,), "a.bias": (5,)})
    clip = seeded_input(8, (5, 7), batch=2)
    numbers = {**state, "clip": clip}
    assert {name: zlib.crc32(value.numpy().tobytes()) for name, value in numbers.items()} == {
        "a.weight": 0xFCF7CE16,
        "a.running_var": 0xF905C3F7,
        "a.bias": 0xCD88CEF5,
        "clip": 0x6A16D87E,
    }
    assert torch.equal(seeded_input(8, (5, 7))[0], clip[0])


def test_the_references_differ_from_each_other() -> None:
    """No two networks were stored twice by accident, and none is constant, empty or overflown."""
    outputs = [reference.output(reference.cases[0]) for reference in references().values()]
    assert all(np.isfinite(output).all() and output.std() > 0.1 for output in outputs)
    assert len({output.tobytes() for output in outputs}) == len(outputs)


@pytest.mark.parametrize("name", SPECS)
def test_names_and_shapes_are_a_bijection(name: str) -> None:
    theirs = references()[name].shapes
    names = names_between(SPECS[name], dialect_of(name))
    with torch.device("meta"):
        ours = {key: tuple(value.shape) for key, value in SlowFast(SPECS[name]).state_dict().items()}
    assert ours.keys() == names.keys()
    assert sorted(map(str, names.values())) == sorted(theirs)
    for key in ("classifier.weight", "classifier.bias"):
        ours[key] = (ours[key][0] + columns_before(name), *ours[key][1:])
    assert ours == {key: theirs[str(their_key)] for key, their_key in names.items()}


@pytest.mark.parametrize("name", SPECS)
def test_dialect_is_told_from_the_names(name: str) -> None:
    assert find_network(references()[name].shapes) == [(dialect_of(name), "")]


@pytest.mark.parametrize("name", SPECS)
def test_parameter_count(name: str) -> None:
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in SlowFast(SPECS[name]).parameters())
    background = columns_before(name) * (SPECS[name].num_features + 1)
    assert count + background == references()[name].parameters
    assert count == PARAMETERS.get(name, count)


@pytest.mark.parametrize("name", SPECS)
def test_outputs_are_the_publishers(name: str) -> None:
    reference, weights = references()[name], canonical_weights(name)
    errors = {}
    for case in reference.cases:
        spec = SPECS[name] if case.window is None else SPECS[name].replace(head_window=case.window)
        errors[case.name] = difference(run(build(spec, weights), case), expected_output(name, case))
    assert max(errors.values()) <= TOLERANCE, errors


# --- traps --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "case_name", "change"),
    [
        ("mmaction2/r50_4x16x1", "1x32x64x64", {"slow_sampling": "linspace"}),
        ("pytorchvideo/slowfast_4x16_r50", "1x32x64x64-window2", {"slow_sampling": "strided"}),
        ("pytorchvideo/slowfast_r50", "1x32x64x64-window2", {"slow_sampling": "strided"}),
        ("pytorchvideo/slowfast_r50", "1x32x97x131-window2", {"head_pool": "global", "head_window": None}),
        ("pyslowfast/SLOWFAST_8x8_R50", "1x32x97x131-window2", {"head_pool": "global", "head_window": None}),
        ("pyslowfast/SLOWFAST_8x8_R50", "1x32x97x131-window2", {"head_pool": "window_logits"}),
        ("pyslowfast/Charades_SLOWFAST_16x8_R50", "1x64x97x131-window2", {"head_pool": "window_logits"}),
        ("pyslowfast/Charades_SLOWFAST_16x8_R50", "1x64x97x131-window2", {"activation": "softmax"}),
        (
            "gluoncv/slowfast_8x8_resnet50_kinetics400",
            "1x40x97x131",
            {"head_pool": "window_logits", "head_window": 2},
        ),
    ],
)
def test_wrong_rule_is_caught(name: str, case_name: str, change: dict[str, object]) -> None:
    """Rules that leave every shape as it is."""
    reference, case = find_case(name, case_name)
    spec = SPECS[name].replace(**({"head_window": case.window} | change))
    output = torch.from_numpy(run(build(spec, canonical_weights(name)), case))
    target = torch.from_numpy(reference.output(case))
    if (
        SPECS[name].head_pool == "window_probs" and spec.activation == "softmax"
    ):  # logits that give the same probabilities would be right
        output, target = output.log_softmax(1), target.log_softmax(1)
    assert difference(output.numpy(), target.numpy()) > VISIBLE


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mmaction2/ava_r50_4x16x1", {"roi": RoiSpec(temporal_pool="max")}),
        ("mmaction2/ava_r50_4x16x1", {"roi": RoiSpec(aligned=False)}),
        ("mmaction2/ava_r50_4x16x1", {"roi": RoiSpec(output_size=7)}),
        ("mmaction2/ava_r50_4x16x1", {"stage4_dilation": (2, 2)}),
        ("pyslowfast/AVA_SLOWFAST_32x2_R50_SHORT", {"stage4_dilation": (2, 1)}),
        ("pyslowfast/AVA_SLOWFAST_32x2_R50_SHORT", {"roi": RoiSpec(output_size=7, aligned=False)}),
    ],
)
def test_a_wrong_head_for_boxes_is_caught(name: str, change: dict[str, object]) -> None:
    case = references()[name].cases[0]
    model = build(SPECS[name].replace(**change), canonical_weights(name))
    assert difference(run(model, case), expected_output(name, case)) > VISIBLE


def test_heads_agree_where_the_window_is_the_whole_map() -> None:
    """So it is at the training crop; the three rules differ only above that."""
    name = "pyslowfast/SLOWFAST_8x8_R50"
    reference, case = find_case(name, "1x32x64x64-window2")
    for change in ({}, {"head_pool": "window_logits"}, {"head_pool": "global", "head_window": None}):
        spec = SPECS[name].replace(**({"head_window": 2} | change))
        logits = torch.from_numpy(run(build(spec, canonical_weights(name)), case))
        assert difference(logits.log_softmax(1).numpy(), reference.output(case)) <= TOLERANCE


def test_softmax_applied_twice_is_caught() -> None:
    """The softmax of a "window_probs" output is the publisher's probability; doing it again isn't."""
    name = "pyslowfast/SLOWFAST_8x8_R50"
    reference, case = find_case(name, "1x32x64x64-window2")
    target = np.exp(reference.output(case))
    assert target.sum() == pytest.approx(1, abs=1e-5)
    model = build(SPECS[name].replace(head_window=2), canonical_weights(name))
    probabilities = torch.from_numpy(run(model, case)).softmax(1)
    assert difference(probabilities.numpy(), target) <= TOLERANCE
    assert difference(probabilities.softmax(1).numpy(), target) > 0.5


def test_unsorted_classifier_columns_are_caught() -> None:
    """OpenMMLab's head reads the fast features first; the shape is the same either way."""
    name = "mmaction2/r50_4x16x1"
    weights = dict(canonical_weights(name))
    ours = weights["classifier.weight"]
    theirs = seeded_state_dict({"cls_head.fc_cls.weight": tuple(ours.shape)})["cls_head.fc_cls.weight"]
    assert torch.equal(theirs[:, :256], ours[:, 2048:])
    assert torch.equal(theirs[:, 256:], ours[:, :2048])
    weights["classifier.weight"] = theirs
    assert wrong(name, "1x32x64x64", SPECS[name], weights) > 0.5


def test_missing_lateral_norm_is_caught() -> None:
    """Without batch norm and ReLU behind the laterals the remaining weights still load."""
    name = "mmaction2/r50_8x8x1_steplr"
    weights = canonical_weights(name).items()
    plain = {key: value for key, value in weights if not re.match(r"laterals\.\d\.norm", key)}
    assert wrong(name, "1x32x64x64", SPECS[name].replace(lateral_norm=False), plain) > VISIBLE


def test_added_lateral_norm_is_caught() -> None:
    """Nor can a batch norm that changes nothing stand in for none: its ReLU remains."""
    name = "mmaction2/r50_8x8x1"
    weights = dict(canonical_weights(name))
    for k in range(4):
        channels = weights[f"laterals.{k}.conv.weight"].shape[0]
        weights |= {
            f"laterals.{k}.norm.weight": torch.ones(channels),
            f"laterals.{k}.norm.bias": torch.zeros(channels),
            f"laterals.{k}.norm.running_mean": torch.zeros(channels),
            f"laterals.{k}.norm.running_var": torch.ones(channels),
            f"laterals.{k}.norm.num_batches_tracked": torch.tensor(0),
        }
    assert wrong(name, "1x32x64x64", SPECS[name].replace(lateral_norm=True), weights) > VISIBLE


def test_pool2_is_caught() -> None:
    """OpenMMLab's pathways own a temporal max pool behind stage 1 that they never call."""
    name = "mmaction2/r50_4x16x1"
    reference, case = find_case(name, "1x32x64x64")
    model = build(SPECS[name], canonical_weights(name))
    for pathway in (model.slow, model.fast):
        pathway.stage1.append(nn.MaxPool3d((2, 1, 1), stride=(2, 1, 1)))
    assert difference(run(model, case), reference.output(case)) > VISIBLE


def test_stride_in_the_first_convolution_is_caught() -> None:
    """The spatial stride of a stage sits in its 3x3 convolution, not in the 1x1 before it."""
    name = "mmaction2/r50_4x16x1"
    reference, case = find_case(name, "1x32x64x64")
    model = build(SPECS[name], canonical_weights(name))
    for pathway in (model.slow, model.fast):
        for stage in (pathway.stage2, pathway.stage3, pathway.stage4):
            stage[0].conv1.stride, stage[0].conv2.stride = (1, 2, 2), (1, 1, 1)
    assert difference(run(model, case), reference.output(case)) > VISIBLE


@pytest.mark.parametrize(
    ("name", "spec", "pattern", "count"),
    [
        # The same name elsewhere: OpenMMLab's R101 8x8 has lateral kernels of 7, all others 5.
        ("mmaction2/r101_8x8x1", {"fusion_kernel": 5}, r"laterals\.\d\.conv\.weight", 4),
        ("mmaction2/r50_8x8x1", {"fusion_kernel": 5}, r"laterals\.\d\.conv\.weight", 4),
        ("pytorchvideo/slowfast_r101", {"fusion_kernel": 7}, r"laterals\.\d\.conv\.weight", 4),
        # 101_50_50: 17 of stage 3's 23 blocks see one frame, in both pathways.
        (
            "pytorchvideo/slowfast_16x8_r101_50_50",
            {"temporal_blocks": None},
            r"(slow|fast)\.stage3\.\d+\.conv1\.weight",
            34,
        ),
    ],
)
def test_wrong_kernels_do_not_load(name: str, spec: dict[str, object], pattern: str, count: int) -> None:
    with pytest.raises(CheckpointError) as caught:
        canonical_state_dict(empty_weights(name), SPECS[name].replace(**spec), dialect_of(name))
    assert not caught.value.missing
    assert not caught.value.unexpected
    assert len(caught.value.mismatched) == count
    assert all(re.fullmatch(pattern, key) for key, _, _ in caught.value.mismatched)


@pytest.mark.parametrize("depth", [101, 152])
def test_fast_depth_is_50_in_the_files_called_r101_and_r152(depth: int) -> None:
    weights = empty_weights(f"mmaction2/r{depth}_r50_4x16x1")
    with pytest.raises(CheckpointError) as caught:
        canonical_state_dict(weights, ModelSpec(depth=depth), "openmmlab")
    assert caught.value.missing
    assert all(key.startswith("fast.stage") for key in caught.value.missing)


def test_the_callers_clip_is_left_alone() -> None:
    """PyTorchVideo's forward overwrites its input list; here a second call gives the same answer."""
    name = "pytorchvideo/slowfast_r50"
    model = build(SPECS[name].replace(head_window=2), canonical_weights(name))
    clip = seeded_input(32, 64)
    before = clip.clone()
    with torch.inference_mode():
        first, second = model(clip), model(clip)
    assert torch.equal(clip, before)
    assert torch.equal(first, second)
