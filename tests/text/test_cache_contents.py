"""What a cache folder is said to hold, and what can be removed from it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from textgen.system.atomic import new_directory
from textgen.system.locks import folder_lock, lock_while_alive
from textgen.text.cache import record_use
from textgen.text.cache_contents import CacheEntry, cache_entries
from textgen.text.remote.copies import RemoteCache

DAY = 24 * 60 * 60


class Reader:
    """Something that reads an entry."""


def add(cache_dir: Path, digit: str, file: str = "counts.npy") -> Path:
    path = cache_dir / (64 * digit)
    path.mkdir(parents=True)
    (path / file).write_bytes(bytes(100))
    return path


def only(cache_dir: Path) -> CacheEntry:
    (entry,) = cache_entries(cache_dir)
    return entry


def test_an_entry_is_described_by_its_texts_and_the_runs_that_exist(tmp_path: Path) -> None:
    assert cache_entries(tmp_path / "cache") == []
    path = add(tmp_path / "cache", "a")
    assert (only(path.parent).kind, only(path.parent).texts) == ("encoded text", ())
    (tmp_path / "one").mkdir()
    for run in ("one", "gone", "one"):
        record_use(path, ["/a.txt", "http://host/b"], tmp_path / run)
    entry = only(path.parent)
    assert entry.texts == ("/a.txt", "http://host/b")
    assert entry.runs == (str(tmp_path / "one"),)
    assert entry.bytes == sum(file.stat().st_size for file in path.iterdir()) > 100
    (path / "use.json").write_text("[]")
    assert (only(path.parent).texts, only(path.parent).runs) == ((), ())


def test_entries_are_listed_by_their_last_use_and_other_files_are_not(tmp_path: Path) -> None:
    for number, (digit, file) in enumerate([("a", "counts.npy"), ("b", "suffixes.bin"), ("c", "torn")]):
        path = add(tmp_path, digit, file)
        for each in (*path.iterdir(), path):
            os.utime(each, 2 * (time.time() - number * DAY,))
    for other in ("novels", ".git", "remote/notes", ".a.b"):
        (tmp_path / other).mkdir(parents=True)
    (tmp_path / (64 * "f")).write_text("a file with such a name")
    entries = cache_entries(tmp_path)
    assert [entry.kind for entry in entries] == ["encoded text", "index of copies", "damaged"]
    assert [round((time.time() - entry.last_used) / DAY) for entry in entries] == [0, 1, 2]
    assert all(entry.remove() for entry in entries)
    assert cache_entries(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 5


def test_what_is_built_or_read_is_in_use_and_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = add(tmp_path, "a")
    before = only(tmp_path)
    reader = Reader()
    lock_while_alive(reader, path)
    assert only(tmp_path).in_use
    assert not before.remove(), "it came into use after it was listed"
    del reader
    assert only(tmp_path).remove()
    with new_directory(tmp_path / (64 * "b")) as building:
        (building / "train.bin").touch()
        entry = only(tmp_path)
        assert (entry.kind, entry.in_use, entry.remove()) == ("unfinished", True, False)
    only(tmp_path).remove()
    building.mkdir()
    assert (only(tmp_path).kind, only(tmp_path).in_use) == ("unfinished", False)
    monkeypatch.setattr("textgen.system.locks.fcntl", None)  # as on Windows
    assert (only(tmp_path).in_use, only(tmp_path).remove()) == (True, False)
    os.utime(building, (1, 1))
    assert (only(tmp_path).in_use, only(tmp_path).remove()) == (False, True)


def test_downloads_are_described_by_their_url_without_secrets(tmp_path: Path, server) -> None:
    url = server.add("/a.txt", "content", etag='"1"')
    copy = RemoteCache(tmp_path).fetch(url.replace("//", "//ada:secret@"))
    entry = only(tmp_path)
    assert (entry.kind, entry.texts, entry.path, entry.bytes) == ("download", (url,), copy.path, 7)
    with folder_lock(entry.urls[0]):  # as by a process that asks whether it has changed
        assert only(tmp_path).in_use
        assert not entry.remove()
    reader = Reader()
    lock_while_alive(reader, copy.path)
    assert (only(tmp_path).in_use, entry.remove()) == (True, False)
    del reader
    assert only(tmp_path).remove()
    assert list((tmp_path / "remote").iterdir()) == []
    assert RemoteCache(tmp_path).fetch(url).path.read_text() == "content"


def test_a_download_that_was_cut_short_is_unfinished(tmp_path: Path, server) -> None:
    url = server.add("/a.txt", 20_000 * "x", etag='"1"', cut_after=9000, ranges=False)
    with pytest.raises(Exception, match=r"connection ended|lost"):
        RemoteCache(tmp_path).fetch(url)
    entry = only(tmp_path)
    assert (entry.kind, entry.texts, entry.in_use) == ("unfinished", (url,), False)
    assert entry.remove()
    assert list((tmp_path / "remote").iterdir()) == []
