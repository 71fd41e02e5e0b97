"""What a dataset is, and datasets of video files, for ``train``, ``evaluate`` and ``finetune``.

    data = open_dataset("clips", model.clip_spec, train=True)   # one folder per class; or a list
    clip, target = data[0]      # float32 (C, T, H, W) and the class

How lists look stands in ``slowfast_zoo.data.lists``. A dataset of another kind is map-style as well:
``len(dataset)`` and ``dataset[i] -> (clip, target)``, picklable.

- clip: float32 ``(C, T, H, W)``, normalized; or uint8 ``(T, H, W, C)`` pixels of the final size, which travel
  at a quarter of the bytes and are normalized on the device as the model's ``clip_spec`` says. With a further
  axis in front, the views of one video (evaluation only).
- target: the class as an int; for several classes a float tensor ``(num_classes,)`` of zeros and ones; for a
  network that scores persons ``Persons``.
- optional ``labels``: class names; ``name_of(i)``: what error messages and results call item ``i``;
  ``set_epoch(e)``: called in training before an item is read, with its epoch from 0, for data that change.
  A ``torch.utils.data.Subset``, as ``random_split`` makes them, has those of its dataset.

Chance comes from the generators of ``random``, NumPy and torch, which are seeded for each item, or from
``item_rng()``, a NumPy generator of the same stream.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slowfast_zoo.data.annotations import Annotations, Sample
from slowfast_zoo.data.lists import read_annotations
from slowfast_zoo.errors import DataError, InputError, VideoError, counted
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.clips import Views, read_clips, view_counts
from slowfast_zoo.video.decoding.video import Frame, Video, with_true_count
from slowfast_zoo.video.sampling import is_number, train_indices
from slowfast_zoo.video.transforms.transforms import train_transform

_LOGGER = logging.getLogger(__name__)


class Persons(NamedTuple):
    """Who is in a clip, and what they do."""

    boxes: Tensor
    """float32 (n, 4): x1, y1, x2, y2 in pixels of the clip; there may be none."""
    targets: Tensor
    """int64 (n,), the one class of each, or float32 (n, num_classes) of zeros and ones."""
    annotated: tuple[Tensor, Tensor] | None = None
    """Boxes and targets that are so, where ``boxes`` are a detector's and ``targets`` empty (evaluation)."""


Clip = Tensor | npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Target = int | Tensor | Persons


class ClipDataset(Protocol):
    """See the head of this module; what is optional there is looked for but not required."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Clip, Target]: ...


def item_rng() -> np.random.Generator:
    """A NumPy generator for the item being made: same (seed, epoch, index), same numbers."""
    return np.random.default_rng(int(torch.randint(2**62, (), device="cpu").item()))


def whole_of(dataset: ClipDataset) -> ClipDataset:
    """What knows the classes of the items: the dataset, or that which it is a ``Subset`` of.

    A class that derives from ``Subset`` may do anything with items and classes, and so speaks for itself.
    """
    if type(dataset) is torch.utils.data.Subset:
        return whole_of(cast("ClipDataset", dataset.dataset))
    return dataset


def names_of(dataset: ClipDataset) -> Sequence[str] | None:
    """The class names that a dataset has, or None.

    A ``Subset`` of somebody else's dataset, whose ``labels`` may be those of its items, has none unless they
    are texts that differ.
    """
    whole = whole_of(dataset)
    names: Any = getattr(whole, "labels", None)
    if whole is dataset or isinstance(whole, ReplacingDataset):
        return cast("Sequence[str] | None", names)
    listed = isinstance(names, Sequence) and not isinstance(names, str)
    if not listed or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        return None
    return cast("Sequence[str]", names)


def name_of(dataset: ClipDataset, index: int) -> str:
    """What to call an item in messages and results: its own name, or its number in what was given."""
    name = getattr(whole_of(dataset), "name_of", None)
    return str(name(place_in_whole(dataset, index))) if callable(name) else f"item {index}"


def place_in_whole(dataset: ClipDataset, index: int) -> int:
    """Where an item is in ``whole_of`` the dataset."""
    part, whole = cast("Any", dataset), whole_of(dataset)
    while part is not whole:
        part, index = part.dataset, int(part.indices[index])
    return index


def open_dataset(
    source: Annotations | str | Path,
    clip_spec: ClipSpec,
    *,
    train: bool = False,
    views: Views = "published",
    flip_pairs: Sequence[tuple[int, int]] = (),
    max_unreadable: float = 0.1,
) -> VideoDataset:
    """The clips of a dataset as a map-style dataset; videos are opened when asked for.

    Args:
        source: what ``read_annotations`` returned; or what it takes, a folder of clips per class or a list.
        clip_spec: the clip contract of the model.
        train: whether items are random, augmented clips; else they are the views of evaluation.
        views: of evaluation, as in ``read_clips``.
        flip_pairs: pairs of classes that a horizontal flip exchanges in training, by number: ``((0, 1),)``.
        max_unreadable: part of the clips that training may find unreadable and replace.

    Raises:
        DataError: as ``read_annotations``.
        InputError: no clip contract, views that are not accepted, a ``max_unreadable`` that is no part, or
            flipped classes of clips with several labels, or that aren't pairs of their numbers.
    """
    return VideoDataset(
        source if isinstance(source, Annotations) else read_annotations(source),
        clip_spec,
        train=train,
        views=views,
        flip_pairs=flip_pairs,
        max_unreadable=max_unreadable,
    )


class ReplacingDataset(torch.utils.data.Dataset[Any]):
    """A dataset whose training replaces clips that can't be read.

    The replacement is drawn with the item's own chance, so that every run replaces alike, whatever it has
    met before.

    Attributes:
        train: whether items are for training.
        unreadable: what training had to replace: index and reason.
        replaced: why another clip has the place of the item that was read last; None: it hasn't.

    Args:
        max_unreadable: part of the clips that may be.

    Raises:
        InputError: that is no part.
    """

    train: bool

    def __init__(self, max_unreadable: float) -> None:
        if not is_number(max_unreadable) or not 0 <= max_unreadable <= 1:
            raise InputError(f"max_unreadable is {max_unreadable!r}; accepted: a part of the clips, 0 to 1.")
        self.max_unreadable = max_unreadable
        self._tried: set[int] = set()
        self.unreadable: dict[int, str] = {}
        self.replaced: str | None = None

    def __len__(self) -> int:
        raise NotImplementedError

    def _augmented(self, index: int, rng: np.random.Generator) -> Any:
        """A random clip of that item, or ``VideoError``."""
        raise NotImplementedError

    def _training_item(self, index: int) -> Any:
        rng, self.replaced = item_rng(), None
        while True:
            self._tried.add(index)
            try:
                # Also what was unreadable before: which frames are asked for may decide, and so does chance.
                return self._augmented(index, rng)
            except VideoError as error:
                self.replaced = self.replaced or str(error)
                if index not in self.unreadable:
                    _LOGGER.warning("Replaced by another clip: %s", error)
                self.count([], {index: str(error)})
            index = int(rng.integers(len(self)))

    def count(self, tried: Iterable[int], unreadable: Mapping[int, str]) -> None:
        """Counts items that were read here, or by another process for this one.

        Raises:
            DataError: more of them were unreadable than ``max_unreadable`` allows.
        """
        self._tried.update(tried)
        self.unreadable.update(unreadable)
        if unreadable:
            self._check_readable()

    def _check_readable(self) -> None:
        """Refuses more unreadable clips than all of them may have, or than chance finds among those tried."""
        bad, tried, part = len(self.unreadable), len(self._tried), self.max_unreadable
        by_chance = part * tried + 3 * math.sqrt(part * tried) + 2  # three standard deviations, and two clips
        if bad > min(most_unreadable(len(self), part), by_chance) or bad == len(self):
            so_far = "" if tried == len(self) else f" so far (of {len(self)} in all)"
            raise DataError(
                f"{bad} of {counted(tried, 'clip')} can't be read{so_far}, more than max_unreadable={part:g};"
                f" the last: {list(self.unreadable.values())[-1]} 'slowfast-zoo check' names all of them."
            )


def most_unreadable(total: int, part: float) -> float:
    """How many clips that can't be read stop nothing: their part, and one bad file of a few."""
    return max(part * total, 1) if part else 0


def check_dataset(dataset: object, what: str) -> None:
    """Refuses what is no map-style dataset, such as the path of one, and one without items.

    Args:
        dataset: to check.
        what: it is called in the message: "training dataset".

    Raises:
        InputError: says what is accepted.
        DataError: it is empty.
    """
    kind = type(dataset)
    if isinstance(dataset, (str, Mapping)) or not (hasattr(kind, "__len__") and hasattr(kind, "__getitem__")):
        raise InputError(
            f"The {what} is a {kind.__name__}; accepted: what open_dataset(data, model.clip_spec) makes of"
            " data, or another map-style dataset."
        )
    if len(cast("ClipDataset", dataset)) == 0:
        raise DataError(f"The {what} is empty.")


def check_purpose(dataset: ClipDataset, *, train: bool) -> None:
    """Tells that a dataset of this library, or a ``Subset`` of one, was opened for the other purpose.

    Raises:
        InputError: several views of a video can't be trained on; says how to open it.
    """
    whole = whole_of(dataset)
    ours = type(whole).__module__.startswith("slowfast_zoo.")  # what derives from one may do otherwise
    if not ours or not isinstance(whole, ReplacingDataset) or whole.train == train:
        return
    if not train:
        _LOGGER.warning(
            "The dataset to evaluate was opened for training, whose crops and flips are random: train=False"
            " opens it for evaluation."
        )
        return
    if isinstance(whole, VideoDataset) and view_counts(whole.clip_spec, whole.views) != (1, 1):
        raise InputError(
            "The dataset to train on was opened for evaluation, with several views of a video: open it with"
            " train=True."
        )
    _LOGGER.warning(
        "The dataset to train on was opened for evaluation, whose views aren't random: train=True opens it"
        " for training."
    )


class VideoDataset(ReplacingDataset):
    """Clips of annotated videos.

    For training an item is float32 (C, T, crop, crop), placed and augmented by chance as the publisher
    does; a video that can't be read is replaced. For evaluation an item has an axis of views in front, uint8
    (views, T, H, W, C) where the publisher resizes bytes, and an unreadable video raises.

    Attributes:
        annotations: the clips and their classes.
        labels: class names, or None.
    """

    def __init__(
        self,
        annotations: Annotations,
        clip_spec: ClipSpec,
        *,
        train: bool,
        views: Views = "published",
        flip_pairs: Sequence[tuple[int, int]] = (),
        max_unreadable: float = 0.1,
    ) -> None:
        """Arguments and errors are those of ``open_dataset``."""
        super().__init__(max_unreadable)
        partners = _partners(flip_pairs, annotations)
        if partners and annotations.multi_label:
            raise InputError("Classes that a flip exchanges need one label per clip.")
        view_counts(clip_spec, views)
        self.annotations, self.labels = annotations, annotations.labels
        self.clip_spec, self.train, self.views = clip_spec, train, views
        self._transform = train_transform(clip_spec, flip_labels=partners) if train else None

    def __len__(self) -> int:
        return len(self.annotations.samples)

    def __repr__(self) -> str:
        clips, classes = len(self), counted(self.annotations.num_classes, "class")
        return f"VideoDataset({counted(clips, 'clip')} of {self.clip_spec.num_frames} frames, {classes})"

    def name_of(self, index: int) -> str:
        """Path of the clip, and the part if it isn't the whole."""
        return self.annotations.samples[index].name

    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor]:
        """The clip and its class, or its classes as zeros and ones.

        Raises:
            VideoError: evaluation can't read it.
            DataError: training found more clips unreadable than ``max_unreadable`` allows.
        """
        item: tuple[Tensor, int | Tensor] = (
            self._training_item(index) if self.train else self._evaluation_item(index)
        )
        return item

    def _evaluation_item(self, index: int) -> tuple[Tensor, int | Tensor]:
        sample = self.annotations.samples[index]
        with self.open(index) as video:
            clips = read_clips(video, self.clip_spec, views=self.views)
            pixels = clips.pixels()
            return clips.tensor() if pixels is None else pixels, self._target(sample)

    def _augmented(self, index: int, rng: np.random.Generator) -> tuple[Tensor, int | Tensor]:
        sample = self.annotations.samples[index]
        transform = self._transform
        if transform is None:
            raise InputError("This dataset was opened for evaluation.")
        with self.open(index) as video:
            frames = with_true_count(lambda: self._drawn(video, rng))
        if transform.flip_labels:
            return transform.with_label(frames, sample.labels[0])
        return transform(frames), self._target(sample)

    def _drawn(self, video: Video, rng: np.random.Generator) -> Frame:
        fps = None if self.clip_spec.time_base == "frames" else video.fps
        stamps = video.stamps() if self.clip_spec.time_base == "seconds" else None
        return video.frames(train_indices(self.clip_spec, video.num_frames, fps, rng=rng, stamps=stamps)[0])

    def _target(self, sample: Sample) -> int | Tensor:
        if not self.annotations.multi_label:
            return sample.labels[0]
        target = torch.zeros(self.annotations.num_classes, dtype=torch.float32, device="cpu")
        target[list(sample.labels)] = 1
        return target

    def open(self, index: int) -> Video:
        """The clip's frames, as ``Sample.open`` gives them."""
        return self.annotations.samples[index].open()


def _partners(pairs: Iterable[Iterable[int]], annotations: Annotations) -> dict[int, int]:
    """What a flip makes of the classes that it exchanges; without names there may be more than are seen.

    Raises:
        InputError: says what is accepted.
    """
    listed = list(pairs) if isinstance(pairs, Iterable) else [pairs]
    given = [tuple(pair) if isinstance(pair, Iterable) else () for pair in listed]
    end = math.inf if annotations.labels is None else annotations.num_classes
    fits = all(
        len(pair) == 2 and all(isinstance(label, (int, np.integer)) and 0 <= label < end for label in pair)
        for pair in given
    )
    both = {(int(one), int(other)) for pair in given for one, other in (pair, pair[::-1])} if fits else set()
    if not fits or len(both) != len(dict(both)):
        known = "" if annotations.labels is None else f" from 0 to {annotations.num_classes - 1}"
        raise InputError(
            f"flip_pairs is {listed!r:.60}; accepted: pairs of the numbers of classes{known}, each class in"
            " one pair: ((0, 1),)."
        )
    return dict(both)
