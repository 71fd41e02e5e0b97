"""``weights=Path(...)``: which row a file is taken for, and what is said when it could be several."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.publisher_files import assert_same_state, to_dialect, trained, write_file

from slowfast_zoo import create_model, get_weights, load_checkpoint
from slowfast_zoo.errors import CheckpointError, InputError
from slowfast_zoo.files import hash_file
from slowfast_zoo.inference.runner import check_predictable
from slowfast_zoo.naming import parse
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ModelSpec
from slowfast_zoo.weights import catalog
from slowfast_zoo.weights.catalog.entry import WeightEntry

NAME = "slowfast_r50_8x8x1"
SMALL = ModelSpec(depth=14, base_width=8, alpha=4, num_frames=8, num_classes=400, lateral_norm=True)


@pytest.fixture(autouse=True)
def _small_rows() -> Iterator[None]:
    """The catalog's rows of one model with a network that is quick to write and to load."""
    rows = [entry for entry in catalog.list_weights() if entry.model != NAME]
    for entry in catalog.list_weights(NAME):
        kept = {"slow_sampling", "head_pool", "head_window", "activation", "num_classes", "lateral_norm"}
        spec = SMALL.replace(**{name: getattr(entry.model_spec, name) for name in kept})
        rows.append(_with(entry, model_spec=spec))
    with catalog.using(rows):
        yield


def _with(entry: WeightEntry, **changes: object) -> WeightEntry:
    import dataclasses

    return dataclasses.replace(entry, **changes)  # type: ignore[arg-type]


def write(path: Path, tag: str, classes: int | None = None) -> SlowFast:
    entry = get_weights(NAME, tag)
    spec = entry.model_spec if classes is None else entry.model_spec.replace(num_classes=classes)
    model = trained(spec)
    state = to_dialect(model.state_dict(), spec, entry.dialect)
    torch.save({"state_dict": state} if entry.dialect == "openmmlab" else {"model_state": state}, path)
    return model


def test_a_file_that_fits_one_contract_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "theirs.pyth"
    written = write(path, "pytorchvideo/k400")
    model = create_model(NAME, weights=path)
    assert_same_state(model, written.state_dict())
    assert model.clip_spec == get_weights(NAME, "pytorchvideo/k400").clip_spec
    assert model.spec.slow_sampling == "linspace"
    assert model.labels is None, "the row has no hash, so the file may be anybody's with 400 classes"
    assert model.provenance["file"] == "theirs.pyth"


_opened: list[str] | None = None


def _note(event: str, args: tuple[object, ...]) -> None:
    if event == "open" and _opened is not None:
        _opened.append(str(args[0]))


@functools.cache
def _listen() -> None:
    sys.addaudithook(_note)  # stays for the process, and does nothing outside blocks of ``opens``


@contextlib.contextmanager
def opens(path: Path) -> Iterator[list[str]]:
    """Fills a list with an item for every time that the file is opened inside the block."""
    global _opened
    _listen()
    _opened, found = [], []
    try:
        yield found
    finally:
        found += [name for name in _opened if name == str(path)]
        _opened = None


def test_a_file_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "theirs.pyth"
    write(path, "pytorchvideo/k400")
    with opens(path) as seen:
        create_model(NAME, weights=path)
    assert len(seen) == 1


def test_a_fine_tuned_file_keeps_its_own_classes(tmp_path: Path) -> None:
    path = tmp_path / "mine.pyth"
    written = write(path, "gluoncv/k400", classes=11)
    model = create_model(NAME, weights=path)
    assert_same_state(model, written.state_dict())
    assert model.labels is None
    other = create_model(NAME, weights=path, num_classes=4)
    assert other.spec.num_classes == 4
    assert torch.equal(other.slow.stem.conv.weight, written.slow.stem.conv.weight)


@pytest.mark.parametrize("dialect", ["pytorchvideo", "slowfast_zoo"])
def test_a_file_without_a_classifier_is_loaded_where_the_call_says_which_classes(
    dialect: str, tmp_path: Path
) -> None:
    entry = get_weights(NAME, "pytorchvideo/k400")
    spec = entry.model_spec.replace(num_classes=0)
    written = trained(spec)
    torch.save(to_dialect(written.state_dict(), spec, dialect), tmp_path / "pathways.pth")
    load = functools.partial(create_model, NAME, weights=tmp_path / "pathways.pth", like=entry)
    pathways = load(num_classes=0)
    assert pathways.spec == spec
    assert_same_state(pathways, written.state_dict())
    own = load(num_classes=2, labels=["a", "b"])
    assert own.labels == ("a", "b") and own.get_classifier().out_features == 2
    assert_same_state(own, own.state_dict() | written.state_dict())
    for wrong in (None, ["a", "b"]):
        with pytest.raises(
            CheckpointError, match=r"has no classifier: .*, num_classes=\.\.\.\) makes"
        ) as error:
            load(labels=wrong)
        assert error.value.missing == ("classifier.weight", "classifier.bias")
    named = parse(str(tmp_path / "pathways.pth"), f"{NAME}:pytorchvideo/k400").load()
    assert named.spec == spec
    with pytest.raises(InputError, match=r"no classifier .*extract_features takes it"):
        check_predictable(named)


def test_a_file_that_fits_several_contracts_is_refused_and_the_way_out_works(tmp_path: Path) -> None:
    path = tmp_path / "trained.pth"
    written = write(path, "mmaction2/k400-256e-320p", classes=7)
    with pytest.raises(CheckpointError) as error:
        create_model(NAME, weights=path)
    message = str(error.value)
    assert "'mmaction2/k400-256e-320p'" in message
    assert "'mmaction2-1x/k400-256e'" in message
    assert f"--like {NAME}:mmaction2/" in message
    tag = "mmaction2-1x/k400-256e"
    for like in (tag, get_weights(NAME, tag)):
        model = create_model(NAME, weights=path, like=like)
        assert_same_state(model, written.state_dict())
        assert model.clip_spec == get_weights(NAME, tag).clip_spec
        assert model.labels is None
    with pytest.raises(InputError, match=r"weights=Path"):
        create_model(NAME, like=tag)


@pytest.mark.parametrize("names", ["openmmlab", "slowfast_zoo"])
def test_a_config_name_says_which_of_several_is_meant(names: str, tmp_path: Path) -> None:
    entry, other = (get_weights(NAME, tag) for tag in ("mmaction2-1x/k400-256e", "mmaction2/k400-256e-320p"))
    written = trained(entry.model_spec.replace(num_classes=7))
    torch.save({"state_dict": to_dialect(written.state_dict(), written.spec, names)}, tmp_path / "own.pth")
    for row in (entry, other):
        model = create_model(row.config_name, weights=tmp_path / "own.pth")
        assert_same_state(model, written.state_dict())
        assert model.clip_spec == row.clip_spec
    assert entry.clip_spec != other.clip_spec
    fits_one = tmp_path / "theirs.pyth"
    write(fits_one, "pytorchvideo/k400")
    assert create_model(entry.config_name, weights=fits_one).clip_spec.sampling == "pytorchvideo-0.1"
    write_file(tmp_path / "saved.safetensors", written)
    assert create_model(entry.config_name, weights=tmp_path / "saved.safetensors").spec == written.spec


@pytest.mark.parametrize("tag", ["pyslowfast/k400", "pyslowfast/k400-stepwise"])
def test_own_classes_in_pyslowfasts_names(tmp_path: Path, tag: str) -> None:
    """PySlowFast publishes under caffe2's names and trains under its own."""
    spec = get_weights(NAME, tag).model_spec.replace(num_classes=5)
    written = trained(spec)
    torch.save({"model_state": to_dialect(written.state_dict(), spec, "pyslowfast")}, tmp_path / "own.pyth")
    model = create_model(NAME, weights=tmp_path / "own.pyth", like=tag)
    assert_same_state(model, written.state_dict())
    with catalog.using([get_weights(NAME, "pyslowfast/k400")]):
        assert create_model(NAME, weights=tmp_path / "own.pyth").spec == spec


def test_a_model_with_another_input_than_a_publishers_file_is_pointed_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "theirs.pyth"
    write(path, "pytorchvideo/k400")
    with pytest.raises(CheckpointError, match=r"don't fit .* create_model\(name, weights=Path.* builds"):
        load_checkpoint(SlowFast(get_weights(NAME, "mmaction2/k400-256e-320p").model_spec), path)
    row = get_weights(NAME, "pytorchvideo/k400")
    model = load_checkpoint(SlowFast(row.model_spec), path)
    assert f"theirs.pyth fits {NAME}:{row.tag}, which was trained on another input" in caplog.text
    assert "time_base seconds instead of frames" in caplog.text
    assert f"model.clip_spec = get_weights('{NAME}', '{row.tag}').clip_spec" in caplog.text
    caplog.clear()
    model.clip_spec = row.clip_spec.replace(flip=0.0, clips=1, crops=1, aggregate="max-prob")
    load_checkpoint(model, path)
    load_checkpoint(SlowFast(row.model_spec), path, backbone_only=True)
    load_checkpoint(SlowFast(row.model_spec.replace(depth=26, num_classes=3)), _own_network(tmp_path / "own"))
    assert not caplog.text, "the row's input, a start to train from, a network of no row"


def _own_network(path: Path) -> Path:
    spec = get_weights(NAME, "pytorchvideo/k400").model_spec.replace(depth=26, num_classes=3)
    torch.save({"model_state": to_dialect(trained(spec).state_dict(), spec, "pytorchvideo")}, path)
    return path


def test_lightnings_losses_are_left_out(tmp_path: Path) -> None:
    entry = get_weights(NAME, "pytorchvideo/k400")
    spec = entry.model_spec.replace(num_classes=3)
    written = trained(spec)
    state = {f"model.{name}": t for name, t in to_dialect(written.state_dict(), spec, entry.dialect).items()}
    extra = {"criterion.weight": torch.ones(3), "train_accuracy.tp": torch.ones(3)}
    steps = {"milestones": Counter({30: 1}), "optimizer_states": [{"state": {0: {"step": torch.ones(1)}}}]}
    torch.save({"state_dict": state | extra, **steps}, tmp_path / "last.ckpt")
    assert_same_state(create_model(NAME, weights=tmp_path / "last.ckpt", like=entry), written.state_dict())
    teacher = {f"teacher.{name.removeprefix('model.')}": tensor for name, tensor in state.items()}
    torch.save({"state_dict": state | teacher}, tmp_path / "two.ckpt")
    with pytest.raises(CheckpointError, match=r"2 networks.*'model\....', 'teacher\....'"):
        create_model(NAME, weights=tmp_path / "two.ckpt")


def test_a_network_for_detection_is_called_that(tmp_path: Path) -> None:
    entry = get_weights(NAME, "mmaction2/k400-256e-320p")
    state = to_dialect(trained(entry.model_spec).state_dict(), entry.model_spec, entry.dialect)
    heads = {
        "roi_head.bbox_head.fc_cls." + name.rpartition(".")[2]: state.pop(name) for name in list(state)[-2:]
    }
    torch.save({"state_dict": state | heads}, tmp_path / "ava.pth")
    with pytest.raises(CheckpointError, match="scores persons in boxes"):
        create_model(NAME, weights=tmp_path / "ava.pth")


def test_a_published_file_is_known_by_its_hash(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "renamed.pth"
    written_as = "mmaction2-1x/k400-256e"
    written = write(path, written_as)
    published = _with(get_weights(NAME, written_as), digest=f"sha256-prefix:{hash_file(path)[:8]}")
    rows = [published if row.tag == written_as else row for row in catalog.list_weights(NAME)]
    with catalog.using(rows):
        model = create_model(NAME, weights=path)
    assert_same_state(model, written.state_dict())
    assert model.clip_spec.sampling == "openmmlab-1.x"
    assert model.labels == get_weights(NAME, "mmaction2-1x/k400-256e").labels
    assert not caplog.records, "the row says everything"


def test_a_file_in_our_own_names_brings_its_network(tmp_path: Path) -> None:
    spec = SMALL.replace(num_classes=5, fusion_kernel=7)
    written = trained(spec)
    write_file(tmp_path / "own.safetensors", written)
    model = create_model(NAME, weights=tmp_path / "own.safetensors")
    assert model.spec == spec
    assert_same_state(model, written.state_dict())
    torch.save(written.state_dict(), tmp_path / "own.pth")
    with pytest.raises(CheckpointError, match="another shape"):
        create_model(NAME, weights=tmp_path / "own.pth")  # no header: the default row's kernel is 5


@pytest.mark.parametrize("dialect", ["slowfast_zoo", "pytorchvideo"])
def test_what_shapes_cannot_tell_is_said(
    dialect: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A network of alpha 2 has the names and shapes of one of alpha 4; only a saved file says which it is."""
    row = get_weights(NAME, "default" if dialect == "slowfast_zoo" else "pytorchvideo/k400")
    spec = row.model_spec.replace(alpha=2)
    torch.save(to_dialect(trained(spec).state_dict(), spec, dialect), tmp_path / "plain.pth")
    model = create_model(NAME, weights=tmp_path / "plain.pth")
    assert model.spec.alpha == 4
    assert f"plain.pth doesn't say what its shapes can't tell; taken from {NAME}:{row.tag}" in caplog.text
    assert "alpha 4, 8 frames" in caplog.text and "like=" in caplog.text
    caplog.clear()
    create_model(NAME, weights=tmp_path / "plain.pth", like=row)  # the user's word
    own = SlowFast(spec)
    load_checkpoint(own, tmp_path / "plain.pth")
    write_file(tmp_path / "own.safetensors", own)
    assert create_model(NAME, weights=tmp_path / "own.safetensors").spec.alpha == 2
    assert "shapes can't tell" not in caplog.text


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    spec = SMALL.replace(fusion_kernel=7)
    torch.save(to_dialect(trained(spec).state_dict(), spec, "pyslowfast"), tmp_path / "other.pyth")
    with pytest.raises(CheckpointError, match=f"fits none of the pyslowfast weights of '{NAME}'"):
        create_model(NAME, weights=tmp_path / "other.pyth")
    (tmp_path / "page.pth").write_text("<html>")
    with pytest.raises(CheckpointError, match="a web page"):
        create_model(NAME, weights=tmp_path / "page.pth")
    with pytest.raises(CheckpointError, match="missing"):
        create_model(NAME, weights=tmp_path / "nowhere.pth")
