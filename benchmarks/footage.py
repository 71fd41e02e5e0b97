"""Videos for the benchmarks, made on the spot: a camera that drifts over a drawn texture, with grain."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

FPS = 30
SIZES = {"340x256": (340, 256), "1280x720": (1280, 720)}


def write_footage(
    path: Path,
    width: int,
    height: int,
    *,
    seconds: float = 10,
    codec: str = "libx264",
    still: bool = False,
    seed: int = 0,
) -> Path:
    """An h264 file of that many pixels and seconds, 30 frames per second, a key frame every 250.

    Easier for a codec than most films: 0.3 Mbit/s at 340x256. Give films of your own where decoding matters.
    A ``still`` one is the same picture all the time; another ``seed`` draws another texture.
    """
    import av

    rng = np.random.default_rng(seed)
    count = round(seconds * FPS)
    margin = 2 * count
    texture = _texture(rng, height + margin // 4, width + margin)
    grain = rng.normal(0, 4, (8, height, width, 1)).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(FPS))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "veryfast"}  # of x264; encoding isn't what is measured
        for index in range(count):
            index = 0 if still else index
            left, top = round(index * 1.7), round(margin / 8 * (1 + np.sin(index / 20)))
            cut = texture[top : top + height, left : left + width] + grain[index % len(grain)]
            pixels = cut.clip(0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """int16 (height, width, 3): color at four scales, the coarse ones strongest."""
    import torch

    total = torch.full((1, 3, height, width), 128.0)
    for cell in (128, 32, 8, 2):
        coarse = torch.from_numpy(rng.normal(0, 1, (1, 3, height // cell + 2, width // cell + 2)))
        layer = torch.nn.functional.interpolate(coarse.float(), size=(height, width), mode="bicubic")
        total += 14 * cell**0.25 * layer
    return total[0].permute(1, 2, 0).numpy().astype(np.int16)
