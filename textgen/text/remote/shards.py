"""The shards of a remote store: fetched when they are first read, or in the background before.

    reader ─expect─→  queue ─→ a few threads ─→ the cache
           ─locate─→  front of the queue, and wait

Only the thread that reads waits, raises errors and closes what it has open. A shard that could not be fetched
ahead, for lack of room or because the server did not answer, is tried again when it is read.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from textgen.errors import ConfigError, CorpusError
from textgen.settings.sizes import size_argument
from textgen.text.remote.partial import Progress
from textgen.text.remote.shard_cache import ShardCache
from textgen.text.remote.verified import WantedFile, fetch_verified

_THREADS = 4  # that fetch at a time
_POLL_SECONDS = 0.1


class Reader(Protocol):
    """What has shards open."""

    @property
    def num_open(self) -> int:
        """How many there are."""
        ...

    def close_oldest(self) -> None:
        """Close the one that was read least recently."""
        ...


class StoppedError(CorpusError):
    """Waiting for a shard ended because the user asked to stop."""


@dataclass
class _Job:
    """A shard that is to be fetched. is_required: a reader waits for it, and room for it is reserved."""

    is_required: bool = False
    is_done: bool = False
    received: int = 0
    error: Exception | None = None


class RemoteShards:
    """The shards of one store, by their names; its folder in the cache has those that were fetched.

    wanted: how each is fetched, with its size. refusal: why nothing may be fetched; None: it may. progress:
    called while a reader waits. should_stop: asked while a reader waits; it may be replaced.
    """

    def __init__(
        self,
        wanted: Mapping[str, WantedFile],
        cache: ShardCache,
        *,
        refusal: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._wanted, self._cache = wanted, cache
        self._refusal, self._progress = refusal, progress
        self.should_stop: Callable[[], bool] = lambda: False
        self._readers: weakref.WeakSet[Reader] = weakref.WeakSet()  # which hold this
        self._changed = threading.Condition()
        self._jobs: dict[str, _Job] = {}
        self._queue: deque[str] = deque()
        self._num_threads = 0
        self._unread: set[str] = set()  # fetched ahead, and not read since

    def adopt(self, reader: Reader) -> None:
        """Note a reader, whose shards are closed when there is no room for others."""
        self._readers.add(reader)

    def are_here(self, names: Iterable[str]) -> bool:
        """Whether all of these are in the cache."""
        return all(self._wanted[name].path.exists() for name in names)

    def touch(self, name: str) -> None:
        """Note that a shard was read until now."""
        self._cache.touch(self._wanted[name].path)

    def require_room(self, num_bytes: int, reason: str) -> None:
        """Raise ConfigError unless so many bytes of shards fit in the cache at the same time."""
        limit = self._cache.limit
        if num_bytes <= limit:
            return
        needed = size_argument(num_bytes)
        if self._cache.is_limited:
            raise ConfigError(
                f"--cache-size {size_argument(limit)}: too small, as {reason}; give at least {needed}"
            )
        raise ConfigError(
            f"{self._cache.folder}: too little room on the disk, as {reason}: {needed}; choose a --cache-dir "
            "on a larger disk, or allow more than half of this one with --cache-size"
        )

    def expect(self, names: Iterable[str]) -> None:
        """Fetch shards in the background, as far as there is room; in this order, after those before."""
        if self._refusal is not None:
            return
        with self._changed:
            for name in names:
                if name not in self._jobs and not self._wanted[name].path.exists():
                    self._jobs[name] = _Job()
                    self._queue.append(name)
                    self._start_thread()

    def locate(self, name: str) -> Path:
        """The file of a shard, which is fetched now if it is not there. Raises CorpusError."""
        wanted = self._wanted[name]
        self._unread.discard(name)
        while not wanted.path.exists():
            if self._refusal is not None:
                raise CorpusError(f"{wanted.name}: {self._refusal}")
            job = self._started(name)
            self._wait_for(name, job)
            if job.error is not None:
                raise _as_corpus_error(job.error, self._cache)
        self._cache.touch(wanted.path)
        return wanted.path

    def _started(self, name: str) -> _Job:
        """The job of a shard that a reader waits for: first in the queue, with room reserved for it."""
        with self._changed:
            job = self._jobs.get(name)
            if job is not None and name not in self._queue:  # it is being fetched
                return job
            if job is not None:
                self._queue.remove(name)
                del self._jobs[name]
        self._reserve(name)
        with self._changed:
            job = self._jobs[name] = _Job(is_required=True)
            self._queue.appendleft(name)
            self._start_thread()
            return job

    def _reserve(self, name: str) -> None:
        """Make room for a shard, by closing what is open if need be. Raises ConfigError."""
        wanted = self._wanted[name]
        size = wanted.size or 0
        while not self._cache.reserve(wanted.path, size):
            if readers := [reader for reader in self._readers if reader.num_open]:
                max(readers, key=lambda reader: reader.num_open).close_oldest()
                continue
            with self._changed:
                if not self._cache.holds_reservations:
                    break
                self._changed.wait(_POLL_SECONDS)
            self._refuse_if_stopped(name)
        else:
            return
        self.require_room(size, f"a shard has {size_argument(size)}")
        raise ConfigError(
            f"{self._cache.folder}: full of shards that are being read; give more than --cache-size "
            f"{size_argument(self._cache.limit)}"
        )

    def _wait_for(self, name: str, job: _Job) -> None:
        wanted = self._wanted[name]
        try:
            while not job.is_done:
                with self._changed:
                    self._changed.wait(_POLL_SECONDS)
                self._refuse_if_stopped(name)
                if self._progress is not None and not job.is_done and wanted.size:
                    self._progress(f"fetching {wanted.name}", min(job.received, wanted.size - 1), wanted.size)
        finally:
            if self._progress is not None:
                self._progress(f"fetching {wanted.name}", 1, 1)

    def _refuse_if_stopped(self, name: str) -> None:
        if self.should_stop():
            raise StoppedError(f"{self._wanted[name].name}: not waited for, as you asked to stop")

    def _start_thread(self) -> None:
        """Start a thread for what is queued, unless there are enough; the caller holds the lock."""
        if self._num_threads < _THREADS:
            self._num_threads += 1
            # Not waited for when the process ends: what it has fetched is continued by the next.
            threading.Thread(target=self._work, name="textgen shards", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._queue:
                    self._num_threads -= 1
                    return
                name = self._queue.popleft()
                job = self._jobs[name]
            try:
                self._fetch(name, job)
            except Exception as error:
                job.error = error
            with self._changed:
                del self._jobs[name]
                job.is_done = True
                self._changed.notify_all()

    def _fetch(self, name: str, job: _Job) -> None:
        wanted = self._wanted[name]
        kept = [self._wanted[other].path for other in list(self._unread)]
        if not job.is_required and not self._cache.reserve(wanted.path, wanted.size or 0, kept):
            return

        def report(done: int, total: int | None) -> None:
            job.received = max(done, job.received)

        try:
            fetch_verified(wanted, report)
            self._unread.add(name)
        finally:
            self._cache.release(wanted.path)


def _as_corpus_error(error: Exception, cache: ShardCache) -> Exception:
    """The error of a thread, to be raised in another one: in one line where the user can do something."""
    if isinstance(error, CorpusError):
        return type(error)(*error.args).with_traceback(None)
    if isinstance(error, OSError):
        return CorpusError(f"{cache.folder}: {error.strerror or error}; choose another --cache-dir")
    return error
