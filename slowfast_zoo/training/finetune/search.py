"""Which recipe a fine-tuning takes: some are tried on folds inside the training data, within a budget."""

from __future__ import annotations

import dataclasses
import functools
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from slowfast_zoo.data.annotations import Annotations
from slowfast_zoo.data.splits import fold_annotations, source_of
from slowfast_zoo.errors import DataError, counted
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.training.finetune.folder import SEARCH, kept
from slowfast_zoo.training.finetune.footage import is_small
from slowfast_zoo.training.finetune.probe import subset
from slowfast_zoo.training.finetune.recipes import (
    LOOK,
    PROBE,
    RECIPES,
    FinetuneRecipe,
    candidates,
    wanted_steps,
)
from slowfast_zoo.training.finetune.trials import (
    Workshop,
    clip_scores,
    errors_of_chance,
    looks_before,
    mean_and_error,
    right_ones,
)

_SEARCHED = "search.json"
_FOLDS = 2
_FEWEST_CLIPS = 20
"""Fewer clips can't tell recipes apart."""
_FEWEST_STEPS, _FEWEST_SHARE = 60, 1 / 6
"""Of a training, and of the steps that its clips deserve; a budget for less pays for a probe only, which was
better than a ninth of them on 560 clips."""
_SHARE_OF_STEPS = 0.85
"""Of the budget; the rest is for what starts and ends a training."""
_NEARLY = 0.9
"""Of the steps that clips deserve, which a training must have before recipes are compared."""


@dataclasses.dataclass(frozen=True)
class Steps:
    """How many optimizer steps what may take."""

    training: int
    """The last training, and each of those that are scored; 0: there is time for a linear probe only."""
    search: int
    """All trials of one search together."""
    everything: bool
    """Whether there is time to train on all clips once more."""

    @classmethod
    def of(
        cls,
        clips: int,
        step_seconds: float,
        budget_seconds: float | None,
        trainings: int,
        looks: int = 0,
        *,
        searches: int = 1,
        search_looks: int = 0,
        step_clips: int = 8,
    ) -> Steps:
        """Without a budget as many as the clips deserve, and at most as many again for comparing.

        What a budget pays for is trained first: the likeliest recipe is the best one more often than a short
        training is long enough. Recipes are compared where that leaves trainings nearly as long as they are
        wanted.

        Args:
            clips: to train with.
            step_seconds: of one step.
            budget_seconds: for everything; None: no limit.
            trainings: on folds, on the training part and on everything together.
            looks: views that go through the network for features and scores; at most half of the budget is
                kept for them.
            searches: comparisons of recipes; 0: there is one recipe.
            search_looks: views that all of them together look at.
            step_clips: in one step.
        """
        wanted = wanted_steps(clips)
        fewest = min(max(_FEWEST_STEPS, round(_FEWEST_SHARE * wanted)), wanted)
        if budget_seconds is None:
            return cls(wanted, wanted, True)
        there = _SHARE_OF_STEPS * budget_seconds / max(step_seconds, 1e-9)
        there = max(there - LOOK / step_clips * looks, there / 2)
        if searches:
            shared = there - LOOK / step_clips * search_looks
            training = int(min(wanted, shared / (trainings + searches)))
            steps = cls(training, int((shared - trainings * training) / searches), True)
            if training >= max(_NEARLY * wanted, 1) and affordable(steps, 2)[0]:
                return steps
        training = int(min(wanted, there / trainings))
        if training >= fewest:
            return cls(training, 0, True)
        training = int(min(wanted, there)) if trainings == 2 else 0  # no time for training twice
        return cls(training, 0, False) if training >= fewest else cls(0, 0, False)


class Looks(NamedTuple):
    """Clips of a fine-tuning that are only looked at, beside the steps of its trainings."""

    probed: int
    """Whose features the probe is fitted to."""
    scored: int
    """By the probe, and by what was trained."""
    validated: int
    """In each validation."""
    trained: int
    """With, in all trainings together."""
    searched: int
    """To compare recipes with, in all searches together."""

    def of_trainings(self, recipe: FinetuneRecipe, views: int, validations: int) -> int:
        """Views of them without the searches', where scores look at so many of each clip."""
        seen = self.probed + 2 * self.scored + validations * self.validated
        return views * seen + looks_before(recipe) * self.trained

    def of_searches(self, tried: Sequence[FinetuneRecipe], views: int) -> int:
        """Views of the searches' clips: each is trained on once by every recipe, and scored once."""
        # The probe's scores, and its features, of which those of ``probed`` count already.
        probe = views * (2 * self.searched - self.probed)
        return probe + self.searched * sum(views + looks_before(recipe) for recipe in tried)


@dataclasses.dataclass(frozen=True)
class Choice:
    """The recipe that is taken, and why."""

    recipe: FinetuneRecipe
    table: tuple[dict[str, Any], ...]
    """A row for each recipe that was tried."""
    notes: tuple[str, ...]


def choose(workshop: Workshop, clips: Annotations, folder: Path, steps: Steps) -> Choice:
    """Compares recipes on folds of the clips and takes the best; nothing else of the data is looked at.

    The likeliest recipe for the network is taken unless another is better by more than two standard errors of
    the difference between the same clips' scores, clips of one source counting together, and more errors
    where sources are few (``errors_of_chance``): trials are shorter than the training, and in places that
    were trained on, which speaks for those that change little, and for those that know places. One that isn't
    ahead of it after the first fold could hardly become so much better, and isn't tried on the other: racing,
    as Maron and Moore 1994 have it (Hoeffding Races, NIPS 6).

    Args:
        workshop: where it is tried.
        clips: the training part.
        folder: for what is needed to go on; finished trials are not repeated.
        steps: how many the trials may take.
    """
    tried = candidates(workshop.start.spec)
    first = tried[0]
    if steps.training == 0:
        why = "The budget is too short for a training: a linear probe on the features as they are."
        return Choice(PROBE, (), (why,))
    kind = "small networks" if is_small(workshop.start.spec) else "networks as large as published ones"
    taken = f"Taken, as the first choice for {kind}: {first}."
    if len(clips.samples) < _FEWEST_CLIPS:
        return Choice(first, (), (f"{len(clips.samples)} clips are too few to compare recipes. {taken}",))
    count, each = affordable(steps, len(tried))
    if count < 2:
        own = "epochs" in workshop.changes
        why = (
            f"{counted(steps.training, 'step')} {'is' if steps.training == 1 else 'are'} too few"
            if own
            else "The budget is too short"
        )
        return Choice(first, (), (f"{why} to compare recipes. {taken}",))
    try:
        folds = fold_annotations(clips, _FOLDS, group_by=workshop.group_by, seed=workshop.seed)
    except DataError as error:
        return Choice(first, (), (f"Recipes can't be compared: {error} {taken}",))
    scores = _Bench(workshop, clips, folds, folder, each).compared([*tried[:count], PROBE])
    groups = [source_of(sample, workshop.group_by) for _, held in folds for sample in held.samples]
    return _best(first, scores, groups, each, steps.training)


def affordable(steps: Steps, most: int) -> tuple[int, int]:
    """How many recipes are tried, and with how many steps each time."""
    for count in range(most, 1, -1):
        each = steps.search // (count * _FOLDS)
        if each >= max(_FEWEST_STEPS, steps.training // 4):
            return count, min(each, steps.training)
    return 0, 0


@dataclasses.dataclass
class _Bench:
    """The folds that recipes are tried on, and what came out so far."""

    workshop: Workshop
    clips: Annotations
    folds: Sequence[tuple[Annotations, Annotations]]
    folder: Path
    steps: int

    def compared(self, recipes: Sequence[FinetuneRecipe]) -> dict[str, dict[str, Any]]:
        """Scores of the held-out clips by recipe, in the order of the folds.

        After each fold those are given up that aren't ahead of the first recipe, and when it has nobody left
        to be compared with, so is the comparison: some have the scores of fewer folds.
        """
        first, parts = recipes[0].name, {recipe.name: list[dict[str, Any]]() for recipe in recipes}
        found: dict[str, dict[str, Any]] = {}
        for number in range(len(self.folds)):
            for recipe in recipes:
                parts[recipe.name].append(self._kept(recipe, number))
                found[recipe.name] = self._joined(parts[recipe.name])
            means = {name: np.mean(one["scores"]) for name, one in found.items()}
            ahead = [recipe for recipe in recipes[1:] if means[recipe.name] > means[first]]
            if not ahead:
                break
            recipes = [recipes[0], *ahead]
        return found

    def _kept(self, recipe: FinetuneRecipe, number: int) -> dict[str, Any]:
        name, make = f"{recipe.name}/{number}/{self.steps}", functools.partial(self._tried, recipe, number)
        way_out, group = "delete it, and trials are repeated", self.workshop.group
        return dict(kept(self.folder / _SEARCHED, name, make, group, way_out))

    def _tried(self, recipe: FinetuneRecipe, number: int) -> dict[str, Any]:
        train, held = self.folds[number]
        if recipe.config is None:
            return self._scored(self._probe(train), held)
        work = self.folder / SEARCH / f"{recipe.name} {number}"
        model, _ = self.workshop.train(recipe, train, work, steps=self.steps, trial=True)
        result = self._scored(model, held)
        if self.workshop.group.first:
            shutil.rmtree(work, ignore_errors=True)
        return result

    def _probe(self, train: Annotations) -> SlowFast:
        """A classifier on the network's features, which are computed once."""
        features = self.workshop.features(self.clips)
        place = {sample: index for index, sample in enumerate(self.clips.samples)}
        wanted = {place[sample] for sample in train.samples}
        own = [at for at, index in enumerate(features.indices) if index in wanted]
        model = self.workshop.fresh()
        self.workshop.fit(model, subset(features, own), self.clips)
        return model

    def _scored(self, model: SlowFast, held: Annotations) -> dict[str, Any]:
        evaluation = self.workshop.evaluate(model, held)
        failed = {name for name, _ in evaluation.failed}
        scores = iter(clip_scores(evaluation).tolist())
        # Clips that couldn't be read count as unknown, so that all recipes are compared on the same.
        rows = [0.0 if sample.name in failed else next(scores, 0.0) for sample in held.samples]
        right = right_ones(evaluation)
        return {"scores": rows} | ({} if right is None else {"right": right})

    @staticmethod
    def _joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        joined: dict[str, Any] = {"scores": [score for part in parts for score in part["scores"]]}
        if all("right" in part for part in parts):
            joined["right"] = sum(part["right"] for part in parts)
        return joined


def _best(
    first: FinetuneRecipe, scores: Mapping[str, Any], groups: Sequence[str], each: int, training: int
) -> Choice:
    chosen, why = first.name, "no other is better by more than chance"
    best = -np.inf
    base = np.asarray(scores[first.name]["scores"])  # of all folds that any was tried on
    gains = {first.name: (math.nan, math.nan)}
    for name, found in scores.items():
        if name == first.name:
            continue
        count = len(found["scores"])
        gain, error = mean_and_error(np.asarray(found["scores"]) - base[:count], groups[:count])
        gains[name] = gain, error
        if gain > errors_of_chance(len({*groups[:count]})) * error and gain > best:
            best, chosen = gain, name
            why = f"better than '{first.name}' by {gain:.3f}, standard error {error:.3f}"
    rows, one_label = [], all("right" in found for found in scores.values())
    for name, found in scores.items():
        count = len(found["scores"])
        mean, error = mean_and_error(found["scores"], groups[:count])
        row = {
            "recipe": name,
            "clips": count,
            **({"right": found["right"]} if one_label else {}),
            "score": mean,
            "standard_error": error,
            "gain": gains[name][0],
            "gain_error": gains[name][1],
            "steps": 0 if name == "probe" else each,
            "taken": "yes" if name == chosen else "",
        }
        rows.append(row)
    score = "half for the right class, half its probability"
    if not one_label:
        score = "the mean probability of what is true of each class"
    notes = (
        f"Recipes compared on {_FOLDS} folds inside the training part, {counted(each, 'step')} each where the"
        f" training has {training}, as long as one is ahead of '{first.name}'; gain: over it on the same"
        f" clips, with its standard error; score: {score}.",
        f"Taken: {RECIPES[chosen]}; {why}.",
    )
    return Choice(RECIPES[chosen], tuple(rows), notes)
