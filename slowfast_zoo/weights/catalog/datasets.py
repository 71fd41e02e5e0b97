"""The datasets that weights were trained on: their classes, and what a network's last layer means."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from slowfast_zoo.spec import Activation, ModelSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """One dataset; rows of the catalog name it, nothing is told by a number of classes."""

    name: str
    """As its publisher writes it."""
    label_set: str
    """File name of the class list."""
    classes: int
    """How many there are."""
    activation: Activation = "softmax"
    """"sigmoid" where a video may have several classes."""
    scored: tuple[int, ...] = ()
    """Indices of the classes that the dataset's own score is the mean of; none: all of them."""
    labels_sha256: str
    """Of the class names in their order, joined by line feeds."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the classifier's rows."""
        return label_set_names(self.label_set)

    def labels_are_whole(self) -> bool:
        """Whether the class list is the one that was packed, in its order."""
        import hashlib

        return hashlib.sha256("\n".join(self.labels).encode()).hexdigest() == self.labels_sha256

    def spec(self, network: ModelSpec) -> ModelSpec:
        """A network with this dataset's last layer."""
        return network.replace(num_classes=self.classes, activation=self.activation)


@functools.cache
def label_set_names(label_set: str) -> tuple[str, ...]:
    """Class names of a label set, in order."""
    path = Path(__file__).parent / "labels" / f"{label_set}.txt"
    return tuple(path.read_text(encoding="utf-8").splitlines())


KINETICS400 = Dataset(
    name="Kinetics-400",
    label_set="kinetics400",
    classes=400,
    labels_sha256="a8dafb93a1204d4ecfa904f943ce5ee0c62ddeeb1df71aa1f96983fca17d777e",
)
SSV1 = Dataset(
    name="Something-Something V1",
    label_set="something_something_v1",
    classes=174,
    labels_sha256="28d842f1129a9320282494463f0e7bc09bf05ad9e06adab157a8f27e34466d87",
)
SSV2 = Dataset(
    name="Something-Something V2",
    label_set="something_something_v2",
    classes=174,
    labels_sha256="a31a2ad624a558d609762c50f4d5d4778246d3ace6717cf24b993b0bf2d9a68b",
)
CHARADES = Dataset(
    name="Charades",
    label_set="charades",
    classes=157,
    activation="sigmoid",
    labels_sha256="65ff41554443bff48a73a0edfa032531f91c06ed1873057301b9cd16116ae543",
)
# AVA's actions are numbered from 1, and column i is action i + 1. All 80 are trained; the official list for
# the score (ava_action_list_v2.2_for_activitynet_2019.pbtxt) has 60 of them.
_NOT_SCORED = (2, 16, 18, 19, 21, 23, 25, 31, 32, 33, 35, 39, 40, 42, 44, 50, 53, 55, 71, 75)
AVA21 = Dataset(
    name="AVA 2.1",
    label_set="ava",
    classes=80,
    activation="sigmoid",
    scored=tuple(action - 1 for action in range(1, 81) if action not in _NOT_SCORED),
    labels_sha256="04d5a6fb1a911f5d68876f327ac752d38f42fe5ec90d32305ce4dbb728ae1766",
)
AVA22 = dataclasses.replace(AVA21, name="AVA 2.2")
AVA21_16 = Dataset(
    name="AVA 2.1, 16 classes",
    label_set="ava_16",
    classes=16,
    activation="sigmoid",
    labels_sha256="7dc57c6f98b20b1e0b75968eac9180c85b03dcef8991722a3031f7f620a7fd47",
)
MULTISPORTS = Dataset(
    name="MultiSports",
    label_set="multisports",
    classes=66,
    labels_sha256="b62bee87ed61158e1b3351857c838cb46d7ef64470b659ce77125feb15e3a64c",
)
ACTIONS = Dataset(
    name="actions (procedural)",
    label_set="actions",
    classes=43,
    activation="sigmoid",
    labels_sha256="57ef29c1d662462723635920a00290affa887e74aa84671cd35e45e7d9c5eb4e",
)
CAMERA_MOTION = Dataset(
    name="camera motion (procedural)",
    label_set="camera_motion",
    classes=10,
    labels_sha256="187da0b921c5dff47f3c7dd09544e4a74617368bbc56c01f82b5e769b9431d27",
)
