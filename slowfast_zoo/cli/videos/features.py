"""``slowfast-zoo features``: videos in, a file of vectors for each; or two such files compared."""

from __future__ import annotations

import hashlib
import os
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from slowfast_zoo.cli import options as opt
from slowfast_zoo.cli.models import model_option
from slowfast_zoo.cli.options import FILE, FOLDER, command, echo, prepared
from slowfast_zoo.cli.videos import shard as shards
from slowfast_zoo.cli.videos.predict import find_videos, listed
from slowfast_zoo.cli.videos.shard import Shard
from slowfast_zoo.errors import InputError, SlowFastZooError
from slowfast_zoo.files import check_writable, claimed
from slowfast_zoo.inference.features.recipes import (
    FeatureFormat,
    FloatType,
    Layer,
    RecipeName,
    find_recipe,
)
from slowfast_zoo.naming import DEFAULT_MODEL, ModelRef, parse
from slowfast_zoo.spec import LastWindow

_SECONDS = click.FloatRange(0, min_open=True)


@command(
    "features",
    "features films/ --out features/ --model slowfast_r50_8x8x1 --hop 0.5",
    "features videos/ -r --out features/ --recipe qvhighlights",
    "features --from names.txt --out features/ --recipe ego4d --format npz",
    'features films/ -r --out features/ --shard "$SLURM_ARRAY_TASK_ID/16"',
    "features --compare mine/v1.npz theirs/v1.npz",
)
@click.argument("paths", nargs=-1)
@click.option(
    "--from",
    "names",
    type=click.Path(dir_okay=False, exists=True, allow_dash=True),
    help="A file with the name of a video on each line; - reads them from standard input.",
)
@click.option("--out", type=FOLDER, help="The folder to write to, a file per video.")
@click.option(
    "--recipe",
    type=opt.choice(RecipeName),
    default="clip",
    show_default=True,
    help="The model's own clips, or how a published set of features was made.",
)
@model_option(default=None, help_text=f"As everywhere.  [default: the recipe's; {DEFAULT_MODEL}]")
@opt.bundle(
    "wishes",
    {
        "window": click.option(
            "--window", type=_SECONDS, metavar="SECONDS", help="Of a window.  [default: a clip]"
        ),
        "hop": click.option(
            "--hop", type=_SECONDS, metavar="SECONDS", help="To the next window.  [default: a window]"
        ),
        "last": click.option(
            "--last",
            type=opt.choice(LastWindow),
            help="What becomes of a rest at the end.  [default: move_back]",
        ),
        "layer": click.option(
            "--layer", type=opt.choice(Layer), default="pooled", show_default=True, help="Which."
        ),
        "dtype": click.option(
            "--dtype", type=opt.choice(FloatType), help="Of the numbers.  [default: the recipe's]"
        ),
    },
)
@opt.views(help_text="Clips and crops of each window, averaged")
@opt.fps
@opt.how
@click.option("--recursive", "-r", is_flag=True, help="Also search the folders inside folders.")
@click.option(
    "--format", "form", type=opt.choice(FeatureFormat), help="Of the files.  [default: the recipe's; npz]"
)
@shards.option
@opt.overwrite
@click.option("--compare", nargs=2, type=FILE, metavar="A B", help="Compare two files instead, row by row.")
@opt.as_json
def features_command(
    paths: tuple[str, ...],
    names: str | None,
    out: Path | None,
    recipe: RecipeName,
    model: ModelRef | None,
    wishes: dict[str, Any],
    views: Any,
    fps: float | None,
    how: dict[str, Any],
    recursive: bool,
    form: FeatureFormat | None,
    shard: Shard | None,
    overwrite: bool,
    compare: tuple[Path, Path] | None,
    as_json: bool,
) -> None:
    """Writes a vector for each window of videos, a file per video; or compares two files.

    Files that are there and whole are left as they are, so that the same command, started several times on
    as many GPUs or machines, shares a folder. Beside the vectors every file, or a .json beside it, says all
    that decides about them. The exit status is 1 if a video failed, or a row differs.
    """
    if compare:
        from slowfast_zoo.inference.features.files import compare_features

        found = compare_features(*compare)
        opt.echo_report(found, as_json)
        raise click.exceptions.Exit(int(found.first_difference is not None or found.rows[0] != found.rows[1]))
    if out is None or (not paths and names is None):
        raise click.UsageError("Name videos and a folder with --out, or two files with --compare.")
    published = find_recipe(recipe)
    form = form or (published.format if published else "npz")
    found_videos = find_videos([*paths, *listed(names)], recursive, Counter())
    folder = _Folder(out, form, found_videos.sources, overwrite)
    found_videos = found_videos.part(shard)
    folder.files = {source: folder.files[source] for source in found_videos.sources}
    for failure in found_videos.failures:
        folder.failed(failure.source, failure.error or "")
    if folder.files:
        from slowfast_zoo.inference.features.features import FeatureExtractor

        chosen = model or parse(published.model if published else DEFAULT_MODEL)
        options = {**wishes, "recipe": recipe, "views": views, "fps": fps, **prepared(how)}
        extractor = FeatureExtractor(chosen.load(), **options)
        extractor.settings |= chosen.origin()
        folder.fill(extractor)
    skipped = "".join(f", {what}: {count}" for what, count in sorted(found_videos.skipped.items()))
    echo(f"{folder.summary()}{skipped}", err=True)
    if folder.failures:
        raise click.exceptions.Exit(1)


class _Folder:
    """Where the features of many videos go.

    Args:
        path: the folder, which may be shared with others.
        form: of the files.
        sources: the videos.
        overwrite: whether finished files are made again.

    Attributes:
        files: what goes where, in an order of this process's own.
        failures: videos without features.

    Raises:
        InputError: it can't be written.
    """

    def __init__(self, path: Path, form: FeatureFormat, sources: list[Any], overwrite: bool) -> None:
        from slowfast_zoo.video.decoding.sources import display_name

        try:
            path.mkdir(exist_ok=True)
            check_writable(path / f"features.{form}")
        except OSError as error:
            raise InputError(f"'{path}' can't be written: {error.strerror or error}.") from error
        self._overwrite = overwrite
        stems = {source: Path(display_name(source)).stem or "video" for source in sources}
        common = Counter(stems.values())
        self.files = {
            source: path / f"{_name(display_name(source), stem, common[stem])}.{form}"
            for source, stem in stems.items()
        }
        self.written = self.there = self.others = self.failures = 0

    def fill(self, extractor: Any) -> None:
        """Makes what isn't there and nobody else is making.

        Raises:
            InputError: the disk is full, or gone; finished files are kept.
        """
        from slowfast_zoo.runtime.progress import Progress

        order = [*self.files.items()]
        random.Random(os.getpid()).shuffle(order)  # so that several processes begin in several places
        with Progress("features", len(order), unit="video", show=len(order) > 1) as bar:
            for source, path in order:
                self._make(extractor, source, path, alone=len(order) == 1)
                bar.step()

    def _make(self, extractor: Any, source: Any, path: Path, *, alone: bool) -> None:
        from slowfast_zoo.inference.features.files import is_finished
        from slowfast_zoo.video.decoding.sources import display_name

        name = display_name(source)
        with claimed(path) as free:
            if not free:
                self.others += 1
                return
            try:
                settings: Mapping[str, Any] = {**extractor.settings, "source": name}
                if not self._overwrite and is_finished(path, settings):
                    self.there += 1
                    return
                features = extractor(source, progress=alone)
            except SlowFastZooError as error:
                self.failed(name, str(error))
                return
            features.save(path)
            self.written += 1

    def failed(self, source: str, error: str) -> None:
        """A video without features."""
        echo(error if source in error else f"{source}: {error}", err=True)
        self.failures += 1

    def summary(self) -> str:
        """What became of all the videos, in one line."""
        parts = {"there already": self.there, "being made by others": self.others, "failed": self.failures}
        return ", ".join(
            [f"{self.written} written", *(f"{count} {what}" for what, count in parts.items() if count)]
        )


def _name(source: str, stem: str, count: int) -> str:
    """The video's, with its path's hash where several are called the same."""
    return stem if count == 1 else f"{stem}-{hashlib.sha256(source.encode()).hexdigest()[:8]}"
