"""A model as a file for other runtimes, with its proof."""

from typing import Literal

Format = Literal["onnx", "torch", "openvino"]
"""What ``format=`` takes; here, so that a list of choices needs no torch."""
