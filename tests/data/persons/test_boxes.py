"""Persons' boxes from every form that is accepted, and what isn't."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from slowfast_zoo.data.persons.actions import read_ava
from slowfast_zoo.data.persons.boxes import Boxes, person_boxes
from slowfast_zoo.errors import DataError, InputError

HEIGHT, WIDTH = 100, 200
BOX = [20.0, 10.0, 60.0, 90.0]
OTHER = [100.0, 50.0, 150.0, 80.0]
SHARES = [0.1, 0.1, 0.3, 0.9]


def at(source: Any, second: float = 1.0, **how: Any) -> Boxes:
    boxes = person_boxes(source, **how)
    return boxes.at(second, HEIGHT, WIDTH, np.zeros((HEIGHT, WIDTH, 3), np.uint8))


def supervision(tracker_id: Any = None, data: Any = None) -> SimpleNamespace:
    fields = {"xyxy": np.array([BOX, OTHER]), "confidence": np.array([0.9, 0.8], np.float32)}
    return SimpleNamespace(**fields, class_id=np.array([0, 0]), tracker_id=tracker_id, data=data)


def torchvision() -> dict[str, torch.Tensor]:
    scores, labels = torch.tensor([0.9, 0.8]), torch.tensor([1, 3])
    return {"boxes": torch.tensor([BOX, OTHER]), "scores": scores, "labels": labels}


def ultralytics(names: Any = None) -> SimpleNamespace:
    boxes = SimpleNamespace(
        xyxy=torch.tensor([BOX, OTHER]),
        conf=torch.tensor([0.9, 0.8]),
        cls=torch.tensor([0.0, 2.0]),
        id=torch.tensor([7.0, 8.0]),
    )
    return SimpleNamespace(boxes=boxes, names=names or {0: "person", 2: "car"})


@pytest.mark.parametrize(
    ("source", "boxes", "scores", "tracks"),
    [
        (np.array([BOX]), [BOX], [1], None),
        ([[*BOX, 0.9], [*OTHER, 0.5]], [BOX, OTHER], [0.9, 0.5], None),
        (BOX, [BOX], [1], None),
        (np.zeros((0, 4)), [], [], None),
        ([], [], [], None),
        ({1: [BOX], 2.0: [OTHER]}, [BOX], [1], None),
        ({2.0: [OTHER]}, [], [], None),
        ({1.0: {"boxes": [BOX], "scores": [0.3], "tracks": ["ann"]}}, [BOX], [0.3], ("ann",)),
        ({1.0: {"boxes": [BOX, OTHER], "tracks": ["ann", None]}}, [BOX, OTHER], [1, 1], ("ann", None)),
        ({1.0: {"boxes": [BOX, OTHER], "tracks": ["a", np.nan]}}, [BOX, OTHER], [1, 1], ("a", None)),
        (ultralytics(names={0: "helmet", 2: "Person"}), [OTHER], [0.8], ("8",)),
        (supervision(data={"class_name": np.array(["car", "person"])}), [OTHER], [0.8], None),
        (supervision(tracker_id=np.array([5.0, np.nan])), [BOX, OTHER], [0.9, 0.8], ("5", None)),
        (torch.tensor([BOX], dtype=torch.bfloat16), [BOX], [1], None),
        (torchvision(), [BOX], [0.9], None),
        ([torchvision()], [BOX], [0.9], None),
        (lambda frame: [torchvision()], [BOX], [0.9], None),
        (supervision(), [BOX, OTHER], [0.9, 0.8], None),
        (supervision(tracker_id=np.array([5, 6])), [BOX, OTHER], [0.9, 0.8], ("5", "6")),
        (ultralytics(), [BOX], [0.9], ("7",)),
        ([ultralytics()], [BOX], [0.9], ("7",)),
        (lambda frame: (np.array([BOX]), np.array([0.4])), [BOX], [0.4], None),
        (lambda frame: ultralytics(), [BOX], [0.9], ("7",)),
        (lambda frame: [[0, 0, frame.shape[1], frame.shape[0]]], [[0, 0, WIDTH, HEIGHT]], [1], None),
    ],
)  # fmt: skip
def test_forms(source: Any, boxes: Any, scores: Any, tracks: Any) -> None:
    found = at(source)
    assert found.pixels.tolist() == boxes and found.scores.tolist() == pytest.approx(scores)
    assert found.tracks == tracks and (found.pixels.dtype, found.pixels.shape) == (
        np.float64,
        (len(boxes), 4),
    )
    expected = np.array(boxes).reshape(-1, 4) / [WIDTH, HEIGHT, WIDTH, HEIGHT]
    assert np.array_equal(found.normalized, expected)


def test_key_frames_and_times() -> None:
    boxes = person_boxes({902.0: [BOX], 901.0: [OTHER]}, begins_at=900)
    assert boxes.seconds == (1.0, 2.0) and not boxes.needs_frames
    assert boxes.at(2.01, HEIGHT, WIDTH).pixels.tolist() == [BOX]  # rounded on its way
    assert len(boxes.at(2.1, HEIGHT, WIDTH)) == 0
    boxes.check_duration(2.0)
    with pytest.raises(InputError, match=r"1 of 2 key frames .* such as 2 s; it lasts 1\.500 s"):
        boxes.check_duration(1.5)
    with pytest.raises(InputError, match="begins_at=900"):
        person_boxes({902.0: [BOX]}).check_duration(900)
    assert person_boxes([BOX]).seconds is None
    asking = person_boxes(lambda frame: [BOX])
    assert asking.needs_frames and asking.seconds is None
    with pytest.raises(InputError, match="no frame was given"):
        asking.at(0, HEIGHT, WIDTH)


def test_shares() -> None:
    assert at([SHARES], unit="normalized").pixels.tolist() == [BOX]
    over = [[-0.1, 0.5, 1.1, 1.2]]  # reaches outside, as AVA's may
    assert at(over, unit="normalized").normalized.tolist() == pytest.approx(np.array(over))


@pytest.mark.parametrize(
    ("source", "how", "says"),
    [
        ([SHARES], {}, "reach 0.9: these are shares of width and height, given as pixels. Say"),
        ([BOX], {"unit": "normalized"}, "reach 90: these are pixels, given as shares"),
        ([BOX], {"unit": "percent"}, "accepted: 'pixels' or 'normalized'"),
        ([[20, 10, float("nan"), 90]], {}, "Box 0 at 1 s is 20, 10, nan, 90, score 1: not finite numbers"),
        ([[20, 10, float("inf"), 90]], {}, "not finite numbers"),
        ([[20, 10, 1e300, 90]], {}, "not finite numbers below"),
        ([[20, 10, 10**400, 90]], {}, "can't be read from a list"),
        (torch.zeros(1, 4, device="meta"), {}, "can't be read from a Tensor"),
        ({1.0: {}}, {}, "a dict with nothing; accepted: 'boxes'"),
        ({1.0: {"boxes": [BOX], "tracks": [[1], [2, 3]]}}, {}, "There are 1 boxes and 2 track ids at 1 s"),
        ([BOX], {"begins_at": float("nan")}, "begins_at is nan; accepted: a finite number of seconds"),
        ([BOX], {"begins_at": "900"}, "begins_at is '900'"),
        ([[*BOX, float("nan")]], {}, "not finite numbers"),
        ([BOX, [60, 10, 20, 90]], {}, "Box 1 at 1 s is 60, 10, 20, 90, which has no area"),
        ([[100, 50, 40, 30]], {}, "not x, y, width, height"),
        ([[20, 10, 20, 90]], {}, "has no area"),
        ([[300, 10, 400, 90]], {}, "outside the picture of 200x100 pixels; were the boxes made for another"),
        ([[-50, 10, -5, 90]], {}, "outside the picture"),
        (np.tile(BOX, (10_000, 1)), {}, "There are 10000 boxes at 1 s; accepted: up to 1000"),
        (np.zeros((2, 6)), {}, r"shape (2, 6); accepted: (n, 4) or (n, 5)"),
        (np.zeros((2, 2, 4)), {}, r"shape (2, 2, 4)"),
        ("boxes.txt", {}, "can't be read"),
        (object(), {}, "can't be read from a object"),
        ([ultralytics(), ultralytics()], {}, "can't be read from a list"),
        ({"1": [BOX]}, {}, "has the key '1'; accepted: the second"),
        ({float("nan"): [BOX]}, {}, "has the key nan"),
        ({1.0: {"box": [BOX]}}, {}, "a dict with 'box'; accepted: 'boxes'"),
        ({"boxes": [BOX], "scores": [1, 1]}, {}, "There are 1 boxes and 2 scores"),
        (lambda frame: None, {}, "Boxes at 1 s"),
        ([[0, 0, 100_000, 90]], {}, "reach 100000 in a picture of 200x100 pixels"),
        (ultralytics(names={0: "helmet", 2: "car"}), {}, "finds 'helmet', 'car', and no 'person'"),
        (([[1, 2, 30, 40], [1, 2, 3]], [0.9, 0.8]), {}, "can't be read from a list"),
    ],
)  # fmt: skip
def test_bad_boxes(source: Any, how: dict[str, Any], says: str) -> None:
    with pytest.raises((InputError, DataError)) as caught:
        at(source, **how)
    assert says in str(caught.value)


def test_a_video_is_found_however_its_accents_are_written(tmp_path: Path) -> None:
    one, two = "M\u00fcller", "Mu\u0308ller"
    for there, asked in ((one, two), (two, one)):
        path = tmp_path / "a.csv"
        path.write_text(f"{there},1,0.1,0.1,0.3,0.9,12,3\nother,2,0.1,0.1,0.3,0.9,12,3\n", encoding="utf-8")
        assert person_boxes(path, video=asked).seconds == (1.0,)


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "vid,0901,0.1,0.1,0.3,0.9,12,3\nvid,0901,0.1,0.1,0.3,0.9,17,3\nvid,0901,0.5,0.5,0.75,0.8,12,4\nvid,0902\n"
    )
    boxes = person_boxes(path, begins_at=900)
    assert boxes.seconds == (1.0, 2.0)
    truth = boxes.at(1.0, HEIGHT, WIDTH)
    assert (
        truth.pixels.tolist() == [BOX, OTHER]
        and truth.tracks == ("3", "4")
        and truth.scores.tolist() == [1, 1]
    )
    assert len(boxes.at(2.0, HEIGHT, WIDTH)) == 0
    # PySlowFast's person boxes have no action
    path.write_text(
        "vid,0901,0.1,0.1,0.3,0.9,,0.95\nvid,0901,0.5,0.5,0.75,0.8,,1.0\nwid,0901,0.5,0.5,0.75,0.8,,0.5\n"
    )
    persons = person_boxes(str(path), video="vid", begins_at=900).at(1.0, HEIGHT, WIDTH)
    assert persons.scores.tolist() == [0.95, 1.0] and persons.tracks is None
    with pytest.raises(InputError, match=r"boxes of 2 videos: say video=.* It has 'vid', 'wid'"):
        person_boxes(path)
    with pytest.raises(InputError, match=r"no boxes of the video 'vidd'\. Did you mean 'vid'"):
        person_boxes(path, video="vidd")
    # detections: how sure actions are says nothing of the boxes, in the whole file
    detections = (
        "vid,1,0.1,0.1,0.3,0.9,12,0.25\nvid,1,0.1,0.1,0.3,0.9,17,0.5\nvid,1,0.5,0.5,0.75,0.8,12,0.6\n"
    )
    path.write_text(f"{detections}vid,2,0.1,0.1,0.3,0.9,12,0.75\n")
    assert at(path).scores.tolist() == [1, 1] and at(path, 2.0).scores.tolist() == [1]
    # PySlowFast's boxes with actions repeat a box's score; seven columns: nobody is numbered
    path.write_text(
        "vid,1,0.1,0.1,0.3,0.9,12,0.25\nvid,1,0.1,0.1,0.3,0.9,17,0.25\nvid,1,0.5,0.5,0.75,0.8,12,0.6\n"
    )
    assert at(path).scores.tolist() == [0.25, 0.6]
    # an action has one score: these are one box twice, or a box and an action of it, in any order
    for rows in (((12, 0.25), (12, 0.5)), (("", 0.5), (12, 0.25)), ((12, 0.25), ("", 0.5))):
        twice = "".join(f"vid,1,0.1,0.1,0.3,0.9,{action},{score}\n" for action, score in rows)
        path.write_text(f"{twice}vid,1,0.5,0.5,0.75,0.8,12,0.05\n")
        assert at(path).scores.tolist() == [0.5, 0.05]
    path.write_text("vid,1,0.1,0.1,0.3,0.9,12\n")
    assert at(path).tracks is None and read_ava(path, scored=False).persons.tolist() == [-1]
    path.write_text("vid,1,0.1,0.1,0.3,0.9,12,3\nvid,1,0.5,0.5,0.75,0.8,12\n")
    assert at(path).tracks == ("3", None), "a row of seven names nobody"
    # a box and nothing else
    path.write_text("vid,1,0.1,0.1,0.3,0.9\nvid,1,0.5,0.5,0.75,0.8\n")
    alone = at(path)
    assert alone.pixels.tolist() == [BOX, OTHER]
    assert alone.scores.tolist() == [1, 1] and alone.tracks is None
    path.write_text("vid;1;0.1;0.1;0.3;0.9\nvid;1;0.5;0.5;0.75;0.8\n")
    assert at(path).pixels.tolist() == [BOX, OTHER]
    path.write_text("vid,1,0.1,0.1,0.3\n")
    with pytest.raises(DataError, match=r"5 fields; accepted: .*, the same without action and score, or"):
        at(path)
    path.write_text("vid,1,20,10,60,90,12,1\n")
    with pytest.raises(InputError, match="reach 90: these are pixels, given as shares"):
        at(path)
    assert at(path, unit="pixels").pixels.tolist() == [BOX]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["float32", "float64", ">f4"])
def test_proposals(protocol: int, dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "proposals.pkl"
    many = np.random.default_rng(0).uniform(0, 0.4, (400, 5))
    many[:, 2:4] += 0.5
    content = {
        "vid,0901": np.array([[*SHARES, 0.9]], dtype),
        "vid,0902": np.asfortranarray(many.astype(dtype)),
        "vid,0903": np.zeros((0, 5), dtype),
    }
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    boxes = person_boxes(path, begins_at=900)
    assert boxes.seconds == (1.0, 2.0, 3.0)
    first = boxes.at(1.0, HEIGHT, WIDTH)
    assert first.pixels[0].tolist() == pytest.approx(BOX, rel=1e-6) and first.scores[0] == np.array(
        0.9, dtype
    )
    assert np.array_equal(boxes.at(2.0, HEIGHT, WIDTH).scores, content["vid,0902"][:, 4])
    assert len(boxes.at(3.0, HEIGHT, WIDTH)) == 0


class _Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    path, trace = tmp_path / "proposals.pkl", tmp_path / "ran"
    for protocol in range(6):
        path.write_bytes(pickle.dumps({"vid,0901": _Runs(trace)}, protocol=protocol))
        with pytest.raises(DataError, match="to be run while it is read, which is refused"):
            person_boxes(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"not a pickle", "can't be read as a pickle"),
        (pickle.dumps({"vid,0901": np.zeros((2, 5))})[:-40], "can't be read as a pickle"),
        (pickle.dumps([1, 2]), "aren't a dict"),
        (pickle.dumps({"vid0901": np.zeros((2, 5))}), "have the key 'vid0901'; accepted: 'video,0902'"),
        (pickle.dumps({"vid,²": np.zeros((2, 5))}), "have the key 'vid,²'; accepted: 'video,0902'"),
        (pickle.dumps({f"vid,{'9' * 400}": np.zeros((2, 5))}), "accepted: 'video,0902'"),
        (pickle.dumps({}), "has no boxes at all"),
        (pickle.dumps({"vid,0901": np.zeros((2, 6))}), r"boxes of shape (2, 6) at 'vid,0901'"),
        (pickle.dumps({"vid,0901": np.array([["a"]])}), "isn't one of numbers"),
        (pickle.dumps({"vid,0901": np.array([{}, None], object)}), "isn't one of numbers"),
        (pickle.dumps({"vid,0901": "text"}), "isn't one of numbers"),
        (pickle.dumps({"vid,0901": np.zeros((2, 5))}).replace(b"K\x02K\x05", b"K\x03K\x05"), "of numbers"),
    ],
)  # fmt: skip
def test_broken_proposals(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "proposals.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        person_boxes(path)
    assert says in str(caught.value)
    with pytest.raises(DataError, match="can't be read"):
        person_boxes(tmp_path / "none.pkl")


def _nested() -> bytes:
    """Ten to the tenth numbers: lists of ten times the same list."""
    inner: Any = [0.5] * 10
    for _ in range(9):
        inner = [inner] * 10
    return pickle.dumps({"vid,0901": inner})


def _in_itself() -> bytes:
    inner: list[Any] = []
    inner.append(inner)
    return pickle.dumps({"vid,0901": inner})


def _one_array_many_times() -> bytes:
    """Forty gigabytes of boxes in half a megabyte."""
    array = np.zeros((100_000, 5), np.uint8)
    return pickle.dumps({f"vid,{second:04d}": array for second in range(10_000)})


def _one_tuple_many_times() -> bytes:
    """A call of 100,000 arguments, 100,000 times."""
    again = b"h\1h\0R0" * 100_000
    return b"(" + b"N" * 100_000 + b"tq\0ccollections\nOrderedDict\nq\1" + again + b"."


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (_nested(), "many times as many numbers"),
        (_in_itself(), "isn't one of numbers"),
        (b"}X\x07\0\0\0vid,901" + b"]" * 100_000 + b"a" * 99_999 + b"s.", "isn't one of numbers"),
        (_one_array_many_times(), "many times as many numbers"),
        (_one_tuple_many_times(), "more operations than any honest file"),
        (pickle.dumps({}, 2)[:-1] + b"X\1\0\0\0aX\1\0\0\0bQs.", "have the key 'a'"),
    ],
    ids=["nested", "in itself", "deep", "one array", "one tuple", "persistent id"],
)  # fmt: skip
def test_small_proposals_that_ask_for_much(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "proposals.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says):
        person_boxes(path)


def test_one_array_of_many_key_frames(tmp_path: Path) -> None:
    path = tmp_path / "proposals.pkl"
    path.write_bytes(pickle.dumps(dict.fromkeys([f"vid,{s:04d}" for s in range(902, 1799)], [SHARES] * 20)))
    assert len(at(path, 1500.0)) == 20


def test_every_frame_of_a_fast_video_has_its_own() -> None:
    """Key frames may be nearer to each other than the tolerance of a time: the nearest one counts."""
    boxes = person_boxes({number / 60: [[number, 0, number + 9, 9]] for number in range(20)})
    found = [boxes.at(number / 60 + 1e-4, HEIGHT, WIDTH).pixels[0, 0] for number in range(20)]
    assert found == list(range(20))
    assert not len(boxes.at(19 / 60 + 0.03, HEIGHT, WIDTH)) and len(boxes.at(19 / 60 + 0.01, HEIGHT, WIDTH))


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    for count in (1, 2):
        path.write_text("a,1,0.1,0.1,0.5,0.9,1\n" + "a,1,0.2,0.1,0.5,0.9,1\n" * (count - 1))
        assert len(person_boxes(path).at(1, HEIGHT, WIDTH)) == count
