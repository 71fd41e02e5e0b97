"""``slowfast-zoo timeline`` and ``test-segments``: files that survive whatever ends the run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.movies import moving_pattern, write_video

from slowfast_zoo.cli import main
from slowfast_zoo.cli.videos.time import LEDGER


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def timeline(*arguments: object) -> Result:
    return run("timeline", *arguments, "--model", "slowfast_tiny", "--hop", "0.5", "--enter", "0.01")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "a.mkv", moving_pattern(75, seed=1))
    write_video(folder / "b.mkv", moving_pattern(60, seed=2))
    (folder / "sub").mkdir()
    write_video(folder / "sub" / "a.mkv", moving_pattern(48, seed=3))
    return folder


def test_a_table_and_text_on_standard_output(videos: Path) -> None:
    result = timeline(videos / "a.mkv")
    assert result.exit_code == 0, result.output
    assert "(2.5 s, 3 windows)" in result.output and " - 0:00:02.50" in result.output
    assert timeline(videos / "a.mkv", "--format", "vtt").output.startswith("WEBVTT\n\n00:00:00.000 --> ")
    result = run("timeline", videos / "a.mkv", "--model", "slowfast_tiny", "--enter", "1")
    assert "nothing reaches --enter" in result.output


def test_one_video_one_file(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "x.srt"
    assert timeline(videos / "a.mkv", "--out", out).stderr == f"Wrote {out}\n"
    text = out.read_text()
    assert " --> 00:00:02,500\n" in text
    result = timeline(videos / "b.mkv", "--out", out)
    assert result.exit_code == 1 and "x.srt' exists; give --resume to leave it" in result.output
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert timeline(videos / "b.mkv", "--out=~/x.srt").output == result.output
    result = timeline(videos / "a.mkv", "--out", out, "--resume")
    assert result.exit_code == 0 and "Nothing to do" in result.output and out.read_text() == text


def test_many_videos_a_folder_that_is_gone_on_with(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "broken.mkv").write_bytes(b"no video")
    many = (videos, tmp_path / "broken.mkv", "-r", "--out", out)
    result = timeline(*many)
    assert result.exit_code == 1 and "give --format as well" in result.output and not out.exists()
    result = timeline(*many, "--format", "csv")
    assert result.exit_code == 1 and "3 answered, 1 failed" in result.output
    rows = [json.loads(line) for line in (out / LEDGER).read_text().splitlines()]
    files = [row["file"] for row in rows]
    assert files[:2] == ["a.csv", "b.csv"] and files[2].startswith("a-") and files[3] is None
    assert "can't be opened" in rows[3]["error"]
    for row in rows[:3]:
        assert row["source"] in (out / row["file"]).read_text()
    result = timeline(*many, "--format", "csv")
    assert result.exit_code == 1 and "exists; give --resume" in result.output
    write_video(tmp_path / "broken.mkv", moving_pattern(30))
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.csv")}
    result = timeline(*many, "--format", "csv", "--resume")
    assert result.exit_code == 0 and "1 answered, 0 failed, answered before: 3" in result.output
    assert all((out / name).stat().st_mtime_ns == moment for name, moment in before.items())
    assert len((out / LEDGER).read_text().splitlines()) == 4
    result = timeline(*many, "--format", "srt", "--resume")
    assert result.exit_code == 1 and "was made with format csv" in result.output


WAITING = """
import time
from slowfast_zoo.cli import main
from slowfast_zoo.runtime.progress import Progress

step = Progress.step

def waiting(self, *arguments):
    step(self, *arguments)
    if self._title.startswith("2 of 3") and self._done == 5:
        print("at the fifth window of the second video", flush=True)
        time.sleep(600)

Progress.step = waiting
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    for name in "abc":
        write_video(tmp_path / f"{name}.mkv", moving_pattern(300, seed=ord(name)))
    out = tmp_path / "out"
    command = [sys.executable, "-c", WAITING, "timeline", str(tmp_path), "--model", "slowfast_tiny"]
    command += ["--hop", "0.04", "--out", str(out), "--format", "json"]
    # A shell in the background leaves SIGINT ignored, and so would its children.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert process.stdout and process.stdout.readline().startswith("at the fifth window")
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "--resume goes on" in told
    done = json.loads((out / "a.json").read_text())
    assert done["complete"] and len(done["windows"]) > 100
    (partial,) = out.glob("*.partial.json")
    begun = json.loads(partial.read_text())
    assert partial.name == "b.partial.json" and not begun["complete"] and len(begun["windows"]) == 5
    rows = [json.loads(line) for line in (out / LEDGER).read_text().splitlines()]
    assert [row["file"] for row in rows] == ["a.json"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--hop", "0"), "0<x|0.0 is not in the range x>0"),
        (("--enter", "0.4", "--leave", "0.5"), "leave is 0.5 and enter 0.4"),
        (("--start", "5", "--end", "4"), "end_seconds is 4 and start_seconds 5"),
        (("--start", "99"), "has no frames: the video has 75 frames"),
        (("--label", "pan lefft"), "The model has no class 'pan lefft'. Did you mean 'pan left'"),
        (("--views", "2x1"), "a window is as long as one: give --window for longer"),
        (("--out", "none/x.srt"), "none/x.srt' can't be written: No such file or directory"),
        pytest.param(
            *(("--out", "/proc/x.srt"), "/proc/x.srt' can't be written"),
            marks=pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc"),
        ),
        (("--out", "x.doc"), "doesn't say which format"),
        (("--format", "png"), "A picture needs --out"),
        (("--resume",), "--resume needs --out"),
    ],
)
def test_bad_input_gets_one_sentence(videos: Path, arguments: tuple[str, ...], sentence: str) -> None:
    result = run("timeline", videos / "a.mkv", "--model", "slowfast_tiny", *arguments)
    assert result.exit_code in (1, 2), result.output
    assert any(part in result.output.replace("\n", " ") for part in sentence.split("|")), result.output
    assert "Traceback" not in result.output


def test_segments_are_scored(videos: Path, tmp_path: Path) -> None:
    assert timeline(videos, "--out", tmp_path, "--format", "activitynet").exit_code == 0
    told = json.loads((tmp_path / "a.json").read_text())["results"]["a"]
    truth = tmp_path / "truth.txt"
    annotated = [{"label": row["label"], "segment": row["segment"]} for row in told]
    truth.write_text(json.dumps({"database": {"a": {"subset": "test", "annotations": annotated}}}))
    result = run("test-segments", tmp_path / "a.json", truth, "--iou", "0.5", "--iou", "1")
    assert result.exit_code == 0, result.output
    assert "mAP at IoU 1.00: 1.0000\naverage mAP: 1.0000" in result.output
    result = run("test-segments", tmp_path / "a.json", truth, "--subset", "test", "--json")
    assert json.loads(result.output)["average_map"] == 1.0
    result = run("test-segments", truth, truth)
    assert result.exit_code == 1 and "it has no 'results'" in result.output


def test_settings_that_can_not_be_are_no_videos_fault(videos: Path, tmp_path: Path) -> None:
    wrong = ("--engine", "onnxruntime", "--precision", "bfloat16")
    result = timeline(videos, "--out", tmp_path / "out", "--format", "csv", *wrong)
    assert result.exit_code == 1 and result.output.count("onnxruntime") == 1, result.output
    assert not (tmp_path / "out" / LEDGER).read_text()
