"""Every row of the catalog: its schema, and the facts that a wrong copy would get wrong."""

import re
from typing import get_args

import pytest

from slowfast_zoo.weights.catalog import get_weights, list_weights
from slowfast_zoo.weights.catalog import openmmlab as rows_openmmlab
from slowfast_zoo.weights.catalog.entry import Dialect, FileKind, WeightEntry

ROWS = [row for row in list_weights() if row.urls]  # what ships in the package: test_embedded.py
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.model}-{row.tag}")

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


@each_row
def test_schema(row: WeightEntry) -> None:
    assert re.fullmatch(r"slowfast_r\d+(_r\d+|_50_50)?_\d+x\d+x1", row.model)
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
    assert row.parameters and 30e6 < row.parameters < 90e6
    # OpenMMLab's pages give GPUs, memory and a log for every row; the others give none.
    openmmlab = row.publisher.startswith("mmaction2")
    assert (row.gpus is None) == (row.gpu_mem_mb is None) == (row.log_url is None) == (not openmmlab)
    assert (row.json_url is None) == (row.publisher != "mmaction2")
    assert row.gpus is None or re.fullmatch(r"\d+(x\d)?", row.gpus)
    assert row.gpu_mem_mb is None or 5000 < row.gpu_mem_mb < 30000
    assert row.publisher != "mmaction2-1x" or row.stored_resolution == "224x224"
    assert not row.note or (row.note == row.note.strip() and row.note.endswith("."))
    assert (row.hub_repo is None) == (row.hub_revision is None)
    assert row.training_data == DATA[row.label_set][0]
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
