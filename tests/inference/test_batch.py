"""Batches of columns: what goes in, what comes out, and what a worker is sent."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.movies import moving_pattern, write_video
from support.small_nets import ROI_NETWORKS, SMALL, make_model, roi_clip_spec

from slowfast_zoo import (
    SegmentRules,
    SlowFast,
    detect,
    extract_features,
    predict_many,
    save_pretrained,
    timeline,
)
from slowfast_zoo.errors import NO_VIDEOS_FAULT, InputError, UnknownNameError
from slowfast_zoo.inference.batch import BatchPredictor, Task
from slowfast_zoo.inference.engines import kept
from slowfast_zoo.inference.engines.optimize import OptimizedModel
from slowfast_zoo.runtime import machine


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two videos, and between them one that is none."""
    folder = tmp_path_factory.mktemp("clips")
    for seed in (0, 1):
        write_video(folder / f"{seed}.mkv", moving_pattern(seed=seed, frames=12))
    broken = folder / "broken.mkv"
    broken.write_bytes(b"\x1aE\xdf\xa3" + bytes(500))
    return [str(folder / "0.mkv"), str(broken), str(folder / "1.mkv")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved network."""
    path = tmp_path_factory.mktemp("saved") / "model"
    save_pretrained(make_model(), path)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> SlowFast:
    return create_model_of(folder)


def create_model_of(folder: Path) -> SlowFast:
    from slowfast_zoo import from_pretrained

    return from_pretrained(folder)


def plain(columns: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [repr(value) for value in column] for name, column in columns.items()}


def test_rows_are_those_of_predict_many(clips: list[str], folder: Path, model: SlowFast) -> None:
    columns = BatchPredictor(folder, topk=2, views=(np.int64(2), 3))({"path": clips, "other": [1, 2, 3]})
    expected = list(predict_many(model, clips, topk=2, views=(2, 3)))
    assert columns["source"].tolist() == clips
    assert columns["error"].tolist() == ["", expected[1].error, ""]
    for place, answer in ((0, expected[0]), (2, expected[2])):
        assert (columns["label_1"][place], columns["label_2"][place]) == answer.labels
        assert [columns["score_1"][place], columns["score_2"][place]] == list(answer.scores)
        assert (columns["clips"][place], columns["crops"][place]) == (2, 3)
        assert (columns["start"][place], columns["end"][place]) == answer.seconds
    assert columns["label_1"][1] == ""
    assert np.isnan(columns["score_1"][1])
    assert {len(column) for column in columns.values()} == {3}


def test_segments_are_those_of_timeline(clips: list[str], folder: Path, model: SlowFast) -> None:
    rules = SegmentRules(enter=0.2)
    predictor = BatchPredictor(folder, task="timeline", hop_seconds=0.1, rules=rules)
    columns = predictor({"path": clips})
    expected = timeline(model, clips[2], hop_seconds=0.1, enter=0.2)
    assert expected.segments
    assert columns["labels"][2] == [segment.label for segment in expected.segments]
    assert columns["end_seconds"][2] == [segment.end_seconds for segment in expected.segments]
    assert columns["duration_seconds"][2] == expected.duration_seconds
    assert columns["labels"][1] == []
    assert "broken.mkv" in columns["error"][1]


def test_features_are_those_of_extract_features(clips: list[str], folder: Path, model: SlowFast) -> None:
    columns = BatchPredictor(folder, task="features", hop_seconds=0.1)({"path": clips})
    expected = extract_features(model, clips[0], hop_seconds=0.1)
    assert np.array_equal(np.stack(columns["features"][0]), expected.values)
    assert columns["start_seconds"][0] == expected.start_seconds.tolist()
    assert columns["features"][1] == []
    assert columns["error"][0] == ""


def test_persons_are_those_of_detect(clips: list[str], tmp_path: Path) -> None:
    network = make_model(ROI_NETWORKS["mean"])
    network.clip_spec = roi_clip_spec()
    save_pretrained(network, tmp_path / "model")
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("".join(f"{name},0.2,0.1,0.1,0.6,0.9,1\n" for name in ("0", "broken", "1")))
    predictor = BatchPredictor(tmp_path / "model", task="detect", boxes=boxes, topk=3)
    columns = predictor({"path": clips})
    expected = detect(network, clips[2], boxes=boxes, topk=3, progress=False).to_columns()
    assert len(expected["label"]) == 3
    assert columns["labels"][2] == expected["label"]
    assert np.allclose(columns["scores"][2], expected["score"], rtol=1e-5)
    assert columns["x2"][2] == expected["x2"]
    assert columns["track"][0] == ["", "", ""]
    assert [bool(error) for error in columns["error"]] == [False, True, False]


def boxes_beside_model(folder: Path, row: str) -> Path:
    """A file of boxes, where a network that scores persons is saved as "model"."""
    network = make_model(ROI_NETWORKS["mean"])
    network.clip_spec = roi_clip_spec()
    save_pretrained(network, folder / "model")
    boxes = folder / "boxes.csv"
    boxes.write_text(f"{row}\n")
    return boxes


def test_boxes_are_those_of_the_video_that_the_file_names(clips: list[str], tmp_path: Path) -> None:
    boxes = boxes_beside_model(tmp_path, "1,0.2,0.1,0.1,0.6,0.9,1")
    predictor = BatchPredictor(tmp_path / "model", task="detect", boxes=boxes, topk=1)
    columns = predictor({"path": [clips[0], clips[2]]})
    assert "no boxes of the video '0'. It has '1'" in columns["error"][0] and columns["error"][1] == ""
    assert [len(labels) for labels in columns["labels"]] == [0, 1]


def test_boxes_in_avas_time_and_in_pixels_are_those_of_the_video(clips: list[str], tmp_path: Path) -> None:
    boxes = boxes_beside_model(tmp_path, "0,900.2,4,4,20,30,1,0.9\n0,900.2,9,4,30,30,1,0.5")
    how: dict[str, Any] = {"boxes": boxes, "begins_at": 900, "unit": "pixels"}
    how |= {"box_score": 0.8, "score": 0.01}
    predictor = BatchPredictor(tmp_path / "model", task="detect", topk=80, **how)
    columns = pickle.loads(pickle.dumps(predictor))({"path": clips[:1]})
    expected = detect(create_model_of(tmp_path / "model"), clips[0], topk=80, **how).to_columns()
    assert columns["error"].tolist() == [""] and columns["seconds"][0][0] == pytest.approx(0.2)
    assert columns["labels"][0] == expected["label"] and set(columns["x1"][0]) == {4.0}


def test_windows_and_layers_are_the_functions_own(clips: list[str], folder: Path, model: SlowFast) -> None:
    how: dict[str, Any] = {"hop_seconds": 0.1, "window_seconds": 0.25, "last": "drop"}
    timed = BatchPredictor(folder, task="timeline", rules=SegmentRules(enter=0.1), **how)
    expected = timeline(model, clips[0], enter=0.1, **how)
    assert timed({"path": clips[:1]})["end_seconds"][0] == [part.end_seconds for part in expected.segments]
    assert max(part.end_seconds for part in expected.segments) < expected.duration_seconds
    slow = BatchPredictor(folder, task="features", layer="slow", **how)
    found = extract_features(model, clips[0], layer="slow", **how)
    assert np.array_equal(np.stack(slow({"path": clips[:1]})["features"][0]), found.values)
    with pytest.raises(InputError, match="'ego4d' makes clips of 32 frames, and this model takes"):
        BatchPredictor(folder, task="features", recipe="ego4d")({"path": clips[:1]})
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"hop_seconds": 1.0}, "decides about hop_seconds= itself"),
        ({"views": (2, 1)}, "decides about views= itself"),
        ({}, "'ego4d' makes clips of 32 frames, and this model takes 8"),
    ]
    for given, words in wrong:
        with pytest.raises(InputError, match=words):  # before the job
            BatchPredictor("slowfast_tiny", task="features", recipe="ego4d", **given)


def test_boxes_that_were_corrected_are_read_anew(clips: list[str], tmp_path: Path) -> None:
    boxes = boxes_beside_model(tmp_path, "0,0.2,0.1,0.1,0.6,0.9,1")
    first, unused = (BatchPredictor(tmp_path / "model", task="detect", boxes=boxes, topk=k) for k in (1, 2))
    corner = first({"path": clips[:1]})["x1"][0][0]
    boxes.write_text("0,0.2,0.2,0.1,0.6,0.9,1\n")
    second = BatchPredictor(tmp_path / "model", task="detect", boxes=boxes, topk=1)
    assert second != first
    assert second({"path": clips[:1]})["x1"][0][0] == pytest.approx(2 * corner)
    with pytest.raises(InputError, match="holds other boxes on this worker than where the job was made"):
        unused({"path": clips[:1]})


@pytest.mark.parametrize("task", ["predict", "timeline", "features", "detect"])
def test_what_lies_with_the_settings_ends_the_job(task: Task, clips: list[str], tmp_path: Path) -> None:
    network = make_model(ROI_NETWORKS["mean"] if task == "detect" else SMALL)
    network.clip_spec = roi_clip_spec() if task == "detect" else network.clip_spec
    save_pretrained(network, tmp_path / "model")
    options: dict[str, Any] = {"detector": "person"} if task == "detect" else {}
    predictor = BatchPredictor(
        tmp_path / "model", task=task, engine="onnxruntime", precision="bfloat16", **options
    )
    with pytest.raises(InputError, match="engine='onnxruntime'"):
        predictor({"path": clips})


@pytest.mark.parametrize("error", NO_VIDEOS_FAULT)
def test_what_lies_with_the_machine_ends_the_job(
    error: type[Exception], clips: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise error("it isn't there.")

    predictor = BatchPredictor(folder, task="features", engine="eager")
    monkeypatch.setattr(OptimizedModel, "__call__", refused)
    with pytest.raises(error, match="it isn't there"):
        predictor({"path": clips})


class Decoder:
    """What torchcodec's ``VideoDecoder`` offers, of frames in memory."""

    def __init__(self, frames: np.ndarray[Any, Any], fps: float) -> None:
        self._frames, self._fps = frames, fps
        facts = {"num_frames": len(frames), "average_fps": fps, "codec": "ffv1"}
        self.metadata = type("Metadata", (), facts)()

    def get_frames_at(self, indices: list[int]) -> Any:
        facts = {
            "data": torch.from_numpy(self._frames[indices]).permute(0, 3, 1, 2),
            "pts_seconds": torch.tensor(indices, dtype=torch.float64) / self._fps,
            "duration_seconds": torch.full((len(indices),), 1 / self._fps, dtype=torch.float64),
        }
        return type("FrameBatch", (), facts)()

    def get_frames_played_at(self, seconds: list[float]) -> Any:
        return self.get_frames_at([int(moment * self._fps) for moment in seconds])


def test_every_form_of_a_video_has_the_answer_of_its_file(clips: list[str], folder: Path) -> None:
    content = Path(clips[0]).read_bytes()
    decoder = Decoder(moving_pattern(seed=0, frames=12), 30)
    predictor = BatchPredictor(folder)
    forms = [
        clips[0],
        Path(clips[0]),
        content,
        {"bytes": content, "path": "a.mkv"},
        {"path": clips[0]},
        decoder,
    ]
    columns = predictor({"video": forms})
    assert columns["error"].tolist() == [""] * len(forms)
    assert len(set(columns["score_1"].tolist())) == 1
    assert len({round(end, 2) for end in columns["end"]}) == 1  # the file counts in milliseconds
    assert columns["source"].tolist()[3] == "a.mkv"
    named = predictor({"bytes": [content, b"", None], "path": ["b.mkv", "c.mkv", clips[2]]})
    assert named["source"].tolist() == ["b.mkv", "c.mkv", clips[2]]
    assert [bool(error) for error in named["error"]] == [False, True, False]


@pytest.mark.parametrize("task", ["timeline", "features", "detect"])
def test_arrays_have_the_rate_that_is_given(task: Task, folder: Path, tmp_path: Path) -> None:
    frames, rate = moving_pattern(frames=30), Fraction(30000, 1001)
    options: dict[str, Any] = {"hop_seconds": 0.25, "fps": rate}
    if task == "detect":
        boxes, folder = boxes_beside_model(tmp_path, "<array>,0.2,0.1,0.1,0.6,0.9,1"), tmp_path / "model"
        options["boxes"] = boxes
    columns = pickle.loads(pickle.dumps(BatchPredictor(folder, task=task, **options)))({"video": [frames]})
    assert columns["error"].tolist() == [""]
    if task == "features":
        expected = extract_features(create_model_of(folder), frames, hop_seconds=0.25, fps=rate)
        assert columns["end_seconds"][0] == expected.end_seconds.tolist()
    else:
        assert columns["duration_seconds"][0] == float(30 / rate)
    (missing,) = BatchPredictor(folder, task=task, **options | {"fps": None})({"video": [frames]})["error"]
    assert "pass fps=" in missing


def test_types_are_the_same_when_everything_fails(clips: list[str], folder: Path) -> None:
    predictor = BatchPredictor(folder, topk=1)
    good, bad, none = (predictor({"path": paths}) for paths in ([clips[0]], [clips[1]], []))
    assert [column.dtype for column in good.values()] == [column.dtype for column in bad.values()]
    assert [column.dtype for column in good.values()] == [column.dtype for column in none.values()]
    assert list(good) == list(none)
    assert list(good) == [part.split("`")[1] for part in predictor.schema.split(", ")]


def test_what_was_pickled_before_there_was_an_argument_is_as_without(clips: list[str], folder: Path) -> None:
    predictor = BatchPredictor(folder)
    restore, (text,) = predictor.__reduce__()
    settings = json.loads(text)
    for name in ("fps", "begins_at", "unit", "box_score", "score", "recipe", "layer", "last"):
        del settings[name]
    older: Any = restore(json.dumps(settings))
    assert older == predictor and older({"path": clips[:1]})["error"].tolist() == [""]


def test_use_changes_nothing_that_is_pickled(clips: list[str], folder: Path) -> None:
    predictor = BatchPredictor(folder, views=(1, 3), keep=["id"])
    before = pickle.dumps(predictor)
    columns = predictor({"path": clips, "id": [5, 6, 7]})
    assert pickle.dumps(predictor) == before
    assert len(before) < 1000
    copy = pickle.loads(before)
    assert copy == predictor
    assert hash(copy) == hash(predictor)
    assert pickle.dumps(copy) == before
    assert plain(copy({"path": clips, "id": [5, 6, 7]})) == plain(columns)
    assert columns["id"] == [5, 6, 7]
    assert BatchPredictor(folder) != predictor
    ruled = BatchPredictor("slowfast_tiny", task="timeline", rules=SegmentRules(labels=["pan left"]))
    assert pickle.loads(pickle.dumps(ruled)) == ruled


def test_another_process_answers_the_same_without_a_network(clips: list[str], tmp_path: Path) -> None:
    predictor = BatchPredictor("slowfast_tiny", topk=1)
    (tmp_path / "job").write_bytes(pickle.dumps(predictor))
    code = (
        "import pickle, socket, sys, json; socket.socket.connect = None\n"
        "predictor = pickle.load(open('job', 'rb'))\n"
        "assert 'torch' not in sys.modules\n"
        f"found = predictor({{'path': {clips!r}}})\n"
        "import torch\n"
        "print(json.dumps([found['label_1'].tolist(), found['score_1'].tolist(), torch.get_num_threads()]))"
    )
    environment = {**os.environ, "SLOWFAST_ZOO_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    columns = predictor({"path": clips})
    expected = [columns["label_1"].tolist(), columns["score_1"].tolist(), 1]
    assert done.stdout.strip() == str(expected).replace("'", '"').replace("nan", "NaN")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody forks")
def test_a_process_that_was_forked_from_one_with_threads_answers(clips: list[str], folder: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        predictor = BatchPredictor(folder, threads=2)
        columns = predictor({"path": clips})  # threads have computed in this process now
        with multiprocessing.get_context("fork").Pool(2) as pool:
            jobs = [pool.apply_async(predictor, ({"path": clips},)) for _ in range(2)]
            answers = [job.get(timeout=120) for job in jobs]
    finally:
        torch.set_num_threads(threads)
    for answer in answers:
        assert answer["label_1"].tolist() == columns["label_1"].tolist()
        assert np.allclose(answer["score_1"], columns["score_1"], rtol=1e-5, equal_nan=True)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody forks")
def test_engines_that_a_fork_breaks_are_not_taken(
    clips: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "choose", lambda *_: "openvino")  # for so small a model it is none
    BatchPredictor(folder, engine="openvino")({"path": clips})
    with multiprocessing.get_context("fork").Pool(1) as pool:
        auto = pool.apply_async(BatchPredictor(folder), ({"path": clips},)).get(timeout=120)
        asked = pool.apply_async(BatchPredictor(folder, engine="openvino"), ({"path": clips},))
        with pytest.raises(InputError, match="spawn workers"):
            asked.get(timeout=120)
    assert [bool(error) for error in auto["error"]] == [False, True, False]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody forks")
def test_a_forked_process_loads_two_models_for_an_engine(clips: list[str], folder: Path) -> None:
    code = (
        "import multiprocessing, sys; from slowfast_zoo import BatchPredictor\n"
        f"made = [BatchPredictor({str(folder)!r}, engine='openvino', topk=topk) for topk in (1, 2)]\n"
        "assert 'openvino' not in sys.modules\n"
        "with multiprocessing.get_context('fork').Pool(1) as pool:\n"
        f"    for one in made: print(pool.apply(one, ({{'path': {clips!r}}},))['label_1'].tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == second == str(BatchPredictor(folder)({"path": clips})["label_1"].tolist())


def test_threads_are_those_that_were_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert machine.given_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert machine.given_threads() is None
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "5")
    assert machine.given_threads() == 5
    monkeypatch.delenv("SLURM_CPUS_PER_TASK")
    monkeypatch.setattr(multiprocessing.process, "parent_process", lambda: object())
    assert machine.given_threads() == 1


def test_weights_that_were_written_anew_are_noticed(clips: list[str], tmp_path: Path) -> None:
    save_pretrained(make_model(), tmp_path / "model")
    predictor = BatchPredictor(tmp_path / "model")
    other = make_model()
    torch.nn.init.ones_(other.classifier.weight)
    save_pretrained(other, tmp_path / "model")
    with pytest.raises(InputError, match="other weights"):
        predictor({"path": clips})
    assert BatchPredictor(tmp_path / "model") != predictor


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"task": "prediction"}, "Did you mean 'predict'"),
        ({"engine": "fast"}, "engine is 'fast'"),
        ({"topk": None}, "topk is None; accepted: an integer"),
        ({"threads": 0}, "threads is 0"),
        ({"views": "slow"}, "views is 'slow'"),
        ({"views": 3}, "views is 3"),
        ({"hop_seconds": 1.0}, "hop_seconds= belongs to task='timeline', 'features', 'detect', not to"),
        ({"task": "timeline", "hop_seconds": -1}, "hop_seconds"),
        ({"fps": 0}, "fps is 0; accepted: frames per second"),
        ({"task": "timeline", "views": (2, 1)}, "give window_seconds="),
        ({"task": "features", "rules": SegmentRules()}, "rules= belongs to task='timeline', not to 'fea"),
        ({"keep": "id"}, "keep is 'id', prefix ''; accepted: names, a text."),
        ({"keep": 5}, "keep is 5"),
        ({"prefix": 5}, "prefix 5"),
        ({"task": "timeline", "topk": 3}, "topk= belongs to task='predict', 'detect', not to 'timeline'"),
        ({"task": "timeline", "rules": 5}, "rules is 5; accepted: SegmentRules."),
        ({"detector": "person"}, "detector= belongs to task='detect'"),
        ({"begins_at": 900}, "begins_at= belongs to task='detect', not to 'predict'"),
        ({"task": "timeline", "recipe": "ego4d"}, "recipe= belongs to task='features'"),
        ({"task": "features", "layer": "maps"}, "layer is 'maps'; accepted: 'pooled', 'slow', 'fast'"),
        ({"task": "features", "last": "stay"}, "last is 'stay'; accepted: 'move_back'"),
        ({"task": "features", "last": ""}, "last is ''; accepted: 'move_back'"),
        ({"task": "detect", "detector": "person", "begins_at": 900}, "unit= and begins_at= say how"),
        ({"task": "detect", "detector": "person", "views": (1, 3)}, "views= belongs to"),
        ({"task": "detect", "unit": "shares"}, "unit is 'shares'; accepted: 'pixels', 'normalized'"),
        ({"task": "detect", "box_score": 2}, "box_score is 2; accepted: a number from 0 to 1"),
        ({"task": "detect", "begins_at": "900"}, "begins_at is '900'; accepted: a finite number"),
        ({"task": "detect", "detector": "person"}, "named *_roi"),
        ({"task": "detect"}, "Where are the persons"),
    ],
)
def test_what_is_not_accepted_is_said_before_the_job(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises((InputError, UnknownNameError), match=re.escape(sentence)):
        BatchPredictor("slowfast_tiny", **options)


def test_models_are_named() -> None:
    with pytest.raises(InputError, match="save_pretrained"):
        BatchPredictor(make_model())  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="Did you mean 'slowfast_tiny'"):
        BatchPredictor("slowfast_tinny")
    with pytest.raises(InputError, match="scores persons: task='detect' takes it, with boxes="):
        BatchPredictor("slowfast_r50_4x16x1_roi")


@pytest.mark.parametrize(
    ("batch", "sentence"),
    [
        ({"file": ["a"]}, "has no column 'video', 'bytes', 'path'; it has 'file': name the one with column="),
        ({"path": "a.mp4"}, "batched=True"),
        ({"path": 5}, "Column 'path' is one int"),
        ({"path": ["a", "b"], "bytes": [b""]}, "'bytes' has 1 and 'path' 2"),
        ({"path": ["a"], "start": [0.0]}, "a column 'start' already, which would be lost: give prefix="),
        ({"bytes": np.array([b"a\0"])}, "cuts zeros"),
        ([{"path": "a.mp4"}], "A batch is columns by name"),
    ],
)
def test_what_is_no_batch_raises(batch: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        BatchPredictor("slowfast_tiny")(batch)


def test_a_folder_of_videos_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (told,) = BatchPredictor("slowfast_tiny")({"path": [str(tmp_path)]})["error"]
    assert told.endswith(". It holds videos: name one of them.")


def test_columns_that_are_kept_have_a_row_per_video() -> None:
    for cells, count in (([1, 2], 2), (5, 0), (None, 0)):
        with pytest.raises(InputError, match=f"'path' has 1 and 'id' {count} cells"):
            BatchPredictor("slowfast_tiny", keep=["id"])({"path": ["a"], "id": cells})


def test_columns_of_other_names(clips: list[str], folder: Path) -> None:
    batch = {"clip": [clips[0]], "label_1": ["the truth"], "id": [7]}
    columns = BatchPredictor(folder, column="clip", prefix="found_", keep=("id", "label_1"))(batch)
    assert columns["label_1"] == ["the truth"]
    assert columns["found_label_1"][0].startswith("class ")
    assert list(columns)[:4] == ["id", "label_1", "found_source", "found_error"]
