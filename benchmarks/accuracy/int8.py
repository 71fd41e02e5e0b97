"""How well does int8 agree with float32? ``slowfast_tiny`` on real pictures, seeded large networks.

    python benchmarks/accuracy/int8.py --pictures FOLDER [...] --videos FOLDER --out int8.json
    python benchmarks/accuracy/int8.py --models slowfast_r50_4x16x1 --size 64 --large-clips 24

A virtual camera films photographs (those that scikit-learn brings, where none are given; it comes with NNCF)
and a frame of each video. 128 of the clips calibrate and are judged on as a user's would be, ``--clips``
others are what is reported. The large networks have seeded weights whose signals stay of order one, and read
clips of the same pictures: the share of the best class says little there, since such networks call most clips
the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the benchmarks' own modules

from camera_motion import Pictures, filmed, photographs, video_frames
from machine import description, use_checkout
from peers import PEERS, seeded

use_checkout()

import slowfast_zoo as zoo  # noqa: E402

FPS = 30
CALIBRATION = 128
"""Clips, of which every fourth calibrates."""


def own_pictures() -> Pictures:
    """The photographs that scikit-learn brings."""
    import sklearn

    return photographs([Path(sklearn.__file__).parent / "datasets" / "images"])


def tiny_clips(model: zoo.SlowFast, pictures: Pictures, count: int) -> Tensor:
    """(count, C, T, H, W), as ``predict`` would read them."""
    films = (clip for clip, _ in filmed(pictures, count, fps=FPS))
    return torch.cat([zoo.read_clips(film, model.clip_spec, fps=FPS).tensor() for film in films])


def large_clips(model: zoo.SlowFast, pictures: Pictures, count: int, size: int) -> Tensor:
    """(count, C, T, size, size), as ``predict`` would read them at that size."""
    spec = model.clip_spec.replace(size=size, crop=size, test_crop=size)
    films = (clip for clip, _ in filmed(pictures, count, fps=FPS))
    long = (np.resize(np.concatenate([film, film[::-1]]), (160, *film.shape[1:])) for film in films)
    return torch.cat([zoo.read_clips(film, spec, fps=FPS).tensor() for film in long])


def compared(model: zoo.SlowFast, clips: Tensor, judged: Tensor) -> dict[str, Any]:
    """What int8 differs in on clips that it has never met."""
    fast = zoo.optimize(model, precision="int8", calibration=clips, min_agreement=0)
    exact = zoo.optimize(model, "openvino")
    expected, got = (logits(each, judged) for each in (exact, fast))
    errors = (got - expected).abs().amax(1) / expected.abs().amax(1)
    assert fast.agreement is not None
    return {
        "clips": len(judged),
        "same_top1": float((got.argmax(1) == expected.argmax(1)).float().mean()),
        "mean_relative_error": float(errors.mean()),
        "median_relative_error": float(errors.median()),
        "relative_error": float(errors.max()),
        "of_largest_logit": float((got - expected).abs().max() / expected.abs().max()),
        "classes_seen": len(set(expected.argmax(1).tolist())),
        # Times are for benchmarks/engines.py to take, on a machine that does nothing else.
        "agreement": {k: v for k, v in fast.agreement.to_dict().items() if not k.endswith("_seconds")},
    }


def logits(model: Any, clips: Tensor) -> Tensor:
    """(clips, classes), one at a time."""
    return torch.cat([model(clip) for clip in clips.split(1)])  # type: ignore[no-untyped-call]


def measured(options: argparse.Namespace, pictures: Pictures) -> Iterator[tuple[str, dict[str, Any]]]:
    """A row per network."""
    if options.clips:
        tiny = zoo.slowfast_tiny(pretrained=True).eval()
        clips = tiny_clips(tiny, pictures, CALIBRATION + options.clips)
        yield "slowfast_tiny", compared(tiny, clips[:CALIBRATION], clips[CALIBRATION:])
    for name in options.models:
        model = seeded(zoo.create_model(name))
        clips = large_clips(model, pictures, 2 * options.large_clips, options.size)
        yield name, compared(model, clips[: options.large_clips], clips[options.large_clips :])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pictures", type=Path, nargs="*", default=[])
    parser.add_argument("--videos", type=Path)
    parser.add_argument("--clips", type=int, default=300, help="for slowfast_tiny; 0: leave it out")
    parser.add_argument("--models", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--large-clips", type=int, default=32, help="that calibrate, and as many others")
    parser.add_argument("--size", type=int, default=224, help="of the large networks' clips, in pixels")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="write everything here, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pictures = photographs(options.pictures) + (video_frames(options.videos) if options.videos else [])
    pictures = pictures or own_pictures()
    order = np.random.default_rng(5).permutation(len(pictures))
    pictures = [pictures[index] for index in order]
    result: dict[str, Any] = {
        "benchmark": "int8",
        "machine": description(options.threads),
        "pictures": len(pictures),
        "size": options.size,
        "models": {},
    }
    for name, row in measured(options, pictures):
        result["models"][name] = row
        print(
            f"{name:28} same best class {row['same_top1']:7.2%} of {row['clips']} clips; logits off by"
            f" {row['mean_relative_error']:.1%} (mean), {row['relative_error']:.1%} (worst) of a clip's"
            f" largest, {row['of_largest_logit']:.1%} of the largest of all;"
            f" not in int8: {', '.join(row['agreement']['float32_parts']) or 'nothing'}",
            flush=True,
        )
        if options.out:
            options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
