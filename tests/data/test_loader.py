"""How items become batches: the same for any number of workers, processes and passes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.training_clips import Clips, Fixed
from torch import Tensor
from torch.utils.data import Subset

from slowfast_zoo.data.dataset import Persons
from slowfast_zoo.data.loader import (
    EVALUATION,
    PRECISE_BN,
    TRAINING,
    ItemKey,
    KeyedItems,
    StepKeys,
    load,
    normalized,
)
from slowfast_zoo.errors import DataError
from slowfast_zoo.spec import ClipSpec


def test_workers_don_t_change_what_is_read(tmp_path: Path) -> None:
    batches = []
    for workers in (0, 1, 2):
        keys = StepKeys(8, micro_batch=2, micro_batches=1, steps_per_epoch=3, steps=range(1, 6), seed=5)
        items = pickle.loads(pickle.dumps(KeyedItems(Clips(), 5)))  # as spawned workers get it
        batches.append(list(load(items, keys, workers, torch.device("cpu"))))
    for others in batches[1:]:
        for one, other in zip(batches[0], others, strict=True):
            assert one.indices == other.indices and torch.equal(one.clips, other.clips)


class Ignoring(Fixed):
    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return torch.zeros(3, 4, 8, 8), int(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="nothing says how many processors there are")
def test_two_workers_on_one_processor_are_no_reason_to_warn(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    keys = [[ItemKey(TRAINING, 0, index)] for index in range(2)]
    assert len(list(load(KeyedItems(Clips(), 0), keys, 2, torch.device("cpu")))) == 2
    assert not [str(each.message) for each in recwarn if "worker" in str(each.message)]


def test_workers_leave_ctrl_c_to_the_process_that_trains() -> None:
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # what runs in the background ignores it
    try:
        loader = load(KeyedItems(Ignoring(), 0), [[ItemKey(TRAINING, 0, 0)]], 1, torch.device("cpu"))
        assert [batch.targets.tolist() for batch in loader] == [[1]]
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    pickle.dumps(loader.worker_init_fn)  # for workers that are spawned


@pytest.mark.parametrize("method", [m for m in multiprocessing.get_all_start_methods() if m != "spawn"])
def test_a_program_that_ends_with_an_error_ends_its_workers(method: str, tmp_path: Path) -> None:
    """Though the error's traceback, or a variable, still holds the batches."""
    ended = run_program(tmp_path, _ENDS_WITH_AN_ERROR, method)
    assert ended.returncode == 1 and ended.stderr.endswith("RuntimeError: mine\n"), ended.stderr


@pytest.mark.skipif(not hasattr(signal, "sigtimedwait"), reason="nothing tells here who sends a signal")
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_workers_end_with_a_program_that_is_killed(method: str, tmp_path: Path) -> None:
    """In the middle of a clip; as long as one is there, it holds the program's output open."""
    assert run_program(tmp_path, _IS_KILLED, method).returncode == -signal.SIGKILL


def run_program(folder: Path, text: str, method: str) -> subprocess.CompletedProcess[str]:
    """A program with a dataset of four clips, whose processes begin by that method."""
    program = folder / "program.py"
    program.write_text(_FIXED + text)
    return subprocess.run([sys.executable, program, method], capture_output=True, text=True, timeout=300)


_FIXED = """
import multiprocessing, multiprocessing.spawn, sys, torch
from slowfast_zoo.data.loader import TRAINING, ItemKey, KeyedItems, killed_readers, load
from slowfast_zoo.errors import DataError

class Fixed(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.zeros(3, 4, 8, 8), 0
"""

_ENDS_WITH_AN_ERROR = """
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    keys = [[ItemKey(TRAINING, 0, index)] for index in range(4)]
    batches = iter(load(KeyedItems(Fixed(), 0), keys, 1, torch.device("cpu")))
    next(batches)
    raise RuntimeError("mine")
"""


@pytest.mark.parametrize("method", [m for m in multiprocessing.get_all_start_methods() if m != "fork"])
def test_a_script_that_workers_run_again_is_told_to_guard_itself(method: str, tmp_path: Path) -> None:
    ended = run_program(tmp_path, _WITHOUT_GUARD, method)
    last = ended.stderr.splitlines()[-1]
    assert "DataError: A process that reads clips has ended" in last and "if __name__ == '__main__':" in last


_IS_KILLED = """
import os, signal, time

class Endless(Fixed):
    def __getitem__(self, index):
        open(sys.argv[0] + ".read", "w").close()
        time.sleep(1000)

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    batches = iter(load(KeyedItems(Endless(), 0), [[ItemKey(TRAINING, 0, 0)]], 1, torch.device("cpu")))
    while not os.path.exists(sys.argv[0] + ".read"):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
"""

_WITHOUT_GUARD = """
if sys.argv[1] == "forkserver":  # before Python 3.14 the server itself doesn't run the script
    known = multiprocessing.spawn.get_preparation_data
    multiprocessing.spawn.get_preparation_data = lambda name: known(name) | {"main_path": __file__}
multiprocessing.set_start_method(sys.argv[1], force=True)
with killed_readers(DataError):
    next(iter(load(KeyedItems(Fixed(), 0), [[ItemKey(TRAINING, 0, 0)]], 1, torch.device("cpu"))))
"""


class People(Fixed):
    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        boxes, targets = torch.full((1, 4), float(index)), torch.tensor([index])
        return torch.zeros(3, 4, 8, 8), Persons(boxes, targets, (boxes, targets))


def test_what_is_kept_of_many_batches_holds_no_files_open() -> None:
    resource = pytest.importorskip("resource")  # Windows has none, nor this limit

    keys = [[ItemKey(EVALUATION, 0, index)] for index in range(100)]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.dup(0)
    os.close(probe)  # the lowest number that is free
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe + 90, before[1]))
    try:
        batches = load(KeyedItems(People(), 0), keys, 1, torch.device("cpu"))
        kept = [(batch.targets, batch.boxes, batch.annotated) for batch in batches]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert [targets.item() for targets, _, _ in kept] == [*range(100)]


def test_an_epoch_is_new_and_reading_leaves_the_generators_alone() -> None:
    items = KeyedItems(Clips(), 0)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, later = (items[ItemKey(0, epoch, 4)][1] for epoch in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, later)
    assert torch.equal(torch.get_rng_state(), before)


def test_data_that_get_harder_are_told_the_epoch() -> None:
    class Harder(Fixed):
        level = 9

        def set_epoch(self, epoch: int) -> None:
            self.level = epoch

        def __getitem__(self, index: int) -> tuple[Tensor, Any]:
            return torch.full((3, 4, 8, 8), float(self.level)), 0

    for stream, expected in ((TRAINING, 5), (PRECISE_BN, 5), (EVALUATION, 9)):
        assert KeyedItems(Harder(), 0)[ItemKey(stream, 5, 0)][1].unique().tolist() == [expected]
    part = Subset(Harder(), [4])
    assert KeyedItems(part, 0)[ItemKey(TRAINING, 5, 0)][1].unique().tolist() == [5], "a part, too"


def test_a_step_has_the_same_clips_however_it_is_divided() -> None:
    def steps(world: int, micro_batches: int) -> list[set[int]]:
        size = 8 // (world * micro_batches)
        keys: list[set[int]] = [set() for _ in range(6)]
        for rank in range(world):
            part = StepKeys(
                30,
                micro_batch=size,
                micro_batches=micro_batches,
                steps_per_epoch=3,
                steps=range(6),
                seed=1,
                rank=rank,
                world=world,
            )
            for number, batch in enumerate(part):
                assert keys[number // micro_batches].isdisjoint(key.item for key in batch)
                keys[number // micro_batches].update(key.item for key in batch)
        return keys

    expected = steps(1, 1)
    assert all(len(step) == 8 for step in expected)
    assert len(set.union(*expected[:3])) == 24, "no clip twice in an epoch"
    assert expected[:3] != expected[3:]
    assert steps(2, 1) == steps(1, 2) == steps(4, 2) == expected


def drawn(steps: range, world: int = 1) -> list[list[ItemKey]]:
    """The keys of each step, of all processes, where the first two of five items are drawn most often."""
    how: dict[str, Any] = {"micro_batch": 4 // world, "micro_batches": 1, "steps_per_epoch": 3, "seed": 3}
    weights = (0.4, 0.3, 0.1, 0.1, 0.1)
    parts = [
        StepKeys(5, steps=steps, rank=rank, world=world, sample_weights=weights, **how)
        for rank in range(world)
    ]
    return [[key for keys in step for key in keys] for step in zip(*parts, strict=True)]


def test_an_item_that_is_drawn_again_is_another_clip() -> None:
    steps = drawn(range(6))
    for epoch in (steps[:3], steps[3:]):
        keys = [key for step in epoch for key in step]
        assert len({*keys}) == 12
        for item in range(5):
            draws = [key.draw for key in keys if key.item == item]
            assert draws == [*range(len(draws))]
    assert drawn(range(2, 6)) == steps[2:], "gone on with in the middle of an epoch"
    assert drawn(range(6), world=2) == drawn(range(6), world=4) == steps
    first, again, third = (KeyedItems(Clips(), 5)[ItemKey(0, 1, 4, draw)][1] for draw in range(3))
    assert not (torch.equal(first, again) or torch.equal(first, third) or torch.equal(again, third))


def test_the_first_draw_of_an_item_has_the_seed_that_the_module_says() -> None:
    class Number(Clips):
        def __getitem__(self, index: int) -> tuple[Tensor, Any]:
            return torch.full((3, 4, 8, 8), random.random(), dtype=torch.float64), 0

    seed = int(np.random.SeedSequence([5, 0, 1, 4]).generate_state(1)[0])
    found = KeyedItems(Number(), 5)[ItemKey(0, 1, 4)][1]
    assert found.unique().tolist() == [random.Random(seed).random()]


def test_bytes_are_normalized_as_the_clip_spec_says() -> None:
    pixels = torch.randint(0, 256, (2, 4, 5, 6, 3), dtype=torch.uint8)
    for spec in (ClipSpec(), ClipSpec(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), pixel_range="0-1")):
        scale = 255 if spec.pixel_range == "0-1" else 1
        expected = (pixels.double() / scale - torch.tensor(spec.mean)) / torch.tensor(spec.std)
        torch.testing.assert_close(
            normalized(pixels, spec).double(), expected.permute(0, 4, 1, 2, 3), atol=1e-6, rtol=1e-5
        )
    with pytest.raises(DataError, match="1 channels"):
        normalized(pixels[..., :1], ClipSpec())
