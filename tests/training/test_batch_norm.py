"""Precise BN is what plain averages give; batch norms that share statistics stay those of the network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.small_nets import weights_of
from support.training_clips import CONFIG, SPEC, Fixed, assert_same, make_model
from torch import Tensor, nn

from slowfast_zoo.data.loader import PRECISE_BN, StepKeys
from slowfast_zoo.errors import TrainingError
from slowfast_zoo.runtime.distributed import Processes
from slowfast_zoo.training.batch_norm import shared_batch_norms, update_batch_norms
from slowfast_zoo.training.train import train


def test_precise_bn_is_the_plain_average_over_the_batches() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.ReLU(), nn.BatchNorm3d(4, momentum=0.3))
    frozen = nn.BatchNorm3d(4)
    net.append(frozen)
    net.train = lambda mode=True: (nn.Module.train(net, mode), frozen.eval())[0]  # type: ignore[method-assign]
    batches = [torch.randn(2, 3, 2, 5, 5) * scale + scale for scale in (1, 2, 5)]
    inputs: list[list[Tensor]] = [[], []]
    for batch in batches:
        x = net[0](batch)
        inputs[0].append(x)
        mean, var = x.mean((0, 2, 3, 4)), x.var((0, 2, 3, 4), unbiased=False)
        normed = (x - mean.view(-1, 1, 1, 1)) / (var.view(-1, 1, 1, 1) + 1e-5).sqrt()
        inputs[1].append(normed.relu())
    assert update_batch_norms(net, batches, net) == 3
    for norm, seen in zip((net[1], net[3]), inputs, strict=True):
        means = torch.stack([x.mean((0, 2, 3, 4)) for x in seen]).mean(0)
        variances = torch.stack([x.var((0, 2, 3, 4), unbiased=True) for x in seen]).mean(0)
        torch.testing.assert_close(norm.running_mean, means, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(norm.running_var, variances, atol=1e-6, rtol=1e-5)
    assert (net[1].momentum, net[3].momentum) == (0.1, 0.3)
    assert torch.equal(frozen.running_mean, torch.zeros(4)), "a frozen norm keeps its statistics"
    before = weights_of(net)
    assert update_batch_norms(net, [], net) == 0
    assert_same(weights_of(net), before)


def test_precise_bn_of_a_training_reads_the_training_batches(tmp_path: Path) -> None:
    model = make_model(SPEC.replace(dropout=0.0))
    config = CONFIG.replace(epochs=1, batch_size=4, precise_bn_batches=2)
    train(model, Fixed(8), config, work_dir=tmp_path)
    keys = StepKeys(
        8, micro_batch=4, micro_batches=1, steps_per_epoch=2, steps=range(2), seed=0, stream=PRECISE_BN
    )
    model.train()
    expected = []
    for batch in keys:
        clips = torch.stack([Fixed(8)[key.item][0] for key in batch])
        expected.append(model.fast.stem.conv(clips).mean((0, 2, 3, 4)))
    torch.testing.assert_close(
        model.fast.stem.norm.running_mean, torch.stack(expected).mean(0), atol=1e-6, rtol=1e-5
    )


def test_norms_share_meanwhile_and_are_plain_again() -> None:
    model, clip = make_model().eval(), torch.randn(1, 3, 4, 32, 32)
    before, answer = weights_of(model), model(clip)
    with pytest.raises(KeyError), shared_batch_norms(model, Processes(0, 2, torch.device("cuda")), 8):
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm3d)]
        assert norms and all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
        assert_same(weights_of(model), before)
        assert torch.equal(model(clip), answer)
        raise KeyError
    assert {type(norm) for norm in norms} == {nn.BatchNorm3d}
    assert norms[0].__dict__.keys() == nn.BatchNorm3d(1).__dict__.keys()
    for world, count in ((1, 4), (4, 1)):
        with shared_batch_norms(model, Processes(0, world, torch.device("cpu")), count):
            assert type(norms[0]) is nn.BatchNorm3d


@pytest.mark.parametrize(
    ("device", "world", "words"),
    [
        ("cpu", 2, "share statistics on GPUs only; on a CPU leave it at 1"),
        ("cuda", 6, "doesn't divide 6 proc"),
    ],
)
def test_norms_that_cant_share_say_so(device: str, world: int, words: str) -> None:
    group = Processes(0, world, torch.device(device))
    with pytest.raises(TrainingError, match=words), shared_batch_norms(make_model(), group, 4):
        pass
