"""CVAT's XML: tracks and pictures, actions as attributes or labels, and what isn't CVAT's."""

from __future__ import annotations

from pathlib import Path

import pytest

from slowfast_zoo.data.persons.cvat import read_cvat
from slowfast_zoo.errors import DataError

HEAD = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><id>7</id><name>monday</name><size>40</size>
<labels><label><name>person</name><color>#fff</color><attributes>{attributes}</attributes></label></labels>
<owner><username>ann</username></owner><source>{source}</source></task><dumped>now</dumped></meta>
"""
CHOSEN = "".join(
    f"<attribute><name>{name}</name><mutable>True</mutable><input_type>{kind}</input_type>"
    f"<default_value></default_value><values>{values}</values></attribute>"
    for name, kind, values in (
        ("pose", "select", "__undefined__\nsit\nwalk"),
        ("talks", "checkbox", "false"),
        ("age", "number", "1;99"),
        ("coat", "radio", "red\nblue"),
    )
)
TRACKS = """<track id="3" label="person" source="manual">
<box frame="0" outside="0" occluded="0" keyframe="1" xtl="10.5" ytl="5" xbr="30" ybr="40" z_order="0">
<attribute name="pose">walk</attribute><attribute name="talks">true</attribute>
<attribute name="age">9</attribute>
</box>
<box frame="1" outside="0" xtl="11" ytl="5" xbr="31" ybr="40"><attribute name="pose">__undefined__</attribute>
<attribute name="talks">false</attribute></box>
<box frame="2" outside="1" xtl="12" ytl="5" xbr="32" ybr="40"><attribute name="pose">sit</attribute></box>
</track>
<track id="4" label="person"><box frame="1" outside="0" xtl="0" ytl="0" xbr="9" ybr="9">
<attribute name="pose">sit</attribute></box><polygon frame="3" points="1,2;3,4"/></track>
"""


def written(folder: Path, body: str, *, attributes: str = CHOSEN, source: str = "a b.mp4") -> Path:
    path = folder / "annotations.xml"
    head = HEAD.format(attributes=attributes, source=source)
    path.write_text(f"{head}{body}</annotations>\n", encoding="utf-8")
    return path


def test_tracks_of_a_video(tmp_path: Path) -> None:
    rows, classes = read_cvat(written(tmp_path, TRACKS))
    assert classes == {1: "walk", 2: "talks", 3: "sit"} and rows.unit == "pixels"
    assert rows.frames == (("a b.mp4", 0.0), ("a b.mp4", 1.0))
    assert rows.frame.tolist() == [0, 0, 1, 1] and rows.labels.tolist() == [1, 2, -1, 3]
    assert rows.persons.tolist() == [0, 0, 0, 1] and rows.boxes[0].tolist() == [10.5, 5, 30, 40]
    own = {2: "sit", 5: "walk", 9: "talks"}
    rows, classes = read_cvat(written(tmp_path, TRACKS), own)
    assert classes == own and rows.labels.tolist() == [5, 9, -1, 2]
    with pytest.raises(DataError, match=r"annotations\.xml:\d+: there is no action 'walk'"):
        read_cvat(written(tmp_path, TRACKS), {1: "sit"})
    with pytest.raises(DataError, match="there is no action 'walk'"):
        read_cvat(written(tmp_path, TRACKS), {1: "dance"})


def test_what_names_no_class_does_not_count(tmp_path: Path) -> None:
    coat = TRACKS.replace("</box>", '<attribute name="coat">red</attribute></box>')
    other = '<track id="9" label="car"><box frame="1" xtl="1" ytl="1" xbr="9" ybr="9"/></track>'
    rows, classes = read_cvat(written(tmp_path, coat + other))
    assert "red" in classes.values() and len(set(rows.persons.tolist())) == 2, "a car is no person"
    rows, classes = read_cvat(written(tmp_path, coat + other), {1: "walk", 2: "sit"})
    assert rows.labels.tolist() == [1, -1, 2]


def test_one_action_in_two_spellings_is_refused_unless_a_map_names_both(tmp_path: Path) -> None:
    path = written(tmp_path, TRACKS.replace(">sit<", ">Walk<"), attributes=CHOSEN.replace("sit", "Walk"))
    with pytest.raises(
        DataError, match=r"xml:\d+: 'Walk' and 'walk' \(.*xml:\d+\) look like one class in two"
    ):
        read_cvat(path)
    assert read_cvat(path, {1: "walk", 2: "Walk", 3: "talks"})[0].labels.tolist() == [1, 3, -1, 2]


def test_labels_are_actions_where_there_are_no_attributes(tmp_path: Path) -> None:
    rows, classes = read_cvat(written(tmp_path, TRACKS, attributes="", source=""))
    assert classes == {1: "person"} and rows.labels.tolist() == [1, 1, 1]
    assert rows.frames[0] == ("monday", 0.0), "a task without a source has its own name"


def test_pictures_are_frames(tmp_path: Path) -> None:
    box = '<box label="person" xtl="1" ytl="2" xbr="3" ybr="4"><attribute name="pose">sit</attribute></box>'
    one = f'<image id="0" name="frame_000012" width="64" height="48">{box}</image>'
    rows, _ = read_cvat(written(tmp_path, f'{one}<image id="1" name="frame_000013"/>'))
    assert rows.frames == (("a b.mp4", 12.0), ("a b.mp4", 13.0)) and rows.persons.tolist() == [-1]
    names = ("a/003.jpg", "b/1.png", "a/004.jpg")
    images = "".join(f'<image id="{n}" name="{name}">{box}</image>' for n, name in enumerate(names))
    rows, _ = read_cvat(written(tmp_path, images))
    assert rows.frames == (("a", 0.0), ("b", 0.0), ("a", 1.0))
    with pytest.raises(DataError, match=r"'cat\.jpg' is a picture by itself"):
        read_cvat(written(tmp_path, '<image id="0" name="cat.jpg"/>'))
    ffmpegs = '<image id="0" name="frame_000001.jpg"/>'
    assert read_cvat(written(tmp_path, ffmpegs))[0].frames == (("a b.mp4", 1.0),), "of a video"
    with pytest.raises(DataError, match=r"'frame_000001\.jpg' is a picture by itself"):
        read_cvat(written(tmp_path, ffmpegs, source=""))


def test_a_picture_is_where_its_folder_has_it(tmp_path: Path) -> None:
    """A job, and a frame step of 10, have some of a folder's pictures only."""
    names = ("walk/0200.jpg", "walk/0210.jpg", "walk/0220.jpg")
    box = '<box label="person" xtl="1" ytl="2" xbr="3" ybr="4"/>'
    images = "".join(f'<image id="{n}" name="{name}">{box}</image>' for n, name in enumerate(names))
    path = written(tmp_path, images)
    every = [f"{number:04}.jpg" for number in range(195, 230)]
    rows, _ = read_cvat(path, pictures=lambda folders: {"walk": every})
    assert rows.frames == (("walk", 5.0), ("walk", 15.0), ("walk", 25.0)) and rows.frame.tolist() == [0, 1, 2]
    with pytest.raises(DataError, match=r"'walk' has no picture '0200\.jpg', but 1 such as 'a\.jpg'"):
        read_cvat(path, pictures=lambda folders: {"walk": ["a.jpg"]})
    text = path.read_text()
    for partial in (
        text.replace("<size>40</size>", "<frame_filter>step=10</frame_filter>"),
        text.replace("<size>40</size>", "<start_frame>200</start_frame>"),
        text.replace("task>", "job>").replace("<name>monday</name>", "").replace("a b.mp4", ""),
    ):
        path.write_text(partial)
        with pytest.raises(DataError, match=r"which frame '0200\.jpg' is, and it isn't there; root"):
            read_cvat(path)
        assert read_cvat(path, pictures=lambda folders: {"walk": every})[0].frames == rows.frames
    path.write_text(
        text.replace("<size>40</size>", "<frame_filter></frame_filter><start_frame>0</start_frame>")
    )
    assert read_cvat(path)[0].frames == (("walk", 0.0), ("walk", 1.0), ("walk", 2.0))


def test_a_turned_box_is_the_one_around_it(tmp_path: Path) -> None:
    for angle, corners in (("90.00", [15, 15, 25, 35]), ("0", [10, 20, 30, 30]), ("180", [10, 20, 30, 30])):
        box = f'<box frame="0" rotation="{angle}" xtl="10" ytl="20" xbr="30" ybr="30"/>'
        rows, _ = read_cvat(written(tmp_path, f'<track id="0" label="person">{box}</track>'))
        assert rows.boxes[0].tolist() == pytest.approx(corners)
    diagonal = (20 + 10) / 8**0.5
    rows, _ = read_cvat(tmp_path / "annotations.xml")
    turned = (tmp_path / "annotations.xml").read_text().replace('"180"', '"45"')
    (tmp_path / "annotations.xml").write_text(turned)
    rows, _ = read_cvat(tmp_path / "annotations.xml")
    expected = [20 - diagonal, 25 - diagonal, 20 + diagonal, 25 + diagonal]
    assert rows.boxes[0].tolist() == pytest.approx(expected)


def test_projects_name_the_task_of_a_track(tmp_path: Path) -> None:
    path = tmp_path / "annotations.xml"
    tasks = "".join(f"<task><id>{n}</id><name>t{n}</name><source>{n}.mp4</source></task>" for n in (4, 5))
    box = '<box frame="3" outside="0" xtl="1" ytl="2" xbr="3" ybr="4"/>'
    track = '<track id="0" label="walk"{}>{}</track>'
    head = "<annotations><meta><project><id>1</id><name>all</name><tasks>{}</tasks></project></meta>{}"
    path.write_text(head.format(tasks, track.format(' task_id="4"', box)) + "</annotations>")
    assert read_cvat(path)[0].frames == (("4.mp4", 3.0),)
    path.write_text(head.format(tasks, track.format("", box)) + "</annotations>")
    with pytest.raises(DataError, match="the file names 2 tasks; export one task at a time"):
        read_cvat(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('<!DOCTYPE a [<!ENTITY b "ha">]><annotations>&b;</annotations>', "defines a document type"),
        ('<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><annotations/>', "defines a document type"),
        ("<annotations><track>", "are no XML: no element found"),
        ("<svg><annotations/></svg>", "<svg> isn't CVAT's <annotations>"),
        ("", "are no XML"),
        ('<?xml version="1.0" encoding="ut-8"?><annotations/>', "unknown encoding: ut-8; save them as UTF-8"),
        ('<?xml version="1.0" encoding="gbk"?><annotations/>', "are not supported; save them as UTF-8"),
        (TRACKS.replace('"10.5"', '"nan"'), "xtl of the box is 'nan'; accepted: a number"),
        (TRACKS.replace('ybr="40" z', 'z="40" z'), "ybr of the box is None"),
        (TRACKS.replace('frame="0"', ""), "frame of the box is None"),
    ],
)
def test_what_is_not_cvats(text: str, says: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    if not text.startswith("<track"):
        path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_cvat(path)
    assert says in str(caught.value) and "annotations.xml" in str(caught.value)
    with pytest.raises(DataError, match="can't be read"):
        read_cvat(tmp_path / "absent.xml")
