"""What each layer of a network costs, and how near it comes to what the machine can do.

    python benchmarks/layers/roofline.py --model slowfast_r50_4x16x1 --out roofline.json

A layer takes at least its arithmetic divided by the machine's rate of matrix products in that precision, and
at least its bytes divided by the rate at which memory is copied; the longer of the two is its limit (Williams
et al. 2009, https://doi.org/10.1145/1498765.1498785). Both rates are measured here. A layer's bytes are those
of its input, weights and output, once each: what a kernel reads twice counts once, and where a map stays in a
cache the limit is passed. The time of a layer is the median over the rounds: with ``--engine eager`` that of
the module inside the running network, with "openvino" what its own counters say, where layers that are
fused have their time under the convolution. A "share" is limit divided by time; "missing" is the time above
the limit, which is what better kernels could save.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the benchmarks' own modules

from machine import description, has_kernels, matrix_rate, use_checkout
from peers import PEERS, noise, seeded

LAYERS = (nn.Conv3d, nn.MaxPool3d, nn.ReLU, nn.Linear)


@dataclasses.dataclass
class Layer:
    """One layer of the folded network."""

    name: str
    kind: str
    operations: int
    """Two for each multiply-add."""
    bytes: int
    seconds: list[float] = dataclasses.field(default_factory=list)

    @property
    def part(self) -> str:
        """Pathway and stage, or the lateral connections."""
        first, _, rest = self.name.partition(".")
        if self.kind == "other":
            return self.name
        if first in ("slow", "fast"):
            return f"{first} {rest.partition('.')[0]}"
        return "laterals" if first == "laterals" else "head"


def memory_rate(repeats: int = 10) -> float:
    """Bytes a second of copying 256 MB, read and written, the best of ``repeats``."""
    source = torch.zeros(64_000_000)
    target, best = torch.empty_like(source), float("inf")
    for _ in range(repeats):
        before = time.perf_counter()
        target.copy_(source)
        best = min(best, time.perf_counter() - before)
    return 2 * source.numel() * source.element_size() / best


def layers_of(network: nn.Module, clip: Tensor, item_bytes: int) -> dict[str, Layer]:
    """Every layer with what it computes and moves, in the order of computation."""
    found: dict[str, Layer] = {}
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, LAYERS):

            def seen(module: nn.Module, inputs: tuple[Tensor], out: Tensor, name: str = name) -> None:
                weight = getattr(module, "weight", None)
                size = 0 if weight is None else weight.numel()
                operations = out.numel() if weight is None else 2 * out.numel() * weight[0].numel()
                moved = (inputs[0].numel() + out.numel() + size) * item_bytes
                if name in found:  # a block's ReLU is called three times
                    found[name].operations += operations
                    found[name].bytes += moved
                else:
                    found[name] = Layer(name, type(module).__name__, operations, moved)

            hooks.append(module.register_forward_hook(seen))
    with torch.inference_mode():
        network(clip)
    for hook in hooks:
        hook.remove()
    return found


def eager_times(network: Any, clip: Tensor, precision: str, rounds: int) -> Iterator[dict[str, float]]:
    """Seconds of each module of the eager engine's network, round by round."""
    from slowfast_zoo.inference.engines.folding import lower, use_onednn, use_products

    lowered = lower(network, precision)  # type: ignore[arg-type]
    if precision == "float32":
        use_onednn(lowered)
    else:
        use_products(lowered)
    lowered.to(memory_format=torch.channels_last_3d)
    clip = clip.contiguous(memory_format=torch.channels_last_3d)
    begins: dict[str, float] = {}
    seconds: dict[str, float] = defaultdict(float)
    for name, module in lowered.named_modules():
        if name and not (list(module.children()) or isinstance(module, nn.Identity | nn.Dropout)):
            plain = name.removeprefix("model.")

            def begin(*_: object, name: str = plain) -> None:
                begins[name] = time.perf_counter()

            def end(*_: object, name: str = plain) -> None:
                seconds[name] += time.perf_counter() - begins[name]

            module.register_forward_pre_hook(begin)
            module.register_forward_hook(end)
    for _ in range(rounds):
        seconds.clear()
        before = time.perf_counter()
        with torch.inference_mode():
            lowered(clip)
        whole = time.perf_counter() - before
        between = whole - sum(seconds.values())  # additions, joined maps, the head's means
        yield {**seconds, "other, between layers": between, "": whole}


def openvino_times(network: Any, clip: Tensor, precision: str, rounds: int) -> Iterator[dict[str, float]]:
    """What OpenVINO counts for each layer, under the layers' names in torch, round by round."""
    from slowfast_zoo.inference.engines.folding import lower
    from slowfast_zoo.inference.engines.graph import capture, openvino_core, to_openvino
    from slowfast_zoo.inference.engines.openvino.engine import openvino_settings
    from slowfast_zoo.inference.engines.stems import stem_layouts

    shape = tuple(clip.shape[1:])
    stems = stem_layouts(precision, torch.device("cpu"))  # type: ignore[arg-type]
    program = capture(lower(network, precision, stems=stems), shape)  # type: ignore[arg-type]
    graph = to_openvino(program, shape, batch=1)  # type: ignore[arg-type]
    settings = openvino_settings(precision) | {"PERF_COUNT": True}  # type: ignore[arg-type]
    request = openvino_core().compile_model(graph, "CPU", settings).create_infer_request()
    names = weights_of(program) | weights_of(program.run_decompositions())  # some it takes apart, some not
    sums: dict[str, float] = defaultdict(float)
    for number in range(1, rounds + 1):
        before = time.perf_counter()
        request.infer([clip.numpy()], share_inputs=True)
        seconds: dict[str, float] = defaultdict(float, {"": time.perf_counter() - before})
        for counted in request.profiling_info:
            so_far = number * counted.real_time.total_seconds()  # it counts the mean of all rounds
            taken, sums[counted.node_name] = max(so_far - sums[counted.node_name], 0.0), so_far
            if taken and counted.status.name == "EXECUTED":
                name = names.get(counted.node_name.partition("/")[0])
                weighted = counted.node_type in ("Convolution", "FullyConnected")
                if weighted and name is None:
                    raise SystemExit(f"OpenVINO's {counted.node_name} is no layer of the network")
                seconds[name if weighted and name else f"other, {counted.node_type}"] += taken
        yield seconds


def weights_of(program: torch.export.ExportedProgram) -> dict[str, str]:
    """The layer with weights behind each operation of a graph, by the operation's name."""
    parameters = program.graph_signature.inputs_to_parameters
    found = {}
    for node in program.graph.nodes:
        given = [parameters[each.name] for each in node.all_input_nodes if each.name in parameters]
        for name in (each.removesuffix(".weight").removeprefix("model.") for each in given):
            if not name.endswith(".bias"):
                found[node.name] = f"{name}.conv" if name.endswith(".stem") else name
    return found


def table(layers: list[Layer], rates: dict[str, float]) -> list[dict[str, Any]]:
    """Rows of numbers: of each layer, and of each part."""
    rows = []
    for layer in layers:
        limit = max(layer.operations / rates["operations"], layer.bytes / rates["bytes"])
        seconds = statistics.median(layer.seconds) if layer.seconds else None
        rows.append(
            {
                "name": layer.name,
                "part": layer.part,
                "kind": layer.kind,
                "gflop": layer.operations / 1e9,
                "mb": layer.bytes / 1e6,
                "bound": "memory" if limit > layer.operations / rates["operations"] else "arithmetic",
                "limit_ms": 1000 * limit,
                "ms": None if seconds is None else 1000 * seconds,
                "share": limit / seconds if seconds else None,
            }
        )
    return rows


def parts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sums of the rows that were timed, by part and kind."""
    sums: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        if row["ms"] is not None:
            into = sums.setdefault((row["part"], row["kind"]), defaultdict(float))
            for column in ("gflop", "mb", "limit_ms", "ms"):
                into[column] += row[column]
    return [
        {"name": part, "kind": kind, **into, "share": into["limit_ms"] / max(into["ms"], 1e-9)}
        for (part, kind), into in sums.items()
    ]


def show(rows: list[dict[str, Any]], whole_ms: float) -> None:
    print(f"{'':34}{'kind':>12}{'GFLOP':>8}{'MB':>8}{'limit ms':>10}{'ms':>9}", end="")
    print(f"{'of all':>8}{'share':>7}{'missing':>9}")
    for row in rows:
        if row["ms"] is not None:
            print(f"{row['name']:34}{row['kind']:>12}{row['gflop']:8.2f}{row['mb']:8.1f}", end="")
            print(f"{row['limit_ms']:10.2f}{row['ms']:9.2f}{row['ms'] / whole_ms:8.1%}", end="")
            print(f"{row['share']:7.0%}{row['ms'] - row['limit_ms']:9.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="slowfast_r50_4x16x1", choices=list(PEERS))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--engine", default="eager", choices=["eager", "openvino"])
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--by-part", action="store_true", help="sums of pathways and stages alone")
    parser.add_argument("--out", type=Path, help="write everything here, as JSON")
    options = parser.parse_args()
    use_checkout()
    torch.set_num_threads(options.threads)
    from slowfast_zoo import create_model
    from slowfast_zoo.inference.engines.folding import fold_batch_norms

    folded = fold_batch_norms(seeded(create_model(options.model)))
    clip = noise(folded.spec.num_frames, options.size)
    # OpenVINO computes in float32 where there are no instructions for less.
    dtype = getattr(torch, options.precision if has_kernels(options.precision) else "float32")
    rates = {"operations": 1e9 * matrix_rate(dtype), "bytes": memory_rate()}
    layers = layers_of(folded, clip, dtype.itemsize)
    times: Callable[..., Iterator[dict[str, float]]]
    times = eager_times if options.engine == "eager" else openvino_times
    whole = []
    for number, seconds in enumerate(times(folded, clip, options.precision, options.rounds + 2)):
        if number < 2:  # they allocate
            continue
        whole.append(seconds.pop(""))
        for name, taken in seconds.items():
            layers.setdefault(name, Layer(name, "other", 0, 0)).seconds.append(taken)
    rows = table(list(layers.values()), rates)
    whole_ms = 1000 * statistics.median(whole)
    result = {
        "benchmark": "roofline",
        "machine": description(options.threads),
        "matrix_product_gflops": rates["operations"] / 1e9,
        "copy_gb_per_second": rates["bytes"] / 1e9,
        **{key: getattr(options, key) for key in ("model", "size", "engine", "precision", "rounds")},
        "clip_ms": whole_ms,
        "limit_ms": sum(row["limit_ms"] for row in rows if row["ms"] is not None),
        "parts": parts(rows),
        "layers": rows,
    }
    print(f"{options.model}, {options.size} pixels, {options.engine} {options.precision}; ", end="")
    print(
        f"{rates['operations'] / 1e9:.0f} GFLOP/s, {rates['bytes'] / 1e9:.1f} GB/s, {options.threads} threads"
    )
    show(result["parts"] if options.by_part else rows, whole_ms)
    limit = result["limit_ms"]
    print(f"\none clip {whole_ms:.1f} ms, limit {limit:.1f} ms ({limit / whole_ms:.0%})")
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
