"""How far no network at all gets: an 8x8 grid of frame differences, averaged, and a logistic regression.

    python benchmarks/accuracy/frame_differences.py DATA [--group-by column:actor] [--folds 5] [--seed 0]

DATA is a folder with a folder of clips per class, or a list (slowfast_zoo.data.lists); a folder divided into
train and test (or val) is scored on what isn't trained on. Else every clip is scored once, by a regression
that saw no clip of its group; --folds 0 leaves out one group at a time. Left out are, as by finetune, clips
that can't be read, copies, clips with two labels, and clips to score of classes that have no training clip.
Whoever fine-tunes a network should beat this. Needs scikit-learn.
"""

from __future__ import annotations

import argparse
import functools
from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slowfast_zoo.data.annotations import Annotations, Sample
from slowfast_zoo.data.lists import read_parts
from slowfast_zoo.data.splits import AUTO, resolved, source_of
from slowfast_zoo.errors import InputError, VideoError
from slowfast_zoo.evaluation.metrics import wilson_interval
from slowfast_zoo.training.finetune.data import without_copies
from slowfast_zoo.video.decoding.video import Video, with_true_count

GRID, SIDE = 8, 64
"""Cells, and pixels that a picture is reduced to first, along each axis."""
RATE = 12.5
"""Pictures a second that are compared, so that recordings of several rates agree."""
_READ = 64
"""Pictures that are in memory at a time."""

Array = npt.NDArray[np.float64]


@functools.cache
def features(sample: Sample) -> Array:
    """Mean absolute difference of consecutive gray pictures in each cell: float64 (GRID * GRID,).

    Raises:
        VideoError, InputError: it can't be read.
    """
    with sample.open() as video:
        gray = with_true_count(lambda: _pictures(video))
    if len(gray) < 2:
        return np.zeros(GRID * GRID)
    changes, cell = np.abs(np.diff(gray, axis=0)).mean(axis=0), SIDE // GRID
    return np.asarray(changes.reshape(GRID, cell, GRID, cell).mean(axis=(1, 3)).ravel())


def _pictures(video: Video) -> Array:
    """``reduced`` of each that is compared: (T, SIDE, SIDE)."""
    step = max(round(float(video.info.fps or RATE) / RATE), 1)
    indices = [*range(0, video.num_frames, step)]
    parts = [indices[start : start + _READ] for start in range(0, len(indices), _READ)]
    return np.stack([reduced(picture) for part in parts for picture in video.frames(part)])


def reduced(picture: npt.NDArray[np.uint8]) -> Array:
    """The picture (H, W, 3) as gray means over SIDE x SIDE parts of it."""
    gray = picture.mean(axis=2)
    for axis in (0, 1):
        edges = np.linspace(0, gray.shape[axis], SIDE + 1)[:-1].astype(int)
        counts = np.maximum(np.diff([*edges, gray.shape[axis]]), 1)
        gray = np.add.reduceat(gray, edges, axis=axis) / np.expand_dims(counts, 1 - axis)
    return np.asarray(gray)


def predicted(train: Array, classes: npt.NDArray[np.int64], test: Array) -> npt.NDArray[np.int64]:
    """Classes of the test clips."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return np.asarray(model.fit(np.log1p(train), classes).predict(np.log1p(test)))


def grouped_folds(groups: list[str], folds: int, seed: int) -> list[npt.NDArray[np.int64]]:
    """Positions to score, fold by fold: whole groups, the largest first; 0: one group a fold."""
    members: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    names = sorted(members)
    np.random.default_rng(seed).shuffle(names)
    names.sort(key=lambda name: -len(members[name]))
    dealt: list[list[int]] = [[] for _ in range(folds or len(names))]
    for name in names:
        min(dealt, key=len).extend(members[name])
    return [np.array(sorted(part)) for part in dealt if part]


def score(clips: Annotations, group_by: str | None, folds: int = 5, seed: int = 0) -> list[bool]:
    """Whether each clip's class is found by a regression that saw none of its group."""
    table, classes = tabulated(clips)
    right = np.zeros(len(classes), bool)
    for held_out in grouped_folds([source_of(sample, group_by) for sample in clips.samples], folds, seed):
        rest = np.setdiff1d(np.arange(len(classes)), held_out)
        right[held_out] = predicted(table[rest], classes[rest], table[held_out]) == classes[held_out]
    return [bool(flag) for flag in right]


def tabulated(clips: Annotations) -> tuple[Array, npt.NDArray[np.int64]]:
    """Features (N, GRID * GRID) of the clips, and the one class of each."""
    classes = np.array([sample.labels[0] for sample in clips.samples])
    return np.stack([features(sample) for sample in clips.samples]), classes


def usable(clips: Annotations) -> tuple[Annotations, list[str]]:
    """The clips without copies and those that can't be read, and what there is to say about these."""
    good, notes = list[int](), list[str]()
    for index, sample in enumerate(clips.samples):
        try:
            features(sample)
        except (VideoError, InputError) as error:
            notes.append(f"Left out, as it can't be read: {error}")
        else:
            good.append(index)
    kept, more = without_copies(clips.subset(good))
    return kept, [*notes, *more]


def told(right: int, clips: int) -> str:
    """The share that is right, with its 95 % interval."""
    low, high = wilson_interval(right, clips)
    return f"{right / clips:.1%} of {clips} clips right (95 % interval {low:.1%} to {high:.1%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--group-by", default=AUTO, help="as in finetune; default: what file names suggest")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    parts, notes = read_parts(arguments.data)
    for name, part in parts.items():
        parts[name], more = usable(part)
        notes += more
    for note in notes:
        print(note)
    known = {sample.labels[0] for sample in parts["train"].samples}
    scored = parts.get("test") or parts.get("val") or parts["train"]
    scored = scored.subset([place for place, clip in enumerate(scored.samples) if clip.labels[0] in known])
    if not scored.samples:
        raise SystemExit("No clip is left to score.")
    if len(parts) > 1:
        table, classes = tabulated(parts["train"])
        others, truth = tabulated(scored)
        right = (predicted(table, classes, others) == truth).tolist()
    else:
        group_by, _ = resolved(scored, arguments.group_by)
        right = score(scored, group_by, arguments.folds, arguments.seed)
    print(told(sum(right), len(right)))


if __name__ == "__main__":
    main()
