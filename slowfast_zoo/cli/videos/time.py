"""``slowfast-zoo timeline``, ``watch``, ``test-segments``: what happens when, what now, how well it fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import click

from slowfast_zoo.cli import options as opt
from slowfast_zoo.cli.models import model_option
from slowfast_zoo.cli.options import PATH, command, echo, made_fast
from slowfast_zoo.cli.results import ResultFile, address_of, clock
from slowfast_zoo.cli.videos import sources
from slowfast_zoo.cli.videos.answers import Begin, Target, answer_each, common_stems, opened_folder, stem_of
from slowfast_zoo.cli.videos.sources import Videos
from slowfast_zoo.errors import InputError, counted
from slowfast_zoo.inference.segment_files import SUFFIXES, SegmentFormat, Timeline, format_of, text_of
from slowfast_zoo.naming import ModelRef
from slowfast_zoo.runtime.packages import require
from slowfast_zoo.spec import LastWindow, views_name

_ENDLESS = ("csv", "jsonl")
"""Formats in which one video's lines may follow another's."""

_ENDINGS = {form: ending for ending, form in SUFFIXES.items()} | {"activitynet": ".json"}

LEDGER = "timelines.jsonl"
"""Says of a folder of timelines which video each file belongs to, how it was made, and what failed."""


def _seconds(
    name: str, help_text: str, default: float | None = None, *, positive: bool = False
) -> Callable[[opt.F], opt.F]:
    return click.option(
        name,
        f"{name[2:].replace('-', '_')}_seconds",
        type=click.FloatRange(0, min_open=positive),
        default=default,
        show_default=default is not None,
        metavar="SECONDS",
        help=help_text,
    )


def _share(name: str, help_text: str, default: float | None = None) -> Any:
    kind = click.FloatRange(0, 1, min_open=True)
    return click.option(name, type=kind, default=default, show_default=default is not None, help=help_text)


grid = opt.bundle(
    "grid",
    {
        "hop_seconds": _seconds("--hop", "From one window to the next.", 1.0, positive=True),
        "window_seconds": _seconds(
            "--window", "Length of a window.  [default: that of one clip of the model]", positive=True
        ),
        "start_seconds": _seconds("--start", "Look at the video from there on."),
        "end_seconds": _seconds("--end", "Look at the video up to there."),
        "last": click.option(
            "--last",
            type=opt.choice(LastWindow),
            default="move_back",
            show_default=True,
            help="What becomes of the window that begins before the end and reaches beyond it.",
        ),
    },
)
"""Where windows lie: arguments of ``Grid``."""

rules = opt.bundle(
    "rules",
    {
        "smoothing_seconds": _seconds("--smoothing", "Average probabilities over this time.", 0.0),
        "enter": _share("--enter", "Probability at which a segment begins.", 0.5),
        "leave": _share("--leave", "Probability below which it ends.  [default: 0.7 of --enter]"),
        "min_seconds": _seconds("--min", "Leave out shorter segments.", 0.0),
        "max_gap_seconds": _seconds("--max-gap", "Close gaps between segments of a class up to this.", 0.0),
        "labels": click.option("--label", "labels", multiple=True, help="Only this class; may be repeated."),
    },
)
"""When segments begin and end: arguments of ``SegmentRules``."""


@command(
    "timeline",
    "timeline film.mp4 --model slowfast_tiny --hop 0.5",
    "timeline film.mp4 --model slowfast_r50_8x8x1 --out film.srt",
    "timeline films/ -r --format csv --out timelines/ --resume",
    "timeline films/ -r --format srt --out timelines/ --resume --shard 3/16",
)
@sources.videos()
@model_option()
@grid
@rules
@opt.views(help_text="Clips and crops of each window")
@opt.fps
@opt.how
@click.option(
    "--out",
    type=PATH,
    help=f"For one video a file ({', '.join(SUFFIXES)}); for many, whatever a folder has, or a name"
    " without ending, a folder, and --format.",
)
@click.option("--format", "form", type=opt.choice(SegmentFormat), help="What to write.")
@click.option(
    "--resume",
    is_flag=True,
    help="Continue a folder --out: answer the videos that have no timeline there. One file that is there is"
    " left as it is, whatever it holds.",
)
def timeline_command(
    videos: Videos,
    model: ModelRef,
    grid: dict[str, Any],
    rules: dict[str, Any],
    views: Any,
    fps: float | None,
    how: dict[str, Any],
    out: Path | None,
    form: str | None,
    resume: bool,
) -> None:
    """Says what happens when in videos: segments with start and end, as a table, subtitles or other files.

    With a folder as --out every video gets a file of its own there, and timelines.jsonl says which. Ctrl-C
    keeps what is finished; what was answered of the video at hand goes into a file named "partial". The
    exit status is 1 if a video failed; the others are answered all the same.
    """
    from slowfast_zoo.inference.segments import SegmentRules
    from slowfast_zoo.inference.timeline import TimelineMaker
    from slowfast_zoo.video.windows import Grid

    rules["labels"] = rules["labels"] or None
    made = (Grid(**grid), SegmentRules(**rules))
    found = videos.find()
    many = videos.shard is not None or found.total > 1
    into_folder = many or found.listed or bool(form and out and not out.suffix)
    settings = {**model.origin(), **grid, **rules, "labels": rules["labels"] and list(rules["labels"])}
    settings |= {"views": views_name(views), "fps": fps, "precision": how["precision"], **opt.calibrated(how)}
    target: Target
    if out and (into_folder or out.is_dir()):
        opt.NEW_FOLDER.convert(out, None, click.get_current_context())
        target = _folder(out, form, resume, settings, videos, found.sources)
        found = videos.left(target.known)
    else:
        opt.check_ending(out, form, _ENDINGS)
        target, found = _File(videos.file(out), form, count=found.total), found.part(videos.shard)
        click.get_current_context().find_root().obj = None  # after Ctrl-C there is nothing to go on with
        if resume and out is None:
            raise InputError("--resume needs --out, what to go on with.")
        if out is not None and out.exists():
            if not resume:
                raise InputError(f"'{out}' exists; give --resume to leave it, or another name.")
            if found.sources:
                echo(f"Nothing to do: '{out}' is there and is left as it is.", err=True)
                return

    def maker() -> Begin:
        fast, prepared = made_fast(model.load, how)
        making = TimelineMaker(fast, *made, views=views, fps=fps, **prepared)
        if len(found.sources) > 1:
            making.runner(None)  # what it refuses is no video's fault
        return lambda source, alone: making.begin(source, alone=alone)

    answer_each(found, target, maker, told=many)


class _File(Target):
    """Where the timeline of one video goes: a file, or standard output, which takes several.

    Args:
        count: of the videos.

    Raises:
        InputError, UnknownNameError: a format or place that doesn't fit.
        MissingDependencyError: a picture without matplotlib.
    """

    form: SegmentFormat | None

    def __init__(
        self, path: Path | None, form: str | None, rows: ResultFile | None = None, *, count: int = 1
    ) -> None:
        super().__init__(path, format_of(path or "", form) if path or form else None, rows)
        if path is None and self.form == "png":
            raise InputError("A picture needs --out, the file to write.")
        if path is None and count > 1 and self.form not in (None, *_ENDLESS):
            raise InputError(f"'{self.form}' holds one video, and there are {count}: give --out, a folder.")
        if self.form == "png":
            require("matplotlib")

    def put(self, source: Any, answer: Timeline, path: Path | None) -> None:
        if path is not None:
            self.save(answer, path)
        elif self.form is None:
            echo(_table(answer))
        else:
            text = text_of(answer, self.form)
            if self.form == "csv" and self.answered:
                text = text.partition("\n")[2]  # has its head already
            click.echo(text.encode(), nl=False)


class _Folder(_File):
    """Where the timelines of many videos go: a file each, and rows that say which.

    Args:
        common: names without endings that several videos have, none of which gets it alone.
    """

    def __init__(self, path: Path, form: str, rows: ResultFile, common: AbstractSet[str]) -> None:
        super().__init__(path, form, rows)
        self._common = common

    def put(self, source: Any, answer: Timeline, path: Path | None) -> None:
        """Says whose the file is, then writes it: a row whose file isn't there doesn't count."""
        assert self.rows and path
        row = {"source": answer.source, "address": address_of(source), "file": path.name}
        seconds = round(answer.duration_seconds, 6)
        facts = {"duration_seconds": seconds, "damaged_frames": answer.damaged_frames}
        self.rows.write({**row, "segments": len(answer.segments), **facts})
        super().put(source, answer, path)

    def path_of(self, source: Any) -> Path:
        """Named as the video; by its hash too where another video's file has the name."""
        assert self.path and self.form
        suffix = _ENDINGS[self.form]
        stem = stem_of(source)
        taken = stem in self._common or (self.path / f"{stem}{suffix}").exists()
        return self.path / f"{stem_of(source, hashed=taken)}{suffix}"


def _folder(
    folder: Path,
    form: str | None,
    resume: bool,
    settings: dict[str, Any],
    videos: Videos,
    sources: Sequence[Any],
) -> _Folder:
    """The folder for the timelines of many videos.

    Raises:
        InputError: it can't be made, or holds answers that are not to be gone on with.
    """
    if form is None:
        raise InputError(f"'{folder}' is for the timelines of many videos: give --format as well, as srt.")
    opened_folder(folder, LEDGER)
    settings = {**settings, "format": form}
    facts = ("file", "segments", "duration_seconds", "damaged_frames")
    columns = ("source", "error", *facts, *settings, *videos.columns)
    path, common = videos.file(folder / LEDGER), frozenset[str]()
    if videos.shard is not None:  # other parts write here at the same time, which names depend on no order
        common = common_stems(sources)
    earlier = {"calibration": ""}
    ledger = ResultFile(path, None, resume=resume, columns=columns, settings=settings, earlier=earlier)
    return _Folder(folder, form, ledger, common)


def _table(answer: Timeline) -> str:
    """The segments for people."""
    width = max((len(segment.label) for segment in answer.segments), default=0)
    lines = [f"{answer.source}  ({answer.duration_seconds:.1f} s, {counted(len(answer.windows), 'window')})"]
    lines += [
        f"  {clock(segment.start_seconds)} - {clock(segment.end_seconds)}"
        f"  {segment.label.ljust(width)}  {segment.score:6.1%}"
        for segment in answer.segments
    ]
    return "\n".join(lines if answer.segments else [*lines, "  nothing reaches --enter"])


@command(
    "watch",
    "watch rtsp://user:password@camera/stream --model slowfast_tiny",
    "watch /dev/video0 --hop 0.5 --option video_size=640x480",
    "watch http://camera/mjpeg --jsonl > log.jsonl",
    "watch - < pipe",
)
@click.argument("source")
@model_option()
@_seconds("--hop", "From one window to the next.", 1.0, positive=True)
@_seconds("--max-lag", "Leave out answers that are older.", positive=True)
@opt.count("--topk", 5, "Classes to give for each answer.")
@opt.views(help_text="Clips and crops of each window")
@opt.how
@click.option("--jsonl", is_flag=True, help="Print a JSON object per line, the scores with their times.")
@click.option(
    "--option",
    "pairs",
    metavar="NAME=VALUE",
    multiple=True,
    help="FFmpeg's, for the source; may be repeated.",
)
@_seconds(
    "--timeout", "After this time without anything new a connection is opened again.", 10.0, positive=True
)
def watch_command(
    source: str, model: ModelRef, how: dict[str, Any], jsonl: bool, pairs: tuple[str, ...], **options: Any
) -> None:
    """Says what happens now in front of a camera, in a stream or in a pipe, until Ctrl-C.

    SOURCE is an address (rtsp, rtmp, http for MJPEG and HLS, udp, rtp, srt, tcp), a device such as
    /dev/video0 or its number (on Windows video=NAME), a file, which is played at its own speed, or - for
    standard input. A lost connection is opened again for as long as it takes. When the network is slower
    than --hop, hops are left out: an answer is never older than one hop and the network's own time.
    """
    import datetime
    import sys

    from slowfast_zoo.inference.stream.watch import watch

    settings = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    if len(settings) < len(pairs):
        raise InputError("--option is NAME=VALUE, such as rtsp_transport=udp, and each name once.")
    fast, prepared = made_fast(model.load, how)
    place: Any = sys.stdin.buffer if source == "-" else int(source) if source.isdecimal() else source
    answers = watch(fast, place, options=settings, **options, **prepared)
    for answer in answers:
        now = datetime.datetime.now().astimezone()
        if jsonl:
            opt.echo_json({"time": now.isoformat(timespec="milliseconds"), **answer.to_dict()})
            continue
        best = "  ".join(
            f"{score:6.1%} {label}" for label, score in zip(answer.labels, answer.scores, strict=True)
        )
        notes = f"  ({counted(answer.skipped_hops, 'hop')} left out)" if answer.skipped_hops else ""
        notes += "  (after a gap)" * answer.gap
        echo(f"{now:%H:%M:%S}  {answer.lag_seconds:4.1f} s old  {best}{notes}")


@command(
    "test-segments",
    "test-segments timelines/ activity_net.v1-3.min.json --subset validation",
    "test-segments found.json annotations.json --iou 0.3 --iou 0.5 --iou 0.7 --json",
)
@click.argument("predictions", type=opt.PathType(path_type=Path, exists=True))
@click.argument("annotations", type=opt.FILE)
@click.option("--subset", help="Of the annotations, such as validation.  [default: all]")
@click.option(
    "--iou",
    "thresholds",
    type=click.FloatRange(0, 1, min_open=True),
    multiple=True,
    help="IoU that a prediction needs; may be repeated.  [default: 0.5 to 0.95 by 0.05]",
)
@opt.as_json
def test_segments_command(
    predictions: Path, annotations: Path, subset: str | None, thresholds: tuple[float, ...], as_json: bool
) -> None:
    """Scores segments by ActivityNet's rule: PREDICTIONS against ANNOTATIONS, both in its JSON.

    PREDICTIONS is a file, or a folder of them, as 'timeline --format activitynet' writes them.
    """
    from slowfast_zoo.evaluation.segments import THRESHOLDS, evaluate_segments

    scores = evaluate_segments(predictions, annotations, thresholds=thresholds or THRESHOLDS, subset=subset)
    if as_json:
        opt.echo_report(scores, as_json=True)
        return
    for threshold, value in zip(scores.thresholds, scores.mean_average_precisions, strict=True):
        echo(f"mAP at IoU {threshold:.2f}: {value:.4f}")
    echo(f"average mAP: {scores.average_map:.4f}")
    found, there = scores.num_predictions, scores.num_annotations
    echo(f"{counted(found, 'prediction')}, {counted(there, 'annotation')}")
    if scores.unknown_labels:
        echo(f"predicted, and in no annotation: {', '.join(scores.unknown_labels)}", err=True)
    if scores.unknown_videos:
        echo(f"videos without annotations: {_few(scores.unknown_videos)}", err=True)


def _few(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
