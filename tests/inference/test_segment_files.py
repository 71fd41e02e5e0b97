"""Every format of segments is opened by a reader that isn't ours."""

from __future__ import annotations

import csv
import dataclasses
import errno
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
import pytest

from slowfast_zoo import Timeline
from slowfast_zoo.errors import InputError, UnknownNameError
from slowfast_zoo.evaluation.segments import evaluate_segments, read_predicted
from slowfast_zoo.inference.segment_files import SUFFIXES
from slowfast_zoo.inference.segments import Segment, Windows

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NASTY = 'a "b", <c> & d --> e\nf\tg \u00fc\u4e2d'
SEGMENTS = (
    Segment(0.0, 1.5, "pan left", 0.97),
    Segment(1.0, 3661.2345, NASTY, 0.5),
    Segment(1.5, 1.5001, "zoom in", 0.6),
    Segment(2.0, 4.0, "pan left", 0.8),
)


@pytest.fixture
def answer(tmp_path: Path) -> Timeline:
    begin = np.arange(3.0)
    scores = np.array([[0.9, 0.1, 0.0]] * 3, np.float32)
    return Timeline(
        source=str(tmp_path / "my film.mp4"),
        labels=("pan left", NASTY, "zoom in"),
        windows=Windows(begin, begin + 2, scores),
        segments=SEGMENTS,
        multi_label=True,
        duration_seconds=4000.0,
    )


def one_line(label: str) -> str:
    return re.sub(r"[\n\t]", " ", label)


def test_csv(answer: Timeline, tmp_path: Path) -> None:
    answer.save(tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["source", "start_seconds", "end_seconds", "label", "score"]
    assert [float(row["end_seconds"]) for row in rows] == [s.end_seconds for s in SEGMENTS]
    assert [row["label"] for row in rows] == [one_line(s.label) for s in SEGMENTS]
    import pandas

    frame = pandas.read_csv(tmp_path / "x.csv")
    assert frame.start_seconds.tolist() == [s.start_seconds for s in SEGMENTS]
    assert pandas.DataFrame(answer.to_columns()).label.tolist() == [s.label for s in SEGMENTS]


def test_json(answer: Timeline, tmp_path: Path) -> None:
    answer.save(tmp_path / "x.json")
    document = json.loads((tmp_path / "x.json").read_text("utf-8"))
    assert document["segments"][1]["label"] == NASTY and document["duration_seconds"] == 4000
    assert document["windows"][2] == {
        "start_seconds": 2.0,
        "end_seconds": 4.0,
        "labels": ["pan left", NASTY, "zoom in"],
        "scores": [0.9, 0.1, 0.0],
    }
    answer.save(tmp_path / "x.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text("utf-8").splitlines()]
    assert [line["start_seconds"] for line in lines] == [0.0, 1.0, 1.5, 2.0]
    assert lines[1]["label"] == NASTY and lines[0]["source"] == answer.source


def test_activitynet(answer: Timeline, tmp_path: Path) -> None:
    answer.save(tmp_path / "x.json", "activitynet")
    document = json.loads((tmp_path / "x.json").read_text("utf-8"))
    assert set(document) == {"version", "results", "external_data"}
    assert document["results"]["my film"][0] == {"label": "pan left", "score": 0.97, "segment": [0.0, 1.5]}
    assert evaluate_segments(tmp_path / "x.json", read_predicted(tmp_path / "x.json")).average_map == 1.0


def test_srt(answer: Timeline, tmp_path: Path) -> None:
    answer.save(tmp_path / "x.srt")
    text = (tmp_path / "x.srt").read_text("utf-8")
    assert text.startswith(
        "1\n00:00:00,000 --> 00:00:01,500\npan left (97%)\n\n2\n00:00:01,000 --> 01:01:01,235\n"
    )
    import pysrt

    cues = pysrt.open(str(tmp_path / "x.srt"), encoding="utf-8")
    assert [cue.start.ordinal for cue in cues] == [0, 1000, 1500, 2000]
    assert [cue.end.ordinal for cue in cues] == [1500, 3661235, 1501, 4000]
    assert [cue.text for cue in cues][1] == f"{one_line(NASTY)} (50%)"


def test_webvtt(answer: Timeline, tmp_path: Path) -> None:
    answer.save(tmp_path / "x.vtt")
    assert (tmp_path / "x.vtt").read_text("utf-8").startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.500\n")
    import webvtt

    cues = list(webvtt.read(str(tmp_path / "x.vtt")))
    assert [cue.start_in_seconds for cue in cues][:2] == [0, 1]
    assert cues[1].end == "01:01:01.235" and len(cues) == 4


@pytest.mark.browser
def test_webvtt_in_a_browser(answer: Timeline, tmp_path: Path, browser: Browser) -> None:
    """As a <track>, which a page from a file may not load: the text goes in as a data URL."""
    answer.save(tmp_path / "x.vtt")
    page = browser.new_page()
    page.set_content("<meta charset=utf-8><video><track default></video>")
    cues = page.evaluate(
        "text => new Promise((told, failed) => {"
        "const track = document.querySelector('track');"
        "track.onerror = failed;"
        "track.onload = () => told("
        "[...track.track.cues].map(cue => [cue.startTime, cue.endTime, cue.getCueAsHTML().textContent]));"
        "track.track.mode = 'hidden';"
        "track.src = 'data:text/vtt;base64,' + btoa(unescape(encodeURIComponent(text)));})",
        (tmp_path / "x.vtt").read_text("utf-8"),
    )
    page.close()
    assert [cue[:2] for cue in cues] == [[0, 1.5], [1, 3661.235], [1.5, 1.501], [2, 4]]
    assert [cue[2] for cue in cues][:2] == ["pan left (97%)", f"{one_line(NASTY)} (50%)"]


def test_audacity(answer: Timeline, tmp_path: Path) -> None:
    answer.save(tmp_path / "x.txt")
    rows = [line.split("\t") for line in (tmp_path / "x.txt").read_text("utf-8").splitlines()]
    assert [(float(begin), float(end)) for begin, end, _ in rows][1] == (1.0, 3661.2345)
    assert rows[0][2] == "pan left (97%)"


def test_elan(answer: Timeline, tmp_path: Path) -> None:
    answer.save(tmp_path / "x.eaf")
    document = ElementTree.parse(tmp_path / "x.eaf").getroot()
    assert [child.tag for child in document] == [
        "HEADER",
        "TIME_ORDER",
        "TIER",
        "TIER",
        "TIER",
        "LINGUISTIC_TYPE",
    ]
    times = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE", "")) for slot in document[1]}
    assert list(times.values()) == sorted(times.values())
    spans = {
        tier.get("TIER_ID"): [
            (times[row.get("TIME_SLOT_REF1")], times[row.get("TIME_SLOT_REF2")])
            for row in tier.iter("ALIGNABLE_ANNOTATION")
        ]
        for tier in document.iter("TIER")
    }
    assert spans == {
        "pan left": [(0, 1500), (2000, 4000)],
        one_line(NASTY): [(1000, 3661235)],
        "zoom in": [(1500, 1501)],
    }
    from pympi.Elan import Eaf

    eaf = Eaf(str(tmp_path / "x.eaf"))
    assert [row[:3] for row in eaf.get_annotation_data_for_tier("pan left")] == [
        (0, 1500, "0.970"),
        (2000, 4000, "0.800"),
    ]
    assert eaf.media_descriptors[0]["MEDIA_URL"] == (tmp_path / "my film.mp4").as_uri()


@pytest.mark.parametrize(
    ("source", "film"),
    [
        ("~/my film.mp4", "my film.mp4"),
        ("{}/my%20film.mp4", "my film.mp4"),
        ("http://host/film.mp4", None),
        ("<bytes>", None),
    ],
)
def test_elan_finds_the_film(
    answer: Timeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, film: str | None
) -> None:
    monkeypatch.setenv("HOME" if os.name == "posix" else "USERPROFILE", str(tmp_path))
    dataclasses.replace(answer, source=source.format(tmp_path.as_uri())).save(tmp_path / "x.eaf")
    found = ElementTree.parse(tmp_path / "x.eaf").getroot().iter("MEDIA_DESCRIPTOR")
    expected = [] if film is None else [(tmp_path / film).as_uri()]
    assert [media.get("MEDIA_URL") for media in found] == expected


def test_a_picture(answer: Timeline, tmp_path: Path) -> None:
    from PIL import Image

    answer.save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.size[0] > 1000
    axes = answer.plot().axes
    assert axes[1].get_xlim() == (0, 4000) and len(axes[1].get_yticks()) == 3


def test_a_name_with_dollars_is_no_formula(answer: Timeline, tmp_path: Path) -> None:
    odd = Timeline(**{**vars(answer), "source": "b$x_$.mp4"})
    odd.save(tmp_path / "x.png")
    assert (tmp_path / "x.png").exists()


def test_a_class_called_like_a_column_of_times_is_refused(answer: Timeline) -> None:
    odd = Timeline(**{**vars(answer), "labels": ("a", "start_seconds", "b")})
    with pytest.raises(InputError, match="A class is called 'start_seconds', as a column of times is"):
        odd.to_columns("windows")


def test_a_timeline_without_segments_is_written_too(answer: Timeline, tmp_path: Path) -> None:
    empty = Timeline(**{**vars(answer), "segments": ()})
    for suffix in SUFFIXES:
        empty.save(tmp_path / f"x{suffix}")
        assert (tmp_path / f"x{suffix}").exists()
    assert (tmp_path / "x.vtt").read_text() == "WEBVTT\n"


def test_what_cant_be_written_is_said(
    answer: Timeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnknownNameError, match=r"doesn't say which format: end it in .csv"):
        answer.save(tmp_path / "x.doc")
    with pytest.raises(UnknownNameError, match=r"There is no format 'vttt'\. Did you mean 'vtt'"):
        answer.save(tmp_path / "x", "vttt")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"none/x.srt' can't be written: No such file or directory"):
        answer.save(tmp_path / "none" / "x.srt")
    (tmp_path / "x.srt").write_text("before")

    def full(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="can't be written: No space left on device"):
        answer.save(tmp_path / "x.srt")
    assert [path.name for path in tmp_path.iterdir()] == ["x.srt"]
    assert (tmp_path / "x.srt").read_text() == "before"


def test_the_users_folder(answer: Timeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    answer.save("~/x.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]
