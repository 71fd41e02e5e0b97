"""Optional packages: whether they are there, and how to get them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from slowfast_zoo.errors import MissingDependencyError

EXTRAS: dict[str, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino",),
    "train": ("matplotlib",),
}
"""The packages that each of this library's extras installs."""


def installed(package: str) -> bool:
    """Whether a package is there, without importing it."""
    return find_spec(package) is not None


def require(package: str, *, extra: str) -> ModuleType:
    """An optional package.

    Args:
        package: its import name.
        extra: which of ``EXTRAS`` it belongs to.

    Raises:
        MissingDependencyError: says what to install.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingDependencyError(
            f"This needs the package '{package}', which can't be imported ({error}):"
            f" pip install {' '.join(EXTRAS[extra])}"
        ) from error
