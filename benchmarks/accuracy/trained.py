"""One fine-tuning of a benchmark: clips to train with, others to score, and what came out."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from slowfast_zoo.data.annotations import Annotations
from slowfast_zoo.files import written_whole
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.training.finetune.finetune import finetune
from slowfast_zoo.training.finetune.trials import right_ones

BASELINE = "no network: frame differences"
"""Its name among the figures."""


_ASKED = "asked"


def begin(path: Path, arguments: argparse.Namespace, but: Sequence[str]) -> None:
    """Refuses a file that has figures of other data or settings; they are in it from now on.

    Args:
        path: JSON file of figures.
        arguments: of the command line.
        but: names of those that change no figure.
    """
    asked = {name: _plain(value) for name, value in vars(arguments).items() if name not in but}
    before = kept(path, _ASKED, lambda: asked)
    if other := [name for name, value in asked.items() if before.get(name) != value]:
        raise SystemExit(f"{path} has figures of another {' and '.join(other)}: give another --out.")


def _plain(value: Any) -> Any:
    return value.name if isinstance(value, Path) else value


def kept(path: Path, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The figure of that name in a JSON file; made and written there where the file lacks it."""

    def figures() -> dict[str, Any]:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    found = figures()
    if name not in found:
        made = make()
        found = {**figures(), name: made}  # with what others have found meanwhile
        with written_whole(path) as temporary:
            temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return dict(found[name])


def counted(right: list[bool]) -> dict[str, Any]:
    """The figure of clips that are right or not."""
    return {"right": sum(right), "clips": len(right)}


def finetuned(train: Annotations, held_out: Annotations, model: SlowFast, **options: Any) -> dict[str, Any]:
    """What finetune makes of the model, and how many of the clips that chose nothing it gets right.

    Args:
        train: clips to choose by and to train with.
        held_out: clips to score.
        model: to start from; is trained in place.
        options: finetune's.
    """
    began = time.perf_counter()
    seldom = {"validate_every": 10**6}  # at the end only: looks in between decide nothing
    options["config"] = {**seldom, **options.get("config", {})}
    with tempfile.TemporaryDirectory() as folder:
        parts = {"train": train, "val": held_out}
        result = finetune(parts, model, work_dir=folder, progress=False, **options)
    return {
        "right": right_ones(result.evaluation),
        "clips": len(result.evaluation.names),
        "recipe": result.recipe,
        "tried": [*result.tried],
        "clip": [model.clip_spec.num_frames, model.clip_spec.fps],
        "probe": result.probe_metrics["top1_acc"],
        "notes": [*result.notes],
        "seconds": round(time.perf_counter() - began),
    }
