"""The data of a fine-tuning: parts that are given or made, without clips that can't be read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from slowfast_zoo.data.annotations import Annotations
from slowfast_zoo.data.check import unreadable_clips
from slowfast_zoo.data.lists import read_annotations, read_like, read_splits
from slowfast_zoo.data.splits import grouping_notes, leaks, split_annotations
from slowfast_zoo.data.tables import write_split
from slowfast_zoo.errors import DataError
from slowfast_zoo.files import hash_file
from slowfast_zoo.training.state import replaced

Data = str | Path | Annotations
Parts = Mapping[str, Annotations]

_SUMS = "checksums.json"
_WAY_OUT = "put the old one back, or start a new fine-tuning in another work directory."
_UNEVEN = 1.5
"""Classes are uneven when the largest has more than so many times the clips of the smallest."""


@dataclasses.dataclass(frozen=True)
class FinetuneData:
    """The parts, with the same classes, and what there is to say about them."""

    train: Annotations
    val: Annotations
    test: Annotations | None
    notes: tuple[str, ...]

    @property
    def uneven(self) -> bool:
        """Whether the classes to train, one per clip, are of very different sizes."""
        counts = [count for count in self.train.counts() if count]
        return not self.train.multi_label and max(counts) > _UNEVEN * min(counts)


def collect(
    data: Data | Parts,
    validation: Data | None,
    folder: Path,
    *,
    resume: bool,
    val: float,
    group_by: str | None,
    seed: int,
    max_unreadable: float,
    progress: bool,
) -> FinetuneData:
    """The parts of the data, written to the folder as lists; resumed, what the lists there say.

    Arguments and errors are those of ``finetune``.
    """
    if resume and (folder / _SUMS).exists():
        named = _check_unchanged(folder)
        parts = read_splits(folder, labels=folder / "labels.txt")
        if not named:
            parts = {name: dataclasses.replace(part, labels=None) for name, part in parts.items()}
        return FinetuneData(parts["train"], parts["val"], parts.get("test"), tuple(_counted(parts)))
    parts = _given(data, validation)
    notes: list[str] = []
    for name, part in parts.items():
        parts[name], note = _without_unreadable(part, max_unreadable, progress)
        notes += note
    _check_classes(parts["train"])
    if "val" in parts:
        shared = leaks(parts, group_by)
        if shared:
            notes.append(f"Parts share {len(shared)} sources, such as '{shared[0][0]}': scores are too good.")
    else:
        train, held_out = split_annotations(parts["train"], val, group_by=group_by, seed=seed)
        notes += grouping_notes(parts["train"], group_by)
        parts = {"train": train, "val": held_out} | {name: parts[name] for name in parts if name != "train"}
    write_split(folder, parts)
    written = [path for path in sorted(folder.iterdir()) if path.suffix in (".csv", ".txt")]
    sums = {path.name: hash_file(path) for path in written}
    with replaced(folder / _SUMS) as temporary:
        named = parts["train"].labels is not None
        temporary.write_text(json.dumps({"named": named, "sha256": sums}), encoding="utf-8")
    return FinetuneData(parts["train"], parts["val"], parts.get("test"), (*_counted(parts), *notes))


def _check_unchanged(folder: Path) -> bool:
    """Whether the classes have names, when the lists are as they were written.

    Raises:
        DataError: they aren't.
    """
    try:
        kept = json.loads((folder / _SUMS).read_text(encoding="utf-8"))
        named = bool(kept["named"])
        changed = [name for name, digest in kept["sha256"].items() if hash_file(folder / name) != digest]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / _SUMS} is damaged ({error}); {_WAY_OUT}") from error
    if changed:
        raise DataError(f"{folder / changed[0]} isn't as the training began with; {_WAY_OUT}")
    return named


def _given(data: Data | Parts, validation: Data | None) -> dict[str, Annotations]:
    if isinstance(data, Annotations):
        parts = {"train": data}
    elif isinstance(data, Mapping):
        parts = dict(data)
    else:
        parts = read_splits(data) or {"train": read_annotations(data)}
    if validation is not None:
        train = parts["train"]
        parts["val"] = validation if isinstance(validation, Annotations) else read_like(validation, train)
    train = parts["train"]
    return {
        name: part.with_classes(
            train.labels, train.num_classes, of="the training part", first_number=train.first_number
        )
        for name, part in parts.items()
    }


def _without_unreadable(
    annotations: Annotations, limit: float, progress: bool
) -> tuple[Annotations, list[str]]:
    bad = unreadable_clips(annotations, progress=progress)
    total = len(annotations.samples)
    if not bad:
        return annotations, []
    first = next(iter(bad.values()))
    # One bad file among a handful stops nothing.
    if len(bad) > max(limit * total, 1) or len(bad) == total:
        raise DataError(
            f"{len(bad)} of {total} clips can't be read, more than max_unreadable={limit:g}; the first:"
            f" {first} 'slowfast-zoo check' names all of them."
        )
    kept = annotations.subset([index for index in range(total) if index not in bad])
    return kept, [f"Left out {len(bad)} of {total} clips that can't be read; the first: {first}"]


def _check_classes(train: Annotations) -> None:
    present = set(train.class_names) - set(_absent(train))
    if not train.multi_label and len(present) < 2:
        raise DataError(
            f"All {len(train.samples)} clips are of the class '{present.pop()}'; telling classes apart takes"
            " two, such as a folder of clips without it."
        )


def _counted(parts: dict[str, Annotations]) -> list[str]:
    train = parts["train"]
    counts = train.counts()
    smallest = min(range(len(counts)), key=counts.__getitem__)
    sizes = " and ".join(f"{len(part.samples)} in {name}" for name, part in parts.items())
    lines = [
        f"{train.num_classes} classes; clips: {sizes}. The smallest class to train with, '"
        f"{train.class_names[smallest]}', has {counts[smallest]}."
    ]
    unseen = _absent(parts["val"])
    if unseen:
        shown = ", ".join(unseen[:4]) + (" ..." if len(unseen) > 4 else "")
        lines.append(f"Nothing to validate these classes with: {shown}.")
    return lines


def _absent(clips: Annotations) -> list[str]:
    return [name for name, count in zip(clips.class_names, clips.counts(), strict=True) if not count]
