"""The data of a fine-tuning: parts that are given or made, without clips that can't be read."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slowfast_zoo.data.annotations import Annotations, with_known_classes
from slowfast_zoo.data.check import same_content, unreadable_clips
from slowfast_zoo.data.dataset import ReplacingDataset, most_unreadable
from slowfast_zoo.data.folders import check_outside
from slowfast_zoo.data.lists import read_annotations, read_beside, read_parts, read_splits
from slowfast_zoo.data.splits import grouping_notes, leaks, resolved, source_of, split_annotations
from slowfast_zoo.data.tables import write_split
from slowfast_zoo.errors import DataError, InputError, counted, quoted
from slowfast_zoo.files import hash_file, kind_of
from slowfast_zoo.training.state import replaced

Data = str | Path | Annotations
Parts = Mapping[str, Annotations]

_SUMS = "checksums.json"
_WAY_OUT = "put the old one back, or start a new fine-tuning in another work directory."


@dataclasses.dataclass(frozen=True)
class FinetuneData:
    """The parts, with the same classes, and what there is to say about them."""

    train: Annotations
    val: Annotations
    """No clips where a test part is all there is to score with, and where folds are."""
    test: Annotations | None
    notes: tuple[str, ...]
    group_by: str | None
    """What a source is; what names suggested where that was to be used."""
    made: bool
    """Whether the part to score with was held out here, rather than given."""
    seen: bool
    """Whether clips to score with are trained on, or others of their sources."""


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
    in_time: bool = False,
    keep_clip: bool = False,
) -> FinetuneData:
    """The parts of the data, written to the folder as lists; resumed, what the lists there say.

    Arguments and errors are those of ``finetune``; ``in_time``: the clip of the network counts time.
    """
    if resume and (folder / _SUMS).exists():
        return _read_back(folder)
    parts, notes = _given(data, validation, anew=not val)
    before = parts["train"].counts()
    for name, part in parts.items():
        sound, note = _without_unreadable(part, max_unreadable, progress)
        parts[name], more = without_copies(sound)
        if not parts[name].samples:
            raise DataError(
                f"No clip is left in the part '{name}': {' '.join(more)} If clips have several labels,"
                " --multi-label (multi_label=True) keeps all of their labels."
            )
        notes += note + more
    notes += _without_lost_classes(parts, before)
    if in_time:
        _check_rates(parts, keep_clip)
    _check_classes(parts["train"])
    made, seen = not {"val", "test"} & parts.keys(), False
    group_by, note = resolved(parts["train"], group_by)
    notes += note
    if not val:
        if len(parts) > 1:
            raise DataError(
                f"The data come divided ({quoted(parts)}), and folds divide the clips anew; give all in one,"
                " or leave out folds."
            )
        notes += grouping_notes(parts["train"], group_by)
    elif shared := _shared(parts, group_by):
        first = next(iter(shared))
        notes.append(f"Parts share {counted(len(shared), 'source')}, such as '{first}': scores are too good.")
        seen = any({"train", "test" if "test" in parts else "val"} <= names for names in shared.values())
    if val and made:
        train, held_out = split_annotations(parts["train"], val, group_by=group_by, seed=seed)
        notes += grouping_notes(parts["train"], group_by)
        parts = {"train": train, "val": held_out}
    write_split(folder, parts, group_by=group_by)
    written = [path for path in sorted(folder.iterdir()) if path.suffix in (".csv", ".txt")]
    sums = {path.name: hash_file(path) for path in written}
    with replaced(folder / _SUMS) as temporary:
        named = parts["train"].labels is not None
        kept = {"named": named, "group_by": group_by, "made": made, "seen": seen}
        temporary.write_text(json.dumps(kept | {"notes": notes, "sha256": sums}), encoding="utf-8")
    # As a resumed fine-tuning reads them: with the same paths in the same order.
    return _read_back(folder)


def _read_back(folder: Path) -> FinetuneData:
    """What the lists in the folder say."""
    kept, text = _check_unchanged(folder), (folder / "labels.txt").read_text(encoding="utf-8")
    # As format_labels writes them; not judged anew, for nobody could mend them.
    labels = json.loads(text) if text.startswith("[") else text.split("\n")[:-1]
    parts = read_splits(folder, labels=labels) or {
        "train": read_annotations(folder / "train.csv", labels=labels)
    }
    if not kept["named"]:
        parts = {name: dataclasses.replace(part, labels=None) for name, part in parts.items()}
    return FinetuneData(
        parts["train"],
        parts.get("val", parts["train"].subset([])),
        parts.get("test"),
        (*_counted(parts), *kept["notes"]),
        group_by=kept["group_by"],
        made=kept["made"],
        seen=kept["seen"],
    )


def _check_unchanged(folder: Path) -> dict[str, Any]:
    """What is kept beside the lists, when they are as they were written.

    Raises:
        DataError: they aren't.
    """
    try:
        kept = json.loads((folder / _SUMS).read_text(encoding="utf-8"))
        _ = kept["named"], kept["group_by"], kept["made"], kept["seen"]
        kept["notes"] = [*map(str, kept.get("notes", []))]  # which older versions didn't keep
        changed = [name for name, digest in kept["sha256"].items() if hash_file(folder / name) != digest]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / _SUMS} is damaged ({error}); {_WAY_OUT}") from error
    if changed:
        raise DataError(f"{folder / changed[0]} isn't as the training began with; {_WAY_OUT}")
    return dict(kept)


def check_parts(
    data: Data | Parts,
    validation: Data | None,
    work_dir: str | Path,
    max_unreadable: float,
    *,
    resume: bool,
) -> None:
    """Refuses what is no data, parts of other names, a wrong share of unreadable clips, and a work directory
    inside of the data.

    Raises:
        DataError: says which parts are accepted.
        InputError: that is no share, those are no data, or the directory is in them.
    """
    ReplacingDataset(max_unreadable)
    for name, source, also in (("data", data, Mapping), ("validation", validation, type(None))):
        if not isinstance(source, (str, Path, Annotations, also)):
            kind = type(source).__name__
            raise InputError(f"{name} is a {kind}; accepted: a path, or what read_annotations returned.")
        if isinstance(source, (str, Path)) and not resume:
            check_outside(work_dir, source)
    if not isinstance(data, Mapping):
        return
    parts = "'train', and beside it 'val' and 'test', each of what read_annotations returned"
    if "train" not in data or not {*data} <= {"train", "val", "test"}:
        raise DataError(f"The data are the parts {quoted(data) or '(none)'}; accepted: {parts}.")
    for name, part in data.items():
        if not isinstance(part, Annotations):
            raise DataError(f"The part '{name}' of the data is a {type(part).__name__}; accepted: {parts}.")
        if not part.samples:
            raise DataError(f"The part '{name}' of the data holds no clip; leave it out.")


def _given(
    data: Data | Parts, validation: Data | None, *, anew: bool
) -> tuple[dict[str, Annotations], list[str]]:
    notes: list[str] = []
    if isinstance(data, Annotations):
        parts = {"train": data}
    elif isinstance(data, Mapping):
        parts = dict(data)
    else:
        parts, notes = read_parts(data, anew=anew)
    if validation is not None:
        train = parts["train"]
        if "val" in parts:
            notes.append("The data's own part val isn't used: validation data were given.")
        if not isinstance(validation, Annotations):
            validation, more = read_beside(validation, train)
            notes += more
        parts["val"] = validation
    train = parts["train"]
    for name, part in parts.items():
        parts[name], more = with_known_classes(train, part, name)
        notes += more
    return parts, notes


def without_copies(annotations: Annotations) -> tuple[Annotations, list[str]]:
    """Of clips with the same bytes the first, with the labels of all; none where they must have only one."""
    samples, copies = [*annotations.samples], set[int]()
    joined, wrong = list[list[int]](), list[list[int]]()
    for group in same_content([(str(index), sample) for index, sample in enumerate(samples)]):
        same = [int(index) for index, _ in group]
        labels = {label for index in same for label in samples[index].labels}
        if len({samples[index].labels for index in same}) == 1:
            copies |= {*same[1:]}
        elif annotations.multi_label:
            samples[same[0]] = dataclasses.replace(samples[same[0]], labels=tuple(sorted(labels)))
            joined.append(same)
        else:
            wrong.append(same)
    out = {index for same in wrong for index in same}
    notes = []
    if joined:
        notes.append(
            f"Joined clips that are listed several times with different labels: {sum(map(len, joined))} lines"
            f" became {counted(len(joined), 'clip')} with all of their labels."
        )
    if wrong:
        two = (samples[index] for index in wrong[0][:2])
        first = " and ".join(f"{clip.name} ('{annotations.class_names[clip.labels[0]]}')" for clip in two)
        notes.append(f"Left out {len(out)} clips that are there with several labels; the same are {first}.")
    if copies:
        notes.append(f"Left out copies of clips that are there already: {len(copies)}.")
    out |= copies.union(*(same[1:] for same in joined))
    left = tuple(sample for index, sample in enumerate(samples) if index not in out)
    return dataclasses.replace(annotations, samples=left), notes


def _without_lost_classes(parts: dict[str, Annotations], before: list[int]) -> list[str]:
    """Takes out of the parts the classes that had clips to train with, of which none is left."""
    train = parts["train"]
    lost = {
        index for index, (had, has) in enumerate(zip(before, train.counts(), strict=True)) if had > has == 0
    }
    if not lost or train.labels is None:  # numbers can't be others
        return []
    names = [name for index, name in enumerate(train.labels) if index not in lost]
    for name, part in parts.items():
        left = [index for index, sample in enumerate(part.samples) if not lost & {*sample.labels}]
        parts[name] = part.subset(left).with_classes(names, len(names), of="the data")
        if not left:
            raise DataError(f"No clip is left in the part '{name}'.")
    return [
        f"Left out classes without a clip that can be used: {quoted(train.labels[i] for i in sorted(lost))}."
    ]


def _shared(parts: dict[str, Annotations], group_by: str | None) -> dict[str, set[str]]:
    """Sources that more than one part has, and other clips with the same bytes, and which parts."""
    found: dict[str, set[str]] = defaultdict(set)
    for source, names in leaks(parts, group_by):
        found[source] |= {*names}
    for group in same_content([(name, sample) for name, part in parts.items() for sample in part.samples]):
        if len(which := {name for name, _ in group}) > 1:
            source, clip = source_of(group[0][1], group_by), group[0][1].name
            found[source if source in found else clip] |= which
    return found


def _without_unreadable(
    annotations: Annotations, limit: float, progress: bool
) -> tuple[Annotations, list[str]]:
    bad = unreadable_clips(annotations, progress=progress)
    total = len(annotations.samples)
    if not bad:
        return annotations, []
    first = next(iter(bad.values()))
    check_unreadable(len(bad), total, limit, first)
    kept = annotations.subset([index for index in range(total) if index not in bad])
    return kept, [f"Left out {len(bad)} of {total} clips that can't be read; the first: {first}"]


def check_unreadable(bad: int, total: int, limit: float, first: str) -> None:
    """Refuses so many clips that can't be read; one bad file among a handful stops nothing.

    Raises:
        DataError: they are more than that share, or all.
    """
    if bad > most_unreadable(total, limit) or bad == total:
        raise DataError(
            f"{bad} of {total} clips can't be read, more than max_unreadable={limit:g}"
            f" (--max-unreadable); the first: {first} 'slowfast-zoo check' names all of them."
        )


def _check_rates(parts: Parts, keep_clip: bool) -> None:
    """Refuses frames without a rate for a clip that counts time, unless all are without and it may change."""
    samples = [sample for part in parts.values() for sample in part.samples]
    unknown = [
        sample
        for sample in samples
        if sample.fps is None and (sample.path.suffix.lower() == ".npy" or kind_of(sample.path) == "folder")
    ]
    if unknown and (keep_clip or len(unknown) < len(samples)):
        raise DataError(
            f"Nothing says the frame rate of {len(unknown)} of {counted(len(samples), 'clip')}, such as"
            f" '{unknown[0].name}', and the network's clip counts time; read them with fps=25 (--fps), or"
            " whatever it is."
        )


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
        f"{counted(train.num_classes, 'class')}; clips: {sizes}. The smallest class to train with, '"
        f"{train.class_names[smallest]}', has {counts[smallest]}."
    ]
    once = sum(count == 1 for count in counts)
    if once:
        lines.append(f"Classes with one clip to train with, hardly learned: {once}.")
    validated = parts.get("val", parts.get("test"))
    unseen = [] if validated is None else _absent(validated)
    if unseen:
        shown = ", ".join(unseen[:4]) + (f" and {len(unseen) - 4} more" if len(unseen) > 4 else "")
        lines.append(f"Nothing to validate these classes with: {shown}.")
    return lines


def _absent(clips: Annotations) -> list[str]:
    return [name for name, count in zip(clips.class_names, clips.counts(), strict=True) if not count]
