"""``slowfast-zoo features``: videos in, a file of vectors for each; or two such files compared."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from slowfast_zoo.cli import options as opt
from slowfast_zoo.cli.models import model_option
from slowfast_zoo.cli.options import FILE, NEW_FOLDER, command, prepared
from slowfast_zoo.cli.videos import sources
from slowfast_zoo.cli.videos.answers import Target, common_stems, opened_folder, stem_of
from slowfast_zoo.cli.videos.sources import Videos
from slowfast_zoo.errors import NO_VIDEOS_FAULT, InputError, SlowFastZooError
from slowfast_zoo.files import claimed
from slowfast_zoo.inference.features.recipes import (
    FeatureFormat,
    FloatType,
    Layer,
    RecipeName,
    find_recipe,
)
from slowfast_zoo.naming import DEFAULT_MODEL, ModelRef, parse
from slowfast_zoo.spec import LastWindow

_SECONDS: dict[str, Any] = {"type": click.FloatRange(0, min_open=True), "metavar": "SECONDS"}


@command(
    "features",
    "features films/ --out features/ --model slowfast_r50_8x8x1 --hop 0.5",
    "features videos/ -r --out features/ --recipe qvhighlights",
    "features --from names.txt --out features/ --recipe ego4d --format npz",
    'features films/ -r --out features/ --shard "$SLURM_ARRAY_TASK_ID/16"',
    "features --compare mine/v1.npz theirs/v1.npz",
)
@sources.videos(required=False)
@click.option("--out", type=NEW_FOLDER, help="The folder to write to, a file per video, named as it.")
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
        "window_seconds": click.option(
            "--window", "window_seconds", **_SECONDS, help="Length of a window.  [default: a clip's]"
        ),
        "hop_seconds": click.option(
            "--hop",
            "hop_seconds",
            **_SECONDS,
            help="From one window to the next.  [default: a window's length]",
        ),
        "last": click.option(
            "--last",
            type=opt.choice(LastWindow),
            help="What becomes of a rest at the end.  [default: move_back]",
        ),
        "layer": click.option(
            "--layer",
            type=opt.choice(Layer),
            default="pooled",
            show_default=True,
            help="What a vector holds; maps aren't averaged over the picture.",
        ),
        "dtype": click.option(
            "--dtype", type=opt.choice(FloatType), help="Type of the numbers.  [default: the recipe's]"
        ),
    },
)
@opt.views(help_text="Clips and crops of each window, averaged")
@opt.fps
@opt.how_in_floats
@click.option(
    "--format",
    "form",
    type=opt.choice(FeatureFormat),
    help="Format of the files.  [default: the recipe's; npz]",
)
@opt.overwrite
@click.option("--compare", nargs=2, type=FILE, metavar="A B", help="Compare two files instead, row by row.")
@click.option("--json", "as_json", is_flag=True, help="Print what --compare finds as JSON.")
def features_command(
    videos: Videos,
    out: Path | None,
    recipe: RecipeName,
    model: ModelRef | None,
    wishes: dict[str, Any],
    views: Any,
    fps: float | None,
    how: dict[str, Any],
    form: FeatureFormat | None,
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
        if videos.given or opt.typed(but=("paths", "compare", "as_json")):
            raise click.UsageError(
                "--compare looks at its two files alone; leave out videos and options other than --json."
            )
        from slowfast_zoo.inference.features.files import compare_features

        result = compare_features(*compare)
        opt.echo_report(result, as_json)
        differ = result.first_difference is not None or result.rows[0] != result.rows[1]
        raise click.exceptions.Exit(int(differ))
    if out is None or not videos.given:
        raise click.UsageError("Name videos and a folder with --out, or two files with --compare.")
    if as_json:
        raise click.UsageError("--json is how --compare answers; features are written to --out.")
    published = find_recipe(recipe)
    form = form or (published.format if published else "npz")
    found = videos.find()
    target = _Folder(out, form, found.sources, overwrite)
    found = found.part(videos.shard)
    target.files = {source: target.files[source] for source in found.sources}
    for failure in found.failures:
        target.failed(failure.source, failure.error or "")
    if target.files:
        from slowfast_zoo.inference.features.features import FeatureExtractor

        chosen = model or parse(published.model if published else DEFAULT_MODEL)
        options = {**wishes, "recipe": recipe, "views": views, "fps": fps, **prepared(how)}
        extractor = FeatureExtractor(chosen.load(), **options)
        extractor.settings |= chosen.origin()
        target.fill(extractor)
    target.end(found)


class _Folder(Target):
    """Where the features of many videos go.

    Args:
        path: the folder, which may be shared with others.
        form: of the files.
        sources: the videos.
        overwrite: whether finished files are made again.

    Attributes:
        files: what goes where, in an order of this process's own.

    Raises:
        InputError: it can't be written.
    """

    def __init__(self, path: Path, form: FeatureFormat, sources: list[Any], overwrite: bool) -> None:
        super().__init__(opened_folder(path, f"features.{form}"), form)
        self._overwrite = overwrite
        common = common_stems(sources)
        plain = {source: path / f"{stem_of(source)}.{form}" for source in sources}
        self.files = {
            source: path / f"{stem_of(source, hashed=True)}.{form}"
            if stem_of(source) in common and not _is_of(source, file)
            else file
            for source, file in plain.items()
        }
        self.there = self.others = 0

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
        from slowfast_zoo.inference.features.features import identity
        from slowfast_zoo.inference.features.files import is_finished
        from slowfast_zoo.video.sources.names import display_name

        name = display_name(source)
        with claimed(path) as free:
            if not free:
                self.others += 1
                return
            try:
                settings: Mapping[str, Any] = extractor.settings | identity(source)
                if not self._overwrite and is_finished(path, settings):
                    if hasattr(source, "read"):
                        raise InputError(
                            f"'{path}' is there, and standard input has no name to tell whether it is its"
                            " own: give --overwrite, or another folder."
                        )
                    self.there += 1
                    return
            except SlowFastZooError as error:
                self.failed(name, str(error))
                return
            if not alone:
                extractor.runner(None)  # what it refuses is no video's fault
            try:
                features = extractor(source, progress=alone)
            except NO_VIDEOS_FAULT:
                raise
            except SlowFastZooError as error:
                self.failed(name, str(error))
                return
            features.save(path)
            self.answered += 1

    def summary(self) -> str:
        """What became of all the videos, in one line."""
        parts = {"there already": self.there, "being made by others": self.others, "failed": self.failures}
        return f"{self.path}: " + ", ".join(
            [f"{self.answered} written", *(f"{count} {what}" for what, count in parts.items() if count)]
        )


def _is_of(source: Any, path: Path) -> bool:
    """Whether a finished file is this video's, as where it was the only one of its name."""
    from slowfast_zoo.inference.features.features import identity
    from slowfast_zoo.inference.features.files import is_finished

    try:
        return is_finished(path, identity(source))
    except InputError:
        return False
