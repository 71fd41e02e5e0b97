"""What this machine computes at each stage from a video to logits, on inputs that need no file.

``verify`` compares it with what the library computed when it was released, and with what the
publishers' networks gave. Every stage has an input of its own, so an error in one doesn't hide
whether the next is right.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

import slowfast_zoo.network.slowfast as network
from slowfast_zoo.errors import counted
from slowfast_zoo.network.twin import eval_twin
from slowfast_zoo.runtime.precision import float32_products
from slowfast_zoo.spec import ClipSpec, ModelSpec, RoiSpec
from slowfast_zoo.video import sampling
from slowfast_zoo.video.clips import read_clips
from slowfast_zoo.video.decoding.reader import open_video
from slowfast_zoo.video.key_frames import KeyFrames
from slowfast_zoo.video.transforms import boxes, functional
from slowfast_zoo.video.windows import WindowReader
from slowfast_zoo.weights.catalog import list_weights
from slowfast_zoo.weights.catalog.entry import WeightEntry

Array = npt.NDArray[np.generic]

MOVIE = Path(__file__).with_name("reference.mp4")
"""A colored H.264 video of 24 small frames that the library carries."""

_SMALL = ModelSpec(depth=14, base_width=16, alpha=4, num_frames=16, num_classes=40)
_LINSPACE = _SMALL.replace(slow_sampling="linspace", head_window=2, head_pool="window_probs")

SMALL_NETS = {
    "strided slow frames, global head": _SMALL,
    "lateral norms, window of logits": _LINSPACE.replace(
        depth=26,
        fast_depth=14,
        alpha=8,
        fusion_kernel=7,
        lateral_norm=True,
        head_pool="window_logits",
    ),
    "window of softmax probabilities": _LINSPACE.replace(lateral_norm=True, temporal_blocks=(1, 0, 1, 0)),
    "window of sigmoid probabilities": _LINSPACE.replace(beta_inv=4, activation="sigmoid"),
    "persons, context, non-local blocks": _SMALL.replace(
        depth=26,
        lateral_norm=True,
        stage4_stride=(1, 1),
        stage4_dilation=(2, 2),
        non_local=(0, 1),
        roi=RoiSpec(output_size=3, context=True, aligned=False),
    ),
    "persons, largest in time, ACRN": _SMALL.replace(
        stage4_stride=(1, 1), roi=RoiSpec(output_size=3, temporal_pool="max", acrn=True)
    ),
}
"""Networks of a fraction of a second that together have every part of the published ones."""

_BOXES = ((0, 10.5, 8.25, 60.75, 50.0), (0, 0, 0, 96, 64), (0, -8, -5, 20, 30), (0, 90, 60, 120, 90))
"""Of persons in a clip of 64 x 96: inside, all of it, across two edges."""
_SHARES = ((0.1, 0.2, 0.45, 0.9), (0.0, 0.0, 1.0, 1.0), (-0.05, -0.1, 0.3, 1.2))
"""Of width and height."""
_VIDEOS = ((300, 30), (250, 25), (997, Fraction(30000, 1001)), (97, 15), (40, 30), (7, 12), (1, 24))
_FRAME_SIZES = ((37, 53), (128, 72), (300, 401), (256, 340))
_SEED = 20191027
_EXACT, _RELATIVE = 0.0, 1e-5
_NETWORK = 1e-4  # processors sum in different orders; that costs some 1e-6
_REDUCED = 2e-2  # CUDA multiplies in TF32 unless told otherwise, which keeps ten bits


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One thing that was computed, and how far it may be from what is stored."""

    stage: str
    what: str
    values: Array
    tolerance: float
    unit: str
    """Of error and tolerance: "frames", "levels" (of 255), or "relative" to the largest value."""


def decode() -> Iterator[Measurement]:
    """The carried video: its facts, all its frames, and two of them out of order."""
    with open_video(MOVIE) as video:
        facts = np.array(
            [video.num_frames, video.width, video.height, video.fps.numerator, video.fps.denominator]
        )
        yield Measurement("decode", "count, size and rate of the carried H.264 video", facts, _EXACT, "")
        # Processors round YUV to RGB differently, in the last bit of each channel.
        yield Measurement("decode", "its frames as RGB", video.frames(range(video.num_frames)), 2, "levels")
        two = video.frames([video.num_frames - 2, 3])
        yield Measurement("decode", "two of its frames, the later one first", two, 2, "levels")


def sample() -> Iterator[Measurement]:
    """Frame numbers of the test clips and of the quick clip, or of the clips around key frames, for videos
    long, short and shorter."""
    for spec in _distinct(_sample_key):
        if spec.has_key_frames:
            rows = [
                sampling.key_indices(spec, frames, fps, _moments(frames, fps)).ravel()
                for frames, fps in _VIDEOS
            ]
        else:
            rows = [sampling.clip_indices(spec, frames, fps).ravel() for frames, fps in _VIDEOS]
            rows += [sampling.center_indices(spec, frames, fps).ravel() for frames, fps in _VIDEOS]
        yield Measurement("sample", _sample_key(spec), np.concatenate(rows), _EXACT, "frames")


def resize() -> Iterator[Measurement]:
    """Every crop of resized frames, landscape, portrait and odd, without normalizing them; persons' boxes."""
    for spec in _distinct(_resize_key):
        plain = spec.replace(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), pixel_range="0-255")
        parts = []
        for height, width in _FRAME_SIZES:
            pipeline = functional.FramePipeline(plain, height, width, crop=spec.test_crop, crops=spec.crops)
            frames = pipeline.prepare_all(pattern(2, height, width), 2)
            parts += [pipeline.cut(frames, crop).numpy().ravel() for crop in range(spec.crops)]
        tolerance = _EXACT if spec.resize.startswith("uint8") else 0.01
        yield Measurement("resize", _resize_key(spec), np.concatenate(parts), tolerance, "levels")
    for spec in _distinct(lambda spec: spec.box_rule):
        if spec.has_key_frames:
            scaled = [boxes.scale_boxes(np.array(_SHARES), spec, *size) for size in _FRAME_SIZES]
            yield Measurement("resize", f"boxes ({spec.box_rule})", np.concatenate(scaled), 1e-6, "relative")


def normalize() -> Iterator[Measurement]:
    """All 256 byte values in each channel, normalized."""
    ramp = torch.arange(256, dtype=torch.uint8, device="cpu").repeat(3, 1)
    for spec in _distinct(_normalize_key):
        values = functional.normalize(ramp, spec).numpy()
        yield Measurement("normalize", _normalize_key(spec), values, 1e-6, "relative")


def clip() -> Iterator[Measurement]:
    """First and last view of a generated video through the clip builder, for every kind of input; for persons
    the clips around two key frames."""
    seen = set()
    for entry in list_weights():
        spec = entry.clip_spec
        key = (_sample_key(spec), _resize_key(spec), _normalize_key(spec), spec.view_order)
        if key in seen:
            continue
        seen.add(key)
        yield Measurement("clip", f"input of {row_name(entry)}", _ends(spec).numpy(), _RELATIVE, "relative")


def _ends(spec: ClipSpec) -> torch.Tensor:
    """Two views of a generated video: float32 (2, C, T, H, W)."""
    frames = pattern(150, 60, 83)
    if spec.has_key_frames:
        with open_video(frames, fps=25) as video:
            reader = WindowReader(video, spec, KeyFrames([0.0, 3.0]))
            return torch.cat([clips.tensor() for _, clips in reader])
    built = read_clips(frames, spec, views=(min(spec.clips, 2), spec.crops), fps=25)
    return torch.stack([built[0], built[len(built) - 1]])


def slow_frames() -> Iterator[Measurement]:
    """Which frames the slow pathway gets, and which its spec says that it gets."""
    specs = {_slow_key(entry.model_spec): entry.model_spec for entry in list_weights()}
    for key, spec in specs.items():
        numbers = torch.arange(spec.num_frames, device="cpu").view(1, 1, -1, 1, 1)
        in_network = network.slow_frames(numbers, spec.alpha, spec.slow_sampling).flatten().tolist()
        values = np.array([in_network, spec.slow_indices()])
        yield Measurement("slow frames", key, values, _EXACT, "frames")


def small_networks(device: torch.device) -> Iterator[Measurement]:
    """The numbers that seed, and logits of the small nets with seeded weights."""
    drawn = seeded_weights({"a.weight": (4, 3), "a.running_var": (5,), "a.bias": (5,)}).values()
    numbers = torch.cat([part.flatten() for part in (*drawn, seeded_clip(1, 2, 3))]).numpy()
    yield Measurement("network", "numbers that NumPy draws from a seed", numbers, 1e-6, "relative")
    for name, spec in SMALL_NETS.items():
        given = None if spec.roi is None else _BOXES
        yield run_network(name, seeded_model(spec).to(device), seeded_clip(16, 64, 96), given)


def seeded_model(spec: ModelSpec) -> network.SlowFast:
    """A network in eval mode whose weights come from the names of its tensors."""
    with torch.device("meta"):
        model = network.SlowFast(spec)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    model.load_state_dict(seeded_weights(shapes), assign=True)
    return model.eval()


def embedded_logits(device: torch.device) -> Iterator[Measurement]:
    """Logits of the weights that the library carries, on a generated video."""
    from slowfast_zoo.zoo import create_model

    for entry in list_weights():
        if entry.urls:
            continue
        model = create_model(entry.model, weights=entry).to(device)
        built = read_clips(pattern(150, 60, 83), entry.clip_spec, fps=25)
        yield dataclasses.replace(run_network(row_name(entry), model, built.tensor()), stage="logits")


def run_network(
    name: str, model: network.SlowFast, clips: torch.Tensor, persons: Sequence[Sequence[float]] | None = None
) -> Measurement:
    """The model's logits in eval mode, on the device where it is.

    Args:
        name: what is being run.
        model: any model.
        clips: float32 (B, C, T, H, W).
        persons: boxes, for a model that scores persons: clip, x1, y1, x2, y2 in its pixels.
    """
    device = next(model.parameters()).device
    given = () if persons is None else (torch.tensor(persons, dtype=torch.float32, device=device),)
    with torch.inference_mode(), float32_products("float32", device):
        logits = eval_twin(model)(clips.to(device), *given).float().cpu().numpy()
    tolerance = _NETWORK if device.type == "cpu" else _REDUCED
    return Measurement("network", name, logits, tolerance, "relative")


def pattern(frames: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """A moving colored texture with sharp edges, uint8 of shape (frames, height, width, 3)."""
    t, y, x, c = np.ogrid[:frames, :height, :width, :3]
    values: npt.NDArray[np.int64] = 3 * x * x + 5 * y * y + (c + 2) * x * y + 40 * (c + 1) * t
    return (values // 16 % 256).astype(np.uint8)


def seeded_weights(shapes: Mapping[str, tuple[int, ...]], gain: float = 1) -> dict[str, torch.Tensor]:
    """A state dict drawn from a generator that each tensor's name seeds.

    Batch norms get weights and variances from 0.5 to 1.5, biases and means around 0; convolutions
    and the classifier are normal with variance ``gain`` / fan-in. A publisher's network gets the same
    numbers, seeded by its own names.
    """
    return {name: _seeded(name, shape, gain) for name, shape in shapes.items()}


def seeded_clip(frames: int, height: int, width: int) -> torch.Tensor:
    """A clip of normal noise, float32 of shape (1, 3, frames, height, width)."""
    values = np.random.default_rng(_SEED).standard_normal((1, 3, frames, height, width))
    return torch.from_numpy(values.astype(np.float32))


def row_name(entry: WeightEntry) -> str:
    """How a catalog row is called in a report."""
    return f"{entry.model} {entry.tag}"


def _seeded(name: str, shape: tuple[int, ...], gain: float) -> torch.Tensor:
    generator = np.random.default_rng(zlib.crc32(name.encode("utf-8")))
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64, device="cpu")
    if name.endswith(("running_mean", "bias")):
        values = generator.normal(0, 0.1, shape)
    elif len(shape) == 1:
        values = generator.uniform(0.5, 1.5, shape)
    else:
        values = generator.normal(0, math.sqrt(gain / math.prod(shape[1:])), shape)
    return torch.from_numpy(values.astype(np.float32))


def _moments(frames: int, fps: float | Fraction) -> list[float]:
    """The times of a video's first, middle and last frame."""
    return [float(number / Fraction(fps)) for number in (0, frames // 2, frames - 1)]


def _distinct(key: Callable[[ClipSpec], str]) -> list[ClipSpec]:
    """One clip spec of the catalog for each value of ``key``."""
    kinds: dict[str, ClipSpec] = {}
    for entry in list_weights():
        kinds.setdefault(key(entry.clip_spec), entry.clip_spec)
    return list(kinds.values())


def _sample_key(spec: ClipSpec) -> str:
    time = "" if spec.fps is None else f", {spec.time_base} at {spec.fps:g} fps"
    clips = counted(spec.clips, "clip")
    return f"{spec.sampling}, {clips} of {spec.num_frames}x{spec.frame_stride}{time}, {spec.short_video}"


def _resize_key(spec: ClipSpec) -> str:
    size = spec.size if isinstance(spec.size, int) else f"{spec.size[0]}x{spec.size[1]}"
    crops = counted(spec.crops, "crop")
    return f"{spec.resize} to {size}, {crops} of {spec.test_crop} ({spec.crop_rule})"


def _normalize_key(spec: ClipSpec) -> str:
    return f"mean {spec.mean}, std {spec.std} of {spec.pixel_range}"


def _slow_key(spec: ModelSpec) -> str:
    return f"{spec.slow_sampling}, {spec.slow_frames} of {spec.num_frames}"
