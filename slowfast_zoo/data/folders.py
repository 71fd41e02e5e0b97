"""Clips found on the disk: class folders, folders of frames, and files by their video id."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from slowfast_zoo.data.annotations import CLIP_SUFFIXES, Sample
from slowfast_zoo.errors import DataError, quoted
from slowfast_zoo.video.decoding.sources import PICTURE_SUFFIXES

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
"""What folders and lists of a split dataset are called, and which part they are."""

_LISTS = (".csv", ".tsv", ".jsonl", ".txt")
# Kinetics' files are called by video id, first and last second.
_TIMED = re.compile(r"(.{11})_\d{6}_\d{6}")


def find_splits(folder: Path) -> dict[str, Path]:
    """The parts of a dataset that comes divided: "train" and "val" or "test", or nothing.

    Args:
        folder: holds folders of those names (``SPLITS``), or lists (train.csv, val.csv).

    Raises:
        DataError: two things claim to be the same part, or parts without training data.
    """
    if not folder.is_dir():
        return {}
    found: dict[str, Path] = {}
    for path in _listed(folder):
        part = SPLITS.get((path.name if path.is_dir() else path.stem).lower())
        if part is None or not (path.is_dir() or path.suffix.lower() in _LISTS):
            continue
        if part in found:
            raise DataError(f"'{folder}' has two {part} parts: '{found[part].name}' and '{path.name}'.")
        found[part] = path
    if found and "train" not in found:
        raise DataError(
            f"'{folder}' has {quoted(path.name for path in found.values())} but no training data."
        )
    return found if len(found) > 1 else {}


def read_folder(folder: Path) -> list[Sample]:
    """A sample for each video, stored clip and folder of frames below each class folder, sorted by path.

    Raises:
        DataError: no class folders, or one that holds no clip.
    """
    classes = [path for path in _listed(folder) if path.is_dir()]
    if not classes:
        raise DataError(
            f"The folder '{folder}' has no folders in it; accepted: one folder of clips per class."
        )
    samples = []
    for path in classes:
        clips = list(_clips(path))
        if not clips:
            raise DataError(
                f"The class folder '{path}' holds no clips: neither videos nor folders of frames."
            )
        samples += [Sample(where=str(clip), path=clip, written=(path.name,)) for clip in clips]
    if {path.name.lower() for path in classes} <= set(SPLITS):
        raise DataError(
            f"'{folder}' holds parts of a dataset ({quoted(p.name for p in classes)}), not classes."
        )
    return samples


def is_frame_folder(path: Path) -> bool:
    """Whether it is a folder with a picture in it."""
    return path.is_dir() and any(child.suffix.lower() in PICTURE_SUFFIXES for child in path.iterdir())


def find_ids(samples: Sequence[Sample], root: Path) -> list[Sample]:
    """The samples with the files that belong to their ids: ``id.mp4``, ``id_000010_000020.mp4``, or a folder.

    A sample whose file isn't there keeps ``root/id``: reading it will say so.

    Args:
        samples: ids as paths.
        root: searched with all its folders.
    """
    wanted = {sample.path.name for sample in samples}
    found: dict[str, Path] = {}
    waiting = [root]
    while waiting:
        for path in _listed(waiting.pop()):
            folder = path.is_dir()
            name = path.name if folder else path.stem
            timed = _TIMED.fullmatch(name)
            known = name if name in wanted else timed[1] if timed and timed[1] in wanted else None
            if known is not None and (folder or path.suffix.lower() in CLIP_SUFFIXES):
                found.setdefault(known, path)
            elif folder:
                waiting.append(path)
    return [replace(sample, path=found.get(sample.path.name, sample.path)) for sample in samples]


def _clips(folder: Path) -> Iterator[Path]:
    for path in _listed(folder):
        if path.is_dir():
            yield from [path] if is_frame_folder(path) else _clips(path)
        elif path.suffix.lower() in CLIP_SUFFIXES:
            yield path


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"The folder '{folder}' can't be read: {error.strerror or error}.") from error
