"""The command line ``slowfast-zoo``: one module per room, no torch before a command needs it."""

from __future__ import annotations

import logging
import re

import click

from slowfast_zoo import __version__
from slowfast_zoo.cli.benchmark import benchmark_command
from slowfast_zoo.cli.catalog import describe_command, list_command
from slowfast_zoo.cli.data import cache_command, check_command, split_command
from slowfast_zoo.cli.doctor import doctor_command
from slowfast_zoo.cli.export import export_command
from slowfast_zoo.cli.finetune import finetune_command, report_command
from slowfast_zoo.cli.options import echo, printable
from slowfast_zoo.cli.predict import predict_command
from slowfast_zoo.cli.render import render_command
from slowfast_zoo.cli.test import test_command
from slowfast_zoo.cli.train import train_command
from slowfast_zoo.cli.verify import verify_command
from slowfast_zoo.cli.weights import convert_command, download_command, publish_command, push_command
from slowfast_zoo.errors import SlowFastZooError


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        """Runs a command; an error of the library becomes one sentence and exit status 1, Ctrl-C 130."""
        try:
            return super().invoke(ctx)
        except SlowFastZooError as error:
            command = self.commands.get(ctx.invoked_subcommand or "")
            raise click.ClickException(printable(_in_options(str(error), command))) from error
        except KeyboardInterrupt:
            command = self.commands[ctx.invoked_subcommand or ""]
            can_resume = any(option.name == "resume" for option in command.params)
            hint = " The same command with --resume goes on." if can_resume else ""
            echo(f"\nInterrupted.{hint}", err=True)
            raise click.exceptions.Exit(130) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Every command with its whole first sentence."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.commands[name].get_short_help_str()) for name in self.commands])


def _in_options(sentence: str, command: click.Command | None) -> str:
    """The library's sentence with arguments as the command spells them: "--fps" for "fps="."""
    spelled = {
        name: next(spelling for spelling in option.opts if spelling.startswith("--"))
        for option in (command.params if command else ())
        if isinstance(option, click.Option) and any(opt.startswith("--") for opt in option.opts)
        for name in (option.name, *(opt.lstrip("-").replace("-", "_") for opt in option.opts))
    }
    return re.sub(r"\b(\w+)=(?=[\s.,;:)]|$)", lambda found: spelled.get(found[1], found[0]), sentence)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
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
    logging.basicConfig(format="%(levelname)s: %(message)s")
    logging.getLogger("slowfast_zoo").setLevel(logging.INFO if verbose else logging.WARNING)


for _command in (
    list_command,
    describe_command,
    predict_command,
    train_command,
    test_command,
    finetune_command,
    report_command,
    check_command,
    split_command,
    cache_command,
    render_command,
    verify_command,
    download_command,
    convert_command,
    push_command,
    publish_command,
    export_command,
    benchmark_command,
    doctor_command,
):
    main.add_command(_command)
