"""Downloads from a real server on the loopback interface that fails in every way a server can."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import logging
import os
import pickle
import random
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.servers import LOOPBACK_CERTIFICATE, Fault, FileServer

from slowfast_zoo.errors import DownloadError, InputError, OfflineError
from slowfast_zoo.weights.download import download, transfer
from slowfast_zoo.weights.download.download import Fetched, cache_dir, fetch
from slowfast_zoo.weights.download.transfer import Patience

REPOSITORY = Path(__file__).parents[2]
CONTENT = random.Random(0).randbytes(400_000)
OTHER = random.Random(1).randbytes(400_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
DIGEST = f"sha256:{SHA256}"
NAME = "net-0123.pth"
PATH = "/zoo/recognition/net-0123.pth"
PUBLISHER = "https://127.0.0.1:1"  # where nobody listens, so that no name is looked up
URL = PUBLISHER + PATH
SHORT = Patience(backoff_seconds=0.001)
ONCE = Patience(attempts=1)


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty cache, no settings of the machine, and short pauses; the cache's folder."""
    for name in ("SLOWFAST_ZOO_OFFLINE", "HF_HUB_OFFLINE", "SLOWFAST_ZOO_MIRROR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLOWFAST_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with transfer.using(SHORT):
        yield tmp_path / "cache"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server that has the file, set as the publisher's mirror."""
    with FileServer({PATH: CONTENT}) as running:
        monkeypatch.setenv("SLOWFAST_ZOO_MIRROR", f"{PUBLISHER}={running.url}")
        yield running


def get(digest: str | None = DIGEST, urls: tuple[str, ...] = (URL,), folder: Path | None = None) -> Fetched:
    return fetch(urls, filename=NAME, digest=digest, folder=folder)


def part_in(cache: Path, server: FileServer) -> Path:
    """Where the server's bytes arrive."""
    return transfer.part_of(cache / NAME, server.url + PATH)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


@pytest.mark.skipif(os.name == "nt", reason="Windows locks otherwise")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_cache_without_locks(
    number: int,
    server: FileServer,
    settings: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refused(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refused)
    others = part_in(settings, server)
    others.parent.mkdir()
    others.write_bytes(b"another process's")
    assert get().path.read_bytes() == CONTENT
    assert "has no locks" in caplog.text
    assert others.read_bytes() == b"another process's"
    others.unlink()
    assert names(settings) == {NAME, f"{NAME}.stamp.json"}
    (settings / NAME).unlink()
    server.files[PATH] = OTHER
    with pytest.raises(DownloadError, match="not the published"):
        get()
    assert not list(settings.glob("*.part*"))


def assert_nothing_usable(cache: Path) -> None:
    """No file under the final name, and the next offline call says so."""
    assert NAME not in names(cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
        with pytest.raises(OfflineError):
            get()


# --- the ordinary way -------------------------------------------------------------------------------


def test_first_call_downloads_and_second_needs_no_network(server: FileServer, settings: Path) -> None:
    first = get()
    assert first == Fetched(settings / NAME, server.url + PATH, SHA256, True)
    assert first.path.read_bytes() == CONTENT
    assert names(settings) - {f"{NAME}.lock"} == {NAME, f"{NAME}.stamp.json"}
    assert get() == first
    assert server.count(PATH) == 1


def test_second_call_does_not_read_the_file(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    first = get()

    def no_hashing(path: Path, algorithm: str = "sha256") -> str:
        raise AssertionError(f"{path} was hashed again")

    monkeypatch.setattr(download, "hash_file", no_hashing)
    assert get() == first


@pytest.mark.parametrize(
    "digest",
    [
        DIGEST,
        f"sha256-prefix:{SHA256[:8]}",
        f"sha1:{hashlib.sha1(CONTENT).hexdigest()}",
        f"sha1-prefix:{hashlib.sha1(CONTENT).hexdigest()[:8]}",
    ],
)
def test_every_kind_of_digest(server: FileServer, digest: str) -> None:
    fetched = get(digest)
    assert fetched.verified and fetched.sha256 == SHA256
    server.files[PATH] = OTHER
    fetched.path.unlink()
    with pytest.raises(DownloadError, match=rf"{digest.partition(':')[2]}.*by hand"):
        get(digest)


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "04e43ed4",
        "md5:" + "0" * 32,
        "sha256:04e43ed4",
        "sha1:" + "0" * 64,
        "sha1-prefix:" + "0" * 50,
        "sha256-prefix:04e4",
        "SHA256:" + "0" * 64,
        7,
    ],
)
def test_malformed_digest_is_refused(digest: str) -> None:
    with pytest.raises(InputError, match="sha256-prefix"):
        get(digest)


def test_without_a_digest_the_first_download_is_recorded(server: FileServer, settings: Path) -> None:
    first = get(None)
    assert first == Fetched(settings / NAME, server.url + PATH, SHA256, False)
    first.path.unlink()
    server.files[PATH] = OTHER
    with pytest.raises(DownloadError, match=rf"{SHA256} recorded in .*stamp.json"):
        get(None)
    assert not first.path.exists()
    server.files[PATH] = CONTENT
    assert get(None) == first


def test_a_digest_that_becomes_known_later_is_applied(server: FileServer) -> None:
    get(None)
    assert get(DIGEST).verified
    assert server.count(PATH) == 1
    with pytest.raises(DownloadError):
        get("sha256:" + "0" * 64)


def test_a_changed_cached_file_is_noticed_and_replaced(
    server: FileServer, caplog: pytest.LogCaptureFixture
) -> None:
    path = get().path
    path.write_bytes(OTHER)
    with caplog.at_level(logging.WARNING):
        assert get().path.read_bytes() == CONTENT
    assert str(path) in caplog.text
    assert server.count(PATH) == 2


def test_a_changed_cached_file_is_refused_offline(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, settings: Path
) -> None:
    path = get().path
    path.write_bytes(CONTENT[:-1])
    monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
    with pytest.raises(OfflineError, match="isn't the one with sha256"):
        get()


def test_urls_are_tried_in_order(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FileServer() as empty, FileServer({PATH: CONTENT}) as full:
        monkeypatch.setenv(
            "SLOWFAST_ZOO_MIRROR", f"https://one.invalid={empty.url}, https://two.invalid={full.url}/"
        )
        fetched = get(urls=(f"https://one.invalid{PATH}", f"https://two.invalid{PATH}"))
        assert fetched.url == full.url + PATH
        assert empty.count(PATH) == 1


def test_mirror_matches_whole_hosts_only(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def record(url: str, part: Path, **options: object) -> bool:
        asked.append(url)
        raise DownloadError("recorded")

    monkeypatch.setattr(download, "transfer", record)
    with pytest.raises(DownloadError):
        get(urls=(f"{PUBLISHER}0{PATH}",))
    assert asked == [f"{PUBLISHER}0{PATH}"]
    asked.clear()
    with pytest.raises(DownloadError):
        get()
    assert asked == [server.url + PATH, URL]


def test_progress_bar_only_on_a_terminal(server: FileServer, capsys: pytest.CaptureFixture[str]) -> None:
    get()
    assert capsys.readouterr().err == ""


# --- offline, folders, by hand ----------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["SLOWFAST_ZOO_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_names_url_hash_and_path(
    server: FileServer, settings: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "True")
    with pytest.raises(OfflineError) as caught:
        get()
    for fact in (URL, SHA256, str(settings / NAME)):
        assert fact in str(caught.value)
    assert server.requests == []
    (settings / NAME).write_bytes(CONTENT)
    assert get() == Fetched(settings / NAME, None, SHA256, True)


def test_a_wrong_file_put_there_by_hand_is_not_used(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
    settings.mkdir()
    (settings / NAME).write_bytes(CONTENT[:-1])
    with pytest.raises(OfflineError, match="isn't the one"):
        get()


def test_a_file_by_hand_without_a_digest_is_recorded(settings: Path) -> None:
    settings.mkdir()
    (settings / NAME).write_bytes(CONTENT)
    assert get(None) == Fetched(settings / NAME, None, SHA256, False)
    (settings / NAME).write_bytes(OTHER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
        with pytest.raises(OfflineError, match=SHA256):
            get(None)


@pytest.mark.parametrize("place", [NAME, f"127.0.0.1{PATH}", PATH[1:], "net-0123.pth"])
def test_mirror_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, settings: Path) -> None:
    folder = tmp_path / "mirror of ü"
    (folder / place).parent.mkdir(parents=True)
    (folder / place).write_bytes(CONTENT)
    monkeypatch.setenv("SLOWFAST_ZOO_MIRROR", str(folder))
    monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
    fetched = fetch([URL], filename="own-name.pth" if place == "net-0123.pth" else NAME, digest=DIGEST)
    assert fetched.path.parent == settings and fetched.path.read_bytes() == CONTENT
    assert fetched.url == str(folder / place) and fetched.verified


def test_bare_names_prove_nothing_without_a_digest(
    tmp_path: Path, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path / "mirror", tmp_path / "torch" / "hub" / "checkpoints"):
        folder.mkdir(parents=True)
        (folder / "net-0123.pth").write_bytes(OTHER)
    monkeypatch.setenv("SLOWFAST_ZOO_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
    with pytest.raises(OfflineError):
        fetch([URL], filename="own-name.pth", digest=None)
    assert names(settings) <= {"own-name.pth.lock"}


def test_wrong_file_in_a_folder_is_passed_over(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / NAME).write_bytes(OTHER)
    monkeypatch.setenv("SLOWFAST_ZOO_MIRROR", f"{tmp_path / 'mirror'},{PUBLISHER}={server.url}")
    assert get().url == server.url + PATH


def test_torch_hub_file_is_taken_when_its_hash_is_right(tmp_path: Path) -> None:
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "net-0123.pth").write_bytes(CONTENT)
    fetched = fetch([URL], filename="own.pth", digest=f"sha256-prefix:{SHA256[:8]}")
    assert fetched.path == cache_dir() / "own.pth" and fetched.verified
    assert fetched.url == str(checkpoints / "net-0123.pth")


@pytest.mark.parametrize("digest", [DIGEST, None])
def test_a_folder_that_fetch_filled_is_a_mirror(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digest: str | None
) -> None:
    folder = tmp_path / "usb"
    assert get(digest, folder=folder).path == folder / NAME
    moved = tmp_path / "air-gapped"
    shutil.copytree(folder, moved, copy_function=shutil.copyfile)
    monkeypatch.setenv("SLOWFAST_ZOO_MIRROR", str(moved))
    monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
    assert get(digest).path.read_bytes() == CONTENT
    shutil.rmtree(cache_dir())
    (moved / NAME).write_bytes(OTHER)
    with pytest.raises(OfflineError, match=SHA256):
        get(digest)


def test_folder_is_filled_from_the_cache(server: FileServer, tmp_path: Path) -> None:
    get()
    assert get(folder=tmp_path / "usb").path.read_bytes() == CONTENT
    assert server.count(PATH) == 1


def test_missing_mirror_folder_is_mentioned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOWFAST_ZOO_MIRROR", str(tmp_path / "absent"))
    monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
    with pytest.raises(OfflineError, match="absent is not a folder"):
        get()


@pytest.mark.parametrize("mirror", ["https://only.one", "ftp://a=ftp://b", "https://a=/folder"])
def test_malformed_mirror_is_refused(monkeypatch: pytest.MonkeyPatch, mirror: str) -> None:
    monkeypatch.setenv("SLOWFAST_ZOO_MIRROR", mirror)
    with pytest.raises(DownloadError, match="SLOWFAST_ZOO_MIRROR"):
        get()


def test_cache_folder_follows_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("SLOWFAST_ZOO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "slowfast_zoo"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME" if os.name == "posix" else "USERPROFILE", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "slowfast_zoo"


def test_a_user_without_a_home_needs_only_the_cache(
    server: FileServer, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCH_HOME")

    expanduser = Path.expanduser

    def of_nobody(path: Path) -> Path:
        if str(path).startswith("~"):
            raise RuntimeError("Could not determine home directory.")
        return expanduser(path)

    monkeypatch.setattr(Path, "expanduser", of_nobody)
    assert get().sha256 == SHA256
    monkeypatch.delenv("SLOWFAST_ZOO_CACHE")
    assert get(folder=settings.parent / "mirror").sha256 == SHA256
    with pytest.raises(DownloadError, match="set SLOWFAST_ZOO_CACHE to a folder"):
        get()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ALL_PROXY", "socks5://user:PASSWORD@127.0.0.1:9", "a SOCKS proxy needs the package 'socksio'"),
        ("ALL_PROXY", "socks://user:PASSWORD@127.0.0.1:9", "no such address can be used"),
        ("https_proxy", "http://user:PASS/WORD@127.0.0.1:9", "no such address can be used"),
        ("HTTPS_PROXY", "proxy.corp:port", "no such address can be used"),
        ("SSL_CERT_FILE", "/nonexistent/PASSWORD.pem", "No such file or directory"),
    ],
)
def test_settings_that_no_client_can_use(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv(name, value)
    with pytest.raises(DownloadError, match=rf"as the environment says \({name.upper()}\): {says}") as caught:
        get()
    assert "PASS" not in "".join(traceback.format_exception(caught.value))
    assert "can't be stored" not in str(caught.value)


# --- servers that fail ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_final_statuses_are_not_repeated(server: FileServer, settings: Path, status: int) -> None:
    server.faults[PATH] = Fault(status=status)
    with pytest.raises(DownloadError, match=f"answered {status}") as caught:
        get()
    for fact in (URL, SHA256, str(settings / NAME)):
        assert fact in str(caught.value)
    assert server.count(PATH) == 1
    assert_nothing_usable(settings)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_transient_statuses_are_repeated(server: FileServer, settings: Path, status: int) -> None:
    server.faults[PATH] = Fault(status=status, times=SHORT.attempts - 1)
    assert get().path.read_bytes() == CONTENT
    server.faults[PATH] = Fault(status=status)
    (settings / NAME).unlink()
    with pytest.raises(DownloadError, match=f"answered {status}"):
        get()
    assert server.count(PATH) == 2 * SHORT.attempts
    assert_nothing_usable(settings)


@pytest.mark.parametrize("given", ["7", "date"])
def test_retry_after_is_honored(server: FileServer, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(transfer.time, "sleep", pauses.append)
    if given == "date":
        given = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    server.faults[PATH] = Fault(status=429, headers={"Retry-After": given}, times=1)
    get()
    assert len(pauses) == 1
    assert pauses[0] == 7 if given == "7" else 0 < pauses[0] <= 30


def test_a_server_that_asks_for_an_hour_is_given_up(server: FileServer) -> None:
    server.faults[PATH] = Fault(status=503, headers={"Retry-After": "3600"})
    with pytest.raises(DownloadError, match="3600 s"):
        get()
    assert server.count(PATH) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(
            body=b"<!DOCTYPE html><html>sign in</html>", headers={"Content-Type": "text/html; charset=utf-8"}
        ),
        Fault(body=b"\n <html><body>sign in</body></html>"),
        Fault(body=b"<?xml version='1.0'?><Error>AccessDenied</Error>"),
    ],
)
@pytest.mark.parametrize("digest", [DIGEST, None])
def test_a_web_page_is_no_checkpoint(
    server: FileServer, settings: Path, fault: Fault, digest: str | None
) -> None:
    server.faults[PATH] = fault
    with pytest.raises(DownloadError, match="web page"):
        get(digest)
    assert names(settings) <= {f"{NAME}.lock"}


def test_wrong_content_is_refused_and_removed(server: FileServer, settings: Path) -> None:
    server.files[PATH] = OTHER
    with pytest.raises(DownloadError, match=hashlib.sha256(OTHER).hexdigest()):
        get()
    assert names(settings) <= {f"{NAME}.lock"}
    assert server.count(PATH) == 1


def test_a_body_that_is_always_cut_is_given_up(server: FileServer, settings: Path) -> None:
    server.faults[PATH] = Fault(cut_after=0)
    with pytest.raises(DownloadError, match=f"{len(CONTENT)} bytes, sha256"):
        get(DIGEST)
    assert_nothing_usable(settings)


@pytest.mark.parametrize("length", [1, len(CONTENT) - 1, len(CONTENT) + 1])
def test_wrong_content_length(server: FileServer, settings: Path, length: int) -> None:
    server.faults[PATH] = Fault(headers={"Content-Length": str(length)}, ignore_range=True)
    with pytest.raises(DownloadError):
        get()
    assert_nothing_usable(settings)


def test_no_length_at_all(server: FileServer, settings: Path) -> None:
    server.faults[PATH] = Fault(drop_headers=("Content-Length",), cut_after=100_000)
    with pytest.raises(DownloadError, match="sha256"):
        get()
    server.faults[PATH] = Fault(drop_headers=("Content-Length",))
    with pytest.raises(DownloadError, match="neither"):
        get(None)
    assert_nothing_usable(settings)
    assert get().verified


def test_chunked_body_is_accepted_whole_and_resumed_when_cut(server: FileServer) -> None:
    server.faults[PATH] = Fault(chunked=True, cut_after=200_000, times=1)
    assert get(None).sha256 == SHA256
    assert [request.range for request in server.requests] == [None, "bytes=200000-"]


def test_compressed_body_is_refused(server: FileServer, settings: Path) -> None:
    server.faults[PATH] = Fault(headers={"Content-Encoding": "gzip"})
    with pytest.raises(DownloadError, match="compressed"):
        get(None)
    assert_nothing_usable(settings)


def test_a_silent_server_is_given_up(server: FileServer) -> None:
    server.faults[PATH] = Fault(hang=True)
    silent = dataclasses.replace(SHORT, timeout_seconds=0.05)
    with transfer.using(silent), pytest.raises(DownloadError, match="ReadTimeout"):
        get()
    assert server.count(PATH) == SHORT.attempts


def test_a_server_that_never_answered_gets_no_further_attempt(server: FileServer) -> None:
    impatient = dataclasses.replace(SHORT, unanswered_seconds=0.0)
    server.faults[PATH] = Fault(hang=True)
    silent = dataclasses.replace(impatient, timeout_seconds=0.05)
    with transfer.using(silent), pytest.raises(DownloadError, match=r"failed 1 time .*ReadTimeout"):
        get()
    assert server.count(PATH) == 1
    for fault in (Fault(status=503), Fault(cut_after=0)):  # slow or broken, but there
        server.faults[PATH] = fault
        server.requests.clear()
        with transfer.using(impatient), pytest.raises(DownloadError, match="failed 4 times"):
            get()
        assert server.count(PATH) == SHORT.attempts


def test_a_slow_first_answer_is_waited_for(server: FileServer) -> None:
    server.faults[PATH] = Fault(hang=True, times=1)
    with transfer.using(dataclasses.replace(SHORT, timeout_seconds=1.0)):
        assert get().path.read_bytes() == CONTENT


def test_the_first_failed_attempt_is_a_warning(server: FileServer, caplog: pytest.LogCaptureFixture) -> None:
    server.faults[PATH] = Fault(status=503, times=3)
    with caplog.at_level(logging.INFO, logger="slowfast_zoo"):
        get()
    told = [each.levelname for each in caplog.records if "next attempt in" in each.message]
    assert told == ["WARNING", "INFO", "INFO"]


def test_connecting_has_a_patience_of_its_own() -> None:
    """Where packets are dropped, or nobody accepts what the system has taken."""
    hurried = dataclasses.replace(SHORT, connect_seconds=0.05, timeout_seconds=300.0)
    with socket.create_server(("127.0.0.1", 0)) as deaf, transfer.using(hurried):
        url = f"https://127.0.0.1:{deaf.getsockname()[1]}{PATH}"
        with pytest.raises(DownloadError, match=r"failed \d times? .*ConnectTimeout"):
            get(urls=(url,))


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("SLOWFAST_ZOO_MIRROR", f"{PUBLISHER}=http://127.0.0.1:{port}")
    with pytest.raises(DownloadError, match="ConnectError"):
        get()


# --- redirects and plain http -----------------------------------------------------------------------


def test_redirect_is_followed(server: FileServer) -> None:
    server.faults["/old.pth"] = Fault(status=302, headers={"Location": PATH})
    assert fetch([f"{PUBLISHER}/old.pth"], filename=NAME, digest=DIGEST).verified


def test_endless_redirect_is_refused(server: FileServer) -> None:
    server.faults[PATH] = Fault(status=302, headers={"Location": PATH})
    with pytest.raises(DownloadError, match="redirect"):
        get()


def test_plain_http_is_refused(server: FileServer) -> None:
    with pytest.raises(DownloadError, match="only https"):
        get(urls=(server.url + PATH,))
    assert server.requests == []


@pytest.fixture
def secure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FileServer]:
    """The file on an https server that this process trusts."""
    certificate = tmp_path / "certificate.pem"
    certificate.write_text(LOOPBACK_CERTIFICATE)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with FileServer({PATH: CONTENT}, tls=True) as running:
        yield running


def test_https_is_fetched_without_a_mirror(secure: FileServer) -> None:
    assert get(urls=(secure.url + PATH,)).url == secure.url + PATH


def test_https_to_http_redirect_is_refused(
    secure: FileServer, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    secure.faults[PATH] = Fault(status=302, headers={"Location": server.url + PATH})
    with pytest.raises(DownloadError, match=f"{server.url}{PATH} is refused"):
        get(urls=(secure.url + PATH,))
    monkeypatch.setenv("SLOWFAST_ZOO_MIRROR", f"{PUBLISHER}={secure.url}")
    with pytest.raises(DownloadError, match=f"{server.url}{PATH} is refused"):
        get()
    assert server.requests == []


def test_unknown_certificate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with (
        FileServer({PATH: CONTENT}, tls=True) as untrusted,
        pytest.raises(DownloadError, match=r"(?i)certificate"),
    ):
        get(urls=(untrusted.url + PATH,))


# --- interruptions ----------------------------------------------------------------------------------


def test_connection_cut_at_ten_points_is_resumed(server: FileServer) -> None:
    cuts = sorted(random.Random(2).sample(range(1, len(CONTENT)), 10))
    steps = [after - before for before, after in zip([0, *cuts], cuts, strict=False)]
    answers = iter(steps)
    original = server.faults.get

    class Cutting(dict[str, Fault]):
        def get(self, path: str, default: Fault | None = None) -> Fault | None:  # type: ignore[override]
            step = next(answers, None)
            return default if step is None else Fault(cut_after=step)

    server.faults = Cutting()
    assert original(PATH) is None
    assert get().path.read_bytes() == CONTENT
    assert [request.range for request in server.requests] == [None, *(f"bytes={cut}-" for cut in cuts)]


def run_fetch(server: FileServer, cache: Path, digest: str | None = DIGEST) -> subprocess.Popen[str]:
    """Another process that fetches the file and prints its hash."""
    code = f"""
        import sys
        from slowfast_zoo.weights.download import transfer
        from slowfast_zoo.weights.download.download import fetch
        transfer.using(transfer.Patience(backoff_seconds=0.001)).__enter__()
        print("ready", flush=True)
        sys.stdin.readline()
        print(fetch([{URL!r}], filename={NAME!r}, digest={digest!r}).sha256)
    """
    environment = dict(os.environ)
    environment |= {"SLOWFAST_ZOO_CACHE": str(cache), "SLOWFAST_ZOO_MIRROR": f"{PUBLISHER}={server.url}"}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_process_killed_at_ten_points_is_resumed(server: FileServer, settings: Path) -> None:
    part = part_in(settings, server)
    server.faults[PATH] = Fault(chunk_pause_seconds=0.002)
    random_points = sorted(random.Random(3).sample(range(1, len(CONTENT) - 100_000), 10))
    for point in random_points:
        process = run_fetch(server, settings)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        while (part.stat().st_size if part.exists() else 0) < point and process.poll() is None:
            time.sleep(0.001)
        process.kill()
        process.communicate()
        if (settings / NAME).exists():
            break  # this machine was too slow to kill it in time; what was loaded is judged below
        assert_nothing_usable(settings)
    server.faults.clear()
    assert get().path.read_bytes() == CONTENT
    resumed = [int(request.range[6:-1]) for request in server.requests if request.range]
    assert resumed and resumed == sorted(resumed) and resumed[-1] > 0
    assert not part.exists()


def test_eight_processes_share_one_download(server: FileServer, settings: Path) -> None:
    server.faults[PATH] = Fault(chunk_pause_seconds=0.02)
    processes = [run_fetch(server, settings) for _ in range(8)]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    results = [process.communicate(timeout=60) for process in processes]
    assert [output for output, _ in results] == [f"{SHA256}\n"] * 8
    assert server.count(PATH) == 1
    assert any("Waiting for another process" in errors for _, errors in results)


def test_threads_share_one_download(server: FileServer) -> None:
    found: list[Fetched] = []
    threads = [threading.Thread(target=lambda: found.append(get())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(found)) == 1
    assert server.count(PATH) == 1


def leave_a_part(server: FileServer, size: int, digest: str | None = DIGEST) -> None:
    """As a killed process does: ``size`` bytes and what they are the beginning of."""
    server.faults[PATH] = Fault(cut_after=size, times=1)
    with transfer.using(ONCE), pytest.raises(DownloadError):
        get(digest)
    server.requests.clear()


def test_ctrl_c_leaves_a_part_that_is_continued(
    server: FileServer, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.faults[PATH] = Fault(cut_after=100_000, times=1)

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(transfer.time, "sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            get()
    assert_nothing_usable(settings)
    assert get().path.read_bytes() == CONTENT
    assert server.requests[-1].range == "bytes=100000-"


@pytest.mark.parametrize("fault", [Fault(), Fault(ignore_if_range=True), Fault(ignore_range=True)])
@pytest.mark.parametrize("without", ["", "ETag"])
def test_a_remote_file_that_changed_is_not_spliced(server: FileServer, fault: Fault, without: str) -> None:
    server.files[PATH] = OTHER
    server.faults[PATH] = Fault(cut_after=150_000, times=1, drop_headers=(without,))
    with transfer.using(ONCE), pytest.raises(DownloadError):
        get(None)
    server.files[PATH] = CONTENT
    server.requests.clear()
    server.faults[PATH] = Fault(**(vars(fault) | {"drop_headers": (without,)}))
    assert get(None).sha256 == SHA256
    ranges = [request.range for request in server.requests]
    assert ranges == ["bytes=150000-", None] if fault.ignore_if_range else ranges == ["bytes=150000-"]


def test_weak_or_no_validator_means_starting_again(server: FileServer) -> None:
    for headers, drop in (({"ETag": 'W/"1"'}, ("Last-Modified",)), ({}, ("ETag", "Last-Modified"))):
        server.faults[PATH] = Fault(cut_after=150_000, times=1, headers=headers, drop_headers=drop)
        server.requests.clear()
        path = get().path
        assert [request.range for request in server.requests] == [None, None]
        path.unlink()


@pytest.mark.parametrize(
    "fault", [Fault(shift_range=5, times=1), Fault(shift_range=10**6), Fault(longest_range=90_000)]
)
def test_odd_ranges_are_noticed(server: FileServer, fault: Fault) -> None:
    # Without a digest, so that no hash hides what the ranges have spliced.
    leave_a_part(server, 150_000, None)
    server.faults[PATH] = fault
    assert get(None).sha256 == SHA256


def test_damaged_part_is_replaced(server: FileServer, settings: Path) -> None:
    leave_a_part(server, 150_000)
    part = part_in(settings, server)
    part.write_bytes(b"\0" * 150_000)
    assert get().path.read_bytes() == CONTENT
    assert [request.range for request in server.requests] == ["bytes=150000-", None]


@pytest.mark.parametrize(
    "state", ["", "{}", "[]", '{"validator": 2, "total": 3}', '{"validator": "v", "total": "3"}', "\0"]
)
def test_part_without_a_sound_state_is_replaced(server: FileServer, settings: Path, state: str) -> None:
    leave_a_part(server, 150_000)
    part = part_in(settings, server)
    part.with_name(f"{part.name}.json").write_text(state)
    assert get().path.read_bytes() == CONTENT
    assert server.requests[0].range is None


def test_every_url_has_a_part_of_its_own(server: FileServer, settings: Path) -> None:
    """Also where only the query tells two files apart: neither is continued by the other's bytes."""
    first, second = (URL + query for query in ("?file=1", "?file=2"))
    server.faults[PATH] = Fault(cut_after=150_000)
    for url, content in ((first, CONTENT), (second, OTHER)):
        server.files[PATH] = content
        with transfer.using(ONCE), pytest.raises(DownloadError):
            get(None, urls=(url,))
    parts = sorted(path.read_bytes() for path in settings.glob("*.part"))
    assert parts == sorted([CONTENT[:150_000], OTHER[:150_000]])
    server.faults.clear()
    server.files[PATH] = CONTENT
    server.requests.clear()
    assert get(urls=(first,)).sha256 == SHA256
    assert server.requests[0].range == "bytes=150000-"
    assert not list(settings.glob("*.part*")), "the file is there, and nobody continues the other one"


def test_an_interrupted_mirror_is_continued_after_another_one(
    server: FileServer, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_a_part(server, 150_000)
    with FileServer({PATH: CONTENT}) as second:
        second.faults[PATH] = Fault(status=404)
        monkeypatch.setenv("SLOWFAST_ZOO_MIRROR", f"{PUBLISHER}={second.url}, {PUBLISHER}={server.url}")
        assert get().path.read_bytes() == CONTENT
        assert second.count(PATH) == 1
    assert server.requests[0].range == "bytes=150000-"


def test_complete_part_needs_only_its_check(server: FileServer, settings: Path) -> None:
    leave_a_part(server, 150_000)
    part_in(settings, server).write_bytes(CONTENT)
    assert get().path.read_bytes() == CONTENT
    assert server.requests == []


@pytest.mark.parametrize("stamp", ["", "{}", "[1]", '{"size": 1}', '{"sha256": "../../x"}'])
def test_damaged_stamp_means_hashing_again(server: FileServer, settings: Path, stamp: str) -> None:
    get()
    (settings / f"{NAME}.stamp.json").write_text(stamp)
    assert get() == Fetched(settings / NAME, None, SHA256, True)
    assert server.count(PATH) == 1


# --- disks ------------------------------------------------------------------------------------------


def test_too_little_space_is_said_before_the_download(
    server: FileServer, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(DownloadError, match=r"0\.4 MB are needed and 0\.0 MB are free") as caught:
        get()
    assert str(settings) in str(caught.value) and URL in str(caught.value)
    assert_nothing_usable(settings)


def test_disk_that_fills_up(server: FileServer, settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(transfer.os, "fsync", full)
    with pytest.raises(DownloadError, match="No space left"):
        get()
    assert names(settings) <= {f"{NAME}.lock"}


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_write_that_fails_in_the_middle(server: FileServer, settings: Path) -> None:
    code = f"""
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        from slowfast_zoo.errors import DownloadError
        from slowfast_zoo.weights.download.download import fetch
        try:
            fetch([{URL!r}], filename={NAME!r}, digest={DIGEST!r})
        except DownloadError as error:
            print(error)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "can't be stored" in result.stdout and str(settings / NAME) in result.stdout
    assert_nothing_usable(settings)
    assert get().path.read_bytes() == CONTENT


@pytest.mark.skipif(sys.platform == "win32", reason="modes and users are POSIX")
@pytest.mark.parametrize("filled", [True, False])
def test_read_only_cache(server: FileServer, filled: bool) -> None:
    """The superuser may write anywhere, so the check runs as nobody where it can."""
    # Not below tmp_path, whose parents another user can't enter.
    folder = Path(tempfile.mkdtemp())
    try:
        if filled:
            (folder / NAME).write_bytes(CONTENT)
            (folder / NAME).chmod(0o644)
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
        code = f"""
            import os
            import httpx2, filelock, tqdm.auto, pathlib
            folder = pathlib.Path({str(folder)!r})
            from slowfast_zoo.errors import DownloadError
            from slowfast_zoo.weights.download.download import fetch
            if os.geteuid() == 0:
                os.setuid(65534)
            try:
                fetched = fetch([{URL!r}], filename={NAME!r}, digest={DIGEST!r}, folder=folder)
                print("found", fetched.sha256)
            except DownloadError as error:
                print(error)
        """
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        folder.chmod(stat.S_IRWXU)
        shutil.rmtree(folder)
    if filled:
        assert result.stdout == f"found {SHA256}\n"
    else:
        assert "can't be stored" in result.stdout and str(folder / NAME) in result.stdout


def test_cache_that_is_a_file(server: FileServer, settings: Path) -> None:
    settings.write_text("in the way")
    with pytest.raises(DownloadError, match="can't be stored"):
        get()


def test_folder_in_place_of_the_file(server: FileServer, settings: Path) -> None:
    (settings / NAME).mkdir(parents=True)
    with pytest.raises(DownloadError, match="in the way"):
        get()


# --- names and links that lead outside --------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x.pth", "/x.pth", "a/b.pth", "a\\b.pth", "C:x.pth", ".hidden", "x\0.pth", "x\n.pth",
     "x.pth.part", "x.pth.lock", "x.pth.stamp.json", "x" * 300, "net ü.pth"],
)  # fmt: skip
def test_names_that_are_no_plain_names_are_refused(server: FileServer, tmp_path: Path, name: str) -> None:
    with pytest.raises(DownloadError, match="plain name"):
        fetch([URL], filename=name, digest=None)
    assert server.requests == []
    assert names(tmp_path) == set()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
@pytest.mark.parametrize("ending", ["", ".part", ".part.json", ".stamp.json"])
@pytest.mark.parametrize("goal", ["file", "nothing", "itself"])
def test_links_out_of_the_cache_are_refused(
    server: FileServer, tmp_path: Path, settings: Path, ending: str, goal: str
) -> None:
    settings.mkdir()
    outside = tmp_path / "outside"
    if goal == "file":
        outside.write_bytes(b"precious")
    part = part_in(settings, server).name
    link = settings / (NAME + ending if "part" not in ending else ending.replace(".part", part))
    link.symlink_to(link if goal == "itself" else outside)
    with pytest.raises(DownloadError, match="leads out of its folder"):
        get()
    assert (outside.read_bytes() == b"precious") if goal == "file" else not outside.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_the_cache_itself_may_be_a_link(server: FileServer, tmp_path: Path, settings: Path) -> None:
    (tmp_path / "disk").mkdir()
    settings.symlink_to(tmp_path / "disk")
    assert get().path.read_bytes() == CONTENT


@pytest.mark.parametrize("path", ["/../../secret.pth", "/%2e%2e/secret.pth", "/..%2f..%2fsecret.pth"])
def test_urls_do_not_climb_out_of_a_mirror_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    (tmp_path / "secret.pth").write_bytes(CONTENT)
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.setenv("SLOWFAST_ZOO_MIRROR", str(tmp_path / "a" / "b"))
    monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
    with pytest.raises(OfflineError):
        get(urls=(PUBLISHER + path,))


HEADERS: dict[str, Fault] = {
    "length of 5000 digits": Fault(headers={"Content-Length": "9" * 5000}),
    "range of 5000 digits": Fault(status=206, headers={"Content-Range": f"bytes 0-1/{'9' * 5000}"}),
    "year of 20 digits": Fault(status=503, headers={"Retry-After": f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT"}),
    "seconds of 400 digits": Fault(status=503, headers={"Retry-After": "9" * 400}),
    "location that is none": Fault(status=302, headers={"Location": "https://[::1/x?sig=SECRET"}),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_headers_that_no_server_sends(server: FileServer, settings: Path, kind: str) -> None:
    server.faults[PATH] = HEADERS[kind]
    with pytest.raises(DownloadError) as caught:
        get(None)
    assert "SECRET" not in str(caught.value)
    assert_nothing_usable(settings)


@pytest.mark.parametrize("tag", ['"caf\xe9"', '"' + "a" * 5000 + '"'])
def test_an_odd_validator_is_no_validator(server: FileServer, tag: str) -> None:
    server.faults[PATH] = Fault(headers={"ETag": tag}, cut_after=100_000, times=2)
    assert get().path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xef\xbb\xbf<!DOCTYPE html><html>Sign in</html>",
        "\ufeff<html>Sign in</html>".encode("utf-16-le"),
        b"\n<!-- proxy --><html></html>",
    ],
)
def test_without_a_hash_nothing_and_pages_are_refused(
    server: FileServer, settings: Path, body: bytes
) -> None:
    server.files[PATH] = body
    with pytest.raises(DownloadError, match=r"web page|empty file"):
        get(None)
    assert_nothing_usable(settings)


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbfAccess denied",
        b'{\n\t"message": "rate limit: SECRET"\n}',
        "限流".encode() * 200,
        b"<Error><Code>AccessDenied</Code></Error>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4665\nsize 5\n",
    ],
)
def test_without_a_hash_text_is_refused_and_asked_for_again(
    server: FileServer, settings: Path, body: bytes
) -> None:
    server.files[PATH] = body
    with pytest.raises(DownloadError, match="answered with text instead of a file") as caught:
        get(None)
    assert "SECRET" not in str(caught.value)
    assert_nothing_usable(settings)
    server.files[PATH] = CONTENT
    assert get(None).path.read_bytes() == CONTENT


def test_a_pickle_of_letters_is_no_text(server: FileServer) -> None:
    server.files[PATH] = pickle.dumps({"blobs": {}}, protocol=0)
    assert get(None).path.read_bytes() == server.files[PATH]


def test_without_a_hash_a_range_of_no_version_is_not_joined(server: FileServer, settings: Path) -> None:
    leave_a_part(server, 100_000, None)
    server.files[PATH] = OTHER
    server.faults[PATH] = Fault(ignore_if_range=True, drop_headers=("ETag", "Last-Modified"))
    assert get(None).path.read_bytes() == OTHER


def test_a_server_that_sends_a_byte_now_and_then_is_given_up(server: FileServer) -> None:
    server.faults[PATH] = Fault(chunk_pause_seconds=0.03)
    hurried = dataclasses.replace(SHORT, window_seconds=0.02, slowest_bytes_per_second=10**9)
    with (
        transfer.using(hurried),
        pytest.raises(DownloadError, match=r"less than 1000000000 a second: given up"),
    ):
        get()


def test_secrets_of_a_mirror_are_told_nobody(
    settings: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with FileServer({PATH: CONTENT}) as running:
        address = running.url.replace("://", "://user:PASSWORD@")
        monkeypatch.setenv("SLOWFAST_ZOO_MIRROR", f"{PUBLISHER}={address}")
        query = f"{URL}?sig=SECRET"
        running.faults[PATH] = Fault(cut_after=100_000, times=1)
        with caplog.at_level(logging.DEBUG):
            fetched = get(urls=(query,))
            told = [repr(fetched), caplog.text, *(path.read_text("latin-1") for path in settings.iterdir())]
        running.files.clear()
        fetched.path.unlink()
        with pytest.raises(DownloadError) as caught:
            get(urls=(query,))
    told.append(str(caught.value))
    assert fetched.url == running.url + PATH
    assert not [text for text in told if "SECRET" in text or "PASSWORD" in text]


@pytest.mark.parametrize(
    "proxy", ["http://me:SECRET/x@127.0.0.1:9", "foo://me:SECRET@127.0.0.1", "me:SECRET"]
)
def test_a_malformed_proxy_is_said_without_its_password(
    proxy: str, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(DownloadError, match=r"as the environment says \(HTTPS_PROXY\): ") as caught:
        get()
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=404, reason="SECRET phrase"),
        Fault(status=503, reason="SECRET phrase"),
        Fault(status=302, headers={"Location": "data:text/plain,SECRET"}),
        Fault(status=302, headers={"Location": "ftp://user:PASSWORD@127.0.0.1/x?sig=SECRET"}),
        Fault(status=302, headers={"Location": "https://127.0.0.1:PASSWORD/x?sig=SECRET"}),
        Fault(status=302, headers={"Location": f"{PUBLISHER}/x?sig=SECRET"}),
        Fault(headers={"Content-Range": "SECRET", "Content-Length": "SECRET"}),
    ],
)
def test_what_a_server_says_is_not_quoted(server: FileServer, fault: Fault) -> None:
    server.faults[PATH] = fault
    with pytest.raises(DownloadError) as caught:
        get(None)
    told = "".join(traceback.format_exception(caught.value))
    assert "SECRET" not in told and "PASSWORD" not in told
    assert server.url + PATH in str(caught.value)


def test_a_deep_stamp_is_no_stamp(server: FileServer, settings: Path) -> None:
    first = get(None)
    (settings / f"{NAME}.stamp.json").write_text("[" * 100_000)
    assert get(None).sha256 == first.sha256


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_the_umask_decides_who_reads(server: FileServer, settings: Path) -> None:
    before = os.umask(0o027)
    try:
        fetched = get()
    finally:
        os.umask(before)
    for path in (fetched.path, settings / f"{NAME}.stamp.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_another_users_interrupted_download_is_replaced(
    server: FileServer, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_a_part(server, 100_000)
    theirs = part_in(settings, server)
    theirs.chmod(0o444)
    real = os.access  # root may write everything, so that a file's mode is asked instead
    monkeypatch.setattr(
        os, "access", lambda path, mode: real(path, mode) and bool(Path(path).stat().st_mode & 0o200)
    )
    assert get().path.read_bytes() == CONTENT
    assert get().path.stat().st_mode & 0o200


def test_import_is_light() -> None:
    heavy = "{'torch', 'huggingface_hub', 'httpx2', 'tqdm', 'filelock'}"
    code = f"import sys, slowfast_zoo.weights.download.download; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"
