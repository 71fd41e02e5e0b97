"""Metrics by their definitions, evaluation of datasets with views and failures, result files, the command."""

from __future__ import annotations

import copy
import csv
import dataclasses
import functools
import json
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Subset

from slowfast_zoo.cli import main
from slowfast_zoo.cli import train as train_module
from slowfast_zoo.cli.options import changes
from slowfast_zoo.cli.train import open_data
from slowfast_zoo.data.dataset import VideoDataset, open_dataset
from slowfast_zoo.data.lists import read_annotations
from slowfast_zoo.errors import (
    CheckpointError,
    DataError,
    ExportError,
    InputError,
    OutOfMemoryError,
    SlowFastZooError,
    UnknownNameError,
    VideoError,
)
from slowfast_zoo.evaluation.evaluate import evaluate
from slowfast_zoo.evaluation.metrics import (
    average_precisions,
    compute_metrics,
    confusion_matrix,
    mean_average_precision,
    mean_class_accuracy,
    top_k_accuracy,
    wilson_interval,
)
from slowfast_zoo.evaluation.persons import evaluate_persons
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.training.published import get_recipe
from slowfast_zoo.training.recipe import TrainConfig
from slowfast_zoo.training.state import save_weights
from slowfast_zoo.training.train import train
from slowfast_zoo.weights.saved.file import read_file
from slowfast_zoo.weights.saved.folder import save_pretrained
from slowfast_zoo.weights.saved.hub import from_pretrained
from slowfast_zoo.zoo import create_model

SPEC = ModelSpec(
    depth=14, base_width=8, beta_inv=4, alpha=2, fusion_kernel=3, num_frames=4, num_classes=3, dropout=0.5
)
RNG = np.random.default_rng(0)


class Videos(torch.utils.data.Dataset[Any]):
    """Items with two views each, or as many as ``views`` says; item ``broken`` can't be read."""

    def __init__(self, length: int = 5, *, views: tuple[int, ...] = (2,), broken: int = -1) -> None:
        self.length, self.views, self.broken = length, views, broken
        self.targets: list[Any] = [index % 3 for index in range(length)]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        if index == self.broken:
            raise VideoError("moov atom not found")
        generator = torch.Generator().manual_seed(index)
        count = self.views[index % len(self.views)]
        return torch.randn(count, 3, 4, 32, 32, generator=generator), self.targets[index]

    def name_of(self, index: int) -> str:
        return f"vidéos/{index}.mp4"


@pytest.fixture(scope="module")
def model() -> SlowFast:
    torch.manual_seed(0)
    model = SlowFast(SPEC)
    torch.nn.init.normal_(model.classifier.weight)
    model.labels = ("walk", "run, fast", "jump")
    return model


def test_top_k_by_its_definition() -> None:
    scores, targets = RNG.normal(size=(50, 7)), RNG.integers(0, 7, 50)
    found = top_k_accuracy(scores, targets, (1, 2, 5, 7, 9))
    for k in (1, 2, 5, 7, 9):
        hits = [target in sorted(range(7), key=lambda c: -row[c])[:k] for row, target in zip(scores, targets)]  # noqa: B905
        assert found[k] == pytest.approx(np.mean(hits))
    assert found[7] == found[9] == 1.0, "more than there are classes counts all of them"


def test_ties_have_one_answer() -> None:
    even = np.zeros((1, 3))
    assert top_k_accuracy(even, np.array([2]), (1,)) == {1: 1.0}, "the last class is on top"
    assert top_k_accuracy(even, np.array([0]), (1, 2)) == {1: 0.0, 2: 0.0}
    assert confusion_matrix(even, np.array([2]))[2, 0] == 1, "argmax takes the first"


def test_mean_class_accuracy_counts_predicted_classes_without_videos_as_0() -> None:
    #        true 0: both right; true 1: one of two right, the other called 3; 2 never seen; 3 only predicted
    predicted, targets = np.array([0, 0, 1, 3]), np.array([0, 0, 1, 1])
    confusion = confusion_matrix(np.eye(5)[predicted], targets)
    assert confusion.sum() == 4 and confusion[1, 3] == 1
    assert mean_class_accuracy(confusion) == pytest.approx((1 + 0.5 + 0) / 3)


def test_accuracies_agree_with_torchmetrics() -> None:
    from torchmetrics.functional import classification as tm

    scores, targets = torch.randn(200, 6), torch.randint(0, 6, (200,))
    ours = compute_metrics(scores.numpy(), targets.numpy())
    for k in (1, 5):
        theirs = tm.multiclass_accuracy(scores, targets, 6, average="micro", top_k=k)
        assert ours[f"top{k}_acc"] == pytest.approx(theirs.item(), abs=1e-6)
    macro = tm.multiclass_accuracy(scores, targets, 6, average="macro")
    assert ours["mean_class_accuracy"] == pytest.approx(macro.item(), abs=1e-6)
    confusion = tm.multiclass_confusion_matrix(scores, targets, 6)
    assert np.array_equal(confusion_matrix(scores.numpy(), targets.numpy()), confusion.numpy())


def test_mean_average_precision_agrees_with_torchmetrics_ties_included() -> None:
    from torchmetrics.functional.classification import multilabel_average_precision

    for scores in (torch.rand(80, 5), torch.randint(0, 4, (80, 5)) / 4):
        targets = torch.randint(0, 2, (80, 5))
        theirs = multilabel_average_precision(scores, targets, 5, average="none")
        ours = average_precisions(scores.numpy(), targets.numpy())
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-6)


def test_classes_without_positives_are_left_out_of_the_mean() -> None:
    scores = np.array([[0.9, 0.2, 0.1], [0.1, 0.8, 0.3]])
    targets = np.array([[1, 0, 0], [0, 1, 0]])
    assert np.isnan(average_precisions(scores, targets)[2])
    assert mean_average_precision(scores, targets) == 1.0
    assert np.isnan(mean_average_precision(scores, np.zeros((2, 3))))
    assert mean_average_precision(np.zeros((4, 1)), np.array([[1], [0], [0], [0]])) == 0.25


@pytest.mark.parametrize(
    "scores, targets, names, error",
    [
        (np.zeros((0, 3)), np.zeros(0, int), None, InputError),
        (np.zeros((2, 3)), np.zeros(3, int), None, InputError),
        (np.zeros((2, 0)), np.zeros(2, int), None, InputError),
        (np.full((1, 3), np.nan), np.zeros(1, int), None, InputError),
        (np.zeros((1, 3)), np.array([3]), None, InputError),
        (np.zeros((1, 3)), np.array([0]), ("mean_average_precision",), InputError),
        (np.zeros((1, 3)), np.zeros((1, 3)), ("top_k_accuracy",), InputError),
        (np.zeros((1, 3)), np.array([0]), ("top_k_acuracy",), UnknownNameError),
    ],
)
def test_what_can_t_be_scored_is_refused(
    scores: Any, targets: Any, names: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        compute_metrics(scores, targets, names)


@pytest.mark.parametrize("batch_size, max_views, workers", [(1, 8, 0), (4, 3, 0), (2, 1, 2)])
def test_each_video_is_scored_once_however_it_is_batched(
    model: SlowFast, batch_size: int, max_views: int, workers: int
) -> None:
    data = Videos(5, views=(2, 1, 3))
    model.train()
    result = evaluate(
        model, data, batch_size=batch_size, max_views=max_views, workers=workers, device="cpu", average="prob"
    )
    assert model.training, "the mode comes back"
    assert result.names == [f"vidéos/{index}.mp4" for index in range(5)]
    model.eval()
    with torch.no_grad():
        for index, scores in enumerate(result.scores):
            expected = model(data[index][0]).softmax(1).mean(0)
            np.testing.assert_allclose(scores, expected.numpy(), atol=1e-6)
    assert result.protocol["views"] == [1, 2, 3]
    assert result.metrics == compute_metrics(np.stack(result.scores), np.array([0, 1, 2, 0, 1]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_in_other_numbers_is_scored_in_them(model: SlowFast, dtype: torch.dtype) -> None:
    data, other = Videos(2, views=(1,)), copy.deepcopy(model).to(dtype).eval()
    scores = evaluate(other, data, device="cpu", average="prob").scores
    for index, found in enumerate(scores):
        with torch.no_grad():
            expected = other(data[index][0].to(dtype)).float().softmax(1).mean(0)
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


def test_unreadable_videos_are_reported_and_not_counted(model: SlowFast) -> None:
    result = evaluate(model, Videos(4, broken=1), workers=1, device="cpu")
    assert result.failed == [("vidéos/1.mp4", "moov atom not found")]
    assert result.names == ["vidéos/0.mp4", "vidéos/2.mp4", "vidéos/3.mp4"]
    assert str(result).startswith("3 of 4 decoded, top1_acc ")
    with pytest.raises(DataError, match="None of the 1 items could be read; the first: moov"):
        evaluate(model, Videos(1, broken=0), device="cpu")
    with pytest.raises(DataError, match="empty"):
        evaluate(model, Videos(0), device="cpu")


def test_one_metric_may_be_named_alone(model: SlowFast) -> None:
    assert {*evaluate(model, Videos(3), metrics="top_k_accuracy", device="cpu").metrics} == {
        "top1_acc",
        "top5_acc",
    }


def test_single_views_have_scores_and_no_metrics(model: SlowFast, tmp_path: Path) -> None:
    result = evaluate(model, Videos(3), average="none", device="cpu")
    assert [scores.shape for scores in result.scores] == [(2, 3)] * 3 and not result.metrics
    untouched = Videos(3, broken=0)
    untouched.__class__ = type("Untouched", (Videos,), {"__getitem__": None})
    for metrics, message in ((["top_k_accuracy"], "average them"), (["mean_average_precision"], "one label")):
        with pytest.raises(InputError, match=message):  # before anything is read
            evaluate(model, untouched, average="none", metrics=metrics, device="cpu")
    with pytest.raises(InputError):
        result.confusion_matrix()
    result.save(tmp_path / "raw.json", "mmaction2")
    assert np.array(json.loads((tmp_path / "raw.json").read_text())).shape == (3, 2, 3)


def test_several_labels_are_scored_by_average_precision() -> None:
    torch.manual_seed(0)
    model = SlowFast(SPEC.replace(activation="sigmoid"))
    model.clip_spec = ClipSpec(aggregate="max-prob")
    data = Videos(4)
    data.targets = [torch.tensor(row) for row in ([1.0, 0, 1], [0.0, 1, 0], [1.0, 1, 0], [0.0, 0, 0])]
    result = evaluate(model, data, device="cpu")
    assert result.protocol["average"] == "max-prob", "as the clip spec says"
    assert list(result.metrics) == ["mean_average_precision"]
    assert result.targets.shape == (4, 3)
    with pytest.raises(DataError, match=r"takes multi-hot tensors of 3 classes: read .*--multi-label"):
        evaluate(model, Videos(2), device="cpu")


def test_result_files(model: SlowFast, tmp_path: Path) -> None:
    result = evaluate(model, Videos(4), device="cpu")
    result.save(tmp_path / "named.json")
    named = json.loads((tmp_path / "named.json").read_text(encoding="utf-8"))
    assert named["labels"] == ["walk", "run, fast", "jump"]
    assert named["videos"][2]["video"] == "vidéos/2.mp4" and named["videos"][2]["target"] == 2
    assert named["protocol"]["views"] == 2 and named["protocol"]["average"] == "mean-prob"
    assert named["protocol"]["clip_spec"] == model.clip_spec.to_dict()
    result.save(tmp_path / "bare.json", "mmaction2")
    bare = json.loads((tmp_path / "bare.json").read_text())
    assert bare == [video["scores"] for video in named["videos"]]
    result.save_confusion(tmp_path / "confusion.csv")
    with (tmp_path / "confusion.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][1:] == ["walk", "run, fast", "jump"]
    assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == result.confusion_matrix().tolist()
    assert [row["videos"] for row in result.class_table()] == [2, 1, 1]
    with pytest.raises(InputError, match="can't be written"):
        result.save(tmp_path / "nowhere" / "file.json")
    broken = evaluate(model, Videos(3, broken=0), device="cpu")
    with pytest.raises(InputError, match="1 couldn't be read"):
        broken.save(tmp_path / "bare.json", "mmaction2")


def test_wrong_arguments_are_refused(model: SlowFast) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'prob'"):
        evaluate(model, Videos(1), average="probs", device="cpu")
    for wrong in (5, ["prob"]):
        with pytest.raises(UnknownNameError, match=r"Views can't be averaged by .* Accepted: 'prob'"):
            evaluate(model, Videos(2), average=wrong)  # type: ignore[arg-type]
    for wrong in (5, [5], [["top_k_accuracy"]]):
        with pytest.raises(UnknownNameError, match=r"There is no metric .* Accepted: 'top_k_accuracy'"):
            evaluate(model, Videos(2), metrics=wrong)  # type: ignore[arg-type]
    for name, value in (("batch_size", 0), ("batch_size", -1), ("batch_size", "2"), ("max_views", 0)):
        with pytest.raises(InputError, match=rf"{name} is '?{value}'?; accepted: an integer of at least 1"):
            evaluate(model, Videos(1), device="cpu", **{name: value})
    for workers in (-1, "2", 1.0, 1025):
        with pytest.raises(InputError, match=rf"workers is '?{workers}'?; accepted: an integer from 0 to"):
            evaluate(model, Videos(1), device="cpu", workers=workers)  # type: ignore[arg-type]
    other = copy.deepcopy(model)
    other.classifier = torch.nn.Linear(model.num_features, 5)
    with pytest.raises(InputError, match=r"gives 5 numbers, model\.spec says 3 classes"):
        evaluate(other, Videos(1), device="cpu")
    other.classifier = torch.nn.Identity()
    with pytest.raises(
        InputError, match=r"3 classes: model\.reset_classifier\(0\) makes a model of features"
    ):
        evaluate(other, Videos(1), device="cpu")
    wrapped: Any = torch.nn.DataParallel(model)
    for score in (evaluate, evaluate_persons):
        with pytest.raises(
            InputError, match=rf"{score.__name__} takes a SlowFast model, got DataParallel \(give"
        ):
            score(wrapped, Videos(1), device="cpu")
    data = Videos(2)
    data.targets = [0, 3]
    with pytest.raises(DataError, match=r"vidéos/1\.mp4 has the label 3"):
        evaluate(model, data, device="cpu")


def test_a_trained_file_brings_its_own_network(model: SlowFast, tmp_path: Path) -> None:
    save_weights(model, tmp_path / "w.safetensors", {"step": 3})
    loaded = read_file(tmp_path / "w.safetensors")
    assert loaded.labels == model.labels
    assert loaded.provenance["training"] == {"step": 3}
    torch.save(model.state_dict(), tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="doesn't say which network"):
        read_file(tmp_path / "other.pth")
    content = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "short.safetensors").write_bytes(content[:-100])
    with pytest.raises(CheckpointError, match="damaged safetensors"):
        read_file(tmp_path / "short.safetensors")


invoke = functools.partial(click.testing.CliRunner().invoke, **main.context_settings)
"""Runs a command by itself with the program's -h, which click would else forget for later tests."""


def test_the_test_command(model: SlowFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_weights(model, tmp_path / "best.safetensors", {})
    monkeypatch.setattr(train_module, "open_data", lambda *args, **options: Videos(4, broken=3))
    args = ["some/folder", "--model", str(tmp_path / "best.safetensors"), "--device", "cpu"]
    spaced = [*args, "--eval", "top_k_accuracy", "mean_class_accuracy", "--average-clips", "score"]
    files = ["--out", str(tmp_path / "result.json"), "--confusion", str(tmp_path / "c.csv"), "--per-class"]
    result = invoke(train_module.test_command, [*spaced, *files, "--workers", "0"])
    assert result.exit_code == 0, result.output
    for part in ("3 of 4 decoded", "top1_acc: ", "top5_acc: 1.0000", "mean_class_accuracy: ", "run, fast  "):
        assert part in result.output
    assert "not decoded: vidéos/3.mp4" in result.output
    assert json.loads((tmp_path / "result.json").read_text())["protocol"]["average"] == "mean-logit"
    one = invoke(train_module.test_command, [*args, "--eval=mean_class_accuracy", "--workers", "0"])
    assert "mean_class_accuracy" in one.output and "top1_acc" not in one.output
    assert invoke(train_module.test_command, [*args, "--eval", "top_1"]).exit_code == 2
    bare = invoke(
        train_module.test_command, [*args, "--format", "mmaction2", "--out", str(tmp_path / "bare.json")]
    )
    assert "couldn't be read" in str(bare.exception) and "bare.named.json" in str(bare.exception)
    assert len(json.loads((tmp_path / "bare.named.json").read_text())["videos"]) == 3, "scores aren't lost"
    monkeypatch.setattr(train_module, "open_data", None)  # what is refused is refused before anything is read
    for wrong in (
        ["--out", str(tmp_path / "nowhere" / "file.json")],
        ["--confusion", str(tmp_path / "nowhere" / "file.csv")],
        ["--out", "/proc/file.json"],
        ["--out", str(tmp_path / "result.pkl")],
        ["--out", str(tmp_path / "both.json"), "--confusion", str(tmp_path / "both.json")],
        ["--average-clips", "none", "--per-class"],
        ["--format", "mmaction2"],
    ):
        refused = invoke(train_module.test_command, [*args, *wrong])
        assert refused.exit_code and not isinstance(refused.exception, TypeError), wrong
    missing = invoke(train_module.test_command, ["x", "--model", str(tmp_path / "no.pth")])
    assert isinstance(missing.exception, SlowFastZooError)


def test_the_train_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Noise(Videos):
        labels = ("a", "b")

        def __getitem__(self, index: int) -> tuple[Tensor, Any]:
            return torch.randn(3, 16, 32, 32), index % 2

    monkeypatch.setattr(train_module, "open_data", lambda *args, **options: Noise(6))
    args = ["camera-motion", "--work-dir", str(tmp_path / "w"), "--device", "cpu", "--workers", "0"]
    small = [*args, "--batch-size", "3", "--epochs", "1", "--deterministic", "--seed", "4"]
    dry = invoke(train_module.train_command, [*small, "--dry-run", "--set", "lr_batch=32"])
    assert dry.exit_code == 0 and "2 steps of 3 clips" in dry.output and "for 32 clips" in dry.output
    assert "The recipe has 18 epochs; in 1 there are 0.0556 epochs of warm-up." in dry.output
    steps = ["--epochs", "9", "--set", "schedule=step", "--set", "milestones=(4, 7)"]
    steps += ["--set", "warmup_epochs=2"]
    dry = invoke(train_module.train_command, [*args, "--dry-run", *steps, "--set", "grad_clip=None"])
    assert "in 9 there are 2 epochs of warm-up, milestones 4, 7." in dry.output, "what is said counts"
    assert not (tmp_path / "w").exists()
    result = invoke(train_module.train_command, [*small, "--validate", "--set", "validate_every=1"])
    assert result.exit_code == 0, result.output
    assert "Trained 2 steps" in result.output and "best.safetensors" in result.output
    assert result.output.count("top1_acc") <= 1  # as it was measured, not once more at the end
    trained = read_file(tmp_path / "w" / "best.safetensors")
    assert trained.labels == ("a", "b")
    training = trained.provenance["training"]
    assert training["settings"]["seed"] == 4 and 0 <= training["metrics"]["top1_acc"] <= 1
    saved = from_pretrained(tmp_path / "w" / "model")
    assert saved.labels == ("a", "b") and saved.spec == trained.spec
    again = invoke(train_module.train_command, small)
    assert "holds a training already" in str(again.exception)
    earlier: dict[str, Any] = {"best_metrics": {"epoch": 1.0, "top1_acc": 0.75}, "metrics": {"top1_acc": 0.5}}
    monkeypatch.setattr(
        "slowfast_zoo.training.train.train",
        lambda *args, **options: dataclasses.replace(train(*args, **options), **earlier),
    )
    resumed = invoke(train_module.train_command, [*small, "--resume"])
    assert resumed.exit_code == 0 and "Trained 2 steps" in resumed.output
    assert "Best validation, after epoch 1: top1_acc 0.7500" in resumed.output
    for text, value in (
        ("True", True),
        ("true", True),
        ("None", None),
        ("(10,20)", (10, 20)),
        ("10,20", (10, 20)),
        ("[10, 20]", (10, 20)),
        ("1e-3", 0.001),
        ("adamw", "adamw"),
        ("[" * 100_000, "[" * 100_000),
    ):
        assert changes({"set": [f"field={text}"]}) == {"field": value}
    for wrong, message in (
        (["--set", "epochs"], "isn't FIELD=VALUE"),
        (["--set", "epoch=3"], "Did you mean 'epochs'"),
        (["--lr", "-1"], "TrainConfig.lr"),
        (["--lr", "0.1", "--set", "lr=0.2"], "lr is given twice, as 0.1 and as 0.2; give it once."),
        (["--set", "ema=0.5", "--set", "ema=0.9"], "ema is given twice"),
    ):
        assert message in str(invoke(train_module.train_command, [*small, *wrong]).exception)
    same = changes({"lr": 0.1, "set": ["lr=0.1", "deterministic=True"]}, deterministic=True)
    assert same == {"lr": 0.1, "deterministic": True}
    unknown = invoke(train_module.train_command, ["slowfast_r50_4x16", "x"])
    assert "slowfast_r50_4x16x1" in str(unknown.exception)
    needs = invoke(train_module.train_command, ["slowfast_r50_4x16x1", "x", "--validate"])
    assert needs.exit_code == 2 and "needs validation data" in needs.output


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """A list of two classes by number, a folder with the same and one class less, and names."""
    for index, name in enumerate(("b", "a", "b", "a")):
        (tmp_path / "clips" / name).mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "clips" / name / f"{index}.npy", RNG.integers(0, 255, (8, 36, 36, 3), np.uint8))
    (tmp_path / "list.txt").write_text("clips/b/0.npy 0\nclips/a/1.npy 1\nclips/b/2.npy 0\n")
    (tmp_path / "names.txt").write_text("b\na\n")
    (tmp_path / "three.txt").write_text("b\na\nc\n")
    return tmp_path


def test_a_training_takes_number_and_names_of_its_classes_from_the_data(numbered: Path) -> None:
    work = numbered / "w"

    def run_train(*options: str) -> click.testing.Result:
        command = ["train", "camera-motion", str(numbered / "list.txt"), "--work-dir", str(work)]
        command += ["--device", "cpu", "--workers", "0", "--fps", "10", *options]
        command += ["--epochs", "1", "--batch-size", "2", "--set", "channels_last=false"]
        return click.testing.CliRunner().invoke(main, command)

    for wrong, message in (
        ((), "number 2 classes without names, the recipe has 10: --labels FILE names them, --recipe-labels"),
        (("--num-classes", "1"), "The data have 2 classes, --num-classes says 1."),
        (("--recipe-labels", "--num-classes", "2"), "The data have 10 classes, --num-classes says 2."),
    ):
        refused = run_train(*wrong)
        assert refused.exit_code == 1 and message in " ".join(refused.output.split())
    assert not work.exists()
    for options, labels, classes in (
        (("--num-classes", "3"), None, 3),
        (("--labels", str(numbered / "names.txt")), ("b", "a"), 2),
        (("--recipe-labels",), get_recipe("camera-motion").labels, 10),
    ):
        result = run_train(*options)
        assert result.exit_code == 0, result.output
        assert ("3 classes without names; --labels FILE" in result.output) == (labels is None)
        trained = from_pretrained(work / "model")
        assert (trained.labels, trained.spec.num_classes) == (labels, classes)
        shutil.rmtree(work)


def test_a_training_says_what_it_started_from(numbered: Path) -> None:
    def trained(folder: str, *options: str) -> dict[str, Any]:
        command = ["train", "camera-motion", str(numbered / "list.txt"), "--num-classes", "2", "--fps", "10"]
        command += ["--device", "cpu", "--workers", "0", "--epochs", "1", "--batch-size", "2", *options]
        command += ["--set", "channels_last=false", "--work-dir", str(numbered / folder)]
        result = click.testing.CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
        provenance = from_pretrained(numbered / folder / "model").provenance
        assert provenance["training"]["recipe"] == "camera-motion" and provenance["training"]["step"] == 1
        return provenance

    assert trained("random", "--from-scratch").keys() == {"model", "training"}
    published = create_model("slowfast_tiny", pretrained=True).provenance
    start = {name: fact for name, fact in published.items() if fact is not None}
    known = {name: start.pop(name) for name in ("model", "license")}
    first = trained("first", "--model", "slowfast_tiny")
    assert first == known | {"initialized_from": start, "training": first["training"]}
    model = from_pretrained(numbered / "first" / "model")
    model.provenance["model"] = "mine"
    save_pretrained(model, numbered / "mine")
    second = trained("second", "--model", str(numbered / "mine"))
    assert second == known | {
        "initialized_from": {"model": "mine", "initialized_from": start, "training": first["training"]},
        "training": second["training"],
    }


def test_classes_called_left_and_right_are_not_flipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = get_recipe("slowfast_r50_4x16x1_256e_kinetics400_rgb")
    assert recipe.clip_spec.flip == 0.5 and not recipe.flip_pairs
    for names, flip in ((("turn left", "turn right"), 0.0), (("run", "walk"), 0.5)):
        for name in names:
            (tmp_path / names[0] / name).mkdir(parents=True)
            np.save(tmp_path / names[0] / name / "0.npy", np.zeros((2, 8, 8, 3), np.uint8))
        (tmp_path / names[0] / "empty").mkdir()
        data = open_data(str(tmp_path / names[0]), recipe.clip_spec, "train", recipe=recipe)
        assert isinstance(data, VideoDataset) and data.labels == names and data.clip_spec.flip == flip
        assert "Left out classes whose folders hold no clips: 'empty'." in capsys.readouterr().err
        told = train_module._named(recipe, data.labels, 2)
        sentence = "No flips: they would make another class of 'turn left', 'turn right'."
        assert told.endswith(sentence) == (flip == 0)
    own = get_recipe("slowfast_r50_16x8x1_22e_sthv1_rgb")  # whose labels name sides, and pairs exchange them
    assert "No flips" not in train_module._named(own, own.labels, 174)


def test_a_training_refuses_numbers_of_fewer_classes_than_the_model_has(
    model: SlowFast, numbered: Path
) -> None:
    data = open_dataset(numbered / "list.txt", model.clip_spec, train=True)
    with pytest.raises(
        DataError, match=r"numbers 2 classes without names, the model has 3: name those .*labels=m"
    ):
        train(copy.deepcopy(model), data, TrainConfig(epochs=1), work_dir=numbered / "t")


def test_nothing_that_train_is_given_is_dropped_without_a_word(numbered: Path) -> None:
    def run_train(*options: str) -> click.testing.Result:
        given = ["train", "camera-motion", data, *options, "--num-classes", "2", "--dry-run"]
        return click.testing.CliRunner().invoke(main, [*given, "--device", "cpu"])

    data = str(numbered / "list.txt")
    for wrong, message in (
        ((data, data), "DATA is training data, then validation data, and 3 were given"),
        (("--from-scratch", "--model", "slowfast_tiny"), "--from-scratch starts from random weights"),
    ):
        refused = run_train(*wrong)
        assert refused.exit_code == 2 and message in " ".join(refused.stderr.split())
    (numbered / "two.csv").write_text("path,labels\nclips/b/0.npy,a;b\nclips/a/1.npy,a\n")
    charades = ["train", "Charades/SLOWFAST_16x8_R50", str(numbered / "two.csv"), "--dry-run", "--fps", "10"]
    for options, message in (([], "2 classes: a, b"), (["--single-label"], "exactly one was asked for")):
        told = click.testing.CliRunner().invoke(main, [*charades, *options])
        assert message in told.output, told.output
    alone = run_train("--validate")
    assert alone.exit_code == 2 and "--validate needs validation data after the training data" in alone.stderr
    left, seen = run_train("nowhere.txt"), run_train(data, "--validate")
    assert left.exit_code == seen.exit_code == 0, left.output + seen.output
    assert left.stderr == "'nowhere.txt' isn't looked at: --validate scores it.\n"


def test_train_says_how_many_clips_it_replaced_and_stops_where_it_is_told(numbered: Path) -> None:
    (numbered / "clips" / "b" / "4.npy").write_bytes(b"")
    (numbered / "more.txt").write_text((numbered / "list.txt").read_text() + "clips/b/4.npy 0\n")
    command = ["train", "camera-motion", str(numbered / "more.txt"), "--num-classes", "2", "--device", "cpu"]
    command += ["--fps", "10", "--epochs", "1", "--batch-size", "5", "--work-dir"]
    told = click.testing.CliRunner().invoke(main, [*command, str(numbered / "w"), "--workers", "2"])
    assert told.exit_code == 0, told.output
    assert "\n1 clip couldn't be read, and others took their place; 'slowfast-zoo check'" in told.output
    none = [*command, str(numbered / "v"), "--workers", "0", "--max-unreadable", "0"]
    refused = click.testing.CliRunner().invoke(main, none)
    assert refused.exit_code == 1 and "more than --max-unreadable 0; the last: " in refused.output
    no_part = click.testing.CliRunner().invoke(main, [*command, str(numbered), "--max-unreadable", "nan"])
    assert "max_unreadable is nan; accepted: a part of the clips, 0 to 1." in no_part.output
    made = ["train", "camera-motion", "--max-unreadable", "0.2", "--dry-run"]
    for beside in ([], ["camera-motion", str(numbered / "more.txt"), "--validate"]):
        vain = click.testing.CliRunner().invoke(main, [*made, *beside])
        assert "--max-unreadable: for a folder or a list, and camera-motion makes its clips" in vain.output


def test_what_train_freezes_and_who_hears_of_it(numbered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def stop(model: SlowFast, *_: Any, **options: Any) -> None:
        given.update(options, frozen=model.frozen)
        raise InputError("so far")

    monkeypatch.setattr("slowfast_zoo.training.train.train", stop)
    for name in ("tensorboard", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(SummaryWriter=None))  # type: ignore[misc]
    command = ["train", "camera-motion", str(numbered / "list.txt"), "--num-classes", "2", "--device", "cpu"]
    thawing = ["--set", "thaw_at=0.3"]
    for options, said in (
        (thawing, "thaw_at is 0.3, and no part of the network is frozen"),
        (["--freeze", "stage9"], "There is no part 'stage9'"),
        (
            [*thawing, "--freeze", "stage3"],
            "Frozen: both pathways up to stage3 until 30% of the steps",
        ),
        (["--freeze", "stage3"], "would leave random weights as they are: start from trained ones (--model,"),
        (["--freeze", "stage3", "--resume"], "so far"),
        (["--freeze", "stage3", "--model", "slowfast_tiny", "--tensorboard"], "so far"),
    ):
        result = click.testing.CliRunner().invoke(main, [*command, *options])
        assert result.exit_code == 1 and said in result.output, result.output
    assert given["frozen"] == ("stage3", False) and callable(given["listener"])


def test_what_says_how_a_list_is_written_is_refused_where_there_is_none(
    model: SlowFast, numbered: Path
) -> None:
    save_weights(model, numbered / "w.safetensors", {})
    given = ["--form", "rawframes", "--fps", "3", "--single-label", "--frames", "{}.jpg"]
    labels = ["--labels", str(numbered / "names.txt")]
    for command in (["train", "camera-motion", "--dry-run"], ["test", "camera-motion", "--model"]):
        if command[0] == "test":
            command.append(str(numbered / "w.safetensors"))
        refused = click.testing.CliRunner().invoke(main, [*command, *given, *labels, "--device", "cpu"])
        options = (
            "--form, --labels, --single-label, --frames, --fps: for a folder or a list, and camera-motion"
        )
        assert refused.exit_code == 1 and options in refused.output, refused.output
    known = ["train", "camera-motion", "--dry-run", "--recipe-labels", "--device", "cpu", "--validate"]
    assert click.testing.CliRunner().invoke(main, known).exit_code == 0


def test_a_second_class_that_may_be_a_slip_is_said(numbered: Path) -> None:
    (numbered / "slip.txt").write_text((numbered / "list.txt").read_text() + "clips/a/3.npy 1 0\n")
    given = ["train", "camera-motion", str(numbered / "slip.txt"), "--num-classes", "2", "--dry-run"]
    sentence = f"1 of 4 clips have several classes, the first is {numbered / 'slip.txt'}:4: each class is"
    for options, said in (([], True), (["--multi-label"], False), (["--single-label"], False)):
        result = click.testing.CliRunner().invoke(main, [*given, *options, "--device", "cpu"])
        assert (sentence in result.stdout) == said, result.output
        assert result.exit_code == (options == ["--single-label"])


def test_a_training_that_memory_isnt_enough_for_is_told_how(
    numbered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nand so on")

    monkeypatch.setattr("slowfast_zoo.training.train.loss_of", full)
    command = ["train", "camera-motion", str(numbered / "list.txt"), "--num-classes", "2", "--fps", "10"]
    command += ["--device", "cpu", "--workers", "0", "--work-dir", str(numbered / "w")]
    for batch, way in (
        (2, "--batch-size 1 and accumulate=2 (--set accumulate=2) make the same steps."),
        (1, "activation_checkpointing=True (--set activation_checkpointing=True) needs less."),
    ):
        result = click.testing.CliRunner().invoke(main, [*command, "--batch-size", str(batch)])
        size = f"{batch} clip{'s' if batch > 1 else ''}"
        said = f"doesn't suffice for {size} at a time (CUDA out of memory. Tried to allocate 2 GiB.): {way}"
        assert result.exit_code == 1 and said in result.output, result.output


def test_a_table_that_a_column_divides_is_trained_on_and_validated_by_its_parts(
    numbered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = numbered / "all.csv"
    rows = ("b/0.npy,b,train", "a/1.npy,a,train", "b/2.npy,b,val", "a/3.npy,a,test")
    path.write_text("\n".join(["path,label,split", *(f"clips/{row}" for row in rows)]))
    spec, divided = ClipSpec(), "The column 'split' divides the clips: 2 in train, 1 in val, 1 in test."
    training = open_data(str(path), spec, "train", reading={"fps": 10.0})
    assert len(training) == 2 and capsys.readouterr().err == f"{divided}\n"
    validation = open_data(str(path), spec, "validate", reading={"fps": 10.0}, like=training)
    assert len(validation) == 1 and capsys.readouterr().err == f"{divided} Those in val are used.\n"
    assert len(open_data(str(path), spec, "test", reading={"fps": 10.0})) == 4
    assert capsys.readouterr().err == f"{divided} All are scored.\n"
    path.write_text(path.read_text().replace(",val", ",other"))
    assert len(open_data(str(path), spec, "test", reading={"fps": 10.0})) == 4
    with pytest.raises(DataError, match="says 'other', and train elsewhere"):
        open_data(str(path), spec, "train", reading={"fps": 10.0})


def test_classes_of_data_and_weights_are_matched_by_name_or_refused(
    numbered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = SlowFast(SPEC)
    network.clip_spec = ClipSpec(num_frames=4, frame_stride=1, size=36, crop=32, test_crop=32)
    save_weights(network, numbered / "w.safetensors", {})

    def tested(*options: str) -> click.testing.Result:
        command = ["test", str(numbered / "clips"), "--model", str(numbered / "w.safetensors"), "--device"]
        command += ["cpu", "--workers", "0", "--out", str(numbered / "out.json"), *options]
        return click.testing.CliRunner().invoke(main, command)

    refused = tested()
    assert refused.exit_code == 1
    assert "the model has 3 without names: a label map (labels, --labels)" in refused.output
    named = tested("--labels", str(numbered / "three.txt"))
    assert named.exit_code == 0, named.output
    found = json.loads((numbered / "out.json").read_text())
    assert found["labels"] == ["b", "a", "c"]
    assert [video["target"] for video in found["videos"]] == [1, 1, 0, 0]
    several = tested("--labels", str(numbered / "three.txt"), "--multi-label")
    assert "a model with softmax takes one int per clip: read the data with one (leave out" in several.output
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(numbered))
    other = open_data("~/clips", network.clip_spec, "test")  # as cmd.exe, or quotes, leave it
    network.labels = ("b", "c", "a")
    with pytest.raises(DataError, match=r"has 2 classes \('a', 'b'\), the model 3; .*labels=model.labels\)"):
        evaluate(network, other)
    matched = read_annotations(numbered / "clips", labels=network.labels)
    found = evaluate(network, open_dataset(matched, network.clip_spec), device="cpu")
    assert found.targets.tolist() == [2, 2, 0, 0]
    network.reset_classifier(2, ("b", "a"))
    with pytest.raises(DataError, match="class 0 is 'a', the model's is 'b'; open the dataset"):
        evaluate(network, other)
    with pytest.raises(DataError, match="class 0 is 'a', the model's is 'b'"):
        train(network, other, TrainConfig(epochs=1, batch_size=2), work_dir=numbered / "t")


@pytest.mark.parametrize("form", ["named", "mmaction2"])
def test_a_full_disk_leaves_the_metrics_of_a_test(numbered: Path, form: str) -> None:
    resource = pytest.importorskip("resource", reason="POSIX limits stand in for a full disk")
    network = SlowFast(SPEC)
    network.clip_spec = ClipSpec(num_frames=4, frame_stride=1, size=36, crop=32, test_crop=32)
    save_weights(network, numbered / "w.safetensors", {})
    command = ["test", str(numbered / "clips"), "--model", str(numbered / "w.safetensors"), "--device", "cpu"]
    command += ["--labels", str(numbered / "three.txt"), "--workers", "0", "--format", form]
    command += ["--out", str(numbered / "r.json"), "--confusion", str(numbered / "c.csv")]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))  # bytes: enough for the matrix
    try:
        result = click.testing.CliRunner().invoke(main, command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert result.exit_code == 1
    assert "4 of 4 decoded\ntop1_acc: " in result.stdout
    assert result.stderr.endswith(f"Error: '{numbered / 'r.json'}' can't be written: File too large.\n")
    assert (numbered / "c.csv").read_text().count("\n") == 4
    assert not [*numbered.glob("r.*")]


def test_a_part_of_a_dataset_has_its_classes_and_names(numbered: Path) -> None:
    torch.manual_seed(0)
    network = SlowFast(SPEC.replace(num_classes=2))
    network.clip_spec = ClipSpec(num_frames=4, frame_stride=1, size=36, crop=32, test_crop=32)
    network.labels = ("b", "a")
    config = TrainConfig(epochs=1, batch_size=2, workers=0, channels_last=False)
    for train_on in (False, True):
        whole = open_dataset(numbered / "clips", network.clip_spec, train=train_on)
        part = Subset(Subset(whole, [3, 2, 1]), torch.tensor([0, 2]))
        with pytest.raises(DataError, match="class 0 is 'a', the model's is 'b'"):
            train(network, part, config, work_dir=numbered / "t") if train_on else evaluate(network, part)
    network.labels = None
    train(network, part, config, work_dir=numbered / "t", progress=False, device="cpu")
    assert network.labels == ("a", "b")
    whole = open_dataset(numbered / "clips", network.clip_spec)
    names = evaluate(network, Subset(Subset(whole, [3, 2, 1]), torch.tensor([0, 2])), device="cpu").names
    assert names == [whole.name_of(3), whole.name_of(1)]


@pytest.mark.parametrize("classes", [1, 3])
def test_a_part_needs_not_all_classes_of_its_dataset(numbered: Path, classes: int) -> None:
    network = SlowFast(SPEC.replace(num_classes=classes))
    network.clip_spec = ClipSpec(num_frames=4, frame_stride=1, size=36, crop=32, test_crop=32)
    config = TrainConfig(epochs=1, batch_size=2, workers=0, channels_last=False)
    for source in (numbered / "list.txt", numbered / "clips"):  # without names, and with
        whole = open_dataset(source, network.clip_spec, train=True)
        firsts = [index for index, sample in enumerate(whole.annotations.samples) if sample.labels == (0,)]
        part = Subset(whole, firsts[:2])
        train(network, part, config, work_dir=numbered / f"t {source.name}", progress=False, device="cpu")
        assert network.labels is None, "the dataset has another number of names"
        network.labels = ("a", "b", "c")[:classes]
        scored = Subset(open_dataset(source, network.clip_spec), firsts[:2])
        assert evaluate(network, scored, device="cpu").targets.tolist() == [0, 0]
        network.labels = None
    network.labels = ("b", "a", "c")[:classes]
    with pytest.raises(DataError, match="class 0 is 'a', the model's is 'b'"):
        evaluate(network, scored, device="cpu")
    if classes == 1:
        network.labels = None
        with pytest.raises(DataError, match="has the label 1; accepted"):
            evaluate(network, open_part(numbered, network, 1), device="cpu")


def open_part(numbered: Path, network: SlowFast, label: int) -> Subset[Any]:
    whole = open_dataset(numbered / "clips", network.clip_spec)
    return Subset(
        whole, [i for i, sample in enumerate(whole.annotations.samples) if sample.labels == (label,)]
    )


class Labeled(Videos):
    """Of somebody who calls the labels of items ``labels``, and gives them no names."""

    name_of = None  # type: ignore[assignment]

    def __init__(self, labels: Any) -> None:
        super().__init__()
        if labels is not None:
            self.labels = labels


@pytest.mark.parametrize("labels", [[0, 1, 2, 0, 1], torch.tensor([0, 1, 2, 0, 1]), list("abcab"), abs])
def test_a_part_of_data_with_labels_of_items_has_no_names(model: SlowFast, labels: Any) -> None:
    part = Subset(Labeled(labels), [3, 1])
    result = evaluate(model, part, device="cpu")
    assert result.scores[0].tolist() == evaluate(model, Labeled(None), device="cpu").scores[3].tolist()
    assert result.names == ["item 0", "item 1"], "as the loader's errors count, in what was given"
    with pytest.raises(
        DataError, match=r"dataset\.labels holds .*accepted: the name|has 5 classes \('a', 'b'"
    ):
        evaluate(model, Labeled(labels), device="cpu")


class Own(VideoDataset):
    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor]:
        return torch.zeros(3, 4, 32, 32), self.annotations.samples[index].labels[0]


def test_a_dataset_is_opened_for_training_or_for_evaluation(
    numbered: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = SlowFast(SPEC.replace(num_classes=2))
    network.clip_spec = ClipSpec(num_frames=4, frame_stride=1, size=36, crop=32, test_crop=32)
    learned = open_dataset(numbered / "clips", network.clip_spec, train=True)
    scored = open_dataset(numbered / "clips", network.clip_spec)
    config, work = TrainConfig(epochs=1, batch_size=2, workers=0, channels_last=False), numbered / "t"
    how: Any = {"progress": False, "device": "cpu"}
    for wrong in (scored, Subset(scored, [0, 1])):
        with pytest.raises(
            InputError, match=r"train on was opened for evaluation, with several.*open it with train=True"
        ):
            train(network, wrong, config, work_dir=work, **how)
    assert not work.exists() and not caplog.text
    for place, wrong in enumerate((learned, Subset(learned, [0, 1]))):
        evaluate(network, wrong, device="cpu")
        assert caplog.text.count("dataset to evaluate was opened for training, whose crops and flips") == 1
        caplog.clear()
        train(network, learned, config, work_dir=numbered / f"v{place}", validation=wrong, **how)
        assert "dataset to evaluate was opened for training" in caplog.text
        caplog.clear()
    quick = open_dataset(numbered / "clips", network.clip_spec, views="quick")
    for place, one in enumerate((quick, Subset(quick, [0, 1]))):
        train(network, one, config, work_dir=numbered / f"q{place}", **how)
        assert caplog.text.count("train on was opened for evaluation, whose views aren't random") == 1
        caplog.clear()
    train(network, Own(quick.annotations, network.clip_spec, train=False), config, work_dir=work, **how)
    assert not caplog.text, "what derives from a dataset may give anything"
    work = numbered / "w"
    with pytest.raises(DataError, match=r"vidéos/\d\.mp4 gives 2 views; training takes one clip per item"):
        train(SlowFast(SPEC), Videos(), config, work_dir=work, device="cpu")


@pytest.mark.parametrize("labels", [[0, 1, 2, 0], torch.tensor([0, 1, 2])])
def test_labels_of_items_are_no_names_of_classes(model: SlowFast, labels: Any) -> None:
    data = Videos()
    data.annotations = ["a", "b"]  # type: ignore[attr-defined]
    assert len(evaluate(model, data, device="cpu").scores) == 5
    data.labels = labels  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"dataset\.labels holds .*0.*; accepted: the name of each class"):
        evaluate(model, data, device="cpu")


def test_scores_are_kept_when_there_is_no_metric_for_them(model: SlowFast, tmp_path: Path) -> None:
    broken = copy.deepcopy(model)
    broken.get_classifier().bias.data.fill_(float("nan"))
    result = evaluate(broken, Videos(2), device="cpu")
    assert "NaN" in result.error and not result.metrics and len(result.scores) == 2
    assert str(result).endswith(
        "Scores hold NaN; the model or its input is broken. 'vidéos/0.mp4' is the first such item."
    )
    result.save(tmp_path / "nan.json")
    assert json.loads((tmp_path / "nan.json").read_text())["videos"][0]["scores"] == [None] * 3


def test_evaluation_leaves_torchs_generator_where_it_is(model: SlowFast) -> None:
    state = torch.get_rng_state()
    evaluate(model, Videos(2), device="cpu", progress=False)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("item", "given"),
    [
        ((1, 2, 3), "is 3 values; accepted: a pair, the clip"),
        ((1,), "is 1 value; accepted: a pair"),
        (None, "is a NoneType; accepted: a pair"),
        ({"clip": 1, "target": 2}, "is a dict; accepted: a pair"),
        (("a", 1), "gave a clip that is a str; accepted: a tensor or an array"),
    ],
)
def test_an_item_that_is_no_pair_of_clip_and_target_is_refused(
    model: SlowFast, item: Any, given: str
) -> None:
    with pytest.raises(DataError, match=f"Item 0 of the dataset {given}"):
        evaluate(model, [item] * 2, device="cpu", progress=False)


def test_half_precision_that_this_processor_gets_wrong_is_refused(
    model: SlowFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def refuse(network: SlowFast, clips: tuple[int, ...], precision: str, *, channels_last: bool) -> None:
        asked.append((clips, precision))
        raise ExportError("bfloat16 is refused: torch computes a convolution wrongly; take float32.")

    monkeypatch.setattr("slowfast_zoo.evaluation.evaluate.check_half_precision", refuse)
    with pytest.raises(ExportError, match="bfloat16 is refused"):
        evaluate(model, Videos(2), precision="bfloat16", device="cpu")
    assert asked == [((1, 3, 4, 32, 32), "bfloat16")]


def test_out_of_memory_halves_the_views(model: SlowFast) -> None:
    expected = evaluate(model, Videos(3, views=(5,)), device="cpu")
    hungry = copy.deepcopy(model)
    sizes: list[int] = []

    class Hungry(SlowFast):
        def forward(self, clip: Tensor) -> Tensor:
            sizes.append(len(clip))
            if len(clip) > 2:
                raise torch.OutOfMemoryError("no more\nand so on")
            return super().forward(clip)

    hungry.__class__ = Hungry
    result = evaluate(hungry, Videos(3, views=(5,)), device="cpu")
    assert sizes[:5] == [5, 2, 2, 1, 2]
    np.testing.assert_allclose(np.stack(result.scores), np.stack(expected.scores), atol=1e-6)
    hungry.forward = lambda clip: torch.empty(2**60)  # type: ignore[method-assign]
    with pytest.raises(OutOfMemoryError, match=r"one clip \(3, 4, 32, 32\)"):
        evaluate(hungry, Videos(1), device="cpu")


@pytest.mark.parametrize(("right", "total", "low", "high"), [(13, 20, 0.4329, 0.8188), (0, 5, 0, 0.4345)])
def test_wilson_interval(right: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(right, total) == pytest.approx((low, high), abs=1e-4)


def test_the_procedural_data_differ_between_training_and_scoring() -> None:
    recipe = get_recipe("camera-motion")
    training = open_data("camera-motion", recipe.clip_spec, "train", recipe=recipe)
    scoring = open_data("camera-motion", recipe.clip_spec, "test")
    one, other = training[3], scoring[3]
    side, frames = recipe.clip_spec.test_crop, recipe.clip_spec.num_frames
    assert one[0].shape == other[0].shape == (frames, side, side, 3) and one[1] == other[1] == 3
    assert not np.array_equal(one[0], other[0])
    assert (training.plain, scoring.plain) == (0.4, 0.0)
    with pytest.raises(DataError, match="no dataset at nowhere"):
        open_data("nowhere", recipe.clip_spec, "test")
