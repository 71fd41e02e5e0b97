"""Highlights: the moments of a video that show a class best, and the commands that cut them out.

Run: python examples/highlights.py [VIDEO LABEL [COUNT]]

With a model of Kinetics, "scoring goal" or "clapping" are classes; the one that ships names camera motions.
"""

import shlex
import sys
from pathlib import Path

import numpy as np

import slowfast_zoo as zoo

APART_SECONDS = 2.0

video = sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).parent / "pan_right.mp4")
label = sys.argv[2] if len(sys.argv) > 2 else "pan right"
count = int(sys.argv[3]) if len(sys.argv) > 3 else 3

model = zoo.slowfast_tiny(pretrained=True)
answer = zoo.timeline(model, video, hop_seconds=0.25, labels=[label])
windows = answer.windows
scores = windows.smoothed(1.0)[:, answer.labels.index(label)]

best: list[int] = []
for index in np.argsort(-scores):
    center = windows.center_seconds[index]
    if all(abs(center - windows.center_seconds[other]) >= APART_SECONDS for other in best):
        best.append(index)
for number, index in enumerate(best[:count], 1):
    start, end = windows.start_seconds[index], windows.end_seconds[index]
    print(f"{label} {scores[index]:.0%} at {start:.2f}-{end:.2f} s:", end=" ")
    print(f"ffmpeg -ss {start:.2f} -to {end:.2f} -i {shlex.quote(video)} highlight{number}.mp4")
