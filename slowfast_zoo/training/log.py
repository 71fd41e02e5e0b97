"""A training's log: JSON lines in the spirit of MMAction2's ``log.json``, and what is shown meanwhile."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slowfast_zoo.data.loader import Batch
from slowfast_zoo.errors import TrainingError, counted
from slowfast_zoo.runtime.distributed import Processes
from slowfast_zoo.runtime.packages import require
from slowfast_zoo.runtime.progress import Progress

_LOGGER = logging.getLogger(__name__)

TENSORBOARD = "tensorboard"
"""Folder of what TensorBoard shows."""

Listener = Callable[[dict[str, Any]], object]
"""Gets the lines of a log as they are written."""


class TrainLog:
    """Appends lines to a file (none in later processes), and shows how far a training is."""

    def __init__(self, path: Path | None, progress: Progress, listener: Listener | None = None) -> None:
        self.path, self._progress, self._score, self._listener = path, progress, "", listener

    def write(self, mode: str, **values: Any) -> None:
        """Appends one line; floats are kept to six digits."""
        if self.path is not None:
            write_line(self.path, mode, values)
            if self._listener is not None:
                self._listener({"mode": mode} | values)

    def step(self, loss: float) -> None:
        """One optimizer step more."""
        self._progress.step(note=f"loss {loss:.4f}{self._score}")

    def validated(self, epoch: int, epochs: int, metrics: dict[str, float]) -> None:
        """Shows the scores of a validation, and the first of them until the next."""
        scores = [f"{name} {value:.4f}" for name, value in metrics.items()]
        self._score = f", validation {scores[0]}" if scores else ""
        self._progress.tell(f"epoch {epoch} of {epochs}, validation: {', '.join(scores)}")


def write_line(path: Path, mode: str, values: dict[str, Any]) -> None:
    """Appends one line to a log, without what is None or, as JSON has none, NaN or infinite.

    Raises:
        TrainingError: no room, no permission.
    """
    line = {"mode": mode} | {name: _short(value) for name, value in values.items() if _is_known(value)}
    _LOGGER.info("%s", ", ".join(f"{name} {value}" for name, value in line.items() if name != "config"))
    try:
        with path.open("ab+") as file:
            if file.tell():
                file.seek(-1, 2)
                # A killed process may have left half a line.
                file.write(b"" if file.read() == b"\n" else b"\n")
            file.write(json.dumps(line).encode() + b"\n")
    except OSError as error:
        raise TrainingError(
            f"{path} can't be written ({error}); checkpoints written so far are intact."
        ) from error


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a training's log, each with its steps per epoch, without the starts.

    A resumed training goes on in the log of the first part; what it repeats replaces what was there. Lines
    that a kill cut or a disk damaged are left out, with a warning: nothing is trained by them.
    """
    kept: list[dict[str, Any]] = []
    damaged: list[str] = []
    steps_per_epoch = 1
    for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not text.strip():
            continue
        line: Any = None
        with contextlib.suppress(ValueError):
            line = json.loads(text)
        try:
            if line["mode"] == "start":
                first, steps_per_epoch = int(line["step"]), max(int(line["steps_per_epoch"]), 1)
                kept = [old for old in kept if steps_before(old, steps_per_epoch) <= first]
            else:
                steps_before(line, steps_per_epoch)
                if kept and all(kept[-1].get(name) == line.get(name) for name in ("mode", "epoch", "iter")):
                    kept.pop()  # a validation that was interrupted before its checkpoint
                kept.append(line | {"steps_per_epoch": steps_per_epoch})
        except (KeyError, TypeError, ValueError):
            damaged.append(str(number))
    if damaged:
        _LOGGER.warning("%s: left out damaged lines: %s.", path, ", ".join(damaged))
    return kept


def steps_before(line: dict[str, Any], steps_per_epoch: int) -> int:
    """Optimizer steps before that line was written."""
    return int((line.get("epoch", 1) - 1) * steps_per_epoch + line.get("iter", 0))


def waited(path: Path) -> str:
    """One sentence: what share of the time of its steps a training waited for clips; "" without steps."""
    waiting = seconds = 0.0
    before = 0
    for line in read_log(path) if path.exists() else ():
        if line["mode"] == "train" and {"data_time", "time"} <= line.keys():
            now = steps_before(line, line["steps_per_epoch"])
            waiting += (now - before) * line["data_time"]
            seconds += (now - before) * line["time"]
            before = now
    return f"Of the time of its steps {waiting / seconds:.0%} was waiting for clips." if seconds else ""


def unread(path: Path) -> str:
    """One sentence: how many clips a training replaced as they couldn't be read; "" for none."""
    lines = read_log(path) if path.exists() else []
    count = max((line.get("unreadable", 0) for line in lines), default=0)
    told = "couldn't be read, and others took their place; 'slowfast-zoo check' names such clips."
    return f"{counted(count, 'clip')} {told}" if count else ""


def _is_known(value: Any) -> bool:
    return value is not None and (not isinstance(value, float) or math.isfinite(value))


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


class Meter:
    """Means of losses, accuracies and times since the last reading, over all processes.

    Attributes:
        unreadable: clips of this training that couldn't be read, as of the last reading.
    """

    def __init__(self, group: Processes) -> None:
        self.group = group
        self.unreadable: set[int] = set()
        self._replaced: set[int] = set()
        self.loss = math.nan
        self._clear()

    def _clear(self) -> None:
        # passes, loss, clips, clips with the right class first, with it among five, seconds waiting, seconds
        self._sums = torch.zeros(7, dtype=torch.float64, device="cpu")

    def replaced(self, batch: Batch) -> Batch:
        """The batch, whose clips that others took the place of are counted."""
        self._replaced.update(index for index, _ in batch.errors)
        return batch

    def gathered(self) -> list[int]:
        """Clips that couldn't be read in any process so far; every process asks."""
        self.unreadable.update(*self.group.gather(self._replaced - self.unreadable))
        return sorted(self.unreadable)

    def add(self, loss: float, logits: Tensor, targets: Tensor, data_seconds: float, seconds: float) -> None:
        """Counts one forward pass: logits (B, classes) and targets, which have one axis for single labels."""
        self.loss = loss
        hits = [math.nan, math.nan]
        if targets.ndim == 1:
            best = logits.detach().topk(min(5, logits.shape[1])).indices.cpu() == targets.cpu().unsqueeze(1)
            hits = [float(best[:, :1].sum()), float(best.sum())]
        passed = [1, loss, len(targets), *hits, data_seconds, seconds]
        self._sums += torch.tensor(passed, dtype=torch.float64, device="cpu")

    def read(self) -> dict[str, float | int | None]:
        """Values of a log line, under MMAction2's names; times are seconds per forward pass, memory is MB."""
        device = self.group.device
        passes, loss, clips, top1, top5, data_time, seconds = self.group.sum(
            self._sums.float().to(device)
        ).tolist()
        self._clear()
        on_gpu = device.type == "cuda"
        known = clips > 0 and not math.isnan(top1)  # one label each, and somebody in the clips
        return {
            "memory": torch.cuda.max_memory_allocated(device) // 2**20 if on_gpu else None,
            "data_time": data_time / passes,
            "time": seconds / passes,
            "top1_acc": top1 / clips if known else None,
            "top5_acc": top5 / clips if known else None,
            "loss": loss / passes,
            "unreadable": len(self.gathered()) or None,
        }


@contextlib.contextmanager
def listening(folder: Path, wanted: bool) -> Iterator[Listener | None]:
    """What writes trainings' numbers for TensorBoard below the folder; None where that isn't wanted.

    Raises:
        MissingDependencyError: it isn't installed.
    """
    if not wanted:
        yield None
        return
    require("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    writers: dict[str, Any] = {}
    steps_per_epoch = 1

    def write(line: dict[str, Any]) -> None:
        nonlocal steps_per_epoch
        training = line.get("training", "")
        if line["mode"] == "start":
            steps_per_epoch = line["steps_per_epoch"]
            if training in writers:
                writers[training].close()
            # What an interrupted run wrote after its last checkpoint is hidden.
            writers[training] = SummaryWriter(
                str(folder / TENSORBOARD / training), purge_step=line["step"] + 1
            )
            return
        step = (line["epoch"] - 1) * steps_per_epoch + line["iter"]
        for name, value in line.items():
            if isinstance(value, (int, float)) and name not in ("epoch", "iter"):
                writers[training].add_scalar(f"{line['mode']}/{name}", value, step)

    try:
        yield write
    finally:
        for writer in writers.values():
            writer.close()
