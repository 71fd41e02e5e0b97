"""Folders that code is loaded from are this user's alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slowfast_zoo.files import is_private
from slowfast_zoo.inference.engines import artifacts

grp, pwd = pytest.importorskip("grp"), pytest.importorskip("pwd")  # modes and owners of POSIX systems


@pytest.fixture(autouse=True)
def as_most_systems(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Others don't write to new folders, and a group may have any members."""

    def unknown(_: int) -> Any:
        raise KeyError

    monkeypatch.setattr(grp, "getgrgid", unknown)
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "cache" / "engines"
    folder.mkdir(parents=True, mode=0o700)
    folder.parent.chmod(0o755)
    return folder


def test_a_folder_of_ones_own_is_private(folder: Path) -> None:
    assert is_private(folder)
    folder.parent.chmod(0o1777)
    assert is_private(folder), "the sticky bit keeps others from replacing it"


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o1777])
def test_a_folder_that_others_write_to_is_not(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    assert not is_private(folder)


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_nor_one_that_others_can_replace(folder: Path, mode: int) -> None:
    folder.parent.chmod(mode)
    assert not is_private(folder)


@pytest.mark.parametrize(
    ("group", "members", "private"),
    [("ann", [], True), ("ann", ["ann"], True), ("ann", ["ann", "bob"], False), ("users", [], False)],
)
def test_a_group_without_others_is_no_company(
    folder: Path, monkeypatch: pytest.MonkeyPatch, group: str, members: list[str], private: bool
) -> None:
    number = folder.stat().st_gid
    if number == 0:
        number = 12345
        os.chown(folder, -1, number)
    user = SimpleNamespace(pw_name="ann", pw_gid=number)
    monkeypatch.setattr(pwd, "getpwuid", lambda _: user)
    monkeypatch.setattr(grp, "getgrgid", lambda _: SimpleNamespace(gr_name=group, gr_mem=members))
    folder.chmod(0o775)
    assert is_private(folder) == private
    user.pw_gid = number + 1
    assert not is_private(folder), "the group is another one's"
    user.pw_gid = number
    folder.chmod(0o777)
    assert not is_private(folder)


def test_nor_one_of_another_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    if folder.stat().st_uid == 0:
        pytest.skip("what root owns counts as everybody's own")
    assert not is_private(folder)


@pytest.mark.skipif(hasattr(os, "getuid") and os.getuid() != 0, reason="only root can give a folder away")
def test_nor_one_that_was_made_by_another_user_first(folder: Path) -> None:
    os.chown(folder, 12345, 12345)
    assert not is_private(folder)


def test_a_link_is_what_it_leads_to(folder: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "link").symlink_to(folder)
    assert is_private(shared / "link")
    shared.chmod(0o777)
    assert not is_private(shared / "link")


@pytest.mark.parametrize("part", ["", "engines"])
def test_artifacts_never_come_from_a_shared_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setenv("SLOWFAST_ZOO_CACHE", str(tmp_path / "cache"))
    artifacts.store("net.blob", b"mine")
    assert artifacts.load("net.blob") == b"mine"
    own = artifacts.engine_folder()
    assert own == tmp_path / "cache" / "engines"
    assert own.stat().st_mode & 0o777 == 0o700
    (tmp_path / "cache" / part).chmod(0o775)
    assert artifacts.load("net.blob") is None
    private = artifacts.engine_folder()
    assert private is not None and private != own
    assert private.stat().st_mode & 0o777 == 0o700
    artifacts.store("other.blob", b"of this process")
    assert artifacts.load("other.blob") == b"of this process"


def test_an_artifact_that_leads_nowhere_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that another process removes just now."""
    monkeypatch.setenv("SLOWFAST_ZOO_CACHE", str(tmp_path / "cache"))
    artifacts.store("net.blob", b"mine")
    (tmp_path / "cache" / "engines" / "gone.blob").symlink_to(tmp_path / "gone")
    assert artifacts.names(".blob") == ["net.blob"]


def test_a_shared_folder_for_inductor_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from slowfast_zoo.inference.engines.torch_compile import inductor

    shared, seen = tmp_path / "shared", []
    for mode in (0o755, 0o777):
        shared.mkdir(exist_ok=True)
        shared.chmod(mode)
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(shared))
        with inductor.inductor_settings(frozen=True):
            seen.append(os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(shared))
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(shared)
    assert seen == [True, False]


@pytest.mark.parametrize("error", [KeyError, OSError])
def test_a_user_without_a_name_has_a_folder_for_inductor(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    from slowfast_zoo.inference.engines.torch_compile import inductor

    def nameless() -> str:
        raise error("getpwuid(): uid not found: 1234")

    monkeypatch.setattr("torch._inductor.runtime.cache_dir_utils.default_cache_dir", nameless)
    monkeypatch.setenv("SLOWFAST_ZOO_CACHE", str(folder.parent))
    for given in (None, str(folder)):
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", given or "")
        if given is None:
            monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
        with inductor.inductor_settings(frozen=True):
            assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == (given or str(folder / "inductor"))
        assert os.environ.get("TORCHINDUCTOR_CACHE_DIR") == given


def test_inductors_folder_is_set_by_one_thread_at_a_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slowfast_zoo.inference.engines.torch_compile import inductor

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder.parent.parent / "shared"))
    (folder.parent.parent / "shared").mkdir()
    (folder.parent.parent / "shared").chmod(0o777)
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with inductor.inductor_settings(frozen=True):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with inductor.inductor_settings(frozen=True):
        thread.start()
        assert not entered.wait(0.1), "it waits for this one"
    assert entered.wait(10)
    leave.set()
    thread.join()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(folder.parent.parent / "shared")
