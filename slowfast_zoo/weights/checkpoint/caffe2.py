"""Reads the pickled arrays of caffe2 without numpy's or anybody's unpickling code.

A pickle is a program. This reader lets it build numbers, texts, containers and numpy arrays of numbers;
each name that it may say is answered by a stand-in of this file, every other one is refused.

Source: what ``numpy.ndarray.__reduce__`` writes, under Python 2 too
(https://numpy.org/doc/stable/reference/generated/numpy.ndarray.__reduce__.html).
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from typing import Any

import numpy as np

_MAX_OPERATIONS = 1_000_000  # files of the largest network have about 60,000


def read_arrays(data: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of ``{'blobs': {name: array}}`` or ``{name: array}``, in native byte order.

    Blobs that aren't arrays (iteration counts) are left out.

    Args:
        data: the pickle, of any protocol and of Python 2 or 3.

    Raises:
        pickle.UnpicklingError: it holds something else, or wants code to be run.
        ValueError, TypeError, LookupError, EOFError, AttributeError: it is damaged.
    """
    _check_structure(data)
    content = _ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()
    blobs = content.get("blobs", content) if isinstance(content, dict) else None
    arrays = {
        name: blob.value
        for name, blob in (blobs.items() if isinstance(blobs, dict) else ())
        if isinstance(blob, _Array) and blob.value is not None
    }
    if not arrays:
        raise pickle.UnpicklingError("it holds no table of arrays")
    return arrays


class _DType:
    """A numpy dtype of plain numbers, as a pickle describes it."""

    def __init__(self, code: str, *flags: object) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[fiu][1248]|b1", code):
            raise pickle.UnpicklingError(f"arrays of type {code!r:.40} aren't numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1] if state[1] in "<>" else "=")


class _Array:
    """A numpy array of plain numbers, rebuilt without numpy's own unpickling code."""

    value: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _DType):
            raise pickle.UnpicklingError(f"an array's type is a {type(dtype).__name__}")
        raw = data.encode("latin1") if isinstance(data, str) else data
        if len(raw) != math.prod(shape) * dtype.dtype.itemsize:
            raise pickle.UnpicklingError(f"an array of shape {shape} has {len(raw)} bytes of data")
        flat = np.frombuffer(raw, dtype.dtype).astype(dtype.dtype.newbyteorder("="))
        self.value = flat.reshape(shape, order="F" if fortran else "C")


def _reconstruct(kind: object, shape: object, code: object) -> _Array:
    return _Array()


def _scalar(dtype: _DType, data: str | bytes) -> float:
    raw = data.encode("latin1") if isinstance(data, str) else data
    return float(np.frombuffer(raw, dtype.dtype)[0])


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into protocol 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text in {encoding!r:.40}")
    return text.encode("latin1")


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): "numpy.ndarray",  # only ever an argument
    ("_codecs", "encode"): _encode,
} | {
    (module, name): stand_in
    for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    for name, stand_in in (("_reconstruct", _reconstruct), ("scalar", _scalar))
}


class _ArrayUnpickler(pickle.Unpickler):
    """Reads numbers, texts, containers and numpy arrays; every other name in the pickle is refused."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it wants '{module}.{name}' to be run, which is refused") from None


def _check_structure(data: bytes) -> None:
    """Refuses pickles that make the unpickler itself use memory out of proportion to their size."""
    for count, (operation, argument, _) in enumerate(pickletools.genops(data)):
        jump = operation.name in ("PUT", "LONG_BINPUT") and argument is not None and argument > count
        if count > _MAX_OPERATIONS or jump:
            raise pickle.UnpicklingError("its structure is no table of arrays")
