"""The tools in which people look at videos read our answers, and torchcodec's decoder is a source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from inference.test_adapters import PERSONS, PREDICTION, TIMELINE

from slowfast_zoo import create_model, open_video, predict, timeline
from slowfast_zoo.inference.adapters import to_fiftyone, to_label_studio, to_supervision

pytestmark = pytest.mark.cluster
CLIP = Path(__file__).parents[2] / "examples" / "pan_right.mp4"
INTERFACE = """
<View>
  <Video name="video" value="$video" frameRate="30"/>
  <Choices name="choice" toName="video"><Choice value="run"/><Choice value="walk"/></Choices>
  <TimelineLabels name="timeline" toName="video"><Label value="run"/><Label value="walk"/></TimelineLabels>
  <Labels name="label" toName="video"><Label value="walk"/><Label value="person"/></Labels>
  <VideoRectangle name="box" toName="video"/>
</View>
"""


def test_supervision() -> None:
    import supervision

    found = to_supervision(PERSONS, 0.5)
    assert isinstance(found, supervision.Detections)
    picture = supervision.BoxAnnotator().annotate(np.zeros((80, 100, 3), np.uint8), found)
    assert picture.any()
    assert len(found[found.class_id == 1]) == 1
    assert len(to_supervision(PERSONS, 1.0)) == 0


def test_label_studio() -> None:
    from label_studio_sdk.label_interface import LabelInterface
    from label_studio_sdk.label_interface.control_tags import VideoRectangleValue

    interface = LabelInterface(INTERFACE)
    for answer in (PREDICTION, TIMELINE, PERSONS):
        task = to_label_studio(answer, fps=30)
        (prediction,) = task["predictions"]
        assert interface.validate_task({"data": task["data"]})
        if answer is PREDICTION:
            assert interface.validate_prediction(prediction, return_errors=True) == []
        for region in prediction["result"]:
            tag = interface.get_control(region["from_name"])
            assert tag.to_name == [region["to_name"]]
            assert tag.tag.lower() == region["type"]
            if region["type"] == "videorectangle":
                VideoRectangleValue(**region["value"])


def test_fiftyone() -> None:
    import fiftyone

    sample = fiftyone.Sample(filepath=str(CLIP))
    sample["motion"] = to_fiftyone(PREDICTION)
    sample["events"] = to_fiftyone(TIMELINE, fps=30)
    assert [event.support for event in sample["events"].detections] == [[1, 30], [32, 32]]
    frame = fiftyone.Frame()
    frame["persons"] = to_fiftyone(PERSONS, fps=30)[16]
    assert [person.label for person in frame["persons"].detections] == ["walk", "person"]


def test_torchcodec() -> None:
    from torchcodec.decoders import VideoDecoder

    model = create_model("slowfast_tiny", pretrained=True)
    for order in ("NCHW", "NHWC"):
        decoder = VideoDecoder(CLIP, dimension_order=order)
        with open_video(decoder) as theirs, open_video(CLIP) as ours:
            assert theirs.num_frames == ours.num_frames
            assert theirs.fps == ours.fps
            for index in (0, 7, ours.num_frames):
                assert abs(theirs.seconds_of(index) - ours.seconds_of(index)) < 1e-3
            difference = theirs.frames([5, 50]).astype(int) - ours.frames([5, 50])
            assert abs(difference).mean() < 1.5
        answer, expected = predict(model, VideoDecoder(CLIP, dimension_order=order)), predict(model, CLIP)
        assert answer.labels[0] == expected.labels[0]
        assert abs(answer.scores[0] - expected.scores[0]) < 0.02
    segments = timeline(model, VideoDecoder(CLIP), progress=False).segments
    assert [segment.label for segment in segments] == ["pan right"]
