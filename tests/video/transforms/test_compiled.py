"""The library of the compiled resize: built, found, missing, damaged; test_resize compares its bytes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hatch_build
from slowfast_zoo.video.transforms import compiled
from slowfast_zoo.video.transforms.resize import resize_bytes


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """resize.c in a folder where nothing is built yet."""
    path = tmp_path / "resize.c"
    path.write_bytes(compiled.SOURCE.read_bytes())
    monkeypatch.setattr(compiled, "SOURCE", path)
    compiled.library.cache_clear()
    yield path
    compiled.library.cache_clear()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows takes the pure wheel")
def test_what_was_built_is_found_until_the_source_changes(source: Path) -> None:
    assert compiled.library() is None
    assert hatch_build.build(source, compiled.library_path())
    compiled.library.cache_clear()
    assert compiled.library() is not None
    source.write_bytes(source.read_bytes() + b"\n")
    compiled.library.cache_clear()
    assert compiled.library() is None


@pytest.mark.parametrize("content", [b"", b"no library"])
def test_numpy_resizes_where_the_library_is_damaged(source: Path, content: bytes) -> None:
    compiled.library_path().write_bytes(content)
    assert compiled.library() is None
    assert resize_bytes(np.full((8, 8, 3), 77, np.uint8), 4, 4).tolist() == [[[77] * 4] * 3] * 4


@pytest.mark.parametrize("compiler", ["false", "true", "no-such-compiler", "cc --no-such-option", "cc '"])
def test_a_compiler_that_fails_leaves_nothing(
    source: Path, monkeypatch: pytest.MonkeyPatch, compiler: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    assert not hatch_build.build(source, compiled.library_path())
    assert list(source.parent.iterdir()) == [source]


def test_a_folder_that_is_not_there_is_no_error(source: Path) -> None:
    assert not hatch_build.build(source, source.parent / "absent" / "library")
