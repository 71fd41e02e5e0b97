"""``cache_data``: a copy of a dataset that training reads faster: smaller pictures, or decoded ones."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from slowfast_zoo.data.annotations import (
    CACHE_INDEX,
    CACHED_FROM,
    CACHED_PART,
    CACHED_SHA256,
    Annotations,
    Sample,
)
from slowfast_zoo.data.tables import write_table
from slowfast_zoo.errors import DataError, InputError, VideoError, counted
from slowfast_zoo.files import expanded, hash_file, kind_of, written_whole
from slowfast_zoo.runtime.machine import processor_features
from slowfast_zoo.runtime.progress import shown
from slowfast_zoo.video.decoding.video import come_evenly, with_true_count
from slowfast_zoo.video.sampling import is_count, is_number
from slowfast_zoo.video.sources.names import display_name
from slowfast_zoo.video.transforms.resize import resize_bytes

if TYPE_CHECKING:
    from slowfast_zoo.video.decoding.video import Frame, Video

_LOGGER = logging.getLogger(__name__)

_CACHED_BYTES = "cached_bytes"

_SUMS = "SHA256SUMS"
"""The file with a line, as sha256sum writes it, for each copy that was made, whichever dataset it is of."""

_KEYFRAME_EVERY = 16
"""Frames between key frames: a clip anywhere costs at most so many frames in front of it."""

_SMALLEST_SIDE = 16


def cache_data(
    annotations: Annotations,
    out: str | Path,
    *,
    short_side: int = 256,
    form: Literal["video", "frames"] = "video",
    quality: int = 18,
    progress: bool = True,
) -> list[tuple[str, str]]:
    """Writes the clips with a shorter side of ``short_side`` pixels, and OUT/index.csv that lists them.

    Each clip becomes a file of its own, cut to its part, upright, every frame kept; pictures that are
    small enough keep their size. Pixels differ a little from those of the originals, as they do in the
    publishers' resized Kinetics.

    A file's name ends in a hash of what it was made from (path, size and time of the source, the part) and
    how. What OUT has already under that name is left as it is, so that an interrupted run goes on, and what
    changed is made anew. So are copies that are empty, that have another size or hash than was written down,
    or of which nothing was. Hashes are in the index and in OUT/SHA256SUMS, which gets a line for each copy.
    Files that the index doesn't name any more stay where they are. The index says in ``cached_from``,
    ``cached_part`` and ``cached_as`` what each clip is, copies of copies too; ``cached_from`` is absolute.

    Args:
        annotations: what to copy.
        out: the folder; made when it isn't there.
        short_side: pixels of the shorter side.
        form: "video": H.264 with many key frames (MP4); "frames": uint8 arrays (.npy), read without any
            decoding, some hundred times larger.
        quality: of the H.264 files (CRF, 0 to 51): 0 is lossless, 18 looks so.
        progress: show a bar on a terminal and in notebooks, else a line every 30 seconds.

    Returns:
        The clips that couldn't be read, and why; the index leaves them out.

    Raises:
        InputError: a shorter side, form or quality that is not accepted.
        DataError: OUT can't be written, no clip could be read, or there is none.
    """
    if not is_count(short_side) or short_side < _SMALLEST_SIDE:
        raise InputError(
            f"short_side is {short_side!r:.60}; accepted: an integer of at least {_SMALLEST_SIDE}, in pixels."
        )
    if form not in ("video", "frames"):
        raise InputError(f"form is {form!r:.60}; accepted: 'video', 'frames'.")
    if not is_number(quality) or not 0 <= quality <= 51:
        raise InputError(f"quality is {quality!r:.60}; accepted: 0 (lossless) to 51.")
    if not annotations.samples:
        raise DataError("There are no clips to cache; give annotations with at least one.")
    folder = expanded(out)
    listed = _listed(folder)
    video = form == "video"
    made = f"short side {short_side}, " + (f"H.264 CRF {quality}" if video else "frames")
    failed: list[tuple[str, str]] = []
    done: list[Sample] = []
    samples = shown(annotations.samples, "cache", len(annotations.samples), show=progress)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known = _known(folder)
        for sample in samples:
            label = "" if annotations.multi_label else annotations.class_names[sample.labels[0]]
            try:
                _check_name(sample.original)
                name = f"{_file_name(_stem(sample))}~{_identity(sample, made)}{'.mp4' if video else '.npy'}"
                target = folder / _file_name(label) / name if label else folder / name
                place = target.relative_to(folder)
                size, sha256 = known.get(place.parts, ("", ""))
                there = place.parts in known and _is_whole(target, size, sha256)
                fps = _cached(sample, target, short_side, quality if video else None, there=there)
                sha256 = (there and sha256) or hash_file(target)
                if not there:
                    with (folder / _SUMS).open("a", encoding="utf-8", newline="") as sums:
                        sums.write(f"{sha256}  {place.as_posix()}\n")
            except (VideoError, InputError) as error:
                _LOGGER.warning("Left out: %s", error)
                failed.append((sample.name, str(error)))
                continue
            part = "" if sample.part == Sample(path=target).part else json.dumps(sample.part)
            before = dict(sample.columns)
            origin = before.get(CACHED_FROM) or str(sample.path.absolute())
            part = part or before.get(CACHED_PART, "")
            columns = before | {CACHED_FROM: origin, CACHED_PART: part, "cached_as": made}
            columns[_CACHED_BYTES] = str(target.stat().st_size)
            columns[CACHED_SHA256] = sha256
            done.append(Sample(path=target, labels=sample.labels, fps=fps, columns=tuple(columns.items())))
    except OSError as error:
        raise DataError(f"The cache '{folder}' can't be written: {error.strerror or error}.") from error
    if not done:
        raise DataError(
            f"None of the {len(annotations.samples)} clips could be read; the first: {failed[0][1]}"
        )
    if lost := listed - {dict(sample.columns)[CACHED_FROM] for sample in done}:
        _LOGGER.warning(
            "%s doesn't list %s any more that it listed before, such as '%s'; the copies stay.",
            *(folder / CACHE_INDEX, counted(len(lost), "clip"), min(lost)),
        )
    write_table(folder / CACHE_INDEX, dataclasses.replace(annotations, samples=tuple(done)))
    return failed


def _listed(folder: Path) -> set[str]:
    """What the cache's index has copies of.

    Raises:
        DataError: the index is somebody else's.
    """
    rows = _index(folder)
    if any(CACHED_FROM not in row for row in rows):
        raise DataError(
            f"'{folder / CACHE_INDEX}' is no cache's, and would be replaced: name another folder, or move it."
        )
    return {origin for row in rows if (origin := row[CACHED_FROM])}


def _index(folder: Path) -> list[dict[str, str | None]]:
    """The rows of a cache's index, as far as it can be read."""
    rows: list[dict[str, str | None]] = []
    with (
        contextlib.suppress(OSError, ValueError, csv.Error),
        (folder / CACHE_INDEX).open(encoding="utf-8-sig", newline="") as file,
    ):
        rows.extend(csv.DictReader(file))
    return rows


def _known(folder: Path) -> dict[tuple[str, ...], tuple[str, str]]:
    """Bytes and hash of the copies that a cache lists, by folder and name; "" where an earlier version's
    index doesn't say it."""
    known = {
        Path(path).parts[-2:]: (row.get(_CACHED_BYTES) or "", row.get(CACHED_SHA256) or "")
        for row in _index(folder)
        if (path := row.get("path"))
    }
    with contextlib.suppress(OSError, ValueError):
        for line in (folder / _SUMS).read_text(encoding="utf-8").split("\n"):
            sha256, _, path = line.partition("  ")
            known[Path(path).parts] = ("", sha256)
    return known


def _check_name(path: Path) -> None:
    """Refuses what no index can name.

    Raises:
        VideoError: the path isn't UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise VideoError(f"'{display_name(path)}' has a name that isn't UTF-8; rename it.") from error


def _is_whole(path: Path, size: str, sha256: str) -> bool:
    """Whether a copy is there, with the bytes that are known of it."""
    if kind_of(path) != "file":
        return False
    there = path.stat().st_size
    right = str(there) == size if size.isdecimal() else there > 0
    return right and sha256 in ("", hash_file(path))


def _cached(
    sample: Sample, target: Path, short_side: int, quality: float | None, *, there: bool
) -> float | None:
    """Makes the clip's file where it isn't there; its frames per second where the file doesn't say.

    Raises:
        VideoError: it can't be read.
        InputError: a video has to have a frame rate, and nothing says it.
    """
    if there and quality is not None:
        return None
    with sample.open() as video:
        rate = video.info.fps
        if not there:
            with_true_count(lambda: _store(video, target, short_side, quality))
    return None if rate is None or quality is not None else float(rate)


def _identity(sample: Sample, made: str) -> str:
    """A hash of what a cached clip is made from, and how.

    Raises:
        VideoError: the source isn't there.
    """
    try:
        paths = sorted(sample.path.iterdir()) if kind_of(sample.path) == "folder" else [sample.path]
        files = [(path.name, status.st_size, status.st_mtime_ns) for path in paths if (status := path.stat())]
    except OSError as error:
        raise VideoError(f"'{sample.path}' can't be read: {error.strerror or error}.") from error
    read = [sample.part, sample.fps, sample.frame_pattern]
    what = [str(sample.path.absolute()), files, *read, made, _KEYFRAME_EVERY]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def _stem(sample: Sample) -> str:
    return sample.path.name if kind_of(sample.path) == "folder" else sample.path.stem


def _file_name(text: str) -> str:
    """The text as a name that every file system takes."""
    name = text.encode("utf-8", "replace")[:100].decode("utf-8", "ignore")
    return "".join("_" if mark in '<>:"/\\|?*~' or mark < " " else mark for mark in name).strip(" .") or "_"


def _store(video: Video, target: Path, short_side: int, quality: float | None) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(target) as temporary:
        if quality is not None:
            _encode(video, temporary, short_side, quality)
            return
        with temporary.open("wb") as file:  # not mapped: a full disk would end the process
            for index, frame in enumerate(_resized(video, short_side, even=False)):
                if index == 0:
                    header = {
                        "descr": "|u1",
                        "fortran_order": False,
                        "shape": (video.num_frames, *frame.shape),
                    }
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(np.ascontiguousarray(frame).data)


def _resized(video: Video, short_side: int, *, even: bool) -> Iterator[Frame]:
    """The video's frames, shrunk; with even sides where the codec asks for them."""
    scale = min(1.0, short_side / min(video.height, video.width))
    height, width = max(round(video.height * scale), 1), max(round(video.width * scale), 1)
    if even:
        height, width = max(height // 2 * 2, 2), max(width // 2 * 2, 2)
    for _, frame in video.iter_frames(range(video.num_frames)):
        if (height, width) == frame.shape[:2]:
            yield frame
        else:
            yield resize_bytes(frame, height, width).transpose(0, 2, 1)


def _shown(video: Video) -> tuple[list[int], Fraction] | None:
    """When each frame is shown, in ticks from the first one's 0, and a tick's seconds; None: at even times.

    An AVI that dropped frames has times and no stamps: its clips are chosen by its rate, and its copy's, too.
    """
    stamps = video.stamps()
    if stamps is None or come_evenly(stamps.ticks * float(stamps.tick), video.fps):
        return None
    return stamps.ticks.tolist(), stamps.tick


def _encode(video: Video, path: Path, short_side: int, quality: float) -> None:
    """Writes an MP4 whose frames are shown when the video's stamps say, from the first one's 0."""
    import av

    shown = _shown(video)
    try:
        with av.open(str(path), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=video.fps)
            if shown is not None:
                stream.codec_context.time_base = shown[1]
            options = {"crf": str(quality), "preset": "fast", "g": str(_KEYFRAME_EVERY), "bf": "0"}
            if "avx512f" in processor_features():
                # x264's kernels for AVX-512 give other bytes once in thirty videos (core 165 on Zen 5).
                options["x264-params"] = "asm=AVX2"
            stream.options = options
            stream.pix_fmt = "yuv420p"
            for index, pixels in enumerate(_resized(video, short_side, even=True)):
                if not index:
                    stream.height, stream.width = pixels.shape[:2]
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                if shown is not None:
                    frame.pts, frame.time_base = shown[0][index], shown[1]
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except av.FFmpegError as error:
        if isinstance(error, OSError) and error.errno:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise VideoError(f"'{video.name}' can't be encoded: {error}.") from error
