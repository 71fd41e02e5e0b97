"""The publishers' names: complete, one to one, and told apart."""

from __future__ import annotations

import pytest
import torch

from slowfast_zoo.errors import UnknownNameError
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ModelSpec
from slowfast_zoo.weights.checkpoint.dialects import (
    DIALECTS,
    find_network,
    get_table,
    names_between,
    slow_first,
)

FOREIGN = ["openmmlab", "pyslowfast", "caffe2", "pytorchvideo", "gluoncv"]

# One tensor of each kind, as it is written in each publisher's files of a ResNet-50 network.
KNOWN = {
    "slow.stem.conv.weight": (
        "backbone.slow_path.conv1.conv.weight",
        "s1.pathway0_stem.conv.weight",
        "conv1_w",
        "blocks.0.multipathway_blocks.0.conv.weight",
        "slow_conv1.weight",
    ),
    "fast.stem.norm.running_var": (
        "backbone.fast_path.conv1.bn.running_var",
        "s1.pathway1_stem.bn.running_var",
        "t_res_conv1_bn_riv",
        "blocks.0.multipathway_blocks.1.norm.running_var",
        "fast_bn1.running_var",
    ),
    "slow.stage3.5.conv2.weight": (
        "backbone.slow_path.layer3.5.conv2.conv.weight",
        "s4.pathway0_res5.branch2.b.weight",
        "res4_5_branch2b_w",
        "blocks.3.multipathway_blocks.0.res_blocks.5.branch2.conv_b.weight",
        "slow_res4.5.conv2.weight",
    ),
    "fast.stage4.2.norm3.bias": (
        "backbone.fast_path.layer4.2.conv3.bn.bias",
        "s5.pathway1_res2.branch2.c_bn.bias",
        "t_res5_2_branch2c_bn_b",
        "blocks.4.multipathway_blocks.1.res_blocks.2.branch2.norm_c.bias",
        "fast_res5.2.bn3.bias",
    ),
    "fast.stage1.0.shortcut_conv.weight": (
        "backbone.fast_path.layer1.0.downsample.conv.weight",
        "s2.pathway1_res0.branch1.weight",
        "t_res2_0_branch1_w",
        "blocks.1.multipathway_blocks.1.res_blocks.0.branch1_conv.weight",
        "fast_res2.0.downsample.0.weight",
    ),
    "slow.stage2.0.shortcut_norm.weight": (
        "backbone.slow_path.layer2.0.downsample.bn.weight",
        "s3.pathway0_res0.branch1_bn.weight",
        "res3_0_branch1_bn_s",
        "blocks.2.multipathway_blocks.0.res_blocks.0.branch1_norm.weight",
        "slow_res3.0.downsample.1.weight",
    ),
    "laterals.0.conv.weight": (
        "backbone.slow_path.conv1_lateral.conv.weight",
        "s1_fuse.conv_f2s.weight",
        "t_pool1_subsample_w",
        "blocks.0.multipathway_fusion.conv_fast_to_slow.weight",
        "lateral_p1.0.weight",
    ),
    "laterals.2.norm.running_mean": (
        "backbone.slow_path.layer2_lateral.bn.running_mean",
        "s3_fuse.bn.running_mean",
        "t_res3_3_branch2c_bn_subsample_bn_rm",
        "blocks.2.multipathway_fusion.norm.running_mean",
        "lateral_res3.1.running_mean",
    ),
    "laterals.3.norm.num_batches_tracked": (
        "backbone.slow_path.layer3_lateral.bn.num_batches_tracked",
        "s4_fuse.bn.num_batches_tracked",
        None,
        "blocks.3.multipathway_fusion.norm.num_batches_tracked",
        "lateral_res4.1.num_batches_tracked",
    ),
    "classifier.weight": (
        "cls_head.fc_cls.weight",
        "head.projection.weight",
        "pred_w",
        "blocks.6.proj.weight",
        "fc.weight",
    ),
}


@pytest.mark.parametrize("ours", KNOWN)
def test_names_are_the_publishers(ours: str) -> None:
    spec = ModelSpec(lateral_norm=True)
    assert tuple(names_between(spec, dialect)[ours] for dialect in FOREIGN) == KNOWN[ours]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec(depth=14, fast_depth=26, base_width=16),
        ModelSpec(depth=26, fast_depth=14, base_width=16, lateral_norm=True),
        ModelSpec(depth=14, base_width=16, num_classes=0),
        ModelSpec(depth=50, base_width=8),
    ],
)
def test_each_tensor_of_the_network_has_one_name(dialect: str, spec: ModelSpec) -> None:
    names = names_between(spec, dialect)
    with torch.device("meta"):
        state = SlowFast(spec).state_dict()
    assert set(names) == set(state)
    stored = [their for their in names.values() if their is not None]
    assert len(stored) == len(set(stored))
    unstored = [ours for ours, their in names.items() if their is None]
    assert all(ours.endswith("num_batches_tracked") for ours in unstored)
    assert bool(unstored) == (dialect == "caffe2")


@pytest.mark.parametrize(
    ("dialect", "spec", "count"),
    [
        ("openmmlab", ModelSpec(), 642),
        ("openmmlab", ModelSpec(lateral_norm=True), 662),
        ("openmmlab", ModelSpec(depth=101, fast_depth=50), 948),
        ("pyslowfast", ModelSpec(lateral_norm=True), 662),
        ("caffe2", ModelSpec(lateral_norm=True), 552),
        ("caffe2", ModelSpec(depth=101, lateral_norm=True), 1062),
        ("pytorchvideo", ModelSpec(depth=101, lateral_norm=True), 1274),
    ],
)
def test_number_of_stored_tensors(dialect: str, spec: ModelSpec, count: int) -> None:
    assert sum(their is not None for their in names_between(spec, dialect).values()) == count


def test_caffe2_laterals_are_named_after_the_last_fast_block() -> None:
    deep = names_between(ModelSpec(depth=101), "caffe2")
    assert deep["laterals.3.conv.weight"] == "t_res4_22_branch2c_bn_subsample_w"
    mixed = names_between(ModelSpec(depth=101, fast_depth=50), "caffe2")
    assert mixed["laterals.3.conv.weight"] == "t_res4_5_branch2c_bn_subsample_w"


def test_caffe2_ignores_what_only_training_needs() -> None:
    table = get_table("caffe2")
    assert all(table.ignores(name) for name in ("lr", "model_iter", "conv1_w_momentum"))
    assert not any(table.ignores(name) for name in ("conv1_w", "lr2", "res2_0_branch1_bn_riv"))
    assert not get_table("pyslowfast").ignores("lr")


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.module."])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_detection_by_names(dialect: str, prefix: str) -> None:
    names = names_between(ModelSpec(depth=26, base_width=16), dialect)
    given = [prefix + name for name in names.values() if name]
    assert find_network([*given, "criterion.weight"]) == [(dialect, prefix)]
    assert find_network(given, "gluoncv") == ([("gluoncv", prefix)] if dialect == "gluoncv" else [])


def test_a_teacher_beside_a_student_are_two_networks() -> None:
    names = [name for name in names_between(ModelSpec(), "pyslowfast").values() if name]
    both = [*(f"student.{name}" for name in names), *(f"teacher.{name}" for name in names)]
    assert find_network(both) == [("pyslowfast", "student."), ("pyslowfast", "teacher.")]


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["weight", "bias"],
        ["conv1_w", "res_conv1_bn_s"],  # caffe2's single-pathway networks
        ["s1.pathway0_stem.conv.weight"],
        ["backbone.conv1.conv.weight", "cls_head.fc_cls.weight"],
        ["a.slow_conv1.weight", "b.fast_conv1.weight"],
    ],
)
def test_other_networks_are_no_dialect(names: list[str]) -> None:
    assert find_network(names) == []


def test_unknown_dialect_gets_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="'pyslowfast'"):
        get_table("pyslowfst")


def test_classifier_columns_change_sides() -> None:
    spec = ModelSpec(depth=14, base_width=8, beta_inv=8, num_classes=1)  # 256 slow columns, 32 fast ones
    ours = torch.cat([torch.zeros(1, 256), torch.ones(1, 32)], dim=1)
    theirs = torch.cat([torch.ones(1, 32), torch.zeros(1, 256)], dim=1)
    assert torch.equal(slow_first(theirs, spec), ours)
    assert slow_first(torch.arange(288.0)[None], spec)[0, :2].tolist() == [32, 33]
