"""Frames to views, step by step: sizes, crops, normalizing, and the pipeline that joins them.

OpenMMLab and GluonCV resize bytes and normalize the result ("uint8-bilinear"); PySlowFast and
PyTorchVideo normalize first and resize floats ("float-bilinear"). Both orders are kept, because
their results differ.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Iterable

import numpy as np
import torch
from torch.nn import functional as F

from slowfast_zoo.errors import InputError
from slowfast_zoo.runtime.devices import is_out_of_memory
from slowfast_zoo.spec import LARGEST_CLIP, ClipSpec
from slowfast_zoo.video.decoding.video import ahead
from slowfast_zoo.video.sampling import is_count
from slowfast_zoo.video.sources.contents import MAX_PIXELS
from slowfast_zoo.video.transforms.on_device import resize_on_device, uploaded
from slowfast_zoo.video.transforms.resize import Box, Bytes, resize_bytes

_LOGGER = logging.getLogger(__name__)


class FramePipeline:
    """The way from one video's decoded frames to its views, in two steps.

    ``prepare`` does once per frame what all views share, ``view`` does the rest: what lies
    between is small enough to keep (bytes, where the publisher resizes bytes).

    Attributes:
        boxes: the crops inside the resized frame, in the publisher's order.
        kept: the part of the resized frame that some crop needs; all that ``prepare`` returns.
        device: where torch does it; None: the processor, without torch. Bytes are resized to the same
            values anywhere, floats to 1e-5.
    """

    def __init__(
        self,
        spec: ClipSpec,
        height: int,
        width: int,
        *,
        crop: int,
        crops: int,
        device: torch.device | None = None,
    ) -> None:
        check_crop(spec, crop)
        self.spec, self.device = spec, device
        self.height, self.width = resized_size(spec, height, width)
        self.boxes = crop_boxes(spec, self.height, self.width, crop, crops)
        left, top = min(box.left for box in self.boxes), min(box.top for box in self.boxes)
        right = max(box.left + box.width for box in self.boxes)
        bottom = max(box.top + box.height for box in self.boxes)
        self.kept = Box(left, top, right - left, bottom - top)
        if spec.num_frames * self.kept.height * self.kept.width > LARGEST_CLIP:
            raise InputError(
                f"Frames of {width}x{height} pixels become {self.width}x{self.height}, too large for a clip"
                f" of {spec.num_frames} whole frames; cut the picture to a usual aspect first."
            )

    def prepare(self, frame: Bytes, out: torch.Tensor | None = None) -> torch.Tensor:
        """The kept part of a frame, (C, kept height, kept width), uint8 or normalized float32.

        Args:
            frame: uint8 of shape (H, W, C), RGB.
            out: where to write it; None: a new tensor.
        """
        out = self._empty(1)[0] if out is None else out
        if self.device == out.device:
            try:
                return out.copy_(self._prepared_on(out.device, frame))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                _LOGGER.debug("A frame is resized by the processor: %s", error)
        if self.spec.resize == "float-bilinear":
            whole = resize_float(frame, self.height, self.width, self.spec)
            kept = whole[:, *slices(self.kept)].numpy()
        else:
            kept = resize_bytes(frame, self.height, self.width, self.kept).transpose(1, 0, 2)
        if out.device.type != "cpu":
            return out.copy_(torch.from_numpy(np.ascontiguousarray(kept)))
        # Not by torch, whose threads would wait for each other while these decode and resize.
        np.copyto(out.numpy(), kept)
        return out

    def _prepared_on(self, device: torch.device, frame: Bytes) -> torch.Tensor:
        picture = uploaded(frame, device)
        if self.spec.resize == "float-bilinear":
            whole = interpolate(normalize(picture.permute(2, 0, 1), self.spec), self.height, self.width)
            return whole[:, *slices(self.kept)]
        return resize_on_device(picture, self.height, self.width, self.kept)

    def prepare_all(self, frames: Iterable[Bytes], count: int) -> torch.Tensor:
        """``prepare`` of each frame, by threads: (count, C, kept height, kept width).

        Args:
            frames: as for ``prepare``; may be a long stream.
            count: how many frames there are.
        """
        prepared = self._empty(count)
        for _ in ahead(lambda item: self.prepare(*item), zip(frames, prepared, strict=True)):
            pass
        return prepared

    def _empty(self, count: int) -> torch.Tensor:
        dtype = torch.float32 if self.spec.resize == "float-bilinear" else torch.uint8
        shape = (count, len(self.spec.mean), self.kept.height, self.kept.width)
        try:
            return torch.empty(shape, dtype=dtype, device=self.device or "cpu")
        except RuntimeError as error:
            if self.device is None or not is_out_of_memory(error):
                raise
            _LOGGER.warning("Out of memory: frames are resized by the processor (%s).", self.device)
            return torch.empty(shape, dtype=dtype, device="cpu")

    def cut(self, frames: torch.Tensor, crop: int, rows: torch.Tensor | None = None) -> torch.Tensor:
        """One crop of prepared frames, (C, T, crop, crop), still uint8 where they are.

        Args:
            frames: what ``prepare`` returned, stacked: (n, C, kept height, kept width).
            crop: which of ``boxes``.
            rows: which frames, int64 of shape (T,); None for all of them in order.
        """
        box = self.boxes[crop]
        inside = Box(box.left - self.kept.left, box.top - self.kept.top, box.width, box.height)
        part = frames[:, :, *slices(inside)]
        return (part if rows is None else part[rows]).transpose(0, 1)

    def view(
        self,
        frames: torch.Tensor,
        crop: int,
        rows: torch.Tensor | None = None,
        out: torch.Tensor | None = None,
        *,
        alone: bool = False,
    ) -> torch.Tensor:
        """One crop of prepared frames, normalized: float32 of shape (C, T, crop, crop).

        Args:
            frames, crop, rows: as for ``cut``.
            out: where to write it; None: a new tensor.
            alone: by NumPy, in this thread alone, where the processor does it: torch's other threads, once
                awake, wait for more to do for milliseconds. The numbers are the same.
        """
        if frames.device == self.device:
            clip = self.cut(frames, crop, rows)
            out = torch.empty(clip.shape, dtype=torch.float32, device=clip.device) if out is None else out
            if clip.is_floating_point():
                return out.copy_(clip)
            return _normalize_into(out, clip, *_mean_and_std(self.spec, 3, clip.device), self.spec)
        part = self.cut(frames, crop)
        chosen = range(part.shape[1]) if rows is None else rows.tolist()
        if out is None:
            size = (len(part), len(chosen), *part.shape[2:])
            out = torch.empty(size, dtype=torch.float32, device=part.device)
        mean, std = _mean_and_std(self.spec, 2, out.device)
        # One frame after the other stays in the cache from the first operation to the last.
        for index, row in enumerate(chosen):
            if alone:
                _write_alone(out[:, index], part[:, row], mean, std, self.spec)
            elif part.is_floating_point():
                out[:, index] = part[:, row]
            else:
                _normalize_into(out[:, index], part[:, row], mean, std, self.spec)
        return out


def normalize(clip: torch.Tensor, spec: ClipSpec) -> torch.Tensor:
    """The clip as float32 minus mean, divided by std; a new tensor on the clip's device.

    Args:
        clip: uint8 of shape (C, ...).
        spec: gives ``mean``, ``std`` and ``pixel_range``.
    """
    mean, std = _mean_and_std(spec, clip.dim() - 1, clip.device)
    out = torch.empty(clip.shape, dtype=torch.float32, device=clip.device)
    return _normalize_into(out, clip, mean, std, spec)


def _normalize_into(
    out: torch.Tensor, clip: torch.Tensor, mean: torch.Tensor, std: torch.Tensor, spec: ClipSpec
) -> torch.Tensor:
    if spec.pixel_range == "0-1":
        out.copy_(clip).div_(_largest_byte(clip.device)).sub_(mean)
    else:
        torch.sub(clip, mean, out=out)
    return out.div_(std)


def _write_alone(
    out: torch.Tensor, frame: torch.Tensor, mean: torch.Tensor, std: torch.Tensor, spec: ClipSpec
) -> None:
    """What ``_normalize_into`` makes of bytes, and floats as they are, by NumPy."""
    target, source = out.numpy(), frame.numpy()
    if frame.is_floating_point():
        target[:] = source
        return
    if spec.pixel_range == "0-1":
        source = np.divide(source, 255, out=target, dtype=np.float32)
    np.subtract(source, mean.numpy(), out=target)
    np.divide(target, std.numpy(), out=target)


@functools.lru_cache(maxsize=64)
def _mean_and_std(spec: ClipSpec, trailing: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and std, float32 of shape (C, 1, ...) with so many ones.

    They are tensors so that the division is a division: multiplying by the reciprocal, as some
    devices do for plain numbers, gives other bits. Kept, because a GPU waits for each that is sent there.
    """
    shape = (-1,) + (1,) * trailing
    with torch.inference_mode(False):
        mean = torch.tensor(spec.mean, dtype=torch.float32, device=device)
        return mean.view(shape), torch.tensor(spec.std, dtype=torch.float32, device=device).view(shape)


@functools.lru_cache(maxsize=64)
def _largest_byte(device: torch.device) -> torch.Tensor:
    with torch.inference_mode(False):
        return torch.tensor(255.0, dtype=torch.float32, device=device)


def resized_size(spec: ClipSpec, height: int, width: int) -> tuple[int, int]:
    """Height and width in pixels after the publisher's resize of a frame of that many pixels.

    OpenMMLab rounds both sides half up; PySlowFast and PyTorchVideo floor the longer one ("-floor", floats).
    In floating point on purpose, as the publishers: the last pixel depends on it.

    Raises:
        InputError: floats, of which the whole frame is resized, would be more than a video's frame may have.
    """
    if isinstance(spec.size, tuple):
        return spec.size[1], spec.size[0]
    if spec.resize == "uint8-bilinear":
        factor = spec.size / min(height, width)
        return int(height * factor + 0.5), int(width * factor + 0.5)
    if width < height:
        new_height, new_width = math.floor(height / width * spec.size), spec.size
    else:
        new_height, new_width = spec.size, math.floor(width / height * spec.size)
    if spec.resize == "float-bilinear" and new_height * new_width > MAX_PIXELS:
        raise InputError(
            f"Frames of {width}x{height} pixels become {new_width}x{new_height}, too large to be resized"
            " whole; cut the picture to a usual aspect first."
        )
    return new_height, new_width


def crop_boxes(spec: ClipSpec, height: int, width: int, crop: int, crops: int) -> tuple[Box, ...]:
    """The square crops of a resized frame, in the publisher's order; or the whole frame ("whole").

    Along the longer side, for a frame that is 9 pixels longer than the crop:

        three-crop   0 8 4    left, right, middle: twice the middle's offset misses the last column
        uniform      0 5 9    left, center (rounded up), right
        first        0 5 9    as uniform

    A single crop is the middle one, but for "first", where it is the left one (top in a portrait
    frame). Across the shorter side every crop is in the middle.

    Args:
        spec: gives ``crop_rule``.
        height: pixels of the resized frame.
        width: pixels of the resized frame.
        crop: side of the square in pixels, at most the shorter side.
        crops: 1 or 3.

    Raises:
        InputError: another number of crops.

    Source: ``ThreeCrop`` and ``CenterCrop`` of MMAction2; ``uniform_crop`` of PySlowFast, whose
    Something-Something test takes the first of three.
    """
    if crops not in (1, 3):
        raise InputError(f"crops is {crops!r}; accepted: 1 or 3.")
    if spec.crop_rule == "whole":
        return (Box(0, 0, width, height),)
    y, x = height - crop, width - crop
    if spec.crop_rule == "three-crop":
        y_middle, x_middle = y // 2, x // 2
        middle = y_middle if height > width else x_middle
        along, single = [0, 2 * middle, middle], 2
    else:
        y_middle, x_middle = -(-y // 2), -(-x // 2)
        along = [0, y_middle, y] if height > width else [0, x_middle, x]
        single = 0 if spec.crop_rule == "first" else 1
    if crops == 1:
        along = along[single : single + 1]
    if height > width:
        return tuple(Box(x_middle, top, crop, crop) for top in along)
    return tuple(Box(left, y_middle, crop, crop) for left in along)


def resize_float(frame: Bytes, height: int, width: int, spec: ClipSpec) -> torch.Tensor:
    """The whole frame normalized, then resized: float32 of shape (C, height, width)."""
    pixels = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)
    return interpolate(normalize(pixels, spec), height, width)


def interpolate(picture: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """A (C, H, W) float32 picture resized bilinearly, without antialiasing, to (C, height, width)."""
    if picture.shape[1:] == (height, width):
        return picture
    # Channels go where a batch would, as in a publisher's (C, T, H, W) clip. As (1, 3, H, W) torch
    # takes another loop on a single thread, and the last bits differ.
    size = (height, width)
    return F.interpolate(picture[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def slices(box: Box) -> tuple[slice, slice]:
    return slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)


def check_crop(spec: ClipSpec, crop: int) -> None:
    short = min(spec.size) if isinstance(spec.size, tuple) else spec.size
    if not is_count(crop) or crop > short:
        raise InputError(f"crop is {crop!r}; accepted: 1 to {short}, the resized shorter side in pixels.")
