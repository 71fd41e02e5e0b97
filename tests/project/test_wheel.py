"""The built wheel, as a stranger gets it: installed outside the checkout, every module imported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

import hatch_build
from slowfast_zoo.video.transforms import compiled

ROOT = Path(__file__).parents[2]
LOOK = """
import importlib, importlib.resources, json, pkgutil
import slowfast_zoo
names = [m.name for m in pkgutil.walk_packages(slowfast_zoo.__path__, 'slowfast_zoo.')]
for name in names:
    importlib.import_module(name)
from slowfast_zoo.video.transforms import compiled
print(json.dumps({
    'home': slowfast_zoo.__file__,
    'names': names,
    'library': str(compiled.library()),
    'typed': importlib.resources.files('slowfast_zoo').joinpath('py.typed').is_file(),
}))
"""


LIBRARY = f"slowfast_zoo/video/transforms/{compiled.library_path().name}"


def build(folder: Path, **environment: str) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=os.environ | environment)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with the wheel installed; torch and the like are borrowed from this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    inside = scripts / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(inside), "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--quiet", str(wheel)], check=True, cwd=folder)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.check_output([str(inside), "-c", where], text=True).strip()
    borrowed = sysconfig.get_path("purelib")
    Path(packages, "borrowed.pth").write_text(borrowed + "\n", encoding="utf-8")
    return inside


def run(command: list[str], folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def found(python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process of the installed package finds, in a folder with nothing in it."""
    return json.loads(run([str(python), "-c", LOOK], tmp_path_factory.mktemp("elsewhere")))  # type: ignore[no-any-return]


def test_every_module_of_the_checkout_is_in_the_wheel_and_imports(
    python: Path, found: dict[str, Any]
) -> None:
    assert Path(found["home"]).is_relative_to(python.parent.parent)
    package = ROOT / "slowfast_zoo"
    expected = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in package.rglob("*.py")
    }
    assert set(found["names"]) | {"slowfast_zoo"} == expected
    assert found["typed"]


def test_the_wheel_carries_the_data_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    inside = {name for name in names if name.startswith("slowfast_zoo/")}
    others = {name for name in names if ".dist-info/" not in name} - inside
    assert not others
    assert {"slowfast_zoo/py.typed", "slowfast_zoo/__init__.pyi"} <= inside
    assert "slowfast_zoo/inference/engines/winograd/winograd.cpp" in inside
    for data in (
        *(ROOT / "slowfast_zoo/weights/catalog/labels").iterdir(),
        *(ROOT / "slowfast_zoo/weights/catalog/embedded").iterdir(),
    ):
        assert f"slowfast_zoo/weights/catalog/{data.parent.name}/{data.name}" in inside
    assert not [name for name in names if "__pycache__" in name]
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows takes the pure wheel")
def test_the_wheel_carries_the_compiled_resize_and_takes_it(wheel: Path, found: dict[str, Any]) -> None:
    assert LIBRARY in zipfile.ZipFile(wheel).namelist()
    assert "-py3-none-" in wheel.name and not wheel.name.endswith("-any.whl")
    assert "resize.so." in found["library"]


@pytest.mark.parametrize("compiler", ["false", "no-such-compiler", "true"])
def test_compilers_that_fail_or_write_nothing_make_no_library(
    tmp_path: Path, compiler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", compiler)
    source = shutil.copy(ROOT / "slowfast_zoo" / "video" / "transforms" / "resize.c", tmp_path)
    assert not hatch_build.build(Path(source), tmp_path / "resize.so")
    assert [path.name for path in tmp_path.iterdir()] == ["resize.c"]


def test_without_a_library_the_wheel_is_pure_python(tmp_path: Path) -> None:
    wheel = build(tmp_path, CC="true")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if "resize.so" in name]


def test_the_sources_carry_what_the_tests_read(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        top = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert {
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "CITATION.cff",
        "LICENSE",
        "pyproject.toml",
    } <= top
    assert {
        "slowfast_zoo",
        "tests",
        "scripts",
        "benchmarks",
        "docs",
        "examples",
        "spaces",
        "hubconf.py",
    } <= top


def test_the_command_line_runs(python: Path, tmp_path: Path) -> None:
    command = str(python.parent / "slowfast-zoo")
    assert "slowfast_r50_4x16x1" in run([command, "list"], tmp_path)
    assert "34,479,288" in run([command, "describe", "slowfast_r50_4x16x1"], tmp_path)
    assert run([command, "--version"], tmp_path).startswith("slowfast-zoo, version ")
