"""The engine "onnxruntime": ONNX Runtime's CPU provider; the exported graph is kept on disk."""

from __future__ import annotations

import math
from typing import Any

import torch

from slowfast_zoo.inference.engines import artifacts
from slowfast_zoo.inference.engines.engine import Engine, Run, Shape, in_pieces, keeping_nan
from slowfast_zoo.inference.engines.folding import FoldedNetwork
from slowfast_zoo.inference.engines.graph import ONNX_PACKAGES, capture, to_onnx
from slowfast_zoo.runtime.packages import require
from slowfast_zoo.runtime.precision import Precision


def onnxruntime_session(model: bytes | str) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU with torch's number of threads.

    Args:
        model: a serialized model, or the path of one.

    Raises:
        MissingDependencyError: ONNX Runtime isn't installed.
    """
    package = require("onnxruntime", *ONNX_PACKAGES)
    options = package.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return package.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _build(module: FoldedNetwork, precision: Precision, device: torch.device, shape: Shape) -> Run:
    package = require("onnxruntime", *ONNX_PACKAGES)
    name = artifacts.fingerprint(module, package.__version__, shape, suffix=".onnx")
    graph = artifacts.load(name)
    if graph is None:
        graph = to_onnx(capture(module, shape)).SerializeToString()
        artifacts.store(name, graph)
    session = onnxruntime_session(graph)
    call: Run = lambda clip: torch.from_numpy(session.run(None, {"clip": clip.numpy()})[0])  # noqa: E731
    return in_pieces(keeping_nan(call, torch_kernels=False), 1)


ONNXRUNTIME = Engine(
    name="onnxruntime",
    devices=("cpu",),
    precisions=("float32",),
    packages=ONNX_PACKAGES,
    pays_from=lambda device, precision: math.inf,
    starts_in=15,
    build=_build,
)
