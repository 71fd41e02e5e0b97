"""What is done to the clips of a step before the network sees them: pictures and colors change and stills are
mixed in, by chance, and pairs are mixed, which the loss has to know."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from slowfast_zoo.data.dataset import item_rng
from slowfast_zoo.data.loader import Batch, normalized
from slowfast_zoo.runtime.devices import sent
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.training.recipe import TrainConfig


class Mix(NamedTuple):
    """How the clips of a pass were mixed in pairs."""

    part: float
    """Of each clip that is its own."""
    partners: Tensor
    """int64 (N,): whose the rest is."""


_CHANGES = 2
"""By RandAugment, of each clip."""


def randomly_changed(batch: Batch, config: TrainConfig, clip_spec: ClipSpec, device: torch.device) -> Batch:
    """Each RGB clip changed by torchvision's RandAugment, all of its frames alike: turned, moved, sheared,
    made brighter and the like, as bytes. Not clips with boxes of persons, who would be elsewhere then."""
    if not config.rand_augment or batch.boxes is not None or len(clip_spec.mean) != 3:
        return batch
    from torchvision.transforms import v2

    seed = int(item_rng().integers(2**62))
    change = v2.RandAugment(_CHANGES, config.rand_augment, interpolation=v2.InterpolationMode.BILINEAR)
    clips = normalized(sent(batch.clips, device), clip_spec)
    mean, std = (clips.new_tensor(values).view(-1, 1, 1, 1) for values in (clip_spec.mean, clip_spec.std))
    white = 255 if clip_spec.pixel_range == "0-1" else 1
    pixels = ((clips * std + mean) * white).round().clamp(0, 255).to(torch.uint8).transpose(1, 2)
    # torchvision draws from the generator of torch's default device.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        changed = torch.stack([change(clip) for clip in pixels])
    return batch._replace(clips=(changed.transpose(1, 2) / white - mean) / std)


def recolored(batch: Batch, config: TrainConfig, clip_spec: ClipSpec, device: torch.device) -> Batch:
    """Brightness, contrast and colors of each clip changed by chance, by ``config.color_jitter``.

    All frames of a clip alike: with u from [-jitter, jitter], new for each, contrast of the gray picture
    changes by exp(u), saturation by 1 + u, brightness by u and each channel by u / 2 of a deviation
    (``ClipSpec.std``).
    """
    if not config.color_jitter:
        return batch
    rng = item_rng()
    clips = normalized(sent(batch.clips, device), clip_spec)
    count, channels = clips.shape[:2]

    def drawn(numbers: int = 1) -> Tensor:
        values = rng.uniform(-config.color_jitter, config.color_jitter, (count, numbers, 1, 1, 1))
        return torch.from_numpy(values).to(clips)

    gray = clips.mean(dim=1, keepdim=True)
    middle = gray.mean(dim=(2, 3, 4), keepdim=True)
    colors = (clips - gray) * (1 + drawn()) + drawn(channels) / 2
    return batch._replace(clips=(gray - middle) * drawn().exp() + middle + drawn() + colors)


def with_stills(batch: Batch, config: TrainConfig, clip_spec: ClipSpec, device: torch.device) -> Batch:
    """A frame of another clip of the pass mixed into all frames of each, up to ``config.still_mix`` of it."""
    if not config.still_mix or len(batch.clips) < 2:
        return batch
    rng = item_rng()
    clips = normalized(sent(batch.clips, device), clip_spec)
    count, frames = len(clips), clips.shape[2]
    ring = rng.permutation(count)
    whose = ring[(ring.argsort() + 1) % count]  # the next in the ring, so that a still is never a clip's own
    stills = clips[whose, :, rng.integers(frames, size=count)].unsqueeze(2)
    part = torch.from_numpy(rng.uniform(0, config.still_mix, (count, 1, 1, 1, 1))).to(clips)
    return batch._replace(clips=clips.lerp(stills, part))


def mixed(
    batch: Batch, config: TrainConfig, clip_spec: ClipSpec, device: torch.device
) -> tuple[Batch, Mix | None]:
    """The clips mixed in pairs (MixUp) where ``config.mixup`` asks for it; one part for all of a pass.

    Source: Zhang et al. 2018, https://arxiv.org/abs/1710.09412.
    """
    if not config.mixup or batch.boxes is not None or len(batch.targets) < 2:
        return batch, None
    rng = item_rng()
    part = float(rng.beta(config.mixup, config.mixup))
    partners = torch.from_numpy(rng.permutation(len(batch.targets))).to(device)
    clips = normalized(sent(batch.clips, device), clip_spec)
    return batch._replace(clips=clips * part + clips[partners] * (1 - part)), Mix(part, partners)


def without_effect(config: TrainConfig, *, clips: int, persons: bool) -> str:
    """One sentence: what the config asks for in vain; "" where all of it does something.

    Args:
        config: ``mixup``, ``still_mix`` and ``rand_augment`` are read.
        clips: that a pass has.
        persons: whether they are scored, not whole clips.
    """
    pairs = [name for name in ("mixup", "still_mix") if getattr(config, name)]
    if clips < 2 and pairs:
        verb = "do" if len(pairs) > 1 else "does"
        return f"{' and '.join(pairs)} {verb} nothing with one clip at a time: take batch_size=2 or more."
    idle = [name for name in ("mixup", "rand_augment") if persons and getattr(config, name)]
    return (
        f"{' and '.join(idle)} {'do' if len(idle) > 1 else 'does'} nothing with boxes of persons."
        if idle
        else ""
    )


def augmented(
    batch: Batch, config: TrainConfig, clip_spec: ClipSpec, device: torch.device
) -> tuple[Batch, Mix | None]:
    """The clips changed, recolored, with stills, then mixed in pairs, as far as the config asks for it."""
    for change in (randomly_changed, recolored, with_stills):
        batch = change(batch, config, clip_spec, device)
    return mixed(batch, config, clip_spec, device)
