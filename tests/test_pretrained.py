"""``create_model(..., weights=tag)`` from the publisher's paths on a real HTTP server, at full size.

The publishers' files can't be carried along, so full-size files are generated in their layouts. Every
tensor has a number of its own, which shows where it lands; that the networks then compute what the
publishers' do is ``test_reference``'s business. Two dozen files are served: every layout and dialect, every
architecture that scores persons, and the default weights of every model. Of the other rows, names and shapes
are compared with those of the publishers' own networks. No row's real hash can be matched: the catalog gets
those of the generated files, by the row's own algorithm and number of digits, and none where the publisher
gives none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch
from reference import references
from support.publisher_files import WRITERS
from support.servers import FileServer
from torch import Tensor

from slowfast_zoo.errors import OfflineError
from slowfast_zoo.spec import ModelSpec
from slowfast_zoo.weights import catalog
from slowfast_zoo.weights.catalog import DEFAULT_TAGS, get_weights, list_weights
from slowfast_zoo.weights.catalog.entry import WeightEntry
from slowfast_zoo.weights.checkpoint.dialects import CLASSIFIER, names_between
from slowfast_zoo.weights.checkpoint.layers import state_shapes
from slowfast_zoo.zoo import create_model

SERVED = [
    *((model, tag) for model, tag in DEFAULT_TAGS.items() if get_weights(model).urls),
    ("slowfast_r50_4x16x1", "mmaction2/k400-256e-256p"),
    ("slowfast_r50_8x8x1", "mmaction2-1x/k400-256e-steplr"),
    ("slowfast_r50_4x16x1", "pyslowfast/k400"),
    ("slowfast_r50_16x8x1", "pyslowfast/charades"),
    ("slowfast_r50_8x8x1", "pytorchvideo/ssv2"),
    ("slowfast_r50_4x16x1", "gluoncv/k400"),
    ("slowfast_r50_4x16x1_roi", "mmaction2/ava21-20e"),
    ("slowfast_r50_4x16x1_roi", "mmaction2-1x/multisports-8e"),
    ("slowfast_r50_8x8x1_roi", "mmaction2/ava22-10e-acrn"),
    ("slowfast_r50_8x8x1_roi", "mmaction2-1x/ava22-10e-acrn"),
    ("slowfast_r50_8x8x1_roi", "mmaction2-1x/ava22-10e"),
    ("slowfast_r50_8x8x1_roi", "pytorchvideo/ava22"),
    ("slowfast_r101_50_50_8x8x1_roi", "pyslowfast/ava21"),
]


def layout(entry: WeightEntry) -> str:
    """The kind of file that the publisher wrote."""
    if entry.dialect == "openmmlab":
        if entry.tag.startswith("mmaction2-1x"):
            return "openmmlab-1x"
        return "openmmlab-2020" if (entry.released or "").startswith("2020") else "openmmlab-2021"
    others = entry.model_spec.roi is None and "kinetics" not in entry.urls[0]
    if entry.dialect == "pytorchvideo" and others:
        return "pytorchvideo-by-pyslowfast"
    return {"caffe2": "caffe2-python2"}.get(entry.dialect, entry.dialect)


def numbered(spec: ModelSpec) -> dict[str, Tensor]:
    """A state dict in which no two tensors are equal, and no two columns of the classifier."""
    state = {}
    for index, (name, shape) in enumerate(state_shapes(spec).items(), start=1):
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(index)
        elif name == CLASSIFIER[0]:
            state[name] = torch.arange(shape[1], dtype=torch.float32).repeat(shape[0], 1) - index
        else:
            state[name] = torch.full(shape, index / 1024)
    return state


class Publishers:
    """One server in place of all publishers' hosts; the catalog knows the hashes of what it serves."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file, self.server, self.monkeypatch = folder / "file", FileServer(), monkeypatch
        self.stack = contextlib.ExitStack()
        self.cache = folder / "cache"
        monkeypatch.setenv("SLOWFAST_ZOO_CACHE", str(self.cache))

    def publish(self, entry: WeightEntry) -> tuple[dict[str, Tensor], WeightEntry]:
        """Serves a generated file under the row's first URL; its state dict, and the row with its hash."""
        state = numbered(entry.model_spec)
        WRITERS[layout(entry)][0](self.file, state, entry.model_spec)
        url = urlsplit(entry.urls[0])
        self.server.files = {url.path: self.file}
        self.monkeypatch.setenv("SLOWFAST_ZOO_MIRROR", f"{url.scheme}://{url.netloc}={self.server.url}")
        if entry.digest:
            kind, _, digits = entry.digest.partition(":")
            with self.file.open("rb") as file:
                found = hashlib.file_digest(file, kind.removesuffix("-prefix")).hexdigest()
            entry = dataclasses.replace(entry, digest=f"{kind}:{found[: len(digits)]}")
        same = (entry.model, entry.tag)
        rows = [entry if (row.model, row.tag) == same else row for row in list_weights()]
        self.stack.enter_context(catalog.using(rows))
        return state, entry


@pytest.fixture
def publishers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publishers]:
    publishers = Publishers(tmp_path, monkeypatch)
    with publishers.server, publishers.stack:
        yield publishers
    publishers.file.unlink(missing_ok=True)  # pytest would keep some gigabytes
    shutil.rmtree(publishers.cache, ignore_errors=True)


def assert_state(model: torch.nn.Module, state: dict[str, Tensor], dialect: str) -> None:
    own = model.state_dict()
    assert own.keys() == state.keys()
    for name, tensor in state.items():
        counted = dialect != "caffe2" or not name.endswith("num_batches_tracked")
        assert torch.equal(own[name], tensor if counted else torch.tensor(0)), name


@pytest.mark.parametrize(("model", "tag"), SERVED)
def test_weights_from_the_publishers_server(model: str, tag: str, publishers: Publishers) -> None:
    state, entry = publishers.publish(get_weights(model, tag))
    default = DEFAULT_TAGS[model] == tag
    loaded = create_model(model, pretrained=True) if default else create_model(model, weights=tag)
    assert_state(loaded, state, entry.dialect)
    assert (loaded.spec, loaded.clip_spec, loaded.labels) == (entry.model_spec, entry.clip_spec, entry.labels)
    assert loaded.provenance["tag"] == tag
    assert loaded.provenance["verified"] == (entry.digest is not None)
    assert [request.method for request in publishers.server.requests] == ["GET"]

    publishers.server.files = {}
    publishers.file.unlink()
    again = create_model(model, weights=tag, num_classes=5)
    assert torch.equal(again.fast.stem.conv.weight, state["fast.stem.conv.weight"])
    assert len(publishers.server.requests) == 1, "a second start asks nobody"


def test_all_layouts_and_dialects_are_served() -> None:
    rows = [get_weights(model, tag) for model, tag in SERVED]
    assert len(set(SERVED)) == len(SERVED)
    assert {layout(row) for row in rows} == {layout(row) for row in list_weights() if row.urls}
    assert {row.dialect for row in rows} == {row.dialect for row in list_weights() if row.urls}


def test_every_architecture_that_scores_persons_is_served() -> None:
    def networks(rows: list[WeightEntry]) -> set[ModelSpec]:
        specs = (row.model_spec for row in rows if row.model_spec.roi is not None)
        return {spec.replace(num_classes=80, activation="sigmoid") for spec in specs}

    assert networks([get_weights(model, tag) for model, tag in SERVED]) == networks(list_weights())


SECOND_PROCESS = """
import dataclasses, json, socket, sys

class Blocked(socket.socket):
    def __init__(self, *arguments, **more):
        raise AssertionError("a socket was asked for")

socket.socket = Blocked
from slowfast_zoo.weights import catalog
from slowfast_zoo.zoo import create_model
model, tag, digest = json.loads(sys.argv[1])
entry = dataclasses.replace(catalog.get_weights(model, tag), digest=digest)
with catalog.using([entry]):
    loaded = create_model(model, weights=tag)
names = [name for name, tensor in loaded.state_dict().items() if tensor.is_floating_point()]
print(json.dumps([sum(loaded.state_dict()[name].double().mean().item() for name in names), len(names)]))
"""


@pytest.mark.parametrize("tag", ["mmaction2/k400-256e-256p", "pytorchvideo/k400"])
def test_second_process_without_sockets(tag: str, publishers: Publishers) -> None:
    """With a hash of the publisher, and without one."""
    model = "slowfast_r50_4x16x1"
    state, entry = publishers.publish(get_weights(model, tag))
    command = [sys.executable, "-c", SECOND_PROCESS, json.dumps([model, tag, entry.digest])]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    create_model(model, weights=tag)
    floats = [tensor.double().mean().item() for tensor in state.values() if tensor.is_floating_point()]
    total, count = json.loads(subprocess.check_output(command, env=env, text=True))
    assert count == len(floats)
    assert total == pytest.approx(sum(floats), rel=1e-12)

    shutil.rmtree(publishers.cache)
    done = subprocess.run(command, env=env | {"SLOWFAST_ZOO_OFFLINE": "1"}, capture_output=True, text=True)
    assert OfflineError.__name__ in done.stderr, (
        "without the cache it can't work, so the cache is what worked"
    )


def head_aside(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The classifier without its number of classes; no other tensor has so many columns or none."""
    heads = [
        name for name in shapes if name.endswith((".fc_cls.weight", ".projection.weight", ".proj.weight"))
    ]
    heads += [name for name in shapes if name == "fc.weight"]
    (head,) = heads
    bias = head.replace("weight", "bias")
    return shapes | {head: shapes[head][1:], bias: ()}


@pytest.mark.parametrize(
    "entry",
    [entry for entry in list_weights() if entry.dialect not in ("caffe2", "slowfast_zoo")],
    ids=lambda entry: f"{entry.model}-{entry.tag}",
)
def test_every_rows_file_has_the_names_and_shapes_of_a_publishers_network(entry: WeightEntry) -> None:
    """The stored names and shapes are those that the publishers' released code builds."""
    shapes = state_shapes(entry.model_spec)
    names = names_between(entry.model_spec, entry.dialect)
    theirs = head_aside({str(their): shapes[ours] for ours, their in names.items()})
    publisher = entry.dialect.replace("openmmlab", "mmaction2")
    networks = [head_aside(r.shapes) for name, r in references().items() if name.startswith(f"{publisher}/")]
    assert theirs in networks
