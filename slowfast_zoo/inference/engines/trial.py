"""Engines prove themselves before they answer: on a clip of fixed numbers they give the module's logits.

What was proven is kept beside the artifacts, by network, engine, precision, size, versions and processor,
so that it is proven once.
"""

from __future__ import annotations

import functools
import logging
import os

import torch
from torch import nn

from slowfast_zoo.errors import ExportError
from slowfast_zoo.inference.engines import artifacts
from slowfast_zoo.inference.engines.engine import Answer, Engine, Shape, example_boxes
from slowfast_zoo.inference.engines.folding import Maps, use_products
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.network.twin import eval_twin
from slowfast_zoo.runtime.convolutions import ACCIDENTS, NOT_TRIED, Convolution, recorded, try_convolutions
from slowfast_zoo.runtime.machine import processor, processor_features, versions
from slowfast_zoo.runtime.precision import TOLERANCES, Precision, check_kernels, float32_products
from slowfast_zoo.spec import BLOCKS_PER_STAGE, ModelSpec
from slowfast_zoo.weights.catalog import get_weights, list_models

_LOGGER = logging.getLogger(__name__)

_SEED = 20191027


def prove(
    engine: Engine, answer: Answer, module: SlowFast, precision: Precision, device: torch.device, shape: Shape
) -> None:
    """Refuses an engine whose logits aren't the module's, as far as its precision allows.

    Args:
        engine: which it is.
        answer: what the engine, built for this network and shape, gives.
        module: the network in float32 and eval mode on the device; where code takes part that isn't torch's
            or this library's, as it was given, and the proof isn't kept.
        precision: what the engine computes in.
        device: where.
        shape: (C, T, H, W) of a clip.

    Raises:
        ExportError: says by how much it is off, and what to take instead; or that it gives numbers where the
            module gives none.
    """
    facts = (precision, shape, str(device), *kernel_facts(device), versions(*engine.packages))
    name = artifacts.fingerprint(module, engine.name, *facts, suffix=".proven")
    generator = torch.Generator().manual_seed(_SEED)
    clip = torch.randn((1, *shape), generator=generator, dtype=torch.float32, device="cpu")
    inputs = [each.to(device) for each in (clip, *example_boxes(module.spec, shape))]
    if artifacts.load(name) is not None:
        if engine.starts_late:
            answer(*inputs)
        return
    logits = answer(*inputs)
    with float32_products("float32", device):
        expected = module(*inputs)
    numbers = expected.isfinite()
    if (logits.isfinite() & ~numbers).any():
        raise ExportError(
            f"engine='{engine.name}' is refused: the model returns NaN or infinite numbers for ordinary"
            " clips, which this engine would hide; its weights are damaged: load others, or train it again."
        )
    if not numbers.all():
        return  # weights that give no numbers are no measure of an engine
    difference = float((logits - expected).abs().max() / expected.abs().max().clamp(min=1e-30))
    tolerance = tolerance_of(precision, device)
    if not difference <= tolerance:
        raise ExportError(
            f"engine='{engine.name}' in {precision} is refused: on this machine ({processor()}, torch"
            f" {torch.__version__}) it is off by {difference:.1e} of the model's largest logit, accepted"
            f" {tolerance:.0e}; take another engine{'' if precision == 'float32' else ' or float32'}."
        )
    artifacts.store(name, b"")


def check_half_precision(
    network: nn.Module, clips: tuple[int, ...], precision: Precision, *, channels_last: bool = True
) -> None:
    """Refuses a network whose convolutions this processor gets wrong in half precision.

    Each is tried in another process first, because some damage the memory of theirs.

    Args:
        network: called with clips.
        clips: the shape (B, C, T, H, W) of those.
        precision: what it will compute in; nothing is wrong with "float32".
        channels_last: whether it computes in that memory format.

    Raises:
        InputError: torch has no kernels for it here.
        ExportError: names the convolution and what is wrong with it, or why that couldn't be found out.
    """
    if precision == "float32":
        return
    check_kernels(precision, torch.device("cpu"))
    meta = torch.device("meta")
    twin = eval_twin(network, meta)
    roi = getattr(getattr(network, "spec", None), "roi", None)
    scores_boxes = roi is not None and not isinstance(network, Maps)
    boxes = [torch.empty((1, 5), device=meta)] * scores_boxes
    convolutions = recorded(lambda: twin(torch.empty(clips, device=meta), *boxes))
    _refuse_wrong(convolutions, precision, channels_last)


def _refuse_wrong(convolutions: tuple[Convolution, ...], precision: Precision, channels_last: bool) -> None:
    """Refuses convolutions that this processor gets wrong, or of which that couldn't be found out."""
    facts = (precision, channels_last, torch.__version__, *kernel_facts(torch.device("cpu")), convolutions)
    name = f"{artifacts.digest(facts)}.tried"
    kept = artifacts.load(name)
    if kept is None:
        _LOGGER.info(
            "%s is tried first: this processor's answers for %d convolutions, in a process of its own. That"
            " takes about 15 s and is kept for the next time.",
            precision,
            len(convolutions),
        )
        answers = try_convolutions(convolutions, precision, channels_last=channels_last)
        unknown = [f"{each}: {answer}" for each, answer in answers.items() if answer in ACCIDENTS]
        known = {each: answer for each, answer in answers.items() if answer not in (*ACCIDENTS, NOT_TRIED)}
        wrong = [f"{each}: {answer}" for each, answer in known.items() if answer]
        kept = "; ".join(wrong[:1]).encode()
        if known == answers:
            artifacts.store(name, kept)
        if unknown and not wrong:
            raise ExportError(
                f"{precision} is refused: whether torch {torch.__version__} is right in it on this processor"
                f" couldn't be found out ({unknown[0]}); try again when less runs here, or take float32."
            )
    if kept:
        raise ExportError(
            f"{precision} is refused: torch {torch.__version__} computes a convolution wrongly on this"
            f" processor ({processor()}; {kept.decode()}); take float32, or another torch."
        )


def check_published_half_precision(precision: Precision, device: torch.device) -> None:
    """As ``check_half_precision``, of the published networks' layers, as engines compute them on a processor.

    Args:
        precision: what engines would compute in.
        device: where; only a CPU is asked.

    Raises:
        InputError, ExportError: as there.
    """
    if device.type == "cpu" and precision != "float32":
        check_kernels(precision, device)
        _refuse_wrong(published_convolutions()[1], precision, channels_last=True)


@functools.cache
def published_convolutions() -> tuple[tuple[Convolution, ...], tuple[Convolution, ...]]:
    """The layers of the networks that models' names build, each once on small maps: as modules compute them,
    and as engines do."""
    specs = dict.fromkeys(_shallow(get_weights(name).model_spec) for name in list_models())
    as_modules: _Layers = {}
    as_engines: _Layers = {}
    for spec in specs:
        with torch.device("meta"):
            network, clip = SlowFast(spec).eval(), torch.empty(1, spec.in_channels, spec.num_frames, 64, 64)
        as_modules = _layers(network, clip) | as_modules
        use_products(network)
        as_engines = _layers(network, clip) | as_engines
    return tuple(as_modules.values()), tuple(as_engines.values())


def _shallow(spec: ModelSpec) -> ModelSpec:
    """A small network with that one's layers: without a head, and without blocks that repeat others."""
    headless = {"num_classes": 1, "head_pool": "global", "head_window": None, "roi": None}
    small = spec.replace(num_frames=4 * spec.alpha, **headless)
    if spec.depth <= 26:
        return small
    # Where only some blocks of a stage see several frames, one is of either kind.
    blocks = zip(spec.temporal_blocks or (), BLOCKS_PER_STAGE[spec.depth], strict=False)
    temporal = tuple(1 if few < every else 2 for few, every in blocks) or None
    non_local = (1,) if spec.non_local else ()
    return small.replace(depth=26, fast_depth=26, temporal_blocks=temporal, non_local=non_local)


_Layers = dict[tuple[object, ...], Convolution]


def _layers(network: SlowFast, clip: torch.Tensor) -> _Layers:
    """A network's convolutions, one of each layer."""
    convolutions = recorded(lambda: network.forward_features(clip))
    return {(each.weight, each.stride, each.padding, each.dilation): each for each in convolutions}


def kernel_facts(device: torch.device) -> tuple[object, ...]:
    """What decides which kernels compute."""
    if device.type == "cuda" and not torch.cuda.is_available():
        return ()
    if device.type == "cuda":
        return (torch.cuda.get_device_name(device), torch.version.cuda, torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
    settings = (os.environ.get(name) for name in ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"))
    return (processor(), processor_features(), torch.get_num_threads(), *settings)


def tolerance_of(precision: Precision, device: torch.device) -> float:
    """Largest accepted difference of an engine's logits from the module's, as a share of the largest logit:
    GPUs sum in many orders."""
    return 1e-4 if precision == "float32" and device.type != "cpu" else TOLERANCES[precision]
