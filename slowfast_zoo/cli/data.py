"""``slowfast-zoo check``, ``split``, ``cache``: a dataset before it is trained on."""

from __future__ import annotations

import dataclasses
import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slowfast_zoo.cli import options as opt
from slowfast_zoo.cli.models import model_option
from slowfast_zoo.cli.options import NEW_FOLDER, check_absent, check_apart, command, echo, echo_report
from slowfast_zoo.cli.persons import of_persons, refuse
from slowfast_zoo.errors import DataError, InputError, counted
from slowfast_zoo.files import expanded, kind_of, pattern_of
from slowfast_zoo.naming import ModelRef

if TYPE_CHECKING:
    from slowfast_zoo.data.check import DataReport
    from slowfast_zoo.data.lists import ReadOptions


@command("check", "check data/", "check train.csv val.csv --root videos/ --group-by folder")
@click.argument("data", nargs=-1, required=True)
@model_option(default=None, help_text="Whose clips the videos have to be long enough for: a MODEL")
@opt.group_by
@click.option("--decode", is_flag=True, help="Decode every frame too: finds damage inside files, takes long.")
@opt.as_json
@opt.out("Also write every finding to this JSON file; what is there is replaced.")
@opt.persons
@opt.reading
def check_command(
    data: tuple[str, ...],
    model: ModelRef | None,
    group_by: str | None,
    decode: bool,
    as_json: bool,
    out: Path | None,
    persons: dict[str, Any],
    reading: ReadOptions,
) -> None:
    """Looks for what is wrong with DATA: a folder or list, or several (train, val, test).

    Unreadable, damaged and short clips, the same bytes twice, parts that share sources, classes without
    clips; of annotations of persons, times, boxes and action numbers that can't be, and what is there twice.
    MultiSports' pickle holds both of its parts.
    The exit status is 1 if something would make training or scores wrong.
    """
    from slowfast_zoo.data.check import check_data
    from slowfast_zoo.data.folders import empty_classes, loose_clips
    from slowfast_zoo.data.lists import parts_in, read_annotations
    from slowfast_zoo.data.persons.annotations import is_person_data, read_persons
    from slowfast_zoo.data.persons.check import PersonReport, check_persons
    from slowfast_zoo.data.splits import resolved
    from slowfast_zoo.spec import ClipSpec

    if out is not None:
        opt.check_writable(out)
    given, faults = _parts(data), list[str]()
    report: DataReport | PersonReport
    if all(is_person_data(path) for path in given.values()):
        if typed := opt.typed(("model", "group_by", "decode", "multi_label")):
            raise InputError(f"Annotations of persons are checked without {typed}: leave that out.")
        how = persons | of_persons(reading)
        people = {name: read_persons(path, **how) for name, path in given.items()}
        if [part.form for part in people.values()] == ["multisports"]:
            (path,) = given.values()
            people = {"train": people.popitem()[1]}
            try:
                people["test"] = read_persons(path, **how, part="test")
            except DataError as error:
                echo(f"Only the training part is looked at: {error}", err=True)
        report = check_persons(people)
    else:
        refuse(persons, "DATA is")
        refuse_for_folders(*given.values())
        parts = {name: read_annotations(path, skip_empty=True, **reading) for name, path in given.items()}
        known = {name for part in parts.values() for name in part.labels or ()}
        for path in given.values():
            empty = [name for name in empty_classes(path) if name not in known]  # else a part lacks it
            faults += [f"The class folder '{name}' holds no clips." for name in empty]
            faults += loose_clips(path)
        notes = list[str]()
        try:
            divided, notes = parts_in(given["data"], parts["data"]) if [*parts] == ["data"] else ({}, notes)
            parts = divided or parts
        except DataError as error:
            faults.append(str(error))
        group_by, told = resolved(next(iter(parts.values())), group_by)
        for note in [*notes, *told]:
            echo(note, err=True)
        spec = ClipSpec() if model is None else model.clip_spec()
        report = check_data(parts, spec, group_by=group_by, decode=decode)
        report = dataclasses.replace(report, faults=faults)
    echo_report(report, as_json, out)
    if report.problems:
        raise click.exceptions.Exit(1)


@command("split", "split clips/ lists/ --val 0.2 --group-by folder")
@click.argument("data")
@click.argument("out", type=NEW_FOLDER)
@click.option("--val", type=float, default=0.2, show_default=True, help="Part of the clips to validate with.")
@opt.group_by
@opt.count("--seed", 0, "Decides ties.", least=0)
@opt.overwrite
@opt.reading
def split_command(
    data: str,
    out: Path,
    val: float,
    group_by: str | None,
    seed: int,
    overwrite: bool,
    reading: ReadOptions,
) -> None:
    """Divides DATA into OUT/train.csv and OUT/val.csv; clips of one source stay together.

    Every class has about the same share in both. OUT/labels.txt names the classes in order.
    """
    check_absent(*(out / name for name in ("train.csv", "val.csv", "labels.txt")), overwrite=overwrite)
    from slowfast_zoo.data.folders import check_outside
    from slowfast_zoo.data.lists import read_filled
    from slowfast_zoo.data.splits import grouping_notes, resolved, source_of, split_annotations
    from slowfast_zoo.data.tables import write_split

    check_outside(out, data)
    refuse_for_folders(data)
    annotations, notes = read_filled(data, **reading)
    group_by, told = resolved(annotations, group_by)
    train, held_out = split_annotations(annotations, val, group_by=group_by, seed=seed)
    write_split(out, {"train": train, "val": held_out}, group_by=group_by)
    for name, part in (("train", train), ("val", held_out)):
        sources = len({source_of(sample, group_by) for sample in part.samples})
        echo(f"{out / name}.csv: {counted(len(part.samples), 'clip')} from {counted(sources, 'source')}")
    without = [name for name, count in zip(held_out.class_names, held_out.counts(), strict=True) if not count]
    for note in [*notes, *told, *grouping_notes(annotations, group_by)]:
        echo(note, err=True)
    if without:
        echo(f"No clip to validate with, as they have one source: {', '.join(without)}", err=True)


@command("cache", "cache train.csv cached/ --short-side 256")
@click.argument("data")
@click.argument("out", type=NEW_FOLDER)
@opt.count("--short-side", 256, "In pixels.", least=16)
@click.option("--decoded", is_flag=True, help="Store frames (.npy) instead of videos: large, no decoding.")
@click.option("--quality", type=click.IntRange(0, 51), default=18, show_default=True, help="CRF of H.264.")
@opt.reading
def cache_command(data: str, out: Path, decoded: bool, reading: ReadOptions, **options: Any) -> None:
    """Copies DATA to OUT so that it reads fast: shorter side 256, many key frames.

    OUT/index.csv lists it. After an interruption the same command continues. The exit status is 1 if a clip
    could not be read.
    """
    from slowfast_zoo.data.annotations import CACHE_INDEX
    from slowfast_zoo.data.cache import cache_data
    from slowfast_zoo.data.folders import check_outside
    from slowfast_zoo.data.lists import read_filled
    from slowfast_zoo.data.persons.annotations import refuse_persons

    if decoded and (given := opt.typed(["quality"])):
        raise InputError(f"{given}: for videos, and --decoded stores frames.")
    refuse_for_folders(data)
    refuse_persons(data, "a cache holds whole clips, made smaller")
    check_apart(out / CACHE_INDEX)
    check_outside(out, data)
    annotations, notes = read_filled(data, **reading)
    for note in notes:
        echo(note, err=True)
    failed = cache_data(annotations, out, form="frames" if decoded else "video", **options)
    total = len(annotations.samples)
    echo(f"{out / 'index.csv'}: {total - len(failed)} of {counted(total, 'clip')}")
    if failed:
        raise click.exceptions.Exit(1)


def refuse_for_folders(*sources: str | Path) -> None:
    """Refuses options that say how a list is read, where all data are folders of classes.

    Raises:
        InputError: names the options.
    """
    from slowfast_zoo.data.folders import find_splits

    paths = [path for source in map(expanded, sources) for path in find_splits(source).values() or [source]]
    if all(kind_of(path) == "folder" for path in paths) and (given := opt.typed(["root", "separator"])):
        raise InputError(f"{given}: for a list, and '{sources[0]}' is a folder of classes.")


def _matching(path: Path) -> list[Path]:
    """What a pattern names, which Windows' shells leave to commands; anything else as it is."""
    pattern = pattern_of(path)
    found = [] if pattern is None else sorted(map(Path, glob.glob(pattern)))  # noqa: PTH207
    return found or [path]


def _parts(data: tuple[str, ...]) -> dict[str, Path]:
    """The parts by name: those of one divided folder, or the arguments."""
    from slowfast_zoo.data.folders import SPLITS, find_splits

    paths = [path for text in data for path in _matching(expanded(text))]
    if len(paths) == 1:
        return find_splits(paths[0]) or {"data": paths[0]}
    names = [SPLITS.get(path.stem.lower(), str(path)) for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise DataError("The same dataset was given twice.")
    return dict(zip(names, paths, strict=True))
