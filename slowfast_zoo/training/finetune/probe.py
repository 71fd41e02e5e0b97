"""A linear probe: pooled features of every clip, computed once, and the classifier that fits them best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slowfast_zoo.data.dataset import ClipDataset, name_of
from slowfast_zoo.data.loader import EVALUATION, ItemKey, KeyedItems, load, normalized
from slowfast_zoo.errors import DataError, InputError
from slowfast_zoo.evaluation.evaluate import check_clips
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.network.twin import eval_twin
from slowfast_zoo.runtime.devices import Halving, to_device
from slowfast_zoo.runtime.precision import Precision, autocast
from slowfast_zoo.runtime.progress import shown

PENALTIES = (1e-3, 1e-2, 0.1, 1.0, 10.0)
"""L2 penalties to choose from, on weights of scaled features: features outnumber clips in small data."""
_ITERATIONS = 200


class ProbeFeatures(NamedTuple):
    """What the network sees in the clips of a dataset."""

    features: Tensor
    """float32 (N, num_features): pooled, the mean over a clip's views."""
    targets: Tensor
    """int64 (N,), or float32 (N, classes)."""
    indices: list[int]
    """Which clips of the dataset they belong to; unreadable ones are absent."""


def subset(data: ProbeFeatures, places: Sequence[int]) -> ProbeFeatures:
    """Some rows of the features."""
    rows = torch.as_tensor([*places], dtype=torch.long, device="cpu")
    return ProbeFeatures(data.features[rows], data.targets[rows], [data.indices[place] for place in places])


def probe_features(
    model: SlowFast,
    dataset: ClipDataset,
    *,
    draws: int = 1,
    seed: int = 0,
    max_views: int = 8,
    workers: int = 0,
    device: str | torch.device | None = None,
    precision: Precision = "float32",
    progress: bool = True,
) -> ProbeFeatures:
    """The pooled features of every readable clip, in order, as often as it is looked at.

    Args:
        model: is only read.
        dataset: clips as evaluation has them, or as training does.
        draws: how often each clip is looked at; random clips are others every time.
        seed: of random clips.
        max_views: clips per forward pass; bounds memory.
        workers: processes that read clips.
        device: None: the GPU, or the CPU where there is none.
        precision: of the network's arithmetic.
        progress: show a bar on a terminal and in notebooks, else a line every 30 seconds.

    Raises:
        DataError: none of the clips could be read.
    """
    device = to_device(device)
    twin = eval_twin(model, device)
    keys = [[ItemKey(EVALUATION, draw, index)] for draw in range(draws) for index in range(len(dataset))]
    batches = load(KeyedItems(dataset, seed, keep_errors=True), keys, workers, device)
    rows: list[Tensor] = []
    targets, indices, errors = [], [], []

    def features(clips: Tensor) -> Tensor:
        with autocast(device, precision):
            maps = twin.forward_features(normalized(clips.to(device), twin.clip_spec))
            return twin.forward_head(maps, pre_logits=True).float().cpu()

    compute = Halving(features, max_views)
    with torch.no_grad():
        for batch in shown(batches, "features", len(keys), show=progress):
            errors += batch.errors
            if not batch.indices:
                continue
            if not rows:
                check_clips(model, batch.clips, precision, device)
            rows.append(compute(batch.clips).mean(dim=0))
            targets.append(batch.targets[0])
            indices += batch.indices
    if not rows:
        raise DataError(
            f"None of the {len(dataset)} clips could be read; {name_of(dataset, 0)}: {errors[0][1]}"
        )
    return ProbeFeatures(torch.stack(rows), torch.stack(targets), indices)


def fit_classifier(
    model: SlowFast, data: ProbeFeatures, held_out: ProbeFeatures, penalties: Sequence[float] = PENALTIES
) -> float:
    """Sets the classifier to the one that fits the features best; the L2 penalty that was used comes back.

    Logistic regression, solved rather than stepped. Features are centered and scaled while fitting; that is
    folded into the weights afterwards. Where clips have one label, classes count alike, however many clips
    they have.

    Args:
        model: its classifier is overwritten; ``spec.activation`` decides the loss.
        data: features and targets to fit.
        held_out: of other clips; the penalty with the smallest loss on them is used.
        penalties: to choose from.

    Raises:
        InputError: a model without classifier.
    """
    if not isinstance(model.classifier, nn.Linear):
        raise InputError("The model has no classifier to fit; reset_classifier(num_classes) gives it one.")
    mean = data.features.double().mean(dim=0)
    # One scale for all: features that hardly differ here mustn't decide where clips differ more.
    scale = (data.features - mean).square().mean().sqrt().clamp_min(1e-12)
    inputs = (data.features - mean) / scale
    others = (held_out.features - mean) / scale
    fits = {penalty: _solve(inputs, data.targets, model.spec.num_classes, penalty) for penalty in penalties}
    losses = {p: float(_loss(others @ w.T + b, held_out.targets, None)) for p, (w, b) in fits.items()}
    chosen = min(losses, key=losses.__getitem__)
    weight, bias = fits[chosen]
    folded = weight / scale
    with torch.no_grad():
        model.classifier.weight.copy_(folded)
        model.classifier.bias.copy_(bias - folded @ mean)
    return chosen


def _solve(inputs: Tensor, targets: Tensor, classes: int, penalty: float) -> tuple[Tensor, Tensor]:
    weight, bias = (
        torch.zeros(shape, dtype=torch.float64, device="cpu", requires_grad=True)
        for shape in ((classes, inputs.shape[1]), (classes,))
    )
    chances = None
    if targets.ndim == 1:
        counts = np.bincount(targets.numpy(), minlength=classes)
        chances = torch.from_numpy(np.where(counts > 0, 1 / np.maximum(counts, 1), 0.0))
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=_ITERATIONS, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = _loss(inputs @ weight.T + bias, targets, chances) + penalty * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


def _loss(logits: Tensor, targets: Tensor, chances: Tensor | None) -> Tensor:
    if targets.ndim == 2:
        return F.binary_cross_entropy_with_logits(logits, targets.double())
    return F.cross_entropy(logits, targets, weight=chances)
