"""torchvision's detectors: their files from the publisher's paths on a real HTTP server, and what they find.

The real files can't be carried along: these are made of the networks that torchvision itself builds for them,
with seeded weights, under the real names but for the digits of the hash.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from support.movies import moving_pattern
from support.servers import FileServer
from support.small_nets import roi_model as model
from torch import Tensor, nn

from slowfast_zoo import detect
from slowfast_zoo.errors import CheckpointError, DownloadError, OfflineError, UnknownNameError
from slowfast_zoo.inference.detect import detect as detect_module
from slowfast_zoo.inference.detect import detectors
from slowfast_zoo.inference.detect.detectors import DETECTORS, PersonDetector, detector_for
from slowfast_zoo.inference.runner import BatchRunner

CPU = torch.device("cpu")
Publish = Callable[[str, dict[str, Tensor]], str]


def trained(name: str, monkeypatch: pytest.MonkeyPatch, device: str = "cpu") -> nn.Module:
    """The network that torchvision builds for its published weights; they themselves are left out."""
    from torchvision.models import WeightsEnum, detection

    with monkeypatch.context() as change, torch.device(device):
        change.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: {})
        change.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
        network: nn.Module = getattr(detection, DETECTORS[name].builder)(weights="DEFAULT")
    return network.eval()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("SLOWFAST_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with FileServer() as server:
        monkeypatch.setenv("SLOWFAST_ZOO_MIRROR", f"https://download.pytorch.org={server.url}")
        yield server
    for file in (*tmp_path.glob("*.pth"), *tmp_path.glob("cache/*.pth")):
        file.unlink()  # pytest would keep them


@pytest.fixture
def publish(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Serves a file as one of the detectors', with its own hash in the name; gives the path."""

    def publish(name: str, state: dict[str, Tensor]) -> str:
        torch.save(state, tmp_path / f"{name}.pth")
        digest = hashlib.sha256((tmp_path / f"{name}.pth").read_bytes()).hexdigest()[:8]
        entry = DETECTORS[name]
        url = f"{entry.url.rpartition('-')[0]}-{digest}.pth"
        monkeypatch.setitem(detectors.DETECTORS, name, dataclasses.replace(entry, url=url))
        path = urlsplit(url).path
        server.files[path] = tmp_path / f"{name}.pth"
        return path

    return publish


def test_persons_are_those_that_torchvision_finds(
    publish: Publish, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    network = trained("person-fast", monkeypatch)
    for module in network.modules():
        if type(module).__name__ == "FrozenBatchNorm2d":
            module.get_buffer("running_mean").normal_(std=0.1)
            module.get_buffer("running_var").uniform_(0.5, 1.5)
    state = network.state_dict()
    nn.init.normal_(state["roi_heads.box_predictor.cls_score.weight"], std=10)
    state["roi_heads.box_predictor.cls_score.bias"][1] += 9  # many persons, and others
    assert not any("num_batches" in key for key in state)
    path = publish("person-fast", state)
    film = moving_pattern(20)
    with torch.inference_mode():
        expected = network([torch.from_numpy(film[0]).permute(2, 0, 1) / 255])[0]
    person, surest = expected["labels"] == 1, expected["scores"] >= 0.7
    assert 0 < (person & surest).sum() < person.sum() < len(person)

    answer = detect(model(), film, detector="person", box_score=0, fps=30, progress=False)
    assert answer.detector == "person-fast" and answer.key_seconds == (0,)
    assert [each.box for each in answer.persons] == [*map(tuple, expected["boxes"][person].tolist())]
    assert [each.box_score for each in answer.persons] == expected["scores"][person].tolist()
    assert server.count(path) == 1

    server.files.clear()
    monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
    sure = detect(model(), film, detector="person-fast", fps=30, progress=False)
    assert len(sure.persons) == (person & surest).sum()
    assert server.count(path) == 1, "a second start asks nobody"


def test_the_strong_ones_file(publish: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = trained("person-strong", monkeypatch, "meta").state_dict()
    state = {
        name: torch.full(tensor.shape, number / 64, dtype=tensor.dtype)
        for number, (name, tensor) in enumerate(shapes.items())
    }
    publish("person-strong", state)
    loaded = PersonDetector("person-strong", CPU, progress=False)._network
    assert type(loaded).__name__ == "FasterRCNN" and not any(part.training for part in loaded.modules())
    assert loaded.state_dict().keys() == state.keys()
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in state.items())


def test_urls_are_torchvisions() -> None:
    from torchvision.models import get_model_weights

    for entry in DETECTORS.values():
        weights = get_model_weights(entry.builder).DEFAULT
        assert entry.url == weights.url and weights.meta["categories"][detectors.PERSON] == "person"
        assert entry.digest == f"sha256-prefix:{entry.url[-12:-4]}"


def test_which_one_is_meant() -> None:
    gpu = torch.device("cuda")
    assert [detector_for("person", device) for device in (CPU, gpu)] == ["person-fast", "person-strong"]
    assert detector_for("person-strong", CPU) == "person-strong"
    with pytest.raises(UnknownNameError, match=r"'persn'.*Did you mean 'person'.*boxes="):
        detector_for("persn", CPU)


def test_files_that_arent_it(publish: Publish, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = np.zeros((8, 8, 3), np.uint8)
    publish("person-fast", {"weight": torch.ones(2)})
    with pytest.raises(CheckpointError, match="isn't a file of fasterrcnn_mobilenet_v3_large_fpn"):
        detect(model(), frame[None], detector="person", fps=30, progress=False)
    path = publish("person-fast", {"weight": torch.ones(3)})
    server.files[path] = b"another\0file"
    with pytest.raises(DownloadError, match="gave 12 bytes with sha256"):
        detect(model(), frame[None], detector="person", fps=30, progress=False)
    monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
    with pytest.raises(OfflineError, match=r"fasterrcnn_mobilenet.*by hand.*put it at"):
        detect(model(), frame[None], detector="person", fps=30, progress=False)


def test_how_many_key_frames_there_are_decides_about_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    announced: list[Any] = []

    class Nobody:
        name = "person-fast"

        def __init__(self, name: str, device: torch.device, progress: bool) -> None:
            assert device == CPU

        def __call__(self, frame: Any) -> list[Any]:
            return []

    def runner(*arguments: Any, clips: int | None, **named: Any) -> BatchRunner:
        announced.append(clips)
        return BatchRunner(*arguments, clips=clips, **named)

    monkeypatch.setattr(detect_module, "PersonDetector", Nobody)
    monkeypatch.setattr(detect_module, "BatchRunner", runner)
    answer = detect(model(), moving_pattern(80), detector="person", fps=30, progress=False)
    assert announced == [len(answer.key_seconds)] == [3]
