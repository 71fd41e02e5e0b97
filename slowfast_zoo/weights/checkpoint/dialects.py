"""The publishers' parameter names as tables, read in both directions, and how to tell them apart.

A table holds one pattern per kind of layer. Every table lists the layers of a network in the same
order, so two dialects are paired by position and no name has to be parsed.

Source: the state dicts of MMAction2 (https://github.com/open-mmlab/mmaction2), PySlowFast and its
caffe2 converter (https://github.com/facebookresearch/SlowFast), PyTorchVideo
(https://github.com/facebookresearch/pytorchvideo) and GluonCV (https://github.com/dmlc/gluon-cv).
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor

from slowfast_zoo.errors import unknown_name
from slowfast_zoo.spec import BLOCKS_PER_STAGE, ModelSpec, SlowSampling

LayerKind = Literal["conv", "biased", "norm", "linear"]

CLASSIFIER = ("classifier.weight", "classifier.bias")
"""Our names of the head's two tensors."""

NON_LOCAL = ("theta", "phi", "g", "out")
"""The convolutions of a non-local block; a norm follows the last one."""

STEMS = ("slow.stem.conv.weight", "fast.stem.conv.weight")
"""Our names of the two tensors that see the clip's channels."""

_TORCH_SUFFIXES: dict[LayerKind, dict[str, str]] = {
    "conv": {"weight": ".weight"},
    "biased": {"weight": ".weight", "bias": ".bias"},
    "norm": {
        leaf: f".{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    },
    "linear": {"weight": ".weight", "bias": ".bias"},
}

# In caffe2's spatial batch norm "riv" holds the running variance itself, in spite of its name.
_CAFFE2_SUFFIXES: dict[LayerKind, dict[str, str]] = {
    "conv": {"weight": "_w"},
    "biased": {"weight": "_w", "bias": "_b"},
    "norm": {"weight": "_s", "bias": "_b", "running_mean": "_rm", "running_var": "_riv"},
    "linear": {"weight": "_w", "bias": "_b"},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NameTable:
    """How one publisher names the parameters of a SlowFast network.

    A pattern is that of a convolution and of the norm after it: ``<a|b>`` is a in one and b in the other.
    Patterns know ``{p}`` (the pathway), ``{stage}`` (1-4), ``{res}`` (2-5), ``{block}`` (from 0),
    ``{n}`` (1-3) and ``{x}`` (a-c) of a convolution, ``{last}`` (last block of the fast stage).
    """

    slow: str
    """What ``{p}`` stands for in the slow pathway."""
    fast: str
    """What ``{p}`` stands for in the fast pathway."""
    stem: str
    bottleneck: str
    """Number ``{n}`` or ``{x}`` of a block."""
    shortcut: str
    """Beside the first block of a stage."""
    stem_lateral: str
    """The lateral connection after the stem."""
    stage_lateral: str
    """The lateral connections after stages 1-3."""
    classifier: str
    """The last layer."""
    roi_classifier: str = ""
    """The last layer of a network with an ROI head; empty: as without."""
    roi_body: str = ""
    """What stands before the names of everything but the head in such a network."""
    non_local: str = "{p}.stage{stage}.{block}.non_local.<conv_{part}|norm>"
    """A convolution of a non-local block, ``{part}``, and the norm after the last of them."""
    acrn: str = "acrn.<conv|norm>{n}"
    """Number ``{n}`` of the two layers that relate persons to the frame."""
    suffixes: Mapping[LayerKind, Mapping[str, str]] = dataclasses.field(default_factory=_TORCH_SUFFIXES.copy)
    """What a layer's tensors append to its name; a tensor without suffix isn't stored."""
    ignored: tuple[str, ...] = ("cls_head.loss_cls.*", "criterion.*", "loss.*", "loss_fn.*")
    """Shell patterns of names that such files hold beside the network's: losses keep their class weights."""
    fast_first: bool = False
    """Whether the columns of a clip classifier are [fast | slow] instead of [slow | fast]."""
    background: bool = False
    """Whether an ROI head with sigmoid has one row more, the first: a background, which nothing trains."""
    slow_sampling: SlowSampling | None = None
    """The rule for slow frames that the publisher trains with; None: any."""

    def names(self, spec: ModelSpec) -> list[str | None]:
        """The name of every tensor of that network, in an order common to all tables.

        None stands for a tensor that the publisher doesn't store.
        """
        return [
            name + self.suffixes[kind][leaf] if leaf in self.suffixes[kind] else None
            for name, kind in (*self._body(spec), *self._head(spec))
            for leaf in _TORCH_SUFFIXES[kind]
        ]

    def rows_before(self, spec: ModelSpec) -> int:
        """Rows of the publisher's classifier in front of those of the classes."""
        return int(self.background and spec.roi is not None and spec.activation == "sigmoid")

    def ignores(self, name: str) -> bool:
        """Whether the publisher's files hold this name for other things than the network."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.ignored)

    def in_head(self, name: str) -> bool:
        """Whether this is the name of a head's tensor, in a file of whichever head."""
        heads = (self.classifier, self.roi_classifier, re.split("[<{]", self.acrn)[0])
        return any(head and name.startswith(head) for head in heads)

    def _body(self, spec: ModelSpec) -> Iterator[tuple[str, LayerKind]]:
        before = self.roi_body if spec.roi is not None else ""
        for name, kind in self._pathways(spec):
            yield before + name, kind

    def _pathways(self, spec: ModelSpec) -> Iterator[tuple[str, LayerKind]]:
        fast_depth = spec.fast_depth or spec.depth
        for p, depth in ((self.slow, spec.depth), (self.fast, fast_depth)):
            yield from _pair(self.stem, p=p)
            for stage, blocks in enumerate(BLOCKS_PER_STAGE[depth], start=1):
                for block in range(blocks):
                    place: dict[str, object] = {"p": p, "stage": stage, "res": stage + 1, "block": block}
                    for n, x in enumerate("abc", start=1):
                        yield from _pair(self.bottleneck, **place, n=n, x=x)
                    if block == 0:
                        yield from _pair(self.shortcut, **place)
                    if p == self.slow and stage == 3 and block in spec.non_local:
                        parts = [list(_pair(self.non_local, **place, part=part)) for part in NON_LOCAL]
                        yield from ((pair[0][0], "biased") for pair in parts)
                        yield parts[-1][1]
        kinds = 2 if spec.lateral_norm else 1
        yield from list(_pair(self.stem_lateral))[:kinds]
        for stage, blocks in enumerate(BLOCKS_PER_STAGE[fast_depth][:3], start=1):
            yield from list(_pair(self.stage_lateral, stage=stage, res=stage + 1, last=blocks - 1))[:kinds]

    def _head(self, spec: ModelSpec) -> Iterator[tuple[str, LayerKind]]:
        if spec.roi is not None and spec.roi.acrn:
            for n in (1, 2):
                yield from _pair(self.acrn, n=n)
        if spec.num_classes:
            yield (self.roi_classifier if spec.roi is not None else "") or self.classifier, "linear"


def _pair(pattern: str, **place: object) -> Iterator[tuple[str, LayerKind]]:
    yield re.sub(r"<(.*?)\|.*?>", r"\1", pattern).format(**place), "conv"
    yield re.sub(r"<.*?\|(.*?)>", r"\1", pattern).format(**place), "norm"


DIALECTS: dict[str, NameTable] = {
    "slowfast_zoo": NameTable(
        slow="slow",
        fast="fast",
        stem="{p}.stem.<conv|norm>",
        bottleneck="{p}.stage{stage}.{block}.<conv|norm>{n}",
        shortcut="{p}.stage{stage}.{block}.shortcut_<conv|norm>",
        stem_lateral="laterals.0.<conv|norm>",
        stage_lateral="laterals.{stage}.<conv|norm>",
        classifier="classifier",
    ),
    "openmmlab": NameTable(
        slow="backbone.slow_path",
        fast="backbone.fast_path",
        stem="{p}.conv1.<conv|bn>",
        bottleneck="{p}.layer{stage}.{block}.conv{n}.<conv|bn>",
        shortcut="{p}.layer{stage}.{block}.downsample.<conv|bn>",
        stem_lateral="backbone.slow_path.conv1_lateral.<conv|bn>",
        stage_lateral="backbone.slow_path.layer{stage}_lateral.<conv|bn>",
        classifier="cls_head.fc_cls",
        roi_classifier="roi_head.bbox_head.fc_cls",
        acrn="roi_head.shared_head.conv{n}.<conv|bn>",
        fast_first=True,
        background=True,
        slow_sampling="strided",
    ),
    "pyslowfast": NameTable(
        slow="pathway0",
        fast="pathway1",
        stem="s1.{p}_stem.<conv|bn>",
        bottleneck="s{res}.{p}_res{block}.branch2.{x}<|_bn>",
        shortcut="s{res}.{p}_res{block}.branch1<|_bn>",
        stem_lateral="s1_fuse.<conv_f2s|bn>",
        stage_lateral="s{res}_fuse.<conv_f2s|bn>",
        classifier="head.projection",
        non_local="s{res}.{p}_nonlocal{block}.<conv_{part}|bn>",
        slow_sampling="linspace",
    ),
    "caffe2": NameTable(
        slow="",
        fast="t_",
        stem="{p}<conv1|res_conv1_bn>",
        bottleneck="{p}res{res}_{block}_branch2{x}<|_bn>",
        shortcut="{p}res{res}_{block}_branch1<|_bn>",
        stem_lateral="t_pool1_subsample<|_bn>",
        stage_lateral="t_res{res}_{last}_branch2c_bn_subsample<|_bn>",
        classifier="pred",
        non_local="nonlocal_conv{res}_{block}_<{part}|bn>",
        suffixes=_CAFFE2_SUFFIXES,
        ignored=("*_momentum", "lr", "model_iter"),
        slow_sampling="linspace",
    ),
    "pytorchvideo": NameTable(
        slow="multipathway_blocks.0",
        fast="multipathway_blocks.1",
        stem="blocks.0.{p}.<conv|norm>",
        bottleneck="blocks.{stage}.{p}.res_blocks.{block}.branch2.<conv|norm>_{x}",
        shortcut="blocks.{stage}.{p}.res_blocks.{block}.branch1_<conv|norm>",
        stem_lateral="blocks.0.multipathway_fusion.<conv_fast_to_slow|norm>",
        stage_lateral="blocks.{stage}.multipathway_fusion.<conv_fast_to_slow|norm>",
        classifier="blocks.6.proj",
        roi_classifier="detection_head.proj",
        roi_body="model.",
        slow_sampling="linspace",
    ),
    "gluoncv": NameTable(
        slow="slow",
        fast="fast",
        stem="{p}_<conv|bn>1",
        bottleneck="{p}_res{res}.{block}.<conv|bn>{n}",
        shortcut="{p}_res{res}.{block}.downsample.<0|1>",
        stem_lateral="lateral_p1.<0|1>",
        stage_lateral="lateral_res{res}.<0|1>",
        classifier="fc",
        slow_sampling="strided",
    ),
}
"""Every dialect that is read, ours first."""


def get_table(dialect: str) -> NameTable:
    """The name table of a dialect.

    Raises:
        UnknownNameError: no such dialect.
    """
    if not isinstance(dialect, str) or dialect not in DIALECTS:
        raise unknown_name(f"There is no dialect '{dialect}'.", dialect, DIALECTS)
    return DIALECTS[dialect]


@functools.lru_cache(maxsize=256)  # a file is held against every row, several times
def names_between(spec: ModelSpec, dialect: str) -> dict[str, str | None]:
    """Our name of every tensor of a network, with the publisher's name; None: not stored there."""
    ours = DIALECTS["slowfast_zoo"].names(spec)
    theirs = get_table(dialect).names(spec)
    return {name: their for name, their in zip(ours, theirs, strict=True) if name is not None}


def find_network(names: Collection[str], dialect: str | None = None) -> list[tuple[str, str]]:
    """Where in a state dict a network is: the dialect and the prefix of its names, for each one.

    It is where both pathways' stems are. Prefixes come from what wraps a network (DataParallel's
    "module.", a training's "model.", a teacher beside a student). Without a dialect, any is looked for.
    """
    smallest = ModelSpec(depth=14, num_classes=0)
    given, found = set(names), []
    for candidate in DIALECTS if dialect is None else (dialect,):
        table = names_between(smallest, candidate)
        slow, fast = (str(table[stem]) for stem in STEMS)
        for name in names:
            prefix = name.removesuffix(slow)
            whole = name.endswith(slow) and (not prefix or prefix.endswith("."))
            if whole and prefix + fast in given:
                found.append((candidate, _without_body(prefix, get_table(candidate), given)))
    return found


def _without_body(prefix: str, table: NameTable, given: Collection[str]) -> str:
    """A prefix without what the publisher himself writes before the body of a network with an ROI head."""
    before = prefix.removesuffix(table.roi_body)
    return before if f"{before}{table.roi_classifier}.weight" in given else prefix


def has_roi_head(names: Collection[str], dialect: str) -> bool | None:
    """Whether these are names of a network for detection; None: they don't tell."""
    table = get_table(dialect)
    if not table.roi_classifier:
        return None
    heads = {False: table.classifier, True: table.roi_classifier}
    there = [kind for kind, head in heads.items() if f"{head}.weight" in names]
    return there[0] if len(there) == 1 else None


def slow_first(weight: Tensor, spec: ModelSpec) -> Tensor:
    """A clip classifier ``(classes, features)`` with columns [fast | slow] turned into [slow | fast]."""
    return torch.roll(weight, spec.slow_features - spec.num_features, dims=1)
