"""Devices by name, TF32 among threads, deterministic mode, what counts as out of memory; no GPU is needed."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
import torch

from slowfast_zoo.errors import InputError
from slowfast_zoo.runtime import distributed
from slowfast_zoo.runtime.devices import deterministic, is_out_of_memory, to_device
from slowfast_zoo.runtime.precision import autocast, check_kernels, float32_products

CUDA = torch.device("cuda", 0)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)


@pytest.fixture
def tf32(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """torch's two switches; the real ones stay as they are."""
    convolutions, products = SimpleNamespace(allow_tf32=True), SimpleNamespace(allow_tf32=False)
    owners = (convolutions, products)
    monkeypatch.setattr("slowfast_zoo.runtime.precision._tf32_owners", lambda: owners)
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
    assert chosen == [torch.device("cuda", index)], "with a number: set_device takes no other"


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
