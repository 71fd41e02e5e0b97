"""The two contracts: what they accept, what they refuse, and JSON both ways."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from slowfast_zoo.errors import SlowFastZooError, SpecError
from slowfast_zoo.spec import BLOCKS_PER_STAGE, ClipSpec, ModelSpec

MODEL_SPECS = [
    ModelSpec(),
    ModelSpec(depth=101, fast_depth=50, alpha=4, fusion_kernel=7, lateral_norm=True, num_classes=0),
    ModelSpec(depth=101, temporal_blocks=(3, 4, 6, 3), slow_sampling="linspace", head_pool="window_probs"),
    ModelSpec(depth=14, base_width=16, num_frames=8, alpha=4, activation="sigmoid", dropout=0),
]
CLIP_SPECS = [
    ClipSpec(),
    ClipSpec(
        time_base="fps-scaled", fps=30.0, sampling="pyslowfast", resize="float-bilinear", mean=(0.45,) * 3
    ),
    ClipSpec(size=(340, 256), crops=1, clips=1, approximate="resized while decoding"),
]


@pytest.mark.parametrize("spec", [*MODEL_SPECS, *CLIP_SPECS])
def test_json_gives_the_same_spec(spec: ModelSpec | ClipSpec) -> None:
    text = json.dumps(spec.to_dict())
    again = type(spec).from_dict(json.loads(text))
    assert again == spec
    assert hash(again) == hash(spec)


def test_absent_fields_take_their_defaults() -> None:
    assert ModelSpec.from_dict({"depth": 101}) == ModelSpec(depth=101)
    assert ClipSpec.from_dict({}) == ClipSpec()


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"depth": 34}, "depth", "14, 26, 50, 101, 152"),
        ({"depth": 50.0}, "depth", "14, 26, 50, 101, 152"),
        ({"depth": [50]}, "depth", "14, 26, 50, 101, 152"),
        ({"fast_depth": 18}, "fast_depth", "14, 26, 50, 101, 152"),
        ({"num_classes": -1}, "num_classes", "from 0 to"),
        ({"num_classes": True}, "num_classes", "an integer"),
        ({"num_classes": 2.0}, "num_classes", "an integer"),
        ({"alpha": 0}, "alpha", "from 1 to 256"),
        ({"num_frames": 30}, "num_frames", "a multiple of alpha (8)"),
        ({"fusion_kernel": 6}, "fusion_kernel", "odd"),
        ({"base_width": 20}, "base_width", "a multiple of beta_inv (8)"),
        ({"dropout": 1}, "dropout", "below 1"),
        ({"dropout": float("nan")}, "dropout", "a number"),
        ({"lateral_norm": 1}, "lateral_norm", "True or False"),
        ({"slow_sampling": "linspce"}, "slow_sampling", "Did you mean 'linspace'?"),
        ({"head_pool": None}, "head_pool", "'global'"),
        ({"head_window": 7}, "head_window", "None when head_pool is 'global'"),
        ({"temporal_blocks": (3, 4, 6)}, "temporal_blocks", "four integers"),
        ({"temporal_blocks": (3, 4, -6, 3)}, "temporal_blocks", "four integers"),
    ],
)
def test_model_spec_names_field_value_and_what_is_accepted(
    changes: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(SpecError) as error:
        ModelSpec(**changes)
    assert f"ModelSpec.{field} is {changes[field]!r}" in str(error.value)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"fps": 30.0}, "fps", "None when time_base is 'frames'"),
        ({"time_base": "seconds"}, "fps", "a number from 0.001"),
        ({"time_base": "seconds", "fps": float("inf")}, "fps", "a number from 0.001"),
        ({"crops": 2}, "crops", "1 or 3"),
        ({"test_crop": 300}, "test_crop", "at most the resized shorter side (256 pixels)"),
        ({"size": (340, 256, 3)}, "size", "(width, height)"),
        ({"size": 0}, "size", "pixels"),
        ({"size": True}, "size", "pixels"),
        ({"std": (1.0, 1.0)}, "std", "as many numbers as mean has (3)"),
        ({"std": (1.0, 1.0, 0.0)}, "std", "from 0.000001"),
        ({"mean": (1.0, float("nan"), 1.0)}, "mean", "one finite number per channel"),
        ({"jitter": (320, 256)}, "jitter", "the smaller one first"),
        ({"flip": 1.5}, "flip", "from 0 to 1"),
        ({"smallest_area": 0}, "smallest_area", "above 0 to 1"),
        ({"sampling": "openmmlab"}, "sampling", "openmmlab-1.x"),
    ],
)
def test_clip_spec_names_field_value_and_what_is_accepted(
    changes: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(SpecError) as error:
        ClipSpec(**changes)
    assert f"ClipSpec.{field} is " in str(error.value)
    assert says in str(error.value)


def test_numpys_integers_are_integers() -> None:
    spec = ModelSpec(num_classes=np.int64(5))
    assert spec == ModelSpec(num_classes=5) and type(spec.num_classes) is int
    assert (
        ClipSpec.from_dict(json.loads(json.dumps(ClipSpec(frame_stride=np.int32(3)).to_dict()))).frame_stride
        == 3
    )
    sides: Any = (np.int32(300), np.int64(256))
    clip = ClipSpec(crops=np.int64(3), size=sides, jitter=(np.int16(256), np.uint16(320)))
    assert json.loads(json.dumps(clip.to_dict()))["size"] == [300, 256]
    blocks, ones = (np.int64(3), 4, 6, 3), (np.int64(1), np.int8(1))
    network = ModelSpec(
        depth=np.int64(50),
        fast_depth=np.int8(26),
        temporal_blocks=blocks,
        stage4_stride=ones,
        non_local=ones[:1],
    )
    assert ModelSpec.from_dict(json.loads(json.dumps(network.to_dict()))) == network
    for wrong in (5.0, np.float32(5), True, np.True_, torch.tensor(True), "5"):
        with pytest.raises(SpecError, match=r"num_classes is .*; accepted: an integer from 0"):
            ModelSpec(num_classes=wrong)  # type: ignore[arg-type]


def test_unknown_fields_are_refused_with_the_nearest_one() -> None:
    with pytest.raises(SpecError, match=r"ModelSpec has no field 'num_class'\. Did you mean 'num_classes'"):
        ModelSpec.from_dict({"num_class": 3})
    with pytest.raises(SpecError, match=r"ClipSpec has no field 'zzz'\. Accepted: 'num_frames'"):
        ClipSpec().replace(zzz=1)
    with pytest.raises(SpecError, match="read from a mapping of fields, got list"):
        ModelSpec.from_dict([])  # type: ignore[arg-type]


def test_an_error_is_what_a_caller_would_catch() -> None:
    assert issubclass(SpecError, ValueError)
    assert issubclass(SpecError, SlowFastZooError)


def test_specs_are_frozen() -> None:
    with pytest.raises(AttributeError):
        ModelSpec().depth = 101  # type: ignore[misc]


@pytest.mark.parametrize(
    ("rule", "frames", "alpha", "expected"),
    [  # PyTorchVideo's PackPathway and PySlowFast's pack_pathway_output against a plain stride
        ("strided", 32, 8, (0, 8, 16, 24)),
        ("linspace", 32, 8, (0, 10, 20, 31)),
        ("strided", 32, 4, (0, 4, 8, 12, 16, 20, 24, 28)),
        ("linspace", 32, 4, (0, 4, 8, 13, 17, 22, 26, 31)),
        ("linspace", 64, 4, (0, 4, 8, 12, 16, 21, 25, 29, 33, 37, 42, 46, 50, 54, 58, 63)),
        ("linspace", 8, 8, (0,)),
    ],
)
def test_slow_indices(rule: Any, frames: int, alpha: int, expected: tuple[int, ...]) -> None:
    spec = ModelSpec(alpha=alpha, slow_sampling=rule, num_frames=64)
    assert spec.slow_indices(frames) == expected


def test_replacing_the_depth_keeps_equal_pathways_equal() -> None:
    assert ModelSpec().replace(depth=101) == ModelSpec(depth=101, fast_depth=101)
    assert ModelSpec(depth=101, fast_depth=50).replace(depth=152) == ModelSpec(depth=152, fast_depth=50)
    assert ModelSpec().replace(depth=101, fast_depth=50) == ModelSpec(depth=101, fast_depth=50)


def test_depths_count_their_layers() -> None:
    for depth, blocks in BLOCKS_PER_STAGE.items():
        assert depth == 3 * sum(blocks) + 2


def test_importing_the_specs_needs_neither_torch_nor_numpy() -> None:
    code = "import sys, slowfast_zoo.spec; print({'torch', 'numpy', 'av'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


HUGE = [2**31, 2**40, 10**30, 10**400, 1e300, 1e308, float("inf"), float("nan")]


def _numeric(spec: ModelSpec | ClipSpec) -> list[str]:
    values = spec.to_dict()
    return [name for name, value in values.items() if type(value) in (int, float)]


@pytest.mark.parametrize(
    "spec", [ModelSpec(head_pool="window_logits"), ClipSpec(time_base="seconds", fps=30.0)]
)
def test_no_number_may_be_so_large_that_it_takes_time_or_memory(spec: ModelSpec | ClipSpec) -> None:
    for name in _numeric(spec):
        for huge in HUGE:
            with pytest.raises(SpecError, match=name) as caught:
                spec.replace(**{name: huge})
            assert len(str(caught.value)) < 300


@pytest.mark.parametrize("huge", HUGE)
@pytest.mark.parametrize("field", ["size", "jitter", "mean", "std"])
def test_no_pair_or_channel_either(field: str, huge: float) -> None:
    spec = ClipSpec()
    pair = {"size": (256, huge), "jitter": (256, huge), "mean": (0.0, huge, 0.0), "std": (1.0, huge, 1.0)}
    with pytest.raises(SpecError, match=field):
        spec.replace(**{field: pair[field]})


def test_a_clip_has_a_largest_size_as_a_whole() -> None:
    ClipSpec(num_frames=64, size=1024)
    with pytest.raises(SpecError, match="67108864 pixels in the 65 frames of a clip at most"):
        ClipSpec(num_frames=65, size=1024)
    with pytest.raises(SpecError, match="temporal_blocks"):
        ModelSpec(temporal_blocks=(2**40, 1, 1, 1))
