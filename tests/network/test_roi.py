"""Networks that score persons: boxes in, an answer for each out; what isn't a box is refused."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.small_nets import ROI_NETWORKS, SMALL, make_model
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import slowfast_zoo
from slowfast_zoo.errors import InputError, MissingDependencyError, SpecError
from slowfast_zoo.inference.engines.folding import fold_batch_norms, prepare
from slowfast_zoo.network.heads import head_of
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.network.twin import eval_twin
from slowfast_zoo.spec import ModelSpec, RoiSpec

each_network = pytest.mark.parametrize("name", ROI_NETWORKS)

BOXES = torch.tensor(
    [
        [1, 3.5, 2.25, 40, 60],
        [0, 0, 0, 80, 64],  # the whole frame
        [0, -12, -5, 20.5, 30],  # partly outside
        [1, 70, 60, 200, 150],  # mostly outside
        [0, 30, 30, 31, 31],  # a pixel
        [1, 100, 90, 120, 99],  # wholly outside
    ]
)


@pytest.fixture(scope="module")
def clip() -> Tensor:
    return torch.randn(2, 3, 8, 64, 80, generator=torch.Generator().manual_seed(5))


def answers(model: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(*inputs)


def test_boxes_need_torchvision(clip: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(next(iter(ROI_NETWORKS.values())))
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MissingDependencyError, match=r"pip install torchvision$"):
        model(clip, BOXES)


@each_network
def test_a_row_for_each_box_whatever_its_company(name: str, clip: Tensor) -> None:
    model = make_model(ROI_NETWORKS[name])
    together = answers(model, clip, BOXES)
    assert together.shape == (len(BOXES), model.num_classes or model.num_features)
    assert together.isfinite().all()
    scale = together.abs().max()
    for row, box in enumerate(BOXES):
        index = int(box[0])
        alone = answers(model, clip[index : index + 1], torch.cat([torch.zeros(1), box[1:]])[None])
        assert (alone[0] - together[row]).abs().max() <= 1e-5 * scale
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    assert (answers(model, clip, BOXES[order]) - together[order]).abs().max() <= 1e-5 * scale
    assert answers(model, clip, BOXES[:0]).shape == (0, together.shape[1])


@pytest.mark.parametrize("name", ["mean", "acrn"])
def test_any_number_of_boxes(name: str, clip: Tensor) -> None:
    """They go through the head in parts, which nobody sees."""
    model = make_model(ROI_NETWORKS[name])
    many = BOXES.repeat(60, 1)
    few = answers(model, clip, BOXES)
    assert torch.allclose(answers(model, clip, many), few.repeat(60, 1), rtol=0, atol=1e-5 * few.abs().max())


class Adapted(torch.nn.Module):
    """A convolution with what learns beside it, whose weight is the convolution's."""

    def __init__(self, base: torch.nn.Conv3d) -> None:
        super().__init__()
        self.base, self.beside = base, torch.nn.Conv3d(base.in_channels, base.out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.beside(x)


def test_relations_are_what_their_first_convolution_gives(clip: Tensor) -> None:
    model, called = make_model(ROI_NETWORKS["acrn"]), []
    expected = answers(model, clip, BOXES)
    hook = model.acrn.conv1.register_forward_hook(lambda *_: called.append(1))
    assert torch.allclose(answers(model, clip, BOXES), expected, rtol=0, atol=1e-5 * expected.abs().max())
    assert called
    hook.remove()
    adapted = Adapted(model.acrn.conv1)
    model.acrn.conv1 = adapted
    assert not torch.allclose(answers(model, clip, BOXES), expected, rtol=0, atol=1e-3 * expected.abs().max())
    torch.nn.init.zeros_(adapted.beside.weight)
    assert torch.allclose(answers(model, clip, BOXES), expected, rtol=0, atol=1e-5 * expected.abs().max())
    model(clip, BOXES).sum().backward()
    assert adapted.beside.weight.grad is not None and adapted.beside.weight.grad.abs().max() > 0


def test_relations_of_a_first_convolution_with_neighbors_are_what_it_gives(clip: Tensor) -> None:
    model = make_model(ROI_NETWORKS["acrn"])
    expected, old = answers(model, clip, BOXES), model.acrn.conv1
    wide = torch.nn.Conv3d(old.in_channels, old.out_channels, (1, 3, 3), padding=(0, 1, 1), bias=False)
    torch.nn.init.zeros_(wide.weight)
    wide.weight.data[..., 1:2, 1:2] = old.weight.data
    model.acrn.conv1 = wide
    assert torch.allclose(answers(model, clip, BOXES), expected, rtol=0, atol=1e-5 * expected.abs().max())


@each_network
def test_train_and_eval_give_gradients_to_every_part(name: str, clip: Tensor) -> None:
    model = make_model(ROI_NETWORKS[name].replace(dropout=0.0))

    def gradients() -> dict[str, Tensor]:
        model.zero_grad(set_to_none=True)
        model(clip, BOXES).sum().backward()
        return {key: value.grad for key, value in model.named_parameters() if value.grad is not None}

    names = dict(model.named_parameters()).keys()
    assert gradients().keys() == names
    model.train()
    plain = gradients()
    assert plain.keys() == names
    model.set_grad_checkpointing()
    assert all(torch.equal(grad, plain[key]) for key, grad in gradients().items())


@each_network
def test_copies_answer_alike(name: str, clip: Tensor) -> None:
    model = make_model(ROI_NETWORKS[name])
    expected = answers(model, clip, BOXES)
    twin = eval_twin(model.train())
    model.eval()
    for other in (twin, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(answers(other, clip, BOXES), expected)
    scale = expected.abs().max()
    assert (answers(fold_batch_norms(model), clip, BOXES) - expected).abs().max() <= 1e-5 * scale
    assert (answers(prepare(model, "float32"), clip, BOXES) - expected).abs().max() <= 1e-5 * scale
    assert answers(prepare(model, "bfloat16"), clip, BOXES).dtype == torch.float32


@each_network
def test_torch_export(name: str, clip: Tensor) -> None:
    model = make_model(ROI_NETWORKS[name])
    boxes = torch.export.Dim("boxes", min=1)
    program = torch.export.export(
        model, (clip, BOXES), dynamic_shapes={"clip": None, "boxes": {0: boxes}}, strict=False
    )
    for given in (BOXES, BOXES[:3]):
        expected = answers(model, clip, given)
        assert torch.allclose(
            answers(program.module(), clip, given), expected, rtol=0, atol=1e-5 * expected.abs().max()
        )


@pytest.mark.parametrize("name", ["mean", "acrn"])
class TestTools:
    """What else people put a module through."""

    def test_compile(self, name: str, clip: Tensor) -> None:
        torch.compiler.reset()
        model = make_model(ROI_NETWORKS[name])
        expected = answers(model, clip, BOXES)
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        assert torch.allclose(compiled(clip, BOXES), expected, rtol=0, atol=1e-5 * expected.abs().max())

    @pytest.mark.filterwarnings("ignore")  # tracing is deprecated and says so
    def test_trace(self, name: str, clip: Tensor) -> None:
        model = make_model(ROI_NETWORKS[name])
        expected = answers(model, clip, BOXES[:3])
        traced = torch.jit.trace(model, (clip, BOXES))  # type: ignore[no-untyped-call]
        assert torch.allclose(traced(clip, BOXES[:3]), expected, rtol=0, atol=1e-5 * expected.abs().max())

    @pytest.mark.parametrize("grad", [True, False])
    def test_feature_extractor(self, name: str, grad: bool, clip: Tensor) -> None:
        from torchvision.models.feature_extraction import create_feature_extractor

        model = make_model(ROI_NETWORKS[name])
        with torch.set_grad_enabled(grad):
            out = create_feature_extractor(model, {"slow.stage4": "slow", "classifier": "scores"})(
                clip, BOXES
            )
            assert torch.equal(out["slow"], model.forward_features(clip)[0])
            assert torch.equal(out["scores"], model(clip, BOXES))

    def test_ddp(self, name: str, clip: Tensor, tmp_path: Path) -> None:
        import torch.distributed as dist
        from torch.nn.parallel import DistributedDataParallel

        dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
        try:
            model = make_model(ROI_NETWORKS[name]).train()
            DistributedDataParallel(model)(clip, BOXES).sum().backward()
            assert all(parameter.grad is not None for parameter in model.parameters())
        finally:
            dist.destroy_process_group()


def test_half_precision_and_double(clip: Tensor) -> None:
    model = make_model(ROI_NETWORKS["mean"])
    expected = answers(model, clip, BOXES)
    assert torch.allclose(
        answers(copy.deepcopy(model).double(), clip.double(), BOXES.double()).float(), expected, atol=1e-4
    )
    half = answers(copy.deepcopy(model).bfloat16(), clip.bfloat16(), BOXES)
    assert half.dtype == torch.bfloat16 and (half - expected).abs().max() < 0.1 * expected.abs().max()


def test_meta(clip: Tensor) -> None:
    with torch.device("meta"):
        model = SlowFast(ROI_NETWORKS["acrn"]).eval()
    assert model(clip.to("meta"), BOXES.to("meta")).shape == (6, 6)


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        (None, r"model\(clip, boxes\) takes boxes of persons.*got none"),
        ([[0, 1, 2, 3, 4]], "got list"),
        (torch.ones(3, 4), r"shape \(3, 4\)"),
        (torch.ones(5), r"shape \(5,\)"),
        (torch.ones(3, 5, dtype=torch.int64), "int64"),
        (torch.tensor([[0.0, 1, 2, float("nan"), 9]]), "Box 0, .*nan.*isn't finite"),
        (torch.tensor([[0.0, 1, 2, 30, 9], [0, 1, 2, float("inf"), 9]]), "Box 1, .*isn't finite"),
        (torch.tensor([[0.0, 30, 2, 3, 9]]), "Box 0, .*empty or reversed: x1 < x2"),
        (torch.tensor([[0.0, 3, 9, 30, 9]]), "empty or reversed"),
        (torch.tensor([[2.0, 3, 2, 30, 9]]), "index from 0 to 1"),
        (torch.tensor([[-1.0, 3, 2, 30, 9]]), "index from 0 to 1"),
        (torch.tensor([[0.5, 3, 2, 30, 9]]), "index from 0 to 1"),
        (torch.tensor([[0, 0.1, 0.2, 0.5, 0.9], [1, 0, 0, 1, 1]]), "shares of the picture.*takes pixels"),
    ],
)
def test_what_is_no_box_is_refused(boxes: Any, says: str, clip: Tensor) -> None:
    with pytest.raises(InputError, match=says):
        make_model(ROI_NETWORKS["mean"])(clip, boxes)


def test_a_clip_classifier_takes_no_boxes(clip: Tensor) -> None:
    model = make_model(SMALL)
    with pytest.raises(InputError, match=r"takes no boxes; models named \*_roi"):
        model(clip, BOXES)
    with pytest.raises(InputError, match="takes no boxes"):
        model.forward_head(model.forward_features(clip), boxes=BOXES)


def test_the_head_alone_checks_its_boxes(clip: Tensor) -> None:
    """RoIAlign itself would read outside of its maps."""
    model = make_model(ROI_NETWORKS["mean"])
    maps = model.forward_features(clip)
    for boxes, says in (
        (None, "got none"),
        (BOXES[:, 1:], r"shape \(6, 4\)"),
        (BOXES + 2, "index from 0 to 1"),
    ):
        with pytest.raises(InputError, match=says):
            model.forward_head(maps, boxes=boxes)
    for lowered in (model, prepare(model, "bfloat16")):
        with pytest.raises(InputError, match="index from 0 to 1"):
            lowered(clip, BOXES + 2)


@pytest.mark.parametrize("name", ["mean", "context", "acrn"])
def test_boxes_on_another_device(name: str) -> None:
    with FakeTensorMode(), torch.no_grad():
        with torch.device("cuda"):
            model, frames = SlowFast(ROI_NETWORKS[name]).eval(), torch.empty(2, 3, 8, 64, 80)
        maps = model.forward_features(frames)
        out = head_of(model.spec).forward(maps, model, pre_logits=False, boxes=torch.ones(6, 5))
    assert out.shape == (6, 6) and out.device.type == "cuda"


def test_what_wants_an_answer_for_the_clip_says_so(tmp_path: Path) -> None:
    model, video = make_model(ROI_NETWORKS["mean"]), "examples/pan_right.mp4"
    calls: list[Callable[[], object]] = [
        lambda: slowfast_zoo.predict(model, video),
        lambda: list(slowfast_zoo.predict_many(model, [video])),
        lambda: slowfast_zoo.timeline(model, video),
        lambda: slowfast_zoo.extract_features(model, video),
        lambda: slowfast_zoo.evaluate(model, []),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(InputError, match="classify whole clips; this one scores persons"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_a_fresh_classifier_and_the_state_dicts_names() -> None:
    model = make_model(ROI_NETWORKS["acrn"])
    before = model.acrn
    model.reset_classifier(3, ["sit", "stand", "lie"])
    assert model.acrn is before and model.classifier.weight.shape == (3, model.num_features)
    names = {name.rpartition(".")[0] for name in model.state_dict()}
    beside = names - {name.rpartition(".")[0] for name in make_model(SMALL).state_dict()}
    assert beside == {"acrn.conv1", "acrn.norm1", "acrn.conv2", "acrn.norm2"}
    names = {name for name in make_model(ROI_NETWORKS["non-local"]).state_dict() if "non_local" in name}
    assert {name.rpartition(".")[0] for name in names} == {
        f"slow.stage3.{block}.non_local.{layer}"
        for block in (1, 4)
        for layer in ("conv_theta", "conv_phi", "conv_g", "conv_out", "norm")
    }
    assert isinstance(SlowFast(ROI_NETWORKS["features"]).classifier, nn.Identity)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"roi": RoiSpec(), "head_pool": "window_probs"}, "head_pool.*'global' with an ROI head"),
        ({"roi": RoiSpec(), "stage4_stride": (1, 2)}, "stage4_stride.*joins their maps"),
        ({"roi": 7}, "a RoiSpec"),
        ({"roi": {"aligned": 1}}, "RoiSpec.aligned.*True or False"),
        ({"roi": {"alined": True}}, "no field 'alined'.*Did you mean 'aligned'"),
        ({"roi": {"temporal_pool": "avg"}}, "'mean', 'max'"),
        ({"roi": {"context": True, "acrn": True}}, "RoiSpec.context"),
        ({"roi": {"output_size": 0}}, "from 1 to 64"),
        ({"stage4_stride": (3, 3)}, "1 or 2"),
        ({"stage4_dilation": 2}, "as a pair"),
        ({"non_local": (6,)}, "from 0 to 5"),
        ({"non_local": (3, 1)}, "rising"),
    ],
)
def test_specs_say_what_they_accept(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        ModelSpec(**changes)


@each_network
def test_specs_in_json(name: str) -> None:
    spec = ROI_NETWORKS[name]
    assert ModelSpec.from_dict(spec.to_dict()) == spec


@each_network
def test_saved_and_read_again(name: str, clip: Tensor, tmp_path: Path) -> None:
    model = make_model(ROI_NETWORKS[name])
    slowfast_zoo.save_pretrained(model, tmp_path / "saved")
    again = slowfast_zoo.from_pretrained(tmp_path / "saved")
    assert again.spec == model.spec
    assert torch.equal(answers(again, clip, BOXES), answers(model, clip, BOXES))
    assert slowfast_zoo.describe(again).parameters == sum(p.numel() for p in model.parameters())
    assert "boxes          RoIAlign" in str(slowfast_zoo.describe(again))
    fewer = slowfast_zoo.from_pretrained(tmp_path / "saved", num_classes=2)
    assert answers(fewer, clip, BOXES).shape == (len(BOXES), 2)
