"""Persons' boxes from anywhere, made one thing: which boxes a key frame has, in pixels and in shares.

    array (n, 4) or (n, 5)    x1, y1, x2, y2[, score]; the same in every key frame
    dict                      second: any of these
    file that ends in .csv    AVA's and PySlowFast's rows, video,second,x1,y1,x2,y2[,action[,score]]
    file that ends in .pkl    MMAction2's proposals, {"video,0902": array}; nothing in it is run
    a detector's result       .xyxy with .confidence and .tracker_id (supervision), .boxes with .xyxy, .conf,
                              .id (Ultralytics), or a dict of "boxes", "scores", "labels" (torchvision); of
                              its classes persons
    a function                frame, uint8 (H, W, 3) RGB -> boxes, or (boxes, scores), or a result

Units are never guessed: files have shares and all else pixels, unless ``unit`` says otherwise.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from slowfast_zoo.data.persons import Unit
from slowfast_zoo.data.persons.actions import LARGEST_SHARE, Values, read_ava
from slowfast_zoo.data.persons.pickled import PlainPickle
from slowfast_zoo.errors import DataError, InputError, counted, did_you_mean, quoted
from slowfast_zoo.files import expanded
from slowfast_zoo.video.decoding.video import Frame
from slowfast_zoo.video.sampling import is_number

_LOGGER = logging.getLogger(__name__)

MOST_BOXES = 1000
"""Of a frame; more are a detector without a threshold."""
SAME_SECOND = 0.02
"""Times that are nearer are one key frame: half a frame of most videos."""
SHARES_BELOW = 1.5
"""Boxes that stay below are shares: in pixels they would be smaller than two."""
_FARTHEST = 10
"""Times the larger side of the picture: what a box reaches costs time, and is a mistake."""
_FAR = 1e9
"""Coordinates from here on are no place in a picture."""
_ACCEPTED = (
    "x1, y1, x2, y2 (and a score) a row; a dict of them by second; a .csv or .pkl file; a detector's result;"
    " a function of a frame"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Boxes:
    """The persons of one frame."""

    pixels: Values
    """float64 (n, 4): x1, y1, x2, y2 in pixels of the upright frame; may reach outside."""
    scores: Values
    """float64 (n,): the detector's; 1 where none were given."""
    tracks: tuple[str | None, ...] | None
    """Who is who, as it was given; None: nothing said so, of all or of one."""
    height: int
    """Pixels of the frame."""
    width: int
    """Pixels of the frame."""

    def __len__(self) -> int:
        """How many persons there are."""
        return len(self.pixels)

    @property
    def normalized(self) -> Values:
        """float64 (n, 4): x1, y1, x2, y2 as shares of width and height."""
        shares: Values = self.pixels / np.array([self.width, self.height] * 2, np.float64)
        return shares

    def select(self, rows: npt.NDArray[np.bool_]) -> Boxes:
        """Some of them."""
        tracks = self.tracks and tuple(np.array(self.tracks, object)[rows].tolist())
        return dataclasses.replace(self, pixels=self.pixels[rows], scores=self.scores[rows], tracks=tracks)

    def __repr__(self) -> str:
        return f"Boxes({counted(len(self), 'person')} in {self.width}x{self.height} pixels)"


@dataclasses.dataclass(frozen=True)
class _Given:
    """Boxes as they were given, before the frame's size is known."""

    boxes: Any
    scores: Any = None
    tracks: Any = None
    classes: Any = None
    person: int = 0
    """The class of persons: 0 in most detectors' results, 1 in torchvision's."""


class PersonBoxes:
    """The boxes of one video's key frames; made by ``person_boxes``.

    Attributes:
        seconds: the key frames that have boxes; None: whatever frame is asked for has.
        needs_frames: whether frames have to be shown to it.
        unit: of the numbers that are given.
    """

    def __init__(
        self,
        unit: Unit,
        *,
        fixed: _Given | None = None,
        by_second: Mapping[float, _Given] | None = None,
        detector: Callable[[Frame], Any] | None = None,
    ) -> None:
        self.unit = unit
        self._fixed, self._detector = fixed, detector
        self._by_second = dict(sorted((by_second or {}).items()))
        self.seconds = None if by_second is None else tuple(self._by_second)
        self.needs_frames = detector is not None

    def at(self, second: float, height: int, width: int, frame: Frame | None = None) -> Boxes:
        """The persons of one key frame, of a video of that many pixels.

        Args:
            second: of the key frame; a time without boxes has none.
            height: pixels of the upright frame.
            width: pixels of the upright frame.
            frame: uint8 (height, width, 3) RGB, where ``needs_frames``.

        Raises:
            InputError: boxes that aren't boxes, or in another unit than was said.
        """
        if self._detector is not None:
            if frame is None:
                raise InputError("These boxes come from a function of the frame, and no frame was given.")
            given = _given(self._detector(frame), "What the function returned")
        elif self.seconds is not None:
            given = self._near(second) or _Given(())
        else:
            assert self._fixed is not None
            given = self._fixed
        return _checked(given, self.unit, height, width, f"at {second:g} s")

    def has(self, second: float) -> bool:
        """Whether something was given for a key frame at that time, be it that nobody is there."""
        return self.seconds is None or self._near(second) is not None

    def _near(self, second: float) -> _Given | None:
        """What was given for that time."""
        known = self.seconds or ()
        place = int(np.searchsorted(known, second))
        near = min(
            known[max(place - 1, 0) : place + 1], key=lambda moment: abs(moment - second), default=math.inf
        )
        return self._by_second[near] if abs(near - second) <= SAME_SECOND else None

    def check_duration(self, seconds: float) -> None:
        """Refuses boxes of times that the video doesn't have.

        Args:
            seconds: how long the video is.

        Raises:
            InputError: a key frame lies before its begin or after its end.
        """
        known = self.seconds or ()
        outside = [moment for moment in known if not 0 <= moment <= seconds + SAME_SECOND]
        if outside:
            advice = "If it begins at second 900 of the film, as AVA's 15 minutes do, say begins_at=900."
            if outside[0] < 0:
                advice = "Such times come of begins_at=, which isn't this video's: give another, or none."
            raise InputError(
                f"{len(outside)} of {len(known)} key frames with boxes lie outside the video, such as"
                f" {outside[0]:g} s; it lasts {seconds:.3f} s. {advice}"
            )


NOBODY = PersonBoxes("normalized", by_second={})
"""Of a video without boxes."""


def person_boxes(
    source: Any,
    *,
    unit: Unit | None = None,
    video: str | None = None,
    name: str | None = None,
    begins_at: float = 0.0,
) -> PersonBoxes:
    """Boxes from anywhere, in the forms above.

    Args:
        source: one of these forms; a path may be text.
        unit: "pixels" of the upright frame or "normalized", shares of its width and height. None: what the
            form means, shares in files, else pixels. Never guessed: numbers that can't be what the unit says
            are an error.
        video: whose boxes, in a file of several videos; its name there.
        name: the same where ``video`` is None; a file of one video needn't have it, and a warning says so.
        begins_at: the second of a file's or dict's time at which the video begins: 900 for AVA's 15 minutes.

    Raises:
        InputError: another form, or a video that isn't in the file.
        DataError: a file that can't be read.
    """
    if unit not in (None, "pixels", "normalized"):
        raise InputError(f"unit is {unit!r}; accepted: 'pixels' or 'normalized'.")
    checked_begin(begins_at)
    if isinstance(source, (str, Path)):
        path = expanded(source)
        rows = _read_file(path)
        by_second = of_video(rows, video, path) if video else of_only_video(rows, name, path)
        shifted = {second - begins_at: given for second, given in by_second.items()}
        return PersonBoxes(unit or "normalized", by_second=shifted)
    if isinstance(source, Mapping) and not {"boxes", "xyxy"} & set(source):
        by_second = {
            _second(moment) - begins_at: _given(value, f"boxes of second {moment}")
            for moment, value in source.items()
        }
        return PersonBoxes(unit or "pixels", by_second=by_second)
    if callable(source) and not hasattr(source, "xyxy") and not hasattr(source, "boxes"):
        return PersonBoxes(unit or "pixels", detector=source)
    return PersonBoxes(unit or "pixels", fixed=_given(source, "boxes"))


def boxes_by_video(
    *paths: str | Path, unit: Unit | None = None, begins_at: float = 0.0
) -> dict[str, PersonBoxes]:
    """The boxes of every video of files; arguments and errors are those of ``person_boxes``.

    Raises:
        DataError: also where two files have the same second of a video.
    """
    checked_begin(begins_at)
    by_video: _Rows = {}
    for path in paths:
        found = _read_file(expanded(path))
        if not found:
            raise _without_boxes(path)
        for video, rows in found.items():
            known = by_video.setdefault(video, {})
            if twice := known.keys() & rows.keys():
                raise DataError(
                    f"'{path}' has boxes of '{video}' at {min(twice):g}, and so has a file before it: which"
                    " of them count can't be known; leave them out of one."
                )
            known |= rows
    return {
        video: PersonBoxes(
            unit or "normalized", by_second={second - begins_at: given for second, given in rows.items()}
        )
        for video, rows in by_video.items()
    }


def checked_begin(begins_at: object) -> float:
    """When videos begin in a file's time, in seconds.

    Raises:
        InputError: no finite number.
    """
    if not is_number(begins_at):
        raise InputError(f"begins_at is {begins_at!r:.60}; accepted: a finite number of seconds.")
    return float(begins_at)


def _second(moment: object) -> float:
    if not is_number(moment):
        raise InputError(f"A dict of boxes has the key {moment!r:.60}; accepted: the second of a key frame.")
    return float(moment)


def _given(value: Any, what: str) -> _Given:
    """Boxes, scores, tracks and classes out of any of the forms that hold one frame's."""
    if (
        isinstance(value, list)
        and len(value) == 1
        and (isinstance(value[0], Mapping) or hasattr(value[0], "boxes") or hasattr(value[0], "xyxy"))
    ):
        value = value[0]  # Ultralytics and torchvision: a list of results, one a picture
    if isinstance(value, Mapping):
        if "boxes" not in value:
            raise InputError(
                f"{what}: a dict with {quoted(map(str, value)) or 'nothing'}; accepted: 'boxes' and 'scores'."
            )
        return _Given(value["boxes"], value.get("scores"), value.get("tracks"), value.get("labels"), 1)
    inner = getattr(value, "boxes", None)
    if inner is not None and hasattr(inner, "xyxy"):
        scores, tracks, classes = (_attr(inner, name) for name in ("conf", "id", "cls"))
        return _Given(inner.xyxy, scores, tracks, classes, _person_among(getattr(value, "names", None), what))
    if hasattr(value, "xyxy"):
        scores, classes = _attr(value, "confidence", "conf"), _attr(value, "class_id", "cls")
        told = getattr(value, "data", None)
        names = told.get("class_name") if isinstance(told, Mapping) else None
        if names is not None:
            classes = np.array([str(name).lower() != "person" for name in names], np.float64)
        return _Given(value.xyxy, scores, _attr(value, "tracker_id", "id"), classes)
    if inner is not None:
        return _Given(inner, getattr(value, "scores", None))
    if isinstance(value, tuple) and len(value) == 2:
        with contextlib.suppress(ValueError):  # rows of different lengths, which are refused as boxes
            return _Given(*value) if np.ndim(_plain(value[0])) == 2 else _Given(value)
        return _Given(*value)
    return _Given(value)


def _person_among(names: object, what: str) -> int:
    """The number of the class of persons in a detector's own names; 0 where it tells none.

    Raises:
        InputError: it finds something else.
    """
    if not isinstance(names, Mapping) or not names:
        return 0
    numbers = [number for number, name in names.items() if str(name).lower() == "person"]
    if not numbers:
        raise InputError(
            f"{what}: the detector finds {quoted(map(str, names.values()), 5)}, and no 'person'."
        )
    return int(numbers[0])


def _attr(value: object, *names: str) -> Any:
    return next((found for name in names if (found := getattr(value, name, None)) is not None), None)


def _plain(value: Any) -> Any:
    """A tensor on any device as an array, without importing what made it."""
    for method in ("detach", "cpu", "double", "numpy"):  # arrays have no bfloat16
        if not isinstance(value, np.ndarray) and hasattr(value, method):
            value = getattr(value, method)()
    return value


def _numbers(value: Any, what: str) -> Values:
    try:
        values = np.asarray(_plain(value), np.float64)
        if not values.ndim and not isinstance(value, (int, float)):
            raise TypeError("it holds no numbers")
        return values
    except (TypeError, ValueError, OverflowError, NotImplementedError) as error:
        shown, why = type(value).__name__, str(error).rstrip(".")
        raise InputError(f"{what} can't be read from a {shown}: {why}. Accepted: {_ACCEPTED}.") from error


def _checked(given: _Given, unit: Unit, height: int, width: int, where: str) -> Boxes:
    """One frame's boxes, proven to be some.

    Raises:
        InputError: they aren't.
    """
    values = _numbers(given.boxes, f"Boxes {where}")
    values = values.reshape(-1, 4) if not values.size else np.atleast_2d(values)
    if values.ndim != 2 or values.shape[1] not in (4, 5):
        raise InputError(f"Boxes {where} have shape {values.shape}; accepted: (n, 4) or (n, 5) with scores.")
    boxes, count = values[:, :4], len(values)
    if count > MOST_BOXES:
        raise InputError(
            f"There are {count} boxes {where}; accepted: up to {MOST_BOXES} in a frame. Leave out those of"
            " low score."
        )
    scores = values[:, 4] if values.shape[1] == 5 else np.ones(count)
    if given.scores is not None:
        scores = _numbers(given.scores, f"Scores {where}").reshape(-1)
    tracks = None if given.tracks is None else _names(given.tracks, where)
    classes = np.full(count, given.person) if given.classes is None else _numbers(given.classes, "Classes")
    for name, found in (("scores", scores), ("track ids", tracks), ("classes", classes)):
        if found is not None and len(found) != count:
            raise InputError(f"There are {count} boxes and {len(found)} {name} {where}; accepted: one each.")
    _check_values(boxes, scores, unit, height, width, where)
    pixels = boxes if unit == "pixels" else boxes * np.array([width, height] * 2, np.float64)
    return Boxes(pixels, scores, tracks, height, width).select(classes.reshape(-1) == given.person)


def _names(tracks: Any, where: str) -> tuple[str | None, ...]:
    """Track ids; whole numbers without the fraction that detectors' float tensors give them."""
    try:
        values = np.asarray(_plain(tracks), object if isinstance(tracks, (list, tuple)) else None).reshape(-1)
    except (TypeError, ValueError, OverflowError, NotImplementedError) as error:
        raise InputError(f"Track ids {where} are {tracks!r:.60}; accepted: a name or number each.") from error
    given: list[Any] = values.tolist()
    numbers = [int(track) if isinstance(track, float) and track.is_integer() else track for track in given]
    return tuple(None if track is None or track != track else str(track) for track in numbers)


def _check_values(boxes: Values, scores: Values, unit: Unit, height: int, width: int, where: str) -> None:
    if not len(boxes):
        return
    fine = (np.abs(boxes) < _FAR).all(axis=1) & np.isfinite(scores)
    if not fine.all():
        row = int(np.flatnonzero(~fine)[0])
        raise InputError(
            f"Box {row} {where} is {shown(boxes[row])}, score {scores[row]:g}: not finite numbers below"
            f" {_FAR:g}."
        )
    largest = float(np.abs(boxes).max())
    if unit == "pixels" and largest <= SHARES_BELOW:
        raise InputError(
            f"Boxes {where} reach {largest:.3g}: these are shares of width and height, given as pixels. Say"
            " unit='normalized' (--unit)."
        )
    if unit == "pixels" and largest > _FARTHEST * max(width, height):
        raise InputError(
            f"Boxes {where} reach {largest:g} in a picture of {width}x{height} pixels; accepted: up to"
            f" {_FARTHEST} times its size."
        )
    if unit == "normalized" and largest > LARGEST_SHARE:
        raise InputError(
            f"Boxes {where} reach {largest:g}: these are pixels, given as shares of width and height. Say"
            " unit='pixels' (--unit)."
        )
    reversed_ = (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
    if reversed_.any():
        row = int(np.flatnonzero(reversed_)[0])
        raise InputError(
            f"Box {row} {where} is {shown(boxes[row])}, which has no area; accepted: x1, y1, x2, y2, the"
            " upper left and the lower right corner (not x, y, width, height)."
        )
    right, bottom = (width, height) if unit == "pixels" else (1.0, 1.0)
    outside = (boxes[:, 0] >= right) | (boxes[:, 1] >= bottom) | (boxes[:, 2:] <= 0).any(axis=1)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise InputError(
            f"Box {row} {where} is {shown(boxes[row])}, which lies outside the picture of {width}x{height}"
            " pixels; were the boxes made for another size?"
        )


def shown(box: Values) -> str:
    """The numbers of a box, for messages."""
    return ", ".join(f"{value:g}" for value in box.tolist())


_Rows = dict[str, dict[float, _Given]]
"""Boxes by video and second."""

_OfVideo = TypeVar("_OfVideo")


def _read_file(path: Path) -> _Rows:
    return _read_proposals(path) if path.suffix.lower() in (".pkl", ".pickle") else _read_csv(path)


def of_only_video(boxes: Mapping[str, _OfVideo], name: str | None, path: str | Path) -> _OfVideo:
    """``of_video``, of a file with one video's boxes those, whatever the video is called there."""
    if len(boxes) != 1:
        return of_video(boxes, name, path)
    (only,) = boxes
    if name is not None and unicodedata.normalize("NFC", name) != unicodedata.normalize("NFC", only):
        _LOGGER.warning(
            "'%s' has boxes of '%s' alone, which are taken for '%s'; if so, say video='%s' (--video).",
            path,
            only,
            name,
            only,
        )
    return boxes[only]


def of_video(boxes: Mapping[str, _OfVideo], video: str | None, path: str | Path) -> _OfVideo:
    """What a file has for a video.

    Args:
        boxes: of the file's videos by name, such as ``boxes_by_video`` gives.
        video: its name; None: the only one.
        path: what messages call the file.

    Raises:
        DataError: the file has no boxes at all.
        InputError: it has none of that video, or of several and none is named.
    """
    if video is None and len(boxes) == 1:
        return next(iter(boxes.values()))
    if not boxes:
        raise _without_boxes(path)
    if video is not None and video not in boxes:  # a Mac may write an accented letter as two
        spelled = {unicodedata.normalize("NFC", name): name for name in boxes}
        video = spelled.get(unicodedata.normalize("NFC", video), video)
    if video is None or video not in boxes:
        names = list(boxes)
        near = did_you_mean(video or "", names) or f" It has {quoted(names, 5)}."
        told = (
            f"no boxes of the video '{video}'"
            if video is not None
            else f"boxes of {len(boxes)} videos: say video="
        )
        raise InputError(f"'{path}' has {told}.{near}")
    return boxes[video]


def _without_boxes(path: str | Path) -> DataError:
    return DataError(f"'{path}' has no boxes at all.")


def _read_csv(path: Path) -> _Rows:
    """AVA's ground truth or detections, or PySlowFast's person boxes: a row an action, each box once.

    Where several actions of one box have different scores, these are theirs, and boxes have none.
    """
    found = read_ava(path, scored=None)
    numbered = bool((found.persons >= 0).any())
    merged: list[dict[tuple[float, ...], tuple[dict[int, float], int | None]]] = [{} for _ in found.frames]
    columns = (found.frame, found.boxes, found.labels, found.scores, found.persons)
    for frame, box, label, score, person in zip(*(column.tolist() for column in columns), strict=True):
        told, _ = merged[frame].get(tuple(box), ({}, None))
        told[label] = max(score, told.get(label, score))
        merged[frame][tuple(box)] = (told, None if person < 0 else person)
    of_actions = any(
        len({score for label, score in told.items() if label >= 0}) > 1
        for boxes in merged
        for told, _ in boxes.values()
    )
    by_video: _Rows = {}
    for (video, second), boxes in zip(found.frames, merged, strict=True):
        sure = np.array([1.0 if of_actions else max(told.values()) for told, _ in boxes.values()])
        persons = tuple(person for _, person in boxes.values()) if numbered else None
        given = _Given(np.array([*boxes]).reshape(-1, 4), sure, persons)
        by_video.setdefault(video, {})[second] = given
    return by_video


def _read_proposals(path: Path) -> _Rows:
    """MMAction2's proposals: ``{"video,0902": (n, 4 or 5)}``."""
    pickle = PlainPickle(path, "proposals")
    if not isinstance(pickle.value, dict):
        raise DataError(f"The proposals '{path}' aren't a dict of 'video,second' to arrays of boxes.")
    by_video: _Rows = {}
    for key, value in pickle.value.items():
        video, mark, second = str(key).rpartition(",")
        if not mark or not re.fullmatch(r"\s*[0-9]{1,9}\s*", second):
            raise DataError(f"The proposals '{path}' have the key {key!r:.60}; accepted: 'video,0902'.")
        boxes = pickle.array(value)
        if boxes.size and (boxes.ndim != 2 or boxes.shape[1] not in (4, 5)):
            raise DataError(f"The proposals '{path}' have boxes of shape {boxes.shape} at {key!r:.60}.")
        if float(second) in by_video.setdefault(video, {}):
            raise DataError(f"The proposals '{path}' have second {float(second):g} of '{video}' twice.")
        by_video[video][float(second)] = _Given(boxes)
    return by_video
