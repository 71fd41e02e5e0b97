"""A decoded frame as upright RGB bytes, equal to those that the publishers' decoders gave.

Conversion is libswscale's with its default (bicubic) chroma filter, by the stream's own matrix and
range: on even 8-bit frames the very bytes of decord and OpenCV.
"""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING

import numpy as np

from slowfast_zoo.errors import VideoError
from slowfast_zoo.video.decoding.video import Frame

if TYPE_CHECKING:
    from av import VideoFrame

_PLANAR = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"})
"""Pixel formats that PyAV copies through NumPy unchanged."""

Matrix = tuple[int, int, int, int]


class RgbConverter:
    """Turns the frames of one video into arrays of the first frame's size and orientation.

    Attributes:
        width: pixels of the upright frame.
        height: pixels of the upright frame.
        turned: whether its rows are the coded frame's columns.
        coded_size: width and height of the first frame as coded.
    """

    def __init__(self, name: str, first: VideoFrame) -> None:
        self._name = name
        self.coded_size = self._size = (first.width, first.height)
        self._matrix = display_matrix(first)
        empty = np.empty((first.height, first.width, 0), np.uint8)
        self.height, self.width = upright(empty, self._matrix).shape[:2]
        self.turned = _is_turned(self._matrix)
        self._local = threading.local()

    def scale(self, short_side: int) -> None:
        """Makes frames of that shorter side, in one step with the colors, as ``ffmpeg -vf scale``.

        The longer side is cut to whole pixels.
        """
        width, height = self.coded_size
        short = min(width, height)
        self._size = (int(width * short_side / short), int(height * short_side / short))
        self.width, self.height = reversed(self._size) if self.turned else self._size

    def __call__(self, frame: VideoFrame) -> Frame:
        """Upright uint8 RGB of shape (H, W, 3); may be called from several threads.

        Raises:
            VideoError: libswscale knows no way from the frame's pixel format to RGB.
        """
        import av
        from av.video.reformatter import VideoReformatter

        if not hasattr(self._local, "reformatter"):
            self._local.reformatter = VideoReformatter()
        width, height = self._size
        if frame.interlaced_frame or self._size != self.coded_size:
            frame = _plain(frame)
        try:
            rgb = self._local.reformatter.reformat(
                frame, width, height, "rgb24", interpolation="BICUBIC", threads=1
            )
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(f"A frame of '{self._name}' can't be converted to RGB: {error}.") from error
        plane = rgb.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(height, plane.line_size)[:, : width * 3]
        pixels = upright(rows.reshape(height, width, 3), self._matrix)
        # Bytes that were RGB already are the decoder's own, which must not change.
        return pixels.copy(order="C") if rgb is frame else np.ascontiguousarray(pixels)


def _plain(frame: VideoFrame) -> VideoFrame:
    """The same pixels without the interlaced flag, and without the place of the colors.

    libswscale 9 converts the two fields of a flagged frame apart, and scales colors from where they were
    sampled. The versions that the publishers' decoders were built with didn't, and their bytes are what the
    weights were scored with, and features made of.
    """
    import av

    if frame.format.name not in _PLANAR or frame.width % 2 or frame.height % 2:
        return frame
    plain = av.VideoFrame.from_ndarray(frame.to_ndarray(), format=frame.format.name)
    plain.colorspace, plain.color_range = frame.colorspace, frame.color_range
    return plain


def display_matrix(frame: VideoFrame) -> Matrix:
    """(a, b, c, d) of the display matrix: x' = ax + cy, y' = bx + dy, in 1/65536.

    Source: ISO/IEC 14496-12, 6.2.2, and FFmpeg's display.h.
    """
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # PyAV 18 can't list side data of kinds that it doesn't know; the angle is still there.
        quarters = round(frame.rotation / 90) % 4
        return ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))[quarters]
    if data is None or data.buffer_size < 36:
        return 1, 0, 0, 1
    a, b, _, c, d, _, _, _, _ = struct.unpack("=9i", bytes(data)[:36])
    return a, b, c, d


def upright(pixels: Frame, matrix: Matrix) -> Frame:
    """A view of (H, W, C) pixels in the nearest of the eight orientations."""
    _, b, c, _ = matrix
    across, down = matrix[0], matrix[3]
    if _is_turned(matrix):
        pixels, across, down = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]


def _is_turned(matrix: Matrix) -> bool:
    a, b, c, d = matrix
    return abs(b) + abs(c) > abs(a) + abs(d)
