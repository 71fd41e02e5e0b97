"""Batches of any size on a GPU by few compiled sizes, each recorded as a CUDA graph.

Inductor's own graphs (mode "reduce-overhead") belong to the thread that compiled them and fail in another;
these may be replayed by any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from slowfast_zoo.inference.engines.engine import Run, Shape
from slowfast_zoo.runtime.devices import is_out_of_memory

_COVER = 4
"""A batch takes a size that is there, if that is at most so many times the power of two which it would fill:
computing three times too much takes milliseconds, and making a size half a minute."""
_WARM_UP = 3
"""Runs before a graph is recorded: Triton and cuDNN choose and load kernels, which can't be recorded."""
_RECORDING = threading.Lock()
"""Of one graph at a time: recording it waits for the whole GPU, which another recording forbids."""


class FewSizes:
    """A function of batches of any size, by functions of few sizes, for any number of threads.

    Args:
        make: gives the function for batches of up to so many clips.
    """

    def __init__(self, make: Callable[[int], Run]) -> None:
        self._make = make
        self._runs: dict[int, Run] = {}
        self._lock = threading.Lock()

    def __call__(self, clips: Tensor) -> Tensor:
        """The logits of clips (n, C, T, H, W), n at least 1."""
        least = 1 << (len(clips) - 1).bit_length()
        with self._lock:
            size = min((size for size in self._runs if least <= size <= _COVER * least), default=least)
            if size not in self._runs:
                self._runs[size] = self._make(size)
            return self._runs[size](clips)


def padded(call: Run, size: int) -> Run:
    """``call`` with batches filled up to a size."""

    def run(clips: Tensor) -> Tensor:
        filling = clips.new_zeros((size - len(clips), *clips.shape[1:]))
        return call(torch.cat([clips, filling]))[: len(clips)]

    return run


class Recorder:
    """Records a function of clips as a CUDA graph, once for each size of batches; graphs share their memory.

    Args:
        call: clips on the device to logits.
        device: which GPU.
        shape: (C, T, H, W) of a clip.
    """

    def __init__(self, call: Run, device: torch.device, shape: Shape) -> None:
        self._call, self._device, self._shape = call, device, shape
        self._pool: Any = None
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def __call__(self, size: int) -> Run:
        """The graph for that many clips, which takes fewer as well. Not for two threads at once."""
        with _RECORDING, torch.cuda.device(self._device):
            clips = torch.zeros((size, *self._shape), dtype=torch.float32, device=self._device)
            clips = clips.contiguous(memory_format=torch.channels_last_3d)
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            current = torch.cuda.current_stream()
            current.wait_event(self._done)  # what the other graphs compute in is used again
            side.wait_stream(current)
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP):
                    self._call(clips)
            current.wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            try:
                # Other threads send frames to the GPU meanwhile, which a global recording would forbid.
                with torch.cuda.graph(graph, self._pool, side, capture_error_mode="thread_local"):
                    logits = self._call(clips)
            except RuntimeError as error:
                cause = error.__context__  # an interrupted recording says no more than that it was
                raise cause if cause is not None and is_out_of_memory(cause) else error from None
            self._pool = self._pool or graph.pool()
        return self._replayed(graph, clips, logits)

    def _replayed(self, graph: torch.cuda.CUDAGraph, clips: Tensor, logits: Tensor) -> Run:
        def run(given: Tensor) -> Tensor:
            with torch.cuda.device(self._device):
                # Another stream may still be busy with the memory that all graphs share.
                torch.cuda.current_stream().wait_event(self._done)
                clips[: len(given)].copy_(given)
                graph.replay()
                answer = logits[: len(given)].clone()
                self._done.record()
            return answer

        return run
