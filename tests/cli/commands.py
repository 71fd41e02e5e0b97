"""Commands as they are typed."""

from __future__ import annotations

from click.testing import CliRunner, Result

from slowfast_zoo.cli import main


def invoke(*arguments: object, stdin: bytes | None = None, charset: str = "utf-8") -> Result:
    """What a command answers, on a terminal of that encoding, however it ends."""
    return CliRunner(charset=charset).invoke(main, [str(argument) for argument in arguments], input=stdin)


def run(*arguments: object, status: int = 0) -> Result:
    """What a command answers that ends with this status."""
    result = invoke(*arguments)
    assert result.exit_code == status, result.output
    return result
