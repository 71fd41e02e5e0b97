"""The catalog: look-up, names, defaults, labels. Its rows are tested in test_rows.py."""

import copy
import dataclasses
import json
import pickle
import re
import subprocess
import sys

import pytest

from slowfast_zoo.errors import SlowFastZooError, UnknownNameError
from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.weights import catalog
from slowfast_zoo.weights.catalog import (
    DEFAULT_TAGS,
    find_config,
    get_weights,
    list_models,
    list_weights,
)
from slowfast_zoo.weights.catalog import openmmlab as rows_openmmlab
from slowfast_zoo.weights.catalog.datasets import Dataset
from slowfast_zoo.weights.catalog.entry import WeightEntry

ROWS = list_weights()
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.model}-{row.tag}")


def test_a_row_says_what_it_is_on_one_line() -> None:
    row = "WeightEntry('slowfast_tiny', 'camera-motion': camera motion (procedural), 10 classes)"
    assert repr(catalog.get_weights("slowfast_tiny")) == row


def test_names_are_unique() -> None:
    assert len({(row.model, row.tag) for row in ROWS}) == len(ROWS)
    assert len({url for row in ROWS for url in row.urls}) == sum(len(row.urls) for row in ROWS)
    assert len({row.cache_name.lower() for row in ROWS}) == len(ROWS)
    # Several files are SLOWFAST_8x8_R50.pyth to their publisher.
    assert len({row.filename for row in ROWS}) < len(ROWS)
    assert all(re.fullmatch(r"[a-z0-9_.@-]+\.(pth|pkl|pyth)", row.cache_name) for row in ROWS if row.urls)


def test_a_second_row_of_one_name_is_refused() -> None:
    row = ROWS[0]
    twin = dataclasses.replace(row, note="Another file.")
    with (
        pytest.raises(ValueError, match=f"{row.model} has two rows with the tag {row.tag}"),
        catalog.using([*ROWS, twin]),
    ):
        pass
    assert list_weights() == ROWS


def test_other_rows_take_the_place_of_the_catalog() -> None:
    mine = dataclasses.replace(ROWS[0], model="mine", tag="me/k400")
    other = dataclasses.replace(ROWS[1], model="slowfast_r50_4x16x1")
    with catalog.using([mine, other, ROWS[0]]):
        assert list_models() == ["slowfast_r50_4x16x1", "mine"]
        assert list_weights() == [ROWS[0], other, mine], "the default one of a published model comes first"
        assert get_weights("mine") is mine
        with (
            pytest.raises(UnknownNameError, match="The models are: 'slowfast_r50_4x16x1', 'mine'"),
            catalog.using([other, mine]),
        ):
            get_weights("slowfast_tiny")
    assert list_weights() == ROWS


@pytest.mark.parametrize("model", list_models())
def test_default_is_the_best_of_the_page(model: str) -> None:
    page = [row for row in rows_openmmlab.PAGE_ROWS if row.model == model]
    default = get_weights(model)
    assert default is get_weights(model, "default") is get_weights(model, DEFAULT_TAGS[model])
    assert default is list_weights(model)[0]
    assert not default.superseded
    if page:
        assert default is max(page, key=lambda row: row.metrics.top1)
    else:
        others = {"slowfast_r101_50_50_16x8x1": "pytorchvideo/k400", "slowfast_tiny": "camera-motion"}
        if default.model_spec.roi is None:
            assert default.tag == others[model]
        else:
            light = [
                row
                for row in list_weights(model)
                if "ava" in row.tag and not row.tag.endswith(("-acrn", "-16"))
            ]
            assert default is max(light, key=lambda row: row.metrics.mean_ap or 0)


def test_list_models() -> None:
    assert list_models() == list(DEFAULT_TAGS)
    assert {row.model for row in ROWS} == set(list_models())
    assert list_models("*r50_4x16*") == [
        "slowfast_r50_4x16x1",
        "slowfast_r101_r50_4x16x1",
        "slowfast_r152_r50_4x16x1",
        "slowfast_r50_4x16x1_roi",
    ]
    assert list_models("nothing*") == []


def test_lists_are_the_callers_own() -> None:
    list_models().clear()
    list_weights().clear()
    list_weights("slowfast_r50_4x16x1").clear()
    assert list_models() and list_weights() == ROWS


def test_unknown_model() -> None:
    for call in (get_weights, list_weights):
        with pytest.raises(
            UnknownNameError, match=r"no model 'slowfast_r50_4x6x1'.*mean 'slowfast_r50_4x16x1'"
        ):
            call("slowfast_r50_4x6x1")
    with pytest.raises(UnknownNameError, match=r"no model 'resnet'\. The models are: 'slowfast_r50_4x16x1'"):
        get_weights("resnet")
    with pytest.raises(UnknownNameError, match="no model 'None'"):
        get_weights(None)


def test_unknown_tag() -> None:
    with pytest.raises(UnknownNameError) as caught:
        get_weights("slowfast_r50_8x8x1", "mmaction2/k400-256e-320")
    message = str(caught.value)
    assert "Did you mean 'mmaction2/k400-256e-320p'" in message
    assert all(f"'{row.tag}'" in message for row in list_weights("slowfast_r50_8x8x1"))
    with pytest.raises(UnknownNameError, match=r"It belongs to 'slowfast_r50_16x8x1'"):
        get_weights("slowfast_r50_8x8x1", "mmaction2/sthv1-22e")
    assert issubclass(UnknownNameError, LookupError) and issubclass(UnknownNameError, SlowFastZooError)


@pytest.mark.parametrize(
    ("config", "model", "hash8"),
    [
        ("slowfast_r50_4x16x1_256e_kinetics400_rgb", "slowfast_r50_4x16x1", "04e43ed4"),
        ("slowfast_prebn_r50_4x16x1_256e_kinetics400_rgb", "slowfast_r50_4x16x1", "bb725050"),
        # The 256p file is younger, but superseded.
        ("slowfast_r50_8x8x1_256e_kinetics400_rgb", "slowfast_r50_8x8x1", "73547d2b"),
        ("slowfast_r50_16x8x1_22e_sthv1_rgb", "slowfast_r50_16x8x1", "aaaf9279"),
        ("slowfast_r101-r50_32xb8-4x16x1-256e_kinetics400-rgb", "slowfast_r101_r50_4x16x1", "a77ac3ee"),
        ("slowfast_8x8_resnet101_kinetics400", "slowfast_r101_8x8x1", "db5e9fef"),
    ],
)
def test_find_config(config: str, model: str, hash8: str) -> None:
    entry = find_config(config)
    assert entry is not None and entry.model == model and hash8 in entry.filename


def test_config_names() -> None:
    assert find_config("slowfast") is None
    assert find_config("Charades/SLOWFAST_16x8_R50").label_set == "charades"
    models_of: dict[str, set[str]] = {}
    for row in ROWS:
        models_of.setdefault(row.config_name, set()).add(row.model)
        assert row.config_name not in DEFAULT_TAGS
    assert all(len(models) == 1 for models in models_of.values())


def test_entries_are_values() -> None:
    row = get_weights("slowfast_r50_4x16x1")
    for twin in (copy.deepcopy(row), pickle.loads(pickle.dumps(row)), dataclasses.replace(row)):
        assert twin == row and hash(twin) == hash(row)
    assert dataclasses.replace(row, superseded=True) != row
    assert len(set(ROWS)) == len(ROWS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.tag = "mine/k400"


@each_row
def test_to_dict_is_json_and_specs_come_back(row: WeightEntry) -> None:
    values = json.loads(json.dumps(row.to_dict()))
    assert values == row.to_dict()
    assert set(values) == {field.name for field in dataclasses.fields(WeightEntry)}
    assert ModelSpec.from_dict(values["model_spec"]) == row.model_spec
    assert ClipSpec.from_dict(values["clip_spec"]) == row.clip_spec


@pytest.mark.parametrize(
    "data",
    sorted({row.data for row in ROWS}, key=lambda data: data.label_set),
    ids=lambda data: data.label_set,
)
def test_labels_are_clean_and_in_their_order(data: Dataset) -> None:
    labels = data.labels
    assert len(labels) == data.classes
    assert data.labels_are_whole()
    assert not dataclasses.replace(data, labels_sha256=data.labels_sha256[::-1]).labels_are_whole()
    assert len(set(labels)) == len(labels)
    assert all(label and label == " ".join(label.split()) for label in labels)


def test_kinetics_labels_are_torchvisions() -> None:
    from torchvision.models.video import R3D_18_Weights

    assert get_weights("slowfast_r50_4x16x1").labels == tuple(
        R3D_18_Weights.KINETICS400_V1.meta["categories"]
    )


def test_something_something_labels() -> None:
    v1 = get_weights("slowfast_r50_16x8x1", "mmaction2/sthv1-22e").labels
    v2 = get_weights("slowfast_r50_16x8x1", "pyslowfast/ssv2").labels
    assert set(v1) == set(v2) and v1 != v2
    assert v1[0] == "Holding something" and v2[0] == "Approaching something with your camera"
    # The V1 classes that OpenMMLab exchanges when it flips a clip: their places pin down the order.
    other_side = {"left": "right", "right": "left"}
    for left, right in ((2, 4), (30, 41), (52, 66)):
        mirrored = re.sub("left|right", lambda side: other_side[side[0]], v1[left])
        assert mirrored == v1[right] != v1[left]


def test_charades_labels() -> None:
    labels = get_weights("slowfast_r50_16x8x1", "pyslowfast/charades").labels
    assert labels[0] == "Holding some clothes" and labels[4] == "Tidying some clothes"
    assert not any(re.match(r"c\d{3}", label) for label in labels)


def test_no_torch_is_imported() -> None:
    code = (
        "import sys; from slowfast_zoo.weights import catalog; "
        "assert 'slowfast_zoo.weights.catalog.openmmlab' not in sys.modules; "
        "assert len(catalog.get_weights('slowfast_r50_4x16x1').labels) == 400; "
        "print(sorted({'torch', 'torchvision', 'numpy', 'av'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
