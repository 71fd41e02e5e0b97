"""Ray and Spark with two workers against one process: equal rows, each once, a worker killed; rows a second.

python benchmarks/video/cluster.py [--videos 300 --broken 15 --engine ray spark] [--output FILE.json]

Runs examples/cluster/ as a user would, on small videos that it makes. Needs what CONTRIBUTING.md names for
``-m cluster``. Seconds of an engine are those of the whole job, its start included; with so few and small
videos that start is most of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the benchmarks' own modules

from machine import ROOT, description, use_checkout

use_checkout()
sys.path.insert(0, str(ROOT / "tests" / "cluster"))

from jobs import WORKERS, end, kill_a_worker, make_clips, parquet_rows, start  # noqa: E402

import slowfast_zoo as zoo  # noqa: E402


def one_process(paths: list[str]) -> tuple[dict[str, zoo.Prediction], float]:
    """The answers of ``predict_many``, and rows a second."""
    model = zoo.create_model("slowfast_tiny", pretrained=True)
    zoo.predict(model, paths[0])
    begin = time.perf_counter()
    answers = {answer.source: answer for answer in zoo.predict_many(model, paths)}
    return answers, len(paths) / (time.perf_counter() - begin)


def compare(rows: list[dict[str, Any]], expected: dict[str, zoo.Prediction]) -> dict[str, Any]:
    """How rows differ from the answers of one process."""
    worst, other = 0.0, 0
    for row in rows:
        answer = expected.get(row["source"])
        if answer is None or row["error"] != (answer.error or ""):
            other += 1
            continue
        for rank, (label, score) in enumerate(zip(answer.labels, answer.scores, strict=True), 1):
            other += row[f"label_{rank}"] != label
            worst = max(worst, abs(row[f"score_{rank}"] - score))
    return {
        "rows": len(rows),
        "sources": len({row["source"] for row in rows}),
        "missing": len(expected.keys() - {row["source"] for row in rows}),
        "with_error": sum(bool(row["error"]) for row in rows),
        "different": other,
        "largest_score_difference": worst,
    }


def run(engine: str, folder: Path, expected: dict[str, zoo.Prediction], *, kill: bool) -> dict[str, Any]:
    """A job of an engine: what it answered, and how fast."""
    script, worker = WORKERS[engine]
    with tempfile.TemporaryDirectory() as work:
        answers = Path(work) / "answers"
        begin = time.perf_counter()
        job = start(ROOT / "examples" / "cluster" / script, folder, answers, cwd=Path(work))
        try:
            if kill:
                kill_a_worker(job, worker, lambda: any(answers.glob("*.parquet")))
            status = job.wait()
        finally:
            end(job)
        seconds = time.perf_counter() - begin
        found = compare(parquet_rows(answers), expected) | {"exit_status": status, "killed": kill}
        if status:
            print((Path(work) / "log").read_text(errors="replace")[-3000:])
    right = found["rows"] == found["sources"] == len(expected) and not found["different"]
    return found | {"right": right, "seconds": seconds, "rows_per_second": len(expected) / seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=300)
    parser.add_argument("--broken", type=int, default=15)
    parser.add_argument("--engine", nargs="+", choices=list(WORKERS), default=list(WORKERS))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()

    results: dict[str, Any] = {"machine": description(1), "videos": options.videos, "broken": options.broken}
    with tempfile.TemporaryDirectory() as work:
        paths = make_clips(Path(work) / "videos", options.videos, options.broken)
        expected, rate = one_process(paths)
        results["one_process"] = {"rows_per_second": rate}
        print(f"one process: {rate:.2f} rows/s", flush=True)
        for engine in options.engine:
            results[engine] = [
                run(engine, Path(work) / "videos", expected, kill=kill) for kill in (False, True)
            ]
            for found in results[engine]:
                print(engine, json.dumps(found), flush=True)
    if options.output:
        options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    raise SystemExit(not all(found["right"] for engine in options.engine for found in results[engine]))


if __name__ == "__main__":
    main()
