"""Files that want to do harm, and files that are broken: refused, nothing run, nothing changed."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import random
import struct
import sys
import tarfile
import types
import uuid
import zipfile
from argparse import Namespace
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch
from support.publisher_files import WRITERS, caffe2_blobs, python2_pickle

from slowfast_zoo.errors import CheckpointError
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ModelSpec
from slowfast_zoo.weights.checkpoint.loading import load_checkpoint
from slowfast_zoo.weights.checkpoint.reading import read_checkpoint

SPEC = ModelSpec(depth=14, base_width=8, alpha=4, num_frames=8, num_classes=3)


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def harm(trap: Path) -> Call:
    return Call(os.system, f"echo harm > '{trap}'")


def state() -> dict[str, torch.Tensor]:
    return SlowFast(SPEC).state_dict()


def torch_file(path: Path, content: object, *, legacy: bool = False) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)


def safetensors_file(path: Path, header: object, data: bytes = b"\0" * 64, length: int | None = None) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


def tensor_row(start: int, end: int, shape: list[int]) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


def zip_bomb(path: Path, trap: Path) -> None:
    """A good file whose records are stored compressed, one of them a long run of zeros."""
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(16 * 2**20)}, buffer)
    with zipfile.ZipFile(buffer) as good, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for record in good.infolist():
            bomb.writestr(record.filename, good.read(record))


def overlapping_zip(path: Path, trap: Path) -> None:
    """Two records of the directory point at the same bytes, so that it unpacks to more than it has."""
    torch_file(path, {"a": torch.zeros(1000), "b": torch.ones(1000)})
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        records = [record for record in archive.infolist() if "/data/" in record.filename]
        directory = archive.start_dir
    grown = bytearray(data)
    for record in records:  # both sizes in the central directory
        at = grown.index(record.filename.encode(), directory) - 46
        grown[at + 20 : at + 28] = struct.pack("<II", len(data), len(data))
    path.write_bytes(bytes(grown))


def protocol_0(path: Path, trap: Path) -> None:
    path.write_bytes(f"(dp0\nS'blobs'\ncos\nsystem\n(S'echo harm > {trap}'\ntRs.".encode())


def memo_bomb(path: Path, trap: Path) -> None:
    path.write_bytes(b"\x80\x02}r\xff\xff\xff\x7f.")  # asks for a table of two thousand million places


def inert_as_weights(path: Path, trap: Path) -> None:
    """What is accepted beside the tensors must not get among them."""
    torch_file(path, {"state_dict": {"slow.stem.conv.weight": np.float64(1)}})


def object_array(path: Path, trap: Path) -> None:
    array = np.empty(1, dtype=object)
    array[0] = harm(trap)
    path.write_bytes(pickle.dumps({"blobs": {"conv1_w": array}}, protocol=2))


def object_array_without_object(path: Path, trap: Path) -> None:
    """Bytes that numpy's own unpickling would take for addresses of objects."""
    data = python2_pickle({"conv1_w": np.arange(4, dtype=np.int64)})
    path.write_bytes(data.replace(b"U\x02i8", b"U\x01O"))


def array_larger_than_its_data(path: Path, trap: Path) -> None:
    data = python2_pickle({"conv1_w": np.zeros(7, np.float32)})
    path.write_bytes(data.replace(b"J\x07\0\0\0", b"J\xff\xff\xff\x7f"))


HOSTILE: dict[str, Callable[[Path, Path], object]] = {
    "call in the state dict": lambda path, trap: torch_file(path, {"state_dict": {"a": harm(trap)}}),
    "call in the legacy container": lambda path, trap: torch_file(path, {"a": harm(trap)}, legacy=True),
    "call in meta": lambda path, trap: torch_file(
        path, {"meta": {"best": harm(trap)}, "state_dict": state()}
    ),
    "call in legacy meta": lambda path, trap: torch_file(
        path, {"meta": {"best": harm(trap)}, "state_dict": state()}, legacy=True
    ),
    "nested call": lambda path, trap: torch_file(path, {"meta": [({"x": [OrderedDict(y=[harm(trap)])]},)]}),
    "call behind numpy scalars": lambda path, trap: torch_file(
        path, {"meta": {"best": np.float64(1), "worst": harm(trap)}, "state_dict": state()}
    ),
    "exec": lambda path, trap: torch_file(path, {"a": Call(exec, f"open({str(trap)!r}, 'w').close()")}),
    "getattr as weights": lambda path, trap: torch_file(path, {"a": Call(getattr, "text", "upper")}),
    "open for writing": lambda path, trap: torch_file(path, {"a": Call(open, str(trap), "w")}),
    "call in a caffe2 file": lambda path, trap: path.write_bytes(
        pickle.dumps({"blobs": {**caffe2_blobs(state(), SPEC), "lr": harm(trap)}}, protocol=2)
    ),
    "nested call in a caffe2 file": lambda path, trap: path.write_bytes(
        pickle.dumps({"blobs": {"conv1_w": [{"x": (harm(trap),)}]}}, protocol=4)
    ),
    "bare pickle": lambda path, trap: path.write_bytes(pickle.dumps(harm(trap))),
    "text pickle": protocol_0,
    "memo bomb": memo_bomb,
    "object array": object_array,
    "addresses as an array": object_array_without_object,
    "array larger than its data": array_larger_than_its_data,
    "stand-in as weights": inert_as_weights,
    "zip bomb": zip_bomb,
    "overlapping zip": overlapping_zip,
    "expanded tensor": lambda path, trap: torch_file(path, {"a": torch.zeros(1).expand(2**40)}),
    "sparse tensor": lambda path, trap: torch_file(path, {"a": torch.ones(3, 3).to_sparse()}),
    "complex tensor": lambda path, trap: torch_file(path, {"a": torch.ones(3, dtype=torch.complex64)}),
    "numbers as names": lambda path, trap: torch_file(path, {1: torch.ones(3)}),
    "no tensors": lambda path, trap: torch_file(path, {"epoch": 3, "optimizer": {}}),
    "whole model": lambda path, trap: torch_file(path, torch.nn.Linear(1, 1)),
    "a list": lambda path, trap: torch_file(path, [torch.ones(1)]),
    "header length absurd": lambda path, trap: safetensors_file(path, {}, length=2**63),
    "header longer than the file": lambda path, trap: safetensors_file(path, {}, length=2**20),
    "offsets overlap": lambda path, trap: safetensors_file(
        path, {"a": tensor_row(0, 32, [8]), "b": tensor_row(16, 48, [8])}, b"\0" * 48
    ),
    "offsets behind the end": lambda path, trap: safetensors_file(path, {"a": tensor_row(0, 2**40, [2**38])}),
    "offsets backwards": lambda path, trap: safetensors_file(path, {"a": tensor_row(32, 0, [8])}),
    "shape unlike offsets": lambda path, trap: safetensors_file(path, {"a": tensor_row(0, 64, [2**30])}),
    "shape overflows": lambda path, trap: safetensors_file(
        path, {"a": tensor_row(0, 64, [2**32, 2**32, 16])}
    ),
    "header not JSON": lambda path, trap: path.write_bytes(struct.pack("<Q", 8) + b"{{{{{{{{" + bytes(64)),
    "empty": lambda path, trap: path.write_bytes(b""),
    "web page": lambda path, trap: path.write_bytes(b"\n<!DOCTYPE html><html>Sign in</html>"),
    "text": lambda path, trap: path.write_text("these are not weights"),
    "git lfs pointer": lambda path, trap: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
    "gzip": lambda path, trap: path.write_bytes(gzip.compress(b"weights")),
    "tar": lambda path, trap: tarfile.open(path, "w").add(__file__, "file") or None,  # noqa: SIM115
    "other zip": lambda path, trap: zipfile.ZipFile(path, "w").writestr("../../escape.txt", "harm"),
    "zeros": lambda path, trap: path.write_bytes(bytes(1000)),
    "folder": lambda path, trap: path.mkdir(),
    "nothing": lambda path, trap: None,
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol", "ignore::ResourceWarning")
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_and_broken_files_are_refused(tmp_path: Path, kind: str) -> None:
    path, trap = tmp_path / "in" / "weights.pth", tmp_path / "trap"
    path.parent.mkdir()
    HOSTILE[kind](path, trap)
    model = SlowFast(SPEC)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for load in (read_checkpoint, lambda path: load_checkpoint(model, path)):
        with pytest.raises(CheckpointError, match=r"weights\.pth") as caught:
            load(path)
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith((".", "'"))
    assert not trap.exists()
    assert sorted(tmp_path.rglob("*")) == sorted({path.parent, path} if path.exists() else {path.parent})
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("kind", ["call in the state dict", "call in legacy meta", "call in a caffe2 file"])
def test_the_traps_do_snap_when_a_file_is_trusted(tmp_path: Path, kind: str) -> None:
    """Else the test above would prove nothing."""
    path, trap = tmp_path / "file", tmp_path / "trap"
    HOSTILE[kind](path, trap)
    if "caffe2" in kind:
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert trap.exists()


def test_the_message_names_what_wanted_to_run_and_the_way_out(tmp_path: Path) -> None:
    torch_file(tmp_path / "file", {"meta": {"x": Call(os.getcwd)}, "state_dict": state()})
    with pytest.raises(CheckpointError, match=r"'(posix|nt)\.getcwd' to be run.*torch\.save"):
        read_checkpoint(tmp_path / "file")


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_of_another_kind_are_read_once_they_are_saved_as_the_message_says(
    legacy: bool, tmp_path: Path
) -> None:
    with_attribute = torch.ones(2)
    with_attribute.note = "x"  # type: ignore[attr-defined]
    for name, tensor in {"a": torch.ones(2).to(torch.float8_e4m3fn), "b": with_attribute}.items():
        tensors = state() | {name: tensor}
        torch_file(tmp_path / "file", tensors, legacy=legacy)
        with pytest.raises(
            CheckpointError, match=r"'torch.*of another kind, .* tensor\.detach\(\)\.float\(\)"
        ):
            read_checkpoint(tmp_path / "file")
        plain = {name: tensor.detach().float() for name, tensor in tensors.items()}
        torch_file(tmp_path / "file", plain, legacy=legacy)
        assert read_checkpoint(tmp_path / "file").shapes.keys() == tensors.keys()


BESIDE: dict[str, Any] = {
    "paths": [Path("out"), PurePosixPath("a"), PureWindowsPath("b")],
    "counts": [defaultdict(list, {"loss": [0.1]}), Counter("ab"), deque([0.5, 0.25], maxlen=3)],
    "arguments": Namespace(out=Path("out"), kinds=[bool, complex, dict, float, int, list, str, tuple]),
    "times": [datetime.now(UTC), date(2024, 2, 29), time(12), timedelta(hours=1)],
    "numbers": [{1, 2}, frozenset((3,)), range(4), slice(5), 1 + 2j, np.float32(0.5), np.arange(3)],
    "which run it was": [torch.__version__, types.SimpleNamespace(lr=0.1), uuid.uuid1(), uuid.uuid4()],
    "torch's": [torch.device("cpu"), torch.float16, torch.Size([1]), torch.get_rng_state()],
}


@pytest.mark.parametrize("kind", BESIDE)
@pytest.mark.parametrize("legacy", [False, True])
def test_what_ones_own_loop_keeps_beside_the_tensors_is_passed_over(
    kind: str, legacy: bool, tmp_path: Path
) -> None:
    torch_file(tmp_path / "file", {"model": state(), "beside": BESIDE[kind]}, legacy=legacy)
    assert read_checkpoint(tmp_path / "file").shapes.keys() == state().keys()


@pytest.mark.parametrize("beside", ["state_dict_ema", "ema_state_dict"])
def test_averages_that_are_left_out_are_pointed_out(
    beside: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """OpenMMLab 1.x keeps its averages as the state dict, and the plain weights as ``ema_state_dict``."""
    torch_file(
        tmp_path / "file", {"state_dict": state(), beside: state(), "optimizer": {"lr": torch.ones(1)}}
    )
    read_checkpoint(tmp_path / "file")
    assert ("'state_dict_ema', which by its name holds averages" in caplog.text) == (
        beside == "state_dict_ema"
    )
    assert "ema_state_dict" not in caplog.text and "optimizer" not in caplog.text


@pytest.mark.parametrize("legacy", [False, True])
def test_numbers_and_texts_among_the_tensors_at_the_top_are_passed_over(legacy: bool, tmp_path: Path) -> None:
    torch_file(
        tmp_path / "file",
        state() | {"epoch": 3, "loss": 0.5, "best": True, "name": "a", "log": "a" * 10**5, "seed": None},
        legacy=legacy,
    )
    assert read_checkpoint(tmp_path / "file").shapes.keys() == state().keys()
    torch_file(tmp_path / "file", {"state_dict": state() | {"epoch": 3}}, legacy=legacy)
    with pytest.raises(CheckpointError, match="'epoch', which is no plain tensor"):
        read_checkpoint(tmp_path / "file")


def test_paths_of_python_3_13(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("pathlib._local")
    module.PosixPath = type("PosixPath", (), {"__module__": module.__name__})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    torch_file(tmp_path / "file", {"model": state(), "out": module.PosixPath()})
    assert b"pathlib._local" in (tmp_path / "file").read_bytes()
    assert read_checkpoint(tmp_path / "file").shapes.keys() == state().keys()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes exist on POSIX only")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="no regular file"):
        read_checkpoint(tmp_path / "pipe")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "kind", ["openmmlab-2020", "openmmlab-1x", "caffe2-python2", "caffe2-python3", "safetensors"]
)
def test_truncated_files_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    WRITERS[kind][0](path, state(), SPEC)
    data = path.read_bytes()
    for length in (1, 8, 9, 100, len(data) // 3, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match="file"):
            load_checkpoint(SlowFast(SPEC), path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["openmmlab-2020", "openmmlab-1x", "caffe2-python2", "safetensors"])
def test_flipped_bytes_are_refused_or_harmless(tmp_path: Path, kind: str) -> None:
    """Whatever a damaged file holds: the error is ours, or the model that it gives is complete."""
    path, chance = tmp_path / "file", random.Random(0)
    small = {name: tensor for name, tensor in state().items() if tensor.numel() < 200}
    WRITERS["plain" if kind == "safetensors" else kind][0](path, state(), SPEC)
    if kind == "safetensors":
        from safetensors.torch import save_file

        save_file(small, path)
    data = path.read_bytes()
    refused, model = 0, SlowFast(SPEC)
    for _ in range(60):
        broken = bytearray(data)
        for _ in range(chance.randint(1, 8)):
            region = min(len(data), 20_000) if chance.random() < 0.7 else len(data)
            broken[chance.randrange(region)] = chance.randrange(256)
        path.write_bytes(bytes(broken))
        try:
            if kind == "safetensors":  # holds too little for a model
                checkpoint = read_checkpoint(path)
                assert all(checkpoint.tensors[name].shape == row for name, row in checkpoint.shapes.items())
            else:
                load_checkpoint(model, path)
                assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
        except CheckpointError:
            refused += 1
    assert refused > 0
