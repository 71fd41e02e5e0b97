"""``--shard 3/16``: a part of the videos, so that as many processes as there are parts share the work."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import click

from slowfast_zoo.errors import InputError


@dataclasses.dataclass(frozen=True)
class Shard:
    """One of the parts that videos fall into by their names, whatever else is named with them."""

    number: int
    """From 1."""
    count: int

    def has(self, source: object) -> bool:
        """Whether a video, or what was meant as one, belongs to this part.

        Raises:
            InputError: it has no name.
        """
        from slowfast_zoo.inference.inputs import source_hash

        if not isinstance(source, (str, Path)):
            raise InputError("--shard parts videos by their names, and standard input has none.")
        return int(source_hash(source)[:16], 16) % self.count == self.number - 1

    def file(self, path: Path) -> Path:
        """Where this part's results go."""
        return path.with_name(f"{path.stem}-{self.number:05}-of-{self.count:05}{path.suffix}")


class _ShardType(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases
    name = "shard"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shard:
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", str(value))
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            self.fail(f"'{value}' is no part such as 3/16: parts are counted from 1, to 16/16.", param, ctx)
        return Shard(int(found[1]), int(found[2]))


option = click.option(
    "--shard",
    type=_ShardType(),
    metavar="I/N",
    help="Only part I of N of the videos; result files of many videos have I and N in their names.",
)
