"""What learns how fast; and the average of weights: what it is, and that it goes on exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.small_nets import weights_of
from support.training_clips import CONFIG, Clips, assert_same, make_model
from torch import nn

from slowfast_zoo.training.optimizer import WeightAverage, make_optimizer
from slowfast_zoo.training.recipe import TrainConfig
from slowfast_zoo.training.train import train
from slowfast_zoo.weights.saved.file import read_file


def test_earlier_stages_learn_more_slowly_where_that_is_wanted() -> None:
    model = make_model()
    optimizer = make_optimizer(model, TrainConfig(layer_decay=0.5))
    scales = {id(p): group["scale"] for group in optimizer.param_groups for p in group["params"]}
    found = {name: scales[id(parameter)] for name, parameter in model.named_parameters()}
    assert optimizer.param_groups[0]["scale"] == found["classifier.weight"] == 1
    assert found["slow.stage4.0.conv1.weight"] == 0.5
    assert found["fast.stage1.0.norm1.weight"] == found["laterals.1.conv.weight"] == 0.5**4
    assert found["slow.stem.conv.weight"] == found["laterals.0.conv.weight"] == 0.5**5


def test_batch_norms_have_their_own_weight_decay() -> None:
    model = make_model()
    optimizer = make_optimizer(model, TrainConfig(weight_decay=0.1, norm_weight_decay=0.0))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay[id(model.slow.stem.norm.weight)] == decay[id(model.slow.stem.norm.bias)] == 0
    assert decay[id(model.slow.stem.conv.weight)] == decay[id(model.classifier.bias)] == 0.1
    assert len(decay) == len(list(model.parameters()))


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
