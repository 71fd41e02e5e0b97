"""Rows of networks that score persons: OpenMMLab's, PySlowFast's and PyTorchVideo's, on AVA and MultiSports.

Source: https://github.com/open-mmlab/mmaction2 (``configs/detection`` at v0.24.1 and v1.2.0),
https://github.com/facebookresearch/SlowFast (``MODEL_ZOO.md``, ``configs/AVA``) and
https://github.com/facebookresearch/pytorchvideo (``docs/source/model_zoo.md``, ``models/hub/slowfast.py``).
Parameters were counted in the publishers' networks; OpenMMLab's for AVA have one class more, a background
that nothing trains and that isn't read: rows count it, networks here don't.

The published scores are frame mAP at IoU 0.5, each by its publisher's own program: they can't be compared
with each other (``slowfast_zoo.evaluation.ava``).
"""

from __future__ import annotations

from slowfast_zoo.spec import ClipSpec, ModelSpec, RoiSpec
from slowfast_zoo.weights.catalog.datasets import AVA21, AVA21_16, AVA22, MULTISPORTS, Dataset
from slowfast_zoo.weights.catalog.entry import Dialect, Metrics, Network, WeightEntry, released

_OPENMMLAB_FILES = "https://download.openmmlab.com/mmaction"
_OPENMMLAB_PAGES = "https://github.com/open-mmlab/mmaction2/blob"
_PYSLOWFAST_FILES = "https://dl.fbaipublicfiles.com/pyslowfast/model_zoo/ava"
_PYTORCHVIDEO_FILE = (
    "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/ava/SLOWFAST_8x8_R50_DETECTION.pyth"
)

_MAX, _RELATED = RoiSpec(temporal_pool="max"), RoiSpec(acrn=True)
_R50_4X16 = Network(
    "slowfast_r50_4x16x1_roi",
    ModelSpec(alpha=8, fusion_kernel=5, stage4_stride=(1, 1), num_classes=80, roi=RoiSpec()),
    33_741_688,
)
_R50_4X16_CONTEXT = Network(_R50_4X16.model, _R50_4X16.spec.replace(roi=RoiSpec(context=True)), 33_926_008)
_R50_8X8 = Network("slowfast_r50_8x8x1_roi", _R50_4X16.spec.replace(alpha=4, fusion_kernel=7), 33_827_960)
_R50_8X8_MAX = _R50_8X8.replace(roi=_MAX)
_R50_8X8_ACRN = Network(_R50_8X8.model, _R50_8X8.spec.replace(roi=_RELATED), 92_229_752)
_R50_8X8_ACRN_MAX = _R50_8X8_ACRN.replace(roi=RoiSpec(temporal_pool="max", acrn=True))
_PTV_R50_8X8 = Network(
    _R50_8X8.model,
    _R50_8X8.spec.replace(
        lateral_norm=True,
        slow_sampling="linspace",
        stage4_dilation=(2, 2),
        roi=RoiSpec(output_size=7, aligned=False),
    ),
    33_828_888,
)
_R101_8X8 = Network(
    "slowfast_r101_50_50_8x8x1_roi",
    _PTV_R50_8X8.spec.replace(
        depth=101, fusion_kernel=5, temporal_blocks=(3, 4, 6, 3), non_local=(6, 13, 20)
    ),
    59_342_488,
)
_R101_16X8 = Network(
    "slowfast_r101_50_50_16x8x1_roi", _R101_8X8.spec.replace(num_frames=64), _R101_8X8.parameters
)

_OPENMMLAB_0X = ClipSpec(
    time_base="seconds",
    fps=30.0,
    sampling="openmmlab-0.x-key",
    crop=256,
    clips=1,
    crops=1,
    crop_rule="whole",
    box_rule="openmmlab",
    augmentation="short-side-jitter",
)
_OPENMMLAB_1X = _OPENMMLAB_0X.replace(sampling="openmmlab-1.x-key")
_MULTISPORTS = _OPENMMLAB_1X.replace(sampling="openmmlab-video-key", time_base="frames", fps=None)
_PYSLOWFAST = _OPENMMLAB_0X.replace(
    sampling="pyslowfast-key",
    box_rule="pyslowfast",
    resize="uint8-bilinear-floor",
    crop=224,
    mean=(0.45, 0.45, 0.45),
    std=(0.225, 0.225, 0.225),
    pixel_range="0-1",
)


def _metrics(mean_ap: float, clip_spec: ClipSpec, program: str, data: Dataset) -> Metrics:
    scored = len(data.scored) if data.scored else data.classes
    return Metrics(
        mean_ap=mean_ap,
        views=(1, 1),
        sampling=clip_spec.sampling,
        protocol=f"frame mAP at IoU 0.5 of {scored} classes by {program}, {clip_spec.sampling} frames",
    )


_DATA = {"ava21": AVA21, "ava22": AVA22, "multisports": MULTISPORTS}
_KINETICS = {
    8: "Kinetics-400 (slowfast_r50_4x16x1, mmaction2/k400-256e-320p@bcde7ed7)",
    4: "Kinetics-400 (slowfast_r50_8x8x1, mmaction2/k400-256e-320p)",
}
"""What OpenMMLab's trainings started from, by alpha."""


def _openmmlab(
    network: Network,
    tag: str,
    mean_ap: float,
    config: str,
    version: str,
    *,
    data: Dataset | None = None,
    gpus: str | None = "8",
    gpu_mem_mb: int | None = None,
    note: str = "",
) -> WeightEntry:
    """The row of ``FOLDER/config/config<version>.pth``; the tag tells the data, the release and its pages."""
    old = tag.startswith("mmaction2/")
    data = data or _DATA[tag.partition("/")[2].partition("-")[0]]
    page = "acrn" if network.spec.roi and network.spec.roi.acrn else "ava" if old else "slowfast"
    folder = f"{_OPENMMLAB_FILES}/{'' if old else 'v1.0/'}detection/{page}/{config}"
    log = f"{folder}/{config}{version.rpartition('-')[0] if old else ''}"
    clip_spec = _MULTISPORTS if data is MULTISPORTS else _OPENMMLAB_0X if old else _OPENMMLAB_1X
    start_is_known = old or data is MULTISPORTS
    return network.entry(
        data,
        beside=int(data.activation == "sigmoid"),
        tag=tag,
        urls=(f"{folder}/{config}{version}.pth",),
        digest=f"sha256-prefix:{version[-8:]}",
        file_kind="torch",
        dialect="openmmlab",
        clip_spec=clip_spec,
        metrics=_metrics(mean_ap, clip_spec, f"MMAction2 {'0.x' if old else '1.x'}", data),
        stored_resolution="short-side 256" if old else None,
        initialized_from=_KINETICS[network.spec.alpha] if start_is_known else "Kinetics-400",
        gpus=gpus,
        gpu_mem_mb=gpu_mem_mb,
        log_url=f"{log}.log",
        json_url=f"{log}.json" if old else None,
        source=f"{_OPENMMLAB_PAGES}/{'v0.24.1' if old else 'v1.2.0'}/configs/detection/{page}/README.md",
        config_name=config,
        released=released(version),
        note=note,
    )


def _facebook(
    network: Network,
    tag: str,
    mean_ap: float,
    config: str,
    *,
    dialect: Dialect = "pyslowfast",
    note: str,
) -> WeightEntry:
    """A row of PySlowFast's, or of PyTorchVideo's, which was trained and scored inside PySlowFast."""
    clip_spec = _PYSLOWFAST.replace(num_frames=network.spec.num_frames)
    data = _DATA[tag.partition("/")[2]]
    url = f"{_PYSLOWFAST_FILES}/{config.rpartition('/')[2]}.pkl"
    page = "SlowFast/blob/main/MODEL_ZOO.md"
    if dialect == "pytorchvideo":
        url, page = _PYTORCHVIDEO_FILE, "pytorchvideo/blob/main/docs/source/model_zoo.md"
    return network.entry(
        data,
        tag=tag,
        urls=(url,),
        digest=None,
        file_kind="caffe2" if dialect == "caffe2" else "torch",
        dialect=dialect,
        clip_spec=clip_spec,
        metrics=_metrics(mean_ap, clip_spec, "PySlowFast", data),
        initialized_from="Kinetics-400" if dialect == "pytorchvideo" else "Kinetics-600",
        source=f"https://github.com/facebookresearch/{page}",
        config_name=config,
        note=note,
    )


_CONTEXT = "The whole frame's features stand beside those of the box."
_FOCAL = "Trained with a focal loss (alpha 3, gamma 1); the network is that of temporal-max."
_POOL = "MMAction2's {} for the same config name pools time by {}; the file doesn't tell."

ROWS = (
    # MMAction2 0.x.
    _openmmlab(
        _R50_4X16,
        "mmaction2/ava21-20e",
        24.4,
        "slowfast_kinetics_pretrained_r50_4x16x1_20e_ava_rgb",
        "_20201217-6e7c704d",
        gpus="8x2",
    ),
    _openmmlab(
        _R50_4X16_CONTEXT,
        "mmaction2/ava21-20e-context",
        25.4,
        "slowfast_context_kinetics_pretrained_r50_4x16x1_20e_ava_rgb",
        "_20201222-f4d209c9",
        gpus="8x2",
        note=_CONTEXT,
    ),
    _openmmlab(
        _R50_8X8,
        "mmaction2/ava21-20e",
        25.5,
        "slowfast_kinetics_pretrained_r50_8x8x1_20e_ava_rgb",
        "_20201217-ae225e97",
        gpus="8x2",
    ),
    _openmmlab(
        _R50_8X8,
        "mmaction2/ava22-10e",
        26.1,
        "slowfast_kinetics_pretrained_r50_8x8x1_cosine_10e_ava22_rgb",
        "-b987b516",
    ),
    _openmmlab(
        _R50_8X8_MAX,
        "mmaction2/ava22-10e-temporal-max",
        26.4,
        "slowfast_temporal_max_kinetics_pretrained_r50_8x8x1_cosine_10e_ava22_rgb",
        "-874e0845",
    ),
    _openmmlab(
        _R50_8X8_MAX,
        "mmaction2/ava22-10e-temporal-max-focal",
        26.8,
        "slowfast_temporal_max_focal_alpha3_gamma1_kinetics_pretrained_r50_8x8x1_cosine_10e_ava22_rgb",
        "-345618cd",
        note=_FOCAL,
    ),
    _openmmlab(
        _R50_4X16,
        "mmaction2/ava21-20e-16",
        37.85,
        "slowfast_kinetics_pretrained_r50_4x16x1_20e_ava_rgb_custom_classes",
        "_20210305-c6225546",
        data=AVA21_16,
        gpus=None,
        note="Trained and scored on 16 of AVA's classes; a network of all 80 reaches 18.64 on the same ones.",
    ),
    _openmmlab(
        _R50_8X8_ACRN_MAX,
        "mmaction2/ava21-10e-acrn",
        27.1,
        "slowfast_acrn_kinetics_pretrained_r50_8x8x1_cosine_10e_ava_rgb",
        "-49b07bf2",
        note=_POOL.format("1.x", "its mean"),
    ),
    _openmmlab(
        _R50_8X8_ACRN_MAX,
        "mmaction2/ava22-10e-acrn",
        27.8,
        "slowfast_acrn_kinetics_pretrained_r50_8x8x1_cosine_10e_ava22_rgb",
        "-2be32625",
        note=_POOL.format("1.x", "its mean"),
    ),
    # MMAction2 1.x.
    _openmmlab(
        _R50_4X16,
        "mmaction2-1x/ava21-20e",
        24.32,
        "slowfast_kinetics400-pretrained-r50_8xb16-4x16x1-20e_ava21-rgb",
        "_20220906-5180ea3c",
    ),
    _openmmlab(
        _R50_4X16_CONTEXT,
        "mmaction2-1x/ava21-20e-context",
        25.34,
        "slowfast_kinetics400-pretrained-r50-context_8xb16-4x16x1-20e_ava21-rgb",
        "_20220906-5bb4f6f2",
        note=_CONTEXT,
    ),
    _openmmlab(
        _R50_8X8,
        "mmaction2-1x/ava21-20e",
        25.80,
        "slowfast_kinetics400-pretrained-r50_8xb8-8x8x1-20e_ava21-rgb",
        "_20220906-39133ec7",
    ),
    _openmmlab(
        _R50_8X8,
        "mmaction2-1x/ava22-10e",
        25.90,
        "slowfast_kinetics400-pretrained-r50_8xb6-8x8x1-cosine-10e_ava22-rgb",
        "_20220906-d934a48f",
    ),
    _openmmlab(
        _R50_8X8_MAX,
        "mmaction2-1x/ava22-10e-temporal-max",
        26.41,
        "slowfast_kinetics400-pretrained-r50-temporal-max_8xb6-8x8x1-cosine-10e_ava22-rgb",
        "_20220906-13a9078e",
    ),
    _openmmlab(
        _R50_8X8_MAX,
        "mmaction2-1x/ava22-10e-temporal-max-focal",
        26.65,
        "slowfast_r50-k400-pre-temporal-max-focal-alpha3-gamma1_8xb6-8x8x1-cosine-10e_ava22-rgb",
        "_20220906-dd59e26f",
        note=_FOCAL,
    ),
    _openmmlab(
        _R50_4X16,
        "mmaction2-1x/multisports-8e",
        36.88,
        "slowfast_kinetics400-pretrained-r50_8xb16-4x16x1-8e_multisports-rgb",
        "_20230320-af666368",
        gpu_mem_mb=18618,
        note="Video mAP: 22.83 at IoU 0.2, 16.9 at 0.5, 14.74 from 0.1 to 0.9. Clips lie around every frame.",
    ),
    _openmmlab(
        _R50_8X8_ACRN,
        "mmaction2-1x/ava21-10e-acrn",
        27.65,
        "slowfast-acrn_kinetics400-pretrained-r50_8xb8-8x8x1-cosine-10e_ava21-rgb",
        "_20220906-0dae1a90",
        note=_POOL.format("0.x", "its maximum"),
    ),
    _openmmlab(
        _R50_8X8_ACRN,
        "mmaction2-1x/ava22-10e-acrn",
        27.71,
        "slowfast-acrn_kinetics400-pretrained-r50_8xb8-8x8x1-cosine-10e_ava22-rgb",
        "_20220906-66ec24a2",
        note=_POOL.format("0.x", "its maximum"),
    ),
    # PySlowFast and PyTorchVideo.
    _facebook(
        _R101_8X8,
        "pyslowfast/ava21",
        28.2,
        "AVA/c2/SLOWFAST_32x2_R101_50_50_v2.1",
        dialect="caffe2",
        note="A Python 2 pickle of caffe2 arrays.",
    ),
    _facebook(
        _R101_8X8,
        "pyslowfast/ava22",
        29.1,
        "AVA/c2/SLOWFAST_32x2_R101_50_50",
        note="A torch file in spite of its name.",
    ),
    _facebook(
        _R101_16X8,
        "pyslowfast/ava22",
        29.4,
        "AVA/c2/SLOWFAST_64x2_R101_50_50",
        note="A torch file in spite of its name and of its config, which says caffe2.",
    ),
    _facebook(
        _PTV_R50_8X8,
        "pytorchvideo/ava22",
        24.67,
        "slowfast_r50_detection",
        dialect="pytorchvideo",
        note="The publisher's hub calls it slowfast_r50_detection and dilates stage 4 of both pathways; the"
        " program that it was trained with, as it stands today, dilates the slow pathway's only. Shapes don't"
        " tell which of the two the weights know.",
    ),
)
"""All rows."""
