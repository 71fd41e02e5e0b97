"""Caching datasets: copies hold what their originals do, from Python and from the command line."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from support.movies import moving_pattern, write_stamped, write_video

from slowfast_zoo.cli import main
from slowfast_zoo.data.cache import cache_data
from slowfast_zoo.data.check import check_data
from slowfast_zoo.data.lists import read_annotations
from slowfast_zoo.data.splits import leaks, source_of, suggest_groups
from slowfast_zoo.errors import DataError, InputError
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.clips import plan_clips
from slowfast_zoo.video.transforms.resize import resize_bytes


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """Two readable videos of 96 pixels' height and a broken one."""
    (tmp_path / "data" / "a").mkdir(parents=True)
    write_video(tmp_path / "data/a/one.mkv", moving_pattern(20, 96, 130, 1), fps=25)
    write_video(tmp_path / "data/a/small.mkv", moving_pattern(20, 30, 40, 2), fps=25)
    (tmp_path / "data/a/zero.mkv").write_bytes(b"")
    return tmp_path / "data"


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


def test_a_list_of_somebody_elses_stays(wide: Path, tmp_path: Path) -> None:
    listed = tmp_path / "out" / "index.csv"
    listed.parent.mkdir()
    listed.write_text("path,label\nmine.mp4,x\n")
    with pytest.raises(DataError, match=r"index\.csv' is no cache's, and would be replaced"):
        cache_data(read_annotations(wide), listed.parent)
    assert listed.read_text().endswith("mine.mp4,x\n")


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
    kept = paths["one"].stat()
    paths["small"].unlink()
    assert cached() == paths
    assert (paths["one"].stat().st_ino, paths["one"].stat().st_mtime_ns) == (kept.st_ino, kept.st_mtime_ns)
    assert paths["small"].exists()
    assert not list((tmp_path / "out").rglob(".*"))


@pytest.mark.parametrize("form", ["video", "frames"])
def test_copies_that_were_cut_off_are_made_again(wide: Path, tmp_path: Path, form: Any) -> None:
    def cached() -> list[Path]:
        cache_data(read_annotations(wide), tmp_path / "out", short_side=48, form=form)
        return [sample.path for sample in read_annotations(tmp_path / "out" / "index.csv").samples]

    paths = cached()
    whole = [path.read_bytes() for path in paths]
    for left in (0, len(whole[0]) // 2):
        paths[0].write_bytes(whole[0][:left])
        assert cached() == paths
        assert [path.read_bytes() for path in paths] == whole
    index, sums = tmp_path / "out" / "index.csv", tmp_path / "out" / "SHA256SUMS"
    assert ",cached_bytes" in index.read_text()
    earlier = index.read_text().replace("cached_bytes", "other").replace("cached_sha256", "more")
    for text, second in ((earlier, b"believed"), ("\0no table", whole[1]), ("", whole[1])):
        index.write_text(text)
        sums.unlink(missing_ok=True)  # which earlier versions don't write
        paths[0].write_bytes(b"")
        paths[1].write_bytes(b"believed")
        assert cached() == paths
        assert [path.read_bytes() for path in paths] == [whole[0], second]


@pytest.mark.parametrize("form", ["video", "frames"])
def test_copies_whose_content_changed_are_found_and_made_again(wide: Path, tmp_path: Path, form: Any) -> None:
    def cached() -> Path:
        cache_data(read_annotations(wide), tmp_path / "out", short_side=48, form=form)
        return read_annotations(tmp_path / "out" / "index.csv").samples[0].path

    def told(decode: bool) -> list[tuple[str, str]]:
        clips = read_annotations(tmp_path / "out" / "index.csv")
        return check_data({"train": clips}, ClipSpec(), decode=decode).unreadable

    path = cached()
    whole = path.read_bytes()
    assert told(decode=True) == []
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    assert told(decode=False) == []
    ((name, reason),) = told(decode=True)
    assert name == str(path) and "isn't the copy that 'slowfast-zoo cache' wrote" in reason
    assert cached() == path
    assert path.read_bytes() == whole and told(decode=True) == []
    index = tmp_path / "out" / "index.csv"
    index.write_text(index.read_text().replace("cached_sha256", "other"))  # as earlier versions wrote it
    (tmp_path / "out" / "SHA256SUMS").unlink(missing_ok=True)
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    assert cached() == path and path.read_bytes() != whole
    assert told(decode=True) == []


def test_copies_are_known_while_the_index_lists_another_dataset_or_isnt_written_yet(
    wide: Path, tmp_path: Path
) -> None:
    (tmp_path / "one.csv").write_text("path,label\ndata/a/one.mkv,a\n")
    (tmp_path / "small.csv").write_text("path,label\ndata/a/small.mkv,b\n")

    def cached(name: str) -> Path:
        cache_data(read_annotations(tmp_path / name), tmp_path / "out", form="frames", progress=False)
        return read_annotations(tmp_path / "out" / "index.csv").samples[0].path

    one, _ = cached("one.csv"), cached("small.csv")
    whole, made = np.load(one), one.stat().st_ino
    assert cached("one.csv").stat().st_ino == made
    for forget in (lambda: cached("small.csv"), (tmp_path / "out" / "index.csv").unlink):
        forget()
        np.save(one, 255 - whole)
        np.testing.assert_array_equal(np.load(cached("one.csv")), whole)
    made = one.stat().st_ino
    (tmp_path / "out" / "index.csv").unlink()  # as an interrupted run leaves it
    assert cached("one.csv").stat().st_ino == made


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("multi_label", [False, True])
def test_a_cache_in_a_linked_folder_notices_damage_and_may_be_moved(
    wide: Path, tmp_path: Path, multi_label: bool
) -> None:
    (tmp_path / "deep" / "real").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "real", target_is_directory=True)
    clips = read_annotations(wide, multi_label=multi_label)
    for folder in (tmp_path / "link", tmp_path / "link" / "inner"):
        for _ in range(2):
            cache_data(clips, folder, form="frames", progress=False)
            (folder / "SHA256SUMS").unlink(missing_ok=True)  # as in caches of earlier versions
            one = next(folder.rglob("one~*.npy"))
            np.testing.assert_array_equal(np.load(one), moving_pattern(20, 96, 130, 1))
            np.save(one, 255 - np.load(one))
        where = one.relative_to(folder).as_posix()
        assert (folder / "index.csv").read_text().splitlines()[1].startswith(f"{where},")


def test_a_cache_is_read_by_its_list_as_older_copies_lie_in_it_too(wide: Path, tmp_path: Path) -> None:
    annotations = read_annotations(wide)
    for side in (32, 24):
        cache_data(annotations, tmp_path / "out", short_side=side)
    with pytest.raises(DataError, match=r"give its list, '.*index\.csv', which says which clips"):
        read_annotations(tmp_path / "out")
    assert len(read_annotations(tmp_path / "out" / "index.csv").samples) == 2
    assert len(read_annotations(tmp_path / "out", form="folders").samples) == 4


def test_cache_as_a_command(wide: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, ["cache", str(wide), str(tmp_path / "o"), "--short-side", "32", "--decoded"]
    )
    assert result.exit_code == 1, result.output
    assert "2 of 3 clips" in result.output
    (tmp_path / "file").write_text("")
    for out, told in ((tmp_path / "file" / "x", "can't be written"), (wide / "x", "is in the data folder")):
        blocked = CliRunner().invoke(main, ["cache", str(wide), str(out)])
        assert blocked.exit_code == 1 and told in blocked.output
    assert not (wide / "x").exists()


def test_an_index_says_what_it_lists_no_more(
    wide: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips = read_annotations(wide)
    for part in (clips, clips.subset([0])):
        cache_data(part, tmp_path / "out", form="frames", progress=False)
    assert "index.csv doesn't list 1 clip any more that it listed before, such as '" in caplog.text
    assert len([*(tmp_path / "out").rglob("*.npy")]) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="names are text there")
def test_a_clip_whose_name_no_index_can_hold_is_left_out(wide: Path, tmp_path: Path) -> None:
    (wide / "a" / "one.mkv").rename(wide / "a" / "on\udce9.mkv")
    failed = cache_data(read_annotations(wide), tmp_path / "out", form="frames", progress=False)
    assert any("has a name that isn't UTF-8; rename it." in error for _, error in failed)
    assert len(read_annotations(tmp_path / "out" / "index.csv").samples) == 1


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


def test_copies_of_files_with_the_same_name_are_told_apart_wherever_they_were_cached(
    wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (wide / "a" / "zero.mkv").unlink()
    shutil.copytree(wide / "a", tmp_path / "other" / "a")
    (tmp_path / "other" / "a" / "small.mkv").unlink()
    copies = {}
    for name, folder, source in (
        ("train", wide, "."),
        ("val", tmp_path / "other", "."),
        ("test", wide, "a/.."),
    ):
        monkeypatch.chdir(folder)
        cache_data(read_annotations(source), tmp_path / name, form="frames", progress=False)
        (tmp_path / name).rename(tmp_path / f"{name} moved")
        copies[name] = read_annotations(tmp_path / f"{name} moved" / "index.csv")
    monkeypatch.chdir(tmp_path)
    originals = [dict(sample.columns)["cached_from"] for sample in copies["val"].samples]
    assert originals == [str(tmp_path / "other" / "a" / "one.mkv")]
    shared = [str(wide / "a" / name) for name in ("one.mkv", "small.mkv")]
    assert leaks(copies) == [(source, ("train", "test")) for source in shared]
    assert leaks(copies, "folder") == [(str(wide / "a"), ("train", "test"))]


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


@pytest.mark.parametrize("sampling", ["openmmlab-1.x", "pyslowfast-stamps", "pytorchvideo-0.1"])
def test_the_copy_of_an_avi_that_dropped_frames_gives_the_same_clips(tmp_path: Path, sampling: Any) -> None:
    shown = [40 * number for number in (*range(60), *range(90, 160))]
    (tmp_path / "a").mkdir()
    write_stamped(tmp_path / "a" / "x.avi", shown, "mjpeg", frames=moving_pattern(130), ticks=25)
    originals = read_annotations(tmp_path)
    cache_data(originals, tmp_path / "out", short_side=16, progress=False)
    sides = {"size": 40, "crop": 32, "test_crop": 32}
    timed: dict[str, Any] = {"sampling": sampling, "time_base": "seconds", "fps": 5.0}
    spec = ClipSpec(num_frames=8, frame_stride=1, clips=2, crops=1, **sides, **timed)
    plans = []
    for listed in (originals, read_annotations(tmp_path / "out" / "index.csv")):
        with listed.samples[0].open() as video:
            plans.append(
                [plan_clips(video, spec, views).indices.tolist() for views in ("quick", "published")]
            )
    assert plans[0] == plans[1]


@pytest.mark.parametrize(
    ("given", "accepted"),
    [
        ({"short_side": 0}, "short_side is 0; accepted: an integer of at least 16"),
        ({"short_side": 64.0}, "short_side is 64.0; accepted: an integer"),
        ({"form": "vidio"}, "form is 'vidio'; accepted: 'video', 'frames'"),
        ({"quality": "x"}, r"quality is 'x'; accepted: 0 \(lossless\) to 51"),
        ({"quality": 60}, "quality is 60; accepted"),
        ({"quality": -1}, "quality is -1; accepted"),
        ({"quality": True}, "quality is True; accepted"),
    ],
)
def test_what_a_copy_cannot_be_is_refused(
    wide: Path, tmp_path: Path, given: dict[str, Any], accepted: str
) -> None:
    with pytest.raises(InputError, match=accepted):
        cache_data(read_annotations(wide), tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_without_clips_there_is_no_cache(wide: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There are no clips to cache; give annotations with at least one"):
        cache_data(read_annotations(wide).subset([]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX systems")
def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(wide: Path, tmp_path: Path) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limits[1]))
    try:
        with pytest.raises(DataError, match="can't be written: File too large"):
            cache_data(read_annotations(wide), tmp_path / "out", form="frames", progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    left = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert all(path.suffix == ".npy" and np.load(path).any() for path in left)


def test_no_frames_are_written_through_a_map(
    wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk the system ends a process that writes into one."""
    monkeypatch.delattr(np.lib.format, "open_memmap")
    assert not cache_data(read_annotations(wide), tmp_path / "out", form="frames", progress=False)[1:]


def test_a_video_needs_a_frame_rate_to_be_cached_as_one(tmp_path: Path) -> None:
    (tmp_path / "d" / "a").mkdir(parents=True)
    np.save(tmp_path / "d" / "a" / "x.npy", moving_pattern(4, 32, 32))
    with pytest.raises(DataError, match=r"frame rate.*isn't known"):
        cache_data(read_annotations(tmp_path / "d"), tmp_path / "out")
    assert cache_data(read_annotations(tmp_path / "d", fps=12), tmp_path / "out") == []
    with read_annotations(tmp_path / "out" / "index.csv").samples[0].open() as video:
        assert video.fps == 12
