"""A small trained network, and files of it as each publisher writes them, for the tests of reading them."""

from __future__ import annotations

import pickle
import struct
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slowfast_zoo.files import written_whole
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ModelSpec
from slowfast_zoo.weights.checkpoint.dialects import CLASSIFIER, get_table, names_between
from slowfast_zoo.weights.checkpoint.loading import load_checkpoint
from slowfast_zoo.weights.saved.config import SavedConfig
from slowfast_zoo.weights.saved.file import fill

State = Mapping[str, Tensor]

SPEC = ModelSpec(depth=14, base_width=16, alpha=4, num_frames=8, num_classes=6, lateral_norm=True)


def trained(spec: ModelSpec = SPEC, seed: int = 0) -> SlowFast:
    """A model in which no two tensors are equal and every number matters to the answer."""
    generator = torch.Generator().manual_seed(seed)
    model = SlowFast(spec).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                tensor.fill_(7)
            elif name.endswith("running_var") or ("norm" in name and name.endswith(".weight")):
                tensor.uniform_(0.5, 1.5, generator=generator)
            else:
                tensor.normal_(0, 0.1, generator=generator)
    return model


def write_file(path: Path, model: SlowFast, metrics: Mapping[str, Any] | None = None) -> None:
    """The model as one saved file, as a training writes it."""
    with written_whole(path) as temporary:
        fill(temporary, model.state_dict(), SavedConfig.of(model, metrics))


def build(spec: ModelSpec, path: Path) -> SlowFast:
    """A model of that spec in eval mode, with the weights of a file."""
    return load_checkpoint(SlowFast(spec), path).eval()


def assert_same_state(model: SlowFast, state: dict[str, torch.Tensor], skip: tuple[str, ...] = ()) -> None:
    own = model.state_dict()
    assert set(own) == set(state)
    different = [name for name in own if name not in skip and not torch.equal(own[name], state[name])]
    assert different == []


def to_dialect(state: State, spec: ModelSpec, dialect: str) -> dict[str, Tensor]:
    """Our state dict of a network under the publisher's names, in the publisher's column order."""
    renamed = {theirs: state[ours] for ours, theirs in names_between(spec, dialect).items() if theirs}
    table = get_table(dialect)
    for name in CLASSIFIER if table.rows_before(spec) else ():
        theirs = str(names_between(spec, dialect)[name])
        background = torch.full_like(renamed[theirs][: table.rows_before(spec)], -7.0)
        renamed[theirs] = torch.cat([background, renamed[theirs]])
    if table.fast_first and spec.num_classes and spec.roi is None:
        head = state[CLASSIFIER[0]]
        renamed["cls_head.fc_cls.weight"] = torch.roll(head, spec.num_features - 32 * spec.base_width, dims=1)
    return renamed


def openmmlab_2020(path: Path, state: State, spec: ModelSpec) -> None:
    """MMAction2 0.x of 2020: the container of torch before 1.6."""
    meta = {"mmaction_version": "0.5.0", "epoch": 256, "env_info": {"sys.platform": "linux"}}
    content = {"meta": meta, "state_dict": OrderedDict(to_dialect(state, spec, "openmmlab"))}
    torch.save(content, path, _use_new_zipfile_serialization=False)


def openmmlab_2021(path: Path, state: State, spec: ModelSpec) -> None:
    """MMAction2 0.x of 2021: a zip with numpy scalars in meta."""
    meta = {"epoch": 256, "hook_msgs": {"best_score": np.float64(0.7), "last": np.float32(0.6)}}
    torch.save({"meta": meta, "state_dict": OrderedDict(to_dialect(state, spec, "openmmlab"))}, path)


def openmmlab_1x(path: Path, state: State, spec: ModelSpec) -> None:
    """MMAction2 1.x with MMEngine's whole training log, pickled by a class of that name."""
    module = types.ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        def __init__(self) -> None:
            self.history = np.arange(3.0)
            self.statistics = OrderedDict(current=HistoryBuffer.current)

        def current(self) -> float:
            raise AssertionError("called while reading")

    HistoryBuffer.__module__ = module.__name__
    HistoryBuffer.__qualname__ = "HistoryBuffer"
    HistoryBuffer.current.__module__ = module.__name__
    HistoryBuffer.current.__qualname__ = "HistoryBuffer.current"
    module.HistoryBuffer = HistoryBuffer  # type: ignore[attr-defined]
    parents = {name: types.ModuleType(name) for name in ("mmengine", "mmengine.logging")}
    installed = {**parents, module.__name__: module}
    sys.modules.update(installed)
    try:
        content = {
            "meta": {"epoch": 256, "cfg": "model = dict(type='Recognizer3D')", "seed": 0},
            "message_hub": {"log_scalars": {"loss": HistoryBuffer()}},
            "param_schedulers": [{"last_step": 256, "_last_value": [np.float64(0.1)]}],
            "state_dict": OrderedDict(to_dialect(state, spec, "openmmlab")),
        }
        torch.save(content, path)
    finally:
        for name in installed:
            del sys.modules[name]


def pyslowfast(path: Path, state: State, spec: ModelSpec) -> None:
    content = {"epoch": 195, "cfg": "MODEL: ...", "model_state": to_dialect(state, spec, "pyslowfast")}
    torch.save(content, path)


def caffe2_blobs(state: State, spec: ModelSpec) -> dict[str, np.ndarray]:
    blobs = {name: tensor.numpy() for name, tensor in to_dialect(state, spec, "caffe2").items()}
    momentum = {f"{name}_momentum": np.zeros_like(blobs[name]) for name in ("conv1_w", "pred_b")}
    return blobs | momentum | {"lr": np.full(1, 0.1, np.float32)}


def caffe2_python2(path: Path, state: State, spec: ModelSpec) -> None:
    path.write_bytes(python2_pickle(caffe2_blobs(state, spec)))


def caffe2_python3(path: Path, state: State, spec: ModelSpec) -> None:
    content = {"blobs": {**caffe2_blobs(state, spec), "model_iter": 3, "wd": np.float64(1e-4)}}
    path.write_bytes(pickle.dumps(content, protocol=2))


def pytorchvideo(path: Path, state: State, spec: ModelSpec) -> None:
    torch.save({"model_state": to_dialect(state, spec, "pytorchvideo")}, path)


def pytorchvideo_by_pyslowfast(path: Path, state: State, spec: ModelSpec) -> None:
    renamed = to_dialect(state, spec, "pytorchvideo")
    torch.save({"model_state": {f"model.{name}": tensor for name, tensor in renamed.items()}}, path)


def gluoncv(path: Path, state: State, spec: ModelSpec) -> None:
    torch.save(to_dialect(state, spec, "gluoncv"), path)


def data_parallel(path: Path, state: State, spec: ModelSpec) -> None:
    renamed = to_dialect(state, spec, "gluoncv")
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in renamed.items()}}, path)


def plain(path: Path, state: State, spec: ModelSpec) -> None:
    torch.save(dict(state), path)


def safetensors(path: Path, state: State, spec: ModelSpec) -> None:
    from safetensors.torch import save_file

    save_file(to_dialect(state, spec, "pyslowfast"), path)


WRITERS: dict[str, tuple[Callable[[Path, State, ModelSpec], None], str]] = {
    "openmmlab-2020": (openmmlab_2020, "openmmlab"),
    "openmmlab-2021": (openmmlab_2021, "openmmlab"),
    "openmmlab-1x": (openmmlab_1x, "openmmlab"),
    "pyslowfast": (pyslowfast, "pyslowfast"),
    "caffe2-python2": (caffe2_python2, "caffe2"),
    "caffe2-python3": (caffe2_python3, "caffe2"),
    "pytorchvideo": (pytorchvideo, "pytorchvideo"),
    "pytorchvideo-by-pyslowfast": (pytorchvideo_by_pyslowfast, "pytorchvideo"),
    "gluoncv": (gluoncv, "gluoncv"),
    "data-parallel": (data_parallel, "gluoncv"),
    "plain": (plain, "slowfast_zoo"),
    "safetensors": (safetensors, "pyslowfast"),
}
"""Name of a kind of file, what writes it, and its dialect."""


def python2_pickle(blobs: Mapping[str, np.ndarray]) -> bytes:
    """``{'blobs': blobs}`` as Python 2's pickle writes it: byte strings, numpy's old module names."""
    out = [b"\x80\x02}", _python2_string(b"blobs"), b"}("]
    for name, array in blobs.items():
        array = np.ascontiguousarray(array)
        code = array.dtype.str[1:].encode()
        dtype = b"cnumpy\ndtype\n" + _python2_string(code) + b"K\x00K\x01\x87R"
        dtype += b"(K\x03" + _python2_string(b"<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        shape = b"(" + b"".join(b"J" + struct.pack("<i", side) for side in array.shape) + b"t"
        out += [
            _python2_string(name.encode()),
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R",
            b"(K\x01" + shape + dtype + b"\x89",
            b"T" + struct.pack("<i", array.nbytes) + array.tobytes(),
            b"tb",
        ]
    return b"".join([*out, b"us."])


def _python2_string(text: bytes) -> bytes:
    return b"U" + bytes([len(text)]) + text
