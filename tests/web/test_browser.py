"""The page in a real browser: python -m pytest -m browser

Needs the extra "web", playwright, and Chromium (the system's, or "playwright install chromium").
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from web_sessions import HOSTILE, Visitor, labels_of, refused

from slowfast_zoo.data.persons.boxes import person_boxes
from slowfast_zoo.web import page as pages
from slowfast_zoo.web.offers import Models, Offer, published_offers
from slowfast_zoo.web.studio import Studio
from tests.support.movies import moving_pattern, write_video
from tests.support.small_nets import roi_model

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
EXAMPLE = Path(__file__).parents[2] / "examples" / "pan_right.mp4"
HERE = Path(pages.__file__).parent
PATIENCE = 180_000  # milliseconds: a busy machine isn't a wrong one
NOW = "document.querySelector('#sfz-video video').currentTime"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    page = pages.open_page(published_offers()[:1], device=torch.device("cpu"), port=0, most_bytes=8 * 2**20)
    yield page.local_url
    page.close()


@pytest.fixture
def visit(url: str, browser: Browser) -> Iterator[Any]:
    """Opens the page as somebody new; in the end no request has left for another host."""
    contexts, strange = [], []

    def visited(**options: Any) -> Page:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith((url, "data:", "blob:")) else strange.append(request.url)
            ),
        )
        page.goto(url)
        page.wait_for_selector(".sfz-examples button")
        return page

    yield visited
    for context in contexts:
        context.close()
    assert strange == []


def give(page: Page, video: Path) -> None:
    page.set_input_files("#sfz-video input[type=file]", video)
    page.wait_for_selector("#sfz-video video")


def look(page: Page) -> None:
    page.click("#sfz-run")
    page.wait_for_selector(".sfz-machine, .sfz-error")


def two_minutes(folder: Path) -> Path:
    frames = moving_pattern(600)[list(range(600)) * 6]
    return write_video(folder / "long.mp4", frames, codec="libx264", pixels="yuv420p")


def best(page: Page) -> str:
    return page.inner_text(".sfz-best span")


def test_upload_label_timeline_player_and_files(visit: Any) -> None:
    page = visit()
    give(page, EXAMPLE)
    look(page)
    assert best(page) == "pan right"
    box = page.locator(".sfz-plot").bounding_box()
    for share in (0.7, 0.2):
        page.mouse.click(box["x"] + share * box["width"], box["y"] + 10)
        page.wait_for_function(f"Math.abs({NOW} - {3 * share}) < 0.05")
    page.click(".sfz-rows tr >> nth=0")
    page.wait_for_function(f"{NOW} === 0")
    page.evaluate(f"{NOW} = 1.5")
    page.wait_for_function("Math.abs(parseFloat(document.querySelector('.sfz-head').style.left) - 50) < 1")
    for button, begins in (("#sfz-csv", "source,start_seconds"), ("#sfz-srt", "1\n00:00:00,000 --> ")):
        with page.expect_download() as download:
            page.click(button)
        assert download.value.suggested_filename.startswith("pan_right.")
        assert Path(download.value.path()).read_text(encoding="utf-8").startswith(begins)
    page.click("#sfz-call button >> nth=0")
    page.wait_for_selector("text=slowfast-zoo predict pan_right.mp4")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click(".sfz-copy >> nth=1")
    page.wait_for_selector("text=Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.inner_text(".sfz-call pre >> nth=1") and copied.startswith("slowfast-zoo predict")


def test_an_example_is_one_click(visit: Any) -> None:
    page = visit()
    page.click(".sfz-examples button >> nth=1")
    page.wait_for_selector("#sfz-video video")
    look(page)
    assert best(page) == "zoom out"
    page.click("#sfz-pathways button >> nth=0")
    page.wait_for_function("document.querySelector('#sfz-pathways img').naturalWidth > 400")


def test_a_long_job_is_stopped(visit: Any, tmp_path: Path) -> None:
    page = visit()
    give(page, two_minutes(tmp_path))
    page.click("#sfz-run")
    page.wait_for_selector("text=/Timeline: \\d+ of 2\\d\\d windows/")
    page.click("#sfz-stop")
    page.wait_for_selector(".sfz-machine")
    assert "Stopped" in page.inner_text(".sfz-state")
    page.wait_for_selector("#sfz-csv:not([disabled])")
    give_again = page.locator("#sfz-run")
    assert give_again.is_enabled()


def test_another_video_ends_the_answer_before(visit: Any, tmp_path: Path) -> None:
    page, long = visit(), two_minutes(tmp_path)
    for _ in range(3):  # one more than are worked on at once
        give(page, long)
        page.click("#sfz-run")
        page.wait_for_selector("text=/Timeline: \\d+ of /")
        page.click("#sfz-video button[aria-label=Clear]")
        page.wait_for_selector("#sfz-answer .sfz-empty")
        page.wait_for_selector("#sfz-video video", state="detached")
    page.click(".sfz-examples button >> nth=1")
    page.wait_for_selector("#sfz-video video")
    look(page)
    assert best(page) == "zoom out" and page.locator("#sfz-csv").is_enabled()
    page.click(".sfz-examples button >> nth=2")
    page.wait_for_selector("#sfz-answer .sfz-empty")
    assert page.locator("#sfz-csv").is_disabled() and page.locator("#sfz-run").is_enabled()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(visit: Any, scheme: str) -> None:
    page = visit(color_scheme=scheme)
    page.click("button:has-text('More')")
    pale = page.evaluate(
        """() => {
            const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
            const linear = (value) => (value <= 10 ? value / 3295 : ((value / 255 + 0.055) / 1.055) ** 2.4);
            const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
            const behind = (element) => {
                const color = numbers(getComputedStyle(element).backgroundColor);
                return color[3] === 0 && element.parentElement ? behind(element.parentElement) : color;
            };
            return [...document.querySelectorAll("body *")].filter((element) => {
                const told = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
                if (!told || !element.offsetParent || element.disabled) return false;
                const pair = [numbers(getComputedStyle(element).color), behind(element)].map(luminance);
                return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05) < 4.5;
            }).map((element) => element.textContent);
        }"""
    )
    assert pale == []


def test_two_visitors_have_their_own_answers(visit: Any) -> None:
    first, second = visit(), visit()
    give(first, EXAMPLE)
    second.click(".sfz-examples button >> nth=2")
    second.wait_for_selector("#sfz-video video")
    first.click("#sfz-run")
    look(second)
    first.wait_for_selector(".sfz-machine")
    assert (best(first), best(second)) == ("pan right", "shake")


def test_html_in_a_name_is_text(visit: Any, tmp_path: Path) -> None:
    page = visit()
    page.evaluate("window.told = 0")
    name = "<img src=x onerror='window.told = 1'>${window.told = 2}.mp4"
    for content in (b"this is text", EXAMPLE.read_bytes()):
        (tmp_path / name).write_bytes(content)
        page.set_input_files("#sfz-video input[type=file]", tmp_path / name)
        page.wait_for_timeout(1500)
        look(page)
        page.click("#sfz-video button[aria-label=Clear]")
    assert best(page) == "pan right"
    assert page.evaluate("window.told") == 0 and page.locator("#sfz-answer img").count() == 0


def test_the_webcam_is_answered(visit: Any) -> None:
    page = visit()
    page.click("button[role=tab]:has-text('Webcam')")
    page.click("#sfz-webcam button:has-text('webcam'), #sfz-webcam button[title*=access]")
    page.click("#sfz-webcam button[aria-label*=ecord], #sfz-webcam button:has-text('Record')")
    page.wait_for_selector("#sfz-now .sfz-bar")
    assert "s old" in page.inner_text("#sfz-now")


def test_nothing_is_wider_than_a_telephone(visit: Any) -> None:
    page = visit(viewport={"width": 390, "height": 800})
    page.click(".sfz-examples button >> nth=0")
    page.wait_for_selector("#sfz-video video")
    look(page)
    page.click("#sfz-call button >> nth=0")
    page.click("#sfz-pathways button >> nth=0")
    page.wait_for_selector(".sfz-call pre")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_boxes_follow_the_player(url: str, browser: Browser, tmp_path: Path) -> None:
    boxes = person_boxes(np.array([[8.0, 4, 30, 40], [34, 8, 60, 44]]))
    offer = Offer("persons", "own", roi_model, "", "", persons=True)
    studio = Studio(Models([offer], torch.device("cpu")), Path(os.environ["GRADIO_TEMP_DIR"]), boxes)
    served = pages.build_page(studio, [], most_bytes=2**20, jobs=1)
    served.launch(prevent_thread_lock=True, quiet=True, css=(HERE / "page.css").read_text(encoding="utf-8"))
    context = browser.new_context()
    try:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(served.local_url)
        frames = moving_pattern(60).repeat(4, axis=1).repeat(4, axis=2)
        give(page, write_video(tmp_path / "two.mp4", frames, codec="libx264", pixels="yuv420p"))
        look(page)
        # At once, as the boxes are drawn anew while the player goes on.
        found, video = page.wait_for_function(
            """() => {
                const boxes = document.querySelectorAll('.sfz-boxes div');
                const player = document.querySelector('#sfz-video video');
                const places = [boxes[0], player].map(each => each?.getBoundingClientRect().toJSON());
                return boxes.length === 2 && places;
            }"""
        ).json_value()
        page.screenshot(path=os.environ.get("SFZ_SHOT", tmp_path / "boxes.png"))
        wide = min(video["width"] / 256, video["height"] / 192) * 256
        left = video["x"] + (video["width"] - wide) / 2 + 8 / 256 * wide
        assert abs(found["x"] - left) < 3 and abs(found["width"] - 22 / 256 * wide) < 5
        assert page.locator(".sfz-rows tr").count() >= 2
        assert page.locator("#sfz-call").is_visible() and page.locator("#sfz-pathways").is_hidden()
        assert page.locator("button[role=tab]:has-text('Webcam')").count() == 0
        page.click("#sfz-video button[aria-label=Clear]")
        page.wait_for_selector("#sfz-pathways")
    finally:
        context.close()
        served.close()


def test_the_examples_outlive_uploads() -> None:
    from gradio.route_utils import delete_files_created_by_app

    served = pages.open_page(published_offers()[:1], device=torch.device("cpu"), port=0)
    try:
        visitor, folder = Visitor(served.local_url), Path(os.environ["GRADIO_TEMP_DIR"])
        uploaded = Path(visitor.upload("mine.mp4", EXAMPLE.read_bytes()).json()[0])
        example = folder / "examples" / "zoom_out.mp4"
        for path, label in ((uploaded, "pan right"), (example, "zoom out")):
            assert labels_of(visitor.look(str(path))[-1])[0] == label
        delete_files_created_by_app(served, 0)
        assert example.exists() and not uploaded.exists()
    finally:
        served.close()


@pytest.mark.parametrize("title", HOSTILE)
def test_hostile_uploads_are_refused_in_a_sentence(url: str, title: str) -> None:
    visitor = Visitor(url)
    assert refused(visitor, *HOSTILE[title])
    assert not Path("/tmp/sfz_climbed.mp4").exists()


def test_files_of_the_machine_stay_there(url: str) -> None:
    visitor = Visitor(url)
    assert visitor.upload_header(2**31) == 413
    for path in ("/etc/passwd", str(EXAMPLE), "http://127.0.0.1/"):
        assert "was uploaded to this page" in visitor.look(path)[-1]
    for path in ("/etc/passwd", str(EXAMPLE), str(Path.home())):
        assert visitor._client.get(f"/gradio_api/file={path}").status_code == 403
    uploaded = visitor.upload("mine.mp4", EXAMPLE.read_bytes()).json()[0]
    assert labels_of(visitor.look(uploaded)[-1])[0] == "pan right"
