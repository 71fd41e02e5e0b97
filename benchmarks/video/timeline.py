"""What a timeline costs: memory over hours, times real time, reading and network, decoding against one pass.

    python benchmarks/video/timeline.py --minutes 120 --tasks whole
    python benchmarks/video/timeline.py --tasks parts decode --model slowfast_r50_4x16x1 --untrained

The film is 10 seconds of ``footage.py``, h264 at 1280x720 and 30 frames per second, whose packets are
repeated without encoding them again; with ``--still`` one that takes little decoding. Tasks:

    whole    the timeline; peak memory (VmHWM) when a minute of the film is answered, and at the end
    parts    the same work apart: windows read without a network, the network on windows in memory
    decode   windows read (decoded, converted, resized, put together) against every frame decoded once and
             thrown away, as RGB bytes (``stream``) and as the decoder has them (PyAV); in turn, medians
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the benchmarks' own modules

from footage import write_footage
from machine import description, use_checkout

use_checkout()

import slowfast_zoo as zoo  # noqa: E402
from slowfast_zoo.inference.runner import BatchRunner  # noqa: E402
from slowfast_zoo.inference.segments import SegmentRules  # noqa: E402
from slowfast_zoo.inference.timeline import TimelineMaker  # noqa: E402
from slowfast_zoo.video.decoding.reader import open_video, stream  # noqa: E402
from slowfast_zoo.video.windows import Grid, WindowReader  # noqa: E402


def repeated(path: Path, source: Path, times: int) -> Path:
    """The packets of a video, so many times."""
    import av

    with av.open(str(path), "w") as container:
        with av.open(str(source)) as first:
            track = container.add_stream_from_template(first.streams.video[0])
        begin = 0
        for _ in range(times):
            with av.open(str(source)) as part:
                video = part.streams.video[0]
                for packet in part.demux(video):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + begin, packet.dts + begin
                    packet.stream = track
                    container.mux(packet)
                begin += round(video.frames / video.average_rate / video.time_base)
    return path


def peak() -> int:
    """Bytes of memory that this process had at most."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def whole(maker: TimelineMaker, film: Path) -> dict:
    """The timeline, and what memory did meanwhile."""
    begin, first_minute = time.perf_counter(), 0
    history: dict[int, float] = {}
    with maker.begin(film) as run:
        opened = time.perf_counter() - begin
        for window in run:
            if window.end_seconds <= 60:
                first_minute = peak()
            if (minute := int(window.end_seconds // 60)) % 10 == 0 and minute not in history:
                history[minute] = round(peak() / 2**20, 1)
                print(f"{minute} min: {time.perf_counter() - begin:.0f} s, {history[minute]} MiB", flush=True)
        answer = run.answer()
    seconds = time.perf_counter() - begin
    return {
        "film_seconds": round(answer.duration_seconds, 1),
        "windows": len(answer.windows),
        "seconds": round(seconds, 1),
        "seconds_to_open": round(opened, 2),
        "times_real_time": round(answer.duration_seconds / seconds, 2),
        "peak_first_minute_mib": round(first_minute / 2**20, 1),
        "peak_mib": round(peak() / 2**20, 1),
        "peak_mib_by_minute": history,
    }


def parts(maker: TimelineMaker, model: zoo.SlowFast, film: Path) -> dict:
    """Reading alone, the network alone, and both together."""

    def reading() -> None:
        with open_video(film) as video:
            for _, clips in WindowReader(video, model.clip_spec, maker.grid):
                clips.tensor()

    with open_video(film) as video:
        reader = WindowReader(video, model.clip_spec, maker.grid)
        clip = next(iter(reader))[1].tensor()
        count = len(reader.windows)
    runner = BatchRunner(model, clips=count)
    runner(clip)

    def network() -> None:
        for _ in range(count):
            runner(clip)

    seconds = {"reading": clock(reading), "network": clock(network), "both": whole(maker, film)["seconds"]}
    return {name: round(value / count, 5) for name, value in seconds.items()} | {"windows": count}


def decode(model: zoo.SlowFast, grid: Grid, film: Path, rounds: int) -> dict:
    """Seconds to read the windows, and to decode the film once."""
    import av

    def windows() -> None:
        with open_video(film) as video:
            for _ in WindowReader(video, model.clip_spec, grid):
                pass

    def frames() -> None:
        for _ in stream(film):
            pass

    def decoder() -> None:
        with av.open(str(film)) as container:
            container.streams.video[0].thread_type = "AUTO"
            for _ in container.decode(video=0):
                pass

    candidates = {"windows": windows, "stream": frames, "pyav": decoder}
    walls: dict[str, list[float]] = {name: [] for name in candidates}
    work: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            before = time.process_time()
            walls[name].append(clock(candidate))
            work[name].append(time.process_time() - before)
    median = {name: round(statistics.median(times), 3) for name, times in walls.items()}
    processor = {name: round(statistics.median(times), 3) for name, times in work.items()}
    return {
        "wall_seconds": median,
        "processor_seconds": processor,
        "windows_per_stream": round(median["windows"] / median["stream"], 3),
        "windows_per_pyav": round(median["windows"] / median["pyav"], 3),
        "windows_per_stream_processor": round(processor["windows"] / processor["stream"], 3),
    }


def clock(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=("whole", "parts", "decode"), default=["whole"])
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--model", default="slowfast_tiny")
    parser.add_argument("--untrained", action="store_true", help="no weights: times don't depend on them")
    parser.add_argument("--hop", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--still", action="store_true", help="a picture that stands still: cheap to decode")
    parser.add_argument("--film", type=Path, help="a film of your own")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    model = zoo.create_model(options.model, pretrained=not options.untrained).eval()
    maker = TimelineMaker(model, Grid(hop_seconds=options.hop), SegmentRules())
    results: dict = {
        "machine": description(torch.get_num_threads()),
        "model": options.model,
        "load": os.getloadavg()[0],
    }
    with tempfile.TemporaryDirectory() as folder:
        film = options.film
        if film is None:
            short = write_footage(Path(folder) / "short.mp4", 1280, 720, still=options.still)
            film = repeated(Path(folder) / "film.mp4", short, round(options.minutes * 6))
        for task in options.tasks:
            if task == "whole":
                results[task] = whole(maker, film)
            elif task == "parts":
                results[task] = parts(maker, model, film)
            else:
                results[task] = decode(model, maker.grid, film, options.rounds)
            print(task, json.dumps(results[task]), flush=True)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
