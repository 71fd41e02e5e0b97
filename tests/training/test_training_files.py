"""Work directories and checkpoints: full disks, other trainings, damaged files."""

from __future__ import annotations

import errno
import random
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.finetune_clips import make_clips
from support.small_nets import weights_of
from support.training_clips import CONFIG, SPEC, Clips, assert_same, make_model

from slowfast_zoo.data.cache import cache_data
from slowfast_zoo.data.dataset import open_dataset
from slowfast_zoo.data.lists import read_annotations
from slowfast_zoo.errors import InputError, TrainingError
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.training.state import (
    LAST,
    RESUME,
    check_same,
    new_directory,
    read_resume,
    replaced,
    write_resume,
)
from slowfast_zoo.training.train import train
from slowfast_zoo.weights.saved.file import read_file


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="POSIX limits stand in for a full disk")
    path = tmp_path / "resume.pt"
    write_resume(path, {"step": 1, "model": {"w": torch.zeros(10)}})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(TrainingError, match=r"resume.pt can't be written .*earlier resume.pt is intact"):
            write_resume(path, {"step": 2, "model": {"w": torch.zeros(100_000)}})
        with pytest.raises(TrainingError, match="nothing was kept"), replaced(tmp_path / "new") as file:
            file.write_bytes(bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert read_resume(path)["step"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["resume.pt"]


def test_a_work_directory_may_be_below_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert new_directory("~/w", resume=False) == tmp_path / "w"
    with pytest.raises(TrainingError, match="can't be written"):
        new_directory(tmp_path / ("a" * 300), resume=False)


def test_a_work_directory_that_can_t_be_used_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(TrainingError, match="can't be written"):
        train(make_model(), Clips(), CONFIG, work_dir=file / "inside")
    with pytest.raises(TrainingError, match="nothing to resume"):
        train(make_model(), Clips(), CONFIG, work_dir=tmp_path / "new", resume=True)
    assert not (tmp_path / "new").exists()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / RESUME).write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(TrainingError, match="is damaged"):
        train(make_model(), Clips(), CONFIG, work_dir=tmp_path / "new", resume=True)
    with pytest.raises(TrainingError, match="holds a training already"):
        train(make_model(), Clips(), CONFIG, work_dir=tmp_path / "new")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows locks otherwise")
def test_a_file_system_without_locks_is_trained_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refused)
    train(make_model(), Clips(), CONFIG, work_dir=tmp_path)
    assert (tmp_path / LAST).is_file() and "without locks: let no other training write there" in caplog.text


def test_one_folder_is_for_one_training(tmp_path: Path) -> None:
    import filelock

    with filelock.FileLock(tmp_path / ".lock"), pytest.raises(TrainingError, match="Another training"):
        train(make_model(), Clips(), CONFIG, work_dir=tmp_path)


def test_resuming_another_training_is_refused(tmp_path: Path) -> None:
    train(make_model(), Clips(), CONFIG.replace(epochs=1), work_dir=tmp_path)
    with pytest.raises(TrainingError, match="epochs 1 -> 2"):
        train(make_model(), Clips(), CONFIG, work_dir=tmp_path, resume=True)
    with pytest.raises(TrainingError, match="clips 8 -> 9"):
        train(make_model(), Clips(9), CONFIG.replace(epochs=1), work_dir=tmp_path, resume=True)
    with pytest.raises(TrainingError, match="another model"):
        other = make_model(SPEC.replace(base_width=16))
        train(other, Clips(), CONFIG.replace(epochs=1), work_dir=tmp_path, resume=True)
    model = SlowFast(SPEC)
    result = train(model, Clips(), CONFIG.replace(epochs=1, log_every=3), work_dir=tmp_path, resume=True)
    assert result.steps == 4, "a finished training has nothing left to do"
    finished = read_file(result.last)
    assert_same(weights_of(model), weights_of(finished))


def test_what_could_not_be_saved_isnt_trained(tmp_path: Path) -> None:
    model = make_model()
    model.provenance = {"model": "its name", "callback": print}
    with pytest.raises(InputError, match="JSON, which can't hold them"):
        train(model, Clips(), CONFIG.replace(epochs=1), work_dir=tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_what_a_training_started_from_is_still_known_when_it_is_resumed(tmp_path: Path) -> None:
    def stop(line: dict[str, Any]) -> None:
        if line["mode"] == "train" and line["epoch"] == 2:
            raise KeyboardInterrupt

    model, again = make_model(), make_model()
    model.provenance = {"model": "its name", "license": "MIT", "tag": "published"}
    with pytest.raises(KeyboardInterrupt):
        train(model, Clips(), CONFIG.replace(epochs=2), work_dir=tmp_path, listener=stop)
    again.provenance = {"model": "its name"}
    result = train(again, Clips(), CONFIG.replace(epochs=2), work_dir=tmp_path, resume=True)
    assert again.provenance == read_file(result.last).provenance
    assert again.provenance["initialized_from"] == {"tag": "published"}
    assert again.provenance["license"] == "MIT" and again.provenance["training"]["step"] == result.steps


def test_resuming_under_other_classes_or_weights_is_refused(tmp_path: Path) -> None:
    config, model = CONFIG.replace(epochs=1), make_model()
    model.labels = ("ant", "bee", "fly")
    train(model, Clips(), config, work_dir=tmp_path)
    renamed, several = make_model(), make_model(SPEC.replace(activation="sigmoid"))
    renamed.labels, several.labels = ("bee", "fly", "wasp"), model.labels
    with pytest.raises(TrainingError, match="class 0 ant -> bee, class 1 bee -> fly, class 2 fly -> wasp"):
        train(renamed, Clips(), config, work_dir=tmp_path, resume=True)
    with pytest.raises(TrainingError, match="activation softmax -> sigmoid"):
        train(several, Clips(), config, work_dir=tmp_path, resume=True)
    with pytest.raises(TrainingError, match=r"\(sample_weights None -> [0-9a-f]{8}\)"):
        train(model, Clips(), config, work_dir=tmp_path, resume=True, sample_weights=[1.0] * 8)
    state = read_resume(tmp_path / RESUME)
    del state["learned"]  # which older versions didn't keep
    write_resume(tmp_path / RESUME, state)
    assert train(renamed, Clips(), config, work_dir=tmp_path, resume=True).steps == 4


def test_resuming_with_other_clips_is_refused(tmp_path: Path) -> None:
    """Wherever the same ones lie now: they have their names and their folders' names."""
    config, made = CONFIG.replace(epochs=1), make_clips(tmp_path / "one", {"dark": 4, "light": 4})
    held_out = make_clips(tmp_path / "val", {"dark": 1, "light": 1})
    model = make_model(SPEC.replace(num_classes=2))

    def resumed(clips: Path, validation: Path, *, resume: bool = True) -> int:
        data = [
            open_dataset(read_annotations(each, labels=("dark", "light")), model.clip_spec, train=learned)
            for each, learned in ((clips, True), (validation, False))
        ]
        work = tmp_path / "work"
        return train(model, data[0], config, work_dir=work, validation=data[1], resume=resume).steps

    assert resumed(made, held_out, resume=False) == 4
    others = made.rename(tmp_path / "moved")
    assert resumed(others, held_out) == 4
    (others / "dark" / "0.npy").rename(others / "dark" / "9.npy")
    with pytest.raises(TrainingError, match=r"\(training clips [0-9a-f]{8} -> [0-9a-f]{8}\)"):
        resumed(others, held_out)
    (others / "dark" / "9.npy").rename(others / "dark" / "0.npy")
    with pytest.raises(TrainingError, match=r"\(validation clips [0-9a-f]{8} -> [0-9a-f]{8}\)"):
        resumed(others, others)
    cached = tmp_path / "cached" / "one"
    cache_data(read_annotations(others), cached, form="frames", progress=False)
    assert resumed(cached / "index.csv", held_out) == 4
    table = (cached / "index.csv").read_text()
    for changed in (
        table.replace(",dark,", ",x,").replace(",light,", ",dark,").replace(",x,", ",light,"),
        "\n".join(f"{line},{'start' if line.startswith('path') else 0.1}" for line in table.splitlines()),
    ):
        (cached / "other.csv").write_text(changed)
        with pytest.raises(TrainingError, match=r"\(training clips [0-9a-f]{8} -> [0-9a-f]{8}\)"):
            resumed(cached / "other.csv", held_out)


def test_resuming_another_network_input_or_freezing_of_equal_shapes_is_refused(tmp_path: Path) -> None:
    config = CONFIG.replace(epochs=1)

    def made(**changes: object) -> SlowFast:
        model = make_model(SPEC.replace(**changes))
        model.freeze("stage3", norms=True)
        return model

    train(made(), Clips(), config, work_dir=tmp_path)
    further, faster, thawed, learning = (made() for _ in range(4))
    further.clip_spec = further.clip_spec.replace(frame_stride=9, approximate="Said otherwise.")
    faster.clip_spec = faster.clip_spec.replace(mean=(0.0, 0.0, 0.0))
    thawed.freeze("stem", norms=True)
    learning.freeze("stage3")
    wrong = {
        r"\(dropout 0\.5 -> 0\.1\)": made(dropout=0.1),
        r"\(slow_sampling strided -> linspace\)": made(slow_sampling="linspace"),
        r"\(clip frame_stride \d+ -> 9\)": further,
        r"\(clip mean \[.*\] -> \[0\.0, 0\.0, 0\.0\]\)": faster,
        r"\(frozen stage3 -> stem\)": thawed,
        r"\(frozen norms True -> False\)": learning,
    }
    for message, model in wrong.items():
        with pytest.raises(TrainingError, match=f"or another model {message}; give the old ones, or"):
            train(model, Clips(), config, work_dir=tmp_path, resume=True)
    state = read_resume(tmp_path / RESUME)
    kept = ("activation", "sample_weights", "class 0", "class 1", "class 2")
    old = {"learned": {name: state["learned"][name] for name in kept}}
    write_resume(tmp_path / RESUME, {**{name: state[name] for name in state if name != "measured"}, **old})
    for model in (made(), made(dropout=0.1), further):
        assert train(model, Clips(), config, work_dir=tmp_path, resume=True).steps == 4, "as older versions"
        write_resume(tmp_path / RESUME, {**{n: state[n] for n in state if n != "measured"}, **old})


def test_other_numbers_of_processes_are_told_how_to_make_the_same_steps(tmp_path: Path) -> None:
    saved = {"settings": {"batch_size": 8, "accumulate": 1, "step_clips": 64}}
    for settings, ways in (
        (
            {"batch_size": 8, "accumulate": 1, "step_clips": 32},
            "accumulate=2 (--set accumulate=2) or batch_size=16",
        ),
        ({"batch_size": 8, "accumulate": 1, "step_clips": 128}, "batch_size=4"),
        ({"batch_size": 8, "accumulate": 1, "step_clips": 24}, ""),
    ):
        sentence = (
            f"give the old ones, by {ways} on this many processes, or" if ways else "give the old ones, or"
        )
        with pytest.raises(TrainingError, match=re.escape(sentence)):
            check_same(tmp_path, saved, settings, {})


def test_a_damaged_resume_file_is_refused_wherever_it_is_damaged(tmp_path: Path) -> None:
    config = CONFIG.replace(epochs=1)
    train(make_model(), Clips(), config, work_dir=tmp_path)
    path, rng = tmp_path / RESUME, random.Random(0)
    whole = path.read_bytes()
    zeros = bytes(min(4096, len(whole) // 4))
    damaged = [whole[:-1], whole[: len(whole) // 2], whole[:3], b"", whole + b"\0", bytes(len(whole))]
    for _ in range(25):
        position = rng.randrange(len(whole))
        bit = bytes([whole[position] ^ 1 << rng.randrange(8)])
        damaged.append(whole[:position] + bit + whole[position + 1 :])
        position = rng.randrange(len(whole) - len(zeros))
        damaged.append(whole[:position] + zeros + whole[position + len(zeros) :])
    torch.save({"step": 1, "model": {}}, path)
    damaged.append(path.read_bytes())
    before = weights_of(model := make_model())
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(TrainingError, match=rf"resume\.pt is damaged.*Begin anew.*{LAST}") as refused:
            train(model, Clips(), config, work_dir=tmp_path, resume=True)
        assert "\n" not in str(refused.value)
    assert_same(weights_of(model), before)
    path.write_bytes(whole)
    train(model, Clips(), config, work_dir=tmp_path, resume=True)


def test_a_resume_file_of_another_format_is_refused(tmp_path: Path) -> None:
    write_resume(tmp_path / RESUME, {"format": 2})
    with pytest.raises(
        TrainingError, match=r"has format 2, and this version reads 3; go on with the version"
    ):
        read_resume(tmp_path / RESUME)
