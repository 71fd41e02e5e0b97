"""resize.c, where the installation has built it (``hatch_build.py``): the same bytes as NumPy's, sooner."""

from __future__ import annotations

import ctypes
import functools
import logging
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

_LOGGER = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("resize.c")


def library_path() -> Path:
    """Where the library of this very source is, or would be."""
    return SOURCE.with_name(f"resize.so.{zlib.crc32(SOURCE.read_bytes()):08x}")


@functools.cache
def library() -> ctypes.CDLL | None:
    """The library; None where there is none: no C compiler at installation, or a bare checkout."""
    try:
        return ctypes.CDLL(str(library_path()))
    except OSError as error:
        _LOGGER.debug("Frames are resized by NumPy: %s", error)
        return None


class _Plan(ctypes.Structure):
    _fields_ = (
        *[(name, ctypes.c_int64) for name in ("rows", "width", "channels", "stride", "apart")],
        *[(f"{side}{what}", ctypes.c_void_p) for what in ("", "_weight") for side in ("left", "right")],
        *[(f"{side}{what}", ctypes.c_void_p) for what in ("", "_weight") for side in ("upper", "lower")],
    )


class CompiledResize:
    """One resize, for all pictures of a shape.

    Args:
        columns: of each column of the result: byte of the left and right source pixel's first channel in
            its row, and their weights.
        rows: of each row of the result: upper and lower source row, and their weights.
        channels: of a pixel.
        stride: bytes of a source row.
        apart: bytes from one channel of a source pixel to the next.
    """

    def __init__(
        self,
        columns: tuple[npt.NDArray[np.integer], ...],
        rows: tuple[npt.NDArray[np.integer], ...],
        *,
        channels: int,
        stride: int,
        apart: int,
    ) -> None:
        self._arrays = [np.ascontiguousarray(values, np.int32) for values in (*columns, *rows)]
        pointers = [values.ctypes.data for values in self._arrays]
        self._plan = _Plan(len(rows[0]), len(columns[0]), channels, stride, apart, *pointers)

    def __call__(
        self, source: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8], memory: npt.NDArray[np.int16]
    ) -> None:
        """Fills ``out``, (rows, channels * columns); ``memory`` has two such rows to calculate in."""
        found = library()
        assert found is not None
        arrays = [ctypes.c_void_p(array.ctypes.data) for array in (source, out, memory)]
        found.resize(ctypes.byref(self._plan), *arrays)
