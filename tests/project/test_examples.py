"""Every example, as a user runs it: in a process of its own, somewhere else, without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
OFFLINE = (
    "import socket; socket.socket.connect = None\n"
    "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)
SAYS = {
    "predict.py": "pan right",
    "features.py": "slow pathway (3, 512, 2, 3, 3) fast pathway (3, 256, 8, 3, 3)",
    "highlights.py": "pan right 9",
    "motion_edit_list.py": "1 part in motions.csv: pan right",
    "persons.py": "Person(0 s, box 80, 24, 240, 216: ",
    "webcam.py": "pan right",
    "torch_hub.py": "eight times the same picture: static",
}


def run(name: str, folder: Path) -> str:
    environment = {**os.environ, "SLOWFAST_ZOO_OFFLINE": "1"}
    command = [sys.executable, "-c", OFFLINE, str(EXAMPLES / name)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", sorted(SAYS))
def test_it_runs_and_says_what_it_should(name: str, tmp_path: Path) -> None:
    assert SAYS[name] in run(name, tmp_path)


@pytest.mark.parametrize(
    ("part", "shards", "sentence"),
    [
        ("0/2", "a.tar b.tar", "--part is 0/2; parts are counted from 1"),
        ("3/2", "a.tar b.tar", "--part is 3/2; parts are counted from 1"),
        ("1/2", "train/a.tar val/a.tar", "two shards have the same name"),
    ],
)
def test_no_shard_is_left_out_silently(part: str, shards: str, sentence: str, tmp_path: Path) -> None:
    lists = "types.SimpleNamespace(expand_urls=str.split)"
    package = f"import sys, types; sys.modules['webdataset'] = types.SimpleNamespace(shardlists={lists})\n"
    script = str(EXAMPLES / "cluster" / "webdataset_predict.py")
    command = [sys.executable, "-c", package + OFFLINE, script, shards, "runs/answers", "--part", part]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 2 and sentence in done.stderr, done.stderr


def test_fine_tuning_learns(tmp_path: Path) -> None:
    *epochs, held_back = run("finetune.py", tmp_path).splitlines()
    losses = [float(line.rsplit(" ", 1)[1]) for line in epochs]
    assert len(losses) == 5
    assert losses[-1] < losses[0]
    assert losses[-1] < 0.45, "the two classes can be told apart"
    right, of, count, *words = held_back.split()
    assert (of, count, words) == ("of", "20", ["clips", "of", "other", "scenes", "are", "right"])
    assert int(right) >= 17


def test_every_example_is_tested_and_short() -> None:
    scripts = {path.name: path for path in EXAMPLES.glob("*.py")}
    # Serving is tested with the export that it serves.
    assert {*SAYS, "finetune.py", "serve_onnx_numpy.py"} == set(scripts)
    clusters = {path.name: path for path in (EXAMPLES / "cluster").glob("*.py")}
    tests = "".join(
        path.read_text(encoding="utf-8") for path in (EXAMPLES.parent / "tests/cluster").glob("*.py")
    )
    assert all(name in tests for name in clusters), "they run in -m cluster"
    for path in (*scripts.values(), *clusters.values()):
        most = 40 if path.name == "finetune.py" else 60  # as README says
        assert len(path.read_text(encoding="utf-8").splitlines()) <= most
