"""``runtime.machine``: threads end with their generator, commands by signals; the environment comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from slowfast_zoo.inference.runner import read_ahead
from slowfast_zoo.runtime.machine import environment, exiting_on_signals, threads


@pytest.fixture
def ignored(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What Python can only print, as there is nobody to raise it to."""
    errors: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: errors.append(found.exc_value))
    return errors


def test_a_generator_that_its_own_thread_drops_ends_without_a_word(ignored: list[Any]) -> None:
    def numbers() -> Generator[Any, None, None]:
        with threads(1, "dropped") as pool:
            yield pool

    held = [numbers()]
    pool = next(held[0])
    pool.submit(held.clear).result()
    assert not ignored
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(int)


def test_reading_ahead_may_be_dropped_by_the_thread_that_reads(ignored: list[Any]) -> None:
    dropped, closed = threading.Event(), threading.Event()
    held: list[Generator[int, None, None]] = []

    def numbers() -> Generator[int, None, None]:
        try:
            yield 0
            dropped.wait(60)
            held.clear()
            yield 1
        finally:
            closed.set()

    held.append(read_ahead(numbers(), 1))
    assert next(held[0]) == 0
    dropped.set()
    assert closed.wait(60)
    assert not ignored


def test_the_environment_is_as_it_was_whatever_happens_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOWFAST_A", "before")
    monkeypatch.delenv("SLOWFAST_B", raising=False)
    with pytest.raises(KeyError), environment(SLOWFAST_A="1", SLOWFAST_B="2"):
        assert (os.environ["SLOWFAST_A"], os.environ["SLOWFAST_B"]) == ("1", "2")
        raise KeyError
    assert os.environ["SLOWFAST_A"] == "before" and "SLOWFAST_B" not in os.environ
    first, second = (environment(SLOWFAST_A="1", SLOWFAST_B="2") for _ in range(2))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert os.environ["SLOWFAST_B"] == "2", "another thread is still inside"
    second.__exit__(None, None, None)
    assert os.environ["SLOWFAST_A"] == "before" and "SLOWFAST_B" not in os.environ


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signals_are_an_exit(name: str) -> None:
    if not hasattr(signal, name):
        pytest.skip("Windows has no SIGHUP")
    number = getattr(signal, name)
    before = {each: signal.signal(each, signal.SIG_DFL) for each in (signal.SIGTERM, number)}
    try:
        with pytest.raises(SystemExit) as ended, exiting_on_signals():
            signal.raise_signal(number)
        assert ended.value.code == 128 + number and signal.getsignal(number) is signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN)
        with exiting_on_signals():  # as under nohup
            assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


_WRITES = """
import time
from slowfast_zoo.cli import main
from slowfast_zoo.files import written_whole

@main.command("write")
def write() -> None:
    with written_whole("result.bin") as part:
        print(part, flush=True)
        time.sleep(60)

main(["write"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
def test_a_command_that_is_ended_leaves_nothing_half_written(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITES], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdout.readline().endswith(".slowfast-tmp\n")
    assert len([*tmp_path.iterdir()]) == 1
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM and [*tmp_path.iterdir()] == []
    process.stdout.close()
