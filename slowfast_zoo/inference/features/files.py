"""Features and their files, each whole or not at all, and how two of them differ."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from slowfast_zoo.errors import DataError, InputError, UnknownNameError, counted, did_you_mean, quoted
from slowfast_zoo.files import damage_as_value_error, expanded, written_whole
from slowfast_zoo.inference.features.recipes import FeatureFormat

_KEYS = ("features", "feats", "values")
"""Where archives of others keep theirs."""

_VARYING = frozenset(("provenance",))
"""Settings that two files of one set may differ in."""

_LATER = frozenset(("asked", "asked_precision", "address_sha256"))
"""Settings that files of earlier versions don't have."""

_BROKEN = (zipfile.BadZipFile, pickle.UnpicklingError)

_Array = npt.NDArray[Any]


class _OtherContentError(DataError):
    """A file is sound, or none of that format, and holds no features."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """What a network's last maps say of each window of a video."""

    source: str
    """Path or name of the video; of a URL without credentials and query."""
    values: npt.NDArray[np.floating]
    """(windows, channels), or (windows, channels, height, width) for maps."""
    start_seconds: npt.NDArray[np.float64]
    """(windows,): when each window begins, in a player's time."""
    end_seconds: npt.NDArray[np.float64]
    """(windows,): when it ends."""
    meta: dict[str, Any]
    """What decides about the values, as plain JSON values: weights, layer, windows, frames, picture."""

    @property
    def center_seconds(self) -> npt.NDArray[np.float64]:
        """(windows,): the middle of each window."""
        return (self.start_seconds + self.end_seconds) / 2

    def save(self, path: str | Path, format: FeatureFormat | None = None) -> None:  # noqa: A002
        """Writes them, whole or not at all.

        Args:
            path: its ending says the format: .npz (keys features, start_seconds, end_seconds, center_seconds,
                meta), .safetensors (the same), .npy or .pt (the values alone, and a .json beside them).
            format: instead of the ending.

        Raises:
            UnknownNameError: no such format.
            InputError: the file can't be written, or JSON can't hold what ``meta`` says.
        """
        try:
            json.dumps(self.meta)
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(
                f"What is told of the model is saved as JSON, which can't hold it: {error}."
            ) from error
        _write(self, expanded(path), format)

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.values, dtype=dtype) if copy else np.asarray(self.values, dtype=dtype)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.values.shape))
        end = self.end_seconds[-1] if len(self) else 0.0
        return f"Features({self.source!r}: {shape} {self.values.dtype} in {end:.1f} s)"


def format_of(path: Path, format: str | None = None) -> FeatureFormat:  # noqa: A002
    """What a file is written as.

    Raises:
        UnknownNameError: no such format.
    """
    name = format or path.suffix.lower().lstrip(".")
    for known in get_args(FeatureFormat):
        if known == name:
            return known  # type: ignore[no-any-return]
    near = did_you_mean(name, get_args(FeatureFormat))
    raise UnknownNameError(
        f"'{path}' is no file of features: '{name}' isn't one of {quoted(get_args(FeatureFormat))}.{near}"
    )


def _write(features: Features, path: Path, format: str | None) -> None:  # noqa: A002
    """Writes features; formats that hold one array only get a .json beside them, which is there first.

    Raises:
        UnknownNameError: no such format.
        InputError: the file can't be written.
    """
    chosen = format_of(path, format)
    arrays = {
        "features": features.values,
        "start_seconds": features.start_seconds,
        "end_seconds": features.end_seconds,
        "center_seconds": features.center_seconds,
    }
    try:
        with written_whole(path) as part:
            _WRITERS[chosen](part, arrays, features.meta)
            if chosen in ("npy", "pt"):  # is there before the values are
                times = {name: array.tolist() for name, array in arrays.items() if name != "features"}
                with written_whole(sidecar(path)) as beside:
                    beside.write_text(json.dumps(features.meta | times, indent=1), encoding="utf-8")
                    path.resolve().unlink(missing_ok=True)  # what is said of these isn't of older values
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"'{path}' can't be written: {reason}. Finished files are kept.") from error


def _write_npz(path: Path, arrays: dict[str, _Array], meta: Mapping[str, Any]) -> None:
    with path.open("wb") as file:  # a name would get an ending
        np.savez(file, **arrays, meta=np.array(json.dumps(meta)))  # type: ignore[arg-type]


def _write_npy(path: Path, arrays: dict[str, _Array], meta: Mapping[str, Any]) -> None:
    with path.open("wb") as file:
        np.save(file, arrays["features"])


def _write_pt(path: Path, arrays: dict[str, _Array], meta: Mapping[str, Any]) -> None:
    import torch

    content = io.BytesIO()
    torch.save(torch.from_numpy(np.ascontiguousarray(arrays["features"])), content)
    path.write_bytes(content.getvalue())


def _write_safetensors(path: Path, arrays: dict[str, _Array], meta: Mapping[str, Any]) -> None:
    from safetensors.numpy import save

    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    path.write_bytes(save(whole, metadata={"meta": json.dumps(meta)}))


_WRITERS: dict[FeatureFormat, Callable[[Path, dict[str, _Array], Mapping[str, Any]], None]] = {
    "npz": _write_npz,
    "npy": _write_npy,
    "pt": _write_pt,
    "safetensors": _write_safetensors,
}


def sidecar(path: Path) -> Path:
    """Where the facts about features lie that are one array in a file."""
    return path.with_name(f"{path.name}.json")


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureFile:
    """Features as they were read, from a file of this library or of another."""

    values: _Array
    """(rows, channels)."""
    meta: dict[str, Any]
    """Empty where the file says nothing."""


def read_features(path: Path) -> FeatureFile:
    """Features from a file: .npz (key features, feats or its only one), .npy, .pt, .safetensors.

    Nothing in it is executed.

    Raises:
        DataError: it holds none, or is damaged.
        UnknownNameError: its ending is none of these.
    """
    read = _READERS[format_of(path)]
    try:
        with damage_as_value_error():
            values, meta = read(path)
    except (OSError, ValueError, *_BROKEN) as error:
        reason = getattr(error, "strerror", None) or str(error).split("\n")[0] or type(error).__name__
        # NumPy takes for a pickle what doesn't begin as its files do; the disk's errors say nothing about it.
        other = isinstance(error, (OSError, pickle.UnpicklingError, _OtherContentError)) or (
            "allow_pickle" in reason
        )
        if "allow_pickle" in reason:
            reason = f"it is no {path.suffix} file of numbers"
        kind = _OtherContentError if other else DataError
        raise kind(f"'{path}' holds no features: {reason}.") from error
    if not isinstance(values, np.ndarray) or values.ndim < 2 or not np.issubdtype(values.dtype, np.floating):
        what = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
        raise _OtherContentError(f"'{path}' holds no features: it holds {what}, not floats (rows, channels).")
    return FeatureFile(values, meta)


def _read_npz(path: Path) -> tuple[_Array, dict[str, Any]]:
    with np.load(path, allow_pickle=False) as archive:
        names = archive.files
        key = next((key for key in _KEYS if key in names), names[0] if len(names) == 1 else None)
        if key is None:
            raise _OtherContentError(f"its keys are {quoted(names)}, none of them features")
        return archive[key], _plain(str(archive["meta"])) if "meta" in names else {}


def _read_npy(path: Path) -> tuple[_Array, dict[str, Any]]:
    return np.load(path, allow_pickle=False), _read_sidecar(path)


def _read_pt(path: Path) -> tuple[_Array, dict[str, Any]]:
    import torch

    value = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(value, torch.Tensor):
        raise _OtherContentError(f"it holds a {type(value).__name__}, no tensor")
    return value.float().numpy() if value.dtype == torch.bfloat16 else value.numpy(), _read_sidecar(path)


def _read_safetensors(path: Path) -> tuple[_Array, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            if "features" not in file.keys():  # noqa: SIM118  # it is no dictionary
                raise _OtherContentError(f"its keys are {quoted(file.keys())}, none of them features")
            return file.get_tensor("features"), _plain((file.metadata() or {}).get("meta", "{}"))
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _read_sidecar(path: Path) -> dict[str, Any]:
    beside = sidecar(path)
    return _plain(beside.read_text(encoding="utf-8")) if beside.exists() else {}


def _plain(text: str) -> dict[str, Any]:
    meta = json.loads(text)
    return meta if isinstance(meta, dict) else {}


_READERS: dict[FeatureFormat, Callable[[Path], tuple[_Array, dict[str, Any]]]] = {
    "npz": _read_npz,
    "npy": _read_npy,
    "pt": _read_pt,
    "safetensors": _read_safetensors,
}


def is_finished(path: Path, settings: Mapping[str, Any]) -> bool:
    """Whether the features of that file were made with these settings; False: damaged, or not there.

    Raises:
        InputError: they were made with others, or the file holds something else.
    """
    if not path.exists():
        return False
    try:
        made = read_features(path).meta
    except _OtherContentError as error:
        reason = str(error).rstrip(".")
        raise InputError(f"{reason}; write to another folder, or give --overwrite.") from error
    except DataError:
        return False
    for name, value in settings.items():
        measured = value is None and name in ("window_seconds", "hop_seconds")
        if name in _VARYING or measured or (name in _LATER and name not in made):
            continue
        if made.get(name) != value:
            what = name.removeprefix("asked_")
            raise InputError(
                f"'{path}' was made with {what} {made.get(name)!r:.60}, and this is {value!r:.60}: write to"
                " another folder, or give --overwrite."
            )
    return True


@dataclasses.dataclass(frozen=True)
class FeatureComparison:
    """How two files of features differ, row by row."""

    cosines: tuple[float, ...]
    """Of the rows that both have."""
    rows: tuple[int, int]
    """That each has."""
    first_difference: int | None
    """The first row whose cosine is below the bound; None: none is."""
    settings: tuple[str, ...]
    """What their makers say differs, in words."""

    def __str__(self) -> str:
        low = float(np.min(self.cosines, initial=1.0))
        mean = sum(self.cosines) / max(len(self.cosines), 1)
        lines = [f"row {row:5}  cosine {cosine:.6f}" for row, cosine in enumerate(self.cosines)]
        lines += [f"differs: {line}" for line in self.settings]
        if self.rows[0] != self.rows[1]:
            lines.append(f"differs: {counted(self.rows[0], 'row')} and {self.rows[1]}")
        first = self.first_difference
        where = "no row differs" if first is None else f"row {first} is the first that differs"
        return "\n".join([*lines, f"cosine {mean:.6f} on average, {low:.6f} at least; {where}"])

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain JSON values."""
        return dataclasses.asdict(self)


def compare_features(first: Path, second: Path, bound: float = 0.999) -> FeatureComparison:
    """How two files of features differ.

    Args:
        first: as ``read_features`` takes it.
        second: the same.
        bound: cosine below which a row differs.

    Raises:
        DataError: one holds no features, or they have different channels.
    """
    one, other = read_features(first), read_features(second)
    if one.values.shape[1:] != other.values.shape[1:]:
        raise DataError(
            f"'{first}' has rows of {one.values.shape[1:]} and '{second}' of {other.values.shape[1:]}: they"
            " are different layers or networks."
        )
    count = min(len(one.values), len(other.values))
    size = math.prod(one.values.shape[1:])
    left, right = (file.values[:count].reshape(count, size).astype(np.float64) for file in (one, other))
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    same = (left == right).all(axis=1)
    cosines = np.where(same, 1.0, (left * right).sum(axis=1) / np.maximum(lengths, 1e-300))
    below = np.flatnonzero(~(cosines >= bound))  # NaN differs, too
    known = sorted(one.meta.keys() & other.meta.keys() - {"source", "slowfast_zoo"})
    return FeatureComparison(
        cosines=tuple(cosines.tolist()),
        rows=(len(one.values), len(other.values)),
        first_difference=int(below[0]) if len(below) else None,
        settings=tuple(
            f"{name} {one.meta[name]!r:.70} and {other.meta[name]!r:.70}"
            for name in known
            if one.meta[name] != other.meta[name] and name not in _VARYING and not name.endswith("seconds")
        ),
    )
