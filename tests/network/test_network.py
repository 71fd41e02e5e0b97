"""The network: shapes, names, modes, tools that people put it through, and what it refuses.

Equality with the publishers' networks is in ``test_reference.py``.
"""

from __future__ import annotations

import copy
import hashlib
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from slowfast_zoo.errors import InputError, SpecError, UnknownNameError
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import HeadPool, ModelSpec

SMALL = ModelSpec(
    depth=14, base_width=16, beta_inv=4, alpha=4, num_frames=8, num_classes=5, lateral_norm=True, dropout=0.25
)
HEADS: dict[str, dict[str, Any]] = {
    "global": {},
    "logits": {"head_pool": "window_logits", "head_window": 2},
    "probs": {"head_pool": "window_probs", "head_window": 2},
    "sigmoid": {"head_pool": "window_probs", "head_window": 2, "activation": "sigmoid"},
}
VARIANTS = [
    pytest.param(SMALL.replace(slow_sampling=rule, **head), id=f"{rule}-{name}")
    for rule in ("strided", "linspace")
    for name, head in HEADS.items()
]

# One hash of all names and shapes per published architecture: a renamed or reshaped tensor breaks
# every file that users have saved, so a change here needs a new format version.
NAME_HASHES = {
    "r50_4x16": (ModelSpec(), "5c6e0bc8a9996c3b"),
    "r50_8x8": (ModelSpec(alpha=4, fusion_kernel=7), "575cb3f44ad3bd3e"),
    "r50_8x8_norm": (ModelSpec(alpha=4, fusion_kernel=7, lateral_norm=True), "2ea59b78c3de7835"),
    "r101_r50": (ModelSpec(depth=101, fast_depth=50), "b173b6a36692e418"),
    "r101_50_50": (
        ModelSpec(depth=101, alpha=4, temporal_blocks=(3, 4, 6, 3), lateral_norm=True, num_frames=64),
        "2d10d3456b8f35e2",
    ),
    "r152_r50": (ModelSpec(depth=152, fast_depth=50), "224de43a3bba867b"),
}


def build(spec: ModelSpec = SMALL) -> SlowFast:
    """A network whose residual branches and norms do something, as in a trained one."""
    model = SlowFast(spec)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.1)
    return model.eval()


def clip(batch: int = 2, frames: int = 8, height: int = 64, width: int = 64, channels: int = 3) -> Tensor:
    return torch.randn(batch, channels, frames, height, width)


def names_and_shapes(model: nn.Module) -> str:
    return "\n".join(f"{name} {tuple(value.shape)}" for name, value in model.state_dict().items())


def test_state_dict_names_are_frozen() -> None:
    with torch.device("meta"):
        names = names_and_shapes(SlowFast(SMALL))
    snapshot = Path(__file__).parents[1] / "snapshots" / "state_dict.txt"
    assert names == snapshot.read_text(encoding="utf-8").rstrip("\n")


@pytest.mark.parametrize("name", NAME_HASHES)
def test_published_state_dict_names_are_frozen(name: str) -> None:
    spec, expected = NAME_HASHES[name]
    with torch.device("meta"):
        names = names_and_shapes(SlowFast(spec))
    assert hashlib.sha256(names.encode()).hexdigest()[:16] == expected


@pytest.mark.parametrize("spec", VARIANTS)
@pytest.mark.parametrize("size", [(64, 64), (70, 97)])
def test_shapes(spec: ModelSpec, size: tuple[int, int]) -> None:
    model = build(spec)
    x = clip(2, 8, *size)
    rows, columns = -(-size[0] // 32), -(-size[1] // 32)
    slow, fast = model.forward_features(x)
    assert slow.shape == (2, 512, 2, rows, columns)
    assert fast.shape == (2, 128, 8, rows, columns)
    assert model.num_features == 640
    assert model.forward_head((slow, fast), pre_logits=True).shape == (2, 640)
    assert model(x).shape == (2, 5)
    assert torch.equal(model(x), model.forward_head((slow, fast)))


@pytest.mark.parametrize("frames", [4, 8, 12, 20])
def test_any_number_of_frames_that_alpha_divides(frames: int) -> None:
    assert build()(clip(1, frames)).shape == (1, 5)


@pytest.mark.parametrize("rule", ["strided", "linspace"])
def test_slow_pathway_sees_the_frames_that_the_spec_names(rule: Any) -> None:
    spec = SMALL.replace(slow_sampling=rule, num_frames=32)
    model, seen = build(spec), []
    model.slow.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for frames in (4, 8, 32, 40):
        x = clip(1, frames)
        model(x)
        assert torch.equal(seen.pop(), x[:, :, list(spec.slow_indices(frames))])


def test_what_is_no_clip_gets_one_sentence() -> None:
    model, x = build(), clip(1)
    for given, kind in (
        ([x[:, :, ::4], x], "list"),
        ((x,), "tuple"),
        (x.numpy(), "ndarray"),
        (None, "NoneType"),
    ):
        with pytest.raises(InputError, match=f"one torch.Tensor .* got {kind}"):
            model(given)  # type: ignore[arg-type]


def test_labels_can_be_renamed_and_are_checked() -> None:
    model = build()
    before = model.classifier.weight.clone()
    model.labels = ["a", "b", "c", "d", "e"]
    assert model.labels == ("a", "b", "c", "d", "e")
    assert torch.equal(model.classifier.weight, before)
    assert model.num_classes == 5
    with pytest.raises(InputError, match="labels has 2 names for 5 classes"):
        model.labels = ["a", "b"]
    for names, order in (
        ({"b": 1, "a": 0}, "names.get"),
        ({1: "b", 0: "a"}, "int"),
        ({"10": "b", "9": "a"}, "int"),
    ):
        with pytest.raises(InputError, match=rf"sorted\(names, key={order}\)"):
            model.labels = names  # type: ignore[assignment]
    assert copy.deepcopy(model).labels == pickle.loads(pickle.dumps(model)).labels == model.labels
    model.reset_classifier(2)
    assert model.labels is None
    assert model.num_classes == 2


@pytest.mark.parametrize("head", ["global", "window_probs"])
def test_the_head_alone_gives_pooled_features_as_well(head: HeadPool) -> None:
    window = None if head == "global" else 2
    model, x = build(SMALL.replace(num_classes=0, head_pool=head, head_window=window)), clip()
    assert torch.equal(model.forward_head(model.forward_features(x)), model(x))


def test_num_classes_zero_returns_pooled_features() -> None:
    model = build(SMALL.replace(num_classes=0))
    assert isinstance(model.get_classifier(), nn.Identity)
    assert model(clip()).shape == (2, 640)
    assert not [name for name in model.state_dict() if name.startswith("classifier")]


@pytest.mark.parametrize("name", HEADS)
def test_head_averages_what_it_says(name: str) -> None:
    model = build(SMALL.replace(**HEADS[name]))
    slow, fast = model.forward_features(clip(2, 8, 96, 96))
    places = []
    for top in range(2):
        for left in range(2):
            window = [m[..., top : top + 2, left : left + 2].mean((2, 3, 4)) for m in (slow, fast)]
            places.append(model.classifier(torch.cat(window, 1)))
    logits = torch.stack(places)
    whole = model.classifier(torch.cat([slow.mean((2, 3, 4)), fast.mean((2, 3, 4))], 1))
    out = model.forward_head((slow, fast))
    expected = {
        "global": whole.softmax(1),
        "logits": logits.mean(0).softmax(1),
        "probs": logits.softmax(2).mean(0),
        "sigmoid": logits.sigmoid().mean(0),
    }
    probabilities = out.sigmoid() if name == "sigmoid" else out.softmax(1)
    torch.testing.assert_close(probabilities, expected[name], rtol=1e-5, atol=1e-6)
    others = [value for other, value in expected.items() if other != name]
    assert all((probabilities - other).abs().max() > 1e-5 for other in others), "the heads must differ"


def test_window_head_averages_logits_in_train_mode() -> None:
    model = build(SMALL.replace(dropout=0, **HEADS["probs"])).train()
    logits = build(SMALL.replace(dropout=0, **HEADS["logits"])).train()
    logits.load_state_dict(model.state_dict())
    x = clip(2, 8, 96, 96)
    assert torch.equal(model(x), logits(x))


def test_window_probs_stay_finite_where_probabilities_vanish() -> None:
    model = build(SMALL.replace(**HEADS["probs"]))
    assert isinstance(model.classifier, nn.Linear)
    model.classifier.weight.data.mul_(1e4)
    out = model(clip(1, 8, 96, 96))
    assert torch.isfinite(out).all()
    assert out.min() < -200, "this case needs a probability below the smallest float"


def test_initialization() -> None:
    model = SlowFast(SMALL)
    conv = model.slow.stage4[0].conv3.weight  # fan out 512: std sqrt(2/512)
    assert conv.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.05)
    assert not model.slow.stage1[0].norm3.weight.any()
    assert torch.equal(model.slow.stage1[0].norm2.weight, torch.ones(16))
    assert isinstance(model.classifier, nn.Linear)
    assert model.classifier.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not model.classifier.bias.any()


def test_reset_classifier_follows_in_spec_and_labels() -> None:
    model = build().double()
    model.reset_classifier(3, labels=["a", "b", "c"])
    assert model.spec == SMALL.replace(num_classes=3)
    assert model.labels == ("a", "b", "c")
    assert model(clip().double()).shape == (2, 3)
    model.reset_classifier(0)
    assert model.labels is None
    assert model(clip().double()).shape == (2, 640)


@pytest.mark.parametrize("up_to", ["stem", "stage2", "stage4", None])
@pytest.mark.parametrize(("norms", "shared"), [(False, False), (True, False), (True, True)])
def test_freeze(up_to: str | None, norms: bool, shared: bool) -> None:
    model = build()
    if shared:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    model.freeze("stage3")
    model.freeze(up_to, norms=norms)
    model.train()
    before = copy.deepcopy(model.state_dict())
    model(clip()).square().sum().backward()
    parts = ["stem", "stage1", "stage2", "stage3", "stage4"]
    frozen = parts[: parts.index(up_to) + 1] if up_to else []
    laterals = tuple(f"laterals.{i}" for i in range(len(frozen)))
    prefixes = tuple(f"{pathway}.{part}" for pathway in ("slow", "fast") for part in frozen) + laterals
    for name, parameter in model.named_parameters():
        held = bool(prefixes) and name.startswith(prefixes)
        assert parameter.requires_grad is not held, name
        assert (parameter.grad is None) is held, name
    for name, value in model.state_dict().items():
        if name.endswith("running_mean"):
            held = norms or (bool(prefixes) and name.startswith(prefixes))
            assert torch.equal(value, before[name]) is held, name


@pytest.mark.parametrize("shared", [False, True])
def test_activation_checkpointing_changes_neither_gradients_nor_statistics(shared: bool) -> None:
    plain = build(SMALL.replace(dropout=0))
    if shared:
        plain = nn.SyncBatchNorm.convert_sync_batchnorm(plain)
    saving = copy.deepcopy(plain)
    saving.set_grad_checkpointing()
    x = clip()
    for model in (plain, saving):
        model.train()
        model(x).square().sum().backward()
    for (name, a), b in zip(plain.state_dict().items(), saving.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    for (name, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert a.grad is not None
        assert torch.equal(a.grad, b.grad), name  # type: ignore[arg-type]


def test_a_compiled_network_may_be_asked_to_checkpoint() -> None:
    torch.compiler.reset()
    model, x = build(SMALL.replace(dropout=0)).train(), clip()
    model.set_grad_checkpointing()
    expected = copy.deepcopy(model)(x)
    out = torch.compile(model, fullgraph=True, backend="eager")(x)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
    out.sum().backward()
    assert int(model.slow.stage1[0].norm1.num_batches_tracked) == 1


def test_checkpointed_blocks_keep_no_activations() -> None:
    def kept(checkpointing: bool) -> int:
        model, total = build(), 0
        model.set_grad_checkpointing(checkpointing)
        model.train()

        def count(tensor: Tensor) -> Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            model(clip())
        return total

    assert kept(True) < 0.6 * kept(False)


@pytest.mark.parametrize("spec", VARIANTS)
class TestTools:
    """What people put a module through; both frame rules and every head."""

    def test_export(self, spec: ModelSpec) -> None:
        model, x = build(spec), clip()
        batch = torch.export.Dim("batch", min=1, max=16)
        exported = torch.export.export(model, (x,), dynamic_shapes=({0: batch},)).module()
        for size in (1, 3):
            y = clip(size)
            torch.testing.assert_close(exported(y), model(y), rtol=1e-5, atol=1e-6)

    def test_compile(self, spec: ModelSpec) -> None:
        torch.compiler.reset()
        model, x = build(spec), clip()
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-5, atol=1e-6)

    @pytest.mark.filterwarnings("ignore")  # tracing is deprecated and says so
    def test_trace(self, spec: ModelSpec) -> None:
        model, x, other = build(spec), clip(), clip(3)
        traced = torch.jit.trace(model, x)
        torch.testing.assert_close(traced(other), model(other), rtol=1e-5, atol=1e-6)

    def test_labels_that_name_a_class_twice_are_refused(self, spec: ModelSpec) -> None:
        with pytest.raises(InputError, match="labels names 'b' twice"):
            build(spec).labels = ("a", "b", "c", "b", "e")

    def test_deepcopy_and_pickle(self, spec: ModelSpec) -> None:
        model, x = build(spec), clip()
        model.labels = ("a", "b", "c", "d", "e")
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert twin.spec == spec
            assert twin.labels == model.labels
            assert torch.equal(twin(x), model(x))

    def test_feature_extractor(self, spec: ModelSpec) -> None:
        from torchvision.models.feature_extraction import create_feature_extractor

        model, x = build(spec), clip()
        with warnings.catch_warnings():  # a window_probs head differs between train and eval on purpose
            warnings.simplefilter("ignore", UserWarning)
            extractor = create_feature_extractor(model, {"slow.stage4": "slow", "fast.stage4": "fast"})
        slow, fast = model.forward_features(x)
        out = extractor(x)
        assert torch.equal(out["slow"], slow)
        assert torch.equal(out["fast"], fast)

    def test_ddp(self, spec: ModelSpec, tmp_path: Path) -> None:
        import torch.distributed as dist
        from torch.nn.parallel import DistributedDataParallel

        dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
        try:
            model = build(spec).train()
            wrapped = DistributedDataParallel(model)
            wrapped(clip()).sum().backward()
            assert all(parameter.grad is not None for parameter in model.parameters())
        finally:
            dist.destroy_process_group()


@pytest.mark.parametrize(
    ("spec", "x", "says"),
    [
        (SMALL, clip()[0], r"clips \(B, C, T, H, W\), got shape \(3, 8, 64, 64\); add a batch dimension"),
        (SMALL, clip()[None], r"got shape \(1, 2, 3, .*; views of videos are clips: evaluate\(model, data"),
        (SMALL, clip().to(torch.uint8), "normalized floats, got torch.uint8"),
        (SMALL, clip(channels=1), "takes 3 channels, got 1"),
        (SMALL, clip(frames=10), r"a multiple of alpha \(4\), got 10"),
        (SMALL, clip(frames=0), r"a multiple of alpha \(4\), got 0"),
        (SMALL, clip(height=0), r"have pixels, got shape \("),
        (SMALL.replace(**HEADS["logits"]), clip(frames=4), "at least 8 frames of 33 x 33 pixels, got 4 of"),
        (SMALL.replace(**HEADS["probs"]), clip(height=32), "33 x 33 pixels, got 8 of 32 x 64"),
    ],
)
def test_clips_that_do_not_fit_get_one_sentence(spec: ModelSpec, x: Tensor, says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        build(spec)(x)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("given", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("own", [torch.float64, torch.float32, torch.bfloat16])
def test_clips_of_another_dtype_are_told_the_models(own: torch.dtype, given: torch.dtype) -> None:
    model, x = build().to(own), clip(1).to(given)
    if given == own:
        assert model(x).dtype == own
        return
    for training in (False, True):
        with pytest.raises(InputError, match=rf"computes in {own}, got a clip of {given}: clip\.to\({own}\)"):
            model.train(training)(x)


@pytest.mark.parametrize("given", [torch.float64, torch.float32, torch.float16])
def test_autocast_takes_clips_of_the_dtypes_that_it_casts(given: torch.dtype) -> None:
    model, x = build(), clip(1).to(given)
    with torch.autocast("cpu", torch.bfloat16):
        if given == torch.float64:
            with pytest.raises(InputError, match=r"got a clip of torch\.float64"):
                model(x)
        else:
            assert model(x).dtype == torch.bfloat16


def _pruned(model: SlowFast) -> None:
    for stem in (model.slow.stem, model.fast.stem):
        prune.l1_unstructured(stem.conv, "weight", 0.3)


def _casting(model: SlowFast) -> None:
    for stem in (model.slow.stem, model.fast.stem):
        stem.conv.register_forward_pre_hook(lambda conv, given: (given[0].to(conv.weight.dtype),))


@pytest.mark.parametrize(
    ("change", "own", "given"),
    [(_pruned, torch.bfloat16, torch.bfloat16), (_casting, torch.float32, torch.float16)],
)
def test_a_stem_with_hooks_takes_the_dtypes_that_its_hooks_do(
    change: Callable[[SlowFast], None], own: torch.dtype, given: torch.dtype
) -> None:
    model = build()
    change(model)
    with torch.no_grad():
        assert model.to(own)(clip(1).to(given)).dtype == own


def test_a_weight_that_is_computed_is_computed_once_a_pass() -> None:
    class Counted(nn.Module):
        calls = 0

        def forward(self, weight: Tensor) -> Tensor:
            Counted.calls += 1
            return weight

    model = build().train()
    parametrize.register_parametrization(model.fast.stem.conv, "weight", Counted())
    Counted.calls = 0
    model(clip(2))
    assert Counted.calls == 1


def test_published_window_refuses_192_pixels_and_takes_193() -> None:
    model = build(SMALL.replace(head_pool="window_logits"))
    with pytest.raises(InputError, match="193 x 193"):
        model(clip(1, 8, 192, 192))
    assert model(clip(1, 8, 193, 193)).shape == (1, 5)


def test_non_local_blocks_refuse_what_they_cannot_pool() -> None:
    model = build(SMALL.replace(non_local=(0,)))
    for small in (clip(1, 4), clip(1, 8, 16, 64), clip(1, 8, 64, 16)):
        with pytest.raises(
            InputError, match="non-local blocks of this model need at least 8 frames of 17 x 17"
        ):
            model(small)
    assert model(clip(1, 8, 17, 17)).shape == (1, 5)


def test_other_bad_arguments_get_one_sentence() -> None:
    model = build()
    with pytest.raises(SpecError, match="num_classes is -1; accepted: an integer from 0 to"):
        model.reset_classifier(-1)
    with pytest.raises(InputError, match="labels has 2 names for 3 classes"):
        model.reset_classifier(3, labels=["a", "b"])
    with pytest.raises(InputError, match="labels are a list of class names"):
        model.reset_classifier(3, labels="abc")
    with pytest.raises(InputError, match=r"'b': 0.*sorted\(names, key=names\.get\) orders a dict"):
        model.reset_classifier(2, labels={"a": 1, "b": 0})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"\[names\[i\] for i in sorted\(names, key=int\)\] orders a dict"):
        model.reset_classifier(2, labels={"0": "a", "1": "b"})  # type: ignore[arg-type]
    for unordered in ({"jump": "0"}, {}):
        with pytest.raises(InputError, match=r"in order, got \{.*\}\.$"):
            model.reset_classifier(1, labels=unordered)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"half a character in '\\ud800'.* give it whole"):
        model.reset_classifier(2, labels=["\ud800", "b"])
    assert model.spec == SMALL, "a refused change leaves the model alone"
    with pytest.raises(UnknownNameError, match=r"no part 'stage5'.*Did you mean 'stage"):
        model.freeze("stage5")
    with pytest.raises(TypeError, match="num_clases"):
        ModelSpec(num_clases=3)  # type: ignore[call-arg]
