"""Networks whose owner replaced, wrapped, shared or hooked a module: engines give their answers, or none."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.small_nets import clips, heavy, make_model, needs_bfloat16, relative
from torch import Tensor, nn

from slowfast_zoo import SlowFast, optimize, predict
from slowfast_zoo.errors import ExportError, InputError
from slowfast_zoo.inference.engines import EngineName, artifacts, folding
from slowfast_zoo.inference.engines import optimize as optimize_module
from slowfast_zoo.inference.engines.auto import measuring
from slowfast_zoo.inference.engines.kept import optimized
from slowfast_zoo.inference.engines.openvino.int8 import to_int8
from slowfast_zoo.inference.engines.optimize import choose
from slowfast_zoo.inference.engines.torch_compile.inductor import traced_copy
from slowfast_zoo.network.structure import hooked, is_foreign, structure

CPU = torch.device("cpu")


class Lora(nn.Conv3d):
    """A low-rank side path around a convolution, as adapters have it."""

    def __init__(self, conv: nn.Conv3d) -> None:
        how: Any = (conv.kernel_size, conv.stride, conv.padding)
        super().__init__(conv.in_channels, conv.out_channels, *how, bias=False)
        self.weight = conv.weight
        self.down = nn.Conv3d(conv.in_channels, 4, *how, bias=False)
        self.up = nn.Conv3d(4, conv.out_channels, 1, bias=False)
        self.scaling = {"default": 2.0}

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.scaling["default"] * self.up(self.down(x))


class Scaled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 1.5 * weight


def with_lora(model: SlowFast) -> None:
    torch.manual_seed(5)
    for block in (model.slow.stage2[0], model.fast.stage1[0]):
        block.conv2 = Lora(block.conv2)  # type: ignore[arg-type]
    model.fast.stem.conv = Lora(model.fast.stem.conv)


def with_parametrization(model: SlowFast) -> None:
    nn.utils.parametrize.register_parametrization(model.slow.stage1[0].conv2, "weight", Scaled())


def with_fused_norms(model: SlowFast) -> None:
    model.slow.stage1[0].norm2 = model.fast.stem.norm = nn.Identity()


def with_group_norm(model: SlowFast) -> None:
    model.slow.stage1[0].norm2 = nn.GroupNorm(2, 8)


def with_frozen_norm(model: SlowFast) -> None:
    model.slow.stage1[0].norm2 = nn.BatchNorm3d(8, affine=False)


def with_another_stem(model: SlowFast) -> None:
    stem = model.fast.stem
    model.fast.stem = nn.Sequential(stem.conv, stem.norm, nn.ELU(), stem.pool)  # type: ignore[assignment]


def with_shared_weights(model: SlowFast) -> None:
    model.fast.stage1[0].conv3.weight = model.fast.stage1[0].shortcut_conv.weight


def with_another_activation(model: SlowFast) -> None:
    model.slow.stage1[0].relu = nn.LeakyReLU(0.3)  # type: ignore[assignment]


def with_another_stride(model: SlowFast) -> None:
    model.slow.stage4[0].conv2.stride = model.slow.stage4[0].shortcut_conv.stride = (1, 1, 1)


def with_another_padding(model: SlowFast) -> None:
    conv = model.slow.stage1[0].conv2
    conv.padding_mode = "replicate"
    model.slow.stage2[0].conv1.padding = "same"


def with_a_function(model: SlowFast) -> None:
    conv = model.slow.stage1[0].conv2
    forward = conv.forward
    conv.forward = lambda x: 2 * forward(x)


REPLACED = [
    with_lora,
    with_parametrization,
    with_fused_norms,
    with_group_norm,
    with_frozen_norm,
    with_another_stem,
    with_shared_weights,
    with_another_activation,
    with_another_stride,
    with_another_padding,
    with_a_function,
]


def replaced(change: Callable[[SlowFast], None]) -> SlowFast:
    model = make_model()
    change(model)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("change", REPLACED)
def test_engines_give_the_logits_of_what_was_replaced(change: Callable[[SlowFast], None]) -> None:
    plain, model = make_model(), replaced(change)
    with torch.no_grad():
        assert relative(model(clips(2)), plain(clips(2))) > 1e-3
    fast = optimize(model, "eager")
    assert relative(fast(clips(2)), model(clips(2))) <= 1e-5
    assert fast.engine == "eager"


@pytest.mark.parametrize(
    ("engine", "change"), [("openvino", with_another_activation), ("onnxruntime", with_a_function)]
)
def test_what_was_kept_of_a_network_is_no_other_networks(
    engine: EngineName, change: Callable[[SlowFast], None]
) -> None:
    """With the same weights."""
    plain, model = make_model(), replaced(change)
    optimize(plain, engine)(clips(1))
    assert relative(optimize(model, engine)(clips(1)), model(clips(1))) <= 1e-5


@needs_bfloat16
def test_half_precision_gives_the_logits_of_what_was_replaced() -> None:
    model = replaced(with_lora)
    assert relative(optimize(model, "eager", "bfloat16")(clips(2)), model(clips(2))) <= 3e-2


def test_an_engine_is_held_to_the_model_that_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to the folded copy, were that wrong."""
    monkeypatch.setattr(folding, "_is_foldable", lambda conv, norm: isinstance(norm, nn.BatchNorm3d))
    model = replaced(with_lora)
    with pytest.raises(ExportError, match=r"'eager' in float32 is refused: .* largest logit"):
        optimize(model, "eager")(clips(1))
    assert not artifacts.names(".proven")
    fast = optimize(heavy(model), clips=3)
    assert relative(fast(clips(1)), model(clips(1))) <= 1e-6 and fast.engine == "module"


def test_int8_is_held_to_the_model_that_was_given() -> None:
    pytest.importorskip("nncf")
    model = make_model()
    folded, other = folding.fold_batch_norms(model), copy.deepcopy(model)
    other.fast.stem.relu = nn.LeakyReLU(0.3)  # type: ignore[assignment]
    with pytest.raises(ExportError, match="int8 is refused: OpenVINO in float32, which judges it, is off by"):
        to_int8(folded, clips(16, 48, 48), given=other)


def test_other_peoples_code_is_no_measure_of_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimize_module, "ENGINES", {"eager": optimize_module.EAGER})
    monkeypatch.setattr(measuring, "SHARE", 1e9)
    optimize(replaced(with_lora), clips=5000)(clips(1))
    assert not artifacts.names(".timed") and not artifacts.names(".proven")
    optimize(make_model(), clips=5000)(clips(1))
    assert artifacts.names(".timed") and artifacts.names(".proven")


def test_a_module_that_changes_is_noticed() -> None:
    """Its weights stay, or are others' business."""
    model = make_model()
    changes: list[Callable[[], object]] = [
        lambda: with_lora(model),
        lambda: model.fast.stem.conv.scaling.update(default=0.5),  # type: ignore[operator, union-attr]
        lambda: with_another_activation(model),
        lambda: with_a_function(model),
        lambda: with_another_stride(model),
    ]
    before = optimized(model, "eager", "float32", CPU, 1)
    for change in changes:
        change()
        model.eval()
        fast = optimized(model, "eager", "float32", CPU, 1)
        assert fast is not None and fast is not before
        with torch.no_grad():
            assert relative(fast(clips(1)), model(clips(1))) <= 1e-5
        assert optimized(model, "eager", "float32", CPU, 1) is fast
        before = fast


def test_hooks_are_called_or_engines_refused() -> None:
    model, seen = heavy(make_model()), list[object]()
    assert hooked(model) is None and choose(model, CPU, "float32", 20) is not None
    for place in (model, model.slow.stage4):
        hook = place.register_forward_hook(lambda module, inputs, maps: seen.append(module))
        assert choose(model, CPU, "float32", 20) is None
        with pytest.raises(
            InputError, match=r"has a forward hook.*: remove it, or call the model itself, as"
        ):
            optimize(model, "eager")
        hook.remove()
    model.clip_spec = make_model().clip_spec
    video = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), np.uint8)
    without = predict(model, video, engine="eager", fps=25)
    model.slow.stage4.register_forward_hook(lambda module, inputs, maps: seen.append(module))
    hooks = [model.slow.stage1[0].conv2.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))]
    with pytest.raises(InputError, match=r"at 'slow\.stage1\.0\.conv2', and engines don't keep to hooks"):
        predict(model, video, engine="eager", fps=25)
    answer = predict(model, video, fps=25)
    assert len(seen) == 1 and answer.scores != without.scores
    hooks[0].remove()


def test_no_file_stands_for_hooks() -> None:
    model = make_model()
    assert artifacts.fingerprint(folding.fold_batch_norms(model)) is not None
    model.fast.stem.register_forward_hook(lambda module, inputs, maps: 0 * maps)
    assert artifacts.fingerprint(folding.fold_batch_norms(model)) is None


def test_backward_hooks_keep_nothing_from_being_folded() -> None:
    model = make_model()
    for module in model.modules():
        module.register_full_backward_hook(lambda module, before, after: None)
        module.register_full_backward_pre_hook(lambda module, before: None)
    folded = folding.fold_batch_norms(model)
    assert not any(isinstance(module, nn.BatchNorm3d) for module in folded.modules())
    assert model.fast.stem._backward_hooks and model.fast.stem._backward_pre_hooks


def test_an_object_that_is_gone_equals_none_in_its_place() -> None:
    class Table:
        pass

    model, table = make_model(), Table()
    model.fast.stem.table = table  # type: ignore[assignment]
    before = structure(model)
    assert structure(model) == before
    del table, model.fast.stem.table
    for value in (Table(), torch.zeros(1), b"no weak references"):
        model.fast.stem.table = value  # type: ignore[assignment]
        now = structure(model)
        assert now != before and structure(model) == now
        before = now


def test_a_list_that_holds_itself_is_compared() -> None:
    model = make_model()
    notes: list[object] = [1]
    notes.append(notes)
    model.fast.stem.notes = notes  # type: ignore[assignment]
    before = structure(model)
    assert structure(model) == before and is_foreign(model)
    notes[0] = 2
    assert structure(model) != before


def test_what_an_owner_notes_on_a_model_changes_nothing() -> None:
    model = make_model()
    before = structure(model)
    model.calls, model.source = 1, Path("x")  # type: ignore[assignment]
    assert structure(model) == before and not is_foreign(model)
    model.forward = lambda clip, boxes=None: clip.mean()  # type: ignore[assignment]
    assert structure(model) != before and is_foreign(model)


def test_a_batch_norm_without_a_bias_is_left() -> None:
    model = make_model()
    model.fast.stem.norm.bias = None  # type: ignore[assignment]
    model.eval().requires_grad_(False)
    assert relative(optimize(model, "eager")(clips(2)), model(clips(2))) <= 1e-5


class Looped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([torch.relu(x[clip]) for clip in range(x.shape[0])])


def test_code_that_tracing_cant_follow_is_refused() -> None:
    model = make_model()
    model.fast.stem.relu = Looped()  # type: ignore[assignment]
    with pytest.raises(ExportError, match=r"engine='compile' can't trace this model \(.*as an integer\)"):
        traced_copy(model)


def test_whose_code_takes_part() -> None:
    model = make_model()
    assert not is_foreign(model) and not is_foreign(nn.SyncBatchNorm.convert_sync_batchnorm(model))
    foreign = (with_lora, with_parametrization, with_a_function)
    assert [change for change in REPLACED if is_foreign(replaced(change))] == list(foreign)
