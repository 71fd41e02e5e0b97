"""What was measured of engines, kept beside what they compile: a file per machine, network and size."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Mapping
from typing import Any

import torch

from slowfast_zoo.errors import counted
from slowfast_zoo.inference.engines import artifacts
from slowfast_zoo.inference.engines.auto.measuring import Measured
from slowfast_zoo.inference.engines.engine import Shape
from slowfast_zoo.inference.engines.trial import kernel_facts
from slowfast_zoo.runtime.machine import description, versions
from slowfast_zoo.runtime.precision import Precision
from slowfast_zoo.spec import ModelSpec
from slowfast_zoo.video.sampling import is_number

_LOGGER = logging.getLogger(__name__)

_SUFFIX = ".timed"


@dataclasses.dataclass(frozen=True)
class Case:
    """What the speed of an engine depends on; the weights' numbers don't matter."""

    spec: ModelSpec
    shape: Shape
    """(C, T, H, W) of a clip."""
    precision: Precision
    device: torch.device
    packages: tuple[str, ...]
    """Of the engines that there are."""

    @property
    def name(self) -> str:
        """Of the file."""
        facts = (self.spec, self.shape, self.precision, str(self.device), *kernel_facts(self.device))
        return f"{artifacts.digest((*facts, torch.__version__, versions(*self.packages)))}{_SUFFIX}"

    def known(self) -> dict[str, Measured]:
        """What was measured so far, by the engine's name; a file that can't be read is as good as none."""
        content = artifacts.load(self.name)
        try:
            return {} if content is None else _read(json.loads(content)["measured"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _LOGGER.warning("%s, which engines were measured in, is ignored: %s.", self.name, error)
            return {}

    def keep(self, measured: Mapping[str, Measured]) -> None:
        """Writes it, with what another process has found meanwhile."""
        values = {name: dataclasses.asdict(each) for name, each in (self.known() | dict(measured)).items()}
        for each in values.values():
            each["seconds_per_clip"] = _finite(each["seconds_per_clip"])
        what = f"{_words(self.spec)}, clips {'x'.join(map(str, self.shape))}, {self.precision}"
        engines = "".join(f", {name} {number}" for name, number in versions(*self.packages).items())
        record = {"what": what, "machine": f"{description(self.device)}{engines}", "measured": values}
        artifacts.store(self.name, json.dumps(record).encode())


def records_in_words() -> dict[str, str]:
    """Every record in words, for people: what and where, and the engines from the quickest on. Of several
    with the same words the latest counts."""
    lines = {}
    for name in reversed(artifacts.names(_SUFFIX)):
        content = artifacts.load(name, used=False)
        try:
            record = {} if content is None else json.loads(content)
            measured = _read(record["measured"])
            lines[f"{record['what']} ({record['machine']})"] = ", ".join(
                f"{engine} {_told(measured[engine])}"
                for engine in sorted(measured, key=lambda engine: measured[engine].seconds_per_clip)
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            lines[name] = "can't be read, and is ignored"
    return lines


def _told(each: Measured) -> str:
    if not math.isfinite(each.seconds_per_clip):
        return "refused"
    memory = "" if each.memory_bytes is None else f", {each.memory_bytes / 2**20:.0f} MiB"
    return f"{1000 * each.seconds_per_clip:.3g} ms a clip (starts in {each.start_seconds:.1f} s{memory})"


def _read(values: Mapping[str, Any]) -> dict[str, Measured]:
    """The values of a file, each checked.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: they are something else.
    """
    found = {}
    for name, each in values.items():
        seconds, memory = each["seconds_per_clip"], each["memory_bytes"]
        found[name] = Measured(
            seconds_per_clip=math.inf if seconds is None else _positive(seconds),
            start_seconds=_positive(each["start_seconds"]),
            memory_bytes=None if memory is None else int(_positive(memory)),
        )
    return found


def _positive(value: Any) -> float:
    if not is_number(value) or value < 0:
        raise ValueError(f"{value!r} is no time and no size")
    return float(value)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _words(spec: ModelSpec) -> str:
    depths = f"R{spec.depth}" if spec.fast_depth == spec.depth else f"R{spec.depth}+R{spec.fast_depth}"
    answers = "features" if spec.num_classes == 0 else counted(spec.num_classes, "class")
    persons = "" if spec.roi is None else " of persons"
    return f"SlowFast {depths}, alpha {spec.alpha}, width {spec.base_width}, {answers}{persons}"
