"""What ``slowfast-zoo check`` finds in annotations of persons: a sentence each, with the way out."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from data.persons.test_multisports import annotations as multisports
from support.movies import moving_pattern, write_video

from slowfast_zoo.cli import main
from slowfast_zoo.data.persons.annotations import read_persons
from slowfast_zoo.data.persons.check import PersonReport, check_persons
from slowfast_zoo.errors import DataError

HEADER = "video,second,x1,y1,x2,y2,action,person\n"
GOOD = "a.mp4,0.5,10,10,40,40,walk,ann\na.mp4,0.9,42,8,60,44,talk,bob\n"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name in ("a", "b"):
        write_video(folder / f"{name}.mkv", moving_pattern(40)).rename(folder / f"{name}.mp4")
    return folder


def checked(videos: Path, folder: Path, text: str, **options: Any) -> PersonReport:
    path = folder / "persons.csv"
    path.write_text(text)
    return check_persons({"train": read_persons(path, root=videos, **options)}, progress=False)


def test_nothing_is_wrong(videos: Path, tmp_path: Path) -> None:
    report = checked(videos, tmp_path, HEADER + GOOD)
    assert report.problems == 0 and str(report).endswith("No problems found.")
    assert report.parts == {"train": {"key_frames": 2, "persons": 2, "videos": 1}}
    assert report.classes == {"walk": {"train": 1}, "talk": {"train": 1}}
    assert json.loads(json.dumps(report.to_dict()))["problems"] == 0


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            "a.mp4,9,1,1,9,9,walk,\n",
            "goes from 0 to 1.33333 seconds, and 1 of 3 key frames lie outside",
        ),
        ("c.mp4,0.5,1,1,9,9,walk,\n", "'c.mp4': "),
        (
            "a.mp4,0.5,40,10,20,40,walk,\n",
            "at 0.5: 40, 10, 20, 40 has no area; accepted: x1, y1, x2, y2",
        ),
        (
            "a.mp4,0.5,100,10,300,90,walk,\n",
            "reaches outside of the picture of 64x48 pixels; was it",
        ),
        ("a.mp4,0.5,64,10,66,40,walk,\n", "0.5: 64, 10, 66, 40 reaches outside of the picture of 64x48"),
        ("a.mp4,0.5,-2,10,0,40,walk,\n", "0.5: -2, 10, 0, 40 reaches outside of the picture of 64x48"),
        ("a.mp4,1.352,1,1,9,9,walk,\n", "1 of 3 key frames lie outside, such as 1.352"),
        ("a.mp4,0.5,.1,.1,.5,.5,walk,\n", "1 of 3 boxes are shares of the picture among boxes in pixels"),
        ("a.mp4,0.5,10,10,40,40,walk,ann\n", "1 rows are there twice, such as 'a.mp4' at 0.5"),
        ("a.mp4,0.5,1,1,9,9,walk,ann\n", "1 times a person has another box in the same frame"),
    ],
)
def test_traps_of_ones_own_table(rows: str, says: str, videos: Path, tmp_path: Path) -> None:
    report = checked(videos, tmp_path, HEADER + GOOD + rows)
    assert report.problems == 1 and says in str(report) and "1 problem found" in str(report)


@pytest.mark.parametrize(
    ("rows", "options", "says"),
    [
        (
            "a,0900,.1,.1,.9,.9,1,0\n",
            {},
            "all times fit if videos begin at second 900, as AVA's: --begins-at 900",
        ),
        ("a,0,.1,.1,.9,.9,1,0\n", {"begins_at": 900}, "'a' goes from 900 to 901.333 seconds"),
        ("a,0,.1,.1,.9,.9,0,0\na,1,.1,.1,.9,.9,1,0\n", {"labels": ["sit", "walk"]}, "all are one off; add 1"),
        ("a,0,.1,.1,.9,.9,0,0\na,1,.1,.1,.9,.9,2,0\n", {}, "AVA's numbers begin at 1: add 1 to all"),
        (
            "a,0,.1,.1,.9,.9,3,0\n",
            {"labels": ["sit", "walk"]},
            "the last of 2 classes is 2; is the label map",
        ),
    ],
)
def test_traps_of_avas_form(
    rows: str, options: dict[str, Any], says: str, videos: Path, tmp_path: Path
) -> None:
    report = checked(videos, tmp_path, rows, **options)
    assert report.problems >= 1 and says in str(report)


def test_a_detectors_boxes_and_excluded_frames(videos: Path, tmp_path: Path) -> None:
    found, excluded = tmp_path / "found.csv", tmp_path / "excluded.csv"
    found.write_text("a.mp4,0.5,0.7,0.7,0.9,0.9,,0.9\n")
    excluded.write_text("a,0902\n")
    lists: dict[str, Any] = {"proposals": [found], "excluded": [excluded]}
    report = checked(videos, tmp_path, HEADER + GOOD, **lists)
    assert report.problems == 2
    assert "They show 0 of 2 annotated persons, and 1 of 2 key frames have none" in str(report)
    assert "None of the 1 excluded frames, such as a.mp4 at 902, is annotated" in str(report)
    found.write_text("a.mp4,0.5,10,10,40,40,,0.9\n")
    assert "Say unit='pixels'" in str(checked(videos, tmp_path, HEADER + GOOD, proposals=[found]))


def test_what_is_only_told(videos: Path, tmp_path: Path) -> None:
    report = checked(videos, tmp_path, HEADER + GOOD + "a.mp4,0.5,42,8,60,44,,\n")
    assert report.problems == 0 and "Persons without an action" in str(report)
    pixels = checked(
        videos, tmp_path, "a,1,10.5,10,40,40,1,0\na,1,10.5,10,40,40,7,0\n", labels={1: "sit", 9: "x"}
    )
    assert pixels.problems == 0 and str(pixels).endswith("Nothing wrong, but worth a look.")
    assert set(pixels.told) == {"Boxes in pixels", "Actions that aren't scored", "Classes without persons"}


def test_parts_share_files_not_names(videos: Path, tmp_path: Path) -> None:
    parts = {}
    for part, name in (("train", "a.mp4"), ("val", "a")):
        (tmp_path / part).mkdir()
        (tmp_path / part / "persons.csv").write_text(HEADER + GOOD.replace("a.mp4", name))
        parts[part] = read_persons(tmp_path / part / "persons.csv", root=videos)
    assert check_persons(parts, progress=False).found == {
        "Videos in more than one part": [
            "'a.mp4' is in train and val: scores would be too good; keep each video in one."
        ]
    }
    for part in parts:
        shutil.copy(videos / "a.mp4", tmp_path / part / "a.mp4")
        parts[part] = read_persons(tmp_path / part / "persons.csv")
    assert check_persons(parts, progress=False).problems == 0


def test_classes_that_training_lacks(videos: Path, tmp_path: Path) -> None:
    """``train --validate`` refuses them; in AVA's form numbers are classes, whoever does them."""
    texts = {"train": HEADER + GOOD, "val": HEADER + GOOD.replace("a.mp4", "b.mp4").replace("talk", "Talk")}
    parts = {}
    for part, text in texts.items():
        (tmp_path / f"{part}.csv").write_text(text)
        parts[part] = read_persons(tmp_path / f"{part}.csv", root=videos)
    report = check_persons(parts, progress=False)
    assert report.found == {
        "Classes that train lacks": [
            "'Talk' is in val and not in train: a training can't validate on it. Did you"
            " mean 'talk' or 'walk'?"
        ]
    }
    with pytest.raises(DataError, match="lacks 'Talk'"):
        parts["val"].with_classes(parts["train"].labels, 2, of="the training data")


def test_the_command(videos: Path, tmp_path: Path) -> None:
    train, val = tmp_path / "train.csv", tmp_path / "val.csv"
    train.write_text(HEADER + GOOD)
    val.write_text(HEADER + GOOD)
    arguments = ["check", str(train), str(val), "--root", str(videos)]
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["problems"] == 1 and list(report["found"]) == ["Videos in more than one part"]
    (tmp_path / "gt.pkl").write_bytes(pickle.dumps(multisports()))
    (tmp_path / "a").mkdir()
    for name, parts in (("x", {"train"}), ("v", {"train", "test"})):
        write_video(tmp_path / "a" / f"{name}.mkv", moving_pattern(4))
        result = CliRunner().invoke(main, ["check", str(tmp_path / "gt.pkl"), "--json"])
        assert set(json.loads(result.stdout)["parts"]) == parts
        assert ("Only the training part is looked at: None of the" in result.stderr) is ("test" not in parts)
    val.write_text(HEADER + GOOD.replace("a.mp4", "b.mp4"))
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0 and "val: 2 key frames with 2 persons in 1 video" in result.stdout
