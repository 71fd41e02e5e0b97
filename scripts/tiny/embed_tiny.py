"""Puts a trained camera-motion model into the package: weights, training record, card, catalog row.

    slowfast-zoo train camera-motion --validate --seed 0 --work-dir WORK
    python benchmarks/accuracy/camera_motion.py --weights WORK/model --out MEASURED.json [...]
    python scripts/tiny/embed_tiny.py WORK MEASURED.json

The floats are stored in half precision; measure the embedded model again when in doubt.
"""

from __future__ import annotations

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


def main(work: Path, measured: Path) -> None:
    sys.path.insert(0, str(ROOT))
    from slowfast_zoo import from_pretrained
    from slowfast_zoo.data.motion.clips import CAMERA_MOTIONS

    digest = embed(from_pretrained(work / "model"))

    log = [json.loads(line) for line in (work / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    record = {
        "config": log[0]["config"],
        "validation": [row for row in log if row["mode"] == "val"],
        "measured": json.loads(measured.read_text(encoding="utf-8")),
    }
    (EMBEDDED / "slowfast_tiny.json").write_text(json.dumps(record) + "\n", encoding="utf-8")
    held_out = record["measured"]["held-out synthetic clips"]["accuracy"]

    row = CATALOG / "own.py"
    text = re.sub(r"sha256:\w+", f"sha256:{digest}", row.read_text(encoding="utf-8"))
    row.write_text(re.sub(r"top1=[\d.]+", f"top1={100 * held_out:.1f}", text), encoding="utf-8")

    card = EMBEDDED / "slowfast_tiny.md"
    before, _, rest = card.read_text(encoding="utf-8").partition("<!-- measured -->")
    after = rest.partition("<!-- /measured -->")[2]
    table = tables(record["measured"], CAMERA_MOTIONS)
    card.write_text(f"{before}<!-- measured -->\n{table}\n<!-- /measured -->{after}", encoding="utf-8")


def embed(model: SlowFast) -> str:
    """Writes the weights in half precision, as a saved file; the digits of its SHA-256."""
    from slowfast_zoo.files import hash_file, written_whole
    from slowfast_zoo.weights.saved.config import SavedConfig
    from slowfast_zoo.weights.saved.file import fill

    state = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    path = EMBEDDED / "slowfast_tiny.safetensors"
    with written_whole(path) as temporary:
        fill(temporary, state, SavedConfig.of(model))
    return hash_file(path)


def tables(measured: dict[str, dict], names: tuple[str, ...]) -> str:
    """The accuracies and the two confusion matrices, as Markdown."""
    lines = ["| measured on | right | clips |", "|---|---:|---:|"]
    for name, result in measured.items():
        lines.append(f"| {name[0].upper()}{name[1:]} | {result['accuracy']:.1%} | {result['clips']} |")
    for name in ("held-out synthetic clips", "virtual camera over real pictures"):
        if "confusion" not in measured.get(name, {}):
            continue
        lines += ["", f"{name[0].upper()}{name[1:]}: rows are the truth, columns the answer.", ""]
        short = [label.replace("counter-clockwise", "ccw").replace("clockwise", "cw") for label in names]
        lines += ["| | " + " | ".join(short) + " |", "|---|" + "---:|" * len(short)]
        for label, row in zip(short, measured[name]["confusion"], strict=True):
            lines.append(f"| {label} | " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines).replace("%", " %")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
