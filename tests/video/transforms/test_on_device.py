"""Resizing where the network computes: the bytes of the processor's resize, and the same views.

The processor is the device here; tests/gpu repeats it on a GPU.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from slowfast_zoo.errors import InputError
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.clips import read_clips
from slowfast_zoo.video.transforms import functional, on_device
from slowfast_zoo.video.transforms.on_device import resize_on_device
from slowfast_zoo.video.transforms.resize import Box, resize_bytes

CPU = torch.device("cpu")
SIZES = [
    ((240, 320), (256, 341), None),
    ((720, 1280), (256, 455), Box(99, 0, 256, 256)),
    ((97, 53), (300, 171), Box(3, 17, 100, 200)),
    ((64, 64), (64, 64), Box(5, 6, 50, 40)),
    ((3, 2), (9, 7), None),
    ((1, 400), (5, 33), None),
    ((40, 60), (9600, 30), Box(0, 9000, 30, 600)),  # where OpenCV's weights don't sum to one
]


@pytest.mark.parametrize(("source", "target", "box"), SIZES, ids=str)
def test_bytes_are_those_of_the_processor(
    source: tuple[int, int], target: tuple[int, int], box: Box | None
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*source, 3), dtype=np.uint8)
    expected = resize_bytes(picture, *target, box).transpose(1, 0, 2)
    found = resize_on_device(torch.from_numpy(picture), *target, box)
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("resize", ["uint8-bilinear", "float-bilinear"])
@pytest.mark.parametrize("pixel_range", ["0-255", "0-1"])
def test_views_made_on_a_device_are_the_processors(resize: str, pixel_range: str) -> None:
    scale = 255 if pixel_range == "0-1" else 1
    spec = ClipSpec(
        num_frames=8,
        frame_stride=1,
        size=40,
        crop=32,
        test_crop=32,
        resize=resize,  # type: ignore[arg-type]
        pixel_range=pixel_range,  # type: ignore[arg-type]
        mean=(114.75 / scale,) * 3,
        std=(57.375 / scale,) * 3,
    )
    video = np.random.default_rng(1).integers(0, 256, (20, 48, 64, 3), dtype=np.uint8)
    expected = read_clips(video, spec, views=(2, 3), fps=25)
    found = read_clips(video, spec, views=(2, 3), fps=25, device=CPU)
    assert found.device == CPU
    bound = {"atol": 0.0 if resize == "uint8-bilinear" else 1e-5, "rtol": 0.0}
    torch.testing.assert_close(found.tensor(), expected.tensor(), **bound)


def test_a_device_is_the_one_that_its_name_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name isn't equal to its device, as "cuda" isn't to "cuda:0"."""
    spec = ClipSpec(num_frames=4, frame_stride=1, size=40, crop=32, test_crop=32)
    video = np.random.default_rng(1).integers(0, 256, (4, 48, 64, 3), dtype=np.uint8)
    monkeypatch.setattr(functional, "resize_bytes", lambda *_: pytest.fail("resized off the device"))
    assert len(read_clips(video, spec, fps=25, device="cpu")) == 1  # type: ignore[arg-type]
    with pytest.raises(InputError, match="torch finds no such GPU here"):
        read_clips(video, spec, fps=25, device=torch.device("cuda:99"))


def test_without_memory_on_the_device_the_processor_resizes(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")

    spec = ClipSpec(num_frames=4, frame_stride=1, size=40, crop=32, test_crop=32)
    video = np.random.default_rng(1).integers(0, 256, (4, 48, 64, 3), dtype=np.uint8)
    expected = read_clips(video, spec, fps=25).tensor()
    monkeypatch.setattr(functional, "uploaded", full)
    assert torch.equal(read_clips(video, spec, fps=25, device=CPU).tensor(), expected)
    monkeypatch.setattr(functional, "uploaded", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        read_clips(video, spec, fps=25, device=CPU)


def test_a_frame_may_change_behind_its_upload() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    there = on_device.uploaded(frame, CPU)
    frame[:] = 9
    assert there.sum() == 0
