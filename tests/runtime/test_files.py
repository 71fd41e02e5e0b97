"""Files that are written whole: where links lead, and what no file takes the place of."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from slowfast_zoo.errors import InputError
from slowfast_zoo.files import check_writable, decoded, expanded, pattern_of, write_bytes, written_whole


def write(path: Path, *, keep_links: bool = True) -> None:
    check_writable(path)
    with written_whole(path, keep_links=keep_links) as part:
        part.write_text("new")


def test_a_tilde_is_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME" if os.name == "posix" else "USERPROFILE", str(tmp_path))
    write(Path("~/answers.json"))
    assert (tmp_path / "answers.json").read_text() == "new"


def test_what_a_link_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    target, link = tmp_path / "deep" / "target.json", tmp_path / "latest.json"
    target.write_text("old")
    link.symlink_to("deep/target.json")
    write(link)
    assert link.is_symlink() and target.read_text() == "new"
    target.unlink()
    write(link)  # what it leads to needn't be there
    assert link.is_symlink() and target.read_text() == "new"
    target.write_text("old")
    write(link, keep_links=False)
    assert not link.is_symlink() and (link.read_text(), target.read_text()) == ("new", "old")
    link.unlink()
    link.symlink_to(link)
    with pytest.raises(OSError, match="no regular file"):
        write(link)
    assert [path.name for path in tmp_path.rglob("*")].count("target.json") == 1
    assert not list(tmp_path.rglob("*.slowfast-tmp"))


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    write_bytes(tmp_path / "new.txt", b"a\r\nb\n")
    assert (tmp_path / "new.txt").read_bytes() == b"a\r\nb\n"
    with pytest.raises(InputError, match=r"^'.*none.a\.txt' can't be written: No such file or directory\.$"):
        write_bytes(tmp_path / "none" / "a.txt", b"")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices have no paths there")
def test_devices_and_pipes_are_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for path in (tmp_path / "pipe", tmp_path / "link", Path("/dev/null"), Path("/dev/stdout")):
        for refuse in (check_writable, lambda path: written_whole(path).__enter__()):
            with pytest.raises(OSError, match="no regular file") as error:
                refuse(path)
            assert error.value.strerror == "it is no regular file"
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    (tmp_path / "folder").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(IsADirectoryError):
        check_writable(tmp_path / "folder")


def test_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USERPROFILE" if sys.platform == "win32" else "HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert expanded("~/a") == tmp_path / "a"
    assert expanded("~nobody at all/a") == Path("~nobody at all/a")
    assert expanded("b/~") == Path("b/~")
    Path("~").write_text("")
    assert expanded("~") == Path("~")


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("*.mp4", "*.mp4"),
        ("gone/**", "gone/**"),
        ("clip[12].mp4", "clip[12].mp4"),
        ("clip[34].mp4", None),  # which nothing matches
        ("clip1.mp4", None),
        ("Film [1080p]", None),
        ("Film [1080p]/{:05}.jpg", None),
        ("Film [1080p]/*/[ab].mp4", "Film [[]1080p]/*/[ab].mp4"),
    ],
)
def test_brackets_are_letters_of_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, pattern: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Film [1080p]").mkdir()
    (tmp_path / "clip1.mp4").touch()
    assert pattern_of(Path(text)) == pattern
    there = f"{tmp_path.as_posix()}/"
    assert pattern_of(tmp_path / text) == (pattern and there + pattern)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_of_any_mark(encoding: str) -> None:
    assert decoded("é\r\n\u2028".encode(encoding)) == "é\r\n\u2028"
    with pytest.raises(UnicodeDecodeError):
        decoded(b"\xe9")
    assert decoded(b"\xe9", "surrogateescape") == "\udce9"
