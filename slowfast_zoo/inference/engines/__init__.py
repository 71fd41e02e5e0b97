"""The same network made fast."""

from typing import Literal

EngineName = Literal["auto", "eager", "compile", "openvino", "onnxruntime"]
"""What ``engine=`` takes; here, so that a list of choices needs no torch."""
