"""One picture and Markdown tables of what the other benchmarks have written.

    python tests/benchmarks/chart.py engines.json end_to_end.json [...] --chart speed.png

Each file says which benchmark wrote it. The chart needs matplotlib (extra ``train``) and the files of
``engines.py``, ``end_to_end.py`` or both; the tables are made of every file.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

INK, PAPER, GRID = "#1f2328", "#ffffff", "#d0d7de"  # opaque, so that a dark page changes nothing
COLOURS = {
    "mmaction2": "#8c959f",
    "plain module": "#b6bdc4",
    "eager float32": "#9ec5f0",
    "compile float32": "#5b9bd5",
    "openvino float32": "#1f5fa8",
    "onnxruntime float32": "#7fb0c8",
    "eager bfloat16": "#f5c38b",
    "compile bfloat16": "#e99a4b",
    "openvino bfloat16": "#c8641b",
    "auto float32": "#1f5fa8",
    "auto bfloat16": "#c8641b",
}
Table = tuple[Sequence[str], list[Sequence[str]]]


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
    return model.removeprefix("slowfast_").replace("_", " ").replace("r", "R")


# --- tables ------------------------------------------------------------------------------------


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
        rates = result["matrix_product_gflops"]
        tables.append(
            (
                [f"GFLOP/s at {size} (of matrix product)", *map(label, rated)],
                [
                    [short(model), *(_rate(rows.get(name), rates) for name in rated)]
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
    return [(head, body)] if body else []


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


def _rate(row: dict[str, Any] | None, rates: dict[str, float]) -> str:
    if row is None or row["gflops"] is None:
        return "-"
    return f"{row['gflops']:.0f} ({row['gflops'] / rates[row['precision']]:.0%})"


def _timed(name: str, row: dict[str, Any]) -> list[str]:
    peak = row["peak_gpu_mib"] or row["peak_mib"]
    return [label(name), f"{row['seconds']['median']:.2f}", f"{row['ratio']:.2f}", f"{peak:.0f}"]


def markdown(table: Table) -> str:
    """The table with its numbers to the right."""
    head, body = table
    ruler = ["---", *("---" if column == "" else "---:" for column in head[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ruler, *body))


# --- the picture -------------------------------------------------------------------------------


def draw(results: dict[str, dict[str, Any]], size: str, path: Path) -> None:
    """One or two panels: how many times as fast as MMAction2, with the times beside the bars."""
    from matplotlib.figure import Figure

    panels: list[tuple[str, dict[str, dict[str, tuple[float, str]]]]] = []
    if "engines" in results:
        groups = {
            short(model): {
                label(name): (row["ratio"], f"{1e3 * row['seconds']['median']:.0f} ms")
                for name, row in sizes[size].items()
                if label(name) in COLOURS and name != "plain module"
            }
            for model, sizes in results["engines"]["models"].items()
            if size in sizes
        }
        panels.append((f"One clip, {size} pixels", groups))
    if "end_to_end" in results and results["end_to_end"]["videos"]:
        groups = {
            video: {
                label(name): (
                    row["ratio"],
                    f"{row['seconds']['median']:.1f} s, {row['peak_mib'] / 1024:.1f} GiB",
                )
                for name, row in rows.items()
            }
            for video, rows in results["end_to_end"]["videos"].items()
        }
        panels.append(
            (f"From file to score, {results['end_to_end']['clips']} clips x 3 crops, R50 4x16", groups)
        )
    if not panels:
        raise SystemExit("The chart shows engines.py's and end_to_end.py's files; none was given.")
    shown: dict[str, Any] = {}
    lines = max(sum(len(bars) + 1 for bars in groups.values()) for _, groups in panels)
    height = 1.7 + 0.21 * lines
    figure = Figure(figsize=(6.2 * len(panels), height), dpi=150, facecolor=PAPER)
    for axes, (title, groups) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        shown |= _panel(axes, title, groups)
    machine = next(results[name]["machine"] for name in ("engines", "end_to_end") if name in results)
    figure.text(0.01, 0.06 / height, in_words(machine), color=INK, fontsize=7)
    style = {"fontsize": 7, "facecolor": PAPER, "edgecolor": GRID, "labelcolor": INK}
    figure.legend(shown.values(), shown.keys(), loc="upper center", ncols=5, **style)
    figure.tight_layout(rect=(0, 0.25 / height, 1, 1 - 0.45 / height))
    figure.savefig(path)


def _panel(axes: Any, title: str, groups: dict[str, dict[str, tuple[float, str]]]) -> dict[str, Any]:
    """Groups of bars from top to bottom, the first candidate of each at 1; gives a bar of each name."""
    place, ticks = 0.0, []
    widest = max(ratio for bars in groups.values() for ratio, _ in bars.values())
    shown: dict[str, Any] = {}
    for bars in groups.values():
        ticks.append(place + (len(bars) - 1) / 2)
        for name, (ratio, text) in bars.items():
            shown[name] = axes.barh(place, ratio, 0.86, color=COLOURS.get(name, INK))
            axes.text(ratio + widest * 0.012, place, text, va="center", color=INK, fontsize=7)
            place += 1
        place += 0.9
    axes.set_yticks(ticks, list(groups), color=INK, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, widest * 1.28)
    axes.axvline(1, color=INK, linewidth=0.8, linestyle=":")
    axes.set_title(title, color=INK, fontsize=10, loc="left")
    axes.set_xlabel("times as fast as the first bar of its group", color=INK, fontsize=8)
    axes.set_facecolor(PAPER)
    axes.tick_params(colors=INK, labelsize=8, length=0)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--size", default="224", help="pixels of the clips in the chart")
    parser.add_argument("--chart", type=Path, help="draw a PNG here")
    options = parser.parse_args()
    results: dict[str, dict[str, Any]] = {}
    for path in options.files:
        result = json.loads(path.read_text(encoding="utf-8"))
        results[result["benchmark"]] = result
    for name, result in results.items():
        print(f"{name}: {in_words(result['machine'])}\n")
        for table in TABLES[name](result):
            print(markdown(table) + "\n")
    if options.chart:
        draw(results, options.size, options.chart)


if __name__ == "__main__":
    main()
