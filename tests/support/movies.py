"""Small videos for the tests, made on the spot: moving patterns, encoded by PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]


def moving_pattern(frames: int = 24, height: int = 48, width: int = 64, seed: int = 0) -> Frames:
    """uint8 RGB (frames, height, width, 3): a smooth random texture that drifts and changes color."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 2, (width + 2 * frames) // 8 + 2, 3)).astype(np.float64)
    texture = coarse.repeat(8, axis=0).repeat(8, axis=1)
    speed = 1 + seed % 2
    cut = [texture[:height, speed * t : speed * t + width] for t in range(frames)]
    return np.clip(np.stack(cut) + rng.normal(0, 4, (frames, 1, 1, 3)), 0, 255).astype(np.uint8)


def write_video(
    path: Path, frames: Frames, *, fps: int = 30, codec: str = "ffv1", pixels: str = "bgr0"
) -> Path:
    """Encodes frames; by default without any loss, so that decoding gives the same bytes."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


def write_stamped(
    path: Path,
    milliseconds: Sequence[int],
    codec: str = "ffv1",
    *,
    frames: Frames,
    sound_seconds: float = 0.0,
    ticks: int = 1000,
) -> Path:
    """A file whose frames are shown at given times, in whole ticks, with sound from 0 if some is wished."""
    import av

    with av.open(str(path), "w") as output:
        track = output.add_stream(codec, rate=25)
        track.height, track.width = frames.shape[1:3]
        track.pix_fmt = {"ffv1": "bgr0", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        track.codec_context.time_base = Fraction(1, ticks)
        if sound_seconds:
            sound = output.add_stream("pcm_s16le", rate=8000)
            samples = np.zeros((1, round(8000 * sound_seconds)), np.int16)
            piece = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            piece.rate, piece.pts = 8000, 0
            output.mux(sound.encode(piece))
        for stamp, pixels in zip(milliseconds, frames, strict=False):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=track.pix_fmt)
            frame.pts, frame.time_base = stamp * ticks // 1000, Fraction(1, ticks)
            output.mux(track.encode(frame))
        output.mux(track.encode(None))
    return path
