"""Key frames with persons as a dataset: the clip around each, its boxes, and what they do."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slowfast_zoo.data.dataset import Persons, ReplacingDataset
from slowfast_zoo.data.persons.actions import Values, overlaps
from slowfast_zoo.data.persons.annotations import KeyFrame, PersonAnnotations
from slowfast_zoo.data.persons.boxes import NOBODY, Boxes
from slowfast_zoo.errors import DataError, InputError
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.decoding.video import Video, with_true_count
from slowfast_zoo.video.key_frames import KeyFrames
from slowfast_zoo.video.sampling import check_clip_spec
from slowfast_zoo.video.transforms.boxes import roi_boxes, train_boxes
from slowfast_zoo.video.transforms.transforms import train_transform
from slowfast_zoo.video.windows import WindowReader

SAME_PERSON = 0.9
"""Overlap (IoU) from which a detector's box shows an annotated person, in OpenMMLab's trainings."""
_SURE = 0.9
"""Score of a detector's boxes that are looked at, in OpenMMLab's programs; the best of a frame always is."""
_ATTEMPTS = 10
"""Random crops that are tried to have somebody in them."""


class PersonDataset(ReplacingDataset):
    """Key frames of annotated videos.

    For training an item is float32 (C, T, crop, crop), drawn as the publisher does, and the persons who are
    inside of it; a detector's boxes that show one of them are persons too, which shakes boxes as the detector
    does. For evaluation it is the whole picture, uint8 (T, H, W, C), and its persons; or a detector's boxes
    beside the persons that are to be found, in frames that were annotated as empty too.

    Args:
        annotations: who does what when.
        clip_spec: a clip contract with key frames.
        train: whether items are random, augmented clips.
        multi_label: whether a person may do any number of things; else each does exactly one.
        max_unreadable: part of the key frames that training may find unreadable and replace.

    Raises:
        InputError: a clip contract for recognition, or a ``max_unreadable`` that is no part.
        DataError: no key frame, nobody who does anything that counts, another number of actions than one, or
            a box that is in no picture; or boxes of a detector to score, and no key frame has any.
    """

    def __init__(
        self,
        annotations: PersonAnnotations,
        clip_spec: ClipSpec,
        *,
        train: bool,
        multi_label: bool = True,
        max_unreadable: float = 0.1,
    ) -> None:
        super().__init__(max_unreadable)
        check_clip_spec(clip_spec)
        if not clip_spec.has_key_frames:
            raise InputError(
                "The data have boxes of persons, and this clip spec is for recognition: it has no key frames;"
                " take a model named *_roi."
            )
        self.annotations, self.labels = annotations, annotations.labels
        self.clip_spec, self.train, self.multi_label = clip_spec, train, multi_label
        self._transform = train_transform(clip_spec) if train else None
        self._frames = annotations.key_frames + (() if train else annotations.empty_frames)
        if not annotations.key_frames:
            raise DataError(f"'{annotations.path}' has no frame with a person that counts.")
        if not any(annotations.counts()):
            raise DataError(f"Nobody in '{annotations.path}' does anything that is scored.")
        if not multi_label:
            self._check_single()
        if not train:
            self._check_detected()
        end = math.inf if annotations.actions.unit == "pixels" else 1.0
        if _outside(annotations.actions.boxes, end).any():
            for frame in annotations.key_frames:
                boxes = np.array([person.box for person in frame.persons], np.float64)
                self._check_inside(boxes, frame, end, "any picture")

    def _check_single(self) -> None:
        for frame in self._frames:
            for person in frame.persons:
                if len(person.columns) != 1:
                    raise DataError(
                        f"{self.annotations.path}: a person of {frame} does {len(person.columns)} of the"
                        " classes, and the network (softmax) gives one; --multi-label trains one that gives"
                        " any number."
                    )

    def _check_detected(self) -> None:
        """Refuses a detector's boxes of other videos or times; training only shakes boxes by them."""
        detected, begin = self.annotations.proposals or {}, self.annotations.begins_at
        if not detected or any(
            detected.get(frame.video, NOBODY).has(frame.time - begin) for frame in self._frames
        ):
            return
        frame, (other, given) = self._frames[0], next(iter(detected.items()))
        raise DataError(
            f"No key frame has boxes of the detector (proposals): the annotations begin with '{frame.video}'"
            f" at {frame.time:.10g}, the boxes with '{other}' at {(given.seconds or (0,))[0] + begin:.10g};"
            " videos are called otherwise, or times count from elsewhere."
        )

    def __len__(self) -> int:
        return len(self._frames)

    def name_of(self, index: int) -> str:
        """The video, and when."""
        return str(self._frames[index])

    def __getitem__(self, index: int) -> tuple[Tensor, Persons]:
        """The clip and its persons.

        Raises:
            VideoError: evaluation can't read it.
            DataError: boxes or times that the video can't have, or training found more key frames
                unreadable than ``max_unreadable`` allows.
        """
        item: tuple[Tensor, Persons] = self._training_item(index) if self.train else self._whole(index)
        return item

    def open(self, index: int) -> Video:
        """The video of a key frame."""
        return self.annotations.videos[self._frames[index].video].open()

    def _whole(self, index: int) -> tuple[Tensor, Persons]:
        frame = self._frames[index]
        with self.open(index) as video:
            key = self._key(frame, video)
            shares, targets = self._annotated(frame, video)
            detected = self._detected(frame, video)
            _, clips = next(iter(WindowReader(video, self.clip_spec, key)))
            pixels = clips.pixels()
            clip = clips.tensor()[0] if pixels is None else pixels[0]
        boxes = self._scaled(shares, video)
        if detected is None:
            return clip, Persons(boxes, targets)
        return clip, Persons(self._scaled(detected.normalized, video), targets[:0], (boxes, targets))

    def _augmented(self, index: int, rng: np.random.Generator) -> tuple[Tensor, Persons]:
        frame, transform = self._frames[index], self._transform
        if transform is None:
            raise InputError("This dataset was opened for evaluation.")
        with self.open(index) as video:
            shares, targets = self._annotated(frame, video)
            found = self._detected(frame, video)
            if found is not None and len(found):
                shares, targets = _with_detected(shares, targets, found)
            for _ in range(_ATTEMPTS):
                view = transform.draw(video.height, video.width)
                boxes = train_boxes(shares, self.clip_spec, view, video.height, video.width)
                inside = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)
                if inside.any():
                    break
            frames = with_true_count(
                lambda: video.frames(self._key(frame, video).train_clips(video, self.clip_spec, rng)[0])
            )
        kept = torch.from_numpy(inside)
        return transform.apply(frames, view), Persons(torch.from_numpy(boxes).float()[kept], targets[kept])

    def _key(self, frame: KeyFrame, video: Video) -> KeyFrames:
        return KeyFrames([self.annotations.second(video, frame.time)])

    def _annotated(self, frame: KeyFrame, video: Video) -> tuple[Values, Tensor]:
        """Boxes in shares, and what is done in each."""
        boxes = np.array([person.box for person in frame.persons], np.float64).reshape(-1, 4)
        shares = self.annotations.shares(boxes, video.height, video.width)
        self._check_inside(shares, frame, 1.0, f"the picture of {video.width}x{video.height} pixels")
        if not self.multi_label:
            done = [person.columns[0] for person in frame.persons]
            return shares, torch.tensor(done, dtype=torch.int64, device="cpu")
        size = (len(frame.persons), self.annotations.num_classes)
        targets = torch.zeros(size, dtype=torch.float32, device="cpu")
        for row, person in enumerate(frame.persons):
            targets[row, list(person.columns)] = 1
        return shares, targets

    def _check_inside(self, boxes: Values, frame: KeyFrame, end: float, picture: str) -> None:
        """Refuses boxes without an area between 0 and where the picture ends."""
        if _outside(boxes, end).any():
            raise DataError(
                f"{self.annotations.path}: a box of {frame} has no area inside of {picture}; 'slowfast-zoo"
                " check' names all such boxes."
            )

    def _detected(self, frame: KeyFrame, video: Video) -> Boxes | None:
        """The detector's boxes that are sure enough; None: there is no detector."""
        if self.annotations.proposals is None:
            return None
        of_video, time = self.annotations.proposals.get(frame.video, NOBODY), frame.time
        try:
            found = of_video.at(time - self.annotations.begins_at, video.height, video.width)
        except InputError as error:
            raise DataError(f"{frame}: {error}") from error
        return found.select(found.scores >= min(_SURE, found.scores.max())) if len(found) else found

    def _scaled(self, shares: Values, video: Video) -> Tensor:
        return roi_boxes(shares, self.clip_spec, video.height, video.width)


def _outside(boxes: Values, end: float) -> npt.NDArray[np.bool_]:
    """Which have no area between 0 and where the picture ends, in some direction."""
    return (boxes[:, 2:] <= boxes[:, :2]) | (boxes[:, :2] >= end) | (boxes[:, 2:] <= 0)


def _with_detected(shares: Values, targets: Tensor, found: Boxes) -> tuple[Values, Tensor]:
    """Annotated persons, and the detector's boxes that show one of them."""
    overlap = overlaps(found.normalized, shares)
    same = overlap.max(axis=1) >= SAME_PERSON
    who = torch.from_numpy(overlap.argmax(axis=1)[same])
    return np.concatenate([shares, found.normalized[same]]), torch.cat([targets, targets[who]])
