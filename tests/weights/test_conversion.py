"""Converted copies of publishers' files: made once, whole or not at all."""

from __future__ import annotations

import pytest
from support.publisher_files import SPEC, WRITERS, assert_same_state, trained

from slowfast_zoo.weights.checkpoint.loading import build
from slowfast_zoo.weights.checkpoint.reading import read_checkpoint
from slowfast_zoo.weights.saved import conversion
from slowfast_zoo.weights.saved.conversion import cached_conversion, save_canonical

SHA256 = "ab" * 32


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "publisher.pth"
    WRITERS["openmmlab-2021"][0](path, trained().state_dict(), SPEC)
    return path


def test_the_second_start_does_not_read_the_publishers_file(source, monkeypatch):
    copy = cached_conversion(source, SPEC, sha256=SHA256)
    assert copy.parent == source.parent / "converted"
    first = copy.read_bytes()
    monkeypatch.setattr(conversion, "read_canonical", None)  # calling it would fail
    assert cached_conversion(source, SPEC, sha256=SHA256) == copy
    assert_same_state(build(SPEC, read_checkpoint(copy)), trained().state_dict())
    monkeypatch.undo()
    copy.unlink()
    assert cached_conversion(source, SPEC, sha256=SHA256).read_bytes() == first
    assert cached_conversion(source, SPEC, sha256="cd" * 32) != copy


@pytest.mark.parametrize("damage", ["truncated", "empty", "other network", "symlink"])
def test_a_damaged_copy_is_made_again(source, damage, tmp_path):
    copy = cached_conversion(source, SPEC, sha256=SHA256)
    whole = copy.read_bytes()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    if damage == "truncated":
        copy.write_bytes(whole[:-100])
    elif damage == "empty":
        copy.write_bytes(b"")
    elif damage == "other network":
        save_canonical(copy, trained(SPEC.replace(base_width=8)))
    else:
        copy.unlink()
        copy.symlink_to(elsewhere)
    assert cached_conversion(source, SPEC, sha256=SHA256) == copy
    assert copy.read_bytes() == whole
    assert not copy.is_symlink()
    assert elsewhere.read_bytes() == b"precious"


def test_without_a_place_for_the_copy_the_source_is_loaded(source, caplog):
    (source.parent / "converted").write_text("in the way")
    assert cached_conversion(source, SPEC, sha256=SHA256) == source
    assert "No converted copy" in caplog.text


def test_a_failed_write_leaves_nothing(source, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(conversion.os, "fsync", full)
    assert cached_conversion(source, SPEC, sha256=SHA256) == source
    assert list((source.parent / "converted").iterdir()) == []


def test_save_canonical_comes_back_unchanged(tmp_path):
    model = trained()
    save_canonical(tmp_path / "a.safetensors", model)
    again = build(SPEC, read_checkpoint(tmp_path / "a.safetensors"))
    assert_same_state(again, model.state_dict())
    save_canonical(tmp_path / "b.safetensors", again)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_model_does_not_change_with_the_file_that_it_came_from(tmp_path):
    path = tmp_path / "a.safetensors"
    save_canonical(path, trained())
    model = build(SPEC, read_checkpoint(path))
    with path.open("r+b") as file:
        file.seek(-4096, 2)
        file.write(bytes(4096))
    assert_same_state(model, trained().state_dict())
