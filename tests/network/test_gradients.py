"""Gradients that are computed another way than torch's on a CPU: the same numbers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slowfast_zoo import ModelSpec, SlowFast
from slowfast_zoo.network.gradients import _ByFrames, stem_convolution, strided_projection

LAST = torch.channels_last_3d


def stem(kernel: int = 5) -> nn.Conv3d:
    torch.manual_seed(0)
    return nn.Conv3d(3, 8, (kernel, 7, 7), (1, 2, 2), (kernel // 2, 3, 3), bias=False)


def clips(frames: int) -> Tensor:
    return torch.randn(2, 3, frames, 18, 22).contiguous(memory_format=LAST)


def off(found: Tensor | None, wanted: Tensor | None) -> float:
    """How far they are apart, by the size of what is wanted."""
    assert found is not None and wanted is not None
    found, wanted = found.detach().double(), wanted.detach().double()
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.quick
@pytest.mark.parametrize(("kernel", "frames"), [(5, 8), (5, 5), (1, 4), (3, 6)])
def test_the_stems_gradient_is_torchs_in_another_order(kernel: int, frames: int) -> None:
    conv, x = stem(kernel), clips(frames)
    out = stem_convolution(x, conv)
    assert out.grad_fn is not None and "ByFrames" in out.grad_fn.name()
    assert torch.equal(out, conv(x))
    weights = torch.randn_like(out)
    (out * weights).sum().backward()
    exact = copy.deepcopy(conv).double()
    exact.weight.grad = None
    (exact(x.double()) * weights).sum().backward()
    assert off(conv.weight.grad, exact.weight.grad) < 1e-5


def test_it_is_differentiated_twice_and_by_functions_as_torchs_is() -> None:
    conv, x = stem(), clips(8)

    def second(way: Any) -> Tensor:
        (first,) = torch.autograd.grad(way(x, conv).sin().sum(), conv.weight, create_graph=True)
        return torch.autograd.grad(first.square().sum(), conv.weight)[0]

    assert off(second(stem_convolution), second(lambda x, conv: conv(x))) < 1e-4

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv

        def forward(self, x: Tensor) -> Tensor:
            return stem_convolution(x, self.conv)

    net = Net()
    weights = {name: weight.detach() for name, weight in net.named_parameters()}
    found = torch.func.grad(lambda own: torch.func.functional_call(net, own, (x,)).sin().sum())(weights)
    (wanted,) = torch.autograd.grad(conv(x).sin().sum(), conv.weight)
    assert off(found["conv.weight"], wanted) < 1e-5


def test_a_network_that_trains_is_compiled_whole() -> None:
    spec = ModelSpec(depth=14, fast_depth=14, alpha=4, num_frames=8, num_classes=3, dropout=0.0)
    model, x = SlowFast(spec).train().to(memory_format=LAST), clips(8)
    wanted = model(x)
    found = torch.compile(model, backend="aot_eager", fullgraph=True)(x)
    assert off(found, wanted) < 1e-4
    found.sum().backward()


@pytest.mark.quick
def test_a_projection_that_skips_places_is_a_product_of_the_others() -> None:
    torch.manual_seed(0)
    conv = nn.Conv3d(16, 24, 1, (1, 2, 2), bias=False)
    x = torch.randn(2, 16, 3, 7, 10).contiguous(memory_format=LAST).requires_grad_()
    out = strided_projection(x, conv)
    assert out.is_contiguous(memory_format=LAST)
    exact, their = copy.deepcopy(conv).double(), x.detach().double().requires_grad_()
    wanted = exact(their)
    assert off(out, wanted) < 1e-6
    weights = torch.randn_like(out)
    (out * weights).sum().backward()
    (wanted * weights).sum().backward()
    assert off(x.grad, their.grad) < 1e-5
    assert off(conv.weight.grad, exact.weight.grad) < 1e-5


@pytest.mark.parametrize("case", ["gradient of the clip", "frozen", "short", "channels first", "half"])
def test_everything_else_is_torchs_own_convolution(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    conv, x = stem(), clips(3 if case == "short" else 8)
    if case == "gradient of the clip":
        x.requires_grad_()
    elif case == "frozen":
        conv.weight.requires_grad_(False)
    elif case == "channels first":
        x = x.contiguous()

    def refuse(*inputs: object) -> None:
        raise AssertionError("computed another way")

    monkeypatch.setattr(_ByFrames, "apply", refuse)
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "half"):
        assert (stem_convolution(x, conv).grad_fn is None) == (case == "frozen")


class Adapted(nn.Module):
    """A convolution with a smaller one beside it, as adapters wrap them; it has no stride of its own."""

    def __init__(self, base: nn.Conv3d) -> None:
        super().__init__()
        self.base, self.beside = base, copy.deepcopy(base)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x) + self.beside(x)
        return out


def test_a_convolution_that_was_wrapped_or_hooked_is_called() -> None:
    spec = ModelSpec(depth=14, fast_depth=14, alpha=4, num_frames=8, num_classes=3, dropout=0.0)
    model, x, called = SlowFast(spec).train().to(memory_format=LAST), clips(8), list[nn.Module]()
    block, stem_of_fast = model.slow.stage2[0], model.fast.stem
    block.shortcut_conv = Adapted(block.shortcut_conv)
    model(x).sum().backward()
    assert block.shortcut_conv.beside.weight.grad is not None
    for conv in (block.shortcut_conv.base, stem_of_fast.conv):
        conv.register_forward_hook(lambda module, *_: called.append(module))
    block.shortcut_conv = block.shortcut_conv.base
    model(x)
    assert called == [stem_of_fast.conv, block.shortcut_conv]


@pytest.mark.parametrize(
    ("place", "settings"),
    [
        ("fast.stem.conv", {"bias": True}),
        ("fast.stem.conv", {"padding_mode": "replicate"}),
        ("fast.stem.conv", {"dilation": (2, 1, 1), "padding": (4, 3, 3)}),
        ("slow.stage2.0.shortcut_conv", {"bias": True}),
        ("slow.stage2.0.shortcut_conv", {"groups": 2}),
        ("slow.stage2.0.shortcut_conv", {"kernel_size": (1, 3, 3), "padding": (0, 1, 1)}),
    ],
)
def test_a_convolution_with_other_settings_is_computed_as_it_says(
    place: str, settings: dict[str, Any]
) -> None:
    spec = ModelSpec(depth=14, fast_depth=14, alpha=4, num_frames=8, num_classes=3, dropout=0.0)
    torch.manual_seed(0)
    model = SlowFast(spec).double()
    old = model.get_submodule(place)
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding")
    new = nn.Conv3d(**{name: getattr(old, name) for name in names} | {"bias": False} | settings)  # type: ignore[arg-type]
    model.set_submodule(place, new.double())
    model.train().freeze(None, norms=True)  # which else subtract a bias again
    exact, x = copy.deepcopy(model), clips(8)
    exact(x.double()).square().sum().backward()
    model.float()(x).square().sum().backward()
    wanted = dict(exact.named_parameters())
    for name, parameter in model.named_parameters():
        if name.startswith(place):
            assert off(parameter.grad, wanted[name].grad) < 1e-3, name


def test_a_network_that_trains_has_the_gradients_that_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    spec = ModelSpec(depth=14, fast_depth=14, alpha=4, num_frames=8, num_classes=3, dropout=0.0)
    model, x = SlowFast(spec).train().to(memory_format=LAST), clips(8)

    def gradients() -> list[Tensor]:
        model.zero_grad(set_to_none=True)
        model(x).square().sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    found = gradients()
    monkeypatch.setattr("slowfast_zoo.network.gradients._slow", lambda x: False)
    wanted = gradients()
    assert len(found) == len(wanted) > 100
    assert max(off(*pair) for pair in zip(found, wanted, strict=True)) < 1e-3
