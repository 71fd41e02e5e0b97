"""Fine-tuning: the defaults, memory, resumption, the report, and data that don't hold together."""

from __future__ import annotations

import csv
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.finetune_clips import CLIP_SPEC, SPEC, make_clips, make_model
from support.movies import write_video
from torch import Tensor

from slowfast_zoo.cli import main
from slowfast_zoo.data.dataset import VideoDataset
from slowfast_zoo.data.lists import read_annotations
from slowfast_zoo.data.loader import PRECISE_BN, ItemKey, KeyedItems, normalized
from slowfast_zoo.errors import (
    DataError,
    ExportError,
    InputError,
    SlowFastZooError,
    TrainingError,
    UnknownNameError,
)
from slowfast_zoo.evaluation.evaluate import Evaluation, format_table
from slowfast_zoo.files import hash_file
from slowfast_zoo.inference.engines import trial
from slowfast_zoo.inference.predict import predict
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.runtime.devices import is_out_of_memory
from slowfast_zoo.training import train as train_module
from slowfast_zoo.training.batch_norm import measure_batch_norms
from slowfast_zoo.training.finetune import trials
from slowfast_zoo.training.finetune.data import FinetuneData, collect
from slowfast_zoo.training.finetune.finetune import FinetuneResult, _prepare_model, _told_start, finetune
from slowfast_zoo.training.finetune.probe import (
    PENALTIES,
    ProbeFeatures,
    fit_classifier,
    probe_features,
)
from slowfast_zoo.training.finetune.recipes import RECIPES
from slowfast_zoo.training.finetune.report import draw_curves, draw_report, write_tables
from slowfast_zoo.training.log import read_log
from slowfast_zoo.training.memory import smaller_pieces
from slowfast_zoo.training.state import RESUME
from slowfast_zoo.weights.saved.config import read_config
from slowfast_zoo.weights.saved.file import read_file
from slowfast_zoo.weights.saved.hub import from_pretrained

CONFIG: dict[str, Any] = {"epochs": 2, "batch_size": 4, "lr": 0.4, "workers": 0}
CONFIG |= {"deterministic": True, "ema": 0.0}
SETTINGS = RECIPES["gentle"].config.replace(**CONFIG)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clips(tmp_path_factory.mktemp("clips"), {"dark": 6, "light": 6, "red": 3})


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the number of clips says nothing: one step an epoch."""
    return make_clips(tmp_path_factory.mktemp("few"), {"dark": 3, "light": 3})


@pytest.fixture(scope="module")
def tuned(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> FinetuneResult:
    """What the defaults make of the clips; tests only read it, or a copy of its folder."""
    return tune(clips, tmp_path_factory.mktemp("tuned") / "w")


def tune(data: Any, folder: Path, model: SlowFast | None = None, **options: Any) -> FinetuneResult:
    """By the recipe "gentle", without training on everything again, unless options say otherwise."""
    usual = {"config": CONFIG, "recipe": "gentle", "everything": False, "keep_clip": True, "views": "quick"}
    return finetune(data, model or make_model(), work_dir=folder, **{**usual, "progress": False, **options})


@pytest.mark.quick
@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({}, "The start: a network of one's own, with no published weights."),
        (
            {"model": "slowfast_r50_8x8x1", "tag": "k400"},
            "The start: slowfast_r50_8x8x1 with the weights k400.",
        ),
        ({"model": "slowfast_tiny", "tag": "actions"}, "The start: slowfast_tiny with the weights actions."),
        (
            {"model": "slowfast_tiny", "tag": "camera-motion"},
            "The start: slowfast_tiny with the weights camera-motion. slowfast_tiny:actions is the better"
            " start for what people do.",
        ),
        (
            {"model": "slowfast_tiny", "initialized_from": {"tag": "actions"}},
            "The start: slowfast_tiny with the weights actions.",
        ),
        (
            {"model": "slowfast_tiny", "initialized_from": {"tag": "actions"}, "training": {}},
            "The start: slowfast_tiny, as it was trained.",
        ),
        ({"model": None}, "The start: a network of one's own, with no published weights."),
    ],
)
def test_the_start_is_told_and_a_better_one_named(facts: dict[str, Any], told: str) -> None:
    model = make_model()
    model.provenance = facts
    assert _told_start(model) == told


@pytest.mark.usefixtures("pictures")
def test_three_classes_end_in_a_model_that_predicts(clips: Path, tmp_path: Path) -> None:
    model = make_model()
    model.provenance = {"model": "its name", "tag": "published", "verified": True}
    (tmp_path / "clips").mkdir()
    for path in sorted(clips.rglob("*.npy")):
        film = tmp_path / "clips" / path.parent.name / f"{path.stem}.mkv"
        film.parent.mkdir(exist_ok=True)
        write_video(film, np.load(path))
    result = tune(tmp_path / "clips", tmp_path / "w", model)
    assert result.model is model
    assert model.labels == ("dark", "light", "red")
    assert model.spec.num_classes == 3
    assert result.evaluation.metrics["top5_acc"] == 1.0  # of three classes
    assert result.probe_metrics["top1_acc"] >= 0.6
    saved = from_pretrained(result.model_dir)
    assert "The start: its name with the weights published." in result.notes
    assert saved.provenance["initialized_from"]["tag"] == "published" and "tag" not in saved.provenance
    clip = torch.randn(1, 3, 4, 32, 32)
    assert torch.equal(saved.eval()(clip), model.eval()(clip))
    assert saved.clip_spec == CLIP_SPEC.replace(smallest_area=0.5, clips=1), "as it was scored"
    assert any("random crops of at least 50% of the picture" in note for note in result.notes)
    prediction = predict(saved, tmp_path / "clips" / "light" / "0.mkv", topk=3)
    assert set(prediction.labels) == {"dark", "light", "red"}
    names = {path.name for path in (tmp_path / "w").iterdir() if path.name[0] != "."}
    assert names >= {"model", "data", "log.jsonl", "report.txt", "per_class.csv", "confusion.csv"}
    assert names >= {"confusion.png", "curves.png", "last.safetensors", "plan.json"}
    assert (tmp_path / "w" / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "w" / "report.txt").read_text() == f"{result}\n"
    train, val = (read_annotations(tmp_path / "w" / "data" / f"{part}.csv") for part in ("train", "val"))
    assert (train.counts(), val.counts()) == ([5, 5, 2], [1, 1, 1])
    with (tmp_path / "w" / "confusion.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["true \\ predicted", "dark", "light", "red"]
    assert sum(int(cell) for row in rows[1:] for cell in row[1:]) == 3


def test_two_classes_and_a_test_part_and_their_defaults(tmp_path: Path) -> None:
    for part, count in (("train", 4), ("val", 1), ("test", 2)):
        make_clips(tmp_path / "d" / part, {"dark": count, "light": count})
    model = make_model()
    before = {name: value.clone() for name, value in model.state_dict().items() if "running" in name}
    result = tune(tmp_path / "d", tmp_path / "w", model)
    assert result.evaluated == "Test data, which chose nothing"
    assert len(result.evaluation.names) == 4
    assert result.evaluation.confusion_matrix().shape == (2, 2)
    for name, value in before.items():  # frozen statistics
        assert torch.equal(model.state_dict()[name], value), name
    assert any("batch norms kept" in note for note in result.notes)
    assert any("learning rate 0.025 (scaled from 0.4 for 64 clips)" in note for note in result.notes)
    probe, start, *_ = map(json.loads, (tmp_path / "w" / "log.jsonl").read_text().splitlines())
    assert (probe["mode"], probe["top1_acc"]) == ("probe", result.probe_metrics["top1_acc"])
    assert (start["step_clips"], start["lr"]) == (4, 0.025)


def test_a_given_test_part_is_scored_by_the_one_training_on_all_of_train(tmp_path: Path) -> None:
    for part, count in (("train", 4), ("test", 2)):
        make_clips(tmp_path / "d" / part, {"dark": count, "light": count})
    for place in range(2):  # else they are those of train
        for path in (tmp_path / "d" / "test").rglob(f"{place}.npy"):
            np.save(path.with_name(f"new {place}.npy"), np.load(path)[::-1])
            path.unlink()
    heard: list[dict[str, Any]] = []
    result = tune(tmp_path / "d", tmp_path / "w", everything=True, listener=heard.append)
    assert "2 classes; clips: 8 in train and 4 in test. The smallest class to train with, 'dark', has 4." in (
        result.notes
    )
    assert [line["mode"] for line in heard if line["mode"] != "train"] == ["start", "val", "val"]
    assert result.evaluated == "Test data, which chose nothing" and len(result.evaluation.names) == 4
    assert heard[-1]["top1_acc"] == result.evaluation.metrics["top1_acc"], "of the model that is handed over"
    assert not (tmp_path / "w" / "all").exists()
    metrics = read_config(result.model_dir / "config.json").metrics
    assert metrics is not None and "weights" not in metrics
    again = tune(tmp_path / "d", tmp_path / "w", everything=True, resume=True)
    assert again.scores() == result.scores()


def test_learning_from_scratch_lets_norms_learn(few: Path, tmp_path: Path) -> None:
    model = make_model()
    before = model.slow.stem.norm.running_mean.clone()
    tune(few, tmp_path, model, recipe="learn")
    assert not torch.equal(model.slow.stem.norm.running_mean, before)


@pytest.mark.usefixtures("bfloat16_kernels")
def test_half_precision_is_tried_before_norms_are_measured_and_steps_are_timed(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where this processor computes it wrongly, it may damage the memory of the process."""
    model, config = make_model(), SETTINGS.replace(precision="bfloat16")
    dataset = VideoDataset(read_annotations(clips), CLIP_SPEC, train=True)
    monkeypatch.setattr(
        trial, "try_convolutions", lambda asked, *_, **__: dict.fromkeys(asked, "it ends the process")
    )
    monkeypatch.setattr(train_module, "check_gradients_are_right", lambda *_: None)
    with pytest.raises(ExportError, match="bfloat16 is refused"):
        measure_batch_norms(model, dataset, config, torch.device("cpu"))
    shape = (1, 3, CLIP_SPEC.num_frames, 32, 32)
    with pytest.raises(TrainingError, match="bfloat16"):
        trials._pass_seconds(model, config, torch.zeros(shape))


def test_measured_norms_have_the_statistics_of_the_training_clips(clips: Path) -> None:
    model = make_model().eval()
    dataset = VideoDataset(read_annotations(clips), CLIP_SPEC.replace(smallest_area=1, flip=0), train=True)
    config = SETTINGS.replace(batch_size=15)
    measure_batch_norms(model, dataset, config, torch.device("cpu"))
    assert not model.training
    keys = [ItemKey(PRECISE_BN, 0, index) for index in range(15)]
    batch = torch.stack([KeyedItems(dataset, config.seed)[key][1] for key in keys])
    with torch.no_grad():
        out = model.fast.stem.conv(batch)
    norm = model.fast.stem.norm
    torch.testing.assert_close(norm.running_mean, out.mean((0, 2, 3, 4)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, out.var((0, 2, 3, 4)), rtol=1e-4, atol=1e-5)


def test_linear_probe_leaves_the_network_as_it_is(clips: Path, tmp_path: Path) -> None:
    model = make_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = tune(clips, tmp_path, model, recipe="probe")
    for name, value in before.items():
        if not name.startswith("classifier"):
            assert torch.equal(model.state_dict()[name], value), name
    assert result.evaluation.metrics["top1_acc"] == result.probe_metrics["top1_acc"] == 1.0
    assert not (tmp_path / RESUME).exists()
    assert not (tmp_path / "curves.png").exists()
    assert torch.equal(from_pretrained(tmp_path / "model").classifier.weight, model.classifier.weight)
    assert "which chose nothing" in str(result)
    assert "it makes no use of 'ema', 'epochs', 'lr'." in str(result)
    told = {"clips": 3, "of": "Validation data, which chose nothing"}
    assert read_config(tmp_path / "model" / "config.json").metrics == {**result.evaluation.metrics, **told}


def test_freezing_up_to_a_part(few: Path, tmp_path: Path) -> None:
    model = make_model()
    stem, head = model.slow.stem.conv.weight.clone(), model.slow.stage4[0].conv1.weight.clone()
    tune(few, tmp_path, model, freeze_up_to="stage3", config={**CONFIG, "epochs": 1})
    assert torch.equal(model.slow.stem.conv.weight, stem)
    assert not torch.equal(model.slow.stage4[0].conv1.weight, head)


def test_a_frozen_part_thaws_where_that_is_asked_for(few: Path, tmp_path: Path) -> None:
    model = make_model()
    stem = model.slow.stem.conv.weight.clone()
    config = {**CONFIG, "epochs": 4, "thaw_at": 0.5}
    result = tune(few, tmp_path / "w", model, freeze_up_to="stage3", config=config)
    assert "Frozen: both pathways up to stage3 until 50% of the steps are done." in result.notes
    assert not torch.equal(model.slow.stem.conv.weight, stem)
    with pytest.raises(TrainingError, match=r"other settings \(freeze_up_to stage3 -> stage2\)"):
        tune(few, tmp_path / "w", freeze_up_to="stage2", config=config, resume=True)
    with pytest.raises(UnknownNameError, match="no part 'stage9'"):
        tune(few, tmp_path / "never", freeze_up_to="stage9")
    assert not (tmp_path / "never").exists()
    with pytest.raises(InputError, match="no part of the network is frozen"):
        tune(few, tmp_path / "v", config=config)


def test_fitted_classifier_is_the_penalized_optimum() -> None:
    """Against a solver that only follows the gradient, on the scaled features."""
    torch.manual_seed(0)
    model = make_model()
    model.reset_classifier(3)
    centers = torch.randn(3, model.num_features) * 2 + 5
    targets = torch.arange(30) % 3
    features = centers[targets] + torch.randn(30, model.num_features)
    data = ProbeFeatures(features, targets, list(range(30)))
    with torch.device("meta"):  # torch's default device has no part in it
        penalty = fit_classifier(model, data, data)
    weight, bias = model.classifier.weight.double(), model.classifier.bias.double()
    scale = (features.double() - features.double().mean(0)).square().mean().sqrt()
    scaled = (weight * scale).detach().requires_grad_()
    logits = (features.double() - features.double().mean(0)) / scale @ scaled.T
    offset = (bias + features.double().mean(0) @ weight.T).detach()
    loss = torch.nn.functional.cross_entropy(logits + offset, targets) + penalty * scaled.square().sum()
    (gradient,) = torch.autograd.grad(loss, scaled)
    assert gradient.abs().max() < 1e-5
    assert (model.classifier(features).argmax(1) == targets).all()


def test_penalty_is_the_one_that_other_clips_prefer() -> None:
    torch.manual_seed(0)
    model = make_model()
    model.reset_classifier(3)
    centers = torch.randn(3, model.num_features)
    targets = torch.arange(30) % 3
    data, clear = (
        ProbeFeatures(
            centers[targets] + spread * torch.randn(30, model.num_features), targets, list(range(30))
        )
        for spread in (1.0, 0.1)
    )
    noise = data._replace(targets=targets[torch.randperm(30)])
    trusting, cautious = fit_classifier(model, data, clear), fit_classifier(model, data, noise)
    assert trusting == min(PENALTIES)
    assert cautious == max(PENALTIES)
    fit_classifier(model, data, clear)
    logits = model.classifier(data.features)
    loss = torch.nn.functional.cross_entropy(logits, targets).item()
    fit_classifier(model, data, noise)
    assert torch.nn.functional.cross_entropy(model.classifier(data.features), targets).item() > 10 * loss


def test_every_draw_of_random_clips_is_another(clips: Path) -> None:
    model = make_model()
    dataset = VideoDataset(read_annotations(clips), CLIP_SPEC, train=True)
    once, twice, again = (
        probe_features(model, dataset, draws=draws, seed=3, device="cpu", progress=False)
        for draws in (1, 2, 2)
    )
    assert twice.indices == [*range(15), *range(15)]
    assert torch.equal(twice.targets, once.targets.repeat(2))
    assert torch.equal(twice.features[:15], once.features)
    assert torch.equal(twice.features, again.features)
    assert not torch.isclose(twice.features[15:], once.features).all(dim=1).any()


def test_features_are_the_networks_own(clips: Path, tmp_path: Path) -> None:
    model = make_model().train()
    annotations = read_annotations(clips)
    dataset = VideoDataset(annotations, CLIP_SPEC, train=False, views=(2, 1))
    found = probe_features(model, dataset, max_views=1, device="cpu", progress=False)
    assert model.training
    views = dataset[4][0]
    model.eval()
    with torch.no_grad():
        maps = model.forward_features(normalized(views, CLIP_SPEC))
        expected = model.forward_head(maps, pre_logits=True).mean(0)
    torch.testing.assert_close(found.features[4], expected, rtol=1e-4, atol=1e-5)
    assert found.indices == list(range(15))


def several_labels(clips: Path, path: Path) -> Path:
    lines = [
        f"{path},{'dark' if path.parent.name == 'dark' else 'light;red'}"
        for path in sorted(clips.rglob("*.npy"))
    ]
    path.write_text("path,labels\n" + "\n".join(lines))
    return path


@pytest.mark.usefixtures("pictures")
def test_several_labels_and_a_probe_leave_nothing_to_draw(few: Path, tmp_path: Path) -> None:
    data = several_labels(few, tmp_path / "l.csv")
    result = tune(data, tmp_path / "w", recipe="probe", folds=2, everything=True)
    assert [path.name for path in result.files] == ["report.txt", "per_class.csv"]
    assert (tmp_path / "w" / "report.txt").read_text() == f"{result}\n"
    folds = [note for note in result.notes if note.startswith("Fold ")]
    assert folds == [f"Fold {n} of 2: probe, mean_average_precision 1.0000." for n in (1, 2)]
    assert " right" not in str(result)
    assert read_config(result.model_dir / "config.json").metrics == {
        **result.evaluation.metrics,
        "clips": 6,
        "of": "All clips, each scored by a training of 2 that saw nothing of its source",
        "weights": "trained afterwards in the same way, on all 6 clips",
    }
    card = (result.model_dir / "README.md").read_text()
    assert "| weights | trained afterwards in the same way, on all 6 clips |" in card


def test_several_labels(clips: Path, tmp_path: Path) -> None:
    data = several_labels(clips, tmp_path / "l.csv")
    result = tune(data, tmp_path / "w", config={**CONFIG, "epochs": 1})
    assert result.model.spec.activation == "sigmoid"
    assert result.evaluation.metrics["mean_average_precision"] > 0.5
    assert "average precision" in str(result)
    assert not (tmp_path / "w" / "confusion.csv").exists()
    assert from_pretrained(tmp_path / "w" / "model").spec.activation == "sigmoid"


def test_lines_of_one_clip_with_other_labels_are_one_clip_with_all_of_them(tmp_path: Path) -> None:
    """One label a line, as long tables have it; the same bytes would else be and not be of a class."""
    make_clips(tmp_path, {"a": 6}, frames=2)
    rows = [f"a/{place}.npy,{label}" for place in range(6) for label in ("run", "jump")[: 2 - place % 2]]
    (tmp_path / "long.csv").write_text("\n".join(["path,labels", *rows]))
    found = collect_parts(tmp_path / "long.csv", tmp_path / "w")
    clips = [*found.train.samples, *found.val.samples]
    assert sorted((clip.path.stem, len(clip.labels)) for clip in clips) == [
        (f"{place}", 2 - place % 2) for place in range(6)
    ]
    assert (
        "Joined clips that are listed several times with different labels: 6 lines became 3 clips with all of"
        " their labels."
    ) in found.notes


@pytest.mark.parametrize("labels", [("0", "1"), ("run", "jump")])
def test_clips_that_all_have_two_labels_are_refused_with_the_way_out(
    tmp_path: Path, labels: tuple[str, str]
) -> None:
    make_clips(tmp_path, {"a": 6}, frames=2)
    lines = [f"a/{place}.npy,{label}\n" for place in range(6) for label in labels]
    (tmp_path / "list.csv").write_text("path,label\n" + "".join(lines))
    words = r"No clip is left in the part 'train': Left out 12 clips that are there .* --multi-label"
    with pytest.raises(DataError, match=words):
        collect_parts(tmp_path / "list.csv", tmp_path / "w")
    several = read_annotations(tmp_path / "list.csv", multi_label=True)
    assert {clip.labels for clip in collect_parts(several, tmp_path / "v").train.samples} == {(0, 1)}


def test_no_flips_for_left_and_right(tmp_path: Path) -> None:
    make_clips(tmp_path / "d", {"go left": 3, "go right": 3})
    result = tune(tmp_path / "d", tmp_path / "w", recipe="probe")
    assert result.model.clip_spec.flip == 0
    assert from_pretrained(result.model_dir).clip_spec.flip == 0
    assert any("No flips" in note and "'go left'" in note for note in result.notes)
    kept = tune(tmp_path / "d", tmp_path / "v", recipe="probe", flip=True)
    assert kept.model.clip_spec.flip == 0.5
    assert any(
        "flipped at random, also of 'go left', 'go right'. Use --no-flip" in note for note in kept.notes
    )


@pytest.mark.parametrize(
    ("flip", "told"),
    [
        (
            None,
            "Clips are flipped at random. Use --no-flip if a mirrored clip would belong to another class.",
        ),
        (False, "Clips aren't flipped, as asked for."),
    ],
)
def test_whether_clips_are_flipped_is_told(few: Path, flip: bool | None, told: str) -> None:
    model = make_model()
    assert told in _prepare_model(model, read_annotations(few), seed=0, flip=flip)
    assert bool(model.clip_spec.flip) == (flip is None)


def test_uneven_classes_are_drawn_equally(tuned: FinetuneResult, clips: Path, tmp_path: Path) -> None:
    found = collect_parts(clips, tmp_path)
    assert sorted(set(found.train.class_weights())) == [1 / 5, 1 / 2]
    assert any("drawn equally often" in note for note in tuned.notes)
    as_they_come = tune(clips, tmp_path / "b", balance=False)
    assert not any("drawn equally often" in note for note in as_they_come.notes)
    losses = [read_log(folder / "log.jsonl")[1]["loss"] for folder in (tuned.work_dir, tmp_path / "b")]
    assert losses[0] != losses[1], "other clips were drawn"


def collect_parts(clips: Any, folder: Path, *, resume: bool = False) -> FinetuneData:
    options = {"resume": resume, "val": 0.2, "group_by": None, "seed": 0, "max_unreadable": 0.1}
    return collect(clips, None, folder, progress=False, **options)  # type: ignore[arg-type]


def test_class_names_that_older_versions_wrote_are_taken_as_they_are(clips: Path, tmp_path: Path) -> None:
    data = read_annotations(clips)
    collect_parts(data, tmp_path)
    names = ["classes", "* run; fast;", "end;"]
    (tmp_path / "labels.txt").write_text("".join(f"{name}\n" for name in names))
    for part in ("train", "val"):
        text = (tmp_path / f"{part}.csv").read_text()
        for old, new in zip(data.class_names, names, strict=True):
            text = re.sub(rf",{old}$", f",{new}", text, flags=re.MULTILINE)
        (tmp_path / f"{part}.csv").write_text(text)
    sums = tmp_path / "checksums.json"
    kept = json.loads(sums.read_text())
    kept["sha256"] = {name: hash_file(tmp_path / name) for name in kept["sha256"]}
    sums.write_text(json.dumps(kept))
    assert collect_parts(clips, tmp_path, resume=True).train.class_names == tuple(names)


class Hungry(SlowFast):
    """Runs out of memory with more than ``limit`` clips, while training."""

    limit = 1
    fails: int = 0

    def forward(self, clip: Tensor) -> Tensor:
        if self.training and len(clip) > self.limit:
            type(self).fails += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nand so on")
        return super().forward(clip)


def test_out_of_memory_halves_the_batch_and_keeps_the_step(
    tuned: FinetuneResult, clips: Path, tmp_path: Path
) -> None:
    model = make_model()
    model.__class__ = Hungry
    result = tune(clips, tmp_path / "hungry", model)
    notes = [note for note in result.notes if note.startswith("Out of memory")]
    assert notes == [
        "Out of memory: went on with 2 clips at a time, 2 times per step.",
        "Out of memory: went on with 1 clip at a time, 4 times per step.",
    ]
    for (name, value), other in zip(
        tuned.model.state_dict().items(), result.model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(other, value, rtol=1e-3, atol=1e-4, msg=name)
    model = make_model()
    model.__class__ = type("Starving", (Hungry,), {"limit": 0})
    with pytest.raises(TrainingError, match="suffice for one clip"):
        tune(clips, tmp_path / "starving", model)


def test_out_of_memory_with_norms_that_learn_is_told_apart(
    few: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = make_model()
    model.__class__ = Hungry
    result = tune(few, tmp_path, model, norms="learned", config={**CONFIG, "epochs": 1})
    told = [note for note in result.notes if note.startswith("Out of memory")]
    assert all(
        "Batch norms that learn see fewer clips at a time: the result is another" in note for note in told
    )
    assert len(told) == 2
    tune(few, tmp_path / "measured", model, norms="measured", config={**CONFIG, "epochs": 1})
    assert "measuring batch norms with 1 clip at a time" in caplog.text


def test_out_of_memory_halves_the_clips_of_the_features(clips: Path) -> None:
    class Full(SlowFast):
        def forward_features(self, clip: Tensor) -> tuple[Tensor, Tensor]:
            if len(clip) > 1:
                raise MemoryError
            return super().forward_features(clip)

    model = make_model()
    dataset = VideoDataset(read_annotations(clips), CLIP_SPEC, train=False, views=(2, 1))
    plain = probe_features(model, dataset, device="cpu", progress=False)
    model.__class__ = Full
    halved = probe_features(model, dataset, device="cpu", progress=False)
    torch.testing.assert_close(halved.features, plain.features, rtol=1e-4, atol=1e-5)


def test_a_worker_that_is_killed_is_one_sentence(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bus_error(*_: object, **__: object) -> None:
        raise RuntimeError(
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's"
            " workers are out of shared memory. Please try to raise your shared memory limit."
        )

    monkeypatch.setattr("slowfast_zoo.training.finetune.finetune.collect", bus_error)
    with pytest.raises(TrainingError, match=r"signal: Bus error\), most likely .*/dev/shm.*--resume"):
        tune(few, tmp_path)


def test_a_fine_tuning_leaves_torchs_generator_where_it_is(few: Path, tmp_path: Path) -> None:
    model, state = make_model(), torch.get_rng_state()
    tune(few, tmp_path, model)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_split_that_was_changed_is_not_gone_on_with(clips: Path, tmp_path: Path) -> None:
    tune(clips, tmp_path, recipe="probe")
    path = tmp_path / "data" / "train.csv"
    before = path.read_text()
    path.write_text(before.replace("dark", "light", 1))
    with pytest.raises(
        DataError, match=r"train\.csv isn't as the training began with; put the old one back, or"
    ):
        tune(clips, tmp_path, recipe="probe", resume=True)
    assert "Linear probe" in (tmp_path / "report.txt").read_text(), "what is done stays reported"
    with pytest.raises(TrainingError, match="nothing to resume"):
        tune(clips, tmp_path / "new", recipe="probe", resume=True)
    path.write_text(before)
    (tmp_path / "data" / "checksums.json").write_text("{")
    with pytest.raises(DataError, match=r"checksums\.json is damaged"):
        tune(clips, tmp_path, recipe="probe", resume=True)


def test_smaller_pieces_divide_the_step() -> None:
    config = SETTINGS.replace(batch_size=6, accumulate=1)
    sizes = []
    for _ in range(3):
        config = smaller_pieces(config, "full")
        sizes.append((config.batch_size, config.accumulate, config.activation_checkpointing))
    assert sizes == [(3, 2, False), (1, 6, False), (1, 6, True)]
    with pytest.raises(TrainingError, match="one clip"):
        smaller_pieces(config, "full")
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))
    assert not is_out_of_memory(RuntimeError("shapes differ"))


def test_interrupted_it_goes_on_with_the_same_split(
    tuned: FinetuneResult, clips: Path, tmp_path: Path
) -> None:
    class Interrupted(SlowFast):
        calls = 0

        def forward(self, clip: Tensor) -> Tensor:
            type(self).calls += self.training
            if type(self).calls == 5:  # in the second epoch of three steps
                raise KeyboardInterrupt
            return super().forward(clip)

    model = make_model()
    model.__class__ = Interrupted
    with pytest.raises(KeyboardInterrupt):
        tune(clips, tmp_path / "cut", model)
    assert "isn't finished" in (tmp_path / "cut" / "report.txt").read_text()
    with pytest.raises(TrainingError, match="holds a training already"):
        tune(clips, tmp_path / "cut")
    resumed = tune(clips, tmp_path / "cut", resume=True)
    first, second = (read_file(run.work_dir / "last.safetensors") for run in (tuned, resumed))
    for (name, value), other in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(value, other), name
    names = [sorted(Path(name).resolve() for name in run.evaluation.names) for run in (tuned, resumed)]
    assert names[0] == names[1]
    epochs = [line["epoch"] for line in read_log(tmp_path / "cut" / "log.jsonl") if line["mode"] == "val"]
    assert epochs == [1, 2]
    with pytest.raises(TrainingError, match=r"can't go on with other settings .recipe gentle -> learn"):
        tune(clips, tmp_path / "cut", resume=True, recipe="learn")


def test_clips_that_cant_be_read_are_left_out_up_to_a_limit(clips: Path, tmp_path: Path) -> None:
    make_clips(tmp_path / "d", {"dark": 4, "light": 4})
    (tmp_path / "d" / "dark" / "zero.mp4").write_bytes(b"")
    result = tune(tmp_path / "d", tmp_path / "w", recipe="probe")
    assert any(note.startswith("Left out 1 of 9 clips") and "zero.mp4" in note for note in result.notes)
    (tmp_path / "d" / "light" / "text.mp4").write_text("no video")
    with pytest.raises(DataError, match="2 of 10 clips can't be read"):
        tune(tmp_path / "d", tmp_path / "v", recipe="probe")
    assert tune(tmp_path / "d", tmp_path / "u", recipe="probe", max_unreadable=0.5).evaluation.names


def test_data_and_arguments_that_dont_hold_together(clips: Path, tmp_path: Path) -> None:
    make_clips(tmp_path / "one", {"dark": 3})
    with pytest.raises(DataError, match="All 3 clips are of the class 'dark'"):
        tune(tmp_path / "one", tmp_path / "w1")
    make_clips(tmp_path / "single", {"dark": 1, "light": 1})
    with pytest.raises(DataError, match="can't be split"):
        tune(tmp_path / "single", tmp_path / "w2")
    with pytest.raises(DataError, match="no dataset"):
        tune(tmp_path / "nowhere", tmp_path / "w3")
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="can't be written"):
        tune(clips, tmp_path / "file" / "w")
    (tmp_path / "val.txt").write_text(f"{clips / 'dark' / '0.npy'} 3\n")
    with pytest.raises(DataError, match=r"number their classes .0 to 3., the training data names them"):
        tune(clips, tmp_path / "w4", validation=tmp_path / "val.txt")
    with pytest.raises(UnknownNameError, match=r"There is no recipe 'gentel'\. Did you mean 'gentle'"):
        tune(clips, tmp_path / "w5", recipe="gentel")
    with pytest.raises(InputError, match=r"A linear probe leaves the network as it is: norms that learn"):
        tune(clips, tmp_path / "w5", recipe="probe", norms="learned")
    with pytest.raises(InputError, match="4 channels"):
        tune(clips, tmp_path / "w6", SlowFast(SPEC.replace(in_channels=4)))
    with pytest.raises(InputError, match="SlowFast model, got Linear"):
        tune(clips, tmp_path / "w7", torch.nn.Linear(1, 1))  # type: ignore[arg-type]
    wrapped = SlowFast(SPEC)
    wrapped.fast.register_module("stem", torch.nn.Sequential(wrapped.fast.stem))
    with pytest.raises(InputError, match=r"isn't the network of model\.spec \(fast\.stem\.conv\.weight, "):
        tune(clips, tmp_path / "w8", wrapped)
    observed = SlowFast(SPEC)
    observed.slow.register_buffer("seen", torch.zeros(1))
    with pytest.raises(InputError, match=r"isn't the network of model\.spec \(slow\.seen\)"):
        tune(clips, tmp_path / "w8", observed)
    activated = SlowFast(SPEC)
    activated.slow.stem.relu = torch.nn.SiLU()  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"something else than the network of .*spec \(slow\.stem\.relu\)"):
        tune(clips, tmp_path / "w8", activated)


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (
            None,
            {"norms": "learn"},
            r"norms is 'learn'\. Did you mean 'learned'\? Accepted: 'kept', 'measured'",
        ),
        (None, {"smallest_area": 70}, r"smallest_area is 70; accepted: a number above 0 to 1"),
        (None, {"views": (1, 2)}, r"views is \(1, 2\); accepted"),
        (None, {"config": SETTINGS}, r"config is a TrainConfig; accepted: the fields to change"),
        (None, {"budget_seconds": "10m"}, r"budget_seconds is '10m'; accepted: a number above 0"),
        (None, {"budget_seconds": float("inf")}, r"budget_seconds is inf; accepted: a number above 0"),
        (None, {"val": "0.2"}, r"val is '0\.2'; accepted: a part of the clips, above 0 and below 1"),
        *((None, {"folds": f}, rf"folds is {f!r}; accepted: 0, or from 2") for f in ("5", 2.5)),
        (None, {"max_unreadable": 10}, r"max_unreadable is 10; accepted: a part of the clips"),
        (None, {"config": {"precision": "float16"}, "device": "cpu"}, r"float16 needs a GPU"),
        (None, {"config": {"nesterov": True}, "recipe": None}, r"With the recipe 'learn', TrainConfig\.nest"),
        (None, {"config": {"nesterov": True}, "recipe": "plain"}, r"'plain', .* Take another one \(recipe"),
        ({}, {}, r"The data are the parts \(none\); accepted: 'train', and beside it 'val' and 'test'"),
        ({"train": None, "validation": None}, {}, r"the parts 'train', 'validation'; accepted: 'train', and"),
        ({"train": "d"}, {}, r"The part 'train' of the data is a str; accepted: "),
    ],
)
def test_what_cant_be_had_is_refused_before_anything_is_written(
    clips: Path, tmp_path: Path, data: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(SlowFastZooError, match=words):
        tune(clips if data is None else data, tmp_path / "w", **options)
    assert not (tmp_path / "w").exists()
    with pytest.raises(DataError, match="The part 'val' of the data holds no clip"):
        both = read_annotations(clips)
        tune({"train": both, "val": both.subset([])}, tmp_path / "w")


def test_parts_that_share_sources_are_told(tmp_path: Path) -> None:
    make_clips(tmp_path / "d", {"dark": 3, "light": 3})
    (tmp_path / "val.csv").write_text(
        "path,label\n"
        + "".join(f"d/{label}/{i}.npy,{label}\n" for label in ("dark", "light") for i in (0, 1))
    )
    result = tune(tmp_path / "d", tmp_path / "w", recipe="probe", validation=tmp_path / "val.csv")
    assert any(note.startswith("Parts share 4 sources") for note in result.notes)
    told = (
        "How sure: of the 4 clips that were scored, some were trained on, or others of their recordings were"
    )
    assert result.sure.startswith(told) and "%" not in result.sure
    assert "interval" not in str(result) and " to " not in result.scores().partition("\n\n")[2]
    head, *_ = (tmp_path / "w" / "per_class.csv").read_text().splitlines()
    assert head == "label,videos,accuracy,precision,most_often_taken_for"
    metrics = read_config(result.model_dir / "config.json").metrics
    assert metrics and metrics["of"].endswith("some were trained on, or others of their recordings")
    again = tune(tmp_path / "d", tmp_path / "w", recipe="probe", validation=tmp_path / "val.csv", resume=True)
    assert again.sure == result.sure and again.notes == result.notes


def test_a_test_part_that_shares_sources_is_told_as_well(tmp_path: Path) -> None:
    for part in ("train", "test"):
        make_clips(tmp_path / "d" / part, {"dark": 4, "light": 4})
    result = tune(tmp_path / "d", tmp_path / "w", recipe="probe")
    assert any(note.startswith("Parts share 8 sources") for note in result.notes)
    assert "some were trained on" in result.sure
    (tmp_path / "d" / "test").rename(tmp_path / "d" / "val")
    (tmp_path / "other.csv").write_text("path,label\nd/val/dark/0.npy,dark\nd/val/light/0.npy,light\n")
    result = tune(tmp_path / "d", tmp_path / "v", recipe="probe", validation=tmp_path / "other.csv")
    assert "The data's own part val isn't used: validation data were given." in result.notes


def test_copies_of_trained_clips_in_the_test_part_are_found_where_other_parts_share_sources(
    tmp_path: Path,
) -> None:
    """The test clips are those of two training clips by other names; train and val share recordings."""
    rng = np.random.default_rng(0)
    for part, name, take in (
        ("train", "v_{}_g1_c1", 1),
        ("train", "v_{}_g2_c1", 2),
        ("val", "v_{}_g1_c2", 3),
    ):
        for label in "ab":
            (tmp_path / "d" / part / label).mkdir(parents=True, exist_ok=True)
            frames = rng.integers(0, 255, (take, 8, 8, 3), np.uint8)
            np.save(tmp_path / "d" / part / label / f"{name.format(label)}.npy", frames)
    for label in "ab":
        (tmp_path / "d" / "test" / label).mkdir(parents=True)
        path = tmp_path / "d" / "train" / label / f"v_{label}_g2_c1.npy"
        (tmp_path / "d" / "test" / label / "other.npy").write_bytes(path.read_bytes())
    found = collect_parts(tmp_path / "d", tmp_path / "w")
    assert found.seen
    assert any(note.startswith("Parts share 4 sources, such as 'v_a_g1'") for note in found.notes)


def test_a_clean_test_part_is_as_sure_as_ever(tmp_path: Path) -> None:
    make_clips(tmp_path / "train", {"dark": 3, "light": 3})
    make_clips(tmp_path / "new", {"dark": 5, "light": 5})
    train, new = read_annotations(tmp_path / "train"), read_annotations(tmp_path / "new")
    parts = {"train": train, "val": train, "test": new.subset([3, 4, 8, 9])}
    result = tune(parts, tmp_path / "w", recipe="probe")
    assert any(note.startswith("Parts share 6 sources") for note in result.notes)
    assert "of other such clips" in result.sure


def evaluation(scores: list[list[float]], targets: list[int], labels: tuple[str, ...]) -> Evaluation:
    return Evaluation(
        metrics={"top1_acc": 0.5},
        scores=[np.array(row, np.float32) for row in scores],
        targets=np.array(targets),
        names=[str(index) for index in range(len(targets))],
        labels=labels,
        failed=[],
        protocol={},
    )


def test_class_table_says_what_is_taken_for_what() -> None:
    scores = [[0.9, 0.1, 0], [0.2, 0.8, 0], [0.3, 0.7, 0], [0, 1, 0]]
    table = evaluation(scores, [0, 0, 0, 1], ("a", "b", "c")).class_table()
    assert table[0] == {
        "label": "a",
        "videos": 3,
        "accuracy": 1 / 3,
        "from": pytest.approx(0.0615, abs=1e-4),
        "to": pytest.approx(0.7923, abs=1e-4),
        "precision": 1.0,
        "most_often_taken_for": "b",
    }
    assert (table[1]["precision"], table[1]["most_often_taken_for"]) == (1 / 3, "")
    assert np.isnan(table[2]["accuracy"])
    lines = format_table(table).splitlines()
    assert " ".join(lines[0].split()) == "label videos accuracy from to precision most often taken for"
    assert lines[3].split() == ["c", "0", "-", "-", "-", "-"]


def test_missing_matplotlib_is_said_before_the_training(
    clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "slowfast_zoo.training.finetune.finetune")
    result = tune(clips, tmp_path, recipe="probe")
    assert caplog.messages[0].startswith(
        "No pictures in the report: they need matplotlib; pip install matplotlib"
    )
    assert f"'slowfast-zoo report {tmp_path}' draws them later" in str(result)
    assert not list(tmp_path.glob("*.png"))
    assert draw_report(tmp_path) == []


@pytest.mark.usefixtures("pictures")
def test_a_report_is_drawn_later_from_what_is_in_the_folder(tmp_path: Path) -> None:
    nothing = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert nothing.exit_code == 1 and draw_report(tmp_path) == []
    assert "neither log.jsonl with training steps nor confusion.csv to draw" in nothing.output
    write_tables(evaluation([[1, 0], [0, 1]], [0, 1], ("a", "$x_$")), tmp_path)
    assert [path.name for path in draw_report(tmp_path)] == ["confusion.png"]
    lines = [
        {"mode": "probe", "top1_acc": 0.5},
        {"mode": "start", "step": 0, "steps_per_epoch": 1},
        {"mode": "train", "epoch": 1, "iter": 1, "loss": 1.0, "lr": 0.1},
        {"mode": "val", "epoch": 1, "iter": 1, "top1_acc": 0.7},
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert [path.name for path in draw_report(tmp_path)] == ["confusion.png", "curves.png"]
    legend = draw_curves(read_log(tmp_path / "log.jsonl")).axes[1].get_legend()
    texts = [text.get_text() for text in legend.get_texts()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_curves([line | {"steps_per_epoch": 1} for line in lines[2:3] * 50])
    assert sorted(texts) == ["linear probe before training 50.0%", "validation, best 70.0% in epoch 1"]
    (tmp_path / "confusion.csv").write_text("true,a,b\na,1\n")
    with pytest.raises(TrainingError, match=r"confusion\.csv is damaged"):
        draw_report(tmp_path)


@pytest.mark.usefixtures("pictures")
def test_every_training_is_drawn_also_while_it_runs_and_without_validation(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    work = tmp_path / "v"

    def look(line: dict[str, Any]) -> None:
        seen.append((work / line.get("training", "") / "curves.png").exists())

    tune(few, work, everything=True, listener=look)
    assert seen[:3] == [False, False, True], "the first step doesn't wait"
    assert (work / "all" / "curves.png").exists()
    monkeypatch.setattr("slowfast_zoo.training.finetune.finetune.DRAWN_EVERY_SECONDS", 0.0)
    seen, work = [], tmp_path / "w"
    tune(few, work, folds=2, everything=True, listener=look)
    assert seen == [False, False, True] * 3, "a start and two steps"


@pytest.fixture
def many() -> Iterator[Evaluation]:
    classes = 70
    scores = np.eye(classes).tolist()
    yield evaluation(
        scores, list(range(classes)), tuple(f"a rather long name of class {i}" for i in range(classes))
    )


@pytest.mark.usefixtures("pictures")
def test_pictures_of_many_classes(many: Evaluation, tmp_path: Path) -> None:
    written = [*write_tables(many, tmp_path), *draw_report(tmp_path)]
    assert [path.name for path in written] == ["per_class.csv", "confusion.csv", "confusion.png"]


def test_log_of_a_resumed_training_counts_repeated_steps_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start = {"mode": "start", "steps_per_epoch": 4}
    lines: list[dict[str, Any]] = [
        start | {"step": 0},
        *({"mode": "train", "epoch": 1, "iter": i, "loss": 1.0} for i in (1, 2, 3, 4)),
        {"mode": "train", "epoch": 2, "iter": 1, "loss": 9.0},
        start | {"step": 4},
        {"mode": "train", "epoch": 2, "iter": 1, "loss": 2.0},
    ]
    text = "\n".join(json.dumps(line) for line in lines)
    (tmp_path / "log").write_text(text.replace('"iter": 3', '"iter": \0') + '\n{"mode": "train", "ep')
    kept = read_log(tmp_path / "log")
    assert "left out damaged lines: 4, 9" in caplog.text
    assert [(line["epoch"], line["iter"], line["loss"]) for line in kept[-2:]] == [(1, 4, 1.0), (2, 1, 2.0)]
