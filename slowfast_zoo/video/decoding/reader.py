"""Open a video of any kind: a file, bytes, a URL, a folder of frames, an array, a decoder.

    with open_video("clip.mp4") as video:
        video.num_frames                         # what decodes, whatever the container claims
        frames = video.frames([0, 8, 16])        # uint8 RGB (3, H, W, 3), upright

    for index, seconds, frame in stream("long.mkv"):   # constant memory
        ...

An index counts the frames that decode, from 0.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from slowfast_zoo.errors import InputError
from slowfast_zoo.video.decoding.decoder_objects import DecoderVideo, ForeignDecoder, is_decoder
from slowfast_zoo.video.decoding.file import FileVideo
from slowfast_zoo.video.decoding.images import ArrayVideo, FolderVideo, is_pattern, refuse_frames
from slowfast_zoo.video.decoding.video import Frame, Video, VideoInfo
from slowfast_zoo.video.sources.media import media_of
from slowfast_zoo.video.sources.names import is_url, local_path, mode_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    Source: TypeAlias = str | Path | bytes | BinaryIO | npt.NDArray[np.uint8] | Tensor | ForeignDecoder


def open_video(source: Source, *, fps: float | Fraction | None = None) -> Video:
    """A video, to be used in a ``with`` statement, whose frames are read by index.

    Args:
        source: path of a file (whatever FFmpeg decodes, GIF too; also as ``file://``); path of a folder of
            frames, or a pattern such as ``folder/img_{:05}.jpg``; http or https URL, which is fetched whole
            (at most 16 GiB; 1 GiB and a minute where the server doesn't say how long it is); the file's
            bytes; a binary file object, which is left open; a uint8 RGB array or tensor of shape
            (T, H, W, 3); or a decoder object such as torchcodec's ``VideoDecoder``, whose frames and times
            are taken as they come.
        fps: frames per second, instead of what the file says. Folders and arrays say nothing, so
            that whatever needs their frame rate asks for it here.

    Raises:
        InputError: a source of another type or shape, or ``fps`` isn't a number above 0.
        VideoError: nothing decodes, or a frame has more than 8192x4320 pixels (an animated PNG of 16 bits a
            channel: 4096x2160); the message names the source and the reason.
    """
    return _opened(source, fps, count_first=True)


def probe(source: Source, *, fps: float | Fraction | None = None) -> VideoInfo:
    """The facts of a video; reads all its packets, and decodes all its frames only where those mislead.

    Raises:
        InputError, VideoError: as ``open_video``.
    """
    with open_video(source, fps=fps) as video:
        return video.info


def stream(source: Source, *, fps: float | Fraction | None = None) -> Iterator[tuple[int, float, Frame]]:
    """(index, seconds as players count, uint8 RGB (H, W, 3)) of every frame, in constant memory.

    The source is opened at once, closed when the iteration ends or is dropped.

    Raises:
        InputError, VideoError: as ``open_video``.
    """
    return _streamed(_opened(source, fps, count_first=False))


def _streamed(video: Video) -> Iterator[tuple[int, float, Frame]]:
    with video:
        yield from video.stream()


def _opened(source: Any, fps: float | Fraction | None, *, count_first: bool) -> Video:
    refuse_frames(source)
    if isinstance(source, (list, tuple)):
        raise InputError(f"One video is expected here, got a {type(source).__name__} of {len(source)}.")
    if hasattr(source, "__array__") and not isinstance(source, str):  # NumPy's text has that too
        return ArrayVideo(source, fps)
    if is_decoder(source):
        return DecoderVideo(source, fps)
    if isinstance(source, (str, Path)) and not is_url(source):
        source = local_path(source)
        if is_pattern(source) or stat.S_ISDIR(mode_of(source) or 0):
            return FolderVideo(source, fps)
    return FileVideo(media_of(source), fps, count_first=count_first)
