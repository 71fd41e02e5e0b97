"""``train``: one loop for one process or, under ``torchrun``, many; interrupted, it goes on exactly."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import math
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slowfast_zoo.data.dataset import ClipDataset, check_dataset, check_purpose, name_of, names_of
from slowfast_zoo.data.loader import (
    PRECISE_BN,
    TRAINING,
    Batch,
    KeyedItems,
    StepKeys,
    killed_readers,
    load,
    normalized,
)
from slowfast_zoo.errors import ExportError, InputError, TrainingError
from slowfast_zoo.evaluation.evaluate import check_classes, check_targets, evaluate
from slowfast_zoo.evaluation.persons import evaluate_persons
from slowfast_zoo.files import expanded
from slowfast_zoo.inference.engines.trial import check_half_precision
from slowfast_zoo.network.slowfast import SlowFast, check_answers, check_part, check_slowfast
from slowfast_zoo.runtime.devices import deterministic, own_generators, sent
from slowfast_zoo.runtime.distributed import Processes, join
from slowfast_zoo.runtime.precision import Precision, autocast, float32_products
from slowfast_zoo.runtime.progress import Progress
from slowfast_zoo.spec import ModelSpec
from slowfast_zoo.training.augmentation import augmented, without_effect
from slowfast_zoo.training.batch_norm import shared_batch_norms, update_batch_norms
from slowfast_zoo.training.log import Listener, Meter, TrainLog
from slowfast_zoo.training.loss import loss_of
from slowfast_zoo.training.optimizer import WeightAverage, check_weights, make_optimizer
from slowfast_zoo.training.recipe import TrainConfig
from slowfast_zoo.training.schedule import Plan, learning_rate
from slowfast_zoo.training.state import (
    BEST,
    LAST,
    LOG,
    RESUME,
    begin_anew,
    check_same,
    learned_by,
    read_resume,
    save_weights,
    work_directory,
    write_resume,
)
from slowfast_zoo.weights.checkpoint.layers import check_trained_classifier, unread_layers
from slowfast_zoo.weights.saved.config import SavedConfig, after_training

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training left behind."""

    work_dir: Path
    """Folder of log and checkpoints."""
    last: Path
    """Weights after the last step (safetensors)."""
    best: Path | None
    """Weights with the best validation, of equal ones the last; None without validation."""
    best_metrics: dict[str, float]
    """Their metrics and "epoch", counted from 1."""
    metrics: dict[str, float]
    """Metrics of the last validation."""
    steps: int
    """Optimizer steps, those before a resumption too."""


@killed_readers(TrainingError, goes_on="; --resume (resume=True) goes on from the last checkpoint, if any")
def train(
    model: SlowFast,
    dataset: ClipDataset,
    config: TrainConfig,
    *,
    work_dir: str | Path,
    validation: ClipDataset | None = None,
    resume: bool = False,
    sample_weights: Sequence[float] | None = None,
    device: str | torch.device | None = None,
    progress: bool = True,
    listener: Listener | None = None,
) -> TrainResult:
    """Trains the model in place, leaves it in eval mode, and writes log and checkpoints.

    Frozen parts stay frozen, if the caller has frozen some, or learn from ``config.thaw_at`` on. Under
    ``torchrun`` every process calls this with the same arguments. Runs with equal seeds are equal up to the
    order of floating-point sums, and bit by bit with ``config.deterministic`` on one CPU.

    Args:
        model: what to train; ``spec.activation`` decides the loss, ``clip_spec`` how bytes are normalized.
        dataset: training clips (``slowfast_zoo.data.dataset``); its names become those of a model without.
        config: optimizer, schedule and numerics.
        work_dir: folder for ``log.jsonl``, ``last.safetensors``, ``best.safetensors`` and ``resume.pt``.
        validation: scored every ``config.validate_every`` epochs; decides what is best.
        resume: go on where the training in ``work_dir`` was interrupted.
        sample_weights: chance of each training clip, drawn with replacement; None: every clip once.
        device: None: the GPU of this process, or the CPU where there is none.
        progress: show a bar on a terminal and in notebooks, else a line every 30 seconds.
        listener: called in the first process with every line of the log, as a dictionary whose "mode" says
            what it is: "start", "train" or "val"; for TensorBoard and the like.

    Raises:
        TrainingError: files can't be written or resumed, a loss or gradient isn't finite, or a worker was
            killed.
        DataError: no clips, other or not all classes of the model, or a clip or target that doesn't fit.
        InputError: no SlowFast, one without classifier or with one that its spec doesn't describe, without
            anything to train or to thaw, whose weights aren't float32, whose record can't be saved, a wrong
            number of weights, or data opened for evaluation, with several views of a video.
    """
    check_trainable(model, dataset, validation, sample_weights, config)
    for data, learned in ((dataset, True), (validation, False)):
        if data is not None:
            check_classes(model, data, all_of_them=True)
            check_purpose(data, train=learned)
    names = names_of(dataset)
    if model.labels is None and names is not None and len(names) == model.num_classes:
        model.labels = names
    SavedConfig.of(model).to_json()  # refused before the work, not at the first checkpoint
    group = join(device)
    with contextlib.ExitStack() as stack, own_generators(group.device):
        folder = expanded(work_dir)
        group.from_first(lambda: stack.enter_context(work_directory(folder, resume=resume)))
        stack.enter_context(deterministic(config.deterministic))
        stack.enter_context(float32_products(config.precision, group.device))
        stack.callback(lambda: model.eval().zero_grad())
        stack.callback(model.set_grad_checkpointing, model._grad_checkpointing)
        if config.thaw_at < 1:
            up_to, norms = model.frozen
            stack.callback(model.freeze, up_to, norms=norms)
        stack.enter_context(shared_batch_norms(model, group, config.sync_batch_norms))
        trainer = _Trainer(model, dataset, config, folder, validation, group, sample_weights)
        vain = without_effect(config, clips=trainer.plan.micro_batch, persons=model.spec.roi is not None)
        for note in filter(None, (vain, unread_layers(model)) if group.first else ()):
            _LOGGER.warning("%s", note)
        return trainer.run(resume, progress, listener)


def check_trainable(
    model: SlowFast,
    dataset: ClipDataset,
    validation: ClipDataset | None,
    sample_weights: Sequence[float] | None,
    config: TrainConfig,
) -> None:
    """Refuses what no training can start with; the arguments are those of ``train``.

    Raises:
        InputError: no SlowFast, one without classifier, with one that its spec doesn't describe, without
            anything to train or to thaw, whose weights aren't float32, or a wrong number of weights.
        DataError: an empty dataset.
    """
    check_slowfast(model, "train")
    if model.spec.num_classes == 0:
        raise InputError("The model has no classifier; reset_classifier(num_classes) gives it one.")
    check_trained_classifier(model)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError("Every parameter of the model is frozen; there is nothing to train.")
    check_weights(model)
    if not isinstance(config, TrainConfig):
        raise InputError(f"config is a {type(config).__name__}; accepted: a TrainConfig.")
    check_thawing(config.thaw_at, model.frozen[0])
    check_dataset(dataset, "training dataset")
    if validation is not None:
        check_dataset(validation, "validation dataset")
    if sample_weights is not None:
        weights = torch.empty(0)
        with contextlib.suppress(TypeError, ValueError, RuntimeError):
            weights = torch.as_tensor(sample_weights, dtype=torch.float64, device="cpu").detach()
        if weights.shape != (len(dataset),) or not weights.min() >= 0 or not 0 < weights.sum() < math.inf:
            raise InputError(
                f"sample_weights are {weights.numel()} numbers for {len(dataset)} clips; accepted: one number"
                " of at least 0 per clip, not all of them 0."
            )


def check_thawing(thaw_at: float, frozen_up_to: str | None) -> None:
    """Refuses to freeze what isn't there, and to thaw what isn't frozen.

    Raises:
        InputError: nothing is frozen.
        UnknownNameError: no such part.
    """
    check_part(frozen_up_to)
    if thaw_at < 1 and frozen_up_to is None:
        raise InputError(
            f"thaw_at is {thaw_at:g}, and no part of the network is frozen: model.freeze(part), freeze_up_to"
            " or --freeze says what learns later."
        )


class _Trainer:
    """The state of one training: model, optimizer, position and the best validation so far."""

    def __init__(
        self,
        model: SlowFast,
        dataset: ClipDataset,
        config: TrainConfig,
        folder: Path,
        validation: ClipDataset | None,
        group: Processes,
        sample_weights: Sequence[float] | None,
    ) -> None:
        self.model, self.dataset, self.config, self.folder = model, dataset, config, folder
        self.validation, self.group, self.sample_weights = validation, group, sample_weights
        self.plan = Plan.of(config, len(dataset), group.world)
        self.layout = config.memory_format(group.device)
        model.to(group.device).to(memory_format=self.layout).train()
        model.set_grad_checkpointing(config.activation_checkpointing or model._grad_checkpointing)
        self.frozen = model.frozen
        self.learned = learned_by(model, self.frozen, sample_weights, dataset, validation)
        self.thaw_step = max(round(config.thaw_at * self.plan.steps), 1)
        if config.thaw_at < 1:  # the optimizer has what learns later, too, and leaves it alone until then
            model.freeze(None, norms=self.frozen[1])
        self.optimizer = make_optimizer(model, config)
        self.scaler = torch.amp.GradScaler(group.device.type, enabled=config.precision == "float16")
        self.average = WeightAverage(model, config.ema)
        self.done = self.validated = 0
        self.measured = True  # False: an epoch has ended, without its statistics and validation
        self.best: dict[str, float] = {}
        self.metrics: dict[str, float] = {}
        self.meter = Meter(group)

    def run(self, resume: bool, progress: bool, listener: Listener | None) -> TrainResult:
        """From the first step, or the one after the last checkpoint, to the last."""
        config, plan = self.config, self.plan
        self.progress = progress and self.group.first
        if resume:
            self._restore()
        with (
            Progress("train", plan.steps, done=self.done, unit="step", show=self.progress) as bar,
            _stop_signals() as signals,
        ):
            log = TrainLog(self.folder / LOG if self.group.first else None, bar, listener)
            log.write("start", config=config.to_dict(), step=self.done, **dataclasses.asdict(plan))
            if not self.measured:
                self._freeze(self.done - 1)
                self._end_epoch(log)
            network = self._network()
            batches = self._load(range(self.done, plan.steps))
            while self.done < plan.steps:
                epoch, iteration = divmod(self.done, plan.steps_per_epoch)
                lr = learning_rate(config, self.done, plan.steps_per_epoch, plan.lr)
                grad_norm = self._step(network, batches, lr)
                self.done += 1
                self.average.update(self.done)
                log.step(self.meter.loss)
                if (iteration + 1) % config.log_every == 0 or iteration + 1 == plan.steps_per_epoch:
                    where = {"epoch": epoch + 1, "iter": iteration + 1, "lr": lr}
                    log.write("train", **where, **self.meter.read(), grad_norm=grad_norm)
                if iteration + 1 == plan.steps_per_epoch:
                    self._end_epoch(log)
                elif config.checkpoint_steps and (iteration + 1) % config.checkpoint_steps == 0:
                    self._save()
                if self.done == self.thaw_step < plan.steps:
                    network = self._network()
                self._stop_if_asked(signals)
        self.average.keep()
        self.group.share(self.model.state_dict().values())  # the model that was saved, batch norms included
        self.model.provenance = after_training(self.model.provenance, self._notes())
        measured: Any = {"best_metrics": self.best, "metrics": self.metrics, "steps": self.done}
        measured["best"] = self.folder / BEST if self.best else None
        return TrainResult(work_dir=self.folder, last=self.folder / LAST, **measured)

    def _network(self) -> nn.Module:
        """What the next steps go through: the model, frozen as it is at this step."""
        self._freeze(self.done)
        return _distributed(self.model, self.group) if self.group.world > 1 else self.model

    def _freeze(self, step: int) -> None:
        if self.config.thaw_at < 1:
            up_to, norms = self.frozen
            self.model.freeze(up_to if step < self.thaw_step else None, norms=norms)

    def _stop_if_asked(self, signals: list[int]) -> None:
        """Saves what is done and ends the training, at its end too, all processes after the same step."""
        done, steps = self.done, self.plan.steps
        asked = torch.tensor(float(len(signals)), device=self.group.device)
        if not (self.group.sum(asked) if self.group.world > 1 else signals):
            return
        self._save()
        _LOGGER.warning(
            "Stopped after step %d of %d; --resume (resume=True) goes on from there.", done, steps
        )
        raise SystemExit(128 + signal.SIGTERM) if signal.SIGTERM in signals else KeyboardInterrupt()

    def _step(self, network: nn.Module, batches: Iterator[Batch], lr: float) -> float:
        """One optimizer step; the L2 norm of its gradients before clipping."""
        config = self.config
        # Dropout depends on the position alone, so that a resumed run needs no generator state.
        words = np.random.SeedSequence([config.seed, self.done, self.group.rank]).generate_state(1)
        torch.manual_seed(int(words[0]))
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = lr * parameters["scale"]
        self.optimizer.zero_grad(set_to_none=True)
        for micro in range(config.accumulate):
            started = time.perf_counter()
            batch = next(batches)
            data_time = time.perf_counter() - started
            check_targets(batch, self.model, self.dataset, train=True)
            last = micro + 1 == config.accumulate
            waits = isinstance(network, nn.parallel.DistributedDataParallel) and not last
            with network.no_sync() if waits else contextlib.nullcontext():  # type: ignore[operator]
                logits, loss = self._forward(network, batch)
                self.scaler.scale(loss / config.accumulate).backward()  # type: ignore[no-untyped-call]
            value = loss.item()  # after both passes, for a GPU works on while it is told the next
            if not math.isfinite(value):
                raise _not_finite(f"The loss is {value}", self, batch)
            self.meter.add(value, logits, batch.targets, data_time, time.perf_counter() - started)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.grad_clip or math.inf).item()
        if not math.isfinite(norm) and not self.scaler.is_enabled():
            raise _not_finite(f"The gradients' norm is {norm}", self, batch)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return norm

    def _forward(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        batch, mix = augmented(batch, self.config, self.model.clip_spec, self.group.device)
        logits = self._logits(network, batch)
        targets = sent(batch.targets, self.group.device)
        return logits, loss_of(logits, targets, self.model.spec.activation, self.config, mix)

    def _logits(self, network: nn.Module, batch: Batch) -> Tensor:
        clips = normalized(sent(batch.clips, self.group.device), self.model.clip_spec)
        boxes = [] if batch.boxes is None else [batch.boxes]
        if self.group.device.type == "cpu":
            check_passes(self.model.spec, clips, self.config.precision, self.layout)
        with autocast(self.group.device, self.config.precision):
            logits: Tensor = network(clips.contiguous(memory_format=self.layout), *boxes)
        return check_answers(logits, self.model.spec).float()

    def _end_epoch(self, log: TrainLog) -> None:
        """Statistics, validation and checkpoints after an epoch, whose steps are saved before."""
        config, epoch = self.config, self.done // self.plan.steps_per_epoch
        last = epoch == config.epochs
        statistics = config.precise_bn_batches > 0 and (last or epoch % config.precise_bn_every == 0)
        validates = self.validation is not None and (last or epoch % config.validate_every == 0)
        saves = last or epoch % config.checkpoint_every == 0
        self.measured = not (statistics or validates)
        if saves and not self.measured:
            self._save()
        with self.average.in_place():
            if statistics:
                self._precise_bn(epoch)
            if validates:
                self._validate(epoch, log)
        self.measured = True
        if saves:
            self._save()

    def _validate(self, epoch: int, log: TrainLog) -> None:
        """Metrics after that many epochs; what is best is saved."""
        lr = learning_rate(self.config, self.done - 1, self.plan.steps_per_epoch, self.plan.lr)
        self.group.share(self.model.buffers())  # as OpenMMLab does before it evaluates
        self.metrics = _validated(self, lr)
        self.validated = self.done
        log.write("val", epoch=epoch, iter=self.plan.steps_per_epoch, lr=lr, **self.metrics)
        log.validated(epoch, self.config.epochs, self.metrics)
        if not self.best or selection_score(self.metrics) >= selection_score(self.best):
            self.best = {"epoch": epoch, **self.metrics}
            if self.group.first:
                save_weights(self.model, self.folder / BEST, self._notes())

    def _precise_bn(self, epoch: int) -> None:
        clips_per_pass = self.plan.micro_batch * self.group.world
        count = min(self.config.precise_bn_batches, len(self.dataset) // clips_per_pass)
        steps = range((epoch - 1) * count, epoch * count)
        batches = self._load(steps, stream=PRECISE_BN, steps_per_epoch=count)
        update_batch_norms(self.model, batches, lambda batch: self._logits(self.model, batch))
        self.group.average_batch_norms(self.model)

    def _load(self, steps: range, *, stream: int = TRAINING, steps_per_epoch: int | None = None) -> Any:
        keys = StepKeys(
            len(self.dataset),
            micro_batch=self.plan.micro_batch,
            micro_batches=1 if stream == PRECISE_BN else self.config.accumulate,
            steps_per_epoch=steps_per_epoch or self.plan.steps_per_epoch,
            steps=steps,
            seed=self.config.seed,
            stream=stream,
            rank=self.group.rank,
            world=self.group.world,
            sample_weights=self.sample_weights,
        )
        items = KeyedItems(self.dataset, self.config.seed)
        return map(self.meter.replaced, load(items, keys, self.config.workers, self.group.device))

    def _save(self) -> None:
        """Everything that is needed to go on, and weights to use, unless they are still to be measured."""
        unreadable = self.meter.gathered()
        if not self.group.first:
            return
        if self.measured:
            with self.average.in_place():
                save_weights(self.model, self.folder / LAST, self._notes())
        state = {
            "settings": self._settings(),
            "learned": self.learned,
            "provenance": json.dumps(self.model.provenance),
            "step": self.done,
            "model": self.model.state_dict(),
            "average": self.average.state,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "unreadable": unreadable,
            **{name: getattr(self, name) for name in ("best", "measured", "metrics", "validated")},
        }
        write_resume(self.folder / RESUME, state)

    def _restore(self) -> None:
        """Takes over what an interrupted run of the same training has saved.

        Raises:
            TrainingError: nothing to resume, or another training.
        """
        state = read_resume(self.folder / RESUME)
        check_same(self.folder, state, self._settings(), self.learned)
        try:
            self.model.load_state_dict(state["model"])
            self.average.load(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (LookupError, RuntimeError, ValueError) as error:
            raise TrainingError(f"The training in {self.folder} is of another model: {error}") from error
        self.scaler.load_state_dict(state["scaler"])
        if "provenance" in state:
            self.model.provenance = json.loads(state["provenance"])
        self.done, self.best, self.metrics = state["step"], state["best"], state["metrics"]
        self.validated, self.measured = state["validated"], state.get("measured", True)
        self.meter.unreadable.update(state.get("unreadable", ()))
        _LOGGER.info("Resuming %s after step %d of %d.", self.folder, self.done, self.plan.steps)

    def _settings(self) -> dict[str, Any]:
        return {**self.config.to_dict(), "clips": len(self.dataset), "step_clips": self.plan.step_clips}

    def _notes(self) -> dict[str, Any]:
        # Only what was measured with exactly these weights, and as JSON has it: without NaN.
        measured = self.metrics if self.validated == self.done else {}
        metrics = {name: value for name, value in measured.items() if math.isfinite(value)}
        return {"settings": self._settings(), "step": self.done, "metrics": metrics}


def _not_finite(what: str, trainer: _Trainer, batch: Batch) -> TrainingError:
    names = ", ".join(name_of(trainer.dataset, index) for index in batch.indices)
    rate, plan = trainer.optimizer.param_groups[0]["lr"], trainer.plan
    return TrainingError(
        f"{what} at step {trainer.done + 1} of {plan.steps}; the last clips were: {names}. Look for"
        f" broken clips, or lower the learning rate ({rate:g} at this step, {plan.lr:g} at"
        f" most); checkpoints in {trainer.folder} are from before."
    )


def _validated(trainer: _Trainer, lr: float) -> dict[str, float]:
    """Metrics of the model as it is after a step at that rate.

    Raises:
        TrainingError: its answers aren't numbers.
    """

    def diverged(error: object) -> TrainingError:
        return TrainingError(
            f"Validation after step {trainer.done}: {error} The learning rate is {lr:g}; begin"
            f" {begin_anew(trainer.folder)}, with a lower one."
        )

    model, validation, config = trainer.model, trainer.validation, trainer.config
    assert validation is not None
    how: Any = {"workers": config.workers, "device": trainer.group.device, "progress": trainer.progress}
    how["precision"] = config.precision
    if model.spec.roi is not None:
        try:
            scores = evaluate_persons(model, validation, **how)
        except InputError as error:
            raise diverged(error) from error
        if scores.failed:
            _LOGGER.warning("Validation: %s; the first failure: %s", scores, scores.failed[0])
        return dict(scores.metrics)
    result = evaluate(model, validation, batch_size=config.batch_size, max_views=config.batch_size, **how)
    if result.error:
        raise diverged(result.error)
    if result.failed:
        _LOGGER.warning("Validation: %s; the first failure: %s", result, result.failed[0])
    return dict(result.metrics)


def _distributed(model: nn.Module, group: Processes) -> nn.Module:
    """The model with gradients averaged over processes.

    Each process keeps its own batch norm statistics while it trains, as most publishers' do.
    """
    gpus = [group.device] if group.device.type == "cuda" else None
    # A 1x1x1 kernel's strides say nothing about its layout, and DDP warns of them.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    with warnings.catch_warnings():
        # torch 2.15 has another name for broadcast_buffers, the versions before it only this one.
        warnings.simplefilter("ignore", FutureWarning)
        return nn.parallel.DistributedDataParallel(model, gpus, broadcast_buffers=False)


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """The requests to stop that have come, Ctrl-C or SIGTERM; a second one acts at once, as without this."""
    came: list[int] = []
    before: dict[int, Any] = {}

    def restore() -> None:
        while before:
            number, handler = before.popitem()
            signal.signal(number, handler)

    def remember(number: int, _: object) -> None:
        came.append(number)
        restore()
        with contextlib.suppress(RuntimeError):  # stderr may be within a line
            _LOGGER.warning("Stopping after this step or validation; a second signal stops at once.")

    if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not None:
                before[number] = signal.signal(number, remember)
    try:
        yield came
    finally:
        restore()


def selection_score(metrics: dict[str, float]) -> float:
    """What best is chosen by, higher is better; of equals, common with few videos, the later is taken."""
    score = metrics.get("top1_acc", metrics.get("mean_average_precision", math.nan))
    return -math.inf if math.isnan(score) else score


def check_passes(spec: ModelSpec, clips: Tensor, precision: Precision, layout: torch.memory_format) -> None:
    """Refuses what torch computes wrongly on this processor, forwards or backwards; see the two below."""
    if precision == "bfloat16":
        check_gradients_are_right(spec, clips.shape[2])
    if precision != "float32":
        check_forward_is_right(spec, tuple(clips.shape), precision, layout == torch.channels_last_3d)


@functools.cache
def check_forward_is_right(
    spec: ModelSpec, clips: tuple[int, ...], precision: Precision, channels_last: bool
) -> None:
    """Refuses a network whose convolutions torch computes wrongly on this processor.

    They are tried in another process: some would end this one.

    Args:
        spec: the network's.
        clips: the shape (B, C, T, H, W) of a batch.
        precision: of the training.
        channels_last: whether it runs in that memory format.

    Raises:
        TrainingError: names the convolution, or says that torch has no kernels for this precision here.
    """
    with torch.device("meta"):
        network = SlowFast(spec)
    try:
        check_half_precision(network, clips, precision, channels_last=channels_last)
    except (ExportError, InputError) as error:
        raise TrainingError(str(error)) from error


def check_gradients_are_right(spec: ModelSpec, num_frames: int) -> None:
    """Refuses clips so short that torch computes wrong gradients in bfloat16 on the CPU.

    In torch 2.15 the CPU's bfloat16 convolution reads beyond clips that are longer than one frame and
    shorter than the kernel when it computes the weights' gradient: the result is NaN, or just wrong.

    Raises:
        TrainingError: the clips are too short.
    """
    slow_frames = num_frames // spec.alpha
    if slow_frames == 2 or 1 < num_frames < 5:  # kernels of 3 in both pathways, of 5 in the fast stem
        raise TrainingError(
            f"torch computes wrong gradients in bfloat16 on the CPU for clips of {num_frames} frames, "
            f"{slow_frames} in the slow pathway; train in float32, or with {3 * spec.alpha} frames or more."
        )
