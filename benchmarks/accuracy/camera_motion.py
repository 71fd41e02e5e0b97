"""How well does ``slowfast_tiny`` name camera motions? On held-out drawn clips and on your own pictures.

    python benchmarks/accuracy/camera_motion.py --pictures FOLDER [...] --videos FOLDER --out FILE

Every clip goes through ``predict`` as a user's would. ``--pictures`` are photographs, ``--videos`` give one
frame each: a virtual camera films them over the whole range of motions. ``--fixed`` are videos of cameras
that don't move. With ``--weights`` another saved model is measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import slowfast_zoo as zoo
from slowfast_zoo.data.motion.clips import CAMERA_MOTIONS, MotionClips, film
from slowfast_zoo.data.motion.footage import compress
from slowfast_zoo.errors import VideoError
from slowfast_zoo.inference.inputs import list_videos
from slowfast_zoo.video.decoding.reader import open_video

Pictures = list[npt.NDArray[np.uint8]]
SPAN_SECONDS = 1.4  # from the first to the last of eight frames, a fifth of a second apart
HELD_OUT_SEED = 2_000_003  # neither the training nor the validation of the recipe draws from it


def accuracy(model: zoo.SlowFast, clips: Iterable[tuple[npt.NDArray[np.uint8], int]], fps: float) -> dict:
    """Share of clips that are named rightly, and the confusion matrix (rows: truth)."""
    confusion = np.zeros((len(CAMERA_MOTIONS), len(CAMERA_MOTIONS)), int)
    truth: list[int] = []

    def frames() -> Iterable[npt.NDArray[np.uint8]]:
        for clip, label in clips:
            truth.append(label)
            yield clip

    for index, answer in enumerate(zoo.predict_many(model, iter(frames()), topk=1, fps=fps)):
        confusion[truth[index], CAMERA_MOTIONS.index(answer.labels[0])] += 1
    return {
        "clips": int(confusion.sum()),
        "accuracy": round(float(np.trace(confusion) / confusion.sum()), 4),
        "confusion": confusion.tolist(),
    }


def filmed(
    pictures: Pictures,
    count: int,
    *,
    width: int = 320,
    fps: int = 30,
    change: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]] | None = None,
) -> Iterable[tuple[npt.NDArray[np.uint8], int]]:
    """Clips of a virtual camera; clip i is the same motion over the same picture for any width and rate."""
    frames = round(SPAN_SECONDS * fps) + 1
    for index in range(count):
        picture = pictures[index // len(CAMERA_MOTIONS) % len(pictures)]
        height, across = picture.shape[:2]
        size = (width, max(round(width * height / across / 2) * 2, 32))
        label = index % len(CAMERA_MOTIONS)
        rng = np.random.default_rng([11, index])
        clip = film(picture, CAMERA_MOTIONS[label], rng, num_frames=frames, fps=fps, size=size)
        yield (clip if change is None else change(clip)), label


def gray(clip: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The same clip without color."""
    return np.repeat(clip.mean(-1, keepdims=True).round().astype(np.uint8), 3, axis=-1)


def photographs(folders: Sequence[Path]) -> Pictures:
    """Every picture of the folders that is large enough to be filmed."""
    from PIL import Image

    pictures = []
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
                picture = np.array(Image.open(path).convert("RGB"))
                if min(picture.shape[:2]) >= 180:
                    pictures.append(picture)
    return pictures


def video_frames(folder: Path) -> Pictures:
    """The tenth frame of each video that isn't nearly blank and not larger than 2000 pixels."""
    pictures = []
    for path in list_videos(folder).videos:
        try:
            with open_video(path) as video:
                if max(video.width, video.height) > 2000 or min(video.width, video.height) < 120:
                    continue
                picture = video.frames([min(10, video.num_frames - 1)])[0]
        except VideoError:
            continue
        if picture.std() >= 15:
            pictures.append(picture)
    return pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pictures", type=Path, nargs="*", default=[])
    parser.add_argument("--videos", type=Path)
    parser.add_argument("--fixed", type=Path)
    parser.add_argument("--weights", type=Path, help="a saved folder; default: what ships in the package")
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    model = zoo.from_pretrained(options.weights) if options.weights else zoo.slowfast_tiny(pretrained=True)

    drawn = MotionClips(2 * options.clips, size=80, num_frames=8, fps=5, seed=HELD_OUT_SEED)
    results = {"held-out synthetic clips": accuracy(model, (drawn[i] for i in range(len(drawn))), 5)}
    real = photographs(options.pictures) + (video_frames(options.videos) if options.videos else [])
    if real:
        order = np.random.default_rng(5).permutation(len(real))
        real = [real[index] for index in order]
        variants: dict[str, dict] = {
            "virtual camera over real pictures": {},
            "half the resolution": {"width": 160},
            "double the resolution": {"width": 640},
            "15 fps": {"fps": 15},
            "60 fps": {"fps": 60},
            "gray": {"change": gray},
            "re-encoded (MPEG-4, quantizer 16)": {"change": lambda clip: compress(clip, "mpeg4", 16)},
        }
        for name, options_of in variants.items():
            clips = filmed(real, options.clips, **options_of)
            results[name] = accuracy(model, clips, options_of.get("fps", 30)) | {"pictures": len(real)}
    if options.fixed:
        videos = list_videos(options.fixed, recursive=True).videos
        answers = [answer for answer in zoo.predict_many(model, videos) if not answer.error]
        static = [answer.labels[0] == "static" for answer in answers]
        results["static on fixed cameras"] = {
            "clips": len(static),
            "accuracy": round(float(np.mean(static)), 4),
        }
    for name, result in results.items():
        print(f"{name:36} {result['accuracy']:7.1%}  of {result['clips']} clips")
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
