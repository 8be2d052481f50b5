"""A cache on disk: one folder per entry, named by a hash of the content that it was built from.

A folder is written atomically. Two processes may build the same one at the same time: the first to finish
wins. An entry that has not been read for thirty days is removed when another is built, so that a corpus that
changes every day does not fill the disk.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from textgen.errors import CorpusError
from textgen.system.atomic import new_directory

Value = TypeVar("Value")

_log = logging.getLogger(__name__)

_ENTRY = 64 * "[0-9a-f]"
_BUILDING = f".{_ENTRY}.*"  # the name that new_directory gives a folder that is still being built
_ABANDONED_SECONDS = 24 * 60 * 60
_UNREAD_SECONDS = 30 * 24 * 60 * 60
_DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError)


def read_or_build(path: Path, read: Callable[[Path], Value], build: Callable[[Path], None]) -> Value:
    """Return read(path), building the folder first when it is missing or damaged.

    read: raises one of the errors in _DAMAGED when the folder is missing or damaged. build: fills an empty
    folder.

    Raises CorpusError when the cache folder cannot be written, and whatever `build` raises.
    """
    cache_dir = path.parent
    try:
        value = read(path)
    except _DAMAGED as error:
        if path.exists():
            _log.warning("%s: damaged (%s); it is built again", path, error)
    else:
        with suppress(OSError):  # a read-only cache can still be read
            os.utime(path)
        return value
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        _remove_stale(cache_dir, _BUILDING, _ABANDONED_SECONDS)
        _remove_stale(cache_dir, _ENTRY, _UNREAD_SECONDS)
        with suppress(*_DAMAGED):  # another process may have built it in the meantime
            return read(path)
        shutil.rmtree(path, ignore_errors=True)
        # If another process puts the same folder there first, that one is kept.
        with suppress(FileExistsError), new_directory(path) as building:
            build(building)
        return read(path)
    except OSError as error:
        raise CorpusError(
            f"{cache_dir}: {error.strerror or error}; choose a writable folder with --cache-dir"
        ) from error


def _remove_stale(cache_dir: Path, pattern: str, seconds: float) -> None:
    """Remove folders matching a pattern that have not been modified for this many seconds.

    These are builds abandoned by a killed process (one that still changes may belong to a running process)
    and entries no longer in use: reading an entry updates its modification time.
    """
    for folder in cache_dir.glob(pattern):
        try:
            latest = max(entry.stat().st_mtime for entry in (folder, *folder.iterdir()))
        except OSError:  # not a folder, or another process has just moved or removed it
            continue
        if time.time() - latest > seconds:
            shutil.rmtree(folder, ignore_errors=True)
