"""README's tables and the page of measurements say what the catalog and the benchmarks' files say."""

import pytest
from readme_tables import README, REPORT, model_table, report, speed_table, table_in, with_table

from slowfast_zoo.weights.catalog import DEFAULT_TAGS, list_weights


@pytest.mark.parametrize(("name", "make"), [("models", model_table), ("speed", speed_table)])
def test_tables_are_fresh(name, make) -> None:
    assert table_in(README.read_text(encoding="utf-8"), name) == make(), (
        f"README.md's table of {name} is stale: run 'python scripts/readme_tables.py'"
    )


def test_page_of_measurements_is_fresh() -> None:
    assert REPORT.read_text(encoding="utf-8") == report(), "run 'python scripts/readme_tables.py'"


def test_table_of_models_has_every_current_row() -> None:
    lines = model_table().splitlines()
    assert len(lines) == 2 + sum(not row.superseded for row in list_weights())
    assert len({line.count("|") for line in lines}) == 1
    assert sum("**`" in line for line in lines) == len(DEFAULT_TAGS)
    assert any("38.90 mAP" in line for line in lines)
    assert any("| 76.34 | 92.67 | 10 x 3 |" in line for line in lines)


def test_text_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="<!-- models -->"):
        table_in("# slowfast_zoo\n", "models")
    text = "a\n<!-- models -->\n| x |\n<!-- /models -->\nb"
    assert table_in(text, "models") == "| x |"
    assert table_in(with_table(text, "models", "| y |"), "models") == "| y |"
    assert with_table(text, "models", "| x |") == text
