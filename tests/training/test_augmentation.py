"""Clips that are recolored and mixed: what they are, and what the loss makes of them."""

from __future__ import annotations

import pytest
import torch
from support.training_clips import CONFIG
from torch.nn import functional as F

from slowfast_zoo.data.loader import Batch
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.training.augmentation import mixed, randomly_changed, recolored, with_stills, without_effect
from slowfast_zoo.training.loss import loss_of


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


def test_what_needs_pairs_of_clips_and_has_none_is_said() -> None:
    both = CONFIG.replace(mixup=0.4, still_mix=0.5)
    sentence = "nothing with one clip at a time: take batch_size=2 or more."
    assert without_effect(both, clips=1, persons=False) == f"mixup and still_mix do {sentence}"
    assert (
        without_effect(CONFIG.replace(still_mix=0.5), clips=1, persons=True) == f"still_mix does {sentence}"
    )
    assert without_effect(both, clips=2, persons=True) == "mixup does nothing with boxes of persons."
    assert not without_effect(both, clips=2, persons=False) + without_effect(CONFIG, clips=1, persons=True)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_a_class_that_is_surely_right_has_a_gradient(gamma: float) -> None:
    logits = torch.tensor([[20.0, -20.0], [0.0, 1.0]], requires_grad=True)
    config = CONFIG.replace(focal_gamma=gamma)
    loss_of(logits, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), "sigmoid", config).backward()
    assert logits.grad is not None and logits.grad.isfinite().all() and logits.grad[1].abs().min() > 0.01


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


@pytest.mark.parametrize("pixel_range", ["0-255", "0-1"])
def test_all_frames_of_a_clip_are_turned_and_moved_alike(pixel_range: str) -> None:
    white = 255 if pixel_range == "0-255" else 1
    spec = ClipSpec(mean=(0.0,) * 3, std=(float(white),) * 3, pixel_range=pixel_range)  # type: ignore[arg-type]
    clips = torch.rand(32, 3, 1, 16, 16).mul(255).round().div(255).expand(-1, -1, 3, -1, -1)
    batch = Batch(clips, torch.zeros(32, dtype=torch.int64), [*range(32)], [1] * 32, [])
    cpu, config = torch.device("cpu"), CONFIG.replace(rand_augment=9)
    torch.manual_seed(0)
    found = randomly_changed(batch, config, spec, cpu).clips
    following = torch.rand(4)
    torch.manual_seed(0)
    with torch.device("meta"):
        assert torch.equal(randomly_changed(batch, config, spec, cpu).clips, found)
    assert torch.equal(found[:, :, 0], found[:, :, 2])
    assert found.shape == clips.shape and found.dtype == torch.float32
    assert found.min() >= 0 and found.max() <= 1
    assert sum(not torch.equal(*pair) for pair in zip(found, clips, strict=True)) > 16
    bytes_ = clips.mul(255).to(torch.uint8).permute(0, 2, 3, 4, 1)
    torch.manual_seed(0)
    again = randomly_changed(batch._replace(clips=bytes_), config, spec, cpu).clips
    torch.testing.assert_close(again, found)
    assert torch.equal(torch.rand(4), following), "what is drawn afterwards doesn't depend on it"
    assert randomly_changed(batch, CONFIG, spec, cpu) is batch
    persons = batch._replace(boxes=torch.zeros(1, 5))
    assert randomly_changed(persons, config, spec, cpu) is persons
    assert without_effect(config, clips=2, persons=True) == "rand_augment does nothing with boxes of persons."
