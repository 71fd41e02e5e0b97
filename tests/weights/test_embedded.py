"""The model that ships in the package: its file, its card, and that it does its job on this machine."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import train_actions

from slowfast_zoo import create_model, eval_transform, get_weights, predict, predict_many, slowfast_tiny
from slowfast_zoo.cli.finetune import _start
from slowfast_zoo.data.motion.actions import ACTIONS, ActionClips
from slowfast_zoo.data.motion.clips import CAMERA_MOTIONS, MotionClips
from slowfast_zoo.errors import CheckpointError, InputError
from slowfast_zoo.naming import parse
from slowfast_zoo.training.published import get_recipe
from slowfast_zoo.training.recipe import TrainConfig
from slowfast_zoo.weights import catalog

EMBEDDED = Path(catalog.__file__).parent / "embedded"
EXAMPLES = Path(__file__).parents[2] / "examples"
ROW = get_weights("slowfast_tiny")


def test_the_row() -> None:
    assert ROW.labels == CAMERA_MOTIONS
    assert ROW.model_spec == get_recipe("camera-motion").model_spec
    assert sum(p.numel() for p in create_model("slowfast_tiny").parameters()) == ROW.parameters
    assert ROW.metrics.views == (ROW.clip_spec.clips, ROW.clip_spec.crops)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("slowfast_tiny", get_recipe("camera-motion").config),
        ("slowfast_tiny_actions", train_actions.recipe()),
    ],
)
def test_the_weights_come_from_the_recipe_as_it_is(name: str, config: TrainConfig) -> None:
    record = json.loads((EMBEDDED / f"{name}.json").read_text(encoding="utf-8"))
    free = {name: record["config"][name] for name in ("workers", "seed")}
    # Fields that are younger than the record: they change nothing while they have their defaults.
    younger = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    assert younger | record["config"] == config.to_dict() | free


def test_the_file_is_small_and_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
    assert (EMBEDDED / ROW.filename).stat().st_size <= 3 * 2**20
    model = slowfast_tiny(pretrained=True)
    assert model.provenance["tag"] == "camera-motion"
    assert all(value.dtype in (torch.float32, torch.int64) for value in model.state_dict().values())
    assert slowfast_tiny(pretrained=True, num_classes=3).spec.num_classes == 3
    for others in (model.labels[::-1], [label.replace(" ", "_") for label in model.labels]):
        with pytest.raises(InputError, match="in another order or spelling"):
            slowfast_tiny(pretrained=True, labels=others)


def test_the_row_that_finetune_starts_from() -> None:
    row = get_weights("slowfast_tiny", "actions")
    assert row.labels == ActionClips.labels
    assert (EMBEDDED / row.filename).stat().st_size <= 3 * 2**20
    model = slowfast_tiny(weights="actions")
    assert sum(p.numel() for p in model.parameters()) == row.parameters
    assert _start(parse("slowfast_tiny")).entry is row
    assert _start(parse("slowfast_tiny:camera-motion")).entry is ROW
    card = (EMBEDDED / "slowfast_tiny_actions.md").read_text(encoding="utf-8")
    measured = re.search(r"\| all labels \| 43 \| ([\d.]+) %", card)
    assert measured and float(measured[1]) == row.metrics.mean_ap


def test_the_weights_that_finetune_starts_from_know_actions() -> None:
    record = json.loads((EMBEDDED / "slowfast_tiny_actions.json").read_text(encoding="utf-8"))
    model = slowfast_tiny(weights="actions")
    spec = model.clip_spec
    clips = ActionClips(
        3 * len(ACTIONS), size=spec.crop, num_frames=spec.num_frames, fps=8, seed=7, scenes=12
    )
    items = [clips[index] for index in range(len(clips))]
    answers = predict_many(model, (frames for frames, _ in items), topk=None, fps=8)
    right = 0
    for (_, target), answer in zip(items, answers, strict=True):
        action = next(label for label in answer.labels if label in ACTIONS)
        right += bool(target[clips.labels.index(action)])
    # Loose on purpose: this says that the chain works; the figures are in the card.
    assert right / len(clips) >= record["measured"]["sets"]["actions"]["accuracy"] - 0.15


def test_a_damaged_file_is_not_used() -> None:
    of_another_version = dataclasses.replace(ROW, digest=f"sha256:{'0' * 64}")
    with (
        catalog.using([of_another_version]),
        pytest.raises(CheckpointError, match="isn't the file that belongs to this version"),
    ):
        slowfast_tiny(pretrained=True)


def test_held_out_clips() -> None:
    clips = MotionClips(200, size=80, num_frames=8, fps=5, seed=20_261_122)
    model = slowfast_tiny(pretrained=True).eval()
    transform, right = eval_transform(model.clip_spec), 0
    with torch.inference_mode():
        for first in range(0, len(clips), 40):
            items = [clips[index] for index in range(first, first + 40)]
            logits = model(torch.stack([transform(frames) for frames, _ in items]))
            right += int((logits.argmax(1) == torch.tensor([label for _, label in items])).sum())
    # Loose on purpose: this says that the chain works; the figures are in the card.
    assert right / len(clips) >= ROW.metrics.top1 / 100 - 0.04


def test_the_card_and_the_row_give_the_same_figure() -> None:
    card = (EMBEDDED / "slowfast_tiny.md").read_text(encoding="utf-8")
    measured = re.search(r"Held-out synthetic clips \| ([\d.]+) %", card)
    assert measured and float(measured[1]) == ROW.metrics.top1
    assert "slowfast-zoo train camera-motion" in card


def test_the_example_clip() -> None:
    path = EXAMPLES / "pan_right.mp4"
    assert path.stat().st_size < 500_000
    answer = predict(slowfast_tiny(pretrained=True), path)
    assert answer.labels[0] == "pan right"
    assert answer.scores[0] > 0.5
    assert not answer.padded


def test_reversing_time_reverses_the_motion() -> None:
    from slowfast_zoo.video.decoding.reader import open_video

    with open_video(EXAMPLES / "pan_right.mp4") as video:
        frames, fps = video.frames(range(video.num_frames)), float(video.fps)
    model = slowfast_tiny(pretrained=True)
    assert predict(model, np.ascontiguousarray(frames[::-1]), fps=fps).labels[0] == "pan left"
    assert predict(model, np.ascontiguousarray(frames[:, :, ::-1]), fps=fps).labels[0] == "pan left"
    still = np.repeat(frames[:1], len(frames), axis=0)
    assert predict(model, still, fps=fps).labels[0] == "static"
