"""Saved models from anywhere, and to the Hugging Face Hub.

Settings are those of the Hub's own client: ``HF_ENDPOINT``, ``HF_HOME``, ``HF_TOKEN``, ``HF_HUB_OFFLINE``;
``SLOWFAST_ZOO_OFFLINE`` forbids the Hub too.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast_zoo import __version__
from slowfast_zoo.errors import (
    CheckpointError,
    DownloadError,
    InputError,
    OfflineError,
    text_without_secrets,
    without_secrets,
)
from slowfast_zoo.files import kind_of, read_text
from slowfast_zoo.network.slowfast import SlowFast, as_labels, check_labels
from slowfast_zoo.runtime.packages import require
from slowfast_zoo.weights.catalog import REPO_ID, list_weights
from slowfast_zoo.weights.download.download import is_offline
from slowfast_zoo.weights.download.transfer import unusable_settings
from slowfast_zoo.weights.saved.card import FOLDER_SOURCE, model_card
from slowfast_zoo.weights.saved.file import LocalWeights, open_saved
from slowfast_zoo.weights.saved.folder import (
    CARD,
    CONFIG,
    WEIGHTS,
    expanded_or_refused,
    open_folder,
    save_pretrained,
)

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_LOGGER = logging.getLogger(__name__)

_PATH = re.compile(r"\.{0,2}[/\\].*|\.{1,2}|~.*|[A-Za-z]:[/\\].*|.*\.safetensors", re.DOTALL)


def from_pretrained(
    source: str | Path,
    *,
    revision: str | None = None,
    num_classes: int | None = None,
    labels: Sequence[str] | None = None,
) -> SlowFast:
    """A saved model as float32, in eval mode, with its spec, clip spec, labels and provenance.

    Args:
        source: what ``save_pretrained`` or a training wrote: a folder or a file as a ``Path``, as a str that
            begins with "/", "./", "../" or "~", or as the name of a ``.safetensors`` file; or a Hub
            repository as a str "owner/name".
        revision: commit, tag or branch of the Hub repository; None: its main branch.
        num_classes: another number than the saved one gives a fresh classifier, 0 a model that returns
            pooled features.
        labels: one name per class. Names that differ from the saved ones mean other classes, and a fresh
            classifier; the same ones in another order or spelling are refused. ``model.labels = names`` keeps
            the classifier under other names.

    Raises:
        InputError: a source that is none of these, or arguments that contradict each other or the classes.
        MissingDependencyError: a repository is named, and huggingface-hub isn't installed.
        DownloadError: the Hub doesn't give the files.
        OfflineError: they aren't in the Hub's cache, and the network may not be used.
        CheckpointError: a file is missing, damaged, of a newer format, or doesn't fit the others.
    """
    labels = as_labels(labels)  # read once, and before anything is downloaded
    if num_classes is not None:
        check_labels(labels, num_classes)
    path = locate(source, revision)
    if path is None:
        weights = open_repository(str(source), revision)
    else:
        weights = open_saved(path) if kind_of(path) == "file" else open_folder(path)
    return weights.build(num_classes=num_classes, labels=labels)


def push_to_hub(
    model: SlowFast,
    repo_id: str,
    *,
    metrics: Mapping[str, float | str] | None = None,
    private: bool | None = None,
    replace_card: bool = False,
    commit_message: str | None = None,
) -> str:
    """Saves a model in a Hub repository, in one commit; the hash of that commit comes back.

    Args:
        model: what to save.
        repo_id: "owner/name"; made when it isn't there.
        metrics: as in ``save_pretrained``.
        private: whether a new repository is private; None: the account's default.
        replace_card: whether to write over a model card that the repository has.
        commit_message: title of the commit.

    Raises:
        InputError: a model that can't be saved, or no repository name.
        MissingDependencyError: huggingface-hub isn't installed.
        DownloadError: the Hub doesn't take it.
        OfflineError: the network may not be used.
    """
    check_repo_id(repo_id)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, metrics=metrics)
        return push_folder(
            Path(folder), repo_id, private=private, replace_card=replace_card, commit_message=commit_message
        )


def push_folder(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    replace_card: bool = False,
    commit_message: str | None = None,
) -> str:
    """The hash of the commit that holds a saved folder's files.

    Args:
        folder: what ``save_pretrained`` wrote; a model card edited since is pushed as it is.
        repo_id, private, replace_card, commit_message: as in ``push_to_hub``.

    Raises:
        CheckpointError: the folder isn't a whole saved model.
        InputError: as in ``push_to_hub``; or the card can't be read as text.
        MissingDependencyError, DownloadError, OfflineError: as in ``push_to_hub``.
    """
    check_repo_id(repo_id)
    config = open_folder(folder).config
    if is_offline():
        raise OfflineError(f"'{repo_id}' can't be written: offline mode forbids the network.")
    card = model_card(config, FOLDER_SOURCE)
    if (folder / CARD).is_file():
        card = _text_of(folder / CARD)
    if card.replace("\r\n", "\n") == model_card(config, FOLDER_SOURCE):
        card = model_card(config, f'"{repo_id}"')
    contents: dict[str, bytes | Path] = {WEIGHTS: folder / WEIGHTS, CONFIG: folder / CONFIG}
    with _client(repo_id) as api:
        from huggingface_hub import CommitOperationAdd

        api.create_repo(repo_id, private=private, exist_ok=True)
        if replace_card or not api.file_exists(repo_id, CARD):
            contents[CARD] = card.encode("utf-8")
        commit = api.create_commit(
            repo_id,
            [
                CommitOperationAdd(name, str(content) if isinstance(content, Path) else content)
                for name, content in contents.items()
            ],
            commit_message=commit_message or f"Save a model with slowfast_zoo {__version__}",
        )
    return str(commit.oid)


def open_repository(repo_id: str, revision: str | None = None) -> LocalWeights:
    """A saved model in a Hub repository, read. A copy in the Hub's cache that is damaged is fetched again.

    Raises:
        MissingDependencyError, DownloadError, OfflineError, CheckpointError: as in ``from_pretrained``.
    """
    known = _is_cached(repo_id, revision)
    folder = _snapshot(repo_id, revision)
    try:
        return open_folder(folder)
    except CheckpointError as error:
        if not known:
            raise
        damage = error.saying(str(error))  # which keeps no file open
    _LOGGER.warning("The copy of '%s' in the Hub's cache can't be used: %s", repo_id, damage)
    try:
        return open_folder(_snapshot(repo_id, revision, anew=True))
    except (CheckpointError, DownloadError) as error:
        raise damage.saying(
            f"{damage} It is a copy of '{repo_id}' in the Hub's cache, and no better one was fetched:"
            f" delete '{folder.parents[1]}', and load it again online."
        ) from error


def locate(source: str | Path, revision: str | None = None) -> Path | None:
    """The local folder or file that a source of ``from_pretrained`` names; None: it is a Hub repository.

    Raises:
        InputError: it is none of these, or a path with a revision; or the revision is no name of one.
    """
    if revision is not None and (not isinstance(revision, str) or not revision):
        raise InputError(
            f"revision is {revision!r:.60}; accepted: a commit, tag or branch as a str, or None for the main"
            " branch."
        )
    if isinstance(source, Path) or (isinstance(source, str) and _PATH.fullmatch(source)):
        if revision is not None:
            name = text_without_secrets(str(source))
            raise InputError(f"A revision belongs to a Hub repository; '{name}' is a path.")
        return expanded_or_refused(source)
    if not isinstance(source, str) or not REPO_ID.fullmatch(source):
        name, given = text_without_secrets(str(source)), text_without_secrets(repr(source))
        raise InputError(
            f"from_pretrained({given}) is no path and no Hub repository: give a folder or file as"
            f" Path({name!r}) or './{name}', a Hub repository as 'owner/name'."
        )
    return None


def check_repo_id(repo_id: str) -> None:
    """Refuses what can't be a Hub repository.

    Raises:
        InputError: it isn't "owner/name".
    """
    if not isinstance(repo_id, str) or not REPO_ID.fullmatch(repo_id):
        given = text_without_secrets(repr(repo_id))
        raise InputError(f"A Hub repository is named 'owner/name', got {given}.")


def _text_of(card: Path) -> str:
    try:
        return read_text(card)
    except UnicodeDecodeError as error:
        raise InputError(f"'{card}' isn't UTF-8 text: save it as UTF-8, as the Hub shows it.") from error
    except OSError as error:
        raise InputError(f"'{card}' can't be read: {error.strerror or error}.") from error


def _is_cached(repo_id: str, revision: str | None) -> bool:
    """Whether the Hub's cache has the files already."""
    with _client(repo_id, revision):
        from huggingface_hub import try_to_load_from_cache

        files = [try_to_load_from_cache(repo_id, name, revision=revision) for name in (CONFIG, WEIGHTS)]
    return all(isinstance(file, str) for file in files)


def _snapshot(repo_id: str, revision: str | None, *, anew: bool = False) -> Path:
    """The folder in the Hub's cache with the files of one commit, ``anew``: fetched whatever is there."""
    offline = is_offline()
    with _client(repo_id, revision) as api:
        from huggingface_hub import errors

        folder = Path(
            api.snapshot_download(
                repo_id,
                revision=revision,
                allow_patterns=[CONFIG, WEIGHTS],
                force_download=anew,
                local_files_only=offline,
            )
        )
        # Without a network the client takes what an interrupted download left for the whole.
        if missing := [name for name in (CONFIG, WEIGHTS) if kind_of(folder / name) != "file"]:
            if offline:
                raise errors.LocalEntryNotFoundError(f"the cache has no {missing[0]}")
            api.repo_info(repo_id, revision=revision)  # whether it is the network; else the folder is judged
    return folder


@contextmanager
def _client(repo_id: str, revision: str | None = None) -> Iterator[HfApi]:
    """The Hub's client, whose errors become ours."""
    require("huggingface_hub", "huggingface-hub")
    import httpx2
    from huggingface_hub import HfApi, constants, errors

    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT
    api = HfApi(endpoint=endpoint, library_name="slowfast_zoo", library_version=__version__)
    endpoint = without_secrets(endpoint)  # in messages
    name = f"'{repo_id}'" if revision is None else f"'{repo_id}' at revision '{revision}'"
    try:
        yield api
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        if is_offline() or isinstance(error, errors.OfflineModeIsEnabled):
            raise OfflineError(
                f"{name} is not complete in the Hub's cache ({constants.HF_HUB_CACHE}), and offline mode"
                f" forbids the network. Load it once online, or copy that cache.{_other_reading(repo_id)}"
            ) from error
        raise DownloadError(
            f"{name} could not be fetched from {endpoint}: {_reason(error)}. A folder of this machine is"
            " given as Path(...)."
        ) from error
    except errors.GatedRepoError as error:
        raise DownloadError(
            f"{name} is gated: ask for access at {endpoint}/{repo_id}, then set HF_TOKEN."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise DownloadError(
            f"{endpoint} has no repository '{repo_id}', or it is private and the token (HF_TOKEN) doesn't"
            f" open it.{_other_reading(repo_id)}"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise DownloadError(f"The repository '{repo_id}' has no revision '{revision}'.") from error
    except errors.HfHubHTTPError as error:
        hint = " Check the token (HF_TOKEN)." if error.response.status_code in (401, 403) else ""
        raise DownloadError(
            f"{endpoint} answered {error.response.status_code} for {name}: {_reason(error)}.{hint}"
        ) from error
    except (ImportError, httpx2.InvalidURL) as error:
        settings = unusable_settings(error, "HF_ENDPOINT")
        raise DownloadError(f"{name} could not be fetched from {endpoint}: {settings}.") from None
    except (httpx2.HTTPError, OSError, RuntimeError, ValueError) as error:
        raise DownloadError(f"{name} at {endpoint} failed: {_reason(error)}.") from error


def _reason(error: BaseException) -> str:
    """The innermost cause in one line, without secrets: the client wraps what happened in general advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    text = re.sub(r"\bdata:\S+", "data:...", text)
    return text_without_secrets(text).rstrip(".")


def _other_reading(repo_id: str) -> str:
    if any(entry.tag == repo_id for entry in list_weights()):
        return f" A weight tag goes to create_model(name, weights='{repo_id}')."
    kind = kind_of(Path(repo_id))
    return f" The {kind} of that name is Path('{repo_id}')." if kind else ""
