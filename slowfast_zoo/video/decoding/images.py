"""Videos that are decoded already: folders of frames, and arrays."""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from slowfast_zoo.errors import InputError, VideoError, counted, one_line
from slowfast_zoo.video.decoding.video import Frame, Video, ahead
from slowfast_zoo.video.sources.contents import MAX_PIXELS, too_large
from slowfast_zoo.video.sources.names import PICTURE_SUFFIXES, VIDEO_SUFFIXES, display_name, mode_of

_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, LookupError, ArithmeticError, TypeError, struct.error)
"""What Pillow raises over damaged files."""

_PATTERN = re.compile(r"\{:0?\d*d?\}|%0?\d*d")

_SECONDS = re.compile(r"(?<!\d)1\d{9}\.\d+")
"""Seconds since 1970, and parts of them."""

_TIME = re.compile(
    r"(?<!\d)(?:19|20)\d\d([-_.]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])\D{0,3}"
    r"(?:[01]\d|2[0-3])[-_.:h]?[0-5]\d[-_.:m]?[0-5]\d(?:[-_.]?(?:\d{3}|\d{6}))?(?!\d)|" + _SECONDS.pattern
)
"""A day and a time of day, as cameras write them, or such seconds: they count as one number."""


def refuse_frames(source: object) -> None:
    """Refuses a list of frames in the place of a video.

    Raises:
        InputError: says how they become one.
    """
    if not isinstance(source, (list, tuple)) or not source:
        return
    if getattr(source[0], "ndim", 0) == 3 or hasattr(source[0], "getbands"):  # Pillow's pictures
        raise InputError(
            f"One video is expected, got a {type(source).__name__} of {counted(len(source), 'frame')}:"
            " numpy.stack(frames) makes one array of them, uint8 RGB (T, H, W, 3)."
        )


class FolderVideo(Video):
    """Pictures of one series in a folder, one a frame, in natural order ("9.jpg" before "10.jpg").

    ``folder/img_{:05}.jpg`` (or ``%05d``) takes only the pictures of that name.
    """

    codec = "images"

    def __init__(self, source: str | Path, fps: float | Fraction | None) -> None:
        super().__init__(display_name(source), fps)
        self._paths = frame_paths(source)
        self.height, self.width = self._picture(0)[1].shape[:2]

    @property
    def num_frames(self) -> int:
        return len(self._paths)

    def _read(self, wanted: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        return ahead(self._picture, wanted, self.height * self.width)

    def _picture(self, index: int) -> tuple[int, Frame]:
        from PIL import Image, ImageOps

        path = self._paths[index]
        name = display_name(path)
        try:
            with Image.open(path) as image:
                # The header alone has been read: no memory is taken for what is refused here.
                if image.width * image.height > MAX_PIXELS:
                    raise too_large(name, f"{image.width}x{image.height}")
                if (pictures := _pictures_in(image)) > 1:
                    raise VideoError(
                        f"'{name}' holds {pictures} pictures; accepted: one a file, so save each as its"
                        " own, or pass all as an array."
                    )
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


def _pictures_in(image: Any) -> int:
    """How many there are in a file, without those that photographs have with them: previews, and the one for
    the other eye."""
    count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if count == 1 or image.format != "TIFF":
        return count
    sizes = []
    for number in range(count):
        image.seek(number)
        sizes.append(image.size)
    image.seek(0)
    width, height = sizes[0]
    return sum(3 * wide > 2 * width or 3 * high > 2 * height for wide, high in sizes)


class ArrayVideo(Video):
    """Frames in memory: uint8 RGB of shape (T, H, W, 3), a NumPy array or a tensor."""

    codec = "array"

    def __init__(self, source: Any, fps: float | Fraction | None) -> None:
        super().__init__("<array>", fps)
        try:
            pixels = np.asarray(source.detach().cpu() if hasattr(source, "detach") else source)
        except (TypeError, RuntimeError) as error:  # tensors without plain numbers
            raise InputError(
                "An array of frames is uint8 RGB of shape (T, H, W, 3), got"
                f" {getattr(source, 'dtype', type(source).__name__)}: {one_line(error)}."
            ) from error
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
            hint = "; move the channels last" if pixels.ndim == 4 and 3 in pixels.shape[:2] else ""
            if pixels.ndim == 3 and 3 in (pixels.shape[0], pixels.shape[-1]):
                hint = "; numpy.stack(frames) makes one from single frames"
            elif pixels.ndim == 3:
                hint = "; numpy.stack([gray] * 3, axis=-1) makes RGB of gray frames"
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


def frame_paths(source: str | Path) -> list[Path]:
    """The pictures of a folder, or those of a pattern, that are its frames, in order.

    Raises:
        VideoError: there are none, or several series.
    """
    return _matching(Path(source)) if is_pattern(source) else _pictures(Path(source))


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
        listed = _listed(folder)
        advice = ""
        if any(path.suffix.lower() in VIDEO_SUFFIXES for path in listed):
            advice = " It holds videos: name one of them."
        elif any(path.is_dir() for path in listed):
            advice = " It holds folders: name a video, or give predict_many '**/*' below it."
        raise VideoError(
            f"The folder '{display_name(folder)}' holds no pictures; accepted: {accepted}.{advice}"
        )
    _check_one_series(folder, paths)
    return sorted(paths, key=lambda path: _natural(path.name))


def _check_one_series(folder: Path, paths: Sequence[Path]) -> None:
    """Refuses pictures that are counted after different words, or twice in names of different forms.

    Raises:
        VideoError: they are several series.
    """
    spans = _counters({path.stem for path in paths})
    heads: dict[str, Path] = {}
    forms: dict[str, list[Path]] = defaultdict(list)
    forms_with: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for path in sorted(paths):
        start, end = spans[path.stem]
        heads.setdefault(f"{path.stem[:start]}*", path)
        form = f"{path.stem[:start]}*{path.stem[end:]}{path.suffix}" if start < end else f"*{path.suffix}"
        forms[form].append(path)
        number = tuple(int(run) for run in re.findall(r"\d+", path.stem[start:end]))
        forms_with[number or (path.stem,)].add(form)
    if len(heads) > 1 and any(re.search(r"\d$", path.stem) for path in paths):
        series = heads
    else:
        shared = [sorted(found) for found in forms_with.values() if len(found) > 1]
        twice = next((found for found in shared if any(len(forms[form]) > 1 for form in found)), [])
        series = {form: forms[form][0] for form in twice}
    if not series:
        return
    names = ", ".join(f"'{display_name(name)}'" for name in list(series)[:4])
    way, some = "give each a folder of its own", next(iter(series.values()))
    start, end = spans[some.stem]
    if some.stem[start:end].isdecimal():
        example = folder / f"{some.stem[:start]}{{:05}}{some.stem[end:]}{some.suffix}"
        way = f"name one, such as '{display_name(example)}', or {way}"
    raise VideoError(f"The folder '{display_name(folder)}' holds several series ({names}): {way}.")


def _counters(stems: Collection[str]) -> dict[str, tuple[int, int]]:
    """From where to where a name has what counts its series; an empty span where it has no number."""
    alike: dict[str, list[str]] = defaultdict(list)
    for stem in sorted(stems, key=_natural):
        alike[re.sub(r"\d+", "0", stem)].append(stem)
    return {stem: span for group in alike.values() for stem, span in zip(group, _spans(group), strict=True)}


def _spans(stems: Sequence[str]) -> list[tuple[int, int]]:
    """The same of names that differ in their numbers alone, in natural order.

    Their time counts them, or the last number that differs; all that differ, where the last one never begins
    anew.
    """
    times = [found for stem in stems if (found := _TIME.search(stem))]
    if len(times) == len(stems) and (len(stems) == 1 or len({found[0] for found in times}) > 1):
        return [found.span() for found in times]
    runs = [[match.span() for match in re.finditer(r"\d+", stem)] for stem in stems]
    if not runs[0]:
        return [(len(stem), len(stem)) for stem in stems]
    numbers = [[int(stem[slice(*run)]) for run in found] for stem, found in zip(stems, runs, strict=True)]
    differ = [place for place, column in enumerate(zip(*numbers, strict=True)) if len(set(column)) > 1]
    last = differ[-1] if differ else -1
    goes_on = all(early[last] < late[last] for early, late in pairwise(numbers))
    first = differ[0] if differ and goes_on else last
    return [(run[first][0], run[last][1]) for run in runs]


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts runs of digits as numbers, and equal numbers by their text."""
    name = _SECONDS.sub(lambda found: found[0].ljust(20, "0"), name)
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts]


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise VideoError(
            f"The folder '{display_name(folder)}' can't be read: {error.strerror or error}."
        ) from error
