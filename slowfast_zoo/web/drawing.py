"""An answer as HTML: bars, curves, segments. Whatever a stranger wrote is escaped."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from slowfast_zoo.errors import counted
from slowfast_zoo.inference.detect.detections import Detections, Person
from slowfast_zoo.inference.segment_files import Timeline
from slowfast_zoo.inference.stream.stream import StreamResult
from slowfast_zoo.web.studio import Answer

COLORS = (
    "#f59e0b", "#0ea5e9", "#10b981", "#e11d48", "#8b5cf6",
    "#84cc16", "#ec4899", "#14b8a6", "#f97316", "#6366f1",
)  # fmt: skip
_REST = "#94a3b8"
_MOST_POINTS = 800  # of a curve: more than a screen has columns
_MOST_ROWS = 300
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)

WELCOME = (
    '<div class="sfz-empty"><div>What happens in the video, and when, stands here.</div>'
    "<div>Drop a video, or take an example.</div></div>"
)


def answer_html(answer: Answer) -> str:
    """Everything that is known so far."""
    if answer.error is not None:
        return f'<div class="sfz-error" role="alert">{escape(answer.error)}</div>'
    parts = [_state(answer)]
    if answer.prediction is not None:
        prediction = answer.prediction
        where = counted(prediction.views[0], "clip")
        if prediction.seconds is not None:
            where += f", {prediction.seconds[0]:.1f}-{prediction.seconds[1]:.1f} s"
        where += ", shorter than a clip" * prediction.padded
        if prediction.damaged_frames:
            where += f", {counted(prediction.damaged_frames, 'damaged frame')}"
        parts.append(f'<h3>What it shows <small class="sfz-dim">{escape(where)}</small></h3>')
        parts.append(bars_html(prediction.labels, prediction.scores))
    if answer.timeline is not None:
        parts.append(timeline_html(answer.timeline))
    if answer.detections is not None:
        parts.append(persons_html(answer.detections))
    if answer.finished:
        parts.append(f'<p class="sfz-dim sfz-machine">{answer.seconds:.1f} s on {escape(answer.machine)}</p>')
    return f'<div class="sfz">{"".join(parts)}</div>'


def live_html(result: StreamResult) -> str:
    """What happens in front of a webcam."""
    window = f"{result.window.end_seconds - result.window.start_seconds:.1f} s"
    note = f"the last {window}, {result.lag_seconds:.2f} s old"
    if result.skipped_hops:
        note += f", {counted(result.skipped_hops, 'window')} left out"
    return (
        f'<div class="sfz"><h3>Now <small class="sfz-dim">{note}</small></h3>'
        f"{bars_html(result.labels, result.scores)}</div>"
    )


def calls_html(calls: Mapping[str, str]) -> str:
    """Texts to copy, by title."""
    if not calls:
        return '<p class="sfz-dim">The code and the command for an answer stand here.</p>'
    return "".join(
        f'<div class="sfz-call"><h3>{escape(title)}</h3><button type="button" class="sfz-copy">Copy</button>'
        f"<pre>{escape(text.strip())}</pre></div>"
        for title, text in calls.items()
    )


def bars_html(labels: Sequence[str], scores: Sequence[float]) -> str:
    """A bar for each class, best first."""
    rows = "".join(
        f'<div class="sfz-bar{" sfz-best" * (not number)}">'
        f'<span title="{escape(label)}">{escape(label)}</span>'
        f'<i><b style="width:{100 * score:.2f}%"></b></i><em>{score:.1%}</em></div>'
        for number, (label, score) in enumerate(zip(labels, scores, strict=True))
    )
    return f'<div class="sfz-bars">{rows}</div>'


def timeline_html(timeline: Timeline) -> str:
    """Curves of the best classes, segments below, and a table; ``page.js`` makes clicks move the player."""
    duration = max(timeline.duration_seconds, 1e-3)
    colors = _colors(timeline)
    legend = "".join(
        f'<span><i style="background:{color}"></i>{escape(label)}</span>' for label, color in colors.items()
    )
    lanes = {segment.label: 0 for segment in timeline.segments}
    if timeline.multi_label:
        lanes = {label: number for number, label in enumerate(lanes)}
    chips = "".join(
        f'<button type="button" class="sfz-segment" data-seconds="{segment.start_seconds:.3f}"'
        f' title="{escape(segment.label)}, {_span(segment.start_seconds, segment.end_seconds)}"'
        f' style="left:{100 * segment.start_seconds / duration:.3f}%;top:{1.9 * lanes[segment.label]:.1f}em;'
        f"width:{100 * (segment.end_seconds - segment.start_seconds) / duration:.3f}%;"
        f'background:{colors.get(segment.label, _REST)}">{escape(segment.label)}</button>'
        for segment in timeline.segments
    )
    height = 1.9 * (max(lanes.values(), default=0) + 1)
    rows = "".join(
        f'<tr data-seconds="{segment.start_seconds:.3f}" tabindex="0"><td>'
        f'<i style="background:{colors.get(segment.label, _REST)}"></i>'
        f"{_span(segment.start_seconds, segment.end_seconds)}</td><td>{escape(segment.label)}</td>"
        f"<td>{segment.score:.0%}</td></tr>"
        for segment in timeline.segments[:_MOST_ROWS]
    )
    more = len(timeline.segments) - _MOST_ROWS
    hidden = f'<p class="sfz-dim">{more} more are in the files.</p>' if more > 0 else ""
    found = f"<table>{rows}</table>{hidden}" if rows else '<p class="sfz-dim">No class reaches 50 %.</p>'
    count = counted(len(timeline.segments), "segment")
    return (
        f'<h3>When <small class="sfz-dim">{count} in {_clock(duration)};'
        f' a click moves the player</small></h3><div class="sfz-legend">{legend}</div>'
        f'<div class="sfz-track" data-duration="{duration:.6f}">'
        f'<div class="sfz-plot">{_curves(timeline, colors)}</div>'
        f'<div class="sfz-lane" style="height:{height:.1f}em">{chips}</div><div class="sfz-head"></div></div>'
        f'<div class="sfz-axis">{_axis(duration)}</div><div class="sfz-rows">{found}</div>'
    )


def persons_html(found: Detections) -> str:
    """A row for each person in each key frame; ``page.js`` draws the boxes on the player."""
    rows = "".join(
        f'<tr data-seconds="{person.seconds:.3f}" tabindex="0"><td>{_clock(person.seconds)}</td>'
        f"<td>{escape(_does(person)) or 'no action'}</td></tr>"
        for person in found.persons[:_MOST_ROWS]
    )
    boxes = [
        {
            "seconds": round(person.seconds, 3),
            "box": [round(value, 5) for value in person.normalized],
            "text": _does(person, 2),
        }
        for person in found.persons
    ]
    keys = [round(moment, 3) for moment in found.key_seconds]
    more = len(found.persons) - _MOST_ROWS
    hidden = f'<p class="sfz-dim">{more} more are in the file.</p>' if more > 0 else ""
    note = f"{counted(len(found.persons), 'box')} in {counted(len(found.key_seconds), 'key frame')};"
    note += " a click moves the player"
    shown = f"<table>{rows}</table>{hidden}" if rows else '<p class="sfz-dim">Nobody was found.</p>'
    return (
        f'<h3>Who does what <small class="sfz-dim">{note}</small></h3>'
        f'<div class="sfz-persons" data-keys="{keys}" data-persons="{escape(json.dumps(boxes))}"></div>'
        f'<div class="sfz-rows sfz-tall">{shown}</div>'
    )


def _does(person: Person, count: int = 5) -> str:
    pairs = zip(person.labels[:count], person.scores, strict=False)
    return ", ".join(f"{label} {score:.0%}" for label, score in pairs)


def _state(answer: Answer) -> str:
    """What is being done."""
    if answer.finished and not answer.note:
        return ""
    share = f' style="width:{100 * answer.done:.1f}%"' if answer.done else ' class="sfz-busy"'
    bar = "" if answer.finished else f'<div class="sfz-progress"><b{share}></b></div>'
    return f'<div class="sfz-state" role="status">{escape(answer.note)}{bar}</div>'


def _colors(timeline: Timeline) -> dict[str, str]:
    """A color for each class that is drawn, those with segments first."""
    found = list(dict.fromkeys(segment.label for segment in timeline.segments))
    peaks = np.argsort(-timeline.windows.probabilities.max(axis=0), kind="stable")[: len(COLORS)]
    best = [timeline.labels[index] for index in peaks.tolist()]
    wanted = dict.fromkeys([*found, *best[:3]])
    return dict(zip(wanted, COLORS, strict=False))


def _curves(timeline: Timeline, colors: dict[str, str]) -> str:
    """Probabilities over time, 0 to 1000 by 0 to 100."""
    center = timeline.windows.center_seconds
    step = math.ceil(len(center) / _MOST_POINTS)
    scores = timeline.windows.probabilities
    places = 1000 * center / max(timeline.duration_seconds, 1e-3)
    lines = []
    for index, label in enumerate(timeline.labels):
        if label not in colors:
            continue
        groups = range(0, len(center), step)
        points = [(places[k : k + step].mean(), scores[k : k + step, index].max()) for k in groups]
        if len(points) == 1:
            points = [(0.0, points[0][1]), (1000.0, points[0][1])]
        text = " ".join(f"{x:.1f},{100 - 100 * y:.1f}" for x, y in points)
        lines.append(f'<polyline points="{text}" stroke="{colors[label]}"/>')
    return (
        f'<svg viewBox="0 -2 1000 104" preserveAspectRatio="none" aria-hidden="true">{"".join(lines)}</svg>'
    )


def _axis(duration: float) -> str:
    step = next((step for step in _TICKS if duration / step <= 9), duration / 8)
    ticks = [number * step for number in range(int(duration / step) + 1)]
    return "".join(
        f'<span style="left:{100 * tick / duration:.3f}%">{_clock(tick, short=True)}</span>'
        for tick in ticks
        if tick <= duration * 0.97
    )


def _span(start: float, end: float) -> str:
    return f"{_clock(start)} - {_clock(end)}"


def _clock(seconds: float, *, short: bool = False) -> str:
    seconds = round(seconds, 1)  # first, so that no rest becomes 60
    if seconds < 60:
        return f"{seconds:g} s" if short else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds) if short else seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    ending = f"{rest:02.0f}" if short else f"{rest:04.1f}"
    return f"{hours}:{minutes:02}:{ending}" if hours else f"{minutes}:{ending}"
