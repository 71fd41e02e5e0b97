"""The engine "compile": ``torch.compile``, Inductor with frozen weights on a CPU, CUDA graphs on a GPU."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from slowfast_zoo.errors import ExportError, MissingDependencyError
from slowfast_zoo.inference.engines import artifacts
from slowfast_zoo.inference.engines.engine import (
    TRACING,
    Engine,
    Run,
    Shape,
    in_pieces,
    keeping_nan,
)
from slowfast_zoo.inference.engines.folding import FoldedNetwork
from slowfast_zoo.inference.engines.torch_compile.cuda_graphs import FewSizes, Recorder, padded
from slowfast_zoo.inference.engines.torch_compile.sealed import sealed
from slowfast_zoo.inference.engines.winograd.winograd import use_winograd
from slowfast_zoo.network.slowfast import check_clip
from slowfast_zoo.runtime.packages import installed
from slowfast_zoo.runtime.precision import Precision, onednn_is_fast


def _build(module: FoldedNetwork, precision: Precision, device: torch.device, shape: Shape) -> Run:
    """In float32, where oneDNN is fast, wide convolutions are computed with fewer products."""
    traced = traced_copy(module.to(memory_format=torch.channels_last_3d))
    if precision == "float32" and onednn_is_fast(device):
        with inductor_settings(frozen=True):
            use_winograd(traced, shape[1] // module.spec.alpha)
    function = torch.compile(traced, fullgraph=True, dynamic=False)
    sizes = set[int]()

    def call(clips: Tensor) -> Tensor:
        clips = clips.contiguous(memory_format=torch.channels_last_3d)
        new = len(clips) not in sizes
        with inductor_settings(frozen=device.type == "cpu") if new else contextlib.nullcontext():
            logits: Tensor = function(clips)
        sizes.add(len(clips))
        return logits

    if device.type == "cpu":
        return in_pieces(keeping_nan(call, torch_kernels=True), 1)
    return FewSizes(
        Recorder(call, device, shape) if device.type == "cuda" else lambda size: padded(call, size)
    )


class _Tracer(fx.Tracer):
    """Records what its own thread calls: those of others come along, as all modules are changed meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def traced_copy(module: nn.Module) -> fx.GraphModule:
    """A copy with code of its own, because torch.compile counts and limits recompilations by code object.

    Clips have been checked when they get there, so the check stays out.

    Raises:
        ExportError: code that looks at numbers, or at what only is known when clips come.
    """
    try:
        with TRACING:
            tracer = _Tracer()
            graph = tracer.trace(module)
            traced = fx.GraphModule(tracer.root, graph, type(module).__name__)
    except (fx.proxy.TraceError, TypeError, RuntimeError, ValueError) as error:
        raise ExportError(
            f"engine='compile' can't trace this model ({error}): take engine='openvino' or 'eager'."
        ) from error
    for node in traced.graph.nodes:
        if node.target is check_clip:
            traced.graph.erase_node(node)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


def _check(device: torch.device) -> None:
    """Refuses a machine that torch.compile can't make code on."""
    compiler = os.environ.get("CXX", {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++"))
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise MissingDependencyError(
            f"engine='compile' needs a C++ compiler, and '{compiler}' isn't on the PATH: install one (g++,"
            " clang++, Visual C++), name it in the variable CXX, or take engine='openvino' or 'eager'."
        )
    if device.type == "cuda" and not installed("triton"):
        raise MissingDependencyError(
            "engine='compile' on a GPU needs the package 'triton', which isn't installed: pip install"
            " triton, or take engine='eager'."
        )


@contextlib.contextmanager
def inductor_settings(*, frozen: bool) -> Iterator[None]:
    """Freezing, and Inductor's cache inside the library's, unless the user has set a private folder.

    Inductor loads code from there; its default lies in a folder that everybody may have made first. One
    thread at a time is inside.

    Raises:
        ExportError: what is done with these settings can't be compiled.
    """
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor import config
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    variable = "TORCHINDUCTOR_CACHE_DIR"
    with TRACING:
        try:
            default = default_cache_dir()
        except (KeyError, OSError):  # older releases ask for the user's name, and not every user has one
            default = ""
        before = os.environ.get(variable, default)  # Inductor itself sets its default
        whole: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if before == default or not artifacts.is_ours(Path(before)):
            folder = artifacts.engine_folder()
            if folder is None:
                raise ExportError(
                    "torch.compile needs a folder that is this user's alone: set SLOWFAST_ZOO_CACHE,"
                    " or take engine='openvino' or 'eager'."
                )
            os.environ[variable] = str(folder / "inductor")
            whole = sealed(folder / "inductor")
        try:
            with whole, config.patch(freezing=frozen):
                yield
        except TorchDynamoException as error:
            reason = str(error).strip().partition("\n")[0]
            raise ExportError(
                f"torch.compile can't build this model ({reason}): take engine='openvino' or 'eager'."
            ) from error
        finally:
            if before:
                os.environ[variable] = before
            else:
                os.environ.pop(variable, None)


COMPILE = Engine(
    name="compile",
    devices=(),
    precisions=("float32", "tf32", "bfloat16", "float16"),
    pays_from=lambda device, precision: math.inf,  # a job that is long enough measures it
    starts_in=40,
    torch_kernels=True,
    check=_check,
    build=_build,
)
