"""Makes the example clips of the page in the browser, ``slowfast_zoo/web/clips/``: a drawn village, filmed.

python scripts/make_web_examples.py
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from make_example_clip import village

from slowfast_zoo.data.motion.clips import film

WIDTH, HEIGHT, FPS, SECONDS = 384, 288, 24, 3
FOLDER = Path(__file__).parents[1] / "slowfast_zoo" / "web" / "clips"
CLIPS = {
    "six_camera_motions": ("pan right", "zoom in", "tilt up", "roll clockwise", "pan left", "shake"),
    "zoom_out": ("zoom out",),
    "shaky_hand": ("shake",),
}
"""What the camera does in each clip, three seconds at a time."""


def main() -> None:
    picture = np.asarray(village(2100, 1260))
    for number, (name, motions) in enumerate(CLIPS.items()):
        rng = np.random.default_rng(number)
        path = FOLDER / f"{name}.mp4"
        with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
            options = {"crf": "27", "preset": "slow", "threads": "1"}
            stream = container.add_stream("libx264", rate=FPS, options=options)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for motion in motions:
                size = (WIDTH, HEIGHT)
                for frame in film(picture, motion, rng, num_frames=FPS * SECONDS, fps=FPS, size=size):
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
