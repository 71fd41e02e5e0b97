"""``cache_data``: a copy of a dataset that training reads faster: smaller pictures, or decoded ones."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from slowfast_zoo.data.annotations import Annotations, Sample
from slowfast_zoo.data.tables import write_table
from slowfast_zoo.errors import DataError, FrameCountError, VideoError
from slowfast_zoo.video.transforms.resize import resize_bytes

if TYPE_CHECKING:
    from slowfast_zoo.video.decoding.video import Frame, Video

_LOGGER = logging.getLogger(__name__)

_KEYFRAME_EVERY = 16
"""Frames between key frames: a clip anywhere costs at most so many frames in front of it."""
_UNKNOWN_FPS = 30


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
    small enough keep their size. Clips that OUT has already are left as they are, so that an interrupted
    run goes on. Pixels differ a little from those of the originals, as they do in the publishers' resized
    Kinetics.

    Args:
        annotations: what to copy.
        out: the folder; made when it isn't there.
        short_side: pixels of the shorter side.
        form: "video": H.264 with many key frames (MP4); "frames": uint8 arrays (.npy), read without any
            decoding, some hundred times larger.
        quality: of the H.264 files (CRF): 0 is lossless, 18 looks so.
        progress: show a bar when stderr is a terminal.

    Returns:
        The clips that couldn't be read, and why; the index leaves them out.

    Raises:
        DataError: OUT can't be written, or no clip could be read.
    """
    from tqdm import tqdm

    folder = Path(out).expanduser()
    failed: list[tuple[str, str]] = []
    done: list[Sample] = []
    names = _names(annotations, ".mp4" if form == "video" else ".npy")
    bar = tqdm(annotations.samples, "cache", unit="clip", disable=None if progress else True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for sample, name in zip(bar, names, strict=True):
            target = folder / name
            try:
                with sample.open() as video:
                    rate = video.info.fps
                    if not target.exists():
                        try:
                            _store(video, target, short_side, form, quality)
                        except FrameCountError:
                            # Decoding has just shown how many frames there are.
                            _store(video, target, short_side, form, quality)
            except VideoError as error:
                _LOGGER.warning("Left out: %s", error)
                failed.append((sample.name, str(error)))
                continue
            known = None if rate is None else float(rate)
            done.append(Sample(path=target, labels=sample.labels, fps=known, columns=sample.columns))
    except OSError as error:
        raise DataError(f"The cache '{folder}' can't be written: {error}.") from error
    if not done:
        raise DataError(
            f"None of the {len(annotations.samples)} clips could be read; the first: {failed[0][1]}"
        )
    write_table(folder / "index.csv", dataclasses.replace(annotations, samples=tuple(done)))
    return failed


def _names(annotations: Annotations, ending: str) -> Iterator[str]:
    """class/stem, with the place in the list where a name occurs twice."""
    taken: set[str] = set()
    for place, sample in enumerate(annotations.samples):
        label = "" if annotations.multi_label else annotations.class_names[sample.labels[0]]
        part = "" if sample.path.is_dir() else sample.path.suffix
        stem = sample.path.name.removesuffix(part)
        name = f"{_as_file_name(label)}/{stem}{ending}" if label else f"{stem}{ending}"
        if name.lower() in taken:
            name = name.removesuffix(ending) + f"~{place}{ending}"
        taken.add(name.lower())
        yield name


def _as_file_name(label: str) -> str:
    return "".join("_" if mark in '<>:"/\\|?*' else mark for mark in label)


def _store(video: Video, target: Path, short_side: int, form: str, quality: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        if form == "video":
            _encode(video, temporary, short_side, quality)
        else:
            np.save(temporary, np.stack(list(_resized(video, short_side, even=False))))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _resized(video: Video, short_side: int, *, even: bool) -> Iterator[Frame]:
    """The video's frames, shrunk; with even sides where the codec asks for them."""
    scale = min(1.0, short_side / min(video.height, video.width))
    height, width = round(video.height * scale), round(video.width * scale)
    if even:
        height, width = max(height // 2 * 2, 2), max(width // 2 * 2, 2)
    for _, frame in video.iter_frames(range(video.num_frames)):
        if (height, width) == frame.shape[:2]:
            yield frame
        else:
            yield resize_bytes(frame, height, width).transpose(0, 2, 1)


def _encode(video: Video, path: Path, short_side: int, quality: int) -> None:
    import av

    rate = video.info.fps or Fraction(_UNKNOWN_FPS)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.options = {"crf": str(quality), "preset": "fast", "g": str(_KEYFRAME_EVERY), "bf": "0"}
        stream.pix_fmt = "yuv420p"
        for place, pixels in enumerate(_resized(video, short_side, even=True)):
            if not place:
                stream.height, stream.width = pixels.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
