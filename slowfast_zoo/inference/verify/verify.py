"""Does this machine compute what was published? Every stage against stored references.

    print(verify())             # decode ... logits, and the first stage that differs
    print(verify(model))        # also: is the model what its catalog row says, is its network right

The references are part of the package, so that none of it needs a network connection.
"""

from __future__ import annotations

import copy
import functools
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slowfast_zoo.errors import InputError, SlowFastZooError, UnknownNameError, did_you_mean, quoted
from slowfast_zoo.inference.verify import stages as replay
from slowfast_zoo.inference.verify.demo_clip import demo_checks
from slowfast_zoo.inference.verify.parts import engines, labels, views
from slowfast_zoo.inference.verify.report import Check, Report
from slowfast_zoo.inference.verify.stages import Array, Measurement
from slowfast_zoo.network.provenance import of_pathways
from slowfast_zoo.network.slowfast import SlowFast, type_of
from slowfast_zoo.runtime import machine
from slowfast_zoo.runtime.devices import to_device
from slowfast_zoo.spec import ModelSpec
from slowfast_zoo.weights.catalog import get_weights
from slowfast_zoo.weights.checkpoint.dialects import CLASSIFIER, get_table, names_between
from slowfast_zoo.weights.checkpoint.loading import canonical_state_dict

REFERENCES = Path(__file__).with_name("references.json")
"""What each measurement was when the references were made (``scripts/make_verify_references.py``)."""

STAGES = (
    "decode",
    "sample",
    "resize",
    "normalize",
    "clip",
    "slow frames",
    "model",
    "network",
    "logits",
    "labels",
    "views",
    "engines",
    "demo clip",
)
"""In the order in which a video passes them; "clip" is the first four joined by the clip builder."""

_KEPT = 64  # values stored of each measurement, beside their mean and a checksum of whole numbers
_GOLDEN = 2654435761  # 2**32 over the golden ratio: its multiples spread evenly over any array

# What a broken installation raises where a sound one computes: a difference, not a crash.
_FAILURES = (SlowFastZooError, ImportError, OSError, RuntimeError, ValueError)


def verify(
    model: SlowFast | None = None,
    *,
    stages: Sequence[str] | None = None,
    demo_clip: str | Path | None = None,
    device: str | torch.device | None = None,
) -> Report:
    """Every stage from a video to logits, replayed here and compared with stored references.

    Decoding, sampling, resizing (boxes, too), normalizing and slow frames are replayed for every kind of
    input in the catalog, networks with seeded weights, and the weights that the library carries with true
    logits; class lists, the averaging of views and this machine's engines are checked. That takes about
    a minute of one core and no network connection. The engine "compile" alone takes two: it is checked
    where ``stages`` names "engines", and proves itself before it answers in any case.

    Args:
        model: also compare its spec, clip spec and labels with its catalog row, and what a copy of its
            network computes with seeded weights with what the publisher's own network gave.
        stages: only these of ``STAGES``.
        demo_clip: MMAction2's ``demo/demo.mp4``, on which published outputs of PyTorchVideo's R50 8x8 are
            known. Without ``model`` its weights come from the cache, or are downloaded.
        device: where networks run; None means where the model is, else the CPU.

    Raises:
        InputError: another kind of model, a stage without what it needs, or another video as demo clip.
        UnknownNameError: there is no such stage.
        VideoError: the demo clip can't be read.
        DownloadError: the weights for the demo clip aren't here and can't be fetched.
    """
    if model is not None and not isinstance(model, SlowFast):
        raise InputError(f"verify takes a SlowFast model or None, got {type_of(model)}.")
    wanted = _wanted(stages, model, demo_clip)
    if device is not None or model is None:
        target = to_device(device or "cpu")
    else:
        target = next(model.parameters()).device
    checks = []
    for stage in wanted:
        checks += list(_checks_of(stage, model, target, demo_clip, asked=stages is not None))
    return Report(checks=tuple(checks), environment=machine.description(target))


def summary(values: Array) -> dict[str, Any]:
    """What is stored of an array: its shape, its mean, some values, a checksum of whole numbers."""
    flat = values.ravel()
    places = np.arange(flat.size)
    if flat.size > _KEPT:
        places = (np.arange(1, _KEPT + 1, dtype=np.uint64) * _GOLDEN % 2**32 * flat.size >> 32).astype(int)
    whole = np.issubdtype(values.dtype, np.integer)
    kept = flat[places].tolist()
    stored: dict[str, Any] = {
        "shape": list(values.shape),
        "mean": float(f"{flat.mean(dtype=np.float64):.9g}"),
        "values": kept if whole else [float(f"{value:.8g}") for value in kept],
    }
    if whole:
        stored["crc32"] = zlib.crc32(np.ascontiguousarray(flat, dtype="<i8").tobytes())
    return stored


def compare(measured: Measurement, stored: dict[str, Any] | None) -> Check:
    """One measurement against what is stored of it."""
    check = functools.partial(
        Check, stage=measured.stage, what=measured.what, tolerance=measured.tolerance, unit=measured.unit
    )
    if stored is None:
        return check(ok=False, detail="no reference is stored")
    ours = summary(measured.values)
    if ours["shape"] != stored["shape"]:
        return check(ok=False, detail=f"shape {tuple(ours['shape'])}, expected {tuple(stored['shape'])}")
    reference = np.array([*stored["values"], stored["mean"]], dtype=np.float64)
    error = float(np.abs(np.array([*ours["values"], ours["mean"]], dtype=np.float64) - reference).max())
    if measured.unit == "relative":
        error /= float(np.abs(reference).max())
    same = ours.get("crc32") == stored.get("crc32")
    if measured.tolerance == 0:
        hidden = "values that aren't stored differ: the checksum says so" if error == 0 and not same else ""
        return check(ok=error == 0 and same, error=error, detail=hidden)
    return check(ok=error <= measured.tolerance, error=error)


@functools.cache
def references() -> dict[str, Any]:
    """The stored references: "stages" by stage and measurement, "networks" by name."""
    loaded: dict[str, Any] = json.loads(REFERENCES.read_text(encoding="utf-8"))
    return loaded


def publisher_reference(spec: ModelSpec) -> tuple[str, dict[str, Any]] | None:
    """Name and stored output of a publisher's network of that architecture; None if there is none."""
    for name, entry in references()["networks"].items():
        if _architecture(ModelSpec.from_dict(entry["spec"])) == _architecture(spec):
            return name, entry
    return None


def seeded_twin(model: SlowFast, entry: dict[str, Any]) -> SlowFast:
    """A copy of the model with the weights and the head window of that reference."""
    twin = copy.deepcopy(model)
    spec = ModelSpec.from_dict(entry["spec"])
    if twin.spec.num_classes != spec.num_classes:
        twin.reset_classifier(spec.num_classes)
    twin.spec = twin.spec.replace(head_window=entry["window"])
    ours = {name: tuple(value.shape) for name, value in twin.state_dict().items()}
    before = get_table(entry["dialect"]).rows_before(spec)
    ours |= {name: (ours[name][0] + before, *ours[name][1:]) for name in CLASSIFIER}
    theirs = {their: ours[name] for name, their in names_between(spec, entry["dialect"]).items() if their}
    weights = replay.seeded_weights(theirs, entry.get("gain", 1))
    twin.load_state_dict(canonical_state_dict(weights, spec, entry["dialect"]), assign=True)
    return twin


def _wanted(stages: Sequence[str] | None, model: SlowFast | None, demo_clip: str | Path | None) -> list[str]:
    needs = {"model": model, "demo clip": demo_clip}
    possible = [stage for stage in STAGES if stage not in needs or needs[stage] is not None]
    if stages is None:
        return possible
    stages = [stages] if isinstance(stages, str) or not isinstance(stages, Iterable) else [*stages]
    if not stages:
        raise InputError(f"No stages are named; the stages are: {quoted(STAGES)}, or None for all of them.")
    for stage in stages:
        if stage not in STAGES:
            hint = did_you_mean(str(stage), STAGES)
            raise UnknownNameError(f"There is no stage '{stage}'.{hint} The stages are: {quoted(STAGES)}.")
        if stage not in possible:
            needed = "a model" if stage == "model" else "demo_clip="
            raise InputError(f"The stage '{stage}' needs {needed}.")
    return [stage for stage in possible if stage in stages]


def _checks_of(
    stage: str, model: SlowFast | None, device: torch.device, demo_clip: str | Path | None, *, asked: bool
) -> Iterator[Check]:
    if stage == "demo clip" and demo_clip is not None:
        yield from demo_checks(model, demo_clip, device)
        return
    if stage == "model" and model is not None:
        yield from _model_checks(model)
        return
    runs: dict[str, Callable[[], Iterator[Measurement | Check]]] = {
        "decode": replay.decode,
        "sample": replay.sample,
        "resize": replay.resize,
        "normalize": replay.normalize,
        "clip": replay.clip,
        "slow frames": replay.slow_frames,
        "network": lambda: replay.small_networks(device),
        "logits": lambda: replay.embedded_logits(device),
        "labels": labels,
        "views": views,
        "engines": lambda: engines(device, compiled=asked),
    }
    stored = references()["stages"].get(stage, {})
    try:
        for found in runs[stage]():
            yield found if isinstance(found, Check) else compare(found, stored.get(found.what))
        if stage == "network" and model is not None:
            yield _network_check(model, device)
    except _FAILURES as error:
        detail = f"{type(error).__name__}: {error}"
        yield Check(stage=stage, what="can't be computed", ok=False, detail=detail)


def _network_check(model: SlowFast, device: torch.device) -> Check:
    """The model's network with seeded weights against the publisher's network with the same."""
    found = publisher_reference(model.spec)
    if found is None or model.spec.in_channels != 3:
        detail = "no output of a publisher's network of this architecture is stored"
        return Check(stage="network", what="the model's network", ok=None, detail=detail)
    name, entry = found
    clip = replay.seeded_clip(entry["frames"], entry["height"], entry["width"])
    twin = seeded_twin(model, entry).to(device)
    measured = replay.run_network(f"as {name} ({entry['peer']})", twin, clip, entry.get("boxes"))
    return compare(measured, entry["output"])


def _architecture(spec: ModelSpec) -> ModelSpec:
    """The spec without what doesn't change the layers in front of the classifier or its input."""
    head = spec.head_pool == "window_probs"
    return spec.replace(
        num_classes=400,
        dropout=0.5,
        in_channels=3,
        activation=spec.activation if head else "softmax",
        head_window=None if spec.head_pool == "global" else 7,
    )


def _model_checks(model: SlowFast) -> Iterator[Check]:
    """Whether the model still is what its provenance says."""
    values = model.state_dict().items()
    broken = [name for name, value in values if value.is_floating_point() and not value.isfinite().all()]
    detail = f"NaN or infinity in {quoted(broken[:3])}" if broken else ""
    yield Check(stage="model", what="all weights are finite", ok=not broken, detail=detail)
    name, tag = model.provenance.get("model"), of_pathways(model.provenance).get("tag")
    if name is None or tag is None:
        detail = "the model doesn't name published weights"
        yield Check(stage="model", what="the catalog row", ok=None, detail=detail)
        return
    try:
        row = get_weights(name, tag)
    except UnknownNameError as error:
        yield Check(stage="model", what="the catalog row", ok=False, detail=str(error))
        return
    fields = ("num_classes", "in_channels", "dropout")
    chosen = {field: getattr(model.spec, field) for field in fields}
    row_name = replay.row_name(row)
    for what, given, expected in (
        ("network spec", model.spec, row.model_spec.replace(**chosen)),
        ("clip spec", model.clip_spec, row.clip_spec),
    ):
        differing = [field for field, value in vars(expected).items() if getattr(given, field) != value]
        detail = "; ".join(
            f"{field} is {getattr(given, field)!r}, not {getattr(expected, field)!r}" for field in differing
        )
        yield Check(stage="model", what=f"{what} of {row_name}", ok=not differing, detail=detail)
    yield _labels_check(model, row.labels, row_name)


def _labels_check(model: SlowFast, expected: tuple[str, ...], row_name: str) -> Check:
    what = f"labels of {row_name}"
    fresh = "tag" not in model.provenance and model.labels != expected
    if fresh or model.spec.num_classes != len(expected):
        detail = f"the model has {model.spec.num_classes} classes of its own"
        return Check(stage="model", what=what, ok=None, detail=detail)
    if model.labels is None:
        return Check(stage="model", what=what, ok=False, detail="the model has none")
    pairs = enumerate(zip(model.labels, expected, strict=True))
    wrong = next((f"class {i} is {a!r}, not {b!r}" for i, (a, b) in pairs if a != b), "")
    return Check(stage="model", what=what, ok=not wrong, detail=wrong)
