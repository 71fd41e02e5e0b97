"""Checking, splitting and caching datasets, from Python and from the command line."""

from __future__ import annotations

import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from support.movies import moving_pattern, write_stamped, write_video

from slowfast_zoo.cli import main
from slowfast_zoo.data.annotations import Annotations, Sample
from slowfast_zoo.data.cache import cache_data
from slowfast_zoo.data.check import check_data, unreadable_clips
from slowfast_zoo.data.lists import read_annotations, read_filled
from slowfast_zoo.data.splits import grouping_notes, resolved, source_of, split_annotations, suggest_groups
from slowfast_zoo.errors import DataError, InputError, VideoError
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.transforms.resize import resize_bytes

SPEC = ClipSpec(num_frames=4, frame_stride=4, size=40, crop=32, test_crop=32)


def annotated(names: dict[str, int], labels: tuple[str, ...] | None = None, **columns: str) -> Annotations:
    samples = tuple(
        Sample(path=Path("/d") / name, labels=(label,), columns=tuple(columns.items()))
        for name, label in names.items()
    )
    return Annotations(
        samples=samples, labels=labels, multi_label=False, num_classes=max(s.labels[0] for s in samples) + 1
    )


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Training and validation folders with one of every fault."""
    frames = {seed: moving_pattern(20, 48, 64, seed) for seed in range(6)}
    for name in ("train/a/x1", "train/a/x2", "train/b/y1", "val/a/x3"):
        path = tmp_path / f"{name}.mkv"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, frames[int(name[-1])])
    shutil.copy(tmp_path / "train/a/x1.mkv", tmp_path / "train/a/again.mkv")
    shutil.copy(tmp_path / "train/a/x2.mkv", tmp_path / "train/b/other class.mkv")
    shutil.copy(tmp_path / "train/b/y1.mkv", tmp_path / "val/a/leaked.mkv")
    (tmp_path / "train/b/empty.mp4").write_bytes(b"")
    (tmp_path / "val/a/cut.mkv").write_bytes((tmp_path / "val/a/x3.mkv").read_bytes()[:200])
    write_video(tmp_path / "train/a/short.mkv", frames[4][:6])
    (tmp_path / "val/b").mkdir()
    write_video(tmp_path / "train/b/-abcdefghij_000001_000011.mkv", frames[5])
    write_video(tmp_path / "val/a/-abcdefghij_000021_000031.mkv", frames[0])
    return tmp_path


def test_check_finds_every_fault(parts: Path) -> None:
    train = read_annotations(parts / "train")
    shutil.rmtree(parts / "val/b")
    val = read_annotations(parts / "val", labels=train.labels)
    report = check_data({"train": train, "val": val}, SPEC)
    assert report.clips == {"train": 8, "val": 4}
    assert report.classes == {"a": {"train": 4, "val": 4}, "b": {"train": 4, "val": 0}}
    assert [Path(name).name for name, _ in report.unreadable] == ["empty.mp4", "cut.mkv"]
    assert [(Path(name).name, frames, span) for name, frames, span in report.short] == [("short.mkv", 6, 13)]
    assert [sorted(Path(n).name for n in group) for group in report.duplicates] == [["again.mkv", "x1.mkv"]]
    assert sorted(sorted(Path(n).name for n in group) for group in report.conflicts) == [
        ["leaked.mkv", "y1.mkv"],
        ["other class.mkv", "x2.mkv"],
    ]
    assert report.leaks == [("-abcdefghij", ("train", "val"))]
    assert report.problems == 6
    text = str(report)
    for words in ("8 clips in train, 4 clips in val", "none in val", "empty.mp4", "6 problems found"):
        assert words in text


def test_check_as_a_command(parts: Path, tmp_path: Path) -> None:
    shutil.rmtree(parts / "val/b")
    out = tmp_path / "report.json"
    result = CliRunner().invoke(main, ["check", str(parts), "--out", str(out)])
    assert result.exit_code == 1, result.output
    assert "6 problems found" in result.output
    assert json.loads(out.read_text())["problems"] == 6
    both = CliRunner().invoke(main, ["check", str(parts / "train"), str(parts / "val")])
    assert both.output.splitlines()[0] == result.output.splitlines()[0]
    pattern = CliRunner().invoke(main, ["check", str(parts / "*a*")])  # train and val
    assert pattern.output == both.output
    sane = parts / "sane"
    for label in ("a", "b"):
        (sane / label).mkdir(parents=True)
    shutil.copy(parts / "train/a/x1.mkv", sane / "a")
    shutil.copy(parts / "train/b/y1.mkv", sane / "b")
    good = CliRunner().invoke(main, ["check", str(sane), "--model", "slowfast_r50_8x8x1"])
    assert good.exit_code == 0, good.output
    assert good.output.endswith("Nothing wrong, but worth a look: 2 short.\n")  # of 63 frames
    (sane / "empty").mkdir()
    empty = CliRunner().invoke(main, ["check", str(sane), "--model", "slowfast_r50_8x8x1"])
    assert empty.exit_code == 1 and f"The class folder 'empty' holds no clips.\n{good.output}" == empty.output
    missing = CliRunner().invoke(main, ["check", str(parts / "nowhere")])
    assert missing.exit_code == 1
    assert "There is no dataset" in missing.output


def test_unreadable_clips_are_named_by_their_place(parts: Path) -> None:
    found = unreadable_clips(read_annotations(parts / "train"))
    assert list(found) == [5]
    assert "empty.mp4" in found[5]


@pytest.mark.parametrize(
    ("name", "group_by", "source"),
    [
        ("a/-abcdefghij_000010_000020.mp4", None, "-abcdefghij"),
        ("a/v_Archery_g03_c02.avi", None, "v_Archery_g03"),
        ("a/match two_part12.mp4", None, "match two"),
        ("a/matchTwoPart12.mp4", None, "matchTwo"),
        ("a/match2part12.mp4", None, "match2"),
        ("a/haircut_001.mp4", None, "/d/a/haircut_001.mp4"),
        ("a/snapshot 3.mp4", None, "/d/a/snapshot 3.mp4"),
        ("a/SLAPSHOT12.mp4", None, "/d/a/SLAPSHOT12.mp4"),
        ("a/seg-3.mp4", None, "/d/a/seg-3.mp4"),
        ("a/walk 3.mp4", None, "/d/a/walk 3.mp4"),
        ("a/eli_walk.avi", "folder", "/d/a"),
        ("a/eli_walk.avi", r"/(\w+?)_", "eli"),
        ("a/eli_walk.avi", r"eli|ido", "eli"),
        ("a/eli_walk.avi", "column:actor", "Eli"),
        ("a/eli_walk.avi", "column:Actor", "Eli"),
    ],
)
def test_sources(name: str, group_by: str | None, source: str) -> None:
    sample = annotated({name: 0}, actor="Eli").samples[0]
    assert Path(source_of(sample, group_by)) == Path(source)


def test_wrong_groups_are_refused() -> None:
    sample = annotated({"a/b.mp4": 0}).samples[0]
    with pytest.raises(InputError, match="no regular expression"):
        source_of(sample, "(")
    with pytest.raises(DataError, match="doesn't match"):
        source_of(sample, r"actor\d")
    with pytest.raises(DataError, match="no column 'actor'"):
        source_of(sample, "column:actor")


def test_splits_keep_sources_apart_and_shares_even() -> None:
    names = {
        f"c{label}/s{source}_part{part}.mp4": label
        for label in range(4)
        for source in range(10)
        for part in range(3)
    }
    annotations = annotated(names)
    train, val = split_annotations(annotations, 0.2, group_by=r"s\d+", seed=3)
    assert {source_of(s, r"s\d+") for s in train.samples}.isdisjoint(
        source_of(s, r"s\d+") for s in val.samples
    )
    assert val.counts() == [6] * 4
    assert train.counts() == [24] * 4
    again = split_annotations(annotations, 0.2, group_by=r"s\d+", seed=3)
    assert again == (train, val)
    assert split_annotations(annotations, 0.2, group_by=r"s\d+", seed=4)[1] != val


def test_names_that_suggest_groups_are_told() -> None:
    people = ("daria", "ido", "lena", "shahar")
    acts = ("walk", "run", "jump")
    names = {f"{act}/{person}_{act}.avi": label for label, act in enumerate(acts) for person in people}
    groups = suggest_groups(annotated(names, labels=acts))
    assert groups is not None and groups.names == people
    group_by, told = resolved(annotated(names, labels=acts), "auto")
    assert group_by == groups.group_by and "4 groups across classes (daria, ido" in told[0]
    assert resolved(annotated({"a/1.avi": 0, "b/2.avi": 1}), "auto") == (
        None,
        ["Groups: none that names suggest."],
    )
    assert resolved(annotated(names), "folder") == ("folder", [])
    train, val = split_annotations(annotated(names), 0.25, group_by=groups.group_by)
    assert {source_of(s, groups.group_by) for s in val.samples} == {val.samples[0].path.name.split("_")[0]}
    assert len(train.samples) == 9
    behind = {f"{act}/{act}-{person}.avi": label for label, act in enumerate(acts) for person in people}
    folders = {f"{act}/{person}/1.avi": label for label, act in enumerate(acts) for person in people}
    alone = {f"{act}/{person}.avi": label for label, act in enumerate(acts) for person in people}
    kth = {
        f"{act}/person{person:02}_{act}_d{scene}_uncomp.avi": label
        for label, act in enumerate(acts)
        for person in range(1, 6)
        for scene in range(1, 5)
    }
    for other in (behind, folders, alone):
        found = suggest_groups(annotated(other, labels=acts))
        assert found is not None and found.names == people
    found = suggest_groups(annotated(kth, labels=acts))
    assert found is not None and len(found.names) == 5
    assert "person01, person02" in str(found) and "--group-by" in str(found)


@pytest.mark.parametrize(
    "names",
    [
        {f"{act}/clip_{index:03}.avi": act for act in range(3) for index in range(9)},
        {f"{act}/{act}_{index}.mp4": act for act in range(3) for index in range(9)},
        {f"{act}/IMG_{index}{act}.mp4": act for act in range(3) for index in range(9)},
        {
            f"{act}/v_Act{act}_g{group:02}_c{index:02}.avi": act
            for act in range(3)
            for group in range(3)
            for index in range(3)
        },
    ],
)
def test_counters_classes_and_known_recordings_suggest_none(names: dict[str, int]) -> None:
    annotations = annotated(names)
    assert suggest_groups(annotations) is None
    told = grouping_notes(annotations, None)
    assert told == [] if "_g00_" in next(iter(names)) else "a source of its own" in told[0]
    assert grouping_notes(annotations, "folder") == []


def test_splits_of_uneven_and_tiny_classes() -> None:
    names = (
        {f"big/{i}.mp4": 0 for i in range(50)} | {f"small/{i}.mp4": 1 for i in range(2)} | {"one/x.mp4": 2}
    )
    train, val = split_annotations(annotated(names), 0.1)
    assert val.counts() == [5, 1, 0]
    assert train.counts() == [45, 1, 1]
    _, most = split_annotations(annotated({f"a/{i}.mp4": 0 for i in range(4)}), 0.99)
    assert most.counts() == [3]
    with pytest.raises(DataError, match="from 1 sources can't be split"):
        split_annotations(annotated({"a/x.mp4": 0, "a/y.mp4": 0}), 0.5, group_by="folder")
    with pytest.raises(InputError, match="val is 1"):
        split_annotations(annotated(names), 1)


def test_of_two_persons_one_is_held_out() -> None:
    names = {
        f"{label}/{person}_c{i}.mp4": label
        for label in range(6)
        for i in range(5)
        for person in ("ann", "bob")
    }
    train, val = split_annotations(annotated(names), 0.2, group_by="/([a-z]+)_c")
    assert train.counts() == val.counts() == [5] * 6
    assert len({source_of(sample, "/([a-z]+)_c") for sample in val.samples}) == 1
    # A class with two large sources beside a class with many small ones: both are validated with.
    names = {f"a/x{i % 2}_{i}.mp4": 0 for i in range(10)} | {f"b/y{i}_0.mp4": 1 for i in range(10)}
    _, val = split_annotations(annotated(names), 0.2, group_by="/([a-z0-9]+)_")
    assert val.counts() == [5, 2]


def test_split_as_a_command(parts: Path, tmp_path: Path) -> None:
    command = ["split", str(parts / "train"), str(tmp_path / "lists"), "--val", "0.25"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "lists" / "labels.txt").read_text() == "a\nb\n"
    train, val = (read_annotations(tmp_path / "lists" / f"{part}.csv") for part in ("train", "val"))
    assert (train.counts(), val.counts()) == ([3, 3], [1, 1])
    auto = CliRunner().invoke(main, [*command, "--group-by", "auto", "--overwrite"])
    assert auto.exit_code == 0 and "Groups: none that names suggest." in auto.output
    refused = CliRunner().invoke(main, [*command[:2], str(parts / "train/a/x1.mkv/no"), "--val", "0.25"])
    assert refused.exit_code == 1
    assert "can't be written" in refused.output


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """Two readable videos of 96 pixels' height and a broken one."""
    (tmp_path / "data" / "a").mkdir(parents=True)
    write_video(tmp_path / "data/a/one.mkv", moving_pattern(20, 96, 130, 1), fps=25)
    write_video(tmp_path / "data/a/small.mkv", moving_pattern(20, 30, 40, 2), fps=25)
    (tmp_path / "data/a/zero.mkv").write_bytes(b"")
    return tmp_path / "data"


def test_class_folders_without_clips_are_left_out_and_named(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / "d" / label).mkdir(parents=True)
        for place in range(2):
            np.save(tmp_path / "d" / label / f"{place}.npy", np.full((2, 16, 16, 3), place, np.uint8))
    (tmp_path / "d" / "none").mkdir()
    note = "Left out classes whose folders hold no clips: 'none'."
    for command in (["split", "--val", "0.5"], ["cache", "--decoded"]):
        done = CliRunner().invoke(
            main, [*command, str(tmp_path / "d"), str(tmp_path / command[0]), "--fps", "9"]
        )
        assert done.exit_code == 0 and note in done.output, done.output
    assert read_filled(tmp_path / "d", fps=9.0)[1] == [note]
    found, notes = read_filled(tmp_path / "d", labels=["none", "a", "b"])
    assert (found.counts(), notes) == ([0, 2, 2], [])
    shutil.rmtree(tmp_path / "d" / "none")
    assert read_filled(tmp_path / "d")[1] == []


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        ("start,end,start_time,end_time", "0.1,0.3,0:00,0:01"),
        ("first_frame,num_frames,total_frames,frame_rate,start,end", "1,2,5,25,,"),
    ],
)
def test_a_copy_isnt_cut_by_what_else_its_sources_table_had(
    tmp_path: Path, columns: str, values: str
) -> None:
    np.save(tmp_path / "x.npy", np.arange(5 * 16 * 16 * 3, dtype=np.uint8).reshape(5, 16, 16, 3))
    (tmp_path / "l.csv").write_text(f"path,label,fps,{columns}\nx.npy,a,10,{values}\n")
    assert cache_data(read_annotations(tmp_path / "l.csv"), tmp_path / "out", form="frames") == []
    (copy,) = read_annotations(tmp_path / "out" / "index.csv").samples
    assert (copy.part, copy.fps) == ((0, None, None, None), 10)
    with copy.open() as video:
        assert video.num_frames == 2


def test_cache_keeps_every_frame_and_shrinks_them(wide: Path, tmp_path: Path) -> None:
    # Gray, as the chroma of blocks that shrink to four pixels is what 4:2:0 can't keep.
    frames = np.repeat(moving_pattern(20, 96, 130, 1).mean(-1, keepdims=True).astype(np.uint8), 3, axis=-1)
    write_video(wide / "a" / "one.mkv", frames, fps=25)
    shrunk = np.stack([resize_bytes(frame, 48, 64).transpose(0, 2, 1) for frame in frames])
    failed = cache_data(read_annotations(wide), tmp_path / "out", short_side=48)
    assert [Path(name).name for name, _ in failed] == ["zero.mkv"]
    cached = read_annotations(tmp_path / "out" / "index.csv")
    assert cached.labels == ("a",)
    with cached.samples[0].open() as video:
        assert (video.num_frames, video.width, video.height, video.fps) == (20, 64, 48, 25)
        error = np.abs(video.frames(range(20)).astype(int) - shrunk).mean()
    assert error < 3  # of 255; measured 1.4
    with cached.samples[1].open() as video:
        assert (video.width, video.height) == (40, 30)


def test_cache_of_decoded_frames_is_exact_and_goes_on_where_it_stopped(wide: Path, tmp_path: Path) -> None:
    frames = moving_pattern(20, 96, 130, 1)
    height, width = 48, round(130 * 48 / 96)
    shrunk = np.stack([resize_bytes(frame, height, width).transpose(0, 2, 1) for frame in frames])

    def cached() -> dict[str, Path]:
        cache_data(read_annotations(wide), tmp_path / "out", short_side=48, form="frames")
        samples = read_annotations(tmp_path / "out" / "index.csv").samples
        assert {sample.fps for sample in samples} == {25}
        return {Path(dict(sample.columns)["cached_from"]).stem: sample.path for sample in samples}

    paths = cached()
    np.testing.assert_array_equal(np.load(paths["one"]), shrunk)
    paths["one"].write_bytes(b"kept")
    paths["small"].unlink()
    assert cached() == paths
    assert paths["one"].read_bytes() == b"kept"
    assert paths["small"].exists()
    assert not list((tmp_path / "out").rglob(".*"))


def test_cache_as_a_command(wide: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, ["cache", str(wide), str(tmp_path / "o"), "--short-side", "32", "--decoded"]
    )
    assert result.exit_code == 1, result.output
    assert "2 of 3 clips" in result.output
    blocked = CliRunner().invoke(main, ["cache", str(wide), str(wide / "a" / "one.mkv" / "x")])
    assert blocked.exit_code == 1
    assert "can't be written" in blocked.output


def test_a_cached_clip_is_kept_only_where_source_part_and_settings_are_the_same(
    wide: Path, tmp_path: Path
) -> None:
    source, table = wide / "a" / "one.mkv", tmp_path / "l.csv"

    def cached(rows: str, **settings: int) -> list[tuple[str, np.ndarray]]:
        """Each clip's hash in its name, and what a first frame of it looks like."""
        table.write_text("path,label,start,end\n" + rows)
        cache_data(read_annotations(table), tmp_path / "out", form="frames", **settings)
        found = read_annotations(tmp_path / "out" / "index.csv").samples
        assert all(dict(sample.columns)["cached_from"] == str(source) for sample in found)
        return [(sample.path.stem, np.load(sample.path)) for sample in found]

    frames = moving_pattern(20, 96, 130, 1)
    first, second = f"{source},a,0,0.2\n", f"{source},a,0.2,0.4\n"
    both = cached(first + second)
    np.testing.assert_array_equal(both[0][1], frames[:5])
    np.testing.assert_array_equal(both[1][1], frames[5:10])
    corrected = cached(first.replace("0,0.2", "0.4,0.6") + second)
    np.testing.assert_array_equal(corrected[0][1], frames[10:15])
    assert corrected[1][0] == both[1][0]
    (alone,) = cached(second)  # the first row is gone
    np.testing.assert_array_equal(alone[1], frames[5:10])
    (smaller,) = cached(second, short_side=48)
    assert smaller[1].shape[1:3] == (48, 65)
    assert "short side 48" in (tmp_path / "out" / "index.csv").read_text()
    write_video(source, moving_pattern(20, 96, 130, 7), fps=25)
    (anew,) = cached(second)
    np.testing.assert_array_equal(anew[1], moving_pattern(20, 96, 130, 7)[5:10])
    assert source_of(read_annotations(tmp_path / "out" / "index.csv").samples[0]) == str(source)


def test_cached_copies_belong_together_as_their_originals_do(tmp_path: Path) -> None:
    for act in ("jump", "run", "walk"):
        for person in ("ann", "bob", "cleo"):
            path = tmp_path / "data" / act / person / f"{act}_{person}.mkv"
            path.parent.mkdir(parents=True)
            write_video(path, moving_pattern(2, 32, 32), fps=25)
    originals = read_annotations(tmp_path / "data")
    cache_data(originals, tmp_path / "once", short_side=24, progress=False)
    once = read_annotations(tmp_path / "once" / "index.csv")
    cache_data(once, tmp_path / "twice", short_side=16, progress=False)
    twice = read_annotations(tmp_path / "twice" / "index.csv")
    for copies in (once, twice):
        assert suggest_groups(copies) == suggest_groups(originals) is not None
        for group_by in (None, "folder", r"/\w+_(\w+)\.mkv$"):
            groups = [[source_of(s, group_by) for s in part.samples] for part in (copies, originals)]
            assert groups[0] == groups[1]


def test_class_names_never_lead_out_of_the_cache(wide: Path, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(
        f"path,label\n{wide / 'a' / 'small.mkv'},../..\n{wide / 'a' / 'small.mkv'},..\n"
    )
    cache_data(read_annotations(tmp_path / "l.csv"), tmp_path / "deep" / "out", form="frames")
    samples = read_annotations(tmp_path / "deep" / "out" / "index.csv").samples
    assert all((tmp_path / "deep" / "out") in sample.path.resolve().parents for sample in samples)


def test_a_cached_video_shows_its_frames_when_the_original_does(tmp_path: Path) -> None:
    shown = [0, 33, 67, 100, 600, 800, 1000, 1200]
    (tmp_path / "a").mkdir()
    write_stamped(tmp_path / "a" / "x.mkv", shown, frames=moving_pattern(8, 32, 32))
    cache_data(read_annotations(tmp_path), tmp_path / "out", progress=False)
    with read_annotations(tmp_path / "out" / "index.csv").samples[0].open() as video:
        seconds = [video.seconds_of(index) for index in range(video.num_frames)]
    assert seconds == pytest.approx([moment / 1000 for moment in shown], abs=1e-3)


def test_stored_frames_are_let_go_before_their_file_is_moved(
    wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows moves no file that is mapped, and deletes none."""
    maps: list[weakref.ref[np.memmap]] = []
    alive: list[bool] = []
    make, replace, unlink = np.lib.format.open_memmap, Path.replace, Path.unlink

    def made(*args: Any, **how: Any) -> np.memmap:
        stored = make(*args, **how)
        maps.append(weakref.ref(stored))
        return stored

    def looked(move: Any) -> Any:
        def moved(path: Path, *args: Any, **how: Any) -> Any:
            alive.append(any(found() is not None for found in maps))
            return move(path, *args, **how)

        return moved

    monkeypatch.setattr(np.lib.format, "open_memmap", made)
    monkeypatch.setattr(Path, "replace", looked(replace))
    monkeypatch.setattr(Path, "unlink", looked(unlink))
    cache_data(read_annotations(wide), tmp_path / "out", form="frames", progress=False)
    assert len(maps) == 2 and alive and not any(alive)


def test_a_video_needs_a_frame_rate_to_be_cached_as_one(tmp_path: Path) -> None:
    (tmp_path / "d" / "a").mkdir(parents=True)
    np.save(tmp_path / "d" / "a" / "x.npy", moving_pattern(4, 32, 32))
    with pytest.raises(DataError, match=r"frame rate.*isn't known"):
        cache_data(read_annotations(tmp_path / "d"), tmp_path / "out")
    assert cache_data(read_annotations(tmp_path / "d", fps=12), tmp_path / "out") == []
    with read_annotations(tmp_path / "out" / "index.csv").samples[0].open() as video:
        assert video.fps == 12


def test_folders_that_hold_less_than_their_list_says(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", moving_pattern(30, 32, 32))
    (tmp_path / "l.csv").write_text("path,label,num_frames\nx.npy,a,300\n")
    (tmp_path / "near.csv").write_text("path,label,num_frames\nx.npy,a,31\n")
    with pytest.raises(VideoError, match=r"x.npy' has 30 frames, its list says 300 \(.*l.csv:2\)"):
        read_annotations(tmp_path / "l.csv").samples[0].open()
    near = read_annotations(tmp_path / "near.csv")
    with near.samples[0].open() as video:
        assert video.num_frames == 30
    assert check_data({"near": near}, SPEC).damaged == [(str(tmp_path / "x.npy"), 30, 31)]


def test_a_clip_that_decodes_to_fewer_frames_than_its_packets_is_damaged(tmp_path: Path) -> None:
    import av

    path = write_video(tmp_path / "c.avi", moving_pattern(40, 48, 64), codec="mpeg4", pixels="yuv420p")
    with av.open(str(path)) as container:
        place = [packet.pos for packet in container.demux(video=0) if packet.size][20]
    content = bytearray(path.read_bytes())
    content[place : place + 16] = bytes(16)
    path.write_bytes(content)
    (tmp_path / "l.csv").write_text("path,label\nc.avi,a\n")
    report = check_data({"train": read_annotations(tmp_path / "l.csv")}, SPEC, decode=True)
    assert (report.unreadable, report.damaged, report.problems) == ([], [(str(path), 39, 40)], 0)


def test_two_series_of_one_folder_are_two_clips(tmp_path: Path) -> None:
    for number in range(3):
        for side in "lr":
            Image.new("RGB", (16, 16), (number, 9 * (side == "r"), 0)).save(tmp_path / f"{side}_{number}.png")
    (tmp_path / "t.csv").write_text("path,label,frame_pattern\n.,x,l_{:05}.png\n.,y,r_{:05}.png\n")
    both = read_annotations(tmp_path / "t.csv")
    assert [sample.name for sample in both.samples] == [
        str(tmp_path / f"{side}_{{:05}}.png") for side in "lr"
    ]
    assert check_data({"train": both}, SPEC).conflicts == []


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


def test_check_goes_by_seconds_where_the_rate_varies(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label,start,end\nv.mkv,a,0,1\nv.mkv,a,1.5,3.5\nv.mkv,a,3,9\n")
    times = [*range(0, 1000, 20), *range(1000, 5000, 200)]
    write_stamped(tmp_path / "v.mkv", times, frames=moving_pattern(len(times), 16, 16))
    report = check_data({"train": read_annotations(tmp_path / "t.csv")}, SPEC)
    assert report.damaged == [(f"{tmp_path / 'v.mkv'} [3-9 s]", 10, 32)]  # 1.87 of 6 s
    assert report.problems == 1


def test_check_tells_files_that_are_damaged_or_cut_off(tmp_path: Path) -> None:
    import av

    (tmp_path / "d" / "a").mkdir(parents=True)
    whole = tmp_path / "whole.mp4"
    with av.open(str(whole), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for pixels in moving_pattern(40, 48, 64):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    content = whole.read_bytes()
    (tmp_path / "d" / "a" / "half.mp4").write_bytes(content[: len(content) // 2])
    shutil.copy(whole, tmp_path / "d" / "a" / "whole.mp4")
    (tmp_path / "t.csv").write_text("path,label,start,end\nwhole.mp4,a,1,5\n")
    parts = {"train": read_annotations(tmp_path / "d"), "val": read_annotations(tmp_path / "t.csv")}
    report = check_data(parts, SPEC, group_by="folder")
    (half, there, promised), (part, left, wanted) = report.damaged
    assert Path(half).name == "half.mp4" and 0 < there < 40 and promised in (40, 41)
    assert part.endswith("[1-5 s]") and (left, wanted) == (10, 120)
    assert report.problems == 2
    assert f"half.mp4: {there} of {promised} frames" in str(report)
    assert check_data(parts, SPEC, group_by="folder", decode=True) == report
