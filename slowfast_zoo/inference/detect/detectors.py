"""Persons in a picture: torchvision's detectors, with weights that are fetched and verified like our own."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import PurePosixPath
from typing import Any, get_args

import torch
from torch import Tensor, nn

from slowfast_zoo.errors import CheckpointError, UnknownNameError, did_you_mean, quoted
from slowfast_zoo.inference.detect import DetectorName
from slowfast_zoo.runtime.precision import float32_products
from slowfast_zoo.video.decoding.video import Frame
from slowfast_zoo.weights.download.download import Fetched, fetch

_LOGGER = logging.getLogger(__name__)

PERSON = 1
"""The class of persons among COCO's, as torchvision numbers them."""


@dataclasses.dataclass(frozen=True)
class PublishedDetector:
    """A network of torchvision's and its file.

    Source: the ``*_Weights`` of https://github.com/pytorch/vision, ``torchvision/models/detection``.
    """

    builder: str
    """Its function in ``torchvision.models.detection``."""
    url: str
    """The publisher's; the name ends with the first digits of the file's SHA-256."""

    @property
    def filename(self) -> str:
        """Of the file, at the publisher's and in the cache."""
        return PurePosixPath(self.url).name

    @property
    def digest(self) -> str:
        """What the name says of the file's content."""
        return f"sha256-prefix:{self.filename.removesuffix('.pth').rpartition('-')[2]}"

    def fetch(self, *, progress: bool = True) -> Fetched:
        """The verified file; arguments and errors as ``download.fetch``."""
        return fetch((self.url,), filename=self.filename, digest=self.digest, progress=progress)


DETECTORS: dict[str, PublishedDetector] = {
    "person-fast": PublishedDetector(
        "fasterrcnn_mobilenet_v3_large_fpn",
        "https://download.pytorch.org/models/fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth",
    ),
    "person-strong": PublishedDetector(
        "fasterrcnn_resnet50_fpn_v2",
        "https://download.pytorch.org/models/fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth",
    ),
}
"""What they cost and score: docs/detection.md."""


class PersonDetector:
    """A function of a frame, as ``person_boxes`` takes it: uint8 RGB (H, W, 3) to boxes, scores and labels.

    Attributes:
        name: "person-fast" or "person-strong".

    Args:
        name: "person" takes the fast one on processors and the strong one elsewhere.
        device: where to compute.
        progress: whether a download shows a bar.

    Raises:
        UnknownNameError: no such detector.
        DownloadError, OfflineError: its file isn't there and can't be fetched.
        CheckpointError: the file isn't one of that network.
    """

    def __init__(self, name: DetectorName, device: torch.device, *, progress: bool = True) -> None:
        self.name = detector_for(name, device)
        self._device = device
        published = DETECTORS[self.name]
        fetched = published.fetch(progress=progress)
        _LOGGER.info("Persons are found by torchvision's %s.", published.builder)
        self._network = _built(published, str(fetched.path)).to(device)

    @torch.inference_mode()
    def __call__(self, frame: Frame) -> dict[str, Tensor]:
        """ "boxes" float32 (n, 4) in pixels, "scores" (n,), "labels" (n,): COCO's classes, persons 1."""
        picture = torch.from_numpy(frame).to(self._device).permute(2, 0, 1).float() / 255
        with float32_products("float32", self._device):
            found: dict[str, Tensor] = self._network([picture])[0]
        return found


def detector_for(name: str, device: torch.device) -> str:
    """The detector that a name stands for on a device.

    Raises:
        UnknownNameError: no such detector.
    """
    accepted = get_args(DetectorName)
    if not isinstance(name, str) or name not in accepted:
        near = did_you_mean(str(name), accepted)
        raise UnknownNameError(
            f"There is no detector {name!r:.60}.{near} Accepted: {quoted(accepted)}; a function of a frame,"
            " or what another detector found, is boxes=."
        )
    if name == "person":
        return "person-fast" if device.type == "cpu" else "person-strong"
    return name


def _built(published: PublishedDetector, path: str) -> nn.Module:
    """The network with the file's weights, in eval mode, built as torchvision builds a trained one."""
    import pickle

    from torchvision.models import detection
    from torchvision.ops import FrozenBatchNorm2d

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        counted = any(key.endswith("num_batches_tracked") for key in state)
    except (RuntimeError, ValueError, TypeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"'{path}' can't be read as {published.builder}'s weights: {reason}") from error
    with torch.device("meta"):  # drawing weights that are thrown away takes longer than everything else
        network: nn.Module = getattr(detection, published.builder)(
            weights=None, weights_backbone=None, num_classes=91
        )
    if not counted:
        _freeze_norms(network, FrozenBatchNorm2d)
    try:
        network.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        lines = " ".join(str(error).split())
        raise CheckpointError(f"'{path}' isn't a file of {published.builder}: {lines:.300}") from error
    return network.eval()


def _freeze_norms(module: nn.Module, frozen: Any) -> None:
    """Batch norms as torchvision has them in networks whose files don't count batches."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, frozen(child.num_features, child.eps))
        else:
            _freeze_norms(child, frozen)
