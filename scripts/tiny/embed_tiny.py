"""Puts a trained small model into the package: weights, training record, card, catalog row.

    slowfast-zoo train camera-motion --validate --seed 0 --work-dir WORK
    python benchmarks/accuracy/camera_motion.py --weights WORK/model --out MEASURED.json [...]
    python scripts/tiny/embed_tiny.py WORK MEASURED.json

    python scripts/tiny/train_actions.py WORK
    python benchmarks/accuracy/actions.py --weights WORK/last.safetensors --out MEASURED.json
    python scripts/tiny/embed_tiny.py WORK MEASURED.json --actions

The floats are stored in half precision; measure the embedded model again when in doubt.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from slowfast_zoo import SlowFast

ROOT = Path(__file__).parent.parent.parent
CATALOG = ROOT / "slowfast_zoo" / "weights" / "catalog"
EMBEDDED = CATALOG / "embedded"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("measured", type=Path)
    parser.add_argument("--actions", action="store_true", help="the weights 'actions', not 'camera-motion'")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from slowfast_zoo.naming import parse

    name = "slowfast_tiny_actions" if options.actions else "slowfast_tiny"
    trained = options.work / ("last.safetensors" if options.actions else "model")
    digest = embed(parse(str(trained)).load(), EMBEDDED / f"{name}.safetensors")
    log = [json.loads(line) for line in (options.work / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    measured = json.loads(options.measured.read_text(encoding="utf-8"))
    record = {
        "config": log[0]["config"],
        "validation": [row for row in log if row["mode"] == "val"],
        "measured": measured,
    }
    (EMBEDDED / f"{name}.json").write_text(json.dumps(record) + "\n", encoding="utf-8")

    path = CATALOG / "own.py"
    before, row, after = path.read_text(encoding="utf-8").partition(
        f'        tag="{"actions" if options.actions else "camera-motion"}",\n'
    )
    after = re.sub(r"sha256:\w+", f"sha256:{digest}", after, count=1)
    if options.actions:
        score = measured["sets"]["all labels"]["mean_average_precision"]
        after = re.sub(r"mean_ap=[\d.]+", f"mean_ap={100 * score:.1f}", after, count=1)
    else:
        score = measured["held-out synthetic clips"]["accuracy"]
        after = re.sub(r"top1=[\d.]+", f"top1={100 * score:.1f}", after, count=1)
    path.write_text(before + row + after, encoding="utf-8")

    card = EMBEDDED / f"{name}.md"
    before, _, rest = card.read_text(encoding="utf-8").partition("<!-- measured -->")
    after = rest.partition("<!-- /measured -->")[2]
    table = sets_table(measured["sets"]) if options.actions else tables(measured)
    card.write_text(f"{before}<!-- measured -->\n{table}\n<!-- /measured -->{after}", encoding="utf-8")


def embed(model: SlowFast, path: Path) -> str:
    """Writes the weights in half precision, as a saved file; the digits of its SHA-256."""
    from slowfast_zoo.files import hash_file, written_whole
    from slowfast_zoo.weights.saved.config import SavedConfig
    from slowfast_zoo.weights.saved.file import fill

    state = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    with written_whole(path) as temporary:
        fill(temporary, state, SavedConfig.of(model))
    return hash_file(path)


def sets_table(sets: dict[str, dict[str, float]]) -> str:
    """The scores of the three sets of labels, as Markdown."""
    lines = ["| labels | classes | mean average precision | the right one is first |", "|---|---:|---:|---:|"]
    for name, row in sets.items():
        first = f"{row['accuracy']:.1%}" if "accuracy" in row else "-"
        lines.append(f"| {name} | {row['classes']} | {row['mean_average_precision']:.1%} | {first} |")
    return "\n".join(lines).replace("%", " %")


def tables(measured: dict[str, dict]) -> str:
    """The accuracies and the two confusion matrices, as Markdown."""
    from slowfast_zoo.data.motion.clips import CAMERA_MOTIONS

    lines = ["| measured on | right | clips |", "|---|---:|---:|"]
    for name, result in measured.items():
        lines.append(f"| {name[0].upper()}{name[1:]} | {result['accuracy']:.1%} | {result['clips']} |")
    for name in ("held-out synthetic clips", "virtual camera over real pictures"):
        if "confusion" not in measured.get(name, {}):
            continue
        lines += ["", f"{name[0].upper()}{name[1:]}: rows are the truth, columns the answer.", ""]
        short = [
            label.replace("counter-clockwise", "ccw").replace("clockwise", "cw") for label in CAMERA_MOTIONS
        ]
        lines += ["| | " + " | ".join(short) + " |", "|---|" + "---:|" * len(short)]
        for label, row in zip(short, measured[name]["confusion"], strict=True):
            lines.append(f"| {label} | " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines).replace("%", " %")


if __name__ == "__main__":
    main()
