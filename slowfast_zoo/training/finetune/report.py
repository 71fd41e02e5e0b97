"""What a fine-tuning ends with: a per-class table, the confusion matrix and training curves, as files.

Tables are always written. Pictures need matplotlib, and can be drawn later: ``slowfast-zoo report FOLDER``.
"""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from slowfast_zoo.data.loader import TRAINING, ItemKey, KeyedItems
from slowfast_zoo.errors import TrainingError, counted
from slowfast_zoo.evaluation.evaluate import Evaluation
from slowfast_zoo.evaluation.metrics import wilson_interval
from slowfast_zoo.runtime.packages import installed
from slowfast_zoo.training.finetune.folder import CONFUSION, CONFUSION_PICTURE, CURVES, PER_CLASS
from slowfast_zoo.training.finetune.trials import right_ones
from slowfast_zoo.training.log import read_log, steps_before
from slowfast_zoo.training.state import LOG, replaced

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from slowfast_zoo.data.dataset import VideoDataset

_MOST_NAMED = 60
"""Classes whose names still fit beside a confusion matrix."""
_MOST_COUNTED = 25
"""Classes whose counts still fit into its cells."""
_PREVIEWED, _PREVIEW_FRAMES = 12, 8
"""Clips of a preview, and frames of each."""
_UNSURE = 0.15
"""Half of an interval that says little."""
_BLUE, _ORANGE, _GRAY = "#2563a8", "#d9730d", "#6b7280"


def measured(evaluation: Evaluation) -> dict[str, float]:
    """The metrics that are numbers."""
    return {name: value for name, value in evaluation.metrics.items() if not math.isnan(value)}


def in_short(evaluation: Evaluation) -> str:
    """How many clips are right; of several labels the metrics."""
    right = right_ones(evaluation)
    if right is not None:
        return f"{right} of {len(evaluation.names)} right"
    return ", ".join(f"{name} {value:.4f}" for name, value in measured(evaluation).items()) or "no metric"


def what_of(evaluation: Evaluation, evaluated: str, afterwards: int) -> dict[str, float | str]:
    """The metrics for a saved model, and what they are of.

    Args:
        evaluation: the scores.
        evaluated: which clips these are of.
        afterwards: clips that the saved model was trained on after the one that was scored; 0: it is that.
    """
    of = evaluated + ("; some were trained on, or others of their recordings" if evaluation.seen else "")
    told: dict[str, float | str] = {"clips": len(evaluation.names), "of": of}
    if afterwards:
        told["weights"] = f"trained afterwards in the same way, on all {afterwards} clips"
    return measured(evaluation) | told


def how_sure(evaluation: Evaluation, *, folds: bool, sources: int) -> str:
    """One sentence: between what the accuracy on other such clips lies, and what would make it surer.

    Args:
        evaluation: the scores; of clips that were ``seen`` there is no such interval.
        folds: whether those would score more clips.
        sources: persons or recordings that the clips come from.
    """
    count, right = len(evaluation.names), right_ones(evaluation)
    if evaluation.seen:
        return (
            f"How sure: of the {counted(count, 'clip')} that were scored, some were trained on, or others of"
            " their recordings were: what new clips would give is unknown; score clips of other recordings."
        )
    if right is None:
        scored = f"{counted(count, 'clip')} {'was' if count == 1 else 'were'} scored"
        return f"How sure: {scored}; the precision of a class with few of them says little."
    low, high = wilson_interval(right, count)
    text = (
        f"How sure: {right} of {counted(count, 'clip')} right, so of other such clips {low:.0%} to {high:.0%}"
    )
    if sources < count:
        text += f" (these come from {counted(sources, 'source')}: for new ones it is less sure)"
    if high - low <= 2 * _UNSURE:
        return f"{text}."
    more = "--folds 5 scores all of them, and more clips" if folds else "more clips"
    return f"{text}: too few clips to tell more; {more} help most."


def write_tables(result: Evaluation, folder: Path) -> list[Path]:
    """Writes per_class.csv, and for one label per clip confusion.csv; the files written.

    Raises:
        TrainingError: the folder can't be written.
    """
    table = result.class_table()
    with replaced(folder / PER_CLASS) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    if result.targets.ndim == 2:
        return [folder / PER_CLASS]
    result.save_confusion(folder / CONFUSION)
    return [folder / PER_CLASS, folder / CONFUSION]


def draw_report(folder: str | Path, title: str = "Scores") -> list[Path]:
    """Draws confusion.png and curves.png from what ``train`` or ``finetune`` wrote into the folder.

    Returns:
        The pictures; none where nothing in the folder can be drawn, or matplotlib isn't installed.

    Raises:
        TrainingError: a table is damaged, or the folder can't be written.
    """
    folder = Path(folder)
    if not installed("matplotlib"):
        return []
    written = []
    if (folder / CONFUSION).exists():
        confusion, names = _read_confusion(folder / CONFUSION)
        written.append(_save(draw_confusion(confusion, names, title), folder / CONFUSION_PICTURE))
    lines = read_log(folder / LOG) if (folder / LOG).exists() else []
    if any(line["mode"] == "train" for line in lines):
        written.append(_save(draw_curves(lines), folder / CURVES))
    return written


def _read_confusion(path: Path) -> tuple[npt.NDArray[np.int64], list[str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
        confusion = np.array([[int(cell) for cell in row[1:]] for row in rows], np.int64)
    except (OSError, ValueError, csv.Error) as error:
        raise TrainingError(f"{path} is damaged ({error}); delete it, or evaluate again.") from error
    if confusion.shape != (len(head) - 1,) * 2:
        raise TrainingError(f"{path} is damaged: {confusion.shape} counts; delete it, or evaluate again.")
    return confusion, head[1:]


def draw_confusion(confusion: npt.NDArray[np.int64], names: Sequence[str], title: str) -> Figure:
    """A picture of the matrix: color is the share of each true class, numbers are videos.

    Args:
        confusion: (classes, classes), rows true.
        names: of the classes.
        title: what was evaluated.
    """
    from matplotlib.figure import Figure

    classes = len(names)
    named = classes <= _MOST_NAMED
    side = min(max(3.2, 0.42 * classes), 13) if named else 9
    margin = min(0.085 * max(len(_short(name)) for name in names), 3) if named else 0.5
    figure = Figure(figsize=(side + margin + 1.6, side + 0.6 * margin + 0.8), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    totals = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.maximum(totals, 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    for row in np.flatnonzero(totals == 0):  # no videos is something else than no hits
        axes.axhspan(row - 0.5, row + 0.5, color="#eeeeee")
    right, total = int(np.trace(confusion)), int(confusion.sum())
    axes.set_title(
        f"{title}: {right} of {total} right ({right / max(total, 1):.1%})", fontsize=11, loc="left"
    )
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if named:
        size = 9 if classes <= 30 else 6
        texts = [_short(name) for name in names]
        flat = classes * max(map(len, texts)) <= 40
        axes.set_xticks(range(classes), texts, fontsize=size, parse_math=False)
        if not flat:
            for text in axes.get_xticklabels():
                text.set(rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(classes), texts, fontsize=size, parse_math=False)
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(classes - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(classes - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="#e5e7eb", linewidth=0.6 if named else 0)
    axes.tick_params(which="minor", length=0)
    if classes <= _MOST_COUNTED:
        for row, column in zip(*np.nonzero(confusion), strict=True):
            color = "white" if shares[row, column] > 0.55 else "black"
            count = str(confusion[row, column])
            axes.text(column, row, count, ha="center", va="center", color=color, fontsize=9)
    bar = figure.colorbar(picture, ax=axes, shrink=0.7, aspect=24, label="share of the true class")
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    bar.outline.set_visible(False)
    return figure


def draw_curves(lines: Sequence[dict[str, Any]]) -> Figure:
    """Loss, accuracy and learning rate over the epochs of a training.

    Args:
        lines: of ``read_log``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 7.5), dpi=150, layout="constrained")
    loss_axes, score_axes, rate_axes = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": [3, 3, 1.3]}
    )
    train = [line for line in lines if line["mode"] == "train" and "loss" in line and "lr" in line]
    val = [line for line in lines if line["mode"] == "val"]
    times = [steps_before(line, line["steps_per_epoch"]) / line["steps_per_epoch"] for line in train]
    marker = "o" if len(train) <= 40 else ""
    style = {"linewidth": 1.6, "markersize": 3.5}
    loss_axes.plot(times, [line["loss"] for line in train], marker=marker, ls="-", color=_BLUE, **style)
    loss_axes.set_ylabel("training loss")
    loss_axes.set_ylim(bottom=0)
    if all("top1_acc" in line for line in train):
        values = [line["top1_acc"] for line in train]
        label = "training clips (augmented)"
        score_axes.plot(times, values, marker=marker, ls="-", color=_BLUE, label=label, **style)
    scores = ("top1_acc", "mean_average_precision")
    score = next((name for name in scores if any(name in line for line in val)), None)
    if score is not None:
        epochs, values = [line["epoch"] for line in val], [line.get(score, math.nan) for line in val]
        # Of equals the last, as in training.
        best = len(values) - 1 - (int(np.nanargmax(values[::-1])) if not np.isnan(values).all() else 0)
        label = f"validation, best {values[best]:.1%} in epoch {epochs[best]}"
        marker = "o" if len(val) <= 40 else ""
        score_axes.plot(epochs, values, marker=marker, ls="-", color=_ORANGE, label=label, **style)
        ring = {"markersize": 10, "markerfacecolor": "none", "markeredgewidth": 1.6}
        score_axes.plot(epochs[best], values[best], "o", color=_ORANGE, **ring)
    probe = next((line.get(score) for line in reversed(lines) if line["mode"] == "probe"), None)
    if probe is not None:
        label = f"linear probe before training {probe:.1%}"
        score_axes.axhline(probe, color=_GRAY, linestyle="--", linewidth=1.2, label=label)
    score_axes.set_ylabel("mean average precision" if score == "mean_average_precision" else "top-1 accuracy")
    score_axes.set_ylim(0, 1.04)
    score_axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    if score_axes.get_legend_handles_labels()[0]:
        score_axes.legend(frameon=False, fontsize=9, loc="best")
    rate_axes.plot(times, [line["lr"] for line in train], color=_GRAY, linewidth=1.6)
    rate_axes.set_ylabel("learning rate")
    rate_axes.set_ylim(bottom=0)
    rate_axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    rate_axes.set_xlabel("epoch")
    rate_axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in (loss_axes, score_axes, rate_axes):
        axes.grid(color="#e5e7eb", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def write_preview(dataset: VideoDataset, path: Path, seed: int) -> None:
    """Writes a sheet of training clips as the network gets them, cropped, flipped: a row each, eight frames.

    Args:
        dataset: training clips.
        path: of the PNG.
        seed: of the training: these are the clips of its first pass.
    """
    from PIL import Image, ImageDraw

    spec, names = dataset.clip_spec, dataset.annotations.class_names
    items = KeyedItems(dataset, seed)
    rows = []
    for index in np.unique(np.linspace(0, len(dataset) - 1, _PREVIEWED).round().astype(int)):
        _, clip, target, _ = items[ItemKey(TRAINING, 0, int(index))]
        values = np.moveaxis(np.asarray(clip, np.float32), 0, -1) * spec.std + spec.mean
        pixels = np.clip(values * (255 if spec.pixel_range == "0-1" else 1), 0, 255).astype(np.uint8)
        chosen = np.linspace(0, len(pixels) - 1, min(_PREVIEW_FRAMES, len(pixels))).round().astype(int)
        row = Image.fromarray(np.concatenate([*pixels[chosen]], axis=1))
        several = isinstance(target, Tensor)
        labels = target.nonzero().flatten().tolist() if several else [int(target)]
        text = ", ".join(names[label] for label in labels).encode("ascii", "replace").decode()
        ImageDraw.Draw(row).text((2, 2), text, fill="yellow", stroke_width=1, stroke_fill="black")
        rows.append(np.asarray(row))
    with replaced(path) as temporary:
        Image.fromarray(np.concatenate(rows)).save(temporary, format="png")


def _short(name: str, limit: int = 28) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "\u2026"


def _save(figure: Figure, path: Path) -> Path:
    with replaced(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # names are in the tables, too
        figure.savefig(temporary, format="png")
    return path
