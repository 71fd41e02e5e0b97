"""A release holds together, and the check that says so notices when it doesn't."""

from __future__ import annotations

from pathlib import Path

import check_release
import pytest

ROOT = Path(__file__).parents[2]


def test_tag_version_changelog_and_citation_agree() -> None:
    assert check_release.problems(ROOT) == []


def made(folder: Path, version: str, changelog: str, cited: str) -> Path:
    (folder / "slowfast_zoo").mkdir()
    (folder / "slowfast_zoo" / "__init__.py").write_text(f'__version__ = "{version}"\n', encoding="utf-8")
    (folder / "CHANGELOG.md").write_text(changelog, encoding="utf-8")
    (folder / "CITATION.cff").write_text(f"cff-version: 1.2.0\nversion: {cited}\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("version", "changelog", "cited", "tag", "said"),
    [
        ("1.2.0", "# Changelog\n\n## 1.2.0\n\n- A.\n", "1.2.0", "v1.2.0", None),
        ("1.2.0", "# Changelog\n\n## 1.2.0 (2026-12-01)\n\n- A.\n\n## 1.1.0\n\n- B.\n", "1.2.0", None, None),
        ("1.2.0", "# Changelog\n\n## 1.2.0\n\n- A.\n", "1.2.0", "v1.2.1", "has to be 'v1.2.0'"),
        ("1.2.0", "# Changelog\n\n## 1.2.0\n\n- A.\n", "1.2.0", "1.2.0", "has to be 'v1.2.0'"),
        ("1.2.0", "# Changelog\n\n## 1.1.0\n\n- A.\n", "1.2.0", None, "begins with '1.1.0'"),
        ("1.2.0", "# Changelog\n\n## 1.2.0\n\n## 1.1.0\n\n- B.\n", "1.2.0", None, "says nothing"),
        ("1.2.0", "# Changelog\n", "1.2.0", None, "no heading"),
        ("1.2.0", "# Changelog\n\n## 1.2.0\n\n- A.\n", "1.1.0", None, "CITATION.cff"),
        ("1.2.dev", "# Changelog\n\n## 1.2.dev\n\n- A.\n", "1.2.dev", None, "accepted: 1.2.3"),
    ],
)
def test_what_does_not_agree_is_told(
    tmp_path: Path, version: str, changelog: str, cited: str, tag: str | None, said: str | None
) -> None:
    found = check_release.problems(made(tmp_path, version, changelog, cited), tag)
    assert len(found) == (said is not None) and (said is None or said in found[0])


def test_without_a_version_nothing_else_is_asked(tmp_path: Path) -> None:
    made(tmp_path, "", "", "")
    assert check_release.problems(tmp_path) == ["slowfast_zoo/__init__.py has no __version__."]
