"""MultiSports' pickle of annotations."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slowfast_zoo.data.persons.multisports import read_multisports
from slowfast_zoo.errors import DataError, InputError
from slowfast_zoo.evaluation.tubes import evaluate_tubes, tubes_of


def annotations() -> dict[str, Any]:
    def tube(first: int, left: float) -> Any:
        frames = np.arange(first, first + 20)
        return np.stack([frames, *(np.full(20, side) for side in (left, 5, left + 10, 40))], 1).astype(
            np.float32
        )

    return {
        "labels": ["jump", "turn"],
        "train_videos": [["a/x"]],
        "test_videos": [["a/v", "b/w"]],
        "nframes": {"a/x": 40, "a/v": 30, "b/w": 25},
        "resolution": {"a/x": (720, 1280), "a/v": (720, 1280), "b/w": (720, 1280)},
        "gttubes": {"a/x": {0: [tube(1, 3)]}, "a/v": {1: [tube(2, 10), tube(5, 50)], 0: [tube(1, 90)]}},
    }


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_tubes(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "gt.pkl"
    path.write_bytes(pickle.dumps(annotations(), protocol=protocol))
    rows, classes = read_multisports(path)
    assert classes == {0: "jump", 1: "turn"} and len(rows) == 60 and len(rows.frames) == 55
    assert rows.unit == "pixels"
    tubes = tubes_of(rows)
    assert [tube.frames[[0, -1]].tolist() for tube in tubes["a/v"][1]] == [[2, 21], [5, 24]]
    assert tubes["a/v"][1][1].boxes[0].tolist() == [50, 5, 60, 40] and tubes["b/w"] == {}
    assert evaluate_tubes(tubes, tubes, classes).mean_average_precision == 1.0
    assert len(read_multisports(path, "train")[0]) == 20


def test_what_isnt_multisports(tmp_path: Path) -> None:
    path = tmp_path / "gt.pkl"
    for changes, says in (
        ({"labels": 3}, "aren't MultiSports'"),
        ({"nframes": {}}, "aren't MultiSports'"),
        ({"nframes": {"a/v": 2**60, "b/w": 25}}, "has 1152921504606846976 frames, more than any video"),
        ({"gttubes": {"a/v": {7: []}}}, "has the label 7, and there are 2"),
        ({"gttubes": {"a/v": {0: [np.zeros((2, 3))]}}}, r"a tube of shape \(2, 3\)"),
        ({"gttubes": {"a/v": {0: [Path("x")]}}}, "to be run while it is read, which is refused"),
    ):
        path.write_bytes(pickle.dumps({**annotations(), **changes}))
        with pytest.raises(DataError, match=says):
            read_multisports(path)
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(DataError, match="aren't MultiSports'"):
        read_multisports(path)
    with pytest.raises(InputError, match="part is 'val'"):
        read_multisports(path, "val")  # type: ignore[arg-type]
