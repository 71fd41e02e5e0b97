"""PySlowFast's and PyTorchVideo's rows; the latter were trained and scored inside PySlowFast too.

Source: https://github.com/facebookresearch/SlowFast (``MODEL_ZOO.md``, ``configs``, ``slowfast/datasets``)
and https://github.com/facebookresearch/pytorchvideo (``docs/source/model_zoo.md``, ``pytorchvideo/models``).
Neither publishes hashes. Parameters were counted in the publishers' networks.

Their heads slide a window of 7 x 7 cells over the last map. PySlowFast averages the probabilities of the
places, PyTorchVideo the logits. Networks trained with PySlowFast's multigrid short cycles pool globally.
"""

from __future__ import annotations

from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.weights.catalog.datasets import CHARADES, KINETICS400, SSV2, Dataset
from slowfast_zoo.weights.catalog.entry import Dialect, Metrics, WeightEntry

_PYSLOWFAST_FILES = "https://dl.fbaipublicfiles.com/pyslowfast/model_zoo/kinetics400"
# The doubled folder is the publisher's.
_MULTIGRID_FILES = "https://dl.fbaipublicfiles.com/pyslowfast/pyslowfast/model_zoo/multigrid/model_zoo"
_PYTORCHVIDEO_FILES = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo"
_PYSLOWFAST_SOURCE = "https://github.com/facebookresearch/SlowFast/blob/main/MODEL_ZOO.md"
_PYTORCHVIDEO_SOURCE = "https://github.com/facebookresearch/pytorchvideo/blob/main/docs/source/model_zoo.md"

_R50_8X8 = ModelSpec(
    depth=50, alpha=4, fusion_kernel=7, lateral_norm=True, slow_sampling="linspace", head_pool="window_probs"
)
_R50_4X16 = _R50_8X8.replace(alpha=8, fusion_kernel=5)
_R50_16X8 = _R50_8X8.replace(num_frames=64)
_PTV_R50_8X8 = _R50_8X8.replace(head_pool="window_logits")
_PTV_R50_4X16 = _R50_4X16.replace(head_pool="window_logits")
_PTV_R101_8X8 = _PTV_R50_8X8.replace(depth=101, fast_depth=101, fusion_kernel=5)
# Depth 101, but only as many blocks with a temporal kernel as depth 50 has ("50_50": slow and fast).
_PTV_R101_50_50_16X8 = _PTV_R101_8X8.replace(num_frames=64, temporal_blocks=(3, 4, 6, 3))

_KINETICS = ClipSpec(
    time_base="fps-scaled",
    fps=30,
    sampling="pyslowfast-stamps",
    short_video="repeat_last",
    resize="float-bilinear",
    crop_rule="uniform",
    view_order="clip-major",
    mean=(0.45, 0.45, 0.45),
    std=(0.225, 0.225, 0.225),
    pixel_range="0-1",
    aggregate="sum-prob",
    augmentation="short-side-jitter",
    jitter=(256, 320),
    approximate="The publisher's decoder resizes videos that aren't stored with that short side, as bytes; "
    "here frames are resized as floats, after decoding. Time stamps are taken for regular.",
)
_SSV2 = _KINETICS.replace(
    num_frames=64,
    time_base="frames",
    fps=None,
    sampling="pyslowfast-segments",
    approximate="",
    short_video="stretch",
    clips=1,
    crops=1,
    crop_rule="first",
    augmentation="inverse-short-side-jitter",
    flip=0.0,
)
_CHARADES = _KINETICS.replace(
    num_frames=64,
    time_base="frames",
    fps=None,
    sampling="pyslowfast-charades",
    approximate="",
    aggregate="max-prob",
    augmentation="inverse-short-side-jitter",
    jitter=(256, 340),
)
# The publisher's scores are of April to September 2021; releases since then place clips otherwise.
_PTV_KINETICS = _KINETICS.replace(
    time_base="seconds",
    sampling="pytorchvideo-0.1",
    short_video="stretch",
    approximate="The publisher takes the longer of a file's picture and sound for its length; here it is the "
    "picture's.",
)
# PyTorchVideo's own transforms ignore INV_UNIFORM_SAMPLE, which its configs set too.
_PTV_SSV2 = _SSV2.replace(num_frames=32, crops=3, crop_rule="uniform", augmentation="short-side-jitter")
_PTV_CHARADES = _CHARADES.replace(
    num_frames=32,
    sampling="pytorchvideo-0.1",
    short_video="stretch",
    augmentation="short-side-jitter",
    jitter=(256, 320),
)


def _row(
    model: str,
    tag: str,
    spec: ModelSpec,
    clip_spec: ClipSpec,
    url: str,
    config: str,
    *,
    parameters: int,
    dialect: Dialect = "pyslowfast",
    data: Dataset = KINETICS400,
    top1: float | None = None,
    top5: float | None = None,
    mean_ap: float | None = None,
    note: str = "",
) -> WeightEntry:
    """One row of either publisher, told apart by the dialect."""
    return WeightEntry(
        model=model,
        tag=tag,
        urls=(url,),
        digest=None,
        file_kind="caffe2" if dialect == "caffe2" else "torch",
        dialect=dialect,
        model_spec=data.spec(spec),
        clip_spec=clip_spec,
        data=data,
        metrics=Metrics.measured(clip_spec, top1=top1, top5=top5, mean_ap=mean_ap),
        stored_resolution="short-side 256" if data is KINETICS400 else None,
        initialized_from=None if data is KINETICS400 else "Kinetics-400",
        parameters=parameters,
        source=_PYTORCHVIDEO_SOURCE if dialect == "pytorchvideo" else _PYSLOWFAST_SOURCE,
        config_name=config,
        note=note,
    )


_CAFFE2_NOTE = "A Python 2 pickle of caffe2 arrays, which also holds momentum and learning rates."
_MULTIGRID_NOTE = "Multigrid training; the head pools globally."
_CHARADES_NOTE = "The publisher's page names a Something-Something V2 config here by mistake."

_PYSLOWFAST_ROWS = (
    _row(
        "slowfast_r50_4x16x1",
        "pyslowfast/k400",
        _R50_4X16,
        _KINETICS,
        f"{_PYSLOWFAST_FILES}/SLOWFAST_4x16_R50.pkl",
        "Kinetics/c2/SLOWFAST_4x16_R50",
        parameters=34_480_216,
        top1=75.6,
        top5=92.0,
        dialect="caffe2",
        note=_CAFFE2_NOTE,
    ),
    _row(
        "slowfast_r50_8x8x1",
        "pyslowfast/k400",
        _R50_8X8,
        _KINETICS,
        f"{_PYSLOWFAST_FILES}/SLOWFAST_8x8_R50.pkl",
        "Kinetics/c2/SLOWFAST_8x8_R50",
        parameters=34_566_488,
        top1=77.0,
        top5=92.6,
        dialect="caffe2",
        note=_CAFFE2_NOTE,
    ),
    _row(
        "slowfast_r50_8x8x1",
        "pyslowfast/k400-stepwise",
        _R50_8X8,
        _KINETICS,
        f"{_MULTIGRID_FILES}/Kinetics/SLOWFAST_8x8_R50_stepwise.pkl",
        "Kinetics/SLOWFAST_8x8_R50_stepwise",
        parameters=34_566_488,
        top1=76.8,
        top5=92.7,
    ),
    _row(
        "slowfast_r50_8x8x1",
        "pyslowfast/k400-stepwise-multigrid",
        _R50_8X8.replace(head_pool="global", head_window=None),
        _KINETICS.replace(size=224, test_crop=224),
        f"{_MULTIGRID_FILES}/Kinetics/SLOWFAST_8x8_R50_stepwise_multigrid.pkl",
        "Kinetics/SLOWFAST_8x8_R50_stepwise_multigrid",
        parameters=34_566_488,
        top1=76.6,
        top5=92.7,
        note=f"{_MULTIGRID_NOTE} Scored on crops of 224 pixels.",
    ),
    _row(
        "slowfast_r50_16x8x1",
        "pyslowfast/ssv2",
        _R50_16X8,
        _SSV2,
        f"{_MULTIGRID_FILES}/SSv2/SLOWFAST_16x8_R50.pkl",
        "SSv2/SLOWFAST_16x8_R50",
        parameters=34_045_558,
        data=SSV2,
        top1=63.0,
        top5=88.5,
        note="Scored on the left (or top) crop, where Kinetics takes the center for a single view.",
    ),
    _row(
        "slowfast_r50_16x8x1",
        "pyslowfast/ssv2-multigrid",
        _R50_16X8.replace(head_pool="global", head_window=None),
        _SSV2.replace(size=224, test_crop=224),
        f"{_MULTIGRID_FILES}/SSv2/SLOWFAST_16x8_R50_multigrid.pkl",
        "SSv2/SLOWFAST_16x8_R50_multigrid",
        parameters=34_045_558,
        data=SSV2,
        top1=63.5,
        top5=88.7,
        note=f"{_MULTIGRID_NOTE} Scored on the left (or top) crop of 224 pixels. The first published config "
        "did not turn OpenCV's BGR frames into RGB; the present one does.",
    ),
    _row(
        "slowfast_r50_16x8x1",
        "pyslowfast/charades",
        _R50_16X8,
        _CHARADES,
        f"{_MULTIGRID_FILES}/Charades/SLOWFAST_16x8_R50.pkl",
        "Charades/SLOWFAST_16x8_R50",
        parameters=34_006_373,
        data=CHARADES,
        mean_ap=38.9,
        note=_CHARADES_NOTE,
    ),
    _row(
        "slowfast_r50_16x8x1",
        "pyslowfast/charades-multigrid",
        _R50_16X8.replace(head_pool="global", head_window=None),
        _CHARADES,
        f"{_MULTIGRID_FILES}/Charades/SLOWFAST_16x8_R50_multigrid.pkl",
        "Charades/SLOWFAST_16x8_R50_multigrid",
        parameters=34_006_373,
        data=CHARADES,
        mean_ap=38.6,
        note=f"{_MULTIGRID_NOTE} {_CHARADES_NOTE}",
    ),
)

_PYTORCHVIDEO_ROWS = (
    _row(
        "slowfast_r50_4x16x1",
        "pytorchvideo/k400",
        _PTV_R50_4X16,
        _PTV_KINETICS,
        f"{_PYTORCHVIDEO_FILES}/kinetics/SLOWFAST_4x16_R50.pyth",
        "Kinetics/pytorchvideo/SLOWFAST_4x16_R50",
        parameters=34_480_216,
        dialect="pytorchvideo",
        top1=75.34,
        top5=91.89,
        note="The publisher's own hub entry points don't offer it.",
    ),
    _row(
        "slowfast_r50_8x8x1",
        "pytorchvideo/k400",
        _PTV_R50_8X8,
        _PTV_KINETICS,
        f"{_PYTORCHVIDEO_FILES}/kinetics/SLOWFAST_8x8_R50.pyth",
        "Kinetics/pytorchvideo/SLOWFAST_8x8_R50",
        parameters=34_566_488,
        dialect="pytorchvideo",
        top1=76.94,
        top5=92.69,
        note="The publisher's hub calls it slowfast_r50, and says 76.4 in its docstring.",
    ),
    _row(
        "slowfast_r101_8x8x1",
        "pytorchvideo/k400",
        _PTV_R101_8X8,
        _PTV_KINETICS,
        f"{_PYTORCHVIDEO_FILES}/kinetics/SLOWFAST_8x8_R101.pyth",
        "Kinetics/pytorchvideo/SLOWFAST_8x8_R101",
        parameters=62_826_968,
        dialect="pytorchvideo",
        top1=77.90,
        top5=93.27,
        note="The publisher's hub calls it slowfast_r101.",
    ),
    _row(
        "slowfast_r101_50_50_16x8x1",
        "pytorchvideo/k400",
        _PTV_R101_50_50_16X8,
        _PTV_KINETICS.replace(num_frames=64, jitter=(256, 360)),
        f"{_PYTORCHVIDEO_FILES}/kinetics/SLOWFAST_16x8_R101_50_50.pyth",
        "Kinetics/pytorchvideo/SLOWFAST_16x8_R101_50_50",
        parameters=53_774_808,
        dialect="pytorchvideo",
        top1=78.70,
        top5=93.61,
        note="The publisher's hub calls it slowfast_16x8_r101_50_50.",
    ),
    _row(
        "slowfast_r50_8x8x1",
        "pytorchvideo/ssv2",
        _PTV_R50_8X8,
        _PTV_SSV2,
        f"{_PYTORCHVIDEO_FILES}/ssv2/SLOWFAST_8x8_R50.pyth",
        "SSv2/pytorchvideo/SLOWFAST_8x8_R50",
        parameters=34_045_558,
        dialect="pytorchvideo",
        data=SSV2,
        top1=61.68,
        top5=86.92,
    ),
    _row(
        "slowfast_r50_8x8x1",
        "pytorchvideo/charades",
        _PTV_R50_8X8,
        _PTV_CHARADES,
        f"{_PYTORCHVIDEO_FILES}/charades/SLOWFAST_8x8_R50.pyth",
        "Charades/pytorchvideo/SLOWFAST_8x8_R50",
        parameters=34_006_373,
        dialect="pytorchvideo",
        data=CHARADES,
        mean_ap=37.24,
    ),
)

ROWS = (*_PYSLOWFAST_ROWS, *_PYTORCHVIDEO_ROWS)
"""All rows of both publishers."""
