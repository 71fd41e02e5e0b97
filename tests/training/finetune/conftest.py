"""Shared by the tests of fine-tuning."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """They take longer than these trainings; a test that is about them says so."""
    if "pictures" not in request.fixturenames:
        monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.fixture
def pictures() -> None:
    """Asks for them: see above."""
