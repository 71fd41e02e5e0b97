"""OpenMMLab's rows: MMAction2 0.x, superseded files included, and 1.x.

Source: https://github.com/open-mmlab/mmaction2, ``configs/recognition/slowfast`` at the release that
each row names. OpenMMLab writes the first eight hex digits of a file's SHA-256 into its name.

The scores of 0.x belong to its own rule for clip starts, those of 1.x to the rule since v1.0.0rc2; see
``slowfast_zoo.video.sampling``.
"""

from __future__ import annotations

import functools

from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.weights.catalog.datasets import KINETICS400, SSV1, Dataset
from slowfast_zoo.weights.catalog.entry import Metrics, Network, WeightEntry, released

_FILES = "https://download.openmmlab.com/mmaction/recognition/slowfast"
_FILES_1X = "https://download.openmmlab.com/mmaction/v1.0/recognition/slowfast"
_FILES_2020 = (
    "https://openmmlab.oss-accelerate.aliyuncs.com/mmaction/recognition/slowfast",
    "https://open-mmlab.s3.ap-northeast-2.amazonaws.com/mmaction/mmaction-v1/recognition/slowfast",
)

# The fusion kernel follows alpha: 5 frames for alpha 8, 7 frames for alpha 4. Parameters are those of the
# publisher's metafile (``metafile.yml`` of v0.24.1), counted for the network with batch norm in its laterals,
# where it repeats the figure without.
_R50_4X16 = Network("slowfast_r50_4x16x1", ModelSpec(depth=50, alpha=8, fusion_kernel=5), 34_479_288)
_R50_8X8 = Network("slowfast_r50_8x8x1", ModelSpec(depth=50, alpha=4, fusion_kernel=7), 34_565_560)
_R50_8X8_NORM = Network(_R50_8X8.model, _R50_8X8.spec.replace(lateral_norm=True), 34_566_488)
_R50_8X8_KERNEL_5 = Network(_R50_8X8.model, _R50_8X8.spec.replace(fusion_kernel=5), 34_479_288)
_R50_16X8 = Network("slowfast_r50_16x8x1", _R50_8X8.spec.replace(num_frames=64), 34_565_560)
_R101_R50_4X16 = Network(
    "slowfast_r101_r50_4x16x1", _R50_4X16.spec.replace(depth=101, fast_depth=50), 62_384_312
)
_R101_8X8 = Network("slowfast_r101_8x8x1", _R50_8X8.spec.replace(depth=101), 62_912_312)
_R152_R50_4X16 = Network(
    "slowfast_r152_r50_4x16x1", _R50_4X16.spec.replace(depth=152, fast_depth=50), 84_843_704
)

_KINETICS = ClipSpec(sampling="openmmlab-0.x")
_KINETICS_1X = ClipSpec(sampling="openmmlab-1.x")
_STHV1 = _KINETICS.replace(num_frames=64, clips=1, crops=1, augmentation="random-resized-crop-of-source")
_LATERAL_NORM_NOTE = (
    "The laterals carry batch norm and ReLU; the publisher's parameter count (34,565,560) leaves them out."
)


def _row(
    network: Network,
    tag: str,
    *,
    config: str,
    version: str,
    scores: tuple[float, float],
    gpus: tuple[str, int],
    data: Dataset = KINETICS400,
    clip_spec: ClipSpec = _KINETICS,
    stored: str = "short-side 320",
    start: str | None = None,
    videos_per_second: float | None = None,
    folder: str | None = None,
    logs: tuple[str, str | None] | None = None,
    release: str = "v0.21.0",
    files: tuple[str, ...] = (_FILES,),
    also_dated: tuple[str, ...] = (),
    superseded: bool = False,
    note: str = "",
) -> WeightEntry:
    """The row of ``files/folder/folder<version>.pth``.

    Args:
        scores: top-1 and top-5.
        also_dated: versions that the publisher calls the same file elsewhere.
        gpus: their number, and the MB used on each.
        folder: named after the config unless it is given.
        logs: the names beside the file, text and JSON; None: those of the config.
    """
    folder = folder or config
    hash8 = version[-8:]
    log, json = logs or (f"{config}.log", f"{config}.json")
    return network.entry(
        data,
        tag=f"{tag}@{hash8}" if superseded else tag,
        urls=tuple(f"{at}/{folder}/{folder}{each}.pth" for at in files for each in (version, *also_dated)),
        digest=f"sha256-prefix:{hash8}",
        file_kind="torch",
        dialect="openmmlab",
        clip_spec=clip_spec,
        metrics=Metrics.measured(clip_spec, top1=scores[0], top5=scores[1]),
        stored_resolution=stored,
        initialized_from=start,
        gpus=gpus[0],
        gpu_mem_mb=gpus[1],
        videos_per_second=videos_per_second,
        log_url=f"{files[0]}/{folder}/{log}",
        json_url=json and f"{files[0]}/{folder}/{json}",
        source=f"https://github.com/open-mmlab/mmaction2/blob/{release}/configs/recognition/slowfast/README.md",
        config_name=config,
        released=released(version),
        superseded=superseded,
        note=note,
    )


_sthv1 = functools.partial(
    _row,
    _R50_16X8,
    "mmaction2/sthv1-22e",
    config="slowfast_r50_16x8x1_22e_sthv1_rgb",
    data=SSV1,
    clip_spec=_STHV1,
    stored="height 100",
    start="Kinetics-400 (slowfast_r50_8x8x1)",
    gpus=("8", 9293),
    note="Trained on crops of the stored frames (100 pixels high) without resizing them first; flips "
    "exchange the classes 2 and 4, 30 and 41, 52 and 66 (left and right).",
)


def _row_1x(
    network: Network,
    tag: str,
    *,
    config: str,
    version: str,
    scores: tuple[float, float],
    scores_0x: tuple[float, float],
    gpus: tuple[str, int],
    also_dated: tuple[str, ...] = (),
    note: str = "",
) -> WeightEntry:
    """A row of the page of v1.2.0; training memory and ``scores_0x`` are those of v1.0.0rc1's page."""
    old = f"With the 0.x rule for clip starts: {scores_0x[0]} / {scores_0x[1]} (v1.0.0rc1)."
    stored = "The page gives the training crop as resolution; v1.0.0rc1 says short-side 320."
    return _row(
        network,
        tag,
        config=config,
        version=version,
        also_dated=also_dated,
        scores=scores,
        clip_spec=_KINETICS_1X,
        stored="224x224",
        gpus=gpus,
        logs=(f"{config}.log", None),
        release="v1.2.0",
        files=(_FILES_1X,),
        note=f"{old} {stored} {note}".rstrip(),
    )


PAGE_ROWS = (
    _row(
        _R50_4X16,
        "mmaction2/k400-256e-256p",
        config="slowfast_r50_4x16x1_256e_kinetics400_rgb",
        version="_20200728-145f1097",
        folder="slowfast_r50_256p_4x16x1_256e_kinetics400_rgb",
        scores=(74.75, 91.73),
        stored="short-side 256",
        gpus=("8x4", 6203),
        logs=("20200731_151706.log", "20200731_151706.log.json"),
    ),
    _row(
        _R50_4X16,
        "mmaction2/k400-256e-256p-video",
        config="slowfast_r50_video_4x16x1_256e_kinetics400_rgb",
        version="_20200826-f85b90c5",
        scores=(73.95, 91.50),
        stored="short-side 256",
        gpus=("8", 6203),
        logs=("20200812_160237.log", "20200812_160237.log.json"),
        note="Trained on frames decoded on the fly, not on extracted JPEG frames. Pages up to v0.18.0 say "
        "74.34 / 91.58; the publisher corrected them in September 2021.",
    ),
    _row(
        _R50_4X16,
        "mmaction2/k400-256e-320p",
        config="slowfast_r50_4x16x1_256e_kinetics400_rgb",
        version="_20210722-04e43ed4",
        scores=(76.0, 92.54),
        gpus=("8x2", 6203),
        videos_per_second=1.6,
        logs=("slowfast_r50_4x16x1_20210722.log", "slowfast_r50_4x16x1_20210722.log.json"),
        note="The publisher's metafile (v0.24.1) still names the older file bcde7ed7 (75.64 / 92.3).",
    ),
    _row(
        _R50_4X16,
        "mmaction2/k400-256e-320p-prebn",
        config="slowfast_prebn_r50_4x16x1_256e_kinetics400_rgb",
        version="_20210722-bb725050",
        scores=(76.34, 92.67),
        gpus=("8x2", 6203),
        logs=("slowfast_prebn_r50_4x16x1_20210722.log", "slowfast_prebn_r50_4x16x1_20210722.log.json"),
        note="The network is the same; batch norm statistics are plain averages over 200 batches.",
    ),
    _row(
        _R50_8X8,
        "mmaction2/k400-256e-320p",
        config="slowfast_r50_8x8x1_256e_kinetics400_rgb",
        version="_20200716-73547d2b",
        scores=(76.94, 92.8),
        gpus=("8x3", 9062),
        videos_per_second=1.3,
        logs=("20200716_192653.log", "20200716_192653.log.json"),
    ),
    _row(
        _R101_R50_4X16,
        "mmaction2/k400-256e-256p",
        config="slowfast_r101_r50_4x16x1_256e_kinetics400_rgb",
        version="_20210218-d8b58813",
        folder="slowfast_r101_4x16x1_256e_kinetics400_rgb",
        scores=(76.69, 93.07),
        stored="short-side 256",
        gpus=("8x1", 16628),
        logs=("20210118_133528.log", "20210118_133528.log.json"),
        note="The file is named r101 only; its fast pathway has depth 50.",
    ),
    _row(
        _R101_8X8,
        "mmaction2/k400-256e-256p",
        config="slowfast_r101_8x8x1_256e_kinetics400_rgb",
        version="_20210218-0dd54025",
        scores=(77.90, 93.51),
        stored="short-side 256",
        gpus=("8x4", 25994),
        logs=("20210218_121513.log", "20210218_121513.log.json"),
    ),
    _row(
        _R152_R50_4X16,
        "mmaction2/k400-256e-256p",
        config="slowfast_r152_r50_4x16x1_256e_kinetics400_rgb",
        version="_20210122-bdeb6b87",
        folder="slowfast_r152_4x16x1_256e_kinetics400_rgb",
        scores=(77.13, 93.20),
        stored="short-side 256",
        gpus=("8x1", 10077),
        logs=("20210122_131321.log", "20210122_131321.log.json"),
        note="The file is named r152 only; its fast pathway has depth 50.",
    ),
    _sthv1(version="_20211202-aaaf9279", scores=(49.67, 79.00)),
)
"""The nine rows of the SlowFast page of v0.21.0 (December 2021), in its order."""

ROWS = (
    *PAGE_ROWS,
    # Those of v0.24.1.
    _row(
        _R50_8X8_NORM,
        "mmaction2/k400-256e-320p-steplr",
        config="slowfast_r50_8x8x1_256e_kinetics400_rgb_steplr",
        version="-43988bac",
        scores=(76.34, 92.61),
        gpus=("8x4", 9062),
        release="v0.24.1",
        note=_LATERAL_NORM_NOTE,
    ),
    _row(
        _R50_8X8_NORM,
        "mmaction2/k400-358e-320p-multigrid",
        config="slowfast_multigrid_r50_8x8x1_358e_kinetics400_rgb",
        version="-f82bd304",
        scores=(76.07, 92.21),
        gpus=("8x2", 9062),
        release="v0.24.1",
        note=f"{_LATERAL_NORM_NOTE} So did its config until April 2022. Multigrid: 358 epochs are 239 x 1.5.",
    ),
    _row(
        _R50_8X8_NORM,
        "mmaction2/k400-256e-320p-steplr-prebn",
        config="slowfast_prebn_r50_8x8x1_256e_kinetics400_rgb_steplr",
        version="-28474e54",
        scores=(76.58, 92.85),
        gpus=("8x4", 9062),
        release="v0.24.1",
        note=f"{_LATERAL_NORM_NOTE} Precise batch norm every five epochs. The publisher's link says 'perbn'.",
    ),
    # Superseded ones.
    _row(
        _R50_4X16,
        "mmaction2/k400-256e-320p",
        config="slowfast_r50_4x16x1_256e_kinetics400_rgb",
        version="_20200618-9a124260",
        files=_FILES_2020,
        scores=(75.3, 92.2),
        gpus=("7x3", 6203),
        videos_per_second=1.6,
        logs=("sf_4x16.log", "slowfast_r50_4x16_75.3_92.2.log.json"),
        release="v0.5.0",
        superseded=True,
        note="Trained without warm-up.",
    ),
    _row(
        _R50_4X16,
        "mmaction2/k400-256e-320p",
        config="slowfast_r50_4x16x1_256e_kinetics400_rgb",
        version="_20200704-bcde7ed7",
        scores=(75.64, 92.3),
        gpus=("8x3", 6203),
        videos_per_second=1.6,
        logs=("20200704_232901.log", "20200704_232901.log.json"),
        release="v0.16.0",
        superseded=True,
        note="The publisher's AVA and MultiSports models of 4x16x1 start from this file.",
    ),
    _row(
        _R50_8X8_KERNEL_5,
        "mmaction2/k400-256e-320p",
        config="slowfast_r50_8x8x1_256e_kinetics400_rgb",
        version="_20200619-ecd36535",
        files=_FILES_2020,
        scores=(76.36, 92.56),
        gpus=("8x4", 9062),
        videos_per_second=1.3,
        logs=("sf_8x8.log", "slowfast_r50_8x8_76.36_92.56.log.json"),
        release="v0.5.0",
        superseded=True,
        note="Its fusion kernel is 5; the publisher's later 8x8x1 networks have 7 and don't fit this file.",
    ),
    _row(
        _R50_8X8,
        "mmaction2/k400-256e-256p",
        config="slowfast_r50_8x8x1_256e_kinetics400_rgb",
        version="_20200810-863812c2",
        folder="slowfast_r50_256p_8x8x1_256e_kinetics400_rgb",
        scores=(75.61, 92.34),
        stored="short-side 256",
        gpus=("8x4", 9062),
        logs=("20200731_151537.log", "20200731_151537.log.json"),
        release="v0.20.0",
        superseded=True,
    ),
    _sthv1(
        version="_20210630-53355c16",
        scores=(49.24, 78.79),
        logs=("20210606_225114.log", "20210606_225114.log.json"),
        release="v0.20.0",
        superseded=True,
    ),
    # Those of v1.2.0.
    _row_1x(
        _R50_4X16,
        "mmaction2-1x/k400-256e",
        config="slowfast_r50_8xb8-4x16x1-256e_kinetics400-rgb",
        version="_20220901-701b0f6f",
        scores=(75.55, 92.35),
        scores_0x=(75.27, 92.27),
        gpus=("8", 6332),
    ),
    _row_1x(
        _R50_8X8,
        "mmaction2-1x/k400-256e",
        config="slowfast_r50_8xb8-8x8x1-256e_kinetics400-rgb",
        version="_20220818-1cb6dfc8",
        scores=(76.80, 92.99),
        scores_0x=(76.31, 92.88),
        gpus=("8", 9201),
        note="The publisher's short name 'slowfast' means this file.",
    ),
    _row_1x(
        _R50_8X8_NORM,
        "mmaction2-1x/k400-256e-steplr",
        config="slowfast_r50_8xb8-8x8x1-steplr-256e_kinetics400-rgb",
        version="_20220818-b62a501f",
        scores=(76.65, 92.86),
        scores_0x=(76.33, 92.66),
        gpus=("8", 9395),
        note="The laterals carry batch norm and ReLU.",
    ),
    _row_1x(
        _R101_R50_4X16,
        "mmaction2-1x/k400-256e",
        config="slowfast_r101-r50_32xb8-4x16x1-256e_kinetics400-rgb",
        version="_20220901-a77ac3ee",
        scores=(77.03, 92.99),
        scores_0x=(76.68, 92.82),
        gpus=("32", 8039),
    ),
    _row_1x(
        _R101_8X8,
        "mmaction2-1x/k400-256e",
        config="slowfast_r101_8xb8-8x8x1-256e_kinetics400-rgb",
        version="_20220818-9c0e09bd",
        also_dated=("_20220901-9c0e09bd",),
        scores=(78.65, 93.88),
        scores_0x=(78.30, 93.77),
        gpus=("8", 13431),
        note="Page and metafile date the file differently (first and second URL); at most one exists.",
    ),
)
