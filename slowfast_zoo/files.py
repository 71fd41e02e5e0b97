"""A file on disk: written whole or not at all, its hash, and its text."""

from __future__ import annotations

import codecs
import contextlib
import csv
import errno
import glob
import hashlib
import io
import os
import stat
import tokenize
import uuid
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from slowfast_zoo.errors import InputError, one_line

TEMPORARY_SUFFIX = ".slowfast-tmp"
"""Ends the names of files that are being written; what a killed process left may be deleted."""

_WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What file systems that have no locks answer."""

# NumPy reads the header of an array as Python's parser reads text; others look up what theirs names.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TypeError,
    tokenize.TokenError,
    zlib.error,
)

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark begins alike
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@contextlib.contextmanager
def written_whole(path: str | Path, *, keep_links: bool = True) -> Iterator[Path]:
    """An empty file beside ``path`` to fill by any means; it takes the place of ``path`` when the block ends.

    Until then ``path`` is as it was, and so it stays when the block raises. The content is on the disk
    before the name is. Who may read the file is the umask's choice, whatever wrote it.

    Args:
        path: where the file is to be, "~" as ``expanded`` has it.
        keep_links: write what a link leads to, as a user who named it expects; else the file replaces it.

    Raises:
        OSError: no room, no permission, no folder, or a device or pipe; nothing half written is left.
    """
    path = _place(expanded(path)) if keep_links else expanded(path)
    temporary = path.with_name(f".{uuid.uuid4().hex[:16]}{TEMPORARY_SUFFIX}")
    try:
        with temporary.open("xb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)  # some writers make a file that only its owner reads
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a file, whole or not at all.

    Raises:
        InputError: it can't be written.
    """
    try:
        with written_whole(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise InputError(f"'{path}' can't be written: {error.strerror or error}.") from error


def csv_line(cells: Iterable[object], *, quote_all: bool = False) -> str:
    """A row of a CSV file, with its end. Cells with any kind of line break are quoted; zero bytes, which make
    most readers take a file for binary, are left out."""
    line = io.StringIO(newline="")
    # Python quotes those kinds alone that are in the end of a line.
    quoting: Literal[0, 1] = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    csv.writer(line, lineterminator="\r\n", quoting=quoting).writerow(
        str(cell).replace("\0", "") for cell in cells
    )
    return line.getvalue().removesuffix("\r\n") + "\n"


def lacks_locks(error: BaseException) -> bool:
    """Whether a lock couldn't be taken because the file system has none."""
    return getattr(error, "errno", errno.ENOSYS) in _WITHOUT_LOCKS


@contextlib.contextmanager
def claimed(path: Path, *, shared: bool = True) -> Iterator[bool]:
    """Whether this process may make a file: False while another one, on whatever machine, makes it.

    The claim ends with the block, or with the process. Who has it should look once more whether the file is
    there by now.

    Args:
        path: the file.
        shared: whether several processes are meant to work there, which takes a file system with locks; else
            one without them is no reason to write nothing.

    Raises:
        InputError: the folder can't be written, or its file system has no locks.
    """
    from filelock import FileLock, Timeout

    lock, free = FileLock(path.with_name(f".{path.name}.lock")), True
    try:
        lock.acquire(timeout=0)
    except Timeout:
        free = False
    except (OSError, NotImplementedError) as error:
        if shared or not lacks_locks(error):
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"'{path}' can't be written: {reason}.") from error
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink()
    if not lock.is_locked:
        yield free
        return
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink()
        lock.release()


def check_writable(path: str | Path) -> None:
    """Refuses a path where ``written_whole`` would fail, before the work whose result goes there.

    Raises:
        OSError: no folder, no permission, or a folder, device or pipe of that name.
    """
    path = expanded(path)
    if kind_of(path) == "folder":
        raise IsADirectoryError(f"'{path}' is a folder")
    path = _place(path)
    temporary = path.with_name(f".{uuid.uuid4().hex[:16]}{TEMPORARY_SUFFIX}")
    temporary.open("xb").close()
    temporary.unlink()


def _place(path: Path) -> Path:
    """The file that a path means, at the end of its links.

    Raises:
        OSError: a device, a pipe, or a link in a ring, in whose place nothing may come; or a link that the
            system doesn't let this user write through.
    """
    place = Path(os.path.realpath(path)) if path.is_symlink() else path
    of_system = any(
        name.startswith(("/dev/", "/proc/")) and not name.startswith("/dev/shm/")
        for name in (path.absolute().as_posix(), place.absolute().as_posix())
    )
    if of_system or place.is_symlink() or (kind_of(place) == "file" and not place.is_file()):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    if place != path:
        with contextlib.suppress(FileNotFoundError):
            os.close(os.open(path, os.O_WRONLY))
    return place


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """Hex digits of a file's content.

    Raises:
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


@contextlib.contextmanager
def damage_as_value_error() -> Iterator[None]:
    """Around a foreign reader of arrays: whatever it ends in over a damaged file becomes a ValueError."""
    try:
        yield
    except _DAMAGE as error:
        reason = error.args[0] if isinstance(error, tokenize.TokenError) else error  # else with a place
        raise ValueError(f"it is damaged, or of an unknown kind ({one_line(reason)})") from error


def kind_of(path: Path) -> Literal["folder", "file", ""]:
    """What is there; nothing where the system can't say, as of names that are too long."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return ""
    return "folder" if stat.S_ISDIR(mode) else "file"


def expanded(path: str | Path) -> Path:
    """The path with "~" as the user's folder, where nothing is called that and somebody is.

    Raises:
        InputError: it is no path, or has a NUL byte.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"{path!r:.60} is no path; accepted: a str or Path.")
    if "\0" in os.fspath(path):
        name = str(path).replace("\0", "\\0")
        raise InputError(f"'{name:.200}' has a NUL byte, which no folder's or file's name can have.")
    path = Path(path)
    if not str(path).startswith("~") or os.path.lexists(path):
        return path
    try:
        return path.expanduser()
    except RuntimeError:  # nobody is called that here
        return path


def is_same(path: str | Path, other: str | Path) -> bool:
    """Whether two names mean one file, through links too, and also where nothing is yet."""
    path, other = expanded(path), expanded(other)
    with contextlib.suppress(OSError, ValueError):
        if path.exists():
            return path.samefile(other)
        return os.path.normcase(os.path.realpath(path)) == os.path.normcase(os.path.realpath(other))
    return False


def is_inside(path: str | Path, folder: str | Path) -> bool:
    """Whether a file or folder is, or would be, somewhere in a folder, through links too."""
    path, folder = expanded(path), expanded(folder)
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # a ring of links
        return kind_of(folder) == "folder" and path.resolve().is_relative_to(folder.resolve())
    return False


def pattern_of(path: Path) -> str | None:
    """A path as a glob pattern; None where it names one thing.

    Folders that are there have their own names, "Film [1080p]" too; brackets that match nothing are letters.
    """
    there = next((each for each in (path, *path.parents) if os.path.lexists(each)), Path(path.anchor))
    rest = path.relative_to(there)
    if not glob.has_magic(str(rest)):
        return None
    pattern = (Path(glob.escape(str(there))) / rest).as_posix()
    return pattern if set("*?") & set(str(rest)) or glob.glob(pattern) else None  # noqa: PTH207


def read_text(path: Path) -> str:
    """The text of a file, as ``decoded`` has it.

    Raises:
        OSError: the file can't be read.
        UnicodeDecodeError: it is in another encoding, or no text.
    """
    return decoded(path.read_bytes())


def decoded(content: bytes, errors: str = "strict") -> str:
    """The text of UTF-8, or of UTF-16 or UTF-32 with a byte-order mark; line ends stay as they are.

    Args:
        content: the bytes.
        errors: what becomes of those that aren't text, as in ``bytes.decode``.

    Raises:
        UnicodeDecodeError: they are in another encoding, or no text.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding, errors)
    return content.decode("utf-8", errors)


def is_private(folder: Path) -> bool:
    """Whether a folder belongs to this user and nobody else can put files into it, or another in its place.

    The same is asked of the folders above it, where the sticky bit is enough: it keeps others from replacing
    what isn't theirs. The system's own folders count as this user's; what is shared with a group that has no
    other member isn't shared. Windows keeps that elsewhere: True.

    Raises:
        OSError: there is no such folder, or it can't be looked at.
    """
    if not hasattr(os, "getuid"):
        return True
    for path in (folder.absolute(), folder.resolve()):
        for each in (path, *path.parents):
            facts = each.stat()
            if facts.st_uid not in (os.getuid(), 0):
                return False
            of_group = facts.st_mode & stat.S_IWGRP and not _has_no_other_member(facts.st_gid)
            shared = of_group or facts.st_mode & stat.S_IWOTH
            if shared and (each == path or not facts.st_mode & stat.S_ISVTX):
                return False
    return True


def _has_no_other_member(group: int) -> bool:
    """Whether a group is the one of this user's name and has nobody else in it, as many systems make it.

    Root's isn't: in containers, users without a name are in it.
    """
    import grp
    import pwd

    try:
        user, facts = pwd.getpwuid(os.getuid()), grp.getgrgid(group)
    except KeyError:
        return False
    own = group == user.pw_gid != 0 and facts.gr_name == user.pw_name
    return own and set(facts.gr_mem) <= {user.pw_name}
