"""OpenMMLab's rows (MMAction2 0.x and 1.x).

Source: https://github.com/open-mmlab/mmaction2, ``configs/recognition/slowfast`` at the tag that
each row's ``source`` names. Hashes are the first eight hex digits of the file's SHA-256, which
OpenMMLab puts into the file name.

The scores of the 0.x rows belong to the 0.x rule for clip starts, those of the 1.x rows to the
1.x rule (since v1.0.0rc2); see ``slowfast_zoo.video.sampling``.
"""

from __future__ import annotations

from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.weights.entry import Metrics, WeightEntry

_FILES = "https://download.openmmlab.com/mmaction/recognition/slowfast"
_FILES_1X = "https://download.openmmlab.com/mmaction/v1.0/recognition/slowfast"
_FILES_2020 = (
    "https://open-mmlab.s3.ap-northeast-2.amazonaws.com/mmaction/mmaction-v1/recognition/slowfast"
)

# The fusion kernel follows alpha: 5 frames for alpha 8, 7 frames for alpha 4.
_R50_4X16 = ModelSpec(depth=50, alpha=8, fusion_kernel=5)
_R50_8X8 = ModelSpec(depth=50, alpha=4, fusion_kernel=7)
_R50_16X8 = _R50_8X8.replace(num_frames=64, num_classes=174)
_R101_R50_4X16 = ModelSpec(depth=101, fast_depth=50, alpha=8, fusion_kernel=5)
_R101_8X8 = ModelSpec(depth=101, alpha=4, fusion_kernel=7)
_R152_R50_4X16 = ModelSpec(depth=152, fast_depth=50, alpha=8, fusion_kernel=5)

_KINETICS_0X = ClipSpec(sampling="openmmlab-0.x")
_KINETICS_1X = ClipSpec(sampling="openmmlab-1.x")
_STHV1 = ClipSpec(num_frames=64, sampling="openmmlab-0.x", clips=1, crops=1)

_PARAMETERS = {
    _R50_4X16: 34_479_288,
    _R50_8X8: 34_565_560,
    _R50_8X8.replace(lateral_norm=True): 34_566_488,
    _R50_8X8.replace(fusion_kernel=5): 34_522_424,
    _R50_16X8: 34_044_630,
    _R101_R50_4X16: 62_384_312,
    _R101_8X8: 62_912_312,
    _R152_R50_4X16: 84_843_704,
}

_STHV1_NOTE = (
    "Trained on crops of the stored frames (100 pixels high) without resizing them first; flips exchange "
    "the classes 2 and 4, 30 and 41, 52 and 66 (left and right)."
)


def rows() -> list[WeightEntry]:
    """All rows, the ones of the page of v0.21.0 first, in its order."""
    return _page_rows()


def _row(
    model: str,
    tag: str,
    spec: ModelSpec,
    url: str,
    *,
    config_name: str,
    top1: float,
    top5: float,
    stored: str,
    gpus: str | None = None,
    gpu_mem_mb: int | None = None,
    videos_per_second: float | None = None,
    logs: tuple[str, str] | tuple[str] | None = None,
    released: str | None = None,
    release: str = "v0.21.0",
    clip_spec: ClipSpec = _KINETICS_0X,
    more_urls: tuple[str, ...] = (),
    superseded: bool = False,
    note: str = "",
) -> WeightEntry:
    """One row; ``logs`` (text, JSON lines) are names in the checkpoint's folder."""
    folder, _, filename = url.rpartition("/")
    hash8 = filename.removesuffix(".pth")[-8:]
    something = spec.num_classes == 174
    return WeightEntry(
        model=model,
        tag=f"{tag}@{hash8}" if superseded else tag,
        urls=(url, *more_urls),
        digest=f"sha256-prefix:{hash8}",
        file_kind="torch",
        dialect="openmmlab",
        model_spec=spec,
        clip_spec=clip_spec,
        label_set="something_something_v1" if something else "kinetics400",
        metrics=Metrics.measured(clip_spec, top1=top1, top5=top5),
        training_data="Something-Something V1" if something else "Kinetics-400",
        stored_resolution=stored,
        initialised_from="Kinetics-400 (slowfast_r50_8x8x1)" if something else None,
        parameters=_PARAMETERS[spec],
        gpus=gpus,
        gpu_mem_mb=gpu_mem_mb,
        videos_per_second=videos_per_second,
        log_url=f"{folder}/{logs[0]}" if logs else None,
        json_url=f"{folder}/{logs[1]}" if logs and len(logs) == 2 else None,
        source=f"https://github.com/open-mmlab/mmaction2/blob/{release}/configs/recognition/slowfast/README.md",
        config_name=config_name,
        released=released,
        superseded=superseded,
        note=note,
    )


def _page_rows() -> list[WeightEntry]:
    return [
        _row(
            "slowfast_r50_4x16x1",
            "mmaction2/k400-256e-256p",
            _R50_4X16,
            f"{_FILES}/slowfast_r50_256p_4x16x1_256e_kinetics400_rgb/"
            "slowfast_r50_256p_4x16x1_256e_kinetics400_rgb_20200728-145f1097.pth",
            config_name="slowfast_r50_4x16x1_256e_kinetics400_rgb",
            top1=74.75,
            top5=91.73,
            stored="short-side 256",
            gpus="8x4",
            gpu_mem_mb=6203,
            logs=("20200731_151706.log", "20200731_151706.log.json"),
            released="2020-07-28",
        ),
        _row(
            "slowfast_r50_4x16x1",
            "mmaction2/k400-256e-256p-video",
            _R50_4X16,
            f"{_FILES}/slowfast_r50_video_4x16x1_256e_kinetics400_rgb/"
            "slowfast_r50_video_4x16x1_256e_kinetics400_rgb_20200826-f85b90c5.pth",
            config_name="slowfast_r50_video_4x16x1_256e_kinetics400_rgb",
            top1=73.95,
            top5=91.50,
            stored="short-side 256",
            gpus="8",
            gpu_mem_mb=6203,
            logs=("20200812_160237.log", "20200812_160237.log.json"),
            released="2020-08-26",
            note="Pages up to v0.18.0 say 74.34 / 91.58; corrected in September 2021. "
            "Trained on frames decoded on the fly, not on extracted JPEG frames.",
        ),
        _row(
            "slowfast_r50_4x16x1",
            "mmaction2/k400-256e-320p",
            _R50_4X16,
            f"{_FILES}/slowfast_r50_4x16x1_256e_kinetics400_rgb/"
            "slowfast_r50_4x16x1_256e_kinetics400_rgb_20210722-04e43ed4.pth",
            config_name="slowfast_r50_4x16x1_256e_kinetics400_rgb",
            top1=76.0,
            top5=92.54,
            stored="short-side 320",
            gpus="8x2",
            gpu_mem_mb=6203,
            videos_per_second=1.6,
            logs=("slowfast_r50_4x16x1_20210722.log", "slowfast_r50_4x16x1_20210722.log.json"),
            released="2021-07-22",
            note="The publisher's metafile (v0.24.1) still names the older bcde7ed7 (75.64 / 92.3).",
        ),
        _row(
            "slowfast_r50_4x16x1",
            "mmaction2/k400-256e-320p-prebn",
            _R50_4X16,
            f"{_FILES}/slowfast_prebn_r50_4x16x1_256e_kinetics400_rgb/"
            "slowfast_prebn_r50_4x16x1_256e_kinetics400_rgb_20210722-bb725050.pth",
            config_name="slowfast_prebn_r50_4x16x1_256e_kinetics400_rgb",
            top1=76.34,
            top5=92.67,
            stored="short-side 320",
            gpus="8x2",
            gpu_mem_mb=6203,
            logs=("slowfast_prebn_r50_4x16x1_20210722.log", "slowfast_prebn_r50_4x16x1_20210722.log.json"),
            released="2021-07-22",
            note="The network is the plain one; the batch norm statistics are precise averages of 200 batches.",
        ),
        _row(
            "slowfast_r50_8x8x1",
            "mmaction2/k400-256e-320p",
            _R50_8X8,
            f"{_FILES}/slowfast_r50_8x8x1_256e_kinetics400_rgb/"
            "slowfast_r50_8x8x1_256e_kinetics400_rgb_20200716-73547d2b.pth",
            config_name="slowfast_r50_8x8x1_256e_kinetics400_rgb",
            top1=76.94,
            top5=92.8,
            stored="short-side 320",
            gpus="8x3",
            gpu_mem_mb=9062,
            videos_per_second=1.3,
            logs=("20200716_192653.log", "20200716_192653.log.json"),
            released="2020-07-16",
        ),
        _row(
            "slowfast_r101_r50_4x16x1",
            "mmaction2/k400-256e-256p",
            _R101_R50_4X16,
            f"{_FILES}/slowfast_r101_4x16x1_256e_kinetics400_rgb/"
            "slowfast_r101_4x16x1_256e_kinetics400_rgb_20210218-d8b58813.pth",
            config_name="slowfast_r101_r50_4x16x1_256e_kinetics400_rgb",
            top1=76.69,
            top5=93.07,
            stored="short-side 256",
            gpus="8x1",
            gpu_mem_mb=16628,
            logs=("20210118_133528.log", "20210118_133528.log.json"),
            released="2021-02-18",
            note="The file is called r101, but its fast pathway has depth 50.",
        ),
        _row(
            "slowfast_r101_8x8x1",
            "mmaction2/k400-256e-256p",
            _R101_8X8,
            f"{_FILES}/slowfast_r101_8x8x1_256e_kinetics400_rgb/"
            "slowfast_r101_8x8x1_256e_kinetics400_rgb_20210218-0dd54025.pth",
            config_name="slowfast_r101_8x8x1_256e_kinetics400_rgb",
            top1=77.90,
            top5=93.51,
            stored="short-side 256",
            gpus="8x4",
            gpu_mem_mb=25994,
            logs=("20210218_121513.log", "20210218_121513.log.json"),
            released="2021-02-18",
        ),
        _row(
            "slowfast_r152_r50_4x16x1",
            "mmaction2/k400-256e-256p",
            _R152_R50_4X16,
            f"{_FILES}/slowfast_r152_4x16x1_256e_kinetics400_rgb/"
            "slowfast_r152_4x16x1_256e_kinetics400_rgb_20210122-bdeb6b87.pth",
            config_name="slowfast_r152_r50_4x16x1_256e_kinetics400_rgb",
            top1=77.13,
            top5=93.20,
            stored="short-side 256",
            gpus="8x1",
            gpu_mem_mb=10077,
            logs=("20210122_131321.log", "20210122_131321.log.json"),
            released="2021-01-22",
            note="The file is called r152, but its fast pathway has depth 50.",
        ),
        _row(
            "slowfast_r50_16x8x1",
            "mmaction2/sthv1-22e",
            _R50_16X8,
            f"{_FILES}/slowfast_r50_16x8x1_22e_sthv1_rgb/"
            "slowfast_r50_16x8x1_22e_sthv1_rgb_20211202-aaaf9279.pth",
            config_name="slowfast_r50_16x8x1_22e_sthv1_rgb",
            top1=49.67,
            top5=79.00,
            stored="height 100",
            gpus="8",
            gpu_mem_mb=9293,
            logs=("slowfast_r50_16x8x1_22e_sthv1_rgb.log", "slowfast_r50_16x8x1_22e_sthv1_rgb.json"),
            released="2021-12-02",
            clip_spec=_STHV1,
            note=_STHV1_NOTE,
        ),
    ]
