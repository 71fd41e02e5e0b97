"""Markdown tables of what the other benchmarks have written, all figures and the few that README shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Results = dict[str, dict[str, Any]]
"""What each benchmark has written, by its name."""

Table = tuple[Sequence[str], list[Sequence[str]]]
"""The head, and the rows."""


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
                row["share"] = row["gflops"] and row["gflops"] / rates[row["precision"]]


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


def report(results: Results) -> str:
    """Every figure, as a Markdown page."""
    blocks = []
    for name, result in results.items():
        blocks += [f"## {name}", in_words(result["machine"])]
        blocks += [markdown(table) for table in TABLES[name](result)]
    return "\n\n".join(blocks) + "\n"


def summary(results: Results, size: str = "224") -> str:
    """The table in README: times, and how many times as fast as MMAction2 that is."""
    head = ["", "MMAction2", "eager, float32", "fastest, float32", "fastest, bfloat16"]
    body = []
    for model, sizes in results["engines"]["models"].items():
        if size not in sizes:
            continue
        rows = sizes[size]
        cells = [_of(rows["mmaction2 eager"], unit="ms", ratio=False), _of(rows["eager float32"], unit="ms")]
        cells += [_of(fastest(rows, precision), unit="ms") for precision in ("float32", "bfloat16")]
        body.append([f"one clip, {short(model)}", *cells])
    for video, rows in results["end_to_end"]["videos"].items():
        cells = [_of(rows["mmaction2"], ratio=False), ""]
        cells += [_of(fastest(rows, precision)) for precision in ("float32", "bfloat16")]
        body.append([f"10x3 test of {video}, R50 4x16x1", *cells])
    return markdown((head, body))


def fastest(rows: dict[str, dict[str, Any]], precision: str) -> dict[str, Any]:
    """The row of the candidate with the lowest median among those of a precision."""
    own = [row for name, row in rows.items() if name.endswith(precision)]
    return min(own, key=lambda row: row["seconds"]["median"])


def _of(row: dict[str, Any], *, unit: str = "s", ratio: bool = True) -> str:
    seconds = row["seconds"]["median"]
    time = f"{seconds:.1f} s" if unit == "s" else f"{1e3 * seconds:.0f} ms"
    return f"{time} ({row['ratio']:.2f}x)" if ratio else time


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
    """Milliseconds and ratios, one table for each size."""
    models = result["models"]
    tables = []
    for size in dict.fromkeys(size for sizes in models.values() for size in sizes):
        measured = {model: sizes[size] for model, sizes in models.items() if size in sizes}
        names = list(dict.fromkeys(name for rows in measured.values() for name in rows))
        body = [
            [short(model), *(_milliseconds(rows[name]) if name in rows else "-" for name in names)]
            for model, rows in measured.items()
        ]
        tables.append(([f"ms per clip at {size} (times as fast)", *map(label, names)], body))
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
    head = ["10x3 test", "", "s per video", "times as fast", "outside the network", "peak MiB", "start s"]
    head += ["largest score difference", "same top-1"]
    body = [
        [
            video,
            label(candidate),
            f"{row['seconds']['median']:.2f}",
            f"{row['ratio']:.2f}",
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
    head = [f"training step, {result['batch']} clips of {result['size']}", "s", "times as fast", "peak MiB"]
    return [(head, [_timed(name, row) for name, row in result["candidates"].items()])]


def imports_tables(result: dict[str, Any]) -> list[Table]:
    body = [
        [name, f"{row['seconds']['median']:.2f}", f"{row['peak_mib']:.0f}"]
        for name, row in result["imports"].items()
    ]
    return [(["import", "s", "peak MiB"], body)]


def precision_tables(result: dict[str, Any]) -> list[Table]:
    body = [
        [short(model), name, f"{row['relative_error']:.1e}", f"{row['same_top1']:.1%}"]
        for model, rows in result["models"].items()
        for name, row in rows.items()
        if "relative_error" in row
    ]
    return [(["network", "", "largest relative error", "same top-1"], body)]


def reading_tables(result: dict[str, Any]) -> list[Table]:
    head = ["reading", "", "", "ms", "of the first's time", "of its processor time"]
    body = [
        [
            film,
            task,
            name,
            f"{1e3 * row['median_seconds']:.0f}",
            f"{row['ratio']:.2f}",
            f"{row['cpu_ratio']:.2f}",
        ]
        for film, tasks in result["films"].items()
        for task, rows in tasks.items()
        for name, row in rows.items()
    ]
    return [(head, body)]


TABLES: dict[str, Callable[[dict[str, Any]], list[Table]]] = {
    "engines": engines_tables,
    "end_to_end": end_to_end_tables,
    "training_step": training_step_tables,
    "imports": imports_tables,
    "precision": precision_tables,
    "reading": reading_tables,
}


def _milliseconds(row: dict[str, Any]) -> str:
    return f"{1e3 * row['seconds']['median']:.0f} ({row['ratio']:.2f})"


def _rate(row: dict[str, Any] | None) -> str:
    return f"{row['gflops']:.0f} ({row['share']:.0%})" if row and row["gflops"] else "-"


def _timed(name: str, row: dict[str, Any]) -> list[str]:
    peak = row["peak_gpu_mib"] or row["peak_mib"]
    return [label(name), f"{row['seconds']['median']:.2f}", f"{row['ratio']:.2f}", f"{peak:.0f}"]


def markdown(table: Table) -> str:
    """The table with its numbers to the right."""
    head, body = table
    ruler = ["---", *("---" if column == "" else "---:" for column in head[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ruler, *body))
