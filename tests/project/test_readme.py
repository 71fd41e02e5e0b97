"""The pages: tables are fresh, README stays short, links lead somewhere."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from tables import README, ROOT, model_table, pages, table_in, with_table

from slowfast_zoo.evaluation.metrics import wilson_interval
from slowfast_zoo.weights.catalog import DEFAULT_TAGS, list_weights

PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_tables_are_fresh(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == pages()[page], "stale: run 'python scripts/tables.py'"


def test_table_of_models_has_every_current_row() -> None:
    lines = model_table().splitlines()
    assert len(lines) == 2 + sum(not row.superseded for row in list_weights())
    assert len({line.count("|") for line in lines}) == 1
    assert sum("**`" in line for line in lines) == len(DEFAULT_TAGS)
    assert any("38.90 mAP" in line for line in lines)
    assert any("| 76.34 | 92.67 | 10 x 3 |" in line for line in lines)
    clips = [name for name in DEFAULT_TAGS if not name.endswith("_roi")]
    assert len(model_table(only_defaults=True).splitlines()) == 2 + len(clips)


def test_the_number_of_checkpoints_is_the_catalogs() -> None:
    published = [row for row in list_weights() if row.urls]
    persons = sum(row.model_spec.roi is not None for row in published)
    publishers = {row.tag.partition("/")[0].partition("-")[0] for row in published}
    readme = README.read_text(encoding="utf-8")
    assert len(publishers) == 4
    assert f"**{len(published)} checkpoints, 4 publishers, one class.**" in readme
    assert f"{persons} of them score persons" in readme and f"All {len(published)} are in" in readme
    said = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["description"]
    assert said.startswith(f"{len(published)} published SlowFast checkpoints of four publishers ")


def test_the_page_on_training_tells_what_was_measured() -> None:
    kept = ROOT / "benchmarks" / "accuracy" / "results" / "weizmann.json"
    figures = json.loads(kept.read_text(encoding="utf-8"))
    seeds, before = (
        [
            [each for name, each in figures.items() if name.endswith(f"seed {seed}{with_what}")]
            for seed in range(3)
        ]
        for with_what in (", RandAugment", "")
    )
    assert [len(folds) for folds in (*seeds, *before)] == [9] * 6
    assert all(each["clips"] == 10 for folds in (*seeds, *before) for each in folds)
    told = " ".join((ROOT / "docs" / "training.md").read_text(encoding="utf-8").split()).replace(" %", "%")
    first, second, third = right = [sum(each["right"] for each in folds) for folds in seeds]
    mean = sum(right) / 3
    low, high = wilson_interval(round(mean), 90)
    assert f"got {first}, {second} and {third} of 90 clips with the seeds 0, 1 and 2" in told
    assert f"{mean / 90:.1%} in the mean (95% interval of {mean:.0f} of 90" in told
    assert f"clips {100 * low:.0f} to {high:.0%}). They took `learn` 26 times and `plain` once." in told
    assert Counter(each["recipe"] for folds in seeds for each in folds) == {"learn": 26, "plain": 1}
    first, second, third = (f"{100 * sum(each['probe'] for each in folds) / 9:.1f}" for folds in seeds)
    assert f"The probe got {first}, {second} and {third}%" in told
    first, second, third = right = [sum(each["right"] for each in folds) for folds in before]
    assert f"got {first}, {second} and {third} of these clips, {sum(right) / 270:.1%} in the mean" in told
    taken = Counter(each["recipe"] for folds in before for each in folds)
    assert taken.keys() == {"learn", "plain"}
    assert f"took `learn` {taken['learn']} times and `plain` {taken['plain']} times" in told


def test_the_page_on_training_tells_what_one_split_showed() -> None:
    kept = ROOT / "benchmarks" / "accuracy" / "results" / "weizmann_grid.json"
    figures = json.loads(kept.read_text(encoding="utf-8"))
    assert all(row["clips"] == 30 for name, row in figures.items() if name != "asked")
    right = {name.removesuffix("; seed 0"): row["right"] for name, row in figures.items() if name != "asked"}
    told = " ".join((ROOT / "docs" / "training.md").read_text(encoding="utf-8").split())
    probe, nothing = right.pop("probe"), right.pop("no network: frame differences")
    assert f"the probe {probe}, frame differences {nothing}" in told
    assert f"the defaults got {right.pop('defaults')} of these 30 clips" in told
    assert f"one got more: label smoothing, {right.pop('learn, label smoothing')}" in told
    equal = ("learn, no RandAugment", "plain, no RandAugment", "learn, twice the rate")
    assert {right.pop(name) for name in equal} == {25}
    assert f"`gentle` {right.pop('gentle')}, smaller crops {right.pop('learn, smaller crops')}" in told
    assert len(right) == 5 and {*right.values()} == {24}
    assert "a third of the rate, rates that decay from layer to layer, and no stills 24" in told


def test_the_page_on_training_tells_what_the_made_sets_showed() -> None:
    kept = ROOT / "benchmarks" / "accuracy" / "results" / "made_sets.json"
    figures = json.loads(kept.read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    rows = page[page.index("| test clips right") : page.index("No setting was better")].splitlines()[2:-1]
    cells = [cell.strip() for row in rows for cell in row.split("|")[2:-1]]
    wanted = []
    for row in (figure for name in ("things", "gestures") for figure in figures[name].values()):
        low, high = wilson_interval(row["right"], row["clips"])
        wanted.append(
            f"{row['right'] / row['clips']:.1%} ({100 * low:.0f} to {100 * high:.0f})".replace("%", " %")
        )
    assert sorted(cells) == sorted(wanted)

    def share(name: str, setting: str) -> str:
        row = figures[name][setting]
        return f"{row['right'] / row['clips']:.1%}".replace("%", " %")

    told = " ".join(page.split())
    shares = [
        {setting: row["right"] / row["clips"] for setting, row in figures[name].items()}
        for name in ("things", "gestures")
    ]
    assert shares[1]["defaults"] == max(shares[1].values())
    more = shares[0]["learn, twice the steps"]
    assert sorted(shares[0].values())[-2:] == [shares[0]["defaults"], more]
    assert f"On things twice the steps get {100 * (more - shares[0]['defaults']):.1f} points more" in told
    first, second = (f"{name}, seed 1" for name in ("things", "gestures"))
    without = "learn, no RandAugment"
    assert f"`learn` got {share(first, 'learn')} of the things and {share(second, 'learn')}" in told
    assert f"without RandAugment {share(first, without)} and {share(second, without)}" in told


def test_the_page_on_training_tells_how_long_an_epoch_takes() -> None:
    kept = ROOT / "benchmarks" / "results" / "zen5" / "epoch.json"
    figures = json.loads(kept.read_text(encoding="utf-8"))
    videos, frames = (figures[name]["seconds"]["median"] for name in ("videos", "frames"))
    share = figures["frames"]["waited"]["median"] / frames
    told = " ".join((ROOT / "docs" / "training.md").read_text(encoding="utf-8").split())
    assert (
        f"takes `slowfast_tiny` {frames:.1f} s on two Zen 5 cores, {100 * share:.0f} % of it waiting" in told
    )
    assert (
        f"which takes {figures['storing']:.1f} s once. If each pass decodes them, it takes {videos:.1f} s"
        in told
    )


def test_the_page_on_speed_tells_what_int8_differs_in() -> None:
    kept = ROOT / "benchmarks" / "accuracy" / "results" / "int8.json"
    models = json.loads(kept.read_text(encoding="utf-8"))["models"]
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    assert len(models) == 6
    for name, row in models.items():
        parts = ", ".join(f"`{part}`" for part in row["agreement"]["float32_parts"]) or "nothing"
        shares = (f"{row[what]:.1%}".replace("%", " %") for what in ("mean_relative_error", "relative_error"))
        assert f"| `{name}` | {' | '.join(shares)} | {parts} |" in page
        assert (row["clips"], row["agreement"]["calibration_clips"]) == (32, 8) and row["classes_seen"] <= 3


def test_text_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="<!-- models -->"):
        table_in("# slowfast_zoo\n", "models")
    text = "a\n<!-- models -->\n| x |\n<!-- /models -->\nb"
    assert table_in(text, "models") == "| x |"
    assert table_in(with_table(text, "models", "| y |"), "models") == "| y |"
    assert with_table(text, "models", "| x |") == text


def test_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]
