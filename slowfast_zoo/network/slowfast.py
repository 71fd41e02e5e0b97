"""The SlowFast network: two pathways, lateral connections, one head; one class for every publisher.

Names in the state dict, frozen by a test:

    {slow,fast}.stem.{conv,norm}                    (1 or 5, 7, 7) convolution, batch norm
    {slow,fast}.stage{1..4}.{i}.{conv,norm}{1,2,3}  bottleneck: (1 or 3, 1, 1), (1, 3, 3), (1, 1, 1)
    {slow,fast}.stage{1..4}.0.shortcut_{conv,norm}
    laterals.{0..3}.conv [.norm]                    after the fast stem and stages 1-3
    classifier                                      columns: slow features, then fast features
    slow.stage3.{i}.non_local.{conv_theta,conv_phi,conv_g,conv_out,norm}    where the spec has such blocks
    acrn.{conv,norm}{1,2}                           of an ROI head that relates persons to the frame

Source: Feichtenhofer et al. 2019, https://arxiv.org/abs/1812.03982, table 1 and section 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slowfast_zoo.errors import InputError, UnknownNameError, did_you_mean, quoted
from slowfast_zoo.network.heads import Acrn, head_of, init_classifier, last_layers
from slowfast_zoo.network.pathway import STAGES, Bottleneck, Lateral, NonLocal, Pathway, checkpoint_block
from slowfast_zoo.network.provenance import with_fresh_classifier
from slowfast_zoo.runtime.packages import require
from slowfast_zoo.spec import ClipSpec, ModelSpec, SlowSampling

PARTS = ("stem", *STAGES)
"""The parts of both pathways in the order of computation."""


def check_part(up_to: str | None) -> None:
    """Refuses a part that ``SlowFast.freeze`` doesn't know.

    Raises:
        UnknownNameError: no such part.
    """
    if up_to is not None and up_to not in PARTS:
        raise UnknownNameError(
            f"There is no part '{up_to}' to freeze up to.{did_you_mean(str(up_to), PARTS)}"
            f" Accepted: {quoted(PARTS)} or None."
        )


class SlowFast(nn.Module):
    """A SlowFast network: ``(B, C, T, H, W)`` floats in, ``(B, num_classes)`` logits out.

    With an ROI head (``spec.roi``) it takes boxes of persons as well and answers for each:
    ``model(clip, boxes)``. It picks the slow pathway's frames itself and returns logits in train and in eval
    mode. T is any multiple of ``spec.alpha``; H and W are anything but for a window head, which
    wants at least ``spec.num_frames`` frames and a map as large as its window (193 pixels for 7 cells), and
    for non-local blocks, which want two slow frames and 17 pixels.

    Args:
        spec: what to build.

    Attributes:
        spec: what was built; follows ``reset_classifier``.
        clip_spec: the input contract of the weights.
        provenance: where the weights come from; empty for random ones.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.clip_spec = ClipSpec(num_frames=spec.num_frames)
        self._labels: tuple[str, ...] | None = None
        self.provenance: dict[str, Any] = {}
        self._grad_checkpointing = False
        self._frozen_up_to: str | None = None
        self._norms_frozen = False

        fast_width = spec.base_width // spec.beta_inv
        lateral_inputs = [fast_width * scale for scale in (1, 4, 8, 16)]
        fused = [channels * spec.fusion_ratio for channels in lateral_inputs]
        self.slow = Pathway(
            spec, spec.depth, spec.base_width, fused, stem_kernel=1, temporal_stages=(3, 4), index=0
        )
        fast_depth = spec.fast_depth or spec.depth
        self.fast = Pathway(
            spec, fast_depth, fast_width, [0] * 4, stem_kernel=5, temporal_stages=(1, 2, 3, 4), index=1
        )
        self.laterals = nn.ModuleList(Lateral(spec, channels) for channels in lateral_inputs)
        for name, layer in head_of(spec).layers().items():
            self.register_module(name, layer)
        self.reset_parameters()

    if TYPE_CHECKING:  # nn.Module's own says Any
        dropout: nn.Module
        classifier: nn.Module
        acrn: Acrn

        def __call__(self, clip: Tensor, boxes: Tensor | None = None) -> Tensor: ...

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Class names in the classifier's order, or None.

        Assigning names renames the classes and keeps the classifier; ``num_classes`` names, else InputError.
        """
        return self._labels

    @labels.setter
    def labels(self, labels: Sequence[str] | None) -> None:
        self._labels = check_labels(labels, self.spec.num_classes)

    @property
    def num_classes(self) -> int:
        """Rows of the classifier; 0 for a model that returns pooled features."""
        return self.spec.num_classes

    @property
    def num_features(self) -> int:
        """Pooled features in front of the classifier: the slow pathway's, then the fast one's."""
        return self.spec.num_features

    def forward(self, clip: Tensor, boxes: Tensor | None = None) -> Tensor:
        """Logits ``(B, num_classes)``, or pooled features ``(B, num_features)`` when num_classes is 0.

        Args:
            clip: float ``(B, C, T, H, W)``, normalized as ``clip_spec`` says.
            boxes: for an ROI head only: float ``(N, 5)``, the clip's index in the batch and x1, y1, x2, y2 in
                pixels of the clip. They may reach out of the picture, and there may be none. The answer then
                has N rows.

        Raises:
            InputError: a rank, dtype or size that the network can't take; boxes that are none.
        """
        check_boxes(boxes, self.spec)  # before the pathways; their numbers in front of the head
        return self.forward_head(self.forward_features(clip), boxes=boxes)

    def forward_features(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """The last maps: slow ``(B, 2048, T/alpha, h, w)`` and fast ``(B, 256, T, h, w)``.

        h and w are H/32 and W/32 (H/16 and W/16 where stage 4 has stride 1), rounded up; channels are those
        of the default width 64.

        Args:
            clip: as for ``forward``.
        """
        check_clip(clip, self.spec)
        slow = self.slow.stem(slow_frames(clip, self.spec.alpha, self.spec.slow_sampling))
        fast = self.fast.stem(clip)
        for lateral, slow_stage, fast_stage in zip(
            self.laterals, self.slow.stages(), self.fast.stages(), strict=True
        ):
            slow = self._run(slow_stage, torch.cat([slow, lateral(fast)], dim=1))
            fast = self._run(fast_stage, fast)
        return slow, fast

    def forward_head(
        self, features: tuple[Tensor, Tensor], pre_logits: bool = False, *, boxes: Tensor | None = None
    ) -> Tensor:
        """Logits ``(B, num_classes)`` of the maps that ``forward_features`` returns.

        A "window_probs" head in eval mode returns the log of the probability averaged over places
        (for sigmoid: the logit of that average), so that ``softmax`` of it is the publisher's output.

        Args:
            features: slow and fast map.
            pre_logits: return the pooled features ``(B, num_features)`` instead, as a model without
                classifier does anyway.
            boxes: as for ``forward``, with an ROI head.

        Raises:
            InputError: boxes that are none, none where the head takes them, or some where it doesn't.
        """
        check_boxes(boxes, self.spec, features[0])
        pre_logits = pre_logits or self.spec.num_classes == 0
        return head_of(self.spec).forward(features, self, pre_logits=pre_logits, boxes=boxes)

    def get_classifier(self) -> nn.Module:
        """The last layer: ``nn.Linear``, or ``nn.Identity`` when num_classes is 0."""
        return self.classifier

    def reset_classifier(self, num_classes: int, labels: Sequence[str] | None = None) -> None:
        """Puts a fresh classifier in place of the old one; ``spec``, ``labels`` and ``provenance`` follow.

        Args:
            num_classes: rows of the new classifier; 0 for a model that returns pooled features.
            labels: class names, ``num_classes`` of them.

        Raises:
            SpecError: a negative ``num_classes``.
            InputError: ``labels`` isn't one name per class.
        """
        spec = self.spec.replace(num_classes=num_classes)
        labels = check_labels(labels, num_classes)
        example = next(self.slow.parameters())
        with torch.device("cpu"):  # whatever the default is: nothing can be moved from meta
            classifier = last_layers(spec)["classifier"].to(device=example.device, dtype=example.dtype)
        init_classifier(classifier)
        self.spec, self.classifier, self._labels = spec, classifier.train(self.training), labels
        if num_classes or "training" in self.provenance:  # pathways alone still are the published ones
            self.provenance = with_fresh_classifier(self.provenance)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether training keeps each block's input only and computes the block again on the way back.

        Args:
            enable: less memory for about a third more time; gradients stay what they are, if weights
                do until the way back (``torch.func.functional_call`` puts its own away before). In a network
                that ``torch.compile`` compiled the compiler decides what is kept, and this changes nothing.
        """
        self._grad_checkpointing = enable

    def freeze(self, up_to: str | None = "stage4", *, norms: bool = False) -> None:
        """Stops both pathways from learning up to and including a part; replaces earlier freezing.

        Frozen parts get no gradients, and their batch norms stay in eval mode through ``train()``.
        A lateral connection is frozen with the part of the fast pathway that it reads.

        Args:
            up_to: "stem", "stage1" ... "stage4", or None for no part.
            norms: also hold the statistics of every other batch norm (their scale still learns).

        Raises:
            UnknownNameError: no such part.
        """
        check_part(up_to)
        for module in self._parts(self._frozen_up_to):
            module.requires_grad_(True)
        for module in self._parts(up_to):
            module.requires_grad_(False)
        self._frozen_up_to, self._norms_frozen = up_to, norms
        self.train(self.training)

    @property
    def frozen(self) -> tuple[str | None, bool]:
        """What ``freeze`` was last given: the part up to which nothing learns, and whether norms are held."""
        return self._frozen_up_to, self._norms_frozen

    def train(self, mode: bool = True) -> Self:
        """Train or eval mode; frozen batch norms stay in eval mode."""
        super().train(mode)
        for part in self._parts(self._frozen_up_to):
            part.eval()
        if self._norms_frozen:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def reset_parameters(self) -> None:
        """Draws fresh weights: Kaiming normal (fan out), each block's last norm 0, classifier 0.01.

        Source: section 4 of the paper, and OpenMMLab's ``ResNet3dSlowFast`` and ``SlowFastHead``.
        """
        if self.slow.stem.conv.weight.is_meta:
            return
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:  # in non-local blocks
                    nn.init.zeros_(module.bias)
            elif isinstance(module, _BatchNorm):
                module.reset_parameters()
        for module in self.modules():
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.norm3.weight)
            elif isinstance(module, NonLocal):
                nn.init.zeros_(module.norm.weight)
        init_classifier(self.classifier)

    def _parts(self, up_to: str | None) -> Iterator[nn.Module]:
        count = 0 if up_to is None else PARTS.index(up_to) + 1
        for name in PARTS[:count]:
            yield getattr(self.slow, name)
            yield getattr(self.fast, name)
        yield from list(self.laterals)[:count]

    def _run(self, stage: nn.Sequential, x: Tensor) -> Tensor:
        if not (self._grad_checkpointing and self.training) or torch.compiler.is_compiling():
            return stage(x)  # type: ignore[no-any-return]
        for block in stage:
            x = checkpoint_block(block, x)
        return x


def slow_frames(clip: Tensor, alpha: int, rule: SlowSampling) -> Tensor:
    """The slow pathway's frames ``(B, C, T/alpha, H, W)``; see ``ModelSpec.slow_indices``."""
    if rule == "strided":  # no slice with a step, for which OpenVINO reorders the whole clip first
        return torch.unflatten(clip, 2, (-1, alpha))[:, :, :, 0]
    frames = clip.shape[2]
    slow = frames // alpha
    indices = torch.arange(slow, device=clip.device) * (frames - 1)
    return clip.index_select(2, torch.div(indices, max(slow - 1, 1), rounding_mode="floor"))


def check_clip_head(
    spec: ModelSpec, what: str, instead: str = "detect takes it, with a video and boxes"
) -> None:
    """Refuses networks that answer for boxes where one answer for the clip is wanted.

    Args:
        spec: the network's.
        what: takes other networks.
        instead: what takes these.

    Raises:
        InputError: says what ``what`` takes.
    """
    if spec.roi is not None:
        raise InputError(
            f"{what} takes models that classify whole clips; this one scores persons: {instead}, or call it"
            " as model(clip, boxes)."
        )


def type_of(model: object) -> str:
    """What was given instead of a SlowFast, for messages; of a wrapper, also where the network in it is."""
    way, inner = "model", model
    while isinstance(inner, nn.Module) and not isinstance(inner, SlowFast):
        name = next((name for name in ("_orig_mod", "module") if name in inner._modules), None)
        if name is None:
            break
        way, inner = f"{way}.{name}", inner._modules[name]
    hint = f" (give {way})" if isinstance(inner, SlowFast) else ""
    kind = torch.fx.GraphModule if isinstance(model, torch.fx.GraphModule) else type(model)
    return f"{kind.__name__}{hint}"


def check_slowfast(model: object, what: str) -> None:
    """Refuses anything else than a SlowFast.

    Raises:
        InputError: says what was given, and where the network in a wrapper is.
    """
    if not isinstance(model, SlowFast):
        raise InputError(f"{what} takes a SlowFast model, got {type_of(model)}.")


def check_answers(logits: Tensor, spec: ModelSpec, *, any_classes: bool = False) -> Tensor:
    """What a network answered, ``(n, num_classes)``.

    Args:
        logits: the answers.
        spec: the network's.
        any_classes: whether classes of another number than the spec's are accepted, too; features aren't.

    Raises:
        InputError: a classifier for other classes than the spec's took the place of its own.
    """
    found, features = logits.shape[-1], logits.shape[-1] == spec.num_features
    if found == spec.num_classes or not spec.num_classes or (any_classes and not features):
        return logits
    way_out = (
        f"call model.reset_classifier({found}, labels), and then model.classifier = LAYER puts yours back."
    )
    if features:
        way_out = "model.reset_classifier(0) makes a model of features; extract_features takes it."
    raise InputError(
        f"The model's classifier gives {found} numbers, model.spec says {spec.num_classes} classes: {way_out}"
    )


def check_clip(clip: Tensor, spec: ModelSpec) -> None:
    """Refuses a clip that the network can't take.

    Raises:
        InputError: says what was given and what is accepted.
    """
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]  # sizes are tensors there, and the example input was checked in eager mode
        return
    if not isinstance(clip, Tensor):
        raise InputError(
            f"SlowFast takes one torch.Tensor (B, C, T, H, W) of the fast pathway's frames and picks the"
            f" slow ones itself, got {type(clip).__name__}; torch.from_numpy makes a tensor of an array,"
            " .tensor() one of what read_clips returns."
        )
    shape = tuple(clip.shape)
    if clip.ndim != 5:
        views = "; views of videos are clips: evaluate(model, dataset) scores them" if clip.ndim == 6 else ""
        hint = "; add a batch dimension?" if clip.ndim == 4 else views
        raise InputError(f"SlowFast takes clips (B, C, T, H, W), got shape {shape}{hint}.")
    if not clip.is_floating_point():
        raise InputError(
            f"SlowFast takes normalized floats, got {clip.dtype}; eval_transform(model.clip_spec) makes them."
        )
    _, channels, frames, height, width = clip.shape
    if channels != spec.in_channels:
        raise InputError(f"This model takes {spec.in_channels} channels, got {channels} in shape {shape}.")
    if frames % spec.alpha or frames < spec.alpha:
        raise InputError(
            f"The number of frames must be a multiple of alpha ({spec.alpha}), got {frames} in shape {shape};"
            f" the weights were made with {spec.num_frames}."
        )
    if height < 1 or width < 1:
        raise InputError(f"Clips (B, C, T, H, W) have pixels, got shape {shape}.")
    if spec.non_local and (frames < 2 * spec.alpha or height <= 16 or width <= 16):
        raise InputError(
            f"The non-local blocks of this model need at least {2 * spec.alpha} frames of 17 x 17 pixels, got"
            f" {frames} of {height} x {width} in shape {shape}."
        )
    if spec.head_window is None:
        return
    smallest = spec.pixels_per_cell * (spec.head_window - 1) + 1
    if frames < spec.num_frames or height < smallest or width < smallest:
        raise InputError(
            f"The window head of this model needs at least {spec.num_frames} frames of"
            f" {smallest} x {smallest} pixels, got {frames} of {height} x {width} in shape {shape}."
        )


def check_boxes(boxes: Tensor | None, spec: ModelSpec, batch: Tensor | None = None) -> None:
    """Refuses boxes that the network can't take.

    Args:
        boxes: what was given.
        spec: the network's.
        batch: of as many clips; None: numbers aren't looked at, which in graphs they never are.

    Raises:
        InputError: says what was given and what is accepted.
        MissingDependencyError: torchvision isn't there, whose RoIAlign takes them.
    """
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return
    if spec.roi is None:
        if boxes is not None:
            raise InputError(
                "This model classifies whole clips and takes no boxes; models named *_roi take them."
            )
        return
    what = "boxes of persons, a float tensor (N, 5): the clip's index in the batch, x1, y1, x2, y2 in pixels"
    if not isinstance(boxes, Tensor):
        given = "none" if boxes is None else type(boxes).__name__
        raise InputError(f"This model scores persons: model(clip, boxes) takes {what}, got {given}.")
    if boxes.ndim != 2 or boxes.shape[1] != 5 or not boxes.is_floating_point():
        raise InputError(f"This model takes {what}; got shape {tuple(boxes.shape)} of {boxes.dtype}.")
    if torch.compiler.is_compiling():
        return
    require("torchvision")
    if not (batch is None or boxes.is_meta):
        _check_box_values(boxes.detach().cpu().double(), batch.shape[0])


def _check_box_values(boxes: Tensor, batch: int) -> None:
    """Refuses boxes whose numbers can't be meant."""
    index, corners = boxes[:, 0], boxes[:, 1:]
    for wrong, why in (
        (~boxes.isfinite().all(dim=1), "isn't finite"),
        (
            (corners[:, 2:] <= corners[:, :2]).any(dim=1),
            "is empty or reversed: x1 < x2 and y1 < y2 are accepted",
        ),
        (
            (index < 0) | (index >= batch) | (index != index.floor()),
            f"belongs to no clip: its first number is an index from 0 to {batch - 1}",
        ),
    ):
        if wrong.any():
            row = int(wrong.nonzero()[0])
            raise InputError(f"Box {row}, {boxes[row].tolist()}, {why}.")
    if len(boxes) and corners.min() >= 0 and corners.max() <= 1:
        raise InputError(
            "These boxes are shares of the picture (all between 0 and 1); the model takes pixels of the clip:"
            " multiply x by its width and y by its height."
        )


# Symbolic tracing sees them as single calls: sizes and messages stay out of the graph.
torch.fx.wrap("slow_frames")
torch.fx.wrap("check_clip")
torch.fx.wrap("check_boxes")


def as_labels(labels: Iterable[str] | None) -> tuple[str, ...] | None:
    """The labels as a tuple; None of None.

    Raises:
        InputError: something without an order (a dict has numbers for that), an element that is no text, or
            no name at all.
    """
    if labels is None:
        return None
    unordered = isinstance(labels, (str, Set, Mapping)) or not isinstance(labels, Iterable)
    names = () if unordered else tuple(labels)
    if unordered or not names or not all(isinstance(name, str) for name in names):
        hint = ""
        if isinstance(labels, Mapping) and labels:
            by_number = all(isinstance(name, str) for name in labels.values())
            in_order = (
                "[names[i] for i in sorted(names, key=int)]" if by_number else "sorted(names, key=names.get)"
            )
            if not by_number or all(str(number).isdecimal() for number in labels):
                hint = f" {in_order} orders a dict of names and numbers."
        raise InputError(f"labels are a list of class names, in order, got {labels!r:.80}.{hint}")
    return tuple(map(str, names))


def check_labels(labels: Iterable[str] | None, num_classes: int) -> tuple[str, ...] | None:
    """``as_labels``, one per class.

    Raises:
        InputError: as ``as_labels``; or their number isn't ``num_classes``, two are equal, or one isn't
            Unicode text.
    """
    names = as_labels(labels)
    if names is None:
        return None
    if len(names) != num_classes:
        raise InputError(f"labels has {len(names)} names for {num_classes} classes; give one per class.")
    if len(set(names)) < len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise InputError(f"labels names '{twice:.80}' twice; give each class a name of its own.")
    if (half := next((name for name in names if re.search("[\ud800-\udfff]", name)), None)) is not None:
        raise InputError(f"labels has half a character in {half!r:.80}, which no file holds; give it whole.")
    return names
