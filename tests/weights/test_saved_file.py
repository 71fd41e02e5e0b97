"""Converted copies of publishers' files: made once, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.publisher_files import SPEC, WRITERS, assert_same_state, trained, write_file

from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.weights.saved.config import SavedConfig
from slowfast_zoo.weights.saved.file import LocalWeights, converted, read_file

SHA256 = "ab" * 32
CONFIG = SavedConfig(
    model_spec=SPEC, clip_spec=ClipSpec(num_frames=SPEC.num_frames), labels=None, provenance={"model": "its"}
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "publisher.pth"
    WRITERS["openmmlab-2021"][0](path, trained().state_dict(), SPEC)
    return path


def convert(path: Path, sha256: str = SHA256) -> LocalWeights:
    return converted(path, CONFIG, sha256=sha256, dialect="openmmlab")


def copy_of(source: Path) -> Path:
    (copy,) = (source.parent / "converted").iterdir()
    return copy


def test_the_second_start_does_not_read_the_publishers_file(source: Path) -> None:
    assert_same_state(convert(source).build(), trained().state_dict())
    copy = copy_of(source)
    first = copy.read_bytes()
    whole = source.read_bytes()
    source.write_bytes(b"reading it would fail")
    again = convert(source)
    assert again.path == copy
    assert_same_state(again.build(), trained().state_dict())
    source.write_bytes(whole)
    copy.unlink()
    convert(source)
    assert copy.read_bytes() == first
    assert convert(source, "cd" * 32).path == source, "another file is another copy"
    assert_same_state(read_file(copy), trained().state_dict())
    assert read_file(copy).provenance == {"model": "its"}


@pytest.mark.parametrize("damage", ["truncated", "empty", "other network", "symlink", "zeros"])
def test_a_damaged_copy_is_made_again(source: Path, damage: str, tmp_path: Path) -> None:
    convert(source)
    copy = copy_of(source)
    whole = copy.read_bytes()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    if damage == "truncated":
        copy.write_bytes(whole[:-100])
    elif damage == "empty":
        copy.write_bytes(b"")
    elif damage == "other network":
        write_file(copy, trained(SPEC.replace(base_width=8)))
    elif damage == "zeros":
        copy.write_bytes(whole[:-8192] + bytes(4096) + whole[-4096:])
    else:
        copy.unlink()
        copy.symlink_to(elsewhere)
    assert_same_state(convert(source).build(), trained().state_dict())
    assert copy.read_bytes() == whole
    assert not copy.is_symlink()
    assert elsewhere.read_bytes() == b"precious"


def test_without_a_place_for_the_copy_the_source_is_loaded(
    source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (source.parent / "converted").write_text("in the way")
    assert_same_state(convert(source).build(), trained().state_dict())
    assert "No converted copy" in caplog.text


def test_a_saved_file_comes_back_unchanged(tmp_path: Path) -> None:
    model = trained()
    write_file(tmp_path / "a.safetensors", model)
    again = read_file(tmp_path / "a.safetensors")
    assert_same_state(again, model.state_dict())
    write_file(tmp_path / "b.safetensors", again)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_model_does_not_change_with_the_file_that_it_came_from(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_file(path, trained())
    model: SlowFast = read_file(path)
    with path.open("r+b") as file:
        file.seek(-4096, 2)
        file.write(bytes(4096))
    assert_same_state(model, trained().state_dict())
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())
