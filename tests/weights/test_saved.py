"""One saved format: whatever wrote a model, every public way of reading gives the same one back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.publisher_files import write_file

from slowfast_zoo import ClipSpec, SlowFast, create_model, from_pretrained, save_pretrained
from slowfast_zoo.errors import CheckpointError
from slowfast_zoo.naming import parse
from slowfast_zoo.training.state import save_weights
from slowfast_zoo.weights import catalog
from slowfast_zoo.weights.catalog.own import TINY_MODEL_SPEC
from slowfast_zoo.weights.saved import config as config_module
from slowfast_zoo.weights.saved.config import SavedConfig, after_training
from slowfast_zoo.weights.saved.file import converted

CLIP = ClipSpec(
    num_frames=8,
    time_base="fps-scaled",
    fps=12,
    size=96,
    crop=96,
    test_crop=96,
    mean=(1, 2, 3),
    std=(4, 5, 6),
)


def trained() -> SlowFast:
    """Nothing of it is what a row of the catalog says."""
    model = SlowFast(TINY_MODEL_SPEC.replace(alpha=2, num_classes=3))
    model.clip_spec, model.labels = CLIP, ["a", "b", "c"]
    model.provenance = {"model": "slowfast_tiny"}
    return model.eval()


def _saved_folder(model: SlowFast, folder: Path) -> Path:
    save_pretrained(model, folder / "saved")
    return folder / "saved"


def _training(model: SlowFast, folder: Path) -> Path:
    save_weights(model, folder / "best.safetensors", {"metrics": {"top1_acc": 0.5}})
    return folder / "best.safetensors"


def _weights_of_folder(model: SlowFast, folder: Path) -> Path:
    return _saved_folder(model, folder) / "model.safetensors"


def _file(model: SlowFast, folder: Path) -> Path:
    write_file(folder / "file.safetensors", model)
    return folder / "file.safetensors"


def _converted(model: SlowFast, folder: Path) -> Path:
    torch.save(model.state_dict(), folder / "theirs.pth")
    converted(folder / "theirs.pth", SavedConfig.of(model), sha256="ab" * 32, dialect=None)
    (copy,) = (folder / "converted").iterdir()
    return copy


WRITERS: dict[str, Callable[[SlowFast, Path], Path]] = {
    "folder": _saved_folder,
    "weights of a folder": _weights_of_folder,
    "training": _training,
    "file": _file,
    "converted": _converted,
}
READERS: dict[str, Callable[[Path], SlowFast]] = {
    "from_pretrained": from_pretrained,
    "from_pretrained of a str": lambda path: from_pretrained(str(path)),
    "create_model": lambda path: create_model(
        "slowfast_tiny", weights=path / "model.safetensors" if path.is_dir() else path
    ),
    "command line": lambda path: parse(str(path)).load(),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_with_every_reader(writer: str, reader: str, tmp_path: Path) -> None:
    model = trained()
    path = WRITERS[writer](model, tmp_path)
    loaded = READERS[reader](path)
    assert (loaded.spec, loaded.clip_spec, loaded.labels) == (model.spec, CLIP, ("a", "b", "c"))
    assert not loaded.training
    clip = torch.randn(1, 3, 8, 64, 64)
    assert torch.equal(loaded(clip), model(clip))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("writer", WRITERS)
def test_a_newer_format_is_refused_everywhere(
    writer: str, reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(config_module, "FORMAT_VERSION", 7)
        path = WRITERS[writer](trained(), tmp_path)
    with pytest.raises(
        CheckpointError, match=r"has format 7, written by slowfast_zoo .* reads formats up to 1"
    ):
        READERS[reader](path)


@pytest.mark.parametrize("writer", sorted(set(WRITERS) - {"folder"}))
def test_a_damaged_file_is_refused(writer: str, tmp_path: Path) -> None:
    path = WRITERS[writer](trained(), tmp_path)
    content = bytearray(path.read_bytes())
    content[-8192:-4096] = bytes(4096)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged"):
        from_pretrained(path)


@pytest.mark.parametrize("written", ["slowfast_tiny", '"fps\\": 12', '"a\\"', "top1_acc", "0.5"])
def test_one_changed_bit_of_the_record_is_noticed(written: str, tmp_path: Path) -> None:
    save_pretrained(trained(), tmp_path, metrics={"top1_acc": 0.5})
    for path, end in (
        (tmp_path / "model.safetensors", written),
        (tmp_path / "config.json", written.replace("\\", "")),
    ):
        content = bytearray(path.read_bytes())
        content[content.index(end.encode()) + len(end.rstrip('\\"')) - 1] ^= 1
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="its config isn't what was written"):
            from_pretrained(path if path.suffix == ".safetensors" else tmp_path)


def test_a_config_without_its_checksum_may_be_edited(tmp_path: Path) -> None:
    save_pretrained(trained(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    del config["record_checksum"]
    (tmp_path / "config.json").write_text(json.dumps(config | {"labels": ["x", "y", "z"]}), encoding="utf-8")
    assert from_pretrained(tmp_path).labels == ("x", "y", "z")


def test_a_folders_config_is_the_header_of_its_weights(tmp_path: Path) -> None:
    folder = _saved_folder(trained(), tmp_path)
    content = (folder / "model.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["__metadata__"]["slowfast_zoo"] == (folder / "config.json").read_text(encoding="utf-8")


def test_the_embedded_file_says_what_it_is() -> None:
    path = Path(catalog.__file__).parent / "embedded" / "slowfast_tiny.safetensors"
    loaded, model = from_pretrained(path), create_model("slowfast_tiny", pretrained=True)
    assert (loaded.spec, loaded.clip_spec, loaded.labels) == (model.spec, model.clip_spec, model.labels)
    clip = torch.randn(1, 3, 8, 64, 64)
    assert torch.equal(loaded(clip), model(clip))


def test_a_fresh_classifier_is_not_called_published(tmp_path: Path) -> None:
    published = create_model("slowfast_tiny", pretrained=True)
    facts = {key: fact for key, fact in published.provenance.items() if fact is not None}
    start = {key: facts.pop(key) for key in [*facts] if key not in ("model", "license")}
    assert start["verified"] is True
    for model in (
        create_model("slowfast_tiny", pretrained=True, labels=["x", "y"]),
        create_model("slowfast_tiny", pretrained=True, num_classes=published.num_classes),
    ):
        save_pretrained(model, tmp_path)
        saved = from_pretrained(tmp_path)
        assert saved.provenance == facts | {"initialized_from": start}
        card = (tmp_path / "README.md").read_text(encoding="utf-8")
        assert "verified" not in card and start["sha256"] not in card
        assert "| initialized from | camera-motion |" in card
        saved.reset_classifier(3)
        assert saved.provenance == facts | {"initialized_from": start}, "nested once"
        training = after_training(saved.provenance, {"epochs": 1})
        assert training == facts | {"initialized_from": start, "training": {"epochs": 1}}
    pathways = create_model("slowfast_tiny", pretrained=True, num_classes=0)
    assert pathways.provenance == published.provenance
    pathways.reset_classifier(2)
    assert pathways.provenance == facts | {"initialized_from": start}
    published.reset_classifier(2)
    assert published.provenance == facts | {"initialized_from": start}


def test_what_was_trained_on_is_not_called_published(tmp_path: Path) -> None:
    model = create_model("slowfast_tiny", pretrained=True)
    start = {key: value for key, value in model.provenance.items() if key not in ("model", "license")}
    save_weights(model, tmp_path / "best.safetensors", {"epochs": 1})
    after = from_pretrained(tmp_path / "best.safetensors").provenance
    assert after["model"] == "slowfast_tiny" and "tag" not in after and "sha256" not in after
    assert after["initialized_from"] == {key: value for key, value in start.items() if value is not None}
    assert after["training"] == {"epochs": 1}


def test_trainings_upon_trainings_say_the_latest_and_the_first(tmp_path: Path) -> None:
    model = trained()
    model.provenance = {"model": "its name", "license": "MIT", "tag": "published"}
    for number in range(700):
        model.provenance = after_training(model.provenance, {"number": number})
    save_pretrained(model, tmp_path)
    origin: Any = from_pretrained(tmp_path).provenance
    assert (origin["model"], origin["license"]) == ("its name", "MIT")
    told = []
    while "initialized_from" in origin:
        origin = origin["initialized_from"]
        told.append({name: fact for name, fact in origin.items() if name != "initialized_from"})
    latest = [{"training": {"number": number}} for number in range(698, 684, -1)]
    gap = {"left_out": "the trainings between this one and the first weights"}
    assert told == [*latest, gap, {"tag": "published"}]


def test_what_a_file_says_of_its_training_is_still_said_of_adapted_stems(tmp_path: Path) -> None:
    model = trained()
    start = {"tag": "camera-motion"}
    model.provenance |= {"initialized_from": start, "training": {"metrics": {"top1_acc": 0.5}}}
    save_pretrained(model, tmp_path)
    made = [
        create_model(
            "slowfast_tiny", weights=tmp_path / "model.safetensors", num_classes=4, in_channels=channels
        )
        for channels in (3, 4)
    ]
    assert made[1].provenance == made[0].provenance
    assert made[1].provenance["initialized_from"] == start and "pretraining" in made[1].provenance
