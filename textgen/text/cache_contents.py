"""What a cache folder holds, for whoever wants to see or free the space: entries, downloads, unfinished ones.

Only what textgen names so itself is looked at, because --cache-dir may be a folder with other files in it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from textgen.system.locks import folder_lock, idle_seconds, is_locked, remove_unless_locked
from textgen.text.cache import read_use
from textgen.text.remote.copies import REMOTE, fetched_urls, forget_url
from textgen.text.remote.shard_cache import SHARDS

_ENTRY = re.compile(r"[0-9a-f]{64}")
_BUILDING = re.compile(r"\.[0-9a-f]{64}\..+")
_COPY = re.compile(r"[0-9a-f]{64}(\..+)?")
_FETCHING = re.compile(r"\.fetching-.+")
_KINDS = {"counts.npy": "encoded text", "suffixes.bin": "index of copies"}  # by a file that only these have
_ABANDONED_SECONDS = 24 * 60 * 60


@dataclass(frozen=True)
class CacheEntry:
    """One thing in the cache that can be removed, and is made or fetched again when it is needed.

    texts: the files or URLs that it was made from; empty: unknown. runs: those known to have used it that
    still exist. last_used: as time.time(). in_use: whether a living process is writing or reading it.
    urls: of a download, the folders that know its URL.
    """

    path: Path
    kind: str
    texts: tuple[str, ...]
    runs: tuple[str, ...]
    bytes: int
    last_used: float
    in_use: bool
    urls: tuple[Path, ...] = ()

    def remove(self) -> bool:
        """Remove it unless it is in use by now; returns whether it is gone."""
        with ExitStack() as held, suppress(OSError):
            for folder in self.urls:
                if folder.exists() and not held.enter_context(folder_lock(folder)):
                    return False
            if self.path not in self.urls and not remove_unless_locked(
                self.path, without_locks=not self.in_use
            ):
                return False
            for folder in self.urls:
                forget_url(folder)
            return True
        return False


def cache_entries(cache_dir: Path) -> list[CacheEntry]:
    """All entries of a cache folder, the last used first; none where there is no such folder.

    Raises OSError where it cannot be read.
    """
    found = [*_built(cache_dir), *_downloads(cache_dir / REMOTE), *_stores(cache_dir / SHARDS)]
    return sorted(found, key=lambda entry: entry.last_used, reverse=True)


def _built(cache_dir: Path) -> Iterator[CacheEntry]:
    for path in _folders(cache_dir):
        if _ENTRY.fullmatch(path.name):
            kind = next((_KINDS[name] for name in _KINDS if (path / name).is_file()), "damaged")
            texts, runs = read_use(path)
            yield _entry(path, kind, texts, tuple(run for run in runs if Path(run).is_dir()))
        elif _BUILDING.fullmatch(path.name):
            yield _entry(path, "unfinished")


def _stores(folder: Path) -> Iterator[CacheEntry]:
    """The remote stores of which shards are kept."""
    for path in _folders(folder):
        if _ENTRY.fullmatch(path.name):
            texts, runs = read_use(path)
            yield _entry(path, "shards", texts, tuple(run for run in runs if Path(run).is_dir()))


def _downloads(remote: Path) -> Iterator[CacheEntry]:
    urls = fetched_urls(remote)
    unused = {known.folder for known in urls}
    for path in sorted(remote.iterdir()) if remote.is_dir() else ():
        if path.is_file() and _COPY.fullmatch(path.name):
            of = [known for known in urls if known.sha256 == path.name[:64]]
            folders = tuple(known.folder for known in of)
            unused -= set(folders)
            yield _entry(path, "download", tuple(known.url for known in of if known.url), (), folders)
        elif path.is_dir() and _FETCHING.fullmatch(path.name):
            yield _entry(path, "unfinished")
    for known in urls:
        if known.folder in unused:
            yield _entry(known.folder, "unfinished", (known.url,) if known.url else (), (), (known.folder,))


def _entry(
    path: Path,
    kind: str,
    texts: tuple[str, ...] = (),
    runs: tuple[str, ...] = (),
    urls: tuple[Path, ...] = (),
) -> CacheEntry:
    idle = idle_seconds(path)
    locked = [is_locked(place) for place in (path, *(folder / "lock" for folder in urls))]
    # Where there are no locks, what still changes may be being written; what is only read is not kept.
    writing = kind == "unfinished" and None in locked and idle < _ABANDONED_SECONDS
    in_use, last_used = writing or True in locked, time.time() - idle
    return CacheEntry(path, kind, texts, runs, _size(path), last_used, in_use, urls)


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _size(path: Path) -> int:
    """Bytes in a file or folder; what another process removes in the meantime does not count."""
    total = 0
    for file in (path, *path.rglob("*")):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except OSError:
            continue
    return total
