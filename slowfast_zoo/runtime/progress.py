"""How far a long piece of work is: a bar on a terminal and in notebooks, elsewhere a line every so often."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Self, TypeVar

from slowfast_zoo.errors import plural

_Item = TypeVar("_Item")
_EVERY_SECONDS = 30.0


class Progress:
    """Counts pieces of work and shows them on stderr; to be used in a ``with`` statement."""

    def __init__(
        self, title: str, total: int | None, *, done: int = 0, unit: str = "clip", show: bool = True
    ) -> None:
        """
        Args:
            title: what is being done.
            total: pieces in all; None: nobody knows.
            done: pieces done before.
            unit: what a piece is called.
            show: whether to show anything.
        """
        from tqdm.auto import tqdm

        hidden = None if show else True  # None: off where stderr is no terminal; notebooks have their own
        self._bar: Any = tqdm(desc=title, total=total, initial=done, unit=unit, disable=hidden, leave=False)
        self._lines = show and bool(self._bar.disable)
        self._title, self._total, self._unit, self._done = title, total, unit, done
        self._told = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def step(self, count: int = 1, note: str = "") -> None:
        """So many pieces more are done; the note is shown after them."""
        self._done += count
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(count)
        if self._lines and time.monotonic() - self._told >= _EVERY_SECONDS:
            self._told = time.monotonic()
            total = "" if self._total is None else f" of {self._total}"
            self.tell(f"{self._done}{total} {plural(self._unit)}" + (f", {note}" if note else ""))

    def tell(self, text: str) -> None:
        """A line that stays, wherever progress is shown."""
        if self._lines:
            sys.stderr.write(f"{self._title}: {text}\n")
            sys.stderr.flush()
        elif not self._bar.disable:
            self._bar.write(f"{self._title}: {text}", file=sys.stderr)


def shown(
    items: Iterable[_Item], title: str, total: int, *, unit: str = "clip", show: bool = True
) -> Iterator[_Item]:
    """The items, and how many of them have been taken."""
    with Progress(title, total, unit=unit, show=show) as progress:
        for item in items:
            yield item
            progress.step()
