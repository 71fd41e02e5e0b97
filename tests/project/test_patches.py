"""Tests replace public names: one that replaces a private name breaks when nothing but the inside changes."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]
# Private names that are replaced all the same. Take out what no test needs any more; add nothing.
STILL = """
    _DRAWS _FEWEST_CLIPS _FEWEST_STEPS _LONG _SHAPES _UPDATE_SECONDS _WANTED_ERROR _answer _bound _is_foldable
    _kept _look _made _measured _pass_seconds _quantized _recipe _self_test _slow _tables _tried
"""


def replaced(source: str) -> set[str]:
    """Private names in ``setattr(owner, name, value)`` and ``setattr("module.name", value)`` of a fixture."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "setattr":
            texts = [each.value for each in node.args[:2] if isinstance(each, ast.Constant)]
            found |= {str(text).rpartition(".")[2] for text in texts}
    return {name for name in found if name.startswith("_") and not name.endswith("__")}


def test_no_private_name_is_replaced_but_those_that_still_are() -> None:
    calls = (
        "m.setattr(a, '_b', 1), m.setattr('a.b._c', 1), m.setattr(a._d, 'e', '_f'), m.setattr(a, '__g__', 1)"
    )
    assert replaced(calls) == {"_b", "_c"}
    found = [replaced(path.read_text(encoding="utf-8")) for path in TESTS.rglob("*.py")]
    assert set().union(*found) == set(STILL.split())
