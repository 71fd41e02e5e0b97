"""How far each engine and precision is from the plain float32 module, on frames of real videos.

    python benchmarks/accuracy/precision.py --clips examples/pan_right.mp4 VIDEO... --out precision.json

The large networks have seeded weights whose signals stay of order one, for want of trained ones: their
error is the largest logit difference over the largest logit of the same view, and how often the best class
is the same says little, because such networks call most clips the same. ``slowfast_tiny`` is trained: how
often its best class is the same, and how often it is right, on drawn clips that it hasn't seen. No time is
measured, so that a busy machine does as well.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the benchmarks' own modules

from engines import CANDIDATES
from machine import ROOT, description, use_checkout
from peers import PEERS, seeded

HELD_OUT_SEED = 2_000_003  # as camera_motion.py: neither training nor validation draws from it


def candidates(plain: Any, options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Every engine and precision that starts here."""
    from slowfast_zoo.errors import SlowFastZooError
    from slowfast_zoo.inference.engines.optimize import optimize

    for engine, precision in CANDIDATES["cpu"]:
        if engine in options.engines and precision in options.precisions:
            try:
                yield f"{engine} {precision}", optimize(plain, engine, precision)  # type: ignore[arg-type]
            except SlowFastZooError as error:
                print(f"{engine} {precision} is left out: {error}", file=sys.stderr)


def logits(model: Any, views: Tensor) -> Tensor:
    """Of each view, (views, classes), two at a time."""
    with torch.inference_mode():
        return torch.cat([model(part) for part in views.split(2)])


def large(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Errors of a network with seeded weights over the views of all clips."""
    from slowfast_zoo import create_model, read_clips

    plain = seeded(create_model(name))
    views = torch.cat(
        [read_clips(clip, plain.clip_spec, views=(options.views, 3)).tensor() for clip in options.clips]
    )
    expected = logits(plain, views)
    largest = expected.abs().amax(1)
    rows = {}
    for candidate, fast in candidates(plain, options):
        got = logits(fast, views)
        errors = (got - expected).abs().amax(1) / largest
        rows[candidate] = {
            "views": len(views),
            "relative_error": float(errors.max()),
            "median_relative_error": float(errors.median()),
            "same_top1": float((got.argmax(1) == expected.argmax(1)).float().mean()),
            "classes_seen": len(set(expected.argmax(1).tolist())),
        }
    return rows


def tiny(options: argparse.Namespace) -> dict[str, Any]:
    """Agreement and accuracy of ``slowfast_tiny`` over drawn camera motions."""
    from slowfast_zoo import slowfast_tiny
    from slowfast_zoo.data.motion.clips import MotionClips
    from slowfast_zoo.video.transforms.functional import normalize

    plain = slowfast_tiny(pretrained=True).eval()
    spec = plain.clip_spec
    drawn = MotionClips(
        options.tiny_clips, size=spec.test_crop, num_frames=spec.num_frames, fps=5, seed=HELD_OUT_SEED
    )
    pixels, labels = zip(*(drawn[index] for index in range(len(drawn))), strict=True)
    views = torch.stack([normalize(torch.from_numpy(clip).permute(3, 0, 1, 2), spec) for clip in pixels])
    truth, expected = torch.tensor(labels), logits(plain, views)
    rows = {"plain module": {"accuracy": float((expected.argmax(1) == truth).float().mean())}}
    for candidate, fast in candidates(plain, options):
        got = logits(fast, views)
        errors = (got - expected).abs().amax(1) / expected.abs().amax(1)
        rows[candidate] = {
            "clips": len(views),
            "relative_error": float(errors.max()),
            "median_relative_error": float(errors.median()),
            "same_top1": float((got.argmax(1) == expected.argmax(1)).float().mean()),
            "accuracy": float((got.argmax(1) == truth).float().mean()),
        }
    return rows


def show(name: str, rows: dict[str, dict[str, Any]]) -> None:
    print(f"\n{name}\n{'':24}{'largest error':>14}{'median error':>14}{'same top-1':>12}{'right':>8}")
    for candidate, row in rows.items():
        print(f"{candidate:24}{row.get('relative_error', 0):14.1e}", end="")
        print(f"{row.get('median_relative_error', 0):14.1e}{row.get('same_top1', 1):12.1%}", end="")
        print(f"{row['accuracy']:8.1%}" if "accuracy" in row else f"{'-':>8}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--clips", nargs="+", type=Path, default=[ROOT / "examples" / "pan_right.mp4"])
    parser.add_argument("--views", type=int, default=2, help="clips in time of each video; 3 crops of each")
    parser.add_argument("--engines", nargs="+", default=["eager", "compile", "openvino", "onnxruntime"])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--tiny-clips", type=int, default=300, help="drawn clips for slowfast_tiny; 0: none")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="write everything here, as JSON")
    options = parser.parse_args()
    use_checkout()
    torch.set_num_threads(options.threads)
    result: dict[str, Any] = {
        "benchmark": "precision",
        "machine": description(options.threads),
        "clips": [clip.name for clip in options.clips],
        "models": {},
    }
    for name in [*options.models, *["slowfast_tiny"] * bool(options.tiny_clips)]:
        rows = tiny(options) if name == "slowfast_tiny" else large(name, options)
        result["models"][name] = rows
        show(name, rows)
        if options.out:
            options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
