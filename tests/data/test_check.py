"""Checking datasets: every fault is found and named, from Python and from the command line."""

from __future__ import annotations

import gc
import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from support.movies import moving_pattern, write_stamped, write_video

from slowfast_zoo.cli import main
from slowfast_zoo.data.annotations import Sample
from slowfast_zoo.data.cache import cache_data
from slowfast_zoo.data.check import check_data, unreadable_clips
from slowfast_zoo.data.lists import read_annotations
from slowfast_zoo.errors import InputError, VideoError
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.decoding.reader import open_video
from slowfast_zoo.video.decoding.video import with_true_count

SPEC = ClipSpec(num_frames=4, frame_stride=4, size=40, crop=32, test_crop=32)


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


def test_lines_of_a_clip_that_may_have_several_labels_are_no_conflict(tmp_path: Path) -> None:
    for place in range(2):
        np.save(tmp_path / f"{place}.npy", moving_pattern(30, 32, 32) + np.uint8(place))
    (tmp_path / "long.csv").write_text("path,label\n0.npy,run\n0.npy,jump\n1.npy,run\n")
    problems = {}
    for several in (True, False):
        part = read_annotations(tmp_path / "long.csv", multi_label=several)
        report = check_data({"train": part}, SPEC)
        problems[several] = (len(report.duplicates), len(report.conflicts), report.problems)
        assert check_data({"train": part, "val": part}, SPEC).conflicts
    assert problems == {True: (1, 0, 0), False: (0, 1, 1)}


def test_without_parts_nothing_is_checked() -> None:
    with pytest.raises(InputError, match=r"parts is empty; accepted: annotations by the part's name"):
        check_data({}, SPEC)


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
    shutil.copy(parts / "train/b/y1.mkv", sane / "loose.mkv")
    loose = CliRunner().invoke(main, ["check", str(sane)])
    assert (loose.exit_code, "Left out 1 clip beside the class folders, such as 'loose.mkv'.") == (
        1,
        loose.output.splitlines()[loose.output.splitlines().index("In folders and columns (1):") + 1].strip(),
    )
    (sane / "loose.mkv").unlink()
    (sane / "empty").mkdir()
    empty = CliRunner().invoke(main, ["check", str(sane), "--out", str(out)])
    assert empty.exit_code == 1
    assert "In folders and columns (1):\n  The class folder 'empty' holds no clips.\n" in empty.output
    assert empty.output.endswith("1 problem found; worth a look, too: 2 short.\n")
    written = json.loads(out.read_text())
    assert (written["problems"], written["faults"]) == (1, ["The class folder 'empty' holds no clips."])
    (sane / "empty").rename(parts / "val/b")
    lacking = CliRunner().invoke(main, ["check", str(sane), str(parts / "val")])
    assert "holds no clips" not in lacking.output and "<- none in val" in lacking.output, lacking.output
    table = parts / "all.csv"
    table.write_text("path,label,split\ntrain/a/x1.mkv,a,train\ntrain/b/y1.mkv,b,test\n")
    divided = CliRunner().invoke(main, ["check", str(table)]).output
    assert "The column 'split' divides the clips: 1 in train, 1 in test." in divided
    assert "1 clip in train, 1 clip in test; 2 classes." in divided and "none in test" in divided
    table.write_text(table.read_text() + "train/b/y1.mkv,b,holdout\n")
    undivided = CliRunner().invoke(main, ["check", str(table)])
    assert undivided.exit_code == 1 and "all.csv:4: the column 'split' says 'holdout'" in undivided.output
    assert "3 clips in " in undivided.output
    missing = CliRunner().invoke(main, ["check", str(parts / "nowhere")])
    assert missing.exit_code == 1
    assert "There is no dataset" in missing.output


def test_unreadable_clips_are_named_by_their_place(parts: Path) -> None:
    found = unreadable_clips(read_annotations(parts / "train"))
    assert list(found) == [5]
    assert "empty.mp4" in found[5]


@pytest.mark.parametrize(
    ("old", "new"), [(b"}", b" "), (b"(30", b"[30"), (b"'|u1'", b"'(2,'"), (b"'|u1'", b"()   "), (b"{", b"(")]
)
def test_stored_frames_whose_header_is_damaged_are_named(tmp_path: Path, old: bytes, new: bytes) -> None:
    np.save(tmp_path / "x.npy", moving_pattern(30, 32, 32))
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "y.npy").write_bytes(content.replace(old, new, 1))
    np.savez(tmp_path / "archive", moving_pattern(30, 32, 32))
    (tmp_path / "archive.npz").rename(tmp_path / "z.npy")
    (tmp_path / "l.csv").write_text("path,label,fps\nx.npy,a,10\ny.npy,a,10\nz.npy,a,10\n")
    clips = read_annotations(tmp_path / "l.csv")
    found = check_data({"train": clips}, SPEC).unreadable
    assert [Path(name).name for name, _ in found] == ["y.npy", "z.npy"]
    assert all("can't be read as stored frames: " in told and told.isprintable() for _, told in found)
    assert len(cache_data(clips, tmp_path / "out", form="frames")) == 2


def test_threads_that_read_the_headers_of_stored_frames(tmp_path: Path) -> None:
    """A thread that takes a turn while another one's header is parsed makes Python 3.11 refuse that one."""
    np.save(tmp_path / "x.npy", moving_pattern(3, 8, 8))
    sample = Sample(path=tmp_path / "x.npy", fps=10)

    def count(_: int) -> int:
        with sample.open() as video:
            return video.num_frames

    def give_way(*_: object) -> None:
        time.sleep(1e-5)

    before = gc.get_threshold()
    gc.callbacks.append(give_way)
    try:
        with ThreadPoolExecutor(4) as pool:
            for threshold in range(6, 26):  # some make it collect while a header is parsed
                gc.set_threshold(threshold)
                assert set(pool.map(count, range(150))) == {3}
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(give_way)


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


@pytest.mark.parametrize("kind", ["lost", "given all the same"])
def test_a_clip_with_a_frame_that_is_damaged_or_lost(tmp_path: Path, kind: str) -> None:
    import av

    path = write_video(tmp_path / "c.avi", moving_pattern(40, 48, 64), codec="mpeg4", pixels="yuv420p")
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][20]
        place = packet.pos + (0 if kind == "lost" else packet.size // 2)
    content = bytearray(path.read_bytes())
    content[place : place + 16] = bytes(16)
    path.write_bytes(content)
    with open_video(path) as video:
        with_true_count(lambda: video.frames(range(video.num_frames)))
        assert (video.num_frames, video.damaged_frames) == (39 if kind == "lost" else 40, 1)
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
    assert Path(half).name == "half.mp4" and there < 40 and promised == 40
    assert part.endswith("[1-5 s]") and (left, wanted) == (10, 120)
    assert report.problems == 2
    assert f"half.mp4: {there} of {promised} frames" in str(report)
    assert check_data(parts, SPEC, group_by="folder", decode=True) == report
