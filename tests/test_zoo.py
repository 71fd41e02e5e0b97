"""Models by name: which network a call builds, and what a wrong call is told.

Loading real files is tested in ``test_pretrained.py``.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import slowfast_zoo
from slowfast_zoo import SlowFast, create_model, get_weights, list_models, list_weights, naming, zoo
from slowfast_zoo.errors import CheckpointError, InputError, SlowFastZooError, SpecError, UnknownNameError

FULL_SIZE = [name for name in list_models() if name != "slowfast_tiny"]
PARAMETERS = {  # as the publishers give them; other_zoos' own counts where they print none
    "slowfast_r50_4x16x1": 34_479_288,
    "slowfast_r50_8x8x1": 34_565_560,
    "slowfast_r50_16x8x1": 34_044_630,
    "slowfast_r101_r50_4x16x1": 62_384_312,
    "slowfast_r101_8x8x1": 62_912_312,
    "slowfast_r152_r50_4x16x1": 84_843_704,
    "slowfast_r101_50_50_16x8x1": 53_774_808,
    "slowfast_r50_4x16x1_roi": 33_930_617 - 4_609,  # MMAction2's has a background class
    "slowfast_r50_8x8x1_roi": 33_830_265 - 2_305,
    "slowfast_r101_50_50_8x8x1_roi": 59_342_488,
    "slowfast_r101_50_50_16x8x1_roi": 59_342_488,
}


@pytest.fixture(autouse=True)
def _no_memory_is_filled() -> Iterator[None]:
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


@pytest.fixture
def memory(_no_memory_is_filled: None) -> None:
    """For small networks that are loaded."""
    torch.set_default_device(None)


@pytest.mark.parametrize("name", FULL_SIZE)
def test_a_factory_is_create_model_with_its_name(name: str) -> None:
    factory = getattr(slowfast_zoo, name)
    arguments = list(inspect.signature(create_model).parameters.values())[2:]
    assert {argument.name: argument.annotation for argument in arguments} == {
        option: value.__forward_arg__ for option, value in zoo.Options.__annotations__.items()
    }
    assert list(inspect.signature(factory).parameters) == ["pretrained", "options"]
    model = factory()
    assert model.spec == get_weights(name).model_spec
    assert model.clip_spec == get_weights(name).clip_spec
    assert model.labels is None, "an untrained network knows no classes"
    assert model.provenance == {"model": name, "tag": None}
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


@pytest.mark.usefixtures("memory")
def test_with_weights_in_eval_mode_without_in_train_mode(tmp_path: Path) -> None:
    tiny = zoo.slowfast_tiny(pretrained=True)
    torch.save(tiny.state_dict(), tmp_path / "tiny.pth")
    slowfast_zoo.save_pretrained(tiny, tmp_path / "saved")
    for model in (
        tiny,
        zoo.slowfast_tiny(weights="camera-motion", num_classes=3),
        zoo.slowfast_tiny(weights=get_weights("slowfast_tiny")),
        create_model("slowfast_tiny", True, num_classes=0),
        create_model("slowfast_tiny", weights=tmp_path / "tiny.pth"),
        slowfast_zoo.from_pretrained(tmp_path / "saved"),
        slowfast_zoo.from_pretrained(tmp_path / "saved", num_classes=2, labels=["a", "b"]),
    ):
        assert not any(module.training for module in model.modules())
    for model in (zoo.slowfast_tiny(), create_model("slowfast_tiny", num_classes=3)):
        assert all(module.training for module in model.modules())


def test_every_model_has_a_factory() -> None:
    assert {"create_model", *list_models()} == set(zoo.__all__)
    assert set(list_models()) == {name for name in vars(zoo) if name.startswith("slowfast_")}


def test_arguments_reach_the_network() -> None:
    model = create_model(
        "slowfast_r50_8x8x1", num_classes=3, labels=["a", "b", "c"], in_channels=1, dropout=0.1
    )
    assert model.spec == get_weights("slowfast_r50_8x8x1").model_spec.replace(
        num_classes=3, in_channels=1, dropout=0.1
    )
    assert model.labels == ("a", "b", "c")
    assert create_model("slowfast_r50_8x8x1", labels=["x", "y"]).spec.num_classes == 2
    assert create_model("slowfast_r50_8x8x1", num_classes=7).labels is None
    assert create_model("slowfast_r50_8x8x1", num_classes=0).labels is None


@pytest.mark.parametrize("entry", list_weights(), ids=lambda entry: f"{entry.model}-{entry.tag}")
def test_publishers_config_names_are_models_too(entry: slowfast_zoo.WeightEntry) -> None:
    model = create_model(entry.config_name)
    row = get_weights(model.provenance["model"], "default")
    assert model.provenance["model"] in list_models()
    assert model.spec in {r.model_spec for r in list_weights(row.model) if r.config_name == entry.config_name}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("slowfast_r50_4x16", "Did you mean 'slowfast_r50_4x16x1'"),
        ("SLOWFAST_R50_8X8X1", "Did you mean 'slowfast_r50_8x8x1'"),
        ("resnet", "The models are: 'slowfast_r50_4x16x1'"),
        ("owner/net-1.0", r"If it is a Hub repository, from_pretrained\('owner/net-1\.0'\)"),
        ("pyslowfast/k400", r"is a tag: MODEL:pyslowfast/k400, or in Python create_model\(MODEL, weights="),
    ],
)
def test_unknown_models(name: str, says: str) -> None:
    with pytest.raises(UnknownNameError, match=f"There is no model '{name}'.*{says}"):
        create_model(name)


def test_addresses_are_no_names_and_their_secrets_are_not_repeated() -> None:
    address = "https://me:SECRET@host/m.pth?signature=SECRET"
    for call in (
        lambda: create_model(address),
        lambda: create_model("slowfast_tiny", weights=address),
        lambda: naming.parse(address),
    ):
        with pytest.raises(UnknownNameError, match=r"'https://host/m\.pth'") as caught:
            call()
        assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["https", "s3", "sftp", "hf"])
def test_addresses_made_paths_do_not_repeat_their_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(f"{scheme}:").touch()
    path, model = Path(f"{scheme}://me:SECRET@host/m.pth?signature=SECRET"), create_model("slowfast_tiny")
    for call in (
        lambda: create_model("slowfast_tiny", weights=path),
        lambda: slowfast_zoo.load_checkpoint(model, path),
        lambda: slowfast_zoo.from_pretrained(path),
        lambda: slowfast_zoo.from_pretrained(path, revision="v1"),
        lambda: slowfast_zoo.push_to_hub(model, str(path)),
        lambda: slowfast_zoo.export(model, path),
        lambda: slowfast_zoo.export(model, path, format="onnx"),
        lambda: slowfast_zoo.save_pretrained(model, path),
    ):
        with pytest.raises(SlowFastZooError) as caught:
            call()
        assert "SECRET" not in str(caught.value)


def test_wrong_calls_get_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"either pretrained=True .* or weights=, not both"):
        create_model("slowfast_r50_4x16x1", True, weights="default")
    for given in ("pyslowfast/k400", tmp_path / "own.pth", 1, None):
        with pytest.raises(InputError, match=r"pretrained is True or False.* given as weights="):
            create_model("slowfast_r50_4x16x1", given)  # type: ignore[arg-type]
    for labels in (set(OWN), 5, "ab", [1, 2], [], (), {"a": 1}.keys()):
        with pytest.raises(InputError, match="labels are a list of class names, in order"):
            create_model("slowfast_tiny", labels=labels)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="no weights 'mmaction2/k400'"):
        create_model("slowfast_r50_4x16x1", weights="mmaction2/k400")
    with pytest.raises(UnknownNameError, match=r"always a tag: for a file give Path\('weights.pth'\)"):
        create_model("slowfast_r50_4x16x1", weights="weights.pth")
    with pytest.raises(UnknownNameError, match="a Hub repository call from_pretrained"):
        create_model("slowfast_r50_4x16x1", weights="owner/net")
    with pytest.raises(InputError, match="is a folder; from_pretrained reads folders"):
        create_model("slowfast_r50_4x16x1", weights=tmp_path)
    with pytest.raises(InputError, match="belong to 'slowfast_r101_8x8x1', not to 'slowfast_r50_4x16x1'"):
        create_model("slowfast_r50_4x16x1", weights=get_weights("slowfast_r101_8x8x1"))
    with pytest.raises(InputError, match="got int"):
        create_model("slowfast_r50_4x16x1", weights=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"like is a tag \(str\) or a WeightEntry, got int"):
        create_model("slowfast_r50_4x16x1", weights=tmp_path / "own.pth", like=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="by its name"):
        create_model(3)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="num_classes is -1"):
        create_model("slowfast_r50_4x16x1", num_classes=-1)
    with pytest.raises(InputError, match="labels has 2 names for 3 classes"):
        create_model("slowfast_r50_4x16x1", num_classes=3, labels=["a", "b"])
    with pytest.raises(TypeError, match="num_clases"):
        create_model("slowfast_r50_4x16x1", num_clases=3)  # type: ignore[call-arg]


# --- classes and their names ------------------------------------------------------------------------

OWN = [f"k{index}" for index in range(10)]


def same_head(first: SlowFast, second: SlowFast) -> bool:
    return torch.equal(first.classifier.weight, second.classifier.weight)


@pytest.mark.usefixtures("memory")
def test_own_classes_on_published_weights_mean_a_fresh_classifier() -> None:
    tiny = zoo.slowfast_tiny(pretrained=True)
    assert tiny.labels == get_weights("slowfast_tiny").labels
    for options, labels in (
        ({"labels": OWN}, tuple(OWN)),
        ({"labels": OWN, "num_classes": 10}, tuple(OWN)),
        ({"num_classes": 10}, None),
    ):
        fresh = zoo.slowfast_tiny(pretrained=True, **options)  # type: ignore[arg-type]
        assert fresh.labels == labels
        assert not same_head(fresh, tiny)
        assert torch.equal(fresh.fast.stem.conv.weight, tiny.fast.stem.conv.weight)
        assert fresh.classifier.weight.std() < 0.02
    kept = zoo.slowfast_tiny(pretrained=True, labels=tiny.labels)
    assert same_head(kept, tiny)
    kept.labels = OWN
    assert same_head(kept, tiny)
    assert zoo.slowfast_tiny(pretrained=True, labels=["a", "b"]).num_classes == 2
    array = zoo.slowfast_tiny(pretrained=True, labels=np.array(OWN))  # type: ignore[arg-type]
    assert array.labels == tuple(OWN) and {type(name) for name in array.labels} == {str}
    assert zoo.slowfast_tiny(labels=(name for name in OWN)).labels == tuple(OWN)  # type: ignore[arg-type]
    assert zoo.slowfast_tiny().labels is None


def test_fresh_classifiers_of_weights_have_numbers_whatever_the_default_device() -> None:
    model = zoo.slowfast_tiny(pretrained=True, num_classes=3)
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"cpu"}
    assert 0.005 < model.classifier.weight.std() < 0.02


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("saved", [False, True])
def test_a_file_of_other_channels_says_so_itself(saved: bool, tmp_path: Path) -> None:
    gray, path = zoo.slowfast_tiny(in_channels=1), tmp_path / "model.safetensors"
    if saved:
        slowfast_zoo.save_pretrained(gray, tmp_path)
    else:
        torch.save(gray.state_dict(), path)
    for options in ({}, {"in_channels": 1}):
        model = create_model("slowfast_tiny", weights=path, **options)  # type: ignore[arg-type]
        assert model.spec.in_channels == 1
        assert torch.equal(model.fast.stem.conv.weight, gray.fast.stem.conv.weight)
    with pytest.raises(CheckpointError, match="stems see 1 channels, the model's 3; only RGB stems"):
        create_model("slowfast_tiny", weights=path, in_channels=3)


@pytest.mark.usefixtures("memory")
def test_adapted_stems_are_no_published_ones() -> None:
    published = zoo.slowfast_tiny(pretrained=True)
    facts = {key: fact for key, fact in published.provenance.items() if fact is not None}
    start = {key: facts.pop(key) for key in [*facts] if key not in ("model", "license")}
    for options in ({}, {"num_classes": 3}, {"num_classes": 0}):
        model = zoo.slowfast_tiny(pretrained=True, in_channels=4, **options)  # type: ignore[arg-type]
        assert model.provenance == facts | {"initialized_from": start}
    assert zoo.slowfast_tiny(pretrained=True, in_channels=3).provenance == published.provenance
    frames = np.zeros((8, 80, 80, 4), np.uint8)
    with pytest.raises(InputError, match=r"For 4 channels: clip_spec\.replace\(mean=\.\.\., std="):
        slowfast_zoo.eval_transform(model.clip_spec)(frames)
    own = model.clip_spec.replace(mean=(0.5,) * 4, std=(0.25,) * 4)
    assert slowfast_zoo.eval_transform(own)(frames).shape == (4, 8, 80, 80)


@pytest.mark.usefixtures("memory")
def test_weights_of_ones_own_take_names_and_origin_of_published_ones_away(tmp_path: Path) -> None:
    torch.save(zoo.slowfast_tiny().state_dict(), tmp_path / "own.pth")
    model = slowfast_zoo.load_checkpoint(zoo.slowfast_tiny(pretrained=True), tmp_path / "own.pth")
    assert model.labels is None
    assert model.provenance == {"model": "slowfast_tiny", "tag": None, "file": "own.pth"}
    model.labels = OWN
    assert slowfast_zoo.load_checkpoint(model, tmp_path / "own.pth").labels == tuple(OWN)
    fresh = zoo.slowfast_tiny(pretrained=True, labels=OWN)
    assert slowfast_zoo.load_checkpoint(fresh, tmp_path / "own.pth").labels == tuple(OWN)
    renamed = zoo.slowfast_tiny(pretrained=True)
    renamed.labels = OWN
    assert slowfast_zoo.load_checkpoint(renamed, tmp_path / "own.pth").labels == tuple(OWN)


@pytest.mark.usefixtures("memory")
def test_a_tilde_is_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME" if os.name == "posix" else "USERPROFILE", str(tmp_path))
    mine = zoo.slowfast_tiny()
    torch.save(mine.state_dict(), tmp_path / "own.pth")
    assert same_head(create_model("slowfast_tiny", weights=Path("~/own.pth")), mine)
    assert same_head(slowfast_zoo.load_checkpoint(zoo.slowfast_tiny(), "~/own.pth"), mine)


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("saved", [False, True])
def test_a_file_of_ones_own_has_its_own_names_or_none(saved: bool, tmp_path: Path) -> None:
    mine = zoo.slowfast_tiny(num_classes=10)
    if saved:
        slowfast_zoo.save_pretrained(mine, tmp_path)
        path = tmp_path / "model.safetensors"
    else:
        path = tmp_path / "mine.pth"
        torch.save(mine.state_dict(), path)
    model = create_model("slowfast_tiny", weights=path)
    assert model.labels is None
    assert same_head(model, mine)
    named = create_model("slowfast_tiny", weights=path, labels=OWN)
    assert named.labels == tuple(OWN)
    assert same_head(named, mine)
    assert same_head(create_model("slowfast_tiny", weights=path, num_classes=10), mine)
    with pytest.raises(
        InputError, match=r"labels has 9 names, '.*' has 10 classes; .* num_classes=9 as well"
    ):
        create_model("slowfast_tiny", weights=path, labels=OWN[:9])
    fresh = create_model("slowfast_tiny", weights=path, labels=OWN[:9], num_classes=9)
    assert (fresh.num_classes, fresh.labels) == (9, tuple(OWN[:9]))
    if saved:
        with pytest.raises(InputError, match="labels has 9 names"):
            slowfast_zoo.from_pretrained(tmp_path, labels=OWN[:9])


@pytest.mark.usefixtures("memory")
def test_a_saved_file_of_another_model_is_refused(tmp_path: Path) -> None:
    tiny = zoo.slowfast_tiny(pretrained=True)
    slowfast_zoo.save_pretrained(tiny, tmp_path)
    with pytest.raises(
        CheckpointError, match=r"holds a 'slowfast_tiny', not a 'slowfast_r50_4x16x1'; from_pre"
    ):
        create_model("slowfast_r50_4x16x1", weights=tmp_path / "model.safetensors")
    tiny.provenance = {}
    slowfast_zoo.save_pretrained(tiny, tmp_path)
    with pytest.raises(CheckpointError, match=r"holds a network of its own .*base_width 16"):
        create_model("slowfast_r50_4x16x1", weights=tmp_path / "model.safetensors")
