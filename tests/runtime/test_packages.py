"""``runtime.packages``: optional packages tell their makers nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from slowfast_zoo.runtime.packages import installed

SENT = "a report was sent"
_LISTENING = f"""
import multiprocessing
import urllib.request

multiprocessing.set_start_method("fork")  # what reports does so in a process that listens, too

def told(*_, **__):
    print({SENT!r}, flush=True)
    raise OSError("no network")

urllib.request.urlopen = told
"""
_OURS = """
import torch
from slowfast_zoo import optimize, slowfast_tiny

model = slowfast_tiny(pretrained=True)
model.classifier.bias.data += torch.randn(())  # nothing that is kept answers for it
clips = torch.randn(24, 3, 8, 64, 64)
optimize(model, "openvino")(clips[:1])
if {int8}:
    optimize(model, precision="int8", calibration=clips, min_agreement=0)
"""


def said(code: str, home: Path) -> tuple[str, list[str]]:
    """What a program prints, and the files in its user's folder, outside of anything that looks like CI."""
    silent = {"CI", "TF_BUILD", "JENKINS_URL", "NNCF_CI"}
    environment = {name: value for name, value in os.environ.items() if name not in silent}
    environment |= {"HOME": str(home), "SLOWFAST_ZOO_CACHE": str(home / "cache"), "OMP_NUM_THREADS": "1"}
    # What reports runs in processes of its own, which the program waits for.
    command = [sys.executable, "-c", _LISTENING + code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout, [path.name for path in home.iterdir() if path.name not in ("cache", ".cache")]


@pytest.mark.skipif(sys.platform == "win32", reason="the user's folder has another variable")
def test_openvino_reports_nothing_when_this_library_uses_it(tmp_path: Path) -> None:
    pytest.importorskip("openvino_telemetry")
    (tmp_path / "plain").mkdir()
    (tmp_path / "ours").mkdir()
    text, files = said("import openvino, time; time.sleep(2)", tmp_path / "plain")
    assert SENT in text and files == ["intel"], "else this test looks at nothing"
    text, files = said(_OURS.format(int8=installed("nncf")), tmp_path / "ours")
    assert SENT not in text and not files
