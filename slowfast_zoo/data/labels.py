"""Label maps: what classes are called, in the forms that other tools write.

    plain       one name a line, from 0
    numbered    "1 drinking" (UCF101's classInd.txt), "0: drinking", "drinking,0"; also with ";", "=", "|",
                "->" or " - " between
    CSV         a header with a number and a name, such as id,name
    JSON        a list of names; an object from names to numbers, or from numbers to names
    pbtxt       item { name: "drinking" id: 1 }

Numbers run from 0 or 1 without a gap, in any order.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, KeysView, Mapping, Sequence, Set
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

from slowfast_zoo.errors import DataError, quoted, text_without_secrets
from slowfast_zoo.files import expanded, read_text

MOST_CLASSES = 100_000
"""More are a mistake: a number of frames or an id where a class is expected."""
NAME_COLUMNS = {"name", "label", "class", "label_name", "class_name", "category", "action", "display_name"}
NUMBER_COLUMNS = {
    "id",
    "index",
    "number",
    "label_id",
    "class_id",
    "label_index",
    "class_index",
    "category_id",
}

_HEADINGS = NAME_COLUMNS | {"labels", "names", "classes", "label_names", "class_names", "categories"}
_HEADINGS |= {"actions", "activities"}

_LONGEST = 300
_MARKS = r"->|=>|[:,;=|]"
_LEADING = re.compile(
    rf"(?P<number>[0-9]{{1,9}})\s*(?:{_MARKS}|[.)](?![0-9])|(?<=\s)-(?=\s)|(?<=\s))\s*(?P<name>\S.*)"
)
_TRAILING = re.compile(rf"(?P<name>.*\S)\s*(?:{_MARKS}|\t)\s*(?P<number>[0-9]{{1,9}})")
_SPACED = re.compile(r"(?P<name>.*?\S)\s+(?:-\s+)?(?P<number>[0-9]{1,9})")
_COUNTED = re.compile(r".*[,;|\t]\s*[0-9]+")
"""A name with a number after it."""
_KEY = re.compile(r"(nc|names|path|train|val|id|name)\s*:")
_NO_NAME = re.compile(
    _KEY.pattern
    + r"|#|//|<|\||[-*+\u2022] |sep=.$|[-=|:+ ]{3,}$|\(\s*[0-9'\"]|.*\[\s*['\"]|.*[\[({]$|[\])}][,;]?$|.*\t"
)
"""Comments, markup, YAML, and lists or tuples of a program."""
_WITH_COUNT = re.compile(r"[0-9]{1,9} +(?P<name>[^\s,:;=|-][^\t]*?) +(?P<count>[0-9]{1,9})")
_OTHER_NUMBER = re.compile(rf"[-+]?[0-9]{{1,9}}(?:\.0*)?(?:\s*(?:{_MARKS})|\s)\s*(?P<name>\S.*)")
"""A name after a number below 0, or one with a point, which no class has."""
_ACCEPTED = "one name a line, or 'number,name', or 'name,number', and nothing else; or a JSON list of names"
_PBTXT = re.compile(
    r"""(?:(?P<comment>\#[^\n]*)|(?P<open>item|label)\s*:?\s*\{|(?P<close>\})|(?P<key>\w+)\s*:\s*"""
    r"""(?:"(?P<double>(?:[^"\\\n]|\\.)*)"|'(?P<single>(?:[^'\\\n]|\\.)*)'|(?P<word>[\w./-]+)))[ \t]*[,;]?"""
)

_SOLID = re.compile(r"\S")
_SIDES = re.compile(
    r"(?<![a-z])(left|right|([ac]?cw|l ?(2|to) ?r|r ?(2|to) ?l)(?![a-z]))|(left|right|clock ?wise)(?![a-z])"
)
_NO_SIDES = re.compile(
    r"(?<![a-z])(left ?overs?|cleft|right(s|ly|(eous|ful)(ly|ness)?)|"
    r"(al|b|birth|copy|down|f|forth|out|up|[a-z]*w)rights?)(?![a-z])"
)
_PAIRS = (
    ("lh lhand", "rh rhand"),
    ("lfoot", "rfoot"),
    ("lft", "rgt rght"),
    ("lr", "rl"),
    ("links linke linker linkes linken", "rechts rechte rechter rechtes rechten"),
    ("gauche", "droite droit"),
    ("izquierda izquierdo izq", "derecha derecho der"),
    ("esquerda esquerdo esq", "direita direito dir"),
    ("sinistra sinistro", "destra destro"),
    ("vänster vänstra vanster vanstra", "höger högra hoger hogra"),
    ("влево налево слева левый левая левой левую", "вправо направо справа правый правая правой правую"),
)
"""Words for left, and for right, that are sides where both are met among the names of a set."""


class LabelMap(NamedTuple):
    """Class names in the order of their numbers."""

    names: tuple[str, ...]
    first: int | None
    """The number of the first name in the file: 0 or 1; None: the file has no numbers."""


class _Entry(NamedTuple):
    where: str
    number: int | None
    name: str


def read_labels(source: Sequence[str] | Mapping[Any, Any] | str | Path) -> LabelMap:
    """Class names: as given, a dict as a JSON object, or from a file in one of the forms above.

    Raises:
        DataError: the file can't be read or is empty, a line isn't understood, a name occurs twice, numbers
            have gaps, or it is a set, which has no order.
    """
    title = "The label map"
    if isinstance(source, (str, Path)):
        path = Path(source)
        entries = _entries(path, text_of(path, "label map"))
        title = f"The label map '{path}'"
    elif isinstance(source, Mapping):
        entries = [*_from_mapping(source)]
    elif isinstance(source, Set) and not isinstance(source, KeysView):
        raise DataError("The label map is a set, which has no order; give a list of class names, in order.")
    elif not isinstance(source, Iterable):
        raise DataError(
            f"The label map is a {type(source).__name__}; accepted: class names in order, a file."
        )
    else:
        entries = [_Entry(f"class {index}", None, name) for index, name in enumerate(source)]
    if not entries:
        raise DataError(f"{title} is empty; accepted: one class name a line, each once.")
    if len(entries) > MOST_CLASSES:
        raise DataError(f"{title} names {len(entries)} classes; accepted: up to {MOST_CLASSES}.")
    seen: dict[str, str] = {}
    for where, _, name in entries:
        if (fault := fault_of_name(name)) is not None:
            raise DataError(f"{where}: the class name {name!r:.80} {fault}.")
        same = " ".join(unicodedata.normalize("NFC", name).split())  # to the eye
        if same in seen:
            raise DataError(f"{where}: the label map names '{name}' twice, first at {seen[same]}.")
        seen[same] = where
    if entries[0].number is None:
        return LabelMap(tuple(entry.name for entry in entries), None)
    return _in_order(entries)


def read_label_ids(source: Path | Mapping[Any, Any]) -> dict[int, str]:
    """Class names by their numbers, from a file in one of the forms above; AVA's numbers have gaps.

    Args:
        source: the file; or what a JSON object holds, whose numbers may be numbers.

    Raises:
        DataError: the file can't be read or is empty, a line isn't understood or has no number, something is
            no name, or a number or name occurs twice.
    """
    if isinstance(source, Mapping):
        title, entries = "The label map", [*_from_mapping(source)]
    else:
        title, entries = f"The label map '{source}'", _entries(source, text_of(source, "label map"))
    if not entries:
        raise DataError(f"{title} is empty.")
    names = {number: entry.name for number, entry in _by_number(entries).items()}
    for number, name in names.items():
        if (fault := fault_of_name(name)) is not None:
            raise DataError(f"{title}: the name {name!r:.80} of class {number} {fault}.")
    if len(set(names.values())) < len(names):
        twice = next(name for name in names.values() if [*names.values()].count(name) > 1)
        raise DataError(f"{title} has '{twice}' twice.")
    return names


def fault_of_name(name: Any) -> str | None:
    """What is wrong with a class name, as the end of a sentence; None: nothing."""
    if not isinstance(name, str):
        return f"is a {type(name).__name__}, not text"
    if not name.strip():
        return "is empty"
    if any(unicodedata.category(mark) in ("Cc", "Cs") for mark in name):
        return "has a control character or half a character in it"
    return f"is {len(name)} characters long" if len(name) > _LONGEST else None


def spelling(name: str) -> str:
    """What names that differ only in case, in spaces, dashes or Unicode's forms have in common."""
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name)).strip().casefold()


def mirrored_classes(names: Sequence[str]) -> list[str]:
    """The classes whose names say that a horizontal flip makes another class of them.

    They name a side or a sense of rotation, or two differ in a side alone, as "wave_L" and "wave_R" do. Other
    words than left and right are sides where both of a pair are met, such as "links" and "rechts".
    """
    breaks = r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[\W_]+"
    plain = [re.sub(breaks, " ", unicodedata.normalize("NFC", name)).lower() for name in names]
    unsided = [re.sub(r"left|right|links|rechts|[左右]|(?<![a-z])[lr](?![a-z])", "*", name) for name in plain]
    kinds = Counter(kind for kind, _ in {*zip(unsided, plain, strict=True)})
    words = [{*re.findall(r"[^\W\d_]+", name)} for name in plain]
    met = set[str]().union(*words)
    pairs = [({*left.split()}, {*right.split()}) for left, right in _PAIRS]
    sides = set[str]().union(*(left | right for left, right in pairs if left & met and right & met))
    return [
        name
        for name, text, kind, own in zip(names, plain, unsided, words, strict=True)
        if kinds[kind] > 1 or own & sides or _SIDES.search(_NO_SIDES.sub("", text))
    ]


def why_unflipped(names: Sequence[str]) -> str:
    """One sentence: which of these classes are in the way of flips; "" where none is."""
    sided = mirrored_classes(names)
    return f"No flips: they would make another class of {quoted(sided[:4])}." if sided else ""


def text_of(path: Path, what: str) -> str:
    """The text of a list, table or label map.

    Raises:
        DataError: it can't be read, or isn't text.
    """
    try:
        text = read_text(expanded(path))
    except UnicodeError as error:
        raise DataError(f"The {what} '{path}' can't be read: {error}; save it as UTF-8 text.") from error
    except (OSError, ValueError) as error:
        raise DataError(text_without_secrets(f"The {what} '{path}' can't be read: {error}.")) from error
    if "\0" in text:
        raise DataError(f"The {what} '{path}' can't be read: it is no text; save it as UTF-8 text.")
    return text


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of every line with something in it."""
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), 1):
        if line.strip():
            yield number, line.strip()


def mark_of(line: str) -> str:
    """What is between the fields of a line: a comma, a tab or a semicolon; a comma where none is."""
    return max(",\t;", key=line.count)


def rows_of(path: Path, text: str, mark: str, *, blanks: bool = True) -> Iterator[tuple[str, list[str]]]:
    """("file:line", fields without spaces around them) of every row of CSV with something in it.

    With ``blanks`` there may be some between a mark and a quote.

    Raises:
        DataError: no CSV.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=blanks)
    try:
        for row in reader:
            fields = [field.strip() for field in row]
            if any(fields):
                yield f"{path}:{reader.line_num}", fields
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: {error}.") from error


def parse_json(where: str, text: str) -> Any:
    """The JSON value; of keys that occur twice none is dropped silently.

    Raises:
        DataError: no JSON.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise DataError(f"{where}: '{key:.80}' occurs twice.")
            found[key] = value
        return found

    try:
        return json.loads(text, object_pairs_hook=once)
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: no JSON: {error}.") from error


def format_labels(names: Sequence[str]) -> str:
    """The text of a label map that reads back as these names: plain lines where they do, else JSON."""
    plain = "".join(f"{name}\n" for name in names)
    try:
        same = [(entry.number, entry.name) for entry in _entries(Path(), plain)] == [(None, n) for n in names]
    except DataError:
        same = False
    if same and not plain.startswith("\ufeff"):  # which would be taken for a byte-order mark
        return plain
    return json.dumps(list(names), ensure_ascii=False, indent=0) + "\n"


def _entries(path: Path, text: str) -> list[_Entry]:
    start = text.lstrip()[:1]
    if start and start in "[{":
        return list(_from_json(str(path), parse_json(str(path), text)))
    if re.match(r"\s*(#[^\n]*\s*)*(item|label)\s*:?\s*\{", text):
        return list(_from_pbtxt(path, text))
    lines = list(lines_of(text))
    if lines and lines[0][0] > 1:
        raise DataError(f"{path}:1: the label map has an empty line; accepted: one class name a line.")
    return _from_lines(path, lines)


def _from_lines(path: Path, lines: list[tuple[int, str]]) -> list[_Entry]:
    if not lines:
        return []
    for number, text in lines:
        if len(text) > 3 * _LONGEST:
            raise DataError(f"{path}:{number}: a line of {len(text)} characters is no class name.")
    mark = mark_of(lines[0][1])
    header = [field.strip().lower().replace(" ", "_") for field in _fields(lines[0][1], mark)]
    if len(header) > 1 and set(header) & NUMBER_COLUMNS and set(header) & NAME_COLUMNS:
        return list(_from_table(path, header, mark, lines[1:]))
    if set(header) <= NAME_COLUMNS | NUMBER_COLUMNS or _is_headed(header, mark, lines):
        raise DataError(
            f"{path}:{lines[0][0]}: '{lines[0][1]:.80}' is a header without classes' numbers (id); leave it"
            " out, write 'id,name', or give a JSON list of names."
        )
    ends = {text[-1] for _, text in lines[:-1] or lines}
    if len(ends) == 1 and ends <= {",", ";"}:
        raise DataError(
            f"{path}:{lines[0][0]}: '{lines[0][1]:.80}' ends in '{ends.pop()}', as others do; accepted:"
            f" {_ACCEPTED}."
        )
    for pattern in (_LEADING, _TRAILING):
        found = [pattern.fullmatch(_unquoted(line)) for _, line in lines]
        if sum(match is not None for match in found) * 2 > len(lines):
            for (line, text), match in zip(lines, found, strict=True):
                if match is None:
                    raise DataError(f"{path}:{line}: '{text:.80}' has no number, as the other lines have.")
            return _numbered(path, lines, found)
    spaced = [_SPACED.fullmatch(line) for _, line in lines]
    numbers = [int(match["number"]) for match in spaced if match]
    runs = [list(range(first, first + len(lines))) for first in (0, 1)]
    # "drinking 1" is numbered where that leaves names that differ; "class 0", "class 1" are names.
    if _names_differ(spaced) and numbers in runs:
        return _numbered(path, lines, spaced)
    return list(_plain(path, lines))


def _is_headed(header: list[str], mark: str, lines: list[tuple[int, str]]) -> bool:
    """Whether the first line names the column of names, alone or of a table's several ones."""
    if len(lines) == 1 or not {*header} & _HEADINGS or any(map(_is_number, header)):
        return False
    return len(header) == 1 or {len(_fields(text, mark)) for _, text in lines} == {len(header)}


def _with_more(lines: list[tuple[int, str]]) -> bool:
    """Whether all lines have a third column beside number and name, or a count after the name."""
    mark = mark_of(lines[0][1])
    rows = [_fields(text, mark) for _, text in lines]
    if len(rows) > 1 and len(rows[0]) > 2 and {len(row) for row in rows} == {len(rows[0])}:
        return all(_is_number(row[0].strip()) or _is_number(row[-1].strip()) for row in rows)
    found = [_WITH_COUNT.fullmatch(text) for _, text in lines]
    # "1 apple iphone 5" and "2 samsung galaxy 4" are names.
    return _names_differ(found) and any(len(match["count"]) > 1 for match in found if match)


def _names_differ(found: list[re.Match[str] | None]) -> bool:
    """Whether all of several lines have a name beside their number, each another one."""
    return len({match["name"] for match in found if match}) == len(found) > 1


def _numbered(path: Path, lines: list[tuple[int, str]], found: list[re.Match[str] | None]) -> list[_Entry]:
    pairs = zip(lines, found, strict=True)
    entries = [_Entry(f"{path}:{line}", int(m["number"]), m["name"].strip()) for (line, _), m in pairs if m]
    counted = all(_COUNTED.fullmatch(entry.name) for entry in entries) or _with_more(lines)
    for (_, text), (where, _, name) in zip(lines, entries, strict=True):
        if counted or _KEY.match(name):
            raise DataError(f"{where}: '{text:.80}' is no number and name; accepted: {_ACCEPTED}.")
    return [entry._replace(name=_bare(entry.name)) for entry in entries]


def _plain(path: Path, lines: list[tuple[int, str]]) -> Iterator[_Entry]:
    other = _names_differ([_OTHER_NUMBER.fullmatch(name) for _, name in lines])
    for place, (line, name) in enumerate(lines, 1):
        where = f"{path}:{line}"
        if line != place:
            raise DataError(
                f"{path}:{place}: the label map has an empty line; accepted: one class name a line."
            )
        if other or _NO_NAME.match(name) or (len(lines) == 1 and re.search("[,;]", name)):
            raise DataError(f"{where}: '{name:.80}' is no class name; accepted: {_ACCEPTED}.")
        yield _Entry(where, None, _bare(name))


def _bare(name: Any) -> Any:
    """A name without the quotes that PySlowFast's Kinetics map, CSV writers and YAML leave around it."""
    if isinstance(name, str) and len(name) > 2 and name[0] in "'\"" and name[-1] == name[0]:
        return name[1:-1] if name.count(name[0]) == 2 else name
    return name


def _fields(line: str, mark: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=mark, skipinitialspace=True), [""])
    except csv.Error:
        return [line]


def _unquoted(line: str) -> str:
    """``"a, b",3`` as ``a, b,3``."""
    if '"' not in line:
        return line
    fields = _fields(line, ",")
    return ",".join(fields) if len(fields) == 2 else line


def _from_table(path: Path, header: list[str], mark: str, lines: list[tuple[int, str]]) -> Iterator[_Entry]:
    number = next(place for place, field in enumerate(header) if field in NUMBER_COLUMNS)
    name = next(place for place, field in enumerate(header) if field in NAME_COLUMNS)
    for line, text in lines:
        fields = _fields(text, mark)
        where = f"{path}:{line}"
        if len(fields) != len(header) or not re.fullmatch(r"[0-9]{1,9}", fields[number].strip()):
            raise DataError(f"{where}: '{text:.80}' isn't '{','.join(header)}'.")
        yield _Entry(where, int(fields[number]), fields[name].strip())


def _from_json(path: str, value: Any) -> Iterator[_Entry]:
    if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
        # [{"id": 0, "name": "drinking"}, ...]
        keys = [(set(entry) & NUMBER_COLUMNS, set(entry) & NAME_COLUMNS) for entry in value]
        if not all(len(numbers) == len(names) == 1 for numbers, names in keys):
            raise DataError(f"{path}: objects of a label map have a number (id) and a name each.")
        pairs = [
            (entry[names.pop()], entry[numbers.pop()])
            for entry, (numbers, names) in zip(value, keys, strict=True)
        ]
    elif isinstance(value, list):
        yield from (_Entry(f"{path}, entry {index}", None, name) for index, name in enumerate(value, 1))
        return
    elif isinstance(value, dict):
        pairs = list(value.items())
        if all(_is_number(key) for key in value) and all(
            isinstance(name, str) and not _is_number(name) for name in value.values()
        ):
            pairs = [(name, number) for number, name in value.items()]
        elif all(_is_number(key) for key in value):
            raise DataError(f"{path}: keys and values are both numbers; which are the names can't be known.")
    else:
        raise DataError(f"{path}: a label map in JSON is a list of names, or an object of names and numbers.")
    for name, number in pairs:
        if not _is_number(number):
            raise DataError(
                f"{path}: {name!r:.80} has {number!r:.40} where its number is expected; a label map in JSON"
                " is a list of names, or an object of names and numbers."
            )
        yield _Entry(f"{path}, {number}", int(number), _bare(name))


def _from_mapping(source: Mapping[Any, Any]) -> Iterator[_Entry]:
    """Of numbers to names, which may look like numbers; else as a JSON object's."""
    plain = {_whole(key): _whole(value) for key, value in source.items()}
    if all(_is_number(key) and not isinstance(key, str) for key in plain):
        yield from (_Entry(f"labels, {number}", number, name) for number, name in plain.items())
    else:
        yield from _from_json("labels", plain)


def _whole(value: Any) -> Any:
    """NumPy's whole numbers as Python's."""
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def _is_number(value: Any) -> bool:
    text = str(value) if type(value) is int and abs(value) < 10**9 else value
    return isinstance(text, str) and re.fullmatch(r"[0-9]{1,9}", text) is not None


def _from_pbtxt(path: Path, text: str) -> Iterator[_Entry]:
    fields: dict[str, str] = {}
    where = ""  # the beginning of the item that is being read
    position, line, end = 0, 1, len(text.rstrip())
    while position < end:
        begin = next(mark.start() for mark in _SOLID.finditer(text, position))
        match = _PBTXT.match(text, begin)
        line += text.count("\n", position, begin)
        position = match.end() if match else position
        if match is None or (match["comment"] is None and bool(match["open"]) == bool(where)):
            raise DataError(
                f"{path}:{line}: no item of a label map, such as 'item {{ name: \"drinking\" id: 1 }}'."
            )
        if match["open"]:
            where, fields = f"{path}:{line}", {}
        elif match["key"]:
            value = next(text for text in match.group("double", "single", "word") if text is not None)
            fields[match["key"]] = re.sub(r"\\(.)", r"\1", value)
        elif match["close"]:
            name = fields.get("display_name", fields.get("name", ""))
            number = fields.get("id", fields.get("label_id"))
            if not name or not _is_number(number):
                raise DataError(f"{where}: an item without a name or a number (id).")
            yield _Entry(where, int(str(number)), name)
            where = ""
    if where:
        raise DataError(f"{where}: this item has no end.")


def _by_number(entries: list[_Entry]) -> dict[int, _Entry]:
    by_number: dict[int, _Entry] = {}
    for entry in entries:
        if entry.number is None:
            raise DataError(f"{entry.where}: '{entry.name}' has no number, as others have.")
        if entry.number in by_number:
            first = by_number[entry.number]
            raise DataError(
                f"{entry.where}: number {entry.number} is taken by '{first.name}' at {first.where}."
            )
        by_number[entry.number] = entry
    return by_number


def _in_order(entries: list[_Entry]) -> LabelMap:
    by_number = _by_number(entries)
    least = min(by_number)
    missing = next((n for n in range(least, least + len(by_number)) if n not in by_number), None)
    if least > 1 or missing is not None:
        what = f"{least} is the least" if least > 1 else f"{missing} is missing"
        raise DataError(
            f"{by_number[max(by_number)].where}: classes are numbered from 0 or 1 without a gap, but {what};"
            " names that begin with numbers can be given as a JSON list."
        )
    return LabelMap(tuple(by_number[number].name for number in sorted(by_number)), least)
