"""Batch norm statistics as plain averages over many batches (Precise BN) instead of a moving average, or of
the clips of several processes.

Source: Wu and Johnson 2021, https://arxiv.org/abs/2105.07576, section 3; MMAction2's ``PreciseBNHook``
(https://github.com/open-mmlab/mmaction2) averages per-batch means and unbiased variances in the same way.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slowfast_zoo.data.dataset import ClipDataset
from slowfast_zoo.data.loader import PRECISE_BN, KeyedItems, StepKeys, load, normalized
from slowfast_zoo.errors import TrainingError, counted
from slowfast_zoo.evaluation.evaluate import check_clips
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.runtime.devices import is_out_of_memory
from slowfast_zoo.runtime.distributed import Processes
from slowfast_zoo.runtime.precision import autocast
from slowfast_zoo.training.recipe import TrainConfig

_LOGGER = logging.getLogger(__name__)
_Batch = TypeVar("_Batch")


def update_batch_norms(
    model: nn.Module, batches: Iterable[_Batch], forward: Callable[[_Batch], object]
) -> int:
    """Replaces the statistics of every batch norm that is learning them; the count of batches used.

    Running means become the plain average of the batches' means, running variances that of their unbiased
    variances. Frozen batch norms (in eval mode while the model trains) keep theirs; without batches all do.

    Args:
        model: is in train mode afterwards.
        batches: what ``forward`` takes.
        forward: runs the model on one of them.
    """
    model.train()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]
    norms = [norm for norm in norms if norm.running_mean is not None]
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    device = next(model.parameters()).device
    used = 0
    try:
        with torch.no_grad():
            for batch in batches:
                for norm in norms if used == 0 else ():
                    # torch's momentum None is the cumulative average since the count was 0.
                    count = torch.zeros((), dtype=torch.int64, device=device)
                    norm.momentum, norm.num_batches_tracked = None, count
                forward(batch)
                used += 1
    finally:
        for norm, momentum, tracked in before:
            norm.momentum, norm.num_batches_tracked = momentum, tracked
    return used


def measure_batch_norms(
    model: SlowFast, dataset: ClipDataset, config: TrainConfig, device: torch.device
) -> None:
    """Batch norms get the statistics of random training clips, which training with learning norms shows.

    Args:
        model: is moved to the device and left in the mode that it had.
        dataset: clips as training has them; each is looked at at most once.
        config: batch, seed, precision.
        device: where it is computed.

    Raises:
        ExportError: this processor computes the network wrongly in that precision.
    """
    batch = min(config.batch_size, len(dataset))
    was_training = model.training
    model.to(device)
    tried: set[torch.Size] = set()

    def forward(clips: Tensor) -> None:
        if clips.shape not in tried:
            check_clips(model, clips, config.precision, device)
            tried.add(clips.shape)
        with autocast(device, config.precision):
            model(normalized(clips.to(device), model.clip_spec))

    try:
        while True:
            steps = len(dataset) // batch
            keys = StepKeys(
                len(dataset),
                micro_batch=batch,
                micro_batches=1,
                steps_per_epoch=steps,
                steps=range(steps),
                seed=config.seed,
                stream=PRECISE_BN,
            )
            batches = load(KeyedItems(dataset, config.seed), keys, config.workers, device)
            try:
                update_batch_norms(model, (batch.clips for batch in batches), forward)
                return
            except (RuntimeError, MemoryError) as error:
                if batch == 1 or not is_out_of_memory(error):
                    raise
            # Behind the except block: the traceback kept what filled the memory.
            batch //= 2
            _LOGGER.warning("Out of memory: measuring batch norms with %s at a time.", counted(batch, "clip"))
    finally:
        model.train(was_training)


class _Shared(nn.SyncBatchNorm, nn.BatchNorm3d):
    """What a batch norm of the network is while it shares: to everyone who asks still a ``BatchNorm3d``."""


@contextlib.contextmanager
def shared_batch_norms(model: nn.Module, group: Processes, count: int) -> Iterator[None]:
    """Meanwhile batch norms that learn see the clips of several processes' forward passes together.

    Modules, tensors and their names stay those of the plain network, and are saved as such.

    Args:
        model: on its device.
        group: the processes of the training.
        count: how many of them share with each other, neighbors by rank; 1: none.

    Raises:
        TrainingError: on a CPU, or processes that can't be divided so.
    """
    count = min(count, group.world)
    if count == 1:
        yield
        return
    if group.device.type == "cpu":
        raise TrainingError(
            f"sync_batch_norms is {count}, and torch's batch norms share statistics on GPUs only; on a CPU"
            " leave it at 1 (--set sync_batch_norms=1): each process has its own."
        )
    if group.world % count:
        raise TrainingError(
            f"sync_batch_norms is {count}, which doesn't divide {group.world} processes; accepted: a divisor."
        )
    own = None if count == group.world else distributed.new_subgroups(count)[0]
    norms = [module for module in model.modules() if type(module) is nn.BatchNorm3d]
    try:
        for norm in norms:
            # Modules of their own, as convert_sync_batchnorm makes them, would be left in the model.
            norm.__class__ = _Shared
            norm.process_group = own  # type: ignore[assignment]
        yield
    finally:
        for norm in norms:
            norm.__class__ = nn.BatchNorm3d
            del norm.process_group
