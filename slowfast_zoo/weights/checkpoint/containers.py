"""Where the tensors of a file lie: torch's two containers, safetensors, and pickles of numpy arrays.

Everything is described first (``Stored``: place, type, shape) and checked against the file's own size;
memory is taken for a tensor when it is asked for, and the caller asks when names and shapes are right.
Readers raise ``NotWeightsError``, ``RefusedName``, and what damage makes ``struct``, ``json``, ``zipfile``
and ``read_pickle`` raise.

Source: torch/serialization.py (https://github.com/pytorch/pytorch), the format of
https://github.com/huggingface/safetensors, and what ``numpy.ndarray.__reduce__`` writes
(https://numpy.org/doc/stable/reference/generated/numpy.ndarray.__reduce__.html).
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import torch
from torch import Tensor

from slowfast_zoo.errors import quoted
from slowfast_zoo.pickles import ARRAYS, DICTS, Blob, Call, Name, Persistent, array_parts, read_pickle

STATE_KEYS = ("state_dict", "model_state", "model_state_dict", "model", "blobs")
"""Where publishers put the tensors inside a file; also read: a file that is the tensors itself."""

LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""torch before 1.6 starts its files with this pickled integer."""

_MAX_PICKLE = 1 << 26  # bytes beside the tensors of a torch file; trainings' logs take some
_MAX_HEADER = 1 << 23  # bytes of a safetensors header; those of the largest network are 200,000
_MAX_DIRECTORY = 1 << 20  # bytes of a zip's directory: 10,000 records
_MAX_TENSORS = 10_000  # the largest network has 1,600

_TYPES = (  # torch's type, the name of its storage, and how safetensors and numpy write it
    (torch.float32, "Float", "F32", "f4"),
    (torch.float64, "Double", "F64", "f8"),
    (torch.float16, "Half", "F16", "f2"),
    (torch.bfloat16, "BFloat16", "BF16", None),
    (torch.int64, "Long", "I64", "i8"),
    (torch.int32, "Int", "I32", "i4"),
    (torch.int16, "Short", "I16", "i2"),
    (torch.int8, "Char", "I8", "i1"),
    (torch.uint8, "Byte", "U8", "u1"),
    (torch.bool, "Bool", "BOOL", "b1"),
)
_STORAGES = {f"torch.{name}Storage": dtype for dtype, name, _, _ in _TYPES}
_SAFETENSORS = {code: dtype for dtype, _, code, _ in _TYPES}
_NUMPY = {code: dtype for dtype, _, _, code in _TYPES if code}

_TENSORS = frozenset({"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"})
_PARAMETERS = frozenset({"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"})
# Data that stands beside the tensors in trainings' files (configs, logs, schedules); none of it is needed.
_BESIDE = frozenset(
    {
        "argparse.Namespace",
        "builtins.getattr",  # MMEngine's log holds methods of the next one
        "mmengine.logging.history_buffer.HistoryBuffer",
        "datetime.date",
        "datetime.datetime",
        "datetime.time",
        "datetime.timedelta",
        "datetime.timezone",
        "fvcore.common.config.CfgNode",
        "yacs.config.CfgNode",
        *(  # Python 3.13 writes the second module
            f"{module}.{kind}"
            for module in ("pathlib", "pathlib._local")
            for kind in ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
        ),
        "collections.deque",
        "torch.Size",
        "torch.device",
        "torch.torch_version.TorchVersion",  # torch.__version__
        "types.SimpleNamespace",
        "uuid.UUID",
        *(f"builtins.{kind}" for kind in ("bool", "complex", "dict", "float", "frozenset", "int", "list")),
        *(f"builtins.{kind}" for kind in ("range", "set", "slice", "str", "tuple")),
        *(f"builtins.{kind}" for kind in ("long", "unicode", "xrange")),  # what Python 2 calls three of them
        *(str(dtype) for dtype in _STORAGES.values()),
    }
)
_NAMES = frozenset(_STORAGES) | _TENSORS | _PARAMETERS | DICTS | ARRAYS | _BESIDE


class NotWeightsError(ValueError):
    """The file can't be read as weights; the text says why, as the end of a sentence."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """A tensor that lies in a file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    """In elements, as of torch tensors; none is negative."""
    where: int | bytes | Blob
    """Position of its first element in the file; the bytes themselves; or a text that stands for them."""
    is_big_endian: bool = False
    crc32: int | None = None
    """Of all its bytes, where the container has it."""

    @property
    def nbytes(self) -> int:
        """Bytes between its first and its last element."""
        elements = 1 + sum((side - 1) * step for side, step in zip(self.shape, self.stride, strict=True))
        return elements * self.dtype.itemsize if math.prod(self.shape) else 0

    def read(self, file: BinaryIO) -> Tensor:
        """The tensor, in memory of its own.

        Raises:
            NotWeightsError: its bytes aren't there, or aren't those that were written.
            OSError: the file can't be read.
        """
        if isinstance(self.where, int):
            raw = torch.empty(self.nbytes, dtype=torch.uint8, device="cpu")
            file.seek(self.where)
            got = file.readinto(raw.numpy()) if self.nbytes else 0  # type: ignore[attr-defined]
        else:
            data = self._inline(file)
            got = len(data)
            raw = torch.frombuffer(bytearray(data or b"\0"), dtype=torch.uint8)[:got]
        if got != self.nbytes:
            raise NotWeightsError(f"is damaged: {got} bytes of a tensor are there instead of {self.nbytes}")
        if self.crc32 is not None and zlib.crc32(raw.numpy().data) != self.crc32:
            raise NotWeightsError("is damaged: a tensor isn't what was written")
        size = self.dtype.itemsize
        if self.is_big_endian and size > 1:
            raw = raw.view(-1, size).flip(1).reshape(-1)
        if self.dtype == torch.bool:
            raw = raw.clamp(max=1)  # another byte is no bool
        return raw.view(self.dtype).as_strided(self.shape, self.stride).contiguous()

    def _inline(self, file: BinaryIO) -> bytes:
        if isinstance(self.where, bytes):
            return self.where
        assert isinstance(self.where, Blob)
        file.seek(self.where.offset)
        try:
            return file.read(self.where.length).decode("utf-8").encode("latin-1")
        except UnicodeError as error:
            raise NotWeightsError(f"is damaged: {error}") from error


@dataclasses.dataclass(frozen=True)
class Content:
    """What a container holds."""

    tensors: dict[str, Stored]
    """Under the names in the file."""
    header: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """The texts in the header of a safetensors file."""
    others: tuple[str, ...] = ()
    """Other tables of tensors in the file, which aren't read."""


class _ShortReads:
    """A file for ``zipfile``, which reads a whole directory at once and makes much of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, length: int = -1) -> bytes:
        if length > _MAX_DIRECTORY:
            raise NotWeightsError(f"has a directory of {length} bytes, more than {_MAX_DIRECTORY}")
        return self._file.read(length)


def read_torch_zip(file: BinaryIO, size: int) -> Content:
    """What ``torch.save`` wrote, since torch 1.6."""
    with zipfile.ZipFile(_ShortReads(file)) as archive:
        records = {record.filename: record for record in archive.infolist()}
    main = [name for name in records if name.rpartition("/")[2] == "data.pkl"]
    if len(main) != 1:
        raise NotWeightsError("is a zip archive but not one of torch; unpack it if weights are inside")
    prefix = main[0].removesuffix("data.pkl")

    has_crc = any(record.CRC for record in records.values())  # torch can be told not to compute them

    def place(name: str) -> tuple[int, int, int | None]:
        """Position, bytes and CRC-32 of a record."""
        record = records.get(prefix + name)
        if record is None:
            raise NotWeightsError(f"is damaged: it lacks '{name:.40}'")
        if record.compress_type != zipfile.ZIP_STORED or record.flag_bits & 1:
            raise NotWeightsError("has compressed parts, but torch compresses nothing: damaged or hostile")
        file.seek(record.header_offset)
        local = file.read(30)
        if local[:4] != b"PK\x03\x04" or len(local) < 30:
            raise NotWeightsError(f"is damaged: '{name:.40}' isn't where its directory says")
        start = record.header_offset + 30 + sum(struct.unpack("<HH", local[26:]))
        if start + record.file_size > size:
            raise NotWeightsError(f"declares '{name:.40}' larger than the file: damaged or hostile")
        return start, record.file_size, record.CRC if has_crc else None

    start, length, crc = place("data.pkl")
    if length > _MAX_PICKLE:
        raise NotWeightsError(f"has {length} bytes beside its tensors, more than {_MAX_PICKLE}")
    file.seek(start)
    if crc is not None and zlib.crc32(file.read(length)) != crc:
        raise NotWeightsError("is damaged: its table isn't what was written")
    order = b"little"
    if prefix + "byteorder" in records:
        at, count, _ = place("byteorder")
        file.seek(at)
        order = file.read(min(count, 16))
    file.seek(start)
    state, others = _find_state(read_pickle(file, start + length, _NAMES.__contains__))

    tensors = _tensors(state, lambda key: place(f"data/{key}"), order == b"big")
    return Content(tensors, others=others)


def read_torch_legacy(file: BinaryIO, size: int) -> Content:
    """What ``torch.save`` wrote before torch 1.6, and since with ``_use_new_zipfile_serialization=False``."""

    def following(limit: int = _MAX_PICKLE) -> Any:
        return read_pickle(file, min(size, file.tell() + limit), _NAMES.__contains__)

    for _ in range(2):  # the magic number, the version
        following(100)
    system = following(10_000)
    content, keys = following(), following()
    named = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not named or not isinstance(system, dict):
        raise NotWeightsError("is damaged: its parts are no state dict")
    state, others = _find_state(content)
    sizes = dict(_storages(content, keys))
    places: dict[str, tuple[int, int, None]] = {}
    at = file.tell()
    for key in keys:
        file.seek(at)
        (count,) = struct.unpack("<q", file.read(8))
        nbytes = count * sizes.get(key, 0)
        places[key] = at + 8, nbytes, None
        at += 8 + nbytes
        if count < 0 or at > size:
            raise NotWeightsError("is cut off, or declares more than it has: damaged or hostile")

    tensors = _tensors(state, places.__getitem__, system.get("little_endian") is False)
    return Content(tensors, others=others)


def read_numpy_pickle(file: BinaryIO, size: int) -> Content:
    """A pickle of numpy arrays, as caffe2's tools wrote them: ``{'blobs': {name: array}}`` or the inner one.

    Blobs that aren't arrays (iteration counts) are left out.
    """
    content = read_pickle(file, size, (ARRAYS | DICTS).__contains__)
    blobs = content.get("blobs", content) if isinstance(content, dict) else None
    tensors = {
        name: _array(blob)
        for name, blob in (blobs.items() if isinstance(blobs, dict) else ())
        if isinstance(blob, Call) and blob.name.endswith("._reconstruct")
    }
    _check_count(tensors)
    if not tensors:
        raise NotWeightsError("holds no table of arrays")
    return Content(tensors)


def read_safetensors(file: BinaryIO, size: int) -> Content:
    """A safetensors file."""
    (length,) = struct.unpack("<Q", file.read(8))
    if length > min(size - 8, _MAX_HEADER):
        raise NotWeightsError(f"is a damaged safetensors file: its header would have {length} bytes")
    rows = json.loads(file.read(length))
    texts = rows.pop("__metadata__", {})
    if not all(isinstance(text, str) for text in texts.values()):
        raise NotWeightsError("is a damaged safetensors file: its metadata holds other things than texts")
    _check_count(rows)
    start, tensors, spans = 8 + length, {}, []
    for name, row in rows.items():
        dtype = _SAFETENSORS.get(row["dtype"])
        if dtype is None:
            raise NotWeightsError(
                f"holds {name!r:.80} as '{row['dtype']!s:.20}'; read are {quoted(_SAFETENSORS)}"
            )
        shape, (first, last) = _sides(row["shape"]), _sides(row["data_offsets"])
        tensors[name] = Stored(dtype, shape, _contiguous(shape), start + first)
        if last - first != tensors[name].nbytes:
            raise NotWeightsError(f"is a damaged safetensors file: {name!r:.80} isn't as large as its shape")
        spans.append((first, last))
    at = 0
    for first, last in sorted(spans):
        if first != at:
            raise NotWeightsError("is a damaged safetensors file: its tensors overlap or have gaps")
        at = last
    if at != size - start:
        raise NotWeightsError(
            f"is a damaged safetensors file: {size - start} bytes of tensors are there, not {at}"
        )
    return Content(tensors, texts)


def _find_state(content: object) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The table of tensors, and the keys of other tables."""
    if not isinstance(content, dict):
        kind = content.name if isinstance(content, Call | Name) else type(content).__name__
        raise NotWeightsError(f"holds a {kind:.80}, not a state dict; save it as model.state_dict()")
    states = [key for key in STATE_KEYS if isinstance(content.get(key), dict)]
    if not states and not any(_is_tensor(value) for value in content.values()):
        raise NotWeightsError(
            f"holds {quoted(f'{key!s:.40}' for key in list(content)[:8]) or 'nothing'} and no state dict;"
            f" read are {quoted(STATE_KEYS)}, or tensors at the top"
        )
    tables = {id(value): value for value in content.values() if isinstance(value, dict)}  # each once
    filled = {at for at, table in tables.items() if any(map(_is_tensor, table.values()))}
    others = (key for key, value in content.items() if isinstance(key, str) and id(value) in filled)
    plain = int | float | str | Blob | None
    at_top = {key: value for key, value in content.items() if not isinstance(value, plain)}
    return (content[states[0]] if states else at_top), tuple(key for key in others if key not in states[:1])


def _is_tensor(value: object) -> bool:
    return isinstance(value, Call) and value.name in _TENSORS | _PARAMETERS


def _storages(content: object, keys: list[Any]) -> Iterator[tuple[str, int]]:
    """Key and bytes per element of every storage that a legacy file's content refers to."""
    wanted, waiting, seen = set(keys), [content], set[int]()
    while waiting and wanted:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Persistent):
            dtype, key, _ = _storage(value)
            wanted.discard(key)
            yield key, dtype.itemsize
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)
        elif isinstance(value, Call):
            waiting.extend((value.args, value.state))


def _storage(reference: object) -> tuple[torch.dtype, str, int]:
    """Type, key and elements of a storage, wherever it was: all is read into the computer's own memory."""
    match reference:
        case Persistent(("storage", Name(kind), str(key), _, int(count), *rest)) if (
            kind in _STORAGES and count >= 0 and rest in ([], [None])
        ):
            return _STORAGES[kind], key, count
    raise NotWeightsError("is damaged: a tensor refers to something that is no storage")


def _tensors(
    state: Mapping[Any, Any], find: Callable[[str], tuple[int, int, int | None]], is_big_endian: bool
) -> dict[str, Stored]:
    """Every entry of a state dict; ``find`` tells of a storage where it lies, its bytes and its CRC-32."""
    tensors = {}
    _check_count(state)
    for name, value in state.items():
        if isinstance(value, Call) and value.name in _PARAMETERS:
            value = value.args[0]
        if not isinstance(name, str) or not isinstance(value, Call) or value.name not in _TENSORS:
            kind = value.name if isinstance(value, Call | Name) else type(value).__name__
            raise NotWeightsError(f"holds {ascii(name)[:80]}, which is no plain tensor ({kind:.80})")
        storage, offset, shape, stride = value.args[:4]
        dtype, key, count = _storage(storage)
        shape, stride = _sides(shape), _sides(stride)
        at, there, crc = find(key)
        if there != count * dtype.itemsize:
            raise NotWeightsError(
                f"is damaged: a storage has {there} bytes instead of {count * dtype.itemsize}"
            )
        start = offset * dtype.itemsize if type(offset) is int else -1
        tensor = Stored(dtype, shape, stride, at + start, is_big_endian)
        if start < 0 or start + tensor.nbytes > there:
            raise NotWeightsError(f"declares {ascii(name)[:80]} larger than its data: damaged or hostile")
        whole = tensor.nbytes == there
        tensors[name] = dataclasses.replace(tensor, crc32=crc) if whole else tensor
    return tensors


def _check_count(tensors: Mapping[Any, Any]) -> None:
    if len(tensors) > _MAX_TENSORS:
        raise NotWeightsError(f"holds {len(tensors)} tensors, which no network has")


def check_tensors(tensors: Mapping[str, Stored]) -> None:
    """Refuses what would grow when it is read, and names that a message can't show."""
    for name, tensor in tensors.items():
        if not isinstance(name, str) or len(name) > 500 or not name.isprintable():
            raise NotWeightsError(f"has a tensor whose name is no name ({ascii(name)[:40]})")
        least = math.prod(tensor.shape) * tensor.dtype.itemsize
        if least > tensor.nbytes or tensor.nbytes > 8 * least:
            raise NotWeightsError(f"declares '{name:.80}' larger than its data: damaged or hostile")


def _array(call: Call) -> Stored:
    """A numpy array: its type, shape, order and bytes."""
    try:
        shape, code, fortran, is_big_endian, data = array_parts(call)
    except ValueError as error:
        raise NotWeightsError(f"is damaged: {error}") from error
    if code not in _NUMPY:
        raise NotWeightsError(
            f"holds arrays of type {ascii(code)[:40]}, which aren't numbers that torch knows"
        )
    sides = _sides(shape)
    stride = _contiguous(sides[::-1])[::-1] if fortran else _contiguous(sides)
    where: int | bytes | Blob
    if isinstance(data, Blob):
        where, given = (data if data.is_utf8 else data.offset), data.length
    else:
        where, given = data, len(data)
    array = Stored(_NUMPY[code], sides, stride, where, is_big_endian)
    if given < array.nbytes or (given > array.nbytes and not isinstance(where, Blob)):
        raise NotWeightsError(f"is damaged: an array has {given} bytes instead of {array.nbytes}")
    return array


def _sides(values: object) -> tuple[int, ...]:
    """A shape or strides: at most eight whole numbers, none of which is larger than any file."""
    if isinstance(values, Call) and values.name == "torch.Size":
        values = values.args[0] if values.args else ()
    sides = tuple(values) if isinstance(values, list | tuple) and len(values) <= 8 else (None,)
    if not all(type(side) is int and 0 <= side < 1 << 40 for side in sides):
        raise NotWeightsError("is damaged or hostile: a shape is no shape")
    return sides


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    stride, steps = 1, []
    for side in reversed(shape):
        steps.append(stride)
        stride *= max(side, 1)
    return tuple(reversed(steps))
