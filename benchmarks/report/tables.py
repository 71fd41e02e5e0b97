"""Markdown tables of what the other benchmarks have written: all figures, and those of docs/speed.md.

Each machine has a folder: ``machine.json`` (its name, and a sentence about it) and a file for each run.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Results = dict[str, dict[str, Any]]
"""What each benchmark has written, by its name."""

Table = tuple[Sequence[str], list[Sequence[str]]]
"""The head, and the rows."""

MACHINE = "machine.json"


@dataclasses.dataclass(frozen=True)
class Measured:
    """A machine and what was measured there."""

    name: str
    """As headings have it."""
    words: str
    """A sentence: processor, memory, versions."""
    results: Results
    """Of the benchmarks that ran there."""


def machines(folder: Path) -> list[Measured]:
    """Every machine that has a folder there, by the names of those.

    Raises:
        ValueError: as ``load``.
    """
    found = []
    for path in sorted(folder.glob(f"*/{MACHINE}")):
        about = json.loads(path.read_text(encoding="utf-8"))
        found.append(Measured(about["name"], about["words"], load(set(path.parent.glob("*.json")) - {path})))
    return found


def load(paths: Iterable[Path]) -> Results:
    """Files of the benchmarks; those that measured other networks, sizes or videos become one.

    Raises:
        ValueError: something was measured twice.
    """
    results: Results = {}
    for path in sorted(paths):
        result = json.loads(path.read_text(encoding="utf-8"))
        name = result["benchmark"]
        if name == "engines":
            _relate(result)
        if name in results:
            _merge(results[name], result, path)
        else:
            results[name] = result
    return results


def _relate(result: dict[str, Any]) -> None:
    """Notes every rate's share of the matrix product that was measured in the same run."""
    rates = result["matrix_product_gflops"]
    for sizes in result["models"].values():
        for rows in sizes.values():
            for row in rows.values():
                rate = rates.get(row["precision"])  # none where torch has no kernels
                row["share"] = row["gflops"] / rate if row["gflops"] and rate else None


def _merge(known: dict[str, Any], result: dict[str, Any], path: Path) -> None:
    """Adds the networks, sizes, videos and memory of another file of the same benchmark."""
    if "memory" in result:
        if "memory" in known:
            raise ValueError(f"{path} measures memory again: leave one of the files out")
        known["memory"] = result["memory"]
    part = next((part for part in ("models", "videos") if part in known), None)
    if part is None:
        raise ValueError(f"{path} is a second file of the benchmark {known['benchmark']}: leave one out")
    for name, measured in result[part].items():
        before = known[part].setdefault(name, {})
        if before.keys() & measured.keys():
            raise ValueError(f"{path} measures {name} again: leave one of the files out")
        before.update(measured)


def report(results: Results, *, level: int = 2) -> str:
    """Every figure of a machine, as Markdown with headings of that level."""
    blocks = []
    for name, result in results.items():
        blocks += [f"{'#' * level} {name}", in_words(result["machine"])]
        blocks += [markdown(table) for table in TABLES[name](result)]
    return "\n\n".join(blocks) + "\n"


def summary(results: Results, size: str = "224") -> str:
    """The tables of a machine in docs/speed.md; of what wasn't measured there is none."""
    tables = [] if "gpu" not in results else gpu_tables(results["gpu"])
    if cpu := cpu_summary(results, size):
        tables.append(cpu)
    return "\n\n".join(markdown(table) for table in tables)


def cpu_summary(results: Results, size: str) -> Table | None:
    """Times, and how many times as fast as the first candidate that is: MMAction2 where that was there."""
    head = [
        "",
        "MMAction2",
        "eager, float32",
        "fastest, float32",
        "fastest, bfloat16",
        "fastest, int8",
        "rounds",
    ]
    body = []
    for model, sizes in results.get("engines", {"models": {}})["models"].items():
        if rows := sizes.get(size):
            cells = [_of(rows.get("mmaction2 eager"), ratio=False), _of(rows.get("eager float32"))]
            body.append([f"one clip, {short(model)}", *cells, *_fastest_cells(rows)])
    for video, rows in results.get("end_to_end", {"videos": {}})["videos"].items():
        cells = [_of(rows.get("mmaction2"), ratio=False), ""]
        body.append([f"10x3 test of {video}, R50 4x16x1", *cells, *_fastest_cells(rows)])
    empty = [column for column in (5, 4) if all(row[column] == "-" for row in body)]
    for row in (head, *body):
        for column in empty:
            del row[column]
    return (head, body) if body else None


def _fastest_cells(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Of each precision; and the number of rounds."""
    cells = [_of(fastest(rows, precision)) for precision in ("float32", "bfloat16", "int8")]
    return [*cells, str(min(len(row["seconds"]["rounds"]) for row in rows.values()))]


def fastest(rows: dict[str, dict[str, Any]], precision: str) -> dict[str, Any] | None:
    """The row of the candidate with the lowest median among those of a precision; None without any."""
    own = [row for name, row in rows.items() if name.endswith(precision)]
    return min(own, key=lambda row: row["seconds"]["median"], default=None)


def _of(row: dict[str, Any] | None, *, ratio: bool = True) -> str:
    if row is None:
        return "-"
    return f"{times(row['seconds'])} ({row['ratio']:.2f}x)" if ratio else times(row["seconds"])


def times(seconds: dict[str, Any]) -> str:
    """Median and quartiles of the rounds, in seconds or, where that is short, milliseconds."""
    rounds = seconds["rounds"] * (1 if len(seconds["rounds"]) > 1 else 2)
    lower, _, upper = statistics.quantiles(rounds, n=4, method="inclusive")
    median = seconds["median"]
    if median >= 2.5:
        return f"{median:.1f} s [{lower:.1f}, {upper:.1f}]"
    digits = max(2 - len(f"{1e3 * median:.0f}"), 0)
    return f"{1e3 * median:.{digits}f} ms [{1e3 * lower:.{digits}f}, {1e3 * upper:.{digits}f}]"


def rounds_of(rows: Iterable[dict[str, Any]]) -> str:
    """How often things were timed, in words."""
    counts = sorted({len(row["seconds"]["rounds"]) for row in rows})
    return f"{'-'.join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))} rounds"


def label(candidate: str) -> str:
    """A candidate as people read it."""
    return (
        candidate.replace(" eager", "").replace(":", " ")
        if "mmaction2" in candidate
        else candidate.replace(":", " ")
    )


def in_words(machine: dict[str, Any]) -> str:
    """The machine in one line."""
    processor = machine["processor"] + (
        f" ({', '.join(machine['extensions'])})" if machine["extensions"] else ""
    )
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    size = f"{machine['cores']} cores, {machine['threads']} threads, {machine['memory_gib']} GiB"
    return (
        f"{processor}, {size}{gpu}; torch {machine['torch']}, Python {machine['python']}; {machine['date']}"
    )


def short(model: str) -> str:
    """R50 4x16x1, or R101+R50 4x16x1 for a slow and a fast pathway of different depths."""
    *depths, frames = model.removeprefix("slowfast_").split("_")
    return " ".join(["+".join(depths).replace("r", "R"), frames]).strip() if depths else frames


def engines_tables(result: dict[str, Any]) -> list[Table]:
    """Times and ratios, one table for each size, and rates."""
    models = result["models"]
    tables = []
    for size in dict.fromkeys(size for sizes in models.values() for size in sizes):
        measured = {model: sizes[size] for model, sizes in models.items() if size in sizes}
        names = list(dict.fromkeys(name for rows in measured.values() for name in rows))
        body = [[short(model), *(_of(rows.get(name)) for name in names)] for model, rows in measured.items()]
        head = f"a clip at {size}, {rounds_of(row for rows in measured.values() for row in rows.values())}"
        tables.append(([head, *map(label, names)], body))
        rated = [
            name for name in names if any(rows.get(name, {}).get("gflops") for rows in measured.values())
        ]
        tables.append(
            (
                [f"GFLOP/s at {size} (of matrix product)", *map(label, rated)],
                [
                    [short(model), *(_rate(rows.get(name)) for name in rated)]
                    for model, rows in measured.items()
                ],
            )
        )
    return tables


def end_to_end_tables(result: dict[str, Any]) -> list[Table]:
    head = ["10x3 test", "", "per video", "times as fast", "rounds", "outside the network", "peak MiB"]
    head += ["start s", "largest score difference", "same top-1"]
    body = [
        [
            video,
            label(candidate),
            times(row["seconds"]),
            f"{row['ratio']:.2f}",
            str(len(row["seconds"]["rounds"])),
            f"{row['outside_network']:.1%}",
            f"{row['peak_mib']:.0f}",
            f"{row['startup_seconds']:.1f}",
            f"{row['score_difference']:.1e}",
            "yes" if row["same_top1"] else "no",
        ]
        for video, rows in result["videos"].items()
        for candidate, row in rows.items()
    ]
    tables = [(head, body)] if body else []
    return tables + ([_memory_table(result["memory"])] if "memory" in result else [])


def _memory_table(memory: dict[str, Any]) -> Table:
    resident = memory["resident_mib"]
    shown = [number for number in (1, 2, 5, 10, 20, 50, 100) if number < len(resident)] + [len(resident)]
    head = ["resident MiB after so many 10x3 tests", *map(str, shown)]
    name = f"{memory['network']} network, {label(memory['engine'])}"
    return (head, [[name, *(f"{resident[number - 1]:.0f}" for number in shown)]])


def training_step_tables(result: dict[str, Any]) -> list[Table]:
    rows = result["candidates"]
    head = [f"training step, {result['batch']} clips of {result['size']}, {rounds_of(rows.values())}"]
    head += ["a step", "times as fast", "peak MiB"]
    return [(head, [_timed(name, row) for name, row in rows.items()])]


def imports_tables(result: dict[str, Any]) -> list[Table]:
    body = [
        [name, times(row["seconds"]), f"{row['peak_mib']:.0f}"] for name, row in result["imports"].items()
    ]
    return [([f"import, {rounds_of(result['imports'].values())}", "", "peak MiB"], body)]


def precision_tables(result: dict[str, Any]) -> list[Table]:
    body = [
        [short(model), name, f"{row['relative_error']:.1e}", f"{row['same_top1']:.1%}"]
        for model, rows in result["models"].items()
        for name, row in rows.items()
        if "relative_error" in row
    ]
    return [(["network", "", "largest relative error", "same top-1"], body)]


def epoch_tables(result: dict[str, Any]) -> list[Table]:
    rows = {name: result[name] for name in ("videos", "frames")}
    what = f"an epoch of {result['clips']} clips of {result['size']}, {rounds_of(rows.values())}"
    body = [
        [name, times(row["seconds"]), f"{row['waited']['median'] / row['seconds']['median']:.0%}"]
        for name, row in rows.items()
    ]
    return [([what, "", "of that waiting for clips"], body)]


def roofline_tables(result: dict[str, Any]) -> list[Table]:
    what = f"{short(result['model'])} at {result['size']}, {label(result['engine'])} {result['precision']}"
    head = [f"{what}, {result['rounds']} rounds", "", "GFLOP", "MB", "limit ms", "ms", "limit of ms"]
    body = [
        [
            row["name"],
            row["kind"],
            *(f"{row[of]:.2f}" for of in ("gflop", "mb", "limit_ms", "ms")),
            f"{row['share']:.0%}",
        ]
        for row in result["parts"]
    ]
    whole = [
        f"{result['limit_ms']:.2f}",
        f"{result['clip_ms']:.2f}",
        f"{result['limit_ms'] / result['clip_ms']:.0%}",
    ]
    rates = f"at {result['matrix_product_gflops']:.0f} GFLOP/s and {result['copy_gb_per_second']:.1f} GB/s"
    return [(head, [*body, ["one clip", rates, "", "", *whole]])]


def reading_tables(result: dict[str, Any]) -> list[Table]:
    head = ["reading", "", "", "median", "of the first's time", "of its processor time"]
    body = [
        [
            film,
            task,
            name,
            times(row["seconds"]) if "seconds" in row else f"{1e3 * row['median_seconds']:.0f} ms",
            f"{row['ratio']:.2f}",
            f"{row['cpu_ratio']:.2f}",
        ]
        for film, tasks in result["films"].items()
        for task, rows in tasks.items()
        for name, row in rows.items()
    ]
    return [(head, body)]


def gpu_tables(result: dict[str, Any]) -> list[Table]:
    """What gpu.py has measured: a clip's time by batch, engine and precision, and the training step."""
    batches = list(result["batches"])
    head = [f"{short(result['model'])} at {result['size']}, {result['rounds']} rounds", "error"]
    for batch in batches:
        head += [f"batch of {batch}", "clips/s", "of matrix rate"]
    names = list(dict.fromkeys(name for rows in result["batches"].values() for name in rows))
    body = [
        [
            label(name),
            _error(result, name),
            *(cell for batch in batches for cell in _gpu_cells(result, batch, name)),
        ]
        for name in names
    ]
    rows = result["training"]
    if not rows:
        return [(head, body)]
    steps = [
        [name, times(row["seconds"]), f"{row['steps_per_second']:.2f}", f"{row['peak_mib']:.0f}"]
        for name, row in rows.items()
    ]
    title = f"training step, {result['training_batch']} clips, {rounds_of(rows.values())}"
    return [(head, body), ([title, "a step", "steps/s", "peak MiB"], steps)]


def _gpu_cells(result: dict[str, Any], batch: str, name: str) -> list[str]:
    row = result["batches"][batch].get(name)
    if row is None:
        return ["-"] * 3
    share = row["gflops"] / result["matrix_product_gflops"][row["precision"]]
    return [_of(row), f"{row['clips_per_second']:.0f}", f"{share:.0%}"]


def _error(result: dict[str, Any], name: str) -> str:
    errors = [rows[name]["relative_error"] for rows in result["batches"].values() if name in rows]
    return "-" if None in errors else f"{max(errors):.1e}"


TABLES: dict[str, Callable[[dict[str, Any]], list[Table]]] = {
    "engines": engines_tables,
    "end_to_end": end_to_end_tables,
    "training_step": training_step_tables,
    "imports": imports_tables,
    "precision": precision_tables,
    "epoch": epoch_tables,
    "reading": reading_tables,
    "roofline": roofline_tables,
    "gpu": gpu_tables,
}


def _rate(row: dict[str, Any] | None) -> str:
    share = f" ({row['share']:.0%})" if row and row["share"] else ""
    return f"{row['gflops']:.0f}{share}" if row and row["gflops"] else "-"


def _timed(name: str, row: dict[str, Any]) -> list[str]:
    peak = row["peak_gpu_mib"] or row["peak_mib"]
    return [label(name), times(row["seconds"]), f"{row['ratio']:.2f}", f"{peak:.0f}"]


def markdown(table: Table) -> str:
    """The table with its numbers to the right."""
    head, body = table
    ruler = ["---", *("---" if column == "" else "---:" for column in head[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ruler, *body))
