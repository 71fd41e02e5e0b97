"""Says whether a release holds together: tag, version, CHANGELOG and CITATION.cff name the same one.

    python scripts/check_release.py            # before a tag: the version has a heading of its own
    python scripts/check_release.py v0.1.0     # of a tag, as the release workflow does

Prints what doesn't agree and exits with 1.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
_VERSION = re.compile(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?")


def problems(root: Path, tag: str | None = None) -> list[str]:
    """What doesn't agree, a sentence each; none if a release may be made.

    Args:
        root: a checkout.
        tag: of the release, "v" and a version; None: not made yet.
    """
    version = _found(root / "slowfast_zoo/__init__.py", r'^__version__ = "([^"]+)"$')
    if version is None:
        return ["slowfast_zoo/__init__.py has no __version__."]
    found = []
    if not _VERSION.fullmatch(version):
        found.append(f"The version is '{version}'; accepted: 1.2.3, or 1.2.3rc1.")
    if tag is not None and tag != f"v{version}":
        found.append(f"The tag is '{tag}' and the version '{version}': the tag has to be 'v{version}'.")
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    first = re.search(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if first is None:
        found.append("CHANGELOG.md has no heading '## VERSION'.")
    elif first[1].split(" ")[0] != version:
        found.append(f"CHANGELOG.md begins with '{first[1]}' and the version is '{version}'.")
    elif not first[2].strip():
        found.append(f"CHANGELOG.md says nothing about '{version}'.")
    cited = _found(root / "CITATION.cff", r'^version: "?([^"\n]+)"?$')
    if cited != version:
        found.append(f"CITATION.cff names version '{cited}' and the version is '{version}'.")
    return found


def _found(path: Path, pattern: str) -> str | None:
    match = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE) if path.exists() else None
    return match and match[1]


def main() -> int:
    found = problems(ROOT, *sys.argv[1:2])
    print("\n".join(found) or "Tag, version, CHANGELOG and CITATION.cff agree.")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
