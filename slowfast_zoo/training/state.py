"""Files of a training: written whole or not at all, and what is needed to go on exactly.

``resume.pt`` holds weights, optimizer, loss scaler and position. Data order, augmentation and dropout are
drawn from (seed, position), so they need no further state. ``last.safetensors`` and ``best.safetensors``
hold the weights with their specs and class names.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from slowfast_zoo.errors import CheckpointError, TrainingError
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ClipSpec, ModelSpec

RESUME, LAST, BEST, LOG = "resume.pt", "last.safetensors", "best.safetensors", "log.jsonl"
_METADATA = "slowfast_zoo"
# Where a step's clips are computed, and what is written when. How a step is divided matters to batch norms
# only, and memory may be the reason for the interruption.
_MAY_CHANGE = {
    "accumulate",
    "activation_checkpointing",
    "batch_size",
    "checkpoint_every",
    "checkpoint_steps",
    "log_every",
    "validate_every",
    "workers",
}


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replaces a file in one step, after its new content is on the disk; the old one stays until then.

    Args:
        path: the file.
        write: fills the file that it is given.

    Raises:
        TrainingError: no room, no permission; the old file is as it was.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch.save makes a RuntimeError of a full disk
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        kept = f"the earlier {path.name} is intact" if path.exists() else "nothing was kept"
        reason = str(error.__context__ or error).splitlines()[0]
        raise TrainingError(
            f"{path} can't be written ({reason}); {kept}. Make room, or choose another work directory."
        ) from error


@contextlib.contextmanager
def work_directory(path: str | Path, *, resume: bool) -> Iterator[Path]:
    """Makes the folder and keeps other trainings out of it.

    Raises:
        TrainingError: it can't be written, another training uses it, or it holds one already.
    """
    import filelock

    folder = Path(path)
    lock = filelock.FileLock(folder / ".lock", blocking=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as error:
        raise TrainingError(
            f"Another training is running in {folder}; choose another work directory."
        ) from error
    except OSError as error:
        raise TrainingError(f"The work directory {folder} can't be written: {error}.") from error
    try:
        if not resume and (folder / RESUME).exists():
            raise TrainingError(
                f"{folder} holds a training already; resume it, or choose another work directory."
            )
        for leftover in folder.glob("*.tmp"):
            leftover.unlink(missing_ok=True)
        yield folder
    finally:
        lock.release()


def save_weights(model: SlowFast, path: Path, notes: Mapping[str, Any]) -> None:
    """Writes weights, specs, class names and provenance into one safetensors file.

    Args:
        model: what to save.
        path: replaced in one step.
        notes: how the weights were trained; JSON values, become the file's provenance.
    """
    from safetensors.torch import save

    described = {
        "model_spec": model.spec.to_dict(),
        "clip_spec": model.clip_spec.to_dict(),
        "labels": None if model.labels is None else list(model.labels),
        "provenance": {**model.provenance, "training": dict(notes)},
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    metadata = {"format": "pt", _METADATA: json.dumps(described)}
    write_whole(path, lambda file: file.write(save(tensors, metadata)))


def load_trained(path: str | Path) -> SlowFast | None:
    """The model that ``save_weights`` wrote, or None for a file that doesn't say which network it fits.

    Raises:
        CheckpointError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(path, "pt") as file:
            described = json.loads((file.metadata() or {}).get(_METADATA, "null"))
    except (SafetensorError, OSError, ValueError):
        return None
    if described is None:
        return None
    try:
        model = SlowFast(ModelSpec.from_dict(described["model_spec"]))
        model.load_state_dict(load_file(path))
        model.clip_spec = ClipSpec.from_dict(described["clip_spec"])
        model.labels = None if described["labels"] is None else tuple(described["labels"])
        model.provenance = described["provenance"]
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    return model


def write_resume(path: Path, state: Mapping[str, Any]) -> None:
    """Writes what ``read_resume`` reads back exactly."""

    write_whole(path, lambda file: torch.save(dict(state), file))


def read_resume(path: Path) -> dict[str, Any]:
    """The state of an interrupted training; tensors are on the CPU.

    Raises:
        TrainingError: there is no such file, or it isn't one of ours.
    """
    if not path.exists():
        raise TrainingError(f"There is nothing to resume in {path.parent}: it has no {path.name}.")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise anything from KeyError to UnpicklingError
        raise TrainingError(f"{path} can't be read: {type(error).__name__}: {error}") from error
    return state


def check_same(folder: Path, saved: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuses to go on with a training under settings that would make another one of it.

    Raises:
        TrainingError: names the settings that differ.
    """
    changed = [name for name in given if name not in _MAY_CHANGE and given[name] != saved.get(name)]
    if changed:
        differences = ", ".join(f"{name} {saved.get(name)} -> {given[name]}" for name in changed)
        raise TrainingError(
            f"The training in {folder} can't go on with other settings ({differences}); give the old ones, or"
            f" start a new training from the weights in {folder / LAST}."
        )
