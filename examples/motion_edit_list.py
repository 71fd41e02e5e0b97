"""An edit list by camera motion: which shot pans, tilts, zooms, shakes from where to where, as a CSV.

Run: python examples/motion_edit_list.py [VIDEO [OUT.csv]]

Its columns are PySceneDetect's, with the motion after them, so that "scenedetect -i VIDEO load-scenes -i
OUT.csv split-video" cuts the video there; spreadsheets and editors that import lists of cuts read it too.
"""

import csv
import sys
from pathlib import Path

import slowfast_zoo as zoo

video = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "pan_right.mp4"
out = Path(sys.argv[2] if len(sys.argv) > 2 else "motions.csv")


def timecode(seconds: float) -> str:
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest / 1000:06.3f}"


model = zoo.slowfast_tiny(pretrained=True)
answer = zoo.timeline(model, video, hop_seconds=0.2, enter=0.3, min_seconds=0.8, max_gap_seconds=2.0)
with zoo.open_video(video) as opened, out.open("w", encoding="utf-8", newline="") as file:
    rows = csv.writer(file)
    head = [f"{end} {unit}" for end in ("Start", "End") for unit in ("Frame", "Timecode", "Time (seconds)")]
    rows.writerow(["Scene Number", *head, "Camera Motion", "Score"])
    for number, segment in enumerate(answer.segments, 1):
        start, end = segment.start_seconds, segment.end_seconds
        begin = [opened.index_at(start) + 1, timecode(start), f"{start:.3f}"]
        stop = [opened.index_at(end - 1e-3) + 1, timecode(end), f"{end:.3f}"]
        rows.writerow([number, *begin, *stop, segment.label, f"{segment.score:.3f}"])
parts = "1 part" if len(answer.segments) == 1 else f"{len(answer.segments)} parts"
print(f"{parts} in {out}: {', '.join(s.label for s in answer.segments)}")
