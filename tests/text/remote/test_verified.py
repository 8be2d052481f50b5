"""Files whose digests are known: whole and right or absent, fetched once by all processes."""

import random
import threading
from pathlib import Path
from typing import Any

import pytest

from textgen.errors import CorpusError
from textgen.system.digests import block_digests
from textgen.text.remote import verified
from textgen.text.remote.verified import WantedFile, fetch_verified

CONTENT = random.Random(0).randbytes(50_000)
Server = Any


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified, "WAITS", (0.01, 0.02, 0.03))


def wanted(url: str, tmp_path: Path, size: int | None = len(CONTENT)) -> WantedFile:
    (tmp_path / "original").write_bytes(CONTENT)
    digests = tuple(block_digests(tmp_path / "original", 8192))
    return WantedFile(url, tmp_path / "cache" / "a.bin", size, digests, 8192, most_bytes=60_000)


def nothing(done: int, total: int | None) -> None:
    """Report nothing."""


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_file_is_there_whole_and_what_was_fetched_is_continued(
    server: Server, tmp_path: Path, size: int | None
) -> None:
    url = server.add("/a.bin", CONTENT, etag='"1"', cut_after=20_000, failures=[500, 503])
    file = wanted(url, tmp_path, size)
    fetch_verified(file, nothing)
    assert file.path.read_bytes() == CONTENT
    assert [path.name for path in file.path.parent.iterdir()] == ["a.bin"]
    assert server.sent == len(CONTENT) + 2
    fetch_verified(file, nothing)
    assert server.sent == 0


def test_a_file_that_had_arrived_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    file = wanted(server.url("/gone"), tmp_path)
    (tmp_path / "cache" / ".a.bin").mkdir(parents=True)
    (tmp_path / "cache" / ".a.bin" / "partial").write_bytes(CONTENT)
    fetch_verified(file, nothing)
    assert file.path.read_bytes() == CONTENT
    assert server.log == []


def test_wrong_bytes_are_replaced_when_the_server_has_the_right_ones(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = wanted(server.add("/a.bin", CONTENT[::-1]), tmp_path)
    with pytest.raises(CorpusError, match="another digest than in the manifest"):
        fetch_verified(file, nothing)
    assert len(server.log) == 1 + verified.MOST_WRONG
    assert not file.path.exists()
    server.add("/a.bin", CONTENT)
    fetch_verified(file, nothing)
    assert file.path.read_bytes() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_an_endless_file_is_left(server: Server, tmp_path: Path, size: int | None) -> None:
    url = server.add("/a.bin", CONTENT * 400, says_length=False)
    with pytest.raises(CorpusError, match=r"has more than [56]0,000 bytes"):
        fetch_verified(wanted(url, tmp_path, size), nothing)
    assert server.sent < 20 * len(CONTENT)


def test_a_server_that_is_gone_is_asked_again_and_then_given_up(server: Server, tmp_path: Path) -> None:
    file = wanted(server.url("/a.bin"), tmp_path)
    server.close()
    with pytest.raises(CorpusError, match=r"connection refused; .* \(after 4 tries\)"):
        fetch_verified(file, nothing)


def test_several_fetch_it_once(server: Server, tmp_path: Path) -> None:
    file = wanted(server.add("/a.bin", CONTENT, pause=0.01), tmp_path)
    threads = [threading.Thread(target=fetch_verified, args=(file, nothing)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.path.read_bytes() == CONTENT
    assert server.sent == len(CONTENT)
