"""The same network made fast."""

from typing import Literal

Engine = Literal["auto", "eager", "compile", "openvino", "onnxruntime"]
