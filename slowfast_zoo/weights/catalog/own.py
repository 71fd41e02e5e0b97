"""This library's own rows: the small model that ships inside the package, with two sets of weights.

Training commands, seeds and measurements are in the cards beside the files, in ``embedded``.
"""

from __future__ import annotations

from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.weights.catalog.datasets import ACTIONS, CAMERA_MOTION
from slowfast_zoo.weights.catalog.entry import Metrics, WeightEntry

TINY_MODEL_SPEC = ModelSpec(
    depth=14,
    base_width=16,
    alpha=4,
    beta_inv=2,
    lateral_norm=True,
    num_frames=8,
    num_classes=CAMERA_MOTION.classes,
    dropout=0.1,
)
"""What moves matters more here than what it is, so half of the network is the fast pathway."""
TINY_CLIP_SPEC = ClipSpec(
    num_frames=8,
    frame_stride=1,
    time_base="fps-scaled",
    fps=5,
    short_video="stretch",
    size=(80, 80),
    crop=80,
    test_crop=80,
    clips=1,
    crops=1,
    flip=0.0,
)
"""Eight frames, a fifth of a second apart, squeezed into squares; mirrored pictures have other labels."""
_ACTIONS_CLIP_SPEC = TINY_CLIP_SPEC.replace(num_frames=16, fps=8)
"""Twice as many frames, over two seconds: limbs are faster than cameras."""

ROWS = (
    WeightEntry(
        model="slowfast_tiny",
        tag="camera-motion",
        urls=(),
        digest="sha256:4257bce58221fe4c0d756dad9e7d2c523e112b149fb7f6905b148a815a69fe00",
        filename="slowfast_tiny.safetensors",
        file_kind="safetensors",
        dialect="slowfast_zoo",
        model_spec=TINY_MODEL_SPEC,
        clip_spec=TINY_CLIP_SPEC,
        data=CAMERA_MOTION,
        metrics=Metrics(
            top1=95.9,
            views=(1, 1),
            sampling="openmmlab-1.x",
            protocol="1 clip x whole picture, held-out procedural clips over the whole range",
        ),
        parameters=1_265_570,
        source="slowfast_zoo/weights/catalog/embedded/slowfast_tiny.md",
        config_name="camera-motion",
        note="Trained by this library's own recipe camera-motion; measurements in the model card.",
    ),
    WeightEntry(
        model="slowfast_tiny",
        tag="actions",
        urls=(),
        digest="sha256:ed6884367676c5f0593a7ea7048f79a5bcd8c675c028e6bfe6d873387fb837b4",
        filename="slowfast_tiny_actions.safetensors",
        file_kind="safetensors",
        dialect="slowfast_zoo",
        model_spec=ACTIONS.spec(TINY_MODEL_SPEC.replace(num_frames=16)),
        clip_spec=_ACTIONS_CLIP_SPEC,
        data=ACTIONS,
        metrics=Metrics(
            mean_ap=67.5,
            views=(1, 1),
            sampling="openmmlab-1.x",
            protocol="1 clip x whole picture, held-out procedural clips",
        ),
        parameters=1_290_947,
        source="slowfast_zoo/weights/catalog/embedded/slowfast_tiny_actions.md",
        config_name="actions",
        note="What finetune starts from. Trained by scripts/tiny/train_actions.py; measurements in the card.",
    ),
)
