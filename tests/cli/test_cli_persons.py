"""``train`` on annotations of persons: the data, the classes, what it starts from, and what comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cli.commands import invoke
from support.movies import moving_pattern, write_video
from support.person_clips import PERSON_CLIPS, PERSON_SPEC
from support.small_nets import weights_of
from support.training_clips import SPEC

from slowfast_zoo.cli import persons as person_commands
from slowfast_zoo.cli import train as train_commands
from slowfast_zoo.data.persons.annotations import read_persons
from slowfast_zoo.data.persons.dataset import PersonDataset
from slowfast_zoo.errors import DataError, InputError, OutOfMemoryError
from slowfast_zoo.evaluation.evaluate import evaluate
from slowfast_zoo.evaluation.persons import evaluate_persons
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import RoiSpec
from slowfast_zoo.training.published import get_recipe
from slowfast_zoo.training.recipe import Recipe
from slowfast_zoo.weights.checkpoint.loading import take_weights
from slowfast_zoo.weights.saved.folder import save_pretrained
from slowfast_zoo.weights.saved.hub import from_pretrained

BIG = "slowfast_r50_8x8x1_roi"
ROWS = "".join(
    f"{video}.mp4,{second},{box},{action},{who}\n"
    for video, seconds in (("a", (0.3, 0.6, 0.9)), ("b", (0.5, 0.8)))
    for second in seconds
    for box, action, who in (("4,4,24,40", "walk", 1), ("30,6,60,44", "talk", 2))
)
HEADER = "video,second,x1,y1,x2,y2,action,person\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mkv", moving_pattern(30)).rename(tmp_path / f"{name}.mp4")
    rows = ROWS.splitlines(keepends=True)
    (tmp_path / "train.csv").write_text(HEADER + "".join(row for row in rows if row[0] == "a"))
    (tmp_path / "val.csv").write_text(HEADER + "".join(row for row in rows if row[0] == "b"))
    (tmp_path / "ava.csv").write_text("a,0900.5,.1,.1,.5,.9,3,0\na,0900.5,.1,.1,.5,.9,80,0\n")
    return tmp_path


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A recipe that is small enough to be run."""
    config = get_recipe(f"{BIG}/mmaction2/ava22-10e").config
    recipe = Recipe(
        name="tiny",
        model="tiny_roi",
        tag="tiny",
        model_spec=PERSON_SPEC.replace(activation="sigmoid"),
        clip_spec=PERSON_CLIPS,
        labels=("a", "b"),
        config=config.replace(epochs=1, batch_size=2, workers=0),
        dataset="nothing",
    )
    monkeypatch.setattr(train_commands, "_recipe", lambda name: recipe)
    return recipe


def run(*arguments: str | Path, says: str | None = None) -> str:
    result = invoke(*arguments)
    assert result.exit_code == (0 if says is None else 1), result.output
    assert says is None or says in result.output
    return result.output


def test_what_would_be_done(data: Path) -> None:
    output = run("train", BIG, data / "train.csv", data / "val.csv", "--validate", "--dry-run")
    assert "temporal_max_focal" in output and "2 classes: walk, talk" in output
    assert "starts from slowfast_r50_8x8x1 mmaction2/k400-256e-320p" in output
    for options, start in ((["--from-scratch"], "random weights"), (["--model", BIG], BIG)):
        output = run("train", BIG, data / "train.csv", *options, "--dry-run")
        assert f"Starts from {start} instead of slowfast_r50_8x8x1 mmaction2/k400-256e-320p." in output
        assert "The recipe starts from" not in output
    arguments = ["train", BIG, data / "ava.csv", "--begins-at", "900", "--dry-run"]
    assert "80 classes without names" in run(*arguments)
    assert "80 classes: bend/bow (at the waist)" in run(*arguments, "--recipe-labels")
    few = ["train", f"{BIG.replace('8x8', '4x16')}/mmaction2/ava21-20e-16", *arguments[2:], "--recipe-labels"]
    assert "16 classes: crouch/kneel" in run(*few), "by AVA's numbers"


def test_validation_has_as_many_classes_as_were_said(data: Path, tiny: Recipe) -> None:
    ava, how = str(data / "ava.csv"), {"begins_at": 900}
    both = train_commands._open_both(tiny, (ava, ava), True, {"root": data}, how, 90, 0.1)
    assert [part.annotations.num_classes for part in both] == [90, 90]  # type: ignore[union-attr]
    clips = get_recipe("slowfast_r50_4x16x1_256e_kinetics400_rgb")
    for name, row in (("t", "a.mp4 0\nb.mp4 1"), ("v", "b.mp4 4")):
        (data / f"{name}.txt").write_text(row)
    names = str(data / "t.txt"), str(data / "v.txt")
    both = train_commands._open_both(clips, names, True, {}, {}, 5, 0.1)
    assert [part.annotations.num_classes for part in both] == [5, 5]  # type: ignore[union-attr]
    with pytest.raises(DataError, match="label 4 is out of range; the training data has 4 classes"):
        train_commands._open_both(clips, names, True, {}, {}, 4, 0.1)


def test_sides_are_not_mirrored(data: Path, tiny: Recipe) -> None:
    path = data / "sides.csv"
    path.write_text((data / "train.csv").read_text().replace("walk", "turn left"))
    how: Any = {"root": data}
    assert person_commands.open_persons(str(path), tiny, how, {}).clip_spec.flip == 0
    assert person_commands.open_persons(str(data / "train.csv"), tiny, how, {}).clip_spec.flip == 0.5


def test_the_other_kind_of_data_is_refused(data: Path) -> None:
    (data / "clips.csv").write_text("path,label\na.mp4,walk\nb.mp4,talk\n")
    run("train", BIG, data / "clips.csv", "--dry-run", says="doesn't annotate any; accepted: a table with")
    run("train", "slowfast_r50_8x8x1", data / "train.csv", "--dry-run", says="recipes named *_roi take them")
    run("train", BIG, data / "ava.csv", "--begins-at", "-1", "--dry-run", says="begins_at is -1.0")
    says = "max_unreadable is nan; accepted: a part of the clips"
    run("train", BIG, data / "train.csv", "--root", data, "--max-unreadable", "nan", "--dry-run", says=says)
    for without in (["--decode"], ["--group-by", "auto"], ["--model", "slowfast_tiny"], ["--single-label"]):
        says = f"are checked without {without[0]}: leave that out"
        run("check", data / "train.csv", *without, says=says)
    run("cache", data / "train.csv", data / "o", says="a cache holds whole clips, made smaller; models and")
    tune = ("finetune", "--model", "slowfast_tiny", "--work-dir", data / "w")
    for arguments in (
        [data / "train.csv"],
        [data / "train.csv", "--root", data],
        [data],
        [data / "clips.csv", "--validation", data / "val.csv"],
        [data / "clips.csv", "--root", data, "--validation", data / "val.csv"],
    ):
        run(*tune, *arguments, says="annotates persons in boxes, and this network classifies whole clips")
    dropped = ["--begins-at", "900", "--excluded", data / "ava.csv"]
    says = "--excluded, --begins-at: for annotations of persons, and"
    labeled = ["--labels", data / "classes.txt", "--dry-run"]
    (data / "classes.txt").write_text("walk\ntalk\n")
    for arguments in (
        ["train", "slowfast_r50_8x8x1", data / "clips.csv", *labeled],
        ["check", data / "clips.csv"],
    ):
        run(*arguments, *dropped, says=says)
    for command in (["train", BIG], ["check"]):
        run(*command, data / "train.csv", "--form", "table", says="Annotations of persons have no --form")


def test_a_training_and_what_comes_out(data: Path, tiny: Recipe) -> None:
    work = data / "work"
    arguments = ["train", "tiny", data / "train.csv", data / "val.csv", "--validate", "--work-dir", work]
    assert "mean_average_precision" in run(*arguments, "--deterministic")
    model = from_pretrained(work / "model")
    assert model.labels == ("walk", "talk") and model.spec.roi == tiny.model_spec.roi
    assert model.spec.activation == "sigmoid" and model.clip_spec == tiny.clip_spec
    held_out = PersonDataset(read_persons(data / "val.csv", root=data), model.clip_spec, train=False)
    found = evaluate_persons(model, held_out, progress=False)
    assert found.frames == 2
    test = ["test", data / "val.csv", "--model", work / "model"]
    output = run(*test, "--per-class", "--out", data / "scores.json")
    score = found.metrics["mean_average_precision"]
    assert "2 of 2 key frames read" in output and f"by the rule official: {score:.4f}" in output
    assert json.loads((data / "scores.json").read_text())["map"] == pytest.approx(score)
    run(*test, "--eval", "mean_average_precision", says="Persons have no such scores: --eval")
    for option in (("--batch-size", "4"), ("--max-views", "2"), ("--single-label",)):
        run(*test, *option, says="Key frames of persons are scored one by one, ")
    run(*test, "--form", "table", says="Annotations of persons have no --form: ")
    (data / "found.csv").write_text("b.mp4,0.5,4,4,24,40,,1\n")
    run(*test, "--proposals", data / "found.csv", says="Say --unit pixels")
    assert "2 of 2 key frames read" in run(*test, "--proposals", data / "found.csv", "--unit", "pixels")
    run("test", data / "a.mp4", "--model", work / "model", says="The model scores persons, and ")
    again = [*arguments[:-1], data / "again", "--deterministic"]
    run(*again)
    for name, tensor in weights_of(from_pretrained(data / "again" / "model")).items():
        assert torch.equal(tensor, weights_of(model)[name]), name


def test_scores_are_those_of_the_rule_that_is_named(data: Path) -> None:
    model = SlowFast(PERSON_SPEC.replace(activation="sigmoid"))
    model.clip_spec, model.labels = PERSON_CLIPS, ("walk", "talk")
    save_pretrained(model, data / "model")
    test = ["test", data / "val.csv", "--model", data / "model", "--rule", "multisports", "--iou", "0.7"]
    held_out = PersonDataset(read_persons(data / "val.csv", root=data), PERSON_CLIPS, train=False)
    found = evaluate_persons(model, held_out, rule="multisports", iou=0.7, progress=False)
    score = found.metrics["mean_average_precision"]
    assert f"mAP at IoU 0.7 by the rule multisports: {score:.4f}" in run(*test)
    with pytest.raises(InputError, match=r"evaluate_persons of slowfast_zoo\.evaluation\.persons"):
        evaluate(model, held_out)
    clips = ["test", "camera-motion", "--model", "slowfast_tiny", "--rule", "pyslowfast", "--iou", "0.5"]
    run(*clips, says="--rule, --iou: for annotations of persons, and the model is of whole clips")


def test_classes_that_nobody_annotated_take_no_places(data: Path) -> None:
    """Of 80 scores a person 78 are higher than those of the table's two classes; 50 rows a frame count."""
    names = (*map(str, range(78)), "walk", "talk")
    model = SlowFast(PERSON_SPEC.replace(num_classes=80, activation="sigmoid"))
    model.clip_spec, model.labels = PERSON_CLIPS, names
    classifier = model.get_classifier()
    torch.nn.init.zeros_(classifier.weight)
    classifier.bias.data = torch.tensor([5.0] * 78 + [-5.0] * 2)
    read = read_persons(data / "val.csv", root=data).with_classes(names, 80, of="the model")
    held_out = PersonDataset(read, model.clip_spec, train=False)
    found = evaluate_persons(model, held_out, progress=False).detections
    # Equal scores, the later first: false, right, false, right for who walks, and the other way round.
    assert found.labels == ("walk", "talk")
    assert found.average_precisions.tolist() == pytest.approx([0.5, 0.5 + 0.5 * 2 / 3])
    hungry = SlowFast(model.spec)
    hungry.clip_spec, hungry.labels = PERSON_CLIPS, names
    hungry.slow.stem.register_forward_pre_hook(lambda *_: torch.empty(2**60))
    with pytest.raises(OutOfMemoryError, match=r"Memory doesn't suffice for one clip \(3, 4, "):
        evaluate_persons(hungry, held_out, progress=False)
    classifier.bias.data.fill_(float("nan"))
    with pytest.raises(InputError, match="Scores hold NaN; the model or its input is broken"):
        evaluate_persons(model, held_out, progress=False)


def test_false_alarms_in_empty_frames_count(data: Path) -> None:
    text = (data / "val.csv").read_text()
    (data / "val.csv").write_text(f"{text}b.mp4,0.2,,,,,,\n")
    boxes = "{},.1,.1,.4,.8,,1\n{},.5,.1,.9,.9,,1\n"
    (data / "found.csv").write_text(
        "".join(boxes.replace("{}", f"b.mp4,{second}") for second in (0.2, 0.5, 0.8))
    )
    model = SlowFast(PERSON_SPEC.replace(activation="sigmoid"))
    model.clip_spec, model.labels = PERSON_CLIPS, ("walk", "talk")
    read = read_persons(data / "val.csv", root=data, proposals=[data / "found.csv"])
    held_out = PersonDataset(read, model.clip_spec, train=False)
    found = evaluate_persons(model, held_out, progress=False)
    assert found.frames == 3 and found.detections.num_annotations == 4
    assert found.detections.num_predictions == 12, "two boxes in each of three frames, two classes"


def test_few_classes_from_a_trained_network(data: Path, tiny: Recipe) -> None:
    """Another classifier, everything else as it was; one class a person where that is wanted."""
    trained = SlowFast(tiny.model_spec.replace(num_classes=5))
    trained.clip_spec = tiny.clip_spec
    save_pretrained(trained, data / "start")
    frozen = ["--set", "lr=1e-9", "--set", "weight_decay=0", "--single-label"]
    command = [
        "train",
        "tiny",
        data / "train.csv",
        "--model",
        data / "start",
        "--work-dir",
        data / "w",
        *frozen,
    ]
    run(*command)
    model = from_pretrained(data / "w" / "model")
    assert model.spec.activation == "softmax" and model.num_classes == 2
    torch.testing.assert_close(model.slow.stem.conv.weight, trained.slow.stem.conv.weight)


def test_classes_in_another_order_are_taken_by_name(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = SlowFast(PERSON_SPEC.replace(activation="sigmoid"))
    model.clip_spec, model.labels = PERSON_CLIPS, ("walk", "stand")
    (data / "two.csv").write_text("a,.5,.1,.1,.5,.9,14\na,.5,.6,.1,.9,.9,12\n")
    read = read_persons(data / "two.csv", root=data, labels={12: "stand", 14: "walk"})
    with pytest.raises(
        DataError, match=r"class 0 is 'stand', the model's is 'walk'; take annotations\.with_cl"
    ):
        evaluate_persons(model, PersonDataset(read, PERSON_CLIPS, train=False), progress=False)
    moved = read.with_classes(model.labels, model.num_classes, of="the model")
    found = evaluate_persons(model, PersonDataset(moved, PERSON_CLIPS, train=False), progress=False)
    assert found.detections.labels == ("walk", "stand")
    evaluate_persons(model, PersonDataset(moved, PERSON_CLIPS, train=True), progress=False)
    assert "dataset to evaluate was opened for training" in caplog.text


def test_a_model_of_some_of_avas_actions_is_tested_by_avas_numbers(data: Path) -> None:
    """As ``detect`` writes them: 14 is walk, which is the model's first class; 80 isn't the model's."""
    model = SlowFast(PERSON_SPEC.replace(activation="sigmoid"))
    model.clip_spec, model.labels = PERSON_CLIPS, ("walk", "stand")
    save_pretrained(model, data / "few")
    (data / "two.csv").write_text("a,.5,.1,.1,.5,.9,14\na,.5,.6,.1,.9,.9,12\na,.5,.6,.1,.9,.9,80\n")
    classes = ("--per-class", "--root", data, "--model", data / "few")
    given = run("test", data / "two.csv", *classes)
    pbtxt = "".join(f'item {{ name: "{name}" id: {n} }}\n' for n, name in ((12, "stand"), (14, "walk")))
    (data / "few.pbtxt").write_text(pbtxt)
    named = run("test", data / "two.csv", *classes, "--labels", data / "few.pbtxt")
    assert given == named and "walk   " in given and "2 annotations" in given
    (data / "two.csv").write_text("a,.5,.1,.1,.5,.9,81\n")
    run("test", data / "two.csv", *classes, says="action 3 is none of the 2 of the model")


def test_numbers_that_are_the_models_own_stay_these(data: Path) -> None:
    """Though its classes are called as some of AVA's: so a training on such a CSV numbers them."""
    model = SlowFast(PERSON_SPEC.replace(activation="sigmoid"))
    model.clip_spec, model.labels = PERSON_CLIPS, ("stand", "walk")
    save_pretrained(model, data / "few")
    (data / "two.csv").write_text("a,.5,.1,.1,.5,.9,1\na,.5,.6,.1,.9,.9,2\n")
    (data / "few.txt").write_text("stand\nwalk\n")
    classes = ("--per-class", "--root", data, "--model", data / "few")
    given = run("test", data / "two.csv", *classes)
    assert given == run("test", data / "two.csv", *classes, "--labels", data / "few.txt")
    assert "stand  " in given and "2 annotations" in given


def test_a_network_for_clips_is_a_start(tiny: Recipe) -> None:
    torch.manual_seed(1)
    start = SlowFast(SPEC)
    for roi in (RoiSpec(), RoiSpec(acrn=True), RoiSpec(context=True)):
        model = SlowFast(tiny.model_spec.replace(roi=roi))
        own = weights_of(model)
        take_weights(model, start)
        taken = weights_of(model)
        for name, tensor in weights_of(start).items():
            if not name.startswith("classifier"):
                assert torch.equal(taken[name], tensor)
        heads = [name for name in own if name.startswith(("classifier", "acrn"))]
        assert heads and all(torch.equal(taken[name], own[name]) for name in heads)
    with pytest.raises(InputError, match="of another network than the recipe's"):
        take_weights(SlowFast(tiny.model_spec), SlowFast(SPEC.replace(base_width=16)))
    with pytest.raises(
        InputError, match=r": laterals.0.norm.weight is absent there, \(4,\) in the rec.* network.$"
    ):
        take_weights(SlowFast(SPEC.replace(lateral_norm=True)), SlowFast(SPEC))
