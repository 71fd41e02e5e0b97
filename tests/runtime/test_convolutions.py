"""Convolutions tried in a process of their own: which, how, and what is said of one that is wrong."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
import torch
from support.small_nets import SMALL, make_model

from slowfast_zoo.network.twin import eval_twin
from slowfast_zoo.runtime.convolutions import ACCIDENTS, NOT_TRIED, Convolution, recorded, try_convolutions

SIDES = itertools.count(4)


@pytest.fixture
def lateral() -> Convolution:
    """One that strides through time; of a size that no other test has asked for."""
    return Convolution((1, 8, 16, 4, next(SIDES)), (16, 8, 5, 1, 1), (8, 1, 1), (2, 0, 0))


@pytest.fixture
def other() -> Convolution:
    return Convolution((1, 8, 2, 4, next(SIDES)), (16, 8, 1, 1, 1), (1, 1, 1), (0, 0, 0))


def test_the_convolutions_of_a_network_are_recorded_without_computing() -> None:
    meta = torch.device("meta")
    twin = eval_twin(make_model(SMALL.replace(alpha=8)), meta)
    found = recorded(lambda: twin(torch.empty(1, 3, 16, 64, 64, device=meta)))
    assert Convolution((1, 8, 16, 8, 8), (16, 8, 5, 1, 1), (8, 1, 1), (2, 0, 0)) in found
    assert len(found) == len(set(found)) > 20


def test_right_convolutions_are_right_and_asked_once(
    monkeypatch: pytest.MonkeyPatch, lateral: Convolution, other: Convolution
) -> None:
    for precision in ("float32", "bfloat16"):
        assert try_convolutions([lateral, other], precision) == {lateral: "", other: ""}
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert try_convolutions([lateral], "bfloat16") == {lateral: ""}


@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        ("os.abort()", "it ends the process (SIGABRT)"),
        ("raise RuntimeError('no such primitive')", "RuntimeError: no such primitive"),
        ("return output * float('nan')", "it gives NaN"),
        ("return output * 1.5", "it is off by 0.5 of the largest output"),
    ],
)
def test_a_wrong_convolution_is_named(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    lateral: Convolution,
    other: Convolution,
    fault: str,
    answer: str,
) -> None:
    """A stand-in for a processor's broken kernel, in the other process alone."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, torch\n"
        "from torch.nn import functional as F\n"
        "conv3d = F.conv3d\n"
        "def broken(x, weight, bias, stride, padding, dilation):\n"
        "    output = conv3d(x, weight, bias, stride, padding, dilation)\n"
        "    if x.dtype == torch.bfloat16 and stride[0] == 8:\n"
        f"        {fault}\n"
        "    return output\n"
        "F.conv3d = broken\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = try_convolutions([other, lateral], "bfloat16")
    assert found[other] == ""
    assert answer in found[lateral]


@pytest.mark.skipif(sys.platform == "win32", reason="without signals")
@pytest.mark.parametrize(
    "fault",
    [
        "os.kill(os.getpid(), 9)",
        "raise MemoryError",
        'raise RuntimeError("DefaultCPUAllocator: can\'t allocate memory: you tried to allocate 9 bytes.")',
    ],
)
def test_an_accident_is_told_from_a_wrong_convolution(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, other: Convolution, fault: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        f"import os\nfrom torch.nn import functional as F\ndef full(*_):\n    {fault}\nF.conv3d = full\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert try_convolutions([other], "bfloat16")[other] in ACCIDENTS


def test_a_process_without_torch_tries_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, other: Convolution
) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch.so: no such file')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert try_convolutions([other], "bfloat16") == {other: NOT_TRIED}
    assert "aren't tried: libtorch.so: no such file" in caplog.text
    (tmp_path / "torch.py").unlink()
    assert try_convolutions([other], "bfloat16") == {other: ""}, "it is tried when that is possible"


def test_python_inside_another_program_tries_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, other: Convolution
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert try_convolutions([other], "bfloat16") == {other: NOT_TRIED}
    assert "aren't tried" in caplog.text
