"""The network as a graph: ``torch.export``, and from there ONNX and OpenVINO; one input ``clip``."""

from __future__ import annotations

import contextlib
import functools
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from slowfast_zoo.errors import ExportError
from slowfast_zoo.runtime.packages import require

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""What writing, checking and running ONNX files needs."""


def capture(module: nn.Module, shape: Sequence[int]) -> torch.export.ExportedProgram:
    """The graph of a module for clips of one shape and any number of them.

    Args:
        module: takes ``clip``, float32 ``(B, C, T, H, W)``, and gives logits.
        shape: (C, T, H, W) of a clip.

    Raises:
        ExportError: torch can't capture it.
    """
    parameter = next(module.parameters())
    example = torch.zeros((2, *shape), dtype=torch.float32, device=parameter.device)  # 1 would be baked in
    batch = torch.export.Dim("batch", min=1, max=2**31 - 1)  # torch 2.6 takes no open end
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(module, (example,), dynamic_shapes={"clip": {0: batch}})
    except (RuntimeError, ValueError, TypeError) as error:
        raise ExportError(
            f"torch.export can't capture this model for clips {tuple(shape)}: {error}"
        ) from error


def to_onnx(program: torch.export.ExportedProgram) -> Any:
    """The graph as an ``onnx.ModelProto``: input ``clip``, output ``logits``, batch dimension "batch".

    Raises:
        MissingDependencyError: one of ``ONNX_PACKAGES`` isn't installed.
        ExportError: the exporter refuses the graph.
    """
    for package in ("onnx", "onnxscript"):
        require(package, *ONNX_PACKAGES)
    try:
        with _quiet():
            exported = torch.onnx.export(
                program, (), dynamo=True, input_names=["clip"], output_names=["logits"], verbose=False
            )
    except (torch.onnx.OnnxExporterError, RuntimeError) as error:
        raise ExportError(f"torch.onnx can't translate this model: {error}") from error
    if exported is None:
        raise ExportError("torch.onnx gave no model; a newer torch may.")
    model = exported.model_proto
    symbol = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param == symbol:
                dimension.dim_param = "batch"
    return model


def to_openvino(program: torch.export.ExportedProgram, shape: Sequence[int], batch: int | None) -> Any:
    """The graph as an ``openvino.Model``: input ``clip``, output ``logits``.

    Args:
        program: from ``capture``.
        shape: (C, T, H, W) that it was captured for.
        batch: clips at a time; None for any number.

    Raises:
        MissingDependencyError: OpenVINO isn't installed.
        ExportError: the converter refuses the graph.
    """
    openvino, frontend = require("openvino"), require("openvino.frontend", "openvino")
    failures = (frontend.GeneralFailure, frontend.OpConversionFailure, frontend.OpValidationFailure)
    try:
        with _quiet():
            model = openvino.convert_model(program)
        model.reshape([-1 if batch is None else batch, *shape])
    except (RuntimeError, *failures) as error:
        raise ExportError(f"OpenVINO can't convert this model: {error}") from error
    model.inputs[0].get_tensor().set_names({"clip"})
    model.outputs[0].get_tensor().set_names({"logits"})
    return model


@functools.cache
def openvino_core() -> Any:
    """OpenVINO's ``Core``, one for the process and never dropped.

    The CPU plugin gives the thread that loads it another stack for signal handlers, and unmaps it when
    the last core and network are gone. If the garbage collector of another thread drops them, the next
    signal that Python handles in the first thread ends the process.

    Raises:
        MissingDependencyError: OpenVINO isn't installed.
    """
    return require("openvino").Core()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Converters warn about their own insides; errors still come as exceptions."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
