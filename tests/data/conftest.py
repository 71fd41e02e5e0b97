"""Folders of clips for several files of tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.movies import moving_pattern, write_video


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Training and validation folders with one of every fault."""
    frames = {seed: moving_pattern(20, 48, 64, seed) for seed in range(6)}
    for name in ("train/a/x1", "train/a/x2", "train/b/y1", "val/a/x3"):
        path = tmp_path / f"{name}.mkv"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, frames[int(name[-1])])
    shutil.copy(tmp_path / "train/a/x1.mkv", tmp_path / "train/a/again.mkv")
    shutil.copy(tmp_path / "train/a/x2.mkv", tmp_path / "train/b/other class.mkv")
    shutil.copy(tmp_path / "train/b/y1.mkv", tmp_path / "val/a/leaked.mkv")
    (tmp_path / "train/b/empty.mp4").write_bytes(b"")
    (tmp_path / "val/a/cut.mkv").write_bytes((tmp_path / "val/a/x3.mkv").read_bytes()[:200])
    write_video(tmp_path / "train/a/short.mkv", frames[4][:6])
    (tmp_path / "val/b").mkdir()
    write_video(tmp_path / "train/b/-abcdefghij_000001_000011.mkv", frames[5])
    write_video(tmp_path / "val/a/-abcdefghij_000021_000031.mkv", frames[0])
    return tmp_path
