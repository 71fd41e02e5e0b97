"""What stands behind the page, without a browser and without Gradio: answers, drawings, what is refused."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import io
import json
import os
import re
import runpy
import shlex
import socket
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, MutableMapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, create_autospec

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from PIL import Image

from slowfast_zoo import predict, save_pretrained, slowfast_tiny, timeline
from slowfast_zoo.cli import main
from slowfast_zoo.data.persons.boxes import person_boxes
from slowfast_zoo.errors import InputError, UnknownNameError
from slowfast_zoo.inference.segments import Segment
from slowfast_zoo.web import drawing
from slowfast_zoo.web import page as pages
from slowfast_zoo.web import studio as studios
from slowfast_zoo.web.drawing import (
    answer_html,
    bars_html,
    calls_html,
    live_html,
    persons_html,
    timeline_html,
)
from slowfast_zoo.web.examples import copy_examples
from slowfast_zoo.web.guard import Guard
from slowfast_zoo.web.offers import Models, Offer, published_offers
from slowfast_zoo.web.studio import Answer, Asked, Studio, as_code, as_command
from slowfast_zoo.weights.catalog import list_models
from tests.support.movies import moving_pattern, write_video
from tests.support.small_nets import block, make_model, roi_model

EXAMPLE = Path(__file__).parents[2] / "examples" / "pan_right.mp4"
SPACE = Path(__file__).parents[2] / "spaces"
TINY = Asked("tiny", "own", engine="eager")
HOSTILE = ["<img src=x onerror=alert(1)>", "${alert(1)}", "{{7*7}}", "\"'><script>alert(1)</script>"]


def tiny() -> Offer:
    return Offer(
        "tiny", "own", lambda: slowfast_tiny(pretrained=True), "zoo.slowfast_tiny(True)", "slowfast_tiny"
    )


def roi() -> Offer:
    return Offer("roi", "own", lambda: roi_model(), "zoo.x()", "roi")


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(Models([tiny(), roi()], torch.device("cpu")), tmp_path)


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Answer:
    """About the example, made once."""
    return last(Studio(Models([tiny()], torch.device("cpu")), tmp_path_factory.mktemp("web")), EXAMPLE)


def last(studio: Studio, video: Path, asked: Asked = TINY, session: str = "a") -> Answer:
    return [*studio.answers(session, video, asked)][-1]


def test_an_answer_grows_and_is_what_the_library_says(studio: Studio) -> None:
    answers = [*studio.answers("a", EXAMPLE, TINY)]
    assert answers[0].prediction is None and answers[-1].finished and answers[-1].error is None
    assert all(not answer.finished for answer in answers[:-1])
    model, answer = slowfast_tiny(pretrained=True), answers[-1]
    expected = predict(model, EXAMPLE, topk=8, engine="eager")
    assert answer.prediction == dataclasses.replace(expected, source="pan_right.mp4")
    assert answer.timeline is not None
    assert answer.timeline.segments == timeline(model, EXAMPLE, hop_seconds=0.5, engine="eager").segments
    assert answer.sheet is not None and answer.sheet.read_bytes().startswith(b"\x89PNG")
    assert [path.suffix for path in answer.files] == [".csv", ".srt"]
    rows = list(csv.DictReader(answer.files[0].read_text(encoding="utf-8").splitlines()))
    assert rows and {row["source"] for row in rows} == {"pan_right.mp4"}
    assert {row["label"] for row in rows} == {segment.label for segment in answer.timeline.segments}
    assert "pan right" in answers[-1].files[1].read_text(encoding="utf-8")


def test_persons_are_told_with_their_boxes(tmp_path: Path) -> None:
    video = write_video(tmp_path / "two.mkv", moving_pattern(60))
    boxes = person_boxes(np.array([[4.0, 4, 30, 40], [30, 8, 60, 44]]))
    studio = Studio(Models([roi()], torch.device("cpu")), tmp_path, boxes)
    asked = Asked("roi", "own", hop_seconds=1.0)
    answer = last(studio, video, asked)
    assert answer.error is None and answer.detections is not None
    assert len(answer.detections.persons) == 2 * len(answer.detections.key_seconds) > 0
    page = Page(answer_html(answer))
    (layer,) = (tag for tag in page.tags if "data-persons" in tag)
    shown = json.loads(layer["data-persons"])
    assert shown[0]["box"] == [round(value, 5) for value in answer.detections.persons[0].normalized]
    empty = dataclasses.replace(answer.detections, persons=(), key_seconds=(0.0, 1 / 3, 2.0))
    (layer,) = (tag for tag in Page(persons_html(empty)).tags if "data-persons" in tag)
    assert json.loads(layer["data-persons"]) == [] and json.loads(layer["data-keys"]) == [0, 0.333, 2]
    assert answer.files[0].read_text(encoding="utf-8").startswith("two,")
    assert "zoo.detect(" in as_code("zoo.x()", answer, asked)
    assert as_command("roi", answer, asked).startswith("slowfast-zoo detect two.mkv --model roi")


def test_without_a_video_or_with_a_broken_one_there_is_a_sentence(studio: Studio, tmp_path: Path) -> None:
    assert "Choose a video" in ([*studio.answers("a", None, TINY)][-1].error or "")
    folder = tmp_path / "uploads"
    folder.mkdir()
    for name, content in {
        "text.mp4": b"hello world, this is text",
        "page.mp4": b"<!doctype html><script>alert(1)</script>",
        "empty.mp4": b"",
        "zip.mp4": b"PK\x03\x04" + bytes(100),
        "noise.mp4": bytes(range(256)) * 8,
        "cut.mp4": EXAMPLE.read_bytes()[:3000],
        "<b>bold.mp4": b"text",
    }.items():
        path = folder / name
        path.write_bytes(content)
        answer = last(studio, path)
        assert answer.finished and answer.error is not None and answer.error.endswith(".")
        assert str(folder) not in answer.error and name in answer.error
        assert "predict_many" not in answer.error
        assert "<b>" not in answer_html(answer)


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left", "FOLDER/x"), RuntimeError("broken"), MemoryError()], ids=repr
)
@pytest.mark.parametrize("where", ["contact_sheet", "mkdtemp"])
def test_what_nobody_foresaw_ends_the_answer_too(
    studio: Studio, where: str, error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if isinstance(error, OSError):
        error.filename = str(tmp_path / "x")
    owner = studios if where == "contact_sheet" else tempfile
    monkeypatch.setattr(owner, where, MagicMock(side_effect=error))
    answer = last(studio, EXAMPLE)
    assert answer.finished and answer.error and answer.error.startswith(type(error).__name__)
    assert str(tmp_path) not in answer.error and not answer.note
    assert (answer.prediction is not None) == (where == "contact_sheet")


@pytest.mark.parametrize(
    "asked",
    [
        Asked("other", "own"),
        Asked("tiny", "other"),
        dataclasses.replace(TINY, engine="fast"),
        dataclasses.replace(TINY, views="all"),
        dataclasses.replace(TINY, hop_seconds=0.0),
        dataclasses.replace(TINY, hop_seconds=float("nan")),
    ],
)
def test_what_the_page_does_not_offer_is_refused(studio: Studio, asked: Asked) -> None:
    answer = last(studio, EXAMPLE, asked)
    assert answer.finished and answer.error and answer.prediction is None


def test_too_many_windows_are_refused(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studios, "MOST_WINDOWS", 3)
    answer = last(studio, EXAMPLE)
    assert answer.error and "at most 3" in answer.error and answer.prediction is not None


def test_stop_keeps_what_is_known(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studios, "_UPDATE_SECONDS", 0.0)
    asked = dataclasses.replace(TINY, hop_seconds=0.1)
    running, answer = studio.answers("a", EXAMPLE, asked), Answer("")
    for answer in running:
        if answer.timeline is not None:
            break
    studio.stop("b")  # somebody else's
    assert not next(running).finished
    studio.stop("a")
    answer = [*running][-1]
    assert answer.finished and answer.error is None and answer.timeline is not None
    assert not answer.timeline.complete and "Stopped" in answer_html(answer)
    assert last(studio, EXAMPLE).error is None  # the next answer isn't stopped


@pytest.mark.parametrize("newer", [False, True])
def test_an_answer_that_was_left_or_replaced_says_no_more(studio: Studio, newer: bool) -> None:
    running = studio.answers("a", EXAMPLE, TINY)
    next(running)
    assert studio.is_asked("a")
    if newer:
        assert last(studio, EXAMPLE).prediction is not None
    else:
        studio.leave("b")  # somebody else's
        assert not next(running).finished
        studio.leave("a")
        studio.leave("a")
    assert [*running] == []
    assert studio.is_asked("a") == newer
    assert last(studio, EXAMPLE).finished


def test_results_are_the_visitors_and_go_with_him(studio: Studio, tmp_path: Path) -> None:
    first, other = last(studio, EXAMPLE), last(studio, EXAMPLE, session="b")
    again = last(studio, EXAMPLE)
    assert not first.files[0].exists() and again.files[0].exists() and other.files[0].exists()
    studio.forget("a")
    studio.forget("a")
    assert not again.files[0].exists() and other.files[0].exists()
    studio.forget("b")
    assert [*tmp_path.iterdir()] == []


def test_visitors_at_once_get_the_same_right_answer_from_one_model(tmp_path: Path) -> None:
    made: list[int] = []

    def load() -> Any:
        made.append(1)
        return slowfast_tiny(pretrained=True)

    studio = Studio(Models([dataclasses.replace(tiny(), load=load)], torch.device("cpu")), tmp_path)
    answers: dict[int, Answer] = {}
    visit = lambda number: answers.update({number: last(studio, EXAMPLE, session=str(number))})  # noqa: E731
    threads = [threading.Thread(target=visit, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and len(answers) == 3
    assert len({answer.prediction for answer in answers.values()}) == 1
    assert answers[0].prediction and answers[0].prediction.labels[0] == "pan right"


def test_models_are_loaded_once_and_the_oldest_is_given_up() -> None:
    made: list[str] = []

    def offer(name: str) -> Offer:
        def load() -> Any:
            made.append(name)
            return make_model()

        return Offer(name, "own", load, "", "")

    models = Models(map(offer, "abc"), torch.device("cpu"))
    assert models.get("a", "own") is models.get("a", "own")
    for name in "bac":
        models.get(name, "own")
    models.get("a", "own")
    assert made == ["a", "b", "c"]
    models.get("b", "own")
    assert made == ["a", "b", "c", "b"]
    with pytest.raises(UnknownNameError, match="doesn't offer 'd'"):
        models.get("d", "own")


def test_everything_published_is_offered_the_one_without_a_download_first() -> None:
    offers = published_offers()
    assert offers[0].model == "slowfast_tiny" and not offers[0].load().training
    assert {"slowfast_r50_8x8x1", "slowfast_r50_8x8x1_roi"} < {offer.model for offer in offers}
    assert len({(offer.model, offer.weights) for offer in offers}) == len(offers)


def test_a_webcam_is_offered_every_weights_of_models_that_need_no_boxes() -> None:
    offers = Models(published_offers(), torch.device("cpu")).of_webcams()
    assert {"slowfast_tiny:camera-motion", "slowfast_tiny:actions"} < set(offers)
    assert len(offers) == sum(not offer.model.endswith("_roi") for offer in published_offers())
    assert offers["slowfast_tiny:actions"].load().provenance["tag"] == "actions"


def test_a_webcam_is_a_stream_of_its_own(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(studios.time, "monotonic", lambda: now[0])
    frames = moving_pattern(24)
    results = []
    for frame in frames:
        now[0] += 0.1
        results += [studio.live("a", frame, TINY), studio._streams["a"].stream.wait()]
    shown = [result for result in results if result is not None]
    assert shown and abs(sum(shown[-1].scores) - 1) < 0.2
    assert shown[-1].labels[0] in live_html(shown[-1])
    monkeypatch.setattr(studios, "MOST_STREAMS", 1)
    with pytest.raises(InputError, match="1 webcams are looked at"):
        studio.live("b", frames[0], TINY)
    now[0] += 60  # nothing comes from the first one any more
    assert studio.live("b", frames[0], TINY) is None
    assert [*studio._streams] == ["b"]
    studio.forget("b")
    assert not studio._streams


class Page(HTMLParser):
    """The elements of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[dict[str, Any]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append({"": tag, **dict(attrs)})


ALLOWED = {
    "div",
    "span",
    "i",
    "b",
    "pre",
    "em",
    "h3",
    "small",
    "button",
    "svg",
    "polyline",
    "table",
    "tr",
    "td",
    "p",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_strangers_wrote_is_text(answer: Answer, name: str) -> None:
    assert answer.timeline is not None and answer.prediction is not None
    segments = (Segment(0.0, 1.0, name, 0.9), Segment(1.0, 3.0, "pan right", 0.8))
    labels = (name, *answer.timeline.labels[1:])
    found = dataclasses.replace(answer.timeline, segments=segments, labels=labels, source=name)
    prediction = dataclasses.replace(answer.prediction, labels=(name,), scores=(0.9,), source=name)
    html = answer_html(
        dataclasses.replace(answer, source=name, timeline=found, prediction=prediction, note=name)
    )
    html += calls_html({name: name}) + answer_html(Answer(name, error=name)) + bars_html([name], [0.5])
    page = Page(html)
    assert {tag[""] for tag in page.tags} <= ALLOWED
    assert not any(key.startswith("on") for tag in page.tags for key in tag)
    assert any(tag.get("title") == name for tag in page.tags)


def test_the_timeline_is_drawn_where_its_segments_are(answer: Answer) -> None:
    assert answer.timeline is not None
    two = (Segment(0.0, 1.5, "pan right", 0.9), Segment(1.5, 3.0, "static", 0.7))
    page = Page(timeline_html(dataclasses.replace(answer.timeline, segments=two, duration_seconds=6.0)))
    chips = [tag for tag in page.tags if tag.get("class") == "sfz-segment"]
    assert [chip["data-seconds"] for chip in chips] == ["0.000", "1.500"]
    assert "left:25.000%" in chips[1]["style"] and "width:25.000%" in chips[1]["style"]
    assert chips[0]["style"].rpartition("#")[2] != chips[1]["style"].rpartition("#")[2]
    (track,) = (tag for tag in page.tags if tag.get("class") == "sfz-track")
    assert float(track["data-duration"]) == 6.0
    lines = [tag["points"].split() for tag in page.tags if tag[""] == "polyline"]
    windows = answer.timeline.windows
    assert len(lines) >= 2 and len(lines[0]) == len(windows)
    highest = max(100 - float(point.split(",")[1]) for point in lines[0])
    place = [*answer.timeline.labels].index("pan right")
    curves = [100 * windows.probabilities[:, index].max() for index in (place, 0)]
    assert any(abs(highest - curve) < 0.1 for curve in curves)


def test_code_and_command_are_for_this_video() -> None:
    asked = Asked("tiny", "own", "openvino", "3 clips", 0.25)
    answer = Answer('it\'s "mine" $(touch x).mp4')
    code = as_code("zoo.slowfast_tiny(True)", answer, asked)
    compile(code, "code", "exec")
    assert "views=(3, 1)" in code and "hop_seconds=0.25" in code and repr(answer.source) in code
    first, second = as_command("slowfast_tiny", answer, asked).splitlines()
    assert shlex.split(first)[2] == shlex.split(second)[2] == answer.source
    assert "--views 3x1" in first and "--hop 0.25" in second
    assert shlex.split(as_command("x", Answer("-v.mp4"), asked))[2] == "./-v.mp4"


def test_the_examples_are_there(tmp_path: Path) -> None:
    examples = copy_examples(tmp_path / "examples")
    assert len(examples) == 3 and all(example.thumbnail.startswith(b"\xff\xd8") for example in examples)
    model = slowfast_tiny(pretrained=True)
    found = {example.path.stem: predict(model, example.path).labels[0] for example in examples[1:]}
    assert found == {"zoom_out": "zoom out", "shaky_hand": "shake"}


def test_the_examples_stay_when_uploads_are_deleted(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gradio = MagicMock()
    gradio.Video.return_value.keep_in_cache = set()
    monkeypatch.setitem(sys.modules, "gradio", gradio)
    pages.build_page(studio, copy_examples(tmp_path / "examples"), most_bytes=1, jobs=1)
    kept = gradio.Video.return_value.keep_in_cache
    assert kept == {str(path) for path in (tmp_path / "examples").iterdir()} and len(kept) == 3


def test_the_command_serves_what_it_was_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: dict[str, Any] = {}

    class Served:
        local_url = "http://127.0.0.1:1/"

        def close(self) -> None:
            told["closed"] = True

    def serve(offers: Any, **options: Any) -> Served:
        told.update(options, offers=list(offers))
        return Served()

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("slowfast_zoo.web.page.open_page", serve)
    monkeypatch.setattr("slowfast_zoo.cli.web.time.sleep", interrupted)
    own, *others = (tmp_path / name for name in ("mine", "a/model", "b/model"))
    for folder in (own, *others):
        save_pretrained(roi_model() if folder == own else make_model(), folder)
    file, network = tmp_path / "checkpoint.pth", slowfast_tiny(pretrained=True)
    torch.save(network.state_dict(), file)
    given = [own, "slowfast_r50_8x8x1:pyslowfast/k400", *others, file]
    arguments = ["web", *(word for text in given for word in ("--model", str(text)))]
    done = CliRunner().invoke(main, [*arguments, "--max-mb", "5", "--device", "cpu", "--port", "0"])
    assert done.exit_code == 130 and "Open http://127.0.0.1:1/" in done.output, done.output
    mine, published, *models, checkpoint = told["offers"]
    assert [(offer.model, offer.argument) for offer in models] == [(f"{name}/model",) * 2 for name in "ab"]
    assert models[1].code == "zoo.from_pretrained(Path('b/model'))"
    assert len(Models(told["offers"], torch.device("cpu")).names()) == 5
    assert checkpoint.code == "zoo.create_model(\"slowfast_tiny\", weights=Path('checkpoint.pth'))"
    assert (mine.model, mine.weights) == ("mine", "its own") and mine.load().spec == roi_model().spec
    assert [offer.persons for offer in told["offers"]] == [True, False, False, False, False]
    assert (published.model, published.weights) == ("slowfast_r50_8x8x1", "pyslowfast/k400")
    assert told["host"] == "127.0.0.1" and told["most_bytes"] == 5 * 2**20 and told["closed"]


def test_the_space_opens_the_page_with_models_of_the_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    """``spaces/app.py`` as a Space runs it; what it gives the page is what the page takes."""
    page = create_autospec(pages.open_page)
    monkeypatch.setattr(pages, "open_page", page)
    monkeypatch.setattr(time, "sleep", MagicMock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        runpy.run_path(str(SPACE / "app.py"), run_name="__main__")
    (offers,), where = page.call_args
    assert offers[0].model == "slowfast_tiny" and all(offer.model in list_models() for offer in offers)
    assert (where["host"], where["port"]) == ("0.0.0.0", 7860)
    page.return_value.close.assert_called_once_with()


def test_the_card_of_the_space_names_releases_that_the_package_takes() -> None:
    card = dict(re.findall(r'^(\w+): "?([^"\n]+)"?$', (SPACE / "README.md").read_text("utf-8"), re.MULTILINE))
    project = tomllib.loads((SPACE.parent / "pyproject.toml").read_text("utf-8"))["project"]
    (gradio,) = map(Requirement, project["optional-dependencies"]["web"])
    assert card["sdk"] == gradio.name and card["sdk_version"] in gradio.specifier
    assert card["python_version"] in SpecifierSet(project["requires-python"])
    assert (SPACE / card["app_file"]).is_file()


def test_without_gradio_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    block(monkeypatch, "gradio")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "")
    done = CliRunner().invoke(main, ["web", "--model", "slowfast_tiny", "--port", "0"])
    assert done.exit_code == 1 and 'pip install "slowfast-zoo[web]"' in done.output


class Gradio:
    """Stands for Gradio and its page: what it was launched with, and what it was told of proxies."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: dict[str, Any] = {}
        self.error: OSError | None = None
        for name in ("gradio", "starlette", "starlette.middleware"):
            monkeypatch.setitem(sys.modules, name, MagicMock())
        sys.modules["starlette.middleware"].Middleware = lambda _, **limits: limits
        monkeypatch.setattr(pages, "build_page", lambda *_, **__: self)
        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # the page changes it

    def launch(self, **options: Any) -> None:
        if self.error:
            raise self.error
        proxies = {name: os.environ.get(name) for name in ("NO_PROXY", "no_proxy")}
        self.told = {**options, **options["app_kwargs"]["middleware"][0], "proxies": proxies}


@pytest.fixture
def gradio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gradio:
    for name in ("TMPDIR", "GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, str(tmp_path))
    return Gradio(monkeypatch)


def opened(**where: Any) -> Any:
    return pages.open_page([tiny()], device=torch.device("cpu"), **where)


@pytest.mark.parametrize(
    ("host", "name", "local"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("localhost", "localhost", True),
        ("127.0.0.2", "127.0.0.2", True),
        ("::1", "[::1]", True),
        ("[::1]", "[::1]", True),
        ("0.0.0.0", "0.0.0.0", False),
        ("::", "[::]", False),
    ],
)
def test_the_address_is_listened_on_and_guarded(
    gradio: Gradio, monkeypatch: pytest.MonkeyPatch, host: str, name: str, local: bool
) -> None:
    monkeypatch.setenv("NO_PROXY", "intranet")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(pages, "_bound", lambda host, port: port)
    opened(host=host, port=7000)
    assert [gradio.told[each] for each in ("server_name", "server_port", "local")] == [name, 7000, local]
    assert gradio.told["proxies"] == {"NO_PROXY": "*", "no_proxy": "*"}  # Gradio asks its own address
    assert os.environ["NO_PROXY"] == "intranet" and "no_proxy" not in os.environ


def test_a_webcam_s_picture_is_no_larger_than_a_frame(gradio: Gradio) -> None:
    """A picture of one color takes little to send, and three bytes a pixel once it is there."""
    picture = io.BytesIO()
    Image.new("1", (8192, 4330)).save(picture, "png")
    assert len(picture.getvalue()) < 10_000
    Image.open(picture)
    opened(port=0)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(picture)


def test_an_address_that_can_t_be_listened_on_is_named(gradio: Gradio, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"127.0.0.1:{port} can't be .+; give another port= \(0: a"):
            opened(port=port)
        done = CliRunner().invoke(main, ["web", "--model", "slowfast_tiny", "--port", str(port)])
        assert done.exit_code == 1 and "give another --port (0: a free one) or --host." in done.output
    with pytest.raises(InputError, match=r"a\.\.b:0 can't be listened on: .*label"):
        opened(host="a..b", port=0)
    gradio.error = OSError("Cannot find empty port: set the GRADIO_SERVER_PORT environment variable")
    with pytest.raises(InputError, match="can't be listened on: the port is taken; give another port="):
        opened(port=0)
    assert [*tmp_path.iterdir()] == []
    gradio.error = None
    opened(port=0)
    assert gradio.told["server_port"] > 0


# What the network may ask for ------------------------------------------------------------------------------

Message = MutableMapping[str, Any]


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., tuple[int, bytes, dict[str, str]]]:
    """One request through the guard: status, body, headers; what is let through is echoed with 200."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    (folder / "own.mp4").write_bytes(bytes(500))

    async def echo(scope: Message, receive: Any, send: Any) -> None:
        body = b""
        if scope["method"] == "POST" and b"multipart" not in dict(scope["headers"]).get(b"content-type", b""):
            body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    def request(
        path: str,
        *,
        body: bytes | None = None,
        local: bool = True,
        also: tuple[tuple[str, str], ...] = (),
        **headers: str,
    ) -> tuple[int, bytes, dict[str, str]]:
        guard = Guard(echo, folder=folder, most_bytes=1000, most_stored=10_000, local=local)
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body or b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        named = {"host": "127.0.0.1:7860"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        scope = {
            "type": "http",
            "method": "GET" if body is None else "POST",
            "path": path,
            "headers": [(name.encode(), value.encode()) for name, value in (*named.items(), *also)],
        }
        asyncio.run(guard(scope, receive, send))
        got = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], sent[1]["body"], got

    return request


def test_the_page_is_served_without_other_hosts(ask: Any) -> None:
    status, _, headers = ask("/")
    assert status == 200 and headers["x-content-type-options"] == "nosniff"
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'self'") and "http" not in policy and "*" not in policy
    assert "frame-ancestors 'self'" in policy
    assert "frame-ancestors" not in ask("/", local=False)[2]["content-security-policy"]


@pytest.mark.quick
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "", "[::2]:80"]
)
def test_other_names_of_this_machine_are_not_answered(ask: Any, host: str) -> None:
    assert ask("/", host=host)[0] == 421
    assert ask("/", host=host, local=False)[0] == 200


@pytest.mark.quick
@pytest.mark.parametrize("host", ["localhost:7860", "127.0.0.1", "127.0.0.2", "[::1]:7860", "LOCALHOST"])
def test_its_own_names_are_answered(ask: Any, host: str) -> None:
    assert ask("/", host=host)[0] == 200
    assert ask("/gradio_api/queue/join", body=b"{}", host=host, origin=f"http://{host}")[0] == 200


@pytest.mark.parametrize(
    ("name", "value", "other"),
    [
        ("content-type", "application/json", "multipart/form-data"),
        ("content-length", "2", "2000000"),
        ("host", "evil.example", "localhost"),
        ("origin", "https://evil.example", "http://localhost"),
    ],
)
def test_a_header_that_is_there_twice_decides_nothing(ask: Any, name: str, value: str, other: str) -> None:
    sent = {name.replace("-", "_"): value}
    status, said, _ = ask("/gradio_api/queue/join", body=b"{}", also=((name, other),), **sent)
    assert status == 400 and f"the header {name} twice" in said.decode()
    assert ask("/", also=(("x-forwarded-for", "10.0.0.1"), ("x-forwarded-for", "10.0.0.2")))[0] == 200


def test_other_pages_may_not_use_it(ask: Any) -> None:
    assert ask("/gradio_api/queue/join", body=b"{}", origin="https://evil.example")[0] == 403
    assert ask("/gradio_api/queue/join", body=b"{}", origin="null")[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=http://10.0.0.1/secret",
        "/gradio_api/file=HTTPS://example.com/",
        "/gradio_api/file=ftp://example.com/",
        "/gradio_api/file/http://example.com/",
        "/gradio_api/proxy=https://x.example/y",
    ],
)
def test_nothing_is_fetched_for_others(ask: Any, path: str) -> None:
    assert ask(path)[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "uploads/../../etc/passwd",
        "FOLDER/../secret",
        "FOLDER",
        "FOLDER/gone.mp4",
        "http://127.0.0.1/x",
        "a\0b",
        "~/.ssh/id_rsa",
        7,
        ["x"],
    ],
)
def test_requests_name_only_files_of_the_page(ask: Any, tmp_path: Path, path: object) -> None:
    if isinstance(path, str):
        path = path.replace("FOLDER", str(tmp_path / "uploads"))
    body = json.dumps({"data": [1, [{"deep": {"path": path, "meta": {}}}]]}).encode()
    status, said, _ = ask("/gradio_api/queue/join", body=body)
    assert status == 403 and b"uploaded to this page" in said


def test_its_own_files_and_everything_else_go_through_unchanged(ask: Any, tmp_path: Path) -> None:
    own = str(tmp_path / "uploads" / "own.mp4")
    for document in (
        {"data": [{"path": own}]},
        {"data": [{"path": None, "url": "data:image/webp;base64,AA"}]},
        3,
    ):
        body = json.dumps(document).encode()
        assert ask("/gradio_api/queue/join", body=body)[:2] == (200, body)
    assert ask("/gradio_api/x", body=b"{nonsense")[0] == 400
    assert ask("/gradio_api/x", body=b"[" * 200_000)[0] == 400
    assert ask("/gradio_api/x", body=bytes(9 * 2**20))[0] == 413


@pytest.mark.parametrize(("length", "status"), [("900", 200), ("1100000", 413), ("x", 413), ("-1", 413)])
def test_uploads_have_a_size(ask: Any, length: str, status: int) -> None:
    kind = "multipart/form-data; boundary=B"
    got, said, _ = ask("/gradio_api/upload", body=b"", content_type=kind, content_length=length)
    assert got == status and (status == 200 or b"too large" in said)


@pytest.mark.parametrize("path", ["/gradio_api/process_recording", "/gradio_api/component_server", "/upload"])
def test_uploads_go_to_one_place(ask: Any, path: str) -> None:
    kind = "multipart/form-data; boundary=B"
    status, said, _ = ask(path, body=b"", content_type=kind, content_length="900")
    assert status == 403 and b"takes files at /gradio_api/upload" in said


@pytest.mark.parametrize("length", [{}, {"content_length": "9"}])
def test_uploads_in_pieces_are_refused(ask: Any, length: dict[str, str]) -> None:
    sent = {"content_type": "multipart/form-data; boundary=B", "transfer_encoding": "chunked"} | length
    status, said, _ = ask("/gradio_api/upload", body=b"", **sent)
    assert status == 411 and b"how large it is" in said
    del sent["transfer_encoding"]
    assert ask("/gradio_api/upload", body=b"", **sent)[0] == (200 if length else 411)


def test_uploads_end_when_there_is_no_room(ask: Any, tmp_path: Path) -> None:
    kind = "multipart/form-data; boundary=B"
    (tmp_path / "uploads" / "much").write_bytes(bytes(9500))
    status, said, _ = ask("/gradio_api/upload", body=b"", content_type=kind, content_length="900")
    assert status == 507 and b"no room" in said


def test_uploads_on_their_way_need_room_too(tmp_path: Path) -> None:
    async def statuses() -> list[list[int]]:
        arrived = asyncio.Event()

        async def take(scope: Message, receive: Any, send: Any) -> None:
            await arrived.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        guard = Guard(take, folder=tmp_path, most_bytes=1000, most_stored=2500, local=False)

        async def upload() -> int:
            told: list[int] = []

            async def send(message: Message) -> None:
                told.append(message.get("status", 0))

            headers = {"content-type": "multipart/form-data; boundary=B", "content-length": "1000"}
            named = [(name.encode(), value.encode()) for name, value in headers.items()]
            scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload", "headers": named}
            await guard(scope, upload, send)
            return told[0]

        together = [asyncio.create_task(upload()) for _ in range(4)]
        await asyncio.sleep(0)
        arrived.set()
        return [await asyncio.gather(*together), [await upload()]]

    assert asyncio.run(statuses()) == [[200, 200, 507, 507], [200]]


def test_what_a_broken_off_upload_left_is_deleted(ask: Any, tmp_path: Path) -> None:
    folder, hours_ago = tmp_path / "uploads", time.time() - 7200
    (folder / "whole").mkdir()
    left, coming, whole = folder / "tmpleft", folder / "tmpcoming", folder / "whole" / "a.mp4"
    for path, size in ((left, 3000), (coming, 1000), (whole, 1000)):
        path.write_bytes(bytes(size))
    for path in (left, whole, folder / "whole"):
        os.utime(path, (hours_ago, hours_ago))
    kind = "multipart/form-data; boundary=B"
    assert ask("/gradio_api/upload", body=b"", content_type=kind, content_length="900")[0] == 200
    assert not left.exists() and coming.exists() and whole.exists()


@pytest.mark.quick
@pytest.mark.parametrize(
    ("seconds", "short", "text"),
    [
        (0.3, True, "0.3 s"),
        (30, True, "30 s"),
        (90, True, "1:30"),
        (3600, True, "1:00:00"),
        (5430, True, "1:30:30"),
        (59.94, False, "59.9 s"),
        (59.97, False, "1:00.0"),
        (119.97, False, "2:00.0"),
        (3599.96, False, "1:00:00.0"),
        (3725.5, False, "1:02:05.5"),
    ],
)
def test_times_as_players_write_them(seconds: float, short: bool, text: str) -> None:
    assert drawing._clock(seconds, short=short) == text
