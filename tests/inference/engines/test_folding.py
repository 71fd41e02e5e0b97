"""The network as engines compute it: norms folded, frames in pairs, convolutions by oneDNN, small pieces."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from support.small_nets import NETWORKS, ROI_NETWORKS, SMALL, clips, make_model, needs_bfloat16, relative
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from slowfast_zoo import ModelSpec, SlowFast, optimize
from slowfast_zoo.inference.engines import eager, stems
from slowfast_zoo.inference.engines.folding import (
    GatheredConv3d,
    Lowered,
    Maps,
    OneDnnConv3d,
    _folded,
    fold_batch_norms,
    lower,
    prepare,
    use_onednn,
    use_products,
)
from slowfast_zoo.inference.engines.stems import (
    PAIRED,
    PAIRS_IN,
    QUANTIZED_IN,
    TILES_IN,
    GatheredStem,
    StemLayout,
    StemLayouts,
    stem_layouts,
)
from slowfast_zoo.inference.engines.torch_compile import inductor
from slowfast_zoo.network.pathway import Stem
from slowfast_zoo.network.slowfast import check_boxes
from slowfast_zoo.runtime.precision import EnginePrecision


@pytest.mark.parametrize("spec", NETWORKS.values(), ids=NETWORKS)
def test_folding_changes_no_function(spec: ModelSpec) -> None:
    model = make_model(spec)
    folded = fold_batch_norms(model.train())
    assert not any(isinstance(module, nn.BatchNorm3d) for module in folded.modules())
    with torch.no_grad():
        assert relative(folded(clips(2)), model.eval()(clips(2))) <= 2e-6


@pytest.mark.parametrize("frames", [4, 12])
@pytest.mark.parametrize("size", [(20, 26), (21, 26), (20, 27), (35, 33)], ids=str)
@pytest.mark.parametrize("layouts", [PAIRED, PAIRS_IN, TILES_IN, QUANTIZED_IN], ids=str)
def test_stems_of_every_layout_compute_the_same(
    frames: int, size: tuple[int, int], layouts: StemLayouts
) -> None:
    model, clip = fold_batch_norms(make_model()), torch.randn(2, 3, frames, *size)
    network = lower(model, "float32", stems=layouts)
    assert isinstance(network, SlowFast) and isinstance(network.fast.stem, GatheredStem)
    with torch.no_grad():
        for changed, stem in ((network.fast.stem, model.fast.stem), (network.slow.stem, model.slow.stem)):
            wanted = stem(clip)
            assert changed(clip).shape == wanted.shape
            assert torch.allclose(changed(clip), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pathway", ["slow", "fast"])
def test_another_convolution_in_a_stem_stays(pathway: str) -> None:
    model = make_model()
    stem = model.get_submodule(pathway).stem
    stem.conv = nn.Conv3d(3, stem.conv.out_channels, (1, 5, 5), (1, 2, 2), (0, 2, 2), bias=False)
    clip, folded = clips(1), prepare(model, "float32", stems=TILES_IN)
    assert isinstance(folded, SlowFast)
    assert not isinstance(folded.get_submodule(pathway).stem, GatheredStem)
    with torch.no_grad():
        assert relative(folded(clip), model.eval()(clip)) <= 1e-5


@pytest.mark.parametrize("seen", [1, 3, 5, 7, 9])
@pytest.mark.parametrize("outputs", [1, 2, 3, 4])
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("columns", [1, 2])
def test_kernels_of_any_length_are_gathered(
    seen: int, outputs: int, together: bool, rows: int, columns: int
) -> None:
    stem = Stem(3, 4, seen).requires_grad_(False)
    stem.conv.bias, stem.norm = nn.Parameter(torch.randn(4), requires_grad=False), nn.Identity()
    clip = torch.randn(1, 3, 12, 16, 18)
    gathered = GatheredStem(stem, StemLayout(outputs, outputs if together else 1, rows, columns))
    assert torch.allclose(gathered(clip), stem(clip), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("features", "precision", "channels"),
    [
        ((), "float32", (3, 3)),
        ((), "int8", (3, 3)),
        (("avx512_bf16",), "bfloat16", (3, 6)),
        ((), "float16", (3, 6)),
        (("amx_bf16", "amx_int8"), "float32", (3, 3)),
        (("amx_bf16", "amx_int8"), "bfloat16", (12, 24)),
        (("amx_bf16", "amx_int8"), "int8", (12, 24)),
        (("amx_bf16", "amx_int8"), "float16", (3, 6)),
    ],
)
def test_stems_fill_what_is_multiplied_at_a_time(
    features: tuple[str, ...],
    precision: EnginePrecision,
    channels: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stems, "processor_features", lambda: features)
    monkeypatch.setattr(stems, "onednn_is_fast", lambda device: device.type == "cpu")
    layouts = stem_layouts(precision, torch.device("cpu"))
    network = lower(fold_batch_norms(SlowFast(SMALL)), "float32", stems=layouts)
    assert isinstance(network, SlowFast)
    weights = [getattr(stem, "conv", stem).weight for stem in (network.slow.stem, network.fast.stem)]
    assert tuple(weight.shape[1] for weight in weights) == channels
    assert stem_layouts(precision, torch.device("meta")) is None


def test_stems_change_where_that_pays_and_frames_are_even() -> None:
    def changed(spec: ModelSpec, layouts: StemLayouts | None = PAIRED) -> bool:
        return isinstance(prepare(SlowFast(spec), "float32", stems=layouts).fast.stem, GatheredStem)

    assert changed(SMALL)
    assert not changed(SMALL, None)
    assert not changed(SMALL.replace(alpha=1))
    assert not changed(SMALL.replace(base_width=64, beta_inv=4))
    odd = SlowFast(SMALL.replace(alpha=1)).eval()
    clip = torch.randn(1, 3, 5, 48, 48)
    with torch.no_grad():
        assert relative(optimize(odd, "eager")(clip), odd(clip)) <= 1e-5


@pytest.mark.parametrize("frames", [4, 5, 8, 9, 16, 32])
@pytest.mark.parametrize("stride", [1, 2, 4, 8])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_frames_as_channels_give_what_the_strided_convolution_gives(
    kernel: int, stride: int, frames: int
) -> None:
    conv = nn.Conv3d(6, 4, (kernel, 1, 1), stride=(stride, 1, 1), padding=(kernel // 2, 0, 0))
    x = torch.randn(2, 6, frames, 5, 3)
    with torch.no_grad():
        assert torch.allclose(GatheredConv3d(conv)(x), conv(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("settings", [{"stride": 2}, {"dilation": (2, 1, 1)}, {"padding": 1}], ids=str)
def test_a_convolution_that_does_more_than_stride_through_time_stays(settings: dict[str, Any]) -> None:
    network = nn.Sequential(nn.Conv3d(6, 4, (3, 1, 1), **{"stride": (2, 1, 1)} | settings))
    x = torch.randn(2, 6, 9, 5, 4)
    with torch.no_grad():
        expected = network(x)
        use_products(network)
        assert torch.equal(network(x), expected)


class Strides(TorchDispatchMode):
    """Collects the strides of all convolutions that torch is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, ...]] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if "conv" in str(func) and args[0].dtype == torch.bfloat16:
            self.seen.add(tuple(args[3]) if len(args) > 3 else (1, 1, 1))
        return func(*args, **kwargs or {})


@needs_bfloat16
def test_no_convolution_strides_through_time_in_half_precision() -> None:
    """Such convolutions damage memory on processors with AMX."""
    model = make_model(SMALL.replace(alpha=8, fusion_kernel=5))
    clip = torch.randn(2, 3, 16, 48, 48)
    fast = optimize(model, "eager", "bfloat16")
    with torch.no_grad():
        expected = model(clip)
    with Strides() as strides:
        logits = fast(clip)
    assert strides.seen and all(stride[0] == 1 for stride in strides.seen)
    assert relative(logits, expected) <= 3e-2
    network = prepare(model, "bfloat16")
    use_products(network)
    traced = inductor.traced_copy(network)  # what compile gives to the compiler
    assert not any(isinstance(m, nn.Conv3d) and m.stride[0] > 1 for m in traced.modules())
    with torch.no_grad():
        assert torch.equal(traced(clip), network(clip))


@pytest.mark.parametrize("spec", (NETWORKS | ROI_NETWORKS).values(), ids=NETWORKS | ROI_NETWORKS)
def test_compile_traces_networks_of_half_precision(spec: ModelSpec) -> None:
    """Computed in float32, so that every processor has the kernels."""
    lowered: Lowered | Maps = Lowered(fold_batch_norms(make_model(spec)), torch.float32)
    lowered = lowered if spec.roi is None else Maps(lowered)
    use_products(lowered)
    traced = inductor.traced_copy(lowered)
    assert not any("check" in str(node.target) for node in traced.graph.nodes)
    assert not any(isinstance(m, nn.Conv3d) and m.stride[0] > 1 for m in traced.modules())
    with torch.no_grad():
        assert torch.equal(traced(clips(2)), lowered(clips(2)))


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_onednn_computes_every_convolution_the_same() -> None:
    model = fold_batch_norms(make_model())
    expected = model(clips(1))
    use_onednn(model)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv3d)]
    assert all(type(convolution) is OneDnnConv3d for convolution in convolutions)
    with torch.profiler.profile() as profile:
        logits = model(clips(1))
    calls = {event.key: event.count for event in profile.key_averages()}
    assert calls["aten::mkldnn_convolution"] == len(convolutions)
    assert relative(logits, expected) <= 2e-6


@pytest.mark.parametrize("fast", [True, False])
def test_eager_engine_with_and_without_onednn(monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    monkeypatch.setattr(eager, "onednn_is_fast", lambda device: fast)
    model = make_model()
    with torch.no_grad():
        assert relative(optimize(model, "eager")(clips(3)), model(clips(3))) <= 1e-5


def test_eager_engine_takes_few_large_clips_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    forward = SlowFast.forward

    def seen(self: SlowFast, clip: Tensor) -> Tensor:
        sizes.append(len(clip))
        return forward(self, clip)

    model, large = make_model(), clips(5, 300, 320)
    with torch.no_grad():
        expected = model(large)
    monkeypatch.setattr(eager, "onednn_is_fast", lambda device: True)
    monkeypatch.setattr(SlowFast, "forward", seen)
    assert relative(optimize(model, "eager")(large), expected) <= 1e-5
    trial = [1, 1]  # a clip of its own through the engine and through the network that it is held to
    assert sizes == [*trial, 2, 2, 1]


def test_nothing_is_float64_where_there_may_be_none() -> None:
    """As on Apple's GPUs: tensors without numbers, on a GPU that needn't be there."""
    seen: list[Tensor] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            seen.extend([result] if isinstance(result, Tensor) else [])
            return result

    with FakeTensorMode(), torch.device("cuda"):
        conv, norm, boxes = nn.Conv3d(2, 3, 1, bias=False), nn.BatchNorm3d(3), torch.ones(2, 5)
        with Watch():
            folded = _folded(conv, norm)
            with contextlib.suppress(DataDependentOutputException):  # their numbers are looked at
                check_boxes(boxes, ROI_NETWORKS["mean"], torch.ones(1, 3, 8, 48, 48))
    assert folded.bias is not None
    assert {(each.device.type, each.dtype) for each in (folded.weight, folded.bias)} == {
        ("cuda", torch.float32)
    }
    assert {each.device.type for each in seen if each.dtype == torch.float64} == {"cpu"}
