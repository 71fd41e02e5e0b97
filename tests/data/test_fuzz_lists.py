"""Damaged lists, tables and label maps: read as something that holds together, or refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from support.broken_lists import LABEL_MAPS, LISTS, make_clips, read_case

from slowfast_zoo.data.labels import read_labels
from slowfast_zoo.data.lists import read_annotations


def test_undamaged_ones_are_read(tmp_path: Path) -> None:
    make_clips(tmp_path)
    for name, text in LISTS.items():
        (tmp_path / "list").write_text(text, newline="")
        form = "rawframes-offset" if name == "offset" else None
        assert len(read_annotations(tmp_path / "list", form=form).samples) >= 2
    for text in LABEL_MAPS.values():
        (tmp_path / "map").write_text(text)
        assert len(read_labels(tmp_path / "map").names) >= 2


@pytest.mark.parametrize("start", range(0, 800, 200))
def test_damage_is_read_or_refused(tmp_path: Path, start: int) -> None:
    make_clips(tmp_path)
    outcomes = Counter(read_case(tmp_path, number) for number in range(start, start + 200))
    assert set(outcomes) <= {"read", "DataError", "UnknownNameError", "InputError"}
    assert outcomes["read"] >= 20
