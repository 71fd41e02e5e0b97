"""Text, bars and tiles on pictures; Pillow is imported when something is drawn."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slowfast_zoo.errors import InputError, VideoError
from slowfast_zoo.files import expanded, kind_of, written_whole

if TYPE_CHECKING:
    from PIL.Image import Image

    from slowfast_zoo.video.decoding.video import Frame

ACCENT = (255, 176, 0)
"""Amber: stands out against the panel and against most footage, for color-blind eyes too."""
TEXT = (255, 255, 255)
DIM = (176, 176, 176)
BACKGROUND = (24, 26, 30)

PANEL = (0, 0, 0, 170)
"""Dark enough for white text on a white picture, still see-through."""
_TRACK = (104, 104, 104, 200)
_BAR = (*ACCENT, 255)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overlay:
    """What is drawn on every frame of one video: rows of label, bar and percentage.

    Attributes:
        width: pixels of the frame.
        height: pixels of the frame.
        rows: (label, probability), best first.
        span: part of the video that the model looked at, from 0 to 1; None when unknown.
        seconds: the same in words, where there is room; "" for none.
    """

    width: int
    height: int
    rows: tuple[tuple[str, float], ...]
    span: tuple[float, float] | None = None
    seconds: str = ""

    def draw(self, frame: Frame, progress: float, seconds: float) -> Image:
        """The frame, uint8 RGB (H, W, 3), with the panel and a mark at ``progress`` (0 to 1)."""
        from PIL import ImageDraw

        picture = resized(frame, self.width, self.height)
        panel, place = self._panel
        picture.paste(panel, place, panel)
        left, top, width, height = self._timeline
        draw = ImageDraw.Draw(picture)
        at = left + round(progress * (width - height))
        draw.rectangle((at, top - 1, at + height - 1, top + height), fill=TEXT)
        return picture

    @functools.cached_property
    def _text_size(self) -> int:
        return max(11, min(40, min(self.width, self.height) // 22, self.width // 18))

    @functools.cached_property
    def _layout(self) -> tuple[int, int, int, int]:
        """Rows that are shown, their height, the panel's width and its margin, in pixels."""
        size = self._text_size
        row, margin = round(size * 1.5), max(3, size // 2)
        room = self.height * (0.45 if self.height > 8 * size else 0.9) - 2 * margin - self._line_height
        shown = max(1, min(len(self.rows), int(room / row)))
        return shown, row, min(self.width, size * 24), margin

    @property
    def _line_height(self) -> int:
        return max(3, self._text_size // 4)

    @property
    def _timeline(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the line that stands for the video, in pixels."""
        margin = self._layout[3]
        top = self.height - self._line_height - max(2, margin // 2)
        return margin, top, self.width - 2 * margin, self._line_height

    @functools.cached_property
    def _panel(self) -> tuple[Image, tuple[int, int]]:
        from PIL import Image, ImageDraw

        shown, row, wide, margin = self._layout
        left, top, width, height = self._timeline
        gap = margin // 2
        high = shown * row + margin + gap + (self.height - top)
        panel = Image.new("RGBA", (self.width, high), PANEL)
        draw = ImageDraw.Draw(panel)
        font = font_of(self._text_size)
        number = font.getlength("100.0%")
        for index, (label, score) in enumerate(self.rows[:shown]):
            y = margin + index * row
            self._draw_row(draw, label, score, (margin, y, wide - margin, y + row), number)
        if font.getlength(self.seconds) <= self.width - margin - wide:
            middle = margin + (shown - 0.5) * row
            draw.text((self.width - margin, middle), self.seconds, ACCENT, font, "rm")
        line = top - (self.height - high)
        draw.rectangle((left, line, left + width - 1, line + height - 1), fill=_TRACK)
        if self.span is not None:
            first, last = (left + round(part * (width - 1)) for part in self.span)
            draw.rectangle((first, line, max(last, first + 1), line + height - 1), fill=_BAR)
        return panel, (0, self.height - high)

    def _draw_row(
        self, draw: Any, label: str, score: float, box: tuple[int, int, int, int], number: float
    ) -> None:
        left, top, right, bottom = box
        gap = self._text_size // 2
        bar_left = right - number - gap
        if (right - left) > 14 * self._text_size:
            bar_left -= (right - left) * 0.3
        middle = (top + bottom) / 2
        font = font_of(self._text_size)
        draw.text((left, middle), fitted(label, bar_left - gap - left, self._text_size), TEXT, font, "lm")
        draw.text((right, middle), f"{score:.1%}", TEXT, font, "rm")
        bar_right = right - number - gap
        if bar_right - bar_left > 4:
            half = self._text_size * 0.3
            draw.rectangle((bar_left, middle - half, bar_right, middle + half), fill=_TRACK)
            full = bar_left + (bar_right - bar_left) * min(max(score, 0.0), 1.0)
            draw.rectangle((bar_left, middle - half, max(full, bar_left + 1), middle + half), fill=_BAR)


def resized(frame: Frame, width: int, height: int) -> Image:
    """uint8 RGB (H, W, 3) as a picture of that many pixels."""
    from PIL import Image

    picture = Image.fromarray(frame)
    size = (width, height)
    return picture if picture.size == size else picture.resize(size, Image.Resampling.BICUBIC)


def fitted(text: str, width: float, size: int) -> str:
    """The text on one line, its end replaced by dots where it is wider than ``width`` pixels."""
    text = " ".join(text.split())
    font = font_of(size)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text.rstrip() + "..."


def output_size(width: int, height: int, *, smallest: int, largest: int) -> tuple[int, int]:
    """Even sides for a picture: enlarged until text fits, shrunk until the file stays small.

    Args:
        width: pixels of the source.
        height: pixels of the source.
        smallest: pixels that the shorter side should have at least.
        largest: pixels that the longer side may have at most; it wins.
    """
    scale = max(1.0, smallest / min(width, height))
    scale = min(scale, largest / max(width, height))
    return max(16, round(width * scale / 2) * 2), max(16, round(height * scale / 2) * 2)


def tiles(
    frames: Sequence[Frame], captions: Sequence[str], marked: Sequence[bool], side: int, columns: int
) -> Image:
    """Pictures in rows, each above its caption; the marked ones with a frame around them.

    Args:
        frames: uint8 RGB (H, W, 3), all of one size.
        captions: of each.
        marked: whether each has a frame.
        side: pixels that each is wide.
        columns: pictures in a row.
    """
    from PIL import Image, ImageDraw

    size = max(9, min(14, side // 8))
    gap, text = 4, size + 6
    rows, high = -(-len(frames) // columns), max(1, round(side * frames[0].shape[0] / frames[0].shape[1]))
    sheet = Image.new("RGB", (columns * (side + gap) - gap, rows * (high + text + gap) - gap), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for index, (frame, caption, mark) in enumerate(zip(frames, captions, marked, strict=True)):
        x, y = index % columns * (side + gap), index // columns * (high + text + gap)
        sheet.paste(Image.fromarray(frame).resize((side, high), Image.Resampling.BOX), (x, y))
        if mark:
            draw.rectangle((x, y, x + side - 1, y + high - 1), outline=ACCENT, width=max(2, side // 40))
        color = ACCENT if mark else DIM
        draw.text(
            (x + side / 2, y + high + text / 2), fitted(caption, side, size), color, font_of(size), "mm"
        )
    return sheet


def stacked(parts: Sequence[Image | tuple[str, int, tuple[int, int, int]]], width: int) -> Image:
    """Pictures and lines of text (text, size in pixels, color) below each other, at most ``width`` wide."""
    from PIL import Image, ImageDraw

    margin = 16
    widths = [
        font_of(part[1]).getlength(part[0]) if isinstance(part, tuple) else part.width for part in parts
    ]
    width = min(width, round(max(widths)))
    heights = [round(part[1] * 1.7) if isinstance(part, tuple) else part.height + 8 for part in parts]
    sheet = Image.new("RGB", (width + 2 * margin, sum(heights) + 2 * margin), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    y = margin
    for part, height in zip(parts, heights, strict=True):
        if isinstance(part, tuple):
            text, size, color = part
            draw.text((margin, y + height / 2), fitted(text, width, size), color, font_of(size), "lm")
        else:
            sheet.paste(part, (margin, y))
        y += height
    return sheet


def checked_path(path: str | Path, suffixes: Sequence[str]) -> Path:
    """The path of a file that may be written.

    Raises:
        InputError: another suffix.
        VideoError: there is no such folder.
    """
    path = expanded(path)
    if path.suffix.lower() not in suffixes:
        given = f"ends in '{path.suffix}'" if path.suffix else "has no ending"
        raise InputError(f"'{path}' {given}; accepted: {', '.join(suffixes)}.")
    if kind_of(path.parent) != "folder":
        raise VideoError(f"'{path}' can't be written: there is no folder '{path.parent}'.")
    if kind_of(path) == "folder":
        raise VideoError(f"'{path}' can't be written: it is a folder.")
    return path


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """As ``files.written_whole``, with one sentence for whatever the disk or the encoder says.

    Raises:
        VideoError: the folder doesn't take files, or is full.
    """
    import av

    try:
        with written_whole(path) as part:
            yield part
    except VideoError:
        raise
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"'{path}' can't be written: {error.strerror or error}.") from error


def as_bytes(clip: Any, mean: Sequence[float], std: Sequence[float], scale: float) -> Frame:
    """A normalized clip (3, T, H, W) as uint8 RGB of shape (T, H, W, 3)."""
    shape = (-1, 1, 1, 1)
    values = clip.numpy() * np.array(std, np.float32).reshape(shape)
    values += np.array(mean, np.float32).reshape(shape)
    pixels = np.rint(values * np.float32(scale)).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 3, 0))


@functools.cache
def font_of(size: int) -> Any:
    """The font of every text, that many pixels high."""
    from PIL import ImageFont

    return ImageFont.load_default(size=size)
