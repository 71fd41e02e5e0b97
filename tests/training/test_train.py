"""The training loop: exact resumption, several processes, numerics, statistics, files and refusals."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.small_nets import needs_bfloat16, weights_of
from support.training_clips import (
    CONFIG,
    SPEC,
    Clips,
    Fixed,
    Long,
    assert_same,
    log_of,
    make_model,
)
from torch import Tensor, nn
from training.processes import in_child, two_processes

from slowfast_zoo.data.dataset import ReplacingDataset
from slowfast_zoo.data.loader import StepKeys
from slowfast_zoo.errors import CheckpointError, DataError, InputError, TrainingError, VideoError
from slowfast_zoo.evaluation.evaluate import evaluate
from slowfast_zoo.files import TEMPORARY_SUFFIX
from slowfast_zoo.inference.engines import trial
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.runtime import precision
from slowfast_zoo.runtime.convolutions import Convolution
from slowfast_zoo.spec import ModelSpec
from slowfast_zoo.training.finetune.asked import check_model
from slowfast_zoo.training.log import unread
from slowfast_zoo.training.state import LAST, RESUME, read_resume
from slowfast_zoo.training.train import check_forward_is_right, train
from slowfast_zoo.weights.saved.file import read_file

STOPPED = CONFIG.replace(precise_bn_batches=2)
THAWING = CONFIG.replace(thaw_at=0.5)
LONG = SPEC.replace(alpha=1, num_frames=8)
NUMERICS = CONFIG.replace(epochs=1, lr=0.002)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads split sums in another way, so bit-identity needs their number to be equal everywhere."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_training_learns_and_says_so(tmp_path: Path) -> None:
    model = make_model(SPEC.replace(dropout=0.0))
    model.provenance = {"model": "its name", "tag": "published", "verified": True}
    config = CONFIG.replace(epochs=6, batch_size=4, lr=0.05, validate_every=3, precise_bn_batches=2)
    result = train(model, Clips(12), config, work_dir=tmp_path / "a b/ü", validation=Clips(6))
    assert not model.training
    assert model.provenance == read_file(result.last).provenance, "it isn't the published one any more"
    assert model.provenance["model"] == "its name" and "tag" not in model.provenance
    assert model.provenance["initialized_from"] == {"tag": "published", "verified": True}
    assert result.steps == 18 and result.metrics["top1_acc"] == 1.0
    assert result.best_metrics["epoch"] in (3, 6)
    lines = log_of(result.work_dir)
    assert lines[0]["mode"] == "start" and lines[0]["config"] == config.to_dict()
    assert [line["epoch"] for line in lines if line["mode"] == "val"] == [3, 6]
    steps = [line for line in lines if line["mode"] == "train"]
    assert [(line["epoch"], line["iter"]) for line in steps[:4]] == [(1, 1), (1, 2), (1, 3), (2, 1)]
    assert {"lr", "data_time", "time", "loss", "top1_acc", "top5_acc", "grad_norm"} <= steps[0].keys()
    assert steps[0]["lr"] == pytest.approx(0.005)
    assert steps[-1]["loss"] < steps[0]["loss"]
    reloaded = read_file(result.last)
    assert reloaded.spec == model.spec
    assert_same(weights_of(reloaded), weights_of(model))
    assert result.best is not None and not list(result.work_dir.glob(f"*{TEMPORARY_SUFFIX}"))


def test_of_equally_good_epochs_the_last_is_best(tmp_path: Path) -> None:
    model = make_model(SPEC.replace(dropout=0.0))
    model.freeze(None, norms=True)
    config = CONFIG.replace(epochs=3, lr=1e-12, validate_every=1)
    result = train(model, Clips(8), config, work_dir=tmp_path, validation=Clips(6))
    scores = {line["top1_acc"] for line in log_of(tmp_path) if line["mode"] == "val"}
    assert len(scores) == 1
    assert result.best_metrics["epoch"] == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_trainings_resume_bit_by_bit(tmp_path: Path) -> None:
    child = in_child(Path(__file__).with_name("kills.py"), tmp_path, "5", str(random.randrange(1000)))
    assert child.wait(300) == 0


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Weights of a training that nothing interrupted."""
    model = make_model()
    train(model, Clips(), STOPPED, work_dir=tmp_path_factory.mktemp("unbroken"))
    return weights_of(model)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
@pytest.mark.parametrize(
    ("name", "error", "read", "done"),
    [
        ("SIGINT", KeyboardInterrupt, 5, 3),
        ("SIGTERM", SystemExit, 5, 3),
        ("SIGTERM", SystemExit, 20, 8),  # the caller may have more to do than this training
    ],
)
def test_asked_to_stop_it_keeps_what_is_done(
    name: str,
    error: type[BaseException],
    read: int,
    done: int,
    unbroken: dict[str, Tensor],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(error):
        train(make_model(), Clips(poison=read, act=name), STOPPED, work_dir=tmp_path / "asked")
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert f"Stopped after step {done} of 8; --resume (resume=True) goes on from there." in caplog.text
    resumed = make_model()
    train(resumed, Clips(), STOPPED, work_dir=tmp_path / "asked", resume=True)
    assert_same(weights_of(resumed), unbroken)
    assert [line["step"] for line in log_of(tmp_path / "asked") if line["mode"] == "start"] == [0, done]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
def test_asked_to_stop_with_all_its_processes_it_keeps_what_is_done(tmp_path: Path) -> None:
    """As schedulers ask: the signal goes to the processes that read clips, too."""
    child = in_child(__file__, tmp_path, "asked", session=True)
    deadline = time.monotonic() + 100
    while not (tmp_path / "reads").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGTERM)
    assert child.wait(60) == 128 + signal.SIGTERM
    assert 0 < read_resume(tmp_path / "work" / RESUME)["step"] < 100


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C is an exception also in what runs in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
def test_the_steps_of_an_epoch_are_safe_before_it_is_measured(
    interruptible: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Asked to stop twice in each validation, at the step at which frozen parts thaw, too."""
    config = STOPPED.replace(thaw_at=0.5, ema=0.5, validate_every=1)

    def run(name: str, validation: Clips, **how: Any) -> SlowFast:
        model = make_model()
        model.freeze("stage3")
        train(model, Clips(), config, work_dir=tmp_path / name, validation=validation, **how)
        return model

    whole = run("whole", Clips(6))
    for resume in (False, True):
        with pytest.raises(KeyboardInterrupt):
            run("asked", Impatient(6), resume=resume)
        assert "Stopping after this step or validation; a second signal stops at once." in caplog.text
        assert read_resume(tmp_path / "asked" / RESUME)["step"] == 4
    assert not (tmp_path / "asked" / LAST).exists(), "nothing is known of these weights"
    assert_same(weights_of(run("asked", Clips(6), resume=True)), weights_of(whole))
    scores = [
        [line for line in log_of(tmp_path / name) if line["mode"] == "val"] for name in ("asked", "whole")
    ]
    assert scores[0] == scores[1] and len(scores[0]) == 2


class Impatient(Clips):
    """Asks to stop with its second and its third clip."""

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        if index in (1, 2):
            os.kill(os.getpid(), signal.SIGINT)
        deadline = time.monotonic() + 60  # two that come at once are one
        while signal.getsignal(signal.SIGINT) != signal.default_int_handler and index == 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return super().__getitem__(index)


def test_progress_is_shown_off_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(make_model(), Clips(4), CONFIG.replace(validate_every=1), work_dir=tmp_path, validation=Clips(3))
    lines = capsys.readouterr().err.splitlines()
    found = [line for line in lines if line.startswith("train: epoch")]
    assert len(found) == 2
    assert found[0].startswith("train: epoch 1 of 2, validation: top1_acc 0.")


def test_a_training_leaves_generators_and_gradients_as_they_were(tmp_path: Path) -> None:
    model, state = make_model(), torch.get_rng_state()
    train(model, Clips(4), CONFIG, work_dir=tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_rate_that_is_too_high_is_named(tmp_path: Path) -> None:
    config = CONFIG.replace(lr=1e4, schedule="constant", warmup_epochs=0, grad_clip=None, validate_every=1)
    with pytest.raises(
        TrainingError, match=r"NaN.*The learning rate is 10000; lower it|learning rate \(10000 at"
    ):
        train(make_model(), Clips(), config, work_dir=tmp_path, validation=Clips(3))


def test_two_processes_equal_one_and_score_each_video_once(tmp_path: Path) -> None:
    children = two_processes(__file__, tmp_path)
    model = make_model(SPEC.replace(dropout=0.0))
    model.freeze("stage2", norms=True)
    alone = THAWING.replace(batch_size=4)
    train(model, Clips(10), alone, work_dir=tmp_path / "one", validation=Clips(7))
    assert [child.wait(150) for child in children] == [0, 0]
    both = read_file(tmp_path / "two" / LAST)
    for name, tensor in weights_of(both).items():
        torch.testing.assert_close(tensor, model.state_dict()[name], atol=1e-5, rtol=0, msg=name)
    reports = [json.loads((tmp_path / f"report{rank}.json").read_text()) for rank in range(2)]
    for report in reports:
        assert report["refusal"].endswith(
            "holds a training already; resume it, or choose another work directory."
        )
    assert sorted(reports[0]["read"] + reports[1]["read"]) == list(range(7))
    assert reports[0]["videos"] == reports[1]["videos"] == [f"clips/{index}.mp4" for index in range(7)]
    expected = evaluate(both, Fixed(7), device="cpu")
    for report in reports:
        np.testing.assert_allclose(report["scores"], np.stack(expected.scores), atol=1e-6)
    logs = [
        [line["loss"] for line in log_of(tmp_path / folder) if line["mode"] == "train"]
        for folder in ("one", "two")
    ]
    assert logs[0] == pytest.approx(logs[1], rel=1e-4)


def test_accumulated_passes_equal_one_large_batch(tmp_path: Path) -> None:
    results = []
    for name, changes in (("whole", {"batch_size": 4}), ("parts", {"batch_size": 1, "accumulate": 4})):
        model = make_model(SPEC.replace(dropout=0.0))
        model.freeze(None, norms=True)
        train(model, Clips(), CONFIG.replace(**changes), work_dir=tmp_path / name)
        results.append(weights_of(model))
    for name, tensor in results[0].items():
        torch.testing.assert_close(tensor, results[1][name], atol=1e-6, rtol=1e-5, msg=name)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> SlowFast:
    """Trained in float32, as the variants are compared with."""
    model = make_model(LONG)
    train(model, Long(4), NUMERICS, work_dir=tmp_path_factory.mktemp("plain"))
    return model


@pytest.mark.parametrize(
    "changes, tolerance",
    [
        ({"activation_checkpointing": True}, 0.0),
        ({"channels_last": False}, 1e-4),
        pytest.param({"precision": "bfloat16"}, 0.1, marks=needs_bfloat16),
    ],
)
def test_numerics_variants_train_the_same(
    plain: SlowFast, tmp_path: Path, changes: dict[str, Any], tolerance: float
) -> None:
    variant = make_model(LONG)
    train(variant, Long(4), NUMERICS.replace(**changes), work_dir=tmp_path)
    for name, parameter in variant.named_parameters():
        assert parameter.dtype == torch.float32
        torch.testing.assert_close(parameter, plain.get_parameter(name), atol=tolerance, rtol=0, msg=name)
    if "precision" in changes:
        assert not torch.equal(variant.slow.stem.conv.weight, plain.slow.stem.conv.weight), "it had no effect"


@pytest.mark.parametrize(("own", "configured"), [(True, False), (False, True)])
def test_activation_checkpointing_is_the_models_own_or_the_trainings(
    own: bool, configured: bool, tmp_path: Path
) -> None:
    model, seen = make_model(), list[bool]()
    model.set_grad_checkpointing(own)
    model.register_forward_hook(lambda *_: seen.append(model._grad_checkpointing))
    train(model, Clips(), CONFIG.replace(activation_checkpointing=configured), work_dir=tmp_path)
    assert all(seen) and seen
    assert model._grad_checkpointing == own


def test_weights_in_other_numbers_than_float32_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"weights are bfloat16, and training keeps .*: model\.float\(\)"):
        train(make_model().bfloat16(), Clips(), CONFIG, work_dir=tmp_path)
    with pytest.raises(InputError, match="weights are float64"):
        check_model(make_model().double(), None, None)


@pytest.mark.usefixtures("bfloat16_kernels")
def test_bfloat16_is_refused_where_the_forward_pass_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for a processor with AMX, whose kernels for the lateral connections end the process."""

    def tried(convolutions: tuple[Convolution, ...], *_: object, **__: object) -> dict[Convolution, str]:
        assert {each.input[0] for each in convolutions} == {4}
        return {each: "it gives NaN" if each.stride[0] == 8 else "" for each in convolutions}

    monkeypatch.setattr(trial, "try_convolutions", tried)
    spec = ModelSpec(depth=14, base_width=8, alpha=8, num_frames=32, num_classes=3)
    for _ in range(2):
        with pytest.raises(TrainingError, match=r"bfloat16 is refused: .*stride \(8, 1, 1\).*take float32"):
            check_forward_is_right(spec, (4, 3, 32, 64, 64), "bfloat16", False)
    check_forward_is_right(spec.replace(alpha=4), (4, 3, 32, 64, 64), "bfloat16", False)


def test_bfloat16_is_refused_where_torch_has_no_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16_kernels", lambda: False)
    with pytest.raises(TrainingError, match=r"bfloat16 is refused: .*no kernels.*take precision='float32'"):
        train(make_model(), Long(4), CONFIG.replace(precision="bfloat16"), work_dir=tmp_path)


def test_bfloat16_refuses_clips_that_torch_gets_wrong(tmp_path: Path) -> None:
    model = make_model()
    before = weights_of(model)
    for name, data in (("floats", Clips(4)), ("bytes", [(np.zeros((4, 32, 32, 3), np.uint8), 0)] * 4)):
        with pytest.raises(
            TrainingError, match=r"wrong gradients in bfloat16.*clips of 4 frames.*train in float32"
        ):
            train(model, data, CONFIG.replace(precision="bfloat16"), work_dir=tmp_path / name)
    assert_same(weights_of(model), before)


def test_float16_scales_the_loss_and_its_scale_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    config = CONFIG.replace(epochs=1, precision="float16")
    with pytest.raises(TrainingError, match="float16 needs a GPU; on this CPU take precision='float32'"):
        train(model, Clips(4), config, work_dir=tmp_path, device="cpu")
    # Slow here, but what a GPU does with the loss shows.
    monkeypatch.setattr("slowfast_zoo.training.train.check_forward_is_right", lambda *_: None)
    train(model, Clips(4), config, work_dir=tmp_path, device="cpu")
    state = torch.load(tmp_path / RESUME, weights_only=True)
    assert state["scaler"]["scale"] > 1
    assert all(torch.isfinite(tensor).all() for tensor in weights_of(model).values())


def test_several_labels_train_with_binary_cross_entropy(tmp_path: Path) -> None:
    model = make_model(SPEC.replace(activation="sigmoid", dropout=0.0))
    targets = [torch.tensor([float(i % 3 == c or c == 2) for c in range(3)]) for i in range(6)]
    data = Clips(6, targets=targets)
    result = train(model, data, CONFIG.replace(epochs=6, lr=0.05), work_dir=tmp_path, validation=data)
    assert result.best is not None and result.best_metrics["mean_average_precision"] > 0.8
    first = log_of(tmp_path)[1]
    assert "top1_acc" not in first
    expected = nn.functional.binary_cross_entropy_with_logits(
        torch.tensor([[0.0, 0.0, 0.0]]), targets[0].unsqueeze(0)
    )
    assert first["loss"] == pytest.approx(expected.item(), rel=0.2), "fresh classifiers give logits near 0"


def test_not_a_number_stops_with_the_names_of_the_clips(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"loss is nan at step \d+ of 8.*clips/5\.mp4"):
        train(make_model(), Clips(poison=5, act="nan"), CONFIG, work_dir=tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
def test_a_worker_that_is_killed_is_one_sentence(tmp_path: Path) -> None:
    killed, config = Clips(poison=2, act="SIGKILL"), CONFIG.replace(workers=1)
    sentence = r"^A process that reads clips has ended \(DataLoader worker \(pid[^.]*\), most likely"
    goes_on = r".*--resume \(resume=True\) goes on from the last checkpoint, if any(\.$|; in a script, )"
    with pytest.raises(TrainingError, match=sentence + goes_on):
        train(make_model(), killed, config, work_dir=tmp_path)
    with pytest.raises(TrainingError, match=r"nothing to resume in .*; leave out --resume \(resume=True\)"):
        train(make_model(), killed, config, work_dir=tmp_path, resume=True)
    with pytest.raises(TrainingError, match=sentence + goes_on):
        train(make_model(), Clips(), config, work_dir=tmp_path / "validated", validation=killed)
    with pytest.raises(DataError, match=sentence + r".*\(workers, --workers\), or 0(\.$|; in a script, )"):
        evaluate(make_model(), killed, workers=1, progress=False)


@pytest.mark.parametrize(
    "targets, message",
    [
        ([0, 1, 3, 0], r"clips/2\.mp4 has the label 3; accepted: 0 to 2"),
        ([0, 1, -1, 0], "has the label -1"),
        ([torch.zeros(3)] * 4, "takes one int per clip: read the data with one .leave out multi_label"),
        ([0, torch.zeros(3), 1, 2], "differ in kind"),
    ],
)
def test_targets_that_don_t_fit_are_refused(tmp_path: Path, targets: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        train(make_model(), Clips(4, targets=targets), CONFIG.replace(batch_size=4), work_dir=tmp_path)


class Beside(nn.Module):
    """A linear layer with a smaller one beside it, as adapters wrap them."""

    def __init__(self, base: nn.Linear, answers: int) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down, self.up = nn.Linear(base.in_features, 2), nn.Linear(2, answers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.pad(self.base(x), (0, self.up.out_features - 3)) + self.up(self.down(x))


def test_wrapped_layers_train_and_their_files_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = make_model()
    assert isinstance(model.classifier, nn.Linear)
    model.classifier = beside = Beside(model.classifier, 3)
    nn.utils.parametrizations.weight_norm(model.fast.stem.conv)
    before = weights_of(beside)
    result = train(model, Fixed(), CONFIG, work_dir=tmp_path, validation=Fixed(3))
    changed = {name for name, tensor in weights_of(beside).items() if not torch.equal(tensor, before[name])}
    assert changed == {"down.weight", "down.bias", "up.weight", "up.bias"}
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("The model isn't the network of model.spec (") and "fast.stem.conv.weight" in told
    with pytest.raises(CheckpointError, match=r"its names \('classifier\.base\.bias'"):
        read_file(result.last)
    twin = make_model()
    assert isinstance(twin.classifier, nn.Linear)
    twin.classifier = Beside(twin.classifier, 3)
    nn.utils.parametrizations.weight_norm(twin.fast.stem.conv)
    twin.load_state_dict(load_file(result.last))
    assert_same(weights_of(twin), weights_of(model))


def test_of_code_that_no_file_holds_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = make_model()
    model.slow.stem.relu = nn.SiLU()  # type: ignore[assignment]
    train(model, Fixed(), CONFIG, work_dir=tmp_path)
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(
        "The model computes something else than the network of model.spec (slow.stem.relu),"
    )


def test_a_wrapped_classifier_of_other_classes_is_refused(tmp_path: Path) -> None:
    model = make_model()
    assert isinstance(model.classifier, nn.Linear)
    model.classifier = Beside(model.classifier, 5)
    with pytest.raises(InputError, match=r"gives 5 numbers, model\.spec says 3 classes"):
        train(model, Fixed(), CONFIG, work_dir=tmp_path)


def test_what_can_t_be_trained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="training dataset is empty"):
        train(make_model(), Clips(0), CONFIG, work_dir=tmp_path)
    with pytest.raises(DataError, match="validation dataset is empty"):
        train(make_model(), Clips(), CONFIG, work_dir=tmp_path, validation=Clips(0))
    with pytest.raises(InputError, match="no classifier"):
        train(make_model(SPEC.replace(num_classes=0)), Clips(), CONFIG, work_dir=tmp_path)
    headed = make_model()
    headed.classifier = nn.Linear(headed.num_features, 5)
    with pytest.raises(InputError, match=r"isn't the network of model\.spec \(classifier\.weight, "):
        train(headed, Clips(), CONFIG, work_dir=tmp_path)
    wrapped: Any = nn.DataParallel(make_model())
    with pytest.raises(
        InputError, match=r"train takes a SlowFast model, got DataParallel \(give model\.module\)"
    ):
        train(wrapped, Clips(), CONFIG, work_dir=tmp_path)
    frozen = make_model()
    frozen.requires_grad_(False)
    with pytest.raises(InputError, match="frozen"):
        train(frozen, Clips(), CONFIG, work_dir=tmp_path)
    for wrong in ([1.0], [0.0] * 8, [-1.0] + [1.0] * 7, [float("nan")] * 8):
        with pytest.raises(InputError, match="sample_weights"):
            train(make_model(), Clips(), CONFIG, work_dir=tmp_path, sample_weights=wrong)
    with pytest.raises(TrainingError, match="nowhere"):
        train(make_model(), Clips(), CONFIG, work_dir=tmp_path, device="nowhere")
    with pytest.raises(VideoError, match="truncated"):
        train(make_model(), Clips(poison=3, act="unreadable"), CONFIG, work_dir=tmp_path)


def test_sample_weights_choose_the_clips(tmp_path: Path) -> None:
    data, weights = Clips(), [0, 1, 0, 0, 0, 3, 0, 0]
    train(make_model(), data, CONFIG, work_dir=tmp_path, sample_weights=weights)
    assert set(data.seen) == {1, 5}
    keys = StepKeys(
        8, micro_batch=8, micro_batches=1, steps_per_epoch=1, steps=range(500), seed=0, sample_weights=weights
    )
    drawn = [key.item for batch in keys for key in batch]
    assert drawn.count(5) / len(drawn) == pytest.approx(0.75, abs=0.03)


def test_one_class_and_a_last_odd_clip_train(tmp_path: Path) -> None:
    data = Clips(5, targets=[0] * 5)
    result = train(make_model(SPEC.replace(num_classes=1)), data, CONFIG, work_dir=tmp_path, validation=data)
    assert result.steps == 4 and result.metrics["top1_acc"] == result.metrics["top5_acc"] == 1.0


def test_frozen_parts_stay_as_they_are(tmp_path: Path) -> None:
    model = make_model()
    model.freeze("stage3")
    before = weights_of(model)
    train(model, Clips(), CONFIG.replace(precise_bn_batches=2), work_dir=tmp_path)
    after = weights_of(model)
    for name in before:
        part = name.split(".")[1]
        moved = part == "stage4" or name.startswith("classifier")
        assert moved or torch.equal(before[name], after[name]), name
    assert not torch.equal(before["classifier.weight"], after["classifier.weight"])


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
def test_frozen_parts_that_thaw_learn_from_there_on_and_resume_bit_by_bit(tmp_path: Path) -> None:
    """Stopped before, at and behind the step at which they thaw, which is the fourth of eight."""
    config = STOPPED.replace(thaw_at=0.4, ema=0.5, optimizer="adamw")

    def frozen() -> SlowFast:
        model = make_model()
        model.freeze("stage3")
        return model

    moved: list[bool] = []
    model, before = frozen(), frozen().slow.stem.conv.weight

    def look(line: dict[str, Any]) -> None:
        if line["mode"] == "train":
            moved.append(not torch.equal(model.slow.stem.conv.weight, before))

    train(model, Clips(), config, work_dir=tmp_path / "unbroken", listener=look)
    assert moved == [False] * 3 + [True] * 5
    assert model.frozen == ("stage3", False)
    assert not torch.equal(model.slow.stem.norm.running_mean, frozen().slow.stem.norm.running_mean)
    for reads in (5, 7, 11):
        work = tmp_path / str(reads)
        with pytest.raises(KeyboardInterrupt):
            train(frozen(), Clips(poison=reads, act="SIGINT"), config, work_dir=work)
        resumed = frozen()
        train(resumed, Clips(), config, work_dir=work, resume=True)
        assert_same(weights_of(resumed), weights_of(model))


def test_replaced_clips_are_counted_over_readers_and_interruptions(tmp_path: Path) -> None:
    """Four steps an epoch; it is stopped after the fifth."""
    config = CONFIG.replace(epochs=3)
    with pytest.raises(KeyboardInterrupt):
        data = Patchy({1, 2}, poison=9, act="SIGINT")
        train(make_model(), data, config, work_dir=tmp_path)
    counts = [line.get("unreadable") for line in log_of(tmp_path) if line["mode"] == "train"]
    assert counts[3:] == [2, 2]
    train(make_model(), Patchy({3}), config.replace(workers=2), work_dir=tmp_path, resume=True)
    assert log_of(tmp_path)[-1]["unreadable"] == 3
    assert unread(tmp_path / "log.jsonl").startswith("3 clips couldn't be read, and others took their place")


def test_a_training_counts_the_clips_that_it_met_itself_also_since_its_last_line(tmp_path: Path) -> None:
    """Two parts of one dataset; then three of eight clips, of which two steps of three have met one."""
    whole = Patchy({1, 2})
    for places, unreadable in ((range(4), 2), (range(4, 8), None)):
        work = tmp_path / str(places.start)
        train(make_model(), torch.utils.data.Subset(whole, places), CONFIG, work_dir=work)
        assert log_of(work)[-1].get("unreadable") == unreadable
    config = CONFIG.replace(epochs=1, log_every=20)
    with pytest.raises(KeyboardInterrupt):
        train(make_model(), Patchy({1, 2, 3}, poison=6, act="SIGINT"), config, work_dir=tmp_path)
    train(make_model(), Patchy(set()), config, work_dir=tmp_path, resume=True)
    assert log_of(tmp_path)[-1].get("unreadable", 0) > 0


def test_what_isnt_frozen_cant_thaw(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"thaw_at is 0\.5, and no part of the network is frozen: .*--freeze"
    ):
        train(make_model(), Clips(), CONFIG.replace(thaw_at=0.5), work_dir=tmp_path)


def test_the_callers_settings_come_back(tmp_path: Path) -> None:
    assert not torch.are_deterministic_algorithms_enabled()
    train(make_model(), Clips(2), CONFIG.replace(epochs=1), work_dir=tmp_path)
    assert not torch.are_deterministic_algorithms_enabled()


def _child(folder: Path) -> None:
    torch.set_num_threads(1)
    model = make_model(SPEC.replace(dropout=0.0))
    model.freeze("stage2", norms=True)
    train(model, Clips(10), THAWING, work_dir=folder / "two", validation=Clips(7))
    data = Seen(7)
    result = evaluate(model, data, device="cpu")
    try:
        train(model, Clips(10), CONFIG, work_dir=folder / "two")
        refusal = ""
    except TrainingError as error:
        refusal = str(error)
    report = {
        "refusal": refusal,
        "read": data.seen,
        "videos": result.names,
        "scores": [row.tolist() for row in result.scores],
    }
    (folder / f"report{os.environ['RANK']}.json").write_text(json.dumps(report))


class Patchy(ReplacingDataset):
    """Eight clips, of which some can't be read; as ``Clips``."""

    def __init__(self, bad: set[int], **how: Any) -> None:
        super().__init__(0.5)
        self.train, self.bad, self.clips = True, bad, Clips(**how)

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        return self._training_item(index)

    def _augmented(self, index: int, rng: np.random.Generator) -> Any:
        if index in self.bad:
            raise VideoError(f"clip {index} is truncated")
        return self.clips[index]


class Seen(Fixed):
    """Keeps which items were read."""

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        self.seen.append(index)
        return super().__getitem__(index)


class Slow(Clips):
    """Says when the eleventh clip is read, and takes its time."""

    def __init__(self, length: int, sign: Path) -> None:
        super().__init__(length)
        self.sign = sign

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        time.sleep(0.02)
        if len(self.seen) == 10:
            self.sign.touch()
        return super().__getitem__(index)


def _asked(folder: Path) -> None:
    torch.set_num_threads(1)
    data = Slow(200, folder / "reads")
    train(make_model(), data, CONFIG.replace(workers=1), work_dir=folder / "work", progress=False)


if __name__ == "__main__":
    (_asked if "asked" in sys.argv else _child)(Path(sys.argv[1]))
