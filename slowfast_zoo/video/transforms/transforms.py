"""Decoded frames to network input: resize, crop, flip and normalize as each publisher does.

``eval_transform`` gives the one deterministic view of a clip, ``train_transform`` a random one. Both
take their steps from ``functional``, as the clip builder does.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from slowfast_zoo.errors import InputError
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.sampling import check_clip_spec
from slowfast_zoo.video.transforms.functional import (
    FramePipeline,
    check_crop,
    interpolate,
    normalize,
    resize_float,
    resized_size,
    slices,
)
from slowfast_zoo.video.transforms.resize import Box, Bytes, resize_bytes

_ATTEMPTS = 10  # shapes that a random resized crop tries before it takes the middle square


def eval_transform(clip_spec: ClipSpec, *, crop: int | None = None) -> EvalTransform:
    """The transform of one evaluation view: (T, H, W, C) uint8 -> (C, T, crop, crop) float32.

    Where ``clip_spec.crop_rule`` is "whole", the view is the whole resized picture, (C, T, height, width).

    Args:
        clip_spec: the clip contract.
        crop: side of the crop in pixels; None means ``clip_spec.test_crop``. Publishers validate
            with ``clip_spec.crop`` while they train.

    Raises:
        InputError: no clip contract, a crop that is larger than the resized frames, or one of whole pictures.
    """
    check_clip_spec(clip_spec)
    if clip_spec.crop_rule == "whole" and crop is not None:
        raise InputError("This clip_spec shows whole pictures (crop_rule 'whole'): leave crop= out.")
    return EvalTransform(clip_spec, clip_spec.test_crop if crop is None else crop)


def train_transform(clip_spec: ClipSpec, *, flip_labels: Mapping[int, int] | None = None) -> TrainTransform:
    """The augmenting transform: (T, H, W, C) uint8 -> (C, T, crop, crop) float32.

    All frames of a clip get the same crop and flip, drawn from torch's global generator, which
    torch seeds anew in every data-loader worker, or from the generator given to the call.

    Args:
        clip_spec: the clip contract.
        flip_labels: classes that become another class in the mirror, by number, or as labels call them. A
            direction is one entry: two classes that are exchanged need both, ``{0: 1, 1: 0}`` where they are
            "left" and "right". Then the transform is called through ``with_label``.

    Raises:
        InputError: no clip contract, a jitter range that begins below the crop, or ``flip_labels`` that are
            no mapping.
    """
    check_clip_spec(clip_spec)
    if flip_labels is not None and not isinstance(flip_labels, Mapping):
        raise InputError(f"flip_labels is {flip_labels!r:.60}; accepted: a dict, such as {{0: 1, 1: 0}}.")
    partners = {_as_number(label): _as_number(other) for label, other in (flip_labels or {}).items()}
    return TrainTransform(clip_spec, partners)


class EvalTransform:
    """Resize, one deterministic crop, normalize. Made by ``eval_transform``; can be pickled."""

    def __init__(self, clip_spec: ClipSpec, crop: int) -> None:
        check_crop(clip_spec, crop)
        self.clip_spec = clip_spec
        self.crop = crop

    def __call__(self, frames: Bytes | torch.Tensor) -> torch.Tensor:
        """The view, float32 of shape (C, T, crop, crop), or (C, T, height, width) of whole pictures.

        Args:
            frames: uint8 of shape (T, H, W, C), RGB.

        Raises:
            InputError: another dtype, rank or number of channels, or no pixels.
        """
        array = _check_frames(frames, self.clip_spec)
        pipeline = FramePipeline(self.clip_spec, array.shape[1], array.shape[2], crop=self.crop, crops=1)
        return pipeline.view(pipeline.prepare_all(array, len(array)), 0)

    def __repr__(self) -> str:
        spec = self.clip_spec
        where = "left" if spec.crop_rule == "first" else "center"
        part = "whole picture" if spec.crop_rule == "whole" else f"{where} crop {self.crop}x{self.crop}"
        return f"EvalTransform(resize to {_size_text(spec)}, {spec.resize}; {part}; {_normalize_text(spec)})"


class TrainView(NamedTuple):
    """What chance decided for one training clip."""

    height: int
    """Pixels of the resized frame; of the frame itself where it isn't resized first."""
    width: int
    """Pixels of the resized frame; of the frame itself where it isn't resized first."""
    box: Box
    """The part of the resized frame that is kept (and brought to the crop's size)."""
    flip: bool
    """Whether left and right change places."""


class TrainTransform:
    """Random crop and flip, normalize. Made by ``train_transform``; can be pickled."""

    def __init__(self, clip_spec: ClipSpec, flip_labels: dict[int, int]) -> None:
        if "jitter" in clip_spec.augmentation and clip_spec.jitter[0] < clip_spec.crop:
            raise InputError(
                f"The shorter side is drawn from {clip_spec.jitter[0]} pixels up, which is below the crop of "
                f"{clip_spec.crop}; give jitter=({clip_spec.crop}, ...) or a smaller crop."
            )
        self.clip_spec = clip_spec
        self.flip_labels = flip_labels

    def __call__(
        self, frames: Bytes | torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """The augmented clip, float32 of shape (C, T, crop, crop).

        Args:
            frames: uint8 of shape (T, H, W, C), RGB.
            generator: where chance comes from; None means torch's global generator.

        Raises:
            InputError: another dtype, rank or number of channels, no pixels, no generator of torch's, or
                classes that a flip changes, whose label would get lost here.
        """
        if self.flip_labels:
            raise InputError("Flips change labels here: call with_label(frames, label).")
        return self._augment(frames, generator)[0]

    def with_label(
        self, frames: Bytes | torch.Tensor, label: int, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, int]:
        """The augmented clip, float32 of shape (C, T, crop, crop), and the class that it shows.

        Args:
            frames: uint8 of shape (T, H, W, C), RGB.
            label: the class before the flip, by number, or as ``flip_labels`` call it; what no flip changes
                comes back as it is.
            generator: where chance comes from; None means torch's global generator.

        Raises:
            InputError: another dtype, rank or number of channels, no pixels, no generator of
                torch's, or a label that is no single class, such as several numbers, where flips change some.
        """
        if self.flip_labels:
            label = _as_number(label)
            if isinstance(label, torch.Tensor) or not isinstance(label, Hashable):
                raise InputError(f"The label is {label!r:.60}; accepted: one class, as flip_labels has it.")
        clip, flipped = self._augment(frames, generator)
        return clip, self.flip_labels.get(label, label) if flipped else label

    def draw(self, height: int, width: int, generator: torch.Generator | None = None) -> TrainView:
        """The random choices for one clip of frames of that many pixels.

        Source: ``RandomResizedCrop`` of MMAction2 (area ``smallest_area`` to 1, aspect 3/4 to 4/3 on a
        logarithmic scale); ``random_short_side_scale_jitter`` and ``random_crop`` of PySlowFast.
        """
        spec = self.clip_spec
        if spec.augmentation == "random-resized-crop-of-source":
            box = _random_area(height, width, spec.smallest_area, generator)
        elif spec.augmentation == "random-resized-crop":
            height, width = resized_size(spec, height, width)
            box = _random_area(height, width, spec.smallest_area, generator)
        else:
            low, high = spec.jitter
            if spec.augmentation == "short-side-jitter":
                short = round(_uniform(low, high, generator))
            else:
                short = round(1 / _uniform(1 / high, 1 / low, generator))
            height, width = resized_size(spec.replace(size=short, test_crop=spec.crop), height, width)
            top, left = _below(height - spec.crop, generator), _below(width - spec.crop, generator)
            box = Box(left, top, spec.crop, spec.crop)
        return TrainView(height, width, box, _uniform(0, 1, generator) < spec.flip)

    def apply(self, frames: Bytes, view: TrainView) -> torch.Tensor:
        """The clip, float32 of shape (C, T, crop, crop), that those random choices give.

        Args:
            frames: uint8 of shape (T, H, W, C), RGB.
            view: what ``draw`` returned for frames of this size.
        """
        clip = torch.stack([self._cut(frame, view) for frame in frames], dim=1)
        clip = clip.flip(-1) if view.flip else clip
        return clip if clip.is_floating_point() else normalize(clip, self.clip_spec)

    def _augment(
        self, frames: Bytes | torch.Tensor, generator: torch.Generator | None
    ) -> tuple[torch.Tensor, bool]:
        array = _check_frames(frames, self.clip_spec)
        view = self.draw(array.shape[1], array.shape[2], generator)
        return self.apply(array, view), view.flip

    def _cut(self, frame: Bytes, view: TrainView) -> torch.Tensor:
        side, box = self.clip_spec.crop, view.box
        if self.clip_spec.resize == "float-bilinear":
            part = resize_float(frame, view.height, view.width, self.clip_spec)[:, *slices(box)]
            if part.shape[1:] != (side, side):
                part = interpolate(part.contiguous(), side, side)
            return part
        rows = resize_bytes(frame, view.height, view.width, box)
        if (box.height, box.width) != (side, side):
            rows = resize_bytes(rows, side, side, planar=True)
        return torch.from_numpy(rows.transpose(1, 0, 2))

    def __repr__(self) -> str:
        spec = self.clip_spec
        first = "" if spec.augmentation != "random-resized-crop" else f" after resizing to {_size_text(spec)}"
        jitter = f" {spec.jitter[0]}-{spec.jitter[1]}" if "jitter" in spec.augmentation else ""
        labels = f"; {len(self.flip_labels)} labels change" if self.flip_labels else ""
        return (
            f"TrainTransform({spec.augmentation}{jitter}{first}, {spec.resize}; "
            f"crop {spec.crop}x{spec.crop}; flip {spec.flip:g}{labels}; {_normalize_text(spec)})"
        )


def _as_number(label: Any) -> Any:
    """Python's integer of a tensor's or NumPy's, whose hash may be no number's; any other label as it is."""
    try:
        return operator.index(label)
    except TypeError:
        return label


def _random_area(height: int, width: int, smallest: float, generator: torch.Generator | None) -> Box:
    """A box of random area and aspect inside the frame, or the middle square if none fits."""
    for _ in range(_ATTEMPTS):
        aspect = math.exp(_uniform(math.log(3 / 4), math.log(4 / 3), generator))
        area = _uniform(smallest, 1, generator) * height * width
        wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 1 <= wide <= width and 1 <= high <= height:
            return Box(_below(width - wide + 1, generator), _below(height - high + 1, generator), wide, high)
    side = min(height, width)
    return Box((width - side) // 2, (height - side) // 2, side, side)


def _uniform(low: float, high: float, generator: torch.Generator | None) -> float:
    device = _where(generator)
    share = torch.rand((), dtype=torch.float64, generator=generator, device=device)
    return low + (high - low) * float(share)


def _below(limit: int, generator: torch.Generator | None) -> int:
    """An integer from 0 to below ``limit``; 0 when there is no choice."""
    if limit <= 0:
        return 0
    return int(torch.randint(limit, (), generator=generator, device=_where(generator)))


def _where(generator: torch.Generator | None) -> torch.device:
    """Where chance is drawn, whatever torch's default device.

    Raises:
        InputError: no generator of torch's.
    """
    if generator is None:
        return torch.device("cpu")
    if not isinstance(generator, torch.Generator):
        raise InputError(
            f"generator is {generator!r:.60}; accepted: a torch.Generator, such as"
            " torch.Generator().manual_seed(5), or None."
        )
    return generator.device


def _check_frames(frames: Bytes | torch.Tensor, spec: ClipSpec) -> Bytes:
    array: object = frames
    if isinstance(frames, torch.Tensor) and frames.dtype == torch.uint8:  # NumPy doesn't know every other
        array = frames.cpu().numpy()
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
        given = str(getattr(array, "dtype", type(array).__name__)).removeprefix("torch.")
        hint = (
            " numpy.stack makes one array of a list of frames." if isinstance(frames, (list, tuple)) else ""
        )
        raise InputError(
            f"Frames are {given}; accepted: uint8 of shape (frames, height, width, channels).{hint}"
        )
    if array.ndim != 4 or array.shape[3] != len(spec.mean) or 0 in array.shape:
        hint = ""
        if array.ndim == 4 and array.shape[1] == len(spec.mean):
            hint = " Channels come last: frames.permute(0, 2, 3, 1) of a tensor, .transpose of an array."
        elif array.ndim == 4 and array.shape[3] > 0 and array.shape[3] != len(spec.mean):
            hint = f" For {array.shape[3]} channels: clip_spec.replace(mean=..., std=...), a number for each."
        raise InputError(
            f"Frames have shape {array.shape}; accepted: (frames, height, width, {len(spec.mean)}) "
            f"with at least one frame and one pixel.{hint}"
        )
    return array


def _size_text(spec: ClipSpec) -> str:
    return f"short side {spec.size}" if isinstance(spec.size, int) else f"{spec.size[0]}x{spec.size[1]}"


def _normalize_text(spec: ClipSpec) -> str:
    return f"mean {spec.mean}, std {spec.std} of {spec.pixel_range}"
