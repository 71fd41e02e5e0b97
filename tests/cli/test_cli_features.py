"""``slowfast-zoo features``: a folder that any number of processes fill, and files compared."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from cli.commands import invoke
from click.testing import Result
from safetensors.numpy import save_file
from support.movies import moving_pattern, write_video
from support.servers import FileServer
from support.small_nets import SMALL, make_model

from slowfast_zoo import ClipSpec, save_pretrained
from slowfast_zoo.files import claimed


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = make_model(SMALL)
    small.clip_spec = ClipSpec(num_frames=8, frame_stride=1, size=32, crop=32, test_crop=32)
    folder = tmp_path_factory.mktemp("model")
    save_pretrained(small, folder)
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for seed, name in enumerate(("a", "b", "c")):
        write_video(folder / f"{name}.mkv", moving_pattern(30, 40, 56, seed=seed), fps=25)
    return folder


def run(*arguments: object) -> Result:
    return invoke("features", *arguments)


def test_a_folder_is_filled_once(model: Path, films: Path, tmp_path: Path) -> None:
    out = tmp_path / "features"
    command = (films, "--out", out, "--model", model, "--hop", "0.4")
    ran = run(*command)
    assert ran.exit_code == 0 and f"{out}: 3 written" in ran.stderr
    assert sorted(path.name for path in out.iterdir()) == ["a.npz", "b.npz", "c.npz"]
    with np.load(out / "a.npz") as archive:
        assert archive["features"].shape == (3, 288)
        meta = json.loads(str(archive["meta"]))
    assert meta["hop_seconds"] == 0.4 and meta["weights"].startswith("sha256:")
    before = (out / "a.npz").stat().st_mtime_ns
    (out / "b.npz").write_bytes((out / "b.npz").read_bytes()[:300])
    (out / "c.npz").unlink()
    ran = run(*command)
    assert ran.exit_code == 0 and "2 written, 1 there already" in ran.stderr
    assert (out / "a.npz").stat().st_mtime_ns == before
    ran = run(*command, "--layer", "slow")
    assert ran.exit_code == 1 and "0 written, 3 failed" in ran.stderr
    assert "was made with layer 'pooled', and this is 'slow'" in ran.stderr
    ran = run(*command, "--precision", "bfloat16")
    assert ran.exit_code == 1 and "was made with precision 'float32', and this is 'bfloat16'" in ran.stderr
    assert "3 written" in run(*command, "--layer", "slow", "--overwrite").stderr


def test_a_video_without_a_name_is_not_taken_for_another_one(
    model: Path, films: Path, tmp_path: Path
) -> None:
    command, inputs = ["features", "-", "--out", tmp_path, "--model", model], [*films.iterdir()]
    assert invoke(*command, stdin=inputs[0].read_bytes()).exit_code == 0
    ran = invoke(*command, stdin=inputs[1].read_bytes())
    assert ran.exit_code == 1 and "standard input has no name" in ran.stderr and "1 failed" in ran.stderr
    ran = invoke(*command, "--overwrite", stdin=inputs[1].read_bytes())
    assert ran.exit_code == 0, ran.output


def test_what_another_process_makes_is_left_to_it(model: Path, films: Path, tmp_path: Path) -> None:
    with claimed(tmp_path / "b.npy") as free:
        assert free
        ran = run(films, "--out", tmp_path, "--model", model, "--format", "npy")
        assert ran.exit_code == 0 and "2 written, 1 being made by others" in ran.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.npy",
        "a.npy.json",
        "c.npy",
        "c.npy.json",
    ]
    assert (
        "1 written, 2 there already"
        in run(films, "--out", tmp_path, "--model", model, "--format", "npy").stderr
    )


def test_videos_of_one_name_get_files_of_their_own(model: Path, films: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.mkv").write_bytes((films / "b.mkv").read_bytes())
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    videos = (films / "a.mkv", other / "a.mkv", tmp_path / "broken.mp4")
    ran = run(*videos, "--out", out, "--model", model)
    assert ran.exit_code == 1 and "2 written, 1 failed" in ran.stderr and "broken.mp4" in ran.stderr
    names = sorted(path.name for path in out.iterdir())
    assert len(names) == 2 and all(name.startswith("a-") for name in names)
    assert run(other / "a.mkv", "--out", out, "--model", model).exit_code == 0
    ran = run(films / "a.mkv", "--out", out, "--model", model)
    assert ran.exit_code == 1 and "was made with source" in ran.stderr


def test_a_finished_file_keeps_its_name_beside_others_of_that_name(
    model: Path, films: Path, tmp_path: Path
) -> None:
    videos = [tmp_path / "d1" / "Clip.mkv", tmp_path / "d2" / "clip.mkv"]
    for video, film in zip(videos, ("a.mkv", "b.mkv"), strict=True):
        video.parent.mkdir()
        video.write_bytes((films / film).read_bytes())
    out = tmp_path / "out"
    assert run(videos[0], "--out", out, "--model", model).exit_code == 0
    for told in ("1 written, 1 there already", "2 there already"):
        assert told in run(*videos, "--out", out, "--model", model).stderr
    names = sorted(path.name for path in out.iterdir())
    assert names[0] == "Clip.npz" and len(names) == 2 and names[1].startswith("clip-")


def test_two_files_are_compared(model: Path, films: Path, tmp_path: Path) -> None:
    run(films, "--out", tmp_path, "--model", model)
    ran = run("--compare", tmp_path / "a.npz", tmp_path / "a.npz")
    assert ran.exit_code == 0 and "no row differs" in ran.stdout
    ran = run("--compare", tmp_path / "a.npz", tmp_path / "b.npz", "--json")
    assert ran.exit_code == 1 and json.loads(ran.stdout)["first_difference"] == 0
    for others in ((films,), ("--out", tmp_path), ("--hop", "1")):
        ran = run("--compare", tmp_path / "a.npz", tmp_path / "b.npz", *others)
        assert ran.exit_code == 2 and "leave out videos and options other than --json" in ran.stderr
    ran = run(films, "--out", tmp_path, "--model", model, "--json")
    assert ran.exit_code == 2 and "--json is how --compare answers" in ran.stderr


def test_what_does_not_fit_is_said(model: Path, films: Path, tmp_path: Path) -> None:
    assert "Name videos and a folder" in run(films).stderr
    ran = run(films, "--out", tmp_path / "no" / "folder", "--model", model)
    assert ran.exit_code == 1 and "can't be written: No such file or directory" in ran.stderr
    ran = run(films, "--out", tmp_path, "--model", model, "--recipe", "ego4d")
    assert ran.exit_code == 1 and "clips of 32 frames, and this model takes 8" in ran.stderr
    ran = run(films, "--out", tmp_path, "--model", model, "--recipe", "ego4d", "--hop", "1")
    assert "decides about --hop itself: leave it out" in ran.stderr
    assert run(films, "--out", tmp_path, "--model", model, "--hop", "0").exit_code == 2
    if getattr(os, "getuid", int)():  # neither root, who may write everywhere, nor Windows
        tmp_path.chmod(0o500)
        assert "can't be written: Permission denied" in run(films, "--out", tmp_path, "--model", model).stderr


def test_settings_that_can_not_be_are_no_videos_fault(model: Path, films: Path, tmp_path: Path) -> None:
    wrong = ("--engine", "onnxruntime", "--precision", "bfloat16")
    ran = run(films, "--out", tmp_path, "--model", model, *wrong)
    assert ran.exit_code == 1 and ran.stderr.count("onnxruntime") == 1, ran.stderr


def test_files_of_others_are_left_as_they_are(model: Path, films: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", poses=np.zeros((3, 2)), times=np.zeros(3))
    np.save(tmp_path / "b.npy", np.zeros((3, 2), np.int64))
    torch.save({"state": torch.zeros(3)}, tmp_path / "c.pt")
    save_file({"weight": np.zeros((3, 2), np.float32)}, tmp_path / "a.safetensors")
    (tmp_path / "c.npz").write_text("junk")
    for name, reason in (
        ("c.npz", "it is no .npz file of numbers;"),
        ("a.npz", "its keys are 'poses', 'times', none of them features"),
        ("b.npy", "it holds int64 (3, 2), not floats"),
        ("c.pt", "it holds a dict, no tensor"),
        ("a.safetensors", "its keys are 'weight', none of them features"),
    ):
        before = (tmp_path / name).read_bytes()
        command = (films / f"{name[0]}.mkv", "--out", tmp_path, "--model", model, "--format", name[2:])
        ran = run(*command)
        assert ran.exit_code == 1 and f"{name}' holds no features: {reason}" in ran.stderr, ran.stderr
        assert "; write to another folder, or give --overwrite." in ran.stderr
        assert (tmp_path / name).read_bytes() == before
    assert "1 written" in run(*command, "--overwrite").stderr


def test_addresses_that_differ_in_their_query_are_other_films(
    model: Path, films: Path, tmp_path: Path
) -> None:
    with FileServer({"/v.mkv": films / "a.mkv"}) as server:
        addresses = [f"{server.url}/v.mkv?id={number}" for number in range(3)]
        both = (*addresses[:2], "--out", tmp_path, "--model", model)
        assert "2 written" in run(*both).stderr and "2 there already" in run(*both).stderr
        assert len([*tmp_path.glob("v-*.npz")]) == 2
        assert "1 written" in run(addresses[0], "--out", tmp_path, "--model", model).stderr
        ran = run(addresses[2], "--out", tmp_path, "--model", model)
    assert ran.exit_code == 1 and "v.npz' was made with address_sha256" in ran.stderr
    with np.load(tmp_path / "v.npz") as archive:
        assert "id=" not in str(archive["meta"])
