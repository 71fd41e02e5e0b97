"""What does a camera do right now? Watches a webcam, or whatever is named, until Ctrl-C.

Run: python examples/webcam.py [rtsp://... | http://... | /dev/video0 | FILE]
Without a camera the clip beside this file is played instead, as a camera would give it.
"""

import sys
from pathlib import Path

import slowfast_zoo as zoo

source = sys.argv[1] if len(sys.argv) > 1 else 0  # 0 is the first camera
model = zoo.slowfast_tiny(pretrained=True)
try:
    answers = zoo.watch(model, source, hop_seconds=0.5, topk=1)
    first = next(answers)
except zoo.SlowFastZooError as error:
    print(error)
    answers = zoo.watch(model, Path(__file__).parent / "pan_right.mp4", hop_seconds=0.5, topk=1)
    first = next(answers)

try:
    while first is not None:
        gap = " (frames were missing)" if first.gap else ""
        print(f"{first.labels[0]:>24}  {first.scores[0]:4.0%}  {first.lag_seconds:.1f} s old{gap}")
        first = next(answers, None)
except KeyboardInterrupt:
    print("bye")
