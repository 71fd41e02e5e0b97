"""The tables that are made and not written: ``python scripts/tables.py`` puts them where they belong.

The tables of models come from the catalog, those of speed and the page of all measurements from what the
benchmarks have written to ``benchmarks/results``, a folder for each machine.
"""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
MODELS, SPEED = ROOT / "docs" / "models.md", ROOT / "docs" / "speed.md"
RESULTS = ROOT / "benchmarks" / "results"
REPORT = RESULTS / "README.md"
CHART_OF = "zen5"
"""The machine whose chart is in README."""
HEADER = ("Model", "Weights", "Trained on", "Top-1 / mAP", "Top-5", "Views", "Parameters")


def model_table(*, only_defaults: bool = False) -> str:
    """The Markdown table of every checkpoint that isn't superseded; default weights are in bold.

    Args:
        only_defaults: leave out all but the default weights of models that classify clips.
    """
    from slowfast_zoo.weights.catalog import DEFAULT_TAGS, list_weights

    header = " | ".join(HEADER)
    header = header.replace(" / mAP", "") if only_defaults else header
    lines = [header, " | ".join(["---"] * 3 + ["---:"] * 4)]
    for entry in list_weights():
        default = entry.tag == DEFAULT_TAGS[entry.model]
        clips_only = only_defaults and (not default or entry.model_spec.roi is not None)
        if entry.superseded or clips_only:
            continue
        tag = f"`{entry.tag}`"
        metrics, (clips, crops) = entry.metrics, entry.metrics.views
        cells = (
            f"`{entry.model}`",
            f"**{tag}**" if default and not only_defaults else tag,
            entry.training_data,
            _score(metrics.top1) if metrics.mean_ap is None else f"{metrics.mean_ap:.2f} mAP",
            _score(metrics.top5),
            f"{clips} x {crops}",
            "-" if entry.parameters is None else f"{entry.parameters / 1e6:.2f} M",
        )
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines)


def speed_tables() -> str:
    """For each machine its description and its table of times, in Markdown."""
    tables = _tables()
    blocks = []
    for machine in tables.machines(RESULTS):
        blocks += [f"### {machine.name}", machine.words, tables.summary(machine.results)]
    return "\n\n".join(blocks)


def chart_line() -> str:
    """The chart in README, and whose it is."""
    about = json.loads((RESULTS / CHART_OF / "machine.json").read_text(encoding="utf-8"))
    picture = (RESULTS / CHART_OF / "speed.png").relative_to(ROOT).as_posix()
    title = "Times as fast as MMAction2: one clip through each engine, and a whole 10x3 test"
    return (
        f"![{title}]({picture})\n\n{about['words']} [More machines, and how to measure yours](docs/speed.md)."
    )


def report() -> str:
    """The page of everything that was measured."""
    tables = _tables()
    blocks = [
        "# What was measured",
        "Written by `scripts/tables.py` from the folders beside this page, one a machine.",
    ]
    blocks.append(
        "Times are medians, quartiles in brackets; in parentheses how many times as fast as the first. A"
        " matrix product is the faster of MKL's and oneDNN's; before 2026-11-30 it was MKL's alone, which"
        " reaches half of oneDNN's rate on Zen 5."
    )
    for machine in tables.machines(RESULTS):
        blocks += [f"## {machine.name}", machine.words, tables.report(machine.results, level=3)]
    return "\n\n".join(blocks)


def table_in(text: str, name: str) -> str:
    """What stands between the markers of that name.

    Raises:
        ValueError: a marker is missing.
    """
    start, end = _markers(name)
    if start not in text or end not in text:
        raise ValueError(f"The page needs the two lines {start} and {end} around its table of {name}")
    return text.partition(start)[2].partition(end)[0].strip()


def with_table(text: str, name: str, table: str) -> str:
    """The text with another table between the markers of that name."""
    table_in(text, name)
    start, end = _markers(name)
    before, _, rest = text.partition(start)
    return f"{before}{start}\n{table}\n{end}{rest.partition(end)[2]}"


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->", f"<!-- /{name} -->"


def _score(percent: float | None) -> str:
    return "-" if percent is None else f"{percent:.2f}"


def _tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_tables", RESULTS.parent / "report" / "tables.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their module
    spec.loader.exec_module(module)
    return module


def pages() -> dict[Path, str]:
    """Every page that holds a table, as it should be."""
    models = with_table(MODELS.read_text(encoding="utf-8"), "models", model_table())
    readme = with_table(README.read_text(encoding="utf-8"), "models", model_table(only_defaults=True))
    return {
        README: with_table(readme, "chart", chart_line()),
        MODELS: models,
        SPEED: with_table(SPEED.read_text(encoding="utf-8"), "speed", speed_tables()),
        REPORT: report(),
    }


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    for page, content in pages().items():
        page.write_text(content, encoding="utf-8")
