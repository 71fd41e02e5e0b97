"""Training of networks that score persons: the publisher's losses, batches of boxes, the loop, its scores."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from reference.detections import references
from support.movies import moving_pattern, write_video
from support.person_clips import PersonClips, make_person_model
from support.small_nets import weights_of
from support.training_clips import CONFIG, Clips, assert_same, log_of

from slowfast_zoo.data.dataset import Persons
from slowfast_zoo.data.loader import collate
from slowfast_zoo.errors import DataError, InputError, TrainingError, UnknownNameError
from slowfast_zoo.evaluation.persons import evaluate_persons
from slowfast_zoo.inference.engines import trial
from slowfast_zoo.runtime.distributed import join
from slowfast_zoo.spec import Activation, RoiSpec
from slowfast_zoo.training.finetune.finetune import finetune
from slowfast_zoo.training.loss import loss_of
from slowfast_zoo.training.train import _validated, train
from slowfast_zoo.weights.saved.file import read_file

LEARNING = CONFIG.replace(epochs=6, batch_size=4, lr=0.1, validate_every=3)


@pytest.mark.parametrize(
    ("name", "activation", "changes"),
    [
        ("bce", "sigmoid", {}),
        ("focal_3_1", "sigmoid", {"focal_alpha": 3.0, "focal_gamma": 1.0}),
        ("multisports_softmax", "softmax", {}),
    ],
)
def test_losses_are_mmaction2s(name: str, activation: Activation, changes: dict[str, float]) -> None:
    """Its background column 0 has no loss, nor have boxes without a label, which datasets here leave out."""
    given: Any = references()["losses"]
    logits = torch.tensor(given["logits"])
    if activation == "softmax":
        logits, targets = logits[:, :66], torch.tensor(given["multisports_labels"])
    else:
        targets = torch.zeros(logits.shape)
        for row, labels in enumerate(given["labels"]):
            targets[row, labels] = 1
        some = targets.any(dim=1)
        assert some.sum() == 10 < len(logits)
        logits, targets = logits[some, 1:], targets[some, 1:]
    loss = loss_of(logits, targets, activation, CONFIG.replace(**changes))
    assert loss.item() == pytest.approx(given["results"][name], rel=1e-6)


def test_focal_loss_is_its_formula() -> None:
    logits, targets = torch.tensor([[0.3, -2.0]]), torch.tensor([[1.0, 1.0]])
    right = logits.sigmoid()
    expected = (3 * (1 - right) * -right.log()).mean()
    config = CONFIG.replace(focal_alpha=3.0, focal_gamma=1.0)
    torch.testing.assert_close(loss_of(logits, targets, "sigmoid", config), expected)
    empty = loss_of(torch.zeros(0, 2, requires_grad=True), torch.zeros(0, 2), "sigmoid", config)
    assert empty.item() == 0 and empty.requires_grad


def test_a_batch_numbers_its_clips() -> None:
    data = PersonClips(4, empty=1)
    batch = collate([(index, *data[index], None) for index in (2, 1, 3)])
    assert batch.boxes is not None and batch.boxes[:, 0].tolist() == [0, 0, 0, 2]
    assert batch.boxes[3, 1:].tolist() == [0, 0, 14, 14] and batch.targets.tolist() == [0, 1, 0, 1]
    assert [batch.item_of(row) for row in range(4)] == [2, 2, 2, 3] and len(batch.clips) == 3
    with pytest.raises(DataError, match="some are persons with boxes, others of clips"):
        collate([(0, *data[0], None), (1, data[1][0], 1, None)])


def test_a_network_learns_whose_box_is_bright(tmp_path: Path) -> None:
    model = make_person_model(activation="sigmoid")
    held_out = PersonClips(6, multi_label=True)
    result = train(
        model,
        PersonClips(12, multi_label=True, empty=5),
        LEARNING.replace(precise_bn_batches=2),
        work_dir=tmp_path,
        validation=held_out,
    )
    assert result.metrics == {"mean_average_precision": pytest.approx(1.0)} and not model.training
    lines = log_of(tmp_path)
    assert [line["epoch"] for line in lines if line["mode"] == "val"] == [3, 6]
    assert result.best is not None
    saved = read_file(result.best)
    assert saved.spec == model.spec and saved.clip_spec == model.clip_spec
    found = evaluate_persons(saved, held_out, progress=False)
    assert found.frames == 6 and found.probabilities.shape == (12, 2) and not found.failed


def test_a_validation_refuses_nan() -> None:
    model = make_person_model()
    model.get_classifier().bias.data.fill_(float("nan"))
    facts: Any = {"model": model, "validation": PersonClips(2), "config": CONFIG, "group": join("cpu")}
    trainer: Any = SimpleNamespace(**facts, progress=False, done=3, folder=Path("w"))
    with pytest.raises(
        TrainingError, match=r"after step 3: Scores hold NaN.* The learning rate is 0\.1; begin anew"
    ):
        _validated(trainer, 0.1)


def test_a_pass_without_anybody_teaches_nothing(tmp_path: Path) -> None:
    model = make_person_model()
    config = CONFIG.replace(epochs=1, batch_size=1, weight_decay=0.0)
    train(model, PersonClips(1, empty=0), config, work_dir=tmp_path)
    lines = [line for line in log_of(tmp_path) if line["mode"] == "train"]
    assert [line["loss"] for line in lines] == [0.0] and lines[0]["grad_norm"] == 0.0
    pairs = zip(make_person_model().parameters(), model.parameters(), strict=True)
    assert all(torch.equal(before, after) for before, after in pairs)


def test_interrupted_it_goes_on_exactly(tmp_path: Path) -> None:
    config = CONFIG.replace(epochs=2, batch_size=2)
    whole = make_person_model(dropout=0.5)
    train(whole, PersonClips(6), config, work_dir=tmp_path / "whole")
    half = make_person_model(dropout=0.5)

    class Stops(PersonClips):
        reads = 0

        def __getitem__(self, index: int) -> tuple[torch.Tensor, Persons]:
            self.reads += 1
            if self.reads == 9:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    with pytest.raises(KeyboardInterrupt):
        train(half, Stops(6), config, work_dir=tmp_path / "half")
    other = make_person_model(dropout=0.5)
    train(other, PersonClips(6), config, work_dir=tmp_path / "half", resume=True)
    assert_same(weights_of(other), weights_of(whole))


def test_detections_are_scored_against_what_is_annotated() -> None:
    class Detected(PersonClips):
        """Boxes of a detector: the first person a bit off, nobody else; and a false alarm."""

        def __getitem__(self, index: int) -> tuple[torch.Tensor, Persons]:
            clip, truth = super().__getitem__(index)
            found = torch.stack([truth.boxes[0] + 1.0, torch.tensor([2.0, 20.0, 12.0, 30.0])])
            found = found[: 0 if index == 5 else 2]
            return clip, Persons(found, torch.empty(0, dtype=torch.int64), (truth.boxes, truth.targets))

    model = make_person_model().eval()
    found = evaluate_persons(model, Detected(6), rule="mmaction2-0.x", progress=False)
    assert found.targets.shape == (0,) and found.probabilities.shape == (10, 2)
    assert found.detections.num_annotations == 12 and found.detections.num_predictions == 20
    assert 0 < found.metrics["mean_average_precision"] <= 0.5 + 1e-9
    tight = evaluate_persons(model, Detected(6), iou=0.9, progress=False)
    assert tight.metrics["mean_average_precision"] == 0
    assert not np.isnan(found.probabilities).any()


def test_a_rule_that_is_none_is_refused_before_anything_is_read() -> None:
    class Unread(PersonClips):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, Persons]:
            raise AssertionError("read")

    model = make_person_model().eval()
    with pytest.raises(UnknownNameError, match=r"There is no rule 'offical'\. Did you mean 'official'"):
        evaluate_persons(model, Unread(2), rule="offical", progress=False)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="iou is 50; accepted: a number above 0, at most 1"):
        evaluate_persons(model, Unread(2), iou=50, progress=False)


def test_half_precision_is_tried_with_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The convolutions of a head that relates persons to the frame are among those that are tried."""
    tried: list[Any] = []
    monkeypatch.setattr(trial, "check_kernels", lambda *_: None)
    monkeypatch.setattr(trial.artifacts, "load", lambda name: None)
    monkeypatch.setattr(trial.artifacts, "store", lambda *_: None)
    monkeypatch.setattr(trial, "try_convolutions", lambda found, *_, **how: tried.append(found) or {})
    for roi in (RoiSpec(), RoiSpec(acrn=True)):
        trial.check_half_precision(make_person_model(roi=roi), (1, 3, 4, 32, 32), "bfloat16")
    assert len(tried[1]) > len(tried[0]) > 10
    trial.check_published_half_precision("bfloat16", torch.device("cpu"))
    assert (1, 2, 2) in {each.dilation for each in tried[2]}, "a network that a name builds"


def test_data_of_the_other_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="scores persons in boxes, and the data have none"):
        train(make_person_model(num_classes=3), Clips(4), CONFIG, work_dir=tmp_path / "a")
    model = make_person_model(roi=None)
    with pytest.raises(DataError, match=r"classifies whole clips; models named \*_roi take them"):
        train(model, PersonClips(4), CONFIG, work_dir=tmp_path / "b")

    for name in ("sit/a", "sit/b", "run/a", "run/b"):
        (tmp_path / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(tmp_path / "clips" / f"{name}.mkv", moving_pattern(4))
    with pytest.raises(InputError, match=r"train .* learns from annotations of theirs, also of few classes"):
        finetune(tmp_path / "clips", make_person_model(), work_dir=tmp_path / "f", progress=False)

    class Wrong(PersonClips):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, Persons]:
            clip, truth = super().__getitem__(index)
            return clip, Persons(truth.boxes, truth.targets + 5)

    with pytest.raises(DataError, match=r"clips/\d.mp4 at 1 s has the label [56]; accepted: 0 to 1"):
        train(make_person_model(), Wrong(4), CONFIG, work_dir=tmp_path / "c")
