"""The benchmark without a network: what it scores, and what it leaves out, on sets made here."""

from __future__ import annotations

import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.movies import moving_pattern, write_video

ROOT = Path(__file__).parents[2]


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """Lines that it prints."""
    path = ROOT / "benchmarks" / "accuracy" / "frame_differences.py"
    monkeypatch.setattr(sys, "argv", [str(path), *arguments])
    runpy.run_path(str(path), run_name="__main__")
    return capsys.readouterr().out.splitlines()


def broken_off(path: Path) -> None:
    """A film whose packets promise one frame more than decode."""
    import av

    write_video(path, moving_pattern(40, 48, 64), codec="mpeg4", pixels="yuv420p")
    with av.open(str(path)) as container:
        place = [packet.pos for packet in container.demux(video=0) if packet.size][20]
    content = bytearray(path.read_bytes())
    content[place : place + 16] = bytes(16)
    path.write_bytes(content)


def test_damaged_clips_and_copies_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for label, change in (("still", 1), ("wild", 200)):
            (tmp_path / part / label).mkdir(parents=True)
            for number in range(3):
                frames = rng.integers(0, change + 1, (9, 64, 64, 3)).astype(np.uint8)
                np.save(tmp_path / part / label / f"{number}.npy", frames)
    wild = tmp_path / "test" / "wild"
    shutil.copy(wild / "0.npy", wild / "again.npy")
    broken_off(tmp_path / "train" / "wild" / "broken.avi")
    (wild / "pictures").mkdir()
    for number in range(3):
        Image.new("RGB", (64, 64)).save(wild / "pictures" / f"{number}.png")
    (wild / "pictures" / "2.png").write_bytes((wild / "pictures" / "2.png").read_bytes()[:60])
    unreadable, copies, score = told(monkeypatch, capsys, str(tmp_path))
    assert unreadable.startswith("Left out, as it can't be read: ") and "2.png" in unreadable
    assert copies == "Left out copies of clips that are there already: 1."
    assert score.startswith("100.0% of 6 clips right (95 % interval ")
    (folded,) = told(monkeypatch, capsys, str(tmp_path / "train"), "--folds", "3")
    assert " of 7 clips right" in folded


def test_no_clip_to_score_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "still").mkdir()
    (tmp_path / "still" / "bad.mp4").write_bytes(b"no")
    with pytest.raises(SystemExit, match=r"No clip is left to score\."):
        told(monkeypatch, capsys, str(tmp_path))
