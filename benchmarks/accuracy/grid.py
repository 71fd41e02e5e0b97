"""Are finetune's defaults good? The defaults, a grid of settings, a linear probe and no network, on one set.

CutMix is a setting of the grid alone: the library has none, as it didn't pay on drawn sets.

    python benchmarks/accuracy/grid.py DATA [--out grid.json] [--settings defaults learn ...] [--seeds 0]
        [--column actor --hold-out daria denis eli --hold-out ido ira lena] [--budget 600] [--weights actions]

DATA is a folder divided into train and test (``made_sets.py`` draws two), or a list (.csv) with a column
whose values --hold-out names: those clips are scored and choose nothing; each --hold-out is a fold, a
training of its own. Interrupted, it goes on with what OUT lacks. Frame differences (frame_differences.py)
need scikit-learn.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from frame_differences import predicted, tabulated, told
from trained import BASELINE, begin, counted, finetuned, kept

import slowfast_zoo.training.train as train_module
from slowfast_zoo.data.annotations import Annotations
from slowfast_zoo.data.dataset import item_rng
from slowfast_zoo.data.lists import read_annotations, read_splits
from slowfast_zoo.data.loader import Batch, normalized
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.training.augmentation import Mix, augmented
from slowfast_zoo.training.finetune.recipes import scheduled, wanted_steps
from slowfast_zoo.training.recipe import TrainConfig
from slowfast_zoo.zoo import slowfast_tiny


def cut_mixed(
    batch: Batch, config: TrainConfig, spec: ClipSpec, device: torch.device
) -> tuple[Batch, Mix | None]:
    """What the recipe does, then CutMix in every other step: a box of all frames comes from a partner.

    Source: Yun et al. 2019, https://arxiv.org/abs/1905.04899.
    """
    batch, _ = augmented(batch, config, spec, device)
    rng = item_rng()
    side = math.sqrt(1 - rng.beta(1, 1))
    partners = torch.from_numpy(rng.permutation(len(batch.clips)))
    clips = normalized(batch.clips, spec).clone()
    if rng.random() < 0.5:
        return batch._replace(clips=clips), None
    places = []
    for pixels in clips.shape[-2:]:
        half, middle = int(pixels * side) // 2, int(rng.integers(pixels))
        places.append(slice(max(middle - half, 0), min(middle + half, pixels)))
    box = clips[partners][..., places[0], places[1]]
    clips[..., places[0], places[1]] = box
    return batch._replace(clips=clips), Mix(1 - box[0, 0, 0].numel() / clips[0, 0, 0].numel(), partners)


SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "probe": {"recipe": "probe"},
    "learn": {"recipe": "learn"},
    "plain": {"recipe": "plain"},
    "plain, MixUp": {"recipe": "plain", "config": {"mixup": 0.4}},
    "measured": {"recipe": "measured"},
    "gentle": {"recipe": "gentle"},
    "learn, no stills": {"recipe": "learn", "config": {"still_mix": 0.0}},
    "learn, colors kept": {"recipe": "learn", "config": {"color_jitter": 0.0}},
    "learn, a third of the rate": {"recipe": "learn", "config": {"lr": 7e-4}},
    "learn, twice the rate": {"recipe": "learn", "config": {"lr": 4e-3}},
    "learn, half the steps": {"recipe": "learn", "steps": 0.5},
    "learn, twice the steps": {"recipe": "learn", "steps": 2},
    "learn, smaller crops": {"recipe": "learn", "smallest_area": 0.4},
    "learn, whole pictures": {"recipe": "learn", "smallest_area": 1.0},
    "learn, label smoothing": {"recipe": "learn", "config": {"label_smoothing": 0.1}},
    "learn, layers decay": {"recipe": "learn", "config": {"layer_decay": 0.7}},
    "learn, more weight decay": {"recipe": "learn", "config": {"weight_decay": 0.3}},
    "learn, no averaging": {"recipe": "learn", "config": {"ema": 0.0}},
    "learn, stage 1 frozen": {"recipe": "learn", "freeze_up_to": "stage1"},
    "learn, norms kept": {"recipe": "learn", "norms": "kept"},
    "learn, the weights' own clip": {"recipe": "learn", "keep_clip": True},
    "learn, no RandAugment": {"recipe": "learn", "config": {"rand_augment": 0}},
    "plain, no RandAugment": {"recipe": "plain", "config": {"rand_augment": 0}},
    "learn, CutMix": {"recipe": "learn", "change": cut_mixed},
    "plain, CutMix": {"recipe": "plain", "change": cut_mixed},
}


Fold = tuple[Annotations, Annotations]
"""Clips to train with, and those to score."""


def folds_of(arguments: argparse.Namespace) -> list[Fold]:
    """The parts of a divided folder, or of a list those that --hold-out makes."""
    parts = read_splits(arguments.data)
    if parts:
        return [(parts["train"], parts.get("test") or parts["val"])]
    clips = read_annotations(arguments.data)
    if any(arguments.column not in dict(sample.columns) for sample in clips.samples):
        raise SystemExit(
            f"{arguments.data} is not divided into train and test: name a list (.csv) and its --column."
        )
    values = np.array([dict(sample.columns)[arguments.column] for sample in clips.samples])
    folds: list[Fold] = []
    for held_out in arguments.hold_out or [[]]:
        held = np.isin(values, held_out)
        if held.all() or not held.any():
            raise SystemExit(f"--hold-out takes some of: {' '.join(sorted(set(values)))}.")
        train, test = (clips.subset(np.flatnonzero(which).tolist()) for which in (~held, held))
        folds.append((train, test))
    return folds


def measured(
    setting: dict[str, Any], seed: int, arguments: argparse.Namespace, train: Annotations, test: Annotations
) -> dict[str, Any]:
    """What one setting makes of the clips."""
    setting = dict(setting)
    config = {"seed": seed, "workers": arguments.workers, **setting.pop("config", {})}
    if "steps" in setting:
        count = len(train.samples)
        steps = round(setting.pop("steps") * wanted_steps(count))
        config["epochs"] = scheduled(TrainConfig(epochs=1, batch_size=8), count, steps, {}).epochs
    group_by = f"column:{arguments.column}" if arguments.column else arguments.group_by
    model = slowfast_tiny(weights=arguments.weights)
    train_module.augmented = setting.pop("change", augmented)
    budget = None if "epochs" in config else arguments.budget
    how: dict[str, Any] = {"group_by": group_by, "budget_seconds": budget, "config": config}
    return finetuned(train, test, model, **how, **setting)


def baseline(train: Annotations, test: Annotations) -> dict[str, Any]:
    """What no network makes of the clips."""
    table, classes = tabulated(test)
    return counted((predicted(*tabulated(train), table) == classes).tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--settings", nargs="+", default=[*SETTINGS], choices=[*SETTINGS], metavar="SETTING")
    parser.add_argument("--weights", default="actions", help="of slowfast_tiny to start from")
    parser.add_argument("--column", help="of the list, that says what belongs together")
    parser.add_argument(
        "--hold-out", nargs="+", action="append", metavar="VALUE", help="its values to score; again: a fold"
    )
    parser.add_argument("--group-by", help="as in finetune, where there is no column")
    parser.add_argument("--budget", type=float, help="seconds for each setting")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("grid.json"), help="JSON file for all figures")
    arguments = parser.parse_args()
    folds = folds_of(arguments)
    for train, test in folds:
        print(
            f"{len(train.samples)} clips to train with, {len(test.samples)} to score,"
            f" {train.num_classes} classes"
        )
    begin(arguments.out, arguments, but=("out", "workers", "settings", "seeds"))
    wanted: dict[str, Callable[[Annotations, Annotations], dict[str, Any]]] = {BASELINE: baseline}
    for seed in arguments.seeds:
        for name in arguments.settings:
            wanted[f"{name}; seed {seed}"] = partial(measured, SETTINGS[name], seed, arguments)
    found: dict[str, list[dict[str, Any]]] = {key: [] for key in wanted}
    # Fold after fold, so that an interrupted run has whole ones.
    for number, parts in enumerate(folds, 1):
        for key, make in wanted.items():
            place = f"{key}; fold {number}" if len(folds) > 1 else key
            figure = kept(arguments.out, place, partial(make, *parts))
            found[key].append(figure)
            taken = f", {figure['recipe']}, {figure['seconds']} s" if "recipe" in figure else ""
            print(f"{place:40} {told(figure['right'], figure['clips'])}{taken}", flush=True)
    for key, figures in found.items() if len(folds) > 1 else ():
        right, clips = (sum(figure[what] for figure in figures) for what in ("right", "clips"))
        print(f"{key:40} {told(right, clips)}", flush=True)


if __name__ == "__main__":
    main()
