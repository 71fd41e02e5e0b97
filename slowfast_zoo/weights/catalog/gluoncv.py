"""GluonCV's rows (its PyTorch files).

Source: https://github.com/dmlc/gluon-cv: ``docs/model_zoo/action_recognition_torch.rst`` and its tables,
``gluoncv/torch/model_zoo`` (SHA-1), ``gluoncv/torch/data/video_cls`` and the configurations under
``scripts/action-recognition``. Parameters were counted in the publisher's networks.
"""

from __future__ import annotations

from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.weights.catalog.datasets import KINETICS400, SSV2, Dataset
from slowfast_zoo.weights.catalog.entry import Metrics, Network, WeightEntry

_FILES = "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/torch/models"

_R50_8X8 = Network(
    "slowfast_r50_8x8x1", ModelSpec(depth=50, alpha=4, fusion_kernel=7, lateral_norm=True), 34_566_488
)
_R50_4X16 = Network("slowfast_r50_4x16x1", _R50_8X8.spec.replace(alpha=8, fusion_kernel=5), 34_480_216)
_R101_8X8 = Network("slowfast_r101_8x8x1", _R50_8X8.spec.replace(depth=101, fusion_kernel=5), 62_826_968)
_R50_16X8 = Network("slowfast_r50_16x8x1", _R50_8X8.spec.replace(num_frames=64), 34_566_488)

_KINETICS = ClipSpec(
    sampling="gluoncv",
    short_video="repeat_last",
    size=(340, 256),
    crop_rule="uniform",
    view_order="clip-major",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    pixel_range="0-1",
    aggregate="mean-logit",
    augmentation="short-side-jitter",
    jitter=(256, 320),
    approximate="The publisher's decoder resizes to 340 x 256 while it decodes; here frames are resized "
    "bilinearly after decoding, so single pixels differ.",
)
_SSV2 = _KINETICS.replace(num_frames=64, clips=2)


def _row(
    network: Network,
    tag: str,
    config: str,
    *,
    sha1: str,
    clip_spec: ClipSpec = _KINETICS,
    data: Dataset = KINETICS400,
    top1: float | None,
    note: str = "",
) -> WeightEntry:
    """The row of one config; the file's name carries the start of its SHA-1."""
    return network.entry(
        data,
        tag=tag,
        urls=(f"{_FILES}/{config}-{sha1[:8]}.pth",),
        digest=f"sha1:{sha1}",
        file_kind="torch",
        dialect="gluoncv",
        clip_spec=clip_spec,
        metrics=Metrics.measured(clip_spec, top1=top1),
        stored_resolution="short-side 256" if data is KINETICS400 else None,
        source="https://github.com/dmlc/gluon-cv/blob/master/docs/model_zoo/action_recognition_torch.rst",
        config_name=config,
        note=note,
    )


ROWS = (
    _row(
        _R50_4X16,
        "gluoncv/k400",
        "slowfast_4x16_resnet50_kinetics400",
        sha1="1d1eadb258ccfc0c117db0ff0eaf1638d18405b3",
        top1=75.25,
    ),
    _row(
        _R50_8X8,
        "gluoncv/k400",
        "slowfast_8x8_resnet50_kinetics400",
        sha1="e94e9a57eaa2f4dde12673bc6632f9aa090d8c21",
        top1=76.66,
    ),
    _row(
        _R101_8X8,
        "gluoncv/k400",
        "slowfast_8x8_resnet101_kinetics400",
        sha1="db5e9fef55b28eb55b6dc7b2cba98d0c14fc3568",
        top1=76.95,
    ),
    _row(
        _R50_16X8,
        "gluoncv/ssv2",
        "slowfast_16x8_resnet50_sthsthv2",
        sha1="0520323165727d59002c6c62071bc1dc28248469",
        clip_spec=_SSV2,
        data=SSV2,
        top1=None,
        note="The publisher gives no accuracy. Training flips did not exchange left and right classes.",
    ),
)
