"""Serves an exported model with NumPy and ONNX Runtime alone: no torch, no slowfast_zoo.

    slowfast-zoo export model.onnx --model slowfast_r50_4x16x1
    python examples/serve_onnx_numpy.py model.onnx              # replays the reference clips
    python examples/serve_onnx_numpy.py model.onnx frames.npy   # uint8 RGB (frames, height, width, 3)

The frames are those of one view: chosen, resized and cropped as the contract's "clip_spec" says.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime


def to_clip(frames: np.ndarray, spec: dict) -> np.ndarray:
    """uint8 (T, H, W, C) as the network's input: float32 (1, C, T, H, W)."""
    pixels = frames.astype(np.float32)
    if spec["pixel_range"] == "0-1":
        pixels /= np.float32(255)
    pixels = (pixels - np.float32(spec["mean"])) / np.float32(spec["std"])
    return np.ascontiguousarray(pixels.transpose(3, 0, 1, 2)[None])


def probabilities(logits: np.ndarray, activation: str) -> np.ndarray:
    """Logits (N, classes) as probabilities."""
    if activation == "sigmoid":
        return 1 / (1 + np.exp(-logits))
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Run an exported SlowFast without torch.")
    parser.add_argument("model", type=Path)
    parser.add_argument("frames", type=Path, nargs="?")
    arguments = parser.parse_args()
    if not arguments.model.exists():
        parser.error(f"no '{arguments.model}'; export it first: slowfast-zoo export {arguments.model}")
    contract = json.loads(Path(f"{arguments.model}.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(arguments.model, providers=["CPUExecutionProvider"])
    reference = np.load(arguments.model.with_name(contract["reference"]["file"]))
    videos = [np.load(arguments.frames)] if arguments.frames else reference["frames"]

    clips = [to_clip(frames, contract["clip_spec"]) for frames in videos]
    logits = np.concatenate([session.run(["logits"], {"clip": clip})[0] for clip in clips])
    for scores in probabilities(logits, contract["activation"]):
        best = np.argsort(-scores)[:5]
        names = contract["labels"] or [f"class {index}" for index in range(len(scores))]
        print(", ".join(f"{names[index]} {scores[index]:.1%}" for index in best))
    if not arguments.frames:
        difference = np.abs(logits - reference["logits"]).max() / np.abs(reference["logits"]).max()
        print(f"largest difference from the stored logits: {difference:.1e} of the largest")


if __name__ == "__main__":
    main()
