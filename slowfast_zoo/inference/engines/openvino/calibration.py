"""Clips of somebody's own videos: some to set int8 up with, and others to judge it on."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from slowfast_zoo.errors import InputError, VideoError
from slowfast_zoo.files import expanded, kind_of
from slowfast_zoo.inference.inputs import expand_sources
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.clips import Clips, read_clips
from slowfast_zoo.video.sources.names import display_name, is_url

if TYPE_CHECKING:
    from slowfast_zoo.inference.inputs import Sources
    from slowfast_zoo.video.decoding.reader import Source

    CalibrationSource: TypeAlias = Sources | Tensor

_Item = TypeVar("_Item")
_LOGGER = logging.getLogger(__name__)

CALIBRATING = 32
"""Clips that int8 is set up with, where there are so many: a thousand frames. The ranges of activations,
which are all that is learned from them, hardly move beyond that, and time and memory grow with each."""

JUDGING = 100
"""Other clips that it is judged on, where there are so many: one answer of a hundred is the 1 % asked for."""

_LEAST_CALIBRATING, _LEAST_JUDGING = 4, 6
_SHARED = 0.75
"""Of its frames a clip that judges may share at most so many with those that calibrate."""

_PER_VIDEO = 40
"""Clips of one video at most: all are in memory at a time, as bytes."""

_WHOLE_VIDEOS = 8
"""From so many videos on none gives both kinds of clips; of fewer the first quarter in time calibrates."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The clips, float32 ``(1, C, T, H, W)`` each, normalized."""

    seen: Sequence[Callable[[], Tensor]]
    """Those that calibrate."""
    unseen: Callable[[], Iterator[Tensor]]
    """Those that it is judged on: each once, and none that calibrates, even where a video was given several
    times. They are read as they are needed, but the first at once, which refuses too few."""
    identity: str | None
    """What stands for all of them; None where that can't be said, as of streams."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, T, H, W) of a clip."""
        channels, frames, height, width = self.seen[0]().shape[1:]
        return channels, frames, height, width


def check_calibration(precision: str, source: CalibrationSource | None, least: float = 1) -> None:
    """Refuses int8 without anything to calibrate with, other precisions with it, and impossible wishes.

    Raises:
        InputError: says which.
    """
    if precision != "int8":
        if source is not None:
            raise InputError(f"calibration is for precision='int8', which got '{precision}': leave it out.")
    elif source is None:
        raise InputError(
            "int8 needs calibration=: videos of the kind that will come (a folder, a pattern or a list), from"
            " which it learns in what range each layer's numbers lie."
        )
    if isinstance(least, bool) or not isinstance(least, (int, float)) or not 0 <= least <= 1:
        raise InputError(f"min_agreement is {least!r}; accepted: a share from 0 to 1.")


def calibration_of(source: CalibrationSource, spec: ClipSpec) -> Calibration:
    """Clips of videos, or of a batch.

    Args:
        source: videos, as ``predict_many`` takes them, of which at most 132 are read; or clips, float
            ``(N, C, T, H, W)``, of which every fourth calibrates.
        spec: how clips are made of videos.

    Raises:
        InputError: too few clips, or clips of another kind.
        VideoError: a path where nothing is, a folder without videos, or a pattern with * or ? that nothing
            matches.
    """
    if isinstance(source, Tensor):
        return _of_batch(source)
    videos = list(expand_sources(source))
    identity = _identity(videos, spec)
    if len(videos) < _WHOLE_VIDEOS:
        return _of_few(videos, spec, identity)
    seen = _spread(videos[::4], CALIBRATING)
    others = _spread([video for index, video in enumerate(videos) if index % 4], JUDGING)
    views = [view for clips in _read(seen, spec, CALIBRATING) for view in _views(clips)]
    _check_enough(len(views), len(others))
    return _made(
        views, lambda: (view for clips in _read(others, spec, JUDGING) for view in _views(clips)), identity
    )


def shape_of(source: CalibrationSource, spec: ClipSpec) -> tuple[int, ...]:
    """(C, T, H, W) of the clips that ``calibration_of`` makes, told without reading any.

    Raises:
        InputError: clips of another kind.
    """
    if isinstance(source, Tensor):
        _check_batch(source)
        return tuple(source.shape[1:])
    return 3, spec.num_frames, spec.test_crop, spec.test_crop


def _made(
    calibrating: Sequence[Callable[[], Tensor]],
    judging: Callable[[], Iterable[Callable[[], Tensor]]],
    identity: str | None,
) -> Calibration:
    """Some of the calibrating clips, and those of the others that show something else."""
    seen = _spread(calibrating, CALIBRATING)

    def others() -> Iterator[Tensor]:
        known = {frame for view in calibrating for frame in _frames(view())}
        given = set[tuple[bytes, ...]]()
        for view in judging():
            clip = view()
            frames = _frames(clip)
            # Videos may begin with the same frames, such as black ones, and windows may overlap; copies of
            # one share most of them.
            if frames not in given and sum(frame in known for frame in frames) <= _SHARED * len(frames):
                given.add(frames)
                yield clip
        _check_enough(len(seen), len(given))

    def unseen() -> Iterator[Tensor]:
        clips = others()
        return itertools.chain(list(itertools.islice(clips, _LEAST_JUDGING)), clips)

    return Calibration(seen, unseen, identity)


def _check_batch(clips: Tensor) -> None:
    if clips.ndim != 5 or not clips.is_floating_point():
        raise InputError(
            f"calibration is a tensor {tuple(clips.shape)} of {clips.dtype}; accepted: videos, or normalized"
            " clips, float (N, C, T, H, W)."
        )
    if not (clips.is_meta or torch.isfinite(clips).all()):
        raise InputError("calibration has NaN or infinite numbers: give clips as read_clips makes them.")


def _of_batch(clips: Tensor) -> Calibration:
    _check_batch(clips)
    clips = clips.detach().cpu().float()
    judging = [index for index in range(len(clips)) if index % 4]
    calibrating = _spread(range(0, len(clips), 4), CALIBRATING)
    _check_enough(len(calibrating), len(judging))
    views = [functools.partial(clips.__getitem__, slice(index, index + 1)) for index in range(len(clips))]
    digest = hashlib.sha256(repr(clips.shape).encode())
    digest.update(clips.contiguous().numpy().data)
    return _made(
        [views[index] for index in calibrating],
        lambda: [views[index] for index in _spread(judging, JUDGING)],
        digest.hexdigest(),
    )


def _of_few(videos: Sequence[Source], spec: ClipSpec, identity: str | None) -> Calibration:
    """Of each video the first quarter calibrates; what shares frames with it is left out."""
    seen: list[Callable[[], Tensor]] = []
    judging: list[Callable[[], Tensor]] = []
    for clips in _read(videos, spec, CALIBRATING + JUDGING):
        views = _views(clips)
        rows = np.unique(clips.indices, axis=0)
        first = -(-len(views) // 4)
        known = set(rows[:first].ravel().tolist())
        seen += views[:first]
        judging += [view for view, row in zip(views, rows, strict=True) if known.isdisjoint(row.tolist())]
    _check_enough(len(seen), len(judging))
    return _made(seen, lambda: _spread(judging, JUDGING), identity)


def _read(videos: Sequence[Source], spec: ClipSpec, wanted: int) -> Iterator[Clips]:
    """The videos as clips in time, as many of each as make up the wanted number."""
    each = min(math.ceil(wanted / max(len(videos), 1)), _PER_VIDEO)
    for video in videos:
        try:
            yield read_clips(video, spec, views=(each, 1))
        except VideoError as error:
            if isinstance(video, (str, Path)) and not is_url(video) and not kind_of(expanded(video)):
                raise  # a mistyped path
            _LOGGER.warning("'%s' isn't used for int8: %s", display_name(video), error)


def _views(clips: Clips) -> list[Callable[[], Tensor]]:
    """The different clips of a video, in time; a short one gives the same one again and again."""
    first = np.unique(clips.indices, axis=0, return_index=True)[1]
    return [functools.partial(_view, clips, int(clip)) for clip in first]


def _view(clips: Clips, view: int) -> Tensor:
    return clips[view][None]


def _frames(clip: Tensor) -> tuple[bytes, ...]:
    """What stands for each frame of a clip (1, C, T, H, W)."""
    frames = clip[0].transpose(0, 1).contiguous().numpy()
    return tuple(hashlib.sha256(frame.data).digest() for frame in frames)


def _spread(items: Sequence[_Item], count: int) -> list[_Item]:
    """At most so many of them, evenly spread."""
    number = min(count, len(items))
    return [items[index * len(items) // number] for index in range(number)]


def _check_enough(seen: int, unseen: int) -> None:
    if seen < _LEAST_CALIBRATING or unseen < _LEAST_JUDGING:
        raise InputError(
            "int8 is set up with some clips of your own videos and judged on others, without those that share"
            f" frames with those that calibrate: {seen} and {unseen} different ones were found, at least"
            f" {_LEAST_CALIBRATING} and {_LEAST_JUDGING} are needed; give more or longer videos."
        )


def _identity(videos: Iterable[Source], spec: ClipSpec) -> str | None:
    """A name for these videos read in this way: files by their path, size and time, all else by its bytes."""
    digest = hashlib.sha256(repr(spec).encode())
    for video in videos:
        if isinstance(video, (bytes, bytearray, memoryview)):
            digest.update(hashlib.sha256(video).digest())
        elif isinstance(video, (str, Path)):
            path = expanded(video)
            try:
                files = sorted(path.iterdir()) if path.is_dir() else [path]
                for file in files:
                    facts = file.stat()
                    digest.update(f"{file.absolute()} {facts.st_size} {facts.st_mtime_ns} ".encode())
            except OSError:  # a URL, or a pattern of frames
                return None
        elif isinstance(video, (np.ndarray, torch.Tensor)):
            frames = np.ascontiguousarray(np.asarray(video))
            digest.update(repr((frames.shape, frames.dtype)).encode() + hashlib.sha256(frames.data).digest())
        else:
            return None
    return digest.hexdigest()
