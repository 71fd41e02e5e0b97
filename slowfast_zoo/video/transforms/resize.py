"""OpenCV's bilinear resize of bytes, bit for bit, in C where that was built and in NumPy otherwise.

OpenMMLab and GluonCV resize bytes with ``cv2.resize(..., INTER_LINEAR)``, which computes in
fixed point. A float resize that is rounded afterwards differs in every eighth value, so the
arithmetic itself is repeated here; the tests compare it with OpenCV where that is installed.

Source: the 8-bit linear path of OpenCV's ``resize.cpp`` (https://github.com/opencv/opencv).
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from slowfast_zoo.video.transforms import compiled

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]
Weights = npt.NDArray[np.int32]
Shorts = npt.NDArray[np.int16]

_ONE = 2048  # OpenCV's weights are multiples of 1/2048
_BAND_ROWS = 256
"""Output rows at a time: fewer let threads wait for each other more often, more take more memory."""


class Box(NamedTuple):
    """A rectangle of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


class _Band(NamedTuple):
    """Some output rows: the source rows that they need, and how two of those mix into each."""

    out: slice
    rows: Places
    upper: Places | slice
    lower: Places | slice
    upper_weight: Weights
    lower_weight: Weights


class _Plan(NamedTuple):
    """Everything about a resize that doesn't depend on the pixels.

    The right weight of a column is 16 * coarse + fine, the left one is what it lacks to 2048, and the
    excess: OpenCV rounds both, so that far beyond usual sizes (106 to 9523 pixels) a sum can be 2049 or 2047.
    """

    left: Places
    right: Places
    coarse: npt.NDArray[np.int16]
    fine: npt.NDArray[np.int16]
    excess: npt.NDArray[np.int16] | None
    bands: tuple[_Band, ...]


class _Memory(threading.local):
    """Arrays to calculate in, kept by each thread: fresh memory would cost more than the arithmetic."""

    def __init__(self) -> None:
        self._block = np.empty(0, np.uint8)

    def arrays(self, *wanted: tuple[int, int, type[np.generic]]) -> Iterator[npt.NDArray[Any]]:
        """Arrays of (rows, columns, dtype), uninitialized and valid until the thread's next call."""
        sizes = [rows * columns * np.dtype(kind).itemsize for rows, columns, kind in wanted]
        starts = list(itertools.accumulate((-(-size // 64) * 64 for size in sizes), initial=0))
        if len(self._block) < starts[-1]:
            self._block = np.empty(starts[-1], np.uint8)
        for start, size, (rows, columns, kind) in zip(starts, sizes, wanted, strict=False):
            yield self._block[start : start + size].view(kind).reshape(rows, columns)


_memory = _Memory()


def resize_bytes(
    picture: Bytes, height: int, width: int, box: Box | None = None, *, planar: bool = False
) -> Bytes:
    """The resized picture, uint8 of shape (box height, C, box width).

    Args:
        picture: uint8 of shape (H, W, C), or (H, C, W) when ``planar``.
        height: pixels of the whole resized picture.
        width: pixels of the whole resized picture.
        box: the part of the resized picture that is wanted, None for all of it. Computing only
            that part gives the bytes that cutting it out afterwards would.
        planar: whether each row holds one channel after the other, as in what is returned.
    """
    source_height, source_width, channels = picture.shape
    if planar:
        source_width, channels = channels, source_width
    box = box or Box(0, 0, width, height)
    if (height, width) == (source_height, source_width):
        rows = picture if planar else picture.transpose(0, 2, 1)
        return rows[box.top : box.top + box.height, :, box.left : box.left + box.width].copy(order="C")
    shape = (source_height, source_width, height, width, channels, box, planar)
    source = np.ascontiguousarray(picture).reshape(source_height, source_width * channels)
    out = np.empty((box.height, box.width * channels), np.uint8)
    if compiled.library() is not None:
        (memory,) = _memory.arrays((2, out.shape[1], np.int16))
        _compiled_resize(*shape)(source, out, memory)
    else:
        _resize_in_bands(source, out, _plan(*shape))
    return out.reshape(box.height, channels, box.width)


def _resize_in_bands(source: Bytes, out: Bytes, plan: _Plan) -> None:
    """Fills ``out``, (rows, channels * columns), with NumPy alone."""
    across = out.shape[1]
    most = max(len(band.rows) for band in plan.bands)
    rows, taps, mixed, step, fine, above, below = _memory.arrays(
        (most, source.shape[1], np.uint8),
        (most, across, np.uint8),
        *[(most, across, np.int16)] * 3,
        *[(_BAND_ROWS, across, np.int32)] * 2,
    )
    for band in plan.bands:
        count = len(band.rows)
        np.take(source, band.rows, axis=0, out=rows[:count], mode="clip")
        _mix_columns(rows[:count], plan, taps[:count], mixed[:count], step[:count], fine[:count])
        count = len(band.upper_weight)
        _mix_rows(mixed, band, above[:count], below[:count])
        np.copyto(out[band.out], above[:count], casting="unsafe")


def _mix_columns(rows: Bytes, plan: _Plan, taps: Bytes, mixed: Shorts, step: Shorts, fine: Shorts) -> None:
    """``mixed`` becomes (left weight * left + right weight * right) >> 4.

    OpenCV drops those four bits later, where its products have to fit into 32 bits. Dropping them
    here lets 16 bits do: 128 * left + coarse * (right - left) + (fine * (right - left) >> 4), where
    only the last term has a fraction and all of them stay within 32640.
    """
    np.copyto(mixed, np.take(rows, plan.left, axis=1, out=taps, mode="clip"))
    np.copyto(step, np.take(rows, plan.right, axis=1, out=taps, mode="clip"))
    step -= mixed
    np.multiply(step, plan.fine, out=fine)
    if plan.excess is not None:
        fine += plan.excess * mixed
    fine >>= 4
    step *= plan.coarse
    mixed <<= 7
    mixed += step
    mixed += fine


def _mix_rows(mixed: Shorts, band: _Band, above: Weights, below: Weights) -> None:
    """``above`` becomes ((weight * above >> 16) + (weight * below >> 16) + 2) >> 2.

    Masking the first product is its first shift, and the other shifts become one.
    """
    np.copyto(above, mixed[band.upper])
    np.copyto(below, mixed[band.lower])
    above *= band.upper_weight
    above &= -65536
    below *= band.lower_weight
    above += below
    above += 2 << 16
    above >>= 18


@functools.lru_cache(maxsize=64)
def _compiled_resize(
    source_height: int, source_width: int, height: int, width: int, channels: int, box: Box, planar: bool
) -> compiled.CompiledResize:
    left, right, *weights = taps(source_width, width, box.left, box.width, blend_edges=False)
    between = 1 if planar else channels
    return compiled.CompiledResize(
        (left * between, right * between, *weights),
        taps(source_height, height, box.top, box.height, blend_edges=True),
        channels=channels,
        stride=source_width * channels,
        apart=source_width if planar else 1,
    )


@functools.lru_cache(maxsize=64)
def _plan(
    source_height: int, source_width: int, height: int, width: int, channels: int, box: Box, planar: bool
) -> _Plan:
    left, right, left_weight, right_weight = taps(source_width, width, box.left, box.width, blend_edges=False)
    upper, lower, upper_weight, lower_weight = taps(
        source_height, height, box.top, box.height, blend_edges=True
    )
    bands = []
    for first in range(0, box.height, _BAND_ROWS):
        out = slice(first, min(first + _BAND_ROWS, box.height))
        rows = np.concatenate([upper[out], lower[out]])
        count = len(rows) // 2
        # Shrunk to less than half, no row is needed twice, and those of a kind lie together.
        above: Places | slice = slice(count)
        below: Places | slice = slice(count, len(rows))
        unique, index = np.unique(rows, return_inverse=True)
        if len(unique) < len(rows):
            rows, above, below = unique, index[:count], index[count:]
        bands.append(_Band(out, rows, above, below, upper_weight[out, None], lower_weight[out, None]))
    channel = np.arange(channels)[:, None]
    step, offset = (1, channel * source_width) if planar else (channels, channel)
    weights = np.tile(right_weight.astype(np.int16), channels)
    excess = np.tile((left_weight + right_weight - _ONE).astype(np.int16), channels)
    return _Plan(
        (left * step + offset).ravel(),
        (right * step + offset).ravel(),
        weights >> 4,
        weights & 15,
        excess if excess.any() else None,
        tuple(bands),
    )


def taps(
    source: int, target: int, first: int, count: int, *, blend_edges: bool
) -> tuple[Places, Places, Weights, Weights]:
    """The two source indices of each wanted target index, and their weights (int32, of 2048).

    OpenCV treats what lies beyond the edge in two ways: across a row it drops the second index,
    down a column it blends the edge row with itself, which rounds differently.
    """
    index = np.arange(first, first + count, dtype=np.float64)
    exact = ((index + 0.5) * (1 / (target / source)) - 0.5).astype(np.float32)
    near = np.floor(exact).astype(np.int64)
    part = exact - near.astype(np.float32)
    if not blend_edges:
        part[(near < 0) | (near >= source - 1)] = 0
    weight = np.rint(part * np.float32(_ONE)).astype(np.int32)
    rest = np.rint((np.float32(1) - part) * np.float32(_ONE)).astype(np.int32)
    return np.clip(near, 0, source - 1), np.clip(near + 1, 0, source - 1), rest, weight
