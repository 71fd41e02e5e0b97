"""Devices by name, TF32 among threads, deterministic mode, what counts as out of memory; no GPU is needed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from slowfast_zoo.errors import InputError, TrainingError
from slowfast_zoo.inference.runner import read_ahead
from slowfast_zoo.runtime import distributed
from slowfast_zoo.runtime.devices import deterministic, is_out_of_memory, sent, to_device
from slowfast_zoo.runtime.precision import autocast, check_kernels, float32_products
from slowfast_zoo.video.decoding.video import ahead

CUDA = torch.device("cuda", 0)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)


@pytest.fixture
def tf32() -> SimpleNamespace:
    """torch's two switches, which are there without a GPU as well."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    return SimpleNamespace(now=lambda: (convolutions.allow_tf32, products.allow_tf32))


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_without_number_is_the_current_one() -> None:
    assert [to_device(name) for name in (None, "cuda", "cuda:0")] == [
        torch.device("cuda", 1),
        torch.device("cuda", 1),
        CUDA,
    ]
    with pytest.raises(InputError, match=r"'cuda:2'.*no such GPU"):
        to_device("cuda:2")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps", "meta", "xpu", "hpu", "xla", "opencl"])
def test_what_is_not_there_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match="give 'cpu'"):
        to_device(name)


def test_only_cuda_keeps_what_an_unfinished_copy_reads() -> None:
    class Values:
        def to(self, device: torch.device, *, non_blocking: bool) -> tuple[str, bool]:
            return device.type, non_blocking

    values: Any = Values()
    found = [sent(values, torch.device(name)) for name in ("cuda:1", "mps", "xpu", "cpu")]
    assert found == [("cuda", True), ("mps", False), ("xpu", False), ("cpu", False)]
    package = Path(__file__).parents[2] / "slowfast_zoo"
    others = [path for path in package.rglob("*.py") if "non_blocking" in path.read_text(encoding="utf-8")]
    assert [path.name for path in others] == ["devices.py"], "the others send by it"


def test_a_mac_whose_torch_lacks_a_kernel_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: object) -> None:
        raise NotImplementedError("aten::max_pool3d_with_indices is not implemented for the MPS device")

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)
    monkeypatch.setattr(torch.nn.functional, "max_pool3d", lambda *_: None)
    assert to_device("mps") == torch.device("mps")
    monkeypatch.setattr(torch.nn.functional, "max_pool3d", lacking)
    with pytest.raises(InputError, match="give 'cpu'"):
        to_device("mps")


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("given", "rank", "index"), [(None, "1", 1), ("cuda", "0", 0), ("cuda:0", "1", 0), ("cuda", None, 1)]
)
def test_a_process_takes_the_gpu_of_its_rank(
    given: str | None, rank: str | None, index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert distributed.join(given).device == torch.device("cuda", index)
    assert not chosen, "who is alone keeps the current GPU"
    for name, value in (("is_initialized", True), ("get_rank", 0), ("get_world_size", 1)):
        monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
    assert distributed.join(given).device == torch.device("cuda", index)
    assert chosen == [torch.device("cuda", index)], "with a number: set_device takes no other"


def test_a_group_that_its_owner_has_ended_is_not_ended_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: ended.append(True))
    for there in (False, True):
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda there=there: there)
        distributed._leave()
    assert ended == [True]


@pytest.mark.usefixtures("two_gpus")
def test_threads_that_read_take_the_callers_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[str, object]] = []

    def take(stream: object) -> None:
        taken.append((threading.current_thread().name.partition("_")[0], stream))

    def start(index: int) -> Generator[int, None, None]:
        yield from ahead(lambda item: item + index, range(3))

    monkeypatch.setattr(torch.cuda, "set_stream", take)
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: None)
    assert list(read_ahead(start(1), 2)) == [1, 2, 3]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "default_stream", lambda index: f"default {index}")
    monkeypatch.setattr(torch.cuda, "current_stream", lambda index: f"default {index}")
    assert list(read_ahead(start(1), 2)) == [1, 2, 3] and not taken
    monkeypatch.setattr(torch.cuda, "current_stream", lambda index: f"default {index}" if index else "own")
    assert list(read_ahead(start(1), 2)) == [1, 2, 3]
    assert set(taken) == {("slowfast-read", "own"), ("frames", "own")}


def test_float32_is_float32_inside_and_what_it_was_outside(tf32: SimpleNamespace) -> None:
    with float32_products("float32", CUDA):
        assert tf32.now() == (False, False)
    assert tf32.now() == (True, False)
    with float32_products("tf32", CUDA), float32_products("tf32", CUDA):
        assert tf32.now() == (True, True)
    with pytest.raises(ValueError, match="on the way"), float32_products("float32", CUDA):
        raise ValueError("on the way")
    with float32_products("float32", torch.device("cpu")):
        assert tf32.now() == (True, False)
    with autocast(torch.device("cpu"), "float32"):
        assert not torch.is_autocast_enabled("cpu")
    with torch.autocast("cpu", torch.bfloat16):
        for kind in ("cpu", "meta"):  # the latter knows no autocast
            with float32_products("float32", torch.device(kind)):
                assert torch.is_autocast_enabled("cpu") == (kind != "cpu")
        assert torch.is_autocast_enabled("cpu")


def test_threads_that_overlap_never_round_for_another(tf32: SimpleNamespace) -> None:
    entered, leave = threading.Event(), threading.Event()

    def exact() -> None:
        with float32_products("float32", CUDA):
            entered.set()
            leave.wait(10)

    other = threading.Thread(target=exact)
    with float32_products("tf32", CUDA):
        other.start()
        assert entered.wait(10)
        assert tf32.now() == (False, False)
        leave.set()
        other.join()
        assert tf32.now() == (True, True)
    assert tf32.now() == (True, False)


def test_the_newer_switch_survives() -> None:
    """torch can't read the older switch after the newer was set; there is no such one before torch 2.9."""
    products = torch.backends.cuda.matmul
    if not hasattr(products, "fp32_precision"):
        return
    before = products.fp32_precision
    try:
        products.fp32_precision = "tf32"
        with float32_products("float32", CUDA):
            assert products.fp32_precision != "tf32"
        assert products.fp32_precision == "tf32"
    finally:
        products.fp32_precision = before
        products.allow_tf32 = False


WIDE_SWITCHES = """
import torch
from slowfast_zoo.runtime.precision import float32_products

def switches():
    parts = backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul, *cpu_parts
    return [part.fp32_precision for part in parts]

def level():
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return "mixed"

backends = torch.backends
cpu_parts = backends.mkldnn.matmul, backends.mkldnn.conv
{setting}
before = switches(), level()
with float32_products("float32", torch.device("cuda")):
    assert set(switches()[:3]) <= {{"none", "ieee"}}, switches()
    with float32_products("float32", torch.device("cpu")):
        assert set(switches()) <= {{"none", "ieee"}}, switches()
assert (switches(), level()) == before, (before, switches(), level())
with float32_products("float32", torch.device("cpu")):
    with float32_products("float32", torch.device("cuda")):
        pass
    assert set(switches()[3:]) <= {{"none", "ieee"}}, switches()
assert (switches(), level()) == before, (before, switches(), level())
"""

TAKEN_BACK = """
backends.fp32_precision = {value!r}
if {entered}:
    with float32_products("float32", torch.device("cpu")):
        pass
    with float32_products("float32", torch.device("cuda")):
        pass
for later in ("none", "tf32", "none"):
    backends.fp32_precision = later
    print(later, switches()[2:], level())  # cuDNN's own default is none of the values that can be set
"""


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="this torch has older switches only")
@pytest.mark.parametrize(
    "setting",
    [
        "torch.backends.fp32_precision = 'tf32'",
        "torch.backends.cudnn.fp32_precision = 'tf32'",
        "torch.set_float32_matmul_precision('medium')",
        "torch.set_float32_matmul_precision('high')",
    ],
)
def test_no_wider_switch_rounds_inside_and_each_is_left_as_it_was(setting: str) -> None:
    script = WIDE_SWITCHES.format(setting=setting)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="this torch has older switches only")
@pytest.mark.parametrize("value", ["none", "bf16", "tf32"])
def test_a_wider_switch_that_is_changed_later_reaches_all(value: str) -> None:
    """As in a process that computed nothing."""
    start = WIDE_SWITCHES.partition("{setting}")[0]
    scripts = [start + TAKEN_BACK.format(value=value, entered=entered) for entered in (False, True)]
    never, after = (subprocess.check_output([sys.executable, "-c", script], text=True) for script in scripts)
    assert after == never


@pytest.mark.parametrize(("kernels", "others"), [(True, " or 'bfloat16'"), (False, "")])
@pytest.mark.parametrize("precision", ["tf32", "float16"])
def test_a_processor_has_no_such_precision(
    precision: str, kernels: bool, others: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slowfast_zoo.runtime.precision.has_bfloat16_kernels", lambda: kernels)
    with pytest.raises(InputError, match=f"{precision} needs a GPU; .*precision='float32'{others}.$"):
        check_kernels(precision, torch.device("cpu"))  # type: ignore[arg-type]


def test_who_asked_torch_for_determinism_keeps_it() -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    try:
        with deterministic(False):
            assert (cudnn.deterministic, cudnn.benchmark) == (False, True)
        with deterministic(True):
            assert (cudnn.deterministic, cudnn.benchmark) == (True, False)
        cudnn.deterministic = True
        with deterministic(False):
            assert (cudnn.deterministic, cudnn.benchmark) == (True, False)
        assert cudnn.deterministic
    finally:
        cudnn.deterministic, cudnn.benchmark = before


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GiB)"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_BAD_PARAM"), False),
        (ValueError("out of memory"), False),
    ],
    ids=str,
)
def test_out_of_memory_is_told_from_other_errors(error: Exception, memory: bool) -> None:
    assert is_out_of_memory(error) is memory


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"WORLD_SIZE": "2"}, r"'RANK', 'MASTER_PORT', 'MASTER_ADDR' isn't set"),
        (
            {"WORLD_SIZE": "many", "RANK": "0"},
            "WORLD_SIZE is 'many' in the environment, and 'WORLD_SIZE', ",
        ),
        ({"WORLD_SIZE": "2", "RANK": "x", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "and 'RANK' isn't set"),
    ],
)
def test_half_of_what_torchrun_sets_is_refused(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], told: str
) -> None:
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert distributed.join("cpu").world == 1
    for alone in ("1 ", "-1", "0"):
        monkeypatch.setenv("WORLD_SIZE", alone)
        assert distributed.join("cpu").world == 1
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match=told):
        distributed.join("cpu")
