"""What engines have compiled, kept on disk for the next process: one checked file per artifact.

The files are in the folder ``engines`` of the library's cache, if nobody else can write to that, and can be
deleted at any time.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import logging
import os
import shutil
import tempfile
from pathlib import Path

import torch

from slowfast_zoo import __version__
from slowfast_zoo.errors import DownloadError
from slowfast_zoo.files import is_private, written_whole
from slowfast_zoo.inference.engines.folding import FoldedNetwork
from slowfast_zoo.network.structure import is_foreign, structure
from slowfast_zoo.weights.download.download import cache_dir

_LOGGER = logging.getLogger(__name__)

_KEPT = {".blob": 8, ".onnx": 8, ".int8": 8, ".proven": 1000, ".tried": 1000, ".timed": 200}
"""How many files of a kind stay, the most recently used ones; the first three are as large as weights."""

_DIGEST_BYTES = hashlib.sha256().digest_size


def digest(facts: object) -> str:
    """A name for what follows from these facts, as their ``repr`` says them, and this version."""
    return hashlib.sha256(repr((__version__, facts)).encode()).hexdigest()[:32]


def fingerprint(module: FoldedNetwork, *facts: object, suffix: str = "") -> str | None:
    """A name for what is compiled from this network under these facts; None where code takes part that isn't
    torch's or this library's, which no name can stand for.

    Args:
        module: every tensor counts, and the spec and the modules, which decide what is done with them.
        facts: whatever else decides the result: shape, the engine's version, threads, the processor.
        suffix: of the file.
    """
    if is_foreign(module):
        return None
    own = (__version__, torch.__version__, module.spec, structure(module))
    digest = hashlib.sha256(repr((own, facts)).encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return f"{digest.hexdigest()[:32]}{suffix}"


def engine_folder() -> Path | None:
    """Where compiled artifacts are kept; None when no folder can be written.

    Code is loaded from there: where others could write to it, it is a temporary folder of this process.
    """
    with contextlib.suppress(OSError, DownloadError):
        folder = cache_dir() / "engines"
        if is_ours(folder) and os.access(folder, os.W_OK):
            return folder
        _LOGGER.info("Others may write to %s: what engines compile is kept for this process only.", folder)
    with contextlib.suppress(OSError):
        return _temporary_folder()
    return None


def is_ours(folder: Path) -> bool:
    """Whether a folder, made where there is none, can be written by nobody but this user."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return is_private(folder)
    except OSError:
        return False


@functools.cache
def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="slowfast_zoo-"))  # which nobody else may open
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def names(suffix: str) -> list[str]:
    """The kept artifacts of a kind, the most recently used first."""
    folder = engine_folder()
    return [] if folder is None else [path.name for path in _by_age(folder, suffix)]


def load(name: str | None, *, used: bool = True) -> bytes | None:
    """A kept artifact; None when there is none, or it is damaged.

    Args:
        name: of the file; None: nothing was kept.
        used: whether this makes it the most recently used one.
    """
    folder = engine_folder()
    if folder is None or name is None:
        return None
    path = folder / name
    try:
        stored = path.read_bytes()
        if used:
            os.utime(path)  # how old it is decides what is thrown away
    except OSError:
        return None
    content = stored[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() == stored[:_DIGEST_BYTES]:
        return content
    _LOGGER.warning("%s is damaged and is made again.", path)
    return None


def store(name: str | None, content: bytes) -> None:
    """Keeps an artifact, whole or not at all; without a name or room for it nothing happens."""
    folder = engine_folder()
    if folder is None or name is None:
        return
    try:
        with written_whole(folder / name, keep_links=False) as path, path.open("wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)
        _prune(folder)
    except OSError as error:
        _LOGGER.info("%s can't be kept in %s: %s.", name, folder, error.strerror or error)


def _prune(folder: Path) -> None:
    for suffix, kept in _KEPT.items():
        for path in _by_age(folder, suffix)[kept:]:
            path.unlink(missing_ok=True)


def _by_age(folder: Path, suffix: str) -> list[Path]:
    """The latest first; what another process removes meanwhile is left out."""
    found = []
    for path in folder.glob(f"*{suffix}"):
        with contextlib.suppress(OSError):
            found.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(found, reverse=True)]
