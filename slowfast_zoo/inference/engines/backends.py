"""The engines themselves: a prepared module and the shape of a clip in, a fast function out.

On a CPU the compiled engines take one clip at a time: larger batches are no faster there, one graph
serves every batch size, and a clip's logits don't depend on its company.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from slowfast_zoo.errors import ExportError, InputError, MissingDependencyError
from slowfast_zoo.inference.engines import artifacts
from slowfast_zoo.inference.engines.folding import Prepared, use_onednn
from slowfast_zoo.inference.engines.graph import capture, openvino_core, to_onnx, to_openvino
from slowfast_zoo.inference.engines.winograd import use_winograd
from slowfast_zoo.network.slowfast import check_clip
from slowfast_zoo.runtime.packages import installed, require
from slowfast_zoo.runtime.precision import Precision

Run = Callable[[Tensor], Tensor]
"""Clips float32 ``(B, C, T, H, W)`` on the engine's device to logits float32, B at least 1."""

Shape = tuple[int, int, int, int]
"""(C, T, H, W) of a clip."""

_CACHED = 5_000_000
"""Numbers in the clips that a CPU takes at a time, one clip of the published sizes: the maps of more of them
leave the caches and take 5 to 30 % longer per clip, while those of small clips are faster together."""


def eager(module: Prepared, precision: Precision, device: torch.device, shape: Shape) -> Run:
    """The module in the memory format that its device and precision are fastest with.

    A CPU takes as many clips at a time as it is fast with; with oneDNN, all convolutions become its.
    """
    if precision == "float32" and onednn_is_fast(device):
        use_onednn(module)
    elif precision == "float32" and device.type != "cuda":
        return module
    module.to(memory_format=torch.channels_last_3d)

    def call(clips: Tensor) -> Tensor:
        logits: Tensor = module(clips.contiguous(memory_format=torch.channels_last_3d))
        return logits

    return _in_pieces(call, max(_CACHED // math.prod(shape), 1)) if device.type == "cpu" else call


def compiled(module: Prepared, precision: Precision, device: torch.device, shape: Shape) -> Run:
    """``torch.compile``: Inductor with frozen weights on a CPU, CUDA graphs on a GPU.

    In float32, where oneDNN is fast, wide convolutions are computed with fewer products.

    Raises:
        MissingDependencyError: there is no C++ compiler (CPU) or no Triton (GPU).
        ExportError: the compiler doesn't work; not before the first clip.
    """
    check_compiler(device)
    traced = _traced(module.to(memory_format=torch.channels_last_3d))
    if precision == "float32" and onednn_is_fast(device):
        with _inductor_settings(frozen=True):
            use_winograd(traced, shape[1] // module.spec.alpha)
    mode = "reduce-overhead" if device.type == "cuda" else None
    function = torch.compile(traced, fullgraph=True, dynamic=False, mode=mode)

    sizes = set[int]()

    def call(clips: Tensor) -> Tensor:
        clips = clips.contiguous(memory_format=torch.channels_last_3d)
        new = len(clips) not in sizes
        with _inductor_settings(frozen=device.type == "cpu") if new else contextlib.nullcontext():
            logits: Tensor = function(clips)
        sizes.add(len(clips))
        return logits.clone()  # a CUDA graph writes into the same memory again

    return _in_pieces(_keeping_nan(call), 1) if device.type == "cpu" else _in_powers_of_two(call)


def openvino(module: Prepared, precision: Precision, device: torch.device, shape: Shape) -> Run:
    """OpenVINO's CPU plugin; what it compiles is kept on disk.

    Raises:
        MissingDependencyError: the extra ``openvino`` isn't installed.
        ExportError: OpenVINO can't convert or compile the model.
    """
    package = require("openvino", extra="openvino")
    core = openvino_core()
    settings = openvino_settings(precision)
    facts = (package.__version__, core.get_property("CPU", "FULL_DEVICE_NAME"), settings, shape)
    name = f"{artifacts.fingerprint(module, *facts)}.blob"
    network = _imported(core, artifacts.load(name), settings)
    if network is None:
        model = to_openvino(capture(module, shape), shape, batch=1)
        try:
            network = core.compile_model(model, "CPU", settings)
            artifacts.store(name, network.export_model().getvalue())
        except RuntimeError as error:
            raise ExportError(f"OpenVINO can't compile this model: {error}") from error
    request, lock = network.create_infer_request(), threading.Lock()

    def call(clip: Tensor) -> Tensor:
        with lock:  # a request is one inference at a time
            request.infer([clip.contiguous().numpy()], share_inputs=True)
            return torch.from_numpy(request.get_output_tensor(0).data.copy())

    return _in_pieces(_keeping_nan(call), 1)


def openvino_settings(precision: Precision) -> dict[str, Any]:
    """Properties to compile with. Without the hint a CPU that can would compute in bfloat16 unasked."""
    return {
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }


def onnxruntime(module: Prepared, precision: Precision, device: torch.device, shape: Shape) -> Run:
    """ONNX Runtime's CPU provider; the exported graph is kept on disk.

    Raises:
        MissingDependencyError: the extra ``onnx`` isn't installed.
        ExportError: the model can't be exported.
    """
    package = require("onnxruntime", extra="onnx")
    facts = (package.__version__, shape)
    name = f"{artifacts.fingerprint(module, *facts)}.onnx"
    graph = artifacts.load(name)
    if graph is None:
        graph = to_onnx(capture(module, shape)).SerializeToString()
        artifacts.store(name, graph)
    session = onnxruntime_session(graph)
    call: Run = lambda clip: torch.from_numpy(session.run(None, {"clip": clip.numpy()})[0])  # noqa: E731
    return _in_pieces(_keeping_nan(call), 1)


def onnxruntime_session(model: bytes | str) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU with torch's number of threads.

    Args:
        model: a serialized model, or the path of one.

    Raises:
        MissingDependencyError: the extra ``onnx`` isn't installed.
    """
    package = require("onnxruntime", extra="onnx")
    options = package.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return package.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def check_package(engine: str, device: torch.device, precision: Precision) -> None:
    """Refuses what OpenVINO or ONNX Runtime can't do here.

    Raises:
        InputError: another device than the CPU, or a precision that the engine has no kernels for.
        MissingDependencyError: the package isn't installed.
    """
    if device.type != "cpu":
        raise InputError(
            f"engine='{engine}' computes on the CPU, the device is '{device}': give device='cpu', or take"
            " engine='compile' or 'eager'."
        )
    if engine == "onnxruntime" and precision != "float32":
        raise InputError(
            f"ONNX Runtime has no CPU kernels for {precision}: take precision='float32', or the engine"
            " 'openvino' or 'compile' with 'bfloat16'."
        )
    for package in ("onnxruntime", "onnx", "onnxscript") if engine == "onnxruntime" else ("openvino",):
        require(package, extra="onnx" if engine == "onnxruntime" else "openvino")


def onednn_is_fast(device: torch.device) -> bool:
    """Whether the device is a processor that oneDNN has kernels of its own for."""
    there = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return there and device.type == "cpu" and torch.backends.cpu.get_cpu_capability().startswith("AVX")


def can_compile(device: torch.device) -> bool:
    """Whether ``check_compiler`` is content."""
    with contextlib.suppress(MissingDependencyError):
        check_compiler(device)
        return True
    return False


def check_compiler(device: torch.device) -> None:
    """Refuses a machine that torch.compile can't make code on.

    Raises:
        MissingDependencyError: says what is missing.
    """
    if device.type == "cpu" and shutil.which(_cpp_compiler()) is None:
        raise MissingDependencyError(
            f"engine='compile' needs a C++ compiler, and '{_cpp_compiler()}' isn't on the PATH: install one"
            " (g++, clang++, Visual C++), name it in the variable CXX, or take engine='openvino' or 'eager'."
        )
    if device.type == "cuda" and not installed("triton"):
        raise MissingDependencyError(
            "engine='compile' on a GPU needs the package 'triton', which isn't installed: pip install"
            " triton, or take engine='eager'."
        )


def _cpp_compiler() -> str:
    platform = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    return os.environ.get("CXX", platform)


def _traced(module: nn.Module) -> fx.GraphModule:
    """A copy with code of its own, because torch.compile counts and limits recompilations by code object.

    Clips have been checked when they get there, so the check stays out.
    """
    traced = fx.symbolic_trace(module)
    for node in traced.graph.nodes:
        if node.target is check_clip:
            traced.graph.erase_node(node)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


def _in_pieces(call: Run, size: int) -> Run:
    """So many clips at a time."""
    return lambda clips: torch.cat([call(piece) for piece in torch.split(clips, size)])


def _keeping_nan(call: Run) -> Run:
    """NaN for a clip that isn't finite: these engines' ReLU and max pool would hide it, unlike torch's."""
    return lambda clip: call(clip) if clip.sum().isfinite() else call(clip).fill_(torch.nan)


def _in_powers_of_two(call: Run) -> Run:
    """Each batch size is compiled by itself: batches are filled up so that there are few sizes."""

    def run(clips: Tensor) -> Tensor:
        size = 1 << (len(clips) - 1).bit_length()
        padding = clips.new_zeros((size - len(clips), *clips.shape[1:]))
        return call(torch.cat([clips, padding]))[: len(clips)]

    return run


def _imported(core: Any, blob: bytes | None, settings: dict[str, Any]) -> Any:
    """A kept network; None where there is none, or this OpenVINO no longer takes it."""
    if blob is None:
        return None
    try:
        return core.import_model(blob, "CPU", settings)
    except RuntimeError:
        return None


@contextlib.contextmanager
def _inductor_settings(*, frozen: bool) -> Iterator[None]:
    """Freezing, and Inductor's cache inside the library's, unless the user has set a folder for it.

    Raises:
        ExportError: what is done with these settings can't be compiled.
    """
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor import config
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    variable, folder = "TORCHINDUCTOR_CACHE_DIR", artifacts.engine_folder()
    before = os.environ.get(variable, default_cache_dir())  # Inductor itself sets its default
    if folder is not None and before == default_cache_dir():
        os.environ[variable] = str(folder / "inductor")
    try:
        with config.patch(freezing=frozen):
            yield
    except TorchDynamoException as error:
        reason = str(error).strip().partition("\n")[0]
        raise ExportError(
            f"torch.compile can't build this model ({reason}): take engine='openvino' or 'eager'."
        ) from error
    finally:
        os.environ[variable] = before
