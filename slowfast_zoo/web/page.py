"""The page itself: what stands where, and what happens at a click."""

import atexit
import base64
import os
import socket
import tempfile
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch

from slowfast_zoo.errors import InputError, SlowFastZooError
from slowfast_zoo.inference.engines import EngineName
from slowfast_zoo.runtime.machine import environment
from slowfast_zoo.runtime.packages import require
from slowfast_zoo.video.sources.contents import MAX_PIXELS
from slowfast_zoo.web.drawing import WELCOME, answer_html, calls_html, live_html
from slowfast_zoo.web.examples import Example, copy_examples
from slowfast_zoo.web.guard import FORGOTTEN_SECONDS, Guard, in_words, is_loopback
from slowfast_zoo.web.offers import Models, Offer
from slowfast_zoo.web.studio import MOST_STREAMS, VIEWS, Answer, Asked, Studio, as_code, as_command

if TYPE_CHECKING:
    import gradio as gr

_HERE = Path(__file__).parent
_PICK = """
element.addEventListener("click", (event) => {
  const card = event.target.closest("[data-example]");
  if (card) trigger("pick", { number: Number(card.dataset.example) });
});
"""
_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""No spinner of Gradio's, and no entry in its programming interface."""
_LIVE_SECONDS = 600


def open_page(
    offers: Iterable[Offer],
    *,
    device: torch.device,
    host: str = "127.0.0.1",
    port: int = 7860,
    most_bytes: int = 256 * 2**20,
    jobs: int = 2,
    browser: bool = False,
) -> "gr.Blocks":
    """Serves the page, in threads of its own; ``close()`` of what comes back ends it.

    Args:
        offers: the models, the first one chosen.
        device: where they compute.
        host: the name or number to listen on; only the loopback address keeps other machines out.
        port: of the address; 0: any that is free.
        most_bytes: of an upload.
        jobs: videos that are worked on at once; others wait in a queue.
        browser: whether to open it in this machine's browser.

    Raises:
        MissingDependencyError: Gradio isn't installed.
        InputError: the address can't be listened on.
    """
    # Before Gradio is imported: nothing of what visitors do is reported to anybody.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    gradio = require("gradio", "slowfast-zoo[web]")
    from PIL import Image
    from starlette.middleware import Middleware

    host = host.removeprefix("[").removesuffix("]")
    port = _bound(host, port)
    room = tempfile.TemporaryDirectory(prefix="slowfast-zoo-web-", ignore_cleanup_errors=True)
    atexit.register(room.cleanup)
    folder = Path(room.name).resolve()
    os.environ["GRADIO_TEMP_DIR"] = str(folder)  # where Gradio puts uploads, and what it serves
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # of a webcam's pictures Pillow refuses those with twice as many
    studio = Studio(Models(offers, device), folder)
    page = build_page(studio, copy_examples(folder / "examples"), most_bytes=most_bytes, jobs=jobs)
    limits: dict[str, Any] = {"folder": folder, "most_bytes": most_bytes, "most_stored": 16 * most_bytes}
    guard = Middleware(Guard, **limits, local=is_loopback(host))
    try:
        # Meanwhile Gradio asks its own address whether it serves, which no proxy can reach.
        with environment(NO_PROXY="*", no_proxy="*"):
            page.launch(
                server_name=f"[{host}]" if ":" in host else host,
                server_port=port,
                max_file_size=most_bytes,
                app_kwargs={"middleware": [guard], "docs_url": None, "redoc_url": None, "openapi_url": None},
                prevent_thread_lock=True,
                quiet=True,
                share=False,
                inbrowser=browser,
                footer_links=[],
                run_history=False,
                ssr_mode=False,
                enable_monitoring=False,
                theme=_theme(gradio),
                css=(_HERE / "page.css").read_text(encoding="utf-8"),
            )
    except OSError as error:
        room.cleanup()
        raise _refusal(host, port, error) from error
    return page


def build_page(studio: Studio, examples: list[Example], *, most_bytes: int, jobs: int) -> "gr.Blocks":
    """The page, not yet served.

    Args:
        studio: what answers.
        examples: clips to choose from.
        most_bytes: of an upload, to be said.
        jobs: videos that are worked on at once.
    """
    import gradio as gr

    cleaning = (300, FORGOTTEN_SECONDS)
    with gr.Blocks(title="slowfast_zoo", analytics_enabled=False, delete_cache=cleaning) as page:
        gr.HTML('<div class="sfz-title"><h1>slowfast_zoo</h1><p>What happens in a video, and when.</p></div>')
        with gr.Tab("Video"):
            _video_tab(gr, studio, examples, in_words(most_bytes), jobs)
        if offers := studio.models.of_webcams():
            with gr.Tab("Webcam"):
                _webcam_tab(gr, studio, offers)

        def leave(request: gr.Request) -> None:
            studio.forget(_session(request))

        page.unload(leave)
    page.queue(max_size=64, api_open=False)
    return page


def _video_tab(gr: Any, studio: Studio, examples: list[Example], limit: str, jobs: int) -> None:
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            video = _player(gr, examples)
            gr.HTML(f'<p class="sfz-dim">Up to {limit}; deleted after an hour.</p>')
            cards = gr.HTML(_cards(examples), js_on_load=_PICK)
            chosen = _choices(gr, studio.models)
            with gr.Row():
                run = gr.Button("Look", variant="primary", elem_id="sfz-run")
                stop = gr.Button("Stop", interactive=False, elem_id="sfz-stop")
        with gr.Column(scale=7, min_width=320):
            script = (_HERE / "page.js").read_text(encoding="utf-8")
            shown = gr.HTML(WELCOME, js_on_load=script, elem_id="sfz-answer")
            with gr.Row():
                csv = gr.DownloadButton("Segments as CSV", interactive=False, elem_id="sfz-csv")
                srt = gr.DownloadButton("Subtitles as SRT", interactive=False, elem_id="sfz-srt")
    with gr.Accordion("What the two pathways saw", open=False, elem_id="sfz-pathways") as pathways:
        sheet = gr.Image(show_label=False, interactive=False, buttons=["fullscreen"])
    with gr.Accordion("The same call", open=False, elem_id="sfz-call"):
        script = (_HERE / "copy.js").read_text(encoding="utf-8")
        calls = gr.HTML(calls_html({}), js_on_load=script)

    def look(
        path: str | None,
        model: str,
        weights: str,
        engine: str,
        views: str,
        hop: float,
        request: gr.Request,
    ) -> Iterator[tuple[Any, ...]]:
        session, asked = _session(request), Asked(model, weights, engine, views, hop)
        finished = False
        for answer in studio.answers(session, Path(path) if path else None, asked):
            finished = answer.finished
            yield _updates(gr, studio, answer, asked)
        if not (finished or studio.is_asked(session)):
            yield anew()  # what was said last may have come after the visitor left

    def halt(request: gr.Request) -> None:
        studio.stop(_session(request))

    def anew() -> tuple[Any, ...]:
        """What is known of one video never stands beside another one."""
        seen = gr.Accordion(visible=True)
        return WELCOME, None, seen, *_files(gr, {}), calls_html({}), *_buttons(gr, busy=False)

    def leave(request: gr.Request) -> tuple[Any, ...]:
        studio.leave(_session(request))
        return anew()

    def pick(event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        return str(examples[int(event.number)].path), *leave(request)

    outputs = [shown, sheet, pathways, csv, srt, calls, run, stop]
    # Several: a click counts while the answer that was left is still ending.
    run.click(
        look,
        [video, *chosen],
        outputs,
        concurrency_limit=jobs,
        concurrency_id="network",
        trigger_mode="multiple",
        **_QUIET,
    )
    stop.click(halt, queue=False, **_QUIET)
    video.clear(leave, None, outputs, queue=False, **_QUIET)
    cards.pick(pick, None, [video, *outputs], queue=False, **_QUIET)


def _player(gr: Any, examples: list[Example]) -> Any:
    """Where the video is; examples lie where uploads do, and aren't deleted with them."""
    video = gr.Video(show_label=False, sources=["upload"], height=330, elem_id="sfz-video")
    video.keep_in_cache.update(str(example.path) for example in examples)
    return video


def _choices(gr: Any, models: Models) -> list[Any]:
    """Model, weights, engine, views, hop: in the order of ``Asked``."""
    first = models.names()[0]
    with gr.Row():
        model = gr.Dropdown(models.names(), value=first, label="Model", min_width=200, elem_id="sfz-model")
        weights = gr.Dropdown(
            models.weights_of(first), value=models.weights_of(first)[0], label="Weights", min_width=200
        )
    with gr.Accordion("More", open=False), gr.Row():
        engine = gr.Dropdown(list(get_args(EngineName)), value="auto", label="Engine", min_width=120)
        views = gr.Dropdown(list(VIEWS), value="quick", label="Views", min_width=120)
        hop = gr.Slider(
            0.1, 10, value=0.5, step=0.1, label="Seconds between windows", min_width=280, elem_id="sfz-hop"
        )

    def offered(name: str) -> Any:
        found = models.weights_of(name)
        return gr.Dropdown(found, value=found[0] if found else None)

    model.change(offered, model, weights, **_QUIET)
    return [model, weights, engine, views, hop]


def _webcam_tab(gr: Any, studio: Studio, offers: dict[str, Offer]) -> None:
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            picture = gr.Image(
                sources=["webcam"], streaming=True, type="numpy", show_label=False, elem_id="sfz-webcam"
            )
            model = gr.Dropdown(list(offers), value=next(iter(offers)), label="Model and weights")
            gr.HTML(
                '<p class="sfz-dim">A browser sends about ten pictures a second; weights that were trained on'
                " more see the motion faster than it is. Pictures are not kept.</p>"
            )
        with gr.Column(scale=7, min_width=320):
            now = gr.HTML('<div class="sfz-empty">What happens now stands here.</div>', elem_id="sfz-now")

    def watch(frame: Any, name: str, request: gr.Request) -> Any:
        if frame is None:
            return gr.skip()
        try:
            asked = Asked(offers[name].model, offers[name].weights)
            result = studio.live(_session(request), frame, asked)
        except SlowFastZooError as error:
            return f'<div class="sfz-error" role="alert">{escape(str(error))}</div>'
        return gr.skip() if result is None else live_html(result)

    picture.stream(
        watch,
        [picture, model],
        now,
        stream_every=0.1,
        time_limit=_LIVE_SECONDS,
        concurrency_limit=MOST_STREAMS,
        **_QUIET,
    )


def _updates(gr: Any, studio: Studio, answer: Answer, asked: Asked) -> tuple[Any, ...]:
    """The answer, its picture, files and calls, where those of the one before stood, and the buttons."""
    files = {path.suffix: str(path) for path in answer.files}
    calls = calls_html({})
    if answer.finished and answer.error is None:
        offer = studio.models.offer(asked.model, asked.weights)
        command = as_command(offer.argument, answer, asked)
        calls = calls_html({"Python": as_code(offer.code, answer, asked), "Command line": command})
    return (
        answer_html(answer),
        str(answer.sheet) if answer.finished and answer.sheet else None,
        gr.Accordion(visible=answer.detections is None),  # of persons there is no such picture
        *_files(gr, files),
        calls,
        *_buttons(gr, busy=not answer.finished),
    )


def _files(gr: Any, files: dict[str, str]) -> tuple[Any, ...]:
    return tuple(
        gr.DownloadButton(value=files.get(end), interactive=end in files) for end in (".csv", ".srt")
    )


def _buttons(gr: Any, *, busy: bool) -> tuple[Any, ...]:
    """Look and Stop."""
    return gr.Button(interactive=not busy), gr.Button(interactive=busy)


def _cards(examples: list[Example]) -> str:
    cards = "".join(
        f'<button type="button" data-example="{number}"><img alt="" src="data:image/jpeg;base64,'
        f'{base64.b64encode(example.thumbnail).decode()}"><span>{escape(example.title)}</span></button>'
        for number, example in enumerate(examples)
    )
    return f'<div class="sfz-examples">{cards}</div>'


def _theme(gradio: Any) -> Any:
    """Fonts of the visitor's own system: none is fetched."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
    theme = gradio.themes.Base(
        primary_hue="amber", neutral_hue="slate", radius_size="lg", font=fonts, font_mono=mono
    )
    # Gradio's own choices, white on amber and a pale gray, reach 2.2 and 2.6 to 1, where 4.5 to 1 is needed.
    return theme.set(
        body_text_color_subdued="*neutral_500",
        button_primary_text_color="#10131a",
        button_primary_text_color_dark="#10131a",
        button_primary_background_fill_dark="*primary_500",
        button_primary_background_fill_hover_dark="*primary_400",
    )


def _session(request: "gr.Request") -> str:
    return request.session_hash or ""


def _bound(host: str, port: int) -> int:
    """The port, a free one for 0, which can be listened on.

    Raises:
        InputError: it can't.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":  # as servers do: connections that are ending don't hold the port
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except (OSError, UnicodeError) as error:
        raise _refusal(host, port, error) from error


def _refusal(host: str, port: int, error: Exception) -> InputError:
    """Why an address can't be listened on; Gradio's own text, without a reason, names its settings."""
    address = f"[{host}]" if ":" in host else host
    reason = error.strerror if isinstance(error, OSError) else error
    return InputError(
        f"{address}:{port} can't be listened on: {reason or 'the port is taken'}; give another port="
        " (0: a free one) or host=."
    )
