"""A saved model as a folder: ``model.safetensors``, ``config.json``, and a ``README.md`` for people.

``config.json`` is the header of the weights file as text; it is written last, so a folder that has one is
complete.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

from slowfast_zoo.errors import CheckpointError, DownloadError, InputError
from slowfast_zoo.files import expanded, kind_of, written_whole
from slowfast_zoo.network.slowfast import SlowFast, type_of
from slowfast_zoo.network.structure import hooked
from slowfast_zoo.video.sources.names import path_text
from slowfast_zoo.weights.checkpoint.layers import check_code, check_layers, own_forward
from slowfast_zoo.weights.checkpoint.reading import read_checkpoint
from slowfast_zoo.weights.saved.card import FOLDER_SOURCE, model_card
from slowfast_zoo.weights.saved.config import SavedConfig, read_config
from slowfast_zoo.weights.saved.file import LocalWeights, fill

_LOGGER = logging.getLogger(__name__)

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"


def save_pretrained(
    model: SlowFast, directory: str | Path, *, metrics: Mapping[str, float | str] | None = None
) -> None:
    """Saves a model as a folder: weights, config and model card; ``from_pretrained`` reads it back.

    Tensors keep their dtype. What the folder holds under the three names is replaced when the new files
    are complete: a process that is killed leaves the old files, the new ones, or a folder without
    ``config.json``, which isn't read.

    Args:
        model: what to save. Its ``provenance`` is saved as it is; after a loop of your own it still describes
            the weights that the loop began with, until you set it.
        directory: the folder; made when it isn't there.
        metrics: what was measured with these weights, for the config and the card; None: what
            ``provenance["training"]`` says of them.

    Raises:
        InputError: no SlowFast, or one that can't be saved: without numbers, with NaN, with layers that its
            spec doesn't describe or whose settings are others, with provenance that JSON can't hold; a name
            that no folder can have; metrics that are no dictionary.
        DownloadError: the folder can't be written.
    """
    if directory == "":
        raise InputError("The name of the folder is empty; the current folder is '.'.")
    folder = expanded_or_refused(directory)
    _check_savable(model)
    config = SavedConfig.of(model, metrics)
    config.to_json()  # refused before a folder is made
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as new:
            with written_whole(Path(new, WEIGHTS)) as part:
                config = fill(part, model.state_dict(), config)
            for name, text in ((CARD, model_card(config, FOLDER_SOURCE)), (CONFIG, config.to_json())):
                with written_whole(Path(new, name)) as part:
                    part.write_text(text, encoding="utf-8", newline="\n")
            (folder / CONFIG).unlink(missing_ok=True)
            for name in (WEIGHTS, CARD, CONFIG):
                Path(new, name).replace(folder / name)
    except OSError as error:
        name = path_text(folder)
        raise DownloadError(f"The model can't be saved in '{name}': {error.strerror or error}.") from error


def open_folder(folder: Path) -> LocalWeights:
    """A saved folder, read.

    Raises:
        CheckpointError: a file is missing, damaged, or doesn't belong to the others.
    """
    for name in (CONFIG, WEIGHTS):
        if kind_of(folder / name) != "file":
            what = f"has no {name}" if kind_of(folder) == "folder" else "is no folder"
            inside = folder / "model"  # as a fine-tuning's work directory has it
            hint = (
                f"; the one in it is '{inside}'."
                if kind_of(inside / CONFIG) == "file"
                else ". A publisher's file is loaded with create_model(name, weights=Path(file))."
            )
            raise CheckpointError(
                f"'{folder}' {what}: a saved model is a folder with {CONFIG} and {WEIGHTS}, or one file{hint}"
            )
    config = read_config(folder / CONFIG)
    checkpoint = read_checkpoint(folder / WEIGHTS, dialect="slowfast_zoo")
    if checkpoint.kind != "safetensors":
        raise CheckpointError(f"'{folder / WEIGHTS}' is a {checkpoint.kind} file and no safetensors.")
    return LocalWeights.read(checkpoint, config)


def expanded_or_refused(path: str | Path) -> Path:
    """The path as ``expanded`` has it.

    Raises:
        InputError: as ``expanded``, or it begins with "~" and a name, and neither a user nor anything here is
            called that.
    """
    path = expanded(path)
    if str(path).startswith("~") and not os.path.lexists(path.parts[0]):
        raise InputError(f"'{path}' has no home folder: nobody is called '{path.parts[0][1:]}' here.")
    return path


def _check_savable(model: SlowFast) -> None:
    if not isinstance(model, SlowFast):
        raise InputError(f"A SlowFast can be saved, got {type_of(model)}; unwrap the model first.")
    check_layers(model)
    check_code(model)
    for what, name in (("forward hook", hooked(model)), ("forward of its own", own_forward(model))):
        if name is not None:
            _LOGGER.warning(
                "The model has a %s%s, which isn't saved: if it changes answers, those of from_pretrained"
                " are others.",
                *(what, f" at '{name}'" if name else ""),
            )
    for name, tensor in model.state_dict().items():
        if tensor.is_meta:
            raise InputError("The model is on the meta device: it has no numbers to save.")
        if not torch.isfinite(tensor.float()).all():  # as it is read
            raise InputError(f"'{name}' holds NaN or infinite numbers, so the model isn't saved.")
