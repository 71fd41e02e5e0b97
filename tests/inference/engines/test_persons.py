"""``optimize`` of networks that score persons: called with boxes, the module's logits on every engine."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from support.small_nets import ROI_NETWORKS, SMALL, clips, heavy, make_model, relative
from torch import Tensor

from slowfast_zoo import SlowFast, optimize
from slowfast_zoo.errors import ExportError, InputError
from slowfast_zoo.inference.engines import EngineName, trial
from slowfast_zoo.inference.engines.engine import Run, example_boxes
from slowfast_zoo.inference.engines.folding import Maps, prepare
from slowfast_zoo.inference.engines.kept import optimized
from slowfast_zoo.inference.engines.optimize import ENGINES, OptimizedModel
from slowfast_zoo.inference.engines.stems import PAIRED
from slowfast_zoo.inference.engines.torch_compile.inductor import traced_copy
from slowfast_zoo.inference.engines.winograd.winograd import Winograd, use_winograd
from slowfast_zoo.network.slowfast import check_boxes
from slowfast_zoo.runtime.convolutions import recorded
from slowfast_zoo.runtime.precision import TOLERANCES

CPU = torch.device("cpu")
BOXES = torch.tensor(
    [
        [1, 3.5, 2.25, 40, 50],
        [0, 0, 0, 64, 48],  # the whole frame
        [1, 60, 40, 200, 150],  # mostly outside
        [0, 30, 30, 31, 31],
    ]
)
"""Of the second clip, the first, and so on: the answers keep their order."""


def expected(model: SlowFast, *inputs: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(*inputs)


def assert_same(fast: OptimizedModel, model: SlowFast, tolerance: float = 1e-5) -> None:
    wanted = expected(model, clips(2), BOXES)
    assert relative(fast(clips(2), BOXES), wanted) <= tolerance
    assert relative(fast(clips(2), BOXES[1:2]), wanted[1:2]) <= tolerance
    assert fast(clips(2), BOXES[:0]).shape == (0, wanted.shape[1])


@pytest.mark.parametrize(
    ("engine", "network"),
    [("eager", network) for network in ROI_NETWORKS] + [("onnxruntime", "dilated")],
)
def test_logits_are_the_modules(engine: EngineName, network: str) -> None:
    model = make_model(ROI_NETWORKS[network])
    fast = optimize(model, engine)
    assert_same(fast, model)
    assert (fast.engine, fast.spec) == (engine, model.spec)


@pytest.mark.usefixtures("bfloat16_kernels")
def test_bfloat16_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "try_convolutions", lambda asked, *_, **__: dict.fromkeys(asked, ""))
    model = make_model(ROI_NETWORKS["mean"])
    fast = optimize(model, "eager", "bfloat16")
    assert_same(fast, model, TOLERANCES["bfloat16"])
    assert relative(fast(clips(2), BOXES), expected(model, clips(2), BOXES)) > 1e-5, "it computed in float32"


@pytest.mark.parametrize("network", ["mean", "max", "dilated", "non-local"])
def test_what_the_compiler_gets_computes_the_same(network: str) -> None:
    """The graph with fewer products that torch.compile is given, as torch computes it."""
    model = make_model(ROI_NETWORKS[network].replace(base_width=64))
    folded = prepare(model, "float32", stems=PAIRED)
    traced = traced_copy(Maps(folded).to(memory_format=torch.channels_last_3d))
    assert not any(node.target is check_boxes for node in traced.graph.nodes)
    use_winograd(traced, frames=4)
    fewer = sum(isinstance(module, Winograd) for module in traced.modules())
    last = traced.get_submodule("network.slow.stage4.0.conv2")
    assert fewer and isinstance(last, Winograd) == (model.spec.stage4_dilation[0] == 1)
    with torch.inference_mode():
        wanted = Maps(model)(clips(1))
        assert relative(traced(clips(1)), wanted) <= 1e-5


def test_any_number_of_boxes_starts_an_engine_once() -> None:
    model, started = make_model(ROI_NETWORKS["mean"]), []
    fast = optimize(model, "eager")
    build = ENGINES["eager"].build

    def seen(*arguments: Any) -> Run:
        started.append(arguments[3])
        return build(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENGINES, "eager", dataclasses.replace(ENGINES["eager"], build=seen))
        fast.warm_up(48, 64)
        for count in (1, 4, 300):
            boxes = BOXES.repeat(75, 1)[:count]
            assert relative(fast(clips(2), boxes), expected(model, clips(2), boxes)) <= 1e-5
        fast(clips(1, 32, 48), BOXES[1:2])
    assert started == [(3, 8, 48, 64), (3, 8, 32, 48)]


def test_boxes_are_checked_as_the_module_does() -> None:
    model = make_model(ROI_NETWORKS["mean"])
    fast = optimize(model, "eager")
    for boxes, says in (
        (None, r"model\(clip, boxes\) takes boxes of persons.*got none"),
        (BOXES[:, 1:], r"shape \(4, 4\)"),
        (BOXES + 2, "index from 0 to 1"),
        (BOXES / 100, "reversed|shares|index"),
    ):
        with pytest.raises(InputError, match=says):
            fast(clips(2), boxes)
    with pytest.raises(InputError, match=r"takes no boxes; models named \*_roi"):
        optimize(make_model(SMALL), "eager")(clips(2), BOXES)
    assert fast.startup_seconds == 0


@pytest.mark.parametrize("engine", ["eager", "openvino"])
def test_a_clip_that_is_not_finite_spoils_its_own_boxes_only(engine: EngineName) -> None:
    model = make_model(ROI_NETWORKS["max"])
    clip = clips(2)
    clip[0, 0, 3, 5, 5] = torch.nan
    logits = optimize(model, engine)(clip, BOXES)
    assert logits[BOXES[:, 0] == 0].isnan().all()
    wanted = expected(model, clip[1:], BOXES[[0, 2]] * torch.tensor([0, 1, 1, 1, 1]))
    assert relative(logits[BOXES[:, 0] == 1], wanted) <= 1e-5


def test_an_engine_that_is_wrong_is_refused_or_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared is the answer for boxes."""
    eager = ENGINES["eager"]

    def build(*arguments: Any) -> Run:
        run = eager.build(*arguments)
        return lambda clip: run(clip).flip(3)  # the same numbers in other places

    wrong = dataclasses.replace(ENGINES["openvino"], build=build)
    monkeypatch.setitem(ENGINES, "openvino", wrong)
    model = heavy(make_model(ROI_NETWORKS["mean"]))
    with pytest.raises(ExportError, match=r"'openvino' in float32 is refused: .* largest logit, accepted"):
        optimize(model, "openvino")(clips(2), BOXES)
    fast = optimize(model)
    assert_same(fast, model)
    assert fast.engine == "eager"
    monkeypatch.setitem(ENGINES, "eager", dataclasses.replace(wrong, name="eager"))
    model.classifier.bias.data += 1
    fast = optimize(model)
    assert_same(fast, model)
    assert fast.engine == "module"


def test_it_is_found_again_by_the_next_call() -> None:
    model = make_model(ROI_NETWORKS["mean"])
    first = optimized(model, "eager", "float32", CPU, 3)
    assert first is not None and first is optimized(model, "eager", "float32", CPU, 3)
    assert optimized(model, "auto", "float32", CPU, 3) is None, "small networks are fast as they are"


def test_example_boxes_are_boxes() -> None:
    model = make_model(ROI_NETWORKS["mean"])
    assert example_boxes(SMALL, (3, 8, 48, 64)) == ()
    for count in (0, 1, 3, 20):
        for shape in ((3, 8, 1, 1), (3, 8, 48, 64), (3, 8, 256, 340)):
            (boxes,) = example_boxes(model.spec, shape, count)
            assert boxes.shape == (count, 5)
            if shape[2] > 1:
                check_boxes(boxes, model.spec, torch.zeros(1))


def test_convolutions_are_tried_with_their_dilation() -> None:
    with torch.device("meta"):
        model = SlowFast(ROI_NETWORKS["dilated"]).eval()
        asked = recorded(lambda: model.forward_features(torch.empty(1, 3, 8, 64, 64)))
    assert {each.dilation for each in asked} == {(1, 1, 1), (1, 2, 2)}
    assert "dilation (1, 2, 2)" in " ".join(map(str, asked))
