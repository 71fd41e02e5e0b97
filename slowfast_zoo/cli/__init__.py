"""The command line ``slowfast-zoo``: a table of commands, each loaded from its file when it is called.

A new command is a function ``NAME_command`` in the file of its group and a line in the table;
``options.py`` and ``models.py`` are what the commands share.
"""

from __future__ import annotations

import contextlib
import errno
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from slowfast_zoo import __version__
from slowfast_zoo.errors import SlowFastZooError, printable
from slowfast_zoo.runtime.machine import exiting_on_signals

COMMANDS = {
    "weights": {
        "list": "Lists the models and their weights, those of pretrained=True with a star.",
        "describe": "Says what MODEL reads, costs and scored.",
        "download": "Fetches and verifies the publisher's file of MODEL, a NAME or NAME:TAG.",
        "convert": "Turns a publisher's file or another MODEL into a FOLDER that every command takes.",
        "export": "Writes a model to OUT, with a JSON contract, reference frames and the proof beside it.",
        "push": 'Publishes a saved model\'s FOLDER as the Hub repository REPO_ID ("owner/name").',
        "publish": "For maintainers: converts every published weight and publishes it under ORGANIZATION.",
    },
    "videos.predict": {
        "predict": "Names what happens in videos: files, URLs, folders, patterns, - for standard input.",
    },
    "videos.render": {
        "render": "Draws the answer for VIDEO into OUT.",
    },
    "videos.time": {
        "timeline": "Says what happens when in videos: segments with start and end, as a table, subtitles"
        " or other files.",
        "watch": "Says what happens now in front of a camera, in a stream or in a pipe, until Ctrl-C.",
        "test-segments": "Scores segments by ActivityNet's rule: PREDICTIONS against ANNOTATIONS, both in its"
        " JSON.",
    },
    "videos.detect": {
        "detect": "Says who does what in videos: persons' boxes in key frames, and their actions.",
    },
    "videos.features": {
        "features": "Writes a vector for each window of videos, a file per video; or compares two files.",
    },
    "data": {
        "check": "Looks for what is wrong with DATA: a folder or list, or several (train, val, test).",
        "split": "Divides DATA into OUT/train.csv and OUT/val.csv; clips of one source stay together.",
        "cache": "Copies DATA to OUT so that it reads fast: shorter side 256, many key frames.",
    },
    "finetune": {
        "finetune": "Trains a model for the classes of DATA: a folder with a folder per class, or a list.",
        "report": "Draws the curves and the confusion matrix of the training in FOLDER, finished or not.",
    },
    "train": {
        "train": "Trains by a RECIPE on DATA: training data, then validation data.",
        "test": "Scores a model on DATA, a folder or a list.",
    },
    "persons": {
        "test-detections": "Scores persons' actions by AVA's frame mAP: PREDICTIONS against ANNOTATIONS, both"
        " in its CSV.",
    },
    "web": {
        "web": "Opens a page in the browser: a video in, bars, a timeline that moves the player, what the"
        " network saw.",
    },
    "machine": {
        "verify": "Replays every stage from a video to logits and compares it with stored references.",
        "benchmark": "Times a model on this machine in videos per second; with a VIDEO, the reading too.",
        "doctor": "Says what this machine has and what works.",
    },
}
"""The commands of each file, with the first sentence of their help: so '--help' loads none of them."""


class _Group(click.Group):
    def main(self, *args: Any, **options: Any) -> Any:
        """Runs the program; on Windows too, commands get patterns as they were typed.

        Output that can't be written, as on a full disk, becomes one sentence and exit status 1.
        """
        try:
            with exiting_on_signals():
                return super().main(*args, **{"windows_expand_args": False, **options})
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
            what = "The output can't be" if error.filename is None else f"'{error.filename}' can't be read or"
            click.echo(f"Error: {what} written: {error.strerror}.", err=True)
            with contextlib.suppress(OSError, AttributeError):  # without standard output it is None
                sys.stdout.close()  # or Python tries again at its end
            sys.exit(1)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Loads the command that is called."""
        name, found, rest = super().resolve_command(ctx, args)
        for file, sentences in COMMANDS.items():
            if name in sentences and found is not None and found.callback is None:
                module = import_module(f"{__name__}.{file}")
                found = self.commands[name] = getattr(module, f"{name.replace('-', '_')}_command")
        return name, found, rest

    def invoke(self, ctx: click.Context) -> object:
        """Runs a command; an error of the library becomes one sentence and exit status 1, Ctrl-C 130."""
        try:
            return super().invoke(ctx)
        except SlowFastZooError as error:
            from slowfast_zoo.cli.options import in_options

            command = self.commands.get(ctx.invoked_subcommand or "")
            raise click.ClickException(printable(in_options(str(error), command))) from error
        except KeyboardInterrupt:
            given = ctx.obj or {}
            can_resume = "resume" in given and given.get("out", "") is not None
            can_resume = can_resume and "-" not in (given.get("paths") or ())
            begun = [Path(given[name]) for name in ("out", "work_dir") if given.get(name)]
            can_resume = can_resume and all(map(_has_content, begun))
            hint = " The same command with --resume goes on." if can_resume else ""
            click.echo(f"\nInterrupted.{hint}", err=True)
            raise click.exceptions.Exit(130) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the table's order."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Every command with its whole first sentence."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.commands[name].get_short_help_str()) for name in self.commands])


def _has_content(place: Path) -> bool:
    """Whether a file is there, or a folder with a visible file."""
    with contextlib.suppress(OSError):
        return place.is_file() or any(not path.name.startswith(".") for path in place.iterdir())
    return False


@click.group(
    cls=_Group,
    commands=[
        click.Command(name, short_help=sentence)
        for sentences in COMMANDS.values()
        for name, sentence in sentences.items()
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="slowfast-zoo")
@click.option("-v", "--verbose", is_flag=True, help="Also show what the library notes on its way.")
def main(verbose: bool) -> None:
    """SlowFast video networks: list, download, predict, train, evaluate, export.

    A MODEL is a name of 'slowfast-zoo list', NAME:TAG for others of its weights, a publisher's own config
    name, a folder that a training or 'convert' wrote, or a checkpoint file of any publisher. It is --model
    everywhere; 'describe', 'download' and 'convert' take it as their first argument.

    Names complete with the tabulator: eval "$(_SLOWFAST_ZOO_COMPLETE=bash_source slowfast-zoo)", or
    zsh_source, fish_source.
    """
    import logging

    logging.basicConfig(format="%(levelname)s: %(message)s")
    logging.getLogger("slowfast_zoo").setLevel(logging.INFO if verbose else logging.WARNING)
