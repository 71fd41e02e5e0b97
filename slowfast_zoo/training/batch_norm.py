"""Precise BN: batch norm statistics as plain averages over many batches, instead of a moving average.

Source: Wu and Johnson 2021, https://arxiv.org/abs/2105.07576, section 3; MMAction2's ``PreciseBNHook``
(https://github.com/open-mmlab/mmaction2) averages per-batch means and unbiased variances in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def update_norms(model: nn.Module, batches: Iterable[Tensor], forward: Callable[[Tensor], object]) -> int:
    """Replaces the statistics of every batch norm that is learning them; the count of batches used.

    Running means become the plain average of the batches' means, running variances that of their unbiased
    variances. Frozen batch norms (in eval mode while the model trains) keep theirs; without batches all do.

    Args:
        model: is in train mode afterwards.
        batches: clips ``(B, C, T, H, W)`` for ``forward``.
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
            for clips in batches:
                for norm in norms if used == 0 else ():
                    # torch's momentum None is the cumulative average since the count was 0.
                    count = torch.zeros((), dtype=torch.int64, device=device)
                    norm.momentum, norm.num_batches_tracked = None, count
                forward(clips)
                used += 1
    finally:
        for norm, momentum, tracked in before:
            norm.momentum, norm.num_batches_tracked = momentum, tracked
    return used
