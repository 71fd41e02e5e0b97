"""Annotated clips: lists, folders, datasets, splits, checks."""

from typing import Literal

Form = Literal["folders", "table", "videos", "rawframes", "rawframes-offset", "ids"]
"""How annotations are written down."""
