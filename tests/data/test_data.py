"""Datasets: a list of each reader, training and evaluation items, and what is wrong with them."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.movies import moving_pattern, write_stamped, write_video

from slowfast_zoo.data.annotations import Annotations, Sample
from slowfast_zoo.data.dataset import ReplacingDataset, VideoDataset, most_unreadable, open_dataset
from slowfast_zoo.data.lists import read_annotations
from slowfast_zoo.data.loader import ItemKey, KeyedItems, collate, load, normalized
from slowfast_zoo.data.tables import write_split, write_table
from slowfast_zoo.errors import DataError, FrameCountError, InputError, UnknownNameError, VideoError
from slowfast_zoo.evaluation.evaluate import evaluate
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.video.clips import read_clips
from slowfast_zoo.video.decoding.images import ArrayVideo
from slowfast_zoo.video.decoding.video import Frame

SPEC = ClipSpec(num_frames=4, frame_stride=2, size=40, crop=32, test_crop=32, clips=2, crops=3)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two class folders: two videos with a space in the name each."""
    root = tmp_path_factory.mktemp("data") / "my clips"
    for label, seeds in (("jump", (0, 1)), ("run", (2, 3))):
        (root / label).mkdir(parents=True)
        for seed in seeds:
            write_video(root / label / f"clip {seed}.mkv", moving_pattern(24, 48, 64, seed))
    return root


def frames_folder(folder: Path, frames: np.ndarray, name: str = "img_{:05}.png") -> Path:
    folder.mkdir(parents=True)
    for place, frame in enumerate(frames, 1):
        Image.fromarray(frame).save(folder / name.format(place))
    return folder


def named(annotations: Annotations, root: Path) -> list[tuple[str, tuple[int, ...]]]:
    return [(sample.path.relative_to(root).as_posix(), sample.labels) for sample in annotations.samples]


EXPECTED = [
    ("jump/clip 0.mkv", (0,)),
    ("jump/clip 1.mkv", (0,)),
    ("run/clip 2.mkv", (1,)),
    ("run/clip 3.mkv", (1,)),
]


def test_class_folders(clips: Path) -> None:
    annotations = read_annotations(clips)
    assert named(annotations, clips) == EXPECTED
    assert annotations.labels == ("jump", "run")
    assert not annotations.multi_label
    assert annotations.counts() == [2, 2]
    assert repr(annotations) == "Annotations(4 clips, 2 classes)"
    assert (
        repr(open_dataset(annotations, SPEC))
        == f"VideoDataset(4 clips of {SPEC.num_frames} frames, 2 classes)"
    )
    for spec, views, says in [
        (SPEC, "all", "views is 'all'"),
        (annotations, "quick", "clip_spec is of type Annot"),
    ]:
        with pytest.raises(InputError, match=says):
            open_dataset(annotations, spec, views=views)  # type: ignore[arg-type]
    reverse = read_annotations(clips, labels=["run", "walk", "jump"])
    assert [sample.labels for sample in reverse.samples] == [(2,), (2,), (0,), (0,)]


def test_class_folders_called_by_numbers_are_names_in_natural_order(tmp_path: Path) -> None:
    for name in ("10", "2", "3"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.mp4").write_bytes(b"x")
    annotations = read_annotations(tmp_path)
    assert annotations.labels == ("2", "3", "10")
    assert [sample.labels[0] for sample in annotations.samples] == [2, 0, 1]


VIDEO_LIST = "jump/clip 0.mkv 0\njump/clip 1.mkv 0\nrun/clip 2.mkv 1\nrun/clip 3.mkv 1\n"


def test_relative_paths_begin_at_the_lists_own_folder(clips: Path) -> None:
    path = clips / "list.txt"
    path.write_text(VIDEO_LIST)
    try:
        assert read_annotations(path).samples[0].path.is_file()
    finally:
        path.unlink()


def test_separator_of_pyslowfast_may_be_anything(clips: Path, tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text(VIDEO_LIST.replace("mkv ", "mkv|"))
    assert named(read_annotations(path, root=clips, separator="|"), clips) == EXPECTED


def test_paths_that_end_in_numbers(tmp_path: Path) -> None:
    (tmp_path / "take 7.mp4").write_bytes(b"x")
    (tmp_path / "list.txt").write_text("take 7.mp4 3\n")
    (sample,) = read_annotations(tmp_path / "list.txt").samples
    assert (sample.path.name, sample.labels) == ("take 7.mp4", (3,))
    frames_folder(tmp_path / "walk 12", moving_pattern(2, 16, 16))
    (tmp_path / "frames.txt").write_text("walk 12 2 5\n")
    (sample,) = read_annotations(tmp_path / "frames.txt").samples
    assert (sample.path.name, sample.labels, sample.num_frames) == ("walk 12", (5,), 2)


def test_several_labels(clips: Path, tmp_path: Path) -> None:
    written = {
        "list.txt": "jump/clip 0.mkv 0 2\nrun/clip 2.mkv 1\n",
        "table.csv": "path,labels\njump/clip 0.mkv,0 2\nrun/clip 2.mkv,1\n",
        "names.csv": "path,labels\njump/clip 0.mkv,a person; high jump\nrun/clip 2.mkv,fast\n",
        "lines.jsonl": '{"path": "jump/clip 0.mkv", "labels": [0, 2]}\n'
        '{"path": "run/clip 2.mkv", "labels": [1]}',
    }
    for name, text in written.items():
        (tmp_path / name).write_text(text)
        annotations = read_annotations(tmp_path / name, root=clips)
        assert annotations.multi_label
        assert annotations.num_classes == 3
        if name == "names.csv":
            assert annotations.labels == ("a person", "fast", "high jump")
        else:
            dataset = VideoDataset(annotations, SPEC, train=False, views=(1, 1))
            target = dataset[0][1]
            assert isinstance(target, torch.Tensor)
            assert target.tolist() == [1.0, 0.0, 1.0]
    with pytest.raises(DataError, match="2 labels"):
        read_annotations(tmp_path / "list.txt", root=clips, multi_label=False)


def test_frame_folders_with_and_without_offset(tmp_path: Path) -> None:
    frames = moving_pattern(12, 48, 64, 5)
    frames_folder(tmp_path / "f" / "a b", frames)
    (tmp_path / "raw.txt").write_text("f/a b 12 1\n")
    (tmp_path / "short.txt").write_text("f/a b 9 1\n")
    (tmp_path / "offset.txt").write_text("f/a b 3 6 1\n")
    whole = open_dataset(tmp_path / "raw.txt", SPEC)
    with whole.open(0) as video:
        np.testing.assert_array_equal(video.frames(range(video.num_frames)), frames)
    with open_dataset(tmp_path / "short.txt", SPEC).open(0) as video:
        assert video.num_frames == 9
    offset = open_dataset(read_annotations(tmp_path / "offset.txt", form="rawframes-offset"), SPEC)
    with offset.open(0) as video:
        np.testing.assert_array_equal(video.frames([0, 5, 2]), frames[[3, 8, 5]])
    several = read_annotations(tmp_path / "offset.txt", form="rawframes", multi_label=True)
    assert (several.samples[0].num_frames, several.samples[0].labels) == (3, (6, 1))


def test_a_picture_beside_videos_is_a_still_of_one(clips: Path, tmp_path: Path) -> None:
    frames = moving_pattern(4, 48, 64)
    (tmp_path / "jump" / "s1").mkdir(parents=True)
    for name in ("v0.mkv", "v1.mkv"):
        shutil.copy(clips / "jump" / "clip 0.mkv", tmp_path / "jump" / "s1" / name)
    Image.fromarray(frames[0]).save(tmp_path / "jump" / "s1" / "v0.png")
    frames_folder(tmp_path / "jump" / "s2", frames)
    (tmp_path / "jump" / "s2" / "inside.avi").mkdir()
    found = [name for name, _ in named(read_annotations(tmp_path), tmp_path)]
    assert found == ["jump/s1/v0.mkv", "jump/s1/v1.mkv", "jump/s2"]


def test_a_folder_of_frames_may_be_called_like_a_video(tmp_path: Path) -> None:
    frames = moving_pattern(6, 48, 64)
    folder = frames_folder(tmp_path / "clip.avi", frames)
    Image.fromarray(frames[0]).save(folder / "flow_x_00001.png")
    (tmp_path / "list.txt").write_text("clip.avi 6 0\n")
    found = read_annotations(tmp_path / "list.txt", form="rawframes", frame_pattern="img_{:05}.png", fps=12)
    with found.samples[0].open() as video:
        assert (video.num_frames, video.fps) == (6, 12)


def test_a_rate_in_a_table_is_that_of_frames_and_never_of_a_video(tmp_path: Path) -> None:
    slow = write_stamped(tmp_path / "v.mkv", range(0, 2400, 200), frames=moving_pattern(12, 16, 16))
    frames_folder(tmp_path / "f", moving_pattern(12, 16, 16))
    (tmp_path / "t.csv").write_text(f"path,label,start,end,fps\n{slow.name},x,1,2,10\nf,x,1,2,10\n")
    (tmp_path / "u.csv").write_text("path,label\nf,x\n")
    video, frames = read_annotations(tmp_path / "t.csv").samples
    with video.open() as by_stamps, frames.open() as by_rate:
        assert (by_stamps.num_frames, by_rate.num_frames) == (5, 2)
    with read_annotations(tmp_path / "u.csv", fps=Fraction(30000, 1001)).samples[0].open() as ntsc:
        assert ntsc.fps == Fraction(30000, 1001)


def test_frame_pattern_chooses_one_of_several_series(tmp_path: Path) -> None:
    frames = moving_pattern(6, 48, 64)
    folder = frames_folder(tmp_path / "c" / "x", frames)
    Image.fromarray(frames[0]).save(folder / "flow_x_00001.png")
    with pytest.raises(VideoError, match="several series"):
        open_dataset(tmp_path, SPEC)[0]
    chosen = open_dataset(read_annotations(tmp_path, frame_pattern="img_{:05}.png"), SPEC)
    with chosen.open(0) as video:
        assert video.num_frames == 6


@pytest.mark.parametrize(
    "text", ["{a}, 24, 0\n{b}, 20, 1\n", "video_id, num_frames, label_index\n{a} 24 0\n{b} 20 1\n"]
)
def test_lists_of_video_ids_find_their_files(clips: Path, tmp_path: Path, text: str) -> None:
    first, second = "-abc_d 4xyz".replace(" ", "-"), "ABCDEFGHIJK"
    root = tmp_path / "videos"
    (root / "some class").mkdir(parents=True)
    (root / "some class" / f"{first}_000010_000020.mkv").write_bytes(
        (clips / "jump" / "clip 0.mkv").read_bytes()
    )
    frames_folder(root / second, moving_pattern(20, 48, 64))
    (tmp_path / "val.txt").write_text(text.format(a=first, b=second))
    dataset = open_dataset(read_annotations(tmp_path / "val.txt", root=root), SPEC)
    assert [Path(dataset.name_of(index)).name for index in range(2)] == [f"{first}_000010_000020.mkv", second]
    assert [dataset[index][1] for index in range(2)] == [0, 1]


def test_parts_in_seconds_are_videos_of_their_own(clips: Path, tmp_path: Path) -> None:
    path = clips / "jump" / "clip 0.mkv"
    (tmp_path / "t.csv").write_text(
        f"path,label,start,end\n{path},a,0.2,0.5\n{path},b,,\n{path},a,0.6,\n{path},b,9,10"
    )
    dataset = open_dataset(tmp_path / "t.csv", SPEC, views=(2, 1))
    frames = moving_pattern(24, 48, 64, 0)
    with dataset.open(0) as part:
        assert part.num_frames == 9  # 30 frames per second
        np.testing.assert_array_equal(part.frames([0, 8]), frames[[6, 14]])
        assert part.info.fps == 30
        np.testing.assert_array_equal(np.stack([frame for _, _, frame in part.stream()]), frames[6:15])
    assert dataset.name_of(0).endswith("clip 0.mkv [0.2-0.5 s]")
    assert dataset.name_of(1).endswith("clip 0.mkv")
    with dataset.open(2) as part:
        assert part.num_frames == 6
    with pytest.raises(VideoError, match="24 frames"):
        dataset[3]
    views, _ = dataset[0]
    expected = read_clips(frames[6:15], SPEC, views=(2, 1)).tensor()
    assert torch.equal(normalized(views, SPEC), expected)


def test_evaluation_items_are_the_clip_builders_views(clips: Path) -> None:
    dataset = open_dataset(clips, SPEC)
    views, target = dataset[2]
    assert (views.shape, views.dtype, target) == ((6, 4, 32, 32, 3), torch.uint8, 1)
    expected = read_clips(clips / "run" / "clip 2.mkv", SPEC, views="published")
    assert torch.equal(normalized(views, SPEC), expected.tensor())
    floats = SPEC.replace(resize="float-bilinear")
    views, _ = open_dataset(clips, floats, views="quick")[2]
    assert (views.shape, views.dtype) == ((1, 3, 4, 32, 32), torch.float32)
    assert read_clips(clips / "run" / "clip 2.mkv", floats).pixels() is None


def keyed(dataset: VideoDataset, seed: int = 7, epoch: int = 0) -> list[torch.Tensor]:
    items = KeyedItems(dataset, seed)
    return [items[ItemKey(0, epoch, index)][1] for index in range(len(dataset))]


def test_training_items_repeat_by_seed_and_epoch_for_any_number_of_workers(clips: Path) -> None:
    dataset = open_dataset(clips, SPEC, train=True)
    first = keyed(dataset)
    assert first[0].shape == (3, 4, 32, 32)
    again = keyed(pickle.loads(pickle.dumps(dataset)))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], keyed(dataset, epoch=1)[0])
    assert not torch.equal(first[0], keyed(dataset, seed=8)[0])
    keys = [[ItemKey(0, 0, 0), ItemKey(0, 0, 1)], [ItemKey(0, 0, 2), ItemKey(0, 0, 3)]]
    batches = list(load(KeyedItems(dataset, 7), keys, 2, torch.device("cpu")))
    assert torch.equal(torch.cat([batch.clips for batch in batches]), torch.stack(first))
    assert torch.cat([batch.targets for batch in batches]).tolist() == [0, 0, 1, 1]


def test_a_flip_exchanges_the_classes_that_it_mirrors(clips: Path) -> None:
    others: Any = (((0, 1), (1, 0)), ((0, 1), (0, 1)), zip([0], [1], strict=True), np.array([[1, 0]]))
    for pairs in (((0, 1),), *others):
        dataset = open_dataset(clips, SPEC.replace(flip=1.0), train=True, flip_pairs=pairs)
        assert [dataset[index][1] for index in range(4)] == [1, 1, 0, 0]
    own = open_dataset(clips, SPEC.replace(flip=1.0), train=True, flip_pairs=((1, 1),))
    assert own[3][1] == 1, "a class may be its own mirror"


@pytest.mark.parametrize(
    "pairs", [(("jump", "run"),), ((0, 7),), ((-1, 0),), ((0, 1), (1, 1)), (0, 1), ((0, 1, 0),), 1, ("01",)]
)
@pytest.mark.parametrize("training", [True, False])
def test_pairs_that_a_flip_exchanges_are_numbers_of_classes(clips: Path, pairs: Any, training: bool) -> None:
    with pytest.raises(InputError, match="pairs of the numbers of classes from 0 to 1, each class in one"):
        open_dataset(clips, SPEC, train=training, flip_pairs=pairs)


def broken(clips: Path, folder: Path, good: int, bad: int) -> Path:
    (folder / "a").mkdir(parents=True)
    for place in range(good):
        (folder / "a" / f"good{place}.mkv").write_bytes((clips / "jump" / "clip 0.mkv").read_bytes())
    for place in range(bad):
        content = (clips / "jump" / "clip 1.mkv").read_bytes()[:300] if place % 2 else b""
        (folder / "a" / f"bad{place}.mkv").write_bytes(content)
    return folder


def test_training_replaces_unreadable_clips_alike_in_every_run_and_counts_them(
    clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = open_dataset(broken(clips, tmp_path, 18, 2), SPEC, train=True)
    first = keyed(dataset)
    assert sorted(dataset.unreadable) == [0, 1]
    assert "bad0.mkv" in dataset.unreadable[0]
    assert len(caplog.records) == 2
    again = keyed(pickle.loads(pickle.dumps(open_dataset(tmp_path, SPEC, train=True))))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, keyed(dataset), strict=True))  # known bad ones
    assert len(caplog.records) == 4


@pytest.mark.parametrize("part", [False, True])
def test_the_process_that_trains_counts_what_others_replaced(clips: Path, tmp_path: Path, part: bool) -> None:
    """Of a part of the data, too; one of two processes meets two of the unreadable clips, the other one."""
    whole = open_dataset(broken(clips, tmp_path, 40, 3), SPEC, train=True)
    places = [2, 1, 0, *range(3, 43)] if part else range(43)
    items = KeyedItems(torch.utils.data.Subset(whole, places) if part else whole, 0)
    keys = [[ItemKey(0, epoch, index)] for epoch in (0, 1) for index in range(4)]
    batches = list(load(items, keys, 2, torch.device("cpu")))
    assert len(batches) == 8 and sorted(whole.unreadable) == [0, 1, 2]
    assert all(f"bad{index}.mkv" in reason for index, reason in whole.unreadable.items())
    few = open_dataset(tmp_path, SPEC, train=True, max_unreadable=0.05)
    with pytest.raises(DataError, match=r"^3 of 3 clips can't be read so far \(of 43 in all\), more than"):
        list(load(KeyedItems(few, 0), keys, 2, torch.device("cpu")))


def test_what_replaces_a_partly_unreadable_clip_depends_on_the_key_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(4):
        frames_folder(tmp_path / f"class{number % 2}" / f"clip{number}", moving_pattern(9, 36, 36, number))
    cut = tmp_path / "class0" / "clip0" / "img_00005.png"
    cut.write_bytes(cut.read_bytes()[:60])

    def opened() -> VideoDataset:
        return open_dataset(tmp_path, SPEC, train=True)

    through = opened()
    found = [keyed(through, epoch=epoch)[0] for epoch in range(8)]
    assert list(through.unreadable) == [0]
    warned = len(caplog.records)
    anew = [keyed(opened(), epoch=epoch)[0] for epoch in range(8)]
    assert all(torch.equal(a, b) for a, b in zip(found, anew, strict=True))
    assert warned == 1 < len(caplog.records) < 6, "some clips of it are read, others not"


class Numbers(ReplacingDataset):
    """A thousand items, of which those in ``bad`` can't be read."""

    def __init__(self, bad: set[int], part: float = 0.1) -> None:
        super().__init__(part)
        self.bad = bad

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> int:
        return int(self._training_item(index))

    def _augmented(self, index: int, rng: np.random.Generator) -> int:
        if index in self.bad:
            raise VideoError(f"clip {index} is truncated.")
        return index


@pytest.mark.parametrize(
    ("bad", "part", "ends"), [(50, 0.1, False), (300, 0.1, True), (1000, 0.1, True), (20, 0.0, True)]
)
def test_a_few_unreadable_clips_among_the_first_may_be_chance(bad: int, part: float, ends: bool) -> None:
    for seed in range(10):
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        dataset = Numbers({*rng.permutation(1000)[:bad].tolist()}, part)
        how = pytest.raises(DataError, match=r"more than max_unreadable=") if ends else nullcontext()
        with how as error:
            for index in rng.permutation(1000)[:200].tolist():
                assert dataset[index] not in dataset.bad
        assert bad < 1000 or (
            error is not None and str(error.value).startswith("5 of 5 clips can't be read so far")
        )


@pytest.mark.parametrize(
    ("good", "bad", "ends"), [(3, 1, False), (2, 2, True), (16, 2, True), (18, 2, False)]
)
def test_a_tenth_may_be_unreadable_and_one_of_a_few(good: int, bad: int, ends: bool) -> None:
    assert (bad > most_unreadable(good + bad, 0.1)) == ends
    dataset = Numbers({*range(bad)})
    dataset.__class__ = type("Few", (Numbers,), {"__len__": lambda self: good + bad})
    with pytest.raises(DataError, match="can't be read") if ends else nullcontext():
        for index in range(good + bad):
            torch.manual_seed(index)
            assert dataset[index] >= bad


def test_training_stops_past_a_threshold(clips: Path, tmp_path: Path) -> None:
    folder = broken(clips, tmp_path / "some", 4, 3)
    told = r"(2|3) of \d clips can't be read( so far \(of 7 in all\))?, more.*'slowfast-zoo check'"
    with pytest.raises(DataError, match=told):
        keyed(open_dataset(folder, SPEC, train=True))
    assert len(keyed(open_dataset(folder, SPEC, train=True, max_unreadable=0.5))) == 7
    with pytest.raises(DataError, match="1 of 1"):
        keyed(open_dataset(folder, SPEC, train=True, max_unreadable=0))
    with pytest.raises(DataError, match="2 of 2"):
        keyed(open_dataset(broken(clips, tmp_path / "all", 0, 2), SPEC, train=True))
    with pytest.raises(InputError, match="max_unreadable"):
        open_dataset(folder, SPEC, train=True, max_unreadable=1.5)


def test_errors_of_workers_stay_one_sentence(clips: Path, tmp_path: Path) -> None:
    dataset = open_dataset(broken(clips, tmp_path, 0, 2), SPEC, train=True)
    for workers in (0, 1):
        with pytest.raises(DataError, match=r"^\d of \d clips can't be read") as caught:
            list(load(KeyedItems(dataset, 0), [[ItemKey(0, 0, 0)]] * 2, workers, torch.device("cpu")))
        assert "\n" not in str(caught.value)


def test_evaluation_never_replaces(clips: Path, tmp_path: Path) -> None:
    spec = ModelSpec(depth=14, base_width=8, beta_inv=4, alpha=2, num_frames=4, num_classes=1)
    model = SlowFast(spec)
    model.clip_spec = SPEC
    result = evaluate(model, open_dataset(broken(clips, tmp_path, 2, 2), SPEC, views="quick"))
    assert str(result).startswith("2 of 4 decoded")
    assert [Path(name).name for name, _ in result.failed] == ["bad0.mkv", "bad1.mkv"]


def test_stored_frames_are_clips_too(tmp_path: Path) -> None:
    frames = moving_pattern(10, 48, 64)
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a" / "x.npy", frames)
    np.save(tmp_path / "a" / "y.npy", frames.astype(np.float32))
    (tmp_path / "a" / "z.npy").write_bytes(b"\x93NUMPY")
    dataset = open_dataset(tmp_path, SPEC, views="quick")
    assert torch.equal(normalized(dataset[0][0], SPEC), read_clips(frames, SPEC).tensor())
    for index, reason in ((1, "float32"), (2, "z.npy")):
        with pytest.raises(VideoError, match=reason):
            dataset[index]


def test_tables_come_back_as_they_were(clips: Path, tmp_path: Path) -> None:
    path = clips / "jump" / "clip 0.mkv"
    (tmp_path / "t.csv").write_text(
        f"path,label,start,end,actor\n{path},b,0.1,0.3333333333333333,ann\n{path},a,,,bob"
    )
    annotations = read_annotations(tmp_path / "t.csv")
    (tmp_path / "deeper").mkdir()
    write_table(tmp_path / "deeper" / "copy.csv", annotations)
    copy = read_annotations(tmp_path / "deeper" / "copy.csv")
    for old, new in zip(annotations.samples, copy.samples, strict=True):
        assert old.path.samefile(new.path)
        assert (old.labels, old.start_seconds, old.end_seconds) == (
            new.labels,
            new.start_seconds,
            new.end_seconds,
        )
        assert old.columns == new.columns == (("actor", new.columns[0][1]),)
    frames_folder(tmp_path / "f", moving_pattern(4, 16, 16))
    (tmp_path / "raw.txt").write_text("f 1 2 1\n")
    raw = read_annotations(tmp_path / "raw.txt", form="rawframes-offset")
    write_split(tmp_path / "out", {"train": raw})
    (sample,) = read_annotations(tmp_path / "out" / "train.csv").samples
    assert (sample.first_frame, sample.num_frames, sample.labels) == (1, 2, (1,))
    with pytest.raises(DataError, match="can't be written"):
        write_table(tmp_path / "raw.txt" / "x.csv", raw)


def test_labels_may_come_from_a_file(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "map.txt").write_text("run\njump\nwalk\n\n")
    (tmp_path / "l.txt").write_text(VIDEO_LIST)
    by_number = read_annotations(tmp_path / "l.txt", root=clips, labels=tmp_path / "map.txt")
    assert by_number.labels == ("run", "jump", "walk")
    assert [sample.labels for sample in by_number.samples] == [(0,), (0,), (1,), (1,)]
    by_name = read_annotations(clips, labels=tmp_path / "map.txt")
    assert [sample.labels for sample in by_name.samples] == [(1,), (1,), (0,), (0,)]


def test_class_weights_make_classes_equally_likely(clips: Path) -> None:
    annotations = read_annotations(clips).subset([0, 1, 2])
    assert annotations.class_weights() == [0.5, 0.5, 1.0]


WRONG = {
    "out of range": (
        "jump/clip 0.mkv 0\nrun/clip 2.mkv 2\n",
        {"labels": ["a", "b"]},
        r"l\.txt:2: label 2 .* 0 to 1",
    ),
    "negative": ("jump/clip 0.mkv -1\n", {}, r"l\.txt:1: label -1 is below 0"),
    "no label": ("jump/clip 0.mkv\n", {}, "no label number"),
    "unknown name": ("path,label\njump/clip 0.mkv,jmp\n", {"labels": ["jump", "run"]}, "Did you mean 'jump'"),
    "no column": ("movie,label\njump/clip 0.mkv,0\n", {"form": "table"}, "no column 'path'"),
    "fields": ("path,label\njump, clip 0.mkv,0\n", {}, "3 fields under a header of 2"),
    "no json": ('{"path": "a"\n', {}, "no JSON"),
    "no json label": ('{"path": "a"}\n', {}, "object with path and label"),
    "times": ("path,label,start,end\njump/clip 0.mkv,0,2,1\n", {}, "isn't after its start"),
    "time": ("path,label,start\njump/clip 0.mkv,0,soon\n", {}, "start is 'soon'"),
    "nan": ("path,label,end\njump/clip 0.mkv,0,nan\n", {}, "end is 'nan'"),
    "empty": ("\n\n", {}, "names no clip"),
    "missing files": ("nowhere/a.mp4 0\nnowhere/b.mp4 1\n", {}, "None of the 2 clips"),
    "unknown form": ("jump/clip 0.mkv 0\n", {"form": "rawframe"}, "Did you mean 'rawframes'"),
    "same label twice": ("jump/clip 0.mkv 0\n", {"labels": ["a", "a"]}, "names 'a' twice"),
    "not a list": ("jump 1 2 3 4\n", {}, "no line of a known list"),
    "no root": ("jump/clip 0.mkv 0\n", {"root": "/nowhere"}, "isn't a folder"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_lists_are_refused_in_one_sentence(clips: Path, tmp_path: Path, case: str) -> None:
    text, options, message = WRONG[case]
    (tmp_path / "l.txt").write_text(text)
    with pytest.raises((DataError, UnknownNameError), match=message) as caught:
        read_annotations(tmp_path / "l.txt", **{"root": clips, **options})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_wrong_folders_are_refused(tmp_path: Path) -> None:
    def refused(path: Path, message: str) -> None:
        with pytest.raises(DataError, match=message):
            read_annotations(path)

    refused(tmp_path / "nowhere", "no dataset")
    refused(tmp_path, "no folders in it")
    (tmp_path / "class").mkdir()
    refused(tmp_path, "'.*class' holds no clips")
    for part in ("train", "val"):
        (tmp_path / "d" / part / "a").mkdir(parents=True)
        (tmp_path / "d" / part / "a" / "x.mp4").write_bytes(b"")
    refused(tmp_path / "d", "parts of a dataset")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    refused(tmp_path / "binary.csv", "can't be read")


def test_clips_are_drawn_anew_when_decoding_shows_another_number_of_frames() -> None:
    class Promising(ArrayVideo):
        """Says 100 frames until they are read."""

        counted = False

        @property
        def num_frames(self) -> int:
            return 24 if self.counted else 100

        def _read(self, wanted: Sequence[int]) -> Iterator[tuple[int, Frame]]:
            if not self.counted:
                self.counted = True
                raise FrameCountError("there are 24")
            return super()._read(wanted)

    class Promise(Sample):
        def open(self) -> Promising:
            return Promising(moving_pattern(24, 48, 64), 30)

    samples = (Promise(path=Path("x.mp4"), labels=(0,)),)
    annotations = Annotations(samples=samples, labels=("a",), multi_label=False, num_classes=1)
    dataset = open_dataset(annotations, SPEC, train=True)
    assert dataset[0][0].shape == (3, 4, 32, 32)
    assert dataset.unreadable == {}


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ({"frame_pattern": "f_{:05}.png"}, "/d/x/f_{:05}.png"),
        ({"first_frame": 3}, "/d/x [from frame 3]"),
        ({"first_frame": 3, "num_frames": 9}, "/d/x [9 frames from frame 3]"),
        ({"first_frame": 3, "end_seconds": 2.5}, "/d/x [from frame 3, 0-2.5 s]"),
    ],
)
def test_a_clip_is_called_by_its_part(part: dict[str, Any], name: str) -> None:
    assert Sample(path=Path("/d/x"), **part).name == str(Path("/d/x")) + name.removeprefix("/d/x")


@pytest.mark.parametrize("given", ["clips", Path("clips"), {"train": []}, 5])
def test_what_is_no_dataset_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match=r"^The dataset to evaluate is a \w+; accepted: what open_dataset\("):
        evaluate(SlowFast(ModelSpec(num_classes=2)), given)


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        ([1.5, 0.0], "The target 1.5 is no class; accepted: ints"),
        ([None, 0], "Targets such as None are no classes; accepted: ints"),
        (["a", "b"], "Targets such as 'a' are no classes; accepted: ints"),
    ],
)
def test_targets_that_are_no_classes_are_refused(targets: list[Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        collate([(index, torch.zeros(3, 4, 32, 32), target, None) for index, target in enumerate(targets)])


def test_a_clip_of_a_long_video_is_called_by_more_than_six_digits() -> None:
    names = {Sample(path=Path("a.mp4"), start_seconds=12345.67 + part).name for part in (0, 0.04)}
    assert names == {"a.mp4 [12345.67-end s]", "a.mp4 [12345.71-end s]"}
