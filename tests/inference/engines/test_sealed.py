"""Inductor's files on disk: what is damaged, or was written by a killed process, is gone before it looks."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from slowfast_zoo.inference.engines import artifacts
from slowfast_zoo.inference.engines.torch_compile.sealed import sealed


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLOWFAST_ZOO_CACHE", str(tmp_path))
    own = artifacts.engine_folder()
    assert own == tmp_path / "engines"
    return own / "inductor"


def write(folder: Path, **contents: str) -> None:
    for name, content in contents.items():
        (folder / name[:2]).mkdir(parents=True, exist_ok=True)
        (folder / name[:2] / f"{name}.so").write_text(content)


def names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.rglob("*.so"))


def test_only_whole_files_stay(folder: Path) -> None:
    with sealed(folder):
        write(folder, abwhole="1", abzeroed="2", cdempty="3")
    write(folder, abzeroed="\0", cdempty="", cdnew="half")
    (folder / "locks").mkdir()
    (folder / "locks" / "lock.so").write_text("")
    with sealed(folder):
        assert names(folder) == ["abwhole", "lock"]
        write(folder, cdempty="3")
    with sealed(folder):
        assert names(folder) == ["abwhole", "cdempty", "lock"]


def test_what_an_interrupted_block_wrote_is_not_trusted(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), sealed(folder):
        write(folder, abhalf="1")
        raise KeyboardInterrupt
    with sealed(folder):
        assert names(folder) == []


def test_a_lost_or_broken_list_costs_a_compilation_and_no_more(folder: Path) -> None:
    with sealed(folder):
        write(folder, abwhole="1")
    (folder.parent / "inductor.sealed").write_bytes(b"no")
    with sealed(folder):
        assert names(folder) == []
        write(folder, abwhole="1")
    with sealed(folder):
        assert names(folder) == ["abwhole"]


def _compile(folder: Path, name: str) -> None:
    with sealed(folder):
        write(folder, **{name: "half"})
        write(folder, **{name: "whole"})


def test_processes_compile_one_after_the_other(folder: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    children = [spawn.Process(target=_compile, args=(folder, f"ab{number}")) for number in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    with sealed(folder):
        assert names(folder) == ["ab0", "ab1", "ab2"]
