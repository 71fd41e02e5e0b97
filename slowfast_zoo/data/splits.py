"""Which clips belong together, and splits that keep them together.

Two parts of one recording look alike. When one is trained on and the other scored, the score says how well
the recording is remembered, not how well its class is known.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from slowfast_zoo.data.annotations import Annotations, Sample
from slowfast_zoo.data.folders import SPLITS
from slowfast_zoo.errors import DataError, InputError, counted, quoted
from slowfast_zoo.video.sampling import is_count, is_number

# Kinetics: video id, first and last second. UCF101: group and clip. Anyone: a counted part of something.
ABSENT = ("", "nan", "NaN")
"""How tables write that a cell has no text."""

_PARTS = (
    re.compile(r"(?P<source>.{11})_\d{6}_\d{6}"),
    re.compile(r"(?P<source>v_.+_g\d+)_c\d+"),
    re.compile(
        r"(?P<source>.+?)[ ._-]*(?:(?<![^\W\d_])|(?<=[a-z])(?=[A-Z]))"  # no word begins in "haircut_1"
        r"(?i:cut|part|scene|seg|segment|shot)[ ._-]*\d+"
    ),
)

# What may name a person or a recording: the first, second or last word of a file's name, or its folder.
_WORDS = (
    r"(?:^|/)([^/_. -]+)[_. -][^/]*$",
    r"(?:^|/)[^/_. -]+[_. -]+([^/_. -]+)[_. -][^/]*$",
    r"[_. -]([^/_. -]+)\.[^/.]+$",
    r"(?:^|/)([^/]+)/[^/]+$",
)
_NUMBERS = re.compile(r"\W*\d+\W*")
"""Words that number clips."""
_COUNTERS = re.compile(r"(clip|vid|video|img|image|file|v|c)\d+", re.IGNORECASE)
"""Words that number clips where no class has one twice, else what clips were cut from."""
_TAKES = re.compile(r"(take|trial|rep|seq)\d+", re.IGNORECASE)
"""Words that number recordings of one person, or recordings that classes share."""
_NUMBERED = re.compile(rf"{_COUNTERS.pattern}|{_TAKES.pattern}|[tred]\d+", re.IGNORECASE)
"""Words that may number something; of the last kind, persons as well as takes."""
_COVERED = 0.6
"""Part of the clips whose word is met in several classes."""


PART_COLUMNS = ("split", "subset", "part", "partition", "set")
"""What a column of a table may be called that says of each clip to which part of the data it belongs."""
AUTO = "auto"
"""``group_by``: what file names suggest; see ``resolved``."""


def source_of(sample: Sample, group_by: str | None = None) -> str:
    """What a clip was cut from, as far as its name tells.

    Args:
        sample: the clip; of one that ``cache`` made, the path that counts is its original's.
        group_by: "folder": clips of one folder belong together; "column:NAME": those with the same text in
            that column of the table; else a regular expression whose first group, or whole match, in the
            path they share. A clip without text in that column belongs to no other, nor does one that doesn't
            match what names suggest ("auto"). None: parts of one file, and the names of Kinetics, UCF101 and
            "x_part3".

    Raises:
        InputError: no regular expression.
        DataError: a clip without that column, or whose path doesn't match.
    """
    path = sample.original
    alone = os.path.normpath(path.absolute())
    if group_by is None:
        found = next((match for rule in _PARTS if (match := rule.fullmatch(path.stem))), None)
        return found["source"] if found else alone
    if group_by == "folder":
        return str(Path(alone).parent)
    if group_by.startswith("column:"):
        columns = {column.casefold(): text for column, text in sample.columns}
        name = group_by.removeprefix("column:")
        if name.casefold() not in columns:
            raise DataError(
                f"'{sample.name}' has no column '{name}'; it has: {', '.join(columns) or 'none'}."
            )
        text = columns[name.casefold()]
        return alone if text in ABSENT else text
    try:
        match = re.search(group_by, path.as_posix())
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(f"group_by={group_by!r:.200} is no regular expression: {error}.") from error
    if group_by in _WORDS and (match is None or _NUMBERS.fullmatch(match[1])):
        return alone
    if match is None:
        raise DataError(f"'{path}' doesn't match group_by={group_by!r}, so it belongs to no group.")
    return match[1] if match.re.groups and match[1] is not None else match[0]


class Groups(NamedTuple):
    """What the names of the clips have in common across classes, such as the person that they show."""

    group_by: str
    """A regular expression for ``source_of``."""
    names: tuple[str, ...]
    """What it finds, sorted."""
    others: tuple[tuple[str, ...], ...] = ()
    """What other words of the names would find."""

    @property
    def found(self) -> str:
        """How many, and which; by other words, too."""
        shown = [", ".join(names[:4]) + " ..." * (len(names) > 4) for names in (self.names, *self.others)]
        others = zip(map(len, self.others), shown[1:], strict=True)
        return f"{counted(len(self.names), 'group')} across classes ({shown[0]})" + "".join(
            f", or {count} by another word ({names})" for count, names in others
        )

    @property
    def takes(self) -> bool:
        """Whether most names only number something."""
        return 2 * sum(_NUMBERED.fullmatch(name) is not None for name in self.names) > len(self.names)

    def __str__(self) -> str:
        return (
            f"Names suggest {self.found}: if they are persons or recordings, keep each in one part with"
            " --group-by auto, else scores are too good."
        )


def suggest_groups(annotations: Annotations) -> Groups | None:
    """What to group by where file names have a word in common across classes: "daria" of "daria_walk.avi".

    Nothing where clips have sources already (parts of a recording), where such a word only numbers clips
    ("7", or "clip07" that no class has twice), where half of the clips have the same, such as "clip", or
    where most classes would be a single group. "take2" and "clip07" count where no other word is found.
    """
    samples = annotations.samples
    if annotations.multi_label or len({source_of(sample) for sample in samples}) < len(samples):
        return None
    found = [groups for word in _WORDS if (groups := _grouped(annotations, word)) is not None]
    if not found:
        return None
    best = max(found, key=lambda groups: (not groups.takes, len(groups.names)))
    return best._replace(others=tuple(sorted({groups.names for groups in found} - {best.names})))


def _grouped(annotations: Annotations, word: str) -> Groups | None:
    """What this word of the names finds, where it may name persons or recordings."""
    samples = annotations.samples
    own = [{name.lower(), *re.split(r"[\W_]+", name.lower())} for name in annotations.class_names]
    found: Counter[tuple[str, int]] = Counter()
    sources: dict[int, list[str]] = defaultdict(list)
    for sample in samples:
        match = re.search(word, sample.original.as_posix())
        name, label = match[1] if match else "", sample.labels[0]
        sources[label].append(source_of(sample, word))
        if name and not _NUMBERS.fullmatch(name) and name.lower() not in own[label]:
            found[name, label] += 1
    counted = [count for (name, _), count in found.items() if _COUNTERS.fullmatch(name)]
    if 2 * len(counted) > len(found) and max(counted) == 1:
        return None
    clips: Counter[str] = Counter()
    for (name, _), count in found.items():
        clips[name] += count
    classes = Counter(name for name, _ in found)
    shared = sum(count for name, count in clips.items() if classes[name] > 1)
    usual = max(clips.values(), default=0) > len(samples) / 2
    single = [len({*there}) == 1 for there in sources.values() if len(there) > 1]
    if usual or not 3 <= len(clips) <= len(samples) / 2 or sum(single) > len(single) / 2:
        return None
    return Groups(word, tuple(sorted(clips))) if shared >= _COVERED * len(samples) else None


def resolved(annotations: Annotations, group_by: str | None) -> tuple[str | None, list[str]]:
    """``group_by`` with what names suggest in the place of "auto", and what there is to say about that."""
    if group_by != AUTO:
        return group_by, []
    groups = suggest_groups(annotations)
    if groups is None:
        return None, ["Groups: none that names suggest."]
    return groups.group_by, [f"Groups: {groups.found}."]


def grouping_notes(annotations: Annotations, group_by: str | None) -> list[str]:
    """What there is to say about a split: that no clips were found to belong together, and what might.

    Args:
        annotations: the clips that are divided.
        group_by: as in ``source_of``.
    """
    if group_by is not None:
        return []
    if (groups := suggest_groups(annotations)) is not None:
        return [str(groups)]
    if len({source_of(sample) for sample in annotations.samples}) < len(annotations.samples):
        return []
    return [
        "Each clip counts as a source of its own: no names of parts of one recording were met. --group-by"
        " keeps clips of one person or recording together."
    ]


def column_parts(annotations: Annotations) -> tuple[dict[str, Annotations], list[str]]:
    """The parts that a column of their table names ("split", "subset" ...), all classes in each.

    Nothing where no column names two parts, as in Kinetics' lists, whose column says the same of all clips,
    or where one has other words, such as "hand", "foot" and "test".

    Returns:
        The parts by name, "train" first where it is, and what there is to say, first about them.

    Raises:
        DataError: a column names "train", another part and something else, or two name different parts.
    """
    found: dict[tuple[str, ...], str] = {}
    notes: list[str] = []
    rows = [{name.casefold(): text for name, text in sample.columns} for sample in annotations.samples]
    for column in PART_COLUMNS:
        texts = [row.get(column, "") for row in rows]
        parts = [SPLITS.get(text.strip().lower(), "") for text in texts]
        if "" not in parts:
            found[tuple(parts)] = column
        elif {*parts} == {"train", ""}:
            other = texts[parts.index("")]
            notes.append(f"The column '{column}' says '{other:.40}' beside train, so it divides nothing.")
        elif "train" in parts:
            sample, other = annotations.samples[parts.index("")], texts[parts.index("")]
            raise DataError(
                f"{sample.where or sample.name}: the column '{column}' says '{other:.40}', and train"
                " elsewhere; accepted: train, val and test alone, or give the column another name."
            )
    divisions = [(parts, column) for parts, column in found.items() if len({*parts}) > 1]
    if len(divisions) > 1:
        raise DataError(
            f"The columns {quoted(column for _, column in divisions)} name different parts; give all but one"
            " another name."
        )
    if not divisions:
        return {}, notes
    ((each, column),) = divisions
    there = {name: [i for i, part in enumerate(each) if part == name] for name in ("train", "val", "test")}
    divided = {name: annotations.subset(places) for name, places in there.items() if places}
    counts = ", ".join(f"{len(part.samples)} in {name}" for name, part in divided.items())
    return divided, [f"The column '{column}' divides the clips: {counts}.", *notes]


def split_annotations(
    annotations: Annotations, val: float = 0.2, *, group_by: str | None = None, seed: int = 0
) -> tuple[Annotations, Annotations]:
    """Training and validation part: no source in both, and of each class about the same share.

    Every class keeps clips to train with, and gets one to validate with where it has two sources, unless more
    than half of all clips would be held out for that.

    Args:
        annotations: all clips.
        val: part of the clips to validate with, above 0 and below 1.
        group_by: as in ``source_of``.
        seed: decides between equal choices.

    Raises:
        InputError: ``val`` isn't such a part, or the seed is below 0.
        DataError: there is no such split, because everything comes from one source.
    """
    if not is_number(val) or not 0 < val < 1:
        raise InputError(f"val is {val!r:.60}; accepted: a part of the clips, above 0 and below 1.")
    _check_seed(seed)
    members: dict[str, list[int]] = defaultdict(list)
    for index, sample in enumerate(annotations.samples):
        members[source_of(sample, group_by)].append(index)
    chosen = _choose([annotations.subset(group).counts() for group in members.values()], val, seed)
    held_out = {
        index for group, taken in zip(members.values(), chosen, strict=True) if taken for index in group
    }
    if not held_out:
        clips, sources = len(annotations.samples), counted(len(members), "source")
        raise DataError(
            f"{counted(clips, 'clip')} from {sources} can't be split so that every class has clips to train"
            " with; give validation data of its own, or other groups (group_by)."
            f"{_largest(annotations, members, group_by)}"
        )
    every = range(len(annotations.samples))
    return (
        annotations.subset([index for index in every if index not in held_out]),
        annotations.subset(sorted(held_out)),
    )


def _largest(annotations: Annotations, members: Mapping[str, Sequence[int]], group_by: str | None) -> str:
    """Which source has most clips, and the way out where they belong to no source.

    "" where they are of one file, which no path divides, and where the user said what a source is.
    """
    source, group = max(members.items(), key=lambda item: len(item[1]), default=("", ()))
    paths = {annotations.samples[index].original: None for index in group}
    if len(paths) < 2 or group_by not in (None, *_WORDS):
        return ""
    names = " and ".join([f"'{name}'" for name in {path.name: None for path in paths}][:2])
    return (
        f" The largest source, '{source}', has {len(group)} clips, such as {names}; if these don't belong"
        " together, --group-by '.+' takes each file as a source of its own."
    )


def fold_annotations(
    annotations: Annotations, folds: int, *, group_by: str | None = None, seed: int = 0
) -> list[tuple[Annotations, Annotations]]:
    """The training and the held-out part of every fold: no source in both, each class dealt out evenly.

    What has the only clips of a class stays in training. Fewer sources than folds make fewer folds.

    Args:
        annotations: all clips.
        folds: how many, at least 2.
        group_by: as in ``source_of``.
        seed: decides between equal choices.

    Raises:
        InputError: less than two folds, or the seed is below 0.
        DataError: not two sources can be held out.
    """
    if not is_count(folds) or folds < 2:
        raise InputError(f"folds is {folds!r:.60}; accepted: an integer from 2.")
    _check_seed(seed)
    members: dict[str, list[int]] = defaultdict(list)
    for index, sample in enumerate(annotations.samples):
        members[source_of(sample, group_by)].append(index)
    groups = [*members.values()]
    table = np.array([annotations.subset(group).counts() for group in groups], np.float64)
    free = [
        place for place in range(len(groups)) if not ((table[place] > 0) & ((table > 0).sum(0) < 2)).any()
    ]
    count = min(folds, len(free))
    if count < 2:
        clips, sources = len(annotations.samples), counted(len(groups), "source")
        raise DataError(
            f"{counted(clips, 'clip')} from {sources} can't be divided into folds so that every class has"
            f" clips to train with; give other groups (group_by).{_largest(annotations, members, group_by)}"
        )
    order = [int(place) for place in np.random.default_rng(seed).permutation(free)]
    order.sort(key=lambda place: -table[place].sum())
    held, dealt = np.zeros((count, table.shape[1])), np.zeros((count, len(groups)), bool)
    for place in order:
        counts = table[place]
        # The fold that has least of these classes, of such the one that has least of all.
        fold = min(range(count), key=lambda fold: (float(held[fold] @ counts), float(held[fold].sum()), fold))
        held[fold] += counts
        dealt[fold, place] = True
    parts = []
    for fold in range(count):
        left = (table * ~dealt[fold][:, None]).sum(axis=0)
        # A class whose sources all came here keeps one of them in training.
        for place in np.flatnonzero(dealt[fold]).tolist():
            if ((table[place] > 0) & (left == 0)).any():
                dealt[fold, place] = False
                left = left + table[place]
        out = {index for place in np.flatnonzero(dealt[fold]) for index in groups[place]}
        rest = [index for index in range(len(annotations.samples)) if index not in out]
        parts.append((annotations.subset(rest), annotations.subset(sorted(out))))
    return [part for part in parts if part[1].samples]


def _check_seed(seed: object) -> None:
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InputError(f"seed is {seed!r:.60}; accepted: an integer of at least 0.")


def _choose(counts: Sequence[Sequence[int]], val: float, seed: int) -> list[bool]:
    """Which groups to hold out, given each group's clips per class: greedy, by the distance to the shares."""
    table = np.array(counts, np.float64)
    total = table.sum(axis=0)
    groups_with = (table > 0).sum(axis=0)
    # Between one clip and what leaves one; a class from a single source can't be held out.
    goal = np.where(groups_with > 1, np.maximum(val * total, 1), 0)
    scale = np.maximum(total, 1)
    held = np.zeros_like(total)
    taken = np.zeros(len(table), bool)
    order = np.random.default_rng(seed).permutation(len(table))
    changed = True
    while changed:
        changed = False
        for group in order:
            step = -table[group] if taken[group] else table[group]
            before, after = (np.square((held + part - goal) / scale).sum() for part in (0, step))
            if after < before - 1e-12 and (taken[group] or _leaves_some(total - held, table[group])):
                held, taken[group], changed = held + step, not taken[group], True
    for label in np.flatnonzero(groups_with > 1):  # large sources come nearer to no share, but it has two
        able = [group for group in order if table[group, label] and _leaves_some(total - held, table[group])]
        if not held[label] and able:
            smallest = min(able, key=lambda group: table[group].sum())
            if not held.any() or (held + table[smallest]).sum() <= total.sum() / 2:
                held, taken[smallest] = held + table[smallest], True
    return [bool(flag) for flag in taken]


def _leaves_some(left: npt.NDArray[np.float64], group: npt.NDArray[np.float64]) -> bool:
    """Whether each class of a group keeps clips to train with when the group goes, too."""
    return bool(((left - group > 0) | (group == 0)).all())


def leaks(parts: dict[str, Annotations], group_by: str | None = None) -> list[tuple[str, tuple[str, ...]]]:
    """Sources that more than one part has: (source, parts), sorted.

    Args:
        parts: annotations by the name of the part.
        group_by: as in ``source_of``; what numbers takes is no source that parts share.
    """
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for part, clips in parts.items():
        for sample in clips.samples:
            source = source_of(sample, group_by)
            if group_by not in _WORDS or not _TAKES.fullmatch(source):
                seen[source][part] += 1
    return sorted((source, tuple(counts)) for source, counts in seen.items() if len(counts) > 1)
