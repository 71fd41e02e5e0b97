"""A checkpoint file, from whom ever it comes, as plain tensors; nothing in it is ever executed.

The container is told by content, not by ending. torch files go through ``weights_only=True``, where
numpy's and mmengine's log objects are replaced by inert stand-ins; caffe2 pickles have a reader of their own,
which knows numpy arrays and nothing else. Everything else is refused with the reason.
"""

from __future__ import annotations

import dataclasses
import functools
import pickle
import re
import struct
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slowfast_zoo.errors import CheckpointError, quoted
from slowfast_zoo.files import hash_file
from slowfast_zoo.weights.catalog.entry import FileKind
from slowfast_zoo.weights.checkpoint.caffe2 import read_arrays
from slowfast_zoo.weights.checkpoint.dialects import detect_dialect, get_table, strip_wrappers

STATE_KEYS = ("state_dict", "model_state", "model_state_dict", "model", "blobs")
"""Where publishers put the tensors inside a file; also read: a file that is the tensors itself."""

# torch before 1.6 starts its files with this pickled integer
_LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."

_FOREIGN = {
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself; fetch it with 'git lfs pull'",
}

# What a crafted or damaged file makes torch, numpy and pickle raise.
_MALFORMED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A file that was read once: its tensors under the publisher's own names, without wrappers' prefixes."""

    path: Path
    """The file."""
    kind: FileKind
    """The container."""
    tensors: Mapping[str, Tensor]
    """CPU tensors."""
    meta: Mapping[str, str | int | float | bool]
    """Texts and numbers stored beside the tensors (epoch, version, config), nothing nested."""
    given_dialect: str | None = None
    """Whose names the caller says that they are."""

    @functools.cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor."""
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    @functools.cached_property
    def dialect(self) -> str:
        """Whose names these are.

        Raises:
            CheckpointError: nobody's whose networks are read.
            UnknownNameError: the caller named a dialect that doesn't exist.
        """
        if self.given_dialect is not None:
            get_table(self.given_dialect)
            return self.given_dialect
        try:
            return detect_dialect(self.tensors)
        except CheckpointError as error:
            raise CheckpointError(f"'{self.path}': {error}") from None

    @functools.cached_property
    def sha256(self) -> str:
        """Hex digits of the file's hash.

        Raises:
            CheckpointError: the file can't be read any more.
        """
        try:
            return hash_file(self.path)
        except OSError as error:
            raise CheckpointError(f"'{self.path}' can't be read: {error}.") from error


def read_checkpoint(path: str | Path, *, dialect: str | None = None) -> Checkpoint:
    """What a ``.pth``, ``.pyth``, ``.pkl`` or ``.safetensors`` file of any publisher holds.

    Args:
        path: the file, whatever its name ends in.
        dialect: whose names it uses; None: told from the names.

    Raises:
        CheckpointError: not a checkpoint, damaged, larger inside than outside, or a pickle that asks
            for code to be run.
    """
    path = Path(path)
    try:
        if not path.is_file():
            what = "a folder" if path.is_dir() else "no regular file" if path.exists() else "missing"
            raise CheckpointError(f"'{path}' is {what}; give the path of a weights file.")
        with path.open("rb") as file:
            head = file.read(512)
        size = path.stat().st_size
        if head.startswith(b"PK\x03\x04"):
            checkpoint = _read_torch(path, zipped=True)
        elif head.startswith(_LEGACY_MAGIC):
            checkpoint = _read_torch(path, zipped=False)
        elif size > 8 and head[8:9] == b"{":
            checkpoint = _read_safetensors(path)
        elif head.startswith((b"\x80", b"(dp", b"(lp")):
            checkpoint = _read_pickle(path)
        else:
            raise CheckpointError(f"'{path}' is {_describe(head)}.")
        _check_tensors(checkpoint.tensors, path, size)
    except OSError as error:
        raise CheckpointError(f"'{path}' can't be read: {error}.") from error
    return dataclasses.replace(checkpoint, tensors=strip_wrappers(checkpoint.tensors), given_dialect=dialect)


def _describe(head: bytes) -> str:
    if not head:
        return "empty; delete it and fetch it again"
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            return what
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it first"
    if head.lstrip().startswith(b"<"):
        return "a web page, not weights; a proxy or a login page may have answered instead of the publisher"
    return f"no torch, caffe2 or safetensors file (it starts with {head[:16]!r})"


def _check_tensors(tensors: Mapping[str, Tensor], path: Path, size: int) -> None:
    """Refuses what isn't a plain tensor on the CPU, and what would grow when it is copied."""
    for name, tensor in tensors.items():
        plain = (
            isinstance(tensor, Tensor)
            and tensor.layout == torch.strided
            and tensor.device.type == "cpu"
            and not tensor.is_quantized
            and not tensor.is_complex()
        )
        if not isinstance(name, str) or not plain:
            kind = type(tensor).__name__
            raise CheckpointError(f"'{path}' holds {name!r:.80}, which is no plain tensor ({kind}).")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise CheckpointError(f"'{path}' declares '{name}' larger than its data: damaged or hostile.")
    declared = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if declared > size:
        raise CheckpointError(
            f"'{path}' declares {declared} bytes of tensors in {size} bytes: damaged or hostile."
        )


def _find_state(content: object, path: Path) -> Checkpoint:
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"'{path}' holds a {type(content).__name__}, not a state dict; save it as model.state_dict()."
        )
    states = [content[key] for key in STATE_KEYS if isinstance(content.get(key), Mapping)]
    if not states and not any(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(
            f"'{path}' holds {quoted(map(str, list(content)[:8]))} and no state dict;"
            f" read are {quoted(STATE_KEYS)}, or tensors at the top."
        )
    nested = content.get("meta")
    scalars = {**content, **nested} if isinstance(nested, Mapping) else content
    meta = {
        key: value
        for key, value in scalars.items()
        if isinstance(key, str) and isinstance(value, (str, int, float, bool))
    }
    return Checkpoint(path, "torch", dict(states[0] if states else content), meta)


class _Inert:
    """Stands in for a class or function that a file names: takes anything, keeps and does nothing."""

    def __new__(cls, *args: object) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


# Scores in MMAction2's meta are numpy scalars; MMEngine's training log holds buffers with bound functions.
# All of it stands beside the tensors, so that none of it is needed. Anything else is refused by torch.
_INERT_NAMES = (
    "numpy.core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy.dtype",
    "numpy.ndarray",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "builtins.getattr",
)
_inert_lock = threading.Lock()  # torch keeps the allowed names in one global set


def _read_torch(path: Path, *, zipped: bool) -> Checkpoint:
    try:
        if zipped:
            _check_zip(path)
        with path.open("rb") as file:  # given a path, torch goes by its ending
            try:
                content = torch.load(file, map_location="cpu", weights_only=True)
            except pickle.UnpicklingError:
                inert: list[Any] = [(_Inert, name) for name in _INERT_NAMES]
                file.seek(0)
                with _inert_lock, torch.serialization.safe_globals(inert):
                    content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        if found is None:
            reason = str(error).rpartition("WeightsUnpickler error: ")[2]  # torch's advice comes before it
            raise CheckpointError(f"'{path}' is damaged, or no state dict: {_first_line(reason)}") from error
        raise CheckpointError(
            f"'{path}' wants '{found[1]}' to be run while it is read, which is refused. If you trust it,"
            " open it where it was made and save the weights alone: torch.save(model.state_dict(), path)."
        ) from error
    except CheckpointError:
        raise
    except _MALFORMED as error:
        raise CheckpointError(f"'{path}' is damaged, or no state dict: {_first_line(error)}") from error
    return _find_state(content, path)


def _check_zip(path: Path) -> None:
    """Refuses archives that unpack to more than their own size; torch stores its records as they are."""
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
    if not any(record.filename.rpartition("/")[2] == "data.pkl" for record in records):
        raise CheckpointError(
            f"'{path}' is a zip archive but not one of torch; unpack it if weights are inside."
        )
    unpacked = sum(record.file_size for record in records)
    compressed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
    if compressed or unpacked > path.stat().st_size:
        raise CheckpointError(
            f"'{path}' unpacks to {unpacked} bytes, but torch stores nothing compressed: damaged or hostile."
        )


def _first_line(error: BaseException | str) -> str:
    lines = str(error).strip().splitlines()
    return f"{lines[0][:200].rstrip('.')}." if lines else f"{type(error).__name__}."


def _read_safetensors(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            meta: dict[str, str | int | float | bool] = dict(file.metadata() or {})
            # clones, because safetensors' own tensors are the file: they change when it changes
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, *_MALFORMED) as error:
        raise CheckpointError(f"'{path}' is a damaged safetensors file: {_first_line(error)}") from error
    return Checkpoint(path, "safetensors", tensors, meta)


def _read_pickle(path: Path) -> Checkpoint:
    try:
        arrays = read_arrays(path.read_bytes())
    except _MALFORMED as error:
        raise CheckpointError(
            f"'{path}' is no caffe2 checkpoint that can be read safely: {_first_line(error)} Only arrays of"
            " numbers are read from bare pickles; torch files come from torch.save."
        ) from error
    return Checkpoint(path, "caffe2", {name: torch.from_numpy(array) for name, array in arrays.items()}, {})
