"""How far long work is: bars where somebody can see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tqdm.auto
from support.movies import moving_pattern, write_video
from support.servers import FileServer

from slowfast_zoo.data.cache import cache_data
from slowfast_zoo.data.check import check_data
from slowfast_zoo.data.lists import read_annotations
from slowfast_zoo.inference.predict import Prediction
from slowfast_zoo.inference.render.render import render
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.weights.download.download import fetch


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The bars that a notebook shows: there ``tqdm.auto`` has others, for which no terminal is needed."""
    made: list[Any] = []

    class Bar(tqdm.tqdm):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, disable: bool | None = False, **named: Any) -> None:
            super().__init__(*arguments, disable=bool(disable), **named)
            self.seen = not self.disable
            made.append(self)

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    return made


def test_a_notebook_shows_downloads_and_all_work_on_data(
    tmp_path: Path, bars: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data" / "a").mkdir(parents=True)
    film = write_video(tmp_path / "data" / "a" / "film.mkv", moving_pattern(6, 32, 48))
    with FileServer({"/net.pth": bytes(range(256))}) as server:
        monkeypatch.setenv("SLOWFAST_ZOO_MIRROR", f"https://127.0.0.1:1={server.url}")
        fetch(["https://127.0.0.1:1/net.pth"], filename="net.pth", digest=None)
    check_data({"train": read_annotations(tmp_path / "data")}, ClipSpec(num_frames=4))
    cache_data(read_annotations(tmp_path / "data"), tmp_path / "cache", short_side=32)
    answer = Prediction(source="x", labels=("a",), scores=(1.0,), views=(1, 1), seconds=(0.0, 0.2))
    render(answer, film, tmp_path / "out.mp4")
    assert [(bar.desc, bar.n, bar.seen) for bar in bars] == [
        ("net.pth", 256, True),
        ("check", 1, True),
        ("cache", 1, True),
        ("render", 6, True),
    ]
