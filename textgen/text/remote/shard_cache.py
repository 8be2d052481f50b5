"""The shards of remote stores in the cache, of which those go that were used least recently.

    <cache folder>/shards/
        <digest of a manifest>/
            manifest.json  counts.npy  ...      kept as long as the store is used
            train-000007.bin  ...               shards, each whole or absent
            .train-000008.bin/                  one that is being fetched

When a shard was used is its time of modification. Whoever reads one holds a lock on it.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from textgen.system.locks import remove_unless_locked

SHARDS = "shards"  # the folder of the stores in a cache folder
SHARD_ENDING = ".bin"
_UNUSED_SECONDS = 30 * 24 * 60 * 60


class ShardCache:
    """Room for shards, shared by all stores of a cache folder and by all processes.

    limit: in bytes; None: half of what the disk has free or shards have taken.
    """

    def __init__(self, cache_dir: Path, limit: int | None = None) -> None:
        self.folder = cache_dir / SHARDS
        self._limit = limit
        self._lock = threading.Lock()
        self._reserved: dict[Path, int] = {}

    @property
    def is_limited(self) -> bool:
        """Whether the user chose the limit."""
        return self._limit is not None

    @property
    def limit(self) -> int:
        """The most bytes that all shards may have."""
        if self._limit is not None:
            return self._limit
        nearest = next(place for place in (self.folder, *self.folder.parents) if place.exists())
        used = sum(size for _, size, _ in self._files())
        return (shutil.disk_usage(nearest).free + used) // 2

    def reserve(self, path: Path, size: int, kept: Collection[Path] = ()) -> bool:
        """Make room for a shard by removing others that nobody reads; returns whether there is enough.

        kept: those that are not removed either. The room is held until `release`.
        """
        with self._lock:
            files = sorted(self._files(), key=lambda file: file[2])
            used = sum(size for _, size, _ in files) + sum(self._reserved.values())
            limit = self.limit
            for other, other_size, _ in files:
                if used + size <= limit:
                    break
                if other not in kept and remove_unless_locked(other, without_locks=True):
                    used -= other_size
            if used + size > limit:
                return False
            self._reserved[path] = size
            return True

    def release(self, path: Path) -> None:
        """Give back the room of a shard that is there now, or is not fetched after all."""
        with self._lock:
            self._reserved.pop(path, None)

    @property
    def holds_reservations(self) -> bool:
        """Whether this process is fetching shards, after which there may be more room."""
        return bool(self._reserved)

    def touch(self, path: Path) -> None:
        """Note that a shard is used now."""
        with suppress(OSError):  # a read-only cache can still be read
            os.utime(path)

    def remove_unused(self) -> None:
        """Remove the stores that were not used for thirty days."""
        for store in self._stores():
            try:
                latest = max(path.stat().st_mtime for path in (store, *store.iterdir()))
            except OSError:  # another process has just removed it
                continue
            if time.time() - latest > _UNUSED_SECONDS:
                remove_unless_locked(store)

    def _stores(self) -> list[Path]:
        with suppress(OSError):
            return [path for path in self.folder.iterdir() if path.is_dir()]
        return []

    def _files(self) -> list[tuple[Path, int, float]]:
        """All shards: path, bytes and when it was last used."""
        found = []
        for store in self._stores():
            for path in store.glob(f"*{SHARD_ENDING}"):
                with suppress(OSError):
                    status = path.lstat()
                    if not path.name.startswith("."):
                        found.append((path, status.st_size, status.st_mtime))
        return found
