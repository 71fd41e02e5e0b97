"""``slowfast-zoo check``, ``split``, ``cache``: a dataset before it is trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slowfast_zoo.errors import DataError

if TYPE_CHECKING:
    from slowfast_zoo.data.annotations import Annotations
    from slowfast_zoo.spec import ClipSpec

FORMS = ("folders", "table", "videos", "rawframes", "rawframes-offset", "ids")
GROUP_HELP = "What keeps clips together: folder, column:NAME, or a regular expression on the path."


def list_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how a dataset is written down."""
    for option in (
        click.option("--fps", type=float, help="Frame rate of folders of frames."),
        click.option("--frames", "frame_pattern", metavar="PATTERN", help="Such as img_{:05}.jpg."),
        click.option("--separator", help="Between the fields of a list."),
        click.option("--labels", type=click.Path(path_type=Path), help="File with one class name a line."),
        click.option("--root", type=click.Path(path_type=Path), help="Where relative paths begin."),
        click.option("--form", type=click.Choice(FORMS), help="Of lists; by default what they look like."),
    ):
        command = option(command)
    return command


@click.command("check")
@click.argument("data", nargs=-1, required=True)
@click.option("--model", help="Whose clips the videos have to be long enough for; a name or saved folder.")
@click.option("--group-by", help=GROUP_HELP)
@click.option("--json", "out", type=click.Path(path_type=Path, dir_okay=False), help="Every finding (JSON).")
@list_options
def check_command(
    data: tuple[str, ...],
    model: str | None,
    group_by: str | None,
    out: Path | None,
    form: Any,
    root: Path | None,
    labels: Path | None,
    separator: str | None,
    frame_pattern: str | None,
    fps: float | None,
) -> None:
    """Looks for what is wrong with DATA: a folder or list, or several (train, val, test).

    Unreadable and short clips, the same bytes twice, parts that share sources, classes without clips. The
    exit status is 1 if something would make training or scores wrong.
    """
    from slowfast_zoo.data.check import check_data, save_report
    from slowfast_zoo.data.lists import read_annotations
    from slowfast_zoo.spec import ClipSpec

    parts: dict[str, Annotations] = {}
    known: Any = labels
    for name, path in _parts(data).items():
        parts[name] = read_annotations(
            path,
            form=form,
            root=root,
            labels=known,
            separator=separator,
            frame_pattern=frame_pattern,
            fps=fps,
        )
        known = known or parts[name].labels
    spec = ClipSpec() if model is None else _clip_spec(model)
    report = check_data(parts, spec, group_by=group_by)
    click.echo(str(report))
    if out is not None:
        save_report(report, out)
    if report.problems:
        raise SystemExit(1)


@click.command("split")
@click.argument("data")
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--val", type=float, default=0.2, show_default=True, help="Part of the clips to validate with.")
@click.option("--group-by", help=GROUP_HELP)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Decides ties.")
@list_options
def split_command(
    data: str,
    out: Path,
    val: float,
    group_by: str | None,
    seed: int,
    form: Any,
    root: Path | None,
    labels: Path | None,
    separator: str | None,
    frame_pattern: str | None,
    fps: float | None,
) -> None:
    """Divides DATA into OUT/train.csv and OUT/val.csv; clips of one source stay together.

    Every class has about the same share in both. OUT/labels.txt names the classes in order.
    """
    from slowfast_zoo.data.lists import read_annotations
    from slowfast_zoo.data.splits import source_of, split_annotations
    from slowfast_zoo.data.tables import write_split

    annotations = read_annotations(
        data, form=form, root=root, labels=labels, separator=separator, frame_pattern=frame_pattern, fps=fps
    )
    train, held_out = split_annotations(annotations, val, group_by=group_by, seed=seed)
    write_split(out, {"train": train, "val": held_out})
    for name, part in (("train", train), ("val", held_out)):
        sources = len({source_of(sample, group_by) for sample in part.samples})
        click.echo(f"{out / name}.csv: {len(part.samples)} clips from {sources} sources")
    without = [name for name, count in zip(held_out.class_names, held_out.counts(), strict=True) if not count]
    if without:
        click.echo(f"No clip to validate with, as they have one source: {', '.join(without)}", err=True)


@click.command("cache")
@click.argument("data")
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--short-side", type=click.IntRange(16), default=256, show_default=True, help="In pixels.")
@click.option("--decoded", is_flag=True, help="Store frames (.npy) instead of videos: large, no decoding.")
@click.option("--quality", type=click.IntRange(0, 51), default=18, show_default=True, help="CRF of H.264.")
@list_options
def cache_command(
    data: str,
    out: Path,
    short_side: int,
    decoded: bool,
    quality: int,
    form: Any,
    root: Path | None,
    labels: Path | None,
    separator: str | None,
    frame_pattern: str | None,
    fps: float | None,
) -> None:
    """Copies DATA to OUT so that it reads fast: shorter side 256, many key frames; OUT/index.csv lists it.

    Interrupted, the same command goes on. The exit status is 1 if a clip could not be read.
    """
    from slowfast_zoo.data.cache import cache_data
    from slowfast_zoo.data.lists import read_annotations

    annotations = read_annotations(
        data, form=form, root=root, labels=labels, separator=separator, frame_pattern=frame_pattern, fps=fps
    )
    failed = cache_data(
        annotations,
        out,
        short_side=short_side,
        form="frames" if decoded else "video",
        quality=quality,
    )
    total = len(annotations.samples)
    click.echo(f"{out / 'index.csv'}: {total - len(failed)} of {total} clips")
    if failed:
        raise SystemExit(1)


def _parts(data: tuple[str, ...]) -> dict[str, Path]:
    """The parts by name: those of one divided folder, or the arguments."""
    from slowfast_zoo.data.folders import SPLITS, find_splits

    paths = [Path(text) for text in data]
    if len(paths) == 1:
        return find_splits(paths[0]) or {"data": paths[0]}
    names = [SPLITS.get(path.stem.lower(), str(path)) for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise DataError("The same dataset was given twice.")
    return dict(zip(names, paths, strict=True))


def _clip_spec(model: str) -> ClipSpec:
    if Path(model).is_dir():
        from slowfast_zoo.weights.saved.hub import from_pretrained

        return from_pretrained(Path(model)).clip_spec
    from slowfast_zoo.weights.catalog import get_weights

    return get_weights(model).clip_spec
