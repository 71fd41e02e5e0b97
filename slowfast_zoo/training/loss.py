"""What a training makes smaller: cross entropy for one label, binary cross entropy for several, or focal."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from slowfast_zoo.spec import Activation
from slowfast_zoo.training.augmentation import Mix
from slowfast_zoo.training.recipe import TrainConfig


def loss_of(
    logits: Tensor, targets: Tensor, activation: Activation, config: TrainConfig, mix: Mix | None = None
) -> Tensor:
    """The mean loss, a scalar; 0 where there is nothing to learn from, as in a clip without persons.

    Args:
        logits: (N, classes); a row is a clip, or a person.
        targets: classes int64 (N,) with softmax, zeros and ones float32 (N, classes) with sigmoid.
        activation: of the network; decides which loss it is.
        config: ``label_smoothing``, ``focal_alpha`` and ``focal_gamma``.
        mix: how the clips were mixed; losses are, in the same way.

    Source: ``BBoxHeadAVA`` of MMAction2 (https://github.com/open-mmlab/mmaction2) for the focal variant.
    """
    if mix is not None:
        own, others = (
            loss_of(logits, wanted, activation, config) for wanted in (targets, targets[mix.partners])
        )
        return mix.part * own + (1 - mix.part) * others
    if not len(logits):
        return logits.sum()
    if activation == "softmax":
        return F.cross_entropy(logits, targets, label_smoothing=config.label_smoothing)
    losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if config.focal_gamma:
        # The slope of a power below 1 is infinite at 0, where a class is surely right.
        losses = losses * (1 - (-losses).exp()).clamp_min(1e-12) ** config.focal_gamma
    return config.focal_alpha * losses.mean()
