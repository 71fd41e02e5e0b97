"""How well does ``timeline`` cut a film? 40 parts of known camera motion over your own pictures.

    python benchmarks/accuracy/camera_film.py --pictures FOLDER [...] --videos FOLDER --plot film.png

A virtual camera films photographs and single frames of videos: parts of 1 to 6 seconds, cuts between, as
H.264. ``slowfast_tiny`` names the motion every ``--hop`` seconds. Reported are the share of frames whose
segment has the right label (a frame without a segment is wrong) and how far each cut is from the nearest end
of a segment. So that a part shows its motion all the time, its camera moves at least the smallest motion that
has a name over any 1.4 seconds of it: a pan of six seconds that covers 4 % of the width has none.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from camera_motion import SPAN_SECONDS, Pictures, photographs, video_frames

import slowfast_zoo as zoo
from slowfast_zoo.data.motion.camera import (
    CAMERA_MOTIONS,
    SMALLEST,
    CameraPath,
    draw_path,
    fit_view,
    warp,
)
from slowfast_zoo.data.motion.footage import to_bytes

SIZE = (320, 180)
PARTS = 40


class Part(NamedTuple):
    """A part of the film."""

    start: float
    end: float
    label: str


def make_film(path: Path, pictures: Pictures, seed: int, fps: int) -> list[Part]:
    """Films the pictures, and says what happens when."""
    import av

    rng = np.random.default_rng([seed, 7])
    labels = shuffled(rng)
    parts: list[Part] = []
    frames = 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number, label in enumerate(labels):
            count = round(rng.uniform(1, 6) * fps)
            picture = pictures[number % len(pictures)]
            parts.append(Part(frames / fps, (frames + count) / fps, label))
            frames += count
            for pixels in shot(picture, label, np.arange(count) / fps, rng):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return parts


def shuffled(rng: np.random.Generator) -> list[str]:
    """Each motion equally often, never twice in a row: else a cut would be no boundary."""
    while True:
        labels = rng.permutation(np.repeat(CAMERA_MOTIONS, PARTS // len(CAMERA_MOTIONS))).tolist()
        if all(one != other for one, other in pairwise(labels)):
            return labels


def shot(picture: np.ndarray, label: str, seconds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One part: uint8 (T, height, width, 3)."""
    least = float(np.clip(seconds[-1] / SPAN_SECONDS, 1, 5))
    path = draw_path(label, seconds, rng, least=1 if label in ("static", "shake") else least)
    while not moves(path, label, seconds):
        path = draw_path(label, seconds, rng, least=least)
    height, width = picture.shape[:2]
    maps = fit_view(path, SIZE[0] / SIZE[1], (width, height), rng.uniform(0.8, 1), rng)
    source = torch.from_numpy(np.ascontiguousarray(picture)).movedim(-1, -3).float()
    skipped = int(min(maps[0, 0, 0] * width / SIZE[0], maps[0, 1, 1] * height / SIZE[1]))
    if skipped > 1:
        source = torch.nn.functional.avg_pool2d(source, skipped)
    return to_bytes(warp(source, maps, SIZE))


def moves(path: CameraPath, label: str, seconds: np.ndarray) -> bool:
    """Whether the motion goes on all the time: the smallest one that has a name in any span of a clip."""
    if label in ("static", "shake"):
        return True
    axis = ("pan", "tilt", "zoom", "roll").index(label.split()[0])
    pose = (path.x, path.y, np.log(path.zoom), path.angle)[axis]
    frames = min(round(SPAN_SECONDS / seconds[1]), len(seconds) - 1)
    return bool((np.abs(pose[frames:] - pose[:-frames]) >= SMALLEST[axis]).all())


def score(answer: zoo.Timeline, parts: list[Part], fps: int) -> dict:
    """Frames that are right, and how far each cut is from the nearest end of a segment."""
    times = (np.arange(round(parts[-1].end * fps)) + 0.5) / fps
    told = np.full(len(times), "", dtype=object)
    for segment in answer.segments:
        told[(times >= segment.start_seconds) & (times < segment.end_seconds)] = segment.label
    truth = np.full(len(times), "", dtype=object)
    for part in parts:
        truth[(times >= part.start) & (times < part.end)] = part.label
    ends = np.array([end for one in answer.segments for end in (one.start_seconds, one.end_seconds)])
    errors = [float(np.abs(ends - part.start).min()) for part in parts[1:]]
    by_class = {label: round(float((told[truth == label] == label).mean()), 4) for label in CAMERA_MOTIONS}
    return {
        "frames": len(times),
        "accuracy": round(float((told == truth).mean()), 4),
        "boundary_median_seconds": round(float(np.median(errors)), 4),
        "boundary_90_percent_seconds": round(float(np.quantile(errors, 0.9)), 4),
        "segments": len(answer.segments),
        "classes": by_class,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pictures", type=Path, nargs="*", default=[])
    parser.add_argument("--videos", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--hop", type=float, default=0.2)
    parser.add_argument("--smoothing", type=float, default=0.8)
    parser.add_argument("--enter", type=float, default=0.4)
    parser.add_argument("--min", type=float, default=0.8)
    parser.add_argument("--max-gap", type=float, default=2.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    pictures = photographs(options.pictures) + (video_frames(options.videos) if options.videos else [])
    if not pictures:
        parser.error("give pictures to film: --pictures, --videos")
    order = np.random.default_rng(5).permutation(len(pictures))
    pictures = [pictures[index] for index in order]
    model = zoo.slowfast_tiny(pretrained=True)
    results = {}
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            film = Path(folder) / "film.mp4"
            parts = make_film(film, pictures[seed * PARTS :] + pictures[: seed * PARTS], seed, options.fps)
            answer = zoo.timeline(
                model,
                film,
                hop_seconds=options.hop,
                smoothing_seconds=options.smoothing,
                enter=options.enter,
                min_seconds=options.min,
                max_gap_seconds=options.max_gap,
            )
        results[f"seed {seed}"] = result = score(answer, parts, options.fps)
        print(
            f"seed {seed}: {result['accuracy']:.1%} of {result['frames']} frames, cuts off by"
            f" {result['boundary_median_seconds']:.2f} s (median), {len(pictures)} pictures"
        )
        if options.plot:
            plot(answer, parts, options.plot)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def plot(answer: zoo.Timeline, parts: list[Part], path: Path) -> None:
    """The timeline's own picture, with the truth as a line below each bar."""
    figure = answer.plot()
    bars = figure.axes[1]
    rows = {text.get_text(): row for row, text in enumerate(bars.get_yticklabels())}
    for part in parts:
        row = rows.get(part.label)
        if row is not None:
            bars.plot([part.start, part.end], [row + 0.45] * 2, color="black", linewidth=2)
    figure.savefig(path)


if __name__ == "__main__":
    main()
