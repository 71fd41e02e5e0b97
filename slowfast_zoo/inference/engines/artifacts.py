"""What engines have compiled, kept on disk for the next process: one checked file per artifact.

The files are in the folder ``engines`` of the library's cache and can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from pathlib import Path

import torch

from slowfast_zoo import __version__
from slowfast_zoo.errors import DownloadError
from slowfast_zoo.inference.engines.folding import FoldedNetwork
from slowfast_zoo.weights.download.download import cache_dir

_LOGGER = logging.getLogger(__name__)

_KEPT = 8
"""Artifacts that stay, the most recently used ones; each is about as large as its model's weights."""

_DIGEST_BYTES = hashlib.sha256().digest_size


def digest(facts: object) -> str:
    """A name for what follows from these facts, as their ``repr`` says them, and this version."""
    return hashlib.sha256(repr((__version__, facts)).encode()).hexdigest()[:32]


def fingerprint(module: FoldedNetwork, *facts: object) -> str:
    """A name for what is compiled from this network under these facts.

    Args:
        module: every tensor counts, and the spec, which decides what is done with them.
        facts: whatever else decides the result: shape, the engine's version, threads, the processor.
    """
    own = (__version__, torch.__version__, module.spec, type(module).__name__)
    digest = hashlib.sha256(repr((own, facts)).encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def engine_folder() -> Path | None:
    """Where compiled artifacts are kept; None when this user has no cache folder that can be written."""
    with contextlib.suppress(OSError, DownloadError):
        folder = cache_dir() / "engines"
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    return None


def load(name: str) -> bytes | None:
    """A kept artifact; None when there is none, or it is damaged."""
    folder = engine_folder()
    if folder is None:
        return None
    path = folder / name
    try:
        stored = path.read_bytes()
        os.utime(path)  # how old it is decides what is thrown away
    except OSError:
        return None
    content = stored[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() == stored[:_DIGEST_BYTES]:
        return content
    _LOGGER.warning("%s is damaged and is made again.", path)
    return None


def store(name: str, content: bytes) -> None:
    """Keeps an artifact, whole or not at all; without room for it nothing happens."""
    folder = engine_folder()
    if folder is None:
        return
    part = None
    try:
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as file:
            part = Path(file.name)
            file.write(hashlib.sha256(content).digest())
            file.write(content)
        part.replace(folder / name)
        _prune(folder)
    except OSError as error:
        _LOGGER.info("%s can't be kept in %s: %s.", name, folder, error.strerror or error)
        if part is not None:
            with contextlib.suppress(OSError):
                part.unlink()


def _prune(folder: Path) -> None:
    files = [path for path in folder.iterdir() if path.suffix in (".blob", ".onnx")]  # large ones
    files.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in files[_KEPT:]:
        path.unlink(missing_ok=True)
