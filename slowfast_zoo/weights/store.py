"""A catalog row -> its verified file on this machine, and the file that loads fastest."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from slowfast_zoo.errors import CheckpointError, DownloadError, InputError, MissingDependencyError, quoted
from slowfast_zoo.files import expanded, hash_file, kind_of
from slowfast_zoo.spec import ModelSpec
from slowfast_zoo.weights.catalog import get_weights, list_models, list_weights
from slowfast_zoo.weights.catalog.entry import WeightEntry
from slowfast_zoo.weights.checkpoint.loading import (
    check_head,
    identify,
    match_rows,
    published_rows,
    read_canonical,
    spec_in_file,
    warn_of_slow_frames,
)
from slowfast_zoo.weights.checkpoint.reading import Checkpoint, read_checkpoint
from slowfast_zoo.weights.download.digest import Digest
from slowfast_zoo.weights.download.download import fetch_weights
from slowfast_zoo.weights.saved.config import SavedConfig, config_in
from slowfast_zoo.weights.saved.file import LocalWeights, converted
from slowfast_zoo.weights.saved.hub import open_repository

_LOGGER = logging.getLogger(__name__)


def local_weights(entry: WeightEntry, *, progress: bool = True) -> LocalWeights:
    """A row's weights: from the cache, a mirror, the Hub repository of the row, its publisher.

    Raises:
        DownloadError: no source gave the right file.
        OfflineError: the network would be needed and may not be used.
        CheckpointError: the file is unsafe or isn't what the row says.
    """
    if not entry.urls:
        return _embedded(entry)
    if entry.hub_repo is None:
        fetched = fetch_weights(entry, progress=progress)
    else:
        try:
            fetched = fetch_weights(entry, mirrors_only=True, progress=progress)
        except DownloadError:
            try:
                return _hub_copy(entry)
            except (DownloadError, CheckpointError, MissingDependencyError) as error:
                _LOGGER.warning("The copy on the Hub isn't used: %s", error)
            fetched = fetch_weights(entry, progress=progress)
    config = _config(entry, fetched.sha256, fetched.verified)
    return converted(fetched.path, config, sha256=fetched.sha256, dialect=entry.dialect)


def open_file(
    path: Path,
    model: str | None = None,
    *,
    like: WeightEntry | str | None = None,
    meant: WeightEntry | None = None,
    headless: bool = True,
) -> LocalWeights:
    """A weights file of anybody's, read: what it says, else the row that it is or stands for.

    A saved file of this library says everything itself. Any other takes network and input of a row; class
    names only if it is exactly that row's file. What names and shapes can't tell of a file that is no row's
    own and that nobody gave a ``like`` for (alpha, frames, which frames are slow) is a warning.

    Args:
        path: the file.
        model: whose weights it has to be; None: told from the file.
        like: the row whose network and input it has, where the file doesn't say; a model's name: the one of
            its rows that the file fits, if none its default one; None: told from the file. Rows that differ
            in network or input are refused where it fits several of them.
        meant: the model's row that it stands for where names and shapes leave several, or tell of none.
        headless: whether it may be one without a classifier, which doesn't say so itself.

    Raises:
        CheckpointError: it is unsafe or damaged, or another model's, or fits no row, or several.
        InputError: a folder, or ``like`` for a file that says itself what it is.
    """
    path = expanded(path)
    if kind_of(path) == "folder":
        raise InputError(f"'{path}' is a folder; from_pretrained reads folders.")
    checkpoint = read_checkpoint(path)
    config = config_in(checkpoint)
    if config is not None:
        if like is not None:
            raise InputError(
                f"'{path}' says itself which network and input it has; leave out like= (--like)."
            )
        _check_model(config, model, path)
        return LocalWeights.read(checkpoint, config)
    if isinstance(like, WeightEntry):
        entry, spec = like, spec_in_file(checkpoint, like.model_spec)
    elif like is not None and not match_rows(checkpoint, list_weights(like)):
        entry = get_weights(like)
        spec = spec_in_file(checkpoint, entry.model_spec)
    else:
        entry, spec = identify(like or model or _only_model(checkpoint), checkpoint, meant)
    tensors = read_canonical(checkpoint, spec)  # before the hash: what doesn't fit isn't read
    if not headless:
        check_head(spec, path)
    published = checkpoint.dialect != "slowfast_zoo" and bool(published_rows(checkpoint, [entry]))
    if not published and like is None:
        _LOGGER.warning(
            "%s doesn't say what its shapes can't tell; taken from %s:%s are alpha %d, %d frames, %s slow"
            " frames, %s, and the clip spec. If it was trained otherwise, give like= (--like), or load it"
            " into SlowFast(spec) with load_checkpoint and set its clip_spec; save_pretrained keeps"
            " the answer.",
            *(path, entry.model, entry.tag, spec.alpha, spec.num_frames, spec.slow_sampling, spec.activation),
        )
    warn_of_slow_frames(checkpoint, spec)
    provenance = {
        "model": entry.model,
        "tag": entry.tag if published else None,
        "file": path.name,
        "sha256": checkpoint.sha256,
    }
    if published or like is not None:
        provenance |= {"source": entry.source, "license": entry.license}
    config = SavedConfig(
        model_spec=spec,
        clip_spec=entry.clip_spec,
        labels=entry.labels if published else None,
        provenance=provenance,
    )
    return LocalWeights(path, tensors, config, published)


def _check_model(config: SavedConfig, model: str | None, path: Path) -> None:
    """Refuses a saved file of another model than the named one."""
    said = config.provenance.get("model")
    if model is None or said == model:
        return
    kinds = {_kind(row.model_spec) for row in list_weights(model)}
    if said in list_models() or _kind(config.model_spec) not in kinds:
        what = (
            f"a '{said}'" if said in list_models() else f"a network of its own ({_kind(config.model_spec)})"
        )
        raise CheckpointError(
            f"'{path}' holds {what}, not a '{model}'; from_pretrained(Path({str(path)!r})) takes it as it is."
        )


def _kind(spec: ModelSpec) -> str:
    """What no training changes, in words."""
    return f"depths {spec.depth} and {spec.fast_depth}, base_width {spec.base_width}"


def _only_model(checkpoint: Checkpoint) -> str:
    """The only model of the catalog that a file can be: by its hash, else by names and shapes."""
    fitting = match_rows(checkpoint, list_weights())
    models = list(dict.fromkeys(row.model for row in published_rows(checkpoint, fitting) or fitting))
    if len(models) != 1:
        what = f"may be {quoted(models)}" if models else "is no network of the catalog"
        raise CheckpointError(
            f"'{checkpoint.path}' {what}; say which one is meant: create_model(name, weights=Path(file)),"
            " on the command line --like NAME; where that can't be said, take the folder that slowfast-zoo"
            " convert FILE FOLDER --like NAME writes."
        )
    return models[0]


def _config(entry: WeightEntry, sha256: str, verified: bool) -> SavedConfig:
    provenance = {
        "model": entry.model,
        "tag": entry.tag,
        "url": entry.urls[0] if entry.urls else None,
        "sha256": sha256,
        "verified": verified,
        "config": entry.config_name,
        "source": entry.source,
        "license": entry.license,
    }
    return SavedConfig(
        model_spec=entry.model_spec, clip_spec=entry.clip_spec, labels=entry.labels, provenance=provenance
    )


def _embedded(entry: WeightEntry) -> LocalWeights:
    """The file inside this package; refused when the installation is damaged."""
    path = Path(__file__).parent / "catalog" / "embedded" / entry.filename
    sha256 = hash_file(path) if path.is_file() else "no file"
    if f"sha256:{sha256}" != entry.digest:
        raise CheckpointError(f"'{path}' isn't the file that belongs to this version; install it again.")
    state = read_canonical(read_checkpoint(path, dialect=entry.dialect), entry.model_spec)
    return LocalWeights(path, state, _config(entry, sha256, verified=True), published=True)


def _hub_copy(entry: WeightEntry) -> LocalWeights:
    """The converted copy at the commit that the row names; refused when it is damaged, or another row's."""
    copy = open_repository(str(entry.hub_repo), entry.hub_revision)
    config, made_from = copy.config, copy.config.provenance
    same_row = (made_from.get("model"), made_from.get("tag")) == (entry.model, entry.tag)
    digest = entry.digest and Digest.parse(entry.digest)
    same_file = (
        not digest or digest.algorithm != "sha256" or str(made_from.get("sha256")).startswith(digest.digits)
    )
    if not same_row or not same_file or config.model_spec != entry.model_spec:
        raise CheckpointError(f"'{entry.hub_repo}' isn't a copy of {entry.model}, {entry.tag}.")
    origin = made_from | {"hub": f"{entry.hub_repo}@{entry.hub_revision}"}
    config = dataclasses.replace(config, clip_spec=entry.clip_spec, labels=entry.labels, provenance=origin)
    return dataclasses.replace(copy, config=config, published=True)
