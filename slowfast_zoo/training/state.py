"""Files of a training: written whole or not at all, and what is needed to go on exactly.

``resume.pt`` holds weights, their origin, optimizer, loss scaler, position and what the classes are. Data
order, augmentation and dropout are drawn from (seed, position), so they need no further state.
``last.safetensors`` and ``best.safetensors`` are saved files, which every public way of loading a model
reads.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slowfast_zoo.data.annotations import CACHED_PART, Annotations, Sample
from slowfast_zoo.data.dataset import ClipDataset, place_in_whole, whole_of
from slowfast_zoo.data.persons.annotations import PersonAnnotations
from slowfast_zoo.errors import TrainingError
from slowfast_zoo.files import TEMPORARY_SUFFIX, expanded, hash_file, kind_of, lacks_locks, written_whole
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import class_names
from slowfast_zoo.weights.saved.config import SavedConfig
from slowfast_zoo.weights.saved.file import fill

_LOGGER = logging.getLogger(__name__)

RESUME, LAST, BEST, LOG = "resume.pt", "last.safetensors", "best.safetensors", "log.jsonl"
_FORMAT = 3
"""Of ``resume.pt``; another number is refused."""
_SHOWN = 8
"""Settings that differ, of possibly hundreds of class names."""
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


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """``files.written_whole`` for a file of a training.

    Raises:
        TrainingError: no room, no permission; the old file is as it was.
    """
    try:
        with written_whole(path) as temporary:
            yield temporary
    except (OSError, RuntimeError) as error:  # torch makes a RuntimeError of a full disk
        kept = f"the earlier {path.name} is intact" if path.exists() else "nothing was kept"
        reason = str(error.__context__ or error).splitlines()[0]
        raise TrainingError(
            f"{path} can't be written ({reason}); {kept}. Make room, or choose another work directory."
        ) from error


def new_directory(path: str | Path, *, resume: bool) -> Path:
    """The folder, made, for a training that starts or goes on there.

    Raises:
        TrainingError: it can't be made, holds a training already, or none is there to go on with.
    """
    folder = expanded(path)
    if not resume and kind_of(folder / RESUME):
        raise TrainingError(
            f"{folder} holds a training already; resume it, or choose another work directory."
        )
    if resume and not kind_of(folder):
        raise TrainingError(
            f"There is nothing to resume in {folder}: it doesn't exist; leave out --resume (resume=True) to"
            " begin there."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise TrainingError(f"The work directory {folder} can't be written: {error}.") from error
    return folder


@contextlib.contextmanager
def work_directory(path: str | Path, *, resume: bool, lock: str = ".lock") -> Iterator[Path]:
    """``new_directory``, with other trainings kept out of it, as long as they ask for the same lock.

    Raises:
        TrainingError: it can't be written, another training uses it, or it holds one already.
    """
    import filelock

    folder = new_directory(path, resume=resume)
    held = filelock.FileLock(folder / lock, blocking=False)
    try:
        held.acquire()
    except filelock.Timeout as error:
        raise TrainingError(
            f"Another training is running in {folder}; choose another work directory."
        ) from error
    except (OSError, NotImplementedError) as error:
        if not lacks_locks(error):
            raise TrainingError(f"The work directory {folder} can't be written: {error}.") from error
        _LOGGER.warning("%s is on a file system without locks: let no other training write there.", folder)
    try:
        for leftover in folder.glob(f"*{TEMPORARY_SUFFIX}"):
            leftover.unlink(missing_ok=True)
        yield folder
    finally:
        held.release()


def save_weights(model: SlowFast, path: Path, notes: Mapping[str, Any]) -> None:
    """Writes a saved file (``slowfast_zoo.weights.saved.file``): weights, specs, class names, provenance.

    Args:
        model: what to save.
        path: replaced in one step.
        notes: how the weights were trained; JSON values, become the file's provenance.
    """
    config = SavedConfig.of(model, training=notes)
    with replaced(path) as temporary:
        fill(temporary, model.state_dict(), config)


def write_resume(path: Path, state: Mapping[str, Any]) -> None:
    """Writes what ``read_resume`` reads back exactly: torch's zip file, its hash in the zip's comment."""
    with replaced(path) as temporary:
        torch.save({"format": _FORMAT, **state}, temporary)
        with temporary.open("rb+") as file:
            file.seek(-2, os.SEEK_END)  # the length of the comment, so far 0
            file.write(len(_comment("0" * 64)).to_bytes(2, "little"))
        digest = hash_file(temporary)
        with temporary.open("ab") as file:
            file.write(_comment(digest))


def _comment(digest: str) -> bytes:
    return f"slowfast-zoo resume sha256 {digest}".encode()


def begin_anew(folder: Path) -> str:
    """How, where the training in that folder can't go on: "anew, in another work directory, ..."."""
    kept = f", from the weights in {folder / LAST}" if kind_of(folder / LAST) else ""
    return f"anew, in another work directory{kept}"


def read_resume(path: Path) -> dict[str, Any]:
    """The state of an interrupted training; tensors are on the CPU.

    Raises:
        TrainingError: there is no such file, or not every byte of it is as it was written.
    """
    way_out = f"Begin {begin_anew(path.parent)}."
    digest, tail = hashlib.sha256(), b""
    try:
        with path.open("rb") as file:
            left = max(path.stat().st_size - len(_comment("0" * 64)), 0)
            while chunk := file.read(min(left, 2**20)):
                digest.update(chunk)
                left -= len(chunk)
            tail = file.read()
    except FileNotFoundError as error:
        raise TrainingError(
            f"There is nothing to resume in {path.parent}: it has no {path.name}; leave out --resume"
            " (resume=True) to begin there."
        ) from error
    except OSError as error:
        raise TrainingError(f"{path} can't be read ({error}). {way_out}") from error
    if tail != _comment(digest.hexdigest()):
        raise TrainingError(
            f"{path} is damaged, or isn't a file that a training of this library wrote: its checksum doesn't"
            f" fit. {way_out}"
        )
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if state["format"] != _FORMAT:
        raise TrainingError(
            f"{path} has format {state['format']}, and this version reads {_FORMAT}; go on with the version"
            f" that wrote it. {way_out}"
        )
    return state


def learned_by(
    model: SlowFast,
    frozen: tuple[str | None, bool],
    sample_weights: Sequence[float] | None,
    dataset: ClipDataset,
    validation: ClipDataset | None,
) -> dict[str, Any]:
    """What learns, what the rows of its classifier learn and from which clips.

    Args:
        model: what is trained.
        frozen: what ``model.frozen`` was when the training began.
        sample_weights: how often each clip is drawn; only their hash is kept.
        dataset, validation: the clips; only the hash of their annotations is kept, where they have some.
    """
    parts = {"training clips": dataset, "validation clips": validation}
    hashes = {name: None if part is None else _hash_of_clips(part) for name, part in parts.items()}
    weights = None if sample_weights is None else np.asarray(sample_weights, np.float64).tobytes()
    names = class_names(model.labels, model.spec.num_classes)
    clip = model.clip_spec.to_dict()
    del clip["approximate"]  # a text about it
    return {
        **_flat(model.spec.to_dict()),
        "frozen": frozen[0],
        "frozen norms": frozen[1],
        **_flat({"clip": clip}),
        "sample_weights": None if weights is None else hashlib.sha256(weights).hexdigest()[:8],
        **{name: told for name, told in hashes.items() if told is not None},
        **{f"class {index}": name for index, name in enumerate(names)},
    }


def _hash_of_clips(dataset: ClipDataset) -> str | None:
    """Of what annotations say: files and the folders that they are in, wherever those have been moved, parts
    and classes; or persons, boxes and actions."""
    annotations = getattr(whole_of(dataset), "annotations", None)
    places = [place_in_whole(dataset, index) for index in range(len(dataset))]
    if isinstance(annotations, Annotations):
        told: Any = [_identity(annotations.samples[place]) for place in places]
    elif isinstance(annotations, PersonAnnotations):
        rows = annotations.actions
        arrays = (rows.frame, rows.boxes, rows.labels, rows.persons)
        hashes = [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays]
        told = [places, rows.frames, hashes, sorted(annotations.columns.items())]
    else:
        return None
    return hashlib.sha256(json.dumps(told).encode(errors="surrogatepass")).hexdigest()[:8]


def _identity(sample: Sample) -> list[Any]:
    whole = sample.part == Sample(path=sample.path).part
    part = dict(sample.columns).get(CACHED_PART, "") if whole else json.dumps(sample.part)
    return [sample.original.parts[-2:], part, sample.labels]


def _flat(values: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """The values of dictionaries in dictionaries, under all their names: {"roi aligned": True}."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = isinstance(value, Mapping)
        found |= _flat(value, f"{within}{name} ") if inner else {f"{within}{name}": value}
    return found


def check_same(
    folder: Path, state: Mapping[str, Any], settings: Mapping[str, Any], learned: Mapping[str, Any]
) -> None:
    """Refuses to go on with a training under what would make another one of it.

    Args:
        folder: of the training.
        state: what it has saved: "settings" and "learned", of which older versions kept less, or nothing.
        settings: those of now.
        learned: that of now.

    Raises:
        TrainingError: names the settings that differ.
    """
    saved, given = {**state["settings"], **state.get("learned", {})}, {**settings, **learned}
    compared = [name for name in given if name not in _MAY_CHANGE and (name in saved or name in settings)]
    changed = [name for name in compared if given[name] != saved.get(name)]
    if changed:
        shown = [f"{name} {saved.get(name)} -> {given[name]}" for name in changed]
        differences = ", ".join(shown[:_SHOWN]) + (", ..." if len(shown) > _SHOWN else "")
        same_steps = _same_steps(saved["step_clips"], settings) if changed == ["step_clips"] else ""
        raise TrainingError(
            f"The training in {folder} can't go on with other settings or another model ({differences});"
            f" give the old ones{same_steps}, or begin {begin_anew(folder)}."
        )


def _same_steps(clips: int, settings: Mapping[str, Any]) -> str:
    """How another number of processes makes steps of so many clips; "" where it can't."""
    ways = []
    for name, way in (("accumulate", "accumulate={} (--set accumulate={})"), ("batch_size", "batch_size={}")):
        wanted, rest = divmod(settings[name] * clips, settings["step_clips"])
        if wanted and not rest:
            ways.append(way.replace("{}", str(wanted)))
    return f", by {' or '.join(ways)} on this many processes" if ways else ""
