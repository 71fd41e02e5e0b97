"""The answer of ``timeline``, and its segments in files for other programs: tables, subtitles, annotation
tools, a benchmark, a picture."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import mimetypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args
from xml.etree import ElementTree

import numpy as np

from slowfast_zoo.errors import InputError, UnknownNameError, counted, did_you_mean, quoted
from slowfast_zoo.files import csv_line, expanded, write_bytes
from slowfast_zoo.inference.segments import Segment, SegmentRules, Windows, find_segments
from slowfast_zoo.runtime.packages import require
from slowfast_zoo.video.sampling import checked_count, is_number
from slowfast_zoo.video.sources.names import is_url, local_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SegmentFormat = Literal["csv", "json", "jsonl", "srt", "vtt", "eaf", "audacity", "activitynet", "png"]
SUFFIXES: dict[str, SegmentFormat] = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".srt": "srt",
    ".vtt": "vtt",
    ".eaf": "eaf",
    ".txt": "audacity",
    ".png": "png",
}
"""The format that a file's ending stands for."""

_MOST_DRAWN = 10
"""Classes that a picture has room and colors for."""
_MOST_BEST = 5
"""Classes that JSON gives for a window."""
_CONTROL = re.compile("[\0-\x1f\x7f\ufffe\uffff]+")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Timeline:
    """What happens when in a video."""

    source: str
    """Path or name of the video; of a URL without credentials and query."""
    labels: tuple[str, ...]
    """Of all classes; "class 7" where the model has no names."""
    windows: Windows
    """What the model saw in each window."""
    segments: tuple[Segment, ...]
    """By begin; those of a multi-label model may overlap."""
    multi_label: bool
    """Whether the model's classes may come together."""
    duration_seconds: float
    """When the last frame of the video ends, in a player's time."""
    damaged_frames: int = 0
    """Frames known to be damaged or lost when this was answered; what decoded was used all the same."""
    complete: bool = True
    """False where reading was interrupted, so that later windows are missing."""

    def topk(self, seconds: float, k: int = 5) -> list[tuple[str, float]]:
        """The best classes, best first, and their probabilities, in the window whose center is nearest.

        Raises:
            InputError: ``seconds`` is no number, or ``k`` no integer of at least 1.
        """
        if not is_number(seconds):
            raise InputError(f"seconds is {seconds!r:.60}; accepted: a finite number.")
        k = checked_count("k", k)
        row = self.windows.probabilities[np.abs(self.windows.center_seconds - seconds).argmin()]
        best = np.argsort(-row, kind="stable")[:k]
        return [(self.labels[index], float(row[index])) for index in best.tolist()]

    def resegmented(self, rules: SegmentRules) -> Timeline:
        """The same windows, cut into segments by other rules.

        Raises:
            InputError: no rules.
            UnknownNameError: the rules name a class that isn't there.
        """
        if not isinstance(rules, SegmentRules):
            raise InputError(f"rules is {rules!r:.60}; accepted: SegmentRules.")
        found = find_segments(self.windows, self.labels, rules, multi_label=self.multi_label)
        return dataclasses.replace(self, segments=found)

    def to_columns(self, rows: Literal["segments", "windows"] = "segments") -> dict[str, list[Any]]:
        """Plain lists by column name, as ``pandas.DataFrame`` takes them.

        Args:
            rows: "segments": start_seconds, end_seconds, label, score; "windows": start_seconds,
                end_seconds, center_seconds, and the probabilities of each class under its label.

        Raises:
            InputError: other rows.
        """
        if rows == "segments":
            names = [field.name for field in dataclasses.fields(Segment)]
            return {name: [getattr(segment, name) for segment in self.segments] for name in names}
        if rows != "windows":
            raise InputError(f"rows is {rows!r:.60}; accepted: 'segments' or 'windows'.")
        times = ("start_seconds", "end_seconds", "center_seconds")
        if lost := {*times} & {*self.labels}:
            raise InputError(f"A class is called {quoted(lost)}, as a column of times is; rename it.")
        columns = {name: getattr(self.windows, name).tolist() for name in times}
        scores = self.windows.probabilities
        return columns | {label: scores[:, index].tolist() for index, label in enumerate(self.labels)}

    def save(self, path: str | Path, format: SegmentFormat | None = None) -> None:  # noqa: A002
        """Writes the segments, whole or not at all.

        Args:
            path: its ending says the format: .csv, .json, .jsonl, .srt, .vtt, .eaf (ELAN), .txt (Audacity's
                labels) or .png.
            format: instead of the ending; "activitynet" is that benchmark's JSON.

        Raises:
            UnknownNameError: no such format.
            InputError: the file can't be written.
            MissingDependencyError: a picture without matplotlib.
        """
        chosen = format_of(path, format)
        write_bytes(path, _picture(self) if chosen == "png" else text_of(self, chosen).encode())

    def plot(self) -> Figure:
        """A picture: the best classes' probabilities over time, and the segments below.

        Raises:
            MissingDependencyError: matplotlib isn't installed.
        """
        return plot_timeline(self)

    def __repr__(self) -> str:
        parts = "" if self.complete else ", interrupted"
        return (
            f"Timeline({self.source!r}: {counted(len(self.segments), 'segment')} of"
            f" {counted(len(self.windows), 'window')} in"
            f" {self.duration_seconds:.1f} s{parts})"
        )


def format_of(path: str | Path, form: str | None = None) -> SegmentFormat:
    """The format that was named, else the one of the file's ending.

    Raises:
        UnknownNameError: there is no such format.
    """
    names: tuple[SegmentFormat, ...] = get_args(SegmentFormat)
    if form is None:
        suffix = expanded(path).suffix.lower()
        if suffix in SUFFIXES:
            return SUFFIXES[suffix]
        raise UnknownNameError(
            f"'{path}' doesn't say which format: end it in {', '.join(SUFFIXES)}, or name one of"
            f" {quoted(names)}."
        )
    for name in names:
        if name == form:
            return name
    raise UnknownNameError(f"There is no format '{form}'.{did_you_mean(form, names)} Known: {quoted(names)}.")


def text_of(timeline: Timeline, form: SegmentFormat) -> str:
    """What a file of that format, not a picture, holds."""
    return _WRITERS[form](timeline)


def _csv(timeline: Timeline) -> str:
    rows = [csv_line(("source", "start_seconds", "end_seconds", "label", "score"))]
    for segment in timeline.segments:
        times = (_seconds(segment.start_seconds), _seconds(segment.end_seconds))
        rows.append(csv_line((timeline.source, *times, _line(segment.label), f"{segment.score:.6f}")))
    return "".join(rows)


def _json(timeline: Timeline) -> str:
    windows = timeline.windows
    best = np.argsort(-windows.probabilities, axis=1, kind="stable")[:, :_MOST_BEST].tolist()
    document = {
        "source": timeline.source,
        "duration_seconds": _rounded(timeline.duration_seconds),
        "complete": timeline.complete,
        "damaged_frames": timeline.damaged_frames,
        "multi_label": timeline.multi_label,
        "segments": [_plain(segment) for segment in timeline.segments],
        "windows": [
            {
                "start_seconds": _rounded(windows.start_seconds[number]),
                "end_seconds": _rounded(windows.end_seconds[number]),
                "labels": [timeline.labels[index] for index in row],
                "scores": [round(float(windows.probabilities[number, index]), 6) for index in row],
            }
            for number, row in enumerate(best)
        ],
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _jsonl(timeline: Timeline) -> str:
    lines = ({"source": timeline.source, **_plain(segment)} for segment in timeline.segments)
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _activitynet(timeline: Timeline) -> str:
    """A result file of the benchmark; a video's name is its file's without the ending.

    Source: https://github.com/activitynet/ActivityNet/tree/master/Evaluation
    """
    segments = [
        {
            "label": segment.label,
            "score": round(segment.score, 6),
            "segment": [_rounded(segment.start_seconds), _rounded(segment.end_seconds)],
        }
        for segment in timeline.segments
    ]
    results = {Path(timeline.source).stem: segments}
    document = {"version": "slowfast-zoo", "results": results, "external_data": {}}
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _srt(timeline: Timeline) -> str:
    cues = []
    for number, segment in enumerate(timeline.segments, 1):
        begin, end = (_clock(moment).replace(".", ",") for moment in _milliseconds(segment))
        cues.append(f"{number}\n{begin} --> {end}\n{_text(segment)}\n")
    return "\n".join(cues)


def _vtt(timeline: Timeline) -> str:
    """Source: https://www.w3.org/TR/webvtt1/"""
    cues = ["WEBVTT\n"]
    for segment in timeline.segments:
        begin, end = (_clock(moment) for moment in _milliseconds(segment))
        text = _text(segment).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        cues.append(f"{begin} --> {end}\n{text}\n")
    return "\n".join(cues)


def _audacity(timeline: Timeline) -> str:
    """Source: https://manual.audacityteam.org/man/importing_and_exporting_labels.html"""
    return "".join(
        f"{_seconds(segment.start_seconds)}\t{_seconds(segment.end_seconds)}\t{_text(segment)}\n"
        for segment in timeline.segments
    )


def _eaf(timeline: Timeline) -> str:
    """A tier for each class that was found, whose annotations hold the scores; times are milliseconds.

    Source: EAFv3.0.xsd, https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf
    """
    document = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "slowfast-zoo",
            "DATE": "1970-01-01T00:00:00+00:00",  # the same answer is the same file
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
        },
    )
    head = ElementTree.SubElement(document, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    if not is_url(timeline.source) and not timeline.source.startswith("<"):
        path = local_path(timeline.source)
        kind = mimetypes.guess_type(path.name)[0] or "video/mp4"
        media = {"MEDIA_URL": path.absolute().as_uri(), "MIME_TYPE": kind}
        ElementTree.SubElement(head, "MEDIA_DESCRIPTOR", media)
    order = ElementTree.SubElement(document, "TIME_ORDER")
    tiers: dict[str, ElementTree.Element] = {}
    slots: list[tuple[int, str]] = []
    for number, segment in enumerate(timeline.segments, 1):
        name = _line(segment.label)
        if name not in tiers:
            tiers[name] = ElementTree.Element("TIER", TIER_ID=name, LINGUISTIC_TYPE_REF="class")
        begin, end = _milliseconds(segment)
        names = (f"ts{2 * number - 1}", f"ts{2 * number}")
        slots += [(begin, names[0]), (end, names[1])]
        annotation = ElementTree.SubElement(
            ElementTree.SubElement(tiers[name], "ANNOTATION"),
            "ALIGNABLE_ANNOTATION",
            {"ANNOTATION_ID": f"a{number}", "TIME_SLOT_REF1": names[0], "TIME_SLOT_REF2": names[1]},
        )
        ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = f"{segment.score:.3f}"
    for moment, name in sorted(slots):
        ElementTree.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=name, TIME_VALUE=str(moment))
    document.extend(tiers.values())
    tier_type = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": "class", "TIME_ALIGNABLE": "true"}
    ElementTree.SubElement(document, "LINGUISTIC_TYPE", tier_type)
    ElementTree.indent(document)
    return ElementTree.tostring(document, encoding="unicode", xml_declaration=True) + "\n"


def plot_timeline(timeline: Timeline) -> Figure:
    """The best classes' probabilities over time, and the segments below; see ``Timeline.plot``."""
    require("matplotlib")
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    windows = timeline.windows
    found = sorted({segment.label for segment in timeline.segments}, key=timeline.labels.index)
    peaks = np.argsort(-windows.probabilities.max(axis=0), kind="stable").tolist()
    shown = {timeline.labels.index(label): None for label in found}
    shown |= dict.fromkeys(peaks[: max(0, _MOST_DRAWN - len(shown))])
    drawn = sorted(shown, key=peaks.index)[:_MOST_DRAWN]
    palette = colormaps["tab10"].colors  # type: ignore[attr-defined]
    colors = {timeline.labels[index]: palette[place] for place, index in enumerate(drawn)}
    figure = Figure(figsize=(11, 2.6 + 0.3 * max(len(found), 1)), dpi=150, layout="constrained")
    curves, bars = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [2.2, 0.3 + 0.3 * max(len(found), 1)]}
    )
    for index in drawn:
        label = timeline.labels[index]
        scores = windows.probabilities[:, index]
        marker = "o" if len(windows) < 3 else ""
        style = {"marker": marker, "color": colors[label], "label": _short(label)}
        curves.plot(windows.center_seconds, scores, linewidth=1.4, **style)
    curves.set(ylim=(0, 1.03), ylabel="probability")
    source = _line(timeline.source).replace("$", r"\$")  # no formula
    curves.set_title(f"{source}: {counted(len(timeline.segments), 'segment')}", loc="left", fontsize=10)
    curves.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    for row, label in enumerate(found):
        spans = [
            (segment.start_seconds, segment.end_seconds - segment.start_seconds)
            for segment in timeline.segments
            if segment.label == label
        ]
        bars.broken_barh(spans, (row - 0.38, 0.76), facecolors=colors.get(label, "#6b7280"))
    bars.set_yticks(range(len(found)), map(_short, found))
    bars.tick_params(axis="y", labelsize=8, length=0)
    bars.set(ylim=(max(len(found), 1) - 0.5, -0.5), xlabel="seconds", xlim=(0, timeline.duration_seconds))
    for axes in (curves, bars):
        axes.grid(color="#e5e7eb", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _picture(timeline: Timeline) -> bytes:
    content = io.BytesIO()
    plot_timeline(timeline).savefig(content, format="png")
    return content.getvalue()


_WRITERS: dict[str, Callable[[Timeline], str]] = {
    "csv": _csv,
    "json": _json,
    "jsonl": _jsonl,
    "srt": _srt,
    "vtt": _vtt,
    "eaf": _eaf,
    "audacity": _audacity,
    "activitynet": _activitynet,
}


def _plain(segment: Segment) -> dict[str, Any]:
    return {
        "start_seconds": _rounded(segment.start_seconds),
        "end_seconds": _rounded(segment.end_seconds),
        "label": segment.label,
        "score": round(segment.score, 6),
    }


def _rounded(seconds: float) -> float:
    """To the microsecond: what is beyond it is rounding."""
    return round(float(seconds), 6)


def _seconds(seconds: float) -> str:
    return f"{seconds:.6f}"


def _milliseconds(segment: Segment) -> tuple[int, int]:
    """Begin and end, one apart at least: programs drop what takes no time."""
    begin = math.floor(segment.start_seconds * 1000 + 0.5)
    return begin, max(math.floor(segment.end_seconds * 1000 + 0.5), begin + 1)


def _clock(milliseconds: int) -> str:
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}.{rest % 1000:03}"


def _short(label: str, limit: int = 30) -> str:
    label = _line(label).replace("$", r"\$")  # no formula
    return label if len(label) <= limit else f"{label[: limit - 1]}\u2026"


def _line(text: str) -> str:
    """In one line: a line break or tab would begin another cue or column."""
    return _CONTROL.sub(" ", text).strip() or "-"


def _text(segment: Segment) -> str:
    return f"{_line(segment.label)} ({segment.score:.0%})"
