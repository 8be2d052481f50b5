"""Copies of remote texts: fetched once for each version, whole or not at all, continued where cut."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from textgen.errors import CorpusError
from textgen.system.locks import folder_lock
from textgen.text.remote import partial
from textgen.text.remote.copies import RemoteCache
from textgen.text.remote.transfer import Unreachable

CONTENT = random.Random(0).randbytes(50_000)
DAY = 24 * 60 * 60
Server = Any


@pytest.fixture
def cache(tmp_path: Path) -> RemoteCache:
    return RemoteCache(tmp_path)


def files_in(tmp_path: Path) -> list[Path]:
    """The complete copies."""
    return [path for path in (tmp_path / "remote").iterdir() if path.is_file()]


def test_a_text_is_fetched_once_for_each_version(cache: RemoteCache, server: Server, tmp_path: Path) -> None:
    url = server.add("/books/a.TXT.gz", CONTENT, etag='"1"')
    first = cache.fetch(url)
    assert first.path.read_bytes() == CONTENT
    assert first.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert first.path == tmp_path / "remote" / f"{first.sha256}.txt.gz"
    assert server.sent == len(CONTENT)
    assert cache.fetch(url) == first
    assert server.sent == 0
    server.add("/books/a.TXT.gz", CONTENT[::-1], etag='"2"')
    assert cache.fetch(url).path.read_bytes() == CONTENT[::-1]
    assert server.sent == len(CONTENT)


@pytest.mark.parametrize(
    "about", [{"modified": "Mon, 02 Nov 2026 10:00:00 GMT"}, {"etag": 'W/"1"'}, {"etag": "unquoted"}]
)
def test_a_date_or_a_weak_etag_is_a_version_too(
    cache: RemoteCache, server: Server, about: dict[str, str]
) -> None:
    url = server.add("/a.txt", CONTENT, **about)
    assert cache.fetch(url) == cache.fetch(url)
    assert server.sent == len(CONTENT)


def test_a_server_that_ignores_conditions_is_not_read_to_the_end(cache: RemoteCache, server: Server) -> None:
    large = CONTENT * 400
    url = server.add("/a.txt", large, etag='"1"')
    cache.fetch(url)
    assert server.sent == len(large)
    server.pages["/a.txt"].headers = {"ETag": '"1"'}
    server.pages["/a.txt"].etag = None  # so that it does not answer that nothing has changed
    assert cache.fetch(url).path.read_bytes() == large
    assert server.log[-1].status == 200
    assert server.sent < len(large)


def test_without_any_version_and_length_it_is_fetched_each_time(cache: RemoteCache, server: Server) -> None:
    url = server.add("/a.txt", CONTENT, says_length=False)
    for content in (CONTENT, CONTENT[:7]):
        server.pages["/a.txt"].content = content
        assert cache.fetch(url).path.read_bytes() == content
        assert server.sent == len(content)


def test_a_transfer_that_is_cut_continues_where_it_was(cache: RemoteCache, server: Server) -> None:
    url = server.add("/a.txt", CONTENT, etag='"1"', cut_after=20_000)
    assert cache.fetch(url).path.read_bytes() == CONTENT
    assert [asked.status for asked in server.log] == [200, 206, 206]
    assert server.sent == len(CONTENT) + 2  # one byte again for each continuation


def test_a_transfer_that_was_given_up_is_continued_by_the_next(
    cache: RemoteCache, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial, "ATTEMPTS", 1)
    url = server.add("/a.txt", CONTENT, etag='"1"', cut_after=30_000)
    with pytest.raises(Unreachable, match="ended after 30,000 of 50,000 bytes; try again to continue"):
        cache.fetch(url)
    assert files_in(tmp_path) == []
    server.pages["/a.txt"].cut_after = None
    assert cache.fetch(url).path.read_bytes() == CONTENT
    assert server.sent == len(CONTENT) + 1


@pytest.mark.parametrize("ranges", [True, False])
def test_a_partial_copy_of_another_version_is_dropped(
    cache: RemoteCache, server: Server, monkeypatch: pytest.MonkeyPatch, ranges: bool
) -> None:
    monkeypatch.setattr(partial, "ATTEMPTS", 1)
    url = server.add("/a.txt", CONTENT, etag='"1"', cut_after=30_000)
    with pytest.raises(Unreachable):
        cache.fetch(url)
    server.add("/a.txt", CONTENT[::-1], etag='"2"', ranges=ranges)
    assert cache.fetch(url).path.read_bytes() == CONTENT[::-1]


def test_a_range_of_another_version_is_not_appended(
    cache: RemoteCache, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As sent by a server that does not know If-Range."""
    monkeypatch.setattr(partial, "ATTEMPTS", 1)
    url = server.add("/a.txt", CONTENT, etag='"1"', cut_after=30_000)
    with pytest.raises(Unreachable):
        cache.fetch(url)
    server.add("/a.txt", CONTENT[::-1], etag='"1"', sent_etag='"2"')
    assert cache.fetch(url).path.read_bytes() == CONTENT[::-1]
    assert [asked.status for asked in server.log] == [200, 206, 200]


def test_less_than_announced_is_refused_where_it_cannot_be_continued(
    cache: RemoteCache, server: Server, tmp_path: Path
) -> None:
    url = server.add("/a.txt", CONTENT, announced=60_000)
    with pytest.raises(CorpusError, match="ended after 50,000 of 60,000 bytes; try again"):
        cache.fetch(url)
    assert len(server.log) == 1
    assert files_in(tmp_path) == []


def test_without_a_connection_the_copy_is_used_with_a_note(cache: RemoteCache, server: Server) -> None:
    url = server.add("/a.txt", CONTENT, etag='"1"')
    fetched = cache.fetch(url)
    assert fetched.note is None
    server.pages["/a.txt"].status = 503
    assert "503" in str(cache.fetch(url).note)
    server.close()
    offline = cache.fetch(url)
    assert offline.path == fetched.path
    assert offline.note is not None
    assert "connection refused" in offline.note
    assert "Using the copy" in offline.note


def test_a_file_that_is_gone_is_refused_also_where_there_is_a_copy(
    cache: RemoteCache, server: Server
) -> None:
    url = server.add("/a.txt", CONTENT, etag='"1"')
    cache.fetch(url)
    del server.pages["/a.txt"]
    with pytest.raises(CorpusError, match="no such file on the server"):
        cache.fetch(url)


def test_a_damaged_copy_is_fetched_again(cache: RemoteCache, server: Server) -> None:
    url = server.add("/a.txt", CONTENT, etag='"1"')
    path = cache.fetch(url).path
    path.write_bytes(CONTENT[:-1] + b"!")
    assert cache.find(url, path.stem) is None
    assert cache.fetch(url).path.read_bytes() == CONTENT


def test_a_text_is_found_by_its_content(cache: RemoteCache, server: Server) -> None:
    url = server.add("/a.txt", CONTENT)
    copy = cache.fetch(url)
    assert cache.find(url, copy.sha256) == copy.path
    assert cache.find(url, "0" * 64) is None
    assert cache.find("https://elsewhere/b.txt", copy.sha256) == copy.path
    assert cache.find("https://elsewhere/b.jsonl", copy.sha256) is None  # it would be read in another way


def test_two_processes_fetch_the_same_url_at_once(cache: RemoteCache, server: Server, tmp_path: Path) -> None:
    url = server.add("/a.txt", CONTENT, etag='"1"')
    folder = tmp_path / "remote" / hashlib.sha256(url.encode()).hexdigest()
    with folder_lock(folder) as is_free:  # as another process holds it that is slow
        assert is_free
        assert cache.fetch(url).path.read_bytes() == CONTENT
    assert sorted(path.name for path in folder.iterdir()) == ["copy.json", "lock"]
    server.pages["/a.txt"].pause = 0.01
    results: list[Any] = []
    server.pages["/a.txt"].etag = '"2"'
    threads = [threading.Thread(target=lambda: results.append(cache.fetch(url))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.path.read_bytes() for result in results] == 3 * [CONTENT]


def test_a_process_that_was_killed_is_continued_by_the_next(server: Server, tmp_path: Path) -> None:
    url = server.add("/a.txt", CONTENT, etag='"1"', pause=0.05)
    code = (
        "import sys; from pathlib import Path; from textgen.text.remote.copies import RemoteCache;"
        f"RemoteCache(Path({str(tmp_path)!r})).fetch({url!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    partial = tmp_path / "remote" / hashlib.sha256(url.encode()).hexdigest() / "partial"
    while not partial.is_file() or partial.stat().st_size < 8192:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    received = partial.stat().st_size
    assert 0 < received < len(CONTENT)
    assert files_in(tmp_path) == []
    server.log.clear()
    server.pages["/a.txt"].pause = 0
    assert RemoteCache(tmp_path).fetch(url).path.read_bytes() == CONTENT
    assert server.sent == len(CONTENT) - received + 1


def test_progress_is_reported_in_bytes_and_ends(server: Server, tmp_path: Path) -> None:
    reports: list[tuple[str, int, int]] = []
    url = server.add("/a.txt", CONTENT)
    RemoteCache(tmp_path, lambda *report: reports.append(report)).fetch(url.replace("//", "//ada:secret@"))
    assert {what for what, _, _ in reports} == {f"fetching {url}"}
    assert reports[-2][1:] == (len(CONTENT), len(CONTENT))
    assert reports[-1][1] >= reports[-1][2]


def test_copies_not_used_for_thirty_days_are_removed(
    cache: RemoteCache, server: Server, tmp_path: Path
) -> None:
    old, used = (cache.fetch(server.add(f"/{name}.txt", name, etag='"1"')) for name in "ab")
    then = time.time() - 31 * DAY
    for path in (tmp_path / "remote").rglob("*"):
        os.utime(path, (then, then))
    cache.fetch(server.url("/b.txt"))
    cache.fetch(server.add("/c.txt", "c"))
    assert not old.path.exists()
    assert used.path.exists()
    server.log.clear()
    cache.fetch(server.url("/b.txt"))
    assert server.sent == 0


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="may write anywhere")
def test_a_cache_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CorpusError, match="--cache-dir"):
        RemoteCache(tmp_path).fetch(server.add("/a.txt", CONTENT))


def test_a_cache_in_the_place_of_a_file_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "remote").write_text("a file")
    with pytest.raises(CorpusError, match="--cache-dir"):
        RemoteCache(tmp_path).fetch(server.add("/a.txt", CONTENT))
