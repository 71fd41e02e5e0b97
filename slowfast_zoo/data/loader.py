"""How the items of a dataset become batches that are the same for any number of workers.

While an item is made, the global generators of ``random``, NumPy and torch are seeded by (seed, epoch,
index), and where an item is drawn again in an epoch by how often it was before, so that augmentation repeats
exactly, and no clip is the same twice. What a dataset is stands in ``slowfast_zoo.data.dataset``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import random
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from slowfast_zoo.data.dataset import (
    ClipDataset,
    Persons,
    ReplacingDataset,
    Target,
    place_in_whole,
    whole_of,
)
from slowfast_zoo.errors import DataError, InputError, SlowFastZooError, VideoError, counted
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.sampling import is_count
from slowfast_zoo.video.transforms.functional import normalize

TRAINING, PRECISE_BN, EVALUATION = range(3)

_LOOK_SECONDS = 1.0
"""From one look to the next of a worker whether its parent is still there."""


class ItemKey(NamedTuple):
    """Which item of the dataset, and which of its random variants."""

    stream: int
    """``TRAINING``, ``PRECISE_BN`` or ``EVALUATION``: each draws numbers of its own."""
    epoch: int
    """Counted from 0."""
    item: int
    """Position in the dataset."""
    draw: int = 0
    """How often the item was drawn in the epoch before."""


class Batch(NamedTuple):
    """Clips of one step; in evaluation the views of all videos follow one another."""

    clips: Tensor
    """uint8 ``(N, T, H, W, C)`` or float32 ``(N, C, T, H, W)``."""
    targets: Tensor
    """int64 ``(B,)`` or float32 ``(B, num_classes)``; of persons so many rows as there are boxes."""
    indices: list[int]
    """Positions in the dataset, B of them."""
    views: list[int]
    """Clips per item; their sum is N."""
    errors: list[tuple[int, str]]
    """Items that couldn't be read: absent in evaluation, replaced by other clips in training."""
    boxes: Tensor | None = None
    """float32 ``(P, 5)``: which clip, x1, y1, x2, y2 of each of P persons, whom ``targets`` belong to."""

    annotated: tuple[Tensor, Tensor] | None = None
    """``Persons.annotated`` of the one item of a batch in evaluation."""

    def item_of(self, row: int) -> int:
        """Position in the dataset of the item that a row of ``targets`` belongs to."""
        return self.indices[row if self.boxes is None else int(self.boxes[row, 0])]


_MOST_WORKERS = 1024
"""Processes that read; a mistyped number would start them until memory ends."""


class KeyedItems(torch.utils.data.Dataset[tuple[int, Any, Any, str | None]]):
    """The dataset by ``ItemKey``: seeds the CPU's generators, and leaves them as they were."""

    def __init__(self, dataset: ClipDataset, seed: int, *, keep_errors: bool = False) -> None:
        self.dataset, self.seed, self.keep_errors = dataset, seed, keep_errors
        self.set_epoch: Callable[[int], object] | None = getattr(whole_of(dataset), "set_epoch", None)

    def __getitem__(self, key: ItemKey) -> tuple[int, Any, Any, str | None]:
        again = [key.draw] if key.draw else []
        words = np.random.SeedSequence([self.seed, key.stream, key.epoch, key.item, *again]).generate_state(4)
        python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
        with torch.random.fork_rng(devices=[]):
            random.seed(int(words[0]))
            np.random.seed(words[1])  # noqa: NPY002  # for datasets that draw from the global generator
            # Not torch.manual_seed: it seeds every device's generator, and the fork is of the CPU's alone.
            torch.default_generator.manual_seed(int(words[2]) << 32 | int(words[3]))
            try:
                if self.set_epoch is not None and key.stream != EVALUATION:
                    self.set_epoch(key.epoch)
                clip, target = _pair(self.dataset[key.item], key.item)
            except VideoError as error:
                if not self.keep_errors:
                    raise
                return key.item, None, None, str(error)
            finally:
                random.setstate(python_state)
                np.random.set_state(numpy_state)  # noqa: NPY002
        whole = whole_of(self.dataset)
        if isinstance(whole, ReplacingDataset) and not self.keep_errors:
            return key.item, clip, target, whole.replaced
        return key.item, clip, target, None

    def counted(self, batch: Batch) -> Batch:
        """The batch, whose replaced clips count in the dataset here, whichever process has read them.

        Raises:
            DataError: too much; see ``ReplacingDataset.count``.
        """
        whole = whole_of(self.dataset)
        if isinstance(whole, ReplacingDataset) and not self.keep_errors:
            places = {index: place_in_whole(self.dataset, index) for index in batch.indices}
            whole.count(places.values(), {places[index]: reason for index, reason in batch.errors})
        return batch


def _pair(item: Any, index: int) -> tuple[Any, Any]:
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        several = isinstance(item, (tuple, list))
        given = counted(len(item), "value") if several else f"a {type(item).__name__}"
        raise DataError(f"Item {index} of the dataset is {given}; accepted: a pair, the clip and its target.")
    return item[0], item[1]


def collate(items: Sequence[tuple[int, Any, Any, str | None]]) -> Batch:
    """One batch of items; clips must agree in everything but the number of views.

    Raises:
        DataError: clips of different shapes or of a wrong type, or targets of different kinds.
    """
    good = [
        (index, _clip(clip, index), target)
        for index, clip, target, error in items
        if error is None or clip is not None
    ]
    errors = [(index, error) for index, _, _, error in items if error is not None]
    clips = [clip if clip.ndim == 5 else clip.unsqueeze(0) for _, clip, _ in good]
    for (index, clip, _), views in zip(good, clips, strict=True):
        if views.ndim != 5 or clip.dtype not in (torch.uint8, torch.float32):
            raise DataError(
                f"Item {index} of the dataset gave a clip of {clip.dtype} {tuple(clip.shape)}; accepted:"
                " float32 (C, T, H, W) or uint8 (T, H, W, C), with an axis of views in front in evaluation."
            )
    boxes, targets = _persons([target for _, _, target in good])
    kinds = sorted({(str(clip.dtype), *map(str, clip.shape[1:])) for clip in clips})
    if len(kinds) > 1:
        raise DataError(f"Clips of one batch differ: {' and '.join(' '.join(kind) for kind in kinds[:3])}.")
    return Batch(
        clips=torch.cat(clips) if clips else torch.empty(0, device="cpu"),
        targets=_targets(targets) if boxes is None else torch.cat([part.targets for part in targets]),
        indices=[index for index, _, _ in good],
        views=[len(clip) for clip in clips],
        errors=errors,
        boxes=boxes,
        annotated=targets[0].annotated if boxes is not None and len(targets) == 1 else None,
    )


def _clip(value: Any, index: int) -> Tensor:
    try:
        return _tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"Item {index} of the dataset gave a clip that is a {type(value).__name__}; accepted: a tensor or"
            " an array."
        ) from error


def _tensor(value: Any) -> Tensor:
    """A tensor stays where it is; all else becomes one of the CPU's, whatever torch's default device."""
    return value if isinstance(value, Tensor) else torch.as_tensor(value, device="cpu")


def _persons(targets: Sequence[Any]) -> tuple[Tensor | None, Sequence[Any]]:
    """Boxes with the number of their clip in front, where targets are persons; the targets."""
    are_persons = [isinstance(target, Persons) for target in targets]
    if not any(are_persons):
        return None, targets
    if not all(are_persons):
        raise DataError("Targets of one batch differ in kind: some are persons with boxes, others of clips.")
    numbered = [
        F.pad(one.boxes.reshape(-1, 4).float(), (1, 0), value=float(clip)) for clip, one in enumerate(targets)
    ]
    return torch.cat(numbered), targets


def _targets(targets: Sequence[Target]) -> Tensor:
    if all(isinstance(target, (int, np.integer)) and not isinstance(target, bool) for target in targets):
        return torch.tensor(targets, dtype=torch.int64, device="cpu")
    accepted = "accepted: ints, or multi-hot tensors (num_classes,)."
    try:
        tensors = [_tensor(target) for target in targets]
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"Targets such as {targets[0]!r:.80} are no classes; {accepted}") from error
    if len({tensor.shape for tensor in tensors}) != 1 or tensors[0].ndim > 1:
        raise DataError(f"Targets of one batch differ in kind; {accepted}")
    stacked = torch.stack(tensors)
    if stacked.ndim == 2:
        return stacked.float()
    if (parts := stacked != stacked.long()).any():
        raise DataError(f"The target {stacked[parts][0].item()} is no class; {accepted}")
    return stacked.long()


def normalized(clips: Tensor, spec: ClipSpec) -> Tensor:
    """Clips as the network takes them: float32 ``(N, C, T, H, W)``; floats pass unchanged.

    Args:
        clips: uint8 ``(N, T, H, W, C)`` or float32 ``(N, C, T, H, W)``.
        spec: mean, std and pixel range.

    Raises:
        DataError: another number of channels than the spec has means.
    """
    if clips.dtype != torch.uint8:
        return clips
    if clips.shape[-1] != len(spec.mean):
        raise DataError(f"Clips have {clips.shape[-1]} channels, the model's clip_spec has {len(spec.mean)}.")
    # Channels first, as the one normalizer of the library takes them; the caller decides on the layout.
    return normalize(clips.permute(4, 0, 1, 2, 3), spec).transpose(0, 1)


@dataclasses.dataclass(eq=False)
class StepKeys(torch.utils.data.Sampler[list[ItemKey]]):
    """The keys of every micro-batch of this process, from a step of the training to its end.

    A step's clips are the same set for any number of processes and accumulated micro-batches.
    """

    size: int
    """Items in the dataset."""
    _: dataclasses.KW_ONLY
    micro_batch: int
    """Clips per forward pass."""
    micro_batches: int
    """Forward passes per step in each process."""
    steps_per_epoch: int
    """A new order is drawn after so many steps."""
    steps: range
    """Which steps, counted from the start of the training."""
    seed: int
    """Decides the orders together with the epoch."""
    stream: int = TRAINING
    """See ``ItemKey``."""
    rank: int = 0
    """This process."""
    world: int = 1
    """Number of processes."""
    sample_weights: Sequence[float] | None = None
    """Chance of each item, with replacement; None: each item at most once per epoch."""

    def __len__(self) -> int:
        return len(self.steps) * self.micro_batches

    def __iter__(self) -> Iterator[list[ItemKey]]:
        epoch, order, draws = -1, np.empty(0, np.int64), np.empty(0, np.int64)
        step_size = self.micro_batch * self.micro_batches * self.world
        for step in self.steps:
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                order = self._order(epoch, step_size * self.steps_per_epoch)
                draws = _drawn_before(order)
            start = step % self.steps_per_epoch * step_size
            for micro in range(self.micro_batches):
                first = start + (micro * self.world + self.rank) * self.micro_batch
                chosen = slice(first, first + self.micro_batch)
                drawn = zip(order[chosen].tolist(), draws[chosen].tolist(), strict=True)
                yield [ItemKey(self.stream, epoch, item, draw) for item, draw in drawn]

    def _order(self, epoch: int, count: int) -> npt.NDArray[np.int64]:
        # Indices have the word 2**32 - 1 of the seed to themselves: no item has that number.
        rng = np.random.default_rng([self.seed, self.stream, epoch, 2**32 - 1])
        if self.sample_weights is not None:
            chances = np.asarray(self.sample_weights, np.float64)
            return rng.choice(self.size, count, p=chances / chances.sum())
        return rng.permutation(self.size)[:count]


def _drawn_before(order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How often the item at each place of the order is at earlier ones, ``(N,)``."""
    places = np.argsort(order, kind="stable")
    alike = order[places]
    before = np.empty_like(places)
    before[places] = np.arange(len(order)) - np.searchsorted(alike, alike)
    return before


_GUARD = (
    "; in a script, what trains or evaluates has to be below `if __name__ == '__main__':`, as such a process"
    " runs the script once more."
)


class _Batches(torch.utils.data.DataLoader[Any]):
    """A loader whose workers' errors of this library keep their one sentence.

    All of a batch but its clips may be kept: what comes from a worker holds a file open while it is there.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # plain iteration is all that is used
        # Begun here and not with the first batch: it draws from the global generator.
        try:
            batches = super().__iter__()
        except (EOFError, ConnectionError) as error:  # one that is started anew, not forked
            raise DataError(f"A process that reads clips has ended as it started{_GUARD}") from error
        return _in_one_sentence(map(cast("KeyedItems", self.dataset).counted, batches))

    def check_worker_number_rationality(self) -> None:
        """No warning on a machine with fewer processors: the same number is to do everywhere."""


def _in_one_sentence(batches: Iterator[Batch]) -> Iterator[Batch]:
    try:
        yield from map(_may_be_kept, batches)
    except SlowFastZooError as error:
        # torch raises it again with the worker's traceback as its message; the last line is the error's.
        _, found, sentence = str(error).rpartition(f"{type(error).__module__}.{type(error).__name__}: ")
        if not found:
            raise
        raise type(error)(sentence.strip()) from error


def _may_be_kept(batch: Batch) -> Batch:
    boxes, annotated = batch.boxes, batch.annotated
    return batch._replace(
        targets=batch.targets.clone(),
        boxes=None if boxes is None else boxes.clone(),
        annotated=None if annotated is None else (annotated[0].clone(), annotated[1].clone()),
    )


@contextlib.contextmanager
def killed_readers(kind: type[SlowFastZooError], *, goes_on: str = "") -> Iterator[None]:
    """Makes one sentence of the end of a worker, of which torch tells the main process at any line of it.

    Args:
        kind: of the error; one that was made of it further inside becomes this one.
        goes_on: how to go on afterwards.
    """
    try:
        yield
    except (RuntimeError, DataError) as error:
        ended = re.search(r"DataLoader worker \(pid(\(s\))? [\d, ]+\) [^.\n)]*", str(error))
        if ended is None or isinstance(error, kind):
            raise
        room = " or of room in /dev/shm" if sys.platform == "linux" else ""
        again = "signal" not in ended[0] and multiprocessing.get_start_method() != "fork"
        raise kind(
            f"A process that reads clips has ended ({ended[0]}), most likely for lack of memory{room}: take"
            f" fewer workers (workers, --workers), or 0{goes_on}{_GUARD if again else '.'}"
        ) from error


def load(
    items: KeyedItems, keys: Sequence[list[ItemKey]] | StepKeys, workers: int, device: torch.device
) -> Any:
    """A ``DataLoader`` of ``Batch``; a worker computes on one thread, as there is one worker per core.

    A terminal's Ctrl-C and a scheduler's SIGTERM go to workers, too, and are left to this process, which
    decides when it stops.

    Raises:
        InputError: ``workers`` is no integer from 0 to ``_MOST_WORKERS``.
    """
    if not (is_count(workers) or workers == 0) or workers > _MOST_WORKERS:
        raise InputError(f"workers is {workers!r:.60}; accepted: an integer from 0 to {_MOST_WORKERS}.")
    return _Batches(
        items,
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        prefetch_factor=4 if workers else None,
        worker_init_fn=_without_signals,
        generator=torch.Generator("cpu"),  # the caller's stays where it is
    )


def _without_signals(_: int) -> None:
    """Begins a worker; it ends when its parent says so, also by SIGTERM, or has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # elsewhere nothing tells who sends one
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_for_parent, daemon=True).start()


def _end_for_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    # Where a server forks workers, the system calls that one their parent. Nobody tells that it has ended.
    while parent.is_alive():
        told = signal.sigtimedwait({signal.SIGTERM}, _LOOK_SECONDS)
        if told is not None and told.si_pid == parent.pid:
            break
    os._exit(0)
