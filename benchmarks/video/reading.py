"""Seconds to read videos: this library against whatever of decord, torchcodec and OpenCV is installed.

Anyone can rerun it, with any Python that has the packages to compare with::

    python benchmarks/video/reading.py --out reading.json
    python benchmarks/video/reading.py film.mp4 --only frames views

Without files it makes two of 10 s, h264, 30 frames per second (``footage.py``). Four tasks:

    frames   the different frames of the published 10x3 test, decoded, as RGB bytes
    decode   all frames, decoded, as RGB bytes
    resize   frames that are in memory to a short side of 256 pixels, bit for bit as OpenCV does it: compiled,
             where the installation (an editable one, for this checkout) has built it, and by NumPy
    views    from the file to the 30 normalized float32 views of the 10x3 test, one view at a time

Each round runs every candidate once, in turn, so that a busy machine is busy for all. Candidates
that should give the same bytes are compared before they are timed, and the largest difference is
printed. Both clocks are read: the wall's and the processor's, which counts all threads and which a
busy machine disturbs less. Ratios are to the first peer of a task, which is 1.0.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the benchmarks' own modules

from footage import SIZES, write_footage
from machine import description, spread, use_checkout

use_checkout()

from slowfast_zoo import ClipSpec, read_clips  # noqa: E402
from slowfast_zoo.video.decoding.reader import open_video, stream  # noqa: E402
from slowfast_zoo.video.sampling import clip_indices  # noqa: E402
from slowfast_zoo.video.transforms import compiled  # noqa: E402
from slowfast_zoo.video.transforms.functional import FramePipeline  # noqa: E402

Frames = npt.NDArray[np.uint8]
Candidates = dict[str, Callable[[], Any]]
PEERS = ("decord", "torchcodec", "cv2")
TASKS = ("frames", "decode", "resize", "views")
SPEC = ClipSpec()
RESIZED = 206  # frames: as many as the 10x3 test of a 10 s video takes
DISTINCT = 24  # of them in memory, more than a processor's cache holds


def wanted_frames(path: str) -> list[int]:
    with open_video(path) as video:
        return [int(index) for index in np.unique(clip_indices(SPEC, video.num_frames, None, SPEC.clips))]


def reading(path: str, peers: set[str]) -> Candidates:
    """The frames of the 10x3 test; each candidate returns them all, or the last one it saw."""
    wanted = wanted_frames(path)
    candidates: Candidates = {}
    if "decord" in peers:
        import decord

        candidates["decord, get_batch"] = lambda: decord.VideoReader(path).get_batch(wanted).asnumpy()
    if "torchcodec" in peers:
        from torchcodec.decoders import VideoDecoder

        def torchcodec() -> Any:
            return VideoDecoder(path, dimension_order="NHWC").get_frames_at(wanted).data.numpy()

        candidates["torchcodec, get_frames_at"] = torchcodec
    if "cv2" in peers:
        candidates["OpenCV, grab and retrieve"] = lambda: opencv_frames(path, set(wanted))

    def one_by_one() -> Any:
        with open_video(path) as video:
            for _, frame in video.iter_frames(wanted):
                last = frame
        return last[None]

    def one_array() -> Any:
        with open_video(path) as video:
            return video.frames(wanted)

    return candidates | {"slowfast_zoo, iter_frames": one_by_one, "slowfast_zoo, frames": one_array}


def opencv_frames(path: str, wanted: set[int]) -> Frames:
    import cv2

    capture, frames = cv2.VideoCapture(path), []
    for index in range(max(wanted) + 1):
        capture.grab()
        if index in wanted:
            frames.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
    return np.stack(frames)


def decoding(path: str, peers: set[str]) -> Candidates:
    """Every frame once; each candidate returns the last one."""
    candidates: Candidates = {}
    if "decord" in peers:
        import decord

        def by_decord() -> Any:
            reader = decord.VideoReader(path)
            for _ in range(len(reader)):
                frame = reader.next().asnumpy()
            return frame

        candidates["decord, next"] = by_decord
    if "torchcodec" in peers:
        from torchcodec.decoders import VideoDecoder

        def by_torchcodec() -> Any:
            for frame in VideoDecoder(path, dimension_order="NHWC"):
                last = frame
            return last.numpy()

        candidates["torchcodec, iteration"] = by_torchcodec
    if "cv2" in peers:
        import cv2

        def by_opencv() -> Any:
            capture = cv2.VideoCapture(path)
            while (read := capture.read())[0]:
                frame = cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
            return frame

        candidates["OpenCV, read"] = by_opencv

    def ours() -> Any:
        for _, _, frame in stream(path):
            last = frame
        return last

    return candidates | {"slowfast_zoo, stream": ours}


def resizing(path: str, peers: set[str]) -> Candidates:
    """Frames in memory to the short side of the spec; all three crops, and the middle one alone."""
    with open_video(path) as video:
        frames = [frame.copy() for _, frame in video.iter_frames(range(min(DISTINCT, video.num_frames)))]
    height, width, _ = frames[0].shape
    work = list(itertools.islice(itertools.cycle(frames), RESIZED))
    whole = FramePipeline(SPEC, height, width, crop=SPEC.test_crop, crops=3)
    middle = FramePipeline(SPEC, height, width, crop=SPEC.test_crop, crops=1)
    if (whole.height, whole.width) == (height, width):
        return {}

    def ours(pipeline: FramePipeline) -> Any:
        return pipeline.prepare_all(work, len(work))[-1].permute(1, 2, 0).numpy()

    candidates: Candidates = {}
    if "cv2" in peers:
        import cv2

        def by_opencv() -> Any:
            for frame in work:
                last = cv2.resize(frame, (whole.width, whole.height), interpolation=cv2.INTER_LINEAR)
            return last[:, : whole.kept.width]

        candidates["OpenCV, resize"] = by_opencv
    if compiled.library() is not None:
        candidates["slowfast_zoo, three crops"] = lambda: ours(whole)
        # Another part of the picture than the others return, so nothing to compare with.
        candidates["slowfast_zoo, one crop"] = lambda: ours(middle) is None
    by_numpy = {
        "slowfast_zoo by NumPy, three crops": lambda: without_library(lambda: ours(whole)),
        "slowfast_zoo by NumPy, one crop": lambda: without_library(lambda: ours(middle)) is None,
    }
    return candidates | by_numpy


def without_library(work: Callable[[], Any]) -> Any:
    """What an installation without a C compiler does."""
    library, compiled.library = compiled.library, lambda: None  # type: ignore[assignment]
    try:
        return work()
    finally:
        compiled.library = library


def viewing(path: str, peers: set[str]) -> Candidates:
    """The 30 views; each candidate returns the last one, float32 (C, T, H, W)."""
    candidates: Candidates = {}
    if {"decord", "cv2"} <= peers:
        candidates["decord + OpenCV + NumPy"] = lambda: views_by_peers(path)

    def ours() -> Any:
        for batch in read_clips(path, SPEC, views=(SPEC.clips, 3)).batches(1):
            last = batch
        return last[0].numpy()

    return candidates | {"slowfast_zoo, read_clips": ours}


def views_by_peers(path: str) -> npt.NDArray[np.float32]:
    """What MMAction2's pipeline does, step by step, written down here without its framework."""
    import cv2
    import decord

    reader = decord.VideoReader(path)
    indices = clip_indices(SPEC, len(reader), None, SPEC.clips)
    different, rows = np.unique(indices, return_inverse=True)
    frames = reader.get_batch(different).asnumpy()
    height, width = frames.shape[1:3]
    pipeline = FramePipeline(SPEC, height, width, crop=SPEC.test_crop, crops=3)  # for sizes alone
    size = (pipeline.width, pipeline.height)
    small = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR) for frame in frames])
    mean, std = np.float32(SPEC.mean), np.float32(SPEC.std)
    for box in pipeline.boxes:
        for clip in rows.reshape(indices.shape):
            cut = small[clip, box.top : box.top + box.height, box.left : box.left + box.width]
            view = np.ascontiguousarray(((cut.astype(np.float32) - mean) / std).transpose(3, 0, 1, 2))
    return view


def compared(candidates: Candidates) -> dict[str, float | None]:
    """Largest difference of each result's last frame from that of the first candidate."""
    last = {name: run() for name, run in candidates.items()}
    ends = {name: value[-1] if np.ndim(value) == 4 else value for name, value in last.items()}
    first = next(iter(ends.values()))
    return {
        name: float(np.abs(end.astype(np.float64) - first).max())
        if np.shape(end) == np.shape(first)
        else None
        for name, end in ends.items()
    }


def measured(candidates: Candidates, rounds: int) -> dict[str, dict[str, Any]]:
    """Both clocks for each candidate."""
    differences = compared(candidates)  # this is the warm-up too
    wall: dict[str, list[float]] = {name: [] for name in candidates}
    cpu: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            before, cpu_before = time.perf_counter(), time.process_time()
            run()
            cpu[name].append(time.process_time() - cpu_before)
            wall[name].append(time.perf_counter() - before)
    base = next(iter(candidates))
    return {
        name: {
            "seconds": spread(wall[name]),
            "cpu_seconds": spread(cpu[name]),
            "ratio": statistics.median(wall[name]) / statistics.median(wall[base]),
            "cpu_ratio": statistics.median(cpu[name]) / statistics.median(cpu[base]),
            "difference": differences[name],
        }
        for name in candidates
    }


def show(rows: dict[str, dict[str, Any]]) -> None:
    columns = ("median", "fastest", "slowest", "ratio", "cpu", "ratio", "difference")
    print(f"{'milliseconds':28}" + "".join(f"{column:>11}" for column in columns))
    for name, row in rows.items():
        times = [row["seconds"][which] for which in ("median", "fastest", "slowest")]
        line = f"{name:28}" + "".join(f"{1000 * seconds:11.1f}" for seconds in times)
        line += f"{row['ratio']:11.2f}{1000 * row['cpu_seconds']['median']:11.1f}{row['cpu_ratio']:11.2f}"
        difference = row["difference"]
        print(line + (f"{'':>11}" if difference is None else f"{difference:11g}"), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("films", nargs="*", type=Path, help="videos to read instead of making two")
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch and OpenCV")
    parser.add_argument("--out", type=Path, help="write everything here, as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    peers = {name for name in PEERS if importlib.util.find_spec(name) is not None}
    for name in sorted(set(PEERS) - peers):
        print(f"{name} isn't installed and is left out.", file=sys.stderr)
    if "cv2" in peers:
        import cv2

        cv2.setNumThreads(arguments.threads)
    result: dict[str, Any] = {
        "benchmark": "reading",
        "machine": description(arguments.threads),
        "films": {},
    }
    tasks = {"frames": reading, "decode": decoding, "resize": resizing, "views": viewing}
    with tempfile.TemporaryDirectory() as folder:
        films = arguments.films or [
            write_footage(Path(folder, f"{name}.mp4"), width, height)
            for name, (width, height) in SIZES.items()
        ]
        for path in films:
            tables = result["films"][path.name] = {}
            for task in arguments.only:
                candidates = tasks[task](str(path), peers)
                if not candidates:
                    print(f"\n{path.name}, {task}: nothing to do.")
                    continue
                tables[task] = measured(candidates, arguments.rounds)
                print(f"\n{path.name}, {task}; 1.0 is {next(iter(tables[task]))}")
                show(tables[task])
                if arguments.out:
                    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
