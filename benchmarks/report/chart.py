"""One picture and Markdown tables of what the other benchmarks have written about a machine.

    python benchmarks/report/chart.py benchmarks/results/my_machine
    python benchmarks/report/chart.py engines.json end_to_end.json [...] --chart speed.png

Each file says which benchmark wrote it. The chart needs matplotlib (extra ``train``) and the files of
``engines.py``, ``end_to_end.py`` or both; the tables are made of every file, and printed. A machine's folder
gets its chart inside.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tables import MACHINE, Results, in_words, label, load, report, short

INK, PAPER, GRID = "#1f2328", "#ffffff", "#d0d7de"  # opaque, so that a dark page changes nothing
MODELS = ("slowfast_r50_4x16x1", "slowfast_r50_8x8x1", "slowfast_r101_8x8x1")
COLORS = {
    "mmaction2": "#8c959f",
    "plain module": "#b6bdc4",
    "eager float32": "#9ec5f0",
    "compile float32": "#5b9bd5",
    "openvino float32": "#1f5fa8",
    "onnxruntime float32": "#7fb0c8",
    "eager bfloat16": "#f5c38b",
    "compile bfloat16": "#e99a4b",
    "openvino bfloat16": "#c8641b",
    "openvino int8": "#4f9d69",
    "auto float32": "#1f5fa8",
    "auto bfloat16": "#c8641b",
}


def draw(results: Results, models: Sequence[str], size: str, path: Path) -> None:
    """One or two panels: how many times as fast as MMAction2, with the times beside the bars."""
    from matplotlib.figure import Figure

    panels: list[tuple[str, dict[str, dict[str, tuple[float, str]]]]] = []
    if "engines" in results:
        groups = {
            short(model): {
                label(name): (row["ratio"], f"{1e3 * row['seconds']['median']:.0f} ms")
                for name, row in sizes[size].items()
                if label(name) in COLORS and name != "plain module"
            }
            for model, sizes in results["engines"]["models"].items()
            if size in sizes and model in models
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
            shown[name] = axes.barh(place, ratio, 0.86, color=COLORS.get(name, INK))
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
    parser.add_argument("files", nargs="+", type=Path, help="files, or one machine's folder")
    parser.add_argument("--models", nargs="+", default=MODELS, help="networks in the chart")
    parser.add_argument("--size", default="224", help="pixels of the clips in the chart")
    parser.add_argument("--chart", type=Path, help="draw a PNG here")
    options = parser.parse_args()
    folder = options.files[0] if options.files[0].is_dir() else None
    files = set(folder.glob("*.json")) - {folder / MACHINE} if folder else options.files
    results, chart = load(files), options.chart or (folder and folder / "speed.png")
    print(report(results))
    if chart:
        draw(results, options.models, options.size, chart)


if __name__ == "__main__":
    main()
