"""A checkpoint file -> the catalog row that it is, or the only one that it can stand for."""

from __future__ import annotations

import json
from pathlib import Path

from slowfast_zoo.errors import CheckpointError, InputError, quoted
from slowfast_zoo.files import hash_file
from slowfast_zoo.spec import ModelSpec
from slowfast_zoo.weights.catalog import get_weights, list_weights
from slowfast_zoo.weights.catalog.entry import WeightEntry
from slowfast_zoo.weights.checkpoint.dialects import detect_dialect, strip_wrappers
from slowfast_zoo.weights.checkpoint.loading import match_rows, spec_in_file
from slowfast_zoo.weights.checkpoint.reading import read_checkpoint
from slowfast_zoo.weights.download.digest import Digest


def identify(model: str, path: Path) -> tuple[WeightEntry, ModelSpec]:
    """The row of a model that a file is, and the network in the file, whose classes may be others.

    A published file is known by its hash. Any other is taken for the publisher's row that it fits if
    that leaves one network and one clip spec. A file in our own names is the network that its header
    says, or the model's default one.

    Args:
        model: a model of the catalog.
        path: the file.

    Raises:
        CheckpointError: it is unsafe, fits no row, or several that mean different networks or inputs.
        InputError: a folder.
    """
    if path.is_dir():
        raise InputError(f"'{path}' is a folder; from_pretrained reads folders.")
    checkpoint = read_checkpoint(path)
    tensors = strip_wrappers(checkpoint.tensors)
    try:
        dialect = detect_dialect(tensors)
    except CheckpointError as error:
        raise CheckpointError(f"'{path}': {error}") from None
    if dialect == "slowfast_zoo":
        entry, header = get_weights(model), checkpoint.meta.get("model_spec")
        if isinstance(header, str):
            return entry, ModelSpec.from_dict(json.loads(header))
        return entry, spec_in_file(tensors, entry.model_spec, dialect)
    fitting = match_rows(tensors, dialect, list_weights(model))
    if not fitting:
        raise CheckpointError(
            f"'{path}' has {dialect} names and fits none of the {dialect} weights of '{model}'; a network of"
            " another kind is loaded with load_checkpoint(SlowFast(spec), path)."
        )
    published = _published(path, fitting)
    entry = published or fitting[0]
    spec = spec_in_file(tensors, entry.model_spec, dialect)
    if published is None and len({(row.model_spec, row.clip_spec) for row in fitting}) > 1:
        raise CheckpointError(
            f"'{path}' fits several weights of '{model}' whose networks or input contracts differ:"
            f" {quoted(row.tag for row in fitting)}. Choose one: entry = get_weights('{model}', tag), then"
            f" m = load_checkpoint(SlowFast(entry.model_spec.replace(num_classes={spec.num_classes})), path)"
            " and m.clip_spec = entry.clip_spec."
        )
    return entry, spec


def _published(path: Path, entries: list[WeightEntry]) -> WeightEntry | None:
    sha256 = hash_file(path)
    for entry in entries:
        if entry.digest and Digest.parse(entry.digest).differing(path, sha256) is None:
            return entry
    return None
