"""``WeightEntry``: everything known about one published checkpoint.

Rows are plain data without torch. The tables live in the modules beside this one, one per publisher,
and are looked up through ``slowfast_zoo.weights.catalog``.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, Literal

from slowfast_zoo.errors import counted
from slowfast_zoo.spec import ClipSpec, ModelSpec, Sampling
from slowfast_zoo.weights.catalog.datasets import Dataset

FileKind = Literal["torch", "caffe2", "safetensors"]
Dialect = Literal["openmmlab", "pyslowfast", "caffe2", "pytorchvideo", "gluoncv", "slowfast_zoo"]
TABLES = ("openmmlab", "pyslowfast", "gluoncv", "detection", "own")
"""The modules beside this one that have ``ROWS``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metrics:
    """What a publisher measured on the validation set of the training data, and how.

    The scores are in percent, and None where the publisher gives none.
    """

    top1: float | None = None
    """Videos whose best-scored class is right."""
    top5: float | None = None
    """Videos whose class is among the five best-scored ones."""
    mean_ap: float | None = None
    """Mean average precision over classes (several labels per video)."""
    views: tuple[int, int]
    """Clips in time and crops in space whose outputs were averaged."""
    sampling: Sampling
    """The rule for frames that the scores belong to; other rules give slightly other scores."""
    protocol: str
    """The test protocol in words."""

    @classmethod
    def measured(
        cls,
        clip_spec: ClipSpec,
        *,
        top1: float | None = None,
        top5: float | None = None,
        mean_ap: float | None = None,
    ) -> Metrics:
        """Scores that were measured exactly as the clip spec says."""
        crops = "center crop" if clip_spec.crops == 1 else f"{clip_spec.crops} crops"
        if clip_spec.crop_rule == "first":
            crops = "left (or top) crop"
        return cls(
            top1=top1,
            top5=top5,
            mean_ap=mean_ap,
            views=(clip_spec.clips, clip_spec.crops),
            sampling=clip_spec.sampling,
            protocol=f"{counted(clip_spec.clips, 'clip')} x {crops} of {clip_spec.test_crop} pixels, "
            f"{clip_spec.aggregate}, {clip_spec.sampling} frames",
        )


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that rows of one publisher have, whatever their classes are."""

    model: str
    """Name of the model in this library."""
    spec: ModelSpec
    parameters: int
    """Learnable ones, with the spec's classes."""

    def replace(self, **changes: Any) -> Network:
        """One of as many parameters, with changes of the spec."""
        return dataclasses.replace(self, spec=self.spec.replace(**changes))

    def entry(self, data: Dataset, *, beside: int = 0, **facts: Any) -> WeightEntry:
        """The row of a file of this network, with a dataset's classes.

        Args:
            data: what it was trained on.
            beside: rows of the file's classifier that are no classes.
            facts: the other fields of ``WeightEntry``.
        """
        rows = data.classes + beside - self.spec.num_classes
        return WeightEntry(
            model=self.model,
            model_spec=data.spec(self.spec),
            data=data,
            parameters=self.parameters + rows * (self.spec.num_features + 1),
            **facts,
        )


def released(version: str) -> str | None:
    """The date (ISO) in what OpenMMLab appends to a file's name, ``_20210218-d8b58813``; None without one."""
    date = re.match(r"_(\d{4})(\d\d)(\d\d)-", version)
    return date and "-".join(date.groups())


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightEntry:
    """One published checkpoint: where it is, what it fits, how to feed it, how good it is."""

    model: str
    """Name of the model in this library."""
    tag: str
    """``publisher/data-recipe``, unique within the model; superseded files end in ``@<hash8>``."""
    urls: tuple[str, ...]
    """Where the publisher keeps the file, best first; empty for a file inside this package."""
    digest: str | None
    """``sha256:<64 hex>``, ``sha256-prefix:<8 hex>`` or ``sha1:<40 hex>``; None: not published."""
    filename: str = ""
    """Name of the file; by default the last part of the first URL."""
    file_kind: FileKind
    """Container of the file, whatever its name ends in."""
    dialect: Dialect
    """Whose parameter names the file uses."""
    model_spec: ModelSpec
    """The network that the file fits."""
    clip_spec: ClipSpec
    """The input that the weights were trained and scored with."""
    data: Dataset
    """What the weights were trained and scored on."""
    metrics: Metrics
    """Published scores."""
    stored_resolution: str | None = None
    """Size in pixels of the videos that were trained on, as published."""
    initialized_from: str | None = None
    """What the training started from; None: from scratch."""
    parameters: int | None = None
    """Learnable parameters of the publisher's network: with a background class where its file has one, which
    isn't read; ``describe`` counts the network that is built."""
    gpus: str | None = None
    """GPUs of the training, as published ("8x4": 32)."""
    gpu_mem_mb: int | None = None
    """Training memory per GPU in MB, as published."""
    videos_per_second: float | None = None
    """Inference speed for all views on one GPU without reading the video, as published."""
    log_url: str | None = None
    """Training log as text."""
    json_url: str | None = None
    """Training log as JSON lines."""
    license: str = "Apache-2.0"
    """License of the publisher's repository; no publisher states another one for the weights."""
    source: str
    """The publisher's page that lists this checkpoint."""
    config_name: str
    """The publisher's own name of the configuration."""
    released: str | None = None
    """Date of the file (ISO), where its name gives one."""
    superseded: bool = False
    """Whether the publisher has replaced the file."""
    note: str = ""
    """What a user should know: renamed files, and where the publisher contradicts himself."""
    hub_repo: str | None = None
    """Hub repository with a converted copy."""
    hub_revision: str | None = None
    """Commit of that repository."""

    def __post_init__(self) -> None:
        if not self.filename and self.urls:
            object.__setattr__(self, "filename", self.urls[0].partition("?")[0].rpartition("/")[2])

    def __repr__(self) -> str:
        return f"WeightEntry({self.model!r}, {self.tag!r}: {self.training_data}, {self.data.classes} classes)"

    @property
    def publisher(self) -> str:
        """The first part of the tag."""
        return self.tag.partition("/")[0]

    @property
    def cache_name(self) -> str:
        """A plain file name that no other row has; publishers give one name to several files."""
        return f"{self.model}.{self.tag.replace('/', '.')}{Path(self.filename).suffix}"

    @property
    def label_set(self) -> str:
        """Name of the class list."""
        return self.data.label_set

    @property
    def training_data(self) -> str:
        """Name of the dataset."""
        return self.data.name

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the classifier's rows."""
        return self.data.labels

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain JSON values, the class names left out."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["data"] = dataclasses.asdict(self.data) | {"scored": list(self.data.scored)}
        values["urls"] = list(self.urls)
        values["model_spec"] = self.model_spec.to_dict()
        values["clip_spec"] = self.clip_spec.to_dict()
        values["metrics"] = dataclasses.asdict(self.metrics) | {"views": list(self.metrics.views)}
        return values
