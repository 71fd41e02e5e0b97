"""``slowfast-zoo detect``: who does what in videos, as a table, AVA's CSV or JSON lines."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import os
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

import click

from slowfast_zoo.cli import options as opt
from slowfast_zoo.cli.models import model_option
from slowfast_zoo.cli.options import command, echo, prepared
from slowfast_zoo.cli.results import ResultFile, address_of, clock
from slowfast_zoo.cli.videos import sources
from slowfast_zoo.cli.videos.answers import Begin, Target, answer_each
from slowfast_zoo.cli.videos.sources import Videos
from slowfast_zoo.data.persons import Unit
from slowfast_zoo.data.persons.boxes import PersonBoxes, boxes_by_video, of_only_video, of_video
from slowfast_zoo.errors import InputError, counted
from slowfast_zoo.files import csv_line, hash_file, written_whole
from slowfast_zoo.inference.detect import DetectorName
from slowfast_zoo.inference.detect.detections import DetectionFormat, format_of, video_name
from slowfast_zoo.naming import ModelRef

if TYPE_CHECKING:
    from slowfast_zoo.inference.detect.detections import Detections

DETECTION_MODEL = "slowfast_r50_8x8x1_roi"
_FACTS = ("width", "height", "duration_seconds", "damaged_frames", "key_seconds", "persons")

persons = opt.bundle(
    "persons",
    {
        "boxes": click.option(
            "--boxes",
            type=opt.FILE,
            help="Where persons are: a CSV without a header, video,second,x1,y1,x2,y2 a line, such as"
            " film,2.0,0.2,0.1,0.6,0.9 (also AVA's and PySlowFast's); or MMAction2's pickle of proposals.",
        ),
        "detector": click.option(
            "--detector",
            type=opt.choice(DetectorName),
            help="What finds persons: torchvision's for processors (-fast), for GPUs (-strong), by --device.",
        ),
        "unit": click.option("--unit", type=opt.choice(Unit), help="Of --boxes.  [default: normalized]"),
        "video": click.option(
            "--video", metavar="NAME", help="The video's name in --boxes.  [default: the file's]"
        ),
        "begins_at": click.option(
            "--begins-at",
            type=float,
            default=0.0,
            show_default=True,
            metavar="SECONDS",
            help="When the video begins in the time of --boxes and of a CSV: 900 in AVA.",
        ),
        "every_seconds": click.option(
            "--every",
            "every_seconds",
            type=click.FloatRange(0, min_open=True),
            default=1.0,
            show_default=True,
            metavar="SECONDS",
            help="From one key frame to the next, where --boxes don't say.",
        ),
        "box_score": click.option(
            "--box-score",
            type=click.FloatRange(0, 1),
            help="How sure it has to be that it is a person.  [default: 0.7 with --detector]",
        ),
    },
)
"""Who is looked at, and when: arguments of ``detect``."""


def score(default: float) -> Callable[[opt.F], opt.F]:
    """``--score``: the least probability of an action."""
    kind = click.FloatRange(0, 1)
    return click.option(
        "--score", type=kind, default=default, show_default=True, help="Leave out less probable actions."
    )


@command(
    "detect",
    "detect film.mp4 --detector person",
    "detect film.mp4 --boxes persons.csv --out film.jsonl",
    "detect ava/ --boxes person_boxes.csv --begins-at 900 --topk 80 --out found.csv --resume",
)
@sources.videos()
@model_option(default=DETECTION_MODEL)
@persons
@score(0.0)
@opt.count("--topk", 5, "Actions to give for each person.")
@opt.fps
@opt.how_in_floats
@opt.out("Write to this file: .csv as AVA's, a line an action; .jsonl, a line a video, with everything.")
@click.option("--format", "form", type=opt.choice(DetectionFormat), help="What to print or write.")
@sources.resume
def detect_command(
    videos: Videos,
    model: ModelRef,
    persons: dict[str, Any],
    score: float,
    topk: int,
    fps: float | None,
    how: dict[str, Any],
    out: Path | None,
    form: str | None,
    resume: bool,
) -> None:
    """Says who does what in videos: persons' boxes in key frames, and their actions.

    AVA's CSV is what test-detections reads; for --resume, a file beside it that is named as it and .jsonl
    says how each video was answered. Every answer is on the disk at once. Ctrl-C keeps what is finished; what
    was answered of the video at hand goes into a file named "partial". The exit status is 1 if one failed.
    """
    from slowfast_zoo.inference.detect.detect import DetectionMaker
    from slowfast_zoo.inference.detect.detectors import detector_for
    from slowfast_zoo.runtime.devices import to_device

    opt.check_ending(out, form, {name: f".{name}" for name in get_args(DetectionFormat)})
    chosen = _Persons.checked(persons)
    earlier = {"boxes_sha256": ""}
    if persons["detector"]:
        device = to_device(how["device"])
        persons["detector"] = detector_for(persons["detector"], device)
        if persons["detector"] == detector_for("person", device):
            earlier["detector"] = "person"
    if persons["boxes"] and (given := opt.typed(["every_seconds"])):
        raise InputError(f"{given}: for a detector, and --boxes says which key frames there are.")
    settings = {**model.origin(), **persons, "boxes": persons["boxes"] and str(persons["boxes"])}
    settings |= {"score": score, "topk": topk, "fps": fps, "precision": how["precision"]}
    if persons["boxes"]:
        settings["boxes_sha256"] = hash_file(persons["boxes"])[:16]
    out = videos.file(out)
    columns = ("source", "error", *_FACTS, *settings, *videos.columns)
    kept = {"resume": resume, "columns": columns, "settings": settings, "earlier": earlier}
    target = _Target.of(out, form, kept, chosen)
    found = videos.find(target.known)
    asked = found.total + found.skipped["answered before"]
    if chosen.video and asked > 1:
        raise InputError(
            f"--video {chosen.video} says whose --boxes are meant, and there are {asked} videos; leave"
            " it out: each has the boxes of its own name."
        )
    target.check_names(found.sources)
    found = found.part(videos.shard)
    many = videos.shard is not None or found.total > 1 or bool(target.known)
    chosen = dataclasses.replace(chosen, strict=many)

    def maker() -> Begin:
        choice = {name: persons[name] for name in ("detector", "every_seconds", "box_score")} | prepared(how)
        making = DetectionMaker(model.load(), score=score, topk=topk, fps=fps, **choice)
        if len(found.sources) > 1:
            making.runner(None)  # what it refuses is no video's fault
        return lambda source, alone: making.begin(source, chosen.of(source), alone=alone)

    answer_each(found, target, maker, told=many)


@dataclasses.dataclass(frozen=True)
class _Persons:
    """Where the persons' boxes come from."""

    path: Path | None
    video: str | None
    begins_at: float
    boxes: Mapping[str, PersonBoxes]
    """Of the videos in the file."""
    strict: bool = True
    """Whether a file of boxes has to name each video, which one of one video needn't."""

    @classmethod
    def checked(cls, persons: Mapping[str, Any]) -> _Persons:
        """Refuses none and both of the two sources; reads a file of boxes.

        Raises:
            InputError, DataError: says why.
        """
        if (persons["boxes"] is None) == (persons["detector"] is None):
            raise InputError(
                "Where are the persons? Give either --boxes FILE, or --detector person to have them found."
            )
        if persons["detector"] and (persons["unit"] or persons["video"]):
            raise InputError("--unit and --video say how --boxes are to be read, and --detector has none.")
        path, begins_at = persons["boxes"], persons["begins_at"]
        boxes = {} if path is None else boxes_by_video(path, unit=persons["unit"], begins_at=begins_at)
        return cls(path, persons["video"], begins_at, boxes)

    def name(self, source: str) -> str:
        """What files of many videos call one."""
        return self.video or video_name(source)

    def of(self, source: Any) -> PersonBoxes | None:
        """The boxes of a video; None: they are to be found."""
        from slowfast_zoo.video.sources.names import display_name

        if self.path is None:
            return None
        name = self.name(display_name(source))
        find = of_video if self.strict or self.video else of_only_video
        return find(self.boxes, name, self.path)


class _Target(Target):
    """Where detections go: standard output, or a file of JSON lines."""

    def __init__(
        self, path: Path | None, form: str | None, rows: ResultFile | None, persons: _Persons
    ) -> None:
        super().__init__(path, form, rows)
        self._persons = persons

    @staticmethod
    def of(out: Path | None, form: str | None, kept: dict[str, Any], persons: _Persons) -> _Target:
        """The one that the options mean.

        Args:
            out: the file; None: standard output.
            form: instead of the file's ending.
            kept: arguments of ``ResultFile``.
            persons: whose boxes were given.

        Raises:
            InputError, UnknownNameError: a format or file that doesn't fit.
        """
        if out is None:
            rows = ResultFile(None, "jsonl", **kept) if form == "jsonl" or kept["resume"] else None
            return _Target(None, form, rows, persons)
        if format_of(out, form) == "jsonl":
            opt.check_writable(out)
            return _Target(out, "jsonl", ResultFile(out, "jsonl", **kept), persons)
        return _AvaFile.opened(out, kept, persons)

    def check_names(self, sources: list[Any]) -> None:
        """Refuses videos that can't be told apart in AVA's CSV.

        Args:
            sources: those that aren't known, of every part.

        Raises:
            InputError: says which two.
        """
        from slowfast_zoo.video.sources.names import display_name

        if self.form != "csv":
            return
        named = {self._persons.name(source): source for source, _ in self.known}
        for source in map(display_name, sources):
            if other := named.get(self._persons.name(source)):
                raise InputError(
                    f"AVA's CSV tells videos by name, and '{other}' and '{source}' have the same: write"
                    " .jsonl, or print it with --format jsonl."
                )
            named[self._persons.name(source)] = source

    def ava_rows(self, answer: Detections) -> bytes:
        """The lines of AVA's CSV, in the names and times of the boxes."""
        return answer.ava_rows(self._persons.video, self._persons.begins_at).encode()

    def put(self, source: Any, answer: Detections, path: Path | None) -> None:
        if self.rows:
            values = answer.to_dict()
            row = {name: values[name] for name in _FACTS}
            self.rows.write({"source": answer.source, "address": address_of(source), **row})
        elif self.form == "csv":
            click.echo(self.ava_rows(answer), nl=False)
        else:
            echo(_table(answer))

    def save(self, answer: Detections, path: Path) -> None:
        persons = self._persons
        form = format_of(path, self.form)
        answer.save(path, form, video=persons.video, begins_at=persons.begins_at)


class _AvaFile(_Target):
    """AVA's CSV of many videos, and rows beside it that say which are whole."""

    @classmethod
    def opened(cls, path: Path, kept: dict[str, Any], persons: _Persons) -> _AvaFile:
        """Without lines of videos that weren't finished.

        Raises:
            InputError: files that don't belong together, or can't be read or written.
        """
        ledger = path.with_name(f"{path.name}.jsonl")
        if path.exists() and not kept["resume"]:
            raise InputError(f"'{path}' exists; give --resume to go on with it, or another name.")
        if path.exists() != ledger.exists():
            there, missing = (path, ledger) if path.exists() else (ledger, path)
            raise InputError(f"'{there}' is there and '{missing}' isn't: take another name, or remove it.")
        opt.check_writable(path)
        kept["columns"] = [name for name in kept["columns"] if name not in ("persons", "key_seconds")]
        target = cls(path, "csv", ResultFile(ledger, "jsonl", **kept), persons)
        if path.exists():
            # Files written earlier have the video's own name, whatever --video said.
            names = ((persons.name(source), video_name(source)) for source, _ in target.known)
            target._keep(set(chain.from_iterable(names)))
        return target

    def _keep(self, names: set[str]) -> None:
        assert self.path is not None
        try:
            content = self.path.read_bytes()
            text = content.decode("utf-8-sig")
            rows = csv.reader(io.StringIO(text, newline=""))
            whole = "".join(csv_line(row) for row in rows if row and row[0] in names)
            if whole.encode() != content:
                with written_whole(self.path) as part:
                    part.write_bytes(whole.encode())
        except (OSError, ValueError, csv.Error) as error:
            raise InputError(f"'{self.path}' can't be gone on with: {error}.") from error

    def put(self, source: Any, answer: Detections, path: Path | None) -> None:
        assert self.path is not None
        text = self.ava_rows(answer)
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("ab", buffering=0) as file:
                left = text
                while left:
                    left = left[file.write(left) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self.path, size)
            count = self.answered + self.known.total()
            kept = f" Its {counted(count, 'video')} {'is' if count == 1 else 'are'} kept; --resume goes on."
            raise InputError(f"'{self.path}' can't be written: {error.strerror or error}.{kept}") from error
        super().put(source, answer, path)

    def __enter__(self) -> Self:
        assert self.path is not None
        self.path.touch()
        return super().__enter__()


def _table(answer: Detections) -> str:
    """Persons for people: a line each."""
    looked = f"{counted(len(answer.key_seconds), 'key frame')}, {counted(len(answer.persons), 'person')}"
    lines = [f"{answer.source}  ({answer.duration_seconds:.1f} s, {looked})"]
    shown = [f"{person.track}  " if person.track is not None else "" for person in answer.persons]
    width = max(map(len, shown), default=0)
    for person, track in zip(answer.persons, shown, strict=True):
        does = ", ".join(
            f"{name} {score:.1%}" for name, score in zip(person.labels, person.scores, strict=True)
        )
        corners = ", ".join(f"{value:.0f}" for value in person.box)
        lines.append(f"  {clock(person.seconds)}  {track.ljust(width)}({corners})  {does or 'nothing'}")
    return "\n".join(lines)
