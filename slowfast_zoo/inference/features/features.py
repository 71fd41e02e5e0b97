"""Features: one vector per window of a video, with its times and with everything that decides about it.

    features = extract_features(model, "film.mp4", window_seconds=2.0, hop_seconds=1.0)
    features.values              # float32 (windows, 2304): slow pathway, then fast
    features.center_seconds      # float64 (windows,)
    features.save("film.npz")

The video is read once, in constant memory; while the network works, the next windows are read.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from fractions import Fraction
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from slowfast_zoo import __version__
from slowfast_zoo.errors import InputError, UnknownNameError, did_you_mean, quoted
from slowfast_zoo.inference.engines import EngineName
from slowfast_zoo.inference.engines.optimize import OptimizedModel
from slowfast_zoo.inference.features.files import Features
from slowfast_zoo.inference.features.recipes import (
    EGO4D_WINDOW,
    QVHIGHLIGHTS_FPS,
    QVHIGHLIGHTS_SIDE,
    FloatType,
    Layer,
    RecipeName,
    at_rate,
    check_recipe,
    ego4d_clips,
    ego4d_starts,
    find_recipe,
    qvhighlights_clips,
)
from slowfast_zoo.inference.inputs import check_clips, check_single, source_hash
from slowfast_zoo.inference.runner import BatchRunner, Job, answered, check_predictable, frames_on, read_ahead
from slowfast_zoo.inference.video_run import WINDOWS_AHEAD, window_jobs
from slowfast_zoo.network.provenance import of_pathways
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.network.twin import eval_twin
from slowfast_zoo.runtime.precision import Precision
from slowfast_zoo.runtime.progress import Progress
from slowfast_zoo.spec import ClipSpec, LastWindow
from slowfast_zoo.video.clips import ClipPlan, Views, view_counts
from slowfast_zoo.video.decoding.reader import open_video
from slowfast_zoo.video.decoding.video import Video, checked_fps
from slowfast_zoo.video.rules import Indices
from slowfast_zoo.video.sampling import checked_seconds
from slowfast_zoo.video.sources.names import display_name, is_url
from slowfast_zoo.video.windows import Grid, Plan, Window, WindowReader

if TYPE_CHECKING:
    from slowfast_zoo.video.decoding.reader import Source


def extract_features(
    model: SlowFast | OptimizedModel,
    source: Source,
    *,
    window_seconds: float | None = None,
    hop_seconds: float | None = None,
    layer: Layer = "pooled",
    last: LastWindow | None = None,
    dtype: FloatType | None = None,
    recipe: RecipeName = "clip",
    views: Views = "quick",
    fps: float | Fraction | None = None,
    device: str | torch.device | None = None,
    engine: EngineName = "auto",
    precision: Precision = "float32",
    batch_size: int | None = None,
    progress: bool = True,
) -> Features:
    """The features of each window of a video of any length, read once in constant memory.

    A window's features are what the network with ``num_classes=0`` gives for the clips that ``read_clips``
    makes of that part of the video, averaged over them.

    Args:
        model: as for ``predict``; it may also be one without a classifier, and of ``optimize`` has to be.
        source: one video, as for ``predict``.
        window_seconds: how long a window is; None: as long as one clip of the model's clip spec.
        hop_seconds: from one window's begin to the next one's; None: as ``window_seconds``, and without that
            as long as the clip spec's frames with the last one's stride.
        layer: "pooled": both pathways in front of the classifier, slow one first; "slow" or "fast" alone;
            "maps": both pathways' last maps, averaged over time only.
        last: what becomes of the window that reaches beyond the end: "move_back" (None) ends it there, "pad"
            fills it as the clip spec fills short videos, "drop" leaves it out.
        dtype: of the values; None: the recipe's, which is float32 for "clip".
        recipe: "clip", the model's own clip spec; or how a published set of features was made, to the frame:
            "qvhighlights" (HERO's, for Moment-DETR and its successors, with the slip of its frame rate) or
            "ego4d" (Ego4D's SlowFast set). Those decide window, hop, last and views themselves.
        views: of each window, as for ``predict``; more than one clip needs ``window_seconds``.
        fps: as for ``predict``.
        device: as for ``predict``.
        engine: as for ``predict``; maps are computed by "eager" alone.
        precision: as for ``predict``.
        batch_size: as for ``predict_many``.
        progress: show a bar on a terminal and in notebooks, else a line every 30 seconds.

    Raises:
        InputError: an argument or source that is not accepted.
        UnknownNameError: no such recipe or layer.
        VideoError: the video can't be read.
    """
    check_single(source, "call extract_features for each of many.")
    extractor = FeatureExtractor(
        model,
        window_seconds=window_seconds,
        hop_seconds=hop_seconds,
        layer=layer,
        last=last,
        dtype=dtype,
        recipe=recipe,
        views=views,
        fps=fps,
        device=device,
        engine=engine,
        precision=precision,
        batch_size=batch_size,
    )
    return extractor(source, progress=progress)


class FeatureExtractor:
    """A model with everything that was decided about features; for any number of videos.

    Attributes:
        settings: what decides about the values of every video: a part of ``Features.meta``.

    Args:
        model: as for ``extract_features``, like all others.

    Raises:
        InputError, UnknownNameError: an argument that is not accepted.
    """

    def __init__(
        self,
        model: SlowFast | OptimizedModel,
        *,
        window_seconds: float | None = None,
        hop_seconds: float | None = None,
        layer: Layer = "pooled",
        last: LastWindow | None = None,
        dtype: FloatType | None = None,
        recipe: RecipeName = "clip",
        views: Views = "quick",
        fps: float | Fraction | None = None,
        device: str | torch.device | None = None,
        engine: EngineName = "auto",
        precision: Precision = "float32",
        batch_size: int | None = None,
    ) -> None:
        check_predictable(model, features=True)
        published = find_recipe(recipe)
        clips, _ = view_counts(model.clip_spec, views)
        times = {"window_seconds": window_seconds, "hop_seconds": hop_seconds}
        check_recipe(recipe, model.spec.num_frames, times | {"last": last, "views": views})
        _check_layer(layer, engine, precision, model)
        check_clips(clips, window_seconds)
        self._window, self._hop = (
            None if value is None else checked_seconds(name, value, positive=True)
            for name, value in times.items()
        )
        self._last: LastWindow = "move_back" if last is None else last
        Grid(last=self._last)
        checked_fps(fps)
        self._recipe, self._recipe_name, self._views, self._fps = published, recipe, views, fps
        self._clip_spec = model.clip_spec if published is None else published.clip_spec
        _check_choice("dtype", "float32" if dtype is None else dtype, get_args(FloatType))
        usual: FloatType = "float32" if published is None else published.dtype
        # NumPy's own types equal their names, and JSON takes only names.
        self._dtype = usual if dtype is None else str(dtype)
        self._layer, self._slow = layer, model.spec.slow_features
        owner = None if isinstance(model, OptimizedModel) else model
        network = model if isinstance(model, OptimizedModel) else _feature_network(model, layer)
        self._new_runner = functools.partial(
            BatchRunner,
            network,
            "auto" if layer == "maps" else engine,
            precision,
            device,
            batch_size=batch_size,
            features=True,
            owner=owner,
        )
        self._precision = precision
        self._frames_on = frames_on(model, device)
        self._runner: BatchRunner | None = None
        self.settings = self._described(model)

    def __call__(self, source: Source, *, progress: bool = False) -> Features:
        """The features of one video.

        Raises:
            InputError, VideoError: as ``extract_features``.
        """
        name = display_name(source)
        with open_video(source, fps=self._fps) as video:
            if self._recipe_name == "qvhighlights":
                video.scale(QVHIGHLIGHTS_SIDE)
            plan = self._plan(video)
            reader = WindowReader(video, self._clip_spec, plan, views=self._views, device=self._frames_on)
            found: dict[int, tuple[Window, npt.NDArray[Any]]] = {}
            with contextlib.closing(read_ahead(window_jobs(name, reader), WINDOWS_AHEAD)) as jobs:
                runner = self.runner(len(reader.windows))
                with Progress("features", len(reader.windows), unit="window", show=progress) as bar:
                    for job in answered(runner, jobs, keep_errors=False):
                        found[job.window.number] = (job.window, self._row(job))
                        bar.step()
            windows = [found[number][0] for number in range(len(reader.windows))]
            return Features(
                source=name,
                values=np.stack([found[number][1] for number in range(len(windows))]),
                start_seconds=np.array([window.start_seconds for window in windows]),
                end_seconds=np.array([window.end_seconds for window in windows]),
                meta=self.settings
                | self._of(video, plan, windows[0])
                | identity(source)
                | {"precision": runner.precision},
            )

    def _plan(self, video: Video) -> Plan:
        if self._recipe is not None:
            return _RecipePlan(self._recipe_name)
        seconds = self._window
        if seconds is None and self._hop is None:
            spec = self._clip_spec
            seconds = float(spec.span_frames / (video.fps if spec.fps is None else Fraction(spec.fps)))
        hop = self._hop or seconds
        assert hop is not None
        return Grid(hop_seconds=hop, window_seconds=self._window, last=self._last)

    def runner(self, windows: int | None) -> BatchRunner:
        """The network; how many windows come first decides about the engine. None: nobody knows."""
        if self._runner is None:
            clips, crops = view_counts(self._clip_spec, self._views)
            views = None if windows is None else windows * clips * crops
            # Maps are the network's own: no engine pays.
            self._runner = self._new_runner(clips=0 if self._layer == "maps" else views)
        return self._runner

    def _row(self, job: Job) -> npt.NDArray[Any]:
        """The features of a window: the mean of its views', the wanted part of them."""
        values = job.finite(torch.stack(job.logits).mean(dim=0))
        part = {"slow": slice(None, self._slow), "fast": slice(self._slow, None)}.get(
            self._layer, slice(None)
        )
        return values[part].numpy().astype(self._dtype)

    def _described(self, model: SlowFast | OptimizedModel) -> dict[str, Any]:
        recipe, spec = self._recipe, self._clip_spec
        clips, crops = view_counts(spec, self._views)
        words = {
            "frames": f"{spec.num_frames} by the rule '{spec.sampling}', stride {spec.frame_stride}",
            "last_window": self._last,
            "picture": f"{spec.resize}, shorter side {spec.size}, crop {spec.test_crop}",
        }
        if recipe is not None:
            words = {"frames": recipe.frames, "last_window": recipe.last, "picture": recipe.picture}
        return {
            "recipe": self._recipe_name,
            "model": model.provenance.get("model"),
            "weights": of_pathways(model.provenance).get("tag"),
            "provenance": copy.deepcopy(model.provenance),
            "layer": self._layer,
            "window_seconds": self._window if recipe is None else float(recipe.window),
            "hop_seconds": self._hop if recipe is None else float(recipe.hop),
            "asked": {  # compared with those of files that are there, which have always had these names
                "window": self._window,
                "hop": self._hop or self._window,
                "fps": None if self._fps is None else float(self._fps),
            },
            "resampled_fps": None if recipe is None else recipe.fps,
            **words,
            "views": [clips, crops],
            "clip_spec": spec.to_dict(),
            "dtype": self._dtype,
            "normalized": False,
            "asked_precision": model.precision if isinstance(model, OptimizedModel) else self._precision,
        }

    def _of(self, video: Video, plan: Plan, first: Window) -> dict[str, Any]:
        """What a single video adds to the settings."""
        fps, seconds = video.info.fps, dict[str, float]()
        if isinstance(plan, Grid):  # a recipe's are in the settings
            seconds = {
                "window_seconds": plan.length_of(video, self._clip_spec),
                "hop_seconds": plan.hop_seconds,
            }
        return {
            "source_fps": None if fps is None else float(fps),
            "source_frames": video.num_frames,
            "damaged_frames": video.damaged_frames,
            "window_frames": first.num_frames,
            **seconds,
            "first_start_seconds": first.start_seconds,
            "row_time": "start_seconds, end_seconds and their middle, from the begin of the file",
            "slowfast_zoo": __version__,
        }


def identity(source: object) -> dict[str, str]:
    """What tells a source from others in ``Features.meta``: its name, and of an address the hash."""
    name = {"source": display_name(source)}
    return name | {"address_sha256": source_hash(source)} if is_url(source) else name


class _RecipePlan:
    """The windows and frames of a published set of features."""

    def __init__(self, name: RecipeName) -> None:
        self._name = name
        self._rows = np.empty((0, 0), np.int64)

    def windows(self, video: Video, spec: ClipSpec) -> list[Window]:
        count = video.num_frames
        begin, end = video.seconds_of(0), video.seconds_of(count)
        begins = np.array([video.seconds_of(index) for index in range(count)])
        if self._name == "qvhighlights":
            shown = at_rate(begins, end, QVHIGHLIGHTS_FPS)
            self._rows = shown[qvhighlights_clips(len(shown), video.fps, end - begin)]
            times = [(2.0 * row, 2.0 * row + 2.0) for row in range(len(self._rows))]
        else:
            starts = ego4d_starts(Fraction(end - begin).limit_denominator(10**6))
            self._rows = ego4d_clips(begins - begin, starts)
            length = float(EGO4D_WINDOW)
            times = [(begin + float(start), begin + float(start) + length) for start in starts]
        firsts = self._rows.min(axis=1)
        lengths = self._rows.max(axis=1) - firsts + 1
        return [
            Window(number, int(first), int(length), *seconds)
            for number, (first, length, seconds) in enumerate(zip(firsts, lengths, times, strict=True))
        ]

    def clips(self, video: Video, window: Window, spec: ClipSpec, views: Views) -> ClipPlan:
        row: Indices = self._rows[window.number : window.number + 1] - window.first_frame
        return ClipPlan(row, None, False)


class _MapNetwork(SlowFast):
    """Gives maps: both pathways', averaged over time ``(B, channels, h, w)``, slow ones first."""

    def forward(self, clip: Tensor, boxes: Tensor | None = None) -> Tensor:
        slow, fast = self.forward_features(clip)
        return torch.cat([slow.mean(dim=2), fast.mean(dim=2)], dim=1)


def _map_class(kind: type[SlowFast]) -> type[SlowFast]:
    """The class of networks of that class which give maps, with all else that it does."""
    if kind is SlowFast:
        return _MapNetwork
    return type(kind.__name__, (kind,), {"forward": _MapNetwork.forward, "__module__": kind.__module__})


def _feature_network(model: SlowFast, layer: Layer) -> SlowFast:
    """The model with the same weights and without a classifier; the model stays as it is."""
    network = eval_twin(model)
    network.spec = model.spec.replace(num_classes=0)
    network._labels = None
    network.classifier = nn.Identity()
    if layer == "maps":
        network.__class__ = _map_class(type(network))
    return network


def _check_layer(
    layer: Layer, engine: EngineName, precision: Precision, model: SlowFast | OptimizedModel
) -> None:
    _check_choice("layer", layer, get_args(Layer))
    if isinstance(model, OptimizedModel) and (model.spec.num_classes or layer == "maps"):
        raise InputError(
            "An optimized model doesn't give these features: pass the model itself, and engine=."
        )
    if layer == "maps" and (engine not in ("auto", "eager") or precision != "float32"):
        raise InputError(
            f"Maps are computed by engine='eager' in precision='float32', got '{engine}' and '{precision}'."
        )


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        near = did_you_mean(str(value), choices)
        raise UnknownNameError(f"{name} is {value!r}; accepted: {quoted(choices)}.{near}")
