"""A converted copy of a publisher's file, kept so that a second start needs neither pickle nor renaming."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ModelSpec
from slowfast_zoo.weights.checkpoint.loading import read_canonical, state_shapes
from slowfast_zoo.weights.checkpoint.reading import read_checkpoint

_LOGGER = logging.getLogger(__name__)

_VERSION = 1  # counted up when a conversion gives other names or numbers: old copies are then not read


def save_canonical(path: str | Path, model: SlowFast) -> None:
    """Writes a model's tensors as safetensors in our names, with its ``ModelSpec`` in the header.

    Raises:
        OSError: the file can't be written; nothing half written is left.
    """
    _write(Path(path), model.state_dict(), model.spec)


def cached_conversion(path: Path, spec: ModelSpec, *, sha256: str, dialect: str | None = None) -> Path:
    """Path of the converted copy of a publisher's file (in ``converted`` beside it), made if there is none.

    Processes that convert at the same time write the same bytes. A copy that is damaged is made again;
    where none can be written, the path is the publisher's file itself, which loads as well.

    Args:
        path: the publisher's file, verified.
        spec: the network in the file, classes and channels included.
        sha256: hex digits of the file's hash; the copy is named after it.
        dialect: whose names it uses; None: told from the names.

    Raises:
        CheckpointError: the file can't be read safely or doesn't fit.
    """
    folder = path.parent / "converted"
    copy = folder / f"{path.stem}-{sha256[:16]}-v{_VERSION}.safetensors"
    if _is_whole(copy, spec):
        return copy
    state = read_canonical(read_checkpoint(path, dialect=dialect), spec)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(copy, state, spec)
    except OSError as error:
        _LOGGER.warning("No converted copy of %s is kept, so that loading stays slow: %s", path, error)
        return path
    return copy


def _write(path: Path, state: Mapping[str, Tensor], spec: ModelSpec) -> None:
    """Stores a state dict whole or not at all."""
    from safetensors.torch import save_file

    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        save_file(plain, temporary, {"model_spec": json.dumps(spec.to_dict())})
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # else a power cut could leave a file of the right size full of zeros
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_whole(path: Path, spec: ModelSpec) -> bool:
    """Whether a converted copy is there with all names and shapes; its numbers are checked when read."""
    from safetensors import SafetensorError, safe_open

    if path.is_symlink() or not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        return False
    return shapes == state_shapes(spec)
