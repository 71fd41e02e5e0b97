"""Who does what? Boxes from a function of yours, actions from a network that scores persons.

Run: python examples/persons.py VIDEO   (downloads weights)
Without VIDEO nothing is downloaded: a network with random weights looks at the clip beside this file.
"""

import sys
from pathlib import Path

import slowfast_zoo as zoo


def persons(frame):
    """Any detector of yours, which sees each key frame, (H, W, 3) RGB: here the middle of the picture."""
    height, width, _ = frame.shape
    return [[0.25 * width, 0.1 * height, 0.75 * width, 0.9 * height]]


given = sys.argv[1:]
video = given[0] if given else Path(__file__).parent / "pan_right.mp4"
if given:
    model = zoo.slowfast_r50_4x16x1_roi(pretrained=True)
else:  # random weights in a small network, so that the names mean nothing
    row = zoo.get_weights("slowfast_r50_4x16x1_roi")
    model = zoo.SlowFast(row.model_spec.replace(depth=14, base_width=16)).eval()
    model.clip_spec, model.labels = row.clip_spec, row.labels

# detector="person" instead of boxes= takes torchvision's; a file or an array works as well.
answer = zoo.detect(model, video, boxes=persons, every_seconds=1 if given else 10, topk=3)
for person in answer.persons:
    print(person)
answer.save("persons.csv")  # AVA's rows, which "slowfast-zoo test-detections" reads
zoo.render(answer, video, "persons.mp4")
