"""MMAction2's own detection pipeline on a video with given boxes, against ``detect``: frames, boxes, scores.

    python benchmarks/accuracy/mmaction2_persons.py film.mp4 --seconds 2 3

Runs in a Python that has MMAction2 1.2.0; ``tests/reference/make.py`` says how to make one. Both networks get
the same seeded weights. MMAction2's part is its released classes: the validation pipeline of its AVA config
(SampleAVAFrames, RawFrameDecode, Resize, FormatShape, PackActionInputs), its preprocessor, backbone and ROI
head. It reads frames from files, written as AVA's are, at 30 a second: those that FFmpeg's ``fps`` filter
takes.

Its demo reads videos otherwise, in three ways; each is shown alone, and that nothing else differs. Source:
https://github.com/open-mmlab/mmaction2, ``demo/demo_spatiotemporal_det.py`` at v1.2.0.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from reference.make import DETECTION, Persons, mmaction2_peers, stand_in_for_mmdet  # noqa: E402
from reference.seeded import seeded_state_dict  # noqa: E402

from slowfast_zoo import SlowFast, detect, get_weights, load_checkpoint, open_video  # noqa: E402
from slowfast_zoo.video.key_frames import KeyFrames  # noqa: E402
from slowfast_zoo.video.transforms.boxes import scale_boxes  # noqa: E402

MODEL, TAG, CONFIG = "slowfast_r50_4x16x1_roi", "mmaction2-1x/ava21-20e", "ava_r50_4x16x1"
FAULTS = {
    "colors": "blue, green, red where mean, std and weights are for red, green, blue",
    "start": "the clip begins a frame later than in its dataset",
    "rate": "every second frame of the file, whatever its rate, where weights know 30 a second",
}
Frames = npt.NDArray[np.uint8]


def resampled(path: Path, fps: int = 30) -> list[int]:
    """Which frames of a video FFmpeg's ``fps`` filter takes: small pictures with numbers go through it."""
    import av
    import av.filter

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        graph = av.filter.Graph()
        source = graph.add_buffer(width=2, height=2, format="rgb24", time_base=stream.time_base)
        middle, sink = graph.add("fps", str(fps)), graph.add("buffersink")
        source.link_to(middle)
        middle.link_to(sink)
        graph.configure()
        taken: list[int] = []

        def pull() -> None:
            while True:
                try:
                    pixel = graph.pull().to_ndarray()[0, 0].tolist()
                except (av.BlockingIOError, av.EOFError):
                    return
                taken.append(pixel[0] + 256 * pixel[1])

        for number, frame in enumerate(container.decode(stream)):
            pixels = np.zeros((2, 2, 3), np.uint8)
            pixels[..., 0], pixels[..., 1] = number % 256, number // 256
            small = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            small.pts, small.time_base = frame.pts - (stream.start_time or 0), stream.time_base
            small.duration = frame.duration
            graph.push(small)
            pull()
        graph.push(None)
        pull()
    return taken


class MMAction2:
    """Its pipeline and network, with seeded weights."""

    def __init__(self, width: int) -> None:
        stand_in_for_mmdet()
        list(mmaction2_peers())  # makes the package importable
        import mmaction
        from mmaction.models.backbones.resnet3d_slowfast import ResNet3dSlowFast
        from mmaction.models.data_preprocessors import ActionDataPreprocessor
        from mmaction.models.roi_heads import roi_head
        from mmaction.models.roi_heads.bbox_heads import BBoxHeadAVA
        from mmaction.models.roi_heads.roi_extractors import SingleRoIExtractor3D
        from mmengine.config import Config
        from mmengine.dataset import Compose
        from mmengine.registry import init_default_scope

        init_default_scope("mmaction")
        roi_head.bbox2roi = lambda lists: torch.cat(
            [torch.nn.functional.pad(boxes, (1, 0), value=index) for index, boxes in enumerate(lists)]
        )
        folder = Path(mmaction.__file__).parent / ".mim" / "configs" / "detection"
        config = Config.fromfile(folder / f"{DETECTION[CONFIG][0]}.py")
        body, head = config.model.backbone, config.model.roi_head
        body.slow_pathway.base_channels, body.fast_pathway.base_channels = width, width // 8
        head.bbox_head.in_channels = 36 * width
        self.network: Any = Persons(
            ResNet3dSlowFast(**arguments(body) | {"pretrained": None}),
            roi_head.AVARoIHead(
                SingleRoIExtractor3D(**arguments(head.bbox_roi_extractor)),
                BBoxHeadAVA(**arguments(head.bbox_head)),
            ),
        )
        shapes = {name: tuple(value.shape) for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(seeded_state_dict(shapes))
        self.network.eval().roi_head.test_cfg = None
        self.preprocessor = ActionDataPreprocessor(**arguments(config.model.data_preprocessor))
        self.pipeline = Compose(config.val_pipeline)

    def of_files(
        self, folder: Path, count: int, second: int, shares: npt.NDArray[np.float32]
    ) -> tuple[list[int], Tensor, Tensor]:
        """Numbers of the frames taken, boxes in their pixels, scores: as its dataset asks for them."""
        results = {
            "frame_dir": str(folder),
            "filename_tmpl": "img_{:05}.png",
            "modality": "RGB",
            "start_index": 1,
            "timestamp_start": 0,
            "timestamp": second,
            "fps": 30,
            "shot_info": (0, count),
            "gt_bboxes": shares.copy(),
            "proposals": shares.copy(),
            "gt_labels": np.zeros((len(shares), 81), np.float32),
            "img_key": f"film,{second:04d}",
        }
        seen: list[int] = []
        for step in self.pipeline.transforms:
            results = step(results)
            if "frame_inds" in results:
                seen = [int(number) for number in results["frame_inds"]]
        batch = self.preprocessor({"inputs": [results["inputs"]], "data_samples": [results["data_samples"]]})
        boxes = batch["data_samples"][0].proposals.bboxes.float()
        return seen, boxes.clone(), self.answer(batch["inputs"], boxes, batch["data_samples"])

    def of_frames(self, frames: Frames, boxes: Tensor) -> Tensor:
        """Scores of a clip as its demo makes one: resized by mmcv, normalized without changing colors."""
        import mmcv

        height, width = frames.shape[1:3]
        size = mmcv.rescale_size((width, height), (256, np.inf))
        pictures = [mmcv.imresize(frame, size).astype(np.float32) for frame in frames]
        mean, std = (getattr(self.preprocessor, name).flatten().numpy() for name in ("mean", "std"))
        pictures = [mmcv.imnormalize(picture, mean, std, to_rgb=False) for picture in pictures]
        clip = torch.from_numpy(np.stack(pictures).transpose(3, 0, 1, 2)[None].astype(np.float32))
        from mmaction.structures import ActionDataSample

        sample = ActionDataSample(metainfo={"img_shape": clip.shape[-2:], "crop_quadruple": [0, 0, 1, 1]})
        return self.answer(clip, boxes, [sample])

    @torch.inference_mode()
    def answer(self, clip: Tensor, boxes: Tensor, samples: list[Any]) -> Tensor:
        """Scores of a clip's boxes, the background's left out."""
        from mmengine.structures import InstanceData

        maps = self.network.backbone(clip)
        proposals = [InstanceData(bboxes=boxes.clone())]
        found: Tensor = self.network.roi_head.predict(maps, proposals, samples)[0].scores
        return found[:, 1:]


def arguments(part: Any) -> dict[str, Any]:
    """What a part of a config is built with."""
    return {key: value for key, value in part.items() if key != "type"}


def ours(peer: MMAction2, folder: Path, width: int) -> SlowFast:
    """Our network with the same weights."""
    row = get_weights(MODEL, TAG)
    model = SlowFast(row.model_spec.replace(base_width=width))
    model.clip_spec, model.labels = row.clip_spec, row.labels
    file = folder / "seeded.pth"
    torch.save({"state_dict": peer.network.state_dict()}, file)
    return load_checkpoint(model, file, dialect="openmmlab").eval()


def compare(path: Path, seconds: list[int], boxes: npt.NDArray[np.float64], width: int) -> dict[str, Any]:
    """Largest differences of scores; frames and boxes have to be the same."""
    import cv2

    peer = MMAction2(width)
    numbers = resampled(path)
    with tempfile.TemporaryDirectory() as name, open_video(path) as video:
        folder = Path(name)
        taken = sorted(set(numbers))
        for index, frame in video.iter_frames(taken):
            for place in np.flatnonzero(np.array(numbers) == index).tolist():
                cv2.imwrite(str(folder / f"img_{place + 1:05d}.png"), frame[..., ::-1])
        model = ours(peer, folder, width)
        side = np.array([video.width, video.height] * 2, np.float64)
        shares = (boxes / side).astype(np.float32)
        given = {float(second): boxes for second in seconds}
        answer = detect(model, path, boxes=given, topk=None, progress=False)
        order = {label: number for number, label in enumerate(answer.labels)}
        plan = KeyFrames([float(second) for second in seconds])
        windows = plan.windows(video, model.clip_spec)
        report: dict[str, Any] = {"video": path.name, "fps": str(video.fps), "seconds": seconds}
        report |= {
            "width": width,
            "boxes": len(boxes),
            "scores_to": {},
            "demo": dict.fromkeys((*FAULTS, "none", "all"), 0.0),
        }
        for window, second in zip(windows, seconds, strict=True):
            scores = torch.zeros(len(boxes), len(order))
            for row, person in zip(scores, answer.at(second), strict=True):
                for label, score in zip(person.labels, person.scores, strict=True):
                    row[order[label]] = score
            files, scaled, expected = peer.of_files(folder, len(numbers), second, shares)
            frames = window.first_frame + plan.clips(video, window, model.clip_spec, "quick").indices[0]
            assert [numbers[file - 1] for file in files] == frames.tolist(), "other frames"
            own = scale_boxes(boxes / side, model.clip_spec, video.height, video.width)
            worst = float(np.abs(own - scaled.double().numpy()).max())
            report["boxes_to"] = max(worst, report.get("boxes_to", 0.0))
            report["scores_to"][second] = float((scores - expected).abs().max())
            report["spread"] = max(float(expected.std(dim=0).max()), report.get("spread", 0.0))
            for case in report["demo"]:
                wrong = {"none": (), "all": tuple(FAULTS)}.get(case, (case,))
                clip = video.frames(demo_frames(second, video.fps, video.num_frames, numbers, wrong))
                shown = np.ascontiguousarray(clip[..., ::-1]) if "colors" in wrong else clip
                change = float((peer.of_frames(shown, scaled) - scores).abs().max())
                report["demo"][case] = max(report["demo"][case], change)
    return report


def demo_frames(
    second: int, fps: Fraction, count: int, numbers: list[int], faults: tuple[str, ...]
) -> list[int]:
    """The demo's frames around a time, with some of its faults only."""
    key = round(second * fps) if "rate" in faults else 30 * second
    first = key + 1 - (32 // 2 - 1) * 2 - 1  # counted as the demo does, whose first frame is 1
    steps = first - ("start" not in faults) + 2 * np.arange(32)
    if "rate" in faults:
        return np.clip(steps, 0, count - 1).tolist()  # type: ignore[no-any-return]
    return [numbers[step] for step in np.clip(steps, 0, len(numbers) - 1).tolist()]


def main() -> None:
    """Prints the differences, and what each fault of the demo alone changes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path)
    parser.add_argument("--seconds", type=int, nargs="+", default=[2, 3], help="key frames")
    parser.add_argument("--boxes", type=float, nargs="+", help="x1 y1 x2 y2 ... in pixels; default: four")
    parser.add_argument("--width", type=int, default=64, help="channels of the slow stem; smaller is faster")
    parser.add_argument("--out", type=Path, help="also write them as JSON here")
    given = parser.parse_args()
    with open_video(given.video) as video:
        width, height = video.width, video.height
    four = np.array(
        [[0.1, 0.1, 0.5, 0.9], [0.45, 0.2, 0.8, 1.0], [0.0, 0.0, 1.0, 1.0], [0.7, 0.7, 0.73, 0.75]]
    )
    boxes = np.array(given.boxes).reshape(-1, 4) if given.boxes else four * [width, height, width, height]
    report = compare(given.video, given.seconds, boxes, given.width)
    text = json.dumps(report | {"faults": FAULTS}, indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
