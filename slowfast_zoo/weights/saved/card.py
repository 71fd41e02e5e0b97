"""The model card: ``README.md`` of a saved model, with the Hub's metadata in front.

Source: the metadata's keys are those of https://huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from slowfast_zoo.weights.saved.config import SavedConfig

FOLDER_SOURCE = '"./path/to/this/folder"'
"""Stands in the example of a folder's card; a push to the Hub puts the repository in its place."""

# Rows of the input table: field of ``ClipSpec`` and what it means.
_CLIP_ROWS = {
    "num_frames": "frames in a clip",
    "frame_stride": "source frames per clip frame",
    "time_base": "what the stride counts",
    "fps": "frame rate that the stride refers to",
    "sampling": "rule for clip starts and frames",
    "short_video": "what fills a clip that is longer than its video",
    "size": "shorter side, or width and height, after resizing (pixels)",
    "resize": "interpolation",
    "test_crop": "crop for predictions (pixels)",
    "clips": "clips in time",
    "crops": "crops in space",
    "crop_rule": "where the crops lie",
    "box_rule": "how boxes are scaled and clipped",
    "mean": "subtracted, per channel",
    "std": "divided by, per channel",
    "pixel_range": "range of the pixels before that",
    "aggregate": "how the views become one score per class",
    "approximate": "what of the publisher's pipeline can't be repeated exactly",
}


def model_card(config: SavedConfig, source: str) -> str:
    """The text of ``README.md``.

    Args:
        config: the saved model.
        source: the argument of ``from_pretrained`` as it is written in Python.
    """
    spec, provenance = config.model_spec, config.provenance
    name = str(provenance.get("model") or "SlowFast")
    depths = f"R{spec.depth}" if spec.depth == spec.fast_depth else f"R{spec.depth} and R{spec.fast_depth}"
    gives = f"scores for {spec.num_classes} classes" if spec.num_classes else f"{spec.num_features} features"
    use = 'predict(model, "video.mp4")' if spec.num_classes else 'extract_features(model, "video.mp4")'
    if spec.roi is not None:
        gives, use = f"{gives} for each person", 'detect(model, "video.mp4", detector="person")'
    parts = [
        f"---\n{_metadata(config)}\n---",
        f"# {_inline(name)}",
        f"A SlowFast video network ({depths}): a clip of {spec.num_frames} frames, of which the slow pathway"
        f" sees {spec.slow_frames}, gives {gives}.",
        "```python\nimport slowfast_zoo\n"
        f"model = slowfast_zoo.from_pretrained({source})\n"
        f"print(slowfast_zoo.{use})\n```",
        "## Input\n\nThe library prepares every video in this way, which `config.json` holds complete.",
        _table(
            ("rule", "value"),
            (
                (f"`{field}`: {meaning}", value)
                for field, meaning in _CLIP_ROWS.items()
                if (value := getattr(config.clip_spec, field)) not in (None, "", "none")
            ),
        ),
    ]
    if config.metrics:
        parts += ["## Metrics", _table(("metric", "value"), config.metrics.items())]
    # What is nested (a training's settings) stays in config.json.
    origin = [(k, v) for k, v in provenance.items() if isinstance(v, str | int | float) and v != ""]
    start = provenance.get("initialized_from")
    if isinstance(start, dict) and (begun := start.get("tag") or start.get("file")):
        origin.append(("initialized from", begun))
    if origin:
        parts += ["## Source", _table(("fact", "value"), origin)]
    if config.labels:
        table = _table(("index", "name"), enumerate(config.labels))
        parts += [
            "## Classes",
            f"<details><summary>{len(config.labels)} names</summary>",
            table,
            "</details>",
        ]
    return "\n\n".join(parts) + f"\n\nSaved by slowfast_zoo {config.library_version}.\n"


def _metadata(config: SavedConfig) -> str:
    """YAML; every value is written as JSON, which YAML includes."""
    given = config.provenance.get("license")
    values: dict[str, Any] = {
        "library_name": "slowfast_zoo",
        "pipeline_tag": "video-classification",
        "tags": ["slowfast", "video-classification", "action-recognition"],
    }
    if isinstance(given, str) and given:
        is_identifier = re.fullmatch(r"[a-z0-9.+-]+", given.lower())
        values = {"license": given.lower() if is_identifier else "other"} | values
    return "\n".join(f"{key}: {json.dumps(value)}" for key, value in values.items())


def _table(head: tuple[str, str], rows: Iterable[tuple[Any, Any]]) -> str:
    lines = [head, ("---", "---"), *((_inline(key), _inline(value)) for key, value in rows)]
    return "\n".join(f"| {key} | {value} |" for key, value in lines)


def _inline(value: Any) -> str:
    """A value as one line of Markdown in which it can't become markup, but for web addresses."""
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:g}"
    text = " ".join(str(value).split())
    if urlsplit(text).scheme == "https" and not set(text) & set(" <>|"):
        return f"<{text}>"
    for sign in "\\|<[*":
        text = text.replace(sign, f"\\{sign}")
    return text
