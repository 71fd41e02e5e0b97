"""Damaged checkpoints and configs: refused, or the same model; ``scripts/fuzz.py`` tries thousands."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz.py"


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of the worker are Linux's")
@pytest.mark.parametrize("kind", ["checkpoints", "configs"])
def test_damaged_files_are_no_fault(kind: str, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("fuzz", SCRIPT)
    assert spec is not None and spec.loader is not None
    fuzz = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = fuzz
    spec.loader.exec_module(fuzz)
    outcomes = fuzz.fuzz(kind, 100, 7, tmp_path / "faults")
    assert set(outcomes) <= {"refused", "loaded", "other numbers"}
    assert outcomes["refused"] > 20
