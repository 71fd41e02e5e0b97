"""Processes that a benchmark asks by lines of JSON, each with a Python and a memory of its own.

The asking side makes a ``Worker``; the process calls ``serve`` with the tasks that it can be asked for.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Tasks = Mapping[str, Callable[..., dict[str, Any]]]


class WorkerError(Exception):
    """The process ended; the message has the last line that it wrote."""


class Worker:
    """A process of some Python; start it, ask it, close it.

    Attributes:
        started: what it answered when it was ready: "seconds" of imports and building, memory.
    """

    def __init__(self, script: str | Path, *arguments: object, python: str = sys.executable) -> None:
        command = [python, str(script), *map(str, arguments)]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        self.started = self._answer()

    def ask(self, task: str, **arguments: Any) -> dict[str, Any]:
        """The task's answer.

        Raises:
            WorkerError: the process has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"task": task, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer says why
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return dict(json.loads(line))
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines() or ["it wrote nothing"]
        raise WorkerError(f"{' '.join(map(str, self._process.args))}\nended: {lines[-1]}")


def serve(start: Callable[[], Tasks]) -> None:
    """Starts, says so, and answers until the asking side closes; every answer has the memory so far."""
    before = time.perf_counter()
    # What the libraries print goes to stderr; the answers alone use the process's standard output.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    tasks = start()
    _write(answers, {"seconds": time.perf_counter() - before})
    for line in sys.stdin:
        asked = json.loads(line)
        _write(answers, tasks[asked["task"]](**asked["arguments"]))


def _write(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer | {"peak_mib": peak_mib(), "resident_mib": resident_mib()}) + "\n")
    answers.flush()


def peak_mib() -> float:
    """The most memory that this process has had resident."""
    # getrusage's figure counts the parent too: a process starts as its copy.
    kib = _status("VmHWM")
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if kib is None else kib) / 1024


def resident_mib() -> float | None:
    """The memory that this process has resident now; None where the system doesn't say."""
    kib = _status("VmRSS")
    return None if kib is None else kib / 1024


def _status(field: str) -> int | None:
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{field}:")), None)
