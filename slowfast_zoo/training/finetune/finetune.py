"""``finetune``: a folder of clips and a trained model become a model of your classes, and a report.

result = finetune("clips", slowfast_r50_4x16x1(pretrained=True), work_dir="work")
print(result)                               # per-class table, what was decided and why
from_pretrained(Path("work/model"))         # what predict takes
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from slowfast_zoo.data.annotations import Annotations
from slowfast_zoo.data.dataset import VideoDataset
from slowfast_zoo.errors import InputError, TrainingError, quoted
from slowfast_zoo.evaluation.evaluate import Evaluation, evaluate, format_table
from slowfast_zoo.network.slowfast import SlowFast, check_clip_head
from slowfast_zoo.runtime.devices import to_device
from slowfast_zoo.runtime.packages import installed
from slowfast_zoo.training.batch_norm import measure_batch_norms
from slowfast_zoo.training.finetune.data import FinetuneData, collect
from slowfast_zoo.training.finetune.probe import Features, extract_features, fit_classifier
from slowfast_zoo.training.finetune.report import draw_report, write_tables
from slowfast_zoo.training.journal import write_line
from slowfast_zoo.training.memory import train_within_memory
from slowfast_zoo.training.recipe import TrainConfig
from slowfast_zoo.training.schedule import Plan
from slowfast_zoo.training.state import LOG, RESUME, new_directory, replaced, save_weights
from slowfast_zoo.training.train import selection_score
from slowfast_zoo.video.clips import Views
from slowfast_zoo.weights.saved.file import read_file
from slowfast_zoo.weights.saved.folder import save_pretrained

_LOGGER = logging.getLogger(__name__)

Probe = Literal["first", "only", "no"]

FINETUNE = TrainConfig(epochs=30, batch_size=8, lr=0.02, lr_batch=64, warmup_epochs=1, validate_every=1)
"""What ``finetune`` trains with, for networks that have seen many people and things: a fifth of the rate that
they were trained with from scratch keeps the features that the probe found useful. Features that must change
more take ``FINETUNE_ADAMW``, norms that learn and more epochs (``benchmarks/accuracy/weizmann.py``)."""

FINETUNE_ADAMW = FINETUNE.replace(optimizer="adamw", lr=0.016)
"""The same with AdamW, which takes another rate than SGD."""

_SIDES = re.compile(r"left|right|(counter|anti)?clockwise", re.IGNORECASE)
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")

MODEL, REPORT, PROBE = "model", "report.txt", "probe.safetensors"
_DRAWS = 8
"""Random clips of each video that the classifier is fitted to before training."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """What a fine-tuning gave; ``str()`` of it is the report."""

    model: SlowFast = dataclasses.field(repr=False)
    """The model that was given, with its best weights, on its device."""
    model_dir: Path
    """The same as a folder, for ``from_pretrained``."""
    work_dir: Path
    """Log, checkpoints, report and the split that was used."""
    evaluation: Evaluation
    """Scores of the best weights on the test data, or on the validation data if there is none."""
    evaluated: str
    """Which data that was, and whether they also chose the epoch."""
    probe_metrics: dict[str, float] | None
    """Metrics of the linear probe on the validation data; None without one."""
    notes: tuple[str, ...]
    """What was decided and why."""
    files: tuple[Path, ...]
    """Tables and pictures."""

    def __str__(self) -> str:
        return "\n".join([*self.notes, "", self.scores()])

    def scores(self) -> str:
        """The end of the report: scores, the table of classes, where the model is."""
        table = format_table(self.evaluation.class_table())
        where = f"The model, for predict --model and from_pretrained(Path(...)): {self.model_dir}"
        return f"{self.evaluated}: {self.evaluation}\n\n{table}\n\n{where}"


def finetune(
    data: str | Path | Annotations | Mapping[str, Annotations],
    model: SlowFast,
    *,
    work_dir: str | Path,
    validation: str | Path | Annotations | None = None,
    config: TrainConfig = FINETUNE,
    probe: Probe = "first",
    val: float = 0.2,
    group_by: str | None = None,
    freeze_up_to: str | None = None,
    freeze_norms: bool = True,
    balance: bool = True,
    flip: bool | None = None,
    smallest_area: float = 0.5,
    views: Views = "quick",
    max_unreadable: float = 0.1,
    resume: bool = False,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> FinetuneResult:
    """Trains the model, in place, to tell the classes of the data apart; one process, one device.

    The classifier is replaced by one for the classes of the data. It starts as the linear probe, the best
    one on the features that the network has already, so that training doesn't spoil them to make up for
    random weights (Kumar et al. 2022, https://arxiv.org/abs/2202.10054); the validation data choose its L2
    penalty. The model ends with the weights of the best epoch, or of the probe if no epoch was as good. When
    memory runs out, half as many clips go through the network at a time, twice as often: the step stays the
    same, but for batch norms that learn, whose statistics are of fewer clips then.

    Args:
        data: a folder with one folder of clips per class; a folder divided into train and val (and test); a
            list (see ``slowfast_zoo.data.lists``); or what ``read_annotations`` or ``read_splits`` returned.
        model: pretrained, of any number of classes.
        work_dir: folder for everything that is written.
        validation: data to choose the best epoch by; None: the part of that name, else a part of the data
            whose sources aren't trained on.
        config: optimizer, schedule, batch and seed; the rate is scaled to the clips of a step.
        probe: "first": start from the linear probe; "only": stop there, the network stays as it is and
            its features are computed once; "no": start from a random classifier.
        val: part of the clips to validate with where they aren't given.
        group_by: what a source is, as in ``splits.source_of``.
        freeze_up_to: last part of the network that doesn't learn, as in ``SlowFast.freeze``.
        freeze_norms: keep the statistics of batch norms, which small batches would spoil; False for networks
            that start from random weights, or from other footage. Then they are measured before the probe
            unless that makes it worse, and not accepted where only a probe is asked for.
        balance: draw classes equally often when the largest has 1.5 times the clips of the smallest.
        flip: whether clips are flipped; None: as the model was trained, but not when classes are called
            left, right or clockwise.
        smallest_area: part of the picture that random crops keep at least; 1: the middle square. Publishers
            train with 0.08, which a few clips can't make up for: most crops miss what happens.
        views: that validation and the final scores look at, as in ``read_clips``.
        max_unreadable: as in ``open_dataset``.
        resume: go on where the fine-tuning in ``work_dir`` was interrupted, on the same split.
        device: None: the GPU, or the CPU where there is none.
        progress: show bars when stderr is a terminal.

    Raises:
        DataError: the data doesn't hold together, has one class only, can't be split, or too many of its
            clips can't be read.
        TrainingError: the work directory can't be written or holds a training already, memory doesn't
            suffice for one clip, or training diverges.
        InputError: arguments that are not accepted.
    """
    if probe not in ("first", "only", "no"):
        raise InputError(f"probe is {probe!r}; accepted: 'first', 'only', 'no'.")
    if probe == "only" and not freeze_norms:
        raise InputError(
            "A linear probe leaves the network as it is: norms that learn (freeze_norms=False, --learn-norms)"
            " need a training behind it."
        )
    folder = Path(work_dir).expanduser()
    if resume and not folder.exists():
        raise TrainingError(f"There is nothing to resume: {folder} doesn't exist.")
    new_directory(folder, resume=resume)
    if not (resume and (folder / REPORT).exists()):  # a refused resumption leaves the report of what is done
        with replaced(folder / REPORT) as temporary:
            temporary.write_text("The fine-tuning isn't finished.\n", encoding="utf-8")
    notes: list[str] = []
    if not installed("matplotlib"):
        later = f"pip install matplotlib, and 'slowfast-zoo report {folder}' draws them later"
        _say(notes, f"No pictures in the report: they need matplotlib; {later}.")
    found = collect(
        data,
        validation,
        folder / "data",
        resume=resume,
        val=val,
        group_by=group_by,
        seed=config.seed,
        max_unreadable=max_unreadable,
        progress=progress,
    )
    config = _evenly(config, len(found.train.samples))
    _say(notes, *found.notes)
    prepared = _prepare_model(model, found.train, seed=config.seed, flip=flip, smallest_area=smallest_area)
    _say(notes, *prepared)
    run = _Run(model, found, config, folder, to_device(device), views, max_unreadable, progress, notes)
    fresh = probe == "only" or not (resume and (folder / RESUME).exists())
    if fresh:
        (folder / PROBE).unlink(missing_ok=True)
    if probe == "no":
        probed = {}
    else:
        probed = run.probe(probe, learn_norms=not freeze_norms) if fresh else run.earlier_probe()
    if probe != "only":
        model.freeze(freeze_up_to, norms=freeze_norms)
        run.describe(freeze_up_to, freeze_norms, balance)
        run.train(balance, resume and not fresh, probed)
    return run.finish(probed, trained=probe != "only")


def _say(notes: list[str], *texts: str) -> None:
    """Keeps for the report what was decided, and says it now."""
    for text in texts:
        notes.append(text)
        _LOGGER.info("%s", text)


@dataclasses.dataclass
class _Run:
    """One fine-tuning: the model, its data, and how they are used."""

    model: SlowFast
    data: FinetuneData
    config: TrainConfig
    folder: Path
    device: torch.device
    views: Views
    max_unreadable: float
    progress: bool
    notes: list[str]

    def dataset(self, annotations: Annotations, *, train: bool = False) -> VideoDataset:
        """Those clips as training or as evaluation has them."""
        return VideoDataset(
            annotations,
            self.model.clip_spec,
            train=train,
            views=self.views,
            max_unreadable=self.max_unreadable,
        )

    def probe(self, kind: Probe, *, learn_norms: bool) -> dict[str, float]:
        """Fits the classifier to the features of the training clips; its metrics on the validation data.

        Norms that are going to learn are measured on the new clips first: else the probe would fit features
        that training, with the norms of each batch, never shows. Where the weights know such clips, that can
        spoil the features; then the better probe has the statistics that the model came with.
        """
        metrics = self._fit(kind)
        if learn_norms:
            own = {name: value.clone() for name, value in self.model.state_dict().items()}
            measure_batch_norms(
                self.model, self.dataset(self.data.train, train=True), self.config, self.device
            )
            measured = self._fit(kind)
            before, after = selection_score(metrics), selection_score(measured)
            told = f"Batch norms measured on the new clips: linear probe {after:.4f}, before {before:.4f}"
            if after < before:
                self.model.load_state_dict(own)
                _say(self.notes, f"{told}; not used, as these weights know such clips.")
            else:
                metrics = measured
                _say(self.notes, f"{told}.")
        save_weights(self.model, self.folder / PROBE, {"metrics": metrics})
        write_line(self.folder / LOG, "probe", metrics)
        return metrics

    def _fit(self, kind: Probe) -> dict[str, float]:
        """Fits the classifier; the validation data choose how strongly weights are held back."""
        random = kind == "first"  # what training starts from has to know the random clips that it shows
        features = self._features(self.dataset(self.data.train, train=random), _DRAWS if random else 1)
        fit_classifier(self.model, features, self._features(self.dataset(self.data.val), 1))
        return _measured(self.evaluate(self.data.val))

    def earlier_probe(self) -> dict[str, float]:
        """Metrics of the probe that an interrupted fine-tuning started from; empty if there was none.

        Raises:
            TrainingError: the file isn't that probe.
            CheckpointError: the file is damaged.
        """
        path = self.folder / PROBE
        if not path.exists():
            return {}
        try:
            return dict(read_file(path).provenance["training"]["metrics"])
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(
                f"{path} isn't the probe that this fine-tuning began with; put it back, or start a new one in"
                " another work directory."
            ) from error

    def _features(self, dataset: VideoDataset, draws: int) -> Features:
        return extract_features(self.model, dataset, draws=draws, seed=self.config.seed, **self._reading())

    def evaluate(self, annotations: Annotations) -> Evaluation:
        """Scores of the model as it is."""
        return evaluate(self.model, self.dataset(annotations), **self._reading())

    def _reading(self) -> dict[str, Any]:
        """How clips go through the network that isn't trained meanwhile."""
        config = self.config
        how = {"max_views": config.batch_size, "workers": config.workers, "precision": config.precision}
        return {**how, "device": self.device, "progress": self.progress}

    def describe(self, freeze_up_to: str | None, freeze_norms: bool, balance: bool) -> None:
        """Says what training is going to do."""
        plan = Plan.of(self.config, len(self.data.train.samples), 1)
        notes = [f"{plan.describe(self.config)}."]
        spec = self.model.clip_spec
        if spec.augmentation.startswith("random-resized-crop"):
            notes.append(f"Random crops keep at least {spec.smallest_area:.0%} of the picture.")
        frozen = [f"both pathways up to {freeze_up_to}"] if freeze_up_to else []
        frozen += ["the statistics of all batch norms"] if freeze_norms else []
        if frozen:
            notes.append(f"Frozen: {' and '.join(frozen)}.")
        if balance and self.data.uneven:
            notes.append("Classes are drawn equally often, as their numbers of clips differ.")
        _say(self.notes, *notes)

    def train(self, balance: bool, resume: bool, probe_metrics: dict[str, float]) -> None:
        """Trains; the model has the best weights afterwards, those of the probe if no epoch was as good."""
        balanced = balance and self.data.uneven
        result, notes = train_within_memory(
            self.model,
            self.dataset(self.data.train, train=True),
            self.config,
            work_dir=self.folder,
            validation=self.dataset(self.data.val),
            resume=resume,
            sample_weights=self.data.train.class_weights() if balanced else None,
            device=self.device,
            progress=self.progress,
        )
        path = result.best or result.last
        _say(self.notes, *notes)
        if result.best:
            best_of = f"Best of {self.config.epochs} epochs: {result.best_metrics['epoch']:.0f}"
            _say(self.notes, f"{best_of}, by the validation data (of equals the last).")
        if probe_metrics and selection_score(probe_metrics) > selection_score(result.best_metrics):
            path, kept = self.folder / PROBE, "the linear probe on the validation data, which is kept."
            _say(self.notes, f"No epoch was as good as {kept}")
        best = read_file(path)
        self.model.load_state_dict(best.state_dict())
        self.model.provenance = best.provenance

    def finish(self, probe_metrics: dict[str, float], *, trained: bool) -> FinetuneResult:
        """Evaluates, writes the report and the model."""
        tested = self.data.test is not None
        result = self.evaluate(self.data.test or self.data.val)
        if probe_metrics:
            values = ", ".join(f"{name} {value:.4f}" for name, value in probe_metrics.items())
            _say(self.notes, f"Linear probe on the validation data: {values}.")
        title = "Test data" if tested else "Validation data"
        files = [*write_tables(result, self.folder), *draw_report(self.folder, title)]
        save_pretrained(self.model, self.folder / MODEL, metrics=_measured(result))
        finished = FinetuneResult(
            model=self.model,
            model_dir=self.folder / MODEL,
            work_dir=self.folder,
            evaluation=result,
            evaluated=f"{title}, which chose the epoch" if trained and not tested else title,
            probe_metrics=probe_metrics or None,
            notes=tuple(self.notes),
            files=(self.folder / REPORT, *files),
        )
        with replaced(self.folder / REPORT) as temporary:
            temporary.write_text(f"{finished}\n", encoding="utf-8")
        return finished


def _evenly(config: TrainConfig, clips: int) -> TrainConfig:
    """Steps of about equal size that use all clips: 15 clips in steps of 8 make two of 7, not one of 8."""
    step = config.batch_size * config.accumulate
    steps = -(-clips // step)
    return config.replace(batch_size=max(clips // steps // config.accumulate, 1))


def _measured(evaluation: Evaluation) -> dict[str, float]:
    return {name: value for name, value in evaluation.metrics.items() if value == value}  # not NaN


def _prepare_model(
    model: SlowFast, train: Annotations, *, seed: int, flip: bool | None, smallest_area: float
) -> list[str]:
    """Gives the model a random classifier for the classes, and its training clips; what to tell about it.

    The network's own weights stay. Clips are flipped only where they may be, and random crops keep that much.

    Raises:
        InputError: no SlowFast, or none for RGB.
        SpecError: an area that is no part of the picture.
    """
    if not isinstance(model, SlowFast):
        raise InputError(f"finetune takes a SlowFast model, got {type(model).__name__}.")
    check_clip_head(model.spec, "finetune")
    if model.spec.in_channels != 3:
        raise InputError(f"finetune reads RGB video, this model takes {model.spec.in_channels} channels.")
    clip_spec, notes = model.clip_spec.replace(smallest_area=smallest_area), []
    sided = mirrored_classes(train.class_names)
    if flip is None and sided and clip_spec.flip:
        notes.append(f"No flips: they would make another class of {quoted(sided[:4])}.")
        clip_spec = clip_spec.replace(flip=0.0)
    elif flip is not None and bool(clip_spec.flip) != flip:
        clip_spec = clip_spec.replace(flip=0.5 if flip else 0.0)
    torch.manual_seed(seed)
    model.spec = model.spec.replace(activation="sigmoid" if train.multi_label else "softmax")
    model.reset_classifier(train.num_classes, train.labels)
    model.clip_spec = clip_spec
    return notes


def mirrored_classes(names: Sequence[str]) -> list[str]:
    """The classes whose names say that a horizontal flip makes another class of them."""
    return [name for name in names if any(_SIDES.fullmatch(word) for word in _WORDS.findall(name))]
