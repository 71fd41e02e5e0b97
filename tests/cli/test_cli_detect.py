"""``slowfast-zoo detect`` and ``render``: files that are gone on with, and what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.commands import invoke
from click.testing import Result
from support.movies import moving_pattern, write_video
from support.small_nets import ROI_NETWORKS, make_model, roi_clip_spec

from slowfast_zoo import detect, save_pretrained
from slowfast_zoo.data.persons.actions import read_ava
from slowfast_zoo.inference.detect.detect import DetectionRun

ROW = "0.1,0.1,0.5,0.9"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of two seconds, one that is none, boxes of all of them, and a model that scores persons."""
    folder = tmp_path_factory.mktemp("persons")
    for seed, name in enumerate(("a", "b")):
        write_video(folder / f"{name}.mkv", moving_pattern(60, seed=seed))
    (folder / "c.mkv").write_bytes(b"no video")
    rows = [f"{name},{second},{ROW},1" for name in "abc" for second in ("0900", "0901")]
    (folder / "boxes.csv").write_text("\n".join([*rows, "a,0901,0.5,0.5,0.9,0.9,1"]))
    model = make_model(ROI_NETWORKS["mean"])
    model.clip_spec = roi_clip_spec()
    save_pretrained(model, folder / "model")
    return folder


class NoBody:
    """A detector that finds none."""

    def __init__(self, name: str, *_: object, **__: object) -> None:
        self.name = name

    def __call__(self, frame: object) -> np.ndarray:
        return np.zeros((0, 4))


def run(folder: Path, *arguments: object, command: str = "detect") -> Result:
    return invoke(command, *arguments, "--model", folder / "model")


def boxes(folder: Path) -> tuple[object, ...]:
    return "--boxes", folder / "boxes.csv", "--begins-at", 900


def test_for_people_and_pipes(folder: Path) -> None:
    result = run(folder, folder / "a.mkv", *boxes(folder), "--topk", 2)
    assert result.exit_code == 0, result.output
    assert "(2.0 s, 2 key frames, 3 persons)" in result.output
    assert "  0:00:01.00  (6, 5, 32, 43)  class " in result.output
    printed = run(folder, folder / "a.mkv", *boxes(folder), "--format", "csv").output
    assert len(printed.splitlines()) == 15 and printed.startswith(f"a,0900,{ROW},")
    row = json.loads(run(folder, folder / "a.mkv", *boxes(folder), "--format", "jsonl").output)
    assert row["source"].endswith("a.mkv") and row["topk"] == 5 and len(row["persons"]) == 3


def test_json_lines_are_gone_on_with(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.jsonl"
    result = run(folder, folder, *boxes(folder), "--out", out)
    assert result.exit_code == 1 and "2 answered, 1 failed" in result.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [bool(row["error"]) for row in rows] == [False, False, True]
    model = str(folder / "model")
    assert (
        rows[0]["boxes"].endswith("boxes.csv") and rows[0]["model"] == model and rows[0]["begins_at"] == 900
    )
    assert run(folder, folder, *boxes(folder), "--out", out).exit_code == 1
    result = run(folder, folder, *boxes(folder), "--out", out, "--resume")
    assert "0 answered, 1 failed, answered before: 2" in result.output
    assert len(out.read_text().splitlines()) == 3
    result = run(folder, folder, *boxes(folder), "--out", out, "--resume", "--topk", 3)
    assert result.exit_code == 1 and "topk" in result.output


def test_avas_csv_is_gone_on_with(folder: Path, tmp_path: Path) -> None:
    """Rows of a video that wasn't finished are taken out; the answer is that of one run."""
    out, ledger = tmp_path / "x.csv", tmp_path / "x.csv.jsonl"
    assert run(folder, folder / "a.mkv", folder / "b.mkv", *boxes(folder), "--out", out).exit_code == 0
    whole = out.read_text()
    rows = read_ava(out, scored=True)
    assert rows.frames == tuple((name, second) for name in "ab" for second in (900.0, 901.0))
    assert len(rows) == 25
    first = ledger.read_text().splitlines(keepends=True)[0]
    ledger.write_text(first)  # as if it had been killed between the two files
    out.write_text(whole[:-20])
    result = run(folder, folder, *boxes(folder), "--out", out, "--resume")
    assert "1 answered, 1 failed, answered before: 1" in result.output and result.exit_code == 1
    assert out.read_text() == whole
    out.write_text(whole, encoding="utf-8-sig")  # as spreadsheets save it
    result = run(folder, folder / "a.mkv", *boxes(folder), "--out", out, "--resume")
    assert result.exit_code == 0 and "Nothing to do" in result.output and out.read_text() == whole
    ledger.unlink()
    result = run(folder, folder, *boxes(folder), "--out", out, "--resume")
    assert result.exit_code == 1 and "x.csv.jsonl' isn't" in result.output and out.read_text() == whole


def test_videos_of_one_name(folder: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", moving_pattern(30))
    two = (folder / "a.mkv", tmp_path / "a.mkv", *boxes(folder))
    result = run(folder, *two, "--out", tmp_path / "x.csv")
    assert result.exit_code == 1 and "have the same: write .jsonl" in result.output
    assert not (tmp_path / "x.csv").exists()
    result = run(folder, *two, "--out", tmp_path / "x.csv", "--shard", "1/7")
    assert result.exit_code == 1 and "have the same: write .jsonl" in result.output, "also of other parts"
    result = run(folder, *two, "--format", "csv")
    assert result.exit_code == 1 and "or print it with --format jsonl" in result.output
    assert run(folder, *two, "--format", "jsonl").exit_code == 0


def test_a_name_is_one_videos(folder: Path, tmp_path: Path) -> None:
    """Of ``--video``: answered ones and those of other parts are asked for as well."""
    out, named = tmp_path / "x.jsonl", (*boxes(folder), "--video", "a")
    assert run(folder, folder / "a.mkv", *named, "--out", out).exit_code == 0
    before = out.read_bytes()
    two = (folder / "a.mkv", folder / "b.mkv", *named)
    parts = [("--out", tmp_path / "y.jsonl", "--shard", f"{number}/8") for number in range(1, 9)]
    for options in (("--out", out, "--resume"), *parts):
        result = run(folder, *two, *options)
        assert result.exit_code == 1 and "and there are 2 videos" in result.output
    assert out.read_bytes() == before


def test_avas_csv_has_the_name_that_boxes_have(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    command = (folder / "a.mkv", *boxes(folder), "--video", "b", "--topk", 1)
    assert run(folder, *command, "--out", out).exit_code == 0
    assert {name for name, _ in read_ava(out, scored=True).frames} == {"b"}
    whole = out.read_text()
    assert "Nothing to do" in run(folder, *command, "--out", out, "--resume").output
    assert out.read_text() == whole == run(folder, *command, "--format", "csv").output
    before = whole.replace("b,", "a,")  # as files had it that were written earlier
    out.write_text(before)
    assert "Nothing to do" in run(folder, *command, "--out", out, "--resume").output
    assert out.read_text() == before


def test_a_name_with_line_breaks_is_gone_on_with(folder: Path, tmp_path: Path) -> None:
    name, out = "b\nc\u2028d", tmp_path / "x.csv"
    listed = (folder / "boxes.csv").read_text().replace("b,", f'"{name}",')
    (tmp_path / "boxes.csv").write_text(listed, encoding="utf-8", newline="")
    command = (folder / "a.mkv", "--boxes", tmp_path / "boxes.csv", "--begins-at", 900, "--video", name)
    result = run(folder, *command, "--out", out)
    assert result.exit_code == 0, result.output
    before = out.read_bytes()
    assert "Nothing to do" in run(folder, *command, "--out", out, "--resume").output
    assert out.read_bytes() == before


def test_nothing_said_is_another_setting_than_zero(folder: Path, tmp_path: Path) -> None:
    command = (folder / "a.mkv", *boxes(folder), "--out", tmp_path / "x.jsonl")
    for first, then, sentence in (
        ((), ("--box-score", 0), "made with box_score None, and this is box_score 0.0"),
        (("--box-score", 0), (), "made with box_score 0.0, and this is box_score None"),
    ):
        assert run(folder, *command, *first).exit_code == 0
        result = run(folder, *command, *then, "--resume")
        assert result.exit_code == 1 and sentence in result.output
        (tmp_path / "x.jsonl").unlink()


def test_boxes_that_were_corrected_are_other_settings(folder: Path, tmp_path: Path) -> None:
    corrected, out = tmp_path / "boxes.csv", tmp_path / "x.jsonl"
    corrected.write_text(f"a,0,{ROW},1\n")
    command = (folder / "a.mkv", "--boxes", corrected, "--out", out)
    assert run(folder, *command).exit_code == 0
    assert "Nothing to do" in run(folder, *command, "--resume").output
    row = json.loads(out.read_text())
    del row["boxes_sha256"]  # as rows were written earlier
    out.write_text(json.dumps(row) + "\n")
    assert "Nothing to do" in run(folder, *command, "--resume").output
    out.unlink()
    assert run(folder, *command).exit_code == 0
    corrected.write_text("a,0,0.4,0.1,0.5,0.9,1\n")
    result = run(folder, *command, "--resume")
    assert result.exit_code == 1 and "was made with boxes_sha256 " in result.output


def test_rows_say_which_detector_found_persons(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slowfast_zoo.inference.detect.detect.PersonDetector", NoBody)
    command = (folder / "a.mkv", "--device", "cpu", "--out", tmp_path / "x.jsonl")
    assert run(folder, *command, "--detector", "person").exit_code == 0
    assert json.loads((tmp_path / "x.jsonl").read_text())["detector"] == "person-fast"
    result = run(folder, *command, "--resume", "--detector", "person-fast")
    assert "Nothing to do" in result.output
    result = run(folder, *command, "--resume", "--detector", "person-strong")
    assert result.exit_code == 1 and "made with detector person-fast, and this is" in result.output
    old = (tmp_path / "x.jsonl").read_text().replace('"person-fast"', '"person"')  # as earlier ones had it
    (tmp_path / "x.jsonl").write_text(old)
    for name in ("person", "person-fast"):
        assert "Nothing to do" in run(folder, *command, "--resume", "--detector", name).output
    result = run(folder, *command, "--resume", "--detector", "person-strong")
    assert result.exit_code == 1 and "made with detector person, and this is" in result.output


def test_addresses_that_differ_in_their_query_have_one_name(folder: Path, tmp_path: Path) -> None:
    two = ("http://127.0.0.1:1/a.mkv?id=1", "http://127.0.0.1:1/a.mkv?id=2")
    result = run(folder, *two, *boxes(folder), "--out", tmp_path / "x.csv")
    assert result.exit_code == 1 and "have the same: write .jsonl" in result.output
    assert "id=" not in result.output


def test_rows_on_standard_output_are_utf_8(folder: Path, tmp_path: Path) -> None:
    film = tmp_path / "\u9593.mkv"
    film.write_bytes((folder / "a.mkv").read_bytes())
    arguments = (film, "--boxes", tmp_path / "boxes.csv", "--format", "csv", "--model", folder / "model")
    (tmp_path / "boxes.csv").write_text(f"\u9593,0,{ROW},1\n", encoding="utf-8")
    result = invoke("detect", *arguments, charset="cp1252")
    assert result.exit_code == 0
    assert result.stdout_bytes.decode().startswith(f"\u9593,0000,{ROW},")


def test_ctrl_c_keeps_what_is_there(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "x.csv"
    answer = DetectionRun._answer

    def interrupted(self: DetectionRun) -> Any:
        for window in answer(self):
            yield window
            if self.name.endswith("b.mkv"):
                raise KeyboardInterrupt

    monkeypatch.setattr(DetectionRun, "_answer", interrupted)
    result = run(folder, folder / "a.mkv", folder / "b.mkv", *boxes(folder), "--out", out)
    assert result.exit_code == 130 and "1 of 2 key frames are in" in result.output
    assert "--resume goes on" in result.output
    assert {row[0] for row in read_ava(out, scored=True).frames} == {"a"}
    (partial,) = tmp_path.glob("x.partial-*.csv")
    assert read_ava(partial, scored=True).frames == (("b", 900.0),)
    (tmp_path / "x.partial.csv").write_text("of somebody else")
    monkeypatch.undo()
    result = run(folder, folder / "a.mkv", folder / "b.mkv", *boxes(folder), "--out", out, "--resume")
    assert result.exit_code == 0 and not partial.exists()
    assert (tmp_path / "x.partial.csv").read_text() == "of somebody else"
    assert {row[0] for row in read_ava(out, scored=True).frames} == {"a", "b"}


def test_what_is_refused(folder: Path, tmp_path: Path) -> None:
    film = folder / "a.mkv"
    for arguments, sentence in (
        ((), "either --boxes FILE, or --detector person"),
        ((*boxes(folder), "--detector", "person"), "either --boxes FILE, or --detector person"),
        (("--boxes", folder / "boxes.csv"), "say --begins-at 900"),
        ((*boxes(folder), "--video", "z"), "no boxes of the video 'z'"),
        ((*boxes(folder), "--unit", "pixels"), "Say --unit normalized"),
        ((*boxes(folder), "--out", tmp_path / "x.txt"), "'txt'"),
        ((*boxes(folder), "--resume"), "--resume needs --out"),
        (("--detector", "person", "--unit", "pixels"), "--unit and --video say how --boxes are to be read"),
        (("--detector", "person", "--video", "a"), "--unit and --video say how --boxes are to be read"),
        ((folder / "b.mkv", *boxes(folder), "--video", "a"), "--video a says whose --boxes are meant, and"),
    ):
        result = run(folder, film, *arguments)
        assert result.exit_code == 1 and sentence in result.output, result.output
        assert "Traceback" not in result.output
    assert run(folder, *boxes(folder)).exit_code == 2
    for name in ("x.csv", "x.jsonl"):
        out = ("--out", tmp_path / name)
        result = invoke("detect", film, *boxes(folder), "--model", "slowfast_tiny", *out)
        assert result.exit_code == 1 and "predict takes it" in result.output
    assert not [*tmp_path.glob("x.*")], "the corrected command can take these names"
    result = run(folder, film, command="predict")
    assert result.exit_code == 1 and "scores persons: detect takes it" in result.output
    pickled = tmp_path / "boxes.pkl"
    pickled.write_bytes(pickle.dumps({"a,0000": np.array([[0.1, np.nan, 0.5, 0.9]])}))
    result = run(folder, film, "--boxes", pickled)
    assert result.exit_code == 1 and "not finite" in result.output
    assert not (tmp_path / "x.csv").exists()


def test_one_answer_by_all_ways(folder: Path, tmp_path: Path) -> None:
    from slowfast_zoo import from_pretrained

    out = tmp_path / "x.jsonl"
    run(folder, folder / "a.mkv", *boxes(folder), "--out", out)
    row = json.loads(out.read_text())
    model = from_pretrained(folder / "model")
    answer = detect(model, folder / "a.mkv", boxes=folder / "boxes.csv", begins_at=900, progress=False)
    assert row["persons"] == json.loads(json.dumps(answer.to_dict()))["persons"]


def test_settings_that_can_not_be_are_no_videos_fault(folder: Path, tmp_path: Path) -> None:
    wrong = ("--engine", "onnxruntime", "--precision", "bfloat16")
    result = run(folder, folder, *boxes(folder), "--out", tmp_path / "x.jsonl", *wrong)
    assert result.exit_code == 1 and result.output.count("onnxruntime") == 1, result.output
    assert not (tmp_path / "x.jsonl").exists()
