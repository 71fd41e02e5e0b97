"""Boxes on a video: where they are between key frames, and that they are there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support.movies import moving_pattern, write_video
from support.small_nets import ROI_NETWORKS, make_model, roi_clip_spec, roi_model

from slowfast_zoo import Detections, detect, render, save_pretrained
from slowfast_zoo.cli import main
from slowfast_zoo.errors import InputError
from slowfast_zoo.inference.detect import detect as detect_module
from slowfast_zoo.inference.detect.detections import Box, Person
from slowfast_zoo.inference.render.persons import PersonsOverlay
from slowfast_zoo.video.decoding.reader import open_video

ORANGE, BLUE = (255, 176, 0), (86, 180, 233)


def person(seconds: float, box: Box, track: str | None = None) -> Person:
    pixels = tuple(value * side for value, side in zip(box, (400, 200) * 2, strict=True))
    return Person(seconds, pixels, box, 1.0, track, ("walk", "talk"), (0.9, 0.25))  # type: ignore[arg-type]


def overlay(*persons: Person, seconds: tuple[float, ...] = (0, 1, 2)) -> PersonsOverlay:
    answer = Detections(
        source="a",
        labels=("walk", "talk"),
        persons=persons,
        key_seconds=seconds,
        width=400,
        height=200,
        multi_label=True,
    )
    return PersonsOverlay(width=400, height=200, answer=answer, topk=2)


def boxes(drawn: PersonsOverlay, seconds: float) -> list[Box]:
    return [tuple(round(value, 6) for value in box) for _, box in drawn.shown(seconds)]  # type: ignore[misc]


def test_a_track_is_followed() -> None:
    first, second, third = (0.0, 0.0, 0.2, 0.4), (0.4, 0.2, 0.6, 0.6), (0.4, 0.2, 0.6, 1.0)
    drawn = overlay(person(0, first, "ann"), person(1, second, "ann"), person(2, third, "ann"))
    assert boxes(drawn, 0.25) == [(0.1, 0.05, 0.3, 0.45)]
    assert boxes(drawn, 0.75) == [(0.3, 0.15, 0.5, 0.55)]
    assert boxes(drawn, 1.0) == [second] and boxes(drawn, 1.25) == [(0.4, 0.2, 0.6, 0.7)]
    assert boxes(drawn, 2.9) == [third] and boxes(drawn, 3.1) == []


def test_who_has_no_track_is_shown_around_the_key_frame() -> None:
    first, second = (0.0, 0.0, 0.2, 0.4), (0.4, 0.2, 0.6, 0.6)
    drawn = overlay(person(0, first), person(1, second))
    assert [boxes(drawn, moment) for moment in (0.4, 0.6, 1.4)] == [[first], [second], [second]]
    assert boxes(drawn, 1.6) == []
    gone = overlay(person(0, first, "ann"), person(1, second, "bob"))
    assert boxes(gone, 0.4) == [first] and boxes(gone, 0.6) == [second]
    far = overlay(person(0, first), person(60, second), seconds=(0, 1, 2, 60))
    assert boxes(far, 30.5) == [] and boxes(far, 59.5) == [second]
    assert boxes(overlay(person(5, first), seconds=(5,)), 5.9) == [first]
    assert boxes(overlay(seconds=()), 1.0) == []


def test_what_is_drawn() -> None:
    """Outlines in the color of the track, captions that don't cover each other, nothing outside."""
    black = np.zeros((200, 400, 3), np.uint8)
    ann, bob = person(0, (0.1, 0.5, 0.3, 0.95), "ann"), person(0, (0.15, 0.55, 0.9, 1.2), "bob")
    picture = np.asarray(overlay(ann, bob).draw(black, 0.0, 0.0))
    assert (picture[150, 40] == ORANGE).all() and (picture[185, 60] == BLUE).all()
    assert (picture[110:200, 360] == BLUE).all(axis=1).sum() > 50
    white = np.full_like(black, 255)
    captions = np.asarray(overlay(ann, bob).draw(white, 0.0, 0.0))
    alone = [np.asarray(overlay(each).draw(white, 0.0, 0.0)) for each in (ann, bob)]
    dark, apart = ((each.max(axis=2) < 120).sum() for each in (captions, np.minimum(*alone)))
    assert dark > apart, "they overlap when each is drawn for itself"
    untouched = np.asarray(overlay(ann).draw(black, 0.0, 5.0))
    assert not untouched.any()


def test_a_video_with_persons(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mkv", np.full((40, 96, 128, 3), 60, np.uint8))
    moving = {
        moment: {"boxes": [[8 + 40 * moment, 40, 60 + 40 * moment, 90]], "tracks": [1]} for moment in (0.0, 1)
    }
    answer = detect(roi_model(), film, boxes=moving, progress=False)
    assert render(answer, film, tmp_path / "out.mp4", progress=False) is answer
    with open_video(tmp_path / "out.mp4") as video:
        assert (video.height, video.num_frames) == (240, 40)
        frames = video.frames([0, 15, 29]).astype(int)
    lefts = []
    for frame in frames:
        orange = (abs(frame[215] - ORANGE).sum(axis=1) < 120).nonzero()[0]
        lefts.append(int(orange[0]))
    assert lefts == pytest.approx([20, 70, 117], abs=5)
    with pytest.raises(InputError, match="render draws what detect answers"):
        render(roi_model(), film, tmp_path / "no.mp4")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = write_video(tmp_path / "film.mkv", moving_pattern(40))
    model = make_model(ROI_NETWORKS["mean"])
    model.clip_spec = roi_clip_spec()
    save_pretrained(model, tmp_path / "model")
    (tmp_path / "boxes.csv").write_text("film,1,0.1,0.1,0.5,0.9,,1\n")
    given = ["render", str(film), str(tmp_path / "out.gif"), "--model", str(tmp_path / "model")]
    result = CliRunner().invoke(main, [*given, "--boxes", str(tmp_path / "boxes.csv")])
    assert result.exit_code == 0 and "1 person in 1 key frame" in result.output, result.output
    for wrong, says in (
        (["--seconds", "8", "9"], "where no frame is"),
        (["--seconds", "1", "1"], "no frame"),
        (["--views", "quick"], "Leave out --views"),
    ):
        monkeypatch.setattr(detect_module, "detect", lambda *_, **__: pytest.fail("the film was looked at"))
        result = CliRunner().invoke(main, [*given, "--boxes", str(tmp_path / "boxes.csv"), *wrong])
        assert result.exit_code == 1 and says in result.output, result.output
        monkeypatch.undo()
    result = CliRunner().invoke(main, given)
    assert result.exit_code == 1 and "Where are the persons" in result.output
