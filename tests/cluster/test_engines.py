"""Ray, Spark, datasets and WebDataset really run: two workers, one killed in the middle, every row once.

Excluded by default; ``python -m pytest -m cluster`` with the packages that CONTRIBUTING.md names.
"""

from __future__ import annotations

import io
import json
import math
import tarfile
from pathlib import Path
from typing import Any

import pytest
from cluster.jobs import WORKERS, end, kill_a_worker, make_clips, parquet_rows, start

from slowfast_zoo import Prediction, create_model, predict_many
from slowfast_zoo.video.sources.names import display_name

pytestmark = pytest.mark.cluster
EXAMPLES = Path(__file__).parents[2] / "examples" / "cluster"
COUNT, BROKEN = 300, 15


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return make_clips(tmp_path_factory.mktemp("clips") / "videos", COUNT, BROKEN)


@pytest.fixture(scope="module")
def expected(clips: list[str]) -> dict[str, Prediction]:
    """The answers of one process."""
    model = create_model("slowfast_tiny", pretrained=True)
    return {answer.source: answer for answer in predict_many(model, clips)}


def check(rows: list[dict[str, Any]], expected: dict[str, Prediction]) -> None:
    """Every video has one row, the same as in one process."""
    assert sorted(row["source"] for row in rows) == sorted(expected)
    assert sum(bool(row["error"]) for row in rows) == BROKEN
    for row in rows:
        answer = expected[row["source"]]
        assert row["error"] == (answer.error or "")
        for rank, (label, score) in enumerate(zip(answer.labels, answer.scores, strict=True), 1):
            assert row[f"label_{rank}"] == label
            assert math.isclose(row[f"score_{rank}"], score, rel_tol=1e-4)


def has_files(folder: Path, pattern: str = "*.parquet") -> bool:
    return any(folder.glob(pattern))


@pytest.mark.parametrize("engine", list(WORKERS))
def test_a_killed_worker_and_a_killed_job_cost_no_row(
    engine: str, clips: list[str], expected: dict[str, Prediction], tmp_path: Path
) -> None:
    script, worker = WORKERS[engine]
    arguments = (EXAMPLES / script, Path(clips[0]).parent, tmp_path / "answers")
    job = start(*arguments, cwd=tmp_path)
    try:
        kill_a_worker(job, worker, lambda: has_files(tmp_path / "answers"))
        assert job.wait(timeout=500) == 0, (tmp_path / "log").read_text()[-2000:]
    finally:
        end(job)
    check(parquet_rows(tmp_path / "answers"), expected)
    # Half of the files are lost with the machine that they lay on: only their videos are answered again.
    for file in sorted((tmp_path / "answers").glob("*.parquet"))[::2]:
        file.unlink()
    assert 0 < len(parquet_rows(tmp_path / "answers")) < COUNT
    job = start(*arguments, cwd=tmp_path)
    try:
        assert job.wait(timeout=500) == 0, (tmp_path / "log").read_text()[-2000:]
    finally:
        end(job)
    check(parquet_rows(tmp_path / "answers"), expected)


def test_datasets_begins_where_it_was_killed(
    clips: list[str], expected: dict[str, Prediction], tmp_path: Path
) -> None:
    import pyarrow.parquet as parquet

    arguments = (EXAMPLES / "datasets_map.py", Path(clips[0]).parent, tmp_path / "answers.parquet")
    job = start(*arguments, cwd=tmp_path)
    try:
        # Its bar: files that tell of answers have other names, or come at the end, from release to release.
        kill_a_worker(job, "datasets_map.py", lambda: b"examples/s" in (tmp_path / "log").read_bytes())
        assert job.wait(timeout=300) != 0, "datasets ends when one of its processes does"
        assert not (tmp_path / "answers.parquet").exists()
        job = start(*arguments, cwd=tmp_path)
        assert job.wait(timeout=500) == 0, (tmp_path / "log").read_text()[-2000:]
        check(parquet.read_table(tmp_path / "answers.parquet").to_pylist(), expected)
        before = (tmp_path / "log").stat().st_size
        job = start(*arguments, cwd=tmp_path)
        assert job.wait(timeout=300) == 0
        assert b"examples/s" not in (tmp_path / "log").read_bytes()[before:].split(b"Creating parquet")[0]
    finally:
        end(job)


def test_shards_of_webdataset_in_two_parts(
    clips: list[str], expected: dict[str, Prediction], tmp_path: Path
) -> None:
    for number in range(4):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as shard:
            for path in clips[number::4]:
                content = Path(path).read_bytes()
                info = tarfile.TarInfo(Path(path).name)
                info.size = len(content)
                shard.addfile(info, io.BytesIO(content))
    arguments = (EXAMPLES / "webdataset_predict.py", tmp_path / "{0..3}.tar", tmp_path / "answers", "--part")
    jobs = [start(*arguments, f"{part}/2", cwd=tmp_path) for part in (1, 2)]
    assert [job.wait(timeout=500) for job in jobs] == [0, 0], (tmp_path / "log").read_text()[-2000:]
    lines = [line for file in (tmp_path / "answers").glob("*.jsonl") for line in file.open(encoding="utf-8")]
    rows = {row["key"]: row for row in map(json.loads, lines)}
    assert len(lines) == len(rows) == COUNT
    for path in clips:
        row, answer = rows[Path(path).stem], expected[display_name(path)]
        assert row["label"] == (answer.labels[0] if answer.labels else "")
        assert bool(row["error"]) == bool(answer.error)
