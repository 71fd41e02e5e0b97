"""Damages files at random and reads them: ``python scripts/fuzz.py checkpoints --mutations 2000 --seed 0``.

Each mutation is read in a process of its own kind (a worker, which goes on to the next) with 30 s and 2 GiB
above what the idle worker has. What counts as a fault: a crash, a hang, too much memory, an exception that
isn't the library's, and a file that loads as something else without a word. The same seed makes the same
mutations. Exit status 1: there were faults; the files that made them are kept.

A new kind is an entry of ``KINDS``.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import functools
import hashlib
import json
import math
import os
import pickle
import random
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

LIMIT_SECONDS, LIMIT_BYTES = 30.0, 2 << 30
FAULTS = ("crash", "hang", "memory", "foreign exception", "another model")


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file."""

    make: Callable[[Path], list[Path]]
    """Writes good files into an empty folder."""
    read: Callable[[Path], str]
    """What a file is, in words that are equal when it means the same; raises the library's errors."""
    mutate: Callable[[bytes, random.Random], bytes]
    """Other bytes."""
    is_checked: Callable[[Path], bool] = lambda path: False
    """Whether such a file carries a checksum, so that a change must be noticed."""


def flip(data: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, cut, repeated, zeroed or inserted; mostly near the begin and the end."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        size = len(out)
        if not size:
            break
        zone = chance.choice([(0, min(size, 4096)), (max(0, size - 4096), size), (0, size)])
        at = chance.randrange(*zone)
        match chance.randrange(7):
            case 0 | 1 | 2:
                out[at] = chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])
            case 3:
                width = chance.choice([4, 8])
                value = chance.choice([0, -1, 1 << 31, (1 << 31) - 1, 1 << 20, chance.getrandbits(63)])
                out[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
            case 4:
                del out[at : at + chance.choice([1, 16, 4096, size])]
            case 5:
                length = chance.choice([1, 16, 4096])
                out[at:at] = out[at : at + length] * chance.choice([1, 3])
            case 6:
                length = min(chance.choice([16, 4096]), len(out) - at)
                out[at : at + length] = bytes(length)
    return bytes(out)


def change_json(data: bytes, chance: random.Random) -> bytes:
    """One value of a JSON text replaced, or bytes flipped."""
    if chance.random() < 0.2:
        return flip(data, chance)
    values = json.loads(data)
    for _ in range(chance.randint(1, 2)):
        node = values
        while isinstance(node, dict | list) and node:
            key = chance.choice(list(node) if isinstance(node, dict) else range(len(node)))
            if isinstance(node[key], dict | list) and node[key] and chance.random() < 0.8:
                node = node[key]
                continue
            odd = [0, -1, 2**31, 2**40, 2**60, 10**400, 1e308, -1e-9, math.nan, True, None, "", "x" * 10_000]
            node[key] = chance.choice(
                [*odd, [], {}, [[]], {"a": 1}, "\x1b[31m", functools.reduce(nest, range(400), 0)]
            )
            break
    return json.dumps(values).encode()


def nest(inner: object, _: int) -> list[object]:
    """The value one list deeper."""
    return [inner]


def tiny() -> object:
    """A small network with numbers in it that are all different."""
    import torch

    from slowfast_zoo import ModelSpec, SlowFast

    torch.manual_seed(0)
    return SlowFast(
        ModelSpec(depth=14, base_width=8, alpha=4, num_frames=8, num_classes=5, lateral_norm=True)
    )


def make_checkpoints(folder: Path) -> list[Path]:
    """One network in each container, in publishers' names and in ours."""
    import torch
    from safetensors.torch import save_file

    from slowfast_zoo.weights.checkpoint.dialects import names_between
    from slowfast_zoo.weights.saved.config import SavedConfig
    from slowfast_zoo.weights.saved.file import fill

    model = tiny()
    state = model.state_dict()

    def named(dialect: str) -> dict[str, torch.Tensor]:
        pairs = names_between(model.spec, dialect).items()
        return {theirs: state[ours] for ours, theirs in pairs if theirs is not None}

    torch.save({"epoch": 3, "model_state": named("pyslowfast")}, folder / "zip.pyth")
    torch.save(
        {"state_dict": named("gluoncv"), "meta": {"a": [1.5]}},
        folder / "legacy.pth",
        _use_new_zipfile_serialization=False,
    )
    blobs = {name: tensor.numpy() for name, tensor in named("caffe2").items()}
    (folder / "caffe2.pkl").write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
    save_file(named("pytorchvideo"), folder / "plain.safetensors")
    fill(folder / "saved.safetensors", state, SavedConfig.of(model))
    return sorted(folder.iterdir())


def fingerprint(model: object) -> str:
    """A model's network, input, names and numbers."""
    digest = hashlib.sha256(repr((model.spec, model.clip_spec, model.labels)).encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def read_checkpoint_file(path: Path) -> str:
    """A checkpoint's fingerprint."""
    from slowfast_zoo import from_pretrained, load_checkpoint

    if path.name == "saved.safetensors":
        return fingerprint(from_pretrained(path))
    return fingerprint(load_checkpoint(tiny(), path))


def make_configs(folder: Path) -> list[Path]:
    """A saved folder's config."""
    from slowfast_zoo import save_pretrained, slowfast_tiny

    save_pretrained(slowfast_tiny(pretrained=True), folder)
    return [folder / "config.json"]


def read_config_file(path: Path) -> str:
    """The fingerprint of the model in the folder."""
    from slowfast_zoo import from_pretrained

    return fingerprint(from_pretrained(path.parent))


def make_lists(folder: Path) -> list[Path]:
    """Annotation lists, tables and label maps of every form, as the tests have them."""
    from support.broken_lists import make_files

    return make_files(folder)


def read_list_file(path: Path) -> str:
    """What a list or a label map is read as; that it holds together and comes back is asserted."""
    from support.broken_lists import read_file

    return read_file(path)


def change_list(data: bytes, chance: random.Random) -> bytes:
    """Lines, fields and marks moved, repeated, lost or put in."""
    import numpy as np
    from support.broken_lists import damaged

    return damaged(data, np.random.default_rng(chance.getrandbits(64)))


PERSON_XML = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><size>9</size><labels><label><name>person</name><attributes>
<attribute><name>pose</name><input_type>select</input_type><values>sit
walk</values></attribute></attributes></label></labels><source>a.mp4</source></task></meta>
<track id="3" label="person"><box frame="0" outside="0" xtl="10" ytl="5" xbr="30" ybr="40">
<attribute name="pose">walk</attribute></box><box frame="1" outside="1" xtl="9" ytl="5" xbr="30" ybr="40"/>
</track></annotations>
"""
PERSON_ROW = {"video": "a.mp4", "second": 1.0, "box": [20, 10, 60, 90], "actions": ["walk", "talk"]}


def make_persons(folder: Path) -> list[Path]:
    """Annotations and boxes of persons in every form, and the video that they are of, which isn't decoded."""
    import numpy as np

    for name in ("a", "a.mp4"):
        (folder / name).write_bytes(b"x")
    boxes = np.array([[0.1, 0.1, 0.5, 0.9, 0.9], [0.2, 0.2, 0.6, 0.8, 0.8]], np.float32)
    tube = np.array([[frame, 10, 10, 40, 50] for frame in range(1, 6)], np.float32)
    sports = {
        "labels": ["jump", "turn"],
        "train_videos": [["a"]],
        "test_videos": [["a"]],
        "nframes": {"a": 9},
        "resolution": {"a": (48, 64)},
        "gttubes": {"a": {0: [tube], 1: [tube + 1]}},
    }
    rows, box = range(9), "0.1,0.1,0.5,0.9"
    files = {
        "ava.csv": "".join(f"a,{902 + row // 2:04d},{box},{1 + row % 5},{row % 3}\n" for row in rows),
        "table.csv": "video,second,x1,y1,x2,y2,action,person\n"
        + "".join(f"a.mp4,{row}.0,20,10,60,90,walk,ann\n" for row in rows),
        "table.jsonl": "".join(json.dumps(PERSON_ROW | {"second": row}) + "\n" for row in rows),
        "cvat.xml": PERSON_XML,
        "sports.pkl": pickle.dumps(sports, protocol=2),
        "sports 4.pkl": pickle.dumps(sports, protocol=4),
        "excluded.csv": "a,0902\na,0905\n",
        "boxes.csv": "".join(f"a,{902 + row:04d},{box},,0.{row}\n" for row in rows),
        "proposals.pkl": pickle.dumps({"a,0902": boxes, "a,0903": boxes[:1]}, protocol=2),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return [folder / name for name in files]


def read_person_file(path: Path) -> str:
    """What annotations or boxes of persons are read as."""
    from slowfast_zoo.data.persons.actions import read_excluded
    from slowfast_zoo.data.persons.annotations import read_persons
    from slowfast_zoo.data.persons.boxes import boxes_by_video

    if path.name == "excluded.csv":
        return repr(sorted(read_excluded(path)))
    if path.name in ("boxes.csv", "proposals.pkl"):
        found = boxes_by_video(path).items()
        return repr([(video, at, boxes.at(at, 48, 64)) for video, boxes in found for at in boxes.seconds])
    read = read_persons(path, root=path.parent)
    return repr((read.labels, read.num_classes, read.key_frames))


SEGMENT = {"label": "a", "segment": [0.1, 3.0]}
SEGMENTS = {
    "annotated.json": {"database": {"v": {"subset": "validation", "annotations": [SEGMENT]}}},
    "predicted.json": {"results": {"v": [SEGMENT | {"score": 0.5}]}},
}


def results(path: Path) -> object:
    """A result file, to go on with."""
    from slowfast_zoo.cli.results import ResultFile, prediction_columns

    settings = {"model": "m", "weights": "w", "views": "1x1", "topk": 1, "fps": None, "precision": "float32"}
    return ResultFile(path, None, resume=True, columns=prediction_columns(1), settings=settings)


def make_answers(folder: Path) -> list[Path]:
    """Stored clips, features, segments and rows of results, as commands write them."""
    import numpy as np

    from slowfast_zoo.inference.features.files import Features

    for name, content in SEGMENTS.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    names = [*SEGMENTS, "clip.npy", "packed.npz"]
    values, times = np.random.default_rng(0).random((4, 8), np.float32), np.arange(4.0)
    np.save(folder / "clip.npy", np.arange(8 * 6 * 5 * 3, dtype=np.uint8).reshape(8, 6, 5, 3))
    np.savez_compressed(folder / "packed.npz", features=values)
    found = Features(source="v", values=values, start_seconds=times, end_seconds=times + 1, meta={"hop": 1})
    for form in ("npz", "npy", "pt", "safetensors"):
        names.append(f"features.{form}")
        found.save(folder / names[-1])
    for form in ("csv", "jsonl", "json"):
        names.append(f"rows.{form}")
        with results(folder / names[-1]) as file:
            for number in range(4):
                file.write({"source": f"v{number}.mp4", "error": "" if number else "lost", "label_1": "a"})
    return [folder / name for name in names]


def read_answer_file(path: Path) -> str:
    """What such a file is read as."""
    from slowfast_zoo.data.annotations import Sample
    from slowfast_zoo.evaluation.segments import read_annotated, read_predicted
    from slowfast_zoo.inference.features.files import read_features

    match path.stem:
        case "annotated":
            return repr(read_annotated(path))
        case "predicted":
            return repr(read_predicted(path))
        case "rows":
            with results(path) as file:
                return repr(file.known)
        case "clip":
            with Sample(path=path, fps=10.0).open() as video:
                return repr([frame.tobytes() for _, frame in video.iter_frames(range(video.num_frames))])
    found = read_features(path)
    return repr((found.values.tolist(), found.meta))


def change_any(data: bytes, chance: random.Random) -> bytes:
    """Bytes flipped, a value of JSON replaced, or, of text, what ``change_list`` does."""
    if data[:1] == b"{" and data[-1:] == b"}" and chance.random() < 0.5:
        return change_json(data, chance)
    return chance.choice([flip, change_list])(data, chance)


def make_videos(folder: Path) -> list[Path]:
    """A small video of every container that this machine can write."""
    from support.broken_videos import write_videos

    return write_videos(folder)


def read_video_file(path: Path) -> str:
    """Whether reading a video twice gave the same frames."""
    from support.broken_videos import read_all

    return read_all(path.read_bytes())


def change_video(data: bytes, chance: random.Random) -> bytes:
    """Headers and packets flipped, cut, repeated or lost."""
    from support.broken_videos import damaged

    return damaged(data, chance)


KINDS: dict[str, Kind] = {
    "checkpoints": Kind(
        make_checkpoints,
        read_checkpoint_file,
        flip,
        lambda path: path.name in ("zip.pyth", "saved.safetensors"),
    ),
    "configs": Kind(make_configs, read_config_file, change_json, lambda path: True),
    "lists": Kind(make_lists, read_list_file, change_list),
    "persons": Kind(make_persons, read_person_file, change_any),
    "answers": Kind(make_answers, read_answer_file, change_any),
    "videos": Kind(make_videos, read_video_file, change_video),
}
"""Name on the command line -> how to make, read and damage such files."""


def work(kind: Kind) -> None:
    """The worker: a path on each line of standard input, an outcome on each of standard output."""
    import resource

    import torch

    from slowfast_zoo.errors import SlowFastZooError

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:  # everything is imported and warm before the limit
        sound = {path.name: kind.read(path) for path in kind.make(Path(folder))}
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + LIMIT_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        path = Path(json.loads(line))
        try:
            same = kind.read(path) == sound[path.name]
            outcome = "loaded" if same else "another model" if kind.is_checked(path) else "other numbers"
        except SlowFastZooError as error:
            outcome = "foreign exception: two lines" if "\n" in str(error) else "refused"
        except MemoryError:
            outcome = "memory"
        except BaseException as error:  # noqa: BLE001  # that is what is looked for
            outcome = f"foreign exception: {type(error).__name__}: {str(error)[:200]}"
        print(json.dumps(outcome), flush=True)


class Worker:
    """A process that reads files, started again when it died."""

    def __init__(self, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, name, "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        if self._answer(300) != "ready":
            raise SystemExit("The worker can't read sound files.")

    def read(self, path: Path) -> str:
        """How reading the file ended."""
        self.process.stdin.write(json.dumps(str(path)).encode() + b"\n")
        self.process.stdin.flush()
        return self._answer(LIMIT_SECONDS)

    def _answer(self, seconds: float) -> str:
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            self.stop()
            return "hang"
        line = self.process.stdout.readline()
        return json.loads(line) if line else f"crash ({self.process.wait()})"

    def stop(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.wait()


def fuzz(name: str, mutations: int, seed: int, keep: Path) -> collections.Counter[str]:
    """Outcomes and how often each came; files that are faults are copied to ``keep``."""
    kind, chance = KINDS[name], random.Random(seed)
    outcomes: collections.Counter[str] = collections.Counter()
    worker = Worker(name)
    with tempfile.TemporaryDirectory() as folder:
        good = kind.make(Path(folder))
        contents = {path: path.read_bytes() for path in good}
        for number in range(mutations):
            path = good[number % len(good)]
            path.write_bytes(kind.mutate(contents[path], chance))
            outcome = worker.read(path)
            outcomes[outcome] += 1
            if outcome.startswith(FAULTS):
                keep.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, keep / f"{seed}-{number}-{path.name}")
                print(f"{number} {path.name}: {outcome}", flush=True)
            if worker.process.poll() is not None:
                worker = Worker(name)
            path.write_bytes(contents[path])
    worker.stop()
    return outcomes


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--keep", type=Path, default=Path("fuzz-faults"), help="folder for files that are faults"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(KINDS[options.kind])
        return
    outcomes = fuzz(options.kind, options.mutations, options.seed, options.keep)
    for outcome, count in outcomes.most_common():
        print(f"{count:6} {outcome}")
    sys.exit(any(outcome.startswith(FAULTS) for outcome in outcomes))


if __name__ == "__main__":
    main()
