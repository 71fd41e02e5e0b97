"""Training on a GPU: precisions, layouts, memory that runs out, deterministic mode, NCCL in one process."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support import finetune_clips
from support.training_clips import CONFIG, SPEC, Clips, Fixed, log_of, make_model
from torch import distributed

from slowfast_zoo import finetune, train
from slowfast_zoo.data.dataset import VideoDataset
from slowfast_zoo.data.lists import read_annotations
from slowfast_zoo.evaluation.evaluate import evaluate
from slowfast_zoo.runtime.distributed import Processes, join
from slowfast_zoo.training.finetune import recipes, search
from slowfast_zoo.training.finetune.probe import probe_features
from slowfast_zoo.training.state import LAST
from slowfast_zoo.training.train import _distributed
from slowfast_zoo.weights.saved.file import read_file
from slowfast_zoo.weights.saved.hub import from_pretrained

pytestmark = pytest.mark.gpu
LEARNS = CONFIG.replace(epochs=6, batch_size=4, lr=0.05)


def trained(folder: Path, device: torch.device, **changes: Any) -> torch.nn.Module:
    model = make_model(SPEC.replace(dropout=0.0))
    result = train(
        model, Clips(12), LEARNS.replace(**changes), work_dir=folder, device=device, progress=False
    )
    assert result.steps == 18
    losses = [line["loss"] for line in log_of(folder) if line["mode"] == "train"]
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < 0.5 * losses[0], "it has learned"
    return model


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16", "float16"])
@pytest.mark.parametrize("channels_last", [False, True], ids=["channels-first", "channels-last"])
def test_every_precision_learns(
    gpu: torch.device, tmp_path: Path, precision: str, channels_last: bool
) -> None:
    if gpu.type == "cpu" and precision != "float32":
        pytest.skip("a rehearsal without a GPU")
    model = trained(tmp_path, gpu, precision=precision, channels_last=channels_last, deterministic=False)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert next(model.parameters()).device == gpu
    score = evaluate(model, Fixed(6), device=gpu, progress=False)  # type: ignore[arg-type]
    assert score.metrics.keys() >= {"top1_acc"}


def test_cuda_without_a_number(cuda: torch.device, tmp_path: Path) -> None:
    assert join("cuda").device == join(None).device == cuda
    model = make_model()
    train(model, Clips(4), CONFIG.replace(epochs=1), work_dir=tmp_path, device="cuda", progress=False)
    assert next(model.parameters()).device == cuda


def test_float32_follows_the_processor(gpu: torch.device, tmp_path: Path) -> None:
    here, there = trained(tmp_path / "a", torch.device("cpu")), trained(tmp_path / "b", gpu)
    for one, other in zip(here.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(one.detach(), other.detach().cpu(), atol=2e-2, rtol=2e-2)


def test_activations_computed_again_change_nothing(gpu: torch.device, tmp_path: Path) -> None:
    kept = trained(tmp_path / "a", gpu)
    again = trained(tmp_path / "b", gpu, activation_checkpointing=True)
    for one, other in zip(kept.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one.detach(), other.detach(), atol=1e-3, rtol=1e-3)


def test_deterministic_runs_agree(gpu: torch.device, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # max pooling's backward pass has no such form there
        runs = [trained(tmp_path / name, gpu, deterministic=True) for name in "ab"]
    for one, other in zip(runs[0].parameters(), runs[1].parameters(), strict=True):
        torch.testing.assert_close(one.detach(), other.detach(), atol=1e-4, rtol=1e-4)
    assert not torch.are_deterministic_algorithms_enabled()


def test_finetune(gpu: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a few steps: two recipes are compared, batch norms are measured, and the better one learns."""
    monkeypatch.setattr(recipes, "FEWEST_STEPS", 8)
    compared = [recipes.RECIPES[name] for name in ("gentle", "measured")]
    monkeypatch.setattr(search, "candidates", lambda _: compared)
    monkeypatch.setattr(search, "_FEWEST_CLIPS", 8)
    monkeypatch.setattr(search, "_FEWEST_STEPS", 1)
    finetune_clips.without_probe(monkeypatch)
    clips = finetune_clips.make_clips(tmp_path / "clips", {"dark": 6, "light": 6})
    model = finetune_clips.make_model()
    dataset = VideoDataset(read_annotations(clips), finetune_clips.CLIP_SPEC, train=False)
    there, here = (probe_features(model, dataset, device=device, progress=False) for device in (gpu, "cpu"))
    torch.testing.assert_close(there.features, here.features, atol=1e-4, rtol=1e-4)
    result = finetune(
        clips,
        model,
        work_dir=tmp_path / "w",
        config={"batch_size": 4, "workers": 0},
        everything=False,
        keep_clip=True,
        views="quick",
        device=gpu,
        progress=False,
    )
    assert len(result.tried) == 3 and result.probe_metrics["top1_acc"] == 1
    assert result.model is model and next(model.parameters()).device == gpu
    again = from_pretrained(result.model_dir)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor.cpu(), msg=name)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_an_interrupted_training_goes_on(cuda: torch.device, tmp_path: Path, precision: str) -> None:
    config = LEARNS.replace(epochs=2, precision=precision)
    whole, parts = (make_model(SPEC.replace(dropout=0.0)) for _ in range(2))
    train(whole, Clips(12), config, work_dir=tmp_path / "a", device=cuda, progress=False)

    class Stops(Clips):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, Any]:
            if len(self.seen) == 15:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    with pytest.raises(KeyboardInterrupt):
        train(parts, Stops(12), config, work_dir=tmp_path / "b", device=cuda, progress=False)
    result = train(
        parts, Clips(12), config, work_dir=tmp_path / "b", resume=True, device=cuda, progress=False
    )
    assert result.steps == 6
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one.detach(), other.detach(), atol=5e-3, rtol=5e-3)


def test_memory_that_runs_out_makes_smaller_steps(cuda: torch.device, tmp_path: Path) -> None:
    from slowfast_zoo.training.memory import train_within_memory

    class Large(Clips):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, Any]:
            return torch.randn(3, 8, 224, 224), index % 3

    total = torch.cuda.get_device_properties(cuda).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, 2e9 / total), cuda)
    model = make_model(SPEC.replace(base_width=32, num_frames=8))
    result, notes = train_within_memory(
        model,
        Large(64),
        CONFIG.replace(epochs=1, batch_size=64, deterministic=False),
        work_dir=tmp_path,
        validation=None,
        resume=False,
        sample_weights=None,
        device=cuda,
        progress=False,
    )
    assert notes and result.steps == 1


@pytest.fixture
def group(cuda: torch.device) -> Iterator[Processes]:
    distributed.init_process_group("nccl", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        yield join(cuda)
    finally:
        distributed.destroy_process_group()


def test_nccl_with_one_process(group: Processes, tmp_path: Path) -> None:
    trained(tmp_path, group.device)
    pretended = dataclasses.replace(group, world=2)
    assert float(pretended.sum(torch.ones((), device=group.device))) == 1
    model = make_model().to(group.device)
    before = {name: tensor.clone() for name, tensor in model.named_buffers()}
    pretended.share(model.buffers())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.named_buffers())
    network = _distributed(model, group)
    network(torch.randn(2, 3, 4, 32, 32, device=group.device)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def _one_of_two(rank: int, folder: Path, device: str, sync: int) -> None:
    """Gloo, as NCCL refuses two processes on one GPU."""
    distributed.init_process_group("gloo", init_method=(folder / "meeting").as_uri(), rank=rank, world_size=2)
    model = make_model(SPEC.replace(dropout=0.0))
    config = LEARNS.replace(batch_size=2, sync_batch_norms=sync)
    train(model, Clips(12), config, work_dir=folder / "two", device=device, progress=False)
    distributed.destroy_process_group()


def test_norms_that_share_statistics_train_as_one_process_does(cuda: torch.device, tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_one_of_two, (tmp_path, str(cuda), 2), nprocs=2)
    alone = trained(tmp_path / "one", cuda)
    both = read_file(tmp_path / "two" / LAST)
    for name, tensor in alone.state_dict().items():
        torch.testing.assert_close(both.state_dict()[name], tensor.cpu(), atol=1e-3, rtol=1e-3, msg=name)
