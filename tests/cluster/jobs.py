"""Jobs of cluster engines as processes of their own, and a worker of theirs that is killed in the middle."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.movies import moving_pattern, write_video

ROOT = Path(__file__).parents[2]


WORKERS = {"ray": ("ray_predict.py", "ray::MapWorker"), "spark": ("spark_predict.py", "pyspark.daemon")}
"""The example of an engine, and what the command line of its workers holds."""


def parquet_rows(folder: Path) -> list[dict[str, Any]]:
    """All rows of a folder's files."""
    import pyarrow.parquet as parquet

    return [row for file in sorted(folder.glob("*.parquet")) for row in parquet.read_table(file).to_pylist()]


def make_clips(folder: Path, count: int, broken: int) -> list[str]:
    """Small videos, some of which are none; all paths, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04}.mp4" for number in range(count)]
    # A word that parts of data sets are called by, and a letter that isn't shown.
    paths[0] = folder / "train_\u00ad1.mp4"
    every = count // broken if broken else count + 1
    for number, path in enumerate(paths):
        if number % every == every // 2 and number // every < broken:
            path.write_bytes(b"no video %d" % number)
        else:
            write_video(path, moving_pattern(12, seed=number), codec="mpeg4", pixels="yuv420p")
    return [str(path) for path in paths]


def start(script: Path, *arguments: object, cwd: Path) -> subprocess.Popen[bytes]:
    """A script in the background, offline; its output goes to a file ``log`` in ``cwd``."""
    environment = {
        **os.environ,
        "SLOWFAST_ZOO_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_SUBMIT_ARGS": "--master local[2,4] --driver-memory 1g pyspark-shell",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_raylet_start_wait_time_s": "300",  # of a busy machine
        "HF_HOME": str(cwd / "huggingface"),
    }
    with (cwd / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            cwd=cwd,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def kill_a_worker(job: subprocess.Popen[bytes], words: str, begun: Callable[[], bool]) -> None:
    """Kills a process below a job without warning, as soon as the job has begun to answer.

    Args:
        job: whose processes are looked at.
        words: in the command line of a worker; the busiest that has them is taken.
        begun: whether the job has.
    """
    while not begun():
        assert job.poll() is None, "it ended before anybody was killed"
        time.sleep(0.05)
    while job.poll() is None:
        before = {pid: _ticks(pid) for pid in _below(job.pid) if words in _command(pid)}
        time.sleep(0.3)
        busiest = max(before, key=lambda pid: _ticks(pid) - before[pid], default=None)
        if busiest is not None and _ticks(busiest) > before[busiest]:
            os.kill(busiest, signal.SIGKILL)
            return
    raise AssertionError(f"it ended before a worker with '{words}' was busy")


def _command(pid: int) -> str:
    """The command line of a process; "" where there is none any more."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _ticks(pid: int) -> int:
    """Processor time that a process has used."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def end(job: subprocess.Popen[bytes]) -> None:
    """Kills a job and everything that it has started."""
    for pid in [job.pid, *_below(job.pid)]:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    job.wait()


def _below(top: int) -> list[int]:
    """The processes that a process and its children have started."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    found, wave = [], {top}
    while wave:
        wave = {pid for pid, parent in parents.items() if parent in wave}
        found += sorted(wave)
    return found
