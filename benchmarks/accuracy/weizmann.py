"""Leave one actor out on the Weizmann actions: what finetune makes of them by its defaults.

    python benchmarks/accuracy/weizmann.py FOLDER [--out figures.json] [--actors daria denis] [--seeds 0 1 2]
        [--together 3] [--recipe learn] [--budget 600] [--model SAVED_FOLDER]

FOLDER holds the videos and index.csv with the columns path, label and actor. Each fold gives finetune the
clips of all actors but one to choose by and to train with; the actor left out is scored and chooses nothing.
Several left out together make fewer folds, sooner done, each with fewer clips to train with.
What is printed beside it is what a page of NumPy makes of the same folds (frame_differences.py; needs
scikit-learn). Interrupted, it goes on with the folds that OUT lacks.

Source: Gorelick et al. 2007, https://www.wisdom.weizmann.ac.il/~vision/SpaceTimeActions.html.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from frame_differences import predicted, tabulated, told
from trained import BASELINE, begin, counted, finetuned, kept

from slowfast_zoo.data.annotations import Annotations
from slowfast_zoo.data.cache import cache_data
from slowfast_zoo.data.lists import read_annotations
from slowfast_zoo.weights.saved.hub import from_pretrained
from slowfast_zoo.zoo import slowfast_tiny


def fold(clips: Annotations, left_out: list[str], seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """What finetune found for the other actors, and how many clips of those left out it gets right."""
    actors = np.array([dict(sample.columns)["actor"] for sample in clips.samples])
    out = np.isin(actors, left_out)
    rest, held_out = (clips.subset(np.flatnonzero(which).tolist()) for which in (~out, out))
    model = from_pretrained(arguments.model) if arguments.model else slowfast_tiny(weights=arguments.weights)
    return finetuned(
        rest,
        held_out,
        model,
        group_by="column:actor",
        recipe=arguments.recipe,
        budget_seconds=arguments.budget,
        config={"seed": seed, "workers": arguments.workers},
        device=arguments.device,
    )


def baseline(clips: Annotations, folds: list[list[str]]) -> list[bool]:
    """Whether each clip of the actors left out is right without any network."""
    table, classes = tabulated(clips)
    actors = np.array([dict(sample.columns)["actor"] for sample in clips.samples])
    right: list[bool] = []
    for left_out in folds:
        out = np.isin(actors, left_out)
        right += (predicted(table[~out], classes[~out], table[out]) == classes[out]).tolist()
    return right


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, help="folder of a saved model instead")
    parser.add_argument("--weights", default="actions", help="of slowfast_tiny to start from")
    parser.add_argument("--recipe", help="instead of the one that finetune chooses")
    parser.add_argument("--budget", type=float, help="seconds for each fold")
    parser.add_argument("--actors", nargs="*", help="to leave out; the others are trained on in each fold")
    parser.add_argument("--together", type=int, default=1, help="actors that one fold leaves out")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--device")
    parser.add_argument("--out", type=Path, default=Path("weizmann.json"), help="JSON file for all figures")
    return parser.parse_args()


def main() -> None:
    arguments = options()
    begin(arguments.out, arguments, but=("out", "workers", "device", "seeds"))
    with tempfile.TemporaryDirectory() as cache:
        # Decoded once: else that takes longer than the network.
        cache_data(read_annotations(arguments.folder / "index.csv"), cache, form="frames", progress=False)
        clips = read_annotations(Path(cache) / "index.csv")
        actors = arguments.actors or sorted({dict(sample.columns)["actor"] for sample in clips.samples})
        folds = [actors[start:][: arguments.together] for start in range(0, len(actors), arguments.together)]
        found = kept(arguments.out, BASELINE, lambda: counted(baseline(clips, folds)))
        print(f"{BASELINE}: {told(found['right'], found['clips'])}", flush=True)
        figures = []
        for seed in arguments.seeds:
            for left_out in folds:
                name = f"{' '.join(left_out)}, seed {seed}"
                found = kept(arguments.out, name, partial(fold, clips, left_out, seed, arguments))
                told_of = (
                    f"{found['right']} of {found['clips']}, probe {found['probe']:.2f}, {found['recipe']}"
                )
                print(f"{name}: {told_of}, {found['seconds']} s", flush=True)
                figures.append(found)
    right, scored = (sum(found[what] for found in figures) for what in ("right", "clips"))
    print(f"{len(figures)} folds: {told(right, scored)}", flush=True)


if __name__ == "__main__":
    main()
