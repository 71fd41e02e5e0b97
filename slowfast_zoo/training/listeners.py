"""Who else hears the numbers of a training: TensorBoard."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slowfast_zoo.runtime.packages import require
from slowfast_zoo.training.journal import Listener

TENSORBOARD = "tensorboard"


@contextlib.contextmanager
def listening(folder: Path, wanted: bool) -> Iterator[Listener | None]:
    """What writes a training's numbers for TensorBoard below the folder; None where that isn't wanted.

    Raises:
        MissingDependencyError: it isn't installed.
    """
    if not wanted:
        yield None
        return
    require("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(str(folder / TENSORBOARD))
    steps_per_epoch = 1

    def write(line: dict[str, Any]) -> None:
        nonlocal steps_per_epoch
        if line["mode"] == "start":
            steps_per_epoch = line["steps_per_epoch"]
            return
        step = (line["epoch"] - 1) * steps_per_epoch + line["iter"]
        for name, value in line.items():
            if isinstance(value, (int, float)) and name not in ("epoch", "iter"):
                writer.add_scalar(f"{line['mode']}/{name}", value, step)

    try:
        yield write
    finally:
        writer.close()
