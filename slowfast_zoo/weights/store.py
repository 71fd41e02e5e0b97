"""A catalogue row -> its verified file on this machine; a file -> the row that it is."""

from __future__ import annotations

from pathlib import Path

from slowfast_zoo.errors import CheckpointError, InputError, quoted
from slowfast_zoo.weights.catalog import get_weights, list_weights
from slowfast_zoo.weights.digest import Digest, hash_file
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
    return fetch(
        entry.urls, filename=entry.cache_name, digest=entry.digest, folder=folder, progress=progress
    )


def row_of_file(model: str, path: Path) -> WeightEntry:
    """The row of a model that a checkpoint file is: by its hash, or the only contract that it fits.

    A file in our own names says no more than the model's name does: it is the default row's network.

    Raises:
        CheckpointError: it is unsafe, fits no row, or several that mean different networks or inputs.
        InputError: a folder.
    """
    from slowfast_zoo.weights.checkpoint import match_rows
    from slowfast_zoo.weights.dialects import detect_dialect, strip_wrappers
    from slowfast_zoo.weights.reading import read_checkpoint

    if path.is_dir():
        raise InputError(f"'{path}' is a folder; from_pretrained reads folders.")
    tensors = strip_wrappers(read_checkpoint(path).tensors)
    try:
        dialect = detect_dialect(tensors)
    except CheckpointError as error:
        raise CheckpointError(f"'{path}': {error}") from None
    if dialect == "slowfast_zoo":
        return get_weights(model)
    fitting = match_rows(tensors, dialect, list_weights(model))
    if not fitting:
        raise CheckpointError(
            f"'{path}' has {dialect} names and fits none of the {dialect} weights of '{model}'; a network of"
            " another kind is loaded with load_checkpoint(SlowFast(spec), path)."
        )
    sha256 = hash_file(path)
    for entry in fitting:
        if entry.digest and Digest.parse(entry.digest).differing(path, sha256) is None:
            return entry
    if len({(entry.model_spec, entry.clip_spec) for entry in fitting}) > 1:
        raise CheckpointError(
            f"'{path}' fits several weights of '{model}' whose networks or input contracts differ:"
            f" {quoted(entry.tag for entry in fitting)}. Choose one with entry = get_weights('{model}', tag),"
            " then m = load_checkpoint(SlowFast(entry.model_spec), path); m.clip_spec = entry.clip_spec."
        )
    return fitting[0]
