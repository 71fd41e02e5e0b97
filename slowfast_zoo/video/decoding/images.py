"""Videos that are decoded already: folders of frames, and arrays."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from slowfast_zoo.errors import InputError, VideoError
from slowfast_zoo.video.decoding.sources import MAX_PIXELS, PICTURE_SUFFIXES, display_name, mode_of, too_large
from slowfast_zoo.video.decoding.video import Frame, Video, ahead

_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, LookupError, ArithmeticError, TypeError, struct.error)
"""What Pillow raises over damaged files."""

_PATTERN = re.compile(r"\{:0?\d*d?\}|%0?\d*d")


class FolderVideo(Video):
    """Pictures in a folder, one a frame, in natural order ("9.jpg" before "10.jpg").

    ``folder/img_{:05}.jpg`` (or ``%05d``) takes only the pictures of that name.
    """

    codec = "images"

    def __init__(self, source: str | Path, fps: float | Fraction | None) -> None:
        super().__init__(display_name(source), fps)
        self._paths = _matching(Path(source)) if is_pattern(source) else _pictures(Path(source))
        self.height, self.width = self._picture(0)[1].shape[:2]

    @property
    def num_frames(self) -> int:
        return len(self._paths)

    def _read(self, wanted: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        return ahead(self._picture, wanted)

    def _picture(self, index: int) -> tuple[int, Frame]:
        from PIL import Image, ImageOps

        path = self._paths[index]
        name = display_name(path)
        try:
            with Image.open(path) as image:
                # The header alone has been read: no memory is taken for what is refused here.
                if image.width * image.height > MAX_PIXELS:
                    raise too_large(name, f"{image.width}x{image.height}")
                if image.mode.startswith(("I", "F")):
                    raise VideoError(f"'{name}' has {image.mode} pixels; accepted: 8 bits per channel.")
                pixels = np.array(ImageOps.exif_transpose(image).convert("RGB"))
        except VideoError:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise too_large(name, "far too many") from None
        except _DAMAGE as error:
            raise VideoError(f"'{name}' can't be read as a picture: {error}.") from error
        size = pixels.shape[:2]
        if index and size != (self.height, self.width):
            raise VideoError(
                f"'{name}' is {size[1]}x{size[0]} pixels, the first frame {self.width}x{self.height}: "
                "the frames of a video have one size."
            )
        return index, pixels


class ArrayVideo(Video):
    """Frames in memory: uint8 RGB of shape (T, H, W, 3), a NumPy array or a tensor."""

    codec = "array"

    def __init__(self, source: Any, fps: float | Fraction | None) -> None:
        super().__init__("<array>", fps)
        array = source.detach().cpu() if hasattr(source, "detach") else source
        pixels = np.asarray(array)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
            hint = "; move the channels last" if pixels.ndim == 4 and 3 in pixels.shape[:2] else ""
            raise InputError(
                f"An array of frames is uint8 RGB of shape (T, H, W, 3), "
                f"got {pixels.dtype} of shape {pixels.shape}{hint}."
            )
        if 0 in pixels.shape:
            raise InputError(f"An array of frames has at least one frame and pixel, got {pixels.shape}.")
        self._pixels = pixels
        self.height, self.width = pixels.shape[1:3]

    @property
    def num_frames(self) -> int:
        return len(self._pixels)

    def _read(self, wanted: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        return ((index, self._pixels[index].copy()) for index in wanted)


def is_pattern(source: object) -> bool:
    """Whether ``source`` names frames by a pattern such as ``img_{:05}.jpg`` or ``%05d.png``."""
    return (
        isinstance(source, (str, Path))
        and _PATTERN.search(Path(source).name) is not None
        and mode_of(Path(source)) is None
    )


def _matching(pattern: Path) -> list[Path]:
    head, tail = _PATTERN.split(pattern.name, maxsplit=1)
    shape = re.compile(re.escape(head) + r"(\d+)" + re.escape(tail))
    found = [(match, path) for path in _listed(pattern.parent) if (match := shape.fullmatch(path.name))]
    if not found:
        raise VideoError(
            f"No file in '{display_name(pattern.parent)}' is called like '{display_name(pattern.name)}'."
        )
    return [path for _, path in sorted(found, key=lambda item: int(item[0][1]))]


def _pictures(folder: Path) -> list[Path]:
    paths = [
        path for path in _listed(folder) if path.suffix.lower() in PICTURE_SUFFIXES and path.name[0] != "."
    ]
    if not paths:
        accepted = ", ".join(sorted(PICTURE_SUFFIXES))
        raise VideoError(f"The folder '{display_name(folder)}' holds no pictures; accepted: {accepted}.")
    series = sorted({re.sub(r"\d+$", "", path.stem) for path in paths})
    if len(series) > 1 and any(re.search(r"\d$", path.stem) for path in paths):
        names = ", ".join(f"'{name}*'" for name in series[:4])
        example = folder / f"{series[0]}{{:05}}{paths[0].suffix}"
        raise VideoError(
            f"The folder '{display_name(folder)}' holds several series ({names}): "
            f"name one, such as '{display_name(example)}'."
        )
    return sorted(paths, key=lambda path: _natural(path.name))


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts runs of digits as numbers, and equal numbers by their text."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts]


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise VideoError(
            f"The folder '{display_name(folder)}' can't be read: {error.strerror or error}."
        ) from error
