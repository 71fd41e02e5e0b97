"""The public surface: names and signatures as users know them, in stub, package and snapshot alike."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import slowfast_zoo
from slowfast_zoo import errors

ROOT = Path(__file__).parents[2]
SNAPSHOT = Path(__file__).parents[1] / "snapshots" / "public.txt"


def surface() -> str:
    """One line per public name: its signature, and its fields or public methods when it is a class."""
    lines = []
    for name in slowfast_zoo.__all__:
        value = getattr(slowfast_zoo, name)
        if inspect.isclass(value) and issubclass(value, Exception):
            lines.append(name)
            continue
        lines.append(f"{name}{inspect.signature(value)}")
        if inspect.isclass(value):
            members = [m for m in vars(value) if not m.startswith("_") and callable(getattr(value, m))]
            if dataclasses.is_dataclass(value):
                members = [m for m in members if m not in {f.name for f in dataclasses.fields(value)}]
            lines += [f"  .{member}{inspect.signature(getattr(value, member))}" for member in sorted(members)]
    return "\n".join(lines)


def test_surface_is_the_recorded_one() -> None:
    # After a wanted change: python tests/project/test_public.py
    assert surface() == SNAPSHOT.read_text(encoding="utf-8").rstrip("\n")


def test_stub_lists_exactly_the_public_names() -> None:
    stub = ast.parse((ROOT / "slowfast_zoo" / "__init__.pyi").read_text(encoding="utf-8"))
    homes = {
        alias.asname: f"{node.module}.{alias.name}"
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(homes) == set(slowfast_zoo.__all__)
    for name, home in homes.items():
        module, _, attribute = home.rpartition(".")
        assert attribute == name
        assert getattr(sys.modules.get(module) or __import__(module, fromlist=["x"]), name) is getattr(
            slowfast_zoo, name
        )


def test_dir_and_unknown_names() -> None:
    assert set(slowfast_zoo.__all__) <= set(dir(slowfast_zoo))
    with pytest.raises(AttributeError, match="module 'slowfast_zoo' has no attribute 'slowfast'"):
        _ = slowfast_zoo.slowfast  # type: ignore[attr-defined]


def test_every_error_is_also_a_built_in() -> None:
    own = [v for v in vars(errors).values() if inspect.isclass(v) and v.__module__ == errors.__name__]
    for error in own:
        assert issubclass(error, errors.SlowFastZooError), error
        if error is not errors.SlowFastZooError:
            assert any(
                base.__module__ == "builtins" and base is not Exception for base in error.__mro__[1:-3]
            )


@pytest.mark.parametrize("name", slowfast_zoo.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    value = getattr(slowfast_zoo, name)
    assert value.__doc__ and not value.__doc__.startswith(f"{name}("), f"{name} has no docstring of its own"
    if inspect.isfunction(value):
        for parameter in inspect.signature(value).parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                assert str(parameter.annotation).startswith("Unpack["), f"{name} swallows typing errors"
                with pytest.raises(TypeError, match="num_clases"):
                    value(num_clases=3)


def test_hubconf_needs_only_what_it_says() -> None:
    """``torch.hub.load`` in a process in which the video and image packages can't be imported."""
    code = """
import importlib.abc, sys, json

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {'av', 'torchvision', 'huggingface_hub', 'PIL', 'click', 'matplotlib'}:
            raise ModuleNotFoundError(f'{name} is blocked')
        if name == 'httpx2':
            asked.append(name)

asked = []

sys.meta_path.insert(0, Blocked())
import torch
sys.path.insert(0, sys.argv[1])
import hubconf
names = [name for name, value in vars(hubconf).items() if callable(value) and not name.startswith('_')]
model = torch.hub.load(sys.argv[1], 'slowfast_r50_4x16x1', source='local', num_classes=7)
generic = torch.hub.load(sys.argv[1], 'create_model', 'slowfast_r50_8x8x1', source='local', num_classes=0)
from slowfast_zoo.weights.download.transfer import _client
_client(plain_http=False)  # what downloads
assert set(asked) <= set(hubconf.dependencies)
print(json.dumps([names, model.spec.num_classes, generic.spec.alpha, asked]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT)], capture_output=True, text=True, check=False, cwd=ROOT.parent
    )
    assert done.returncode == 0, done.stderr
    names, classes, alpha, asked = json.loads(done.stdout.splitlines()[-1])
    factories = [name for name in slowfast_zoo.__all__ if name.startswith("slowfast_")]
    assert set(names) == {"create_model", *factories}
    assert (classes, alpha, bool(asked)) == (7, 4, True)


if __name__ == "__main__":
    SNAPSHOT.write_text(surface() + "\n", encoding="utf-8")
