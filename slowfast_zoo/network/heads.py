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

from slowfast_zoo.network.pathway import Block
from slowfast_zoo.network.structure import is_plain, is_product
from slowfast_zoo.spec import Activation, ModelSpec, RoiSpec

_BOXES_AT_ONCE = {"plain": 256, "acrn": 32}
"""Boxes whose maps are in memory together while nothing learns: 150 MB; a relation network keeps a map of the
whole frame for each."""


class Layers(Protocol):
    """What a head uses of the network that it belongs to."""

    training: bool
    dropout: nn.Module
    classifier: nn.Module

    @property
    def acrn(self) -> Acrn: ...


class Head(Protocol):
    """From the last maps of both pathways to logits."""

    def layers(self) -> dict[str, nn.Module]:
        """Fresh layers, by their names in the network."""

    def forward(
        self, features: tuple[Tensor, Tensor], network: Layers, *, pre_logits: bool, boxes: Tensor | None
    ) -> Tensor:
        """Logits, or pooled features.

        Args:
            features: slow map ``(B, C, T/alpha, h, w)`` and fast map ``(B, C', T, h, w)``.
            network: has the layers, and says whether it trains.
            pre_logits: return the pooled features.
            boxes: ``(N, 5)`` for a head that takes them.
        """


class ClipHead:
    """One answer for the clip: pooling over time and space, dropout, one linear layer.

    Args:
        spec: the network's.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    def layers(self) -> dict[str, nn.Module]:
        return last_layers(self.spec)

    def forward(
        self, features: tuple[Tensor, Tensor], network: Layers, *, pre_logits: bool, boxes: Tensor | None
    ) -> Tensor:
        """Logits ``(B, num_classes)``, or pooled features ``(B, num_features)``."""
        spec = self.spec
        pooled = torch.cat([_pool(feature, spec.head_window) for feature in features], dim=1)
        if pre_logits or spec.head_pool != "window_probs" or network.training:
            pooled = pooled.mean(dim=2)  # a linear layer commutes with the mean over places
            return pooled if pre_logits else network.classifier(network.dropout(pooled))
        return _log_mean_probability(network.classifier(pooled.transpose(1, 2).contiguous()), spec.activation)


class RoiHead:
    """An answer for each box: pooling over time, RoIAlign, the largest value of each channel, a linear layer.

    Args:
        spec: the network's.
        roi: its part about this head.
    """

    def __init__(self, spec: ModelSpec, roi: RoiSpec) -> None:
        self.spec, self.roi = spec, roi

    def layers(self) -> dict[str, nn.Module]:
        relation = {"acrn": Acrn(self.spec.map_features)} if self.roi.acrn else {}
        return relation | last_layers(self.spec)

    def forward(
        self, features: tuple[Tensor, Tensor], network: Layers, *, pre_logits: bool, boxes: Tensor | None
    ) -> Tensor:
        """Logits ``(N, num_classes)``, or pooled features ``(N, num_features)``."""
        assert boxes is not None
        return self.scores(self.frame(features), network, boxes, pre_logits=pre_logits)

    def frame(self, features: tuple[Tensor, Tensor]) -> Tensor:
        """What boxes don't change: both maps together, pooled over time ``(B, C, h, w)``."""
        return torch.cat([self._pool(feature) for feature in features], dim=1)

    def scores(self, frame: Tensor, network: Layers, boxes: Tensor, *, pre_logits: bool) -> Tensor:
        """``forward`` of what ``frame`` gives."""
        boxes = boxes.to(frame.device)
        parts = [boxes]
        in_graph = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        in_graph = in_graph or not isinstance(boxes, Tensor)  # a proxy of torchvision's feature extraction
        if not (in_graph or torch.is_grad_enabled() or network.training):
            parts = list(torch.split(boxes, _BOXES_AT_ONCE["acrn" if self.roi.acrn else "plain"]))
        pooled = torch.cat([self._features(frame, part, network) for part in parts])
        return pooled if pre_logits else network.classifier(network.dropout(pooled))

    def _pool(self, feature: Tensor) -> Tensor:
        """``(B, C, T, h, w)`` to ``(B, C, h, w)``."""
        return feature.mean(dim=2) if self.roi.temporal_pool == "mean" else feature.amax(dim=2)

    def _features(self, frame: Tensor, boxes: Tensor, network: Layers) -> Tensor:
        """``(N, num_features)`` of both maps together, pooled over time ``(B, C, h, w)``."""
        roi, index = self.roi, boxes[:, 0].long()
        person = self._align(frame, boxes).amax(dim=(2, 3))
        if roi.acrn:
            person = network.acrn(person, frame, index).amax(dim=(2, 3))
        if roi.context:
            context = F.adaptive_avg_pool2d(frame, roi.output_size).amax(dim=(2, 3))
            person = torch.cat([person, context.index_select(0, index)], dim=1)
        return person

    def _align(self, frame: Tensor, boxes: Tensor) -> Tensor:
        """``(N, C, size, size)``; in float32 at least, since half precision can't tell pixels apart."""
        from torchvision.ops import roi_align

        dtype = torch.promote_types(frame.dtype, torch.float32)
        aligned: Tensor = roi_align(
            frame.to(dtype),
            boxes.to(dtype),
            self.roi.output_size,
            1 / self.spec.pixels_per_cell,
            self.roi.sampling_ratio,
            self.roi.aligned,
        )
        return aligned.to(frame.dtype)


class Acrn(Block):
    """Relates each person to every place of the frame: two convolutions of both.

    The first one sees the person's features beside the frame's at every place. It is linear, so that it is
    computed once for the person and once for the frame, and summed.

    Source: Sun et al. 2018, https://arxiv.org/abs/1807.10982, as MMAction2's ``ACRNHead`` builds it.

    Args:
        channels: of the frame's map, and of a person's features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(2 * channels, channels, 1, bias=False)
        self.norm1 = nn.BatchNorm3d(channels)
        self.conv2 = nn.Conv3d(channels, channels, (1, 3, 3), padding=(0, 1, 1), bias=False)
        self.norm2 = nn.BatchNorm3d(channels)
        self.relu = nn.ReLU(inplace=True)

    def conv_norm_pairs(self) -> list[tuple[str, str]]:
        return [("conv1", "norm1"), ("conv2", "norm2")]

    def forward(self, persons: Tensor, frame: Tensor, index: Tensor) -> Tensor:
        """``(N, C, h, w)`` of persons ``(N, C)``, frames ``(B, C, h, w)`` and each one's frame ``(N,)``."""
        conv = self.conv1
        if is_plain(conv, nn.Conv3d) and is_product(conv) and conv.stride == (1, 1, 1):
            of_person, of_frame = conv.weight.chunk(2, dim=1)
            seen = F.conv3d(frame.unsqueeze(2), of_frame, conv.bias).index_select(0, index)
            related = seen + F.linear(persons, of_person.flatten(1))[:, :, None, None, None]
        else:  # an adapter, hooks, or a convolution of another kind
            frames = frame.index_select(0, index)
            everywhere = persons[:, :, None, None].expand_as(frames)
            related = conv(torch.cat([everywhere, frames], dim=1).unsqueeze(2))
        out = self.relu(self.norm1(related))
        out = self.relu(self.norm2(self.conv2(out)))
        return out.squeeze(2)  # type: ignore[no-any-return]


def head_of(spec: ModelSpec) -> Head:
    """The head that a network of that spec has."""
    return ClipHead(spec) if spec.roi is None else RoiHead(spec, spec.roi)


def last_layers(spec: ModelSpec) -> dict[str, nn.Module]:
    """What every head ends with; ``init_classifier`` draws the classifier's weights."""
    classifier = nn.Linear(spec.num_features, spec.num_classes) if spec.num_classes else nn.Identity()
    return {"dropout": nn.Dropout(spec.dropout), "classifier": classifier}


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
