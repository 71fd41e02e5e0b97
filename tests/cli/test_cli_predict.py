"""``slowfast-zoo predict``: tables, result files, resuming, exit status."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from cli.commands import invoke
from click.testing import Result
from PIL import Image
from support.movies import moving_pattern, write_video
from support.servers import FileServer

from slowfast_zoo import ClipSpec, ModelSpec, SlowFast, from_pretrained, save_pretrained
from slowfast_zoo.cli import main
from slowfast_zoo.cli.videos.predict import Tally
from slowfast_zoo.cli.videos.sources import Found
from slowfast_zoo.errors import DownloadError
from slowfast_zoo.inference.engines.openvino import int8
from slowfast_zoo.inference.inputs import source_hash
from slowfast_zoo.naming import parse

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
    return invoke("predict", *arguments)


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
    failure, summary = result.stderr.splitlines()
    assert failure.startswith("failed  ") and "broken.mp4" in failure
    counts, _, left_out = summary.partition("; left out: ")
    assert re.fullmatch(r"2 answered, 1 failed, in [\d.]+ s \([\d.e+]+ videos/s\)", counts)
    assert left_out == "folders inside (-r searches them): 1"
    (videos / "broken.mp4").unlink()
    result = run(videos, videos / "a.mkv", "--recursive", "--model", saved)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 3, "a video that is named twice is predicted once"


def test_frames_are_a_video_by_their_folder_or_their_pattern(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(moving_pattern(20)):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{number:05}.png")
    folder, pattern = tmp_path / "frames", tmp_path / "frames" / "{:05}.png"
    answers = [run(name, "--model", saved, "--fps", 10) for name in (folder, pattern)]
    for name, answer in zip((folder, pattern), answers, strict=True):
        assert answer.exit_code == 0 and answer.output.startswith(f"{name}  (1 clip x 1 crop, ")
        assert "left out" not in answer.output
    assert answers[0].output.splitlines()[1:] == answers[1].output.splitlines()[1:]
    nothing = run(folder / "{:05}.jpg", "--model", saved, "--fps", 10)
    assert nothing.exit_code == 1 and "No file in" in nothing.output
    for form in ("table", "jsonl"):
        result = run(folder, "--model", "slowfast_tiny", "--format", form)
        assert result.exit_code == 1 and "isn't known: pass --fps (frames per second)" in result.output
    timed = invoke("benchmark", folder, "--model", "slowfast_tiny")
    assert timed.exit_code == 1 and "is frames without a rate" in timed.output
    result = run(folder, "--model", saved, "--format", "table", "--out", tmp_path / "x.txt")
    assert result.exit_code == 1 and "x.txt' holds no table, which is only printed: give" in result.output


def test_sentences_reach_the_command_line_in_its_words(videos: Path, tmp_path: Path) -> None:
    command = (videos / "a.mkv", "--model", "slowfast_tiny")
    refused = invoke("render", videos / "a.mkv", tmp_path / "a.gif", "--fps", "0.1")
    assert "huge; give --seconds, a start and an end at most 30 s apart, or a path" in refused.stderr
    refused = run(*command, "--device", "cpu", "--precision", "float16")
    assert re.search(r"on this CPU take --precision float32( or bfloat16)?\.", refused.stderr)


@pytest.mark.parametrize(
    ("command", "name", "form", "ending"),
    [
        ("predict", "o.csv", "json", ".json"),
        ("predict", "o.JSON", "jsonl", ".jsonl"),
        ("timeline", "o.srt", "csv", ".csv"),
        ("timeline", "o.csv", "activitynet", ".json"),
        ("detect", "o.csv", "jsonl", ".jsonl"),
        ("detect", "o.jsonl", "csv", ".csv"),
    ],
)
def test_a_format_that_isnt_the_endings_is_refused(
    videos: Path, tmp_path: Path, command: str, name: str, form: str, ending: str
) -> None:
    result = invoke(command, videos / "a.mkv", "--out", tmp_path / name, "--format", form)
    assert result.exit_code == 1 and not (tmp_path / name).exists()
    assert f"--format is {form}: leave out --format, or end the file in {ending}." in result.stderr


@pytest.mark.parametrize("command", ["predict", "timeline", "detect", "render", "watch"])
def test_what_this_machine_lacks_is_said_before_a_download(
    videos: Path, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("a,0,0.1,0.1,0.5,0.9\n")
    model = ["--model", f"slowfast_r50_8x8x1{'_roi' if command == 'detect' else ''}"]
    others = {"detect": ["--boxes", boxes], "render": [tmp_path / "x.gif"]}
    what = (command, videos / "a.mkv", *others.get(command, ()), *model)
    result = invoke(*what, "--device", "mps:7")
    assert result.exit_code == 1 and "device" in result.stderr and "cache" not in result.stderr
    if command in ("predict", "timeline", "watch"):
        result = invoke(*what, "--precision", "int8")
        assert result.exit_code == 1 and "int8 needs --calibration" in result.stderr


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_export_says_what_calibration_is_for_before_a_download(
    tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
    calibration = ("--calibration", tmp_path) if precision == "float32" else ()
    result = invoke("export", tmp_path / "x.xml", "--precision", precision, *calibration)
    assert result.exit_code == 1 and "calibration" in result.stderr and "cache" not in result.stderr


@pytest.mark.parametrize("form", ["jsonl", "csv", "json"])
def test_result_files(saved: Path, videos: Path, tmp_path: Path, form: str) -> None:
    out = tmp_path / f"results.{form}"
    result = run(videos, "--model", saved, "--out", out, "--views", "2x3", "--topk", 2)
    assert result.exit_code == 1
    rows = read(out)
    assert [Path(row["source"]).name for row in rows] == ["a.mkv", "broken.mp4", "b|ü.mkv"]
    assert "broken.mp4" in rows[1]["error"]
    printed = run(videos, "--model", saved, "--format", form, "--views", "2x3", "--topk", 2).stdout
    assert printed == out.read_text(encoding="utf-8")
    again = run(videos, "--model", saved, "--out", out)
    assert again.exit_code == 1
    assert "exists; give --resume" in again.output


def read(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(text, newline="")))
    return json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]


def test_the_same_columns_in_every_format(saved: Path, videos: Path, tmp_path: Path) -> None:
    outs = [tmp_path / f"results.{form}" for form in ("jsonl", "csv", "json")]
    for out in outs:
        run(videos, "--model", saved, "--out", out, "--topk", 4)
    jsonl, table, whole = map(read, outs)
    assert jsonl == whole
    assert [{name: "" if cell is None else str(cell) for name, cell in row.items()} for row in whole] == table
    good, bad = whole[0], whole[1]
    ranks = [f"{name}_{rank}" for rank in (1, 2, 3, 4) for name in ("label", "score")]
    looked = ["clips", "crops", "start", "end", "padded", "damaged_frames"]
    made = ["model", "weights", "views", "topk", "fps", "precision"]
    assert list(good) == ["source", "error", *ranks, *looked, *made]
    assert good["score_1"] >= good["score_2"] >= good["score_3"]
    assert good["label_4"] is None, "the model has three classes"
    assert good["weights"].startswith("sha256:")
    assert (good["model"], good["views"], good["topk"]) == (str(saved), "quick", 4)
    assert [name for name, cell in bad.items() if cell is not None] == [
        "source",
        "error",
        "model",
        "weights",
        "views",
        "topk",
        "precision",
    ]


@pytest.mark.parametrize("form", ["jsonl", "csv", "json"])
def test_resume_removes_a_torn_row_and_adds_what_is_missing(
    saved: Path, videos: Path, tmp_path: Path, form: str
) -> None:
    out = tmp_path / f"results.{form}"
    (videos / "broken.mp4").unlink()
    run(videos, "--model", saved, "--out", out)
    whole = out.read_text(encoding="utf-8")
    for kept in range(0, len(whole.encode()), 97 if form != "json" else len(whole.encode()) + 1):
        out.write_bytes(whole.encode()[:kept])
        assert run(videos, "--model", saved, "--out", out, "--resume").exit_code == 0
        assert out.read_text(encoding="utf-8") == whole
    if form == "csv":  # as spreadsheets save it
        out.write_bytes(b"\xef\xbb\xbf" + whole.encode())
    result = run(videos, "--model", saved, "--out", out, "--resume")
    assert result.exit_code == 0
    assert "Nothing to do" in result.stderr and out.read_text(encoding="utf-8") == whole
    write_video(videos / "z.mkv", moving_pattern(20))
    result = run(videos, "--model", saved, "--out", out, "--resume")
    assert "1 answered, 0 failed" in result.stderr and "answered before: 2" in result.stderr
    assert len(read(out)) == 3


@pytest.mark.parametrize("form", ["jsonl", "csv", "json"])
def test_resume_tries_failed_videos_again(saved: Path, videos: Path, tmp_path: Path, form: str) -> None:
    out = tmp_path / f"results.{form}"
    assert run(videos, "--model", saved, "--out", out).exit_code == 1
    result = run(videos, "--model", saved, "--out", out, "--resume")
    assert result.exit_code == 1, "it failed again"
    assert "0 answered, 1 failed" in result.stderr
    assert len(read(out)) == 3
    (videos / "broken.mp4").unlink()
    write_video(videos / "broken.mp4", moving_pattern(20), codec="libx264", pixels="yuv420p")
    result = run(videos, "--model", saved, "--out", out, "--resume")
    assert result.exit_code == 0
    assert sorted(Path(row["source"]).name for row in read(out)) == ["a.mkv", "broken.mp4", "b|ü.mkv"]
    assert not any(row["error"] for row in read(out))


@pytest.mark.parametrize("form", ["jsonl", "csv", "json"])
def test_resume_keeps_what_somebody_added(saved: Path, videos: Path, tmp_path: Path, form: str) -> None:
    out = tmp_path / f"results.{form}"
    (videos / "broken.mp4").unlink()
    run(videos / "a.mkv", "--model", saved, "--out", out)
    (row,) = read(out)
    written(out, [{"seen by": "Ann", **row, "note": "blurred, 2 s"}])
    for source, left in ((videos / "a.mkv", "Nothing to do"), (videos, "1 answered, 0 failed")):
        assert left in run(source, "--model", saved, "--out", out, "--resume").stderr
        first, *others = read(out)
        assert first == row | {"seen by": "Ann", "note": "blurred, 2 s"}
    assert not any(other.get(name) for other in others for name in ("seen by", "note"))


def test_resume_takes_empty_columns_that_excel_leaves(saved: Path, videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.csv"
    run(videos / "a.mkv", "--model", saved, "--out", out)
    before = out.read_bytes()
    out.write_bytes(before.replace(b"\n", b",,\r\n"))
    assert "Nothing to do" in run(videos / "a.mkv", "--model", saved, "--out", out, "--resume").stderr
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mine.jsonl", '[{"note": "my only copy"}]'),
        ("mine.jsonl", '[{"source": "a.mkv"}]'),
        ("mine.jsonl", "my only copy"),
        ("mine.jsonl", "null\n"),
        ("mine.json", "null"),
        ("mine.csv", "source,error,note\ra.mkv,,my only copy\r"),
        ("mine.csv", "my only copy"),
        ("mine.csv", "source,error,note\na.mkv,,my only copy,and more\n"),
        ("mine.csv", "source,error,,\na.mkv,,my only copy,and more\n"),
    ],
)
def test_resume_refuses_a_file_of_somebody(
    saved: Path, videos: Path, tmp_path: Path, name: str, content: str
) -> None:
    out = tmp_path / name
    out.write_bytes(content.encode())
    result = run(videos / "a.mkv", "--model", saved, "--out", out, "--resume")
    assert result.exit_code == 1 and "holds no answers to go on with: it has" in result.output
    assert out.read_bytes() == content.encode()


def test_resume_says_which_column_is_gone(saved: Path, videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.csv"
    run(videos / "a.mkv", "--model", saved, "--out", out)
    written(out, [{name: cell for name, cell in row.items() if name != "padded"} for row in read(out)])
    before = out.read_bytes()
    result = run(videos, "--model", saved, "--out", out, "--resume")
    assert result.exit_code == 1 and "go on with: it has no column 'padded'" in result.output
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["--topk", "3"], "made with topk 5, and this is topk 3"),
        (["--views", "2x3"], "made with views quick, and this is views 2x3"),
        (["--fps", "10"], "made with fps None, and this is fps 10.0"),
        (["--precision", "bfloat16"], "made with precision float32, and this is precision bfloat16"),
        (["--model", "slowfast_tiny"], "and this is model slowfast_tiny"),
    ],
)
def test_resume_refuses_other_settings(
    saved: Path, videos: Path, tmp_path: Path, change: list[str], says: str
) -> None:
    for form in ("csv", "jsonl", "json"):
        out = tmp_path / f"results.{form}"
        run(videos / "a.mkv", "--model", saved, "--out", out)
        before = out.read_bytes()
        result = run(videos, "--model", saved, "--out", out, "--resume", *change)
        assert result.exit_code == 1
        assert says in result.output
        assert out.read_bytes() == before


def written(path: Path, rows: list[dict[str, Any]]) -> None:
    """The same file with these rows."""
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0]], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


@pytest.mark.parametrize("form", ["jsonl", "csv", "json"])
def test_addresses_that_differ_in_their_query_are_resumed_each(
    saved: Path, videos: Path, tmp_path: Path, form: str
) -> None:
    out = tmp_path / f"results.{form}"
    with FileServer({"/v.mkv": videos / "a.mkv"}) as server:
        addresses = [f"{server.url}/v.mkv?id={number}" for number in range(3)]
        command = (*addresses, "--model", saved, "--out", out)
        hashes = [source_hash(address)[:16] for address in addresses]
        assert run(*command).exit_code == 0
        rows = read(out)
        assert [row["address"] for row in rows] == hashes and "id=" not in out.read_text()
        rows[1]["error"] = "broken"
        written(out, rows)
        assert "1 answered, 0 failed" in run(*command, "--resume").stderr
        assert [row["address"] for row in read(out)] == [hashes[0], hashes[2], hashes[1]]
        assert run(videos / "a.mkv", "--model", saved, "--out", out, "--resume").exit_code == 0
        assert [row.get("address") for row in read(out)][:3] == [hashes[0], hashes[2], hashes[1]]
        assert "Nothing to do" in run(videos / "a.mkv", *command, "--resume").stderr
        written(out, [{key: row[key] for key in row if key != "address"} for row in read(out)])
        assert "Nothing to do" in run(videos / "a.mkv", *command, "--resume").stderr, "of a file without them"
        assert len(read(out)) == 4


def test_names_that_were_escaped_earlier_are_known(saved: Path, videos: Path, tmp_path: Path) -> None:
    """Spaces of other languages, which rows have as they are now."""
    out, film = tmp_path / "results.jsonl", videos / "a\u202fb\u00a0c\u3000.mkv"
    (videos / "a.mkv").rename(film)
    assert run(film, "--model", saved, "--out", out).exit_code == 0
    (row,) = read(out)
    assert row["source"] == str(film)
    written(out, [row | {"source": str(videos / "a\\u202fb\\xa0c\\u3000.mkv")}])
    assert "Nothing to do" in run(film, "--model", saved, "--out", out, "--resume").stderr


def test_only_addresses_need_a_column(saved: Path, videos: Path, tmp_path: Path) -> None:
    """A table of other videos has none, and gets one when it is gone on with."""
    out = tmp_path / "results.csv"
    run(videos / "a.mkv", "--model", saved, "--out", out)
    assert "address" not in read(out)[0]
    with FileServer({"/v.mkv": videos / "a.mkv"}) as server:
        command = (videos / "a.mkv", f"{server.url}/v.mkv?id=1", "--model", saved, "--out", out)
        for rows in ([], read(out)):  # its head alone, too
            out.write_text("".join(out.read_text().splitlines(keepends=True)[: 1 + len(rows)]))
            assert run(*command, "--resume").exit_code == 0
            assert [bool(row["address"]) for row in read(out)] == [False, True]


def test_odd_names_are_one_row_each(saved: Path, tmp_path: Path) -> None:
    """A line break, quotes, bytes that are no UTF-8: written as text, and known again."""
    folder = tmp_path / "odd"
    folder.mkdir()
    original = write_video(tmp_path / "a.mkv", moving_pattern(20)).read_bytes()
    names = [b"new\nline.mkv", b'"quoted", 1.mkv', b"caf\xe9.mkv", b"tab\t.mkv"]
    for name in names:
        (folder / os.fsdecode(name)).write_bytes(original)
    for form in ("csv", "jsonl", "json"):
        out = tmp_path / f"results.{form}"
        assert run(folder, "--model", saved, "--out", out).exit_code == 0
        before = out.read_bytes()
        assert len(read(out)) == len({row["source"] for row in read(out)}) == 4
        assert "Nothing to do" in run(folder, "--model", saved, "--out", out, "--resume").stderr
        assert out.read_bytes() == before


def test_labels_of_strangers_steer_no_terminal(saved: Path, videos: Path, tmp_path: Path) -> None:
    model = from_pretrained(saved)
    model.labels = ("\x1b[2Jwalk", "run\x9b31m\nfast", "\u202ejump")
    save_pretrained(model, tmp_path / "odd")
    for form in ("csv", "jsonl", "json", "table"):
        out = run(videos / "a.mkv", "--model", tmp_path / "odd", "--format", form).stdout
        assert "walk" in out and "jump" in out
        assert not set(out) & {"\x1b", "\x9b", "\u202e"}
    row = json.loads(run(videos / "a.mkv", "--model", tmp_path / "odd", "--format", "jsonl").stdout)
    assert {row["label_1"], row["label_2"], row["label_3"]} == set(model.labels)


def test_a_full_disk_keeps_the_finished_rows(saved: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="POSIX limits stand in for a full disk")
    folder = tmp_path / "many"
    folder.mkdir()
    original = write_video(folder / "000.mkv", moving_pattern(20))
    for index in range(1, 12):
        (folder / f"{index:03}.mkv").hardlink_to(original)
    limit = 1500  # bytes, which stand for the end of the disk

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    for form in ("csv", "json"):
        out = tmp_path / f"results.{form}"
        arguments = [sys.executable, "-m", "slowfast_zoo", "predict", folder, "--model", saved, "--out", out]
        done = subprocess.run(
            list(map(str, arguments)), capture_output=True, text=True, preexec_fn=small_files
        )
        assert done.returncode == 1
        assert "can't be written: File too large. Its " in done.stderr
        assert "--resume goes on" in done.stderr
        assert "Traceback" not in done.stderr
        rows = read(out)
        assert 1 <= len(rows) < 12
        assert run(folder, "--model", saved, "--out", out, "--resume").exit_code == 0
        assert len({row["source"] for row in read(out)}) == 12


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("command", [["--help"], ["list"], ["predict", "VIDEO", "--model", "MODEL"]])
def test_standard_output_on_a_full_disk_is_one_sentence(
    saved: Path, videos: Path, command: list[str]
) -> None:
    names = {"VIDEO": str(videos / "a.mkv"), "MODEL": str(saved)}
    arguments = [sys.executable, "-m", "slowfast_zoo", *(names.get(word, word) for word in command)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "Error: The output can't be written: No space left on device.\n"


def test_a_program_without_standard_output(
    saved: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As services and pythonw start it."""
    for form in ("table", "csv"):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", None)
            arguments = ["predict", str(videos / "a.mkv"), "--model", str(saved), "--format", form]
            assert main(arguments, standalone_mode=False) is None


def test_a_cell_of_any_length_is_resumed(saved: Path, videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.csv"
    run(videos / "a.mkv", "--model", saved, "--out", out)
    head, row = out.read_text(encoding="utf-8").splitlines()
    long = row.replace(str(videos / "a.mkv"), "x" * 200_000)
    out.write_text(f"{head}\n{row}\n{long}\n", encoding="utf-8")
    assert run(videos / "a.mkv", "--model", saved, "--out", out, "--resume").exit_code == 0
    assert csv.field_size_limit() == 131072, "the module's own limit is back"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_ended_half_way_what_was_answered_is_there(saved: Path, tmp_path: Path, signal_number: int) -> None:
    video, out = write_video(tmp_path / "000.mkv", moving_pattern(20)), tmp_path / "results.json"
    names = tmp_path / "names.txt"
    links = [tmp_path / f"{index:04}.mkv" for index in range(1, 3000)]
    for link in links:
        link.hardlink_to(video)
    names.write_text("\n".join(map(str, [video, *links])))
    arguments = [sys.executable, "-m", "slowfast_zoo", "predict", "--from", names, "--model", saved]
    process = subprocess.Popen(
        [*map(str, arguments), "--out", str(out)],
        stderr=subprocess.PIPE,
        text=True,
        # A shell's job in the background ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and (not out.exists() or out.read_bytes().count(b"\n") < 20):
        time.sleep(0.01)
    process.send_signal(signal_number)
    said = process.communicate(timeout=60)[1]
    assert len(read(out)) >= 18
    if signal_number == signal.SIGINT:
        assert process.returncode == 130
        assert "not looked at" in said and "--resume goes on" in said


def test_folders_patterns_and_names_without_videos_end_nothing(
    saved: Path, videos: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    result = run(empty, tmp_path / "*.avi", videos / "a.mkv", tmp_path / "gone.mp4", "--model", saved)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1
    assert "empty' holds neither videos nor frames" in result.stderr and "-r" in result.stderr
    assert "No video matches" in result.stderr and "gone.mp4' doesn't exist" in result.stderr
    assert "1 answered, 3 failed" in result.stderr


@pytest.mark.parametrize("command", ["predict", "timeline", "detect"])
def test_a_name_that_is_wrong_costs_no_download(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("slowfast_zoo.naming.ModelRef.load", lambda self: pytest.fail("loaded"))
    arguments = [command, tmp_path / "gone.mp4", *["--detector", "person"] * (command == "detect")]
    result = invoke(*arguments)
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr == f"'{tmp_path / 'gone.mp4'}' doesn't exist.\n"


def test_where_one_answer_went_is_said(saved: Path, videos: Path, tmp_path: Path) -> None:
    result = run(videos / "a.mkv", "--model", saved, "--out", tmp_path / "a.csv")
    assert (result.stdout, result.stderr) == ("", f"Wrote {tmp_path / 'a.csv'}\n")


def test_topk_in_the_table_of_many(saved: Path, videos: Path) -> None:
    plain = run(videos, "--model", saved, "-r").stdout.splitlines()
    asked = run(videos, "--model", saved, "-r", "--topk", 2).stdout.splitlines()
    assert [line.count("%") for line in plain] == [1, 1, 1]
    assert [line.count("%") for line in asked] == [2, 2, 2]


def test_names_from_a_file_and_a_video_from_standard_input(saved: Path, videos: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_bytes(f"\ufeff{videos / 'a.mkv'}\r\n\n{videos / 'inside'}\n".encode())
    result = run("--from", names, videos / "b|ü.mkv", "--model", saved)
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 3
    content = (videos / "a.mkv").read_bytes()
    result = invoke("predict", "-", "--model", saved, stdin=content)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("%") == 3
    listed = invoke("predict", "--from", "-", "--model", saved, stdin=names.read_bytes())
    assert len(listed.stdout.splitlines()) == 2
    assert invoke("predict").exit_code == 2


def test_a_list_without_names_is_no_finished_work(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n\n")
    out = tmp_path / "never.csv"
    for command in (("predict", "--out", out), ("timeline",), ("features", "--out", tmp_path)):
        arguments = [*command, "--from", tmp_path / "empty.txt", "--model", saved]
        result = invoke(*arguments)
        assert result.exit_code == 1 and "empty.txt' names no video: give the name of one" in result.output
    assert not out.exists()


@pytest.mark.parametrize("command", ["predict", "timeline", "detect --detector person"])
@pytest.mark.parametrize("names", ["-", "--from names.txt"])
def test_a_video_without_a_name_is_not_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, names: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("names.txt").write_text("a.mkv\n-\n", encoding="utf-8")
    given = f"{command} {names} --model slowfast_tiny --out r.jsonl --resume".split()
    result = invoke(*given, stdin=b"another video than before")
    assert result.exit_code == 1
    assert "--resume tells videos by their names, and standard input has none." in result.stderr


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_names_are_read_in_the_encoding_that_a_mark_says(saved: Path, tmp_path: Path, encoding: str) -> None:
    """PowerShell's ``>`` writes UTF-16; and what else ends lines is part of a name."""
    odd = tmp_path / "b\u2028\x85ü.mkv"
    write_video(odd, moving_pattern(8))
    (tmp_path / "names.txt").write_bytes(f"{odd}\r\n{tmp_path / 'gone.mkv'}\r\n".encode(encoding))
    result = run("--from", tmp_path / "names.txt", "--model", saved, "--out", tmp_path / "o.jsonl")
    assert result.stderr.count("doesn't exist") == 1 and "1 answered" in result.stderr
    (tmp_path / "names.txt").write_bytes(b"\xff\xfeabc")
    result = run("--from", tmp_path / "names.txt", "--model", saved)
    assert result.exit_code == 1 and "names.txt' can't be read: 'utf-16" in result.output


def test_off_a_terminal_a_line_comes_every_so_often(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter(range(0, 1000, 20))
    tally = Tally(5, Found(skipped=Counter(hidden=2)), clock=lambda: next(seconds))
    with tally:
        for error in (None, None, "broken", None):
            tally.count(error)
    lines = capsys.readouterr().err.splitlines()
    assert any(re.match(r"2 of 5 videos, 0 failed, in \d+\.0 s", line) for line in lines), lines
    assert re.match(r"3 answered, 1 failed, in .* s \(.* videos/s\), 1 not looked at; ", lines[-1])
    assert lines[-1].endswith("left out: hidden: 2")


def test_threads(saved: Path, videos: Path) -> None:
    before = torch.get_num_threads()
    try:
        assert run(videos / "a.mkv", "--model", saved, "--threads", 1).exit_code == 0
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


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
    process.kill()
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
    assert "Without any download there is '--model slowfast_tiny'" in result.output
    with pytest.raises(DownloadError) as error:
        parse("slowfast_r50_8x8x1").load()
    assert "slowfast_tiny" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--out", "x.txt"], 1, "end it in .jsonl, .csv or .json"),
        (["--resume"], 1, "--resume needs --out"),
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
    assert "holds no answers to go on with" in result.output
    assert out.read_text() == "my notes\n"


def test_int8_is_calibrated_with_videos(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nncf")
    monkeypatch.setenv("SLOWFAST_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        int8, "_WANTED_ERROR", 1.0
    )  # small nets round more, and measuring parts takes its time
    (tmp_path / "clips").mkdir()
    for number in range(3):
        write_video(tmp_path / "clips" / f"{number}.mkv", moving_pattern(40 + 10 * number))
    one = (tmp_path / "clips" / "0.mkv", "--model", saved)
    how = ("--precision", "int8", "--calibration", tmp_path / "clips", "--min-agreement", 0)
    found = []
    for number, options in enumerate(((), how)):
        result = run(*one, *options, "--out", tmp_path / f"{number}.csv")
        assert result.exit_code == 0, result.output
        with (tmp_path / f"{number}.csv").open(newline="") as file:
            (row,) = csv.DictReader(file)
        found.append({row[f"label_{rank}"]: float(row[f"score_{rank}"]) for rank in (1, 2, 3)})
    assert found[1] != found[0]
    assert found[1] == pytest.approx(found[0], abs=0.1)
    assert "that calibration did not see" in result.stderr
    others = (*how[:2], "--calibration", "others", "--out", tmp_path / "1.csv", "--resume")
    result = run(*one, *others)
    assert result.exit_code == 1
    assert (
        f"made with calibration {tmp_path / 'clips'}, and this is calibration {Path('others').absolute()}"
        in result.stderr
    )
    monkeypatch.chdir(tmp_path)
    again = (*how[:2], "--calibration", "clips/", "--out", "1.csv", "--resume")
    assert "Nothing to do" in run(*one, *again).stderr
    for form in ("csv", "jsonl"):  # of before, when there was no such column
        (row,) = read(tmp_path / "1.csv")
        old = {key: value for key, value in row.items() if key != "calibration"}
        written(tmp_path / f"old.{form}", [old])
        again = (*how[:2], "--calibration", "clips", "--out", f"old.{form}", "--resume")
        assert "Nothing to do" in run(*one, *again).stderr
        assert not read(tmp_path / f"old.{form}")[0].get("calibration")

    refused = run(*one, "--precision", "int8")
    assert refused.exit_code == 1 and "int8 needs --calibration" in refused.stderr
