"""int8 networks: NNCF quantizes OpenVINO's graph, what that harms is put back, and the rest proves itself.

Every convolution multiplies 8-bit weights (a scale for each output channel) by 8-bit maps (one scale each,
from the clips that calibrate); the classifier isn't quantized. Where the logits of these clips are too far
off, the parts of the network are put back one by one, those first that help most when they are measured
alone. What isn't quantized is computed in float32, or in bfloat16 where the processor has it. The result is
compared with float32 on clips that it hasn't seen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from slowfast_zoo.errors import ExportError, InputError
from slowfast_zoo.inference.engines import artifacts
from slowfast_zoo.inference.engines.engine import Run, Shape
from slowfast_zoo.inference.engines.folding import FoldedNetwork, lower
from slowfast_zoo.inference.engines.graph import capture, openvino_core, to_openvino
from slowfast_zoo.inference.engines.openvino.calibration import JUDGING, Calibration, calibration_of
from slowfast_zoo.inference.engines.openvino.engine import compiled, openvino_settings
from slowfast_zoo.inference.engines.stems import stem_layouts
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.runtime.machine import processor_features
from slowfast_zoo.runtime.packages import require
from slowfast_zoo.runtime.precision import TOLERANCES, float32_products
from slowfast_zoo.runtime.progress import shown

if TYPE_CHECKING:
    from slowfast_zoo.inference.engines.openvino.calibration import CalibrationSource

_LOGGER = logging.getLogger(__name__)

INT8_PACKAGES = ("nncf", "openvino")
"""What making an int8 network needs; running it needs OpenVINO alone."""

MIN_AGREEMENT = 0.99
"""For which share of clips int8 names float32's best class, unless less is asked for."""

_WANTED_ERROR = 0.03
"""Of a clip's largest logit, in the mean of the clips: up to this nothing is put back."""

_WEIGHED = 16
"""Calibrating clips that parts of the network are measured on."""

_EMBEDDED = "slowfast_zoo_int8"
"""Name of the JSON inside a kept graph."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """How an int8 network compares with the same in float32, on clips that it wasn't calibrated with."""

    calibration_clips: int
    """Clips that it was calibrated with."""
    clips: int
    """Clips that it was judged on."""
    top1_agreement: float
    """Share (0 to 1) of these with the same best class."""
    top5_agreement: float
    """Mean share of the five best classes that both name."""
    relative_difference: float
    """Largest difference of any logit, as a share of the largest absolute logit of all clips."""
    mean_difference: float
    """Mean over the clips of the largest difference, as a share of the clip's largest absolute logit."""
    float32_p50_seconds: float
    """Median time of OpenVINO in float32 for one clip, both in turn."""
    int8_p50_seconds: float
    """Median time of the int8 network for one clip."""
    float32_parts: tuple[str, ...]
    """Parts of the network that weren't quantized, because that harmed too much."""
    weight_bits: int
    """8; 7 for processors without the instructions (VNNI) that products of 8 bits don't overflow in."""

    @property
    def slower(self) -> bool:
        """Whether int8 takes longer here than float32, by the medians."""
        return self.int8_p50_seconds > self.float32_p50_seconds

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain JSON values."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        few = f" (fewer than {JUDGING})" if self.clips < JUDGING else ""
        parts = f"; not in int8: {', '.join(self.float32_parts)}" if self.float32_parts else ""
        return (
            f"int8 names float32's best class for {self.top1_agreement:.1%} of {self.clips} clips{few} that"
            f" calibration did not see, {self.top5_agreement:.1%} of its five best; logits differ by"
            f" {self.relative_difference:.1%} of the largest one (mean {self.mean_difference:.1%}){parts}\n"
            f"one clip: float32 {1000 * self.float32_p50_seconds:.1f} ms,"
            f" int8 {1000 * self.int8_p50_seconds:.1f} ms"
        )


@dataclasses.dataclass(frozen=True)
class Int8Network:
    """An int8 network for clips of one shape."""

    graph: Any
    """``openvino.Model``, input ``clip``, one at a time: of several OpenVINO 2026.4 gets all wrong in int8.
    Output ``logits``."""
    shape: Shape
    agreement: Agreement
    name: str | None
    """Stands for it among the kept artifacts; None: nothing does, and it isn't kept."""

    def run(self, shape: Shape) -> Run:
        """As an engine for clips of a shape.

        Raises:
            InputError: another shape than it was calibrated for.
        """
        if shape != self.shape:
            raise InputError(
                f"This int8 network was calibrated for clips {self.shape}, got {shape}: calibrate it with"
                " clips of that size."
            )
        return compiled(int8_settings(), self.name, lambda: self.graph)


def check_agreement(agreement: Agreement, least: float) -> None:
    """Refuses an int8 network that answers otherwise too often.

    Raises:
        ExportError: says how often, and the ways out.
    """
    if agreement.clips < JUDGING:
        _LOGGER.warning(
            "int8 was judged on %d clips only, %d are what its agreement is asked for: give more or longer"
            " calibration videos.",
            agreement.clips,
            JUDGING,
        )
    if agreement.top1_agreement < least:
        raise ExportError(
            f"int8 is refused: it names float32's best class for {agreement.top1_agreement:.1%} of"
            f" {agreement.clips} clips, asked are {least:.1%} (min_agreement); calibrate with more videos of"
            " the kind that will come, ask for less, or take precision='bfloat16' or 'float32'."
        )


def int8_settings() -> dict[str, Any]:
    """OpenVINO's properties; what isn't quantized is computed in bfloat16 where the processor has it."""
    features = processor_features()
    half = "amx_bf16" in features or "avx512_bf16" in features
    return openvino_settings("bfloat16" if half else "float32")


@float32_products("float32", torch.device("cpu"))
def to_int8(folded: SlowFast, source: CalibrationSource, *, given: SlowFast | None = None) -> Int8Network:
    """An int8 network, or the one kept from an earlier call with the same weights and videos.

    Args:
        folded: the network in float32, batch norms folded, on the CPU.
        source: videos or clips, as ``calibration_of`` takes them.
        given: the network that was folded, ``as_given``, whose answer to a clip float32 is held to.

    Raises:
        InputError: too few clips, or a network for boxes or without classes.
        MissingDependencyError: NNCF or OpenVINO isn't installed.
        ExportError: the network can't be converted, gives no numbers, or other ones in OpenVINO's float32.
    """
    if folded.spec.roi is not None:
        raise InputError("This network takes boxes, which int8 doesn't yet: take float32 or bfloat16.")
    if folded.spec.num_classes == 0:
        raise InputError(
            "This network has no classes (num_classes=0), by which int8 is judged: take float32 or bfloat16."
        )
    for package in INT8_PACKAGES:
        require(package, *INT8_PACKAGES)
    calibration = calibration_of(source, folded.clip_spec)
    shape = calibration.shape
    versions = (require("nncf").__version__, require("openvino").__version__)
    stems = stem_layouts("int8", torch.device("cpu"))
    facts = ("int8", stems, *versions, shape, calibration.identity, _weight_bits(), int8_settings())
    name = None if calibration.identity is None else artifacts.fingerprint(folded, *facts, suffix=".int8")
    if name is not None and (kept := _load(name)) is not None:
        return Int8Network(*kept, name)
    graph, agreement = _made(given or folded, folded, calibration, shape)
    _store(name, graph, agreement)
    return Int8Network(graph, shape, agreement, name)


def _weight_bits() -> int:
    """Without VNNI two products of 8 bits are summed in 16, which overflow; of 7 bits they don't."""
    features = processor_features()
    x86 = not features or any(feature.startswith(("avx", "fma")) for feature in features)
    vnni = {"avx512_vnni", "avx_vnni", "amx_int8"} & set(features)
    return 8 if vnni or not x86 else 7


def _made(given: SlowFast, folded: SlowFast, calibration: Calibration, shape: Shape) -> tuple[Any, Agreement]:
    clips = calibration.unseen()  # too few are refused before what takes minutes
    first = calibration.seen[0]()
    with torch.inference_mode():
        expected = given(first)
    _check_numbers(expected)  # OpenVINO would hide what the weights lack
    network = lower(folded, "float32", stems=stem_layouts("int8", torch.device("cpu")))
    plain = to_openvino(capture(network, shape), shape, batch=1)
    reference = compiled(openvino_settings("float32"), None, lambda: plain)
    difference = float((reference(first) - expected).abs().max() / expected.abs().max().clamp(min=1e-30))
    if not difference <= TOLERANCES["float32"]:
        raise ExportError(
            f"int8 is refused: OpenVINO in float32, which judges it, is off by {difference:.1e} of the"
            f" model's largest logit, accepted {TOLERANCES['float32']:.0e}; take engine='eager' and float32."
        )
    before = time.perf_counter()
    graph = _quantized(plain, calibration)
    _LOGGER.info("Quantized with %d clips in %.0f s.", len(calibration.seen), time.perf_counter() - before)
    parts = _put_back(plain, graph, network, [make() for make in calibration.seen[:_WEIGHED]], reference)
    run = compiled(int8_settings(), None, lambda: graph)
    agreement = compare(reference, run, shown(clips, "int8", JUDGING))
    return graph, dataclasses.replace(
        agreement, calibration_clips=len(calibration.seen), float32_parts=tuple(parts)
    )


def _quantized(plain: Any, calibration: Calibration) -> Any:
    nncf = require("nncf", *INT8_PACKAGES)
    logging.getLogger("nncf").setLevel(logging.ERROR)
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    class Clips:
        """NNCF counts the items, and reads them several times."""

        def __len__(self) -> int:
            return len(calibration.seen)

        def __iter__(self) -> Iterator[Any]:
            return (make().numpy() for make in calibration.seen)

    fix = OverflowFix.ENABLE if _weight_bits() == 7 else OverflowFix.DISABLE
    with contextlib.redirect_stdout(sys.stderr):  # where bars belong
        return nncf.quantize(
            plain,
            nncf.Dataset(Clips()),
            subset_size=len(calibration.seen),
            target_device=nncf.TargetDevice.CPU,
            ignored_scope=nncf.IgnoredScope(types=["MatMul"], validate=False),  # the classifier
            # The widest range of all clips, as the mean of theirs cuts off the bright ones; and no correction
            # of biases, which takes half of the time and made every network tried worse.
            advanced_parameters=AdvancedQuantizationParameters(
                overflow_fix=fix,
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
                disable_bias_correction=True,
            ),
        )


def _put_back(
    plain: Any, graph: Any, network: FoldedNetwork, clips: Sequence[Tensor], reference: Run
) -> list[str]:
    """Puts parts of the network back to float32 until its logits are near enough, and gives their names.

    Where half of the parts isn't enough nothing is put back: the judging clips have the last word.
    """

    def error() -> float:
        run = compiled(int8_settings(), None, lambda: graph)
        return compare(reference, run, clips).mean_difference

    if error() <= _WANTED_ERROR:
        return []
    parts = _parts(plain, graph, network)
    helped: dict[str, float] = {}
    for name, convolutions in parts.items():
        undo = [each.to_float() for each in convolutions]
        helped[name] = error()
        for again in undo:
            again()
    back: list[str] = []
    undo = []
    for name in sorted(helped, key=lambda part: helped[part])[: len(parts) // 2]:
        undo += [each.to_float() for each in parts[name]]
        back.append(name)
        if error() <= _WANTED_ERROR:
            return back
    for again in reversed(undo):
        again()
    return []


@dataclasses.dataclass(frozen=True)
class _Convolution:
    """One of the int8 graph, and its weights in float32."""

    node: Any
    weights: Any

    def to_float(self) -> Callable[[], None]:
        """Lets it multiply in float32; what comes back undoes that."""
        inputs = [self.node.input(index) for index in (0, 1)]
        before = [each.get_source_output() for each in inputs]
        maps = before[0].get_node()
        if maps.get_type_name() == "FakeQuantize":
            inputs[0].replace_source_output(maps.input_value(0))
        inputs[1].replace_source_output(self.weights.output(0))

        def undo() -> None:
            for each, source in zip(inputs, before, strict=True):
                each.replace_source_output(source)

        return undo


def _parts(plain: Any, graph: Any, network: FoldedNetwork) -> dict[str, list[_Convolution]]:
    """The convolutions by the part of the network that they are in: a stem, a stage, a lateral connection."""
    from openvino import opset13

    names = {
        tensor.numpy().tobytes(): ".".join(name.split(".")[:2])
        for name, tensor in network.state_dict().items()
        if tensor.ndim == 5
    }
    quantized = {node.get_friendly_name(): node for node in graph.get_ops()}
    parts: dict[str, list[_Convolution]] = {}
    for node in plain.get_ordered_ops():
        if node.get_type_name() == "Convolution":
            values = np.array(node.input_value(1).get_node().data, np.float32)
            part = names.get(values.tobytes(), node.get_friendly_name())
            convolution = _Convolution(quantized[node.get_friendly_name()], opset13.constant(values))
            parts.setdefault(part, []).append(convolution)
    return parts


def compare(float32: Run, int8: Run, clips: Iterable[Tensor]) -> Agreement:
    """Both networks on clips, in turn.

    Args:
        float32: the network that is right.
        int8: the other.
        clips: float32 ``(1, C, T, H, W)`` each.

    Raises:
        ExportError: the network that is right gives no numbers.
    """
    logits: list[tuple[Tensor, Tensor]] = []
    seconds: tuple[list[float], list[float]] = ([], [])
    for clip in clips:
        answers = []
        for run, times in zip((float32, int8), seconds, strict=True):
            before = time.perf_counter()
            answers.append(run(clip)[0])
            times.append(time.perf_counter() - before)
        logits.append((answers[0], answers[1]))
    expected, got = (torch.stack(each) for each in zip(*logits, strict=True))
    _check_numbers(expected)
    differences, largest = (got - expected).abs().amax(1), expected.abs().amax(1).clamp(min=1e-30)
    best = min(5, expected.shape[1])
    pairs = zip(expected.topk(best).indices.tolist(), got.topk(best).indices.tolist(), strict=True)
    return Agreement(
        calibration_clips=0,
        clips=len(logits),
        top1_agreement=float((expected.argmax(1) == got.argmax(1)).double().mean()),
        top5_agreement=float(np.mean([len(set(one) & set(other)) / best for one, other in pairs])),
        relative_difference=float(differences.max() / largest.max()),
        mean_difference=float((differences / largest).mean()),
        float32_p50_seconds=float(np.median(seconds[0])),
        int8_p50_seconds=float(np.median(seconds[1])),
        float32_parts=(),
        weight_bits=_weight_bits(),
    )


def _check_numbers(logits: Tensor) -> None:
    if not logits.isfinite().all():
        raise ExportError("The model returns NaN or infinite numbers for a calibration clip: train it first.")


def _store(name: str | None, graph: Any, agreement: Agreement) -> None:
    """Keeps a graph with its proof inside; its length is in front of it, and its weights after it."""
    graph.set_rt_info(json.dumps(agreement.to_dict()), [_EMBEDDED])
    if name is None:
        return
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.xml"
            require("openvino").save_model(graph, path, compress_to_fp16=False)
            text, weights = path.read_bytes(), path.with_suffix(".bin").read_bytes()
    except (OSError, RuntimeError) as error:  # what OpenVINO makes of a full disk
        _LOGGER.warning("The int8 network isn't kept for the next time: %s", error)
        return
    artifacts.store(name, len(text).to_bytes(8, "big") + text + weights)


def _load(name: str) -> tuple[Any, Shape, Agreement] | None:
    content = artifacts.load(name)
    if content is None:
        return None
    length = int.from_bytes(content[:8], "big")
    try:
        graph = openvino_core().read_model(content[8 : 8 + length], content[8 + length :])
        facts = json.loads(graph.get_rt_info([_EMBEDDED]).astype(str))
        facts["float32_parts"] = tuple(facts["float32_parts"])
        shape = graph.inputs[0].get_partial_shape()
        channels, frames, height, width = (shape[index].get_length() for index in range(1, 5))
        return graph, (channels, frames, height, width), Agreement(**facts)
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        _LOGGER.warning("The int8 network %s, kept by another release, is made again: %s", name, error)
        return None
