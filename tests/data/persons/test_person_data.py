"""Datasets of persons: forms of annotations, times and classes, and the items of training and evaluation."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data.persons.test_cvat import TRACKS, written
from data.persons.test_multisports import annotations as multisports
from support.movies import moving_pattern, write_video
from support.person_clips import PERSON_CLIPS

from slowfast_zoo.data.loader import KeyedItems, StepKeys, load
from slowfast_zoo.data.persons.annotations import PersonAnnotations, is_person_data, read_persons
from slowfast_zoo.data.persons.dataset import PersonDataset
from slowfast_zoo.errors import DataError, InputError, VideoError
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.decoding.reader import open_video
from slowfast_zoo.video.transforms.boxes import scale_boxes, train_boxes
from slowfast_zoo.video.transforms.resize import Box
from slowfast_zoo.video.transforms.transforms import TrainTransform, TrainView

SPEC = PERSON_CLIPS.replace(frame_stride=2, time_base="seconds", fps=30.0, sampling="openmmlab-0.x-key")
TABLE = """video,second,x1,y1,x2,y2,action,person
a.mp4,0.5,10,10,40,40,walk,ann
a.mp4,0.5,10,10,40,40,talk,ann
a.mp4,0.5,42,8,60,44,,bob
b,0.2,0,0,64,48,talk,
"""
AVA = """a,0900.5,0.1,0.2,0.5,0.9,2,0
a,0900.5,0.1,0.2,0.5,0.9,4,0
a,0900.5,0.6,0.2,0.9,0.9,1,1
b,0900,0.1,0.1,0.9,0.9,4,0
a,0901,0.1,0.1,0.9,0.9,1,0
"""


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a.mp4 (lossless) and b, a folder of frames."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "a.mkv", moving_pattern(40)).rename(folder / "a.mp4")
    from PIL import Image

    (folder / "b").mkdir()
    for number, frame in enumerate(moving_pattern(12, seed=1), 1):
        Image.fromarray(frame).save(folder / "b" / f"img_{number:05}.png")
    return folder


def table(folder: Path, videos: Path, text: str = TABLE, **options: Any) -> PersonAnnotations:
    path = folder / "persons.csv"
    path.write_text(text)
    return read_persons(path, **{"root": videos, "fps": 30, **options})


def test_forms_are_told_apart(videos: Path, tmp_path: Path) -> None:
    own = table(tmp_path, videos)
    assert own.labels == ("walk", "talk") and own.num_classes == 2 and own.form == "table"
    assert [str(frame) for frame in own.key_frames] == ["a.mp4 at 0.5", "b at 0.2"]
    assert [person.columns for person in own.key_frames[0].persons] == [(0, 1), ()]
    assert own.counts() == [1, 2]
    ava = tmp_path / "ava.csv"
    ava.write_text(AVA)
    read = read_persons(ava, root=videos, begins_at=900, fps=30)
    assert read.labels is None and read.num_classes == 4 and read.form == "ava"
    assert [person.columns for person in read.key_frames[0].persons] == [(1, 3), (0,)]
    assert {name: sample.path.name for name, sample in read.videos.items()} == {"a": "a.mp4", "b": "b"}
    few = read_persons(ava, root=videos, labels={2: "sit", 4: "walk"}, fps=30)
    assert few.labels == ("sit", "walk") and few.counts() == [1, 2]
    assert few.key_frames[0].persons[1].columns == (), "an action that isn't scored"
    for labels in ({"2": "sit", "4": "walk"}, {"sit": 2, "walk": 4}):
        assert read_persons(ava, root=videos, labels=labels, fps=30).counts() == [1, 2]
    pkl = tmp_path / "gt.pkl"
    pkl.write_bytes(pickle.dumps(multisports()))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.mp4").touch()
    sports = read_persons(pkl)
    assert sports.labels == ("jump", "turn") and sports.begins_at == 1 and len(sports.key_frames) == 20
    assert read_persons(pkl, labels=["turn", "jump"]).labels == ("turn", "jump")
    with pytest.raises(DataError, match=r"gt\.pkl' has no action 'trun'\. Did you mean 'turn'"):
        read_persons(pkl, labels=["jump", "trun"])
    assert read_persons(pkl, labels=["jump", "a wholly other thing", "turn"]).labels == ("jump", "turn")
    with pytest.raises(DataError, match=r"gt\.pkl' has no action 'a wholly other thing'\."):
        read_persons(pkl, labels=["a wholly other thing"])
    xml = read_persons(written(tmp_path, TRACKS, source="a.mp4"), root=videos)
    assert xml.labels == ("walk", "talks", "sit") and xml.form == "cvat"
    assert all(is_person_data(path) for path in (own.path, ava, pkl, xml.path))


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({2: "sit", 4: "sit"}, "The label map has 'sit' twice"),
        ({2: 7}, "the name 7 of class 2 is a int, not text"),
        ({2.5: "sit"}, "has 'sit' where its number is expected"),
        ({-1: "sit"}, "-1 has 'sit' where its number is expected"),
        ({"2": "sit", 2: "walk"}, "number 2 is taken by 'sit'"),
        ({}, "The label map is empty"),
    ],
)
def test_label_maps_that_are_none(labels: Any, says: str, videos: Path, tmp_path: Path) -> None:
    (tmp_path / "ava.csv").write_text(AVA)
    with pytest.raises(DataError) as caught:
        read_persons(tmp_path / "ava.csv", root=videos, labels=labels)
    assert says in str(caught.value)


def test_quotes_and_encodings_hide_no_form(videos: Path, tmp_path: Path) -> None:
    """As R's write.csv, pandas' QUOTE_ALL and spreadsheets write."""
    for name, text in (("own", TABLE), ("ava", AVA)):
        quoted = "\n".join(",".join(f'"{field}"' for field in line.split(",")) for line in text.splitlines())
        for encoding in ("utf-8", "utf-8-sig", "utf-16"):
            path = tmp_path / f"{name}.csv"
            path.write_text(quoted, encoding=encoding)
            read = read_persons(path, root=videos, fps=30)
            assert read.form == {"own": "table", "ava": "ava"}[name] and len(read.key_frames) > 1


@pytest.mark.parametrize("mark", [";", "\t"])
def test_semicolons_and_tabs_are_read(mark: str, videos: Path, tmp_path: Path) -> None:
    """As Excel writes, if numbers have points or no decimals."""
    for text in (TABLE, AVA):
        commas, others = (table(tmp_path, videos, written) for written in (text, text.replace(",", mark)))
        assert others.key_frames == commas.key_frames and others.form == commas.form
    (tmp_path / "persons.tsv").write_text(TABLE.replace(",", mark))
    assert len(read_persons(tmp_path / "persons.tsv", root=videos, fps=30).key_frames) == 2
    (tmp_path / "excluded.csv").write_text(f"a{mark}0900.5\n")
    assert len(table(tmp_path, videos, AVA, excluded=tmp_path / "excluded.csv").key_frames) == 2


def test_paths_of_windows_are_found(videos: Path, tmp_path: Path) -> None:
    read = table(tmp_path, videos, TABLE.replace("a.mp4", f"{videos.name}\\a"), root=videos.parent)
    assert read.videos[f"{videos.name}\\a"].path == videos / "a.mp4"


def test_frames_without_anybody_may_come_first(tmp_path: Path) -> None:
    empty, full = '{"video": "a", "second": 4}\n', '{"video": "a", "second": 5, "box": [1, 2, 3, 4]}\n'
    for name, text in (
        ("a.csv", f"a,0902\n{AVA}"),
        ("a.jsonl", empty + full + empty),
        ("a.jsonl", 200 * empty + full),
        ("a.json", 200 * '{"Path": "a", "frame": 4, "fps": 25, "box": null}\n' + full),
    ):
        (tmp_path / name).write_text(text)
        assert is_person_data(tmp_path / name)
    for text in ('{"video": "a", "second": 4, "label": "x"}\n', '{"path": "a", "time": 4, "class": "x"}\n'):
        (tmp_path / "a.jsonl").write_text(text)
        assert not is_person_data(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.mp4,0\n",
        "a.mp4 0\nb.mp4 1\n",
        "",
        "a,300,0\n",
        "a.mp4,0,3,5,7,9,11\n",
        "x 10 1 2 3 4 5 6\n",
    ],
)
def test_lists_of_clips_are_none(text: str, tmp_path: Path) -> None:
    for name in ("list.csv", "list.txt"):
        (tmp_path / name).write_text(text)
        assert not is_person_data(tmp_path / name)
    assert not is_person_data(tmp_path) and not is_person_data(tmp_path / "absent.csv")
    with pytest.raises(DataError, match="doesn't annotate persons; accepted"):
        read_persons(tmp_path / "list.csv")


def test_classes_of_something_else(videos: Path, tmp_path: Path) -> None:
    own = table(tmp_path, videos)
    moved = own.with_classes(("run", "talk", "walk"), 3, of="the model")
    assert moved.counts() == [0, 2, 1] and moved.num_classes == 3
    with pytest.raises(DataError, match="the model lacks 'walk', 'talk' of the data"):
        own.with_classes(("walks",), 1, of="the model")
    with pytest.raises(DataError, match="the model has 5 without names"):
        own.with_classes(None, 5, of="the model")
    (tmp_path / "ava.csv").write_text(AVA)
    numbers = read_persons(tmp_path / "ava.csv", root=videos)
    assert numbers.with_classes(("a", "b", "c", "d", "e"), 5, of="the model").counts() == [2, 1, 0, 2, 0]
    with pytest.raises(DataError, match="action 3 is none of the 2 of the model"):
        numbers.with_classes(None, 2, of="the model")
    some = read_persons(tmp_path / "ava.csv", root=videos, labels={2: "sit", 4: "walk"})
    by_number = some.with_classes(None, 5, of="the model")
    assert by_number.columns == {2: 1, 4: 3} and by_number.counts() == [0, 1, 0, 2, 0]
    assert by_number.labels == ("class 0", "sit", "class 2", "walk", "class 4")
    with pytest.raises(DataError, match="the label map has class 4, and the model has 3 without names"):
        some.with_classes(None, 3, of="the model")


def test_evaluation_sees_the_whole_picture(videos: Path, tmp_path: Path) -> None:
    data = PersonDataset(table(tmp_path, videos), SPEC, train=False)
    assert len(data) == 2 and data.name_of(1) == "b at 0.2" and data.labels == ("walk", "talk")
    clip, persons = data[0]
    assert clip.dtype == torch.uint8 and clip.shape == (4, 32, 43, 3)
    expected = scale_boxes(np.array([[10, 10, 40, 40], [42, 8, 60, 44]]) / [64, 48, 64, 48], SPEC, 48, 64)
    torch.testing.assert_close(persons.boxes, torch.from_numpy(expected).float())
    assert persons.targets.tolist() == [[1, 1], [0, 0]] and persons.annotated is None
    single = "video,second,x1,y1,x2,y2,action\na.mp4,0.5,1,1,9,9,walk\nb,0.2,1,1,9,9,talk\n"
    softmax = PersonDataset(table(tmp_path, videos, single), SPEC, train=False, multi_label=False)
    assert softmax[1][1].targets.tolist() == [1]
    with pytest.raises(DataError, match=r"a person of a.mp4 at 0.5 does 2 of the classes, and the network"):
        PersonDataset(table(tmp_path, videos), SPEC, train=False, multi_label=False)


def test_the_key_frame_lies_where_the_file_says(videos: Path, tmp_path: Path) -> None:
    """Frame 15 of 30 a second, whichever way it is written down; 4 frames at stride 2 begin 4 in front."""
    whole = SPEC.replace(size=48, crop=48, test_crop=48, jitter=(48, 48))
    frames = moving_pattern(40)[[11, 13, 15, 17]]
    (tmp_path / "ava.csv").write_text("a,900.5,.1,.1,.9,.9,1,0\n")
    ava = read_persons(tmp_path / "ava.csv", root=videos, begins_at=900)
    track = '<track id="0" label="walk"><box frame="15" xtl="1" ytl="2" xbr="30" ybr="40"/></track>'
    cvat = read_persons(written(tmp_path, track, attributes="", source="a.mp4"), root=videos)
    box = '<box label="walk" xtl="1" ytl="2" xbr="30" ybr="40"/>'
    picture = f'<image id="0" name="b/img_00006.png">{box}</image>'  # alone, as of a job
    job = read_persons(written(tmp_path, picture, attributes="", source=""), root=videos, fps=30)
    assert [str(frame) for frame in job.key_frames] == ["b at 5"]
    for read in (ava, cvat):
        clip, _ = PersonDataset(read, whole, train=False)[0]
        assert np.array_equal(clip.numpy(), frames)


def test_training_keeps_boxes_on_their_persons(videos: Path, tmp_path: Path) -> None:
    data = PersonDataset(table(tmp_path, videos, TABLE.replace("42,8,60", "57,8,64")), SPEC, train=True)
    kept = 0
    for seed in range(8):
        torch.manual_seed(seed)
        clip, persons = data[0]
        assert clip.shape == (3, 4, 32, 32) and clip.dtype == torch.float32
        assert len(persons.boxes) == len(persons.targets) >= 1
        low, high = persons.boxes[:, :2], persons.boxes[:, 2:]
        assert (low >= 0).all() and (high <= 32).all() and (high - low >= 1).all()
        kept += len(persons.boxes)
        torch.manual_seed(seed)
        again = data[0]
        assert torch.equal(again[0], clip) and torch.equal(again[1].boxes, persons.boxes)
    assert 8 < kept < 16, "who is outside of the crop is left out"


@pytest.mark.parametrize("rule", ["openmmlab", "pyslowfast"])
@pytest.mark.parametrize("flip", [False, True])
def test_boxes_follow_the_pixels(rule: Any, flip: bool) -> None:
    """A white rectangle stays in its box, to a pixel of rounding."""
    sampling: Any = {"openmmlab": "openmmlab-0.x-key", "pyslowfast": "pyslowfast-key"}[rule]
    spec = SPEC.replace(box_rule=rule, sampling=sampling)
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[12:30, 22:40] = 255
    view = TrainView(36, 48, Box(9, 2, 32, 32), flip)
    clip = TrainTransform(spec, {}).apply(frame[None], view)
    shares = np.array([[22, 12, 40, 30]]) / [64, 48, 64, 48]
    box = train_boxes(shares, spec, view, 48, 64)[0]
    rows, columns = np.nonzero(clip[0, 0].numpy() > 0)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert np.abs(box - found).max() <= 1.5


def test_a_detectors_boxes(videos: Path, tmp_path: Path) -> None:
    proposals = tmp_path / "found.csv"
    rows = [
        "a.mp4,0.5,0.16,0.21,0.63,0.84,,0.95",
        "a.mp4,0.5,0.7,0.2,0.9,0.8,,0.8",
        "a.mp4,0.5,.1,.1,.2,.2,,.3",
    ]
    proposals.write_text("".join(f"{row}\n" for row in rows))
    given = table(tmp_path, videos, proposals=[proposals])
    _, persons = PersonDataset(given, SPEC, train=False)[0]
    assert len(persons.boxes) == 1 and len(persons.targets) == 0, "the only box of 0.9 or more"
    assert persons.annotated is not None and len(persons.annotated[0]) == 2
    assert len(PersonDataset(given, SPEC, train=False)[1][1].boxes) == 0, "no boxes of that video"
    wide = SPEC.replace(size=(32, 32), jitter=(32, 32))
    training = PersonDataset(given, wide, train=True)
    counts = set()
    for seed in range(12):
        torch.manual_seed(seed)
        counts.add(len(training[0][1].boxes))
    assert max(counts) == 3, "two persons, and the detector's box that shows the first of them"


def test_several_files_of_a_detectors_boxes(videos: Path, tmp_path: Path) -> None:
    first, second, twice = (tmp_path / f"{name}.csv" for name in ("first", "second", "twice"))
    first.write_text("a.mp4,0.5,0.2,0.2,0.6,0.8,,0.9\n")
    second.write_text("a.mp4,0.9,0.3,0.2,0.6,0.8,,0.9\nb,0.2,0.4,0.2,0.6,0.8,,0.9\n")
    given = table(tmp_path, videos, proposals=[first, second]).proposals
    assert given is not None and given["a.mp4"].seconds == (0.5, 0.9)
    assert given["a.mp4"].at(0.5, 48, 64).normalized[0, 0] == pytest.approx(0.2)
    twice.write_text("b,0.2,0.4,0.2,0.6,0.8,,0.9\n")
    with pytest.raises(DataError, match=r"twice\.csv' has boxes of 'b' at 0\.2, and so has a file before it"):
        table(tmp_path, videos, proposals=[second, twice])
    twice.write_text("")
    with pytest.raises(DataError, match=r"twice\.csv' has no boxes at all"):
        table(tmp_path, videos, proposals=[first, twice])
    first.write_text("a.mp4,0.5,10,12,40,40,,0.9\n")
    pixels = table(tmp_path, videos, proposals=[first], unit="pixels")
    assert PersonDataset(pixels, SPEC, train=False)[0][1].boxes.shape == (1, 4)


@pytest.mark.parametrize("other", ["a.mp4", "a", "a.MKV"])
@pytest.mark.parametrize("name", ["a.mp4", "a", "../{}/a.mp4"])
def test_other_files_may_leave_out_endings_and_folders(
    name: str, other: str, videos: Path, tmp_path: Path
) -> None:
    """``detect`` writes names without them."""
    (tmp_path / "found.csv").write_text(f"{other},0.5,0.2,0.2,0.6,0.8,,0.9\n")
    (tmp_path / "excluded.csv").write_text(f"{other},0.9\n")
    name = name.format(videos.name)
    text = f"video,second,x1,y1,x2,y2,action\n{name},0.5,1,1,9,9,walk\n{name},0.9,1,1,9,9,walk\n"
    given = table(
        tmp_path,
        videos,
        text,
        root=videos,
        proposals=[tmp_path / "found.csv"],
        excluded=tmp_path / "excluded.csv",
    )
    assert [frame.time for frame in given.key_frames] == [0.5]
    assert len(PersonDataset(given, SPEC, train=False)[0][1].boxes) == 1


@pytest.mark.parametrize(("name", "other"), [("u\u0308", "\u00fc.mp4"), ("\u00fc.mp4", "u\u0308")])
def test_other_files_may_write_accents_otherwise(name: str, other: str, videos: Path, tmp_path: Path) -> None:
    (tmp_path / f"{name.removesuffix('.mp4')}.mp4").symlink_to(videos / "a.mp4")
    (tmp_path / "found.csv").write_text(f"{other},0.5,0.2,0.2,0.6,0.8,,0.9\n", encoding="utf-8")
    (tmp_path / "excluded.csv").write_text(f"{other},0.9\n", encoding="utf-8")
    text = f"video,second,x1,y1,x2,y2,action\n{name},0.5,1,1,9,9,walk\n{name},0.9,1,1,9,9,walk\n"
    files = {"proposals": [tmp_path / "found.csv"], "excluded": tmp_path / "excluded.csv"}
    given = table(tmp_path, videos, text, root=tmp_path, **files)
    assert [(frame.video, frame.time) for frame in given.key_frames] == [(name, 0.5)]
    assert len(PersonDataset(given, SPEC, train=False)[0][1].boxes) == 1


def test_a_whole_name_is_meant_before_a_last_part_of_one(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "excluded.csv").write_text("a,0.5\n")
    head, there = "video,second,x1,y1,x2,y2,action\n", f"../{videos.name}/a.mp4"
    for other, left in (("a.mp4", [there]), (f"../../{there[3:]}", [there, f"../../{there[3:]}"])):
        text = head + "".join(f"{name},0.5,1,1,9,9,walk\n" for name in (there, other))
        given = table(tmp_path, videos, text, excluded=tmp_path / "excluded.csv")
        assert [frame.video for frame in given.key_frames] == left
    (tmp_path / "excluded.csv").write_text(f"{videos.name}/a,0.5\n")
    text = f"{head}{videos.name}\\a.mp4,0.5,1,1,9,9,walk\nb,0.2,1,1,9,9,walk\n"
    given = table(tmp_path, videos, text, root=videos.parent, excluded=tmp_path / "excluded.csv")
    assert [frame.video for frame in given.key_frames] == ["b"]


def test_boxes_of_other_videos_or_times_are_refused_where_they_are_scored(
    videos: Path, tmp_path: Path
) -> None:
    """Training may get those of the validation part alone, which is read with the same options."""
    found = tmp_path / "found.csv"
    for text, begins in (
        ("c,0.5", "'c' at 0.5"),
        ("a,900.5", "'a.mp4' at 900.5"),
        ("b/a,0.5", "'b/a' at 0.5"),
    ):
        found.write_text(f"{text},0.2,0.2,0.6,0.8,,0.9\n")
        given = table(tmp_path, videos, proposals=[found])
        with pytest.raises(
            DataError, match=rf"No key frame has boxes .* with 'a\.mp4' at 0\.5, .* {begins};"
        ):
            PersonDataset(given, SPEC, train=False)
        assert len(PersonDataset(given, SPEC, train=True)) == 2
    found.write_text("a,0.5,0.2,0.2,0.6,0.8,,0.9\na.mp4,0.5,0.2,0.2,0.6,0.8,,0.9\n")
    with pytest.raises(DataError, match=r"name one video 'a', 'a\.mp4'; write it alike"):
        table(tmp_path, videos, proposals=[found])


def test_whom_a_detector_finds_where_nobody_is(videos: Path, tmp_path: Path) -> None:
    """Frames that were annotated as empty, and looked at by the detector, are read and scored, too."""
    found = tmp_path / "found.csv"
    found.write_text("b,0.3,0.1,0.1,0.5,0.5,,0.95\n")
    empty = "b,0.3,,,,,,\nb,0.1,,,,,,\n"
    given = table(tmp_path, videos, TABLE + empty, proposals=[found])
    data = PersonDataset(given, SPEC, train=False)
    assert (
        len(data) == 3 and data.name_of(2) == "b at 0.3" and len(PersonDataset(given, SPEC, train=True)) == 2
    )
    _, persons = data[2]
    assert persons.boxes.shape == (1, 4) and persons.annotated is not None
    assert [part.shape for part in persons.annotated] == [(0, 4), (0, 2)]
    assert len(PersonDataset(table(tmp_path, videos, TABLE + empty), SPEC, train=False)) == 2


def test_a_box_at_the_edge_keeps_an_area(videos: Path, tmp_path: Path) -> None:
    """PySlowFast clips to the last pixel, which leaves nothing of a box inside of it."""
    edge = "video,second,x1,y1,x2,y2,action\na.mp4,0.5,63.2,1,64,40,walk\na.mp4,0.5,1,47.5,9,48,walk\n"
    for rule in ("openmmlab", "pyslowfast"):
        data = PersonDataset(table(tmp_path, videos, edge), SPEC.replace(box_rule=rule), train=False)
        boxes = data[0][1].boxes
        assert (boxes[:, 2:] > boxes[:, :2]).all() and boxes.dtype == torch.float32


def test_spawned_workers_give_the_same(videos: Path, tmp_path: Path) -> None:
    data = PersonDataset(table(tmp_path, videos), SPEC, train=True)
    again = pickle.loads(pickle.dumps(data))
    keys = StepKeys(2, micro_batch=2, micro_batches=1, steps_per_epoch=1, steps=range(2), seed=5)
    one, other = (list(load(KeyedItems(d, 5), keys, 0, torch.device("cpu"))) for d in (data, again))
    for first, second in zip(one, other, strict=True):
        assert torch.equal(first.clips, second.clips) and torch.equal(first.boxes, second.boxes)
        assert (
            first.boxes is not None and first.boxes.shape[1] == 5 and len(first.targets) == len(first.boxes)
        )


def test_traps_say_the_way_out(videos: Path, tmp_path: Path) -> None:
    path = tmp_path / "ava.csv"
    path.write_text("a,0902,0.1,0.1,0.9,0.9,1,0\n")
    late = PersonDataset(read_persons(path, root=videos), SPEC, train=True)
    with pytest.raises(DataError, match=r"second 902 isn't in .*say begins_at=900"):
        late[0]
    with pytest.raises(DataError, match=r"second 902 isn't in .*from 900 to 901\.3"):
        PersonDataset(read_persons(path, root=videos, begins_at=900), SPEC, train=False)[0]
    outside = "video,second,x1,y1,x2,y2,action\na.mp4,0.5,70,1,90,9,walk\n"
    with pytest.raises(DataError, match=r"a box of a.mp4 at 0.5 has no area inside of the picture of 64x48"):
        PersonDataset(table(tmp_path, videos, outside), SPEC, train=False)[0]
    for text in ("a.mp4,0.5,40,1,20,9,walk", "a.mp4,0.5,-9,1,0,40,walk", "a,0.5,1,.1,1.1,.2,1,0"):
        own = outside.replace("a.mp4,0.5,70,1,90,9,walk", text) if "walk" in text else text
        with pytest.raises(DataError, match=r"a box of a(\.mp4)? at 0\.5 has no area inside of any picture"):
            PersonDataset(table(tmp_path, videos, own), SPEC, train=True)
    with pytest.raises(DataError, match=r"Nobody in '.*persons\.csv' does anything that is scored"):
        PersonDataset(table(tmp_path, videos, AVA, labels={7: "sit"}), SPEC, train=False)
    with pytest.raises(DataError, match=r"None of the 2 videos of .* is there"):
        table(tmp_path, tmp_path)
    with pytest.raises(InputError, match="for recognition: it has no key frames"):
        PersonDataset(table(tmp_path, videos), ClipSpec(), train=True)
    with pytest.raises(InputError, match="fps is 0; accepted: a number above 0"):
        table(tmp_path, videos, fps=0)
    missing = PersonDataset(table(tmp_path, videos, TABLE.replace("b,", "absent,")), SPEC, train=False)
    with pytest.raises(VideoError, match="absent"):
        missing[1]
    excluded = tmp_path / "excluded.csv"
    excluded.write_text("a.mp4,0.5\n")
    for given in ([excluded], excluded, str(excluded)):
        assert len(table(tmp_path, videos, excluded=given).key_frames) == 1
    with open_video(videos / "a.mp4") as video, pytest.raises(DataError, match="is it another cut"):
        read_persons(written(tmp_path, TRACKS, source="a.mp4"), root=videos).second(video, 40)
