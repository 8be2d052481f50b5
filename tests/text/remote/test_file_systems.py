"""Texts by way of fsspec: with its file system in memory, and one line for each failure of a library."""

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from textgen.errors import CorpusError
from textgen.text.remote import file_systems, urls
from textgen.text.remote.copies import RemoteCache
from textgen.text.remote.file_systems import open_file_system
from textgen.text.remote.transfer import Held, Unreachable

URL = "memory://folder/a.txt"


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The file system in memory, whose URLs only tests may use."""
    monkeypatch.setattr(urls, "PROTOCOLS", (*urls.PROTOCOLS, "memory"))
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/", recursive=True)


def test_a_text_is_fetched_once_for_each_version(memory: Any, tmp_path: Path) -> None:
    cache = RemoteCache(tmp_path)
    for content in (b"first", b"other"):
        memory.pipe("/folder/a.txt", content)
        fetched = cache.fetch(URL)
        assert fetched.path.read_bytes() == content
        assert fetched.path.suffix == ".txt"
        with open_file_system(URL, Held()) as transfer:
            version = transfer.version
        fetched.path.touch()
        before = fetched.path.stat().st_ino
        assert cache.fetch(URL).path.stat().st_ino == before  # not written again
        with open_file_system(URL, Held(copy=version)) as transfer:
            assert transfer.version == version


def test_a_partial_copy_of_the_same_version_is_continued(memory: Any) -> None:
    memory.pipe("/folder/a.txt", b"0123456789")
    with open_file_system(URL, Held()) as transfer:
        version = transfer.version
    with open_file_system(URL, Held(partial=version, received=4)) as transfer:
        assert (transfer.start, transfer.size, b"".join(transfer.blocks)) == (3, 10, b"3456789")
    with open_file_system(URL, Held(partial="another", received=4)) as transfer:
        assert (transfer.start, b"".join(transfer.blocks)) == (0, b"0123456789")


def test_a_missing_file_and_a_folder_are_refused(memory: Any, tmp_path: Path) -> None:
    memory.pipe("/folder/a.txt", b"text")
    with pytest.raises(CorpusError, match=r"memory://folder/b\.txt: no such file; check the URL"):
        RemoteCache(tmp_path).fetch("memory://folder/b.txt")
    memory.pipe("/folder/inside/a.txt", b"text")
    with pytest.raises(CorpusError, match=r"memory://folder/inside: a folder; name each of its files"):
        RemoteCache(tmp_path).fetch("memory://folder/inside")


@pytest.mark.parametrize(
    ("url", "module", "package"),
    [
        ("s3://bucket/a.txt", "s3fs", r"textgen\[s3\]"),
        ("gs://bucket/a.txt", "gcsfs", r"textgen\[gs\]"),
        ("sftp://host/a.txt", "paramiko", r"textgen\[sftp\]"),
    ],
)
def test_a_missing_package_is_named(
    url: str, module: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.sftp", raising=False)
    with pytest.raises(CorpusError, match=f"needs a package: pip install '{package}'"):
        RemoteCache(tmp_path).fetch(url)


class NoCredentialsError(Exception):
    """Called as that of the library for S3."""


class EndpointConnectionError(Exception):
    """Called as that of the library for S3."""


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (
            NoCredentialsError("Unable to locate credentials"),
            CorpusError,
            "no valid credentials; log in with",
        ),
        (PermissionError("Forbidden"), CorpusError, "access refused; check the URL, or log in with"),
        (EndpointConnectionError("Could not connect"), Unreachable, r"no connection \(Could not connect\)"),
        (TimeoutError(), Unreachable, r"no connection \(TimeoutError\)"),
        (RuntimeError("first line\nsecond"), CorpusError, r"cannot be read \(RuntimeError: first line\)"),
    ],
)
def test_a_failure_of_a_library_is_one_line(
    error: Exception, kind: type, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(file_systems, "_open", fails)
    with pytest.raises(CorpusError, match=reason) as refused:
        with open_file_system("s3://bucket/a.txt", Held()):
            pass
    assert type(refused.value) is kind
    assert "\n" not in str(refused.value)


@pytest.fixture
def sftp(tmp_path: Path) -> Iterator[str]:
    """The URL of an SFTP server of the folder `there`, for the user ada."""
    paramiko = pytest.importorskip("paramiko")
    there = tmp_path / "there"
    there.mkdir()

    class Users(paramiko.ServerInterface):
        def check_auth_password(self, username: str, password: str) -> int:
            is_ada = (username, password) == ("ada", "a secret")
            return int(paramiko.AUTH_SUCCESSFUL if is_ada else paramiko.AUTH_FAILED)

        def check_channel_request(self, kind: str, number: int) -> int:
            return int(paramiko.OPEN_SUCCEEDED)

    class Files(paramiko.SFTPServerInterface):
        def stat(self, path: str) -> Any:
            try:
                return paramiko.SFTPAttributes.from_stat(os.stat(there / path.lstrip("/")))  # noqa: PTH116
            except OSError as error:
                return paramiko.SFTPServer.convert_errno(error.errno)

        lstat = stat

        def open(self, path: str, flags: int, attributes: Any) -> Any:
            handle = paramiko.SFTPHandle(flags)
            handle.readfile = (there / path.lstrip("/")).open("rb")
            return handle

    key, transports = paramiko.RSAKey.generate(2048), list[Any]()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    transports.append(paramiko.Transport(listening.accept()[0]))
                    transports[-1].add_server_key(key)
                    transports[-1].set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
                    with contextlib.suppress(paramiko.SSHException, EOFError):
                        transports[-1].start_server(server=Users())

        threading.Thread(target=serve, daemon=True).start()
        yield f"sftp://ada:a%20secret@127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    for transport in transports:
        transport.close()


def test_a_text_by_sftp(sftp: str, tmp_path: Path) -> None:
    (tmp_path / "there" / "a.txt").write_bytes(b"0123456789")
    (tmp_path / "there" / "folder").mkdir()
    cache = RemoteCache(tmp_path)
    copy = cache.fetch(f"{sftp}/a.txt")
    assert copy.path.read_bytes() == b"0123456789"
    assert copy.url == f"{sftp.replace('ada:a%20secret@', '')}/a.txt"
    with open_file_system(f"{sftp}/a.txt", Held()) as transfer:
        version = transfer.version
    with open_file_system(f"{sftp}/a.txt", Held(partial=version, received=4)) as transfer:
        assert (transfer.start, b"".join(transfer.blocks)) == (3, b"3456789")
    for url, reason in {
        f"{sftp}/b.txt": "no such file",
        f"{sftp}/folder": "a folder",
        f"{sftp.replace('secret', 'guess')}/a.txt": "no valid credentials; add your key to ssh-agent",
    }.items():
        with pytest.raises(CorpusError, match=reason):
            cache.fetch(url)
