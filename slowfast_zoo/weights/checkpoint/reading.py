"""A checkpoint file, from whom ever it comes, as a value: opened once, nothing in it ever executed.

The container is told by content, not by ending. No reader of torch, numpy or Python's pickle is asked:
``pickles`` turns a pickle into plain values, ``containers`` says where the tensors lie and holds their
sizes against the file's own, and a tensor is read when it is asked for.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import pickle
import struct
import weakref
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from torch import Tensor

from slowfast_zoo.errors import CheckpointError, quoted
from slowfast_zoo.files import expanded
from slowfast_zoo.pickles import RefusedName
from slowfast_zoo.weights.catalog.entry import FileKind
from slowfast_zoo.weights.checkpoint.containers import (
    LEGACY_MAGIC,
    Content,
    NotWeightsError,
    Stored,
    check_tensors,
    read_numpy_pickle,
    read_safetensors,
    read_torch_legacy,
    read_torch_zip,
)
from slowfast_zoo.weights.checkpoint.dialects import find_network, get_table

_LOGGER = logging.getLogger(__name__)

_AVERAGES = ("state_dict_ema", "model_state_ema", "model_ema", "ema_model", "ema")
"""Where a training may keep averages of its weights beside them. OpenMMLab 1.x isn't among them: its averages
are the "state_dict", and "ema_state_dict" has the plain weights.

Source: https://github.com/huggingface/pytorch-image-models, ``CheckpointSaver``; torchvision's
``references/classification``; https://github.com/open-mmlab/mmengine, ``EMAHook``."""

_FOREIGN = {
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself; fetch it with 'git lfs pull'",
}

_OTHER_TENSORS = ("torch._utils._rebuild_", "torch._tensor._rebuild_")
"""Beginnings of the names that torch's own tensors are made by, where they aren't plain."""

# What a crafted or damaged file makes the readers, zipfile and json raise.
_MALFORMED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Checkpoint:
    """A file of tensors, opened and understood once; names are without wrappers' prefixes."""

    path: Path
    """The file."""
    kind: FileKind
    """The container."""
    tensors: Mapping[str, Tensor]
    """The network's tensors under the publisher's own names, each read from the file when it is asked for."""
    shapes: Mapping[str, tuple[int, ...]]
    """Name and shape of each, known without reading it."""
    known_dialect: str | None
    """Whose names these are; None: nobody's."""
    header: Mapping[str, str]
    """The texts in the header of a safetensors file; empty for other containers."""
    file: BinaryIO
    """Open as long as ``tensors`` lives."""

    @property
    def dialect(self) -> str:
        """Whose names these are.

        Raises:
            CheckpointError: nobody's whose networks are read.
        """
        if self.known_dialect is None:
            raise CheckpointError(f"'{self.path}' {_no_network(self.shapes)}")
        return self.known_dialect

    @functools.cached_property
    def sha256(self) -> str:
        """Hex digits of the file's hash.

        Raises:
            CheckpointError: the file can't be read any more.
        """
        try:
            self.file.seek(0)
            return hashlib.file_digest(self.file, "sha256").hexdigest()  # type: ignore[arg-type]
        except OSError as error:
            raise _unreadable(self.path, error) from error


class _Unread(Mapping[str, Tensor]):
    """Tensors that are read when they are asked for, each into memory of its own."""

    def __init__(self, path: Path, file: BinaryIO, stored: Mapping[str, Stored]) -> None:
        self._path, self._file, self._stored = path, file, stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self._stored[name].read(self._file)
        except OSError as error:
            raise _unreadable(self._path, error) from error
        except NotWeightsError as error:
            raise CheckpointError(f"'{self._path}' {error} ('{name}').") from error


def read_checkpoint(path: str | Path, *, dialect: str | None = None) -> Checkpoint:
    """What a ``.pth``, ``.pyth``, ``.pkl`` or ``.safetensors`` file of any publisher holds.

    Names and shapes are checked against the file's own size here; numbers are read later, when it is known
    that they are wanted.

    Args:
        path: the file, whatever its name ends in; "~" is the user's folder.
        dialect: whose names it uses; None: told from the names.

    Raises:
        CheckpointError: not a checkpoint, damaged, larger inside than outside, with two networks, or a
            pickle that names code.
        UnknownNameError: no such dialect.
    """
    path = expanded(path)
    if dialect is not None:
        get_table(dialect)
    try:
        if not path.is_file():
            what = "a folder" if path.is_dir() else "no regular file" if path.exists() else "missing"
            raise CheckpointError(f"'{path}' is {what}; give the path of a weights file.")
        file = path.open("rb")
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    try:
        checkpoint = _read(path, file, dialect)
    except BaseException:
        file.close()
        raise
    weakref.finalize(checkpoint.tensors, file.close)
    return checkpoint


def _read(path: Path, file: BinaryIO, dialect: str | None) -> Checkpoint:
    try:
        size = file.seek(0, 2)
        kind, content = _content(file, size)
        check_tensors(content.tensors)
    except RefusedName as error:
        saved, why = "model.state_dict()", ""
        if error.name.startswith(_OTHER_TENSORS):
            saved = "{name: tensor.detach().float() for name, tensor in model.state_dict().items()}"
            why = ": it makes tensors of another kind, such as float8, sparse ones or ones with attributes"
        raise CheckpointError(
            f"'{path}' wants {ascii(error.name)[:100]} to be run while it is read, which is refused{why}. If"
            f" you trust it, open it where it was made and save the weights alone: torch.save({saved}, path)."
        ) from error
    except NotWeightsError as error:
        raise CheckpointError(f"'{path}' {error}.") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    except _MALFORMED as error:
        raise CheckpointError(f"'{path}' is damaged, or no file of weights: {_first_line(error)}") from error
    names = tuple(content.tensors)
    networks = find_network(names, dialect)
    if len(networks) > 1:
        raise CheckpointError(
            f"'{path}' holds {len(networks)} networks, under the names"
            f" {quoted(f'{prefix}...' for _, prefix in networks[:4])}: save the wanted one alone,"
            " torch.save(network.state_dict(), path)."
        )
    found, prefix = networks[0] if networks else (None, "")
    beside = [name for name in names if not name.startswith(prefix)]
    if beside or content.others:
        _LOGGER.info("%s: read is '%s*'; not read: %s", path, prefix, quoted((*content.others, *beside[:5])))
    if averages := [name for name in _AVERAGES if name in content.others]:
        _LOGGER.warning(
            "%s: '%s', which by its name holds averages of the weights, isn't read: to have those, save them"
            " alone, torch.save(content['%s'], path).",
            *(path, averages[0], averages[0]),
        )
    stored = {
        name.removeprefix(prefix): tensor
        for name, tensor in content.tensors.items()
        if name.startswith(prefix)
    }
    total = sum(tensor.nbytes for tensor in stored.values())
    if total > size:  # many names for one place
        raise CheckpointError(
            f"'{path}' declares {total} bytes of tensors in {size} bytes: damaged or hostile."
        )
    shapes = {name: tensor.shape for name, tensor in stored.items()}
    return Checkpoint(path, kind, _Unread(path, file, stored), shapes, dialect or found, content.header, file)


def _content(file: BinaryIO, size: int) -> tuple[FileKind, Content]:
    file.seek(0)
    head = file.read(512)
    file.seek(0)
    if head.startswith(b"PK\x03\x04"):
        return "torch", read_torch_zip(file, size)
    if head.startswith(LEGACY_MAGIC):
        return "torch", read_torch_legacy(file, size)
    if size > 8 and head[8:9] == b"{":
        return "safetensors", read_safetensors(file, size)
    if head.startswith((b"\x80", b"(dp", b"(lp")):
        try:
            return "caffe2", read_numpy_pickle(file, size)
        except RefusedName:
            raise
        except _MALFORMED as error:
            reason = _first_line(error).rstrip(".")
            raise NotWeightsError(
                f"is no caffe2 checkpoint that can be read safely ({reason}); only arrays of numbers are read"
                " from bare pickles, torch files come from torch.save"
            ) from error
    raise NotWeightsError(f"is {_describe(head)}")


def _describe(head: bytes) -> str:
    if not head:
        return "empty; delete it and fetch it again"
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            return what
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it first"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        return "a web page, not weights; a proxy or a login page may have answered instead of the publisher"
    return f"no torch, caffe2 or safetensors file (it starts with {head[:16]!r})"


def _no_network(names: Collection[str]) -> str:
    examples = quoted(sorted(names)[:3]) or "none at all"
    return (
        f"doesn't hold a two-pathway SlowFast network of a known publisher: its names ({examples}, ...) fit"
        " none. Single-pathway networks (Slow, I3D) aren't read."
    )


def _unreadable(path: Path, error: OSError | ValueError) -> CheckpointError:
    return CheckpointError(f"'{path}' can't be read: {getattr(error, 'strerror', None) or error}.")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    text = ascii(lines[0][:200])[1:-1].rstrip(".") if lines else ""
    return f"{text or type(error).__name__}."
