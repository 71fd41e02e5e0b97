"""The 10x3 test from a video file: ours against MMAction2's own pipeline, each in a process of its own.

    python benchmarks/end_to_end.py
    python benchmarks/end_to_end.py VIDEO... --peers-python /path/to/venv/bin/python --out FILE.json
    python benchmarks/end_to_end.py --memory-videos 200

R50 4x16 with the clips of MMAction2 1.x (10 clips x 3 crops of 256 pixels, score = mean probability), the
same seeded weights on both sides. Without VIDEO two 10 s h264 files are made: 340x256 and 1280x720. Theirs
is decord, their transforms, their recognizer (``inference_recognizer``). A round asks every process once,
in turn, after a round that isn't counted. Start-up is reported apart. Memory is the peak of the process.
int8 is calibrated with a third video made here, 340x256 with another texture, in a process before those that
are measured: their start-up and memory are those of a network that was kept.

Outside the network is what a prediction takes less the time spent in the calls of the network, both in the
same run. The stages are then timed one at a time, as nothing overlaps: decoding; reading, which decodes,
resizes and crops; and making the views, which cuts and normalizes them.

``--network small`` tries this script in a minute. ``--memory-videos N`` predicts N videos in one call, with
the same 10x3 clips but (unless ``--memory-network full``) a small network, and shows whether memory stays
flat.
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
from footage import SIZES, write_footage
from machine import description, finish, spread, use_checkout
from peers import prepare_mmaction2, seeded
from workers import Tasks, Worker, WorkerError, resident_mib, serve

MODEL, TAG, REFERENCE = "slowfast_r50_4x16x1", "mmaction2-1x/k400-256e", "mmaction2/r50_4x16x1"
CONFIG = "slowfast_r50_8xb8-4x16x1-256e_kinetics400-rgb.py"
THEIRS = "mmaction2"


def weights() -> dict[str, torch.Tensor]:
    """Seeded weights under MMAction2's names."""
    from reference import references
    from reference.seeded import seeded_state_dict

    return seeded_state_dict(references()[REFERENCE].shapes)


class Ours:
    """This library's side: ``predict`` with an engine that has started."""

    def __init__(self, engine: str, precision: str, options: argparse.Namespace) -> None:
        import slowfast_zoo as zoo
        from slowfast_zoo.inference.engines.optimize import OptimizedModel
        from slowfast_zoo.weights.checkpoint.loading import canonical_state_dict

        entry = zoo.get_weights(MODEL, TAG)
        if options.network == "full":
            model = zoo.create_model(MODEL).eval()
            model.load_state_dict(canonical_state_dict(weights(), entry.model_spec, "openmmlab"))
        else:
            spec = zoo.ModelSpec(depth=14, base_width=8, fusion_kernel=5, num_classes=400)
            model = seeded(zoo.SlowFast(spec))
        model.clip_spec, model.labels = entry.clip_spec, tuple(f"{index}" for index in range(400))
        film = options.calibration
        self.fast = zoo.optimize(
            model,
            engine,  # type: ignore[arg-type]
            precision,  # type: ignore[arg-type]
            device=options.device,
            calibration=[film.read_bytes()] if precision == "int8" and film else None,
            min_agreement=0,
        )
        self.fast.warm_up()
        self.views = (options.clips, 3)
        self.network_seconds = 0.0
        call = OptimizedModel.__call__

        def timed(fast: OptimizedModel, clip: torch.Tensor) -> torch.Tensor:
            before = time.perf_counter()
            logits = call(fast, clip)
            finish(options.device)
            self.network_seconds += time.perf_counter() - before
            return logits

        OptimizedModel.__call__ = timed  # type: ignore[method-assign]

    def video(self, path: str) -> dict[str, Any]:
        """One prediction, timed."""
        import slowfast_zoo as zoo

        self.network_seconds = 0.0
        before = time.perf_counter()
        answer = zoo.predict(self.fast, path, views=self.views, topk=None)
        seconds = time.perf_counter() - before
        scores = [0.0] * 400
        for label, score in zip(answer.labels, answer.scores, strict=True):
            scores[int(label)] = score
        return {"seconds": seconds, "network_seconds": self.network_seconds, "scores": scores}

    def stages(self, path: str) -> dict[str, Any]:
        """Seconds of what happens to the frames, one stage after the other."""
        import slowfast_zoo as zoo
        from slowfast_zoo.video.decoding.reader import open_video

        before = time.perf_counter()
        clips = zoo.read_clips(path, self.fast.clip_spec, views=self.views)
        read = time.perf_counter()
        for view in range(len(clips)):
            clips[view]
        views = time.perf_counter()
        with open_video(path) as video:
            for _ in video.iter_frames(clips.indices.ravel().tolist()):
                pass
        return {"decode": time.perf_counter() - views, "read": read - before, "views": views - read}

    def memory(self, path: str, videos: int) -> dict[str, Any]:
        """Resident memory after each of some predictions, made by one call."""
        import slowfast_zoo as zoo

        resident = [resident_mib() for _ in zoo.predict_many(self.fast, [path] * videos, views=self.views)]
        return {"resident": resident}


def theirs(options: argparse.Namespace) -> Tasks:
    """MMAction2's side: its recognizer and its test pipeline."""
    folder = prepare_mmaction2()
    from mmaction.apis import inference_recognizer, init_recognizer
    from mmengine.dataset import Compose

    recognizer = init_recognizer(str(folder / CONFIG), device=options.device)
    recognizer.load_state_dict(weights())
    sampling = next(step for step in recognizer.cfg.test_pipeline if step.type == "SampleFrames")
    sampling.num_clips = options.clips
    transforms = Compose(recognizer.cfg.test_pipeline).transforms
    spent = {"decode": 0.0, "transform": 0.0, "network": 0.0}
    run = recognizer._run_forward

    def timed(*arguments: Any, **named: Any) -> Any:
        before = time.perf_counter()
        result = run(*arguments, **named)
        finish(options.device)
        spent["network"] += time.perf_counter() - before
        return result

    recognizer._run_forward = timed

    def pipeline(data: Any) -> Any:
        for transform in transforms:
            before = time.perf_counter()
            data = transform(data)
            stage = "decode" if type(transform).__name__.startswith("Decord") else "transform"
            spent[stage] += time.perf_counter() - before
        return data

    def video(path: str) -> dict[str, Any]:
        spent.update(dict.fromkeys(spent, 0.0))
        before = time.perf_counter()
        result = inference_recognizer(recognizer, path, pipeline)
        seconds = time.perf_counter() - before
        stages = {"decode": spent["decode"], "transform": spent["transform"]}
        scores = result.pred_score.tolist()
        return {"seconds": seconds, "network_seconds": spent["network"], "scores": scores, "stages": stages}

    return {"video": video}


def worker(options: argparse.Namespace) -> Tasks:
    """What this process can be asked for."""
    use_checkout()
    torch.set_num_threads(options.threads)
    if options.worker == THEIRS:
        return theirs(options)
    engine, precision = options.worker.split(":")
    ours = Ours(engine, precision, options)
    return {"video": ours.video, "stages": ours.stages, "memory": ours.memory}


def start(candidate: str, options: argparse.Namespace, network: str) -> Worker:
    """A process for one candidate."""
    python = options.peers_python if candidate == THEIRS else sys.executable
    arguments = ["--worker", candidate, "--threads", options.threads, "--device", options.device]
    arguments += ["--clips", options.clips, "--network", network]
    arguments += ["--calibration", options.calibration] if options.calibration else []
    return Worker(__file__, *arguments, python=python)


def is_int8(candidate: str) -> bool:
    return candidate.endswith(":int8")


def calibrated(candidate: str, options: argparse.Namespace) -> bool:
    """Whether int8 could be set up, in a process of its own; what comes of it is kept for the others."""
    try:
        start(candidate, options, options.network).close()
    except WorkerError as error:
        print(f"{candidate} is left out. {error}", file=sys.stderr)
        return False
    return True


def measure(path: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Every candidate on one video, in processes that have seen no other."""
    workers = {candidate: start(candidate, options, options.network) for candidate in candidates(options)}
    answers: dict[str, list[dict[str, Any]]] = {candidate: [] for candidate in workers}
    for number in range(options.rounds + 1):
        for candidate, process in workers.items():
            answer = process.ask("video", path=str(path))
            if number:
                answers[candidate].append(answer)
    rows: dict[str, dict[str, Any]] = {}
    base = answers[next(iter(workers))]
    for candidate, process in workers.items():
        own = answers[candidate]
        stages = [answer["stages"] for answer in own if "stages" in answer]
        stages = stages or [process.ask("stages", path=str(path)) for _ in range(options.rounds)]
        rows[candidate] = {
            "startup_seconds": process.started["seconds"],
            **row(own, base),
            "stages": {
                stage: statistics.median(times[stage] for times in stages)
                for stage in ("decode", "read", "transform", "views")
                if stage in stages[0]
            },
        }
        process.close()
    return rows


def row(own: list[dict[str, Any]], base: list[dict[str, Any]]) -> dict[str, Any]:
    """What a candidate's answers say, beside those of the first candidate."""
    seconds = [answer["seconds"] for answer in own]
    scores, expected = torch.tensor(own[-1]["scores"]), torch.tensor(base[-1]["scores"])
    return {
        "seconds": spread(seconds),
        "videos_per_second": 1 / statistics.median(seconds),
        "ratio": statistics.median(answer["seconds"] for answer in base) / statistics.median(seconds),
        "outside_network": statistics.median(
            1 - answer["network_seconds"] / answer["seconds"] for answer in own
        ),
        "peak_mib": own[-1]["peak_mib"],
        "peak_ratio": own[-1]["peak_mib"] / base[-1]["peak_mib"],
        "largest_score": float(scores.max()),
        "score_difference": float((scores - expected).abs().max()),
        "same_top1": bool(scores.argmax() == expected.argmax()),
    }


def memory(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Resident memory over many videos in one process."""
    process = start(options.memory_engine, options, options.memory_network)
    answer = process.ask("memory", path=str(path), videos=options.memory_videos)
    process.close()
    resident = answer["resident"]
    shown = sorted({*range(0, len(resident), max(len(resident) // 10, 1)), len(resident) - 1})
    print(f"resident after n videos ({options.memory_network} network), MiB:")
    print("  " + "  ".join(f"{index + 1}: {resident[index]:.0f}" for index in shown))
    return {
        "network": options.memory_network,
        "engine": options.memory_engine,
        "resident_mib": resident,
        "peak_mib": answer["peak_mib"],
    }


def candidates(options: argparse.Namespace) -> list[str]:
    """MMAction2 first, where it can be had."""
    return [THEIRS] * bool(options.peers_python) + options.candidates


def show(title: str, rows: dict[str, dict[str, Any]]) -> None:
    """The table of one video."""
    print(f"\n{title}; 1.0 is {next(iter(rows))}")
    print(
        f"{'':18}{'median s':>9}{'fastest':>9}{'slowest':>9}{'ratio':>7}{'video/s':>9}{'outside':>9}", end=""
    )
    print(f"{'peak MiB':>10}{'score diff.':>12}{'same top-1':>11}")
    for candidate, values in rows.items():
        seconds = values["seconds"]
        print(
            f"{candidate:18}{seconds['median']:9.2f}{seconds['fastest']:9.2f}{seconds['slowest']:9.2f}",
            end="",
        )
        print(
            f"{values['ratio']:7.2f}{values['videos_per_second']:9.3f}{values['outside_network']:9.1%}",
            end="",
        )
        print(f"{values['peak_mib']:10.0f}{values['score_difference']:12.1e}{values['same_top1']!s:>11}")
    for candidate, values in rows.items():
        stages = ", ".join(f"{name} {taken:.2f} s" for name, taken in values["stages"].items())
        print(f"{candidate}: started in {values['startup_seconds']:.1f} s; {stages}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("videos", nargs="*", type=Path, help="files; none: 340x256 and 1280x720 are made")
    parser.add_argument(
        "--candidates",
        nargs="*",
        default=["auto:float32", "compile:float32", "auto:bfloat16", "openvino:int8"],
        help="engine:precision",
    )
    parser.add_argument("--peers-python", help="a Python that can import mmaction and decord")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES), help="of those made")
    parser.add_argument("--clips", type=int, default=10, help="in time; 3 crops of each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--network", choices=["small", "full"], default="full")
    parser.add_argument("--memory-videos", type=int, default=0, metavar="N")
    parser.add_argument("--memory-network", choices=["small", "full"], default="small")
    parser.add_argument("--memory-engine", default="eager:float32", help="engine:precision")
    parser.add_argument("--out", type=Path, help="write everything here, as JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--calibration", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(lambda: worker(options))
        return
    machine = description(options.threads, options.device)
    result: dict[str, Any] = {
        "benchmark": "end_to_end",
        "machine": machine,
        "clips": options.clips,
        "network": options.network,
        "videos": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        made = [] if options.videos else [(name, SIZES[name]) for name in options.sizes]
        videos = options.videos or [write_footage(Path(folder) / f"{name}.mp4", *size) for name, size in made]
        if any(map(is_int8, (*options.candidates, options.memory_engine))):
            options.calibration = write_footage(Path(folder) / "calibration.mp4", *SIZES["340x256"], seed=1)
        options.candidates = [
            each for each in options.candidates if not is_int8(each) or calibrated(each, options)
        ]
        try:
            for path in videos if candidates(options) else ():
                rows = result["videos"][path.stem] = measure(path, options)
                show(f"{path.name}, {options.threads} threads", rows)
            if options.memory_videos:
                result["memory"] = {"video": videos[0].stem, **memory(videos[0], options)}
        except WorkerError as error:
            raise SystemExit(str(error)) from error
        finally:
            if options.out:
                options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
