"""AVA's frame mAP: the publishers' programs on the same files, and cases worked out by hand."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from reference.detections import references, write_files

from slowfast_zoo.cli import main
from slowfast_zoo.data.persons.actions import PersonActions, RowList, overlaps, read_ava, read_excluded
from slowfast_zoo.errors import DataError, InputError, UnknownNameError
from slowfast_zoo.evaluation.ava import RULES, Rule, evaluate_detections

Row = tuple[str, float, tuple[float, float, float, float], int, float]

BOX = (0.1, 0.1, 0.5, 0.5)
OTHER = (0.6, 0.6, 0.9, 0.9)


def actions(*rows: Row, empty: tuple[tuple[str, float], ...] = ()) -> PersonActions:
    found = RowList()
    for video, second, box, label, score in rows:
        found.add((video, second), box, label, score)
    for frame in empty:
        found.look(frame)
    return found.finished()


def ap(predictions: PersonActions, truth: PersonActions, rule: str = "official") -> float:
    return evaluate_detections(predictions, truth, rule=rule).mean_average_precision


@pytest.mark.parametrize("files", ["plain", "crowd", "ties"])
@pytest.mark.parametrize(
    ("program", "rule"),
    [
        ("official_{}", "official"),
        ("official_{}_both_without_excluded", "official"),
        ("official_{}_detections_without_excluded", "official"),
        ("pyslowfast_{}", "pyslowfast"),
        ("mmaction2_0x_{}", "mmaction2-0.x"),
        ("mmaction2_1x_{}_ignore_empty_True", "mmaction2-1.x"),
        ("mmaction2_1x_{}_ignore_empty_False", "mmaction2-1.x"),
    ],
)
def test_the_publishers_programs(files: str, program: str, rule: str, tmp_path: Path) -> None:
    """Seen: 5e-7, half a unit of the last decimal that is stored (4 decimals: 5e-5)."""
    paths = write_files(tmp_path)
    mean, classes = references()["results"][program.format(files)]
    detections = read_ava(paths["det" if files == "plain" else files], scored=True)
    truth = read_ava(paths["gt"], scored=False)
    excluded = read_excluded(paths["exclude"])
    if "detections_without" in program:
        counted = np.array([frame not in excluded for frame in detections.frames])
        detections = detections.select(counted[detections.frame])
    scores = evaluate_detections(
        detections,
        truth,
        rule=dataclasses.replace(RULES[rule], empty_frames=True) if program.endswith("False") else rule,
        classes={int(number): number for number in references()["classes"]},
        excluded=excluded if "both" in program or rule != "official" else None,
    )
    found = dict(zip(scores.labels, scores.average_precisions.tolist(), strict=True))
    assert found.keys() == classes.keys()
    if files == "ties":  # equal scores stand in no fixed order there; here the later comes first
        assert scores.mean_average_precision == pytest.approx(mean, abs=0.01)
        return
    assert scores.mean_average_precision == pytest.approx(mean, abs=1e-6)
    assert found == pytest.approx(classes, abs=5.1e-5 if "1x" in program else 1e-6)


def test_overlap() -> None:
    boxes = np.array([[0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 0.5, 0.5]])
    others = np.array(
        [[0.0, 0.0, 1.0, 0.5], [0.5, 0.0, 1.5, 1.0], [2.0, 2.0, 3.0, 3.0], [0.5, 0.5, 0.5, 0.5]]
    )
    assert overlaps(boxes, others).tolist() == [[0.5, 1 / 3, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]


def test_half_is_enough_and_a_second_detection_is_false() -> None:
    truth = actions(("v", 1, (0, 0, 1, 1), 1, 1))
    assert ap(actions(("v", 1, (0, 0, 1, 0.5), 1, 0.9)), truth) == 1.0
    assert ap(actions(("v", 1, (0, 0, 1, 0.499), 1, 0.9)), truth) == 0.0
    # false, right
    found = actions(("v", 1, OTHER, 1, 0.9), ("v", 1, (0, 0, 1, 1), 1, 0.8))
    assert ap(found, truth) == 0.5
    # right, and the same person again: recall is 1 already
    assert ap(actions(("v", 1, (0, 0, 1, 1), 1, 0.9), ("v", 1, (0, 0, 1, 0.9), 1, 0.8)), truth) == 1.0


def test_where_the_best_box_is_taken_another_doesnt_help() -> None:
    """ActivityNet's rule for segments would take the second best: see ``evaluate_segments``."""
    truth = actions(("v", 1, (0, 0, 1, 1), 1, 1), ("v", 1, (0, 0.2, 1, 1.2), 1, 1))
    found = actions(("v", 1, (0, 0, 1, 1), 1, 0.9), ("v", 1, (0, 0.05, 1, 1.05), 1, 0.8))
    assert ap(found, truth) == 0.5


def test_actions_frames_and_videos() -> None:
    truth = actions(("v", 1, BOX, 1, 1), ("v", 2, BOX, 1, 1), ("w", 1, BOX, 2, 1), ("w", 1, BOX, -1, 1))
    found = actions(
        ("v", 1, BOX, 1, 0.9),  # right
        ("w", 2, BOX, 1, 0.8),  # no annotations in that frame
        ("v", 2, BOX, 1, 0.7),  # right
        ("v", 1, BOX, 3, 1.0),  # not an annotated action
    )
    # official: 1 and 1 -> AP 1; counted: 1, 1/2, 2/3 at recall 1/2, 1/2, 1; action 2 has no detection.
    assert ap(found, truth) == 0.5
    assert ap(found, truth, "mmaction2-0.x") == pytest.approx((0.5 + 0.5 * 2 / 3) / 2)
    assert ap(found, truth, "mmaction2-1.x") == 1.0
    scores = evaluate_detections(found, truth, classes={1: "stand", 2: "sit", 9: "fly"})
    assert scores.to_dict() == {
        "map": 0.5,
        "rule": "official",
        "iou": 0.5,
        "classes": {"stand": 1.0, "sit": 0.0},
        "annotations": 3,
        "predictions": 2,
    }
    # A frame without a person was looked at: what is detected there is false.
    looked = dataclasses.replace(truth, frames=(*truth.frames, ("w", 2.0)))
    assert ap(found, looked) == pytest.approx((0.5 + 0.5 * 2 / 3) / 2)


def test_only_the_best_fifty_of_a_frame_count_officially() -> None:
    truth = actions(("v", 1, BOX, 1, 1))
    crowd: list[Row] = [("v", 1, OTHER, 2, 0.9)] * 50
    found = actions(*crowd, ("v", 1, BOX, 1, 0.5))
    both = {1: "stand", 2: "sit"}
    official, theirs = (
        evaluate_detections(found, truth, rule=rule, classes=both).mean_average_precision
        for rule in ("official", "mmaction2-0.x")
    )
    assert (official, theirs) == (0.0, 1.0)
    assert evaluate_detections(found, truth, classes={1: "stand"}).mean_average_precision == 1.0


def test_order_of_rows_is_pyslowfasts() -> None:
    truth = actions(("v", 1, BOX, 1, 1))
    found = actions(("v", 1, (0.1, 0.1, 0.5, 0.45), 1, 0.2), ("v", 1, BOX, 1, 0.9))
    assert ap(found, truth) == 1.0
    assert ap(found, truth, "pyslowfast") == 0.5  # the first row has the box, the better one is false


def test_of_equal_scores_the_earlier_row_is_matched_and_the_later_first_along_the_curve() -> None:
    truth = actions(("v", 1, BOX, 1, 1))
    same: list[Row] = [("v", 1, BOX, 1, 0.9), ("v", 1, BOX, 1, 0.9)]
    assert ap(actions(*same), truth) == 0.5, "false, right"
    assert ap(actions(("v", 1, BOX, 1, 0.9), *[("v", 1, OTHER, 1, 0.9)] * 50), truth) == 1 / 50, (
        "the last of 50"
    )
    assert ap(actions(*[("v", 1, OTHER, 1, 0.9)] * 50, ("v", 1, BOX, 1, 0.9)), truth) == 0, "the 51st"
    later = actions(("v", 1, BOX, 1, 1), ("w", 1, BOX, 1, 1))
    assert ap(actions(("v", 1, OTHER, 1, 0.9), ("w", 1, BOX, 1, 0.9)), later) == 0.5, "right, false"


def test_a_rule_of_ones_own_keeps_the_best_in_the_order_of_rows() -> None:
    truth = actions(("v", 1, BOX, 1, 1))
    near = (0.1, 0.1, 0.5, 0.45)
    found = actions(("v", 1, near, 1, 0.1), ("v", 1, BOX, 1, 0.2), ("v", 1, BOX, 1, 0.9))
    for best, expected in ((1, 1.0), (2, 0.5), (None, 1 / 3)):
        rule = Rule(by_score=False, best=best)
        assert evaluate_detections(found, truth, rule=rule).mean_average_precision == expected


def test_a_mean_of_nothing_is_no_number_in_json() -> None:
    truth, found = actions(("v", 1, BOX, 12, 1)), actions(("v", 1, BOX, 14, 0.9))
    scores = evaluate_detections(found, truth, rule="mmaction2-1.x")
    assert scores.to_dict()["map"] is None and scores.labels == ()


def test_videos_are_the_same_however_their_accents_are_written() -> None:
    one, two = "M\u00fcller", "Mu\u0308ller"
    truth = actions(("v", 1.0, BOX, 1, 1.0), (one, 1.0, BOX, 1, 1.0), (one, 2.0, BOX, 1, 1.0))
    found = actions(("v", 1.0, BOX, 1, 0.9), (two, 1.0, BOX, 1, 0.8))
    assert ap(found, truth) == pytest.approx(2 / 3)
    assert evaluate_detections(found, truth, excluded=[(two, 2.0)]).mean_average_precision == 1


def test_boxes_without_an_area_and_excluded_frames() -> None:
    truth = actions(("v", 1, BOX, 1, 1), ("v", 2, BOX, 1, 1))
    found = actions(("v", 1, (0.5, 0.5, 0.1, 0.1), 1, 0.9), ("v", 1, BOX, 1, 0.8), ("v", 2, OTHER, 1, 0.7))
    excluded = [("v", 2.0)]

    def value(rule: str) -> float:
        return evaluate_detections(found, truth, rule=rule, excluded=excluded).mean_average_precision

    assert value("official") == 1.0  # the reversed box doesn't count
    assert value("mmaction2-1.x") == 0.25  # false, right; one of two annotations: precision 1/2 at recall 1/2


def test_times_are_compared_to_the_millisecond() -> None:
    """``detect`` writes three decimals, pandas six, and a third of a second has more."""
    times = [900 + number / 30 for number in range(30)]
    truth = actions(*(("v", round(second, 6), BOX, 1, 1) for second in times))
    found = actions(*(("v", float(f"{second:.3f}"), BOX, 1, 0.5) for second in times))
    assert ap(found, truth) == 1.0
    half = evaluate_detections(found, truth, excluded=[("v", second) for second in times[::2]])
    assert (half.num_annotations, half.num_predictions, half.mean_average_precision) == (15, 15, 1.0)
    twice = actions(("v", 1.0, BOX, 1, 1), ("v", 1.0001, OTHER, 1, 1))
    assert ap(twice, twice) == 1.0


def test_what_cant_be_compared_is_said() -> None:
    truth = actions(("v", 1, BOX, 1, 1))
    with pytest.raises(InputError, match=r"they begin with 'v' at 901\.04, the annotations with 'v' at 1; "):
        ap(actions(("v", 901.04, BOX, 1, 0.5)), truth)
    with pytest.raises(UnknownNameError, match=r"no rule 'offical'\. Did you mean 'official'"):
        ap(truth, truth, "offical")
    with pytest.raises(InputError, match="no annotation of a scored action"):
        evaluate_detections(truth, truth, classes={5: "sleep"})
    with pytest.raises(InputError, match="iou is 0"):
        evaluate_detections(truth, truth, iou=0)
    with pytest.raises(InputError, match="predictions are in pixels, those of the annotations shares"):
        ap(actions(("v", 1, (10, 10, 50, 50), 1, 1)), truth)
    # nothing was detected: every action is at 0
    assert ap(actions(), truth) == 0.0
    assert math.isnan(ap(actions(), truth, "mmaction2-1.x"))


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("v,0902,0.1,0.1,0.5,0.5", "7? ?fields; accepted"),
        ("v,0902,0.1,0.1,0.5,nan,1,0.5", "y2 is 'nan'"),
        ("v,0902,0.1,0.1,0.5,0.5,walk,0.5", "action is 'walk'; accepted: a whole number"),
        ("video,second,x1,y1,x2,y2,action,score", "this is a header, and AVA's CSV has none"),
        ("v,0902,0.1,0.1,0.5,0.5,1,high", "score is 'high'"),
    ],
)
def test_a_line_that_isnt_avas(line: str, match: str, tmp_path: Path) -> None:
    path = tmp_path / "found.csv"
    path.write_text(f"v,0903,0.1,0.1,0.5,0.5,1,0.5\n\n{line}\n")
    with pytest.raises(DataError, match=match) as caught:
        read_ava(path, scored=True)
    assert str(caught.value).startswith(f"{path}:3: ")


def test_command(tmp_path: Path) -> None:
    paths = write_files(tmp_path)
    classes = tmp_path / "classes.pbtxt"
    classes.write_text(
        "".join(
            f'item {{\n  name: "{name}"\n  id: {number}\n}}\n'
            for number, name in references()["classes"].items()
        )
    )
    common = ["test-detections", str(paths["det"]), str(paths["gt"]), "--classes", str(classes)]
    common += ["--excluded", str(paths["exclude"]), "--rule", "mmaction2-0.x"]
    told = CliRunner().invoke(main, common, catch_exceptions=False)
    assert told.exit_code == 0 and "mAP at IoU 0.5 by the rule mmaction2-0.x: 0.2276" in told.output
    assert "lie/sleep" in told.output
    told = CliRunner().invoke(main, [*common, "--json"], catch_exceptions=False)
    assert json.loads(told.stdout)["map"] == pytest.approx(0.227612, abs=1e-6)
