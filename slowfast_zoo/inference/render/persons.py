"""Persons on pictures: a box each, with name and actions, that follows its track between key frames."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
import statistics
from typing import TYPE_CHECKING, Any

from slowfast_zoo.inference.detect.detections import Box, Detections, Person
from slowfast_zoo.inference.render.drawing import ACCENT, PANEL, TEXT, fitted, font_of, resized

if TYPE_CHECKING:
    from PIL.Image import Image

    from slowfast_zoo.video.decoding.video import Frame

_COLORS = (ACCENT, (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0))
"""Of tracks: told apart by color-blind eyes too. Source: Okabe and Ito, https://jfly.uni-koeln.de/color/."""
_ALONE_SECONDS = 1.0
"""How long the persons of an only key frame are shown before and behind it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PersonsOverlay:
    """What is drawn on every frame of a video whose persons are known.

    A key frame's persons are shown from halfway since the one before to halfway to the next one, and no
    longer than key frames mostly lie apart. Who has the same track in both moves from one box to the other.

    Attributes:
        width: pixels of the drawn frame.
        height: pixels of the drawn frame.
        answer: the persons.
        topk: actions of each to write, best first.
    """

    width: int
    height: int
    answer: Detections
    topk: int

    def draw(self, frame: Frame, progress: float, seconds: float) -> Image:
        """The frame, uint8 RGB (H, W, 3), with the boxes of that time, in a player's seconds."""
        from PIL import Image, ImageDraw

        picture = resized(frame, self.width, self.height)
        shown = self.shown(seconds)
        layer = Image.new("RGBA", picture.size)
        draw = ImageDraw.Draw(layer)
        for person, box in shown:
            self._outline(draw, box, self._color(person))
        taken: list[Box] = []
        for person, box in shown:  # above every outline
            self._caption(draw, person, box, taken)
        picture.paste(layer, (0, 0), layer)
        return picture

    def shown(self, seconds: float) -> list[tuple[Person, Box]]:
        """The persons that are drawn at a time, each with its box as shares of width and height."""
        moments = self.answer.key_seconds
        if not moments:
            return []
        behind = bisect.bisect_right(moments, seconds)
        near = min(
            range(max(behind - 1, 0), min(behind + 1, len(moments))), key=lambda k: abs(moments[k] - seconds)
        )
        if abs(moments[near] - seconds) > self._reach:
            return []
        other = near + (1 if seconds >= moments[near] else -1)
        tracks = self._tracks(moments[other]) if 0 <= other < len(moments) else {}
        found = []
        for person in self._by_second.get(moments[near], ()):
            box, aim = person.normalized, tracks.get(person.track)
            if aim is not None:
                share = (seconds - moments[near]) / (moments[other] - moments[near])
                box = _between(box, aim.normalized, share)
            found.append((person, box))
        return found

    @functools.cached_property
    def _reach(self) -> float:
        moments = self.answer.key_seconds
        gaps = [later - sooner for sooner, later in itertools.pairwise(moments)]
        return statistics.median(gaps) if gaps else _ALONE_SECONDS

    @functools.cached_property
    def _by_second(self) -> dict[float, list[Person]]:
        found: dict[float, list[Person]] = {}
        for person in self.answer.persons:
            found.setdefault(person.seconds, []).append(person)
        return found

    def _tracks(self, moment: float) -> dict[str | None, Person]:
        persons = self._by_second.get(moment, ())
        return {person.track: person for person in persons if person.track is not None}

    @functools.cached_property
    def _order(self) -> dict[str | None, int]:
        tracks = dict.fromkeys(person.track for person in self.answer.persons if person.track is not None)
        return {track: number for number, track in enumerate(tracks)}

    def _color(self, person: Person) -> tuple[int, int, int]:
        return _COLORS[self._order.get(person.track, 0) % len(_COLORS)]

    @functools.cached_property
    def _text_size(self) -> int:
        return max(11, min(28, min(self.width, self.height) // 26))

    def _corners(self, box: Box) -> tuple[float, float, float, float]:
        """In pixels of the drawn frame, inside it."""
        x1, x2 = (min(max(x * self.width, 0), self.width - 1) for x in box[::2])
        y1, y2 = (min(max(y * self.height, 0), self.height - 1) for y in box[1::2])
        return x1, y1, x2, y2

    def _outline(self, draw: Any, box: Box, color: tuple[int, int, int]) -> None:
        thick = max(2, self._text_size // 7)
        draw.rectangle(self._corners(box), outline=(*color, 255), width=thick)

    def _caption(self, draw: Any, person: Person, box: Box, taken: list[Box]) -> None:
        """Name and actions above the box, or inside it where there is no room above; below other captions.

        Args:
            taken: where captions are, in pixels; this one is added.
        """
        size = self._text_size
        actions = [*zip(person.labels, person.scores, strict=True)][: self.topk]
        lines = [] if person.track is None else [(f"{person.track}", "")]
        lines += [(label, f"{score:.0%}") for label, score in actions]
        if not lines:
            return
        row, gap = round(size * 1.3), max(2, size // 3)
        widest = 0.45 * self.width
        numbers = max(font_of(size).getlength(number) for _, number in lines)
        texts = [(fitted(label, widest - numbers - 3 * gap, size), number) for label, number in lines]
        wide = max(font_of(size).getlength(label) for label, _ in texts) + 3 * gap + numbers
        high = row * len(texts) + gap
        x1, y1, _, _ = self._corners(box)
        left = max(min(x1, self.width - wide), 0)
        top = y1 - high if y1 >= high else min(y1, max(self.height - high, 0))
        for other in sorted(taken, key=lambda place: place[1]):
            beside = other[0] >= left + wide or other[2] <= left
            if not beside and other[1] < top + high and top < other[3] and other[3] + high < self.height:
                top = other[3] + 1
        taken.append((left, top, left + wide, top + high))
        draw.rectangle(taken[-1], fill=PANEL)
        for number, (label, score) in enumerate(texts):
            middle = top + gap / 2 + row * (number + 0.5)
            named = person.track is not None and not number
            color = self._color(person) if named else TEXT
            draw.text((left + gap, middle), label, color, font_of(size), "lm")
            draw.text((left + wide - gap, middle), score, TEXT, font_of(size), "rm")


def _between(box: Box, aim: Box, share: float) -> Box:
    x1, y1, x2, y2 = (start + (end - start) * share for start, end in zip(box, aim, strict=True))
    return x1, y1, x2, y2
