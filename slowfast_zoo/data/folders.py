"""Clips found on the disk: class folders, folders of frames, and files by their video id."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from slowfast_zoo.data.annotations import CACHE_INDEX, CLIP_SUFFIXES, Listing, Sample
from slowfast_zoo.errors import DataError, InputError, counted, quoted
from slowfast_zoo.files import expanded, is_inside, kind_of
from slowfast_zoo.video.sources.names import PICTURE_SUFFIXES

_USUAL = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
_RARER = {"validate": "val", "dev": "val", "eval": "val", "evaluation": "val", "testing": "test"}
"""What may also be a class or a stray file: it counts beside "train", for a part that has no usual name."""
SPLITS = _USUAL | _RARER
"""What folders and lists of a split dataset are called, and which part they are."""

_LISTS = (".csv", ".tsv", ".jsonl", ".txt", ".json")
"""The last is often another form of a list beside it, as Kinetics has it: it counts where it is alone."""
_TRAINING = re.compile(r"train(ing)?([ _-]?(set|data|split|part|videos?|clips?|[0-9]+))*", re.IGNORECASE)
"""What a folder may be called that is the part to train with rather than a class."""
# Kinetics' files are called by video id, first and last second.
_TIMED = re.compile(r"(.{11})_\d{6}_\d{6}")


def find_splits(folder: Path) -> dict[str, Path]:
    """The parts of a dataset that comes divided: "train" and "val" or "test", or nothing.

    Args:
        folder: holds folders of those names (``SPLITS``), or lists (train.csv, val.csv).

    Raises:
        DataError: two things claim to be the same part, or parts without training data.
    """
    if kind_of(folder) != "folder":
        return {}
    found = _parts_called(_USUAL, folder)
    if "train" in found:
        rarer = {name: part for name, part in _RARER.items() if part not in found}
        found |= _parts_called(rarer, folder)
    elif found:
        raise DataError(
            f"'{folder}' has {quoted(path.name for path in found.values())} but no training data."
        )
    return found if len(found) > 1 else {}


def check_outside(place: str | Path, *sources: str | Path) -> None:
    """Refuses to write into a folder of classes, where what is written would be read as a class.

    Args:
        place: folder to write to.
        sources: what is read: folders of classes or of parts, or lists.

    Raises:
        InputError: names both.
    """
    for source in map(expanded, sources):
        for part in find_splits(source).values() or [source]:
            if is_inside(place, part) and not any(name.startswith(".") for name in _names_below(place, part)):
                raise InputError(
                    f"'{place}' is in the data folder '{part}', where its files would be read as a class;"
                    " name a folder outside of the data."
                )


def _names_below(place: str | Path, folder: Path) -> tuple[str, ...]:
    return expanded(place).resolve().relative_to(folder.resolve()).parts


def _parts_called(names: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """The folders and lists in a folder by the part that their name means there."""
    found: dict[str, Path] = {}
    for path in sorted(_listed(folder), key=lambda path: path.suffix.lower() == ".json"):
        is_folder = kind_of(path) == "folder"
        part = names.get((path.name if is_folder else path.stem).lower())
        if part is None or not (is_folder or path.suffix.lower() in _LISTS):
            continue
        if part in found and path.suffix.lower() == ".json" != found[part].suffix.lower():
            continue
        if part in found:
            raise DataError(f"'{folder}' has two {part} parts: '{found[part].name}' and '{path.name}'.")
        found[part] = path
    return found


def read_folder(folder: Path, *, skip_empty: bool = False, told: bool = False) -> Listing:
    """A clip for each video, stored clip and folder of frames below each class folder, sorted by path.

    Args:
        folder: holds a folder per class.
        skip_empty: leave out classes whose folders hold no clip.
        told: whether somebody said that these are folders of classes.

    Raises:
        DataError: no class folders, one that holds no clip, parts of a dataset, or what ``cache`` wrote.
    """
    if not told and _is_cache(folder):
        raise DataError(
            f"'{folder}' is a folder of 'slowfast-zoo cache', where older copies may lie, too: give its list,"
            f" '{folder / CACHE_INDEX}', which says which clips belong to it."
        )
    classes = [path for path in _listed(folder) if kind_of(path) == "folder"]
    if not classes:
        raise DataError(
            f"The folder '{folder}' has no folders in it; accepted: one folder of clips per class."
        )
    samples = []
    for path in classes:
        clips = _clips_below(path)
        if not clips and skip_empty:
            continue
        if not clips:
            raise DataError(
                f"The class folder '{path}' holds no clips: neither videos nor folders of frames."
            )
        samples += [Sample(where=str(clip), path=clip, written=(path.name.strip(),)) for clip in clips]
    names = {path.name.lower() for path in classes}
    if names <= set(SPLITS) and names & set(_USUAL):
        raise DataError(
            f"'{folder}' holds parts of a dataset ({quoted(p.name for p in classes)}), not classes."
        )
    training = (path for path in classes if _TRAINING.fullmatch(path.name) and _has_parts(path))
    if not told and (part := next(training, None)):
        raise DataError(
            f"'{part}' holds folders of clips, so '{folder}' seems to hold parts of a dataset, not classes;"
            " call the parts train, val and test, or, if it is a class, say form='folders' (--form folders)."
        )
    return Listing(samples, named=True)


def _is_cache(folder: Path) -> bool:
    """Whether it has the list that ``cache`` writes."""
    try:
        with (folder / CACHE_INDEX).open("rb") as file:
            return b"cached_as" in file.readline(4096)
    except OSError:
        return False


def loose_clips(source: str | Path) -> list[str]:
    """A sentence about clips beside the class folders of a folder, where they belong to none, if any are."""
    folder = expanded(source)
    if kind_of(folder) != "folder" or find_splits(folder):
        return []
    loose = [path.name for path in _listed(folder) if _is_loose(path)]
    if not loose:
        return []
    return [f"Left out {counted(len(loose), 'clip')} beside the class folders, such as '{loose[0]}'."]


def _is_loose(path: Path) -> bool:
    return path.suffix.lower() in CLIP_SUFFIXES and not path.name.startswith(".") and kind_of(path) == "file"


def empty_classes(source: str | Path) -> list[str]:
    """The class folders without a clip, where the source is a folder of classes of which others have some."""
    folder = expanded(source)
    if kind_of(folder) != "folder" or find_splits(folder):
        return []
    classes = [path for path in _listed(folder) if kind_of(path) == "folder"]
    empty = [path.name for path in classes if not _clips_below(path)]
    return empty if len(empty) < len(classes) else []


def _clips_below(folder: Path) -> list[Path]:
    return list(_walk(folder, _is_clip))


def _is_clip(path: Path) -> bool:
    """Whether it is no folder, or one of frames; pictures beside videos are stills of these."""
    return kind_of(path) != "folder" or (is_frame_folder(path) and not _holds(path, CLIP_SUFFIXES))


def _has_parts(folder: Path) -> bool:
    """Whether it holds folders of clips."""
    inner = [path for path in _listed(folder) if kind_of(path) == "folder" and not _is_clip(path)]
    return any(next(_walk(path, _is_clip), None) is not None for path in inner)


def is_frame_folder(path: Path) -> bool:
    """Whether it is a folder with a picture in it."""
    return kind_of(path) == "folder" and _holds(path, PICTURE_SUFFIXES)


def _holds(folder: Path, suffixes: Collection[str]) -> bool:
    """Whether a file in it has one of these endings."""
    return any(child.suffix.lower() in suffixes and kind_of(child) == "file" for child in _listed(folder))


def find_ids(samples: Sequence[Sample], root: Path) -> list[Sample]:
    """The samples with the files that belong to their ids: ``id_000010_000020.mp4``, ``id.mp4``, or a folder.

    A file with the times of a sample in its name is that part, so that the sample has none any more. A
    sample whose file isn't there keeps ``root/id``: reading it will say so.

    Args:
        samples: ids as paths; parts in seconds choose between files of one id.
        root: searched with all its folders.
    """
    ids = {sample.path.name for sample in samples}
    parts = {_timed_name(sample) for sample in samples if sample.start_seconds is not None}

    def name_of(path: Path) -> str:
        return path.name if kind_of(path) == "folder" else path.stem

    def id_of(path: Path) -> str:
        timed = _TIMED.fullmatch(name_of(path))
        return timed[1] if timed else name_of(path)

    by_name: dict[str, Path] = {}
    by_id: dict[str, Path] = {}
    for path in _walk(root, lambda path: id_of(path) in ids or name_of(path) in parts):
        by_name.setdefault(name_of(path), path)
        by_id.setdefault(id_of(path), path)
    result = []
    for sample in samples:
        name = sample.path.name
        if sample.start_seconds is None:
            result.append(replace(sample, path=by_name.get(name, by_id.get(name, sample.path))))
        elif (part := by_name.get(_timed_name(sample))) is not None:
            result.append(replace(sample, path=part, start_seconds=None, end_seconds=None))
        else:
            result.append(replace(sample, path=by_name.get(name, sample.path)))
    return result


def _timed_name(sample: Sample) -> str:
    """What Kinetics' file of a part is called."""
    start, end = sample.start_seconds or 0, sample.end_seconds or 0
    return f"{sample.path.name}_{int(start):06}_{int(end):06}"


def _walk(
    folder: Path, is_clip: Callable[[Path], bool], seen: set[tuple[int, int]] | None = None
) -> Iterator[Path]:
    """The clips below a folder in the order of their paths; each folder is entered once, links or not."""
    seen, paths, here = set() if seen is None else seen, _listed(folder), folder.stat()
    if (here.st_dev, here.st_ino) in seen:
        return
    seen.add((here.st_dev, here.st_ino))
    for path in paths:
        if kind_of(path) == "folder":
            yield from [path] if is_clip(path) else _walk(path, is_clip, seen)
        elif path.suffix.lower() in CLIP_SUFFIXES and is_clip(path):
            yield path


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"The folder '{folder}' can't be read: {error.strerror or error}.") from error
