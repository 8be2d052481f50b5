"""A cache on disk: one folder per entry, named by a hash of the content that it was built from.

A folder is written atomically. Two processes may build the same one at the same time: the first to finish
wins. When an entry is built, what killed processes were building is removed. So are entries that no process
is using and that have not been read for thirty days: a corpus that changes every day must not fill the disk.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from textgen.errors import CorpusError
from textgen.system.atomic import new_directory, write_file
from textgen.system.locks import idle_seconds, lock_while_alive, remove_unless_locked

Value = TypeVar("Value")

_log = logging.getLogger(__name__)

_ENTRY = 64 * "[0-9a-f]"
_BUILDING = f".{_ENTRY}.*"  # the name that new_directory gives a folder that is still being built
_UNREAD_SECONDS = 30 * 24 * 60 * 60
DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError)


def read_or_build(path: Path, read: Callable[[Path], Value], build: Callable[[Path], None]) -> Value:
    """Return read(path), building the folder first when it is missing or damaged.

    read: raises one of the errors in DAMAGED when the folder is missing or damaged. build: fills an empty
    folder.

    Raises CorpusError when the cache folder cannot be written, and whatever `build` raises.
    """
    cache_dir = path.parent
    try:
        value = _read(path, read)
    except DAMAGED as error:
        if path.exists():
            _log.warning("%s: damaged (%s); it is built again", path, error)
    else:
        with suppress(OSError):  # a read-only cache can still be read
            os.utime(path)
        return value
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        _remove_stale(cache_dir)
        with suppress(*DAMAGED):  # another process may have built it in the meantime
            return _read(path, read)
        shutil.rmtree(path, ignore_errors=True)
        # If another process puts the same folder there first, that one is kept.
        with suppress(FileExistsError), new_directory(path) as building:
            build(building)
        return _read(path, read)
    except OSError as error:
        raise CorpusError(
            f"{cache_dir}: {error.strerror or error}; choose a writable folder with --cache-dir"
        ) from error


_USE = "use.json"  # in an entry: the texts that it was built from, and the runs that have used it


def record_use(entry: Path, texts: Sequence[str], run: Path) -> None:
    """Note in an entry whose name is only a hash what it is of: its texts, and a run that uses it.

    Does nothing for a folder that is no entry of a cache.
    """
    if not re.fullmatch("[0-9a-f]{64}", entry.name):
        return
    known, runs = read_use(entry)
    name = str(run.absolute())
    if name not in runs or known != tuple(texts):
        content = {"texts": list(texts), "runs": sorted({*runs, name})}
        with suppress(OSError):  # a read-only cache can still be read
            write_file(entry / _USE, json.dumps(content, indent=2))


def note_texts(entry: Path, texts: Sequence[str]) -> None:
    """Note in an entry which texts it is of, before a run uses it. Raises OSError."""
    if not read_use(entry)[0]:
        write_file(entry / _USE, json.dumps({"texts": list(texts), "runs": []}, indent=2))


def read_use(entry: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The texts that an entry was built from, and the runs that have used it; empty where that is unknown."""
    try:
        content = json.loads((entry / _USE).read_text(encoding="utf-8"))
        return tuple(map(str, content["texts"])), tuple(map(str, content["runs"]))
    except (OSError, ValueError, KeyError, TypeError):
        return (), ()


def _read(path: Path, read: Callable[[Path], Value]) -> Value:
    """The value of an entry, which is locked as long as the value lives. Raises what `read` raises."""
    value = read(path)
    lock_while_alive(value, path)
    return value


def _remove_stale(cache_dir: Path) -> None:
    """Remove folders that were abandoned while they were built, and entries that are no longer read.

    Reading an entry updates its modification time.
    """
    for folder in filter(Path.is_dir, cache_dir.glob(_BUILDING)):
        remove_unless_locked(folder)
    for folder in filter(Path.is_dir, cache_dir.glob(_ENTRY)):
        if idle_seconds(folder) > _UNREAD_SECONDS:
            remove_unless_locked(folder)
