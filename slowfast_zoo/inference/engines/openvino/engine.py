"""The engine "openvino": OpenVINO's CPU plugin; what it compiles is kept on disk."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from slowfast_zoo.errors import ExportError
from slowfast_zoo.inference.engines import artifacts
from slowfast_zoo.inference.engines.engine import Engine, Run, Shape, in_pieces, keeping_nan
from slowfast_zoo.inference.engines.folding import FoldedNetwork
from slowfast_zoo.inference.engines.graph import capture, openvino_core, to_openvino
from slowfast_zoo.runtime.packages import require
from slowfast_zoo.runtime.precision import Precision


def openvino_settings(precision: Precision) -> dict[str, Any]:
    """Properties to compile with. Without the hint a CPU that can would compute in bfloat16 unasked."""
    return {
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }


def _build(module: FoldedNetwork, precision: Precision, device: torch.device, shape: Shape) -> Run:
    settings = openvino_settings(precision)
    facts = (require("openvino").__version__, settings, shape)
    return compiled(
        settings,
        artifacts.fingerprint(module, *facts),
        lambda: to_openvino(capture(module, shape), shape, batch=1),
    )


def compiled(settings: dict[str, Any], name: str | None, graph: Callable[[], Any]) -> Run:
    """A graph as a function, one clip at a time.

    Args:
        settings: to compile with.
        name: stands for the graph among the kept artifacts; None: it isn't kept.
        graph: gives the ``openvino.Model``, where nothing is kept.

    Raises:
        ExportError: OpenVINO can't compile it.
    """
    core = openvino_core()
    facts = (name, require("openvino").__version__, core.get_property("CPU", "FULL_DEVICE_NAME"), settings)
    kept = f"{artifacts.digest(facts)}.blob"
    network, blob = None, None if name is None else artifacts.load(kept)
    if blob is not None:
        with contextlib.suppress(RuntimeError):  # this OpenVINO no longer takes it
            network = core.import_model(blob, "CPU", settings)
    if network is None:
        model = graph()
        try:
            network = core.compile_model(model, "CPU", settings)
            if name is not None:
                artifacts.store(kept, network.export_model().getvalue())
        except RuntimeError as error:
            raise ExportError(f"OpenVINO can't compile this model: {error}") from error
    request, lock = network.create_infer_request(), threading.Lock()

    def call(clip: Tensor) -> Tensor:
        with lock:  # a request is one inference at a time
            request.infer([clip.contiguous().numpy()], share_inputs=True)
            return torch.from_numpy(request.get_output_tensor(0).data.copy())

    return in_pieces(keeping_nan(call, torch_kernels=False), 1)


OPENVINO = Engine(
    name="openvino",
    devices=("cpu",),
    precisions=("float32", "bfloat16"),
    packages=("openvino",),
    pays_from=lambda device, precision: 25,
    starts_in=10,
    build=_build,
)
