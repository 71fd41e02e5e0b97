"""Every row of the catalog: its schema, and the facts that a wrong copy would get wrong."""

import math
import re
from typing import get_args

import pytest

from slowfast_zoo.weights.catalog import detection as rows_detection
from slowfast_zoo.weights.catalog import get_weights, list_weights
from slowfast_zoo.weights.catalog import openmmlab as rows_openmmlab
from slowfast_zoo.weights.catalog.entry import Dialect, FileKind, WeightEntry
from slowfast_zoo.weights.checkpoint.dialects import get_table
from slowfast_zoo.weights.checkpoint.layers import state_shapes

PUBLISHED = [row for row in list_weights() if row.urls]  # what ships in the package: test_embedded.py
ROWS = [row for row in PUBLISHED if row.model_spec.roi is None]
PERSONS = [row for row in PUBLISHED if row.model_spec.roi is not None]
each_published = pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row.model}-{row.tag}")
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.model}-{row.tag}")
each_of_persons = pytest.mark.parametrize("row", PERSONS, ids=lambda row: f"{row.model}-{row.tag}")

# https://github.com/open-mmlab/mmaction2/blob/v0.21.0/configs/recognition/slowfast/README.md:
# config, resolution, gpus, slow + fast backbone, top-1, top-5, videos per second, memory, hash of the file.
PAGE = """
slowfast_r50_4x16x1_256e_kinetics400_rgb       short-side-256 8x4 50+50   74.75 91.73 -   6203  145f1097
slowfast_r50_video_4x16x1_256e_kinetics400_rgb short-side-256 8   50+50   73.95 91.50 -   6203  f85b90c5
slowfast_r50_4x16x1_256e_kinetics400_rgb       short-side-320 8x2 50+50   76.0  92.54 1.6 6203  04e43ed4
slowfast_prebn_r50_4x16x1_256e_kinetics400_rgb short-side-320 8x2 50+50   76.34 92.67 -   6203  bb725050
slowfast_r50_8x8x1_256e_kinetics400_rgb        short-side-320 8x3 50+50   76.94 92.8  1.3 9062  73547d2b
slowfast_r101_r50_4x16x1_256e_kinetics400_rgb  short-side-256 8x1 101+50  76.69 93.07 -   16628 d8b58813
slowfast_r101_8x8x1_256e_kinetics400_rgb       short-side-256 8x4 101+101 77.90 93.51 -   25994 0dd54025
slowfast_r152_r50_4x16x1_256e_kinetics400_rgb  short-side-256 8x1 152+50  77.13 93.20 -   10077 bdeb6b87
slowfast_r50_16x8x1_22e_sthv1_rgb              height-100     8   50+50   49.67 79.00 -   9293  aaaf9279
"""

# Number of rows, dialects, frame rules of the Kinetics rows, and head of each publisher.
PUBLISHERS = {
    "mmaction2": (17, {"openmmlab"}, "openmmlab-0.x", "strided", "global"),
    "mmaction2-1x": (5, {"openmmlab"}, "openmmlab-1.x", "strided", "global"),
    "pyslowfast": (8, {"pyslowfast", "caffe2"}, "pyslowfast-stamps", "linspace", "window_probs"),
    "pytorchvideo": (6, {"pytorchvideo"}, "pytorchvideo-0.1", "linspace", "window_logits"),
    "gluoncv": (4, {"gluoncv"}, "gluoncv", "strided", "global"),
}
DATA = {
    "kinetics400": ("Kinetics-400", 400),
    "something_something_v1": ("Something-Something V1", 174),
    "something_something_v2": ("Something-Something V2", 174),
    "charades": ("Charades", 157),
    "ava": ("AVA 2.1", 80),
    "ava_16": ("AVA 2.1, 16 classes", 16),
    "multisports": ("MultiSports", 66),
}


def test_the_page_is_reproduced() -> None:
    lines = PAGE.strip().splitlines()
    assert len(lines) == len(rows_openmmlab.PAGE_ROWS) == 9
    for line, row in zip(lines, rows_openmmlab.PAGE_ROWS, strict=True):
        config, resolution, gpus, depths, top1, top5, speed, memory, digest = line.split()
        assert row.config_name == config
        assert row.stored_resolution == re.sub(r"-(\d)", r" \1", resolution)
        assert row.gpus == gpus
        assert f"{row.model_spec.depth}+{row.model_spec.fast_depth}" == depths
        assert (row.metrics.top1, row.metrics.top5) == (float(top1), float(top5))
        assert row.videos_per_second == (None if speed == "-" else float(speed))
        assert row.gpu_mem_mb == int(memory)
        assert row.digest == f"sha256-prefix:{digest}"
        assert row.filename.endswith(f"-{digest}.pth")
        assert row.urls[0].startswith("https://download.openmmlab.com/mmaction/recognition/slowfast/")
        assert (
            row.log_url and row.log_url.endswith(".log") and row.json_url and row.json_url.endswith(".json")
        )
        assert row.clip_spec.sampling == row.metrics.sampling == "openmmlab-0.x"
        assert not row.superseded
        assert get_weights(row.model, row.tag) is row


@each_published
def test_schema(row: WeightEntry) -> None:
    assert re.fullmatch(r"slowfast_r\d+(_r\d+|_50_50)?_\d+x\d+x1(_roi)?", row.model)
    persons = row.model_spec.roi is not None
    assert row.model.endswith("_roi") == persons == row.clip_spec.has_key_frames
    assert re.fullmatch(r"[a-z0-9-]+/[a-z0-9]+(-[a-z0-9]+)*(@[0-9a-f]{8})?", row.tag)
    assert ("@" in row.tag) == row.superseded
    assert row.urls and row.filename == row.urls[0].rpartition("/")[2]
    assert re.fullmatch(r"[\w.-]+\.(pth|pkl|pyth)", row.filename)
    for url in (*row.urls, row.source, row.log_url, row.json_url):
        assert url is None or re.fullmatch(r"https://[a-z0-9.-]+/[\w./-]+", url)
    assert row.digest is None or re.fullmatch(
        r"sha256:[0-9a-f]{64}|sha256-prefix:[0-9a-f]{8}|sha1:[0-9a-f]{40}", row.digest
    )
    if row.digest is not None:
        assert row.digest.partition(":")[2][:8] in row.filename
    assert row.file_kind in get_args(FileKind) and row.dialect in get_args(Dialect)
    assert row.license == "Apache-2.0"
    assert row.released is None or re.fullmatch(r"20\d\d-[01]\d-[0-3]\d", row.released)
    assert row.parameters and 30e6 < row.parameters < 93e6
    # OpenMMLab's pages give GPUs, memory and a log for every row of recognition; the others give none.
    openmmlab = row.publisher.startswith("mmaction2")
    assert (row.log_url is None) == (not openmmlab)
    if not persons:
        assert (row.gpus is None) == (row.gpu_mem_mb is None) == (not openmmlab)
    assert (row.json_url is None) == (row.publisher != "mmaction2")
    assert row.gpus is None or re.fullmatch(r"\d+(x\d)?", row.gpus)
    assert row.gpu_mem_mb is None or 5000 < row.gpu_mem_mb < 30000
    assert row.publisher != "mmaction2-1x" or persons or row.stored_resolution == "224x224"
    assert not row.note or (row.note == row.note.strip() and row.note.endswith("."))
    assert (row.hub_repo is None) == (row.hub_revision is None)
    assert row.training_data.replace("AVA 2.2", "AVA 2.1") == DATA[row.label_set][0]
    assert len(row.labels) == row.model_spec.num_classes == DATA[row.label_set][1]


@each_row
def test_metrics_belong_to_the_clip_spec(row: WeightEntry) -> None:
    metrics, clip = row.metrics, row.clip_spec
    assert metrics.views == (clip.clips, clip.crops)
    assert metrics.sampling == clip.sampling
    assert f"{clip.test_crop} pixels" in metrics.protocol and clip.sampling in metrics.protocol
    if row.label_set == "charades":
        assert metrics.top1 is None and metrics.top5 is None
        assert metrics.mean_ap and 30 < metrics.mean_ap < 40
    elif (row.publisher, row.label_set) == ("gluoncv", "something_something_v2"):
        assert metrics.top1 is None and "no accuracy" in row.note
    else:
        assert metrics.mean_ap is None
        assert metrics.top1 and 45 < metrics.top1 < 80
        assert (metrics.top5 is None) == (row.publisher == "gluoncv")
        assert metrics.top5 is None or metrics.top1 < metrics.top5 < 95


@each_row
def test_network_is_the_publishers(row: WeightEntry) -> None:
    spec = row.model_spec
    _, dialects, _, slow_sampling, head_pool = PUBLISHERS[row.publisher]
    assert row.dialect in dialects
    assert (row.file_kind == "caffe2") == (row.dialect == "caffe2")
    assert spec.slow_sampling == slow_sampling
    assert spec.head_pool == ("global" if row.tag.endswith("-multigrid") else head_pool)
    assert spec.head_window == (None if spec.head_pool == "global" else 7)
    assert spec.activation == ("sigmoid" if row.label_set == "charades" else "softmax")
    with_norm = row.publisher in ("pyslowfast", "pytorchvideo", "gluoncv") or re.search(
        r"steplr|multigrid", row.tag
    )
    assert spec.lateral_norm == bool(with_norm)
    assert spec.temporal_blocks == ((3, 4, 6, 3) if "_50_50_" in row.model else None)
    five_at_alpha_4 = row.tag.endswith("@ecd36535") or (
        spec.depth == 101 and row.publisher in ("pytorchvideo", "gluoncv")
    )
    assert spec.fusion_kernel == (5 if spec.alpha == 8 or five_at_alpha_4 else 7)
    assert (spec.beta_inv, spec.fusion_ratio, spec.base_width, spec.dropout) == (8, 2, 64, 0.5)


@each_row
def test_name_says_what_the_specs_say(row: WeightEntry) -> None:
    spec, clip = row.model_spec, row.clip_spec
    slow, fast, frames, stride = re.fullmatch(
        r"slowfast_r(\d+)(?:_r(\d+))?(?:_50_50)?_(\d+)x(\d+)x1", row.model
    ).groups()
    assert spec.depth == int(slow) and spec.fast_depth == int(fast or slow)
    assert spec.slow_frames == int(frames)
    assert spec.num_frames == clip.num_frames
    assert clip.frame_stride * spec.alpha == int(stride)
    assert clip.frame_stride == 2


@each_row
def test_clip_spec_is_the_publishers(row: WeightEntry) -> None:
    clip, data = row.clip_spec, row.label_set
    sampling = PUBLISHERS[row.publisher][2]
    openmmlab = row.publisher.startswith("mmaction2")
    facebook = row.publisher in ("pyslowfast", "pytorchvideo")
    if facebook and data != "kinetics400":
        sampling = "pyslowfast-charades" if data == "charades" else "pyslowfast-segments"
        if row.tag == "pytorchvideo/charades":
            sampling = "pytorchvideo-0.1"
    assert clip.sampling == sampling
    time_base = "frames"
    if facebook and data == "kinetics400":
        time_base = "fps-scaled" if row.publisher == "pyslowfast" else "seconds"
    assert (clip.time_base, clip.fps) == (time_base, None if time_base == "frames" else 30)
    assert (clip.mean[0] < 1) == (clip.pixel_range == "0-1") == (not openmmlab)
    assert (clip.mean == (0.45,) * 3 and clip.std == (0.225,) * 3) == facebook
    assert (clip.resize == "float-bilinear") == facebook
    assert clip.crop == 224
    small = row.tag in ("pyslowfast/k400-stepwise-multigrid", "pyslowfast/ssv2-multigrid")
    assert clip.test_crop == (224 if small else 256)
    assert clip.size == ((340, 256) if row.publisher == "gluoncv" else clip.test_crop)
    assert clip.crop_rule == (
        "three-crop" if openmmlab else "first" if row.tag.startswith("pyslowfast/ssv2") else "uniform"
    )
    assert clip.view_order == ("crop-major" if openmmlab else "clip-major")
    views = {
        "mmaction2/sthv1": (1, 1),
        "pyslowfast/ssv2": (1, 1),
        "pytorchvideo/ssv2": (1, 3),
        "gluoncv/ssv2": (2, 3),
    }
    assert (clip.clips, clip.crops) == views.get(row.tag.partition("-")[0], (10, 3))
    if data == "charades":
        assert clip.aggregate == "max-prob"
    else:
        assert clip.aggregate == ("mean-prob" if openmmlab else "sum-prob" if facebook else "mean-logit")
    assert (clip.approximate != "") == (row.publisher == "gluoncv" or (facebook and data == "kinetics400"))
    if data == "something_something_v1":
        assert clip.augmentation == "random-resized-crop-of-source"
    elif row.publisher == "pyslowfast" and data != "kinetics400":
        assert clip.augmentation == "inverse-short-side-jitter"
    else:
        assert clip.augmentation == ("random-resized-crop" if openmmlab else "short-side-jitter")
    assert clip.flip == (0 if facebook and data == "something_something_v2" else 0.5)


def test_counts() -> None:
    counts = {name: sum(row.publisher == name for row in ROWS) for name in PUBLISHERS}
    assert counts == {name: facts[0] for name, facts in PUBLISHERS.items()}
    assert sum(row.superseded for row in ROWS) == 5
    assert sum(row.model_spec.lateral_norm for row in ROWS if row.publisher.startswith("mmaction2")) == 4


# The publishers' pages, in the order of the rows' own list: hash, mAP, alpha, pool in time, the head's other
# parts, rows of the classifier in the file.
PERSONS_PAGE = """
6e7c704d 24.4  8 mean -       81
f4d209c9 25.4  8 mean context 81
ae225e97 25.5  4 mean -       81
b987b516 26.1  4 mean -       81
874e0845 26.4  4 max  -       81
345618cd 26.8  4 max  -       81
c6225546 37.85 8 mean -       17
49b07bf2 27.1  4 max  acrn    81
2be32625 27.8  4 max  acrn    81
5180ea3c 24.32 8 mean -       81
5bb4f6f2 25.34 8 mean context 81
39133ec7 25.80 4 mean -       81
d934a48f 25.90 4 mean -       81
13a9078e 26.41 4 max  -       81
dd59e26f 26.65 4 max  -       81
af666368 36.88 8 mean -       66
0dae1a90 27.65 4 mean acrn    81
66ec24a2 27.71 4 mean acrn    81
"""


def test_the_pages_of_networks_for_persons_are_reproduced() -> None:
    rows = [row for row in rows_detection.ROWS if row.dialect == "openmmlab"]
    for line, row in zip(PERSONS_PAGE.strip().splitlines(), rows, strict=True):
        digest, mean_ap, alpha, pool, part, columns = line.split()
        spec, roi = row.model_spec, row.model_spec.roi
        assert roi is not None and row.digest == f"sha256-prefix:{digest}"
        assert row.metrics.mean_ap == float(mean_ap) and spec.alpha == int(alpha)
        assert spec.fusion_kernel == (5 if spec.alpha == 8 else 7)
        assert roi.temporal_pool == pool and (roi.context, roi.acrn) == (part == "context", part == "acrn")
        assert get_table("openmmlab").rows_before(spec) + spec.num_classes == int(columns)
        assert "temporal-max" not in row.tag or pool == "max"
        assert row.urls[0].rpartition("/")[2].startswith(row.config_name)
    rest = [(row.publisher, row.metrics.mean_ap) for row in rows_detection.ROWS[len(rows) :]]
    assert rest == [("pyslowfast", 28.2), ("pyslowfast", 29.1), ("pyslowfast", 29.4), ("pytorchvideo", 24.67)]


@each_of_persons
def test_networks_for_persons(row: WeightEntry) -> None:
    spec, roi, clip = row.model_spec, row.model_spec.roi, row.clip_spec
    openmmlab = row.dialect == "openmmlab"
    assert roi is not None and spec.stage4_stride == (1, 1)
    assert spec.stage4_dilation == ((1, 1) if openmmlab else (2, 2))
    assert (roi.output_size, roi.aligned, roi.sampling_ratio) == (
        (8, True, 0) if openmmlab else (7, False, 0)
    )
    assert spec.lateral_norm == (not openmmlab)
    assert spec.slow_sampling == ("strided" if openmmlab else "linspace")
    assert spec.non_local == ((6, 13, 20) if spec.depth == 101 else ())
    assert spec.temporal_blocks == ((3, 4, 6, 3) if spec.depth == 101 else None)
    assert spec.activation == ("softmax" if row.label_set == "multisports" else "sigmoid")
    frames, stride = map(int, re.findall(r"(\d+)x(\d+)x1_roi", row.model)[0])
    assert (spec.slow_frames, clip.frame_stride * spec.alpha) == (frames, stride)
    assert clip.num_frames == spec.num_frames and clip.crop_rule == "whole" and clip.size == 256
    assert clip.box_rule == ("openmmlab" if openmmlab else "pyslowfast")
    rule = {"mmaction2": "openmmlab-0.x-key", "mmaction2-1x": "openmmlab-1.x-key"}.get(row.publisher)
    assert clip.sampling == (
        "openmmlab-video-key" if row.label_set == "multisports" else rule or "pyslowfast-key"
    )
    assert clip.fps == (None if row.label_set == "multisports" else 30)
    assert (clip.mean == (0.45,) * 3) == (clip.pixel_range == "0-1") == (not openmmlab)
    assert (row.metrics.top1, row.metrics.top5, row.metrics.views) == (None, None, (1, 1))
    assert row.metrics.sampling == clip.sampling and clip.sampling in row.metrics.protocol
    assert ("acrn" in row.tag) == roi.acrn and ("context" in row.tag) == roi.context
    ours = sum(math.prod(shape) for name, shape in state_shapes(spec).items() if "running" not in name)
    ours -= sum(name.endswith("num_batches_tracked") for name in state_shapes(spec))
    background = get_table(row.dialect).rows_before(spec) * (spec.num_features + 1)
    assert row.parameters == ours + background


def test_avas_classes() -> None:
    data = get_weights("slowfast_r50_8x8x1_roi").data
    names = dict(enumerate(data.labels, start=1))
    assert (names[1], names[80]) == ("bend/bow (at the waist)", "watch (a person)")
    assert len(data.scored) == 60
    assert sum(index + 1 for index in data.scored) == 2516 and {1, 17} & set(data.scored) == set()
    few = get_weights("slowfast_r50_4x16x1_roi", "mmaction2/ava21-20e-16")
    wanted = (3, 6, 10, 27, 29, 38, 41, 48, 51, 53, 54, 59, 61, 64, 70, 72)
    assert few.labels == tuple(names[number] for number in wanted)
    assert few.data.scored == ()
