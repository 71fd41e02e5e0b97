"""What one line of any list says, before its labels have become numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One clip as a list or a folder has it."""

    where: str
    """"file:line", for messages."""
    path: Path
    """As written; relative to the dataset's root."""
    labels: tuple[str, ...]
    """Names or numbers."""
    several: bool = False
    """Whether the list's form allows several labels."""
    start_seconds: float | None = None
    """Where the part begins."""
    end_seconds: float | None = None
    """Where it ends."""
    first_frame: int = 0
    """Frames to leave out at the beginning."""
    num_frames: int | None = None
    """Frames from there."""
    fps: float | None = None
    """Frames per second."""
    columns: tuple[tuple[str, str], ...] = ()
    """Other columns."""
