"""What Inductor keeps on disk, held to checksums: it loads whatever lies there, half written or damaged."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from slowfast_zoo.inference.engines import artifacts

_LIST = "inductor.sealed"
"""Artifact with the checksum of each file, as JSON."""

_WAIT = 300
"""Seconds for another process that compiles; who waits longer compiles beside it."""


@contextlib.contextmanager
def sealed(folder: Path) -> Iterator[None]:
    """Inside, Inductor may compile into the library's folder for it; one process at a time.

    Files that aren't as they were when the last block ended are removed before, so that Inductor makes them
    again: they are damaged, or a process was killed while it wrote them. What there is after a block that
    ended well counts as whole.

    Args:
        folder: Inductor's, in the library's own.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    with contextlib.suppress(OSError, NotImplementedError, Timeout):
        lock.acquire(timeout=_WAIT)
    try:
        known = _known()
        if lock.is_locked:
            for path in _files(folder):
                if known.get(_name(path)) != _checksum(path):
                    with contextlib.suppress(OSError):
                        path.unlink()
        yield
        if lock.is_locked:
            found = {_name(path): _checksum(path) for path in _files(folder)}
            if found != known:
                artifacts.store(_LIST, json.dumps(found).encode())
    finally:
        lock.release()


def _known() -> dict[str, str]:
    stored = artifacts.load(_LIST)
    return {} if stored is None else dict(json.loads(stored))


def _files(folder: Path) -> list[Path]:
    """Code and sources; not Inductor's locks, nor Triton's files, which are written whole."""
    return [path for path in folder.glob("??/*") if path.suffix in (".so", ".pyd", ".cpp", ".py")]


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _checksum(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
