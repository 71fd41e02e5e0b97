"""From a path, URL, bytes or file object to what FFmpeg can open, again and again."""

from __future__ import annotations

import contextlib
import io
import stat
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast, runtime_checkable

from slowfast_zoo.errors import InputError, VideoError, one_line
from slowfast_zoo.video.sources.contents import (
    MAX_PIXELS,
    NOT_VIDEOS,
    is_text,
    lacks_index,
    picture_size,
    too_large,
    why_no_video,
)
from slowfast_zoo.video.sources.fetch import fetched, read_through
from slowfast_zoo.video.sources.names import display_name, is_url, local_path, mode_of, not_there


@runtime_checkable
class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Guarded:
    """A caller's file object that answers as FFmpeg needs it, or with an error of this library.

    More bytes than were asked for would be written after the end of FFmpeg's buffer.
    """

    def __init__(self, name: str, file: Any) -> None:
        self._name, self._file = name, file
        self.error: VideoError | None = None

    def read(self, size: int = -1) -> bytes:
        data = self._asked("read", size)
        if data is None:
            raise self._refused("it has no bytes yet; pass a file that blocks")
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise self._refused(f"it gives {type(data).__name__}, no bytes; open it in binary mode")
        if 0 <= size < len(data):
            raise self._refused(f"it gives {len(data)} bytes where {size} are asked for")
        return bytes(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        place = self._asked("seek", offset, whence)
        return place if isinstance(place, int) else self.tell()

    def tell(self) -> int:
        return int(self._asked("tell"))

    def seekable(self) -> bool:
        return bool(self._asked("seekable"))

    def _asked(self, verb: str, *arguments: int) -> Any:
        try:
            return getattr(self._file, verb)(*arguments)
        except Exception as error:  # whatever a stranger's object raises
            raise self._refused(one_line(error)) from error

    def _refused(self, reason: str) -> VideoError:
        self.error = VideoError(f"'{self._name}' can't be read: {reason}.")
        return self.error


class Media:
    """One video's bytes, from wherever they come; owns what has to be cleaned up.

    Attributes:
        name: for messages.
        head: the first 512 bytes, once a container was opened.
    """

    def __init__(self, name: str, place: Path | BinaryIO | _Guarded, *, owned: bool) -> None:
        self.name = name
        self.head = b""
        self._place = place
        self._owned = owned

    @property
    def unchanged(self) -> tuple[str, int, int] | None:
        """Path, bytes and time of change of a file, equal as long as its content is; None of all else."""
        if not isinstance(self._place, Path):
            return None
        try:
            facts = self._place.stat()
        except OSError:
            return None
        return str(self._place.absolute()), facts.st_size, facts.st_mtime_ns

    def open_container(self) -> Any:
        """A new PyAV container at its beginning; the one before must be closed.

        Raises:
            VideoError: FFmpeg can't open it, or it is no video.
        """
        import av

        place = self._place
        target: str | BinaryIO | _Guarded
        try:
            if isinstance(place, Path):
                with place.open("rb") as file:
                    head = self.head = file.read(512)
                # Absolute, or FFmpeg takes "a:b.mp4" for a protocol. No nested file may be fetched.
                target, protocols = str(place.absolute()), "file"
            else:
                place.seek(0)
                head = self.head = place.read(512)
                place.seek(0)
                target, protocols = place, "none"
            if reason := why_no_video(head):
                raise VideoError(f"'{self.name}' can't be opened as a video: {reason}.")
            width, height, most = picture_size(head)
            if width * height > most:
                raise too_large(self.name, f"{width}x{height}", most)
            # Finding out what is in it decodes a frame, which must not be a huge one.
            options = {"protocol_whitelist": protocols, "max_pixels": str(MAX_PIXELS)}
            container = av.open(target, "r", options=options, **lenient())
            self.check()
        except VideoError:
            raise
        except (av.FFmpegError, OSError, ValueError) as error:
            self.check()
            said = getattr(error, "strerror", None) or str(error)
            reason = NOT_VIDEOS["tty"] if is_text(self.head) else said
            if self.head[4:8] == b"ftyp" and self._lacks_index():
                reason = "its index is missing: it was not copied or recorded to its end"
            raise VideoError(f"'{self.name}' can't be opened as a video: {reason}.") from error
        kind = str(container.format.name)
        if reason := NOT_VIDEOS.get("image2" if kind.endswith("_pipe") else kind):
            container.close()
            raise VideoError(f"'{self.name}' can't be opened as a video: {reason}.")
        return container

    def _lacks_index(self) -> bool:
        place = self._place
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            return lacks_index(stack.enter_context(place.open("rb")) if isinstance(place, Path) else place)
        return False

    def check(self) -> None:
        """Raises what a caller's file object has done wrong, which FFmpeg takes for the end of the file."""
        if isinstance(self._place, _Guarded) and self._place.error is not None:
            raise self._place.error

    def close(self) -> None:
        """Let go of what this object brought; a caller's file object stays open."""
        if self._owned and not isinstance(self._place, Path):
            cast(BinaryIO, self._place).close()


def lenient() -> dict[str, str]:
    """Arguments of ``av.open``: PyAV 18 gives up over metadata that isn't UTF-8 unless told not to."""
    import av

    # Later ones can't be told.
    return {"metadata_errors": "ignore"} if av.__version__.startswith("18.") else {}


def media_of(source: object) -> Media:
    """What a path, URL, bytes or file object names.

    Raises:
        InputError: another type, or a file object that gives text.
        VideoError: nothing there, nothing in it, or it can't be fetched.
    """
    if isinstance(source, str) and is_url(source):
        return Media(display_name(source), fetched(source), owned=True)
    if isinstance(source, (str, Path)):
        return _file(local_path(source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        content = bytes(source)
        if not content:
            raise VideoError("'<bytes>' is empty: no video in it.")
        return Media("<bytes>", io.BytesIO(content), owned=True)
    if isinstance(source, _Readable):
        return _file_object(source)
    raise InputError(
        f"A video is given as a path, URL, bytes, binary file object, folder of frames or uint8 array "
        f"(T, H, W, 3); got {type(source).__name__}."
    )


def _file(path: Path) -> Media:
    name, mode = display_name(path), mode_of(path)
    if mode is None:
        raise VideoError(not_there(path))
    if stat.S_ISFIFO(mode):
        raise VideoError(
            f"'{name}' is a pipe, which can be read only once: open it and pass the file object."
        )
    if not stat.S_ISREG(mode):
        hint = ": watch takes cameras" if name.startswith("/dev/") else ""
        raise VideoError(f"'{name}' is no regular file{hint}.")
    if not path.stat().st_size:
        raise VideoError(f"'{name}' is empty: a file of 0 bytes.")
    return Media(name, path, owned=False)


def _file_object(file: _Readable) -> Media:
    name = display_name(file)
    if isinstance(file, io.TextIOBase):
        raise InputError(f"'{name}' is a text file object; open it in binary mode.")
    if hasattr(file, "isOpened"):  # OpenCV's VideoCapture, whose read gives a frame
        raise InputError(f"A {type(file).__name__} gives no bytes; pass the path that it was opened with.")
    guarded = _Guarded(name, file)
    guarded.read(0)
    if hasattr(file, "seekable") and guarded.seekable():
        return Media(name, guarded, owned=False)
    # Counting the frames takes a first pass, so what can't be read twice is kept.
    return Media(name, read_through(name, guarded.read), owned=True)
