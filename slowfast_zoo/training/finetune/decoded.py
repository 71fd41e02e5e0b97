"""Clips of a fine-tuning as stored frames, where they fit: decoded once instead of in every pass."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slowfast_zoo.data.annotations import CACHE_INDEX, Annotations, Sample
from slowfast_zoo.data.cache import cache_data
from slowfast_zoo.data.lists import read_annotations
from slowfast_zoo.data.splits import source_of
from slowfast_zoo.errors import DataError, InputError, VideoError, counted
from slowfast_zoo.evaluation.evaluate import Evaluation
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.training.finetune.data import FinetuneData, check_unreadable
from slowfast_zoo.training.finetune.folder import CACHE
from slowfast_zoo.training.finetune.footage import Footage

MOST_BYTES = 8 * 2**30
"""Of frames that are stored; the others are decoded in every pass."""
_SHARE_OF_DISK = 0.5
_SOURCE, _NAME = "finetune_source", "finetune_name"
_LARGEST_SIDE = 10**6  # no picture is made smaller: scores are those of the videos


def decoded(
    data: FinetuneData,
    footage: Footage | None,
    spec: ClipSpec,
    folder: Path,
    max_unreadable: float,
    progress: bool,
) -> tuple[FinetuneData, list[str]]:
    """The same clips with every frame stored, as far as there is room, and what there is to say about it.

    Stored frames have no time stamps, so that a clip counted in seconds keeps its videos.

    Raises:
        DataError: more than that share of the clips can't be decoded, or none of a class to train with.
    """
    parts = {"train": data.train, "val": data.val, "test": data.test}
    samples = [sample for part in parts.values() if part is not None for sample in part.samples]
    if footage is None or spec.time_base == "seconds" or all(s.path.suffix == ".npy" for s in samples):
        return data, []
    stored_before = sum(path.stat().st_size for path in (folder / CACHE).rglob("*") if path.is_file())
    free = shutil.disk_usage(folder).free + stored_before
    room = most = int(min(MOST_BYTES, _SHARE_OF_DISK * free))
    failed: list[tuple[str, str]] = []
    stored: dict[str, Any] = dict.fromkeys(parts)
    decoded_again = []
    for name, part in parts.items():  # those to train with first: they are read most often
        if part is None:
            continue
        own = dataclasses.replace(part, samples=tuple(_with_source(s, data.group_by) for s in part.samples))
        wanted = _bytes_of(own.samples, room)
        if wanted > room:
            decoded_again.append(name)
            stored[name] = own
        else:
            room -= wanted
            stored[name] = _stored(own, folder / CACHE / name, progress, failed)
    notes = []
    if room < most:
        notes.append(f"Clips are decoded once: {(most - room) / 2**20:.0f} MiB of frames, kept meanwhile.")
    if decoded_again:
        rest = f" (those of {' and '.join(decoded_again)})" if room < most else ""
        told = f"Clips{rest} are decoded in every pass: their frames don't fit into {room / 2**30:.1f} GiB"
        notes.append(f"{told}; 'slowfast-zoo cache' makes smaller copies that read fast.")
    if failed:
        notes.append(f"Left out {counted(len(failed), 'clip')} without a frame; the first: {failed[0][1]}")
        check_unreadable(len(failed), len(samples), max_unreadable, failed[0][1])
        left = zip(data.train.class_names, data.train.counts(), stored["train"].counts(), strict=True)
        if lost := [name for name, before, now in left if before and not now]:
            raise DataError(
                f"No clip of '{lost[0]}' is left to train with; the first that can't be read: {failed[0][1]}"
            )
    return dataclasses.replace(data, **stored, group_by=f"column:{_SOURCE}"), notes


def _bytes_of(samples: Sequence[Sample], most: int) -> int:
    """Of all frames; of some, where these are more than so many."""
    total = 0
    for sample in samples:
        with contextlib.suppress(VideoError, InputError), sample.open() as video:
            total += video.num_frames * video.height * video.width * 3
        if total > most:
            break
    return total


def _stored(part: Annotations, folder: Path, progress: bool, failed: list[tuple[str, str]]) -> Annotations:
    if not part.samples:
        return part
    failed += cache_data(part, folder, short_side=_LARGEST_SIDE, form="frames", progress=progress)
    found = read_annotations(folder / CACHE_INDEX, labels=part.labels, multi_label=part.multi_label)
    return dataclasses.replace(part, samples=found.samples)


def _with_source(sample: Sample, group_by: str | None) -> Sample:
    # The mark keeps a group called "nan" from being read as none.
    columns = dict(sample.columns) | {_SOURCE: f"={source_of(sample, group_by)}", _NAME: sample.name}
    return dataclasses.replace(sample, columns=tuple(columns.items()))


def under_own_names(evaluation: Evaluation, data: FinetuneData) -> Evaluation:
    """The scores with the names of the videos that stored frames were made of."""
    parts = [part for part in (data.train, data.val, data.test) if part is not None]
    names = {s.name: dict(s.columns).get(_NAME, s.name) for part in parts for s in part.samples}
    return dataclasses.replace(
        evaluation,
        names=[names.get(name, name) for name in evaluation.names],
        failed=[(names.get(name, name), error) for name, error in evaluation.failed],
    )


def removed(folder: Path) -> None:
    """Removes the stored frames."""
    shutil.rmtree(folder / CACHE, ignore_errors=True)
