"""MODEL, the one way in which every command and every worker is told in words which model to take.

MODEL is a name (``slowfast_r50_4x16x1``: its default weights), a name with one of its weights
(``slowfast_r50_8x8x1:pyslowfast/k400``), a publisher's own config name, a folder that
``save_pretrained`` or a training wrote, or a checkpoint file: one of ours, or any publisher's. A name
goes before a file that is called the same; ``./NAME`` is the file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast_zoo.errors import (
    DownloadError,
    InputError,
    SlowFastZooError,
    UnknownNameError,
    did_you_mean,
    quoted,
)
from slowfast_zoo.files import expanded, kind_of
from slowfast_zoo.weights.catalog import find_config, get_weights, list_models, list_weights, nearest_models
from slowfast_zoo.weights.catalog.entry import WeightEntry

if TYPE_CHECKING:
    from slowfast_zoo.network.slowfast import SlowFast
    from slowfast_zoo.spec import ClipSpec

DEFAULT_MODEL = "slowfast_r50_4x16x1"


@dataclasses.dataclass(frozen=True)
class ModelRef:
    """A MODEL that exists, before anything of it is read or fetched."""

    text: str
    """As it was given."""
    entry: WeightEntry | None = None
    """The published weights that a name means."""
    path: Path | None = None
    """The saved folder or the checkpoint file."""
    like: WeightEntry | str | None = None
    """Whose network and input a file has, where the file doesn't say: a row, or a model's name."""

    def load(self) -> SlowFast:
        """The model with its weights.

        Raises:
            SlowFastZooError: as ``create_model`` and ``from_pretrained``.
        """
        if self.entry is not None:
            from slowfast_zoo.zoo import create_model

            try:
                return create_model(self.entry.model, weights=self.entry)
            except DownloadError as error:
                if self.text != DEFAULT_MODEL:
                    raise
                raise DownloadError(
                    f"{error}\nWithout any download there is '--model slowfast_tiny', a small network that"
                    " names the motion of the camera."
                ) from error
        assert self.path is not None
        if kind_of(self.path) == "folder":
            from slowfast_zoo.weights.saved.hub import from_pretrained

            return from_pretrained(self.path)
        from slowfast_zoo.weights.store import open_file

        return open_file(self.path, like=self.like).build()

    def untrained(self) -> SlowFast:
        """The model with random weights where it is a published one, so that nothing is downloaded."""
        if self.entry is None:
            return self.load()
        from slowfast_zoo.network.slowfast import SlowFast

        model = SlowFast(self.entry.model_spec)
        model.clip_spec = self.entry.clip_spec
        model.provenance = {"model": self.entry.model, "tag": None}
        return model

    def clip_spec(self) -> ClipSpec:
        """The input contract, without a download."""
        return self.load().clip_spec if self.entry is None else self.entry.clip_spec

    def origin(self) -> dict[str, str]:
        """What results say of it: a published one's name and tag, else the path and the file's hash.

        ``like`` is beside the hash, and what was edited in a folder's config: they decide about the answers,
        too.
        """
        if self.entry is not None:
            return {"model": self.entry.model, "weights": self.entry.tag}
        from slowfast_zoo.files import hash_file
        from slowfast_zoo.video.sources.names import display_name

        assert self.path is not None
        folder = kind_of(self.path) == "folder"
        file = self.path / "model.safetensors" if folder else self.path
        try:
            weights = f"sha256:{hash_file(file)[:16]}"
        except OSError:  # loading says what is wrong with it
            weights = ""
        if weights and folder:
            weights += _edited(self.path)
        if self.like is not None:
            row = self.like
            weights += f" like {row if isinstance(row, str) else f'{row.model}:{row.tag}'}"
        return {"model": display_name(self.path), "weights": weights}


def parse(text: str, like: str | None = None) -> ModelRef:
    """What a MODEL means; names, tags, files and folders are looked up, none is opened.

    Args:
        text: the MODEL.
        like: NAME:TAG, whose network and input a file has, or NAME: the one of its weights that fits.

    Raises:
        UnknownNameError: there is no such model, weights, folder or file; the message has the nearest.
        InputError: ``like`` beside a MODEL that is no file.
    """
    if not text.strip():
        raise UnknownNameError("The name of the model is empty; the current folder is '.'.")
    entry = _named(text)
    path = expanded(text)
    if entry is None and not kind_of(path):
        hint = nearest_models(text, (row.config_name for row in list_weights()))
        raise UnknownNameError(f"There is no model, folder or file '{text}'.{hint}")
    if like is None:
        return ModelRef(text, entry) if entry else ModelRef(text, path=path)
    if entry is not None or kind_of(path) == "folder":
        raise InputError(f"--like says whose network a checkpoint file has; '{text}' says that itself.")
    row = _named(like)
    if row is None:
        models = list_models()
        near = did_you_mean(like.partition(":")[0], models) or f" The models are: {quoted(models)}."
        raise UnknownNameError(f"--like is a model's NAME or NAME:TAG, got '{like}'.{near}")
    return ModelRef(text, path=path, like=like if like in list_models() else row)


def _edited(folder: Path) -> str:
    """Words for a saved folder whose config has another network, input or names than its weights' header."""
    from slowfast_zoo.weights.checkpoint.reading import read_checkpoint
    from slowfast_zoo.weights.saved.config import config_in, read_config

    try:
        header = config_in(read_checkpoint(folder / "model.safetensors"))
        if header is None:  # other tools leave it out when they write weights
            return ""
        configs = read_config(folder / "config.json"), header
    except SlowFastZooError:  # loading says what is wrong with it
        return ""
    read, written = (
        json.dumps([config.model_spec.to_dict(), config.clip_spec.to_dict(), config.labels])
        for config in configs
    )
    return "" if read == written else f" edited {hashlib.sha256(read.encode()).hexdigest()[:8]}"


def _named(text: str) -> WeightEntry | None:
    """The row that a name, NAME:TAG or config name means; None for what is none of them.

    Raises:
        UnknownNameError: a model's name with weights that it doesn't have.
    """
    name, colon, tag = text.partition(":")
    if name in list_models() or (colon and name.startswith("slowfast_") and not kind_of(Path(text))):
        return get_weights(name, tag if colon else "default")
    return find_config(text)
