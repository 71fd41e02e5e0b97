"""What recording does to pictures: exposure, color, blur, noise, bars, low resolution, a real codec."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from slowfast_zoo.data.motion.camera import log_uniform

Frames = npt.NDArray[np.uint8]

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G and B in brightness. Source: ITU-R BT.601 (https://www.itu.int/rec/R-REC-BT.601)."""


def record(frames: torch.Tensor, size: tuple[int, int], rng: np.random.Generator) -> Frames:
    """The frames as some camera and some encoder would have left them, uint8 (T, height, width, 3).

    Args:
        frames: float32 (T, 3, H, W), 0 to 255; changed in place. Where H and W are not ``size``, the
            recording has that resolution and is scaled afterwards.
        size: (width, height) of the result in pixels.
        rng: decides what happens, and how much of it.
    """
    if rng.random() < 0.25:
        frames = _defocus(frames, int(rng.integers(1, 4)))
    _color(frames, rng)
    _expose(frames, rng)
    if rng.random() < 0.6:
        _add_noise(frames, log_uniform(rng, 1, 16), rng)
    if rng.random() < 0.15:
        _add_bars(frames, rng)
    if rng.random() < 0.35:
        codec: Literal["mpeg4", "libx264"] = "mpeg4" if rng.random() < 0.5 else "libx264"
        coarse = rng.uniform(2, 20) if codec == "mpeg4" else rng.uniform(18, 38)
        frames = _to_tensor(compress(to_bytes(frames), codec, int(coarse)))
    if frames.shape[-2:] != (size[1], size[0]):
        frames = torch.nn.functional.interpolate(
            frames, size=(size[1], size[0]), mode="bilinear", align_corners=False
        )
    return to_bytes(frames)


def compress(frames: Frames, codec: Literal["mpeg4", "libx264"], quantizer: int) -> Frames:
    """The frames after encoding and decoding, of the same shape; odd sides are padded meanwhile.

    Args:
        frames: uint8 RGB (T, H, W, 3).
        codec: MPEG-4 part 2, or H.264.
        quantizer: how coarse: 1 to 31 for MPEG-4 (its quantizer), 0 to 51 for H.264 (its CRF).
    """
    import av
    from av.video.reformatter import VideoReformatter

    _, height, width, _ = frames.shape
    padded = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    encoder = av.VideoCodecContext.create(codec, "w")
    encoder.width, encoder.height = padded.shape[2], padded.shape[1]
    encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, 25), Fraction(25)
    encoder.thread_count = 1
    if codec == "mpeg4":
        encoder.options = {"qmin": str(quantizer), "qmax": str(quantizer)}
    else:
        encoder.options = {"crf": str(quantizer), "preset": "superfast", "tune": "zerolatency"}
    to_yuv, to_rgb = VideoReformatter(), VideoReformatter()
    packets = []
    for number, picture in enumerate(padded):
        rgb = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame = to_yuv.reformat(rgb, format="yuv420p", threads=1)
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder = av.VideoCodecContext.create("mpeg4" if codec == "mpeg4" else "h264", "r")
    decoder.thread_count = 1
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    decoded = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    result: Frames = np.stack(
        [to_rgb.reformat(frame, format="rgb24", threads=1).to_ndarray() for frame in decoded]
    )
    return result[:, :height, :width]


def to_bytes(frames: torch.Tensor) -> Frames:
    """Float32 (T, 3, H, W) of 0 to 255, rounded: uint8 (T, H, W, 3)."""
    result: Frames = (frames + 0.5).clamp_(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
    return result


def _to_tensor(frames: Frames) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()


def _defocus(frames: torch.Tensor, reach: int) -> torch.Tensor:
    """A box blur of 2 * reach + 1 pixels, as sums of shifted frames: 6x faster than pooling."""
    height, width = frames.shape[-2:]
    padded = torch.nn.functional.pad(frames, (reach,) * 4, mode="replicate")
    shifts = range(2 * reach + 1)
    rows = torch.stack([padded[..., shift : shift + width] for shift in shifts]).mean(0)
    return torch.stack([rows[..., shift : shift + height, :] for shift in shifts]).mean(0)


def _color(frames: torch.Tensor, rng: np.random.Generator) -> None:
    """Changes saturation, sometimes down to gray, and white balance, in place."""
    choice = rng.random()
    if choice < 0.5:
        gray = sum(weight * frames[:, channel] for channel, weight in enumerate(LUMA))
        share = 1.0 if choice < 0.2 else rng.uniform(0, 0.9)
        frames += share * (gray[:, None] - frames)  # type: ignore[index]
    if choice > 0.3:
        frames *= torch.from_numpy(rng.uniform(0.85, 1.15, (3, 1, 1)).astype(np.float32))


def _expose(frames: torch.Tensor, rng: np.random.Generator) -> None:
    """Changes contrast and brightness, in place: for the whole clip, drifting, flickering or in one step."""
    count = len(frames)
    gain = np.full(count, log_uniform(rng, 0.5, 1.4))
    choice = rng.random()
    if choice < 0.2:
        gain *= np.linspace(1, log_uniform(rng, 0.65, 1.5), count)
    elif choice < 0.35:
        gain *= 1 + rng.uniform(0.01, 0.08) * rng.standard_normal(count)
    elif choice < 0.42:
        gain[rng.integers(count) :] *= log_uniform(rng, 0.7, 1.4)
    # NumPy's sum has one order; torch's depends on the number of threads, and clips mustn't.
    middle = float(frames.numpy().mean())
    frames -= middle
    gains = torch.from_numpy(gain.astype(np.float32))[:, None, None, None]
    frames *= gains
    frames += middle * gains**0.5 + rng.uniform(-25, 25)


def _add_noise(frames: torch.Tensor, deviation: float, rng: np.random.Generator) -> None:
    """Adds Gaussian noise, in place: pixels of one long draw, from another place for each frame."""
    values = frames[0].numel()
    spare = 4096
    noise = torch.from_numpy(rng.standard_normal(values + spare, dtype=np.float32)) * deviation
    for frame, start in zip(frames, rng.integers(0, spare, len(frames)).tolist(), strict=True):
        frame += noise[start : start + values].view_as(frame)


def _add_bars(frames: torch.Tensor, rng: np.random.Generator) -> None:
    """Blackens both ends of one side, in place: letterbox or pillarbox."""
    dim = int(rng.integers(2, 4))
    side = frames.shape[dim]
    thickness = int(side * rng.uniform(0.04, 0.14 if dim == 2 else 0.2))
    if thickness:
        frames.narrow(dim, 0, thickness).fill_(rng.uniform(0, 20))
        frames.narrow(dim, side - thickness, thickness).fill_(rng.uniform(0, 20))
