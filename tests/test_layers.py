"""Who may import whom, and what stays cheap: read from the source, and from fresh processes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "slowfast_zoo"

# A room may import its own modules and the rooms that are listed for it.
BASE = {"errors", "spec"}
NETWORK = BASE | {"network", "pathway"}
MAY_IMPORT = {
    "errors": set[str](),
    "spec": {"errors"},
    "pathway": BASE,
    "network": BASE | {"pathway"},
    "weights": NETWORK | {"__init__"},
    "video": BASE,
    "zoo": NETWORK | {"weights"},
    "description": NETWORK | {"weights"},
    "inference": NETWORK | {"weights", "video", "zoo", "__init__"},
    "training": NETWORK | {"weights", "video", "zoo", "inference"},
    "__main__": {"cli"},
    "cli": NETWORK | {"weights", "video", "zoo", "description", "inference", "training", "__init__"},
}
TORCH_FREE = ("__init__", "errors", "spec", "weights.catalog", "weights.download", "video.sampling", "cli")
ONLY_INSIDE_FUNCTIONS = {
    "av",
    "torchvision",
    "huggingface_hub",
    "safetensors",
    "PIL",
    "matplotlib",
    "openvino",
    "onnx",
    "onnxruntime",
    "tqdm",
    "filelock",
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imported(tree: ast.AST) -> list[tuple[str, int]]:
    """(module, column) of every import; column 0 runs when the module is imported."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.col_offset) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports are absolute"
            found.append((node.module, node.col_offset))
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    room = room_of(path)
    for name, column in imported(ast.parse(path.read_text(encoding="utf-8"))):
        top, *rest = name.split(".")
        if top == "slowfast_zoo" and room != "__init__":
            target = rest[0] if rest else "__init__"
            assert target == room or target in MAY_IMPORT[room], f"{path.name} ({room}) imports {name}"
        if top in ONLY_INSIDE_FUNCTIONS:
            assert column > 0, f"{path.name} imports {name} when it is imported"


def test_every_room_is_known() -> None:
    assert {room_of(path) for path in modules()} - {"__init__"} <= set(MAY_IMPORT)


@pytest.mark.parametrize("name", TORCH_FREE)
def test_cheap_modules_import_nothing_heavy(name: str) -> None:
    module = "slowfast_zoo" if name == "__init__" else f"slowfast_zoo.{name}"
    heavy = {"torch", "torchvision", "av", "huggingface_hub", "PIL", "matplotlib", "safetensors"}
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("arguments", [["list"], ["--help"], ["list", "*r50*", "--json"]])
def test_cheap_commands_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom slowfast_zoo.cli import main\n"
        f"main({arguments}, standalone_mode=False)\n"
        "print(sorted({'torch', 'torchvision', 'av', 'huggingface_hub'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "slowfast" in done.stdout.lower()


def test_files_stay_readable() -> None:
    long = {str(path): lines for path in modules() if (lines := len(path.read_text().splitlines())) > 350}
    assert not long
