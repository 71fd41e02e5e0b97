"""Features: those of the network without a classifier, on a grid of time, in files that say how they came."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.movies import moving_pattern, write_stamped, write_video
from support.small_nets import NETWORKS, SMALL, make_model
from torch import Tensor

from slowfast_zoo import ClipSpec, SlowFast, open_video, read_clips
from slowfast_zoo.errors import DataError, InputError, UnknownNameError
from slowfast_zoo.inference.engines.optimize import optimize
from slowfast_zoo.inference.features.features import FeatureExtractor, extract_features
from slowfast_zoo.inference.features.files import (
    Features,
    compare_features,
    is_finished,
    read_features,
    sidecar,
)
from slowfast_zoo.inference.features.recipes import (
    RECIPES,
    FeatureFormat,
    Layer,
    RecipeName,
    at_rate,
    qvhighlights_clips,
)
from slowfast_zoo.video.decoding.part import VideoPart
from slowfast_zoo.video.windows import Grid

FRAMES = moving_pattern(70, 40, 56)
CLIP = ClipSpec(num_frames=8, frame_stride=2, size=32, crop=32, test_crop=32)
SPECS = {
    "frames": CLIP,
    "scaled": CLIP.replace(time_base="fps-scaled", fps=30, short_video="stretch"),
    "seconds": CLIP.replace(time_base="seconds", fps=30, sampling="pytorchvideo", resize="float-bilinear"),
}
VARIABLE = np.cumsum([0] + [20, 60, 33] * 22 + [400, 20]).tolist()


def small(spec: ClipSpec = CLIP, network: str = "global-linspace") -> SlowFast:
    model = make_model(NETWORKS[network])
    model.clip_spec = spec
    return model


def without_classifier(model: SlowFast) -> SlowFast:
    twin = SlowFast(model.spec.replace(num_classes=0)).eval()
    weights = {name: value for name, value in model.state_dict().items() if "classifier" not in name}
    twin.load_state_dict(weights)
    return twin


def check(path: Path, model: SlowFast, **options: Any) -> Features:
    """Each row is the network with num_classes=0 on ``read_clips`` of that part."""
    features = extract_features(model, path, **options)
    network = without_classifier(model)
    grid = Grid(hop_seconds=options["hop_seconds"], window_seconds=options.get("window_seconds"))
    with open_video(path) as video, torch.inference_mode():
        windows = grid.windows(video, model.clip_spec)
        assert len(features) == len(windows)
        for window, row in zip(windows, features.values, strict=True):
            part = VideoPart(video, "part", first_frame=window.first_frame, num_frames=window.num_frames)
            clips = read_clips(part, model.clip_spec, views=options.get("views", "quick"))
            assert row == pytest.approx(network(clips.tensor()).mean(0).numpy(), rel=1e-5, abs=1e-6)
    assert features.start_seconds.tolist() == [window.start_seconds for window in windows]
    assert features.center_seconds.tolist() == [window.center_seconds for window in windows]
    return features


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("fps", [24, Fraction(30000, 1001), 60], ids=str)
def test_a_row_is_the_network_without_a_classifier(name: str, fps: Fraction | int, tmp_path: Path) -> None:
    path = write_stamped(tmp_path / "film.mkv", [round(1000 * i / fps) for i in range(70)], frames=FRAMES)
    features = check(path, small(SPECS[name]), hop_seconds=0.4)
    assert features.values.dtype == np.float32 and features.values.shape[1] == 288
    assert features.start_seconds[1] == pytest.approx(0.4, abs=0.5 / fps + 1e-3)


@pytest.mark.parametrize("name", SPECS)
def test_variable_frame_rates_and_short_videos(name: str, tmp_path: Path) -> None:
    check(
        write_stamped(tmp_path / "variable.mkv", VARIABLE, frames=FRAMES), small(SPECS[name]), hop_seconds=0.5
    )
    for count in (1, 15, 16, 17):
        path = write_stamped(tmp_path / f"{count}.mkv", [40 * i for i in range(count)], frames=FRAMES)
        assert len(check(path, small(SPECS[name]), hop_seconds=1.0)) in (1, 2)


def test_windows_longer_than_a_clip_have_several_views(tmp_path: Path) -> None:
    path = write_video(tmp_path / "film.mkv", FRAMES, fps=25)
    features = check(path, small(network="window-probs"), hop_seconds=0.5, window_seconds=1.2, views=(2, 3))
    assert features.meta["views"] == [2, 3] and features.meta["window_seconds"] == 1.2


@pytest.mark.parametrize("layer", ["slow", "fast", "maps"])
def test_other_layers_are_parts_of_the_same(layer: Layer, tmp_path: Path) -> None:
    path, model = write_video(tmp_path / "film.mkv", FRAMES, fps=25), small()
    pooled, other = (
        extract_features(model, path, hop_seconds=1.0, layer=each).values for each in ("pooled", layer)
    )
    expected = {"slow": pooled[:, :256], "fast": pooled[:, 256:], "maps": pooled}[layer]
    if layer == "maps":
        assert other.shape == (len(pooled), 288, 1, 1)
        other = other.mean(axis=(2, 3))
    assert other == pytest.approx(expected, abs=1e-6)


class Doubled(SlowFast):
    """Maps twice as large."""

    def forward_features(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        slow, fast = super().forward_features(clip)
        return 2 * slow, 2 * fast


@pytest.mark.parametrize("layer", ["pooled", "maps"])
def test_what_a_class_of_ones_own_does_is_in_every_layer(layer: Layer) -> None:
    model = small()
    plain = extract_features(model, FRAMES, fps=25, layer=layer).values
    model.__class__ = Doubled
    doubled = extract_features(model, FRAMES, fps=25, layer=layer).values
    np.testing.assert_allclose(doubled, 2 * plain, rtol=1e-5)


def test_what_features_say_of_the_model_is_as_it_was(tmp_path: Path) -> None:
    model = small()
    model.provenance = {"model": "mine", "training": {"epochs": 3}}
    features = extract_features(model, FRAMES, fps=25)
    model.provenance["training"]["epochs"] = 4
    assert features.meta["provenance"] == {"model": "mine", "training": {"epochs": 3}}
    model.provenance["folder"] = tmp_path
    strange = extract_features(model, FRAMES, fps=25)
    for name in ("x.npz", "x.npy", "x.safetensors"):
        with pytest.raises(
            InputError, match="What is told of the model is saved as JSON, which can't hold it"
        ):
            strange.save(tmp_path / name)
    assert not [*tmp_path.iterdir()]


def test_the_last_window_moves_back_is_padded_or_dropped(tmp_path: Path) -> None:
    path, model = write_video(tmp_path / "film.mkv", FRAMES, fps=25), small()
    rows = {
        last: extract_features(model, path, hop_seconds=0.5, last=last)
        for last in ("move_back", "pad", "drop")
    }
    assert [len(rows[last]) for last in rows] == [6, 6, 5]
    assert rows["move_back"].end_seconds[-1] == rows["pad"].end_seconds[-1] == pytest.approx(2.8)
    assert rows["pad"].start_seconds[-1] == pytest.approx(2.52)


def test_the_model_stays_as_it_is_and_engines_give_the_same(tmp_path: Path) -> None:
    path, model = write_video(tmp_path / "film.mkv", FRAMES, fps=25), small()
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plain = extract_features(model, path, hop_seconds=1.0)
    assert model.training and model.spec.num_classes == 6 and model.classifier.weight.shape[0] == 6
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()
    assert extract_features(model, path, hop_seconds=1.0, engine="eager").values == pytest.approx(
        plain.values, abs=1e-5
    )
    bare = without_classifier(model)
    bare.clip_spec = model.clip_spec
    assert np.array_equal(extract_features(bare, path, hop_seconds=1.0).values, plain.values)
    assert np.array_equal(np.asarray(plain), plain.values) and "288 float32" in repr(plain)
    exact = extract_features(model.double(), path, hop_seconds=1.0)
    assert (plain.meta["precision"], exact.meta["precision"]) == ("float32", "float64")
    assert exact.values == pytest.approx(plain.values, abs=1e-5)


# Recipes --------------------------------------------------------------------------------------------------

LARGE = SMALL.replace(num_frames=32, slow_sampling="linspace", depth=14)


def published(name: RecipeName) -> SlowFast:
    """A small network that takes what the recipe makes."""
    model = make_model(LARGE)
    recipe = RECIPES[name]
    model.clip_spec = recipe.clip_spec
    return model


def test_qvhighlights_features_are_those_of_its_frames(tmp_path: Path) -> None:
    """Its frames, at 30 per second and resized by FFmpeg's own filters, through its own arithmetic."""
    frames = moving_pattern(75, 64, 96)
    path = write_video(tmp_path / "film.mp4", frames, fps=25, codec="mpeg4", pixels="yuv420p")
    model = published("qvhighlights")
    features = extract_features(model, path, recipe="qvhighlights")
    assert features.values.dtype == np.float16 and features.values.shape == (2, 288)
    assert features.start_seconds.tolist() == [0, 2] and features.end_seconds.tolist() == [2, 4]
    shown = filtered(path, "fps=30,scale=336:224")
    assert len(shown) == 90
    network, clips = without_classifier(model), qvhighlights_clips(90, 25, 3.0)
    pixels = torch.from_numpy(shown[clips][..., 56 : 56 + 224, :]).permute(0, 4, 1, 2, 3).float()
    with torch.inference_mode():
        expected = network((pixels / 255 - 0.45) / (torch.tensor(0.225) + 1e-8)).half().numpy()
    assert features.values == pytest.approx(expected, rel=2e-3, abs=1e-3)
    begins = [index / 25 for index in range(75)]
    assert len(at_rate(begins, 3.0, 30)) == 90


def filtered(path: Path, graph_text: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A file's frames behind FFmpeg's own filters, uint8 RGB (frames, height, width, 3)."""
    import av
    import av.filter

    found = []
    with av.open(str(path)) as container:
        graph = av.filter.Graph()
        last = graph.add_buffer(template=container.streams.video[0])
        for step in (*graph_text.split(","), "format=rgb24"):
            name, _, arguments = step.partition("=")
            following = graph.add(name, arguments)
            last.link_to(following)
            last = following
        sink = graph.add("buffersink")
        last.link_to(sink)
        graph.configure()
        for frame in [*container.decode(video=0), None]:
            graph.push(frame)
            while True:
                try:
                    found.append(graph.pull().to_ndarray(format="rgb24"))
                except (av.error.BlockingIOError, av.error.EOFError):
                    break
    return np.stack(found)


@pytest.mark.parametrize(("fps", "count", "rows"), [(30, 75, 4), (25, 50, 3), (60, 64, 1), (30, 20, 1)])
def test_ego4d_features_are_those_of_its_windows(fps: int, count: int, rows: int, tmp_path: Path) -> None:
    frames = moving_pattern(count, 64, 80)
    path = write_video(tmp_path / "film.mp4", frames, fps=fps, codec="mpeg4", pixels="yuv420p")
    model = published("ego4d")
    features = extract_features(model, path, recipe="ego4d")
    assert features.values.shape == (rows, 288) and features.values.dtype == np.float32
    duration, network = count / fps, without_classifier(model)
    for row in range(rows):
        start = min(row * 16 / 30, max(duration - 32 / 30, 0.0))
        inside = [index for index in range(count) if start - 1e-6 <= index / fps < start + 32 / 30 - 1e-6]
        chosen = np.array(inside)[torch.linspace(0, len(inside) - 1, 32).long().numpy()]
        with open_video(path) as video:
            pixels = torch.from_numpy(video.frames(chosen)).permute(3, 0, 1, 2).float()
        clip = (pixels / 255 - 0.45) / 0.225
        clip = torch.nn.functional.interpolate(clip, size=(256, 320), mode="bilinear", align_corners=False)
        with torch.inference_mode():
            expected = network(clip[None, ..., 32 : 32 + 256])[0]
        assert features.values[row] == pytest.approx(expected.numpy(), abs=2e-4)
        assert features.start_seconds[row] == pytest.approx(start, abs=1e-6)
    assert features.meta["hop_seconds"] == pytest.approx(16 / 30)
    if rows > 1:  # where ActionFormer looks for them: (row * feat_stride + num_frames / 2) / 30
        assert features.center_seconds[0] == pytest.approx((0 * 16 + 16) / 30)
        assert features.center_seconds[1] == pytest.approx(min((16 + 16) / 30, count / fps - 16 / 30))


def test_a_recipe_decides_itself_and_wants_its_frames(tmp_path: Path) -> None:
    model = published("ego4d")
    for option in ({"window_seconds": 1.0}, {"hop_seconds": 1.0}, {"last": "pad"}, {"views": (1, 3)}):
        with pytest.raises(InputError, match=f"'ego4d' decides about {next(iter(option))}= itself"):
            FeatureExtractor(model, recipe="ego4d", **option)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="clips of 32 frames, and this model takes 8; it was made with"):
        FeatureExtractor(small(), recipe="qvhighlights")
    with pytest.raises(InputError, match="isn't decoded by FFmpeg"):
        FeatureExtractor(published("qvhighlights"), recipe="qvhighlights", fps=25)(FRAMES)


# Files ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Features:
    path = write_video(tmp_path_factory.mktemp("film") / "film.mkv", FRAMES, fps=25)
    model = small()
    model.provenance = {"model": "slowfast_small", "tag": "test/random"}
    return extract_features(model, path, hop_seconds=0.5)


def test_the_facts_say_everything_that_decides(features: Features) -> None:
    meta = json.loads(json.dumps(features.meta))
    assert (meta["model"], meta["weights"], meta["layer"]) == ("slowfast_small", "test/random", "pooled")
    assert (meta["source_fps"], meta["resampled_fps"], meta["dtype"]) == (25.0, None, "float32")
    assert meta["window_frames"] == 15 and meta["window_seconds"] == pytest.approx(0.6)
    assert (meta["hop_seconds"], meta["first_start_seconds"], meta["last_window"]) == (0.5, 0.0, "move_back")
    assert meta["views"] == [1, 1] and meta["normalized"] is False and "start_seconds" in meta["row_time"]
    assert "openmmlab-1.x" in meta["frames"] and "crop 32" in meta["picture"]
    assert ClipSpec.from_dict(meta["clip_spec"]) == CLIP


def test_a_fresh_classifier_leaves_the_features_those_of_the_weights() -> None:
    model = small()
    model.provenance = {"model": "slowfast_small", "tag": "test/random"}
    model.reset_classifier(3)
    facts = extract_features(model, FRAMES, hop_seconds=0.5, fps=25).meta
    assert [facts[name] for name in ("model", "weights")] == ["slowfast_small", "test/random"]


@pytest.mark.parametrize("form", ["npz", "npy", "pt", "safetensors"])
def test_files_are_read_by_what_others_read_them_with(
    form: FeatureFormat, features: Features, tmp_path: Path
) -> None:
    path = tmp_path / f"film.{form}"
    features.save(path)
    values: Any
    if form == "npz":
        with np.load(path) as archive:
            values = archive["features"]
            assert archive["center_seconds"].tolist() == features.center_seconds.tolist()
            assert json.loads(str(archive["meta"])) == features.meta
    elif form == "npy":
        values = np.load(path)
    elif form == "pt":
        values = torch.load(path, weights_only=True).numpy()
    else:
        from safetensors.numpy import load_file

        values = load_file(path)["features"]
    assert np.array_equal(values, features.values)
    if form in ("npy", "pt"):
        beside = json.loads(sidecar(path).read_text(encoding="utf-8"))
        assert beside["start_seconds"] == features.start_seconds.tolist()
        assert beside["weights"] == "test/random"
    again = read_features(path)
    assert np.array_equal(again.values, features.values)
    assert again.meta["clip_spec"] == features.meta["clip_spec"]


def test_a_finished_file_is_known_by_its_settings(features: Features, tmp_path: Path) -> None:
    path, settings = tmp_path / "film.npz", dict(features.meta)
    assert not is_finished(path, settings)
    features.save(path)
    assert is_finished(path, settings)
    with pytest.raises(
        InputError, match=r"was made with layer 'pooled', and this is 'slow': write to another"
    ):
        is_finished(path, settings | {"layer": "slow"})
    path.write_bytes(path.read_bytes()[:-200])
    assert not is_finished(path, settings)


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"hop_seconds": 0.5},
        {"window_seconds": 0.5, "hop_seconds": 0.25},
        {"hop_seconds": 0.25, "fps": 30},
    ],
    ids=str,
)
def test_a_file_of_another_hop_window_or_rate_is_refused(other: dict[str, Any], tmp_path: Path) -> None:
    path, made = tmp_path / "film.npz", FeatureExtractor(small(), hop_seconds=0.25, fps=25)
    made(FRAMES).save(path)
    assert is_finished(path, made.settings)
    said = r"was made with (hop|window)_seconds 0|was made with asked .*'hop': 0.25, 'fps': 25.0"
    with pytest.raises(InputError, match=said):
        is_finished(path, FeatureExtractor(small(), **{"fps": 25, **other}).settings)
    FeatureExtractor(small(), window_seconds=0.5, fps=25)(FRAMES).save(tmp_path / "same.npz")
    same = FeatureExtractor(small(), window_seconds=0.5, hop_seconds=0.5, fps=25).settings
    assert is_finished(tmp_path / "same.npz", same), "a hop is as long as a window where nothing is said"
    earlier = dict(np.load(path))
    meta = json.loads(str(earlier.pop("meta")))
    del meta["asked"]
    np.savez(path, **earlier, meta=json.dumps(meta))
    assert is_finished(path, made.settings), "a file of an earlier version says less"


def test_features_in_another_precision_than_was_asked_for_are_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where half precision isn't right on a machine, "auto" takes the model as it is."""
    film = write_video(tmp_path / "film.mkv", FRAMES, fps=25)
    made = FeatureExtractor(small(), hop_seconds=1.0)
    monkeypatch.setitem(made.settings, "asked_precision", "bfloat16")
    made(film).save(tmp_path / "a.npz")
    assert read_features(tmp_path / "a.npz").meta["precision"] == "float32"
    assert is_finished(tmp_path / "a.npz", made.settings)
    with pytest.raises(InputError, match="was made with precision 'bfloat16', and this is 'float32'"):
        is_finished(tmp_path / "a.npz", FeatureExtractor(small(), hop_seconds=1.0).settings)


def test_seconds_are_those_of_the_grid_whatever_the_last_window_is() -> None:
    model = small()
    for frames, window, expected in ((75, 2.0, (2.0, 2.0)), (20, 2.0, (2.0, 2.0)), (5, None, (0.6, 0.64))):
        film = moving_pattern(frames, 40, 56)
        meta = extract_features(model, film, fps=25, window_seconds=window).meta
        assert (meta["window_seconds"], meta["hop_seconds"]) == pytest.approx(expected)


def test_two_files_are_compared_row_by_row(features: Features, tmp_path: Path) -> None:
    one, other = tmp_path / "one.npz", tmp_path / "other.npy"
    features.save(one)
    changed = features.values.copy()
    changed[3:] = changed[3:, ::-1]
    np.save(other, changed)
    found = compare_features(one, other)
    assert found.first_difference == 3 and found.cosines[:3] == (1.0, 1.0, 1.0)
    assert found.cosines[3] < 0.999 and found.rows == (len(features), len(features))
    assert "row 3 is the first that differs" in str(found)
    lost = features.values.copy()
    lost[1] = np.nan
    np.save(other, lost)
    found = compare_features(one, other)
    assert found.first_difference == 1 and "nan at least; row 1 is the first" in str(found)
    np.save(other, changed[:2])
    assert "differs: 6 rows and 2" in str(compare_features(one, other))
    np.save(other, changed[:, :5])
    with pytest.raises(DataError, match=r"rows of \(288,\) and '.*' of \(5,\)"):
        compare_features(one, other)
    np.save(other, changed[:0])
    assert compare_features(one, other).rows == (len(features), 0)


def test_what_holds_no_features_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 no archive")
    np.save(tmp_path / "b.npy", np.arange(5))
    np.savez(tmp_path / "c.npz", x=np.zeros((2, 2)), y=np.zeros((2, 2)))
    (tmp_path / "d.pt").write_bytes(b"\x80\x02cos\nsystem\n(S'touch /tmp/x'\ntR.")
    np.save(tmp_path / "x.npy", np.zeros((4, 8), np.float32))
    header = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "brace.npy").write_bytes(header.replace(b"}", b" "))
    (tmp_path / "huge.npy").write_bytes(header.replace(b"(4, 8)", b"(10000000000000, 8)"))
    (tmp_path / "type.npy").write_bytes(header.replace(b"'<f4'", b"'(2,'"))
    values = np.random.default_rng(0).random((40, 8))
    np.savez_compressed(tmp_path / "packed.npz", features=values)
    content = (tmp_path / "packed.npz").read_bytes()
    (tmp_path / "packed.npz").write_bytes(content[:60] + b"\xff" * 600 + content[660:])
    with zipfile.ZipFile(tmp_path / "member.npz", "w") as archive:
        archive.writestr("features.npy", header.replace(b"}", b" "))
    half = {"features": {"dtype": "BF16", "shape": [4, 2], "data_offsets": [0, 16]}}
    text = json.dumps(half).encode()
    (tmp_path / "half.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(16))
    torch.save(torch.zeros(4, 8).to_sparse(), tmp_path / "sparse.pt")
    damaged = ("brace.npy", "huge.npy", "type.npy", "packed.npz", "member.npz")
    for name in ("a.npz", "b.npy", "c.npz", "d.pt", "missing.npy", "half.safetensors", "sparse.pt", *damaged):
        with pytest.raises(DataError, match=f"{name}' holds no features"):
            read_features(tmp_path / name)
    assert not any(is_finished(tmp_path / name, {}) for name in damaged)
    with pytest.raises(UnknownNameError, match="'mat' isn't one of"):
        read_features(tmp_path / "x.mat")


@pytest.mark.parametrize("form", ["npz", "npy", "pt", "safetensors"])
def test_a_full_disk_leaves_nothing_half_written(form: FeatureFormat, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    values = np.zeros((100, 288), np.float32)
    times = np.arange(100.0)
    whole = Features(source="film", values=values, start_seconds=times, end_seconds=times + 1, meta={})
    whole.save(tmp_path / f"finished.{form}")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limits[1]))
    try:
        with pytest.raises(InputError, match=r"can't be written: .*\. Finished files are kept") as caught:
            whole.save(tmp_path / f"film.{form}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_no_folder_is_one_sentence(features: Features, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"can't be written: No such file or directory\."):
        features.save(tmp_path / "nowhere" / "film.npz")
    (tmp_path / "film.npz").mkdir()
    with pytest.raises(InputError, match="can't be written"):
        features.save(tmp_path / "film.npz")


def test_numbers_of_any_kind_are_written_down(tmp_path: Path) -> None:
    half = np.float32(0.5)
    wishes: dict[str, Any] = {
        "fps": np.float32(25),
        "window_seconds": half,
        "hop_seconds": half,
        "dtype": np.dtype("float16"),
    }
    extract_features(small(), FRAMES, **wishes).save(tmp_path / "film.npz")
    features = read_features(tmp_path / "film.npz")
    assert features.meta["window_seconds"] == features.meta["hop_seconds"] == 0.5
    assert features.meta["dtype"] == "float16" and features.values.dtype == np.float16


def test_bad_arguments_are_refused_in_one_sentence() -> None:
    model = small()
    cases: list[tuple[dict[str, Any], str]] = [
        ({"hop_seconds": 0}, "hop_seconds is 0; accepted: seconds, a finite number above 0"),
        ({"window_seconds": -1.0}, "window_seconds is -1.0"),
        ({"last": "wrap"}, "last is 'wrap'"),
        ({"last": []}, r"last is \[\]"),
        ({"dtype": ""}, "dtype is ''"),
        ({"views": (10**30, 1)}, r"views is .*; accepted: .* up to 1000 clips and 1 or 3 crops"),
        ({"views": np.ones(2)}, "views is array.*; accepted: 'quick'"),
        ({"layer": "pool"}, "layer is 'pool'.*Did you mean 'pooled'"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"recipe": "hero"}, "no recipe 'hero'"),
        ({"views": (2, 1)}, "give window_seconds="),
        ({"layer": "maps", "precision": "bfloat16"}, "Maps are computed by"),
    ]
    for options, sentence in cases:
        with pytest.raises((InputError, UnknownNameError), match=sentence):
            extract_features(model, FRAMES, fps=25, **options)
    with pytest.raises(InputError, match="optimized model"):
        extract_features(optimize(model, "eager"), FRAMES, fps=25)
    with pytest.raises(InputError, match="call extract_features for each of many"):
        extract_features(model, [FRAMES], fps=25)  # type: ignore[arg-type]
    assert math.isclose(extract_features(model, FRAMES, fps=25).meta["window_seconds"], 0.6)


def test_the_users_folder(features: Features, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    features.save("~/film.npy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.npy", "film.npy.json"]


@pytest.mark.parametrize("kind", ["npy", "pt"])
def test_old_values_never_lie_beside_what_is_said_of_new_ones(
    features: Features, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Killed after its .json has been replaced, a file is no finished one."""
    path = tmp_path / f"film.{kind}"
    dataclasses.replace(features, values=features.values[:1]).save(path)
    synced: list[int] = []

    def killed(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) > 1:
            raise SystemExit("killed")

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(SystemExit):
        features.save(path)
    monkeypatch.undo()
    assert sidecar(path).exists() and not path.exists() and not is_finished(path, features.meta)
    features.save(path)
    assert is_finished(path, features.meta) and len(read_features(path).values) == len(features)
