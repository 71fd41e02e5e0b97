"""The exact resize: bands, threads, pictures that keep their size; test_transforms has OpenCV's results."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from slowfast_zoo.video.transforms import resize
from slowfast_zoo.video.transforms.resize import Box, Bytes, resize_bytes

pytestmark = pytest.mark.usefixtures("both_resizes")


def noise(height: int, width: int, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_definition(picture: Bytes, height: int, width: int) -> Bytes:
    """OpenCV's fixed-point formula, value by value in 64 bits."""
    left, right, left_weight, right_weight = resize.taps(picture.shape[1], width, 0, width, blend_edges=False)
    upper, lower, upper_weight, lower_weight = resize.taps(
        picture.shape[0], height, 0, height, blend_edges=True
    )
    wide = picture.astype(np.int64)
    mixed = wide[:, left] * left_weight[:, None] + wide[:, right] * right_weight[:, None] >> 4
    above = mixed[upper] * upper_weight[:, None, None] >> 16
    below = mixed[lower] * lower_weight[:, None, None] >> 16
    return (above + below + 2 >> 2).astype(np.uint8)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((90, 70), (33, 91)),
        ((40, 64), (75, 31)),
        ((50, 50), (49, 51)),
        ((3, 200), (40, 7)),
        ((900, 20), (257, 23)),
        ((300, 9), (700, 11)),
        ((513, 8), (512, 8)),
    ],
    ids=["to a third", "enlarged", "nearly the same", "squeezed", "a band and a row", "three bands", "two"],
)
def test_bands_of_any_height_give_the_formula(source: tuple[int, int], target: tuple[int, int]) -> None:
    for picture in (noise(*source), np.full((*source, 3), 255, np.uint8), noise(*source) // 128 * 255):
        rows = resize_bytes(picture, *target)
        assert np.array_equal(rows.transpose(0, 2, 1), by_definition(picture, *target))


def test_two_weights_are_one_together() -> None:
    for source in (1, 2, 3, 240, 719, 720, 1080, 1280, 1920, 3840, 4097):
        for target in (1, 2, 3, 224, 256, 341, 455, 640, 1706, 4096, 8000):
            _, _, left, right = resize.taps(source, target, 0, target, blend_edges=False)
            assert np.array_equal(left + right, np.full(target, 2048)), (source, target)


@pytest.mark.parametrize(("source", "target"), [(106, 9523), (2886, 10811)])
def test_weights_that_are_not_one_together(source: int, target: int) -> None:
    _, _, left, right = resize.taps(source, target, 0, target, blend_edges=False)
    assert (left + right != 2048).any()
    for seed in range(40):  # few columns, and most of their values round alike
        picture = noise(2, source, seed)
        rows = resize_bytes(picture, 3, target)
        assert np.array_equal(rows.transpose(0, 2, 1), by_definition(picture, 3, target))


def test_the_same_size_is_a_copy() -> None:
    picture = noise(20, 30)
    rows = resize_bytes(picture, 20, 30)
    assert np.array_equal(rows.transpose(0, 2, 1), picture)
    assert rows.flags.c_contiguous and not np.shares_memory(rows, picture)
    part = resize_bytes(picture, 20, 30, Box(4, 2, 11, 9))
    assert np.array_equal(part.transpose(0, 2, 1), picture[2:11, 4:15])
    again = resize_bytes(rows, 20, 30, Box(4, 2, 11, 9), planar=True)
    assert np.array_equal(again, part) and not np.shares_memory(again, rows)


def test_threads_and_sizes_do_not_disturb_each_other() -> None:
    cases = [(noise(60 + seed, 90 - seed, seed), 25 + seed, 40 + 3 * seed) for seed in range(8)]
    expected = [by_definition(*case) for case in cases]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda case: resize_bytes(*case), cases * 10))
    for number, rows in enumerate(results):
        assert np.array_equal(rows.transpose(0, 2, 1), expected[number % len(cases)])
