"""Small files that ask for much: refused with the library's own error, before memory is taken."""

from __future__ import annotations

import importlib.util
import io
import json
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

FUZZ = Path(__file__).parents[2] / "scripts" / "fuzz.py"
GIB = 1 << 30
PROTOCOL = b"\x80\x02"
STORAGE = b"((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0" + b"0X\x03\0\0\0cpuK\x04tQ"
"""Opcodes that push a storage of four floats."""


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def tensor(size: bytes, stride: bytes, offset: bytes = b"K\0") -> bytes:
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + STORAGE + offset + size + stride + b"\x89N" + b"tR"


def torch_zip(path: Path, table: bytes, data: bytes = bytes(16)) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (("data.pkl", table), ("version", b"3\n"), ("data/0", data)):
            archive.writestr(f"archive/{name}", content)


def state(value: bytes, name: str = "a") -> bytes:
    return PROTOCOL + b"}" + text(name) + value + b"s."


def call(name: str, args: bytes) -> bytes:
    module, _, function = name.rpartition(".")
    return f"c{module}\n{function}\n".encode() + args + b"R"


STRIDE_0 = tensor(b"J\0\0\0\x10\x85", b"K\0\x85")


def two_directories(path: Path) -> None:
    """Python's reader goes by the end of the file, torch's by the offset that stands there."""
    torch_zip(path, state(tensor(b"K\x04\x85", b"K\x01\x85")))
    data = path.read_bytes()
    at = data.rindex(b"PK\x05\x06")
    first = data.index(b"PK\x01\x02")
    path.write_bytes(data[:at] + data[first:at] + data[at:])


def attributes(path: Path) -> None:
    """A value with a ``numel`` of its own, which no check may ask."""
    args = b"(ctorch._utils\n_rebuild_tensor_v2\nccollections\nOrderedDict\n)}" + text("numel") + b"K\x01st"
    torch_zip(path, state(call("torch._tensor._rebuild_from_type_v2", args)))


def hole(path: Path, name: str, shape: list[int], size: int) -> None:
    row = {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}
    header = json.dumps(
        {name: row, "fast.stem.conv.weight": row | {"shape": [0], "data_offsets": [size, size]}}
    )
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header.encode())
        file.truncate(8 + len(header) + size)


def legacy_hole(path: Path) -> None:
    torch.save({"a": torch.zeros(4)}, path, _use_new_zipfile_serialization=False)
    with path.open("r+b") as file:
        file.truncate(8 * GIB)


def many_records(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(100_000):
            archive.writestr(f"{number}", b"")


def one_place_many_names(path: Path) -> None:
    big = torch.zeros(2_000_000)
    torch.save({f"a{number}": big for number in range(300)} | names_of_stems(big), path)


def names_of_stems(value: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"slow.stem.conv.weight": value, "fast.stem.conv.weight": value}


def huge_network(path: Path) -> None:
    from slowfast_zoo import ClipSpec, ModelSpec
    from slowfast_zoo.weights.saved.config import HEADER, SavedConfig

    spec = ModelSpec(depth=152, base_width=256)
    config = SavedConfig(model_spec=spec, clip_spec=ClipSpec(), labels=None, provenance={})
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    rows = {"__metadata__": {HEADER: config.to_json()}, **dict.fromkeys(names_of_stems(torch.ones(1)), empty)}
    header = json.dumps(rows).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def many_copies() -> bytes:
    """OrderedDict(d) again and again, of one dict with 20,000 entries."""
    entries = b"".join(b"J" + struct.pack("<i", number) + b"N" for number in range(20_000))
    again = b"ccollections\nOrderedDict\nh\0\x85R0"
    return PROTOCOL + b"}(" + entries + b"uq\0" + again * 20_000 + b"."


def one_list_many_times() -> bytes:
    """OrderedDict(pairs, pairs, ...): one call of 100,000 times 50,000 steps."""
    pairs = b"](" + b"K\1K\2\x86" * 50_000 + b"eq\0"
    return PROTOCOL + b"ccollections\nOrderedDict\n(" + pairs + b"h\0" * 100_000 + b"tR."


def one_tuple_many_times() -> bytes:
    """100,000 calls of the same 100,000 arguments."""
    arguments = b"(" + b"N" * 100_000 + b"tq\0ccollections\nOrderedDict\nq\1"
    return PROTOCOL + arguments + b"h\1h\0R0" * 70_000 + b"."


def one_table_many_times() -> bytes:
    """100,000 keys of the same table of 80,000 values, none of which is a tensor."""
    numbers = b"".join(b"J" + struct.pack("<i", number) + b"N" for number in range(80_000))
    keys = b"".join(text(f"{number}") + b"h\0" for number in range(100_000))
    return PROTOCOL + b"}(" + numbers + b"uq\0" + b"0}(" + keys + text("model") + b"h\0u."


def keys_without_end(path: Path) -> None:
    """The list of storages of a legacy file holds a tuple of a tuple twice of ..., whose text has no end."""
    torch.save({"a": torch.zeros(4)}, path, _use_new_zipfile_serialization=False)
    start, _, end = path.read_bytes().rpartition(PROTOCOL + b"]")
    pairs = b"".join(b"q" + bytes([at]) + b"h" + bytes([at]) + b"\x86" for at in range(100))
    path.write_bytes(start + PROTOCOL + b"])" + pairs + b"a." + end.partition(b".")[2])


def itself() -> bytes:
    """A parameter of a parameter of ..., which is in itself."""
    return state(b"]q\1" + b"0" + call("torch._utils._rebuild_parameter", b"h\1") + b"q\2h\1h\2a0h\2")


FILES: dict[str, Callable[[Path], object]] = {
    "stride 0": lambda path: torch_zip(path, state(STRIDE_0)),
    "stride 0, to be copied to a device": lambda path: torch_zip(
        path,
        state(
            call(
                "torch._utils._rebuild_device_tensor_from_cpu_tensor",
                b"(" + STRIDE_0 + text("cpu") + b"\x89t",
            )
        ),
    ),
    "a gigabyte to count": lambda path: torch_zip(
        path, state(call("collections.Counter", call("builtins.bytearray", b"J\0\0\0\x40\x85") + b"\x85"))
    ),
    "two directories": two_directories,
    "attributes": attributes,
    "behind its storage": lambda path: torch_zip(path, state(tensor(b"K\x04\x85", b"K\x01\x85", b"K\x01"))),
    "before its storage": lambda path: torch_zip(
        path, state(tensor(b"K\x04\x85", b"K\x01\x85", b"J\xff\xff\xff\xff"))
    ),
    "negative stride": lambda path: torch_zip(path, state(tensor(b"K\x04\x85", b"J\xff\xff\xff\xff\x85"))),
    "negative size": lambda path: torch_zip(path, state(tensor(b"J\xff\xff\xff\xff\x85", b"K\x01\x85"))),
    "64 dimensions": lambda path: torch_zip(
        path, state(tensor(b"(" + b"K\x01" * 64 + b"t", b"(" + b"K\x01" * 64 + b"t"))
    ),
    "other numbers of sides": lambda path: torch_zip(path, state(tensor(b"K\x02K\x02\x86", b"K\x01\x85"))),
    "quantized": lambda path: torch_zip(path, state(call("torch._utils._rebuild_qtensor", b")"))),
    "sparse": lambda path: torch_zip(path, state(call("torch._utils._rebuild_sparse_tensor", b")"))),
    "in itself": lambda path: torch_zip(path, itself()),
    "many copies": lambda path: torch_zip(path, many_copies()),
    "one list, many times in one call": lambda path: torch_zip(path, one_list_many_times()),
    "one tuple, for many calls": lambda path: torch_zip(path, one_tuple_many_times()),
    "one table, under many keys": lambda path: torch_zip(path, one_table_many_times()),
    "keys without end": keys_without_end,
    "a key a million tuples deep": lambda path: torch_zip(
        path, PROTOCOL + b"})" + b"\x85" * 300_000 + b"K\1s."
    ),
    "a million lists deep": lambda path: torch_zip(path, PROTOCOL + b"]" * 150_000 + b"a" * 149_999 + b"."),
    "endless operations": lambda path: torch_zip(path, PROTOCOL + b"N0" * 2_000_000 + b"."),
    "memo of 4 GiB": lambda path: torch_zip(path, PROTOCOL + b"}r\xff\xff\xff\xff."),
    "bytes of 2^62": lambda path: torch_zip(path, b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"."),
    "text of 4 GiB": lambda path: torch_zip(path, b"\x80\x02X\xff\xff\xff\xff."),
    "number of 2 GiB": lambda path: torch_zip(path, b"\x80\x02\x8b\xff\xff\xff\x7f."),
    "frame of 2^62": lambda path: torch_zip(path, b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"."),
    "extension": lambda path: torch_zip(path, PROTOCOL + b"\x82\x01."),
    "a mark alone": lambda path: torch_zip(path, PROTOCOL + b"(."),
    "an escape code as a name": lambda path: torch_zip(
        path, state(tensor(b"K\x04\x85", b"K\x01\x85"), "\x1b[31m\n")
    ),
    "a caffe2 array of a gigabyte": lambda path: path.write_bytes(
        pickle.dumps({"a": [0]}, protocol=2).replace(b"]", b"cnumpy.core.multiarray\n_reconstruct\n)R0]")
    ),
    "a hole of 8 GiB as a stem": lambda path: hole(path, "slow.stem.conv.weight", [2, GIB], 8 * GIB),
    "a hole of 8 GiB behind a legacy file": legacy_hole,
    "a hole of 8 GiB as a pickle": lambda path: (path.write_bytes(b"\x80\x02"), sparse(path))[0],
    "header of 100 MB": lambda path: (path.write_bytes(struct.pack("<Q", 100_000_000) + b"{"), sparse(path))[
        0
    ],
    "deep header": lambda path: path.write_bytes(
        struct.pack("<Q", 400_006) + b'{"a":' + b"[" * 400_000 + b"}" + bytes(8)
    ),
    "many tensors": lambda path: save_file({f"a{n}": torch.zeros(0) for n in range(100_000)}, path),
    "many records": many_records,
    "one place, many names": one_place_many_names,
    "a network of 2 GB in its header": huge_network,
}


def sparse(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(8 * GIB)


READ = """
import json, resource, sys
from pathlib import Path
from slowfast_zoo import create_model, from_pretrained, load_checkpoint, slowfast_tiny
from slowfast_zoo.errors import CheckpointError
from slowfast_zoo.weights import store
from slowfast_zoo.weights.checkpoint.reading import read_checkpoint

model = slowfast_tiny(pretrained=True)
idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in map(Path, sys.argv[1:]):
    outcomes = []
    for load in (
        lambda: load_checkpoint(model, path),
        lambda: create_model("slowfast_tiny", weights=path),
        lambda: from_pretrained(path),
    ):
        try:
            load()
            outcomes.append("loaded")
        except CheckpointError as error:
            outcomes.append("refused" if str(error).isprintable() and len(str(error)) < 1000 else str(error))
        except BaseException as error:
            outcomes.append(repr(error)[:300])
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) / 1024
    print(json.dumps([path.name, grown, outcomes]), flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units, and files have no holes")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_asks_for_much_gets_nothing(tmp_path: Path) -> None:
    for name, write in FILES.items():
        write(tmp_path / name)
    paths = [str(tmp_path / name) for name in FILES]
    done = subprocess.run(
        [sys.executable, "-c", READ, *paths], capture_output=True, text=True, timeout=300, check=False
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(FILES), done.stderr[-1000:]
    assert {name: outcomes for name, _, outcomes in rows if outcomes != ["refused"] * 3} == {}
    assert {name: grown for name, grown, _ in rows if grown > 300} == {}


def test_a_torch_file_of_these_opcodes_is_read(tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    from slowfast_zoo.weights.checkpoint.reading import read_checkpoint

    torch_zip(
        tmp_path / "file", state(tensor(b"K\x02K\x02\x86", b"K\x02K\x01\x86")), struct.pack("<4f", 1, 2, 3, 4)
    )
    assert read_checkpoint(tmp_path / "file").tensors["a"].tolist() == [[1, 2], [3, 4]]
    assert torch.load(io.BytesIO((tmp_path / "file").read_bytes()))["a"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of the worker are Linux's")
@pytest.mark.parametrize("kind", ["checkpoints", "configs", "persons", "answers"])
def test_damaged_files_are_no_fault(kind: str, tmp_path: Path) -> None:
    """``scripts/fuzz.py`` tries thousands; each is refused, or read as what it is now."""
    spec = importlib.util.spec_from_file_location("fuzz", FUZZ)
    assert spec is not None and spec.loader is not None
    fuzz = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = fuzz
    spec.loader.exec_module(fuzz)
    outcomes = fuzz.fuzz(kind, 100, 7, tmp_path / "faults")
    assert set(outcomes) <= {"refused", "loaded", "other numbers"}
    assert outcomes["refused"] > 20
