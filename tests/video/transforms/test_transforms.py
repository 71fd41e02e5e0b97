"""Resize, crops, normalizing and the two public transforms, against the publishers' arithmetic."""

from __future__ import annotations

import math
import pickle
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from slowfast_zoo.errors import InputError
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.transforms.functional import FramePipeline, crop_boxes, normalize, resized_size
from slowfast_zoo.video.transforms.resize import Box, Bytes, resize_bytes
from slowfast_zoo.video.transforms.transforms import TrainTransform, eval_transform, train_transform

PYSLOWFAST = ClipSpec(
    resize="float-bilinear",
    crop_rule="uniform",
    mean=(0.45, 0.45, 0.45),
    std=(0.225, 0.225, 0.225),
    pixel_range="0-1",
    augmentation="short-side-jitter",
)
SMALL = ClipSpec(size=24, crop=16, test_crop=20, num_frames=4)
SMALL_JITTER = PYSLOWFAST.replace(size=24, crop=16, test_crop=20, jitter=(18, 30), num_frames=4)

# (width, height, new width, new height, picture) -> CRC-32 of what OpenCV 5.0.0's
# resize(..., INTER_LINEAR) makes of ``picture``, as (height, width, 3) bytes.
OPENCV_CRCS = {
    (320, 240, 341, 256, "noise"): 1058834008,
    (320, 240, 341, 256, "ramp"): 3208995910,
    (1280, 720, 455, 256, "noise"): 3841577318,
    (1280, 720, 455, 256, "ramp"): 1790888291,
    (240, 426, 256, 454, "noise"): 311282612,
    (240, 426, 256, 454, "ramp"): 2391590315,
    (176, 144, 313, 256, "noise"): 2137887817,
    (176, 144, 313, 256, "ramp"): 2696574796,
    (333, 500, 256, 384, "noise"): 3395168415,
    (333, 500, 256, 384, "ramp"): 4232520994,
    (1, 1, 5, 7, "noise"): 3223860617,
    (1, 1, 5, 7, "ramp"): 2030357974,
    (1, 40, 3, 20, "noise"): 3987320050,
    (1, 40, 3, 20, "ramp"): 3301886455,
    (40, 1, 20, 3, "noise"): 2140876515,
    (40, 1, 20, 3, "ramp"): 2073364056,
    (64, 48, 1, 1, "noise"): 4284193556,
    (64, 48, 1, 1, "ramp"): 4025728577,
    (100, 80, 50, 40, "noise"): 946870590,
    (100, 80, 50, 40, "ramp"): 367394056,
    (50, 40, 100, 80, "noise"): 1437238840,
    (50, 40, 100, 80, "ramp"): 1145903352,
    (7, 5, 224, 224, "noise"): 3713161891,
    (7, 5, 224, 224, "ramp"): 1592505967,
    (256, 256, 256, 256, "noise"): 139446802,
    (256, 256, 256, 256, "ramp"): 2348996695,
}


def picture(width: int, height: int, kind: str = "noise") -> Bytes:
    if kind == "noise":
        return np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    channels = [x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1), (x * 7 + y * 13) % 256]
    return np.stack(channels, axis=-1).astype(np.uint8)


def film(frames: int, height: int, width: int) -> Bytes:
    return np.random.default_rng(frames).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


@pytest.mark.usefixtures("both_resizes")
@pytest.mark.parametrize(("case", "expected"), OPENCV_CRCS.items(), ids=str)
def test_resize_equals_opencv(case: tuple[int, int, int, int, str], expected: int) -> None:
    width, height, new_width, new_height, kind = case
    rows = resize_bytes(picture(width, height, kind), new_height, new_width)
    assert rows.shape == (new_height, 3, new_width)
    assert zlib.crc32(rows.transpose(0, 2, 1).tobytes()) == expected


@pytest.mark.usefixtures("both_resizes")
def test_resize_equals_installed_opencv_on_random_sizes() -> None:
    cv2 = pytest.importorskip("cv2", reason="the checksums above hold OpenCV's results; this draws more")
    rng = np.random.default_rng(2024)
    for case in range(200):
        height, width, new_height, new_width = (int(side) for side in rng.integers(1, 120, 4))
        source = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        expected = cv2.resize(source, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
        rows = resize_bytes(source, new_height, new_width)
        assert np.array_equal(rows.transpose(0, 2, 1), expected), (case, source.shape, expected.shape)


@pytest.mark.usefixtures("both_resizes")
def test_part_of_a_resize_is_the_whole_cut() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        height, width, new_height, new_width = (int(side) for side in rng.integers(2, 90, 4))
        source = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        left, top = int(rng.integers(0, new_width)), int(rng.integers(0, new_height))
        box = Box(
            left, top, int(rng.integers(1, new_width - left + 1)), int(rng.integers(1, new_height - top + 1))
        )
        whole = resize_bytes(source, new_height, new_width)
        part = resize_bytes(source, new_height, new_width, box)
        assert np.array_equal(part, whole[top : top + box.height, :, left : left + box.width])
        planar = resize_bytes(
            np.ascontiguousarray(source.transpose(0, 2, 1)), new_height, new_width, planar=True
        )
        assert np.array_equal(planar, whole)


@pytest.mark.usefixtures("both_resizes")
def test_resize_takes_any_strides_and_channels() -> None:
    source = picture(60, 40)
    assert np.array_equal(
        resize_bytes(source[::-1, ::2], 30, 30), resize_bytes(source[::-1, ::2].copy(), 30, 30)
    )
    gray = resize_bytes(source[..., :1], 50, 70)
    assert np.array_equal(gray[:, 0], resize_bytes(source, 50, 70)[:, 0])
    five = resize_bytes(np.concatenate([source, source[..., :2]], axis=2), 50, 70)
    assert np.array_equal(five, resize_bytes(source, 50, 70)[:, [0, 1, 2, 0, 1]])


@pytest.mark.parametrize(
    ("height", "width", "openmmlab", "pyslowfast"),
    [
        (240, 320, (256, 341), (256, 341)),
        (256, 340, (256, 340), (256, 340)),
        (720, 1280, (256, 455), (256, 455)),
        (426, 240, (454, 256), (454, 256)),
        (500, 333, (384, 256), (384, 256)),
        (144, 176, (256, 313), (256, 312)),
        (256, 256, (256, 256), (256, 256)),
    ],
)
def test_resized_size(
    height: int, width: int, openmmlab: tuple[int, int], pyslowfast: tuple[int, int]
) -> None:
    assert resized_size(ClipSpec(), height, width) == openmmlab
    assert resized_size(PYSLOWFAST, height, width) == pyslowfast
    assert resized_size(ClipSpec(size=(340, 256)), height, width) == (256, 340)


def test_floats_are_resized_whole_and_so_have_a_bound() -> None:
    assert resized_size(PYSLOWFAST, 4320, 8192) == (256, 485)
    for height, width, size in ((2, 3000, "384000x256"), (3000, 2, "256x384000")):
        with pytest.raises(
            InputError, match=f"become {size}, too large to be resized whole; cut the picture"
        ):
            FramePipeline(PYSLOWFAST, height, width, crop=224, crops=1)
        with pytest.raises(InputError, match="too large to be resized whole"):
            TrainTransform(PYSLOWFAST, {}).draw(height, width)
        FramePipeline(ClipSpec(), height, width, crop=224, crops=1)


def test_three_crops() -> None:
    def places(rule: Any, height: int, width: int, crops: int = 3) -> list[tuple[int, int]]:
        boxes = crop_boxes(ClipSpec(crop_rule=rule), height, width, 256, crops)
        return [(box.left, box.top) for box in boxes]

    # 341 - 256 = 85 is odd: OpenMMLab's right crop misses the last column.
    assert places("three-crop", 256, 341) == [(0, 0), (84, 0), (42, 0)]
    assert places("three-crop", 341, 256) == [(0, 0), (0, 84), (0, 42)]
    assert places("uniform", 256, 341) == [(0, 0), (43, 0), (85, 0)]
    assert places("uniform", 341, 256) == [(0, 0), (0, 43), (0, 85)]
    assert places("first", 256, 341) == [(0, 0), (43, 0), (85, 0)]
    assert places("three-crop", 256, 341, 1) == [(42, 0)]
    assert places("uniform", 256, 341, 1) == [(43, 0)]
    assert places("first", 256, 341, 1) == [(0, 0)]
    assert crop_boxes(ClipSpec(), 256, 341, 224, 1) == (Box(58, 16, 224, 224),)
    with pytest.raises(InputError, match="crops is 2"):
        places("uniform", 256, 341, 2)


def test_normalize_is_the_publishers_to_the_bit() -> None:
    values = torch.arange(256, dtype=torch.uint8).expand(3, 256)
    spec = ClipSpec()
    mmcv = [
        (np.arange(256).astype(np.float32) - np.float32(mean)) / np.float32(std)
        for mean, std in zip(spec.mean, spec.std, strict=True)
    ]
    assert np.array_equal(normalize(values, spec).numpy(), np.stack(mmcv))
    imagenet = spec.replace(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), pixel_range="0-1")
    mean, std = torch.tensor(imagenet.mean)[:, None], torch.tensor(imagenet.std)[:, None]
    assert torch.equal(normalize(values, imagenet), (values.float() / 255 - mean) / std)


@pytest.mark.parametrize(("height", "width"), [(240, 320), (320, 240), (256, 300), (100, 133), (270, 480)])
def test_float_path_is_pyslowfasts_to_the_bit(height: int, width: int) -> None:
    frames = film(4, height, width)
    clip = torch.from_numpy(frames).float() / 255.0
    clip = ((clip - torch.tensor([0.45] * 3)) / torch.tensor([0.225] * 3)).permute(3, 0, 1, 2)
    if width < height:
        new_height, new_width = math.floor(height / width * 256), 256
    else:
        new_height, new_width = 256, math.floor(width / height * 256)
    if min(height, width) != 256:
        clip = functional.interpolate(
            clip, size=(new_height, new_width), mode="bilinear", align_corners=False
        )
    pipeline = FramePipeline(PYSLOWFAST, height, width, crop=256, crops=3)
    prepared = pipeline.prepare_all(frames, len(frames))
    for number in range(3):
        top, left = math.ceil((new_height - 256) / 2), math.ceil((new_width - 256) / 2)
        if new_height > new_width:
            top = (0, top, new_height - 256)[number]
        else:
            left = (0, left, new_width - 256)[number]
        expected = clip[:, :, top : top + 256, left : left + 256]
        assert torch.equal(pipeline.view(prepared, number), expected)


@pytest.mark.parametrize("spec", [SMALL, SMALL_JITTER], ids=["bytes", "floats"])
def test_neither_inference_mode_nor_a_default_device_matters(spec: ClipSpec) -> None:
    frames = film(4, 40, 60)
    expected = eval_transform(spec)(frames)
    with torch.inference_mode():
        assert torch.equal(eval_transform(spec)(frames), expected)
    pipeline = FramePipeline(spec, 40, 60, crop=16, crops=1)
    with torch.device("meta"):
        assert pipeline.prepare_all(frames, 4).device.type == "cpu"


@pytest.mark.parametrize("spec", [SMALL, SMALL_JITTER], ids=["bytes", "floats"])
def test_float_results_do_not_depend_on_threads(spec: ClipSpec) -> None:
    frames = film(4, 40, 60)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            results.append(eval_transform(spec)(frames))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_eval_transform_is_resize_center_crop_normalize() -> None:
    frames = film(4, 36, 48)
    view = eval_transform(SMALL)(frames)
    assert view.shape == (3, 4, 20, 20) and view.dtype == torch.float32 and view.is_contiguous()
    rows = np.stack([resize_bytes(frame, 24, 32)[2:22, :, 6:26] for frame in frames])
    assert torch.equal(view, normalize(torch.from_numpy(rows).permute(2, 0, 1, 3), SMALL))
    assert eval_transform(SMALL, crop=16)(frames).shape == (3, 4, 16, 16)
    assert torch.equal(eval_transform(SMALL)(torch.from_numpy(frames)), view)


@pytest.mark.parametrize("resize", ["uint8-bilinear", "float-bilinear"])
@pytest.mark.parametrize(
    "augmentation",
    [
        "random-resized-crop",
        "random-resized-crop-of-source",
        "short-side-jitter",
        "inverse-short-side-jitter",
    ],
)
def test_train_transform(augmentation: Any, resize: Any) -> None:
    spec = SMALL_JITTER.replace(augmentation=augmentation, resize=resize)
    transform = train_transform(spec)
    frames = film(4, 36, 48)
    first = transform(frames, torch.Generator().manual_seed(1))
    assert first.shape == (3, 4, 16, 16) and first.dtype == torch.float32
    assert torch.equal(first, transform(frames, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, transform(frames, torch.Generator().manual_seed(2)))
    torch.manual_seed(3)
    drawn = transform(frames)
    torch.manual_seed(3)
    assert torch.equal(drawn, pickle.loads(pickle.dumps(transform))(frames))


def test_all_frames_of_a_training_clip_get_the_same_crop_and_flip() -> None:
    still = np.repeat(film(1, 36, 48), 4, axis=0)
    for spec in (SMALL, SMALL_JITTER):
        clip = train_transform(spec)(still)
        assert torch.equal(clip, clip[:, :1].expand_as(clip))


def test_random_resized_crop_draws_area_and_aspect_of_the_publisher() -> None:
    transform, generator = train_transform(SMALL.replace(size=240)), torch.Generator().manual_seed(0)
    views = [transform.draw(480, 480, generator) for _ in range(1500)]
    assert {(view.height, view.width) for view in views} == {(240, 240)}
    boxes = np.array([view.box for view in views])
    left, top, width, height = boxes.T
    assert left.min() == 0 and top.min() == 0
    assert (left + width).max() == 240 and (top + height).max() == 240
    area, aspect = width * height / (240 * 240), width / height
    assert 0.075 < area.min() < 0.1 and area.max() <= 1
    assert aspect.min() > 0.72 and aspect.max() < 1.4
    assert abs(np.log(aspect).mean()) < 0.03
    assert 0.46 < np.mean([view.flip for view in views]) < 0.54


def test_random_resized_crop_keeps_the_smallest_area() -> None:
    for augmentation in ("random-resized-crop", "random-resized-crop-of-source"):
        spec = SMALL.replace(size=240, augmentation=augmentation, smallest_area=0.6)
        transform, generator = train_transform(spec), torch.Generator().manual_seed(0)
        boxes = [transform.draw(240, 240, generator).box for _ in range(500)]
        areas = [box.width * box.height / 240**2 for box in boxes]
        assert 0.59 < min(areas) < 0.63
        assert max(areas) <= 1


def test_random_resized_crop_falls_back_to_the_middle_square() -> None:
    box = train_transform(SMALL).draw(24, 2400, torch.Generator().manual_seed(0)).box
    assert box == Box((2400 - 24) // 2, 0, 24, 24)


def test_crop_of_source_is_drawn_in_the_source() -> None:
    transform = train_transform(SMALL.replace(augmentation="random-resized-crop-of-source"))
    view = transform.draw(100, 176, torch.Generator().manual_seed(0))
    assert (view.height, view.width) == (100, 176)


def test_jitter_is_uniform_in_size_or_in_its_inverse() -> None:
    shorts = {}
    for augmentation in ("short-side-jitter", "inverse-short-side-jitter"):
        transform = train_transform(PYSLOWFAST.replace(augmentation=augmentation, jitter=(256, 512)))
        generator = torch.Generator().manual_seed(0)
        views = [transform.draw(240, 320, generator) for _ in range(1500)]
        assert all(view.box[2:] == (224, 224) for view in views)
        assert max(view.box.left + 224 - view.width for view in views) < 0
        shorts[augmentation] = np.array([view.height for view in views])
    uniform, inverse = shorts["short-side-jitter"], shorts["inverse-short-side-jitter"]
    assert uniform.min() < 260 and uniform.max() > 508
    assert abs(uniform.mean() - 384) < 6
    assert abs((1 / inverse).mean() - (1 / 256 + 1 / 512) / 2) < 3e-5


def test_flip_changes_left_and_right_and_the_label() -> None:
    spec = SMALL.replace(flip=1.0, augmentation="short-side-jitter", jitter=(24, 24))
    frames = film(4, 24, 24)
    flipping = train_transform(spec.replace(crop=20), flip_labels={2: 4, 4: 2})
    still = train_transform(spec.replace(crop=20, flip=0.0), flip_labels={2: 4, 4: 2})
    first, second = (torch.Generator().manual_seed(0) for _ in range(2))
    flipped, label = flipping.with_label(frames, 2, first)
    plain, same = still.with_label(frames, 2, second)
    assert torch.equal(flipped, plain.flip(-1))
    assert (label, same) == (4, 2)
    assert flipping.with_label(frames, 3)[1] == 3
    for given in (torch.tensor(2), np.int64(2)):
        assert flipping.with_label(frames, given)[1] == 4  # type: ignore[arg-type]
    several = torch.tensor([1.0, 0.0])
    for wrong in (several, np.array([1, 0]), [1, 0]):
        with pytest.raises(InputError, match=r"The label is .*; accepted: one class, as flip_labels has it"):
            flipping.with_label(frames, wrong)  # type: ignore[arg-type]
    assert train_transform(spec.replace(crop=20)).with_label(frames, several)[1] is several  # type: ignore[arg-type]
    with pytest.raises(InputError, match="with_label"):
        flipping(frames)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"left": "right", "right": "left"}, {"left": "right", "right": "left", "up": "up"}),
        ({0: 5}, {0: 5, 5: 5, 1.5: 1.5}),  # the mirror of a text is no text, whose mirror is none either
        ({torch.tensor(0): np.int64(1), np.int32(1): torch.tensor(0)}, {0: 1, 1: 0, np.int8(1): 0}),
    ],
)
def test_flipped_labels_may_be_texts_and_have_one_direction(labels: Any, expected: dict[Any, Any]) -> None:
    spec = SMALL.replace(flip=1.0, augmentation="short-side-jitter", jitter=(24, 24), crop=20)
    transform = train_transform(spec, flip_labels=labels)
    for label, flipped in expected.items():
        assert transform.with_label(film(4, 24, 24), label)[1] == flipped
    assert all(type(label) in (int, str) for pair in transform.flip_labels.items() for label in pair)


@pytest.mark.parametrize("pairs", [[(0, 1)], 3, "left"])
def test_classes_in_the_mirror_are_a_dict(pairs: Any) -> None:
    with pytest.raises(InputError, match=r"flip_labels is .*; accepted: a dict, such as \{0: 1, 1: 0\}"):
        train_transform(ClipSpec(), flip_labels=pairs)


@pytest.mark.parametrize("generator", [5, np.random.default_rng(5)])
def test_chance_comes_from_a_generator_of_torchs(generator: Any) -> None:
    with pytest.raises(InputError, match=r"generator is .*; accepted: a torch\.Generator, such as"):
        train_transform(SMALL)(film(4, 30, 40), generator)


class Films(Dataset[torch.Tensor]):
    def __init__(self) -> None:
        self.transform = train_transform(SMALL)

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(np.repeat(film(1, 30, 40), 2, axis=0))


def test_data_loader_workers_draw_differently_and_reproducibly() -> None:
    def epoch() -> torch.Tensor:
        loader = DataLoader(Films(), num_workers=2, generator=torch.Generator().manual_seed(5))
        return torch.cat(list(loader))

    clips = epoch()
    assert torch.equal(clips, epoch())
    assert len({clip.numpy().tobytes() for clip in clips}) == 6


def test_transforms_show_what_they_do() -> None:
    text = repr(eval_transform(ClipSpec()))
    assert "short side 256" in text and "center crop 256x256" in text and "uint8-bilinear" in text
    assert "left crop" in repr(eval_transform(ClipSpec(crop_rule="first")))
    whole = ClipSpec(crop_rule="whole", crops=1)
    assert "uint8-bilinear; whole picture; mean" in repr(eval_transform(whole))
    with pytest.raises(InputError, match=r"whole pictures .* leave crop= out"):
        eval_transform(whole, crop=112)
    assert "short-side-jitter 256-320" in repr(train_transform(PYSLOWFAST))
    assert "2 labels change" in repr(train_transform(ClipSpec(), flip_labels={2: 4, 4: 2}))


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (np.zeros((2, 30, 40, 3), np.float32), "Frames are float32"),
        (torch.zeros(2, 30, 40, 3), "Frames are float32"),
        (torch.zeros(2, 30, 40, 3, dtype=torch.bfloat16), "Frames are bfloat16"),
        ([[1]], "Frames are list.*numpy.stack makes one array"),
        (np.zeros((2, 3, 30, 40), np.uint8), r"Channels come last: frames\.permute\(0, 2, 3, 1\)"),
        (np.zeros((30, 40, 3), np.uint8), r"shape \(30, 40, 3\)"),
        (np.zeros((2, 3, 30, 40), np.uint8), r"shape \(2, 3, 30, 40\)"),
        (np.zeros((0, 30, 40, 3), np.uint8), r"shape \(0, 30, 40, 3\)"),
        (np.zeros((2, 30, 0, 3), np.uint8), r"shape \(2, 30, 0, 3\)"),
    ],
)
@pytest.mark.parametrize("make", [eval_transform, train_transform])
def test_wrong_frames(make: Any, frames: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make(SMALL)(frames)


@pytest.mark.parametrize("make", [eval_transform, train_transform])
def test_a_model_is_no_clip_spec(make: Any) -> None:
    with pytest.raises(InputError, match=r"is of type Linear; accepted: a ClipSpec, as model\.clip_spec is"):
        make(torch.nn.Linear(1, 1))


def test_wrong_crop_and_jitter() -> None:
    for crop in (0, 25, 2.0, True):
        with pytest.raises(InputError, match="accepted: 1 to 24"):
            eval_transform(SMALL, crop=crop)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"give jitter=\(224"):
        TrainTransform(PYSLOWFAST.replace(jitter=(200, 320)), {})
