"""Who does what in a video: the persons of each key frame with their actions.

    answer = detect(model, "clip.mp4", detector="person")
    answer.persons[0]     # Person(0 s, box 310, 42, 455, 470: stand 93.1%, talk to 41.0%)

The video is read once, in constant memory: key frames for whatever finds persons, and the clip around each
for the network, come out of the same pass.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Generator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch

from slowfast_zoo.data.persons import Unit
from slowfast_zoo.data.persons.boxes import Boxes, PersonBoxes, person_boxes
from slowfast_zoo.errors import InputError
from slowfast_zoo.inference.aggregate import best_classes, check_topk
from slowfast_zoo.inference.detect import DetectorName
from slowfast_zoo.inference.detect.detections import Detections, Person, video_name
from slowfast_zoo.inference.detect.detectors import PersonDetector, detector_for
from slowfast_zoo.inference.engines import EngineName
from slowfast_zoo.inference.engines.optimize import OptimizedModel
from slowfast_zoo.inference.inputs import check_single
from slowfast_zoo.inference.runner import BatchRunner, check_predictable, device_of, frames_on
from slowfast_zoo.inference.video_run import VideoRun, WindowJob
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.runtime.precision import Precision
from slowfast_zoo.spec import class_names
from slowfast_zoo.video.decoding.video import Frame
from slowfast_zoo.video.key_frames import EveryKeyFrame, KeyFrames
from slowfast_zoo.video.sampling import checked_seconds, checked_share
from slowfast_zoo.video.sources.names import display_name
from slowfast_zoo.video.transforms.boxes import roi_boxes
from slowfast_zoo.video.windows import Window, WindowReader

if TYPE_CHECKING:
    from slowfast_zoo.video.decoding.reader import Source

_SURE = 0.7
"""Score from which what torchvision's detectors find counts, if nothing else is said.

The weights for AVA were trained and scored with boxes from 0.8 or 0.9 on, of a detector that was made for AVA
and wasn't published. Detectors made for COCO are less sure of the persons in films; PyTorchVideo's tutorial
takes 0.55 and 0.75. Source: https://github.com/facebookresearch/pytorchvideo, ``tutorials``.
"""


def detect(
    model: SlowFast | OptimizedModel,
    source: Source,
    *,
    boxes: Any = None,
    detector: DetectorName | None = None,
    unit: Unit | None = None,
    video: str | None = None,
    begins_at: float = 0.0,
    every_seconds: float = 1.0,
    box_score: float | None = None,
    score: float = 0.0,
    topk: int | None = 5,
    fps: float | Fraction | None = None,
    device: str | torch.device | None = None,
    engine: EngineName = "auto",
    precision: Precision = "float32",
    batch_size: int | None = None,
    progress: bool = True,
) -> Detections:
    """Who does what in a video of any length, read once in constant memory.

    Each person's actions are those of a clip around a key frame. Key frames are where boxes were given for,
    or ``every_seconds``; a video without persons gives an answer without them.

    Args:
        model: a model that scores persons, named *_roi; it is only read; or what ``optimize`` made of one.
        source: one video, as for ``predict``.
        boxes: where the persons are: an array (n, 4) of x1, y1, x2, y2 (or (n, 5) with scores), which holds
            for every key frame; a dict of them by second; AVA's or PySlowFast's .csv; MMAction2's .pkl of
            proposals, in which nothing is run; a result of Ultralytics, supervision or torchvision; or a
            function of a key frame, uint8 RGB (H, W, 3), that returns boxes, or boxes and scores, or such a
            result. Or what ``person_boxes`` made of one.
        detector: instead of ``boxes``, what finds persons: "person-fast" and "person-strong" are
            torchvision's Faster R-CNN with MobileNetV3 and with ResNet-50, whose weights are downloaded;
            "person" takes the fast one on a processor and the strong one elsewhere.
        unit: of ``boxes``: "pixels" of the upright frame, or "normalized". None: shares of width and height
            in files, else pixels.
        video: this one's name in a file of several videos; None: the source's name without folder and ending.
        begins_at: the second of a file's or dict's time at which the video begins: 900 for AVA's 15 minutes.
        every_seconds: from one key frame to the next, which lie at its multiples, where boxes aren't given
            for certain seconds.
        box_score: how sure the detector has to be that it is a person. None: boxes that are given all count,
            those of ``detector`` from 0.7 on.
        score: actions of a smaller probability are left out.
        topk: how many actions to give for each person, best first; None for all.
        fps: as for ``predict``.
        device: as for ``predict``; ``detector`` computes there too.
        engine: as for ``predict``.
        precision: as for ``predict``, of the actions' network.
        batch_size: key frames that go through the network at once, with all their boxes; None: as many as the
            device gains from.
        progress: show a bar on a terminal and in notebooks, else a line every 30 seconds.

    Raises:
        InputError: an argument, source or box that is not accepted.
        DataError: a file of boxes that can't be read.
        VideoError: the video can't be read.
        DownloadError, OfflineError: the detector's weights aren't there and can't be fetched.
    """
    check_single(source, "call detect for each of many.")
    maker = DetectionMaker(
        model,
        detector=detector,
        every_seconds=every_seconds,
        box_score=box_score,
        score=score,
        topk=topk,
        fps=fps,
        device=device,
        engine=engine,
        precision=precision,
        batch_size=batch_size,
        progress=progress,
    )
    if detector is None:
        boxes = boxes_of(boxes, source, unit=unit, video=video, begins_at=begins_at)
    elif boxes is not None:
        raise InputError("Persons come from boxes= or from detector=, and both were given.")
    elif unit is not None or video is not None or begins_at:
        raise InputError("unit, video and begins_at say how boxes= are read, and detector= has none.")
    with maker.begin(source, boxes) as run:
        return run.finish("detect", show=progress)


def boxes_of(
    boxes: Any, source: Source, *, unit: Unit | None = None, video: str | None = None, begins_at: float = 0.0
) -> PersonBoxes:
    """The boxes of one video; arguments and errors: ``detect``."""
    if boxes is None:
        raise InputError(
            "Where are the persons? Give boxes= (an array, a dict by second, a file, a function of a frame),"
            " or detector='person' to have them found."
        )
    if not isinstance(boxes, PersonBoxes):
        name = video_name(display_name(source))
        return person_boxes(boxes, unit=unit, video=video, name=name, begins_at=begins_at)
    if unit is not None or video is not None or begins_at:
        raise InputError("These boxes were read already: give unit=, video= and begins_at= to person_boxes.")
    return boxes


class DetectionMaker:
    """A model with everything that was decided about detections; for any number of videos.

    Args:
        model: as for ``detect``, as all others.

    Raises:
        InputError, UnknownNameError: an argument that is not accepted.
    """

    def __init__(
        self,
        model: SlowFast | OptimizedModel,
        *,
        detector: DetectorName | None = None,
        every_seconds: float = 1.0,
        box_score: float | None = None,
        score: float = 0.0,
        topk: int | None = 5,
        fps: float | Fraction | None = None,
        device: str | torch.device | None = None,
        engine: EngineName = "auto",
        precision: Precision = "float32",
        batch_size: int | None = None,
        progress: bool = True,
    ) -> None:
        check_predictable(model, boxes=True)
        if detector is not None:
            detector_for(detector, torch.device("cpu"))
        self.every_seconds = checked_seconds("every_seconds", every_seconds, positive=True)
        sure = -math.inf if detector is None else _SURE
        self.box_score = sure if box_score is None else checked_share("box_score", box_score)
        self.score, self.topk, self.fps = checked_share("score", score), check_topk(topk), fps
        # What the model's owner does to it later reaches no answer of this object.
        self.spec, self.clip_spec, self.given_labels = model.spec, model.clip_spec, model.labels
        self.frames_on = frames_on(model, device)
        self._new_runner = functools.partial(
            BatchRunner, model, engine, precision, device, batch_size=batch_size, boxes=True
        )
        self._detector_name, self._progress = detector, progress
        self._detector_on = device_of(model, device)
        self._detector: PersonDetector | None = None
        self._runner: BatchRunner | None = None

    def begin(self, source: Source, boxes: PersonBoxes | None, *, alone: bool = True) -> DetectionRun:
        """Detections in the making, to be used in a ``with`` statement.

        Args:
            source: one video.
            boxes: its persons'; None: those that the detector finds.
            alone: whether no other video will follow, which decides what engine "auto" is.

        Raises:
            InputError, VideoError, DownloadError, OfflineError: as ``detect``.
        """
        if boxes is not None:
            return DetectionRun(self, source, boxes, None, alone)
        if self._detector is None:
            assert self._detector_name is not None
            self._detector = PersonDetector(self._detector_name, self._detector_on, progress=self._progress)
        return DetectionRun(self, source, person_boxes(self._detector), self._detector.name, alone)

    def runner(self, clips: int | None) -> BatchRunner:
        """The network; how many clips will come decides about the engine, when the first ones come."""
        if self._runner is None:
            self._runner = self._new_runner(clips=clips)
        return self._runner


@dataclasses.dataclass
class _KeyJob(WindowJob):
    """The clip around one key frame on its way through the network."""

    persons: Boxes = dataclasses.field(kw_only=True)


class DetectionRun(VideoRun[_KeyJob, Detections]):
    """Detections in the making; a window is the clip around a key frame."""

    unit = "key frame"

    def __init__(
        self, maker: DetectionMaker, source: Source, boxes: PersonBoxes, detector: str | None, alone: bool
    ) -> None:
        self._maker, self._boxes, self._detector, self._alone = maker, boxes, detector, alone
        if boxes.needs_frames:  # what finds persons isn't called in another thread than its owner's
            self._ahead = 0
        self._found: dict[int, Boxes] = {}
        super().__init__(source, maker.fps)

    def answer(self) -> Detections:
        """What has been answered so far."""
        maker, video = self._maker, self._video
        answers = [self._answers[number] for number in range(self.total) if number in self._answers]
        return Detections(
            source=self.name,
            labels=class_names(maker.given_labels, maker.spec.num_classes),
            persons=tuple(person for _, persons in answers for person in persons),
            key_seconds=tuple(moment for moment, _ in answers),
            width=video.width,
            height=video.height,
            multi_label=maker.spec.activation == "sigmoid",
            detector=self._detector,
            duration_seconds=self._duration,
            damaged_frames=video.damaged_frames,
            complete=len(answers) == self.total,
        )

    def _plan_windows(self) -> None:
        maker, plan = self._maker, self._planned()
        if plan is not None:
            self._plan: KeyFrames = plan
            look = self._look if self._boxes.needs_frames else None
            self._reader = WindowReader(self._video, maker.clip_spec, plan, look=look, device=maker.frames_on)
        self._runner = maker.runner(self.total if self._alone else None)

    def _planned(self) -> KeyFrames | None:
        """Where the key frames are; None: nowhere."""
        if self._boxes.seconds is None:
            return EveryKeyFrame(self._maker.every_seconds)
        self._boxes.check_duration(self._duration)
        return KeyFrames(self._boxes.seconds) if self._boxes.seconds else None

    def _jobs(self, reader: WindowReader) -> Generator[_KeyJob, None, None]:
        spec, video = self._maker.clip_spec, self._video
        for window, clips in reader:
            persons = self._persons_at(window)
            seen = wanted = None
            if len(persons):
                seen, wanted = clips, roi_boxes(persons.normalized, spec, persons.height, persons.width)
            yield _KeyJob(video.name, seen, boxes=wanted, window=window, persons=persons)

    def _look(self, index: int, frame: Frame) -> None:
        """A key frame on its way through the decoder."""
        height, width = frame.shape[:2]
        second = self._video.seconds_of(index)
        self._found[index] = self._boxes.at(second, height, width, frame)

    def _persons_at(self, window: Window) -> Boxes:
        if self._boxes.needs_frames:
            assert window.key_frame is not None
            boxes = self._found[window.key_frame]
            for index in [index for index in self._found if index < window.key_frame]:
                del self._found[index]
        else:
            boxes = self._boxes.at(self._second_of(window), self._video.height, self._video.width)
        return boxes.select(boxes.scores >= self._maker.box_score)

    def _second_of(self, window: Window) -> float:
        return self._plan.seconds[window.number]

    def _of(self, job: _KeyJob) -> tuple[float, tuple[Person, ...]]:
        return self._second_of(job.window), self._persons(job)

    def _persons(self, job: _KeyJob) -> tuple[Person, ...]:
        if not len(job.persons):
            return ()
        maker, boxes, moment = self._maker, job.persons, self._second_of(job.window)
        tracks = boxes.tracks or (None,) * len(boxes)
        rows = job.of_boxes(maker.spec.activation)
        facts = zip(boxes.pixels.tolist(), boxes.normalized.tolist(), boxes.scores.tolist(), strict=True)
        persons = []
        for scores, (pixels, shares, sure), track in zip(rows, facts, tracks, strict=True):
            labels, best = best_classes(scores, maker.given_labels, maker.topk)
            count = sum(value >= maker.score for value in best)
            persons.append(
                Person(moment, tuple(pixels), tuple(shares), sure, track, labels[:count], best[:count])
            )
        return tuple(persons)
