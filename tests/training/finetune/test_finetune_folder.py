"""Data that nobody tidied, and work directories that hold something already: nothing is lost."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.finetune_clips import CLIP_SPEC, make_clips, make_model
from support.movies import moving_pattern, write_video

import slowfast_zoo.training.finetune.finetune as finetune_module
from slowfast_zoo.data.annotations import Annotations, Sample
from slowfast_zoo.data.lists import read_annotations
from slowfast_zoo.data.splits import source_of, suggest_groups
from slowfast_zoo.data.tables import write_table
from slowfast_zoo.errors import DataError, InputError, TrainingError, UnknownNameError
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.training.finetune.data import FinetuneData, collect
from slowfast_zoo.training.finetune.decoded import _bytes_of, _stored, _with_source
from slowfast_zoo.training.finetune.finetune import FinetuneResult, finetune
from slowfast_zoo.training.finetune.folder import begun, start_of
from slowfast_zoo.zoo import slowfast_tiny


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clips(tmp_path_factory.mktemp("clips"), {"dark": 3, "light": 3})


def tune(data: Any, folder: Path, model: SlowFast | None = None, **options: Any) -> FinetuneResult:
    """A probe."""
    usual = {"recipe": "probe", "keep_clip": True, "views": "quick", "config": {"workers": 0}}
    how = {**usual, "everything": False, "progress": False, "device": "cpu", **options}
    return finetune(data, model or make_model(), work_dir=folder, **how)


def collected(data: Any, folder: Path, validation: Any = None, **options: Any) -> FinetuneData:
    usual = {"resume": False, "val": 0.2, "group_by": None, "seed": 0, "max_unreadable": 0.1}
    return collect(data, validation, folder, progress=False, **{**usual, **options})


def test_a_class_whose_clips_are_all_bad_is_left_out(tmp_path: Path) -> None:
    make_clips(tmp_path / "d", {"dark": 6, "light": 6, "zebra": 0})
    (tmp_path / "d" / "zebra" / "a.mp4").write_bytes(b"no")
    found = collected(tmp_path / "d", tmp_path / "s")
    assert found.train.labels == found.val.labels == ("dark", "light")
    assert "Left out classes without a clip that can be used: 'zebra'." in found.notes
    with pytest.raises(DataError, match=r"2 of 14 clips can't be read, more .* \(--max-unreadable\)"):
        (tmp_path / "d" / "zebra" / "b.mp4").write_bytes(b"no")
        collected(tmp_path / "d", tmp_path / "t")
    only = tmp_path / "val.csv"
    only.write_text("path,label\nd/zebra/b.mp4,zebra\nd/dark/0.npy,dark\n")
    found = collected(tmp_path / "d", tmp_path / "u", only, max_unreadable=0.5)
    assert [sample.path.name for sample in found.val.samples] == ["0.npy"]


def test_copies_of_a_clip_are_in_one_part_once(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, tmp_path / "d")
    for path in sorted((tmp_path / "d").rglob("*.npy")):
        shutil.copy(path, path.with_name(f"copy of {path.name}"))
    found = collected(tmp_path / "d", tmp_path / "s")
    assert (found.train.counts(), found.val.counts()) == ([2, 2], [1, 1])
    assert "Left out copies of clips that are there already: 6." in found.notes
    other = make_clips(tmp_path / "v", {"dark": 1, "light": 1})
    shutil.copy(clips / "dark" / "2.npy", other / "dark" / "another name.npy")
    found = collected(clips, tmp_path / "t", other)
    assert any(note.startswith("Parts share") and "scores are too good" in note for note in found.notes)
    grouped = collected(clips, tmp_path / "g", other, group_by="folder")
    told = f"Parts share 2 sources, such as '{clips / 'dark' / '0.npy'}': scores are too good."
    assert told in grouped.notes, "the clips: their folder isn't in both"


def test_clips_to_score_with_of_other_classes_are_left_out(clips: Path, tmp_path: Path) -> None:
    other = make_clips(tmp_path / "v", {"dark": 1, "light": 1, "red": 2}, frames=4)
    note = "Left out 2 clips of val, of classes without a clip to train with: 'red'."
    for number, validation in enumerate((other, read_annotations(other))):
        found = collected(clips, tmp_path / f"s{number}", validation)
        assert found.val.labels == ("dark", "light") and found.val.counts() == [1, 1] and note in found.notes


def test_a_column_of_a_table_divides_it(clips: Path, tmp_path: Path) -> None:
    whole = read_annotations(clips)
    rows = [f"{clip.path},{clip.path.parent.name},{clip.path.stem}" for clip in whole.samples]
    text = (
        "\n".join(["path,label,set", *rows])
        .replace(",0", ",test")
        .replace(",1", ",train")
        .replace(",2", ",train")
    )
    (tmp_path / "all.csv").write_text(text)
    found = collected(tmp_path / "all.csv", tmp_path / "s")
    assert found.test is not None and [clip.path.name for clip in found.test.samples] == ["0.npy", "0.npy"]
    assert "The column 'set' divides the clips: 4 in train, 2 in test." in found.notes
    assert {clip.path.name for clip in found.train.samples} <= {"1.npy", "2.npy"}
    whole = collected(tmp_path / "all.csv", tmp_path / "folds", val=0.0)  # as for folds
    assert (len(whole.train.samples), len(whole.val.samples), whole.test) == (6, 0, None)
    told = "The column 'set' divides the clips: 4 in train, 2 in test. All are divided anew."
    assert told in whole.notes
    grouped = collected(tmp_path / "all.csv", tmp_path / "grouped", val=0.0, group_by="column:Set")
    assert {source_of(clip, grouped.group_by) for clip in grouped.train.samples} == {"train", "test"}


def test_what_was_said_of_the_data_is_said_again(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, tmp_path / "d")
    shutil.copy(tmp_path / "d" / "dark" / "0.npy", tmp_path / "d" / "dark" / "copy.npy")
    found = collected(tmp_path / "d", tmp_path / "s")
    assert "Left out copies of clips that are there already: 1." in found.notes
    assert collected(tmp_path / "d", tmp_path / "s", resume=True).notes == found.notes
    path = tmp_path / "s" / "checksums.json"
    kept = json.loads(path.read_text())
    del kept["notes"]  # as older versions wrote it
    path.write_text(json.dumps(kept))
    assert collected(tmp_path / "d", tmp_path / "s", resume=True).notes == found.notes[:1]


def test_a_word_that_most_names_have_is_no_person(tmp_path: Path) -> None:
    names = ["clip_0", "clip_1", "clip_2", "clip_3", "ann_4", "bob_5", "eve_6"]
    for label in ("dark", "light"):
        make_clips(tmp_path / label, {label: len(names)}, frames=1)
        for place, name in enumerate(names):
            (tmp_path / label / label / f"{place}.npy").rename(tmp_path / label / f"{name}.npy")
    assert suggest_groups(read_annotations(tmp_path)) is None


@pytest.mark.parametrize("names", [("0.5", "1.5"), (" lead", "trail "), ("-dash", "a,b;c"), ("#1", '"q"')])
def test_whatever_class_folders_are_called_the_split_is_read_back(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    found = collected(make_clips(tmp_path / "d", dict.fromkeys(names, 3), frames=1), tmp_path / "s")
    assert {*found.train.class_names} == {name.strip() for name in names}
    for sample in (*found.train.samples, *found.val.samples):
        assert found.train.class_names[sample.labels[0]] == sample.path.parent.name.strip()


def test_a_training_on_everything_is_added_later_unless_a_budget_planned_without_it(
    clips: Path, tmp_path: Path
) -> None:
    tune(clips, tmp_path / "w")
    again = tune(clips, tmp_path / "w", everything=True, resume=True)
    assert any("was then trained in the same way on all" in note for note in again.notes)
    tune(clips, tmp_path / "v", budget_seconds=60)
    with pytest.raises(TrainingError, match=r"other settings \(everything False -> True\)"):
        tune(clips, tmp_path / "v", budget_seconds=60, everything=True, resume=True)
    given = {"budget_seconds": 60, "validation": clips}  # then nothing is trained on everything
    tune(clips, tmp_path / "u", **given)
    tune(clips, tmp_path / "u", **given, everything=True, resume=True)


def test_a_folder_that_an_earlier_version_began_is_told_before_it_may_be_refused(
    clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tune(clips, tmp_path / "w")
    tune(clips, tmp_path / "w", resume=True)
    told = f"An earlier version began the fine-tuning in {tmp_path / 'w'}; if it can't go on, finish it with"
    assert told not in caplog.text
    plan = json.loads((tmp_path / "w" / "plan.json").read_text())
    del plan["asked"]["everything"], plan["record_checksum"]  # which it didn't keep
    (tmp_path / "w" / "plan.json").write_text(json.dumps(plan))
    tune(clips, tmp_path / "w", resume=True)
    assert told in caplog.text


def test_paths_lead_out_of_a_linked_folder(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "er", target_is_directory=True)
    tune(clips, tmp_path / "link" / "w")
    there = read_annotations(tmp_path / "link" / "w" / "data" / "train.csv")
    assert all(sample.path.exists() for sample in there.samples)
    write_table(tmp_path / "again.csv", there)
    assert all(sample.path.exists() for sample in read_annotations(tmp_path / "again.csv").samples)


def test_other_settings_or_another_start_are_not_gone_on_with(clips: Path, tmp_path: Path) -> None:
    def known(seed: int) -> SlowFast:
        model = make_model(seed)
        model.provenance = {"model": "net", "tag": "one"}
        return model

    model = known(0)
    tune(clips, tmp_path / "w", model)
    before = (tmp_path / "w" / "report.txt").read_bytes()
    other = make_clips(tmp_path / "d", {"dark": 4, "red": 4})
    for changed, words in (
        ({"data": other}, r"other settings \(data .*clips\S* -> \.\./d\)"),
        ({"val": 0.4}, r"other settings \(val 0\.2 -> 0\.4\)"),
        ({"group_by": "folder"}, r"other settings \(group_by None -> folder\)"),
        ({"validation": other}, r"other settings \(validation None -> \.\./d\)"),
        ({"model": known(1)}, r"other settings \(start net:one \(\w{8}\) -> net:one \(\w{8}\)\)"),
    ):
        given: dict[str, Any] = {"data": clips, "model": known(0), **changed}
        with pytest.raises(TrainingError, match=words):
            tune(given.pop("data"), tmp_path / "w", resume=True, **given)
    assert (tmp_path / "w" / "report.txt").read_bytes() == before
    assert tune(clips, tmp_path / "w", known(0), resume=True).evaluation.names
    with pytest.raises(InputError, match=r"val is 0\.0; accepted"):
        tune(clips, tmp_path / "v", val=0.0)
    assert not (tmp_path / "v").exists()
    random = [slowfast_tiny() for _ in range(2)]
    assert start_of(random[0]) == start_of(random[1]) == "slowfast_tiny, no published weights"
    assert start_of(slowfast_tiny(True)).startswith("slowfast_tiny:camera-motion (")
    assert start_of(slowfast_tiny(True, num_classes=3)) == start_of(slowfast_tiny(True))


def timed_model() -> SlowFast:
    model = make_model()
    model.clip_spec = CLIP_SPEC.replace(time_base="fps-scaled", fps=5)
    return model


def test_frames_without_a_rate_are_counted_or_refused(clips: Path, tmp_path: Path) -> None:
    result = tune(clips, tmp_path / "w", timed_model(), keep_clip=False)
    assert (result.model.clip_spec.time_base, result.model.clip_spec.fps) == ("frames", None)
    assert len(result.evaluation.names) == 2 and not result.evaluation.failed
    told = rf"rate of 6 of 6 clips, such as '{clips / 'dark' / '0.npy'}', and the .* with fps=25 \(--fps\)"
    with pytest.raises(DataError, match=told):
        tune(clips, tmp_path / "v", timed_model(), keep_clip=True)
    shutil.copytree(clips, tmp_path / "mixed")
    for label in ("dark", "light"):
        (tmp_path / "mixed" / label / "0.npy").unlink()
        write_video(tmp_path / "mixed" / label / "0.mkv", np.load(clips / label / "0.npy"))
    for resume in (False, False, True):
        with pytest.raises(DataError, match="frame rate of 4 of 6 clips, such as "):
            tune(tmp_path / "mixed", tmp_path / "v", timed_model(), keep_clip=False, resume=resume)
    read = [read_annotations(tmp_path / "mixed", fps=fps) for fps in (25, 50)]
    result = tune(read[0], tmp_path / "v", timed_model(), keep_clip=False)
    assert result.model.clip_spec.time_base == "fps-scaled"
    with pytest.raises(TrainingError, match=r"other settings \(data 6 clips \(\w{8}\) -> 6 clips \("):
        tune(read[1], tmp_path / "v", timed_model(), keep_clip=False, resume=True)
    assert tune(read[0], tmp_path / "v", timed_model(), keep_clip=False, resume=True).sure == result.sure


def test_one_at_a_time_in_a_folder_and_nothing_of_others_is_touched(clips: Path, tmp_path: Path) -> None:
    with begun(tmp_path / "w", {}, resume=False), pytest.raises(TrainingError, match="Another training is"):
        tune(clips, tmp_path / "w")
    for name in ("cache", "data"):
        own = make_clips(tmp_path / "home" / name, {"dark": 3, "light": 3})
        with pytest.raises(TrainingError, match=f"holds '{name}', where a fine-tuning writes; choose an em"):
            tune(own, tmp_path / "home")
        with pytest.raises(TrainingError, match=f"holds '{name}', where a fine-tuning writes; choose an em"):
            tune(own, tmp_path / "home", resume=True)
        assert len(list(own.rglob("*.npy"))) == 6
        shutil.rmtree(own)
    for name in ("report.txt", "per_class.csv", "log.jsonl"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("mine")
        for resume in (False, True):
            with pytest.raises(TrainingError, match=f"holds '{name}', where a fine-tuning writes; choose an"):
                tune(tmp_path / "nothing", tmp_path / name, resume=resume)
        assert (tmp_path / name / name).read_text() == "mine"


def test_a_start_that_failed_can_be_tried_again_in_the_same_folder(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, tmp_path / "d")
    (tmp_path / "d" / "dark" / "bad.mp4").write_bytes(b"no")
    (tmp_path / "d" / "light" / "bad.mp4").write_bytes(b"bad")
    with pytest.raises(DataError, match="2 of 8 clips can't be read"):
        tune(tmp_path / "d", tmp_path / "w")
    (tmp_path / "w" / "data").mkdir()
    for name in ("val.csv", "checksums.json"):  # of one that was killed while it began, with other options
        (tmp_path / "w" / "data" / name).write_text("{")
    result = tune(tmp_path / "d", tmp_path / "w", max_unreadable=0.5, folds=2, everything=True)
    assert len(result.evaluation.names) == 6
    assert "6 in train" in result.notes[1]


def test_the_model_is_as_it_was_when_a_fine_tuning_ends_early(clips: Path, tmp_path: Path) -> None:
    class Interrupted(SlowFast):
        stop = True

        def forward_features(self, clip: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            if self.stop:
                raise KeyboardInterrupt
            return super().forward_features(clip)

    model = make_model()
    model.__class__ = Interrupted
    before = model.spec, model.clip_spec, model.labels, model.training
    with pytest.raises(KeyboardInterrupt):
        tune(clips, tmp_path / "w", model, keep_clip=False)
    assert (model.spec, model.clip_spec, model.labels, model.training) == before
    Interrupted.stop = False
    result = tune(
        clips, tmp_path / "w", model, keep_clip=False, resume=True
    )  # the same object, as in notebooks
    fresh = tune(clips, tmp_path / "v", keep_clip=False)
    assert result.model is model and model.labels == ("dark", "light")
    assert model.clip_spec == fresh.model.clip_spec
    for name, value in fresh.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_one_long_video_among_short_ones_is_counted(tmp_path: Path) -> None:
    make_clips(tmp_path, {"dark": 50}, frames=1)
    make_clips(tmp_path / "long", {"light": 1}, frames=60)
    samples = [*read_annotations(tmp_path).samples]
    frame = 36 * 48 * 3
    assert _bytes_of(samples, 10**9) == 110 * frame
    assert 20 * frame < _bytes_of(samples, 20 * frame) < 110 * frame


@pytest.mark.parametrize(("broken", "limit"), [(3, 0.1), (1, 0.1), (3, 0.9)])
def test_clips_that_cant_be_decoded_any_more_end_no_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: int, limit: float
) -> None:
    """They were sound when the data were looked at."""
    folder = make_clips(tmp_path / "d", {"dark": 6, "light": 5})
    write_video(folder / "light" / "video.mkv", moving_pattern(8, 36, 36))
    find = finetune_module.Footage.of

    def meanwhile(clips: Annotations, **how: Any) -> Any:
        for sample in [each for each in clips.samples if clips.class_names[each.labels[0]] == "dark"][
            :broken
        ]:
            sample.path.with_suffix(".npy").write_bytes(b"no")
        return find(clips, **how)

    monkeypatch.setattr(finetune_module.Footage, "of", meanwhile)
    told = {(3, 0.1): "3 of 12 clips can't be read", (3, 0.9): "No clip of 'dark' is left"}.get(
        (broken, limit)
    )
    how: dict[str, Any] = {"val": 0.5, "max_unreadable": limit}
    if told is None:
        assert "Left out 1 clip without a frame" in " ".join(tune(folder, tmp_path / "w", **how).notes)
        return
    with pytest.raises(DataError, match=told):
        tune(folder, tmp_path / "w", **how)


def test_a_clip_that_fails_takes_none_of_its_own_name_with_it(tmp_path: Path) -> None:
    good, bad = (
        Sample(path=tmp_path / "x.npy", end_seconds=1, start_seconds=0.5, fps=fps) for fps in (10, 1e3)
    )
    np.save(good.path, np.zeros((12, 8, 8, 3), np.uint8))
    samples = tuple(dataclasses.replace(s, labels=(label,)) for label, s in ((0, good), (1, bad), (2, good)))
    part = Annotations(samples=samples, labels=("c", "b", "a"), multi_label=False, num_classes=3)
    failed: list[tuple[str, str]] = []
    kept = _stored(part, tmp_path / "cache", False, failed)
    assert [sample.labels for sample in kept.samples] == [(0,), (2,)]
    assert [name for name, _ in failed] == [bad.name] == [good.name]


def test_a_group_that_reads_like_a_missing_value_stays_one_when_frames_are_stored() -> None:
    clips = [Sample(path=Path(f"/d/{name}_{act}.avi")) for name in ("bob", "nan") for act in ("run", "bend")]
    stored = [_with_source(clip, "/([a-z]+)_") for clip in clips]
    sources = [source_of(clip, "column:finetune_source") for clip in stored]
    assert sources[0] == sources[1] != sources[2] == sources[3]


def test_a_work_directory_is_outside_of_the_data(clips: Path, tmp_path: Path) -> None:
    inside = clips / "work_dirs" / "w"
    with pytest.raises(InputError, match=r"is in the data folder '.*', where its files would be"):
        tune(clips, inside)
    (tmp_path / "links").symlink_to(clips, target_is_directory=True)
    with pytest.raises(InputError, match="is in the data folder"):
        tune(tmp_path / "links", inside)
    assert not inside.parent.exists()
    hidden = shutil.copytree(clips, tmp_path / "d") / ".runs" / "w"
    assert tune(tmp_path / "d", hidden).recipe == "probe"


def test_a_folder_in_the_place_of_the_report_is_somebodys(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "w" / "report.txt").mkdir(parents=True)
    for resume in (False, True):
        with pytest.raises(TrainingError, match=r"holds 'report.txt', where a fine-tuning writes"):
            tune(clips, tmp_path / "w", resume=resume)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"flip": "no"}, "flip is 'no'; accepted: True, False or None."),
        ({"group_by": Path("x")}, r"group_by is .*Path\('x'\); accepted: a text, or None."),
        ({"recipe": ["learn", "plain"]}, r"There is no recipe '\['learn', 'plain'\]'"),
        ({"config": {1: 2}}, "config is a dict; accepted: the fields to change"),
        ({"validation": {"val": None}}, "validation is a dict; accepted: a path, or what read_annotations"),
        (
            {"folds": 3, "everything": True, "validation": "x"},
            "Folds divide the clips anew, and",
        ),
        ({"max_unreadable": "x"}, "max_unreadable is 'x'; accepted: a part of the clips"),
        ({"group_by": "a{99999999999999}"}, "is no regular expression"),
    ],
)
def test_arguments_of_another_kind_are_refused_in_a_sentence(
    clips: Path, tmp_path: Path, options: dict[str, Any], told: str
) -> None:
    with pytest.raises((InputError, UnknownNameError), match=told):
        tune(clips, tmp_path / "w", **options)


def test_numbers_of_numpy_are_numbers(clips: Path, tmp_path: Path) -> None:
    numbers: dict[str, Any] = {"val": np.float32(0.34), "views": (np.int64(1), 1)}
    assert tune(clips, tmp_path / "w", **numbers).recipe == "probe"
    assert tune(clips, tmp_path / "w", **numbers, resume=True).recipe == "probe"
