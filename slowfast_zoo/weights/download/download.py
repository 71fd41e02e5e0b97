"""From the URLs of a weight to a verified local file: cache, lock, mirrors, offline.

A file counts as present only under its final name, and it gets that name by an atomic rename after
its hash was checked. Beside it lies a stamp (size, modification time, SHA-256), so that later starts
needn't hash it again but notice when it was changed.

Settings, read when they are used:
    SLOWFAST_ZOO_CACHE: folder of the files; default ``slowfast_zoo`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
    SLOWFAST_ZOO_OFFLINE, HF_HUB_OFFLINE: "1", "true", "yes" or "on" forbid the network.
    SLOWFAST_ZOO_MIRROR: "https://from=https://to" pairs and folders, separated by commas.
    TORCH_HOME: its ``hub/checkpoints`` may hold a file already; taken from there if its hash is right.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from slowfast_zoo.errors import DownloadError, OfflineError, without_secrets
from slowfast_zoo.files import expanded, hash_file, kind_of, lacks_locks
from slowfast_zoo.weights.catalog.entry import WeightEntry
from slowfast_zoo.weights.download.digest import Digest, Stamp
from slowfast_zoo.weights.download.transfer import (
    announced_bytes,
    companions,
    discard,
    part_of,
    parts_of,
    transfer,
)

_LOGGER = logging.getLogger(__name__)

_FILENAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@=-]{0,199}")
_RESERVED_ENDINGS = (".part", ".part.json", ".stamp.json", ".lock")


@dataclasses.dataclass(frozen=True)
class Fetched:
    """A complete local file and how far it can be trusted."""

    path: Path
    """The file."""
    url: str | None
    """URL or file that it was copied from; None when it was put there by hand."""
    sha256: str
    """64 hex digits of the file's content."""
    verified: bool
    """Whether its hash is one that the publisher gave; False: only compared with its first download."""


@dataclasses.dataclass(frozen=True)
class _Order:
    """What was asked for: the same for every source that is tried."""

    urls: tuple[str, ...]
    target: Path
    digest: str | None
    mirrors_only: bool
    own_parts: str | None = None
    """Keeps this process's parts apart from those of others, where no lock does."""

    def wanted(self) -> Digest | None:
        """The publisher's digest, or the one recorded at the first download."""
        if self.digest is not None:
            return Digest.parse(self.digest)
        stamp = Stamp.read(self.target)
        return Digest("sha256", stamp.sha256) if stamp else None

    def by_hand(self) -> str:
        """How to get the file without this library."""
        sizes = [size for part in parts_of(self.target) if (size := announced_bytes(part)) is not None]
        facts = [f"{size} bytes" for size in sizes[:1]]
        facts += [str(self.wanted() or "no hash is known")]
        urls = " or ".join(map(without_secrets, self.urls))
        return f"Fetch {urls} by hand ({', '.join(facts)}) and put it at {self.target}"


def cache_dir() -> Path:
    """The folder of downloaded files, which need not exist yet.

    Raises:
        DownloadError: no folder is set and this user has no home.
    """
    return _folder_setting("SLOWFAST_ZOO_CACHE", "slowfast_zoo")


def is_offline() -> bool:
    """Whether a setting forbids the network."""
    names = ("SLOWFAST_ZOO_OFFLINE", "HF_HUB_OFFLINE")
    return any(os.environ.get(name, "").strip().lower() in ("1", "true", "yes", "on") for name in names)


def fetch(
    urls: Sequence[str],
    *,
    filename: str,
    digest: str | None = None,
    folder: Path | None = None,
    mirrors_only: bool = False,
    progress: bool = True,
) -> Fetched:
    """The whole file behind ``urls``, from the first source that has it, verified if a digest is known.

    Sources: the cache, without any network call; mirror folders and torch.hub's folder; mirrors; the URLs.
    Of processes that ask at once one downloads; an interrupted download is continued by the next call.
    Where the file system has no locks, each downloads for itself, from the start.

    Args:
        urls: where the file is published, best first; https only.
        filename: its name in the cache, which must be unique there (publishers reuse theirs).
        digest: "sha256:<64 hex>", "sha1:<40 hex>", or either with "-prefix" and at least 8 digits; None when
            the publisher gives none: then what came first is recorded and checked ever after.
        folder: where to put it instead of the cache. A folder filled this way is a mirror folder.
        mirrors_only: whether to leave the URLs themselves unasked.
        progress: whether to show a bar on a terminal and in notebooks.

    Raises:
        DownloadError: no source gave the right file, it can't be stored, or ``filename`` isn't a plain name.
        OfflineError: the network would be needed and may not be used.
        InputError: ``digest`` is malformed.
    """
    _check_filename(filename)
    if digest is not None:
        Digest.parse(digest)
    folder = cache_dir() if folder is None else folder
    order = _Order((urls,) if isinstance(urls, str) else tuple(urls), folder / filename, digest, mirrors_only)
    try:
        _refuse_foreign_links(order.target, Stamp.path(order.target))
        found = _present(order)
        if found is None:
            folder.mkdir(parents=True, exist_ok=True)
            with _lock(order.target) as locked:
                if not locked:
                    order = dataclasses.replace(order, own_parts=uuid.uuid4().hex)
                # Whoever held the lock before us may have brought it.
                found = _present(order) or _obtain(order, progress)
    except DownloadError:
        raise
    except OSError as error:
        raise _storage_error(order, error) from error
    return found


def fetch_weights(
    entry: WeightEntry, *, folder: Path | None = None, mirrors_only: bool = False, progress: bool = True
) -> Fetched:
    """The publisher's file of a row, from the cache or the first source that has it.

    The row is one with URLs: what ships in the package isn't fetched. Arguments and errors: ``fetch``.
    """
    return fetch(
        entry.urls,
        filename=entry.cache_name,
        digest=entry.digest,
        folder=folder,
        mirrors_only=mirrors_only,
        progress=progress,
    )


def _present(order: _Order) -> Fetched | None:
    """The file under its final name, if it is there and right."""
    target = order.target
    if not target.exists():
        return None
    if not target.is_file():
        raise DownloadError(f"{target} is in the way: a file of that name is to be stored. Remove it")
    stat, stamp, wanted = target.stat(), Stamp.read(target), order.wanted()
    if stamp and stamp.describes(stat) and stamp.satisfies(order.digest):
        return Fetched(target, stamp.url, stamp.sha256, order.digest is not None)
    sha256 = hash_file(target)
    if wanted and wanted.differing(target, sha256):
        return None
    url = stamp.url if stamp and stamp.sha256 == sha256 else None
    with suppress(OSError):  # a shared cache may be read-only; then the file is hashed at each start
        Stamp(stat.st_size, stat.st_mtime_ns, sha256, order.digest, url).write(target)
    return Fetched(target, url, sha256, order.digest is not None)


def _obtain(order: _Order, progress: bool) -> Fetched:
    failures = []
    if order.target.exists():
        failures.append(f"the file there isn't the one with {order.wanted()}")
        _LOGGER.warning("%s isn't the file with %s: looking for that one", order.target, order.wanted())
    folders, mirrors = _mirrors()
    failures += [f"the mirror {folder} is not a folder" for folder in folders if kind_of(folder) != "folder"]
    for candidate in _local_copies(order, folders):
        try:
            return _copy(candidate, order)
        except DownloadError as error:
            failures.append(str(error))
    name = order.target.name
    if is_offline():
        reasons = "; ".join(["offline mode forbids the network", *failures])
        raise OfflineError(f"{name} is not in {order.target.parent}, and {reasons}. {order.by_hand()}.")
    for url, from_mirror in _remote_copies(order, mirrors):
        plain_http = from_mirror and url.startswith("http://")
        try:
            return _download(url, order, plain_http, progress)
        except DownloadError as error:
            failures.append(str(error))
    reasons = "; ".join(failures) or "no URL is known"
    raise DownloadError(f"{name} could not be fetched: {reasons}. {order.by_hand()}.")


def _copy(source: Path, order: _Order) -> Fetched:
    with _part(order, str(source)) as part:
        discard(part)
        try:
            original = source.open("rb")
        except OSError as error:
            raise DownloadError(f"{source} can't be read ({error.strerror})") from error
        with original, part.open("wb") as copy:
            shutil.copyfileobj(original, copy, 1 << 20)
        # A mirror folder that fetch() filled knows the hash of files whose publisher gives none.
        stamp = Stamp.read(source)
        return _accept(part, str(source), order, Digest("sha256", stamp.sha256) if stamp else None)


def _download(url: str, order: _Order, plain_http: bool, progress: bool) -> Fetched:
    source = without_secrets(url)
    with _part(order, url) as part:

        def bring() -> bool:
            return transfer(
                url,
                part,
                name=order.target.name,
                plain_http=plain_http,
                length_required=order.wanted() is None,
                progress=progress,
            )

        continued = bring()
        try:
            return _accept(part, source, order)
        except DownloadError:
            # The wrong bytes may be the earlier process's (a crashed machine): once more, from the start.
            if not continued:
                raise
        bring()
        return _accept(part, source, order)


def _accept(part: Path, source: str, order: _Order, recorded: Digest | None = None) -> Fetched:
    """Gives the complete part its final name, if its hash is right; else removes it."""
    target = order.target
    sha256 = hash_file(part)
    for wanted in filter(None, (order.wanted(), recorded)):
        given = wanted.differing(part, sha256)
        if given:
            size = part.stat().st_size
            discard(part)
            raise DownloadError(
                f"{source} gave {size} bytes with {wanted.algorithm} {given}, not the "
                + (f"published {wanted}" if order.digest else f"{wanted} recorded in {Stamp.path(target)}")
            )
    with part.open("r+b") as file:
        os.fsync(file.fileno())
    stat = part.stat()
    # The stamp goes first: a process killed in between leaves a stamp without its file, which is
    # harmless, and not a file without its origin.
    Stamp(stat.st_size, stat.st_mtime_ns, sha256, order.digest, source).write(target)
    part.replace(target)
    for other in (part, *(() if order.own_parts else parts_of(target))):
        discard(other)
    return Fetched(target, source, sha256, order.digest is not None)


def _local_copies(order: _Order, folders: Sequence[Path]) -> Iterator[Path]:
    """Existing files that may be the wanted one, in the order in which they are tried."""
    name, candidates = order.target.name, list[Path]()
    with suppress(DownloadError):  # nobody's folders: the file has one of its own
        candidates.append(cache_dir() / name)
    for folder in folders:
        candidates.append(folder / name)
        candidates += [folder / path for url in order.urls for path in _url_paths(url)]
    if order.digest:  # publishers reuse names, so a bare one proves nothing without a hash
        others = [*folders]
        with suppress(DownloadError):
            others.append(_folder_setting("TORCH_HOME", "torch") / "hub" / "checkpoints")
        names = [paths[-1].name for url in order.urls if (paths := _url_paths(url))]
        candidates += [folder / name for folder in others for name in names]
    for candidate in dict.fromkeys(candidates):
        if candidate != order.target and kind_of(candidate) == "file":
            yield candidate


def _url_paths(url: str) -> list[Path]:
    """Relative paths at which a folder may hold a URL's file: host/path and path; none if it would climb."""
    split = urlsplit(url)
    steps = [unquote(step) for step in split.path.split("/") if step]
    if not steps or any(step in (".", "..") or re.search(r"[/\\:\0]", step) for step in steps):
        return []
    return [Path(split.hostname or "_", *steps), Path(*steps)]


def _remote_copies(order: _Order, mirrors: Sequence[tuple[str, str]]) -> Iterator[tuple[str, bool]]:
    """(URL, whether it is on a mirror), in the order in which they are tried."""
    for url in order.urls:
        for origin, mirror in mirrors:
            if url.startswith(f"{origin}/"):
                yield mirror + url.removeprefix(origin), True
    for url in () if order.mirrors_only else order.urls:
        yield url, False


def _mirrors() -> tuple[list[Path], list[tuple[str, str]]]:
    """Mirror folders, and (from, to) pairs of URL beginnings without their last slash."""
    folders, pairs = [], []
    for entry in filter(None, map(str.strip, os.environ.get("SLOWFAST_ZOO_MIRROR", "").split(","))):
        pair = re.fullmatch(r"(https?://[^\s=]+?)/*=(https?://\S+?)/*", entry)
        if pair:
            pairs.append((pair[1], pair[2]))
        elif "://" in entry:
            raise DownloadError(
                f"SLOWFAST_ZOO_MIRROR has the entry '{without_secrets(entry)}': give 'https://from=https://to'"
                " or a folder, several separated by commas"
            )
        else:
            folders.append(expanded(entry))
    return folders, pairs


@contextmanager
def _lock(target: Path) -> Iterator[bool]:
    """Keeps others from fetching a file meanwhile; False where the file system has no locks."""
    from filelock import FileLock, Timeout

    # A lock of the operating system: a killed process can't leave it behind.
    # Whoever may write the folder may lock: in a shared cache the file is often another user's.
    lock = FileLock(target.with_name(target.name + ".lock"), mode=0o666)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _LOGGER.warning("Waiting for another process that is fetching %s", target.name)
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        if not lacks_locks(error):
            raise
        _LOGGER.warning(
            "%s has no locks: processes that fetch %s at once all bring it", target.parent, target.name
        )
        with suppress(OSError):
            Path(lock.lock_file).unlink()
    try:
        yield lock.is_locked
    finally:
        lock.release()


def _check_filename(filename: str) -> None:
    if not _FILENAME.fullmatch(filename) or filename.endswith(_RESERVED_ENDINGS):
        raise DownloadError(
            f"The file name {filename!r} can't be used in the cache: give a plain name, without folders, of "
            f"at most 200 letters, digits and '_.+@=-' that doesn't end in {', '.join(_RESERVED_ENDINGS)}."
        )


@contextmanager
def _part(order: _Order, source: str) -> Iterator[Path]:
    """Where the bytes of a source arrive; what is left there is continued by the next call."""
    part = part_of(order.target, source + (order.own_parts or ""))
    _refuse_foreign_links(*companions(part))
    try:
        yield part
    finally:
        if order.own_parts:
            discard(part)


def _refuse_foreign_links(*paths: Path) -> None:
    for path in paths:
        if not path.is_symlink():
            continue
        try:
            inside = path.resolve(strict=True).parent == path.parent.resolve()
        except (OSError, RuntimeError):  # links that lead nowhere, or round in a circle
            inside = False
        if not inside:
            raise DownloadError(f"{path} is a link that leads out of its folder: refused. Remove it")


def _folder_setting(variable: str, name: str) -> Path:
    base = os.environ.get(variable)
    try:
        if base:
            return Path(base).expanduser().absolute()
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / name
    except RuntimeError as error:
        raise DownloadError(f"This user has no home folder: set {variable} to a folder") from error


def _storage_error(order: _Order, error: OSError) -> DownloadError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        with suppress(OSError):  # a disk that a download has filled is given back
            for part in parts_of(order.target):
                discard(part)
    return DownloadError(
        f"{order.target.name} can't be stored in {order.target.parent}: {error.strerror or error}. Make room"
        f" there, or set SLOWFAST_ZOO_CACHE to a folder that can be written. {order.by_hand()}."
    )
