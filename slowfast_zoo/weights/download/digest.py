"""What is known about a file's content: the publisher's digest, and the stamp of the last look."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path

from slowfast_zoo.errors import InputError
from slowfast_zoo.files import hash_file, written_whole

_DIGEST = re.compile(r"(sha256|sha1)(-prefix)?:([0-9a-f]{8,64})")
_HEX_DIGITS = {"sha256": 64, "sha1": 40}


@dataclasses.dataclass(frozen=True)
class Digest:
    """A publisher's hash: the algorithm, and all or the first of its hex digits."""

    algorithm: str
    digits: str

    @staticmethod
    def parse(text: str) -> Digest:
        """The digest that a text such as "sha256-prefix:04e43ed4" stands for.

        Raises:
            InputError: the text has another form; the message names the accepted ones.
        """
        match = _DIGEST.fullmatch(text) if isinstance(text, str) else None
        if match:
            most = _HEX_DIGITS[match[1]]
            if len(match[3]) == most or (match[2] and len(match[3]) < most):
                return Digest(match[1], match[3])
        raise InputError(
            f"The digest {text!r} isn't understood: give 'sha256:' with 64 or 'sha1:' with 40 hex digits, or "
            "'sha256-prefix:' or 'sha1-prefix:' with at least the first 8; lower case."
        )

    def __str__(self) -> str:
        whole = len(self.digits) == _HEX_DIGITS[self.algorithm]
        return f"{self.algorithm} {'' if whole else 'beginning with '}{self.digits}"

    def differing(self, path: Path, sha256: str) -> str | None:
        """The file's own digits when they aren't these, else None; its SHA-256 the caller has already."""
        digits = sha256 if self.algorithm == "sha256" else hash_file(path, self.algorithm)
        return None if digits.startswith(self.digits) else digits


@dataclasses.dataclass(frozen=True)
class Stamp:
    """What was found when a file was last hashed; it lies beside the file."""

    size: int
    """Bytes."""
    mtime_ns: int
    """Modification time, as in ``os.stat_result``."""
    sha256: str
    """64 hex digits."""
    digest: str | None
    """The publisher's digest that the file was compared with."""
    url: str | None
    """Where it came from, without credentials and query."""

    @staticmethod
    def path(file: Path) -> Path:
        """Where the stamp of a file is kept."""
        return file.with_name(file.name + ".stamp.json")

    @staticmethod
    def read(file: Path) -> Stamp | None:
        """The stamp of a file; None when there is none or it is damaged."""
        try:
            with Stamp.path(file).open("rb") as stored:
                stamp = Stamp(**json.loads(stored.read(1 << 16)))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        sound = isinstance(stamp.sha256, str) and re.fullmatch("[0-9a-f]{64}", stamp.sha256)
        return stamp if sound and isinstance(stamp.url, str | None) else None

    def write(self, file: Path) -> None:
        """Stores the stamp of ``file``, whole or not at all."""
        with written_whole(Stamp.path(file), keep_links=False) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(self), indent=1), encoding="utf-8")

    def describes(self, file: os.stat_result) -> bool:
        """Whether the file looks untouched since."""
        return (self.size, self.mtime_ns) == (file.st_size, file.st_mtime_ns)

    def satisfies(self, digest: str | None) -> bool:
        """Whether the stamped content is known to have that digest, without reading the file again."""
        if digest is None or digest == self.digest:
            return True
        wanted = Digest.parse(digest)
        return wanted.algorithm == "sha256" and self.sha256.startswith(wanted.digits)
