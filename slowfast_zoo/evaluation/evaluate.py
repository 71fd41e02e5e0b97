"""``evaluate``: a model's scores on a dataset, each item once, and result files that say how."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slowfast_zoo.data.annotations import Annotations
from slowfast_zoo.data.dataset import ClipDataset, check_dataset, check_purpose, name_of, names_of, whole_of
from slowfast_zoo.data.loader import EVALUATION, Batch, ItemKey, KeyedItems, killed_readers, load, normalized
from slowfast_zoo.data.persons.annotations import PersonAnnotations
from slowfast_zoo.data.persons.dataset import PersonDataset
from slowfast_zoo.errors import DataError, InputError, UnknownNameError, counted, did_you_mean, quoted
from slowfast_zoo.evaluation.metrics import (
    average_precisions,
    check_metrics,
    compute_metrics,
    confusion_matrix,
    wilson_interval,
)
from slowfast_zoo.files import write_bytes
from slowfast_zoo.inference.aggregate import average_views
from slowfast_zoo.inference.engines.trial import check_half_precision
from slowfast_zoo.network.slowfast import SlowFast, check_answers, check_clip_head, check_slowfast
from slowfast_zoo.network.twin import eval_twin
from slowfast_zoo.runtime.devices import Halving, sent
from slowfast_zoo.runtime.distributed import Processes, join
from slowfast_zoo.runtime.precision import Precision, autocast
from slowfast_zoo.runtime.progress import shown
from slowfast_zoo.spec import Aggregate, class_names
from slowfast_zoo.video.sampling import checked_count

AVERAGES: dict[str, Aggregate | Literal["none"]] = {
    "prob": "mean-prob",
    "score": "mean-logit",
    "none": "none",
}
AVERAGES |= {rule: rule for rule in get_args(Aggregate)}
"""What ``--average-clips`` takes: MMAction2's words and those of ``ClipSpec.aggregate``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of a dataset's readable items, in its order, and what they come to."""

    metrics: Mapping[str, float]
    """By the publisher's result names; empty for scores of single views."""
    scores: list[npt.NDArray[np.float32]] = dataclasses.field(repr=False)
    """Per item (classes,), or (views, classes) when the views aren't averaged."""
    targets: npt.NDArray[Any] = dataclasses.field(repr=False)
    """int64 (N,), or float32 (N, classes)."""
    names: list[str] = dataclasses.field(repr=False)
    """What the dataset calls the items."""
    labels: tuple[str, ...] | None = dataclasses.field(repr=False)
    """Class names."""
    failed: list[tuple[str, str]]
    """Items that couldn't be read, and why; they count in no metric."""
    protocol: Mapping[str, Any]
    """How the scores were made."""
    error: str = ""
    """Why there are no metrics although there are scores; "" in order."""
    seen: bool = False
    """Whether items were trained on, or others of their sources: what new ones would give is unknown then, so
    that scores have no interval."""

    def __str__(self) -> str:
        total = len(self.names) + len(self.failed)
        parts = [f"{len(self.names)} of {total} decoded"]
        parts += [f"{name} {value:.4f}" for name, value in self.metrics.items()]
        parts += [f"no metrics: {self.error}"] if self.error else []
        if "top1_acc" in self.metrics:
            right = round(self.metrics["top1_acc"] * len(self.names))
            low, high = wilson_interval(right, len(self.names))
            between = "" if self.seen else f", 95 % interval {low:.3f} to {high:.3f}"
            parts.append(f"top-1 is {right} of {len(self.names)}{between}")
        return ", ".join(parts)

    def confusion_matrix(self) -> npt.NDArray[np.int64]:
        """Counts (classes, classes): rows true, columns predicted.

        Raises:
            InputError: several labels per item, or scores of single views.
        """
        if self.targets.ndim == 2 or not self.metrics:
            raise InputError("A confusion matrix needs one label per video, and one score per class.")
        return confusion_matrix(np.stack(self.scores), self.targets)

    def class_table(self) -> list[dict[str, Any]]:
        """A row per class: label, videos, accuracy with its 95 % interval, precision, most frequent mistake.

        Items that were ``seen`` have no interval. For several labels per item: label, videos, average
        precision. NaN where nothing was measured.

        Raises:
            InputError: scores of single views.
        """
        if self.targets.ndim == 2 and self.metrics:
            scores = np.stack(self.scores)
            names = class_names(self.labels, scores.shape[1])
            found = zip(
                names, self.targets.sum(axis=0), average_precisions(scores, self.targets), strict=True
            )
            return [{"label": n, "videos": int(v), "average_precision": float(p)} for n, v, p in found]
        confusion = self.confusion_matrix()
        names = class_names(self.labels, len(confusion))
        table = []
        for index, name in enumerate(names):
            videos, named = int(confusion[index].sum()), int(confusion[:, index].sum())
            right = int(confusion[index, index])
            wrong = confusion[index].copy()
            wrong[index] = 0
            low, high = wilson_interval(right, videos)
            table.append(
                {
                    "label": name,
                    "videos": videos,
                    "accuracy": right / videos if videos else math.nan,
                    **({} if self.seen else {"from": low, "to": high}),
                    "precision": right / named if named else math.nan,
                    "most_often_taken_for": names[int(wrong.argmax())] if wrong.any() else "",
                }
            )
        return table

    def to_dict(self) -> dict[str, Any]:
        """Metrics, protocol, labels, failures and every video's name, target and scores, as JSON values."""
        videos = zip(self.names, self.targets.tolist(), self.scores, strict=True)
        return {
            "metrics": {name: value if np.isfinite(value) else None for name, value in self.metrics.items()},
            "protocol": dict(self.protocol),
            "labels": None if self.labels is None else list(self.labels),
            "failed": [{"video": name, "error": error} for name, error in self.failed],
            "videos": [
                {"video": name, "target": target, "scores": _json(scores)} for name, target, scores in videos
            ],
        }

    def save(self, path: str | Path, form: Literal["named", "mmaction2"] = "named") -> None:
        """Writes a JSON file: everything (``to_dict``), or MMAction2's bare list of scores per video.

        Raises:
            InputError: no such form, or MMAction2's form with videos missing.
        """
        if form == "mmaction2":
            if self.failed:
                raise InputError(
                    f"MMAction2's result file tells videos apart by their place in the list, and"
                    f" {len(self.failed)} couldn't be read (first: {self.failed[0][0]}); use the named form."
                )
            content: Any = [_json(scores) for scores in self.scores]
        elif form == "named":
            content = self.to_dict()
        else:
            raise InputError(f"There is no form '{form}' of result files; accepted: 'named', 'mmaction2'.")
        write_bytes(path, json.dumps(content).encode())

    def save_confusion(self, path: str | Path) -> None:
        """Writes the confusion matrix as CSV: a row per true class, a column per predicted one.

        Raises:
            InputError: as ``confusion_matrix``.
        """
        confusion = self.confusion_matrix()
        names = class_names(self.labels, len(confusion))
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow(["true \\ predicted", *names])
        writer.writerows([name, *row] for name, row in zip(names, confusion.tolist(), strict=True))
        write_bytes(path, table.getvalue().encode())


@killed_readers(DataError)
def evaluate(
    model: SlowFast,
    dataset: ClipDataset,
    *,
    metrics: Sequence[str] | None = None,
    average: str | None = None,
    batch_size: int = 1,
    max_views: int = 8,
    workers: int = 0,
    device: str | torch.device | None = None,
    precision: Precision = "float32",
    progress: bool = True,
) -> Evaluation:
    """The model's scores and metrics on a dataset; equal on every process when torchrun started several.

    In a process group every process has to call this; each item is scored by exactly one. The model is only
    read, whatever its mode and device.

    Args:
        model: gives logits.
        dataset: see ``slowfast_zoo.data.dataset``; its items may be several views of a video.
        metrics: a name of ``metrics.METRICS``, or several; None: those that fit the dataset's targets.
        average: of ``AVERAGES``: how views become one score; None: as the model's ``clip_spec`` says.
        batch_size: items read together.
        max_views: clips per forward pass; bounds memory.
        workers: processes that read items.
        device: None: the GPU of this process, or the CPU where there is none.
        precision: of the network's arithmetic.
        progress: show a bar on a terminal and in notebooks, else a line every 30 seconds.

    Raises:
        DataError: an empty dataset, none of its items readable, a target that is no class, or a worker that
            was killed.
        InputError: a metric that doesn't fit the targets, a wrong number of items, views or workers, or a
            classifier that isn't the spec's.
        UnknownNameError: no such metric or average.
        ExportError: this processor computes the network wrongly in that precision.
    """
    check_slowfast(model, "evaluate")
    persons = "evaluate_persons of slowfast_zoo.evaluation.persons takes it, with a PersonDataset"
    check_clip_head(model.spec, "evaluate", persons)
    batch_size, max_views = checked_count("batch_size", batch_size), checked_count("max_views", max_views)
    rule = _average(average, model)
    if isinstance(metrics, str) or not isinstance(metrics, Iterable | None):
        metrics = (metrics,)
    metrics = tuple(metrics or ())
    check_metrics(metrics, multi_label=model.spec.activation == "sigmoid")
    if metrics and rule == "none":
        raise InputError("Scores of single views have no metrics; average them, or ask for no metric.")
    check_dataset(dataset, "dataset to evaluate")
    check_classes(model, dataset)
    check_purpose(dataset, train=False)
    group = join(device)
    twin = eval_twin(model, group.device)
    compute = Halving(lambda clips: _logits(twin, clips, group.device, precision), max_views)

    def score(batch: Batch) -> Iterator[_Row]:
        views_of = torch.split(compute(batch.clips), batch.views)
        for index, target, views in zip(batch.indices, batch.targets, views_of, strict=True):
            scores = views if rule == "none" else average_views(views, model.spec.activation, rule)
            yield index, target.numpy(), scores.numpy(), len(views)

    rows, failed = scored_rows(twin, dataset, score, group, batch_size, workers, precision, progress, "batch")
    targets = np.stack([target for _, target, _, _ in rows])
    scores = [scores for _, _, scores, _ in rows]
    results, problem = dict[str, float](), ""
    if rule != "none":
        try:
            results = compute_metrics(np.stack(scores), targets, metrics)
        except InputError as error:  # scores that took hours are not thrown away
            bad = next((name_of(dataset, row[0]) for row in rows if np.isnan(row[2]).any()), None)
            problem = str(error) if bad is None else f"{error} '{bad}' is the first such item."
    views = sorted({count for _, _, _, count in rows})
    return Evaluation(
        metrics=results,
        scores=scores,
        targets=targets,
        names=[name_of(dataset, index) for index, _, _, _ in rows],
        labels=model.labels,
        failed=failed,
        protocol={
            "average": rule,
            "views": views[0] if len(views) == 1 else views,
            "precision": precision,
            "clip_spec": model.clip_spec.to_dict(),
            "model_spec": model.spec.to_dict(),
        },
        error=problem,
    )


def format_table(table: Sequence[dict[str, Any]]) -> str:
    """The table as aligned text; a dash where nothing was measured."""
    heads = [name.replace("_", " ") for name in table[0]]
    rows = [[_cell(value) for value in row.values()] for row in table]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    numeric = [isinstance(value, (int, float)) for value in table[0].values()]
    lines = []
    for row in [heads, *rows]:
        cells = [
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.3f}"
    return str(value)


def check_classes(model: SlowFast, dataset: ClipDataset, *, all_of_them: bool = False) -> None:
    """Refuses a dataset whose classes, where it names them, aren't the model's in the model's order.

    A ``Subset`` needn't have all classes of its dataset: of it the names alone are compared, where both have
    some, as far as both go.

    Args:
        model: has the classes.
        dataset: has numbers, or names in ``labels``.
        all_of_them: whether numbers without names have to be as many as the model has classes.

    Raises:
        DataError: names the first that differs.
    """
    whole, own, classes = whole_of(dataset), model.labels, model.spec.num_classes
    names, is_part = names_of(dataset), whole is not dataset
    if is_part and (names is None or own is None):
        return
    read = "read_annotations" if model.spec.roi is None else "read_persons"
    named = f"{read}(DATA, labels={'model.labels' if own else 'NAMES'})"
    if names is None:
        annotations: Any = getattr(whole, "annotations", None)
        known = isinstance(annotations, (Annotations, PersonAnnotations))
        found = annotations.num_classes if known else classes
        if found > classes or (all_of_them and found < classes):
            raise DataError(
                f"The dataset numbers {counted(found, 'class')} without names, the model has {classes}: name"
                f" those of the dataset ({named}, where its numbers mean them), or give the model"
                f" a classifier for them (reset_classifier({found}))."
            )
        return
    given: Iterable[object] = names if isinstance(names, Iterable) else [names]
    if others := [name for name in given if not isinstance(name, str)]:
        raise DataError(
            f"dataset.labels holds {others[0]!r:.60}; accepted: the name of each class. Call the items' own"
            " labels otherwise, such as targets."
        )
    way = f"open the dataset of {named}"
    if isinstance(whole, PersonDataset):  # a list of names wouldn't say which of AVA's numbers they have
        way = "take annotations.with_classes(model.labels, model.num_classes, of='the model')"
    if len(names) != classes and not is_part:
        raise DataError(
            f"The dataset has {counted(len(names), 'class')} ({quoted(names, 3)}), the model {classes};"
            f" {way}: the names of the model's classes in its order."
        )
    for index, (name, wanted) in enumerate(zip(names, own or (), strict=False)):
        if name != wanted:
            raise DataError(f"The dataset's class {index} is '{name}', the model's is '{wanted}'; {way}.")


def check_targets(batch: Batch, model: SlowFast, dataset: ClipDataset, *, train: bool = False) -> None:
    """Refuses targets that the model's classifier has no place for, and in training several views of a video.

    Raises:
        DataError: names the item, its target and what is accepted.
    """
    if train and (most := max(batch.views)) > 1:
        raise DataError(
            f"{name_of(dataset, batch.indices[batch.views.index(most)])} gives {most} views; training"
            " takes one clip per item: float32 (C, T, H, W) or uint8 (T, H, W, C), without an axis in front."
        )
    classes, multi_label = model.spec.num_classes, model.spec.activation == "sigmoid"
    targets = batch.targets
    if (batch.boxes is None) != (model.spec.roi is None):
        raise DataError(
            "The data have boxes of persons, and the model classifies whole clips; models named *_roi take"
            " them."
            if model.spec.roi is None
            else "The model scores persons in boxes, and the data have none: it takes annotations of persons."
        )
    if targets.ndim != (2 if multi_label else 1) or (multi_label and targets.shape[1] != classes):
        wanted = f"multi-hot tensors of {classes} classes" if multi_label else "one int per clip"
        if multi_label and targets.ndim == 1:
            wanted += ": read the data with several labels per clip (multi_label, --multi-label)"
        elif not multi_label:
            wanted += (
                ": read the data with one (leave out multi_label, --multi-label), or train a model on several"
            )
        raise DataError(
            f"Targets are {tuple(targets.shape)}; a model with {model.spec.activation} takes {wanted}."
        )
    wrong = (~((targets >= 0) & (targets <= (1 if multi_label else classes - 1)))).nonzero()  # NaN, too
    if len(wrong):
        item, target = batch.item_of(int(wrong[0, 0])), targets[int(wrong[0, 0])]
        accepted = "zeros and ones" if multi_label else f"0 to {classes - 1}"
        raise DataError(f"{name_of(dataset, item)} has the label {target.tolist()}; accepted: {accepted}.")


def _json(scores: npt.NDArray[np.float32]) -> Any:
    return np.where(np.isfinite(scores), scores.astype(object), np.array(None)).tolist()


_Row = tuple[int, npt.NDArray[Any], npt.NDArray[np.float32], int]
"""Index, target, scores and views of an item."""
_Scored = TypeVar("_Scored", bound=tuple[Any, ...])


def _average(average: str | None, model: SlowFast) -> Aggregate | Literal["none"]:
    if average is None:
        return model.clip_spec.aggregate
    if average not in [*AVERAGES]:  # a list isn't hashable
        raise UnknownNameError(
            f"Views can't be averaged by '{average}'.{did_you_mean(average, AVERAGES)}"
            f" Accepted: {quoted(AVERAGES)}."
        )
    return AVERAGES[average]


def scored_rows(
    model: SlowFast,
    dataset: ClipDataset,
    score: Callable[[Batch], Iterable[_Scored]],
    group: Processes,
    batch_size: int,
    workers: int,
    precision: Precision,
    progress: bool,
    unit: str,
) -> tuple[list[_Scored], list[tuple[str, str]]]:
    """What ``score`` gives for items, on every process the same, and names and errors of unreadable ones.

    Each item is read by one process. Rows begin with the item's index, which is their order.

    Raises:
        DataError: no item could be read; or as ``check_targets``.
    """
    share = range(group.rank, len(dataset), group.world)
    starts = range(0, len(share), batch_size)
    shares = [share[start : start + batch_size] for start in starts]
    keys = [[ItemKey(EVALUATION, 0, index) for index in indices] for indices in shares]
    rows, failed = list[_Scored](), list[tuple[int, str]]()
    loader = load(KeyedItems(dataset, 0, keep_errors=True), keys, workers, group.device)
    with torch.inference_mode():
        for batch in shown(loader, "evaluate", len(keys), unit=unit, show=progress and group.first):
            failed += batch.errors
            if not batch.indices:
                continue
            check_targets(batch, model, dataset)
            if not rows:
                check_clips(model, batch.clips, precision, group.device)
            rows += score(batch)
    rows = sorted((row for part in group.gather(rows) for row in part), key=operator.itemgetter(0))
    failed = sorted(failure for part in group.gather(failed) for failure in part)
    if not rows:
        raise DataError(f"None of the {len(dataset)} items could be read; the first: {failed[0][1]}")
    return rows, [(name_of(dataset, index), error) for index, error in failed]


def check_clips(model: SlowFast, clips: Tensor, precision: Precision, device: torch.device) -> None:
    """Refuses what this processor computes wrongly in half precision; clips as a dataset gives them.

    Raises:
        ExportError: says what to take instead.
    """
    if device.type == "cpu" and precision != "float32":
        shape = normalized(clips[:1], model.clip_spec).shape
        check_half_precision(model, tuple(shape), precision, channels_last=False)


def _logits(model: SlowFast, clips: Tensor, device: torch.device, precision: Precision) -> Tensor:
    clips = normalized(sent(clips, device), model.clip_spec)
    with autocast(device, precision):
        logits = model(clips.to(next(model.parameters()).dtype))
        return check_answers(logits, model.spec).float().cpu()
