"""Frames resized where the network computes: the bytes of ``resize_bytes``, by torch's integers."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from slowfast_zoo.runtime.devices import sent
from slowfast_zoo.video.transforms.resize import Box, Bytes, taps


def uploaded(frame: Bytes, device: torch.device) -> Tensor:
    """A frame on its way to a device, of the same shape; the caller may go on with the frame at once."""
    # Never written twice: torch gives page-locked memory to the next one when its copy has ended.
    pinned = device.type == "cuda"
    staged = torch.empty(frame.shape, dtype=torch.uint8, pin_memory=pinned, device="cpu")
    np.copyto(staged.numpy(), frame)
    return sent(staged, device)


def resize_on_device(picture: Tensor, height: int, width: int, box: Box | None = None) -> Tensor:
    """The resized picture, uint8 of shape (C, box height, box width): the bytes of ``resize_bytes``.

    Args:
        picture: uint8 of shape (H, W, C), on any device.
        height, width, box: as for ``resize_bytes``.
    """
    box = box or Box(0, 0, width, height)
    source_height, source_width = picture.shape[:2]
    if (height, width) == (source_height, source_width):
        part = picture[box.top : box.top + box.height, box.left : box.left + box.width]
        return part.permute(2, 0, 1)
    plan = _plan(source_height, source_width, height, width, box, picture.device)
    rows = picture.index_select(0, plan.rows)
    mixed = rows.index_select(1, plan.left).int() * plan.left_weight
    mixed += rows.index_select(1, plan.right).int() * plan.right_weight
    mixed >>= 4
    mixed *= plan.row_weight
    mixed >>= 16
    above, below = mixed[: box.height], mixed[box.height :]
    return (above.add_(below).add_(2) >> 2).to(torch.uint8).permute(2, 0, 1)


class _Plan(NamedTuple):
    """Which rows of a picture (all upper, then all lower ones) and columns are mixed, by which weights."""

    rows: Tensor
    row_weight: Tensor
    left: Tensor
    right: Tensor
    left_weight: Tensor
    right_weight: Tensor


@functools.lru_cache(maxsize=64)
def _plan(
    source_height: int, source_width: int, height: int, width: int, box: Box, device: torch.device
) -> _Plan:
    left, right, left_weight, right_weight = taps(source_width, width, box.left, box.width, blend_edges=False)
    upper, lower, *row_weights = taps(source_height, height, box.top, box.height, blend_edges=True)
    with torch.inference_mode(False):
        return _Plan(
            torch.from_numpy(np.concatenate([upper, lower])).to(device),
            torch.from_numpy(np.concatenate(row_weights)).view(-1, 1, 1).to(device),
            torch.from_numpy(left).to(device),
            torch.from_numpy(right).to(device),
            torch.from_numpy(left_weight).view(-1, 1).to(device),
            torch.from_numpy(right_weight).view(-1, 1).to(device),
        )
