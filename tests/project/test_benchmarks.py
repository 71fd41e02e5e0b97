"""The benchmark of engines: int8 is measured, and fills its column of the page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import tables

ROOT = Path(__file__).parents[2]


def test_int8_is_measured_and_has_a_column(tmp_path: Path) -> None:
    out = tmp_path / "engines.json"
    how = (
        "--models slowfast_tiny --sizes 32 --engines openvino --precisions int8 --rounds 1 --threads 1 --out"
    )
    command = [sys.executable, str(ROOT / "benchmarks" / "engines.py"), *how.split(), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    row = json.loads(out.read_text())["models"]["slowfast_tiny"]["32"]["openvino int8"]
    assert (row["agreement"]["calibration_clips"], row["agreement"]["clips"]) == (4, 12)
    assert 1e-5 < row["relative_error"] < 1 and len(row["seconds"]["rounds"]) == 1
    page = tables._tables()
    results = page.load([out])
    head, _, line = page.summary(results, "32").splitlines()
    assert head == "|  | MMAction2 | eager, float32 | fastest, float32 | fastest, int8 | rounds |"
    assert re.fullmatch(r"\| one clip, tiny \| - \| - \| - \| \d.*s \[.*\] \(\d+\.\d\dx\) \| 1 \|", line)
    assert "| a clip at 32, 1 rounds | plain module | openvino int8 |" in page.report(results)
