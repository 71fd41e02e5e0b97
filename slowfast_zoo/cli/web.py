"""``slowfast-zoo web``: the page in the browser."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slowfast_zoo.cli import options as opt
from slowfast_zoo.cli.models import HELP, ModelType
from slowfast_zoo.cli.options import command, echo
from slowfast_zoo.naming import ModelRef, parse

if TYPE_CHECKING:
    from slowfast_zoo.web.offers import Offer


@command(
    "web", "web", "web --model work_dirs/finetune-data/model --model slowfast_r50_8x8x1", "web --host 0.0.0.0"
)
@click.option(
    "--model", "models", type=ModelType(), multiple=True, help=f"{HELP}; may be repeated.  [default: all]"
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is all.")
@click.option("--port", type=click.IntRange(0, 65535), default=7860, show_default=True, help="0: a free one.")
@opt.count("--max-mb", 256, "Largest upload, in megabytes.")
@opt.count("--jobs", 2, "Videos that are worked on at once; others wait.")
@opt.device
@opt.threads
@click.option("--open/--no-open", "browser", default=False, help="Open it in this machine's browser.")
def web_command(
    models: tuple[str, ...],
    host: str,
    port: int,
    max_mb: int,
    jobs: int,
    device: str | None,
    threads: int | None,
    browser: bool,
) -> None:
    """Opens a page in the browser: a video in, bars, a timeline that moves the player, what the network saw.

    It listens on this machine only, unless --host says otherwise: whoever reaches it may use it, so put a
    proxy that authenticates users in front of a public one. Needs the extra "web".
    """
    from slowfast_zoo.runtime.devices import to_device
    from slowfast_zoo.web.offers import published_offers
    from slowfast_zoo.web.page import open_page

    opt.use_threads(threads)
    offers = _offers([parse(text) for text in dict.fromkeys(models)]) or published_offers()
    page = open_page(
        offers,
        device=to_device(device),
        host=host,
        port=port,
        most_bytes=max_mb * 2**20,
        jobs=jobs,
        browser=browser,
    )
    echo(f"Open {page.local_url}  (Ctrl-C ends it)")
    try:
        while True:
            time.sleep(3600)
    finally:
        page.close()


def _offers(models: Sequence[ModelRef]) -> list[Offer]:
    """What is offered; of one's own models the page tells no more of the path than tells them apart."""
    from slowfast_zoo.web.offers import published_offer

    paths = [model.path.resolve() for model in models if model.path is not None]
    offers = []
    for model in models:
        if model.entry is not None:
            offers.append(published_offer(model.entry))
            continue
        assert model.path is not None
        offers.append(_own(model, _short(model.path.resolve(), paths)))
    return offers


def _short(path: Path, others: Sequence[Path]) -> str:
    """The end of a path that no other of the paths has."""
    for length in range(1, len(path.parts)):
        tail = path.parts[-length:]
        if sum(other.parts[-length:] == tail for other in others) == 1:
            return "/".join(tail)
    return str(path)


def _own(model: ModelRef, name: str) -> Offer:
    """A folder or file of one's own."""
    from slowfast_zoo.web.offers import Offer
    from slowfast_zoo.weights.checkpoint.reading import read_checkpoint
    from slowfast_zoo.weights.saved.config import config_in, read_config
    from slowfast_zoo.weights.saved.folder import CONFIG
    from slowfast_zoo.weights.store import open_file

    assert model.path is not None
    folder = model.path.is_dir()
    config = read_config(model.path / CONFIG) if folder else config_in(read_checkpoint(model.path))
    code = f"zoo.from_pretrained(Path({name!r}))"
    if config is None:
        config = open_file(model.path).config
        code = f'zoo.create_model("{config.provenance["model"]}", weights=Path({name!r}))'
    return Offer(name, "its own", model.load, code, name, config.model_spec.roi is not None)
