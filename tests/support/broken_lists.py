"""Lists, tables and label maps of every form, damaged: what each is read as."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any, get_args

import numpy as np

from slowfast_zoo.data import Form
from slowfast_zoo.data.annotations import Annotations
from slowfast_zoo.data.labels import format_labels, read_labels
from slowfast_zoo.data.lists import read_annotations, read_splits
from slowfast_zoo.data.tables import write_split
from slowfast_zoo.errors import SlowFastZooError

CLIPS = ("jump/a.mp4", "jump/b 7.mp4", "run/c.mp4", "frames/f 1", "frames/g", "ABCDEFGHIJK_000001_000011.mp4")
_ROWS = [(path, ("jump", "run")[index % 2], index % 2) for index, path in enumerate(CLIPS)]
LISTS = {
    "videos": "".join(f"{path} {number}\n" for path, _, number in _ROWS),
    "multi-label": "".join(f"{path} {number} {2 * number + 1}\n" for path, _, number in _ROWS)
    + "run/c.mp4 1\n",
    "rawframes": "frames/f 1 3 0\nframes/g 2 1\n",
    "offset": "frames/f 1 1 2 0\nframes/g 0 3 1\n",
    "ids": "video_id, num_frames, label_index\nABCDEFGHIJK, 300, 1\na, 3, 0\n",
    "csv": "path,label,start,end,fps,actor\n" + "".join(f'"{p}",{n},0.5,1.5,25,x\n' for p, n, _ in _ROWS),
    "tsv": "Class\tVideo Path\n" + "".join(f"{name}\t{path}\n" for path, name, _ in _ROWS),
    "labels": "path;labels\n" + "".join(f"{path};{name}|other\n" for path, name, _ in _ROWS),
    "numbers": "filename,class_id,num_frames\n" + "".join(f"{path},{n},3\n" for path, _, n in _ROWS),
    "kinetics": "label,youtube_id,time_start,time_end,split\nrun,ABCDEFGHIJK,1,11,train\njump,a,2,12,train\n",
    "json lines": "".join(json.dumps({"path": p, "label": n, "end": 2}) + "\n" for p, n, _ in _ROWS),
    "json": json.dumps([{"filename": p, "label": [i], "total_frames": 3} for p, _, i in _ROWS], indent=1),
    "windows": "jump\\a.mp4 0\r\nrun\\c.mp4 1\r\n",
}
LABEL_MAPS = {
    "plain": "jump\nrun\nwalk\n",
    "numbered": "1 jump\n2 run\n3 walk\n",
    "header": 'id,name\n0,jump\n1,"run, fast"\n2,walk\n',
    "behind": "jump,0\nrun,1\nwalk,2\n",
    "json": '{"jump": 0, "run": 1, "walk": 2}',
    "json numbers": '{"1": "jump", "2": "run", "3": "walk"}',
    "json list": '["jump", "run", "walk"]',
    "pbtxt": "".join(
        f'item {{\n  name: "{name}"\n  id: {number}\n}}\n' for number, name in ((1, "jump"), (2, "run"))
    ),
}
_TOKENS = (
    b"\n", b"\r", b"\t", b" ", b",", b";", b"|", b'"', b"'", b"\\", b"/", b"\0", b"{", b"}", b"[", b"]", b":",
    b"-1", b"9" * 5000, b"1e999", b"nan", b"NaN", b"null", b"true", b"0.5", b"\xff\xfe", b"\xc3",
    b"\\ud800", b"\xef\xbb\xbf", b"\x1b[31m", b"path,label\n", b"label_index", b"x" * 5000, b"[" * 3000,
    "\u2028\u0663".encode(),
)  # fmt: skip


def make_clips(folder: Path) -> None:
    """Files that are called like the lists' clips; none can be decoded."""
    for name in CLIPS:
        path = folder / name
        (path if name.startswith("frames") else path.parent).mkdir(parents=True, exist_ok=True)
        for file in [path / f"{index}.png" for index in range(3)] if path.is_dir() else [path]:
            file.write_bytes(b"x")


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """One to four small damages."""
    for _ in range(int(rng.integers(1, 5))):
        first, last = sorted(int(place) for place in rng.integers(0, len(content) + 1, 2))
        last = min(last, first + 40)
        what = int(rng.integers(0, 6))
        if what == 0 and content:
            index = min(first, len(content) - 1)
            content = (
                content[:index] + bytes([content[index] ^ (1 << int(rng.integers(8)))]) + content[index + 1 :]
            )
        elif what == 1:
            content = content[:first] + content[last:]
        elif what == 2:
            content = content[:last] + content[first:last] * int(rng.integers(1, 4)) + content[last:]
        elif what == 3:
            lines = content.split(b"\n")
            rng.shuffle(lines)  # type: ignore[arg-type]  # any sequence that can be changed
            content = b"\n".join(lines)
        elif what == 4 and rng.random() < 0.2:
            content = content[:first]
        else:
            content = content[:first] + _TOKENS[int(rng.integers(len(_TOKENS)))] + content[first:]
    if rng.random() < 0.05:
        content = content.decode("utf-8", "replace").encode(
            str(rng.choice(["utf-16", "utf-32", "utf-8-sig"]))
        )
    return content


def make_files(folder: Path) -> list[Path]:
    """The clips, and every list and label map as a file of its own."""
    make_clips(folder)
    files = {f"list {name}": text for name, text in LISTS.items()}
    files |= {f"map {name}": text for name, text in LABEL_MAPS.items()}
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
    return [folder / name for name in files]


def read_file(path: Path) -> str:
    """What a list or a label map is read as, in words.

    What is read has to hold together, and to come back from the files that it is written to. How a list is
    asked for hangs on its bytes, so that a case repeats.
    """
    folder = path.parent
    if path.name.startswith("map"):
        names = read_labels(path).names
        (folder / "again").write_text(format_labels(names), encoding="utf-8")
        assert read_labels(folder / "again").names == names
        return repr(names)
    content = path.read_bytes()
    if content.decode("utf-8", "replace") in LISTS.values():  # undamaged
        options: dict[str, Any] = {
            "form": "rawframes-offset" if content.decode() == LISTS["offset"] else None
        }
    else:
        options = _options(np.random.default_rng(zlib.crc32(content)))
    try:
        read = read_annotations(path, **options)
    except SlowFastZooError as error:
        assert "\n" not in str(error) and len(str(error)) < 1500, str(error)
        raise
    _check(read, folder)
    return repr([(sample.labels, sample.part) for sample in read.samples])


def _options(rng: np.random.Generator) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if rng.random() < 0.3:
        options["form"] = str(rng.choice(get_args(Form)[1:]))
    if rng.random() < 0.2:
        options["separator"] = str(rng.choice([",", "\t", "|", " ", ", "]))
    if rng.random() < 0.3:
        options["multi_label"] = bool(rng.integers(2))
    if rng.random() < 0.3:
        options["labels"] = ("jump", "run", "walk")
    return options


def read_case(folder: Path, number: int) -> str:
    """Damages and reads a file of ``make_files``: "read", or the name of an error of the library."""
    rng = np.random.default_rng([number, 2])
    names = sorted([f"list {name}" for name in LISTS] + [f"map {name}" for name in LABEL_MAPS])
    name = names[number % len(names)]
    kind, _, key = name.partition(" ")
    text = (LISTS if kind == "list" else LABEL_MAPS)[key]
    path = folder / f"{kind} damaged{rng.choice(['', '.txt', '.csv'])}"
    path.write_bytes(damaged(text.encode(), rng))
    try:
        read_file(path)
    except SlowFastZooError as error:
        return type(error).__name__
    return "read"


def _check(read: Annotations, folder: Path) -> None:
    """Holds together and comes back."""
    assert all(0 <= label < read.num_classes for sample in read.samples for label in sample.labels)
    assert read.labels is None or len(set(read.labels)) == len(read.labels) == read.num_classes
    write_split(folder / "split", {"train": read, "val": read})
    again = read_splits(
        folder / "split", labels=folder / "split" / "labels.txt", multi_label=read.multi_label
    )
    assert again["val"].class_names == read.class_names
    for old, new in zip(read.samples, again["train"].samples, strict=True):
        assert (new.labels, new.part, new.fps) == (old.labels, old.part, old.fps)
        assert new.path.resolve() == old.path.resolve() or not old.path.exists()
