"""The script for whoever has a GPU runs through on a processor, and its figures become tables."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tables

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the script is bash's")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a dry run leaves."""
    folder = tmp_path_factory.mktemp("results") / "my_gpu"
    environment = {**os.environ, "PYTHON": sys.executable, "PYTEST_ADDOPTS": ""}
    command = ["bash", str(ROOT / "scripts" / "gpu.sh"), str(folder), "--dry-run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_a_dry_run_leaves_everything(out: Path) -> None:
    assert sorted(path.name for path in out.iterdir()) == ["gpu.json", "gpu.txt", "tests.txt", "versions.txt"]
    assert "4 passed" in (out / "tests.txt").read_text()
    assert "'torch'" in (out / "versions.txt").read_text()
    result = json.loads((out / "gpu.json").read_text())
    assert result["benchmark"] == "gpu" and result["dry_run"]
    rows = result["batches"]["2"]
    assert rows.keys() == {"plain module float32", "eager float32"}
    assert rows["eager float32"]["relative_error"] < 1e-5
    assert all(len(row["seconds"]["rounds"]) == 2 for row in rows.values())
    assert result["training"]["float32"]["steps_per_second"] > 0
    assert "| eager float32 |" in (out / "gpu.txt").read_text()


def test_a_new_folder_of_results_is_a_section_of_the_pages(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = {"name": "My GPU", "words": "A pretended one."}
    (out / "machine.json").write_text(json.dumps(about))
    monkeypatch.setattr(tables, "RESULTS", out.parent)
    monkeypatch.setattr(tables, "_tables", reloaded)
    assert tables.speed_tables().startswith("### My GPU\n\nA pretended one.\n\n| tiny at 32, 2 rounds |")
    page = tables.report()
    assert "## My GPU" in page and "### gpu" in page
    assert "| training step, 2 clips, 2 rounds | a step | steps/s | peak MiB |" in page


def test_a_precision_that_the_machine_has_no_kernels_for_has_no_share() -> None:
    rows = {
        "mmaction2 eager": {"gflops": 50.0, "precision": "float32"},
        "openvino bfloat16": {"gflops": 60.0, "precision": "bfloat16"},
        "pytorchvideo eager": {"gflops": None, "precision": "float32"},
    }
    module = reloaded()
    module._relate({"matrix_product_gflops": {"float32": 100.0}, "models": {"net": {"224": rows}}})  # type: ignore[attr-defined]
    assert [row["share"] for row in rows.values()] == [0.5, None, None]
    assert [module._rate(row) for row in rows.values()] == ["50 (50%)", "60", "-"]  # type: ignore[attr-defined]


def reloaded() -> object:
    """The module that makes tables, from where it is, not beside the results."""
    spec = importlib.util.spec_from_file_location("of_test", ROOT / "benchmarks" / "report" / "tables.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
