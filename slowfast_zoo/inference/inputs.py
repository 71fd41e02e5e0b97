"""What a caller means by a source: one video, or many."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from slowfast_zoo.errors import VideoError
from slowfast_zoo.video.decoding.sources import PICTURE_SUFFIXES, VIDEO_SUFFIXES

if TYPE_CHECKING:
    from slowfast_zoo.video.decoding.reader import Source

    Sources: TypeAlias = Source | Iterable[Source]


def many(source: object) -> Sequence[Source] | Iterator[Source] | None:
    """The videos of a folder, a glob pattern or an iterable, in order; None when ``source`` is one video.

    Where their number is known they come as a list or tuple, else as an iterator.

    A folder that holds videos stands for them, one with only pictures is a video itself. A pattern
    ("clips/*.mp4", "clips/**/*.mp4") names the videos that it matches, sorted by path.

    Raises:
        VideoError: a folder without videos and pictures, or a pattern that nothing matches.
    """
    if isinstance(source, (str, Path)):
        return _named(source)
    single = isinstance(source, (bytes, bytearray, memoryview)) or hasattr(source, "read")
    if single or hasattr(source, "__array__") or not isinstance(source, Iterable):
        return None
    return source if isinstance(source, (list, tuple)) else iter(source)


def videos_in(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The videos of a folder, sorted by path; hidden files and folders are left out.

    Raises:
        VideoError: the folder can't be read.
    """
    try:
        found = folder.rglob("*") if recursive else folder.iterdir()
        paths = [path for path in found if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()]
    except OSError as error:
        raise VideoError(f"The folder '{folder}' can't be read: {error.strerror or error}.") from error
    return sorted(
        path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _named(source: str | Path) -> Sequence[Source] | None:
    text, path = str(source), Path(source)
    if path.is_dir():
        videos = videos_in(path)
        if videos:
            return videos
        if any(child.suffix.lower() in PICTURE_SUFFIXES for child in path.iterdir()):
            return None
        raise VideoError(f"The folder '{path}' holds neither videos nor frames; 'folder/**/*' looks deeper.")
    if "://" in text or path.exists() or not glob.has_magic(text):
        return None
    matches = sorted(Path(match) for match in glob.glob(text, recursive=True))  # noqa: PTH207
    files = [match for match in matches if match.suffix.lower() in VIDEO_SUFFIXES and match.is_file()]
    if not files:
        raise VideoError(f"No video matches '{text}'.")
    return files
