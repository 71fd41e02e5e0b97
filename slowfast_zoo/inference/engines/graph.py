"""The network as a graph of clips, and of boxes: ``torch.export``, and from there ONNX and OpenVINO."""

from __future__ import annotations

import contextlib
import functools
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from slowfast_zoo.errors import ExportError
from slowfast_zoo.inference.engines.engine import TRACING, Shape, example_boxes
from slowfast_zoo.inference.engines.folding import FoldedNetwork, Maps
from slowfast_zoo.runtime.machine import environment
from slowfast_zoo.runtime.packages import UNREPORTED, require

_MANY = 2**31 - 1  # torch 2.6 takes no open end

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""What writing, checking and running ONNX files needs."""


_INPUTS = {"clip": "batch", "boxes": "boxes"}
"""What a network is called with, in order, and how the first size of each is called."""


def capture(module: FoldedNetwork, shape: Shape) -> torch.export.ExportedProgram:
    """The graph of a module for clips of one shape and any number of them, and of boxes.

    Args:
        module: takes ``clip``, float32 ``(B, C, T, H, W)``, and gives logits; where it scores persons, it
            takes ``boxes``, too, float32 ``(N, 5)``.
        shape: (C, T, H, W) of a clip.

    Raises:
        ExportError: torch can't capture it.
    """
    parameter = next(module.parameters())
    example = torch.zeros((2, *shape), dtype=torch.float32, device=parameter.device)  # 1 would be baked in
    batch = torch.export.Dim("batch", min=1, max=_MANY)
    inputs: tuple[Tensor, ...] = (example,)
    sizes = [{0: batch}]
    if module.spec.roi is not None and not isinstance(module, Maps):
        inputs += tuple(boxes.to(parameter.device) for boxes in example_boxes(module.spec, shape))
        sizes.append({0: torch.export.Dim("boxes", min=0, max=_MANY)})
    try:
        with torch.no_grad(), _converting():
            return torch.export.export(module, inputs, dynamic_shapes=tuple(sizes))
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise ExportError(
            f"torch.export can't capture this model for clips {tuple(shape)}: {error}"
        ) from error


def to_onnx(program: torch.export.ExportedProgram) -> Any:
    """The graph as an ``onnx.ModelProto``: inputs ``clip`` and ``boxes``, if any, output ``logits``; the
    number of clips is called "batch", that of boxes "boxes".

    Raises:
        MissingDependencyError: one of ``ONNX_PACKAGES`` isn't installed.
        ExportError: the exporter refuses the graph.
    """
    for package in ("onnx", "onnxscript"):
        require(package, *ONNX_PACKAGES)
    names = list(_INPUTS)[: len(program.graph_signature.user_inputs)]
    try:
        with _converting():
            exported = torch.onnx.export(
                program, (), dynamo=True, input_names=names, output_names=["logits"], verbose=False
            )
    except (torch.onnx.OnnxExporterError, RuntimeError) as error:
        raise ExportError(f"torch.onnx can't translate this model: {error}") from error
    if exported is None:
        raise ExportError("torch.onnx gave no model; a newer torch may.")
    model = exported.model_proto
    symbols = {
        given.type.tensor_type.shape.dim[0].dim_param: _INPUTS[given.name] for given in model.graph.input
    }
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param in symbols:
                dimension.dim_param = symbols[dimension.dim_param]
    return model


def to_openvino(program: torch.export.ExportedProgram, shape: Shape, batch: int | None) -> Any:
    """The graph as an ``openvino.Model``: inputs ``clip`` and ``boxes``, if any, output ``logits``.

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
        with _converting(), environment(**UNREPORTED):
            model = openvino.convert_model(program)
        sizes = [[-1 if batch is None else batch, *shape], [-1, 5]]
        model.reshape(dict(zip(range(len(model.inputs)), sizes, strict=False)))
    except (RuntimeError, *failures) as error:
        raise ExportError(f"OpenVINO can't convert this model: {error}") from error
    for given, name in zip(model.inputs, _INPUTS, strict=False):
        given.get_tensor().set_names({name})
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


def on_cpu() -> contextlib.AbstractContextManager[object]:
    """Inside, what torch itself makes is on the CPU; nothing changes where it would be anyway."""
    return contextlib.nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")


@contextlib.contextmanager
def _converting() -> Iterator[None]:
    """Converters warn about their own insides; errors still come as exceptions. Tensors of their own are on
    the CPU, like the graph, whatever torch's default device."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with TRACING, warnings.catch_warnings(), on_cpu():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
