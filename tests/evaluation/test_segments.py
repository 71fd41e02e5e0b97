"""ActivityNet's scores of segments, by cases worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from slowfast_zoo.errors import DataError, InputError
from slowfast_zoo.evaluation.segments import THRESHOLDS, evaluate_segments, temporal_iou
from slowfast_zoo.inference.segments import Segment


def seg(start: float, end: float, score: float = 1.0, label: str = "a") -> Segment:
    return Segment(start, end, label, score)


def ap(predictions: list[Segment], truth: list[Segment], threshold: float = 0.5) -> float:
    return evaluate_segments({"v": predictions}, {"v": truth}, thresholds=[threshold]).average_map


def test_iou() -> None:
    others = np.array([[0.0, 10.0], [5.0, 15.0], [10.0, 20.0], [3.0, 4.0], [7.0, 7.0]])
    assert temporal_iou(np.array([0.0, 10.0]), others).tolist() == [1.0, 1 / 3, 0.0, 0.1, 0.0]
    assert temporal_iou(np.array([7.0, 7.0]), others[4:]).tolist() == [0.0]


def test_thresholds_are_the_benchmarks_own() -> None:
    assert np.array_equal(THRESHOLDS, np.linspace(0.5, 0.95, 10))
    # IoU 0.5 exactly is enough.
    assert ap([seg(0, 5)], [seg(0, 10)]) == 1.0
    assert ap([seg(0, 4.99)], [seg(0, 10)]) == 0.0
    # IoU 8/10 reaches 0.5 to 0.8 of ten thresholds; 0.8 in floating point is 0.8 in both.
    scores = evaluate_segments({"v": [seg(0, 8)]}, {"v": [seg(0, 10)]})
    assert scores.mean_average_precisions == (1.0,) * 7 + (0.0,) * 3 and scores.average_map == 0.7


def test_a_taken_annotation_leaves_the_next_best_one() -> None:
    """The second prediction's best annotation is taken: THUMOS and AVA stop there, at AP 0.5."""
    truth = [seg(0, 10), seg(4, 14)]
    predictions = [seg(0, 10, 0.9), seg(1.5, 11.5, 0.8)]  # the second: IoU 8.5/11.5 and 7.5/12.5
    assert ap(predictions, truth) == 1.0
    assert ap(predictions, truth, 0.61) == 0.5  # the next best one doesn't reach the threshold


def test_a_second_prediction_of_one_annotation_is_false() -> None:
    truth = [seg(0, 10), seg(20, 30)]
    # right, false, right: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1
    found = ap([seg(0, 10, 0.9), seg(0, 9, 0.8), seg(20, 30, 0.7)], truth)
    assert found == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    # false, right, right: interpolated precision is 2/3 from the begin on
    assert ap([seg(50, 60, 0.9), seg(0, 10, 0.8), seg(20, 30, 0.7)], truth) == pytest.approx(2 / 3)
    # Recall that isn't reached counts nothing.
    assert ap([seg(0, 10, 0.9)], truth) == 0.5


def test_videos_that_are_called_otherwise_are_no_score_of_0() -> None:
    with pytest.raises(InputError, match=r"begin with 'v\.mp4', the annotations with 'v'; videos have to be"):
        evaluate_segments({"v.mp4": [seg(0, 1)]}, {"v": [seg(0, 1)]})


def test_of_equal_scores_the_later_prediction_is_first() -> None:
    truth = [seg(0, 10)]
    assert ap([seg(50, 60, 0.5), seg(0, 10, 0.5)], truth) == 1.0
    assert ap([seg(0, 10, 0.5), seg(50, 60, 0.5)], truth) == 0.5


def test_classes_and_videos() -> None:
    truth = {"v": [seg(0, 10), seg(0, 10, label="b")], "w": [seg(0, 10)], "empty": []}
    told = {
        "v": [seg(0, 10, 0.9), seg(0, 10, 0.9, "c")],
        "w": [seg(0, 10, 0.8)],
        "unknown": [seg(0, 10, 0.99)],  # no annotations there: a false positive, as in the official code
    }
    scores = evaluate_segments(told, truth, thresholds=[0.5])
    assert scores.labels == ("a", "b") and scores.unknown_labels == ("c",)
    assert scores.average_precisions.tolist() == [[pytest.approx(2 / 3), 0.0]]  # b: no prediction, AP 0
    assert scores.average_map == pytest.approx(1 / 3)
    assert (scores.num_annotations, scores.num_predictions) == (3, 3)
    assert scores.to_dict()["classes"] == {"a": pytest.approx(2 / 3), "b": 0.0}


def annotated(folder: Path, content: object) -> Path:
    path = folder / "truth.json"
    path.write_text(json.dumps(content))
    return path


def test_files_in_the_benchmarks_format(tmp_path: Path) -> None:
    row = {"label": "a", "segment": [0, 10]}
    truth = annotated(
        tmp_path,
        {
            "version": "1.3",
            "taxonomy": [],
            "database": {
                "v": {"subset": "validation", "duration": 20, "annotations": [row]},
                "w": {"subset": "training", "duration": 20, "annotations": [row]},
            },
        },
    )
    told = tmp_path / "told"
    told.mkdir()
    (told / "v.json").write_text(
        json.dumps({"version": "x", "external_data": {}, "results": {"v": [row | {"score": 0.5}]}})
    )
    assert evaluate_segments(told, truth, subset="validation").average_map == 1.0
    assert evaluate_segments(told / "v.json", truth).average_map == 0.5
    with pytest.raises(InputError, match=r"no video in the subset 'validatoin'\. Did you mean 'validation'"):
        evaluate_segments(told, truth, subset="validatoin")
    for wrong in (
        [],
        {"results": []},
        {"results": {"v": [row]}},
        {"results": {"v": [row | {"score": "high"}]}},
        {"results": {"v": [row | {"score": float("nan")}]}},
        {"results": {"v": [row | {"score": 10**400}]}},
        {"results": {"v": [{"label": "a", "score": 1, "segment": [1]}]}},
        {"results": {"v": [{"label": "a", "score": 1, "segment": [5, 0]}]}},
        {"results": {"v": [{"label": "a", "score": 1, "segment": "01"}]}},
        {"results": {"v": [{"label": ["a"], "score": 1, "segment": [0, 1]}]}},
        {"results": {"v": None}},
        {"results": {"v": {"label": "a"}}},
    ):
        (told / "v.json").write_text(json.dumps(wrong))
        with pytest.raises(DataError, match=r"isn't ActivityNet's JSON|a segment that isn't one"):
            evaluate_segments(told, truth)
    with pytest.raises(DataError, match="can't be read"):
        evaluate_segments(tmp_path / "none.json", truth)
    truth.write_text(json.dumps({"database": {"v": {"annotations": None}}}))
    with pytest.raises(DataError, match="'v' has no list of segments"):
        evaluate_segments({}, truth)
    truth.write_text(json.dumps({"database": {}}))
    with pytest.raises(InputError, match=r"truth.json' has no videos\.$"):
        evaluate_segments({}, truth)


def test_a_subset_matters_where_one_is_asked_for(tmp_path: Path) -> None:
    row = {"label": "a", "segment": [0, 10]}
    truth = annotated(tmp_path, {"database": {"v": {"annotations": [row]}}})
    assert evaluate_segments({"v": [seg(0, 10, 0.5)]}, truth).average_map == 1.0
    with pytest.raises(DataError, match="has no 'subset'"):
        evaluate_segments({}, truth, subset="validation")


def test_nothing_to_compare_with_is_said() -> None:
    with pytest.raises(InputError, match="no annotated segment"):
        evaluate_segments({"v": [seg(0, 1)]}, {"v": []})
    with pytest.raises(InputError, match="thresholds are"):
        evaluate_segments({}, {"v": [seg(0, 1)]}, thresholds=[0])
    for wrong in (0.5, [], "0.5", [True], None):
        with pytest.raises(InputError, match=r"thresholds are .*; accepted: a list of numbers"):
            evaluate_segments({}, {"v": [seg(0, 1)]}, thresholds=wrong)  # type: ignore[arg-type]
    scores = evaluate_segments({"v": [seg(0, 8)]}, {"v": [seg(0, 10)]}, thresholds=np.linspace(0.7, 0.9, 2))
    assert scores.mean_average_precisions == (1.0, 0.0)


def test_videos_of_other_names_are_told() -> None:
    scores = evaluate_segments({"v_a": [seg(0, 1)], "b": [], "c": [seg(0, 1)]}, {"a": [seg(0, 1)], "c": []})
    assert scores.average_map == 0.0 and scores.unknown_videos == ("v_a",)
    assert scores.to_dict()["unknown_videos"] == ["v_a"]
