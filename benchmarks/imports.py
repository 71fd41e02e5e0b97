"""Seconds and memory of importing this library and the publishers', each time in a fresh process.

    python benchmarks/imports.py --peers-python /path/to/venv/bin/python --out imports.json

All of them need torch, whose import is a row of its own. What can't be imported is listed with its reason.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from workers import Tasks, Worker, WorkerError, serve

ROOT = Path(__file__).resolve().parents[1]
OURS = {
    "slowfast_zoo": "import slowfast_zoo",
    "torch alone": "import torch",
    "slowfast_zoo, all that predicting needs": "from slowfast_zoo import create_model, predict; import av",
    "slowfast_zoo command line": "import slowfast_zoo.cli",
}
THEIRS = {
    "mmaction2": "from peers import prepare_mmaction2; prepare_mmaction2(); import mmaction.apis",
    "pytorchvideo": "import pytorchvideo.models.hub",
    "gluoncv": "import gluoncv.torch.model_zoo",
}


def run(statement: str) -> Tasks:
    """Executes the statement, with this checkout on the path."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    exec(statement)
    return {}


def imported(statement: str, python: str) -> dict[str, Any]:
    """What one fresh process answers after the statement."""
    process = Worker(__file__, "--worker", statement, python=python)
    process.close()
    return process.started


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peers-python", help="a Python that has mmaction2, pytorchvideo or gluoncv")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="write everything here, as JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(lambda: run(options.worker))
        return
    import torch  # not by the workers, which measure it
    from machine import description, spread

    wanted = {name: (statement, sys.executable) for name, statement in OURS.items()}
    if options.peers_python:
        wanted |= {name: (statement, options.peers_python) for name, statement in THEIRS.items()}
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in wanted}
    failures: dict[str, str] = {}
    for number in range(options.rounds + 1):
        for name, (statement, python) in wanted.items():
            if name in failures:
                continue
            try:
                answer = imported(statement, python)
            except WorkerError as error:
                failures[name] = str(error).partition("ended: ")[2]
                continue
            if number:  # the first round reads the files from disk
                answers[name].append(answer)
    rows = {
        name: {
            "statement": wanted[name][0],
            "seconds": spread([answer["seconds"] for answer in own]),
            "peak_mib": max(answer["peak_mib"] for answer in own),
        }
        for name, own in answers.items()
        if name not in failures
    }
    print(f"{'':42}{'median s':>9}{'fastest':>9}{'slowest':>9}{'peak MiB':>10}")
    for name, row in rows.items():
        seconds = row["seconds"]
        print(f"{name:42}{seconds['median']:9.3f}{seconds['fastest']:9.3f}", end="")
        print(f"{seconds['slowest']:9.3f}{row['peak_mib']:10.0f}")
    for name, reason in failures.items():
        print(f"{name:42} {reason}")
    if options.out:
        machine = description(torch.get_num_threads())
        result = {"benchmark": "imports", "machine": machine, "imports": rows, "failures": failures}
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
