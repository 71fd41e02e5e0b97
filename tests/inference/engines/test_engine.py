"""``optimize``: every engine gives the module's logits, leaves the model alone and says what it lacks."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.small_nets import (
    NETWORKS,
    ROI_NETWORKS,
    SMALL,
    block,
    clips,
    heavy,
    make_model,
    needs_bfloat16,
    relative,
    weights_of,
)
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from slowfast_zoo import ModelSpec, SlowFast, optimize
from slowfast_zoo.errors import ExportError, InputError, MissingDependencyError, UnknownNameError
from slowfast_zoo.inference.engines import EngineName, artifacts, onnxruntime, trial
from slowfast_zoo.inference.engines import optimize as optimize_module
from slowfast_zoo.inference.engines.auto import measuring
from slowfast_zoo.inference.engines.engine import Engine, Run
from slowfast_zoo.inference.engines.openvino import engine as openvino
from slowfast_zoo.inference.engines.optimize import ENGINES, OptimizedModel, choose
from slowfast_zoo.inference.runner import BatchRunner
from slowfast_zoo.runtime import precision as precisions
from slowfast_zoo.runtime.convolutions import ACCIDENTS, NOT_TRIED, Convolution
from slowfast_zoo.runtime.precision import Precision

HALF_PRECISION = 3e-2
"""Accepted in bfloat16, of the largest logit; these nets measure up to 0.9e-2."""


def assert_same(fast: OptimizedModel, model: SlowFast, tolerance: float = 1e-5) -> None:
    for batch in (1, 3):
        with torch.no_grad():
            assert relative(fast(clips(batch)), model(clips(batch))) <= tolerance


@pytest.mark.parametrize("network", NETWORKS)
def test_logits_are_the_modules(network: str) -> None:
    """Every head as ONNX and as OpenVINO's graph: see ``export``'s tests."""
    model = make_model(NETWORKS[network])
    fast = optimize(model, "eager")
    assert fast.engine == "eager"
    assert_same(fast, model)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[SlowFast, OptimizedModel]:
    """A model, and what the compiler makes of it."""
    from torch._dynamo.utils import counters

    model = make_model(NETWORKS["window-probs"])
    fast = optimize(model, "compile")
    counters.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLOWFAST_ZOO_CACHE", str(tmp_path_factory.mktemp("compiled")))
        assert_same(fast, model)
        folder, sums = artifacts.engine_folder(), artifacts.load("inductor.sealed")
    assert sums is not None and b".so" in sums, "kernels are held to checksums"
    assert counters["stats"]["unique_graphs"] == 1, "one graph serves every batch size"
    assert folder is not None and list((folder / "inductor").rglob("*.so")), "kernels are kept for next time"
    return model, fast


def test_compiled_logits_are_the_modules(compiled: tuple[SlowFast, OptimizedModel]) -> None:
    assert_same(compiled[1], compiled[0])


@needs_bfloat16
def test_bfloat16_is_near() -> None:
    model = make_model(NETWORKS["global-linspace"])
    fast = optimize(model, "eager", "bfloat16")
    assert_same(fast, model, HALF_PRECISION)
    assert relative(fast(clips(1)), model(clips(1)).detach()) > 1e-5, "it computed in float32"


def test_the_model_stays_as_it_is_and_bfloat16_is_near_in_openvino() -> None:
    model = make_model(NETWORKS["global-linspace"]).train()
    model.freeze("stage1")
    before = weights_of(model)
    requires = [parameter.requires_grad for parameter in model.parameters()]
    modes = [module.training for module in model.modules()]
    for engine, precision in (("eager", "float32"), ("openvino", "bfloat16")):
        fast = optimize(model, engine, precision)  # type: ignore[arg-type]
        fast(clips(1))
    after = model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert all(tensor.stride() == after[name].stride() for name, tensor in before.items())
    assert [parameter.requires_grad for parameter in model.parameters()] == requires
    assert [module.training for module in model.modules()] == modes
    assert_same(fast, model.eval(), HALF_PRECISION)


def test_later_training_does_not_reach_the_copy() -> None:
    model = make_model()
    fast = optimize(model, "eager")
    expected = fast(clips(1))
    nn.init.zeros_(model.get_classifier().weight)  # type: ignore[arg-type]
    assert torch.equal(fast(clips(1)), expected)


@pytest.mark.parametrize("engine", ["eager", "openvino"])
def test_its_answers_take_part_in_a_training(engine: EngineName) -> None:
    fast = optimize(make_model(SMALL.replace(num_classes=0)), engine)
    head = nn.Linear(fast.spec.num_features, 2)
    head(fast(clips(2))).sum().backward()
    assert head.weight.grad is not None
    assert not fast(clips(2)[:0]).is_inference()


def test_a_network_of_ones_own_may_call_its_clip_otherwise() -> None:
    class Halved(SlowFast):
        def forward(self, x: Tensor, boxes: Tensor | None = None) -> Tensor:
            return super().forward(x, boxes) / 2

    model = make_model()
    model.__class__ = Halved
    assert_same(optimize(model, "openvino"), model)


def test_it_carries_what_belongs_to_the_weights() -> None:
    model = make_model()
    model.labels, model.provenance = tuple("abcdef"), {"model": "small", "training": {"epochs": 3}}
    fast = optimize(model, "eager")
    assert (fast.spec, fast.clip_spec, fast.labels) == (model.spec, model.clip_spec, model.labels)
    assert fast.provenance == model.provenance and fast.provenance is not model.provenance
    assert repr(fast) == "OptimizedModel(engine='eager', precision='float32', device='cpu')"


def test_its_names_are_one_per_class_and_it_stays_where_it_is() -> None:
    fast = optimize(make_model(), "eager")
    names = [f"name {index}" for index in range(fast.spec.num_classes)]
    fast.labels = names
    assert fast.labels == tuple(names)
    for wrong in (names[:2], [*names, "one more"]):
        with pytest.raises(InputError, match=f"labels has {len(wrong)} names for {len(names)} classes"):
            fast.labels = wrong
    assert fast.labels == tuple(names)
    for elsewhere in (pickle.dumps, copy.deepcopy):
        with pytest.raises(InputError, match="can't be copied or sent to another process"):
            elsewhere(fast)


def test_odd_inputs() -> None:
    model = make_model()
    for fast in (optimize(model, "eager"), optimize(model, "openvino")):
        assert fast(clips(0)).shape == (0, 6)
        with pytest.raises(InputError, match="multiple of alpha"):
            fast(torch.zeros(1, 3, 7, 48, 48))
        with pytest.raises(InputError, match="add a batch dimension"):
            fast(torch.zeros(3, 8, 48, 48))
        strided = clips(2, 64, 48).transpose(3, 4)
        for clip in (strided, strided.double(), strided[1:], clips(2, 33, 65)):  # and another size
            assert relative(fast(clip), model(clip.float()).detach()) <= 1e-5


def test_logits_depend_neither_on_the_company_nor_on_other_threads() -> None:
    model = make_model()
    fast = optimize(model, "openvino")
    batch = clips(4)
    together = fast(batch)
    answers: dict[int, Tensor] = {}

    def work(number: int) -> None:
        for _ in range(5):
            answers[number] = fast(batch[number : number + 1])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(batch))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(len(batch)):
        assert torch.equal(answers[number], together[number : number + 1])


def test_start_up_is_reported_and_kept_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    models = {
        "openvino": make_model(NETWORKS["window-probs"]),
        "onnxruntime": make_model(NETWORKS["window-logits"]),
    }
    for name, model in models.items():
        first = optimize(model, name)  # type: ignore[arg-type]
        assert first.engine == name and first.startup_seconds == 0
        assert first.warm_up() >= first.startup_seconds > 0
        with pytest.raises(InputError, match="are too large; accepted: up to 4096 each"):
            first.warm_up(10**30)
    folder = artifacts.engine_folder()
    assert folder is not None
    assert sorted(path.suffix for path in folder.iterdir()) == [".blob", ".onnx", ".proven", ".proven"]

    def refuse(*_: object) -> None:
        raise AssertionError("captured again")

    monkeypatch.setattr(openvino, "capture", refuse)
    monkeypatch.setattr(onnxruntime, "capture", refuse)
    for name, model in models.items():
        again = optimize(model, name)  # type: ignore[arg-type]
        again.warm_up()
        for batch in (1, 2, 3):
            clip = clips(batch, 48, 48)
            assert relative(again(clip), model(clip).detach()) <= 1e-5
    nn.init.normal_(models["openvino"].fast.stem.conv.weight)
    with pytest.raises(AssertionError, match="captured again"):
        optimize(models["openvino"], "openvino")(clips(1))


def test_the_same_weights_in_another_network_are_another_artifact() -> None:
    for rule in ("strided", "linspace"):  # which frames are slow stands in no tensor
        model = make_model(SMALL.replace(slow_sampling=rule))
        assert relative(optimize(model, "openvino")(clips(1)), model(clips(1)).detach()) <= 1e-5


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_damaged_artifacts_are_found_out(damage: str) -> None:
    artifacts.store("net.blob", b"0123456789" * 100)
    folder = artifacts.engine_folder()
    assert folder is not None
    path = folder / "net.blob"
    assert artifacts.load("net.blob") == b"0123456789" * 100
    content = path.read_bytes()
    path.write_bytes({"truncated": content[:-1], "flipped": content[:-1] + b"x", "empty": b""}[damage])
    assert artifacts.load("net.blob") is None


def test_damaged_artifacts_are_made_again() -> None:
    model = make_model()
    optimize(model, "openvino").warm_up()
    folder = artifacts.engine_folder()
    assert folder is not None
    (path,) = folder.glob("*.blob")
    path.write_bytes(path.read_bytes()[:-1])
    assert artifacts.load(path.name) is None
    again = optimize(model, "openvino")
    assert relative(again(clips(2, 48, 48)), model(clips(2, 48, 48)).detach()) <= 1e-5
    assert artifacts.load(path.name), "a whole one took its place"


def test_only_the_latest_artifacts_are_kept() -> None:
    for number in range(12):
        artifacts.store(f"{number}.blob", bytes([number]))
    folder = artifacts.engine_folder()
    assert folder is not None
    assert len(list(folder.iterdir())) == 8
    assert artifacts.load("11.blob") == b"\x0b"


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SLOWFAST_ZOO_CACHE", str(tmp_path / "file"))
    model = make_model()
    assert_same(optimize(model, "openvino"), model)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("opnvino",), UnknownNameError, "Did you mean 'openvino'"),
        (("eager", "fp16"), UnknownNameError, "Accepted: 'float32'"),
        (("eager", "float16"), InputError, "needs a GPU"),
        (("onnxruntime", "bfloat16"), InputError, "has no kernels for bfloat16"),
    ],
)
def test_wrong_arguments(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        optimize(make_model(), *arguments)


def test_wrong_models_and_devices() -> None:
    with pytest.raises(InputError, match="got Linear; unwrap it"):
        optimize(nn.Linear(1, 1), "eager")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="accepted: 'cpu', 'cuda'"):
        optimize(make_model(), "eager", device="gpu0")
    with pytest.raises(InputError, match="give device='cpu', or"):
        ENGINES["openvino"].refuse(torch.device("cuda"), "float32")
    with torch.device("meta"):
        empty = SlowFast(SMALL)
    with pytest.raises(InputError, match="load weights first"):
        optimize(empty, "eager")


@pytest.mark.parametrize(
    ("name", "package", "needed"),
    [
        ("openvino", "openvino", "openvino"),
        ("onnxruntime", "onnxruntime", "onnx onnxscript onnxruntime"),
        ("onnxruntime", "onnxscript", "onnx onnxscript onnxruntime"),
    ],
)
def test_missing_engines_name_what_to_install(
    monkeypatch: pytest.MonkeyPatch, name: EngineName, package: str, needed: str
) -> None:
    block(monkeypatch, package)
    with pytest.raises(MissingDependencyError, match=rf"'{package}'.*pip install {needed}$"):
        optimize(make_model(), name)


def test_missing_compiler_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(MissingDependencyError, match=r"needs a C\+\+ compiler"):
        optimize(make_model(), "compile")


CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def published() -> SlowFast:
    """A network of the published size, which needs no memory; a clip of it costs 1.3."""
    with torch.device("meta"):
        return SlowFast(ModelSpec())


@pytest.mark.parametrize(
    ("missing", "clips", "chosen"),
    [
        ((), None, "openvino"),
        ((), 1, None),
        ((), 3, "eager"),
        ((), 18, "eager"),
        ((), 20, "openvino"),
        ((), 10**6, "openvino"),
        (("onednn",), 770, "openvino"),
        (("onednn",), 3, None),
        (("onednn", "openvino"), 400, None),
        (("openvino",), None, "eager"),
        (("openvino", "compiler"), 10**6, "eager"),
    ],
)
def test_the_rule_of_auto_on_a_processor(
    monkeypatch: pytest.MonkeyPatch,
    published: SlowFast,
    tmp_path: Path,
    missing: tuple[str, ...],
    clips: int | None,
    chosen: str | None,
) -> None:
    block(monkeypatch, *missing)
    if "compiler" in missing:
        monkeypatch.setenv("PATH", str(tmp_path))
    capability = "DEFAULT" if "onednn" in missing else "AVX2"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert choose(published, CPU, "float32", clips) == chosen


@pytest.mark.usefixtures("bfloat16_kernels")
def test_the_rule_of_auto_elsewhere(published: SlowFast) -> None:
    assert choose(published, CPU, "bfloat16", 1) == "eager"
    assert choose(published, CPU, "bfloat16", 10**6) == "openvino"
    for calls, chosen in ((None, None), (100, None), (10**6, "eager")):
        assert choose(published, GPU, "float32", calls) == chosen
    assert choose(published, torch.device("mps"), "float32", 900) is None


def test_small_models_and_other_numbers_are_taken_as_they_are(published: SlowFast) -> None:
    assert choose(make_model(), CPU, "float32", 999) is None
    assert choose(make_model(), CPU, "float32", 1000) == "eager", "so many may be worth measuring"
    assert choose(SlowFast(SMALL).double(), CPU, "float32", 10**6, (always("other"),)) is None


def always(name: str) -> Engine:
    """An engine that pays at once and does what eager does."""
    return dataclasses.replace(ENGINES["eager"], name=name, pays_from=lambda device, precision: 0)


def test_the_last_engine_that_pays_and_works_is_chosen(published: SlowFast) -> None:
    first, second = always("first"), always("second")
    assert choose(published, CPU, engines=(first, second)) == "second"
    lacking = dataclasses.replace(second, packages=("no_such_package",))
    assert choose(published, CPU, engines=(first, lacking)) == "first"


def test_an_engine_that_is_installed_and_broken_is_not_chosen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, published: SlowFast
) -> None:
    (tmp_path / "broken_engine.py").write_text("raise ImportError('a library is missing')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    broken = dataclasses.replace(always("second"), packages=("broken_engine",))
    assert choose(published, CPU, engines=(always("first"), broken)) == "first"
    assert choose(published, CPU, engines=(broken,)) is None


def test_auto_goes_on_with_eager_when_its_choice_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, batch: int) -> None:
        raise ExportError("no such operator")

    monkeypatch.setattr(openvino, "to_openvino", fail)
    model = heavy(make_model())
    fast = optimize(model)
    assert fast.engine == "openvino"
    assert_same(fast, model)
    assert fast.engine == "eager"
    assert "eager takes its place: no such operator" in caplog.text
    with pytest.raises(ExportError, match="no such operator"):
        optimize(model, "openvino").warm_up()


def test_a_compiler_that_does_not_work_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise TorchDynamoException("No working C++ compiler found\n\nSet TORCHDYNAMO_VERBOSE=1")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: broken)
    model = make_model()
    with pytest.raises(ExportError, match=r"\(No working C\+\+ compiler found\): take engine='openvino' or"):
        optimize(model, "compile").warm_up()


@pytest.mark.parametrize("name", ["eager", "compile", "openvino", "onnxruntime"])
def test_a_clip_that_is_not_finite_has_no_finite_logits(
    name: EngineName, request: pytest.FixtureRequest
) -> None:
    if name == "compile":
        model, fast = request.getfixturevalue("compiled")
    else:
        model = make_model()
        fast = optimize(model, name)
    for value in (float("nan"), float("inf")):
        clip = clips(2)
        clip[0, 0, 3, 5, 5] = value
        logits = fast(clip)
        assert logits[0].isnan().all()
        with torch.no_grad():
            assert relative(logits[1:], model(clip)[1:]) <= 1e-5


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_engines_with_threads_of_their_own_leave_torchs_asleep(name: EngineName) -> None:
    """Once awake, they wait for more to do for milliseconds, on the cores that the engine needs."""
    fast, clip = optimize(make_model(), name), clips(1)
    fast(clip)
    with torch.profiler.profile() as profile:
        fast(clip)
    computed = {event.key for event in profile.key_averages()} & {"aten::sum", "aten::isfinite", "aten::abs"}
    assert not computed


EAGER = ENGINES["eager"]


def wrong(engine: str, factor: float = 1.1) -> Engine:
    """The engine, computing as eager does, with logits that are too large."""

    def build(*arguments: Any) -> Run:
        run = EAGER.build(*arguments)
        return lambda clip: run(clip) * factor

    return dataclasses.replace(ENGINES[engine], build=build)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("factor", [1.1, -1.0, float("nan"), float("inf")])
def test_an_engine_that_is_wrong_is_refused(
    monkeypatch: pytest.MonkeyPatch, precision: Precision, factor: float
) -> None:
    monkeypatch.setitem(ENGINES, "openvino", wrong("openvino", factor))
    fast = optimize(make_model(), "openvino", precision)
    for _ in range(2):
        with pytest.raises(ExportError, match=r"'openvino' in .* is refused: .* largest logit, accepted"):
            fast(clips(1))


@pytest.mark.usefixtures("bfloat16_kernels")
def test_auto_takes_the_next_engine_when_one_is_wrong(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = heavy(make_model())
    monkeypatch.setitem(ENGINES, "openvino", wrong("openvino"))
    fast = optimize(model)
    assert fast.engine == "openvino"
    assert_same(fast, model)
    assert fast.engine == "eager"
    assert "The engine 'openvino' isn't used, eager takes its place: " in caplog.text
    monkeypatch.setitem(ENGINES, "eager", wrong("eager"))
    monkeypatch.setattr(trial, "try_convolutions", lambda asked, *_, **__: dict.fromkeys(asked, ""))
    fast = optimize(model, precision="bfloat16", clips=1)
    assert_same(fast, model)
    assert (fast.engine, fast.precision) == ("module", "float32")


def test_an_engine_is_proven_once_for_each_network_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []
    forward = SlowFast.forward

    def seen(self: SlowFast, clip: Tensor) -> Tensor:
        measured.append("module")
        return forward(self, clip)

    model = make_model()
    optimize(model, "openvino")(clips(1))
    monkeypatch.setattr(SlowFast, "forward", seen)
    optimize(model, "openvino")(clips(1))
    assert measured == []
    optimize(model, "openvino")(clips(1, 32, 32))
    assert measured.pop() == "module"
    with torch.no_grad():
        model.get_classifier().bias += 1  # type: ignore[operator]
    measured.clear()
    optimize(model, "openvino")(clips(1))
    assert measured.pop() == "module"


def test_a_clip_without_numbers_proves_and_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, nan = make_model(), clips(1).fill_(torch.nan)
    fast = optimize(model, "openvino")
    assert fast(nan).isnan().all()
    assert_same(fast, model)
    monkeypatch.setitem(ENGINES, "openvino", wrong("openvino"))
    model.get_classifier().bias.data += 1  # type: ignore[operator]
    with pytest.raises(ExportError, match="is refused"):
        optimize(model, "openvino")(nan)


def test_no_engine_hides_weights_without_numbers(caplog: pytest.LogCaptureFixture) -> None:
    model = heavy(make_model())
    model.slow.stem.conv.weight.data[0] = torch.nan
    with pytest.raises(ExportError, match=r"'openvino' is refused: the model returns NaN .* would hide"):
        optimize(model, "openvino")(clips(1))
    fast = optimize(model)
    assert fast.engine == "openvino"
    assert fast(clips(1)).isnan().all()
    assert fast.engine == "eager" and "'openvino' isn't used" in caplog.text


def test_damaged_weights_say_nothing_of_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured is kept for all weights of a network."""
    model = make_model()
    model.get_classifier().bias.data[:] = torch.nan  # type: ignore[operator]
    hidden = dataclasses.replace(
        EAGER,
        name="openvino",
        starts_in=0,
        build=lambda *of: lambda clip: EAGER.build(*of)(clip).nan_to_num(),
    )
    monkeypatch.setattr(optimize_module, "ENGINES", {"eager": EAGER, "openvino": hidden})
    monkeypatch.setattr(measuring, "SHARE", 1e9)
    assert optimize(model, clips=5000)(clips(1)).isnan().all()
    assert not artifacts.names(".timed")
    assert not optimize(make_model(), clips=5000)(clips(1)).isnan().any()
    assert len(artifacts.names(".timed")) == 1


def test_torchs_default_dtype_changes_nothing() -> None:
    model, persons = make_model(), make_model(ROI_NETWORKS["mean"])
    box = torch.tensor([[0.0, 1, 1, 30, 30]])
    clip = clips(1)
    with torch.no_grad():
        expected = model(clip), persons(clip, box)
    torch.set_default_dtype(torch.float64)
    try:
        answers = optimize(model, "eager")(clip), optimize(persons, "eager")(clip, box)
    finally:
        torch.set_default_dtype(torch.float32)
    for answer, right in zip(answers, expected, strict=True):
        assert answer.dtype == torch.float32 and relative(answer, right) <= 1e-5


@pytest.mark.usefixtures("bfloat16_kernels")
def test_an_accident_is_no_verdict_on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for accident in ACCIDENTS:
        monkeypatch.setattr(
            trial, "try_convolutions", lambda asked, *_, said=accident, **__: dict.fromkeys(asked, said)
        )
        with pytest.raises(ExportError, match=r"bfloat16 is refused: .* couldn't be found out \(.*try again"):
            optimize(make_model(), "eager", "bfloat16")(clips(1))
    monkeypatch.setattr(trial, "try_convolutions", lambda asked, *_, **__: dict.fromkeys(asked, NOT_TRIED))
    optimize(make_model(), "eager", "bfloat16")(clips(1))
    assert not artifacts.names(".tried")


@pytest.mark.usefixtures("bfloat16_kernels")
def test_half_precision_that_a_processor_gets_wrong_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A stand-in for the process that tries convolutions: one of them ends it."""
    asked: list[tuple[Convolution, ...]] = []

    def tried(convolutions: tuple[Convolution, ...], *_: object, **__: object) -> dict[Convolution, str]:
        asked.append(convolutions)
        return {each: "it ends the process (SIGABRT)" if each.weight[2] == 3 else "" for each in convolutions}

    monkeypatch.setattr(trial, "try_convolutions", tried)
    caplog.set_level("INFO", logger="slowfast_zoo")
    model = make_model()
    for _ in range(2):  # the second time from disk
        with pytest.raises(ExportError, match=r"bfloat16 is refused: .*kernel \(3, .*SIGABRT"):
            optimize(model, "eager", "bfloat16")(clips(1))
    assert caplog.text.count("takes about 15 s and is kept for the next time") == 1
    assert len(asked) == 1
    assert all(each.stride[0] == 1 for each in asked[0])
    fast = optimize(model, "auto", "bfloat16", clips=1)
    assert_same(fast, model)
    assert fast.engine == "module"
    assert_same(optimize(model, "eager"), model)


def test_half_precision_without_kernels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right, but so slow that no one would wait; OpenVINO computes in float32 there."""
    monkeypatch.setattr(precisions, "has_bfloat16_kernels", lambda: False)
    for engine in ("eager", "compile"):
        with pytest.raises(InputError, match=r"bfloat16 is refused: torch has no kernels .*'openvino'"):
            optimize(make_model(), engine, "bfloat16")  # type: ignore[arg-type]
    assert optimize(heavy(make_model()), "auto", "bfloat16", clips=1000).engine == "openvino"
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match="bfloat16 is refused"):
        optimize(heavy(make_model()), "auto", "bfloat16", clips=1000)


@pytest.mark.parametrize("limit", ["AVX2", "avx"])
def test_the_instructions_that_are_allowed_decide(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert not precisions.has_bfloat16_kernels()


DROPPED_ELSEWHERE = """
import gc, signal, subprocess, sys, threading
import torch
from slowfast_zoo import ModelSpec, SlowFast, optimize

spec = ModelSpec(depth=14, base_width=8, alpha=2, beta_inv=4, num_frames=4, num_classes=3)
engines = [optimize(SlowFast(spec).eval(), "openvino")]
engines[0](torch.zeros(1, 3, 4, 32, 32))
dropper = threading.Thread(target=lambda: (engines.clear(), gc.collect()))
dropper.start()
dropper.join()
signal.signal(signal.SIGCHLD, lambda *_: print("handled"))
subprocess.run([sys.executable, "-c", ""], check=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="a signal of POSIX systems")
def test_a_dropped_network_leaves_signal_handlers_a_stack() -> None:
    # -X faulthandler gives Python's handlers a stack of their own, which OpenVINO's plugin replaces.
    command = [sys.executable, "-X", "faulthandler", "-c", DROPPED_ELSEWHERE]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_proofs_are_pruned_like_artifacts() -> None:
    folder = artifacts.engine_folder()
    assert folder is not None
    for number in range(1100):
        (folder / f"{number}.proven").touch()
        os.utime(folder / f"{number}.proven", (number, number))
    artifacts.store("new.proven", b"")
    left = {path.name for path in folder.glob("*.proven")}
    assert len(left) == 1000 and {"new.proven", "1099.proven"} <= left and "0.proven" not in left


@pytest.mark.parametrize("name", ["eager", "openvino", "onnxruntime"])
def test_what_is_set_for_other_code_changes_no_answer(
    name: EngineName, request: pytest.FixtureRequest
) -> None:
    """The caller's autocast and default device, while engines are started and when they answer."""
    model = make_model()
    with torch.no_grad():
        expected = model(clips(2))
    torch.set_default_device("meta")
    request.addfinalizer(lambda: torch.set_default_device(None))
    clip = torch.randn(2, 3, 8, 48, 64, generator=torch.Generator().manual_seed(2), device="cpu")
    with torch.autocast("cpu", torch.bfloat16):
        fast = optimize(model, name)
        fast.warm_up()
        assert relative(fast(clip), expected) <= 1e-5
        assert relative(BatchRunner(model)(clip), expected) <= 1e-5


def test_engines_are_compared_with_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever they compute in; and where the module takes their place, the first answer is its own."""
    inside, modules, answers = ["outside"], [], []

    @contextlib.contextmanager
    def products(precision: str, device: torch.device) -> Iterator[None]:
        inside.append(precision)
        yield
        inside.pop()

    for module in (trial, optimize_module):
        monkeypatch.setattr(module, "float32_products", products)
    forward = SlowFast.forward

    def seen(self: SlowFast, clip: Tensor, boxes: Tensor | None = None) -> Tensor:
        modules.append(inside[-1])
        return forward(self, clip, boxes)

    def build(*_: Any) -> Run:
        def run(clip: Tensor) -> Tensor:
            answers.append(inside[-1])
            return torch.zeros(len(clip), 6)

        return run

    monkeypatch.setattr(SlowFast, "forward", seen)
    monkeypatch.setitem(ENGINES, "openvino", dataclasses.replace(ENGINES["openvino"], build=build))
    fast = optimize(make_model(), "openvino", "bfloat16")
    fast._replaceable = True  # as where "auto" chose it
    monkeypatch.setitem(ENGINES, "eager", dataclasses.replace(EAGER, build=build, torch_kernels=False))
    fast(clips(1))
    assert (fast.engine, fast.precision) == ("module", "float32")
    assert set(answers) == {"bfloat16"} and set(modules) == {"float32"}


def test_threads_trace_beside_each_other_and_beside_modules_that_run() -> None:
    """While torch traces in one thread, the methods of all modules are changed."""
    from slowfast_zoo.inference.engines.torch_compile.inductor import traced_copy

    pytest.importorskip("openvino")
    plain, *models = (make_model().eval() for _ in range(5))
    clip = clips(1)
    expected, call = plain(clip).detach(), torch.nn.Module.__call__
    wrong: list[object] = []

    def watched(work: Callable[[], Tensor], times: int) -> threading.Thread:
        def repeated() -> None:
            try:
                wrong.extend(None for _ in range(times) if relative(work(), expected) > 1e-5)
            except Exception as error:  # noqa: BLE001  # whatever torch makes of it
                wrong.append(error)

        return threading.Thread(target=repeated)

    def by_openvino(model: SlowFast) -> Tensor:
        return optimize(model, "openvino")(clip)

    def traced(model: SlowFast) -> Tensor:
        answer: Tensor = traced_copy(model)(clip)
        return answer.detach()

    threads = [watched(lambda: plain(clip).detach(), 60)]
    threads += [watched(functools.partial(by_openvino, model), 3) for model in models[:2]]
    threads += [watched(functools.partial(traced, model), 10) for model in models[2:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and torch.nn.Module.__call__ is call
