"""Own tables of who does what when."""

from __future__ import annotations

from pathlib import Path

import pytest

from slowfast_zoo.data.persons.tables import read_person_table
from slowfast_zoo.errors import DataError

CSV = """video,second,x1,y1,x2,y2,action,person
a.mp4,3.0,20,10,60,90,walk,ann
a.mp4,3.0,20,10,60,90,talk,ann
a.mp4,3.0,100,50,150,80,,bob
a.mp4,4.0,,,,,,
"b, c.mp4",0.5,20,10,60,90,walk;talk,ann
"""
JSON = """{"video": "a.mp4", "frame": 75, "fps": 25, "box": [20, 10, 60, 90], "actions": ["walk", "talk"], \
"person": "ann"}
{"video": "a.mp4", "second": 3.0, "x1": 100, "y1": 50, "x2": 150, "y2": 80, "track": "bob"}
{"video": "a.mp4", "second": 4}

{"video": "b, c.mp4", "second": 0.5, "box": [20, 10, 60, 90], "labels": ["walk", "talk"], "person": "ann"}
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", CSV), ("a.csv", CSV.replace(",walk,", ', "walk", ')), ("a.jsonl", JSON)],
)
def test_forms(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    rows, classes = read_person_table(path)
    assert classes == {1: "walk", 2: "talk"}
    assert rows.frames == (("a.mp4", 3.0), ("a.mp4", 4.0), ("b, c.mp4", 0.5))
    assert rows.frame.tolist() == [0, 0, 0, 2, 2] and rows.labels.tolist() == [1, 2, -1, 1, 2]
    assert rows.persons.tolist() == [0, 0, 1, 2, 2] and rows.unit == "pixels"
    assert rows.boxes[2].tolist() == [100, 50, 150, 80] and rows.scores.tolist() == [1] * 5
    own = {7: "talk", 3: "walk"}
    rows, classes = read_person_table(path, own)
    assert classes == own and rows.labels.tolist() == [3, 7, -1, 3, 7]
    with pytest.raises(DataError, match=r"a\.\w+:\d: there is no action 'walk'\. Did you mean 'walks'"):
        read_person_table(path, {1: "walks"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("video,sec,x1,y1,x2,y2,action\n", "the column 'sec' isn't known. Did you mean 'second'"),
        ("video,second,time,x1,y1,x2,y2\n", "more than one column is 'second'"),
        (
            "video,x1,y1,x2,y2\na,1,1,2,2\n",
            "a row without a time; accepted: second, or frame (from 0) and fps",
        ),
        ("video,frame,x1,y1,x2,y2\na,1,1,1,2,2\n", "a row without a time"),
        ("video,frame,fps\na,1,0\n", "fps is '0'; accepted: a number above 0"),
        ("second,x1,y1,x2,y2\n1,1,1,2,2\n", "a row without a video"),
        ("video,second,x1,y1,x2,y2\na,-1,1,1,2,2\n", "second is '-1'; accepted: a number from 0"),
        ("video,second,x1,y1,x2,y2\na,1,1,1,2,nan\n", "y2 is 'nan'"),
        ("video,second,x1,y1,x2,y2\na,1,1,1,2,\n", "the box is ['1', '1', '2']"),
        ("video,second,x1,y1,x2,y2\na,1,1\n", "3 fields under a header of 6"),
        ("video,second,action\na,1,walk;;talk\n", None),
    ],
)
def test_bad_rows(text: str, says: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    if says is None:  # nothing is done without a box
        assert len(read_person_table(path)[0]) == 0
        return
    with pytest.raises(DataError) as caught:
        read_person_table(path)
    assert says in str(caught.value) and str(caught.value).startswith(f"{path}:")


def test_several_actions_in_a_field_are_written_as_in_lists_of_clips(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    head = "video,second,x1,y1,x2,y2,actions\n"
    path.write_text(
        head + """a,1,1,1,9,9,walk|talk\na,1,1,1,9,8,"[""walk"", ""a;b""]"\na,2,1,1,9,9,talk; walk\n"""
    )
    rows, classes = read_person_table(path)
    assert classes == {1: "walk", 2: "talk", 3: "a;b"} and rows.labels.tolist() == [1, 2, 1, 3, 2, 1]
    path.write_text(head + 'a,1,1,1,9,9,"[""walk"", 1]"\n')
    with pytest.raises(DataError, match=r"a\.csv:2: the actions are \['walk', 1\]; accepted: names"):
        read_person_table(path)
    path.write_text(head.replace("actions", "labels") + "a,1,1,1,9,9,[]\n")
    assert read_person_table(path)[0].labels.tolist() == [-1]


def test_brackets_and_bars_may_be_in_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    names = ["carry|hold", "[other]", "[x] walk", "[1]"]
    for column in ("action", "label"):
        path.write_text(f"video,second,x1,y1,x2,y2,{column}\n" + "".join(f"a,1,1,1,9,9,{n}\n" for n in names))
        assert [*read_person_table(path)[1].values()] == names
    path.write_text("video,second,x1,y1,x2,y2,actions\na,1,1,1,9,9,carry|hold\na,1,1,1,9,9,a;b\n")
    assert read_person_table(path, {3: "carry|hold", 4: "a;b"})[0].labels.tolist() == [3, 4]
    with pytest.raises(DataError, match=r"a\.csv:2: there is no action 'carry'"):
        read_person_table(path, {3: "hold"})


@pytest.mark.parametrize(
    "names", [("Walk", "walk"), ("talk to", "talk_to"), ("1", "01"), ("w\u00e1lk", "wa\u0301lk")]
)
def test_one_action_in_two_spellings_is_refused_unless_a_map_names_both(
    names: tuple[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    rows = (f"a,{second},1,1,9,9,{name}\n" for second, name in enumerate((*names, names[0])))
    path.write_text("video,second,x1,y1,x2,y2,action\n" + "".join(rows))
    with pytest.raises(
        DataError, match=rf"a\.csv:3: '{names[1]}' and '{names[0]}' \(.*a\.csv:2\) look like one"
    ):
        read_person_table(path)
    assert read_person_table(path, dict(enumerate(names)))[0].labels.tolist() == [0, 1, 0]


def test_an_action_that_is_no_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("video,second,x1,y1,x2,y2,action\na,1,1,1,9,9,walk\x1b[31m\n")
    with pytest.raises(DataError, match=r"a\.csv:2: the class name 'walk\\x1b\[31m' has a control character"):
        read_person_table(path)


@pytest.mark.parametrize(
    "line", ["[1]", "{", '{"video": "a", "second": true}', '{"video": "a", "second": 1, "box": 3}']
)
def test_bad_json(line: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(line)
    with pytest.raises(DataError, match=r"a\.jsonl:1: "):
        read_person_table(path)
