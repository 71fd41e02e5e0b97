"""What the publishers' own programs made of small files in AVA's form: scores, frame numbers, boxes, losses.

``detections.json.xz`` holds the files themselves, drawn at random, and what came out, so that anybody can run
the programs again: ``python tests/reference/detections.py FOLDER`` writes the files. Run were

- ``Evaluation/get_ava_performance.py`` of https://github.com/activitynet/ActivityNet at 82304fa9,
- ``slowfast/utils/ava_eval_helper.py`` of https://github.com/facebookresearch/SlowFast at 287ec007,
- ``ava_eval`` of https://github.com/open-mmlab/mmaction2 at 71a938ab (0.x) and of the release 1.2.0 (1.x),
- for the frames ``SampleAVAFrames`` of both, and ``get_sequence`` of PySlowFast,
- for the boxes ``Resize``, ``RandomCrop`` and ``Flip`` of MMAction2 1.2.0, and the transforms of PySlowFast,
- for the losses ``BBoxHeadAVA.loss_and_target`` of MMAction2 1.2.0: plain, focal (alpha 3, gamma 1), and with
  softmax on the first 66 columns, as for MultiSports.

The files have actions with annotations and without detections, and the reverse; one in an excluded frame
only; actions that aren't scored; a frame with detections only; an overlap of exactly 0.5; a detection whose
best annotated box is taken. Results have six decimals, APs of MMAction2 1.x four.
"""

from __future__ import annotations

import functools
import json
import lzma
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("detections.json.xz")


@functools.cache
def references() -> Any:
    """classes (number: name), files (name: CSV), results (program and file: [mAP, {number: AP}]) and more."""
    return json.loads(lzma.decompress(FILE.read_bytes()))


def write_files(folder: Path) -> dict[str, Path]:
    """The CSV files: gt, exclude, det; crowd: det, 70 more in one frame; ties: det with scores rounded."""
    files = dict(references()["files"])
    rows = [line.split(",") for line in files["det"].splitlines()]
    files["ties"] = "".join(f"{','.join(row[:7])},{float(row[7]):.1f}\n" for row in rows)
    files["crowd"] = files["det"] + files["crowd"]
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)
    return {name: folder / f"{name}.csv" for name in files}


if __name__ == "__main__":
    write_files(Path(sys.argv[1]))
