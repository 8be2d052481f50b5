"""Folders of what can be made again, each under a name that is made of the content it comes from.

A folder appears whole or not at all. Two processes may build the same one at once: the first stays. One that
nobody has read for thirty days goes when another is built, so that the cache of a text that grows every day
does not.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from textgen.errors import CorpusError
from textgen.system.atomic import new_directory

Kept = TypeVar("Kept")

_WHOLE = 64 * "[0-9a-f]"
_BUILDING = f".{_WHOLE}.*"  # what new_directory calls a folder that is not whole yet
_ABANDONED_SECONDS = 24 * 60 * 60
_UNREAD_SECONDS = 30 * 24 * 60 * 60
_DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError)


def read_or_build(path: Path, read: Callable[[Path], Kept], build: Callable[[Path], None]) -> Kept:
    """What `read` makes of the folder at path; one that is absent or not whole is built first.

    `read` raises one of _DAMAGED for such a folder; `build` fills an empty one.

    Raises CorpusError for a cache folder that cannot be written, and what `build` raises.
    """
    cache_dir = path.parent
    with suppress(*_DAMAGED):
        kept = read(path)
        with suppress(OSError):  # a cache that cannot be written can be read
            os.utime(path)
        return kept
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        _remove_older(cache_dir, _BUILDING, _ABANDONED_SECONDS)
        _remove_older(cache_dir, _WHOLE, _UNREAD_SECONDS)
        with suppress(*_DAMAGED):  # by now another process may have built it
            return read(path)
        shutil.rmtree(path, ignore_errors=True)
        # Another process may put the same folder there first; then that one stays.
        with suppress(FileExistsError), new_directory(path) as building:
            build(building)
        return read(path)
    except OSError as error:
        raise CorpusError(
            f"{cache_dir}: {error.strerror or error}; name a folder that can be written, with --cache-dir"
        ) from error


def _remove_older(cache_dir: Path, pattern: str, seconds: float) -> None:
    """Remove the folders of that name into which nothing has come for so long.

    That is what a killed process left half built, for another may still be at one that changes, or what is
    whole and no longer used: each reading of it sets its time anew.
    """
    for folder in cache_dir.glob(pattern):
        try:
            latest = max(entry.stat().st_mtime for entry in (folder, *folder.iterdir()))
        except OSError:  # a file of somebody's, or another process has just moved or removed it
            continue
        if time.time() - latest > seconds:
            shutil.rmtree(folder, ignore_errors=True)
