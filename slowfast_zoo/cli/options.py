"""What the commands share: how they are made, their options, and how text reaches a terminal."""

from __future__ import annotations

import ast
import contextlib
import functools
import itertools
import json
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from slowfast_zoo import files
from slowfast_zoo.data import Form
from slowfast_zoo.data.persons import Unit
from slowfast_zoo.errors import InputError, SpecError, printable, text_without_secrets
from slowfast_zoo.inference.engines import EngineName
from slowfast_zoo.runtime.precision import EnginePrecision, Precision
from slowfast_zoo.spec import NamedViews

if TYPE_CHECKING:
    from slowfast_zoo.inference.engines.optimize import OptimizedModel
    from slowfast_zoo.network.slowfast import SlowFast

F = TypeVar("F", bound=Callable[..., Any])


class PathType(click.Path):
    """A path in which "~" is the user's folder also where no shell sees it, as after ``--out=``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, as ``click.Path`` has it."""
        if isinstance(value, str) and value.startswith("~"):
            value = str(files.expanded(value))
        return super().convert(value, param, ctx)


class NewFolderType(PathType):
    """A folder to write to; what would be named as a file, such as film.npz, has to be there already."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, as ``click.Path`` has it."""
        path = Path(super().convert(value, param, ctx))
        if path.suffix.lower() in _FILE_ENDINGS and not path.is_dir():
            self.fail(
                f"'{path}' is named as a file, and a folder is written: leave out {path.suffix}.", param, ctx
            )
        return path


_FILE_ENDINGS = (
    *(".npz", ".npy", ".pt", ".pth", ".pyth", ".pkl", ".safetensors", ".onnx"),
    *(".csv", ".json", ".jsonl", ".txt", ".srt", ".vtt", ".eaf"),
)
PATH = PathType(path_type=Path)
NEW_FILE = PathType(path_type=Path, dir_okay=False)
FILE = PathType(path_type=Path, dir_okay=False, exists=True)
FOLDER = PathType(path_type=Path, file_okay=False)
NEW_FOLDER = NewFolderType(path_type=Path, file_okay=False)


def echo(text: object, *, err: bool = False) -> None:
    """Prints a line of anything's text: names and labels of strangers can't steer or break the terminal."""
    stream = sys.stderr if err else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    click.echo(printable(str(text)).encode(encoding, "backslashreplace").decode(encoding), err=err)


def echo_report(report: Any, as_json: bool, out: Path | None = None) -> None:
    """Prints what has a ``to_dict``, for people or as JSON, which a file can have as well."""
    text = json.dumps(report.to_dict(), indent=1)
    echo(text if as_json else report)
    if out is not None:
        files.write_bytes(out, f"{text}\n".encode())


def echo_json(values: Mapping[str, Any]) -> None:
    """Prints an object as one line, which is there at once also where it goes into a pipe."""
    text = printable(json.dumps(values, ensure_ascii=False))
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(values)
    echo(text)


def in_options(sentence: str, command: click.Command | None) -> str:
    """The library's sentence with arguments as the command spells them: "--fps 25" for "fps=25".

    What stands in a Python call stays, and an option that the sentence names itself isn't named twice.
    """
    spelled = {
        name: next(spelling for spelling in option.opts if spelling.startswith("--"))
        for option in (command.params if command else ())
        if isinstance(option, click.Option) and any(opt.startswith("--") for opt in option.opts)
        for name in (option.name, *(opt.lstrip("-").replace("-", "_") for opt in option.opts))
    }

    def spell(found: re.Match[str]) -> str:
        option = spelled.get(found[1])
        if option is None:  # or a whole call
            return found[0]
        values = (found[2] + found[3]).replace("'", "")
        again = found[4] if found[4] not in (None, f" ({option})", f" ({option} {values})") else ""
        return f"{option} {values}".rstrip() + again

    call = r"\w\((?:[^()]|\([^()]*\))*\)"
    argument = (
        r"\b(\w+)=('[^']*'|[0-9.]*[0-9]|)((?: or '[^']*')*)(?=[\s.,;:)]|$)( \(--[\w-]+(?: [\w.-]+)?\))?"
    )
    name = r"(?<![=\w])'[^']*'(?!\w)"  # of a file or the like, which stays what it is
    return re.sub(f"{call}|{name}|(?:--set )?{argument}", spell, sentence)


class Command(click.Command):
    """A command with examples, whose first sentence is shown whole in the list of commands."""

    examples: Sequence[str] = ()

    def invoke(self, ctx: click.Context) -> Any:
        """Runs it; the group knows what it was given when Ctrl-C ends it."""
        ctx.find_root().obj = ctx.params
        return super().invoke(ctx)

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
        name: after ``slowfast-zoo``.
        examples: whole command lines without ``slowfast-zoo``, for ``--help``.
        cls: how it reads its arguments.
    """

    def decorate(function: Callable[..., Any]) -> Command:
        made = click.command(name, cls=cls)(function)
        made.examples = examples
        return made

    return decorate


def bundle(
    name: str, options: Mapping[str, Callable[[Any], Any]], *, given_only: bool = False
) -> Callable[[F], F]:
    """Options whose values a command gets together, as one dictionary.

    Args:
        name: the command's parameter for the dictionary.
        options: what ``click.option`` gave for each key.
        given_only: leave out those that are None.
    """

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def bundled(**values: Any) -> Any:
            own = {key: values.pop(key) for key in options}
            if given_only:
                own = {key: value for key, value in own.items() if value is not None}
            return command(**{name: own}, **values)

        for option in reversed([*options.values()]):
            bundled = option(bundled)
        return bundled  # type: ignore[return-value]  # click calls it by names

    return decorate


def typed(names: Collection[str] | None = None, but: Collection[str] = ()) -> str:
    """Those of the command's parameters (None: of all) that were given, as they are spelled; "" for none."""
    context = click.get_current_context()
    return ", ".join(
        ((context.params.get(option.name or "") is False and option.secondary_opts) or option.opts)[0]
        for option in context.command.params
        if (names is None or option.name in names)
        and option.name not in but
        and context.get_parameter_source(option.name or "") is click.core.ParameterSource.COMMANDLINE
    )


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


class SizeType(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases
    """A side in pixels such as 256, or height x width such as 256x455, as ``export`` takes them."""

    name = "size"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What the help shows."""
        return "SIDE|HEIGHTxWIDTH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | tuple[int, int]:
        """One number, or the pair."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        sides = re.fullmatch(r"([1-9]\d{0,5})(?:[xX\u00d7]([1-9]\d{0,5}))?", value)
        if sides is None:
            self.fail(
                f"'{value}' is neither a side such as 256 nor HEIGHTxWIDTH such as 256x455.", param, ctx
            )
        return (int(sides[1]), int(sides[2])) if sides[2] else int(sides[1])


def choice(literal: Any) -> click.Choice[str]:
    """The values of a ``Literal`` as a choice."""
    return click.Choice(get_args(literal))


def views(default: str = "quick", help_text: str = "Clips and crops to look at") -> Callable[[F], F]:
    """``--views``: "quick", "published" or a pair (clips, crops)."""
    return click.option("--views", type=ViewsType(), default=default, show_default=True, help=f"{help_text}.")


def count(name: str, default: int, help_text: str, least: int = 1) -> Callable[[F], F]:
    """A whole number of at least ``least``, with its default shown."""
    kind = click.IntRange(least)
    return click.option(name, type=kind, default=default, show_default=True, help=help_text)


topk = count("--topk", 5, "Classes to give for each video.")
fps = click.option(
    "--fps", type=click.FloatRange(0, min_open=True), help="Frame rate, instead of what the files say."
)
device = click.option(
    "--device", metavar="DEVICE", help="cpu, cuda, cuda:1 or mps.  [default: a GPU if there is one]"
)


def _precision(literal: Any) -> Callable[[F], F]:
    text = "What the network computes in; the others are faster and rounded, tf32 and float16 for GPUs."
    return click.option("--precision", type=choice(literal), default="float32", show_default=True, help=text)


precision, engine_precision = _precision(Precision), _precision(EnginePrecision)
calibration = click.option(
    "--calibration",
    metavar="VIDEOS",
    help="For int8: a folder or pattern of videos of the kind that will come.",
)
min_agreement = click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    default=0.99,
    show_default=True,
    help="For int8: refused below this share of clips with float32's best class.",
)
threads = click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    help="Processor threads.  [default: what this process may use]",
)
_RUNS: dict[str, Callable[[Any], Any]] = {
    "device": device,
    "engine": click.option(
        "--engine", type=choice(EngineName), default="auto", show_default=True, help="What runs the network."
    ),
    "precision": precision,
    "threads": threads,
}
how_in_floats = bundle("how", _RUNS)
"""As ``how``, where there is no int8."""
how = bundle(
    "how",
    _RUNS | {"precision": engine_precision, "calibration": calibration, "min_agreement": min_agreement},
)
"""What runs a network, and where; ``prepared`` makes arguments of ``predict`` and the like from it."""


def use_threads(count: int | None) -> None:
    """So many of torch's threads; None: at most what this process may use, by affinity and cgroup."""
    import torch

    from slowfast_zoo.runtime.machine import usable_cpus

    torch.set_num_threads(count or min(torch.get_num_threads(), usable_cpus()))


def calibrated(how: Mapping[str, Any]) -> dict[str, str]:
    """What answers of int8 depend on beside the precision, as a setting of a result file; {} for others."""
    from slowfast_zoo.video.sources.names import is_url, local_path

    videos = how["calibration"]
    if videos is None:
        return {}
    return {
        "calibration": text_without_secrets(videos) if is_url(videos) else str(local_path(videos).absolute())
    }


def prepared(how: Mapping[str, Any], *, in_int8: bool = False) -> dict[str, Any]:
    """``device``, ``engine`` and ``precision`` as functions take them, with torch's threads set.

    Raises:
        InputError: there is no such device here.
    """
    from slowfast_zoo.runtime.devices import to_device

    if not in_int8 and (given := typed(["calibration", "min_agreement"])):
        raise InputError(f"{given}: for --precision int8, which is '{how['precision']}'.")
    use_threads(how["threads"])
    return {"device": to_device(how["device"]), "engine": how["engine"], "precision": how["precision"]}


def made_fast(
    load: Callable[[], SlowFast], how: Mapping[str, Any]
) -> tuple[SlowFast | OptimizedModel, dict[str, Any]]:
    """The model, and ``prepared``; for int8 what ``optimize`` makes of it, and nothing else to say.

    Args:
        load: gives the model, once it is known that this machine and these options can run one.
        how: what was asked for.

    Raises:
        SlowFastZooError: as ``optimize``.
    """
    if how["precision"] != "int8":
        options = prepared(how)
        return load(), options
    from slowfast_zoo.inference.engines.openvino.calibration import check_calibration
    from slowfast_zoo.inference.engines.optimize import optimize

    check_calibration("int8", how["calibration"], how["min_agreement"])
    options = prepared({**how, "precision": "float32", "device": how["device"] or "cpu"}, in_int8=True)
    fast = optimize(
        load(),
        options["engine"],
        "int8",
        device=options["device"],
        calibration=how["calibration"],
        min_agreement=how["min_agreement"],
    )
    echo(fast.agreement, err=True)
    return fast, {}


as_json = click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
overwrite = click.option("--overwrite", is_flag=True, help="Write over what is there.")
group_by = click.option(
    "--group-by",
    help="What keeps clips together: auto (what names suggest), folder, column:NAME, or a regular expression"
    " on the path.",
)
work_dir = click.option(
    "--work-dir",
    type=PATH,
    help="Folder for everything that is written.",
)
freeze = click.option(
    "--freeze",
    "freeze_up_to",
    metavar="PART",
    help="The last part that doesn't learn: stem, stage1 ... stage4.",
)
max_unreadable = click.option(
    "--max-unreadable",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Part of the clips that may be unreadable.",
)
tensorboard = click.option(
    "--tensorboard",
    is_flag=True,
    help="Write the log for TensorBoard too, to tensorboard in the work directory.",
)
resume = click.option(
    "--resume", is_flag=True, help="Continue where the training in the work directory stopped."
)


def check_apart(*paths: Path) -> None:
    """Refuses to write a file that another argument of the command names, to be read or to be written, and
    what would be a clip or a frame in a folder that one names.

    Raises:
        InputError: says which argument.
    """
    from slowfast_zoo.video.sources.names import PICTURE_SUFFIXES, VIDEO_SUFFIXES

    context = click.get_current_context()
    for option in context.command.params:
        given = context.params.get(option.name or "") if option.name != "out" else None
        for path, value in itertools.product(paths, given if isinstance(given, tuple) else (given,)):
            if not isinstance(value, (str, Path)) or value is path:
                continue
            name = option.opts[0] if isinstance(option, click.Option) else option.human_readable_name
            if files.is_same(path, value):
                raise InputError(f"'{path}' would be written, and {name} is the same file; name another one.")
            argument, folder = isinstance(option, click.Argument), files.kind_of(files.expanded(value))
            kind, there = path.suffix.lower(), files.kind_of(path) == "file"
            if argument and folder == "folder" and files.is_inside(path, value):
                beside = files.is_same(path.parent, value)
                if (there and kind in VIDEO_SUFFIXES) or (beside and kind in PICTURE_SUFFIXES):
                    raise InputError(f"'{path}' would be a clip or a frame of {name}; write elsewhere.")


def check_absent(*paths: Path, overwrite: bool) -> None:
    """Refuses to write over files, unless that is wanted, and over what the command reads.

    Raises:
        InputError: one of them exists, or another argument names it.
    """
    check_apart(*paths)
    if not overwrite and (there := next((path for path in paths if path.exists()), None)):
        raise InputError(f"'{there}' exists; give --overwrite to write over it, or another name.")


def check_ending(path: Path | None, form: str | None, endings: Mapping[Any, str]) -> None:
    """Refuses a file whose ending stands for another format than the one that was named.

    Args:
        path: the file; None: standard output.
        form: what ``--format`` says.
        endings: of each format.

    Raises:
        InputError: says both.
    """
    own = endings.get(form or "")
    if path is not None and own is not None and path.suffix.lower() in {*endings.values()} - {own}:
        raise InputError(
            f"'{path}' ends in {path.suffix}, and --format is {form}: leave out --format, or end the file in"
            f" {own}."
        )


def check_writable(path: Path) -> None:
    """Refuses a file that can't be written, before the work whose result goes there.

    Raises:
        InputError: it can't, or another argument names it.
    """
    check_apart(path)
    try:
        files.check_writable(path)
    except OSError as error:
        raise InputError(f"'{path}' can't be written: {error.strerror or error}.") from error


def out(help_text: str) -> Callable[[F], F]:
    """``--out``: a file to write, whose folder must exist: known before the work, not after it."""

    def check(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
        if value is not None and not value.absolute().parent.is_dir():
            raise click.BadParameter(f"there is no folder '{value.absolute().parent}'.", ctx, param)
        return value

    return click.option("--out", type=NEW_FILE, callback=check, help=help_text)


reading = bundle(
    "reading",
    {
        "form": click.option(
            "--form",
            type=choice(Form),
            help="Of a list, by default what it looks like: a header path,label above 'clips/a.mp4,jump'"
            " (table); 'clips/a.mp4 0' (videos); 'frames/a 300 0' (rawframes).",
        ),
        "root": click.option("--root", type=FOLDER, help="Where relative paths begin."),
        "labels": click.option(
            "--labels", type=FILE, help="Class names: one a line, '1 name', id,name, JSON or pbtxt."
        ),
        "separator": click.option("--separator", help="Between the fields of a list."),
        "multi_label": click.option(
            "--multi-label/--single-label", default=None, help="Whether a clip may have several classes."
        ),
        "frame_pattern": click.option(
            "--frames", "frame_pattern", metavar="PATTERN", help="Such as img_{:05}.jpg."
        ),
        "fps": click.option("--fps", type=float, help="Frame rate of folders of frames."),
    },
)
"""How a dataset is written down: ``reading``, a ``ReadOptions``."""


persons = bundle(
    "persons",
    {
        "excluded": click.option(
            "--excluded",
            type=FILE,
            multiple=True,
            help="Persons: frames that don't count: video,second; may be repeated.",
        ),
        "proposals": click.option(
            "--proposals",
            type=FILE,
            multiple=True,
            help="Persons: a detector's boxes, AVA's CSV or a .pkl; may be repeated.",
        ),
        "unit": click.option(
            "--unit", type=choice(Unit), help="Persons: of --proposals.  [default: normalized]"
        ),
        "begins_at": click.option(
            "--begins-at",
            type=float,
            help="Persons: the time in DATA at which videos begin; AVA: 900.",
        ),
    },
)
"""How a dataset of persons is written down, beside ``reading``: ``persons``, for ``read_persons``."""


def config(
    *, seed: str, epochs: str, batch_size: str, lr: str, precision: str, workers: str
) -> Callable[[F], F]:
    """Fields of a ``TrainConfig``, as ``config``: those that were given, which ``changes`` reads.

    Args:
        seed: its help, and so on.
    """
    return bundle(
        "config",
        {
            "seed": click.option("--seed", type=click.IntRange(0), help=seed),
            "epochs": click.option("--epochs", type=int, help=epochs),
            "batch_size": click.option("--batch-size", type=int, help=batch_size),
            "lr": click.option("--lr", type=float, help=lr),
            "precision": click.option("--precision", type=choice(Precision), help=precision),
            "workers": click.option("--workers", type=int, help=workers),
            "set": click.option(
                "--set",
                multiple=True,
                metavar="FIELD=VALUE",
                help="Any other field of TrainConfig: mixup=0.4, grad_clip=None; may be repeated:"
                " schedule=step with milestones=10,20.",
            ),
        },
        given_only=True,
    )


def changes(config: Mapping[str, Any], **others: Any) -> dict[str, Any]:
    """Fields of a ``TrainConfig`` and their values.

    Args:
        config: what the options of ``config`` give.
        others: fields that other options give; None: not given.

    Raises:
        SpecError: ``--set`` names no field and value, or a field that is given twice.
    """
    given = {name: value for name, value in others.items() if value is not None}
    found = {name: value for name, value in config.items() if name != "set"} | given
    for setting in config["set"]:
        name, equals, text = setting.partition("=")
        if not equals:
            raise SpecError(f"--set {setting} isn't FIELD=VALUE, such as clips_per_epoch=1000.")
        value = _parsed(text)
        if found.setdefault(name, value) != value:
            raise SpecError(f"{name} is given twice, as {found[name]} and as {text}; give it once.")
    return found


def _parsed(value: str) -> Any:
    """A value as JSON or Python writes it; else the text."""
    for read in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            parsed = read(value)
            return tuple(parsed) if isinstance(parsed, list) else parsed
    return value
