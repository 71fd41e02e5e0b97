"""What does the camera do? The three best answers for each video.

Run: python examples/predict.py [VIDEO ...]
"""

import sys
from pathlib import Path

import slowfast_zoo as zoo

videos = sys.argv[1:] or [str(Path(__file__).parent / "pan_right.mp4")]
model = zoo.slowfast_tiny(pretrained=True)
for answer in zoo.predict_many(model, videos, topk=3):
    print(answer.error or answer)
