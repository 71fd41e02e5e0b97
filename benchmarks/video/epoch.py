"""One epoch of training: how long it takes, and how much of that is waiting for clips.

    python benchmarks/video/epoch.py
    python benchmarks/video/epoch.py --clips 90 --size 340x256 --workers 2 --out epoch.json

``slowfast_tiny`` with clips as ``finetune`` takes them (16 frames at 8 per second, batches of 8, AdamW), from
videos of ``footage.py`` of a few seconds, h264. "videos": decoded in the step; "frames": decoded once before,
as ``finetune`` does where the frames fit on the disk ("storing" is that once). A round trains an epoch of
each, in turn which first, after a short one that isn't counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the benchmarks' own modules

from footage import write_footage
from machine import description, spread, use_checkout

use_checkout()

import slowfast_zoo as zoo  # noqa: E402
from slowfast_zoo.data.cache import cache_data  # noqa: E402

CLASSES = 10


def annotations(folder: Path, options: argparse.Namespace) -> Any:
    """The list of the videos, each drawn anew."""
    width, height = map(int, options.size.split("x"))
    rows = ["path,label"]
    for number in range(options.clips):
        name = f"{number:04}.mp4"
        write_footage(folder / name, width, height, seconds=options.seconds, seed=number)
        rows.append(f"{name},class {number % CLASSES}")
    (folder / "index.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return zoo.read_annotations(folder / "index.csv")


def epoch(data: Any, options: argparse.Namespace) -> dict[str, float]:
    """Seconds of one epoch from the same start, and those of them that it waited for clips."""
    model = zoo.slowfast_tiny(pretrained=True, num_classes=CLASSES)
    model.clip_spec = model.clip_spec.replace(num_frames=16, fps=8, smallest_area=0.7)
    config = zoo.TrainConfig(
        epochs=1, batch_size=8, optimizer="adamw", lr=0.002, workers=options.workers, log_every=1
    )
    dataset = zoo.open_dataset(data, model.clip_spec, train=True)
    with tempfile.TemporaryDirectory() as folder:
        before = time.perf_counter()
        zoo.train(model, dataset, config, work_dir=folder, progress=False)
        seconds = time.perf_counter() - before
        log = (Path(folder) / "log.jsonl").read_text(encoding="utf-8").splitlines()
    waited = sum(line["data_time"] for line in map(json.loads, log) if line["mode"] == "train")
    return {"seconds": seconds, "waited": waited}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clips", type=int, default=900)
    parser.add_argument("--seconds", type=float, default=2, help="that a video lasts")
    parser.add_argument("--size", default="240x180", help="of the videos, in pixels")
    parser.add_argument("--workers", type=int, default=0, help="processes that read")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="write everything here, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    asked = {name: getattr(options, name) for name in ("clips", "seconds", "size", "workers")}
    result: dict[str, Any] = {"benchmark": "epoch", "machine": description(options.threads), **asked}
    rounds: dict[str, list[dict[str, float]]] = {"videos": [], "frames": []}
    with tempfile.TemporaryDirectory() as folder:
        videos = annotations(Path(folder), options)
        before = time.perf_counter()
        cache_data(videos, Path(folder) / "frames", short_side=10**6, form="frames", progress=False)
        result["storing"] = time.perf_counter() - before
        sources = {"videos": videos, "frames": zoo.read_annotations(Path(folder) / "frames" / "index.csv")}
        for data in sources.values():
            epoch(data.subset(range(16)), options)
        for number in range(options.rounds):
            for name in list(sources)[:: -1 if number % 2 else 1]:
                rounds[name].append(epoch(sources[name], options))
    print(f"storing the frames once: {result['storing']:.1f} s")
    for name, rows in rounds.items():
        found = {what: spread([row[what] for row in rows]) for what in ("seconds", "waited")}
        result[name] = found
        share = statistics.median(row["waited"] / row["seconds"] for row in rows)
        seconds = found["seconds"]["median"]
        print(f"{name}: {seconds:.1f} s an epoch, {share:.0%} of it waiting for clips", flush=True)
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
