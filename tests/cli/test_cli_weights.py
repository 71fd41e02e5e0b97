"""``download``, ``convert``, ``push``, ``publish`` and ``doctor``, with a catalog of small networks."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import re
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cli.commands import run
from support.hub_server import HubServer
from support.publisher_files import SPEC, WRITERS, trained
from support.servers import FileServer

from slowfast_zoo.cli.machine import _ask, _cache
from slowfast_zoo.errors import DownloadError
from slowfast_zoo.spec import ClipSpec
from slowfast_zoo.video.transforms.compiled import library
from slowfast_zoo.weights import catalog
from slowfast_zoo.weights.catalog import get_weights
from slowfast_zoo.weights.catalog.datasets import CHARADES
from slowfast_zoo.weights.catalog.entry import Metrics, WeightEntry
from slowfast_zoo.weights.download import transfer
from slowfast_zoo.weights.saved.config import read_config
from slowfast_zoo.weights.saved.hub import from_pretrained
from slowfast_zoo.zoo import create_model

CLASSES = SPEC.replace(num_classes=157)
CLIP = ClipSpec(num_frames=8)
GONE = "https://127.0.0.1:9/gone.pth"


def row(model: str, tag: str, kind: str, content: bytes | None) -> WeightEntry:
    dialect = WRITERS[kind][1]
    return WeightEntry(
        model=model,
        tag=tag,
        urls=(f"https://publisher.example/{tag}.pth",) if content else (GONE,),
        digest=None if content is None else f"sha256:{hashlib.sha256(content).hexdigest()}",
        file_kind="torch",
        dialect=dialect,  # type: ignore[arg-type]
        model_spec=CLASSES if model == "tiny_a" else CLASSES.replace(depth=26),
        clip_spec=CLIP,
        data=CHARADES,
        metrics=Metrics.measured(CLIP, top1=61.5),
        source="https://publisher.example/zoo",
        config_name=f"config_{model}_{kind}",
    )


@pytest.fixture
def files(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, bytes]]:
    """The catalog is replaced by two models; three of its four files are on the publisher's server."""
    folder, served, rows = tmp_path_factory.mktemp("publisher"), {}, []
    for seed, (model, tag, kind) in enumerate(
        (
            ("tiny_a", "mmaction2/x", "openmmlab-2021"),
            ("tiny_a", "gluoncv/x@01234567", "gluoncv"),
            ("tiny_a", "pytorchvideo/gone", "pytorchvideo"),
            ("tiny_b", "mmaction2/x26", "openmmlab-2020"),
        )
    ):
        spec = CLASSES if model == "tiny_a" else CLASSES.replace(depth=26)
        WRITERS[kind][0](folder / "file", trained(spec, seed).state_dict(), spec)
        content = None if "gone" in tag else (folder / "file").read_bytes()
        rows.append(row(model, tag, kind, content))
        if content:
            served[f"/{tag}.pth"] = content
    with catalog.using(rows), transfer.using(transfer.Patience(backoff_seconds=0.0)):
        yield served


@pytest.fixture
def publisher(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    with FileServer(files) as server:
        monkeypatch.setenv("SLOWFAST_ZOO_MIRROR", f"https://publisher.example={server.url}")
        yield server


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    from huggingface_hub import constants

    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield server


def numbers(model: torch.nn.Module) -> float:
    return sum(tensor.double().sum().item() for tensor in model.state_dict().values())


# --- download ------------------------------------------------------------------------------------


def test_download_one(publisher: FileServer) -> None:
    text = run("download", "tiny_a").stdout
    assert "tiny_a:mmaction2/x: " in text
    assert "MB, verified)" in text
    run("download", "tiny_a:mmaction2/x")
    assert publisher.count("/mmaction2/x.pth") == 1
    assert "gluoncv" in run("download", "tiny_a:gluoncv/x@01234567").stdout


def test_download_all_fills_a_mirror_and_goes_on_past_failures(
    publisher: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run("download", "--all", "--to", tmp_path / "mirror", status=1)
    assert "tiny_b:mmaction2/x26: " in result.stdout, "rows behind the failing one are fetched"
    assert "tiny_a:pytorchvideo/gone: failed" in result.stdout
    assert GONE in result.stderr
    assert "1 of 4 failed." in result.stderr
    publisher.files.clear()
    monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
    monkeypatch.setenv("SLOWFAST_ZOO_MIRROR", str(tmp_path / "mirror"))
    for name, tag in (("tiny_a", "mmaction2/x"), ("tiny_a", "gluoncv/x@01234567"), ("tiny_b", "default")):
        model = create_model(name, weights=tag)
        assert model.provenance["verified"]


def test_download_all_of_one_model(publisher: FileServer) -> None:
    assert "tiny_a" not in run("download", "tiny_b", "--all").stdout


def test_download_of_what(files: dict[str, bytes], tmp_path: Path) -> None:
    assert "Give a MODEL" in run("download", status=2).stderr
    assert "is there already" in run("download", tmp_path, status=1).stderr


def test_download_of_what_is_inside_the_package(tmp_path: Path) -> None:
    told = run("download", "slowfast_tiny", "--to", tmp_path / "none").stdout
    assert told == "slowfast_tiny: inside this package, nothing to download.\n", "names no folder"


def test_download_of_an_unknown_name(files: dict[str, bytes]) -> None:
    assert "no weights 'mmaction2/y'" in run("download", "tiny_a:mmaction2/y", status=1).stderr


# --- convert -------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["mmaction2/x", "gluoncv/x@01234567"])
def test_convert_a_published_file(files: dict[str, bytes], tag: str, tmp_path: Path) -> None:
    (tmp_path / "any name").write_bytes(files[f"/{tag}.pth"])
    assert "tiny_a, 157 classes" in run("convert", tmp_path / "any name", tmp_path / "out").stdout
    model = from_pretrained(tmp_path / "out")
    assert numbers(model) == numbers(trained(CLASSES, seed=0 if tag == "mmaction2/x" else 1))
    assert (model.spec, model.clip_spec) == (CLASSES, CLIP)
    assert model.labels == get_weights("tiny_a").labels
    assert model.provenance["file"] == "any name"
    metrics = read_config(tmp_path / "out" / "config.json").metrics
    assert metrics is not None and metrics["top1"] == 61.5
    for source in (tmp_path / "out", tmp_path / "out" / "model.safetensors"):
        run("convert", source, tmp_path / "copy", "--overwrite")
        assert read_config(tmp_path / "copy" / "config.json").metrics == metrics
    again = run("convert", tmp_path / "any name", tmp_path / "out", status=1).stderr
    assert "model.safetensors' exists; give --overwrite" in again
    run("convert", tmp_path / "any name", tmp_path / "out", "--overwrite")


def test_convert_a_fine_tuned_file(files: dict[str, bytes], tmp_path: Path) -> None:
    spec = SPEC.replace(depth=26, num_classes=3)
    WRITERS["openmmlab-1x"][0](tmp_path / "f.pth", trained(spec).state_dict(), spec)
    assert "tiny_b, 3 classes without names" in run("convert", tmp_path / "f.pth", tmp_path / "a").stdout
    (tmp_path / "names.txt").write_text("rot\ngrün\nblau\n", encoding="utf-8")
    run("convert", tmp_path / "f.pth", tmp_path / "b", "--labels", tmp_path / "names.txt")
    assert from_pretrained(tmp_path / "b").labels == ("rot", "grün", "blau")
    (tmp_path / "names.txt").write_text("\ufeff2 blau\n0 rot\n1 grün\n", encoding="utf-8")
    run("convert", tmp_path / "f.pth", tmp_path / "d", "--labels", tmp_path / "names.txt")
    assert from_pretrained(tmp_path / "d").labels == ("rot", "grün", "blau")
    (tmp_path / "names.txt").write_text("rot\n", encoding="utf-8")
    result = run("convert", tmp_path / "f.pth", tmp_path / "c", "--labels", tmp_path / "names.txt", status=1)
    assert "1 names for 3 classes" in result.stderr
    assert not (tmp_path / "c").exists()
    (tmp_path / "names.txt").write_text("")
    result = run(
        "convert", "tiny_a:pytorchvideo/gone", tmp_path / "c", "--labels", tmp_path / "names.txt", status=1
    )
    assert "is empty" in result.stderr, "before anything is fetched"


@pytest.mark.parametrize("like", ["tiny_a", "tiny_a:mmaction2/x", "tiny_a:gluoncv/x@01234567"])
def test_convert_a_file_of_no_row(files: dict[str, bytes], like: str, tmp_path: Path) -> None:
    """No row of this catalog is PySlowFast's, so the user says whose network and input it is."""
    WRITERS["pyslowfast"][0](tmp_path / "f.pkl", trained(CLASSES).state_dict(), CLASSES)
    result = run("convert", tmp_path / "f.pkl", tmp_path / "out", status=1)
    assert "is no network of the catalog" in result.stderr and "--like NAME" in result.stderr
    run("convert", tmp_path / "f.pkl", tmp_path / "out", "--like", like)
    assert numbers(from_pretrained(tmp_path / "out")) == numbers(trained(CLASSES))


def test_convert_what_is_no_checkpoint(files: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "page").write_text("<!doctype html><html></html>")
    assert "is a web page" in run("convert", tmp_path / "page", tmp_path / "out", status=1).stderr
    missing = run("convert", tmp_path / "none", tmp_path / "out", status=1).stderr
    assert "There is no model, folder or file" in missing
    wrong = run("convert", tmp_path / "page", tmp_path / "out", "--like", "tiny_c", status=1).stderr
    assert "Did you mean 'tiny_b' or 'tiny_a'" in wrong
    assert not (tmp_path / "out").exists()


# --- push and publish ----------------------------------------------------------------------------


def test_push(files: dict[str, bytes], hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(files["/mmaction2/x.pth"])
    run("convert", tmp_path / "file", tmp_path / "saved")
    commit = run("push", tmp_path / "saved", "someone/tiny", "--private").stdout.strip()
    assert hub.repositories["someone/tiny"].private
    assert numbers(from_pretrained("someone/tiny", revision=commit)) == numbers(trained(CLASSES))
    assert "is no folder" in run("push", tmp_path / "none", "someone/tiny", status=1).stderr


def test_publish_converts_what_can_be_reached(publisher: FileServer, hub: HubServer) -> None:
    result = run("publish", "org", "--dry-run", "tiny_a:mmaction2*")
    assert "would become org/tiny_a.mmaction2.x" in result.stdout
    assert not hub.repositories
    result = run("publish", "org", status=1)
    assert set(hub.repositories) == {
        "org/tiny_a.mmaction2.x",
        "org/tiny_a.gluoncv.x.01234567",
        "org/tiny_b.mmaction2.x26",
    }
    assert "tiny_a:pytorchvideo/gone: failed" in result.stdout
    assert "1 of 4 failed." in result.stderr
    repository = hub.repositories["org/tiny_a.gluoncv.x.01234567"]
    assert (
        f'hub_repo="org/tiny_a.gluoncv.x.01234567", hub_revision="{repository.refs["main"]}"' in result.stdout
    )
    assert b"| top1 | 61.5 |" in repository.commits[repository.refs["main"]]["README.md"]
    assert "No weight's 'model:tag' fits" in run("publish", "org", "nothing*", status=1).stderr


# --- a published copy takes the publisher's place ---------------------------------------------------


@pytest.fixture
def copied(publisher: FileServer, hub: HubServer) -> WeightEntry:
    """The first row, knowing its copy on the Hub."""
    run("publish", "org", "tiny_a:mmaction2*")
    revision = hub.repositories["org/tiny_a.mmaction2.x"].refs["main"]
    entry = get_weights("tiny_a", "mmaction2/x")
    return dataclasses.replace(entry, hub_repo="org/tiny_a.mmaction2.x", hub_revision=revision)


def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOWFAST_ZOO_CACHE", str(tmp_path / "fresh"))


def test_hub_copy_comes_before_the_publisher(
    copied: WeightEntry, publisher: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh_cache(tmp_path, monkeypatch)
    monkeypatch.delenv("SLOWFAST_ZOO_MIRROR")
    asked = len(publisher.requests)
    model = create_model("tiny_a", weights=copied)
    assert numbers(model) == numbers(trained(CLASSES))
    assert model.provenance["hub"] == f"{copied.hub_repo}@{copied.hub_revision}"
    assert (model.provenance["tag"], model.provenance["verified"]) == (copied.tag, True)
    assert model.labels == copied.labels
    assert len(publisher.requests) == asked
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert numbers(create_model("tiny_a", weights=copied)) == numbers(model)
    assert create_model("tiny_a", weights=copied, num_classes=3, in_channels=1).spec.in_channels == 1


def test_mirrors_come_before_the_hub_copy(
    copied: WeightEntry, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh_cache(tmp_path, monkeypatch)
    asked = len(hub.requests)
    assert "hub" not in create_model("tiny_a", weights=copied).provenance
    assert len(hub.requests) == asked


@pytest.mark.parametrize("trouble", ["no repository", "another row's", "Hub down", "no client"])
def test_without_the_hub_copy_the_publisher_is_asked(
    trouble: str, copied: WeightEntry, publisher: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh_cache(tmp_path, monkeypatch)
    entry = copied
    if trouble == "no repository":
        entry = dataclasses.replace(copied, hub_repo="org/none")
    elif trouble == "another row's":
        other = get_weights("tiny_a", "gluoncv/x@01234567")
        entry = dataclasses.replace(other, hub_repo=copied.hub_repo, hub_revision=copied.hub_revision)
    elif trouble == "no client":  # as with torch.hub, which needs none
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    else:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between huggingface_hub's attempts
    path = f"/{entry.tag}.pth"
    # The mirror answers the second time only: first as a mirror, then in the publisher's place.
    from slowfast_zoo.weights import store

    real, calls = store.fetch_weights, []

    def fetch(entry: WeightEntry, *, mirrors_only: bool = False, progress: bool = True) -> object:
        calls.append(mirrors_only)
        if mirrors_only:
            raise DownloadError("no mirror has it")
        return real(entry, progress=progress)

    monkeypatch.setattr(store, "fetch_weights", fetch)
    model = create_model("tiny_a", weights=entry)
    assert calls == [True, False]
    assert "hub" not in model.provenance
    assert publisher.count(path) >= 1


# --- doctor --------------------------------------------------------------------------------------


def _forbidden(*_: object) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cached").write_bytes(b"x" * 2_000_000)
    monkeypatch.setenv("SLOWFAST_ZOO_CACHE", str(tmp_path))
    monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("SLOWFAST_ZOO_MIRROR", "https://a.example=https://user:word@b.example")
    report = json.loads(run("doctor", "--json").stdout)
    assert report["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert report["network"] == {"offline mode": "on"}
    assert (report["cache"]["files"], report["cache"]["size"]) == (1, "2.0 MB")
    assert report["settings"]["HF_TOKEN"] == "set"
    assert report["settings"]["SLOWFAST_ZOO_MIRROR"] == "https://a.example=https://b.example"
    assert report["problems"] == []
    assert report["exact resize"][0].startswith("compiled" if library() else "by NumPy")
    verdicts = report["self-test"]
    assert verdicts["float32 as engines compute"].startswith("right")
    assert all(verdict.startswith("right") for verdict in verdicts.values() if "refused" not in verdict)
    monkeypatch.setattr(Path, "rglob", _forbidden)
    assert "files" not in _cache() and _cache()["writable"]
    text = run("doctor").stdout
    assert "secret" not in text
    assert "word@" not in text


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("HTTPS_PROXY", "me:SECRET@proxy.corp:3128", "proxy.corp:3128"),
        ("HTTPS_PROXY", "http://me:SECRET@proxy.corp:3128", "http://proxy.corp:3128"),
        ("HTTPS_PROXY", "http:/me:SECRET@proxy.corp:3128", "http:/proxy.corp:3128"),
        ("HTTPS_PROXY", "http://me:SEC/RET@proxy.corp:3128", "http://me"),
        ("https_proxy", "http://me:SECRET@proxy.corp:3128", "http://proxy.corp:3128"),
        ("ALL_PROXY", "socks5://me:SECRET@proxy.corp:1080", "socks5://proxy.corp:1080"),
        ("SSL_CERT_FILE", "HOME/me@corp/certificates.pem", "~/me@corp/certificates.pem"),
        ("HF_ENDPOINT", "https://hub.corp/?token=SECRET", "https://hub.corp/"),
        ("SLOWFAST_ZOO_MIRROR", "https://a=https://b/?sig=SECRET", "https://a=https://b/"),
        ("SLOWFAST_ZOO_MIRROR", "/data/me,https://a=https://me:SEC,RET@b", "/data/me,https://a=https://me,b"),
        ("SLOWFAST_ZOO_MIRROR", "https://a=https://me:SECRET@b/x,/c#d", "https://a=https://b/x,/c#d"),
        ("SLOWFAST_ZOO_CACHE", "HOME/cache", "~/cache"),
        ("SLOWFAST_ZOO_CACHE", "HOME", "~"),
        ("SLOWFAST_ZOO_CACHE", "HOMEland/cache", "HOMEland/cache"),
        ("SLOWFAST_ZOO_CACHE", "C:\\data\\me@corp\\x", "C:\\data\\me@corp\\x"),
    ],
)
def test_doctor_leaves_out_what_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, shown: str
) -> None:
    from slowfast_zoo.cli import machine

    home = tmp_path / "me"
    monkeypatch.setattr(machine, "_self_test", dict)
    monkeypatch.setattr(machine, "_measured", lambda: {"torch": f"missing ({home / 'lib.so'})"})
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
    monkeypatch.setenv(name, value.replace("HOME", str(home)))
    report = json.loads(run("doctor", "--json").stdout)
    assert report["settings"][name] == shown.replace("HOME", str(home))
    assert report["engines measured"] == {"torch": f"missing (~{os.sep}lib.so)"}
    assert "SECRET" not in json.dumps(report)


def test_doctor_shows_every_setting_of_the_docs_and_the_packages_of_every_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slowfast_zoo.cli import machine

    monkeypatch.setattr(machine, "_self_test", dict)
    monkeypatch.setattr("slowfast_zoo.runtime.machine.versions", lambda *names: dict.fromkeys(names, "1"))
    root = Path(__file__).parents[2]
    table = (root / "docs" / "weights.md").read_text(encoding="utf-8").partition("| setting |")[2]
    settings = re.findall("`([A-Z_]+)[`=]", table.partition("\n\n")[0])
    assert len(settings) == 13
    for name in settings:
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    needed = [each for extra in extras.keys() - {"cluster", "docs", "test"} for each in extras[extra]]
    report = json.loads(run("doctor", "--json").stdout)
    assert report["settings"].keys() >= set(settings)
    assert report["versions"].keys() >= {re.match(r"[\w-]+", each)[0] for each in needed}  # type: ignore[index]


@pytest.mark.parametrize("endpoint", ["https://me:SECRET@127.0.0.1:9", "https://me:SECRET", "me:SECRET@h"])
@pytest.mark.parametrize("proxy", [None, "http://me:SECRET/x@127.0.0.1:9", "foo://me:SECRET@127.0.0.1:9"])
def test_doctor_asks_without_telling_passwords(
    endpoint: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slowfast_zoo.cli import machine

    monkeypatch.setattr(machine, "_self_test", dict)
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    if proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
    with catalog.using([]):
        report = json.loads(run("doctor", "--json").stdout)
    assert [answer.startswith("not reached") for answer in report["network"].values()] == [True]
    assert "SECRET" not in json.dumps(report)


def test_doctor_asks_the_hosts(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    with FileServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        entry = dataclasses.replace(get_weights("tiny_a"), urls=(GONE,))
        with catalog.using([entry]):
            network = json.loads(run("doctor", "--json").stdout)["network"]
    assert network[server.url].startswith("reached")  # it answers 404, which is an answer
    assert network["https://127.0.0.1:9"].startswith("not reached")
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", "socks5://user:PASSWORD@127.0.0.1:9")
    assert "not reached (the network can't be used as the environment says (" in _ask("https://127.0.0.1:9")


@pytest.mark.usefixtures("bfloat16_kernels")
def test_doctor_finds_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from slowfast_zoo.cli import machine
    from slowfast_zoo.runtime import convolutions

    (tmp_path / "file").touch()
    monkeypatch.setenv("SLOWFAST_ZOO_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
    monkeypatch.setattr(
        convolutions, "try_convolutions", lambda asked, _: dict.fromkeys(asked, "it gives NaN")
    )
    monkeypatch.setattr(machine, "REQUIRED", ("torch", "no-such-package"))
    problems = " ".join(json.loads(run("doctor", "--json", status=1).stdout)["problems"])
    assert "no-such-package is missing" in problems
    assert "cache folder can't be written" in problems
    assert "bfloat16 as engines compute failed: " in problems
    assert "stride (8, 1, 1), maps of 32x4x4: it gives NaN" in problems
    assert "kernel (7, 1, 1), stride (4, 1, 1), maps of 16x4x4: it gives NaN" in problems
    assert "stride (1, 1, 1), dilation (1, 2, 2), maps of 4x4x4: it gives NaN" in problems


@pytest.mark.usefixtures("bfloat16_kernels")
def test_doctor_calls_nothing_wrong_or_right_that_was_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    from slowfast_zoo.runtime import convolutions

    monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
    for answer in (*convolutions.ACCIDENTS, convolutions.NOT_TRIED):
        monkeypatch.setattr(
            convolutions, "try_convolutions", lambda asked, _, said=answer: dict.fromkeys(asked, said)
        )
        report = json.loads(run("doctor", "--json").stdout)
        assert len(report["self-test"]) == 4 and not report["problems"]
        assert all(each.startswith("not known: ") and answer in each for each in report["self-test"].values())
