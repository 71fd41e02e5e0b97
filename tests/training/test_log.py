"""The log of a training, and where it goes on the way."""

from __future__ import annotations

import math
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from slowfast_zoo.data.loader import Batch
from slowfast_zoo.errors import MissingDependencyError
from slowfast_zoo.runtime.distributed import Processes
from slowfast_zoo.training.log import Meter, listening, write_line


def test_lines_are_json_also_where_numbers_are_none(tmp_path: Path) -> None:
    write_line(tmp_path / "log", "train", {"loss": 0.1234567, "grad_norm": math.inf, "score": math.nan})
    write_line(tmp_path / "log", "val", {"epoch": 1, "memory": None})
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == ['{"mode": "train", "loss": 0.123457}', '{"mode": "val", "epoch": 1}']


def test_torchs_default_device_has_no_part_in_the_means() -> None:
    with torch.device("meta"):
        meter = Meter(Processes(0, 1, torch.device("cpu")))
        meter.add(0.5, torch.eye(3, device="cpu"), torch.arange(3, device="cpu"), 1.0, 2.0)
        assert meter.read()["loss"] == 0.5


def test_unreadable_clips_count_once_whichever_process_met_them() -> None:
    class Two(Processes):
        def sum(self, values: torch.Tensor) -> torch.Tensor:
            return values

        def gather(self, value: set[int]) -> list[set[int]]:
            return [value, {5, 7}]

    meter = Meter(Two(0, 2, torch.device("cpu")))
    targets = torch.arange(3)
    meter.replaced(Batch(torch.eye(3), targets, [1, 2, 5], [1, 1, 1], [(1, "cut"), (5, "cut")]))
    meter.add(0.5, torch.eye(3), targets, 1.0, 2.0)
    assert meter.read()["unreadable"] == 3 and meter.gathered() == [1, 5, 7]


def test_numbers_reach_tensorboard_at_their_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            self.folder = Path(folder).name
            written.append((self.folder, purge_step))

        def add_scalar(self, *values: Any) -> None:
            written.append(values)

        def close(self) -> None:
            written.append(f"{self.folder} closed")

    package = types.ModuleType("torch.utils.tensorboard")
    package.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorboard", types.ModuleType("tensorboard"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", package)
    with listening(tmp_path, True) as listener:
        assert listener is not None
        listener({"mode": "start", "steps_per_epoch": 4, "step": 0})
        listener({"mode": "train", "epoch": 2, "iter": 3, "loss": 0.5, "memory": None})
        listener({"mode": "start", "steps_per_epoch": 6, "step": 3, "training": "all"})
        listener({"mode": "val", "epoch": 1, "iter": 6, "top1_acc": 1.0, "training": "all"})
    assert written == [
        ("tensorboard", 1),
        ("train/loss", 0.5, 7),
        ("all", 4),
        ("val/top1_acc", 1.0, 6),
        "tensorboard closed",
        "all closed",
    ]
    with listening(tmp_path, False) as listener:
        assert listener is None
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingDependencyError, match="pip install tensorboard"), listening(tmp_path, True):
        pass
