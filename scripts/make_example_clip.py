"""Makes ``examples/pan_right.mp4``: a camera that pans to the right over a drawn village.

python scripts/make_example_clip.py
"""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT, FPS, SECONDS = 320, 240, 30, 3
PIXELS_PER_SECOND = 55
SCALE = 3  # drawn larger and shrunk, so that the camera can move by parts of a pixel


def village(width: int, height: int) -> Image.Image:
    """A landscape: sky, two ridges, houses and trees on a meadow."""
    chance = random.Random(4)
    picture = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(picture)
    for y in range(height):
        light = y / height
        draw.line([(0, y), (width, y)], fill=(int(110 + 120 * light), int(160 + 70 * light), 235))
    draw.ellipse([width * 0.62, height * 0.08, width * 0.62 + 90, height * 0.08 + 90], fill=(255, 244, 200))
    for base, color, wave in ((0.52, (92, 120, 140), 190), (0.64, (66, 110, 82), 120)):
        ridge = [
            (x, height * base - 40 * math.sin(x / wave) - 22 * math.sin(x / (wave / 3.1) + 1))
            for x in range(0, width + 8, 8)
        ]
        draw.polygon([(0, height), *ridge, (width, height)], fill=color)
    draw.rectangle([0, height * 0.74, width, height], fill=(120, 168, 74))
    for _ in range(width * 2):
        x, y = chance.randrange(width), chance.randrange(int(height * 0.74), height)
        shade = chance.randrange(-26, 26)
        draw.line([(x, y), (x + 3, y - 12)], fill=(112 + shade, 160 + shade, 66 + shade), width=3)
    x = 30
    while x < width:
        ground = height * (0.74 + 0.12 * chance.random())
        if chance.random() < 0.55:
            crown, trunk = chance.randrange(45, 95), chance.randrange(60, 110)
            draw.rectangle([x + crown / 2 - 7, ground - trunk, x + crown / 2 + 7, ground], fill=(92, 66, 44))
            draw.ellipse(
                [x, ground - trunk - crown, x + crown, ground - trunk + crown * 0.3], fill=(44, 104, 48)
            )
        else:
            wide, tall = chance.randrange(100, 170), chance.randrange(80, 120)
            wall = chance.choice([(214, 196, 160), (190, 110, 90), (222, 222, 214)])
            draw.rectangle([x, ground - tall, x + wide, ground], fill=wall)
            roof = [
                (x - 12, ground - tall),
                (x + wide / 2, ground - tall - 70),
                (x + wide + 12, ground - tall),
            ]
            draw.polygon(roof, fill=(128, 52, 44))
            for window in range(x + 18, x + wide - 30, 46):
                draw.rectangle(
                    [window, ground - tall + 24, window + 24, ground - tall + 54], fill=(60, 76, 96)
                )
        x += chance.randrange(90, 230)
    return picture


def main() -> None:
    import av

    way = PIXELS_PER_SECOND * SECONDS
    picture = village((WIDTH + way) * SCALE, HEIGHT * SCALE)
    path = Path(__file__).parent.parent / "examples" / "pan_right.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=FPS, options={"crf": "23", "preset": "slow", "threads": "1"}
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(FPS * SECONDS):
            left = PIXELS_PER_SECOND * SCALE * index / FPS
            box = (left, 0, left + WIDTH * SCALE, HEIGHT * SCALE)
            frame = np.array(picture.resize((WIDTH, HEIGHT), Image.Resampling.BOX, box=box))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
