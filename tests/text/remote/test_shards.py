"""Shards that are fetched when they are read, or ahead, in the room that there is."""

import random
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textgen.errors import ConfigError, CorpusError
from textgen.text.manifest import Shard, shard_of
from textgen.text.remote import verified
from textgen.text.remote.shard_cache import ShardCache
from textgen.text.remote.shards import RemoteShards, StoppedError
from textgen.text.remote.verified import WantedFile
from textgen.text.shuffle import StoredOrder
from textgen.text.stored_tokens import StoredTokens

Server = Any
LENGTH, BYTES = 1000, 2000  # of a shard
IDS = np.random.default_rng(0).integers(0, 2**16, 10 * LENGTH).astype("<u2")


class Store:
    """Ten shards on a server; `open` reads them as if by another process each time."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.shards: list[Shard] = []
        for number, ids in enumerate(np.split(IDS, 10)):
            path = folder / f"{number}.bin"
            ids.tofile(path)
            self.shards.append(shard_of(path, ids.dtype, 1024))
            server.add(f"/{path.name}", path.read_bytes())

    def source(self, limit: int | None = None, **settings: Any) -> RemoteShards:
        path = self.folder / "cache" / "shards" / ("0" * 64)
        path.mkdir(parents=True, exist_ok=True)
        wanted = {
            shard.name: WantedFile(
                self.server.url(f"/{shard.name}"), path / shard.name, BYTES, shard.blocks, 1024
            )
            for shard in self.shards
        }
        return RemoteShards(wanted, ShardCache(self.folder / "cache", limit), **settings)

    def open(self, source: RemoteShards) -> StoredTokens:
        def damaged(path: Path, error: Exception) -> CorpusError:
            return CorpusError(f"{path.name}: {error}")

        return StoredTokens(Path, self.shards, np.dtype("<u2"), 1024, damaged=damaged, source=source)

    @property
    def here(self) -> set[int]:
        return {int(path.stem) for path in (self.folder / "cache").glob("shards/*/[!.]*.bin")}

    @property
    def asked(self) -> list[int]:
        return [int(asked.path[1:-4]) for asked in self.server.log]


@pytest.fixture
def store(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(verified, "WAITS", (0.01, 0.02))
    return Store(server, tmp_path)


def wait_for_threads() -> None:
    while any(thread.name == "textgen shards" for thread in threading.enumerate()):
        time.sleep(0.005)


def test_nothing_is_fetched_before_it_is_read(store: Store) -> None:
    tokens = store.open(store.source())
    assert len(tokens) == len(IDS)
    assert store.asked == []
    assert (tokens[np.array([2500, 2501])] == IDS[2500:2502]).all()
    wait_for_threads()
    assert store.here == {2}


def test_all_ids_are_those_of_the_shards_in_the_room_of_two(store: Store) -> None:
    source = store.source(2 * BYTES)
    tokens = store.open(source)
    rng = random.Random(1)
    for _ in range(40):
        start = rng.randrange(len(IDS) - 2500)
        assert (tokens[start : start + 2500] == IDS[start : start + 2500]).all()
        index = np.array([[rng.randrange(len(IDS)) for _ in range(3)] for _ in range(2)])
        assert (tokens[index] == IDS[index]).all()
        assert len(store.here) <= 2
    assert (np.asarray(tokens) == IDS).all()


def test_slices_in_order_and_sequences_are_read_ahead(store: Store) -> None:
    tokens = store.open(store.source())
    assert (tokens[:10] == IDS[:10]).all()
    wait_for_threads()
    assert store.here == {0, 1}
    tokens[10:20]
    tokens[1000:1010]
    wait_for_threads()
    assert store.here == {0, 1, 2}
    order = StoredOrder(tokens)
    ids, _ = order.gather(np.array([4100, 9100]), 5)
    assert (ids == IDS[[[4100, 4101, 4102, 4103, 4104], [9100, 9101, 9102, 9103, 9104]]]).all()
    wait_for_threads()
    assert store.here == {0, 1, 2, 4, 5, 9}  # after the last shard, the first is read


def test_what_is_fetched_ahead_removes_nothing_that_is_read_or_was_not_read_yet(store: Store) -> None:
    source = store.source(3 * BYTES)
    tokens = store.open(source)
    tokens[np.array([0])]
    source.expect(["5.bin", "6.bin", "7.bin", "8.bin"])
    wait_for_threads()
    assert 0 in store.here
    assert len(store.here) == 3
    assert store.here < {0, 5, 6, 7, 8}


def test_what_is_read_is_fetched_before_what_is_only_expected(store: Store) -> None:
    for page in store.server.pages.values():
        page.pause = 0.2
    source = store.source()
    source.expect([f"{number}.bin" for number in range(9)])
    store.open(source)[np.array([9999])]
    wait_for_threads()
    assert store.asked.index(9) < store.asked.index(8)
    assert store.here == set(range(10))


def test_too_little_room_is_refused_with_the_room_that_is_needed(store: Store) -> None:
    source = store.source(1500)
    with pytest.raises(
        ConfigError, match=r"--cache-size 1\.5kB: too small, as a shard has 2kB; give at least 2kB"
    ):
        store.open(source)[np.array([0])]
    with pytest.raises(ConfigError, match="too small, as two are read; give at least 4kB"):
        source.require_room(4000, "two are read")
    store.source(4000).require_room(4000, "two are read")


def test_a_shard_that_could_not_be_fetched_ahead_is_fetched_when_it_is_read(store: Store) -> None:
    page = store.server.pages["/3.bin"]
    page.failures = [500] * 3
    source = store.source()
    source.expect(["3.bin"])
    wait_for_threads()
    assert (page.failures, store.here) == ([], set())
    assert store.open(source)[np.array([3000])] == IDS[3000]


def test_an_error_is_that_of_the_shard_that_is_read(store: Store) -> None:
    store.server.pages["/3.bin"].status = 404
    tokens = store.open(store.source())
    with pytest.raises(CorpusError, match=r"/3.bin: no such file on the server"):
        tokens[np.array([3000])]
    assert tokens[np.array([4000])] == IDS[4000]


def test_without_leave_nothing_is_fetched(store: Store) -> None:
    store.open(store.source())[np.array([0])]
    wait_for_threads()
    store.server.log.clear()
    tokens = store.open(store.source(refusal="not in the cache; --fetch fetches it"))
    tokens.expect(np.array([5000]))
    assert tokens[np.array([7])] == IDS[7]
    with pytest.raises(CorpusError, match=r"http://.*/1.bin: not in the cache; --fetch"):
        tokens[np.array([1000])]
    assert store.asked == []


def test_a_damaged_shard_in_the_cache_is_found(store: Store) -> None:
    store.open(store.source())[np.array([0])]
    wait_for_threads()
    [path] = store.folder.glob("cache/shards/*/0.bin")
    path.write_bytes(bytes(BYTES))
    with pytest.raises(CorpusError, match="block 0 has changed"):
        store.open(store.source())[np.array([0])]


def test_waiting_can_be_ended(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified, "WAITS", (2.0,))
    store.server.pages["/3.bin"].status = 500
    source = store.source()
    started = time.monotonic()
    source.should_stop = lambda: time.monotonic() > started + 0.2
    with pytest.raises(StoppedError):
        store.open(source)[np.array([3000])]
    assert time.monotonic() < started + 2
