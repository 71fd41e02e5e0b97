"""OpenMMLab's rows for MMAction2 1.x (Kinetics-400).

Source: https://github.com/open-mmlab/mmaction2/blob/v1.2.0/configs/recognition/slowfast/README.md;
training memory and the size of the stored videos from the same page of v1.0.0rc1.

The scores belong to the 1.x rule for clip starts (since v1.0.0rc2). What v1.0.0rc1 measured on the
same files with the 0.x rule stands in each row's note.
"""

from __future__ import annotations

from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.weights.catalog.entry import Metrics, WeightEntry
from slowfast_zoo.weights.catalog.openmmlab import (
    PARAMETERS,
    R50_4X16,
    R50_8X8,
    R50_8X8_NORM,
    R101_8X8,
    R101_R50_4X16,
)

_FILES = "https://download.openmmlab.com/mmaction/v1.0/recognition/slowfast"
_KINETICS = ClipSpec(sampling="openmmlab-1.x")


def _row(
    model: str,
    tag: str,
    spec: ModelSpec,
    config: str,
    hash8: str,
    *,
    dates: tuple[str, ...],
    scores: tuple[float, float],
    scores_0x: tuple[float, float],
    gpus: str,
    gpu_mem_mb: int,
    note: str = "",
) -> WeightEntry:
    """The row of one config; ``scores`` are top-1 and top-5, ``dates`` (ISO) those of the file's URLs."""
    old_scores = f"With the 0.x rule for clip starts: {scores_0x[0]} / {scores_0x[1]} (v1.0.0rc1)."
    return WeightEntry(
        model=model,
        tag=tag,
        urls=tuple(f"{_FILES}/{config}/{config}_{date.replace('-', '')}-{hash8}.pth" for date in dates),
        digest=f"sha256-prefix:{hash8}",
        file_kind="torch",
        dialect="openmmlab",
        model_spec=spec,
        clip_spec=_KINETICS,
        label_set="kinetics400",
        metrics=Metrics.measured(_KINETICS, top1=scores[0], top5=scores[1]),
        training_data="Kinetics-400",
        stored_resolution="short-side 320",
        parameters=PARAMETERS[spec],
        gpus=gpus,
        gpu_mem_mb=gpu_mem_mb,
        log_url=f"{_FILES}/{config}/{config}.log",
        source="https://github.com/open-mmlab/mmaction2/blob/v1.2.0/configs/recognition/slowfast/README.md",
        config_name=config,
        released=dates[0],
        note=f"{old_scores} {note}".rstrip(),
    )


ROWS = (
    _row(
        "slowfast_r50_4x16x1",
        "mmaction2-1x/k400-256e",
        R50_4X16,
        "slowfast_r50_8xb8-4x16x1-256e_kinetics400-rgb",
        "701b0f6f",
        dates=("2022-09-01",),
        scores=(75.55, 92.35),
        scores_0x=(75.27, 92.27),
        gpus="8",
        gpu_mem_mb=6332,
    ),
    _row(
        "slowfast_r50_8x8x1",
        "mmaction2-1x/k400-256e",
        R50_8X8,
        "slowfast_r50_8xb8-8x8x1-256e_kinetics400-rgb",
        "1cb6dfc8",
        dates=("2022-08-18",),
        scores=(76.80, 92.99),
        scores_0x=(76.31, 92.88),
        gpus="8",
        gpu_mem_mb=9201,
        note="The publisher's short name 'slowfast' means this file.",
    ),
    _row(
        "slowfast_r50_8x8x1",
        "mmaction2-1x/k400-256e-steplr",
        R50_8X8_NORM,
        "slowfast_r50_8xb8-8x8x1-steplr-256e_kinetics400-rgb",
        "b62a501f",
        dates=("2022-08-18",),
        scores=(76.65, 92.86),
        scores_0x=(76.33, 92.66),
        gpus="8",
        gpu_mem_mb=9395,
        note="The laterals carry batch norm and ReLU.",
    ),
    _row(
        "slowfast_r101_r50_4x16x1",
        "mmaction2-1x/k400-256e",
        R101_R50_4X16,
        "slowfast_r101-r50_32xb8-4x16x1-256e_kinetics400-rgb",
        "a77ac3ee",
        dates=("2022-09-01",),
        scores=(77.03, 92.99),
        scores_0x=(76.68, 92.82),
        gpus="32",
        gpu_mem_mb=8039,
    ),
    _row(
        "slowfast_r101_8x8x1",
        "mmaction2-1x/k400-256e",
        R101_8X8,
        "slowfast_r101_8xb8-8x8x1-256e_kinetics400-rgb",
        "9c0e09bd",
        dates=("2022-08-18", "2022-09-01"),
        scores=(78.65, 93.88),
        scores_0x=(78.30, 93.77),
        gpus="8",
        gpu_mem_mb=13431,
        note="Page and metafile date the file differently (first and second URL); at most one exists.",
    ),
)
