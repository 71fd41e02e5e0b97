"""Procedural actors: every action is drawn, has its labels, and is always the same clip."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from slowfast_zoo.data.motion.actions import ACTIONS, ALONE, MANNERS, PAIRS, ActionClips, draw_action
from slowfast_zoo.data.motion.camera import CAMERA_MOTIONS

CLIPS = ActionClips(2 * len(ACTIONS), size=32, num_frames=6, fps=6.0, scenes=1)


def test_every_clip_has_one_action_one_camera_and_one_pace() -> None:
    assert len(set(CLIPS.labels)) == len(CAMERA_MOTIONS) + len(ACTIONS) + len(MANNERS)
    for index in range(len(ACTIONS)):
        clip, target = CLIPS[index]
        names = {CLIPS.labels[place] for place in target.nonzero().flatten().tolist()}
        assert (clip.shape, clip.dtype) == ((6, 32, 32, 3), np.uint8)
        assert names & set(ACTIONS) == {ACTIONS[index]}
        assert len(names & set(CAMERA_MOTIONS)) == 1
        assert len(names & {"fast", "slow"}) == 1
        assert ("two persons" in names) == (ACTIONS[index] in PAIRS)
        assert not names >= {"to the left", "to the right"}


def test_a_clip_is_always_the_same_also_in_another_process() -> None:
    other = pickle.loads(pickle.dumps(CLIPS))
    for index in (1, 20):
        for one, two in zip(CLIPS[index], other[index], strict=True):
            assert torch.equal(torch.as_tensor(one), torch.as_tensor(two))
    assert not np.array_equal(CLIPS[1][0], CLIPS[1 + len(ACTIONS)][0])
    with pytest.raises(IndexError, match="Clip 99 doesn't exist"):
        CLIPS[99]


@pytest.mark.parametrize("action", ["walk", "run", "gallop", "jump forward"])
def test_who_travels_does_so_where_the_labels_say(action: str) -> None:
    rng = np.random.default_rng(3)
    surfaces = rng.integers(0, 256, (3, 384, 384), np.uint8)
    seen = set()
    for _ in range(8):
        cast, manners = draw_action(action, 1.0, surfaces, np.arange(12) / 8, rng)
        way = np.mean([actor.center[-1, 0] - actor.center[0, 0] for actor in cast])
        assert ("to the right" if way > 0 else "to the left") in manners
        seen |= manners
    assert seen >= {"to the right", "to the left"}


def test_figures_differ_by_what_they_do() -> None:
    surfaces = np.full((3, 384, 384), 99, np.uint8)
    paths = {}
    for action in ACTIONS:
        cast, _ = draw_action(action, 1.0, surfaces, np.arange(12) / 8, np.random.default_rng(1))
        assert len(cast) == (10 if action in ALONE else 20 + (action == "hand over"))
        assert all(np.isfinite(actor.center).all() and (actor.half > 0).all() for actor in cast)
        paths[action] = np.concatenate([actor.center.ravel() for actor in cast[:10]])
    for index, one in enumerate(ALONE):
        for two in [*ALONE][index + 1 :]:
            assert np.abs(paths[one] - paths[two]).max() > 0.01, (one, two)
