"""``finetune``: a folder of clips and a trained model become a model of your classes, and a report.

    result = finetune("clips", slowfast_r50_4x16x1(pretrained=True), work_dir="work")
    print(result)                               # what was decided and why, what was tried, scores per class
    from_pretrained(Path("work/model"))         # what predict takes

Everything stays in ``work_dir``, and what was stopped goes on from there (``resume=True``).
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import itertools
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from slowfast_zoo.data.annotations import Annotations, several_classes
from slowfast_zoo.data.labels import mirrored_classes, why_unflipped
from slowfast_zoo.data.loader import killed_readers
from slowfast_zoo.data.splits import fold_annotations, source_of
from slowfast_zoo.errors import TrainingError, counted, quoted
from slowfast_zoo.evaluation.evaluate import Evaluation, format_table
from slowfast_zoo.network.provenance import of_pathways
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.runtime.devices import own_generators
from slowfast_zoo.runtime.distributed import Processes, join
from slowfast_zoo.runtime.packages import installed
from slowfast_zoo.runtime.precision import check_kernels
from slowfast_zoo.training.finetune.asked import (
    changes_of,
    check_choices,
    check_extent,
    check_model,
    forced_recipe,
)
from slowfast_zoo.training.finetune.data import FinetuneData, check_parts, collect
from slowfast_zoo.training.finetune.decoded import decoded, removed, under_own_names
from slowfast_zoo.training.finetune.folder import (
    ALL,
    DATA,
    FOLDS,
    MODEL,
    PREVIEW,
    REPORT,
    as_planned,
    begun,
    check_same,
    data_of,
    decided_once,
    start_of,
)
from slowfast_zoo.training.finetune.footage import Footage, fit_clip
from slowfast_zoo.training.finetune.recipes import (
    PROBE,
    FinetuneRecipe,
    Norms,
    candidates,
)
from slowfast_zoo.training.finetune.report import (
    draw_report,
    how_sure,
    in_short,
    measured,
    what_of,
    write_preview,
    write_tables,
)
from slowfast_zoo.training.finetune.search import Choice, Looks, Steps, affordable, choose
from slowfast_zoo.training.finetune.trials import Workshop, pooled
from slowfast_zoo.training.log import Listener, unread, waited, write_line
from slowfast_zoo.training.recipe import TrainConfig
from slowfast_zoo.training.schedule import Plan, frozen_told
from slowfast_zoo.training.state import LOG, replaced
from slowfast_zoo.video.clips import Views
from slowfast_zoo.weights.catalog import FINETUNE_TAGS
from slowfast_zoo.weights.saved.folder import save_pretrained

_LOGGER = logging.getLogger(__name__)

DRAWN_EVERY_SECONDS = 20.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """What a fine-tuning gave; ``str()`` of it is the report."""

    model: SlowFast = dataclasses.field(repr=False)
    """The model that was given, as it was trained, on its device."""
    model_dir: Path
    """The same as a folder, for ``from_pretrained``."""
    work_dir: Path
    """Log, checkpoints, report and the split that was used."""
    recipe: str
    """By which the model was trained."""
    tried: tuple[dict[str, Any], ...]
    """A row for each recipe that was compared."""
    evaluation: Evaluation = dataclasses.field(repr=False)
    """Scores on clips that neither trained nor chose anything."""
    evaluated: str
    """Which clips those are."""
    sure: str
    """One sentence: how sure the scores are."""
    probe_metrics: dict[str, float]
    """Metrics of a linear probe, a classifier on the features that the model came with, on the same clips."""
    notes: tuple[str, ...] = dataclasses.field(repr=False)
    """What was decided and why."""
    files: tuple[Path, ...]
    """Tables and pictures."""

    def __str__(self) -> str:
        tried = [format_table(self.tried), ""] if self.tried else []
        return "\n".join([*self.notes, "", *tried, self.scores()])

    def scores(self) -> str:
        """The end of the report: scores, how sure they are, the table of classes, where the model is."""
        table = format_table(self.evaluation.class_table())
        where = "The model, for predict --views published --model and from_pretrained(Path(...))"
        return f"{self.evaluated}: {self.evaluation}\n{self.sure}\n\n{table}\n\n{where}: {self.model_dir}"


@killed_readers(TrainingError, goes_on="; --resume (resume=True) goes on from there")
def finetune(
    data: str | Path | Annotations | Mapping[str, Annotations],
    model: SlowFast,
    *,
    work_dir: str | Path,
    validation: str | Path | Annotations | None = None,
    recipe: str | None = None,
    budget_seconds: float | None = None,
    config: Mapping[str, Any] | None = None,
    norms: Norms | None = None,
    val: float = 0.2,
    folds: int = 0,
    group_by: str | None = None,
    everything: bool = True,
    freeze_up_to: str | None = None,
    balance: bool = True,
    flip: bool | None = None,
    smallest_area: float | None = None,
    keep_clip: bool = False,
    views: Views | None = None,
    max_unreadable: float = 0.1,
    preview: bool = False,
    resume: bool = False,
    device: str | torch.device | None = None,
    progress: bool = True,
    listener: Listener | None = None,
) -> FinetuneResult:
    """Trains the model, in place, to tell the classes of the data apart.

    The classifier is replaced by one for the classes of the data, the clip by one that fits their lengths,
    rates and motion. Some recipes are tried on folds inside the training part; the best one trains on all of
    it. The model has the averaged weights of the last step, and is scored on a part that neither trained nor
    chose anything. Where that part was held out here, the same training is run once more on everything, and
    that is the model which is handed over. When memory runs out, half as many clips go through the network at
    a time, twice as often. Under ``torchrun`` every process calls this with the same arguments: they share
    the clips of a step; the first one decides, reads ahead and writes.

    Args:
        data: a folder with one folder of clips per class; a folder divided into train and val, test or
            both; a list (see ``slowfast_zoo.data.lists``); or what ``read_annotations`` or ``read_splits``
            returned.
        model: pretrained, of any number of classes.
        work_dir: folder for everything that is written.
        validation: data to score while it trains, and at the end where there is no test part; None: the part
            val of the data, else its part test, else clips that are held out, of sources of their own.
        recipe: name of the one to take (``recipes.RECIPES``); "probe" fits a classifier only; None: the best.
        budget_seconds: for everything, by the time of a step on this machine, which is measured once, and
            for trainings before recipes are compared; None: as many steps as so many clips deserve, and at
            most as many again for comparing.
        config: fields of ``TrainConfig`` instead of the recipe's, such as {"epochs": 20, "workers": 0}. With
            an optimizer or a rate of one's own nothing is compared.
        norms: what batch norms do, instead of the recipe's; nothing is compared then.
        val: part of the clips to score with where neither val nor test is given.
        folds: score all clips by that many trainings on the others instead, each with a choice of its own.
        group_by: what a source is, as in ``splits.source_of``; "auto": what file names suggest.
        everything: train on all clips at the end, too, where the part to score with was held out here.
        freeze_up_to: last part of the network that doesn't learn, as in ``SlowFast.freeze``; with
            {"thaw_at": 0.3} in ``config`` it learns after 0.3 of the steps.
        balance: draw classes equally often when the largest has 1.5 times the clips of the smallest.
        flip: whether clips are flipped; None: unless names of classes say sides, as in
            ``labels.mirrored_classes``.
        smallest_area: part of the picture that random crops keep at least, instead of the recipe's.
        keep_clip: keep frames and rate of the model's own clip.
        views: that scores look at, as in ``read_clips``, with "quick" for (1, 1); None: as many clips in time
            as cover most videos.
        max_unreadable: as in ``open_dataset``.
        preview: write preview.png, a sheet of cropped and flipped training clips, before the first step.
        resume: go on where the fine-tuning in ``work_dir`` was interrupted: same split, same result.
        device: None: the GPU, or the CPU where there is none.
        progress: show bars on a terminal and in notebooks, else a line every 30 seconds.
        listener: as in ``train``; of the trainings that are scored or handed over. "training" says which,
            where it isn't that of the work directory itself: "all", "folds/1".

    Raises:
        DataError: the data doesn't hold together, has one class only, can't be split, or too many of its
            clips can't be read.
        TrainingError: the work directory can't be written or holds a training already, other settings than
            before, memory doesn't suffice for one clip, a worker was killed, or training diverges.
        InputError: arguments that are not accepted.
    """
    began, changes = time.monotonic(), changes_of(config)
    check_model(model, views, smallest_area)
    forced = forced_recipe(recipe, changes, norms, model)
    check_extent(folds, everything, budget_seconds, val, changes, freeze_up_to, validation is not None)
    check_choices(group_by, flip)
    check_parts(data, validation, work_dir, max_unreadable, resume=resume)
    given = {
        "start": start_of(model),
        "data": data_of(data, work_dir),
        "validation": data_of(validation, work_dir),
        "val": val,
        "group_by": group_by,
        "recipe": recipe,
        "budget_seconds": budget_seconds,
        "folds": folds,
        "norms": norms,
        "freeze_up_to": freeze_up_to,
        "balance": balance,
        "flip": flip,
        "smallest_area": smallest_area,
        "keep_clip": keep_clip,
        "views": views,
        "config": {name: value for name, value in changes.items() if name != "workers"},
    }
    asked = as_planned(given)
    group, notes = join(device), list[str]()
    check_kernels(changes.get("precision", "float32"), group.device)
    with contextlib.ExitStack() as stack, own_generators(group.device):
        folder = group.from_first(lambda: stack.enter_context(begun(work_dir, asked, resume=resume)))
        _say(notes, *_without_pictures(folder))
        how: Any = {"resume": resume, "val": 0.0 if folds else val, "group_by": group_by}
        how |= {"seed": changes.get("seed", 0), "max_unreadable": max_unreadable, "progress": progress}
        how |= {"in_time": model.clip_spec.time_base != "frames", "keep_clip": keep_clip}
        found = group.from_first(lambda: collect(data, validation, folder / DATA, **how))
        asked["everything"] = everything or not found.made or budget_seconds is None  # else it plans
        check_same(decided_once(folder, "asked", asked, group), asked, folder)
        start = copy.deepcopy(model)  # interrupted, the model that was given is as it was
        _say(notes, *found.notes, *_prepare_model(start, found.train, seed=how["seed"], flip=flip))
        footage = group.from_first(lambda: Footage.of(found.train, in_time=how["in_time"]))
        fitting, told = fit_clip(start, footage, keep_clip=keep_clip, views=views)
        clip = start.clip_spec
        data_read = group.from_first(lambda: decoded(found, footage, clip, folder, max_unreadable, progress))
        _say(notes, *told, *data_read[1])
        workshop = Workshop(
            start=start.cpu(),
            views=fitting,
            group=group,
            max_unreadable=max_unreadable,
            progress=progress,
            changes=changes,
            smallest_area=smallest_area,
            freeze_up_to=freeze_up_to,
            balance=balance,
            group_by=data_read[0].group_by,
        )
        run = _Run(workshop, data_read[0], model, folder, notes, forced, listener, began)
        if preview:
            run.preview()
        return run.folds(folds, budget_seconds) if folds else run.held_out(everything, budget_seconds)


def _without_pictures(folder: Path) -> list[str]:
    """A sentence where the report will have no pictures."""
    later = f"pip install matplotlib, and 'slowfast-zoo report {folder}' draws them later"
    missing = not installed("matplotlib")
    return [f"No pictures in the report: they need matplotlib; {later}."] if missing else []


def _told_start(model: SlowFast) -> str:
    """One sentence: which weights the fine-tuning starts from."""
    facts = model.provenance
    name, tag = facts.get("model") or "a network of one's own", of_pathways(facts).get("tag")
    if tag:
        better = FINETUNE_TAGS.get(name, tag)
        other = "" if tag == better else f" {name}:{better} is the better start for what people do."
        return f"The start: {name} with the weights {tag}.{other}"
    return (
        f"The start: {name}, {'as it was trained' if 'training' in facts else 'with no published weights'}."
    )


def _say(notes: list[str], *texts: str) -> None:
    """Keeps for the report what was decided, and says it now."""
    for text in texts:
        notes.append(text)
        _LOGGER.info("%s", text)


def _timed(
    folder: Path, step_seconds: Callable[[], float], began: float, group: Processes
) -> tuple[float, float]:
    """Seconds of a step, and those from the beginning until it was measured, in the slowest process."""
    passed: list[float] = []

    def measured_now() -> float:
        seconds = step_seconds()
        passed.append(max(group.gather(time.monotonic() - began)))
        return seconds

    seconds = decided_once(folder, "step_seconds", measured_now, group)
    # Plans of earlier versions have the time of a step alone, and spent all of the budget on what followed.
    return seconds, decided_once(folder, "prepared_seconds", sum(passed), group)


@dataclasses.dataclass
class _Run:
    """One fine-tuning: where it trains, its data, and what was decided so far."""

    workshop: Workshop
    data: FinetuneData
    model: SlowFast
    """That was given, and becomes what is handed over."""
    folder: Path
    notes: list[str]
    forced: FinetuneRecipe | None
    listener: Listener | None
    began: float = dataclasses.field(default_factory=time.monotonic)
    """When the fine-tuning did, by ``time.monotonic``."""
    drawn: float = 0.0
    afterwards: int = 0
    """Clips that the model which is handed over was trained on after the scored one; 0: it is that one."""

    def preview(self) -> None:
        """Writes a sheet of training clips."""
        workshop, path = self.workshop, self.folder / PREVIEW
        shown = workshop.cropped(self.forced or candidates(workshop.start.spec)[0])
        clips = workshop.dataset(shown, self.data.train, train=True)
        workshop.group.from_first(lambda: write_preview(clips, path, workshop.seed))
        _say(self.notes, f"Training clips as the network gets them: {path}.")

    def steps(
        self, clips: Annotations, budget_seconds: float | None, trainings: int, searches: int, looks: Looks
    ) -> Steps:
        """How long trainings may take, by the time of a step that was measured once."""
        workshop, count = self.workshop, len(clips.samples)
        tried = candidates(workshop.start.spec)
        recipe = self.forced or tried[0]
        if "epochs" in workshop.changes:
            config = workshop.settings(recipe if recipe.config else tried[0], count, 1)
            wanted = Plan.of(config, count, workshop.group.world).steps
            return Steps(wanted, wanted, True)
        if budget_seconds is None or recipe.config is None:
            return Steps.of(count, 0.0, None, trainings)
        step = functools.partial(workshop.step_seconds, clips, recipe)
        seconds, prepared = _timed(self.folder, step, self.began, workshop.group)
        searches = 0 if self.forced else searches
        views = workshop.views_each
        size = Plan.of(workshop.settings(recipe, count, 1), count, workshop.group.world).step_clips

        def planned(budget: float) -> Steps:
            left = max(budget - prepared, 0.0)
            plan = functools.partial(
                Steps.of, count, seconds, left, trainings, searches=searches, step_clips=size
            )
            steps = plan()
            config = workshop.settings(recipe, count, steps.training, watched=looks.validated)
            validations = -(-config.epochs // config.validate_every)
            compared = tried[: affordable(steps, len(tried))[0]]
            seen = looks.of_trainings(recipe, views, validations)
            return plan(seen, search_looks=looks.of_searches(compared, views))

        steps = planned(budget_seconds)
        told = f"A step of {counted(size, 'clip')} takes {seconds:.2f} s here, and what came before took"
        told += f" {prepared:.0f} s; a budget of {budget_seconds:.0f} s pays for"
        what = f"{counted(steps.training, 'step')} to train"
        what += f" and {steps.search} to compare recipes" if steps.search else ""
        what += "" if steps.everything else ", and not for another on everything"
        if not steps.training:
            minutes = next(minutes for minutes in itertools.count(1) if planned(60.0 * minutes).training)
            what = f"a linear probe; about {counted(minutes, 'minute')} would pay for a training"
        _say(self.notes, f"{told} {what}.")
        return steps

    def choice(self, clips: Annotations, folder: Path, steps: Steps) -> Choice:
        """The recipe for these clips: the user's, or what comparing gives."""
        if self.forced is not None and steps.training:
            told = f"Recipe, as asked for: {self.forced}."
            return Choice(self.forced, (), (told, *self.workshop.unused(self.forced)))
        return choose(self.workshop, clips, folder, steps)

    def held_out(self, everything: bool, budget_seconds: float | None) -> FinetuneResult:
        """Chooses and trains on the training part, scores the other; then trains on all of it."""
        data, folder = self.data, self.folder
        tested, title = (data.val, "Validation data") if data.test is None else (data.test, "Test data")
        watched = data.val if data.val.samples else tested
        again = everything and data.made
        count, held, scored = (len(part.samples) for part in (data.train, watched, tested))
        looks = Looks(count, scored, held, count + (count + held if again else 0), count)
        steps = self.steps(data.train, budget_seconds, 2 if again else 1, 1, looks)
        choice = self.choice(data.train, folder, steps)
        _say(self.notes, *choice.notes)
        model, _ = self.workshop.train(PROBE, data.train, folder, steps=0)
        evaluation = self.workshop.evaluate(model, tested)
        probed = self.noted(evaluation)
        if choice.recipe.config is not None:
            model = self.trained(choice.recipe, data.train, folder, steps, watched)
            evaluation = self.workshop.evaluate(model, tested)
        if again and (steps.everything or choice.recipe.config is None):
            clips = joined(data.train, data.val)
            _say(
                self.notes,
                f"Scores are of a training on {len(data.train.samples)} clips. The model that is handed over"
                f" was then trained in the same way on all {len(clips.samples)}.",
            )
            self.afterwards = len(clips.samples)
            model = self.trained(choice.recipe, clips, folder / ALL, steps, None)
        told = f"{title}, which chose nothing"
        return self.finish(model, choice, evaluation, told, title, probed, tested)

    def folds(self, folds: int, budget_seconds: float | None) -> FinetuneResult:
        """Scores every clip by a training that saw nothing of its source; then trains on everything."""
        clips, parts = self.data.train, list[Evaluation]()
        divided = fold_annotations(clips, folds, group_by=self.data.group_by, seed=self.workshop.seed)
        count, each = len(clips.samples), len(divided)
        looks = Looks((each - 1) * count, count, 0, each * count, each * count)
        steps = self.steps(clips, budget_seconds, each + 1, each + 1, looks)
        probes: list[Evaluation] = []
        for number, (train, held) in enumerate(divided, 1):
            folder = self.folder / FOLDS / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            choice = self.choice(train, folder, steps)
            model, _ = self.workshop.train(PROBE, train, folder, steps=0)
            probes.append(self.workshop.evaluate(model, held))
            if choice.recipe.config is not None:
                model = self.trained(choice.recipe, train, folder, steps, None)
            parts.append(self.workshop.evaluate(model, held) if choice.recipe.config else probes[-1])
            _say(self.notes, f"Fold {number} of {each}: {choice.recipe.name}, {in_short(parts[-1])}.")
        choice = self.choice(clips, self.folder, steps)
        _say(self.notes, *choice.notes)
        probed = self.noted(pooled(probes))
        self.afterwards = count
        model = self.trained(choice.recipe, clips, self.folder, steps, None)
        scores = pooled(parts)
        which = "All clips" if len(scores.names) == count else f"{len(scores.names)} of {count} clips"
        told = f"{which}, each scored by a training of {each} that saw nothing of its source"
        return self.finish(model, choice, scores, told, f"{each} folds", probed, clips)

    def trained(
        self,
        recipe: FinetuneRecipe,
        clips: Annotations,
        folder: Path,
        steps: Steps,
        validation: Annotations | None,
    ) -> SlowFast:
        """A model that was trained on the clips; what was begun in the folder is gone on with."""
        if recipe.config is not None:
            config = self.workshop.settings(recipe, len(clips.samples), steps.training)
            _say(self.notes, *self.described(recipe, clips, config))
        model, notes = self.workshop.train(
            recipe,
            clips,
            folder,
            steps=steps.training,
            validation=validation,
            listener=functools.partial(self.heard, folder),
        )
        _say(self.notes, *notes)
        if recipe.config is not None:
            _say(self.notes, *filter(None, (waited(folder / LOG), unread(folder / LOG))))
        if folder != self.folder:  # whose pictures come with the report
            self.workshop.group.from_first(lambda: draw_report(folder))
        return model

    def noted(self, probe: Evaluation) -> dict[str, float]:
        """The probe's scores, which the log has from now on."""
        scores = measured(probe)
        if self.workshop.group.first:
            write_line(self.folder / LOG, "probe", scores)
        return scores

    def described(self, recipe: FinetuneRecipe, clips: Annotations, config: TrainConfig) -> list[str]:
        """What a training is going to do."""
        world = self.workshop.group.world
        plan = Plan.of(config, len(clips.samples), world)
        area = recipe.smallest_area if self.workshop.smallest_area is None else self.workshop.smallest_area
        how = f"{config.optimizer} with a weight decay of {config.weight_decay:g}"
        text = f"{plan.describe(config)}, {how}, batch norms {recipe.norms}"
        if self.workshop.start.clip_spec.augmentation.startswith("random-resized-crop"):
            text += f", random crops of at least {area:.0%} of the picture"
        text += f", RandAugment of magnitude {config.rand_augment}" if config.rand_augment else ""
        text += f", colors that change by up to {config.color_jitter:.0%}" if config.color_jitter else ""
        text += f", stills mixed in by up to {config.still_mix:.0%}" if config.still_mix else ""
        text += f", MixUp {config.mixup:g}" if config.mixup else ""
        text += "; the averaged weights of the last step count." if config.ema else "; the last step counts."
        notes = [text]
        if world > 1:
            apart = recipe.norms == "learned" and config.sync_batch_norms < world
            why = ", whose batch norms learn from those alone" if apart else ""
            notes.append(f"{world} processes share a step, {counted(plan.micro_batch, 'clip')} each{why}.")
        if self.workshop.freeze_up_to:
            notes.append(frozen_told(self.workshop.freeze_up_to, config))
        if self.workshop.uneven(clips):
            notes.append("Classes are drawn equally often, as their numbers of clips differ.")
        return notes

    def heard(self, folder: Path, line: dict[str, Any]) -> None:
        """Passes on a line of a training's log, and draws its curves meanwhile."""
        if self.listener is not None:
            which = {} if folder == self.folder else {"training": folder.relative_to(self.folder).as_posix()}
            self.listener(line | which)
        if line["mode"] != "start" and time.monotonic() - self.drawn > DRAWN_EVERY_SECONDS:
            draw_report(folder)
            self.drawn = time.monotonic()

    def finish(
        self,
        trained: SlowFast,
        choice: Choice,
        evaluation: Evaluation,
        told: str,
        title: str,
        probed: dict[str, float],
        scored: Annotations,
    ) -> FinetuneResult:
        """The model as it was trained, and the report, written."""
        model, data = self.model.to(self.workshop.device), self.data
        model.reset_classifier(trained.spec.num_classes, trained.labels)
        model.load_state_dict(trained.state_dict())
        model.spec, model.clip_spec, model.provenance = trained.spec, trained.clip_spec, trained.provenance
        model.eval()
        names = set(evaluation.names)
        sources = {source_of(each, data.group_by) for each in scored.samples if each.name in names}
        evaluation = dataclasses.replace(under_own_names(evaluation, data), seen=data.seen)
        values = ", ".join(f"{name} {value:.4f}" for name, value in probed.items())
        _say(self.notes, f"Linear probe on the same clips: {values}.")
        finished = FinetuneResult(
            model=model,
            model_dir=self.folder / MODEL,
            work_dir=self.folder,
            recipe=choice.recipe.name,
            tried=choice.table,
            evaluation=evaluation,
            evaluated=told,
            sure=how_sure(
                evaluation,
                folds=data.made and data.test is None and bool(data.val.samples),
                sources=len(sources),
            ),
            probe_metrics=probed,
            notes=tuple(dict.fromkeys(self.notes)),
            files=(),
        )
        files = self.workshop.group.from_first(lambda: self.written(finished, title))
        return dataclasses.replace(finished, files=files)

    def written(self, finished: FinetuneResult, title: str) -> tuple[Path, ...]:
        """Tables, pictures, the model and the report, in the folder."""
        removed(self.folder)
        files = [self.folder / REPORT, *write_tables(finished.evaluation, self.folder)]
        scores = what_of(finished.evaluation, finished.evaluated, self.afterwards)
        save_pretrained(finished.model, finished.model_dir, metrics=scores)
        with replaced(self.folder / REPORT) as temporary:
            temporary.write_text(f"{finished}\n", encoding="utf-8")
        return *files, *draw_report(self.folder, title)


def joined(train: Annotations, other: Annotations) -> Annotations:
    """The clips of both parts, which have the same classes."""
    return dataclasses.replace(train, samples=(*train.samples, *other.samples))


def _prepare_model(model: SlowFast, train: Annotations, *, seed: int, flip: bool | None) -> list[str]:
    """Gives the model a random classifier for the classes; what to tell about it.

    The network's own weights stay. Clips are flipped only where they may be.
    """
    told = why_unflipped(train.class_names)
    flips = not told if flip is None else flip
    if flips:
        also = f", also of {quoted(mirrored_classes(train.class_names)[:4])}" if told else ""
        told = f"Clips are flipped at random{also}."
        told += " Use --no-flip if a mirrored clip would belong to another class."
    notes = [_told_start(model), told or "Clips aren't flipped, as asked for."]
    if several := several_classes(train):
        notes.append(several)
    torch.manual_seed(seed)
    model.spec = model.spec.replace(activation="sigmoid" if train.multi_label else "softmax")
    model.reset_classifier(train.num_classes, train.labels)
    model.clip_spec = model.clip_spec.replace(flip=0.5 if flips else 0.0)
    return notes
