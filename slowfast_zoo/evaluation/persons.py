"""``evaluate_persons``: a model's frame mAP on annotated persons, each key frame once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from slowfast_zoo.data.dataset import ClipDataset, check_dataset, check_purpose, names_of, whole_of
from slowfast_zoo.data.loader import Batch, killed_readers, normalized
from slowfast_zoo.data.persons.actions import Moment, PersonActions
from slowfast_zoo.data.persons.dataset import PersonDataset
from slowfast_zoo.errors import DataError, InputError
from slowfast_zoo.evaluation import DetectionRule
from slowfast_zoo.evaluation.ava import DetectionScores, check_iou, evaluate_detections, rule_of
from slowfast_zoo.evaluation.evaluate import check_classes, scored_rows
from slowfast_zoo.evaluation.metrics import check_numbers
from slowfast_zoo.network.slowfast import SlowFast, check_answers, check_slowfast
from slowfast_zoo.network.twin import eval_twin
from slowfast_zoo.runtime.devices import Halving, sent
from slowfast_zoo.runtime.distributed import join
from slowfast_zoo.runtime.precision import Precision, autocast
from slowfast_zoo.spec import class_names


@dataclasses.dataclass(frozen=True, kw_only=True)
class PersonEvaluation:
    """Scores of the persons in a dataset's readable key frames, and what they come to."""

    detections: DetectionScores
    """Frame mAP; classes are numbered as the model's columns."""
    probabilities: npt.NDArray[np.float32] = dataclasses.field(repr=False)
    """(persons, classes), key frame by key frame."""
    targets: npt.NDArray[Any] = dataclasses.field(repr=False)
    """int64 (persons,) or float32 (persons, classes); empty where boxes are a detector's."""
    failed: list[tuple[str, str]]
    """Key frames that couldn't be read, and why; they count in no score."""
    frames: int
    """Key frames that were read."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """The frame mAP, under the name that mean average precisions of clips have."""
        return {"mean_average_precision": self.detections.mean_average_precision}

    def __str__(self) -> str:
        total = self.frames + len(self.failed)
        return f"{self.frames} of {total} key frames read, {self.detections!r}"


@killed_readers(DataError)
def evaluate_persons(
    model: SlowFast,
    dataset: ClipDataset,
    *,
    rule: DetectionRule = "official",
    iou: float = 0.5,
    workers: int = 0,
    device: str | torch.device | None = None,
    precision: Precision = "float32",
    progress: bool = True,
) -> PersonEvaluation:
    """The model's scores of annotated persons; equal on every process when torchrun started several.

    Key frames go through the network one at a time, as pictures may differ in aspect. Boxes are compared in
    pixels of the clips. The model may have classes that the annotations lack: these aren't scored, and the
    best 50 rows of a frame, by the official rule, are of the others. The model is only read, whatever its
    mode and device.

    Args:
        model: scores boxes.
        dataset: its items' targets are ``Persons``; see ``slowfast_zoo.data.dataset``.
        rule: whose frame mAP.
        iou: overlap that makes a detection right.
        workers: processes that read items.
        device: None: the GPU of this process, or the CPU where there is none.
        precision: of the network's arithmetic.
        progress: show a bar on a terminal and in notebooks, else a line every 30 seconds.

    Raises:
        DataError: an empty dataset, none of its items readable, no boxes, a target that is no class, or a
            worker that was killed; or nothing annotated that is scored.
        InputError: a model for whole clips, an ``iou`` or a number of workers that isn't accepted, or scores
            that are NaN.
        UnknownNameError: no such rule.
        OutOfMemoryError: memory doesn't suffice for one clip.
        ExportError: this processor computes the network wrongly in that precision.
    """
    check_slowfast(model, "evaluate_persons")
    if model.spec.roi is None:
        raise InputError("evaluate_persons takes models that score boxes, named *_roi; this one takes clips.")
    rule_of(rule)
    check_iou(iou)
    check_dataset(dataset, "dataset to evaluate")
    check_classes(model, dataset)
    check_purpose(dataset, train=False)
    group = join(device)
    twin = eval_twin(model, group.device)
    score = functools.partial(_scored, twin, group.device, precision)
    rows, failed = scored_rows(twin, dataset, score, group, 1, workers, precision, progress, "frame")
    probabilities = np.concatenate([row.probabilities for row in rows])
    check_numbers(probabilities)
    frames = tuple(("", float(row.item)) for row in rows)
    everything = [np.ones(row.probabilities.shape, bool) for row in rows]
    predictions = _actions(frames, [row.boxes for row in rows], everything, [r.probabilities for r in rows])
    columns = np.arange(model.num_classes)
    done = [row.truth if row.truth.ndim == 2 else row.truth[:, None] == columns for row in rows]
    annotations = _actions(frames, [row.annotated for row in rows], done, done)
    if not len(annotations):
        raise DataError("Nobody in the dataset does anything that is scored.")
    whole = whole_of(dataset)
    names = class_names(model.labels or names_of(dataset), model.num_classes)[: model.num_classes]
    known = set(range(len(names)))
    if isinstance(whole, PersonDataset):
        known &= set(whole.annotations.columns.values())
    classes = {column: names[column] for column in sorted(known)}
    return PersonEvaluation(
        detections=evaluate_detections(predictions, annotations, rule=rule, classes=classes, iou=iou),
        probabilities=probabilities,
        targets=np.concatenate([row.targets for row in rows]),
        failed=failed,
        frames=len(rows),
    )


class _Row(NamedTuple):
    """One key frame: scores of its boxes, and what is so."""

    item: int
    boxes: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]
    targets: npt.NDArray[Any]
    annotated: npt.NDArray[np.float32]
    truth: npt.NDArray[Any]


def _actions(
    frames: tuple[Moment, ...],
    boxes: list[npt.NDArray[np.float32]],
    chosen: list[npt.NDArray[Any]],
    scores: list[npt.NDArray[Any]],
) -> PersonActions:
    """A row for each box and class that is chosen; one entry of each list a frame."""
    box, label = np.nonzero(np.concatenate(chosen))
    frame = np.repeat(np.arange(len(frames)), [len(part) for part in boxes])
    return PersonActions(
        frames,
        frame[box],
        np.concatenate(boxes).astype(np.float64)[box],
        label,
        np.concatenate(scores)[box, label].astype(np.float64),
        np.full(len(box), -1),
    )


def _scored(model: SlowFast, device: torch.device, precision: Precision, batch: Batch) -> list[_Row]:
    assert batch.boxes is not None
    clips = normalized(sent(batch.clips, device), model.clip_spec)
    clips = clips.to(next(model.parameters()).dtype)
    with autocast(device, precision):
        logits = Halving(lambda clip: model(clip, batch.boxes), 1)(clips).float().cpu()
    check_answers(logits, model.spec)
    softmax = model.spec.activation == "softmax"
    probabilities = (logits.softmax(dim=1) if softmax else logits.sigmoid()).numpy()
    boxes, targets = batch.boxes[:, 1:].numpy(), batch.targets.numpy()
    annotated, truth = (boxes, targets) if batch.annotated is None else (p.numpy() for p in batch.annotated)
    return [_Row(batch.indices[0], boxes, probabilities, targets, annotated, truth)]
