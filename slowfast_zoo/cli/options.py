"""What the commands share: how they are made, their options, and how text reaches a terminal."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import click

from slowfast_zoo.data import Form
from slowfast_zoo.errors import DataError
from slowfast_zoo.inference.engines import EngineName
from slowfast_zoo.runtime.precision import Precision
from slowfast_zoo.spec import NamedViews

if TYPE_CHECKING:
    from slowfast_zoo.data.dataset import ClipDataset, VideoDataset
    from slowfast_zoo.data.lists import ReadOptions
    from slowfast_zoo.data.motion.clips import MotionClips
    from slowfast_zoo.network.slowfast import SlowFast
    from slowfast_zoo.spec import ClipSpec
    from slowfast_zoo.training.recipe import Recipe

Purpose = Literal["train", "validate", "test"]
CAMERA_MOTION = "camera-motion"
"""What names the procedural dataset where data is asked for."""
_TRAINING_CLIPS, _HELD_OUT_CLIPS = 1_000_000, 1000
_PLAIN_SHARE = 0.4
"""Plain clips among those for training; held-out ones cover the whole range."""
_HELD_OUT_SEED = 1_000_003

F = TypeVar("F", bound=Callable[..., Any])
NEW_FILE = click.Path(path_type=Path, dir_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
FOLDER = click.Path(path_type=Path, file_okay=False)
GROUP_HELP = "What keeps clips together: folder, column:NAME, or a regular expression on the path."
# What a terminal would obey or hide: control characters but line breaks and tabs, lone surrogates (file
# names that aren't UTF-8), and what turns the direction of the text.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """The text with escapes such as ``\\u001b``, as in JSON, for what a terminal would obey."""
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def echo(text: object, *, err: bool = False) -> None:
    """Prints a line of anything's text: names and labels of strangers can't steer or break the terminal."""
    stream = sys.stderr if err else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    click.echo(printable(str(text)).encode(encoding, "backslashreplace").decode(encoding), err=err)


class Command(click.Command):
    """A command with examples, whose first sentence is shown whole in the list of commands."""

    examples: Sequence[str] = ()

    def get_short_help_str(self, limit: int = 0) -> str:
        """The first paragraph of the help, whatever its length."""
        return " ".join((self.help or "").split("\n\n")[0].split())

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Adds the examples, a line each."""
        if self.examples:
            with formatter.section("Examples" if len(self.examples) > 1 else "Example"):
                formatter.write("".join(f"  slowfast-zoo {example}\n" for example in self.examples))


def command(
    name: str, *examples: str, cls: type[Command] = Command
) -> Callable[[Callable[..., Any]], Command]:
    """A command of that name.

    Args:
        name: behind ``slowfast-zoo``.
        examples: whole command lines without ``slowfast-zoo``, for ``--help``.
        cls: how it reads its arguments.
    """

    def decorate(function: Callable[..., Any]) -> Command:
        made = click.command(name, cls=cls)(function)
        made.examples = examples
        return made

    return decorate


class ViewsType(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases
    """quick, published, or clips x crops such as 10x3, as ``predict`` takes them."""

    name = "views"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What the help shows."""
        return f"[{'|'.join(get_args(NamedViews))}|CLIPSxCROPS]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | tuple[int, int]:
        """A word, or the counts of clips and crops."""
        if not isinstance(value, str) or value.lower() in get_args(NamedViews):
            return value.lower() if isinstance(value, str) else value
        counts = re.fullmatch(r"(\d{1,6})[xX\u00d7](\d{1,6})", value)
        if counts is None:
            self.fail(f"'{value}' is neither quick nor published nor CLIPSxCROPS, such as 10x3.", param, ctx)
        return int(counts[1]), int(counts[2])


def choice(literal: Any) -> click.Choice[str]:
    """The values of a ``Literal`` as a choice."""
    return click.Choice(get_args(literal))


def views_option(default: str = "quick", help_text: str = "Clips and crops to look at") -> Callable[[F], F]:
    """``--views``: "quick", "published" or a pair (clips, crops)."""
    return click.option("--views", type=ViewsType(), default=default, show_default=True, help=f"{help_text}.")


device_option = click.option(
    "--device", metavar="DEVICE", help="cpu, cuda, cuda:1 or mps.  [default: a GPU if there is one]"
)
engine_option = click.option(
    "--engine", type=choice(EngineName), default="auto", show_default=True, help="What runs the network."
)
precision_option = click.option(
    "--precision",
    type=choice(Precision),
    default="float32",
    show_default=True,
    help="Of the network's arithmetic; the others are faster and rounded.",
)
fps_option = click.option(
    "--fps", type=click.FloatRange(0, min_open=True), help="Frame rate, instead of what the files say."
)
threads_option = click.option(
    "--threads", type=click.IntRange(1), help="Processor threads.  [default: what this process may use]"
)


def set_threads(threads: int | None) -> None:
    """torch's threads: so many; None: at most what this process may use, by affinity and cgroup."""
    import torch

    from slowfast_zoo.runtime.machine import usable_cpus

    torch.set_num_threads(threads or min(torch.get_num_threads(), usable_cpus()))


json_option = click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
overwrite_option = click.option("--overwrite", is_flag=True, help="Write over what is there.")


def topk_option(default: int = 5) -> Callable[[F], F]:
    """``--topk``: how many classes to give for each video."""
    return click.option(
        "--topk",
        type=click.IntRange(1),
        default=default,
        show_default=True,
        help="Classes to give for each video.",
    )


def out_option(help_text: str) -> Callable[[F], F]:
    """``--out``: a file to write, whose folder must exist: known before the work, not behind it."""

    def check(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
        if value is not None and not value.absolute().parent.is_dir():
            raise click.BadParameter(f"there is no folder '{value.absolute().parent}'.", ctx, param)
        return value

    return click.option("--out", type=NEW_FILE, callback=check, help=help_text)


def data_options(command: F) -> F:
    """The options that say how a dataset is written down; they arrive as ``reading: ReadOptions``."""
    names = ("form", "root", "labels", "separator", "multi_label", "frame_pattern", "fps")

    @functools.wraps(command)
    def with_reading(**options: Any) -> Any:
        return command(reading={name: options.pop(name) for name in names}, **options)

    decorated: Any = with_reading
    for option in (
        click.option("--fps", type=float, help="Frame rate of folders of frames."),
        click.option("--frames", "frame_pattern", metavar="PATTERN", help="Such as img_{:05}.jpg."),
        click.option(
            "--multi-label/--single-label", default=None, help="Whether a clip may have several classes."
        ),
        click.option("--separator", help="Between the fields of a list."),
        click.option(
            "--labels", type=FILE, help="Class names: one a line, '1 name', id,name, JSON or pbtxt."
        ),
        click.option("--root", type=FOLDER, help="Where relative paths begin."),
        click.option(
            "--form",
            type=choice(Form),
            help="Of a list, by default what it looks like: a header path,label above 'clips/a.mp4,jump'"
            " (table); 'clips/a.mp4 0' (videos); 'frames/a 300 0' (rawframes).",
        ),
    ):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def open_data(
    source: str,
    clip_spec: ClipSpec,
    purpose: Purpose,
    *,
    reading: ReadOptions | None = None,
    like: ClipDataset | SlowFast | None = None,
    recipe: Recipe | None = None,
) -> VideoDataset | MotionClips:
    """The dataset of that name or path.

    Args:
        source: "camera-motion", a folder or a list.
        clip_spec: how its videos become clips.
        purpose: "train": random clips; "validate": one center clip; "test": the views of the spec.
        reading: how it is written down.
        like: training data or a model, whose classes it has to have; None: its own.
        recipe: says more about training clips.

    Raises:
        DataError: there is no such data, or it doesn't hold together.
    """
    if source == CAMERA_MOTION:
        from slowfast_zoo.data.motion.clips import MotionClips

        training = purpose == "train"
        return MotionClips(
            _TRAINING_CLIPS if training else _HELD_OUT_CLIPS,
            size=clip_spec.test_crop,
            num_frames=clip_spec.num_frames,
            fps=clip_spec.fps or 10.0,
            seed=0 if training else _HELD_OUT_SEED,
            plain=_PLAIN_SHARE if training else 0.0,
        )
    if not Path(source).exists():
        raise DataError(f"There is no dataset at {source}; give a folder or a list, or '{CAMERA_MOTION}'.")
    from slowfast_zoo.data.dataset import VideoDataset, open_dataset
    from slowfast_zoo.data.lists import read_annotations, read_like
    from slowfast_zoo.network.slowfast import SlowFast

    options: ReadOptions = {} if reading is None else reading
    if isinstance(like, VideoDataset):
        annotations = read_like(source, like.annotations, **options)
    else:
        annotations = read_annotations(source, **options)
        labels = getattr(like, "labels", None)
        if isinstance(like, SlowFast):
            annotations = annotations.with_classes(labels, like.spec.num_classes, of="the model")
        elif labels is not None:
            annotations = annotations.with_classes(labels, len(labels), of="the training data")
    if purpose != "train":
        return open_dataset(annotations, clip_spec, views="quick" if purpose == "validate" else "published")
    pairs = () if recipe is None else recipe.flip_pairs
    if recipe is not None and pairs and annotations.labels != recipe.labels:
        # Which of these classes a flip exchanges, nobody knows.
        pairs, clip_spec = (), clip_spec.replace(flip=0.0)
    return open_dataset(annotations, clip_spec, train=True, flip_pairs=pairs)
