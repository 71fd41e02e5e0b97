"""Splitting datasets: sources stay together, groups are suggested, from Python and from the command line."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from slowfast_zoo.cli import main
from slowfast_zoo.data.annotations import Annotations, Sample
from slowfast_zoo.data.lists import read_annotations, read_filled
from slowfast_zoo.data.splits import (
    fold_annotations,
    grouping_notes,
    leaks,
    resolved,
    source_of,
    split_annotations,
    suggest_groups,
)
from slowfast_zoo.errors import DataError, InputError


def annotated(names: dict[str, int], labels: tuple[str, ...] | None = None, **columns: str) -> Annotations:
    samples = tuple(
        Sample(path=Path("/d") / name, labels=(label,), columns=tuple(columns.items()))
        for name, label in names.items()
    )
    return Annotations(
        samples=samples, labels=labels, multi_label=False, num_classes=max(s.labels[0] for s in samples) + 1
    )


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


@pytest.mark.parametrize("text", ["", "nan", "NaN"])
def test_clips_of_nobody_belong_together_with_none(text: str) -> None:
    names = {part: {f"{part}/a.mp4": 0, f"{part}/b.mp4": 1} for part in ("train", "val")}
    parts = {part: annotated(clips, actor=text) for part, clips in names.items()}
    assert leaks(parts, "column:actor") == []
    assert {source_of(sample, "column:actor") for sample in parts["val"].samples} == {
        os.path.normpath(sample.path.absolute()) for sample in parts["val"].samples
    }


def test_clips_that_were_never_cached_are_their_own_sources() -> None:
    """As a table of cached and other clips says in an empty cell."""
    first, other = annotated({"a/b.mp4": 0, "a/c.mp4": 0}, cached_from="").samples
    assert source_of(first) == os.path.normpath(Path("/d/a/b.mp4").absolute()) != source_of(other)


def test_wrong_groups_are_refused() -> None:
    sample = annotated({"a/b.mp4": 0}).samples[0]
    with pytest.raises(InputError, match="no regular expression"):
        source_of(sample, "(")
    with pytest.raises(DataError, match="doesn't match"):
        source_of(sample, r"actor\d")
    with pytest.raises(DataError, match="no column 'actor'"):
        source_of(sample, "column:actor")


@pytest.mark.parametrize(
    ("given", "accepted"),
    [
        ({"seed": -1}, "seed is -1; accepted: an integer of at least 0"),
        ({"seed": 1.5}, "seed is 1.5; accepted: an integer"),
        ({"val": "x"}, "val is 'x'; accepted: a part of the clips"),
        ({"folds": 2.5}, "folds is 2.5; accepted: an integer from 2"),
        ({"folds": 2, "seed": -1}, "seed is -1; accepted"),
    ],
)
def test_what_cannot_divide_clips_is_refused(given: dict[str, Any], accepted: str) -> None:
    clips = annotated({f"{label}/{name}.mp4": label for label in range(2) for name in "xyz"})
    divide: Any = fold_annotations if "folds" in given else split_annotations
    with pytest.raises(InputError, match=accepted):
        divide(clips, **given)
    with pytest.raises(DataError, match="0 clips from 0 sources can't be"):
        divide(clips.subset([]), **{"folds": 2} if "folds" in given else {})


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
    more = annotated(behind | {f"{act}/extra.avi": label for label, act in enumerate(acts)}, labels=acts)
    group_by, _ = resolved(more, "auto")  # which three of the clips don't match
    alone_at = [os.path.normpath(sample.path.absolute()) for sample in more.samples[12:]]
    assert [source_of(sample, group_by) for sample in more.samples] == [*people * 3, *alone_at]
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


PERSONS = ("anna", "ben", "cleo", "dan")
FILMS = ("April_09", "LOTR", "Fellowship_of_the_ring", "TheBoondockSaints")
SHOTS = ("goo_0", "med_1", "bad_2")
BODY = ("hand_shake", "hand_wave", "kick_ball", "kick_box", "high_five")


@pytest.mark.parametrize(
    ("acts", "names", "groups"),
    [
        # KTH, Weizmann, HMDB51, UT-Interaction with words and with numbers
        (
            ("boxing", "jogging"),
            [f"person{p:02}_{{}}_d{d}_uncomp" for p in range(1, 6) for d in range(1, 5)],
            [f"person{p:02}" for p in range(1, 6)],
        ),
        (("walk", "jack"), [f"{person}_{{}}" for person in PERSONS], [*PERSONS]),
        (("walk", "run"), [f"{person}_{{}}{i}" for person in PERSONS for i in (1, 2)], [*PERSONS]),
        (
            ("brush_hair", "draw_sword", "kick"),
            [f"{film}_{{}}_f_cm_np1_le_{shot}" for film in FILMS for shot in SHOTS],
            ["April", "Fellowship", "LOTR", "TheBoondockSaints"],
        ),
        (("hug", "kick"), [f"seq{i}_{i % 3}_{{}}" for i in range(1, 11)], [f"seq{i}" for i in range(1, 11)]),
        (("hug", "kick"), [f"{i}_{i + 1}_0" for i in range(10)], None),
        # Takes of persons, with words of classes and with counters
        (
            ("walk", "run"),
            [f"{person}_take{take}" for person in PERSONS for take in range(1, 7)],
            [*PERSONS],
        ),
        (("walk", "run"), [f"{{}}_{person}_r{take}" for person in PERSONS for take in (1, 2)], [*PERSONS]),
        (("walk", "run"), [f"{{}}_{person}_c{clip}" for person in PERSONS for clip in range(6)], [*PERSONS]),
        (BODY, [f"{{}}_{i:03}" for i in range(4)], None),
        *(
            (("walk", "run", "hop"), [f"{word}{i:02}{mark}" for i in range(6)], None)
            for word, mark in (("clip", ""), ("v", ""), ("", ", cut"), ("img", "_x"), ("(", ") {}"))
        ),
        # What several clips of one class were cut from, as in Cholec80
        *(
            (("cut", "sew", "tie"), [form.format(i, k) for i in range(6) for k in (1, 2)], sources)
            for form, sources in (
                ("video{:02}_{:06}", [f"video{i:02}" for i in range(6)]),
                ("{{}}_V{:02}_{}", [f"V{i:02}" for i in range(6)]),
                ("walk_c{}_{}", [f"c{i}" for i in range(6)]),
                ("{1:02}_{0}", None),
            )
        ),
    ],
)
def test_the_word_that_groups_clips_is_found(
    acts: tuple[str, ...], names: list[str], groups: list[str] | None
) -> None:
    clips = {f"{act}/{name.format(act)}.avi": label for label, act in enumerate(acts) for name in names}
    found = suggest_groups(annotated(clips, labels=acts))
    assert (found and [*found.names]) == (groups and sorted(groups))
    if found is not None:
        split_annotations(annotated(clips, labels=acts), group_by=found.group_by)


def test_other_words_are_named_and_takes_are_shared_by_no_parts() -> None:
    names = {f"{a}/{p}_take{i}.avi": a for a in range(2) for p in PERSONS for i in range(6)}
    _, told = resolved(annotated(names), "auto")
    assert told == [
        "Groups: 4 groups across classes (anna, ben, cleo, dan), or 6 by another word (take0, take1, take2,"
        " take3 ...)."
    ]
    for word in ("take", "clip"):
        clips = annotated({f"{a}/{word}{i}.avi": a for a in range(3) for i in range(6)})
        group_by, _ = resolved(clips, "auto")
        other = annotated({f"{a}/{word}{i}.avi": a for a in range(3, 6) for i in range(6)})
        assert leaks({"train": clips, "test": other}, group_by) == []
    # Persons, whom parts share: t01 to t08.
    acts = ("walk", "run", "sit")
    first, again = (
        annotated(
            {f"{act}/t{i:02}_{act}{end}.mp4": label for label, act in enumerate(acts) for i in range(8)}
        )
        for end in ("", "_again")
    )
    group_by, _ = resolved(first, "auto")
    assert leaks({"train": first, "test": again}, group_by) == [
        (f"t{i:02}", ("train", "test")) for i in range(8)
    ]
    # Most classes would be in one group: these words are theirs.
    acts = ("handshake", "wave", "highfive", "highkick")
    other_words = ("hand", "hand", "high", "high")
    names = {
        f"{w}_{i}x.avi": label for label, w in enumerate(other_words) for i in range(4 * label, 4 * label + 4)
    }
    assert suggest_groups(annotated(names, labels=acts)) is None


def test_splits_of_uneven_and_tiny_classes() -> None:
    names = (
        {f"big/{i}.mp4": 0 for i in range(50)} | {f"small/{i}.mp4": 1 for i in range(2)} | {"one/x.mp4": 2}
    )
    train, val = split_annotations(annotated(names), 0.1)
    assert val.counts() == [5, 1, 0]
    assert train.counts() == [45, 1, 1]
    _, most = split_annotations(annotated({f"a/{i}.mp4": 0 for i in range(4)}), 0.99)
    assert most.counts() == [3]
    with pytest.raises(DataError, match="from 1 source can't be split"):
        split_annotations(annotated({"a/x.mp4": 0, "a/y.mp4": 0}), 0.5, group_by="folder")
    with pytest.raises(InputError, match="val is 1"):
        split_annotations(annotated(names), 1)


def test_clips_that_are_called_parts_of_one_video_have_a_way_out() -> None:
    """Where folders number their clips like parts, all of them are one source."""
    clips = annotated({f"{label}/out_seg{i:03}.mp4": label for label in range(3) for i in range(5)})
    words = (
        r"The largest source, 'out', has 15 clips, such as 'out_seg000\.mp4' and 'out_seg001\.mp4';"
        r" if these don't belong together, --group-by '\.\+' takes each file as a source of its own\."
    )
    with pytest.raises(DataError, match=words):
        split_annotations(clips, 0.2)
    with pytest.raises(DataError, match=words):
        fold_annotations(clips, 2)
    assert split_annotations(clips, 0.2, group_by=".+")[1].counts() == [1, 1, 1]


def test_no_other_groups_are_suggested_for_parts_of_one_file_nor_where_they_were_asked_for() -> None:
    films = annotated({f"{label}.mp4": label for label in range(2)})
    parts = tuple(
        dataclasses.replace(film, start_seconds=float(start), end_seconds=start + 1.0)
        for film in films.samples
        for start in range(6)
    )
    person = annotated({f"{label}/ann_{i}.mp4": label for label in range(2) for i in range(3)})
    for clips, group_by in (
        (dataclasses.replace(films, samples=parts), None),
        (person, "/([a-z]+)_"),
    ):
        with pytest.raises(DataError, match=r"can't be split so that .* or other groups \(group_by\)\.$"):
            split_annotations(clips, 0.2, group_by=group_by)


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


def test_no_more_than_half_is_held_out_for_the_sake_of_a_class() -> None:
    """Of class 2 one source can be held out, with half of all clips, and 2 clips are held out already."""
    counts = {"x": (1, 1, 1), "y": (0, 0, 5), "z": (0, 2, 0)}
    names = {
        f"{label}/{source}{i}.mp4": label
        for source, own in counts.items()
        for label, count in enumerate(own)
        for i in range(count)
    }
    for seed in range(9):
        _, val = split_annotations(annotated(names), 0.2, group_by="/([xyz])", seed=seed)
        assert val.counts() == [0, 2, 0]


def test_split_as_a_command(parts: Path, tmp_path: Path) -> None:
    command = ["split", str(parts / "train"), str(tmp_path / "lists"), "--val", "0.25"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "lists" / "labels.txt").read_text() == "a\nb\n"
    train, val = (read_annotations(tmp_path / "lists" / f"{part}.csv") for part in ("train", "val"))
    assert (train.counts(), val.counts()) == ([3, 3], [1, 1])
    auto = CliRunner().invoke(main, [*command, "--group-by", "auto", "--overwrite"])
    assert auto.exit_code == 0 and "Groups: none that names suggest." in auto.output
    (tmp_path / "file").write_text("")
    places = {tmp_path / "file" / "no": "can't be written", parts / "train" / "no": "is in the data folder"}
    for place, told in places.items():
        refused = CliRunner().invoke(main, [*command[:2], str(place), "--val", "0.25"])
        assert refused.exit_code == 1 and told in refused.output


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
    for name in ("x.npy", "y.mp4", ".hidden.mp4", "notes.txt"):
        (tmp_path / "d" / name).touch()
    assert read_filled(tmp_path / "d")[1] == ["Left out 2 clips beside the class folders, such as 'x.npy'."]
