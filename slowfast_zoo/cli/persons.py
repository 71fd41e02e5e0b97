"""Annotated persons on the command line: what ``train`` and ``test`` do with them; ``test-detections``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slowfast_zoo.cli import options as opt
from slowfast_zoo.cli.options import command, echo
from slowfast_zoo.errors import DataError, InputError, counted
from slowfast_zoo.evaluation import DetectionRule

if TYPE_CHECKING:
    from slowfast_zoo.data.lists import ReadOptions
    from slowfast_zoo.data.persons.annotations import PersonAnnotations
    from slowfast_zoo.data.persons.dataset import PersonDataset
    from slowfast_zoo.evaluation.ava import DetectionScores
    from slowfast_zoo.network.slowfast import SlowFast
    from slowfast_zoo.training.recipe import Recipe

Reading = dict[str, Any]
"""Excluded frames, a detector's boxes and the time base: ``opt.persons``."""

scoring = opt.bundle(
    "scoring",
    {
        "rule": click.option(
            "--rule",
            type=opt.choice(DetectionRule),
            default="official",
            show_default=True,
            help="Whose frame mAP of persons' actions.",
        ),
        "iou": click.option(
            "--iou",
            type=click.FloatRange(0, 1, min_open=True),
            default=0.5,
            show_default=True,
            help="Overlap that makes a person's box right.",
        ),
    },
)
"""How persons' actions are scored: arguments of ``evaluate_persons`` and ``evaluate_detections``."""


def open_persons(
    source: str,
    recipe: Recipe,
    reading: ReadOptions,
    persons: Reading,
    *,
    like: PersonDataset | None = None,
    max_unreadable: float = 0.1,
) -> PersonDataset:
    """Annotated persons as that recipe trains on them, or, like the training data, as it validates.

    Args:
        source: a file of annotations.
        recipe: says how clips are made, and whether a person does one thing or any number.
        reading: where videos are, and what classes are called.
        persons: excluded frames, a detector's boxes, the time base.
        like: the training data; None: these are.
        max_unreadable: of key frames to train with, as in ``PersonDataset``.

    Raises:
        DataError: no such file, or it doesn't hold together.
    """
    from slowfast_zoo.data.labels import mirrored_classes
    from slowfast_zoo.data.persons.dataset import PersonDataset

    wanted, part = f"The recipe {recipe.name} learns what persons do", "train" if like is None else "test"
    annotations = _read(source, wanted, reading, persons, part=part)
    if like is not None:
        annotations = annotations.with_classes(
            like.labels, like.annotations.num_classes, of="the training data"
        )
    multi_label = reading.get("multi_label")
    if multi_label is None:
        multi_label = recipe.model_spec.activation == "sigmoid"
    clip_spec = recipe.clip_spec
    if mirrored_classes(annotations.labels or ()):
        clip_spec = clip_spec.replace(flip=0.0)
    return PersonDataset(
        annotations, clip_spec, train=like is None, multi_label=multi_label, max_unreadable=max_unreadable
    )


def of_persons(reading: ReadOptions) -> dict[str, Any]:
    """What of ``reading`` annotations of persons have, too.

    Raises:
        InputError: what they haven't was given.
    """
    given = [f"--{name}" for name in ("form", "separator") if reading.get(name) is not None]
    if given:
        raise InputError(f"Annotations of persons have no {' and '.join(given)}: lists of clips have them.")
    return {name: reading.get(name) for name in ("root", "labels", "frame_pattern", "fps")}


def refuse(persons: Reading, what: str) -> None:
    """Refuses what only annotations of persons have, where something else is read.

    Args:
        persons: what was given.
        what: is read, or reads, such as "the model is".

    Raises:
        InputError: names the options.
    """
    given = [f"--{name.replace('_', '-')}" for name, value in persons.items() if value]
    if given:
        raise InputError(f"{', '.join(given)}: for annotations of persons, and {what} of whole clips.")


def numbered_classes(labels: Sequence[str]) -> dict[int, str] | Sequence[str]:
    """Classes by AVA's numbers, where they are AVA's."""
    from slowfast_zoo.weights.catalog.datasets import label_set_names

    ava = label_set_names("ava")
    if not set(labels) <= set(ava):
        return labels
    return {number: name for number, name in enumerate(ava, 1) if name in labels}


def test_persons(
    network: SlowFast,
    data: str,
    reading: ReadOptions,
    persons: Reading,
    *,
    out: Path | None,
    per_class: bool,
    **options: Any,
) -> None:
    """Scores a model on annotated persons and says so; ``options`` are those of ``evaluate_persons``.

    Raises:
        DataError: as ``open_persons``.
    """
    import json

    from slowfast_zoo.data.persons.dataset import PersonDataset
    from slowfast_zoo.data.tables import write_text
    from slowfast_zoo.evaluation.persons import evaluate_persons
    from slowfast_zoo.runtime.distributed import join

    annotations = _read(data, "The model scores persons", reading, persons, part="test")
    if annotations.labels is None and network.labels:
        annotations = _with_avas_numbers(annotations, network.labels)
    annotations = annotations.with_classes(network.labels, network.num_classes, of="the model")
    multi_label = network.spec.activation == "sigmoid"
    dataset = PersonDataset(annotations, network.clip_spec, train=False, multi_label=multi_label)
    group = join(options["device"])
    result = evaluate_persons(network, dataset, **options | {"device": group.device})
    if not group.first:
        return
    echo(f"{result.frames} of {counted(len(dataset), 'key frame')} read")
    _tell(result.detections, per_class=per_class)
    for name, error in result.failed:
        echo(f"not read: {name}: {error}", err=True)
    if out is not None:
        failed = [{"frame": name, "error": error} for name, error in result.failed]
        write_text(out, json.dumps({**result.detections.to_dict(), "failed": failed}))


def _read(
    source: str, wanted: str, reading: ReadOptions, persons: Reading, *, part: Any
) -> PersonAnnotations:
    from slowfast_zoo.data.persons.annotations import is_person_data, read_persons

    if not is_person_data(source):
        raise DataError(
            f"{wanted}, and '{source}' doesn't annotate any; accepted: a table with video, second, x1, y1,"
            " x2, y2, action, AVA's CSV, CVAT's XML, MultiSports' pickle."
        )
    return read_persons(source, **persons, **of_persons(reading), part=part)


def _with_avas_numbers(annotations: PersonAnnotations, labels: Sequence[str]) -> PersonAnnotations:
    """Rows of numbers with the classes of a model that has some of AVA's only, as ``detect`` numbers them.

    Numbers that can be places among the model's classes are these, as in its training.
    """
    from slowfast_zoo.weights.catalog.datasets import label_set_names

    classes = numbered_classes(labels)
    may_be_avas = len(labels) < max(annotations.columns) <= len(label_set_names("ava"))
    if not isinstance(classes, dict) or not may_be_avas:
        return annotations
    places = {number: labels.index(name) for number, name in classes.items()}
    return dataclasses.replace(annotations, labels=tuple(labels), columns=places, num_classes=len(labels))


def _tell(scores: DetectionScores, *, per_class: bool) -> None:
    width = max(map(len, scores.labels), default=0)
    for label, value in zip(scores.labels, scores.average_precisions.tolist(), strict=True):
        if per_class:
            echo(f"{label.ljust(width)}  {value:.4f}")
    echo(f"mAP at IoU {scores.iou:g} by the rule {scores.rule}: {scores.mean_average_precision:.4f}")
    found, there = scores.num_predictions, scores.num_annotations
    echo(f"{counted(found, 'detection')}, {counted(there, 'annotation')}")


@command(
    "test-detections",
    "test-detections found.csv ava_val_v2.2.csv --classes ava_action_list_v2.2_for_activitynet_2019.pbtxt"
    " --excluded ava_val_excluded_timestamps_v2.2.csv",
    "test-detections found.csv annotations.csv --rule mmaction2-0.x --json",
)
@click.argument("predictions", type=opt.FILE)
@click.argument("annotations", type=opt.FILE)
@click.option(
    "--classes", type=opt.FILE, help="The scored actions, such as AVA's pbtxt.  [default: all annotated]"
)
@click.option("--excluded", type=opt.FILE, help="Frames that don't count: video,second a line.")
@scoring
@opt.as_json
def test_detections_command(
    predictions: Path,
    annotations: Path,
    classes: Path | None,
    excluded: Path | None,
    scoring: dict[str, Any],
    as_json: bool,
) -> None:
    """Scores persons' actions by AVA's frame mAP: PREDICTIONS against ANNOTATIONS, both in its CSV.

    Rows of PREDICTIONS are video,second,x1,y1,x2,y2,action,score. The publishers' programs give other numbers
    for the same files: name theirs with --rule to compare with what they published.
    """
    from slowfast_zoo.evaluation.ava import evaluate_detections

    scores = evaluate_detections(predictions, annotations, classes=classes, excluded=excluded, **scoring)
    if as_json:
        opt.echo_report(scores, as_json=True)
        return
    _tell(scores, per_class=True)
