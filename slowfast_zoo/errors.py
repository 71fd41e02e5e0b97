"""Every exception of the library, and what builds sentences: the nearest name, text that can be shown.

Each class is also the built-in that a caller would catch, so ``except ValueError`` and
``except SlowFastZooError`` both work. Messages say what happened, what was given, what is
accepted or nearest, and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# What a terminal would obey or hide: control characters but line breaks and tabs, lone surrogates (file
# names that aren't UTF-8), and what turns the direction of the text.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")

_SCHEME = re.compile(r"[^:/?#@]*:/+|//+")
SCHEMES = (
    "https?|ftps?|sftp|scp|smb|davs?|wss?|s3a?|gs|gcs|az|abfss?|wasbs?|hdfs|hf"
    "|mms[ht]?|rtsps?|rtmps?|udp|rtp|srt|tcp"
)
"""Of addresses that are known also where they were made paths, which leaves them one slash; a pattern."""
_BEGIN = rf"(?<![a-z0-9+.-])(?:[a-z][a-z0-9+.-]{{0,30}}://|(?:{SCHEMES}):/)"
_ADDRESS = re.compile(rf"{_BEGIN}\S+?(?=[\])}}>'\".,;:]{{0,8}}(?:\s|$|{_BEGIN}))", re.IGNORECASE)


class SlowFastZooError(Exception):
    """Base of every error that the library raises on purpose."""


class SpecError(SlowFastZooError, ValueError):
    """A field of a ``ModelSpec`` or ``ClipSpec`` has a value that is not accepted."""


class InputError(SlowFastZooError, ValueError):
    """A tensor, array or argument does not fit the function that it was given to."""


class UnknownNameError(SlowFastZooError, LookupError):
    """A model, weight tag, engine or format of that name does not exist. Addresses lose their secrets."""

    def __init__(self, message: str) -> None:
        super().__init__(text_without_secrets(message))


class DownloadError(SlowFastZooError, OSError):
    """A file could not be fetched, verified or stored; nothing half written was kept."""


class OfflineError(DownloadError):
    """A file is not in the cache and the network may not be used."""


class CheckpointError(SlowFastZooError, RuntimeError):
    """A checkpoint is unreadable, unsafe or does not fit the model, which is unchanged.

    Addresses in the message lose their secrets.

    Attributes:
        missing: names that the model needs and the file lacks.
        unexpected: names that the file has and the model lacks.
        mismatched: (name, shape in the file, shape in the model).
    """

    def __init__(
        self,
        message: str,
        *,
        missing: Sequence[str] = (),
        unexpected: Sequence[str] = (),
        mismatched: Sequence[tuple[str, tuple[int, ...], tuple[int, ...]]] = (),
    ) -> None:
        super().__init__(text_without_secrets(message))
        self.missing = tuple(missing)
        self.unexpected = tuple(unexpected)
        self.mismatched = tuple(mismatched)

    def saying(self, message: str) -> CheckpointError:
        """The same in other words."""
        return CheckpointError(
            message, missing=self.missing, unexpected=self.unexpected, mismatched=self.mismatched
        )


class VideoError(SlowFastZooError, OSError):
    """A video can't be opened or decoded; the message names the file and the reason."""


class FrameCountError(VideoError):
    """Other frames decode than the packets promised: choose again, ``num_frames`` is exact now."""


class DataError(SlowFastZooError, ValueError):
    """A dataset, annotation list or label doesn't hold together."""


class TrainingError(SlowFastZooError, RuntimeError):
    """Training can't start or go on; checkpoints written so far are intact."""


class OutOfMemoryError(SlowFastZooError, MemoryError):
    """Not even one clip at a time fits the memory."""


class ExportError(SlowFastZooError, RuntimeError):
    """A model can't be exported, or its exported twin gives other answers. Addresses lose their secrets."""

    def __init__(self, message: str) -> None:
        super().__init__(text_without_secrets(message))


class MissingDependencyError(SlowFastZooError, ImportError):
    """An optional package is needed; the message says which extra brings it."""


FAULTS = (SlowFastZooError, OSError, RuntimeError, ValueError, LookupError, ArithmeticError, MemoryError)
"""What a video may end in that is no reason to end a job."""

NO_VIDEOS_FAULT = (DownloadError, ExportError, MissingDependencyError)
"""What lies with the model or the machine, whichever video is at hand: it ends a job of many."""


def quoted(names: Iterable[str], most: int | None = None) -> str:
    """The names, each in quotes, joined by commas; of more than ``most`` the first ones and " ..."."""
    listed = [f"'{name}'" for name in names]
    return ", ".join(listed[:most]) + " ..." * (most is not None and len(listed) > most)


def counted(count: int, what: str) -> str:
    """A number and its noun: "1 clip", "2 clips"."""
    return f"{count} {what if count == 1 else plural(what)}"


def plural(what: str) -> str:
    """Of a word: "epochs", "batches", "boxes", "classes"."""
    return f"{what}{'es' if what.endswith(('tch', 's', 'x')) else 's'}"


def did_you_mean(name: object, choices: Iterable[str]) -> str:
    """A half sentence with the nearest choices, three at most: " Did you mean 'a' or 'b'?", or ""."""
    import difflib

    near = difflib.get_close_matches(str(name).lower(), list(choices), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(quoted([near_name]) for near_name in near)}?" if near else ""


def unknown_name(said: str, name: object, accepted: Iterable[str]) -> UnknownNameError:
    """The error for a name that isn't accepted: a sentence, the nearest of the accepted ones, and all of
    them."""
    names = list(accepted)
    return UnknownNameError(f"{said}{did_you_mean(name, names)} Accepted: {quoted(names)}.")


def printable(text: str) -> str:
    """The text with escapes such as ``\\u001b``, as in JSON, for what a terminal would obey."""
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def printable_line(text: str) -> str:
    """The same on one line, whatever line breaks are in it."""
    return printable(" ".join(text.splitlines()))


def without_secrets(address: str) -> str:
    """An address, however malformed and with or without a scheme, less user, password, query and fragment."""
    found = _SCHEME.match(address)
    scheme = found[0] if found else ""
    rest = address.removeprefix(scheme)
    host, slash, path = re.split("[?#]", rest, maxsplit=1)[0].partition("/")
    host = host.rpartition("@")[2]
    name, colon, port = host.partition(":")
    if colon and not host.startswith("[") and not port.isdigit():  # the begin of a password, perhaps
        host, slash, path = (name, "", "") if "@" in path else (name, slash, path)
    return f"{scheme}{host}{slash}{path}"


def text_without_secrets(text: str) -> str:
    """A text in whose addresses is no user, password, query and fragment."""
    return _ADDRESS.sub(lambda found: without_secrets(found[0]), text)


def one_line(error: object) -> str:
    """An error's own words without line breaks, escape codes and secrets of the addresses in it."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    text = text_without_secrets(text)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:300].rstrip(".")
