"""The average of weights, and clips that are mixed: what they are, and that they go on exactly."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training_clips import CONFIG, Clips, assert_same, make_model, weights_of
from torch import nn
from torch.nn import functional as F

from slowfast_zoo.data.loader import Batch
from slowfast_zoo.errors import MissingDependencyError
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.training.augmentation import mixed, recolored, with_stills
from slowfast_zoo.training.log import listening
from slowfast_zoo.training.loss import loss_of
from slowfast_zoo.training.optimizer import WeightAverage
from slowfast_zoo.training.train import train
from slowfast_zoo.weights.saved.file import read_file


def test_the_average_is_that_of_the_steps() -> None:
    model = nn.BatchNorm1d(2)
    average, expected = WeightAverage(model, 0.5), torch.zeros(2)
    for step in range(1, 20):
        with torch.no_grad():
            model.bias.fill_(step)
        keep = min(0.5, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * step
        average.update(step)
    torch.testing.assert_close(average.state["bias"], expected)
    with average.in_place():
        torch.testing.assert_close(model.bias.detach(), expected)
        model.running_mean.fill_(7)  # type: ignore[union-attr]
    assert (model.bias == 19).all()
    assert (model.running_mean == 0).all()
    average.keep()
    torch.testing.assert_close(model.bias.detach(), expected)
    assert (model.running_mean == 7).all()


def test_mixed_clips_have_mixed_losses() -> None:
    clips, targets = torch.randn(4, 3, 2, 8, 8), torch.tensor([0, 1, 2, 0])
    batch = Batch(clips, targets, [0, 1, 2, 3], [1] * 4, [])
    config = CONFIG.replace(mixup=0.4)
    torch.manual_seed(0)
    found, mix = mixed(batch, config, ClipSpec(), torch.device("cpu"))
    assert mix is not None
    assert 0 < mix.part < 1
    partners = mix.partners
    torch.testing.assert_close(found.clips, clips * mix.part + clips[partners] * (1 - mix.part))
    logits = torch.randn(4, 3)
    expected = mix.part * F.cross_entropy(logits, targets)
    expected = expected + (1 - mix.part) * F.cross_entropy(logits, targets[partners])
    torch.testing.assert_close(loss_of(logits, targets, "softmax", config, mix), expected)
    assert mixed(batch, CONFIG, ClipSpec(), torch.device("cpu")) == (batch, None)


def test_colors_of_a_clip_change_in_all_its_frames_alike() -> None:
    clips = torch.randn(64, 3, 2, 4, 4)
    clips[:, :, 1] = clips[:, :, 0]
    batch = Batch(clips, torch.zeros(64, dtype=torch.int64), [*range(64)], [1] * 64, [])
    cpu, config = torch.device("cpu"), CONFIG.replace(color_jitter=0.5)
    torch.manual_seed(0)
    found = recolored(batch, config, ClipSpec(), cpu).clips
    torch.testing.assert_close(found[:, :, 0], found[:, :, 1])
    torch.manual_seed(0)
    assert torch.equal(recolored(batch, config, ClipSpec(), cpu).clips, found)
    assert recolored(batch, CONFIG, ClipSpec(), cpu) is batch
    gray, before = found.mean(1), clips.mean(1)
    # What the channels get of their own is the same for all places: the gray picture is stretched and moved.
    contrast = gray.flatten(1).std(1) / before.flatten(1).std(1)
    assert 0.6 < contrast.min() < 0.7
    assert 1.5 < contrast.max() < 1.65
    moved = gray.flatten(1).mean(1) - before.flatten(1).mean(1)
    assert 0.3 < moved.abs().max() < 0.75


def test_a_still_of_the_step_is_mixed_into_all_frames_of_a_clip() -> None:
    clips = torch.randn(32, 3, 4, 2, 2)
    batch = Batch(clips, torch.arange(32), [*range(32)], [1] * 32, [])
    cpu, config = torch.device("cpu"), CONFIG.replace(still_mix=0.5)
    torch.manual_seed(0)
    found = with_stills(batch, config, ClipSpec(), cpu)
    torch.manual_seed(0)
    assert torch.equal(with_stills(batch, config, ClipSpec(), cpu).clips, found.clips)
    assert with_stills(batch, CONFIG, ClipSpec(), cpu) is batch
    assert torch.equal(found.targets, batch.targets)
    # What changes in a clip is its own, only weaker; what is the same in all frames is a frame of one clip.
    own = (found.clips.diff(dim=2) / clips.diff(dim=2)).flatten(1)
    torch.testing.assert_close(own, own[:, :1].expand_as(own), rtol=1e-3, atol=1e-3)
    assert 0.5 <= own.min() < 0.6
    assert 0.9 < own.max() <= 1.001
    part = 1 - own.median(1).values.view(-1, 1, 1, 1, 1)
    stills = ((found.clips - clips * (1 - part)) / part)[:, :, 0]
    frames = clips.transpose(1, 2).flatten(0, 1)
    nearest = torch.cdist(stills.flatten(1), frames.flatten(1)).min(1)
    assert nearest.values[part.flatten() > 0.05].max() < 1e-2
    whose = nearest.indices // 4
    assert len({int(index) for index in whose[part.flatten() > 0.05]}) > 20
    assert not (whose == torch.arange(32))[part.flatten() > 0.05].any()
    alone = Batch(clips[:1], torch.arange(1), [0], [1], [])
    assert with_stills(alone, config, ClipSpec(), cpu) is alone


def test_numbers_reach_tensorboard_at_their_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            self.folder = Path(folder).name
            written.append((self.folder, purge_step))

        def add_scalar(self, *values: Any) -> None:
            written.append(values)

        def close(self) -> None:
            written.append(f"{self.folder} closed")

    package = types.ModuleType("torch.utils.tensorboard")
    package.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorboard", types.ModuleType("tensorboard"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", package)
    with listening(tmp_path, True) as listener:
        assert listener is not None
        listener({"mode": "start", "steps_per_epoch": 4, "step": 0})
        listener({"mode": "train", "epoch": 2, "iter": 3, "loss": 0.5, "memory": None})
        listener({"mode": "start", "steps_per_epoch": 6, "step": 3, "training": "all"})
        listener({"mode": "val", "epoch": 1, "iter": 6, "top1_acc": 1.0, "training": "all"})
    assert written == [
        ("tensorboard", 1),
        ("train/loss", 0.5, 7),
        ("all", 4),
        ("val/top1_acc", 1.0, 6),
        "tensorboard closed",
        "all closed",
    ]
    with listening(tmp_path, False) as listener:
        assert listener is None
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingDependencyError, match="pip install tensorboard"), listening(tmp_path, True):
        pass


def test_interrupted_an_average_goes_on_exactly_and_is_what_is_saved(tmp_path: Path) -> None:
    config = CONFIG.replace(ema=0.9, mixup=0.4, checkpoint_steps=1, validate_every=1, precise_bn_batches=1)

    def run(name: str, listener: Any = None, resume: bool = False) -> dict[str, torch.Tensor]:
        model = make_model()
        options: dict[str, Any] = {"validation": Clips(2), "device": "cpu", "progress": False}
        result = train(
            model, Clips(4), config, work_dir=tmp_path / name, listener=listener, resume=resume, **options
        )
        assert_same(read_file(result.last).state_dict(), model.state_dict())
        return weights_of(model)

    def stop(line: dict[str, Any]) -> None:
        if line["mode"] == "train" and (line["epoch"], line["iter"]) == (2, 1):
            raise KeyboardInterrupt

    unbroken = run("unbroken")
    with pytest.raises(KeyboardInterrupt):
        run("cut", stop)
    assert_same(run("cut", resume=True), unbroken)
    plain = make_model()
    train(plain, Clips(4), config.replace(ema=0.0), work_dir=tmp_path / "p", device="cpu", progress=False)
    assert not torch.equal(plain.slow.stem.conv.weight, unbroken["slow.stem.conv.weight"])
