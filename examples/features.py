"""Features instead of classes: a vector per window of a video, and the maps of both pathways.

Run: python examples/features.py [VIDEO]
"""

import sys
from pathlib import Path

import torch

import slowfast_zoo as zoo

video = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "pan_right.mp4"
model = zoo.slowfast_tiny(pretrained=True)
clips = zoo.read_clips(video, model.clip_spec, views=(3, 1))  # three clips spread over the video

with torch.inference_mode():
    slow, fast = model.forward_features(clips.tensor())
    pooled = model.forward_head((slow, fast), pre_logits=True)

print("slow pathway", tuple(slow.shape), "fast pathway", tuple(fast.shape))
for (start, end), vector in zip(clips.seconds, pooled, strict=True):
    print(f"{start:.2f}-{end:.2f} s: {len(vector)} features, norm {vector.norm():.2f}")

# The same on a grid of time, for a video of any length.
features = zoo.extract_features(model, video, hop_seconds=0.5, progress=False)
print(features, "at", features.center_seconds.round(2))
