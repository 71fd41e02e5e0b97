"""Saved models: out and back unchanged, refused when they aren't whole, and through the Hub's real client."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.hub_server import HubServer, Repository
from support.publisher_files import write_file
from torch import Tensor
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import apply_activation_checkpointing
from torch.nn import functional as F

from slowfast_zoo.errors import CheckpointError, DownloadError, InputError, OfflineError
from slowfast_zoo.naming import parse
from slowfast_zoo.network.pathway import Bottleneck
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ClipSpec, ModelSpec, RoiSpec
from slowfast_zoo.weights.saved.card import FOLDER_SOURCE, model_card
from slowfast_zoo.weights.saved.config import FORMAT_VERSION, SavedConfig, read_config
from slowfast_zoo.weights.saved.file import fill, read_file
from slowfast_zoo.weights.saved.folder import save_pretrained
from slowfast_zoo.weights.saved.hub import from_pretrained, locate, push_folder, push_to_hub

TINY = ModelSpec(depth=14, base_width=16, num_frames=8, num_classes=3, lateral_norm=True)
LABELS = ("läuft | rennt", 'says "hi"', "[a](b) <i>")


def tiny(**changes: Any) -> SlowFast:
    model = SlowFast(TINY.replace(**changes))
    model.labels = LABELS if model.spec.num_classes == len(LABELS) else None
    model.clip_spec = ClipSpec(num_frames=8, size=(340, 256), clips=3, time_base="seconds", fps=29.97)
    model.provenance = {"model": "tiny", "license": "Apache-2.0", "source": "https://example.org/zoo"}
    for index, tensor in enumerate(model.state_dict().values()):
        if tensor.is_floating_point():  # norms too, so that a swapped pair shows
            torch.nn.init.uniform_(tensor, 0.1, 1, generator=torch.Generator().manual_seed(index))
    return model


def fine_tuned() -> SlowFast:
    model = tiny()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss = F.cross_entropy(model(torch.randn(2, 3, 8, 32, 32)), torch.tensor([0, 2]))
    loss.backward()
    optimizer.step()
    model.provenance["training"] = {"epochs": 1, "metrics": {"top1_acc": 0.5}}
    return model


def re_headed() -> SlowFast:
    model = tiny()
    model.reset_classifier(2, ["a", "b"])
    return model


def assert_same(first: SlowFast, second: SlowFast) -> None:
    ours, theirs = first.state_dict(), second.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype
        assert tensor.numpy().tobytes() == theirs[name].numpy().tobytes(), name
    for name in ("spec", "clip_spec", "labels", "provenance"):
        assert getattr(first, name) == getattr(second, name)


MODELS: dict[str, Callable[[], SlowFast]] = {
    "plain": tiny,
    "persons": lambda: tiny(roi=RoiSpec(context=True), stage4_stride=(1, 1)),
    "re-headed": re_headed,
    "one channel": lambda: tiny(in_channels=1),
    "five channels": lambda: tiny(in_channels=5),
    "features": lambda: tiny(num_classes=0),
    "fine-tuned": fine_tuned,
    "window head": lambda: tiny(head_pool="window_probs", head_window=1, activation="sigmoid"),
}


@pytest.mark.parametrize("kind", MODELS)
def test_round_trip(kind: str, tmp_path: Path) -> None:
    model = MODELS[kind]()
    save_pretrained(model, tmp_path / "saved model ü")
    loaded = from_pretrained(tmp_path / "saved model ü")
    assert not any(module.training for module in loaded.modules())
    assert_same(model, loaded)
    clip = torch.randn(1, model.spec.in_channels, 8, 32, 32)
    boxes = [torch.tensor([[0.0, 1, 2, 20, 30]])] if model.spec.roi else []
    with torch.inference_mode():
        assert torch.equal(model.eval()(clip, *boxes), loaded.eval()(clip, *boxes))
    save_pretrained(loaded, tmp_path / "again")
    for name in ("model.safetensors", "config.json", "README.md"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "saved model ü" / name).read_bytes()


def test_loaded_model_is_independent_of_its_file(tmp_path: Path) -> None:
    model = tiny()
    save_pretrained(model, tmp_path)
    loaded = from_pretrained(tmp_path)
    save_pretrained(SlowFast(TINY), tmp_path)
    assert_same(model, loaded)
    loss = loaded(torch.randn(2, 3, 8, 64, 64)).sum()
    loss.backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())


@pytest.mark.parametrize(("dtype", "exact"), [(torch.bfloat16, True), (torch.float64, False)])
def test_other_dtypes_come_back_as_float32(dtype: torch.dtype, exact: bool, tmp_path: Path) -> None:
    model = tiny().to(dtype)
    save_pretrained(model, tmp_path)
    for name, tensor in from_pretrained(tmp_path).state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(tensor, model.state_dict()[name].to(torch.float32))
            assert not exact or torch.equal(tensor.to(dtype), model.state_dict()[name])


def test_other_classes_and_labels(tmp_path: Path) -> None:
    model = fine_tuned()
    save_pretrained(model, tmp_path)
    fresh = from_pretrained(tmp_path, num_classes=7)
    assert (fresh.spec.num_classes, fresh.labels) == (7, None)
    assert torch.equal(fresh.slow.stem.conv.weight, model.slow.stem.conv.weight)
    assert "training" not in fresh.provenance
    assert fresh.provenance["pretraining"] == model.provenance["training"]
    assert fresh.provenance["initialized_from"] == {"source": "https://example.org/zoo"}
    once = dict(fresh.provenance)
    fresh.reset_classifier(5)
    assert fresh.provenance == once
    assert from_pretrained(tmp_path, num_classes=2, labels=["x", "y"]).labels == ("x", "y")
    assert from_pretrained(tmp_path, num_classes=2, labels=iter("xy")).labels == ("x", "y")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"labels has 2 names, .* has 3 classes"):
        from_pretrained(tmp_path, labels=["x", "y"])
    other = from_pretrained(tmp_path, labels=["x", "y", "z"])
    assert other.labels == ("x", "y", "z")
    assert not torch.equal(other.classifier.weight, model.classifier.weight)
    assert torch.equal(from_pretrained(tmp_path, labels=LABELS).classifier.weight, model.classifier.weight)
    assert from_pretrained(tmp_path, num_classes=0).eval()(torch.randn(1, 3, 8, 32, 32)).shape == (1, 576)
    assert from_pretrained(tmp_path, num_classes=3).labels == LABELS
    with pytest.raises(InputError, match="2 names for 3 classes"):
        from_pretrained(tmp_path, num_classes=3, labels=["x", "y"])
    for alike in (LABELS[::-1], [f" {name.upper()}" for name in LABELS]):
        for number in (None, 3):
            with pytest.raises(
                InputError, match=r"in another order or spelling, .*: leave them out.*reset_c"
            ):
                from_pretrained(tmp_path, num_classes=number, labels=alike)


def test_config_says_everything(tmp_path: Path) -> None:
    model = fine_tuned()
    save_pretrained(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["format_version"] == FORMAT_VERSION
    assert config["labels"] == list(LABELS)
    assert config["metrics"] == {"top1_acc": 0.5}
    assert ModelSpec.from_dict(config["model_spec"]) == model.spec
    assert ClipSpec.from_dict(config["clip_spec"]) == model.clip_spec
    save_pretrained(model, tmp_path, metrics={"top1": 71.5, "protocol": "10 clips"})
    assert read_config(tmp_path / "config.json").metrics == {"top1": 71.5, "protocol": "10 clips"}


# --- folders that aren't whole ------------------------------------------------------------------


def change(path: Path, **entries: object) -> None:
    values = json.loads(path.read_text(encoding="utf-8")) | entries
    path.write_text(json.dumps(values), encoding="utf-8")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            {"format_version": 2, "library_version": "9.1"},
            r"format 2, written by slowfast_zoo 9\.1.*Update it",
        ),
        ({"format_version": "1"}, "wasn't written by save_pretrained"),
        ({"format_version": True}, "wasn't written by save_pretrained"),
        ({"lables": []}, "unknown entry 'lables'.* Did you mean 'labels'"),
        ({"model_spec": {"depht": 50}}, "no field 'depht'.*'depth'"),
        ({"model_spec": {"depth": {}}}, "config.json"),
        ({"model_spec": 5}, "read from a mapping"),
        ({"clip_spec": {"resize": "cubic"}}, "ClipSpec.resize is 'cubic'"),
        ({"labels": ["one"]}, "1 names for 3 classes"),
        ({"labels": [1, 2, 3]}, "labels are a list of class names"),
        ({"labels": "abc"}, "'labels' is 'abc'"),
        ({"provenance": None}, "'provenance' is None"),
        ({"metrics": [1]}, r"'metrics' is \[1\]"),
    ],
)
def test_config_that_is_wrong(entries: dict[str, object], message: str, tmp_path: Path) -> None:
    save_pretrained(tiny(), tmp_path)
    change(tmp_path / "config.json", **entries)
    with pytest.raises(CheckpointError, match=message) as caught:
        from_pretrained(tmp_path)
    assert str(tmp_path / "config.json") in str(caught.value)


@pytest.mark.parametrize("depth", [480, 600, 3000])
def test_config_with_deep_lists(depth: int, tmp_path: Path) -> None:
    save_pretrained(tiny(), tmp_path)
    path, deep = tmp_path / "config.json", "[" * depth + "]" * depth
    values = json.loads(path.read_text(encoding="utf-8"))
    values["clip_spec"]["mean"] = "HERE"
    path.write_text(json.dumps(values).replace('"HERE"', deep), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000, "{}", '{"format_version": 1}', "\udcff"], ids=range(8)
)
def test_config_that_is_no_config(text: str, tmp_path: Path) -> None:
    save_pretrained(tiny(), tmp_path)
    (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_file(name: str, tmp_path: Path) -> None:
    save_pretrained(tiny(), tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(CheckpointError, match=f"has no {name}"):
        from_pretrained(tmp_path)


def test_missing_folder_and_file_for_a_folder(tmp_path: Path) -> None:
    torch.save(tiny().state_dict(), tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=r"is no folder.*create_model"):
        from_pretrained(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"doesn't say which network it holds.*create_model"):
        from_pretrained(tmp_path / "model.pth")


def test_tensors_of_another_network(tmp_path: Path) -> None:
    save_pretrained(tiny(), tmp_path / "a")
    for other, field in (
        (tiny(num_classes=4), "mismatched"),
        (tiny(lateral_norm=False), "missing"),
        (tiny(depth=26), "unexpected"),
    ):
        save_pretrained(other, tmp_path / "b")
        shutil.copy(tmp_path / "b" / "model.safetensors", tmp_path / "a")
        with pytest.raises(CheckpointError, match=r"model\.safetensors' doesn't hold the network") as caught:
            from_pretrained(tmp_path / "a")
        assert getattr(caught.value, field)
    other = tiny()
    other.classifier.bias.data[0] += 1
    write_file(tmp_path / "a" / "model.safetensors", other)
    with pytest.raises(CheckpointError, match="not the file that its config was written with"):
        from_pretrained(tmp_path / "a")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (
            lambda m: m.fast.stem.norm.running_var.mul_(-1),
            "fast.stem.norm.running_var' holds negative variances",
        ),
        (lambda m: m.classifier.bias.data.fill_(float("nan")), "'classifier.bias' holds NaN"),
        (lambda m: setattr(m, "_labels", ("a", "b")), "labels has 2 names for 3 classes"),
    ],
    ids=["variance", "nan", "labels"],
)
def test_a_file_that_would_predict_nonsense_is_refused(damage: Any, says: str, tmp_path: Path) -> None:
    model, config = tiny(), dataclasses.replace(SavedConfig.of(tiny()), labels=None)
    damage(model)
    if model.labels != LABELS:
        config = dataclasses.replace(config, labels=model.labels)
    fill(tmp_path / "file.safetensors", model.state_dict(), config)
    with pytest.raises(CheckpointError, match=says):
        read_file(tmp_path / "file.safetensors")


def test_other_containers_are_refused(tmp_path: Path) -> None:
    """Hub repositories are strangers' files: no pickle is read even where one would be accepted as a file."""
    model = tiny()
    save_pretrained(model, tmp_path)
    torch.save(model.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="is a torch file and no safetensors"):
        from_pretrained(tmp_path)


def test_truncated_weights(tmp_path: Path) -> None:
    save_pretrained(tiny(), tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        from_pretrained(tmp_path)


# --- saving --------------------------------------------------------------------------------------


@contextlib.contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file may become larger: a full disk, as a program meets it."""
    resource = pytest.importorskip("resource", reason="POSIX limits stand in for a full disk")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_the_old_folder(tmp_path: Path) -> None:
    old = tiny()
    save_pretrained(old, tmp_path)
    before = sorted(tmp_path.iterdir())
    with disk_of(100_000), pytest.raises(DownloadError, match=r"can't be saved in"):
        save_pretrained(SlowFast(TINY), tmp_path)
    assert sorted(tmp_path.iterdir()) == before
    assert_same(old, from_pretrained(tmp_path))


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_who_may_read_is_the_umasks_choice(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_pretrained(tiny(), tmp_path)
        write_file(tmp_path / "file.safetensors", tiny())
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_death_between_the_renames_leaves_nothing_that_looks_whole(
    renames: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pretrained(tiny(), tmp_path)
    left, real = [renames], Path.replace

    def dying(self: Path, target: Path) -> Path:
        if self.parent.name.startswith(".saving-") and target.parent == tmp_path:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "replace", dying)
    with pytest.raises(KeyboardInterrupt):
        save_pretrained(SlowFast(TINY), tmp_path)
    with pytest.raises(CheckpointError, match=r"has no config\.json.*create_model\(name, weights="):
        from_pretrained(tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_a_folder_around_a_saved_one_names_it(tmp_path: Path) -> None:
    save_pretrained(tiny(), tmp_path / "model")
    with pytest.raises(
        CheckpointError, match=r"has no config\.json.*; the one in it is '.*model'\.$"
    ) as caught:
        from_pretrained(tmp_path)
    assert str(tmp_path / "model") in str(caught.value)


def test_a_tensor_in_two_places_is_saved_in_both(tmp_path: Path) -> None:
    model = tiny()
    block = model.slow.stage2[0]
    block.norm2.weight = block.norm1.weight
    block.norm2.bias = torch.nn.Parameter(block.norm1.bias.detach())
    save_pretrained(model, tmp_path / "new")
    assert_same(model, from_pretrained(tmp_path / "new"))


def test_what_can_not_be_saved(tmp_path: Path) -> None:
    with torch.device("meta"):
        empty = SlowFast(TINY)
    failed = tiny()
    failed.classifier.bias.data[1] = float("nan")
    strange = tiny()
    strange.provenance["callback"] = print
    large = tiny().double()
    large.classifier.bias.data[0] = 1e300  # infinite in float32, as it is read
    for model, message in (
        (torch.nn.Linear(2, 2), "got Linear"),
        (empty, "meta device"),
        (failed, "'classifier.bias' holds NaN"),
        (strange, "JSON, which can't hold them"),
        (large, "'classifier.bias' holds NaN or infinite numbers"),
    ):
        with pytest.raises(InputError, match=message):
            save_pretrained(model, tmp_path / "new")  # type: ignore[arg-type]
    for metrics in ([1], "acc", 5):
        with pytest.raises(
            InputError, match=rf"metrics is {re.escape(repr(metrics))}; accepted: a dictionary"
        ):
            save_pretrained(tiny(), tmp_path / "new", metrics=metrics)  # type: ignore[arg-type]
    for load in (lambda name: save_pretrained(tiny(), name), from_pretrained):
        with pytest.raises(InputError, match=r"new.*b' has a NUL byte"):
            load(str(tmp_path / "new\0b"))
    with pytest.raises(InputError, match="5 is no path; accepted: a str or Path"):
        save_pretrained(tiny(), 5)  # type: ignore[arg-type]
    assert not [*tmp_path.iterdir()]
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="can't be saved in"):
        save_pretrained(tiny(), tmp_path / "file")


@pytest.mark.parametrize("letter", ["a", "ä"])
def test_a_config_is_as_long_as_can_be_read_back(tmp_path: Path, letter: str) -> None:
    model = tiny()
    bare = len(SavedConfig.of(model).to_json().encode()) - len(LABELS[2].encode())
    fits = (4 * 1024 * 1024 - bare - 100) // len(letter.encode())  # the tensors' checksum comes, too
    model.labels = (*LABELS[:2], letter * fits)
    save_pretrained(model, tmp_path / "fits")
    assert from_pretrained(tmp_path / "fits").labels == model.labels
    model.labels = (*LABELS[:2], letter * (fits + 101))
    with pytest.raises(InputError, match="at most 4194304 can be read back: shorten the class names"):
        save_pretrained(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def _linear(model: SlowFast) -> None:
    model.classifier = torch.nn.Linear(model.num_features, 5)


def _sequence(model: SlowFast) -> None:
    model.classifier = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(model.num_features, 3))


def _normed(model: SlowFast) -> None:
    torch.nn.utils.parametrizations.weight_norm(model.classifier)


def _compiled(model: SlowFast) -> None:
    model.slow.register_module("stage4", torch.compile(model.slow.stage4))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (_linear, r"\(classifier\.weight, classifier\.bias\)"),
        (_sequence, r"\(classifier\.weight, classifier\.bias, classifier\.1\.weight, \.\.\.\)"),
        (_normed, r"\(classifier\.weight, classifier\.parametrizations\.weight\.original0, "),
        (_compiled, r"\(slow\.stage4\.0\.conv1\.weight, "),
    ],
)
def test_layers_that_no_reader_knows_are_not_saved(
    change: Callable[[SlowFast], None], where: str, tmp_path: Path
) -> None:
    save_pretrained(re_headed(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    model = tiny()
    change(model)
    with pytest.raises(InputError, match=f"isn't the network of model.spec {where}.* replaced or wrapped"):
        save_pretrained(model, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def _other_activation(model: SlowFast) -> None:
    model.slow.stage1[0].relu = torch.nn.SiLU()  # type: ignore[assignment]


def _other_eps(model: SlowFast) -> None:
    model.fast.stem.norm.eps = 1e-2


def _other_stride(model: SlowFast) -> None:
    model.slow.stage4[0].conv2.stride = model.slow.stage4[0].shortcut_conv.stride = (1, 1, 1)


def _one_more(model: SlowFast) -> None:
    model.slow.stage4.append(torch.nn.Tanh())


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (_other_activation, "slow.stage1.0.relu"),
        (_other_eps, "fast.stem.norm"),
        (_other_stride, "slow.stage4.0.conv2, slow.stage4.0.shortcut_conv"),
        (_one_more, "slow.stage4"),
    ],
)
def test_what_computes_something_else_than_its_spec_is_not_saved(
    change: Callable[[SlowFast], None], where: str, tmp_path: Path
) -> None:
    model = re_headed()
    change(model)
    with pytest.raises(InputError, match=re.escape(f"than the network of model.spec ({where})")):
        save_pretrained(model, tmp_path)
    assert not list(tmp_path.iterdir())


class _Noted(SlowFast):
    """With what a training's owner adds to a model."""

    def training_step(self, clip: Tensor) -> Tensor:
        return self(clip).sum()


def test_a_folder_without_a_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"name of the folder is empty; the current folder is '\.'"):
        save_pretrained(tiny(), "")
    assert not list(tmp_path.iterdir())


def test_what_changes_no_answer_is_saved(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = re_headed().train()
    torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    apply_activation_checkpointing(model, check_fn=lambda module: isinstance(module, Bottleneck))
    model.__class__ = _Noted
    model.criterion, model.seen = torch.nn.CrossEntropyLoss(), {"clips": torch.ones(2)}
    model.dropout = torch.nn.Identity()
    model.slow.stem.relu = torch.nn.ReLU()
    model.freeze("stage2", norms=True)
    model.set_grad_checkpointing()
    model.compile()
    save_pretrained(model, tmp_path)
    assert not caplog.text
    assert_same(model, from_pretrained(tmp_path))
    model.slow.register_forward_hook(lambda module, inputs, output: None)
    save_pretrained(model, tmp_path)
    assert "has a forward hook at 'slow', which isn't saved" in caplog.text


class _Doubled(SlowFast):
    def forward_features(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        slow, fast = super().forward_features(clip)
        return 2 * slow, fast


class _WithLoss(SlowFast):
    """As trainers of others want it."""

    def forward(self, clip: Tensor, boxes: Tensor | None = None, labels: Tensor | None = None) -> Any:
        logits = super().forward(clip, boxes)
        return logits if labels is None else (torch.nn.functional.cross_entropy(logits, labels), logits)


def _of_class(kind: type[SlowFast]) -> Callable[[SlowFast], None]:
    return lambda model: setattr(model, "__class__", kind)


def _put_in_place(model: SlowFast) -> None:
    model.slow.stem.forward = lambda clip: clip  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("change", "where"),
    [(_of_class(_Doubled), ""), (_of_class(_WithLoss), ""), (_put_in_place, " at 'slow.stem'")],
)
def test_a_forward_of_ones_own_is_told_when_a_model_is_saved(
    change: Callable[[SlowFast], None], where: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = re_headed()
    change(model)
    save_pretrained(model, tmp_path)
    assert caplog.text.count("forward") == 1
    assert f"The model has a forward of its own{where}, which isn't saved" in caplog.text
    loaded = from_pretrained(tmp_path)
    assert type(loaded) is SlowFast and loaded.spec == model.spec
    assert all(map(torch.equal, loaded.state_dict().values(), model.state_dict().values()))


def test_a_layer_of_ones_own_is_saved_once_the_model_knows_its_classes(tmp_path: Path) -> None:
    model = tiny().eval()
    _linear(model)
    layer = model.classifier
    model.reset_classifier(5, list("abcde"))
    model.classifier = layer
    save_pretrained(model, tmp_path)
    loaded = from_pretrained(tmp_path)
    assert loaded.labels == tuple("abcde") and loaded.num_classes == 5
    assert torch.equal(loaded.classifier.weight, layer.weight)
    assert loaded.provenance["initialized_from"] == {"source": "https://example.org/zoo"}


# --- the card ------------------------------------------------------------------------------------


def test_card_is_what_the_hub_reads(tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    model = tiny()
    save_pretrained(model, tmp_path, metrics={"top1": 71.25})
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.pipeline_tag == "video-classification"
    assert card.data.library_name == "slowfast_zoo"
    assert card.data.license == "apache-2.0"
    assert "video-classification" in card.data.tags
    lines = card.text.splitlines()
    assert "| top1 | 71.25 |" in lines
    assert "| source | <https://example.org/zoo> |" in lines
    assert r"| 0 | läuft \| rennt |" in lines
    assert r"| 2 | \[a](b) \<i> |" in lines
    assert "| `fps`: frame rate that the stride refers to | 29.97 |" in lines


@pytest.mark.parametrize(("written", "given"), [("CC BY\n---\nx: y", "other"), ("MIT", "mit"), (None, None)])
def test_card_with_any_license(written: str | None, given: str | None, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    model = tiny()
    model.provenance = {"model": "a\n---\nb", "license": written}
    save_pretrained(model, tmp_path)
    data = ModelCard.load(tmp_path / "README.md").data.to_dict()
    assert data.get("license") == given
    assert "x" not in data


def test_cards_example_runs(tmp_path: Path) -> None:
    save_pretrained(tiny(), tmp_path)
    code = (tmp_path / "README.md").read_text(encoding="utf-8").split("```")[1].removeprefix("python\n")
    lines = code.replace(FOLDER_SOURCE, repr(str(tmp_path))).splitlines()
    assert len(lines) == 3
    names: dict[str, Any] = {}
    exec("\n".join(lines[:2]), names)
    assert names["model"].labels == LABELS


# --- which source is meant -----------------------------------------------------------------------


@pytest.mark.parametrize("source", ["model", "a/b/c", "", "owner/", "https://host/a/b", "x y/z", 5, None])
def test_source_that_is_neither(source: Any) -> None:
    with pytest.raises(
        InputError, match=r"give a folder or file as Path\(.*a Hub repository as 'owner/name'"
    ):
        from_pretrained(source)


@pytest.mark.parametrize(
    "source", ["./owner/name", "../x", ".", "/abs/x", "~/x", "C:\\x", ".\\x", Path("owner/name"), Path("x")]
)
def test_source_that_is_a_folder(source: str | Path) -> None:
    assert locate(source) == Path(source).expanduser()
    with pytest.raises(InputError, match="A revision belongs to a Hub repository"):
        locate(source, "main")


@pytest.mark.parametrize("revision", [5, "", b"main"])
def test_a_revision_is_a_name(revision: Any) -> None:
    with pytest.raises(InputError, match=f"revision is {re.escape(repr(revision))}; accepted: a commit, tag"):
        from_pretrained("owner/name", revision=revision)


def test_home_of_nobody() -> None:
    with pytest.raises(InputError, match="no home folder"):
        from_pretrained("~no-such-user/model")
    with pytest.raises(InputError, match="no home folder"):
        save_pretrained(tiny(), "~no-such-user/model")


def test_a_folder_that_begins_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("~no-such-user").mkdir()
    model = fine_tuned()
    for source in ("~no-such-user", "~no-such-user/model"):
        save_pretrained(model, source)
        assert_same(from_pretrained(source), model)
        assert_same(from_pretrained(Path(source)), model)
        assert_same(parse(source).load(), model)


# --- the Hub -------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    from huggingface_hub import constants

    with HubServer(token="hf_right") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", "hf_right")
        # Read by the client when it is imported; a process of its own sets them by variables, see below.
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield server


@pytest.mark.parametrize("name", ["fine-tuned", "persons"])
def test_push_and_pull(hub: HubServer, name: str) -> None:
    model = fine_tuned() if name == "fine-tuned" else MODELS[name]()
    commit = push_to_hub(model, "someone/tiny")
    repository = hub.repositories["someone/tiny"]
    assert repository.refs["main"] == commit
    assert {"README.md", "config.json", "model.safetensors"} <= set(repository.commits[commit])
    card = repository.commits[commit]["README.md"]
    assert b'from_pretrained("someone/tiny")' in card
    assert (b"zoo.detect(model" if model.spec.roi else b"zoo.predict(model") in card
    assert_same(model, from_pretrained("someone/tiny"))
    assert hub.uploads, "the weights went through git-LFS"


def test_pinned_revision(hub: HubServer) -> None:
    first, second = tiny(), fine_tuned()
    commits = [push_to_hub(model, "someone/tiny") for model in (first, second)]
    hub.repositories["someone/tiny"].refs["v1"] = commits[0]
    assert commits[0] != commits[1]
    assert_same(first, from_pretrained("someone/tiny", revision=commits[0]))
    assert_same(first, from_pretrained("someone/tiny", revision="v1"))
    assert_same(second, from_pretrained("someone/tiny", revision=commits[1]))
    assert_same(second, from_pretrained("someone/tiny"))
    before = len(hub.requests)
    assert_same(first, from_pretrained("someone/tiny", revision=commits[0]))
    asked = hub.requests[before:]
    assert not any("resolve" in line for line in asked), "a commit in the cache is fetched again"
    with pytest.raises(DownloadError, match="'someone/tiny' has no revision 'v2'"):
        from_pretrained("someone/tiny", revision="v2")


def test_offline(hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = tiny()
    commit = push_to_hub(model, "someone/tiny")
    from_pretrained("someone/tiny")
    before = len(hub.requests)
    monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
    assert_same(model, from_pretrained("someone/tiny"))
    assert_same(model, from_pretrained("someone/tiny", revision=commit))
    for repo_id, revision in (("someone/other", None), ("someone/tiny", "v9")):
        with pytest.raises(OfflineError, match="not complete in the Hub's cache"):
            from_pretrained(repo_id, revision=revision)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my" / "model").mkdir(parents=True)
    (tmp_path / "my" / "best.pth").touch()
    for kind, name in (("folder", "my/model"), ("file", "my/best.pth")):
        with pytest.raises(
            OfflineError, match=rf"copy that cache\. The {kind} of that name is Path\('{name}'\)"
        ):
            from_pretrained(name)
    with pytest.raises(OfflineError, match="can't be written"):
        push_to_hub(model, "someone/tiny")
    assert len(hub.requests) == before


@pytest.mark.parametrize("offline", [False, True])
def test_a_download_that_was_interrupted_is_no_saved_folder(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, offline: bool
) -> None:
    from huggingface_hub import constants

    model = tiny()
    commit = push_to_hub(model, "someone/tiny")
    # As the client leaves it, before it knows which files there are.
    repository = tmp_path / "other" / "models--someone--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    save_pretrained(model, repository / "snapshots" / commit)
    (repository / "snapshots" / commit / "model.safetensors").unlink()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "other"))
    if offline:
        monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
        with pytest.raises(OfflineError, match="'someone/tiny' is not complete in the Hub's cache"):
            from_pretrained("someone/tiny")
        return
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"'someone/tiny' at http://127.0.0.1:9 failed: .*refused"):
        from_pretrained("someone/tiny")
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    assert_same(model, from_pretrained("someone/tiny"))


def damage_cached(folder: Path) -> Path:
    """Flips a bit of the weights in the Hub's cache; the folder of their repository."""
    (weights,) = folder.rglob("model.safetensors")
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.resolve().write_bytes(content)
    return weights.parents[2]


@pytest.mark.parametrize("pinned", [False, True])
def test_a_damaged_copy_in_the_hubs_cache_is_fetched_again(
    hub: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, pinned: bool
) -> None:
    model = tiny()
    commit = push_to_hub(model, "someone/tiny")
    revision = commit if pinned else None
    from_pretrained("someone/tiny", revision=revision)
    damage_cached(tmp_path / "hf")
    assert_same(model, from_pretrained("someone/tiny", revision=revision))
    assert "The copy of 'someone/tiny' in the Hub's cache can't be used: " in caplog.text
    before = len(hub.requests)
    assert_same(model, from_pretrained("someone/tiny", revision=revision))
    assert not any("resolve" in line for line in hub.requests[before:]), "the cache is mended"


@pytest.mark.parametrize("why", ["offline", "down"])
@pytest.mark.parametrize("pinned", [False, True])
def test_a_damaged_copy_that_no_hub_replaces_is_to_be_deleted(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pinned: bool, why: str
) -> None:
    model = tiny()
    commit = push_to_hub(model, "someone/tiny")
    revision = commit if pinned else None
    from_pretrained("someone/tiny", revision=revision)
    folder = damage_cached(tmp_path / "hf")
    with monkeypatch.context() as without:
        name, value = (
            ("SLOWFAST_ZOO_OFFLINE", "1") if why == "offline" else ("HF_ENDPOINT", "http://127.0.0.1:9")
        )
        without.setenv(name, value)
        without.setattr(time, "sleep", lambda seconds: None)  # between the client's attempts
        with pytest.raises(CheckpointError, match=f"delete '{re.escape(str(folder))}', and load it"):
            from_pretrained("someone/tiny", revision=revision)
    shutil.rmtree(folder)
    assert_same(model, from_pretrained("someone/tiny", revision=revision))


def test_a_file_that_is_damaged_on_the_hub_is_fetched_once(hub: HubServer) -> None:
    push_to_hub(tiny(), "someone/tiny")
    files = hub.repositories["someone/tiny"].commits[hub.repositories["someone/tiny"].refs["main"]]
    hub.repositories["someone/bad"] = Repository()
    hub.repositories["someone/bad"].commit({**files, "model.safetensors": files["model.safetensors"][:-100]})
    with pytest.raises(CheckpointError, match="damaged safetensors"):
        from_pretrained("someone/bad")
    fetched = [
        line for line in hub.requests if "GET" in line and "bad/resolve" in line and "safetensors" in line
    ]
    assert len(fetched) == 1


def test_hub_that_is_down_falls_back_to_its_cache(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny()
    push_to_hub(model, "someone/tiny")
    from_pretrained("someone/tiny")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert_same(model, from_pretrained("someone/tiny"))
    with pytest.raises(DownloadError, match=r"'someone/new' could not be fetched from http://127\.0\.0\.1:9"):
        from_pretrained("someone/new")
    with pytest.raises(DownloadError, match=r"'someone/new' at http://127\.0\.0\.1:9 failed"):
        push_to_hub(model, "someone/new")


def test_what_the_hub_refuses(hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="has no repository 'someone/none', or it is private"):
        from_pretrained("someone/none")
    with pytest.raises(DownloadError, match="weight tag goes to create_model"):
        from_pretrained("mmaction2/k400-256e-320p")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my" / "model").mkdir(parents=True)
    with pytest.raises(DownloadError, match=r"The folder of that name is Path\('my/model'\)"):
        from_pretrained("my/model")
    push_to_hub(tiny(), "someone/secret", private=True)
    assert hub.repositories["someone/secret"].private
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(DownloadError, match="has no repository 'someone/secret', or it is private"):
        from_pretrained("someone/secret")
    with pytest.raises(DownloadError, match=r"answered 401.*Check the token \(HF_TOKEN\)"):
        push_to_hub(tiny(), "someone/mine")
    with pytest.raises(InputError, match="named 'owner/name', got 'name'"):
        push_to_hub(tiny(), "name")


def test_secrets_of_an_endpoint_are_told_nobody(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for endpoint in (hub.url.replace("://", "://user:PASSWORD@"), "http://user:PASSWORD@127.0.0.1:9"):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        with pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:\d+") as caught:
            from_pretrained("someone/none")
        assert "PASSWORD" not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint", ["user:PASSWORD@hub", "http://user:PASSWORD", "http://user:PASS/WORD@hub"]
)
def test_a_malformed_endpoint_is_said_without_its_password(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(DownloadError, match=r"^'someone/none' .* (hub failed|http://user: .*): ") as caught:
        from_pretrained("someone/none")
    assert "PASS" not in str(caught.value)


def test_an_address_is_no_repository() -> None:
    with pytest.raises(InputError, match=r"from_pretrained\('https://b/m\.safe'\) is no path") as caught:
        from_pretrained("https://me:PASSWORD@b/m.safe?signature=PASSWORD")
    assert "PASSWORD" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks5://user:PASSWORD@127.0.0.1:9"),
        ("HTTP_PROXY", "http://user:PASS/WORD@127.0.0.1:9"),
        ("HF_ENDPOINT", "http://user:PASS/WORD@127.0.0.1:9"),
    ],
)
def test_settings_that_no_client_can_use(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    from huggingface_hub import close_session

    for other in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv(name, value)
    close_session()  # the client of earlier calls
    try:
        with pytest.raises(DownloadError, match=rf"as the environment says \(.*{name}.*\): ") as caught:
            from_pretrained("someone/none")
    finally:
        close_session()
    assert "PASS" not in str(caught.value)


def test_repository_of_another_library(hub: HubServer) -> None:
    repository = hub.repositories["someone/bert"] = Repository()
    repository.commit({"config.json": b'{"architectures": ["Bert"]}', "pytorch_model.bin": b"\x80"})
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        from_pretrained("someone/bert")
    repository.commit({"model.safetensors": b"\x02\0\0\0\0\0\0\0{}"})
    with pytest.raises(CheckpointError, match="wasn't written by save_pretrained"):
        from_pretrained("someone/bert")


def test_edited_cards_survive(hub: HubServer, tmp_path: Path) -> None:
    def card(commit: str) -> bytes:
        return hub.repositories["someone/tiny"].commits[commit]["README.md"]

    save_pretrained(tiny(), tmp_path, metrics={"top1": 1.0})
    first = card(push_folder(tmp_path, "someone/tiny"))
    assert first.decode() == model_card(read_config(tmp_path / "config.json"), '"someone/tiny"')
    hub.repositories["someone/tiny"].commit({"README.md": b"edited on the Hub"})
    assert card(push_folder(tmp_path, "someone/tiny")) == b"edited on the Hub"
    assert card(push_folder(tmp_path, "someone/tiny", replace_card=True)) == first
    (tmp_path / "README.md").write_text("edited in the folder", encoding="utf-8")
    assert card(push_folder(tmp_path, "someone/tiny", replace_card=True)) == b"edited in the folder"
    (tmp_path / "README.md").write_bytes(first.replace(b'"someone/tiny"', FOLDER_SOURCE.encode()))
    assert card(push_folder(tmp_path, "someone/tiny", replace_card=True)) == first
    of_windows = b"\xef\xbb\xbf" + (tmp_path / "README.md").read_bytes().replace(b"\n", b"\r\n")
    (tmp_path / "README.md").write_bytes(of_windows)
    assert card(push_folder(tmp_path, "someone/tiny", replace_card=True)) == first
    (tmp_path / "README.md").write_bytes("café".encode("latin-1"))
    with pytest.raises(InputError, match=r"README\.md' isn't UTF-8 text"):
        push_folder(tmp_path, "someone/tiny", replace_card=True)
    (tmp_path / "README.md").unlink()
    assert card(push_folder(tmp_path, "someone/tiny", replace_card=True)) == first


def test_folder_that_is_not_whole_is_not_pushed(hub: HubServer, tmp_path: Path) -> None:
    save_pretrained(tiny(), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        push_folder(tmp_path, "someone/tiny")
    assert not hub.repositories


CLIENT = """
import json, os, sys
import slowfast_zoo
model = slowfast_zoo.from_pretrained("someone/tiny", revision=sys.argv[1])
print(json.dumps([model.labels, model.classifier.weight.sum().item()]))
"""


def test_settings_of_the_real_client(tmp_path: Path) -> None:
    """In processes of their own: HF_ENDPOINT, HF_HOME and HF_TOKEN, then HF_HUB_OFFLINE with the Hub gone."""
    model = tiny()
    save_pretrained(model, tmp_path / "saved")
    expected = [list(LABELS), model.classifier.weight.sum().item()]
    env = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_right", "HF_HUB_DISABLE_XET": "1"}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}

    def client(**settings: str) -> Any:
        command = [sys.executable, "-c", CLIENT, commit]
        return json.loads(subprocess.check_output(command, env=env | settings, text=True))

    with HubServer(token="hf_right") as server:
        repository = server.repositories["someone/tiny"] = Repository(private=True)
        names = ("config.json", "model.safetensors")
        commit = repository.commit({name: (tmp_path / "saved" / name).read_bytes() for name in names})
        assert client(HF_ENDPOINT=server.url) == expected
        address = server.url
    assert client(HF_ENDPOINT=address, HF_HUB_OFFLINE="1") == expected
    assert (tmp_path / "home" / "hub" / "models--someone--tiny").is_dir()
