"""The page as a Hugging Face Space: the models below, on the port that a Space serves."""

from __future__ import annotations

import time

from slowfast_zoo.runtime.devices import to_device
from slowfast_zoo.runtime.machine import exiting_on_signals
from slowfast_zoo.web.offers import published_offer
from slowfast_zoo.web.page import open_page
from slowfast_zoo.weights.catalog import get_weights

MODELS = ("slowfast_tiny", "slowfast_r50_4x16x1", "slowfast_r50_8x8x1", "slowfast_r101_8x8x1")

if __name__ == "__main__":
    with exiting_on_signals():
        offers = [published_offer(get_weights(name)) for name in MODELS]
        page = open_page(offers, device=to_device(None), host="0.0.0.0", port=7860, most_bytes=64 * 2**20)
        try:
            while True:
                time.sleep(3600)
        finally:
            page.close()
