"""``export``: a model as one file for other programs, with its contract and the proof beside it.

For ``model.onnx`` there are also:

    model.onnx.json           input and output, specs, labels, provenance, hashes, proof
    model.onnx.reference.npz  "frames" uint8 (N, T, H, W, C) and their "logits" float32 (N, classes)

The unit is one view of one video: ``clip`` float32 ``(batch, C, T, H, W)`` to ``logits`` ``(batch,
classes)``; the slow pathway's frames are chosen inside. A network that scores persons takes ``boxes``
float32 ``(boxes, 5)`` as well, any number or none, and gives ``logits`` ``(boxes, classes)``; the reference
has "boxes", too. ``json`` is written last: where it is, the files are complete.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from slowfast_zoo.errors import ExportError, InputError, quoted, unknown_name
from slowfast_zoo.files import expanded, hash_file
from slowfast_zoo.inference.engines.engine import Shape, example_boxes
from slowfast_zoo.inference.engines.folding import check_model, fold_batch_norms
from slowfast_zoo.inference.engines.openvino.calibration import check_calibration, shape_of
from slowfast_zoo.inference.engines.openvino.int8 import (
    MIN_AGREEMENT,
    Agreement,
    Int8Network,
    check_agreement,
    int8_settings,
    to_int8,
)
from slowfast_zoo.inference.export import Format
from slowfast_zoo.inference.export.formats import FORMATS, Exported, FileFormat, write_int8
from slowfast_zoo.inference.export.proof import Proof, prove, reference_frames
from slowfast_zoo.network.slowfast import SlowFast, check_answers, check_clip
from slowfast_zoo.runtime.packages import require
from slowfast_zoo.runtime.precision import EnginePrecision, check_precision, float32_products
from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.video.sampling import checked_count
from slowfast_zoo.video.sources.names import display_name, path_text
from slowfast_zoo.video.transforms.functional import normalize
from slowfast_zoo.weights.saved.config import SavedConfig

if TYPE_CHECKING:
    from slowfast_zoo.inference.engines.openvino.calibration import CalibrationSource

_LOGGER = logging.getLogger(__name__)

CONTRACT_VERSION = 1
"""Counted up when older readers would misread the JSON beside an export."""

_LARGEST_SIDE = 4096
_REFERENCE_CLIPS = 3

_BOXES = {
    "name": "boxes",
    "dtype": "float32",
    "shape": ["boxes", 5],
    "columns": ["index of the clip in the batch", "x1", "y1", "x2", "y2"],
    "unit": "pixels of the clip",
}
_SAME_INT8 = 1e-3
"""Of the largest logit: the same graph, written and read."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """What ``export`` wrote."""

    path: Path
    """The model."""
    files: tuple[Path, ...]
    """Everything that belongs to it, ``path`` first."""
    proof: Proof | Agreement
    """How it compares with the model that it was made from."""


@float32_products("float32", torch.device("cpu"))
def export(
    model: SlowFast,
    path: str | Path,
    format: Format | None = None,  # noqa: A002  # what it is called everywhere
    precision: EnginePrecision = "float32",
    *,
    size: int | tuple[int, int] | None = None,
    repeats: int = 20,
    overwrite: bool = False,
    calibration: CalibrationSource | None = None,
    min_agreement: float = MIN_AGREEMENT,
) -> Export:
    """Writes a model as ONNX, ``torch.export`` program or OpenVINO IR, once it is proven to be the same.

    Number, height, width and frames of a view are fixed in the file; the batch size is free (in int8: one),
    and so is the number of boxes. A ``torch.export`` program that takes boxes wants torchvision imported.
    Served with OpenVINO, set the property INFERENCE_PRECISION_HINT as the contract says: its default may
    compute in less than float32.

    Args:
        model: stays as it is.
        path: of the file: ".onnx", ".pt2" or ".xml" (with a ".bin" beside it).
        format: "onnx" (needs onnx, onnxscript and onnxruntime), "torch" or "openvino" (needs openvino);
            None: as the path's ending says.
        precision: "float32" for the same logits; "float16" (every format) and "bfloat16" ("torch",
            "openvino") for about the same. "int8" ("openvino") as ``optimize`` makes it: its proof is how it
            agrees with float32, and its reference logits are the file's own.
        size: side in pixels, or (height, width); None: the clip spec's test crop. Networks that score persons
            see whole pictures, which are no squares: give theirs, such as (256, 455) for a 16:9 film.
        repeats: timed runs of model and export, for the proof.
        overwrite: take the place of files that are there, those beside ``path`` too.
        calibration, min_agreement: for int8, as for ``optimize``.

    Raises:
        UnknownNameError: no such format or precision.
        InputError: arguments that don't go together, no SlowFast, a classifier that isn't the spec's, or a
            file is there already.
        MissingDependencyError: what the format needs isn't installed.
        ExportError: it can't be exported or written, or gives other answers; no file is left behind.
    """
    target = expanded(path)
    name, kind = _format(target, format)
    check_precision(precision, get_args(EnginePrecision))
    if precision not in kind.precisions:
        raise InputError(f"{name} files are made in {quoted(kind.precisions)}, not in '{precision}'.")
    repeats = checked_count("repeats", repeats)
    for package in kind.packages:
        require(package, *kind.packages)
    _check_free(files_of(target, format), overwrite)
    check_calibration(precision, calibration, min_agreement)
    shape = _shape(model, size)
    original = copy.deepcopy(model).cpu().float().eval()
    network = None if calibration is None else _in_int8(original, shape, calibration, min_agreement)
    frames = reference_frames(_REFERENCE_CLIPS, *shape[1:], channels=shape[0])
    clips = torch.stack([_normalized(clip, model.clip_spec) for clip in frames])
    boxes = _boxes(model.spec, shape)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".export-", dir=target.parent))
    except OSError as error:
        raise ExportError(f"'{target}' can't be written: {error.strerror or error}.") from error
    try:
        _LOGGER.info("The %s file is being written.", name)
        part = folder / target.name
        embedded = _json(SavedConfig.of(original).to_dict())
        try:
            if network is not None:
                write_int8(network, part, embedded)
            else:
                assert precision != "int8"
                kind.write(original, shape, precision, part, embedded)
        except ExportError:
            raise
        except RuntimeError as error:  # what torch and OpenVINO make of a full disk
            reason = str(error).partition("\n")[0]
            raise ExportError(f"'{target}' can't be written: {reason}") from error
        # The file is open, or mapped, for these calls alone: Windows moves none that is.
        proof: Proof | Agreement
        if network is None:
            assert precision != "int8"
            same, logits = prove(original, kind.open(part, precision), clips, precision, repeats, boxes)
            proof = same
            if not same.ok:
                raise ExportError(f"The {name} file gives other answers and isn't kept.\n{same}")
        else:
            proof, logits = network.agreement, _own_logits(network, kind.open(part, precision), clips)
        reference: dict[str, Any] = {"frames": frames, "logits": logits.numpy()}
        reference |= {} if boxes is None else {"boxes": boxes.numpy()}
        np.savez_compressed(_beside(part, "reference.npz"), **reference)
        contract = _contract(original, part, name, kind, shape, precision, frames, logits, proof)
        _beside(part, "json").write_text(_json(contract), encoding="utf-8", newline="\n")
        written = _move(folder, files_of(target, format))
    except OSError as error:
        raise ExportError(f"'{target}' can't be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if proof.slower:
        _LOGGER.warning("'%s' is slower on this machine than the model it was made from.", target)
    return Export(path=target, files=written, proof=proof)


def files_of(path: str | Path, format: Format | None = None) -> tuple[Path, ...]:  # noqa: A002
    """Everything that ``export`` writes, the model first and the contract last; arguments and errors are its
    own."""
    target = expanded(path)
    _, kind = _format(target, format)
    return (*_files(target, kind), _beside(target, "reference.npz"), _beside(target, "json"))


def _in_int8(
    model: SlowFast, shape: Shape, calibration: CalibrationSource, min_agreement: float
) -> Int8Network:
    clips = shape_of(calibration, model.clip_spec)
    if clips != shape:
        height, width = clips[2:]
        way = f"give size={height if height == width else (height, width)}"
        if clips[:2] != shape[:2]:
            way = "calibrate with such clips"
        elif height == width == model.clip_spec.test_crop:
            way = "leave size= out; in Python calibration= may be clips (N, C, T, H, W) of that size, too"
        raise InputError(f"The calibration clips are {clips}, the file is for {shape}: {way}.")
    network = to_int8(fold_batch_norms(model), calibration, given=model)
    check_agreement(network.agreement, min_agreement)
    return network


def _own_logits(network: Int8Network, exported: Exported, clips: Tensor) -> Tensor:
    """What the int8 file gives for the reference clips: the network that was judged, up to rounding."""
    logits = torch.cat([exported(clip) for clip in clips.split(1)])  # type: ignore[no-untyped-call]
    expected = network.run(network.shape)(clips)
    if not (logits - expected).abs().max() <= _SAME_INT8 * expected.abs().max():
        raise ExportError("The int8 file gives other answers than the network that it was made of.")
    return logits


def _check_free(files: Iterable[Path], overwrite: bool) -> None:
    for file in files:
        try:
            file.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:  # too long a name, or one that holds a zero byte
            reason = getattr(error, "strerror", None) or error
            raise ExportError(f"'{path_text(file):.80}' can't be written: {reason}.") from error
        if not overwrite:
            name = path_text(file)
            raise InputError(f"'{name}' exists; give overwrite=True to write over it, or another name.")


def _format(path: Path, name: str | None) -> tuple[str, FileFormat]:
    shown = Path(display_name(path)).name
    endings = {kind.suffixes[0]: name for name, kind in FORMATS.items()}
    if name is None:
        if path.suffix not in endings:
            raise InputError(f"'{shown}' ends in none of {quoted(endings)}: give format= as well.")
        name = endings[path.suffix]
    if not isinstance(name, str) or name not in FORMATS:
        raise unknown_name(f"There is no format '{name}'.", name, FORMATS)
    if path.suffix != FORMATS[name].suffixes[0]:
        raise InputError(f"The format '{name}' is for '{FORMATS[name].suffixes[0]}' files, got '{shown}'.")
    return name, FORMATS[name]


def _shape(model: SlowFast, size: int | tuple[int, int] | None) -> Shape:
    check_model(model)
    size = model.clip_spec.test_crop if size is None else size
    sides = size if isinstance(size, tuple) else (size, size)
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= _LARGEST_SIDE for side in sides):
        raise InputError(
            f"size is {size!r:.60}; accepted: a side of at most {_LARGEST_SIDE} pixels, or (height, width)."
        )
    shape = (model.spec.in_channels, model.spec.num_frames, *sides)
    check_clip(torch.empty(1, *shape, device="meta"), model.spec)
    return shape


def _boxes(spec: ModelSpec, shape: Shape) -> Tensor | None:
    """Some in each reference clip, for a network that takes them."""
    of_clips = [example_boxes(spec, shape, 2 + index) for index in range(_REFERENCE_CLIPS)]
    rows = [
        F.pad(boxes[:, 1:], (1, 0), value=index) for index, given in enumerate(of_clips) for boxes in given
    ]
    return torch.cat(rows) if rows else None


def _normalized(frames: npt.NDArray[np.uint8], spec: ClipSpec) -> Tensor:
    """(T, H, W, C) bytes as the clip (C, T, H, W) that the contract describes."""
    clip = torch.from_numpy(frames).permute(3, 0, 1, 2)
    if len(spec.mean) == len(clip):
        return normalize(clip, spec)
    channels = len(clip)  # such a clip spec is no contract for these frames, but the proof needs numbers
    neutral = {"mean": (127.5,) * channels, "std": (64.0,) * channels, "pixel_range": "0-255"}
    return normalize(clip, spec.replace(**neutral))


def _contract(
    model: SlowFast,
    path: Path,
    name: str,
    kind: FileFormat,
    shape: Shape,
    precision: EnginePrecision,
    frames: npt.NDArray[np.uint8],
    logits: Tensor,
    proof: Proof | Agreement,
) -> dict[str, Any]:
    """Everything that a program needs to serve the file without this library.

    Raises:
        InputError: logits of other classes than the model's spec has.
    """
    hint = "bf16" if precision == "bfloat16" else "f32"
    persons = model.spec.roi is not None
    if precision == "int8":
        hint = int8_settings()["INFERENCE_PRECISION_HINT"]
    batch: str | int = 1 if precision == "int8" else "batch"
    return {
        "contract_version": CONTRACT_VERSION,
        "format": name,
        "precision": precision,
        "files": {file.name: hash_file(file) for file in _files(path, kind)},
        "input": {"name": "clip", "dtype": "float32", "shape": [batch, *shape]},
        **({"boxes": _BOXES} if persons else {}),
        "output": {
            "name": "logits",
            "dtype": "float32",
            "shape": ["boxes" if persons else batch, check_answers(logits, model.spec).shape[1]],
        },
        "activation": model.spec.activation,
        "properties": {"INFERENCE_PRECISION_HINT": hint} if name == "openvino" else {},
        **SavedConfig.of(model).to_dict(),
        "reference": {
            "file": _beside(path, "reference.npz").name,
            "logits_of": "model" if isinstance(proof, Proof) else "file",
            "frames_sha256": hashlib.sha256(frames.tobytes()).hexdigest(),
            "logits_sha256": hashlib.sha256(logits.numpy().tobytes()).hexdigest(),
        },
        "proof": proof.to_dict(),
    }


def _json(values: dict[str, Any]) -> str:
    try:
        text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise ExportError(
            f"Provenance and labels are written as JSON, which can't hold them: {error}."
        ) from error
    return text


def _files(path: Path, kind: FileFormat) -> list[Path]:
    return [path.with_suffix(suffix) for suffix in kind.suffixes]


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}.{ending}")


def _move(folder: Path, files: tuple[Path, ...]) -> tuple[Path, ...]:
    """Puts the files in their places, the contract last; an old one goes first."""
    files[-1].unlink(missing_ok=True)
    for file in files:
        (folder / file.name).replace(file)
    return files
