"""Whether torch's convolutions are right on this processor: tried in a process of its own.

Some half-precision kernels damage the memory of the process that calls them, which nothing can catch; so
they are called where it does no harm. This file is that process's program, too: it needs torch alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

_LOGGER = logging.getLogger(__name__)

_TOLERANCES = {"float32": 1e-5, "bfloat16": 2e-2, "float16": 5e-3}
"""Largest error accepted, as a share of the largest output: rounding gives 1e-7, 4e-3 and 5e-4, a broken
kernel 1 or more."""

_SECONDS = 300.0

_UNFINISHED = f"it doesn't end within {_SECONDS:.0f} s"
_NO_MEMORY = "its process ran out of memory, or was killed"
ACCIDENTS = (_UNFINISHED, _NO_MEMORY)
"""What is wrong where a busy machine may be to blame, and not the processor."""
NOT_TRIED = "no process can try it here"
"""The answer where nothing is known to be wrong, and nothing to be right."""

_NO_TORCH = 64
"""Exit status of a process that can't import torch."""

_KNOWN: dict[tuple[object, ...], str] = {}


@dataclasses.dataclass(frozen=True)
class Convolution:
    """One convolution as a network asks for it."""

    input: tuple[int, ...]
    """(B, C, T, H, W)"""
    weight: tuple[int, ...]
    """(outputs, C, kernel)"""
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...] = (1, 1, 1)

    def __str__(self) -> str:
        channels, size = f"{self.weight[1]} to {self.weight[0]} channels", "x".join(map(str, self.input[2:]))
        dilation = "" if max(self.dilation) == 1 else f", dilation {self.dilation}"
        return f"{channels}, kernel {self.weight[2:]}, stride {self.stride}{dilation}, maps of {size}"


def recorded(run: Callable[[], object]) -> tuple[Convolution, ...]:
    """The different three-dimensional convolutions that a call of torch asks for; meta tensors will do."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    seen: dict[Convolution, None] = {}

    class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            if func is torch.ops.aten.convolution.default and args[1].ndim == 5:
                shapes = tuple(args[0].shape), tuple(args[1].shape)
                seen[Convolution(*shapes, *map(tuple, args[3:6]))] = None
            return func(*args, **kwargs or {})

    with torch.inference_mode(False), torch.no_grad(), Recorder():  # type: ignore[no-untyped-call]
        run()
    return tuple(seen)


def try_convolutions(
    convolutions: Iterable[Convolution], precision: str, *, channels_last: bool = True
) -> dict[Convolution, str]:
    """What is wrong with each convolution on this processor, in words; "" where it is right.

    The first call of a process takes some seconds; what it has found it knows from then on, but ``ACCIDENTS``
    and ``NOT_TRIED``, which may be otherwise the next time.

    Args:
        convolutions: as ``recorded`` gives them.
        precision: "float32", "bfloat16" or "float16".
        channels_last: try them in this memory format.
    """
    import torch

    setting = (precision, channels_last, torch.get_num_threads(), os.environ.get("ONEDNN_MAX_CPU_ISA"))
    given = dict.fromkeys(convolutions)
    new = [each for each in given if (each, *setting) not in _KNOWN]
    answers, end = _run(new, precision, channels_last) if new else ({}, "")
    if end:  # one of them is to blame, and perhaps not the one that was running: each on its own
        answers = {}
        for each in new:
            answer, end = _run([each], precision, channels_last)
            answers[each] = end or answer.get(each, "it gave no answer")
    passing = (*ACCIDENTS, NOT_TRIED)
    _KNOWN.update({(each, *setting): text for each, text in answers.items() if text not in passing})
    return {each: answers[each] if each in answers else _KNOWN[each, *setting] for each in given}


def _run(
    convolutions: list[Convolution], precision: str, channels_last: bool
) -> tuple[dict[Convolution, str], str]:
    """The answers of one process, and how it ended, where that wasn't as it should."""
    import torch

    from slowfast_zoo.runtime.devices import is_out_of_memory

    job = {
        "convolutions": [dataclasses.astuple(each) for each in convolutions],
        "precision": precision,
        "channels_last": channels_last,
        "threads": torch.get_num_threads(),
    }
    # glibc fills fresh memory with this byte's complement: what a kernel reads there is a huge number.
    surroundings = os.environ | {"MALLOC_PERTURB_": "1", "MALLOC_CHECK_": "3"}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-W", "ignore", __file__],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            env=surroundings,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {}, _UNFINISHED
    except OSError as error:  # Python inside another program
        _LOGGER.warning("Convolutions in %s aren't tried: no process of their own: %s", precision, error)
        return dict.fromkeys(convolutions, NOT_TRIED), ""
    if done.returncode == _NO_TORCH:
        _LOGGER.warning("Convolutions in %s aren't tried: %s", precision, _last_line(done.stderr))
        return dict.fromkeys(convolutions, NOT_TRIED), ""
    answers = dict(zip(convolutions, done.stdout.splitlines(), strict=False))
    answers = {each: answer.removeprefix("right") for each, answer in answers.items()}
    full = "MemoryError" in done.stderr or is_out_of_memory(RuntimeError(done.stderr))
    if done.returncode == -9 or (done.returncode and full):  # SIGKILL, for which Windows has no name
        return answers, _NO_MEMORY
    if done.returncode < 0:
        with contextlib.suppress(ValueError):
            return answers, f"it ends the process ({signal.Signals(-done.returncode).name})"
    if done.returncode:
        last = _last_line(done.stderr) or f"exit status {done.returncode}"
        return answers, f"it ends the process ({last})"
    return answers, ""


def _last_line(text: str) -> str:
    return "".join(text.strip().splitlines()[-1:])


def _answer(convolution: list[list[int]], precision: str, channels_last: bool) -> str:
    """ "right", or what is wrong with one convolution."""
    import torch
    from torch.nn import functional as F

    size, weight_size, stride, padding, dilation = convolution
    dtype: torch.dtype = getattr(torch, precision)
    exact = torch.float64 if precision == "float32" else torch.float32
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size, generator=generator).to(dtype)
    weight = torch.randn(weight_size, generator=generator).to(dtype)
    expected = F.conv3d(x.to(exact), weight.to(exact), None, stride, padding, dilation)
    if channels_last:
        x, weight = (each.contiguous(memory_format=torch.channels_last_3d) for each in (x, weight))
    worst = 0.0
    for _ in range(2):  # a damaged heap may show only when it is used again
        output = F.conv3d(x, weight, None, stride, padding, dilation).to(exact)
        error = float((output - expected).abs().max() / expected.abs().max())
        if error != error:
            return "it gives NaN"
        worst = max(worst, error)
    return "right" if worst <= _TOLERANCES[precision] else f"it is off by {worst:.1g} of the largest output"


def _main() -> None:
    try:
        import torch
    except (ImportError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(_NO_TORCH)
    job = json.load(sys.stdin)
    torch.set_num_threads(job["threads"])
    with torch.inference_mode():
        for convolution in job["convolutions"]:
            sys.stdout.write(f"{_answer(convolution, job['precision'], job['channels_last'])}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    _main()
