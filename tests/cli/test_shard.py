"""``--shard``: every video in one part, whatever else is named; no two processes in one file."""

from __future__ import annotations

import csv
import errno
import json
import sys
from pathlib import Path

import pytest
from cli.commands import invoke
from click.testing import Result
from support.movies import moving_pattern, write_video
from support.servers import FileServer
from support.small_nets import ROI_NETWORKS, make_model, roi_clip_spec

from slowfast_zoo import save_pretrained
from slowfast_zoo.files import claimed
from slowfast_zoo.inference.inputs import source_hash


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders with videos of the same names, and a broken one."""
    folder = tmp_path_factory.mktemp("made") / "clips"
    folder.mkdir()
    for place in ("a", "b"):
        (folder / place).mkdir()
        for number in range(2):
            write_video(folder / place / f"{number}.mkv", moving_pattern(8, 32, 32, seed=number))
    (folder / "a" / "broken.mp4").write_text("no video")
    return folder.parent


@pytest.fixture
def clips(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Those by names that are the same in every run: names decide about parts."""
    monkeypatch.chdir(made)
    return Path("clips")


def run(*arguments: object) -> Result:
    return invoke(*arguments, "--model", "slowfast_tiny")


def all_videos(clips: Path) -> list[str]:
    return sorted(str(path) for path in clips.rglob("*.m*"))


def test_parts_of_predict_are_whole_together_and_go_on(clips: Path, tmp_path: Path) -> None:
    command = ("predict", clips, "-r", "--topk", 1, "--out", tmp_path / "found.csv", "--resume", "--shard")
    for _ in range(2):
        for number in (1, 2, 3):
            assert run(*command, f"{number}/3").exit_code in (0, 1)
        files = sorted(tmp_path.glob("*.csv"))
        assert {path.name for path in files} <= {f"found-0000{part}-of-00003.csv" for part in (1, 2, 3)}
        rows = [row for path in files for row in csv.DictReader(path.open(encoding="utf-8"))]
        assert sorted(row["source"] for row in rows) == all_videos(clips)
        assert [row["source"] for row in rows if row["error"]] == [str(clips / "a" / "broken.mp4")]
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".csv"]


def test_parts_of_addresses_that_differ_in_their_query_go_on(clips: Path, tmp_path: Path) -> None:
    def addresses() -> list[str]:
        return sorted(json.loads(line)["address"] for file in files for line in file.open(encoding="utf-8"))

    with FileServer({"/v.mkv": clips / "a" / "0.mkv"}) as server:
        films = [f"{server.url}/v.mkv?id={number}" for number in range(6)]
        command = ("predict", *films, "--out", tmp_path / "found.jsonl", "--resume", "--shard")
        for number in (1, 2):
            run(*command, f"{number}/2")
        files = sorted(tmp_path.glob("*.jsonl"))
        whole = sorted(source_hash(film)[:16] for film in films)
        assert len(files) == 2 and addresses() == whole
        for file in files:  # as if its first video had failed
            file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
        for number in (1, 2):
            assert "1 answered, 0 failed" in run(*command, f"{number}/2").stderr
        assert addresses() == whole


def test_a_part_is_the_same_whatever_else_is_named(clips: Path, tmp_path: Path) -> None:
    def sources(*paths: Path) -> set[str]:
        out = tmp_path / "".join(path.name for path in paths) / "found.jsonl"
        out.parent.mkdir()
        run("predict", *paths, "--topk", 1, "--out", out, "--shard", "1/2")
        files = out.parent.glob("found-*")  # none where no video belongs to the part
        return {json.loads(line)["source"] for path in files for line in path.open(encoding="utf-8")}

    both = sources(clips / "a", clips / "b")
    assert both and both == sources(clips / "a") | sources(clips / "b")


def test_a_part_without_videos_says_so(clips: Path, tmp_path: Path) -> None:
    command = ("predict", clips / "a" / "0.mkv", "--out", tmp_path / "found.csv", "--resume", "--shard")
    for again in (False, True):
        said = [run(*command, f"{number}/2").stderr for number in (1, 2)]
        assert "Nothing to do: all videos are of other shards.\n" in said
        assert any("has an answer for each" in text for text in said) is again


def test_parts_of_timeline_share_a_folder(clips: Path, tmp_path: Path) -> None:
    command = ("timeline", clips, "-r", "--format", "csv", "--out", tmp_path, "--resume", "--shard")
    for _ in range(2):
        for number in (1, 2):
            run(*command, f"{number}/2")
        ledgers = sorted(tmp_path.glob("*.jsonl"))
        assert {path.name for path in ledgers} <= {f"timelines-0000{part}-of-00002.jsonl" for part in (1, 2)}
        lines = [line for path in ledgers for line in path.read_text(encoding="utf-8").splitlines()]
        rows = [json.loads(line) for line in lines]
        assert sorted(row["source"] for row in rows) == all_videos(clips)
        names = [row["file"] for row in rows if not row["error"]]
        assert len(set(names)) == 4
        assert sorted(names) == sorted(path.name for path in tmp_path.glob("*.csv"))


def test_parts_of_features_share_a_folder(clips: Path, tmp_path: Path) -> None:
    written = []
    for number in (1, 2):
        done = run("features", clips, "-r", "--out", tmp_path, "--shard", f"{number}/2")
        written.append(int(done.output.split(" written")[0].split()[-1]))
    assert sum(written) == 4
    assert len(list(tmp_path.glob("*.npz"))) == 4


def test_two_processes_cannot_be_one_part(clips: Path, tmp_path: Path) -> None:
    with claimed(tmp_path / "found-00001-of-00002.csv") as free:
        assert free
        done = run("predict", clips, "-r", "--out", tmp_path / "found.csv", "--shard", "1/2")
    assert done.exit_code != 0
    assert "is being written by another process" in done.output


@pytest.mark.parametrize(
    ("command", "out", "file"),
    [
        ("predict", "found.csv", "found.csv"),
        ("detect", "found.jsonl", "found.jsonl"),
        ("detect", "found.csv", "found.csv"),
        ("timeline", ".", "timelines.jsonl"),
        ("timeline", "found.srt", "found.srt"),
    ],
)
@pytest.mark.parametrize("resume", [(), ("--resume",)], ids=str)
def test_two_processes_cannot_write_one_file(
    clips: Path, tmp_path: Path, command: str, out: str, file: str, resume: tuple[str, ...]
) -> None:
    options = {"detect": ("--detector", "person"), "timeline": ("--format", "srt")}.get(command, ())
    with claimed(tmp_path / file) as free:
        assert free
        done = run(command, clips / "a" / "0.mkv", "--out", tmp_path / out, *options, *resume)
    assert done.exit_code == 1
    assert f"{file}' is being written by another process; --shard parts videos" in done.output
    assert not [*tmp_path.iterdir()]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows locks otherwise")
def test_a_file_system_without_locks_is_no_place_for_parts_alone(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refused)
    done = run("predict", clips, "-r", "--out", tmp_path / "found.csv")
    assert "4 answered, 1 failed" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["found.csv"]
    done = run("predict", clips, "-r", "--out", tmp_path / "found.csv", "--shard", "1/2")
    assert done.exit_code == 1 and "can't be written: No locks available." in done.output


@pytest.mark.parametrize("part", ["0/4", "5/4", "3", "1/0", "a/b"])
def test_what_is_no_part_is_refused(part: str, clips: Path) -> None:
    done = run("predict", clips, "--shard", part)
    assert done.exit_code == 2
    assert f"'{part}' is no part such as 3/16" in done.output


def test_standard_input_has_no_name(tmp_path: Path) -> None:
    done = run("predict", "-", "--shard", "1/2")
    assert done.exit_code != 0
    assert "standard input has none" in done.output


def test_parts_of_detect_are_whole_together(clips: Path, tmp_path: Path) -> None:
    network = make_model(ROI_NETWORKS["mean"])
    network.clip_spec = roi_clip_spec()
    save_pretrained(network, tmp_path / "model")
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("".join(f"{name},0.1,0.1,0.1,0.6,0.9,1\n" for name in ("0", "1", "broken")))
    command = ("detect", clips, "-r", "--model", tmp_path / "model", "--boxes", boxes, "--resume")
    for number in (1, 2, 3):
        options = ("--out", tmp_path / "found.jsonl", "--shard", f"{number}/3")
        invoke(*command, *options)
    lines = [line for path in tmp_path.glob("found-*.jsonl") for line in path.open(encoding="utf-8")]
    assert sorted(json.loads(line)["source"] for line in lines) == all_videos(clips)
