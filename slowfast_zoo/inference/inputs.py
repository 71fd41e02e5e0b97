"""What a caller means by a source: one video, or many."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from slowfast_zoo.errors import InputError, VideoError, text_without_secrets
from slowfast_zoo.files import TEMPORARY_SUFFIX, kind_of, pattern_of
from slowfast_zoo.video.decoding.decoder_objects import is_decoder
from slowfast_zoo.video.decoding.images import refuse_frames
from slowfast_zoo.video.sources.names import PICTURE_SUFFIXES, VIDEO_SUFFIXES, is_url, local_path, path_text

if TYPE_CHECKING:
    from slowfast_zoo.video.decoding.reader import Source

    Sources: TypeAlias = Source | Iterable[Source]


_SIGNED = re.compile(
    "x-(amz|goog)-.*|awsaccesskeyid|googleaccessid|signature|expires|key-pair-id|policy|sig", re.IGNORECASE
)
_SIGNED_BY_AZURE = re.compile("s[eptrv]|spr|sk[a-z]{1,3}", re.IGNORECASE)
"""Parts of queries that say who may read an address until when; Azure's, where there is a "sig" as well."""


@dataclasses.dataclass(frozen=True)
class Listing:
    """The videos of a folder, and what else lies there."""

    videos: list[Path]
    """Sorted by path."""
    skipped: Counter[str]
    """How many of what were left out; the words fit after a number."""


def expand_sources(source: Sources) -> Sequence[Source] | Iterator[Source]:
    """The videos of a folder, a glob pattern or an iterable, in order; of one video, that.

    Where their number is known they come as a list or tuple, else as an iterator.

    A folder that holds videos stands for them, one with only pictures is a video itself. A pattern
    ("clips/*.mp4", "clips/**/*.mp4") names the videos that it matches, sorted by path; folders that link to
    each other are entered once.

    Raises:
        InputError: an empty text.
        VideoError: a folder without videos and pictures, or a pattern with * or ? that nothing matches.
    """
    if isinstance(source, (str, Path)):
        return _named(source)
    if not _is_many(source):
        return [cast("Source", source)]
    many = cast("Iterable[Source]", source)
    if isinstance(many, (list, tuple)):
        return many
    return list(many) if hasattr(many, "__array__") else iter(many)


def check_single(source: object, advice: str = "predict_many answers for each of many.") -> None:
    """Refuses what stands for many videos.

    Args:
        source: what was given.
        advice: what to do with many.

    Raises:
        InputError: says so.
    """
    refuse_frames(source)
    if isinstance(source, (str, Path)):
        text = _text(source)
        folder = kind_of(Path(text)) == "folder" and bool(list_videos(Path(text)).videos)
        if not folder and _pattern(text) is None:
            return
        kind = "is a folder of videos" if folder else "is a pattern"
    elif _is_many(source):
        kind = f"is a {type(source).__name__}"
    else:
        return
    shown = text_without_secrets(str(source))
    raise InputError(f"One video is expected, and {shown!r:.80} {kind}; {advice}")


def check_clips(clips: int, window_seconds: float | None) -> None:
    """Refuses several clips of a window that is as long as one.

    Args:
        clips: that are taken of each window.
        window_seconds: how long a window was asked to be; None: as long as a clip.

    Raises:
        InputError: says so.
    """
    if clips > 1 and window_seconds is None:
        raise InputError(
            f"views are {clips} clips, and a window is as long as one: give window_seconds= for longer"
            " windows, or views='quick'."
        )


def source_hash(source: object) -> str:
    """SHA-256 of a source, hex digits: of an address with its query, without password and signature."""
    text = _lasting(str(source)) if is_url(source) else str(source)
    return hashlib.sha256(os.fsencode(text)).hexdigest()


def partial_path(path: Path, source: object) -> Path:
    """Where a part of the answer for a source is kept, beside the file of the whole; no video's own name."""
    return path.with_name(f"{path.stem}.partial-{source_hash(source)[:8]}{path.suffix}")


def is_partial(stem: str) -> bool:
    """Whether a file of that name, without ending, holds a part of an answer."""
    return re.search(r"\.partial-[0-9a-f]{8}$", stem, re.IGNORECASE) is not None


def _lasting(url: str) -> str:
    """An address as it is called tomorrow, too, when it is signed anew."""
    address, _, query = re.sub("(?<=://)[^/?#]*@", "", url, count=1).partition("?")
    names = {part: part.partition("=")[0] for part in query.split("&")}
    azure = any(name.lower() == "sig" for name in names.values())
    kept = [
        part
        for part, name in names.items()
        if not (_SIGNED.fullmatch(name) or (azure and _SIGNED_BY_AZURE.fullmatch(name)))
    ]
    return "?".join(filter(None, (address, "&".join(kept))))


def list_videos(folder: Path, *, recursive: bool = False) -> Listing:
    """The videos of a folder; hidden files and folders are left out, linked folders entered once.

    Raises:
        VideoError: the folder can't be read.
    """
    videos: list[Path] = []
    skipped: Counter[str] = Counter()
    for current in _folders(folder) if recursive else [folder]:
        try:
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except OSError as error:
            if current == folder:
                raise VideoError(
                    f"The folder '{folder}' can't be read: {error.strerror or error}."
                ) from error
            skipped["folders that can't be read"] += 1
            continue
        for entry in entries:
            reason = _left_out(entry, recursive)
            if reason is None:
                videos.append(current / entry.name)
            elif reason:
                skipped[reason] += 1
    return Listing(sorted(videos), skipped)


def _left_out(entry: os.DirEntry[str], recursive: bool) -> str | None:
    """Why an entry of a folder is no video, "" where nobody needs to know; None for a video."""
    if entry.name.startswith("."):
        # What stands beside a file while it is written, as a result in the same folder is, isn't the user's.
        return "" if entry.name.endswith((".lock", TEMPORARY_SUFFIX)) else "hidden"
    if kind_of(Path(entry.path)) == "folder":
        return "" if recursive else "folders inside"
    with contextlib.suppress(OSError):  # of a link that leads in circles
        if entry.is_file():
            return None if Path(entry.name).suffix.lower() in VIDEO_SUFFIXES else "without a video's ending"
    return "dangling links" if entry.is_symlink() else "no regular files"


def _folders(top: Path) -> Iterator[Path]:
    """A folder and those below it, hidden ones left out, each real one once; links are followed last."""
    seen: set[tuple[int, int]] = set()
    waiting, links = [top], list[Path]()
    while waiting or links:
        folder = waiting.pop() if waiting else links.pop(0)
        try:
            facts = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name, reverse=True)
        except OSError:
            yield folder  # whoever reads it says why it can't be read
            continue
        if (facts.st_dev, facts.st_ino) in seen:
            continue
        seen.add((facts.st_dev, facts.st_ino))
        yield folder
        for entry in entries:
            if not entry.name.startswith(".") and kind_of(Path(entry.path)) == "folder":
                (links if entry.is_symlink() else waiting).append(folder / entry.name)


def _is_many(source: object) -> bool:
    single = isinstance(source, (str, Path, bytes, bytearray, memoryview)) or hasattr(source, "read")
    single = single or (hasattr(source, "__array__") and not _holds_names(source)) or is_decoder(source)
    return not single and isinstance(source, Iterable)


def _holds_names(array: object) -> bool:
    """Whether an array, or a column of a table, holds names or other objects, not the pixels of a video."""
    kind = getattr(getattr(array, "dtype", None), "kind", None)
    return kind in ("O", "T", "U") and getattr(array, "ndim", 0) > 0


def _text(source: str | Path) -> str:
    """A path in words, "~" and "file://" resolved; other URLs as they are."""
    return str(source) if is_url(source) else str(local_path(source))


def _pattern(text: str) -> str | None:
    """Wildcards of a path; "?" of an address is none, not even of one that was made a path."""
    return None if is_url(text) or path_text(text) != text else pattern_of(Path(text))


def _named(source: str | Path) -> Sequence[Source]:
    text = _text(source)
    path = Path(text)
    if kind_of(path) == "folder":
        listing = list_videos(path)
        if listing.videos:
            return listing.videos
        if any(child.suffix.lower() in PICTURE_SUFFIXES for child in path.iterdir()):
            return [path]
        raise VideoError(
            f"The folder '{path}' holds neither videos nor frames; '{path}/**/*', or -r on the command line,"
            " also searches the folders inside it."
        )
    pattern = _pattern(text)
    if pattern is None:
        return [source if text == str(source) else path]
    pattern = f"{pattern}/*" if path.name == "**" else pattern
    found = [match for match in map(Path, _matches(pattern)) if match.suffix.lower() in VIDEO_SUFFIXES]
    # A file that two ways lead to, because folders are linked, counts once, by the shorter way.
    found.sort(key=lambda match: (-len(match.parts), match))
    files = {(os.path.realpath(match.parent), match.name): match for match in found if match.is_file()}
    if not files:
        raise VideoError(f"No video matches '{text}'.")
    return sorted(files.values())


def _matches(pattern: str) -> set[str]:
    """As ``glob.glob(pattern, recursive=True)``, which enters linked folders again and again."""
    before, star, after = f"/{pattern}".partition("/**/")
    if not star:
        return set(glob.glob(pattern))  # noqa: PTH207
    before = before[1:] or ("/" if pattern.startswith("/") else "")
    found: set[str] = set()
    for top in glob.glob(before) if before else [os.curdir]:  # noqa: PTH207
        for folder in _folders(Path(top)):
            found |= _matches(f"{glob.escape(str(folder))}/{after}")
    return found
