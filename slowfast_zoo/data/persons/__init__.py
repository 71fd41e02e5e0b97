"""Persons in videos: their boxes, and what they do when."""

from typing import Literal

Unit = Literal["pixels", "normalized"]
"""Of boxes: pixels of the upright frame, or shares of its width and height."""
