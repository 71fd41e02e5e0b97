"""Every benchmark on this machine, one after the other, into the machine's folder of ``benchmarks/results``.

    python benchmarks/run_all.py my_machine --name "My machine" --peers-python venv/bin/python --quick

``--quick`` takes about a quarter of an hour on two cores: two networks at 224 pixels, one 10x3 test, the
training step. Without it six networks at two sizes, int8 where NNCF is installed, imports, reading and how
precise half precision is, in some hours. Other benchmarks (persons, layers, calls, timelines, clusters) run
by themselves. ``--only`` runs some of these again; what is there already stays. With a GPU ``gpu`` runs
too. Nothing else should use the processor meanwhile. Afterwards docs/speed.md has the figures, too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from machine import ROOT, description

QUICK = {
    "engines": [
        "engines.py",
        "--models",
        "slowfast_r50_4x16x1",
        "slowfast_r50_8x8x1",
        "--sizes",
        "224",
        "--precisions",
        "float32",
        "bfloat16",
        "--rounds",
        "7",
    ],
    "end_to_end": [
        "end_to_end.py",
        "--candidates",
        "auto:float32",
        "compile:float32",
        "auto:bfloat16",
        "--rounds",
        "3",
        "--sizes",
        "340x256",
    ],
    "training_step": ["training_step.py", "--rounds", "7", "--device", "cpu"],
}
FULL = {
    "engines": ["engines.py", "--rounds", "7"],
    "end_to_end": ["end_to_end.py", "--rounds", "7"],
    "training_step": ["training_step.py", "--rounds", "7", "--device", "cpu"],
    "imports": ["imports.py"],
    "reading": ["video/reading.py"],
    "precision": ["accuracy/precision.py"],
}
GPU = ["gpu.py"]
WITHOUT_PEERS = ("video/reading.py", "accuracy/precision.py", "gpu.py")


def words(threads: int) -> str:
    """A sentence about this machine, for whoever gave none."""
    facts = description(threads, "cuda" if torch.cuda.is_available() else "cpu")
    extensions = f" with {', '.join(facts['extensions'])}" if facts["extensions"] else ""
    gpu = f", {facts['gpu']}" if facts["gpu"] else ", no GPU"
    cores = f"{facts['cores']} cores of {facts['processor']}{extensions}"
    return f"{cores}, {facts['memory_gib']} GiB{gpu}; torch {facts['torch']}."


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", help="of the machine, inside benchmarks/results: letters, digits, '_'")
    parser.add_argument("--name", help="of the machine, as headings have it; None: the folder's")
    parser.add_argument(
        "--words", help="a sentence about the machine; None: its processor, memory and versions"
    )
    parser.add_argument(
        "--results", type=Path, default=ROOT / "benchmarks" / "results", help="where folders are"
    )
    parser.add_argument(
        "--peers-python", help="a Python that can import mmaction, decord, pytorchvideo, gluoncv"
    )
    parser.add_argument("--quick", action="store_true", help="the quarter of an hour that says most")
    parser.add_argument("--only", nargs="+", choices=[*FULL, "gpu"], help="these alone")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    plan = dict(QUICK if options.quick else FULL)
    if torch.cuda.is_available():
        plan["gpu"] = GPU
    if options.only:
        plan = {name: plan.get(name) or FULL.get(name, GPU) for name in options.only}
    folder: Path = options.results / options.folder
    folder.mkdir(parents=True, exist_ok=True)
    about = {"name": options.name or options.folder, "words": options.words or words(options.threads)}
    (folder / "machine.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    failed = []
    for name, (script, *arguments) in plan.items():
        if options.peers_python and script not in WITHOUT_PEERS:
            arguments += ["--peers-python", options.peers_python]
        if script not in ("imports.py", "accuracy/precision.py"):
            arguments += ["--threads", str(options.threads)]
        command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
        command += ["--out", str(folder / f"{name}.json")]
        before = time.perf_counter()
        print(f"\n{name}: {' '.join(command[1:])}", flush=True)
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
        print(f"{name} took {time.perf_counter() - before:.0f} s", flush=True)
    if any((folder / f"{name}.json").exists() for name in ("engines", "end_to_end")):
        subprocess.run([sys.executable, str(ROOT / "benchmarks/report/chart.py"), str(folder)], check=True)
    if options.results == ROOT / "benchmarks" / "results":
        subprocess.run([sys.executable, str(ROOT / "scripts/tables.py")], check=True)
    if failed:
        raise SystemExit(f"Failed: {', '.join(failed)}; --only runs them again.")


if __name__ == "__main__":
    main()
