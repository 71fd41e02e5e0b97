"""A catalogue row -> its verified file on this machine."""

from __future__ import annotations

from pathlib import Path

from slowfast_zoo.weights.download import Fetched, fetch
from slowfast_zoo.weights.entry import WeightEntry


def fetch_weights(entry: WeightEntry, *, folder: Path | None = None, progress: bool = True) -> Fetched:
    """The publisher's file of a row, from the cache or the first source that has it.

    Args:
        entry: a row of the catalogue.
        folder: where to put it instead of the cache; such a folder can serve as a mirror elsewhere.
        progress: whether to show a bar on a terminal.

    Raises:
        DownloadError: no source gave the right file.
        OfflineError: the network would be needed and may not be used.
    """
    return fetch(entry.urls, filename=entry.cache_name, digest=entry.digest, folder=folder, progress=progress)
