"""The two contracts of a weight: ``ModelSpec`` (the network) and ``ClipSpec`` (its input).

Both are frozen, validated when they are made, and go to JSON and back unchanged. This module
imports nothing heavy, so that catalogs and command lines answer at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import numbers
import operator
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, get_args, get_type_hints

from slowfast_zoo.errors import SpecError, did_you_mean, quoted

BLOCKS_PER_STAGE: dict[int, tuple[int, int, int, int]] = {
    14: (1, 1, 1, 1),
    26: (2, 2, 2, 2),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Bottleneck blocks of stages 1-4 for each depth. Source: He et al. 2016, table 1
(https://arxiv.org/abs/1512.03385); 14 and 26 are the same blocks, fewer of them."""

LARGEST: dict[str, int] = {
    "alpha": 256,
    "beta_inv": 256,
    "fusion_kernel": 255,
    "fusion_ratio": 64,
    "base_width": 512,
    "num_frames": 1024,
    "num_classes": 1_000_000,
    "in_channels": 1024,
    "head_window": 64,
    "frame_stride": 1024,
    "size": 4096,
    "crop": 4096,
    "test_crop": 4096,
    "jitter": 4096,
    "epochs": 1_000_000,
    "rand_augment": 30,
    "clips": 1000,
    "output_size": 64,
    "sampling_ratio": 64,
    "seed": 2**64 - 1,
}
"""Upper bounds of whole numbers in both specs: several times what anybody trains, so that a damaged or
hostile config is refused before it takes time or memory; and of a training's seed, as torch has it."""

LARGEST_CLIP = 2**26
"""Pixels of a clip after resizing, all frames together: 64 frames of 1024 x 1024."""

SlowSampling = Literal["strided", "linspace"]
HeadPool = Literal["global", "window_logits", "window_probs"]
Activation = Literal["softmax", "sigmoid"]
TemporalPool = Literal["mean", "max"]

TimeBase = Literal["frames", "fps-scaled", "seconds"]
Sampling = Literal[
    "openmmlab-0.x",
    "openmmlab-1.x",
    "pyslowfast",
    "pyslowfast-stamps",
    "pyslowfast-segments",
    "pyslowfast-charades",
    "pytorchvideo-0.1",
    "pytorchvideo",
    "gluoncv",
    "openmmlab-0.x-key",
    "openmmlab-1.x-key",
    "openmmlab-video-key",
    "pyslowfast-key",
]
"""Those that end in "-key" choose frames around a key frame, where persons have boxes."""
ShortVideo = Literal["loop", "repeat_last", "stretch"]
Resize = Literal["uint8-bilinear", "uint8-bilinear-floor", "float-bilinear"]
CropRule = Literal["three-crop", "uniform", "first", "whole"]
BoxRule = Literal["none", "openmmlab", "pyslowfast"]
ViewOrder = Literal["crop-major", "clip-major"]
PixelRange = Literal["0-255", "0-1"]
NamedViews = Literal["quick", "published"]
LastWindow = Literal["move_back", "pad", "drop"]
Aggregate = Literal["mean-prob", "mean-logit", "max-prob", "sum-prob"]
Augmentation = Literal[
    "random-resized-crop", "random-resized-crop-of-source", "short-side-jitter", "inverse-short-side-jitter"
]


class Spec:
    """What both specs share: checks of single fields, ``replace`` and JSON."""

    def __post_init__(self) -> None:
        for field, given in [*vars(self).items()]:
            object.__setattr__(self, field, _as_python(given))
        for field, choices in _choices(type(self)).items():  # type: ignore[arg-type]
            value = getattr(self, field)
            if value not in choices:
                near = did_you_mean(str(value), choices)
                raise self._error(field, f"one of {quoted(choices)}.{near}")

    def _error(self, field: str, accepted: str) -> SpecError:
        given = f"{type(self).__name__}.{field} is {getattr(self, field)!r:.80}"
        return SpecError(f"{given}; accepted: {accepted}{'' if accepted[-1] in '.?' else '.'}")

    def _require_int(self, field: str, minimum: int) -> None:
        value, most = getattr(self, field), LARGEST.get(field, math.inf)
        if type(value) is not int or not minimum <= value <= most:
            raise self._error(field, f"an integer from {minimum}{f' to {most}' if field in LARGEST else ''}")

    def _require_number(self, field: str, low: float, high: float, *, open_low: bool = False) -> None:
        value = getattr(self, field)
        if not _is_number(value) or value > high or value < low or (open_low and value == low):
            raise self._error(field, f"a number {'above' if open_low else 'from'} {low} to {high}")

    def replace(self, **changes: Any) -> Self:
        """A copy with the given fields changed, validated again.

        Raises:
            SpecError: an unknown field, or a value that is not accepted.
        """
        self._check_names(changes)
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain JSON values (tuples become lists)."""
        return {field: _to_json(value) for field, value in vars(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The spec that ``to_dict`` wrote; absent fields take their defaults.

        Raises:
            SpecError: an unknown field, or a value that is not accepted.
        """
        if not isinstance(values, Mapping):
            raise SpecError(f"{cls.__name__} is read from a mapping of fields, got {type(values).__name__}.")
        cls._check_names(values)
        return cls(**{name: _from_json(value) for name, value in values.items()})

    @classmethod
    def _check_names(cls, values: Mapping[str, Any]) -> None:
        names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        for name in values:
            if name not in names:
                near = did_you_mean(str(name), names) or f" Accepted: {quoted(names)}."
                raise SpecError(f"{cls.__name__} has no field '{name}'.{near}")


@functools.cache  # to evaluate the annotations takes longer than everything else about a spec
def _choices(kind: type[Spec]) -> dict[str, tuple[str, ...]]:
    """What is accepted by the fields that take one of several texts."""
    choices = {name: get_args(hint) for name, hint in get_type_hints(kind).items()}
    return {name: given for name, given in choices.items() if given and isinstance(given[0], str)}


def _as_python(value: Any) -> Any:
    """Numbers of NumPy and the like as Python's, as JSON wants them; all else as it is."""
    if isinstance(value, tuple):
        return tuple(map(_as_python, value))
    if isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")):
        return value
    try:
        return operator.index(value)
    except TypeError:
        with contextlib.suppress(OverflowError):
            return float(value) if isinstance(value, numbers.Real) else value
        return value


def _to_json(value: Any) -> Any:
    if isinstance(value, Spec):
        return value.to_dict()
    return [_to_json(item) for item in value] if isinstance(value, tuple) else value


def _from_json(value: Any) -> Any:
    return tuple(_from_json(item) for item in value) if isinstance(value, (list, tuple)) else value


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoiSpec(Spec):
    """The head that scores persons: how a box becomes features.

    Both maps are pooled over time, joined, cut out by RoIAlign, and the largest value of each channel kept.
    Source: MMAction2's ``AVARoIHead``, PySlowFast's ``ResNetRoIHead``, PyTorchVideo's
    ``create_res_roi_pooling_head``.
    """

    temporal_pool: TemporalPool = "mean"
    """What becomes of the frames of a map. No file tells it: two of a publisher's rows differ in it alone."""
    output_size: int = 8
    """Side in cells of what RoIAlign cuts out: 8 (OpenMMLab) or 7."""
    sampling_ratio: int = 0
    """Samples per cell and side; 0: as many as the box has map cells per output cell, rounded up."""
    aligned: bool = True
    """Whether RoIAlign takes pixel centers for half a pixel in (OpenMMLab), or doesn't shift the boxes."""
    context: bool = False
    """Whether the whole frame's features come after those of the box."""
    acrn: bool = False
    """Whether two convolutions relate each person to the whole frame (actor-centric relation network)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_int("output_size", 1)
        self._require_int("sampling_ratio", 0)
        for field in ("aligned", "context", "acrn"):
            if not isinstance(getattr(self, field), bool):
                raise self._error(field, "True or False")
        if self.context and self.acrn:
            raise self._error("context", "False where acrn is True: its convolutions see the frame already")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSpec(Spec):
    """Everything that decides which function a SlowFast network computes.

    Source: Feichtenhofer et al. 2019 (https://arxiv.org/abs/1812.03982), and the four publishers'
    configurations where they differ from each other.
    """

    depth: int = 50
    """Layers of the slow pathway: 14, 26, 50, 101 or 152."""
    fast_depth: int | None = None
    """Layers of the fast pathway; None means the same as ``depth``."""
    alpha: int = 8
    """Fast frames per slow frame."""
    beta_inv: int = 8
    """Slow channels per fast channel (the paper's 1/beta)."""
    fusion_kernel: int = 5
    """Frames that a lateral convolution sees: odd; 5 or 7 in every published model."""
    fusion_ratio: int = 2
    """Channels that a lateral connection gives, per fast channel that it reads."""
    lateral_norm: bool = False
    """Batch norm and ReLU after each lateral convolution (OpenMMLab: mostly without)."""
    slow_sampling: SlowSampling = "strided"
    """Slow frames out of the fast ones: every alpha-th, or floor(linspace(0, T-1, T/alpha))."""
    temporal_blocks: tuple[int, int, int, int] | None = None
    """Blocks per stage that may have a temporal kernel, in both pathways; None: all of them."""
    head_pool: HeadPool = "global"
    """Average the whole map, or slide a window and average logits or probabilities (in eval mode)."""
    head_window: int | None = None
    """Side of that window in cells of the last map (32 pixels each); 7 where published."""
    activation: Activation = "softmax"
    """What turns logits into probabilities: softmax (one class) or sigmoid (several)."""
    base_width: int = 64
    """Channels of the slow stem."""
    num_frames: int = 32
    """Frames of the clip (the fast pathway's) that the weights were trained with."""
    num_classes: int = 400
    """Rows of the classifier; 0 for a model that returns pooled features."""
    in_channels: int = 3
    """Channels of the clip."""
    dropout: float = 0.5
    """Probability of dropping a pooled feature while training."""
    stage4_stride: tuple[int, int] = (2, 2)
    """Spatial stride of the last stage, slow and fast pathway: 2, or 1 in networks for detection."""
    stage4_dilation: tuple[int, int] = (1, 1)
    """Spatial dilation of the last stage's 3x3 convolutions, slow and fast pathway."""
    non_local: tuple[int, ...] = ()
    """Blocks of the slow pathway's stage 3, counted from 0, that a non-local block follows."""
    roi: RoiSpec | None = None
    """The head for boxes of persons; None: one answer for the clip."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fast_depth is None:
            object.__setattr__(self, "fast_depth", self.depth)
        if self.head_window is None and self.head_pool != "global":
            object.__setattr__(self, "head_window", 7)
        for field in ("depth", "fast_depth"):
            if not isinstance(getattr(self, field), int) or getattr(self, field) not in BLOCKS_PER_STAGE:
                raise self._error(field, f"one of {', '.join(map(str, BLOCKS_PER_STAGE))}")
        positive = ("alpha", "beta_inv", "fusion_kernel", "fusion_ratio", "base_width", "num_frames")
        for field in (*positive, "in_channels"):
            self._require_int(field, 1)
        self._require_int("num_classes", 0)
        self._require_number("dropout", 0, 1)
        if self.dropout == 1:
            raise self._error("dropout", "a number from 0 to below 1")
        if not isinstance(self.lateral_norm, bool):
            raise self._error("lateral_norm", "True or False")
        if self.fusion_kernel % 2 == 0:
            raise self._error("fusion_kernel", "an odd number of frames")
        if self.base_width % self.beta_inv:
            raise self._error("base_width", f"a multiple of beta_inv ({self.beta_inv})")
        if self.num_frames % self.alpha:
            raise self._error("num_frames", f"a multiple of alpha ({self.alpha})")
        self._check_temporal_blocks()
        self._check_stage4()
        self._check_non_local()
        self._check_roi()
        if self.head_pool != "global":
            self._require_int("head_window", 1)
        elif self.head_window is not None:
            raise self._error("head_window", "None when head_pool is 'global'")

    def _check_temporal_blocks(self) -> None:
        blocks, most = self.temporal_blocks, max(map(max, BLOCKS_PER_STAGE.values()))
        if blocks is not None and not _are_integers(blocks, 0, most, count=4):
            raise self._error("temporal_blocks", f"None, or four integers from 0 to {most}, one per stage")

    def _check_stage4(self) -> None:
        for field in ("stage4_stride", "stage4_dilation"):
            if not _are_integers(getattr(self, field), 1, 2, count=2):
                raise self._error(field, "1 or 2 for the slow and for the fast pathway, as a pair")

    def _check_non_local(self) -> None:
        blocks, count = self.non_local, BLOCKS_PER_STAGE[self.depth][2]
        if not _are_integers(blocks, 0, count - 1) or list(blocks) != sorted(set(blocks)):
            raise self._error("non_local", f"rising numbers from 0 to {count - 1}, blocks of stage 3")

    def _check_roi(self) -> None:
        if isinstance(self.roi, Mapping):
            object.__setattr__(self, "roi", RoiSpec.from_dict(self.roi))
        if self.roi is None:
            return
        if not isinstance(self.roi, RoiSpec):
            raise self._error("roi", "None, or a RoiSpec")
        if self.head_pool != "global":
            raise self._error("head_pool", "'global' with an ROI head")
        if self.stage4_stride[0] != self.stage4_stride[1]:
            raise self._error(
                "stage4_stride", "one stride for both pathways with an ROI head, which joins their maps"
            )

    @property
    def slow_frames(self) -> int:
        """Frames that the slow pathway sees of a clip of ``num_frames``."""
        return self.num_frames // self.alpha

    def replace(self, **changes: Any) -> Self:
        """A copy with the given fields changed; equal pathways stay equal when only ``depth`` changes.

        Raises:
            SpecError: an unknown field, or a value that is not accepted.
        """
        if "depth" in changes and "fast_depth" not in changes and self.fast_depth == self.depth:
            changes["fast_depth"] = None
        return super().replace(**changes)

    def slow_indices(self, num_frames: int | None = None) -> tuple[int, ...]:
        """Which frames of a clip the slow pathway sees.

        Every alpha-th frame for "strided" (OpenMMLab, GluonCV); floor(linspace(0, T-1, T/alpha)) for
        "linspace" (PySlowFast, PyTorchVideo), here in integers: 32 frames and alpha 8 give 0, 10, 20, 31.

        Args:
            num_frames: frames T of the clip, a multiple of alpha; None means ``self.num_frames``.
        """
        frames = self.num_frames if num_frames is None else num_frames
        slow = frames // self.alpha
        if self.slow_sampling == "strided":
            return tuple(range(0, slow * self.alpha, self.alpha))
        return tuple(i * (frames - 1) // max(slow - 1, 1) for i in range(slow))

    @property
    def slow_features(self) -> int:
        """Channels of the slow pathway's last map."""
        return 32 * self.base_width

    @property
    def num_features(self) -> int:
        """Pooled features in front of the classifier, slow ones first; with the frame's context twice."""
        return self.map_features * (2 if self.roi is not None and self.roi.context else 1)

    @property
    def map_features(self) -> int:
        """Channels of both pathways' last maps together."""
        return self.slow_features + self.slow_features // self.beta_inv

    @property
    def pixels_per_cell(self) -> int:
        """Side in pixels of a cell of the last map: the slow pathway's."""
        return 16 * self.stage4_stride[0]  # stem 2, max pool 2, stages 2 and 3: 2 each


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipSpec(Spec):
    """How a video becomes the clips that a weight was trained and scored with.

    The defaults are OpenMMLab's 1.x Kinetics-400 test protocol. Which publisher does what, and where
    that is written, stands beside each rule in ``slowfast_zoo.video``.
    """

    num_frames: int = 32
    """Frames in a clip."""
    frame_stride: int = 2
    """Source frames per clip frame (at ``fps`` where ``time_base`` isn't "frames")."""
    time_base: TimeBase = "frames"
    """Whether the stride counts source frames, source frames scaled to ``fps``, or time."""
    fps: float | None = None
    """Frame rate that ``frame_stride`` refers to; None when ``time_base`` is "frames"."""
    sampling: Sampling = "openmmlab-1.x"
    """The publisher's rule for clip starts and for the frames inside a clip."""
    short_video: ShortVideo = "loop"
    """What fills a clip that is longer than its video."""
    size: int | tuple[int, int] = 256
    """Pixels of the shorter side after resizing, or exact (width, height)."""
    resize: Resize = "uint8-bilinear"
    """OpenCV's fixed-point bilinear on bytes (the longer side rounded, or down), or plain bilinear on
    normalized floats (down)."""
    crop: int = 224
    """Side in pixels of training and validation crops."""
    test_crop: int = 256
    """Side in pixels of the crops that predictions and published scores use."""
    clips: int = 10
    """Clips in time of the published protocol."""
    crops: int = 3
    """Crops in space of the published protocol: 1 or 3."""
    crop_rule: CropRule = "three-crop"
    """OpenMMLab's left, right, middle; PySlowFast's left, center, right; the first of those; or no crop: the
    whole resized frame, whatever its aspect."""
    box_rule: BoxRule = "none"
    """How the boxes of persons are scaled and clipped; "none" for recognition."""
    view_order: ViewOrder = "crop-major"
    """Whether all clips of the first crop come first, or all crops of the first clip."""
    mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    """Per channel (RGB), in units of ``pixel_range``."""
    std: tuple[float, ...] = (58.395, 57.12, 57.375)
    """Per channel (RGB), in units of ``pixel_range``."""
    pixel_range: PixelRange = "0-255"
    """Whether bytes are divided by 255 before mean and std are applied."""
    aggregate: Aggregate = "mean-prob"
    """How the views' outputs become one score per class."""
    augmentation: Augmentation = "random-resized-crop"
    """How training crops are drawn."""
    smallest_area: float = 0.08
    """Part of the picture that a random resized crop keeps at least."""
    jitter: tuple[int, int] = (256, 320)
    """Range in pixels of the shorter side for "short-side-jitter"."""
    flip: float = 0.5
    """Probability of a horizontal flip while training."""
    approximate: str = ""
    """What of the publisher's pipeline can't be repeated exactly; empty when nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("num_frames", "frame_stride", "crop", "test_crop", "clips"):
            self._require_int(field, 1)
        if self.crops not in (1, 3):
            raise self._error("crops", "1 or 3")
        if self.crop_rule == "whole" and self.crops != 1:
            raise self._error("crops", "1 where crop_rule is 'whole'")
        if (self.box_rule == "none") == self.has_key_frames:
            needed = "another one than 'none'" if self.has_key_frames else "'none'"
            raise self._error("box_rule", f"{needed} where sampling is '{self.sampling}'")
        if self.time_base != "frames":
            self._require_number("fps", 0.001, 1000)
        elif self.fps is not None:
            raise self._error("fps", "None when time_base is 'frames'")
        self._check_size()
        self._require_number("flip", 0, 1)
        self._require_number("smallest_area", 0, 1, open_low=True)
        for field in ("mean", "std"):
            values = getattr(self, field)
            numbers = isinstance(values, tuple) and all(_is_number(value) for value in values)
            if not numbers or not 1 <= len(values) <= LARGEST["in_channels"] or max(map(abs, values)) > 1e6:
                raise self._error(field, "a tuple of one finite number per channel, at most a million")
        if len(self.mean) != len(self.std):
            raise self._error("std", f"as many numbers as mean has ({len(self.mean)})")
        if min(self.std) < 1e-6:
            raise self._error("std", "numbers from 0.000001")
        if not isinstance(self.approximate, str) or len(self.approximate) > 10_000:
            raise self._error("approximate", "a text of at most 10000 characters")

    def _check_size(self) -> None:
        sides = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        if not _are_integers(sides, 1, LARGEST["size"], count=2):
            raise self._error(
                "size", f"the shorter side in pixels, or (width, height), each from 1 to {LARGEST['size']}"
            )
        if self.num_frames * sides[0] * sides[1] > LARGEST_CLIP:
            raise self._error(
                "size", f"{LARGEST_CLIP} pixels in the {self.num_frames} frames of a clip at most"
            )
        if max(self.crop, self.test_crop) > min(sides):
            field = "crop" if self.crop > min(sides) else "test_crop"
            raise self._error(field, f"at most the resized shorter side ({min(sides)} pixels)")
        if not _are_integers(self.jitter, 1, LARGEST["jitter"], count=2) or self.jitter[0] > self.jitter[1]:
            raise self._error("jitter", f"two integers from 1 to {LARGEST['jitter']}, the smaller one first")

    @property
    def has_key_frames(self) -> bool:
        """Whether clips lie around key frames with boxes: detection, not recognition."""
        return self.sampling.endswith("-key")

    @property
    def span_frames(self) -> int:
        """Source frames from the first frame's begin to the last one's end, at the spec's rate."""
        return self.num_frames * self.frame_stride


def _are_integers(values: object, low: int, high: int, *, count: int | None = None) -> bool:
    """Whether it is a tuple of integers from ``low`` to ``high``: exactly ``count``, where that is given."""
    if not isinstance(values, tuple) or count not in (None, len(values)):
        return False
    return all(type(value) is int and low <= value <= high for value in values)


def _is_number(value: object) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) < 1e300  # false for NaN, and an integer may have any number of digits


def class_names(labels: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """The names of so many classes; "class 7" where there are none."""
    return tuple(labels) if labels else tuple(f"class {index}" for index in range(count))


def views_name(views: NamedViews | tuple[int, int]) -> str:
    """Views as they are called on the command line, such as "10x3"."""
    return views if isinstance(views, str) else f"{views[0]}x{views[1]}"
