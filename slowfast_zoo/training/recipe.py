"""``TrainConfig``: every number of a training; ``Recipe``: a training that was published."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch

from slowfast_zoo.runtime.precision import Precision
from slowfast_zoo.spec import ClipSpec, ModelSpec, Spec

Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["cosine", "step", "constant"]
ScheduleRule = Literal[
    "openmmlab-0.x",
    "openmmlab-0.x-iterations",
    "openmmlab-1.x",
    "openmmlab-1.x-iterations",
    "openmmlab-1.x-epochs",
    "pyslowfast",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(Spec):
    """How to train: optimizer, schedule, batch, numerics. JSON both ways.

    The defaults are OpenMMLab's for Kinetics-400 from scratch. Single or several labels per clip is not
    chosen here: ``ModelSpec.activation`` decides (softmax: cross entropy; sigmoid: binary cross entropy).
    """

    epochs: int = 256
    """Passes over the dataset."""
    clips_per_epoch: int | None = None
    """Length of an epoch in clips, at most the dataset's; None: the whole dataset."""
    batch_size: int = 8
    """Clips per forward pass in each process."""
    accumulate: int = 1
    """Forward passes per optimizer step in each process."""
    optimizer: Optimizer = "sgd"
    """SGD with momentum, or AdamW."""
    lr: float = 0.1
    """Highest learning rate, for a step of ``lr_batch`` clips."""
    lr_batch: int | None = 64
    """Clips per step that ``lr`` belongs to; a step of n clips uses n / lr_batch of it. None: as it is."""
    momentum: float = 0.9
    """SGD's momentum."""
    nesterov: bool = False
    """Nesterov's form of the momentum."""
    weight_decay: float = 1e-4
    """Weight decay of all parameters."""
    norm_weight_decay: float | None = None
    """Weight decay of batch norms, where it differs."""
    grad_clip: float | None = 40.0
    """Largest L2 norm of all gradients together; longer ones are shortened to it. None: no limit."""
    label_smoothing: float = 0.0
    """Part of the target spread over all classes (cross entropy only)."""
    focal_alpha: float = 1.0
    """Weight of the loss of several labels."""
    focal_gamma: float = 0.0
    """Above 0, classes that are nearly right count less in it: by (1 - probability of what's so) ** gamma."""
    mixup: float = 0.0
    """Parameter of the beta distribution that two clips of a pass and their losses are mixed by; 0: they
    aren't, nor are clips of persons.
    Source: Zhang et al. 2018, https://arxiv.org/abs/1710.09412."""
    still_mix: float = 0.0
    """Most of a still, a frame of a clip of the same pass, that is mixed into all frames of each clip, which
    keeps its label: places and things tell less than motion then. 0: none.
    Source: Li et al. 2023, https://arxiv.org/abs/2211.12883; here any clip's stills, not chosen ones."""
    color_jitter: float = 0.0
    """How much brightness, contrast, saturation and colors of each clip change by chance; 0: not at all."""
    rand_augment: int = 0
    """Magnitude, of 30, of two changes of each clip by torchvision's RandAugment: it is turned, moved,
    sheared, brighter and the like, all frames alike. 0: none, nor for clips of persons.
    Source: Cubuk et al. 2019, https://arxiv.org/abs/1909.13719."""
    layer_decay: float = 1.0
    """Part of the rate above it that each earlier stage learns at; 1: all alike."""
    thaw_at: float = 1.0
    """Part of the training's steps after which what was frozen learns, too; 1: never."""
    ema: float = 0.0
    """Decay of a moving average of the weights, which is validated and saved in their place; 0: none."""
    schedule: Schedule = "cosine"
    """Half a cosine to zero over all epochs; a factor at milestones; or constant."""
    schedule_rule: ScheduleRule = "openmmlab-0.x"
    """Whose arithmetic: see ``schedule.learning_rate``."""
    milestones: tuple[int, ...] = ()
    """Epochs at which "step" multiplies the rate."""
    step_factor: float = 0.1
    """What it is multiplied by."""
    warmup_epochs: float = 34
    """Length of the linear warm-up in epochs."""
    warmup_iterations: int = 0
    """Its length in optimizer steps instead, when above 0."""
    warmup_ratio: float = 0.1
    """Part of the rate that the warm-up starts from."""
    precise_bn_batches: int = 0
    """Training batches over which batch norm statistics are averaged after an epoch; 0: not done."""
    precise_bn_every: int = 1
    """Epochs between two such passes; the last epoch always has one."""
    sync_batch_norms: int = 1
    """Processes, each with its GPU, whose batch norms share statistics in a step; 1: each has its own."""
    validate_every: int = 5
    """Epochs between two validations; the last epoch always has one."""
    checkpoint_every: int = 1
    """Epochs between two checkpoints; the last epoch always has one."""
    checkpoint_steps: int = 0
    """Optimizer steps between two checkpoints within an epoch; 0: at the ends of epochs only."""
    precision: Precision = "float32"
    """Of the network's arithmetic; parameters stay float32. float16 scales the loss; tf32 is for GPUs, where
    float32 doesn't round products as torch's default does."""
    channels_last: bool | None = None
    """Channels-last memory layout of clips and weights; None: on CPUs, where steps are faster with it."""
    activation_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, more time."""
    workers: int = 2
    """Processes that read clips, for each training process. In a script, what starts a training with them has
    to be below ``if __name__ == "__main__":``, unless they are forked."""
    seed: int = 0
    """Decides initial order, augmentation and dropout; the weights are the caller's."""
    deterministic: bool = False
    """Deterministic algorithms (on a GPU: where there are any) and no cuDNN search."""
    log_every: int = 20
    """Optimizer steps between two lines of the log."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in (
            "epochs",
            "batch_size",
            "accumulate",
            "precise_bn_every",
            "sync_batch_norms",
            "validate_every",
            "log_every",
        ):
            self._require_int(field, 1)
        for field in (
            "warmup_iterations",
            "precise_bn_batches",
            "checkpoint_steps",
            "workers",
            "seed",
            "rand_augment",
        ):
            self._require_int(field, 0)
        self._require_int("checkpoint_every", 1)
        for field in ("clips_per_epoch", "lr_batch"):
            if getattr(self, field) is not None:
                self._require_int(field, 1)
        for field in ("nesterov", "activation_checkpointing", "deterministic"):
            if not isinstance(getattr(self, field), bool):
                raise self._error(field, "True or False")
        if not isinstance(self.channels_last, bool | None):
            raise self._error("channels_last", "True, False or None")
        self._require_number("lr", 0, 1e4, open_low=True)
        for field in ("momentum", "weight_decay", "label_smoothing", "step_factor", "warmup_ratio"):
            self._require_number(field, 0, 1)
        self._require_number("focal_alpha", 0, 1e3, open_low=True)
        self._require_number("focal_gamma", 0, 100)
        if self.norm_weight_decay is not None:
            self._require_number("norm_weight_decay", 0, 1)
        if self.grad_clip is not None:
            self._require_number("grad_clip", 0, 1e9, open_low=True)
        self._require_number("warmup_epochs", 0, 1e6)
        self._require_number("mixup", 0, 10)
        self._require_number("still_mix", 0, 1)
        self._require_number("color_jitter", 0, 1)
        self._require_number("layer_decay", 0, 1, open_low=True)
        self._require_number("thaw_at", 0, 1, open_low=True)
        self._require_number("ema", 0, 0.99999)
        milestones = self.milestones
        if not isinstance(milestones, tuple) or not all(type(epoch) is int for epoch in milestones):
            raise self._error("milestones", "a tuple of epochs, such as 10,20 (a single one: 10,)")
        if list(milestones) != sorted(set(milestones)) or (milestones and milestones[0] < 1):
            raise self._error("milestones", "rising epochs above 0")
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise self._error("nesterov", "False without SGD's momentum")

    def scaled_lr(self, clips_per_step: int) -> float:
        """The learning rate for steps of that many clips: ``lr * clips_per_step / lr_batch``.

        Source: Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 2.1.
        """
        return self.lr if self.lr_batch is None else self.lr * clips_per_step / self.lr_batch

    def memory_format(self, device: torch.device) -> torch.memory_format:
        """The layout that clips and weights have on that device."""
        last = device.type == "cpu" if self.channels_last is None else self.channels_last
        return torch.channels_last_3d if last else torch.contiguous_format


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training that was published: what was trained how, on what, and from what."""

    name: str
    """The publisher's config name, or ours; where two rows share a config, "model/tag"."""
    model: str
    """Name of the model."""
    tag: str
    """The weights that came out of it."""
    model_spec: ModelSpec
    """The network."""
    clip_spec: ClipSpec
    """Sampling, crops and augmentation."""
    labels: tuple[str, ...]
    """Class names."""
    config: TrainConfig
    """Optimizer, schedule, batch per GPU."""
    dataset: str
    """Training data."""
    gpus: int = 1
    """Processes that the recipe was run with."""
    initialize_from: tuple[str, str] | None = None
    """Model and tag of the weights that the training started from; None: random weights."""
    flip_pairs: tuple[tuple[int, int], ...] = ()
    """Classes that a horizontal flip exchanges."""
    validation_crop: int | None = None
    """Side of the center crop that its training validated on, in pixels; None: the training crop's."""
    deviations: str = ""
    """What of the publisher's training this library doesn't do; empty when nothing."""

    @property
    def validation_spec(self) -> ClipSpec:
        """The clips to validate on while training: center crops."""
        return self.clip_spec.replace(test_crop=self.validation_crop or self.clip_spec.crop)
