"""The work directory of a fine-tuning: for one at a time, whose settings stay however often it goes on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from slowfast_zoo.data.annotations import Annotations, Sample
from slowfast_zoo.errors import InputError, TrainingError, quoted
from slowfast_zoo.files import TEMPORARY_SUFFIX, expanded
from slowfast_zoo.network.provenance import of_pathways
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.runtime.distributed import Processes
from slowfast_zoo.training.state import BEST, LAST, LOG, RESUME, replaced, work_directory
from slowfast_zoo.weights.saved.config import RECORD_CHECKSUM, record_checksum

_LOGGER = logging.getLogger(__name__)

PLAN, REPORT = "plan.json", "report.txt"
MODEL, ALL, DATA, CACHE, SEARCH, FOLDS = "model", "all", "data", "cache", "search", "folds"
PER_CLASS, CONFUSION, CONFUSION_PICTURE = "per_class.csv", "confusion.csv", "confusion.png"
CURVES, PREVIEW = "curves.png", "preview.png"
_FILES = (PER_CLASS, CONFUSION, CONFUSION_PICTURE, CURVES, PREVIEW, RESUME, LAST, BEST, LOG)
_UNFINISHED = "The fine-tuning isn't finished."
_OWN = {"train.csv", "val.csv", "test.csv", "labels.txt", "checksums.json"}
"""Files in the folder of data."""
_NEW = "start a new fine-tuning in another work directory"


@contextlib.contextmanager
def begun(path: str | Path, asked: Mapping[str, Any], *, resume: bool) -> Iterator[Path]:
    """The work directory, with other fine-tunings kept out, whose report says that nothing is finished.

    Args:
        path: where.
        asked: what decides the result.
        resume: go on with what is there.

    Raises:
        TrainingError: nothing to resume or something else, no permission, or somebody is at it.
    """
    folder = expanded(path)
    with work_directory(folder, resume=resume, lock=".finetune.lock"):
        if resume and (folder / PLAN).exists():
            before = _read(folder / PLAN, _NEW).get("asked")
            if before is not None and "everything" not in before:
                _LOGGER.warning(
                    "An earlier version began the fine-tuning in %s; if it can't go on, finish it with that"
                    " version, or %s.",
                    folder,
                    _NEW,
                )
            check_same(before, asked, folder)
        else:
            _check_unused(folder)
        if not (folder / REPORT).exists():  # what is done stays reported
            with replaced(folder / REPORT) as temporary:
                temporary.write_text(_UNFINISHED + "\n", encoding="utf-8")
        yield folder


def _check_unused(folder: Path) -> None:
    if (folder / PLAN).exists():
        raise TrainingError(
            f"{folder} holds a training already; resume it, or choose another work directory."
        )
    # What is written there, and partly removed, must be one's own.
    taken = [name for name in (MODEL, ALL, CACHE, SEARCH, FOLDS, *_FILES) if (folder / name).exists()]
    with contextlib.suppress(FileNotFoundError):
        try:
            own = (folder / REPORT).read_bytes().strip() == _UNFINISHED.encode()
        except (IsADirectoryError, PermissionError):  # which Windows says of folders
            own = False
        taken += [REPORT] * (not own)
    lists = list((folder / DATA).glob("*"))
    if any(path.name not in _OWN and not path.name.endswith(TEMPORARY_SUFFIX) for path in lists):
        taken.append(DATA)
    if taken:
        raise TrainingError(
            f"{folder} holds {quoted(taken)}, where a fine-tuning writes; choose an empty work directory."
        )
    for path in lists:  # of one that was interrupted while it began
        path.unlink(missing_ok=True)


def as_planned(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for as the plan has it: tuples are lists, and NumPy's numbers Python's.

    Raises:
        InputError: a value that is no number, text or sequence of them.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, np.generic):
            return value.item()
        raise InputError(f"{value!r:.80} is a {type(value).__name__}; accepted: numbers, texts and tuples.")

    return dict(json.loads(json.dumps(asked, default=plain)))


def check_own(folder: Path) -> None:
    """Refuses a folder with a fine-tuning or a model for a training, whose own model would replace it.

    Raises:
        TrainingError: says what is there.
    """
    there = [name for name in (PLAN, MODEL) if (folder / name).exists()]
    if there and not (folder / RESUME).exists():  # else the training itself says what to do
        raise TrainingError(
            f"{folder} holds {quoted(there)} of another training; choose another work directory (--work-dir)."
        )


def check_same(before: Mapping[str, Any] | None, asked: Mapping[str, Any], folder: Path) -> None:
    """Refuses other settings than a fine-tuning began with; what an older version didn't keep is the same.

    Raises:
        TrainingError: says which.
    """
    changed = [name for name in asked if before is not None and before.get(name, asked[name]) != asked[name]]
    if before is not None and changed:
        told = ", ".join(f"{name} {before[name]} -> {asked[name]}" for name in changed)
        raise TrainingError(
            f"The fine-tuning in {folder} can't go on with other settings ({told}); give the old ones, or"
            " start a new one in another work directory."
        )


def start_of(model: SlowFast) -> str:
    """Which weights a model has, the classifier's aside; random ones are all alike."""
    facts = {name: fact for name, fact in model.provenance.items() if fact is not None}
    if not facts.keys() - {"model"}:
        return f"{facts.get('model', 'own')}, no published weights"
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if not name.startswith("classifier"):
            digest.update(tensor.float().cpu().numpy().tobytes())
    tag = of_pathways(facts).get("tag") or "trained"
    return f"{facts.get('model', 'own')}:{tag} ({digest.hexdigest()[:8]})"


def data_of(data: str | Path | Annotations | Mapping[str, Annotations] | None, work_dir: str | Path) -> Any:
    """Which data those are: a path from the work directory, as both may move, or what was read."""
    if data is None:
        return None
    if isinstance(data, (str, Path)):
        path, folder = (expanded(place).resolve() for place in (data, work_dir))
        with contextlib.suppress(ValueError):  # another drive
            return Path(os.path.relpath(path, folder)).as_posix()
        return path.as_posix()
    parts = {"": data} if isinstance(data, Annotations) else data
    read = [
        (part, sample.path.name, sample.labels, sample.part, *_how_read(sample))
        for part, clips in parts.items()
        for sample in clips.samples
    ]
    return f"{len(read)} clips ({hashlib.sha256(json.dumps(read).encode()).hexdigest()[:8]})"


def _how_read(sample: Sample) -> list[float | str]:
    """Rate and pattern of its frames, as far as they are told."""
    return [told for told in (sample.fps, sample.frame_pattern) if told is not None]


def decided_once(folder: Path, name: str, value: Any, group: Processes) -> Any:
    """The value that the folder's plan has under that name; else this one, which it has from now on.

    What a machine measured or a user asked for is the same for the whole fine-tuning, however often it is
    interrupted.
    """
    return kept(folder / PLAN, name, value if callable(value) else lambda: value, group, _NEW)


def kept(path: Path, name: str, make: Callable[[], Any], group: Processes, way_out: str) -> Any:
    """What the file has under that name; else what is made, by all processes, which it has from now on.

    Raises:
        TrainingError: the file is damaged, and the way out of that.
    """
    found = group.from_first(lambda: _read(path, way_out))
    if name not in found:
        found[name] = make()
        if group.first:
            with replaced(path) as temporary:
                whole = found | {RECORD_CHECKSUM: record_checksum(found)}
                temporary.write_text(json.dumps(whole, indent=1), encoding="utf-8")
    return found[name]


def _read(path: Path, way_out: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if not isinstance(found, dict):
            raise ValueError("it holds something else")
        written = found.pop(RECORD_CHECKSUM, None)
        if written not in (None, record_checksum(found)):
            raise ValueError("it isn't what was written, the checksum says")
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} is damaged ({error}); {way_out}.") from error
    return found
