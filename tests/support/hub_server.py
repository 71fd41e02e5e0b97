"""A small Hugging Face Hub on the loopback interface: what the real client asks for, and nothing else.

Repositories with commits, branches, git-LFS uploads, private repositories behind a token. Weights are
LFS files as on the Hub; the client is told not to use Xet, whose storage servers can't be imitated here.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from typing import Any
from urllib.parse import unquote, urlsplit

from support.servers import LocalServer, QuietHandler

LFS_ENDINGS = (".safetensors",)


@dataclasses.dataclass
class Repository:
    """One model repository."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = dataclasses.field(default_factory=dict)
    """Hash -> every file of that commit."""
    refs: dict[str, str] = dataclasses.field(default_factory=dict)
    """Branch or tag -> hash."""

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """The hash of a new commit that adds files to a branch."""
        whole = {**self.commits.get(self.refs.get(branch, ""), {}), **files}
        text = repr((len(self.commits), sorted(whole.items()))).encode()
        digest = hashlib.sha1(text, usedforsecurity=False).hexdigest()
        self.commits[digest], self.refs[branch] = whole, digest
        return digest


class HubServer(LocalServer):
    """Serves ``repositories`` until the ``with`` block ends.

    Attributes:
        url: the endpoint.
        repositories: "owner/name" -> repository; may be changed while running.
        token: what writing and private repositories ask for; None: nothing.
        requests: "METHOD /path" of everything that arrived, in order.
        broken: status that every request is answered with, when set.
    """

    def __init__(self, token: str | None = None) -> None:
        self.repositories: dict[str, Repository] = {}
        self.uploads: dict[str, bytes] = {}
        self.token, self.broken = token, None
        self.requests: list[str] = []
        super().__init__(_Handler)
        self.url = f"http://127.0.0.1:{self.port}"

    broken: int | None


class _Refused(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class _Handler(QuietHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        owner, path = self.server.owner, unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        owner.requests.append(f"{self.command} {path}")
        try:
            if owner.broken:
                raise _Refused(owner.broken, message="out of order")
            status, headers, content = self._route(path.strip("/").split("/"), body)
        except _Refused as refused:
            headers = {"X-Error-Code": refused.code, "X-Error-Message": refused.message}
            status, content = refused.status, json.dumps({"error": refused.message}).encode()
            headers = {name: value for name, value in headers.items() if value}
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _route(self, steps: list[str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        match self.command, steps:
            case "POST", ["api", "validate-yaml"]:
                return _json({"errors": [], "warnings": []})
            case "POST", ["api", "repos", "create"]:
                return self._create(json.loads(body))
            case "POST", ["api", "models", user, name, "preupload", _]:
                self._writable(f"{user}/{name}")
                return _json({"files": [_mode(file["path"]) for file in json.loads(body)["files"]]})
            case "POST", ["api", "models", user, name, "commit", branch]:
                return self._commit(f"{user}/{name}", branch, body)
            case "POST", [user, name, "info", "lfs", "objects", "batch"]:
                self._writable(f"{user}/{name.removesuffix('.git')}")
                return _json({"objects": [self._upload_place(item) for item in json.loads(body)["objects"]]})
            case "PUT", ["lfs", digest]:
                if hashlib.sha256(body).hexdigest() != digest:
                    raise _Refused(400, message="another file arrived than was announced")
                self.server.owner.uploads[digest] = body
                return _json({})
            case "GET", ["api", "models", user, name]:
                return self._info(f"{user}/{name}", "main")
            case "GET", ["api", "models", user, name, "revision", revision]:
                return self._info(f"{user}/{name}", revision)
            case "GET", ["api", "models", user, name, "tree", revision]:
                _, files = self._files(f"{user}/{name}", revision)
                return _json([_listed(path, content) for path, content in files.items()])
            case (("GET" | "HEAD"), [user, name, "resolve", revision, *path]):
                return self._file(f"{user}/{name}", revision, "/".join(path))
        raise _Refused(404, message=f"this Hub has no {self.command} /{'/'.join(steps)}")

    def _authorised(self) -> bool:
        token = self.server.owner.token
        return token is None or self.headers.get("Authorization") == f"Bearer {token}"

    def _readable(self, repo_id: str) -> Repository:
        repository = self.server.owner.repositories.get(repo_id)
        if repository is None or (repository.private and not self._authorised()):
            raise _Refused(404 if self._authorised() else 401, "RepoNotFound", "Repository not found")
        return repository

    def _writable(self, repo_id: str) -> Repository:
        if not self._authorised():
            raise _Refused(401, message="Invalid credentials in Authorization header")
        return self._readable(repo_id)

    def _files(self, repo_id: str, revision: str) -> tuple[str, dict[str, bytes]]:
        repository = self._readable(repo_id)
        digest = repository.refs.get(revision, revision)
        if digest not in repository.commits:
            raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return digest, repository.commits[digest]

    def _info(self, repo_id: str, revision: str) -> tuple[int, dict[str, str], bytes]:
        digest, files = self._files(repo_id, revision)
        return _json({"id": repo_id, "sha": digest, "siblings": [{"rfilename": path} for path in files]})

    def _file(self, repo_id: str, revision: str, path: str) -> tuple[int, dict[str, str], bytes]:
        digest, files = self._files(repo_id, revision)
        if path not in files:
            raise _Refused(404, "EntryNotFound", "Entry not found")
        tag = hashlib.sha256(files[path]).hexdigest()
        return 200, {"X-Repo-Commit": digest, "ETag": f'"{tag}"', "Accept-Ranges": "bytes"}, files[path]

    def _create(self, asked: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        if not self._authorised():
            raise _Refused(401, message="Invalid credentials in Authorization header")
        owner, repo_id = self.server.owner, f"{asked['organization']}/{asked['name']}"
        status = 409 if repo_id in owner.repositories else 200
        if status == 200:
            repository = Repository(private=asked.get("visibility") == "private")
            repository.commit({".gitattributes": b""})
            owner.repositories[repo_id] = repository
        return _json({"url": f"{owner.url}/{repo_id}"}, status)

    def _upload_place(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["oid"] in self.server.owner.uploads:
            return item
        return item | {"actions": {"upload": {"href": f"{self.server.owner.url}/lfs/{item['oid']}"}}}

    def _commit(self, repo_id: str, branch: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        repository, files = self._writable(repo_id), {}
        for line in body.splitlines():
            item = json.loads(line)
            if item["key"] == "file":
                files[item["value"]["path"]] = base64.b64decode(item["value"]["content"])
            elif item["key"] == "lfsFile":
                files[item["value"]["path"]] = self.server.owner.uploads[item["value"]["oid"]]
        digest = repository.commit(files, branch)
        url = f"{self.server.owner.url}/{repo_id}/commit/{digest}"
        return _json({"commitOid": digest, "commitUrl": url})


def _json(value: object, status: int = 200) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _mode(path: str) -> dict[str, object]:
    mode = "lfs" if path.endswith(LFS_ENDINGS) else "regular"
    return {"path": path, "uploadMode": mode, "shouldIgnore": False}


def _listed(path: str, content: bytes) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(content), "oid": digest[:40]}
    if path.endswith(LFS_ENDINGS):
        entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
    return entry
