"""A saved model as a folder: ``model.safetensors``, ``config.json``, and a ``README.md`` for people.

``config.json`` is written last, so a folder that has one is complete.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from slowfast_zoo import __version__
from slowfast_zoo.errors import CheckpointError, DownloadError, InputError, SpecError, did_you_mean, quoted
from slowfast_zoo.network.slowfast import SlowFast, check_labels
from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.weights.checkpoint.loading import read_canonical
from slowfast_zoo.weights.checkpoint.reading import read_checkpoint
from slowfast_zoo.weights.saved.card import FOLDER_SOURCE, model_card
from slowfast_zoo.weights.saved.conversion import save_canonical

FORMAT_VERSION = 1
"""Counted up when older libraries would misread what is written."""

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"

_LARGEST_CONFIG = 1 << 24  # bytes; 400 labels take about 10,000


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedConfig:
    """Everything about a model but its tensors."""

    model_spec: ModelSpec
    """The network."""
    clip_spec: ClipSpec
    """Its input."""
    labels: tuple[str, ...] | None
    """Class names in the classifier's order."""
    provenance: dict[str, Any]
    """Where the weights come from; JSON values."""
    metrics: dict[str, Any] | None = None
    """What was measured with exactly these weights. It stays with the files: a model may be trained on."""
    library_version: str = __version__
    """Version of slowfast_zoo that wrote the folder."""

    @staticmethod
    def of(model: SlowFast, metrics: Mapping[str, Any] | None = None) -> SavedConfig:
        """The config of a model; without ``metrics`` those of a training that its provenance tells of.

        Raises:
            InputError: as many labels as there are not classes.
        """
        training = model.provenance.get("training")
        if metrics is None and isinstance(training, Mapping):
            metrics = training.get("metrics")
        return SavedConfig(
            model_spec=model.spec,
            clip_spec=model.clip_spec,
            labels=check_labels(model.labels, model.spec.num_classes),
            provenance=dict(model.provenance),
            metrics=dict(metrics) if metrics else None,
        )

    def to_json(self) -> str:
        """The text of ``config.json``.

        Raises:
            InputError: the provenance or the metrics hold what JSON can't.
        """
        values = {
            "format_version": FORMAT_VERSION,
            "library_version": self.library_version,
            "model_spec": self.model_spec.to_dict(),
            "clip_spec": self.clip_spec.to_dict(),
            "provenance": self.provenance,
            "metrics": self.metrics,
            "labels": self.labels,
        }
        try:
            text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
            text.encode("utf-8")
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(
                f"Provenance, metrics and labels are saved as JSON, which can't hold them: {error}."
            ) from error
        return text


def read_config(path: Path) -> SavedConfig:
    """What a ``config.json`` says, checked completely.

    Raises:
        CheckpointError: it is missing, damaged, of a newer format, or contradicts itself.
    """
    values = _read_json(path)
    version = values.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise CheckpointError(
            f"'{path}' has the format_version {version!r}: it wasn't written by save_pretrained."
        )
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"'{path}' has format {version}, written by slowfast_zoo {values.get('library_version')}; this is"
            f" slowfast_zoo {__version__}, which reads formats up to {FORMAT_VERSION}. Update it:"
            " pip install --upgrade slowfast-zoo."
        )
    known = {"format_version", *(field.name for field in dataclasses.fields(SavedConfig))}
    for name in values:
        if name not in known:
            raise CheckpointError(f"'{path}' has the unknown entry '{name}'.{did_you_mean(name, known)}")
    if known - values.keys():
        raise CheckpointError(f"'{path}' lacks {quoted(sorted(known - values.keys()))}.")
    for name, kinds in (("provenance", dict), ("metrics", dict | None), ("labels", list | None)):
        if not isinstance(values[name], kinds):
            raise CheckpointError(f"'{path}': '{name}' is {values[name]!r:.80}, another kind of value.")
    try:
        spec = ModelSpec.from_dict(values["model_spec"])
        return SavedConfig(
            model_spec=spec,
            clip_spec=ClipSpec.from_dict(values["clip_spec"]),
            labels=check_labels(values["labels"], spec.num_classes),
            provenance=values["provenance"],
            metrics=values["metrics"],
            library_version=str(values["library_version"]),
        )
    except (SpecError, InputError, TypeError) as error:
        raise CheckpointError(f"'{path}': {error}") from error


def write_folder(model: SlowFast, folder: Path, metrics: Mapping[str, Any] | None = None) -> None:
    """Saves a model; what the folder held under the three names is replaced.

    Everything is written beside its place first. A process that is killed leaves the old files, the new
    ones, or a folder without ``config.json``, which isn't read.

    Raises:
        InputError: it is no SlowFast, on the meta device, not finite, or has what JSON can't hold.
        DownloadError: the folder can't be written.
    """
    _check_savable(model)
    config = SavedConfig.of(model, metrics)
    texts = {CARD: model_card(config, FOLDER_SOURCE), CONFIG: config.to_json()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as new:
            save_canonical(Path(new, WEIGHTS), model)
            for name, text in texts.items():
                with Path(new, name).open("w", encoding="utf-8", newline="\n") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
            (folder / CONFIG).unlink(missing_ok=True)
            for name in (WEIGHTS, *texts):
                Path(new, name).replace(folder / name)
    except OSError as error:
        raise DownloadError(f"The model can't be saved in '{folder}': {error.strerror or error}.") from error


def read_folder(folder: Path) -> SlowFast:
    """The model that ``write_folder`` saved, as float32, in eval mode.

    Raises:
        CheckpointError: a file is missing, damaged, or doesn't belong to the others.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            what = f"has no {name}" if folder.is_dir() else "is no folder"
            raise CheckpointError(
                f"'{folder}' {what}: a saved model is a folder with {CONFIG} and {WEIGHTS}."
                " A publisher's file is loaded with create_model(name, weights=Path(file))."
            )
    config = read_config(folder / CONFIG)
    checkpoint = read_checkpoint(folder / WEIGHTS, dialect="slowfast_zoo")
    if checkpoint.kind != "safetensors":
        raise CheckpointError(f"'{folder / WEIGHTS}' is a {checkpoint.kind} file and no safetensors.")
    try:
        state = read_canonical(checkpoint, config.model_spec)
    except CheckpointError as error:
        raise _misfit(folder, error) from error
    with torch.device("meta"):
        model = SlowFast(config.model_spec)
    model.load_state_dict(state, assign=True)
    model.clip_spec, model.labels = config.clip_spec, config.labels
    model.provenance = config.provenance
    return model.eval()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            raise CheckpointError(f"'{path}' has {path.stat().st_size} bytes, which no {CONFIG} has.")
        values = json.loads(path.read_text(encoding="utf-8"))
    except CheckpointError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"'{path}' can't be read as JSON: {error}.") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"'{path}' holds a {type(values).__name__} instead of named entries.")
    return values


def _check_savable(model: SlowFast) -> None:
    if not isinstance(model, SlowFast):
        raise InputError(f"A SlowFast can be saved, got {type(model).__name__}; unwrap the model first.")
    for name, tensor in model.state_dict().items():
        if tensor.is_meta:
            raise InputError("The model is on the meta device: it has no numbers to save.")
        if not torch.isfinite(tensor).all():
            raise InputError(f"'{name}' holds NaN or infinite numbers, so the model isn't saved.")


def _misfit(folder: Path, error: CheckpointError) -> CheckpointError:
    if not (error.missing or error.unexpected or error.mismatched):
        return CheckpointError(f"'{folder / WEIGHTS}': {error}")
    names = [*error.missing, *error.unexpected, *(name for name, _, _ in error.mismatched)]
    return CheckpointError(
        f"'{folder / WEIGHTS}' doesn't hold the network that {CONFIG} describes: {len(error.missing)} tensors"
        f" are missing, {len(error.unexpected)} left over, {len(error.mismatched)} of another shape"
        f" ({quoted(names[:3])}{', ...' if len(names) > 3 else ''}).",
        missing=error.missing,
        unexpected=error.unexpected,
        mismatched=error.mismatched,
    )
