"""Files of every publisher into models: the same numbers, all or nothing."""

from __future__ import annotations

import functools
import json
import logging
import math
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from support.publisher_files import (
    SPEC,
    WRITERS,
    assert_same_state,
    build,
    python2_pickle,
    to_dialect,
    trained,
    write_file,
)
from support.small_nets import weights_of
from torch import nn

from slowfast_zoo import create_model, save_pretrained
from slowfast_zoo.errors import CheckpointError, InputError, UnknownNameError
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ModelSpec, RoiSpec
from slowfast_zoo.weights.catalog import get_weights, list_weights
from slowfast_zoo.weights.checkpoint.dialects import names_between
from slowfast_zoo.weights.checkpoint.layers import state_shapes
from slowfast_zoo.weights.checkpoint.loading import (
    adapt_stem,
    canonical_state_dict,
    load_checkpoint,
    match_rows,
)
from slowfast_zoo.weights.checkpoint.reading import Checkpoint, read_checkpoint


def clip(channels: int = 3) -> torch.Tensor:
    return torch.randn(1, channels, 8, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", WRITERS)
def test_every_publishers_file_gives_the_same_logits(tmp_path: Path, kind: str) -> None:
    write, dialect = WRITERS[kind]
    model = trained()
    path = tmp_path / "weights with blanks, ünïcode"  # no ending: only the content tells
    write(path, model.state_dict(), SPEC)

    assert read_checkpoint(path).dialect == dialect
    filled = load_checkpoint(SlowFast(SPEC), path).eval()
    built = build(SPEC, path).eval()
    with torch.no_grad():
        expected = model(clip())
        assert torch.equal(filled(clip()), expected)
        assert torch.equal(built(clip()), expected)
    assert expected.std() > 0.01
    counters = 0 if dialect == "caffe2" else 7
    assert built.slow.stem.norm.num_batches_tracked == counters


@pytest.mark.parametrize("kind", WRITERS)
def test_each_source_tensor_is_used_once_and_each_target_filled(tmp_path: Path, kind: str) -> None:
    write, dialect = WRITERS[kind]
    write(tmp_path / "file", trained().state_dict(), SPEC)
    source = read_checkpoint(tmp_path / "file").tensors
    model = SlowFast(SPEC)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(-123 if tensor.dtype == torch.int64 else float("nan"))
    load_checkpoint(model, tmp_path / "file")
    back = to_dialect(model.state_dict(), SPEC, dialect)
    assert all(torch.equal(back[name], source[name]) for name in back)
    left = set(source) - set(back)
    assert left == ({"lr", "conv1_w_momentum", "pred_b_momentum"} if dialect == "caffe2" else set())
    assert not any(tensor.isnan().any() or tensor.eq(-123).any() for tensor in model.state_dict().values())


def test_caffe2_arrays_of_any_order_and_byte_order(tmp_path: Path) -> None:
    state = to_dialect(trained().state_dict(), SPEC, "caffe2")
    blobs = {name: np.asfortranarray(tensor.numpy()).astype(">f8") for name, tensor in state.items()}
    import pickle

    (tmp_path / "file").write_bytes(pickle.dumps(blobs, protocol=4))
    tensors = read_checkpoint(tmp_path / "file").tensors
    assert all(torch.equal(tensors[name].float(), state[name]) for name in state)


def save(
    path: Path, state: Mapping[str, torch.Tensor], dialect: str = "pytorchvideo", spec: ModelSpec = SPEC
) -> None:
    torch.save({"model_state": to_dialect(state, spec, dialect)}, path)


@pytest.mark.parametrize("change", ["missing", "unexpected", "mismatched"])
def test_a_file_that_does_not_fit_changes_nothing(tmp_path: Path, change: str) -> None:
    renamed = to_dialect(trained().state_dict(), SPEC, "pytorchvideo")
    theirs = names_between(SPEC, "pytorchvideo")["fast.stage2.0.conv1.weight"]
    if change == "missing":
        del renamed[theirs]
    elif change == "unexpected":
        renamed["blocks.9.extra"] = torch.ones(2)
    else:
        renamed[theirs] = torch.ones(3, 4)
    torch.save({"model_state": renamed}, tmp_path / "file")
    model = SlowFast(SPEC)
    before = weights_of(model)
    with pytest.raises(CheckpointError, match=r"file.*unchanged") as caught:
        load_checkpoint(model, tmp_path / "file")
    assert caught.value.missing == (("fast.stage2.0.conv1.weight",) if change == "missing" else ())
    assert caught.value.unexpected == (("blocks.9.extra",) if change == "unexpected" else ())
    assert [row[:2] for row in caught.value.mismatched] == (
        [("fast.stage2.0.conv1.weight", (3, 4))] if change == "mismatched" else []
    )
    assert_same_state(model, before)
    with pytest.raises(CheckpointError):
        build(SPEC, tmp_path / "file")


@pytest.mark.parametrize(
    ("field", "value", "where"),
    [
        ("lateral_norm", False, "unexpected"),
        ("fusion_kernel", 7, "mismatched"),
        ("temporal_blocks", (1, 1, 0, 1), "mismatched"),
        ("fast_depth", 26, "missing"),
        ("base_width", 32, "mismatched"),
    ],
)
def test_the_neighboring_architecture_is_refused(
    tmp_path: Path, field: str, value: object, where: str
) -> None:
    save(tmp_path / "file", trained().state_dict())
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(SlowFast(SPEC.replace(**{field: value})), tmp_path / "file")
    assert getattr(caught.value, where)


def test_only_counters_may_be_missing(tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in trained().state_dict().items() if "num_batches" not in name}
    torch.save(state, tmp_path / "file")
    model = trained(seed=5)
    load_checkpoint(model, tmp_path / "file")
    assert model.fast.stem.norm.num_batches_tracked == 0


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused(tmp_path: Path, wrong: float) -> None:
    state = weights_of(trained())
    state["slow.stage1.0.conv2.weight"][0, 0, 0, 1, 1] = wrong
    torch.save(state, tmp_path / "file")
    model = SlowFast(SPEC)
    before = weights_of(model)
    with pytest.raises(CheckpointError, match=r"slow\.stage1\.0\.conv2\.weight"):
        load_checkpoint(model, tmp_path / "file")
    assert_same_state(model, before)


def test_other_precisions_become_float32(tmp_path: Path) -> None:
    model = trained()
    torch.save(
        {name: t.half() if t.is_floating_point() else t for name, t in weights_of(model).items()},
        tmp_path / "h",
    )
    loaded = build(SPEC, tmp_path / "h")
    assert all(tensor.dtype == torch.float32 for tensor in loaded.parameters())
    torch.testing.assert_close(
        loaded.slow.stem.conv.weight, model.slow.stem.conv.weight, atol=1e-3, rtol=1e-3
    )
    state = weights_of(model) | {"classifier.bias": torch.ones(6, dtype=torch.int32)}
    torch.save(state, tmp_path / "i")
    with pytest.raises(CheckpointError, match=r"classifier\.bias.*int32"):
        build(SPEC, tmp_path / "i")


def test_files_without_check_sums_are_read(tmp_path: Path) -> None:
    model = trained()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(model.state_dict(), tmp_path / "file")
    finally:
        torch.serialization.set_crc32_options(True)
    assert_same_state(build(SPEC, tmp_path / "file"), model.state_dict())


def test_an_explicit_dialect_is_obeyed(tmp_path: Path) -> None:
    save(tmp_path / "file", trained().state_dict())
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(SlowFast(SPEC), tmp_path / "file", dialect="gluoncv")
    assert "slow.stem.conv.weight" in caught.value.missing
    with pytest.raises(UnknownNameError, match="'gluoncv'"):
        load_checkpoint(SlowFast(SPEC), tmp_path / "file", dialect="gluoncw")


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "file", trained().state_dict())
    with pytest.raises(InputError, match="Linear"):
        load_checkpoint(torch.nn.Linear(1, 1), tmp_path / "file")
    with torch.device("meta"):
        model = SlowFast(SPEC)
    with pytest.raises(InputError, match="meta"):
        load_checkpoint(model, tmp_path / "file")


def test_layers_that_the_spec_does_not_describe_get_no_weights(tmp_path: Path) -> None:
    source = trained()
    save(tmp_path / "file", source.state_dict())
    replaced, wrapped = trained(seed=9), trained(seed=9)
    replaced.classifier = torch.nn.Linear(SPEC.num_features, 5)
    wrapped.classifier = torch.nn.Sequential(wrapped.classifier)
    for model in (replaced, wrapped):
        before = weights_of(model)
        with pytest.raises(InputError, match=r"\(classifier\.weight, classifier\.bias\)"):
            load_checkpoint(model, tmp_path / "file")
        assert_same_state(model, before)
        load_checkpoint(model, tmp_path / "file", backbone_only=True)
        assert torch.equal(model.slow.stem.conv.weight, source.slow.stem.conv.weight)


def test_another_number_of_classes_keeps_the_models_own_head(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, spec = trained(), SPEC.replace(num_classes=3)
    save(tmp_path / "file", source.state_dict())
    model = trained(spec, seed=9)
    head = model.classifier.weight.clone()
    with caplog.at_level(logging.WARNING):
        load_checkpoint(model, tmp_path / "file")
    assert "6 classes, the model 3" in caplog.text
    assert torch.equal(model.classifier.weight, head)
    assert_same_state_but_head(model, source)
    fresh = build(spec, tmp_path / "file")
    assert fresh.classifier.weight.shape == (3, spec.num_features)
    assert 0.005 < fresh.classifier.weight.std() < 0.02
    assert fresh.spec == spec
    assert_same_state_but_head(fresh, source)
    features = build(SPEC.replace(num_classes=0), tmp_path / "file").eval()
    with torch.no_grad():
        expected = source.forward_head(source.forward_features(clip()), pre_logits=True)
        assert torch.equal(features(clip()), expected)


def saved(path: Path, model: SlowFast, labels: list[str] | None = None) -> Path:
    """A file that this library wrote, with those class names."""
    model.labels = labels
    write_file(path, model)
    return path


def test_the_names_of_a_record_come_with_its_classifier(tmp_path: Path) -> None:
    names = list("abcdef")
    path = saved(tmp_path / "mine.safetensors", trained(), names)
    model = SlowFast(SPEC)
    assert load_checkpoint(model, path).labels == tuple(names)
    assert load_checkpoint(model, path).labels == tuple(names)
    before = weights_of(model)
    model.labels = names[::-1]
    other = saved(tmp_path / "other.safetensors", trained(seed=3), names)
    with pytest.raises(
        InputError, match=r"Class 0 is 'a' in '.*other.*' and 'f' in the model: model\.labels"
    ):
        load_checkpoint(model, other)
    assert_same_state(model, before)
    assert load_checkpoint(model, other, backbone_only=True).labels == tuple("fedcba")
    fewer = SlowFast(SPEC.replace(num_classes=3))
    fewer.labels = list("xyz")
    assert load_checkpoint(fewer, other).labels == tuple("xyz"), "its own classifier's"
    torch.save(trained().state_dict(), tmp_path / "bare.pth")
    assert load_checkpoint(model, tmp_path / "bare.pth").labels == tuple("fedcba")


def test_a_damaged_file_of_ones_own_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "mine.safetensors", trained())
    content = bytearray(path.read_bytes())
    content[-4000:-2000] = bytes(2000)
    path.write_bytes(content)
    model = trained(seed=2)
    before = weights_of(model)
    for backbone_only in (False, True):
        with pytest.raises(CheckpointError, match=r"is damaged, .* the checksum doesn't fit"):
            load_checkpoint(model, path, backbone_only=backbone_only)
    assert_same_state(model, before)


def test_what_a_record_says_of_another_network_is_pointed_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = saved(tmp_path / "mine.safetensors", trained())
    with caplog.at_level(logging.WARNING):
        load_checkpoint(SlowFast(SPEC), path)
    assert not caplog.text
    spec = SPEC.replace(alpha=2, slow_sampling="linspace", activation="sigmoid", head_pool="window_logits")
    load_checkpoint(SlowFast(spec), path)
    for told in (
        f"alpha {SPEC.alpha} instead of 2",
        f"slow_sampling {SPEC.slow_sampling} instead of linspace",
        "activation softmax instead of sigmoid",
        "head_pool global instead of window_logits",
    ):
        assert told in caplog.text
    caplog.clear()
    load_checkpoint(SlowFast(SPEC.replace(activation="sigmoid", num_classes=3)), path)
    assert "activation" not in caplog.text, "the classifier is the model's own"
    caplog.clear()
    model = SlowFast(SPEC)
    model.clip_spec = own = model.clip_spec.replace(frame_stride=5, size=100, crop=96, test_crop=96)
    load_checkpoint(model, path)
    assert f"frame_stride {trained().clip_spec.frame_stride} instead of 5, size" in caplog.text
    assert "model.clip_spec = from_pretrained(Path(file)).clip_spec" in caplog.text
    assert model.clip_spec == own
    caplog.clear()
    training = {"flip": 0.0, "jitter": (64, 80), "augmentation": "short-side-jitter", "smallest_area": 0.5}
    model.clip_spec = trained().clip_spec.replace(**training, crop=16, approximate="its decoder resizes")
    load_checkpoint(model, path)
    assert not caplog.text, "no answer depends on how training clips are drawn"
    model.clip_spec = own
    load_checkpoint(model, path, backbone_only=True)
    assert not caplog.text, "a start to train from may read what it likes"
    persons = saved(tmp_path / "persons.safetensors", trained(ROI_SPEC))
    roi = RoiSpec(acrn=True, temporal_pool="max")
    load_checkpoint(SlowFast(ROI_SPEC.replace(roi=roi)), persons)
    assert "temporal_pool mean instead of max" in caplog.text


def test_a_file_without_a_classifier_is_told_what_takes_it(tmp_path: Path) -> None:
    torch.save(trained(SPEC.replace(num_classes=0)).state_dict(), tmp_path / "file")
    model = SlowFast(SPEC)
    with pytest.raises(
        CheckpointError, match=r"no classifier: load_checkpoint\(.*backbone_only=True\) takes"
    ):
        load_checkpoint(model, tmp_path / "file")
    load_checkpoint(model, tmp_path / "file", backbone_only=True)


def assert_same_state_but_head(model: SlowFast, source: SlowFast) -> None:
    head = ("classifier.weight", "classifier.bias")
    assert_same_state(model, source.state_dict(), skip=head)


@pytest.mark.parametrize(
    "gone", [("classifier.weight",), ("classifier.bias",), ("classifier.weight", "classifier.bias")]
)
@pytest.mark.parametrize("classes", [6, 3])
def test_a_file_without_its_head_is_no_file_with_another_head(
    tmp_path: Path, gone: tuple[str, ...], classes: int
) -> None:
    torch.save({name: t for name, t in trained().state_dict().items() if name not in gone}, tmp_path / "file")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(SlowFast(SPEC.replace(num_classes=classes)), tmp_path / "file")
    assert caught.value.missing == gone


def test_a_head_under_another_name_is_missing_and_left_over(tmp_path: Path) -> None:
    state = weights_of(trained())
    torch.save(
        {name.replace("classifier", "fc"): tensor for name, tensor in state.items()}, tmp_path / "file"
    )
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(SlowFast(SPEC), tmp_path / "file")
    assert caught.value.missing == ("classifier.weight", "classifier.bias")
    assert caught.value.unexpected == ("fc.weight", "fc.bias")


class Counting(nn.ReLU):
    """Keeps something in the state dict that is no tensor."""

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 1}


def test_state_that_is_no_tensor_is_a_layer_of_another_network(tmp_path: Path) -> None:
    model = trained()
    model.slow.stem.relu = Counting()
    with pytest.raises(InputError, match=r"the network of model\.spec \(slow\.stem\.relu\._extra_state\)"):
        save_pretrained(model, tmp_path)


@pytest.mark.parametrize("shape", [(10, 8), (10,), ()])
def test_a_head_of_another_form_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    torch.save(weights_of(trained()) | {"classifier.weight": torch.ones(shape)}, tmp_path / "file")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(SlowFast(SPEC.replace(num_classes=3)), tmp_path / "file")
    assert "classifier.weight" in [name for name, _, _ in caught.value.mismatched]


@pytest.mark.parametrize("channels", [1, 2, 5, 6])
def test_stems_are_adapted_to_other_channels(
    tmp_path: Path, channels: int, caplog: pytest.LogCaptureFixture
) -> None:
    source = trained()
    save(tmp_path / "file", source.state_dict())
    spec = SPEC.replace(in_channels=channels)
    with caplog.at_level(logging.WARNING):
        model = load_checkpoint(SlowFast(spec), tmp_path / "file").eval()
    assert f"{channels} channels" in caplog.text
    assert_same_state(build(spec, tmp_path / "file"), model.state_dict())
    gray = clip(1)
    with torch.no_grad():
        if channels in (1, 6):  # a gray clip is the same in every channel, so the answers must be
            expected = source(gray.expand(-1, 3, -1, -1, -1))
            torch.testing.assert_close(model(gray.expand(-1, channels, -1, -1, -1)), expected)
        assert model(clip(channels)).shape == (1, 6)


def test_published_names_go_with_the_published_classifier_where_stems_were_adapted(tmp_path: Path) -> None:
    make = functools.partial(create_model, "slowfast_tiny", pretrained=True, in_channels=4)
    other = create_model("slowfast_tiny", num_classes=make().num_classes, in_channels=4)
    torch.save(other.state_dict(), tmp_path / "plain.pth")
    assert load_checkpoint(make(), tmp_path / "plain.pth").labels is None
    other.labels = [f"own {index}" for index in range(other.num_classes)]
    save_pretrained(other, tmp_path / "named")
    assert load_checkpoint(make(), tmp_path / "named" / "model.safetensors").labels == other.labels


def test_adapt_stem_by_hand() -> None:
    rgb = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1, 1)
    assert adapt_stem(rgb, 3) is rgb
    assert adapt_stem(rgb, 1).flatten().tolist() == [6]
    assert adapt_stem(rgb, 2).flatten().tolist() == [1.5, 3]
    torch.testing.assert_close(adapt_stem(rgb, 4).flatten(), torch.tensor([0.75, 1.5, 2.25, 0.75]))
    with pytest.raises(CheckpointError, match="2 channels"):
        adapt_stem(rgb[:, :2], 3)


def test_stems_that_are_not_rgb_fit_only_their_own_channels(tmp_path: Path) -> None:
    spec = SPEC.replace(in_channels=2)
    torch.save(trained(spec).state_dict(), tmp_path / "file")
    assert build(spec, tmp_path / "file").spec == spec
    with pytest.raises(CheckpointError, match="see 2 channels, the model's 3; only RGB stems can be adapted"):
        build(SPEC, tmp_path / "file")


def test_a_publisher_with_another_rule_for_slow_frames_is_pointed_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "file", trained().state_dict())
    load_checkpoint(SlowFast(SPEC.replace(slow_sampling="linspace")), tmp_path / "file")
    assert caplog.text == ""
    load_checkpoint(SlowFast(SPEC), tmp_path / "file")
    assert "linspace" in caplog.text


@pytest.mark.parametrize("tag", ["mmaction2/k400-256e-320p", "pyslowfast/k400", "gluoncv/k400"])
def test_match_rows_finds_a_file_without_its_name(tag: str, tmp_path: Path) -> None:
    entry = get_weights("slowfast_r50_8x8x1", tag)
    shapes = state_shapes(entry.model_spec)
    names = names_between(entry.model_spec, entry.dialect)
    tensors = {their: shapes[ours] for ours, their in names.items() if their}
    rows = match_rows(described(tmp_path, tensors), list_weights(entry.model))
    assert entry in rows
    assert {row.dialect for row in rows} == {entry.dialect}
    assert {row.model_spec.replace(num_frames=32) for row in rows} == {entry.model_spec}

    head = names["classifier.weight"], names["classifier.bias"]
    ten = {name: (10, *shape[1:]) if name in head else shape for name, shape in tensors.items()}
    assert entry in match_rows(described(tmp_path, ten), list_weights(entry.model))
    del ten[str(head[1])]
    assert match_rows(described(tmp_path, ten), list_weights(entry.model)) == []


def described(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> Checkpoint:
    """A file of the right size with these names and shapes, which takes no room on the disk."""
    rows, at = {}, 0
    for name, shape in shapes.items():
        rows[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 4 * math.prod(shape)]}
        at += 4 * math.prod(shape)
    header = json.dumps(rows).encode()
    with (folder / "described.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + at)
    return read_checkpoint(folder / "described.safetensors")


def test_canonical_state_dict_needs_the_exact_network() -> None:
    renamed = to_dialect(trained().state_dict(), SPEC, "gluoncv")
    state = canonical_state_dict(renamed, SPEC, "gluoncv")
    assert_same_state(trained(), state)
    with pytest.raises(CheckpointError) as caught:
        canonical_state_dict(renamed, SPEC.replace(num_classes=7), "gluoncv")
    assert len(caught.value.mismatched) == 2


def test_python2_pickles_are_written_as_python_reads_them() -> None:
    """Guards the writer itself: numpy must understand it too."""
    import pickle

    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3)}
    content = pickle.loads(python2_pickle(arrays), encoding="latin1")
    np.testing.assert_array_equal(content["blobs"]["a"], arrays["a"])


def test_numbers_whose_sum_overflows_are_still_numbers(tmp_path: Path) -> None:
    state = weights_of(trained()) | {"classifier.bias": torch.full((6,), 3e38)}
    torch.save(state, tmp_path / "file")
    assert build(SPEC, tmp_path / "file").classifier.bias.eq(3e38).all()


ROI_SPEC = SPEC.replace(stage4_stride=(1, 1), activation="sigmoid", roi=RoiSpec(acrn=True))


@pytest.mark.parametrize("kind", ["openmmlab-2021", "pytorchvideo", "saved"])
@pytest.mark.parametrize(("given", "wanted"), [(SPEC, ROI_SPEC), (ROI_SPEC, SPEC)], ids=["clips", "boxes"])
def test_the_other_kind_of_network_is_a_start_where_the_user_says_so(
    tmp_path: Path, kind: str, given: ModelSpec, wanted: ModelSpec
) -> None:
    """Else it is refused by what it is, and the model stays as it is."""
    if kind == "pytorchvideo":
        given, wanted = (
            spec if spec.roi is None else spec.replace(roi=RoiSpec()) for spec in (given, wanted)
        )
    written, path = trained(given), tmp_path / "weights.pth"
    if kind == "saved":
        write_file(path, written)
    else:
        WRITERS[kind][0](path, written.state_dict(), given)
    model = trained(wanted, seed=1)
    before = weights_of(model)
    says = (
        "classifies whole clips, the model scores" if given.roi is None else "boxes .*, the model classifies"
    )
    with pytest.raises(CheckpointError, match=f"{says}.*backbone_only=True"):
        load_checkpoint(model, path)
    assert_same_state(model, before)
    assert_same_state(build(given, path), written.state_dict())

    load_checkpoint(model, path, backbone_only=True)
    source = written.state_dict()
    for name, tensor in model.state_dict().items():
        head = name.startswith(("classifier", "acrn"))
        assert torch.equal(tensor, before[name] if head else source[name]), name


def test_a_missing_part_of_the_backbone_is_no_head(tmp_path: Path) -> None:
    state = trained().state_dict()
    del state["laterals.2.conv.weight"]
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(SlowFast(ROI_SPEC), tmp_path / "weights.pth", backbone_only=True)
    assert caught.value.missing == ("laterals.2.conv.weight",)
