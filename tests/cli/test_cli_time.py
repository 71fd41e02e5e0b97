"""``slowfast-zoo timeline`` and ``test-segments``: files that survive whatever ends the run."""

from __future__ import annotations

import csv
import io
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli.commands import invoke
from click.testing import Result
from support.movies import moving_pattern, write_video
from support.servers import FileServer

from slowfast_zoo.cli.videos.answers import common_stems, stem_of
from slowfast_zoo.cli.videos.time import LEDGER
from slowfast_zoo.evaluation.segments import read_predicted
from slowfast_zoo.inference.inputs import source_hash
from slowfast_zoo.inference.timeline import Timeline


def timeline(*arguments: object) -> Result:
    return invoke("timeline", *arguments, "--model", "slowfast_tiny", "--hop", "0.5", "--enter", "0.01")


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
    result = invoke("timeline", videos / "a.mkv", "--model", "slowfast_tiny", "--enter", "1", "--hop", "9")
    assert "(2.5 s, 1 window)\n  nothing reaches --enter" in result.output


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
    result = timeline(videos / "b.mkv", "--out", out, "--resume")
    assert result.exit_code == 0 and out.read_text() == text
    assert result.stderr == f"Nothing to do: '{out}' is there and is left as it is.\n"


def test_one_file_is_begun_anew(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("slowfast_zoo.inference.timeline.TimelineMaker.begin", interrupted)
    result = timeline(videos / "a.mkv", "--out", tmp_path / "x.srt")
    assert result.exit_code == 130 and result.stderr == "\nInterrupted.\n"
    assert "there is left as it is, whatever it holds" in " ".join(
        invoke("timeline", "--help").stdout.split()
    )


def test_many_videos_a_folder_that_is_gone_on_with(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "broken.mkv").write_bytes(b"no video")
    many = (videos, tmp_path / "broken.mkv", "-r", "--out", out)
    result = timeline(*many, "--format", "csv", "--label", "pan lefft")
    assert result.exit_code == 1 and "no class 'pan lefft'" in result.output
    assert not (out / LEDGER).exists(), "the corrected command begins anew"
    out.rmdir()
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


def test_names_that_look_like_parts_of_answers(videos: Path, tmp_path: Path) -> None:
    """No video's answer is taken for what Ctrl-C left of another one, nor removed with it."""
    names = ["x", "x.partial", "x.partial-0123abcd"]
    for name in names:
        shutil.copy(videos / "a.mkv", tmp_path / f"{name}.mkv")
    out = tmp_path / "out"
    assert timeline(tmp_path, "--format", "activitynet", "--out", out).exit_code == 0
    assert len([*out.glob("*.json")]) == 3 and sorted(read_predicted(out)) == names


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
    (partial,) = out.glob("b.partial-*.json")
    begun = json.loads(partial.read_text())
    assert not begun["complete"] and len(begun["windows"]) == 5
    rows = [json.loads(line) for line in (out / LEDGER).read_text().splitlines()]
    assert [row["file"] for row in rows] == ["a.json"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--hop", "0"), "0<x|0.0 is not in the range x>0"),
        (("--enter", "0.4", "--leave", "0.5"), "leave is 0.5 and enter 0.4"),
        (("--start", "5", "--end", "4"), "end_seconds is 4 and start_seconds 5"),
        (("--start", "99"), "has no frames in the part that was asked for: the video has 75 frames"),
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
    result = invoke("timeline", videos / "a.mkv", "--model", "slowfast_tiny", *arguments)
    assert result.exit_code in (1, 2), result.output
    assert any(part in result.output.replace("\n", " ") for part in sentence.split("|")), result.output
    assert "Traceback" not in result.output


def test_segments_are_scored(videos: Path, tmp_path: Path) -> None:
    assert timeline(videos, "--out", tmp_path, "--format", "activitynet").exit_code == 0
    told = json.loads((tmp_path / "a.json").read_text())["results"]["a"]
    truth = tmp_path / "truth.txt"
    annotated = [{"label": row["label"], "segment": row["segment"]} for row in told]
    truth.write_text(json.dumps({"database": {"a": {"subset": "test", "annotations": annotated}}}))
    result = invoke("test-segments", tmp_path / "a.json", truth, "--iou", "0.5", "--iou", "1")
    assert result.exit_code == 0, result.output
    assert "mAP at IoU 1.00: 1.0000\naverage mAP: 1.0000" in result.output
    result = invoke("test-segments", tmp_path / "a.json", truth, "--subset", "test", "--json")
    assert json.loads(result.output)["average_map"] == 1.0
    (tmp_path / "a.partial-0123abcd.json").write_text((tmp_path / "a.json").read_text())
    result = invoke("test-segments", tmp_path, truth, "--iou", "0.5")
    assert result.exit_code == 0 and "mAP at IoU 0.50: " in result.output
    assert "videos without annotations: b\n" in result.stderr
    result = invoke("test-segments", truth, truth)
    assert result.exit_code == 1 and "it has no 'results'" in result.output


def test_settings_that_can_not_be_are_no_videos_fault(videos: Path, tmp_path: Path) -> None:
    wrong = ("--engine", "onnxruntime", "--precision", "bfloat16")
    result = timeline(videos, "--out", tmp_path / "out", "--format", "csv", *wrong)
    assert result.exit_code == 1 and result.output.count("onnxruntime") == 1, result.output
    assert not (tmp_path / "out" / LEDGER).exists()


def test_many_videos_on_standard_output(videos: Path, tmp_path: Path) -> None:
    film = tmp_path / "\u9593.mkv"
    film.write_bytes((videos / "a.mkv").read_bytes())
    arguments = (film, videos / "b.mkv", "--format", "csv", "--hop", "0.5", "--enter", "0.01")
    result = invoke("timeline", *arguments, "--model", "slowfast_tiny", charset="cp1252")
    assert result.exit_code == 0
    rows = list(csv.DictReader(io.StringIO(result.stdout_bytes.decode())))
    assert {row["source"] for row in rows} == {str(film), str(videos / "b.mkv")}
    for form in ("srt", "json", "eaf", "activitynet"):
        result = timeline(videos, "--format", form)
        assert result.exit_code == 1 and result.stdout == ""
        assert f"'{form}' holds one video, and there are 2: give --out, a folder." in result.stderr


def test_a_picture_without_matplotlib_costs_no_work(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("slowfast_zoo.naming.ModelRef.load", lambda self: pytest.fail("loaded"))
    for arguments in ((videos / "a.mkv", "--out", tmp_path / "x.png"), (videos, "--out", tmp_path)):
        result = timeline(*arguments, "--format", "png")
        assert result.exit_code == 1 and result.output.endswith("pip install matplotlib\n"), result.output


def test_what_a_folder_has_goes_into_a_folder(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text(str(videos / "a.mkv"))
    given = {
        "folder": (videos / "sub",),
        "pattern": (videos / "a.*",),
        "list": ("--from", tmp_path / "names.txt"),
        "ending": (videos / "a.mkv",),
    }
    for name, arguments in given.items():
        out = tmp_path / name
        if name != "ending":
            result = timeline(*arguments, "--out", out.with_suffix(".srt"), "--format", "srt")
            assert result.exit_code == 2 and "is named as a file, and a folder is written" in result.output
        result = timeline(*arguments, "--out", out, "--format", "csv")
        assert result.exit_code == 0, result.output
        assert {path.name for path in out.iterdir()} == {"a.csv", LEDGER}
    assert timeline(videos / "a.mkv", "-r", "--out", tmp_path / "a.srt").exit_code == 0
    assert (tmp_path / "a.srt").is_file(), "a file that was named is one, whatever else is searched"
    out = tmp_path / "labels.lab"
    assert timeline(videos / "a.mkv", "--out", out, "--format", "audacity").exit_code == 0 and out.is_file()


@pytest.mark.parametrize("written", [True, False])
def test_ended_between_a_file_and_its_row(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    """Every video has one file, which its row names; a stranger's file stays."""
    save = Timeline.save
    (tmp_path / "b.csv").write_text("a stranger's")

    def ended(self: Timeline, *arguments: Any) -> None:
        if written:
            save(self, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(Timeline, "save", ended)
    many = (videos, "--out", tmp_path, "--format", "csv")
    assert timeline(*many).exit_code == 130
    monkeypatch.undo()
    result = timeline(*many, "--resume")
    assert result.exit_code == 0 and f"{2 - written} answered" in result.output
    rows = [json.loads(line) for line in (tmp_path / LEDGER).read_text().splitlines()]
    assert {Path(row["source"]).name: row["file"][:2] for row in rows} == {"a.mkv": "a.", "b.mkv": "b-"}
    assert {path.name for path in tmp_path.iterdir()} == {LEDGER, "b.csv", *(row["file"] for row in rows)}
    assert (tmp_path / "b.csv").read_text() == "a stranger's"


def test_addresses_that_differ_in_their_query_have_files_of_their_own(videos: Path, tmp_path: Path) -> None:
    with FileServer({"/v.mkv": videos / "b.mkv"}) as server:
        addresses = [f"{server.url}/v.mkv?id={number}" for number in range(2)]
        assert timeline(*addresses, "--out", tmp_path, "--format", "csv").exit_code == 0
        again = timeline(*addresses, "--out", tmp_path, "--format", "csv", "--resume")
    assert "Nothing to do" in again.output
    files = sorted(path.name for path in tmp_path.glob("*.csv"))
    assert files == ["v-" + source_hash(addresses[1])[:8] + ".csv", "v.csv"]
    assert not [path for path in tmp_path.iterdir() if "id=" in path.read_text()]


def test_addresses_with_a_time_have_files_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://cam/2024-01-01T12:30:00.mp4"
    assert stem_of(url) == "2024-01-01T12:30:00"
    monkeypatch.setattr("sys.platform", "win32")
    assert stem_of(url) == f"2024-01-01T12_30_00-{source_hash(url)[:8]}"
    assert stem_of("x/a.mkv") == "a"


def test_names_of_files_fit_into_a_folder() -> None:
    long = ["\u9593" * 84 + ending for ending in (".a", ".b")]
    stems = [stem_of(name) for name in long]
    assert stems[0] != stems[1] and all(stem.startswith("\u9593" * 66 + "-") for stem in stems)
    assert max(len(stem.encode()) for stem in stems) == 207 and not common_stems(long)
    alike = ["d1/Clip.mp4", "d2/clip.mp4", "d1/cafe\u0301.mp4", "d2/caf\u00e9.mp4"]
    assert common_stems([*alike, "d1/other.mp4"]) == {*map(stem_of, alike)}, "one file on some systems"
    assert stem_of("x/動画\u3000at\u202f3.mp4") == "動画\u3000at\u202f3"
    assert stem_of("x/a.mkv") == "a" and stem_of("a.mkv", hashed=True) != stem_of("x/a.mkv", hashed=True)
    url = "https://me:secret@host/v.mp4?id=1"
    assert stem_of(url, hashed=True) == stem_of(url.replace("me:secret@", ""), hashed=True)
    assert stem_of(url, hashed=True) != stem_of(url.replace("1", "2"), hashed=True)
