"""Pictures of what a model says and of what it saw.

    render(model, "clip.mp4", "answer.mp4")            # the clip with its best labels drawn on it
    render(detect(model, "clip.mp4", detector="person"), "clip.mp4", "persons.mp4")     # boxes and actions
    contact_sheet(model, "clip.mp4", "frames.png")     # the frames that the two pathways saw

A file that was there is replaced when all went well.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from slowfast_zoo.errors import FrameCountError, InputError, VideoError, counted
from slowfast_zoo.inference.detect.detections import Detections
from slowfast_zoo.inference.predict import Prediction, predict
from slowfast_zoo.inference.render.drawing import (
    ACCENT,
    DIM,
    TEXT,
    Overlay,
    as_bytes,
    checked_path,
    output_size,
    stacked,
    tiles,
    written,
)
from slowfast_zoo.inference.render.persons import PersonsOverlay
from slowfast_zoo.network.slowfast import SlowFast, slow_frames, type_of
from slowfast_zoo.runtime.progress import shown
from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.video.clips import Clips, Views, read_clips
from slowfast_zoo.video.decoding.reader import open_video
from slowfast_zoo.video.decoding.video import EVEN_SECONDS, come_evenly
from slowfast_zoo.video.sampling import checked_count, is_number
from slowfast_zoo.video.sources.names import is_url, local_path
from slowfast_zoo.weights.catalog.entry import WeightEntry

if TYPE_CHECKING:
    from PIL.Image import Image

    from slowfast_zoo.video.decoding.reader import Source
    from slowfast_zoo.video.decoding.video import Frame, Video

_SMALLEST = 240  # pixels of the shorter side below which no readable text fits
_LARGEST = {".mp4": 1280, ".gif": 480}
_GIF_FPS = 12.5  # GIF counts in 1/100 s, and players slow down what is faster than a few of those
_GIF_SECONDS = 30.0
_MOST_VIEWS = 30
_FINEST_RATE = 60_000  # ticks in a second; MPEG-4's encoder takes up to 65,535
_SAME_SECONDS = 1e-6

_Drawn = tuple[float, float, "Image"]
"""When a picture begins and ends to be shown, in seconds since the first one's begin, and the picture."""


def render(
    model: SlowFast | Prediction | Detections,
    source: Source,
    path: str | Path,
    *,
    views: Views = "quick",
    topk: int = 5,
    fps: float | Fraction | None = None,
    seconds: tuple[float, float] | None = None,
    progress: bool = True,
) -> Prediction | Detections:
    """Writes the clip with its best labels and their probabilities drawn on it; returns what was drawn.

    It is one answer for the whole video, by default of a clip in its middle; ``timeline`` says what happens
    when.
    Of ``Detections`` it draws each person's box with name and actions, which follows a track from one key
    frame to the next; without tracks, persons are shown in the frames around their key frame.

    The longer side has at most 1280 pixels (480 in a GIF), tiny videos are enlarged; every frame keeps its
    time, and pixels that aren't square become square. A line at the bottom stands for the time; its colored
    part is what the model looked at. Sound is left out.

    Args:
        model: a model to ask, or its answer for this source; of one that scores persons, what ``detect``
            answered.
        source: one video, as for ``predict``; a file object from its beginning.
        path: file to write, .mp4 or .gif; it is replaced when all went well.
        views: how often the model looks, as for ``predict``.
        topk: how many labels to draw (of each person), best first; fewer where the picture is too low.
        fps: frames per second, instead of what the source says; arrays and folders need it.
        seconds: part of the video to write: start and end; None means all of it. The answer is that of the
            whole video all the same.
        progress: show a bar on a terminal and in notebooks, else a line every 30 seconds.

    Raises:
        InputError: another ending of the path, more than 30 seconds of GIF, the source itself as path,
            or what ``predict`` refuses.
        VideoError: the source can't be read, or the path can't be written.
    """
    path = checked_path(path, tuple(_LARGEST))
    _refuse(model, topk)
    if hasattr(source, "read"):
        if hasattr(source, "seek") and hasattr(source, "seekable") and source.seekable():
            source.seek(0)
        source = source.read()  # so that it can be read twice: once to predict, once to draw
    film = _film(source, path, seconds, fps)
    answer = predict(model, source, views=views, topk=topk, fps=fps) if isinstance(model, SlowFast) else model
    overlay = _overlay(answer, film.size, topk, film.times)
    with written(path) as file:
        pictures = _drawn(source, fps, overlay, film.part, film.times)
        pictures = shown(pictures, "render", len(film.part), unit="frame", show=progress)
        if path.suffix.lower() == ".gif":
            _write_gif(file, pictures)
        else:
            _write_mp4(file, pictures, _ticks(film.times, film.part, film.rate), film.size)
    return answer


def check_drawable(
    source: Source,
    path: str | Path,
    *,
    seconds: tuple[float, float] | None = None,
    fps: float | Fraction | None = None,
) -> None:
    """Refuses what ``render`` would, before a model is asked; arguments and errors are its own."""
    _film(source, checked_path(path, tuple(_LARGEST)), seconds, fps)


class _Film(NamedTuple):
    """What is drawn on."""

    times: list[float]
    """When each frame begins to be shown, and when the last one ends."""
    part: range
    """The frames that are drawn."""
    size: tuple[int, int]
    """Width and height of what is drawn."""
    rate: Fraction


def _film(
    source: Source, path: Path, seconds: tuple[float, float] | None, fps: float | Fraction | None
) -> _Film:
    _refuse_source(source, path)
    with open_video(source, fps=fps) as video:
        name, count, rate = video.name, video.num_frames, video.info.fps
        if rate is None:
            raise InputError(f"The frame rate of '{name}' isn't known: pass fps= (frames per second).")
        times = [video.seconds_of(index) for index in range(count + 1)]
        aspect, shape = video.pixel_aspect, (video.width, video.height)
    shape = (round(shape[0] * aspect), shape[1]) if aspect > 1 else (shape[0], round(shape[1] / aspect))
    part = _part(seconds, times)
    suffix = path.suffix.lower()
    length = times[part.stop] - times[part.start]
    if suffix == ".gif" and length > _GIF_SECONDS:
        raise InputError(
            f"A GIF of {length:.0f} seconds would be huge; give seconds=, a start and an end at most"
            f" {_GIF_SECONDS:g} s apart, or a path that ends in .mp4."
        )
    return _Film(times, part, output_size(*shape, smallest=_SMALLEST, largest=_LARGEST[suffix]), rate)


def _refuse_source(source: Source, path: Path) -> None:
    """Refuses to write over what is drawn on."""
    if not isinstance(source, (str, Path)) or is_url(source) or not path.exists():
        return
    own = local_path(source)
    if own.exists() and path.samefile(own):
        raise InputError(f"'{path}' is the source itself; choose another name for what is drawn.")


def _overlay(
    answer: Prediction | Detections, size: tuple[int, int], topk: int, times: Sequence[float]
) -> Overlay | PersonsOverlay:
    width, height = size
    if isinstance(answer, Detections):
        return PersonsOverlay(width=width, height=height, answer=answer, topk=topk)
    if answer.error is not None:
        raise VideoError(answer.error)
    rows = tuple(zip(answer.labels, answer.scores, strict=True))[:topk]
    seconds = "" if answer.seconds is None else "{:.1f}-{:.1f} s".format(*answer.seconds)
    return Overlay(width=width, height=height, rows=rows, span=_span(answer, times), seconds=seconds)


def contact_sheet(
    model: SlowFast | WeightEntry,
    source: Source,
    path: str | Path,
    *,
    views: Views = "quick",
    fps: float | Fraction | None = None,
) -> None:
    """Writes a PNG of exactly the frames that the slow and the fast pathway see, view by view.

    Frames are resized and cropped as for the network; those of the fast pathway that the slow one
    sees too have a border. Weights aren't needed: a row of the catalog will do.

    Args:
        model: a model, or a row from ``get_weights``.
        source: one video, as for ``predict``.
        path: file to write, .png; it is replaced when all went well.
        views: as for ``predict``; at most 30 views are drawn.
        fps: frames per second, instead of what the source says.

    Raises:
        InputError: another kind of model, another ending of the path, the source itself as path, more than
            30 views, or views or a source that aren't accepted.
        VideoError: the source can't be read, or the path can't be written.
    """
    path = checked_path(path, (".png",))
    _refuse_source(source, path)
    if isinstance(model, SlowFast):
        spec, clip_spec = model.spec, model.clip_spec
    elif isinstance(model, WeightEntry):
        spec, clip_spec = model.model_spec, model.clip_spec
    else:
        raise InputError(f"contact_sheet takes a SlowFast model or a row, got {type_of(model)}.")
    with open_video(source, fps=fps) as video:
        clips = read_clips(video, clip_spec, views=views)
        rate = video.info.fps
        texts = {
            number: str(number) if rate is None else f"{number} · {video.seconds_of(number):.2f} s"
            for number in set(clips.indices.ravel().tolist())
        }
        title = (
            f"{Path(video.name).name} - {counted(video.num_frames, 'frame')} of {video.width}x{video.height}"
        )
    if len(clips) > _MOST_VIEWS:
        raise InputError(f"{len(clips)} views don't fit on a sheet; at most {_MOST_VIEWS}.")
    if rate is not None:
        title += f", {float(rate):.4g} fps"
    sheet = _sheet(clips, spec, clip_spec, texts, title)
    with written(path) as part:
        sheet.save(part, format="PNG", compress_level=3)


def _sheet(clips: Clips, spec: ModelSpec, clip_spec: ClipSpec, texts: Mapping[int, str], title: str) -> Image:
    """The views; each frame with the text of its number."""
    wide = 1600 if len(clips) <= 3 else 1088
    parts: list[Any] = [(title, 22, TEXT)]
    frames = clip_spec.num_frames
    numbers = torch.arange(frames, device="cpu").view(1, 1, -1, 1, 1)
    chosen = slow_frames(numbers, spec.alpha, spec.slow_sampling).flatten().tolist()
    clip_count = len(clips.indices)
    for view, (clip, crop) in enumerate(clips.views):
        shown = as_bytes(
            clips[view], clip_spec.mean, clip_spec.std, 255 if clip_spec.pixel_range == "0-1" else 1
        )
        numbers = clips.indices[clip].tolist()
        captions = [texts[number] for number in numbers]
        where = f"clip {clip + 1} of {clip_count}, crop {crop + 1} of {len(clips) // clip_count}"
        padded = "; the video is shorter than a clip" if clips.padded else ""
        parts.append((f"{where}: frames {min(numbers)} to {max(numbers)}{padded}", 18, TEXT))
        columns = min(len(chosen), 8)
        parts.append((f"slow pathway, {len(chosen)} frames", 15, ACCENT))
        parts.append(_row(shown, captions, chosen, set(), columns, min(wide // columns - 4, wide // 5)))
        parts.append((f"fast pathway, {frames} frames; bordered: the slow pathway's too", 15, DIM))
        parts.append(_row(shown, captions, list(range(frames)), set(chosen), min(frames, 16), wide // 16 - 4))
    return stacked(parts, wide)


def _row(
    shown: Any, captions: list[str], wanted: list[int], marked: set[int], columns: int, side: int
) -> Image:
    borders = [frame in marked for frame in wanted]
    texts = [captions[frame] for frame in wanted]
    return tiles([shown[frame] for frame in wanted], texts, borders, side, columns)


def _refuse(model: object, topk: int) -> None:
    """Everything that can be known to be wrong before a frame is read."""
    if not isinstance(model, (SlowFast, Prediction, Detections)):
        raise InputError(f"render takes a SlowFast model, a Prediction or Detections, got {type_of(model)}.")
    if isinstance(model, SlowFast) and model.spec.roi is not None:
        raise InputError(
            "This model scores persons: render draws what detect answers, render(detect(model, source,"
            " boxes=...), source, path)."
        )
    checked_count("topk", topk)


def _part(seconds: tuple[float, float] | None, times: Sequence[float]) -> range:
    """The frames to draw: those that a player shows in that time.

    Args:
        seconds: start and end; None: all.
        times: when each frame begins to be shown, and when the last one ends.
    """
    if seconds is None:
        return range(len(times) - 1)
    pair = isinstance(seconds, (tuple, list)) and len(seconds) == 2
    if not pair or not all(map(is_number, seconds)):
        raise InputError(f"seconds is {seconds!r}; accepted: (start, end) in seconds.")
    start, end = seconds
    part = range(
        max(bisect_right(times, start + _SAME_SECONDS) - 1, 0),
        min(bisect_left(times, end - _SAME_SECONDS), len(times) - 1),
    )
    if not part or start >= end:
        raise InputError(
            f"seconds is {seconds!r}, where no frame is; the video lasts {times[-1]:.2f} seconds."
        )
    return part


def _span(answer: Prediction, times: Sequence[float]) -> tuple[float, float] | None:
    """What the model looked at, from 0 to 1 of the video."""
    if answer.seconds is None:
        return None
    start, end = (
        min(max((second - times[0]) / (times[-1] - times[0]), 0.0), 1.0) for second in answer.seconds
    )
    return start, end


def _drawn(
    source: Source,
    fps: float | Fraction | None,
    overlay: Overlay | PersonsOverlay,
    part: range,
    times: Sequence[float],
) -> Iterator[_Drawn]:
    """Each frame with what is drawn on it."""
    last = max(len(times) - 2, 1)
    with open_video(source, fps=fps) as video:
        for index, frame in _frames(video, part):
            share = min((times[index] - times[0]) / max(times[last] - times[0], 1e-9), 1.0)
            begin, end = times[index] - times[part.start], times[index + 1] - times[part.start]
            yield begin, end, overlay.draw(frame, share, times[index])


def _frames(video: Video, part: range) -> Iterator[tuple[int, Frame]]:
    """These frames, each with its index; of a file that has fewer than it promises, those that are there."""
    start = part.start
    if start:
        try:
            for index, frame in video.iter_frames(part):
                yield index, frame
                start = index + 1
            return
        except FrameCountError as error:
            if video.num_frames <= part.start:
                raise VideoError(f"'{video.name}' is damaged, and none of these seconds decodes.") from error
    for index, _, frame in video.stream():
        if index >= part.stop:
            return
        if index >= start:
            yield index, frame


def _ticks(times: Sequence[float], part: range, rate: Fraction) -> Fraction:
    """The unit that the drawn frames' times are written in: a frame where they are regular, else fine."""
    exact = rate.limit_denominator(_FINEST_RATE)
    return exact if come_evenly(times[part.start : part.stop], exact) else Fraction(_FINEST_RATE)


def _write_mp4(part: Path, pictures: Iterator[_Drawn], ticks: Fraction, size: tuple[int, int]) -> None:
    """Encodes pictures, each at its seconds, in units of 1 / ``ticks``."""
    import av
    from av.video.reformatter import Colorspace

    # Without B-frames packets come in the order of their times, so that the file says how long each is shown.
    codec, options = "libx264", {"crf": "20", "preset": "veryfast", "bf": "0"}
    if codec not in av.codecs_available:
        codec, options = "mpeg4", {"qscale": "3"}
    with av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream: Any = container.add_stream(codec, rate=ticks, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        # BT.709, limited range, and said so: players guess otherwise, by size.
        stream.codec_context.colorspace = stream.codec_context.color_primaries = 1
        stream.codec_context.color_trc = stream.codec_context.color_range = 1
        last, stop, waiting = -1, 0, list[Any]()
        for begin, end, picture in pictures:
            frame = av.VideoFrame.from_image(picture).reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709
            )
            last, stop = max(round(begin * ticks), last + 1), round(end * ticks)
            frame.pts, frame.time_base = last, 1 / ticks
            waiting += stream.encode(frame)
            container.mux(waiting[:-1])
            del waiting[:-1]
        waiting += stream.encode(None)
        waiting[-1].duration = max(stop - last, 1)  # of all others the next one's begin says it
        container.mux(waiting)


def _write_gif(part: Path, pictures: Iterator[_Drawn]) -> None:
    """Writes pictures, fewer than there are."""
    from PIL import Image

    kept: list[tuple[float, Image.Image]] = []
    waiting: Image.Image | None = None  # it began too early to be shown, and may last
    length, least = 0.0, 1 / _GIF_FPS - EVEN_SECONDS
    for begin, end, picture in pictures:
        if waiting is not None and begin - kept[-1][0] > 1 / _GIF_FPS + least:
            kept.append((kept[-1][0] + 1 / _GIF_FPS, waiting))
        shown_now = not kept or begin - kept[-1][0] > least
        length, waiting = end, None if shown_now else picture
        if shown_now:
            kept.append((begin, picture))
    if waiting is not None and length - kept[-1][0] > 1 / _GIF_FPS + least:
        kept.append((kept[-1][0] + 1 / _GIF_FPS, waiting))
    # One palette for all frames, from a few of them, undithered: nothing flickers, files stay small.
    few = [picture for _, picture in kept[:: max(1, len(kept) // 8)]]
    width, height = few[0].size
    together = Image.new("RGB", (width, height * len(few)))
    for index, picture in enumerate(few):
        together.paste(picture, (0, index * height))
    palette = together.quantize(256, method=Image.Quantize.MEDIANCUT)
    shown = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for _, picture in kept]
    ends = [round(100 * seconds) for seconds, _ in kept[1:]] + [round(100 * length)]
    starts = [round(100 * seconds) for seconds, _ in kept]
    durations = [max(20, 10 * (end - start)) for start, end in zip(starts, ends, strict=True)]
    shown[0].save(
        part,
        format="GIF",
        save_all=True,
        append_images=shown[1:],
        duration=durations if len(durations) > 1 else durations[0],
        loop=0,
        optimize=False,
    )
