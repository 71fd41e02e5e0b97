"""Shared by all tests: no leaking random state, and nets small enough to run anywhere."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if "PYTEST_XDIST_WORKER" in os.environ:  # processes that share the work share the processors, too
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

import hatch_build
from slowfast_zoo.runtime import precision
from slowfast_zoo.video.transforms import compiled

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Files of each room that together take less than a minute on two cores: python -m pytest -m quick
QUICK = """
    test_aggregate test_batch_norm test_cache test_catalog test_check test_clips test_compiled test_dialects
    test_files test_labels test_lists test_loader test_options test_reader test_readme test_rgb test_rows
    test_sampling test_segments test_sources test_spec test_splits test_times test_training_files
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--gpu-device", default="cuda:0", help="where tests/gpu run; 'cpu' rehearses those that can be"
    )


def pytest_configure(config: pytest.Config) -> None:
    """A cache of the Hub's client for these tests: it reads where that is when it is imported."""
    folder = tempfile.TemporaryDirectory()
    config.add_cleanup(folder.cleanup)
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN_PATH", "HF_TOKEN"):
        os.environ.pop(name, None)
    os.environ["HF_HOME"] = folder.name


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the tests of the quick files; leaves out those of a GPU, unless -m asks for them."""
    quick = set(QUICK.split())
    for item in items:
        if item.path.stem in quick:
            item.add_marker(pytest.mark.quick)
    if "gpu" not in config.option.markexpr:
        gone = [item for item in items if item.get_closest_marker("gpu")]
        items[:] = [item for item in items if item not in gone]
        config.hook.pytest_deselected(items=gone)


@pytest.fixture(autouse=True)
def _no_leaking_rng() -> Iterator[None]:
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    yield
    torch.random.set_rng_state(state)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's caches of this library and of torch.hub."""
    for name in (
        "SLOWFAST_ZOO_MIRROR",
        "SLOWFAST_ZOO_OFFLINE",
        "HF_HUB_OFFLINE",
        "HF_ENDPOINT",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLOWFAST_ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch_home")))


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's sockets of this process reach this machine alone; what FFmpeg and children do isn't seen."""
    if request.node.get_closest_marker("cluster"):  # whose parts find each other by other addresses
        return

    def near(name: str) -> Callable[..., Any]:
        connect = getattr(socket.socket, name)

        def checked(self: socket.socket, address: Any) -> Any:
            host = address[0] if isinstance(address, tuple) else "localhost"  # else of the file system
            if host not in ("localhost", "::1") and not host.startswith("127."):
                raise ConnectionRefusedError(errno.ECONNREFUSED, f"tests don't reach for {host}")
            return connect(self, address)

        return checked

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, near(name))


@pytest.fixture
def bfloat16_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor with bfloat16 kernels; small nets are right without them, too."""
    monkeypatch.setattr(precision, "has_bfloat16_kernels", lambda: True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for tests marked ``browser``: the system's, or playwright's own."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def resize_library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """resize.c as an installation with a C compiler builds it; on Windows none does."""
    if sys.platform == "win32":
        pytest.skip("Windows takes the pure wheel")
    path = tmp_path_factory.mktemp("library") / compiled.library_path().name
    assert hatch_build.build(compiled.SOURCE, path), "the tests need a C compiler"
    return ctypes.CDLL(str(path))


@pytest.fixture(params=["compiled", "NumPy"])
def both_resizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a test with the compiled resize and with NumPy's."""
    library = request.getfixturevalue("resize_library") if request.param == "compiled" else None
    monkeypatch.setattr(compiled, "library", lambda: library)
