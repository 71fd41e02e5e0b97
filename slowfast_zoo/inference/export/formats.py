"""The file formats of ``export``: how each is written, and opened again as a function.

What belongs to the weights (specs, labels) is also inside each file, as JSON under "slowfast_zoo".
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slowfast_zoo.inference.engines.engine import Shape
from slowfast_zoo.inference.engines.folding import prepare, use_products
from slowfast_zoo.inference.engines.graph import (
    ONNX_PACKAGES,
    capture,
    on_cpu,
    openvino_core,
    to_onnx,
    to_openvino,
)
from slowfast_zoo.inference.engines.onnxruntime import onnxruntime_session
from slowfast_zoo.inference.engines.openvino.engine import openvino_settings
from slowfast_zoo.inference.engines.openvino.int8 import Int8Network, int8_settings
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.runtime.packages import require
from slowfast_zoo.runtime.precision import EnginePrecision, Precision

Exported = Callable[..., Tensor]
"""Clips float32 ``(B, C, T, H, W)`` on the CPU, and boxes where the network takes them, to logits float32."""

EMBEDDED = "slowfast_zoo"
"""Name of the JSON inside the files."""


@dataclasses.dataclass(frozen=True)
class FileFormat:
    """One of the formats."""

    suffixes: tuple[str, ...]
    """Ending of the file that is named, then of those beside it."""
    precisions: tuple[EnginePrecision, ...]
    """What it can be exported in."""
    packages: tuple[str, ...]
    """What writing and proving need beside torch."""
    write: Callable[[SlowFast, Shape, Precision, Path, str], None]
    """Writes a model for clips of a shape (C, T, H, W) to a path, with that JSON inside."""
    open: Callable[[Path, EnginePrecision], Exported]
    """The written model as a function."""


def _write_onnx(model: SlowFast, shape: Shape, precision: Precision, path: Path, embedded: str) -> None:
    graph = to_onnx(capture(prepare(model, precision), shape))
    entry = graph.metadata_props.add()
    entry.key, entry.value = EMBEDDED, embedded
    path.write_bytes(graph.SerializeToString())


def _open_onnx(path: Path, precision: EnginePrecision) -> Exported:
    session = onnxruntime_session(str(path))
    return lambda *inputs: torch.from_numpy(session.run(["logits"], _named(inputs))[0])


def _write_torch(model: SlowFast, shape: Shape, precision: Precision, path: Path, embedded: str) -> None:
    network = prepare(model, precision)
    if precision != "float32":
        use_products(network)
    program = capture(network, shape)
    file = io.BytesIO()  # on a full disk torch's own writer ends the process
    torch.export.save(program, file, extra_files={f"{EMBEDDED}.json": embedded})
    path.write_bytes(file.getbuffer())


def _open_torch(path: Path, precision: EnginePrecision) -> Exported:
    with on_cpu():
        return torch.export.load(path).module()


def _write_openvino(model: SlowFast, shape: Shape, precision: Precision, path: Path, embedded: str) -> None:
    # bfloat16 is a matter of compiling, not of the file; float16 halves the file and computes as told.
    graph = to_openvino(capture(prepare(model, "float32"), shape), shape, batch=None)
    graph.set_rt_info(embedded, [EMBEDDED])
    require("openvino").save_model(graph, path, compress_to_fp16=precision == "float16")


def write_int8(network: Int8Network, path: Path, embedded: str) -> None:
    """Writes an int8 network as OpenVINO IR, with that JSON inside."""
    graph = network.graph.clone()
    graph.set_rt_info(embedded, [EMBEDDED])
    require("openvino").save_model(graph, path, compress_to_fp16=False)


def _open_openvino(path: Path, precision: EnginePrecision) -> Exported:
    core = openvino_core()
    settings = openvino_settings("bfloat16" if precision == "bfloat16" else "float32")
    settings = int8_settings() if precision == "int8" else settings
    request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()
    return lambda *inputs: torch.from_numpy(request.infer(_named(inputs))["logits"].copy())


def _named(inputs: tuple[Tensor, ...]) -> dict[str, npt.NDArray[np.float32]]:
    return {name: given.numpy() for name, given in zip(("clip", "boxes"), inputs, strict=False)}


FORMATS: dict[str, FileFormat] = {
    "onnx": FileFormat((".onnx",), ("float32", "float16"), ONNX_PACKAGES, _write_onnx, _open_onnx),
    "torch": FileFormat((".pt2",), ("float32", "bfloat16", "float16"), (), _write_torch, _open_torch),
    "openvino": FileFormat(
        (".xml", ".bin"),
        ("float32", "bfloat16", "float16", "int8"),
        ("openvino",),
        _write_openvino,
        _open_openvino,
    ),
}
