"""A model as a file for other runtimes, with its proof."""

from typing import Literal

Format = Literal["onnx", "torch", "openvino"]
