"""Clips of a fine-tuning as stored frames, where they fit: decoded once instead of in every pass."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from slowfast_zoo.data.annotations import Annotations, Sample
from slowfast_zoo.data.cache import cache_data
from slowfast_zoo.data.lists import read_annotations
from slowfast_zoo.data.splits import source_of
from slowfast_zoo.evaluation.evaluate import Evaluation
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.training.finetune.data import FinetuneData
from slowfast_zoo.training.finetune.folder import CACHE
from slowfast_zoo.training.finetune.footage import Footage

MOST_BYTES = 2 * 2**30
"""Frames of more bytes are decoded in every pass."""
_SHARE_OF_DISK = 0.5
_SOURCE, _NAME = "finetune_source", "finetune_name"
_LARGEST_SIDE = 10**6  # no picture is made smaller: scores are those of the videos


def decoded(
    data: FinetuneData, footage: Footage | None, spec: ClipSpec, folder: Path, *, progress: bool
) -> tuple[FinetuneData, list[str]]:
    """The same clips with every frame stored, and what there is to say about it; else as they are.

    Stored frames have no time stamps, so that a clip counted in seconds keeps its videos.
    """
    parts = {"train": data.train, "val": data.val, "test": data.test}
    samples = [sample for part in parts.values() if part is not None for sample in part.samples]
    if footage is None or spec.time_base == "seconds" or all(s.path.suffix == ".npy" for s in samples):
        return data, []
    wanted, free = footage.clip_bytes * len(samples), shutil.disk_usage(folder).free
    if wanted > min(MOST_BYTES, _SHARE_OF_DISK * free):
        told = f"Clips are decoded in every pass: their frames are {wanted / 2**30:.1f} GiB"
        return data, [f"{told}; 'slowfast-zoo cache' makes smaller copies that read fast."]
    stored = {
        name: _stored(part, folder / CACHE / name, data.group_by, progress)
        for name, part in parts.items()
        if part is not None
    }
    group_by = f"column:{_SOURCE}"
    stored_data = dataclasses.replace(
        data, train=stored["train"], val=stored["val"], test=stored.get("test"), group_by=group_by
    )
    return stored_data, [f"Clips are decoded once: {wanted / 2**20:.0f} MiB of frames, kept meanwhile."]


def _stored(part: Annotations, folder: Path, group_by: str | None, progress: bool) -> Annotations:
    if not part.samples:
        return part
    own = [_with_source(sample, group_by) for sample in part.samples]
    named = dataclasses.replace(part, samples=tuple(own))
    bad = cache_data(named, folder, short_side=_LARGEST_SIDE, form="frames", progress=progress)
    failed = {name for name, _ in bad}
    kept = [sample for sample in own if sample.name not in failed]
    found = read_annotations(folder / "index.csv").samples
    samples = [
        dataclasses.replace(there, labels=sample.labels) for there, sample in zip(found, kept, strict=True)
    ]
    return dataclasses.replace(part, samples=tuple(samples))


def _with_source(sample: Sample, group_by: str | None) -> Sample:
    columns = dict(sample.columns) | {_SOURCE: source_of(sample, group_by), _NAME: sample.name}
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
