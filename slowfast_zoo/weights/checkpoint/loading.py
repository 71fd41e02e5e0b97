"""A checkpoint -> the row it is -> a model: renamed, checked completely, then copied; or refused."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from slowfast_zoo.errors import CheckpointError, InputError, SpecError, quoted
from slowfast_zoo.network.provenance import of_pathways
from slowfast_zoo.network.slowfast import SlowFast, type_of
from slowfast_zoo.spec import ClipSpec, ModelSpec, RoiSpec
from slowfast_zoo.weights.catalog import get_weights, list_weights
from slowfast_zoo.weights.catalog.entry import WeightEntry
from slowfast_zoo.weights.checkpoint.dialects import (
    CLASSIFIER,
    STEMS,
    get_table,
    has_roi_head,
    names_between,
    slow_first,
)
from slowfast_zoo.weights.checkpoint.layers import Shape, check_layers, few, state_shapes
from slowfast_zoo.weights.checkpoint.reading import Checkpoint, read_checkpoint
from slowfast_zoo.weights.download.digest import Digest
from slowfast_zoo.weights.saved.config import SavedConfig, config_in

_LOGGER = logging.getLogger(__name__)

_ALSO_OF = {"pyslowfast": "caffe2"}
"""Dialects whose files may be of rows of another: PySlowFast trains under other names than it published."""

_OF_PATHWAYS = ("alpha", "slow_sampling")
_OF_HEADS = ("activation", "head_pool", "head_window", "stage4_stride", "stage4_dilation")
"""What no tensor's shape tells of a network, and its answers depend on."""
_OF_TRAINING = {"crop", "augmentation", "smallest_area", "jitter", "flip", "approximate"}
"""What of a clip spec no answer depends on."""
_OF_TESTS = {"clips", "crops", "view_order", "aggregate"}
"""What of a clip spec no clip depends on."""


def load_checkpoint(
    model: SlowFast, path: str | Path, *, dialect: str | None = None, backbone_only: bool = False
) -> SlowFast:
    """The same model, with the weights of any publisher's file.

    Strict: every tensor of the file is used and every tensor of the model is filled, but for counters of
    batch norms (absent: 0) and what the dialect lists as no part of the network. A model with another
    number of classes than the file keeps its own classifier, and a model with other channels than three
    gets stems adapted as in ``adapt_stem``; both are logged as warnings. With a classifier come the class
    names that the file's record has; where it has none, the model keeps its own, but for those of published
    weights that were there before. The record of a file of this library's own is held against what is read:
    damaged tensors are refused; a network of another alpha, activation and the like, or with the classifier
    another input than ``model.clip_spec``, which stays as it is, is a warning. A publisher's file has no
    record: its input is taken to be that of the catalog's rows that it fits.

    Args:
        model: what to fill; unchanged when an error is raised.
        path: the file, whatever its name ends in.
        dialect: whose names it uses; None: told from the names.
        backbone_only: take both pathways and what joins them, and keep the model's own head: a network that
            classifies clips is a start for training one that scores persons, and the other way round.

    Raises:
        CheckpointError: the file can't be read safely, is damaged, holds the other kind of network, or
            doesn't fit; ``missing``, ``unexpected`` and ``mismatched`` say where.
        InputError: no SlowFast with memory, layers that the model's spec doesn't describe where weights
            would go, or class names that aren't those of the file's record.
        UnknownNameError: no such dialect.
    """
    if not isinstance(model, SlowFast):
        raise InputError(f"load_checkpoint fills a SlowFast, got {type_of(model)}; unwrap the model first.")
    own = model.state_dict()
    if any(tensor.is_meta for tensor in own.values()):
        raise InputError("The model is on the meta device; model.to_empty(device='cpu') gives it memory.")
    checkpoint = read_checkpoint(path, dialect=dialect)
    record = config_in(checkpoint)
    scores_boxes = _scores_boxes(checkpoint, record)
    if backbone_only:
        if record is not None:
            record.check_tensors(read_canonical(checkpoint, record.model_spec), checkpoint.path)
        checkpoint, spec = _without_head(checkpoint), model.spec.replace(num_classes=0, roi=None)
        with_boxes = {"roi": RoiSpec(), "head_pool": "global", "head_window": None}
        in_file = spec_in_file(checkpoint, spec.replace(**with_boxes) if scores_boxes else spec)
    else:
        _check_kind(checkpoint, scores_boxes, model.spec)
        spec, in_file = model.spec, spec_in_file(checkpoint, model.spec)
    state = read_canonical(checkpoint, in_file)
    if record is not None and not backbone_only:
        record.check_tensors(state, checkpoint.path)
    if spec.num_classes:
        check_head(in_file, checkpoint.path)
    adapt_state(state, in_file, spec, checkpoint.path, logging.WARNING)
    check_layers(model, state)
    labels = _names_behind(model, state, record, checkpoint.path)
    if record is not None:
        _warn_of_another(record, model, CLASSIFIER[0] in state, checkpoint.path)
    elif CLASSIFIER[0] in state and checkpoint.dialect != "slowfast_zoo":
        _warn_of_another_input(checkpoint, model.clip_spec)
    warn_of_slow_frames(checkpoint, model.spec)
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)
    known = {key: fact for key, fact in model.provenance.items() if key == "model" and fact is not None}
    model.labels, model.provenance = labels, {**known, "tag": None, "file": checkpoint.path.name}
    return model


def _names_behind(
    model: SlowFast, state: Mapping[str, Tensor], record: SavedConfig | None, path: Path
) -> tuple[str, ...] | None:
    """The class names of a model that takes that state dict, whose record is given where it has one.

    Raises:
        InputError: the model has names of its own, and the record has others.
    """
    if CLASSIFIER[0] not in state:
        return model.labels
    row = (model.provenance.get("model"), of_pathways(model.provenance).get("tag"))
    published = {entry.labels for entry in list_weights() if (entry.model, entry.tag) == row}
    own = None if model.labels in published else model.labels
    theirs = record.labels if record and record.model_spec.num_classes == model.num_classes else None
    if own and theirs and own != theirs:
        index = next(index for index, pair in enumerate(zip(own, theirs, strict=True)) if len({*pair}) > 1)
        raise InputError(
            f"Class {index} is '{theirs[index]:.80}' in '{path}' and '{own[index]:.80}' in the model:"
            " model.labels = None before the call takes the file's names."
        )
    return theirs or own


def _warn_of_another(record: SavedConfig, model: SlowFast, with_head: bool, path: Path) -> None:
    """Says what of the network that a file's record describes the model computes or reads otherwise."""
    theirs, ours = record.model_spec, model.spec
    names = (*_OF_PATHWAYS, *(_OF_HEADS if with_head else ()))
    given, wanted = ({name: getattr(spec, name) for name in names} for spec in (theirs, ours))
    if with_head and theirs.roi and ours.roi:
        given, wanted = given | theirs.roi.to_dict(), wanted | ours.roi.to_dict()
    if other := [
        f"{name} {given[name]} instead of {wanted[name]}" for name in given if given[name] != wanted[name]
    ]:
        _LOGGER.warning(
            "%s was trained in another network than the model, whose answers differ: %s. from_pretrained"
            " builds the network that a saved file describes.",
            *(path, ", ".join(other)),
        )
    if with_head and (other := _read_otherwise(record.clip_spec, model.clip_spec)):
        _LOGGER.warning(
            "%s was trained on another input than the model's clip_spec describes (%s), so its answers"
            " differ. model.clip_spec = from_pretrained(Path(file)).clip_spec takes the file's.",
            *(path, few(other)),
        )


def _warn_of_another_input(checkpoint: Checkpoint, clip_spec: ClipSpec) -> None:
    """Says what of its input a model reads otherwise than every row that a publisher's file fits."""
    fitting = match_rows(checkpoint, list_weights())
    rows = published_rows(checkpoint, fitting) or fitting
    others = [(_read_otherwise(row.clip_spec, clip_spec), row) for row in rows]
    if others and all(other for other, _ in others):
        other, row = min(others, key=lambda each: len(each[0]))
        _LOGGER.warning(
            "%s fits %s:%s, which was trained on another input than the model's clip_spec describes (%s)."
            " Unless the file was trained otherwise, its answers are right with model.clip_spec ="
            " get_weights('%s', '%s').clip_spec.",
            *(checkpoint.path, row.model, row.tag, few(other), row.model, row.tag),
        )


def _read_otherwise(theirs: ClipSpec, ours: ClipSpec) -> list[str]:
    """What of a clip answers depend on, and differs in two clip specs."""
    given, own = theirs.to_dict(), ours.to_dict()
    read = [name for name in given if name not in _OF_TRAINING | _OF_TESTS and given[name] != own[name]]
    return [f"{name} {given[name]} instead of {own[name]}" for name in read]


def warn_of_slow_frames(checkpoint: Checkpoint, spec: ModelSpec) -> None:
    """Says that a network picks its slow frames by another rule than the publisher of a file does."""
    rule = get_table(checkpoint.dialect).slow_sampling
    if rule not in (None, spec.slow_sampling):
        _LOGGER.warning(
            "%s comes from a publisher whose slow pathway sees '%s' frames; this model picks '%s' ones, and"
            " its answers differ. create_model(name, weights=Path(file)) builds the file's own network and"
            " input.",
            *(checkpoint.path, rule, spec.slow_sampling),
        )


def _scores_boxes(checkpoint: Checkpoint, record: SavedConfig | None = None) -> bool | None:
    """Whether the file's network has an ROI head; None: neither names nor record tell."""
    if checkpoint.dialect == "slowfast_zoo":
        return None if record is None else record.model_spec.roi is not None
    return has_roi_head(checkpoint.shapes, checkpoint.dialect)


def _check_kind(checkpoint: Checkpoint, scores_boxes: bool | None, spec: ModelSpec) -> None:
    """Refuses a network of the other kind by name.

    Raises:
        CheckpointError: one for clips is given where one for persons is wanted, or the other way round.
    """
    wanted = spec.roi is not None
    if scores_boxes not in (None, wanted):
        kinds = {False: "classifies whole clips", True: "scores persons in boxes (it has an ROI head)"}
        raise CheckpointError(
            f"'{checkpoint.path}' holds a network that {kinds[not wanted]}, the model {kinds[wanted]}."
            " load_checkpoint(model, path, backbone_only=True) takes all but the head, to train from."
        )


def check_head(in_file: ModelSpec, path: Path) -> None:
    """Refuses the network in a file that has no classifier, where one is wanted.

    Raises:
        CheckpointError: says what takes it; ``missing`` has the classifier's tensors.
    """
    if not in_file.num_classes:
        raise CheckpointError(
            f"'{path}' has no classifier: load_checkpoint(model, path, backbone_only=True) takes the rest"
            " into a model that has one; create_model(name, weights=Path(file), num_classes=...) makes"
            " a model with a fresh one.",
            missing=CLASSIFIER,
        )


def _without_head(checkpoint: Checkpoint) -> Checkpoint:
    """The file as if it held no head."""
    table = get_table(checkpoint.dialect)
    shapes = {name: shape for name, shape in checkpoint.shapes.items() if not table.in_head(name)}
    return dataclasses.replace(checkpoint, shapes=shapes)


def build_state(state: dict[str, Tensor], spec: ModelSpec) -> SlowFast:
    """A new model in eval mode with that state dict as its own; a classifier that it lacks is fresh."""
    fresh_head = spec.num_classes > 0 and CLASSIFIER[0] not in state
    with torch.device("meta"):
        model = SlowFast(spec.replace(num_classes=0) if fresh_head else spec)
    model.load_state_dict(state, assign=True)
    if fresh_head:
        model.reset_classifier(spec.num_classes)
    return model.eval()


def take_weights(model: SlowFast, start: SlowFast) -> None:
    """Fills a network with another one's weights; a head of another kind keeps its own.

    Raises:
        InputError: the networks differ in more than length of clip, strides and head.
    """
    # Weights of another length of clip fit too: no tensor depends on it.
    state, own = start.state_dict(), model.state_dict()
    if start.spec.roi != model.spec.roi:
        heads = ("classifier.", "acrn.")
        state = {name: tensor for name, tensor in state.items() if not name.startswith(heads)}
        state |= {name: tensor for name, tensor in own.items() if name.startswith(heads)}
    for name in own | state:
        theirs, ours = (tuple(each[name].shape) if name in each else "absent" for each in (state, own))
        if theirs != ours:
            raise InputError(
                "The weights to start from are of another network than the recipe's; take those of its model,"
                f" or of the same network for clips. What differs first: {name} is {theirs} there, {ours} in"
                " the recipe's network."
            )
    model.load_state_dict(state)


def canonical_state_dict(
    tensors: Mapping[str, Tensor],
    spec: ModelSpec,
    dialect: str,
    *,
    shapes: Mapping[str, Shape] | None = None,
) -> dict[str, Tensor]:
    """A publisher's tensors as the complete state dict of ``SlowFast(spec)``: our names, float32.

    Args:
        tensors: name to tensor, without wrappers' prefixes.
        spec: the network exactly as the tensors have it, classes and channels included.
        dialect: whose names they are.
        shapes: theirs, where they are known before a tensor is read.

    Raises:
        CheckpointError: something is missing, left over, of another shape, or not finite.
        UnknownNameError: no such dialect.
    """
    if shapes is None:
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    state, uncounted = {}, torch.zeros((), dtype=torch.int64, device="cpu")
    for name, theirs in _pair_names(shapes, spec, dialect).items():
        state[name] = _as_stored(name, tensors[theirs]) if theirs else uncounted.clone()
    table = get_table(dialect)
    if table.fast_first and spec.roi is None and CLASSIFIER[0] in state:
        state[CLASSIFIER[0]] = slow_first(state[CLASSIFIER[0]], spec)
    if before := table.rows_before(spec):
        state |= {name: state[name][before:].clone() for name in CLASSIFIER if name in state}
    return state


def read_canonical(checkpoint: Checkpoint, spec: ModelSpec) -> dict[str, Tensor]:
    """``canonical_state_dict`` of a file; its errors name the file.

    Raises:
        CheckpointError: the file doesn't hold exactly this network.
    """
    try:
        return canonical_state_dict(checkpoint.tensors, spec, checkpoint.dialect, shapes=checkpoint.shapes)
    except CheckpointError as error:
        if str(checkpoint.path) in str(error):
            raise
        raise error.saying(f"'{checkpoint.path}': {error}") from error


def adapt_stem(weight: Tensor, in_channels: int) -> Tensor:
    """A stem's RGB convolution ``(out, 3, t, h, w)`` for other clips: ``(out, in_channels, t, h, w)``.

    One channel: the sum over RGB, which equals the RGB network on a gray clip. Others: R, G, B, R, ...
    as often as needed, scaled by 3 / in_channels, so that activations keep their size.

    Source: timm's ``adapt_input_conv`` does the same for images
    (https://github.com/huggingface/pytorch-image-models).

    Raises:
        CheckpointError: the convolution doesn't see three channels.
    """
    given = weight.shape[1]
    if given == in_channels:
        return weight
    if given != 3:
        raise CheckpointError(
            f"The stems see {given} channels, the model's {in_channels}; only RGB stems can be adapted."
        )
    if in_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    repeated = weight.repeat(1, -(-in_channels // 3), 1, 1, 1)[:, :in_channels]
    return repeated * (3 / in_channels)


def identify(
    model: str, checkpoint: Checkpoint, meant: WeightEntry | None = None
) -> tuple[WeightEntry, ModelSpec]:
    """The row of a model that a file is, and the network in the file, whose classes may be others.

    A published file is known by its hash. Any other is taken for the publisher's row that it fits if
    that leaves one network and one clip spec, or if one of them is ``meant``. A file in our own names is
    that one, else the model's default one.

    Raises:
        CheckpointError: it fits no row, or several that mean different networks or inputs.
    """
    if checkpoint.dialect == "slowfast_zoo":
        entry = meant or get_weights(model)
        return entry, spec_in_file(checkpoint, entry.model_spec)
    rows = list_weights(model)
    _check_kind(checkpoint, _scores_boxes(checkpoint), rows[0].model_spec)
    fitting = match_rows(checkpoint, rows)
    if not fitting:
        raise CheckpointError(
            f"'{checkpoint.path}' has {checkpoint.dialect} names and fits none of the {checkpoint.dialect}"
            f" weights of '{model}': give the name of its own model. A network that no model has is"
            " SlowFast(spec) with its clip_spec, which load_checkpoint(model, path) fills."
        )
    published = published_rows(checkpoint, fitting)
    entry = (published or [row for row in fitting if row == meant] or fitting)[0]
    if not published and entry != meant and len({(row.model_spec, row.clip_spec) for row in fitting}) > 1:
        raise CheckpointError(
            f"'{checkpoint.path}' fits several weights of '{model}' whose networks or input contracts differ:"
            f" {quoted(row.tag for row in fitting)}. Say whose it is like: create_model('{model}',"
            f" weights=Path(file), like='{entry.tag}'), on the command line --like {model}:{entry.tag}; where"
            f" that can't be said, take the folder that slowfast-zoo convert FILE FOLDER --like"
            f" {model}:{entry.tag} writes."
        )
    return entry, spec_in_file(checkpoint, entry.model_spec)


def published_rows(checkpoint: Checkpoint, rows: Iterable[WeightEntry]) -> list[WeightEntry]:
    """The rows whose published hash is the file's."""
    return [
        row
        for row in rows
        if row.digest and Digest.parse(row.digest).differing(checkpoint.path, checkpoint.sha256) is None
    ]


def match_rows(checkpoint: Checkpoint, rows: Iterable[WeightEntry]) -> list[WeightEntry]:
    """The catalog's rows whose file has these names and shapes.

    Rows that fit in the number of classes too come alone; if there are none, those that fit but for it
    (a publisher's network that somebody has fine-tuned).
    """
    dialects = {checkpoint.dialect, _ALSO_OF.get(checkpoint.dialect)}
    exact: list[WeightEntry] = []
    but_for_classes: list[WeightEntry] = []
    for row in rows:
        if row.dialect not in dialects:
            continue
        spec = spec_in_file(checkpoint, row.model_spec)
        pairs = names_between(spec, checkpoint.dialect).items()
        needed = {theirs for ours, theirs in pairs if theirs and not ours.endswith(".num_batches_tracked")}
        if not needed <= checkpoint.shapes.keys():  # told before shapes, which take far longer
            continue
        try:
            _pair_names(checkpoint.shapes, spec, checkpoint.dialect)
        except CheckpointError:
            continue
        (exact if spec.num_classes == row.model_spec.num_classes else but_for_classes).append(row)
    return exact or but_for_classes


def spec_in_file(checkpoint: Checkpoint, spec: ModelSpec) -> ModelSpec:
    """The spec with the classes that the file has, 0 without a classifier, and the channels of its stems.

    Where the classifier isn't under its name, and what is left over may be it, the spec keeps its classes.

    Raises:
        CheckpointError: its classifier has more rows, or its stems more channels, than any network.
    """
    shapes, names = checkpoint.shapes, names_between(spec.replace(num_classes=1), checkpoint.dialect)
    heads = [shape for ours in CLASSIFIER if (shape := shapes.get(names[ours] or ""))]
    stem = shapes.get(names[STEMS[0]] or "", ())
    table, known = get_table(checkpoint.dialect), {*names.values()}
    before, left = table.rows_before(spec), [name for name in shapes if name not in known]
    without = 0 if all(map(table.ignores, left)) else spec.num_classes
    try:
        return spec.replace(
            num_classes=heads[0][0] - before if heads else without,
            in_channels=stem[1] if len(stem) == 5 else spec.in_channels,
        )
    except SpecError as error:
        raise CheckpointError(
            f"'{checkpoint.path}' has stems or a classifier that no network has: {error}"
        ) from error


def adapt_state(
    state: dict[str, Tensor], given: ModelSpec, spec: ModelSpec, path: Path, level: int = logging.INFO
) -> dict[str, Tensor]:
    """The state dict of one network for another that differs in classes and channels at most.

    ``state`` is changed in place: a classifier for other classes is left out. That something of ``path`` is
    adapted is logged at ``level``.
    """
    if given.num_classes != spec.num_classes:
        _LOGGER.log(
            level,
            "%s has %d classes, the model %d: the model's classifier is not loaded and has to be trained.",
            *(path, given.num_classes, spec.num_classes),
        )
        for name in CLASSIFIER:
            state.pop(name, None)
    if given.in_channels != spec.in_channels:
        _LOGGER.log(level, "The RGB stems of %s are adapted to %d channels.", path, spec.in_channels)
        for name in STEMS:
            state[name] = adapt_stem(state[name], spec.in_channels)
    return state


def _pair_names(given: Mapping[str, Shape], spec: ModelSpec, dialect: str) -> dict[str, str | None]:
    """Our name of every tensor of the network, with the file's; None: a counter that the file lacks."""
    pairs, shapes, table = dict(names_between(spec, dialect)), dict(state_shapes(spec)), get_table(dialect)
    for name in CLASSIFIER if spec.num_classes else ():
        shapes[name] = (shapes[name][0] + table.rows_before(spec), *shapes[name][1:])
    known = {theirs for theirs in pairs.values() if theirs is not None}
    unexpected = [name for name in given if name not in known and not table.ignores(name)]
    missing, mismatched = [], []
    for ours, theirs in pairs.items():
        if theirs is not None and theirs in given:
            if given[theirs] != shapes[ours]:
                mismatched.append((ours, given[theirs], shapes[ours]))
        elif ours.endswith(".num_batches_tracked"):
            pairs[ours] = None
        else:
            missing.append(ours)
    if missing or unexpected or mismatched:
        raise _misfit(dialect, missing, unexpected, mismatched)
    return pairs


def _misfit(
    dialect: str, missing: list[str], unexpected: list[str], mismatched: list[tuple[str, Shape, Shape]]
) -> CheckpointError:
    parts = [f"{len(missing)} tensors are missing ({few(missing)})"] if missing else []
    if unexpected:
        parts.append(f"{len(unexpected)} are left over ({few(unexpected)})")
    if mismatched:
        shown = [f"{name}: {list(given)} instead of {list(wanted)}" for name, given, wanted in mismatched]
        parts.append(f"{len(mismatched)} have another shape ({few(shown)})")
    way_out = (
        "create_model(name, weights=Path(file)) builds the file's own network and input; like=TAG says whose"
        " where several fit."
    )
    return CheckpointError(
        f"the weights ({dialect} names) don't fit the model, which is unchanged: {'; '.join(parts)}."
        f" {way_out}",
        missing=missing,
        unexpected=unexpected,
        mismatched=mismatched,
    )


def _as_stored(name: str, tensor: Tensor) -> Tensor:
    if name.endswith(".num_batches_tracked"):
        return tensor.to(torch.int64)
    if not tensor.is_floating_point():
        raise CheckpointError(f"'{name}' holds {tensor.dtype} instead of floating-point numbers.")
    tensor = tensor.detach().to(torch.float32).contiguous()
    if name.endswith(".running_var") and tensor.numel() and tensor.min() < 0:
        raise CheckpointError(
            f"'{name}' holds negative variances: a damaged file, or means and variances were exchanged."
        )
    # a sum is several times faster, and no NaN or infinity gets lost in it; only large numbers may overflow
    if not tensor.sum().isfinite() and not tensor.isfinite().all():
        raise CheckpointError(
            f"'{name}' holds NaN or infinite numbers: a damaged file, or a failed training."
        )
    return tensor
