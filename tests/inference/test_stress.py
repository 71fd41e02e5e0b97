"""What reads a model doesn't change it: many callers at once, each with the answers that it gets alone."""

from __future__ import annotations

import copy
import functools
import threading
import types
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from support.movies import moving_pattern
from support.small_nets import SMALL, make_model
from torch import Tensor, nn
from torch.nn import functional as F

from slowfast_zoo import SlowFast, evaluate, predict, predict_many
from slowfast_zoo.errors import InputError
from slowfast_zoo.inference.runner import read_ahead
from slowfast_zoo.inference.verify.stages import run_network
from slowfast_zoo.network.twin import eval_twin
from slowfast_zoo.training.finetune.probe import probe_features

CALLERS = 8
ROUNDS = 5
VIDEOS = [moving_pattern(12, 32, 40, seed) for seed in range(4)]


class Noise(torch.utils.data.Dataset[Any]):
    """Four clips of noise with labels."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        generator = torch.Generator().manual_seed(index)
        return torch.randn(3, 8, 32, 32, generator=generator), index


@pytest.fixture
def model() -> SlowFast:
    """A model with dropout, a window head and a frozen part: its mode changes every number."""
    spec = SMALL.replace(dropout=0.5, head_pool="window_probs", head_window=1)
    model = make_model(spec)
    model.clip_spec = model.clip_spec.replace(size=32, crop=32, test_crop=32)
    model.freeze("stem")
    return model


def answers_of(model: SlowFast) -> list[Any]:
    """What a quiet caller is told."""
    told = list(predict_many(model, VIDEOS, topk=None))
    return [(answer.labels, answer.scores) for answer in told]


def state_of(model: SlowFast) -> tuple[Any, ...]:
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    learning = {name: value.requires_grad for name, value in model.named_parameters()}
    return tensors, learning, [type(module) for module in model.modules()]


def same_state(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    equal = all(torch.equal(value, other[0][name]) for name, value in one[0].items())
    return equal and one[1:] == other[1:]


def test_many_callers_share_a_model_whose_owner_changes_its_mode(model: SlowFast) -> None:
    quiet = answers_of(model)
    noise = Noise()
    quiet_scores = np.stack(evaluate(model, noise, device="cpu", progress=False).scores)
    quiet_features = probe_features(model, noise, device="cpu", progress=False).features
    before = state_of(model)
    wrong: list[str] = []
    counts = [0] * CALLERS
    stop = threading.Event()

    def checked(caller: int, name: str, right: bool, answers: int = 1) -> None:
        counts[caller] += answers
        if not right:
            wrong.append(name)

    def interleaved(caller: int) -> None:
        runs: list[Iterator[Any]] = [iter(predict_many(model, VIDEOS, topk=None)) for _ in range(3)]
        dropped = iter(predict_many(model, VIDEOS, topk=None))
        next(dropped)
        for number, expected in enumerate(quiet):
            alone = predict(model, VIDEOS[number], topk=None)
            checked(caller, "alone", (alone.labels, alone.scores) == expected)
            for run in runs:
                answer = next(run)
                checked(caller, "interleaved", (answer.labels, answer.scores) == expected)
            if number == 1:
                dropped.close()  # type: ignore[attr-defined]

    def scored(caller: int) -> None:
        scores = evaluate(model, noise, device="cpu", progress=False).scores
        checked(caller, "evaluate", np.array_equal(np.stack(scores), quiet_scores), len(scores))
        features = probe_features(model, noise, device="cpu", progress=False).features
        checked(caller, "features", torch.equal(features, quiet_features), len(features))

    def caller(number: int) -> None:
        for _ in range(ROUNDS):
            (scored if number < 2 else interleaved)(number)

    def owner() -> None:
        while not stop.wait(0.001):
            model.train()
            model.eval()

    toggler = threading.Thread(target=owner)
    toggler.start()
    try:
        with ThreadPoolExecutor(CALLERS) as pool:
            list(pool.map(caller, range(CALLERS)))
    finally:
        stop.set()
        toggler.join()
    assert wrong == []
    assert sum(counts) >= 500
    assert same_state(before, state_of(model))


@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_readers_leave_the_mode_alone(model: SlowFast, mode: bool) -> None:
    clip = torch.randn(2, 3, 8, 32, 32)
    readers: dict[str, Callable[[], object]] = {
        "predict": lambda: predict(model, VIDEOS[0]),
        "evaluate": lambda: evaluate(model, Noise(), device="cpu", progress=False),
        "features": lambda: probe_features(model, Noise(), device="cpu", progress=False),
        "verify": lambda: run_network("net", model, clip),
    }
    model.train(mode)
    modes = [module.training for module in model.modules()]
    before = state_of(model)
    for name, read in readers.items():
        read()
        assert [module.training for module in model.modules()] == modes, name
        assert same_state(before, state_of(model)), name


def test_train_between_two_answers_changes_neither(model: SlowFast) -> None:
    quiet = answers_of(model)
    run = iter(predict_many(model, VIDEOS, topk=None))
    told = [next(run)]
    model.train()
    told += run
    assert [(answer.labels, answer.scores) for answer in told] == quiet
    assert model.training, "the owner's train() was undone"


def test_new_weights_give_new_answers(model: SlowFast) -> None:
    """In place, as optimizers write; through load_state_dict; and with another head."""
    first = answers_of(model)
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(1.5)
    second = answers_of(model)
    other = copy.deepcopy(model)
    other.load_state_dict(make_model(model.spec).state_dict())
    assert first != second
    assert answers_of(other) == first
    other.reset_classifier(2)
    assert len(answers_of(other)[0][0]) == 2


def test_a_twin_elsewhere_leaves_the_model_where_it_is(model: SlowFast) -> None:
    twin = eval_twin(model, torch.device("meta"))
    assert {value.device.type for value in twin.state_dict().values()} == {"meta"}
    assert {value.device.type for value in model.state_dict().values()} == {"cpu"}
    assert [name for name, value in twin.named_parameters() if value.requires_grad] == [
        name for name, value in model.named_parameters() if value.requires_grad
    ]


def test_a_twin_shares_every_number_and_keeps_shared_modules_shared() -> None:
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, nn.BatchNorm1d(3), shared).train()
    twin = eval_twin(model)
    assert twin[0] is twin[2] and twin[0] is not shared
    for one, other in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        assert one.data_ptr() == other.data_ptr()
    assert model.training and shared.training and not twin[1].training


def test_a_model_compiled_in_place_is_read_in_eval_mode(model: SlowFast) -> None:
    clip = torch.randn(1, 3, 8, 32, 32)
    expected = model(clip)
    model.train()
    model.compile(backend="eager")
    assert torch.equal(eval_twin(model)(clip), expected)


def compiled(module: nn.Module) -> None:
    module.forward = torch.compile(module.forward, backend="eager")


def bound(module: nn.Module) -> None:
    inner = type(module).forward
    module.forward = types.MethodType(lambda self, *given: inner(self, *given), module)


def partial(module: nn.Module) -> None:
    module.forward = functools.partial(type(module).forward, module)


@pytest.mark.parametrize("place", ["", "slow.stem", "fast.stage2.0"])
@pytest.mark.parametrize("put", [compiled, bound, partial])
def test_a_forward_put_in_its_place_is_read_in_eval_mode(
    model: SlowFast, place: str, put: Callable[[nn.Module], None]
) -> None:
    clip = torch.randn(1, 3, 8, 32, 32)
    expected = model(clip)
    put(model.train().get_submodule(place))
    before = copy.deepcopy(model.state_dict())
    torch.testing.assert_close(eval_twin(model)(clip), expected, atol=1e-5, rtol=1e-5)
    assert {value.device.type for value in eval_twin(model, torch.device("meta")).parameters()} == {"meta"}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Pair(NamedTuple):
    """Two modules."""

    norm: nn.Module
    last: nn.Module


class Listed(nn.Module):
    """Keeps modules where torch doesn't see them."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier
        last = {"last": Pair(nn.BatchNorm1d(1).eval(), classifier)}
        self.steps = [nn.Dropout(0.9), OrderedDict(last)]

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.steps[1]["last"][1](self.steps[1]["last"][0](self.steps[0](features)))


def test_modules_in_lists_are_read_in_eval_mode(model: SlowFast) -> None:
    clip = torch.randn(1, 3, 8, 32, 32)
    norm = model.classifier = Listed(model.classifier)
    norm.steps[0].eval()
    expected = model(clip)
    for module in (model, norm.steps[0], norm.steps[1]["last"][0]):
        module.train()
    twin = eval_twin(model)
    assert torch.equal(twin(clip), expected)
    assert twin.classifier.steps[1]["last"][1] is twin.classifier.classifier
    assert norm.steps[1]["last"][0].num_batches_tracked == 0 and norm.steps[0].training


def closing_over(module: nn.Module) -> None:
    forward = module.forward
    module.forward = lambda *given: forward(*given)


def decorated(module: nn.Module) -> None:
    module.forward = torch.no_grad()(module.forward)


@pytest.mark.parametrize("put", [closing_over, decorated])
@pytest.mark.parametrize("place", ["", "slow.stage3", "fast.stage2.0"])
def test_what_a_forward_closes_over_is_read_in_eval_mode(
    model: SlowFast, place: str, put: Callable[[nn.Module], None]
) -> None:
    clip = torch.randn(1, 3, 8, 32, 32)
    expected = model(clip)
    put(model.train().get_submodule(place))
    before = copy.deepcopy(model.state_dict())
    assert torch.equal(eval_twin(model)(clip), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Adapter(nn.Module):
    """Changes what comes to a layer, and forgets half of it in training."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def before(self, _: nn.Module, given: tuple[Tensor]) -> Tensor:
        return self.drop(given[0])


def test_hooks_that_are_methods_of_modules_are_read_in_eval_mode(model: SlowFast) -> None:
    clip = torch.randn(1, 3, 8, 32, 32)
    expected = model(clip)
    model.adapter = Adapter()
    model.classifier.register_forward_pre_hook(model.adapter.before)
    assert torch.equal(eval_twin(model.train())(clip), expected)


@pytest.mark.parametrize("forward", [torch.relu, lambda x: x.relu(), F.relu, nn.ReLU().forward])
def test_a_forward_that_holds_no_module_is_called_as_it_is(
    model: SlowFast, forward: Callable[[Tensor], Tensor]
) -> None:
    clip = torch.randn(1, 3, 8, 32, 32)
    expected = model(clip)
    model.slow.stage3[0].relu.forward = forward
    model.forward_calls = Counter()
    assert torch.equal(eval_twin(model.train())(clip), expected)
    assert eval_twin(model, torch.device("meta")).forward_calls is model.forward_calls


GLOBAL = nn.Module()


def by_global_name(maps: Tensor) -> Tensor:
    return GLOBAL.forward(maps)


def test_a_forward_that_calls_the_model_by_a_global_name_is_refused_where_that_would_train(
    model: SlowFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = torch.randn(1, 3, 8, 32, 32)
    expected = model(clip)
    monkeypatch.setitem(globals(), "GLOBAL", copy.deepcopy(model.slow.stage3))
    model.slow.stage3.forward = by_global_name
    assert torch.equal(eval_twin(model)(clip), expected)
    for train, device in ((False, torch.device("meta")), (True, None)):
        GLOBAL.train(train)
        with pytest.raises(InputError, match=r"has at 'slow.stage3' a forward.* by a global name"):
            eval_twin(model, device)


def test_attributes_of_any_kind_are_left_alone(model: SlowFast) -> None:
    model.itself = [[1]]
    model.itself[0].append(model.itself)
    model.config, model.mocked = Default(), MagicMock()
    model.many = {number: [number] for number in range(2000)}
    twin = eval_twin(model)
    assert (twin.itself, twin.config, twin.mocked, twin.many) == (
        *(model.itself, model.config, model.mocked, model.many),
    )


class Default(dict[str, Any]):
    """Has every attribute."""

    def __getattr__(self, name: str) -> str:
        return "missing"


def test_a_traced_module_is_read(model: SlowFast) -> None:
    clip = torch.randn(1, 3, 8, 32, 32)
    expected = model(clip)
    example = torch.randn(1, model.classifier.in_features)
    model.classifier = torch.jit.trace(nn.Sequential(model.classifier).eval(), example)
    torch.testing.assert_close(eval_twin(model)(clip), expected, atol=1e-5, rtol=1e-5)


def test_ctrl_c_while_the_reading_thread_starts_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, closed = threading.Event(), threading.Event()

    def items() -> Generator[int, None, None]:
        try:
            begun.set()
            closed.wait(0.2)  # still at work when the other thread gives up
            yield 1
        finally:
            closed.set()

    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        begun.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(read_ahead(items(), 2))
    assert closed.is_set(), "what was read from is let go"
