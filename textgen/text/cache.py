"""Folders of what can be made again, each under a name that is made of the content it comes from.

A folder appears whole or not at all. Two processes may build the same one at once: the first stays.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from textgen.atomic import new_directory
from textgen.errors import CorpusError

Kept = TypeVar("Kept")

_BUILDING = "." + 64 * "[0-9a-f]" + ".*"  # what new_directory calls a folder that is not whole yet
_ABANDONED_SECONDS = 24 * 60 * 60
_DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError)


def read_or_build(path: Path, read: Callable[[Path], Kept], build: Callable[[Path], None]) -> Kept:
    """What `read` makes of the folder at path; one that is absent or not whole is built first.

    `read` raises one of _DAMAGED for such a folder; `build` fills an empty one.

    Raises CorpusError for a cache folder that cannot be written, and what `build` raises.
    """
    cache_dir = path.parent
    with suppress(*_DAMAGED):
        return read(path)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(cache_dir)
        shutil.rmtree(path, ignore_errors=True)
        # Another process may put the same folder there first; then that one stays.
        with suppress(FileExistsError), new_directory(path) as building:
            build(building)
        return read(path)
    except OSError as error:
        raise CorpusError(
            f"{cache_dir}: {error.strerror or error}; name a folder that can be written, with --cache-dir"
        ) from error


def _remove_abandoned(cache_dir: Path) -> None:
    """What a killed process left half built; one that has been written to lately may still be at it."""
    for folder in cache_dir.glob(_BUILDING):
        try:
            latest = max(entry.stat().st_mtime for entry in (folder, *folder.iterdir()))
        except OSError:  # another process has just moved or removed it
            continue
        if time.time() - latest > _ABANDONED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
