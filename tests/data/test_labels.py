"""Class names: label maps of other tools, read as they are meant or refused by line; names with sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slowfast_zoo.data.labels import format_labels, mirrored_classes, read_labels
from slowfast_zoo.errors import DataError

LABEL_MAPS: dict[str, tuple[str, int | None]] = {
    "plain": ("run\njump\n\n", None),
    "PySlowFast's Kinetics map": ('{"\\"run\\"": 0, "jump": 1}', 0),
    "quoted lines": ('"run"\n"jump"\n', None),
    "classInd from 1": ("1 run\n2 jump\n", 1),
    "classInd from 0": ("0 run\r\n1 jump\r\n", 0),
    "out of order": ("1 jump\n0 run\n", 0),
    "with points": ("1. run\n2. jump\n", 1),
    "AVA's text": ("1: run\n2: jump\n", 1),
    "CSV": ("0,run\n1,jump\n", 0),
    "CSV, names first": ("run,0\njump,1\n", 0),
    "dashes": ("1 - run\n2 - jump\n", 1),
    "dashes behind": ("run - 0\njump - 1\n", 0),
    "arrows": ("run -> 0\njump -> 1\n", 0),
    "arrows behind numbers": ("0 => run\n1 => jump\n", 0),
    "bars": ("0|run\n1|jump\n", 0),
    "bars, names first": ("run|0\njump|1\n", 0),
    "equals": ("0=run\n1=jump\n", 0),
    "equals, names first": ("run = 0\njump = 1\n", 0),
    "points alone": ("0.run\n1.jump\n", 0),
    "single quotes": ("0:'run'\n1:'jump'\n", 0),
    "double quotes": ('0 "run"\n1 "jump"\n', 0),
    "quotes alone": ("'run'\n'jump'\n", None),
    "CSV with a header": ("id,name\n0,run\n1,jump\n", 0),
    "CSV with a header, names first": ("name,id\njump,1\nrun,0\n", 0),
    "TSV": ("run\t0\njump\t1\n", 0),
    "names in front": ("run 0\njump 1\n", 0),
    "JSON list": ('["run", "jump"]', None),
    "JSON, names to numbers": ('{"jump": 1, "run": 0}', 0),
    "JSON, numbers to names": ('{\n "1": "run",\n "2": "jump"\n}', 1),
    "JSON objects": ('[{"id": 1, "name": "run"}, {"id": 2, "name": "jump"}]', 1),
    "pbtxt": ('item {\n  name: "run"\n  id: 1\n}\nitem {\n  name: "jump"\n  id: 2\n}\n', 1),
    "pbtxt of AVA 2.1": ('label {\n  name: "run"\n  label_id: 1\n  label_type: PERSON\n}\n', 1),
    "pbtxt with displayed names": ("# map\nitem { id: 1 name: '/m/1' display_name: 'run' }", 1),
}


@pytest.mark.parametrize("case", LABEL_MAPS)
def test_label_maps_of_every_tool(tmp_path: Path, case: str) -> None:
    text, first = LABEL_MAPS[case]
    (tmp_path / "map").write_text(text, newline="")
    found = read_labels(tmp_path / "map")
    assert found.names in (("run", "jump"), ("run",))
    assert found.first == first


WRONG_MAPS = {
    "empty": ("\n\n", "is empty"),
    "empty line": ("a\n\nb\n", r"map:2: .*empty line"),
    "twice": ("a\nb\na\n", r"map:3: .*'a' twice, first at .*map:1"),
    "twice to the eye": ("caf\u00e9\nb\ncafe\u0301\n", r"map:3: .*twice, first at .*map:1"),
    "number twice": ("0 a\n0 b\n", r"map:2: number 0 is taken by 'a'"),
    "gap": ("0 a\n1 b\n3 c\n", r"map:3: .*2 is missing"),
    "from 5": ("5 a\n6 b\n", "5 is the least"),
    "a line without number": ("1 a\n2 b\nc\n", r"map:3: 'c' has no number"),
    "a header alone": ("label\na\nb\n", r"map:1: 'label' is a header"),
    "a header of several": ("Names\na\nhit, twice\n", r"map:1: 'Names' is a header .* JSON list of names"),
    "a header of codes": ("code,name\nA,jump\nB,run\n", r"map:1: 'code,name' is a header"),
    "Excel": ("sep=,\nid,name\n0,jump\n1,run\n", r"map:1: 'sep=,' is no class name"),
    "comment": ("# classes\na\n", r"map:1: '# classes' is no class name"),
    "YAML": ("- a\n- b\n", r"map:1: '- a' is no class name"),
    "YOLO": ("nc: 2\nnames: ['jump','run']\n", r"map:1: 'nc: 2' is no class name; accepted: one name a line"),
    "YOLO's names": ("names: ['jump','run']\n", r"map:1: .* is no class name"),
    "counts": ("0,jump,1200\n1,run,800\n", r"map:1: '0,jump,1200' is no number and name; accepted"),
    "some small counts": ("0 jump 9\n1 run 130\n", r"map:1: '0 jump 9' is no number and name"),
    "counts after blanks": ("0 jump 120\n1 run 130\n", r"map:1: '0 jump 120' is no number and name"),
    "groups": ("0,jump,sports\n1,run,sports\n", r"map:1: '0,jump,sports' is no number and name"),
    "groups in front": ("sports,jump,0\nsports,run,1\n", r"map:1: .* is no number and name"),
    "below 0": ("-1 none\n0 jump\n", r"map:1: '-1 none' is no class name"),
    "floats": ("0.0 jump\n1.0 run\n", r"map:1: '0.0 jump' is no class name"),
    "commas at the end": ("jump,\nrun\n", r"map:1: 'jump,' ends in ',', as others do; accepted: one name"),
    "semicolons at the end": ("jump;\nrun;\n", r"map:1: 'jump;' ends in ';'"),
    "a program's list": ("'jump',\n'run',\n", r"map:1: .* ends in ','"),
    "a program's dict": ('names = {\n"jump": 0,\n"run": 1\n}\n', r"map:1: 'names = {' is no class name"),
    "Markdown's table": ("| id | name |\n|---|---|\n| 0 | jump |\n", r"map:1: .* is no class name"),
    "Markdown's list": ("* jump\n* run\n", r"map:1: '\* jump' is no class name"),
    "tuples": ("(0, 'jump')\n(1, 'run')\n", r"map:1: .* is no class name"),
    "keys": ("id: 0, name: jump\nid: 1, name: run\n", r"map:1: .* is no class name"),
    "keys, names first": ("name: jump, id: 0\nname: run, id: 1\n", r"map:1: .* is no number and name"),
    "one line": ("jump, run, walk\n", r"map:1: 'jump, run, walk' is no class name"),
    "HTML": ("<html>\nb\n", "no class name"),
    "escape code": ("a\x1b[31m\nb\n", r"map:1: .*control character"),
    "CSV line": ("id,name\n0,a\n1;b\n", r"map:3: '1;b' isn't 'id,name'"),
    "JSON key twice": ('{"a": 0, "a": 1}', "'a' occurs twice"),
    "JSON bool": ('{"a": true}', "'a' has True"),
    "JSON numbers only": ('{"0": "1"}', "both numbers"),
    "JSON cut": ('{"a": 0', "no JSON"),
    "JSON deep": ("[" * 100_000, "no JSON"),
    "JSON names": ("[1, 2]", "is a int, not text"),
    "pbtxt cut": ('item {\n name: "a"\n', r"map:1: this item has no end"),
    "pbtxt odd": ('item {\n name: "a"\n id: 1\n}\n!\n', r"map:5: no item"),
    "pbtxt without id": ('item {\n name: "a"\n}\n', r"map:1: an item without a name or a number"),
    "many digits": ("9" * 5000 + " a\n", "characters"),
}


@pytest.mark.parametrize("case", WRONG_MAPS)
def test_odd_label_maps_are_refused_by_line(tmp_path: Path, case: str) -> None:
    text, message = WRONG_MAPS[case]
    (tmp_path / "map").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_labels(tmp_path / "map")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "first"),
    [({"jump": 1, "run": 0}, 0), ({1: "run", 2: "jump"}, 1), ({"0": "run", "1": "jump"}, 0)],
)
def test_a_dict_of_names_is_read_by_its_numbers(names: dict[Any, Any], first: int) -> None:
    assert read_labels(names) == (("run", "jump"), first)
    with pytest.raises(DataError, match="2 is missing"):
        read_labels({0: "a", 1: "b", 3: "c"})
    assert read_labels(dict.fromkeys(("run", "jump")).keys()).names == ("run", "jump")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="a set, which has no order; give a list"):
        read_labels({"jump", "run"})  # type: ignore[arg-type]


def test_names_with_marks_in_them_stay(tmp_path: Path) -> None:
    names = ["men's 100m", "baseball swing: miss", "Pushing [something] onto [something]", "1.5 m jump"]
    names += ["salto - backwards", "close (e.g., a door, a box)", "A=B", "up|down", "(un)locking", "400m"]
    (tmp_path / "map").write_text("\n".join(names))
    assert read_labels(tmp_path / "map") == (tuple(names), None)
    (tmp_path / "map").write_text("0 <blank>\n1 #fail\n2 (un)locking\n3 hit, twice\n")
    assert read_labels(tmp_path / "map") == (("<blank>", "#fail", "(un)locking", "hit, twice"), 0)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1.5 m jump\n2.0 m jump\n", ("1.5 m jump", "2.0 m jump")),
        ("+1 hop\n-1 hop\n", ("+1 hop", "-1 hop")),
        ("0,name\n1,label\n", ("name", "label")),
        ("0,run 100\n1,hurdles 110\n", ("run 100", "hurdles 110")),
        ("0 step 1\n1 step 2\n", ("step 1", "step 2")),
        ("1 apple iphone 5\n2 samsung galaxy 4\n", ("apple iphone 5", "samsung galaxy 4")),
        ("0,sit\n1,hit, twice\n", ("sit", "hit, twice")),
        ("0: open, wide\n1: close, tight\n", ("open, wide", "close, tight")),
        ("close [the] door\nopen (e.g., a box)\n", ("close [the] door", "open (e.g., a box)")),
        ("classes\n", ("classes",)),
    ],
)
def test_names_that_only_look_like_tables_stay(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    (tmp_path / "map").write_text(text)
    assert read_labels(tmp_path / "map").names == names


WRITTEN = ("a;b", "1 a;2 b", "run 0;jump 1", "label;b", "activity;none", "a,;b,", " a;b ", "1;5", "a,0;b,1")


@pytest.mark.parametrize("names", [text.split(";") for text in WRITTEN])
def test_label_maps_that_are_written_read_back(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "map").write_text(format_labels(names))
    assert list(read_labels(tmp_path / "map").names) == names


SIDED = "turn left;turn_right;TurnLeft;LEFT-HAND;roll counterclockwise;rollClockwise;turnleft;TURNLEFT;"
SIDED += "rightturn;lefthand punch;LEFTHand;look leftwards;righty;cw;turn_CCW;counter clock-wise;l2r;"
SIDED += "slide R to L;swipeleft;turnLeft2;go2left3"
UNSIDED = "bright light;copyright;leftovers;bright2;Upright_row;eat left-overs;fright;theft;playwright;"
UNSIDED += "human rights;rightly;wave_L"


@pytest.mark.parametrize(
    ("name", "mirrored"),
    [(name, mirrored) for names, mirrored in ((SIDED, True), (UNSIDED, False)) for name in names.split(";")],
)
def test_mirrored_classes(name: str, mirrored: bool) -> None:
    assert mirrored_classes([name]) == ([name] if mirrored else [])


@pytest.mark.parametrize(
    ("names", "mirrored"),
    [
        (["wave_L", "wave R", "walk"], ["wave_L", "wave R"]),
        (["LPunch", "RPunch", "walk"], ["LPunch", "RPunch"]),
        (["waveL2", "waveR2", "waveR3"], ["waveL2", "waveR2"]),
        (["roll1", "roll 2", "run", "lift"], []),
        (["laufen", "raufen", "load", "road", "LOCKING", "ROCKING", "Lap", "Rap"], []),
        *(
            (names, names[:2])
            for names in (
                ["links", "rechts", "steht"],
                ["nach_links_gehen", "rechter-arm", "Linkskurve"],
                ["Linkskurve", "Rechtskurve", "Linksextrem", "Rechtsanwalt"],
                ["arm_bovenlinks", "arm_bovenrechts", "onder"],
                ["bras gauche", "bras droit", "debout"],
                ["GiroIzq", "giro_der", "andar"],
                ["Esquerda", "DIREITA", "parar"],
                ["sinistra2", "destra2", "fermo"],
                ["va\u0308nster", "h\u00f6ger", "stilla"],
                ["влево", "вправо", "стоит"],
                ["左转", "右转", "停"],
                ["wave_lh", "RH_punch", "lhasa"],
                ["lhand", "rhand", "wave"],
                ["swipe_lft", "swipe_rgt1", "swift"],
                ["lr", "rl", "girl"],
            )
        ),
        (["links", "steht"], []),
        (["der Mann", "die Frau", "dir", "droit"], []),
        (["blinks", "rechtsanwalt", "chlh", "rhino"], []),
    ],
)
def test_classes_that_differ_in_a_side_alone_are_mirrored(names: list[str], mirrored: list[str]) -> None:
    assert mirrored_classes(names) == mirrored
