"""Optional packages: whether they are there, and how to get them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from types import ModuleType

from slowfast_zoo.errors import MissingDependencyError
from slowfast_zoo.runtime.machine import environment

UNREPORTED = {"CI": "true", "NNCF_CI": "1"}
"""Variables of the environment with which OpenVINO and NNCF report no use to their makers. Both read them
when they are imported, and OpenVINO does when it converts a network."""


def installed(package: str) -> bool:
    """Whether a package is there, without importing it."""
    return importlib.util.find_spec(package) is not None


def _in_shells(requirement: str) -> str:
    """The requirement as every shell takes it: some expand brackets."""
    return f'"{requirement}"' if "[" in requirement else requirement


def require(package: str, *needed: str) -> ModuleType:
    """An optional package, imported so that it reports no use to its makers.

    Args:
        package: its import name.
        needed: what to install for the purpose at hand, where that is more than the package.

    Raises:
        MissingDependencyError: says what to install.
    """
    try:
        with contextlib.nullcontext() if package in sys.modules else environment(**UNREPORTED):
            return importlib.import_module(package)
    except ImportError as error:
        raise MissingDependencyError(
            f"This needs the package '{package}', which can't be imported ({error}):"
            f" pip install {' '.join(map(_in_shells, needed or (package,)))}"
        ) from error
