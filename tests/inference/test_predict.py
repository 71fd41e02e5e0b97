"""``predict``: one answer per video whatever the route, many videos, and what can go wrong."""

from __future__ import annotations

import copy
import dataclasses
import io
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from support.movies import moving_pattern, write_video
from torch import nn

from slowfast_zoo import ClipSpec, ModelSpec, SlowFast, SlowFastZooError, optimize, predict, read_clips
from slowfast_zoo.errors import ExportError, InputError, OutOfMemoryError, UnknownNameError, VideoError
from slowfast_zoo.inference.engines import kept, trial
from slowfast_zoo.inference.engines import optimize as optimize_module
from slowfast_zoo.inference.engines.openvino import engine as openvino
from slowfast_zoo.inference.inputs import list_videos, source_hash
from slowfast_zoo.inference.predict import Prediction, Predictor, predict_many
from slowfast_zoo.inference.runner import BatchRunner
from slowfast_zoo.inference.timeline import timeline
from slowfast_zoo.video.clips import Clips, view_counts
from slowfast_zoo.video.decoding.reader import open_video

CLIP = ClipSpec(num_frames=8, frame_stride=2, size=40, crop=32, test_crop=40, clips=3, crops=3)
LABELS = ("walk", "run", "jump", "wave")


@pytest.fixture(scope="module")
def model() -> SlowFast:
    torch.manual_seed(1)
    net = SlowFast(ModelSpec(depth=14, base_width=8, alpha=4, num_frames=8, num_classes=4)).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    assert isinstance(net.classifier, nn.Linear)
    nn.init.normal_(net.classifier.weight, std=0.5)
    net.clip_spec, net.labels = CLIP, LABELS
    return net


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos without loss, of several sizes and lengths; and files that are none."""
    folder = tmp_path_factory.mktemp("clips")
    for seed, (frames, height, width) in enumerate([(24, 48, 64), (40, 64, 48), (9, 48, 48), (30, 41, 77)]):
        write_video(folder / f"clip {seed}.mkv", moving_pattern(frames, height, width, seed))
    (folder / "notes.txt").write_text("no video")
    return folder


def scores(prediction: Prediction) -> dict[str, float]:
    assert prediction.error is None
    return dict(zip(prediction.labels, prediction.scores, strict=True))


def test_one_video(model: SlowFast, folder: Path) -> None:
    answer = predict(model, folder / "clip 0.mkv", topk=None)
    logits = model(read_clips(folder / "clip 0.mkv", CLIP).tensor())
    expected = logits.detach().softmax(1)[0]
    assert scores(answer) == pytest.approx(dict(zip(LABELS, expected.tolist(), strict=True)), abs=1e-6)
    assert list(answer.scores) == sorted(answer.scores, reverse=True)
    assert answer.views == (1, 1)
    assert answer.seconds == pytest.approx((4 / 30, 19 / 30), abs=1e-3)  # frames 4, 6 ... 18 of 24
    assert not answer.padded
    assert repr(answer).endswith("; 1x1 views)")
    strange = dataclasses.replace(answer, labels=("\x1b[2J\n",), scores=(0.5,))
    assert repr(strange).endswith(": \\u001b[2J 50.0%; 1x1 views)")


@pytest.mark.parametrize("resize", ["uint8-bilinear", "float-bilinear"])
def test_whole_frames_of_any_aspect_get_the_answers_that_they_get_alone(
    model: SlowFast, folder: Path, resize: str
) -> None:
    whole = copy.deepcopy(model)
    whole.clip_spec = CLIP.replace(crop_rule="whole", crops=1, resize=resize)
    alone = [predict(whole, path) for path in sorted(folder.glob("*.mkv"))]
    for batch_size in (1, 3):
        assert list(predict_many(whole, folder, batch_size=batch_size)) == [
            dataclasses.replace(answer, scores=pytest.approx(answer.scores, abs=1e-6)) for answer in alone
        ]


def test_topk(model: SlowFast, folder: Path) -> None:
    assert len(predict(model, folder / "clip 0.mkv", topk=2).labels) == 2
    assert len(predict(model, folder / "clip 0.mkv").labels) == 4  # five were asked for, four exist


def test_published_views_are_averaged_as_the_spec_says(model: SlowFast, folder: Path) -> None:
    path = folder / "clip 1.mkv"
    logits = model(read_clips(path, CLIP, views="published").tensor()).detach()
    answer = predict(model, path, views="published", topk=None)
    assert answer.views == (3, 3)
    assert [scores(answer)[label] for label in LABELS] == pytest.approx(
        logits.softmax(1).mean(0).tolist(), abs=1e-6
    )
    assert predict(model, path, views=(2, 1)).views == (2, 1)
    assert predict(model, path, views=(np.int64(2), np.int32(1))) == predict(model, path, views=(2, 1))


@pytest.mark.parametrize("views", ["quick", "published"])
def test_every_route_gives_the_same_scores(model: SlowFast, folder: Path, tmp_path: Path, views: Any) -> None:
    from PIL import Image

    path = folder / "clip 0.mkv"
    frames = moving_pattern(24, 48, 64, 0)
    pictures = tmp_path / "frames"
    pictures.mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(pictures / f"img_{index + 1:05}.png")
    reference = scores(predict(model, path, views=views, topk=None))
    routes: dict[str, Any] = {
        "str": str(path),
        "bytes": path.read_bytes(),
        "file object": io.BytesIO(path.read_bytes()),
        "folder of frames": pictures,
        "pattern of frames": str(pictures / "img_{:05}.png"),
        "array": frames,
        "tensor": torch.from_numpy(frames),
    }
    for name, source in routes.items():
        answer = predict(model, source, views=views, topk=None, fps=30)
        assert scores(answer) == pytest.approx(reference, abs=1e-5), name
    for batch in (1, 2, 3, 7, 50):
        answers = list(predict_many(model, folder, views=views, topk=None, batch_size=batch))
        assert [Path(answer.source).name for answer in answers] == [f"clip {i}.mkv" for i in range(4)]
        assert scores(answers[0]) == pytest.approx(reference, abs=1e-5), batch


def test_many_videos(model: SlowFast, folder: Path) -> None:
    paths = sorted(folder.glob("*.mkv"))
    by_folder = [scores(answer) for answer in predict_many(model, folder)]
    assert len(by_folder) == 4
    routes: list[Any] = [str(folder / "*.mkv"), paths, (path for path in paths)]
    for route in routes:
        assert by_folder == [scores(answer) for answer in predict_many(model, route)], "to the bit"
    assert list(predict_many(model, [])) == []
    assert [scores(answer) for answer in predict_many(model, paths[0])] == by_folder[:1]
    assert [scores(predict(model, path)) for path in paths] == by_folder, "in company as alone"


def test_names_in_an_array_are_names(model: SlowFast, folder: Path) -> None:
    """NumPy's text, and a column of a table (pandas), whose array holds objects."""

    class Column(list[str]):
        dtype, ndim = np.dtype(object), 1

        def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
            return np.array(list(self), object)

    names = [str(folder / f"clip {seed}.mkv") for seed in (1, 2)]
    expected = list(predict_many(model, names))
    assert [answer.error for answer in expected] == [None, None]
    for column in (np.array(names), np.array(names, object), Column(names)):
        assert list(predict_many(model, column)) == expected
        with pytest.raises(InputError, match="One video is expected"):
            predict(model, cast("Any", column))
    assert predict(model, np.str_(names[0])) == expected[0]


def test_predict_takes_one_video_and_names_the_other(model: SlowFast, folder: Path) -> None:
    many: list[Any] = [folder, str(folder), str(folder / "*.mkv"), [folder / "clip 0.mkv"], iter([])]
    for source in many:
        with pytest.raises(InputError, match=r"One video is expected, and .*; predict_many answers"):
            predict(model, source)


def test_a_list_of_frames_is_no_video_yet(model: SlowFast) -> None:
    frames = list(moving_pattern(3))
    pictures = [Image.fromarray(frame) for frame in frames]
    for given in (frames, tuple(frames), [torch.from_numpy(frame) for frame in frames], pictures):
        for call in (lambda source: predict(model, source), open_video):
            with pytest.raises(InputError, match=r"got a \w+ of 3 frames: numpy\.stack\(frames\) makes"):
                call(cast("Any", given))
    errors = [answer.error or "" for answer in predict_many(model, frames)]
    assert len(errors) == 3 and all("numpy.stack(frames)" in error for error in errors)


class Fails:
    """An array that fails as none does."""

    def __array__(self, *_: object, **__: object) -> Any:
        raise ZeroDivisionError("a fault of ours")


def test_a_bad_video_among_many_does_not_end_the_run(
    model: SlowFast, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    empty, cut = tmp_path / "empty.mp4", tmp_path / "cut.mkv"
    empty.touch()
    cut.write_bytes((folder / "clip 0.mkv").read_bytes()[:300])
    good = folder / "clip 1.mkv"
    bad: dict[Any, str] = {
        empty: "empty.mp4' is empty",
        tmp_path / "missing.mp4": "missing.mp4' doesn't exist",
        cut: "cut.mkv",
        tmp_path / ("x" * 300): "File name too long",
        "": "names nothing",
        7: "got int",
        "http://[::1/x": "",
        Fails(): "ZeroDivisionError: a fault of ours",
        "nul\0byte.mp4": "",
    }
    with caplog.at_level("DEBUG", logger="slowfast_zoo"):
        answers = list(predict_many(model, [good, *bad, np.zeros((3, 3)), good]))
    assert len(answers) == len(bad) + 3
    for answer, says in zip(answers[1:-2], bad.values(), strict=True):
        assert answer.error, answer
        assert says in answer.error, answer
        assert answer.labels == ()
    assert "uint8 RGB" in (answers[-2].error or "")
    assert scores(answers[0]) == pytest.approx(scores(answers[-1]), abs=1e-6)
    assert "Traceback" in caplog.text and "a fault of ours" in caplog.text
    for path in (empty, cut, tmp_path / "missing.mp4"):
        with pytest.raises(VideoError, match=path.name):
            predict(model, path)
    with pytest.raises(ZeroDivisionError):
        predict(model, cast(Any, Fails()))


def test_an_interrupt_ends_the_run(model: SlowFast, folder: Path) -> None:
    class Interrupted:
        def read(self, size: int = -1) -> bytes:
            raise KeyboardInterrupt

    sources: list[Any] = [folder / "clip 0.mkv", Interrupted()]
    with pytest.raises(KeyboardInterrupt):
        list(predict_many(model, sources))


def test_what_fails_in_the_network_fails_alone(model: SlowFast, folder: Path) -> None:
    """NaN, an odd error, no memory for one view: each is a row, and its neighbors are answered."""
    black = np.zeros((24, 48, 64, 3), np.uint8)
    for error in (RuntimeError("odd"), torch.OutOfMemoryError("no more"), ValueError("odd"), None):

        def refuse(module: nn.Module, arguments: tuple[Any, ...], error: Any = error) -> Any:
            dark = arguments[0].mean(dim=(1, 2, 3, 4)) < -1.9
            if error is not None and dark.any():
                raise error
            return (arguments[0].masked_fill(dark.view(-1, 1, 1, 1, 1), float("nan")),)

        hook = model.register_forward_pre_hook(refuse)
        try:
            sources: list[Any] = [folder / "clip 0.mkv", black, folder / "clip 1.mkv"]
            answers = list(predict_many(model, sources, fps=30, batch_size=3))
        finally:
            hook.remove()
        assert [answer.error is None for answer in answers] == [True, False, True]
        assert any(word in (answers[1].error or "") for word in ("odd", "NaN", "Memory")), answers[1].error


def test_urls_are_named_without_secrets(model: SlowFast) -> None:
    urls = ["http://me:SECRET@127.0.0.1:1/a.mp4?sig=SECRET#SECRET", "https://x:SECRET@[::1/b.mp4?SECRET"]
    answers = list(predict_many(model, urls))
    assert answers[0].source == "http://127.0.0.1:1/a.mp4"
    assert all(answer.error and "SECRET" not in repr(answer) + answer.error for answer in answers)
    with pytest.raises(InputError, match=r"\['http://127\.0\.0\.1:1/a\.mp4'\].* is a list") as caught:
        predict(model, urls[:1])  # type: ignore[arg-type]
    assert "SECRET" not in str(caught.value)
    as_path = Path("https://me:SECRET@127.0.0.1:1/a.mp4?sig=SECRET")
    (answer,) = predict_many(model, as_path)
    assert answer.source == "https:/127.0.0.1:1/a.mp4" and "SECRET" not in repr(answer)
    with pytest.raises(VideoError, match="an address is given as text") as missing:
        predict(model, as_path)
    assert "SECRET" not in str(missing.value)


def test_folders_that_link_to_each_other_are_entered_once(model: SlowFast, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    write_video(one / "a.mkv", moving_pattern(20))
    (one / "b.mkv").symlink_to("a.mkv")
    (one / "self").symlink_to(one, target_is_directory=True)
    (one / "two").symlink_to(two, target_is_directory=True)
    (two / "one").symlink_to(one, target_is_directory=True)
    (two / "circle.mkv").symlink_to("circle.mkv")
    for pattern in ("**/*.mkv", "one/**", "*/**/*.mkv", "**/one/**/*.mkv"):
        found = [answer.source for answer in predict_many(model, str(tmp_path / pattern))]
        assert len(found) == 2, (pattern, found)
        assert [Path(source).name for source in found] == ["a.mkv", "b.mkv"]
    assert [path.name for path in list_videos(tmp_path, recursive=True).videos] == ["a.mkv", "b.mkv"]


def test_a_folder_may_have_brackets_in_its_name(model: SlowFast, folder: Path, tmp_path: Path) -> None:
    film, deep = tmp_path / "Film [1080p]", tmp_path / "Film [1080p]" / "deep"
    deep.mkdir(parents=True)
    (deep / "a.mkv").write_bytes((folder / "clip 0.mkv").read_bytes())
    for number, frame in enumerate(moving_pattern(20)):
        Image.fromarray(frame).save(deep / f"{number:05}.png")
    frames = deep / "{:05}.png"
    expected = [predict(model, frames, fps=10)]
    assert list(predict_many(model, frames, fps=10)) == expected
    with pytest.raises(VideoError, match=r"Film \[1080p\]/\*\*/\*'.* also searches"):
        predict_many(model, film)
    for pattern in ("**/*", "*/*.mkv", "deep/**"):
        (answer,) = predict_many(model, str(film / pattern))
        assert answer.source == str(deep / "a.mkv") and answer.error is None
    with pytest.raises(VideoError, match=r"gone \[1080p\]\.mp4' doesn't exist"):
        predict(model, tmp_path / "gone [1080p].mp4")


def test_what_a_folder_leaves_out_is_counted(tmp_path: Path) -> None:
    for name in (".hidden.mp4", ".rows.jsonl.lock", "notes.txt", "noending", "in/side.mp4", "b.MP4", "a.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "gone.mp4").symlink_to("nowhere.mp4")
    listing = list_videos(tmp_path)
    assert [path.name for path in listing.videos] == ["a.mp4", "b.MP4"]
    assert dict(listing.skipped) == {
        "hidden": 1,
        "without a video's ending": 2,
        "folders inside": 1,
        "dangling links": 1,
    }
    assert "folders inside" not in list_videos(tmp_path, recursive=True).skipped


def test_home_and_file_urls(model: SlowFast, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = scores(predict(model, folder / "clip 0.mkv"))
    monkeypatch.setenv("HOME", str(folder))
    for source in ("~/clip 0.mkv", (folder / "clip 0.mkv").as_uri()):
        assert scores(predict(model, source)) == expected
    assert len(list(predict_many(model, "~"))) == len(list(predict_many(model, folder.as_uri()))) == 4
    assert len(list(predict_many(model, "~/*.mkv"))) == 4


def test_damage_is_told(model: SlowFast, tmp_path: Path) -> None:
    """A copy that ended early: what is left is answered, and what is lost is counted."""
    whole = write_video(tmp_path / "whole.avi", moving_pattern(60), codec="mjpeg", pixels="yuvj420p")
    cut = tmp_path / "cut.avi"
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) * 2 // 3])
    assert predict(model, whole).damaged_frames == 0
    answer = predict(model, cut)
    with open_video(cut) as video:
        assert answer.damaged_frames == video.damaged_frames > 0
    assert answer.labels
    assert predict(model, cut).to_dict()["damaged_frames"] == answer.damaged_frames
    assert "3 damaged frames" in repr(dataclasses.replace(answer, damaged_frames=3))


def test_short_videos_say_so(model: SlowFast, folder: Path) -> None:
    assert predict(model, folder / "clip 2.mkv").padded


def test_the_mode_is_restored(model: SlowFast, folder: Path) -> None:
    model.train()
    try:
        before = {name: value.clone() for name, value in model.state_dict().items()}
        answers = predict_many(model, folder)
        next(answers)
        del answers
        assert model.training
        with pytest.raises(VideoError):
            predict(model, folder / "missing.mp4")
        assert model.training
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name])
    finally:
        model.eval()


def test_the_iterator_is_lazy_and_reads_ahead_only_a_little(model: SlowFast, folder: Path) -> None:
    asked = []

    def sources() -> Iterator[Path]:
        for index in range(1000):
            asked.append(index)
            yield folder / "clip 0.mkv"

    answers = predict_many(model, sources())
    for _ in range(3):
        next(answers)
    assert len(asked) < 15


def test_what_a_generator_owns_is_read_before_it_continues(model: SlowFast, folder: Path) -> None:
    paths = sorted(folder.glob("*.mkv"))
    films = [moving_pattern(24, 48, 64, seed) for seed in range(4)]

    def files() -> Iterator[Any]:
        for path in paths:
            with path.open("rb") as file:
                yield file

    def opened() -> Iterator[Any]:
        for path in paths:
            with open_video(path) as video:
                yield video

    def refilled() -> Iterator[Any]:
        frames = np.empty_like(films[0])
        for film in films:
            frames[:] = film
            yield frames

    expected = [answer.scores for answer in predict_many(model, paths)]
    assert [answer.scores for answer in predict_many(model, files())] == expected
    assert [answer.scores for answer in predict_many(model, opened())] == expected
    answers = predict_many(model, refilled(), fps=30)
    assert [answer.scores for answer in answers] == [predict(model, film, fps=30).scores for film in films]


def test_what_is_read_is_given_out_while_a_generators_next_film_is_read(model: SlowFast) -> None:
    films, given, waited = [moving_pattern(24, 48, 64, seed) for seed in range(3)], threading.Event(), []

    class Watched(Predictor):
        def read(self, source: Any) -> Clips:
            if source is films[1]:
                waited.append(given.wait(30))
            return super().read(source)

    jobs = Watched(model, fps=30)._read_ahead(iter(films))
    next(jobs)
    given.set()
    assert len(list(jobs)) == 2 and waited == [True]


def test_views_made_while_an_engine_computes_keep_their_order(model: SlowFast, folder: Path) -> None:
    """Each of two batches is written while the other is computed."""
    films = sorted(folder.glob("clip*.mkv"))
    expected = [scores(predict(model, film, views=(3, 1))) for film in films]
    fast = optimize(model, "openvino")
    assert BatchRunner(fast).own_threads and not BatchRunner(model).own_threads
    for batch_size in (1, 2, 4):
        answers = predict_many(fast, films, views=(3, 1), batch_size=batch_size)
        for answer, right in zip(answers, expected, strict=True):
            assert scores(answer) == pytest.approx(right, abs=1e-5)


def test_out_of_memory_halves_the_batch(model: SlowFast, folder: Path) -> None:
    sizes = []

    def limited(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        sizes.append(len(arguments[0]))
        if len(arguments[0]) > 2:
            raise torch.OutOfMemoryError("no more")

    path = folder / "clip 0.mkv"
    reference = scores(predict(model, path, views="published"))
    hook = model.register_forward_pre_hook(limited)
    try:
        (answer,) = predict_many(model, [path], views="published", batch_size=8)
    finally:
        hook.remove()
    assert sizes == [8, 4, 2, 2, 2, 2, 1]
    assert scores(answer) == pytest.approx(reference, abs=1e-6)


def test_what_another_thread_halved_stays_halved(model: SlowFast) -> None:
    runner = BatchRunner(model, batch_size=8)

    def halved_meanwhile(clips: torch.Tensor) -> torch.Tensor:
        runner.batch_size = 2
        return torch.zeros(len(clips), 6)

    runner._logits = halved_meanwhile  # type: ignore[method-assign]
    assert len(runner(torch.zeros(4, 3, 8, 32, 32))) == 4
    assert runner.batch_size == 2


@pytest.mark.parametrize("batch_size", [1, 8])
def test_what_was_given_before_a_failure_is_answered(model: SlowFast, folder: Path, batch_size: int) -> None:
    paths = sorted(folder.iterdir())[:3]

    def listed() -> Iterator[Path]:
        yield from paths
        raise LookupError("the database is gone")

    answers: list[str] = []
    with pytest.raises(LookupError, match="the database is gone"):
        answers.extend(answer.source for answer in predict_many(model, listed(), batch_size=batch_size))
    assert answers == [str(path) for path in paths]


def test_a_batch_that_has_no_room_is_halved_before_it_is_written(
    model: SlowFast, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, sizes = torch.empty, list[int]()

    def scarce(*shape: Any, **how: Any) -> torch.Tensor:
        if "pin_memory" in how:
            sizes.append(shape[0][0])
        if "pin_memory" in how and shape[0][0] > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate much")
        return make(*shape, **how)

    monkeypatch.setattr(torch, "empty", scarce)
    sources = sorted(folder.iterdir())[:3]
    answers = list(predict_many(model, sources, batch_size=8))
    assert sizes == [8, 4, 2]
    wanted = predict_many(model, sources, batch_size=2)
    assert [each.scores for each in answers] == [each.scores for each in wanted]
    with pytest.raises(InputError, match="batch_size is too large; accepted: at most 65536"):
        predict_many(model, sources, batch_size=10**30)


def test_out_of_memory_with_one_view_is_an_error(model: SlowFast, folder: Path) -> None:
    def full(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        raise torch.OutOfMemoryError("no more")

    hook = model.register_forward_pre_hook(full)
    try:
        with pytest.raises(OutOfMemoryError, match=r"suffice for one clip .*no more.*choose a smaller model"):
            predict(model, folder / "clip 0.mkv")
    finally:
        hook.remove()


def test_nan_is_never_an_answer(model: SlowFast, folder: Path) -> None:
    broken = SlowFast(model.spec)
    broken.clip_spec = CLIP
    broken.slow.stem.conv.weight.data.fill_(float("nan"))
    with pytest.raises(SlowFastZooError, match=r"returned NaN for .*clip 0\.mkv"):
        predict(broken, folder / "clip 0.mkv")


def test_without_labels_classes_are_numbered(model: SlowFast, folder: Path) -> None:
    plain = SlowFast(model.spec)
    plain.clip_spec = CLIP
    assert set(predict(plain, folder / "clip 0.mkv").labels) == {f"class {i}" for i in range(4)}


@pytest.mark.parametrize("answers", [2, 7])
def test_a_classifier_of_other_classes_is_not_named_by_the_old_names(
    model: SlowFast, folder: Path, answers: int
) -> None:
    other = copy.deepcopy(model)
    other.classifier = layer = nn.Linear(model.num_features, answers)
    way_out = (
        rf"gives {answers} numbers, model\.spec says 4 classes: call model\.reset_classifier\({answers}, "
    )
    for wrong in (other, optimize(other, engine="eager")):
        with pytest.raises(InputError, match=way_out):
            predict(wrong, folder / "clip 0.mkv")
        with pytest.raises(InputError, match=way_out):
            list(predict_many(wrong, folder))
    other.reset_classifier(answers)
    other.classifier = layer
    assert set(predict(other, folder / "clip 0.mkv", topk=None).labels) == {
        f"class {i}" for i in range(answers)
    }


def test_a_classifier_of_other_classes_counts_them_where_there_are_no_names(
    model: SlowFast, folder: Path
) -> None:
    other = copy.deepcopy(model)
    other.labels, other.classifier = None, nn.Linear(model.num_features, 7)
    assert set(predict(other, folder / "clip 0.mkv", topk=None).labels) == {f"class {i}" for i in range(7)}
    with pytest.raises(InputError, match=r"gives 7 numbers, model\.spec says 4 classes"):
        timeline(other, folder / "clip 0.mkv")
    other.classifier = nn.Identity()
    with pytest.raises(InputError, match=r"model\.reset_classifier\(0\) makes a model of features"):
        predict(other, folder / "clip 0.mkv")


def test_lower_precision_models_are_fed_their_own(model: SlowFast, folder: Path) -> None:
    twin = SlowFast(model.spec)
    twin.load_state_dict(model.state_dict())
    twin.clip_spec = CLIP
    twin.to(torch.bfloat16)
    answer = predict(twin, folder / "clip 0.mkv", topk=None)
    assert sum(answer.scores) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"topk": 0}, "topk is 0"),
        ({"topk": 2.5}, "topk is 2.5"),
        ({"views": "publised"}, "Did you mean 'published'"),
        ({"views": (2, 2)}, r"up to 1000 clips and 1 or 3 crops"),
        ({"fps": -1}, "fps"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2.0}, "batch_size is 2.0"),
    ],
)
def test_wrong_arguments(model: SlowFast, folder: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        if "batch_size" in change:
            predict_many(model, folder / "clip 0.mkv", **change)
        else:
            predict(model, folder / "clip 0.mkv", **change)


def test_wrong_models_and_sources(model: SlowFast, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes a SlowFast model, got str"):
        predict("slowfast_r50_4x16x1", folder / "clip 0.mkv")  # type: ignore[arg-type]
    parallel = nn.DataParallel(model)
    for wrapped, way in (
        (parallel, r"got DataParallel \(give model\.module\)"),
        (torch.compile(parallel), r"got OptimizedModule \(give model\._orig_mod\.module\)"),
        (nn.Sequential(model), "got Sequential;"),
    ):
        with pytest.raises(InputError, match=way):
            predict(cast(SlowFast, wrapped), folder / "clip 0.mkv")
    with pytest.raises(InputError, match="no classifier"):
        predict_many(SlowFast(model.spec.replace(num_classes=0)), folder)
    with pytest.raises(InputError, match="takes 1 channels"):
        predict_many(SlowFast(model.spec.replace(in_channels=1)), folder)
    with torch.device("meta"), pytest.raises(InputError, match="on the meta device: load weights"):
        predict(SlowFast(model.spec), folder / "clip 0.mkv")
    with pytest.raises(InputError, match="got int"):
        predict(model, 3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="uint8 RGB of shape"):
        predict(model, np.zeros((8, 32, 32, 3), np.float32))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="names nothing"):
        predict(model, "")
    with pytest.raises(VideoError, match=r"holds neither videos nor frames; .*or -r on the command line"):
        predict_many(model, tmp_path)
    with pytest.raises(VideoError, match="No video matches"):
        predict_many(model, str(tmp_path / "*.mp4"))


def test_decoding_overlaps_with_the_network(model: SlowFast, folder: Path) -> None:
    """While the network holds the first batch, later videos get decoded."""
    content = (folder / "clip 0.mkv").read_bytes()
    opened: set[int] = set()

    class Noted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            opened.add(id(self))
            return super().read(size)

    seen: list[int] = []

    def slow(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        deadline = time.monotonic() + 20
        while not seen and len(opened) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        seen.append(len(opened))

    hook = model.register_forward_pre_hook(slow)
    try:
        assert len(list(predict_many(model, [Noted(content) for _ in range(5)], batch_size=1))) == 5
    finally:
        hook.remove()
    assert seen[0] >= 3, "videos 2 and 3 were not read while the first was in the network"


def test_engines_give_the_same_answer(model: SlowFast, folder: Path) -> None:
    reference = scores(predict(model, folder / "clip 0.mkv", views="published", topk=None))
    for engine in ("eager", "onnxruntime", "openvino"):
        answer = predict(model, folder / "clip 0.mkv", views="published", topk=None, engine=engine)
        assert scores(answer) == pytest.approx(reference, abs=1e-5), engine
    fast = optimize(model, "openvino")
    assert scores(predict(fast, folder / "clip 0.mkv", views="published", topk=None)) == pytest.approx(
        reference, abs=1e-5
    )
    with pytest.raises(InputError, match="optimized already"):
        predict(fast, folder / "clip 0.mkv", engine="eager")
    with pytest.raises(InputError, match="computes in float32; give precision='bfloat16' to optimize"):
        predict(fast, folder / "clip 0.mkv", precision="bfloat16")
    with pytest.raises(UnknownNameError, match="Did you mean 'bfloat16'"):
        predict(fast, folder / "clip 0.mkv", precision="bfloat61")  # type: ignore[arg-type]


@pytest.mark.usefixtures("bfloat16_kernels")
def test_half_precision_gives_nearly_the_same_answer(
    monkeypatch: pytest.MonkeyPatch, model: SlowFast, folder: Path
) -> None:
    # That this processor's convolutions are tried first is another test's subject.
    monkeypatch.setattr(trial, "try_convolutions", lambda asked, *_, **__: dict.fromkeys(asked, ""))
    reference = scores(predict(model, folder / "clip 0.mkv", views="published", topk=None))
    rounded = predict(model, folder / "clip 0.mkv", views="published", topk=None, precision="bfloat16")
    assert scores(rounded) == pytest.approx(reference, abs=0.05)


def test_auto_is_told_how_many_views_will_come(monkeypatch: pytest.MonkeyPatch, model: SlowFast) -> None:
    asked: list[int | None] = []

    def seen(*given: Any) -> None:
        asked.append(given[-1])

    monkeypatch.setattr(kept, "choose", seen)
    videos = [np.zeros((70, 32, 32, 3), np.uint8)] * 3
    model = copy.deepcopy(model)  # which no earlier call has counted clips of
    predict_many(model, videos)
    predict_many(model, videos, views="published")
    predict_many(model, iter(videos))
    thrice = 3 * math.prod(view_counts(model.clip_spec, "published"))
    assert asked == [3, 3 + thrice, None]


def test_a_chosen_engine_that_fails_is_replaced(
    monkeypatch: pytest.MonkeyPatch, model: SlowFast, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, batch: int) -> None:
        raise ExportError("no such operator")

    model = copy.deepcopy(model)  # which no engine has been built for
    expected = scores(predict(model, folder / "clip 0.mkv", views="published", topk=None))
    monkeypatch.setattr(kept, "choose", lambda *_, **__: "openvino")
    monkeypatch.setattr(optimize_module, "choose", lambda *_: "openvino")
    monkeypatch.setattr(openvino, "to_openvino", fail)
    answer = predict(model, folder / "clip 0.mkv", views="published", topk=None)
    assert scores(answer) == pytest.approx(expected, abs=1e-5)
    assert "eager takes its place: no such operator" in caplog.text


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://h/v.mp4?id=1", "https://h/v.mp4?id=2", False),
        ("https://h/v.mp4?st=1", "https://h/v.mp4?st=2", False),
        ("https://me:a@h/v.mp4?id=1", "https://h/v.mp4?id=1", True),
        (
            "https://h/v.mp4?X-Amz-Date=1&X-Amz-Signature=a&id=1",
            "https://h/v.mp4?X-Amz-Date=2&X-Amz-Signature=b&id=1",
            True,
        ),
        ("https://h/v.mp4?Expires=1&Signature=a&Key-Pair-Id=b", "https://h/v.mp4", True),
        ("https://h/v.mp4?st=1&se=2&sig=a", "https://h/v.mp4?st=3&se=4&sig=b", True),
        ("https://h/v.mp4?X-Goog-Signature=a&id=1", "https://h/v.mp4?X-Goog-Signature=a&id=2", False),
        ("v.mp4?sig=a", "v.mp4?sig=b", False),
    ],
)
def test_an_address_is_the_same_when_it_is_signed_anew(one: str, other: str, same: bool) -> None:
    assert (source_hash(one) == source_hash(other)) is same
