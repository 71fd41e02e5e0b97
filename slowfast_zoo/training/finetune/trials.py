"""One training by one recipe: what every trial, fold and the last training of a fine-tuning are made of."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from slowfast_zoo.data.annotations import Annotations
from slowfast_zoo.data.dataset import VideoDataset
from slowfast_zoo.data.loader import TRAINING, ItemKey, KeyedItems
from slowfast_zoo.data.splits import source_of
from slowfast_zoo.errors import DataError, quoted
from slowfast_zoo.evaluation.evaluate import Evaluation, evaluate
from slowfast_zoo.evaluation.metrics import compute_metrics
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.runtime.devices import Halving
from slowfast_zoo.runtime.distributed import Processes
from slowfast_zoo.runtime.machine import usable_cpus
from slowfast_zoo.runtime.precision import autocast
from slowfast_zoo.training.batch_norm import measure_batch_norms
from slowfast_zoo.training.finetune.probe import ProbeFeatures, fit_classifier, probe_features, subset
from slowfast_zoo.training.finetune.recipes import FinetuneRecipe, scheduled
from slowfast_zoo.training.log import Listener
from slowfast_zoo.training.memory import train_within_memory
from slowfast_zoo.training.recipe import TrainConfig
from slowfast_zoo.training.state import RESUME
from slowfast_zoo.training.train import check_passes
from slowfast_zoo.video.clips import Views, view_counts
from slowfast_zoo.weights.saved.config import after_training

_DRAWS = 8
"""Random clips of each video that the classifier is fitted to before training."""
_FRESH = 0.01
"""Deviation of a fresh classifier's weights."""
_UNEVEN = 1.5
"""Classes are uneven when the largest has more than so many times the clips of the smallest."""
_TIMED_STEPS = 3


@dataclasses.dataclass
class Workshop:
    """Where a fine-tuning trains: the network that every training starts from, and how clips are read."""

    start: SlowFast
    """With a random classifier for the classes and the clip that was decided on; is only read."""
    views: Views
    """That scores look at."""
    group: Processes
    """That train together, with this one's device."""
    max_unreadable: float
    progress: bool
    changes: Mapping[str, Any]
    """Fields of ``TrainConfig`` instead of the recipes'."""
    smallest_area: float | None = None
    """Of random crops, instead of the recipes'."""
    freeze_up_to: str | None = None
    balance: bool = True
    group_by: str | None = None
    seen: tuple[Annotations, ProbeFeatures] | None = None
    """Clips whose features as evaluation has them were computed last, and these."""

    @property
    def seed(self) -> int:
        """Of everything."""
        return int(self.changes.get("seed", 0))

    @property
    def device(self) -> torch.device:
        """Of this process."""
        return self.group.device

    def reading(self) -> dict[str, Any]:
        """How clips go through a network that isn't trained meanwhile; they may be few."""
        config = TrainConfig(epochs=1).replace(**self.changes)
        how = {"max_views": config.batch_size, "workers": config.workers, "precision": config.precision}
        return {**how, "device": self.device, "progress": self.progress}

    def unused(self, recipe: FinetuneRecipe) -> list[str]:
        """A sentence about what the user has decided and a linear probe has no use for."""
        names = [*self.changes.keys() - {"seed", "workers", "batch_size", "precision", "deterministic"}]
        names += ["freeze_up_to"] * bool(self.freeze_up_to) + ["smallest_area"] * bool(self.smallest_area)
        names += ["balance"] * (not self.balance)
        if recipe.config is not None or not names:
            return []
        return [
            f"A linear probe trains nothing of the network, so it makes no use of {quoted(sorted(names))}."
        ]

    @property
    def views_each(self) -> int:
        """Views of a clip that scores look at."""
        return math.prod(view_counts(self.start.clip_spec, self.views))

    def settings(
        self, recipe: FinetuneRecipe, clips: int, steps: int, *, trial: bool = False, watched: int = 0
    ) -> TrainConfig:
        """The training by that recipe, which isn't the probe, with so many clips in each validation.

        A trial takes so many steps also where the user has said how many epochs the training has, or its
        warm-up.
        """
        world, changes, config = self.group.world, dict(self.changes), recipe.config
        assert config is not None
        if trial:
            config = config.replace(**changes)
            changes = {name: changes[name] for name in changes if name not in ("epochs", "warmup_epochs")}
        config = scheduled(config, clips, steps, changes, world, watched * self.views_each)
        if (
            recipe.norms == "learned"
            and self.device.type == "cuda"
            and "sync_batch_norms" not in self.changes
        ):
            return config.replace(sync_batch_norms=world)  # as one process would
        return config

    def dataset(self, model: SlowFast, clips: Annotations, *, train: bool = False) -> VideoDataset:
        """Those clips as training or as evaluation has them."""
        return VideoDataset(
            clips, model.clip_spec, train=train, views=self.views, max_unreadable=self.max_unreadable
        )

    def fresh(self) -> SlowFast:
        """A model of its own to start from."""
        return copy.deepcopy(self.start)

    def cropped(self, recipe: FinetuneRecipe) -> SlowFast:
        """A model of its own to start from, with the recipe's crops."""
        model = self.fresh()
        area = recipe.smallest_area if self.smallest_area is None else self.smallest_area
        model.clip_spec = model.clip_spec.replace(smallest_area=area)
        return model

    def uneven(self, clips: Annotations) -> bool:
        """Whether classes, one per clip, are of very different sizes and are to be drawn equally often."""
        counts = [count for count in clips.counts() if count]
        return self.balance and not clips.multi_label and max(counts) > _UNEVEN * min(counts)

    def evaluate(self, model: SlowFast, clips: Annotations) -> Evaluation:
        """Scores of the model as it is."""
        return evaluate(model, self.dataset(model, clips), **self.reading())

    def train(
        self,
        recipe: FinetuneRecipe,
        clips: Annotations,
        folder: Path,
        *,
        steps: int,
        trial: bool = False,
        validation: Annotations | None = None,
        listener: Listener | None = None,
    ) -> tuple[SlowFast, list[str]]:
        """A model that the recipe made of the clips, and what memory made necessary, as sentences.

        What was begun in the folder is gone on with.
        """
        model = self.cropped(recipe)
        if recipe.config is None:
            self.fit(model, self.features(clips), clips)
            model.provenance = after_training(model.provenance, {"recipe": recipe.name})
            return model.to(self.device), []
        watched = 0 if validation is None else len(validation.samples)
        config = self.settings(recipe, len(clips.samples), steps, trial=trial, watched=watched)
        resumed = self.group.from_first((folder / RESUME).exists)
        if not resumed:
            self._prepare(model, recipe, clips, config)
        model.freeze(self.freeze_up_to, norms=recipe.norms != "learned")
        _, notes = train_within_memory(
            model,
            self.dataset(model, clips, train=True),
            config,
            work_dir=folder,
            validation=None if validation is None else self.dataset(model, validation),
            resume=resumed,
            sample_weights=clips.class_weights() if self.uneven(clips) else None,
            device=self.device,
            progress=self.progress,
            listener=listener,
        )
        return model, notes

    def _prepare(
        self, model: SlowFast, recipe: FinetuneRecipe, clips: Annotations, config: TrainConfig
    ) -> None:
        """Norms and classifier as the recipe starts from them."""
        if recipe.norms == "measured":
            step = config.replace(batch_size=config.batch_size * self.group.world)
            measure_batch_norms(model, self.dataset(model, clips, train=True), step, self.device)
            self.group.share(model.buffers())
        if recipe.from_probe:
            self.fit(model, self.features(clips, drawn_for=model), clips)
            shrink_classifier(model)

    def features(self, clips: Annotations, drawn_for: SlowFast | None = None) -> ProbeFeatures:
        """What ``start`` sees in clips as evaluation has them; or a model in random clips of its training."""
        if drawn_for is None and self.seen is not None and self.seen[0] is clips:
            return self.seen[1]
        model = drawn_for or self.start
        dataset = self.dataset(model, clips, train=drawn_for is not None)
        how = {"draws": _DRAWS if drawn_for else 1, "seed": self.seed, **self.reading()}
        found = self.group.from_first(lambda: probe_features(model, dataset, **how))
        self.seen = self.seen if drawn_for else (clips, found)
        return found

    def fit(self, model: SlowFast, features: ProbeFeatures, clips: Annotations) -> None:
        """Fits the classifier; clips of other sources than it is fitted to choose the penalty."""
        groups = [source_of(clips.samples[index], self.group_by) for index in features.indices]
        names = sorted(set(groups))
        np.random.default_rng(self.seed).shuffle(names)
        held = set(names[: max(len(names) // 4, 1)])
        places: list[list[int]] = [[], []]
        for place, group in enumerate(groups):
            places[group in held].append(place)
        if not all(places):
            places = [places[0] or places[1]] * 2
        penalty = fit_classifier(model, subset(features, places[0]), subset(features, places[1]))
        fit_classifier(model, features, features, penalties=(penalty,))

    def step_seconds(self, clips: Annotations, recipe: FinetuneRecipe) -> float:
        """Seconds of one optimizer step on this machine, reading included; of the slowest process."""
        model, config = self.fresh(), self.settings(recipe, len(clips.samples), 1)
        items = KeyedItems(self.dataset(model, clips, train=True), config.seed)
        step = config.batch_size * config.accumulate
        count = min(config.batch_size, len(clips.samples), 4)
        began, busy = time.perf_counter(), time.process_time()
        drawn = [items[ItemKey(TRAINING, 0, index)][1] for index in range(count)]
        reading = (time.perf_counter() - began) / count * step
        busy = (time.process_time() - busy) / count * step
        model.to(self.device).to(memory_format=config.memory_format(self.device)).train()
        timed = Halving(functools.partial(_pass_seconds, model, config), count)
        clips_drawn = torch.stack([torch.as_tensor(clip, device="cpu") for clip in drawn]).to(self.device)
        times = [float(timed(clips_drawn).sum()) / count * step for _ in range(_TIMED_STEPS)]
        shared = usable_cpus() if self.device.type == "cpu" else None
        found = with_reading(min(times), reading, busy, config.workers, shared)
        return float(max(self.group.gather(found)))


def looks_before(recipe: FinetuneRecipe) -> int:
    """Random clips of each video that go through the network before the first step of a training."""
    return (_DRAWS if recipe.from_probe else 0) + (recipe.norms == "measured") if recipe.config else 0


def _pass_seconds(model: SlowFast, config: TrainConfig, clips: Tensor) -> Tensor:
    """Seconds of both passes of so many clips, float (1,); as for training, refused where they are wrong."""
    layout = config.memory_format(clips.device)
    if clips.device.type == "cpu":
        check_passes(model.spec, clips, config.precision, layout)
    began = time.perf_counter()
    with autocast(clips.device, config.precision):
        loss = model(clips.contiguous(memory_format=layout)).float().square().mean()
    loss.backward()  # type: ignore[no-untyped-call]
    if clips.device.type == "cuda":
        torch.cuda.synchronize(clips.device)
    return torch.tensor([time.perf_counter() - began], device="cpu")


def with_reading(network: float, reading: float, busy: float, workers: int, shared: int | None) -> float:
    """Seconds of a step whose clips are read meanwhile.

    Args:
        network: seconds that it needs alone.
        reading: seconds that one process needs for the clips.
        busy: seconds of a processor that they take.
        workers: processes that read; 0: the one that trains.
        shared: processors that the network shares with them; None: it has a device of its own.
    """
    if workers == 0:
        return network + reading
    return max(network + (busy / shared if shared else 0.0), reading / workers)


def shrink_classifier(model: SlowFast) -> None:
    """The classifier's weights become as small as those of a fresh one; what it points at stays.

    A fitted one has weights of deviation 0.5, and would send fifty times the usual gradient into the network.
    """
    if isinstance(model.classifier, nn.Linear):
        with torch.no_grad():
            factor = min(_FRESH / float(model.classifier.weight.std().clamp_min(1e-12)), 1.0)
            model.classifier.weight.mul_(factor)
            model.classifier.bias.mul_(factor)


def clip_scores(evaluation: Evaluation) -> npt.NDArray[np.float64]:
    """How well each clip is known, 0 to 1: half for the right class, half its probability.

    Whether a few clips are right hides much of what their probabilities say. For several labels: the mean
    probability of what is true of each class.

    Raises:
        DataError: there are no scores.
    """
    if not evaluation.scores:
        raise DataError(f"No clip could be scored: {evaluation.failed[:1]}")
    scores, targets = np.stack(evaluation.scores).astype(np.float64), evaluation.targets
    if targets.ndim == 2:
        return np.asarray(np.where(targets > 0, scores, 1 - scores).mean(axis=1))
    rows = np.arange(len(targets))
    return np.asarray((scores[rows, targets] + (scores.argmax(axis=1) == targets)) / 2)


def pooled(parts: Sequence[Evaluation]) -> Evaluation:
    """The scores of several parts of a dataset as those of one."""
    scores = [score for part in parts for score in part.scores]
    targets = np.concatenate([part.targets for part in parts])
    return dataclasses.replace(
        parts[0],
        metrics=compute_metrics(np.stack(scores), targets),
        scores=scores,
        targets=targets,
        names=[name for part in parts for name in part.names],
        failed=[failure for part in parts for failure in part.failed],
    )


def right_ones(evaluation: Evaluation) -> int | None:
    """Clips whose class was found; None where they have several labels."""
    if evaluation.targets.ndim == 2:
        return None
    return int((np.stack(evaluation.scores).argmax(axis=1) == evaluation.targets).sum())


def mean_and_error(
    values: Sequence[float] | npt.NDArray[np.float64], groups: Sequence[str]
) -> tuple[float, float]:
    """The mean and its standard error, infinite for a single group.

    Args:
        values: one per clip.
        groups: what each clip was cut from; clips of one group are right and wrong together, so that many of
            them say little more than one.
    """
    array = np.asarray(values, np.float64)
    mean = float(array.mean())
    names, places = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return mean, float("inf")
    sums = np.bincount(places, weights=array - mean)
    spread = np.square(sums).sum() * len(names) / (len(names) - 1)
    return mean, float(np.sqrt(spread) / len(array))


def errors_of_chance(sources: int) -> float:
    """Standard errors, of so many sources, that a mean exceeds by chance as rarely as two that are known.

    That is in 2.3 % of cases; infinite for a single source.

    Source: Student's t; from four degrees of freedom on the expansion of Abramowitz and Stegun, 26.7.5
    (https://personal.math.ubc.ca/~cbm/aands/page_949.htm), at 2.
    """
    free = sources - 1
    if free < 4:
        return {1: 13.968, 2: 4.527, 3: 3.307}.get(free, math.inf)
    return 2 + 10 / (4 * free) + 294 / (96 * free**2) + 1098 / (384 * free**3)
