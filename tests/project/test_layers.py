"""Who may import whom, how large a piece may be, what stays cheap: the source held to the page."""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from slowfast_zoo.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "slowfast_zoo"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

ONLY_INSIDE_FUNCTIONS = {
    "av",
    "torchvision",
    "huggingface_hub",
    "safetensors",
    "PIL",
    "matplotlib",
    "openvino",
    "nncf",
    "onnx",
    "onnxruntime",
    "tqdm",
    "filelock",
    "gradio",
    "starlette",
}


def steps() -> list[set[str]]:
    """The rooms in the order in which they may be imported."""
    found = re.search(r"<!-- steps -->\n```\n(.+)\n```", PAGE)
    assert found, "docs/architecture.md has lost its import rule"
    return [{room.strip() for room in step.split(",")} for step in found[1].split("->")]


def torch_free() -> list[str]:
    found = re.search(r"These import no torch when they are imported: (.+?)\.\n", PAGE, re.DOTALL)
    assert found, "docs/architecture.md has lost its list of modules without torch"
    return re.findall(r"`([a-z._]+)`", found[1])


@functools.cache
def modules() -> tuple[Path, ...]:
    return tuple(sorted(PACKAGE.rglob("*.py")))


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    """The dotted name inside the package; "" for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def imported(path: Path) -> list[tuple[str, int]]:
    """(module or module.name, column) of every import; column 0 runs when the module is imported."""
    found = []
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.col_offset) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports are absolute"
            found += [(f"{node.module}.{alias.name}", node.col_offset) for alias in node.names]
    return found


def own_imports(path: Path) -> set[str]:
    """Dotted names of the package's modules that a file imports, anywhere in it."""
    known = {name_of(other) for other in modules()}
    found = set()
    for name, _ in imported(path):
        top, _, rest = name.partition(".")
        if top == "slowfast_zoo":
            found.add(rest if rest in known else rest.rpartition(".")[0])
    return found


def test_every_room_is_on_the_page() -> None:
    there = {name_of(path).partition(".")[0] for path in modules()} - {"", "__main__"}
    table = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert there == set.union(*steps()) == table


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    room = name_of(path).partition(".")[0]
    level = {name: number for number, step in enumerate(steps()) for name in step}
    for target in own_imports(path):
        other = target.partition(".")[0]
        if room not in level or not other or other == room:  # itself
            continue
        assert level[other] < level[room], f"{path.relative_to(PACKAGE)} imports {target}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_packages_are_imported_where_they_are_used(path: Path) -> None:
    for name, column in imported(path):
        if name.partition(".")[0] in ONLY_INSIDE_FUNCTIONS:
            assert column > 0, f"{path.name} imports {name} when it is imported"


def test_no_circles() -> None:
    graph = {name_of(path): own_imports(path) - {name_of(path), ""} for path in modules() if name_of(path)}
    while free := {name for name, targets in graph.items() if not targets & set(graph)}:
        graph = {name: targets for name, targets in graph.items() if name not in free}
    assert not graph, f"in or behind a circle: {sorted(graph)}"


def code_lines(node: ast.AST) -> int:
    """Lines with a statement or a part of one: no blank lines, comments or docstrings."""
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return sum(statement.end_lineno - statement.lineno + 1 for statement in body if statement.end_lineno)


def test_pieces_stay_readable() -> None:
    too_long = []
    for path in modules():
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 600:
            too_long.append(f"{path.relative_to(PACKAGE)}: {lines} lines")
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef) and (lines := (node.end_lineno or 0) - node.lineno + 1) > 250:
                too_long.append(f"{path.relative_to(PACKAGE)}: class {node.name} has {lines} lines")
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (lines := code_lines(node)) > 60:
                too_long.append(f"{path.relative_to(PACKAGE)}: {node.name} has {lines} lines of code")
    assert not too_long


@pytest.mark.parametrize("room", ["slowfast_zoo", "tests", "benchmarks", "scripts", "examples"])
def test_folders_stay_small(room: str) -> None:
    # Labels, embedded data and results have folders without modules; what a build leaves doesn't count.
    data = {"labels", "embedded", "results", "__pycache__"}
    for folder in (ROOT / room, *(path for path in (ROOT / room).rglob("*") if path.is_dir())):
        files = [path.name for path in folder.iterdir() if path.is_file() and not path.match("resize.so.*")]
        assert len(files) <= 12 or {folder.name, folder.parent.name} & data, (folder, files)


def test_cheap_modules_import_nothing_heavy() -> None:
    # One process: what is there after one module, an earlier one brought.
    heavy = {"torch", "torchvision", "av", "huggingface_hub", "PIL", "matplotlib", "safetensors"}
    code = (
        "import importlib, sys\n"
        f"for name in {torch_free()}:\n"
        "    importlib.import_module(f'slowfast_zoo.{name}')\n"
        f"    print(name, *sorted({heavy} & set(sys.modules)))"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert printed.splitlines() == torch_free()


def test_cheap_commands_import_nothing_heavy() -> None:
    heavy = {"torch", "torchvision", "av", "huggingface_hub"}
    helps = [[name, "--help"] for sentences in COMMANDS.values() for name in sentences]
    commands = [["--help"], ["list"], ["list", "*r50*", "--json"], *helps]
    code = (
        "import sys\nfrom slowfast_zoo.cli import main\n"
        f"for arguments in {commands}:\n"
        "    main(arguments, standalone_mode=False)\n"
        "    own = [name for name in sys.modules if name.startswith('slowfast_zoo.cli.')]\n"
        f"    print(arguments[0], len(own), *sorted({heavy} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = [line.split() for line in done.stderr.splitlines()]
    assert [words[0] for words in said] == [arguments[0] for arguments in commands]
    assert said[0] == ["--help", "0"], "the list of commands loads none of them"
    assert all(len(words) == 2 for words in said), done.stderr
    assert "slowfast" in done.stdout.lower()


def test_predicting_one_video_imports_no_engine(tmp_path: Path) -> None:
    heavy = {"torchvision", "openvino", "nncf", "onnx", "onnxscript", "onnxruntime", "PIL", "matplotlib"}
    code = (
        "import sys, numpy as np, slowfast_zoo as zoo\n"
        "model, video = zoo.slowfast_tiny(pretrained=True), np.zeros((20, 48, 48, 3), np.uint8)\n"
        "print(len(zoo.predict(model, video, fps=10).labels))\n"
        f"print(*sorted({heavy | {'gradio', 'ray', 'pandas'}} & set(sys.modules)))"
    )
    environment = os.environ | {"SLOWFAST_ZOO_CACHE": str(tmp_path)}
    assert subprocess.check_output([sys.executable, "-c", code], text=True, env=environment) == "5\n\n"
