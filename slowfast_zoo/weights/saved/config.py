"""``SavedConfig``: everything about a saved model but its tensors, the same record wherever it is written.

It stands as JSON in the header of every safetensors file that this library writes, and as ``config.json`` in
a saved folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slowfast_zoo import __version__
from slowfast_zoo.errors import CheckpointError, InputError, SpecError, did_you_mean, quoted
from slowfast_zoo.network.provenance import as_start
from slowfast_zoo.network.slowfast import SlowFast, check_labels
from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.weights.checkpoint.reading import Checkpoint

HEADER = "slowfast_zoo"
"""The entry of a safetensors file's header that holds the config."""

FORMAT_VERSION = 1
"""Counted up when older libraries would misread what is written."""

RECORD_CHECKSUM = "record_checksum"
"""The entry that covers all others."""

_LARGEST = 1 << 22  # characters of a header, bytes of a config.json; 400 labels take about 10,000


def after_training(provenance: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """What the provenance of a model becomes: these are no longer the weights that the training began with.

    Args:
        provenance: of the model before. Its "recipe" is the one that the training followed.
        training: how it was trained; JSON values.
    """
    before = dict(provenance)
    recipe = {"recipe": before.pop("recipe")} if "recipe" in before else {}
    return as_start(before) | {"training": recipe | dict(training)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedConfig:
    """Everything about a model but its tensors."""

    library_version: str = __version__
    """Version of slowfast_zoo that wrote it."""
    model_spec: ModelSpec
    """The network."""
    clip_spec: ClipSpec
    """Its input."""
    provenance: dict[str, Any]
    """Where the weights come from; JSON values."""
    metrics: dict[str, Any] | None = None
    """What was measured with exactly these weights, or with which an entry "weights" says. It stays with the
    files: a model may be trained on."""
    checksum: str | None = None
    """``checksum`` of the tensors; None: not known."""
    labels: tuple[str, ...] | None
    """Class names in the classifier's order."""

    @staticmethod
    def of(
        model: SlowFast,
        metrics: Mapping[str, Any] | None = None,
        *,
        training: Mapping[str, Any] | None = None,
    ) -> SavedConfig:
        """The config of a model.

        Args:
            model: the model.
            metrics: what was measured with it; None: what its training says.
            training: how the weights were trained; JSON values. None: what the provenance says.

        Raises:
            InputError: metrics that are no mapping, or labels that don't fit the classes.
        """
        provenance = dict(model.provenance)
        if training is not None:
            provenance = after_training(provenance, training)
        trained = provenance.get("training")
        if metrics is None and isinstance(trained, Mapping):
            metrics = trained.get("metrics")
        if not isinstance(metrics, Mapping | None):
            raise InputError(
                f"metrics is {metrics!r:.60}; accepted: a dictionary of names and what was measured."
            )
        return SavedConfig(
            model_spec=model.spec,
            clip_spec=model.clip_spec,
            labels=check_labels(model.labels, model.num_classes),
            provenance=provenance,
            metrics=dict(metrics) if metrics else None,
        )

    def check_tensors(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Refuses a state dict, read from ``path``, that isn't the one that this config was written with.

        Raises:
            CheckpointError: the checksum differs.
        """
        if self.checksum not in (None, checksum(tensors)):
            raise CheckpointError(
                f"'{path}' is damaged, or not the file that its config was written with: the checksum doesn't"
                " fit. Save or fetch it again."
            )

    def to_dict(self) -> dict[str, Any]:
        """The entries, as JSON has them."""
        specs = {"model_spec": self.model_spec.to_dict(), "clip_spec": self.clip_spec.to_dict()}
        return {"format_version": FORMAT_VERSION} | vars(self) | specs

    def to_json(self) -> str:
        """The text of ``config.json`` and of a file's header.

        Raises:
            InputError: the provenance or the metrics hold what JSON can't, or all is longer than can be read.
        """
        try:
            values = self.to_dict()
            values[RECORD_CHECKSUM] = record_checksum(values)
            text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
            size = len(text.encode("utf-8"))
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(
                f"Provenance, metrics and labels are saved as JSON, which can't hold them: {error}."
            ) from error
        if size > _LARGEST:
            raise InputError(
                f"Provenance, metrics and labels take {size} bytes as JSON, and at most {_LARGEST} can be"
                " read back: shorten the class names, or what you added to the provenance."
            )
        return text

    @staticmethod
    def from_json(text: str, path: Path) -> SavedConfig:
        """What ``to_json`` wrote, checked completely.

        Raises:
            CheckpointError: it is damaged, of a newer format, or contradicts itself.
        """
        values = _entries(text, path)
        try:
            spec = ModelSpec.from_dict(values["model_spec"])
            config = SavedConfig(
                model_spec=spec,
                clip_spec=ClipSpec.from_dict(values["clip_spec"]),
                labels=check_labels(values["labels"], spec.num_classes),
                provenance=values["provenance"],
                metrics=values["metrics"],
                checksum=values.get("checksum"),
                library_version=str(values["library_version"]),
            )
        except (SpecError, InputError, TypeError, RecursionError) as error:
            raise CheckpointError(f"'{path}': {error}") from error
        if values.get(RECORD_CHECKSUM) not in (None, record_checksum(values)):
            raise CheckpointError(
                f"'{path}' is damaged: its config isn't what was written, the checksum says. Save or fetch it"
                f" again; a config.json that you edited is read without its entry '{RECORD_CHECKSUM}'."
            )
        return config


def config_in(checkpoint: Checkpoint) -> SavedConfig | None:
    """The config in a file's header; None for a file that this library didn't write.

    Raises:
        CheckpointError: the config is damaged, of a newer format, or contradicts itself.
    """
    text = checkpoint.header.get(HEADER)
    return None if text is None else SavedConfig.from_json(text, checkpoint.path)


def read_config(path: Path) -> SavedConfig:
    """What a ``config.json`` says, checked completely.

    Raises:
        CheckpointError: it is missing, damaged, of a newer format, or contradicts itself.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST + 1).decode("utf-8")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"'{path}' can't be read as JSON: {error}.") from error
    return SavedConfig.from_json(text, path)


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the names, shapes and numbers of a state dict on the CPU as it is read back: as float32."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {list(tensor.shape)}\n".encode())
        numbers = tensor.detach().float() if tensor.is_floating_point() else tensor
        digest.update(numbers.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return f"sha256:{digest.hexdigest()}"


def record_checksum(values: Mapping[str, Any]) -> str:
    """SHA-256 of a config's entries as JSON has them, in whatever order and layout."""
    record = json.loads(json.dumps({name: values[name] for name in values if name != RECORD_CHECKSUM}))
    return f"sha256:{hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()}"


def _entries(text: str, path: Path) -> dict[str, Any]:
    if len(text) > _LARGEST:
        raise CheckpointError(f"'{path}' has a config of over {_LARGEST} characters, which no model has.")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"'{path}' can't be read as JSON: {error}.") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"'{path}' holds a {type(values).__name__} instead of named entries.")
    version = values.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise CheckpointError(
            f"'{path}' has the format_version {version!r:.80}: it wasn't written by save_pretrained."
        )
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"'{path}' has format {version}, written by slowfast_zoo {values.get('library_version')!s:.40};"
            f" this is slowfast_zoo {__version__}, which reads formats up to {FORMAT_VERSION}. Update it."
        )
    known = {"format_version", RECORD_CHECKSUM, *(field.name for field in dataclasses.fields(SavedConfig))}
    for name in values:
        if name not in known:
            raise CheckpointError(f"'{path}' has the unknown entry '{name:.80}'.{did_you_mean(name, known)}")
    if missing := known - values.keys() - {"checksum", RECORD_CHECKSUM}:
        raise CheckpointError(f"'{path}' lacks {quoted(sorted(missing))}.")
    for name, kinds in (
        ("provenance", dict),
        ("metrics", dict | None),
        ("labels", list | None),
        ("checksum", str | None),
        (RECORD_CHECKSUM, str | None),
    ):
        if not isinstance(values.get(name), kinds):
            raise CheckpointError(f"'{path}': '{name}' is {values[name]!r:.80}, another kind of value.")
    return values
