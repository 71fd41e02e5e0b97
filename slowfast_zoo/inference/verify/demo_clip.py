"""Published outputs of a published network on a published clip: the one check with true weights.

Source: somebody's run of PyTorchVideo's ``slowfast_r50`` (Kinetics-400) on MMAction2's
``demo/demo.mp4``, in ``outputs/arm_wrestling/actions.csv`` of
https://github.com/FelipeVoidela/cp5-yolo-unet-slowfast at commit cdd857e. Its windows are 32
consecutive frames, shorter side 256, center crop 256.

Neither the weights nor the clip can be carried along, so this library's own tests play the check through
with a stand-in for the network; it proves something only where both files are at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from slowfast_zoo.errors import InputError
from slowfast_zoo.inference.verify.report import Check
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.network.twin import eval_twin
from slowfast_zoo.runtime.precision import float32_products
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.weights.catalog import get_weights

MODEL, TAG = "slowfast_r50_8x8x1", "pytorchvideo/k400"
"""The weights that the published outputs belong to."""

CLIP_SPEC = ClipSpec(
    frame_stride=1,
    short_video="repeat_last",
    mean=(0.45, 0.45, 0.45),
    std=(0.225, 0.225, 0.225),
    pixel_range="0-1",
)
"""How that run prepared its windows; OpenCV's resize, unlike PyTorchVideo's own."""

WINDOWS = (
    (0, 1.0),
    (16, 1.0),
    (32, 1.0),
    (48, 1.0),
    (64, 1.0),
    (80, 1.0),
    (208, 1.0),
    (224, 0.9996970891952515),
    (240, 0.9999914169311523),
    (248, 1.0),
)
"""First frame of each window, and the probability of its best class."""

LABEL = "arm wrestling"
"""The best class of every window."""

_FACTS = (280, 340, 256)  # frames, width and height of the clip
_TOLERANCE = 1e-3


def demo_checks(model: SlowFast | None, path: str | Path, device: torch.device) -> Iterator[Check]:
    """One check per published window: its best class, and that class's probability.

    Args:
        model: PyTorchVideo's R50 8x8; None loads it.
        path: MMAction2's demo clip.
        device: where to compute.

    Raises:
        InputError: another model, or another video.
        VideoError: the video can't be read.
        DownloadError: the weights aren't here and can't be fetched.
    """
    from slowfast_zoo.video.decoding.reader import open_video
    from slowfast_zoo.video.transforms.transforms import eval_transform

    transform = eval_transform(CLIP_SPEC)
    with open_video(path) as video:
        facts = (video.num_frames, video.width, video.height)
        if facts != _FACTS:
            raise InputError(
                f"'{video.name}' isn't MMAction2's demo/demo.mp4: it has {facts[0]} frames of {facts[1]} x"
                f" {facts[2]} pixels, the demo clip has {_FACTS[0]} of {_FACTS[1]} x {_FACTS[2]}."
            )
        twin = eval_twin(_the_model(model), device)
        for first, expected in WINDOWS:
            clip = transform(video.frames(range(first, first + CLIP_SPEC.num_frames)))
            with torch.inference_mode(), float32_products("float32", device):
                scores = twin(clip[None].to(device)).float().softmax(dim=1)[0].cpu()
            yield _check(first, scores, expected)


def _the_model(model: SlowFast | None) -> SlowFast:
    if model is None:
        from slowfast_zoo.zoo import create_model

        return create_model(MODEL, weights=TAG)
    given = (model.provenance.get("model"), model.provenance.get("tag"), model.spec.num_classes)
    if given != (MODEL, TAG, get_weights(MODEL, TAG).model_spec.num_classes):
        raise InputError(
            f"The demo clip's published outputs belong to create_model('{MODEL}', weights='{TAG}'); this"
            f" model is {given[0] or 'of unknown origin'}, weights {given[1]!r}, {given[2]} classes."
        )
    return model


def _check(first: int, scores: torch.Tensor, expected: float) -> Check:
    labels = get_weights(MODEL, TAG).labels
    best = labels[int(scores.argmax())]
    error = abs(float(scores[labels.index(LABEL)]) - expected)
    return Check(
        stage="demo clip",
        what=f"frames {first} to {first + CLIP_SPEC.num_frames - 1}: {LABEL}, {expected:.4f}",
        ok=best == LABEL and error <= _TOLERANCE,
        error=error,
        tolerance=_TOLERANCE,
        unit="probability",
        detail="" if best == LABEL else f"the best class is '{best}'",
    )
