"""A pickle as plain values: nothing in it is run, and nothing that it says can take memory.

A pickle is a program for a machine with a stack. Python's own machine calls what the program names;
this one knows numbers, texts and containers, and answers every call with a note of it (``Call``). Long
texts and bytes stay in the file (``Blob``), so that what is built is as small as the pickle itself.

Source: the opcodes of https://docs.python.org/3/library/pickletools.html.
"""

from __future__ import annotations

import codecs
import dataclasses
import struct
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

MAX_OPERATIONS = 400_000
"""A training's file of the largest network, with its optimizer, has about 200,000."""
_MAX_INLINE = 4096  # bytes of a text that is read with the pickle
_MAX_LINE = 1 << 16  # bytes of a line in the text protocols
_KEYS = (str, int, bool, float, bytes, type(None))

ARRAYS = frozenset(
    {
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct",
        "numpy.core.numeric._frombuffer",
        "numpy._core.numeric._frombuffer",
        "numpy.ndarray",
        "numpy.dtype",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "_codecs.encode",
        "builtins.bytes",
    }
)
"""What arrays are made of."""
DICTS = frozenset({"collections.OrderedDict", "collections.defaultdict", "collections.Counter"})
"""Calls that are answered with a plain dict."""


class RefusedName(ValueError):
    """The pickle names a class or function that isn't on the list.

    Attributes:
        name: "module.name".
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"it names '{name}'")
        self.name = name


@dataclasses.dataclass(frozen=True, slots=True)
class Name:
    """A class or function that was named."""

    name: str
    """ "module.name"."""


@dataclasses.dataclass(slots=True, eq=False)
class Call:
    """What would have been called, and the state that its result would have got."""

    name: str
    args: Any
    state: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class Blob:
    """Bytes that lie in the file."""

    offset: int
    length: int
    is_utf8: bool
    """Whether they are text in UTF-8; False: bytes, or text of Python 2."""


@dataclasses.dataclass(frozen=True, slots=True)
class Persistent:
    """A reference to something outside the pickle; in torch's files a storage."""

    key: Any


class ArrayParts(NamedTuple):
    """What a pickled numpy array consists of."""

    shape: object
    code: str
    """Type and bytes of an element, such as "f4"."""
    is_fortran: bool
    is_big_endian: bool
    data: bytes | Blob


_MARK = object()


def read_pickle(
    file: BinaryIO, end: int, accepts: Callable[[str], bool], *, operations: int = MAX_OPERATIONS
) -> Any:
    """The value of the pickle at the file's position.

    Args:
        file: open for reading, binary, seekable.
        end: position that the pickle must not pass.
        accepts: which "module.name" may be named.
        operations: how many the pickle may have.

    Raises:
        RefusedName: another one is named.
        ValueError, LookupError, TypeError, AttributeError, struct.error: damaged.
    """
    machine = _Machine(file, end, accepts, operations)
    value = machine.run()
    if file.tell() > end:
        raise ValueError("it goes on after its end")
    return value


def array_parts(call: Call) -> ArrayParts:
    """A numpy array as its parts, none of which is proven to fit the others.

    Source: what ``numpy.ndarray.__reduce__`` and ``__reduce_ex__`` write
    (https://numpy.org/doc/stable/reference/generated/numpy.ndarray.__reduce__.html).

    Raises:
        ValueError: its type or its data is missing.
    """
    match call:
        case Call(state=(_, shape, Call("numpy.dtype", (str(code), *_), flags), fortran, data)):
            pass
        case Call(args=(data, Call("numpy.dtype", (str(code), *_), flags), shape, str(order))):
            fortran = order == "F"  # protocol 5
        case _:
            raise ValueError("an array lacks its type or its data")
    if isinstance(data, Call) and data.name == "_codecs.encode" and data.args[1:] == ("latin1",):
        data = data.args[0]  # how Python 3 writes bytes into protocol 2
    elif isinstance(data, Call) and data.name == "builtins.bytes" and data.args == ():
        data = b""
    data = data.encode("latin-1") if isinstance(data, str) else data
    if not isinstance(data, Blob | bytes):
        raise ValueError("an array lacks its data")
    is_big_endian = isinstance(flags, tuple) and len(flags) > 1 and flags[1] == ">"
    return ArrayParts(shape, code, bool(fortran), is_big_endian, data)


class _Machine:
    """The stack, the memo, and one method for each group of opcodes."""

    def __init__(self, file: BinaryIO, end: int, accepts: Callable[[str], bool], operations: int) -> None:
        self.file, self.end, self.accepts = file, end, accepts
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.budget = operations

    def run(self) -> Any:
        read, push, find = self.file.read, self.stack.append, _OPERATIONS.get
        while self.budget > 0:
            self.budget -= 1
            code = read(1)
            if code == b".":
                return self.stack.pop()
            if code in _CONSTANTS:
                push(_CONSTANTS[code]())
                continue
            operation = find(code)
            if operation is None:
                raise ValueError(f"it is cut off, or has the unknown operation {code!r}")
            operation(self)
        raise ValueError("it has more operations than any honest file")

    def take(self, length: int) -> bytes:
        data = self.file.read(length)
        if len(data) != length:
            raise ValueError("it is cut off")
        return data

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> bytes:
        line = self.file.readline(_MAX_LINE)
        if not line.endswith(b"\n"):
            raise ValueError("it has an endless line")
        return line[:-1]

    def since_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise LookupError("it lacks a mark")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def payload(self, form: str, is_utf8: bool | None) -> None:
        """Text (None: of Python 2) or bytes of a counted length."""
        length = self.number(form)
        if length > _MAX_INLINE or length < 0:
            at = self.file.tell()
            if not 0 <= length <= self.end - at:
                raise ValueError("it is cut off")
            self.file.seek(length, 1)
            self.stack.append(Blob(at, length, bool(is_utf8)))
            return
        data = self.take(length)
        if is_utf8:
            self.stack.append(data.decode("utf-8", "surrogatepass"))
        else:
            self.stack.append(data.decode("latin-1") if is_utf8 is None else data)

    def long(self, form: str) -> None:
        length = self.number(form)
        if not 0 <= length <= 255:
            raise ValueError("it has an endless number")
        data = self.take(length)
        # what doesn't fit 64 bits is kept out of numbers: sizes and offsets need no more
        self.stack.append(int.from_bytes(data, "little", signed=True) if length <= 8 else data)

    def decimal(self) -> None:
        line = self.line().removesuffix(b"L")
        if len(line) > 20:
            raise ValueError("it has an endless number")
        self.stack.append({b"00": False, b"01": True}.get(line, int(line)))

    def quoted(self) -> None:
        line = self.line().strip()
        if len(line) < 2 or line[:1] not in b"'\"" or line[:1] != line[-1:]:
            raise ValueError("it has a text without quotes")
        self.stack.append(codecs.escape_decode(line[1:-1])[0].decode("latin-1"))

    def name(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("it names something that is no name")
        full = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if not self.accepts(full):
            raise RefusedName(full)
        self.stack.append(Name(full))

    def global_(self) -> None:
        self.name(self.line().decode(), self.line().decode())

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.name(module, name)

    def call(self, function: object, args: object) -> None:
        if not isinstance(function, Name):
            raise TypeError("it calls something that is no function")
        if function.name in DICTS:
            made: dict[Any, Any] = {}
            args = args if isinstance(args, tuple) else ()
            self.budget -= len(args)  # the same ones can be given to many calls
            for given in args:
                if isinstance(given, list | dict):  # Python 2 writes OrderedDict([[key, value], ...])
                    self.budget -= len(given)  # the same one can be given many times
                    if self.budget < 0:
                        break  # and ``run`` says so
                    pairs = given.items() if isinstance(given, dict) else given
                    made |= {pair[0]: pair[1] for pair in pairs if _is_pair(pair)}
            self.stack.append(made)
        else:
            self.stack.append(Call(function.name, args))

    def reduce(self) -> None:
        args = self.stack.pop()
        self.call(self.stack.pop(), args)

    def newobj_ex(self) -> None:
        self.stack.pop()  # keyword arguments
        self.reduce()

    def inst(self) -> None:
        self.global_()
        function = self.stack.pop()
        self.call(function, tuple(self.since_mark()))

    def obj(self) -> None:
        function, *args = self.since_mark()
        self.call(function, tuple(args))

    def build(self) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Call):
            self.stack[-1].state = state

    def fill(self, items: list[Any]) -> None:
        """Keys that can't be names or numbers are left out: hashing a tuple in a tuple in ... has no end."""
        if len(items) % 2:
            raise ValueError("a key lacks its value")
        if isinstance(self.stack[-1], dict):
            pairs = zip(items[::2], items[1::2], strict=True)
            self.stack[-1].update((key, value) for key, value in pairs if isinstance(key, _KEYS))

    def extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)

    def dict_(self) -> None:
        items = self.since_mark()
        self.stack.append({})
        self.fill(items)

    def tuple_(self, length: int) -> None:
        if length > len(self.stack):
            raise LookupError("a value is missing")
        items = tuple(self.stack[-length:])
        del self.stack[-length:]
        self.stack.append(items)

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])


def _is_pair(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], _KEYS)


_CONSTANTS: dict[bytes, Callable[[], Any]] = {
    b"N": lambda: None,
    b"\x88": lambda: True,
    b"\x89": lambda: False,
    b"]": list,
    b"}": dict,
    b")": tuple,
    b"\x8f": list,  # a set
    b"(": lambda: _MARK,
}

_OPERATIONS: dict[bytes, Callable[[_Machine], Any]] = {
    b"\x80": lambda m: m.take(1),  # protocol
    b"\x95": lambda m: m.take(8),  # frame
    b"0": lambda m: m.stack.pop(),
    b"1": lambda m: m.since_mark(),
    b"2": lambda m: m.stack.append(m.stack[-1]),
    b"I": _Machine.decimal,
    b"L": _Machine.decimal,
    b"J": lambda m: m.stack.append(m.number("<i")),
    b"K": lambda m: m.stack.append(m.number("<B")),
    b"M": lambda m: m.stack.append(m.number("<H")),
    b"\x8a": lambda m: m.long("<B"),
    b"\x8b": lambda m: m.long("<i"),
    b"F": lambda m: m.stack.append(float(m.line())),
    b"G": lambda m: m.stack.append(m.number(">d")),
    b"S": _Machine.quoted,
    b"V": lambda m: m.stack.append(m.line().decode("raw-unicode-escape")),
    b"T": lambda m: m.payload("<i", None),
    b"U": lambda m: m.payload("<B", None),
    b"X": lambda m: m.payload("<I", True),
    b"\x8c": lambda m: m.payload("<B", True),
    b"\x8d": lambda m: m.payload("<Q", True),
    b"B": lambda m: m.payload("<I", False),
    b"C": lambda m: m.payload("<B", False),
    b"\x8e": lambda m: m.payload("<Q", False),
    b"\x96": lambda m: m.payload("<Q", False),
    b"l": lambda m: m.stack.append(m.since_mark()),
    b"d": _Machine.dict_,
    b"t": lambda m: m.stack.append(tuple(m.since_mark())),
    b"\x85": lambda m: m.tuple_(1),
    b"\x86": lambda m: m.tuple_(2),
    b"\x87": lambda m: m.tuple_(3),
    b"\x91": lambda m: m.stack.append(m.since_mark()),  # a frozen set
    b"a": lambda m: m.extend([m.stack.pop()]),
    b"e": lambda m: m.extend(m.since_mark()),
    b"\x90": lambda m: m.extend(m.since_mark()),
    b"s": lambda m: m.fill([m.stack.pop(), m.stack.pop()][::-1]),
    b"u": lambda m: m.fill(m.since_mark()),
    b"c": _Machine.global_,
    b"\x93": _Machine.stack_global,
    b"R": _Machine.reduce,
    b"\x81": _Machine.reduce,
    b"\x92": _Machine.newobj_ex,
    b"i": _Machine.inst,
    b"o": _Machine.obj,
    b"b": _Machine.build,
    b"Q": lambda m: m.stack.append(Persistent(m.stack.pop())),
    b"p": lambda m: m.put(int(m.line()[:20])),
    b"q": lambda m: m.put(m.number("<B")),
    b"r": lambda m: m.put(m.number("<I")),
    b"\x94": lambda m: m.put(len(m.memo)),
    b"g": lambda m: m.get(int(m.line()[:20])),
    b"h": lambda m: m.get(m.number("<B")),
    b"j": lambda m: m.get(m.number("<I")),
}
