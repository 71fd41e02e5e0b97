"""MODEL on the command line: the option, the argument and their completion; ``naming`` says what it means."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from slowfast_zoo.errors import InputError
from slowfast_zoo.naming import DEFAULT_MODEL, parse
from slowfast_zoo.weights.catalog import list_models, list_weights

F = TypeVar("F", bound=Callable[..., Any])
HELP = "A name, NAME:TAG, a publisher's config name, a saved folder, or a checkpoint file"


class ModelType(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases
    """MODEL as a click type: completes names, and in zsh and fish tags after a colon.

    bash takes the colon for the end of a word, and completes no tags.
    """

    name = "MODEL"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Names that begin so, tags after NAME:, else files."""
        name, colon, _ = incomplete.partition(":")
        if colon and name in list_models():
            choices = [f"{name}:{row.tag}" for row in list_weights(name)]
        else:
            choices = list_models()
        items = [CompletionItem(choice) for choice in choices if choice.startswith(incomplete)]
        return items or [CompletionItem(incomplete, type="file")]


_LIKE = click.option(
    "--like",
    metavar="NAME[:TAG]",
    type=ModelType(),
    help="Whose network and input a checkpoint file has, where it doesn't say.",
)


def model_option(
    *, default: str | None = DEFAULT_MODEL, required: bool = False, help_text: str = HELP
) -> Callable[[F], F]:
    """``--model`` and ``--like``; the command gets both as ``model: ModelRef`` (None: not given)."""

    def decorate(command: F) -> F:
        given: dict[str, Any] = {} if default is None else {"default": default}  # None is a value to click
        option = click.option(
            "--model",
            type=ModelType(),
            required=required,
            show_default=default is not None,
            help=f"{help_text}.",
            **given,
        )
        return option(_LIKE(_joined(command)))

    return decorate


def model_argument(command: F) -> F:
    """MODEL as the first argument, and ``--like``, for commands that are about a model only."""
    return click.argument("model", type=ModelType())(_LIKE(_joined(command)))


def _joined(command: F) -> F:
    @functools.wraps(command)
    def with_model(*, model: str | None, like: str | None, **options: Any) -> Any:
        if model is None and like is not None:
            raise InputError("--like says whose network the file of --model has: give --model too.")
        return command(model=None if model is None else parse(model, like), **options)

    return with_model  # type: ignore[return-value]  # click calls it by names


def check_random(freeze_up_to: str | None, thaw_at: float) -> None:
    """Refuses to freeze parts of a training that starts from random weights, unless they learn later.

    Raises:
        InputError: says what to start from.
    """
    if freeze_up_to is not None and thaw_at == 1:
        raise InputError(
            f"--freeze {freeze_up_to} would leave random weights as they are: start from trained ones"
            " (--model, without --from-scratch), or let them learn later (--set thaw_at=0.3)."
        )
