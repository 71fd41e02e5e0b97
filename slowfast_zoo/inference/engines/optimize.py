"""``optimize``: the same model, made fast; one object that is called like the module.

Which engine "auto" takes:

- What was measured on this machine for the network, size and precision (``slowfast-zoo doctor`` shows it):
  the engine that is quickest for so many clips, its start included; never one that takes more than 1.5 times
  the memory of the next for a gain below 10 %.
- Where nothing was measured, a rule of thumb, counted in clips of R50 4x16 at 224 pixels: the model itself
  for one or two, eager from 3 on (on x86; elsewhere not at all), OpenVINO where it is installed from 25 on,
  or when nobody knows how many will come; on a GPU the model itself in float32 and eager in half precision.
- A long job measures: when its first clips are there it times the engines on them that can be started and
  timed in 3 % of the time that the job takes, and goes on with the best. Only so is ``compile`` ever chosen.

An engine's first answer for a network, precision and size on a machine is compared with the module's, see
trial.py; where somebody's own code takes part, with that of a copy of the model as it was given. One that
"auto" chose and that fails to start or is wrong is replaced by eager, with a warning, and eager by the
network as torch computes it; any other is refused.
"""

from __future__ import annotations

import copy
import functools
import logging
import math
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, get_args

import torch
from torch import Tensor

from slowfast_zoo.errors import ExportError, InputError, MissingDependencyError, unknown_name
from slowfast_zoo.inference.engines import EngineName
from slowfast_zoo.inference.engines.auto.measuring import Candidate, Measured, best, measure
from slowfast_zoo.inference.engines.auto.records import Case
from slowfast_zoo.inference.engines.eager import EAGER
from slowfast_zoo.inference.engines.engine import (
    Engine,
    Run,
    Shape,
    example_boxes,
    with_head,
)
from slowfast_zoo.inference.engines.folding import (
    FoldedNetwork,
    Maps,
    as_given,
    check_model,
    fold_batch_norms,
    lower,
    use_products,
)
from slowfast_zoo.inference.engines.onnxruntime import ONNXRUNTIME
from slowfast_zoo.inference.engines.openvino.calibration import check_calibration
from slowfast_zoo.inference.engines.openvino.engine import OPENVINO
from slowfast_zoo.inference.engines.openvino.int8 import (
    MIN_AGREEMENT,
    Agreement,
    Int8Network,
    check_agreement,
    to_int8,
)
from slowfast_zoo.inference.engines.stems import stem_layouts
from slowfast_zoo.inference.engines.torch_compile.inductor import COMPILE
from slowfast_zoo.inference.engines.trial import check_half_precision, prove
from slowfast_zoo.network.slowfast import SlowFast, check_boxes, check_clip, check_labels
from slowfast_zoo.network.structure import hooked, is_foreign
from slowfast_zoo.runtime.devices import to_device
from slowfast_zoo.runtime.machine import resident_bytes
from slowfast_zoo.runtime.precision import (
    EnginePrecision,
    Precision,
    check_precision,
    float32_products,
)
from slowfast_zoo.spec import LARGEST, ModelSpec
from slowfast_zoo.video.sampling import checked_count

if TYPE_CHECKING:
    from slowfast_zoo.inference.engines.openvino.calibration import CalibrationSource

_LOGGER = logging.getLogger(__name__)

ENGINES = {engine.name: engine for engine in (EAGER, ONNXRUNTIME, OPENVINO, COMPILE)}
"""By name; of those that pay by the rule of thumb "auto" takes the last."""

MODULE = "module"
"""What takes the place of "auto"'s choice where no engine is right: the network as torch computes it."""

_SMALL = 0.1
"""Clips of R50 4x16 at 224 pixels that a clip costs; of a model below only many earn an engine's start."""

_MANY = 1000
"""Clips of any size for which an engine is taken even so: where they are long enough, they are measured."""

UNANNOUNCED = 100
"""Clips that are expected of a caller who doesn't know how many will come, whatever their size."""

_SHAPES = 32
"""Sizes of clips whose engines one model keeps, the latest ones: each may hold a copy of the weights."""

_broken: set[str] = set()
"""Engines that are installed and couldn't be imported: "auto" doesn't try again."""


def optimize(
    model: SlowFast,
    engine: EngineName = "auto",
    precision: EnginePrecision = "float32",
    *,
    device: str | torch.device | None = None,
    clips: int | None = None,
    calibration: CalibrationSource | None = None,
    min_agreement: float = MIN_AGREEMENT,
) -> OptimizedModel:
    """A fast copy of a model for inference, called like it: clips ``(B, C, T, H, W)`` to logits.

    One that scores persons is called with boxes as well: any number of them, which cost no new start. The
    model stays as it is, and what happens to its weights later doesn't reach the copy. An engine
    starts at the first clip of each size, or in ``warm_up``.

    Args:
        model: the model.
        engine: "eager" (batch norms folded; on x86 every convolution by oneDNN), "compile"
            (torch.compile, with fewer products on x86), "openvino" or "onnxruntime" (further packages,
            CPU only); "auto" chooses as this module's text says.
        precision: "float32" gives the model's logits to 1e-5 of the largest one, on a GPU to 1e-4.
            "bfloat16" gives them to about 1 % and is about twice as fast where the processor has it;
            "float16" is for GPUs, and so is "tf32": float32 with products that round their factors, to about
            0.1 %.
            "int8" (OpenVINO and NNCF, CPU only) is faster still and learns from ``calibration`` in what range
            each layer's numbers lie: minutes, kept for the next time. What harms too much isn't quantized,
            and ``agreement`` of the result is the proof on clips that it hasn't seen.
        device: where to compute; None: where the model is.
        clips: how many clips will come, where that is known; only "auto" looks at it. Many are measured.
        calibration: for int8: videos of the kind that will come, as ``predict_many`` takes them,
            132 of which are used at most, as 32 clips to learn from and 100 to be judged on (of fewer than
            eight videos several clips each, the first quarter in time to learn from); or normalized clips,
            float ``(N, C, T, H, W)``, every fourth to learn from. A clip that shares more than three quarters
            of its frames with those isn't judged on.
        min_agreement: for int8: for which share of the judging clips it must name float32's best class.

    Raises:
        UnknownNameError: no such engine or precision.
        InputError: it is no SlowFast or has forward hooks, the engine, precision and device don't go
            together, or there are too few clips to calibrate with.
        MissingDependencyError: what the engine needs isn't installed.
        ExportError: int8 agrees less than is asked for.
    """
    if engine not in get_args(EngineName):
        raise unknown_name(f"There is no engine '{engine}'.", engine, get_args(EngineName))
    check_precision(precision, get_args(EnginePrecision))
    if not isinstance(clips, int | None):
        raise InputError(f"clips is {clips!r:.60}; accepted: how many will come, or None.")
    check_model(model)
    _check_no_hooks(model)
    target = to_device(device) if device is not None else next(model.parameters()).device
    if precision == "int8":
        return _in_int8(model, engine, target, calibration, min_agreement)
    check_calibration(precision, calibration)
    name = engine if engine != "auto" else choose(model, target, precision, clips) or EAGER.name
    ENGINES[name].refuse(target, precision)
    folded = fold_batch_norms(model)
    fast = OptimizedModel(model, folded, ENGINES[name], precision, target, replaceable=engine == "auto")
    fast.expect(clips)
    return fast


def _in_int8(
    model: SlowFast,
    engine: EngineName,
    device: torch.device,
    calibration: CalibrationSource | None,
    min_agreement: float,
) -> OptimizedModel:
    if engine not in ("auto", OPENVINO.name):
        raise InputError(f"int8 is computed by engine='{OPENVINO.name}', got '{engine}'.")
    check_calibration("int8", calibration, min_agreement)
    assert calibration is not None
    OPENVINO.refuse(device, "float32")
    folded = fold_batch_norms(model).to(device)
    network = to_int8(folded, calibration, given=as_given(model).to(device))
    check_agreement(network.agreement, min_agreement)
    return OptimizedModel(model, folded, OPENVINO, "int8", device, replaceable=False, int8=network)


def _check_no_hooks(model: SlowFast) -> None:
    """Refuses hooks, which an engine calls in other places, with other maps, or never."""
    if (name := hooked(model)) is not None:
        raise InputError(
            f"The model has a forward hook{f' at {name!r}' if name else ''}, and engines don't keep to hooks:"
            " remove it, or call the model itself, as predict does with engine='auto' and"
            " precision='float32'."
        )


def choose(
    model: SlowFast,
    device: torch.device,
    precision: Precision = "float32",
    clips: int | None = None,
    engines: Iterable[Engine] = ENGINES.values(),
) -> str | None:
    """The engine that "auto" stands for; see the text of this module.

    Args:
        model: what will be computed.
        device: where to compute.
        precision: what to compute in.
        clips: how many clips will come; None: not known.
        engines: to choose from; the last one that pays is taken.

    Returns:
        its name; None where none pays, so that the model as it is does best. So does one that computes in
        other numbers than float32 as its owner has chosen, or has hooks.
    """
    other = next(model.parameters()).dtype != torch.float32 or hooked(model) is not None
    if precision == "float32" and other:
        return None
    there = {
        engine.name: engine
        for engine in engines
        if engine.name not in _broken and _works(engine, device, precision, imported=False)
    }
    while (name := _chosen(model, device, precision, clips, there)) and not _works(
        there[name], device, precision
    ):
        _broken.add(name)
        del there[name]
    return name


def _chosen(
    model: SlowFast,
    device: torch.device,
    precision: Precision,
    clips: int | None,
    there: Mapping[str, Engine],
) -> str | None:
    """``choose`` among the engines that are there, none of whose packages is imported for it."""
    size = model.clip_spec.test_crop
    case = _case(model.spec, (model.spec.in_channels, model.spec.num_frames, size, size), precision, device)
    known = {name: each for name, each in case.known().items() if name in there or name == MODULE}
    compared = MODULE in known or (precision != "float32" and len(known) > 1)
    if compared and (measured := best(known, UNANNOUNCED if clips is None else clips)):
        return None if measured == MODULE else measured
    cost, many = _cost(model), clips is not None and clips >= _MANY
    if precision == "float32" and cost < _SMALL:
        return EAGER.name if many and EAGER.name in there else None
    announced = UNANNOUNCED if clips is None else clips * cost
    paying = [name for name, each in there.items() if announced >= each.pays_from(device, precision)]
    return paying[-1] if paying else EAGER.name if many and EAGER.name in there else None


def _works(engine: Engine, device: torch.device, precision: Precision, *, imported: bool = True) -> bool:
    try:
        engine.refuse(device, precision, imported=imported)
    except (InputError, MissingDependencyError):
        return False
    return True


def _case(spec: ModelSpec, shape: Shape, precision: Precision, device: torch.device) -> Case:
    packages = dict.fromkeys(package for engine in ENGINES.values() for package in engine.packages)
    return Case(spec, shape, precision, device, tuple(packages))


def _cost(model: SlowFast) -> float:
    """Roughly how long a clip takes, in clips of R50 4x16 at 224 pixels: what engines are weighed with."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    pixels = model.spec.num_frames * model.clip_spec.test_crop**2
    return parameters / 34.5e6 * pixels / (32 * 224**2)


class OptimizedModel:
    """A model behind an engine; ``optimize`` makes it.

    Attributes:
        spec: what the network computes.
        clip_spec: the input contract of the weights.
        provenance: where the weights come from.
        engine: "eager", "compile", "openvino" or "onnxruntime"; "module" where none was right.
        precision: of the two pathways.
        agreement: of int8 with float32, on clips that it hasn't seen; None in other precisions.
        device: where it computes.
        startup_seconds: what starting the engine has taken so far, first inferences included.
    """

    training = False

    def __init__(
        self,
        model: SlowFast,
        folded: SlowFast,
        engine: Engine,
        precision: EnginePrecision,
        device: torch.device,
        *,
        replaceable: bool,
        int8: Int8Network | None = None,
    ) -> None:
        self.spec, self.clip_spec, self._labels = model.spec, model.clip_spec, model.labels
        self.provenance: dict[str, Any] = copy.deepcopy(model.provenance)
        self.engine, self.precision, self.device = engine.name, precision, device
        self.agreement: Agreement | None = None if int8 is None else int8.agreement
        self._int8 = int8
        self.startup_seconds = 0.0
        self._folded = folded.to(device)
        self._foreign = is_foreign(model)
        # In float32: what an engine's first answer is compared with. Where all code is known, folding changes
        # nothing, and a second copy of the weights is saved.
        self._module = as_given(model).to(device) if self._foreign else self._folded
        self._replaceable = replaceable
        self._runs: dict[Shape, Run] = {}
        self._starts: dict[Shape, Measured] = {}
        self._expected = 0
        self._weighed: dict[Shape, int] = {}
        self._idle_bytes = _memory_of(device)
        self._lock = threading.Lock()

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Class names in the order of the logits, or None; ``num_classes`` names may be assigned."""
        return self._labels

    @labels.setter
    def labels(self, labels: Sequence[str] | None) -> None:
        self._labels = check_labels(labels, self.spec.num_classes)

    def __call__(self, clip: Tensor, boxes: Tensor | None = None) -> Tensor:
        """Logits float32 ``(B, num_classes)`` on ``device``, without gradients; a row for each box, if any.

        Args:
            clip: float ``(B, C, T, H, W)`` on any device, normalized as ``clip_spec`` says.
            boxes: for a network that scores persons: as for ``SlowFast.forward``, on any device.

        Raises:
            InputError: a rank, dtype or size that the network can't take; boxes that are none.
            ExportError: the engine can't take this model.
        """
        check_clip(clip, self.spec)
        check_boxes(boxes, self.spec, clip)
        # A copy, as what is made in inference mode can take no part in a training, not even as its target.
        return self._answer(clip, boxes).clone()

    @torch.inference_mode()
    def _answer(self, clip: Tensor, boxes: Tensor | None) -> Tensor:
        clip = clip.to(self.device, torch.float32)
        if not len(clip if boxes is None else boxes):
            return clip.new_empty((0, self.spec.num_classes or self.spec.num_features))
        channels, frames, height, width = clip.shape[1:]
        with float32_products(self.precision, self.device):
            run = self._run_for((channels, frames, height, width), clip)
        boxes = None if boxes is None else boxes.to(self.device, torch.float32)
        with float32_products(self.precision, self.device):  # which the start may have changed
            return run(clip) if boxes is None else with_head(run, self._module)(clip, boxes)

    def expect(self, clips: int | None) -> None:
        """Announces how many clips will come: where "auto" chose the engine and the job is long, the next
        ones are what it measures engines with. None: nobody knows."""
        self._expected = max(self._expected, clips or 0)

    def warm_up(self, height: int | None = None, width: int | None = None) -> float:
        """Starts the engine for one size of clips; gives the seconds that it took.

        Args:
            height: in pixels; None: the clip spec's test crop.
            width: in pixels; None: as the height.
        """
        height = checked_count("height", self.clip_spec.test_crop if height is None else height)
        width = checked_count("width", height if width is None else width)
        if max(height, width) > LARGEST["size"]:
            given = f"{height!r:.20} x {width!r:.20}"
            raise InputError(f"Pictures of {given} are too large; accepted: up to {LARGEST['size']} each.")
        before = time.perf_counter()
        shape = (self.spec.in_channels, self.spec.num_frames, height, width)
        self(torch.zeros(1, *shape, device="cpu"), *example_boxes(self.spec, shape))
        return time.perf_counter() - before

    def eval(self) -> OptimizedModel:
        """Itself: it has no other mode."""
        return self

    def __reduce__(self) -> NoReturn:
        raise InputError(
            "An optimized model can't be copied or sent to another process: give the model itself, or"
            " BatchPredictor, and optimize it there."
        )

    def __repr__(self) -> str:
        return f"OptimizedModel(engine={self.engine!r}, precision={self.precision!r}, device='{self.device}')"

    def _run_for(self, shape: Shape, clips: Tensor) -> Run:
        with self._lock:
            there = shape in self._runs
            self._runs[shape] = self._runs.pop(shape) if there else self._started(shape)  # the latest last
            for old in list(self._runs)[:-_SHAPES]:
                for kept in (self._runs, self._starts, self._weighed):
                    kept.pop(old, None)
            if self._replaceable and self._expected > self._weighed.get(shape, _MANY - 1):
                self._weighed[shape] = self._expected
                self._weigh(shape, clips)
            return self._runs[shape]

    def _started(self, shape: Shape) -> Run:
        """The engine for one size of clips, after it has proven itself."""
        before = time.perf_counter()
        while (run := self._attempt(shape)) is None:
            pass
        seconds = time.perf_counter() - before
        self._starts[shape] = Measured(
            seconds_per_clip=math.inf, start_seconds=seconds, memory_bytes=_memory_of(self.device)
        )
        self.startup_seconds += seconds
        _LOGGER.info("%s started for clips %s in %.1f s.", self.engine, shape, seconds)
        return run

    def _weigh(self, shape: Shape, clips: Tensor) -> None:
        """Measures engines on clips of a long job, as far as that wasn't done, and takes the best one."""
        before = time.perf_counter()
        assert self.precision != "int8"
        case = _case(self.spec, shape, self.precision, self.device)
        others = [
            Candidate(name=name, starts_in=starts_in, start=functools.partial(self._build, name, shape))
            for name, starts_in in self._others().items()
        ]
        known = case.known()
        found, started = measure(
            self.engine,
            self._runs[shape],
            others,
            clips,
            self._expected,
            known,
            started=self._starts[shape],
            idle_bytes=self._idle_bytes,
            memory=functools.partial(_memory_of, self.device),
        )
        # Of damaged weights, or of other people's modules, it is no measure of the network.
        if not self._foreign and found != known and self._runs[shape](clips).isfinite().all():
            case.keep(found)
        there = {name: each for name, each in found.items() if name in self._others() or name == self.engine}
        name = best(there, self._expected) or self.engine
        _LOGGER.info("auto is %s for %d clips %s; measured: %s.", name, self._expected, shape, found)
        if name != self.engine:
            self.engine = name
            self._runs[shape] = started.get(name) or self._started(shape)
        self.startup_seconds += time.perf_counter() - before

    def _others(self) -> dict[str, float]:
        """The engines that could take this one's place, and how long they start at most."""
        assert self.precision != "int8"
        names = {
            name: engine.starts_in
            for name, engine in ENGINES.items()
            if name != self.engine and _works(engine, self.device, self.precision)
        }
        return names | ({MODULE: 0.0} if self.precision == "float32" and self.engine != MODULE else {})

    def _build(self, name: str, shape: Shape) -> Run:
        """An engine for one size of clips, after it has proven itself."""
        if self._int8 is not None:
            return self._int8.run(shape)
        assert self.precision != "int8"
        if name == MODULE:
            return self._module if self.spec.roi is None else Maps(self._module)
        engine = ENGINES[name]
        lowered = lower(self._folded, self.precision, stems=stem_layouts(self.precision, self.device))
        network: FoldedNetwork = lowered if self.spec.roi is None else Maps(lowered)
        if engine.torch_kernels and self.device.type == "cpu" and self.precision != "float32":
            use_products(network)
            check_half_precision(network, (1, *shape), self.precision)
        run = engine.build(network, self.precision, self.device, shape)
        prove(engine, with_head(run, self._module), self._module, self.precision, self.device, shape)
        return run

    def _attempt(self, shape: Shape) -> Run | None:
        """The engine, or None after another has taken its place."""
        try:
            return self._build(self.engine, shape)
        except (ExportError, InputError, MissingDependencyError) as error:
            if not self._replaceable:
                raise
            instead = MODULE if self.engine == EAGER.name else EAGER.name
            _LOGGER.warning("The engine '%s' isn't used, %s takes its place: %s", self.engine, instead, error)
            self.engine = instead
            if instead == MODULE:
                self.precision = "float32"
            return None


def _memory_of(device: torch.device) -> int | None:
    """Bytes that this process holds: on a GPU of its memory, else of the machine's."""
    return torch.cuda.memory_reserved(device) if device.type == "cuda" else resident_bytes()
