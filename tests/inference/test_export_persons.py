"""``export`` of networks that score persons: boxes are an input of the file, any number of them or none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.small_nets import ROI_NETWORKS, make_model
from torch import Tensor

from slowfast_zoo import export
from slowfast_zoo.errors import ExportError
from slowfast_zoo.inference.export import formats

BOXES = torch.tensor(
    [
        [1, 3.5, 2.25, 40, 50],
        [0, 0, 0, 64, 48],  # the whole frame
        [1, 60, 40, 200, 150],  # mostly outside
        [0, 30, 30, 31, 31],
        [1, 100, 90, 120, 99],  # wholly outside
    ]
)


def run(path: Path, clips: Tensor, boxes: Tensor) -> Tensor:
    """The file as its own runtime serves it."""
    inputs = {"clip": clips.numpy(), "boxes": boxes.numpy()}
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        shapes = {value.name: value.shape for value in (*session.get_inputs(), *session.get_outputs())}
        assert shapes == {"clip": ["batch", 3, 8, 48, 64], "boxes": ["boxes", 5], "logits": ["boxes", 6]}
        return torch.from_numpy(session.run(None, inputs)[0])
    if path.suffix == ".pt2":
        with torch.no_grad():
            return torch.export.load(path).module()(clips, boxes)  # type: ignore[no-any-return]
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return torch.from_numpy(compiled(inputs)["logits"])


@pytest.mark.parametrize(("suffix", "network"), [(".onnx", "acrn"), (".xml", "dilated"), (".pt2", "context")])
def test_the_file_computes_the_same_for_any_boxes(suffix: str, network: str, tmp_path: Path) -> None:
    model = make_model(ROI_NETWORKS[network])
    path, clips = tmp_path / f"net{suffix}", torch.randn(2, 3, 8, 48, 64)
    written = export(model, path, size=(48, 64), repeats=1)
    for boxes, batch in ((BOXES, clips), (BOXES[1:2], clips[:1]), (BOXES[:0], clips)):
        with torch.inference_mode():
            expected = model(batch, boxes)
        logits = run(path, batch, boxes)
        assert logits.shape == expected.shape
        assert torch.allclose(
            logits, expected, rtol=0, atol=1e-5 * float(expected.abs().max() if len(boxes) else 1)
        )
    contract = json.loads(written.files[-1].read_text(encoding="utf-8"))
    assert contract["input"]["shape"] == ["batch", 3, 8, 48, 64]
    assert contract["boxes"]["shape"] == ["boxes", 5] and "x1" in contract["boxes"]["columns"]
    assert contract["output"] == {"name": "logits", "dtype": "float32", "shape": ["boxes", 6]}
    assert contract["model_spec"]["roi"] == model.spec.to_dict()["roi"]
    reference = np.load(path.with_name(contract["reference"]["file"]))
    assert reference["logits"].shape == (len(reference["boxes"]), 6) == (written.proof.boxes, 6)
    assert set(reference["boxes"][:, 0]) == {0, 1, 2} and reference["boxes"].min() < 0
    assert "boxes in 3 clips" in str(written.proof)


@pytest.mark.parametrize("wrong", ["boxes of another clip", "no rows for no boxes"])
def test_a_file_that_takes_boxes_for_others_is_not_kept(
    wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = formats.FORMATS["torch"]

    def opened(path: Path, *_: object) -> formats.Exported:
        module = torch.export.load(path).module()
        if wrong == "no rows for no boxes":
            return lambda clips, boxes: module(clips, boxes) if len(boxes) else torch.zeros(1, 6)
        return lambda clips, boxes: module(clips.flip(0), boxes)

    broken = formats.FileFormat(kind.suffixes, kind.precisions, kind.packages, kind.write, opened)
    monkeypatch.setitem(formats.FORMATS, "torch", broken)
    with pytest.raises(ExportError):
        export(make_model(ROI_NETWORKS["mean"]), tmp_path / "net.pt2", repeats=1)
    assert list(tmp_path.iterdir()) == []
