"""A training's log: JSON lines in the spirit of MMAction2's ``log.json``, and a progress bar."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from slowfast_zoo.errors import TrainingError
from slowfast_zoo.runtime.distributed import Processes

_LOGGER = logging.getLogger(__name__)


class Journal:
    """Appends lines to a file and moves a bar; without a path (all processes but the first) silent."""

    def __init__(self, path: Path | None, *, done: int, steps: int, progress: bool) -> None:
        """
        Args:
            path: of the log.
            done: optimizer steps done before.
            steps: optimizer steps of the whole training.
            progress: show a bar when stderr is a terminal.
        """
        from tqdm import tqdm

        self.path = path
        hidden = None if progress and path is not None else True
        self.bar = tqdm(desc="train", total=steps, initial=done, unit="step", disable=hidden)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()

    def write(self, mode: str, **values: Any) -> None:
        """Appends one line; floats are kept to six digits."""
        if self.path is None:
            return
        line = {"mode": mode} | {name: _short(value) for name, value in values.items() if value is not None}
        _LOGGER.info("%s", ", ".join(f"{name} {value}" for name, value in line.items() if name != "config"))
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise TrainingError(
                f"{self.path} can't be written ({error}); checkpoints written so far are intact."
            ) from error

    def step(self, loss: float) -> None:
        """Moves the bar by one optimizer step."""
        self.bar.update()
        self.bar.set_postfix(loss=f"{loss:.4f}", refresh=False)


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


class Meter:
    """Means of losses, accuracies and times since the last reading, over all processes."""

    def __init__(self, group: Processes) -> None:
        self.group = group
        self.loss = math.nan
        self._clear()

    def _clear(self) -> None:
        # passes, loss, clips, clips with the right class first, with it among five, seconds waiting, seconds
        self._sums = torch.zeros(7, dtype=torch.float64)

    def add(self, loss: float, logits: Tensor, targets: Tensor, data_seconds: float, seconds: float) -> None:
        """Counts one forward pass: logits (B, classes) and targets, which have one axis for single labels."""
        self.loss = loss
        hits = [math.nan, math.nan]
        if targets.ndim == 1:
            best = logits.detach().topk(min(5, logits.shape[1])).indices.cpu() == targets.cpu().unsqueeze(1)
            hits = [float(best[:, :1].sum()), float(best.sum())]
        self._sums += torch.tensor([1, loss, len(targets), *hits, data_seconds, seconds], dtype=torch.float64)

    def read(self) -> dict[str, float | int | None]:
        """Values of a log line, under MMAction2's names; times are seconds per forward pass, memory is MB."""
        device = self.group.device
        passes, loss, clips, top1, top5, data_time, seconds = self.group.sum(
            self._sums.float().to(device)
        ).tolist()
        self._clear()
        on_gpu = device.type == "cuda"
        return {
            "memory": torch.cuda.max_memory_allocated(device) // 2**20 if on_gpu else None,
            "data_time": data_time / passes,
            "time": seconds / passes,
            "top1_acc": None if math.isnan(top1) else top1 / clips,
            "top5_acc": None if math.isnan(top5) else top5 / clips,
            "loss": loss / passes,
        }
