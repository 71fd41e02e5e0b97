"""Small videos of many containers, and ways to damage them, for the fuzz tests."""

from __future__ import annotations

import random
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np

from slowfast_zoo.errors import SlowFastZooError
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.clips import read_clips
from slowfast_zoo.video.decoding.reader import open_video, stream
from support.movies import moving_pattern, write_video

CONTAINERS = {
    "mp4": ("libx264", "yuv420p"),
    "mov": ("mpeg4", "yuv420p"),
    "mkv": ("ffv1", "bgr0"),
    "webm": ("libvpx-vp9", "yuv420p"),
    "avi": ("mpeg4", "yuv420p"),
    "ts": ("mpeg2video", "yuv420p"),
    "flv": ("flv", "yuv420p"),
    "gif": ("gif", "rgb8"),
    "ogv": ("libtheora", "yuv420p"),
    "ivf": ("libvpx", "yuv420p"),
    "mpg": ("mpeg1video", "yuv420p"),
    "mjpeg": ("mjpeg", "yuvj420p"),
}
"""Ending -> codec and pixel format."""

_SPEC = ClipSpec(num_frames=4, frame_stride=2, size=16, crop=16, test_crop=16, clips=2, crops=1)


def write_videos(folder: Path) -> list[Path]:
    """A small video of every container that this machine can write, in ``folder``."""
    import av

    frames = moving_pattern(frames=16)
    return [
        write_video(folder / f"clip.{ending}", frames, fps=25, codec=codec, pixels=pixels)
        for ending, (codec, pixels) in CONTAINERS.items()
        if codec in av.codecs_available
    ]


def make_videos() -> dict[str, bytes]:
    """Ending -> content of such a video."""
    with tempfile.TemporaryDirectory() as folder:
        return {path.suffix[1:]: path.read_bytes() for path in write_videos(Path(folder))}


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The content with one to three faults of kinds that disks, networks and strangers make."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        place, length = chance.randrange(len(data)), chance.randint(1, 64)
        if chance.random() < 0.4:
            place %= 512  # headers are where a few bytes do most
        kind = chance.choice(["flip", "noise", "zeros", "cut", "leave out", "repeat", "ones"])
        if kind == "flip":
            data[place] ^= 1 << chance.randrange(8)
        elif kind == "noise":
            data[place : place + length] = chance.randbytes(len(data[place : place + length]))
        elif kind == "zeros":
            data[place : place + length] = bytes(len(data[place : place + length]))
        elif kind == "ones":
            data[place : place + 8] = b"\xff" * len(data[place : place + 8])
        elif kind == "cut" and place > 16:
            del data[place:]
        elif kind == "leave out" and len(data) > 200:
            del data[place : place + length]
        elif kind == "repeat":
            data[place:place] = data[place : place + length]
    return bytes(data)


def read_all(content: bytes) -> str:
    """Reads a video by every way: "read".

    Or "read, not twice alike": where FFmpeg patches damage up without a word, its threads do it differently.

    Raises:
        SlowFastZooError: it can't be read.
        AssertionError: times or counts don't hold together.
        Exception: what isn't an error of the library.
    """
    try:
        with open_video(content) as video:
            count = video.num_frames
            indices = sorted({0, count // 2, count - 1})
            frames = video.frames(indices)
            assert video.num_frames == count and frames.dtype == np.uint8
            seconds = [video.seconds_of(index) for index in (*range(min(count, 50)), count)]
            assert all(early < late for early, late in pairwise(seconds)), seconds
            assert [video.index_at(second) for second in seconds[:-1]] == list(range(len(seconds) - 1))
            assert video.damaged_frames >= 0 and video.info.num_frames == count
        streamed = {index: frame for index, _, frame in stream(content) if index in indices}
        same = len(streamed) == len(indices) and np.array_equal(np.stack(list(streamed.values())), frames)
        assert len(read_clips(content, _SPEC, views="published")) == 2
    except SlowFastZooError as error:
        assert str(error).endswith("."), str(error)
        raise
    return "read" if same else "read, not twice alike"
