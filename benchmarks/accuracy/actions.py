"""What do the weights ``actions`` of ``slowfast_tiny`` know? On held-out drawn clips.

    python benchmarks/accuracy/actions.py [--weights WORK/last.safetensors] [--clips 2000] --out measured.json

Every clip goes through ``predict`` as a user's would. Each of the three sets of labels is scored on its own.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

import slowfast_zoo as zoo
from slowfast_zoo.data.motion.actions import ACTIONS, MANNERS, ActionClips
from slowfast_zoo.data.motion.camera import CAMERA_MOTIONS
from slowfast_zoo.evaluation.metrics import mean_average_precision
from slowfast_zoo.naming import parse

HELD_OUT_SEED = 2_000_003  # neither the training nor its validation draws from it


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--weights", default="slowfast_tiny:actions", help="a MODEL")
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    model = parse(options.weights).load()
    spec = model.clip_spec
    drawn = ActionClips(
        options.clips, size=spec.crop, num_frames=spec.num_frames, fps=spec.fps, seed=HELD_OUT_SEED
    )
    truth: list[npt.NDArray[np.bool_]] = []

    def clips() -> Iterator[npt.NDArray[np.uint8]]:
        for index in range(len(drawn)):
            frames, target = drawn[index]
            truth.append(target.numpy() > 0)
            yield frames

    scores = []
    for answer in zoo.predict_many(model, clips(), topk=None, fps=spec.fps):
        found = dict(zip(answer.labels, answer.scores, strict=True))
        scores.append([found[label] for label in drawn.labels])
    table, targets = np.array(scores), np.array(truth)
    results: dict[str, dict[str, float]] = {}
    for name, labels in (("camera motions", CAMERA_MOTIONS), ("actions", ACTIONS), ("manners", MANNERS)):
        places = [drawn.labels.index(label) for label in labels]
        mean = mean_average_precision(table[:, places], targets[:, places])
        results[name] = {"classes": len(labels), "mean_average_precision": round(mean, 4)}
        if labels is not MANNERS:  # one of each a clip
            right = table[:, places].argmax(1) == targets[:, places].argmax(1)
            results[name]["accuracy"] = round(float(right.mean()), 4)
    whole = round(mean_average_precision(table, targets), 4)
    results["all labels"] = {"classes": len(drawn.labels), "mean_average_precision": whole}
    for name, row in results.items():
        print(f"{name}: " + ", ".join(f"{what} {value}" for what, value in row.items()))
    if options.out:
        options.out.write_text(json.dumps({"clips": len(drawn), "sets": results}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
