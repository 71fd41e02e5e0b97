"""Pickles of boxes, as MMAction2 and MultiSports publish them, read without running anything in them."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slowfast_zoo.errors import DataError
from slowfast_zoo.pickles import ARRAYS, DICTS, Blob, Call, RefusedName, array_parts, read_pickle

_NUMBERS = frozenset(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
_LARGEST = 2**31
"""Bytes of a file that is read whole."""
_MOST_OPERATIONS = 2**26
"""Of a pickle; each may leave an empty list, of some 64 bytes."""
_SPARE = 10_000_000
"""Numbers that there may be beside one for each byte of the file: one array may stand in many places."""


class PlainPickle:
    """The value of a pickle that holds dicts, lists, texts, numbers and arrays of numbers.

    Args:
        path: of the file.
        what: it is, for messages.

    Attributes:
        value: plain; its arrays are opened by ``array``.

    Raises:
        DataError: the file can't be read, is damaged, or wants something to be run.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path, self._title = path, f"The {what} '{path}'"
        try:
            size = path.stat().st_size
            if size > _LARGEST:
                raise DataError(f"{self._title} has {size} bytes, more than any such file.")
            self._bytes = path.read_bytes()
            names = (ARRAYS | DICTS).__contains__
            operations = min(size, _MOST_OPERATIONS)
            self.value = read_pickle(io.BytesIO(self._bytes), size, names, operations=operations)
            self._left = size + _SPARE
        except RefusedName as error:
            raise DataError(
                f"{self._title} wants {ascii(error.name)[:100]} to be run while it is read, which is refused;"
                " boxes need no more than dicts, lists and arrays of numbers."
            ) from error
        except DataError:
            raise
        except (OSError, ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
            raise DataError(f"{self._title} can't be read as a pickle: {error}.") from error

    def array(self, value: Any) -> npt.NDArray[np.float64]:
        """An array, or nested lists of numbers, as float64 of its own shape.

        Raises:
            DataError: it is none, or all that were asked for are many times as large as the file.
        """
        try:
            if isinstance(value, Call):
                return self._opened(value)
            self._count(value)
            return np.array(value, np.float64)
        except (ValueError, TypeError, OverflowError) as error:
            raise DataError(f"{self._title}: an array isn't one of numbers: {error}.") from error

    def _count(self, value: Any) -> None:
        """Counts what nested lists hold, before they are copied: one list may stand in many places."""
        waiting = [value]
        while waiting:
            inner = waiting.pop()
            if isinstance(inner, list | tuple):
                self._take(len(inner))
                waiting.extend(inner)

    def _take(self, numbers: int) -> None:
        self._left -= numbers
        if self._left < 0:
            raise ValueError("there are many times as many numbers as the file has bytes")

    def _opened(self, call: Call) -> npt.NDArray[np.float64]:
        shape, code, fortran, is_big_endian, data = array_parts(call)
        if code not in _NUMBERS:
            raise ValueError(f"its type is {ascii(code)[:40]}")
        if isinstance(data, Blob):
            raw = self._bytes[data.offset : data.offset + data.length]
            data = raw.decode("utf-8").encode("latin-1") if data.is_utf8 else raw
        flat = np.frombuffer(data, np.dtype(code).newbyteorder(">" if is_big_endian else "<"))
        if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
            raise ValueError("its shape is damaged")
        self._take(len(flat))
        return flat.reshape(shape, order="F" if fortran else "C").astype(np.float64)
