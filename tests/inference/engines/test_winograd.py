"""Convolutions with fewer products: the same numbers, and only where they fit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from support.small_nets import relative
from torch import fx, nn

from slowfast_zoo import ModelSpec, SlowFast, optimize
from slowfast_zoo.inference.engines.folding import fold_batch_norms
from slowfast_zoo.inference.engines.torch_compile import inductor
from slowfast_zoo.inference.engines.winograd import winograd
from slowfast_zoo.runtime.precision import has_bfloat16_kernels, onednn_is_fast

CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(
    not (shutil.which("g++") and onednn_is_fast(CPU)), reason="no compiler, or another CPU"
)

WIDE = ModelSpec(depth=14, base_width=64, beta_inv=8, alpha=2, num_frames=8, num_classes=5)


@pytest.fixture(scope="module")
def model() -> SlowFast:
    """A network with wide convolutions of both kinds, in which every block counts."""
    torch.manual_seed(1)
    model = SlowFast(WIDE).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.3)
    return model


def graph(model: SlowFast) -> fx.GraphModule:
    return inductor.traced_copy(fold_batch_norms(model))


def replaced(network: fx.GraphModule) -> set[str]:
    return {name for name, module in network.named_modules() if isinstance(module, winograd.Winograd)}


@pytest.mark.parametrize("size", [(1, 4, 8, 12), (2, 5, 7, 7), (1, 9, 1, 13), (3, 1, 6, 2)])
@pytest.mark.parametrize("taps", [(3, 1, 1), (1, 3, 3)])
@pytest.mark.parametrize("channels", [(64, 80), (16, 16)])
def test_outputs_are_those_of_the_convolution_and_its_relu(
    taps: tuple[int, int, int], channels: tuple[int, int], size: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv3d(*channels, taps, padding=tuple(tap // 2 for tap in taps))
    x = torch.randn(size[0], channels[0], *size[1:])
    with torch.inference_mode():
        outputs, expected = winograd.Winograd(conv)(x), torch.relu(conv.double()(x.double()))
    assert outputs.is_contiguous(memory_format=torch.channels_last_3d)
    assert relative(outputs, expected.float()) <= 1e-5
    assert (outputs >= 0).all()


def test_wide_convolutions_of_stride_1_are_replaced_in_the_graph_only(model: SlowFast) -> None:
    folded = fold_batch_norms(model)
    before = dict(folded.named_modules())
    network = inductor.traced_copy(folded)
    clip = torch.randn(1, 3, 8, 40, 56)
    with torch.no_grad():
        expected = network(clip)
        winograd.use_winograd(network, frames=4)
        assert relative(network(clip), expected) <= 5e-6
    slow = {f"slow.stage{stage}.0.conv1" for stage in (3, 4)} | {"slow.stage1.0.conv2"}
    assert replaced(network) == slow | {"fast.stage4.0.conv1"}
    assert dict(folded.named_modules()) == before


def test_time_is_left_alone_where_there_are_few_frames(model: SlowFast) -> None:
    network = graph(model)
    winograd.use_winograd(network, frames=2)
    assert replaced(network) == {"slow.stage1.0.conv2"}


def test_narrow_convolutions_are_left_alone() -> None:
    network = graph(SlowFast(WIDE.replace(base_width=8)))
    winograd.use_winograd(network, frames=4)
    assert replaced(network) == {"slow.stage4.0.conv1"}, "the others have fewer than 64 channels"


def test_the_compiled_engine_computes_so_and_keeps_the_source(
    model: SlowFast, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SLOWFAST_ZOO_CACHE", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    winograd.mappings.cache_clear()
    asked = []
    use = winograd.use_winograd

    def seen(network: fx.GraphModule, frames: int) -> None:
        use(network, frames)
        asked.append(replaced(network))

    monkeypatch.setattr(inductor, "use_winograd", seen)
    clips = torch.randn(2, 3, 8, 48, 48)
    with torch.no_grad():
        assert relative(optimize(model, "compile")(clips), model(clips)) <= 1e-5
    assert len(asked) == 1
    assert len(asked[0]) == 4
    sources = (tmp_path / "engines").rglob("*.cpp")
    assert any("factors_over_time" in path.read_text() for path in sources)
    if has_bfloat16_kernels():
        optimize(model, "compile", "bfloat16")(clips)
    assert len(asked) == 1, "half precision would lose too much"


@pytest.mark.parametrize(
    "error", [RuntimeError("no vector types"), OSError("no room"), ImportError("another torch")]
)
def test_without_a_compiler_that_takes_it_every_product_is_computed(
    model: SlowFast, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(winograd, "mappings", fail)
    network = graph(model)
    winograd.use_winograd(network, frames=4)
    assert not replaced(network)
