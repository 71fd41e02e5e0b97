"""OpenCV's bilinear resize of bytes, bit for bit, in NumPy.

OpenMMLab and GluonCV resize bytes with ``cv2.resize(..., INTER_LINEAR)``, which computes in
fixed point. A float resize that is rounded afterwards differs in every eighth value, so the
arithmetic itself is repeated here; the tests compare it with OpenCV where that is installed.

Source: the 8-bit linear path of OpenCV's ``resize.cpp`` (https://github.com/opencv/opencv).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]
Weights = npt.NDArray[np.int32]

_ONE = 2048  # OpenCV's weights are multiples of 1/2048
_BAND_ROWS = 24  # the buffers of a band of this many rows stay in the processor's cache


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
    upper: Places
    lower: Places
    upper_weight: Weights
    lower_weight: Weights


class _Plan(NamedTuple):
    """Everything about a resize that doesn't depend on the pixels."""

    left: Places
    right: Places
    left_weight: Weights
    right_weight: Weights
    bands: tuple[_Band, ...]


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
    plan = _plan(source_height, source_width, height, width, channels, box, planar)
    source = np.ascontiguousarray(picture).reshape(source_height, source_width * channels)
    out = np.empty((box.height, box.width * channels), np.uint8)
    most = max(len(band.rows) for band in plan.bands)
    mixed, other = np.empty((2, most, out.shape[1]), np.int32)
    upper, lower = np.empty((2, _BAND_ROWS, out.shape[1]), np.int32)
    for band in plan.bands:
        rows = source.take(band.rows, axis=0)
        across, right = mixed[: len(rows)], other[: len(rows)]
        np.copyto(across, rows.take(plan.left, axis=1))
        np.copyto(right, rows.take(plan.right, axis=1))
        across *= plan.left_weight
        right *= plan.right_weight
        across += right
        # The low four bits go now, so that OpenCV's products fit into 32 bits; hence the
        # three shifts, whose sum is the 22 bits of the two weights.
        across >>= 4
        above, below = upper[: len(band.upper)], lower[: len(band.upper)]
        np.take(across, band.upper, axis=0, out=above, mode="clip")
        np.take(across, band.lower, axis=0, out=below, mode="clip")
        above *= band.upper_weight
        below *= band.lower_weight
        above >>= 16
        below >>= 16
        above += below
        above += 2
        above >>= 2
        out[band.out] = above
    return out.reshape(box.height, channels, box.width)


@functools.lru_cache(maxsize=64)
def _plan(
    source_height: int, source_width: int, height: int, width: int, channels: int, box: Box, planar: bool
) -> _Plan:
    left, right, left_weight, right_weight = _taps(
        source_width, width, box.left, box.width, blend_edges=False
    )
    upper, lower, upper_weight, lower_weight = _taps(
        source_height, height, box.top, box.height, blend_edges=True
    )
    bands = []
    for first in range(0, box.height, _BAND_ROWS):
        out = slice(first, min(first + _BAND_ROWS, box.height))
        rows, place = np.unique(np.concatenate([upper[out], lower[out]]), return_inverse=True)
        above, below = np.split(place, 2)
        bands.append(_Band(out, rows, above, below, upper_weight[out, None], lower_weight[out, None]))
    channel = np.arange(channels)[:, None]
    step, offset = (1, channel * source_width) if planar else (channels, channel)
    return _Plan(
        (left * step + offset).ravel(),
        (right * step + offset).ravel(),
        np.tile(left_weight, channels),
        np.tile(right_weight, channels),
        tuple(bands),
    )


def _taps(
    source: int, target: int, first: int, count: int, *, blend_edges: bool
) -> tuple[Places, Places, Weights, Weights]:
    """The two source places of each wanted target place, and their weights.

    OpenCV treats what lies beyond the edge in two ways: across a row it drops the second place,
    down a column it blends the edge row with itself, which rounds differently.
    """
    place = np.arange(first, first + count, dtype=np.float64)
    exact = ((place + 0.5) * (1 / (target / source)) - 0.5).astype(np.float32)
    near = np.floor(exact).astype(np.int64)
    part = exact - near.astype(np.float32)
    if not blend_edges:
        part[(near < 0) | (near >= source - 1)] = 0
    weight = np.rint(part * np.float32(_ONE)).astype(np.int32)
    rest = np.rint((np.float32(1) - part) * np.float32(_ONE)).astype(np.int32)
    return np.clip(near, 0, source - 1), np.clip(near + 1, 0, source - 1), rest, weight
