"""``export``: files that other programs can serve, each proven, complete or not there at all."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.small_nets import NETWORKS, block, make_model
from torch import Tensor, nn

from slowfast_zoo import SlowFast, export, save_pretrained
from slowfast_zoo.cli import main
from slowfast_zoo.errors import (
    ExportError,
    InputError,
    MissingDependencyError,
    UnknownNameError,
)
from slowfast_zoo.inference.export import formats
from slowfast_zoo.inference.export.proof import prove, reference_frames

EXAMPLE = Path(__file__).parents[2] / "examples" / "serve_onnx_numpy.py"


def run(path: Path, clips: Tensor) -> Tensor:
    """The exported file as its own runtime serves it, with what the contract says and nothing else."""
    contract = json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        assert [(value.name, value.shape) for value in session.get_inputs()] == [
            ("clip", contract["input"]["shape"])
        ]
        assert [(value.name, value.shape) for value in session.get_outputs()] == [
            ("logits", contract["output"]["shape"])
        ]
        return torch.from_numpy(session.run(None, {"clip": clips.numpy()})[0])
    if path.suffix == ".pt2":
        with torch.no_grad():
            return torch.export.load(path).module()(clips)  # type: ignore[no-any-return]
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", contract["properties"])
    return torch.from_numpy(compiled({"clip": clips.numpy()})["logits"])


def inside(path: Path) -> dict[str, Any]:
    """Specs and labels as the file itself has them."""
    if path.suffix == ".onnx":
        import onnx

        text = {entry.key: entry.value for entry in onnx.load(path).metadata_props}["slowfast_zoo"]
    elif path.suffix == ".pt2":
        found = {"slowfast_zoo.json": ""}
        torch.export.load(path, extra_files=found)
        text = found["slowfast_zoo.json"]
    else:
        import openvino

        text = openvino.Core().read_model(path).get_rt_info("slowfast_zoo").astype(str)
    return json.loads(text)  # type: ignore[no-any-return]


def clips(number: int, side: int = 48) -> Tensor:
    return torch.randn(number, 3, 8, side, side, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        *(("global-strided", suffix) for suffix in (".onnx", ".pt2", ".xml")),
        *(("window-logits", ".pt2"), ("window-probs", ".xml"), ("window-sigmoid", ".onnx")),
    ],
)
def test_the_file_computes_the_same_for_every_batch_size(name: str, suffix: str, tmp_path: Path) -> None:
    model = make_model(NETWORKS[name]).train()
    model.labels = tuple("abcdef")
    path = tmp_path / f"net{suffix}"
    written = export(model, path, repeats=1)
    assert model.training
    told = inside(path)
    assert told["labels"] == list(model.labels) and told["model_spec"] == model.spec.to_dict()
    model.eval()
    for batch in (1, 3):
        expected = model(clips(batch)).detach()
        logits = run(path, clips(batch))
        assert logits.shape == expected.shape
        assert (logits - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert written.proof.ok
    assert written.proof.top1_agreement == 1
    assert 0 < written.proof.eager_p50_seconds <= written.proof.eager_p95_seconds
    assert 0 < written.proof.exported_p50_seconds <= written.proof.exported_p95_seconds


def test_the_contract_is_complete(tmp_path: Path) -> None:
    model = make_model(NETWORKS["window-sigmoid"])
    model.labels, model.provenance = ("ä", "b", "c", "d", "e", "f"), {"tag": "mmaction2/test"}
    path = tmp_path / "folder of mine" / "nét.pt2"
    written = export(model, path, size=(40, 56), repeats=1)
    assert [file.name for file in written.files] == ["nét.pt2", "nét.pt2.reference.npz", "nét.pt2.json"]
    assert sorted(path.parent.iterdir()) == sorted(written.files), "nothing else is left"
    contract = json.loads(written.files[-1].read_text(encoding="utf-8"))
    assert contract["format"] == "torch" and contract["precision"] == "float32"
    assert contract["files"] == {"nét.pt2": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert contract["input"] == {"name": "clip", "dtype": "float32", "shape": ["batch", 3, 8, 40, 56]}
    assert contract["output"] == {"name": "logits", "dtype": "float32", "shape": ["batch", 6]}
    assert contract["activation"] == "sigmoid"
    assert contract["model_spec"] == model.spec.to_dict()
    assert contract["clip_spec"] == model.clip_spec.to_dict()
    assert contract["labels"] == list(model.labels)
    assert contract["provenance"] == model.provenance
    assert contract["proof"] == written.proof.to_dict()

    reference = np.load(path.with_name(contract["reference"]["file"]))
    assert reference["frames"].shape == (3, 8, 40, 56, 3)
    for name in ("frames", "logits"):
        assert (
            hashlib.sha256(reference[name].tobytes()).hexdigest() == contract["reference"][f"{name}_sha256"]
        )
    mean, std = np.float32(contract["clip_spec"]["mean"]), np.float32(contract["clip_spec"]["std"])
    clip = ((reference["frames"].astype(np.float32) - mean) / std).transpose(0, 4, 1, 2, 3)
    logits = model(torch.from_numpy(np.ascontiguousarray(clip))).detach().numpy()
    np.testing.assert_allclose(reference["logits"], logits, atol=1e-5 * np.abs(logits).max())


@pytest.mark.parametrize(
    ("suffix", "precision"),
    [(".pt2", "bfloat16"), (".onnx", "float16"), (".xml", "float16"), (".xml", "bfloat16")],
)
def test_lower_precision(suffix: str, precision: Any, tmp_path: Path) -> None:
    model = make_model(NETWORKS["global-linspace"])
    written = export(model, tmp_path / f"net{suffix}", precision=precision, repeats=1)
    expected = model(clips(2)).detach()
    logits = run(written.path, clips(2))
    assert logits.dtype == torch.float32
    assert (logits - expected).abs().max() <= written.proof.tolerance * expected.abs().max()
    if precision == "float16":
        weights = written.path.with_suffix(".bin") if suffix == ".xml" else written.path
        full = 4 * sum(parameter.numel() for parameter in model.parameters())
        assert weights.stat().st_size < 0.8 * full  # the graph of a small network is a good part


def wrong_twin(shift: float) -> Any:
    """An opener of files whose logits are off by a share of the largest."""

    def open_(path: Path, precision: str) -> Any:
        program = torch.export.load(path).module()
        return lambda clips: program(clips) * (1 + shift)

    return open_


def replaced(monkeypatch: pytest.MonkeyPatch, opener: Any) -> None:
    kind = formats.FORMATS["torch"]
    changed = formats.FileFormat(kind.suffixes, kind.precisions, kind.packages, kind.write, opener)
    monkeypatch.setitem(formats.FORMATS, "torch", changed)


def test_a_file_that_differs_is_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = make_model()
    earlier = export(model, tmp_path / "net.pt2", repeats=1)
    before = earlier.path.read_bytes()
    replaced(monkeypatch, wrong_twin(1e-4))
    with pytest.raises(ExportError, match=r"gives other answers(.|\n)*DIFFERENT logits"):
        export(model, tmp_path / "net.pt2", repeats=1, overwrite=True)
    assert earlier.path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == sorted(earlier.files)
    replaced(monkeypatch, wrong_twin(1e-6))
    with pytest.raises(InputError, match=r"net\.pt2' exists; give overwrite=True"):
        export(model, tmp_path / "net.pt2", repeats=1)
    assert export(model, tmp_path / "net.pt2", repeats=1, overwrite=True).proof.ok


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("name", [f"{'a' * 300}.onnx", "a\0b.onnx"])
def test_names_that_no_file_has_are_refused_before_the_work(
    name: str, overwrite: bool, tmp_path: Path
) -> None:
    with pytest.raises(
        (ExportError, InputError), match=r"can't be written: File name too long|b.onnx' has a NUL byte"
    ):
        export(make_model(), tmp_path / name, repeats=1, overwrite=overwrite)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["net.bin", "net.xml.json", "net.xml.reference.npz"])
def test_nobody_elses_file_is_written_over(name: str, saved: Path, tmp_path: Path) -> None:
    other = tmp_path / name
    other.write_text("somebody's own")
    with pytest.raises(InputError, match=rf"{name}' exists; give overwrite=True"):
        export(make_model(), tmp_path / "net.xml", repeats=1)
    done = CliRunner().invoke(main, ["export", str(tmp_path / "net.xml"), "--model", str(saved)])
    assert done.exit_code == 1 and f"{name}' exists; give --overwrite" in done.output
    assert other.read_text() == "somebody's own" and not (tmp_path / "net.xml").exists()


def test_what_is_set_for_other_code_changes_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The caller's autocast and default device; and "~" is the user's folder."""
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    model, batch = make_model(), clips(2)
    torch.set_default_device("meta")
    request.addfinalizer(lambda: torch.set_default_device(None))
    with torch.autocast("cpu", torch.bfloat16):
        written = export(model, "~/net.pt2", repeats=1)
    torch.set_default_device(None)
    assert written.path == tmp_path / "net.pt2"
    logits, expected = run(written.path, batch), model(batch).detach()
    assert (logits - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_full_disk_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for error in (OSError(errno.ENOSPC, "No space left on device"), RuntimeError("stream writer failed\nat")):

        def full(*_: object, error: Exception = error) -> None:
            raise error

        kind = dataclasses.replace(formats.FORMATS["torch"], write=full)
        monkeypatch.setitem(formats.FORMATS, "torch", kind)
        with pytest.raises(ExportError, match=r"can't be written: (No space|stream writer)"):
            export(make_model(), tmp_path / "net.pt2", repeats=1)
        assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX systems")
def test_a_full_disk_doesnt_end_the_process_in_torchs_writer(saved: Path, tmp_path: Path) -> None:
    program = f"""
import resource, signal, slowfast_zoo as zoo
model = zoo.from_pretrained({str(saved)!r})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    zoo.export(model, {str(tmp_path / "net.pt2")!r})
except zoo.SlowFastZooError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "can't be written: " in done.stdout and list(tmp_path.iterdir()) == [saved]


@pytest.mark.parametrize(
    ("twin", "message"),
    [
        (lambda clips: torch.full((len(clips), 6), torch.nan), None),
        (lambda clips: torch.zeros(1, 6), "gives shape"),
        (lambda clips: torch.zeros(len(clips), 5), "gives shape"),
    ],
)
def test_proof_catches(twin: Any, message: str | None) -> None:
    model = make_model()
    if message is None:
        assert not prove(model, twin, clips(2), "float32", 1)[0].ok
    else:
        with pytest.raises(ExportError, match=message):
            prove(model, twin, clips(2), "float32", 1)


def test_a_batch_that_is_mixed_up_is_caught() -> None:
    model = make_model()
    proof, _ = prove(model, lambda batch: model(batch).flip(0), clips(2), "float32", 1)
    assert not proof.ok


def test_a_broken_model_is_refused(tmp_path: Path) -> None:
    model = make_model()
    nn.init.constant_(model.get_classifier().weight, torch.nan)  # type: ignore[arg-type]
    with pytest.raises(ExportError, match="returns NaN"):
        export(model, tmp_path / "net.pt2", repeats=1)
    assert not list(tmp_path.iterdir())


def test_slower_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def slow(path: Path, precision: str) -> Any:
        program = torch.export.load(path).module()

        def call(clips: Tensor) -> Any:
            for _ in range(20):
                logits = program(clips)
            return logits

        return call

    replaced(monkeypatch, slow)
    with caplog.at_level(logging.WARNING):
        written = export(make_model(), tmp_path / "net.pt2", repeats=3)
    assert written.proof.slower
    assert "slower on this machine" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("net.pb",), InputError, "ends in none of '.onnx', '.pt2', '.xml'"),
        (("net.onnx", "openvino"), InputError, "is for '.xml' files, got 'net.onnx'"),
        (("net.onnx", "onxx"), UnknownNameError, "Did you mean 'onnx'"),
        (("net.onnx", "onnx", "bfloat16"), InputError, "not in 'bfloat16'"),
        (("net.onnx", "onnx", "half"), UnknownNameError, "no precision 'half'"),
    ],
)
def test_wrong_arguments(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        export(make_model(), *arguments)


def test_wrong_models_sizes_and_places(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got Linear"):
        export(nn.Linear(1, 1), tmp_path / "net.pt2")  # type: ignore[arg-type]
    other = make_model()
    other.classifier = nn.Linear(other.num_features, 5)
    with pytest.raises(InputError, match=r"gives 5 numbers, model\.spec says 6 classes"):
        export(other, tmp_path / "net.pt2", repeats=1)
    with pytest.raises(InputError, match="size is 0"):
        export(make_model(), tmp_path / "net.pt2", size=0)
    with pytest.raises(InputError, match="repeats is 0; accepted: an integer of at least 1"):
        export(make_model(), tmp_path / "net.pt2", repeats=0)
    with pytest.raises(InputError, match="window head of this model needs at least 8 frames of 193"):
        export(make_model(NETWORKS["window-logits"].replace(head_window=7)), tmp_path / "net.pt2", size=64)
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="can't be written"):
        export(make_model(), tmp_path / "file" / "net.pt2", repeats=1)
    model = make_model()
    for value in (object(), "caf\udce9.pth"):
        model.provenance = {"file": value}
        with pytest.raises(ExportError, match="can't hold them"):
            export(model, tmp_path / "net.pt2", repeats=1)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(("suffix", "package"), [(".onnx", "onnxruntime"), (".xml", "openvino")])
def test_missing_packages_name_their_extra(
    suffix: str, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    block(monkeypatch, package)
    with pytest.raises(MissingDependencyError, match=rf"'{package}'.*pip install o"):
        export(make_model(), tmp_path / f"net{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="what is mapped is read in /proc")
def test_no_file_is_mapped_when_it_is_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Windows wouldn't move it."""
    moved, move = [], Path.replace

    def replace(path: Path, target: Path) -> Path:
        moved.append(path.name)
        assert f"/{path.name}\n" not in Path("/proc/self/maps").read_text(encoding="utf-8")
        return move(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    export(make_model(), tmp_path / "mapped.xml", repeats=1)
    assert "mapped.bin" in moved


def test_other_numbers_of_channels(tmp_path: Path) -> None:
    spec = NETWORKS["global-strided"].replace(in_channels=2)
    written = export(make_model(spec), tmp_path / "flow.pt2", repeats=1)
    assert np.load(written.files[1])["frames"].shape[-1] == 2


def test_reference_frames_are_the_same_everywhere_and_move() -> None:
    frames = reference_frames(2, 4, 20, 30, 3)
    assert np.array_equal(frames, reference_frames(2, 4, 20, 30, 3))
    assert not np.array_equal(frames[0], frames[1])
    assert not np.array_equal(frames[0, 0], frames[0, 3])


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = make_model()
    model.labels = tuple("abcdef")
    save_pretrained(model, tmp_path / "saved")
    return tmp_path / "saved"


def test_command(saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.pt2"
    options = ["--model", str(saved), "--repeats", "1"]
    done = CliRunner().invoke(main, ["export", str(out), *options])
    assert done.exit_code == 0, done.output
    assert "same logits: largest difference" in done.output
    assert "eager p50" in done.output and "exported p50" in done.output
    assert out.is_file()
    done = CliRunner().invoke(main, ["export", str(out), *options, "--overwrite", "--size", "32x57"])
    assert done.exit_code == 0, done.output
    contract = json.loads((tmp_path / "net.pt2.json").read_text(encoding="utf-8"))
    assert contract["input"]["shape"][-2:] == [32, 57]


def test_command_fails_when_the_file_differs(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced(monkeypatch, wrong_twin(0.01))
    out = tmp_path / "net.pt2"
    options = ["--model", str(saved), "--repeats", "1"]
    done = CliRunner().invoke(main, ["export", str(out), *options])
    assert done.exit_code == 1
    assert "gives other answers" in done.output
    assert not out.exists()


def test_served_without_torch(tmp_path: Path) -> None:
    """The example, in a process that can import neither torch nor this library."""
    model: SlowFast = make_model()
    model.labels = ("run", "jump", "wave", "walk", "sit", "stand")
    path = export(model, tmp_path / "net.onnx", repeats=1).path
    frames = np.load(path.with_name("net.onnx.reference.npz"))["frames"][1]
    np.save(tmp_path / "frames.npy", frames)
    code = (
        "import sys\nsys.modules['torch'] = sys.modules['slowfast_zoo'] = None\n"
        "import runpy\nsys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", code, str(EXAMPLE), str(path)]
    replay = subprocess.check_output(command, text=True).splitlines()
    assert len(replay) == 4
    assert float(replay[-1].split()[-4]) < 1e-5
    own = subprocess.check_output([*command, str(tmp_path / "frames.npy")], text=True).splitlines()
    assert own == [replay[1]]
    best = model.labels[int(np.load(path.with_name("net.onnx.reference.npz"))["logits"][1].argmax())]
    assert own[0].startswith(best)
