"""A hub on this machine: what huggingface_hub asks of the real one, and a log of all that was asked."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

TOKEN = "hf_of_the_tests"
Files = dict[str, bytes]


@dataclass
class FakeRepository:
    """A repository: for each branch its commits, the newest last, each with all of its files."""

    private: bool = False
    branches: dict[str, list[Files]] = field(default_factory=lambda: {"main": [{}]})

    @property
    def files(self) -> Files:
        """The files of the main branch."""
        return self.branches["main"][-1]


def commit_of(files: Files) -> str:
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


class FakeHub:
    """A real HTTP server that keeps repositories, by USER/NAME, and answers as the hub does.

    As there, weights are large files: they are sent to and fetched from addresses of their own (Git LFS with
    basic transfers), by their SHA-256, which a commit then names.

    refusal: a status, the headers and a body that every request is answered with. refused_uploads: the status
    that the upload of a large file is answered with. log: what was asked. objects: the large files.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, FakeRepository] = {}
        self.log: list[str] = []
        self.refusal: tuple[int, dict[str, str], Any] | None = None
        self.refused_uploads: int | None = None
        self.objects: dict[str, bytes] = {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.body()
                hub.log.append(f"{self.command} {self.path.partition('?')[0]}")
                status, headers, content = hub.answer(self.command, unquote(self.path), body, self.headers)
                sent = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(sent)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(sent)

            do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 (names of http.server)

            def body(self) -> bytes:
                if self.headers["Transfer-Encoding"] != "chunked":
                    return self.rfile.read(int(self.headers["Content-Length"] or 0))
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.store = self.url.replace("127.0.0.1", "localhost")  # large files are at another host

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, body: bytes, asked: Any) -> tuple[int, dict[str, str], Any]:
        if self.refusal is not None:
            return self.refusal
        path = path.partition("?")[0]
        may_write = asked["Authorization"] == f"Bearer {TOKEN}"
        if path == "/api/validate-yaml":
            return 200, {}, {"errors": [], "warnings": []}
        if found := re.fullmatch("(/[^/]+/[^/]+)/lfs/([0-9a-f]{64})(/verify)?", path):
            return self._large_file(method, found[2], body)
        if method == "POST" and not may_write:
            return 401, {}, {"error": "Invalid username or password."}
        if path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}"
            status = 409 if name in self.repositories else 200
            is_private = wanted.get("visibility") == "private" or wanted.get("private") is True
            self.repositories.setdefault(name, FakeRepository(is_private))
            return status, {}, {"url": f"{self.url}/{name}"}
        if found := re.fullmatch("/([^/]+/[^/]+)[.]git/info/lfs/objects/batch", path):
            return self._batch(found[1], json.loads(body))
        if found := re.fullmatch("/api/models/([^/]+/[^/]+)(?:/(.*))?", path):
            return self._of_api(found[1], found[2] or "revision/main", body, may_write)
        if found := re.fullmatch("/([^/]+/[^/]+)/resolve/([^/]+)/(.*)", path):
            return self._file(found[1], found[2], found[3])
        return 404, {}, {"error": f"the fake hub does not know {path}"}

    def _of_api(self, name: str, rest: str, body: bytes, may_write: bool) -> tuple[int, dict[str, str], Any]:
        repository = self.repositories.get(name)
        if repository is None or (repository.private and not may_write):
            return 404, {"X-Error-Code": "RepoNotFound"}, {"error": "Repository not found"}
        action, _, revision = rest.partition("/")
        if action == "branch":
            repository.branches.setdefault(revision, [dict(repository.files)])
            return 200, {}, {}
        files = self._files(repository, revision)
        if files is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, {"error": "Revision not found"}
        if action == "revision":
            siblings = [{"rfilename": path} for path in files]
            about = {"id": name, "private": repository.private, "siblings": siblings}
            return 200, {}, about | {"sha": commit_of(files), "tags": [], "downloads": 0}
        if action == "tree":
            return 200, {}, [
                {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for path, content in files.items()
            ]  # fmt: skip
        if action == "preupload":
            paths = [file["path"] for file in json.loads(body)["files"]]
            return 200, {}, {"files": [
                {"path": path, "uploadMode": "lfs" if _is_large(path) else "regular", "shouldIgnore": False}
                for path in paths
            ]}  # fmt: skip
        if action == "commit":
            files = _committed(files, body, self.objects)
            repository.branches[revision].append(files)
            commit = commit_of(files)
            done = {"success": True, "commitOid": commit, "commitUrl": f"{self.url}/{name}/commit/{commit}"}
            return 200, {}, done
        return 404, {}, {"error": f"the fake hub does not know {rest}"}

    def _files(self, repository: FakeRepository, revision: str) -> Files | None:
        if revision in repository.branches:
            return repository.branches[revision][-1]
        commits = [files for branch in repository.branches.values() for files in branch]
        return next((files for files in commits if commit_of(files) == revision), None)

    def _file(self, name: str, revision: str, path: str) -> tuple[int, dict[str, str], Any]:
        files = self._files(self.repositories[name], revision)
        if files is None or path not in files:
            return 404, {"X-Error-Code": "EntryNotFound"}, {"error": "Entry not found"}
        content = files[path]
        if _is_large(path):
            oid = hashlib.sha256(content).hexdigest()
            self.objects[oid] = content
            linked = {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(content))}
            address = {"Location": f"{self.store}/{name}/lfs/{oid}", "X-Repo-Commit": commit_of(files)}
            return 302, address | linked, b""
        etag = hashlib.sha1(content).hexdigest()
        return 200, {"ETag": f'"{etag}"', "X-Repo-Commit": commit_of(files)}, content

    def _batch(self, name: str, wanted: Any) -> tuple[int, dict[str, str], Any]:
        """Where to send the large files that are not here yet."""
        assert wanted["operation"] == "upload"
        assert "basic" in wanted["transfers"]
        objects = []
        for entry in wanted["objects"]:
            href = f"{self.store}/{name}/lfs/{entry['oid']}"
            actions = {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}
            objects.append(entry | ({} if entry["oid"] in self.objects else {"actions": actions}))
        return 200, {}, {"transfer": "basic", "objects": objects}

    def _large_file(self, method: str, oid: str, body: bytes) -> tuple[int, dict[str, str], Any]:
        if method == "PUT":
            if self.refused_uploads is not None:
                return self.refused_uploads, {}, {"error": "no"}
            if hashlib.sha256(body).hexdigest() != oid:
                return 400, {}, {"error": "another content"}
            self.objects[oid] = body
            return 200, {}, b""
        if oid not in self.objects:
            return 404, {}, {"error": "no such object"}
        if method == "POST":
            is_whole = json.loads(body) == {"oid": oid, "size": len(self.objects[oid])}
            return (200 if is_whole else 422), {}, {}
        return 200, {"ETag": f'"{oid}"'}, self.objects[oid]


def _is_large(path: str) -> bool:
    return path.endswith(".safetensors")


def _committed(files: Files, body: bytes, objects: Mapping[str, bytes]) -> Files:
    """The files after a commit in the hub's format: JSON lines, each with a key and a value."""
    files = dict(files)
    for line in body.splitlines():
        operation = json.loads(line)
        value = operation["value"]
        if operation["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif operation["key"] == "lfsFile":
            files[value["path"]] = objects[value["oid"]]
        elif operation["key"] == "deletedFile":
            del files[value["path"]]
    return files


@pytest.fixture
def hub_cache(tmp_path: Path) -> Path:
    """The folder of huggingface_hub's cache."""
    return tmp_path / "hub-cache"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, hub_cache: Path) -> Iterator[FakeHub]:
    """A hub on this machine that huggingface_hub asks in this process, with an empty cache; logged in."""
    from huggingface_hub import constants

    server = FakeHub()
    # Read from the environment when the library is loaded.
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # a protocol that this server does not speak
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub_cache))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield server
    server.close()


@pytest.fixture
def put(hub: FakeHub) -> Callable[..., FakeRepository]:
    """put("ada/tales", folder): the files of a folder as a repository of the hub."""

    def make(name: str, folder: Path, *, private: bool = False) -> FakeRepository:
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        hub.repositories[name] = FakeRepository(private, {"main": [files]})
        return hub.repositories[name]

    return make
