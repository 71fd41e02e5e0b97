"""Every engine and precision on this machine: right, or refused in a sentence; each in a process of its own.

    python scripts/check_engines.py --sizes 64 224 --isa AVX2 AVX512_CORE AVX512_CORE_BF16 AVX512_CORE_AMX

Weights are seeded so that logits are of order one; the clip isn't the one that engines prove themselves on.
The exit status is 1 where a process ends otherwise, or answers wrongly.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"

MODELS = (
    "slowfast_r50_4x16x1",
    "slowfast_r101_r50_4x16x1",
    "slowfast_r152_r50_4x16x1",
    "slowfast_r50_8x8x1",
    "slowfast_r101_8x8x1",
)
"""Three of alpha 8, two of alpha 4."""

ENGINES = ("eager", "compile", "openvino")


def answer(name: str, engine: str, precision: str, size: int) -> str:
    """What one engine does with one network, in words that begin with "right", "refused" or "WRONG"."""
    import torch

    sys.path.insert(0, str(TESTS))
    from reference.seeded import seeded_input, seeded_state_dict

    from slowfast_zoo import create_model, optimize
    from slowfast_zoo.errors import SlowFastZooError
    from slowfast_zoo.runtime.precision import TOLERANCES

    model = create_model(name).eval()
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    model.load_state_dict(seeded_state_dict(shapes))
    clip = seeded_input(model.spec.num_frames, size)
    with torch.inference_mode():
        expected = model(clip)
        try:
            fast = optimize(model, engine, precision)  # type: ignore[arg-type]
            difference = float((fast(clip) - expected).abs().max() / expected.abs().max())
        except SlowFastZooError as error:
            return f"refused: {error}"
    verdict = "right" if difference <= TOLERANCES[precision] else "WRONG"
    return f"{verdict}, off by {difference:.1e} of a largest logit of {float(expected.abs().max()):.2g}"


def in_child(arguments: list[str], isa: str, seconds: float) -> str:
    """The answer of a process, or how it ended."""
    surroundings = dict(os.environ) if isa == "default" else os.environ | {"ONEDNN_MAX_CPU_ISA": isa}
    command = [sys.executable, __file__, "--one", json.dumps(arguments)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=surroundings, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return f"ENDED by this script after {seconds:.0f} s"
    last = (done.stdout.strip() or done.stderr.strip() or "nothing said").splitlines()[-1]
    return last if done.returncode == 0 else f"ENDED with status {done.returncode}: {last}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 224])
    parser.add_argument("--isa", nargs="+", default=["default"], help="values of ONEDNN_MAX_CPU_ISA")
    parser.add_argument("--seconds", type=float, default=1800, help="limit of each process")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, engine, precision, size = json.loads(options.one)
        print(answer(name, engine, precision, int(size)))
        return
    bad = 0
    for isa in options.isa:
        for size in options.sizes:
            for name in options.models:
                for engine, precision in itertools.product(options.engines, options.precisions):
                    said = in_child([name, engine, precision, str(size)], isa, options.seconds)
                    bad += not said.startswith(("right", "refused"))
                    print(f"{isa:17}{size:4} {name:26}{engine:9}{precision:9} {said}", flush=True)
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
