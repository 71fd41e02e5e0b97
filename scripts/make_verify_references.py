"""Write the references that ``slowfast_zoo.verify`` replays, and the small video beside them.

Run it from the repository's root after a wanted change, and look at the difference::

    python scripts/make_verify_references.py            # references.json
    python scripts/make_verify_references.py --video    # also reference.mp4 (other encoders, other bytes)

Most references are what this library computed when the tests that compare it with its publishers
passed: they guard other machines, not the truth. "networks" is the truth: outputs of the publishers'
own networks, taken from ``tests/reference``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from network.test_reference import SPECS, dialect_of, expected_output  # noqa: E402
from reference import references as publishers  # noqa: E402

from slowfast_zoo.inference.verify import stages as replay  # noqa: E402
from slowfast_zoo.inference.verify.verify import REFERENCES, compare, references, summary  # noqa: E402

FRAMES, WIDTH, HEIGHT = 24, 96, 64


def movie_frames() -> np.ndarray:
    """Colored bars that drift over a gradient, and a square that crosses them: (T, H, W, 3) uint8."""
    t, y, x = np.ogrid[:FRAMES, :HEIGHT, :WIDTH]
    red = 40 + 2 * x + 0 * y + 0 * t
    green = 128 + 100 * np.sin((x + 2 * t) / 11) + 0 * y
    blue = 230 - 3 * y + 0 * x + 0 * t
    frames = np.stack([red, green, blue], axis=-1).clip(0, 255).astype(np.uint8)
    for index, frame in enumerate(frames):
        frame[20:36, 3 * index : 3 * index + 16] = (240, 60, 20)
    return frames


def write_movie(path: Path) -> None:
    """H.264 with B-frames, 25 frames per second."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": "24", "preset": "veryslow", "bf": "2", "g": "12"}
        for frame in movie_frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def networks() -> dict[str, object]:
    """The publishers' outputs for the smallest clip that each network was run on; one clip's for persons."""
    stored: dict[str, object] = {}
    for name, reference in publishers().items():
        case = reference.cases[0]
        boxes = [box for box in case.boxes if not box[0]]
        stored[name] = {
            "peer": reference.peer,
            "dialect": dialect_of(name),
            "spec": SPECS[name].to_dict(),
            "frames": case.frames,
            "height": case.height,
            "width": case.width,
            "window": case.window,
            **({"gain": reference.gain, "boxes": boxes} if boxes else {}),
            "output": summary(expected_output(name, case)[: len(boxes) or None]),
        }
    return stored


def main() -> None:
    if "--video" in sys.argv:
        write_movie(replay.MOVIE)
    cpu = torch.device("cpu")
    # What still agrees stays as it is, so that a diff shows what has changed and nothing else.
    before = references()["stages"] if REFERENCES.exists() else {}
    stages: dict[str, dict[str, object]] = {}
    for measure in (
        replay.decode,
        replay.sample,
        replay.resize,
        replay.normalize,
        replay.clip,
        replay.slow_frames,
        lambda: replay.small_networks(cpu),
        lambda: replay.embedded_logits(cpu),
    ):
        for measured in measure():
            assert measured.what not in stages.get(measured.stage, {}), measured.what
            old = before.get(measured.stage, {}).get(measured.what)
            agrees = old is not None and compare(measured, old).ok
            stages.setdefault(measured.stage, {})[measured.what] = old if agrees else summary(measured.values)
    sections = {"stages": stages, "networks": networks()}
    lines = []
    for section, entries in sections.items():
        groups = entries.items() if section == "stages" else [("", entries)]
        body = []
        for group, items in groups:
            rows = ",\n".join(f"   {json.dumps(key)}: {json.dumps(value)}" for key, value in items.items())
            body.append(f"  {json.dumps(group)}: {{\n{rows}\n  }}" if group else rows)
        lines.append(f' "{section}": {{\n' + ",\n".join(body) + "\n }")
    REFERENCES.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
