"""Room for shards: what was used least recently goes first, and never what is read."""

import os
import time
from pathlib import Path

import pytest

from textgen.system.locks import lock_while_alive
from textgen.text.remote.shard_cache import ShardCache

DAY = 24 * 60 * 60


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Five shards of 100 bytes, of which 3 was used first and 4 last, in two stores."""
    for age, number in enumerate([4, 2, 0, 1, 3]):
        folder = tmp_path / "shards" / ("ab"[number % 2] * 64)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{number}.bin"
        path.write_bytes(bytes(100))
        os.utime(path, (time.time() - age - 1,) * 2)
        (folder / "manifest.json").write_bytes(bytes(1000))
    return tmp_path


def numbers(store: Path) -> set[int]:
    return {int(path.stem) for path in store.glob("shards/*/*.bin")}


def test_the_least_recently_used_are_removed_first(store: Path) -> None:
    cache = ShardCache(store, 500)
    new = store / "shards" / ("a" * 64) / "9.bin"
    assert cache.reserve(new, 150)
    assert numbers(store) == {4, 2, 0}
    assert cache.reserve(new.with_name("8.bin"), 50)
    assert numbers(store) == {4, 2, 0}  # what is reserved counts
    cache.release(new)
    cache.release(new.with_name("8.bin"))
    assert not cache.holds_reservations
    cache.touch(store / "shards" / ("a" * 64) / "0.bin")
    assert cache.reserve(new, 350)
    assert numbers(store) == {0}


def test_what_is_read_or_kept_stays(store: Path) -> None:
    class Owner:
        pass

    owner, cache = Owner(), ShardCache(store, 500)
    lock_while_alive(owner, store / "shards" / ("b" * 64) / "3.bin")
    kept = store / "shards" / ("b" * 64) / "1.bin"
    new = store / "shards" / ("a" * 64) / "9.bin"
    assert not cache.reserve(new, 400, [kept])
    assert numbers(store) == {3, 1}
    assert not cache.holds_reservations
    assert cache.reserve(new, 400)
    assert numbers(store) == {3}
    cache.release(new)
    assert not cache.reserve(new, 450)
    del owner
    assert cache.reserve(new, 450)
    assert numbers(store) == set()


def test_without_a_limit_half_of_the_disk_is_used(store: Path) -> None:
    cache = ShardCache(store)
    assert not cache.is_limited
    assert 500 < cache.limit < 2**60
    assert ShardCache(store / "not" / "there").limit > 0


def test_stores_that_nobody_uses_are_removed(store: Path) -> None:
    unused = store / "shards" / ("b" * 64)
    for path in (unused, *unused.iterdir()):
        os.utime(path, (time.time() - 31 * DAY,) * 2)
    ShardCache(store).remove_unused()
    assert numbers(store) == {0, 2, 4}
    assert not unused.exists()
