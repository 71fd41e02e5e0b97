"""What the page does when somebody asks: an answer that grows, for many people with the same models."""

from __future__ import annotations

import dataclasses
import functools
import logging
import shlex
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from slowfast_zoo.data.persons.boxes import PersonBoxes
from slowfast_zoo.errors import FAULTS, InputError, SlowFastZooError, counted, quoted
from slowfast_zoo.inference.detect.detect import DetectionMaker
from slowfast_zoo.inference.detect.detections import Detections
from slowfast_zoo.inference.engines import EngineName
from slowfast_zoo.inference.predict import Prediction, predict, reason_of
from slowfast_zoo.inference.render.render import contact_sheet
from slowfast_zoo.inference.segment_files import Timeline
from slowfast_zoo.inference.segments import SegmentRules
from slowfast_zoo.inference.stream.stream import Stream, StreamResult
from slowfast_zoo.inference.timeline import TimelineMaker
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.runtime import machine
from slowfast_zoo.spec import views_name
from slowfast_zoo.video.sources.names import LIST_ADVICE, display_name
from slowfast_zoo.video.windows import Grid
from slowfast_zoo.web.offers import Models

if TYPE_CHECKING:
    from slowfast_zoo.inference.video_run import VideoRun
    from slowfast_zoo.video.clips import Views
    from slowfast_zoo.video.decoding.video import Frame

VIEWS: dict[str, Views] = {"quick": "quick", "3 clips": (3, 1), "published": "published"}
"""How often a model may look, as the page calls it."""
TOPK = 8
MOST_WINDOWS = 3000
"""Of a timeline: more would keep everybody else waiting."""
MOST_STREAMS = 4
"""Webcams at once: each keeps a network busy."""
_LOGGER = logging.getLogger(__name__)
_RUNS = {"timeline": ("Timeline", ("csv", "srt")), "detections": ("Persons", ("csv",))}
"""What each run is called, and the endings of its files."""
_STOPPED = "Stopped: what was known by then is shown."
_UPDATE_SECONDS = 0.7
_IDLE_SECONDS = 20.0
"""After which a webcam that sends nothing is given up."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """What somebody wants to know."""

    model: str
    weights: str
    engine: str = "auto"
    views: str = "quick"
    hop_seconds: float = 0.5


@dataclasses.dataclass(frozen=True)
class Answer:
    """What is known so far."""

    source: str
    """Name of the video, without where it lies."""
    note: str = ""
    """What is being done, or how it ended."""
    done: float = 0.0
    """How much of it, 0 to 1."""
    finished: bool = False
    error: str | None = None
    """Why there is no answer."""
    prediction: Prediction | None = None
    timeline: Timeline | None = None
    detections: Detections | None = None
    """In place of the two, of a model that scores persons."""
    seconds: float = 0.0
    """That it took, the loading of the model left out."""
    machine: str = ""
    sheet: Path | None = None
    """A picture of the frames that the pathways saw."""
    files: tuple[Path, ...] = ()
    """The timeline as .csv and .srt, or the detections as .csv."""


class Studio:
    """Models that are shared, and what belongs to each visitor until they leave.

    Args:
        models: what is offered.
        folder: for results; what is in it is deleted with the visitor's session.
        persons: where persons are, for models that score them; None: torchvision's detector finds them.
    """

    def __init__(self, models: Models, folder: Path, persons: PersonBoxes | None = None) -> None:
        self.models, self._folder, self._boxes = models, folder, persons
        self._lock = threading.Lock()
        self._stops: dict[str, threading.Event] = {}
        self._results: dict[str, Path] = {}
        self._streams: dict[str, _Live] = {}

    # A video ---------------------------------------------------------------------------------------------

    def answers(self, session: str, video: Path | None, asked: Asked) -> Iterator[Answer]:
        """An answer that grows; the last one is finished, or says why there is none.

        Args:
            session: whose it is; ``stop`` ends it, ``leave`` and the visitor's next answer cut it off.
            video: the upload.
            asked: what to do with it.
        """
        if video is None:
            yield Answer("", error="Choose a video first, or take one of the examples.", finished=True)
            return
        known = Answer(video.name)
        stop: threading.Event | None = None
        try:
            stop, results = self._begin(session)
            for answer in self._steps(known, video, asked, stop, results):
                if self._stops.get(session) is not stop:
                    return
                known = answer
                yield answer
        except FAULTS as error:
            if not isinstance(error, SlowFastZooError):
                _LOGGER.warning("'%s' failed.", display_name(video.name), exc_info=error)
            if stop is not None and self._stops.get(session) is not stop:
                return
            sentence = reason_of(error).replace(str(video), video.name).replace(LIST_ADVICE, "")
            for folder in (video.parent, self._folder):
                sentence = sentence.replace(str(folder), "")
            yield dataclasses.replace(known, error=sentence, note="", finished=True)

    def stop(self, session: str) -> None:
        """Ends the visitor's answer after the window at hand; what is known by then stays."""
        with self._lock:
            if session in self._stops:
                self._stops[session].set()

    def leave(self, session: str) -> None:
        """Cuts the visitor's answer off: nothing more is told of it."""
        with self._lock:
            stop = self._stops.pop(session, None)
        if stop is not None:
            stop.set()

    def is_asked(self, session: str) -> bool:
        """Whether the visitor has asked for something, and hasn't left it."""
        return session in self._stops

    def forget(self, session: str) -> None:
        """Ends what a visitor has begun, and deletes their results."""
        self.leave(session)
        self.end_live(session)
        with self._lock:
            results = self._results.pop(session, None)
        if results is not None:
            shutil.rmtree(results, ignore_errors=True)

    def _begin(self, session: str) -> tuple[threading.Event, Path]:
        results = Path(tempfile.mkdtemp(prefix="results-", dir=self._folder))
        with self._lock:
            if session in self._stops:
                self._stops[session].set()
            stop = self._stops[session] = threading.Event()
            before, self._results[session] = self._results.get(session), results
        if before is not None:
            shutil.rmtree(before, ignore_errors=True)
        return stop, results

    def _steps(
        self, answer: Answer, video: Path, asked: Asked, stop: threading.Event, results: Path
    ) -> Iterator[Answer]:
        engine = _engine(asked.engine)
        if asked.views not in [*VIEWS]:  # a list isn't hashable
            raise InputError(f"views is {asked.views!r}; accepted: {quoted(VIEWS)}.")
        views = VIEWS[asked.views]
        grid = Grid(hop_seconds=asked.hop_seconds)
        answer = dataclasses.replace(answer, note=f"Loading {asked.model} …")
        yield answer
        model = self.models.get(asked.model, asked.weights)
        here = machine.description(next(model.parameters()).device)
        begin = time.monotonic()
        answer = dataclasses.replace(answer, note="Looking at the video …", machine=here)
        yield answer
        if model.spec.roi is not None:
            persons = DetectionMaker(
                model,
                detector="person" if self._boxes is None else None,
                every_seconds=asked.hop_seconds,
                engine=engine,
                progress=False,
            )
            begun = functools.partial(persons.begin, video, self._boxes)
            yield from _run(answer, begun, "detections", video, stop, results)
            return
        prediction = predict(model, video, views=views, topk=TOPK, engine=engine)
        prediction = dataclasses.replace(prediction, source=video.name)
        took = time.monotonic() - begin
        answer = dataclasses.replace(answer, prediction=prediction, seconds=took, note="Drawing its frames …")
        yield answer
        sheet = results / "pathways.png"
        contact_sheet(model, video, sheet, views="quick")
        answer = dataclasses.replace(answer, sheet=sheet)
        maker = TimelineMaker(model, grid, SegmentRules(), engine=engine)
        yield from _run(answer, functools.partial(maker.begin, video), "timeline", video, stop, results)

    # A webcam --------------------------------------------------------------------------------------------

    def live(self, session: str, frame: Frame, asked: Asked) -> StreamResult | None:
        """Takes a visitor's next picture; an answer about what happens now, when there is one.

        Args:
            session: whose webcam it is.
            frame: uint8 RGB (H, W, 3).
            asked: the model; its other fields don't count.

        Raises:
            InputError: there are as many webcams as there may be.
            SlowFastZooError: as ``Stream``.
        """
        live = self._live(session, asked)
        return live.push(frame)

    def end_live(self, session: str) -> None:
        """Ends a visitor's webcam."""
        with self._lock:
            live = self._streams.pop(session, None)
        if live is not None:
            live.stream.close()

    def _live(self, session: str, asked: Asked) -> _Live:
        key = (asked.model, asked.weights)
        with self._lock:
            idle = [each for each, live in self._streams.items() if live.idle()]
            found = self._streams.get(session)
        for each in idle:
            self.end_live(each)
        if found is not None and found.key == key and session not in idle:
            return found
        self.end_live(session)
        model = self.models.get(*key)
        with self._lock:
            if len(self._streams) >= MOST_STREAMS:
                raise InputError(f"{MOST_STREAMS} webcams are looked at already; try again in a minute.")
            made = self._streams[session] = _Live(key, model)
        return made


class _Live:
    """A visitor's webcam."""

    def __init__(self, key: tuple[str, str], model: SlowFast) -> None:
        self.key, self.stream = key, Stream(model, hop_seconds=0.5, topk=TOPK)
        self._lock = threading.Lock()
        self._latest = time.monotonic()

    def idle(self) -> bool:
        return time.monotonic() - self._latest > _IDLE_SECONDS

    def push(self, frame: Frame) -> StreamResult | None:
        with self._lock:  # a stream is used by one thread at a time
            gap = self.idle()
            self._latest = time.monotonic()
            return self.stream.push(frame, self._latest, gap=gap)


def as_code(offer_code: str, answer: Answer, asked: Asked) -> str:
    """The same in Python."""
    views, video = VIEWS[asked.views], answer.source
    begin = "from pathlib import Path\n\n" if "Path(" in offer_code else ""
    begin += f"import slowfast_zoo as zoo\n\nmodel = {offer_code}\nvideo = {video!r}\n"
    if answer.detections is not None:
        return (
            f'{begin}print(zoo.detect(model, video, detector="person", every_seconds={asked.hop_seconds:g},'
            f" engine={asked.engine!r}))\n"
        )
    return (
        f"{begin}print(zoo.predict(model, video, views={views!r}, topk={TOPK}, engine={asked.engine!r}))\n"
        f"answer = zoo.timeline(model, video, hop_seconds={asked.hop_seconds:g}, engine={asked.engine!r})\n"
        f"answer.save({Path(video).with_suffix('.srt').name!r})\n"
    )


def as_command(argument: str, answer: Answer, asked: Asked) -> str:
    """The same on the command line."""
    views, video = VIEWS[asked.views], answer.source
    name = shlex.quote(f"./{video}" if video.startswith("-") else video)
    common = f"{name} --model {shlex.quote(argument)} --engine {asked.engine}"
    if answer.detections is not None:
        return f"slowfast-zoo detect {common} --detector person --every {asked.hop_seconds:g}\n"
    out = shlex.quote(Path(video).with_suffix(".srt").name)
    return (
        f"slowfast-zoo predict {common} --views {views_name(views)} --topk {TOPK}\n"
        f"slowfast-zoo timeline {common} --hop {asked.hop_seconds:g} --out {out}\n"
    )


def _run(
    answer: Answer,
    begin: Callable[[], VideoRun[Any, Any]],
    field: Literal["timeline", "detections"],
    video: Path,
    stop: threading.Event,
    results: Path,
) -> Iterator[Answer]:
    """What a run finds, window after window; at last all of it, as files too.

    Args:
        answer: what is known before.
        begin: begins the run.
        field: of the answer, for what it finds.
        video: the upload, under whose name it stands, without where it lies on the server.
        stop: ends the run after the window at hand.
        results: the folder for files.
    """
    title, endings = _RUNS[field]
    before, since, told = answer.seconds, time.monotonic(), 0.0
    with begin() as run:
        if run.total > MOST_WINDOWS:
            raise InputError(
                f"This video has {run.total:,} windows, at most {MOST_WINDOWS:,} are accepted: take more"
                " seconds between windows, or a shorter part of the video."
            )

        def known(**facts: Any) -> Answer:
            facts[field] = dataclasses.replace(run.answer(), source=video.name)
            return dataclasses.replace(answer, seconds=before + time.monotonic() - since, **facts)

        for _ in run:
            if stop.is_set():
                break
            if time.monotonic() - told >= _UPDATE_SECONDS:
                told = time.monotonic()
                note = f"{title}: {run.answered} of {counted(run.total, run.unit)}"
                yield known(note=note, done=run.answered / max(run.total, 1))
        answer = known(done=1.0)
        yield answer
    found: Timeline | Detections = getattr(answer, field)
    files = tuple(results / f"{video.stem[:80] or title.lower()}.{ending}" for ending in endings)
    for path in files:
        found.save(path)
    yield dataclasses.replace(answer, files=files, note="" if found.complete else _STOPPED, finished=True)


def _engine(name: str) -> EngineName:
    for engine in get_args(EngineName):
        if engine == name:
            return engine  # type: ignore[no-any-return]
    raise InputError(f"engine is {name!r}; accepted: {quoted(get_args(EngineName))}.")
