"""A catalog row -> its verified file on this machine, and the file that loads fastest."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from slowfast_zoo.errors import CheckpointError, DownloadError
from slowfast_zoo.files import hash_file
from slowfast_zoo.weights.catalog.entry import Dialect, WeightEntry
from slowfast_zoo.weights.download.digest import Digest
from slowfast_zoo.weights.download.download import Fetched, fetch

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A local file of a row, ready for ``read_checkpoint``."""

    path: Path
    """The file; ours where it could be kept, else the publisher's."""
    dialect: Dialect
    """Whose names it uses."""
    provenance: dict[str, object]
    """Where it comes from, for the model that is built with it."""


def fetch_weights(
    entry: WeightEntry, *, folder: Path | None = None, mirrors_only: bool = False, progress: bool = True
) -> Fetched:
    """The publisher's file of a row, from the cache or the first source that has it.

    Args:
        entry: a row of the catalog with URLs; what ships in the package isn't fetched.
        folder: where to put it instead of the cache; such a folder can serve as a mirror elsewhere.
        mirrors_only: whether to leave the publisher's servers unasked.
        progress: whether to show a bar on a terminal.

    Raises:
        DownloadError: no source gave the right file.
        OfflineError: the network would be needed and may not be used.
    """
    return fetch(
        entry.urls,
        filename=entry.cache_name,
        digest=entry.digest,
        folder=folder,
        mirrors_only=mirrors_only,
        progress=progress,
    )


def prepare_weights(entry: WeightEntry, *, progress: bool = True) -> Prepared:
    """A row's weights, converted: from the cache, a mirror, the Hub repository of the row, its publisher.

    Args:
        entry: a row of the catalog.
        progress: whether to show a bar on a terminal.

    Raises:
        DownloadError: no source gave the right file.
        OfflineError: the network would be needed and may not be used.
        CheckpointError: the file is unsafe or isn't what the row says.
    """
    from slowfast_zoo.weights.saved.conversion import cached_conversion

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
            except (DownloadError, CheckpointError) as error:
                _LOGGER.warning("The copy on the Hub isn't used: %s", error)
            fetched = fetch_weights(entry, progress=progress)
    converted = cached_conversion(
        fetched.path, entry.model_spec, sha256=fetched.sha256, dialect=entry.dialect
    )
    return Prepared(
        path=converted,
        dialect=entry.dialect if converted == fetched.path else "slowfast_zoo",
        provenance=_provenance(entry, fetched.sha256, fetched.verified),
    )


def _provenance(entry: WeightEntry, sha256: str, verified: bool) -> dict[str, object]:
    return {
        "model": entry.model,
        "tag": entry.tag,
        "url": entry.urls[0] if entry.urls else None,
        "sha256": sha256,
        "verified": verified,
        "config": entry.config_name,
        "source": entry.source,
        "license": entry.license,
    }


def _embedded(entry: WeightEntry) -> Prepared:
    """The file inside this package.

    Raises:
        CheckpointError: the installation is damaged.
    """
    path = Path(__file__).parent / "catalog" / "embedded" / entry.filename
    sha256 = hash_file(path) if path.is_file() else "no file"
    if f"sha256:{sha256}" != entry.digest:
        raise CheckpointError(f"'{path}' isn't the file that belongs to this version; install it again.")
    return Prepared(path, entry.dialect, _provenance(entry, sha256, verified=True))


def _hub_copy(entry: WeightEntry) -> Prepared:
    """The converted copy at the commit that the row names.

    Raises:
        DownloadError: the Hub doesn't give it.
        CheckpointError: it is damaged, or another row's.
    """
    from slowfast_zoo.weights.saved.folder import CONFIG, WEIGHTS, read_config
    from slowfast_zoo.weights.saved.hub import locate

    folder = locate(str(entry.hub_repo), entry.hub_revision)
    config = read_config(folder / CONFIG)
    made_from = config.provenance
    same_row = (made_from.get("model"), made_from.get("tag")) == (entry.model, entry.tag)
    digest = entry.digest and Digest.parse(entry.digest)
    same_file = (
        not digest or digest.algorithm != "sha256" or str(made_from.get("sha256")).startswith(digest.digits)
    )
    if not same_row or not same_file or config.model_spec != entry.model_spec:
        raise CheckpointError(f"'{entry.hub_repo}' isn't a copy of {entry.model}, {entry.tag}.")
    if not (folder / WEIGHTS).is_file():
        raise CheckpointError(f"'{entry.hub_repo}' has no {WEIGHTS}.")
    hub = {"hub": f"{entry.hub_repo}@{entry.hub_revision}"}
    return Prepared(folder / WEIGHTS, "slowfast_zoo", made_from | hub)
