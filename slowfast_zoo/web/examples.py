"""The example clips of the page: a drawn village, filmed by a camera that moves."""

from __future__ import annotations

import dataclasses
import io
import shutil
from pathlib import Path

from slowfast_zoo.video.decoding.reader import open_video

_CLIPS = Path(__file__).with_name("clips")
"""``scripts/make_web_examples.py`` makes them."""
_TITLES = {
    "six_camera_motions": "Six camera motions",
    "zoom_out": "A zoom",
    "shaky_hand": "A shaky hand",
}
_PART_FRAMES = 72  # of one motion
_SHOWN = 0.4  # of it is over in the picture that stands for it


@dataclasses.dataclass(frozen=True)
class Example:
    """A clip that lies in the page's folder."""

    title: str
    path: Path
    thumbnail: bytes
    """A JPEG."""


def copy_examples(folder: Path) -> list[Example]:
    """The example clips, copied into a folder.

    Raises:
        OSError: they can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    examples = []
    for name, title in _TITLES.items():
        path = Path(shutil.copy(_CLIPS / f"{name}.mp4", folder))
        examples.append(Example(title, path, _thumbnail(path)))
    return examples


def _thumbnail(path: Path) -> bytes:
    from PIL import Image

    with open_video(path) as video:
        index = int(min(video.num_frames, _PART_FRAMES) * _SHOWN)
        frame = next(frame for _, frame in video.iter_frames([index]))
    content = io.BytesIO()
    Image.fromarray(frame).resize((224, 168)).save(content, format="JPEG", quality=85)
    return content.getvalue()
