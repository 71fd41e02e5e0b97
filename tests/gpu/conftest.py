"""Tests on a GPU: ``python -m pytest -m gpu``. Without one they fail; ``--gpu-device cpu`` rehearses them.

A rehearsal computes the same on the processor, and skips what has no meaning there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.movies import moving_pattern, write_video
from support.small_nets import make_model

from slowfast_zoo import SlowFast


@pytest.fixture(scope="session")
def gpu(request: pytest.FixtureRequest) -> torch.device:
    """Where the network computes."""
    device = torch.device(request.config.getoption("--gpu-device"))
    if device.type == "cuda" and not torch.cuda.is_available():
        pytest.fail("-m gpu asks for tests on a GPU, and torch finds none here.")
    return device


@pytest.fixture(scope="session")
def cuda(gpu: torch.device) -> torch.device:
    """The same, for what only a GPU does."""
    if gpu.type != "cuda":
        pytest.skip("a rehearsal without a GPU")
    return gpu


@pytest.fixture(autouse=True)
def _memory_is_given_back(gpu: torch.device) -> Iterator[None]:
    yield
    if gpu.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


@pytest.fixture(scope="session")
def model() -> SlowFast:
    """On the processor, whose answers are what is expected."""
    return make_model()


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Without loss, of several sizes and lengths."""
    folder = tmp_path_factory.mktemp("clips")
    shapes = [(40, 96, 128), (60, 128, 96), (20, 90, 161), (33, 71, 70)]
    return [
        write_video(folder / f"clip {seed}.mkv", moving_pattern(*shape, seed))
        for seed, shape in enumerate(shapes)
    ]
