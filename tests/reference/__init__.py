"""What the publishers' own networks computed, as files: names, shapes and outputs.

``make.py`` writes the two files by running the released peers; ``seeded.py`` makes the weights and
clips that both sides compute with. Nothing here needs a peer.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import lzma
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NETWORKS_FILE = Path(__file__).with_name("networks.json.xz")
OUTPUTS_FILE = Path(__file__).with_name("outputs.npz")


@dataclasses.dataclass(frozen=True)
class Case:
    """One run of a peer: the clip that it saw and how its head pooled."""

    batch: int
    frames: int
    height: int
    width: int
    window: int | None = None
    """Side of the head's pooling window in cells; None where the whole map is averaged."""
    boxes: tuple[tuple[float, ...], ...] = ()
    """Of persons: index in the batch, x1, y1, x2, y2 in pixels; none for a network that classifies clips."""

    @property
    def name(self) -> str:
        """Readable and unique within a network: "1x32x256x256-window7"."""
        window = "" if self.window is None else f"-window{self.window}"
        boxes = f"-boxes{len(self.boxes)}" if self.boxes else ""
        return f"{self.batch}x{self.frames}x{self.height}x{self.width}{window}{boxes}"


@dataclasses.dataclass(frozen=True)
class Reference:
    """A peer's network: its state dict in order, and the cases that it was run on."""

    name: str
    """Publisher and network: "mmaction2/r50_4x16x1"."""
    peer: str
    """What computed the outputs: package and version."""
    parameters: int
    """Learnable values, as the peer counts them."""
    shapes: dict[str, tuple[int, ...]]
    """The peer's state-dict keys in its own order."""
    cases: tuple[Case, ...]
    gain: float = 1
    """Variance of the seeded weights, as ``seeded_state_dict`` takes it."""

    def output(self, case: Case) -> NDArray[np.float32]:
        """Logits (batch or boxes, classes); where the peer gives probabilities, their logarithm or logit."""
        return _outputs()[f"{self.name}/{case.name}"]


@functools.cache
def references() -> dict[str, Reference]:
    """Every stored network by name."""
    stored = json.loads(lzma.decompress(NETWORKS_FILE.read_bytes()))
    return {
        name: Reference(
            name=name,
            peer=entry["peer"],
            parameters=entry["parameters"],
            shapes={key: tuple(shape) for key, shape in entry["shapes"].items()},
            cases=tuple(
                Case(**case | {"boxes": tuple(map(tuple, case.get("boxes", ())))}) for case in entry["cases"]
            ),
            gain=entry.get("gain", 1),
        )
        for name, entry in stored.items()
    }


@functools.cache
def _outputs() -> dict[str, NDArray[np.float32]]:
    with np.load(OUTPUTS_FILE) as arrays:
        return dict(arrays)
