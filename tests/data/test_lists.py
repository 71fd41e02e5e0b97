"""Lists and tables of other tools: read as they are meant, or refused by line."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.movies import moving_pattern, write_video

from slowfast_zoo.data.annotations import Annotations, unite_classes, with_classes_of
from slowfast_zoo.data.folders import empty_classes, find_splits
from slowfast_zoo.data.labels import read_labels
from slowfast_zoo.data.lists import read_annotations, read_beside, read_parts, read_splits
from slowfast_zoo.data.tables import write_split
from slowfast_zoo.errors import DataError, InputError


def put(folder: Path, *names: str) -> None:
    """Files that are called like videos."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Files that are called like videos, and folders of frames."""
    put(tmp_path, "jump/a.mp4", "jump/b.mp4", "run/c.mp4")
    for name in ("f 1", "g"):
        (tmp_path / "frames" / name).mkdir(parents=True)
        for index in range(1, 4):
            Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "frames" / name / f"{index}.png")
    return tmp_path


def read(root: Path, text: str | bytes, **options: Any) -> Annotations:
    path = root / "list.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_annotations(path, **options)


def described(annotations: Annotations, root: Path) -> list[tuple[str, tuple[int, ...]]]:
    return [(sample.path.relative_to(root).as_posix(), sample.labels) for sample in annotations.samples]


FORMS = {
    "header.tsv": "Label\tPath\njump\tjump/clip 0.mp4\njump\tjump/b.mp4\n\nrun\trun/c.mp4",
    "semicolon.csv": "\ufeffpath;label\r\njump/clip 0.mp4;jump\r\njump/b.mp4;jump\r\nrun/c.mp4;run\r\n",
    "pyslowfast.csv": "jump/clip 0.mp4,0\njump/b.mp4,0\nrun/c.mp4,1\n",
    "mmaction2.txt": "jump/clip 0.mp4 0\njump/b.mp4 0\nrun/c.mp4 1\n",
    "lines.jsonl": "".join(
        json.dumps({"path": path, "label": label}) + "\n"
        for path, label in (("jump/clip 0.mp4", 0), ("jump/b.mp4", 0), ("run/c.mp4", 1))
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_list_means_the_same(clips: Path, name: str) -> None:
    put(clips, "jump/clip 0.mp4")
    (clips / name).write_text(FORMS[name], encoding="utf-8", newline="")
    annotations = read_annotations(clips / name)
    assert described(annotations, clips) == [
        ("jump/clip 0.mp4", (0,)),
        ("jump/b.mp4", (0,)),
        ("run/c.mp4", (1,)),
    ]
    assert annotations.num_classes == 2
    assert annotations.labels in (None, ("jump", "run"))


HEADERS = {
    "path,label": "{p},{n}",
    "video_path,label": "{p},{n}",
    "filename,class": "{p},{n}",
    "video,label": "{p},{n}",
    "path,class_id": "{p},{i}",
    "Video Path,Class-ID": "{p},{i}",
    "class;filename": "{n};{p}",
    "label\tfile_path\tlabel_id": "{n}\t{p}\t{i}",
    ",filename,label": "0,{p},{n}",
    "clip_name,clip_path,label": "x,{p},{n}",
    "path,label,path_of_thumbnail": "{p},{n},t.jpg",
    "Video Path,Class Name": "{p},{n}",
    "Video File;Name of the Actor;Label": "{p};ann;{n}",
    "label name\tvideo path\tlabel id": "{n}\t{p}\t{i}",
    "path label": "{p} {n}",
    '"path" "label" "note, more"': '"{p}" "{n}" "x, y"',
    'path, "label", note': '{p}, "{n}", "x, y"',
    "label; path": '"{n}"; "{p}"',
    'path label "start; s"': "{p} {n} 0",
}


@pytest.mark.parametrize("header", HEADERS)
def test_headers_of_other_tools(clips: Path, header: str) -> None:
    rows = [("jump/a.mp4", "jump", 0), ("jump/b.mp4", "jump", 0), ("run/c.mp4", "run", 1)]
    lines = [header, *(HEADERS[header].format(p=path, n=name, i=index) for path, name, index in rows)]
    annotations = read(clips, "\n".join(lines))
    assert described(annotations, clips) == [(path, (index,)) for path, _, index in rows]
    assert annotations.labels == (
        None if "{i}" in HEADERS[header] and "{n}" not in HEADERS[header] else ("jump", "run")
    )


SECONDS = "begin,end;start,stop;start_sec,end_sec;t-start,t-end;start_s,end_s;Start Secs,Stop Secs;"
SECONDS += "Start (s),End (s);Start time,End time;start [sec],end [sec];time: start,time.end"


@pytest.mark.parametrize(
    ("header", "row"),
    [
        *((header, "1,2.5") for header in SECONDS.split(";")),
        ("start,end,duration", "1,2.5,9"),
        ("start,end,start_frame", "1,2.5,30"),
        ("time_start,start_time,time_end", "1,3,2.5"),
    ],
)
def test_seconds_have_many_names(clips: Path, header: str, row: str) -> None:
    sample = read(clips, f"path,label,{header}\njump/a.mp4,x,{row}").samples[0]
    assert sample.part == (0, None, 1.0, 2.5)


UNREAD = (
    "start_frame,end_frame;from,to;clip_start_ms,clip_end_ms;startFrame,num_frames;offset,fps;in,out;"
    "first (s),last (s);clip_out,clip_in;Start (ms),fps;seg_len,begin",
    "start,duration;start,end_frame;first_frame,last_frame;start,length",
)
"""Headers whose first name, and those whose second is a bound that isn't read."""


@pytest.mark.parametrize(
    ("header", "place"), [(header, place) for place, some in enumerate(UNREAD) for header in some.split(";")]
)
def test_bounds_that_arent_read_are_refused(clips: Path, header: str, place: int) -> None:
    names = header.split(",")
    column = names[place].lower()
    with pytest.raises(
        DataError, match=rf"'{re.escape(column)}' isn't known.* accepted: start and end in seconds"
    ):
        read(clips, f"path,label,{header}\njump/a.mp4,x,1,2")
    record = {"path": "jump/a.mp4", "label": "x", names[0].lower(): 1, names[1]: 2}
    with pytest.raises(DataError, match=rf"'{re.escape(column)}' isn't known"):
        read(clips, json.dumps([record]))


@pytest.mark.parametrize(
    "header", ["start,dur", "start,finish", "begin,finish", "start,until", "start,dur_s"]
)
def test_what_comes_later_than_a_start_bounds_clips_where_it_is_a_moment(clips: Path, header: str) -> None:
    with pytest.raises(DataError, match=f"'{header.partition(',')[2]}' isn't known"):
        read(clips, f"path,label,{header}\njump/a.mp4,x,1,2.5")
    assert read(clips, f"path,label,{header}\njump/a.mp4,x,1,matte").samples[0].part == (0, None, 1.0, None)


HARMLESS = """
finish,until s,x t1,t2,t3 start_score,score_end
duration,cached_from first_frame,num_frames,start_frame total,tone segment_id,first_name indoor,out_of_focus
length,video_length video_start,label_end x_start,x_end min_age,max_age start_hour,end_hour
start_score,end_score start_zone,stop_zone begin_lat,end_lat initial_speed,final_speed
session_start,session_end min_frame_rate,max_frame_rate f0,f1 t0,t1,t2 start_pose_id,end_pose_id
x_min_frame,x_max_frame from_camera,stop_sign offset_y,start_pose endless,to_person
"""


@pytest.mark.parametrize("header", [*HARMLESS.split(), f"start{'times' * 99}!,x"])
def test_columns_that_bound_nothing_stay(clips: Path, header: str) -> None:
    row = ",".join("1" for _ in header.split(","))
    assert read(clips, f"path,label,{header}\njump/a.mp4,x,{row}").samples[0].columns


MOMENTS = "video_start,video_end;gt_end,gt_start;Annotation Start,Annotation End;rep_begin,rep_stop;"
MOMENTS += "initial_frame,final_frame;beginning,ending;min_frame,max_frame;tmin,tmax;t0,t1;"
MOMENTS += (
    "onset,duration;trim_start,trim_end;start_min,end_min;start_hms,end_hms;cut_start,cut_end;t1,t2;s,e;"
)
MOMENTS += "temporal_start,temporal_end;timestamp_start,timestamp_end;start_offset,end_offset;debut,fin"


@pytest.mark.parametrize("header", MOMENTS.split(";"))
def test_columns_of_two_moments_bound_clips(clips: Path, header: str) -> None:
    table = f"path;label;{header.replace(',', ';')}\nrun/c.mp4;x;;\njump/a.mp4;x;"
    first = header.partition(",")[0].lower()
    for values in ("0;10", "0.5;1.25", "0:01;0:05"):
        with pytest.raises(DataError, match=f":3: the column '{first}' isn't known.*another name"):
            read(clips, table + values)
    for values in ("intro;outro", "2024-05-01T12:00;2024-05-02", "1714564800;1714564900"):
        assert len(read(clips, table + values).samples[1].columns) == 2


SPANS = ("timestamp", "event_timestamps", "Segments", "interval_s", "range", "period", "time", "action_time")
SPANS += ("temporal_bounds",)


NUMBERS = (
    "1.0-2.0|[1, 2]|0:01-0:05|(2.5,1)|1.5s - 12s|12 to 30.5|1;2;7|[[1, 2], [3, 4]]|0:59.5..1:00:01|1.5,2.0"
)


@pytest.mark.parametrize("text", NUMBERS.split("|"))
def test_columns_of_several_numbers_bound_clips(clips: Path, text: str) -> None:
    for column in SPANS:
        with pytest.raises(DataError, match=rf":3: the column '{column.lower()}' isn't known"):
            read(clips, f'path|label|{column}\nrun/c.mp4|x|\njump/a.mp4|x|"{text}"', separator="|")


TEXTS = "2024-05-01 12:00|2024-05-01T12:00:00Z||7|1714564800.25|1,5|1 234|00:00:01,500|morning|2024-05|"
TEXTS += f"01-05-2024|20240501 120000|[7]|12:00|intro-2|{'1' * 40 + ' ' * 99}"


@pytest.mark.parametrize("text", TEXTS.split("|"))
def test_columns_of_one_number_or_text_bound_nothing(clips: Path, text: str) -> None:
    for column in SPANS:
        table = read(clips, f'path|label|{column}\njump/a.mp4|x|"{text}"', separator="|")
        assert dict(table.samples[0].columns) == {column.lower(): text.strip()}


def test_a_list_of_two_numbers_bounds_a_clip(clips: Path) -> None:
    record = {"path": "jump/a.mp4", "label": "x"}
    spans = ([0.5, 82.73], ["0:01", "0:05"], {"start": 1, "end": 2}, "00:00:01.500 --> 00:00:03.000")
    for segment in spans:
        with pytest.raises(DataError, match="the column 'segment' isn't known"):
            read(clips, json.dumps([record | {"segment": segment}]))
    assert read(clips, json.dumps([record | {"segment": 3}])).samples[0].columns == (("segment", "3"),)


@pytest.mark.parametrize(
    "header",
    [
        *("in,time_out", "Out,first", "last,inn", "x.1,x_1", "#,(#)", "Note,note."),
        "name of the actor,who has seen it",
    ],
)
def test_other_columns_stay_as_they_are_called(clips: Path, header: str) -> None:
    written = read(clips, f"path,label,{header}\njump/a.mp4,x,1,2")
    columns = {name: str(place) for place, name in enumerate(header.lower().split(","), 1)}
    assert dict(written.samples[0].columns) == columns
    write_split(clips / "out", {"train": written, "val": written})
    for part in read_splits(clips / "out").values():
        assert dict(part.samples[0].columns) == columns


@pytest.mark.parametrize("text", ["jump/a.mp4 0\nrun/c.mp4 1\n", "path,label\njump/a.mp4,x\nrun/c.mp4,ü\n"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_lists_with_a_byte_order_mark(clips: Path, text: str, encoding: str) -> None:
    content = text.encode(encoding)
    content = b"\xff\xfe" + content if encoding == "utf-16-le" else content
    assert described(read(clips, content), clips) == [("jump/a.mp4", (0,)), ("run/c.mp4", (1,))]


def test_mmaction2s_json_and_json_lines(clips: Path) -> None:
    records = [
        {"filename": "jump/a.mp4", "label": [0, 2]},
        {"frame_dir": "frames/g", "total_frames": 3, "label": [1]},
    ]
    for text in (json.dumps(records, indent=1), "\n".join(map(json.dumps, records))):
        annotations = read(clips, text)
        assert described(annotations, clips) == [("jump/a.mp4", (0, 2)), ("frames/g", (1,))]
        assert annotations.multi_label and annotations.samples[1].num_frames == 3


def test_what_json_doesnt_know_is_no_text(clips: Path) -> None:
    record = {"path": "jump/a.mp4", "label": "x", "actor": None, "take": 0, "indoor": False}
    columns = dict(read(clips, json.dumps([record])).samples[0].columns)
    assert columns == {"actor": "", "take": "0", "indoor": "False"}


def test_divided_data_may_be_json(clips: Path) -> None:
    for part in ("train", "val"):
        rows = [{"path": "jump/clip 0.mkv", "label": "jump"}, {"path": "run/clip 2.mkv", "label": "run"}]
        (clips / f"{part}.json").write_text(json.dumps(rows))
    assert {name: path.name for name, path in find_splits(clips).items()} == {
        "train": "train.json",
        "val": "val.json",
    }
    (clips / "train.csv").write_text("path,label\njump/clip 0.mkv,jump\n")
    (clips / "val.json").write_text("{}")  # as Kinetics', which aren't for us
    (clips / "val.csv").write_text("path,label\njump/clip 1.mkv,jump\n")
    assert [path.name for path in find_splits(clips).values()] == ["train.csv", "val.csv"]
    (clips / "training.csv").write_text("path,label\njump/clip 0.mkv,jump\n")
    with pytest.raises(DataError, match=r"two train parts: 'train\.csv' and 'training\.csv'"):
        find_splits(clips)


@pytest.mark.parametrize(
    ("train", "other", "part"),
    [
        ("training", "testing", "test"),
        ("Train", "Dev", "val"),
        ("train", "eval", "val"),
        ("train", "validate", "val"),
    ],
)
def test_parts_have_many_names(clips: Path, train: str, other: str, part: str) -> None:
    put(clips / "data", f"{train}/a/x.mp4", f"{other}/a/x.mp4")
    assert [*read_splits(clips / "data")] == ["train", part]


@pytest.mark.parametrize(
    ("train", "other"), [("train_set", "test_set"), ("train1", "val1"), ("train", "test2")]
)
def test_parts_that_are_called_otherwise_are_no_classes(clips: Path, train: str, other: str) -> None:
    put(clips / "data", f"{train}/a/x.mp4", f"{other}/a/x.mp4")
    with pytest.raises(
        DataError, match=rf"{train}' holds folders of clips.*call the parts train, val and test"
    ):
        read_parts(clips / "data")
    told = read_parts(clips / "data", form="folders")[0]["train"]
    assert told.class_names == tuple(sorted((train, other)))
    inner = clips / "data" / train / "a" / "x.mp4"
    inner.rename(inner.parents[1] / "x.mp4")  # a class of locomotives
    assert read_annotations(clips / "data").class_names == tuple(sorted((train, other)))


@pytest.mark.parametrize(
    ("folders", "file", "parts"),
    [
        ("assembling packing testing", None, None),
        ("dev testing", None, None),
        ("run walk", "eval.json", None),
        ("run walk", "dev.txt", None),
        ("test train val dev eval testing", None, "test train val"),
        ("train valid", "Dev.txt", "train valid"),
        ("training test dev", "testing.csv", "test training dev"),
        ("evaluation train", "eval.json", "evaluation train"),
    ],
)
def test_a_rare_name_is_a_part_where_nothing_else_is(
    clips: Path, folders: str, file: str | None, parts: str | None
) -> None:
    put(clips / "data", *(f"{name}/a/x.mp4" for name in folders.split()))
    if file is not None:
        (clips / "data" / file).write_text("{}")
    found = {path.name for path in find_splits(clips / "data").values()}
    assert found == {*(parts or "").split()}
    read, _ = read_parts(clips / "data")
    assert len(read) == (len(found) or 1) and read["train"].class_names == (
        ("a",) if parts else tuple(folders.split())
    )


@pytest.mark.parametrize("forbidden", [False, True])
def test_what_the_system_cant_look_at_isnt_there(
    clips: Path, monkeypatch: pytest.MonkeyPatch, forbidden: bool
) -> None:
    paths: list[Path] = [clips / ("a" * 300), Path("~nobody at all/data")]
    with pytest.raises(InputError, match=r"a\\0b' has a NUL byte"):
        read_annotations(clips / "a\0b")
    if forbidden:

        def refused(path: Path, **how: object) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "stat", refused)
        paths = [clips]
    for path in paths:
        assert find_splits(path) == {} and empty_classes(path) == []
        with pytest.raises(DataError, match="There is no dataset at"):
            read_annotations(path)


def test_a_path_that_begins_as_a_header_is_none(clips: Path) -> None:
    for name in ("clip, take 2.mp4", "class, b/a.mp4"):
        put(clips, name)
        assert described(read(clips, f"{name} 0\nrun/c.mp4 1\n"), clips)[0] == (name, (0,))


def test_paths_of_windows(clips: Path) -> None:
    assert described(read(clips, "jump\\a.mp4 0\nrun\\c.mp4 1\n"), clips)[1] == ("run/c.mp4", (1,))
    with pytest.raises(DataError, match=r"paths of Windows; write them relative"):
        read(clips, "C:\\data\\a.mp4 0\n")
    with pytest.raises(DataError, match="addresses aren't fetched"):
        read(clips, "https://example.org/a.mp4 0\n")


@pytest.mark.parametrize(
    "line",
    [
        "{} 0",
        "{},0",
        "{}",
        "{} 0 0",
        "{} 0.5 1 0",
        "youtube_id,label\n{},0",
        "path,label\n{},0",
        "path,label\njump/a.mp4,0\n{},1",
    ],
)
def test_addresses_in_lists_are_named_without_secrets(clips: Path, line: str) -> None:
    """Even of paths, whose address has one slash."""
    address = "https://me:SECRET@example.org/a.mp4?sig=SECRET"
    text = line.format(address) + "\n"
    if "jump/" not in line:
        for given in (text, text.replace("//", "/")):
            with pytest.raises(DataError, match=r"example\.org/a\.mp4") as caught:
                read(clips, given)
            assert "SECRET" not in str(caught.value)
    else:
        name = read(clips, text).samples[1].name
        assert name.endswith("example.org/a.mp4") and "SECRET" not in name


@pytest.mark.parametrize(
    "text",
    [
        "video_id,label_index,num_frames\na,1,90\nc,0,80\n",
        "label_index;video_id;fold\n1;a;3\n0;c;3\n",
        "video_id\tlabel_index\na\t1\nc\t0\n",
        "video_id,start,end,label_index\na,0,1,1\nc,0,1,0\n",
        '{"video_id": "a", "label_index": 1}\n{"video_id": "c", "label_index": 0}\n',
        "video_id, num_frames, label_index\na 90 1\nc 80 0\n",
        '"video_id","num_frames","label_index"\na,90,1\nc,80,0\n',
        "# video_id num_frames label_index\na 90 1\nc 80 0\n",
        "video_id, num_frames, label_index, ...\na, 90, 1\nc, 80, 0\n",
    ],
)
def test_labels_of_ids_are_read_by_the_columns_name(clips: Path, text: str) -> None:
    """Only MMAction2's own header, the last four, says nothing but the order of what follows."""
    assert described(read(clips, text), clips) == [("jump/a.mp4", (1,)), ("run/c.mp4", (0,))]
    assert {sample.num_frames for sample in read(clips, text).samples} == {None}, "of the publisher's files"
    assert read(clips, text).num_classes == 2


def test_kinetics_own_table_finds_its_files(tmp_path: Path) -> None:
    first, second = "-abcdefghij", "ABCDEFGHIJK"
    root = tmp_path / "videos"
    names = (f"{first}_000012_000022", f"{first}_000030_000040", second)
    put(root / "riding a bike", *(f"{name}.mp4" for name in names))
    (tmp_path / "train.csv").write_text(
        "label,youtube_id,time_start,time_end,split\n"
        f"riding a bike,{first},12,22,train\nriding a bike,{first},30,40,train\n"
        f"swimming,{second},3,13,train\n"
    )
    annotations = read_annotations(tmp_path / "train.csv", root=root)
    assert [sample.path.stem for sample in annotations.samples] == [*names]
    assert [sample.labels for sample in annotations.samples] == [(0,), (0,), (1,)]
    assert annotations.samples[0].part == (0, None, None, None)  # cut to its part already
    assert annotations.samples[0].columns == (("split", "train"),)


def test_a_root_of_class_folders_would_do_nothing(clips: Path) -> None:
    data = clips / "data"
    put(data, "jump/a.mp4", "run/b.mp4")
    assert read_annotations(data, root=data / ".." / "data").num_classes == 2
    with pytest.raises(DataError, match="holds class folders and takes no root"):
        read_annotations(data, root=clips)


@pytest.mark.parametrize("whole", [True, False])
def test_a_file_called_by_its_id_alone_is_the_part_where_it_is_no_longer(tmp_path: Path, whole: bool) -> None:
    write_video(tmp_path / "ABCDEFGHIJK.mkv", moving_pattern(60, 32, 32), fps=15)
    end = 2 if whole else 4
    (tmp_path / "t.csv").write_text(
        f"label,youtube_id,time_start,time_end,split\nx,ABCDEFGHIJK,{end - 1 if whole else 0},{end},train\n"
    )
    with read_annotations(tmp_path / "t.csv").samples[0].open() as video:
        assert video.num_frames == (15 if whole else 60)


@pytest.mark.parametrize(
    ("rows", "cut"),
    [
        ("A,0,10 B,0,10 C,0,10 D,20,25 D,40,45", False),
        ("A,0,10 A,2,5 D,20,25", False),
        ("A,0,12 B,1,11", False),
        ("A,0,10 B,20,30 C,40,50", True),
        ("A,20,30 D,20,30", None),
    ],
)
def test_a_file_as_long_as_a_part_from_its_begin_on_says_nothing(
    tmp_path: Path, rows: str, cut: bool | None
) -> None:
    for name, seconds in {"A": 10, "B": 10, "C": 10, "D": 60}.items():
        write_video(tmp_path / f"{name}.mkv", moving_pattern(seconds, 16, 16), fps=1)
    table = "video_id,start,end,label\n" + "".join(f"{row},x\n" for row in rows.split())
    if cut is None:
        with pytest.raises(DataError, match="some files called by their id are whole videos"):
            read(tmp_path, table)
        return
    found = read(tmp_path, table).samples
    bounds = [f"{s.path.stem},{s.start_seconds or 0:g},{s.end_seconds or 0:g}" for s in found]
    assert bounds == [f"{row[0]},0,0" if cut else row for row in rows.split()]


def test_linked_folders_are_entered_once(clips: Path) -> None:
    (clips / "jump" / "loop").symlink_to(clips, target_is_directory=True)
    (clips / "l.txt").write_text("a, 3, 0\nc, 3, 1\n")
    assert described(read_annotations(clips / "l.txt"), clips) == [("jump/a.mp4", (0,)), ("run/c.mp4", (1,))]
    shutil.rmtree(clips / "frames")
    assert len(read_annotations(clips).samples) == 4  # jump holds run, by its link


def test_tsns_lists_are_never_taken_for_many_labels(clips: Path) -> None:
    text = "jump/a.mp4 90 0\njump/b.mp4 64 0\nrun/c.mp4 30 1\n"
    with pytest.raises(
        DataError, match=r"list.txt:1: 2 numbers.*'frames label' \(form 'rawframes'\).*--multi-label"
    ):
        read(clips, text)
    for options in ({"form": "rawframes"}, {"multi_label": False}):
        annotations = read(clips, text, **options)
        assert described(annotations, clips)[2] == ("run/c.mp4", (1,))
        assert annotations.samples[0].num_frames == 90 and annotations.num_classes == 2
    assert read(clips, text, multi_label=True).samples[0].labels == (90, 0)
    mixed = read(clips, "jump/a.mp4 0 2\nrun/c.mp4 1\n")
    assert mixed.multi_label and mixed.samples[0].labels == (0, 2)


def test_offsets_have_to_be_named(clips: Path) -> None:
    text = "frames/f 1 1 2 0\nframes/g 0 3 1\n"
    with pytest.raises(DataError, match=r"'first_frame frames label' \(form 'rawframes-offset'\)"):
        read(clips, "frames/f 1 0 3 0\nframes/g 0 3 1\n".replace("f 1 ", "g "))
    annotations = read(clips, text, form="rawframes-offset")
    assert [sample.part[:2] for sample in annotations.samples] == [(1, 2), (0, 3)]
    assert described(annotations, clips) == [("frames/f 1", (0,)), ("frames/g", (1,))]


UNREADABLE: dict[str, tuple[str | bytes, str]] = {
    "unknown header": ("name,tag\njump/a.mp4,x\n", "path,label"),
    "no label column": (
        "video_path,tag\njump/a.mp4,x\n",
        r"no column 'label'; accepted: path .*such as 'path,label'",
    ),
    "no path column": ("label,text\nx,y\n", "no column 'path'"),
    "Kinetics' test table": (
        "youtube_id,time_start,time_end,split\nABCDEFGHIJK,1,2,test\n",
        "no column 'label'",
    ),
    "two labels": ("path,class,category\njump/a.mp4,x,y\n", "'class', 'category' could each be the label"),
    "a name twice": ("path,label,Label\njump/a.mp4,x,y\n", "has a name twice"),
    "a name twice but for marks": ("path,label,fps,(fps)\njump/a.mp4,x,1,2\n", "has a name twice"),
    "another name twice": ("path,label,note,Note\njump/a.mp4,x,1,2\n", "has a name twice"),
    "names without header": ("jump/a.mp4,jump\n", r"list.txt:1: no label number.*'path,label' and below it"),
    "many digits": (f"jump/a.mp4 {'9' * 5000}\n", "no class number"),
    "many digits of frames": (f"frames/g {'9' * 5000} 1\n", "over 9 digits"),
    "a class of millions": ("jump/a.mp4 123456789\n", "no class number; accepted: 0 to 99999"),
    "negative": ("path,label\njump/a.mp4,-1\n", r"list.txt:2: label -1 is below 0"),
    "pandas' floats": ("path,label\njump/a.mp4,1.0\n", r"list.txt:2: label 1.0 is no whole number"),
    "pandas' missing label": ("path,label\njump/a.mp4,nan\n", r"list.txt:2: 'nan' is no label"),
    "no label": ("path,label\njump/a.mp4,\n", r"list.txt:2: a clip without a label"),
    "no path": ("path,label\n,x\n", r"list.txt:2: a clip without a path"),
    "seconds that are none": ("path,label,start\njump/a.mp4,x,nan\n", r"list.txt:2: start is 'nan'"),
    "infinite seconds": ("path,label,end\njump/a.mp4,x,1e999\n", r"list.txt:2: end is '1e999'"),
    "half a frame": ("path,label,num_frames\njump/a.mp4,x,2.5\n", "accepted: a whole number"),
    "a clock's time": ("path,label,start\njump/a.mp4,x,0:12\n", "start is '0:12'"),
    "no rate": ("path,label,fps\njump/a.mp4,x,0\n", "accepted: a number above 0"),
    "escape code": ("path,label\njump/a.mp4,\x1b[31m\n", r"list.txt:2: .*control character"),
    "JSON of no list": ('{\n "a": 1\n}', "Each line is an object"),
    "JSON number": ('{"path": "jump/a.mp4", "label": 1.5}', "1.5 is no label"),
    "JSON null": ('{"path": "jump/a.mp4", "label": null}', "without a label"),
    "JSON bool": ('{"path": "jump/a.mp4", "label": true}', "True is no label"),
    "JSON path": ('{"path": 3, "label": "x"}', "without a path"),
    "JSON half a character": ('{"path": "jump/a.mp4", "label": "\\ud800"}', "half a character"),
    "JSON deep": ("[" * 100_000, "no JSON"),
    "NUL": (b"jump/a.mp4 0\0\n", "no text"),
    "other encoding": ("jump/ü.mp4 0\n".encode("latin-1"), "save it as UTF-8"),
    "long name": ("x" * 5000 + ".mp4 0\n", "None of the 1 clips"),
    "Python's list": (
        "path,label\njump/a.mp4,['x']\n",
        r"""list.txt:2: label "\['x'\]" is a list; accepted: """,
    ),
    "JSON list of one": ('path;label\njump/a.mp4;"[""x""]"\n', r"list.txt:2: label .* is a list"),
    "Python's lists": (
        "path;labels\njump/a.mp4;['x', 'y']\n",
        r"list.txt:2: labels .* no JSON; accepted: a column",
    ),
    "a class twice": (
        "path,labels\nrun/c.mp4,run\njump/a.mp4,jump;jump\n",
        r"list.txt:3: the class 'jump' twice for one clip; write it once",
    ),
    "a number twice in JSON": (
        '{"path": "jump/a.mp4", "label": [0, 2, 0]}',
        r"list.txt:1: the class '0' twice",
    ),
    "commas between labels": (
        'path,labels\njump/a.mp4,"x,y"\nrun/c.mp4,y\n',
        r"list.txt:2: 'x,y' could be one class or several, as 'y' \(.*list.txt:3\) is one; write several as",
    ),
    "semicolons in a label": ("path,label\njump/a.mp4,y\nrun/c.mp4,x;y\n", r"list.txt:3: 'x;y' could be one"),
    "HACS": (
        "classname,youtube_id,label\nJump,ABCDEFGHIJK,1\nRun,ABCDEFGHIJL,1\n",
        r"list.txt:3: label 1 is 'Run' in the column 'classname', and 'Jump' above; leave out the column",
    ),
    "seconds without a header": (
        "jump/a.mp4 0 2 0\nrun/c.mp4 1.5 2.5 1\n",
        r"list.txt:1: .* could be start, end and label; write a table with the header path,start,end,label",
    ),
    "half seconds": (
        "jump/a.mp4 0.5 1 0\nrun/c.mp4 1 2 3\n",
        r"list.txt:1: .* could be start, end and label; .* path,start,end,label\.$",
    ),
    "a row per frame": (
        'original_vido_id video_id frame_id path labels\nX 0 0 jump/f/1.jpg "1,2"\n',
        r"list.txt:2: a row per frame, .*accepted: a row per clip",
    ),
    "quote": ('path,label\n"jump/a.mp4,x\n' + "y" * 200_000, r"list.txt:\d: "),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_cant_be_read_is_refused_by_line(clips: Path, case: str) -> None:
    text, message = UNREADABLE[case]
    with pytest.raises(DataError, match=message) as caught:
        read(clips, text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("table", "labels", "names"),
    [
        ("path;labels\njump/a.mp4;{}\nrun/c.mp4;{}\n", ('["x, y"]', "y"), ("x, y", "y")),
        ("path;labels\njump/a.mp4;{}\nrun/c.mp4;{}\n", ("hit, twice", "sit"), ("hit, twice", "sit")),
        ("path;label\njump/a.mp4;{}\nrun/c.mp4;{}\n", ("hit, twice", "hit"), ("hit", "hit, twice")),
        ("path,label\njump/a.mp4,{}\nrun/c.mp4,{}\n", ("up|down", "left"), ("left", "up|down")),
        ("path,label\njump/a.mp4,{}\nrun/c.mp4,{}\n", ("[none]", "[a] b"), ("[a] b", "[none]")),
    ],
)
def test_labels_with_marks_that_are_one_stay(
    clips: Path, table: str, labels: tuple[str, str], names: tuple[str, str]
) -> None:
    found = read(clips, table.format(*labels))
    assert found.labels == names
    write_split(clips / "out", {"train": found, "val": found})
    assert read_splits(clips / "out")["val"].labels == names


def test_folders_whose_names_hold_other_names_come_back(clips: Path) -> None:
    (clips / "jump").rename(clips / "run|jump")
    shutil.rmtree(clips / "frames")
    found = read_annotations(clips)
    assert found.labels == ("run", "run|jump")
    write_split(clips / "out", {"train": found, "val": found})
    assert read_splits(clips / "out")["val"].counts() == found.counts()
    with pytest.raises(DataError, match="could be one class or several"):
        read(clips, "path,label\nrun/c.mp4,run\nrun/c.mp4,run|jump\n")
    # As earlier versions wrote it into a cache.
    index = "path,label,cached_from\nrun/c.mp4,run,x\nrun/c.mp4,run|jump,y\n"
    assert read(clips, index).labels == ("run", "run|jump")


@pytest.mark.parametrize("note", ["a\rb", "a\r\nb", "a\nb", 'a,"b'])
def test_cells_with_any_line_break_come_back(clips: Path, note: str) -> None:
    found = read_annotations(clips)
    samples = tuple(dataclasses.replace(each, columns=(("note", note),)) for each in found.samples)
    write_split(clips / "out", {"train": dataclasses.replace(found, samples=samples)})
    again = read_annotations(clips / "out" / "train.csv")
    assert {dict(each.columns)["note"] for each in again.samples} == {note}
    nothing = dataclasses.replace(samples[0], columns=(("note", "a\0b"),))
    write_split(clips / "none", {"train": dataclasses.replace(found, samples=(nothing, *samples[1:]))})
    first = read_annotations(clips / "none" / "train.csv").samples[0]
    assert dict(first.columns)["note"] == "ab"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows drops spaces at the end of names")
def test_spaces_around_names_come_back(clips: Path) -> None:
    (clips / "run" / "c.mp4").rename(clips / " c.mp4 ")
    found = read(clips, "path,label\n./ c.mp4 /,run\n")
    assert found.samples[0].path.exists()
    write_split(clips, {"train": found})
    assert read_annotations(clips / "train.csv").samples[0].path.samefile(clips / " c.mp4 ")


def test_what_may_be_several_labels_is_one_where_a_map_says_so(clips: Path) -> None:
    rows = "path,label\njump/a.mp4,x;y\nrun/c.mp4,y\n"
    assert read(clips, rows, labels=["x;y", "y"]).counts() == [1, 1]
    numbers = read(clips, "jump/a.mp4 0 2 0\nrun/c.mp4 1\n", multi_label=True)
    assert (numbers.samples[0].labels, numbers.counts()) == ((0, 2), [1, 1, 1])
    assert read(clips, "path,labels\njump/a.mp4,1;01;2\n").counts() == [0, 1, 1]


def test_numbers_beside_their_own_names_stay(clips: Path) -> None:
    table = "path,label,class_name,class\njump/a.mp4,1,Jump,x\njump/b.mp4,1,jump,y\nrun/c.mp4,0,run,z\n"
    assert [sample.labels for sample in read(clips, table).samples] == [(1,), (1,), (0,)]
    table = table.replace("1,jump", "1,walk")
    assert read(clips, table, labels=["normal", "fall"]).counts() == [1, 2]
    with pytest.raises(DataError, match="leave out the column"):
        read(clips, table)
    nothing = "path,labels,class_name\njump/a.mp4,;,Jump\nrun/c.mp4,;,run\njump/b.mp4,0,run\n"
    assert [sample.labels for sample in read(clips, nothing).samples] == [(), (), (0,)]


def test_long_lines_and_lists_take_linear_time(clips: Path) -> None:
    with pytest.raises(DataError):
        read(clips, "jump/a.mp4 " + "1 " * 100_000 + "x\n")
    assert read(clips, "path,labels\njump/a.mp4," + " " * 120_000 + "x" + " " * 9000 + "\n")
    with pytest.raises(DataError):
        read_labels([f"class {index}" for index in range(200_000)])


@pytest.mark.parametrize("separator", ["", "\n", '"', "7"])
def test_separators_that_are_none_are_refused(clips: Path, separator: str) -> None:
    with pytest.raises(InputError, match="can't stand between fields"):
        read(clips, "jump/a.mp4 0\n", separator=separator)
    assert described(read(clips, "jump/a.mp4\t0\n", separator="\\t"), clips) == [("jump/a.mp4", (0,))]


def test_numbers_without_names_get_none(clips: Path) -> None:
    annotations = read(clips, "jump/a.mp4 0\nrun/c.mp4 1\n")
    assert (annotations.labels, annotations.class_names) == (None, ("class 0", "class 1"))
    named = read(clips, "jump/a.mp4 0\nrun/c.mp4 1\n", labels=["jump", "run", "walk"])
    assert named.class_names == ("jump", "run", "walk")


def test_label_maps_that_begin_at_1(clips: Path) -> None:
    (clips / "classInd.txt").write_text("1 jump\n2 run\n3 walk\n")
    from_1, from_0 = "jump/a.mp4 1\nrun/c.mp4 3\n", "jump/a.mp4 0\nrun/c.mp4 2\n"
    for text in (from_1, from_0):
        annotations = read(clips, text, labels=clips / "classInd.txt")
        assert [sample.labels for sample in annotations.samples] == [(0,), (2,)]
    with pytest.raises(DataError, match="begin at 0 or 1 can't be known"):
        read(clips, "jump/a.mp4 1\n", labels=clips / "classInd.txt")
    train = read(clips, from_1, labels=clips / "classInd.txt")
    (clips / "val.txt").write_text("run/c.mp4 2\n")
    val, notes = read_beside(clips / "val.txt", train)
    assert with_classes_of(train, val).samples[0].labels == (1,) and notes == []


def test_labels_that_are_names_as_well_as_numbers_are_refused(clips: Path) -> None:
    assert read(clips, "jump/a.mp4 5\n", labels=["2", "5"]).samples[0].labels == (1,)
    with pytest.raises(DataError, match=r"list.txt:2: '0' is none of the 2 classes.*not both"):
        read(clips, "jump/a.mp4 5\nrun/c.mp4 0\n", labels=["2", "5"])


@pytest.mark.parametrize(
    ("labels", "fault"),
    [
        (("x", "wave", "swim"), "'x' is none"),
        (("2", "7", "9"), "label 7 is out of range"),
        (("x" * 2000, "y" * 2000), "the class name 'xx"),
        (("12345678901", "12345678902"), "label 12345678901 is no class number"),
    ],
)
def test_the_first_line_that_is_wrong_is_named(clips: Path, labels: tuple[str, ...], fault: str) -> None:
    text = "path,label\n" + "".join(f"jump/a.mp4,{label}\n" for label in labels * 2)
    line = 3 if "7" in labels else 2
    with pytest.raises(DataError, match=rf"list.txt:{line}: {fault}"):
        read(clips, text, labels=["walk", "wave", "run"])


def test_a_part_that_lacks_a_class_shifts_none(clips: Path) -> None:
    put(clips / "data", *(f"{place}/x.mp4" for place in ("train/a", "train/b", "train/c", "val/a", "val/c")))
    parts = read_splits(clips / "data")
    assert parts["val"].labels == ("a", "b", "c")
    assert [sample.labels for sample in parts["val"].samples] == [(0,), (2,)]
    put(clips / "data", "val/d/x.mp4")
    with pytest.raises(DataError, match=r"a class that the training data lacks: 'd'.*--labels"):
        read_splits(clips / "data")


def test_clips_of_classes_without_a_clip_to_train_with_are_left_out_and_named(clips: Path) -> None:
    places = ("train/a/x", "train/b/x", "test/a/x", "test/extra/x", "test/extra/y")
    put(clips / "data", *(f"{place}.mp4" for place in places))
    parts, notes = read_parts(clips / "data")
    assert [(part.labels, part.counts()) for part in parts.values()] == [
        (("a", "b"), [1, 1]),
        (("a", "b"), [1, 0]),
    ]
    assert notes == ["Left out 2 clips of test, of classes without a clip to train with: 'extra'."]
    (clips / "data" / "test" / "extra").rename(clips / "data" / "test" / "B")  # "b" in another spelling
    with pytest.raises(DataError, match="a class that the training data lacks: 'B'"):
        read_parts(clips / "data")
    (clips / "data" / "test" / "B").rename(clips / "data" / "test" / "extra")
    shutil.rmtree(clips / "data" / "test" / "a")  # nothing else is left
    with pytest.raises(DataError, match="a class that the training data lacks: 'extra'"):
        read_parts(clips / "data")


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        (["jumping", "running", "ApplyEyeMakeup"], ["jump", "running"], "'jump'. Did you mean 'jumping'"),
        (["running", "ApplyEyeMakeup"], ["Apply Eye Makeup", "running"], "Did you mean 'ApplyEyeMakeup'"),
        (["running", "TAI CHI"], ["taichi", "running"], "lacks: 'taichi'"),
        (["running", "jumping"], ["cooking_eggs", "jump", "running"], "'jump'. Did you mean 'jumping'"),
        (["0", "1"], ["0", "2"], "label 2 is out of range"),
    ],
)
def test_a_class_that_may_be_misspelled_isnt_left_out(
    clips: Path, train: list[str], val: list[str], message: str
) -> None:
    for part, names in (("train", train), ("val", val)):
        (clips / f"{part}.csv").write_text("path,label\n" + "".join(f"run/c.mp4,{name}\n" for name in names))
    with pytest.raises(DataError, match=re.escape(message)):
        read_parts(clips)


def test_a_class_that_is_like_one_beside_it_is_another(clips: Path) -> None:
    for part, names in (("train", ["walk", "run"]), ("val", ["walk", "talk", "run"])):
        (clips / f"{part}.csv").write_text("path,label\n" + "".join(f"run/c.mp4,{name}\n" for name in names))
    parts, notes = read_parts(clips)
    assert parts["val"].labels == ("run", "walk") and len(parts["val"].samples) == 2
    assert notes == ["Left out 1 clip of val, of classes without a clip to train with: 'talk'."]


SPLIT = ("jump/a.mp4,jump,Train", "run/c.mp4,run,training", "frames/g,run,validate", "jump/b.mp4,fly,test")


def test_a_column_divides_a_table(clips: Path) -> None:
    path = clips / "all.csv"
    path.write_text("\n".join(["path,label,Split", *SPLIT, "jump/b.mp4,jump,testing"]))
    parts, notes = read_parts(path)
    assert [*parts] == ["train", "val", "test"] and {part.labels for part in parts.values()} == {
        ("jump", "run")
    }
    assert [part.counts() for part in parts.values()] == [[1, 1], [0, 1], [1, 0]]
    assert notes == [
        "The column 'split' divides the clips: 2 in train, 1 in val, 2 in test.",
        "Left out 1 clip of test, of classes without a clip to train with: 'fly'.",
    ]
    assert len(read_annotations(path).samples) == 5
    val, notes = read_beside(path, parts["train"])
    assert [clip.path.name for clip in val.samples] == ["g"] and notes[0].endswith(
        "in test. Those in val are used."
    )
    with pytest.raises(DataError, match="a class that the training data lacks: 'fly'"):
        read_splits(path)
    named, _ = read_parts(path, labels=["fly", "jump", "run"])
    assert [part.counts() for part in named.values()] == [[0, 1, 1], [0, 0, 1], [1, 1, 0]]
    assert read_splits(path, labels=["fly", "jump", "run"]) == named
    write_split(clips / "out", {"train": read_annotations(path)})  # divided anew
    assert len(read_parts(clips / "out" / "train.csv")[0]["train"].samples) == 5
    for name in ("train", "VAL"):  # a part already, whose column is of old
        part = path.with_stem(name)
        part.write_text(path.read_text())
        whole, notes = read_parts(part)
        assert ([*whole], len(whole["train"].samples), notes) == (["train"], 5, []) and not read_splits(part)
        val, notes = read_beside(part, whole["train"])
        assert (len(val.samples), notes) == (5, [])
    records = [
        {"path": "jump/a.mp4", "label": 3, "SUBSET": "train"},
        {"path": "run/c.mp4", "label": 1, "SUBSET": "val"},
    ]
    path.write_text(json.dumps(records))
    assert [part.counts() for part in read_splits(path).values()] == [[0, 0, 0, 1], [0, 1, 0, 0]]


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("split", ["train", "train"], None),
        ("split", ["1", "2"], None),
        ("camera", ["train", "test"], None),
        ("part", ["", "val"], None),
        ("part", ["hand", "foot", "test"], None),
        ("subset", ["train", "holdout"], None),
        (
            "set",
            ["train", "val", "holdout"],
            r"all.csv:4: the column 'set' says 'holdout', and train elsewhere; accepted",
        ),
        ("split", ["", "test", "train"], r"all.csv:2: the column 'split' says '', and train elsewhere"),
        (
            "split",
            ["val", "test"],
            r"no training data: The column 'split' divides the clips: 1 in val, 1 in test",
        ),
        ("split,set", ["train,test", "test,train"], "The columns 'split', 'set' name different parts"),
        ("split,set", ["train,train", "test,train"], "divides"),
    ],
)
def test_columns_that_divide_nothing_or_could_mean_two_things(
    clips: Path, header: str, rows: list[str], message: str | None
) -> None:
    path = clips / "all.csv"
    clip_names = ("jump/a.mp4", "run/c.mp4", "jump/b.mp4")
    lines = [f"{clip},x,{row}" for clip, row in zip(clip_names, rows, strict=False)]
    path.write_text("\n".join([f"path,label,{header}", *lines]))
    whole, _ = read_parts(path, anew=True)
    assert [*whole] == ["train"] and len(whole["train"].samples) == len(rows)
    if message in (None, "divides"):
        parts, notes = read_parts(path)
        assert len(parts["train"].samples) == (len(rows) if message is None else 1)
        told = "The column 'subset' says 'holdout' beside train, so it divides nothing."
        assert "holdout" not in rows or notes == [told]
        return
    with pytest.raises(DataError, match=message):
        read_parts(path)


def test_only_columns_that_name_parts_are_left_out_of_parts_that_are_written(clips: Path) -> None:
    path = clips / "all.csv"
    rows = ("jump/a.mp4,x,hand,train,train", "run/c.mp4,x,test,val,val", "jump/b.mp4,x,test,test,extra")
    path.write_text("\n".join(["path,label,part,split,set", *rows]))
    write_split(clips / "out", {"train": read_annotations(path)})
    kept = [sample.columns for sample in read_annotations(clips / "out" / "train.csv").samples]
    assert [dict(columns).get("part") for columns in kept] == ["hand", "test", "test"]
    assert not any("split" in dict(columns) for columns in kept)
    assert [dict(columns).get("set", "") for columns in kept] == ["", "", "extra"]


def test_divided_data_may_have_class_folders_without_clips(clips: Path) -> None:
    put(clips / "data", "train/a/x.mp4", "train/b/x.mp4", "val/a/x.mp4")
    for place in ("train/none", "val/b"):
        (clips / "data" / place).mkdir()
    parts, notes = read_parts(clips / "data")
    assert [(name, part.labels, part.counts()) for name, part in parts.items()] == [
        ("train", ("a", "b"), [1, 1]),
        ("val", ("a", "b"), [1, 0]),
    ]
    assert notes == ["Left out classes whose folders hold no clips: 'none'."]
    assert read_splits(clips / "data") == parts
    whole, notes = read_parts(clips / "data" / "train")
    assert (whole["train"].samples, [*whole]) == (parts["train"].samples, ["train"]) and len(notes) == 1


@pytest.mark.parametrize("labels", [[], [0, 1]])
def test_where_one_label_is_asked_for_each_clip_has_one(clips: Path, labels: list[int]) -> None:
    lines = [{"path": "jump/a.mp4", "label": 0}, {"path": "run/c.mp4", "label": labels}]
    text = "\n".join(map(json.dumps, lines))
    assert read(clips, text, multi_label=True).samples[1].labels == tuple(labels)
    with pytest.raises(DataError, match=rf"list.txt:2: a clip with {len(labels)} labels; exactly one was"):
        read(clips, text, multi_label=False)


def test_classes_of_a_model_are_matched_by_name_or_number_and_never_guessed(clips: Path) -> None:
    folders = read(clips, "path,label\njump/a.mp4,jump\nrun/c.mp4,run\n")
    matched = folders.with_classes(["walk", "run", "jump"], 3, of="the model")
    assert [sample.labels for sample in matched.samples] == [(2,), (1,)]
    with pytest.raises(DataError, match=r"lacks: 'jump', 'run'.*--labels"):
        folders.with_classes(["pan", "tilt"], 2, of="the model")
    with pytest.raises(DataError, match=r"the model has 2 without names: a label map"):
        folders.with_classes(None, 2, of="the model")
    numbers = read(clips, "jump/a.mp4 0\nrun/c.mp4 2\n")
    assert numbers.with_classes(["x", "y", "z"], 3, of="the model").labels == ("x", "y", "z")
    with pytest.raises(
        DataError, match=r"list.txt:2: label 2 is out of range; the model has 2 classes.*--labels"
    ):
        numbers.with_classes(["x", "y"], 2, of="the model")
    with pytest.raises(DataError, match="the training data names them"):
        numbers.with_classes(["x", "y", "z"], 3, of="the training data", first_number=None)


def test_parts_are_united_by_name_or_by_number(clips: Path) -> None:
    one = read(clips, "path,label\njump/a.mp4,jump\nrun/c.mp4,run\n")
    two = read(clips, "path,label\njump/b.mp4,fly\nrun/c.mp4,run\n")
    united = unite_classes({"one": one, "two": two})
    assert {part.labels for part in united.values()} == {("jump", "run", "fly")}
    assert [sample.labels for sample in united["two"].samples] == [(2,), (1,)]
    three, less = read(clips, "jump/a.mp4 2\n"), read(clips, "jump/a.mp4 1\n")
    assert {part.num_classes for part in unite_classes({"a": three, "b": less}).values()} == {3}
    with pytest.raises(DataError, match="classes of one have names, those of three numbers"):
        unite_classes({"three": three, "one": one})


def test_names_that_are_numbers_and_unnamed_classes_come_back_from_their_files(clips: Path) -> None:
    folders = clips / "by number"
    put(folders, "1/x.mp4", "2/x.mp4", "5/x.mp4")
    for written in (read_annotations(folders), read(clips, "jump/a.mp4 0\nrun/c.mp4 2\n")):
        write_split(clips / "out", {"train": written, "val": written})
        for options in ({}, {"labels": clips / "out" / "labels.txt"}):
            parts = read_splits(clips / "out", **options)  # type: ignore[arg-type]
            assert parts["train"].class_names == written.class_names
            assert [s.labels for s in parts["val"].samples] == [s.labels for s in written.samples]


@pytest.mark.parametrize(
    "names", [("NaN", "nap"), ("nan", "run"), ("1", "jump"), ("[1]", "['x']"), ("-1", "a;b"), ("2", "\u00b2")]
)
@pytest.mark.parametrize("column", ["label_name", "labels"])
def test_each_part_that_is_written_has_the_same_classes_by_itself(
    clips: Path, names: tuple[str, str], column: str
) -> None:
    rows = [
        {"path": path, column: name if column == "label_name" else [name]}
        for path, name in zip(("jump/a.mp4", "run/c.mp4"), names, strict=True)
    ]
    text = "\n".join(json.dumps(row).replace('"labels"', '"label_names"') for row in rows)
    whole = read(clips, text)
    write_split(clips / "out", {"train": whole.subset([0]), "val": whole.subset([1])})
    for part, name in zip(("train", "val"), names, strict=True):
        again = read_annotations(clips / "out" / f"{part}.csv")
        assert (again.labels, again.samples[0].labels) == ((name,), (0,))


@pytest.mark.parametrize(
    "name",
    [
        "remark (who; where; when; how)",
        "a\tb\tc\td",
        'x";y;z;w"',
        "1",
        "7.mp4",
        "a;b;c;d\ne",
        "label;path;x;y",
    ],
)
def test_other_columns_come_back_whatever_they_are_called(clips: Path, name: str) -> None:
    whole = read(clips, json.dumps({"path": "jump/a.mp4", "label": "jump", name: "y"}))
    write_split(clips / "out", {"train": whole})
    again = read_annotations(clips / "out" / "train.csv")
    assert again.labels == ("jump",)
    assert dict(again.samples[0].columns) == {name: "y"}


@pytest.mark.parametrize(
    ("header", "row", "kept"),
    [
        ("time_start,time_end,start_frame,end_frame,actor", "12,22,360,660,ann", {"actor": "ann"}),
        ("time_start,start_time,time_end,duration", "12,360,22,99", {"duration": "99"}),
        ("time_start,time_end,in,out,segment,interval", "12,22,0,9,0-9,9", {"interval": "9"}),
    ],
)
def test_bounds_of_what_is_cut_already_leave_no_other_bounds(
    tmp_path: Path, header: str, row: str, kept: dict[str, str]
) -> None:
    (tmp_path / "ABCDEFGHIJK_000012_000022.mp4").touch()
    written = read(tmp_path, f"youtube_id,label,{header}\nABCDEFGHIJK,x,{row}\n")
    write_split(tmp_path / "out", {"train": written, "val": written})
    for part in read_splits(tmp_path / "out").values():
        assert part.samples[0].part == (0, None, None, None)
        assert dict(part.samples[0].columns) == kept


def test_label_names_with_marks_come_back_from_a_table(clips: Path) -> None:
    records = [{"path": "jump/a.mp4", "labels": ["a;b", "c|d"]}, {"path": "run/c.mp4", "labels": ["[e", "1"]}]
    annotations = read(clips, "\n".join(map(json.dumps, records)))
    write_split(clips / "out", {"train": annotations, "val": annotations})
    again = read_splits(clips / "out")["train"]
    assert again.labels == annotations.labels
    assert [sample.labels for sample in again.samples] == [sample.labels for sample in annotations.samples]


@pytest.mark.parametrize(
    "names", [("Jump", "jump"), ("long jump", "Long_Jump"), ("1", "01"), ("caf\u00e9", "cafe\u0301")]
)
def test_one_label_in_two_spellings_is_refused_unless_a_map_names_both(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "t.csv").write_text("path,label_name\n" + "".join(f"a.mp4,{name}\n" for name in names))
    with pytest.raises(
        DataError, match=r"t\.csv:3: .*t\.csv:2\) look like one class in two spellings; write"
    ):
        read_annotations(tmp_path / "t.csv")
    if names[0] != "caf\u00e9":
        assert read_annotations(tmp_path / "t.csv", labels=names).labels == names


def test_a_list_whose_classes_are_digits_keeps_a_column_that_groups(clips: Path) -> None:
    text = "path,label,category\njump/a.mp4,0,ann\njump/b.mp4,0,bob\nrun/c.mp4,1,ann\n"
    found = read(clips, text, labels=("7", "8"))
    for _ in range(2):
        write_split(clips / "split", {"train": found}, group_by="column:category")
        found = read_annotations(clips / "split" / "train.csv")
        assert found.labels == ("7", "8")
        assert [dict(sample.columns)["category"] for sample in found.samples] == ["ann", "bob", "ann"]


@pytest.mark.parametrize("name", [" jump", "jump\u00a0"])
def test_spaces_around_the_names_of_classes_are_the_maps_own(clips: Path, name: str) -> None:
    found = read(clips, "path,label\njump/a.mp4,jump\nrun/c.mp4,run\n", labels=(name, "run"))
    write_split(clips / "split", {"train": found})
    again = read_annotations(clips / "split" / "train.csv", labels=found.labels)
    assert again.labels == found.labels == (name, "run")
    assert [sample.labels for sample in again.samples] == [(0,), (1,)]


def test_what_is_wrong_with_an_object_is_said(clips: Path) -> None:
    with pytest.raises(DataError, match=r"list.txt:1: this is no object .*: the header .* has a name twice"):
        read(clips, '{"path": "jump/a.mp4", "Path": "jump/b.mp4", "label": "jump"}\n')


def test_an_empty_object_is_refused(clips: Path) -> None:
    for text in ("[{}]", "{}\n"):
        with pytest.raises(DataError, match="has no column 'path'"):
            read(clips, text)


def test_a_table_of_strangers_keeps_its_label(clips: Path) -> None:
    found = read(clips, "path,label_name,label\nrun/c.mp4,run,0\njump/a.mp4,jump,1\n")
    assert [sample.labels for sample in found.samples] == [(0,), (1,)] and found.labels is None
    several = read(clips, "path,label_name,labels\nrun/c.mp4,run,a;b\njump/a.mp4,jump,b\n")
    assert [sample.labels for sample in several.samples] == [(0, 1), (1,)]
