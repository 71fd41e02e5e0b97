"""What fine-tuning decides by itself: clip, steps, recipe; and that interruptions change nothing of it."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from support.finetune_clips import SPEC, make_clips, make_model
from support.movies import write_video
from torch import Tensor

from slowfast_zoo.data.annotations import Annotations, Sample
from slowfast_zoo.data.lists import read_annotations
from slowfast_zoo.data.splits import fold_annotations, source_of
from slowfast_zoo.errors import DataError, InputError, SpecError, TrainingError
from slowfast_zoo.evaluation.evaluate import Evaluation
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.runtime.distributed import Processes
from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.training.finetune import decoded, recipes, search, trials
from slowfast_zoo.training.finetune import footage as footage_module
from slowfast_zoo.training.finetune.asked import forced_recipe
from slowfast_zoo.training.finetune.finetune import FinetuneResult, _Run, finetune
from slowfast_zoo.training.finetune.folder import decided_once
from slowfast_zoo.training.finetune.footage import Footage, fit_clip, fitting_clip, fitting_views, pace_of
from slowfast_zoo.training.finetune.recipes import LOOK, RECIPES, candidates, scheduled, wanted_steps
from slowfast_zoo.training.finetune.report import how_sure, in_short
from slowfast_zoo.training.finetune.search import Choice, Steps, choose
from slowfast_zoo.training.finetune.trials import errors_of_chance, mean_and_error, shrink_classifier
from slowfast_zoo.training.schedule import Plan
from slowfast_zoo.video.sampling import center_indices, clip_indices
from slowfast_zoo.weights.catalog import get_weights

ALONE = Processes(0, 1, torch.device("cpu"))
LARGE = ModelSpec(depth=50, num_frames=32, alpha=8)
TINY = ClipSpec(
    num_frames=8, frame_stride=1, time_base="fps-scaled", fps=5, size=(80, 80), crop=80, test_crop=80
)
SMALL = ModelSpec(depth=14, base_width=16, alpha=4, beta_inv=2, num_frames=8)


def tune(data: Any, folder: Path, model: SlowFast | None = None, **options: Any) -> FinetuneResult:
    usual = {"config": {"workers": 0, "deterministic": True}, "device": "cpu", "progress": False}
    return finetune(data, model or make_model(), work_dir=folder, **{**usual, **options})


@pytest.mark.parametrize(("clips", "steps"), [(12, 600), (60, 600), (240, 1200), (6000, 6000)])
def test_steps_grow_with_the_clips_and_not_with_epochs(clips: int, steps: int) -> None:
    assert wanted_steps(clips) == steps
    config = scheduled(RECIPES["learn"].config, clips, steps, {})  # type: ignore[arg-type]
    plan = Plan.of(config, clips, 1)
    assert plan.steps == pytest.approx(steps, rel=0.07)
    assert 5 <= config.epochs / config.validate_every <= 10 or config.epochs < 10
    assert Plan.of(config, clips, 1).lr == pytest.approx(2e-3, rel=0.26)


@pytest.mark.parametrize(("watched", "looks"), [(0, 10), (60, 10), (180, 4), (960, 2)])
def test_many_held_out_clips_are_looked_at_less_often(watched: int, looks: int) -> None:
    config = scheduled(RECIPES["learn"].config, 60, 600, {}, watched=watched)  # type: ignore[arg-type]
    assert -(-config.epochs // config.validate_every) == looks
    trained = Plan.of(config, 60, 1).steps * Plan.of(config, 60, 1).step_clips
    assert looks == 2 or looks * watched * LOOK <= trained / 10


def test_fewer_steps_than_an_epoch_and_epochs_of_ones_own() -> None:
    gentle = RECIPES["gentle"].config
    assert gentle is not None
    assert Plan.of(scheduled(gentle, 6000, 100, {}), 6000, 1).steps == 100
    assert Plan.of(scheduled(gentle, 560, 108, {}), 560, 1).steps == 108  # not two whole passes of 70
    assert scheduled(gentle, 60, 600, {"epochs": 3}).epochs == 3
    assert Plan.of(scheduled(gentle, 15, 4, {}), 15, 1).step_clips == 7  # two of seven, not one of eight


def test_several_processes_see_as_many_clips_as_one() -> None:
    gentle = RECIPES["gentle"].config
    assert gentle is not None
    for world, step in ((1, 7), (2, 8), (4, 8), (8, 8)):
        plan = Plan.of(scheduled(gentle, 60, 600, {}, world), 60, world)
        assert plan.step_clips == step and plan.steps == pytest.approx(600, rel=0.01)
    assert Plan.of(scheduled(gentle, 60, 600, {"batch_size": 4, "accumulate": 2}), 60, 1).step_clips == 6


@pytest.mark.parametrize(("world", "changes"), [(8, {}), (1, {"accumulate": 8, "batch_size": 1})])
def test_clips_that_are_only_looked_at_may_be_few(world: int, changes: dict[str, int]) -> None:
    group = Processes(0, world, torch.device("cpu"))
    workshop = trials.Workshop(make_model(), "quick", group, 0.1, False, changes)
    assert workshop.reading()["max_views"] == changes.get("batch_size", 8)
    with pytest.raises(DataError, match="needs at least 8"):
        workshop.settings(RECIPES["learn"], 3, 1)


def test_when_to_save_and_how_long_to_warm_up_may_be_said() -> None:
    learn = RECIPES["learn"].config
    assert learn is not None
    told: dict[str, Any] = {"checkpoint_every": 3, "checkpoint_steps": 7, "warmup_epochs": 50}
    config = scheduled(learn, 40, 600, told)
    assert config.epochs == 120 and {name: getattr(config, name) for name in told} == told
    usual = scheduled(learn, 40, 600, {})
    assert (usual.checkpoint_every, usual.checkpoint_steps, usual.warmup_epochs) == (6, 0, 1)
    workshop = trials.Workshop(make_model(), "quick", ALONE, 0.1, False, told)
    trial = workshop.settings(RECIPES["learn"], 40, 150, trial=True)
    assert (trial.epochs, trial.warmup_epochs, trial.checkpoint_steps) == (30, 6, 7)


def moving(speed: float, frames: int = 40) -> np.ndarray[Any, Any]:
    pictures = np.full((frames, 64, 64, 3), 90, np.uint8)
    for index, picture in enumerate(pictures):
        left = round(16 + 12 * np.sin(index * speed))
        picture[20:40, left : left + 12] = 230
    return pictures


def test_faster_motion_has_a_shorter_pace() -> None:
    slow, fast = pace_of(moving(0.1)), pace_of(moving(0.5))
    assert 1 < fast < slow / 2
    assert pace_of(moving(0)[:1]) == pace_of(moving(0)[:2]) == 1


@pytest.mark.parametrize(
    ("footage", "frames", "fps", "views"),
    [
        (Footage(300, 300, 30.0, 3.0), 16, 10.0, 7),  # what moves decides
        (Footage(300, 300, 30.0, 30.0), 16, 8.0, 5),  # near the 1.6 s that the weights know
        (Footage(300, 300, 30.0, 0.5), 16, 12.5, 8),
        (Footage(150, 150, 30.0, 0.5), 16, 12.5, 4),
        (Footage(30, 60, 25.0, 4.0), 16, 13.33, 3),  # the clips' length decides
        (Footage(12, 12, 25.0, 4.0), 12, 25.0, 1),
        (Footage(3, 3, 25.0, 1.0), 8, 25.0, 1),
    ],
)
def test_clips_of_small_networks(footage: Footage, frames: int, fps: float, views: int) -> None:
    spec, notes = fitting_clip(TINY, SMALL, footage)
    assert (spec.num_frames, spec.frame_stride, spec.fps) == (frames, 1, fps)
    assert footage.fps is not None
    assert spec.num_frames / fps <= max(footage.frames, 8) / footage.fps * 1.01
    assert notes[0].startswith(f"Clips of {frames} frames, {fps:g} a second: ")
    assert ("is filled in" in notes[-1]) == (footage.frames < frames)
    assert fitting_views(spec, footage) == (views, 1)
    model = SlowFast(SMALL)
    model.clip_spec = TINY.replace(clips=10, crops=3)
    assert fit_clip(model, footage, keep_clip=False, views=None)[0] == (views, 1)
    assert model.clip_spec == spec.replace(clips=views, crops=1), "what was scored is what is 'published'"
    _, notes = fit_clip(model, footage, keep_clip=True, views=(2, 3))
    assert notes == [
        "Pictures of 80x80, as the network's own clip has them.",
        "Scores look at 2x3 views of each video, as predict does with the views 'published'.",
    ]
    assert (model.clip_spec.clips, model.clip_spec.crops) == (2, 3)


@pytest.mark.parametrize(
    ("rate", "frames", "fps"),
    [(1 / 300, 8, 0.0033), (0.004, 8, 0.004), (2000.0, 40, 800.0), (48000.0, 40, 1000.0)],
)
def test_clips_of_time_lapses_and_of_the_fastest_cameras(rate: float, frames: int, fps: float) -> None:
    spec, _ = fitting_clip(TINY, SMALL, Footage(frames, frames, rate, 1.0))
    assert spec.fps == pytest.approx(fps, rel=0.02)
    spec, _ = fitting_clip(TINY.replace(fps=30.0), LARGE, Footage(frames, frames, rate, 1.0))
    assert spec.fps is not None and 0.001 <= spec.fps <= 1000


def test_a_quick_look_is_the_one_clip_that_the_model_keeps() -> None:
    model = SlowFast(LARGE)
    model.clip_spec = get_weights("slowfast_r50_8x8x1", "pyslowfast/k400").clip_spec
    views, notes = fit_clip(model, Footage(300, 300, 30.0, 3.0), keep_clip=False, views="quick")
    sizes = "Pictures of 224x224 to train with and 256x256 to score, as the network's own clip has them."
    assert notes[-1] == sizes
    kept = clip_indices(model.clip_spec, 300, 30.0, model.clip_spec.clips)
    assert views == (1, 1) == (model.clip_spec.clips, model.clip_spec.crops)
    assert kept[0, 0] != center_indices(model.clip_spec, 300, 30.0)[0, 0]


def test_clips_that_are_spread_over_the_video_stay_as_they_are_and_are_one() -> None:
    entry = get_weights("slowfast_r50_16x8x1", "pyslowfast/ssv2")
    spec, notes = fitting_clip(entry.clip_spec, entry.model_spec, Footage(300, 600, 60.0, 3.0))
    assert spec == entry.clip_spec
    assert notes == ["Clips of 64 frames, spread over the whole video: as published."]
    assert fitting_views(spec, Footage(300, 600, 60.0, 3.0)) == (1, 1)


@pytest.mark.parametrize(
    ("model", "footage", "frames", "stride", "views", "why"),
    [
        (SMALL, Footage(40, 40, None, 2.2), 16, 2, 1, "clips of 1.6 s, taken as 30 frames a second."),
        (SMALL, Footage(40, 70, None, 9.0), 16, 2, 3, "three of four clips have 40 frames or more."),
        (SMALL, Footage(12, 12, None, 4.0), 12, 1, 1, "three of four clips have 12 frames or more."),
        (SMALL, Footage(300, 300, None, 9.0), 16, 4, 5, "clips of 1.6 s, taken as 30 frames a second."),
        (SMALL, Footage(300, 300, None, 2.6), 16, 3, 7, "has changed within 2.6 of them."),
        (SMALL, Footage(300, 300, None, 0.5), 16, 2, 10, "clips of 1.6 s, taken as 30 frames a second."),
        (LARGE, Footage(300, 300, None, 3.0), 8, 1, 10, "as published."),
    ],
)
def test_clips_without_a_rate_are_counted_in_frames(
    model: ModelSpec, footage: Footage, frames: int, stride: int, views: int, why: str
) -> None:
    """By hand: 1.6 s at 30/s are 3 of the files' frames for each of 16; a quarter off, 2.4 and 3.75."""
    spec, notes = fitting_clip(TINY, model, footage)
    assert (spec.time_base, spec.fps, spec.num_frames, spec.frame_stride) == ("frames", None, frames, stride)
    assert notes[0] == (
        "Nothing says the frame rate of the clips (--fps), so the network's clip counts frames."
    )
    assert notes[1].endswith(why)
    assert fitting_views(spec, footage) == (views, 1)


def test_clips_of_several_rates_count_as_if_they_had_one(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [(120, 60.0, 6.0)] * 11 + [(50, 25.0, 2.5)] * 9
    samples = tuple(Sample(path=Path(f"{index}"), labels=(0,)) for index in range(20))
    clips = Annotations(samples=samples, labels=None, multi_label=False, num_classes=1)
    monkeypatch.setattr(footage_module, "_look", lambda sample: looks[int(sample.path.name)])
    assert Footage.of(clips) == Footage(120, 120, 60.0, 6.0)
    assert Footage.of(clips, in_time=False) == Footage(50, 120, 60.0, 6.0)
    looks[3] = (120, None, 6.0)  # type: ignore[call-overload]
    assert Footage.of(clips) == Footage(50, 120, None, 6.0)


@pytest.mark.parametrize(
    ("footage", "stride"),
    [
        (Footage(300, 300, 30.0, 3.0), 2),
        (Footage(600, 600, 60.0, 3.0), 4),
        (Footage(300, 300, 15.0, 3.0), 1),
        (Footage(40, 300, 30.0, 3.0), 1),
        (Footage(3, 3, None, 1.0), 1),
    ],
)
def test_clips_of_published_networks_keep_their_span_in_seconds(footage: Footage, stride: int) -> None:
    spec, _ = fitting_clip(ClipSpec(), LARGE, footage)
    assert (spec.num_frames, spec.frame_stride) == (32, stride)


@pytest.mark.parametrize(
    ("footage", "stride", "fps"),
    [
        (Footage(300, 300, 60.0, 3.0), 2, 30.0),
        (Footage(70, 70, 60.0, 3.0), 1, 30.0),
        (Footage(40, 40, 60.0, 3.0), 1, 48.0),
        (Footage(40, 40, 240.0, 3.0), 1, 192.0),
        (Footage(40, 40, 30.0, 3.0), 1, 30.0),
        (Footage(31, 31, 60.0, 3.0), 1, 60.0),
        (Footage(20, 20, 60.0, 3.0), 1, 60.0),
        (Footage(20, 20, 25.0, 3.0), 1, 30.0),
    ],
)
def test_clips_of_published_networks_in_seconds_fit_into_short_videos_of_high_rates(
    footage: Footage, stride: int, fps: float
) -> None:
    """By hand: 32 frames in the time of 40 of 60 a second are 48 a second."""
    published = get_weights("slowfast_r50_8x8x1", "pyslowfast/k400").clip_spec
    spec, notes = fitting_clip(published, LARGE, footage)
    assert (spec.num_frames, spec.frame_stride, spec.fps) == (32, stride, fps)
    assert (f"Clips of 32 frames, {fps:g} a second: three of four" in notes[0]) == (fps != published.fps)


def test_the_order_of_recipes_follows_the_network() -> None:
    assert candidates(SPEC)[0].name == "learn"
    assert candidates(LARGE)[0].name == "gentle"


def test_a_published_network_takes_the_same_path(tmp_path: Path) -> None:
    """R50 with seeded weights: narrow, as depth alone decides."""
    spec = LARGE.replace(base_width=8, num_frames=16, num_classes=7)
    torch.manual_seed(0)
    model = SlowFast(spec)
    model.clip_spec = ClipSpec(
        num_frames=16, frame_stride=2, size=32, crop=32, test_crop=32, clips=1, crops=1
    )
    make_clips(tmp_path / "d", {"dark": 2, "light": 2}, frames=20)
    config = {"workers": 0, "epochs": 1}
    result = tune(tmp_path / "d", tmp_path / "w", model, config=config, val=0.5, everything=False)
    assert result.recipe == "gentle"
    assert result.model.clip_spec.frame_stride == 1
    assert any("batch norms kept" in note for note in result.notes)


def test_a_shrunk_classifier_points_where_it_did() -> None:
    model = make_model()
    with torch.no_grad():
        model.classifier.weight.normal_(0, 0.5)  # type: ignore[union-attr]
        model.classifier.bias.normal_()  # type: ignore[union-attr]
    features = torch.randn(20, model.num_features)
    before = model.classifier(features).argmax(1)
    shrink_classifier(model)
    assert float(model.classifier.weight.detach().std()) == pytest.approx(0.01, rel=1e-3)  # type: ignore[union-attr]
    assert torch.equal(model.classifier(features).argmax(1), before)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (None, Steps(600, 600, True)),
        (10_000.0, Steps(600, 8500 - 1200, True)),
        (1_000.0, Steps(425, 0, True)),
        (2_100.0, Steps(595, 595, True)),
        (1_900.0, Steps(600, 0, True)),
        (150.0, Steps(127, 0, False)),
        (30.0, Steps(0, 0, False)),
    ],
)
def test_a_budget_is_divided(budget: float | None, expected: Steps) -> None:
    assert Steps.of(40, 1.0, budget, 2) == expected
    if budget is not None and expected.training:
        spent = expected.training * (2 if expected.everything else 1) + expected.search
        assert spent <= budget


def test_a_budget_for_one_recipe_is_not_spent_on_comparing(tmp_path: Path) -> None:
    assert Steps.of(40, 1.0, 1_000.0, 2, searches=0) == Steps(425, 0, True)
    assert Steps.of(40, 1.0, 10_000.0, 2, searches=0) == Steps(600, 0, True)
    make_clips(tmp_path / "d", {"dark": 3, "light": 3})
    result = tune(tmp_path / "d", tmp_path / "w", recipe="gentle", budget_seconds=1e-6, keep_clip=True)
    assert result.recipe == "probe", "not one step of a training"
    assert "The budget is too short for a training: a linear probe" in str(result)


def test_a_budget_keeps_time_for_features_and_scores() -> None:
    assert Steps.of(40, 1.0, 1_000.0, 2, looks=2_400) == Steps.of(40, 1.0, 1_000.0 - 150 / 0.85, 2)
    assert Steps.of(40, 1.0, 1_000.0, 2, looks=10**6) == Steps.of(40, 1.0, 500.0, 2)
    assert Steps.of(40, 1.0, None, 2, looks=10**6) == Steps.of(40, 1.0, None, 2)


@pytest.mark.parametrize("clips", [12, 200, 1000])
@pytest.mark.parametrize(
    ("trainings", "searches"), [(1, 1), (2, 1), (6, 6), (2, 0)], ids=["once", "twice", "folds", "told"]
)
@pytest.mark.parametrize("looks", [0, 10])
def test_what_is_planned_is_what_a_budget_pays_for(
    clips: int, trainings: int, searches: int, looks: int
) -> None:
    wanted, compared = wanted_steps(clips), 0
    for budget in np.geomspace(30, 20 * wanted * trainings, 200).tolist():
        steps = Steps.of(
            clips,
            1.0,
            budget,
            trainings,
            looks * clips,
            searches=searches,
            search_looks=2 * looks * clips,
        )
        there, seen = 0.85 * budget, looks * clips / 16
        spent = steps.training * (trainings if steps.everything else 1) + searches * steps.search + seen
        spent += 2 * seen if steps.search else 0
        if not steps.training or 2 * seen > there:
            continue
        assert spent <= there + 1e-6
        assert steps.training == wanted or spent > 0.9 * there
        if steps.search:
            compared += 1
            assert steps.training >= 0.9 * wanted and search.affordable(steps, 4)[0] >= 2
    assert bool(compared) == bool(searches)


def test_looks_are_those_of_probes_trainings_searches_and_scores() -> None:
    """By hand: 10 clips to train with, 4 to score, 3 to validate with, 5 validations, two views of each."""
    looks = search.Looks(probed=10, scored=4, validated=3, trained=25, searched=10)
    seen = {name: looks.of_trainings(RECIPES[name], 2, 5) for name in ("learn", "gentle", "measured")}
    plain = 2 * (10 + 4 + 4 + 5 * 3)
    assert seen == {"learn": plain, "gentle": plain + 8 * 25, "measured": plain + 9 * 25}
    probe, scores = 2 * 10, 2 * 10  # the probe's features are those of the training that follows
    assert looks.of_searches([RECIPES["learn"], RECIPES["plain"]], 2) == probe + 2 * scores
    tried = [RECIPES["gentle"], RECIPES["measured"]]
    assert looks.of_searches(tried, 2) == probe + 2 * scores + (8 + 9) * 10


@pytest.mark.parametrize(
    ("budget", "prepared", "told"),
    [
        (500.0, 0.0, "pays for 209 steps to train."),
        (1_400.0, 0.0, "pays for 592 steps to train."),
        (20_000.0, 0.0, "pays for 600 steps to train and 15761 to compare recipes."),
        (100.0, 0.0, "pays for a linear probe; about 3 minutes would pay for a training."),
        (1_450.0, 50.0, "pays for 592 steps to train."),
        (100.0, 200.0, "pays for a linear probe; about 6 minutes would pay for a training."),
        (180.0, 0.0, "pays for 147 steps to train, and not for another on everything."),
    ],
)
def test_a_plan_says_what_it_pays_for(tmp_path: Path, budget: float, prepared: float, told: str) -> None:
    """By hand for 592: 0.85 * 1400 less 24 + 2 * 6 + 10 * 6 looks at 1/16 of a step, for two trainings.

    A training has 100 of 600 steps at least: 0.85 * 120 less the looks are fewer, 0.85 * 180 more.
    """
    clips = read_annotations(make_clips(tmp_path / "d", {"dark": 12, "light": 12}, frames=1))
    workshop = trials.Workshop(make_model(), "quick", ALONE, 0.1, False, {})
    run = _Run(workshop, None, make_model(), tmp_path, [], None, None)  # type: ignore[arg-type]
    decided_once(tmp_path, "step_seconds", 1.0, ALONE)
    decided_once(tmp_path, "prepared_seconds", prepared, ALONE)
    steps = run.steps(clips, budget, 2, 1, search.Looks(24, 6, 6, 54, 24))
    before = f"A step of 8 clips takes 1.00 s here, and what came before took {prepared:.0f} s;"
    assert run.notes[-1] == f"{before} a budget of {budget:.0f} s {told}"
    bench: Any = Bench(learn=1, plain=1, measured=1, gentle=1, probe=1)
    choice = choose(bench, clips, tmp_path, steps)
    assert bool(choice.table) == bool(steps.search)
    assert ("too short to compare" in choice.notes[0]) == bool(steps.training and not steps.search)


@pytest.mark.parametrize("old", [False, True])
def test_what_came_before_is_measured_with_the_first_step_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool
) -> None:
    """A plan of an earlier version has the time of a step alone, and paid for 592 steps."""
    clips = read_annotations(make_clips(tmp_path / "d", {"dark": 12, "light": 12}, frames=1))
    monkeypatch.setattr(trials.Workshop, "step_seconds", lambda *_: 1.0)
    workshop = trials.Workshop(make_model(), "quick", ALONE, 0.1, False, {})
    if old:
        decided_once(tmp_path, "step_seconds", 1.0, ALONE)
    found: list[Steps] = []
    for ago in (40, 400):
        began = time.monotonic() - ago
        run = _Run(workshop, None, make_model(), tmp_path, [], None, None, began)  # type: ignore[arg-type]
        found.append(run.steps(clips, 1_400.0, 2, 1, search.Looks(24, 6, 6, 54, 24)))
    assert found[0] == found[1] and (found[0].training == 592) == old
    prepared = decided_once(tmp_path, "prepared_seconds", None, ALONE)
    assert prepared == 0 if old else 40 <= prepared < 400


def test_a_budget_knows_how_many_clips_are_in_a_step(tmp_path: Path) -> None:
    """By hand: 0.85 * 1400 less 96 looks at half a clip of 4, for two trainings."""
    clips = read_annotations(make_clips(tmp_path / "d", {"dark": 12, "light": 12}, frames=1))
    workshop = trials.Workshop(make_model(), "quick", ALONE, 0.1, False, {"batch_size": 4})
    run = _Run(workshop, None, make_model(), tmp_path, [], None, None)  # type: ignore[arg-type]
    decided_once(tmp_path, "step_seconds", 1.0, ALONE)
    decided_once(tmp_path, "prepared_seconds", 10.0, ALONE)
    run.steps(clips, 1_410.0, 2, 1, search.Looks(24, 6, 6, 54, 24))
    told = "A step of 4 clips takes 1.00 s here, and what came before took 10 s; a budget of 1410 s pays for"
    assert run.notes == [f"{told} 589 steps to train."]


@pytest.mark.parametrize(
    ("workers", "shared", "seconds"), [(0, 2, 0.9), (2, 2, 0.5), (1, 8, 0.6), (2, None, 0.3), (1, None, 0.6)]
)
def test_readers_take_time_from_a_network_on_the_same_processors(
    workers: int, shared: int | None, seconds: float
) -> None:
    assert trials.with_reading(0.3, 0.6, 0.4, workers, shared) == pytest.approx(seconds)


def test_a_training_far_too_short_for_its_clips_is_a_probe() -> None:
    assert Steps.of(560, 1.0, 300.0, 2) == Steps(0, 0, False)  # 255 of the 1833 steps that so many deserve
    assert Steps.of(560, 1.0, 400.0, 2) == Steps(340, 0, False)


def test_time_of_a_step_is_measured_also_where_memory_holds_one_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def seconds(_: SlowFast, __: object, clips: torch.Tensor) -> torch.Tensor:
        seen.append(len(clips))
        if len(clips) > 1:
            raise MemoryError
        return torch.tensor([0.5])

    monkeypatch.setattr(trials, "_pass_seconds", seconds)
    clips = read_annotations(make_clips(tmp_path / "d", {"dark": 4, "light": 4}))
    for accumulate in (1, 2):
        changes = {"workers": 8, "accumulate": accumulate, "batch_size": 4}
        workshop = trials.Workshop(make_model(), "quick", ALONE, 0.1, False, changes)
        found = workshop.step_seconds(clips, RECIPES["learn"])
        assert 0.5 * 4 * accumulate <= found < 0.5 * 4 * accumulate + 1, "of the network, and of reading"
    assert seen == [4, 2, *[1] * 12] * 2


def test_epochs_of_ones_own_are_the_trainings_and_not_a_trials(tmp_path: Path) -> None:
    clips = read_annotations(make_clips(tmp_path / "d", {"dark": 12, "light": 12}, frames=1))
    workshop = trials.Workshop(make_model(), "quick", ALONE, 0.1, False, {"epochs": 100})
    for trial, epochs in ((False, 100), (True, 50)):
        assert workshop.settings(RECIPES["learn"], 24, 150, trial=trial).epochs == epochs
    run = _Run(workshop, None, make_model(), tmp_path, [], None, None)  # type: ignore[arg-type]
    assert run.steps(clips, None, 2, 1, search.Looks(0, 0, 0, 0, 0)) == Steps(300, 300, True)
    with pytest.raises(InputError, match="A budget decides how many steps there are, and so do epochs"):
        tune(tmp_path / "d", tmp_path / "w", budget_seconds=60, config={"epochs": 3})


def evaluation(scores: list[float], names: list[str]) -> Evaluation:
    """Two classes; the score is that of the first, which is right."""
    return Evaluation(
        metrics={"top1_acc": 0.0},
        scores=[np.array([score, 1 - score], np.float32) for score in scores],
        targets=np.zeros(len(scores), np.int64),
        names=names,
        labels=("a", "b"),
        failed=[],
        protocol={},
    )


class Bench:
    """A workshop whose recipes have known scores."""

    def __init__(self, **scores: float) -> None:
        self.known, self.start, self.group_by, self.seed = scores, make_model(), None, 0
        self.trained: list[str] = []
        self.group = ALONE
        self.changes: dict[str, Any] = {}

    def train(self, recipe: recipes.FinetuneRecipe, *_: Any, **__: Any) -> tuple[str, list[str]]:
        self.trained.append(recipe.name)
        return recipe.name, []

    def features(self, *_: Any) -> Any:
        return trials.ProbeFeatures(torch.zeros(0, 1), torch.zeros(0), [])

    def fresh(self) -> str:
        return "probe"

    def fit(self, *_: Any) -> None:
        self.trained.append("probe")

    def evaluate(self, model: str, clips: Any) -> Evaluation:
        return evaluation([self.known[model]] * len(clips.samples), [sample.name for sample in clips.samples])


@pytest.mark.parametrize(
    ("scores", "taken", "folds"),
    [
        ({"learn": 0.6, "plain": 0.6, "probe": 0.6}, "learn", (1, 1, 1)),
        ({"learn": 0.6, "plain": 0.8, "probe": 0.7}, "plain", (2, 2, 2)),
        ({"learn": 0.3, "plain": 0.2, "probe": 0.9}, "probe", (2, 1, 2)),
    ],
)
def test_the_best_recipe_is_taken_and_no_trial_is_repeated(
    tmp_path: Path, scores: dict[str, float], taken: str, folds: tuple[int, ...]
) -> None:
    """Behind the first fold only those are tried that are ahead of the likeliest, and that one with them."""
    clips = read_annotations(make_clips(tmp_path / "d", {"dark": 12, "light": 12}, frames=1))
    bench = Bench(**scores)

    def chosen() -> Choice:
        return choose(bench, clips, tmp_path, Steps(600, 600, True))  # type: ignore[arg-type]

    first = chosen()
    assert first.recipe.name == taken
    assert [row["recipe"] for row in first.table] == ["learn", "plain", "probe"]
    assert [row["clips"] for row in first.table] == [12 * count for count in folds]
    # Scores are half for the right class, half its probability; one of equal scores on all clips is sure.
    sure = {name: (1 + value) / 2 if value > 0.5 else value / 2 for name, value in scores.items()}
    gains = [sure[name] - sure["learn"] for name in ("plain", "probe")]
    assert math.isnan(first.table[0]["gain"])
    assert [row["gain"] for row in first.table[1:]] == pytest.approx(gains, abs=1e-6)
    assert [row["gain_error"] for row in first.table[1:]] == pytest.approx([0, 0], abs=1e-6)
    on = [[name for name, count in zip(scores, folds, strict=True) if count > fold] for fold in (0, 1)]
    assert bench.trained == [*on[0], *on[1]]
    assert chosen() == first
    assert len(bench.trained) == sum(folds)
    (tmp_path / "search.json").write_text("{")
    with pytest.raises(TrainingError, match=r"search\.json is damaged"):
        chosen()


def test_clips_of_one_source_say_little_more_than_one() -> None:
    values = [0.1, 0.5, 0.4, 0.8]
    alone = mean_and_error(values, ["a", "b", "c", "d"])
    assert alone == (pytest.approx(0.45), pytest.approx(np.std(values, ddof=1) / 2))
    # Four copies of each: of the same mean, and no surer than the four are.
    assert mean_and_error(np.repeat(values, 4), [*"aaaabbbbccccdddd"]) == pytest.approx(alone)
    assert mean_and_error(np.repeat(values, 4), [*"abcdefghijklmnop"])[1] < alone[1] / 2
    assert mean_and_error(values, ["a"] * 4) == (pytest.approx(0.45), float("inf"))


@pytest.mark.parametrize("sources", [2, 3, 4, 5, 6, 9, 30])
def test_few_sources_need_more_standard_errors_to_be_as_sure(sources: int) -> None:
    """Student's t has the same tail above it as a normal distribution has above 2, by integration."""
    free = sources - 1
    scale = math.exp(math.lgamma(sources / 2) - math.lgamma(free / 2)) / math.sqrt(free * math.pi)
    angles = np.linspace(math.atan(errors_of_chance(sources)), math.pi / 2, 100_001)[:-1]
    density = scale * (1 + np.tan(angles) ** 2 / free) ** (-sources / 2) / np.cos(angles) ** 2
    tail = float(((density[1:] + density[:-1]) / 2 * np.diff(angles)).sum())
    assert tail == pytest.approx(math.erfc(2 / math.sqrt(2)) / 2, rel=0.01)
    assert errors_of_chance(1) == math.inf


@pytest.mark.parametrize(("sources", "taken"), [(3, "learn"), (4, "probe")])
def test_a_recipe_that_is_better_for_three_persons_may_be_so_by_chance(sources: int, taken: str) -> None:
    """By hand: the gain is 0.5, its error 0.2 / sqrt(3), a 4.3rd of it; of four sources a sixth."""
    gains, persons = [0.3, 0.5, 0.7, 0.5][:sources], [*"abcd"][:sources]
    scores: dict[str, Any] = {"learn": {"scores": [0.0] * sources}, "probe": {"scores": gains}}
    assert search._best(RECIPES["learn"], scores, persons, 9, 9).recipe.name == taken


def test_what_cant_be_compared_is_said(tmp_path: Path) -> None:
    clips = read_annotations(make_clips(tmp_path / "d", {"dark": 12, "light": 12}, frames=1))
    few = clips.subset(range(6, 18))
    for data, steps, words in (
        (
            few,
            Steps(600, 600, True),
            "12 clips are too few to compare recipes. Taken, as the first choice for small networks: learn",
        ),
        (
            clips,
            Steps(600, 100, True),
            "too short to compare recipes. Taken, as the first choice for small networks: learn",
        ),
        (clips, Steps(0, 0, False), "too short for a training: a linear probe"),
    ):
        choice = choose(Bench(), data, tmp_path, steps)  # type: ignore[arg-type]
        assert words in choice.notes[0]
    assert choice.recipe.name == "probe"
    told = Bench()
    told.changes = {"epochs": 20}
    choice = choose(told, clips, tmp_path, Steps(60, 60, True))  # type: ignore[arg-type]
    assert choice.notes[0].startswith("60 steps are too few to compare recipes. Taken, as the first choice")


def test_a_plan_is_made_once(tmp_path: Path) -> None:
    assert decided_once(tmp_path, "step_seconds", lambda: 1.5, ALONE) == 1.5
    assert decided_once(tmp_path, "step_seconds", lambda: 9.0, ALONE) == 1.5
    plan = tmp_path / "plan.json"
    assert decided_once(tmp_path, "more", {"fold": (1, float("nan"))}, ALONE)
    assert decided_once(tmp_path, "more", 0, ALONE)["fold"][0] == 1
    for text in ("[]", plan.read_text().replace("1.5", "7.5")):
        plan.write_text(text)
        with pytest.raises(TrainingError, match=r"plan\.json is damaged"):
            decided_once(tmp_path, "step_seconds", 1, ALONE)
    plan.write_text('{"step_seconds": 1.5}')  # as earlier versions wrote it
    assert decided_once(tmp_path, "step_seconds", 1, ALONE) == 1.5


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole of it in a few steps."""
    monkeypatch.setattr(recipes, "FEWEST_STEPS", 2)
    monkeypatch.setattr(trials, "_DRAWS", 1)
    monkeypatch.setattr(search, "candidates", lambda spec: [RECIPES["learn"], RECIPES["gentle"]])
    monkeypatch.setattr(search, "_FEWEST_CLIPS", 8)
    monkeypatch.setattr(search, "_FEWEST_STEPS", 1)


class Mortal(SlowFast):
    """Counts its passes in each stage of a fine-tuning, and dies in one of them."""

    stage = ""
    passes: ClassVar[Counter[str]] = Counter()
    last: ClassVar[tuple[str, int]] = "", 0

    def forward_features(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        self.passes[self.stage] += 1
        if (self.stage, self.passes[self.stage]) == self.last:
            raise KeyboardInterrupt
        return super().forward_features(clip)


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], SlowFast]:
    """A model that knows in which stage it is; a linear probe gets nothing right, so that one is trained."""
    tried, train = search._Bench._tried, trials.Workshop.train

    def told(bench: search._Bench, recipe: recipes.FinetuneRecipe, number: int) -> dict[str, Any]:
        Mortal.stage = f"{recipe.name} {number}"
        result = tried(bench, recipe, number)
        return result if recipe.config else {"scores": [0.0] * len(result["scores"]), "right": 0}

    def trained(workshop: trials.Workshop, recipe: recipes.FinetuneRecipe, *rest: Any, **how: Any) -> Any:
        if not how.get("trial"):
            Mortal.stage = rest[1].name if recipe.config else "probe"
        result = train(workshop, recipe, *rest, **how)
        Mortal.stage = ""
        return result

    def made() -> SlowFast:
        model = make_model()
        model.__class__, Mortal.stage, Mortal.passes = Mortal, "", Counter()
        return model

    monkeypatch.setattr(search._Bench, "_tried", told)
    monkeypatch.setattr(trials.Workshop, "train", trained)
    return made


@pytest.mark.usefixtures("short")
def test_killed_in_each_stage_it_ends_in_the_same_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mortal: Callable[[], SlowFast]
) -> None:
    """In each trial, in the probe, in the training, in the training on everything."""
    make_clips(tmp_path / "d", {"dark": 6, "light": 6})
    config = {"workers": 0, "deterministic": True, "batch_size": 4}
    options: dict[str, Any] = {"budget_seconds": 1e6, "config": config, "keep_clip": True, "views": "quick"}
    unbroken, work = tune(tmp_path / "d", tmp_path / "once", mortal(), **options), tmp_path / "killed"
    assert len(unbroken.tried) > 2
    assert {path.name for path in unbroken.work_dir.iterdir()} >= {"all", "plan.json", "search.json", "model"}
    stages = {stage: count for stage, count in Mortal.passes.items() if stage}
    assert [*stages][:3] == ["learn 0", "gentle 0", "probe 0"] and "learn 1" in stages
    assert [*stages][-2:] == ["once", "all"] and "probe" not in stages, "its features are known"
    for stage, count in stages.items():
        model = mortal()
        monkeypatch.setattr(Mortal, "last", (stage.replace("once", "killed"), -(-count // 2)))
        with pytest.raises(KeyboardInterrupt):
            tune(tmp_path / "d", work, model, **options, resume=work.exists())
    monkeypatch.setattr(Mortal, "last", ("", 0))
    resumed = tune(tmp_path / "d", work, mortal(), **options, resume=True)
    assert (resumed.recipe, resumed.tried) == (unbroken.recipe, unbroken.tried)
    for (name, value), other in zip(
        unbroken.model.state_dict().items(), resumed.model.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name
    assert resumed.evaluation.metrics == unbroken.evaluation.metrics
    with pytest.raises(TrainingError, match=r"other settings \(budget_seconds 1000000.0 -> 5"):
        tune(tmp_path / "d", work, mortal(), **{**options, "budget_seconds": 5.0}, resume=True)


def clips_of_three_persons(folder: Path) -> None:
    """Two of each in both classes."""
    make_clips(folder, {"dark": 6, "light": 6})
    for path in sorted(folder.glob("*/*.npy")):
        path.rename(path.with_name(f"{('ann', 'bob', 'eve')[int(path.stem) % 3]}_{path.name}"))


def test_folds_score_every_clip_by_a_training_that_saw_nothing_of_its_source(tmp_path: Path) -> None:
    clips_of_three_persons(tmp_path / "d")
    result = tune(tmp_path / "d", tmp_path / "w", folds=3, recipe="probe", group_by="auto", keep_clip=True)
    assert "Groups: 3 groups across classes (ann, bob, eve)." in result.notes
    assert len(result.evaluation.names) == 12
    assert result.evaluated.startswith("All clips, each scored by a training of 3 that saw nothing")
    assert len([note for note in result.notes if note.startswith("Fold ")]) == 3
    with pytest.raises(InputError, match="accepted: 0, or from 2"):
        tune(tmp_path / "d", tmp_path / "v", folds=1)
    make_clips(tmp_path / "p" / "train", {"dark": 2, "light": 2})
    make_clips(tmp_path / "p" / "val", {"dark": 1, "light": 1})
    with pytest.raises(DataError, match="The data come divided"):
        tune(tmp_path / "p", tmp_path / "x", folds=2)


def test_sources_of_clips_that_nobody_scored_make_nothing_surer(tmp_path: Path) -> None:
    clips_of_three_persons(tmp_path / "d")
    make_clips(tmp_path / "d", {"red": 1})
    groups = r"(?:dark|light|red)/([a-z]*\d?)"
    result = tune(tmp_path / "d", tmp_path / "w", folds=3, recipe="probe", group_by=groups)
    assert len(result.evaluation.names) == 12 and "12 of 13 clips" in result.evaluated
    assert "(these come from 3 sources: for new ones it is less sure)" in result.sure


def test_folds_keep_sources_together_and_a_class_with_one_source_in_training(tmp_path: Path) -> None:
    make_clips(tmp_path, {"dark": 9, "light": 9, "red": 1}, frames=1)
    clips = read_annotations(tmp_path)
    folds = fold_annotations(clips, 3, group_by=r"([0-2])\.npy|\d\.npy")
    assert sum(len(held.samples) for _, held in folds) <= 19
    for train, held in folds:
        sources = [
            {source_of(sample, r"([0-2])\.npy|\d\.npy") for sample in part.samples} for part in (train, held)
        ]
        assert not sources[0] & sources[1]
        assert min(train.counts()) >= 1
        assert held.counts()[2] == 0
    counts = [held.counts()[:2] for _, held in fold_annotations(clips, 3)]
    assert counts == [[3, 3]] * 3
    with pytest.raises(DataError, match="can't be divided into folds"):
        fold_annotations(clips.subset([0, 9]), 2)


def test_clips_are_decoded_once_where_they_fit_and_scored_as_if_they_were_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    for label, level in (("dark", 40), ("light", 200)):
        (tmp_path / "d" / label).mkdir(parents=True)
        for place in range(3):
            frames = (level + rng.integers(-30, 30, (8, 36, 48, 3))).astype(np.uint8)
            write_video(tmp_path / "d" / label / f"{place}.mkv", frames)
    config = {"workers": 0, "deterministic": True, "epochs": 1}
    results = []
    clip = 8 * 36 * 48 * 3
    for most, words in (
        (2**31, "Clips are decoded once: 0 MiB"),
        (1, "Clips are decoded in every pass"),
        (4 * clip, "Clips (those of val) are decoded in every pass"),
    ):
        monkeypatch.setattr(decoded, "MOST_BYTES", most)
        work = tmp_path / f"{most}"
        results.append(tune(tmp_path / "d", work, recipe="gentle", config=config, group_by=r"(\d)\.mkv"))
        told = "\n".join(results[-1].notes)
        assert words in told
        assert "% was waiting for clips." in told
        assert not (work / "cache").exists()
    first = results[0]
    assert [Path(name).suffix for name in first.evaluation.names] == [".mkv"] * 2
    for result in results[1:]:
        weights = zip(result.model.state_dict().items(), first.model.state_dict().values(), strict=True)
        for (name, value), other in weights:
            assert torch.equal(value, other), name
        own, others = f"{result.work_dir}", f"{first.work_dir}"
        assert [name.replace(own, others) for name in result.evaluation.names] == first.evaluation.names


def test_forty_classes_of_which_twenty_have_one_clip(tmp_path: Path) -> None:
    make_clips(tmp_path / "d", {f"c{number:02}": 1 if number < 20 else 2 for number in range(40)}, frames=3)
    (tmp_path / "d" / "nothing").mkdir()
    (tmp_path / "d" / "c39" / "bad.mp4").write_bytes(b"\0" * 9)
    twice = (tmp_path / "d" / "c30" / "0.npy").read_bytes()
    (tmp_path / "d" / "c31" / "same.npy").write_bytes(twice)
    options: dict[str, Any] = {"recipe": "learn", "config": {"workers": 0, "epochs": 1}, "views": "quick"}
    result = tune(tmp_path / "d", tmp_path / "w", everything=False, **options)
    told = "\n".join(result.notes)
    assert result.model.spec.num_classes == 40
    for words in (
        "Left out classes whose folders hold no clips: 'nothing'.",
        "Left out 1 of 62 clips that can't be read; the first: ",
        "Left out 2 clips that are there with several labels; the same are ",
        "Classes with one clip to train with, hardly learned: ",
        "Nothing to validate these classes with: ",
        "Three of four clips have 3 frames or more, which is less than the 4 of the network's clip",
    ):
        assert words in told, words
    scores, targets = np.stack(result.evaluation.scores), result.evaluation.targets
    right, count = int((scores.argmax(1) == targets).sum()), len(targets)
    assert 8 <= count <= 20
    assert result.sure.startswith(f"How sure: {right} of {count} clips right, so of other such clips ")
    assert result.sure in str(result)


def test_how_sure_it_is() -> None:
    few, many = (evaluation([1.0] * count, [str(i) for i in range(count)]) for count in (4, 400))
    told = "How sure: 4 of 4 clips right, so of other such clips 51% to 100%: too few clips to tell more; "
    more = "--folds 5 scores all of them, and more clips help most."
    assert how_sure(few, folds=True, sources=4) == f"{told}{more}"
    assert how_sure(few, folds=False, sources=4) == f"{told}more clips help most."
    sure = "How sure: 400 of 400 clips right, so of other such clips 99% to 100%"
    assert how_sure(many, folds=True, sources=400) == f"{sure}."
    assert how_sure(many, folds=True, sources=1) == (
        f"{sure} (these come from 1 source: for new ones it is less sure)."
    )
    several = dataclasses.replace(few, targets=np.ones((4, 2)))
    assert how_sure(several, folds=True, sources=4).startswith("How sure: 4 clips were scored")


def test_several_labels_have_no_right_ones(tmp_path: Path) -> None:
    targets = np.array([[1, 0], [1, 1]], np.float32)
    several = dataclasses.replace(evaluation([0.9, 0.2], ["a", "b"]), targets=targets)
    several = dataclasses.replace(several, metrics={"mean_average_precision": 0.75, "other": float("nan")})
    assert trials.right_ones(several) is None
    assert in_short(several) == "mean_average_precision 0.7500"
    assert in_short(evaluation([0.9, 0.2], ["a", "b"])) == "1 of 2 right"
    held = Annotations(
        samples=tuple(Sample(path=Path(name), labels=(0,)) for name in "ab"),
        labels=None,
        multi_label=True,
        num_classes=2,
    )
    bench = Bench()
    bench.evaluate = lambda model, clips: several  # type: ignore[method-assign]
    trial = search._Bench(bench, held, (), tmp_path, 9)  # type: ignore[arg-type]
    found = trial._joined([trial._scored("learn", held)] * 2)  # type: ignore[arg-type]
    assert found == {"scores": [pytest.approx(0.9), pytest.approx(0.5)] * 2}
    choice = search._best(RECIPES["learn"], {"learn": found, "probe": found}, [*"abcd"], 9, 9)
    columns = ["recipe", "clips", "score", "standard_error", "gain", "gain_error", "steps", "taken"]
    assert [*choice.table[0]] == columns
    assert choice.notes[0].endswith("; score: the mean probability of what is true of each class.")


@pytest.mark.parametrize(
    ("spec", "changes", "decay"),
    [
        (SPEC, {"optimizer": "sgd"}, 1e-4),
        (SPEC, {"optimizer": "adamw"}, 0.05),
        (LARGE, {"optimizer": "adamw"}, 0.05),
        (LARGE, {"optimizer": "adamw", "weight_decay": 0.01}, 0.01),
    ],
)
def test_another_optimizer_has_its_own_weight_decay(
    spec: ModelSpec, changes: dict[str, Any], decay: float
) -> None:
    with torch.device("meta"):
        model = SlowFast(spec)
    changes = {"lr": 0.01, **changes}
    forced = forced_recipe(None, changes, None, model)
    assert forced is not None and forced.config is not None
    assert scheduled(forced.config, 60, 600, changes).weight_decay == decay


def test_settings_have_to_go_with_every_recipe_that_may_be_compared() -> None:
    """A published network tries SGD first, and AdamW, which has no momentum, after it."""
    with torch.device("meta"):
        model = SlowFast(LARGE)
    with pytest.raises(SpecError, match=r"With the recipe 'measured', .*False without SGD's momentum\. Take"):
        forced_recipe(None, {"nesterov": True}, None, model)
    assert forced_recipe("gentle", {"nesterov": True}, None, model) == RECIPES["gentle"]
    assert forced_recipe(None, {"nesterov": True, "optimizer": "sgd", "lr": 0.1}, None, model)
    assert forced_recipe("probe", {"nesterov": True}, None, model) == RECIPES["probe"]


def test_a_rate_of_ones_own_is_not_compared(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="another one needs its own rate"):
        tune(tmp_path, tmp_path / "w", config={"optimizer": "sgd"})
    make_clips(tmp_path / "d", {"dark": 3, "light": 3})
    heard: list[str] = []
    config = {"optimizer": "sgd", "lr": 0.01, "epochs": 1, "workers": 0}
    listener = {"listener": lambda line: heard.append(line["mode"])}
    result = tune(tmp_path / "d", tmp_path / "w", config=config, **listener)
    assert result.tried == ()
    assert any("sgd with a weight decay of 0.0001, batch norms" in note for note in result.notes)
    assert heard == ["start", "train", "val", "start", "train"]
