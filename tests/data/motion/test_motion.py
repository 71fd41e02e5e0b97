"""The camera-motion dataset: directions, magnitudes, determinism, and what must not move."""

from __future__ import annotations

import pickle

import numpy as np
import numpy.typing as npt
import pytest
import torch

from slowfast_zoo.data.motion import camera as motion_camera
from slowfast_zoo.data.motion.actors import Actor, draw_cast, paste
from slowfast_zoo.data.motion.camera import CameraPath, affine_grid, draw_path, fit_view, warp
from slowfast_zoo.data.motion.clips import CAMERA_MOTIONS, MotionClips, film
from slowfast_zoo.data.motion.footage import compress, record
from slowfast_zoo.data.motion.scenes import SPRITE_SIDE, draw_scene, draw_sprite
from slowfast_zoo.errors import InputError, UnknownNameError

SECONDS = np.arange(16) / 10


@pytest.fixture(scope="module")
def clips() -> MotionClips:
    return MotionClips(400, size=48, seed=5, scenes=3)


def spot_picture(x: float, y: float, side: int = 200) -> npt.NDArray[np.uint8]:
    """A white disc of radius 6 at that pixel of a black picture."""
    rows, columns = np.mgrid[:side, :side]
    disc = (np.hypot(columns - x, rows - y) < 6).astype(np.uint8) * 255
    return np.repeat(disc[..., None], 3, -1)


def centroid(frame: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """(x, y) of the mean brightness."""
    weights = frame[..., 0].astype(float)
    rows, columns = np.mgrid[: weights.shape[0], : weights.shape[1]]
    return float((columns * weights).sum() / weights.sum()), float((rows * weights).sum() / weights.sum())


def view_of(path: CameraPath, picture: npt.NDArray[np.uint8], size: int = 100) -> npt.NDArray[np.uint8]:
    """The picture of 200 pixels through a camera whose view is 100 pixels wide about (100, 100)."""
    maps = np.concatenate([path.rotation() * 0.5, path.center()[..., None]], -1)  # half a picture wide
    frames = warp(torch.from_numpy(picture).permute(2, 0, 1).float(), maps, (size, size))
    return frames.permute(0, 2, 3, 1).byte().numpy()


def straight(**last: float) -> CameraPath:
    """Two moments: the camera at rest, then as given."""
    still = {"x": 0.0, "y": 0.0, "zoom": 1.0, "angle": 0.0}
    return CameraPath(**{name: np.array([value, last.get(name, value)]) for name, value in still.items()})


def test_the_ten_classes_are_in_the_published_order() -> None:
    order = "static, pan left, pan right, tilt up, tilt down, zoom in, zoom out"
    assert ", ".join(CAMERA_MOTIONS) == order + ", roll clockwise, roll counter-clockwise, shake"


@pytest.mark.parametrize(
    ("motion", "axis", "sign"),
    [
        ("pan left", "x", -1),
        ("pan right", "x", 1),
        ("tilt up", "y", -1),
        ("tilt down", "y", 1),
        ("zoom in", "zoom", 1),
        ("zoom out", "zoom", -1),
        ("roll clockwise", "angle", 1),
        ("roll counter-clockwise", "angle", -1),
    ],
)
def test_a_path_moves_along_its_own_axis_within_its_range(motion: str, axis: str, sign: int) -> None:
    names = ("x", "y", "zoom", "angle")
    traveled = []
    for seed in range(200):
        path = draw_path(motion, SECONDS, np.random.default_rng(seed))
        pose = np.stack([path.x, path.y, np.log(path.zoom), path.angle])
        steps = (pose[:, -1] - pose[:, 0]) / motion_camera.SMALLEST
        own = names.index(axis)
        # The tremble may add a little to both ends.
        assert np.abs(np.delete(steps, own)).max() < 0.3 * abs(steps[own]) + 0.2
        traveled.append(sign * steps[own])
    largest = motion_camera.LARGEST[own] / motion_camera.SMALLEST[own]
    assert 0.85 < min(traveled) < 1.2
    assert 0.85 * largest < max(traveled) < largest + 0.2


def test_shake_and_static_are_far_apart() -> None:
    def peak(motion: str, seed: int) -> float:
        path = draw_path(motion, SECONDS, np.random.default_rng(seed))
        return float(np.hypot(path.x - path.x.mean(), path.y - path.y.mean()).max())

    static = [peak("static", seed) for seed in range(200)]
    shake = [peak("shake", seed) for seed in range(200)]
    assert max(static) < 0.0070
    assert min(shake) > 0.0075
    assert 0.03 < max(shake) < 0.06


def test_shake_goes_to_and_fro() -> None:
    for seed in range(50):
        path = draw_path("shake", SECONDS, np.random.default_rng(seed))
        main = path.x if np.ptp(path.x) > np.ptp(path.y) else path.y
        assert np.count_nonzero(np.diff(np.sign(np.diff(main)))) >= 2


def test_content_goes_the_other_way_than_the_camera() -> None:
    middle = spot_picture(100, 100)
    x, y = centroid(view_of(straight(x=0.2), middle)[1])
    assert (x, y) == pytest.approx((49.5 - 20 + 0.5, 49.5 + 0.5), abs=0.6)  # pan right: content left
    x, y = centroid(view_of(straight(y=0.2), middle)[1])
    assert (x, y) == pytest.approx((50, 30), abs=0.6)  # tilt down: content up


def test_zoom_in_enlarges() -> None:
    first, last = view_of(straight(zoom=1.5), spot_picture(100, 100))
    assert (last > 127).sum() / (first > 127).sum() == pytest.approx(1.5**2, rel=0.1)


def test_a_camera_rolling_clockwise_turns_the_content_counter_clockwise() -> None:
    right_of_middle = spot_picture(130, 100)
    x, y = centroid(view_of(straight(angle=np.pi / 6), right_of_middle)[1])
    assert x == pytest.approx(50 + 30 * np.cos(np.pi / 6), abs=0.8)
    assert y == pytest.approx(50 - 30 * np.sin(np.pi / 6), abs=0.8)


@pytest.mark.parametrize("motion", CAMERA_MOTIONS)
@pytest.mark.parametrize("picture", [(640, 360), (90, 160)])
def test_the_view_never_leaves_the_picture(motion: str, picture: tuple[int, int]) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        maps = fit_view(draw_path(motion, SECONDS, rng), 16 / 9, picture, 1.0, rng)
        corners = np.abs(maps[..., :2]).sum(-1)
        assert (np.abs(maps[..., 2]) + corners).max() <= 1 + 1e-9


def test_affine_grid_equals_torchs() -> None:
    maps = np.random.default_rng(0).normal(size=(3, 2, 3))
    xs, ys = ((torch.arange(count) + 0.5) * 2 / count - 1 for count in (7, 5))
    theta = torch.from_numpy(maps).float()
    theirs = torch.nn.functional.affine_grid(theta, [3, 1, 5, 7], align_corners=False)
    torch.testing.assert_close(affine_grid(maps, xs, ys), theirs)


@pytest.mark.parametrize("motion", ["pan right", "tilt up", "zoom out", "roll clockwise"])
def test_a_near_object_moves_like_the_scene_but_not_an_overlay(motion: str) -> None:
    path = draw_path(motion, SECONDS, np.random.default_rng(3))
    sprite = np.concatenate([np.full((3, 9, 9), 255), np.ones((1, 9, 9))]).astype(np.float32)
    ones = np.ones((16, 2))

    def filmed(nearness: float) -> npt.NDArray[np.uint8]:
        frames = torch.zeros(16, 3, 80, 80)
        paste(frames, Actor(sprite, 0.2 * ones, 0.05 * ones, np.zeros(16), nearness), path, 1.0)
        return frames.permute(0, 2, 3, 1).byte().numpy()

    maps = np.concatenate([path.rotation() * 0.5, path.center()[..., None]], -1)
    square = np.zeros((800, 800, 3), dtype=np.uint8)
    square[460:500, 460:500] = 255  # 0.2 +- 0.05 view widths; the picture spans 2 x 2 of them
    seen = warp(torch.from_numpy(square).permute(2, 0, 1).float(), maps, (80, 80))
    scene = seen.permute(0, 2, 3, 1).byte().numpy()
    for moment in (0, 15):
        assert centroid(filmed(1.0)[moment]) == pytest.approx(centroid(scene[moment]), abs=0.5)
    assert np.ptp(filmed(0.0), axis=0).max() == 0


def test_actors_outside_the_view_change_nothing() -> None:
    path = straight(x=0.1)
    sprite = np.ones((4, 9, 9), dtype=np.float32)
    frames = torch.full((2, 3, 20, 20), 7.0)
    paste(frames, Actor(sprite, np.full((2, 2), 5.0), np.full((2, 2), 0.1), np.zeros(2)), path, 1.0)
    assert torch.equal(frames, torch.full((2, 3, 20, 20), 7.0))


def test_casts_vary() -> None:
    scene = draw_scene(np.random.default_rng(0))
    path = draw_path("static", SECONDS, np.random.default_rng(0))
    sizes = {len(draw_cast(path, 1.5, scene, SECONDS, np.random.default_rng(seed))) for seed in range(30)}
    assert 0 in sizes and 1 in sizes and max(sizes) >= 6  # a walker alone has six parts


def test_scenes_are_repeatable_varied_and_textured() -> None:
    scenes = [draw_scene(np.random.default_rng(seed)) for seed in range(6)]
    assert all(scene.dtype == np.uint8 and scene.shape == (3, 384, 384) for scene in scenes)
    assert np.array_equal(scenes[0], draw_scene(np.random.default_rng(0)))
    assert min(scene.std() for scene in scenes) > 5
    assert np.std([scene.mean() for scene in scenes]) > 5


@pytest.mark.parametrize("shape", ["ellipse", "box", "blob", "glyphs"])
def test_sprites_are_cut_out(shape: str) -> None:
    scene = draw_scene(np.random.default_rng(0))
    sprite = draw_sprite(np.random.default_rng(1), scene, shape)
    assert sprite.shape == (4, SPRITE_SIDE, SPRITE_SIDE)
    assert sprite[:3].min() >= 0 and sprite[:3].max() <= 255
    assert sprite[3].max() == 1 and sprite[3, 0].max() == 0


def test_a_clip_depends_on_seed_and_index_alone(clips: MotionClips) -> None:
    frames, label = clips[17]
    again = MotionClips(18, size=48, seed=5, scenes=3)
    for index in (3, 9):
        again[index]
    assert label == 17 % 10
    assert np.array_equal(frames, again[17][0])
    assert np.array_equal(frames, pickle.loads(pickle.dumps(clips))[17][0])
    assert not np.array_equal(frames, clips[27][0])
    assert not np.array_equal(frames, MotionClips(18, size=48, seed=6, scenes=3)[17][0])


def test_a_pickle_doesnt_carry_the_scenes(clips: MotionClips) -> None:
    clips[0]
    assert len(pickle.dumps(clips)) < 2000


def test_workers_give_the_same_clips(clips: MotionClips) -> None:
    loader = torch.utils.data.DataLoader(
        clips, batch_size=2, sampler=[4, 8], num_workers=1, multiprocessing_context="spawn"
    )
    frames, labels = next(iter(loader))
    assert labels.tolist() == [4, 8]
    assert np.array_equal(frames[1].numpy(), clips[8][0])


@pytest.mark.parametrize(("size", "shape"), [(33, (33, 33)), ((64, 36), (36, 64)), ((30, 50), (50, 30))])
@pytest.mark.parametrize(("num_frames", "fps"), [(2, 1.0), (9, 60.0)])
def test_any_size_length_and_rate(
    size: int | tuple[int, int], shape: tuple[int, int], num_frames: int, fps: float
) -> None:
    dataset = MotionClips(10, size=size, num_frames=num_frames, fps=fps, scenes=1)
    for index in range(10):
        frames, label = dataset[index]
        assert (frames.shape, frames.dtype, label) == ((num_frames, *shape, 3), np.uint8, index)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("length", -1),
        ("num_frames", 1),
        ("fps", 0.0),
        ("fps", float("nan")),
        ("size", 4),
        ("scenes", 0),
        ("seed", -1),
    ],
)
def test_numbers_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name} is .*accepted"):
        MotionClips(**{"length": 5, name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("index", [-1, 400])
def test_there_are_no_other_clips(clips: MotionClips, index: int) -> None:
    with pytest.raises(IndexError, match="there are 400"):
        clips[index]


@pytest.mark.parametrize("motion", CAMERA_MOTIONS)
def test_film_moves_the_picture(motion: str) -> None:
    picture = draw_scene(np.random.default_rng(2)).transpose(1, 2, 0)[:240]
    frames = film(picture, motion, np.random.default_rng(1), num_frames=8, size=(64, 40))
    assert frames.shape == (8, 40, 64, 3) and frames.dtype == np.uint8
    change = np.abs(frames[-1].astype(int) - frames[0]).mean()
    assert change < 4 if motion == "static" else change > 0.5
    again = film(picture, motion, np.random.default_rng(1), num_frames=8, size=(64, 40))
    assert np.array_equal(frames, again)


def test_film_pans_over_a_video_frame_by_frame() -> None:
    video = np.arange(6, dtype=np.uint8)[:, None, None, None] * 40 + np.zeros((6, 50, 80, 3), dtype=np.uint8)
    frames = film(video, "pan left", np.random.default_rng(0), num_frames=6, size=16)
    assert [int(frame.mean()) for frame in frames] == [0, 40, 80, 120, 160, 200]
    with pytest.raises(InputError, match="accepted: 2 to 6"):
        film(video, "pan left", np.random.default_rng(0), num_frames=7)


def test_film_shrinks_large_pictures_without_flicker() -> None:
    rng = np.random.default_rng(0)
    noise = np.repeat(rng.integers(0, 256, (1200, 1600, 1), dtype=np.uint8), 3, -1)
    frames = film(noise, "pan right", rng, size=(80, 60))
    assert frames.std() < 25  # point sampling would leave the noise's 74


@pytest.mark.parametrize(
    ("shape", "dtype"), [((9, 9, 3), "float64"), ((9, 9), "uint8"), ((0, 9, 3), "uint8")]
)
def test_film_refuses_other_arrays(shape: tuple[int, ...], dtype: str) -> None:
    with pytest.raises(InputError, match="accepted: uint8"):
        film(np.zeros(shape, dtype), "static", np.random.default_rng(0))


def test_an_unknown_motion_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'pan left'"):
        film(np.zeros((50, 50, 3), np.uint8), "pan lef", np.random.default_rng(0))


@pytest.mark.parametrize(("codec", "fine", "coarse"), [("mpeg4", 2, 25), ("libx264", 15, 42)])
def test_codecs_keep_the_shape_and_lose_more_when_coarser(codec: str, fine: int, coarse: int) -> None:
    scene = draw_scene(np.random.default_rng(4))[:, :51, :77].transpose(1, 2, 0)
    frames = np.stack([np.roll(scene, shift, 1) for shift in range(5)])
    losses = [np.abs(compress(frames, codec, q).astype(int) - frames).mean() for q in (fine, coarse)]  # type: ignore[arg-type]
    assert compress(frames, codec, fine).shape == frames.shape  # type: ignore[arg-type]
    assert 0 < losses[0] < losses[1] < 60


def test_recordings_vary_but_keep_size() -> None:
    frames = torch.rand(4, 3, 20, 24, generator=torch.Generator().manual_seed(0)) * 255
    taken = [record(frames.clone(), (48, 40), np.random.default_rng(seed)) for seed in range(40)]
    assert {clip.shape for clip in taken} == {(4, 40, 48, 3)}
    gray = sum(bool((np.ptp(clip, axis=-1) < 60).all()) for clip in taken)
    assert 0 < gray < 40
