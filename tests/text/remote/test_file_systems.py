"""Texts by way of fsspec: with its file system in memory, and one line for each failure of a library."""

import sys
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
