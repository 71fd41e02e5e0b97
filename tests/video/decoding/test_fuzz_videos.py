"""Damaged videos of a dozen containers: read, or refused by an error of the library's own."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from support.broken_videos import CONTAINERS, damaged, make_videos, read_all

from slowfast_zoo.errors import SlowFastZooError


@pytest.fixture(scope="module")
def videos() -> dict[str, bytes]:
    return make_videos()


def test_most_containers_can_be_made_here(videos: dict[str, bytes]) -> None:
    assert len(videos) >= 10


@pytest.mark.parametrize("ending", CONTAINERS)
def test_damage_is_read_or_refused(videos: dict[str, bytes], ending: str) -> None:
    if ending not in videos:
        pytest.skip("no encoder for it here")
    assert read_all(videos[ending]) == "read"
    outcomes: Counter[str] = Counter()
    for seed in range(25):
        try:
            outcomes[read_all(damaged(videos[ending], random.Random(f"{ending} {seed}")))] += 1
        except SlowFastZooError:
            outcomes["refused"] += 1
    assert set(outcomes) <= {"read", "read, not twice alike", "refused"}
    assert outcomes["read"] >= 1
