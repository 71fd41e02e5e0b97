"""Docstrings as pdoc shows them in the API reference: code and tables are indented, text isn't."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "slowfast_zoo"
SECTIONS = {"Args", "Attributes", "Raises", "Returns", "Sources"}


def docstrings(path: Path) -> list[str]:
    """Those of the module, its classes, functions and values, without their common indent."""
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    values = [node.value.value for node in tree if isinstance(node, ast.Expr) and is_text(node.value)]
    return [inspect.cleandoc(value) for value in values]


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def is_code(paragraph: str) -> bool:
    try:
        nodes = ast.walk(ast.parse(paragraph))
    except SyntaxError:
        return False
    return any(isinstance(node, ast.Assign | ast.Call | ast.For | ast.With) for node in nodes)


def flaws(docstring: str) -> list[str]:
    """What would be shown otherwise than it was meant."""
    # Tables and remarks on code have gaps.
    found = re.findall(r"^(?:[=-]{4,}|\S.* {2,}\S).*", docstring, re.MULTILINE)
    found += re.findall(r".*::$", docstring, re.MULTILINE)
    sections = re.findall(r"^([A-Z][A-Z a-z]+):\n(?=\n* )", docstring, re.MULTILINE)
    found += [name for name in sections if name not in SECTIONS]
    return found + [paragraph for paragraph in re.split(r"\n\s*\n", docstring) if is_code(paragraph)]


def test_what_a_flaw_is() -> None:
    text = "Makes a clip.\n\n{}\n\nIt has views.\n\nRaises:\n    InputError: no clip.\n"
    assert not flaws(text.format("As here, with ``read``:\n\n    clip = read(path)    # a clip"))
    for code in ("clip = read(path)", "for frame in clip:\n    frame", "with clip:\n    print(clip)"):
        assert flaws(text.format(code)) == [code]
    for line in ("====", "form  file", "read(path)[0]    # a frame", "As here::"):
        assert line in flaws(text.format(line))
    assert flaws(text.format("As here:\n\n    clip = read(path)")) == ["As here"]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_docstrings_are_shown_as_they_were_meant(path: Path) -> None:
    assert [flaw for docstring in docstrings(path) for flaw in flaws(docstring)] == []
