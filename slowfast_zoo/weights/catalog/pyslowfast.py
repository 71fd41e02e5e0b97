"""PySlowFast's and PyTorchVideo's rows; the latter were trained and scored inside PySlowFast too.

Source: https://github.com/facebookresearch/SlowFast (``MODEL_ZOO.md``, ``configs``, ``slowfast/datasets``)
and https://github.com/facebookresearch/pytorchvideo (``docs/source/model_zoo.md``, ``pytorchvideo/models``).
Neither publishes hashes. Parameters were counted in the publishers' networks.

Their heads slide a window of 7 x 7 cells over the last map. PySlowFast averages the probabilities of the
places, PyTorchVideo the logits. Networks trained with PySlowFast's multigrid short cycles pool globally.
"""

from __future__ import annotations

from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.weights.catalog.datasets import CHARADES, KINETICS400, SSV2
from slowfast_zoo.weights.catalog.entry import Dialect, Metrics, Network, WeightEntry

# The doubled folder is the publisher's.
_PYSLOWFAST_FILES = "https://dl.fbaipublicfiles.com/pyslowfast/pyslowfast/model_zoo/multigrid/model_zoo"
_CAFFE2_FILES = "https://dl.fbaipublicfiles.com/pyslowfast/model_zoo/kinetics400"
_PYTORCHVIDEO_FILES = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo"
_PYSLOWFAST_SOURCE = "https://github.com/facebookresearch/SlowFast/blob/main/MODEL_ZOO.md"
_PYTORCHVIDEO_SOURCE = "https://github.com/facebookresearch/pytorchvideo/blob/main/docs/source/model_zoo.md"

_R50_8X8 = Network(
    "slowfast_r50_8x8x1",
    ModelSpec(
        depth=50,
        alpha=4,
        fusion_kernel=7,
        lateral_norm=True,
        slow_sampling="linspace",
        head_pool="window_probs",
    ),
    34_566_488,
)
_R50_4X16 = Network("slowfast_r50_4x16x1", _R50_8X8.spec.replace(alpha=8, fusion_kernel=5), 34_480_216)
_R50_16X8 = Network("slowfast_r50_16x8x1", _R50_8X8.spec.replace(num_frames=64), 34_566_488)
_R50_8X8_MULTIGRID = _R50_8X8.replace(head_pool="global", head_window=None)
_R50_16X8_MULTIGRID = _R50_16X8.replace(head_pool="global", head_window=None)
_PTV_R50_8X8 = _R50_8X8.replace(head_pool="window_logits")
_PTV_R50_4X16 = _R50_4X16.replace(head_pool="window_logits")
_PTV_R101_8X8 = Network(
    "slowfast_r101_8x8x1", _PTV_R50_8X8.spec.replace(depth=101, fusion_kernel=5), 62_826_968
)
# Depth 101, but only as many blocks with a temporal kernel as depth 50 has ("50_50": slow and fast).
_PTV_R101_50_50_16X8 = Network(
    "slowfast_r101_50_50_16x8x1",
    _PTV_R101_8X8.spec.replace(num_frames=64, temporal_blocks=(3, 4, 6, 3)),
    53_774_808,
)

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

_DATA = {"Kinetics": KINETICS400, "SSv2": SSV2, "Charades": CHARADES}


def _row(
    network: Network,
    tag: str,
    config: str,
    clip_spec: ClipSpec,
    *,
    scores: tuple[float | None, float | None] = (None, None),
    mean_ap: float | None = None,
    note: str = "",
) -> WeightEntry:
    """The row of a publisher's config, whose folders tell the data, the publisher and the file's place."""
    trained_on, *kind, name = config.split("/")
    data = _DATA[trained_on]
    dialect: Dialect = "pyslowfast"
    url = f"{_PYSLOWFAST_FILES}/{config}.pkl"
    if kind == ["c2"]:
        dialect, url = "caffe2", f"{_CAFFE2_FILES}/{name}.pkl"
    elif kind == ["pytorchvideo"]:
        dialect, url = "pytorchvideo", f"{_PYTORCHVIDEO_FILES}/{trained_on.lower()}/{name}.pyth"
    return network.entry(
        data,
        tag=tag,
        urls=(url,),
        digest=None,
        file_kind="caffe2" if dialect == "caffe2" else "torch",
        dialect=dialect,
        clip_spec=clip_spec,
        metrics=Metrics.measured(clip_spec, top1=scores[0], top5=scores[1], mean_ap=mean_ap),
        stored_resolution="short-side 256" if data is KINETICS400 else None,
        initialized_from=None if data is KINETICS400 else "Kinetics-400",
        source=_PYTORCHVIDEO_SOURCE if dialect == "pytorchvideo" else _PYSLOWFAST_SOURCE,
        config_name=config,
        note=note,
    )


_CAFFE2_NOTE = "A Python 2 pickle of caffe2 arrays, which also holds momentum and learning rates."
_MULTIGRID_NOTE = "Multigrid training; the head pools globally."
_CHARADES_NOTE = "The publisher's page names a Something-Something V2 config here by mistake."

ROWS = (
    _row(
        _R50_4X16,
        "pyslowfast/k400",
        "Kinetics/c2/SLOWFAST_4x16_R50",
        _KINETICS,
        scores=(75.6, 92.0),
        note=_CAFFE2_NOTE,
    ),
    _row(
        _R50_8X8,
        "pyslowfast/k400",
        "Kinetics/c2/SLOWFAST_8x8_R50",
        _KINETICS,
        scores=(77.0, 92.6),
        note=_CAFFE2_NOTE,
    ),
    _row(
        _R50_8X8,
        "pyslowfast/k400-stepwise",
        "Kinetics/SLOWFAST_8x8_R50_stepwise",
        _KINETICS,
        scores=(76.8, 92.7),
    ),
    _row(
        _R50_8X8_MULTIGRID,
        "pyslowfast/k400-stepwise-multigrid",
        "Kinetics/SLOWFAST_8x8_R50_stepwise_multigrid",
        _KINETICS.replace(size=224, test_crop=224),
        scores=(76.6, 92.7),
        note=f"{_MULTIGRID_NOTE} Scored on crops of 224 pixels.",
    ),
    _row(
        _R50_16X8,
        "pyslowfast/ssv2",
        "SSv2/SLOWFAST_16x8_R50",
        _SSV2,
        scores=(63.0, 88.5),
        note="Scored on the left (or top) crop, where Kinetics takes the center for a single view.",
    ),
    _row(
        _R50_16X8_MULTIGRID,
        "pyslowfast/ssv2-multigrid",
        "SSv2/SLOWFAST_16x8_R50_multigrid",
        _SSV2.replace(size=224, test_crop=224),
        scores=(63.5, 88.7),
        note=f"{_MULTIGRID_NOTE} Scored on the left (or top) crop of 224 pixels. The first published config "
        "did not turn OpenCV's BGR frames into RGB; the present one does.",
    ),
    _row(
        _R50_16X8,
        "pyslowfast/charades",
        "Charades/SLOWFAST_16x8_R50",
        _CHARADES,
        mean_ap=38.9,
        note=_CHARADES_NOTE,
    ),
    _row(
        _R50_16X8_MULTIGRID,
        "pyslowfast/charades-multigrid",
        "Charades/SLOWFAST_16x8_R50_multigrid",
        _CHARADES,
        mean_ap=38.6,
        note=f"{_MULTIGRID_NOTE} {_CHARADES_NOTE}",
    ),
    _row(
        _PTV_R50_4X16,
        "pytorchvideo/k400",
        "Kinetics/pytorchvideo/SLOWFAST_4x16_R50",
        _PTV_KINETICS,
        scores=(75.34, 91.89),
        note="The publisher's own hub entry points don't offer it.",
    ),
    _row(
        _PTV_R50_8X8,
        "pytorchvideo/k400",
        "Kinetics/pytorchvideo/SLOWFAST_8x8_R50",
        _PTV_KINETICS,
        scores=(76.94, 92.69),
        note="The publisher's hub calls it slowfast_r50, and says 76.4 in its docstring.",
    ),
    _row(
        _PTV_R101_8X8,
        "pytorchvideo/k400",
        "Kinetics/pytorchvideo/SLOWFAST_8x8_R101",
        _PTV_KINETICS,
        scores=(77.90, 93.27),
        note="The publisher's hub calls it slowfast_r101.",
    ),
    _row(
        _PTV_R101_50_50_16X8,
        "pytorchvideo/k400",
        "Kinetics/pytorchvideo/SLOWFAST_16x8_R101_50_50",
        _PTV_KINETICS.replace(num_frames=64, jitter=(256, 360)),
        scores=(78.70, 93.61),
        note="The publisher's hub calls it slowfast_16x8_r101_50_50.",
    ),
    _row(
        _PTV_R50_8X8,
        "pytorchvideo/ssv2",
        "SSv2/pytorchvideo/SLOWFAST_8x8_R50",
        _PTV_SSV2,
        scores=(61.68, 86.92),
    ),
    _row(
        _PTV_R50_8X8,
        "pytorchvideo/charades",
        "Charades/pytorchvideo/SLOWFAST_8x8_R50",
        _PTV_CHARADES,
        mean_ap=37.24,
    ),
)
"""All rows of both publishers."""
