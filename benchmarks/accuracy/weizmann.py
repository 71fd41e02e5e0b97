"""Leave one actor out on the Weizmann actions: fine-tuned from a saved model, and from scratch.

    python benchmarks/accuracy/weizmann.py FOLDER --model SAVED_FOLDER [--only tuned] [--out figures.json]

FOLDER holds the videos and index.csv with the columns path, label and actor. Each fold trains on all actors
but one; the epoch is chosen on one of those, who isn't trained on either, and the actor left out is scored
once, at the end.

The defaults are for slowfast_tiny, whose weights know how cameras move and nothing of people. More of it has
to change than of a network that has seen Kinetics, so the optimizer is AdamW with a higher rate, and batch
norms follow the new clips. It also looks at more frames, closer together, than it was trained with, as arms
and legs are faster than cameras: a convolutional network takes any clip. Both ways get the same clips and the
same number of epochs.

Source: Gorelick et al. 2007, https://www.wisdom.weizmann.ac.il/~vision/SpaceTimeActions.html.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from slowfast_zoo.data.annotations import Annotations
from slowfast_zoo.data.cache import cache_data
from slowfast_zoo.data.dataset import VideoDataset
from slowfast_zoo.data.lists import read_annotations
from slowfast_zoo.evaluation.evaluate import evaluate
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.training.finetune.finetune import FINETUNE, finetune
from slowfast_zoo.training.recipe import TrainConfig
from slowfast_zoo.weights.saved.hub import from_pretrained

VIEWS = (3, 1)
SMALLEST_AREA = 0.7
"""People walk through the whole picture: smaller crops would miss them."""


def fold(
    clips: Annotations, actor: str, start: SlowFast, config: TrainConfig, *, scratch: bool, device: str | None
) -> dict[str, float]:
    """Accuracies on the actor left out, of the linear probe on the validation actor, and seconds."""
    began = time.perf_counter()
    actors = [dict(sample.columns)["actor"] for sample in clips.samples]
    rest = clips.subset([index for index, name in enumerate(actors) if name != actor])
    held_out = clips.subset([index for index, name in enumerate(actors) if name == actor])
    model = copy.deepcopy(start)
    if scratch:
        torch.manual_seed(config.seed)
        model.reset_parameters()
        model.provenance = {}
    with tempfile.TemporaryDirectory() as folder:
        result = finetune(
            rest,
            model,
            work_dir=folder,
            config=config,
            probe="no" if scratch else "first",
            freeze_norms=False,
            val=1 / (len(set(actors)) - 1),
            group_by="column:actor",
            flip=True,
            smallest_area=SMALLEST_AREA,
            views=VIEWS,
            device=device,
            progress=False,
        )
    dataset = VideoDataset(held_out, model.clip_spec, train=False, views=VIEWS)
    scored = evaluate(model, dataset, workers=config.workers, device=device, progress=False)
    return {
        "accuracy": scored.metrics["top1_acc"],
        "videos": len(scored.names),
        "probe on validation": (result.probe_metrics or {}).get("top1_acc", float("nan")),
        "validation": result.evaluation.metrics["top1_acc"],
        "seconds": time.perf_counter() - began,
    }


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="folder of a saved model")
    parser.add_argument("--frames", type=int, default=16, help="of a clip")
    parser.add_argument("--fps", type=float, default=8.0, help="of a clip")
    parser.add_argument("--size", type=int, default=80, help="width and height of a clip in pixels")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--optimizer", default="adamw")
    parser.add_argument("--lr", type=float, default=2e-3, help="for 8 clips a step")
    parser.add_argument("--scratch-lr", type=float, default=2e-3, help="for 8 clips a step")
    parser.add_argument(
        "--precision", default="bfloat16", help="of the network: float32, bfloat16 or float16"
    )
    parser.add_argument("--only", choices=("tuned", "scratch"))
    parser.add_argument("--actors", nargs="*", help="some of the folds")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device")
    parser.add_argument("--out", type=Path, help="JSON file for all figures")
    return parser.parse_args()


def main() -> None:
    arguments = options()
    start = from_pretrained(arguments.model)
    size = arguments.size
    start.clip_spec = start.clip_spec.replace(
        num_frames=arguments.frames, fps=arguments.fps, size=(size, size), crop=size, test_crop=size
    )
    start.spec = start.spec.replace(num_frames=arguments.frames)
    config = FINETUNE.replace(
        epochs=arguments.epochs,
        optimizer=arguments.optimizer,
        weight_decay=0.05,
        lr_batch=8,
        precision=arguments.precision,
        channels_last=True,
        validate_every=2,
        workers=arguments.workers,
        seed=arguments.seed,
    )
    rates = {"tuned": arguments.lr, "scratch": arguments.scratch_lr}
    figures: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as cache:
        # Decoded once: else that takes longer than the network.
        cache_data(read_annotations(arguments.folder / "index.csv"), cache, form="frames", progress=False)
        clips = read_annotations(Path(cache) / "index.csv")
        actors = sorted({dict(sample.columns)["actor"] for sample in clips.samples})
        for way, lr in rates.items():
            if arguments.only not in (None, way):
                continue
            figures[way] = {}
            for actor in arguments.actors or actors:
                figures[way][actor] = fold(
                    clips,
                    actor,
                    start,
                    config.replace(lr=lr),
                    scratch=way == "scratch",
                    device=arguments.device,
                )
                told = ", ".join(f"{name} {value:.3f}" for name, value in figures[way][actor].items())
                print(f"{way:8} {actor:8} {told}", flush=True)
            accuracies = [figure["accuracy"] for figure in figures[way].values()]
            print(f"{way:8} mean of {len(accuracies)} folds: {statistics.fmean(accuracies):.4f}", flush=True)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
