"""CVAT's XML, "for video 1.1" and "for images 1.1": persons as boxes, what they do as attributes or labels.

    <track id="0" label="person">                                       for video
      <box frame="12" outside="0" xtl="20" ytl="10" xbr="60" ybr="90">
        <attribute name="action">walk</attribute>
      </box>
    </track>
    <image id="12" name="frame_000012" width="320" height="240">        for images
      <box label="person" xtl="20" ytl="10" xbr="60" ybr="90"/>
    </image>

Of a box's attributes a checkbox that is ticked names an action, and so does what is chosen in a list or among
radio buttons; texts and numbers don't. Where classes are given, attributes that can't name one of them don't
either. Boxes whose label has no such attributes aren't persons; where no label has, labels are actions.
Both forms give numbers of frames, from 0. A task of a video is of the file that it names; of pictures in
folders each folder is a video, and a picture's number its place there: the file may hold some of them only.

Source: https://docs.cvat.ai/docs/other/xml_format.
"""

from __future__ import annotations

import dataclasses
import math
import posixpath
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.parsers import expat

from slowfast_zoo.data.annotations import check_names
from slowfast_zoo.data.persons.actions import PersonActions, RowList
from slowfast_zoo.errors import DataError, did_you_mean
from slowfast_zoo.files import expanded

Pictures = Callable[[Sequence[str]], Mapping[str, Sequence[str]]]

_CHOICES = ("select", "radio")
_NOTHING = ("", "__undefined__")
"""Values that say that nothing was chosen."""
_CORNERS = ("xtl", "ytl", "xbr", "ybr")
_FAR = 1e9


def read_cvat(
    path: str | Path,
    classes: Mapping[int, str] | None = None,
    pictures: Pictures = lambda folders: {},
) -> tuple[PersonActions, dict[int, str]]:
    """The boxes of a file, in pixels, and the actions' names by number; "seconds" are frame numbers from 0.

    Args:
        path: of the XML, such as annotations.xml.
        classes: names by number. None: those of the file, in its order, from 1.
        pictures: gives the names of all pictures in folders, in order; nothing of those that aren't there:
            their pictures are counted in the file, which has to be of a whole task.

    Raises:
        DataError: the file can't be read, isn't CVAT's, defines entities, a box isn't one, two names seem to
            be one action, or which frame a picture is can't be known.
    """
    return _Reader(expanded(path)).read(classes, pictures)


@dataclasses.dataclass
class _Task:
    """What the head of the file says of one task."""

    id: str = ""
    name: str = ""
    source: str = ""


@dataclasses.dataclass
class _Box:
    """A box as it is written down; ``place`` is a video and a frame of it."""

    where: str
    corners: tuple[float, ...]
    label: str
    person: str | None
    place: tuple[str, float]
    values: dict[str, str] = dataclasses.field(default_factory=dict)


class _Reader:
    """One pass over the file; memory holds its boxes, whatever else is in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.stack: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.parser.CharacterDataHandler = self.text.append
        self.tasks: list[_Task] = [_Task()]
        self.label = ""
        self.attribute: dict[str, str] = {}
        self.naming: dict[tuple[str, str], frozenset[str]] = {}
        """What each attribute of a label can name."""
        self.boxes: list[_Box] = []
        self.pictures: dict[str, list[str]] = defaultdict(list)
        """What the file has of each folder."""
        self.partial = False
        """Whether the file is of some of the task's pictures only."""
        self.place = ("", 0.0)
        self.looked: list[tuple[str, float]] = []

    def read(
        self, classes: Mapping[int, str] | None, pictures: Pictures
    ) -> tuple[PersonActions, dict[int, str]]:
        try:
            with self.path.open("rb") as file:
                self.parser.ParseFile(file)
        except OSError as error:
            raise DataError(
                f"The annotations '{self.path}' can't be read: {error.strerror or error}."
            ) from error
        except expat.ExpatError as error:
            raise DataError(f"The annotations '{self.path}' are no XML: {error}.") from error
        except (LookupError, ValueError) as error:  # encodings that the parser doesn't have
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"The annotations '{self.path}' can't be read: {error}; save them as UTF-8."
            ) from error
        known = {name: number for number, name in (classes or {}).items()}
        found, persons, first_at = RowList(), dict[tuple[str, str], int](), dict[str, str]()
        there = pictures([*self.pictures]) if self.pictures else {}
        moved = {
            (folder, float(number)): (folder, float(place))
            for folder in self.pictures
            for number, place in enumerate(self._places(folder, there.get(folder, ())))
        }
        for place in self.looked:
            found.look(moved.get(place, place))
        if classes is not None:
            some = {key: names for key, names in self.naming.items() if names & known.keys()}
            self.naming = some or self.naming  # else an error tells what there is
        persons_labels = {label for label, _ in self.naming}
        for box in self.boxes:
            if persons_labels and box.label not in persons_labels:
                continue
            person, place = -1, moved.get(box.place, box.place)
            if box.person is not None:
                person = persons.setdefault((place[0], box.person), len(persons))
            names = self._actions(box)
            for name in names:
                if name not in known:
                    if classes is not None:
                        raise DataError(
                            f"{box.where}: there is no action '{name:.80}'.{did_you_mean(name, known)}"
                        )
                    known[name], first_at[name] = len(known) + 1, box.where
                found.add(place, box.corners, known[name], 1.0, person)
            if not names:
                found.add(place, box.corners, -1, 1.0, person)
        check_names(first_at)
        return found.finished(), {number: name for name, number in known.items()}

    def _places(self, folder: str, there: Sequence[str]) -> Sequence[int]:
        """Which frames the pictures of a folder are, in the order of the file."""
        names = self.pictures[folder]
        if not there:
            if self.partial:
                raise DataError(
                    f"{self.path}: it is of a job, or of some frames of its task, so that the folder"
                    f" '{folder:.80}' has to say which frame '{names[0]:.80}' is, and it isn't there; root"
                    " (--root) says where it is."
                )
            return range(len(names))
        places = {name: place for place, name in enumerate(there)}
        if lost := [name for name in names if name not in places]:
            raise DataError(
                f"{self.path}: the folder '{folder:.80}' has no picture '{lost[0]:.80}', but {len(there)}"
                f" such as '{there[0]:.80}'; were its frames extracted anew?"
            )
        return [places[name] for name in names]

    def _actions(self, box: _Box) -> list[str]:
        if not self.naming:
            return [box.label]
        names = []
        for name, value in box.values.items():
            can_be = self.naming.get((box.label, name))
            if can_be == frozenset([name]):
                names += [name] if value.strip().lower() == "true" else []
            elif can_be is not None and value.strip() not in _NOTHING:
                names.append(value.strip())
        return list(dict.fromkeys(names))

    def _refuse(self, *_: Any) -> None:
        raise DataError(
            f"{self._where()}: the file defines a document type, which CVAT's don't; entities could fill the"
            " memory."
        )

    def _where(self) -> str:
        return f"{self.path}:{self.parser.CurrentLineNumber}"

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if not self.stack and name != "annotations":
            raise DataError(
                f"{self._where()}: <{name:.40}> isn't CVAT's <annotations>; export 'CVAT for video 1.1'."
            )
        parent = self.stack[-1][0] if self.stack else ""
        self.stack.append((name, attributes))
        self.text.clear()
        if name in ("task", "job") and parent in ("meta", "tasks"):
            self.tasks.append(_Task())
        elif name == "image":
            self._image(attributes)
        elif name == "box":
            self._box(attributes, self.stack[-2][1] if parent == "track" else None)

    def _image(self, attributes: Mapping[str, str]) -> None:
        folder, base = posixpath.split(attributes.get("name", ""))
        number = base.partition(".")[0].removeprefix("frame_")
        if folder:
            self.place = (folder, float(len(self.pictures[folder])))
            self.pictures[folder].append(base)
        elif base.startswith("frame_") and number.isdecimal() and self._is_of_video(base, attributes):
            self.place = (self._video(self._task(attributes.get("task_id"))), float(number))
        else:
            raise DataError(
                f"{self._where()}: '{base:.80}' is a picture by itself, and actions are seen in videos;"
                " accepted: tasks of a video (frame_000012), or of folders of frames (walk/0012.jpg)."
            )
        self.looked.append(self.place)

    def _is_of_video(self, base: str, image: Mapping[str, str]) -> bool:
        """Whether a frame is CVAT's own; else it is a picture that ffmpeg counted, from 1."""
        return "." not in base or bool(self._task(image.get("task_id")).source)

    def _box(self, attributes: Mapping[str, str], track: Mapping[str, str] | None) -> None:
        if attributes.get("outside", "0") != "0":
            return  # the track isn't in the picture there
        corners = self._corners(attributes)
        label, person, place = attributes.get("label", ""), None, self.place
        if track is not None:
            label, person = track.get("label", ""), track.get("id")
            task = self._task(track.get("task_id"))
            place = (self._video(task), self._number(attributes, "frame"))
        self.boxes.append(_Box(self._where(), corners, label, person, place))

    def _corners(self, attributes: Mapping[str, str]) -> tuple[float, ...]:
        """Of a box that is turned, around its middle, those of the upright box around it."""
        left, top, right, bottom = (self._number(attributes, name) for name in _CORNERS)
        if attributes.get("rotation") is None:
            return left, top, right, bottom
        angle = math.radians(self._number(attributes, "rotation"))
        cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
        width, height = right - left, bottom - top
        wide, high = (width * cos + height * sin) / 2, (width * sin + height * cos) / 2
        x, y = (left + right) / 2, (top + bottom) / 2
        return x - wide, y - high, x + wide, y + high

    def _number(self, attributes: Mapping[str, str], name: str) -> float:
        try:
            value = float(attributes[name])
        except (KeyError, ValueError):
            value = _FAR
        if not abs(value) < _FAR:
            given = attributes.get(name)
            raise DataError(f"{self._where()}: {name} of the box is {given!r:.40}; accepted: a number.")
        return value

    def _task(self, number: str | None) -> _Task:
        named = [task for task in self.tasks if task.source or task.name]
        for task in named:
            if number is not None and task.id == number:
                return task
        if not named or (number is None and len(named) > 1):
            raise DataError(
                f"{self._where()}: which video this is of can't be known, as the file names {len(named)}"
                " tasks; export one task at a time."
            )
        return named[-1]

    def _video(self, task: _Task) -> str:
        return task.source or task.name

    def _end(self, name: str) -> None:
        text = "".join(self.text).strip()
        self.text.clear()
        _, attributes = self.stack.pop()
        parent, around = self.stack[-1] if self.stack else ("", {})
        if "meta" in (outer for outer, _ in self.stack):
            if parent in ("task", "job") and text:
                self.partial |= parent == "job" or name == "frame_filter"
                self.partial |= name == "start_frame" and text != "0"
            if name in ("id", "name", "source") and parent in ("task", "job", "meta"):
                if text or name != "source":
                    setattr(self.tasks[-1], name, text)
            elif name == "name" and parent == "label":
                self.label = text
            elif parent == "attribute":
                self.attribute[name] = text
            elif name == "attribute":
                self._declared(self.attribute)
                self.attribute = {}
        elif (name, parent) == ("attribute", "box") and self.boxes and around.get("outside", "0") == "0":
            self.boxes[-1].values[attributes.get("name", "")] = text

    def _declared(self, attribute: Mapping[str, str]) -> None:
        kind, name = attribute.get("input_type", ""), attribute.get("name", "")
        if kind == "checkbox":
            self.naming[self.label, name] = frozenset([name])
        elif kind in _CHOICES:
            values = (value.strip() for value in attribute.get("values", "").splitlines())
            self.naming[self.label, name] = frozenset(values) - set(_NOTHING)


def looks_like_cvat(head: str) -> bool:
    """Whether a text that begins so is an XML file of annotations."""
    return head.lstrip("\ufeff \r\n\t").startswith("<") and "<annotations" in head
