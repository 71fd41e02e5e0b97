"""``check_data``: what is wrong with a dataset, before a training finds out."""

from __future__ import annotations

import dataclasses
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from slowfast_zoo.data.annotations import CACHED_SHA256, SHARE_THERE, Annotations, Sample, unite_classes
from slowfast_zoo.data.splits import leaks
from slowfast_zoo.errors import InputError, VideoError, counted
from slowfast_zoo.files import hash_file
from slowfast_zoo.runtime.progress import shown
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.decoding.part import VideoPart
from slowfast_zoo.video.decoding.video import Video, with_true_count
from slowfast_zoo.video.sampling import clip_span

MOST_LINES = 20
"""Of one kind of finding that a report shows."""
_IMBALANCE = 10
"""The largest class has so many times the clips of the smallest: worth a word."""
_THREADS = 4
"""That open videos: they wait for the disk more than they compute."""

_Found = TypeVar("_Found")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataReport:
    """What ``check_data`` found; ``str()`` of it is for people, ``problems`` for programs."""

    clips: dict[str, int]
    """Clips in each part."""
    classes: dict[str, dict[str, int]]
    """Clips of each class, by part."""
    unreadable: list[tuple[str, str]]
    """Clip and reason."""
    short: list[tuple[str, int, int]]
    """Clip, its frames, and the frames that a clip of the model covers."""
    damaged: list[tuple[str, int, int]]
    """Clip, its sound frames, and the frames that its file or its list promises."""
    duplicates: list[tuple[str, ...]]
    """Clips with the same bytes."""
    leaks: list[tuple[str, tuple[str, ...]]]
    """Sources that several parts share."""
    conflicts: list[tuple[str, ...]]
    """Clips with the same bytes in several parts, or with different classes where each has one."""
    faults: list[str] = dataclasses.field(default_factory=list)
    """Of folders and columns, not of clips: a class folder without any, parts that can't be told."""

    @property
    def problems(self) -> int:
        """Findings that make training or scores wrong; short or equal clips are only told."""
        empty = sum(not count for counts in self.classes.values() for count in counts.values())
        cut = sum(there < SHARE_THERE * promised for _, there, promised in self.damaged)
        return len(self.unreadable) + len(self.conflicts) + len(self.leaks) + len(self.faults) + empty + cut

    def to_dict(self) -> dict[str, Any]:
        """Every finding as plain JSON values."""
        return {**dataclasses.asdict(self), "problems": self.problems}

    def __str__(self) -> str:
        parts = ", ".join(f"{counted(count, 'clip')} in {part}" for part, count in self.clips.items())
        lines = [f"{parts}; {counted(len(self.classes), 'class')}.", *_class_lines(self.classes)]
        short, damaged = (
            [f"{name}: {there} of {wanted} frames" for name, there, wanted in found]
            for found in (self.short, self.damaged)
        )
        for title, found in {
            "In folders and columns": self.faults,
            "Unreadable": [f"{name}: {reason}" for name, reason in self.unreadable],
            "Shorter than one clip, so that frames repeat (--model says whose clip)": short,
            "Damaged or cut off": damaged,
            "The same bytes": [" = ".join(names) for names in self.duplicates],
            "The same bytes in different classes or parts": [" = ".join(names) for names in self.conflicts],
            "In more than one part": [f"{source}: {' and '.join(parts)}" for source, parts in self.leaks],
        }.items():
            lines += section(title, found)
        counts = {"short": len(self.short), "damaged": len(self.damaged), "equal": len(self.duplicates)}
        told = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
        count = f"Nothing wrong, but worth a look: {told}" if told else "No problems found"
        if self.problems:
            also = f"; worth a look, too: {told}" if told else ""
            count = f"{counted(self.problems, 'problem')} found{also}"
        return "\n".join([*lines, f"{count}."])


def check_data(
    parts: Mapping[str, Annotations],
    clip_spec: ClipSpec,
    *,
    group_by: str | None = None,
    decode: bool = False,
    progress: bool = True,
) -> DataReport:
    """What is wrong with a dataset: every clip is opened and its frames counted.

    Args:
        parts: annotations by the part's name, such as "train" and "val"; classes that one has and another
            lacks are found.
        clip_spec: how long a clip has to be.
        group_by: as in ``splits.source_of``; decides what leaks between parts.
        decode: decode every frame as well, which finds damage inside of files, and compare copies of
            ``cache_data`` with the hashes in their index.
        progress: show a bar on a terminal and in notebooks, else a line every 30 seconds.

    Raises:
        DataError: as ``unite_classes`` and ``splits.source_of``.
        InputError: likewise.
    """
    parts = unite_classes(parts)
    shared = leaks(parts, group_by)
    samples = [(part, sample) for part, annotations in parts.items() for sample in annotations.samples]
    unreadable, short, damaged = [], [], []
    clips = [sample for _, sample in samples]
    looks = looked_at(partial(_look, spec=clip_spec, decode=decode), clips, "clip", progress)
    for sample, look in zip(clips, looks, strict=True):
        if look.error is not None:
            unreadable.append((sample.name, look.error))
            continue
        if look.sound < look.promised:
            damaged.append((sample.name, look.sound, look.promised))
        if look.frames < look.span:
            short.append((sample.name, look.frames, look.span))
    same = same_content(samples)
    single = not all(part.multi_label for part in parts.values())  # a clip has one class
    conflicts = [
        group
        for group in same
        if len({part for part, _ in group}) > 1 or (single and len({s.labels for _, s in group}) > 1)
    ]
    names = next(iter(parts.values())).class_names
    counts = {part: annotations.counts() for part, annotations in parts.items()}
    return DataReport(
        clips={part: len(annotations.samples) for part, annotations in parts.items()},
        classes={name: {part: counts[part][index] for part in parts} for index, name in enumerate(names)},
        unreadable=unreadable,
        short=short,
        damaged=damaged,
        duplicates=[tuple(s.name for _, s in group) for group in same if group not in conflicts],
        leaks=shared,
        conflicts=[tuple(sample.name for _, sample in group) for group in conflicts],
    )


def unreadable_clips(annotations: Annotations, *, progress: bool = True) -> dict[int, str]:
    """The clips that can't be opened, by their index, and why; a bar shows how far it is."""
    look = partial(_look, spec=ClipSpec(), decode=False)
    looks = looked_at(look, annotations.samples, "clip", progress)
    return {index: look.error for index, look in enumerate(looks) if look.error is not None}


class _Look(NamedTuple):
    """What one clip turned out to be."""

    frames: int = 0
    span: int = 0
    """Frames that a clip of the model covers."""
    sound: int = 0
    """Frames that no decoder marked as damaged."""
    promised: int = 0
    """Frames that its file, its list or the bounds of its part promise."""
    error: str | None = None
    """Why it can't be read."""


def looked_at(
    look: Callable[[Sample], _Found], samples: Collection[Sample], unit: str, progress: bool
) -> Iterator[_Found]:
    """What a look at each of the samples finds, in their order; threads look, and a bar counts them."""
    with ThreadPoolExecutor(_THREADS, "check") as pool:
        found = pool.map(look, samples)
        yield from shown(found, "check", len(samples), unit=unit, show=progress)


def _look(sample: Sample, spec: ClipSpec, decode: bool) -> _Look:
    try:
        with sample.open() as video:
            if decode:
                _check_copy(sample)
                with_true_count(lambda: deque(video.iter_frames(range(video.num_frames)), maxlen=0))
            rate = None if spec.time_base == "frames" else video.fps
            span, whole = clip_span(spec, rate), sample.start_seconds is None
            sound = video.num_frames - (video.marked_frames if whole else 0)
            return _Look(video.num_frames, span, sound, _promised(sample, video))
    except (OSError, InputError) as error:
        return _Look(error=str(error))


def _check_copy(sample: Sample) -> None:
    """Refuses a copy of ``cache`` that isn't what was written."""
    written = dict(sample.columns).get(CACHED_SHA256)
    if written and hash_file(sample.path) != written:
        raise VideoError(
            f"'{sample.path}' isn't the copy that 'slowfast-zoo cache' wrote: its {CACHED_SHA256} is another;"
            " the same 'cache' again makes a new one."
        )


def _promised(sample: Sample, video: Video) -> int:
    if sample.end_seconds is not None and isinstance(video, VideoPart):
        # Seconds are compared: where the rate varies, frames of a part are more or less than the rate says.
        wanted = sample.end_seconds - (sample.start_seconds or 0)
        there = max(wanted - video.lost_seconds, 1 / float(video.fps))
        return video.num_frames if there >= SHARE_THERE * wanted else round(video.num_frames * wanted / there)
    if sample.num_frames is not None:
        return sample.num_frames
    lost = video.damaged_frames - video.marked_frames
    return video.num_frames + (lost if sample.start_seconds is None else 0)


def same_content(samples: list[tuple[str, Sample]]) -> list[list[tuple[str, Sample]]]:
    """Groups of clips with the same bytes; parts of one video are the same only with the same bounds.

    So are pictures of one folder with the same pattern.
    """
    by_size: dict[tuple[Any, ...], list[tuple[str, Sample]]] = defaultdict(list)
    for part, sample in samples:
        sizes = tuple(file.stat().st_size for file in _files(sample.path))
        if sum(sizes):
            by_size[(sample.part, sample.frame_pattern, sizes)].append((part, sample))
    groups = []
    for candidates in by_size.values():
        if len(candidates) > 1:
            by_hash = defaultdict(list)
            for part, sample in candidates:
                by_hash[_digest(sample.path)].append((part, sample))
            groups += [group for group in by_hash.values() if len(group) > 1]
    return groups


def _files(path: Path) -> list[Path]:
    try:
        if path.is_dir():
            return sorted(child for child in path.iterdir() if child.is_file())
        return [path] if path.is_file() else []
    except OSError:
        return []  # opening it reports why


def _digest(path: Path) -> str:
    try:
        return " ".join(hash_file(file) for file in _files(path))
    except OSError:
        return str(path)  # equal to nothing else; opening it reports why


def _class_lines(classes: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    width = max((len(name) for name in classes), default=0)
    ranked = sorted(classes.items(), key=lambda item: -sum(item[1].values()))
    shown = ranked if len(ranked) <= 40 else [*ranked[:5], *ranked[-5:]]
    for index, (name, counts) in enumerate(shown):
        if index == 5 and len(shown) < len(ranked):
            yield f"  ... {len(ranked) - len(shown)} classes between"
        numbers = "  ".join(f"{part} {count}" for part, count in counts.items())
        missing = [part for part, count in counts.items() if not count]
        yield f"  {name:<{width}}  {numbers}" + (f"  <- none in {' and '.join(missing)}" if missing else "")
    totals = [sum(counts.values()) for counts in classes.values()]
    if min(totals) and max(totals) > _IMBALANCE * min(totals):
        yield f"  The largest class has {max(totals) / min(totals):.0f} times the clips of the smallest."


def section(title: str, lines: list[str]) -> list[str]:
    """Lines under a title; nothing without any."""
    if not lines:
        return []
    more = [f"  ... and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return [f"{title} ({len(lines)}):", *(f"  {line}" for line in lines[:MOST_LINES]), *more]
