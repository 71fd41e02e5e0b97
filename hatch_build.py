"""Builds ``slowfast_zoo/video/transforms/resize.c`` into the wheel, where there is a C compiler.

Where there is none, or it fails, the wheel is pure Python, and NumPy gives the same bytes.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import mac_platforms, platform_tags

FLAGS = ("-O3", "-std=c11", "-shared", "-fPIC")


def build(source: Path, library: Path) -> bool:
    """Compiles one C file; whether that worked."""
    if sys.platform == "win32":
        return False
    try:
        compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            made = Path(folder, library.name)
            command = [*compiler, *FLAGS, "-o", str(made), str(source)]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
            ctypes.CDLL(str(made))
            made.replace(library)
    except (subprocess.SubprocessError, OSError, ValueError):
        return False
    return True


def _platforms() -> Iterator[str]:
    """The tags of this platform; on macOS of the oldest system that the compiler was told to build for."""
    oldest = os.environ.get("MACOSX_DEPLOYMENT_TARGET", "")
    if sys.platform != "darwin" or not oldest:
        return platform_tags()
    major, _, minor = oldest.partition(".")
    return mac_platforms((int(major), int(minor or 0)))


class CustomBuildHook(BuildHookInterface):
    """What hatchling runs around the building of a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """An editable installation gets the library into its own tree, another into the wheel."""
        home = Path("slowfast_zoo/video/transforms")
        source = Path(self.root, home, "resize.c")
        # Under the name that slowfast_zoo.video.transforms.compiled looks for.
        name = f"resize.so.{zlib.crc32(source.read_bytes()):08x}"
        if version == "editable":
            if build(source, source.with_name(name)):
                for other in set(source.parent.glob("resize.so.*")) - {source.with_name(name)}:
                    other.unlink(missing_ok=True)
            return
        self.folder = tempfile.TemporaryDirectory()
        library = Path(self.folder.name, name)
        if build(source, library):
            build_data["force_include"][str(library)] = str(home / name)
            build_data["pure_python"] = False
            # A "manylinux" tag would promise that the library runs on older systems than this one.
            tags = (tag for tag in _platforms() if not tag.startswith(("manylinux", "musllinux")))
            build_data["tag"] = f"py3-none-{next(tags)}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Throws away what is in the wheel now."""
        if version != "editable":
            self.folder.cleanup()
