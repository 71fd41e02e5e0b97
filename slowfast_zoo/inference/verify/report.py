"""What ``verify`` found: checks, and the first stage that differs."""

from __future__ import annotations

import dataclasses
import math
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """One comparison with a stored reference."""

    stage: str
    """Which stage of the way from a video to probabilities."""
    what: str
    """What was computed."""
    ok: bool | None
    """Whether it agrees; None where nothing is stored to compare with."""
    error: float | None = None
    """Largest difference from the reference; None where there is no number to give."""
    tolerance: float = 0.0
    """Largest difference that counts as agreement."""
    unit: str = ""
    """Of error and tolerance: "frames", "levels" (of 255), or "relative" to the largest value."""
    detail: str = ""
    """What a number doesn't say."""

    def __str__(self) -> str:
        verdict = {True: "ok", False: "DIFFERS", None: "not compared"}[self.ok]
        numbers = ""
        if self.error is not None:
            exact = f"accepted {self.tolerance:g} {self.unit}".rstrip() if self.tolerance else "accepted none"
            numbers = f" [error {self.error:.2g} {self.unit}".rstrip() + f", {exact}]"
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.stage:<12}{verdict:<13}{self.what}{numbers}{detail}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """All comparisons of one run, in the order of the stages."""

    checks: tuple[Check, ...]
    environment: str
    """Versions and device that were checked."""

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return all(check.ok is not False for check in self.checks)

    @property
    def first_difference(self) -> Check | None:
        """The check of the earliest stage that differs; None when nothing does."""
        return next((check for check in self.checks if check.ok is False), None)

    def to_dict(self) -> dict[str, Any]:
        """Verdict, environment and checks as plain JSON values."""
        first = self.first_difference
        checks = [dataclasses.asdict(check) for check in self.checks]
        for check in checks:
            # JSON has no NaN and no infinity.
            if check["error"] is not None and not math.isfinite(check["error"]):
                check["error"] = None
        return {
            "ok": self.ok,
            "first_difference": None if first is None else first.stage,
            "environment": self.environment,
            "checks": checks,
        }

    def __str__(self) -> str:
        first = self.first_difference
        compared = sum(check.ok is not None for check in self.checks)
        verdict = f"All {compared} comparisons agree with the stored references."
        if first is not None:
            verdict = f"The first stage that differs: {first.stage} ({first.what})."
        return "\n".join([self.environment, *map(str, self.checks), verdict])
