"""``slowfast-zoo predict``: tables, result files, resuming, exit status."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from support.movies import moving_pattern, write_video

from slowfast_zoo import ClipSpec, ModelSpec, SlowFast, save_pretrained
from slowfast_zoo.cli import main, models
from slowfast_zoo.errors import DownloadError

CLIP = ClipSpec(num_frames=8, frame_stride=2, size=40, crop=32, test_crop=40, clips=2, crops=3)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    model = SlowFast(ModelSpec(depth=14, base_width=8, alpha=4, num_frames=8, num_classes=3))
    model.clip_spec, model.labels = CLIP, ("walk", "run, fast", "jump")
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_pretrained(model, folder)
    return folder


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    (folder / "inside").mkdir(parents=True)
    for name in ("a.mkv", "b|ü.mkv", "inside/c.mkv"):
        write_video(folder / name, moving_pattern(20))
    (folder / "broken.mp4").write_bytes(b"nothing that decodes" * 20)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments)])


def test_one_video_is_a_block_with_bars(saved: Path, videos: Path) -> None:
    result = run(videos / "a.mkv", "--model", saved, "--topk", 2)
    assert result.exit_code == 0, result.output
    first, *rows = result.output.splitlines()
    assert first == f"{videos / 'a.mkv'}  (1 clip x 1 crop, 0.1-0.6 s)"
    assert len(rows) == 2
    assert all("%" in row for row in rows)


def test_many_videos_are_a_line_each_and_a_failure_sets_the_status(saved: Path, videos: Path) -> None:
    result = run(videos, "--model", saved)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr.startswith("failed  ")
    assert "broken.mp4" in result.stderr
    (videos / "broken.mp4").unlink()
    result = run(videos, videos / "a.mkv", "--recursive", "--model", saved)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 3, "a video that is named twice is predicted once"


@pytest.mark.parametrize("form", ["jsonl", "csv", "json"])
def test_result_files(saved: Path, videos: Path, tmp_path: Path, form: str) -> None:
    out = tmp_path / f"results.{form}"
    result = run(videos, "--model", saved, "--out", out, "--views", "2x3")
    assert result.exit_code == 1
    rows = read(out)
    assert [Path(row["source"]).name for row in rows] == ["a.mkv", "broken.mp4", "b|ü.mkv"]
    assert "broken.mp4" in rows[1]["error"]
    assert run(videos, "--model", saved, "--format", form).stdout.count("a.mkv") == 1
    again = run(videos, "--model", saved, "--out", out)
    assert again.exit_code == 1
    assert "exists; give --resume" in again.output


def read(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        return list(csv.DictReader(text.splitlines()))
    return json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_resume_removes_a_torn_row_and_adds_what_is_missing(
    saved: Path, videos: Path, tmp_path: Path, form: str
) -> None:
    out = tmp_path / f"results.{form}"
    run(videos, "--model", saved, "--out", out)
    whole = out.read_text(encoding="utf-8")
    lines = whole.splitlines(keepends=True)
    for kept in range(len(whole.encode())):
        if kept % 37:
            continue
        out.write_bytes(whole.encode()[:kept])
        run(videos, "--model", saved, "--out", out, "--resume")
        assert out.read_text(encoding="utf-8") == whole
    assert len(lines) == 3 + (form == "csv")
    result = run(videos, "--model", saved, "--out", out, "--resume")
    assert "Nothing to do" in result.stderr


def test_killed_half_way_and_resumed_every_video_has_one_row(saved: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "many", tmp_path / "results.jsonl"
    folder.mkdir()
    original = write_video(folder / "000.mkv", moving_pattern(20))
    for index in range(1, 200):
        path = folder / f"{index:03}.mkv"
        if index % 12 == 5:
            path.write_bytes(original.read_bytes()[: index * 2])
        else:
            path.hardlink_to(original)
    broken = len(range(5, 200, 12))
    assert broken == 17
    arguments = [sys.executable, "-m", "slowfast_zoo", "predict", folder, "--model", saved, "--out", out]
    process = subprocess.Popen([str(a) for a in arguments], stderr=subprocess.DEVNULL, env=os.environ.copy())
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and (not out.exists() or out.read_bytes().count(b"\n") < 60):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = out.read_bytes().count(b"\n")
    assert 60 <= done < 200, "the process was not killed half way"
    assert run(folder, "--model", saved, "--out", out, "--resume").exit_code == 1
    rows = read(out)
    assert len(rows) == 200
    assert len({row["source"] for row in rows}) == 200
    assert sum(row["error"] is not None for row in rows) == broken


def test_without_weights_the_way_out_is_said(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
    result = run(videos / "a.mkv")
    assert result.exit_code == 1
    assert "slowfast_r50_4x16x1" in result.output
    assert "https://" in result.output
    assert "'--model slowfast_tiny' names the motion of the camera" in result.output
    with pytest.raises(DownloadError) as error:
        models.resolve("slowfast_r50_8x8x1")
    assert "slowfast_tiny" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--out", "x.txt"], 1, "end it in .jsonl, .csv or .json"),
        (["--resume"], 1, "--resume needs --out with rows"),
        (["--out", "nowhere/x.csv"], 2, "there is no folder"),
        (["--model", "slowfast_r50"], 1, "Did you mean"),
        (["--views", "10*3"], 2, "'10*3' is neither quick nor published nor CLIPSxCROPS, such as 10x3"),
        (["--engine", "opnvino"], 2, "'opnvino' is not one of 'auto', 'eager'"),
        (["--precision", "float17"], 2, "'float17' is not one of"),
        (["--topk", "0"], 2, "0 is not in the range"),
        (["--fps", "-1"], 2, "-1.0 is not in the range"),
    ],
)
def test_mistakes_are_one_sentence(
    videos: Path, saved: Path, arguments: list[str], status: int, says: str
) -> None:
    if "--model" not in arguments:
        arguments = [*arguments, "--model", str(saved)]
    result = run(videos / "a.mkv", *arguments)
    assert result.exit_code == status
    assert says in result.output
    assert "Traceback" not in result.output


def test_a_foreign_file_is_not_resumed(videos: Path, saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "other.jsonl"
    out.write_text("my notes\n")
    result = run(videos, "--model", saved, "--out", out, "--resume")
    assert result.exit_code == 1
    assert "holds no predictions to go on with" in result.output
    assert out.read_text() == "my notes\n"
