"""A model as a callable on batches of columns, for Ray, Spark, ``datasets`` and their like to spread.

    predictor = BatchPredictor("slowfast_r50_4x16x1")
    predictor({"path": ["a.mp4", "broken.mp4"]})
    # {"source": ["a.mp4", "broken.mp4"], "error": ["", "'broken.mp4' can't be ..."],
    #  "label_1": ["archery", ""], "score_1": [0.97, nan], ...}

The object is words and numbers alone, before and after use, so it is pickled and hashed as cheaply as they
are. Each process loads the model at its first batch, and keeps it here, beside the object.
"""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from operator import length_hint
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from slowfast_zoo.data.persons import Unit
from slowfast_zoo.data.persons.boxes import checked_begin
from slowfast_zoo.errors import (
    FAULTS,
    NO_VIDEOS_FAULT,
    InputError,
    SlowFastZooError,
    UnknownNameError,
    did_you_mean,
    quoted,
)
from slowfast_zoo.files import expanded, hash_file
from slowfast_zoo.inference.engines import EngineName
from slowfast_zoo.inference.features.recipes import Layer, RecipeName
from slowfast_zoo.inference.segments import SegmentRules
from slowfast_zoo.naming import ModelRef, parse
from slowfast_zoo.runtime.machine import given_threads, usable_cpus
from slowfast_zoo.runtime.precision import Precision
from slowfast_zoo.spec import LastWindow
from slowfast_zoo.video.sampling import checked_count, checked_seconds, checked_share

if TYPE_CHECKING:
    from slowfast_zoo.inference.detect import DetectorName
    from slowfast_zoo.network.slowfast import SlowFast
    from slowfast_zoo.video.clips import Views

Task = Literal["predict", "timeline", "features", "detect"]
Kind = Literal[
    "string",
    "int",
    "float",
    "double",
    "boolean",
    "array<string>",
    "array<int>",
    "array<float>",
    "array<double>",
    "array<array<float>>",
]
Row = dict[str, Any]
Answer = Callable[[list[Any]], Iterator[Row]]

_SOURCE_COLUMNS = ("video", "bytes", "path")
"""Where videos are looked for, in that order."""

_NAME_COLUMNS = ("path", "__key__")
"""What bytes are called."""

_MODELS = 2  # that a process keeps, the latest

_TASKS_OF: dict[str, tuple[Task, ...]] = {  # arguments that are about some tasks only
    **dict.fromkeys(("boxes", "detector", "begins_at", "unit", "box_score", "score"), ("detect",)),
    **dict.fromkeys(("recipe", "layer"), ("features",)),
    **dict.fromkeys(("window_seconds", "last"), ("timeline", "features")),
    "hop_seconds": ("timeline", "features", "detect"),
    "views": ("predict", "timeline", "features"),
    "rules": ("timeline",),
    "topk": ("predict", "detect"),
}
_OF_RECIPES = ("window_seconds", "hop_seconds", "last", "views")
_USUAL = {"views": "quick", "begins_at": 0.0, "score": 0.0, "recipe": "clip", "layer": "pooled", "topk": 5}

_EMPTY: dict[str, Any] = {"string": "", "int": 0, "float": np.nan, "double": np.nan, "boolean": False}
_DTYPES = {"int": np.int32, "float": np.float32, "double": np.float64, "boolean": np.bool_}

_LOGGER = logging.getLogger(__name__)


class BatchPredictor:
    """Answers about the videos of a batch of columns, with a model that is named.

    Call it with a mapping of column names to lists or arrays of one length (or with a pandas or Arrow table):
    it returns such a mapping, a row per video, in order. Types are the same in every batch: where there is
    nothing to say, text is "" and a number NaN. A video that can't be answered says why in ``error``, which
    is "" otherwise; what lies with the model or the machine raises.

    Videos are in the column "video", else "bytes", else "path": paths or URLs, files' bytes, mappings with
    "bytes" and "path" (as ``datasets.Video(decode=False)`` gives), arrays, or decoder objects such as
    torchcodec's.

    Columns of "predict": source, error, label_1, score_1, label_2 and so on, clips, crops, start, end,
    padded, damaged_frames. Of "timeline", an entry per segment in the lists: source, error, labels, scores,
    start_seconds, end_seconds, duration_seconds, damaged_frames. Of "features", an entry per window: source,
    error, features, start_seconds, end_seconds. Of "detect", an entry per action of a person: source, error,
    seconds, person, track, x1, y1, x2, y2 in pixels, box_scores, labels, scores, duration_seconds,
    damaged_frames. ``schema`` has their types.

    Args:
        model: a name, "NAME:TAG", a publisher's config name, a saved folder or a checkpoint file, as on the
            command line; workers find paths at the same place. Weights come from the cache, else are fetched.
        task: "predict", "timeline", "features" or "detect".
        views: as for ``predict``; of each window, where there are windows.
        topk: of "predict" and of each person: how many classes, best first.
        hop_seconds: from one window to the next, as for ``timeline`` and ``extract_features``; for "detect"
            from one key frame to the next.
        window_seconds, last: of a window, and of the last one, as there.
        rules: when segments of "timeline" begin and end; None: as ``timeline`` does.
        recipe, layer: of "features", as there; no "maps", and all values are float32.
        detector: of "detect": what finds persons, as there.
        boxes: of "detect", instead: a file of the persons' boxes, as there, that names the videos.
        begins_at, unit, box_score, score: of "detect", as there.
        fps, engine, precision: as for ``predict``, of every video.
        device: where to compute; None: on a GPU where the worker sees one.
        threads: of the processor, for torch in the worker's process; None: what the worker was given
            (``OMP_NUM_THREADS``, which Ray and Spark set, or Slurm's processors per task), one in a process
            of a pool, else what this process may use.
        column: where the videos are, if elsewhere.
        keep: columns that are handed through.
        prefix: of the names of all columns that are made.

    Raises:
        InputError, UnknownNameError: an argument that is not accepted.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        task: Task = "predict",
        views: Views = "quick",
        topk: int = 5,
        hop_seconds: float | None = None,
        window_seconds: float | None = None,
        last: LastWindow | None = None,
        rules: SegmentRules | None = None,
        recipe: RecipeName = "clip",
        layer: Layer = "pooled",
        detector: DetectorName | None = None,
        boxes: str | Path | None = None,
        begins_at: float = 0.0,
        unit: Unit | None = None,
        box_score: float | None = None,
        score: float = 0.0,
        fps: float | Fraction | None = None,
        engine: EngineName = "auto",
        precision: Precision = "float32",
        device: str | None = None,
        threads: int | None = None,
        column: str | None = None,
        keep: Sequence[str] = (),
        prefix: str = "",
    ) -> None:
        if not isinstance(model, (str, Path)):
            raise InputError(
                f"BatchPredictor takes a model's name or path, got {type(model).__name__}: every worker loads"
                " the model itself; save_pretrained(model, folder), and give the folder."
            )
        reference = parse(str(model))
        for name, value, choices in (
            ("task", task, get_args(Task)),
            ("engine", engine, get_args(EngineName)),
            ("precision", precision, get_args(Precision)),
            ("last", "move_back" if last is None else last, get_args(LastWindow)),
            ("recipe", recipe, get_args(RecipeName)),
            ("layer", layer, [name for name in get_args(Layer) if name != "maps"]),
            ("unit", "pixels" if unit is None else unit, get_args(Unit)),
        ):
            if value not in choices:
                near = did_you_mean(str(value), choices)
                raise UnknownNameError(f"{name} is {value!r:.60}; accepted: {quoted(choices)}.{near}")
        if isinstance(keep, str) or not isinstance(keep, Sequence) or not isinstance(prefix, str):
            raise InputError(f"keep is {keep!r:.40}, prefix {prefix!r:.40}; accepted: names, a text.")
        if not isinstance(rules, SegmentRules | None):
            raise InputError(f"rules is {rules!r:.60}; accepted: SegmentRules.")
        hop = 1.0 if hop_seconds is None and task in ("timeline", "detect") else hop_seconds
        settings: dict[str, Any] = {"task": task, "views": views, "hop_seconds": hop, "fps": fps}
        settings |= {"last": last, "recipe": recipe, "layer": layer, "detector": detector, "unit": unit}
        settings |= {"window_seconds": window_seconds, "engine": engine, "precision": precision}
        settings |= {
            "topk": checked_count("topk", topk),
            "rules": None if rules is None else dataclasses.asdict(rules),
            "boxes": None if boxes is None else str(expanded(boxes).absolute()),
            "begins_at": checked_begin(begins_at),
            "box_score": None if box_score is None else checked_share("box_score", box_score),
            "score": checked_share("score", score),
            "device": None if device is None else str(device),
            "threads": None if threads is None else checked_count("threads", threads),
        }
        entry = reference.entry
        settings["model"] = f"{entry.model}:{entry.tag}" if entry else str(expanded(model).absolute())
        settings["weights"] = reference.origin()["weights"]
        _check(task, settings, reference)
        self._set(settings | {"column": column, "keep": list(keep), "prefix": prefix})

    def _set(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        shared = {name: value for name, value in settings.items() if name not in ("column", "keep", "prefix")}
        self._key = json.dumps(shared, sort_keys=True)
        kinds = _columns(settings["task"], settings["topk"])
        self._kinds: dict[str, Kind] = {settings["prefix"] + name: kind for name, kind in kinds.items()}

    @property
    def schema(self) -> str:
        """Names and types of the columns that are made, as Spark takes them: "`source` string, ..."."""
        return ", ".join(f"`{name}` {kind}" for name, kind in self._kinds.items())

    def __call__(self, batch: Any) -> dict[str, Any]:
        """The answers for a batch, a row per video.

        Raises:
            InputError: no such batch or column.
            SlowFastZooError: the model can't be loaded, or run.
        """
        columns = _as_columns(batch)
        sources = self._sources(columns)
        rows = _answer(self._key)(sources) if sources else iter(())
        names = list(self._kinds)
        made: dict[str, list[Any]] = {name: [] for name in names}
        width = len(self._settings["prefix"])
        for row in rows:
            for name in names:
                value = row.get(name[width:])
                made[name].append(_empty(self._kinds[name]) if value is None else value)
        kept = {name: columns[name] for name in self._settings["keep"]}
        return kept | {name: _typed(values, self._kinds[name]) for name, values in made.items()}

    def _sources(self, columns: Mapping[str, Any]) -> list[Any]:
        """The videos of a batch, as ``open_video`` takes them."""
        wanted, names = self._settings["column"], list(columns)
        column = wanted or next((name for name in _SOURCE_COLUMNS if name in names), None)
        missing = [name for name in (column, *self._settings["keep"]) if name not in names]
        if missing:
            asked = f"column '{missing[0]}'" if missing[0] else f"column {quoted(_SOURCE_COLUMNS)}"
            raise InputError(f"The batch has no {asked}; it has {quoted(names)}: name the one with column=.")
        assert column is not None
        taken = [name for name in names if name in self._kinds and name not in (column, *_SOURCE_COLUMNS)]
        if taken:
            raise InputError(
                f"The batch has a column '{taken[0]}' already, which would be lost: give prefix=, as"
                " 'predicted_', for the names of those that are made."
            )
        values = _listed(column, columns[column])
        name = next((name for name in _NAME_COLUMNS if name in names and name != column), None)
        called = [None] * len(values) if name is None else _listed(name, columns[name])
        counts = {name: len(called)} | {kept: length_hint(columns[kept]) for kept in self._settings["keep"]}
        for other, count in counts.items():
            if count != len(values):
                raise InputError(f"'{column}' has {len(values)} and '{other}' {count} cells; give as many.")
        return [_source(value, label) for value, label in zip(values, called, strict=True)]

    def __reduce__(self) -> tuple[Callable[[str], BatchPredictor], tuple[str]]:
        # One text, so that equal objects are equal bytes wherever and whenever they are pickled.
        return _restored, (self._text(),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BatchPredictor) and self._text() == other._text()

    def __hash__(self) -> int:
        return hash(self._text())

    def _text(self) -> str:
        """The settings as JSON, in which a tuple is the list that it is restored as."""
        return json.dumps(self._settings, sort_keys=True)

    def __repr__(self) -> str:
        return f"BatchPredictor('{self._settings['model']}', task='{self._settings['task']}')"


def _restored(text: str) -> BatchPredictor:
    predictor = BatchPredictor.__new__(BatchPredictor)
    predictor._set(dict.fromkeys(("fps", *_TASKS_OF)) | _USUAL | json.loads(text))  # older ones lack some
    return predictor


def _columns(task: Task, topk: int) -> dict[str, Kind]:
    """What comes out of a task, in order."""
    first: dict[str, Kind] = {"source": "string", "error": "string"}
    times: dict[str, Kind] = {"start_seconds": "array<double>", "end_seconds": "array<double>"}
    if task == "features":
        return first | {"features": "array<array<float>>", **times}
    if task == "timeline":
        segments: dict[str, Kind] = {"labels": "array<string>", "scores": "array<float>"}
        return first | segments | times | {"duration_seconds": "double", "damaged_frames": "int"}
    if task == "detect":
        who: dict[str, Kind] = {"seconds": "array<double>", "person": "array<int>", "track": "array<string>"}
        corners: dict[str, Kind] = dict.fromkeys(("x1", "y1", "x2", "y2"), "array<double>")
        actions: dict[str, Kind] = {"box_scores": "array<float>", "labels": "array<string>"}
        rest: dict[str, Kind] = {"scores": "array<float>", "duration_seconds": "double"}
        return first | who | corners | actions | rest | {"damaged_frames": "int"}
    for rank in range(1, topk + 1):
        first |= {f"label_{rank}": "string", f"score_{rank}": "float"}
    looked: dict[str, Kind] = {"clips": "int", "crops": "int", "start": "double", "end": "double"}
    return first | looked | {"padded": "boolean", "damaged_frames": "int"}


def _empty(kind: Kind) -> Any:
    return [] if kind.startswith("array") else _EMPTY[kind]


def _typed(values: list[Any], kind: Kind) -> Any:
    """A column: an array of its type; of texts and lists an array of objects, which cuts and pads nothing."""
    if kind in _DTYPES:
        return np.array(values, _DTYPES[kind])
    column = np.empty(len(values), object)
    column[:] = values
    return column


def _as_columns(batch: Any) -> Mapping[str, Any]:
    """A batch by column.

    Raises:
        InputError: it is none.
    """
    for method, arguments in (("to_pydict", ()), ("to_dict", ("list",))):  # Arrow's, pandas'
        if not isinstance(batch, Mapping) and hasattr(batch, method):
            batch = getattr(batch, method)(*arguments)
    if not isinstance(batch, Mapping):
        raise InputError(
            f"A batch is columns by name, such as {{'path': ['a.mp4', 'b.mp4']}}; got {type(batch).__name__}."
        )
    return batch


def _listed(name: str, column: Any) -> list[Any]:
    """The cells of a column.

    Raises:
        InputError: a single cell, or an array that has lost bytes.
    """
    single = (str, bytes, bytearray, memoryview, Path, Mapping)
    if isinstance(column, single) or not (isinstance(column, Iterable) or hasattr(column, "to_pylist")):
        raise InputError(
            f"Column '{name}' is one {type(column).__name__}; accepted: a list or array, a cell per video"
            " (with datasets.map: batched=True)."
        )
    if getattr(getattr(column, "dtype", None), "kind", "") == "S":
        raise InputError(
            f"Column '{name}' is a NumPy array of type {column.dtype}, which cuts zeros at the end of files:"
            " give dtype=object."
        )
    return column.to_pylist() if hasattr(column, "to_pylist") else list(column)


class _Named(io.BytesIO):
    """A file's bytes under its name."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


def _source(value: Any, name: Any) -> Any:
    """What ``open_video`` takes in place of a cell."""
    if isinstance(value, Mapping):  # datasets.Video(decode=False)
        path, content = value.get("path"), value.get("bytes")
        return _source(path if content is None else content, path)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _Named(bytes(value), name) if isinstance(name, str) and name else value
    if value is None and isinstance(name, str):
        return name
    return value


def _check(task: Task, settings: dict[str, Any], reference: ModelRef) -> None:
    """Refuses, before the job, what every worker would refuse.

    Raises:
        InputError: says what.
    """
    from slowfast_zoo.inference.features.recipes import check_recipe
    from slowfast_zoo.inference.inputs import check_clips
    from slowfast_zoo.network.slowfast import check_clip_head
    from slowfast_zoo.spec import ClipSpec
    from slowfast_zoo.video.clips import view_counts
    from slowfast_zoo.video.decoding.video import checked_fps

    entry = reference.entry
    if (rate := checked_fps(settings["fps"])) is not None:
        settings["fps"] = str(rate)  # exact in JSON, too
    for name in ("hop_seconds", "window_seconds"):
        if settings[name] is not None:
            settings[name] = checked_seconds(name, settings[name], positive=True)
    for name, tasks in _TASKS_OF.items():
        if task not in tasks and settings[name] != _USUAL.get(name):
            raise InputError(f"{name}= belongs to task={quoted(tasks)}, not to '{task}'.")
    if task == "detect":
        if (settings["boxes"] is None) == (settings["detector"] is None):
            raise InputError("Where are the persons? Give boxes= (a file), or detector='person'.")
        if file := settings["boxes"]:
            try:
                settings["boxes_sha256"] = hash_file(Path(file))
            except (OSError, ValueError) as error:
                raise InputError(f"The file of boxes '{file}' can't be read: {error}.") from error
        elif settings["unit"] or settings["begins_at"]:
            raise InputError("unit= and begins_at= say how boxes= are read, and detector= has none.")
    frames = None if entry is None else entry.model_spec.num_frames
    check_recipe(settings["recipe"], frames, {name: settings[name] for name in _OF_RECIPES})
    clips, crops = view_counts(ClipSpec() if entry is None else entry.clip_spec, settings["views"])
    if not isinstance(settings["views"], str):
        settings["views"] = [clips, crops]
    if task != "predict" and entry is not None:
        check_clips(clips, settings["window_seconds"])
    if entry is not None and task != "detect":
        check_clip_head(entry.model_spec, f"task='{task}'", "task='detect' takes it, with boxes=")
    if entry is not None and task == "detect" and entry.model_spec.roi is None:
        raise InputError(f"task='detect' takes models that score persons, named *_roi, not '{entry.model}'.")


class _Kept:
    """What a process has loaded, and what the one that it was forked from had: made before anything is.

    Attributes:
        process: its number; a forked one begins anew.
        forked: whether it was forked from one in which torch was loaded.
        openvino, gpu: whether that one had OpenVINO loaded, or used a GPU.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self.forked = self.process != _imported_in and "torch" in sys.modules
        self.openvino = self.forked and "openvino" in sys.modules
        self.gpu = self.forked and sys.modules["torch"].cuda.is_initialized()
        self.lock = threading.Lock()
        self.workers: dict[str, Answer] = {}


_imported_in = os.getpid()
_kept = _Kept()


def _answer(key: str) -> Answer:
    """What answers with these settings, loaded by the first call in each process."""
    global _kept
    if _kept.process != os.getpid():
        _kept = _Kept()  # the lock may be held by a thread that isn't in this process
    with _kept.lock:
        answer = _kept.workers.pop(key, None) or _loaded(json.loads(key), _kept)
        _kept.workers[key] = answer
        while len(_kept.workers) > _MODELS:
            del _kept.workers[next(iter(_kept.workers))]
        return answer


def _loaded(settings: dict[str, Any], process: _Kept) -> Answer:
    """The model, ready for its task, with torch's threads set."""
    import torch

    from slowfast_zoo.runtime.devices import to_device

    threads = settings["threads"] or given_threads() or torch.get_num_threads()
    # OpenMP's threads stay behind in the process that this one was forked from, and are waited for.
    torch.set_num_threads(1 if process.forked else min(threads, usable_cpus()))
    if settings["device"] is None and process.gpu:
        raise InputError("A process that was forked from one that uses a GPU can't use it: spawn workers.")
    reference = parse(settings["model"])
    if reference.entry is None and reference.origin()["weights"] != settings["weights"]:
        raise InputError(
            f"'{settings['model']}' holds other weights on this worker than where the job was made, or has"
            " been written since: make a new BatchPredictor."
        )
    options = {
        "views": settings["views"] if isinstance(settings["views"], str) else tuple(settings["views"]),
        "fps": None if settings["fps"] is None else Fraction(settings["fps"]),
        "device": to_device(settings["device"]),
        "engine": _engine(settings["engine"], process),
        "precision": settings["precision"],
    }
    return _TASKS[settings["task"]](reference.load(), settings, options)


def _engine(engine: EngineName, process: _Kept) -> EngineName:
    """An engine that computes in this process: OpenVINO's threads can't be had again after a fork.

    Raises:
        InputError: it is asked for.
    """
    if not process.openvino:
        return engine
    if engine == "openvino":
        raise InputError(
            "A process that was forked from one that has used OpenVINO can't use it: spawn workers, or"
            " engine='eager'."
        )
    return "eager" if engine == "auto" else engine


def _predict(model: SlowFast, settings: dict[str, Any], options: dict[str, Any]) -> Answer:
    from slowfast_zoo.inference.predict import Predictor

    predictor = Predictor(model, topk=settings["topk"], **options)
    return lambda sources: (prediction.to_row() for prediction in predictor.many(sources))


def _timeline(model: SlowFast, settings: dict[str, Any], options: dict[str, Any]) -> Answer:
    from slowfast_zoo.inference.timeline import TimelineMaker
    from slowfast_zoo.video.windows import Grid

    times = {name: settings[name] for name in ("hop_seconds", "window_seconds")}
    grid = Grid(**times, last=settings["last"] or "move_back")
    maker = TimelineMaker(model, grid, SegmentRules(**settings["rules"] or {}), **options)
    maker.runner(None)  # what it refuses is no video's fault

    def answer(source: Any) -> Row:
        with maker.begin(source, alone=False) as run:
            found = run.finish("", show=False)
        columns = found.to_columns()
        columns = {"labels": columns.pop("label"), "scores": columns.pop("score"), **columns}
        return columns | {"duration_seconds": found.duration_seconds, "damaged_frames": found.damaged_frames}

    return lambda sources: (_told(answer, source) for source in sources)


def _features(model: SlowFast, settings: dict[str, Any], options: dict[str, Any]) -> Answer:
    from slowfast_zoo.inference.features.features import FeatureExtractor

    wishes = {name: settings[name] for name in (*_OF_RECIPES, "recipe", "layer")} | options
    extractor = FeatureExtractor(model, dtype="float32", **wishes)
    extractor.runner(None)

    def answer(source: Any) -> Row:
        found = extractor(source)
        times = {"start_seconds": found.start_seconds.tolist(), "end_seconds": found.end_seconds.tolist()}
        return {"features": list(found.values), **times}

    return lambda sources: (_told(answer, source) for source in sources)


def _detect(model: SlowFast, settings: dict[str, Any], options: dict[str, Any]) -> Answer:
    from slowfast_zoo.data.persons.boxes import boxes_by_video, of_video
    from slowfast_zoo.inference.detect.detect import DetectionMaker
    from slowfast_zoo.inference.detect.detections import video_name
    from slowfast_zoo.video.sources.names import display_name

    options = {name: value for name, value in options.items() if name != "views"}
    options |= {name: settings[name] for name in ("topk", "detector", "box_score", "score")}
    maker = DetectionMaker(model, every_seconds=settings["hop_seconds"], progress=False, **options)
    maker.runner(None)
    file = settings["boxes"]
    known = file and boxes_by_video(file, unit=settings["unit"], begins_at=settings["begins_at"])
    if known is not None and hash_file(Path(file)) != settings["boxes_sha256"]:
        raise InputError(
            f"'{file}' holds other boxes on this worker than where the job was made, or has been written"
            " since: make a new BatchPredictor."
        )

    def answer(source: Any) -> Row:
        boxes = None if known is None else of_video(known, video_name(display_name(source)), file)
        with maker.begin(source, boxes, alone=False) as run:
            found = run.finish("", show=False)
        columns = found.to_columns()
        columns["track"] = [track or "" for track in columns["track"]]
        columns["labels"] = [label or "" for label in columns.pop("label")]
        columns["scores"] = [np.nan if score is None else score for score in columns.pop("score")]
        columns["box_scores"] = columns.pop("box_score")
        return columns | {"duration_seconds": found.duration_seconds, "damaged_frames": found.damaged_frames}

    return lambda sources: (_told(answer, source) for source in sources)


_TASKS: dict[Task, Callable[[SlowFast, dict[str, Any], dict[str, Any]], Answer]] = {
    "predict": _predict,
    "timeline": _timeline,
    "features": _features,
    "detect": _detect,
}


def _told(answer: Callable[[Any], Row], source: Any) -> Row:
    """The answer for a video, or why there is none."""
    from slowfast_zoo.inference.predict import reason_of
    from slowfast_zoo.video.sources.names import display_name

    row: Row = {"source": display_name(source)}
    try:
        return row | answer(source)
    except NO_VIDEOS_FAULT:
        raise
    except FAULTS as error:
        if not isinstance(error, SlowFastZooError):  # a fault of ours rather than of the video
            _LOGGER.warning("'%s' failed.", row["source"], exc_info=error)
        return row | {"error": reason_of(error)}
