"""Engines are built once: found again for the same weights, never for others, and bounded in memory."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from support.small_nets import heavy, make_model
from torch import Tensor, nn

from slowfast_zoo import SlowFast, optimize, predict
from slowfast_zoo.inference.engines import kept
from slowfast_zoo.inference.engines import optimize as optimize_module
from slowfast_zoo.inference.engines.kept import optimized
from slowfast_zoo.inference.engines.optimize import OptimizedModel
from slowfast_zoo.network.twin import eval_twin

CPU = torch.device("cpu")


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[OptimizedModel]]]:
    """The engines that were built."""
    engines: list[weakref.ref[OptimizedModel]] = []

    def counting(*arguments: object, **named: object) -> OptimizedModel:
        fast = optimize(*arguments, **named)  # type: ignore[arg-type]
        engines.append(weakref.ref(fast))
        return fast

    monkeypatch.setattr(kept, "optimize", counting)
    yield engines


def named(model: SlowFast, engine: str = "eager") -> OptimizedModel | None:
    return optimized(model, engine, "float32", CPU, 1)  # type: ignore[arg-type]


def test_an_engine_is_found_again(built: list[object]) -> None:
    model, twin = make_model(), make_model()
    first = named(model)
    assert named(model) is first
    assert len(built) == 1
    assert named(model, "openvino") is not first
    assert named(twin) is not first, "another model, even with the same weights"
    assert len(built) == 3


def test_an_engine_belongs_to_a_number_of_threads(built: list[object]) -> None:
    model, threads = make_model(), torch.get_num_threads()
    try:
        for count in (1, 3, 3):
            torch.set_num_threads(count)
            named(model)
    finally:
        torch.set_num_threads(threads)
    assert len(built) == 2


def test_another_kind_of_network_with_the_same_weights_is_another(built: list[object]) -> None:
    class Doubled(SlowFast):
        def forward(self, clip: Tensor, boxes: Tensor | None = None) -> Tensor:
            return 2 * super().forward(clip, boxes)

    model, twin = make_model(), eval_twin(make_model())
    twin.load_state_dict(model.state_dict(), assign=True)
    twin.__class__ = Doubled
    first = optimized(model, "eager", "float32", CPU, 1)
    assert optimized(twin, "eager", "float32", CPU, 1, owner=model) is not first
    assert optimized(model, "eager", "float32", CPU, 1) is first and len(built) == 2


def by_training(model: SlowFast) -> None:
    model.train()(torch.randn(2, 3, 8, 64, 64)).sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    model.eval()


def by_data(model: SlowFast) -> None:
    next(model.parameters()).data.view(-1)[3] += 1e-6


def by_memory(model: SlowFast) -> None:
    weights = next(model.parameters()).detach().numpy()
    weights.flat[0] = np.nextafter(weights.flat[0], np.float32(1))


def by_statistics(model: SlowFast) -> None:
    model.slow.stem.norm.running_mean[-1] += 1e-6


def by_loading(model: SlowFast) -> None:
    model.load_state_dict({name: value * 1.01 for name, value in model.state_dict().items()})


def by_another_head(model: SlowFast) -> None:
    model.reset_classifier(4)


def by_assignment(model: SlowFast) -> None:
    model.load_state_dict({name: value.clone() for name, value in model.state_dict().items()}, assign=True)
    by_data(model)


def by_exchange(model: SlowFast) -> None:
    for tensor in (model.classifier.weight.data, model.classifier.bias.data):
        tensor[:] = tensor.flip(0).clone()


@pytest.mark.parametrize(
    "change",
    [
        by_training,
        by_data,
        by_memory,
        by_statistics,
        by_loading,
        by_another_head,
        by_assignment,
        by_exchange,
    ],
)
def test_changed_weights_are_noticed(change: object) -> None:
    model = make_model()
    video = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), np.uint8)
    predict(model, video, engine="eager", fps=25)
    change(model)  # type: ignore[operator]
    answer = predict(model, video, engine="eager", topk=None, fps=25)
    alone = predict(optimize(model, "eager"), video, topk=None, fps=25)
    assert (answer.labels, answer.scores) == (alone.labels, alone.scores)


class Scaled(nn.Module):
    """Code of a user's, with numbers that no list of parameters has."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.array, self.tensor, self.several = inner, np.ones(2), torch.ones(2), {1}

    def forward(self, clip: Tensor) -> Tensor:
        given: Tensor = self.inner(clip)
        return given * float(self.array.sum()) * float(self.tensor.sum()) * len(self.several)


def test_changes_of_what_a_users_module_holds_are_noticed(built: list[object]) -> None:
    model = make_model()
    scaled = Scaled(model.slow.stem.conv)
    model.slow.stem.conv = scaled  # type: ignore[assignment]
    named(model)
    named(model)
    assert len(built) == 1
    scaled.array[1] = 2
    named(model)
    scaled.tensor.data[1] = 2
    named(model)
    scaled.several.add(2)
    named(model)
    named(model)
    assert len(built) == 4


def test_an_engine_of_a_model_that_changes_while_it_is_built_is_not_found_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_model()
    before = next(model.parameters()).detach().clone()

    def trained_meanwhile(*arguments: object, **named: object) -> OptimizedModel:
        fast = optimize(*arguments, **named)  # type: ignore[arg-type]
        by_data(model)
        return fast

    with monkeypatch.context() as patch:
        patch.setattr(kept, "optimize", trained_meanwhile)
        first = named(model)
    next(model.parameters()).data.copy_(before)
    assert named(model) is not first


def test_a_weight_that_is_small_changes_the_state() -> None:
    model = make_model()
    for change in (by_data, by_memory, by_statistics, by_exchange):
        before = named(model)
        change(model)
        assert named(model) is not before, change.__name__


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("first", [0, 1])
def test_the_checksum_of_a_large_weight_changes_with_every_place(dtype: torch.dtype, first: int) -> None:
    """Also where numbers differ in their upper bits alone."""
    for weight in (torch.randn(520, 129, 3).to(dtype), torch.ones(520, 129, 3, dtype=dtype)):
        weight.view(-1)[:1000:2] = 2
        numbers = torch.cat([weight.new_zeros(first), weight.flatten()])[first:]
        seen = {int(kept._by_place(numbers))}
        others = [weight.flip(dim) for dim in range(3)]
        for one, other in ((0, 1), (1, 2), (1, 600), (3, 7777), (77, 150_003), (999, 201_239)):
            others.append(weight.clone())
            others[-1].view(-1)[[one, other]] = weight.view(-1)[[other, one]]
        changed = [each for each in others if not torch.equal(each, weight)]
        assert len(changed) > 3
        for each in changed:
            numbers[:] = each.flatten()
            seen.add(int(kept._by_place(numbers)))
        assert len(seen) == 1 + len(changed)


def test_engines_go_with_their_model_and_the_oldest_for_a_third(
    built: list[weakref.ref[OptimizedModel]],
) -> None:
    models = [make_model() for _ in range(3)]
    for model in models:
        named(model)
    gc.collect()
    assert [engine() is None for engine in built] == [True, False, False]
    del model, models[2]
    gc.collect()
    assert [engine() is None for engine in built] == [True, False, True]


def test_engines_of_the_latest_sizes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimize_module, "_SHAPES", 2)
    fast, model = optimize(make_model(), "eager"), make_model()
    runs: dict[int, weakref.ref[object]] = {}
    for width in (32, 48, 32, 64):
        clip = torch.randn(1, 3, 8, 32, width)
        with torch.no_grad():
            assert torch.allclose(fast(clip), model(clip), atol=1e-3)
        runs.setdefault(width, weakref.ref(fast._runs[3, 8, 32, width]))
    gc.collect()
    assert [runs[width]() is None for width in (32, 48, 64)] == [False, True, False]


def test_auto_counts_the_clips_of_all_calls(built: list[object]) -> None:
    model = heavy(make_model())
    answers = [optimized(model, "auto", "float32", CPU, 1) for _ in range(60)]
    assert answers[0] is None
    assert len(built) == 1
    assert answers[-1] is not None and answers[-1].engine == "eager"
    more = [optimized(model, "auto", "float32", CPU, clips) for clips in (400, 1, None, 1)]
    assert [fast and fast.engine for fast in more] == ["openvino"] * 4
    assert len(built) == 2, "never back to one that pays for fewer clips"
    by_data(model)
    assert optimized(model, "auto", "float32", CPU, 1) is None, "other weights are a new model"


def test_threads_share_one_engine(built: list[object]) -> None:
    model = make_model()
    clip = torch.randn(1, 3, 8, 64, 64)
    answers: list[Tensor] = []

    def ask() -> None:
        fast = named(model)
        assert fast is not None
        answers.append(fast(clip))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert all(torch.equal(answer, answers[0]) for answer in answers) and len(answers) == 8


def test_what_took_the_place_of_autos_choice_stays(built: list[object]) -> None:
    model = heavy(make_model())
    first = optimized(model, "auto", "float32", CPU, 400)
    assert first is not None and first.engine == "openvino"
    first.engine = "eager"  # as where OpenVINO fails
    assert optimized(model, "auto", "float32", CPU, 400) is first and len(built) == 1


def test_a_caller_who_knows_no_number_gives_no_engine_up(
    built: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody's number stands for a hundred clips, which may be too few for the engine that is there."""
    monkeypatch.setattr(
        kept, "choose", lambda *asked: "openvino" if (asked[-1] or kept.UNANNOUNCED) > 200 else "eager"
    )
    model = heavy(make_model())
    first = optimized(model, "auto", "float32", CPU, 400)
    assert first is not None and first.engine == "openvino"
    again = [optimized(model, "auto", "float32", CPU, clips) for clips in (None, 400, None)]
    assert again == [first] * 3 and len(built) == 1
