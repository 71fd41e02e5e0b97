"""Print the model table of README.md, or write it there: ``python tests/readme_table.py [--write]``."""

import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
START, END = "<!-- models -->", "<!-- /models -->"
HEADER = ("Model", "Weights", "Trained on", "Top-1", "Top-5", "Views", "Parameters")


def model_table() -> str:
    """The Markdown table of every checkpoint that isn't superseded; default weights are in bold."""
    from slowfast_zoo.weights.catalog import DEFAULT_TAGS, list_weights

    lines = [" | ".join(HEADER), " | ".join(["---"] * 3 + ["---:"] * 4)]
    for entry in list_weights():
        if entry.superseded:
            continue
        tag = f"`{entry.tag}`"
        metrics, (clips, crops) = entry.metrics, entry.metrics.views
        cells = (
            f"`{entry.model}`",
            f"**{tag}**" if entry.tag == DEFAULT_TAGS[entry.model] else tag,
            entry.training_data,
            _score(metrics.top1) if metrics.mean_ap is None else f"{metrics.mean_ap:.2f} mAP",
            _score(metrics.top5),
            f"{clips} x {crops}",
            "-" if entry.parameters is None else f"{entry.parameters / 1e6:.2f} M",
        )
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines)


def table_in(text: str) -> str:
    """What stands between the markers.

    Raises:
        ValueError: a marker is missing.
    """
    if START not in text or END not in text:
        raise ValueError(f"README.md needs the two lines {START} and {END} around its model table")
    return text.partition(START)[2].partition(END)[0].strip()


def _score(percent: float | None) -> str:
    return "-" if percent is None else f"{percent:.2f}"


if __name__ == "__main__":
    sys.path.insert(0, str(README.parent))
    table = model_table()
    if sys.argv[1:] == ["--write"]:
        readme = README.read_text(encoding="utf-8")
        table_in(readme)
        before, _, rest = readme.partition(START)
        README.write_text(f"{before}{START}\n{table}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    else:
        print(table)
