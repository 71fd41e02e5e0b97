"""Tests' scripts as processes of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path


def in_child(
    script: str | Path, *arguments: str | Path, session: bool = False, **environment: str
) -> subprocess.Popen[bytes]:
    """A script as a process of its own, with one thread; with a session, the leader of its group."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    folders = [str(Path(__file__).parents[up]) for up in (2, 1)]
    env["PYTHONPATH"] = os.pathsep.join([*folders, env.get("PYTHONPATH", "")])
    return subprocess.Popen([sys.executable, script, *arguments], env=env, start_new_session=session)


def two_processes(script: str | Path, *arguments: str | Path) -> list[subprocess.Popen[bytes]]:
    """The same twice, as torchrun starts them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [in_child(script, *arguments, RANK=str(rank), LOCAL_RANK=str(rank), **group) for rank in range(2)]
