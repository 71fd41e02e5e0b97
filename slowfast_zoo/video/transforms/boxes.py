"""Where persons' boxes lie after a frame was resized, cropped or mirrored: each publisher's arithmetic.

Boxes are float64 of shape (n, 4): x1, y1, x2, y2. In shares of width and height a box of the whole frame is
0, 0, 1, 1; in pixels it is 0, 0, width, height, and what the network sees is in pixels of the resized frame.

Sources: ``Resize``, ``RandomCrop``, ``Flip`` of MMAction2 (https://github.com/open-mmlab/mmaction2);
``slowfast/datasets/ava_dataset.py`` and ``cv2_transform.py`` of PySlowFast
(https://github.com/facebookresearch/SlowFast).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slowfast_zoo.errors import InputError
from slowfast_zoo.spec import BoxRule, ClipSpec
from slowfast_zoo.video.transforms.functional import resized_size
from slowfast_zoo.video.transforms.resize import Box
from slowfast_zoo.video.transforms.transforms import TrainView

Boxes = npt.NDArray[np.float64]

_SMALLEST_SIDE = 1e-3
"""Pixels: a box at the edge that PySlowFast's rule clips to nothing keeps a place that RoIAlign can read."""


def scale_boxes(boxes: Boxes, spec: ClipSpec, height: int, width: int) -> Boxes:
    """Boxes of a frame in pixels of the resized frame, as the network gets them.

    OpenMMLab scales each side by its own factor, in float32, and clips nothing. PySlowFast scales both by the
    longer side's factor, and clips to the last pixel before and after.

    Args:
        boxes: shares of width and height.
        spec: a clip contract with key frames.
        height: pixels of the frame before it is resized.
        width: pixels of the frame before it is resized.

    Raises:
        InputError: a spec for recognition, which has no boxes.
    """
    pixels = boxes * np.array([width, height] * 2, np.float64)
    new_height, new_width = resized_size(spec, height, width)
    if _rule(spec) == "openmmlab":
        scaled: Boxes = pixels * np.array([new_width / width, new_height / height] * 2, np.float32)
        return scaled
    factor = new_height / height if width < height else new_width / width
    return _clipped(_clipped(pixels, height, width) * factor, new_height, new_width)


def roi_boxes(boxes: Boxes, spec: ClipSpec, height: int, width: int) -> Tensor:
    """``scale_boxes`` with an area each, float32 (n, 4): arguments and errors are its own."""
    pixels = scale_boxes(boxes, spec, height, width)
    pixels[:, 2:] = np.maximum(pixels[:, 2:], pixels[:, :2] + _SMALLEST_SIDE)
    return torch.from_numpy(pixels.astype(np.float32))


def train_boxes(boxes: Boxes, spec: ClipSpec, view: TrainView, height: int, width: int) -> Boxes:
    """Boxes in pixels of a training clip, the square of ``spec.crop`` that ``TrainTransform.apply`` gives.

    Those outside of it have no area left.

    Args:
        boxes: shares of width and height.
        spec: a clip contract with key frames.
        view: what chance decided.
        height: pixels of the frame before it is resized.
        width: pixels of the frame before it is resized.
    """
    whole = spec.replace(size=(view.width, view.height), crop=1, test_crop=1)
    cut = cut_boxes(scale_boxes(boxes, whole, height, width), view.box)
    cut = cut * np.array([spec.crop / view.box.width, spec.crop / view.box.height] * 2, np.float64)
    return flip_boxes(cut, spec, spec.crop) if view.flip else cut


def cut_boxes(boxes: Boxes, box: Box) -> Boxes:
    """Boxes in pixels of a part of the frame, clipped to its last pixel, as in both publishers' training."""
    moved = boxes - np.array([box.left, box.top] * 2, np.float64)
    return _clipped(moved, box.height, box.width)


def flip_boxes(boxes: Boxes, spec: ClipSpec, width: int) -> Boxes:
    """Boxes in pixels of the mirrored frame of that width; PySlowFast's are a pixel further left.

    Raises:
        InputError: a spec for recognition, which has no boxes.
    """
    edge = width if _rule(spec) == "openmmlab" else width - 1
    mirrored: Boxes = np.stack([edge - boxes[:, 2], boxes[:, 1], edge - boxes[:, 0], boxes[:, 3]], axis=1)
    return mirrored


def _clipped(boxes: Boxes, height: int, width: int) -> Boxes:
    last: Boxes = np.clip(boxes, 0, np.array([width - 1, height - 1] * 2, np.float64))
    return last


def _rule(spec: ClipSpec) -> BoxRule:
    if spec.box_rule == "none":
        raise InputError(
            "This clip spec is for recognition: its box_rule is 'none', there are no boxes in it."
        )
    return spec.box_rule
