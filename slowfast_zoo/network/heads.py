"""Heads: from the last maps of both pathways to logits.

A head is chosen by the spec and holds no parameters: its layers belong to the network, which keeps them under
the head's own names, so that the names in the state dict don't depend on where the arithmetic stands. Another
head is another class here and a line in ``head_of``.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slowfast_zoo.spec import Activation, ModelSpec


class Layers(Protocol):
    """What a head uses of the network that it belongs to."""

    training: bool
    dropout: nn.Module
    classifier: nn.Module


class ClipHead:
    """One answer for the clip: pooling over time and space, dropout, one linear layer.

    Args:
        spec: the network's.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    def layers(self) -> dict[str, nn.Module]:
        """Fresh layers, by their names in the network; ``init_classifier`` draws their weights."""
        spec = self.spec
        classifier = nn.Linear(spec.num_features, spec.num_classes) if spec.num_classes else nn.Identity()
        return {"dropout": nn.Dropout(spec.dropout), "classifier": classifier}

    def forward(self, features: tuple[Tensor, Tensor], network: Layers, *, pre_logits: bool) -> Tensor:
        """Logits ``(B, num_classes)``, or pooled features ``(B, num_features)``.

        Args:
            features: slow map ``(B, C, T/alpha, h, w)`` and fast map ``(B, C', T, h, w)``.
            network: has the layers, and says whether it trains.
            pre_logits: return the pooled features.
        """
        spec = self.spec
        pooled = torch.cat([_pool(feature, spec.head_window) for feature in features], dim=1)
        if pre_logits or spec.head_pool != "window_probs" or network.training:
            pooled = pooled.mean(dim=2)  # a linear layer commutes with the mean over places
            return pooled if pre_logits else network.classifier(network.dropout(pooled))
        return _log_mean_probability(network.classifier(pooled.transpose(1, 2)), spec.activation)


def head_of(spec: ModelSpec) -> ClipHead:
    """The head that a network of that spec has."""
    return ClipHead(spec)


def init_classifier(classifier: nn.Module) -> None:
    """Draws a classifier's weights; nothing happens to a head without one, or on the meta device."""
    if isinstance(classifier, nn.Linear) and not classifier.weight.is_meta:
        nn.init.normal_(classifier.weight, std=0.01)
        nn.init.zeros_(classifier.bias)


def _pool(feature: Tensor, window: int | None) -> Tensor:
    """``(B, C, T, h, w)`` averaged over time and space, or over time and each window: ``(B, C, places)``."""
    if window is None:
        return feature.mean(dim=(2, 3, 4)).unsqueeze(2)
    return F.avg_pool2d(feature.mean(dim=2), window, stride=1).flatten(2)


def _log_mean_probability(logits: Tensor, activation: Activation) -> Tensor:
    """Logits ``(B, places, classes)`` as those ``(B, classes)`` whose probabilities are the places' mean."""
    if activation == "softmax":  # the outer log_softmax divides by the number of places
        return torch.logsumexp(logits.log_softmax(dim=2), dim=1).log_softmax(dim=1)
    # -softplus(-x) is logsigmoid(x), which ONNX lacks: exported as log(sigmoid(x)) it becomes infinite.
    return torch.logsumexp(-F.softplus(-logits), dim=1) - torch.logsumexp(-F.softplus(logits), dim=1)
