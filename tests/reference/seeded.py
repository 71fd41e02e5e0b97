"""Weights and clips that anyone can make again from nothing but their names and shapes.

A checkpoint can't be carried in a repository, and the publishers' files can't be had everywhere.
So both sides of every comparison compute with numbers drawn from a generator that is seeded by the
CRC-32 of the *publisher's* key: another library's network gets the same weights after renaming.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

INPUT_SEED = 20191027


def seeded_state_dict(
    keys_and_shapes: Mapping[str, tuple[int, ...]] | Iterable[tuple[str, tuple[int, ...]]],
    gain: float = 1,
) -> dict[str, Tensor]:
    """A state dict under the same keys: float32 values, int64 zeros for batch counters.

    Batch norms get weights and variances from 0.5 to 1.5, biases and means around 0. Convolutions
    and the classifier are normal with variance ``gain`` / fan-in; with 1 the logits of these
    networks stay between a few units and a few hundred.

    Args:
        keys_and_shapes: the publisher's own keys, in any order.
        gain: variance of a convolution's output over that of its input, before normalization.
    """
    return {key: _seeded_tensor(key, tuple(shape), gain) for key, shape in dict(keys_and_shapes).items()}


def seeded_input(frames: int, size: int | tuple[int, int], batch: int = 1) -> Tensor:
    """A clip of normal noise: (batch, 3, frames, height, width), float32.

    Args:
        frames: frames of the fast pathway.
        size: side in pixels, or (height, width).
        batch: clips; the first is the same whatever the batch.
    """
    height, width = size if isinstance(size, tuple) else (size, size)
    generator = np.random.default_rng(INPUT_SEED)
    values = generator.standard_normal((batch, 3, frames, height, width))
    return torch.from_numpy(values.astype(np.float32))


def _seeded_tensor(key: str, shape: tuple[int, ...], gain: float) -> Tensor:
    generator = np.random.default_rng(zlib.crc32(key.encode("utf-8")))
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if key.endswith(("running_mean", "bias")):
        values = generator.normal(0, 0.1, shape)
    elif key.endswith("running_var") or len(shape) == 1:
        values = generator.uniform(0.5, 1.5, shape)
    else:
        values = generator.normal(0, math.sqrt(gain / math.prod(shape[1:])), shape)
    return torch.from_numpy(values.astype(np.float32))
