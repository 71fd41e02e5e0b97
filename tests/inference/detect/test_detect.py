"""Persons in a video: their boxes from anywhere, the clip around each key frame, actions and files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.movies import moving_pattern, write_stamped, write_video
from support.small_nets import ROI_NETWORKS, make_model, roi_clip_spec
from support.small_nets import roi_model as model

import slowfast_zoo.video.windows as windows_module
from slowfast_zoo import Detections, SlowFast, detect, optimize, predict, timeline
from slowfast_zoo.data.persons.actions import read_ava
from slowfast_zoo.data.persons.boxes import person_boxes
from slowfast_zoo.errors import DataError, InputError, UnknownNameError, VideoError
from slowfast_zoo.inference.detect.detect import DetectionMaker, boxes_of
from slowfast_zoo.video.decoding.reader import open_video
from slowfast_zoo.video.decoding.video import Frame, Video
from slowfast_zoo.video.key_frames import KeyFrames
from slowfast_zoo.video.transforms.boxes import scale_boxes
from slowfast_zoo.video.windows import WindowReader

ONE = [[4, 6, 30, 40]]
THREE = [[4, 6, 30, 40], [-3, 0, 20.5, 48], [60, 40, 64, 48]]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds at 30 frames a second, 64x48."""
    return write_video(tmp_path_factory.mktemp("film") / "film.mkv", moving_pattern(90))


def scores(answer: Detections) -> torch.Tensor:
    """Of all persons, (n, classes), in the order of the classes."""
    order = {label: index for index, label in enumerate(answer.labels)}
    rows = torch.zeros(len(answer.persons), len(order))
    for row, person in zip(rows, answer.persons, strict=True):
        for label, score in zip(person.labels, person.scores, strict=True):
            row[order[label]] = score
    return rows


def by_hand(network: SlowFast, path: Path, seconds: float, boxes: list[list[float]]) -> torch.Tensor:
    """What the network itself says of the clip around a key frame."""
    with open_video(path) as video, torch.no_grad():
        ((_, clips),) = WindowReader(video, network.clip_spec, KeyFrames([seconds]))
        shares = np.array(boxes) / np.array([video.width, video.height] * 2)
        pixels = scale_boxes(shares, network.clip_spec, video.height, video.width)
        rois = torch.nn.functional.pad(torch.from_numpy(pixels).float(), (1, 0))
        logits = network(clips.tensor(), rois)
    return logits.sigmoid() if network.spec.activation == "sigmoid" else logits.softmax(1)


@pytest.mark.parametrize(
    ("kind", "rule"), [("mean", "openmmlab"), ("acrn", "openmmlab"), ("dilated", "pyslowfast")]
)
def test_the_networks_own_answer(kind: str, rule: str, film: Path) -> None:
    network = model(kind, rule)
    boxes = THREE[:2] if rule == "pyslowfast" else THREE
    answer = detect(network, film, boxes=boxes, topk=None, progress=False)
    assert answer.key_seconds == (0, 1, 2) and len(answer.persons) == 3 * len(boxes)
    expected = torch.cat([by_hand(network, film, second, boxes) for second in answer.key_seconds])
    assert torch.allclose(scores(answer), expected, rtol=0, atol=1e-6)
    assert expected.std(dim=0).min() > 1e-4, "boxes and clips decide"
    assert [list(person.box) for person in answer.persons[: len(boxes)]] == boxes
    assert answer.persons[0].normalized == (4 / 64, 6 / 48, 30 / 64, 40 / 48)
    assert answer.multi_label and (answer.width, answer.height) == (64, 48)
    assert (
        answer.duration_seconds == pytest.approx(3, abs=0.01) and answer.complete and answer.detector is None
    )
    assert (not network.training and "9 persons" in repr(answer)) or rule == "pyslowfast"


def test_classes_that_exclude_each_other(film: Path) -> None:
    network = make_model(ROI_NETWORKS["mean"].replace(activation="softmax"))
    network.clip_spec = roi_clip_spec(sampling="openmmlab-video-key", time_base="frames", fps=None)
    answer = detect(network, film, boxes={1.0: ONE}, topk=None, progress=False)
    assert torch.allclose(scores(answer), by_hand(network, film, 1.0, ONE), atol=1e-6)
    assert scores(answer).sum() == pytest.approx(1, abs=1e-5) and not answer.multi_label


def test_key_frames_are_where_boxes_were_given(film: Path) -> None:
    answer = detect(model(), film, boxes={2.5: THREE, 0.4: ONE, 1.0: []}, every_seconds=0.1, progress=False)
    assert answer.key_seconds == (0.4, 1.0, 2.5)
    assert [person.seconds for person in answer.persons] == [0.4, 2.5, 2.5, 2.5]
    assert answer.at(0.5) == answer.persons[:1] and answer.at(1.2) == () and len(answer.at(99)) == 3
    with pytest.raises(InputError, match="seconds is 'now'"):
        answer.at("now")  # type: ignore[arg-type]


def test_a_function_sees_the_key_frames_in_one_pass(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each frame is decoded once, for the function and for the clips; and boxes may differ by frame."""
    import threading

    decoded: list[int] = []
    read = Video.iter_frames

    def iter_frames(self: Video, indices: Any) -> Any:
        for index, frame in read(self, indices):
            decoded.append(index)
            yield index, frame

    seen: list[Frame] = []

    def finder(frame: Frame) -> Any:
        assert threading.current_thread() is threading.main_thread()
        seen.append(frame.copy())
        return np.array(ONE) + len(seen), np.array([0.5])

    monkeypatch.setattr(Video, "iter_frames", iter_frames)
    answer = detect(model(), film, boxes=finder, every_seconds=0.7, topk=None, progress=False)
    monkeypatch.undo()
    with open_video(film) as video:
        assert np.array_equal(np.stack(seen), video.frames([0, 21, 42, 63, 84]))
    assert len(decoded) == len(set(decoded))
    assert [person.box[0] for person in answer.persons] == [5, 6, 7, 8, 9]
    given = {moment: [[*(np.array(ONE[0]) + row + 1)]] for row, moment in enumerate(answer.key_seconds)}
    same = detect(model(), film, boxes=given, topk=None, progress=False)
    assert torch.equal(scores(answer), scores(same)) and answer.persons[0].box_score == 0.5


def test_answers_depend_on_no_company(film: Path, tmp_path: Path) -> None:
    """Boxes together or alone, key frames in batches or one by one, videos one after the other or alone."""
    one = scores(detect(model(), film, boxes=THREE, topk=None, progress=False))
    batched = scores(detect(model(), film, boxes=THREE, topk=None, batch_size=3, progress=False))
    assert torch.allclose(one, batched, rtol=0, atol=1e-6)
    alone = [detect(model(), film, boxes=[box], topk=None, progress=False) for box in THREE]
    apart = torch.stack([scores(answer) for answer in alone], dim=1).flatten(0, 1)
    assert torch.allclose(one, apart, rtol=0, atol=1e-6)
    other = write_video(tmp_path / "other.mkv", moving_pattern(40, 56, 48, seed=1))
    maker = DetectionMaker(model(), topk=None, progress=False)
    for path in (film, other, film):
        with maker.begin(path, boxes_of(ONE, path), alone=False) as run:
            assert len(list(run)) == run.answered == run.total
            answer = run.answer()
        single = detect(model(), path, boxes=ONE, topk=None, progress=False)
        assert answer == single


def test_engines(film: Path) -> None:
    expected = scores(detect(model(), film, boxes=THREE, topk=None, progress=False))
    eager = detect(model(), film, boxes=THREE, topk=None, engine="eager", progress=False)
    ready = detect(optimize(model(), "eager"), film, boxes=THREE, topk=None, progress=False)
    assert torch.allclose(scores(eager), expected, atol=1e-5) and eager == ready
    with pytest.raises(InputError, match="optimized already"):
        detect(optimize(model(), "eager"), film, boxes=THREE, engine="compile", progress=False)


def test_thresholds_and_tracks(film: Path) -> None:
    found = {"boxes": THREE, "scores": [0.9, 0.4, 0.7], "tracks": ["ann", "bob", "cat"]}
    whole = detect(model(), film, boxes={1.0: found}, topk=None, progress=False)
    assert [person.track for person in whole.persons] == ["ann", "bob", "cat"]
    some = detect(model(), film, boxes={1.0: found}, box_score=0.5, score=0.5, topk=2, progress=False)
    assert [person.track for person in some.persons] == ["ann", "cat"]
    for person, full in zip(some.persons, (whole.persons[0], whole.persons[2]), strict=True):
        count = min(sum(value >= 0.5 for value in full.scores), 2)
        assert person.labels == full.labels[:count] and person.box_score == full.box_score
    unsure = {"boxes": THREE, "scores": [-1.0, 0.4, -7.5]}  # unknown, as of MOT's files, and logits
    every = detect(model(), film, boxes={1.0: unsure}, progress=False)
    assert [person.box_score for person in every.persons] == [-1.0, 0.4, -7.5]
    assert len(detect(model(), film, boxes={1.0: unsure}, box_score=0.0, progress=False).persons) == 1
    none = detect(model(), film, boxes={1.0: found}, score=1.0, progress=False)
    assert none.persons[0].labels == () and "no action" in repr(none.persons[0])
    columns = none.to_columns()
    assert columns["label"] == [None] * 3 and columns["person"] == [0, 1, 2]


@pytest.mark.parametrize("boxes", [{}, {1.0: []}, [], np.zeros((0, 5)), lambda frame: []])
def test_a_video_without_persons(boxes: Any, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(*_: object) -> None:
        raise AssertionError("there is nothing to compute")

    network = make_model(ROI_NETWORKS["mean"])
    network.clip_spec = roi_clip_spec()
    monkeypatch.setattr(SlowFast, "forward", forward)
    answer = detect(network, film, boxes=boxes, progress=False)
    assert answer.persons == () and answer.complete and answer.duration_seconds == pytest.approx(3, abs=0.01)
    assert answer.at(1) == () and set(map(len, answer.to_columns().values())) == {0}


def test_memory_holds_a_clip_however_long_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted: prepared frames that are kept, and boxes that wait for their clip, one a frame."""
    kept: list[int] = []

    class Store(windows_module.FrameStore):
        def add(self, index: int, frame: torch.Tensor) -> None:
            super().add(index, frame)
            kept.append(len(self))

    monkeypatch.setattr(windows_module, "FrameStore", Store)
    maker = DetectionMaker(model(), every_seconds=1 / 10, progress=False)
    most = []
    for length in (45, 120):
        path = write_video(tmp_path / f"{length}.mkv", moving_pattern(length))
        waiting = 0
        kept.clear()
        with maker.begin(path, person_boxes(lambda frame: ONE)) as run:
            for _ in run:
                waiting = max(waiting, len(run._found))
            assert run.answered == length // 3
        most.append((max(kept), waiting))
    assert most[0] == most[1] and most[0][0] <= 8 * 2 + 2 and most[0][1] <= 8 + 2


def test_time_is_a_players(tmp_path: Path) -> None:
    """A variable frame rate, and a picture that begins after the sound."""
    stamps = [500 + 33 * number + (300 if number > 20 else 0) for number in range(50)]
    frames = moving_pattern(50)
    path = write_stamped(tmp_path / "a.mkv", stamps, frames=frames, sound_seconds=2)
    seen: list[Frame] = []
    answer = detect(model(), path, boxes=lambda frame: seen.append(frame.copy()) or ONE, progress=False)  # type: ignore[func-returns-value]
    assert answer.key_seconds == (0, 1, 2), "whole seconds, as annotations have; the first frame stands for 0"
    shown = [int(np.abs(frames.astype(int) - frame).sum(axis=(1, 2, 3)).argmin()) for frame in seen]
    assert shown[0] == 0 and all(abs(stamps[shown[second]] - 1000 * second) <= 34 for second in (1, 2))


def test_a_file_that_lies_about_its_frames(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Key frames are placed anew when decoding shows how long the video is."""
    from slowfast_zoo.errors import FrameCountError

    expected = detect(model(), film, boxes=ONE, progress=False)
    lies, read = [True], Video.iter_frames
    length = Video.seconds_of
    count = type(open_video(film)).num_frames

    def iter_frames(self: Video, indices: Any) -> Any:
        if lies:
            lies.clear()
            raise FrameCountError("90 frames decode")
        return read(self, indices)

    def num_frames(self: Any) -> int:
        return 150 if lies else count.fget(self)  # type: ignore[attr-defined, no-any-return]

    def seconds_of(self: Video, index: int) -> float:
        return index / 30 if lies else length(self, index)

    monkeypatch.setattr(Video, "iter_frames", iter_frames)
    monkeypatch.setattr(Video, "seconds_of", seconds_of)
    with open_video(film) as video:
        monkeypatch.setattr(type(video), "num_frames", property(num_frames))
    answer = detect(model(), film, boxes=ONE, progress=False)
    assert answer.persons == expected.persons and answer.key_seconds == (0, 1, 2)


class Evil:
    def __reduce__(self) -> Any:
        return (Path("boxes-were-run").touch, ())


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "Where are the persons"),
        ({"boxes": ONE, "detector": "person"}, "both were given"),
        ({"boxes": [[np.nan, 0, 9, 9]]}, "not finite"),
        ({"boxes": [[30, 40, 4, 6]]}, "no area"),
        ({"boxes": [[70, 0, 90, 40]]}, "outside the picture of 64x48"),
        ({"boxes": [[0.1, 0.1, 0.5, 0.9]]}, "shares of width and height, given as pixels"),
        ({"boxes": ONE, "unit": "normalized"}, "pixels, given as shares"),
        ({"boxes": np.tile(ONE, (10_000, 1))}, "10000 boxes"),
        ({"boxes": [[1, 2, 3]]}, "accepted: .n, 4."),
        ({"boxes": "nobody"}, "."),
        ({"boxes": {9.0: ONE}}, "outside the video"),
        ({"boxes": {902: ONE}}, "begins_at=900"),
        ({"boxes": {1.0: ONE}, "begins_at": 900}, r"-899 s.* come of begins_at=, which isn't this video's"),
        ({"boxes": lambda frame: "a person"}, "can't be read"),
        ({"boxes": lambda frame: [[0.1, 0.1, 0.5, 0.9]]}, "given as pixels"),
        ({"boxes": ONE, "every_seconds": 0}, "every_seconds"),
        ({"boxes": ONE, "every_seconds": 1e-6}, "every_seconds is 1e-06; accepted: at least 0.001"),
        ({"boxes": ONE, "score": 1.5}, "score is 1.5"),
        ({"boxes": ONE, "box_score": "high"}, "box_score is 'high'"),
        ({"boxes": ONE, "topk": 0}, "topk is 0"),
        ({"boxes": ONE, "unit": "cm"}, "unit is 'cm'"),
        ({"boxes": ONE, "batch_size": 0}, "batch_size"),
        ({"boxes": person_boxes(ONE), "unit": "pixels"}, "read already"),
        ({"detector": "person", "begins_at": 900}, "begins_at say how boxes= are read"),
        ({"detector": "persons"}, "Did you mean 'person'"),
        ({"detector": lambda frame: ONE}, "is boxes="),
    ],
)
def test_what_is_refused(given: dict[str, Any], sentence: str, film: Path) -> None:
    with pytest.raises((InputError, DataError, UnknownNameError), match=sentence):
        detect(model(), film, progress=False, **given)


def test_files_of_boxes(film: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shares = np.array(ONE[0]) / [64, 48, 64, 48]
    rows = "".join(f"{name},0901," + ",".join(f"{value}" for value in shares) + ",12,1\n" for name in "ab")
    two, one = tmp_path / "two.csv", tmp_path / "one.csv"
    two.write_text(rows)
    one.write_text(rows.splitlines()[0])
    expected = scores(detect(model(), film, boxes={1.0: ONE}, topk=None, progress=False))
    for path, video in ((two, "b"), (one, None)):
        answer = detect(model(), film, boxes=path, video=video, begins_at=900, topk=None, progress=False)
        assert torch.allclose(scores(answer), expected, atol=1e-6) and answer.key_seconds == (1.0,)
    told = f"'{one}' has boxes of 'a' alone, which are taken for 'film'; if so, say video='a' (--video)."
    assert caplog.messages == [told]
    detect(model(), film, boxes=one, video="a", begins_at=900, progress=False)
    assert caplog.messages == [told], "it was said"
    with pytest.raises(InputError, match=r"no boxes of the video 'film'.*'a', 'b'"):
        detect(model(), film, boxes=two, begins_at=900, progress=False)
    named = tmp_path / "named.csv"
    named.write_text(rows.replace("b,", "film,"))
    assert detect(model(), film, boxes=named, begins_at=900, progress=False).key_seconds == (1.0,)
    proposals = tmp_path / "proposals.pkl"
    proposals.write_bytes(pickle.dumps({"film,0901": np.array([[*shares, 0.9]])}))
    answer = detect(model(), film, boxes=proposals, begins_at=900, topk=None, progress=False)
    assert torch.allclose(scores(answer), expected, atol=1e-6) and answer.persons[0].box_score == 0.9


def test_a_pickle_that_would_run_something(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("evil.pkl").write_bytes(pickle.dumps({"film,0001": Evil()}))
    with pytest.raises(DataError, match=r"evil\.pkl"):
        detect(model(), film, boxes="evil.pkl", progress=False)
    assert not Path("boxes-were-run").exists()


def test_the_other_kind_of_model(film: Path) -> None:
    clips = make_model()
    with pytest.raises(InputError, match="classifies whole clips: predict takes it"):
        detect(clips, film, boxes=ONE)
    with pytest.raises(InputError, match="detect takes a SlowFast model, got str"):
        detect("slowfast", film, boxes=ONE)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="names no actions"):
        detect(make_model(ROI_NETWORKS["features"]), film, boxes=ONE)
    whole = make_model(ROI_NETWORKS["mean"])
    with pytest.raises(InputError, match="clip_spec is one for whole videos"):
        detect(whole, film, boxes=ONE)
    for verb in (predict, timeline):
        with pytest.raises(InputError, match="scores persons: detect takes it"):
            verb(model(), film)  # type: ignore[operator]


def test_one_video(film: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="call detect for each"):
        detect(model(), [film, film], boxes=ONE)  # type: ignore[arg-type]
    with pytest.raises(VideoError, match=r"nothing\.mp4"):
        detect(model(), tmp_path / "nothing.mp4", boxes=ONE)
    array = moving_pattern(90)
    with pytest.raises(InputError, match="fps="):
        detect(model(), array, boxes=ONE, progress=False)
    answer = detect(model(), array, boxes=ONE, fps=30, topk=None, progress=False)
    same = detect(model(), film, boxes=ONE, topk=None, progress=False)
    assert torch.equal(scores(answer), scores(same))


def test_weights_that_give_no_numbers(film: Path) -> None:
    broken = make_model(ROI_NETWORKS["mean"])
    broken.clip_spec = roi_clip_spec()
    with torch.no_grad():
        broken.classifier.bias.fill_(torch.nan)  # type: ignore[union-attr, operator]
    with pytest.raises(InputError, match="NaN"):
        detect(broken, film, boxes=ONE, progress=False)


def test_avas_rows(film: Path, tmp_path: Path) -> None:
    """They come back as they were; AVA's actions have AVA's numbers, and empty frames are there."""
    answer = detect(model(), film, boxes={0.5: THREE, 1.0: [], 2.0: ONE}, topk=3, progress=False)
    path = tmp_path / "found.csv"
    answer.save(path, begins_at=900)
    rows = read_ava(path, scored=True)
    assert rows.frames == (("film", 900.5), ("film", 901.0), ("film", 902.0))
    assert path.read_text().startswith("film,0900.500,") and "film,0901\n" in path.read_text()
    assert len(rows) == 12 and np.bincount(rows.frame, minlength=3).tolist() == [9, 0, 3]
    assert np.allclose(rows.boxes[0], answer.persons[0].normalized, atol=1e-6)
    names = [answer.labels[label - 1] for label in rows.labels.tolist()]
    assert names == [label for person in answer.persons for label in person.labels]
    assert np.allclose(
        rows.scores, [value for person in answer.persons for value in person.scores], rtol=1e-5
    )
    few = make_model(ROI_NETWORKS["mean"].replace(num_classes=2))
    few.clip_spec, few.labels = roi_clip_spec(), ("watch (a person)", "sit")
    told = detect(few, film, boxes={1.0: ONE}, progress=False)
    numbers = {line.split(",")[6] for line in told.ava_rows(video="v").splitlines()}
    assert numbers == {"80", "11"} and told.ava_rows(video="v").startswith("v,0001,")


def test_everything_as_json(film: Path, tmp_path: Path) -> None:
    import json

    answer = detect(model(), film, boxes=THREE, progress=False)
    answer.save(tmp_path / "a.jsonl")
    (line,) = (tmp_path / "a.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert row["key_seconds"] == [0, 1, 2] and len(row["persons"]) == 9
    assert row["persons"][0]["labels"] == list(answer.persons[0].labels)
    columns = answer.to_columns()
    assert set(map(len, columns.values())) == {45} and columns["person"][:11] == [0] * 5 + [1] * 5 + [2]
    with pytest.raises(UnknownNameError, match=r"'txt'.*Accepted"):
        answer.save(tmp_path / "a.txt")
    with pytest.raises(InputError, match="can't be written"):
        answer.save(tmp_path / "no" / "a.csv")


def test_a_reader_that_stops_in_the_middle(film: Path) -> None:
    maker = DetectionMaker(model(), progress=False)
    with maker.begin(film, person_boxes(ONE)) as run:
        next(iter(run))
        part = run.answer()
    assert not part.complete and len(part.persons) == 1 and "interrupted" in repr(part)


def test_the_users_folder(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    (tmp_path / "boxes.csv").write_text("film,1,0.1,0.1,0.5,0.9,1\n", encoding="utf-8")
    answer = detect(model(), film, boxes="~/boxes.csv", progress=False)
    assert answer.key_seconds == (1.0,) and len(answer.persons) == 1
    answer.save("~/found.jsonl")
    assert (tmp_path / "found.jsonl").is_file()
